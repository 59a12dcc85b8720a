# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges whether a machine is in use, from its sampler's notes and its current connections. Knows no Ansible.

The sampler is ``supply-keep`` of the role provision. It judges over time and must not count connections such as ours,
so new connections are only seen here. In doubt the state is ``unknown``, since ``idle`` may end a machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
import typing as t
from dataclasses import dataclass, field

from .._text import formatted, number_of, one_line, read_json_object, utc

ACTIVE, IDLE, UNKNOWN = "active", "idle", "unknown"

STATE = "run/supply-idle/state.json"
KEEPS = "var/lib/supply-keep"
STALE_SECONDS = 300.0  # five times the sampler's period
MOST_KEPT = 31 * 86_400.0  # seconds; supply-keep takes 30 days
_MOST_BYTES = 65_536
_CLOCK_ERROR = 1.0  # seconds by which two readings of a clock may differ
# The process of a logged-in connection. A word in brackets marks others: before the login, or duplicates.
_SSH = re.compile(r"sshd(?:-session)?: (?!\[)\S+")


@dataclass(frozen=True)
class ActivityReadings:
    """Readings of a machine; None if one could not be read."""

    boot: str  # the id of this boot
    uptime: float  # seconds since this boot, by a clock that cannot be set
    clock: float  # seconds since 1970
    state: str | None = None  # the sampler's file
    keeps: t.Mapping[str, str | None] | None = field(default_factory=dict)  # the files of supply-keep, by user id
    others: int | None = 0  # SSH connections in addition to our own
    load: float | None = 0.0  # the average of the last minute


@dataclass(frozen=True)
class Activity:
    """The verdict on a machine."""

    state: str
    evidence: str
    since: float | None = None  # the last use, in seconds since 1970
    idle_seconds: float = 0.0  # 0 unless it is idle
    keep_until: float | None = None  # seconds since 1970

    def result(self) -> dict[str, t.Any]:
        """The result of the module, with times in UTC."""
        return {
            "state": self.state,
            "since": None if self.since is None else utc(self.since),
            "idle_seconds": int(self.idle_seconds),
            "keep_until": None if self.keep_until is None else utc(self.keep_until),
            "evidence": self.evidence,
        }


@dataclass(frozen=True)
class _Sample:
    """The sampler's note; times are seconds since the boot."""

    at: float
    active: float  # the last use
    why: str  # the kind of the last use
    seen: str
    load: float  # a higher load is use


def activity_of(readings: ActivityReadings) -> Activity:
    """Judge whether the machine is in use. It is idle only if everything could be read, and shows no use."""
    try:
        sample, until = _sample(readings), _kept_until(readings)
        now = _use_now(readings, sample)
    except ValueError as error:
        return Activity(UNKNOWN, str(error))
    idle = readings.uptime - sample.active
    since = readings.clock - idle
    if now:
        return Activity(ACTIVE, now, since=readings.clock, keep_until=until)
    if sample.active >= sample.at:
        return Activity(ACTIVE, sample.why, since=since, keep_until=until)
    evidence = f"{sample.seen}; last in use at {formatted(since)} ({sample.why})"
    if until is not None:
        return Activity(ACTIVE, f"supply-keep until {formatted(until)}; {evidence}", since=since, keep_until=until)
    return Activity(IDLE, evidence, since=since, idle_seconds=idle)


def _sample(readings: ActivityReadings) -> _Sample:
    """Read the sampler's note. Raises ValueError if it is missing, unreadable, or not recent."""
    if readings.state is None:
        raise ValueError("the sampler has noted nothing since the boot, or it is not installed")
    state = read_json_object(readings.state)
    at, active, load = (number_of(state.get(name)) for name in ("at", "active", "load"))
    if at is None or active is None or load is None or not 0 <= active <= at:
        raise ValueError("the sampler's note is invalid")
    age = readings.uptime - at
    if state.get("boot") != readings.boot or age < -_CLOCK_ERROR:
        raise ValueError("the sampler's note is from another boot")
    if age > STALE_SECONDS:
        raise ValueError(f"the sampler has noted nothing for {age // 60:.0f} minutes")
    why, seen = (one_line(str(state.get(name) or "")) for name in ("why", "seen"))
    return _Sample(at, active, why, seen, load)


