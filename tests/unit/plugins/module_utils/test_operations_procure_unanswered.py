# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""procure_offer, if the API is busy or the answer to the purchase is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations import procure_offer as operation

from clock import Clock
from purchases import assert_failed
from raw_server import RawServer, Step, answer, read_and_hang_up
from request_queue import LOST, RequestQueue
from samples import (
    NOT_FOUND,
    OFFER_ID,
    OFFER_PATH,
    POST,
    RESOURCE_ID,
    STATUS_PATH,
    offer,
    procurement,
    resource,
    status,
)

pytestmark = pytest.mark.usefixtures("clock", "resource_shown", "no_jitter")


# The API is busy: 429, or 503 with Retry-After

BUSY = pytest.mark.parametrize(("code", "wait"), [(429, None), (429, "9"), (503, "9")])


def busy(queue: RequestQueue, code: int, wait: str | None) -> RequestQueue:
    return queue.expect(*POST, NOT_FOUND, code, headers={} if wait is None else {"Retry-After": wait})


@BUSY
@pytest.mark.parametrize("times", [1, 2])
def test_purchase_is_repeated_while_the_offer_is_available(
    queue: RequestQueue, buy: Any, clock: Clock, code: int, wait: str | None, times: int
) -> None:
    for _time in range(times):
        busy(queue.expect_free_offer(), code, wait)
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy(api_retries=2)["outcome"] == "created"
    assert queue.count(*POST) == times + 1
    assert clock.naps == ([float(wait)] * times if wait else [0.5, 1.0][:times])


@BUSY
def test_purchase_made_despite_a_busy_answer_is_not_repeated(
    queue: RequestQueue, buy: Any, code: int, wait: str | None
) -> None:
    busy(queue.expect_free_offer(), code, wait)
    queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID]))
    queue.expect_resources(resource(name="trainer"))
    result = buy(resource_name="trainer", api_retries=2)
    assert (result["outcome"], result["resource_ids"]) == ("created", [RESOURCE_ID])
    assert queue.count(*POST) == 1


@BUSY
@pytest.mark.parametrize("name", ["database", "trainers", None])
@pytest.mark.parametrize("refused", [False, True])
def test_offer_sold_while_the_api_is_busy_may_be_ours(
    queue: RequestQueue, buy: Any, name: str | None, code: int, wait: str | None, refused: bool
) -> None:
    """Either the API has executed the request and keeps no names, or another customer was faster."""
    busy(queue.expect_free_offer(), code, wait)
    if refused:  # as if the first request had been executed
        queue.expect_free_offer().expect(*POST, {}, 409)
    for _time in range(2):
        queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])).expect_resources(
            resource(name=name)
        )
    result = buy(resource_name="trainer", api_retries=2, settle_timeout=2)
    msg = assert_failed(result, "unknown_outcome", "unknown", 409 if refused else code, [RESOURCE_ID])
    assert "MAY BE BOUGHT" in msg and "provision_adopt: true" in msg
    assert queue.count(*POST) == 1 + refused


@pytest.mark.parametrize("ids", [[], [RESOURCE_ID]])
@pytest.mark.parametrize("code", [404, 409, 410, 429, 503])
def test_unnamed_purchase_is_ours_only_with_proof(queue: RequestQueue, buy: Any, code: int, ids: list[str]) -> None:
    """Without a name and a registry, another customer may have bought the offer."""
    queue.expect_free_offer().expect(*POST, NOT_FOUND, code)
    state = status("provisioning", resource_ids=ids)
    is_ours = code == 503 and bool(ids)  # a 503 does not answer the purchase
    for _time in range(1 if is_ours else 2):
        queue.expect("GET", STATUS_PATH, state)
        if not ids:
            queue.expect_resources()
    result = buy(settle_timeout=2, api_retries=0)
    if is_ours:
        assert (result["outcome"], result["resource_ids"]) == ("created", ids)
        return
    msg = assert_failed(result, "unknown_outcome", "unknown", code, ids)
    assert "billed at USD 2.00 per hour" in msg and "compute_index.supply.delete_resource" in msg


def test_ended_machine_is_not_offered_for_adoption(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, {}, 409).expect(
        "GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])
    )
    gone = resource(name="colleague", status="deleted")
    queue.expect_resources(gone).expect("GET", f"/resources/{RESOURCE_ID}", gone, query={"force_refresh": "true"})
    msg = assert_failed(buy(resource_name="trainer"), "conflict", "rejected", 409)
    assert "its machines have ended" in msg and "adopt" not in msg and "MAY BE" not in msg


