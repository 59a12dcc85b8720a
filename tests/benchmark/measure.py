# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run whole processes one after the other, and measure their CPU time with that of their children."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

Figures = dict[str, list[float]]
T = TypeVar("T")

# A process between the benchmark and the command, since Linux adds the size of the parent to a new process's peak.
MEASURE = """
import json, os, sys, time
began = time.monotonic()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_pid, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    cpu, wall = usage.ru_utime + usage.ru_stime, time.monotonic() - began
    json.dump([os.waitstatus_to_exitcode(status), cpu, wall, usage.ru_maxrss], file)
"""


@dataclass(frozen=True)
class Usage:
    """The resources used by a process and all children that it has waited for."""

    cpu: float
    """Seconds, user and system."""
    wall: float
    """Seconds."""
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
        output, measured = self.folder / "output", self.folder / "measured"
        with output.open("wb") as file:
            subprocess.run(
                [sys.executable, "-I", "-S", "-c", MEASURE, str(measured), *command],
                cwd=self.folder,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=True,
            )
        code, cpu, wall, size = json.loads(measured.read_text())
        text = output.read_text(errors="replace")
        if code:
            raise RuntimeError(f"{' '.join(words)} ended with {code}:\n{text[-4000:]}")
        return Usage(cpu, wall, size / (2**20 if sys.platform == "darwin" else 2**10), text)


def in_turn(ways: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """The figures of each way, once a round: A B C, A B C, ... so that a slow minute of the machine hits all alike."""
    figures: dict[str, list[T]] = {name: [] for name in ways}
    for _round in range(rounds):
        for name, way in ways.items():
            figures[name].append(way())
    return figures


def ratio(figures: list[float], base: list[float]) -> float:
    """The median of the ratios within each round."""
    return statistics.median(one / other for one, other in zip(figures, base, strict=True))
