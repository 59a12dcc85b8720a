# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A crash between any two lines of a purchase: the lines are found by tracing, the API and the database are real.

One run is looked at before each of its lines: what has it left by then, at the API, in the registry, in the folder?
A killed process leaves nothing else. So for all that is left at some time another process is killed before the first of
the lines that run then, and one before the last, which may be in the middle of the next step; and a third one comes
afterwards.
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

# A line of ours: its file, its number, and how many times it has run.
Place = tuple[str, int, int]


class Tracer:
    """Calls ``before`` before each line of ours that runs, or of those files of ours whose paths have ``within``."""

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


def look(program: Callable[[], object], left: Callable[[], object], check: Callable[[], object]) -> list[Place]:
    """Run the program, and look at what it has left before each line; where that is new it is checked, too.

    Returns the first and the last place of each time in which nothing that is left changes.
    """
    states: list[object] = []
    places: list[tuple[Place, Place]] = []
    lines = 0
    trouble: list[BaseException] = []

    def before(place: Place) -> None:
        nonlocal lines
        try:
            state = left()
            if states[-1:] != [state]:
                check()
        except BaseException as error:  # which the program could catch
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
    assert lines > 100, "the tracer sees the code"
    assert len(states) > 2, "there is ever more that is left"
    return list(dict.fromkeys(place for both in places for place in both))


def killed(program: Callable[[], object], place: Place) -> bool:
    """Run the program in a process of its own, which is killed before that line. Whether it came there."""

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
    """The paths and contents of all files there. It is asked before each line, so it is quick."""
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
    """All that a database has; it is read again once this process has said anything to it by another connection."""

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
        """What has been committed, by table."""
        if self.is_old:
            self.is_old = False
            texts = (f"SELECT t::text FROM compute_index_supply.{table} t ORDER BY 1" for table in TABLES)
            self.rows = [self.connection.execute(text).fetchall() for text in texts]
        return self.rows


