# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of a registry of files: what was bought and what became of it, one line of JSON for each event.

Lines are only ever added, under a lock and durably; after a crash the last one may be torn. What they come to is in
`_provision/ledger.py`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import re
import typing as t
from sys import intern

from .._provision.entry import project_of, read_entry
from .._provision.lease import API_CLOCK, Clock
from .._provision.ledger import ENDED, MADE, SENT, Book, Line, LineFacts, Purchase, facts_of, read_line
from .._text import seconds_of_utc, utc
from ._locks import sync_folder, try_lock, wait_for
from ._protocol import Variables, explained

# What a line says of its purchase, in this order: these names of `Entry`
_OF_ENTRY = ("offer_id", "resource_ids", "price_per_hour", "groups", "name", "project", "journaled_at")


def line_of(
    event: str, host: str, entry: Variables, clock: Clock, now: float, run: str, why: str = "", renews: str = ""
) -> dict[str, t.Any]:
    """A line about the purchase of an entry; ``run`` tells it from those of other runs.

    ``now``: seconds since the epoch by the clock that noted the entry.
    """
    known = read_entry(entry)
    # No end is noted before it was; a `Date` of the API has whole seconds, cut off.
    now = math.ceil(now + (known.clock == API_CLOCK)) if event == ENDED else now
    return {
        "event": event,
        "at": utc(now),
        "host": host,
        **{name: getattr(known, name) for name in _OF_ENTRY},
        "project": project_of(known.project),
        "run": run,
        **({"ahead": round(clock.api - clock.here, 3)} if known.clock == API_CLOCK and clock.api is not None else {}),
        **({"renews": renews} if renews else {}),
        **({"why": why} if why else {}),
    }


