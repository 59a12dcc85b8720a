# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers to hosts, and what they may cost. Prices and ceilings are in USD per hour for whole offers."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from .search import Offer
from .sums import UNLIMITED


@dataclass(frozen=True)
class OfferRequest:
    """A host that needs an offer of these, cheapest first, for at most ``max_price_per_hour``."""

    host: str
    offers: t.Sequence[Offer]
    max_price_per_hour: float = UNLIMITED


def allocate(wishes: t.Sequence[OfferRequest], taken: t.Collection[str] = ()) -> dict[str, Offer]:
    """For each host that can have one its offer: the cheapest that is within its limit and nobody else's.

    Hosts come in their order, so that a play of the same hosts is allocated the same. ``taken``: ids of offers that
    are spoken for.
    """
    gone = set(taken)
    result: dict[str, Offer] = {}
    rests: dict[tuple[int, float], t.Iterator[Offer]] = {}
    for wish in wishes:
        # Hosts that share a search and a limit go on where the last one has stopped.
        rest = rests.setdefault(
            (id(wish.offers), wish.max_price_per_hour),
            iter([o for o in wish.offers if within(o, wish.max_price_per_hour)]),
        )
        offer = next((offer for offer in rest if offer["offer_id"] not in gone), None)
        if offer is not None:
            gone.add(offer["offer_id"])
            result[wish.host] = offer
    return result


def within(offer: Offer, max_price_per_hour: float) -> bool:
    """Whether the offer may be bought: an unknown price passes no limit."""
    price = offer["price_per_hour"]
    return max_price_per_hour == UNLIMITED or (price is not None and price <= max_price_per_hour)


def count(offers: t.Iterable[Offer], max_price_per_hour: float, taken: t.Container[str]) -> int:
    """How many of the offers are within the limit (USD per hour), and not ``taken`` (their ids)."""
    return sum(within(offer, max_price_per_hour) and offer["offer_id"] not in taken for offer in offers)


def max_price_of_one(
    price_per_hour: float | None, max_price_per_hour: float, max_further_price_per_hour: float, buyers: int
) -> float:
    """USD per hour that one of the buyers may pay in the end, at most.

    ``max_further_price_per_hour``: what all of them may pay beyond their prices. They share it, so that no two of them
    use it twice.
    """
    if max_further_price_per_hour == UNLIMITED:
        return max_price_per_hour
    # Down to a millionth, but not below what was quoted: 0.57 * 1e6 is a little less than 570000.
    millionths = round(((price_per_hour or 0.0) + max_further_price_per_hour / max(1, buyers)) * 1e6, 3)
    return max(0.0, min(max_price_per_hour, math.floor(millionths) / 1e6))
