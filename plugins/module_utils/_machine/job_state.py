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


@dataclass(frozen=True)
class State:
    """The state of a job; ``reason`` is a word for programs, ``msg`` a sentence for people."""

    state: str
    reason: str = ""
    msg: str = ""
    exit_code: int | None = None
    signal: int | None = None


def judge(notes: Notes) -> State:
    if notes.job is None:
        return State(NONE, msg="There is no such run on the machine.")
    if notes.end is not None:
        return _ended(notes.end)
    if notes.watcher_lives:
        is_setup = notes.phase is not None and notes.phase["phase"] == "setup"
        return State(SETTING_UP, msg="The setup runs.") if is_setup else State(RUNNING, msg="The command runs.")
    if not notes.is_begun:
        return State(NONE, "not_started", "The run was asked for, and has not begun.")
    if notes.watcher is None and notes.age < SOON:
        return State(RUNNING, msg="The command is being started.")
    if notes.command_lives:
        return State(RUNNING, "unwatched", "The command runs, but its watcher was ended: no exit code will be known.")
    return _lost(notes)


def must_start(state: State, digest: str, wanted: str, again: bool) -> bool:
    """Whether the ``wanted`` job starts in place of the noted one, by digest. Raises ValueError if another runs."""
    if state.state in RUNS:
        if digest != wanted:
            raise ValueError("Another command, or the same with other code, still runs under this name.")
        return False
    return again or state.state == NONE or digest != wanted


def _ended(end: t.Mapping[str, t.Any]) -> State:
    """By what the watcher noted at the end."""
    code, number = end.get("exit_code"), end.get("signal")
    of = "setup" if end.get("phase") == "setup" else "command"
    if end.get("error"):
        return State(FAILED, "disk" if end.get("disk_full") else "start", str(end["error"]))
    if not end.get("in_time", True):
        return State(INTERRUPTED, "time", f"The time of the run was over, so its {of} was ended.", code, number)
    if code == 0 and of == "command":
        return _succeeded(end)
    how = f"{'failed with' if number is None else 'was ended by'} {how_ended(code, number) or 'no exit code'}"
    full = ", and the disk is full" if end.get("disk_full") else ""
    reason = "disk" if full else "setup" if of == "setup" else ""
    state = INTERRUPTED if code is None and number is None else FAILED
    return State(state, reason, f"The {of} {how}{full}.", code, number)


def _succeeded(end: t.Mapping[str, t.Any]) -> State:
    left = ", ".join(end.get("left") or [])
    if end.get("disk_full"):
        return State(
            SUCCEEDED, "disk", "The command succeeded, but the disk is full, so its results may be incomplete.", 0
        )
    if left:
        return State(SUCCEEDED, "left", f"The command succeeded. What it had left running was ended: {left}.", 0)
    return State(SUCCEEDED, msg="The command succeeded.", exit_code=0)


def _lost(notes: Notes) -> State:
    """The state of a job that has ended without a note."""
    if notes.disk_full:
        return State(INTERRUPTED, "disk", "The processes of the run are gone, and the disk is full.")
    if notes.watcher is not None and notes.watcher.get("boot") != notes.boot:
        return State(INTERRUPTED, "rebooted", "The machine was restarted during the run.")
    return State(INTERRUPTED, "gone", "The processes of the run are gone, and no exit code is known.")


def how_ended(code: int | None, number: int | None) -> str:
    """An exit code or a signal in words; empty without both.

    The kernel ends a process by SIGKILL if memory runs out; of a command in a script the shell makes 128 and 9 of it.
    """
    killed = ", perhaps because memory ran out" if number == signal.SIGKILL or code == 128 + signal.SIGKILL else ""
    if number is not None:
        return f"{_name(number)}{killed}"
    return "" if code is None else f"exit code {code}{killed}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
