# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of `offers`: the kinds of GPU on the market, or the offers of one search.

Prices are in USD per hour for whole offers.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._text import amount, formatted, gpus_of, grouped, narrow_table, nodes_of, number_of, shortened, timestamps, usd
from . import order, search
from .declaration import read_limit
from .quote import VANISHES, is_spot
from .search import ANY, CEILING, ON_DEMAND, Choice, Offer, compute_of, differ, misspelled_in

Row = dict[str, t.Any]

GPU_COUNTS = (1, 2, 4, 8)  # GPUs of one machine (API page "yaml spec")
MOST_LISTED = 20  # offers in the report
_LONGEST_GPU = 26  # characters of a GPU's name in a title
_KIND = {"GPU": "gpu_type", "USD/h": "price_per_hour", "offers": "offers", "GPUs": "gpu_counts", "spot": "spot"}
_OFFER = {"USD/h": "price_per_hour", "offer": "offer_id", "vendor": "vendor", "region": "region"}


def read_search(answers: order.Answers, spec: t.Mapping[str, t.Any]) -> Choice:
    """The search to show: offers_spec, overridden by the variables order_*. Raises ValueError with a reason."""
    given, wrong = order.answers_of(answers), misspelled_in("offers_spec", spec)
    limits = [
        read_limit("order_max_price_per_hour", given.get("order_max_price_per_hour"), wrong),
        read_limit(f"offers_spec.{CEILING}", spec.get(CEILING), wrong),
    ]
    if wrong:
        raise ValueError(wrong[0])
    ordered = order.search_of(given)
    compute = {**compute_of(spec), **ordered.get("compute", {})}
    rest = {name: value for name, value in {**spec, **ordered}.items() if name not in (CEILING, "compute")}
    return Choice({**rest, "compute": compute} if compute else rest, min(limits))


def lists_offers(choice: Choice) -> bool:
    """Whether to list offers, since the search names a GPU or has storage; otherwise all kinds of GPU are shown."""
    return bool(compute_of(choice.spec).get("gpu_type") or choice.spec.get("storage"))


def families_of(catalog: t.Any) -> list[str]:
    """The families of GPUs in a catalogue (GET /available_gpus); empty if it has an unknown form."""
    return [str(family) for family in catalog] if isinstance(catalog, t.Mapping) else []


def searches(choice: Choice) -> list[Row]:
    """The searches to send: one, or without a number of GPUs one for each number that a machine may have."""
    compute = compute_of(choice.spec)
    if not compute or compute.get("gpu_count"):
        return [dict(choice.spec)]
    return [{**choice.spec, "compute": {**compute, "gpu_count": count}} for count in GPU_COUNTS]


def searches_of_all(choice: Choice, families: t.Sequence[str]) -> list[Row]:
    """The searches for all of these families of GPUs under every contract."""
    names = {"gpu_type": " | ".join(families), "contract_type": ANY}
    spec = {**choice.spec, "compute": {**compute_of(choice.spec), **names}}
    return searches(replace(choice, spec=spec)) if families else []


def market_report(choice: Choice, offers: t.Iterable[Offer]) -> Row:
    """All kinds of GPU with the prices of their offers, cheapest first, as ``kinds`` and as ``lines`` of a report."""
    affordable = _affordable(choice, offers)
    by_gpu = grouped((_gpu(offer), offer) for offer in affordable)
    kinds = sorted((_kind(gpu_type, group) for gpu_type, group in by_gpu.items()), key=search.price_order)
    look = [f"The offers of a kind: -e order_gpu_type={kinds[0]['gpu_type']}"] if kinds else []
    return {"kinds": kinds, "lines": [*_table(kinds), *look]}


