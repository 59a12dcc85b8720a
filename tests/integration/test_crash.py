# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A crash between any two lines of a purchase: the lines are found by tracing, the API and the database are real.

A first run records, before each of its lines, the state that a kill would leave: at the API, in the registry, in the
folder. For each different state, one more run is killed before the first line in that state, and another one before the
last, which may be in the middle of the next step. After each kill, one more run must finish the work.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import PROCURE_OFFER
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _stores
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import Database
from ansible_collections.compute_index.supply.plugins.module_utils._registry._shared import SharedHost

from limits import HANGS
from simulator import Fault, Nowhere, Purchase, Settings, Simulator

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6rQ9Zb0yJxk1mS7JbJm9m0m7nq0oXo3k0a9b8c7d6e test"
OURS = "/module_utils/"
TABLES = ("purchase", "machine", "sweep", "meta")

# A line of the collection's code: its file, its number, and how many times it has run
Place = tuple[str, int, int]


class Tracer:
    """Call ``before`` before each line of the collection's code that runs, in files whose paths contain ``within``."""

    def __init__(self, before: Callable[[Place], None], within: str = OURS) -> None:
        self.before = before
        self.within = within
        self.times: Counter[tuple[str, int]] = Counter()

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> Tracer | None:
        code = frame.f_code
        if self.within not in code.co_filename or "ansible_collections" not in frame.f_globals.get("__name__", ""):
            return None
        if event == "line":
            line = code.co_filename, frame.f_lineno
            self.times[line] += 1
            self.before((*line, self.times[line]))
        return self

    def __enter__(self) -> None:
        self.outer = sys.gettrace()
        sys.settrace(self)

    def __exit__(self, *_error: object) -> None:
        sys.settrace(self.outer)


def places_of_states(
    program: Callable[[], object], read_state: Callable[[], object], check: Callable[[], object]
) -> list[Place]:
    """Run the program, read the state before each line, and check each new state.

    Return the first and the last place in each state.
    """
    states: list[object] = []
    places: list[tuple[Place, Place]] = []
    lines = 0
    trouble: list[BaseException] = []

    def before(place: Place) -> None:
        nonlocal lines
        try:
            state = read_state()
            if states[-1:] != [state]:
                check()
        except BaseException as error:  # the program could catch it
            trouble.append(error)
            raise
        lines += 1
        if states[-1:] != [state]:
            states.append(state)
            places.append((place, place))
        places[-1] = places[-1][0], place

    with Tracer(before):
        program()
    if trouble:
        raise trouble[0]
    assert lines > 100, "the tracer does not see the code"
    assert len(states) > 2, "the state hardly changed"
    return list(dict.fromkeys(place for both in places for place in both))


def kill_at(program: Callable[[], object], place: Place) -> bool:
    """Run the program in a process of its own, which is killed before that line. Return whether it got there."""

    def before(here: Place) -> None:
        if here == place:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        try:
            with Tracer(before, within=place[0]):
                program()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def files_in(folder: str) -> list[tuple[str, bytes]]:
    """The paths and contents of all files there. Fast, since it runs before each line."""
    found: list[tuple[str, bytes]] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                found += files_in(entry.path)
            else:
                with open(entry.path, "rb", buffering=0) as file:
                    found.append((entry.path, file.read()))
    return sorted(found)


