# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of a run on its machine: which files there are, and parts of them that a controller fetches.

A list comes first, as a file of its own. The controller asks for parts by the numbers of the list's entries. So a part
contains only the bytes of files, one after the other, and no names that could lead anywhere. Knows no Ansible.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import gzip
import hashlib
import json
import os
import stat
import time
import typing as t

from . import code_files, job, job_watcher
from .activity import at_once
from .job_state import NONE, OVER

PART = "part.gz"  # what a controller fetches: the list, or a part
_LIST, _NOTE = "list.gz", "last.json"  # in the run's folder: the list, and where the last parts were written
_FETCHED = 60.0  # seconds in which a part begins to be fetched
FILE, LOG, LINK, FOLDER = "file", "log", "link", "folder"
_BLOCK = 2**20  # bytes
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_SYSTEM = ("/bin/", "/dev/", "/etc/", "/lib/", "/lib64/", "/proc/", "/sbin/", "/sys/", "/usr/")

Entry = dict[str, t.Any]
Wanted = t.Sequence[tuple[int, int, int]]  # the number of an entry, an offset and a length in bytes


def check_pattern(pattern: str) -> str:
    """A path or pattern of results. Raises ValueError with a sentence if it leads out of the work folder."""
    if not pattern or os.path.isabs(pattern) or ".." in pattern.split("/") or "\0" in pattern:
        raise ValueError(f"paths: {pattern!r} must be a path or pattern below the run's folder, without '..'.")
    return pattern


