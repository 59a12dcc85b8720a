# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prices and ceilings: which of several prices counts, what prices are together, what a ceiling or a bill leaves.

In USD per hour for whole offers; bills in USD. No ceiling lets an unknown price pass.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

UNLIMITED = math.inf
_Offer = t.Mapping[str, t.Any]  # as the tolerant reader returns it
_HOUR = 3600.0


def highest_known_price(*prices: float | None) -> float | None:
    """USD per hour to go by, of an offer for which these prices were shown: the highest; None if none is known.

    Its own page may leave out the storage or the total, which a search has named, or the other way round.
    """
    return max((price for price in prices if price is not None), default=None)


def highest_prices(looks: t.Iterable[_Offer]) -> dict[str, float | None]:
    """The prices that count (USD per hour) of all these looks at offers, by their ids."""
    prices: dict[str, float | None] = {}
    for offer in looks:
        offer_id = offer["offer_id"]
        prices[offer_id] = highest_known_price(prices.get(offer_id), offer["price_per_hour"])
    return prices


def by_price(offer: _Offer) -> tuple[bool, float]:
    """The order of prices; what is unknown comes last."""
    return offer["price_per_hour"] is None, offer["price_per_hour"] or 0.0


def at_prices(prices: t.Mapping[str, float | None], offers: t.Sequence[_Offer]) -> list[_Offer]:
    """The offers at these prices, by their ids, cheapest first. A price that this look does not know stays unknown."""
    return sorted(
        (
            offer if offer["price_per_hour"] is None else {**offer, "price_per_hour": prices[offer["offer_id"]]}
            for offer in offers
        ),
        key=by_price,
    )


@dataclass(frozen=True)
class Sum:
    """What hosts cost together, and how many of the prices nobody knows."""

    total: float
    unknown: int = 0

    def exceeds(self, max_price_per_hour: float) -> bool:
        """Whether that is above a ceiling (USD per hour); an unknown price is above every one."""
        return max_price_per_hour != UNLIMITED and (self.unknown > 0 or self.total > max_price_per_hour)


def add_up(prices: t.Iterable[float | None]) -> Sum:
    """The sum of prices. Sums of floats are off by some 1e-16, which must not matter at a ceiling."""
    known = list(prices)
    return Sum(round(sum(price for price in known if price is not None), 6), sum(price is None for price in known))


def total_of(prices: t.Iterable[float | None]) -> float | None:
    """The sum of prices, None if one of them is unknown."""
    found = add_up(prices)
    return None if found.unknown else found.total


def passes_max_price(offer: _Offer, max_price_per_hour: float) -> bool:
    """Whether the offer may be bought: an unknown price passes no limit."""
    price = offer["price_per_hour"]
    return max_price_per_hour == UNLIMITED or (price is not None and price <= max_price_per_hour)


def count_within(offers: t.Iterable[_Offer], max_price_per_hour: float, taken: t.Container[str]) -> int:
    """How many of the offers are within the limit (USD per hour), and not ``taken`` (their ids)."""
    return sum(passes_max_price(offer, max_price_per_hour) and offer["offer_id"] not in taken for offer in offers)


def cost_in_usd(price: float | None, seconds: float) -> float | None:
    """What a machine at this price (USD per hour) costs in so many seconds, in USD; None if nobody can tell."""
    return None if price is None or seconds == math.inf else price * seconds / _HOUR


def bill_between(price: float | None, begin: float | None, end: float | None) -> float | None:
    """The same from one moment until another; None if one of them is not known."""
    return None if begin is None or end is None else cost_in_usd(price, max(0.0, end - begin))


def seconds_for_bill(bill: float, price: float) -> float:
    """For how many seconds the bill (USD) pays at a price per hour, as exactly as `max_price_for_bill`."""
    return bill / price * _HOUR * (1 + 1e-12)


def max_price_for_bill(bill: float | None, seconds: float) -> float:
    """The highest price per hour at which the whole bill (USD) of so many seconds is not exceeded.

    A float of a quotient may be off by some 1e-16, which must not matter: 57.6 / 8 passes 7.2.
    """
    if bill is None or not 0 < seconds < math.inf:
        return UNLIMITED
    return bill / (seconds / _HOUR) * (1 + 1e-12)
