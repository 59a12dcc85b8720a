# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of a run on its machine: which files there are, and parts of them that a controller fetches.

The controller asks for a list first, and then for ranges of its files. A part has nothing but their bytes, one after
the other, and no names that could lead anywhere. Knows no Ansible.
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
from .activity import at_once
from .job_state import NONE, OVER

PART = "part.gz"  # what a controller fetches
LOG = "log.txt"
_BLOCK = 2**20  # bytes
MOST = 1_000_000  # files of a run

Entry = dict[str, t.Any]  # a file, or a link (``target``); its path is quoted, since it may be no text


def step(name: str, patterns: t.Sequence[str], asked: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the action plugin asks for: the list of all results and the log, or a part of them.

    Raises ValueError with a sentence, also if there is no run.
    """
    folder = job.folder_of(name)
    if "into" in asked:
        return pack_part(folder, asked["wanted"], str(asked["into"]))
    if "list" not in asked:
        raise ValueError("run_results is an action: it begins on the controller, as a task.")
    state = job.state_of(folder)["state"]
    if state == NONE:
        raise ValueError("There is no run of this name on the machine.")
    return {**listed(folder, patterns), "over": state in OVER}


def pack_part(folder: str, wanted: t.Sequence[tuple[Entry, int, int]], into: str) -> dict[str, t.Any]:
    """Write a part with ranges of files, each an offset and a length; ``unusable``: why one is not good, by its number.

    The folder ``into`` is the connected user's, who may be another one: the part belongs to that user.
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
    """Write a range of a file, padded with zeros if it cannot be read; why it is not good, or an empty text."""
    if "target" in entry:
        return ""
    path, left, fault = unquoted(entry["path"]), length, ""
    place = os.path.join(folder, path if path == LOG else os.path.join(code_files.WORK, path[len("files/") :]))
    try:
        with open(os.path.realpath(place), "rb", opener=at_once) as file:
            file.seek(offset)
            while left and (block := file.read(min(_BLOCK, left))):
                left -= stream.write(block)
            status = os.fstat(file.fileno())
            is_same = (status.st_size, status.st_mtime_ns) == (entry["size"], entry["mtime_ns"]) and not left
            fault = "" if is_same else "it changed while it was fetched"
    except OSError as error:
        fault = str(error.strerror)
    stream.write(bytes(left))
    return fault


# Which files there are


def listed(folder: str, patterns: t.Sequence[str]) -> dict[str, t.Any]:
    """The entries of the log and of all results, patterns without a file, and what cannot be fetched, with a reason."""
    work = os.path.realpath(os.path.join(folder, code_files.WORK))
    found, missing = list(_below(LOG, os.path.join(folder, LOG))), list[str]()
    for pattern in patterns:
        places = glob.glob(os.path.join(glob.escape(work), checked_pattern(pattern)))
        missing += [] if places else [pattern]
        for place in places:
            entries = _below(os.path.normpath(os.path.join("files", os.path.relpath(place, work))), place)
            found += itertools.islice(entries, MOST + 1 - len(found))
        if len(found) > MOST:  # as behind a link to / or /proc
            raise ValueError(
                f"{pattern} leads to more than {MOST} files. Does it have a link to a folder of the system?"
            )
    return {**_each_once(found), "missing": missing}


def _each_once(found: t.Sequence[Entry]) -> dict[str, list[Entry]]:
    """What can be fetched, and what cannot, each once, since patterns may have files in common."""
    entries = {entry["path"]: entry for entry in found}
    # Of a link to a folder, which another pattern follows, comes what is in it: at home it cannot be both.
    folders = {path[:end] for path in entries for end, letter in enumerate(path) if letter == "/"}
    incomplete = {path: entry for path, entry in entries.items() if "reason" in entry}
    left_out = folders | incomplete.keys()
    good = [entry for path, entry in entries.items() if path not in left_out]
    return {"entries": good, "incomplete": list(incomplete.values())}


def checked_pattern(pattern: str) -> str:
    """A path or pattern of results. Raises ValueError with a sentence if it leads out of the work folder."""
    if not pattern or os.path.isabs(pattern) or {"..", "**"} & set(pattern.split("/")):
        raise ValueError(f"paths: {pattern!r} must be a path or pattern below the run's folder, without .. or **.")
    return pattern


def _below(path: str, place: str, root: str = "", above: tuple[str, ...] = ()) -> t.Iterator[Entry]:
    """The entries of a file, or of all that is below a folder; ``above``: where the folders that it is in really are.

    A link within the folder ``root`` stays one, since that comes whole. Any other is followed, as to a large disk, and
    what it leads to is a root of its own; one that leads to nothing is left out, as sockets and devices are.
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
        yield from _below(os.path.join(path, name), os.path.join(place, name), inner, (*above, real))


def _link(path: str, place: str, root: str) -> Entry | None:
    """The entry of a link that stays one; None for all else, and without a root."""
    if not (root and os.path.islink(place)):
        return None
    target = os.readlink(place)
    stays = not leads_out(path[len(root) + 1 :], target)
    return {"path": _quoted(path), "target": _quoted(target), "size": 0} if stays else None


def _unread(path: str, error: OSError, *, is_named: bool) -> t.Iterator[Entry]:
    """What cannot be fetched, and why; not what has gone, or never was, unless it was named."""
    if is_named or error.errno != errno.ENOENT:
        yield {"path": _quoted(path), "reason": str(error.strerror)}


def leads_out(path: str, target: str) -> bool:
    """Whether a link leads out of the folder below which this is its path. It may go up only at its beginning."""
    names = [name for name in target.split("/") if name not in ("", ".")]
    up = next((number for number, name in enumerate(names) if name != ".."), len(names))
    return target.startswith("/") or ".." in names[up:] or up > path.count("/")


def _quoted(path: str) -> str:
    return quote(os.fsencode(path))


def unquoted(path: str) -> str:
    """A path of the list."""
    return os.fsdecode(unquote_to_bytes(path))
