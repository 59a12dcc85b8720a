# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a machine may live, and what time it is by the clocks that measure it.

The API has no leases: the registry notes a lease at the purchase, and the playbook reap enforces it. The clock that
noted a moment also measures the time since, so a constant skew cancels out. The caller reads the clocks. Moments are
seconds since the epoch here, and ISO 8601 in UTC in the registry; durations are seconds.
"""

from __future__ import annotations

import math
import re
import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from .. import _text
from .._text import amount, duration, formatted, printable, seconds_of, text_of

NOTED_BY = "provision_clock"  # in the registry: the clock that noted the moments of an entry
# In the registry: the lease as declared, and its end, which an extension moves
LEASED = "provision_leased"
ENDS_AT = "provision_ends_at"
AT_MOST = "provision_at_most"  # USD from the purchase to that end
IDLES = "provision_idles"  # how long it may be idle, as declared when its first boot installed the sampler
# The moment at which a run began to end the machine; from then on, its lease cannot be extended.
REAPED_AT = "provision_reaped_at"
ENDING = 900.0  # seconds after that moment until a machine that still exists may be extended again
SWEEPS = 4500.0  # seconds that may pass between hourly sweeps, with a quarter for their drift, without a warning
SCHEDULE = "GPU reap every quarter of an hour"  # the schedule of sweeps in AWX; the kit's templates.yml makes it
LONGEST = 10 * 366 * 86_400.0  # seconds; a longer lease is a mistake
MADE_WITHIN = 3600.0  # seconds from the note of a purchase until the API has made its machine
LEASE_OVER_AFTER = 3600.0  # seconds after its noted end by which a lease is over in any case
_DURATION = re.compile(r"[0-9][0-9.]*[smhd]")
LOCAL_CLOCK = "here"  # this computer's; also the clock of entries that name none
API_CLOCK = "api"  # the `Date` of the API's own answers
DATABASE_CLOCK = "database"  # the shared registry's
_CLOCK_NAMES = {LOCAL_CLOCK: "this computer", API_CLOCK: "the API", DATABASE_CLOCK: "the database of the registry"}
CLOCKS_APART = 300.0  # seconds by which clocks may differ; else nothing with a lease, largest bill or budget is bought


# Clocks


@dataclass(frozen=True)
class Clock:
    """One moment by each clock; None if a clock cannot be read."""

    here: float
    api: float | None = None
    database: float | None = None

    @classmethod
    def of(cls, here: float, ahead: float | None = None, database: float | None = None) -> Clock:
        """The clocks at one moment. ``ahead``: seconds by which the API's is ahead of this computer's."""
        return cls(here, None if ahead is None else here + ahead, database)

    @property
    def times(self) -> dict[str, float]:
        """The times of the clocks that can be read, by their names."""
        times = {LOCAL_CLOCK: self.here, API_CLOCK: self.api, DATABASE_CLOCK: self.database}
        return {name: moment for name, moment in times.items() if moment is not None}

    @property
    def noting(self) -> str:
        """The clock that notes what begins now: the database's, else the API's, else this computer's."""
        return next(name for name in (DATABASE_CLOCK, API_CLOCK, LOCAL_CLOCK) if name in self.times)

    @property
    def span(self) -> tuple[float, float]:
        """The earliest and the latest time that it may be; if there is a database, by its clock alone."""
        known = list(self.times.values()) if self.database is None else [self.database]
        return min(known), max(known)

    def now(self, noted_by: str = "") -> float:
        """The time by the clock ``noted_by``; without one, by the clock that notes what begins now.

        If that clock cannot be read, the earliest of the others counts: a lease that is over by it is over by all.
        """
        return self.times.get(noted_by or self.noting, min(self.times.values()))

    def since(self, end: float, noted_by: str) -> float:
        """The seconds for which a lease with this noted end has been over; negative before its end.

        If the clock that noted the end cannot be read, the lease is over by all the others, or an hour later by one.
        """
        if noted_by in self.times:
            return self.times[noted_by] - end
        return max(min(self.times.values()) - end, max(self.times.values()) - end - LEASE_OVER_AFTER)

    @property
    def is_apart(self) -> bool:
        """Whether two of the clocks differ so much that one of them must be wrong."""
        return max(self.times.values()) - min(self.times.values()) > CLOCKS_APART


def clocks_differ(clock: Clock) -> str:
    """A sentence with the time of each clock; empty if they agree."""
    if not clock.is_apart:
        return ""
    times = ", ".join(f"{formatted(at)} by {_CLOCK_NAMES[name]}" for name, at in clock.times.items())
    return f"The clocks differ: it is {times}. A lease ends by the clock that noted it. Correct the wrong one."


def noted_clock(clock: str) -> str | None:
    """The clock's name for the registry: None for this computer's, which entries do not name."""
    return None if clock == LOCAL_CLOCK else clock


def clock_of(name: t.Any) -> str:
    """The clock that an entry names; this computer's, if the name is missing or unknown."""
    return name if name in (API_CLOCK, DATABASE_CLOCK) else LOCAL_CLOCK


# Durations and times, as people write them


@dataclass(frozen=True)
class TimeLimit:
    """A duration in ``seconds``, a ``moment``, or no limit, as people write it: of a lease, a wait or an extension.

    Two limits are equal if they mean the same time, however it is written: ``8h`` equals ``480m``.
    """

    text: str = field(default="", compare=False)
    seconds: float | None = None
    moment: float | None = None

    def __bool__(self) -> bool:
        return self.seconds is not None or self.moment is not None

    def end(self, begin: float | None) -> float | None:
        """The moment, or the end of a duration with this begin; None without a limit, or if the begin is unknown."""
        if self.seconds is None:
            return self.moment
        return None if begin is None else begin + self.seconds


