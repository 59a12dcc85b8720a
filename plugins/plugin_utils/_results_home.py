# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of a run on their way home: which parts are still to come, and what becomes of one that has arrived.

Nothing is written outside the folder of the results. A file grows under a name of its own (``.partial-...``), and
appears by a rename once it is complete. A later transfer leaves out what is here with the size and time that it has on
the machine, and goes on in the midst of the file at which this one was cut.
"""

from __future__ import annotations

import collections
import contextlib
import glob
import gzip
import hashlib
import itertools
import os
import stat
import typing as t

from ansible_collections.compute_index.supply.plugins.module_utils._machine import results
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import owner_only, try_lock, unlock

MOST_FILES = 5000  # in a part
PARTIAL, _LOCK = ".partial-", ".lock"
_BLOCK = 2**20  # bytes
_OUT = "it is a link that leads out of the results"
_NO_PATH = "its name leads out of the results"

Entry = dict[str, t.Any]
Part = list[tuple[Entry, int, int]]  # what of which files: an offset and a length


@contextlib.contextmanager
def alone(dest: str, wait: t.Callable[[], None]) -> t.Iterator[None]:
    """The folder of the results, made if needed, in which no other command of this computer writes meanwhile.

    ``wait``: is called again and again while another one does. A file that two of them write would have holes.
    """
    os.makedirs(dest, exist_ok=True)
    handle = _locked(dest, wait)
    try:
        yield
    finally:
        if handle is not None:
            unlock(dest, _LOCK, handle)


def _locked(folder: str, wait: t.Callable[[], None]) -> int | None:
    """The handle that holds the lock of a folder; None where the file system has no locks."""
    while True:
        try:
            handle = try_lock(folder, _LOCK)
        except OSError:
            return None
        if handle is not None:
            return handle
        wait()


class Home:
    """The folder of a run's results. ``listing``: what `results.listed` has said."""

    def __init__(self, dest: str, listing: t.Mapping[str, t.Any]) -> None:
        self._dest = dest
        self.missing: list[str] = listing["missing"]
        self.incomplete = [{**item, "path": _shown(item)} for item in listing["incomplete"]]
        if not listing["over"]:
            self.incomplete.append({"path": "", "reason": "the run is not over"})
        entries: list[Entry] = listing["entries"]
        self.bytes = sum(entry["size"] for entry in entries)
        self.changed = False
        self._coming = collections.deque(entry for entry in entries if not self._is_here(entry))
        self._offset = self._begun()  # how much of the first one has come
        self.files = len([*filter(_is_file, entries)]) - len([*filter(_is_file, self._coming)])

    @property
    def bytes_left(self) -> int:
        """How many bytes are still to be fetched."""
        return sum(int(entry["size"]) for entry in self._coming) - self._offset

    @property
    def complete(self) -> bool:
        """Whether all results of a run that is over are here, and its log as it was then."""
        return not self.incomplete and not self._coming

    def next_part(self, size: int) -> Part:
        """What comes next, at most so many bytes."""
        part, offset = Part(), self._offset
        for entry in itertools.islice(self._coming, MOST_FILES):
            length = min(entry["size"] - offset, size)
            part.append((entry, offset, length))
            size, offset = size - length, 0
            if size <= 0:
                break
        return part

    def receive(self, path: str, part: Part, unusable: t.Mapping[str, str]) -> None:
        """Write what a part has. Raises OSError if that cannot be done, as on a full disk."""
        self.changed = True
        with gzip.open(path, "rb") as stream:
            for number, (entry, offset, length) in enumerate(part):
                fault = unusable.get(str(number), "")
                self._write(stream, os.devnull if fault or "target" in entry else self._partial(entry), offset, length)
                self._offset = offset + length
                if fault or self._offset == entry["size"]:
                    self._coming.popleft()
                    self._offset = 0
                    self._end(entry, fault or self._placed(entry))

    def _end(self, entry: Entry, fault: str) -> None:
        """Count a file that has come, or note its fault."""
        if fault:
            self.incomplete.append({"path": _shown(entry), "reason": fault})
        else:
            self.files += _is_file(entry)

    def _write(self, stream: gzip.GzipFile, place: str, offset: int, length: int) -> None:
        with open(place, "r+b" if offset else "wb", opener=owner_only) as file:  # until it has its mode
            file.seek(offset)
            while length:
                block = stream.read(min(_BLOCK, length))
                if not block:
                    raise ValueError("A part of the results is shorter than it should be.")
                length -= file.write(block)

    def _placed(self, entry: Entry) -> str:
        """Put a file or link in its place; why that is not possible, or an empty text."""
        path, target = results.unquoted(entry["path"]), results.unquoted(entry.get("target") or "")
        if _leads_out(path):
            return _NO_PATH
        if target and results.leads_out(path.removeprefix("files/"), target):
            return _OUT
        place, partial = os.path.join(self._dest, path), self._partial(entry)
        try:
            _make_folders(self._dest, os.path.dirname(path))
            if target:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(place)
                os.symlink(target, place)
            else:
                os.chmod(partial, entry["mode"] & 0o777 | 0o600)
                os.utime(partial, ns=(entry["mtime_ns"], entry["mtime_ns"]))
                os.replace(partial, place)
        except OSError as error:
            return str(error.strerror)
        return ""

    def _is_here(self, entry: Entry) -> bool:
        place = os.path.join(self._dest, results.unquoted(entry["path"]))
        try:
            status = os.lstat(place)
            if stat.S_ISLNK(status.st_mode):
                return os.readlink(place) == results.unquoted(entry.get("target") or "")
        except (OSError, ValueError):
            return False
        is_same = (status.st_size, status.st_mtime_ns) == (entry["size"], entry.get("mtime_ns"))
        return stat.S_ISREG(status.st_mode) and is_same

    def finish(self) -> None:
        """After the last part: what is complete is on the disk, whatever happens to this computer."""
        self._begun()
        if self.changed:
            os.sync()

    def _begun(self) -> int:
        """How many bytes of the first file that is missing an earlier transfer has brought; of others, they go."""
        own = self._partial(self._coming[0]) if self._coming else ""
        for place in glob.glob(os.path.join(glob.escape(self._dest), f"{PARTIAL}*")):
            if place != own:
                os.unlink(place)
        return os.path.getsize(own) if os.path.exists(own) else 0

    def _partial(self, entry: Entry) -> str:
        """Where a file grows; one that has changed on the machine grows elsewhere."""
        what = repr((entry["path"], entry["size"], entry.get("mtime_ns")))
        return os.path.join(self._dest, PARTIAL + hashlib.sha256(what.encode()).hexdigest()[:32])


def _shown(entry: Entry) -> str:
    """The path of a result as its job calls it."""
    return results.unquoted(entry["path"]).removeprefix("files/")


def _is_file(entry: Entry) -> bool:
    """Whether it is one of the results, and not the log."""
    return bool(entry["path"] != results.LOG)


def _leads_out(path: str) -> bool:
    """Whether a path of the machine's list is neither the log nor that of a file below the folder of the files."""
    names = path.split("/")
    is_file = len(names) > 1 and names[0] == "files" and not {"", ".", ".."} & set(names)
    return "\0" in path or not (is_file or path == results.LOG)


def _make_folders(dest: str, path: str) -> None:
    """Make the folders of a path below ``dest``, in place of what is none."""
    place = dest
    for name in filter(None, path.split(os.sep)):
        place = os.path.join(place, name)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(place).st_mode):
                os.unlink(place)
        with contextlib.suppress(FileExistsError):
            os.mkdir(place)
