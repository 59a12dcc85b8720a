# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims in a registry in PostgreSQL: concurrent claims, holds, and facts that arrive late."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import multiprocessing.pool
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    MADE,
    MISSING_AT,
    MISSING_SINCE,
    PURCHASE,
    REFUSED,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _statements
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

import claimants
import postgresql
from claimants import NO_CEILING, Attempt, holder, purchase
from limits import until
from registry_rows import RESOURCE_IDS, expire_holds, states
from samples import OFFER_ID, OTHER_ID, RESOURCE_ID, SECOND_RESOURCE_ID

PROCESSES, ROUNDS = 16, 3
OF_OFFER = {"provision_procured_offer_id": OFFER_ID}


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
    with pytest.raises(AboveCeiling):
        database.claim(purchase("gpu-4", "offer 5", price_per_hour=1.0), Ceilings(max_account_price_per_hour=7.99))
    database.end(ended, ended.resource_ids)
    database.claim(purchase("gpu-4", "offer 5", price_per_hour=1.0), Ceilings(6.0, 6.0))


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
    database.note(purchase("gpu-9", "offer 9", project="blue"), ["m9"])
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
        lambda: run("one").compare_and_set(row, {"provision_ends_at": "2099-01-01T06:00:00Z"}),
    ):
        with pytest.raises(TakenOver):
            late()
    run("one").renew(row, 0.0)
    held = run("two").open_claim("default", "gpu-1")
    assert (states(registry_url), held and held.held) == (["buying"], True)
    expire_holds(registry_url)
    with pytest.raises(TakenOver):
        run("three").take_over(row)
    assert run("two").void(taken, "refused", {}).state == "void"


@pytest.mark.parametrize("state", ["live", "stray", "void", "ended"])
def test_claim_with_a_result_cannot_be_taken_over(run: Callable[..., Database], registry_url: str, state: str) -> None:
    """Another run has noted the result since this one read the claim."""
    row = run("one").claim(purchase(), NO_CEILING)
    expire_holds(registry_url)
    postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET state = %s", [state])
    for late in (lambda: run("two").take_over(row), lambda: run("one").claim_again(row, 2.0, {}, NO_CEILING)):
        with pytest.raises(TakenOver):
            late()
    assert states(registry_url) == [state]


@pytest.mark.parametrize(("again", "counted"), [(3.0, 3.0), (1.0, 2.0), (None, 2.0)])
def test_repeated_claim_counts_at_its_highest_price(
    run: Callable[..., Database], again: float | None, counted: float
) -> None:
    """Its first purchase may have been executed, at the price of that time."""
    row, _other = (run().claim(purchase(*of), NO_CEILING) for of in (["gpu-1"], ["gpu-2", OTHER_ID]))
    assert float(run().claim_again(row, again, {}, NO_CEILING).price_per_hour or 0) == counted
    assert [each.epoch for each in run().counted()] == [2, 1]


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


