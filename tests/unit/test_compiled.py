# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled modules of ZIP files are cached, and reused only for the same source."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from uuid import uuid4

import pytest

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".build" / "compiled"


def run(archive: Path, source: str, function: str = "compile") -> str:
    """Import a module from a ZIP file, with ``builtins.compile`` replaced by this function, and return its output."""
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("sent.py", source)
    code = f"import builtins, sys; sys.path.insert(0, {str(archive)!r}); builtins.compile = {function}; import sent"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "compiled")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def cached_files(word: str) -> list[Path]:
    """The cache files for a source that contains this word."""
    return [file for file in CACHE.glob("*/*") if file.is_file() and word.encode() in file.read_bytes()]


def test_each_source_is_compiled_once(tmp_path: Path) -> None:
    words = [uuid4().hex for _source in range(2)]
    try:
        for word in words:
            assert run(tmp_path / f"{word}.zip", f"print('{word}')") == word
            assert len(cached_files(word)) == 1
            # Nothing needs to be compiled now, even if the archive has another name.
            assert run(tmp_path / "other.zip", f"print('{word}')", "None") == word
        with pytest.raises(subprocess.CalledProcessError):
            run(tmp_path / "new.zip", f"print('{uuid4().hex}')", "None")
    finally:
        for word in words:
            for file in cached_files(word):
                file.unlink()


def test_truncated_cache_file_is_compiled_again(tmp_path: Path) -> None:
    word = uuid4().hex
    try:
        run(tmp_path / "first.zip", f"print('{word}')")
        (file,) = cached_files(word)
        whole = file.read_bytes()
        file.write_bytes(whole[: whole.index(word.encode()) + len(word)])
        assert run(tmp_path / "again.zip", f"print('{word}')") == word
        assert run(tmp_path / "third.zip", f"print('{word}')", "None") == word
    finally:
        for file in cached_files(word):
            file.unlink()