def test_machine_listed_as_deleted_may_be_billed_while_its_page_is_unreadable(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, {}, 409)
    machine = resource(name="colleague", status="deleted")
    for _time in range(2):
        queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
        queue.expect_resources(machine).show(machine, {}, 502)
    assert_failed(buy(resource_name="trainer", settle_timeout=2), "unknown_outcome", "unknown", 409, [RESOURCE_ID])


@BUSY
def test_purchase_is_not_repeated_without_a_readable_status(
    queue: RequestQueue, buy: Any, code: int, wait: str | None
) -> None:
    busy(queue.expect_free_offer(), code, wait).expect("GET", STATUS_PATH, {}, 401)
    assert_failed(buy(settle_timeout=0, api_retries=2), "unknown_outcome", "unknown", code)
    assert queue.count(*POST) == 1


@pytest.mark.parametrize("code", [400, 409, 410, 500])
def test_refusal_of_a_repeated_purchase_does_not_settle_the_first(queue: RequestQueue, buy: Any, code: int) -> None:
    busy(queue.expect_free_offer(), 503, "9").expect_free_offer().expect(*POST, NOT_FOUND, code)
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
    result = buy(api_retries=2)
    assert (result["outcome"], result["resource_ids"]) == ("created", [RESOURCE_ID])


@pytest.mark.parametrize(("later", "outcome"), [("available", "unknown"), ("failed", "rejected")])
def test_failure_of_a_repeated_purchase_does_not_settle_the_lost_one(
    queue: RequestQueue, buy: Any, later: str, outcome: str
) -> None:
    """The first purchase may still be executed, unless the offer itself has failed."""
    queue.expect_free_offer().expect(*POST, LOST)
    queue.expect_free_offer().expect(*POST, {"offer_id": OFFER_ID, "status": "failed", "error": "no stock"})
    queue.expect("GET", STATUS_PATH, status(later))
    if later == "failed":
        queue.expect_resources()
    error_class = "conflict" if later == "failed" else "unknown_outcome"
    msg = assert_failed(buy(settle_timeout=0, api_retries=1), error_class, outcome)
    assert ("MAY BE BOUGHT" in msg) is (later == "available")


def test_risen_price_stops_a_repeated_purchase(queue: RequestQueue, buy: Any) -> None:
    busy(queue.expect_free_offer(), 429, "9").expect_free_offer(total_price_per_hour=4.0).expect(
        "GET", STATUS_PATH, status(), times=2
    )
    msg = assert_failed(buy(max_price_per_hour=3, api_retries=2, settle_timeout=3), "price", "rejected", 429)
    assert "USD 4.00 per hour, which is above" in msg and msg.endswith("Nothing was bought.")


def test_purchase_answered_429_may_appear_later(queue: RequestQueue, buy: Any) -> None:
    """The offer's details cannot be read, so the purchase is not repeated; but the API has executed the first one."""
    busy(queue.expect_free_offer(), 429, "1").expect("GET", STATUS_PATH, status()).expect_resources().expect(
        "GET", OFFER_PATH, {}, 401
    )
    queue.expect("GET", STATUS_PATH, status()).expect_resources()
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
    queue.expect_resources(resource(name="trainer"))
    result = buy(api_retries=2, settle_timeout=9, resource_name="trainer")
    assert result["outcome"] == "created" and queue.count(*POST) == 1


@pytest.mark.parametrize(
    "unreadable",
    [([], 502), ([], 403), ([], 302), ({"resources": [], "total": 1}, 200)],
    ids=["502", "403", "redirected", "incomplete"],
)
@pytest.mark.parametrize("becomes_readable", [True, False])
@pytest.mark.parametrize("code", [404, 409, 410])
def test_unreadable_list_does_not_confirm_a_refusal(
    queue: RequestQueue, buy: Any, code: int, becomes_readable: bool, unreadable: tuple[Any, int]
) -> None:
    """A gateway has sent the request twice, and the status lags."""
    queue.expect_free_offer().expect(*POST, NOT_FOUND, code)
    queue.expect("GET", STATUS_PATH, status()).expect("GET", "/resources", *unreadable, query={"offer_id": OFFER_ID})
    queue.expect("GET", STATUS_PATH, status())
    if becomes_readable:
        queue.expect_resources(resource(name="trainer")).expect("GET", OFFER_PATH, offer())
    else:
        queue.expect("GET", "/resources", *unreadable, query={"offer_id": OFFER_ID})
    result = buy(settle_timeout=3, resource_name="trainer")
    assert result["outcome"] == ("existing" if becomes_readable else "unknown") and queue.count(*POST) == 1


