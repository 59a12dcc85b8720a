# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures as people read them. This module util is private to the collection."""

from __future__ import annotations

import typing as t


def amount(price: float) -> str:
    """A sum of USD: at least cents, more digits only where there are any."""
    cents, digits = f"{price:.6f}"[:-4], f"{price:.6f}"[-4:]
    return cents + digits.rstrip("0")


def usd(price: float | None) -> str:
    """A price in a sentence."""
    return "an unknown price" if price is None else f"USD {amount(price)} per hour"


def nearest(word: str, known: t.Iterable[str], most: int = 2) -> str | None:
    """The known word that differs from this one by the fewest slips, at most so many; None if it is known or far off.

    A slip is a letter too many, missing, wrong, or two that changed places.
    """
    words = sorted(known)
    if word in words:
        return None
    distances = [(_slips(word, each), each) for each in words if abs(len(word) - len(each)) <= most]
    slips, best = min(distances, default=(most + 1, ""))
    return best if slips <= most else None


def _slips(one: str, other: str) -> int:
    """How many slips lie between two words (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        before, last, row = row, before, [i]
        for j, letter_2 in enumerate(other, start=1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != letter_2))
            if last and j > 1 and letter == other[j - 2] and one[i - 2] == letter_2:
                best = min(best, last[j - 2] + 1)
            row.append(best)
    return row[-1]


def table(rows: t.Sequence[t.Mapping[str, t.Any]], columns: t.Mapping[str, str]) -> list[str]:
    """The lines of a table with a column for each key."""
    if not rows:
        return []
    cells = [list(columns), *([_cell(row.get(key)) for key in columns.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    right = [any(_is_number(row.get(key)) for row in rows) for key in columns.values()]
    return [
        "  ".join(
            text.rjust(width) if is_right else text.ljust(width) for text, width, is_right in zip(line, widths, right)
        ).rstrip()
        for line in cells
    ]


def _is_number(value: t.Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: t.Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, float):
        return amount(value)
    return "-" if value is None or value == "" else str(value)
