# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the end of one resource reads, and which of many are told and looked at again."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import deleting

from provision_samples import machine, machine_id

M, N = machine_id(1), machine_id(2)
MACHINE = {**machine(1, "gpu-1"), "kind": "machine"}
DISK = {**machine(2, "data", status="available"), "kind": "storage"}
OVER = {"billing_stopped": True}


@pytest.mark.parametrize(
    ("resource", "sentence", "billed"),
    [
        (MACHINE, f"Machine {M} is deleted", "It may still run and be billed at USD 2.00 per hour."),
        (DISK, f"Storage {M} is deleted with all its data", "It may still exist and be billed at USD 2.00 per hour."),
        (None, f"Resource {M} is deleted", "It may still exist and be billed at an unknown price."),
    ],
)
def test_a_sentence_says_what_ends_and_what_may_be_billed(resource: Any, sentence: str, billed: str) -> None:
    assert (deleting.deletion(M, resource, "is deleted"), deleting.still(resource)) == (sentence, billed)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("deleted", ""),
        ("terminated", ""),
        ("running", "the API still says 'running'"),
        ("deleting", "the API still says 'deleting'"),
        (None, "no state is told"),
    ],
)
def test_only_an_end_in_the_api_is_an_end(status: str | None, why: str) -> None:
    assert deleting.alive({**MACHINE, "status": status}) == why


def plan(*ids: str, **fields: Any) -> dict[str, Any]:
    """What ends of a host; its disk N is forgotten."""
    return {
        **{"force": False, "wait": 600.0, "check_mode": False, "ids": list(ids)},
        **{"storage_ends": [N], "storage_lost": [N]},
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "of_storage", "jobs"),
    [
        ({}, False, [(M, False)]),
        ({}, True, [(N, True)]),  # what is forgotten is only looked at
        ({"check_mode": True}, False, [(M, True)]),
    ],
)
def test_what_is_deleted_and_what_is_only_looked_at(fields: Any, of_storage: bool, jobs: Any) -> None:
    found = deleting.jobs([plan(M, **fields)], of_storage=of_storage)
    assert [(item["resource_id"], item["looks_only"]) for item in found] == jobs


ITEM = {"resource_id": M, "wait": 600.0, "looks_only": False}


@pytest.mark.parametrize(
    ("item", "answers", "began", "is_told"),
    [
        (ITEM, {}, 0.0, True),
        (ITEM, {M: {"billing_stopped": False}}, 0.0, True),
        (ITEM, {M: OVER}, 0.0, False),
        (ITEM, {}, 12.0, False),  # a look has been at it
        ({**ITEM, "looks_only": True}, {}, 0.0, False),
    ],
)
def test_what_has_not_ended_is_told_once_more(item: Any, answers: Any, began: float, is_told: bool) -> None:
    assert deleting.told_again([item], answers, began) == ([item] if is_told else [])


@pytest.mark.parametrize(
    ("answer", "passed", "is_waited_for"),
    [
        ({"billing_stopped": False}, 0.0, True),  # each is looked at once
        ({"billing_stopped": False}, 9e9, True),
        ({"billing_stopped": False, "waits": True}, 599.0, True),
        ({"billing_stopped": False, "waits": True}, 600.0, False),
        ({"billing_stopped": False, "failed": True}, 0.0, False),
        (OVER, 0.0, False),
    ],
)
def test_what_is_waited_for(answer: Any, passed: float, is_waited_for: bool) -> None:
    assert deleting.waited_for([ITEM], {M: answer}, passed) == ([ITEM] if is_waited_for else [])
    assert deleting.progress([ITEM], {M: answer}, passed)["terminal"] is not is_waited_for


def test_a_pause_is_never_longer_than_what_is_left() -> None:
    answers = {M: {"billing_stopped": False, "waits": True}}
    assert [deleting.pause([ITEM], answers, passed, 5.0) for passed in (0.0, 598.0, 600.0)] == [5.0, 2.0, 0.0]


def test_a_look_that_shows_no_end_fails_until_another_one_does() -> None:
    facts = {"resource_id": M, "resource": MACHINE, "billing_stopped": False}
    late = deleting.looked(facts, "the API still says 'running'", 600.0)
    assert (late["failed"], late["waits"], late["error_class"]) == (True, True, "unavailable")
    assert "is not gone after 600 seconds" in late["msg"] and deleting.unsaid(late) == facts
    assert deleting.looked(facts, "", 600.0) == {**facts, "billing_stopped": True, "msg": f"Machine {M} is deleted."}
    assert deleting.looks([plan(M), plan(N, wait=20.0)], 5.0) == 122
