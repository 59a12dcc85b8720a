# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A crash between any two lines of a purchase: the line is found by tracing, the API and its log are real.

A process that comes afterwards sees only what the crash has left: at the API, in the registry, in the folder. Where
another crash in the same function has left the same, no second one is sent after it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _on_api
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import PROCURE_OFFER
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _files
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import Database
from ansible_collections.compute_index.supply.plugins.module_utils._registry._shared import SharedHost

from simulator import Fault, Nowhere, Settings, Simulator

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6rQ9Zb0yJxk1mS7JbJm9m0m7nq0oXo3k0a9b8c7d6e test"
OURS = "/module_utils/"
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IS NOT NULL AND pid <> pg_backend_pid()"
ROWS = """
SELECT p.state, p.reason, p.quoted, p.charged, p.epoch, p.sent_at IS NULL, p.expired_seen IS NULL, p.noted_at IS NULL,
    p.ended_at IS NULL, p.note::text, array_agg(m.resource), bool_or(m.gone_at IS NULL)
FROM compute_index_supply.purchase p LEFT JOIN compute_index_supply.machine m USING (claim) WHERE p.offer = %(offer)s
GROUP BY p.claim ORDER BY p.claimed_at
"""
# What is another one for each purchase: ids, times, and the names of temporary files.
OWN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+|\.\w+\.tmp")


class Crash(BaseException):
    """The process ends here; nothing may catch it."""


class Tracer:
    """Counts the lines of ours that run, and crashes before the one with the given number.

    What a line does for the third time, in a loop, is not told apart from the second.
    """

    def __init__(self, crash_at: int | None = None) -> None:
        self.crash_at = crash_at
        self.lines = 0
        self.function = ""
        self.times: Counter[tuple[str, int]] = Counter()

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> Tracer | None:
        if OURS not in frame.f_code.co_filename or "ansible_collections" not in frame.f_globals.get("__name__", ""):
            return None
        place = frame.f_code.co_filename, frame.f_lineno
        if event == "line" and self.times[place] < 2:
            self.times[place] += 1
            self.lines += 1
            if self.lines == self.crash_at:
                self.function = frame.f_code.co_name
                raise Crash
        return self


def run(
    simulator: Simulator, offer_id: str, registry: Path | str | None, tracer: Tracer | None = None
) -> dict[str, Any] | None:
    """Buy the offer, with a registry in a file, by the address of a shared one, or with none.

    Returns the result, None after a crash.
    """
    shared = registry if isinstance(registry, str) else None
    params = {
        "api_url": simulator.url,
        "api_token": simulator.settings.token,
        "api_timeout": 10,
        "api_retries": 0,
        "validate_certs": True,
        "ca_path": None,
        "offer_id": offer_id,
        "ssh_public_key": KEY,
        "cloud_init": "#cloud-config\npackages: [git]\n",
        "resource_name": "gpu-1",
        "cluster_name": None,
        "max_price_per_hour": 3.0,
        "procure_timeout": 10,
        "settle_timeout": 0.05,
        "registry_file": str(registry) if isinstance(registry, Path) else None,
        "registry_url": shared,
        "project": "default",
        # There each purchase is another host's.
        "host": offer_id if shared else "gpu-1",
        "note": {"provision_ends_at": "2099-01-01T00:00:00Z"},
    }
    _on_api._client.cache_clear()  # a process that crashed leaves no session to the next one
    before = sys.gettrace()
    if tracer:
        sys.settrace(tracer)
    try:
        return PROCURE_OFFER.perform(params, False)
    except Crash:
        return None
    finally:
        sys.settrace(before)


