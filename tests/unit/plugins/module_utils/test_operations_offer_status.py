# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of one offer or of many: each result has all keys, and is terminal once waiting is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api import client
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import SupplyApi
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import (
    OFFER_STATUS,
    offer_statuses,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from request_queue import LOST, RequestQueue
from samples import (
    OFFER_ID,
    OTHER_ID,
    RESOURCE_ID,
    SECOND_RESOURCE_ID,
    STATUS_PATH,
    TOKEN,
    instance,
    resource,
    status,
)

Result = dict[str, Any]
GetStatus = Callable[..., Result]
A, B = "203.0.113.7", "203.0.113.8"
CONNECTION = {"resource_id": RESOURCE_ID, "ansible_host": A, "ansible_port": 22, "ansible_user": "root"}


@pytest.fixture
def get_status(perform: Callable[..., Result]) -> GetStatus:
    """``get_status(check_mode=False, **params)``; checks the fields that each result has."""

    def run(check_mode: bool = False, **params: Any) -> Result:
        result = perform(OFFER_STATUS, check_mode, **{"offer_id": OFFER_ID, **params})
        assert OFFER_STATUS.blank.keys() <= result.keys()
        assert result["changed"] is False
        for name in ("ready", "terminal", "transient_error"):
            assert result[name].__class__ is bool
        for name in ("instances", "connections", "resource_ids"):
            assert isinstance(result[name], list)
        assert result["msg"]
        assert not (result["ready"] and (result["transient_error"] or not result["terminal"]))
        assert not (result["transient_error"] and result["terminal"])
        return result

    return run


def state_of(result: Result) -> tuple[Any, ...]:
    return result["phase"], result["ready"], result["terminal"], result["transient_error"]


def expect_ready(queue: RequestQueue, instances: list[Any], listed: list[Any], **fields: Any) -> None:
    """Expect the two reads of an offer that the API calls ready. Its resources' own pages agree with the list."""
    for each in listed:
        queue.show(each)
    queue.expect("GET", STATUS_PATH, status("ready", instances=instances, **fields))
    queue.expect("GET", "/resources", listed, query={"offer_id": OFFER_ID})


# Phases


@pytest.mark.parametrize(
    ("state", "expected", "msg"),
    [
        (status("available"), ("unbought", False, False, False), "is not bought (yet): the API says 'available'."),
        (status("pending"), ("unbought", False, False, False), "is not bought (yet): the API says 'pending'."),
        (
            status(None, "available"),
            ("unbought", False, False, False),
            "is not bought (yet): the API says 'available'.",
        ),
        (status("provisioning_started"), ("going_on", False, False, False), "is under way: provisioning_started."),
        (
            status("provisioning_in_progress", progress="2/4 instances running"),
            ("going_on", False, False, False),
            "is under way: provisioning_in_progress, 2/4 instances running.",
        ),
        (status("provisioning"), ("going_on", False, False, False), "is under way: provisioning."),
        (status("queued"), ("going_on", False, False, False), "is under way: queued."),
        (status(None, "procured"), ("going_on", False, False, False), "is under way: procured."),
        (status("available", "expired"), ("expired", False, True, False), "has expired without being bought."),
        (
            status("failed", failure_reason="no stock"),
            ("failed", False, True, False),
            "failed: no stock.",
        ),
        (status("failed"), ("failed", False, True, False), "failed: the API gives no reason."),
        (
            status("failed", resource_ids=[RESOURCE_ID]),
            ("failed", False, True, False),
            f"failed: the API gives no reason. These resources may still be billed: {RESOURCE_ID}.",
        ),
        (status(None, "failed"), ("failed", False, True, False), "failed: the API gives no reason."),
    ],
    ids=lambda value: f"{value['procurement_status']}-{value['status']}" if isinstance(value, dict) else "",
)
def test_phase_and_message_follow_status(
    queue: RequestQueue, get_status: GetStatus, state: Any, expected: Any, msg: str
) -> None:
    queue.expect("GET", STATUS_PATH, state)
    result = get_status()
    assert state_of(result) == expected
    assert result["msg"] == f"Offer {OFFER_ID} {msg}"
    assert (result["status"], result["procurement_status"]) == (state["status"], state["procurement_status"])
    assert "failed" not in result


def test_offer_with_running_machine_is_ready(queue: RequestQueue, get_status: GetStatus) -> None:
    expect_ready(queue, [instance(A)], [resource()], resource_ids=[RESOURCE_ID], progress="1/1")
    result = get_status()
    assert state_of(result) == ("ready", True, True, False)
    assert result["msg"] == f"Offer {OFFER_ID} is ready: 1 instance(s)."
    assert result["connections"] == [CONNECTION]
    assert result["instances"][0] == {**instance(A), **CONNECTION, "name": "trainer"}
    assert (result["resource_ids"], result["offer_id"], result["progress"]) == ([RESOURCE_ID], OFFER_ID, "1/1")
    assert result["procured_at"] == "2026-01-31T12:01:00Z"


def test_ssh_port_of_resource_is_used(queue: RequestQueue, get_status: GetStatus) -> None:
    expect_ready(queue, [instance(A)], [resource(access={"external_ip": A, "ssh_port": 22022})])
    assert get_status()["connections"] == [{**CONNECTION, "ansible_port": 22022}]


def test_address_of_resource_is_used_if_instance_has_no_address(queue: RequestQueue, get_status: GetStatus) -> None:
    expect_ready(queue, [instance(None)], [resource()])
    result = get_status()
    assert (result["ready"], result["connections"]) == (True, [CONNECTION])


def test_resources_are_machines_if_status_has_no_instances(queue: RequestQueue, get_status: GetStatus) -> None:
    expect_ready(queue, [], [resource(), resource(SECOND_RESOURCE_ID, B)])
    result = get_status()
    assert result["ready"]
    assert [item["ansible_host"] for item in result["connections"]] == [A, B]
    assert result["resource_ids"] == [RESOURCE_ID, SECOND_RESOURCE_ID]


# Ready without being usable


@pytest.mark.parametrize(
    ("instances", "resources", "msg"),
    [
        ([], [], "the API names no instance yet"),
        ([instance(None)], [resource(ip=None)], "1 of 1 instances have no address yet"),
        ([instance(A), instance(None)], [], "1 of 2 instances have no address yet"),
        ([instance("-oProxyCommand=id", ssh_command=None)], [], "1 of 1 instances have no address yet"),
        ([], [resource(), resource(SECOND_RESOURCE_ID, None)], "1 of 2 instances have no address yet"),
    ],
    ids=["no instance", "no address", "one without address", "hostile address", "resource without address"],
)
def test_offer_is_not_ready_while_an_address_is_missing(
    queue: RequestQueue, get_status: GetStatus, instances: Any, resources: Any, msg: str
) -> None:
    expect_ready(queue, instances, resources)
    result = get_status()
    assert state_of(result) == ("ready", False, False, True)
    assert result["msg"] == f"Offer {OFFER_ID}: {msg}."
    assert len(result["connections"]) == sum(item["ansible_host"] is not None for item in result["instances"])


@pytest.mark.parametrize(
    ("reply", "code"),
    [(LOST, 200), ({}, 503), ({}, 500), ({"detail": "no"}, 404), ({}, 403), (b"<html>", 200), ({"detail": "?"}, 200)],
    ids=["lost", "503", "500", "404", "403", "HTML", "no list"],
)
def test_offer_is_ready_without_list_if_status_has_addresses(
    queue: RequestQueue, get_status: GetStatus, reply: Any, code: int
) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", instances=[instance(A, ssh_command=f"ssh root@{A} -p 23")]))
    queue.expect("GET", "/resources", reply, code, query={"offer_id": OFFER_ID})
    result = get_status()
    assert state_of(result) == ("ready", True, True, False)
    assert result["connections"] == [{**CONNECTION, "resource_id": None, "ansible_port": 23}]


@pytest.mark.parametrize(
    "instances",
    [[], [instance(A, ssh_command=None)], [instance(A), instance(None)]],
    ids=["no instances", "no port", "one without an address"],
)
@pytest.mark.parametrize(("reply", "code"), [(LOST, 200), ({}, 503), (b"<html>", 200)], ids=["lost", "503", "HTML"])
def test_offer_waits_for_list_if_status_lacks_addresses(
    queue: RequestQueue, get_status: GetStatus, instances: Any, reply: Any, code: int
) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", instances=instances))
    queue.expect("GET", "/resources", reply, code, query={"offer_id": OFFER_ID})
    assert state_of(get_status())[1:] == (False, False, True)


@pytest.mark.parametrize("code", [500, 403], ids=["transient error", "failure"])
def test_ids_of_status_are_returned_if_list_fails(queue: RequestQueue, get_status: GetStatus, code: int) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
    queue.expect("GET", "/resources", {}, code, query={"offer_id": OFFER_ID})
    assert get_status()["resource_ids"] == [RESOURCE_ID]


# Ended


@pytest.mark.parametrize("statuses", [["deleted"], ["terminated"], ["terminated", "deleted"]], ids=str)
def test_offer_has_ended_if_all_machines_are_deleted(
    queue: RequestQueue, get_status: GetStatus, statuses: list[str]
) -> None:
    ids = [RESOURCE_ID, SECOND_RESOURCE_ID][: len(statuses)]
    machines = [resource(key, status=each) for key, each in zip(ids, statuses, strict=True)]
    expect_ready(queue, [instance(A)], machines, resource_ids=ids)
    result = get_status()
    assert state_of(result) == ("ended", False, True, False)
    assert result["msg"] == f"Offer {OFFER_ID} was bought, but all its machines have been deleted since."
    assert result["resource_ids"] == ids


@pytest.mark.parametrize(
    ("statuses", "id_count", "msg"),
    [
        (["deleting"], 1, "its machines are being deleted"),
        (["deleting", "deleted"], 0, "its machines are being deleted"),
        (["deleted"], 2, "its machines are being deleted, or the API does not list them any more"),
    ],
)
def test_offer_has_not_ended_while_a_machine_may_exist(
    queue: RequestQueue, get_status: GetStatus, statuses: list[str], id_count: int, msg: str
) -> None:
    both = [RESOURCE_ID, SECOND_RESOURCE_ID]
    machines = [resource(key, status=each) for key, each in zip(both, statuses, strict=False)]
    expect_ready(queue, [instance(A)], machines, resource_ids=both[:id_count])
    result = get_status()
    assert state_of(result) == ("ready", False, False, True)
    assert (result["msg"], result["connections"]) == (f"Offer {OFFER_ID}: {msg}.", [])


def test_machines_of_other_offers_are_ignored(queue: RequestQueue, get_status: GetStatus) -> None:
    """The API may ignore the filter of the list, or link a machine to a second offer."""
    others = [
        resource(SECOND_RESOURCE_ID, offer_history=[{"offer_id": OTHER_ID}], status="deleted"),
        resource(SECOND_RESOURCE_ID, offer_history=[{"offer_id": OTHER_ID, "role": "primary"}, {"offer_id": OFFER_ID}]),
        resource(SECOND_RESOURCE_ID, offer_history=[]),
    ]
    expect_ready(queue, [], others)
    result = get_status()
    assert (state_of(result), result["resource_ids"]) == (("ready", False, False, True), [])
    expect_ready(queue, [], [*others, resource(ip=B)])
    result = get_status()
    assert (state_of(result), result["resource_ids"]) == (("ready", True, True, False), [RESOURCE_ID])
    assert [each["ansible_host"] for each in result["connections"]] == [B]


@pytest.mark.parametrize("reason", [None, "no power"])
def test_offer_has_failed_if_its_machines_failed(
    queue: RequestQueue, get_status: GetStatus, reason: str | None
) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", instances=[instance(A)], failure_reason=reason))
    machines = [resource(status="failed"), resource(SECOND_RESOURCE_ID, status="deleted")]
    for each in machines:
        queue.show(each)
    queue.expect("GET", "/resources", machines, query={"offer_id": OFFER_ID})
    result = get_status()
    assert state_of(result) == ("failed", False, True, False)
    billed = f"These resources may still be billed: {RESOURCE_ID}."
    assert result["msg"] == f"Offer {OFFER_ID} failed: {reason or 'its machines have failed'}. {billed}"
    assert result["resource_ids"] == [RESOURCE_ID]


@pytest.mark.parametrize(
    "instances",
    [[], [instance(A, resource_id=RESOURCE_ID), instance(B, resource_id=SECOND_RESOURCE_ID)]],
    ids=["no instances", "instances"],
)
@pytest.mark.parametrize("other", ["deleting", "deleted"])
def test_offer_with_one_live_machine_is_ready(
    queue: RequestQueue, get_status: GetStatus, instances: list[Any], other: str
) -> None:
    expect_ready(queue, instances, [resource(status=other), resource(SECOND_RESOURCE_ID, B)])
    result = get_status()
    assert state_of(result) == ("ready", True, True, False)
    assert [item["ansible_host"] for item in result["connections"]] == [B]


# Resources that the list omits

GONE = {"detail": "Resource not found"}, 404


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([(resource(status="deleted"), 200)], ("ended", False, True, False)),
        ([GONE], ("ready", False, False, True)),
        ([(resource(status="terminated"), 200), GONE], ("ready", False, False, True)),
        ([GONE, (resource(SECOND_RESOURCE_ID, B), 200)], ("ready", True, True, False)),
        ([(resource(), 200)], ("ready", True, True, False)),
    ],
    ids=["deleted", "404", "terminated and 404", "404 and running", "running"],
)
def test_unlisted_resources_are_read_by_id(
    queue: RequestQueue, get_status: GetStatus, answers: list[tuple[Any, int]], expected: tuple[Any, ...]
) -> None:
    ids = [RESOURCE_ID, SECOND_RESOURCE_ID][: len(answers)]
    expect_ready(queue, [], [], resource_ids=ids)
    for key, answer in zip(ids, answers, strict=True):
        queue.show({"resource_id": key}, *answer)
    result = get_status()
    assert state_of(result) == expected
    assert (result["resource_ids"], len(result["connections"])) == (ids, result["ready"])


