# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose time is over? What cannot be read never ends a machine.

Moments are seconds since the epoch, durations seconds.
"""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass

from .._text import number_of, printable
from .._wording import duration
from . import lease
from .clock import API, Clock
from .entry import Entry

# Seconds after which the machine that a sweep has begun to end, and that is still there, may get more time.
ENDING = 900.0
FRESH = 60.0  # seconds after which what a machine has said of its use is unknown
_ASKED_MOST = 20  # machines, whose answers then are new when they count, however many forks there are
_AHEAD = 1.0  # seconds by which it may be of the future: a clock was set a little back meanwhile
_GRACE_MOST, _COMMAND_MOST = 31 * 86_400.0, 86_400.0  # seconds; what is longer is a slip, and no limit


@dataclass(frozen=True)
class SweepLimits:
    """Seconds by which a failed last command delays an end (``grace``), and that it may take (``command``)."""

    grace: float = 1800.0
    command: float = 300.0


def read_limits(grace: t.Any, command: t.Any, usual: SweepLimits | None = None) -> SweepLimits:
    """What the variables of a sweep say; an empty one says nothing, and what is ``usual`` holds.

    A number without a unit is one of minutes for ``grace`` and of seconds for ``command``. Raises ValueError with a
    sentence for a person.
    """
    usual = usual or SweepLimits()
    sweep_limits = SweepLimits(
        _duration("reap_grace", grace, "m", usual.grace),
        _duration("reap_before_end_timeout", command, "s", usual.command),
    )
    if sweep_limits.grace > _GRACE_MOST:
        raise ValueError(f"reap_grace must be at most 31 days, not '{grace}'.")
    if not 0 < sweep_limits.command <= _COMMAND_MOST:
        raise ValueError(f"reap_before_end_timeout must be longer than nothing and at most a day, not '{command}'.")
    return sweep_limits


def _duration(name: str, value: t.Any, unit: str, otherwise: float) -> float:
    """The seconds of a duration, without a unit in this one. Raises ValueError that names the variable."""
    text = "" if value is None else str(value).strip()
    try:
        return duration(f"{text}{unit}" if text[-1:].isdigit() else text) if text else otherwise
    except ValueError:
        raise ValueError(f"{name} must be a duration such as 90s, 30m or 2h, not '{printable(text, 60)}'.") from None


def batches(due: int, forks: int) -> list[int]:
    """How many hosts take part at once: first all that are due, then as many as can be asked within seconds."""
    return [max(1, due), max(1, min(forks, _ASKED_MOST))]


class LeaseState(enum.Enum):
    """How it stands with the life of a host's machine."""

    OVER = "over"
    LIVES = "lives"
    ENDLESS = "endless"  # it was bought without a lease
    UNKNOWN = "unknown"  # it has a lease that cannot be read


@dataclass(frozen=True)
class Life:
    """The life of a host's machine: its ``end`` if it has one, for how long that was ``passed`` (negative before it).

    ``reason``: why its end cannot be read.
    """

    end: float | None = None
    passed: float = 0.0
    reason: str = ""

    @property
    def state(self) -> LeaseState:
        """How it stands."""
        if self.reason:
            return LeaseState.UNKNOWN
        if self.end is None:
            return LeaseState.ENDLESS
        return LeaseState.OVER if self.is_over() else LeaseState.LIVES

    def end_by(self, now: float) -> float | None:
        """Its end by another clock, which says that it is ``now``."""
        return None if self.end is None else now - self.passed

    def is_over(self, grace: float = 0.0) -> bool:
        """Whether its end was so long ago."""
        return self.end is not None and self.passed >= grace


def life(entry: Entry, created: float | None, clock: Clock) -> Life:
    """The life of what a registry entry names, by the clock that noted its end.

    ``created``: when the machine was made, by the API's records; None if they do not say.
    """
    try:
        end = lease.end_of(entry.leased, entry.ends_at, created)
    except ValueError as error:
        return Life(reason=str(error))
    return _life(end, clock, entry.clock)


def life_by_name(leased: str, created: float | None, clock: Clock) -> Life:
    """The same without a registry: all that is known is the lease that its host declares now."""
    try:
        found = lease.read_lease(leased)
    except ValueError as error:
        return Life(reason=f"provision_lease {error}")
    if found.seconds is not None and created is None:
        return Life(reason="the API does not say when it was made")
    return _life(found.end(created or 0.0), clock, API)


