# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requirements of an acceptance test. Roles check them before they buy, so no program or reading is used here."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .._text import number_of

TIMEOUTS = {"specs": 60.0, "health": 120.0, "load": 600.0, "burnin": 3600.0}  # seconds that each level may take
LEVELS = tuple(TIMEOUTS)  # each includes the checks of the levels before it
VERDICTS = ("ok", "unknown", "degraded", "bad")  # the worst last
THRESHOLDS = {
    "clock": 60.0,  # seconds that the clock may differ
    "disk_write": 50.0,  # MB/s, 64 MiB to the file system of /var/tmp
    "temperature_margin": 5.0,  # degrees below the temperature at which the GPU slows down
}


@dataclass(frozen=True)
class Wanted:
    """The requirements that a machine is tested against."""

    level: str
    offer: t.Mapping[str, t.Any] = field(default_factory=dict)
    min_driver: str = ""
    min_cuda: str = ""
    thresholds: t.Mapping[str, float] = field(default_factory=lambda: THRESHOLDS)


def least_version(name: str, text: str) -> str:
    """Return the value of an option, a version or empty. Raises ValueError for any other text."""
    if text and not version_of(text):
        raise ValueError(f"{name} must be a version such as 550 or 12.4, not '{text}'.")
    return text


def thresholds_of(given: t.Mapping[str, t.Any]) -> dict[str, float]:
    """The given thresholds, and the defaults of the others. Raises ValueError for unknown names and invalid numbers."""
    numbers = {name: number_of(value) for name, value in given.items()}
    wrong = [name for name, number in numbers.items() if name not in THRESHOLDS or number is None]
    if wrong:
        raise ValueError(f"thresholds must be numbers of {', '.join(THRESHOLDS)}, unlike {', '.join(wrong)}.")
    return {**THRESHOLDS, **{name: number for name, number in numbers.items() if number is not None}}


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version without trailing zeros, so that 12.0 equals 12; empty if the text is no version."""
    match = re.fullmatch(r"([0-9]{1,6}(\.[0-9]{1,6})*?)(\.0+)*", text)
    return tuple(map(int, match[1].split("."))) if match else ()
