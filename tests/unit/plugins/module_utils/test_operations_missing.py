# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that vanish: the notes of plans, sweeps and audits, with both stores and the simulated API over HTTP."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._operations import _missing, reap
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import Registries
from ansible_collections.compute_index.supply.plugins.module_utils._operations.audit import AUDIT
from ansible_collections.compute_index.supply.plugins.module_utils._operations.plan import PLAN
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reap import REAP
from ansible_collections.compute_index.supply.plugins.module_utils._operations.spend import SPEND
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    MISSING_AT,
    MISSING_SINCE,
    Entry,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock, utc_rounded_up
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder, Place, SharedProject
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import (
    AboveCeiling,
    Ceilings,
    Contested,
    Database,
    Purchase,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import RegistryError
from ansible_collections.compute_index.supply.plugins.module_utils._registry._shared import SharedHost
from ansible_collections.compute_index.supply.plugins.module_utils._text import seconds_of

import postgresql
from provision_samples import raw
from simulator import Resource
from simulator.market import volume as sold

if TYPE_CHECKING:
    from simulator import Simulator

Json = dict[str, Any]
_AGE = """
UPDATE compute_index_supply.purchase SET note = note || jsonb_build_object(%(name)s::text, to_char(
    ((note->>%(name)s)::timestamptz - make_interval(secs => %(seconds)s)) AT TIME ZONE 'UTC',
    'YYYY-MM-DD"T"HH24:MI:SS"Z"')) WHERE note ? %(name)s
"""
HOST: Json = {
    **{"host": "localhost", "name": "localhost", "prefix": "", "project": "default", "registry_dir": None},
    **{"inventory_dir": None, "declares": False},
    **dict.fromkeys(("lease", "lease_max", "max_bill", "budget", "idle_after"), ""),
    "protect": None,
    "known": {},
}


class HostRegistry:
    """A registry of files or in PostgreSQL, whose noted looks can be made older."""

    def __init__(self, folder: Path, url: str | None, api_url: str) -> None:
        self.folder, self.url = folder, url
        self.params = {"registry_url": url, "api_url": api_url}
        self.place: Place = SharedProject() if url else Folder(str(folder))

    def open(self) -> Registries:
        return Registries.of(self.params, read_only=False)

    def buy(self, host: str, machine: Json, *, ready: bool = True, storage: Sequence[Json] = ()) -> None:
        """Note that a host owns a machine with storage, as a run of the role does."""
        price = {"provision_price_per_hour": machine["price_per_hour"]}
        known = {"provision_procured_offer_id": machine["offer_id"], **price, "provision_resource_name": host}
        connection = {"ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
        with self.open() as registries:
            registry = registries.at(self.place).host(host)
            assert registry is not None
            registry.read()
            sent = {**known, "provision_journaled_at": utc_rounded_up(1e9), "provision_purchase": "sent"}
            registry.claim(sent)
            bought = {"provision_resource_ids": [machine["resource_id"]], "provision_purchase": "made"}
            instances = {"provision_instances": [connection]} if ready else {}
            registry.note({**known, **bought, **instances, **({"provision_storage": [*storage]} if storage else {})})
            registry.close()

    def entries(self) -> dict[str, Entry]:
        with self.open() as registries:
            return registries.at(self.place).entries().hosts

    def state(self) -> tuple[dict[str, Entry], dict[str, bool], tuple[Bill, ...]]:
        """The entries by host; whether storage is kept without its machine, by id; the ledger's bills."""
        with self.open() as registries:
            store = registries.at(self.place)
            found, bills = store.entries(), store.ledger().bills
        items = [(item, entry) for entry in {**found.hosts, **found.strays}.values() for item in entry.storage]
        stored = {item.resource_id: bool(item.kept_since or entry.storage_of) for item, entry in items}
        return found.hosts, stored, bills

    def contents(self) -> Any:
        """The whole content, to compare whether anything was written."""
        if self.url:
            return postgresql.execute(self.url, "SELECT * FROM compute_index_supply.purchase ORDER BY claimed_at")
        return {path: path.read_text() for path in self.folder.rglob("*") if path.is_file()}

    def age(self, seconds: float) -> None:
        """Make all noted looks this much older."""
        for name in (MISSING_SINCE, MISSING_AT):
            if self.url:
                postgresql.execute(self.url, _AGE, {"name": name, "seconds": seconds})
        for path in self.folder.rglob("compute_index_supply.yml"):
            known = yaml.safe_load(path.read_text())
            for name in (MISSING_SINCE, MISSING_AT):
                if name in known:
                    known[name] = utc_rounded_up((seconds_of(known[name]) or 0.0) - seconds)
            path.write_text(yaml.safe_dump(known))

    def bills(self) -> dict[str, bool]:
        """Whether the ledger has a running bill, by host."""
        with self.open() as registries:
            return {bill.host: bill.runs for bill in registries.ledger([self.place]).bills}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    pytest.importorskip("uvicorn")  # ansible-test units installs only tests/unit/requirements.txt
    from simulator import Settings, Simulator

    with Simulator(Settings(), []) as running:
        yield running


class Fleet:
    """Four hosts with machines at the simulator, and the operations on them."""

    def __init__(self, simulator: Simulator, registry: HostRegistry, perform: Callable[..., Json]) -> None:
        self.api, self.registry, self._perform = simulator, registry, perform
        simulator.hide()
        machines = simulator.populate(4)
        self.ids = {f"gpu-{number}": each.resource_id for number, each in enumerate(machines)}
        self.price = 0.0
        for host, each in zip(self.ids, machines, strict=True):
            price = each.purchase.offer.total_price(each.purchase.offer.fresh_price) or 0.0
            self.price += price
            offer_id = each.purchase.offer_id
            registry.buy(host, {"resource_id": each.resource_id, "offer_id": offer_id, "price_per_hour": price})

    def perform_step(self, operation: Any, step: str, check_mode: bool = False, **params: Any) -> Json:
        url = self.registry.url
        common = {"api_url": self.api.url, "api_token": self.api.settings.token, "registry_url": url, "here": "/"}
        if "hosts" not in params:
            params["hosts"] = [{**HOST, "registry_dir": None if url else str(self.registry.folder)}]
        return self._perform(operation, check_mode, step=step, **common, **params)

    def reap(self, check_mode: bool = False) -> Json:
        return self.perform_step(REAP, "reap", check_mode)

    def audit(self, settle: bool = False, check_mode: bool = False) -> Json:
        return self.perform_step(AUDIT, "audit", check_mode, settle=settle)

    def spend(self) -> Json:
        return self.perform_step(SPEND, "spend")

    def hosts_that_buy(self, *hosts: str, **fields: Any) -> Json:
        """The parameters for a plan of these hosts, each of which may buy an offer of its own."""
        folder = None if self.registry.url else str(self.registry.folder)
        declared = []
        for number, host in enumerate(hosts):
            offer = self.api.add_offer(gpu_price_per_hour=1.0)
            how = {"offer_id": offer.offer_id, "spec": {}, "registry_dir": folder, **fields}
            declared.append(raw(host=host, name=host, id=str(number), **how))
        return {"hosts": declared, "ids": [each["id"] for each in declared]}

    def plan(self, *hosts: str, check_mode: bool = False, quote: bool = False, **fields: Any) -> list[Json]:
        """The plans of these hosts, each of which may buy an offer of its own."""
        declared = self.hosts_that_buy(*(hosts or ["gpu-new"]), **fields)
        return list(self.perform_step(PLAN, "plan", check_mode, quote=quote, **declared)["plans"])

    def marks(self, host: str) -> tuple[bool, bool]:
        """Whether a look missed the host's machine, and whether the machine is missing."""
        entry = self.registry.entries()[host]
        return bool(entry.missing_since), entry.is_missing


@pytest.fixture(params=["files", "postgresql"])
def fleet(
    request: pytest.FixtureRequest, simulator: Simulator, perform: Callable[..., Json], tmp_path: Path
) -> Iterator[Fleet]:
    url = request.getfixturevalue("registry_url") if request.param == "postgresql" else None
    folder = tmp_path / "host_vars"
    folder.mkdir()
    yield Fleet(simulator, HostRegistry(folder, url, simulator.url), perform)
    for each in simulator.resources.values():
        each.deleted_at = each.deleting_at = simulator.market.clock() - timedelta(seconds=1)


LOOKS: list[Callable[[Fleet], Any]] = [Fleet.reap, lambda fleet: fleet.audit(settle=True), Fleet.plan]
EACH_LOOK = pytest.mark.parametrize("look", LOOKS, ids=["reap", "audit_settle", "plan"])


@EACH_LOOK
def test_machine_is_missing_after_two_looks_half_an_hour_apart(fleet: Fleet, look: Callable[[Fleet], Any]) -> None:
    fleet.api.hide(fleet.ids["gpu-1"])
    look(fleet)
    assert fleet.marks("gpu-1") == (True, False)
    for wait in (0, 1700):
        fleet.registry.age(wait)
        look(fleet)
        assert fleet.marks("gpu-1") == (True, False), wait
    fleet.registry.age(120)
    look(fleet)
    assert fleet.marks("gpu-1") == (True, True)
    # Its entry and its bill stay, and the other hosts have no mark.
    assert fleet.registry.entries()["gpu-1"].resource_ids == (fleet.ids["gpu-1"],)
    assert fleet.registry.bills() == dict.fromkeys(fleet.ids, True)
    assert [fleet.marks(host) for host in fleet.ids if host != "gpu-1"] == [(False, False)] * 3
    fleet.api.hide()
    look(fleet)
    assert fleet.marks("gpu-1") == (False, False)


@EACH_LOOK
def test_machine_told_gone_leaves_registry_and_ledger(fleet: Fleet, look: Callable[[Fleet], Any]) -> None:
    fleet.api.vanish(fleet.ids["gpu-1"])
    look(fleet)
    assert fleet.registry.entries().keys() == {"gpu-0", "gpu-2", "gpu-3"}
    assert fleet.registry.bills() == {"gpu-0": True, "gpu-1": False, "gpu-2": True, "gpu-3": True}


@EACH_LOOK
def test_storage_of_machine_told_gone_stays(fleet: Fleet, look: Callable[[Fleet], Any]) -> None:
    """The entry names only the machine, as earlier versions noted it."""
    machine = fleet.api.resources[fleet.ids["gpu-1"]]
    disk = Resource(machine.purchase, "data", volume=sold(500, 0.08, persistent=True))
    machine.purchase.volumes.append(disk)
    fleet.api.resources[disk.resource_id] = disk
    fleet.api.vanish(machine.resource_id)
    look(fleet)
    with fleet.registry.open() as registries:
        strays = registries.at(fleet.registry.place).entries().strays.values()
        running = [bill.resource_ids for bill in registries.ledger([fleet.registry.place]).bills if bill.runs]
    assert [each.resource_ids for each in strays] == [(disk.resource_id,)]
    assert (disk.resource_id,) in running and (machine.resource_id,) not in running


@EACH_LOOK
def test_nothing_is_noted_if_all_machines_vanish(fleet: Fleet, look: Callable[[Fleet], Any]) -> None:
    """The token may be of another account, or the URL of another API."""
    fleet.api.hide(*fleet.ids.values())
    for _look in range(2):
        look(fleet)
        assert [fleet.marks(host) for host in fleet.ids] == [(False, False)] * 4
        fleet.registry.age(3600)


READS: list[Callable[[Fleet], Any]] = [
    lambda fleet: fleet.audit(),
    lambda fleet: fleet.audit(settle=True, check_mode=True),
    lambda fleet: fleet.reap(check_mode=True),
    lambda fleet: fleet.plan(quote=True),
    lambda fleet: fleet.plan(check_mode=True),
    Fleet.spend,
]


def test_reads_write_nothing_about_vanished_machines(fleet: Fleet) -> None:
    fleet.api.hide(fleet.ids["gpu-1"])
    fleet.reap()
    fleet.registry.age(3600)
    fleet.api.vanish(fleet.ids["gpu-2"])
    before = fleet.registry.contents()
    for read in READS:
        read(fleet)
        assert fleet.registry.contents() == before
    fleet.api.hide()
    for read in READS:
        read(fleet)
        assert fleet.registry.contents() == before


def make_missing(fleet: Fleet, host: str) -> None:
    """Let two looks half an hour apart miss the host's machine."""
    fleet.api.hide(fleet.ids[host])
    fleet.reap()
    fleet.registry.age(1860)
    fleet.reap()
    assert fleet.marks(host) == (True, True)


def test_host_with_missing_machine_buys_no_other(fleet: Fleet) -> None:
    make_missing(fleet, "gpu-1")
    for quote in (True, False):
        (plan,) = fleet.plan("gpu-1", quote=quote)
        assert plan["action"] == "stop" and "MISSING since" in plan["refusal"], plan
        assert f"decommission_hosts=gpu-1 -e decommission_forget={fleet.ids['gpu-1']}" in plan["refusal"]
    assert fleet.marks("gpu-1") == (True, True)
    fleet.api.hide()
    assert fleet.plan("gpu-1") == [] or fleet.plan("gpu-1")[0]["action"] in ("keep", "wait")


def test_missing_machine_does_not_count_until_it_returns(fleet: Fleet) -> None:
    """The ceiling has room for four machines, three of the hosts and a new one: in plans, and in SQL under the gate."""
    ceiling = {"max_account_price_per_hour": fleet.price + 0.5, "max_price_per_hour": 2}
    assert fleet.plan(**ceiling)[0]["action"] == "stop"
    make_missing(fleet, "gpu-1")
    assert fleet.plan(**ceiling)[0]["action"] == "buy"
    if url := fleet.registry.url:
        assert _claims(url, fleet.api.url, fleet.price + 0.5) == ["project", "account"]
    fleet.api.hide()
    assert fleet.plan(**ceiling)[0]["action"] == "stop"
    if url:
        assert _claims(url, fleet.api.url, fleet.price + 0.5) == []


def _claims(url: str, account: str, ceiling: float) -> list[str]:
    """The names of ceilings below which the database accepts a purchase of 1 USD per hour; it is voided again."""
    passed = []
    database = Database(url, {"host": "h", "user": "u", "run": str(uuid.uuid4())})
    for name, limits in (("project", Ceilings(ceiling, None)), ("account", Ceilings(None, ceiling))):
        wanted = Purchase(str(uuid.uuid4()), "default", "gpu-x", account, str(uuid.uuid4()), 1.0)
        try:
            row = database.claim(wanted, limits)
        except AboveCeiling:
            continue
        database.void(row, "a test", {})
        passed.append(name)
    return passed


def test_audit_and_spend_show_missing_machines_with_advice(fleet: Fleet) -> None:
    fleet.api.hide(fleet.ids["gpu-1"])
    found = fleet.audit()
    (row,) = found["audit"]["missing"]
    assert (row["host"], row["counts"], row["resource_ids"]) == ("gpu-1", True, [fleet.ids["gpu-1"]])
    assert found["audit"]["gone"] == [] and found["changed"] is False
    make_missing(fleet, "gpu-1")
    found, spent = fleet.audit(), fleet.spend()
    (row,) = found["audit"]["missing"]
    assert row["counts"] is False and row["since"] == fleet.registry.entries()["gpu-1"].missing_since
    for lines in (found["lines"], spent["lines"]):
        text = "\n".join(lines)
        assert "MISSING" in text and fleet.ids["gpu-1"] in text and "decommission_forget=" in text
        assert "Ask the vendor" in text and max(map(len, text.splitlines())) <= 80, text
        rows = text[text.index("MISSING") :].splitlines()[:8]
        assert max(map(len, rows)) <= 69, "Ansible indents and quotes each line of a list"
    assert spent["spend"]["missing"] == [row]
    rest = spent["spend"]["price_per_hour_without_missing"]
    assert rest == pytest.approx(fleet.price - row["price_per_hour"])
    assert spent["spend"]["price_per_hour"] == pytest.approx(fleet.price)


def test_sweep_warns_about_vanished_and_returned_machines(fleet: Fleet) -> None:
    fleet.api.hide(fleet.ids["gpu-1"])
    fleet.api.vanish(fleet.ids["gpu-2"])
    result = fleet.reap()
    first, gone = result["warnings"]
    assert result["changed"] and "gpu-1: MISSING" in first and "gpu-2: the API says" in gone
    fleet.registry.age(1860)
    (second,) = fleet.reap()["warnings"]
    assert "no longer counts" in second and "decommission_hosts=gpu-1" in second
    assert fleet.reap()["changed"] is False
    fleet.api.hide()
    (again,) = fleet.reap()["warnings"]
    assert "finds it again" in again and "count again" in again


def test_plan_does_not_warn_about_hosts_outside_play(fleet: Fleet) -> None:
    fleet.api.hide(fleet.ids["gpu-1"])
    fleet.api.vanish(fleet.ids["gpu-2"])
    offer = fleet.api.add_offer(gpu_price_per_hour=1.0)
    folder = None if fleet.registry.url else str(fleet.registry.folder)
    new = raw(host="gpu-new", name="gpu-new", id="1", offer_id=offer.offer_id, spec={}, registry_dir=folder)
    result = fleet.perform_step(PLAN, "plan", hosts=[new], ids=["1"])
    assert not [each for each in result["warnings"] if "gpu-1" in each or "gpu-2" in each], result["warnings"]
    assert fleet.marks("gpu-1") == (True, False) and "gpu-2" not in fleet.registry.entries()


@pytest.mark.parametrize("ceiling", [{}, {"max_account_price_per_hour": 1000}], ids=["none", "of the account"])
def test_plan_with_a_ceiling_of_the_account_looks_in_all_projects(
    simulator: Simulator, registry_url: str, perform: Callable[..., Json], tmp_path: Path, ceiling: Json
) -> None:
    """A missing machine of another project counts in it, and one that is found again does so from now on."""
    fleet = Fleet(simulator, HostRegistry(tmp_path, registry_url, simulator.url), perform)
    make_missing(fleet, "gpu-1")
    fleet.api.hide(fleet.ids["gpu-2"])
    fleet.plan(project="blue", **ceiling)
    assert (fleet.marks("gpu-1"), fleet.marks("gpu-2")) == ((not ceiling,) * 2, (bool(ceiling), False))


def test_plan_buys_nothing_if_a_returned_machine_cannot_be_noted(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would not count in the ceilings."""

    def refuse(*_args: Any) -> None:
        raise RegistryError("The disk is full.")

    make_missing(fleet, "gpu-1")
    fleet.api.hide()
    for store in (HostFile, SharedHost):
        monkeypatch.setattr(store, "compare_and_set", refuse)
    result = fleet.perform_step(PLAN, "plan", **fleet.hosts_that_buy("gpu-new"))
    assert result["failed"] and result["msg"] == "The disk is full. Nothing was sent."


@EACH_LOOK
def test_stray_counts_until_it_has_ended(
    simulator: Simulator, registry_url: str, perform: Callable[..., Json], tmp_path: Path, look: Callable[[Fleet], Any]
) -> None:
    """A person ends strays by their ids, which no registry learns of."""
    fleet = Fleet(simulator, HostRegistry(tmp_path, registry_url, simulator.url), perform)
    database = Database(registry_url, {"host": "h", "user": "u", "run": "r"})
    strays = simulator.populate(2)
    for each in strays:
        wanted = Purchase(str(uuid.uuid4()), "default", "gpu-0", simulator.url, each.purchase.offer_id, 1.0)
        with pytest.raises(Contested):
            database.note(wanted, [each.resource_id])
    assert [row.state for row in database.counted()].count("stray") == 2
    simulator.vanish(strays[0].resource_id)
    simulator.hide(strays[1].resource_id)
    result = look(fleet)
    if isinstance(result, dict):  # the other look returns plans only
        ended = [each.resource_id for each in strays if f"{each.resource_id} has ended" in str(result["warnings"])]
        assert ended == [strays[0].resource_id]
    (stray,) = [row for row in database.counted() if row.state == "stray"]
    assert stray.resource_ids == [strays[1].resource_id] and len(fleet.registry.entries()) == 4


def test_returned_machine_counts_in_plan_that_also_notes_late_machine(
    simulator: Simulator, registry_url: str, perform: Callable[..., Json], tmp_path: Path
) -> None:
    fleet = Fleet(simulator, HostRegistry(tmp_path, registry_url, simulator.url), perform)
    make_missing(fleet, "gpu-1")
    late = simulator.populate(1)[0]
    database = Database(registry_url, {"host": "h", "user": "u", "run": "r"})
    wanted = Purchase(
        str(uuid.uuid4()),
        "default",
        str(late.name),
        simulator.url,
        late.purchase.offer_id,
        1.0,
        {"provision_resource_name": str(late.name)},
    )
    database.void(database.claim(wanted, Ceilings()), "not made", {})
    simulator.hide()
    fleet.plan()
    assert fleet.registry.entries()[str(late.name)].resource_ids == (late.resource_id,)
    assert fleet.marks("gpu-1") == (False, False)


@pytest.mark.parametrize(
    "fault",
    [
        {
            "path": "/resources/LOST",
            "status": 404,
            "body": b"<html>not here</html>",
            "headers": {"Content-Type": "text/html"},
        },
        {"path": "/resources/LOST", "status": 404, "body": {"title": "Not Found", "type": "x", "detail": "gateway"}},
        {"path": "/resources/LOST", "status": 503, "body": {"detail": "away"}},
        {"path": "/resources$", "status": 200, "body": {"resources": [], "total": 4}},
    ],
    ids=["gateway page", "problem document", "transient error", "incomplete list"],
)
def test_answers_not_from_the_api_itself_count_as_no_look(fleet: Fleet, fault: Json) -> None:
    from simulator.faults import Fault

    fleet.api.hide(fleet.ids["gpu-1"])
    path = fault["path"].replace("LOST", fleet.ids["gpu-1"])
    fleet.api.faults.append(Fault(count=None, **{**fault, "path": path}))
    try:
        for _look in range(2):
            for look in (fleet.reap, lambda: fleet.audit(settle=True), fleet.plan):
                with suppress(Failure):
                    look()
            assert fleet.marks("gpu-1") == (False, False)
            fleet.registry.age(3600)
    finally:
        fleet.api.faults.clear()


def test_suspended_look_has_the_age_of_its_answers(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run reads, and is suspended. Another run then finds the machine, and later misses it for the first time."""
    real = _missing.note_missing

    def note_late(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(reap, "note_missing", real)
        fleet.api.hide()
        fleet.reap()
        fleet.api.hide(fleet.ids["gpu-1"])
        fleet.reap()
        # 40 minutes pass, so the answers of the suspended run are older than the other run's first look.
        fleet.registry.age(2400)
        look = args[3]
        args = (*args[:3], replace(look, at=_moved(look.at, -2410.0)), *args[4:])
        return real(*args, **options)

    fleet.api.hide(fleet.ids["gpu-1"])
    monkeypatch.setattr(reap, "note_missing", note_late)
    fleet.reap()
    assert fleet.marks("gpu-1") == (True, False)


def _moved(clock: Clock, seconds: float) -> Clock:
    return Clock(*(None if moment is None else moment + seconds for moment in (clock.here, clock.api, clock.database)))


def test_concurrent_looks_agree(fleet: Fleet) -> None:
    fleet.api.hide(fleet.ids["gpu-1"])
    fleet.api.vanish(fleet.ids["gpu-2"])
    with ThreadPoolExecutor(3) as pool:
        for expected in ((True, False), (True, True)):
            answers = list(pool.map(lambda _number: fleet.reap(), range(3)))
            assert not any(answer["trouble"] for answer in answers)
            assert fleet.marks("gpu-1") == expected
            fleet.registry.age(1860)
    assert fleet.registry.entries().keys() == {"gpu-0", "gpu-1", "gpu-3"}
    assert fleet.registry.bills() == {"gpu-0": True, "gpu-1": True, "gpu-2": False, "gpu-3": True}


class Killed(BaseException):
    """The process is killed."""


def test_killed_look_removes_no_entry_of_billed_machine(
    simulator: Simulator,
    registry_url: str,
    perform: Callable[..., Json],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At each statement: machines that have not ended keep their entries, and the next run completes the notes."""
    real = Database._execute
    fleet = Fleet(simulator, HostRegistry(tmp_path, registry_url, simulator.url), perform)
    simulator.vanish(fleet.ids["gpu-2"])
    simulator.hide(fleet.ids["gpu-1"])
    for at in itertools.count(1):
        passed = itertools.count(1)

        def execute(*args: Any, at: int = at, passed: Any = passed) -> Any:
            if next(passed) >= at:
                raise Killed
            return real(*args)

        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(Database, "_execute", execute)
            fleet.reap()
        entries = fleet.registry.entries()
        assert {"gpu-0", "gpu-1", "gpu-3"} <= entries.keys() and not entries["gpu-1"].is_missing, at
        if next(passed) <= at:
            assert at > 8 and "gpu-2" not in entries and fleet.marks("gpu-1") == (True, False)
            return
