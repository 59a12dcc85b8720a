# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a job, by what its watcher has noted and which processes run. Pure rules.

Without an exit code on record a job has never succeeded.
"""

from __future__ import annotations

import signal
import typing as t
from dataclasses import dataclass

NONE, SETTING_UP, RUNNING = "none", "setting_up", "running"
SUCCEEDED, FAILED, INTERRUPTED = "succeeded", "failed", "interrupted"
RUNS = (SETTING_UP, RUNNING)
OVER = (SUCCEEDED, FAILED, INTERRUPTED)
# Why a job is in its state, beside how its command has ended
REASONS = {
    "time": "its time was up",
    "gone": "its processes are gone",
    "rebooted": "its machine was restarted",
    "setup": "its setup failed",
    "start": "it could not be started",
    "disk": "the disk is full, so its results may be incomplete",
    "left": "what it had left running was ended",
    "unwatched": "its watcher was ended, so no exit code will be known",
    "not_started": "it was asked for",
}
_DOES = {
    **{NONE: "has not begun", SETTING_UP: "is being set up", RUNNING: "runs"},
    **{SUCCEEDED: "succeeded", FAILED: "failed", INTERRUPTED: "was interrupted"},
}
SOON = 60.0  # seconds in which a watcher that has begun notes who it is

Note = t.Optional[t.Mapping[str, t.Any]]


@dataclass(frozen=True)
class Notes:
    """What the machine has noted about a job; None for what it has not."""

    job: Note  # what was asked for
    watcher: Note = None  # the process that watches it
    phase: Note = None  # the process of its setup or its command, and which of both
    end: Note = None  # how it ended
    is_begun: bool = True  # a watcher has taken the job
    watcher_lives: bool = False
    command_lives: bool = False
    boot: str = ""
    disk_full: bool = False  # now
    age: float = 0.0  # seconds since the state has changed


def _state(
    state: str, reason: str = "", code: int | None = None, number: int | None = None, detail: str = ""
) -> dict[str, t.Any]:
    """What `run_info` returns: ``reason`` is a word for programs (`REASONS`), ``msg`` a sentence for people."""
    why = facts(code, number, reason, detail)
    msg = f"The job {_DOES[state]}{f' ({why})' if why else ''}."
    return {"state": state, "reason": reason, "msg": msg, "exit_code": code, "signal": number}


def state_by_notes(notes: Notes) -> dict[str, t.Any]:
    """The state of a job, its reason, and how its command has ended."""
    if notes.job is None:
        return _state(NONE, detail="there is no such run on the machine")
    if notes.end is not None:
        return _ended(notes.end)
    if notes.watcher_lives:
        return _state(SETTING_UP if notes.phase is not None and notes.phase["phase"] == "setup" else RUNNING)
    if not notes.is_begun:
        return _state(NONE, "not_started")
    if notes.watcher is None and notes.age < SOON:
        return _state(RUNNING, detail="it is being started")
    return _state(RUNNING, "unwatched") if notes.command_lives else _lost(notes)


def must_start(state: str, digest: str, wanted: str, again: bool) -> bool:
    """Whether the ``wanted`` job starts in place of the noted one, by digest. Raises ValueError if another runs."""
    if state in RUNS:
        if digest != wanted:
            raise ValueError("Another command, or the same with other code, still runs under this name.")
        return False
    return again or state == NONE or digest != wanted


def _ended(end: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """By what the watcher noted at the end."""
    code, number, full = end.get("exit_code"), end.get("signal"), "disk" if end.get("disk_full") else ""
    if end.get("error"):
        return _state(FAILED, full or "start", detail=str(end["error"]))
    if not end.get("in_time", True):
        return _state(INTERRUPTED, "time", code, number)
    is_setup, left = end.get("phase") == "setup", ", ".join(end.get("left") or [])
    if code == 0 and not is_setup:
        return _state(SUCCEEDED, full or ("left" if left else ""), code, detail=left)
    state = INTERRUPTED if code is None and number is None else FAILED
    return _state(state, full or ("setup" if is_setup else ""), code, number)


def _lost(notes: Notes) -> dict[str, t.Any]:
    """The state of a job that has ended without a note."""
    is_rebooted = notes.watcher is not None and notes.watcher.get("boot") != notes.boot
    return _state(INTERRUPTED, "disk" if notes.disk_full else "rebooted" if is_rebooted else "gone")


def facts(code: int | None, number: int | None, reason: str, detail: str = "") -> str:
    """How a command ended, by an exit code or a signal, unless we ended it, and why; empty if nothing is known.

    The kernel ends a process by SIGKILL if memory runs out; of a command in a script the shell makes 128 and 9 of it.
    """
    killed = ", perhaps because memory ran out" if number == signal.SIGKILL or code == 128 + signal.SIGKILL else ""
    how = "" if code is None else f"exit code {code}{killed}"
    if number is not None:
        name = next((item.name for item in signal.Signals if item == number), f"signal {number}")
        how = f"{name}{killed}"
    return ", ".join(filter(None, ("" if reason == "time" else how, REASONS.get(reason, reason), detail)))
