# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a machine may live, and what it costs at most until then.

The API ends nothing by itself: a lease is what the registry notes at the purchase, and what the playbook reap enforces.
Moments are seconds since the epoch here, and ISO 8601 in UTC in the registry.
"""

from __future__ import annotations

import math
import re
import typing as t
from dataclasses import dataclass
from datetime import datetime

from .. import _moments
from .._moments import seconds_of
from .._text import printable
from .._wording import amount, duration
from .clock import LATEST
from .sums import UNLIMITED

# In the registry: the lease as it was given, and the moment that follows from it or to which it was extended
LEASED = "provision_leased"
ENDS_AT = "provision_ends_at"
AT_MOST = "provision_at_most"  # USD from the purchase to that end
IDLES = "provision_idles"  # how long it may be idle, as it was given: its first boot has installed what notes that
# The moment at which a run has begun to end the machine; from then on its end cannot be moved any more.
REAPED_AT = "provision_reaped_at"

SWEEPS = 4500.0  # seconds between sweeps once an hour, with a quarter for their drift; a longer break is told of
SCHEDULE = "GPU reap every quarter of an hour"  # what runs sweeps in AWX; the kit's templates.yml makes it
LONGEST = 10 * 366 * 86_400.0  # seconds; a longer lease is a slip
_DURATION = re.compile(r"[0-9][0-9.]*[smhd]")
_HOUR = 3600.0


@dataclass(frozen=True)
class Lease:
    """How long a machine may live: ``seconds`` from its purchase on, or until a ``moment``; neither means no end."""

    text: str = ""
    seconds: float | None = None
    moment: float | None = None

    def __bool__(self) -> bool:
        return self.seconds is not None or self.moment is not None

    def end(self, begin: float) -> float | None:
        """The moment at which one that begins then is over, None if it never is."""
        return self.moment if self.seconds is None else begin + self.seconds

    def lasts(self, now: float) -> float:
        """The seconds that one that begins now lasts, infinite if it never ends."""
        end = self.end(now)
        return math.inf if end is None else max(0.0, end - now)


def read_lease(value: t.Any) -> Lease:
    """The lease of a variable: a duration with its unit, a time with its zone, or nothing.

    Raises ValueError with a reason for a person.
    """
    text = "" if value is None else str(value).strip()
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


def read_duration(value: t.Any) -> float | None:
    """The seconds of a duration with its unit, None of nothing. Raises ValueError with a reason for a person."""
    text = "" if value is None else str(value).strip()
    if text and not _DURATION.fullmatch(text):
        raise ValueError(f"must be a duration such as 8h, 90m or 3d, not '{printable(text, 60)}'")
    return read_lease(text).seconds


def moment_of(value: t.Any) -> float | None:
    """The moment that a text means, None if it is none or has no zone, which would make it a guess."""
    if isinstance(value, str):
        value = value.upper()  # also of the T and the Z
    return seconds_of(value, zoned=True) if isinstance(value, (str, datetime)) else None


def utc(moment: float) -> str:
    """A moment for the registry and for programs, rounded up to a second: a lease never ends early."""
    return _moments.utc(-(-moment // 1))


said = _moments.formatted


def begin_of(noted: float | None, created: float | None, *, adopted: bool = False) -> float | None:
    """When a machine was bought (seconds since the epoch), None if that is not known.

    That is when the API made it (``created``), if that was within an hour after the registry noted the purchase
    (``noted``); else the API's records are by another clock, or have moved. An adopted machine is older than its entry.
    """
    if created is None or noted is None or adopted:
        return noted if created is None else created
    return created if 0 <= created - noted <= LATEST else noted


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
    try:
        lease = read_lease(leased)
    except ValueError:
        lease = Lease()
    if lease.seconds is None or created is None:
        return end
    return max(end, min(created + lease.seconds, end + LATEST))


def most(price: float | None, seconds: float) -> float | None:
    """What a machine at this price (USD per hour) costs in so many seconds, in USD; None if nobody can tell."""
    return None if price is None or seconds == math.inf else price * seconds / _HOUR


def dearest(bill: float | None, seconds: float) -> float:
    """The highest price per hour at which the whole bill (USD) of so many seconds is not exceeded.

    A float of a quotient may be off by some 1e-16, which must not matter: 57.6 / 8 passes 7.2.
    """
    if bill is None or seconds == math.inf:
        return UNLIMITED
    return UNLIMITED if seconds <= 0 else bill / (seconds / _HOUR) * (1 + 1e-12)


def until(end: float | None, bill: float | None) -> str:
    """How long machines live, and what they cost in that time at most (USD), for a line of the terminal."""
    if end is None:
        return "until you end it"
    return f"until {said(end)}, at most {'an unknown sum' if bill is None else f'USD {amount(round(bill, 2))}'}"
