# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random worlds of machines with storage: it survives their end, does not prevent it, and is never forgotten.

The server of `test_operations_end_worlds` shows each volume in one of many forms: with a machine's name, only listed,
or only linked; with or without the offer that bought it. Our machines may also link to a colleague's volumes.
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
    entry_of,
    history,
    no_sleep,
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
    """Storage on the server."""

    form: Form = field(default_factory=Form)
    noted_as: str = ""  # how its host's entry has it before the end: "", "id" or "storage"

    @property
    def is_provable(self) -> bool:
        """Whether anything proves that its host owns it."""
        return bool(self.noted_as or self.form.is_provable)


class Shop(Server):
    """A server whose machines have storage."""

    @property
    def volumes(self) -> list[Volume]:
        return [each for each in self.machines if isinstance(each, Volume)]

    @property
    def provable(self) -> list[Volume]:
        """The storage that provably belongs to our hosts."""
        return [volume for volume in self.volumes if volume.owner != COLLEAGUE and volume.is_provable]

    def page_of(self, machine: Machine) -> Json:
        page = super().page_of(machine)
        if isinstance(machine, Volume):
            return {**page, "resource_type": machine.form.word, "pricing_total_hourly": PRICE}
        linked = [v for v in self.volumes if v.form.is_linked and machine.owner in (v.owner, v.name)]
        links = [v.form.link(v.id) for v in linked]
        return {**page, "linked_resources": links}

    def listed(self) -> list[Json]:
        unlisted = {each.id for each in self.volumes if not each.form.is_listed}
        return [page for page in super().listed() if page["resource_id"].lower() not in unlisted]

    def _status(self, key: str) -> Any:
        volumes = self.volumes
        owned = [volume for volume in volumes if volume.owner != COLLEAGUE and OURS[volume.owner] == key]
        status_ids = [volume.id for volume in owned if volume.form.appears_in == "ids"]
        self.machines = [each for each in self.machines if not isinstance(each, Volume)]
        try:
            answer = super()._status(key)
        finally:
            self.machines += volumes
        answer.data["resource_ids"] += status_ids
        return answer


@st.composite
def shops(draw: st.DrawFn, *, is_honest: bool = True) -> Shop:
    """Draw a server with up to two volumes for each host, and perhaps one of a colleague."""
    world = draw(servers(is_honest=is_honest))
    shop = Shop(**{name: getattr(world, name) for name in world.__dataclass_fields__})
    owners = [owner for host in HOSTS for owner in [host] * draw(st.integers(0, 2))]
    owners += [COLLEAGUE] * draw(st.integers(0, 1))
    for owner in owners:
        number, form, theirs = len(shop.machines) + 1, draw(FORMS), owner == COLLEAGUE
        offers = history(THEIRS if theirs else OURS[owner])
        volume = Volume(
            number,
            owner,
            HOSTS[0] if theirs else f"{owner}-data",
            "running",
            offers if theirs or form.names_offer else [],
            form=form,
            noted_as="" if theirs else draw(st.sampled_from(["", "id", "storage"])),
        )
        shop.machines.append(volume)
    shop.before = shop.listed()
    return shop


def shop_entry(shop: Shop, host: str) -> Json:
    """The host's entry, with its volumes as storage, or among the machines' ids as earlier versions noted them."""
    entry = entry_of(cast(Server, Machines(shop)), host, 2)
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
    """Run the role's steps once, and return the hosts for which it reports no failure."""
    api = SupplyApi(cast(Any, shop))
    own = {"name": "", "resource_id": "", "project": "default", "registry_dir": str(folder), "inventory_dir": None}
    own = {**own, "storage": storage, "wait_timeout": "20s"}
    hosts = [{**own, "id": host, "host": host, "listed_id": "", "declares": True, "known": {}} for host in HOSTS]
    plans = list(end(api, params(steps.END, hosts=hosts, ids=list(HOSTS), here="/"), False)["ends"].values())
    outcomes = ends.note_all(api, plans, ends.delete_all(api, plans))["outcomes"]
    assert all(one["left"] for one in outcomes.values() if one.get("failed")), (
        "a failed host names the resources that are left"
    )
    return [plan["host"] for plan in plans if not outcomes[plan["host"]]["stop"]]