def test_machines_of_an_unsent_claim_stay_noted(
    run: Callable[..., Database], registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those that a person adopts for the host. The end of its hold frees only a claim that bought nothing."""
    row = unsent_claim(run("one"), purchase("gpu-1"), monkeypatch)
    run("two").note(purchase("gpu-1", claim=row.claim), [RESOURCE_ID])
    expire_holds(registry_url)
    run("two").claim(purchase("gpu-2", OTHER_ID), NO_CEILING)
    assert states(registry_url) == ["live", "buying"]
    assert [bill.host for bill in run().ledger("default").bills] == ["gpu-1", "gpu-2"]


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


@pytest.mark.parametrize("change", ["epoch = 2", "holder = '{}'", "state = 'live'", "state = 'void'"])
def test_claim_is_marked_as_sent_only_by_its_own_run_and_epoch(
    run: Callable[..., Database], registry_url: str, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    unsent, of_gpu_2 = (unsent_claim(run("one"), purchase(*of), monkeypatch) for of in (["gpu-1"], ["gpu-2", OTHER_ID]))
    assert mark_sent(run("one"), of_gpu_2).sent_at is not None
    postgresql.execute(registry_url, f"UPDATE compute_index_supply.purchase SET {change} WHERE host = 'gpu-1'")
    with pytest.raises(TakenOver):
        mark_sent(run("one"), unsent)
    query = "SELECT sent_at FROM compute_index_supply.purchase WHERE host = 'gpu-1'"
    assert postgresql.execute(registry_url, query) == [(None,)]


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


def test_ceiling_counts_a_claim_that_passes_the_gate_first(run: Callable[..., Database], registry_url: str) -> None:
    row = run().claim(purchase("gpu-1"), NO_CEILING)
    with multiprocessing.pool.ThreadPool(1) as threads:
        with gate_shut(registry_url) as waiting:
            again = threads.apply_async(run().claim_again, (row, 3.0, {}, Ceilings(max_total_price_per_hour=4.99)))
            waiting(1)
            with psycopg.connect(registry_url) as other:
                run("two")._insert(other, purchase("gpu-2", OTHER_ID))
        with pytest.raises(AboveCeiling):
            again.get(30)
    assert [float(each.price_per_hour or 0) for each in run().counted()] == [2.0, 2.0]


def test_machines_are_noted_after_a_claim_that_passes_the_gate_first(
    run: Callable[..., Database], registry_url: str
) -> None:
    run().make_tables()
    with multiprocessing.pool.ThreadPool(1) as threads, psycopg.connect(registry_url) as other:
        with other.transaction():
            other.execute("SELECT pg_advisory_xact_lock(%s)", [_statements.GATE])
            run("two")._insert(other, purchase("gpu-2"))
            noted = threads.apply_async(run().note, (purchase("gpu-1"), [RESOURCE_ID]))
            until_blocked(registry_url)
        assert noted.get(30).state == "live"
    assert states(registry_url) == ["void", "live"]


def test_end_waits_for_another_run_that_notes_a_machine(run: Callable[..., Database], registry_url: str) -> None:
    row = run().note(purchase(), [RESOURCE_ID])
    with multiprocessing.pool.ThreadPool(1) as threads, psycopg.connect(registry_url) as other:
        with other.transaction():
            run("two")._note(other, purchase(), RESOURCE_IDS)
            ended = threads.apply_async(run().end, (row, [RESOURCE_ID]))
            until_blocked(registry_url)
        with pytest.raises(TakenOver):
            ended.get(30)
    assert [each.resource_ids for each in run().counted()] == [RESOURCE_IDS]


def until_blocked(url: str) -> None:
    """Return when a connection waits for another one."""
    until(lambda: postgresql.execute(url, "SELECT count(*) FROM pg_locks WHERE NOT granted") != [(0,)])


def test_after_failover_an_unsent_claim_counts_as_sent(
    run: Callable[..., Database], registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new primary may lack the mark of a claim that was sent, so only an answer of the API frees it."""
    unsent_claim(run("one"), purchase(), monkeypatch)
    sent = run("one").claim(purchase("gpu-4", "offer 4"), NO_CEILING)
    freed = unsent_claim(run("one"), purchase("gpu-5", "offer 5"), monkeypatch)
    run("one").void(freed, "not made", {})
    expire_holds(registry_url)
    postgresql.execute(registry_url, "UPDATE compute_index_supply.meta SET cluster = 'another/00000001'")
    with contextlib.suppress(Contested):
        run("two").note(purchase("gpu-2", OTHER_ID), [RESOURCE_ID])
    with pytest.raises(Unreachable):
        run("two", patience=0.0).claim(purchase("gpu-3", OTHER_ID), NO_CEILING)
    postgresql.execute(registry_url, "UPDATE compute_index_supply.meta SET quarantine_until = now()")
    with pytest.raises(ClaimedByOther):
        run("two").claim(purchase("gpu-3", OFFER_ID), NO_CEILING)
    assert states(registry_url) == ["buying", "buying", "void", "live"]
    found = run().open_claim("default", "gpu-4")
    assert found is not None and found.sent_at == sent.sent_at and run().void_claims(["offer 5"]) == []


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


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ("note = note", True),
        ("state = 'live'", True),
        ("state = 'void'", False),
        ("state = 'ended'", False),
        ("epoch = epoch + 1", False),
    ],
)
def test_still_holds_compares_state_and_epoch(
    run: Callable[..., Database], registry_url: str, change: str, holds: bool
) -> None:
    host = SharedHost(run("one"), "default", "gpu-1", "account", run="one")
    assert not host.still_holds()
    with contextlib.closing(host):
        host.claim(OF_OFFER)
        postgresql.execute(registry_url, f"UPDATE compute_index_supply.purchase SET {change}")
        assert host.still_holds() is holds