def append(path: str, line: t.Mapping[str, t.Any]) -> None:
    """Add a line, durably. Raises RegistryError."""
    with explained(f"The ledger {path} cannot be kept"):
        folder, name = os.path.split(path)
        handle = wait_for(lambda: try_lock(folder, name, os.O_RDWR | os.O_APPEND | os.O_CREAT), path)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            _write(handle, (b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)  # gives the lock back
        if not size:
            sync_folder(folder)


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


# A line as `line_of` writes it, in pieces: event and moment; host and offer, here as they are compared; the machines;
# what all lines of an ordinary purchase say alike, the moment of its claim last; its run, and why it ended.
_MOMENT = r'"([0-9T:-]{19}Z)"'
_RUN = r', "run": "[0-9a-z]*"(?:, "ahead": -?[0-9]+\.[0-9]+)?'
_PURCHASE = re.compile(r'"host": "([^"\\\x00-\x1f]+)", "offer_id": "([!#-@\[\]-~]+)"')
_ID = re.compile(r'"([!#-@\[\]-~]+)"')
_ENDED = re.compile(rf'\{{"event": "{ENDED}", "at": {_MOMENT}, (?="host": )')
_CLAIM_TO_END = re.compile(rf', "journaled_at": {_MOMENT}{_RUN}(?:, "why": "([a-z]*)")?\}}\n?')
# Both lines before it, without what they say as the last one does.
_SENT, _MADE = (rf'\{{"event": "{event}", "at": {_MOMENT}, {_RUN}\}}\n?' for event in (SENT, MADE))
_SENT_AND_MADE = re.compile(_SENT + _MADE)
_WHERE = len('{"event": "sent", "at": "2026-01-31T12:00:00Z", ')  # both of them say it
_OVER, _HOST, _OFFER = '{"event": "ended"', '"host": ', '"offer_id": '
_MACHINES, _CLAIM = ', "resource_ids": [', ', "journaled_at": '
_ABOUT = {"price_per_hour", "groups", "name", "project"}


def read_lines(path: str, book: Book, host: str = "") -> int:
    """Let the book read the lines, of one host or of all; how many cannot be read. Raises RegistryError."""
    reader = _Reader(book, host)
    with explained(f"The ledger {path} cannot be read"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        reader.read(path)
        if book.again:
            reader.read_again(path, book.begin_again())
    return len(reader.unread)


class _Reader:
    """Hands lines to a book. Of an ordinary purchase, all lines of which say the same, none is parsed as a whole."""

    def __init__(self, book: Book, host: str) -> None:
        self._book = book
        self._host = json.dumps(host) if host else ""
        # What may still be ordinary purchases, with their lines, by what these say of host and offer.
        self._open: dict[str, tuple[Purchase, list[str]]] = {}
        self.unread: set[str] = set()

    def read(self, path: str) -> None:
        """Read the file. Raises OSError."""
        for text, whose in self._lines(path):
            known = self._open.get(whose) or self._begin(whose)
            if known is None:
                self._hand_over(text)
            else:
                known[1].append(text)
                if text.startswith(_OVER):
                    self._end(*self._open.pop(whose))
        for _purchase, texts in self._open.values():
            self._hand_over(*texts)

    def read_again(self, path: str, wanted: t.Collection[Purchase]) -> None:
        """Read the lines of some purchases once more. Raises OSError."""
        for text, whose in self._lines(path):
            purchase = _purchase_of(whose)
            # Of what is there twice the last one counts.
            if purchase is None or purchase in wanted or text.count(_HOST) + text.count(_OFFER) != 2:
                self._hand_over(text, wanted=wanted)

    def _lines(self, path: str) -> t.Iterator[tuple[str, str]]:
        """The lines, each with its end, and what it says of host and offer. Raises OSError."""
        with open(path, encoding="utf-8", errors="replace") as file:
            for text in file:
                if self._host in text:
                    begin = text.find(_HOST)
                    yield text, text[begin : text.find(_MACHINES, begin)]

    def _begin(self, whose: str) -> tuple[Purchase, list[str]] | None:
        purchase = _purchase_of(whose)
        if purchase is None or not self._book.expects(purchase):
            return None
        return self._open.setdefault(whose, (purchase, []))

    def _end(self, purchase: Purchase, texts: list[str]) -> None:
        """What has ended is one bill; what comes after that is for the book."""
        end = _ordinary_end(texts) if self._book.closes(purchase) else None
        if end is None:
            self._hand_over(*texts)
        else:
            self._book.close(purchase, *end)

    def _hand_over(self, *texts: str, wanted: t.Container[Purchase] | None = None) -> None:
        for text in texts:
            line = _parsed(text)
            if line is not None:
                if wanted is None or line.purchase in wanted:
                    self._book.add(line)
            elif not text.isspace():
                self.unread.add(text.rstrip("\n"))


def _purchase_of(whose: str) -> Purchase | None:
    found = _PURCHASE.fullmatch(whose)
    return (intern(found[1]), found[2]) if found else None


def _ordinary_end(texts: list[str]) -> tuple[str, LineFacts, str, float, str] | None:
    """The machine, what the lines say alike, claim, end and its reason of one claim that was sent, made and ended."""
    if len(texts) != 3:
        return None
    sent, made, ended = texts
    head, claim = _ENDED.match(ended), ended.rfind(_CLAIM)
    begin = ended.find(_MACHINES) + len(_MACHINES)
    end = ended.find("], ", begin)
    machine, rest = _ID.fullmatch(ended, begin, end), _CLAIM_TO_END.fullmatch(ended, claim)
    if not (head and machine and rest):
        return None
    whose, alike, last = head.end(), rest.end(1) + 1, ended[end + 3 : claim]
    before = _without(sent, f"{ended[whose:begin]}{ended[end:alike]}") + _without(made, ended[whose:alike])
    about, at = _about(last), seconds_of_utc(head[1])
    if not _SENT_AND_MADE.fullmatch(before) or about is None or at is None:
        return None
    return machine[1], about, rest[1], at, rest[2] or ""


def _without(text: str, what: str) -> str:
    """What a line says beside this; nothing if it does not say this."""
    return f"{text[:_WHERE]}{text[_WHERE + len(what) :]}" if text.startswith(what, _WHERE) else ""


@functools.lru_cache(maxsize=4096)
def _about(text: str) -> LineFacts | None:
    """What the lines of many purchases say alike; None for what is no JSON, or says something else."""
    try:
        line = json.loads(f"{{{text}}}")
    except (ValueError, RecursionError):
        return None
    return facts_of(line) if line.keys() == _ABOUT else None


def _parsed(text: str) -> Line | None:
    """A line; None for what is none."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_line = isinstance(line, dict) and line.get("host") and line.get("event")
    return read_line(line, hash(text.rstrip("\n"))) if is_line else None
