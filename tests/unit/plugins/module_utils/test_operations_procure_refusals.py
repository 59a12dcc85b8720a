# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""procure_offer, if the API refuses the purchase, does not sell the offer, or answers that the purchase failed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile

from clock import Clock
from purchases import assert_failed, expect_failed_offer
from request_queue import RequestQueue
from samples import (
    NOT_FOUND,
    OFFER_ID,
    OFFER_PATH,
    OTHER_ID,
    POST,
    RESOURCE_ID,
    SECOND_RESOURCE_ID,
    STATUS_PATH,
    TOKEN,
    offer,
    procurement,
    resource,
    status,
)

pytestmark = pytest.mark.usefixtures("clock", "resource_shown", "no_jitter")


# The purchase is refused


@pytest.mark.parametrize(
    ("code", "error_class", "advice"),
    [
        (400, "invalid", ""),
        (401, "auth", "Check api_token (COMPUTE_INDEX_API_TOKEN)."),
        (402, "invalid", ""),
        (403, "auth", "Check api_token (COMPUTE_INDEX_API_TOKEN)."),
        (404, "not_found", "The offer is gone; search again."),
        (409, "conflict", ""),
        (410, "expired", "The offer has expired; search again."),
        (422, "invalid", ""),
    ],
)
def test_refused_purchase_is_rejected(queue: RequestQueue, buy: Any, code: int, error_class: str, advice: str) -> None:
    queue.expect_free_offer().expect(*POST, {"detail": "because"}, code)
    # A refusal is checked by the status; after a conflict, the status of a free offer is read until the timeout.
    queue.expect("GET", STATUS_PATH, status(), times=2 if code == 409 else 1)
    result = buy(api_retries=5, settle_timeout=3)
    msg = assert_failed(result, error_class, "rejected", code)
    assert msg == f"POST /procure_offer answered {code}: because. {advice}{' ' if advice else ''}Nothing was bought."
    assert (result["price_per_hour"], result["offer_id"]) == (2.0, OFFER_ID)
    assert queue.count(*POST) == 1


@pytest.mark.parametrize("code", [400, 403, 409, 422])
def test_quota_refusal_explains_that_waiting_does_not_help(queue: RequestQueue, buy: Any, code: int) -> None:
    queue.expect_free_offer().expect(*POST, {"detail": "The project's quota is 0"}, code)
    queue.expect("GET", STATUS_PATH, status(), times=2 if code == 409 else 1)
    msg = assert_failed(buy(settle_timeout=3), "quota", "rejected", code)
    assert "Waiting does not raise a quota: end a machine, or ask" in msg and msg.endswith("Nothing was bought.")


@pytest.mark.parametrize("state", ["failed", "available"])
def test_quota_error_in_a_2xx_answer_is_rejected_as_quota(queue: RequestQueue, buy: Any, state: str) -> None:
    answer = procurement(state, resource_ids=None, procured_at=None, error="instance limit reached")
    queue.expect_free_offer().expect(*POST, answer)
    queue.expect("GET", STATUS_PATH, status(state))
    if state == "failed":
        queue.expect("GET", "/resources", [], query={"offer_id": OFFER_ID})
    result = buy(settle_timeout=0)
    assert (result["outcome"], result["error_class"], result["resource_ids"]) == ("rejected", "quota", [])


def test_conflict_over_a_bought_offer_without_a_name_is_unknown(queue: RequestQueue, buy: Any) -> None:
    # The buyer may be an earlier run that was killed before the API showed its purchase, or someone else.
    queue.expect_free_offer().expect(*POST, {"detail": "bought already"}, 409)
    queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID]))
    msg = assert_failed(buy(settle_timeout=0), "unknown_outcome", "unknown", 409, [RESOURCE_ID])
    assert "Nothing proves whose it is" in msg and "Run the same again: if another host has it" in msg


