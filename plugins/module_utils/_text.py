# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures and texts as people write and read them. This module util is private to the collection."""

from __future__ import annotations

import re

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}  # in seconds


def amount(price: float) -> str:
    """A sum of USD: at least cents, more digits only where there are any."""
    cents, digits = f"{price:.6f}"[:-4], f"{price:.6f}"[-4:]
    return cents + digits.rstrip("0")


def usd(price: float | None) -> str:
    """A price in a sentence."""
    return "an unknown price" if price is None else f"USD {amount(price)} per hour"


def duration(text: str) -> float:
    """The seconds of a duration: a number of them, or with a unit, as in ``90s``, ``30m``, ``2h`` and ``3d``.

    Raises ValueError with a reason for a person.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)", text.strip())
    if not found:
        raise ValueError(f"must be a number of seconds, or a duration such as 90s or 30m, not '{one_line(text, 60)}'")
    return float(found[1]) * _UNITS[found[2]]


def lasting(seconds: float) -> str:
    """A duration in a sentence, in the largest unit that it is a whole number of."""
    for unit, word in ((3600, "hour"), (60, "minute")):
        if seconds and seconds % unit == 0:
            seconds, name = seconds / unit, word
            break
    else:
        name = "second"
    return f"{seconds:g} {name}{'' if seconds == 1 else 's'}"


def one_line(text: str, limit: int) -> str:
    """A text from elsewhere, for a sentence of ours: on one line, no control characters, so many letters at most."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
