# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of an offer by its status and resources, and the result for a loop that waits for it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _states
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import read_resource, read_status
from ansible_collections.compute_index.supply.plugins.module_utils._provision import waiting
from ansible_collections.compute_index.supply.plugins.module_utils._provision.waiting import OfferView

import samples

ONE, TWO = samples.RESOURCE_ID, samples.SECOND_RESOURCE_ID
WAITING, READY, OVER = (False, False), (True, True), (False, True)  # ready, terminal


def status(word: str, **fields: Any) -> dict[str, Any]:
    return read_status(samples.status(word, **fields), samples.OFFER_ID)


def resources(*states: str) -> list[dict[str, Any]]:
    return [read_resource(samples.resource((ONE, TWO)[n], status=state)) for n, state in enumerate(states)]


@pytest.mark.parametrize(
    ("ids", "states", "phase", "hindrance", "left"),
    [
        ([ONE], ["running"], _states.READY, "", None),
        ([ONE, TWO], ["running", "failed"], _states.READY, "1 of 2 instances have no address yet", None),
        ([ONE], [], _states.READY, "lists none of its machines", None),
        ([], [], _states.READY, "names no instance yet", None),
        ([ONE], ["failed"], _states.FAILED, "", (ONE,)),
        ([ONE, TWO], ["failed", "deleted"], _states.FAILED, "", (ONE,)),
        ([ONE, TWO], ["failed", "deleting"], _states.FAILED, "", (ONE, TWO)),
        ([ONE, TWO], ["deleted", "deleted"], _states.ENDED, "", None),
        ([ONE, TWO], ["deleted", "deleting"], _states.READY, "its machines are being deleted", None),
        ([ONE, TWO], ["deleted"], _states.READY, "or the API does not list them any more", None),
    ],
)
def test_view_with_resources_decides_phase_of_ready_offer(
    ids: Any, states: Any, phase: str, hindrance: str, left: Any
) -> None:
    view = waiting.view_with_resources(status("ready", resource_ids=ids), resources(*states))
    assert (view.phase, view.left) == (phase, left)
    assert hindrance in view.hindrance and bool(hindrance) is bool(view.hindrance)


@pytest.mark.parametrize(
    ("states", "phase", "hindrance", "left"),
    [
        (("running", "active"), _states.READY, "", None),
        (("running", "deleted"), _states.READY, "", None),
        (("failed", "active"), _states.FAILED, "", (ONE, TWO)),
        (("deleting", "active"), _states.READY, "its machines are being deleted", None),
        (("deleted", "active"), _states.ENDED, "", None),
    ],
)
def test_storage_does_not_affect_phase_of_offer(states: Any, phase: str, hindrance: str, left: Any) -> None:
    machine, disk = resources(*states)
    bought = [machine, {**disk, "resource_type": "block_disk", "kind": "storage", "access": {}}]
    ready = status("ready", resource_ids=[ONE, TWO])
    view = waiting.view_with_resources(ready, bought)
    assert (view.phase, view.hindrance, view.left) == (phase, hindrance, left)
    assert TWO not in [item["resource_id"] for item in view.machines]
    assert waiting.ids_to_read_when_ready(ready, bought) == (set() if states[0] == "running" else {ONE})


def test_state_of_instances_does_not_apply_to_storage() -> None:
    machine, disk = resources("running", "active")
    ending = status("ready", resource_ids=[ONE, TWO], instances=[samples.instance(status="deleted")])
    resources_shown = waiting.with_own_pages(ending, [machine, {**disk, "kind": "storage"}], {ONE: None, TWO: None})
    assert [item["status"] for item in resources_shown] == ["deleted", "active"]


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([], False),
        (["ssh root@203.0.113.7"], True),
        (["ssh root@203.0.113.7", "ssh -p 22 root@203.0.113.8"], True),
        (["ssh root@203.0.113.7", None], False),
        (["ssh root@203.0.113.7", "see the console"], False),
    ],
)
def test_status_suffices_if_it_has_all_addresses(commands: list[Any], expected: bool) -> None:
    view = OfferView([{"ssh_command": command} for command in commands], _states.READY)
    assert waiting.is_reachable(view) is expected


