# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of a run on their way home: which parts are still to come, and what becomes of one that has arrived.

Nothing is written outside the folder of the results. A file appears by a rename once it is complete; until then it
grows in the folder ``.partial``. The manifest notes after each part how much of each file has arrived.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import stat
import typing as t

from ansible_collections.compute_index.supply.plugins.module_utils._machine import results
from ansible_collections.compute_index.supply.plugins.module_utils._machine.job_watcher import note, read
from ansible_collections.compute_index.supply.plugins.module_utils._registry._locks import try_lock, unlock
from ansible_collections.compute_index.supply.plugins.module_utils._registry._records import MANIFEST, PARTIAL

FILES, LOG = "files", "log.txt"
MOST_FILES = 5000  # in a part
_LOCK = ".lock"
_BLOCK = 2**20  # bytes
_OUT = "it is a link that leads out of the results"
_NO_PATH = "its name leads out of the results"

_NOTHING = {"identity": "", "done": 0, "here": False}  # of a file that the manifest does not have

Entry = dict[str, t.Any]
Stream = t.Union[t.IO[bytes], gzip.GzipFile]


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
        self.entries: list[Entry] = listing["entries"]
        self.missing: list[str] = listing["missing"]
        self.incomplete: list[dict[str, str]] = list(listing["incomplete"])
        if not listing["over"]:
            self.incomplete.append({"path": "", "reason": "the run is not over"})
        self.changed, self.left_out = False, 0
        os.makedirs(os.path.join(dest, PARTIAL), exist_ok=True)
        self._files: dict[str, dict[str, t.Any]] = (read(os.path.join(dest, MANIFEST)) or {}).get("files", {})
        self._failed: set[str] = set()  # by their keys
        for entry in self.entries:
            self._compare(entry)
            if entry["kind"] in (results.LINK, results.FOLDER) or _leads_out(entry["path"]):
                self._place(entry)

    # What is still to come

    @property
    def bytes_left(self) -> int:
        """How many bytes are still to be fetched."""
        coming = (entry for entry in self.entries if _key(entry) not in self._failed)
        return sum(int(entry["size"] - self._noted(entry)["done"]) for entry in coming)

    @property
    def bytes(self) -> int:
        """How many bytes the results have."""
        return sum(int(entry["size"]) for entry in self.entries)

    @property
    def files(self) -> int:
        """How many files of the results are here."""
        kinds = (results.FILE, results.LINK)
        return sum(entry["kind"] in kinds and self._noted(entry)["here"] for entry in self.entries)

    @property
    def complete(self) -> bool:
        """Whether all results of a run that is over are here, and its log as it was then."""
        return not self.incomplete and not self.next_part(1)

    def next_part(self, size: int) -> list[tuple[int, int, int]]:
        """The number of an entry, an offset and a length for all that comes next, at most so many bytes."""
        part, room = list[tuple[int, int, int]](), size
        for number, entry in enumerate(self.entries):
            noted = self._noted(entry)
            left = entry["size"] - noted["done"]
            if _key(entry) in self._failed or noted["here"]:
                continue
            if not room or len(part) == MOST_FILES or (part and room < left <= size):
                break
            length = min(left, room)
            part.append((number, noted["done"], length))
            room -= length
        return part

    def _noted(self, entry: Entry) -> t.Mapping[str, t.Any]:
        """What the manifest has of a file: which one it was, how many bytes have arrived, whether it is in place."""
        return self._files.get(_key(entry), _NOTHING)

    def _compare(self, entry: Entry) -> None:
        """Forget what is noted of another file, or what the disk does not have any more."""
        noted = self._noted(entry)
        size = _size(self._target(entry) if noted["here"] else self._partial(entry))
        if noted["identity"] != entry["identity"] or size is None or not size >= noted["done"] <= entry["size"]:
            self._files.pop(_key(entry), None)
        elif noted["done"] < entry["size"]:  # a log that has grown
            self._files[_key(entry)]["here"] = False

    # What has arrived

    def receive(self, path: str, part: t.Iterable[tuple[int, int, int]], unusable: t.Mapping[str, str]) -> None:
        """Write what a part has, and note it. Raises OSError if the disk is full."""
        with gzip.open(path, "rb") as stream:
            for number, offset, length in part:
                if str(number) in unusable:
                    stream.read(length)
                    self._fail(self.entries[number], unusable[str(number)])
                else:
                    self._write(self.entries[number], offset, length, stream)
        self.changed = True
        self.save()

    def save(self) -> None:
        """Write the manifest."""
        note(os.path.join(self._dest, MANIFEST), {"version": 1, "files": self._files})

    def finish(self) -> None:
        """After the last part: what is complete is on the disk, whatever happens to this computer."""
        if all(entry["here"] for entry in self._files.values()):
            shutil.rmtree(os.path.join(self._dest, PARTIAL), ignore_errors=True)
        self.save()
        if self.changed:
            os.sync()

    def _write(self, entry: Entry, offset: int, length: int, stream: Stream) -> None:
        partial = self._partial(entry)
        with open(partial, "r+b" if offset else "wb", opener=_plain) as file:
            file.seek(offset)
            _pour(stream, file, length)
            file.truncate(offset + length)
        self._files[_key(entry)] = {"identity": entry["identity"], "done": offset + length, "here": False}
        if offset + length == entry["size"]:
            self._place(entry)

    def _place(self, entry: Entry) -> None:
        """Put what is complete where it belongs; what cannot be there is incomplete."""
        if _leads_out(entry["path"]):
            return self._fail(entry, _NO_PATH)
        if entry["kind"] == results.LINK and _link_leads_out(entry["path"], entry["target"]):
            return self._leave_out(entry) if entry.get("of_system") else self._fail(entry, _OUT)
        try:
            self.changed = self._put(entry) or self.changed
        except OSError as error:
            if error.errno in results.NO_ROOM:
                raise
            return self._fail(entry, str(error.strerror))
        self._files[_key(entry)] = {"identity": entry["identity"], "done": entry["size"], "here": True}
        return None

    def _put(self, entry: Entry) -> bool:
        """Make a file, link or folder; whether that changes anything."""
        target, partial = self._target(entry), self._partial(entry)
        if entry["kind"] == results.LOG:
            return True  # it grows in its place
        if entry["kind"] == results.FOLDER:
            return _make_folders(self._dest, _key(entry))
        _make_folders(self._dest, os.path.dirname(_key(entry)))
        if entry["kind"] == results.LINK:
            if os.path.islink(target) and os.readlink(target) == entry["target"]:
                return False
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
            os.symlink(entry["target"], partial)
        else:
            os.chmod(partial, entry["mode"] & 0o777 | 0o600)
            os.utime(partial, ns=(entry["mtime_ns"], entry["mtime_ns"]))
        os.replace(partial, target)
        return True

    def _fail(self, entry: Entry, reason: str) -> None:
        self._failed.add(_key(entry))
        self.incomplete.append({"path": entry["path"], "reason": reason})
        self._files.pop(_key(entry), None)

    def _leave_out(self, entry: Entry) -> None:
        """A link to a file of the system, which is no result: a machine that is kept for it would be paid in vain."""
        self._failed.add(_key(entry))
        self.left_out += 1

    def _target(self, entry: Entry) -> str:
        return os.path.join(self._dest, _key(entry))

    def _partial(self, entry: Entry) -> str:
        """Where it grows, by a name of its own, since a path may have any length. The log grows in its place."""
        if entry["kind"] == results.LOG:
            return self._target(entry)
        return os.path.join(self._dest, PARTIAL, hashlib.sha256(os.fsencode(entry["path"])).hexdigest())


