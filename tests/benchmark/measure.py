# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole processes, one after the other, and what CPU time they and their children took."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Figures = dict[str, list[float]]


@dataclass(frozen=True)
class Usage:
    """What a process took, with all children that it has waited for."""

    cpu: float
    """Seconds, user and system."""
    peak: float
    """MiB of the largest of these processes."""
    output: str


@dataclass
class Commands:
    """The commands of the ansible-core that runs the benchmark, in a folder and an environment of their own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, **environment: str) -> Usage:
        """Run a command to its end. Raises RuntimeError if it fails: what fails early is not fast."""
        command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
        output = self.folder / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            _pid, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        text = output.read_text(errors="replace")
        if process.returncode:
            raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}:\n{text[-4000:]}")
        size = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        return Usage(usage.ru_utime + usage.ru_stime, size, text)


def in_turn(ways: Mapping[str, Callable[[], float]], rounds: int) -> Figures:
    """The figure of each way, once a round: A B C, A B C, ... so that a slow minute of the machine hits all alike."""
    figures: Figures = {name: [] for name in ways}
    for _round in range(rounds):
        for name, way in ways.items():
            figures[name].append(way())
    return figures


def ratio(figures: list[float], base: list[float]) -> float:
    """The median of the ratios within each round."""
    return statistics.median(one / other for one, other in zip(figures, base, strict=True))
