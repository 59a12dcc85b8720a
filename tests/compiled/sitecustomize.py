# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps compiled code, for programs with this folder in their PYTHONPATH.

Ansible sends a module as a ZIP file of sources, so each run compiles everything that the module imports: half of its
processor time. With this file each source is compiled once, and found again by its hash.
"""

from __future__ import annotations

import _imp
import marshal
import os
import sys
import zipimport
from typing import Any

FOLDER = f"{__file__.rpartition('/tests/')[0]}/.build/compiled/{sys.implementation.cache_tag}"


def keep() -> None:
    """Let zipimport look in the folder before it compiles a source."""
    # A private function of the standard library; without it, nothing is kept.
    compiles = getattr(zipimport, "_compile_source", None)

    def find_or_compile(path: str, source: bytes) -> Any:
        file = f"{FOLDER}/{_imp.source_hash(len(source), source).hex()}"
        try:
            with open(file, "rb") as kept:
                return marshal.loads(kept.read())
        except (OSError, EOFError, ValueError, TypeError):
            pass
        code = compiles(path, source)
        try:
            os.makedirs(FOLDER, exist_ok=True)
            # Processes of two containers may have the same number.
            with open(f"{file}-{os.urandom(8).hex()}", "wb") as new:
                marshal.dump(code, new)
            os.replace(new.name, file)
        except OSError:
            pass  # without the right to write there, it compiles each time
        return code

    if compiles is not None:
        zipimport._compile_source = find_or_compile  # type: ignore[attr-defined]


keep()