@pytest.mark.parametrize("code", [400, 401, 402, 403, 422])
def test_refusal_of_the_request_holds_without_a_readable_status(queue: RequestQueue, buy: Any, code: int) -> None:
    queue.expect_free_offer().expect(*POST, NOT_FOUND, code).expect("GET", STATUS_PATH, {}, 500, times=2)
    result = buy(settle_timeout=3)
    assert (result["outcome"], result["status_code"]) == ("rejected", code)


@pytest.mark.parametrize("code", [404, 409, 410])
def test_refusal_of_the_offer_is_unknown_without_a_readable_status(queue: RequestQueue, buy: Any, code: int) -> None:
    # A gateway that sent the purchase twice may return the second answer.
    queue.expect_free_offer().expect(*POST, NOT_FOUND, code).expect("GET", STATUS_PATH, {}, 500, times=2)
    msg = assert_failed(buy(settle_timeout=3), "unknown_outcome", "unknown", code)
    assert "MAY BE BOUGHT" in msg and f"{STATUS_PATH} answered 500" in msg


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 422])
def test_refused_purchase_that_was_made_is_found_by_name(queue: RequestQueue, buy: Any, code: int) -> None:
    queue.expect_free_offer().expect(*POST, NOT_FOUND, code)
    queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID]))
    queue.expect_resources(resource())
    if code in (404, 409, 410):
        queue.expect("GET", OFFER_PATH, offer())
    result = buy(resource_name="trainer")
    outcome = "existing" if code in (404, 409, 410) else "created"
    assert (result["outcome"], result["resource_ids"]) == (outcome, [RESOURCE_ID])


@pytest.mark.parametrize("code", [404, 409, 410])
@pytest.mark.parametrize("name", ["colleague", None])
def test_machine_of_another_name_after_a_refusal_may_be_ours(
    queue: RequestQueue, buy: Any, code: int, name: str | None
) -> None:
    """A gateway may have sent the request twice, and some vendors do not keep names."""
    queue.expect_free_offer().expect(*POST, {"detail": "sold"}, code)
    for _time in range(2):
        queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
        queue.expect_resources(resource(name=name))
    result = buy(resource_name="trainer", settle_timeout=2)
    msg = assert_failed(result, "unknown_outcome", "unknown", code, [RESOURCE_ID])
    assert RESOURCE_ID in msg and "MAY BE" in msg and "othing was bought." not in msg
    assert f"answered {code}: sold. Now:" in msg and f"Nothing proves whose it is: {RESOURCE_ID}" in msg


@pytest.mark.parametrize("code", [404, 409, 410, 422])
@pytest.mark.parametrize(
    "answer",
    [(status(), 200), (status("available", "expired"), 200), (NOT_FOUND, 404)],
    ids=["unbought", "expired", "404"],
)
def test_lagging_status_does_not_confirm_a_refusal(
    queue: RequestQueue, buy: Any, code: int, answer: tuple[Any, int]
) -> None:
    """The account lists a machine of the offer, but the API has not kept its name."""
    queue.expect_free_offer().expect(*POST, {"detail": "sold"}, code)
    for _time in range(2):
        queue.expect("GET", STATUS_PATH, *answer)
        queue.expect_resources(resource(name="vm-1"))
    result = buy(resource_name="trainer", settle_timeout=2)
    msg = assert_failed(result, "unknown_outcome", "unknown", code, [RESOURCE_ID])
    assert RESOURCE_ID in msg and "MAY BE" in msg and "othing was bought." not in msg


