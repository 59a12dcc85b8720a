# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks in the folders of a registry of files: one for the time of a write, and one that a purchase holds to its end.

A lock is a file that is locked while it is there. Both locks end with the process that has them, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

LOCK_TIMEOUT = 20.0  # seconds; the lock of a write is held for the time of a write
HOLD_TIMEOUT = 0.5  # seconds; to see whether a host is held takes the lock for a moment, too
PAUSE = 0.02  # seconds
# Ansible does not read files whose name begins with a dot.
_BUYING = ".compute_index_supply.buying"
_SOMEBODY = "another process"


@contextlib.contextmanager
def locked(path: str) -> t.Iterator[None]:
    """Hold a file, whose folder is made if need be, against other processes and threads. Raises OSError.

    If the folder is empty at the end, it goes: Ansible would read it instead of a file of host variables of that name.
    """
    folder, name = os.path.split(os.path.realpath(path))
    lock = f".{name.lstrip('.')}.lock"
    handle = _lock(folder, lock, LOCK_TIMEOUT)
    try:
        yield
    finally:
        unlock(folder, lock, handle)


def _lock(folder: str, file: str, seconds: float) -> int:
    """The handle of a lock, after a wait of so many seconds at most. Raises TimeoutError, and OSError as `try_lock`."""
    deadline = time.monotonic() + seconds
    while (handle := try_lock(folder, file)) is None:
        if time.monotonic() >= deadline:
            raise TimeoutError(f"another process has held the lock of {folder} for {seconds:g} seconds")
        time.sleep(PAUSE)
    return handle


def try_lock(folder: str, file: str) -> int | None:
    """Make the folder and the file if need be, lock the file, and return its handle; None if another run has the lock.

    Raises OSError, also where the file system has no locks.
    """
    target = os.path.join(folder, file)
    make_folder(folder)
    try:
        handle = os.open(target, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None  # another process has just removed the folder
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(target)):
            return handle  # the lock of a file that was removed meanwhile is worth nothing
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        os.close(handle)
        raise OSError(
            error.errno,
            f"its file system has no locks ({error.strerror}), which keep runs at the same moment apart. Set"
            " provision_registry_dir to a folder elsewhere, or use a shared registry (provision_registry_url)",
        ) from None
    os.close(handle)
    return None


def unlock(folder: str, file: str, handle: int) -> None:
    """Give a lock back, and remove the folder if nothing else is in it. Never raises."""
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, file))
        os.rmdir(folder)
    os.close(handle)


class Hold:
    """A host's folder, held against other runs from before its purchase is sent until it is noted what became of it.

    Safety does not rest on it (the same offer is sold once): it keeps two runs from asking the same at once. ``who`` is
    what other runs read.
    """

    def __init__(self, folder: str, who: str) -> None:
        self._folder = folder
        self._who = who
        self._handle: int | None = None

    def take(self) -> str:
        """Hold the folder; who else does, empty if this run does now. Raises OSError."""
        if self._handle is None:
            try:
                self._handle = _lock(self._folder, _BUYING, HOLD_TIMEOUT)
            except TimeoutError:
                return held_by(self._folder) or _SOMEBODY
            os.truncate(self._handle, 0)
            os.write(self._handle, self._who.encode())
        return ""

    def other(self) -> str:
        """Which other run holds the folder at this moment; empty if none does."""
        return held_by(self._folder) if self._handle is None else ""

    def release(self) -> None:
        """Let go of the folder. Never raises."""
        handle, self._handle = self._handle, None
        if handle is not None:
            unlock(self._folder, _BUYING, handle)


def held_by(folder: str) -> str:
    """The run that holds the folder for a purchase at this moment; empty if none does, or if that cannot be read."""
    path = os.path.join(folder, _BUYING)
    with contextlib.suppress(OSError), open(path, "r+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read() or _SOMEBODY
    return ""


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
