# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums of prices, and ceilings for them, in USD per hour."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from .._text import number_of

UNLIMITED = math.inf


@dataclass(frozen=True)
class Sum:
    """What hosts cost together, and how many of the prices nobody knows."""

    total: float
    unknown: int = 0

    def exceeds(self, max_price_per_hour: float) -> bool:
        """Whether that is above a ceiling (USD per hour); an unknown price is above every one."""
        return max_price_per_hour != UNLIMITED and (self.unknown > 0 or self.total > max_price_per_hour)


def price_in(value: t.Any) -> float | None:
    """USD per hour; None for what is no price."""
    price = number_of(value)
    return None if price is None or price < 0 else price


def add_up(prices: t.Iterable[float | None]) -> Sum:
    """The sum of prices. Sums of floats are off by some 1e-16, which must not matter at a ceiling."""
    known = list(prices)
    return Sum(round(sum(price for price in known if price is not None), 6), sum(price is None for price in known))


def total_of(prices: t.Iterable[float | None]) -> float | None:
    """The sum of prices, None if one of them is unknown."""
    found = add_up(prices)
    return None if found.unknown else found.total


def highest_known_price(*prices: float | None) -> float | None:
    """USD per hour to go by, of an offer for which these prices were shown: the highest; None if none is known.

    Its own page may leave out the storage or the total, which a search has named, or the other way round.
    """
    return max((price for price in prices if price is not None), default=None)