def test_unlisted_machine_is_not_reported_as_deleted(queue: RequestQueue, get_status: GetStatus) -> None:
    expect_ready(queue, [], [], resource_ids=[RESOURCE_ID])
    queue.show(resource(), *GONE)
    assert get_status()["msg"] == f"Offer {OFFER_ID}: the API lists none of its machines."


@pytest.mark.parametrize("code", [503, 429, 403])
def test_unreadable_resource_is_not_reported_as_deleted(queue: RequestQueue, get_status: GetStatus, code: int) -> None:
    expect_ready(queue, [], [], resource_ids=[RESOURCE_ID])
    queue.show(resource(), {}, code)
    result = get_status(api_retries=5)
    assert state_of(result) == (None, False, code == 403, code != 403)
    assert result["resource_ids"] == [RESOURCE_ID]


def only_instance(state: str) -> list[Any]:
    """The instances in an offer's status: one machine in this state."""
    return [instance(A, resource_id=RESOURCE_ID, status=state)]


@pytest.mark.parametrize(
    ("instances", "listed", "page", "expected"),
    [
        pytest.param(only_instance("deleted"), "running", "deleted", ("ended", False, True, False), id="list lags"),
        pytest.param(only_instance("deleted"), "running", 404, ("ended", False, True, False), id="list lags, no page"),
        pytest.param(
            only_instance("deleting"), "running", 404, ("ready", False, False, True), id="being deleted, no page"
        ),
        pytest.param(
            only_instance("deleted"), "running", "running", ("ready", True, True, False), id="status is wrong"
        ),
        pytest.param(
            only_instance("deleted"), "running", 503, (None, False, False, True), id="list against status, no page"
        ),
        pytest.param(only_instance("running"), "deleted", "running", ("ready", True, True, False), id="list is wrong"),
        pytest.param(only_instance("running"), "deleted", "deleted", ("ended", False, True, False), id="list is right"),
        pytest.param(only_instance("running"), "deleted", 503, (None, False, False, True), id="list is not confirmed"),
        pytest.param(
            only_instance("running"), "failed", "running", ("ready", True, True, False), id="list calls it failed"
        ),
        pytest.param([instance(A, status="deleted")], "running", "deleted", ("ended", False, True, False), id="no id"),
        pytest.param([instance(A, status="Terminated")], None, None, ("ready", False, False, True), id="unlisted"),
    ],
)
def test_own_page_decides_between_list_and_status(
    queue: RequestQueue,
    get_status: GetStatus,
    instances: list[Any],
    listed: str | None,
    page: Any,
    expected: tuple[Any, ...],
) -> None:
    expect_ready(queue, instances, [] if listed is None else [resource(status=listed)])
    code = page if isinstance(page, int) else 200
    queue.show(resource(status=page), None if code == 200 else {"detail": "no"}, code)
    assert state_of(get_status()) == expected


