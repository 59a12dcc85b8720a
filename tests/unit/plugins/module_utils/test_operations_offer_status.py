# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at an offer: every key in every case, and an end of the loop exactly where waiting is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api import client
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import SupplyApi
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import OFFER_STATUS
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
Look = Callable[..., Result]
A, B = "203.0.113.7", "203.0.113.8"
CONNECTION = {"resource_id": RESOURCE_ID, "ansible_host": A, "ansible_port": 22, "ansible_user": "root"}


@pytest.fixture
def look(perform: Callable[..., Result]) -> Look:
    """``look(check_mode=False, **params)``; each result is held against what every result must have."""

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


def verdict(result: Result) -> tuple[Any, ...]:
    return result["phase"], result["ready"], result["terminal"], result["transient_error"]


def ready(queue: RequestQueue, instances: list[Any], listed: list[Any], **fields: Any) -> None:
    """Expect the two looks at an offer that the API calls ready. The pages of its resources say what the list says."""
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
def test_each_phase_has_its_verdict(queue: RequestQueue, look: Look, state: Any, expected: Any, msg: str) -> None:
    queue.expect("GET", STATUS_PATH, state)
    result = look()
    assert verdict(result) == expected
    assert result["msg"] == f"Offer {OFFER_ID} {msg}"
    assert (result["status"], result["procurement_status"]) == (state["status"], state["procurement_status"])
    assert "failed" not in result


def test_an_offer_with_running_machines_is_ready(queue: RequestQueue, look: Look) -> None:
    ready(queue, [instance(A)], [resource()], resource_ids=[RESOURCE_ID], progress="1/1")
    result = look()
    assert verdict(result) == ("ready", True, True, False)
    assert result["msg"] == f"Offer {OFFER_ID} is ready: 1 instance(s)."
    assert result["connections"] == [CONNECTION]
    assert result["instances"][0] == {**instance(A), **CONNECTION, "name": "trainer"}
    assert (result["resource_ids"], result["offer_id"], result["progress"]) == ([RESOURCE_ID], OFFER_ID, "1/1")
    assert result["procured_at"] == "2026-01-31T12:01:00Z"


def test_a_port_stands_with_the_resource(queue: RequestQueue, look: Look) -> None:
    ready(queue, [instance(A)], [resource(access={"external_ip": A, "ssh_port": 22022})])
    assert look()["connections"] == [{**CONNECTION, "ansible_port": 22022}]


def test_an_address_may_stand_with_the_resource_alone(queue: RequestQueue, look: Look) -> None:
    ready(queue, [instance(None)], [resource()])
    result = look()
    assert (result["ready"], result["connections"]) == (True, [CONNECTION])


def test_resources_are_machines_where_there_are_no_instances(queue: RequestQueue, look: Look) -> None:
    ready(queue, [], [resource(), resource(SECOND_RESOURCE_ID, B)])
    result = look()
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
    ids=["nothing", "no address", "one without", "hostile address", "resources, one without"],
)
def test_ready_without_an_address_for_each_machine_is_not_ready(
    queue: RequestQueue, look: Look, instances: Any, resources: Any, msg: str
) -> None:
    ready(queue, instances, resources)
    result = look()
    assert verdict(result) == ("ready", False, False, True)
    assert result["msg"] == f"Offer {OFFER_ID}: {msg}."
    assert len(result["connections"]) == sum(item["ansible_host"] is not None for item in result["instances"])


@pytest.mark.parametrize(
    ("reply", "code"),
    [(LOST, 200), ({}, 503), ({}, 500), ({"detail": "no"}, 404), ({}, 403), (b"<html>", 200), ({"detail": "?"}, 200)],
    ids=["lost", "503", "500", "404", "403", "HTML", "no list"],
)
def test_the_list_of_resources_may_be_missing_where_the_status_says_enough(
    queue: RequestQueue, look: Look, reply: Any, code: int
) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", instances=[instance(A, ssh_command=f"ssh root@{A} -p 23")]))
    queue.expect("GET", "/resources", reply, code, query={"offer_id": OFFER_ID})
    result = look()
    assert verdict(result) == ("ready", True, True, False)
    assert result["connections"] == [{**CONNECTION, "resource_id": None, "ansible_port": 23}]