@pytest.mark.parametrize("code", [404, 409, 410])
@pytest.mark.parametrize("state", [status(), status("ready")], ids=["unbought", "ready"])
@pytest.mark.parametrize(
    ("machine", "outcome"),
    [
        ("new", "unknown"),
        ("of this offer by its own page", "unknown"),
        ("unreadable", "unknown"),
        ("listed before", "rejected"),
        ("another name", "rejected"),
        ("deleted", "rejected"),
        ("deleted by its own page", "rejected"),
        ("of another offer by its own page", "rejected"),
    ],
)
def test_new_machine_of_its_name_makes_a_refusal_unknown(
    queue: RequestQueue, buy: Any, code: int, state: Any, machine: str, outcome: str
) -> None:
    """A gateway sent the request twice, the status has no ids, and the list does not name the offers of resources."""
    queue.expect_free_offer().expect(*POST, {"detail": "sold"}, code)
    pages: dict[str, Any] = {
        "of this offer by its own page": resource(name="trainer"),
        "deleted by its own page": resource(name="trainer", status="deleted", offer_history=None),
        "of another offer by its own page": resource(name="trainer", offer_history=None, offer_id=OTHER_ID),
    }
    for _time in range(2 if outcome == "unknown" or code == 409 or state != status() else 1):
        queue.expect("GET", STATUS_PATH, state)
        name = "vm-1" if machine == "another name" else "trainer"
        word = "deleted" if machine == "deleted" else "running"
        listed = resource(name=name, status=word, offer_history=None)
        queue.expect_resources(listed)
        if machine == "unreadable":
            queue.show(listed, {}, 503)
        elif machine == "new" or machine in pages:
            queue.show(pages.get(machine, listed))
    before = [RESOURCE_ID] if machine == "listed before" else []
    result = buy(resource_name="trainer", settle_timeout=2, listed_before=before)
    assert (result["outcome"], result["resource_ids"]) == (outcome, [RESOURCE_ID] if outcome == "unknown" else [])
    assert (f"Nothing proves whose it is: {RESOURCE_ID}" in result["msg"]) is (outcome == "unknown")


@pytest.mark.parametrize(("holder", "outcome"), [(OTHER_ID, "unknown"), (RESOURCE_ID, "rejected")])
def test_refused_purchase_is_rejected_if_another_host_holds_the_machine(
    queue: RequestQueue, buy: Any, tmp_path: Path, holder: str, outcome: str
) -> None:
    entry = {"provision_procured_offer_id": OTHER_ID, "provision_resource_ids": [holder]}
    HostFile(str(tmp_path / "tuner" / "compute_index_supply.yml")).note(entry)
    queue.expect_free_offer().expect(*POST, {"detail": "sold"}, 410)
    for _time in range(2 if outcome == "unknown" else 1):
        queue.expect("GET", STATUS_PATH, status("ready"))
        machine = resource(name="trainer", offer_history=None)
        queue.expect_resources(machine).show(machine)
    registry = str(tmp_path / "trainer" / "compute_index_supply.yml")
    assert buy(resource_name="trainer", settle_timeout=2, registry_file=registry)["outcome"] == outcome


def test_machine_in_status_and_list_is_returned_once(queue: RequestQueue, buy: Any, tmp_path: Path) -> None:
    queue.expect_free_offer().expect(*POST, {"detail": "sold"}, 409)
    for _time in range(2):
        queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
        queue.expect_resources(resource(name="trainer", offer_history=None))
    registry = str(tmp_path / "trainer" / "compute_index_supply.yml")
    result = buy(resource_name="trainer", settle_timeout=2, registry_file=registry)
    assert result["outcome"] == "unknown" and len(result["machines"]) == 1


@pytest.mark.parametrize("code", [400, 402, 403, 422])
def test_refusal_of_the_request_holds_despite_a_machine_of_its_name(queue: RequestQueue, buy: Any, code: int) -> None:
    queue.expect_free_offer().expect(*POST, {"detail": "no"}, code).expect("GET", STATUS_PATH, status())
    queue.expect_resources(resource(name="trainer", offer_history=None))
    assert buy(resource_name="trainer", settle_timeout=2)["outcome"] == "rejected"


