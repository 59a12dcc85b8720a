# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for capacity: how long, how often, and what was seen meanwhile. It is before the first purchase.

Moments are seconds since the epoch, durations seconds.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from .._wording import plural, usd_short
from . import lease

MAX_LOOKS = 100_000
_HOURS = 12  # of the history that is told


def may_wait(call: t.Mapping[str, t.Any], looks: int) -> bool:
    """Whether the plans of a call may wait for offers, after so many looks: before its first purchase, and in no quote.

    The task ends badly if it is to look again more often than it may.
    """
    return not (call["quote"] or call["attempts"] or call["failed"]) and looks < call["looks"]


@dataclass(frozen=True)
class Patience:
    """Until when offers are waited for (None: not at all), and the time between two looks.

    ``delay`` 0: a run looks once, and a later one looks again; that needs an end which holds for all of them.
    """

    until: float | None = None
    delay: float = 600.0

    @property
    def is_of_many_runs(self) -> bool:
        """Whether other runs go on where this one ends."""
        return self.until is not None and self.delay == 0

    def has_time(self, now: float) -> bool:
        """Whether there is time for another look of this run."""
        return self.until is not None and self.delay > 0 and now + self.delay <= self.until

    def comes_back(self, now: float) -> bool:
        """Whether a later run will look again."""
        return self.until is not None and self.delay == 0 and now < self.until


def read_patience(wait: t.Any, delay: t.Any, begin: float, wrong: list[str]) -> Patience:
    """The patience of two variables, counted from ``begin``; what is wrong with them is added to ``wrong``."""
    try:
        wanted = lease.read_lease(wait)
    except ValueError as error:
        wrong.append(f"provision_wait {error}.")
        return Patience()
    try:
        pause = 0.0 if str(delay).strip() == "0" else lease.read_duration(delay) or 0.0
    except ValueError as error:
        wrong.append(f"provision_wait_delay {error}.")
        return Patience()
    if wanted.seconds is not None and not pause:
        wrong.append(
            "provision_wait_delay 0 looks once a run, so provision_wait must be a time such as 2026-12-01T06:00Z."
        )
    return Patience(wanted.end(begin), pause)


def looks(patience: Patience, now: float) -> int:
    """How often a run may look again at the most; another host of the play may wait where this one does not."""
    if patience.until is None or patience.delay <= 0:
        return MAX_LOOKS
    return min(MAX_LOOKS, max(0, math.ceil((patience.until - now) / patience.delay)) + 2)


@dataclass(frozen=True)
class MarketLook:
    """What one look at the market has shown to those that wait: offers, and the cheapest of them (USD per hour)."""

    moment: float
    offers: int = 0
    cheapest: float | None = None

    @property
    def said(self) -> str:
        """The same in a few words."""
        if not self.offers:
            return "no offer"
        return f"{plural(self.offers, 'offer')}, the cheapest at {usd_short(self.cheapest)}"


def look(moment: float, prices: t.Iterable[float | None]) -> MarketLook:
    """A look at offers of these prices."""
    found = list(prices)
    return MarketLook(moment, len(found), min((price for price in found if price is not None), default=None))


def by_hour(history: t.Sequence[MarketLook]) -> str:
    """What was seen in each hour: the look with the lowest price of it, the newest hours only."""
    hours: dict[str, MarketLook] = {}
    for item in history:
        hour = lease.said(item.moment - item.moment % 3600)
        before = hours.get(hour)
        if before is None or _price(item) < _price(before):
            hours[hour] = item
    told = list(hours.items())[-_HOURS:]
    return "; ".join(f"{hour} {item.said}" for hour, item in told)


def _price(market_look: MarketLook) -> tuple[bool, float]:
    return not market_look.offers, math.inf if market_look.cheapest is None else market_look.cheapest


def waited(since: str, text: str) -> str:
    """What was seen while offers were waited for."""
    return f"They were waited for since {since}. Seen: {text}." if text else f"They were waited for since {since}."