@pytest.mark.parametrize(
    "instances",
    [[], [instance(A, ssh_command=None)], [instance(A), instance(None)]],
    ids=["no instances", "no port", "one without an address"],
)
@pytest.mark.parametrize(("reply", "code"), [(LOST, 200), ({}, 503), (b"<html>", 200)], ids=["lost", "503", "HTML"])
def test_the_list_of_resources_is_waited_for_where_the_status_does_not(
    queue: RequestQueue, look: Look, instances: Any, reply: Any, code: int
) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", instances=instances))
    queue.expect("GET", "/resources", reply, code, query={"offer_id": OFFER_ID})
    assert verdict(look())[1:] == (False, False, True)


@pytest.mark.parametrize("code", [500, 403], ids=["a look that may pass", "a failure"])
def test_ids_that_the_status_named_are_never_forgotten(queue: RequestQueue, look: Look, code: int) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
    queue.expect("GET", "/resources", {}, code, query={"offer_id": OFFER_ID})
    assert look()["resource_ids"] == [RESOURCE_ID]


# Ended


@pytest.mark.parametrize("words", [["deleted"], ["terminated"], ["terminated", "deleted"]], ids=str)
def test_an_offer_whose_machines_were_all_deleted_has_ended(queue: RequestQueue, look: Look, words: list[str]) -> None:
    ids = [RESOURCE_ID, SECOND_RESOURCE_ID][: len(words)]
    dead = [resource(key, status=word) for key, word in zip(ids, words, strict=True)]
    ready(queue, [instance(A)], dead, resource_ids=ids)
    result = look()
    assert verdict(result) == ("ended", False, True, False)
    assert result["msg"] == f"Offer {OFFER_ID} was bought, but all its machines have been deleted since."
    assert result["resource_ids"] == ids


@pytest.mark.parametrize(
    ("words", "ids", "msg"),
    [
        (["deleting"], 1, "its machines are being deleted"),
        (["deleting", "deleted"], 0, "its machines are being deleted"),
        (["deleted"], 2, "its machines are being deleted, or the API does not list them any more"),
    ],
)
def test_only_machines_that_say_that_they_are_gone_have_ended(
    queue: RequestQueue, look: Look, words: list[str], ids: int, msg: str
) -> None:
    both = [RESOURCE_ID, SECOND_RESOURCE_ID]
    dead = [resource(key, status=word) for key, word in zip(both, words, strict=False)]
    ready(queue, [instance(A)], dead, resource_ids=both[:ids])
    result = look()
    assert verdict(result) == ("ready", False, False, True)
    assert (result["msg"], result["connections"]) == (f"Offer {OFFER_ID}: {msg}.", [])


def test_machines_of_other_offers_prove_nothing(queue: RequestQueue, look: Look) -> None:
    """The filter of the list may be ignored, and a machine may have been linked to a second offer."""
    others = [
        resource(SECOND_RESOURCE_ID, offer_history=[{"offer_id": OTHER_ID}], status="deleted"),
        resource(SECOND_RESOURCE_ID, offer_history=[{"offer_id": OTHER_ID, "role": "primary"}, {"offer_id": OFFER_ID}]),
        resource(SECOND_RESOURCE_ID, offer_history=[]),
    ]
    ready(queue, [], others)
    result = look()
    assert (verdict(result), result["resource_ids"]) == (("ready", False, False, True), [])
    ready(queue, [], [*others, resource(ip=B)])
    result = look()
    assert (verdict(result), result["resource_ids"]) == (("ready", True, True, False), [RESOURCE_ID])
    assert [each["ansible_host"] for each in result["connections"]] == [B]


@pytest.mark.parametrize("reason", [None, "no power"])
def test_an_offer_whose_machines_have_failed_has_failed_and_may_be_billed(
    queue: RequestQueue, look: Look, reason: str | None
) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", instances=[instance(A)], failure_reason=reason))
    machines = [resource(status="failed"), resource(SECOND_RESOURCE_ID, status="deleted")]
    for each in machines:
        queue.show(each)
    queue.expect("GET", "/resources", machines, query={"offer_id": OFFER_ID})
    result = look()
    assert verdict(result) == ("failed", False, True, False)
    billed = f"These resources may still be billed: {RESOURCE_ID}."
    assert result["msg"] == f"Offer {OFFER_ID} failed: {reason or 'its machines have failed'}. {billed}"
    assert result["resource_ids"] == [RESOURCE_ID]


