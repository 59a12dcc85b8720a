# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches a job on a machine: starts its command once, notes how it ended, and ends it when its time is over.

``run_job`` copies this file to the machine and starts it there: ``job_watcher.py FOLDER HOW``. So it needs nothing
but Python's own library, and nothing of the connection that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import typing as t

GRACE = 30.0  # seconds between TERM and KILL
RESERVE = 96 * 2**20  # bytes kept free for the modules that read the results of a job that has filled the disk
FULL = 2**20  # bytes; a disk with less room is full
_END_SIZE = 4096  # bytes
_PAUSE = 0.2  # seconds between two looks
_SUBREAPER = 36  # of prctl(2)


def watch(folder: str, how: str) -> None:
    """Run what the run's folder asks for, unless another watcher has begun it."""
    state = os.path.join(folder, "state")
    try:
        environment = _take(os.path.join(state, "env"))
    except FileNotFoundError:
        return
    note(os.path.join(state, "pid"), {**process(os.getpid()), "how": how, "began_at": time.time()})
    job = read(os.path.join(state, "job.json")) or {}
    with _room_for_end(state, os.path.join(folder, "parts", "reserve")) as end:
        try:
            end.update(_run(folder, job, environment))
        except OSError as error:
            end.update(phase="job", error=error.strerror)


def _run(folder: str, job: dict[str, t.Any], environment: dict[str, str]) -> dict[str, t.Any]:
    """Run the setup and the command, and return how the last of them ended."""
    limit = time.monotonic() + (job["time"] or float("inf"))
    with open(os.path.join(folder, "log.txt"), "ab", buffering=0, opener=private) as log:
        if job["setup"] and not job["is_set_up"]:
            end = _command("setup", job["setup"], folder, environment, log, limit)
            if end["exit_code"] != 0 or not end["in_time"]:
                return end
            note(os.path.join(folder, "setup.json"), {"digest": job["setup_digest"]})
        # What the job leaves behind becomes a child of this process, so that it is found and ended.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        return _command("job", job["command"], folder, environment, log, limit)


