# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Second choices: what a host takes if there is nothing of what it wants most, and why it did not get that.

Prices are in USD per hour.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._text import number_of, text_of
from .._wording import plural, usd
from . import allocation, search
from .search import ANY, CEILING, Offer, as_sent, contract_of
from .sums import UNLIMITED, highest_known_price

Spec = t.Mapping[str, t.Any]
Again = t.Callable[[], t.Sequence[Offer]]  # sends a search again

LISTED, CHEAPEST = "listed", "cheapest"
PLACE = ("vendor", "region")  # the keys of a search that say where
_MOST_SEARCHES = 50  # that are sent again, for all hosts that look for the same


@dataclass(frozen=True)
class Choice:
    """One of the searches of a host, and what its offer may cost.

    ``anywhere``: the keys that are `any`, of which the API gets none. ``vendor_region``: the only one of the vendor's
    own regions whose offers count, empty for all. ``at_storage``: its vendor is that of the host's storage, and was not
    declared.
    """

    spec: Spec
    max_price_per_hour: float = UNLIMITED
    anywhere: frozenset[str] = frozenset()
    vendor_region: str = ""
    at_storage: bool = False


@dataclass(frozen=True)
class Offers:
    """What the market has for a choice. ``wider``: what it has without one of its limits, where it has nothing."""

    offers: t.Sequence[Offer] = ()
    wider: t.Sequence[Offer] = ()


def prices_that_count(looks: t.Iterable[Offer]) -> dict[str, float | None]:
    """The prices that count (USD per hour) of all these looks at offers, by their ids."""
    prices: dict[str, float | None] = {}
    for offer in looks:
        offer_id = offer["offer_id"]
        prices[offer_id] = highest_known_price(prices.get(offer_id), offer["price_per_hour"])
    return prices


def at(prices: t.Mapping[str, float | None], offers: t.Sequence[Offer]) -> list[Offer]:
    """The offers at these prices, by their ids, cheapest first. A price that this look does not know stays unknown."""
    known = [offer for offer in offers if offer["price_per_hour"] is not None]
    priced = [{**offer, "price_per_hour": prices[offer["offer_id"]]} for offer in known]
    unknown = [offer for offer in offers if offer["price_per_hour"] is None]
    return [*sorted(priced, key=lambda offer: t.cast(float, offer["price_per_hour"])), *unknown]


def choose(choices: t.Sequence[Choice], seen: t.Sequence[Offers], order: str) -> tuple[list[Offer], dict[str, int]]:
    """The offers that may be bought, best first, and by their ids the numbers (from 1) of the choices that find them.

    The best are those of the choice that is listed first, or with the cheapest GPU, by the ``order``. An offer that
    several searches find belongs to the first of them that lets it be bought.
    """
    offers: list[Offer] = []
    numbers: dict[str, int] = {}
    for number, (choice, item) in enumerate(zip(choices, seen), start=1):
        for offer in item.offers:
            offer_id = offer["offer_id"]
            if offer_id not in numbers and allocation.within(offer, choice.max_price_per_hour):
                offers.append(offer)
                numbers[offer_id] = number
    if order == CHEAPEST:
        offers.sort(key=_per_gpu)
    return offers, numbers


def _per_gpu(offer: Offer) -> tuple[bool, float]:
    """The price of one GPU; what is unknown comes last."""
    price = number_of(offer["price_per_hour"])
    return price is None, (price or 0.0) / (number_of(offer.get("gpu_count")) or 1.0)


def read_choice(spec: Spec, max_price_per_hour: float) -> Choice:
    """A search of ``provision_spec``: `any` vendor or region is no filter, also if the host keeps storage somewhere."""
    anywhere = frozenset(key for key in PLACE if text_of(spec.get(key)).lower() == ANY)
    left_out = {CEILING, *anywhere}
    return Choice({key: item for key, item in spec.items() if key not in left_out}, max_price_per_hour, anywhere)