def test_one_living_machine_is_enough_to_go_on(queue: RequestQueue, look: Look) -> None:
    ready(
        queue,
        [instance(A, resource_id=RESOURCE_ID), instance(B, resource_id=SECOND_RESOURCE_ID)],
        [resource(status="deleting"), resource(SECOND_RESOURCE_ID, B)],
    )
    result = look()
    assert verdict(result) == ("ready", True, True, False)
    assert [item["ansible_host"] for item in result["connections"]] == [B]


def test_a_deleted_machine_is_not_handed_out_as_one_that_can_be_reached(queue: RequestQueue, look: Look) -> None:
    ready(queue, [], [resource(status="deleted"), resource(SECOND_RESOURCE_ID, B)])
    result = look()
    assert verdict(result) == ("ready", True, True, False)
    assert [item["ansible_host"] for item in result["connections"]] == [B]


# Resources that the list leaves out


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
def test_resources_that_the_list_leaves_out_are_read_one_by_one(
    queue: RequestQueue, look: Look, answers: list[tuple[Any, int]], expected: tuple[Any, ...]
) -> None:
    ids = [RESOURCE_ID, SECOND_RESOURCE_ID][: len(answers)]
    ready(queue, [], [], resource_ids=ids)
    for key, answer in zip(ids, answers, strict=True):
        queue.show({"resource_id": key}, *answer)
    result = look()
    assert verdict(result) == expected
    assert (result["resource_ids"], len(result["connections"])) == (ids, result["ready"])


def test_a_machine_that_nobody_lists_is_not_taken_for_a_deleted_one(queue: RequestQueue, look: Look) -> None:
    ready(queue, [], [], resource_ids=[RESOURCE_ID])
    queue.show(resource(), *GONE)
    assert look()["msg"] == f"Offer {OFFER_ID}: the API lists none of its machines."


@pytest.mark.parametrize("code", [503, 429, 403])
def test_a_resource_that_cannot_be_read_is_no_dead_one(queue: RequestQueue, look: Look, code: int) -> None:
    ready(queue, [], [], resource_ids=[RESOURCE_ID])
    queue.show(resource(), {}, code)
    result = look(api_retries=5)
    assert verdict(result) == (None, False, code == 403, code != 403)
    assert result["resource_ids"] == [RESOURCE_ID]


def of_one(word: str) -> list[Any]:
    """The only instance of an offer, as its status shows it."""
    return [instance(A, resource_id=RESOURCE_ID, status=word)]


@pytest.mark.parametrize(
    ("instances", "listed", "own", "expected"),
    [
        pytest.param(of_one("deleted"), "running", "deleted", ("ended", False, True, False), id="the list lags"),
        pytest.param(of_one("deleted"), "running", 404, ("ended", False, True, False), id="and its page is gone"),
        pytest.param(of_one("deleting"), "running", 404, ("ready", False, False, True), id="it is on its way"),
        pytest.param(of_one("deleted"), "running", "running", ("ready", True, True, False), id="the status errs"),
        pytest.param(of_one("deleted"), "running", 503, (None, False, False, True), id="nothing decides"),
        pytest.param(of_one("running"), "deleted", "running", ("ready", True, True, False), id="the list errs"),
        pytest.param(of_one("running"), "deleted", "deleted", ("ended", False, True, False), id="the list is right"),
        pytest.param(of_one("running"), "deleted", 503, (None, False, False, True), id="the list alone"),
        pytest.param(of_one("running"), "failed", "running", ("ready", True, True, False), id="it has not failed"),
        pytest.param([instance(A, status="deleted")], "running", "deleted", ("ended", False, True, False), id="no id"),
        pytest.param([instance(A, status="Terminated")], None, None, ("ready", False, False, True), id="unlisted"),
    ],
)
def test_a_resource_itself_decides_between_list_and_status(
    queue: RequestQueue, look: Look, instances: list[Any], listed: str | None, own: Any, expected: tuple[Any, ...]
) -> None:
    ready(queue, instances, [] if listed is None else [resource(status=listed)])
    code = own if isinstance(own, int) else 200
    queue.show(resource(status=own), None if code == 200 else {"detail": "no"}, code)
    assert verdict(look()) == expected


