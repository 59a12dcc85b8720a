# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest: what programs leave in the folder for temporary files goes with the session.

Tests kill them before they can tidy up. The folder is none of pytest's own, which keeps those of the last sessions for
whoever looks for a fault, since the paths of sockets must be short.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

FOLDER = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder, and let this process and all that it starts find it. Pytest's own stay where they are."""
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist, started where there is one
        return
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    config.stash[FOLDER] = folder = Path(tempfile.mkdtemp(prefix="supply-"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it."""
    folder = config.stash.get(FOLDER, None)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
