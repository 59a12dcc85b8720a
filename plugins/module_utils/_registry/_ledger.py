# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of a registry of files: what was bought and what became of it, one line of JSON for each event.

Lines are only ever added, under a lock and durably; after a crash the last one may be torn. What they come to is in
`_provision/ledger.py`.
"""

from __future__ import annotations

import json
import math
import os
import typing as t

from .._moments import utc
from .._provision.clock import API, Clock
from .._provision.entry import read_entry
from .._provision.ledger import ENDED, NAMES, Book
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
        **{item: getattr(known, item) for item in NAMES.values()},
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


def read(path: str, book: Book, host: str = "") -> int:
    """Let the book read the lines, of one host or of all; how many cannot be read. Raises RegistryError."""
    unread: set[str] = set()
    try:
        book.read(lambda: _rows(path, json.dumps(host) if host else "", unread))
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise RegistryError(f"The ledger {path} cannot be read: {error.strerror}.") from None
    return len(unread)


def _rows(path: str, part: str, unread: set[str]) -> t.Iterator[dict[str, t.Any]]:
    """The lines with this part; texts that are none are added to ``unread``. Raises OSError."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for text in file:
            row = _parsed(text) if part in text else {}
            if row:
                yield row
            elif row is None and not text.isspace():
                unread.add(text.rstrip("\n"))


def _parsed(text: str) -> dict[str, t.Any] | None:
    """A line; None for what is none."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and row.get("host") and row.get("event") else None
