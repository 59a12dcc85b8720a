# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a run is followed, and which lines of its log are new. Times are seconds since the following began."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, field

from .._machine.job_state import OVER, RUNS
from .._text import LONGEST_LINE, items_of, one_line, printable

Job = t.Mapping[str, t.Any]

PATIENCE = 1800.0  # seconds for which a machine may be silent; its job needs nobody
LINES = 200  # that a look asks for


@dataclass(frozen=True)
class Look:
    """What the last look has shown. ``job``: the last answer; ``offset``: bytes of the log that were shown.

    ``lost_at``: since when the machine does not answer; None if it does. ``is_last``: no other look follows.
    """

    job: Job = field(default_factory=dict)
    offset: int = -1
    lines: tuple[str, ...] = ()
    lost_at: float | None = None
    msg: str = ""
    is_last: bool = False


def after(look: Look, job: Job, passed: float) -> Look:
    """What follows from an answer, or a failure to get one."""
    if job.get("state") in (None, "") or job.get("failed"):
        since = passed if look.lost_at is None else look.lost_at
        why = one_line(str(job.get("msg") or "no answer"))
        msg = f"the machine does not answer (its job needs no connection): {why}"
        return Look(look.job, look.offset, (), since, msg, passed - since >= PATIENCE)
    return Look(job, int(job.get("log_bytes") or 0), _lines(look, job), is_last=job["state"] not in RUNS)


def _lines(look: Look, job: Job) -> tuple[str, ...]:
    """The lines that are new: those within the bytes by which the log has grown."""
    lines, room = [], math.inf if look.offset < 0 else int(job.get("log_bytes") or 0) - look.offset
    for line in reversed(items_of(job.get("log") or [])):
        if room <= 0:  # a line that was shown before its end was written is shown again
            break
        room -= len(str(line).encode(errors="surrogateescape")) + 1
        lines.append(printable(str(line), LONGEST_LINE))  # without what would move a terminal's cursor
    return tuple(reversed(lines))


def result(look: Look) -> dict[str, t.Any]:
    """What the task returns: the last answer, whether the job is over, and whether sight of it was lost."""
    lost = look.lost_at is not None
    job = {name: value for name, value in look.job.items() if name not in ("failed", "invocation")}
    msg = {"msg": look.msg} if lost else {}
    return {**job, **msg, "changed": False, "is_over": look.job.get("state") in OVER and not lost, "lost_sight": lost}