def test_host_of_another_account_cannot_be_used(run: Callable[..., Database]) -> None:
    """Its machine would be ended, or bought again, with the token of the wrong account."""
    for host, offer, project in (("gpu-1", "offer 1", "default"), ("gpu-2", "offer 2", "blue")):
        run().note(purchase(host, offer, project=project, account="other"), [f"{host}-machine"])
    ended = run().note(purchase("gpu-3", "offer 3", account="other"), ["m3"])
    with pytest.raises(Contested):
        run().note(purchase("gpu-3", "offer 4", account="other"), ["stray"])
    run().end(ended, ["m3"])  # the stray leaves the host's name free
    with pytest.raises(RegistryError, match="has host gpu-1 of project default on account other, but this is account"):
        SharedHost(run("one"), "default", "gpu-1", "account", run="one").read()
    found = entries_of(run().counted(), "default", "account", "one")
    assert (found.hosts, found.strays, found.other_projects, list(found.broken)) == ({}, {}, {}, ["gpu-1"])
    found = entries_of(run().counted(), "default", "other", "one")
    assert (list(found.hosts), len(found.strays), len(found.other_projects), found.broken) == (["gpu-1"], 1, 1, {})


def test_clock_of_database_is_known_once_a_claim_was_read(run: Callable[..., Database]) -> None:
    host = SharedHost(run("one"), "default", "gpu-1", "account", run="one")
    assert (host.read(), host.clock().database) == (None, None)
    run("two").claim(purchase(), NO_CEILING)
    host.read()
    assert host.clock().database == pytest.approx(time.time(), abs=60) == host.now()


def test_note_without_claim_is_refused(run: Callable[..., Database]) -> None:
    """Another run has ended the purchase. Only what was bought is always noted."""
    host = SharedHost(run("one"), "default", "gpu-1", "account", run="one")
    host.read()
    with pytest.raises(Claimed, match="has nothing about this host any more"):
        host.note({"provision_verified": True})


def test_hold_of_dead_run_lapses(run: Callable[..., Database]) -> None:
    run("one", hold=0.3).claim(purchase(), NO_CEILING)
    two = SharedHost(run("two"), "default", "gpu-1", "account", run="two")
    while "provision_held_by" in (two.read() or {}):
        time.sleep(0.1)
    two.hold()
    two.close()


def two_runs(run: Callable[..., Database]) -> tuple[SharedHost, SharedHost]:
    """The same host in two runs, of which the first one has claimed an offer."""
    one, two = (SharedHost(run(name), "default", "gpu-1", "account", run=name) for name in ("one", "two"))
    one.claim(OF_OFFER)
    return one, two


def test_refusal_of_a_purchase_that_another_run_has_taken_over_frees_nothing(
    run: Callable[..., Database], registry_url: str
) -> None:
    """The other run may have sent it again, and holds it no longer."""
    one, two = two_runs(run)
    expire_holds(registry_url)
    two.read()
    two.hold()
    two.close()
    one.read()
    with pytest.raises(Claimed):
        one.note({PURCHASE: REFUSED})
    one.close()
    assert states(registry_url) == ["buying"]


