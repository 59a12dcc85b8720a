# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides the state of a job from the files on its machine and whether its processes run. Pure rules.

Without an exit code on record a job has never succeeded.
"""

from __future__ import annotations

import typing as t

NONE, RUNNING, SUCCEEDED, FAILED, INTERRUPTED = "none", "running", "succeeded", "failed", "interrupted"
OVER = (SUCCEEDED, FAILED, INTERRUPTED)
_WORDS = {
    **{NONE: "has not begun", RUNNING: "runs"},
    **{SUCCEEDED: "succeeded", FAILED: "failed", INTERRUPTED: "was interrupted"},
}
_ENDED_BY_TIMEOUT = (124, 137)  # the exit codes of timeout(1); other programs may also use them


def state_and_reason(
    job: t.Mapping[str, t.Any] | None, code: int | None, lasted: float, *, runs: bool, is_set_up: bool
) -> tuple[str, str]:
    """The state and its reason in words. ``job``: the job that has begun, or None. ``lasted``: seconds."""
    if job is None or code is None:
        gone = (INTERRUPTED, "its processes are gone, and no exit code is known") if job else (NONE, "")
        return (RUNNING, "") if runs else gone
    if code in _ENDED_BY_TIMEOUT and 0 < job.get("time", 0) <= lasted:
        return INTERRUPTED, "its time was up"
    # If memory runs out, the kernel sends SIGKILL; a shell reports that as 128 + 9.
    killed = ", perhaps because memory ran out" if code == 137 else ""
    in_setup = "" if is_set_up else ", of its setup"
    return (FAILED if code else SUCCEEDED), f"exit code {code}{killed}{in_setup}"


def state_sentence(state: str, reason: str) -> str:
    """The state and its reason as a sentence."""
    return f"The job {_WORDS[state]}{f' ({reason})' if reason else ''}."
