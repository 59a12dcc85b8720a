# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random worlds in which machines have storage: it survives them, is never forgotten, and never keeps them from an end.

The server of `test_operations_end_worlds` shows each volume in a form of its own: named like a machine, only listed, or
only linked; with the offer it was bought with, or without. A colleague's volumes are linked to our machines, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import SupplyApi
from ansible_collections.compute_index.supply.plugins.module_utils._operations.audit import audit
from ansible_collections.compute_index.supply.plugins.module_utils._operations.end import end
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _stores
from hypothesis import event, given
from hypothesis import strategies as st
from test_operations_end_worlds import (
    COLLEAGUE,
    HOSTS,
    OURS,
    THEIRS,
    Machine,
    Server,
    history,
    no_sleep,
    noted,
    params,
    registry,
    servers,
)

import ends
from storage_samples import FORMS, PRICE, Form

assert no_sleep  # is used by pytest
Json = dict[str, Any]


@dataclass
class Volume(Machine):
    """Storage."""

    form: Form = field(default_factory=Form)
    noted_as: str = ""  # in its host's registry entry before anything ends: "", "id" or "storage"

    @property
    def is_provable(self) -> bool:
        """Whether something proves that it is its host's."""
        return bool(self.noted_as or self.form.is_provable)


class Shop(Server):
    """A server whose machines have storage."""

    @property
    def volumes(self) -> list[Volume]:
        return [each for each in self.machines if isinstance(each, Volume)]

    @property
    def provable(self) -> list[Volume]:
        """The storage of our hosts of which that is certain."""
        return [volume for volume in self.volumes if volume.owner != COLLEAGUE and volume.is_provable]

    def shown(self, machine: Machine) -> Json:
        page = super().shown(machine)
        if isinstance(machine, Volume):
            return {**page, "resource_type": machine.form.word, "pricing_total_hourly": PRICE}
        linked = [v for v in self.volumes if v.form.is_linked and machine.owner in (v.owner, v.name)]
        links = [v.form.link(v.id) for v in linked]
        return {**page, "linked_resources": links}

    def listed(self) -> list[Json]:
        hidden = {each.id for each in self.volumes if not each.form.is_listed}
        return [page for page in super().listed() if page["resource_id"].lower() not in hidden]

    def _status(self, key: str) -> Any:
        volumes = self.volumes
        named = [v.id for v in volumes if v.form.appears_in == "ids" and v.owner != COLLEAGUE and OURS[v.owner] == key]
        self.machines = [each for each in self.machines if not isinstance(each, Volume)]
        try:
            answer = super()._status(key)
        finally:
            self.machines += volumes
        answer.data["resource_ids"] += named
        return answer


@st.composite
def shops(draw: st.DrawFn, *, is_honest: bool = True) -> Shop:
    """The world of ends, with a volume or two for each host, and perhaps one of a colleague beside them."""
    world = draw(servers(is_honest=is_honest))
    shop = Shop(**{name: getattr(world, name) for name in world.__dataclass_fields__})
    owners = [owner for host in HOSTS for owner in [host] * draw(st.integers(0, 2))]
    owners += [COLLEAGUE] * draw(st.integers(0, 1))
    for owner in owners:
        number, form, theirs = len(shop.machines) + 1, draw(FORMS), owner == COLLEAGUE
        named = history(THEIRS if theirs else OURS[owner])
        volume = Volume(
            number,
            owner,
            HOSTS[0] if theirs else f"{owner}-data",
            "running",
            named if theirs or form.names_offer else [],
            form=form,
            noted_as="" if theirs else draw(st.sampled_from(["", "id", "storage"])),
        )
        shop.machines.append(volume)
    shop.before = shop.listed()
    return shop


def entry_of(shop: Shop, host: str) -> Json:
    """What the registry notes: ids of volumes beside the machines', as earlier versions did, or as storage."""
    entry = noted(cast(Server, Machines(shop)), host, 2)
    own = [volume for volume in shop.volumes if volume.owner == host]
    ids = [volume.id for volume in own if volume.noted_as == "id"]
    storage = [{"resource_id": volume.id, "price_per_hour": PRICE} for volume in own if volume.noted_as == "storage"]
    entry["resource_ids"] = [*entry["resource_ids"], *ids]
    return {**entry, **({"storage": storage} if storage else {})}


@dataclass
class Machines:
    """A server without its storage."""

    shop: Shop

    @property
    def machines(self) -> list[Machine]:
        return [each for each in self.shop.machines if not isinstance(each, Volume)]


