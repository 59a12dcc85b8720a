# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures and words as people write and read them: durations, slips of the pen, prices, tables.

Beside `_text`, since a module that only asks the API is not shipped with them.
"""

from __future__ import annotations

import re
import shlex
import textwrap
import typing as t

from ._text import printable

Value = t.TypeVar("Value")
Default = t.TypeVar("Default")
COLUMNS = 80  # of a screen
LINE = 69  # characters of these, where Ansible prints a list: with blanks, quotes and a comma around
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}  # of durations, in seconds


def duration(text: str) -> float:
    """The seconds of a duration: a number of them, or with a unit, as in ``90s``, ``30m``, ``2h`` and ``3d``.

    Raises ValueError with a reason for a person.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)", text.strip())
    if not found:
        raise ValueError(f"must be a number of seconds, or a duration such as 90s or 30m, not '{printable(text, 60)}'")
    return float(found[1]) * _UNITS[found[2]]


def read(
    name: str, value: t.Any, reader: t.Callable[[t.Any], Value], otherwise: Default, wrong: list[str]
) -> Value | Default:
    """What the ``reader`` makes of a variable's value; ``otherwise``, if that is wrong, which is added to ``wrong``.

    ``reader``: raises ValueError with a reason for a person, which stands behind the variable's name.
    """
    try:
        return reader(value)
    except ValueError as error:
        wrong.append(f"{name} {str(error).rstrip('.')}.")
        return otherwise


def applying(sentences: t.Mapping[str, object]) -> list[str]:
    """Those of the sentences whose condition holds."""
    return [sentence for sentence, holds in sentences.items() if holds]


def lasting(seconds: float) -> str:
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
    """
    if word in known:
        return None
    return next((other for edits in (1, 2) for other in known if _is_within(edits, word, other)), None)


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


def ranges(names: t.Iterable[str]) -> list[str]:
    """The names, each once, with three or more numbered ones in a row as a range of inventories: ``gpu-[1:20]``."""
    rows: list[list[str]] = []
    for name in sorted(set(names), key=_numbered):
        if rows and _follows(name, rows[-1][-1]):
            rows[-1].append(name)
        else:
            rows.append([name])
    return [item for row in rows for item in (row if len(row) < _ROW else [_range(row[0], row[-1])])]


def as_pattern(host: str) -> str:
    """The pattern that matches this host alone. Ansible takes other names apart, at a blank for example."""
    if _PLAIN.fullmatch(host):
        return host
    return "~" + "".join(sign if sign.isalnum() else f"\\U{ord(sign):08x}" for sign in host) + r"\Z"


def end_option(hosts: t.Iterable[str]) -> str:
    """The option of the playbook `decommission` that names just these hosts: ``-e decommission_hosts=gpu-1``.

    Names that need quotes within quotes are left to the reader, since they would end other hosts without them.
    """
    names = list(hosts)
    if not all(map(_PLAIN.fullmatch, names)):
        return "-e decommission_hosts=<host>"
    return "-e " + shlex.quote(f"decommission_hosts={','.join(ranges(names))}")


_PLAIN = re.compile(r"\w[\w.-]*")
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


def table(rows: t.Sequence[t.Mapping[str, t.Any]], columns: t.Mapping[str, str]) -> list[str]:
    """The lines of a table with a column for each key, by the titles of the columns."""
    return narrow_table(rows, columns, ())


def narrow_table(
    rows: t.Sequence[t.Mapping[str, t.Any]], columns: t.Mapping[str, str], shorten: t.Sequence[str]
) -> list[str]:
    """The same, with texts of some columns, by their titles, shortened in turn where lines would be longer than `LINE`.

    What was shortened stands below the table as a whole.
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


def line(row: t.Mapping[str, t.Any], columns: t.Mapping[str, str]) -> str:
    """A row without a table: each value has its title beside it, but for a text whose title is its key."""
    return "  ".join(
        f"{_cell(value)} {title}" if _is_number(value) else _cell(value) if title == key else f"{title} {_cell(value)}"
        for title, key, value in ((title, key, row.get(key)) for title, key in columns.items())
    )


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")  # as `_text.utc` writes it
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