def test_own_page_is_not_read_if_list_and_status_agree(queue: RequestQueue, get_status: GetStatus) -> None:
    expect_ready(queue, only_instance("running"), [resource()])
    assert get_status()["ready"] and queue.count("GET", f"/resources/{RESOURCE_ID}") == 0


def test_offer_is_ready_if_status_has_address_but_list_is_empty(queue: RequestQueue, get_status: GetStatus) -> None:
    expect_ready(queue, [instance(A)], [], resource_ids=[RESOURCE_ID])
    assert state_of(get_status()) == ("ready", True, True, False)


# Check mode


@pytest.mark.parametrize(
    ("state", "expected"),
    [(status(), ("unbought", False, True, False)), (status("provisioning"), ("going_on", False, False, False))],
    ids=["unbought", "going_on"],
)
def test_check_mode_waits_only_for_bought_offers(
    queue: RequestQueue, get_status: GetStatus, state: Any, expected: tuple[Any, ...]
) -> None:
    queue.expect("GET", STATUS_PATH, state)
    assert state_of(get_status(True)) == expected


def test_check_mode_reports_ready_offer(queue: RequestQueue, get_status: GetStatus) -> None:
    expect_ready(queue, [instance(A)], [resource()])
    assert state_of(get_status(True)) == ("ready", True, True, False)


