# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads and formats numbers, times and words, as the API, registries and people write them."""

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
LONGEST_LINE = 400  # displayed characters of one of the API's sentences
LONGEST_NAME = 256  # displayed characters of a name
_CURRENCY = ("currency", "currency_code", "currencycode")  # endings of field names, in lower case
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # the spelling of ids
# Control characters (terminals obey them), also those that change the writing direction, and lone surrogates (they
# cannot be encoded).
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

QUOTA = "quota"  # an error class
# Words for an exhausted quota, which no page of the API documents: "quota" in any form, or a limit on an account or on
# something that is counted. Rate limits are temporary, and limits on a size are not quotas.
_COUNTED = "(account|organi[sz]ation|project|tenant|customer|subscription|team|instance|machine|server|vm|v?cpu|gpu)s?"
_QUOTA = re.compile(
    rf"quota(?!tion)|\b{_COUNTED}[ _-]limit|\blimits? (of|for|on) ((your|the|this) )?([0-9]+ )?{_COUNTED}\b"
    rf"|\bmaximum number of {_COUNTED}\b",
    re.IGNORECASE,
)
_RATE = re.compile(r"\brate[ _-]?limit|too many requests|requests per ", re.IGNORECASE)


def is_quota(words: str | None) -> bool:
    """Whether the API says that a request exceeds an account's quota, so that waiting does not help."""
    return bool(words and _QUOTA.search(words) and not _RATE.search(words))


def number_of(value: t.Any) -> float | None:
    """A finite number, or None. The API may send it as text, as FastAPI does with decimals."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


_DEAREST = 1e15  # USD per hour; costs of a year below it still fit into a float


def read_price(value: t.Any) -> float | None:
    """USD per hour, rounded to a millionth; None if the value is not a number, is negative, or is too large."""
    price = number_of(value)
    return round(price, 6) if price is not None and 0 <= price < _DEAREST else None


_MOST_NODES = 10_000  # each gets a name


def nodes_of(offer: t.Mapping[str, t.Any]) -> int | None:
    """The number of an offer's machines; None if it is missing or impossible."""
    nodes = number_of(offer.get("node_count"))
    return int(nodes) if nodes is not None and 1 <= nodes <= _MOST_NODES else None


def foreign_currency(data: t.Mapping[str, t.Any]) -> str:
    """The currency of the prices of an offer or resource; empty for USD, or if the API does not name one.

    The API's pages document no such field, so any field counts whose name ends like one, such as ``price_currency``.
    """
    values = (text_of(value) for name, value in data.items() if str(name).lower().endswith(_CURRENCY))
    return next((printable(value, LONGEST_LINE) for value in values if value.upper() not in ("", "USD")), "")


# Times

UNKNOWN = "unknown"  # a time outside the calendar
_BEGIN = datetime(1970, 1, 1, tzinfo=timezone.utc)
END = datetime(9999, 1, 1, tzinfo=timezone.utc).timestamp()  # a later time means "never", or is an error


def calendar(seconds: float) -> datetime | None:
    """A timestamp as a date and time in UTC; None outside the calendar (1970 to 9998), and for NaN."""
    return _BEGIN + timedelta(seconds=seconds) if 0 <= seconds < END else None


def formatted(seconds: float) -> str:
    """A timestamp for people, to the minute: ``2026-01-31 12:00 UTC``; ``unknown`` outside the calendar."""
    moment = calendar(seconds)
    return UNKNOWN if moment is None else moment.strftime("%Y-%m-%d %H:%M UTC")


def utc(seconds: float) -> str:
    """A timestamp for registries and programs, to the second: ``2026-01-31T12:00:00Z``."""
    moment = calendar(seconds)
    return UNKNOWN if moment is None else f"{moment.isoformat()[:19]}Z"


def seconds_of(value: object, *, zoned: bool = False) -> float | None:
    """Seconds since the epoch, read from a text or from a date that YAML has parsed; None if it is not a valid time.

    A time outside the calendar (see `calendar`) is invalid. Without a zone, a time means UTC, as in the API's answers;
    with ``zoned`` it is invalid, since a person may mean local time.
    """
    try:
        # Python before 3.11 does not know the Z.
        moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        if zoned and not moment.tzinfo:
            return None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
        return seconds if 0 <= seconds < END else None
    except (ValueError, OverflowError):
        return None


