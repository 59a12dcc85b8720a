# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far an offer is, by its status and its resources, and what that means for a loop that waits."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _states
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import read_resource, read_status
from ansible_collections.compute_index.supply.plugins.module_utils._provision import waiting
from ansible_collections.compute_index.supply.plugins.module_utils._provision.waiting import OfferView

import samples

ONE, TWO = samples.RESOURCE_ID, samples.SECOND_RESOURCE_ID
GOING, READY, OVER = (False, False), (True, True), (False, True)  # ready, terminal


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
def test_a_ready_offer_with_its_resources(ids: Any, states: Any, phase: str, hindrance: str, left: Any) -> None:
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
def test_storage_neither_keeps_an_offer_going_nor_hinders_it(
    states: Any, phase: str, hindrance: str, left: Any
) -> None:
    machine, disk = resources(*states)
    bought = [machine, {**disk, "resource_type": "block_disk", "kind": "storage", "access": {}}]
    ready = status("ready", resource_ids=[ONE, TWO])
    view = waiting.view_with_resources(ready, bought)
    assert (view.phase, view.hindrance, view.left) == (phase, hindrance, left)
    assert TWO not in [item["resource_id"] for item in view.machines]
    assert waiting.ids_to_read_when_ready(ready, bought) == (set() if states[0] == "running" else {ONE})


def test_no_instance_speaks_for_storage() -> None:
    machine, disk = resources("running", "active")
    ending = status("ready", resource_ids=[ONE, TWO], instances=[samples.instance(status="deleted")])
    shown = waiting.with_own_pages(ending, [machine, {**disk, "kind": "storage"}], {ONE: None, TWO: None})
    assert [item["status"] for item in shown] == ["deleted", "active"]


@pytest.mark.parametrize(
    ("view", "check_mode", "loop", "told"),
    [
        (OfferView([], _states.UNBOUGHT), False, GOING, "is not bought (yet): the API says 'available'."),
        (OfferView([], _states.UNBOUGHT), True, OVER, "is not bought (yet): the API says 'available'."),
        (OfferView([], _states.GOING_ON), False, GOING, "is under way: available, 1/2."),
        (OfferView([], _states.READY), False, READY, "is ready: 0 instance(s)."),
        (OfferView([], _states.READY, "not yet"), False, GOING, f"Offer {samples.OFFER_ID}: not yet."),
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
def test_what_a_loop_and_a_person_learn(view: OfferView, check_mode: bool, loop: Any, told: str) -> None:
    found = waiting.result_of(status("available", progress="1/2"), view, check_mode=check_mode)
    assert (found["ready"], found["terminal"]) == loop
    assert found["msg"].endswith(told) and found["msg"].startswith(f"Offer {samples.OFFER_ID}")
    assert found["transient_error"] is (view.phase == _states.READY and bool(view.hindrance))
    assert found["resource_ids"] == list(view.left or ())


def look(phase: str | None, ready: bool = False, **fields: Any) -> dict[str, Any]:
    return {"phase": phase, "ready": ready, "status_code": None, **fields}


@pytest.mark.parametrize(
    ("looks", "line"),
    [
        ([], "0 of 0 offers are ready."),
        ([look("ready", True), look("failed"), look(None)], "1 of 3 offers are ready."),
    ],
)
def test_many_offers_in_a_line(looks: Any, line: str) -> None:
    assert waiting.summary_of_offers(looks) == line


@pytest.mark.parametrize(
    ("codes", "refused"),
    [([], False), ([None], False), ([401], True), ([403], True), ([403, None], False), ([401, None], True)],
)
def test_a_refused_token_is_no_fault_of_an_offer(codes: list[int | None], refused: bool) -> None:
    looks = [look(None, status_code=code, error_class="auth" if code else "not_found") for code in codes]
    assert (waiting.refused_token(looks) is not None) is refused
