# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of the table. ``figures`` are of one unit; ``compared`` says how they stand to others of the same run."""

    what: str
    figures: list[float]
    unit: str
    compared: str = ""
    goal: str = ""

    def cells(self) -> tuple[str, ...]:
        low, high = min(self.figures), max(self.figures)
        spread = f"{number(low)} to {number(high)}" if len(self.figures) > 1 else ""
        return (
            self.what,
            f"{number(statistics.median(self.figures))} {self.unit}".rstrip(),
            spread,
            self.compared,
            self.goal,
        )


def number(value: float) -> str:
    """Three digits that count, and no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(title: str, rows: Iterable[Row]) -> str:
    """A heading and a table."""
    head = ("", "median", "spread", "ratio", "goal")
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ("---",) * len(head), *(row.cells() for row in rows))]
    return f"### {title}\n\n" + "\n".join(lines) + "\n"
