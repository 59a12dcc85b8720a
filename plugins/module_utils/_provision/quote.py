# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a play cost or would cost: a table for a person, and an artifact for workflows.

Prices are in USD per hour for whole offers.
"""

from __future__ import annotations

import itertools
import typing as t

from .._moments import seconds_of
from .._text import number_of
from .._wording import LINE, amount, narrow_table
from . import lease, planning, storage
from .lifetimes import Lifetime
from .messages import some
from .planning import BUY, LATER, Plan
from .search import SPOT, Offer
from .sums import Sum, add_up
from .validity import VALID_TO

Row = dict[str, t.Any]

PURCHASE = "compute_index.supply.provision"
VANISHES = "spot: may be taken away"
_ALTERNATIVES = 3  # offers that no host would get, shown beside the others
_COLUMNS = {
    "host": "host",
    "GPUs": "gpus",
    "contract": "contract_type",
    "USD/h": "price_per_hour",
    "vendor": "vendor",
    "region": "region",
}
_PUBLISHED = (
    "offer_id",
    "gpu_count",
    "gpu_type",
    "contract_type",
    "vendor",
    "region",
    "price_per_hour",
    "expires_at",
    VALID_TO,
)


def quoted(
    plans: t.Sequence[Plan],
    kept_in: str,
    lifetimes: t.Mapping[str, Lifetime],
    lives: t.Iterable[str],
    plan_file: str | None = None,
) -> Row:
    """The fields of the result of a quote.

    ``kept_in``: which registry is used. ``lifetimes``: by hosts; ``lives``: the same in lines for a person.
    ``plan_file``: where a sealed plan of it is written; empty if it is only published, None if none is made.
    """
    hosts = {draft.host: _published(draft, lifetimes.get(draft.host)) for draft in plans}
    costs = add_up([number_of(host["price_per_hour"]) for host in hosts.values() if "price_per_hour" in host])
    refusals = {draft.host: draft.refusal for draft in plans if draft.refusal}
    lines = [
        *(_costs(costs, lifetimes, lives) if _has_prices(hosts.values()) else ()),
        *_taken_away(hosts),
        *itertools.chain(*planning.storage_of(plans)),
        *(draft.label for draft in plans if draft.action == LATER),
        # Why a host gets nothing is said by the task that fails for it.
        *dict.fromkeys(draft.missed for draft in plans if draft.missed),
        kept_in[:1].upper() + kept_in[1:],
        *([] if refusals else _next(hosts.values(), plan_file or "")),
    ]
    text = summary(hosts)
    return {
        "lines": [*_table(plans), *filter(None, lines)],
        "summary": text,
        "refusals": refusals,
        "is_complete": not refusals,
        "seals": plan_file is not None and not refusals,
        **stats({"quote": {"hosts": hosts, "price_per_hour": costs.total, "summary": text}}),
    }


def stats(data: Row) -> Row:
    """What a step publishes for the workflow that it is a part of."""
    return {"ansible_stats": {"data": data, "per_host": False, "aggregate": True}}


def _has_prices(rows: t.Iterable[Row]) -> bool:
    """Whether there is anything to show a price of."""
    return any("price_per_hour" in row for row in rows)


def would(plans: t.Sequence[Plan], lifetimes: t.Mapping[str, Lifetime]) -> str:
    """What the plans buy, in a line; empty for nothing."""
    buyers = [draft for draft in plans if draft.action == BUY]
    return summary({draft.host: _published(draft, lifetimes.get(draft.host)) for draft in buyers}) if buyers else ""


def _offer_of(draft: Plan) -> Offer:
    """The offer that the host would buy, or what it has."""
    if not draft.is_owned:
        return draft.offer
    return {"offer_id": draft.offer_id, "gpu_type": "owned already", "price_per_hour": draft.price_per_hour}


def _published(draft: Plan, life: Lifetime | None) -> Row:
    """A host in the artifact."""
    offer = _offer_of(draft)
    return {
        "owned": draft.is_owned,
        "refusal": draft.refusal,
        **{name: offer[name] for name in _PUBLISHED if name in offer},
        "storage": storage.brought_by(offer),
        "storage_on_end": "end" if draft.ends_storage else "keep",
        "ends_at": None if life is None or life.end is None else lease.utc(life.end),
        "at_most": None if life is None or life.bill is None else round(life.bill, 2),
    }


def _table(plans: t.Sequence[Plan]) -> list[str]:
    """The offers of the hosts, and some that none of them would get; empty if there are no prices to show."""
    rows = [_row(draft.host, _offer_of(draft) or {"gpu_type": "no offer"}) for draft in plans]
    # Several offers of one kind at one price are one way out.
    others = {tuple(map(row.get, _COLUMNS.values())): row for row in (_row("or", item) for item in _spare(plans))}
    rows += list(others.values())[:_ALTERNATIVES]
    if not _has_prices(rows):
        return []
    return [*narrow_table(rows, _COLUMNS, LINE, ("vendor", "region", "GPUs", "host")), ""]


def _spare(plans: t.Sequence[Plan]) -> t.Collection[t.Mapping[str, t.Any]]:
    """The alternatives of the hosts that none of them would get, each offer once."""
    taken = {draft.offer_id for draft in plans}
    alternatives = [alternative for draft in plans for alternative in draft.alternatives]
    return {item["offer_id"]: item for item in alternatives if item["offer_id"] not in taken}.values()


def _row(host: str, offer: Offer) -> Row:
    count = f"{offer['gpu_count']} x " if offer.get("gpu_count") else ""
    return {**offer, "host": host, "gpus": f"{count}{offer.get('gpu_type')}"}


def summary(hosts: t.Mapping[str, Row]) -> str:
    """What is to be approved, in a line: hosts, USD per hour, the largest bill, and until when."""
    new = new_hosts(hosts)
    if not new:
        return "nothing to buy"
    price = add_up([number_of(item.get("price_per_hour")) for item in new.values()])
    bill = add_up([item["at_most"] for item in new.values()])
    most = "no cap on the bill" if bill.unknown else f"at most USD {amount(bill.total)} in all"
    times = f"{_until(new.values())}{_hold(new.values())}"
    spot = f"; {VANISHES}" if any(map(is_spot, new.values())) else ""
    stays = storage.goes_on_at(
        part for item in new.values() for part in item["storage"] if item["storage_on_end"] != "end"
    )
    return f"{some(new)}: USD {amount(price.total)} per hour, {most}{times}{spot}{stays}"


def new_hosts(hosts: t.Mapping[str, Row]) -> dict[str, Row]:
    """Those that would buy an offer, of the artifact of a quote."""
    return {host: item for host, item in hosts.items() if item.get("offer_id") and not item["owned"]}


def _until(rows: t.Iterable[Row]) -> str:
    """When the last of the leases ends; empty without leases."""
    ends = [moment for item in rows if (moment := seconds_of(item["ends_at"])) is not None]
    return f" until {lease.said(max(ends))}" if ends else ""


def _hold(rows: t.Iterable[Row]) -> str:
    """Until when all offers hold; empty if none says so."""
    expires = [moment for item in rows if (moment := seconds_of(item.get("expires_at"))) is not None]
    return f"; offers hold until {lease.said(min(expires))}" if expires else ""


def is_spot(offer: Offer) -> bool:
    """Whether its vendor may take the machine away at any time."""
    return offer.get("contract_type") == SPOT


def _taken_away(hosts: t.Mapping[str, Row]) -> t.Iterator[str]:
    """Which hosts would get a machine that may vanish."""
    if spot := [host for host, offer in hosts.items() if is_spot(offer)]:
        yield f"{VANISHES} ({some(spot)})."


def _next(hosts: t.Iterable[Row], plan_file: str) -> t.Iterator[str]:
    """What buys this, and how long there is to think for the person who approves it; empty for nothing to buy."""
    expires = [seconds_of(host.get("expires_at")) for host in hosts if host.get("offer_id") and not host["owned"]]
    ends = [moment for moment in expires if moment is not None]
    until = f" until {lease.said(min(ends))}" if ends else ""
    if expires:
        by_plan = f" -e plan={plan_file}" if plan_file else ""
        yield f"Buy {'them' if len(expires) > 1 else 'it'}{until}: {PURCHASE}{by_plan}"


def _costs(costs: Sum, lifetimes: t.Mapping[str, Lifetime], lives: t.Iterable[str]) -> t.Iterator[str]:
    """What all hosts cost, and how long; each end in a line of its own if there are any."""
    unknown = f", and {costs.unknown} unknown price(s)" if costs.unknown else ""
    has_ends = any(life.end is not None for life in lifetimes.values())
    lasts = "" if has_ends or not lifetimes else f", until you end {'them' if len(lifetimes) > 1 else 'it'}"
    yield f"USD per hour in total: {amount(costs.total)}{unknown}{lasts}"
    yield from lives if has_ends else ()
