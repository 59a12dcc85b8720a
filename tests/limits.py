# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When tests give up. A limit only ends a test that hangs; no test measures time, so a busy computer fails none."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

HANGS = 900
"""Seconds after which a command or a wait counts as hanging. pytest's own limit is twice as long."""


def until(look: Callable[[], T], pause: float = 0.02) -> T:
    """Call ``look`` every ``pause`` seconds until its result is true; return that; AssertionError if it hangs."""
    end = time.monotonic() + HANGS
    while not (seen := look()):
        assert time.monotonic() < end, f"not seen within {HANGS} seconds"
        time.sleep(pause)
    return seen
