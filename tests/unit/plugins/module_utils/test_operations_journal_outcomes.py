# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""procure_offer with a registry file: how refused, unanswered, expired and failed purchases are settled and noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._operations import procure_offer as operation
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock as Clocks
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _files, _stores

import purchases
from clock import START, Clock
from purchases import (
    MADE,
    SENT,
    before_request,
    expect_bought_offer,
    outcome_of,
    stored_entry,
    write_entry,
)
from request_queue import LOST, RequestQueue
from samples import (
    ACCOUNT,
    NOT_FOUND,
    OFFER_ID,
    OFFER_PATH,
    OTHER_ID,
    POST,
    RESOURCE_ID,
    SECOND_RESOURCE_ID,
    STATUS_PATH,
    offer,
    procurement,
    resource,
    status,
)

pytestmark = pytest.mark.usefixtures("clock", "resource_shown", "no_jitter")

# The fixtures of a purchase with a registry file
buy, path = purchases.buy, purchases.path


# Refused


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 422, 429])
def test_refusal_is_noted_before_it_frees_the_host(queue: RequestQueue, buy: Any, path: Path, code: int) -> None:
    during: list[Any] = []
    queue.expect_free_offer().expect(*POST, NOT_FOUND, code).expect(
        "GET", STATUS_PATH, status(), times=3 if code in (409, 429) else 1
    )
    with pytest.MonkeyPatch.context() as patch:
        look = operation._Purchase._look
        patch.setattr(operation._Purchase, "_look", lambda self: during.append(stored_entry(path)) or look(self))
        assert buy()["outcome"] == "rejected"
    assert during[1] == {**SENT, "provision_refused_status": code}, "open until the status was read"
    assert stored_entry(path) == {**SENT, "provision_purchase": "refused", "provision_refused_status": code}


