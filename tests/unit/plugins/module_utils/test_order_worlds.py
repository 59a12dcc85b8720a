# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random inventories, registries and orders: what a run buys, waits for, configures and shows is what its order names.

The order is read in a real inventory, whose group has hosts of others, as the inventory plugin puts them back there.
Each world knows by itself which hosts its order covers, and what each ceiling counts, also of storage that earlier
machines have left.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from ansible.errors import AnsibleActionFail
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import Registries
from ansible_collections.compute_index.supply.plugins.module_utils._operations.audit import audit
from ansible_collections.compute_index.supply.plugins.module_utils._operations.order import order_of
from ansible_collections.compute_index.supply.plugins.module_utils._operations.plan import plan
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import SharedProject, place_of
from hypothesis import given, settings
from hypothesis import strategies as st

import postgresql
from account_api import AccountApi
from project_inventory import Inventory
from provision_samples import machine, machine_id, offer_id, raw
from samples import BASE, status
from storage_samples import PRICE as OF_STORAGE
from storage_samples import Form, Volume
from storage_samples import listed as shown

Json = dict[str, Any]
NAMES = ("alpha", "beta", "delta", "gpu-1", "gpu-2", "omega", "web")
GROUP_TOO = "web"  # a host of this name may be ordered, and a group has it as well
UNOWNED = "zeta"  # a machine of the account that no registry knows
FORMS = (Form("ids"), Form("list"), Form("links"), Form("links", names_offer=False))
PRICE = 2.0  # of each machine that runs, USD per hour; offers cost 100 and more


@dataclass(frozen=True)
class World:
    """``members`` of the group gpu, and of another group; hosts that are ``live``, or of another project; the order.

    ``stores``: the hosts whose earlier machines have left storage, each with how the API shows that.
    ``limit``: of the run, empty for none. ``url``: the shared registry, empty for files.
    """

    members: list[str]
    others: list[str]
    live: list[str]
    elsewhere: list[str]
    asked: Any
    limit: str
    stores: dict[str, Form] = field(default_factory=dict)
    url: str = ""
    folder: Path = field(default_factory=Path)

    @property
    def named(self) -> list[str]:
        """The hosts that the order names."""
        if str(self.asked).isdigit():
            return [f"gpu-{number}" for number in range(1, int(self.asked) + 1)]
        return (
            self.asked if isinstance(self.asked, list) else [name for name in re.split(r"[,\s]+", self.asked) if name]
        )

    @property
    def covered(self) -> set[str]:
        """The hosts that the run is for: those named, else the group, as far as the limit leaves them."""
        return {*(self.named or self.members)} & self._left

    @property
    def _left(self) -> set[str]:
        """The hosts that the limit leaves. A name of a host and a group is the host's; after an ``!``, the group's."""
        groups = {"gpu": {*self.members, *self.named}, GROUP_TOO: {*self.others}}
        if not self.limit:
            return {*NAMES}
        if self.limit.startswith("all:!"):
            name = self.limit[5:]
            return {*NAMES} - groups.get(name, {name})
        hosts = {*self.members, *self.others, *self.named}
        names = self.limit.split(",")
        return set().union(*({name} if name in hosts else groups.get(name, {name}) for name in names))

    @property
    def strangers(self) -> set[str]:
        return {*NAMES, UNOWNED} - self.covered

    def build(self) -> AccountApi:
        """Write inventory and registry; the account with all machines."""
        groups = {"gpu": {"hosts": dict.fromkeys(self.members)}, GROUP_TOO: {"hosts": dict.fromkeys(self.others)}}
        inventory = Inventory(self.folder)
        inventory.write(groups)
        inventory.variables("group_vars", "all", {"provision_registry_url": self.url} if self.url else {})
        with Registries(self.url or None, BASE, read_only=False) as registries:
            stores = enumerate(self.stores.items(), 80)
            volumes = [Volume(n, host, form, host, offer_id(n)) for n, (host, form) in stores]
            for volume in volumes:
                self._own(registries, "default", volume.owner, volume.number - 20, volume)
            listed, bought = [machine(99, UNOWNED), *shown(volumes)], {}
            for number, host in enumerate(self.live):
                self._own(registries, "default", host, number)
                listed.append(machine(number, host, offer_id(number)))
                bought[offer_id(number)] = status("ready", resource_ids=[machine_id(number)])
            for number, host in enumerate(self.elsewhere if self.url else (), start=50):
                self._own(registries, "red", host, number)
                listed.append(machine(number, f"red-{host}", offer_id(number)))
        return AccountApi(*listed, bought=bought, offers=len(NAMES))

    def _own(self, registries: Registries, project: str, host: str, number: int, left: Volume | None = None) -> None:
        """The host's machine, in the registry; or only the storage that it has ``left``."""
        place = SharedProject(project) if self.url else place_of(str(self.folder / "host_vars"))
        store = registries.at(place).host(host)
        assert store is not None
        address = {"ansible_host": "203.0.113.7", "ansible_port": 22, "ansible_user": "root"}
        offer = {"provision_procured_offer_id": offer_id(number), "provision_price_per_hour": PRICE}
        name = host if project == "default" else f"{project}-{host}"
        made = {
            "provision_purchase": "made",
            "provision_resource_ids": [machine_id(number)],
            "provision_groups": ["gpu"],
        }
        reached = {"provision_instances": [{**address, "resource_id": machine_id(number)}], **address}
        store.read()
        store.claim({**offer, "provision_purchase": "sent", "provision_resource_name": name})
        store.note({**offer, **made, **reached, **({"provision_storage": [left.entry_item]} if left else {})})
        if left:
            store.end()
        store.close()

    # What the run does

    def ordered(self, *, find: bool) -> tuple[Json, set[str]]:
        """The step `order`, and the hosts of the plays that follow it. Raises Failure."""
        inventory = Inventory(self.folder)
        inventory.play = {"provision_hosts": self.asked, **({"ansible_limit": self.limit} if self.limit else {})}
        gathered = {**inventory.gathered("order", find=find), "group": "gpu"}
        answer = order_of(params(steps.ORDER, gathered), False)
        manager = InventoryManager(DataLoader(), sources=[str(self.folder / "hosts.yml")])
        for each in answer["added"]:
            for group in each["groups"]:
                manager.add_group(group)
                manager.add_host(each["name"], group=group)
        if self.limit:
            manager.subset(self.limit)
        return answer, {host.name for host in manager.get_hosts(answer["group"])}

    def planned(self, api: AccountApi, hosts: set[str], **more: Any) -> Json:
        """The step `plan` for these hosts; ``more``: what each declares, or that it is a quote."""
        quote = more.pop("quote", False)
        folder = "" if self.url else str(self.folder / "host_vars")
        fields = {"registry_dir": folder, "reach": False, **more}
        declared = [raw(host=host, name=host, id=host, **fields) for host in sorted(hosts)]
        found = {"hosts": declared, "ids": sorted(hosts), "registry_url": self.url or None, "quote": quote}
        return plan(cast(Market, api), params(steps.PLAN, found), True)


