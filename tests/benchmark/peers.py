# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collections to compare with, out of the PyPI package ``ansible``: two folders of its wheel, not all of it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

VERSION = "14.5.0"
FOLDERS = ("ansible_collections/hetzner/hcloud/", "ansible_collections/vultr/cloud/")


def unpack(folder: Path) -> Path:
    """The folder to have on the collections path; it is filled once."""
    target = folder / f"peers-{VERSION}"
    if not target.exists():
        # Whatever Python runs this: the wheel is only unpacked.
        words = ("--no-deps", "--only-binary=:all:", "--python-version=3.12", f"--dest={folder}", f"ansible=={VERSION}")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "download", "--quiet", *words], check=True)
        partial = folder / "peers.tmp"
        with zipfile.ZipFile(folder / f"ansible-{VERSION}-py3-none-any.whl") as wheel:
            wheel.extractall(partial, [name for name in wheel.namelist() if name.startswith(FOLDERS)])
        partial.rename(target)
    return target