def test_run_holds_the_claim_that_has_replaced_its_own(run: Callable[..., Database], registry_url: str) -> None:
    one, two = two_runs(run)
    expire_holds(registry_url)
    two.read()
    two.hold()
    two.note({PURCHASE: REFUSED})
    two.claim({"provision_procured_offer_id": OTHER_ID})
    two.close()
    one.read()
    assert one.note({"provision_a": 1})["provision_procured_offer_id"] == OTHER_ID
    one.hold()
    assert "provision_held_by" in (two.read() or {})
    one.close()


def test_refused_purchase_that_was_made_after_all_keeps_its_claim(
    run: Callable[..., Database], registry_url: str
) -> None:
    one, _two = two_runs(run)
    one.note({PURCHASE: REFUSED})
    one.note({**OF_OFFER, PURCHASE: MADE})
    assert states(registry_url) == ["live"]


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
    with pytest.raises(Contested):
        run("three").note(purchase(), RESOURCE_IDS)
    assert [(row.state, row.resource_ids) for row in run().counted()] == [("stray", RESOURCE_IDS), ("buying", [])]


def test_claim_with_machines_gets_the_offer(run: Callable[..., Database], registry_url: str) -> None:
    buying = run("two").claim(purchase("gpu-2"), NO_CEILING)
    run("two").claim(purchase("gpu-3", OTHER_ID), NO_CEILING)
    assert run("one").note(purchase("gpu-1"), [RESOURCE_ID]).state == "live"
    assert states(registry_url) == ["void", "buying", "live"]
    with pytest.raises(TakenOver):
        run("two").claim_again(buying, 2.0, {}, NO_CEILING)
    with pytest.raises(Contested, match="host gpu-1 of project default has also bought the offer"):
        run("two").note(purchase("gpu-2", claim=buying.claim), [SECOND_RESOURCE_ID])
    row, _of_gpu_3 = run().counted()
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
        other.claim(OF_OFFER)


def test_failed_offer_cannot_be_claimed_again(run: Callable[..., Database]) -> None:
    """It is not an open purchase: if the message said so, a run would query the API and claim again, forever."""
    failed, again = (SharedHost(run(name), "default", "gpu-1", "account", run=name) for name in ("one", "two"))
    failed.claim(OF_OFFER)
    for became in (MADE, REFUSED):
        failed.note({**OF_OFFER, PURCHASE: became})
    with pytest.raises(ClaimedByOther, match=f"host gpu-1 of project default has bought offer {OFFER_ID}, since "):
        again.claim(OF_OFFER)


def test_offers_of_claims_that_count_or_have_ended_are_taken(
    run: Callable[..., Database], registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search may list them although they are sold. An unsent claim whose run is gone leaves its offer free."""
    database = run()
    offers = ["buying", "live", "stray", "ended", "void", "unsent", "unclaimed"]
    assert database.taken_offers(offers) == set()
    database.claim(purchase("gpu-1", "buying"), NO_CEILING)
    database.note(purchase("gpu-2", "live"), ["m1"])
    with pytest.raises(Contested):
        database.note(purchase("gpu-2", "stray"), ["m2"])
    database.end(database.note(purchase("gpu-3", "ended", project="blue", account="other"), ["m3"]), ["m3"])
    database.void(database.claim(purchase("gpu-4", "void"), NO_CEILING), "refused", {})
    unsent_claim(database, purchase("gpu-5", "unsent"), monkeypatch)
    assert database.taken_offers(offers) == {"buying", "live", "stray", "ended", "unsent"}
    expire_holds(registry_url)
    assert database.taken_offers(offers) == {"buying", "live", "stray", "ended"}
    assert (database.taken_offers(["live"]), database.taken_offers([])) == ({"live"}, set())