def params(spec: Json, found: Json) -> Json:
    defaults = {name: option.get("default") for name, option in spec.items()}
    return {**defaults, "api_url": BASE, "api_token": "t", "api_retries": 0, "here": "/", **found}


@st.composite
def worlds(draw: st.DrawFn) -> World:
    members = draw(st.lists(st.sampled_from(NAMES), unique=True))
    others = [name for name in NAMES if name not in members and draw(st.booleans())]
    live, elsewhere = (draw(st.lists(st.sampled_from(NAMES), unique=True)) for _project in range(2))
    named = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=4))
    spelled = st.sampled_from([named, ",".join(named), "\n".join(named), ", ".join(named)])
    asked = draw(st.sampled_from([1, "2", ""]) | spelled)
    limits = st.lists(st.sampled_from([*NAMES, "gpu"]), min_size=1, max_size=4, unique=True).map(",".join)
    limit = draw(st.just("") | limits | st.sampled_from(NAMES).map("all:!{}".format))
    stored = dict.fromkeys([*live[:1], *elsewhere[:1]])
    stores = {host: FORMS[(len(live) + number) % len(FORMS)] for number, host in enumerate(stored)}
    return World(members, others, live, elsewhere, asked, limit, stores)


def said(names: set[str], text: str) -> set[str]:
    """Those of the names that are in a text."""
    return {name for name in names if re.search(rf"(?<![\w-]){name}(?![\w-])", text)}


def check(world: World) -> None:
    api = world.build()
    try:
        answer, hosts = world.ordered(find=False)
    except Failure as failure:
        msg = failure.result["msg"]
        assert "Nothing was sent" in msg and not (world.covered and (world.named or not world.limit)), (world, msg)
        assert not world.named or f"--limit excludes {', '.join(world.named)}, which the order names" in msg
        return
    assert hosts == world.covered, world
    left_out = [name for name in world.named if name not in world.covered]
    assert said({*NAMES}, " ".join(answer["warnings"])) == {*left_out}
    if not hosts:
        return  # no play has a host
    live = {*world.live} & hosts
    check_plan(world, api, hosts, live)
    check_refusal(world, api, hosts, live)

    found, configured = world.ordered(find=True)
    assert configured == world.covered
    # Where files are the registry, Ansible reads by itself what is noted of the inventory's hosts.
    read = set() if world.url else {*world.members, *world.others}
    expected = live - read if world.named else set()
    assert {each["name"] for each in found["reached"]} == expected, world
    assert not said(world.strangers - {GROUP_TOO}, json.dumps([found["added"], found["reached"]]))