def _key(entry: Entry) -> str:
    """The path of an entry below the folder of the results, by which the manifest calls it."""
    return LOG if entry["kind"] == results.LOG else f"{FILES}/{entry['path']}"


def _leads_out(path: str) -> bool:
    """Whether a path of the machine's list is none of a file below a folder."""
    return "\0" in path or any(name in ("", ".", "..") for name in path.split("/"))


def _link_leads_out(path: str, target: str) -> bool:
    """Whether a link's target is outside the results. It may go up only at its beginning, so no other link misleads."""
    names = [name for name in target.split("/") if name not in ("", ".")]
    up = next((number for number, name in enumerate(names) if name != ".."), len(names))
    return not target or target.startswith("/") or ".." in names[up:] or up > path.count("/")


def _make_folders(dest: str, path: str) -> bool:
    """Make the folders of a path below ``dest``, in place of what is none. Whether any was made."""
    made, place = False, dest
    for name in path.split(os.sep):
        place = os.path.join(place, name)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(place).st_mode):
                os.unlink(place)
        with contextlib.suppress(FileExistsError):
            os.mkdir(place)
            made = True
    return made


def _size(path: str) -> int | None:
    """The size of a plain file; None if there is none. Links and folders have none that counts."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _plain(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _pour(stream: Stream, file: t.IO[bytes], length: int) -> None:
    """Write so many bytes; a block of zeros is left out, so that a file with holes keeps them."""
    while length > 0:
        block = stream.read(min(_BLOCK, length))
        if not block:
            raise ValueError("A part of the results is shorter than it should be.")
        if block.count(0) == len(block):
            file.seek(len(block), os.SEEK_CUR)
        else:
            file.write(block)
        length -= len(block)
