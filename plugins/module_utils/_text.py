# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures, words and moments: as an API and registries write them, and as people write and read them."""

from __future__ import annotations

import json
import math
import re
import shlex
import textwrap
import typing as t
from datetime import datetime, timedelta, timezone

Key = t.TypeVar("Key")
Value = t.TypeVar("Value")
Default = t.TypeVar("Default")
LONGEST_LINE = 400  # characters of a sentence of the API that are shown
LONGEST_NAME = 256  # characters of a name that are shown
_CURRENCY = ("currency", "currency_code", "currencycode")  # how names of fields end, in small letters
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # as ids are spelled
# Control characters, also those that turn the direction of what follows, and halves of surrogate pairs, which terminals
# obey and no encoder takes.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

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


_DEAREST = 1e15  # USD per hour: what less comes to in a year can still be reckoned with


def read_price(value: t.Any) -> float | None:
    """USD per hour, to a millionth; None for what is no price: not a number, below zero, or beyond any sum."""
    price = number_of(value)
    return round(price, 6) if price is not None and 0 <= price < _DEAREST else None


_MOST_NODES = 10_000  # names are made for each of them


def nodes_of(offer: t.Mapping[str, t.Any]) -> int | None:
    """How many machines an offer has; None if it does not say, or says what no cluster can have."""
    nodes = number_of(offer.get("node_count"))
    return int(nodes) if nodes is not None and 1 <= nodes <= _MOST_NODES else None


def foreign_currency(data: t.Mapping[str, t.Any]) -> str:
    """The currency of an offer's or a resource's prices; empty for USD, and if the API does not say.

    No page names such a field, so whatever ends like one counts, such as ``price_currency``.
    """
    named = (text_of(value) for name, value in data.items() if str(name).lower().endswith(_CURRENCY))
    return next((printable(said, LONGEST_LINE) for said in named if said.upper() not in ("", "USD")), "")


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


def timestamps(told: t.Iterable[object]) -> list[float]:
    """Those of these that are moments, in seconds since the epoch."""
    return [moment for moment in map(seconds_of, filter(None, told)) if moment is not None]


def first_timestamp(told: t.Iterable[object]) -> float | None:
    """The first of these that is a moment, in seconds since the epoch; None if none is."""
    return next(iter(timestamps(told)), None)


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


def mapping_of(value: t.Any) -> t.Mapping[str, t.Any]:
    """A mapping; an empty one in place of anything else."""
    return value if isinstance(value, t.Mapping) else {}


def read_json_object(text: str) -> t.Mapping[str, t.Any]:
    """The object that a text is in JSON; an empty one for another value, and for what is no JSON."""
    try:
        return mapping_of(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def mappings_in(value: t.Any) -> list[dict[str, t.Any]]:
    """The mappings in a list; none in anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, (list, tuple)) else []


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


def mask_secrets(text: str, secrets: t.Iterable[str]) -> str:
    """The text with stars in place of the secrets."""
    for secret in secrets:
        text = text.replace(secret, "********")
    return text


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Sentences of the API on one line."""
    return printable(" ".join(text.split()), longest)


# For people: durations, slips of the pen, prices, sentences, tables

COLUMNS = 80  # of a screen
LINE = 69  # characters of these, where Ansible prints a list: with blanks, quotes and a comma around
_SHOWN = 5  # names in a sentence
_SHORT = 60  # characters of a sentence that may be shown twice
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}  # of durations, in seconds


