# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listing resources and ending one: never the wrong machine, and no word of the end before the API says it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError, SupplyApi
from ansible_collections.compute_index.supply.plugins.module_utils._operations import delete_resource as operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations.delete_resource import (
    BLANK,
    DELETE_RESOURCE,
)
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import RESOURCE_INFO

from request_queue import LOST, RequestQueue
from samples import NOT_FOUND, OFFER_ID, OTHER_ID, RESOURCE_ID, SECOND_RESOURCE_ID, TOKEN, resource

Result = dict[str, Any]
PATH = f"/resources/{RESOURCE_ID}"
DELETE = "DELETE", PATH
STILL = "It may still be billed at USD 2.00 per hour."


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two looks; the clock moves only then."""
    naps: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(naps), sleep=naps.append)
    monkeypatch.setattr(operation, "time", clock)
    return naps


@pytest.fixture
def delete(perform: Callable[..., Result]) -> Callable[..., Result]:
    """``delete(check_mode=False, **params)``; each result is held against what every result must have."""

    def run(check_mode: bool = False, **params: Any) -> Result:
        result = perform(DELETE_RESOURCE, check_mode, **{"resource_id": RESOURCE_ID, **params})
        assert BLANK.keys() | {"msg"} <= result.keys()
        if result.get("failed"):
            assert {"error_class", "status_code"} <= result.keys()
            assert result["billing_stopped"] is False
        return result

    return run


def expect_look(queue: RequestQueue, *words: str | None, **fields: Any) -> RequestQueue:
    """Expect a fresh look for each of these states."""
    for word in words:
        queue.expect("GET", PATH, resource(status=word, **fields), query={"force_refresh": "true"})
    return queue


def expect_list(queue: RequestQueue, *words: str) -> RequestQueue:
    """Expect a look at the list, in which the resource has each of these states."""
    return queue.expect("GET", "/resources", [resource(SECOND_RESOURCE_ID), *(resource(status=word) for word in words)])


def expect_error(queue: RequestQueue, reply: Any, code: int = 200) -> RequestQueue:
    """Expect a fresh look that fails."""
    return queue.expect("GET", PATH, reply, code, query={"force_refresh": "true"})


# Deleting


@pytest.mark.parametrize("word", ["running", "provisioning", "failed", "stopped", "hibernating", None])
def test_a_resource_is_deleted_and_waited_for(queue: RequestQueue, delete: Any, word: str | None) -> None:
    expect_look(queue, word).expect(*DELETE, {"status": "deleting", "message": "ok"})
    expect_look(queue, "deleting", "deleted")
    result = delete()
    assert (result["changed"], result["billing_stopped"]) == (True, True)
    assert (result["resource_id"], result["resource"]["status"]) == (RESOURCE_ID, "deleted")
    assert result["msg"] == f"Machine {RESOURCE_ID} is deleted."
    assert result["diff"]["before"] == {
        "resource_id": RESOURCE_ID,
        "kind": "machine",
        "name": "trainer",
        "vendor": "nebius",
        "status": word,
        "price_per_hour": 2.0,
    }
    assert result["diff"]["after"] == {}
    assert "failed" not in result


@pytest.mark.parametrize("force", [False, True])
def test_force_is_handed_on(queue: RequestQueue, delete: Any, force: bool) -> None:
    expect_look(queue, "running").expect(*DELETE, {}, query={"force": "true"} if force else None)
    expect_look(queue, "deleted")
    assert delete(force=force)["billing_stopped"]


@pytest.mark.parametrize("code", [404, 410])
def test_a_resource_that_is_not_found_after_its_deletion_is_gone(queue: RequestQueue, delete: Any, code: int) -> None:
    expect_list(expect_error(expect_look(queue, "running").expect(*DELETE, {}), NOT_FOUND, code))
    result = delete()
    assert (result["changed"], result["billing_stopped"], result["resource"]["status"]) == (True, True, "running")
    assert result["accepted"]


GATEWAY = [
    pytest.param(b"<html>404</html>", {"Content-Type": "text/html"}, id="a page"),
    pytest.param(NOT_FOUND, {"Content-Type": "text/html; charset=utf-8"}, id="JSON that says it is a page"),
    pytest.param({"message": "no Route matched with those values"}, {}, id="a gateway's JSON"),
    pytest.param({"title": "Not Found", "status": 404, "detail": "No such host"}, {}, id="a problem document"),
]


@pytest.mark.parametrize(("reply", "headers"), GATEWAY)
@pytest.mark.parametrize("end", ["deleted", "running"])
def test_a_404_that_is_not_the_apis_own_is_looked_past(
    queue: RequestQueue, delete: Any, reply: Any, headers: Any, end: str
) -> None:
    expect_look(queue, "running").expect(*DELETE, {})
    queue.expect("GET", PATH, reply, 404, query={"force_refresh": "true"}, headers=headers)
    expect_look(queue, end)
    result = delete(wait_timeout=operation.PAUSE)
    assert result["billing_stopped"] is (end == "deleted")
    assert result.get("failed", False) is (end == "running")


@pytest.mark.parametrize(
    ("look", "ends"),
    [
        pytest.param((NOT_FOUND, 404), True, id="the list lags"),
        pytest.param((resource(status="deleted"), 200), True, id="the list lags, and its page says deleted"),
        pytest.param((resource(status="running"), 200), False, id="it runs after all"),
        pytest.param((resource(status="deleting"), 200), False, id="it is still ending"),
        pytest.param(({}, 502), False, id="nothing decides"),
    ],
)
def test_a_list_that_still_has_it_asks_for_another_look_which_decides(
    queue: RequestQueue, delete: Any, look: Any, ends: bool
) -> None:
    expect_look(queue, "running").expect(*DELETE, {})
    expect_error(expect_list(expect_error(queue, NOT_FOUND, 404), "running"), *look)
    result = delete(wait_timeout=0)
    assert result["billing_stopped"] is ends
    assert result.get("failed", False) is not ends


@pytest.mark.parametrize("again", ["running", "deleting"])
def test_what_a_list_has_is_looked_at_until_its_page_says_so_for_long(
    queue: RequestQueue, delete: Any, again: str
) -> None:
    """A replica that lags behind answers some 404s about a machine whose accepted deletion did nothing."""
    expect_look(queue, "running").expect(*DELETE, {})
    for _look in range(2):
        expect_error(expect_list(expect_error(queue, NOT_FOUND, 404), "running"), NOT_FOUND, 404)
    expect_look(queue, again)
    result = delete(wait_timeout=2 * operation.PAUSE)
    assert (result["billing_stopped"], result["failed"]) == (False, True)


def test_what_only_a_list_has_is_gone_at_the_last_look(queue: RequestQueue, delete: Any) -> None:
    expect_look(queue, "running").expect(*DELETE, {})
    for _look in range(3):
        expect_error(expect_list(expect_error(queue, NOT_FOUND, 404), "running"), NOT_FOUND, 404)
    assert delete(wait_timeout=2 * operation.PAUSE)["billing_stopped"]


@pytest.mark.parametrize("code", [404, 403, 503])
def test_a_list_that_cannot_be_read_proves_nothing(queue: RequestQueue, delete: Any, code: int) -> None:
    """An API that is being installed anew answers a 404 in its own words to everything, and forgets it again."""
    expect_error(expect_look(queue, "running").expect(*DELETE, {}), NOT_FOUND, 404)
    queue.expect("GET", "/resources", NOT_FOUND, code)
    expect_look(queue, "running")
    result = delete(wait_timeout=operation.PAUSE)
    assert (result["billing_stopped"], result["failed"], result["accepted"]) == (False, True, True)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (LOST, 502),
        (b"<html>", 502),
        ({"resource_id": OTHER_ID, "status": "deleting", "message": "ok"}, 200),
        ({"resource_id": RESOURCE_ID, "status": "failed", "message": "The vendor refused."}, 200),
        ({"resource_id": RESOURCE_ID, "status": "Rejected", "message": None}, 200),
    ],
    ids=["lost", "502", "of another", "failed", "rejected"],
)
def test_a_deletion_whose_answer_was_lost_is_not_accepted(
    queue: RequestQueue, delete: Any, reply: Any, code: int
) -> None:
    expect_look(queue, "running").expect(*DELETE, reply, code)
    expect_look(queue, *["running"] * operation.SETTLE_LOOKS)
    told = delete(wait=False)
    assert (told["changed"], told["accepted"], told["error_class"]) == (True, False, "unknown_outcome")
    expect_error(queue, NOT_FOUND, 404)
    result = delete(accepted=told["accepted"])
    assert (result["failed"], result["billing_stopped"], result["error_class"]) == (True, False, "not_found")


def test_an_accepted_deletion_is_waited_for_past_a_first_look_that_fails(queue: RequestQueue, delete: Any) -> None:
    expect_look(expect_error(queue, b"<html>", 502), "deleted")
    assert delete(accepted=True)["billing_stopped"] is True


def test_without_waiting_nobody_knows_when_billing_ends(queue: RequestQueue, delete: Any) -> None:
    expect_look(queue, "running").expect(*DELETE, {"status": "deleting"})
    result = delete(wait=False)
    assert (result["changed"], result["billing_stopped"]) == (True, False)
    assert result["msg"] == f"Machine {RESOURCE_ID} is being deleted."


DISK = {"resource_type": "block_disk"}
LOSES = f"Storage {RESOURCE_ID} is deleted with all its data."


def test_the_end_of_storage_says_that_its_data_is_lost(queue: RequestQueue, delete: Any) -> None:
    expect_look(queue, "active", **DISK)
    planned = delete(True)
    assert planned["msg"] == (
        f"Storage {RESOURCE_ID} would be deleted with all its data, which saves USD 2.00 per hour."
    )
    assert planned["diff"]["before"]["kind"] == planned["resource"]["kind"] == "storage"
    expect_look(expect_look(queue, "active", **DISK).expect(*DELETE, {}), "deleted", **DISK)
    assert delete()["msg"] == LOSES
    expect_look(queue, "deleted", **DISK)
    assert delete()["msg"] == f"Storage {RESOURCE_ID} was deleted before with all its data."


@pytest.mark.parametrize(("word", "noun"), [("block_disk", "Storage"), ("public_ip", "Resource")])
def test_what_does_not_end_and_is_no_machine_does_not_run(
    queue: RequestQueue, delete: Any, word: str, noun: str
) -> None:
    looks = {"resource_type": word}
    expect_look(expect_look(queue, "active", **looks).expect(*DELETE, {}), "active", **looks)
    not_gone = f"{RESOURCE_ID} is not gone after 0 seconds: the API still says 'active'."
    assert delete(wait_timeout=0)["msg"] == f"{not_gone} {STILL.replace('run', 'exist')}"


# Nothing to delete


@pytest.mark.parametrize("word", ["deleted", "terminated"])
@pytest.mark.parametrize("check_mode", [False, True])
def test_what_is_gone_is_not_deleted_again(queue: RequestQueue, delete: Any, word: str, check_mode: bool) -> None:
    expect_look(queue, word)
    result = delete(check_mode)
    assert (result["changed"], result["billing_stopped"]) == (False, True)
    assert result["msg"] == f"Machine {RESOURCE_ID} was deleted before."
    assert "diff" not in result


UNKNOWN = (
    f"It may run under another account, or the API may be behind. This run deleted nothing, and it may still be "
    f"billed. If it is gone for certain, forget it: decommission with -e decommission_forget={RESOURCE_ID}."
)


@pytest.mark.parametrize("check_mode", [False, True])
def test_what_the_api_does_not_know_is_no_success(queue: RequestQueue, delete: Any, check_mode: bool) -> None:
    expect_error(queue, {"detail": "Not found"}, 404)
    result = delete(check_mode)
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, "not_found", 404)
    assert (result["changed"], result["billing_stopped"], result["resource"]) == (False, False, None)
    assert result["resource_id"] == RESOURCE_ID
    assert result["msg"] == f"GET {PATH} answered 404: Not found. {UNKNOWN}"


@pytest.mark.parametrize("word", ["running", "deleted"])
@pytest.mark.parametrize("other", [SECOND_RESOURCE_ID, "a b"])
def test_an_answer_about_another_resource_is_no_look(queue: RequestQueue, delete: Any, word: str, other: str) -> None:
    expect_error(queue, resource(other, status=word))
    result = delete()
    assert (result["failed"], result["error_class"], result["changed"]) == (True, "protocol", False)
    assert result["msg"].endswith("another resource. Nothing was deleted.")


def test_capitals_are_the_same_id(queue: RequestQueue, delete: Any) -> None:
    expect_error(queue, resource(RESOURCE_ID.upper(), status="deleted"))
    result = delete(resource_id=RESOURCE_ID.upper())
    assert (result["resource_id"], result["billing_stopped"]) == (RESOURCE_ID, True)


@pytest.mark.parametrize("word", ["deleting", "terminating"])
def test_what_is_being_deleted_is_only_waited_for(queue: RequestQueue, delete: Any, word: str) -> None:
    expect_look(queue, word, word, "deleted")
    result = delete()
    assert (result["changed"], result["billing_stopped"]) == (False, True)


def test_what_vanishes_after_the_api_has_called_it_ending_has_ended(queue: RequestQueue, delete: Any) -> None:
    """Somebody else ends it, or a run of ours that was killed."""
    expect_list(expect_error(expect_look(queue, "deleting"), NOT_FOUND, 404))
    result = delete()
    assert (result["changed"], result["accepted"], result["billing_stopped"]) == (False, True, True)


def test_what_vanishes_between_two_calls_after_it_was_called_ending_has_ended(queue: RequestQueue, delete: Any) -> None:
    expect_look(queue, "deleting")
    told = delete(wait=False)
    assert (told["changed"], told["accepted"]) == (False, True)
    expect_list(expect_error(expect_error(queue, NOT_FOUND, 404), NOT_FOUND, 404))
    assert delete(accepted=told["accepted"])["billing_stopped"] is True


@pytest.mark.parametrize("words", [(), ("deleting",)])
def test_what_vanishes_after_a_deletion_that_an_earlier_call_got_accepted_has_ended(
    queue: RequestQueue, delete: Any, words: tuple[str, ...]
) -> None:
    if not words:
        expect_error(queue, NOT_FOUND, 404)
    expect_list(expect_error(expect_look(queue, *words), NOT_FOUND, 404))
    result = delete(accepted=True)
    assert (result["changed"], result["billing_stopped"], "failed" in result) == (False, True, False)
    assert result["msg"] == f"{'Machine' if words else 'Resource'} {RESOURCE_ID} is deleted."


def test_an_accepted_deletion_of_something_that_runs_is_sent_again(queue: RequestQueue, delete: Any) -> None:
    expect_look(expect_look(queue, "running").expect(*DELETE, {}), "deleted")
    assert delete(accepted=True)["changed"]


@pytest.mark.parametrize("code", [404, 409])
def test_what_vanishes_at_its_deletion_has_not_ended_for_certain(queue: RequestQueue, delete: Any, code: int) -> None:
    expect_error(expect_look(queue, "running").expect(*DELETE, NOT_FOUND, code), NOT_FOUND, 404)
    result = delete()
    error_class = "conflict" if code == 409 else "not_found"
    assert (result["failed"], result["error_class"], result["changed"]) == (True, error_class, False)
    assert (result["status_code"], result["msg"].endswith(UNKNOWN)) == (code, code == 404)


@pytest.mark.parametrize("code", [404, 409])
@pytest.mark.parametrize("word", ["deleting", "deleted"])
def test_somebody_else_may_have_deleted_it_meanwhile(queue: RequestQueue, delete: Any, code: int, word: str) -> None:
    expect_look(queue, "running").expect(*DELETE, {"detail": "already deleted"}, code)
    expect_look(queue, word, "deleted")
    result = delete()
    assert (result["changed"], result["billing_stopped"]) == (False, True)


@pytest.mark.parametrize(
    ("code", "error_class", "force"),
    [(404, "not_found", False), (409, "conflict", False), (409, "conflict", True)],
)
def test_a_conflict_is_not_taken_for_an_end(
    queue: RequestQueue, delete: Any, code: int, error_class: str, force: bool
) -> None:
    answer, query = {"detail": "still provisioning"}, {"force": "true"} if force else None
    expect_look(queue, "provisioning").expect(*DELETE, answer, code, query=query)
    expect_look(queue, "provisioning")
    result = delete(force=force)
    assert (result["failed"], result["changed"], result["error_class"]) == (True, False, error_class)
    advice = STILL if code == 409 else "It may run under another account"
    assert result["resource_id"] == RESOURCE_ID and f"still provisioning. {advice}" in result["msg"]
    # It may be what force is for.
    assert ("decommission_force=true" in result["msg"]) is (error_class == "conflict" and not force)


def test_a_conflict_that_cannot_be_looked_into_names_the_machine(queue: RequestQueue, delete: Any) -> None:
    expect_error(expect_look(queue, "running").expect(*DELETE, {}, 409), {}, 500)
    result = delete()
    assert (result["failed"], result["resource_id"]) == (True, RESOURCE_ID)
    assert STILL in result["msg"]


# Check mode


def test_check_mode_says_what_would_be_saved(queue: RequestQueue, delete: Any) -> None:
    expect_look(queue, "running")
    result = delete(True)
    assert (result["changed"], result["billing_stopped"]) == (True, False)
    assert result["msg"] == f"Machine {RESOURCE_ID} would be deleted, which saves USD 2.00 per hour."
    assert result["diff"]["before"]["status"] == "running"
    assert {call.method for call in queue.calls} == {"GET"}


@pytest.mark.parametrize("word", ["deleting", "terminating"])
def test_check_mode_does_not_wait(queue: RequestQueue, delete: Any, word: str) -> None:
    expect_look(queue, word)
    result = delete(True)
    assert (result["changed"], result["billing_stopped"]) == (False, False)


# Failures


@pytest.mark.parametrize(
    "params",
    [
        {"resource_id": "trainer"},
        {"resource_id": ""},
        {"resource_id": "*"},
        {"resource_id": RESOURCE_ID[:-1]},
        {"resource_id": f"{RESOURCE_ID},{SECOND_RESOURCE_ID}"},
        {"wait_timeout": -1},
        {"api_token": None},
    ],
    ids=str,
)
def test_bad_input_sends_nothing(queue: RequestQueue, delete: Any, params: Any) -> None:
    result = delete(**params)
    error_class = "auth" if "api_token" in params else "invalid"
    assert (result["failed"], result["error_class"], result["changed"]) == (True, error_class, False)
    assert queue.calls == []


@pytest.mark.parametrize(
    ("reply", "code", "error_class"),
    [
        ({}, 401, "auth"),
        ({}, 422, "invalid"),
        ({}, 500, "unavailable"),
        (LOST, None, "unavailable"),
        (b"", 200, "protocol"),
    ],
    ids=["401", "422", "500", "lost", "empty"],
)
def test_without_a_look_nothing_is_deleted(
    queue: RequestQueue, delete: Any, reply: Any, code: int | None, error_class: str
) -> None:
    expect_error(queue, reply, code or 200)
    result = delete()
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, error_class, code)
    assert (result["changed"], result["resource_id"]) == (False, RESOURCE_ID)


@pytest.mark.parametrize(
    ("code", "headers", "error_class"),
    [
        (400, {}, "invalid"),
        (401, {}, "auth"),
        (403, {}, "auth"),
        (422, {}, "invalid"),
        (429, {}, "rate_limited"),
        (429, {"Retry-After": "9"}, "rate_limited"),
    ],
)
def test_a_refused_deletion_leaves_a_machine_that_is_billed(
    queue: RequestQueue, delete: Any, code: int, headers: Any, error_class: str
) -> None:
    expect_look(queue, "running").expect(*DELETE, {"detail": "because"}, code, headers=headers)
    result = delete()
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, error_class, code)
    assert (result["changed"], result["resource_id"]) == (False, RESOURCE_ID)
    assert result["msg"].endswith(STILL)


@pytest.mark.parametrize(
    ("reply", "code"),
    [(LOST, 200), ({}, 500), (b"<html>", 502), ([], 200), ({}, 503)],
    ids=["lost", "500", "502", "list", "503 with Retry-After"],
)
def test_a_lost_answer_is_asked_after_and_never_sent_again(
    queue: RequestQueue, delete: Any, naps: list[float], reply: Any, code: int
) -> None:
    headers = {"Retry-After": "9"} if code == 503 else {}
    expect_look(queue, "running").expect(*DELETE, reply, code, headers=headers)
    expect_look(expect_error(expect_look(queue, "running"), {}, 503), "deleting", "deleted")
    result = delete(api_retries=0)
    assert (result["changed"], result["billing_stopped"]) == (True, True)
    assert queue.count(*DELETE) == 1
    assert naps == [operation.PAUSE] * 2


@pytest.mark.parametrize("code", [202, 204])
def test_an_acceptance_without_a_body_is_one(queue: RequestQueue, delete: Any, code: int) -> None:
    expect_list(expect_error(expect_look(queue, "running").expect(*DELETE, b"", code), NOT_FOUND, 404))
    result = delete()
    assert (result["changed"], result["billing_stopped"]) == (True, True)


def test_a_resource_that_was_seen_to_end_after_a_lost_answer_was_deleted(queue: RequestQueue, delete: Any) -> None:
    expect_list(
        expect_error(expect_look(expect_look(queue, "running").expect(*DELETE, LOST), "deleting"), NOT_FOUND, 404)
    )
    assert delete()["billing_stopped"] is True


@pytest.mark.parametrize(("reply", "code"), [(LOST, 200), ({}, 500), (b"<html>", 200)], ids=["lost", "500", "html"])
def test_a_resource_that_is_unknown_after_a_lost_answer_leaves_the_outcome_open(
    queue: RequestQueue, delete: Any, reply: Any, code: int
) -> None:
    expect_look(queue, "running").expect(*DELETE, reply, code)
    for _look in range(operation.SETTLE_LOOKS):
        expect_error(queue, NOT_FOUND, 404)
    result = delete()
    assert (result["failed"], result["error_class"], result["changed"]) == (True, "unknown_outcome", True)
    assert "is being deleted is not known" in result["msg"] and result["msg"].endswith(STILL)


def test_a_lost_answer_that_nothing_comes_of_leaves_the_outcome_open(
    queue: RequestQueue, delete: Any, naps: list[float]
) -> None:
    expect_look(queue, "running").expect(*DELETE, {}, 500)
    expect_look(queue, *["running"] * operation.SETTLE_LOOKS)
    result = delete()
    assert (result["failed"], result["error_class"], result["changed"]) == (True, "unknown_outcome", True)
    assert (result["status_code"], result["resource_id"]) == (500, RESOURCE_ID)
    assert STILL in result["msg"]
    assert len(naps) == operation.SETTLE_LOOKS - 1


# Waiting


@pytest.mark.parametrize(
    ("wait_timeout", "naps_taken"), [(0, []), (5, [5]), (5.5, [5, 0.5]), (7, [5, 2]), (20, [5] * 4)]
)
def test_a_resource_that_does_not_end_is_a_failure(
    queue: RequestQueue, delete: Any, naps: list[float], wait_timeout: float, naps_taken: list[float]
) -> None:
    expect_look(queue, "running").expect(*DELETE, {})
    expect_look(queue, *["deleting"] * (len(naps_taken) + 1))
    result = delete(wait_timeout=wait_timeout)
    assert (result["failed"], result["error_class"], result["changed"]) == (True, "unavailable", True)
    assert f"is not gone after {wait_timeout} seconds: the API still says 'deleting'. {STILL}" in result["msg"]
    assert (result["resource_id"], result["resource"]["status"]) == (RESOURCE_ID, "deleting")
    assert naps == naps_taken


@pytest.mark.parametrize(
    ("word", "said"), [("running", "the API still says 'running'"), (None, "the API gives no state")]
)
def test_a_deletion_that_does_nothing_is_not_called_one(queue: RequestQueue, delete: Any, word: Any, said: str) -> None:
    expect_look(expect_look(queue, "running").expect(*DELETE, {}), word)
    assert f"is not gone after 0 seconds: {said}. {STILL}" in delete(wait_timeout=0)["msg"]


def test_errors_that_may_pass_are_looked_past(queue: RequestQueue, delete: Any) -> None:
    expect_look(queue, "running").expect(*DELETE, {})
    for reply, code in ((LOST, 200), ({}, 503), (b"<html>", 200)):
        expect_error(queue, reply, code)
    expect_look(queue, "deleted")
    assert delete()["billing_stopped"] is True


def test_the_last_error_is_told_when_the_wait_is_over(queue: RequestQueue, delete: Any) -> None:
    expect_error(expect_look(queue, "running").expect(*DELETE, {}), {}, 503)
    result = delete(wait_timeout=0)
    assert (result["failed"], result["changed"]) == (True, True)
    assert f"answered 503. {STILL}" in result["msg"]


def test_an_error_that_does_not_pass_ends_the_wait(queue: RequestQueue, delete: Any) -> None:
    expect_error(expect_look(queue, "running").expect(*DELETE, {}), {}, 401)
    result = delete()
    assert (result["failed"], result["error_class"], result["changed"]) == (True, "auth", True)
    assert result["msg"].endswith(STILL)
    assert result["resource_id"] == RESOURCE_ID


def test_a_bug_leaves_the_end_open_and_tells_no_secret(delete: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_args: Any, **_options: Any) -> None:
        raise KeyError(TOKEN)

    monkeypatch.setattr(SupplyApi, "resource", burst)
    result = delete()
    assert (result["failed"], result["error_class"], result["changed"]) == (True, "unknown_outcome", True)
    assert result["resource_id"] == RESOURCE_ID
    assert "bug of the collection" in result["msg"] and "still be billed" in result["msg"]
    assert TOKEN not in repr(result)


# Listing


@pytest.fixture
def info(perform: Callable[..., Result]) -> Callable[..., Result]:
    return lambda check_mode=False, **params: perform(RESOURCE_INFO, check_mode, **params)


ALL = [
    resource(),
    resource(SECOND_RESOURCE_ID, None, name="other", status="deleting"),
    resource("r3", name=None, status=None),
]


@pytest.mark.parametrize(
    ("params", "ids"),
    [
        ({}, [RESOURCE_ID, SECOND_RESOURCE_ID, "r3"]),
        ({"name": "trainer"}, [RESOURCE_ID]),
        ({"name": "train"}, []),
        ({"name": "Trainer"}, []),
        ({"states": ["running"]}, [RESOURCE_ID]),
        ({"states": [" Running ", "DELETING"]}, [RESOURCE_ID, SECOND_RESOURCE_ID]),
        ({"states": []}, [RESOURCE_ID, SECOND_RESOURCE_ID, "r3"]),
        ({"name": "other", "states": ["running"]}, []),
    ],
    ids=str,
)
def test_all_that_is_given_must_match(queue: RequestQueue, info: Any, params: Any, ids: list[str]) -> None:
    queue.expect("GET", "/resources", ALL)
    result = info(**params)
    assert [item["resource_id"] for item in result["resources"]] == ids
    assert result["changed"] is False


@pytest.mark.parametrize(
    ("kinds", "listed"),
    [
        ({}, ["vm", "block_disk", "network", "warp-core", None]),
        ({"kinds": None}, ["vm", "block_disk", "network", "warp-core", None]),
        ({"kinds": []}, ["vm", "block_disk", "network", "warp-core", None]),
        ({"kinds": ["machine"]}, ["vm", "warp-core", None]),
        ({"kinds": ["storage"]}, ["block_disk"]),
        ({"kinds": ["other", "storage"]}, ["block_disk", "network"]),
    ],
    ids=str,
)
def test_resources_are_of_the_kinds_that_are_asked_for(
    queue: RequestQueue, info: Any, kinds: Any, listed: list[str | None]
) -> None:
    words = ["vm", "block_disk", "network", "warp-core", None]
    queue.expect("GET", "/resources", [resource(f"r-{word}", resource_type=word) for word in words])
    assert [item["resource_type"] for item in info(**kinds)["resources"]] == listed


def test_only_what_is_of_the_kind_is_read_fresh(queue: RequestQueue, info: Any) -> None:
    disk = resource(SECOND_RESOURCE_ID, **DISK)
    queue.expect("GET", "/resources", [resource(), disk])
    queue.expect("GET", f"/resources/{SECOND_RESOURCE_ID}", disk, query={"force_refresh": "true"})
    assert [item["kind"] for item in info(kinds=["storage"], force_refresh=True)["resources"]] == ["storage"]


@pytest.mark.parametrize("word", ["block_disk", "network", "warp-core"])
def test_only_a_known_kind_of_machine_has_an_address_to_log_in_to(queue: RequestQueue, info: Any, word: str) -> None:
    queue.expect("GET", "/resources", [resource(resource_type=word)])
    (described,) = info()["resources"]
    assert (described["ansible_host"], described["access"]["external_ip"]) == (None, "203.0.113.7")


def test_a_resource_is_described(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", "/resources", {"items": ALL})
    first, second, third = info(True)["resources"]
    assert (first["live"], first["ansible_host"], first["ansible_port"]) == (True, "203.0.113.7", 22)
    assert (second["live"], second["ansible_host"]) == (False, None)
    assert (third["live"], third["status"], third["price_per_hour"]) == (True, None, 2.0)


def test_the_resources_of_an_offer_are_asked_for(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", "/resources", [resource()], query={"offer_id": OFFER_ID})
    assert len(info(offer_id=OFFER_ID.upper())["resources"]) == 1


def test_one_resource_is_read(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", PATH, resource())
    assert info(resource_id=RESOURCE_ID)["resources"][0]["name"] == "trainer"


def test_an_unknown_resource_is_a_failure(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", PATH, NOT_FOUND, 404)
    result = info(resource_id=RESOURCE_ID)
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, "not_found", 404)


@pytest.mark.parametrize(
    ("word", "live", "gone"),
    [
        ("running", True, False),
        ("hibernating", True, False),
        (None, True, False),
        ("failed", False, False),
        ("deleting", False, False),
        (" Deleted ", False, True),
        ("TERMINATED", False, True),
    ],
)
def test_a_state_says_whether_a_resource_lives_or_is_gone(
    queue: RequestQueue, info: Any, word: str | None, live: bool, gone: bool
) -> None:
    queue.expect("GET", "/resources", [resource(status=word)])
    found = info()["resources"][0]
    assert (found["live"], found["gone"]) == (live, gone)


# Asking the vendors


def test_one_resource_is_read_fresh(queue: RequestQueue, info: Any) -> None:
    expect_look(queue, "running")
    assert info(resource_id=RESOURCE_ID, force_refresh=True)["resources"][0]["status"] == "running"


@pytest.mark.parametrize(
    ("params", "asked"),
    [({}, [RESOURCE_ID, SECOND_RESOURCE_ID]), ({"name": "other"}, [SECOND_RESOURCE_ID]), ({"name": "none"}, [])],
    ids=str,
)
def test_of_a_list_each_that_may_match_is_read_fresh(
    queue: RequestQueue, info: Any, params: Any, asked: list[str]
) -> None:
    queue.expect("GET", "/resources", ALL[:2], query={"offer_id": OFFER_ID})
    for key in asked:
        queue.expect("GET", f"/resources/{key}", resource(key, status="deleted"), query={"force_refresh": "true"})
    found = info(offer_id=OFFER_ID, force_refresh=True, **params)["resources"]
    assert [(item["resource_id"], item["gone"]) for item in found] == [(key, True) for key in asked]


@pytest.mark.parametrize(("states", "count"), [(["deleted"], 1), (["running"], 0)])
def test_states_are_those_that_the_vendor_tells(queue: RequestQueue, info: Any, states: list[str], count: int) -> None:
    expect_look(queue.expect("GET", "/resources", [resource()]), "deleted")
    assert len(info(states=states, force_refresh=True)["resources"]) == count


def test_what_has_no_page_is_shown_as_it_was_listed(queue: RequestQueue, info: Any) -> None:
    """A replica may be behind, and not every kind of resource may have a page: a volume would be billed unseen."""
    expect_error(queue.expect("GET", "/resources", [resource(status="stopped")]), NOT_FOUND, 404)
    assert [item["status"] for item in info(force_refresh=True)["resources"]] == ["stopped"]


def test_what_a_page_leaves_out_is_shown_as_it_was_listed(queue: RequestQueue, info: Any) -> None:
    expect_look(queue.expect("GET", "/resources", [resource()]), "stopped", name=None, offer_history=None)
    (found,) = info(force_refresh=True)["resources"]
    assert (found["status"], found["name"], found["offer_id"]) == ("stopped", "trainer", OFFER_ID)


@pytest.mark.parametrize(("code", "error_class"), [(500, "unavailable"), (403, "auth"), (429, "rate_limited")])
def test_a_fresh_look_that_fails_leaves_no_short_list(
    queue: RequestQueue, info: Any, code: int, error_class: str
) -> None:
    queue.expect("GET", "/resources", ALL[:2]).show(ALL[0], {}, code).show(ALL[1])
    result = info(force_refresh=True)
    assert (result["failed"], result["error_class"]) == (True, error_class)
    assert "resources" not in result


def test_one_without_an_id_cannot_be_read_fresh_and_is_shown_as_it_was_listed(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", "/resources", [resource(None)])
    result = info(force_refresh=True)
    assert [(item["resource_id"], item["name"]) for item in result["resources"]] == [(None, "trainer")]
    assert "failed" not in result


# What is no list


@pytest.mark.parametrize("params", [{"resource_id": "trainer"}, {"offer_id": "*"}])
def test_a_bad_id_sends_nothing(queue: RequestQueue, info: Any, params: Any) -> None:
    result = info(**params)
    assert (result["failed"], result["error_class"]) == (True, "invalid")
    assert queue.calls == []


def test_an_api_that_fails_is_no_empty_list(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", "/resources", {}, 500)
    result = info()
    assert result["failed"] is True and "resources" not in result


def test_an_error_that_nobody_caught_is_a_failure(info: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise ApiError("No.", "rate_limited", status_code=429, retry_after=7.0)

    monkeypatch.setattr(SupplyApi, "resources", fail)
    assert info()["retry_after"] == 7.0