def read_time_limit(value: t.Any) -> TimeLimit:
    """Read a variable: a duration with its unit, a time with its zone, or nothing.

    Raises ValueError with a reason for people.
    """
    text = text_of(value)
    if not text:
        return TimeLimit()
    if _DURATION.fullmatch(text):
        seconds = duration(text)
        if not 0 < seconds <= LONGEST:
            raise ValueError(f"must be more than zero and at most ten years, not '{text}'")
        return TimeLimit(text, seconds=seconds)
    moment = moment_of(text)
    if moment is None:
        raise ValueError(
            f"must be a duration such as 8h, 90m or 3d, or a time with its zone such as 2026-12-01T06:00Z, not"
            f" '{printable(text, 60)}'"
        )
    return TimeLimit(text, moment=moment)


def noted_time_limit(text: t.Any) -> TimeLimit | None:
    """A time limit that was noted earlier, perhaps by a person; None if it cannot be read."""
    try:
        return read_time_limit(text)
    except ValueError:
        return None


def read_duration(value: t.Any) -> float | None:
    """The seconds of a duration with its unit; None if it is empty. Raises ValueError with a reason for people."""
    text = text_of(value)
    if text and not _DURATION.fullmatch(text):
        raise ValueError(f"must be a duration such as 8h, 90m or 3d, not '{printable(text, 60)}'")
    return read_time_limit(text).seconds


def moment_of(value: t.Any) -> float | None:
    """The moment that a text names; None if it is not a time, or has no zone."""
    if isinstance(value, str):
        value = value.upper()  # T and Z may be in lower case
    return seconds_of(value, zoned=True) if isinstance(value, (str, datetime)) else None


def utc_rounded_up(moment: float) -> str:
    """A moment for the registry and for programs, rounded up to a second: a lease never ends early."""
    return _text.utc(-(-moment // 1))


# Leases


def end_begun(reaped_at: str, now: float) -> float | None:
    """When a run began to end a machine, by the registry; None if none did, or too long ago to matter."""
    begun = moment_of(reaped_at)
    return begun if begun is not None and now < begun + ENDING else None


def begin_of(noted: float | None, created: float | None, *, adopted: bool = False) -> float | None:
    """When a machine was bought (seconds since the epoch); None if unknown.

    The API's time (``created``) counts if it is within an hour after the registry's (``noted``); otherwise the API's
    records have moved, or its clock is wrong. An adopted machine is older than its entry.
    """
    if created is None or noted is None or adopted:
        return noted if created is None else created
    return created if 0 <= created - noted <= MADE_WITHIN else noted


def end_of(declared: TimeLimit, begin: float | None, noted: float | None = None) -> float | None:
    """When the lease of a machine ends; None if it never does, or if its ``begin`` is unknown.

    ``noted``: the end that the registry noted when the machine was ordered, or that was changed since. If the API made
    the machine later (``begin``), a declared duration ends later as well, but by at most an hour, since the API's times
    may change.
    """
    end = declared.end(begin)
    if noted is None:
        return end
    return noted if end is None or declared.seconds is None else max(noted, min(end, noted + MADE_WITHIN))


def read_end(leased: str, noted: t.Any, created: float | None) -> float | None:
    """The end of the lease in a registry entry; None if it has none. Raises ValueError if it cannot be read.

    ``leased``: the lease as declared; ``created``: when the API made the machine, None if unknown.
    """
    if noted in (None, ""):
        return None
    end = moment_of(noted)
    if end is None:
        raise ValueError(f"{ENDS_AT} '{printable(str(noted), 60)}' is not a time with its zone")
    return end_of(noted_time_limit(leased) or TimeLimit(), created, end)


def noted_end(end: float, *, is_shorter: bool = False) -> dict[str, t.Any]:
    """The variables that note the end of a lease in a registry entry.

    An end that is earlier than declared also replaces the declared duration, from which `end_of` would count.
    """
    text = utc_rounded_up(end)
    return {ENDS_AT: text, **({LEASED: text} if is_shorter else {})}


def seconds_until(end: float | None, now: float) -> float:
    """The seconds until this end; 0 if it has passed, infinite if there is none."""
    return math.inf if end is None else max(0.0, end - now)


def until(end: float | None, bill: float | None) -> str:
    """How long machines live, and the largest bill for that time (USD), for a line of the terminal."""
    if end is None:
        return "until you end it"
    return f"until {formatted(end)}, at most {'an unknown sum' if bill is None else f'USD {amount(round(bill, 2))}'}"


def unswept(swept: float | None, now: float, *, refused: bool, by_job: bool = False) -> str:
    """Why a lease is not enforced, since the last complete sweep was long ago; empty if it was not.

    ``swept``: the time of that sweep, by the same clock as ``now``; None without one. A failed sweep does not count.
    ``refused``: whether the host buys nothing because of this. ``by_job``: whether AWX runs sweeps.
    """
    if swept is not None and abs(now - swept) <= SWEEPS:
        return ""
    timer = "compute_index.supply.reap_timer installs a timer for it."
    schedule = f"Enable the schedule '{SCHEDULE}'."
    when = "it has never run here" if swept is None else f"it ran last at {formatted(swept)}"
    return (
        f"A lease ends nothing on its own: compute_index.supply.reap does, and must run at least once an hour; {when}."
        f"{' provision_lease_unswept is refuse.' if refused else ''} {schedule if by_job else timer}"
    )
