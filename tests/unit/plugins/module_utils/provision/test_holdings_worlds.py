# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random worlds with books of their own: whatever the API names, nothing but the host's own is registered or ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.compute_index.supply.plugins.module_utils._provision.ending import (
    Action,
    ApiView,
    EndRequest,
    end,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.failover import Verdict
from ansible_collections.compute_index.supply.plugins.module_utils._provision.judging import JudgedHost
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import claim_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import (
    Account,
    HostState,
    doubtful,
    standing,
)
from hypothesis import event, given
from hypothesis import strategies as st

from provision_samples import entry, host, machine, machine_id, offer_id, planned

X, Y = offer_id(1), offer_id(2)
SENT_AT, BEFORE, AFTER = "2026-01-31T12:00:00Z", "2026-01-31T11:00:00Z", "2026-01-31T12:00:30Z"
OURS, COLLEAGUE, NEIGHBOUR = "ours", "a colleague", "gpu-2"


@dataclass(frozen=True)
class Truth:
    """A machine, who has bought it, and how the API shows it."""

    number: int
    buyer: str
    shows_offer: bool
    keeps_name: bool
    lags: bool

    @property
    def id(self) -> str:
        return machine_id(self.number)

    @property
    def shown(self) -> dict[str, Any]:
        """As the tolerant reader returns it. What others have and what names no offer was there before our purchase."""
        offer = (X if self.buyer == OURS else Y) if self.shows_offer else None
        name = ("gpu-1" if self.buyer != COLLEAGUE else "train") if self.keeps_name else f"vm-{self.number}"
        return machine(self.number, name, offer, created_at=AFTER if self.buyer == OURS else BEFORE)


@dataclass(frozen=True)
class World:
    """What the books say, and what the registry and the offer's status name."""

    machines: tuple[Truth, ...]
    noted: tuple[str, ...]
    named: tuple[str, ...]
    phase: str

    @property
    def ours(self) -> set[str]:
        return {each.id for each in self.machines if each.buyer == OURS}

    @property
    def listed(self) -> list[dict[str, Any]]:
        return [each.shown for each in self.machines if not each.lags]

    @property
    def by_id(self) -> dict[str, dict[str, Any] | None]:
        return {each.id: each.shown for each in self.machines}

    @property
    def status(self) -> dict[str, Any]:
        ready = self.phase == "ready" and bool(self.named)
        connections = [
            {"resource_id": each, "ansible_host": each, "ansible_port": 22, "ansible_user": "root"}
            for each in self.named
        ]
        return {
            "phase": self.phase,
            "ready": ready,
            "resource_ids": list(self.named),
            "connections": connections,
            "msg": "Seen.",
        }

    @property
    def entry(self) -> Entry:
        return entry(X, self.noted, "made", provision_journaled_at=SENT_AT)

    @property
    def neighbours(self) -> list[str]:
        return [each.id for each in self.machines if each.buyer == NEIGHBOUR]

    @property
    def is_findable(self) -> bool:
        """Whether anything at all tells of what runs."""
        return bool(self.noted or self.named) or any(
            each.buyer == OURS and each.shows_offer and not each.lags for each in self.machines
        )

    @property
    def is_honest(self) -> bool:
        """Whether status, list and books agree."""
        return {*self.named} <= self.ours and not any(each.lags for each in self.machines)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    buyers = [OURS, *draw(st.lists(st.sampled_from([OURS, COLLEAGUE, NEIGHBOUR]), max_size=4))]
    flags = st.booleans()
    machines = tuple(Truth(n, buyer, draw(flags), draw(flags), draw(flags)) for n, buyer in enumerate(buyers, 1))
    ours = [each.id for each in machines if each.buyer == OURS]
    noted = draw(st.lists(st.sampled_from(ours), unique=True))
    named = draw(st.lists(st.sampled_from([*(each.id for each in machines), machine_id(99)]), unique=True, max_size=4))
    return World(machines, tuple(noted), tuple(named), draw(st.sampled_from(["ready", "going_on", "failed"])))


def read(world: World, ids: Any) -> dict[str, Any]:
    return {each: world.by_id.get(each) for each in ids}


def account(world: World) -> Account:
    claims = [
        claim_of("gpu-1", "gpu-1", world.entry, by_name=False),
        claim_of(NEIGHBOUR, NEIGHBOUR, entry(Y, world.neighbours, "made"), by_name=False),
    ]
    return Account.of(claims, world.listed)


def judged(world: World) -> JudgedHost:
    purchase = {"outcome": "created", "resource_ids": list(world.noted)}
    holders = dict.fromkeys(world.neighbours, NEIGHBOUR)
    listed = {each["resource_id"]: each for each in world.listed}
    case = JudgedHost(planned(), purchase, world.status, world.entry, True, listed=listed, holders=holders)
    return replace(case, read=read(world, {*case.look.doubtful, *case.ids} - {*listed}))


@given(worlds())
def test_only_what_the_purchase_bought_is_registered_and_given_back(world: World) -> None:
    case = judged(world)
    verdict = case.verdict(False)
    event(verdict.value)
    kept = case.noted(verdict).get("provision_resource_ids", [])
    assert set(kept) <= world.ours
    if verdict is not Verdict.AGAIN:
        assert set(kept) >= set(world.noted) or not kept, "ids that were proved are never removed"
    if verdict is Verdict.RELEASE:
        assert case.proved and set(case.proved) <= world.ours
    if verdict is Verdict.READY:
        assert {*case.facts()["provision_resource_ids"]} <= world.ours
        assert all(each["resource_id"] in world.ours for each in case.facts()["provision_instances"])
    assert not (world.is_findable and case.is_forgotten(verdict)), "all machines of these worlds run"


@given(worlds())
def test_a_later_run_keeps_what_is_held(world: World) -> None:
    seen = account(world)
    statuses: Any = {X: world.status}
    ids = doubtful({"gpu-1": world.entry}, statuses, seen)
    seen = replace(seen, read=read(world, ids))
    stands = standing(host(), world.entry, world.status, seen)
    event(stands.kind.value)
    free = stands.kind is HostState.FREE or stands.void
    assert not (free and world.is_findable), "nothing else may be bought for the host"
    if stands.kind is HostState.READY:
        assert set(world.noted) <= set(stands.resource_ids) <= world.ours
    if world.is_honest and world.status["ready"] and not any(each.buyer == NEIGHBOUR for each in world.machines):
        assert stands.kind is HostState.READY


@given(worlds())
def test_only_what_the_purchase_bought_ends(world: World) -> None:
    # What no list has is looked up by its id, and then is among the machines of the account.
    claims = account(world).claims.values()
    named = {*world.noted, *world.named}
    unlisted = named - {each["resource_id"] for each in world.listed}
    shown = [each.shown for each in world.machines if each.id in unlisted]
    unknown = {each: "GET answered 404." for each in unlisted if each not in world.by_id}
    seen = ApiView(Account.of(claims, [*world.listed, *shown]), {X: world.status}, unknown)
    ended = end(EndRequest("gpu-1", "gpu-1", world.entry), seen)
    event(ended.action.value)
    assert set(ended.ids) <= world.ours
    assert ended.action in (Action.END, Action.STOP) or not world.is_findable, "what runs is never forgotten"
    if ended.action is Action.END:
        assert set(world.noted) <= set(ended.ids)