class Rows:
    """The rows of a database; they are read again only after this process has used another connection."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.rows: list[Any] = []
        self.is_old = True
        wait = psycopg.Connection.wait

        def waited(connection: Any, *args: Any, **options: Any) -> Any:
            try:
                return wait(connection, *args, **options)
            finally:
                self.is_old |= connection is not self.connection

        monkeypatch.setattr(psycopg.Connection, "wait", waited)

    def read(self) -> list[Any]:
        """The committed rows of each table."""
        if self.is_old:
            self.is_old = False
            texts = (f"SELECT t::text FROM compute_index_supply.{table} t ORDER BY 1" for table in TABLES)
            self.rows = [self.connection.execute(text).fetchall() for text in texts]
        return self.rows


def run(simulator: Simulator, offer_id: str, registry: Path | str | None, host: str = "") -> dict[str, Any]:
    """Buy the offer.

    ``registry``: a host's file, the address of a shared registry, or None for no registry. ``host``: in a shared
    registry; by default each offer has a host of its own there.
    """
    shared = registry if isinstance(registry, str) else None
    params = {
        "api_url": simulator.url,
        "api_token": simulator.settings.token,
        "api_timeout": HANGS,
        "api_retries": 0,
        "validate_certs": True,
        "ca_path": None,
        "offer_id": offer_id,
        "ssh_public_key": KEY,
        "cloud_init": "#cloud-config\npackages: [git]\n",
        "resource_name": "gpu-1",
        "cluster_name": None,
        "max_price_per_hour": 3.0,
        "procure_timeout": HANGS,
        "settle_timeout": 0.05,
        "registry_file": str(registry) if isinstance(registry, Path) else None,
        "registry_url": shared,
        "project": "default",
        "host": (host or offer_id) if shared else "gpu-1",
        "note": {"provision_ends_at": "2099-01-01T00:00:00Z"},
    }
    operation._client.cache_clear()  # each process has a session of its own
    return PROCURE_OFFER.perform(params, False)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests do not cut the power, so they need no fsync."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.mark.parametrize(
    ("memory", "lost", "newer"),
    [
        ("by-name", False, False),
        pytest.param("by-name", True, False, marks=pytest.mark.first),
        ("registry", False, False),
        pytest.param("registry", True, False, marks=pytest.mark.first),
        ("registry", True, True),
        ("shared", True, False),
        ("shared", True, True),
    ],
)
def test_crash_before_any_line_of_a_purchase_still_buys_once(
    memory: str,
    lost: bool,
    newer: bool,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``lost``: the purchase's answer is lost. ``newer``: the next run names another offer, found by a new search."""
    url: str | None = request.getfixturevalue("registry") if memory == "shared" else None

    def registry_entry(registry: Path | str, host: str) -> dict[str, Any]:
        """The host's registry entry, read by a run that is not the dead one."""
        if isinstance(registry, Path):
            return HostFile(str(registry)).read() or {}
        database = Database(registry, {"host": "h", "user": "u", "run": "a third one"})
        return SharedHost(database, "default", host, simulator.url, run="a third one").read() or {}

    def bills_of(registry: Path | str | None, offer_id: str) -> list[Bill]:
        """The ledger's bills of the offer."""
        if registry is None:
            return []
        if isinstance(registry, Path):
            return list(_stores.ledger(str(registry.parent.parent)).bills)
        found = Database(registry, {"host": "h", "user": "u", "run": "a fourth one"}).ledger("default").bills
        return [bill for bill in found if bill.offer_id == offer_id]

    def read_state(offer_id: str, before: int) -> object:
        """The state that a run leaves; ``before``: the number of requests before the run.

        Uncommitted changes of a transaction do not count.
        """
        sent = [(each.method, each.path, each.status) for each in simulator.requests[before:]]
        bought = [purchase.resource_ids for purchase in simulator.purchases if purchase.offer_id == offer_id]
        return sent, bought, files_in(str(tmp_path / offer_id)), rows.read() if rows else []

    with contextlib.ExitStack() as opened:
        simulator = opened.enter_context(
            Simulator(Settings(provision_seconds=0, reissue=False), offers=[], backend=Nowhere())
        )
        rows = Rows(url, monkeypatch) if url else None
        if rows:
            opened.enter_context(rows.connection)

        def fresh_offer() -> tuple[str, Path | str | None]:
            simulator.faults.clear()
            if lost:
                simulator.faults.append(Fault(path="/procure_offer", cut="after"))
            offer_id = simulator.add_offer(gpu_price_per_hour=2.0).offer_id
            file = tmp_path / offer_id / "gpu-1" / "compute_index_supply.yml"
            return offer_id, file if memory == "registry" else url

        def bought(offer_id: str, registry: Path | str | None) -> list[Purchase]:
            """The offer's purchases; assert that they are in the ledger by then."""
            purchases = [purchase for purchase in simulator.purchases if purchase.offer_id == offer_id]
            if purchases and registry is not None:
                (bill,) = bills_of(registry, offer_id)
                assert bill.runs and bill.price_per_hour == 2.0
                assert bill.begin is not None and bill.begin <= purchases[0].time.timestamp()
            return purchases

        run(simulator, *fresh_offer())  # fills the caches, so that all further runs execute the same lines
        traced, before = fresh_offer(), len(simulator.requests)
        places = places_of_states(
            partial(run, simulator, *traced), lambda: read_state(traced[0], before), lambda: bought(*traced)
        )
        outcomes = []
        for place in places:
            tries = (fresh_offer() for _try in range(3))
            dead = next((each for each in tries if kill_at(partial(run, simulator, *each), place)), None)
            if not dead:
                continue
            offer_id, registry = dead
            bought_by_dead = len(bought(offer_id, registry))
            if rows:
                rows.connection.execute("UPDATE compute_index_supply.purchase SET held_until = now()")
            simulator.faults.clear()
            host, next_offer = offer_id, simulator.add_offer(gpu_price_per_hour=2.0).offer_id if newer else offer_id
            result = run(simulator, next_offer, registry, host)
            assert result["outcome"] in ("created", "existing"), f"{place}: {result}"
            purchases_of = {each: bought(each, registry) for each in (offer_id, next_offer)}
            purchases = purchases_of[result["offer_id"]]
            assert sum(map(len, purchases_of.values())) == 1, f"not bought once after a crash before {place}"
            assert result["resource_ids"] == purchases[0].resource_ids
            assert any(next_offer in warning for warning in result["warnings"]) is (next_offer != result["offer_id"])
            offer_id = result["offer_id"]
            if registry is not None:
                entry = registry_entry(registry, host)
                assert entry["provision_resource_ids"] == purchases[0].resource_ids
                assert (entry["provision_procured_offer_id"], entry["provision_purchase"]) == (offer_id, "made")
                assert entry["provision_ends_at"] == "2099-01-01T00:00:00Z"
                (bill,) = bills_of(registry, offer_id)
                assert bill.runs and list(bill.resource_ids) == purchases[0].resource_ids
            outcomes.append(bought_by_dead)
        # An answer may arrive in fewer pieces, so that a run executes fewer lines.
        assert len(places) - len(outcomes) <= 3
        assert {0, 1} == set(outcomes), "not killed both before and after the purchase"


