# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts in a registry in PostgreSQL: each note and each end changes only the claims and machines that it is about."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.acceptance import EVIDENCE
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import EXPIRED, HELD_BY
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import DECOMMISSIONED, GONE
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import (
    STORAGE,
    STORAGE_IDS,
    Storage,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import (
    AboveCeiling,
    Ceilings,
    Contested,
    Database,
    TakenOver,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._row import Row
from ansible_collections.compute_index.supply.plugins.module_utils._text import utc

import postgresql
from claimants import NO_CEILING, purchase
from registry_rows import RESOURCE_IDS, states
from samples import OFFER_ID, OTHER_ID, RESOURCE_ID, SECOND_RESOURCE_ID

HOUR = 3600.0


def freed(database: Database, host: str, offer: str = OFFER_ID) -> Row:
    """A claim under which a purchase was sent and refused."""
    claimed = database.claim(purchase(host, offer, note={"provision_a": host}), NO_CEILING)
    return database.void(claimed, "not made", {"provision_b": 1})


# Purchases


def test_only_sent_claims_of_an_offer_that_no_other_has_may_have_bought_late(
    run: Callable[..., Database], registry_url: str
) -> None:
    database = run()
    older, newer, unsent = (freed(database, host) for host in ("gpu-1", "gpu-2", "gpu-3"))
    freed(database, "gpu-4", OTHER_ID)
    assert newer.note == {"provision_a": "gpu-2", "provision_b": 1}
    query = "UPDATE compute_index_supply.purchase SET sent_at = NULL WHERE claim = %s"
    postgresql.execute(registry_url, query, [unsent.claim])
    assert [row.claim for row in database.void_claims([OFFER_ID])] == [newer.claim, older.claim]
    # A list may still show the machine of a claim that has ended since.
    database.end(database.note(purchase("gpu-5"), [RESOURCE_ID]), [RESOURCE_ID])
    assert [row.host for row in database.void_claims([OFFER_ID, OTHER_ID])] == ["gpu-4"]


def test_disowned_id_of_another_claim_stays_noted(run: Callable[..., Database]) -> None:
    database = run()
    database.note(purchase("gpu-1"), [RESOURCE_ID])
    other = database.note(purchase("gpu-2", OTHER_ID), [SECOND_RESOURCE_ID])
    database.note(purchase("gpu-2", OTHER_ID, claim=other.claim), [], [RESOURCE_ID, SECOND_RESOURCE_ID])
    assert [row.resource_ids for row in database.counted()] == [[RESOURCE_ID], []]


@pytest.mark.parametrize(("charged", "counted"), [(None, 2.0), (1.5, 1.5), (3.0, 3.0)])
def test_sums_count_a_machine_at_its_charged_price_if_known(
    run: Callable[..., Database], charged: float | None, counted: float
) -> None:
    run().claim(purchase("gpu-1", price_per_hour=2.0), NO_CEILING)
    row = run().note(purchase("gpu-1", price_per_hour=charged), [RESOURCE_ID])
    wanted = purchase("gpu-2", OTHER_ID, price_per_hour=1.0)
    with pytest.raises(AboveCeiling):
        run().claim(wanted, Ceilings(max_total_price_per_hour=counted + 0.99))
    run().claim(wanted, Ceilings(max_total_price_per_hour=counted + 1.0))
    assert float(row.price_per_hour or 0) == counted


def test_note_without_price_keeps_the_noted_price(run: Callable[..., Database]) -> None:
    row = run().note(purchase(price_per_hour=3.0), [RESOURCE_ID])
    noted = run().note(purchase(claim=row.claim, price_per_hour=None), RESOURCE_IDS)
    assert (float(noted.price_per_hour or 0), noted.resource_ids) == (3.0, RESOURCE_IDS)


def test_purchase_is_never_billed_from_the_future(run: Callable[..., Database]) -> None:
    """The clock of the controller that sent it may be ahead."""
    run().note(purchase(begun=time.time() + HOUR), [RESOURCE_ID])
    (bill,) = run().ledger("default").bills
    assert bill.begin is not None and bill.begin <= time.time()


def test_begin_of_another_registry_is_noted_only_for_its_purchase(run: Callable[..., Database]) -> None:
    database, long_ago = run(), time.time() // 1 - 10 * HOUR
    refused = freed(database, "gpu-1")
    rows = [refused, *(database.claim(purchase(*of), NO_CEILING) for of in (["gpu-1"], ["gpu-2", OTHER_ID]))]

    def moved() -> list[float]:
        """By how many hours the begins have moved."""
        pairs = ((row.claimed_at, database.claim_by_id(row.claim)) for row in rows)
        return [round((before - after.claimed_at).total_seconds() / HOUR) for before, after in pairs if after]

    for host, offer, begun in (
        ("gpu-1", OTHER_ID, long_ago),
        ("gpu-2", OFFER_ID, long_ago),
        ("gpu-1", OFFER_ID, time.time() + HOUR),
        ("gpu-1", OFFER_ID, None),
    ):
        database.note_begin(host, offer, begun)
    assert moved() == [0, 0, 0]
    database.note_begin("gpu-1", OFFER_ID, long_ago)
    assert moved() == [0, 10, 0]


def test_ledger_has_strays_and_no_other_project(run: Callable[..., Database]) -> None:
    database = run()
    database.note(purchase("gpu-1"), [RESOURCE_ID])
    with pytest.raises(Contested):
        database.note(purchase("gpu-1", OTHER_ID), [SECOND_RESOURCE_ID])
    database.note(purchase("gpu-2", "offer 3", project="blue"), ["m3"])
    assert [bill.resource_ids for bill in database.ledger("default").bills] == [(RESOURCE_ID,), (SECOND_RESOURCE_ID,)]
    assert [bill.resource_ids for bill in database.ledger("blue").bills] == [("m3",)]


@pytest.mark.parametrize("other", [{"host": "gpu-2"}, {"project": "blue"}, {"account": "other"}])
def test_purchase_is_contested_by_every_other_owner_of_its_offer(
    run: Callable[..., Database], other: dict[str, str]
) -> None:
    first = run().note(purchase(note={"provision_a": 1}), [RESOURCE_ID])
    with pytest.raises(Contested, match="has also bought the offer"):
        run().note(purchase(**other), [SECOND_RESOURCE_ID])
    (row,) = run().counted()
    assert (row.host, row.project, row.account, row.note) == (first.host, first.project, first.account, first.note)


# Ends


def test_claim_without_machines_has_no_end(run: Callable[..., Database], registry_url: str) -> None:
    for row in (run().claim(purchase("gpu-1"), NO_CEILING), freed(run(), "gpu-2", OTHER_ID)):
        with pytest.raises(TakenOver):
            run().end(row, [])
    assert states(registry_url) == ["buying", "void"]


@pytest.mark.parametrize(("price", "highest"), [(2.5, 3.0), (4.0, 4.0), (None, 3.0)])
def test_first_end_of_a_purchase_counts(run: Callable[..., Database], price: float | None, highest: float) -> None:
    """Other runs may note it later, and the machines as well: its bill stays, at the highest price."""
    run().claim(purchase(price_per_hour=1.0), NO_CEILING)
    row = run().note(purchase(price_per_hour=3.0, note={STORAGE_IDS: [SECOND_RESOURCE_ID]}), RESOURCE_IDS)
    bill = run().end(row, RESOURCE_IDS, DECOMMISSIONED, price)
    assert bill is not None and (bill.price_per_hour, bill.why, bill.runs) == (highest, DECOMMISSIONED, False)
    assert run().end(row, RESOURCE_IDS, GONE) == bill
    assert run().note(purchase(claim=row.claim, price_per_hour=None), RESOURCE_IDS).state == "ended"
    assert run().ledger("default", time.time() - HOUR).bills == (bill,)


def test_adopted_machine_is_the_only_one_of_its_ended_purchase(run: Callable[..., Database]) -> None:
    ended = run().note(purchase(), RESOURCE_IDS)
    run().end(ended, RESOURCE_IDS)
    assert run().note(purchase(claim=ended.claim), RESOURCE_IDS).state == "ended"
    with pytest.raises(Contested, match="it counts as ended"):
        run().note(purchase(), RESOURCE_IDS)
    row = run().note(purchase(note={"provision_adopted": True}), [SECOND_RESOURCE_ID])
    assert (row.state, row.resource_ids) == ("live", [SECOND_RESOURCE_ID])
    bill = run().end(row, [SECOND_RESOURCE_ID])
    assert bill is not None and not bill.runs


@pytest.mark.parametrize(("end", "adopted"), [(4600.0, [SECOND_RESOURCE_ID]), (None, RESOURCE_IDS)])
def test_adopted_purchase_of_another_registry_has_all_machines_that_may_run(
    run: Callable[..., Database], end: float | None, adopted: list[str]
) -> None:
    run().note_ended("account", [Bill("default", "gpu-1", OFFER_ID, tuple(RESOURCE_IDS), begin=1000.0, end=end)])
    assert [bill.end for bill in run().ledger("default", 1.0).bills] == [end]
    row = run().note(purchase(note={"provision_adopted": True}), [SECOND_RESOURCE_ID])
    assert (row.state, row.resource_ids) == ("live", adopted)


def test_end_of_a_stray_ends_no_other_purchase(run: Callable[..., Database], registry_url: str) -> None:
    database = run()
    database.note(purchase("gpu-1"), [RESOURCE_ID])
    for offer, machines in ((OTHER_ID, [SECOND_RESOURCE_ID]), ("offer 3", ["m3"]), ("offer 4", [])):
        with pytest.raises(Contested):
            database.note(purchase("gpu-1", offer), machines)
    assert database.end_stray(OFFER_ID, [RESOURCE_ID]) is None
    assert database.end_stray(OTHER_ID, [RESOURCE_ID]) is None
    bill = database.end_stray(OTHER_ID, [SECOND_RESOURCE_ID])
    assert bill is not None and not bill.runs and states(registry_url) == ["live", "ended", "stray", "stray"]
    assert [row.resource_ids for row in database.counted()] == [[RESOURCE_ID], ["m3"], []]


@pytest.mark.parametrize(("price", "highest"), [(0.02, 0.05), (0.08, 0.08), (None, 0.05)])
def test_only_storage_left_after_its_end_is_billed_again(
    run: Callable[..., Database], registry_url: str, price: float | None, highest: float
) -> None:
    database = run()
    database.end(database.note(purchase("gpu-1"), ["m1"]), ["m1"])
    for item in RESOURCE_IDS:
        database.keep_storage("default", "gpu-1", "account", Storage(item, "data", OFFER_ID, 0.05))
        database.end_stray(item, [item])
    for seconds, expected in ((-HOUR, ["ended"] * 3), (HOUR, ["ended", "stray", "ended"])):
        kept_since = utc(time.time() + seconds)
        storage = Storage(RESOURCE_ID, "data", OFFER_ID, price, kept_since=kept_since)
        database.keep_storage("default", "gpu-1", "account", storage)
        assert states(registry_url) == expected
    (bill,) = (bill for bill in database.ledger("default").bills if bill.runs)
    assert (bill.resource_ids, bill.price_per_hour, bill.registered) == ((RESOURCE_ID,), highest, True)
    assert [row.resource_ids for row in database.counted()] == [[RESOURCE_ID]]


def test_storage_counts_in_the_project_that_bought_it(run: Callable[..., Database]) -> None:
    run().keep_storage("default", "gpu-1", "account", Storage(RESOURCE_ID, "data", OFFER_ID, 0.05, project="red"))
    assert [row.project for row in run().counted()] == ["red"]


def test_storage_noted_as_a_machine_is_kept_as_storage(run: Callable[..., Database]) -> None:
    """The answer to the purchase named it before it was known as storage."""
    volume = Storage(SECOND_RESOURCE_ID, "data", OFFER_ID, 0.05).variables
    row = run().note(purchase(), RESOURCE_IDS)
    run().compare_and_set(row, {STORAGE: [volume], STORAGE_IDS: [SECOND_RESOURCE_ID]})
    with pytest.raises(Contested):
        run().note(purchase(offer=OTHER_ID), ["stray"])
    run().end(row, RESOURCE_IDS)
    assert [(kept.state, kept.offer, kept.resource_ids) for kept in run().counted()] == [
        ("stray", OTHER_ID, ["stray"]),
        ("stray", SECOND_RESOURCE_ID, [SECOND_RESOURCE_ID]),
    ]


# Notes


def test_note_has_no_variables_with_a_column(run: Callable[..., Database]) -> None:
    """A noted run that holds an entry of a file would hold the claim forever."""
    of_file = {HELD_BY: "alice at bastion", EXPIRED: "2026-01-31T12:00:00Z", "provision_price_per_hour": 9.0}
    noted = run().note(purchase(note={**of_file, "provision_a": 1}), [RESOURCE_ID])
    assert noted.note == {"provision_a": 1} and HELD_BY not in noted.variables()


def test_note_of_a_freed_claim_is_not_compared(run: Callable[..., Database]) -> None:
    row = freed(run(), "gpu-1")
    with pytest.raises(TakenOver):
        run().compare_and_set(row, {"provision_ends_at": "2099-01-01T06:00:00Z"})


def test_note_changes_only_its_own_claim(run: Callable[..., Database]) -> None:
    database = run()
    rows = [database.claim(purchase(*of), NO_CEILING) for of in (["gpu-1"], ["gpu-2", OTHER_ID])]
    database.add_to_note(rows[0], {"provision_a": 1})
    database.renew(rows[0], 0.0)
    assert [row.held for row in database.counted()] == [False, True]
    database.compare_and_set(database.note(purchase("gpu-3", "offer 3"), ["m3"]), {"provision_b": 1})
    database.void(rows[0], "not made", {})
    assert [(row.host, row.state, row.note) for row in database.counted()] == [
        ("gpu-2", "buying", {}),
        ("gpu-3", "live", {"provision_b": 1}),
    ]


def test_evidence_counts_against_machines_of_the_project_until_long_after_their_end(
    run: Callable[..., Database], registry_url: str
) -> None:
    database = run()

    def note(number: int, host: str = "", project: str = "default", **of: object) -> Row:
        fact = purchase(host or f"gpu-{number}", f"offer {number}", project=project, note=of or {EVIDENCE: number})
        return database.note(fact, [f"m{number}"])

    note(1)
    with pytest.raises(Contested):
        note(2, "gpu-1")
    for number in (3, 4):
        database.end(note(number), [f"m{number}"])
    note(5, project="blue")
    note(6, provision_a=1)
    database.void(database.claim(purchase("gpu-7", "offer 7", note={EVIDENCE: 7}), NO_CEILING), "not made", {})
    query = "UPDATE compute_index_supply.purchase SET ended_at = now() - interval '2 hours' WHERE offer = 'offer 4'"
    postgresql.execute(registry_url, query)
    assert sorted(database.evidence("default", time.time() - HOUR)) == [1, 2, 3]
    assert sorted(database.evidence("default", time.time() - 3 * HOUR)) == [1, 2, 3, 4]


def test_sweeps_of_each_project_are_noted(run: Callable[..., Database], registry_url: str) -> None:
    for project in ("blue", "default"):
        run().note_sweep(project)
    earlier = "UPDATE compute_index_supply.sweep SET swept_at = swept_at - interval '1 day'"
    postgresql.execute(registry_url, earlier)
    run().note_sweep("default")
    ages = [round((time.time() - (run().last_sweep(project) or 0)) / HOUR) for project in ("blue", "default")]
    assert (ages, run().last_sweep("red")) == ([24, 0], None)
