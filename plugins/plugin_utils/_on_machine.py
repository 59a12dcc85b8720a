# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task does that waits for a machine: it tells people how far that is, and ends when its limit says so.

The machine may freeze or go; no process is left behind then. Ansible's own lines do not say what is waited for.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import typing as t
from collections.abc import Iterator

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.compute_index.supply.plugins.module_utils._text import COLUMNS, plural, wrapped

ATTEMPT = 15  # seconds that one attempt to connect may take
# A machine that freezes sends nothing, and a connection to it would stay open. This ends it after some 15 seconds.
_ALIVE = "-o ServerAliveInterval=5 -o ServerAliveCountMax=3"
MINUTE = 60.0  # seconds after which a state that has not changed is told again
QUIET = 10.0  # the first seconds of a wait, which need no word
# Ansible's callback for terminals. Others, such as AWX's and JSON, have an output of their own, which stays as it is.
_TERMINAL = ("default", "ansible.builtin.default")

display = Display()


def in_terminal() -> bool:
    """Whether a person reads along, by Ansible's callback for terminals."""
    return C.DEFAULT_STDOUT_CALLBACK in _TERMINAL


def show_lines(text: str) -> None:
    """Show a line in the terminal, or as many as it needs there."""
    for line in wrapped(f"  {text}", COLUMNS, "    "):
        display.display(line)


class Progress:
    """What was told of a host's wait, which begins now; at first only what is urgent is told."""

    def __init__(self, host: str = "") -> None:
        self.host = host
        self.start = time.monotonic()
        self.msg, self.told = "", 0.0

    @property
    def passed(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self.start

    def news(self, msg: str, *, repeat: bool = True) -> float | None:
        """Seconds since the begin if this is new, or nothing was told for a minute (``repeat``); else None."""
        passed = self.passed
        if msg == self.msg and not (repeat and passed - self.told >= MINUTE):
            return None
        self.msg, self.told = msg, passed
        return passed

    def tell(self, msg: str, urgent: bool = False) -> None:
        """A line if there is something new to say, or nothing was said for a minute: then its first words again."""
        if not in_terminal() or (self.passed < QUIET and not urgent):
            return
        again = msg == self.msg
        passed = self.news(msg)
        if passed is not None:
            message = f"unchanged: {re.split('[.:] ', msg)[0].removesuffix('.')}." if again else msg
            show_lines(f"{self.host}, after {passed:.0f} s: {message}")

    def tell_each_minute(self, msg: str) -> None:
        """A line about many machines once the first seconds have passed, and then one a minute, however much is new."""
        passed = self.passed
        if in_terminal() and passed >= (self.told + MINUTE if self.told else QUIET):
            self.told = passed
            show_lines(f"After {passed:.0f} s: {msg}")


class BriefAction(ActionBase):
    """The action of a module on a machine that may be frozen: it is not waited for, and leaves no process behind."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """What the module says. In a sweep a machine is unreachable if this computer would be taken for it."""
        super().run(tmp, task_vars)
        if self._connection.transport == "local" and "reap__sweep" in (task_vars or {}):
            # An exception would end the host's play, and a sweep whose hosts are all such.
            msg = "The connection of this host is local, so this computer would be taken for its machine."
            return {"unreachable": True, "msg": f"{msg} Set it for tasks, not for the host."}
        limit_attempts(self._connection)
        with leaving_nothing():
            return t.cast("dict[str, t.Any]", self._execute_module(task_vars=task_vars))


class MachineAction(ActionBase):
    """An action whose result is never "unreachable", which would take the host out of the play without a last word."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """What all of them begin with."""
        self.progress = Progress(str(self._task.delegate_to or (task_vars or {}).get("inventory_hostname")))
        self._parent = os.getppid()
        return t.cast("dict[str, t.Any]", super().run(tmp, task_vars))

    def pause(self, seconds: float) -> None:
        """Wait for so long. Raises AnsibleActionFail in a worker of a play that was killed."""
        time.sleep(seconds)
        if os.getppid() != self._parent:
            raise AnsibleActionFail("ansible-playbook has ended, so nobody waits for this task any more.")

    def cleanup(self, force: bool = False) -> None:
        """Remove the task's files. A machine that has gone keeps them: for those alone it would be unreachable."""
        with contextlib.suppress(AnsibleConnectionFailure):
            super().cleanup(force)


def limit_attempts(connection: t.Any, seconds: int = ATTEMPT) -> None:
    """Bound each attempt to connect, whatever the configuration says, and let a machine that freezes be noticed."""
    if connection.transport == "ssh":
        connection.set_option("timeout", seconds)
        connection.set_option("reconnection_retries", 0)
        arguments = connection.get_option("ssh_extra_args")
        # The first value counts for ssh, so the user's own stay in force.
        connection.set_option("ssh_extra_args", f"{arguments or ''} {_ALIVE}".strip())


def local_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder on this computer for what a task brings to a machine or home.

    It is in Ansible's own, which the main process removes: a worker may be killed before it has removed anything.
    """
    return tempfile.TemporaryDirectory(prefix="compute-index-run-", dir=C.DEFAULT_LOCAL_TMP)


@contextlib.contextmanager
def leaving_nothing() -> Iterator[None]:
    """Where what is done ends by an exception, such as the limit of a task, end what it has begun.

    Ansible's limit ends the worker alone, be it that of a play that was killed. Its ssh would wait for ever for a
    machine that is connected and does nothing.
    """
    try:
        yield
    except BaseException:
        _end_children()
        raise


@contextlib.contextmanager
def answering_within(seconds: float) -> Iterator[None]:
    """Give what is done on a machine so long, and then end it here. Raises AnsibleConnectionFailure for that.

    A machine that freezes may let in whoever connects, and keep the connection alive.
    """
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        _end_children()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except AnsibleError:
        if not is_late.is_set():
            raise
    finally:
        timer.cancel()
    if is_late.is_set():
        raise AnsibleConnectionFailure(f"it lets in, and no command has ended within {plural(seconds, 'second')}")


def _end_children() -> None:
    for pid in child_processes(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def child_processes(pid: int) -> list[int]:
    """The processes that this one has begun, and those that they have, the latter last."""
    parents, found = _parents(), [pid]
    for item in found:  # which grows meanwhile
        found += [child for child, parent in parents.items() if parent == item]
    return found[1:]


def _parents() -> dict[int, int]:
    """The parent of each process; none where that cannot be told."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            found[int(path.split("/")[2])] = int(file.read().rpartition(")")[2].split()[1])
    if not found:
        with contextlib.suppress(OSError):  # macOS and BSD have no such file system
            told = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False)
            pairs = (line.split() for line in told.stdout.splitlines())
            return {int(pid): int(parent) for pid, parent in pairs}
    return found


def unless_failed(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """The answer. Raises ValueError with its sentence if it is a failure."""
    if answer.get("failed") or answer.get("unreachable"):
        parts = (
            answer.get("msg") or "The machine does not answer.",
            answer.get("module_stderr") or answer.get("exception"),
        )
        # Since ansible-core 2.19 an exception may be an object of Ansible's, whose sentence the message has.
        raise ValueError(" ".join(part for part in parts if part and isinstance(part, str)))
    return answer
