# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random inventories, registries and orders: a run buys, awaits, configures and shows only the hosts of its order.

The order is read in a real inventory, whose group also has hosts of others. Each world computes independently which
hosts its order covers, and what each ceiling counts, including storage of earlier machines.
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
SECOND_GROUP = "web"  # an ordered host may have the same name as this group
UNOWNED = "zeta"  # a machine of the account that is in no registry
FORMS = (Form("ids"), Form("list"), Form("links"), Form("links", names_offer=False))
PRICE = 2.0  # of each running machine, USD per hour; offers cost 100 and more


@dataclass(frozen=True)
class World:
    """An inventory, a registry, and an order.

    ``members``, ``others``: the hosts of the group gpu and of the second group. ``live``: hosts with a running machine.
    ``other_project``: hosts with a machine in project red. ``order``: provision_hosts, None without. ``limit``:
    ansible_limit, empty without. ``storage``: how the API shows storage of earlier machines, by host. ``url``: the
    shared registry, empty for files.
    """

    members: list[str]
    others: list[str]
    live: list[str]
    other_project: list[str]
    order: Any
    limit: str
    storage: dict[str, Form] = field(default_factory=dict)
    url: str = ""
    folder: Path = field(default_factory=Path)

    @property
    def named(self) -> list[str]:
        """The hosts that the order names."""
        if self.order is None:
            return []
        if str(self.order).isdigit():
            return [f"gpu-{number}" for number in range(1, int(self.order) + 1)]
        return (
            self.order if isinstance(self.order, list) else [name for name in re.split(r"[,\s]+", self.order) if name]
        )

    @property
    def covered(self) -> set[str]:
        """The hosts of the run: the named ones, else the group, within the limit."""
        return {*(self.named or self.members)} & self._left

    @property
    def _left(self) -> set[str]:
        """The hosts within the limit. A name of both a host and a group means the host; after an ``!``, the group."""
        groups = {"gpu": {*self.members, *self.named}, SECOND_GROUP: {*self.others}}
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
        """Write inventory and registry, and return an API with all machines."""
        groups = {"gpu": {"hosts": dict.fromkeys(self.members)}, SECOND_GROUP: {"hosts": dict.fromkeys(self.others)}}
        inventory = Inventory(self.folder)
        inventory.write(groups)
        inventory.variables("group_vars", "all", {"provision_registry_url": self.url} if self.url else {})
        with Registries(self.url or None, BASE, read_only=False) as registries:
            forms = enumerate(self.storage.items(), 80)
            volumes = [Volume(n, host, form, host, offer_id(n)) for n, (host, form) in forms]
            for volume in volumes:
                self._note(registries, "default", volume.owner, volume.number - 20, volume)
            listed, bought = [machine(99, UNOWNED), *shown(volumes)], {}
            for number, host in enumerate(self.live):
                self._note(registries, "default", host, number)
                listed.append(machine(number, host, offer_id(number)))
                bought[offer_id(number)] = status("ready", resource_ids=[machine_id(number)])
            for number, host in enumerate(self.other_project if self.url else (), start=50):
                self._note(registries, "red", host, number)
                listed.append(machine(number, f"red-{host}", offer_id(number)))
        return AccountApi(*listed, bought=bought, offers=len(NAMES))

    def _note(self, registries: Registries, project: str, host: str, number: int, left: Volume | None = None) -> None:
        """Note the host's machine in the registry; with ``left``, only the storage that it has left."""
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

    # Steps of the run

    def ordered(self, *, find: bool) -> tuple[Json, set[str]]:
        """The result of the step order, and the hosts of the plays after it. Raises Failure."""
        inventory = Inventory(self.folder)
        given = {"provision_hosts": self.order, "ansible_limit": self.limit or None}
        inventory.play = {name: value for name, value in given.items() if value is not None}
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

    def planned(self, api: AccountApi, hosts: set[str], *, quote: bool = False, **fields: Any) -> Json:
        """The result of the step plan for these hosts. ``fields``: what each host declares. ``quote``: plan a quote."""
        folder = "" if self.url else str(self.folder / "host_vars")
        fields = {"registry_dir": folder, "reach": False, **fields}
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
    order = draw(st.sampled_from([None, "", 1, "2"]) | spelled)
    limits = st.lists(st.sampled_from([*NAMES, "gpu"]), min_size=1, max_size=4, unique=True).map(",".join)
    limit = draw(st.just("") | limits | st.sampled_from(NAMES).map("all:!{}".format))
    stored = dict.fromkeys([*live[:1], *elsewhere[:1]])
    storage = {host: FORMS[(len(live) + number) % len(FORMS)] for number, host in enumerate(stored)}
    return World(members, others, live, elsewhere, order, limit, storage)


