# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of code on its way to a machine: one archive, whose content has a digest. Knows no Ansible.

The controller packs what git would not ignore, and the machine unpacks it; both call this file.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import typing as t
import zlib

# The registry, which changes with each purchase, and no machine needs.
ALWAYS_IGNORED = ("compute_index_supply.yml", ".compute_index_supply.*", ".ssh_config", ".known_hosts")
WORK = "work"  # the folder of the code
_DIGEST = "code.sha256"  # the file that says which code is there
_ENCODING: t.Any = {"encoding": "utf-8", "errors": "surrogateescape"}  # any name survives
_TIME = 946684800  # of each file, so that it does not count for the digest; older ones cannot be zipped
_BLOCK = 2**20  # bytes


class _Digesting:
    """A file to write, whose content is digested."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, block: bytes) -> int:
        self.digest.update(block)
        return self._file.write(block)


def pack(src: str, exclude: t.Sequence[str], archive: str = "") -> str:
    """Write the folder into a tar.gz, if one is named, and return the digest of the tar.

    Raises ValueError with a sentence if it cannot be read.
    """
    if not os.path.isdir(src):
        raise ValueError(f"{src} is not a folder.")
    paths = sorted(_listed(src, exclude))
    if not paths:
        raise ValueError(f"git lists no file in {src}: it is empty, or .gitignore leaves out all of it.")
    try:
        with gzip.open(archive or os.devnull, "wb", compresslevel=3 if archive else 0) as file:
            digesting = _Digesting(file)
            with tarfile.open(
                fileobj=t.cast(t.IO[bytes], digesting), mode="w|", format=tarfile.GNU_FORMAT, **_ENCODING
            ) as tar:
                for path in paths:
                    tar.add(os.path.join(src, path), path, recursive=False, filter=_plain)
    except OSError as error:
        raise ValueError(f"The files in {src} cannot be packed: {error}.") from error
    return digesting.digest.hexdigest()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """What git remembers of a file: its name, content, and whether it may be executed."""
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = _TIME
    return member


def _listed(src: str, exclude: t.Sequence[str]) -> t.Iterator[str]:
    """The paths of files and links below a folder that git does not ignore, nor these patterns.

    A repository of its own tells git nothing but .gitignore files, those of the code's repository and the user's.
    """
    top = src = os.path.realpath(src)
    while not os.path.lexists(os.path.join(top, ".git")) and top != os.path.dirname(top):
        top = os.path.dirname(top)
    top = top if os.path.lexists(os.path.join(top, ".git")) else src
    patterns = [f"--exclude={_anchored(text, os.path.relpath(src, top))}" for text in (*exclude, *ALWAYS_IGNORED)]
    with tempfile.TemporaryDirectory() as folder:
        _git(["init", "--quiet", folder], src)
        git = [f"--git-dir={folder}/.git", f"--work-tree={top}"]
        output = _git([*git, "ls-files", "-z", "--others", "--exclude-standard", *patterns], src)
    for path in filter(None, os.fsdecode(output).split("\0")):
        if path.endswith("/"):  # a repository in it
            yield from (path + below for below in _listed(os.path.join(src, path), exclude))
        else:
            yield path


def _anchored(pattern: str, base: str) -> str:
    """A pattern as git takes it at the top of the repository; with a slash inside it is bound to the code's folder."""
    negation, text = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    is_bound = "/" in text.rstrip("/")
    return f"{negation}/{base}/{text.lstrip('/')}".replace("/./", "/") if is_bound else pattern


def _git(words: t.Sequence[str], folder: str) -> bytes:
    try:
        # As a hook of git may have started this: without the variables of that repository.
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        # `run_command` is a module's, and this runs on the controller.
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            ["git", *words], cwd=folder, check=True, capture_output=True, env=env
        )
        return done.stdout
    except FileNotFoundError:
        raise ValueError("git is needed on this computer: it says which files are code.") from None
    except subprocess.CalledProcessError as error:
        raise ValueError(f"git cannot list the files in {folder}: {error.stderr.decode(errors='replace')}") from None


def sha256_of(file: t.IO[bytes]) -> str:
    """The SHA-256 of a file, without reading it whole."""
    digest = hashlib.sha256()
    for block in iter(lambda: file.read(_BLOCK), b""):
        digest.update(block)
    return digest.hexdigest()


# On the machine


def digest_at(folder: str) -> str:
    """The digest of the code that a run's folder has; empty if it has none."""
    with contextlib.suppress(OSError), open(os.path.join(folder, _DIGEST), encoding="ascii") as file:
        return file.read()
    return ""


def unpack(archive: str, digest: str, folder: str) -> None:
    """Put the code of an archive in place of the run's. Raises ValueError if it was damaged.

    A kill leaves the old code, the new, or none that has a digest.
    """
    new, work, noted = (os.path.join(folder, name) for name in ("work.new", WORK, _DIGEST))
    with gzip.open(archive) as file:
        try:
            arrived = sha256_of(t.cast(t.IO[bytes], file))
        except (OSError, EOFError, zlib.error):
            arrived = ""
        if arrived != digest:
            raise ValueError("The code was damaged on its way to the machine. Run the task again.")
        shutil.rmtree(new, ignore_errors=True)
        file.seek(0)
        with tarfile.open(fileobj=file, **_ENCODING) as tar:
            tar.extraction_filter = lambda member, _path: member  # it is ours; newer Pythons would refuse links
            tar.extractall(new)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(noted)
    shutil.rmtree(work, ignore_errors=True)
    os.rename(new, work)
    with open(noted, "w", encoding="ascii") as note:
        note.write(digest)
