# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many lines of a screen the output of a play takes, and which of our lines are wider than the screen.

Lines are counted as a terminal wraps them. A line of the recap counts once, though it is wider than most screens.
Warnings and Ansible's lines about retries do not count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

COLUMNS = 80

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
# Lines that Ansible never wraps: paths, results and hosts' counters.
_NOT_COUNTED = ("[WARNING]", "[DEPRECATION WARNING]", "FAILED - RETRYING")
_OF_ANSIBLE = ("included: ", "fatal: ", "failed: ", "[ERROR]", *_NOT_COUNTED)
_RECAP = re.compile(r"\S+ +: ok=\d+ ")


def lines(output: str) -> int:
    """The number of lines that the output takes on the screen."""
    return sum(1 if _RECAP.match(line) else max(1, math.ceil(len(line) / COLUMNS)) for line in _counted(output))


def too_wide(output: str) -> list[str]:
    """The lines written by us that a terminal would wrap."""
    wide = [line for line in map(plain, output.splitlines()) if len(line) > COLUMNS]
    return [line for line in wide if not line.startswith(_OF_ANSIBLE) and not _RECAP.match(line)]


def _counted(output: str) -> Iterator[str]:
    """The lines that count."""
    return (line for line in map(plain, output.splitlines()) if not line.startswith(_NOT_COUNTED))


def plain(line: str) -> str:
    """The line without colours, and without the blanks at its end, which a terminal does not wrap."""
    return _COLOUR.sub("", line).rstrip()
