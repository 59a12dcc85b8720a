# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pytest plugin that notes skipped tests; noxfile.py prints them at the end of its output.

Anything that runs in a session may add a line to the file in ``SUPPLY_SKIPPED``. Without that, it notes nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any


def note(line: str) -> None:
    """Note a skipped test or part, with the missing package or right."""
    if file := os.environ.get("SUPPLY_SKIPPED"):
        with open(file, "a") as opened:
            opened.write(f"{line}\n")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Note why tests were skipped. Workers of pytest-xdist have no summary, so each test is counted once."""
    reports = terminalreporter.stats.get("skipped", [])
    for why, number in Counter(str(report.longrepr[2]) for report in reports).items():
        note(f"{number} test{'s' * (number > 1)}: {why.removeprefix('Skipped: ')}")
