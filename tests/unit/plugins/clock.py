# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clock for tests of code that waits."""

from __future__ import annotations

START = "2026-01-31T12:00:00Z"


class Clock:
    """A clock that starts at START, and advances only by `sleep` or if a test sets ``now``."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def time(self) -> float:
        return 1769860800.0 + self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds
