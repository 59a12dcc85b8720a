# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry in PostgreSQL: concurrent claims, lost connections, late facts, other versions, and missing rights."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import multiprocessing.pool
import re
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import Registries
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    EXPIRED,
    MADE,
    MISSING_AT,
    MISSING_SINCE,
    PURCHASE,
    REFUSED,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account, noted_claim
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import LONGEST_POST
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage
from ansible_collections.compute_index.supply.plugins.module_utils._registry import (
    _connection,
    _statements,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import (
    AboveCeiling,
    Ceilings,
    ClaimedByOther,
    Contested,
    Database,
    Purchase,
    TakenOver,
    Unreachable,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import Claimed, RegistryError
from ansible_collections.compute_index.supply.plugins.module_utils._registry._row import Row
from ansible_collections.compute_index.supply.plugins.module_utils._registry._shared import SharedHost, entries_of
from ansible_collections.compute_index.supply.plugins.module_utils._registry._statements import FIRST_EPOCH, SCHEMA

import claimants
import postgresql
from claimants import NO_CEILING, Attempt, holder, purchase
from limits import HANGS, until
from samples import OFFER_ID, OTHER_ID, RESOURCE_ID, SECOND_RESOURCE_ID

PROCESSES, ROUNDS = 16, 3


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "FIRST_PAUSE", 0.01)


@pytest.fixture
def run(registry_url: str) -> Callable[..., Database]:
    """``run(name)`` opens the database as a run of this name."""

    def begin(name: str = "one", kind: type[Database] = Database, **settings: Any) -> Database:
        return kind(registry_url, holder(name), **settings)

    return begin


def states(url: str) -> list[str]:
    rows = postgresql.execute(url, "SELECT state FROM compute_index_supply.purchase ORDER BY claimed_at, epoch")
    return [state for (state,) in rows]


def expire_holds(url: str) -> None:
    """Set the end of all holds to the past."""
    postgresql.execute(url, "UPDATE compute_index_supply.purchase SET held_until = now() - interval '1 second'")


# Concurrent claims


def run_concurrently(url: str, attempt: Attempt) -> list[str]:
    """Attempt a claim in many concurrent processes; returns ``ok`` or the name of the error for each."""
    # They are forked from a process that has loaded these modules and has no threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([claimants.__name__, psycopg.__name__])
    start, answers = context.Barrier(PROCESSES), context.SimpleQueue()
    workers = [
        context.Process(target=claimants.run_attempt, args=(url, attempt, number, start, answers))
        for number in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    results = [answers.get() for _worker in workers]
    for worker in workers:
        worker.join()
    refusals = (ClaimedByOther, TakenOver, AboveCeiling)
    names = tuple(refusal.__name__ for refusal in refusals)
    return [each.split(":")[0] if each.startswith(names) else each for each in results]


@pytest.mark.parametrize("same", ["name", "offer", "both"])
def test_concurrent_claims_of_a_name_or_an_offer_succeed_once(registry_url: str, same: str) -> None:
    results = Counter(run_concurrently(registry_url, functools.partial(claimants.claim_with_same, same)))
    assert (
        results["ok"] == 1
        and results.total()
        == PROCESSES
        == results["ok"] + results[ClaimedByOther.__name__] + results[TakenOver.__name__]
    )
    assert [state for state in states(registry_url) if state != "void"] == ["buying"]


def test_concurrent_claims_stay_below_ceiling(registry_url: str) -> None:
    """The first round also creates the tables; even then the gate lets one process pass at a time."""
    postgresql.execute(registry_url, "ALTER DATABASE postgres SET default_transaction_isolation = 'repeatable read'")
    try:
        for number in range(ROUNDS):
            project = f"project {number}"
            results = run_concurrently(registry_url, functools.partial(claimants.claim_below_ceiling, project))
            assert Counter(results) == {"ok": 5, AboveCeiling.__name__: PROCESSES - 5}
            rows = Database(registry_url, holder("last")).counted(project)
            assert sum(row.price_per_hour or 0 for row in rows) <= 5.5
    finally:
        postgresql.execute(registry_url, "ALTER DATABASE postgres RESET default_transaction_isolation")


def test_unknown_price_forbids_claims_under_a_ceiling(run: Callable[..., Database], registry_url: str) -> None:
    run().claim(purchase(price_per_hour=None), NO_CEILING)
    for ceilings in (Ceilings(max_total_price_per_hour=100), Ceilings(max_account_price_per_hour=100)):
        with pytest.raises(AboveCeiling, match="unknown price"):
            run().claim(purchase("gpu-2", OTHER_ID), ceilings)
    assert states(registry_url) == ["buying"]
    run().claim(purchase("gpu-2", OTHER_ID, project="other", account="other"), Ceilings(2, 2))


def test_counted_returns_live_and_stray_but_not_void_or_ended_claims(run: Callable[..., Database]) -> None:
    database = run()
    live = database.claim(purchase("gpu-1", "offer 1"), NO_CEILING)
    database.note(purchase("gpu-1", "offer 1", claim=live.claim, price_per_hour=3.0), ["m1"])
    with pytest.raises(Contested, match="the host has another purchase"):
        database.note(purchase("gpu-1", "offer 2"), ["m2"])
    void = database.claim(purchase("gpu-2", "offer 3"), NO_CEILING)
    database.void(void, "refused", {})
    ended = database.note(purchase("gpu-3", "offer 4"), ["m4"])
    assert {row.offer: row.state for row in database.counted("default")} == {
        "offer 1": "live",
        "offer 2": "stray",
        "offer 4": "live",
    }
    with pytest.raises(AboveCeiling):
        database.claim(purchase("gpu-4", "offer 5", price_per_hour=1.0), Ceilings(max_total_price_per_hour=7.99))
    database.end(ended, ended.resource_ids)
    database.claim(purchase("gpu-4", "offer 5", price_per_hour=1.0), Ceilings(max_total_price_per_hour=6.0))


def test_ceiling_refusal_lists_every_part_of_the_sum(run: Callable[..., Database]) -> None:
    database = run()
    for number in range(1, 28):
        offer = f"offer {number}"
        row = database.claim(purchase(f"gpu-{number}", offer), NO_CEILING)
        if number < 27:
            database.note(purchase(f"gpu-{number}", offer, claim=row.claim), [f"m{number}"])
    with pytest.raises(Contested):
        database.note(purchase("gpu-1", "offer 28", price_per_hour=1.5), ["m28"])
    database.claim(purchase("far", "offer 29", project="red", price_per_hour=4.0), NO_CEILING)

    with pytest.raises(AboveCeiling) as refused:
        database.claim(purchase("b-1", "offer 30"), Ceilings(max_total_price_per_hour=57.49))
    project = (
        r"would cost USD 57\.50 per hour together, of which USD 55\.50 per hour are live .* the ceiling is USD 57\.49"
        r" per hour\. Counted: b-1 USD 2\.00 \(would be bought\); gpu-27 USD 2\.00 \(being bought since [^)]* UTC\);"
        r" gpu-\[1:26\] 26 x USD 2\.00 \(live(, the oldest)? since [^)]* UTC\);"
        r" gpu-1 \(stray [0-9a-f]{8}\) USD 1\.50 \(live since [^)]* UTC\)\."
    )
    assert re.search(project, str(refused.value)), refused.value
    with pytest.raises(
        AboveCeiling, match=r"USD 61\.50 per hour together.*; far of project red USD 4\.00 \(being bought"
    ):
        database.claim(purchase("b-1", "offer 30"), Ceilings(max_account_price_per_hour=61.49))


def test_missing_machine_is_listed_but_not_counted(run: Callable[..., Database]) -> None:
    database = run()
    for number in (1, 2):
        row = database.note(purchase(f"gpu-{number}", f"offer {number}"), [f"m{number}"])
    database.compare_and_set(row, {MISSING_SINCE: "2026-01-31T10:00:00Z", MISSING_AT: "2026-01-31T10:40:00Z"})
    with pytest.raises(AboveCeiling) as refused:
        database.claim(purchase("gpu-3", "offer 3"), Ceilings(max_total_price_per_hour=3.99))
    assert "would cost USD 4.00 per hour together" in str(refused.value)
    assert "Not counted: gpu-2 USD 2.00 (missing since 2026-01-31 10:00 UTC)." in str(refused.value)
    for limit in (Ceilings(max_total_price_per_hour=4.0), Ceilings(max_account_price_per_hour=6.0)):
        database.claim(purchase(f"gpu-{limit.max_account_price_per_hour}", f"offer {limit}"), limit)


def test_missing_mark_without_machine_is_counted(run: Callable[..., Database]) -> None:
    """The missing machine was another host's and was disowned, so the bought one may be billed under an unknown id."""
    database = run()
    row = database.note(purchase("gpu-1", "offer 1"), ["m1"])
    database.compare_and_set(row, {MISSING_SINCE: "2026-01-31T10:00:00Z", MISSING_AT: "2026-01-31T10:40:00Z"})
    row = database.note(purchase("gpu-1", "offer 1", claim=row.claim), [], ["m1"])
    assert MISSING_AT in row.note and row.resource_ids == []
    with pytest.raises(AboveCeiling, match=r"USD 4\.00 per hour together, of which USD 2\.00"):
        database.claim(purchase("gpu-2", "offer 2"), Ceilings(max_total_price_per_hour=3.99))


def test_claim_is_checked_again_after_an_end_during_the_sum(
    run: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, summed = run("two"), Database._sum
    ended = other.note(purchase("gpu-1", "offer 1"), ["m1"])

    def sum_before_the_end(self: Database, *args: Any) -> Any:
        found = summed(self, *args)
        other.end(ended, ended.resource_ids)
        return found

    monkeypatch.setattr(Database, "_sum", sum_before_the_end)
    assert run().claim(purchase("gpu-2", "offer 2"), Ceilings(max_total_price_per_hour=2.0)).state == "buying"


# Holds and epochs


def test_held_claim_cannot_be_taken_over(run: Callable[..., Database], registry_url: str) -> None:
    row = run("one").claim(purchase(), NO_CEILING)
    with pytest.raises(TakenOver):
        run("two").take_over(row)
    expire_holds(registry_url)
    taken = run("two").take_over(row)
    assert (taken.epoch, taken.holder["run"], taken.held) == (2, "two", True)
    for late in (
        lambda: run("one").void(row, "refused", {}),
        lambda: run("one").claim_again(row, 2.0, {}, NO_CEILING),
        lambda: run("three").take_over(row),
        lambda: run("one").add_to_note(row, {"provision_refused_status": 409}),
    ):
        with pytest.raises(TakenOver):
            late()
    run("one").renew(row, 1000.0)
    assert states(registry_url) == ["buying"]
    assert run("two").void(taken, "refused", {}).state == "void"


def unsent_claim(database: Database, wanted: Purchase, monkeypatch: pytest.MonkeyPatch) -> Row:
    """The claim of a run that was killed before it marked the claim as sent."""

    def killed(_database: Database, _connection: object, _row: Row) -> Row:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Database, "_mark_sent", killed)
        with contextlib.suppress(KeyboardInterrupt):
            database.claim(wanted, NO_CEILING)
    row = database.open_claim(wanted.project, wanted.host)
    assert row is not None and row.sent_at is None and row.held
    return row


def mark_sent(database: Database, row: Row) -> Row:
    """Mark a claim as sent, which is the next step of its run."""
    return database._buy(lambda connection: database._mark_sent(connection, row))


# Claims that an unsent claim of gpu-1 blocks: by its name, by its offer, or by a sum
BLOCKED_CLAIMS: dict[str, tuple[Purchase, Ceilings, type[RegistryError]]] = {
    "the name": (purchase("gpu-1", OTHER_ID), NO_CEILING, ClaimedByOther),
    "the offer": (purchase("gpu-2", OFFER_ID), NO_CEILING, ClaimedByOther),
    "the offer, in another project": (purchase("gpu-2", OFFER_ID, project="blue"), NO_CEILING, ClaimedByOther),
    "the sum of the project": (purchase("gpu-2", OTHER_ID), Ceilings(max_total_price_per_hour=3.0), AboveCeiling),
    "the sum of the account": (
        purchase("gpu-2", OTHER_ID, project="blue"),
        Ceilings(max_account_price_per_hour=3.0),
        AboveCeiling,
    ),
}


@pytest.mark.parametrize(("wanted", "ceilings", "refusal"), BLOCKED_CLAIMS.values(), ids=BLOCKED_CLAIMS.keys())
def test_unsent_claim_of_dead_run_blocks_others_only_while_held(
    run: Callable[..., Database],
    registry_url: str,
    monkeypatch: pytest.MonkeyPatch,
    wanted: Purchase,
    ceilings: Ceilings,
    refusal: type[RegistryError],
) -> None:
    first = purchase("gpu-1", OFFER_ID)
    dead = unsent_claim(run("one"), first, monkeypatch)
    with pytest.raises(refusal):
        run("two").claim(wanted, ceilings)
    assert [row.claim for row in run().counted()] == [dead.claim]
    expire_holds(registry_url)
    assert (run().counted(), run().open_claim("default", "gpu-1"), run().ledger("default").bills) == ([], None, ())
    assert run("two").claim(wanted, ceilings).sent_at is not None
    assert states(registry_url) == ["void", "buying"]
    # If the dead run continues, it can neither mark its claim nor repeat its transaction.
    for late in (lambda: mark_sent(run("one"), dead), lambda: run("one").claim(first, NO_CEILING)):
        with pytest.raises(TakenOver):
            late()
    assert [row.claim for row in run().counted()] == [wanted.claim]


def test_unsent_claim_of_dead_run_does_not_block_facts(
    run: Callable[..., Database], registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsent_claim(run("one"), purchase("gpu-1", OTHER_ID), monkeypatch)
    expire_holds(registry_url)
    assert run("two").note(purchase("gpu-1"), [RESOURCE_ID]).state == "live"
    assert states(registry_url) == ["void", "live"]


def test_claim_is_marked_as_sent_only_while_held(
    run: Callable[..., Database], registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that is neither sent nor held does not count, so another run may have bought. A new claim may succeed."""
    wanted = purchase()
    row = unsent_claim(run("one"), wanted, monkeypatch)
    expire_holds(registry_url)
    with pytest.raises(TakenOver):
        mark_sent(run("one"), row)
    with pytest.raises(TakenOver):
        run("one").claim(wanted, NO_CEILING)
    assert run("one").claim(purchase(), NO_CEILING).sent_at is not None
    assert states(registry_url) == ["void", "buying"]


def test_hold_ends_even_if_clock_of_database_is_set_back(
    run: Callable[..., Database], registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the claim of a dead run would block others for as long as the clock was set back."""
    sent = run("one").claim(purchase("gpu-1"), NO_CEILING)
    unsent_claim(run("one"), purchase("gpu-2", OTHER_ID), monkeypatch)
    query = "UPDATE compute_index_supply.purchase SET held_until = held_until + interval '1 day'"
    postgresql.execute(registry_url, query)
    assert [row.host for row in run().counted()] == ["gpu-1"] and not run().counted()[0].held
    assert run("two").take_over(sent).epoch == 2
    assert run("two").claim(purchase("gpu-2", OTHER_ID), NO_CEILING).sent_at is not None
    # A live run renews its hold by the new clock.
    postgresql.execute(registry_url, query)
    run("two").renew(run().counted()[0], 60.0)
    assert run().counted()[0].held


def test_unsent_claim_cannot_be_taken_over(
    run: Callable[..., Database], registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = unsent_claim(run("one"), purchase(), monkeypatch)
    for _time in range(2):
        with pytest.raises(TakenOver):
            run("two").take_over(row)
        expire_holds(registry_url)


@pytest.mark.parametrize("change", ["epoch = 2", "holder = '{}'", "state = 'void'"])
def test_lost_commit_is_found_only_by_its_own_run_and_epoch(
    run: Callable[..., Database], registry_url: str, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    wanted = purchase()
    unsent_claim(run("one"), wanted, monkeypatch)
    postgresql.execute(registry_url, f"UPDATE compute_index_supply.purchase SET {change}")
    with pytest.raises(TakenOver):
        run("one").claim(wanted, NO_CEILING)
    assert postgresql.execute(registry_url, "SELECT sent_at FROM compute_index_supply.purchase") == [(None,)]


@contextlib.contextmanager
def gate_shut(url: str) -> Iterator[Callable[[int], None]]:
    """Lock the gate; ``waiting(count)`` returns when this number of connections waits for it."""

    def waiting(count: int) -> None:
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: postgresql.execute(url, query) == [(count,)])

    with psycopg.connect(url) as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_statements.GATE])
        yield waiting


@pytest.mark.parametrize("lapsed", [False, True])
@pytest.mark.parametrize("marks_first", [False, True])
def test_either_mark_or_concurrent_claim_succeeds(
    run: Callable[..., Database],
    registry_url: str,
    monkeypatch: pytest.MonkeyPatch,
    marks_first: bool,
    lapsed: bool,
) -> None:
    """Both wait at the gate, and the hold may lapse then. One of them must fail."""
    row, other = unsent_claim(run("one"), purchase("gpu-1"), monkeypatch), purchase("gpu-2")
    steps = {True: lambda: mark_sent(run("one"), row), False: lambda: run("two").claim(other, NO_CEILING)}
    with multiprocessing.pool.ThreadPool(2) as threads:
        with gate_shut(registry_url) as waiting:
            answers = {}
            for count, is_mark in enumerate((marks_first, not marks_first), start=1):
                answers[is_mark] = threads.apply_async(steps[is_mark])
                waiting(count)
            if lapsed:
                expire_holds(registry_url)
        with pytest.raises(TakenOver if lapsed else ClaimedByOther):
            answers[lapsed].get(30)
        assert answers[not lapsed].get(30).sent_at is not None
    assert [each.claim for each in run().counted()] == [other.claim if lapsed else row.claim]


def test_after_failover_an_unsent_claim_counts_as_sent(
    run: Callable[..., Database], registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new primary may lack the mark of a claim that was sent, so only an answer of the API frees it."""
    unsent_claim(run("one"), purchase(), monkeypatch)
    expire_holds(registry_url)
    postgresql.execute(registry_url, "UPDATE compute_index_supply.meta SET cluster = 'another/00000001'")
    with contextlib.suppress(Contested):
        run("two").note(purchase("gpu-2", OTHER_ID), [RESOURCE_ID])
    with pytest.raises(Unreachable):
        run("two", patience=0.0).claim(purchase("gpu-3", OTHER_ID), NO_CEILING)
    postgresql.execute(registry_url, "UPDATE compute_index_supply.meta SET quarantine_until = now()")
    with pytest.raises(ClaimedByOther):
        run("two").claim(purchase("gpu-3", OFFER_ID), NO_CEILING)
    assert states(registry_url) == ["buying", "live"]


def test_hold_is_renewed_until_run_closes_it(run: Callable[..., Database], registry_url: str) -> None:
    one = SharedHost(run("one", hold=3.0), "default", "gpu-1", "account", run="one")
    one.claim({"provision_procured_offer_id": OFFER_ID, "provision_price_per_hour": 2.0})
    two = SharedHost(run("two"), "default", "gpu-1", "account", run="two")
    assert (two.read() or {}).get("provision_held_by") == "alice at bastion (AWX job 7)"
    with pytest.raises(Claimed, match=r"is buying offer .*, in a run of alice at bastion \(AWX job 7\)\.$"):
        two.hold()
    held_until = "SELECT held_until FROM compute_index_supply.purchase"
    first = postgresql.execute(registry_url, held_until)
    until(lambda: postgresql.execute(registry_url, held_until) > first)
    one.close()
    assert "provision_held_by" not in (two.read() or {})
    two.hold()
    two.hold()
    with pytest.raises(Claimed):
        one.note({"provision_purchase": REFUSED})
    two.close()


def test_hold_of_dead_run_lapses(run: Callable[..., Database]) -> None:
    run("one", hold=0.3).claim(purchase(), NO_CEILING)
    two = SharedHost(run("two"), "default", "gpu-1", "account", run="two")
    while "provision_held_by" in (two.read() or {}):
        time.sleep(0.1)
    two.hold()
    two.close()


# Lost connections


class Broken(Database):
    """Loses its connection once, at step ``at``: before a statement, before COMMIT, or before COMMIT's answer."""

    at = 0
    seen = 0

    def _pass(self, connection: Any, *, committed: bool = False) -> None:
        self.seen += 1
        if self.seen != self.at:
            return
        if committed:
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        postgresql.execute(url_of(self), "SELECT pg_terminate_backend(%s, 2000)", [connection.info.backend_pid])

    def _execute(self, connection: Any, query: str, values: Any = None) -> Any:
        self._pass(connection)
        return super()._execute(connection, query, values)

    @contextlib.contextmanager
    def _transaction(self, connection: Any, *, read_only: bool = False) -> Iterator[None]:
        with super()._transaction(connection, read_only=read_only):
            yield
            self._pass(connection)
        self._pass(connection, committed=True)


def url_of(database: Database) -> str:
    """The connection string of a database."""
    return psycopg.conninfo.make_conninfo(**database._parts)


RESOURCE_IDS = [RESOURCE_ID, SECOND_RESOURCE_ID]
Steps = Callable[[Database, Row], object]


def note_machines(database: Database, row: Row) -> object:
    return database.note(purchase(claim=row.claim, price_per_hour=2.5), RESOURCE_IDS)


def end_machines(database: Database, row: Row) -> object:
    note_machines(Database(url_of(database), holder("two")), row)
    return database.end(row, RESOURCE_IDS)


def adopt_machine(database: Database, row: Row) -> object:
    end_machines(Database(url_of(database), holder("two")), row)
    return database.note(purchase(note={"provision_adopted": True}), [RESOURCE_ID])


STEPS: dict[str, tuple[Steps, str, int]] = {
    "again": (lambda database, row: database.claim_again(row, 2.0, {}, Ceilings(2, 2)), "buying", 2),
    "take over": (lambda database, row: database.take_over(row), "buying", 2),
    "note": (note_machines, "live", 1),
    "add to note": (lambda database, row: database.add_to_note(row, {"provision_a": 1}), "buying", 1),
    "compare_and_set": (
        lambda database, row: database.compare_and_set(row, {"provision_a": 1, "provision_b": None}),
        "buying",
        1,
    ),
    "void": (lambda database, row: database.void(row, "refused", {}), "void", 1),
    "end": (end_machines, "ended", 1),
    "adopt what has ended": (adopt_machine, "live", 1),
}


def test_claim_is_made_once_wherever_connection_is_lost(run: Callable[..., Database], registry_url: str) -> None:
    for at in itertools.count(1):
        database = run(kind=Broken)
        assert isinstance(database, Broken)
        database.at = at
        row = database.claim(purchase(offer=f"offer {at}"), Ceilings(2, 2))
        assert (row.state, row.epoch, row.sent_at is not None) == ("buying", 1, True)
        assert states(registry_url).count("buying") == 1
        database.void(row, "refused", {})
        if database.seen < at:
            assert at > 10
            return


@pytest.mark.parametrize(("step", "state", "epoch"), STEPS.values(), ids=STEPS.keys())
def test_step_is_applied_once_wherever_connection_is_lost(
    run: Callable[..., Database], registry_url: str, step: Steps, state: str, epoch: int
) -> None:
    for at in itertools.count(1):
        row = run().claim(purchase(), NO_CEILING)
        database = run(kind=Broken)
        assert isinstance(database, Broken)
        database.at = at
        step(database, row)
        found = postgresql.execute(registry_url, "SELECT state, epoch FROM compute_index_supply.purchase")
        assert found == [(state, epoch)]
        postgresql.execute(registry_url, "TRUNCATE compute_index_supply.purchase CASCADE")
        if database.seen < at:
            assert at > 4
            return


def test_end_of_storage_returns_bill_wherever_connection_is_lost(
    run: Callable[..., Database], registry_url: str
) -> None:
    run().make_tables()
    volume = Storage(RESOURCE_ID, "data", OFFER_ID, 0.05)
    for at in itertools.count(1):
        run().keep_storage("default", "gpu-1", "account", volume)
        database = run(kind=Broken)
        assert isinstance(database, Broken)
        database.at = at
        bill = database.end_stray(RESOURCE_ID, [RESOURCE_ID])
        assert bill is not None and bill.end is not None, f"lost at {at}"
        assert run().end_stray(RESOURCE_ID, [RESOURCE_ID]) is None
        postgresql.execute(registry_url, "TRUNCATE compute_index_supply.purchase CASCADE")
        if database.seen < at:
            assert at > 4
            return


def test_ended_bill_of_another_registry_is_noted_once(run: Callable[..., Database], registry_url: str) -> None:
    bill = Bill("default", "gpu-1", OFFER_ID, (RESOURCE_ID,), ("gpu",), 2.5, begin=1000.0, end=4600.0, why="released")
    for at in itertools.count(1):
        run().void(run().claim(purchase("gpu-2", OTHER_ID), NO_CEILING), "created the tables", {})
        database = run(kind=Broken)
        assert isinstance(database, Broken)
        database.at = at
        database.note_ended("account", [bill])
        assert run().ledger("default").bills == (bill,)
        assert (run().note_ended("account", [bill]), run().counted(), run().void_claims([OFFER_ID])) == (0, [], [])
        postgresql.execute(registry_url, "TRUNCATE compute_index_supply.purchase CASCADE")
        if database.seen < at:
            assert at > 6
            return


def test_repeated_claim_waits_for_hanging_commit(run: Callable[..., Database], registry_url: str) -> None:
    """While the first attempt is not committed yet, the second must neither fail nor make another claim."""
    wanted = purchase()
    run().void(run().claim(purchase("gpu-2", OTHER_ID), NO_CEILING), "created the tables", {})
    database = run()
    with psycopg.connect(registry_url) as hanging:
        with hanging.transaction():
            database._insert(hanging, wanted)
            threads = multiprocessing.pool.ThreadPool(1)
            repeated = threads.apply_async(database.claim, (wanted, NO_CEILING))
            time.sleep(0.2)
            assert not repeated.ready()
        assert repeated.get(HANGS).claim == wanted.claim
    assert states(registry_url) == ["void", "buying"]


def test_unreachable_database_is_named_without_password(registry_url: str) -> None:
    url = "postgresql://alice:geheim@127.0.0.1:1/supply?connect_timeout=2"
    with pytest.raises(Unreachable, match=r"The registry supply at 127\.0\.0\.1:1 cannot be reached: ") as caught:
        Database(url, holder("one"), patience=0.2).claim(purchase(), NO_CEILING)
    assert "geheim" not in str(caught.value)


@contextlib.contextmanager
def frozen_after(url: str, answers: int) -> Iterator[str]:
    """A proxy that passes this number of the server's answers on to each client, and then freezes."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    path, kept = f"{parts['host']}/.s.PGSQL.{parts.get('port') or 5432}", list[socket.socket]()

    def forward(source: socket.socket, sink: socket.socket, left: float) -> None:
        with contextlib.suppress(OSError):
            while left > 0 and (data := source.recv(65_536)):
                left -= 1
                sink.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, server = listener.accept()[0], socket.socket(socket.AF_UNIX)
                server.connect(path)
                kept.extend((client, server))
                for ends in ((client, server, float("inf")), (server, client, float(answers))):
                    threading.Thread(target=forward, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        there = {"host": "127.0.0.1", "port": listener.getsockname()[1], "sslmode": "disable", "gssencmode": "disable"}
        yield psycopg.conninfo.make_conninfo(url, **there)
    for each in kept:
        each.close()


@pytest.mark.parametrize("answers", [2, 3, 5])
@pytest.mark.parametrize("keep", [False, True])
def test_frozen_server_does_not_block_forever(
    registry_url: str, monkeypatch: pytest.MonkeyPatch, answers: int, keep: bool
) -> None:
    """The server's kernel still accepts data, so only the run's own time limit ends the wait."""
    monkeypatch.setattr(_connection, "STEP_TIMEOUT", 0.3)
    Database(registry_url, holder("one")).make_tables()
    with frozen_after(registry_url, answers) as url:
        database = Database(url, holder("two"), patience=0.1, facts_patience=0.1, keep=keep)
        with contextlib.suppress(Unreachable):  # a few steps may get enough answers
            for _step in range(9):
                database.note_sweep("default")
                database.counted()
            assert not keep
        database.close()


def test_database_opens_new_connections_after_call_without_keep(registry_url: str) -> None:
    """Threads need this: on a shared connection, one thread's step would be part of another's transaction."""

    def connection_of(database: Database) -> int:
        return database._run(lambda connection: connection.info.backend_pid, 0.0)

    with Registries(registry_url, "https://api.example.com", read_only=False) as registries:
        kept = registries.database()
        assert connection_of(kept) == connection_of(registries.database())
        apart = registries.database(keep=False)
        assert connection_of(apart) != connection_of(registries.database())


@pytest.mark.parametrize(
    "url", ["postgresql://a:geheim@h:x:y/", "geheim", "host=h geheim", "postgresql://h/?geheim=1", "password='geheim"]
)
def test_invalid_connection_string_is_not_repeated(url: str) -> None:
    with pytest.raises(RegistryError) as caught:
        Database(url, holder("one"), patience=0.0).open_claim("p", "h")
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql://supply:tH@geheim@db.invalid/supply", "postgresql://supply:geheim@x@db.invalid:5432/supply"),
        *("postgresql://supply:geheim/x@db.invalid/supply", "postgresql://supply:12/geheim@db.invalid/supply"),
        *("postgresql://supply:a@12/geheim@db.invalid/supply", "postgresql://supply:a@b:geheim@db.invalid/supply"),
        *("postgresql://supply:a#geheim@x@db.invalid/supply", "postgresql://supply:a/b?geheim@db.invalid/supply"),
        *("host=db.invalid;password=geheim", "dbname=supply;password=geheim", "host=db.invalid,password=geheim"),
        *("host=db dbname=postgresql://u:geheim@db/x", "host=db port=geheim", "host=a@geheim", "hostaddr=geheim@h"),
        *("postgresql://db.invalid/supply%40geheim", "postgresql://db.invalid/supply?host=geheim@x", "host='\0geheim'"),
    ],
)
def test_password_with_unencoded_characters_is_refused_and_hidden(url: str) -> None:
    with pytest.raises(RegistryError, match="registry_url") as caught:
        Database(url, holder("one"), patience=0.0)
    assert "geheim" not in f"{caught.value!r} {caught.value.__cause__!r}" and caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://supply:p%40ss%2F@db.example.com:6432/supply", "supply at db.example.com:6432"),
        ("postgresql://supply:p:w@[2001:db8::1]/my-db_1.x", "my-db_1.x at 2001:db8::1"),
        ("postgresql://a.example.com:1,b.example.com:2/supply", "supply at a.example.com,b.example.com:1,2"),
        ("postgresql:///supply?host=/var/run/postgresql", "supply at /var/run/postgresql"),
        ("host=db password='a@b/c' dbname='my supply'", "my supply at db"),
        ("postgresql://", "the default database at the default host"),
        ("service=production host=db", "the default database at db"),
    ],
)
def test_place_names_database_and_host(url: str, place: str) -> None:
    assert Database(url, holder("one")).place == place


@pytest.mark.parametrize("words", ["Connection refused", 'FATAL:  too many connections for role "a"', "timeout"])
def test_failed_connection_may_be_retried_for_any_reason(run: Callable[..., Database], words: str) -> None:
    error = psycopg.OperationalError(f"connection failed: {words}\nMultiple connection attempts failed.")
    assert run()._reason(error) == (f"cannot be reached: connection failed: {words}", True)


# Facts


def test_late_facts_are_accepted(run: Callable[..., Database], registry_url: str) -> None:
    """Any run may note machines: under an old epoch, and for a void claim."""
    one = run("one").claim(purchase(), NO_CEILING)
    expire_holds(registry_url)
    two = run("two").take_over(one)
    assert run("one").note(purchase(claim=one.claim), [RESOURCE_ID]).state == "live"
    with pytest.raises(TakenOver):
        run("two").void(two, "refused", {})
    three = run("three").claim(purchase("gpu-3", OTHER_ID), NO_CEILING)
    run("three").void(three, "refused", {})
    assert run("one").note(purchase("gpu-3", OTHER_ID, claim=three.claim), [SECOND_RESOURCE_ID]).state == "live"


@pytest.mark.parametrize("taken_for", ["void", "ended"])
def test_purchase_found_late_is_billed_until_its_end(
    run: Callable[..., Database], registry_url: str, taken_for: str
) -> None:
    """Its bill includes the time before the claim was taken for void, or the machine for ended."""
    row = run().claim(purchase(price_per_hour=2.0), NO_CEILING)
    if taken_for == "void":
        run().void(row, "not made", {})
    else:
        run().note(purchase(claim=row.claim), [RESOURCE_ID])
        run().end(row, RESOURCE_IDS)
    earlier = "claimed_at = claimed_at - interval '9 hours', ended_at = ended_at - interval '8 hours'"
    postgresql.execute(registry_url, f"UPDATE compute_index_supply.purchase SET {earlier}")
    with contextlib.suppress(Contested):
        run().note(purchase(claim=row.claim), [SECOND_RESOURCE_ID])
    bill = run().end(row, RESOURCE_IDS)
    assert bill is not None and bill.end is not None and bill.begin is not None
    assert round((bill.end - bill.begin) / 3600) == 9


def test_end_counts_even_if_clock_of_database_is_set_back(run: Callable[..., Database], registry_url: str) -> None:
    """Otherwise the purchase would run forever in reports and budgets."""
    row = run().claim(purchase(price_per_hour=2.0), NO_CEILING)
    run().note(purchase(claim=row.claim), [RESOURCE_ID])
    postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET claimed_at = now() + interval '1 day'")
    bill = run().end(row, RESOURCE_IDS)
    assert bill is not None and not bill.runs and bill.registered and not bill.is_known(time.time())
    assert run().ledger("default").bills == (bill,)


def test_lost_row_is_written_again(run: Callable[..., Database], registry_url: str) -> None:
    row = run().claim(purchase(), NO_CEILING)
    postgresql.execute(registry_url, "DELETE FROM compute_index_supply.purchase")
    noted = run().note(purchase(claim=row.claim, price_per_hour=2.5, note={"provision_a": 1}), [RESOURCE_ID])
    assert (noted.state, noted.claim, noted.resource_ids) == ("live", row.claim, [RESOURCE_ID])
    assert (float(noted.price_per_hour or 0), noted.note) == (2.5, {"provision_a": 1})


def test_second_machine_of_host_becomes_reported_stray(run: Callable[..., Database], registry_url: str) -> None:
    lost = run("one").claim(purchase(), NO_CEILING)
    run("one").void(lost, "refused", {})
    run("two").claim(purchase(offer=OTHER_ID), NO_CEILING)
    with pytest.raises(Contested, match=rf"Offer {OFFER_ID} of host gpu-1 \({RESOURCE_ID}\).*has another purchase"):
        run("one").note(purchase(claim=lost.claim), [RESOURCE_ID])
    assert [(row.state, row.resource_ids) for row in run().counted()] == [("stray", [RESOURCE_ID]), ("buying", [])]


def test_claim_with_machines_gets_the_offer(run: Callable[..., Database], registry_url: str) -> None:
    buying = run("two").claim(purchase("gpu-2"), NO_CEILING)
    assert run("one").note(purchase("gpu-1"), [RESOURCE_ID]).state == "live"
    assert states(registry_url) == ["void", "live"]
    with pytest.raises(TakenOver):
        run("two").claim_again(buying, 2.0, {}, NO_CEILING)
    with pytest.raises(Contested, match="host gpu-1 of project default has also bought the offer"):
        run("two").note(purchase("gpu-2", claim=buying.claim), [SECOND_RESOURCE_ID])
    (row,) = run().counted()
    assert (row.host, row.resource_ids) == ("gpu-1", [RESOURCE_ID, SECOND_RESOURCE_ID])


@pytest.mark.parametrize("note", [{}, {"provision_adopted": True}])
@pytest.mark.parametrize("first", ["claim", "note"])
def test_two_runs_may_note_the_same_purchase(
    run: Callable[..., Database], registry_url: str, note: dict[str, Any], first: str
) -> None:
    """As when two clones import the same file, or adopt the same machine for a host, at the same time."""
    if first == "claim":
        run("one").claim(purchase(), NO_CEILING)
    else:
        run("one").note(purchase(note={**note, "provision_a": 1}), [RESOURCE_ID])
    row = run("two").note(purchase(note={**note, "provision_a": 2}), [RESOURCE_ID, SECOND_RESOURCE_ID])
    assert (row.state, row.resource_ids) == ("live", [RESOURCE_ID, SECOND_RESOURCE_ID])
    assert states(registry_url) == ["live"]


def test_machine_of_another_claim_is_contested(run: Callable[..., Database]) -> None:
    run().note(purchase("gpu-1"), [RESOURCE_ID])
    with pytest.raises(Contested, match=f"{RESOURCE_ID} is noted for claim "):
        run().note(purchase("gpu-2", OTHER_ID), [RESOURCE_ID, SECOND_RESOURCE_ID])
    assert [(row.host, row.resource_ids) for row in run().counted()] == [
        ("gpu-1", [RESOURCE_ID]),
        ("gpu-2", [SECOND_RESOURCE_ID]),
    ]


def test_offer_cannot_be_claimed_by_a_second_host(run: Callable[..., Database]) -> None:
    run("one").claim(purchase("gpu-1"), NO_CEILING)
    other = SharedHost(run("two"), "other", "gpu-1", "account", run="two")
    with pytest.raises(ClaimedByOther, match=f"host gpu-1 of project default is buying offer {OFFER_ID}, since "):
        other.claim({"provision_procured_offer_id": OFFER_ID})


def test_failed_offer_cannot_be_claimed_again(run: Callable[..., Database]) -> None:
    """It is not an open purchase: if the message said so, a run would query the API and claim again, forever."""
    failed, again = (SharedHost(run(name), "default", "gpu-1", "account", run=name) for name in ("one", "two"))
    of_offer = {"provision_procured_offer_id": OFFER_ID}
    failed.claim(of_offer)
    for became in (MADE, REFUSED):
        failed.note({**of_offer, PURCHASE: became})
    with pytest.raises(ClaimedByOther, match=f"host gpu-1 of project default has bought offer {OFFER_ID}, since "):
        again.claim(of_offer)


# Tables, versions and rights


def test_reading_creates_no_tables(run: Callable[..., Database], registry_url: str) -> None:
    database = run()
    assert (database.open_claim("default", "gpu-1"), database.counted()) == (None, [])
    found = postgresql.execute(registry_url, "SELECT to_regnamespace(%s)::text", [postgresql.SCHEMA])
    assert found == [(None,)]


def test_tables_created_by_hand_are_used(run: Callable[..., Database], registry_url: str) -> None:
    postgresql.execute(registry_url, SCHEMA)
    run().claim(purchase(), NO_CEILING)
    assert states(registry_url) == ["buying"]


def test_make_tables_succeeds_if_session_does_not_see_them_yet(
    run: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    run().make_tables()
    # As in a session of a connection pooler that looked for the tables before they existed
    monkeypatch.setattr(_statements, "HAS_SCHEMA", "SELECT false")
    run().make_tables()


@pytest.mark.parametrize("step", [Database.make_tables, lambda database: database.note(purchase(), [RESOURCE_ID])])
def test_tables_are_created_wherever_connection_is_lost(
    registry_url: str, run: Callable[..., Database], step: Callable[[Database], object]
) -> None:
    for at in itertools.count(1):
        postgresql.forget(registry_url)
        database = run(kind=Broken)
        assert isinstance(database, Broken)
        database.at = at
        step(database)
        assert run().has_tables()
        if database.seen < at:
            assert at > 6
            return


def test_newer_schema_refuses_claims_but_accepts_facts_and_ends(
    run: Callable[..., Database], registry_url: str
) -> None:
    row = run().claim(purchase(), NO_CEILING)
    postgresql.execute(registry_url, "ALTER TABLE compute_index_supply.purchase ADD more text")
    postgresql.execute(registry_url, "UPDATE compute_index_supply.meta SET version = 2")
    with pytest.raises(RegistryError, match=r"newer version of the collection \(schema 2, here 1\)"):
        run().claim(purchase("gpu-2", OTHER_ID), NO_CEILING)
    assert run().open_claim("default", "gpu-1") is not None
    assert run().note(purchase(claim=row.claim), [RESOURCE_ID]).state == "live"
    run().end(row, RESOURCE_IDS)
    assert run().counted() == []


@pytest.fixture
def reader(registry_url: str) -> Iterator[str]:
    """The connection string of a role that may only read."""
    postgresql.execute(registry_url, SCHEMA)
    postgresql.execute(registry_url, "CREATE ROLE reader LOGIN")
    postgresql.execute(registry_url, "GRANT USAGE ON SCHEMA compute_index_supply TO reader")
    postgresql.execute(registry_url, "GRANT SELECT ON ALL TABLES IN SCHEMA compute_index_supply TO reader")
    yield registry_url.replace("postgres:@", "reader@")
    postgresql.execute(registry_url, "DROP OWNED BY reader")
    postgresql.execute(registry_url, "DROP ROLE reader")


def test_role_with_read_rights_may_only_read(run: Callable[..., Database], reader: str) -> None:
    row = run().claim(purchase(), NO_CEILING)
    database = Database(reader, holder("reader"))
    assert [row.host for row in database.counted()] == ["gpu-1"]
    assert database.open_claim("default", "gpu-1") is not None
    with pytest.raises(RegistryError, match="does not let its user note machines, so none may be bought: GRANT"):
        database.claim(purchase("gpu-2", OTHER_ID), NO_CEILING)
    with pytest.raises(RegistryError, match=r"permission denied for table purchase \(42501\): GRANT USAGE ON SCHEMA"):
        database.end(row, RESOURCE_IDS)
    postgresql.forget(reader.replace("reader@", "postgres@"))
    with pytest.raises(RegistryError, match="has no tables, and its user may not make them: GRANT CREATE"):
        database.claim(purchase("gpu-2", OTHER_ID), NO_CEILING)


def test_role_that_cannot_note_machines_may_not_claim(registry_url: str, reader: str) -> None:
    """Another role has created the tables; this one may have rights to some of them only."""
    database = Database(reader, holder("reader"))
    tables = ["compute_index_supply.purchase, compute_index_supply.meta", "ALL TABLES IN SCHEMA compute_index_supply"]
    for granted in tables:
        with pytest.raises(RegistryError, match="does not let its user note machines"):
            database.claim(purchase(), NO_CEILING)
        assert states(registry_url) == []
        postgresql.execute(registry_url, f"GRANT INSERT, UPDATE ON {granted} TO reader")
    row = database.claim(purchase(), NO_CEILING)
    assert database.note(purchase(claim=row.claim), [RESOURCE_ID]).resource_ids == [RESOURCE_ID]
    kept = database.note(purchase(claim=row.claim), [SECOND_RESOURCE_ID], disowned=[RESOURCE_ID])
    assert kept.resource_ids == [RESOURCE_ID, SECOND_RESOURCE_ID], "the role may not delete rows"
    database.end(row, RESOURCE_IDS)
    assert states(registry_url) == ["ended"]


def test_failover_refuses_new_claims_until_quarantine_ends(run: Callable[..., Database], registry_url: str) -> None:
    row = run().claim(purchase(), NO_CEILING)
    assert run().add_to_note(row, {EXPIRED: "now"}).expired_seen is not None
    postgresql.execute(registry_url, "UPDATE compute_index_supply.meta SET cluster = 'another/00000001'")
    for _time in range(2):
        with pytest.raises(
            Unreachable, match="has failed over, and may have lost claims: nothing new is bought until 2"
        ):
            run(patience=0.0).claim(purchase("gpu-2", OTHER_ID), NO_CEILING)
    found = run().open_claim("default", "gpu-1")
    assert found is not None and found.expired_seen is None
    assert run().note(purchase(claim=row.claim), [RESOURCE_ID]).state == "live"
    postgresql.execute(registry_url, "UPDATE compute_index_supply.meta SET quarantine_until = now()")
    run().claim(purchase("gpu-2", OTHER_ID), NO_CEILING)


def test_command_for_restored_backup_starts_quarantine(run: Callable[..., Database], registry_url: str) -> None:
    """Runs the command in docs/shared-registry.md. The backup lacks purchases that were made after it."""
    guide = Path(__file__).parents[5].joinpath("docs", "shared-registry.md").read_text()
    command = re.search(r'psql [^\n]*-c "(UPDATE compute_index_supply.meta[^"]*)"', guide)
    assert command
    row = run().claim(purchase(), NO_CEILING)
    run().add_to_note(row, {EXPIRED: "now"})
    # As in a backup from before the claim was sent
    postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET sent_at = NULL")
    postgresql.execute(registry_url, command[1])
    with pytest.raises(Unreachable, match="nothing new is bought until 2"):
        run(patience=0.0).claim(purchase("gpu-2", OTHER_ID), NO_CEILING)
    ((waits, doubted),) = postgresql.execute(
        registry_url,
        "SELECT quarantine_until BETWEEN now() + interval '29 minutes' AND now() + interval '30 minutes',"
        " expired_seen IS NULL AND sent_at IS NOT NULL FROM compute_index_supply.meta, compute_index_supply.purchase",
    )
    assert waits and doubted


def test_new_database_has_default_epoch_and_longest_post(run: Callable[..., Database], registry_url: str) -> None:
    row = run().claim(purchase(), NO_CEILING)
    assert (row.longest_post, row.epoch) == (LONGEST_POST, FIRST_EPOCH)


@pytest.mark.parametrize("projects", [("default", "red"), ("red", "default"), ("red", "blue")])
def test_hosts_of_other_projects_have_distinct_names(run: Callable[..., Database], projects: tuple[str, str]) -> None:
    here, there = projects
    for number, project in enumerate(projects):
        wanted = purchase(offer=(OFFER_ID, OTHER_ID)[number], project=project)
        run().claim(wanted, NO_CEILING)
        run().note(wanted, [(RESOURCE_ID, SECOND_RESOURCE_ID)[number]])
    with pytest.raises(Contested):
        run().note(purchase(offer=str(uuid.uuid4()), project=here), ["stray-1"])
    found = entries_of(run().counted(), here, "account", "x")
    (key,) = list(found.other_projects)
    entry = found.other_projects[key]
    assert key == (there, f"gpu-1 of project {there}") and list(found.hosts) == ["gpu-1"]
    assert entry.name == {"default": "gpu-1"}.get(there, f"{there}-gpu-1")
    (stray,) = list(found.strays)
    assert stray.startswith("gpu-1 (stray ")
    claims = [noted_claim(name, item) for name, item in {**found.hosts, key[1]: entry}.items()]
    account = Account.of(claims, None)
    assert account.holder_of(SECOND_RESOURCE_ID, "gpu-1") == key[1] and not account.holder_of(RESOURCE_ID, "gpu-1")


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.FeatureNotSupported("cannot set transaction read-write mode during recovery"),
        psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT in a read-only transaction"),
    ],
    ids=["at its beginning", "at a change"],
)
def test_standby_before_promotion_is_retried(run: Callable[..., Database], error: psycopg.Error) -> None:
    database, tries = run(), []

    def step(_connection: object) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise error
        return "done"

    assert database._run(step, 5.0) == "done"


def test_transaction_ended_by_idle_timeout_is_repeated(
    run: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspended controller leaves one open. The server ends it, so that no run waits for it at the gate."""
    monkeypatch.setattr(_connection, "STATEMENT_TIMEOUT", 0.2)
    database, row = run(), run().claim(purchase(), NO_CEILING)
    rows, sleeps = database._rows, [0.5]
    monkeypatch.setattr(database, "_rows", lambda *given: (time.sleep(sleeps.pop() if sleeps else 0), rows(*given))[1])
    noted = database.note(purchase(claim=row.claim), [RESOURCE_ID])
    assert (noted.state, noted.resource_ids, sleeps) == ("live", [RESOURCE_ID], [])


def test_times_are_in_utc(run: Callable[..., Database], registry_url: str) -> None:
    postgresql.execute(registry_url, "ALTER DATABASE postgres SET timezone = 'Asia/Tokyo'")
    try:
        row = run().claim(purchase("gpu-1"), NO_CEILING)
        with pytest.raises(ClaimedByOther) as caught:
            run().claim(purchase("gpu-2"), NO_CEILING)
    finally:
        postgresql.execute(registry_url, "ALTER DATABASE postgres RESET timezone")
    assert f"since {row.claimed_at.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}." in str(caught.value)


def test_settings_of_database_role_have_no_effect(run: Callable[..., Database], registry_url: str) -> None:
    """Connection strings do not show such settings."""
    settings = ("datestyle = 'German'", "standard_conforming_strings = off", "search_path = nowhere")
    for setting in settings:
        postgresql.execute(registry_url, f"ALTER ROLE postgres SET {setting}")
    try:
        row = run().claim(purchase(), NO_CEILING)
        assert run().note(purchase(claim=row.claim), [RESOURCE_ID]).state == "live"
        run().note_sweep("default")
        assert run().last_sweep("default") is not None
    finally:
        postgresql.execute(registry_url, "ALTER ROLE postgres RESET ALL")


ODD_TEXTS = ["gpü-日本", "a\x00b", "a\ud800b", "a\\u0000b", "a\\\x00b"]


@pytest.mark.parametrize("encoding", ["UTF8", "SQL_ASCII"])
def test_any_text_can_be_noted(registry_url: str, encoding: str) -> None:
    """Texts from the API and from machines, in databases with and without an encoding."""
    name = f"of_{encoding.lower()}"
    own = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    postgresql.execute(registry_url, f"CREATE DATABASE {name} {own}")
    try:
        user = {**holder("gpü"), "user": "日本"}
        database = Database(psycopg.conninfo.make_conninfo(registry_url, dbname=name), user)
        row = database.claim(purchase("gpü-日本"), NO_CEILING)
        fact = purchase("gpü-日本", claim=row.claim, note={"provision_odd": ODD_TEXTS})
        noted = database.note(fact, [RESOURCE_ID])
        assert (noted.host, noted.holder, noted.resource_ids) == ("gpü-日本", user, [RESOURCE_ID])
        assert noted.note["provision_odd"] == ["gpü-日本", "a?b", "a?b", "a\\u0000b", "a\\?b"]
        assert database.compare_and_set(noted, {"provision_more": "ü"}).note == {**noted.note, "provision_more": "ü"}
    finally:
        postgresql.execute(registry_url, f"DROP DATABASE {name}")


def test_no_connection_stays_open(run: Callable[..., Database], registry_url: str) -> None:
    run().claim(purchase(), NO_CEILING)
    query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    until(lambda: postgresql.execute(registry_url, query) == [(0,)])


def test_missing_psycopg_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(RegistryError, match=r"has no psycopg 3.*install psycopg\[binary\]"):
        Database("postgresql://h/", holder("one"))


def test_ledger_of_recent_time_does_not_scan_old_ends(run: Callable[..., Database], registry_url: str) -> None:
    run().claim(purchase(), NO_CEILING)
    ended = """
        INSERT INTO compute_index_supply.purchase
            (claim, project, host, account, offer, state, holder, held_until, claimed_at, ended_at)
        SELECT gen_random_uuid(), 'default', 'host ' || n, 'account', 'offer ' || n, 'ended', '{}', now(),
            now() - n * interval '1 hour', now() - n * interval '1 hour' + interval '30 minutes'
        FROM generate_series(1, 20000) AS n
    """
    postgresql.execute(registry_url, ended)
    postgresql.execute(registry_url, "ANALYZE compute_index_supply.purchase")
    assert len(run().ledger("default", time.time() - 36_000).bills) == 1 + 10
    query = _statements.LEDGER_OF_PROJECT.replace("%(project)s", "'default'")
    since = f"{time.time() - 36_000:.0f}"
    lines = postgresql.execute(registry_url, "EXPLAIN ANALYZE " + query.replace("%(since)s", since))
    plan = "\n".join(line for (line,) in lines)
    assert "purchase_ended" in plan and "Seq Scan on purchase" not in plan, plan
    # Neither does the query that frees lapsed claims, which runs while others wait at the gate.
    plan = "\n".join(line for (line,) in postgresql.execute(registry_url, f"EXPLAIN {_statements.FREE_LAPSED}"))
    assert "Seq Scan on purchase" not in plan, plan
