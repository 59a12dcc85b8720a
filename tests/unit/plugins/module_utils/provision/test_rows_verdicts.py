# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role's tasks get of a verdict, and of machines that were told to end."""

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
OVER, RUNS = {"resource_id": M, "billing_stopped": True}, {"resource_id": M, "msg": f"Machine {M} runs on."}
TRIED = [{"offer_id": Y, "msg": "It was gone."}, {"offer_id": X, "msg": "It failed."}]


def failed(left: int = 3, **fields: Any) -> JudgedHost:
    """A host whose purchase of X has brought the machine M, which failed."""
    plan = planned(round="r1", attempts_left=left, unused=True, **fields)
    status = {"phase": "failed", "failure_reason": "no disk", "resource_ids": [M]}
    listed = {M: machine(1, "gpu-1", X, status="failed")}
    return JudgedHost(plan, {"outcome": "created"}, status, entry(X, [M], "made"), has_entry=True, listed=listed)


@pytest.mark.parametrize(
    ("ended", "over"),
    [
        ([], False),  # nothing was told to end
        ([OVER], True),
        ([RUNS], False),
        ([OVER, {"resource_id": N}], False),
        ([OVER, {"resource_id": N, "billing_stopped": True}], True),
        ([{"resource_id": N, "billing_stopped": True}], False),  # M may still be billed
    ],
)
def test_all_that_may_be_billed_must_have_ended(ended: list[dict[str, Any]], over: bool) -> None:
    assert is_over(failed(), ended) is over


def test_what_has_ended_makes_room_for_the_next_offer() -> None:
    found = released(failed(), TRIED, [OVER], "", check_mode=False)
    assert (found.over, found.next, found.again, found.round) == (True, "round", True, "r1")
    first, last = found.attempts
    assert first == TRIED[0] and last["ended"] == [M]
    assert last["msg"].startswith("It failed. ") and last["msg"].endswith(found.money)
    assert "MAY" not in found.money and TRIED[1] == {"offer_id": X, "msg": "It failed."}


def test_after_the_last_attempt_the_host_stops_and_says_what_it_has_tried() -> None:
    found = released(failed(left=0), TRIED, [OVER], "", check_mode=False)
    assert (found.over, found.next, found.again) == (True, "stop", False)
    assert f"Offers tried: {Y}, {X}." in found.stop


def test_beside_another_machine_of_its_name_nobody_says_that_nothing_is_billed() -> None:
    double = replace(failed(left=0), namesakes=(machine(2, "instance", Y),))
    found = released(double, TRIED, [OVER], "", check_mode=False)
    assert (found.next, "Nothing is billed" in found.stop) == ("stop", False)
    assert f"another purchase of its name, which is billed: {N} (called instance, " in found.stop


def test_the_other_machine_of_its_name_is_named_also_if_its_own_goes_on() -> None:
    double = replace(failed(), namesakes=(machine(2, "instance", Y),))
    found = released(double, TRIED, [RUNS], "", check_mode=False)
    assert (found.over, found.next) == (False, "stop")
    assert found.stop.startswith(f"Machine {M} runs on. ") and f"{N} (called instance, " in found.stop
    # The other one runs, be it the later one.
    assert re.search(f"end this one, which has failed: .* -a resource_id={M}$", found.stop)


def test_a_machine_that_did_not_pass_says_why() -> None:
    (last,) = released(failed(), TRIED[1:], [OVER], "GPU 3 is lost.", check_mode=False).attempts
    assert last["error_class"] == "unsound" and last["msg"].startswith("GPU 3 is lost. ")


@pytest.mark.parametrize("left", [3, 0])
def test_while_something_may_be_billed_nothing_else_is_bought(left: int) -> None:
    found = released(failed(left), TRIED, [RUNS], "", check_mode=False)
    assert (found.over, found.next, found.again, found.attempts) == (False, "stop", False, TRIED)
    assert found.money.startswith(f"Machine {M} runs on. The offer is BOUGHT") and M in found.stop


@pytest.mark.parametrize(
    ("verdict", "follows", "again", "release"),
    [
        (Verdict.AGAIN, "round", True, []),
        (Verdict.RELEASE, "give_back", False, [M]),
        (Verdict.STOP, "stop", False, []),
    ],
)
def test_a_verdict_names_the_next_file(verdict: Verdict, follows: str, again: bool, release: list[str]) -> None:
    found = verdict_row(failed(), verdict)
    assert (found["next"], found["again"], list(found["release"])) == (follows, again, release)
    assert bool(found["stop"]) is (verdict is Verdict.STOP)
