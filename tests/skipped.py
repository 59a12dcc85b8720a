# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest: what was skipped is noted for the end of the output (noxfile.py), where it is read.

Whatever runs in a session may add a line to the file that ``SUPPLY_SKIPPED`` names; without it nothing is noted.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any


def note(line: str) -> None:
    """Note what was skipped, and why: which package or right is missing."""
    if file := os.environ.get("SUPPLY_SKIPPED"):
        with open(file, "a") as opened:
            opened.write(f"{line}\n")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Note why tests were skipped. Workers of pytest-xdist have no summary, so each is counted once."""
    reports = terminalreporter.stats.get("skipped", [])
    for why, number in Counter(str(report.longrepr[2]) for report in reports).items():
        note(f"{number} test{'s' * (number > 1)}: {why.removeprefix('Skipped: ')}")
