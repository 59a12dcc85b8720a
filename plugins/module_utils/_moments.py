# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moments as texts and as seconds since the epoch."""

from __future__ import annotations

import functools
import typing as t
from datetime import datetime, timedelta, timezone

UNKNOWN = "unknown"  # a moment that no calendar here has
_BEGIN = datetime(1970, 1, 1, tzinfo=timezone.utc)
END = datetime(9999, 1, 1, tzinfo=timezone.utc).timestamp()  # a later moment stands for "never", or is an error


def calendar(seconds: float) -> datetime | None:
    """A moment as a date and time in UTC; None outside the calendar: before 1970, from the year 9999 on, no number."""
    return _BEGIN + timedelta(seconds=seconds) if 0 <= seconds < END else None


def formatted(seconds: float) -> str:
    """A moment for people, down to the minute: ``2026-01-31 12:00 UTC``; ``unknown`` outside the calendar."""
    moment = calendar(seconds)
    return UNKNOWN if moment is None else moment.strftime("%Y-%m-%d %H:%M UTC")


def utc(seconds: float) -> str:
    """A moment as the registry and programs write it, down to the second: ``2026-01-31T12:00:00Z``."""
    moment = calendar(seconds)
    return UNKNOWN if moment is None else f"{moment.isoformat()[:19]}Z"


def seconds_of(value: object, *, zoned: bool = False) -> float | None:
    """Seconds since the epoch of a moment as text, or as YAML reads one that a person wrote; None if it is none.

    A moment outside the calendar (see `calendar`) is none. One without a zone is taken for UTC, as the API means it;
    with ``zoned`` it is none, since a person may not.
    """
    try:
        # Python before 3.11 does not know the Z.
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        if zoned and not moment.tzinfo:
            return None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
        return seconds if 0 <= seconds < END else None
    except (ValueError, OverflowError):
        return None


def seconds_of_utc(text: str) -> float | None:
    """The same of a text in the form of `utc`, in a third of the time; a ledger has hundreds of thousands of them."""
    hour, minutes, seconds = _hour(text[:13]), int(text[14:16]), int(text[17:19])
    return None if hour is None or minutes > 59 or seconds > 59 else hour + 60 * minutes + seconds


@functools.lru_cache(maxsize=1024)
def _hour(text: str) -> float | None:
    return seconds_of(f"{text}:00:00Z")


def moments(told: t.Iterable[object]) -> list[float]:
    """Those of these that are moments, in seconds since the epoch."""
    return [moment for moment in map(seconds_of, filter(None, told)) if moment is not None]


def first_of(told: t.Iterable[object]) -> float | None:
    """The first of these that is a moment, in seconds since the epoch; None if none is."""
    return next(iter(moments(told)), None)
