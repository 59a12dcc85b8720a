# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of a registry of files: what was bought and what became of it, one line of JSON for each event.

Lines are only ever added, under a lock and durably; after a crash the last one may be torn. What they come to is in
`_provision/ledger.py`.

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

from .._moments import utc
from .._provision.clock import API, Clock
from .._provision.entry import read_entry
from .._provision.ledger import ENDED, NAMES
from ._locks import LOCK_TIMEOUT, PAUSE, is_at, make_folder, sync_folder
from ._protocol import RegistryError, Variables

Line = t.Mapping[str, t.Any]


def line_of(
    event: str, host: str, entry: Variables, clock: Clock, now: float, run: str, why: str = "", renews: str = ""
) -> Line:
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


def read(path: str, host: str = "") -> tuple[list[Line], int]:
    """The lines, of one host or of all, and how many cannot be read. Raises RegistryError if that is so of the file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            texts = file.read().split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return [], 0
    except OSError as error:
        raise RegistryError(f"The ledger {path} cannot be read: {error.strerror}.") from None
    # A merge may repeat a line; each run writes a line once.
    texts = [text for text in dict.fromkeys(texts) if text.strip() and (not host or json.dumps(host) in text)]
    lines: list[Line] = []
    for text in texts:
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(text)
            if isinstance(line, dict) and line.get("host") and line.get("event"):
                lines.append(line)
    return lines, len(texts) - len(lines)