def decommission(shop: Shop, folder: Path, storage: str) -> list[str]:
    """The hosts of which a run of the role says that all has ended that was to end, in the order of its tasks."""
    api = SupplyApi(cast(Any, shop))
    own = {"name": "", "resource_id": "", "project": "default", "registry_dir": str(folder), "inventory_dir": None}
    own = {**own, "storage": storage, "wait_timeout": "20s"}
    hosts = [{**own, "id": host, "host": host, "listed_id": "", "declares": True, "known": {}} for host in HOSTS]
    plans = list(end(api, params(steps.END, hosts=hosts, ids=list(HOSTS), here="/"), False)["ends"].values())
    outcomes = ends.noted(api, plans, ends.deleted(api, plans))["outcomes"]
    assert all(one["left"] for one in outcomes.values() if one.get("failed")), "what fails names what is left"
    return [plan["host"] for plan in plans if not outcomes[plan["host"]]["stop"]]


def registered(folder: Path) -> dict[str, str]:
    """The ids of all that the registry has, each with its host."""
    found = {}
    for file in folder.glob("*/compute_index_supply.yml"):
        entry = yaml.safe_load(file.read_text())
        storage = [item["resource_id"] for item in entry.get("provision_storage", [])]
        ids = [*entry.get("provision_resource_ids", []), *storage]
        found.update(dict.fromkeys(ids, file.parent.name))
    return found


def billed_by_ledger(folder: Path) -> set[str]:
    return {item for bill in _stores.ledger(str(folder)).bills if bill.runs for item in bill.resource_ids}


@pytest.fixture(autouse=True)
def quick(no_sleep: None) -> Iterator[None]:
    yield


@given(shops())
def test_storage_survives_its_machine_and_is_never_forgotten(shop: Shop) -> None:
    with registry(shop, {host: entry_of(shop, host) for host in HOSTS}) as folder:
        for _run in range(2):
            assert decommission(shop, folder, "keep") == list(HOSTS), "storage kept a machine from its end"
            assert not [volume for volume in shop.volumes if volume.id in shop.deleted], "storage ended unasked"
            assert not [
                each
                for each in shop.machines
                if each.is_billed and not isinstance(each, Volume) and each.owner != COLLEAGUE
            ]
            provable = {
                volume.id: volume.owner for volume in shop.volumes if volume.owner != COLLEAGUE and volume.is_provable
            }
            event(f"{len(provable)} of {len(shop.volumes)}")
            assert registered(folder) == provable
            assert billed_by_ledger(folder) == provable.keys()


@given(shops())
def test_storage_ends_only_if_a_person_says_so_and_only_the_hosts_own(shop: Shop) -> None:
    with registry(shop, {host: entry_of(shop, host) for host in HOSTS}) as folder:
        assert decommission(shop, folder, "end") == list(HOSTS)
        assert {volume.id for volume in shop.volumes if volume.id in shop.deleted} == {v.id for v in shop.provable}
        assert registered(folder) == {} and billed_by_ledger(folder) == set()


@given(shops(is_honest=False), st.sampled_from(["keep", "end"]), st.integers(1, 3))
def test_odd_answers_end_and_forget_nothing_that_they_should_not(shop: Shop, storage: str, runs: int) -> None:
    with registry(shop, {host: entry_of(shop, host) for host in HOSTS}) as folder:
        for _run in range(runs):
            green = decommission(shop, folder, storage)
            foreign = {each.id for each in shop.machines if each.owner == COLLEAGUE}
            assert foreign.isdisjoint(shop.deleted), "somebody else's was told to end"
            kept = registered(folder)
            for each in shop.machines:
                if each.owner == COLLEAGUE or not each.is_billed:
                    continue
                if isinstance(each, Volume):
                    assert storage == "end" or each.id not in shop.deleted
                    assert not each.noted_as or each.id in kept, "storage was forgotten while its meter ran"
                else:
                    assert each.owner not in green, "the run was green"


@given(shops())
def test_an_audit_shows_storage_with_its_host_and_nobody_s_as_orphans(shop: Shop) -> None:
    for each in shop.machines:
        each.listed_as = None
    shop.lags = []
    with registry(shop, {host: entry_of(shop, host) for host in HOSTS}) as folder:
        for run in range(2):
            hosts = [{"host": host, "name": host, "registry_dir": str(folder), "inventory_dir": None} for host in HOSTS]
            declared = [{**each, "known": {}, "declares": True} for each in hosts]
            found = audit(SupplyApi(cast(Any, shop)), params(steps.AUDIT, hosts=declared, here="/"), False)["audit"]
            stored = {row["resource_id"]: row["hosts"] for row in found["storage"]}
            for volume in shop.volumes:
                if volume.id in stored:
                    assert stored[volume.id] == ([volume.owner] if volume.owner != COLLEAGUE else stored[volume.id])
            known = registered(folder) if run else {}
            assert known.keys() <= stored.keys() | set()
            assert not {row["resource_id"] for row in found["orphans"]} & known.keys()
            assert found["price_per_hour"]["total"] >= PRICE * len(stored)
            decommission(shop, folder, "keep")
