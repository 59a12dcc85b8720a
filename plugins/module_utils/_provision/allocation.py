# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers to hosts, and what they may cost. Prices and ceilings are in USD per hour for whole offers."""

from __future__ import annotations

import math
import re
import typing as t
from dataclasses import dataclass

from .._text import number_of
from .search import ANY, SPOT
from .sums import UNLIMITED

Offer = t.Mapping[str, t.Any]  # an offer as the tolerant reader returns it
_OF_PRODUCT = ("vendor", "vendor_region", "region", "gpu_type", "gpu_count", "contract_type", "node_count")
_OF_GPU = ("gpu_type", "gpu_family")


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


def product(offer: Offer, price_per_hour: float | None) -> str:
    """What an offer sells, at which price (USD per hour): a later search may list it again under another id."""
    return " ".join(str(offer.get(name) or "-") for name in _OF_PRODUCT) + f" {price_per_hour}"


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


def misfit(spec: t.Mapping[str, t.Any], offer: Offer) -> str:
    """In what an offer or a machine is not what the search asks for (API page "yaml spec"), empty if it is.

    What one of them does not say is passed over: without a contract, that of a machine which runs already does not
    matter.
    """
    wanted = compute_of(spec)
    contract = wanted.get("contract_type")
    counts = [number_of(count) for count in (wanted.get("gpu_count"), offer.get("gpu_count"))]
    pairs = [
        ("region", spec.get("region"), offer.get("region")),
        ("vendor", spec.get("vendor"), offer.get("vendor")),
        ("contract_type", None if contract == ANY else contract, offer.get("contract_type")),
        ("gpu_count", *(None if count is None else f"{count:g}" for count in counts)),
    ]
    differences = [f"{name} {has} instead of {asked}" for name, asked, has in pairs if differ(asked, has)]
    return ", ".join(filter(None, [_other_gpu(wanted, offer), *differences]))


def compute_of(spec: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """What a search asks of the machine; empty where it does not."""
    compute = spec.get("compute")
    return compute if isinstance(compute, t.Mapping) else {}


def _other_gpu(wanted: t.Mapping[str, t.Any], offer: Offer) -> str:
    kinds = list(filter(None, map(str.strip, str(wanted.get("gpu_type") or "").lower().split("|"))))
    names = [str(offer.get(key) or "").lower() for key in ("gpu_type", "gpu_family")]
    if not kinds or not any(names) or any(kind in names or _is_family(kind, names[0]) for kind in kinds):
        return ""
    return f"gpu_type {offer.get('gpu_type') or offer.get('gpu_family')} instead of {wanted['gpu_type']}"


def differ(asked: t.Any, has: t.Any) -> bool:
    """Whether one is not the other; what one of them does not say is passed over."""
    return asked not in (None, "") and has not in (None, "") and str(asked).strip().lower() != str(has).strip().lower()


def turned(planned: Offer, page: Offer) -> str:
    """In what an offer's own page sells something else than the offer was ``planned`` as, empty if it does not.

    What one of them does not say is passed over. On-demand instead of spot is no loss. Names of a GPU may differ in
    length (C8): it is another one if each name has a word that the other one lacks. Whether the GPUs of a cluster are
    counted for each machine or for all is inferred only, and the page has no number of machines: either count counts.
    """
    parts = []
    nodes = number_of(planned.get("node_count")) or number_of(page.get("node_count")) or 1
    for name in (*_OF_PRODUCT, "gpu_family"):
        pair = was, now = [_plain(offer.get(name)) for offer in (planned, page)]
        words = [set(re.findall("[a-z0-9]+", text)) for text in pair]
        if name == "contract_type":
            is_other = now == SPOT != was
        elif name in _OF_GPU:
            is_other = not (words[0] <= words[1] or words[1] <= words[0])
        elif name == "gpu_count":
            few, many = sorted(number_of(offer.get(name)) or 0 for offer in (planned, page))
            is_other = many not in (few, few * nodes)
        else:
            is_other = was != now
        if was and now and is_other:
            parts.append(f"{name} {now} instead of {was}")
    return ", ".join(parts)


def _plain(value: t.Any) -> str:
    """A text or a number as it is compared; empty for what says nothing."""
    number = number_of(value)
    if number is not None:
        return f"{number:g}" if number else ""
    return value.strip().lower() if isinstance(value, str) else ""


def _is_family(kind: str, canonical: str) -> bool:
    """Whether ``h100`` is the family of ``nvidia-h100-sxm5-80gb``, or a part of its name (C8, C15)."""
    word = "-".join(kind.split())
    return f"-{word}-" in f"-{canonical}-"