def test_purchase_answered_503_may_appear_later(queue: RequestQueue, buy: Any) -> None:
    busy(queue.expect_free_offer(), 503, "9").expect("GET", STATUS_PATH, status()).expect("GET", OFFER_PATH, {}, 401)
    queue.expect("GET", STATUS_PATH, status()).expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
    assert buy(api_retries=2)["outcome"] == "created"
    assert queue.count(*POST) == 1


@pytest.mark.parametrize(("retries", "wait"), [(0, "9"), (5, "3600")])
def test_last_busy_answer_is_rejected_if_429_and_unknown_if_503(
    queue: RequestQueue, buy: Any, retries: int, wait: str
) -> None:
    # A purchase that was executed despite the 429 would appear in the second status.
    busy(queue.expect_free_offer(), 429, wait).expect("GET", STATUS_PATH, status(), times=2)
    result = buy(api_retries=retries, settle_timeout=3)
    assert assert_failed(result, "rate_limited", "rejected", 429).endswith("Nothing was bought.")
    assert result["retry_after"] == float(wait)
    busy(queue.expect_free_offer(), 503, wait).expect("GET", STATUS_PATH, status())
    assert_failed(buy(api_retries=retries, settle_timeout=0), "unknown_outcome", "unknown", 503)


# The answer is lost

LOSSES: dict[str, tuple[Any, int]] = {
    "lost": (LOST, 200),
    "500": ({}, 500),
    "502 with HTML": (b"<html>", 502),
    "503 without Retry-After": ({}, 503),
    "504": ({}, 504),
    "408": ({}, 408),
    "307": ({}, 307),
    "200 without JSON": (b"", 200),
    "200 without a status": ({"detail": "ok"}, 200),
    "200 with a list": ([], 200),
}


@pytest.mark.parametrize(("reply", "code"), LOSSES.values(), ids=LOSSES.keys())
def test_lost_answer_is_settled_by_the_status(queue: RequestQueue, buy: Any, reply: Any, code: int) -> None:
    queue.expect_free_offer().expect(*POST, reply, code)
    queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID]))
    result = buy(api_retries=0 if code == 503 else 5)
    assert (result["outcome"], result["changed"], result["status"]) == ("created", True, "procured")
    assert result["resource_ids"] == [RESOURCE_ID]
    [warning] = result["warnings"]
    assert warning.endswith("The offer's status says that it was bought.")
    assert queue.count(*POST) == 1


def test_status_is_polled_until_a_lost_answer_is_settled(queue: RequestQueue, buy: Any, clock: Clock) -> None:
    queue.expect_free_offer().expect(*POST, LOST)
    queue.expect("GET", STATUS_PATH, LOST).expect("GET", STATUS_PATH, {}, 500).expect("GET", STATUS_PATH, status())
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
    assert buy(api_retries=5)["outcome"] == "created"
    assert clock.naps == [operation.SETTLE_PAUSE] * 3
    assert [whole for _connecting, whole in queue.timeouts[3:7]] == [operation.SETTLE_TIMEOUT] * 4


def test_settled_purchase_reads_its_ids_from_the_list(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, LOST).expect("GET", STATUS_PATH, status("provisioning"))
    queue.expect_resources(resource())
    assert buy()["resource_ids"] == [RESOURCE_ID]


@pytest.mark.parametrize("ids", [[], [RESOURCE_ID]])
def test_lost_answer_of_a_failed_offer_is_rejected(queue: RequestQueue, buy: Any, ids: list[str]) -> None:
    queue.expect_free_offer().expect(*POST, LOST)
    queue.expect("GET", STATUS_PATH, status("failed", "failed", failure_reason="no stock", resource_ids=ids))
    if not ids:
        queue.expect_resources()
    msg = assert_failed(buy(), "conflict", "rejected", ids=ids)
    assert "failed: no stock." in msg and ("may still be billed" in msg) is bool(ids)