def test_failed_purchase_that_another_run_noted_as_made_frees_the_host(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {**SENT, "provision_purchase": "made"}
    before_request(monkeypatch, lambda: write_entry(path, made))
    queue.expect_free_offer().expect(*POST, {}, 409)
    queue.expect("GET", STATUS_PATH, status("failed")).expect_resources()
    assert outcome_of(buy()) == ("rejected", "conflict", [])
    assert stored_entry(path) == {**SENT, "provision_purchase": "refused", "provision_refused_status": 409}


def test_price_of_a_refused_purchase_does_not_count(queue: RequestQueue, buy: Any, path: Path) -> None:
    write_entry(path, {**SENT, "provision_purchase": "refused", "provision_price_per_hour": 9.0})
    queue.expect_free_offer().expect(*POST, procurement())
    result = buy(max_price_per_hour=2.0)
    assert (outcome_of(result), result["price_per_hour"]) == (("created", None, [RESOURCE_ID]), 2.0)
    assert stored_entry(path) == MADE


@pytest.mark.parametrize("code", [404, 409, 410])
def test_machine_of_a_refused_purchase_must_be_adopted_by_a_person(
    queue: RequestQueue, buy: Any, path: Path, code: int
) -> None:
    expect_bought_offer(queue.expect_free_offer().expect(*POST, NOT_FOUND, code), resource(), times=3)
    result = buy()
    assert outcome_of(result) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    assert result["machines"][0]["name"] == "trainer" and result["status_code"] == code
    for word in (
        RESOURCE_ID,
        "USD 2.00 per hour",
        "provision_adopt: true",
        "MAY BE BOUGHT",
        "Nothing proves whose it is",
    ):
        assert word in result["msg"]
    assert stored_entry(path) == {**SENT, "provision_refused_status": code}
    # The next run has no better proof, and buys no other offer.
    expect_bought_offer(queue, resource())  # once, since settle_timeout is over
    assert outcome_of(buy()) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    assert buy(offer_id=OTHER_ID, account=ACCOUNT)["outcome"] == "claimed"
    assert queue.count(*POST) == 1


def test_ended_machine_of_a_refused_purchase_is_in_the_ledger(queue: RequestQueue, buy: Any, path: Path) -> None:
    """A gateway refused a purchase that was made, the run was killed, and someone has ended the machine since."""
    write_entry(path, {**SENT, "provision_refused_status": 410})
    expect_bought_offer(queue.show(resource(status="deleted")), resource(status="deleted"))
    assert outcome_of(buy()) == ("rejected", "conflict", [])
    assert stored_entry(path)["provision_purchase"] == "refused"
    (bill,) = _stores.ledger(str(path.parent.parent)).bills
    assert not bill.runs and (bill.offer_id, bill.price_per_hour) == (OFFER_ID, 2.0)


def test_refused_purchase_with_unreadable_list_is_not_replaced(queue: RequestQueue, buy: Any, path: Path) -> None:
    queue.expect_free_offer().expect(*POST, {}, 409)
    for _time in range(3):
        queue.expect("GET", STATUS_PATH, status("provisioning"))
        queue.expect_resources(status=500)
    assert buy()["outcome"] == "unknown"
    assert buy(offer_id=OTHER_ID, account=ACCOUNT)["outcome"] == "claimed"
    expect_bought_offer(queue, resource(name="colleague"))
    result = buy()
    assert outcome_of(result) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    assert "remove the registry entry" in result["msg"] and stored_entry(path)["provision_purchase"] == "sent"
    note_for_another_host(path)
    expect_bought_offer(queue, resource(name="colleague"))
    assert outcome_of(buy()) == ("rejected", "conflict", [])
    assert stored_entry(path)["provision_purchase"] == "refused"


def test_lock_of_another_run_without_an_entry_counts_as_a_claim(queue: RequestQueue, buy: Any, path: Path) -> None:
    """The lock run was stopped before it wrote its entry, or the file system has kept the lock of a dead one."""
    lock = _files.Hold(str(path.parent), "bob at bastion")
    assert lock.take() == ""
    queue.expect_free_offer()
    result = buy()
    assert (result["outcome"], result["claimed_by"]) == ("claimed", "bob at bastion")
    lock.release()
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy()["outcome"] == "created"


def note_for_another_host(path: Path) -> None:
    """Note the purchase and its machine for another host of the registry."""
    write_entry(path.parents[1] / "colleague" / path.name, MADE)


def test_name_without_a_purchase_does_not_prove_ownership(queue: RequestQueue, buy: Any, path: Path) -> None:
    expect_bought_offer(queue, resource(), times=3)
    assert outcome_of(buy()) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    expect_bought_offer(queue, resource(name="colleague"))
    assert outcome_of(buy()) == ("not_sent", "conflict", [])
    assert not path.exists()


def test_purchase_repeated_after_429_gets_a_new_journal_time(queue: RequestQueue, buy: Any, path: Path) -> None:
    queue.expect_free_offer().expect(*POST, {}, 429, headers={"Retry-After": "9"})
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy(api_retries=1)["outcome"] == "created"
    assert stored_entry(path) == {**MADE, "provision_journaled_at": "2026-01-31T12:00:09Z"}


@pytest.mark.parametrize("has_status", [True, False])
def test_offer_that_is_gone_after_429_may_have_been_bought(
    queue: RequestQueue, buy: Any, path: Path, has_status: bool
) -> None:
    """Its details are gone while its status still calls it free, or its status is gone. The machine appears later."""
    queue.expect_free_offer().expect(*POST, {}, 429)
    if has_status:
        queue.expect("GET", STATUS_PATH, status()).expect("GET", OFFER_PATH, NOT_FOUND, 404)
        queue.expect("GET", STATUS_PATH, status(), times=3)
    else:
        queue.expect("GET", STATUS_PATH, NOT_FOUND, 404, times=3)
    result = buy(api_retries=1)
    assert outcome_of(result) == ("unknown", "unknown_outcome", []) and "Do not buy another offer" in result["msg"]
    assert stored_entry(path).items() >= {**SENT, "provision_refused_status": 429}.items()
    assert buy(offer_id=OTHER_ID, account=ACCOUNT)["outcome"] == "claimed"
    expect_bought_offer(queue, resource())
    assert outcome_of(buy()) == ("unknown", "unknown_outcome", [RESOURCE_ID])


def test_offer_that_is_long_gone_after_429_was_not_bought(queue: RequestQueue, buy: Any, path: Path) -> None:
    long_ago = "2026-01-31T11:00:00Z"
    moments = {"provision_journaled_at": long_ago, "provision_expired_seen_at": long_ago}
    write_entry(path, {**SENT, **moments, "provision_refused_status": 429})
    queue.expect("GET", STATUS_PATH, status("available", "expired"))
    result = buy()
    assert outcome_of(result) == ("rejected", "expired", []) and "so its purchase did not happen" in result["msg"]
    assert stored_entry(path)["provision_purchase"] == "refused"


def test_purchase_of_a_dead_run_answered_429_may_be_ours(queue: RequestQueue, buy: Any, path: Path) -> None:
    """The vendor does not keep names. The next run buys nothing else, until the machine has ended."""
    write_entry(path, {**SENT, "provision_refused_status": 429})
    expect_bought_offer(queue, resource(name=None), times=3)
    assert outcome_of(buy()) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    expect_bought_offer(queue, resource(name="vm-1"))
    assert outcome_of(buy()) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    assert buy(offer_id=OTHER_ID, account=ACCOUNT)["outcome"] == "claimed"
    assert stored_entry(path) == {**SENT, "provision_refused_status": 429}
    gone = resource(name="vm-1", status="deleted")
    expect_bought_offer(queue, gone).expect("GET", f"/resources/{RESOURCE_ID}", gone, query={"force_refresh": "true"})
    assert outcome_of(buy()) == ("rejected", "conflict", []) and stored_entry(path)["provision_purchase"] == "refused"


# Not answered


def test_unanswered_purchase_is_settled_by_name(queue: RequestQueue, buy: Any, path: Path) -> None:
    expect_bought_offer(queue.expect_free_offer().expect(*POST, LOST), resource())
    assert outcome_of(buy()) == ("created", None, [RESOURCE_ID])
    assert stored_entry(path) == MADE


def test_lost_purchase_is_repeated_and_stays_open(queue: RequestQueue, buy: Any, path: Path, clock: Clock) -> None:
    queue.expect_free_offer().expect(*POST, LOST).expect("GET", STATUS_PATH, status(), times=3)
    queue.expect("GET", OFFER_PATH, offer()).expect(*POST, {}, 409).expect("GET", STATUS_PATH, status(), times=3)
    assert outcome_of(buy(api_retries=1)) == ("unknown", "unknown_outcome", [])
    assert stored_entry(path) == {**SENT, "provision_journaled_at": "2026-01-31T12:00:06Z"}, (
        "the refusal may not be about the first request"
    )
    # After settle_timeout the next run does not wait, and sends the same offer again.
    clock.now, clock.naps = 60, []
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy()["outcome"] == "created"
    assert (clock.naps, stored_entry(path)["provision_resource_ids"]) == ([], [RESOURCE_ID])


def test_lost_purchase_is_not_repeated_after_another_run_has_bought(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person removed the entry, and another run bought another offer, while this run looked."""
    other = {**MADE, "provision_procured_offer_id": OTHER_ID, "provision_resource_ids": [SECOND_RESOURCE_ID]}
    before_request(monkeypatch, lambda: (path.unlink(), write_entry(path, other)), "offer", call=2)
    queue.expect_free_offer().expect(*POST, LOST).expect("GET", STATUS_PATH, status(), times=3)
    queue.expect("GET", OFFER_PATH, offer()).expect("GET", STATUS_PATH, status())
    result = buy(api_retries=1)
    assert outcome_of(result) == ("unknown", "unknown_outcome", []) and result["changed"] is True
    assert queue.count(*POST) == 1 and stored_entry(path) == other


@pytest.mark.parametrize(("ahead", "noted"), [(None, {}), (-3600, {"provision_clock": "api"})], ids=["here", "API"])
def test_settle_timeout_counts_from_the_journal_of_an_earlier_run(
    queue: RequestQueue,
    buy: Any,
    path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    ahead: float | None,
    noted: dict[str, str],
) -> None:
    monkeypatch.setattr(_files.HostFile, "clock", lambda _file: Clocks.of(clock.time(), ahead))
    write_entry(path, {**SENT, **noted, **({"provision_journaled_at": "2026-01-31T11:00:00Z"} if noted else {})})
    clock.now = 2
    queue.expect("GET", STATUS_PATH, status(), times=2)
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy()["outcome"] == "created"
    assert clock.naps == [3, 1], "until 6 seconds after the time in the journal"


def test_settle_timeout_is_not_longer_for_a_journal_from_the_future(
    queue: RequestQueue, buy: Any, path: Path, clock: Clock
) -> None:
    """The controller of the earlier run had a clock that was an hour ahead."""
    write_entry(path, {**SENT, "provision_journaled_at": "2026-01-31T13:00:00Z"})
    queue.expect("GET", STATUS_PATH, status(), times=2)
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy()["outcome"] == "created" and clock.naps == [3, 3]


@pytest.mark.parametrize("field", [{"provision_journaled_at": "yesterday"}, {"provision_journaled_at": None}, {}])
def test_journal_written_by_hand_is_settled(
    queue: RequestQueue, buy: Any, path: Path, clock: Clock, field: Any
) -> None:
    write_entry(path, {"provision_procured_offer_id": OFFER_ID.upper(), **field})
    expect_bought_offer(queue, resource()).expect("GET", OFFER_PATH, offer())
    assert outcome_of(buy()) == ("existing", None, [RESOURCE_ID])
    assert stored_entry(path)["provision_resource_ids"] == [RESOURCE_ID]
    assert stored_entry(path)["provision_journaled_at"] == (field.get("provision_journaled_at") or START)


def test_machine_of_another_name_after_a_lost_answer_is_unknown(queue: RequestQueue, buy: Any, path: Path) -> None:
    expect_bought_offer(queue.expect_free_offer().expect(*POST, LOST), resource(name="vm-17"), times=3)
    result = buy()
    assert outcome_of(result) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    assert "called vm-17" in result["msg"] and "Nothing proves whose it is" in result["msg"]
    assert stored_entry(path) == SENT


def test_offer_above_the_ceiling_is_not_repeated(queue: RequestQueue, buy: Any, path: Path, clock: Clock) -> None:
    write_entry(path, SENT)
    clock.now = 100
    queue.expect_free_offer(total_price_per_hour=5.0).expect("GET", STATUS_PATH, status())
    result = buy(max_price_per_hour=3)
    assert outcome_of(result) == ("unknown", "unknown_outcome", [])
    assert "It was not sent again: Offer" in result["msg"] and "USD 5.00 per hour, which is above" in result["msg"]
    assert result["changed"] is False and stored_entry(path) == SENT


def test_repeated_purchase_keeps_the_higher_first_price(queue: RequestQueue, buy: Any, path: Path) -> None:
    write_entry(path, {**SENT, "provision_price_per_hour": 4.0, "provision_journaled_at": "2026-01-31T11:00:00Z"})
    queue.expect_free_offer().expect(*POST, LOST)
    queue.expect("GET", STATUS_PATH, status(), times=3)
    queue.expect("GET", OFFER_PATH, offer(total_price_per_hour=1.0)).expect(*POST, procurement())
    assert outcome_of(buy(api_retries=1)) == ("created", None, [RESOURCE_ID])
    assert stored_entry(path)["provision_price_per_hour"] == 4.0


def test_unreadable_status_leaves_the_journal_open(queue: RequestQueue, buy: Any, path: Path, clock: Clock) -> None:
    write_entry(path, SENT)
    clock.now = 100
    queue.expect("GET", STATUS_PATH, {}, 401)
    result = buy()
    assert (outcome_of(result), result["status_code"]) == (("unknown", "unknown_outcome", []), 401)
    assert [whole for _connecting, whole in queue.timeouts] == [operation.SETTLE_TIMEOUT]
    assert "MAY BE BOUGHT" in result["msg"] and "USD 2.00 per hour" in result["msg"]
    assert result["price_per_hour"] is None and stored_entry(path) == SENT


# Expired


@pytest.mark.parametrize(
    ("state", "code", "error_class"),
    [(status("available", "expired"), 200, "expired"), (NOT_FOUND, 404, "not_found"), ({}, 410, "expired")],
    ids=["expired", "404", "410"],
)
def test_expired_offer_frees_the_host_only_after_half_an_hour(
    queue: RequestQueue, buy: Any, path: Path, clock: Clock, state: Any, code: int, error_class: str
) -> None:
    write_entry(path, SENT)
    clock.now = 3600
    for passed in (0, 1799):
        clock.now = 3600 + passed
        queue.expect("GET", STATUS_PATH, state, code)
        result = buy()
        assert outcome_of(result) == ("unknown", "unknown_outcome", [])
        assert "Run the same again after 2026-01-31T13:30:00Z" in result["msg"]
        assert stored_entry(path) == {**SENT, "provision_expired_seen_at": "2026-01-31T13:00:00Z"}
    clock.now = 3600 + 1800
    queue.expect("GET", STATUS_PATH, state, code)
    result = buy()
    assert outcome_of(result) == ("rejected", error_class, [])
    assert "gone since 2026-01-31T13:00:00Z" in result["msg"] and "Nothing was bought" in result["msg"]
    assert stored_entry(path) == {**SENT, "provision_purchase": "refused"}


def test_expired_offer_of_a_refused_purchase_frees_the_host_at_once(queue: RequestQueue, buy: Any, path: Path) -> None:
    write_entry(path, {**SENT, "provision_refused_status": 409})
    queue.expect("GET", STATUS_PATH, status("available", "expired"), times=3)
    assert outcome_of(buy()) == ("rejected", "conflict", [])
    assert stored_entry(path) == {**SENT, "provision_purchase": "refused", "provision_refused_status": 409}


def test_expiry_noted_before_the_journal_counts_from_the_journal(
    queue: RequestQueue, buy: Any, path: Path, clock: Clock
) -> None:
    """A controller whose clock was two hours behind noted the expiry; the purchase may still be executed."""
    write_entry(path, {**SENT, "provision_expired_seen_at": "2026-01-31T10:00:00Z"})
    for passed, state in ((60, "sent"), (1799, "sent"), (1800, "refused")):
        clock.now = passed
        queue.expect("GET", STATUS_PATH, status("available", "expired"))
        buy()
        assert stored_entry(path)["provision_purchase"] == state


def test_expiry_is_noted_by_the_fast_clock_and_counted_by_the_slow_one(
    queue: RequestQueue, buy: Any, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever clock is right, the offer has then been gone for half an hour."""
    monkeypatch.setattr(_files.HostFile, "clock", lambda _file: Clocks.of(clock.time(), ahead=600))
    write_entry(path, SENT)
    for passed, state in ((3600, "sent"), (3600 + 2399, "sent"), (3600 + 2400, "refused")):
        clock.now = passed
        queue.expect("GET", STATUS_PATH, status("available", "expired"))
        buy()
        entry = stored_entry(path)
        assert entry["provision_purchase"] == state
        assert state == "refused" or entry["provision_expired_seen_at"] == "2026-01-31T13:10:00Z"


def test_offer_that_is_seen_again_loses_its_noted_expiry(
    queue: RequestQueue, buy: Any, path: Path, clock: Clock
) -> None:
    write_entry(path, {**SENT, "provision_expired_seen_at": START})
    clock.now = 7200
    expect_bought_offer(queue, resource()).expect("GET", OFFER_PATH, offer())
    assert buy()["outcome"] == "existing"
    assert stored_entry(path) == MADE


# Noted as made, although the API contradicts it


@pytest.mark.parametrize(
    ("state", "code"),
    [(status(), 200), (status("available", "expired"), 200), (NOT_FOUND, 404), ({}, 401), ({}, 500)],
    ids=["unbought", "expired", "404", "401", "500"],
)
@pytest.mark.parametrize("ids", [[RESOURCE_ID], None], ids=["ids", "no ids"])
def test_purchase_noted_as_made_is_never_repeated(
    queue: RequestQueue, buy: Any, path: Path, state: Any, code: int, ids: Any
) -> None:
    write_entry(path, {**MADE, "provision_resource_ids": ids})
    before = stored_entry(path)
    queue.expect("GET", STATUS_PATH, state, code, times=3)
    result = buy()
    assert outcome_of(result) == ("unknown", "unknown_outcome", ids or [])
    assert (
        "MAY BE BOUGHT" in result["msg"] and OFFER_ID in result["msg"] and (RESOURCE_ID in result["msg"]) is bool(ids)
    )
    assert stored_entry(path) == before


def test_machines_that_neither_status_nor_entry_names_are_found_in_the_list(
    queue: RequestQueue, buy: Any, path: Path
) -> None:
    write_entry(path, MADE)
    expect_bought_offer(queue, resource(), resource(SECOND_RESOURCE_ID), answer=status("ready"))
    queue.expect("GET", OFFER_PATH, offer())
    assert outcome_of(buy()) == ("existing", None, [RESOURCE_ID, SECOND_RESOURCE_ID])
    assert stored_entry(path)["provision_resource_ids"] == [RESOURCE_ID, SECOND_RESOURCE_ID]


# Failed


def test_failed_purchase_with_resources_stays_in_the_registry(queue: RequestQueue, buy: Any, path: Path) -> None:
    queue.expect_free_offer().expect(*POST, procurement("failed", error="no power", resource_ids=[RESOURCE_ID]))
    queue.expect("GET", STATUS_PATH, status("failed"))
    assert outcome_of(buy()) == ("rejected", "conflict", [RESOURCE_ID])
    assert stored_entry(path) == MADE
    assert buy(offer_id=OTHER_ID, account=ACCOUNT)["outcome"] == "claimed"


@pytest.mark.parametrize("outcome", ["created", "existing"])
def test_failed_purchase_whose_machine_names_another_offer_was_made(
    queue: RequestQueue, buy: Any, path: Path, outcome: str
) -> None:
    if outcome == "existing":
        write_entry(path, MADE)
    else:
        queue.expect_free_offer().expect(*POST, procurement("failed", error="no power", resource_ids=[RESOURCE_ID]))
    queue.show(resource(offer_history=[{"offer_id": OTHER_ID}])).expect("GET", STATUS_PATH, status("failed"))
    result = buy()
    assert outcome_of(result)[:2] == (outcome, "conflict") and result["changed"] is (outcome == "created")


def test_failed_purchase_names_its_machine_although_none_can_be_listed(
    queue: RequestQueue, buy: Any, path: Path
) -> None:
    queue.expect_free_offer().expect(*POST, LOST)
    queue.expect("GET", STATUS_PATH, status("failed", resource_ids=[RESOURCE_ID])).expect_resources(status=500)
    assert outcome_of(buy()) == ("rejected", "conflict", [RESOURCE_ID])
    assert stored_entry(path) == MADE


def test_failed_purchase_without_resources_frees_the_host(queue: RequestQueue, buy: Any, path: Path) -> None:
    expect_bought_offer(
        queue.expect_free_offer().expect(*POST, LOST), resource(status="deleted"), answer=status("failed")
    )
    assert outcome_of(buy()) == ("rejected", "conflict", [])
    assert stored_entry(path) == {**SENT, "provision_purchase": "refused"}


def test_refused_offer_that_failed_without_a_machine_is_not_billed(queue: RequestQueue, buy: Any, path: Path) -> None:
    queue.expect_free_offer().expect(*POST, {}, 409)
    queue.expect("GET", STATUS_PATH, status("failed")).expect_resources()
    assert outcome_of(buy()) == ("rejected", "conflict", [])
    assert _stores.ledger(str(path.parent.parent)).bills == ()


VOLUME = resource(SECOND_RESOURCE_ID, name="data", resource_type="block_disk", pricing_total_hourly=0.05)


@pytest.mark.parametrize("answer", [LOST, procurement("failed", error="no power")], ids=["lost", "failed"])
def test_storage_of_a_failed_purchase_is_kept(queue: RequestQueue, buy: Any, path: Path, answer: Any) -> None:
    expect_bought_offer(
        queue.expect_free_offer().expect(*POST, answer), resource(status="deleted"), VOLUME, answer=status("failed")
    )
    result = buy()
    assert outcome_of(result) == ("rejected", "conflict", [SECOND_RESOURCE_ID]) and SECOND_RESOURCE_ID in result["msg"]
    entry = read_entry(stored_entry(path))
    assert entry.is_refused and [item.resource_id for item in entry.kept_storage] == [SECOND_RESOURCE_ID]


def test_storage_of_a_refused_offer_is_not_kept(queue: RequestQueue, buy: Any, path: Path) -> None:
    queue.expect_free_offer().expect(*POST, {}, 409)
    queue.expect("GET", STATUS_PATH, status("failed")).expect_resources(VOLUME)
    assert outcome_of(buy()) == ("rejected", "conflict", [])
    assert "provision_storage" not in stored_entry(path)


def test_storage_of_an_offer_bought_by_others_is_not_kept(queue: RequestQueue, buy: Any, path: Path) -> None:
    gone = resource(status="deleted", name="colleague")
    expect_bought_offer(queue.expect_free_offer().expect(*POST, LOST), gone, VOLUME, answer=status("failed"))
    assert outcome_of(buy())[2] == [] and "provision_storage" not in stored_entry(path)


def test_failed_machine_of_another_host_is_not_returned(queue: RequestQueue, buy: Any, path: Path) -> None:
    note_for_another_host(path)
    expect_bought_offer(
        queue.expect_free_offer().expect(*POST, {}, 409), resource(name="colleague"), answer=status("failed")
    )
    result = buy()
    assert outcome_of(result) == ("rejected", "conflict", [])
    assert "colleague" in result["msg"] and stored_entry(path)["provision_purchase"] == "refused"


def test_noted_machines_of_a_failed_offer_are_returned(queue: RequestQueue, buy: Any, path: Path) -> None:
    write_entry(path, {**MADE, "provision_resource_ids": [RESOURCE_ID, SECOND_RESOURCE_ID]})
    queue.show(resource(SECOND_RESOURCE_ID)).expect("GET", STATUS_PATH, status("failed"))
    assert outcome_of(buy()) == ("not_sent", "conflict", [RESOURCE_ID, SECOND_RESOURCE_ID])