@pytest.mark.parametrize(
    ("words", "state", "ids"),
    [
        (["running"], "running", set()),
        ([], "running", set()),
        (["running", "deleting"], "running", {ONE}),  # the list may lag
        ([], "deleted", {ONE}),
        (["running"], "failed", {ONE}),
    ],
)
def test_page_is_read_if_list_may_lag(words: list[str], state: str, ids: set[str]) -> None:
    ready = status("ready", resource_ids=[ONE], instances=[samples.instance(status=word) for word in words])
    assert waiting.ids_to_read_when_ready(ready, resources(state)) == ids


@pytest.mark.parametrize(
    ("words", "has_page", "expected"),
    [
        # If all instances are ending, and the machine has no page, the instances decide.
        (["deleted"], False, "deleted"),
        (["deleting"], False, "deleting"),
        (["deleted", "deleting"], False, "deleting"),  # one of them may still be billed
        (["deleted", "running"], False, "running"),
        (["deleting", "running"], False, "running"),
        ([], False, "running"),
        (["deleted"], True, "running"),
        (["deleted"], None, "running"),  # its page was not read
    ],
)
def test_machine_without_page_is_gone_only_if_all_instances_end(
    words: list[str], has_page: bool | None, expected: str
) -> None:
    ending = status("ready", resource_ids=[ONE], instances=[samples.instance(status=word) for word in words])
    listed = resources("running")
    read = {} if has_page is None else {ONE: listed[0] if has_page else None}
    assert [item["status"] for item in waiting.with_own_pages(ending, listed, read)] == [expected]


@pytest.mark.parametrize(
    ("ids", "offer_of_second", "is_own", "others"),
    [
        ([ONE, TWO], None, True, ()),
        ([ONE, TWO], samples.OTHER_ID, True, ()),  # the status itself lists it
        ([ONE], samples.OFFER_ID, True, ()),
        ([ONE], None, False, ()),
        ([ONE], samples.OTHER_ID, False, (TWO,)),
        ([], None, True, ()),
    ],
)
def test_machine_that_only_instances_name_must_say_its_offer(
    ids: list[str], offer_of_second: str | None, is_own: bool, others: tuple[str, ...]
) -> None:
    first, second = resources("running", "running")
    instances = [samples.instance(ip, resource_id=key) for ip, key in (("203.0.113.7", ONE), ("203.0.113.8", TWO))]
    ready = status("ready", resource_ids=ids, instances=instances)
    view = waiting.view_with_resources(ready, [first, {**second, "offer_id": offer_of_second}])
    assert [item["resource_id"] for item in view.machines] == [ONE, *([TWO] if is_own else [])]
    assert (view.others, view.hindrance) == (others, "")
    # The result names it as well, so that the contradiction is noticed.
    result = waiting.result_of(ready, view, check_mode=False)
    assert result["resource_ids"] == ([*ids, *others] or [ONE, TWO])


def test_result_of_has_connections_ids_and_reason() -> None:
    machines = waiting.view_with_resources(status("ready", resource_ids=[ONE]), resources("running")).machines
    machines = [*machines, {**machines[0], "resource_id": None, "ansible_host": None}]
    result = waiting.result_of(status("ready"), OfferView(machines, _states.READY, "no address"), check_mode=False)
    assert [item["resource_id"] for item in result["connections"]] == [ONE] == result["resource_ids"]
    failed = OfferView([], _states.FAILED, left=(ONE,))
    found = waiting.result_of(status("failed", failure_reason="no capacity"), failed, check_mode=False)
    assert f"failed: no capacity. These resources may still be billed: {ONE}." in found["msg"]
    texts = [
        waiting.result_of(
            status(word, offer_status="odd", progress=progress), OfferView([], _states.GOING_ON), check_mode=False
        )["msg"]
        for word, progress in ((None, None), ("available", None), ("available", "1/2"))
    ]
    assert [text.partition(": ")[2] for text in texts] == ["odd.", "available.", "available, 1/2."]