def registered_ids(folder: Path) -> dict[str, str]:
    """The host of each machine and volume in the registry, by id."""
    hosts_by_id = {}
    for file in folder.glob("*/compute_index_supply.yml"):
        entry = yaml.safe_load(file.read_text())
        storage = [item["resource_id"] for item in entry.get("provision_storage", [])]
        ids = [*entry.get("provision_resource_ids", []), *storage]
        hosts_by_id.update(dict.fromkeys(ids, file.parent.name))
    return hosts_by_id


def billed_by_ledger(folder: Path) -> set[str]:
    return {item for bill in _stores.ledger(str(folder)).bills if bill.runs for item in bill.resource_ids}


@pytest.fixture(autouse=True)
def quick(no_sleep: None) -> Iterator[None]:
    yield


@given(shops())
def test_kept_storage_survives_its_machine_in_registry_and_ledger(shop: Shop) -> None:
    with registry({host: shop_entry(shop, host) for host in HOSTS}) as folder:
        for _run in range(2):
            assert decommission(shop, folder, "keep") == list(HOSTS), "storage prevented the end of a machine"
            assert not [volume for volume in shop.volumes if volume.id in shop.deleted], (
                "storage was deleted although it was to be kept"
            )
            machines = [each for each in shop.machines if not isinstance(each, Volume) and each.owner != COLLEAGUE]
            assert not [each for each in machines if each.is_billed]
            provable = {volume.id: volume.owner for volume in shop.provable}
            event(f"{len(provable)} of {len(shop.volumes)}")
            assert registered_ids(folder) == provable
            assert billed_by_ledger(folder) == provable.keys()


@given(shops())
def test_decommission_storage_end_deletes_only_provable_storage_of_hosts(shop: Shop) -> None:
    with registry({host: shop_entry(shop, host) for host in HOSTS}) as folder:
        assert decommission(shop, folder, "end") == list(HOSTS)
        assert {volume.id for volume in shop.volumes if volume.id in shop.deleted} == {v.id for v in shop.provable}
        assert registered_ids(folder) == {} and billed_by_ledger(folder) == set()


@given(shops(is_honest=False), st.sampled_from(["keep", "end"]), st.integers(1, 3))
def test_unreliable_answers_neither_delete_nor_forget_billed_resources(shop: Shop, storage: str, runs: int) -> None:
    with registry({host: shop_entry(shop, host) for host in HOSTS}) as folder:
        for _run in range(runs):
            ended_hosts = decommission(shop, folder, storage)
            foreign = {each.id for each in shop.machines if each.owner == COLLEAGUE}
            assert foreign.isdisjoint(shop.deleted), "a colleague's resource was deleted"
            kept = registered_ids(folder)
            for each in shop.machines:
                if each.owner == COLLEAGUE or not each.is_billed:
                    continue
                if isinstance(each, Volume):
                    assert storage == "end" or each.id not in shop.deleted
                    assert not each.noted_as or each.id in kept, "storage was forgotten while it was billed"
                else:
                    assert each.owner not in ended_hosts, "a host was reported as ended while its machine was billed"


@given(shops())
def test_audit_shows_storage_with_its_host(shop: Shop) -> None:
    for each in shop.machines:
        each.listed_as = None
    shop.lags = []
    with registry({host: shop_entry(shop, host) for host in HOSTS}) as folder:
        for run in range(2):
            hosts = [{"host": host, "name": host, "registry_dir": str(folder), "inventory_dir": None} for host in HOSTS]
            declared = [{**each, "known": {}, "declares": True} for each in hosts]
            found = audit(SupplyApi(cast(Any, shop)), params(steps.AUDIT, hosts=declared, here="/"), False)["audit"]
            stored = {row["resource_id"]: row["hosts"] for row in found["storage"]}
            for volume in shop.volumes:
                if volume.owner != COLLEAGUE:
                    assert stored.get(volume.id, [volume.owner]) == [volume.owner]
            known = registered_ids(folder) if run else {}
            assert known.keys() <= stored.keys()
            assert not {row["resource_id"] for row in found["orphans"]} & known.keys()
            assert found["price_per_hour"]["total"] >= PRICE * len(stored)
            decommission(shop, folder, "keep")
