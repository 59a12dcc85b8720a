# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a program that starts ansible-playbook many times, such as ansible-lint: ``python prepared.py PROGRAM ...``.

Each of these plays is a fork of one process that has imported ansible-core: see ``tests/launcher.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from launcher import stand_ins


def run(words: list[str]) -> int:
    """Run the program; its exit code."""
    # As ansible-lint starts them. Where this differed, each would be a process of its own.
    os.environ["PYTHONWARNINGS"] = "ignore"
    with tempfile.TemporaryDirectory(prefix="supply-") as folder:
        stand_ins(Path(folder), [Path(sys.executable).with_name("ansible-playbook")])
        os.environ["PATH"] = os.pathsep.join([folder, os.environ["PATH"]])
        return subprocess.run(words, check=False).returncode


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
