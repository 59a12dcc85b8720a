# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures and words as an API writes them, and what of it belongs together."""

from __future__ import annotations

import math
import re
import typing as t

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


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Sentences of the API on one line."""
    return printable(" ".join(text.split()), longest)