def test_a_machine_that_runs_as_list_and_status_say_needs_no_further_look(queue: RequestQueue, look: Look) -> None:
    ready(queue, of_one("running"), [resource()])
    assert look()["ready"] and queue.count("GET", f"/resources/{RESOURCE_ID}") == 0


def test_a_status_that_says_how_to_reach_the_machines_is_believed(queue: RequestQueue, look: Look) -> None:
    ready(queue, [instance(A)], [], resource_ids=[RESOURCE_ID])
    assert verdict(look()) == ("ready", True, True, False)


# Check mode


def test_in_check_mode_nobody_will_buy(queue: RequestQueue, look: Look) -> None:
    queue.expect("GET", STATUS_PATH, status())
    assert verdict(look(True)) == ("unbought", False, True, False)


def test_in_check_mode_what_is_bought_is_waited_for(queue: RequestQueue, look: Look) -> None:
    queue.expect("GET", STATUS_PATH, status("provisioning"))
    assert verdict(look(True)) == ("going_on", False, False, False)


def test_in_check_mode_what_is_ready_is_ready(queue: RequestQueue, look: Look) -> None:
    ready(queue, [instance(A)], [resource()])
    assert verdict(look(True)) == ("ready", True, True, False)


# Looks that brought nothing


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
def test_what_waiting_may_cure_is_no_failure(queue: RequestQueue, look: Look, reply: Any, code: int) -> None:
    queue.expect("GET", STATUS_PATH, reply, code)
    result = look(api_retries=5)
    assert verdict(result) == (None, False, False, True)
    assert result["msg"].endswith(" Look again.")
    assert "failed" not in result
    assert (result["offer_id"], result["resource_ids"], result["status"]) == (OFFER_ID, [], None)


@pytest.mark.parametrize("code", [429, 503])
def test_a_wish_to_wait_is_handed_on(queue: RequestQueue, look: Look, code: int) -> None:
    queue.expect("GET", STATUS_PATH, {}, code, headers={"Retry-After": "7"})
    assert look()["retry_after"] == 7


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
def test_what_waiting_cannot_cure_is_a_failure_that_ends_the_loop(
    queue: RequestQueue, look: Look, code: int, error_class: str
) -> None:
    queue.expect("GET", STATUS_PATH, {"detail": "because"}, code)
    result = look()
    assert verdict(result) == (None, False, True, False)
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, error_class, code)
    assert result["offer_id"] == OFFER_ID
    assert result["msg"].endswith("Waiting cannot cure this.")


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
def test_bad_input_ends_the_loop_and_sends_nothing(queue: RequestQueue, look: Look, params: Any, msg: str) -> None:
    result = look(**params)
    assert verdict(result) == (None, False, True, False)
    error_class = "auth" if "api_token" in params else "invalid"
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, error_class, None)
    assert result["msg"].startswith(msg)
    assert queue.calls == []


def test_a_certificate_that_nobody_vouches_for_ends_the_loop(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_how: Any) -> None:
        raise client.TransportError("certificate verify failed", sent=False, permanent=True)

    monkeypatch.setattr(client.HttpClient, "exchange", fail)
    result = look()
    assert verdict(result) == (None, False, True, False)
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, "unavailable", None)


def test_a_bug_ends_the_loop_and_tells_nothing(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_args: Any, **_how: Any) -> None:
        raise KeyError(TOKEN)

    monkeypatch.setattr(SupplyApi, "offer_status", burst)
    result = look()
    assert verdict(result) == (None, False, True, False)
    assert (result["failed"], result["error_class"]) == (True, "protocol")
    assert result["msg"] == "This is a bug of the collection: KeyError in offer_status."
    assert TOKEN not in repr(result)


# Many


