# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of a registry of files: what was bought and what became of it, one line of JSON for each event.

Lines are only ever added, under a lock and durably; after a crash the last one may be torn. What they come to is in
`_provision/ledger.py`.

This module util is private to the collection.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import typing as t

from .._moments import seconds_of, utc
from .._provision.clock import API, Clock
from .._provision.entry import read_entry
from .._provision.ledger import ENDED, MADE, NAMES, SENT, Book, Facts, Line, Purchase, facts_of, read_line
from ._locks import make_folder, sync_folder, try_lock, wait_for
from ._protocol import RegistryError, Variables


def line_of(
    event: str, host: str, entry: Variables, clock: Clock, now: float, run: str, why: str = "", renews: str = ""
) -> dict[str, t.Any]:
    """A line about the purchase of an entry; ``run`` tells it from those of other runs.

    ``now``: seconds since the epoch by the clock that noted the entry.
    """
    known = read_entry(entry)
    # No end is noted before it was; a `Date` of the API has whole seconds, cut off.
    now = math.ceil(now + (known.clock == API)) if event == ENDED else now
    return {
        "event": event,
        "at": utc(now),
        "host": host,
        **{own: getattr(known, own) for own in NAMES.values()},
        "project": known.project or "default",
        "run": run,
        **({"ahead": round(clock.api - clock.here, 3)} if known.clock == API and clock.api is not None else {}),
        **({"renews": renews} if renews else {}),
        **({"why": why} if why else {}),
    }


def append(path: str, line: t.Mapping[str, t.Any]) -> None:
    """Add a line, durably. Raises RegistryError."""
    try:
        make_folder(os.path.dirname(path))
        handle = wait_for(lambda: try_lock(path, os.O_RDWR | os.O_APPEND | os.O_CREAT), path)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            _write(handle, (b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)  # gives the lock back
        if not size:
            sync_folder(os.path.dirname(path))
    except OSError as error:
        reason = error.strerror or str(error)
        raise RegistryError(f"The ledger {path} cannot be kept: {reason}.") from None


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


# A line as `line_of` makes it: event, moment, host, offer and machines, the former two written as they are compared;
# then what all lines of an ordinary purchase say alike; and the run.
_LINE = re.compile(
    r'\{"event": "(\w+)", "at": "([0-9T:-]{19}Z)", "host": "([^"\\\x00-\x1f]+)", "offer_id": "([!#-@\[\]-~]+)",'
    r' "resource_ids": (\[[^\]]*\])'
)
_CLAIM, _RUN = ', "journaled_at": "', '", "run": "'
_RUN_OF = r'[0-9a-z]*"(?:, "ahead": [0-9.-]+)?'
_TO_THE_END = re.compile(rf'(.*){_CLAIM}([0-9T:-]{{19}}Z){_RUN}{_RUN_OF}, "why": "([a-z]*)"\}}\n?')
_AND_NO_MORE = re.compile(rf"{_RUN_OF}\}}\n?")
_ONE_ID = re.compile(r'\["([!#-@\[\]-~]+)"\]')


def read(path: str, book: Book, host: str = "") -> int:
    """Let the book read the lines, of one host or of all; how many cannot be read. Raises RegistryError."""
    try:
        reader = _Reader(book, host)
        reader.read(path)
        if book.again:
            _Reader(book, host, book.begin_again()).read(path)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise RegistryError(f"The ledger {path} cannot be read: {error.strerror}.") from None
    return len(reader.unread)


def _texts(path: str) -> t.Iterator[str]:
    """The lines of the file, each with its end. Raises OSError."""
    with open(path, encoding="utf-8", errors="replace") as file:
        yield from file


class _Reader:
    """Hands lines to a book. Of an ordinary purchase, all lines of which say the same, only the last one is parsed.

    ``only``: the purchases that are wanted, None for all.
    """

    def __init__(self, book: Book, host: str, only: t.Container[Purchase] | None = None) -> None:
        self._book, self._only = book, only
        self._host = json.dumps(host) if host else ""
        self._open: dict[Purchase, list[re.Match[str]]] = {}  # that may still be ordinary ones, with their lines
        self.unread: set[str] = set()

    def read(self, path: str) -> None:
        """Read the file. Raises OSError."""
        for text in _texts(path):
            if self._host in text:
                match = _LINE.match(text)
                if match is None:
                    self._hand_over(text)
                else:
                    self._take(match, (match[3], match[4]))
        for known in self._open.values():
            self._hand_over(*(each.string for each in known))

    def _take(self, line: re.Match[str], purchase: Purchase) -> None:
        if self._only is not None and purchase not in self._only:
            return
        known = self._open.get(purchase)
        if known is None:
            if not self._book.expects(purchase):
                self._hand_over(line.string)
                return
            known = self._open[purchase] = []
        known.append(line)
        if line[1] == ENDED:
            self._end(purchase, known)

    def _end(self, purchase: Purchase, known: list[re.Match[str]]) -> None:
        """What has ended is one bill; what comes after that is for the book."""
        del self._open[purchase]
        end = _ordinary_end(*known) if len(known) == 3 else None
        at = seconds_of(known[-1][2])
        if end is None or at is None or not self._book.closes(purchase):
            self._hand_over(*(each.string for each in known))
        else:
            self._book.close(purchase, None if self._book.is_over(at) else _end_of(known[-1], end, at))

    def _hand_over(self, *texts: str) -> None:
        for text in texts:
            line = _parsed(text)
            if line is not None:
                if self._only is None or line.purchase in self._only:
                    self._book.add(line)
            elif not text.isspace():
                self.unread.add(text.rstrip("\n"))


def _ordinary_end(sent: re.Match[str], made: re.Match[str], ended: re.Match[str]) -> re.Match[str] | None:
    """The rest of the last line if these are of one claim that was sent, made and ended, and say the same of it."""
    end = _TO_THE_END.fullmatch(ended.string, ended.end())
    if end is None or (sent[1], sent[5], made[1], made[5]) != (SENT, "[]", MADE, ended[5]):
        return None
    same = ended.string[ended.end() : end.end(2)] + _RUN
    is_one = _ONE_ID.fullmatch(ended[5]) and _about(end[1]) is not None
    return end if is_one and _says(sent, same) and _says(made, same) else None


def _end_of(ended: re.Match[str], end: re.Match[str], at: float) -> Line:
    about = t.cast(Facts, _about(end[1]))
    facts = Facts(ended[4], (ended[5][2:-2],), about.price_per_hour, about.groups, about.project, end[2])
    return Line(ENDED, ended[3], facts, at, seconds_of(end[2]), end[3])


def _says(line: re.Match[str], same: str) -> bool:
    """Whether the line says this behind its machines, and nothing else but its run."""
    begin = line.end()
    return line.string.startswith(same, begin) and bool(_AND_NO_MORE.fullmatch(line.string, begin + len(same)))


@functools.lru_cache(maxsize=4096)
def _about(text: str) -> Facts | None:
    """What the lines of many purchases say alike; None for what is no JSON."""
    try:
        return facts_of(json.loads(f"{{{text[2:]}}}"))
    except (ValueError, RecursionError):
        return None


def _parsed(text: str) -> Line | None:
    """A line; None for what is none."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_line = isinstance(line, dict) and line.get("host") and line.get("event")
    return read_line(line, hash(text.rstrip("\n"))) if is_line else None