@pytest.mark.parametrize(("pauses", "expected"), [([], None), ([None, None], None), ([None, 5.0, 9.0], 9.0)])
def test_combined_look_waits_for_longest_pause(pauses: list[float | None], expected: float | None) -> None:
    ids = {"instances": [], "connections": [], "resource_ids": [ONE]}
    flags = {"ready": True, "terminal": True, "transient_error": False}
    results = [{**ids, **flags, "retry_after": pause} for pause in pauses]
    combined = waiting.combined_look(results)
    assert (combined["retry_after"], combined["ready"]) == (expected, True)
    assert combined["resource_ids"] == [ONE] * len(pauses)
    late = [*results, {**ids, "ready": False, "terminal": False, "transient_error": True, "retry_after": None}]
    combined = waiting.combined_look(late)
    assert (combined["ready"], combined["terminal"], combined["transient_error"]) == (False, False, True)


@pytest.mark.parametrize(
    ("view", "check_mode", "expected_flags", "expected_end"),
    [
        (OfferView([], _states.UNBOUGHT), False, WAITING, "is not bought (yet): the API says 'available'."),
        (OfferView([], _states.UNBOUGHT), True, OVER, "is not bought (yet): the API says 'available'."),
        (OfferView([], _states.GOING_ON), False, WAITING, "is under way: available, 1/2."),
        (OfferView([], _states.GOING_ON), True, WAITING, "is under way: available, 1/2."),
        (OfferView([], _states.READY), False, READY, "is ready: 0 instance(s)."),
        (OfferView([], _states.READY, "not yet"), False, WAITING, f"Offer {samples.OFFER_ID}: not yet."),
        (OfferView([], _states.EXPIRED), False, OVER, "has expired without being bought."),
        (OfferView([], _states.ENDED), False, OVER, "was bought, but all its machines have been deleted since."),
        (OfferView([], _states.FAILED), False, OVER, "failed: the API gives no reason."),
        (
            OfferView([], _states.FAILED, left=(ONE, TWO)),
            False,
            OVER,
            f"failed: its machines have failed. These resources may still be billed: {ONE}, {TWO}.",
        ),
    ],
    ids=lambda value: value.phase if isinstance(value, OfferView) else "",
)
def test_result_of_has_flags_and_message_for_each_phase(
    view: OfferView, check_mode: bool, expected_flags: Any, expected_end: str
) -> None:
    result = waiting.result_of(status("available", progress="1/2"), view, check_mode=check_mode)
    assert (result["ready"], result["terminal"]) == expected_flags
    assert result["msg"].endswith(expected_end) and result["msg"].startswith(f"Offer {samples.OFFER_ID}")
    assert result["transient_error"] is (view.phase == _states.READY and bool(view.hindrance))
    assert result["resource_ids"] == list(view.left or ())


def status_result(phase: str | None, ready: bool = False, **fields: Any) -> dict[str, Any]:
    return {"phase": phase, "ready": ready, "status_code": None, **fields}


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([], "0 of 0 offers are ready."),
        ([status_result("ready", True), status_result("failed"), status_result(None)], "1 of 3 offers are ready."),
    ],
)
def test_summary_of_offers_counts_ready_offers(results: Any, expected: str) -> None:
    assert waiting.summary_of_offers(results) == expected


@pytest.mark.parametrize(
    ("codes", "is_refused"),
    [
        ([], False),
        ([None], False),
        ([401], True),
        ([403], True),
        ([403, None], False),
        ([401, None], True),
        ([401, 403, None], True),
    ],
)
def test_refused_token_needs_401_or_refusal_of_all_offers(codes: list[int | None], is_refused: bool) -> None:
    results = [status_result(None, status_code=code, error_class="auth" if code else "not_found") for code in codes]
    assert (waiting.refused_token(results) is not None) is is_refused
