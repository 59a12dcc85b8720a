# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack single collections from the wheel of the PyPI package ``ansible``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path


def unpack(target: Path, version: str, *names: str) -> Path:
    """Fill a folder for the collections path with these collections, once. Processes may do so at the same time."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="ansible-", dir=target.parent) as folder:
            # The wheel is only unpacked, so its Python version need not be this one.
            words = ("--no-deps", "--only-binary=:all:", "--python-version=3.12", f"--dest={folder}")
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
            subprocess.run([*pip, *words, f"ansible=={version}"], check=True)
            (wheel,) = Path(folder).glob("*.whl")
            folders = tuple(f"ansible_collections/{name.replace('.', '/')}/" for name in names)
            with zipfile.ZipFile(wheel) as package:
                members = [name for name in package.namelist() if name.startswith(folders)]
                package.extractall(Path(folder, "unpacked"), members)
            try:
                Path(folder, "unpacked").rename(target)
            except OSError:
                if not target.exists():  # else another process was faster
                    raise
    return target
