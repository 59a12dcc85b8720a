# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ceilings that see more than one host: of the play, of the account, of a month. An unknown price passes none of them.

This module util is private to the collection.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone

from . import messages
from .spending import HOUR, MILLION, Bill, cents, cost, dollars
from .sums import UNLIMITED, Sum, add_up


@dataclass(frozen=True)
class Cap:
    """What a ceiling says to those that buy: why nothing may be bought, or the USD per hour that are left for all.

    ``buyers``: those that share what is left.
    """

    refusal: str = ""
    left: float = UNLIMITED
    buyers: int = 1


def of_play(ceiling: float, together: Sum, buyers: int, unread: t.Sequence[str]) -> Cap:
    """The ceiling of all hosts of a play; ``unread``: hosts whose costs nobody can tell."""
    if ceiling != UNLIMITED and unread:
        return Cap(messages.unread_total(unread))
    if together.exceeds(ceiling):
        return Cap(messages.above_total(together.total, together.unknown, ceiling, buyers))
    return Cap(left=_left(ceiling, together.total), buyers=buyers)


@dataclass(frozen=True)
class Live:
    """What is billed on the account already, or is being bought, USD per hour each.

    ``foreign``: of this what no registry of the play knows. ``unreadable``: why the account cannot be listed.
    """

    registered: tuple[float | None, ...] = ()
    foreign: tuple[float | None, ...] = ()
    unreadable: str = ""


def of_account(ceiling: float, live: Live, wanted: t.Sequence[float | None]) -> Cap:
    """The ceiling of the account, with what the hosts of the play would buy."""
    if ceiling == UNLIMITED:
        return Cap()
    if live.unreadable:
        return Cap(messages.unread_account(live.unreadable))
    found = add_up([*live.registered, *live.foreign])
    together = add_up([*live.registered, *live.foreign, *wanted])
    if together.exceeds(ceiling):
        return Cap(messages.above_account(found, together, ceiling))
    return Cap(left=_left(ceiling, together.total), buyers=len(wanted))


def among_registered(ceiling: float, live: Live) -> float | None:
    """What is left of the account's ceiling for what a shared registry counts; None for no ceiling."""
    return None if ceiling == UNLIMITED else round(max(0.0, ceiling - add_up(live.foreign).total), 6)


@dataclass(frozen=True)
class Wanted:
    """A purchase that is planned. ``end``: when its lease is over (seconds since the epoch), None for none."""

    host: str
    offer_id: str
    price_per_hour: float | None
    end: float | None = None


@dataclass(frozen=True)
class Month:
    """What a month costs a project, in millionths of a USD: ``spent`` till now, what ``runs`` and what is ``wanted``.

    Both until their leases or the month are over. ``unknown``: hosts of which nobody knows what they cost; ``lasts``:
    the seconds for which the longest of what is wanted would count. ``parts``: how many were rounded up.
    """

    name: str
    spent: int
    runs: int
    wanted: int
    unknown: tuple[str, ...] = ()
    lasts: float = 0.0
    parts: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.spent + self.runs + self.wanted


def month_of(now: float) -> tuple[str, float, float]:
    """The calendar month (UTC) of a moment: its name, and the moments at which it begins and ends."""
    begin = datetime.fromtimestamp(now, timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    return begin.strftime("%Y-%m"), begin.timestamp(), after.timestamp()


def month(bills: t.Iterable[Bill], wanted: t.Sequence[Wanted], now: float) -> Month:
    """What the month costs with what is wanted. What a bill has of a wanted offer is the same purchase."""
    name, begin, after = month_of(now)
    bills = [bill for bill in bills if bill.end is None or bill.end > begin]
    again = {(each.host, each.offer_id) for each in wanted}
    going_on = [bill for bill in bills if bill.runs and (bill.host, bill.offer_id) not in again]
    unknown = [bill.host for bill in bills if not bill.is_known]
    unknown += [each.host for each in wanted if each.price_per_hour is None]
    ends = [_until(each.end, now, after) for each in wanted]
    return Month(
        name=name,
        spent=sum(bill.cost(begin, now) for bill in bills),
        runs=sum(cost(bill.price_per_hour, now, _until(bill.ends_at, now, after)) for bill in going_on),
        wanted=sum(cost(each.price_per_hour, now, end) for each, end in zip(wanted, ends)),
        unknown=tuple(dict.fromkeys(unknown)),
        lasts=max((end - now for end in ends), default=0.0),
        parts=len(bills) + len(going_on) + len(wanted),
    )


def of_month(budget: float, project: str, found: Month, buyers: int) -> Cap:
    """The budget of a project (USD a calendar month)."""
    if budget == UNLIMITED:
        return Cap()
    if found.unknown:
        return Cap(messages.unknown_month(project, found.name, budget, found.unknown))
    left = round(budget * MILLION) - found.total
    if left < -found.parts:  # each part was rounded up
        shown = (cents(each) for each in (found.spent, found.runs, found.wanted, found.total))
        return Cap(messages.above_budget(project, found.name, budget, *shown))
    per_hour = UNLIMITED if found.lasts <= 0 else max(0.0, dollars(left)) / (found.lasts / HOUR)
    return Cap(left=per_hour, buyers=buyers)


def _until(end: float | None, now: float, after: float) -> float:
    """How long something is billed in this month; what is over and runs nevertheless may go on to do so."""
    return after if end is None or end <= now else min(end, after)


def _left(ceiling: float, total: float) -> float:
    return ceiling if math.isinf(ceiling) else max(0.0, ceiling - total)