# Errors


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (LOST, 200),
        ({}, 408),
        ({}, 425),
        ({}, 429),
        ({}, 500),
        (b"<html>", 502),
        ({}, 503),
        ({}, 504),
        (b"", 200),
        (b"<html>", 200),
        ([], 200),
        ({"detail": "?"}, 200),
    ],
    ids=["lost", "408", "425", "429", "500", "502", "503", "504", "empty", "HTML", "list", "no state"],
)
def test_transient_error_does_not_fail(queue: RequestQueue, get_status: GetStatus, reply: Any, code: int) -> None:
    queue.expect("GET", STATUS_PATH, reply, code)
    result = get_status(api_retries=5)
    assert state_of(result) == (None, False, False, True)
    assert result["msg"].endswith(" Check again.")
    assert "failed" not in result
    assert (result["offer_id"], result["resource_ids"], result["status"]) == (OFFER_ID, [], None)


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_returned(queue: RequestQueue, get_status: GetStatus, code: int) -> None:
    queue.expect("GET", STATUS_PATH, {}, code, headers={"Retry-After": "7"})
    assert get_status()["retry_after"] == 7


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        (301, "protocol"),
        (400, "invalid"),
        (401, "auth"),
        (403, "auth"),
        (404, "not_found"),
        (410, "expired"),
        (422, "invalid"),
    ],
)
def test_permanent_error_is_a_terminal_failure(
    queue: RequestQueue, get_status: GetStatus, code: int, error_class: str
) -> None:
    queue.expect("GET", STATUS_PATH, {"detail": "because"}, code)
    queue.list_no_resources_of(OFFER_ID)
    result = get_status()
    assert state_of(result) == (None, False, True, False)
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, error_class, code)
    assert result["offer_id"] == OFFER_ID
    assert result["msg"].endswith("Waiting does not help.")


