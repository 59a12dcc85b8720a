# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks in the folders of a registry of files: one for the time of a write, and one that a purchase holds to its end.

Both end with the process that has them, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
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


# What flock says on a file system without locks, or that locks only files which are open for writing
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EBADF})


class NoLocks(OSError):
    """The file system has no locks, so two runs at the same moment could each write over what the other has bought."""

    def __init__(self, target: str) -> None:
        super().__init__(
            errno.ENOLCK,
            f"the file system of {os.path.dirname(target)} has no locks, which keep runs at the same moment apart."
            " Mount it with locks, set provision_registry_dir to a folder elsewhere, or use a shared registry"
            " (provision_registry_url)",
        )


@contextlib.contextmanager
def locked(path: str) -> t.Iterator[None]:
    """Hold the folder of a file, which is made if need be, against other processes and threads. Raises OSError."""
    folder = os.path.dirname(os.path.realpath(path))
    handle = wait_for(lambda: _try_folder(folder), folder)
    try:
        yield
    finally:
        os.close(handle)  # gives the lock back, as the end of the process would


def wait_for(attempt: t.Callable[[], int | None], what: str, seconds: float = LOCK_TIMEOUT) -> int:
    """The handle of a lock, for which this waits a while. Raises TimeoutError and NoLocks, both OSError."""
    deadline = time.monotonic() + seconds
    while True:
        handle = attempt()
        if handle is not None:
            return handle
        if time.monotonic() >= deadline:
            raise TimeoutError(f"another process has held the lock of {what} for {LOCK_TIMEOUT:.0f} seconds")
        time.sleep(PAUSE)


def try_lock(folder: str, file: str = "", flags: int = os.O_RDWR | os.O_CREAT) -> int | None:
    """A handle that holds the lock of a folder, which is made if need be, or of a file in it.

    None if another one has it, or somebody has just removed the folder. Raises OSError, such as NoLocks.
    """
    target = os.path.join(folder, file)
    make_folder(folder)
    try:
        handle = os.open(target, flags, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(target)):
            return handle  # the lock of what was removed or replaced meanwhile is worth nothing
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        made = bool(flags & os.O_CREAT) and not os.fstat(handle).st_size
        os.close(handle)
        if error.errno not in _NO_LOCKS:
            raise
        if made:
            leave(folder, file)
        raise NoLocks(target) from None
    os.close(handle)
    return None


def _try_folder(folder: str) -> int | None:
    try:
        return try_lock(folder, flags=os.O_RDONLY)
    except OSError:  # network file systems lock only files that are open for writing
        return try_lock(folder, _WRITING)


def leave(folder: str, *files: str) -> None:
    """Remove the files, and the folder if nothing else is in it. Never raises."""
    for file in files:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, file))
    with contextlib.suppress(OSError):
        os.rmdir(folder)


class Hold:
    """A host's folder, held against other runs from before its purchase is sent until it is noted what became of it.

    Safety does not rest on it (the same offer is sold once): it keeps two runs from asking the same at once. ``who`` is
    told to the others.
    """

    def __init__(self, folder: str, who: str) -> None:
        self._folder = folder
        self._who = who
        self._handle: int | None = None

    def take(self) -> str:
        """Hold the folder; who else does, empty if this run does now. Raises OSError."""
        if self._handle is None:
            try:
                self._handle = wait_for(lambda: try_lock(self._folder, _BUYING), self._folder, HOLD_TIMEOUT)
            except TimeoutError:
                return held_by(self._folder) or _SOMEBODY
            os.truncate(self._handle, 0)
            os.write(self._handle, self._who.encode())
        return ""

    def other(self) -> str:
        """Who else holds the folder at this moment, empty if nobody does."""
        return held_by(self._folder) if self._handle is None else ""

    def release(self) -> None:
        """Let go of the folder, and remove it if nothing else is in it. Never raises."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        leave(self._folder, _BUYING)
        os.close(handle)


_SOMEBODY = "another process"


def held_by(folder: str) -> str:
    """Who holds the folder for a purchase at this moment; empty if nobody does, or nobody can tell."""
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
