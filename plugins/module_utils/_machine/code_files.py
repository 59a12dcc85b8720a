# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of code on its way to a machine: what is in it, its digest, one archive, and its place there.

Knows no Ansible. The controller scans and packs, the machine unpacks; both call this file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tarfile
import tempfile
import typing as t
from dataclasses import dataclass, replace

# The registry, which changes with each purchase, and no machine needs.
_REGISTRY = ("compute_index_supply.yml", ".compute_index_supply.*", ".ssh_config", ".known_hosts")
ALWAYS_IGNORED = (".git", *_REGISTRY)
_ENCODING: t.Any = {"encoding": "utf-8", "errors": "surrogateescape"}  # any name survives
TarError = tarfile.TarError
WORK = "work"  # the link to the folder of the code
_CODE = "code-"  # the beginning of that folder's name; the digest follows
NEW = ".new-"  # the beginning of the name of one that is not complete
_BLOCK = 2**20  # bytes


@dataclass(frozen=True)
class Code:
    """What is in a folder of code."""

    digest: str  # SHA-256 of the sorted list of path, mode and the content's digest
    files: int
    bytes: int


@dataclass(frozen=True)
class _Item:
    """A file, a link, or an empty folder; ``path`` is relative to the folder of the code."""

    path: str
    place: str
    status: os.stat_result

    @property
    def mode(self) -> int:
        """Its kind, and whether it may be executed: what git remembers."""
        kind = stat.S_IFMT(self.status.st_mode)
        return kind | (0o755 if kind != stat.S_IFREG or self.status.st_mode & 0o100 else 0o644)


def scan(src: str, exclude: t.Sequence[str] = ()) -> Code:
    """What is in the folder. Raises ValueError with a sentence if it cannot be read."""
    with _readable(src):
        return _code((item, _digest_of(item)) for item in _walk(src, exclude))


def pack(src: str, exclude: t.Sequence[str], archive: str) -> Code:
    """Write the folder into a tar.gz, and return what was written. Raises ValueError if it cannot be read."""
    with _readable(src), tarfile.open(archive, "w:gz", compresslevel=3, format=tarfile.GNU_FORMAT, **_ENCODING) as tar:
        return _code([(item, _add(tar, item)) for item in _walk(src, exclude)])


def digest_of_file(path: str) -> str:
    """Its SHA-256, without reading it whole."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def _code(items: t.Iterable[tuple[_Item, str]]) -> Code:
    pairs = list(items)
    rows = sorted((os.fsencode(item.path).hex(), item.mode, content) for item, content in pairs)
    files = [item for item, _content in pairs if not stat.S_ISDIR(item.status.st_mode)]
    size = sum(item.status.st_size for item in files if stat.S_ISREG(item.status.st_mode))
    return Code(hashlib.sha256(json.dumps(rows).encode()).hexdigest(), len(files), size)


@contextlib.contextmanager
def _readable(src: str) -> t.Iterator[None]:
    if not os.path.isdir(src):
        raise ValueError(f"{src} is not a folder.")
    try:
        yield
    except OSError as error:
        raise ValueError(f"The files in {src} cannot be packed: {error}.") from error


def _walk(src: str, exclude: t.Sequence[str]) -> t.Iterator[_Item]:
    """All that is not ignored. ``exclude`` beats each .gitignore, and a deeper .gitignore beats those above it."""
    base, rules = _of_repository(src)
    last = rules_of([*exclude, *ALWAYS_IGNORED], base)
    return (replace(item, path=item.path[len(base) :]) for item in _below(src, base, rules, last))


def _of_repository(src: str) -> tuple[str, tuple[Rule, ...]]:
    """The path of a folder in its repository, and the rules of the folders above it there.

    Nothing of both outside a repository, or if these rules leave out the whole folder, which a person has named.
    """
    top, names = os.path.realpath(src), list[str]()
    while not os.path.lexists(os.path.join(top, ".git")):
        top, name = os.path.split(top)
        if not name:
            return "", ()
        names.insert(0, name)
    base, rules = "", tuple[Rule, ...]()
    for name in names:
        rules += rules_of(_lines_of(os.path.join(top, base, ".gitignore")), base)
        base = f"{base}{name}/"
        any_file = f"{base}{'x' * 99}"  # as build/* leaves out each
        if is_ignored(base[:-1], True, rules) or is_ignored(any_file, False, rules):
            return "", ()
    return base, rules


def _below(folder: str, base: str, rules: tuple[Rule, ...], last: tuple[Rule, ...]) -> t.Iterator[_Item]:
    rules += rules_of(_lines_of(os.path.join(folder, ".gitignore")), base)
    for name in sorted(os.listdir(folder)):
        place, path = os.path.join(folder, name), base + name
        status = os.lstat(place)
        is_folder = stat.S_ISDIR(status.st_mode)
        if is_ignored(path, is_folder, (*rules, *last)):
            continue
        if is_folder:
            content = list(_below(place, f"{path}/", rules, last))
            yield from content or ([] if _is_of_registry(place) else [_Item(path, place, status)])
        elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            yield _Item(path, place, status)


def _is_of_registry(folder: str) -> bool:
    """Whether a folder has nothing but the registry in it, so that a purchase makes it, and an end removes it."""
    rules = rules_of(_REGISTRY)
    with os.scandir(folder) as found:
        items = list(found)
    return bool(items) and all(
        is_ignored(item.name, False, rules) or (item.is_dir(follow_symlinks=False) and _is_of_registry(item.path))
        for item in items
    )


def _lines_of(place: str) -> list[str]:
    encoding = {**_ENCODING, "encoding": "utf-8-sig"}  # git skips a mark at the beginning, too
    with contextlib.suppress(FileNotFoundError, IsADirectoryError), open(place, **encoding) as file:
        return list(file)
    return []


def _digest_of(item: _Item) -> str:
    if stat.S_ISLNK(item.status.st_mode):
        return os.readlink(item.place).encode(errors="surrogateescape").hex()
    return "" if stat.S_ISDIR(item.status.st_mode) else digest_of_file(item.place)


class _Digesting:
    """A file whose content is digested as it is read."""

    def __init__(self, file: t.BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self.digest.update(block)
        return block


def _add(tar: tarfile.TarFile, item: _Item) -> str:
    """Write an item, and return the digest of what was written."""
    member = tar.gettarinfo(item.place, item.path)
    if member.type == tarfile.LNKTYPE:  # a hard link is packed as a file of its own
        member.type, member.size = tarfile.REGTYPE, os.lstat(item.place).st_size
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = item.mode & 0o777
    if not member.isreg():
        tar.addfile(member)
        return _digest_of(item)
    with open(item.place, "rb") as file:
        reader = _Digesting(file)
        tar.addfile(member, t.cast(t.BinaryIO, reader))
    return reader.digest.hexdigest()


# On the machine


def digest_at(folder: str) -> str:
    """The digest of the code that a run's folder has; empty if it has none."""
    try:
        return os.readlink(os.path.join(folder, WORK))[len(_CODE) :]
    except OSError:
        return ""


