# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random worlds with their own books: whatever the API names, only the host's own machines are registered or ended.

Storage is never taken for a machine, and any bought storage that a source shows stays noted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.compute_index.supply.plugins.module_utils._provision.ending import (
    Action,
    ApiView,
    EndRequest,
    ids_to_read_before_end,
    what_ends,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.holdings import links_in
from ansible_collections.compute_index.supply.plugins.module_utils._provision.judging import JudgedHost
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account, claim_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import Verdict
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import (
    HostState,
    ids_to_prove,
    standing_of,
)
from hypothesis import event, given
from hypothesis import strategies as st

from provision_samples import entry, host, machine, machine_id, offer_id, planned
from storage_samples import FORMS, Volume, ids_of, linked

X, Y = offer_id(1), offer_id(2)
SENT_AT, BEFORE, AFTER = "2026-01-31T12:00:00Z", "2026-01-31T11:00:00Z", "2026-01-31T12:00:30Z"
OURS, COLLEAGUE, NEIGHBOUR = "ours", "a colleague", "gpu-2"


@dataclass(frozen=True)
class Truth:
    """A machine, its buyer, and how the API shows it. ``lags``: the list omits it."""

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
        """The machine as the tolerant reader returns it. Machines of others are older than the purchase."""
        offer = (X if self.buyer == OURS else Y) if self.shows_offer else None
        name = ("gpu-1" if self.buyer != COLLEAGUE else "train") if self.keeps_name else f"vm-{self.number}"
        return machine(self.number, name, offer, created_at=AFTER if self.buyer == OURS else BEFORE)


@dataclass(frozen=True)
class World:
    """Machines and storage with their buyers, and what the registry and the offer's status name.

    ``noted``: ids that the registry has as machines. ``stored``: storage that it has noted as such. ``named``: ids in
    the status. Storage of others may also be linked to our machines.
    """

    machines: tuple[Truth, ...]
    volumes: tuple[Volume, ...]
    noted: tuple[str, ...]
    stored: tuple[Volume, ...]
    named: tuple[str, ...]
    phase: str

    @property
    def ours(self) -> set[str]:
        """The ids of our machines."""
        return {each.id for each in self.machines if each.buyer == OURS}

    @property
    def own_volumes(self) -> list[Volume]:
        return [volume for volume in self.volumes if volume.owner == OURS]

    @property
    def noted_machines(self) -> set[str]:
        return {*self.noted} & self.ours

    @property
    def provable(self) -> set[str]:
        """The ids of our storage that any source shows as ours."""
        named = {*self.noted, *self.named}
        visible = [m for m in self.machines if m.buyer == OURS and (m.id in named or (m.shows_offer and not m.lags))]
        proved = [
            volume
            for volume in self.own_volumes
            if (volume.form.is_listed and volume.form.names_offer) or (volume.form.is_linked and visible)
        ]
        return ids_of([*proved, *self.stored]) | (named & ids_of(self.own_volumes))

    @property
    def by_id(self) -> dict[str, dict[str, Any] | None]:
        linkable = [v for v in self.volumes if v.owner == OURS or v.number % 2]
        machines = {each.id: linked(each.shown, linkable if each.buyer == OURS else ()) for each in self.machines}
        return {**machines, **{volume.id: volume.page for volume in self.volumes}}

    @property
    def listed(self) -> list[dict[str, Any]]:
        unlisted = {each.id for each in self.machines if each.lags}
        unlisted |= {volume.id for volume in self.volumes if not volume.form.is_listed}
        return [page for each, page in self.by_id.items() if page and each not in unlisted]

    @property
    def status(self) -> dict[str, Any]:
        machines = [each for each in self.named if each not in ids_of(self.volumes)]
        ready = self.phase == "ready" and bool(machines)
        connections = [
            {"resource_id": each, "ansible_host": each, "ansible_port": 22, "ansible_user": "root"} for each in machines
        ]
        return {
            "phase": self.phase,
            "ready": ready,
            "resource_ids": list(self.named),
            "connections": connections,
            "msg": "It was read.",
        }

    @property
    def entry(self) -> Entry:
        storage = [volume.entry_item for volume in self.stored]
        return entry(X, self.noted, "made", provision_journaled_at=SENT_AT, provision_storage=storage)

    @property
    def neighbours(self) -> list[str]:
        return [each.id for each in self.machines if each.buyer == NEIGHBOUR]

    @property
    def neighbour(self) -> Entry:
        storage = [volume.entry_item for volume in self.volumes if volume.owner == NEIGHBOUR]
        return entry(Y, self.neighbours, "made", provision_storage=storage)

    @property
    def is_findable(self) -> bool:
        """Whether any source shows a running machine."""
        return bool({*self.noted, *self.named} - ids_of(self.volumes)) or any(
            each.buyer == OURS and each.shows_offer and not each.lags for each in self.machines
        )

    @property
    def is_honest(self) -> bool:
        """Whether the status names only our own resources, and the list omits none of the machines."""
        return {*self.named} <= {*self.ours, *ids_of(self.own_volumes)} and not any(m.lags for m in self.machines)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    buyers = [OURS, *draw(st.lists(st.sampled_from([OURS, COLLEAGUE, NEIGHBOUR]), max_size=4))]
    flags = st.booleans()
    machines = tuple(Truth(n, buyer, draw(flags), draw(flags), draw(flags)) for n, buyer in enumerate(buyers, 1))
    volumes = tuple(
        Volume(n, buyer, draw(FORMS), draw(st.sampled_from(["gpu-1", "data"])), *_offer_and_date(buyer))
        for n, buyer in enumerate(draw(st.lists(st.sampled_from([OURS, OURS, COLLEAGUE, NEIGHBOUR]), max_size=3)), 11)
    )
    ids = [each.id for each in (*machines, *volumes)]
    ours = [each.id for each in machines if each.buyer == OURS]
    own = [volume for volume in volumes if volume.owner == OURS]
    noted = draw(st.lists(st.sampled_from([*ours, *(volume.id for volume in own)]), unique=True))
    stored = tuple(volume for volume in own if volume.id not in noted and draw(flags))
    named = draw(st.lists(st.sampled_from([*ids, machine_id(99)]), unique=True, max_size=4))
    phase = draw(st.sampled_from(["ready", "going_on", "failed"]))
    return World(machines, volumes, tuple(noted), stored, tuple(named), phase)


def _offer_and_date(buyer: str) -> tuple[str, str]:
    """Return the offer that a buyer's storage came with, and when it was created."""
    return (X, AFTER) if buyer == OURS else (Y, BEFORE)


def read(world: World, ids: Any) -> dict[str, Any]:
    """Return resources by their ids, and those that they link to, as `read_by_id` does."""
    by_id = {each: world.by_id.get(each) for each in ids}
    return {**by_id, **{each: world.by_id.get(each) for each in links_in(by_id.values()).difference(by_id)}}


def account(world: World) -> Account:
    claims = [
        claim_of("gpu-1", "gpu-1", world.entry, by_name=False),
        claim_of(NEIGHBOUR, NEIGHBOUR, world.neighbour, by_name=False),
    ]
    return Account.of(claims, world.listed)


def judged(world: World) -> JudgedHost:
    purchase = {"outcome": "created", "resource_ids": list(world.noted)}
    holders = dict.fromkeys([*world.neighbours, *(item.resource_id for item in world.neighbour.storage)], NEIGHBOUR)
    listed = {each["resource_id"]: each for each in world.listed}
    case = JudgedHost(planned(), purchase, world.status, world.entry, True, listed=listed, holders=holders)
    return replace(case, read=read(world, {*case.look.ids_to_prove, *case.ids} - {*listed}))


@given(worlds())
def test_only_bought_resources_are_registered_or_released(world: World) -> None:
    case = judged(world)
    verdict = case.verdict(False)
    event(verdict.value)
    noted_ids = case.noted(verdict).get("provision_resource_ids", [])
    assert set(noted_ids) <= world.ours
    if verdict is not Verdict.AGAIN:
        assert set(noted_ids) >= world.noted_machines or not noted_ids, "proved ids are never removed"
    assert set(case.endable) <= world.ours
    if verdict is Verdict.RELEASE:
        assert case.proved and set(case.proved) <= world.ours
    if verdict is Verdict.READY:
        assert {*case.facts()["provision_resource_ids"]} <= world.ours
        assert all(each["resource_id"] in world.ours for each in case.facts()["provision_instances"])
    assert not (world.is_findable and case.is_forgotten), "all machines of these worlds run"
    stored = {item["resource_id"] for item in case.noted_storage.get("provision_storage", ())}
    assert world.provable <= stored <= ids_of(world.own_volumes)
    assert stored == {item["resource_id"] for item in case.noted(verdict).get("provision_storage", ())}


@given(worlds())
def test_later_run_keeps_the_holdings(world: World) -> None:
    before = account(world)
    statuses: Any = {X: world.status}
    ids = ids_to_prove({"gpu-1": world.entry}, statuses, before)
    seen = replace(before, read=read(world, ids))
    standing = standing_of(host(), world.entry, world.status, seen)
    event(standing.kind.value)
    free = standing.kind is HostState.FREE or standing.void
    assert not (free and world.is_findable), "nothing else may be bought for the host"
    if standing.kind is HostState.READY:
        # Earlier versions noted storage as machines; ids that no source shows yet stay as noted.
        hidden = {*world.noted} & ids_of(volume for volume in world.own_volumes if not volume.form.is_listed)
        assert world.noted_machines <= set(standing.resource_ids) <= world.ours | hidden
    if standing.void:
        assert world.provable <= {item.resource_id for item in standing.storage} <= ids_of(world.own_volumes)
    if world.is_honest and world.status["ready"] and not any(each.buyer == NEIGHBOUR for each in world.machines):
        assert standing.kind is HostState.READY


@given(worlds())
def test_decommission_ends_only_bought_machines(world: World) -> None:
    # Resources that may be the host's are read by their ids, even if they are listed.
    claims = account(world).claims.values()
    own_claims = [claim for claim in claims if claim.host == "gpu-1"]
    ids = ids_to_read_before_end(own_claims, world.named, world.listed)
    pages = {each: page for each, page in read(world, sorted(ids)).items() if page}
    resources = {**{each["resource_id"]: each for each in world.listed}, **pages}
    unknown = {each: "GET answered 404." for each in ids if each not in world.by_id}
    view = ApiView(Account.of(claims, list(resources.values())), {X: world.status}, unknown)
    ended = what_ends(EndRequest("gpu-1", "gpu-1", world.entry), view)
    event(ended.action.value)
    assert set(ended.ids) <= world.ours
    assert ended.action in (Action.END, Action.STOP) or not world.is_findable, "a running machine is never forgotten"
    if ended.action is Action.END:
        assert world.noted_machines <= set(ended.ids)
    if ended.action in (Action.END, Action.FORGET):
        assert world.provable <= {item.resource_id for item in ended.storage} <= ids_of(world.own_volumes)
