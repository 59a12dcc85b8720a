# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills what a test does before any line of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from itertools import count
from types import FrameType, ModuleType
from typing import Any


def ends_before(number: int, modules: Collection[ModuleType], act: Callable[[], Any]) -> bool:
    """Act in a process that is killed before the so manieth line of these modules that is new to it; whether it was."""
    files = {module.__file__ for module in modules}
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert status in (0, signal.SIGKILL), f"what is killed fails by itself before line {number}"
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
        act()
        code = 0
    finally:
        os._exit(code)


def kills(modules: Collection[ModuleType], act: Callable[[], Any]) -> Iterator[int]:
    """Act again and again, killed one line later each time, until it is killed no more."""
    for number in count(1):
        if not ends_before(number, modules, act):
            assert number > 10, "nothing of these modules was traced"
            return
        yield number
