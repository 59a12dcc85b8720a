# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a machine may live, and what time it is by the clocks that measure it.

The API ends nothing by itself: a lease is what the registry notes at the purchase, and what the playbook reap enforces.
The clock that noted a moment also measures what has passed since, so a constant skew cancels out. Pure: the caller
reads the clocks. Moments are seconds since the epoch here, and ISO 8601 in UTC in the registry; durations are seconds.
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
# In the registry: the lease as it was given, and the moment that follows from it or to which it was extended
LEASED = "provision_leased"
ENDS_AT = "provision_ends_at"
AT_MOST = "provision_at_most"  # USD from the purchase to that end
IDLES = "provision_idles"  # how long it may be idle, as it was given: its first boot has installed what notes that
# The moment at which a run has begun to end the machine; from then on its end cannot be moved any more.
REAPED_AT = "provision_reaped_at"
ENDING = 900.0  # seconds after that moment at which a machine that is still there may get more time
SWEEPS = 4500.0  # seconds between sweeps once an hour, with a quarter for their drift; a longer break is told of
SCHEDULE = "GPU reap every quarter of an hour"  # what runs sweeps in AWX; the kit's templates.yml makes it
LONGEST = 10 * 366 * 86_400.0  # seconds; a longer lease is a slip
LEASE_OVER_AFTER = 3600.0  # seconds after its noted end at which a lease is over, whatever else is said of it
_DURATION = re.compile(r"[0-9][0-9.]*[smhd]")
LOCAL_CLOCK = "here"  # this computer's; also that of an entry that names none
API_CLOCK = "api"  # the `Date` of the API's own answers
DATABASE_CLOCK = "database"  # a shared registry's
_CLOCK_NAMES = {LOCAL_CLOCK: "this computer", API_CLOCK: "the API", DATABASE_CLOCK: "the database of the registry"}
CLOCKS_APART = 300.0  # seconds by which the clocks may differ before nothing with an end is bought


# Clocks


@dataclass(frozen=True)
class Clock:
    """One moment by each clock; None where that one cannot be read."""

    here: float
    api: float | None = None
    database: float | None = None

    @classmethod
    def of(cls, here: float, ahead: float | None = None, database: float | None = None) -> Clock:
        """The clocks at one moment. ``ahead``: seconds by which the API's is ahead of this computer's."""
        return cls(here, None if ahead is None else here + ahead, database)

    @property
    def times(self) -> dict[str, float]:
        """What each clock says that can be read."""
        told = {LOCAL_CLOCK: self.here, API_CLOCK: self.api, DATABASE_CLOCK: self.database}
        return {name: moment for name, moment in told.items() if moment is not None}

    @property
    def noting(self) -> str:
        """The clock that notes what begins now: the database's, else the API's, else this computer's."""
        return next(name for name in (DATABASE_CLOCK, API_CLOCK, LOCAL_CLOCK) if name in self.times)

    @property
    def span(self) -> tuple[float, float]:
        """The earliest and the latest that it may be; where there is a database, its clock alone decides."""
        known = list(self.times.values()) if self.database is None else [self.database]
        return min(known), max(known)

    def now(self, noted_by: str = "") -> float:
        """What time it is for a moment that this clock has noted; without one, for what begins now.

        If that clock cannot be read, the earliest of the others counts: what is over by it is over by all.
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
    """What each clock says; empty if they agree."""
    if not clock.is_apart:
        return ""
    times = ", ".join(f"{formatted(at)} by {_CLOCK_NAMES[name]}" for name, at in clock.times.items())
    return f"The clocks differ: it is {times}. Leases end by the clock that noted them. Set the one that is wrong."


def noted_clock(clock: str) -> str | None:
    """What an entry says of the clock that notes it; nothing of this computer's, as entries never did."""
    return None if clock == LOCAL_CLOCK else clock


def clock_of(name: t.Any) -> str:
    """The clock that an entry names; this computer's, if it names none that is known."""
    return name if name in (API_CLOCK, DATABASE_CLOCK) else LOCAL_CLOCK


# Leases


@dataclass(frozen=True)
class Lease:
    """How long a machine may live: ``seconds`` from its purchase on, or until a ``moment``; neither means no end.

    Two leases are equal if they last as long, however that is written: ``8h`` is ``480m``.
    """

    text: str = field(default="", compare=False)
    seconds: float | None = None
    moment: float | None = None

    def __bool__(self) -> bool:
        return self.seconds is not None or self.moment is not None

    def end(self, begin: float | None) -> float | None:
        """The moment at which one that begins then is over; None if it never is, or if nobody knows when it begins.

        Without a registry nothing else says when a lease ends; see `end_of`.
        """
        if self.seconds is None:
            return self.moment
        return None if begin is None else begin + self.seconds

    def lasts(self, now: float) -> float:
        """The seconds that one that begins now lasts, infinite if it never ends."""
        end = self.end(now)
        return math.inf if end is None else max(0.0, end - now)


