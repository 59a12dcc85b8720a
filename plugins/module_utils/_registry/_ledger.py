# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of a registry of files: what was bought and what became of it, one line of JSON for each event.

Lines are only ever added, under a lock and durably; after a crash the last one may be torn. What they come to is in
`_provision/ledger.py`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import typing as t

from .._provision.entry import project_of, read_entry
from .._provision.lease import API_CLOCK, Clock
from .._provision.ledger import ENDED, Line, read_line
from .._text import read_json_object, utc
from ._locks import locked, sync_folder
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
    with explained(f"The ledger {path} cannot be kept"), locked(path), open(path, "a+b", opener=_opened) as file:
        size = file.tell()
        torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        if not size:
            sync_folder(os.path.dirname(path))


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def read_lines(path: str, host: str = "") -> tuple[list[Line], int]:
    """The lines, of one host or of all, and how many cannot be read. Raises RegistryError.

    A merge may repeat a line, while each run writes a line once.
    """
    of_host, lines = json.dumps(host) if host else "", dict[int, t.Optional[Line]]()
    failing = explained(f"The ledger {path} cannot be read")
    is_none = contextlib.suppress(FileNotFoundError, NotADirectoryError)
    with failing, is_none, open(path, encoding="utf-8", errors="replace") as file:
        for text in map(str.rstrip, file):
            if of_host in text and text and hash(text) not in lines:
                lines[hash(text)] = _parsed(text)
    readable = list(filter(None, lines.values()))
    return readable, len(lines) - len(readable)


def _parsed(text: str) -> Line | None:
    """A line; None for what is none."""
    line = read_json_object(text)
    return read_line(line) if line.get("host") and line.get("event") else None
