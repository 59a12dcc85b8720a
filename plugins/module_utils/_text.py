# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures, words and moments as an API and registries write them, and what of it belongs together."""

from __future__ import annotations

import functools
import math
import re
import typing as t
from datetime import datetime, timedelta, timezone

Key = t.TypeVar("Key")
Value = t.TypeVar("Value")
LONGEST_LINE = 400  # characters of a sentence of the API that are shown
LONGEST_NAME = 256  # characters of a name that are shown
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # as ids are spelled
# Control characters and halves of surrogate pairs, which terminals obey and no encoder takes.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

QUOTA = "quota"  # the error class
# By which of its words an API says that an account has used up its quota, which no page documents: "quota" in any form,
# a limit of something that is counted, or of somebody. The limit of a rate passes, and that of a size is no quota.
_COUNTED = "(account|organi[sz]ation|project|tenant|customer|subscription|team|instance|machine|server|vm|v?cpu|gpu)s?"
_QUOTA = re.compile(
    rf"quota(?!tion)|\b{_COUNTED}[ _-]limit|\blimits? (of|for|on) ((your|the|this) )?([0-9]+ )?{_COUNTED}\b"
    rf"|\bmaximum number of {_COUNTED}\b",
    re.IGNORECASE,
)
_RATE = re.compile(r"\brate[ _-]?limit|too many requests|requests per ", re.IGNORECASE)


def is_quota(words: str | None) -> bool:
    """Whether the API says that what was asked for exceeds the quota of an account, which no waiting cures."""
    return bool(words) and bool(_QUOTA.search(words or "")) and not _RATE.search(words or "")


def number_of(value: t.Any) -> float | None:
    """A finite number, also where the API writes it as text, as FastAPI does with decimals."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def foreign_currency(data: t.Mapping[str, t.Any]) -> str:
    """The currency of an offer's or a resource's prices; empty for USD, and if the API does not say."""
    return "" if (said := text_of(data.get("currency"))).upper() in ("", "USD") else printable(said, LONGEST_LINE)


# Moments

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


# Words

TRUE = ("true", "yes", "on", "1", "y", "t")  # what Ansible takes for true, in small letters
FALSE = ("false", "no", "off", "0", "n", "f")  # and for false


def letters_of(name: object) -> str:
    """The letters and digits of a name, so that ``gpuCount`` is ``gpu_count``."""
    return re.sub("[^a-z0-9]", "", str(name).lower())


def text_of(value: t.Any) -> str:
    """What a person may have written as a text, without blanks around it; empty for nothing."""
    return "" if value is None else str(value).strip()


def items_of(value: t.Any) -> t.Sequence[t.Any]:
    """What a person may have written as a list, or as a single item."""
    return value if isinstance(value, (list, tuple)) else [value]


def texts_of(value: t.Any) -> tuple[str, ...]:
    """Texts that are not empty, or a single one."""
    return tuple(filter(None, (text_of(item) for item in items_of(value) if not isinstance(item, bool))))


def grouped(pairs: t.Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    """The values of each key, in their order."""
    result: dict[Key, list[Value]] = {}
    for key, value in pairs:
        result.setdefault(key, []).append(value)
    return result


def printable(text: str, longest: int) -> str:
    """A text of the network that harms no terminal and fills none."""
    cut = text if len(text) <= longest else text[:longest] + "..."
    return _UNPRINTABLE.sub("\ufffd", cut)


def starred(text: str, secrets: t.Iterable[str]) -> str:
    """The text with stars in place of the secrets."""
    for secret in secrets:
        text = text.replace(secret, "********")
    return text


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Sentences of the API on one line."""
    return printable(" ".join(text.split()), longest)