def read_lease(value: t.Any) -> Lease:
    """The lease of a variable: a duration with its unit, a time with its zone, or nothing.

    Raises ValueError with a reason for a person.
    """
    text = text_of(value)
    if not text:
        return Lease()
    if _DURATION.fullmatch(text):
        seconds = duration(text)
        if not 0 < seconds <= LONGEST:
            raise ValueError(f"must be longer than nothing and at most ten years, not '{text}'")
        return Lease(text, seconds=seconds)
    moment = moment_of(text)
    if moment is None:
        raise ValueError(
            f"must be a duration such as 8h, 90m or 3d, or a time with its zone such as 2026-12-01T06:00Z, not"
            f" '{printable(text, 60)}'"
        )
    return Lease(text, moment=moment)


def noted_lease(text: t.Any) -> Lease | None:
    """The lease that was noted earlier, perhaps by a person; None if it cannot be read."""
    try:
        return read_lease(text)
    except ValueError:
        return None


def read_duration(value: t.Any) -> float | None:
    """The seconds of a duration with its unit, None of nothing. Raises ValueError with a reason for a person."""
    text = text_of(value)
    if text and not _DURATION.fullmatch(text):
        raise ValueError(f"must be a duration such as 8h, 90m or 3d, not '{printable(text, 60)}'")
    return read_lease(text).seconds


def moment_of(value: t.Any) -> float | None:
    """The moment that a text means, None if it is none or has no zone, which would make it a guess."""
    if isinstance(value, str):
        value = value.upper()  # also of the T and the Z
    return seconds_of(value, zoned=True) if isinstance(value, (str, datetime)) else None


def utc_rounded_up(moment: float) -> str:
    """A moment for the registry and for programs, rounded up to a second: a lease never ends early."""
    return _text.utc(-(-moment // 1))


def end_begun(reaped_at: str, now: float) -> float | None:
    """When a run has begun to end a machine, by what the registry notes of that; None if none has, or long ago."""
    begun = moment_of(reaped_at)
    return begun if begun is not None and now < begun + ENDING else None


def begin_of(noted: float | None, created: float | None, *, adopted: bool = False) -> float | None:
    """When a machine was bought (seconds since the epoch), None if that is not known.

    That is when the API made it (``created``), if that was within an hour after the registry noted the purchase
    (``noted``); else the API's records are by another clock, or have moved. An adopted machine is older than its entry.
    """
    if created is None or noted is None or adopted:
        return noted if created is None else created
    return created if 0 <= created - noted <= LEASE_OVER_AFTER else noted


def end_of(leased: str, noted: t.Any, created: float | None) -> float | None:
    """The moment at which the lease of a machine is over, None if it has none.

    It counts from the purchase. The registry notes that before it is sent, the API says later when the machine was made
    (``created``): the later end holds, but at most an hour after the one that was noted, since the API's may move.
    ``leased`` and ``noted``: the lease as it was given, and the end as it was noted, or moved. Raises ValueError for
    what cannot be read.
    """
    if noted in (None, ""):
        return None
    end = moment_of(noted)
    if end is None:
        raise ValueError(f"{ENDS_AT} '{printable(str(noted), 60)}' is no time with its zone")
    lease = noted_lease(leased)
    if lease is None or lease.seconds is None or created is None:
        return end
    return max(end, min(created + lease.seconds, end + LEASE_OVER_AFTER))


def until(end: float | None, bill: float | None) -> str:
    """How long machines live, and what they cost in that time at most (USD), for a line of the terminal."""
    if end is None:
        return "until you end it"
    return f"until {formatted(end)}, at most {'an unknown sum' if bill is None else f'USD {amount(round(bill, 2))}'}"


def unswept(swept: float | None, now: float, *, refused: bool, by_job: bool = False) -> str:
    """What to say of a lease where the last sweep was at ``swept``, both by one clock; empty if that was lately.

    Whatever runs sweeps, each complete one leaves that mark, so a timer whose sweeps fail counts for nothing.
    ``by_job``: whether AWX runs them.
    """
    if swept is not None and abs(now - swept) <= SWEEPS:
        return ""
    timer = "compute_index.supply.reap_timer installs a timer for it."
    schedule = f"Enable the schedule '{SCHEDULE}'."
    when = "it has never run here" if swept is None else f"it ran last at {formatted(swept)}"
    return (
        f"A lease ends nothing by itself: compute_index.supply.reap does, and must run at least once an hour; {when}."
        f"{' provision_lease_unswept is refuse.' if refused else ''} {schedule if by_job else timer}"
    )