def offer_report(choice: Choice, answer: t.Iterable[Offer]) -> Row:
    """The ``offers`` of a search, cheapest first, also as ``lines`` of a report."""
    fits, odd = search.matching_offers(choice.spec, answer)
    why = (
        f"Each of the {len(fits)} offers costs more than {usd(choice.max_price_per_hour)}, or its price is unknown."
        if fits
        else "No offer matches now. Ask for less (region, vendor, contract_type, another gpu_type), or try again later."
    )
    offers = _affordable(choice, fits)
    return {"offers": offers, "lines": _lines(offers) if offers else [odd or why]}


def _affordable(choice: Choice, offers: t.Iterable[Offer]) -> list[Offer]:
    """The offers that have an id and are within the ceiling, cheapest first."""
    named = [offer for offer in offers if offer["offer_id"]]
    return sorted(
        (offer for offer in named if search.passes_max_price(offer["price_per_hour"], choice.max_price_per_hour)),
        key=search.price_order,
    )


def _gpu(offer: Offer) -> str:
    return str(offer.get("gpu_type") or offer.get("gpu_family") or "unknown")


def _kind(gpu_type: str, offers: t.Sequence[Offer]) -> Row:
    """A kind of GPU with the prices of its on-demand and its spot offers. ``offers``: cheapest first."""
    firm = [offer for offer in offers if not differ(ON_DEMAND, offer.get("contract_type"))]
    spot = [offer for offer in offers if is_spot(offer)]
    counts = sorted({number_of(offer.get("gpu_count")) or 0 for offer in firm or spot})
    return {
        "gpu_type": gpu_type,
        "price_per_hour": _lowest(firm),
        "offers": len(firm),
        "gpu_counts": [f"{count:g}" for count in counts],
        "spot_price_per_hour": _lowest(spot),
        "spot_offers": len(spot),
    }


def _lowest(offers: t.Sequence[Offer]) -> t.Any:
    """The price of the first offer (USD per hour); None without offers."""
    return offers[0]["price_per_hour"] if offers else None


def _table(kinds: t.Sequence[Row]) -> list[str]:
    if not kinds:
        return ["No GPU has a matching offer now."]
    rows = [{**kind, "spot": _spot(kind["spot_offers"], kind["spot_price_per_hour"])} for kind in kinds]
    return [
        *narrow_table(rows, _KIND, ("GPUs", "GPU")),
        "",
        "USD/h: the price of the cheapest on-demand offer as a whole.",
        *([f"{VANISHES}."] if any(kind["spot_offers"] for kind in kinds) else []),
    ]


def _spot(count: int, price: float | None) -> str:
    """The number of spot offers and their lowest price, in a cell of the table."""
    return f"{count} from {'?' if price is None else amount(price)}" if count else ""


def _lines(offers: t.Sequence[Offer]) -> list[str]:
    """A table of offers for each kind of offer, and the command that buys the first one."""
    shown, rest = offers[:MOST_LISTED], offers[MOST_LISTED:]
    tables = [
        line
        for title, group in grouped((_title(offer), offer) for offer in shown).items()
        for line in (title, *narrow_table(group, _OFFER, ("vendor", "region")), "")
    ]
    ends = timestamps(offer.get("expires_at") for offer in shown)
    return [
        *tables,
        *([f"And {len(rest)} more, from {usd(rest[0]['price_per_hour'])}."] if rest else []),
        *([f"These offers can be bought until {formatted(min(ends))}."] if ends else []),
        "To buy the first one: compute_index.supply.provision",
        f"  -e provision_offer_id={offers[0]['offer_id']}",
        "  -e provision_hosts=<host>",
    ]


def _title(offer: Offer) -> str:
    """The title of a kind of offer: GPUs, number of machines, contract."""
    nodes = nodes_of(offer) or 1
    contract = VANISHES if is_spot(offer) else offer.get("contract_type")
    words = [
        gpus_of(offer.get("gpu_count"), shortened(_gpu(offer), _LONGEST_GPU)),
        f"{nodes} machines" if nodes > 1 else "",
        str(contract or ""),
    ]
    return ", ".join(filter(None, words))