def duration(text: str) -> float:
    """The seconds of a duration: a number of them, or with a unit, as in ``90s``, ``30m``, ``2h`` and ``3d``.

    Raises ValueError with a reason for a person.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)", text.strip())
    if not found:
        raise ValueError(f"must be a number of seconds, or a duration such as 90s or 30m, not '{printable(text, 60)}'")
    return float(found[1]) * _UNITS[found[2]]


def read_variable(
    name: str, value: t.Any, reader: t.Callable[[t.Any], Value], otherwise: Default, wrong: list[str]
) -> Value | Default:
    """What the ``reader`` makes of a variable's value; ``otherwise``, if that is wrong, which is added to ``wrong``.

    ``reader``: raises ValueError with a reason for a person, which stands behind the variable's name.
    """
    try:
        return reader(value)
    except ValueError as error:
        wrong.append(sentence(f"{name} {error}"))
        return otherwise


def applicable(sentences: t.Mapping[str, object]) -> list[str]:
    """Those of the sentences whose condition holds."""
    return [sentence for sentence, holds in sentences.items() if holds]


def duration_text(seconds: float) -> str:
    """A duration in a sentence, in the largest unit that it is a whole number of."""
    units = ((3600, "hour"), (60, "minute"))
    unit, name = next((item for item in units if seconds and seconds % item[0] == 0), (1, "second"))
    return plural(seconds / unit, name)


def plural(number: float, noun: str) -> str:
    """A number of things, for example ``1 host`` or ``2 hosts``; the plural of the noun has an s."""
    return f"{number:.15g} {noun}{'' if number == 1 else 's'}"


def nearest(word: str, known: t.Collection[str]) -> str | None:
    """The known word that this one may be a slip of: the nearest, at most two edits away; None for a known word.

    An edit is a letter too much, one missing, another one, or two that changed places (Damerau and Levenshtein).
    Capitals, hyphens and lines beneath are slips, however many.
    """
    if word in known:
        return None
    plain = plain_name(word)
    return next((other for edits in (0, 1, 2) for other in known if _is_within(edits, plain, other)), None)


def plain_name(name: str) -> str:
    """The name as variables are written: in small letters, with single lines beneath between its words."""
    return re.sub("[_-]+", "_", name.lower())


def _is_within(edits: int, one: str, other: str) -> bool:
    """Whether so many edits make one word of the other."""
    if abs(len(one) - len(other)) > edits:
        return False
    differ = (place for place, (letter, its) in enumerate(zip(one, other)) if letter != its)
    same = next(differ, min(len(one), len(other)))
    one, other = one[same:], other[same:]
    if not one or not other or not edits:
        return max(len(one), len(other)) <= edits
    swapped = one[:2] == other[1::-1]
    # To leave out a letter, to add one, to take another one, and to swap two
    steps = [(1, 0), (0, 1), (1, 1), *([(2, 2)] if swapped else [])]
    return any(_is_within(edits - 1, one[mine:], other[its:]) for mine, its in steps)


def age(seconds: float) -> str:
    """A duration where there is little room: ``45m``, ``30h``, ``12d``."""
    units = (("d", 2 * 86_400), ("h", 2 * 3600), ("m", 60))
    unit = next((name for name, least in units if seconds >= least), "s")
    return f"{max(0.0, seconds) // _UNITS[unit]:.0f}{unit}"


def amount(price: float) -> str:
    """A sum of USD: at least cents, more digits only where there are any."""
    cents, digits = f"{price:.6f}"[:-4], f"{price:.6f}"[-4:]
    return cents + digits.rstrip("0")


def gpus_of(count: object, kind: object) -> str:
    """So many GPUs of a kind; without a number, the kind alone."""
    return f"{count} x {kind}" if count else str(kind)


def ids_in_words(ids: t.Iterable[str]) -> str:
    """Ids in a sentence."""
    return ", ".join(ids) or "none known yet"


def abridged(hosts: t.Iterable[str], most: int = _SHOWN) -> str:
    """The first of many names, each once."""
    names = list(dict.fromkeys(hosts))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def sentence(text: object) -> str:
    """A sentence with one full stop at its end, whoever has written it."""
    return f"{str(text).rstrip('.')}."


def joined(*sentences: str) -> str:
    """Sentences in a row, without the empty ones."""
    return " ".join(filter(None, (sentence.strip() for sentence in sentences)))


def summary_of(text: object) -> str:
    """A text that was shown before: its first sentence, or the beginning of that if it is long."""
    first = re.split(r"(?<=\.) ", str(text).strip())[0]
    head = first if len(first) < _SHORT else re.split("[:;] ", first)[0]
    return head and sentence(head) if len(head) < _SHORT else textwrap.shorten(head, _SHORT, placeholder=" ...")


def ranges(names: t.Iterable[str]) -> list[str]:
    """The names, each once, with three or more numbered ones in a row as a range of inventories: ``gpu-[1:20]``."""
    rows: list[list[str]] = []
    for name in sorted(set(names), key=_numbered):
        if rows and _follows(name, rows[-1][-1]):
            rows[-1].append(name)
        else:
            rows.append([name])
    return [item for row in rows for item in (row if len(row) < _ROW else [_range(row[0], row[-1])])]


def host_pattern(host: str) -> str:
    """The pattern that matches this host alone. Ansible takes other names apart, at a blank for example."""
    if PLAIN_NAME.fullmatch(host):
        return host
    return "~" + "".join(sign if sign.isalnum() else f"\\U{ord(sign):08x}" for sign in host) + r"\Z"


def end_option(hosts: t.Iterable[str]) -> str:
    """The option of the playbook `decommission` that names just these hosts: ``-e decommission_hosts=gpu-1``.

    Names that need quotes within quotes are left to the reader, since they would end other hosts without them.
    """
    names = list(hosts)
    if not all(map(PLAIN_NAME.fullmatch, names)):
        return "-e decommission_hosts=<host>"
    return "-e " + shlex.quote(f"decommission_hosts={','.join(ranges(names))}")


PLAIN_NAME = re.compile(r"\w[\w.-]*")  # of a host, which neither Ansible nor ssh takes apart
_NUMBERED = re.compile(r"(.*?)([0-9]{0,9})", re.DOTALL)
_ROW = 3  # names that are worth a range


def _numbered(name: str) -> tuple[str, int, str]:
    """A name's text, how many digits follow it, and these: so that the next number follows in a sorted list."""
    text, digits = t.cast("re.Match[str]", _NUMBERED.fullmatch(name)).groups()
    return text, len(digits), digits


