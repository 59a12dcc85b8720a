# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the results of a run on its machine, and packs parts of them for the controller. Knows no Ansible.

The controller first asks for the list, then for ranges of its files. A part contains only their bytes, one range after
another, and no names, which might be unsafe.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import gzip
import itertools
import os
import stat
import typing as t
from urllib.parse import quote, unquote_to_bytes

from . import code_files, job
from .activity import nonblocking_opener
from .job_state import NONE, OVER

PART = "part.gz"  # the file that the controller fetches
LOG = "log.txt"
_BLOCK = 2**20  # bytes
MOST = 1_000_000  # files of a run

Entry = dict[str, t.Any]  # a file, or a link (``target``); its path is quoted, since it may not be valid text


def step(name: str, patterns: t.Sequence[str], request: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Answer the action plugin: the list of the log and all results, or a part. Raises ValueError with a sentence."""
    folder = job.folder_of(name)
    if "into" in request:
        return pack_part(folder, request["wanted"], str(request["into"]))
    if "list" not in request:
        raise ValueError("run_results is an action: it begins on the controller, as a task.")
    state = job.state_of(folder)["state"]
    if state == NONE:
        raise ValueError("The machine has no run of this name.")
    return {**listed(folder, patterns), "over": state in OVER}


def pack_part(folder: str, wanted: t.Sequence[tuple[Entry, int, int]], into: str) -> dict[str, t.Any]:
    """Write a part with ranges of files, each with offset and length. Returns its SHA-256, and ``unusable``.

    ``unusable``: the reason for each range that is not valid, by its number. The part gets the owner of the folder
    ``into``, the user of the connection, who may not be the user that the module runs as.
    """
    place, owner, unusable = os.path.join(into, PART), os.stat(into), dict[str, str]()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place)
    with open(place, "xb") as part, gzip.open(part, "wb", compresslevel=1) as stream:
        os.fchown(part.fileno(), owner.st_uid, owner.st_gid)
        for number, (entry, offset, length) in enumerate(wanted):
            if reason := _copy(folder, entry, offset, length, stream):
                unusable[str(number)] = reason
    with open(place, "rb") as packed:
        return {"sha256": code_files.sha256_of(packed), "unusable": unusable}


def _copy(folder: str, entry: Entry, offset: int, length: int, stream: gzip.GzipFile) -> str:
    """Write a range of a file, padded with zeros if it cannot be read. Returns why it is invalid, or an empty text."""
    if "target" in entry:
        return ""
    path, remaining, fault = unquoted(entry["path"]), length, ""
    place = os.path.join(folder, path if path == LOG else os.path.join(code_files.WORK, path[len("files/") :]))
    try:
        with open(os.path.realpath(place), "rb", opener=nonblocking_opener) as file:
            file.seek(offset)
            while remaining and (block := file.read(min(_BLOCK, remaining))):
                remaining -= stream.write(block)
            status = os.fstat(file.fileno())
            is_same = (status.st_size, status.st_mtime_ns) == (entry["size"], entry["mtime_ns"]) and not remaining
            fault = "" if is_same else "it changed while it was fetched"
    except OSError as error:
        fault = str(error.strerror)
    stream.write(bytes(remaining))
    return fault


# The list


def listed(folder: str, patterns: t.Sequence[str]) -> dict[str, t.Any]:
    """List the log and all results.

    Raises ValueError with a sentence if a pattern leads out of the work folder, or matches too many files.
    Returns their ``entries``, the patterns that match no file (``missing``), and the entries that cannot be fetched,
    with a reason (``incomplete``).
    """
    work = os.path.realpath(os.path.join(folder, code_files.WORK))
    found, missing = list(_entries(LOG, os.path.join(folder, LOG))), list[str]()
    for pattern in patterns:
        if not pattern or os.path.isabs(pattern) or {"..", "**"} & set(pattern.split("/")):
            raise ValueError(f"paths: {pattern!r} must be a path or pattern below the run's folder, without .. or **.")
        places = glob.glob(os.path.join(glob.escape(work), pattern))
        missing += [] if places else [pattern]
        for place in places:
            entries = _entries(os.path.normpath(os.path.join("files", os.path.relpath(place, work))), place)
            found += itertools.islice(entries, MOST + 1 - len(found))
        if len(found) > MOST:  # for example because of a link to / or /proc
            raise ValueError(f"{pattern} matches more than {MOST} files. Does it contain a link to a system folder?")
    return {**_without_duplicates(found), "missing": missing}


def _without_duplicates(found: t.Sequence[Entry]) -> dict[str, list[Entry]]:
    """Split entries into those that can be fetched and those that cannot, each once, since patterns may overlap."""
    entries = {entry["path"]: entry for entry in found}
    # If one pattern keeps a link to a folder and another follows it, the folder counts: one path cannot be both.
    folders = {path[:end] for path in entries for end, letter in enumerate(path) if letter == "/"}
    incomplete = {path: entry for path, entry in entries.items() if "reason" in entry}
    left_out = folders | incomplete.keys()
    good = [entry for path, entry in entries.items() if path not in left_out]
    return {"entries": good, "incomplete": list(incomplete.values())}


def _entries(path: str, place: str, root: str = "", above: tuple[str, ...] = ()) -> t.Iterator[Entry]:
    """The entries of a file, or of all files below a folder. ``above``: the real paths of the folders around it.

    The folder ``root`` is fetched whole, so a link that stays within it remains a link. Other links, for example to a
    large disk, are followed, and their targets become roots. Broken links, sockets and devices are left out.
    """
    real, names = os.path.realpath(place), list[str]()
    try:
        if link := _link(path, place, root):
            yield link
            return
        status = os.stat(place)
        if stat.S_ISDIR(status.st_mode) and real not in above:
            names = sorted(os.listdir(place))
    except OSError as error:
        yield from _unread(path, error, is_named=not root)
        return
    if stat.S_ISREG(status.st_mode):
        mode = stat.S_IMODE(status.st_mode)
        yield {"path": _quoted(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "mode": mode}
    inner = path if os.path.islink(place) else root or path
    for name in names:
        yield from _entries(os.path.join(path, name), os.path.join(place, name), inner, (*above, real))


def _link(path: str, place: str, root: str) -> Entry | None:
    """The entry of a link that remains a link; None for any other file, or without a root."""
    if not (root and os.path.islink(place)):
        return None
    target = os.readlink(place)
    stays = not leads_out(path[len(root) + 1 :], target)
    return {"path": _quoted(path), "target": _quoted(target), "size": 0} if stays else None


def _unread(path: str, error: OSError, *, is_named: bool) -> t.Iterator[Entry]:
    """The entry of a file that cannot be fetched; none if it does not exist and was not named by a pattern."""
    if is_named or error.errno != errno.ENOENT:
        yield {"path": _quoted(path), "reason": str(error.strerror)}


def leads_out(path: str, target: str) -> bool:
    """Whether a link leads out of the folder that ``path`` is relative to. ``..`` may only stand at its beginning."""
    names = [name for name in target.split("/") if name not in ("", ".")]
    up = next((number for number, name in enumerate(names) if name != ".."), len(names))
    return target.startswith("/") or ".." in names[up:] or up > path.count("/")


def _quoted(path: str) -> str:
    return quote(os.fsencode(path))


def unquoted(path: str) -> str:
    """Decode a path of the list."""
    return os.fsdecode(unquote_to_bytes(path))