def names_in(names: set[str], text: str) -> set[str]:
    """The names that occur in a text."""
    return {name for name in names if re.search(rf"(?<![\w-]){name}(?![\w-])", text)}


def check_world(world: World) -> None:
    api = world.build()
    try:
        answer, hosts = world.ordered(find=False)
    except Failure as failure:
        msg = failure.result["msg"]
        assert "Nothing was sent" in msg, (world, msg)
        if world.order == "":
            assert "provision_hosts='' names no host." in msg, world
            return
        assert not (world.covered and (world.named or not world.limit)), (world, msg)
        assert not world.named or f"--limit excludes {', '.join(world.named)}, which the order names" in msg
        return
    assert world.order != "", "an empty order does not mean the whole group"
    assert hosts == world.covered, world
    left_out = [name for name in world.named if name not in world.covered]
    assert names_in({*NAMES}, " ".join(answer["warnings"])) == {*left_out}
    if not hosts:
        return  # the run ends here
    live = {*world.live} & hosts
    check_plan(world, api, hosts, live)
    check_refusal(world, api, hosts, live)

    found, configured = world.ordered(find=True)
    assert configured == world.covered
    # Ansible itself reads the registry files of the inventory's hosts.
    loaded = set() if world.url else {*world.members, *world.others}
    # Without names all members are looked up, so that other hosts know their addresses even under a limit.
    sought = world.covered if world.named else {*world.members}
    assert {each["name"] for each in found["reached"]} == ({*world.live} & sought) - loaded, world
    output = json.dumps([found["added"], found["reached"]])
    assert not names_in({*NAMES, UNOWNED} - sought - {SECOND_GROUP}, output), world


def check_plan(world: World, api: AccountApi, hosts: set[str], live: set[str]) -> None:
    """The plan buys for hosts without a machine, waits for the others, and names no other host."""
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
        assert not names_in(world.strangers, json.dumps(each, default=str)), (world, each)


def check_refusal(world: World, api: AccountApi, hosts: set[str], live: set[str]) -> None:
    """A refusal by a ceiling names exactly the hosts that it counts, with the sum of the quote's table."""
    if hosts == live:
        return
    counted = hosts | {*world.live} if world.url else hosts
    stored = OF_STORAGE * len(world.storage)
    quote = world.planned(api, hosts, max_price_per_hour=1000, max_total_price_per_hour=0.5, quote=True)
    (refusal,) = {*quote["refusals"].values()}
    names = names_in({*NAMES, UNOWNED}, refusal)
    assert {*quote["refusals"]} == hosts - live and names == {*counted, *world.storage}, (world, refusal)
    total = quote["ansible_stats"]["data"]["quote"]["price_per_hour"] + PRICE * len(counted - hosts) + stored
    assert f"would cost USD {total:.2f} per hour together" in refusal, (world, refusal)

    account = world.planned(api, hosts, max_price_per_hour=1000, max_account_price_per_hour=0.5, quote=True)
    (refusal,) = {*account["refusals"].values()}
    owned = {*hosts, *world.live, *(world.other_project if world.url else ()), *world.storage}
    assert names_in({*NAMES, UNOWNED}, refusal) == {*owned, UNOWNED}, (world, refusal)
    assert f"{UNOWNED} ({machine_id(99)}) USD 2.00 (in no registry that was read" in refusal
    assert all(f"{host} of project red" in refusal for host in (world.other_project if world.url else ()))


@given(worlds())
@settings(max_examples=30)
def test_run_covers_exactly_the_hosts_of_its_order(world: World) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_world(World(**{**vars(world), "folder": Path(folder)}))


def test_run_with_a_shared_registry_covers_exactly_the_hosts_of_its_order(postgresql_server: str) -> None:
    @given(worlds())
    @settings(max_examples=20)
    def checked(world: World) -> None:
        postgresql.forget(postgresql_server)
        with tempfile.TemporaryDirectory() as folder:
            check_world(World(**{**vars(world), "folder": Path(folder), "url": postgresql_server}))

    try:
        checked()
    finally:
        postgresql.forget(postgresql_server)


@pytest.mark.parametrize(("registry", "owns"), [("none", True), ("files", False), ("shared", False)])
def test_provision_and_audit_agree_on_a_machine_named_like_a_host(
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


def test_order_beyond_a_group_named_gpus_is_refused(tmp_path: Path) -> None:
    inventory = Inventory(tmp_path)
    inventory.write({"gpus": {"hosts": {"a": None, "b": None}}})
    inventory.play = {"provision_hosts": "b"}
    assert inventory.gathered("order", find=False)["variables"]["provision_hosts"] == "b"
    for order in ("b,c", 2):
        inventory.play = {"provision_hosts": order}
        with pytest.raises(AnsibleActionFail, match="Did you mean gpus"):
            inventory.gathered("order", find=False)
        assert inventory.gathered("order", find=True), "a search for machines adds no host"