def _use_now(readings: ActivityReadings, sample: _Sample) -> str:
    """Describe the use at this moment; empty if there is none. Raises ValueError if it cannot be seen."""
    if readings.others is None or readings.load is None:
        raise ValueError("other processes of the machine cannot be seen")
    if readings.others:
        return f"{readings.others} other SSH connection{'' if readings.others == 1 else 's'} now"
    # Written so that NaN counts as use
    return "" if readings.load <= sample.load else f"load {readings.load:.2f} now"


def _kept_until(readings: ActivityReadings) -> float | None:
    """The latest time that users asked for, by the current clock, or None. Raises ValueError if it is unclear."""
    if readings.keeps is None:
        raise ValueError("the folder of supply-keep cannot be read")
    last = 0.0
    for name, text in readings.keeps.items():
        keep = read_json_object(text or "")
        until, uptime = number_of(keep.get("until")), number_of(keep.get("uptime"))
        if until is None or uptime is None:
            raise ValueError(f"the note of supply-keep for the user {one_line(name, 40)} is invalid")
        # In the same boot the uptime is exact, while the clock may have been set since the note.
        is_same_boot = keep.get("boot") == readings.boot
        last = max(last, until - readings.clock, uptime - readings.uptime if is_same_boot else 0.0)
    if last > MOST_KEPT:
        raise ValueError("a time in the notes of supply-keep is too late; is the clock right?")
    return readings.clock + last if last > 0 else None


# Readings


def read_activity(root: str = "/", pid: int | None = None, clock: float | None = None) -> ActivityReadings:
    """Read the machine's activity. ``pid``: a process of our own connection. Raises ValueError without Linux."""
    uptime = number_of((_read(root, "proc/uptime") or "").partition(" ")[0])
    boot = (_read(root, "proc/sys/kernel/random/boot_id") or "").strip()
    if uptime is None or not boot:
        raise ValueError("the machine's uptime or boot id cannot be read")
    keeps = None
    with contextlib.suppress(OSError):
        # All users may write there. The name of an unfinished file begins with a dot.
        names = os.listdir(os.path.join(root, KEEPS))
        keeps = {name: _read(root, os.path.join(KEEPS, name)) for name in names if not name.startswith(".")}
    return ActivityReadings(
        boot=boot,
        uptime=uptime,
        clock=time.time() if clock is None else clock,
        state=_read(root, STATE),
        keeps=keeps,
        others=_others(root, os.getpid() if pid is None else pid),
        load=number_of((_read(root, "proc/loadavg") or "").partition(" ")[0]),
    )


def _others(root: str, pid: int) -> int | None:
    """The number of SSH connections' processes that are not ancestors of ``pid``; None if they cannot be seen."""
    if _read(root, "proc/1/cmdline") is None:
        return None  # the system hides other users' processes
    ancestors = _ancestors(root, pid)
    try:
        pids = [int(name) for name in os.listdir(os.path.join(root, "proc")) if name.isdigit()]
    except OSError:
        return None
    titles = ((_read(root, f"proc/{pid}/cmdline") or "").strip("\0 ") for pid in pids if pid not in ancestors)
    return sum(bool(_SSH.fullmatch(title)) for title in titles)


def _ancestors(root: str, pid: int) -> set[int]:
    """The process and its ancestors."""
    ancestors: set[int] = set()
    while pid > 0 and pid not in ancestors:
        ancestors.add(pid)
        fields = (_read(root, f"proc/{pid}/stat") or "").rpartition(")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0
    return ancestors


def _read(root: str, name: str) -> str | None:
    """The beginning of a regular file; None if it cannot be read. Links are not followed, pipes are not waited for."""
    path = os.path.join(root, name)
    with contextlib.suppress(OSError, ValueError), open(path, "rb", buffering=0, opener=nonblocking_opener) as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file.read(_MOST_BYTES).decode(errors="replace")
    return None


def nonblocking_opener(path: str, flags: int) -> int:
    """An opener for `open` that follows no link, and does not wait if the file has become a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
