# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quote of planned hosts, with prices, ends and largest bills: a table for people, an artifact for workflows.

Prices are in USD per hour for whole offers, bills in USD.
"""

from __future__ import annotations

import itertools
import math
import typing as t

from .._text import abridged, amount, formatted, gpus_of, grouped, narrow_table, read_price, seconds_of, timestamps
from . import lease, planning, storage
from .planning import BUY, LATER, Plan
from .rounds import published
from .search import SPOT, Offer, Sum, add_up, total_of

Row = dict[str, t.Any]
PURCHASE = "compute_index.supply.provision"
VANISHES = "spot: may be taken away"
_COLUMNS = {
    "host": "host",
    "GPUs": "gpus",
    "contract": "contract_type",
    "USD/h": "price_per_hour",
    "vendor": "vendor",
    "region": "region",
}
_PUBLISHED = ("offer_id", "gpu_count", "gpu_type", "contract_type", "vendor", "region", "price_per_hour", "expires_at")


def quoted(plans: t.Sequence[Plan], kept_in: str, plan_file: str | None = None) -> Row:
    """The fields of a quote's result.

    ``kept_in``: a line about the registry. ``plan_file``: the file for its sealed plan; empty if that is only
    published, None without a sealed plan.
    """
    hosts = {draft.host: _published(draft) for draft in plans}
    costs = add_up([read_price(host["price_per_hour"]) for host in hosts.values() if "price_per_hour" in host])
    refusals = {draft.host: draft.refusal for draft in plans if draft.refusal}
    lines = [
        *(_total_and_ends(costs, plans) if _has_prices(hosts.values()) else ()),
        *_spot_lines(hosts),
        *_early_end_lines(_buyers(plans)),
        *itertools.chain(*planning.paragraphs_of_storage(plans)),
        *(draft.label for draft in plans if draft.action == LATER),
        # A task that fails for the host shows why it gets nothing.
        *dict.fromkeys(draft.missed for draft in plans if draft.missed),
        kept_in[:1].upper() + kept_in[1:],
        *([] if refusals else _how_to_buy(new_hosts(hosts).values(), plan_file or "")),
    ]
    text = summary(hosts)
    return {
        "lines": [*_table(plans), *filter(None, lines)],
        "summary": text,
        "refusals": refusals,
        "is_complete": not refusals,
        "seals": plan_file is not None and not refusals,
        **published({"quote": {"hosts": hosts, "price_per_hour": costs.total, "summary": text}}),
    }


def purchase_summary(plans: t.Iterable[Plan]) -> str:
    """What the plans buy, in one line; empty if they buy nothing."""
    buyers = _buyers(plans)
    return summary({draft.host: _published(draft) for draft in buyers}) if buyers else ""


def _buyers(plans: t.Iterable[Plan]) -> list[Plan]:
    return [draft for draft in plans if draft.action == BUY]


def _has_prices(rows: t.Iterable[Row]) -> bool:
    return any("price_per_hour" in row for row in rows)


def _offer_of(draft: Plan) -> Offer:
    """The offer that the host would buy, or the one that it owns."""
    if not draft.is_owned:
        return draft.offer
    return {"offer_id": draft.offer_id, "gpu_type": "owned already", "price_per_hour": draft.price_per_hour}


def _published(draft: Plan) -> Row:
    """The fields of a host in the artifact."""
    offer = _offer_of(draft)
    return {
        "owned": draft.is_owned,
        "refusal": draft.refusal,
        **{name: offer[name] for name in _PUBLISHED if name in offer},
        "storage": storage.persistent_storage(offer),
        "storage_on_end": "end" if draft.ends_storage else "keep",
        "ends_at": None if draft.end is None else lease.utc_rounded_up(draft.end),
        "at_most": None if draft.bill is None else round(draft.bill, 2),
    }


def _table(plans: t.Sequence[Plan]) -> list[str]:
    """The offers of the hosts; empty if there are no prices to show."""
    rows = [_table_row(draft.host, _offer_of(draft) or {"gpu_type": _without_offer(draft)}) for draft in plans]
    return [*narrow_table(rows, _COLUMNS, ("vendor", "region", "GPUs", "host")), ""] if _has_prices(rows) else []


def _without_offer(draft: Plan) -> str:
    is_refused = draft.refusal and draft.error_class != planning.NO_OFFER
    return "refused, see below" if is_refused else "no offer"


def _table_row(host: str, offer: Offer) -> Row:
    return {**offer, "host": host, "gpus": gpus_of(offer.get("gpu_count"), offer.get("gpu_type"))}


def summary(hosts: t.Mapping[str, Row]) -> str:
    """A line for the approval of a quote: hosts, USD per hour, the largest bill, and the end."""
    new = new_hosts(hosts)
    if not new:
        return "nothing to buy"
    price = add_up([read_price(item.get("price_per_hour")) for item in new.values()])
    bill = total_of(item["at_most"] for item in new.values())
    most = "no cap on the bill" if bill is None else f"at most USD {amount(bill)} in all"
    spot = f"; {VANISHES}" if any(map(is_spot, new.values())) else ""
    stays = storage.storage_price_part(
        part for item in new.values() for part in item["storage"] if item["storage_on_end"] != "end"
    )
    return f"{abridged(new)}: USD {amount(price.total)} per hour, {most}{_times(new.values())}{spot}{stays}"


def new_hosts(hosts: t.Mapping[str, Row]) -> dict[str, Row]:
    """The hosts in a quote's artifact that would buy an offer."""
    return {host: item for host, item in hosts.items() if item.get("offer_id") and not item["owned"]}


