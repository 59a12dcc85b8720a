# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks in the folders of a registry of files: one for the time of a write, and one that a purchase holds to its end.

Both end with the process that has them, however it ends. This module util is private to the collection.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

LOCK_TIMEOUT = 20.0  # seconds; the lock of a write is held for the time of a write
HOLD_TIMEOUT = 0.5  # seconds; who only looks whether a host is held has it for a moment, too
PAUSE = 0.02  # seconds
# Ansible does not read files whose name begins with a dot. The first is only used where folders cannot be locked.
LOCKS = (".compute_index_supply.lock", ".compute_index_supply.buying")
_WRITING, _BUYING = LOCKS


@contextlib.contextmanager
def locked(path: str) -> t.Iterator[None]:
    """Hold the folder of a file, which is made if need be, against other processes and threads. Raises OSError."""
    handle = _lock(os.path.dirname(os.path.realpath(path)))
    try:
        yield
    finally:
        os.close(handle)  # gives the lock back, as the end of the process would


def _lock(folder: str) -> int:
    """A handle that holds the lock of the folder. Raises TimeoutError, an OSError."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        make_folder(folder)
        # Network file systems lock only files that are open for writing.
        for target, flags in ((folder, os.O_RDONLY), (os.path.join(folder, _WRITING), os.O_RDWR | os.O_CREAT)):
            try:
                handle = os.open(target, flags, 0o600)
            except FileNotFoundError:  # somebody has just removed the folder
                break
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_at(handle, target):
                    return handle
                os.close(handle)  # the lock of what was removed while this waited is worth nothing
                break
            except BlockingIOError:
                os.close(handle)
                break
            except OSError:
                os.close(handle)
        if time.monotonic() >= deadline:
            raise TimeoutError(f"another process has held the lock of {folder} for {LOCK_TIMEOUT:.0f} seconds")
        time.sleep(PAUSE)


class Hold:
    """A host's folder, held against other runs from before its purchase is sent until it is noted what became of it.

    Safety does not rest on it (the same offer is sold once): it keeps two runs from asking the same at once. Where the
    file system has no locks, nobody holds anything. ``who`` is told to the others.
    """

    def __init__(self, folder: str, who: str) -> None:
        self._folder = folder
        self._who = who
        self._handle: int | None = None

    def take(self) -> str:
        """Hold the folder; who else does, empty if this run does now. Raises OSError."""
        deadline = time.monotonic() + HOLD_TIMEOUT
        while self._handle is None:
            make_folder(self._folder)
            try:
                other = self._try()
            except FileNotFoundError:  # somebody has just removed the folder
                continue
            if other and time.monotonic() >= deadline:
                return other
            if other:
                time.sleep(PAUSE)
        return ""

    def other(self) -> str:
        """Who else holds the folder at this moment, empty if nobody does."""
        return held_by(self._folder) if self._handle is None else ""

    def release(self) -> None:
        """Let go of the folder, and remove it if nothing else is in it. Never raises."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._folder, _BUYING))
        os.close(handle)
        with contextlib.suppress(OSError):
            os.rmdir(self._folder)

    def _try(self) -> str:
        path = os.path.join(self._folder, _BUYING)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with open(handle, encoding="utf-8", errors="replace") as file:
                return file.read() or _SOMEBODY
        except OSError:
            pass  # no locks here
        if not is_at(handle, path):
            os.close(handle)
            return _SOMEBODY
        self._handle = handle
        os.truncate(handle, 0)
        os.write(handle, self._who.encode())
        return ""


_SOMEBODY = "another process"


def held_by(folder: str) -> str:
    """Who holds the folder for a purchase at this moment; empty if nobody does, or nobody can tell."""
    try:
        with open(os.path.join(folder, _BUYING), "r+", encoding="utf-8", errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read() or _SOMEBODY
    except OSError:
        pass
    return ""


def is_at(handle: int, path: str) -> bool:
    """Whether the open file is still the one of this path."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def make_folder(folder: str) -> None:
    """Make a folder and those above it, each for its owner only, whatever the umask. Raises OSError."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    if parent != folder:
        make_folder(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
        sync_folder(parent)


def sync_folder(folder: str) -> None:
    """The new name is on disk only once its folder is. Some network file systems cannot do that, and need not."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