def step(name: str, patterns: t.Sequence[str], asked: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the action plugin asks for: the list of all results and the log, or the next part of it.

    Raises ValueError with a sentence, also if there is no run.
    """
    if "into" not in asked:
        raise ValueError("run_results is an action: it begins on the controller, as a task.")
    folder, into = job.folder_of(name), str(asked["into"])
    if "list" in asked:
        return pack_part(folder, str(asked["list"]), asked["wanted"], into)
    state = job.state_of(folder)["state"]
    if state == NONE:
        raise ValueError("There is no run of this name on the machine.")
    _forget(folder, into)
    content = {**listed(folder, patterns), "over": state in OVER}
    if state in OVER:  # its watcher may have been killed, and have left this
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, "parts", "reserve"))
    place = os.path.join(folder, "parts", _LIST)
    # Another computer may fetch at once: without a moment in it both have the same list.
    packed = gzip.compress(json.dumps(content).encode("ascii"), mtime=0)
    with job.held(folder):
        with open(f"{place}.new", "wb") as file:
            file.write(packed)
        os.replace(file.name, place)
    with _part_in(into, folder) as part:
        part.write(packed)
    return {"sha256": hashlib.sha256(packed).hexdigest()}


def pack_part(folder: str, sha256: str, wanted: Wanted, into: str) -> dict[str, t.Any]:
    """Write a part with these ranges of the list's entries; ``unusable`` says by number why one is not good.

    ``full`` is true if the disk has no room for it. Raises ValueError if the list is not the one the controller has.
    """
    place = os.path.join(folder, "parts", _LIST)
    if not os.path.exists(place) or code_files.digest_of_file(place) != sha256:
        raise ValueError("The list of results has changed meanwhile. Run the task again.")
    with gzip.open(place, "rt", encoding="ascii") as file:
        entries = json.load(file)["entries"]
    unusable: dict[str, str] = {}
    try:
        with _part_in(into, folder) as part, gzip.open(part, "wb", compresslevel=1) as stream:
            for number, offset, length in wanted:
                if reason := _copy(entries[number], offset, length, stream):
                    unusable[str(number)] = reason
        digest = code_files.digest_of_file(os.path.join(into, PART))
        return {"sha256": digest, "unusable": unusable, "full": False}
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _forget(folder, into)
        return {"full": True}


@contextlib.contextmanager
def _part_in(into: str, folder: str) -> t.Iterator[t.IO[bytes]]:
    """The file to write, in the folder ``into`` of the connected user, who may be another one: it belongs to that user.

    It takes the place of the last one. A command that was killed has left that, perhaps in another folder.
    """
    place, owner = os.path.join(into, PART), os.stat(into)
    with job.held(folder):
        job_watcher.note(os.path.join(folder, "parts", _NOTE), {"places": [*_forget(folder, into), place]})
    with open(place, "wb", opener=job_watcher.private) as part:
        os.fchown(part.fileno(), owner.st_uid, owner.st_gid)
        yield part


def _forget(folder: str, into: str) -> list[str]:
    """Remove the last part, and those of others; where those are that another computer may fetch right now."""
    fetched = list[str]()
    for place in (job_watcher.read(os.path.join(folder, "parts", _NOTE)) or {}).get("places", []):
        with contextlib.suppress(OSError):
            if place != os.path.join(into, PART) and time.time() - os.stat(place).st_mtime < _FETCHED:
                fetched.append(place)
            else:
                os.unlink(place)
    return fetched


# Which files there are


def listed(folder: str, patterns: t.Sequence[str]) -> dict[str, t.Any]:
    """The entries of all results, patterns without a file, and what cannot be fetched, with a reason."""
    work = os.path.join(os.path.realpath(os.path.join(folder, code_files.WORK)), "")
    entries: dict[str, Entry] = {}
    missing: list[str] = []
    for pattern in map(check_pattern, patterns):
        places = _places(work, [part for part in pattern.split("/") if part])
        missing += [] if places else [pattern]
        for place in sorted(places):
            path = os.path.relpath(place, work)
            # A link that is named itself is followed: "out" may be on a large disk.
            start = os.path.realpath(place) if os.path.exists(place) else place
            entries.update((entry["path"], entry) for entry in _below("" if path == "." else path, start, work))
    entries.pop("", None)  # the work folder itself, if it is empty
    incomplete = [{"path": path, "reason": entry["reason"]} for path, entry in entries.items() if "reason" in entry]
    # Of a link to a folder, which another pattern follows, comes what is in it: at home it cannot be both.
    folders = {path[:end] for path in entries for end, letter in enumerate(path) if letter == "/"}
    good = [entry for path, entry in sorted(entries.items()) if "reason" not in entry and path not in folders]
    log = _entry("log.txt", os.path.join(folder, "log.txt"), work)
    if log and log["kind"] == FILE:
        began = (job_watcher.read(os.path.join(folder, "state", "pid")) or {}).get("began_at")
        good.insert(0, {**log, "kind": LOG, "identity": f"{began}.{log['identity'].rpartition('.')[2]}"})
    return {"entries": good, "missing": missing, "incomplete": incomplete}


def _places(folder: str, parts: t.Sequence[str]) -> list[str]:
    """What a pattern matches below a folder."""
    if "**" not in parts:
        return glob.glob(os.path.join(glob.escape(folder), *parts))
    at = parts.index("**")
    starts = _places(folder, parts[:at])
    return [place for start in starts for below in _folders(start) for place in _places(below, parts[at + 1 :])]


def _folders(start: str, above: tuple[str, ...] = ()) -> t.Iterator[str]:
    """A folder, and those below it that are not hidden, also behind links; not again those that it is in itself."""
    try:
        names = sorted(os.listdir(start))
    except OSError:  # no folder, as most are: only of folders it is asked where they really are
        return
    real = os.path.realpath(start)
    if real in above:
        return
    yield start
    for name in names:
        if not name.startswith("."):
            yield from _folders(os.path.join(start, name), (*above, real))


def _below(path: str, place: str, work: str) -> t.Iterator[Entry]:
    """The entries of a file, or of all that is below a folder."""
    entry = _entry(path, place, work)
    if entry is None:
        return
    names: list[str] = []
    if entry["kind"] == FOLDER:
        try:
            names = sorted(os.listdir(place))
        except OSError as error:
            entry["reason"] = str(error.strerror)
    for name in names:
        yield from _below(os.path.join(path, name), os.path.join(place, name), work)
    if not names:
        yield entry


def _entry(path: str, place: str, work: str) -> Entry | None:
    """What a controller needs to know of a file; None for sockets, devices and files that are gone by now."""
    try:
        status = os.lstat(place)
        target = os.readlink(place) if stat.S_ISLNK(status.st_mode) else ""
    except OSError:
        return None
    kind = {stat.S_IFREG: FILE, stat.S_IFLNK: LINK, stat.S_IFDIR: FOLDER}.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    # A link with a full path into the work folder becomes relative, so that it leads to the same file at home.
    if target.startswith(work):
        target = os.path.relpath(target, os.path.dirname(place))
    entry = {"kind": kind, "path": path, "place": place, "mode": stat.S_IMODE(status.st_mode), "target": target}
    if target:  # such a file, as the Python of a virtual environment, is no result, wherever the link is
        entry["of_system"] = os.path.realpath(place).startswith(_SYSTEM)
    size = status.st_size if kind == FILE else 0
    return {**entry, "size": size, "mtime_ns": status.st_mtime_ns, "identity": _identity(status)}


def _identity(status: os.stat_result) -> str:
    return f"{status.st_size}.{status.st_mtime_ns}.{status.st_ino}"


def _copy(entry: Entry, offset: int, length: int, stream: gzip.GzipFile) -> str:
    """Write a range of a file, padded with zeros if that is shorter; why it is not good, or an empty text."""
    written = 0
    try:
        with open(entry["place"], "rb", buffering=0, opener=at_once) as file:
            reason = _changed(file, entry)
            file.seek(offset)
            while written < length and not reason:
                block = file.read(min(_BLOCK, length - written))
                reason = "" if block else "it became shorter while it was read"
                stream.write(block)
                written += len(block)
            return reason or _changed(file, entry)
    except OSError as error:
        if error.errno in NO_ROOM:  # for the part
            raise
        return str(error.strerror)
    finally:
        stream.write(bytes(length - written))


def _changed(file: t.IO[bytes], entry: Entry) -> str:
    """Why a file is not the one in the list; empty if it is. A log may have grown."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        return "it is no plain file any more"
    is_same_log = entry["identity"].endswith(f".{status.st_ino}") and status.st_size >= entry["size"]
    is_same = is_same_log if entry["kind"] == LOG else _identity(status) == entry["identity"]
    return "" if is_same else "it changed while it was fetched"