def timestamps(values: t.Iterable[object]) -> list[float]:
    """The valid times among the values, in seconds since the epoch."""
    return [moment for moment in map(seconds_of, filter(None, values)) if moment is not None]


def first_timestamp(values: t.Iterable[object]) -> float | None:
    """The first valid time among the values, in seconds since the epoch, or None."""
    return next(iter(timestamps(values)), None)


# Words

TRUE = ("true", "yes", "on", "1", "y", "t")  # Ansible's words for true, in lower case
FALSE = ("false", "no", "off", "0", "n", "f")  # and for false


def letters_of(name: object) -> str:
    """The letters and digits of a name in lower case, so that ``gpuCount`` equals ``gpu_count``."""
    return re.sub("[^a-z0-9]", "", str(name).lower())


def text_of(value: t.Any) -> str:
    """A value as text without surrounding blanks; empty for None."""
    return "" if value is None else str(value).strip()


def items_of(value: t.Any) -> t.Sequence[t.Any]:
    """A list as it is, or a single value as a list of one item."""
    return value if isinstance(value, (list, tuple)) else [value]


def mapping_of(value: t.Any) -> t.Mapping[str, t.Any]:
    """The value if it is a mapping, else an empty mapping."""
    return value if isinstance(value, t.Mapping) else {}


def read_json_object(text: str) -> t.Mapping[str, t.Any]:
    """The JSON object in a text; an empty mapping for other JSON values and for invalid JSON."""
    try:
        return mapping_of(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def mappings_in(value: t.Any) -> list[dict[str, t.Any]]:
    """The mappings in a list; empty if the value is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, (list, tuple)) else []


def texts_of(value: t.Any) -> tuple[str, ...]:
    """The non-empty texts in a list, or a single text; booleans are left out."""
    return tuple(filter(None, (text_of(item) for item in items_of(value) if not isinstance(item, bool))))


def grouped(pairs: t.Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    """The values of each key, in their order."""
    result: dict[Key, list[Value]] = {}
    for key, value in pairs:
        result.setdefault(key, []).append(value)
    return result


def printable(text: str, longest: int) -> str:
    """A text from the network, cut to ``longest`` characters, without characters that would harm a terminal."""
    cut = text if len(text) <= longest else text[:longest] + "..."
    return _UNPRINTABLE.sub("\ufffd", cut)


def mask_secrets(text: str, secrets: t.Iterable[str]) -> str:
    """Replace the secrets in the text by stars."""
    for secret in secrets:
        text = text.replace(secret, "********")
    return text


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """The API's sentences on one line, cut to ``longest`` characters."""
    return printable(" ".join(text.split()), longest)


# For people: durations, typing errors, prices, sentences, tables

COLUMNS = 80  # the width of a terminal
LINE = 69  # the characters of an item when Ansible prints a list, with indentation, quotes and a comma
_SHOWN = 5  # names in a sentence
_SHORT = 60  # characters of a repeated sentence
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}  # of durations, in seconds


def duration(text: str) -> float:
    """Read a duration, in seconds or with a unit (``90s``, ``30m``, ``2h``, ``3d``), and return its seconds.

    Raises ValueError with the reason for people.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)", text.strip())
    if not found:
        raise ValueError(f"must be a number of seconds, or a duration such as 90s or 30m, not '{printable(text, 60)}'")
    return float(found[1]) * _UNITS[found[2]]


def read_variable(
    name: str, value: t.Any, reader: t.Callable[[t.Any], Value], otherwise: Default, wrong: list[str]
) -> Value | Default:
    """Return the result of ``reader``; if it raises ValueError, add that to ``wrong`` and return ``otherwise``.

    The error's text completes a sentence that begins with the variable's ``name``.
    """
    try:
        return reader(value)
    except ValueError as error:
        wrong.append(sentence(f"{name} {error}"))
        return otherwise


def applicable(sentences: t.Mapping[str, object]) -> list[str]:
    """The sentences whose conditions are true."""
    return [sentence for sentence, holds in sentences.items() if holds]


def duration_text(seconds: float) -> str:
    """A duration for a sentence, in the largest unit without a fraction: ``90 seconds``, ``2 hours``."""
    units = ((3600, "hour"), (60, "minute"))
    unit, name = next((item for item in units if seconds and seconds % item[0] == 0), (1, "second"))
    return plural(seconds / unit, name)


def plural(number: float, noun: str) -> str:
    """A number with a noun, such as ``1 host`` or ``2 hosts``. The noun's plural must end in s."""
    return f"{number:.15g} {noun}{'' if number == 1 else 's'}"


