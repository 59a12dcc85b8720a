# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deletion of one resource: it is gone only if the API confirms that."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import SupplyApi
from ansible_collections.compute_index.supply.plugins.module_utils._operations import delete_resource as operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations.delete_resource import (
    BLANK,
    DELETE_RESOURCE,
)

from request_queue import LOST, RequestQueue
from samples import NOT_FOUND, OTHER_ID, RESOURCE_ID, SECOND_RESOURCE_ID, TOKEN, resource

Result = dict[str, Any]
PATH = f"/resources/{RESOURCE_ID}"
DELETE = "DELETE", PATH
MAY_BE_BILLED = "It may still be billed at USD 2.00 per hour."


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between looks, in seconds. The clock moves only then."""
    pauses: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(pauses), sleep=pauses.append)
    monkeypatch.setattr(operation, "time", clock)
    return pauses


@pytest.fixture
def delete(perform: Callable[..., Result]) -> Callable[..., Result]:
    """``delete(check_mode=False, **params)``; checks the fields that each result has."""

    def run(check_mode: bool = False, **params: Any) -> Result:
        result = perform(DELETE_RESOURCE, check_mode, **{"resource_id": RESOURCE_ID, **params})
        assert BLANK.keys() | {"msg"} <= result.keys()
        if result.get("failed"):
            assert {"error_class", "status_code"} <= result.keys()
            assert result["billing_stopped"] is False
        return result

    return run


def expect_look(queue: RequestQueue, *statuses: str | None, **fields: Any) -> RequestQueue:
    """Expect a fresh read of the resource for each of these statuses."""
    for status in statuses:
        queue.expect("GET", PATH, resource(status=status, **fields), query={"force_refresh": "true"})
    return queue


def expect_list(queue: RequestQueue, *statuses: str) -> RequestQueue:
    """Expect a read of the list, in which the resource has each of these statuses."""
    return queue.expect(
        "GET", "/resources", [resource(SECOND_RESOURCE_ID), *(resource(status=status) for status in statuses)]
    )


def expect_error(queue: RequestQueue, reply: Any, code: int = 200) -> RequestQueue:
    """Expect a fresh read with this answer, usually an error."""
    return queue.expect("GET", PATH, reply, code, query={"force_refresh": "true"})


@pytest.mark.parametrize("status", ["running", "provisioning", "failed", "stopped", "hibernating", None])
def test_delete_waits_until_resource_is_deleted(queue: RequestQueue, delete: Any, status: str | None) -> None:
    expect_look(queue, status).expect(*DELETE, {"status": "deleting", "message": "ok"})
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
        "status": status,
        "price_per_hour": 2.0,
    }
    assert result["diff"]["after"] == {}
    assert "failed" not in result


@pytest.mark.parametrize("force", [False, True])
def test_delete_sends_force(queue: RequestQueue, delete: Any, force: bool) -> None:
    expect_look(queue, "running").expect(*DELETE, {}, query={"force": "true"} if force else None)
    expect_look(queue, "deleted")
    assert delete(force=force)["billing_stopped"]


@pytest.mark.parametrize("code", [404, 410])
def test_404_after_accepted_deletion_means_gone(queue: RequestQueue, delete: Any, code: int) -> None:
    expect_list(expect_error(expect_look(queue, "running").expect(*DELETE, {}), NOT_FOUND, code))
    result = delete()
    assert (result["changed"], result["billing_stopped"], result["resource"]["status"]) == (True, True, "running")
    assert result["accepted"]


GATEWAY = [
    pytest.param(b"<html>404</html>", {"Content-Type": "text/html"}, id="HTML page"),
    pytest.param(NOT_FOUND, {"Content-Type": "text/html; charset=utf-8"}, id="JSON labelled as HTML"),
    pytest.param({"message": "no Route matched with those values"}, {}, id="JSON of a gateway"),
    pytest.param({"title": "Not Found", "status": 404, "detail": "No such host"}, {}, id="problem document"),
]


@pytest.mark.parametrize(("reply", "headers"), GATEWAY)
@pytest.mark.parametrize("last_status", ["deleted", "running"])
def test_404_of_gateway_does_not_mean_gone(
    queue: RequestQueue, delete: Any, reply: Any, headers: Any, last_status: str
) -> None:
    expect_look(queue, "running").expect(*DELETE, {})
    queue.expect("GET", PATH, reply, 404, query={"force_refresh": "true"}, headers=headers)
    expect_look(queue, last_status)
    result = delete(wait_timeout=operation.PAUSE)
    assert result["billing_stopped"] is (last_status == "deleted")
    assert result.get("failed", False) is (last_status == "running")


@pytest.mark.parametrize(
    ("second_answer", "is_gone"),
    [
        pytest.param((NOT_FOUND, 404), True, id="404 again"),
        pytest.param((resource(status="deleted"), 200), True, id="deleted"),
        pytest.param((resource(status="running"), 200), False, id="running"),
        pytest.param((resource(status="deleting"), 200), False, id="deleting"),
        pytest.param(({}, 502), False, id="unreadable"),
    ],
)
def test_second_read_decides_if_list_still_has_resource(
    queue: RequestQueue, delete: Any, second_answer: Any, is_gone: bool
) -> None:
    expect_look(queue, "running").expect(*DELETE, {})
    expect_error(expect_list(expect_error(queue, NOT_FOUND, 404), "running"), *second_answer)
    result = delete(wait_timeout=0)
    assert result["billing_stopped"] is is_gone
    assert result.get("failed", False) is not is_gone


@pytest.mark.parametrize("last_status", ["running", "deleting"])
def test_listed_resource_is_not_gone_while_its_page_may_return(
    queue: RequestQueue, delete: Any, last_status: str
) -> None:
    """A replica may answer some 404s about a machine whose accepted deletion did nothing."""
    expect_look(queue, "running").expect(*DELETE, {})
    for _look in range(2):
        expect_error(expect_list(expect_error(queue, NOT_FOUND, 404), "running"), NOT_FOUND, 404)
    expect_look(queue, last_status)
    result = delete(wait_timeout=2 * operation.PAUSE)
    assert (result["billing_stopped"], result["failed"]) == (False, True)


def test_resource_with_404s_until_last_look_is_gone_despite_list(queue: RequestQueue, delete: Any) -> None:
    expect_look(queue, "running").expect(*DELETE, {})
    for _look in range(3):
        expect_error(expect_list(expect_error(queue, NOT_FOUND, 404), "running"), NOT_FOUND, 404)
    assert delete(wait_timeout=2 * operation.PAUSE)["billing_stopped"]


@pytest.mark.parametrize("code", [404, 403, 503])
def test_404_does_not_mean_gone_if_list_is_unreadable(queue: RequestQueue, delete: Any, code: int) -> None:
    """An API that is being redeployed may answer 404 in its own form to all requests, for some time."""
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
def test_deletion_without_clear_answer_is_not_accepted(queue: RequestQueue, delete: Any, reply: Any, code: int) -> None:
    expect_look(queue, "running").expect(*DELETE, reply, code)
    expect_look(queue, *["running"] * operation.SETTLE_LOOKS)
    accepted_result = delete(wait=False)
    assert (accepted_result["changed"], accepted_result["accepted"], accepted_result["error_class"]) == (
        True,
        False,
        "unknown_outcome",
    )
    expect_error(queue, NOT_FOUND, 404)
    result = delete(accepted=accepted_result["accepted"])
    assert (result["failed"], result["billing_stopped"], result["error_class"]) == (True, False, "not_found")


def test_wait_for_accepted_deletion_survives_failed_first_look(queue: RequestQueue, delete: Any) -> None:
    expect_look(expect_error(queue, b"<html>", 502), "deleted")
    assert delete(accepted=True)["billing_stopped"] is True


def test_delete_without_wait_does_not_report_end_of_billing(queue: RequestQueue, delete: Any) -> None:
    expect_look(queue, "running").expect(*DELETE, {"status": "deleting"})
    result = delete(wait=False)
    assert (result["changed"], result["billing_stopped"]) == (True, False)
    assert result["msg"] == f"Machine {RESOURCE_ID} is being deleted."


DISK = {"resource_type": "block_disk"}
DELETED_WITH_DATA = f"Storage {RESOURCE_ID} is deleted with all its data."


def test_message_on_deleted_storage_mentions_its_data(queue: RequestQueue, delete: Any) -> None:
    expect_look(queue, "active", **DISK)
    planned = delete(True)
    assert planned["msg"] == (
        f"Storage {RESOURCE_ID} would be deleted with all its data, which saves USD 2.00 per hour."
    )
    assert planned["diff"]["before"]["kind"] == planned["resource"]["kind"] == "storage"
    expect_look(expect_look(queue, "active", **DISK).expect(*DELETE, {}), "deleted", **DISK)
    assert delete()["msg"] == DELETED_WITH_DATA
    expect_look(queue, "deleted", **DISK)
    assert delete()["msg"] == f"Storage {RESOURCE_ID} was deleted before with all its data."


# Nothing to delete


@pytest.mark.parametrize("status", ["deleted", "terminated"])
@pytest.mark.parametrize("check_mode", [False, True])
def test_gone_resource_is_not_deleted_again(queue: RequestQueue, delete: Any, status: str, check_mode: bool) -> None:
    expect_look(queue, status)
    result = delete(check_mode)
    assert (result["changed"], result["billing_stopped"]) == (False, True)
    assert result["msg"] == f"Machine {RESOURCE_ID} was deleted before."
    assert "diff" not in result


UNKNOWN = (
    f"It may run under another account, or the API may be behind. This run deleted nothing, and it may still be "
    f"billed. If it is gone for certain, forget it: decommission with -e decommission_forget={RESOURCE_ID}."
)


@pytest.mark.parametrize("check_mode", [False, True])
def test_delete_fails_for_unknown_resource(queue: RequestQueue, delete: Any, check_mode: bool) -> None:
    expect_error(queue, {"detail": "Not found"}, 404)
    result = delete(check_mode)
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, "not_found", 404)
    assert (result["changed"], result["billing_stopped"], result["resource"]) == (False, False, None)
    assert result["resource_id"] == RESOURCE_ID
    assert result["msg"] == f"GET {PATH} answered 404: Not found. {UNKNOWN}"


@pytest.mark.parametrize("status", ["running", "deleted"])
@pytest.mark.parametrize("other", [SECOND_RESOURCE_ID, "a b"])
def test_delete_stops_if_api_answers_about_another_resource(
    queue: RequestQueue, delete: Any, status: str, other: str
) -> None:
    expect_error(queue, resource(other, status=status))
    result = delete()
    assert (result["failed"], result["error_class"], result["changed"]) == (True, "protocol", False)
    assert result["msg"].endswith("another resource. Nothing was deleted.")


def test_ids_ignore_case(queue: RequestQueue, delete: Any) -> None:
    expect_error(queue, resource(RESOURCE_ID.upper(), status="deleted"))
    result = delete(resource_id=RESOURCE_ID.upper())
    assert (result["resource_id"], result["billing_stopped"]) == (RESOURCE_ID, True)


@pytest.mark.parametrize("status", ["deleting", "terminating"])
def test_resource_under_deletion_is_only_waited_for(queue: RequestQueue, delete: Any, status: str) -> None:
    expect_look(queue, status, status, "deleted")
    result = delete()
    assert (result["changed"], result["billing_stopped"]) == (False, True)


def test_404_after_status_deleting_means_gone(queue: RequestQueue, delete: Any) -> None:
    """Someone else has deleted it, or a run that was killed."""
    expect_list(expect_error(expect_look(queue, "deleting"), NOT_FOUND, 404))
    result = delete()
    assert (result["changed"], result["accepted"], result["billing_stopped"]) == (False, True, True)


def test_404_in_next_call_after_status_deleting_means_gone(queue: RequestQueue, delete: Any) -> None:
    expect_look(queue, "deleting")
    accepted_result = delete(wait=False)
    assert (accepted_result["changed"], accepted_result["accepted"]) == (False, True)
    expect_list(expect_error(expect_error(queue, NOT_FOUND, 404), NOT_FOUND, 404))
    assert delete(accepted=accepted_result["accepted"])["billing_stopped"] is True


@pytest.mark.parametrize("statuses", [(), ("deleting",)])
def test_404_after_deletion_accepted_by_earlier_call_means_gone(
    queue: RequestQueue, delete: Any, statuses: tuple[str, ...]
) -> None:
    if not statuses:
        expect_error(queue, NOT_FOUND, 404)
    expect_list(expect_error(expect_look(queue, *statuses), NOT_FOUND, 404))
    result = delete(accepted=True)
    assert (result["changed"], result["billing_stopped"], "failed" in result) == (False, True, False)
    assert result["msg"] == f"{'Machine' if statuses else 'Resource'} {RESOURCE_ID} is deleted."


def test_accepted_deletion_is_sent_again_if_resource_runs(queue: RequestQueue, delete: Any) -> None:
    expect_look(expect_look(queue, "running").expect(*DELETE, {}), "deleted")
    assert delete(accepted=True)["changed"]


@pytest.mark.parametrize("code", [404, 409])
def test_404_after_refused_deletion_does_not_mean_gone(queue: RequestQueue, delete: Any, code: int) -> None:
    expect_error(expect_look(queue, "running").expect(*DELETE, NOT_FOUND, code), NOT_FOUND, 404)
    result = delete()
    error_class = "conflict" if code == 409 else "not_found"
    assert (result["failed"], result["error_class"], result["changed"]) == (True, error_class, False)
    assert (result["status_code"], result["msg"].endswith(UNKNOWN)) == (code, code == 404)


@pytest.mark.parametrize("code", [404, 409])
@pytest.mark.parametrize("status", ["deleting", "deleted"])
def test_refused_deletion_succeeds_if_resource_is_being_deleted(
    queue: RequestQueue, delete: Any, code: int, status: str
) -> None:
    expect_look(queue, "running").expect(*DELETE, {"detail": "already deleted"}, code)
    expect_look(queue, status, "deleted")
    result = delete()
    assert (result["changed"], result["billing_stopped"]) == (False, True)


@pytest.mark.parametrize(
    ("code", "error_class", "force"),
    [(404, "not_found", False), (409, "conflict", False), (409, "conflict", True)],
)
def test_refused_deletion_of_running_resource_fails(
    queue: RequestQueue, delete: Any, code: int, error_class: str, force: bool
) -> None:
    answer, query = {"detail": "still provisioning"}, {"force": "true"} if force else None
    expect_look(queue, "provisioning").expect(*DELETE, answer, code, query=query)
    expect_look(queue, "provisioning")
    result = delete(force=force)
    assert (result["failed"], result["changed"], result["error_class"]) == (True, False, error_class)
    advice = MAY_BE_BILLED if code == 409 else "It may run under another account"
    assert result["resource_id"] == RESOURCE_ID and f"still provisioning. {advice}" in result["msg"]
    # Forcing the deletion may help, so it is advised.
    assert ("decommission_force=true" in result["msg"]) is (error_class == "conflict" and not force)


def test_conflict_without_readable_status_fails(queue: RequestQueue, delete: Any) -> None:
    expect_error(expect_look(queue, "running").expect(*DELETE, {}, 409), {}, 500)
    result = delete()
    assert (result["failed"], result["resource_id"]) == (True, RESOURCE_ID)
    assert MAY_BE_BILLED in result["msg"]


# Check mode


def test_check_mode_reports_savings(queue: RequestQueue, delete: Any) -> None:
    expect_look(queue, "running")
    result = delete(True)
    assert (result["changed"], result["billing_stopped"]) == (True, False)
    assert result["msg"] == f"Machine {RESOURCE_ID} would be deleted, which saves USD 2.00 per hour."
    assert result["diff"]["before"]["status"] == "running"
    assert {call.method for call in queue.calls} == {"GET"}


@pytest.mark.parametrize("status", ["deleting", "terminating"])
def test_check_mode_does_not_wait(queue: RequestQueue, delete: Any, status: str) -> None:
    expect_look(queue, status)
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
def test_delete_with_invalid_options_sends_nothing(queue: RequestQueue, delete: Any, params: Any) -> None:
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
def test_nothing_is_deleted_if_first_look_fails(
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
def test_refused_deletion_reports_possible_bill(
    queue: RequestQueue, delete: Any, code: int, headers: Any, error_class: str
) -> None:
    expect_look(queue, "running").expect(*DELETE, {"detail": "because"}, code, headers=headers)
    result = delete()
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, error_class, code)
    assert (result["changed"], result["resource_id"]) == (False, RESOURCE_ID)
    assert result["msg"].endswith(MAY_BE_BILLED)


@pytest.mark.parametrize(
    ("reply", "code"),
    [(LOST, 200), ({}, 500), (b"<html>", 502), ([], 200), ({}, 503)],
    ids=["lost", "500", "502", "list", "503 with Retry-After"],
)
def test_deletion_with_lost_answer_is_checked_and_not_repeated(
    queue: RequestQueue, delete: Any, pauses: list[float], reply: Any, code: int
) -> None:
    headers = {"Retry-After": "9"} if code == 503 else {}
    expect_look(queue, "running").expect(*DELETE, reply, code, headers=headers)
    expect_look(expect_error(expect_look(queue, "running"), {}, 503), "deleting", "deleted")
    result = delete(api_retries=0)
    assert (result["changed"], result["billing_stopped"]) == (True, True)
    assert queue.count(*DELETE) == 1
    assert pauses == [operation.PAUSE] * 2


@pytest.mark.parametrize("code", [202, 204])
def test_2xx_without_body_accepts_deletion(queue: RequestQueue, delete: Any, code: int) -> None:
    expect_list(expect_error(expect_look(queue, "running").expect(*DELETE, b"", code), NOT_FOUND, 404))
    result = delete()
    assert (result["changed"], result["billing_stopped"]) == (True, True)


def test_404_after_lost_answer_and_status_deleting_means_gone(queue: RequestQueue, delete: Any) -> None:
    expect_list(
        expect_error(expect_look(expect_look(queue, "running").expect(*DELETE, LOST), "deleting"), NOT_FOUND, 404)
    )
    assert delete()["billing_stopped"] is True


@pytest.mark.parametrize(("reply", "code"), [(LOST, 200), ({}, 500), (b"<html>", 200)], ids=["lost", "500", "html"])
def test_404_after_lost_answer_leaves_outcome_unknown(queue: RequestQueue, delete: Any, reply: Any, code: int) -> None:
    expect_look(queue, "running").expect(*DELETE, reply, code)
    for _look in range(operation.SETTLE_LOOKS):
        expect_error(queue, NOT_FOUND, 404)
    result = delete()
    assert (result["failed"], result["error_class"], result["changed"]) == (True, "unknown_outcome", True)
    assert "It is not known whether" in result["msg"] and result["msg"].endswith(MAY_BE_BILLED)


def test_running_resource_after_lost_answer_leaves_outcome_unknown(
    queue: RequestQueue, delete: Any, pauses: list[float]
) -> None:
    expect_look(queue, "running").expect(*DELETE, {}, 500)
    expect_look(queue, *["running"] * operation.SETTLE_LOOKS)
    result = delete()
    assert (result["failed"], result["error_class"], result["changed"]) == (True, "unknown_outcome", True)
    assert (result["status_code"], result["resource_id"]) == (500, RESOURCE_ID)
    assert MAY_BE_BILLED in result["msg"]
    assert len(pauses) == operation.SETTLE_LOOKS - 1


# Waiting


@pytest.mark.parametrize(
    ("wait_timeout", "expected_pauses"), [(0, []), (5, [5]), (5.5, [5, 0.5]), (7, [5, 2]), (20, [5] * 4)]
)
def test_delete_fails_if_resource_is_not_gone_in_time(
    queue: RequestQueue, delete: Any, pauses: list[float], wait_timeout: float, expected_pauses: list[float]
) -> None:
    expect_look(queue, "running").expect(*DELETE, {})
    expect_look(queue, *["deleting"] * (len(expected_pauses) + 1))
    result = delete(wait_timeout=wait_timeout)
    assert (result["failed"], result["error_class"], result["changed"]) == (True, "unavailable", True)
    assert f"is not gone after {wait_timeout} seconds: the API still says 'deleting'. {MAY_BE_BILLED}" in result["msg"]
    assert (result["resource_id"], result["resource"]["status"]) == (RESOURCE_ID, "deleting")
    assert pauses == expected_pauses


@pytest.mark.parametrize(
    ("resource_type", "status", "expected_reason"),
    [
        ("vm", "running", "the API still says 'running'"),
        ("vm", None, "the API gives no state"),
        ("block_disk", "active", "the API still says 'active'"),
        ("public_ip", "active", "the API still says 'active'"),
    ],
)
def test_message_on_undeleted_resource_quotes_its_status(
    queue: RequestQueue, delete: Any, resource_type: str, status: Any, expected_reason: str
) -> None:
    fields = {"resource_type": resource_type}
    expect_look(expect_look(queue, "running", **fields).expect(*DELETE, {}), status, **fields)
    not_gone = f"{RESOURCE_ID} is not gone after 0 seconds: {expected_reason}."
    assert delete(wait_timeout=0)["msg"] == f"{not_gone} {MAY_BE_BILLED}"


def test_wait_continues_after_transient_errors(queue: RequestQueue, delete: Any) -> None:
    expect_look(queue, "running").expect(*DELETE, {})
    for reply, code in ((LOST, 200), ({}, 503), (b"<html>", 200)):
        expect_error(queue, reply, code)
    expect_look(queue, "deleted")
    assert delete()["billing_stopped"] is True


def test_last_error_is_reported_when_wait_is_over(queue: RequestQueue, delete: Any) -> None:
    expect_error(expect_look(queue, "running").expect(*DELETE, {}), {}, 503)
    result = delete(wait_timeout=0)
    assert (result["failed"], result["changed"]) == (True, True)
    assert f"answered 503. {MAY_BE_BILLED}" in result["msg"]


def test_permanent_error_ends_wait(queue: RequestQueue, delete: Any) -> None:
    expect_error(expect_look(queue, "running").expect(*DELETE, {}), {}, 401)
    result = delete()
    assert (result["failed"], result["error_class"], result["changed"]) == (True, "auth", True)
    assert result["msg"].endswith(MAY_BE_BILLED)
    assert result["resource_id"] == RESOURCE_ID


def test_unexpected_exception_leaves_outcome_unknown_and_hides_token(
    delete: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_args: Any, **_options: Any) -> None:
        raise KeyError(TOKEN)

    monkeypatch.setattr(SupplyApi, "resource", burst)
    result = delete()
    assert (result["failed"], result["error_class"], result["changed"]) == (True, "unknown_outcome", True)
    assert result["resource_id"] == RESOURCE_ID
    assert "bug of the collection" in result["msg"] and "still be billed" in result["msg"]
    assert TOKEN not in repr(result)
