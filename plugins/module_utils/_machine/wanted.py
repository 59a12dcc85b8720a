# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine is judged by. Roles read it before they buy, so it knows neither programs nor readings."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from .._text import number_of

TIMEOUTS = {"specs": 60.0, "health": 120.0, "load": 600.0, "burnin": 3600.0}  # seconds that a test of a level may take
LEVELS = tuple(TIMEOUTS)  # each makes the checks of those before it, too
VERDICTS = ("ok", "unknown", "degraded", "bad")  # the worst last
THRESHOLDS = {
    "clock": 60.0,  # seconds that the clock may differ
    "disk_write": 50.0,  # MB/s, 64 MiB to the file system of /var/tmp
    "temperature_margin": 5.0,  # degrees below the temperature at which the GPU slows down
}


@dataclass(frozen=True)
class Wanted:
    """What a machine is judged by."""

    level: str
    offer: t.Mapping[str, t.Any] = field(default_factory=dict)
    min_driver: str = ""
    min_cuda: str = ""
    thresholds: t.Mapping[str, float] = field(default_factory=lambda: THRESHOLDS)


def least_version(name: str, text: str) -> str:
    """The value of an option that is a version, or empty. Raises ValueError."""
    if text and not version_of(text):
        raise ValueError(f"{name} must be a version such as 550 or 12.4, not '{text}'.")
    return text


def thresholds_of(given: t.Mapping[str, t.Any]) -> dict[str, float]:
    """All thresholds, those given among them. Raises ValueError for a name or a number that is none."""
    numbers = {name: number_of(value) for name, value in given.items()}
    wrong = [name for name, number in numbers.items() if name not in THRESHOLDS or number is None]
    if wrong:
        raise ValueError(f"thresholds must be numbers of {', '.join(THRESHOLDS)}, unlike {', '.join(wrong)}.")
    return {**THRESHOLDS, **{name: number for name, number in numbers.items() if number is not None}}


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version without zeros at its end, so that 12.0 is 12; none if it is none."""
    match = re.fullmatch(r"([0-9]{1,6}(\.[0-9]{1,6})*?)(\.0+)*", text)
    return tuple(map(int, match[1].split("."))) if match else ()
