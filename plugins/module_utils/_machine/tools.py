# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs programs of a machine that may hang, and never waits for one that cannot be ended. Knows no Ansible.

A sick GPU puts what asks it to sleep in the kernel (state D), where no signal reaches it. So a program gets a session
of its own, no input, and files for its output: it keeps no connection open, and no one waits for it at the end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
import typing as t
from dataclasses import dataclass

MOST_OUTPUT = 16 * 2**20  # bytes; a program that writes more is ended
_PAUSE = 0.02  # seconds between two looks
_FURTHER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/cuda/bin"
# A shell looks for the program: were that on a file system that hangs, so would whoever executes it.
_SHELL = ("/bin/sh", "-c", 'exec "$@"', "sh")
NOT_RUN = (126, 127)  # a shell's exit codes for a program that cannot be executed, or is not there


@dataclass(frozen=True)
class Command:
    """A program with its arguments; ``limit`` and ``delay`` (before it starts) are seconds."""

    arguments: tuple[str, ...]
    limit: float
    delay: float = 0.0


@dataclass(frozen=True)
class Answer:
    """How a program ended; ``code`` is None if it did not end in time, or wrote too much."""

    command: tuple[str, ...]
    code: int | None
    output: str = ""
    errors: str = ""
    seconds: float = 0.0
    too_long: bool = False

    @property
    def hangs(self) -> bool:
        """Whether it does not answer."""
        return self.code is None and not self.too_long

    @property
    def is_absent(self) -> bool:
        """Whether the program is not installed."""
        return self.code in NOT_RUN


Kill = t.Callable[[int, int], None]
Run = t.Callable[[t.Mapping[str, Command]], "dict[str, Answer]"]


def run(commands: t.Mapping[str, Command], kill: Kill = os.killpg) -> dict[str, Answer]:
    """Run programs side by side, so that eight which hang take no longer than one. Answers by the commands' names.

    One with a delay looks at the others, and does not start if they have ended.
    """
    began = time.monotonic()
    waiting, running, answers = dict(commands), dict[str, _Process](), dict[str, Answer]()
    while True:
        now = time.monotonic()
        for name in [name for name, command in waiting.items() if now - began >= command.delay]:
            running[name] = _Process(waiting.pop(name), kill)
        for name, answer in [(name, process.answer()) for name, process in running.items()]:
            if answer is not None:
                answers[name] = answer
                del running[name]
        if not running:
            return answers
        time.sleep(_PAUSE)


class _Process:
    """A program that runs."""

    def __init__(self, command: Command, kill: Kill) -> None:
        self._command, self._kill = command, kill
        self._began = time.monotonic()
        self._output, self._errors = (tempfile.TemporaryFile() for _name in range(2))  # noqa: SIM115 - it outlives this
        path = f"{os.environ.get('PATH', '')}:{_FURTHER_PATH}"
        # `run_command` would wait for its end.
        self._process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            [*_SHELL, *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
            cwd="/",
            env={**os.environ, "PATH": path, "LC_ALL": "C"},
            start_new_session=True,
        )

    def answer(self) -> Answer | None:
        """How it ended, None while it may still end in time."""
        code, seconds = self._process.poll(), time.monotonic() - self._began
        too_long = max(os.fstat(file.fileno()).st_size for file in (self._output, self._errors)) > MOST_OUTPUT
        if code is None and not too_long:
            if seconds < self._command.limit:
                return None
            code = self._process.poll()
        if code is None:
            with contextlib.suppress(OSError):
                self._kill(self._process.pid, signal.SIGKILL)
        output, errors = _text(self._output), _text(self._errors)
        code = None if too_long else code
        return Answer(self._command.arguments, code, output, errors, seconds, too_long)


def _text(file: t.IO[bytes]) -> str:
    """What a program has written until now. The file has no name, so it is gone with the last who has it open."""
    with file:
        file.seek(0)
        return file.read(MOST_OUTPUT).decode(errors="replace")
