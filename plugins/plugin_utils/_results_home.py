# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receives the results of a run on the controller: which parts to fetch next, and where each file goes.

Nothing is written outside the folder of the results. A file grows under a temporary name (``.partial-...``), and is
renamed once it is complete. A later transfer skips files that have the size and time of the machine's, and resumes in
the middle of the file at which the previous one stopped.
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

from ansible.errors import AnsibleActionFail
from ansible_collections.compute_index.supply.plugins.module_utils._machine import results
from ansible_collections.compute_index.supply.plugins.module_utils._machine.readings import read_text_file
from ansible_collections.compute_index.supply.plugins.module_utils._provision.run_record import GONE
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import (
    open_owner_only,
    try_lock,
    unlock,
    write_durably,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import RegistryError
from ansible_collections.compute_index.supply.plugins.module_utils._registry._records import RecordFolder

MOST_FILES = 5000  # in a part
BOOT_ID = "/proc/sys/kernel/random/boot_id"  # Linux only; other systems trust what they find
PARTIAL, _LOCK, _UNSYNCED = ".partial-", ".lock", ".unsynced"
_BLOCK = 2**20  # bytes
_DISTRUST = 60 * 10**9  # nanoseconds that are added to the time of a file that is to be fetched again
_LEADS_OUT = "it is a link that leads out of the results"
_BAD_NAME = "its name leads out of the results"

Entry = dict[str, t.Any]
Part = list[tuple[Entry, int, int]]  # ranges of files, each with offset and length in bytes


def is_run_over(dest: str) -> bool:
    """Whether a command has finished the run and ended its machine, by the record in the folder of its results.

    Raises AnsibleActionFail if the record cannot be read.
    """
    try:
        return RecordFolder(dest).read().get("phase") == GONE
    except RegistryError as error:
        raise AnsibleActionFail(str(error)) from None


@contextlib.contextmanager
def alone(dest: str, wait: t.Callable[[], None]) -> t.Iterator[None]:
    """Create the folder of the results if needed, and lock it against other commands of this computer.

    If two commands wrote the same file, it would have holes. ``wait`` is called repeatedly while another command has
    the lock.
    """
    os.makedirs(dest, exist_ok=True)
    handle = _locked(dest, wait)
    try:
        yield
    finally:
        if handle is not None:
            unlock(dest, _LOCK, handle)


def _locked(folder: str, wait: t.Callable[[], None]) -> int | None:
    """Lock a folder and return the handle of the lock; None if the file system has no locks."""
    while True:
        try:
            handle = try_lock(folder, _LOCK)
        except OSError:
            return None
        if handle is not None:
            return handle
        wait()


class Home:
    """The folder of a run's results. ``listing``: the answer of `results.listed`."""

    def __init__(self, dest: str, listing: t.Mapping[str, t.Any]) -> None:
        self._dest, self._unsynced = dest, os.path.join(dest, _UNSYNCED)
        self.missing: list[str] = listing["missing"]
        self.incomplete = [{**item, "path": _shown(item)} for item in listing["incomplete"]]
        if not listing["over"]:
            self.incomplete.append({"path": "", "reason": "the run is not over"})
        entries: list[Entry] = listing["entries"]
        self.bytes = sum(entry["size"] for entry in entries)
        self.changed = False
        self._distrust_after_restart(entries)
        self._coming = collections.deque(entry for entry in entries if not self._has_arrived(entry))
        self._offset = self._resumed_at()  # in the first file of `_coming`
        self.files = len([*filter(_is_file, entries)]) - len([*filter(_is_file, self._coming)])

    @property
    def bytes_left(self) -> int:
        """The number of bytes that are still to be fetched."""
        return sum(int(entry["size"]) for entry in self._coming) - self._offset

    @property
    def complete(self) -> bool:
        """Whether the run is over, and all of its results and its final log have arrived."""
        return not self.incomplete and not self._coming

    def next_part(self, size: int) -> Part:
        """The next ranges to fetch, at most ``size`` bytes in total."""
        part, offset = Part(), self._offset
        for entry in itertools.islice(self._coming, MOST_FILES):
            length = min(entry["size"] - offset, size)
            part.append((entry, offset, length))
            size, offset = size - length, 0
            if size <= 0:
                break
        return part

    def receive(self, path: str, part: Part, unusable: t.Mapping[str, str]) -> None:
        """Write the content of a part. Raises OSError if that fails, for example because the disk is full."""
        if not self.changed:
            write_durably(self._unsynced, read_text_file(BOOT_ID))
        self.changed = True
        with gzip.open(path, "rb") as stream:
            for number, (entry, offset, length) in enumerate(part):
                fault = unusable.get(str(number), "")
                self._write(stream, os.devnull if fault or "target" in entry else self._partial(entry), offset, length)
                self._offset = offset + length
                if fault or self._offset == entry["size"]:
                    self._coming.popleft()
                    self._offset = 0
                    if fault := fault or self._place(entry):
                        self.incomplete.append({"path": _shown(entry), "reason": fault})
                    else:
                        self.files += _is_file(entry)

    def _write(self, stream: gzip.GzipFile, place: str, offset: int, length: int) -> None:
        # Private until `_place` sets its mode
        with open(place, "r+b" if offset else "wb", opener=open_owner_only) as file:
            file.seek(offset)
            while length:
                block = stream.read(min(_BLOCK, length))
                if not block:
                    raise ValueError("A part of the results is shorter than it should be.")
                length -= file.write(block)

    def _place(self, entry: Entry) -> str:
        """Put a complete file or link in its place. Returns the reason if that is not possible, else an empty text."""
        path, target = results.unquoted(entry["path"]), results.unquoted(entry.get("target") or "")
        if _leads_out(path):
            return _BAD_NAME
        if target and results.leads_out(path.removeprefix("files/"), target):
            return _LEADS_OUT
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

    def _has_arrived(self, entry: Entry) -> bool:
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
        """After the last part: make sure that all files survive a crash of this computer."""
        self._resumed_at()
        if os.path.exists(self._unsynced):
            os.sync()
            os.unlink(self._unsynced)

    def _distrust_after_restart(self, entries: t.Iterable[Entry]) -> None:
        """If this computer restarted before the end of a transfer, fetch all files again.

        After a power cut a file may have its size and time, but not its content.
        """
        if not os.path.exists(self._unsynced) or read_text_file(self._unsynced) == read_text_file(BOOT_ID):
            return
        for entry in entries:
            path, other_time = results.unquoted(entry["path"]), (entry.get("mtime_ns") or 0) + _DISTRUST
            if not _leads_out(path):
                with contextlib.suppress(OSError, ValueError):
                    os.utime(os.path.join(self._dest, path), ns=(0, other_time), follow_symlinks=False)
        self._remove_partials(except_for="")
        os.unlink(self._unsynced)

    def _resumed_at(self) -> int:
        """How many bytes of the first missing file an earlier transfer fetched. Removes all other partial files."""
        partial = self._partial(self._coming[0]) if self._coming else ""
        self._remove_partials(except_for=partial)
        return os.path.getsize(partial) if os.path.exists(partial) else 0

    def _remove_partials(self, except_for: str) -> None:
        for place in glob.glob(os.path.join(glob.escape(self._dest), f"{PARTIAL}*")):
            if place != except_for:
                os.unlink(place)

    def _partial(self, entry: Entry) -> str:
        """The temporary path of a file; a different one if the file has changed on the machine."""
        identity = repr((entry["path"], entry["size"], entry.get("mtime_ns")))
        return os.path.join(self._dest, PARTIAL + hashlib.sha256(identity.encode()).hexdigest()[:32])


def _shown(entry: Entry) -> str:
    """The path of a result as its job names it."""
    return results.unquoted(entry["path"]).removeprefix("files/")


def _is_file(entry: Entry) -> bool:
    """Whether an entry is one of the results, and not the log."""
    return bool(entry["path"] != results.LOG)


def _leads_out(path: str) -> bool:
    """Whether a path is neither the log's nor below the folder ``files``."""
    names = path.split("/")
    is_file = len(names) > 1 and names[0] == "files" and not {"", ".", ".."} & set(names)
    return "\0" in path or not (is_file or path == results.LOG)


def _make_folders(dest: str, path: str) -> None:
    """Create the folders of a path below ``dest``. A file or link with the name of a folder is replaced."""
    place = dest
    for name in filter(None, path.split(os.sep)):
        place = os.path.join(place, name)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(place).st_mode):
                os.unlink(place)
        with contextlib.suppress(FileExistsError):
            os.mkdir(place)