@pytest.mark.parametrize(
    ("params", "msg"),
    [
        ({"offer_id": "abc-123"}, "offer_id must be a UUID"),
        ({"offer_id": ""}, "offer_id must be a UUID"),
        ({"api_token": None}, "api_token is missing"),
        ({"api_url": "http://supply-api.example.com"}, "api_url is plain http"),
        ({"api_timeout": 0}, "api_timeout must be"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_invalid_options_are_a_terminal_failure_without_request(
    queue: RequestQueue, get_status: GetStatus, params: Any, msg: str
) -> None:
    result = get_status(**params)
    assert state_of(result) == (None, False, True, False)
    error_class = "auth" if "api_token" in params else "invalid"
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, error_class, None)
    assert result["msg"].startswith(msg)
    assert queue.calls == []


def test_invalid_certificate_is_a_terminal_failure(get_status: GetStatus, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_how: Any) -> None:
        raise client.TransportError("certificate verify failed", sent=False, permanent=True)

    monkeypatch.setattr(client.HttpClient, "exchange", fail)
    result = get_status()
    assert state_of(result) == (None, False, True, False)
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, "unavailable", None)


def test_unexpected_exception_is_a_terminal_failure_without_token(
    get_status: GetStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_args: Any, **_how: Any) -> None:
        raise KeyError(TOKEN)

    monkeypatch.setattr(SupplyApi, "offer_status", burst)
    result = get_status()
    assert state_of(result) == (None, False, True, False)
    assert (result["failed"], result["error_class"]) == (True, "protocol")
    assert result["msg"] == "This is a bug of the collection: KeyError in offer_status."
    assert TOKEN not in repr(result)


def test_status_of_another_offer_is_a_transient_error(queue: RequestQueue, get_status: GetStatus) -> None:
    queue.expect("GET", STATUS_PATH, {**status("failed", "failed"), "offer_id": RESOURCE_ID})
    result = get_status()
    assert (result["terminal"], result["ready"], result["transient_error"]) == (False, False, True)
    assert "another offer" in result["msg"]


# Many offers


class Account:
    """Answers by path, in any order, since several threads send requests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.requests: list[str] = []
        self.busy = self.most_busy = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(client.HttpClient, "exchange", lambda _client, *what, **how: self._exchange(*what, **how))

    def add(self, number: int, state: Any, code: int = 200) -> str:
        offer_id = f"00000000-0000-4000-8000-{number:012d}"
        own = {**state, "offer_id": offer_id} if isinstance(state, dict) and "offer_id" in state else state
        self.answers[f"/offers/{offer_id}/status"] = code, own
        return offer_id

    def list(self, *resources: Any) -> None:
        """Set the list, and the pages of these resources."""
        self.answers["/resources"] = 200, list(resources)
        self.answers.update({f"/resources/{each['resource_id']}": (200, each) for each in resources})

    def _exchange(self, _method: str, path: str, **how: Any) -> Any:
        with self._lock:
            self.requests.append(path)
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        time.sleep(0.01)
        with self._lock:
            self.busy -= 1
        assert how["retries"] == 0 and bool(how.get("query")) is path.startswith("/resources/")
        code, data = self.answers.get(path, (404, {"detail": "not found"}))
        return client.Answer(code, True, data, retry_after=7.0 if code == 429 else None)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account(monkeypatch)


@pytest.fixture
def get_statuses(get_status: GetStatus) -> Callable[..., Result]:
    return lambda *offer_ids, **how: get_status(offer_id=None, offer_ids=list(offer_ids), **how)


def machine(offer_id: str, number: int, **fields: Any) -> dict[str, Any]:
    history = [{"offer_id": offer_id, "role": "primary"}]
    return resource(f"10000000-0000-4000-8000-{number:012d}", f"203.0.113.{number}", offer_history=history, **fields)


def test_many_offers_share_one_list(account: Account, get_statuses: Any) -> None:
    offers = [account.add(number, status("ready", instances=[])) for number in range(1, 31)]
    account.answers["/resources"] = 200, [machine(each, number) for number, each in enumerate(offers, 1)]
    result = get_statuses(*offers)
    assert state_of(result)[1:] == (True, True, False) and result["msg"] == "30 of 30 offers are ready."
    assert list(result["offers"]) == offers
    assert [each["connections"][0]["ansible_host"] for each in result["offers"].values()] == [
        f"203.0.113.{number}" for number in range(1, 31)
    ]
    assert (len(account.requests), account.requests.count("/resources")) == (31, 1)
    assert 1 < account.most_busy <= 8
    assert len(result["resource_ids"]) == len(result["connections"]) == 30


def test_each_of_many_offers_has_the_result_of_a_single_one(
    account: Account, get_statuses: Any, get_status: GetStatus
) -> None:
    offers = [
        account.add(1, status("ready", instances=[])),
        account.add(2, status("provisioning", resource_ids=[RESOURCE_ID], progress="1/2")),
        account.add(3, status("failed", failure_reason="no power")),
        account.add(4, status("available", "expired")),
        account.add(5, status()),
        account.add(6, {}, 429),
        account.add(7, *GONE),
        account.add(8, status("ready", instances=[])),
        account.add(9, status("provisioning")),
    ]
    account.list(machine(offers[0], 1), machine(offers[7], 8, status="deleted"))
    result = get_statuses(*offers)
    assert state_of(result) == (None, False, False, True)
    assert result["msg"] == "1 of 9 offers are ready."
    assert (result["retry_after"], result["resource_ids"][1]) == (7, RESOURCE_ID)
    for offer_id, entry in result["offers"].items():
        if offer_id not in (offers[0], *offers[6:8]):  # a ready or unknown offer alone requests a list with a filter
            assert {"offers": {}, **entry} == {**get_status(offer_id=offer_id), "offers": {}}
    gone = result["offers"][offers[6]]
    assert (gone["failed"], gone["error_class"], gone["terminal"]) == (True, "not_found", True)
    assert "failed" not in result


def test_list_is_not_read_for_offers_under_way(account: Account, get_statuses: Any) -> None:
    assert not get_statuses(account.add(1, status("provisioning")))["terminal"]
    assert "/resources" not in account.requests


def test_failed_list_is_requested_once_for_many_offers(account: Account, get_statuses: Any) -> None:
    account.answers["/resources"] = 500, {}
    result = get_statuses(*(account.add(number, status("ready", instances=[])) for number in range(1, 10)))
    assert state_of(result)[1:] == (False, False, True) and account.requests.count("/resources") == 1


def test_empty_list_of_offers_is_ready(queue: RequestQueue, get_statuses: Any) -> None:
    result = get_statuses()
    assert state_of(result) == (None, True, True, False)
    assert (result["offers"], result["msg"], queue.calls) == ({}, "0 of 0 offers are ready.", [])


def test_repeated_offer_id_is_requested_once(account: Account, get_statuses: Any) -> None:
    offer_id = account.add(1, status("provisioning"))
    assert list(get_statuses(offer_id, f" {offer_id.upper()} ")["offers"]) == [offer_id]
    assert len(account.requests) == 1


def test_invalid_id_fails_only_its_own_entry(account: Account, get_statuses: Any) -> None:
    offer_id = account.add(1, status("provisioning"))
    result = get_statuses("abc", offer_id)
    assert result["offers"]["abc"]["error_class"] == "invalid" and result["offers"]["abc"]["terminal"]
    assert result["offers"][offer_id]["phase"] == "going_on" and not result["terminal"]


@pytest.mark.parametrize(("codes", "fails"), [([401, 200], True), ([403, 403], True), ([403, 200], False)])
def test_refused_token_fails_many_offers(account: Account, get_statuses: Any, codes: Any, fails: bool) -> None:
    offers = [account.add(number, status("provisioning"), code) for number, code in enumerate(codes, 1)]
    result = get_statuses(*offers)
    assert result.get("failed", False) is fails and list(result["offers"]) == offers
    assert result["terminal"] is fails and result["ready"] is False
    if fails:
        assert (result["error_class"], result["status_code"]) == ("auth", codes[0])


def test_check_mode_does_not_wait_for_many_unbought_offers(account: Account, get_status: GetStatus) -> None:
    offer_id = account.add(1, status())
    result = get_status(True, offer_id=None, offer_ids=[offer_id])
    assert (result["terminal"], result["ready"]) == (True, False)


# Ids


@pytest.mark.parametrize(
    ("fields", "resources", "ids"),
    [
        ({"resource_ids": [RESOURCE_ID]}, [resource(SECOND_RESOURCE_ID)], [RESOURCE_ID]),
        ({"resources": [{"resource_id": RESOURCE_ID}]}, [resource(SECOND_RESOURCE_ID)], [RESOURCE_ID]),
        ({}, [resource()], [RESOURCE_ID]),
        ({}, [], []),
    ],
    ids=["status", "status with objects", "list of resources", "nowhere"],
)
def test_ids_come_from_status_or_list(
    queue: RequestQueue, get_status: GetStatus, fields: Any, resources: Any, ids: list[str]
) -> None:
    expect_ready(queue, [instance(A)], resources, **fields)
    assert get_status()["resource_ids"] == ids


def test_ids_come_from_instances(queue: RequestQueue, get_status: GetStatus) -> None:
    queue.expect("GET", STATUS_PATH, status("provisioning", instances=[instance(None, resource_id=RESOURCE_ID)]))
    assert get_status()["resource_ids"] == [RESOURCE_ID]


@pytest.mark.parametrize("field", ["resource_id", "instance_id"])
@pytest.mark.parametrize(("offers", "is_named"), [([OTHER_ID], True), ([], False)])
def test_id_of_machine_of_another_offer_in_instance_is_returned(
    queue: RequestQueue, get_status: GetStatus, field: str, offers: list[str], is_named: bool
) -> None:
    """Its id then contradicts the purchase. A machine that names no offer may be anyone's, so its id is left out."""
    foreign = resource(SECOND_RESOURCE_ID, offer_history=[{"offer_id": each, "role": "primary"} for each in offers])
    instances = [instance(A, **{field: SECOND_RESOURCE_ID})]
    expect_ready(queue, instances, [resource(), foreign], resource_ids=[RESOURCE_ID])
    result = get_status()
    assert result["resource_ids"] == [RESOURCE_ID, *([SECOND_RESOURCE_ID] if is_named else [])]
    assert (result["ready"], result["connections"]) == (False, []), "the foreign machine's address must not be returned"


@pytest.mark.parametrize("value", [7, True, ["x"], {"id": "x"}], ids=str)
@pytest.mark.parametrize("place", ["instance", "resource"])
def test_ids_of_wrong_type_are_ignored(queue: RequestQueue, get_status: GetStatus, value: Any, place: str) -> None:
    if place == "instance":
        expect_ready(queue, [instance(A, resource_id=value)], [])
    else:
        expect_ready(queue, [instance(A)], [resource(value)])
    result = get_status()
    assert result["msg"] == f"Offer {OFFER_ID} is ready: 1 instance(s)."
    assert result["resource_ids"] == []


WORDS = st.sampled_from(
    ["available", "pending", "provisioning", "ready", "failed", "expired", "procured", "deleted", "?"]
)
SCALARS = st.none() | st.booleans() | st.integers(-1, 99) | st.text(max_size=5) | st.sampled_from([RESOURCE_ID, A])
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner), max_leaves=4
)
ACCESS = st.fixed_dictionaries({}, optional=dict.fromkeys(("external_ip", "ssh_command", "ssh_port"), JSON)) | JSON
MACHINES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "resource_id": JSON,
            "instance_id": JSON,
            "external_ip": st.just(A) | JSON,
            "ssh_command": st.just(f"ssh root@{A}") | JSON,
            "status": WORDS | JSON,
            "access": ACCESS,
            "name": JSON,
        },
    ),
    max_size=2,
)
STATUSES = st.fixed_dictionaries(
    {"procurement_status": st.just("ready") | WORDS},
    optional={"status": WORDS | JSON, "instances": MACHINES | JSON, "resource_ids": JSON, "resources": MACHINES | JSON},
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    state=STATUSES | JSON,
    resources=MACHINES | JSON,
    single=MACHINES.map(lambda found: found[0] if found else {}) | JSON,
    code=st.sampled_from([200, 200, 200, 404, 500]),
)
def test_any_answer_gives_a_complete_result(
    get_status: GetStatus, state: Any, resources: Any, single: Any, code: int
) -> None:
    def exchange(_self: Any, _method: str, path: str, **_how: Any) -> Any:
        if path == STATUS_PATH:
            return client.Answer(200, True, state)
        return client.Answer(code, True, resources if path == "/resources" else single)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client.HttpClient, "exchange", exchange)
        result = get_status()
    assert "bug of the collection" not in result["msg"]
    assert all(isinstance(item, str) and item for item in result["resource_ids"])
    for connection in result["connections"]:
        assert connection["resource_id"] is None or isinstance(connection["resource_id"], str)