def check_plan(world: World, api: AccountApi, hosts: set[str], live: set[str]) -> None:
    """It buys for those that have nothing, waits for the others, and says nothing of strangers."""
    run = world.planned(api, hosts, max_price_per_hour=1000)
    actions = {each["host"]: each["action"] for each in run["plans"]}
    assert {host for host, action in actions.items() if action == "buy"} == hosts - live, (world, actions)
    assert {*actions} <= hosts and {*actions.values()} <= {"buy", "wait", "keep"}
    names = {each["options"]["host"] for one in run["plans"] for each in one.get("purchases", ())}
    assert names == hosts - live
    awaited = {offer_id(world.live.index(host)) for host in live}
    assert {*run["common"]["under_way"]} <= awaited
    quote = world.planned(api, hosts, max_price_per_hour=1000, quote=True)
    assert {*quote["ansible_stats"]["data"]["quote"]["hosts"]} == hosts
    for each in (run, quote):
        assert not said(world.strangers, json.dumps(each, default=str)), (world, each)


def check_refusal(world: World, api: AccountApi, hosts: set[str], live: set[str]) -> None:
    """A ceiling names every host that it counts, and no other, and its numbers are those of the table."""
    if hosts == live:
        return
    counted = hosts | {*world.live} if world.url else hosts
    stored = OF_STORAGE * len(world.stores)
    quote = world.planned(api, hosts, max_price_per_hour=1000, max_total_price_per_hour=0.5, quote=True)
    (refusal,) = {*quote["refusals"].values()}
    names = said({*NAMES, UNOWNED}, refusal)
    assert {*quote["refusals"]} == hosts - live and names == {*counted, *world.stores}, (world, refusal)
    total = quote["ansible_stats"]["data"]["quote"]["price_per_hour"] + PRICE * len(counted - hosts) + stored
    assert f"would cost USD {total:.2f} per hour together" in refusal, (world, refusal)

    account = world.planned(api, hosts, max_price_per_hour=1000, max_account_price_per_hour=0.5, quote=True)
    (refusal,) = {*account["refusals"].values()}
    owned = {*hosts, *world.live, *(world.elsewhere if world.url else ()), *world.stores}
    assert said({*NAMES, UNOWNED}, refusal) == {*owned, UNOWNED}, (world, refusal)
    assert f"{UNOWNED} ({machine_id(99)}) USD 2.00 (in no registry that was read" in refusal
    assert all(f"{host} of project red" in refusal for host in (world.elsewhere if world.url else ()))


@given(worlds())
@settings(max_examples=30)
def test_a_run_covers_what_its_order_names(world: World) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(World(**{**vars(world), "folder": Path(folder)}))


def test_a_run_beside_a_shared_registry_covers_what_its_order_names(postgresql_server: str) -> None:
    @given(worlds())
    @settings(max_examples=20)
    def checked(world: World) -> None:
        postgresql.forget(postgresql_server)
        with tempfile.TemporaryDirectory() as folder:
            check(World(**{**vars(world), "folder": Path(folder), "url": postgresql_server}))

    try:
        checked()
    finally:
        postgresql.forget(postgresql_server)


@pytest.mark.parametrize(("registry", "owns"), [("none", True), ("files", False), ("shared", False)])
def test_provision_and_audit_say_the_same_of_a_machine_with_a_hosts_name(
    tmp_path: Path, registry_url: str, registry: str, owns: bool
) -> None:
    url = registry_url if registry == "shared" else ""
    world = World(["gpu-1"], [], [], [], [], "", url=url, folder=tmp_path)
    api = AccountApi(machine(1, "gpu-1", offer_id(1)), bought={offer_id(1): status("ready")})
    folder = str(tmp_path / "host_vars") if registry == "files" else ""
    (planned,) = world.planned(api, {"gpu-1"}, registry_dir=folder)["plans"]
    assert planned["action"] == ("wait" if owns else "stop")
    assert owns or "that the registry of gpu-1 does not know" in planned["refusal"]

    host = raw(host="gpu-1", name="gpu-1", registry_dir=folder, declares=True, prefix="", known={})
    found = {"hosts": [host], "names": ["gpu-1"], "registry_url": world.url or None}
    audited = audit(cast(Market, api), params(steps.AUDIT, found), False)["audit"]
    assert [row["hosts"] for row in audited["claimed"]] == [["gpu-1"]] * owns
    assert len(audited["orphans"]) == (not owns)


def test_an_order_beside_a_plural_of_the_usual_group_is_only_for_hosts_of_the_inventory(tmp_path: Path) -> None:
    inventory = Inventory(tmp_path)
    inventory.write({"gpus": {"hosts": {"a": None, "b": None}}})
    inventory.play = {"provision_hosts": "b"}
    assert inventory.gathered("order", find=False)["variables"]["provision_hosts"] == "b"
    for asked in ("b,c", 2):
        inventory.play = {"provision_hosts": asked}
        with pytest.raises(AnsibleActionFail, match="Did you mean gpus"):
            inventory.gathered("order", find=False)
        assert inventory.gathered("order", find=True), "what is only looked for adds nothing"
