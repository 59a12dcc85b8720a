# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose time is over, and how much more it may get. What cannot be read never ends a machine.

Moments are seconds since the epoch, durations seconds. This module util is private to the collection.
"""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, field

from . import lease, messages
from .entry import Entry
from .lease import Clock, Lease

# Seconds after which the machine that a sweep has begun to end, and that is still there, may get more time.
ENDING = 900.0


class State(enum.Enum):
    """How it stands with the life of a host's machine."""

    OVER = "over"
    LIVES = "lives"
    ENDLESS = "endless"  # nobody has said when it ends
    UNKNOWN = "unknown"  # somebody has, but it cannot be read


@dataclass(frozen=True)
class Life:
    """The life of a host's machine; ``end`` where it is known, ``reason`` why it is not."""

    state: State
    end: float | None = None
    reason: str = ""


def life(entry: Entry, created: float | None, clock: Clock, grace: float = 0.0) -> Life:
    """The life of what a registry entry names. ``created``: the API's moment of it, None where that does not tell.

    ``grace``: how much later it is over this time.
    """
    try:
        end = lease.end_of(entry.leased, entry.ends_at, created)
    except ValueError as error:
        return Life(State.UNKNOWN, reason=str(error))
    return _life(end, clock, grace)


def life_by_name(leased: str, created: float | None, clock: Clock, grace: float = 0.0) -> Life:
    """The same without a registry: all that is known is the lease that its host declares now."""
    try:
        found = lease.read_lease(leased)
    except ValueError as error:
        return Life(State.UNKNOWN, reason=f"provision_lease {error}")
    if found.seconds is not None and created is None:
        return Life(State.UNKNOWN, reason="the API does not say when it was made")
    return _life(found.end(created or 0.0), clock, grace)


def _life(end: float | None, clock: Clock, grace: float) -> Life:
    if end is None:
        return Life(State.ENDLESS)
    return Life(State.OVER if end + grace <= clock.earliest else State.LIVES, end)


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


@dataclass(frozen=True)
class Wish:
    """More time for a host's machine: ``by`` so much, or ``until`` a moment; the most that it may have, if any.

    ``longest``: its whole lease; ``max_bill``: USD for its whole life.
    """

    by: float | None = None
    until: float | None = None
    longest: Lease = field(default_factory=Lease)
    max_bill: float | None = None


@dataclass(frozen=True)
class Extension:
    """What becomes of a wish: the new ``end``, what that costs more, and in all (USD); or the ``refusal``."""

    end: float | None = None
    more: float | None = None
    at_most: float | None = None
    refusal: str = ""


def extend(host: str, entry: Entry, begin: float | None, wish: Wish, now: float) -> Extension:
    """The new end of a host's machine, which was bought at ``begin``; None where nobody knows when."""
    if entry.is_empty or entry.is_refused:
        return _refused(messages.owns_no_lease(host))
    before = life(entry, begin, Clock(now))
    if before.state is State.UNKNOWN:
        return _refused(messages.unreadable_lease(host, before.reason))
    reaped = lease.moment_of(entry.reaped_at)
    if reaped is not None and now < reaped + ENDING:
        return _refused(messages.is_reaped(host, lease.said(reaped)))
    if before.end is None and wish.until is None:
        return _refused(messages.endless(host))
    end = wish.until if wish.until is not None else max(before.end or 0.0, now) + (wish.by or 0.0)
    if end <= now:
        return _refused(messages.in_the_past(host, lease.said(end), lease.said(now)))
    if before.end is not None and end < before.end:
        return _refused(messages.no_shorter(host, lease.said(end), lease.said(before.end)))
    return _within(host, entry, begin, wish, before.end, end)


def _within(host: str, entry: Entry, begin: float | None, wish: Wish, before: float | None, end: float) -> Extension:
    """The extension, unless it is longer or dearer than what was agreed to."""
    if wish.longest and (begin is None or end > (wish.longest.end(begin) or end)):
        most = "unknown, since nobody knows when it was bought" if begin is None else wish.longest.text
        return _refused(messages.too_long(host, lease.said(end), most))
    at_most = None if begin is None else lease.most(entry.price_per_hour, end - begin)
    if wish.max_bill is not None and (at_most is None or round(at_most, 6) > wish.max_bill):
        return _refused(messages.too_dear_in_all(host, lease.said(end), at_most, wish.max_bill))
    more = None if before is None else lease.most(entry.price_per_hour, end - before)
    return Extension(end, more, at_most)


def _refused(reason: str) -> Extension:
    return Extension(refusal=reason)


def noted(extension: Extension) -> dict[str, t.Any]:
    """What the registry keeps of it; the mark of a sweep that came to nothing goes."""
    bill = extension.at_most
    return {
        lease.ENDS_AT: None if extension.end is None else lease.utc(extension.end),
        lease.AT_MOST: None if bill is None else round(bill, 2),
        lease.REAPED_AT: None,
    }
