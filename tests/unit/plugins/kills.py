# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills an action before each of its lines in turn."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from itertools import count
from types import FrameType, ModuleType
from typing import Any


def is_killed_before_line(number: int, modules: Collection[ModuleType], action: Callable[[], Any]) -> bool:
    """Run the action in a process that is killed before its line with this number. Returns whether it was killed.

    Only lines of these modules count, each at its first execution.
    """
    files = {module.__file__ for module in modules}
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert status in (0, signal.SIGKILL), f"the action failed before line {number}"
        return status != 0
    lines = set[tuple[str, int]]()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
            if len(lines) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    code = 1
    try:
        sys.settrace(trace)
        action()
        code = 0
    finally:
        os._exit(code)


def kills(modules: Collection[ModuleType], action: Callable[[], Any]) -> Iterator[int]:
    """Run the action repeatedly, killed one line later each time, until it completes. Yields after each kill."""
    for number in count(1):
        if not is_killed_before_line(number, modules, action):
            assert number > 10, "no lines of these modules were traced"
            return
        yield number