# Offers that the API has forgotten


UNKNOWN = 404, {"detail": "Offer not found"}
READY, NOT_KNOWN, CHECK_AGAIN = ("ready", True, True, False), (None, False, True, False), (None, False, False, True)


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        ([{}], READY),
        ([{}, {}], READY),
        ([], NOT_KNOWN),
        ([{}, {"status": "failed"}], NOT_KNOWN),
        ([{"status": "deleting"}], NOT_KNOWN),
        ([{}, UNKNOWN], NOT_KNOWN),
        ([{}, (503, {})], CHECK_AGAIN),
        ([{"resource_type": "block_disk"}], NOT_KNOWN),
    ],
    ids=[
        "one",
        "two",
        "none",
        "one failed",
        "ends",
        "one without a page",
        "one unreadable",
        "storage",
    ],
)
@pytest.mark.parametrize("is_noted", [True, False])
def test_forgotten_offer_is_ready_if_all_its_machines_run(
    account: Account, get_status: GetStatus, pages: list[Any], expected: Any, is_noted: bool
) -> None:
    """Its machines: those that a registry notes, though they name no offer, or those that name the offer themselves."""
    offer_id = account.add(1, UNKNOWN[1], 404)
    history = {"offer_history": None} if is_noted else {}
    listed = [{**machine(offer_id, number), **history} for number in range(len(pages))]
    account.list(*listed)
    for each, page in zip(listed, pages, strict=True):
        answer = page if isinstance(page, tuple) else (200, {**each, **page})
        account.answers[f"/resources/{each['resource_id']}"] = answer
    ids = [each["resource_id"] for each in listed]
    if is_noted:
        api = SupplyApi(client.HttpClient("https://supply.invalid", TOKEN, "test"))
        result = offer_statuses(api, {offer_id: ids})[offer_id]
    else:
        result = get_status(offer_id=None, offer_ids=[offer_id])["offers"][offer_id]
    assert state_of(result) == expected, result["msg"]
    if expected == READY:
        assert result["resource_ids"] == [each["resource_id"] for each in result["connections"]] == ids
