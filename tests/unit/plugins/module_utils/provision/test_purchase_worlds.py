# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random worlds with their own books: no refusal makes a run buy another offer in addition to its own machine.

The books know who has really bought the offer. Runs see answers that may be wrong: refusals, a status that lags, a list
without the machines of other accounts, and names that were not kept.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from random import Random

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _states
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import OwnershipClaim
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import (
    OURS,
    THEIRS,
    UNSEEN,
    Decision,
    History,
    NextStep,
    OfferLook,
    list_must_confirm,
    next_step,
    unless_overtaken,
    with_other_owners,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import after

US, COLLEAGUE, STRANGER, OTHER_RUN = "us", "a colleague", "another customer", "another run of ours"
LOOKS = 4  # a run has time for as many looks


@dataclass
class World:
    """One offer. ``buyer``: who has really bought it. ``is_billed``: its machine is billed.

    ``lag``: number of looks that still show the offer as unbought. ``holder``: the run that holds the host's purchase.
    ``noted``: the HTTP status of a refusal in the journal.
    """

    chance: Random
    keeps_names: bool
    lag: int
    buyer: str = ""
    is_billed: bool = False
    holder: int = 0
    noted: int | None = None
    is_sent: bool = False

    def buy(self, buyer: str) -> bool:
        if self.buyer:
            return False
        self.buyer, self.is_billed = buyer, True
        return True

    def answer(self, run: int) -> int | None:
        """Return the HTTP status of the answer to a purchase; None if it is lost. Any refusal may be wrong."""
        self._let_others_act(run)
        kind = self.chance.choice(
            [*["true"] * 4, "false refusal", "429", "false 429", "503", "false 503", "lost answer", "lost request"]
        )
        if kind in ("429", "503", "lost request"):
            return {"429": 429, "503": 503}.get(kind)
        is_bought = self.buy(US)
        if kind == "true":
            return 200 if is_bought else self.chance.choice([409, 409, 404, 410])
        if kind == "false refusal":
            return self.chance.choice([409, 404, 410, 422])
        return {"false 429": 429, "false 503": 503}.get(kind)

    def _let_others_act(self, run: int) -> None:
        """While a purchase is under way, others buy, or another run takes over, buys, and may end its machine."""
        event = self.chance.random()
        if event < 0.15:
            self.buy(COLLEAGUE)
        elif event < 0.3:
            self.buy(STRANGER)
        elif event < 0.45:
            self.holder = run + 100
            if self.buy(OTHER_RUN):
                self.is_billed = self.chance.random() < 0.5

    def look(self, history: History) -> OfferLook:
        """Return what status and list show; the list is read only if it decides."""
        if not self.buyer or self.lag > 0:
            self.lag -= bool(self.buyer)
            needs_list = list_must_confirm(history, _states.UNBOUGHT)
            return self._listed(history, _states.UNBOUGHT) if needs_list else OfferLook(_states.UNBOUGHT)
        return self._listed(history, _states.GOING_ON)

    def _listed(self, history: History, phase: str) -> OfferLook:
        if self.buyer in ("", STRANGER):  # this account has no machine of it
            return OfferLook(phase)
        ours = self.buyer in (US, OTHER_RUN)
        owner = (OURS if ours else THEIRS) if self.keeps_names else self.chance.choice([THEIRS, UNSEEN])
        seen = OfferLook(phase, owner, self.is_billed, listed=True)
        # The colleague may be a host of the registry; another machine of this host may show that names are kept.
        registered = [
            OwnershipClaim("b", "b", "o-1" if self.buyer == COLLEAGUE else "o-2", frozenset({"r-2"}), bought=True)
        ]
        own = {"resource_id": "r-1", "name": "gpu-1" if owner == OURS else "vm-1", "vendor": "v"}
        theirs = {"resource_id": "r-2", "name": "b" if self.keeps_names else "vm-2", "vendor": "v"}
        claims = registered if self.chance.random() < 0.5 else []
        return with_other_owners(history, seen, ("o-1", ["r-1"]), lambda: claims, lambda: [own, theirs])


def run(world: World, number: int) -> NextStep | None:
    """Return how one run ends that tries to buy the offer; None if it is killed."""
    is_open = world.is_sent and world.noted is None
    history = History(by_name=False, unanswered=is_open, refused=world.noted if world.is_sent else None)
    looks_left, world.holder = LOOKS, number
    while True:
        step = next_step(history, world.look(history), looks_left > 0)
        if step.decision is Decision.LOOK:
            looks_left -= 1
        elif step.decision is Decision.SEND:
            if world.holder != number:
                history = replace(history, overtaken=True)
                continue
            world.is_sent, world.noted, looks_left = True, None, LOOKS
            status = world.answer(number)
            if world.chance.random() < 0.2:
                return None
            if status == 200:
                return NextStep(Decision.CREATED)
            refused = status if status is not None and status < 500 else None
            history = after(history, 2, refused, busy=status in (429, 503))
            history = replace(history, overtaken=history.overtaken or world.holder != number)
            if refused is not None and not history.unanswered and not history.overtaken:
                world.noted = history.noted_refusal
        else:
            return unless_overtaken(replace(history, overtaken=history.overtaken or world.holder != number), step)


@pytest.mark.parametrize("seed", range(40))
def test_refusal_never_frees_a_host_that_has_a_machine(seed: int) -> None:
    ends: Counter[str] = Counter()
    for number in range(300):
        chance = Random(f"{seed} {number}")
        world = World(chance, keeps_names=chance.random() < 0.5, lag=chance.choice([0, 0, 1, 2]))
        for each in range(1, 4):
            step = run(world, each)
            context = f"{seed} {number}: run {each}, {world}, {step}"
            if step is None:
                continue
            ends[step.decision.value] += 1
            if step.decision in (Decision.CREATED, Decision.EXISTING):
                assert world.buyer in (US, OTHER_RUN), f"it has a machine that is not its own: {context}"
                break
            if step.decision in (Decision.REJECTED, Decision.NOT_SENT):
                assert not (world.buyer == US and world.is_billed), (
                    f"it may buy in addition to its own machine: {context}"
                )
                assert world.holder == each or step.decision is Decision.NOT_SENT, (
                    f"it no longer holds the purchase, and frees the host: {context}"
                )
                world.is_sent, world.noted = False, None
                break
    assert {"created", "rejected", "unknown", "existing"} <= {*ends}, ends
