# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a job, by what its machine has noted and whether its processes run. Pure rules.

Without an exit code on record a job has never succeeded.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

NONE, RUNNING, SUCCEEDED, FAILED, INTERRUPTED = "none", "running", "succeeded", "failed", "interrupted"
OVER = (SUCCEEDED, FAILED, INTERRUPTED)
_DOES = {
    **{NONE: "has not begun", RUNNING: "runs"},
    **{SUCCEEDED: "succeeded", FAILED: "failed", INTERRUPTED: "was interrupted"},
}
_ENDED_BY_TIMEOUT = (124, 137)  # the exit codes of timeout(1), which programs may have, too


@dataclass(frozen=True)
class Notes:
    """What a machine knows of a job."""

    job: t.Mapping[str, t.Any] | None  # what was asked for; None if it has not begun
    runs: bool = False  # one of its processes
    exit_code: int | None = None
    lasted: float = 0.0  # seconds
    is_set_up: bool = True


def state_by_notes(notes: Notes) -> dict[str, t.Any]:
    """What `run_info` returns: the state, why it is that (``reason``, in words), and a sentence with both."""
    state, reason = _judged(notes)
    msg = f"The job {_DOES[state]}{f' ({reason})' if reason else ''}."
    return {"state": state, "reason": reason, "msg": msg, "exit_code": notes.exit_code}


def _judged(notes: Notes) -> tuple[str, str]:
    code, job = notes.exit_code, notes.job or {}
    if code is None:
        lost = (INTERRUPTED, "its processes are gone, and no exit code is known") if job else (NONE, "")
        return (RUNNING, "") if notes.runs else lost
    if code in _ENDED_BY_TIMEOUT and 0 < job.get("time", 0) <= notes.lasted:
        return INTERRUPTED, "its time was up"
    # The kernel ends a process by SIGKILL if memory runs out; a shell makes 128 and 9 of that.
    killed = ", perhaps because memory ran out" if code == 137 else ""
    in_setup = "" if notes.is_set_up else ", of its setup"
    return (FAILED if code else SUCCEEDED), f"exit code {code}{killed}{in_setup}"


def must_start(state: str, digest: str, wanted: str, again: bool) -> bool:
    """Whether the ``wanted`` job starts in place of the noted one, by digest. Raises ValueError if another runs."""
    if state == RUNNING and digest != wanted:
        raise ValueError("Another command, or the same with other code, still runs under this name.")
    return state != RUNNING and (again or state == NONE or digest != wanted)
