# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts as rows for the role's tasks, and the step that follows a release."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.judging import JudgedHost
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import Verdict
from ansible_collections.compute_index.supply.plugins.module_utils._provision.rows import is_over, released, verdict_row

from provision_samples import entry, machine, machine_id, offer_id, planned

X, Y = offer_id(1), offer_id(2)
M, N = machine_id(1), machine_id(2)
ENDED, STILL_BILLED = {"resource_id": M, "billing_stopped": True}, {"resource_id": M, "msg": f"Machine {M} runs on."}
ATTEMPTS = [{"offer_id": Y, "msg": "It was gone."}, {"offer_id": X, "msg": "It failed."}]


def failed_host(attempts_left: int = 3, **fields: Any) -> JudgedHost:
    """A host whose purchase of X created the machine M, which failed."""
    plan = planned(round="r1", attempts_left=attempts_left, unused=True, **fields)
    status = {"phase": "failed", "failure_reason": "no disk", "resource_ids": [M]}
    listed = {M: machine(1, "gpu-1", X, status="failed")}
    return JudgedHost(plan, {"outcome": "created"}, status, entry(X, [M], "made"), has_entry=True, listed=listed)


@pytest.mark.parametrize(
    ("ended", "over"),
    [
        ([], False),  # no deletion was sent
        ([ENDED], True),
        ([STILL_BILLED], False),
        ([ENDED, {"resource_id": N}], False),
        ([ENDED, {"resource_id": N, "billing_stopped": True}], True),
        ([{"resource_id": N, "billing_stopped": True}], False),  # M may still be billed
    ],
)
def test_release_is_over_if_each_machine_has_ended(ended: list[dict[str, Any]], over: bool) -> None:
    assert is_over(failed_host(), ended) is over


def test_release_without_a_deletion_is_not_over() -> None:
    """Even if no id is known: what the purchase has bought may be billed."""
    assert not is_over(replace(failed_host(), status={"phase": "failed"}, entry=entry(X, (), "made"), listed={}), [])


def test_released_host_tries_next_offer() -> None:
    result = released(failed_host(), ATTEMPTS, [ENDED], "", check_mode=False)
    assert (result.over, result.next, result.again, result.round) == (True, "round", True, "r1")
    first, last = result.attempts
    assert first == ATTEMPTS[0] and last["ended"] == [M]
    assert last["msg"].startswith("It failed. ") and last["msg"].endswith(result.money)
    assert "MAY" not in result.money and ATTEMPTS[1] == {"offer_id": X, "msg": "It failed."}


def test_host_stops_after_last_attempt_and_lists_tried_offers() -> None:
    result = released(failed_host(attempts_left=0), ATTEMPTS, [ENDED], "", check_mode=False)
    assert (result.over, result.next, result.again) == (True, "stop", False)
    assert f"Offers tried: {Y}, {X}." in result.stop


def test_stop_names_billed_namesake_after_release() -> None:
    host_with_namesake = replace(failed_host(attempts_left=0), namesakes=(machine(2, "instance", Y),))
    result = released(host_with_namesake, ATTEMPTS, [ENDED], "", check_mode=False)
    assert (result.next, "Nothing is billed" in result.stop) == ("stop", False)
    assert f"another purchase has gpu-1's name and is billed: {N} (called instance, " in result.stop


def test_stop_names_namesake_if_release_failed() -> None:
    host_with_namesake = replace(failed_host(), namesakes=(machine(2, "instance", Y),))
    result = released(host_with_namesake, ATTEMPTS, [STILL_BILLED], "", check_mode=False)
    assert (result.over, result.next) == (False, "stop")
    assert result.stop.startswith(f"Machine {M} runs on. ") and f"{N} (called instance, " in result.stop
    # Its own machine has failed, so the other one stays, even if it is the later one.
    assert re.search(f"end this one, which has failed: .* -a resource_id={M}$", result.stop)


def test_failed_acceptance_is_noted_in_attempt() -> None:
    (last,) = released(failed_host(), ATTEMPTS[1:], [ENDED], "GPU 3 is lost.", check_mode=False).attempts
    assert last["error_class"] == "unsound" and last["msg"].startswith("GPU 3 is lost. ")


@pytest.mark.parametrize("attempts_left", [3, 0])
def test_host_stops_while_failed_machine_may_be_billed(attempts_left: int) -> None:
    result = released(failed_host(attempts_left), ATTEMPTS, [STILL_BILLED], "", check_mode=False)
    assert (result.over, result.next, result.again, result.attempts) == (False, "stop", False, ATTEMPTS)
    assert result.money.startswith(f"Machine {M} runs on. The offer is BOUGHT") and M in result.stop


@pytest.mark.parametrize(
    ("verdict", "next_step", "again", "release"),
    [
        (Verdict.AGAIN, "round", True, []),
        (Verdict.RELEASE, "give_back", False, [M]),
        (Verdict.STOP, "stop", False, []),
    ],
)
def test_verdict_row_names_next_step_and_ids_to_release(
    verdict: Verdict, next_step: str, again: bool, release: list[str]
) -> None:
    row = verdict_row(failed_host(), verdict)
    assert (row["next"], row["again"], list(row["release"])) == (next_step, again, release)
    assert bool(row["stop"]) is (verdict is Verdict.STOP)