def _life(end: float | None, clock: Clock, noted_by: str) -> Life:
    return Life() if end is None else Life(end, clock.since(end, noted_by))


@dataclass(frozen=True)
class Idleness:
    """What a machine says of its use (`activity_info`), and for how many seconds it may be idle (``limit``)."""

    limit: float
    state: str = "unknown"
    seconds: float = 0.0
    evidence: str = ""

    def is_over(self, grace: float = 0.0) -> bool:
        """Whether it was idle for so long. What is unknown is not."""
        return self.state == "idle" and self.seconds >= self.limit + grace > 0


def idleness(limit: t.Any, activity: t.Mapping[str, t.Any] | None, now: float) -> Idleness:
    """That of a machine by the answer of `activity_info`; unknown without one, or if that is older than a minute.

    ``now``: by this computer's clock, as ``asked_at`` of the answer.
    """
    told = activity or {}
    asked = number_of(told.get("asked_at"))
    is_fresh = asked is not None and -_AHEAD <= now - asked <= FRESH
    return Idleness(
        number_of(limit) or 0.0,
        str(told.get("state") or "unknown") if is_fresh else "unknown",
        number_of(told.get("idle_seconds")) or 0.0,
        str(told.get("evidence") or ""),
    )


class Turn(enum.Enum):
    """What a sweep does with a host that it has sent to its end, when it looks for the last time."""

    ENDS = "ends"
    STAYS = "stays"  # it has got more time, or is in use again
    ENDED = "ended"  # by another run, meanwhile
    WAITS = "waits"  # its last command has failed, and may be tried by the next sweep


@dataclass(frozen=True)
class SweptHost:
    """What a sweep has found of a host that it sends to its end.

    ``place``: the registry that knows its machine. ``grace``: seconds for which its time must have been over, 0 unless
    its last command has failed. ``lease``: what a host without a registry declares.
    """

    place: str
    grace: float
    lease: str
    use: Idleness


def read_swept_host(raw: t.Mapping[str, t.Any], place: str, now: float) -> SweptHost | None:
    """What a sweep says of a host in this place; None if no sweep has sent it.

    ``raw``: with ``before``, the result of its last command, and ``activity``. ``now``: by this computer's clock.
    """
    asked = raw.get("reaped")
    if not asked:
        return None
    grace = 0.0 if is_saved(raw.get("before")) else number_of(asked.get("grace")) or 0.0
    use = idleness(asked.get("idle"), raw.get("activity"), now)
    return SweptHost(str(asked.get("place", place)), grace, str(asked.get("lease") or ""), use)


def is_saved(before: t.Mapping[str, t.Any] | None) -> bool:
    """Whether the last command on a machine has succeeded, or there was none. ``before``: the result of its task."""
    told = before or {"skipped": True}
    return bool(told.get("skipped")) or told.get("rc") == 0


def newest(first: t.Any, again: t.Any) -> t.Any:
    """What a machine has said of its use last. ``again``: the task that asks once more, which may be left out."""
    return first if not again or again.get("skipped") else again


@dataclass(frozen=True)
class LastLook:
    """What a sweep does with a host, and a line about it."""

    turn: Turn
    said: str


def last_look(host: str, sweep: SweptHost, lived: Life) -> LastLook:
    """What a sweep does with a host now that its last command was run.

    A machine whose lease cannot be read ends neither by it nor by its idleness.
    """
    use, grace = sweep.use, sweep.grace
    is_idle = use.is_over() and lived.state is not LeaseState.UNKNOWN
    if not (lived.is_over() or is_idle):
        return LastLook(Turn.STAYS, _why_it_stays(host, use, lived))
    if not (lived.is_over(grace) or (is_idle and use.is_over(grace))):
        return LastLook(
            Turn.WAITS,
            f"Its time is over, but reap_before_end failed on it. When it has been over for {grace / 60:g} minutes, a"
            " sweep ends it in any case.",
        )
    if lived.is_over():
        return LastLook(Turn.ENDS, f"its lease was over at {lease.said(lived.end or 0.0)}")
    return LastLook(Turn.ENDS, f"it was idle: {use.evidence}")


def _why_it_stays(host: str, use: Idleness, lived: Life) -> str:
    """A line for a machine that has got more time, or is in use again, or has said nothing for a minute."""
    if use.limit:
        return f"{host} is not known to be idle any more{f' ({use.evidence})' if use.evidence else ''}; nothing ends"
    until = lease.said(lived.end) if lived.end else "you end it"
    return f"{host} has got more time meanwhile, until {until}; nothing ends"
