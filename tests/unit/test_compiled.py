# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was compiled of a ZIP file is found again, and only for the same source."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from uuid import uuid4

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".build" / "compiled"


def run(archive: Path, source: str, function: str = "compile") -> str:
    """What a module of a ZIP file prints, if the interpreter's own ``compile`` is this function."""
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("sent.py", source)
    code = f"import builtins, sys; sys.path.insert(0, {str(archive)!r}); builtins.compile = {function}; import sent"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "compiled")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def kept(word: str) -> list[Path]:
    """The files that were kept of a source with this word."""
    return [file for file in KEPT.glob("*/*") if file.is_file() and word.encode() in file.read_bytes()]


def test_a_source_is_compiled_once_and_another_one_anew(tmp_path: Path) -> None:
    words = [uuid4().hex for _source in range(2)]
    try:
        for word in words:
            assert run(tmp_path / f"{word}.zip", f"print('{word}')") == word
            assert len(kept(word)) == 1
            # Now nothing needs to be compiled, whatever the archive's name is.
            assert run(tmp_path / "other.zip", f"print('{word}')", "None") == word
        with pytest.raises(subprocess.CalledProcessError):
            run(tmp_path / "new.zip", f"print('{uuid4().hex}')", "None")
    finally:
        for word in words:
            for file in kept(word):
                file.unlink()


def test_what_was_kept_in_part_is_compiled_anew(tmp_path: Path) -> None:
    word = uuid4().hex
    try:
        run(tmp_path / "first.zip", f"print('{word}')")
        (file,) = kept(word)
        whole = file.read_bytes()
        file.write_bytes(whole[: whole.index(word.encode()) + len(word)])
        assert run(tmp_path / "again.zip", f"print('{word}')") == word
        assert run(tmp_path / "third.zip", f"print('{word}')", "None") == word
    finally:
        for file in kept(word):
            file.unlink()