def _times(new: t.Collection[Row]) -> str:
    """The end of the last lease, and the time until which all offers hold, if known."""
    ends, expires = (timestamps(item.get(name) for item in new) for name in ("ends_at", "expires_at"))
    until = f" until {formatted(max(ends))}" if ends else ""
    return f"{until}; offers hold until {formatted(min(expires))}" if expires else until


def is_spot(offer: Offer) -> bool:
    """Whether the vendor may take the machine away at any time."""
    return offer.get("contract_type") == SPOT


def _spot_lines(hosts: t.Mapping[str, Row]) -> t.Iterator[str]:
    """A line about the hosts that would get a spot machine."""
    if spot := [host for host, item in hosts.items() if is_spot(item)]:
        yield f"{VANISHES} ({abridged(spot)})."


def _early_end_lines(buyers: t.Iterable[Plan]) -> t.Iterator[str]:
    """A line for each offer that ends before its lease by the API's undocumented ``valid_to``, which decides nothing.

    If ``valid_to`` is no later than ``expires_at``, it may be about the offer, and not its machine.
    """
    found = ((draft, [seconds_of(draft.offer.get(name)) for name in ("expires_at", "valid_to")]) for draft in buyers)
    for draft, (expires, end) in found:
        if end is not None and (expires or 0.0) < end < (math.inf if draft.end is None else draft.end):
            yield f"{draft.host}: the API says that its offer ends at {formatted(end)}"


def _how_to_buy(new: t.Collection[Row], plan_file: str) -> t.Iterator[str]:
    """The command that buys for the ``new`` hosts, and until when the offers hold."""
    if new:
        expires = timestamps(item.get("expires_at") for item in new)
        until = f" until {formatted(min(expires))}" if expires else ""
        command = f", with all -e of this quote: {PURCHASE} -e plan={plan_file}" if plan_file else f": {PURCHASE}"
        yield f"Buy {'them' if len(new) > 1 else 'it'}{until}{command}"


def _total_and_ends(costs: Sum, plans: t.Sequence[Plan]) -> t.Iterator[str]:
    """A line with the total per hour, and a line for each end if there is any."""
    billed = [draft for draft in plans if draft.action == BUY or draft.is_owned]
    unknown = f", and {costs.unknown} unknown price(s)" if costs.unknown else ""
    has_ends = any(draft.end is not None for draft in billed)
    lasts = "" if has_ends or not billed else f", until you end {'them' if len(billed) > 1 else 'it'}"
    yield f"USD per hour in total: {amount(costs.total)}{unknown}{lasts}"
    yield from lease_end_lines(billed) if has_ends else ()


def lease_end_lines(plans: t.Iterable[Plan]) -> t.Iterator[str]:
    """A line for each end, with its hosts and their bill."""
    alike = grouped(("" if draft.end is None else formatted(draft.end), draft) for draft in plans)
    for same in alike.values():
        total = total_of(draft.bill for draft in same)
        together = " together" if len(same) > 1 and total else ""
        yield f"{abridged(draft.host for draft in same)}: {lease.until(same[0].end, total)}{together}"