def there(choice: Choice, offers: t.Iterable[Offer]) -> list[Offer]:
    """The offers in the region of a choice, and those that name none."""
    return [offer for offer in offers if not search.differ(choice.vendor_region, offer.get("vendor_region"))]


def fitting(spec: Spec, offers: t.Iterable[Offer]) -> tuple[list[Offer], str]:
    """The offers of an answer that can be bought and are what was searched for, or why the answer is of no use."""
    spec = as_sent(spec)
    named_offers = [offer for offer in offers if offer["offer_id"]]
    found = [offer for offer in named_offers if not search.mismatch(spec, offer)]
    if found or not named_offers:
        return found, ""
    odd = search.mismatch(spec, named_offers[0])
    return [], f"The API answers the search with {plural(len(named_offers), 'offer')} of another kind ({odd})."


def pooled(offers: t.Sequence[Offer], is_short: t.Callable[[t.Sequence[Offer]], bool], again: Again) -> list[Offer]:
    """The offers, cheapest first, with those that the same search brings when it is sent again, until they suffice.

    An API that makes its offers for each search lists a product once, though it may have many machines of it. One whose
    offers stay is asked once more, and brings nothing new but perhaps other prices, of which the highest counts.
    """
    looks, pool = list(offers), {offer["offer_id"]: offer for offer in offers}
    for _search in range(_MOST_SEARCHES):
        count = len(pool)
        if not is_short(list(pool.values())):
            break
        looks += again()
        pool = {**{offer["offer_id"]: offer for offer in looks}, **pool}
        if len(pool) == count:
            break
    return at(prices_that_count(looks), list(pool.values())) if len(looks) > len(offers) else looks


def why_not(choice: Choice, offers: Offers, max_price_per_hour: float) -> str:
    """Why a choice came to nothing, in a few words; ``max_price_per_hour`` is the host's own."""
    max_price_per_hour = min(max_price_per_hour, choice.max_price_per_hour)
    if offers.offers:
        known = [
            price for price in (number_of(offer["price_per_hour"]) for offer in offers.offers) if price is not None
        ]
        if known and min(known) <= max_price_per_hour:
            return "given to other hosts, or tried before"
        return f"dearer than your ceiling (cheapest: {usd(min(known))})" if known else "only at an unknown price"
    if elsewhere := _others(offers.wider, "region", choice.spec.get("region")):
        return f"only elsewhere ({', '.join(elsewhere)})"
    others = _others(offers.wider, "contract_type", contract_of(choice.spec))
    return f"only {', '.join(others)}" if others else "none"


def without_limits(spec: Spec) -> t.Iterator[Spec]:
    """The search without each of the limits that it has, one at a time, to tell why it finds nothing."""
    if spec.get("region"):
        yield {name: value for name, value in spec.items() if name != "region"}
    if contract_of(spec) not in ("", ANY):
        yield {**spec, "compute": {**spec["compute"], "contract_type": ANY}}


def named(choice: Choice) -> str:
    """A choice in a few words: what it searches for."""
    wanted = search.compute_of(choice.spec)
    words = [f"{wanted.get('gpu_count') or 1} x {wanted.get('gpu_type') or 'any GPU'}"]
    contract = contract_of(choice.spec)
    words += [str(item) for item in ("" if contract == ANY else contract, choice.spec.get("region")) if item]
    return ", ".join(words)


def mismatch(choices: t.Sequence[Choice], offer: Offer) -> str:
    """In what an offer or a machine is none of the choices, as the first of them says it; empty if it is one."""
    found = [search.mismatch(choice.spec, offer) for choice in choices]
    return "" if not all(found) else next(iter(found), "")


def _others(offers: t.Iterable[Offer], name: str, asked: t.Any) -> list[str]:
    """What the offers have instead of what was asked for."""
    return sorted({str(offer[name]) for offer in offers if search.differ(asked, offer.get(name))})