def test_a_status_of_another_offer_may_come_right(queue: RequestQueue, look: Look) -> None:
    queue.expect("GET", STATUS_PATH, {**status("failed", "failed"), "offer_id": RESOURCE_ID})
    result = look()
    assert (result["terminal"], result["ready"], result["transient_error"]) == (False, False, True)
    assert "another offer" in result["msg"]


class Account:
    """Answers by path, in any order, since several threads ask."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[str] = []
        self.busy = self.most = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(client.HttpClient, "exchange", lambda _client, *what, **how: self._exchange(*what, **how))

    def add(self, number: int, state: Any, code: int = 200) -> str:
        offer_id = f"00000000-0000-4000-8000-{number:012d}"
        own = {**state, "offer_id": offer_id} if isinstance(state, dict) and "offer_id" in state else state
        self.answers[f"/offers/{offer_id}/status"] = code, own
        return offer_id

    def list(self, *resources: Any) -> None:
        """What the list has, and the pages of these."""
        self.answers["/resources"] = 200, list(resources)
        self.answers.update({f"/resources/{each['resource_id']}": (200, each) for each in resources})

    def _exchange(self, _method: str, path: str, **how: Any) -> Any:
        with self._lock:
            self.asked.append(path)
            self.busy += 1
            self.most = max(self.most, self.busy)
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
def look_at(look: Look) -> Callable[..., Result]:
    return lambda *offer_ids, **how: look(offer_id=None, offer_ids=list(offer_ids), **how)


def machine(offer_id: str, number: int, **fields: Any) -> dict[str, Any]:
    history = [{"offer_id": offer_id, "role": "primary"}]
    return resource(f"10000000-0000-4000-8000-{number:012d}", f"203.0.113.{number}", offer_history=history, **fields)


def test_many_offers_are_looked_at_with_one_list(account: Account, look_at: Any) -> None:
    offers = [account.add(number, status("ready", instances=[])) for number in range(1, 31)]
    account.answers["/resources"] = 200, [machine(each, number) for number, each in enumerate(offers, 1)]
    result = look_at(*offers)
    assert verdict(result)[1:] == (True, True, False) and result["msg"] == "30 of 30 offers are ready."
    assert list(result["offers"]) == offers
    assert [each["connections"][0]["ansible_host"] for each in result["offers"].values()] == [
        f"203.0.113.{number}" for number in range(1, 31)
    ]
    assert (len(account.asked), account.asked.count("/resources")) == (31, 1)
    assert 1 < account.most <= 8
    assert len(result["resource_ids"]) == len(result["connections"]) == 30


def test_each_offer_has_what_it_has_alone(account: Account, look_at: Any, look: Look) -> None:
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
    result = look_at(*offers)
    assert verdict(result) == (None, False, False, True)
    assert result["msg"] == "1 of 9 offers are ready."
    assert (result["retry_after"], result["resource_ids"][1]) == (7, RESOURCE_ID)
    for offer_id, one in result["offers"].items():
        if offer_id not in (offers[0], offers[7]):  # alone they ask for a list of their own
            assert {"offers": {}, **one} == {**look(offer_id=offer_id), "offers": {}}
    gone = result["offers"][offers[6]]
    assert (gone["failed"], gone["error_class"], gone["terminal"]) == (True, "not_found", True)
    assert "failed" not in result


def test_the_list_is_not_read_for_offers_that_are_under_way(account: Account, look_at: Any) -> None:
    assert not look_at(account.add(1, status("provisioning")))["terminal"]
    assert "/resources" not in account.asked


def test_a_list_that_fails_is_asked_for_once_and_is_transient(account: Account, look_at: Any) -> None:
    account.answers["/resources"] = 500, {}
    result = look_at(*(account.add(number, status("ready", instances=[])) for number in range(1, 10)))
    assert verdict(result)[1:] == (False, False, True) and account.asked.count("/resources") == 1


def test_no_offers_are_ready_at_once(queue: RequestQueue, look_at: Any) -> None:
    result = look_at()
    assert verdict(result) == (None, True, True, False)
    assert (result["offers"], result["msg"], queue.calls) == ({}, "0 of 0 offers are ready.", [])


def test_an_offer_is_asked_for_once_however_it_is_written(account: Account, look_at: Any) -> None:
    offer_id = account.add(1, status("provisioning"))
    assert list(look_at(offer_id, f" {offer_id.upper()} ")["offers"]) == [offer_id]
    assert len(account.asked) == 1


def test_what_is_no_id_is_an_entry_of_its_own(account: Account, look_at: Any) -> None:
    offer_id = account.add(1, status("provisioning"))
    result = look_at("abc", offer_id)
    assert result["offers"]["abc"]["error_class"] == "invalid" and result["offers"]["abc"]["terminal"]
    assert result["offers"][offer_id]["phase"] == "going_on" and not result["terminal"]


@pytest.mark.parametrize(("codes", "fails"), [([401, 200], True), ([403, 403], True), ([403, 200], False)])
def test_a_token_that_is_refused_fails_the_task(account: Account, look_at: Any, codes: Any, fails: bool) -> None:
    offers = [account.add(number, status("provisioning"), code) for number, code in enumerate(codes, 1)]
    result = look_at(*offers)
    assert result.get("failed", False) is fails and list(result["offers"]) == offers
    assert result["terminal"] is fails and result["ready"] is False
    if fails:
        assert (result["error_class"], result["status_code"]) == ("auth", codes[0])


def test_in_check_mode_many_end_too(account: Account, look: Look) -> None:
    offer_id = account.add(1, status())
    result = look(True, offer_id=None, offer_ids=[offer_id])
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
def test_ids_are_found_wherever_they_stand(
    queue: RequestQueue, look: Look, fields: Any, resources: Any, ids: list[str]
) -> None:
    ready(queue, [instance(A)], resources, **fields)
    assert look()["resource_ids"] == ids


def test_ids_are_found_at_the_instances(queue: RequestQueue, look: Look) -> None:
    queue.expect("GET", STATUS_PATH, status("provisioning", instances=[instance(None, resource_id=RESOURCE_ID)]))
    assert look()["resource_ids"] == [RESOURCE_ID]


@pytest.mark.parametrize("field", ["resource_id", "instance_id"])
@pytest.mark.parametrize(("offers", "is_named"), [([OTHER_ID], True), ([], False)])
def test_a_machine_of_another_offer_that_only_an_instance_names_is_named(
    queue: RequestQueue, look: Look, field: str, offers: list[str], is_named: bool
) -> None:
    """So that it contradicts the purchase. One that says nothing may be anybody's, and is not made the purchase's."""
    others = resource(SECOND_RESOURCE_ID, offer_history=[{"offer_id": each, "role": "primary"} for each in offers])
    shown = [instance(A, **{field: SECOND_RESOURCE_ID})]
    ready(queue, shown, [resource(), others], resource_ids=[RESOURCE_ID])
    result = look()
    assert result["resource_ids"] == [RESOURCE_ID, *([SECOND_RESOURCE_ID] if is_named else [])]
    assert (result["ready"], result["connections"]) == (False, []), "its address is the host's"


@pytest.mark.parametrize("value", [7, True, ["x"], {"id": "x"}], ids=str)
@pytest.mark.parametrize("place", ["instance", "resource"])
def test_ids_of_another_kind_are_none(queue: RequestQueue, look: Look, value: Any, place: str) -> None:
    if place == "instance":
        ready(queue, [instance(A, resource_id=value)], [])
    else:
        ready(queue, [instance(A)], [resource(value)])
    result = look()
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
def test_whatever_the_api_answers_there_is_a_complete_result(
    look: Look, state: Any, resources: Any, single: Any, code: int
) -> None:
    def exchange(_self: Any, _method: str, path: str, **_how: Any) -> Any:
        if path == STATUS_PATH:
            return client.Answer(200, True, state)
        return client.Answer(code, True, resources if path == "/resources" else single)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client.HttpClient, "exchange", exchange)
        result = look()
    assert "bug of the collection" not in result["msg"]
    assert all(isinstance(item, str) and item for item in result["resource_ids"])
    for connection in result["connections"]:
        assert connection["resource_id"] is None or isinstance(connection["resource_id"], str)