@pytest.mark.first
def test_crash_before_any_line_of_an_end_keeps_the_ledger_right(tmp_path: Path) -> None:
    """The ledger never ends a bill before its machine has ended, and the next run notes the end."""

    def note(folder: Path) -> None:
        """Note the end of the host's machine."""
        file = HostFile(str(folder / "gpu-1" / "compute_index_supply.yml"))
        if file.read():
            file.end("decommissioned")

    def bill_of(folder: Path, deleted_at: datetime) -> Bill:
        (bill,) = _stores.ledger(str(folder)).bills
        assert bill.end is None or bill.end >= deleted_at.timestamp()
        return bill

    with Simulator(Settings(provision_seconds=0, reissue=False), offers=[], backend=Nowhere()) as simulator:

        def fresh_purchase() -> tuple[Path, datetime]:
            offer_id = simulator.add_offer(gpu_price_per_hour=2.0).offer_id
            folder = tmp_path / offer_id
            assert run(simulator, offer_id, folder / "gpu-1" / "compute_index_supply.yml")
            resource = simulator.purchases[-1].resources[0]
            simulator.vanish(resource.resource_id)
            assert resource.deleted_at is not None
            return folder, resource.deleted_at

        note(fresh_purchase()[0])
        folder, deleted_at = fresh_purchase()
        places = places_of_states(
            partial(note, folder), partial(files_in, str(folder)), partial(bill_of, folder, deleted_at)
        )
        running = []
        for place in places:
            folder, deleted_at = fresh_purchase()
            assert kill_at(partial(note, folder), place)
            running.append(bill_of(folder, deleted_at).runs)
            note(folder)
            bill = bill_of(folder, deleted_at)
            assert (bill.end is not None, bill.why, bill.registered) == (True, "decommissioned", True)
            assert not (folder / "gpu-1" / "compute_index_supply.yml").exists()
        assert set(running) == {True, False}, "not killed both before and after the end was noted"


@pytest.mark.first
def test_only_one_of_concurrent_purchases_for_one_host_is_sent(tmp_path: Path) -> None:
    registry = tmp_path / "gpu-1" / "compute_index_supply.yml"
    with Simulator(Settings(procure_seconds=0.3, provision_seconds=0, reissue=False), offers=[]) as simulator:
        offers = [simulator.add_offer(gpu_price_per_hour=2.0).offer_id for _number in range(4)]
        with ThreadPoolExecutor(len(offers)) as pool:
            results = list(pool.map(lambda offer_id: run(simulator, offer_id, registry), offers))
        outcomes = sorted(result["outcome"] for result in results if result)
        assert outcomes == ["claimed", "claimed", "claimed", "created"], results
        assert len(simulator.purchases) == 1
        entry = HostFile(str(registry)).read()
        assert entry is not None and entry["provision_resource_ids"] == simulator.purchases[0].resource_ids