def unpack(archive: str, sha256: str, digest: str, folder: str) -> None:
    """Put the code of an archive into a run's folder, all at once. Raises ValueError if the archive was damaged."""
    if digest_of_file(archive) != sha256:
        raise ValueError("The code was damaged on its way to the machine. Run the task again.")
    new = tempfile.mkdtemp(prefix=NEW, dir=folder)
    try:
        with tarfile.open(archive, **_ENCODING) as tar:
            for member in tar:
                _extract(tar, member, new)
    except OSError:  # on a full disk this gives back its room
        shutil.rmtree(new, ignore_errors=True)
        raise
    place_code(new, digest, folder)


def place_code(new: str, digest: str, folder: str) -> None:
    """Make a complete folder the code of the run, by renaming a link: a kill leaves the old code, or the new one."""
    name = f"{_CODE}{digest}"
    if digest_at(folder) != digest:
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)  # of an attempt that was killed
        os.rename(new, os.path.join(folder, name))
        link = os.path.join(folder, f"{NEW}{os.getpid()}-link")
        os.symlink(name, link)
        os.replace(link, os.path.join(folder, WORK))
    for other in os.listdir(folder):
        if other.startswith((_CODE, NEW)) and other != name:
            place = os.path.join(folder, other)
            if os.path.islink(place):
                os.unlink(place)
            shutil.rmtree(place, ignore_errors=True)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: str) -> None:
    """Write a member of an archive of ours. Raises ValueError if its name leads out of the folder."""
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise ValueError("The archive has a name that leads out of its folder.")
    place = os.path.join(folder, member.name)
    os.makedirs(place if member.isdir() else os.path.dirname(place), exist_ok=True)
    if member.issym():
        os.symlink(member.linkname, place)
    source = tar.extractfile(member) if member.isreg() else None
    if source is not None:
        with source, open(place, "xb") as file:
            shutil.copyfileobj(source, file, _BLOCK)
        os.chmod(place, member.mode)
        os.utime(place, (member.mtime, member.mtime))


# Which files of a folder patterns of gitignore's kind leave out, after gitignore(5)

_TOKEN = re.compile(r"^\*\*/|/\*\*/|/\*\*$|\*+|\?|\[[!^]?\]?[^]]*\]|\\.|.", re.DOTALL)
_WORDS = {"**/": "(?:.*/)?", "/**/": "/(?:.*/)?", "/**": "/.+", "?": "[^/]"}


Rule = tuple[re.Pattern[str], bool, bool]  # of whole paths; whether it is negated, and whether it is for folders alone


def rules_of(lines: t.Iterable[str], base: str = "") -> tuple[Rule, ...]:
    """The rules in the lines of a file or a list; comments and empty lines have none.

    ``base``: the folder of the file, relative to the root; empty, or with a slash at its end.
    """
    return tuple(rule for rule in (_rule(line, base) for line in lines) if rule)


def is_ignored(path: str, is_folder: bool, rules: t.Sequence[Rule]) -> bool:
    """Whether the last rule that speaks of the path, which is relative to the root, leaves it out."""
    return not next(
        (
            negated
            for pattern, negated, for_folders in reversed(rules)
            if (is_folder or not for_folders) and pattern.fullmatch(path)
        ),
        True,
    )


def _rule(line: str, base: str) -> Rule | None:
    text = re.sub(r"(?<!\\) +$", "", line.rstrip("\r\n"))
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    text = text[1:] if negated else text
    for_folders = text.endswith("/")
    text = text[:-1] if for_folders else text
    # A slash at the beginning or inside binds a pattern to the folder of its file.
    anywhere = "" if "/" in text else "(?:.*/)?"
    words = "".join(map(_word, _TOKEN.findall(text[1:] if text.startswith("/") else text)))
    try:
        return re.compile(re.escape(base) + anywhere + words, re.DOTALL), negated, for_folders
    except re.error:  # a range that ends before it begins matches nothing
        return None


def _word(token: str) -> str:
    """A part of a pattern as a regular expression."""
    if token in _WORDS:
        return _WORDS[token]
    if token.startswith("*"):
        return "[^/]*"
    if token.startswith("[") and len(token) > 1:
        inner = token[1:-1].replace("[", r"\[")
        return f"(?!/)[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]"
    return re.escape(token[1:] if len(token) > 1 and token.startswith("\\") else token)