@pytest.mark.parametrize(
    ("state", "code"),
    [(status("available", "expired"), 200), (NOT_FOUND, 404), ({}, 410)],
    ids=["expired", "404", "410"],
)
def test_lost_answer_stays_unknown_although_the_offer_is_gone(
    queue: RequestQueue, buy: Any, state: Any, code: int
) -> None:
    queue.expect_free_offer().expect(*POST, LOST).expect("GET", STATUS_PATH, state, code, times=2)
    msg = assert_failed(buy(settle_timeout=2), "unknown_outcome", "unknown")
    assert "MAY BE BOUGHT" in msg and "Run the same again after 2026-01-31T12:30:0" in msg


@pytest.mark.parametrize(
    ("settle_timeout", "looks", "naps"),
    [(0, 1, []), (2, 2, [2]), (3, 2, [3]), (7, 4, [3, 3, 1]), (30, 11, [3] * 10)],
)
def test_settle_timeout_limits_the_polling_of_the_status(
    queue: RequestQueue, buy: Any, clock: Clock, settle_timeout: float, looks: int, naps: list[float]
) -> None:
    for expect_reads in (queue.expect_free_offer, lambda: queue.expect("GET", OFFER_PATH, offer())):
        expect_reads()
        queue.expect(*POST, LOST).expect("GET", STATUS_PATH, status(), times=looks)
    result = buy(settle_timeout=settle_timeout, api_retries=5)
    msg = assert_failed(result, "unknown_outcome", "unknown")
    assert "MAY BE BOUGHT and billed at USD 2.00 per hour" in msg
    assert "Do not buy another offer instead" in msg and "the API still calls it unbought" in msg
    assert OFFER_ID in msg and "Nothing was bought" not in msg
    assert clock.naps == naps * 2
    assert queue.count(*POST) == 2, "the same offer again, since its status stayed available"


@pytest.mark.parametrize("code", [502, 200])
def test_unknown_outcome_has_the_status_code_of_the_purchase(queue: RequestQueue, buy: Any, code: int) -> None:
    queue.expect_free_offer().expect(*POST, b"<html>", code).expect("GET", STATUS_PATH, {}, 500)
    msg = assert_failed(buy(settle_timeout=0), "unknown_outcome", "unknown", code)
    assert f"{STATUS_PATH} answered 500" in msg


def test_lost_purchase_is_not_repeated_if_the_newest_status_is_unreadable(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, LOST).expect("GET", STATUS_PATH, status()).expect("GET", STATUS_PATH, LOST)
    result = buy(settle_timeout=3)
    assert queue.count(*POST) == 1, "only the newest status allows a repetition"
    assert_failed(result, "unknown_outcome", "unknown")
    assert result["status"] == "available"


@pytest.mark.parametrize("sent", [True, False])
def test_unsent_purchase_is_not_settled(
    queue: RequestQueue, buy: Any, monkeypatch: pytest.MonkeyPatch, sent: bool
) -> None:
    def lose(*_args: Any, **_how: Any) -> None:
        raise ApiError("No answer.", "unavailable", sent=sent, transient=True)

    monkeypatch.setattr(Market, "procure", lose)
    queue.expect_free_offer()
    if sent:
        queue.expect("GET", STATUS_PATH, {}, 500)
    result = buy(settle_timeout=0)
    if sent:
        assert_failed(result, "unknown_outcome", "unknown")
    else:
        assert assert_failed(result, "unavailable", "not_sent").endswith("Nothing was bought.")


def test_unanswered_purchase_is_sent_once_over_a_real_connection(serve: Callable[..., RawServer], buy: Any) -> None:
    def json_answer(data: Any) -> Step:
        return answer(200, json.dumps(data).encode())

    server = serve(
        json_answer(status()),
        json_answer(offer()),
        read_and_hang_up,
        json_answer(status("provisioning", resource_ids=[RESOURCE_ID])),
        json_answer(resource(RESOURCE_ID)),
    )
    result = buy(api_url=server.url, api_retries=5)
    assert (result["outcome"], result["resource_ids"]) == ("created", [RESOURCE_ID])
    lines = [request.split(b" HTTP/", 1)[0].decode() for request in server.received]
    by_id = f"GET /resources/{RESOURCE_ID}?force_refresh=true"
    assert lines == [f"GET {STATUS_PATH}", f"GET {OFFER_PATH}", "POST /procure_offer", f"GET {STATUS_PATH}", by_id]
