# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random worlds that keep accounts: a refusal never makes a run buy another offer in addition to its own machine.

The books know who has really bought the offer. Runs know answers that may lie, be it a refusal, a status that lags,
lists that leave strangers out, and names that may not be kept.
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
LOOKS = 4  # number of looks for which a run has time


@dataclass
class World:
    """One offer. ``buyer``: the true one. ``runs``: its machine is billed. ``lag``: looks that show it as free.

    ``holder``: the run that holds the host's purchase. ``noted``: the status of a refusal, in the journal.
    """

    chance: Random
    keeps_names: bool
    lag: int
    buyer: str = ""
    runs: bool = False
    holder: int = 0
    noted: int | None = None
    is_sent: bool = False

    def buy(self, buyer: str) -> bool:
        if self.buyer:
            return False
        self.buyer, self.runs = buyer, True
        return True

    def answer(self, run: int) -> int | None:
        """Return the HTTP status of the answer to a purchase; None if it is lost. Any refusal may be wrong."""
        self._meanwhile(run)
        kind = self.chance.choice(
            [*["plain"] * 4, "no", "429", "429 lies", "503", "503 lies", "lost", "lost on the way"]
        )
        if kind in ("429", "503", "lost on the way"):
            return {"429": 429, "503": 503}.get(kind)
        is_bought = self.buy(US)
        if kind == "plain":
            return 200 if is_bought else self.chance.choice([409, 409, 404, 410])
        if kind == "no":
            return self.chance.choice([409, 404, 410, 422])
        return {"429 lies": 429, "503 lies": 503}.get(kind)

    def _meanwhile(self, run: int) -> None:
        """While a purchase is under way, others buy, or another run takes over, buys, and may end its machine."""
        event = self.chance.random()
        if event < 0.15:
            self.buy(COLLEAGUE)
        elif event < 0.3:
            self.buy(STRANGER)
        elif event < 0.45:
            self.holder = run + 100
            if self.buy(OTHER_RUN):
                self.runs = self.chance.random() < 0.5

    def look(self, history: History) -> OfferLook:
        """Return what status and list show; the list is read only if it decides."""
        if not self.buyer or self.lag > 0:
            self.lag -= bool(self.buyer)
            asks = list_must_confirm(history, _states.UNBOUGHT)
            return self._listed(history, _states.UNBOUGHT) if asks else OfferLook(_states.UNBOUGHT)
        return self._listed(history, _states.GOING_ON)

    def _listed(self, history: History, phase: str) -> OfferLook:
        if self.buyer in ("", STRANGER):  # not listed for this account
            return OfferLook(phase)
        ours = self.buyer in (US, OTHER_RUN)
        whose = (OURS if ours else THEIRS) if self.keeps_names else self.chance.choice([THEIRS, UNSEEN])
        seen = OfferLook(phase, whose, self.runs, listed=True)
        # The colleague may be a host of the registry; and if names are kept, a machine that a host has may show that.
        known = [OwnershipClaim("b", "b", "o-1" if self.buyer == COLLEAGUE else "o-2", frozenset({"r-2"}), bought=True)]
        own = {"resource_id": "r-1", "name": "gpu-1" if whose == OURS else "vm-1", "vendor": "v"}
        theirs = {"resource_id": "r-2", "name": "b" if self.keeps_names else "vm-2", "vendor": "v"}
        claims = known if self.chance.random() < 0.5 else []
        return with_other_owners(history, seen, ("o-1", ["r-1"]), lambda: claims, lambda: [own, theirs])


def run(world: World, number: int) -> NextStep | None:
    """Return the end of one run that tries to buy the offer; None if it is killed."""
    is_open = world.is_sent and world.noted is None
    history = History(by_name=False, unanswered=is_open, refused=world.noted if world.is_sent else None)
    left, world.holder = LOOKS, number
    while True:
        step = next_step(history, world.look(history), left > 0)
        if step.decision is Decision.LOOK:
            left -= 1
        elif step.decision is Decision.SEND:
            if world.holder != number:
                history = replace(history, overtaken=True)
                continue
            world.is_sent, world.noted, left = True, None, LOOKS
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
def test_no_refusal_frees_a_host_that_has_a_machine(seed: int) -> None:
    ends: Counter[str] = Counter()
    for number in range(300):
        chance = Random(f"{seed} {number}")
        world = World(chance, keeps_names=chance.random() < 0.5, lag=chance.choice([0, 0, 1, 2]))
        for each in range(1, 4):
            step = run(world, each)
            told = f"{seed} {number}: run {each}, {world}, {step}"
            if step is None:
                continue
            ends[step.decision.value] += 1
            if step.decision in (Decision.CREATED, Decision.EXISTING):
                assert world.buyer in (US, OTHER_RUN), f"it has a machine that is not its own: {told}"
                break
            if step.decision in (Decision.REJECTED, Decision.NOT_SENT):
                assert not (world.buyer == US and world.runs), f"it may buy beside its own machine: {told}"
                assert world.holder == each or step.decision is Decision.NOT_SENT, f"it slept, and may buy: {told}"
                world.is_sent, world.noted = False, None
                break
    assert {"created", "rejected", "unknown", "existing"} <= {*ends}, ends
