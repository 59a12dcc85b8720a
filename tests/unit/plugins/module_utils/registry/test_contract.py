# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that both stores of the registry keep: the files, and PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import Registries
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    AFFECTED,
    MADE,
    MISSING_AT,
    MISSING_SINCE,
    REFUSED,
    SENT,
    read_entry,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import DECOMMISSIONED, FAILED, GONE
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder, SharedProject
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill, Ledger
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import (
    STORAGE,
    STORAGE_ENDS,
    STORAGE_IDS,
    Storage,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _stores
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import Database
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import (
    Claimed,
    Registry,
    RegistryError,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._shared import SharedHost
from ansible_collections.compute_index.supply.plugins.module_utils._text import utc

from samples import BASE, OFFER_ID, OTHER_ID, RESOURCE_ID, SECOND_RESOURCE_ID

THIRD, FOURTH = "00000000-0000-4000-8000-000000000003", "00000000-0000-4000-8000-000000000004"

Entry = dict[str, Any]
Runs = Callable[..., Registry]


@pytest.fixture(params=["files", "postgresql"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runs]:
    """``run(host)`` opens the registry of a host in a new run."""
    stores: list[Registry] = []

    def open_store(host: str = "gpu-1") -> Registry:
        store: Registry
        if request.param == "files":
            store = HostFile(str(tmp_path / host / "compute_index_supply.yml"))
        else:
            name = str(len(stores))
            database = Database(request.getfixturevalue("registry_url"), {"host": "h", "user": "u", "run": name})
            store = SharedHost(database, "default", host, "account", run=name)
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def ledger(request: pytest.FixtureRequest, run: Runs, tmp_path: Path) -> Callable[..., Ledger]:
    """``ledger(since)`` reads the ledger of the store that ``run`` opens."""
    if request.node.callspec.params["run"] == "files":
        return lambda since=0.0: _stores.ledger(str(tmp_path), since)
    database = Database(request.getfixturevalue("registry_url"), {"host": "h", "user": "u", "run": "the reader"})
    return lambda since=0.0: database.ledger("default", since)


def journal(offer_id: str = OFFER_ID, **fields: Any) -> Entry:
    return {
        "provision_resource_name": "gpu-1",
        "provision_procured_offer_id": offer_id,
        "provision_price_per_hour": 2.0,
        "provision_journaled_at": "2026-01-31T12:00:00Z",
        "provision_purchase": SENT,
        **fields,
    }


def made(*resource_ids: str, offer_id: str = OFFER_ID) -> Entry:
    return {
        "provision_procured_offer_id": offer_id,
        "provision_purchase": MADE,
        "provision_resource_ids": list(resource_ids),
    }


def read_back(run: Runs, host: str = "gpu-1") -> Entry:
    return run(host).read() or {}


def test_disowned_id_is_removed_and_may_be_noted_again(run: Runs) -> None:
    """Another host has proved to own the id. Other ids, which a second run notes at the same time, are kept."""
    first, second = run(), run()
    first.claim(journal())
    first.note(made(RESOURCE_ID, SECOND_RESOURCE_ID))
    second.read()
    second.note(made(RESOURCE_ID, SECOND_RESOURCE_ID, THIRD))
    first.note({}, [SECOND_RESOURCE_ID, FOURTH])
    assert read_back(run)["provision_resource_ids"] == [RESOURCE_ID, THIRD]
    second.note(made(RESOURCE_ID, SECOND_RESOURCE_ID, THIRD))
    assert sorted(read_back(run)["provision_resource_ids"]) == sorted([RESOURCE_ID, SECOND_RESOURCE_ID, THIRD])


def test_host_without_entry_may_be_read_and_ended(run: Runs) -> None:
    store = run()
    assert store.read() is None
    store.end()
    assert "gpu-1" in store.where


def test_next_run_reads_the_claim(run: Runs) -> None:
    store = run()
    assert store.read() is None
    claimed = store.claim(journal())
    assert read_entry(claimed).is_open
    entry = read_back(run)
    assert (read_entry(entry).offer_id, read_entry(entry).purchase, entry["provision_price_per_hour"]) == (
        OFFER_ID,
        SENT,
        2.0,
    )
    assert entry["provision_resource_name"] == "gpu-1"
    assert entry["provision_journaled_at"] == claimed["provision_journaled_at"]


def test_noting_a_machine_removes_the_marks_of_a_missing_machine(run: Runs) -> None:
    """Even if the host has other machines now than those that were missing."""
    marks = {MISSING_SINCE: "2026-01-31T12:00:00Z", MISSING_AT: "2026-01-31T13:00:00Z"}
    store = run()
    store.claim(journal())
    store.note(made(RESOURCE_ID))
    store.compare_and_set(marks)
    assert read_entry(read_back(run)).is_missing
    store.note({"provision_verified": True})
    assert read_entry(read_back(run)).is_missing
    store.note(made(SECOND_RESOURCE_ID))
    assert not read_back(run).keys() & marks.keys()


def test_hosts_have_separate_entries(run: Runs) -> None:
    run("gpu-1").claim(journal())
    assert run("gpu-2").read() is None
    run("gpu-2").claim(journal(OTHER_ID))
    assert read_entry(read_back(run, "gpu-1")).offer_id == OFFER_ID


@pytest.mark.parametrize("bought", [False, True])
def test_possible_purchase_forbids_claim_of_another_offer(run: Runs, bought: bool) -> None:
    first, second = run(), run()
    first.claim(journal())
    if bought:
        first.note(made(RESOURCE_ID))
    second.read()
    with pytest.raises(Claimed) as caught:
        second.claim(journal(OTHER_ID))
    assert caught.value.entry.offer_id == OFFER_ID
    assert OFFER_ID in str(caught.value) and second.where in str(caught.value)
    assert read_entry(read_back(run)).offer_id == OFFER_ID


def test_purchase_of_a_dead_run_forbids_claim_of_another_offer(run: Runs) -> None:
    """Even if this run may settle it, and holds it."""
    first, second = run(), run()
    first.claim(journal())
    first.close()
    for hold in (lambda: None, second.hold):
        second.read()
        hold()
        with pytest.raises(Claimed):
            second.claim(journal(OTHER_ID))
    assert read_entry(read_back(run)).offer_id == OFFER_ID


@pytest.mark.parametrize("offer_id", [OFFER_ID, OTHER_ID])
def test_one_of_two_concurrent_runs_gets_the_claim(run: Runs, offer_id: str) -> None:
    first, second = run(), run()
    assert (first.read(), second.read()) == (None, None)
    first.claim(journal())
    with pytest.raises(Claimed):
        second.claim(journal(offer_id))
    assert read_entry(read_back(run)).offer_id == OFFER_ID


def test_held_purchase_cannot_be_taken_by_another_run(run: Runs) -> None:
    first, second = run(), run()
    first.read()
    first.claim(journal())
    first.note({"provision_refused_status": 503})  # the run may send the purchase again
    assert read_entry(second.read() or {}).held_by
    with pytest.raises(Claimed) as caught:
        second.hold()
    assert caught.value.entry.held_by and "in a run of " in str(caught.value)
    assert read_entry(first.read() or {}).held_by == ""
    first.close()
    assert read_entry(second.read() or {}).held_by == ""
    second.hold()
    assert read_entry(first.read() or {}).held_by
    assert read_entry(second.claim(journal())).offer_id == OFFER_ID


def test_only_the_run_that_buys_may_note_a_refusal(run: Runs) -> None:
    """Otherwise the host would be free while the purchase may still be sent."""
    first, second = run(), run()
    first.claim(journal())
    second.read()
    with pytest.raises(Claimed):
        second.note({"provision_purchase": REFUSED, "provision_refused_status": 409})
    assert read_entry(read_back(run)).is_open


def test_run_may_claim_the_same_offer_again(run: Runs) -> None:
    store = run()
    store.read()
    store.claim(journal())
    store.read()
    store.claim(journal(provision_price_per_hour=3.0))
    assert read_back(run)["provision_price_per_hour"] == 3.0


def test_repeated_claim_forgets_refusal_of_the_first(run: Runs) -> None:
    store = run()
    store.read()
    store.claim(journal())
    assert store.note({"provision_refused_status": 409})["provision_refused_status"] == 409
    store.claim(journal())
    assert "provision_refused_status" not in read_back(run)


def test_noted_machines_keep_their_order(run: Runs) -> None:
    store = run()
    store.read()
    store.claim(journal())
    assert list(read_entry(store.note(made(SECOND_RESOURCE_ID, RESOURCE_ID))).resource_ids) == [
        SECOND_RESOURCE_ID,
        RESOURCE_ID,
    ]
    entry = read_back(run)
    assert (read_entry(entry).purchase, list(read_entry(entry).resource_ids)) == (
        MADE,
        [SECOND_RESOURCE_ID, RESOURCE_ID],
    )
    assert entry["provision_resource_name"] == "gpu-1"


def test_purchase_is_noted_before_its_machines_are_known(run: Runs) -> None:
    store = run()
    store.claim(journal())
    store.note({"provision_procured_offer_id": OFFER_ID, "provision_purchase": MADE})
    assert read_entry(read_back(run)).purchase == MADE


def test_machines_are_noted_even_without_an_answer_to_their_purchase(run: Runs) -> None:
    """Ids alone prove that they may be billed."""
    store = run()
    store.claim(journal())
    store.note({"provision_resource_ids": [RESOURCE_ID]})
    assert read_entry(read_back(run)).resource_ids == (RESOURCE_ID,)
    assert read_entry(read_back(run)).offer_id == OFFER_ID


def test_machines_are_noted_even_if_the_claim_was_lost(run: Runs) -> None:
    run().note(made(RESOURCE_ID))
    entry = read_back(run)
    assert (read_entry(entry).offer_id, list(read_entry(entry).resource_ids)) == (OFFER_ID, [RESOURCE_ID])


def test_note_of_another_purchase_is_refused(run: Runs) -> None:
    store = run()
    store.claim(journal())
    store.note(made(RESOURCE_ID))
    with pytest.raises(RegistryError):
        run().note(made(SECOND_RESOURCE_ID, offer_id=OTHER_ID))
    entry = read_back(run)
    assert (read_entry(entry).offer_id, list(read_entry(entry).resource_ids)) == (OFFER_ID, [RESOURCE_ID])


def test_refusal_of_another_offer_frees_nothing(run: Runs) -> None:
    store = run()
    store.claim(journal())
    with pytest.raises(Claimed):
        store.note({"provision_procured_offer_id": OTHER_ID, "provision_purchase": REFUSED})
    assert read_entry(read_back(run)).is_open


def test_bought_machines_are_not_held(run: Runs) -> None:
    """Other runs need not wait for the run that has bought them; its hold may last longer than its purchase."""
    store = run()
    store.claim(journal())
    store.note(made(RESOURCE_ID))
    other = run()
    assert not read_entry(other.read()).held_by
    other.hold()
    assert read_entry(other.note({"provision_verified": True})).is_made


def test_refusal_frees_the_host(run: Runs) -> None:
    store = run()
    store.claim(journal())
    freed = store.note({"provision_purchase": REFUSED, "provision_refused_status": 410, "provision_resource_ids": None})
    assert (read_entry(freed).purchase, freed["provision_refused_status"]) == (REFUSED, 410)
    assert not read_entry(read_back(run)).may_have_bought
    second = run()
    second.read()
    second.claim(journal(OTHER_ID))
    assert read_entry(read_back(run)).offer_id == OTHER_ID


def test_run_may_claim_a_refused_offer_again(run: Runs) -> None:
    store = run()
    store.claim(journal())
    store.note({"provision_purchase": REFUSED})
    store.claim(journal())
    assert read_entry(read_back(run)).is_open


def test_notes_are_merged_and_null_removes_them(run: Runs) -> None:
    store = run()
    store.claim(journal(provision_a=1))
    store.note({"provision_b": {"c": ["ü", None]}})
    assert "provision_a" not in store.note({"provision_a": None})
    assert read_back(run)["provision_b"] == {"c": ["ü", None]}


@pytest.mark.parametrize("text", ["{{ x }}", "a {{{% b", "{#", "#jinja2: x", "half \ud800 pair", "null \x00"])
def test_note_accepts_any_text_of_the_api(run: Runs, text: str) -> None:
    """Otherwise the ids that are noted with it would be missing, and a machine could not end."""
    store = run()
    store.claim(journal())
    named = {**volume(), "name": text}
    store.note({**made(RESOURCE_ID), STORAGE: [named], STORAGE_IDS: [SECOND_RESOURCE_ID], "provision_a": {text: text}})
    entry = read_back(run)
    assert (entry["provision_resource_ids"], entry[STORAGE_IDS]) == ([RESOURCE_ID], [SECOND_RESOURCE_ID])
    assert len(entry[STORAGE][0]["name"]) == len(text)
    assert "provision_tested" in store.compare_and_set({"provision_tested": {"reasons": text}})
    assert store.end() is not None


def test_time_of_seen_expiry_is_noted_once(run: Runs) -> None:
    store = run()
    store.claim(journal())
    assert "provision_expired_seen_at" not in store.note({"provision_refused_status": 503})
    changes = {"provision_procured_offer_id": OFFER_ID, "provision_expired_seen_at": "2026-01-31T12:00:00Z"}
    noted = store.note(changes)["provision_expired_seen_at"]
    assert read_back(run)["provision_expired_seen_at"] == noted == store.note(changes)["provision_expired_seen_at"]
    assert store.note({"provision_refused_status": 409})["provision_expired_seen_at"] == noted


def test_end_removes_the_entry(run: Runs) -> None:
    store = run()
    store.claim(journal())
    store.note(made(RESOURCE_ID))
    store.end()
    assert run().read() is None
    run().end()
    second = run()
    second.read()
    second.claim(journal(OTHER_ID))


def test_end_of_old_purchase_keeps_the_next_one(run: Runs) -> None:
    first, second, late = run(), run(), run()
    first.claim(journal())
    first.note(made(RESOURCE_ID))
    second.read()
    late.read()
    second.end()
    second.claim(journal(OTHER_ID))
    second.note(made(SECOND_RESOURCE_ID, offer_id=OTHER_ID))
    with suppress(Claimed):  # only the file store refuses, since both purchases use the same file
        late.end()
    assert list(read_entry(read_back(run)).resource_ids) == [SECOND_RESOURCE_ID]


@pytest.mark.parametrize("notes", [{}, {"provision_groups": ["gpu"]}], ids=["at once", "after a note"])
def test_end_fails_if_another_run_has_noted_a_machine(run: Runs, notes: Entry) -> None:
    buying, ending, other = run(), run(), run()
    buying.claim(journal())
    buying.note(made(RESOURCE_ID))
    ending.read()
    other.read()
    other.note(made(RESOURCE_ID, SECOND_RESOURCE_ID))
    if notes:
        ending.note(notes)
    with pytest.raises(Claimed):
        ending.end(DECOMMISSIONED)
    assert read_entry(read_back(run)).resource_ids == (RESOURCE_ID, SECOND_RESOURCE_ID)
    again = run()
    again.read()
    again.end(DECOMMISSIONED)
    assert read_back(run) == {}


def test_end_keeps_purchase_that_another_run_has_claimed_again(run: Runs) -> None:
    """The run that ends it knows only the first claim, for example as never sent."""
    first, ending, second = run(), run(), run()
    first.claim(journal())
    first.close()
    ending.read()
    second.read()
    second.hold()
    second.claim(journal(provision_journaled_at="2026-01-31T12:30:00Z"))
    second.close()
    with pytest.raises(Claimed):
        ending.end()
    assert read_entry(read_back(run)).is_open


@pytest.mark.parametrize("host", ['it\'s "quoted"; -- %s {x}', "ü-嗨-🚀", "x" * 240])
def test_hosts_may_have_any_name(run: Runs, host: str) -> None:
    run(host).claim(journal(provision_resource_name=host))
    assert read_back(run, host)["provision_resource_name"] == host
    assert run("x").read() is None


@pytest.mark.parametrize("store", ["files", "postgresql"])
def test_read_only_registry_notes_neither_a_sweep_nor_evidence(
    request: pytest.FixtureRequest, tmp_path: Path, store: str
) -> None:
    url, folder = request.getfixturevalue("registry_url") if store == "postgresql" else "", tmp_path / "project"
    folder.mkdir()
    place = SharedProject("default") if url else Folder(str(folder / "host_vars"))
    evidence = {"offer_id": OFFER_ID, "item": "gpu-1", "host": "gpu-1"}
    with Registries(url, BASE, read_only=True) as registries:
        with pytest.raises(RegistryError, match="is only read here"):
            registries.at(place).note_sweep(time.time())
        assert registries.at(place).keep_evidence("gpu-1", evidence) == ""
    assert list(folder.iterdir()) == []


# Leases


def test_compare_and_set_fails_after_change_by_another_run(run: Runs) -> None:
    store = run()
    store.claim(journal(provision_ends_at="2026-11-27T03:00:00Z"))
    store.note(made(RESOURCE_ID))
    first, second = run(), run()
    assert first.read() == second.read()
    assert (
        first.compare_and_set({"provision_ends_at": "2026-11-27T05:00:00Z"})["provision_ends_at"]
        == "2026-11-27T05:00:00Z"
    )
    with pytest.raises(Claimed) as caught:
        second.compare_and_set({"provision_reaped_at": "2026-11-27T03:00:00Z"})
    assert caught.value.entry.ends_at == "2026-11-27T05:00:00Z"
    assert (second.read() or {})["provision_ends_at"] == "2026-11-27T05:00:00Z"
    second.compare_and_set({"provision_reaped_at": "2026-11-27T05:00:00Z"})
    assert "provision_reaped_at" in read_back(run)
    second.compare_and_set({"provision_reaped_at": None})
    assert "provision_reaped_at" not in read_back(run)


def test_only_one_of_two_equal_changes_succeeds(run: Runs) -> None:
    """As of two sweeps that begin the same end in the same second."""
    store = run()
    store.claim(journal())
    store.note(made(RESOURCE_ID))
    first, second = run(), run()
    assert first.read() == second.read()
    changes = {"provision_reaped_at": "2026-11-27T03:00:00Z"}
    first.compare_and_set(changes)
    with pytest.raises(Claimed):
        second.compare_and_set(changes)


def test_compare_and_set_fails_without_entry(run: Runs) -> None:
    store = run()
    store.read()
    with pytest.raises(RegistryError):
        store.compare_and_set({"provision_ends_at": "2026-11-27T05:00:00Z"})
    store.claim(journal())
    store.note(made(RESOURCE_ID))
    other = run()
    other.read()
    ending = run()
    ending.read()
    ending.end()
    with pytest.raises(RegistryError):
        other.compare_and_set({"provision_ends_at": "2026-11-27T05:00:00Z"})
    assert read_back(run) == {}


# The ledger


def fresh(offer_id: str = OFFER_ID) -> Entry:
    """A journal with the present time."""
    return journal(offer_id, provision_journaled_at=utc(time.time()), provision_groups=["gpu", "train"])


def only_bill(found: Ledger) -> Bill:
    (bill,) = found.bills
    return bill


def test_ledger_without_purchases_is_empty(run: Runs, ledger: Callable[..., Ledger]) -> None:
    assert ledger().bills == () and ledger().warnings == ()
    run().read()
    assert ledger().bills == ()
    assert ledger().now == pytest.approx(time.time(), abs=5)


def test_ledger_has_purchase_from_its_claim(run: Runs, ledger: Callable[..., Ledger]) -> None:
    store, before = run(), time.time()
    store.read()
    store.claim(fresh())
    bill = only_bill(ledger())
    assert (bill.project, bill.host, bill.offer_id, bill.price_per_hour) == ("default", "gpu-1", OFFER_ID, 2.0)
    assert (bill.groups, bill.resource_ids, bill.end, bill.why) == (("gpu", "train"), (), None, "")
    assert before - 1 <= (bill.begin or 0) <= time.time() and bill.registered
    store.note(made(RESOURCE_ID))
    assert only_bill(ledger()).resource_ids == (RESOURCE_ID,)
    assert only_bill(ledger()).begin == bill.begin


def test_refused_purchase_is_not_billed(run: Runs, ledger: Callable[..., Ledger]) -> None:
    store = run()
    store.read()
    store.claim(fresh())
    store.note({"provision_purchase": REFUSED, "provision_refused_status": 409})
    assert ledger().bills == ()
    second = run()
    second.read()
    second.claim(journal(OTHER_ID))
    assert [bill.offer_id for bill in ledger().bills] == [OTHER_ID]


def test_refusal_of_repeated_claim_undoes_the_first_one(run: Runs, ledger: Callable[..., Ledger]) -> None:
    store = run()
    store.read()
    store.claim(fresh())
    store.read()
    store.claim(journal(provision_journaled_at=utc(time.time() + 100)))
    store.note({"provision_purchase": REFUSED, "provision_refused_status": 409})
    assert ledger().bills == ()


def test_purchase_that_failed_after_it_was_made_is_billed(run: Runs, ledger: Callable[..., Ledger]) -> None:
    store = run()
    store.read()
    store.claim(fresh())
    store.note({"provision_procured_offer_id": OFFER_ID, "provision_purchase": MADE})
    store.note({"provision_procured_offer_id": OFFER_ID, "provision_purchase": REFUSED})
    bill = only_bill(ledger())
    assert bill.why == FAILED and (bill.begin or 0) <= (bill.end or 0) <= time.time() + 1


@pytest.mark.parametrize("why", [DECOMMISSIONED, GONE])
def test_ledger_keeps_end_and_its_reason(run: Runs, ledger: Callable[..., Ledger], why: str) -> None:
    store = run()
    store.read()
    store.claim(fresh())
    store.note(made(RESOURCE_ID))
    before = time.time()
    store.end(why)
    bill = only_bill(ledger())
    assert (bill.why, bill.resource_ids, bill.price_per_hour) == (why, (RESOURCE_ID,), 2.0)
    assert before <= (bill.end or 0) <= time.time() + 1
    store = run()
    store.read()
    store.claim(journal(OTHER_ID))
    assert [each.end is None for each in ledger().bills] == [False, True]


@pytest.mark.parametrize(("now", "highest"), [(5.0, 5.0), (1.0, 2.0), (None, 2.0)])
def test_end_returns_bill_of_ledger_at_highest_price(
    run: Runs, ledger: Callable[..., Ledger], now: float | None, highest: float
) -> None:
    store = run()
    store.read()
    store.claim(fresh())
    store.note(made(RESOURCE_ID))
    bill = store.end(DECOMMISSIONED, now)
    assert bill == only_bill(ledger()) and bill.price_per_hour == highest and not bill.runs
    assert store.end() is None


def test_repeated_purchase_has_one_bill_from_first_claim(run: Runs, ledger: Callable[..., Ledger]) -> None:
    store = run()
    store.read()
    store.claim(fresh())
    begin = only_bill(ledger()).begin
    store.read()
    store.claim(journal(provision_journaled_at=utc(time.time() + 100), provision_price_per_hour=3.0))
    bill = only_bill(ledger())
    assert (bill.begin, bill.price_per_hour) == (begin, 3.0)


def test_adopted_machine_is_billed_from_its_noted_start(run: Runs, ledger: Callable[..., Ledger]) -> None:
    long_ago = time.time() // 1 - 86_400
    adopted = {"provision_adopted": True, "provision_journaled_at": utc(long_ago), "provision_price_per_hour": 4.0}
    run().note({**made(RESOURCE_ID), **adopted})
    bill = only_bill(ledger())
    assert (bill.begin, bill.price_per_hour, bill.resource_ids) == (long_ago, 4.0, (RESOURCE_ID,))


def test_adopting_an_ended_machine_continues_its_bill(run: Runs, ledger: Callable[..., Ledger]) -> None:
    """As after a person forgot it by mistake. Old notes, such as the end of its lease, are gone."""
    store = run()
    store.read()
    store.claim({**fresh(), "provision_ends_at": "2026-01-31T20:00:00Z", "provision_leased": "8h"})
    store.note(made(RESOURCE_ID))
    store.end(DECOMMISSIONED)
    assert not only_bill(ledger()).runs and not read_back(run)
    run().note({**made(RESOURCE_ID), "provision_adopted": True, "provision_price_per_hour": 4.0})
    entry, bill = read_entry(read_back(run)), only_bill(ledger())
    assert (entry.resource_ids, entry.ends_at, entry.leased, entry.adopted) == ((RESOURCE_ID,), "", "", True)
    assert (bill.runs, bill.price_per_hour, bill.resource_ids) == (True, 4.0, (RESOURCE_ID,))


def test_ledger_leaves_out_purchases_that_ended_before_since(run: Runs, ledger: Callable[..., Ledger]) -> None:
    for host, offer_id in (("gpu-1", OFFER_ID), ("gpu-2", OTHER_ID)):
        store = run(host)
        store.read()
        store.claim(journal(offer_id))
        store.note(made(f"{host}-machine", offer_id=offer_id))
        if host == "gpu-1":
            store.end()
    assert [bill.host for bill in ledger(time.time() - 60).bills] == ["gpu-1", "gpu-2"]
    assert [bill.host for bill in ledger(time.time() + 60).bills] == ["gpu-2"]


def test_unknown_price_stays_unknown_until_noted(run: Runs, ledger: Callable[..., Ledger]) -> None:
    store = run()
    store.read()
    store.claim({name: value for name, value in fresh().items() if name != "provision_price_per_hour"})
    assert only_bill(ledger()).price_per_hour is None
    store.note({**made(RESOURCE_ID), "provision_price_per_hour": 2.5})
    assert only_bill(ledger()).price_per_hour == 2.5


# Storage, which may outlive its machine


def volume(resource_id: str = SECOND_RESOURCE_ID, **fields: Any) -> Entry:
    return Storage(resource_id, "data", OFFER_ID, 0.05, "nebius", "eu-north1", **fields).variables


def buy_with_storage(run: Runs) -> Registry:
    store = run()
    store.read()
    store.claim(fresh())
    store.note({**made(RESOURCE_ID, SECOND_RESOURCE_ID), STORAGE: [volume()], STORAGE_IDS: [SECOND_RESOURCE_ID]})
    return store


def test_storage_is_not_a_machine_of_the_host(run: Runs, ledger: Callable[..., Ledger]) -> None:
    buy_with_storage(run)
    entry = read_entry(read_back(run))
    assert entry.resource_ids == (RESOURCE_ID,) and [item.resource_id for item in entry.storage] == [SECOND_RESOURCE_ID]
    assert only_bill(ledger()).price_per_hour == 2.0  # which includes the storage


def test_storage_is_billed_from_end_of_machine_until_its_own_end(run: Runs, ledger: Callable[..., Ledger]) -> None:
    begin = time.time()
    buy_with_storage(run).end(DECOMMISSIONED)
    assert read_entry(read_back(run)).is_empty
    machine, storage = ledger().bills
    assert not machine.runs and storage.runs and storage.registered
    assert (storage.host, storage.groups, storage.price_per_hour) == ("gpu-1", ("gpu", "train"), 0.05)
    assert storage.resource_ids == (SECOND_RESOURCE_ID,) and begin - 1 <= (storage.begin or 0) <= (machine.end or 0)
    ended = run().end_stray(SECOND_RESOURCE_ID, [SECOND_RESOURCE_ID], DECOMMISSIONED)
    assert ended is not None and not ended.runs and ended.why == DECOMMISSIONED and ended.price_per_hour == 0.05
    assert run().read() is None and all(not bill.runs for bill in ledger().bills)
    assert run().end_stray(SECOND_RESOURCE_ID, [SECOND_RESOURCE_ID]) is None


@pytest.mark.parametrize("mark", [True, None])
def test_storage_of_machine_that_sweep_began_to_end_is_to_end(
    run: Runs, ledger: Callable[..., Ledger], mark: bool | None
) -> None:
    """Another run may note the end of the machine."""
    store = buy_with_storage(run)
    store.read()
    store.compare_and_set({STORAGE_ENDS: mark})
    other = run()
    other.read()
    other.end()
    _machine, storage = ledger().bills
    assert storage.runs and (storage.ends_at is not None) is bool(mark)


def test_storage_is_kept_when_its_host_buys_again(run: Runs, ledger: Callable[..., Ledger]) -> None:
    buy_with_storage(run).end()
    store = run()
    store.read()
    store.claim(fresh(OTHER_ID))
    store.note({**made(THIRD, offer_id=OTHER_ID), STORAGE: [volume(FOURTH)], STORAGE_IDS: [FOURTH]})
    assert {bill.resource_ids for bill in ledger().bills if bill.runs} == {(SECOND_RESOURCE_ID,), (THIRD,)}
    assert all(bill.registered for bill in ledger().bills)
    store.end()
    running = {item for bill in ledger().bills if bill.runs for item in bill.resource_ids}
    assert running == {SECOND_RESOURCE_ID, FOURTH}


def test_end_of_kept_storage_keeps_the_next_purchase(run: Runs, ledger: Callable[..., Ledger]) -> None:
    buy_with_storage(run).end()
    store = run()
    store.read()
    store.claim(fresh(OTHER_ID))
    store.note(made(THIRD, offer_id=OTHER_ID))
    assert run().end_stray(SECOND_RESOURCE_ID, [SECOND_RESOURCE_ID]) is not None
    entry = read_entry(read_back(run))
    assert (entry.offer_id, entry.resource_ids, entry.storage) == (OTHER_ID, (THIRD,), ())
    assert [bill.resource_ids for bill in ledger().bills if bill.runs] == [(THIRD,)]


def test_kept_storage_attached_to_another_machine_stays_kept(run: Runs, ledger: Callable[..., Ledger]) -> None:
    buy_with_storage(run).end()
    store = run()
    store.read()
    store.claim(fresh(OTHER_ID))
    store.note(made(THIRD, SECOND_RESOURCE_ID, offer_id=OTHER_ID))  # the answer to the purchase names both
    assert sum(SECOND_RESOURCE_ID in bill.resource_ids for bill in ledger().bills if bill.runs) == 1
    store.end()
    assert [bill.resource_ids for bill in ledger().bills if bill.runs] == [(SECOND_RESOURCE_ID,)]


def test_ended_storage_that_reappears_is_billed_as_if_never_ended(run: Runs, ledger: Callable[..., Ledger]) -> None:
    """It may have been billed all the time."""
    buy_with_storage(run).end()
    before_end = time.time()
    assert run().end_stray(SECOND_RESOURCE_ID, [SECOND_RESOURCE_ID]) is not None
    store = run()
    store.read()
    store.claim(fresh(OTHER_ID))
    store.note({**made(THIRD, offer_id=OTHER_ID), STORAGE: [volume()], STORAGE_IDS: [SECOND_RESOURCE_ID]})
    late = run()
    late.read()
    store.end()
    (bill,) = (bill for bill in ledger().bills if bill.runs)
    assert bill.resource_ids == (SECOND_RESOURCE_ID,) and bill.registered and bill.price_per_hour == 0.05
    assert (bill.begin or 0) <= before_end
    # Another run that ends the same machine later does not restore the ended storage.
    assert run().end_stray(SECOND_RESOURCE_ID, [SECOND_RESOURCE_ID]) is not None
    with suppress(Claimed):
        late.end()
    assert all(not bill.runs for bill in ledger().bills)


def test_storage_of_another_host_named_by_purchase_is_not_held(run: Runs, ledger: Callable[..., Ledger]) -> None:
    """The answer to the purchase may name it without a contradiction."""
    buy_with_storage(run)
    store = run("gpu-2")
    store.read()
    store.claim({**fresh(OTHER_ID), "provision_resource_name": "gpu-2"})
    store.note(made(THIRD, SECOND_RESOURCE_ID, offer_id=OTHER_ID))
    store.note({**made(THIRD, offer_id=OTHER_ID), AFFECTED: [SECOND_RESOURCE_ID]})
    entry = read_entry(read_back(run, "gpu-2"))
    assert (entry.resource_ids, entry.affected, entry.storage) == ((THIRD,), (SECOND_RESOURCE_ID,), ())
    store.end(DECOMMISSIONED)
    assert not read_back(run, "gpu-2") and [bill.host for bill in ledger().bills if bill.runs] == ["gpu-1"]
    run().read()
    assert [item.resource_id for item in read_entry(read_back(run)).storage] == [SECOND_RESOURCE_ID]


def test_storage_of_failed_purchase_is_kept(run: Runs, ledger: Callable[..., Ledger]) -> None:
    store = buy_with_storage(run)
    store.note({"provision_procured_offer_id": OFFER_ID, "provision_purchase": REFUSED, "provision_resource_ids": None})
    (bill,) = (bill for bill in ledger().bills if bill.runs)  # even before its host buys again
    assert bill.resource_ids == (SECOND_RESOURCE_ID,) and bill.registered
    store = run()
    store.read()
    store.claim(fresh(OTHER_ID))
    assert (SECOND_RESOURCE_ID,) in [bill.resource_ids for bill in ledger().bills if bill.runs]


def test_storage_with_ids_of_same_prefix_has_separate_bills(run: Runs, ledger: Callable[..., Ledger]) -> None:
    """Ids that contain a time differ only at their ends if they come from the same purchase."""
    store = run()
    store.read()
    store.claim(fresh())
    store.note({**made(RESOURCE_ID), STORAGE: [volume(THIRD), volume(FOURTH)], STORAGE_IDS: [THIRD, FOURTH]})
    store.end()
    assert {bill.resource_ids for bill in ledger().bills if bill.runs} == {(THIRD,), (FOURTH,)}
    assert all(bill.registered for bill in ledger().bills)
    assert run().end_stray(FOURTH, [FOURTH]) is not None
    assert [bill.resource_ids for bill in ledger().bills if bill.runs] == [(THIRD,)]