@pytest.mark.parametrize("code", [404, 409, 410])
def test_machine_of_another_name_is_not_ours_if_the_vendor_keeps_names(
    queue: RequestQueue, buy: Any, tmp_path: Path, code: int
) -> None:
    """The machine of another host proves that the vendor keeps names, so ours would have the name of this host."""
    entry = {"provision_procured_offer_id": OTHER_ID, "provision_resource_ids": [SECOND_RESOURCE_ID]}
    HostFile(str(tmp_path / "tuner" / "compute_index_supply.yml")).note(entry)
    theirs = resource(name="colleague")
    queue.expect_free_offer().expect(*POST, {"detail": "sold"}, code)
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])).expect_resources(theirs)
    queue.expect("GET", "/resources", [theirs, resource(SECOND_RESOURCE_ID, name="tuner", offer_history=[])])
    result = buy(resource_name="trainer", registry_file=str(tmp_path / "trainer" / "compute_index_supply.yml"))
    msg = assert_failed(result, "conflict", "rejected", code)
    assert f"sold. Someone else has bought offer {OFFER_ID}: {RESOURCE_ID} (called colleague, running" in msg
    assert msg.endswith("USD 2.00 per hour). Nothing was bought.")
    assert result["machines"] == [
        {"resource_id": RESOURCE_ID, "name": "colleague", "status": "running", "price_per_hour": 2.0}
    ]


def test_refused_offer_is_polled_until_its_machine_has_a_name(queue: RequestQueue, buy: Any, clock: Clock) -> None:
    queue.expect_free_offer().expect(*POST, {}, 409)
    queue.expect("GET", STATUS_PATH, status("provisioning")).expect_resources()
    queue.expect("GET", STATUS_PATH, status("provisioning")).expect_resources(status=500)
    queue.expect("GET", STATUS_PATH, status("provisioning")).expect_resources(resource(name=None))
    queue.expect("GET", STATUS_PATH, status("provisioning")).expect_resources(resource())
    queue.expect("GET", OFFER_PATH, offer())
    assert buy(resource_name="trainer")["outcome"] == "existing"
    assert clock.naps == [3] * 3


def test_refused_offer_without_a_machine_on_the_account_is_rejected(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, {}, 409)
    for _time in range(2):
        queue.expect("GET", STATUS_PATH, status("provisioning")).expect_resources()
    msg = assert_failed(buy(resource_name="trainer", settle_timeout=2), "conflict", "rejected", 409)
    assert "this account lists no machine of it. Nothing was bought." in msg


def test_refused_offer_with_unreadable_list_is_unknown(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, {}, 409)
    for _time in range(2):
        queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID])).expect_resources(
            status=500
        )
        queue.show(resource(), NOT_FOUND, 404)
    msg = assert_failed(
        buy(resource_name="trainer", settle_timeout=2), "unknown_outcome", "unknown", 409, [RESOURCE_ID]
    )
    assert "Nothing proves whose it is" in msg and "billed at USD 2.00 per hour" in msg
    assert "GET /resources answered 500" in msg


def test_machines_of_other_offers_in_the_list_are_ignored(queue: RequestQueue, buy: Any) -> None:
    """The API may ignore the filter of the list."""
    queue.expect_free_offer().expect(*POST, procurement("provisioning_in_progress"))
    queue.expect("GET", STATUS_PATH, status("provisioning"))
    others = [resource(SECOND_RESOURCE_ID, offer_history=[], offer_id=OTHER_ID), resource("x", offer_history=None)]
    queue.expect_resources(*others, resource())
    assert buy()["resource_ids"] == [RESOURCE_ID]


# A 2xx answer that does not sell the offer


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (procurement("rejected", error="insufficient credit."), "insufficient credit."),
        (procurement("queued", error="try later"), "try later."),
        (procurement("available"), "it answered 'available'."),
        (procurement("expired"), "it answered 'expired'."),
    ],
)
def test_unsold_offer_is_rejected_with_the_reason_of_the_api(
    queue: RequestQueue, buy: Any, reply: Any, reason: str
) -> None:
    queue.expect_free_offer().expect(*POST, reply).expect("GET", STATUS_PATH, status())
    msg = assert_failed(buy(), "conflict", "rejected")
    assert msg == f"The API did not sell offer {OFFER_ID}: {reason} Nothing was bought."