def run(simulator: Simulator, offer_id: str, registry: Path | str | None, host: str = "") -> dict[str, Any]:
    """Buy the offer, with a registry in a file, by the address of a shared one, or with none.

    ``host``: that of the shared one; each offer has a host of its own there.
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
    """Nobody pulls the plug here."""
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
def test_a_crash_before_any_line_of_the_purchase_does_no_harm(
    memory: str,
    lost: bool,
    newer: bool,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``newer``: the run that comes afterwards names another offer, as a newer search has found it."""
    url: str | None = request.getfixturevalue("registry") if memory == "shared" else None

    def remembered(registry: Path | str, host: str) -> dict[str, Any]:
        """What the registry has of the host; nobody holds it any more."""
        if isinstance(registry, Path):
            return HostFile(str(registry)).read() or {}
        database = Database(registry, {"host": "h", "user": "u", "run": "a third one"})
        return SharedHost(database, "default", host, simulator.url, run="a third one").read() or {}

    def billed(registry: Path | str | None, offer_id: str) -> list[Bill]:
        """What the ledger has of the offer."""
        if registry is None:
            return []
        if isinstance(registry, Path):
            return list(_stores.ledger(str(registry.parent.parent)).bills)
        found = Database(registry, {"host": "h", "user": "u", "run": "a fourth one"}).ledger("default").bills
        return [bill for bill in found if bill.offer_id == offer_id]

    def left(offer_id: str, before: int) -> object:
        """All that a run has left after so many requests. What a transaction has not committed yet does not count."""
        asked = [(each.method, each.path, each.status) for each in simulator.requests[before:]]
        bought = [purchase.resource_ids for purchase in simulator.purchases if purchase.offer_id == offer_id]
        return asked, bought, files_in(str(tmp_path / offer_id)), rows.read() if rows else []

    with contextlib.ExitStack() as opened:
        simulator = opened.enter_context(
            Simulator(Settings(provision_seconds=0, reissue=False), offers=[], backend=Nowhere())
        )
        rows = Rows(url, monkeypatch) if url else None
        if rows:
            opened.enter_context(rows.connection)

        def fresh() -> tuple[str, Path | str | None]:
            simulator.faults.clear()
            if lost:
                simulator.faults.append(Fault(path="/procure_offer", cut="after"))
            offer_id = simulator.add_offer(gpu_price_per_hour=2.0).offer_id
            file = tmp_path / offer_id / "gpu-1" / "compute_index_supply.yml"
            return offer_id, file if memory == "registry" else url

        def bought(offer_id: str, registry: Path | str | None) -> list[Purchase]:
            """The offer's purchases; whatever is bought is in the ledger by then."""
            purchases = [purchase for purchase in simulator.purchases if purchase.offer_id == offer_id]
            if purchases and registry is not None:
                (bill,) = billed(registry, offer_id)
                assert bill.runs and bill.price_per_hour == 2.0
                assert bill.begin is not None and bill.begin <= purchases[0].time.timestamp()
            return purchases

        run(simulator, *fresh())  # fills the caches, so that all that follow run the same lines
        looked, before = fresh(), len(simulator.requests)
        places = look(partial(run, simulator, *looked), lambda: left(looked[0], before), lambda: bought(*looked))
        outcomes = []
        for place in places:
            tries = (fresh() for _try in range(3))
            buys = next((each for each in tries if killed(partial(run, simulator, *each), place)), None)
            if not buys:
                continue
            offer_id, registry = buys
            before_it = len(bought(offer_id, registry))
            if rows:
                rows.connection.execute("UPDATE compute_index_supply.purchase SET held_until = now()")
            simulator.faults.clear()
            host, asked = offer_id, simulator.add_offer(gpu_price_per_hour=2.0).offer_id if newer else offer_id
            result = run(simulator, asked, registry, host)
            assert result["outcome"] in ("created", "existing"), f"{place}: {result}"
            both = {one: bought(one, registry) for one in (offer_id, asked)}
            purchases = both[result["offer_id"]]
            assert sum(map(len, both.values())) == 1, f"not bought once after a crash before {place}"
            assert result["resource_ids"] == purchases[0].resource_ids
            assert any(asked in warning for warning in result["warnings"]) is (asked != result["offer_id"])
            offer_id = result["offer_id"]
            if registry is not None:
                entry = remembered(registry, host)
                assert entry["provision_resource_ids"] == purchases[0].resource_ids
                assert (entry["provision_procured_offer_id"], entry["provision_purchase"]) == (offer_id, "made")
                assert entry["provision_ends_at"] == "2099-01-01T00:00:00Z"
                (bill,) = billed(registry, offer_id)
                assert bill.runs and list(bill.resource_ids) == purchases[0].resource_ids
            outcomes.append(before_it)
        assert len(places) - len(outcomes) <= 3, "an answer may arrive in fewer pieces, which takes some lines less"
        assert {0, 1} == set(outcomes), "some were killed before the purchase, some after it"


@pytest.mark.first
def test_a_crash_before_any_line_of_an_end_leaves_what_runs_until_then(tmp_path: Path) -> None:
    """The ledger never ends a machine before it has ended, and the next run ends what a crash has left."""

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

        def fresh() -> tuple[Path, datetime]:
            offer_id = simulator.add_offer(gpu_price_per_hour=2.0).offer_id
            folder = tmp_path / offer_id
            assert run(simulator, offer_id, folder / "gpu-1" / "compute_index_supply.yml")
            resource = simulator.purchases[-1].resources[0]
            simulator.vanish(resource.resource_id)
            assert resource.deleted_at is not None
            return folder, resource.deleted_at

        note(fresh()[0])
        folder, deleted_at = fresh()
        places = look(partial(note, folder), partial(files_in, str(folder)), partial(bill_of, folder, deleted_at))
        running = []
        for place in places:
            folder, deleted_at = fresh()
            assert killed(partial(note, folder), place)
            running.append(bill_of(folder, deleted_at).runs)
            note(folder)
            bill = bill_of(folder, deleted_at)
            assert (bill.end is not None, bill.why, bill.registered) == (True, "decommissioned", True)
            assert not (folder / "gpu-1" / "compute_index_supply.yml").exists()
        assert set(running) == {True, False}, "some were killed before the end is noted, some after it"


@pytest.mark.first
def test_of_two_plays_that_buy_different_offers_for_one_host_one_buys(tmp_path: Path) -> None:
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
