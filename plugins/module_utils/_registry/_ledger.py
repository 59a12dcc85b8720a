# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of a registry of files: what was bought and what became of it, one line of JSON for each event.

Lines are only ever added, under a lock and durably; after a crash the last one may be torn. What the ledger has of a
purchase without an end counts as running, and what only the entry of a host has counts, too: so the sum may be above
the bill, and is never below it.

This module util is private to the collection.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import time
import typing as t
from dataclasses import dataclass, field

from .._moments import seconds_of, utc
from .._provision.entry import Entry, read_entry
from .._provision.spending import Bill
from ._locks import LOCK_TIMEOUT, PAUSE, is_at, make_folder, sync_folder
from ._protocol import RegistryError, Variables

# The events. Each line says all that is known of the purchase then.
SENT = "sent"  # about to be sent, or to be sent again
NOTHING = "nothing"  # nothing came of it
MADE = "made"  # bought, with its machines
ADOPTED = "adopted"  # taken over
ENDED = "ended"  # over for certain

Line = t.Mapping[str, t.Any]


def line_of(event: str, host: str, entry: Variables, why: str = "") -> Line:
    """A line about the purchase of an entry, at this moment."""
    known = read_entry(entry)
    # No end is noted before it was.
    now = math.ceil(time.time()) if event == ENDED else time.time()
    return {
        "event": event,
        "at": utc(now),
        "host": host,
        "project": known.project or "default",
        "offer_id": known.offer_id,
        "resource_ids": list(known.resource_ids),
        "price_per_hour": known.price_per_hour,
        "groups": list(known.groups),
        "name": known.name,
        "journaled_at": known.journaled_at,
        **({"why": why} if why else {}),
    }


def append(path: str, line: Line) -> None:
    """Add a line, durably. Raises RegistryError."""
    try:
        make_folder(os.path.dirname(path))
        handle = _lock(path)
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


def _lock(path: str) -> int:
    """The file, open for more lines, and locked where the file system has locks. Raises TimeoutError, an OSError."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            if time.monotonic() >= deadline:
                raise TimeoutError(f"another process has held its lock for {LOCK_TIMEOUT:.0f} seconds") from None
            time.sleep(PAUSE)
            continue
        except OSError:
            return handle  # no locks here; a line is added in one piece
        if is_at(handle, path):
            return handle
        os.close(handle)  # replaced meanwhile, as a checkout of git does it


def read(path: str) -> tuple[list[Line], int]:
    """The lines, and how many cannot be read. Raises RegistryError if that is so of the file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            texts = file.read().split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return [], 0
    except OSError as error:
        raise RegistryError(f"The ledger {path} cannot be read: {error.strerror}.") from None
    lines: list[Line] = []
    for text in texts:
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(text)
            if isinstance(line, dict) and line.get("host") and line.get("event"):
                lines.append(line)
    return lines, sum(1 for text in texts if text.strip()) - len(lines)


@dataclass
class _Purchase:
    """A purchase while its lines are read."""

    host: str
    project: str
    offer_id: str
    resource_ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    price_per_hour: float | None = None
    begin: float | None = None
    end: float | None = None
    why: str = ""
    ends_at: float | None = None
    nothing: bool = False
    entries: list[Entry] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.end is None and not self.nothing

    def learn(self, entry: Entry) -> None:
        """What a line or the registry says: the earliest begin, the highest price, and the newest of the rest."""
        self.price_per_hour = max(
            (each for each in (self.price_per_hour, entry.price_per_hour) if each is not None), default=None
        )
        begins = [each for each in (self.begin, seconds_of(entry.journaled_at)) if each is not None]
        self.begin = min(begins, default=None)
        self.resource_ids = tuple(dict.fromkeys((*self.resource_ids, *entry.resource_ids)))
        self.groups = entry.groups or self.groups
        self.project = entry.project or self.project

    def reopen(self) -> None:
        self.end, self.why, self.nothing = None, "", False


class Book:
    """The purchases that the lines tell of, each known by its host and its offer, which is sold once."""

    def __init__(self, lines: t.Iterable[Line]) -> None:
        self._found: dict[tuple[str, str], _Purchase] = {}
        for line in lines:
            self._add(line)

    def _add(self, line: Line) -> None:
        event, host = line["event"], str(line["host"])
        entry = read_entry({name: line.get(own) for name, own in _NAMES.items()})
        key = _key(host, entry)
        known = self._found.get(key)
        if known is None:
            if event == NOTHING:
                return
            known = self._found[key] = _Purchase(host, entry.project, entry.offer_id)
        elif event == SENT and known.nothing:
            known.begin = None  # nothing came of what was sent before
        known.learn(entry)
        if event in (SENT, MADE, ADOPTED):
            known.reopen()
        elif event == NOTHING:
            known.nothing = known.end is None
        elif event == ENDED and known.end is None:
            known.nothing, known.why = False, str(line.get("why") or "")
            known.end = seconds_of(line.get("at"))

    def compare(self, host: str, variables: Variables) -> None:
        """What the entry of a host says beside its lines: what it still names may run."""
        entry = read_entry(variables)
        key = _key(host, entry)
        known = self._found.get(key)
        if not entry.may_have_bought:
            if known is not None and entry.is_refused and known.end is None:
                known.nothing = True
            return
        if known is None:
            known = self._found[key] = _Purchase(host, entry.project, entry.offer_id)
        known.learn(entry)
        known.reopen()
        known.ends_at = seconds_of(variables.get("provision_ends_at"))
        known.entries.append(entry)

    def bills(self, since: float, broken: t.Container[str] = ()) -> list[Bill]:
        """What was or may be billed since then. ``broken``: hosts whose entries cannot be read."""
        return [
            Bill(
                project=each.project or "default",
                host=each.host,
                offer_id=each.offer_id,
                resource_ids=each.resource_ids,
                groups=each.groups,
                price_per_hour=each.price_per_hour,
                begin=each.begin,
                end=each.end,
                why=each.why,
                ends_at=each.ends_at,
                registered=not each.is_open or bool(each.entries) or each.host in broken,
            )
            for each in self._found.values()
            if not each.nothing and (each.end is None or each.end > since)
        ]


# The names of a line, by those of an entry
_NAMES = {
    "provision_procured_offer_id": "offer_id",
    "provision_resource_ids": "resource_ids",
    "provision_price_per_hour": "price_per_hour",
    "provision_groups": "groups",
    "provision_resource_name": "name",
    "provision_project": "project",
    "provision_journaled_at": "journaled_at",
}


def _key(host: str, entry: Entry) -> tuple[str, str]:
    """Entries that persons have written may name a machine and no offer."""
    return host, entry.offer_id or next(iter(entry.resource_ids), "")
