# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people read of a run: what became of the job comes first, then the money, and all of it fits a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import running_report as report
from ansible_collections.compute_index.supply.plugins.module_utils._wording import LINE

RECORD: dict[str, Any] = {
    **{"name": "train", "host": "run-train", "command": "python train.py", "state": "failed", "exit_code": 3},
    **{
        "began_at": "2026-12-01T06:00:00Z",
        "ended_at": "2026-12-01T08:05:00Z",
        "cost_usd": 33.4,
        "files": 12,
        "complete": True,
    },
    **{"last_lines": ["loss 0.1", "Traceback"], "missing": ["*.csv"], "kept_until": 1_796_000_000.0},
}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "train failed after 2 h 5 min (exit code 3)."),
        ({"state": "succeeded", "exit_code": 0}, "train succeeded after 2 h 5 min (exit code 0)."),
        (
            {"exit_code": None, "signal": 9},
            "train failed after 2 h 5 min (SIGKILL, perhaps because memory ran out).",
        ),
        ({"exit_code": 137}, "train failed after 2 h 5 min (exit code 137, perhaps because memory ran out)."),
        ({"exit_code": None, "signal": 99}, "train failed after 2 h 5 min (signal 99)."),
        (
            {"state": "succeeded", "exit_code": 0, "reason": "left"},
            "train succeeded after 2 h 5 min (exit code 0, what it had left running was ended).",
        ),
        (
            {"state": "succeeded", "exit_code": 0, "reason": "disk"},
            "train succeeded after 2 h 5 min (exit code 0, the disk is full, so its results may be incomplete).",
        ),
        (
            {"state": "interrupted", "exit_code": None, "reason": "time"},
            "train interrupted after 2 h 5 min (its time was up).",
        ),
        (
            {"state": "lost", "exit_code": None, "ended_at": None, "reason": report.TAKEN_AWAY},
            "train lost (its machine has gone).",
        ),
        ({"ended_at": "2026-12-01T06:00:41Z"}, "train failed after 41 seconds (exit code 3)."),
    ],
)
def test_what_became_of_a_job(changes: dict[str, Any], sentence: str) -> None:
    assert report.ended({**RECORD, **changes}) == sentence


def test_a_job_moves_no_cursor_of_the_terminal() -> None:
    """Names of files, commands and reasons come from the machine, where the job may have made them up."""
    odd = "out\x1b]0;bought\x07\x9b2J\nfatal: [run-train]"
    record = {**RECORD, "incomplete": [{"path": odd, "reason": odd}], "reason": odd}
    texts = [
        *report.still_billed(record, "runs/train", "", odd),
        *report.swept_in_part("train", "runs/train", odd),
        report.other_job("train", {"command": odd, "state": "running"}),
        report.unread("train", {"msg": odd}, ""),
    ]
    assert not any(character in text for text in texts for character in "\x1b\x07\x9b\n")
    assert all("\n" not in text and len(text) <= LINE for text in report.still_billed(record, "runs", "", odd)[:-1])


def test_the_last_word() -> None:
    assert report.last_word(RECORD, "runs/train") == [
        "train failed after 2 h 5 min (exit code 3).",
        "Nothing is billed any more. It cost at most USD 33.40.",
        "Results: runs/train (12 files)",
        "Not found on the machine: *.csv",
        "The last lines of its log:",
        "loss 0.1",
        "Traceback",
    ]
    assert "not known" in report.last_word({**RECORD, "cost_usd": None}, "runs/train")[1]
    kept = " ".join(report.last_word({**RECORD, "stays": "run-train keeps its storage."}, "runs/train"))
    assert "run-train keeps its storage. It cost" in kept and "Nothing is billed" not in kept


@pytest.mark.parametrize(
    "lines",
    [
        report.last_word(RECORD, "runs/train"),
        report.still_billed(
            {**RECORD, "incomplete": [{"path": "out/a", "reason": "changed"}]}, "runs/train", "2026-12-01T09:00:00Z"
        ),
        report.kept(RECORD, "runs/train", 16.0),
        report.goes_on(RECORD, "2026-12-01T09:00:00Z"),
        report.quote(
            {"gpu_count": 8, "gpu_type": "nvidia-h100-sxm5-80gb", "price_per_hour": 16.0},
            7200.0,
            48.0,
            "Registry: host_vars",
        ),
    ],
)
def test_lines_fit_into_a_terminal(lines: list[str]) -> None:
    assert lines and all(len(line) <= LINE for line in lines)


@pytest.mark.parametrize(
    ("until", "billed", "part"),
    [
        ("", False, "Nothing is billed for run-train."),
        ("", True, "run-train may have a machine that is billed."),
        ("2026-12-01T09:00:00Z", True, "It is billed until its lease ends at 2026-12-01 09:00 UTC."),
    ],
)
def test_a_command_that_came_to_no_end_says_what_is_billed(until: str, billed: bool, part: str) -> None:
    text = report.broken(RECORD, "SSH does not answer.", until, may_be_billed=billed)
    assert text.startswith("SSH does not answer.") and part in text
    assert ("decommission_hosts=run-train" in text) is billed