def nearest(word: str, known: t.Collection[str], edits: int = 2) -> str | None:
    """The known word that was probably meant: the closest one within these edits. None if the word is known.

    An edit adds, removes or replaces a letter, or swaps two (Damerau-Levenshtein distance). Differences in case,
    hyphens and underscores do not count as edits.
    """
    if word in known:
        return None
    plain = plain_name(word)
    return next((other for number in range(edits + 1) for other in known if _is_within(number, plain, other)), None)


def plain_name(name: str) -> str:
    """The name in lower case, with single underscores between its words."""
    return re.sub("[_-]+", "_", name.lower())


def _is_within(edits: int, one: str, other: str) -> bool:
    """Whether at most this number of edits turns one word into the other."""
    if abs(len(one) - len(other)) > edits:
        return False
    differences = (index for index, pair in enumerate(zip(one, other)) if pair[0] != pair[1])
    same = next(differences, min(len(one), len(other)))
    one, other = one[same:], other[same:]
    if not one or not other or not edits:
        return max(len(one), len(other)) <= edits
    is_swap = one[:2] == other[1::-1]
    # Remove a letter, add one, replace one, swap two
    steps = [(1, 0), (0, 1), (1, 1), *([(2, 2)] if is_swap else [])]
    return any(_is_within(edits - 1, one[mine:], other[its:]) for mine, its in steps)


def age(seconds: float) -> str:
    """A duration in short form: ``45m``, ``30h``, ``12d``."""
    units = (("d", 2 * 86_400), ("h", 2 * 3600), ("m", 60))
    unit = next((name for name, least in units if seconds >= least), "s")
    return f"{max(0.0, seconds) // _UNITS[unit]:.0f}{unit}"


def amount(price: float) -> str:
    """An amount of USD with two to six decimals, without trailing zeros after the cents."""
    cents, digits = f"{price:.6f}"[:-4], f"{price:.6f}"[-4:]
    return cents + digits.rstrip("0")


def gpus_of(count: object, kind: object) -> str:
    """GPUs for a sentence, such as ``8 x H100``; without a number only the kind."""
    return f"{count} x {kind}" if count else str(kind)


def ids_in_words(ids: t.Iterable[str]) -> str:
    """Ids for a sentence."""
    return ", ".join(ids) or "none known yet"


def abridged(hosts: t.Iterable[str], most: int = _SHOWN) -> str:
    """The first ``most`` names without repetitions, and the number of further ones."""
    names = list(dict.fromkeys(hosts))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def sentence(text: object) -> str:
    """The text with exactly one full stop at its end."""
    return f"{str(text).rstrip('.')}."


def joined(*sentences: str) -> str:
    """Join the non-empty sentences with spaces."""
    return " ".join(filter(None, (sentence.strip() for sentence in sentences)))


def summary_of(text: object) -> str:
    """The first sentence of a text, shortened if it is long. For texts that were shown in full before."""
    first = re.split(r"(?<=\.) ", str(text).strip())[0]
    head = first if len(first) < _SHORT else re.split("[:;] ", re.sub(r"^Offer \S+: ", "", first))[0]
    return head and sentence(head) if len(head) < _SHORT else textwrap.shorten(head, _SHORT, placeholder=" ...")


def ranges(names: t.Iterable[str]) -> list[str]:
    """The sorted names, each once; three or more consecutive numbers become an inventory range: ``gpu-[1:20]``."""
    rows: list[list[str]] = []
    for name in sorted(set(names), key=_numbered):
        if rows and _follows(name, rows[-1][-1]):
            rows[-1].append(name)
        else:
            rows.append([name])
    return [item for row in rows for item in (row if len(row) < _ROW else [_range(row[0], row[-1])])]


def host_pattern(host: str) -> str:
    """The pattern that matches only this host. Ansible splits names that are not plain, for example at a blank."""
    if PLAIN_NAME.fullmatch(host):
        return host
    return "~" + "".join(char if char.isalnum() else f"\\U{ord(char):08x}" for char in host) + r"\Z"