def test_status_overrules_an_answer_that_calls_the_offer_unsold(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, procurement("rejected", error="timed out at the vendor"))
    queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID]))
    result = buy()
    assert (result["outcome"], result["resource_ids"]) == ("created", [RESOURCE_ID])
    assert "timed out at the vendor. The offer's status says that it was bought." in result["warnings"][0]


def test_unsold_offer_without_a_readable_status_is_unknown(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, procurement("rejected", error="credit")).expect("GET", STATUS_PATH, {}, 500)
    msg = assert_failed(buy(settle_timeout=0), "unknown_outcome", "unknown")
    assert f"The API did not sell offer {OFFER_ID}: credit." in msg


def test_invalid_ids_fail_after_the_purchase_with_the_valid_ones(
    queue: RequestQueue, buy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Market.procure
    monkeypatch.setattr(Market, "procure", lambda *args, **how: {**real(*args, **how), "odd_ids": ["x -oY", 7]})
    queue.expect_free_offer().expect(*POST, procurement())
    msg = assert_failed(buy(), "protocol", "created", ids=[RESOURCE_ID])
    assert "was BOUGHT and is billed at USD 2.00 per hour" in msg and "'x -oY', '7'" in msg


# A 2xx answer about a purchase that failed


@pytest.mark.parametrize("reason", ["no stock", None])
def test_failed_purchase_without_resources_is_rejected(queue: RequestQueue, buy: Any, reason: str | None) -> None:
    expect_failed_offer(
        queue.expect_free_offer().expect(*POST, procurement("failed", error=reason)), resource(status="deleted")
    )
    result = buy()
    msg = assert_failed(result, "conflict", "rejected")
    assert f"failed: {reason or 'the API gives no reason'}. No resource of it is known." in msg


def test_failed_purchase_names_the_ids_of_its_answer(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, procurement("failed", resource_ids=[RESOURCE_ID], error="no stock"))
    queue.expect("GET", STATUS_PATH, status("failed"))
    msg = assert_failed(buy(), "conflict", "rejected", ids=[RESOURCE_ID])
    assert f"no stock. These resources may still be billed, at USD 2.00 per hour: {RESOURCE_ID}." in msg


def test_failed_purchase_without_a_readable_status_is_unknown(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, procurement("failed", resource_ids=[RESOURCE_ID]))
    queue.expect("GET", STATUS_PATH, {}, 500)
    assert_failed(buy(settle_timeout=0), "unknown_outcome", "unknown", ids=[RESOURCE_ID])


def test_failed_purchase_of_a_plan_is_left_to_the_plan(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, procurement("failed", resource_ids=[RESOURCE_ID]))
    account = hashlib.sha256(f"https://supply-api.example.com {TOKEN}".encode()).hexdigest()[:16]
    result = buy(account=account)
    assert (result["outcome"], result["status"], result["resource_ids"]) == ("created", "failed", [RESOURCE_ID])


def test_failed_purchase_names_listed_machines(queue: RequestQueue, buy: Any) -> None:
    expect_failed_offer(queue.expect_free_offer().expect(*POST, procurement("failed")), resource(status="failed"))
    assert "may still be billed" in assert_failed(buy(), "conflict", "rejected", ids=[RESOURCE_ID])


@pytest.mark.parametrize("code", [401, 500])
def test_failed_purchase_with_unreadable_list_is_unknown(queue: RequestQueue, buy: Any, code: int) -> None:
    queue.expect_free_offer().expect(*POST, procurement("failed", error="no stock")).expect(
        "GET", STATUS_PATH, status("failed")
    )
    queue.expect_resources(status=code)
    msg = assert_failed(buy(settle_timeout=0), "unknown_outcome", "unknown")
    assert "no stock. Now: " in msg and "It MAY BE BOUGHT" in msg
