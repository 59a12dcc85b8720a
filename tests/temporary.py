# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pytest plugin that removes the temporary files of programs at the end of the session.

Tests kill programs before they can tidy up. The folder is not pytest's own, which is kept for people who look for a
fault, since the paths of sockets must be short.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

FOLDER = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder, and set it for this process and the programs that it starts. Pytest's folders do not move."""
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist inherits the folder
        return
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    config.stash[FOLDER] = folder = Path(tempfile.mkdtemp(prefix="supply-"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder."""
    folder = config.stash.get(FOLDER, None)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
