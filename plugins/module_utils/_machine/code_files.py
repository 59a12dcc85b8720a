# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs a folder of code on the controller, and unpacks it on the machine. Knows no Ansible.

The archive has the files that git does not ignore. The digest of its content identifies the code.
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

# Files of the registry, which change with each purchase; no machine needs them.
ALWAYS_IGNORED = ("compute_index_supply.yml", ".compute_index_supply.*", ".ssh_config", ".known_hosts", ".evidence/")
WORK = "work"  # the folder of the code
_DIGEST = "code.sha256"  # a file with the digest of the code in the folder
_ENCODING: t.Any = {"encoding": "utf-8", "errors": "surrogateescape"}  # keeps any file name
_TIME = 946684800  # of each file, so that times do not change the digest; zip files cannot have older ones
_BLOCK = 2**20  # bytes


class _Digesting:
    """A writable file that computes the digest of its content."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, block: bytes) -> int:
        self.digest.update(block)
        return self._file.write(block)


def pack(src: str, exclude: t.Sequence[str], archive: str = "") -> str:
    """Pack the folder ``src`` into the tar.gz ``archive``, if one is named, and return the digest of the tar.

    Raises ValueError with a sentence if the folder cannot be read.
    """
    if not os.path.isdir(src):
        raise ValueError(f"{src} is not a folder.")
    paths = sorted(_listed(src, exclude))
    if not paths:
        raise ValueError(f"{src} has no files to pack: it is empty, or .gitignore excludes all of it.")
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
    """Keep only the attributes that git records: name, content, and whether the file is executable."""
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = _TIME
    return member


def _listed(src: str, exclude: t.Sequence[str]) -> t.Iterator[str]:
    """The paths of files and links below a folder that neither git nor these patterns ignore.

    A temporary repository is used, so that git reads only .gitignore files: the code's and the user's.
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
        if path.endswith("/"):  # a nested repository
            yield from (path + below for below in _listed(os.path.join(src, path), exclude))
        else:
            yield path


def _anchored(pattern: str, base: str) -> str:
    """Translate a pattern for the top of the repository. With a slash inside it is relative to the code's folder."""
    negation, text = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    is_bound = "/" in text.rstrip("/")
    return f"{negation}/{base}/{text.lstrip('/')}".replace("/./", "/") if is_bound else pattern


def _git(words: t.Sequence[str], folder: str) -> bytes:
    try:
        # A git hook may have started this process: leave out the variables of its repository.
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        # `run_command` exists only in modules, and this runs on the controller.
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            ["git", *words], cwd=folder, check=True, capture_output=True, env=env
        )
        return done.stdout
    except FileNotFoundError:
        raise ValueError("Install git on this computer: it selects the files to pack.") from None
    except subprocess.CalledProcessError as error:
        raise ValueError(f"git cannot list the files in {folder}: {error.stderr.decode(errors='replace')}") from None


def sha256_of(file: t.IO[bytes]) -> str:
    """The SHA-256 of a file, which is read in blocks."""
    digest = hashlib.sha256()
    for block in iter(lambda: file.read(_BLOCK), b""):
        digest.update(block)
    return digest.hexdigest()


def packed_digest(archive: str) -> str:
    """The digest of the code in an archive; empty if that is damaged. Raises OSError if it cannot be opened."""
    with gzip.open(archive) as file:
        try:
            return sha256_of(t.cast(t.IO[bytes], file))
        except (OSError, EOFError, zlib.error):
            return ""


# On the machine


def digest_at(folder: str) -> str:
    """The digest of the code in a run's folder; empty without code."""
    with contextlib.suppress(OSError), open(os.path.join(folder, _DIGEST), encoding="ascii") as file:
        return file.read()
    return ""


def unpack(archive: str, digest: str, folder: str) -> None:
    """Replace the code of a run by that of an archive. Raises ValueError if the archive is damaged.

    A kill leaves the old code, the new code, or code without a digest, which is replaced next time.
    """
    new, work, noted = (os.path.join(folder, name) for name in ("work.new", WORK, _DIGEST))
    if packed_digest(archive) != digest:
        raise ValueError("The code was damaged on its way to the machine. Run the task again.")
    shutil.rmtree(new, ignore_errors=True)
    with tarfile.open(archive, **_ENCODING) as tar:
        tar.extraction_filter = lambda member, _path: member  # we packed it; newer Pythons would refuse links
        tar.extractall(new)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(noted)
    shutil.rmtree(work, ignore_errors=True)
    os.rename(new, work)
    with open(noted, "w", encoding="ascii") as note:
        note.write(digest)