def end_option(hosts: t.Iterable[str]) -> str:
    """The option of the playbook `decommission` that names exactly these hosts: ``-e decommission_hosts=gpu-1``.

    Contains a placeholder if a name would need nested quotes: without them, the command would end other hosts.
    """
    names = list(hosts)
    if not all(map(PLAIN_NAME.fullmatch, names)):
        return "-e decommission_hosts=<host>"
    return "-e " + shlex.quote(f"decommission_hosts={','.join(ranges(names))}")


PLAIN_NAME = re.compile(r"\w[\w.-]*")  # a host name that neither Ansible nor ssh splits
_NUMBERED = re.compile(r"(.*?)([0-9]{0,9})", re.DOTALL)
_ROW = 3  # names in the shortest range


def _numbered(name: str) -> tuple[str, int, str]:
    """Split off the digits at the end of a name: (text, number of digits, digits), which sorts names by number."""
    text, digits = t.cast("re.Match[str]", _NUMBERED.fullmatch(name)).groups()
    return text, len(digits), digits


def _follows(name: str, before: str) -> bool:
    """Whether the name has the next number after ``before``, in the same notation."""
    (text, width, digits), (next_text, next_width, next_digits) = _numbered(before), _numbered(name)
    if not digits or not next_digits or text != next_text or int(next_digits) != int(digits) + 1:
        return False
    return width == next_width or not (digits.startswith("0") or next_digits.startswith("0"))


def _range(first: str, last: str) -> str:
    text, _width, digits = _numbered(first)
    return f"{text}[{digits}:{_numbered(last)[2]}]"


def usd_short(price: float | None) -> str:
    """A price per hour in short form: ``USD 2.95/h``."""
    return "unknown price" if price is None else f"USD {amount(price)}/h"


def usd(price: float | None) -> str:
    """A price per hour for a sentence."""
    return "an unknown price" if price is None else f"USD {amount(price)} per hour"


def wrapped(text: str, most: int = LINE, indent: str = "") -> list[str]:
    """Wrap a text into lines of at most ``most`` characters; all lines but the first get the indentation.

    Words are not split, nor is an option ``-e name=value``, so that commands can be copied.
    """
    kept = re.sub(r"(?<!\S)-e ", f"-e{_GLUE}", text)
    lines = textwrap.wrap(kept, most, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_GLUE, " ") for line in lines]


_GLUE = "\x00"  # stands for a non-breaking blank


def folded_lines(lines: t.Iterable[str]) -> list[str]:
    """Wrap the long lines of a report, so that terminals do not break words."""
    return [part for line in lines for part in wrapped(line, indent="  ") or [""]]


def narrow_table(
    rows: t.Sequence[t.Mapping[str, t.Any]], columns: t.Mapping[str, str], shorten: t.Sequence[str] = ()
) -> list[str]:
    """The lines of a table. ``columns``: the key in the rows for each title.

    If lines would be longer than `LINE`, the texts in the columns with the titles ``shorten`` are shortened, one column
    after the other, and repeated in full below the table.
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
    """The lines of a table. ``right``: for each column, whether it is aligned on the right."""
    sides = [(">" if is_right else "<", width) for is_right, width in zip(right, _widths(cells))]
    return ["  ".join(f"{text:{side}{width}}" for text, (side, width) in zip(line, sides)).rstrip() for line in cells]


def _widths(cells: t.Iterable[t.Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*cells)]


def row_line(row: t.Mapping[str, t.Any], columns: t.Mapping[str, str]) -> str:
    """A single row as a line: each value with its title, except texts whose title equals their key."""
    return "  ".join(
        f"{_cell(value)} {title}" if _is_number(value) else _cell(value) if title == key else f"{title} {_cell(value)}"
        for title, key, value in ((title, key, row.get(key)) for title, key in columns.items())
    )


_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")  # the format of `utc`
_LEAST = 6  # characters of a shortened text
_WHOLE = len("in total")  # characters of a text that is always shown whole


def shortened(text: str, most: int) -> str:
    """The text, with its middle replaced by ``~`` if it is longer than ``most`` characters, and not short anyway."""
    if len(text) <= max(most, _WHOLE):
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
    if isinstance(value, str) and _UTC.fullmatch(value):
        return f"{value[:10]} {value[11:16]} UTC"
    return "-" if value is None or value == "" else str(value)