def _follows(name: str, before: str) -> bool:
    """Whether the name has the next number, written in the same way."""
    (text, width, digits), (its_text, its_width, its_digits) = _numbered(before), _numbered(name)
    if not digits or not its_digits or text != its_text or int(its_digits) != int(digits) + 1:
        return False
    return width == its_width or not (digits.startswith("0") or its_digits.startswith("0"))


def _range(first: str, last: str) -> str:
    text, _width, digits = _numbered(first)
    return f"{text}[{digits}:{_numbered(last)[2]}]"


def usd_short(price: float | None) -> str:
    """A price per hour where there is little room: ``USD 2.95/h``."""
    return "unknown price" if price is None else f"USD {amount(price)}/h"


def usd(price: float | None) -> str:
    """A price in a sentence."""
    return "an unknown price" if price is None else f"USD {amount(price)} per hour"


def wrapped(text: str, most: int = LINE, indent: str = "") -> list[str]:
    """A text in lines of at most so many characters, all but the first indented. Ids, paths and names stay whole.

    So does a variable of a command, ``-e name=value``, for it is to be copied.
    """
    kept = re.sub(r"(?<!\S)-e ", f"-e{_GLUE}", text)
    lines = textwrap.wrap(kept, most, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_GLUE, " ") for line in lines]


_GLUE = "\x00"  # in place of a blank at which no line ends


def folded_lines(lines: t.Iterable[str]) -> list[str]:
    """The lines of a report, the longer ones folded, so that no terminal breaks them in the middle of a word."""
    return [part for line in lines for part in wrapped(line, indent="  ") or [""]]


def narrow_table(
    rows: t.Sequence[t.Mapping[str, t.Any]], columns: t.Mapping[str, str], shorten: t.Sequence[str] = ()
) -> list[str]:
    """The lines of a table with a column for each key, by the titles of the columns.

    Texts of the columns to ``shorten``, by their titles, are that in turn where lines would be longer than `LINE`. What
    was shortened stands below the table as a whole.
    """
    if not rows:
        return []
    cells, whole = [list(columns), *([_cell(row.get(key)) for key in columns.values()] for row in rows)], []
    for title in shorten:
        number, widths = list(columns).index(title), _widths(cells)
        room = widths[number] - max(0, sum(widths) + 2 * (len(widths) - 1) - LINE)
        for line in cells[1:]:
            text, line[number] = line[number], shortened(line[number], max(room, _LEAST))
            whole += [f"~ {text}"] if line[number] != text else []
    right = [any(_is_number(row.get(key)) for row in rows) for key in columns.values()]
    return [*_aligned(cells, right), *dict.fromkeys(whole)]


def _aligned(cells: t.Sequence[t.Sequence[str]], right: t.Sequence[bool]) -> list[str]:
    """The lines of a table. ``right``: of each column, whether its texts end, rather than begin, below each other."""
    widths = _widths(cells)
    return [
        "  ".join(
            text.rjust(width) if is_right else text.ljust(width) for text, width, is_right in zip(line, widths, right)
        ).rstrip()
        for line in cells
    ]


def _widths(cells: t.Iterable[t.Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*cells)]


def row_line(row: t.Mapping[str, t.Any], columns: t.Mapping[str, str]) -> str:
    """A row without a table: each value has its title beside it, but for a text whose title is its key."""
    return "  ".join(
        f"{_cell(value)} {title}" if _is_number(value) else _cell(value) if title == key else f"{title} {_cell(value)}"
        for title, key, value in ((title, key, row.get(key)) for title, key in columns.items())
    )


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")  # as `utc` writes it
_LEAST = 6  # characters that are left of a shortened text


def shortened(text: str, most: int) -> str:
    """The text, or as much of its beginning and its end as there is room for."""
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}~{text[len(text) - (most - head - 1) :]}"


def _is_number(value: t.Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: t.Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, float):
        return amount(value)
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return f"{value[:10]} {value[11:16]} UTC"
    return "-" if value is None or value == "" else str(value)