@pytest.fixture(autouse=True)
def unlock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """``unlock()`` gives back the locks of a crash, as the end of its process would."""
    held: list[int] = []
    lock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lambda handle, how: held.append(handle) or lock(handle, how))
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # nobody pulls the plug here

    def give_back() -> None:
        while held:
            with contextlib.suppress(OSError):  # most were closed in time
                lock(held.pop(), fcntl.LOCK_UN)

    return give_back


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # connections that a crash left open
@pytest.mark.parametrize(
    ("memory", "lost"),
    [("by-name", False), ("by-name", True), ("registry", False), ("registry", True), ("shared", True)],
)
def test_a_crash_before_any_line_of_the_purchase_does_no_harm(
    memory: str, lost: bool, tmp_path: Path, unlock: Callable[[], None], request: pytest.FixtureRequest
) -> None:
    url: str | None = request.getfixturevalue("registry") if memory == "shared" else None

    def remembered(registry: Path | str, offer_id: str) -> dict[str, Any]:
        """What the registry has of the host; nobody holds it any more."""
        if isinstance(registry, Path):
            return HostFile(str(registry)).read() or {}
        database = Database(registry, {"host": "h", "user": "u", "run": "a third one"})
        return SharedHost(database, "default", offer_id, simulator.url, run="a third one").read() or {}

    def billed(registry: Path | str | None, offer_id: str) -> list[Bill]:
        """What the ledger has of the offer."""
        if registry is None:
            return []
        if isinstance(registry, Path):
            return list(_files.ledger(str(registry.parent.parent)).bills)
        found = Database(registry, {"host": "h", "user": "u", "run": "a fourth one"}).ledger("default").bills
        return [bill for bill in found if bill.offer_id == offer_id]

    def left(registry: Path | str | None, offer_id: str, before: int) -> str:
        """All that a run has left after so many requests."""
        asked = [(each.method, each.path, each.status) for each in simulator.requests[before:]]
        bought = [purchase.resource_ids for purchase in simulator.purchases if purchase.offer_id == offer_id]
        kept: list[Any] = []
        if isinstance(registry, Path):
            kept = [(file.name, file.read_text()) for file in sorted(registry.parent.glob("*"))]
        elif connection:
            kept = connection.execute(ROWS, {"offer": offer_id}).fetchall()
        return OWN.sub("", repr((asked, bought, kept)))

    with contextlib.ExitStack() as opened:
        simulator = opened.enter_context(
            Simulator(Settings(provision_seconds=0, reissue=False), offers=[], backend=Nowhere())
        )
        connection = opened.enter_context(psycopg.connect(url, autocommit=True)) if url else None

        def fresh() -> tuple[str, Path | str | None]:
            simulator.faults.clear()
            if lost:
                simulator.faults.append(Fault(path="/procure_offer", cut="after"))
            offer_id = simulator.add_offer(gpu_price_per_hour=2.0).offer_id
            file = tmp_path / offer_id / "gpu-1" / "compute_index_supply.yml"
            return offer_id, file if memory == "registry" else url

        run(simulator, *fresh())  # fills the caches, so that all that follow run the same lines
        tracer = Tracer()
        run(simulator, *fresh(), tracer)
        lines = tracer.lines
        assert lines > 100, "the tracer sees the code"
        bought = crashes = 0
        followed: set[tuple[str, str]] = set()
        for line in range(1, lines + 1):
            offer_id, registry = fresh()
            tracer, before = Tracer(crash_at=line), len(simulator.requests)
            crashes += run(simulator, offer_id, registry, tracer) is None
            unlock()
            if connection:
                # The connections of a process end with it.
                connection.execute(CUT)
            mine = [purchase for purchase in simulator.purchases if purchase.offer_id == offer_id]
            bought += bool(mine)
            if mine and registry is not None:
                (bill,) = billed(registry, offer_id)
                assert bill.runs and bill.price == 2.0, f"line {line}"
                assert bill.begin is not None and bill.begin <= mine[0].time.timestamp(), f"line {line}"
            found = tracer.function, left(registry, offer_id, before)
            if found in followed:
                continue
            followed.add(found)
            if connection:
                connection.execute("UPDATE compute_index_supply.purchase SET held_until = now()")
            simulator.faults.clear()
            result = run(simulator, offer_id, registry)
            assert result is not None and result["outcome"] in ("created", "existing"), f"line {line}: {result}"
            purchases = [purchase for purchase in simulator.purchases if purchase.offer_id == offer_id]
            assert len(purchases) == 1, f"bought {len(purchases)} times after a crash before line {line}"
            assert result["resource_ids"] == purchases[0].resource_ids
            if registry is not None:
                entry = remembered(registry, offer_id)
                assert entry["provision_resource_ids"] == purchases[0].resource_ids
                assert (entry["provision_procured_offer_id"], entry["provision_purchase"]) == (offer_id, "made")
                assert entry["provision_ends_at"] == "2099-01-01T00:00:00Z"
                (bill,) = billed(registry, offer_id)
                assert bill.runs and list(bill.resource_ids) == purchases[0].resource_ids
                assert bill.begin is not None and bill.begin <= purchases[0].time.timestamp()
        assert crashes > 0.98 * lines, "an answer may arrive in fewer pieces, which takes some lines less"
        assert 0 < bought < lines, "some crashes came before the purchase, some after"


def test_a_crash_before_any_line_of_an_end_leaves_what_runs_until_then(
    tmp_path: Path, unlock: Callable[[], None]
) -> None:
    """The ledger never ends a machine before it has ended, and the next run ends what a crash has left."""

    def noted(folder: Path, tracer: Tracer | None) -> bool:
        """Note the end of the host's machine; whether that was not interrupted."""
        before = sys.gettrace()
        if tracer:
            sys.settrace(tracer)
        try:
            file = HostFile(str(folder / "gpu-1" / "compute_index_supply.yml"))
            if file.read():
                file.end("decommissioned")
        except Crash:
            return False
        finally:
            sys.settrace(before)
        return True

    with Simulator(Settings(provision_seconds=0, reissue=False), offers=[], backend=Nowhere()) as simulator:

        def fresh() -> tuple[Path, datetime]:
            offer_id = simulator.add_offer(gpu_price_per_hour=2.0).offer_id
            folder = tmp_path / offer_id
            assert run(simulator, offer_id, folder / "gpu-1" / "compute_index_supply.yml")
            resource = simulator.purchases[-1].resources[0]
            simulator.vanish(resource.resource_id)
            assert resource.deleted_at is not None
            return folder, resource.deleted_at

        noted(fresh()[0], None)
        tracer = Tracer()
        noted(fresh()[0], tracer)
        assert tracer.lines > 50, "the tracer sees the code"
        running = crashes = 0
        for line in range(1, tracer.lines + 1):
            folder, deleted_at = fresh()
            crashes += not noted(folder, Tracer(crash_at=line))
            unlock()
            (bill,) = _files.ledger(str(folder)).bills
            running += bill.runs
            assert bill.end is None or bill.end >= deleted_at.timestamp(), f"line {line}"
            assert noted(folder, None)
            unlock()
            (bill,) = _files.ledger(str(folder)).bills
            assert bill.end is not None and bill.end >= deleted_at.timestamp(), f"line {line}"
            assert (bill.why, bill.registered) == ("decommissioned", True)
            assert not (folder / "gpu-1" / "compute_index_supply.yml").exists()
        assert crashes > 0.98 * tracer.lines and 0 < running < tracer.lines


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