def _command(
    phase: str, text: str, folder: str, environment: dict[str, str], log: t.Any, limit: float
) -> dict[str, t.Any]:
    """Run a command until the moment ``limit`` of the monotonic clock, and return how it ended, as `_end` does."""
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    # `run_command` would wait for its end.
    child = subprocess.Popen(  # pylint: disable=ansible-bad-function
        [shell, "-c", text],
        cwd=os.path.join(folder, "work"),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    with contextlib.suppress(OSError):
        note(os.path.join(folder, "state", "phase.json"), {"phase": phase, **process(child.pid)})
    statuses: dict[int, int] = {}
    while child.pid not in statuses and time.monotonic() < limit:
        time.sleep(_PAUSE)
        _reap(statuses)
    in_time = child.pid in statuses
    left = [] if phase == "setup" and in_time else _end_all(statuses)
    code = os.waitstatus_to_exitcode(statuses[child.pid]) if child.pid in statuses else None
    return _end(phase, code, in_time, left if in_time else [])


def _end(phase: str, code: int | None, in_time: bool, left: list[str]) -> dict[str, t.Any]:
    """How a command ended, as ``end.json`` has it.

    ``code``: as `os.waitstatus_to_exitcode` has it, None if it could not be ended. ``left``: the names of processes
    that it had left running, and that were ended.
    """
    return {
        "phase": phase,
        "exit_code": None if code is None or code < 0 else code,
        "signal": None if code is None or code >= 0 else -code,
        "in_time": in_time,
        "left": left[:5],
    }


def _end_all(statuses: dict[int, int]) -> list[str]:
    """End all processes below this one, first with TERM; their names. What sleeps in the kernel is left alone."""
    names: dict[int, str] = {}
    began = time.monotonic()
    while (rest := descendants(os.getpid())) and time.monotonic() - began < 2 * GRACE:
        is_late = time.monotonic() - began >= GRACE
        for pid in rest:
            if is_late or pid not in names:
                names.setdefault(pid, rest[pid])
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    os.kill(pid, signal.SIGKILL if is_late else signal.SIGTERM)
        time.sleep(_PAUSE)
        _reap(statuses)
    return list(names.values())


def _reap(statuses: dict[int, int]) -> None:
    """Note how children have ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            statuses[pid] = status


@contextlib.contextmanager
def _room_for_end(state: str, reserve: str) -> t.Iterator[dict[str, t.Any]]:
    """Write how it ended even if the disk is full: room for that, and for its readers, is taken at the beginning."""
    end: dict[str, t.Any] = {}
    place = os.path.join(state, "end.new")
    with open(place, "wb", buffering=0) as file:
        file.write(b" " * _END_SIZE)
        os.fsync(file.fileno())
    with contextlib.suppress(OSError), open(reserve, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, min(RESERVE, free(os.path.dirname(reserve)) // 10))
    try:
        yield end
    finally:
        end.update(ended_at=time.time(), disk_full=free(state) < FULL)
        with contextlib.suppress(OSError):
            os.unlink(reserve)
        with open(place, "r+b", buffering=0) as file:
            file.write(json.dumps(end).encode()[:_END_SIZE])
            os.fsync(file.fileno())
        os.replace(place, os.path.join(state, "end.json"))


# Also used by those who read the state


def free(folder: str) -> int:
    """The bytes that may still be written there."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def read(path: str) -> dict[str, t.Any] | None:
    """A small file of the state; None if there is none, or it is no JSON."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        content: dict[str, t.Any] = json.load(file)
        return content
    return None


def note(path: str, content: dict[str, t.Any]) -> None:
    """Write a small file of the state by a rename, so that readers find the old one or the new one."""
    with open(f"{path}.new", "w", encoding="utf-8", opener=private) as file:
        file.write(json.dumps(content))  # `dump` takes five times as long
    os.replace(f"{path}.new", path)


def process(pid: int) -> dict[str, t.Any]:
    """What identifies a process, even if another one has the same number after a reboot."""
    content = _stat(pid)
    return {"pid": pid, "start": content[1][19] if content else "", "boot": boot()}


def is_running(identity: dict[str, t.Any] | None) -> bool:
    """Whether this process still runs."""
    content = _stat(identity["pid"]) if identity else None
    if identity is None or content is None or content[1][0] == "Z":
        return False
    return bool(identity["start"] == content[1][19] and identity["boot"] == boot())


def boot() -> str:
    """The id of this boot; empty if the system does not tell."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()
    return ""


def descendants(pid: int) -> dict[int, str]:
    """The processes below this one that still run, with their names."""
    table, below = processes(), {pid}
    while True:
        more = {child for child, (_name, fields) in table.items() if int(fields[1]) in below} - below
        if not more:
            return {child: table[child][0] for child in below - {pid} if table[child][1][0] != "Z"}
        below |= more


def processes() -> dict[int, tuple[str, list[str]]]:
    """All processes, with what `_stat` says of each."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return {number: content for number in pids if (content := _stat(number))}


def _stat(pid: int) -> tuple[str, list[str]] | None:
    """A process's name, and the fields of proc(5) from its state on; None if it has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        head, _bracket, tail = file.read().rpartition(")")
        return head.partition("(")[2], tail.split()
    return None


def _take(path: str) -> dict[str, str]:
    """The job's variables; only one watcher gets them. Raises FileNotFoundError if another one has."""
    with open(path, encoding="utf-8") as file:
        os.unlink(path)
        content: dict[str, str] = json.load(file)
        return content


def private(path: str, flags: int) -> int:
    """Opens a file for its owner only, and no link, for `open`."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


if __name__ == "__main__":
    watch(sys.argv[1], sys.argv[2])
