# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the machines of planned hosts cost and until when they live: a table for a person, an artifact for workflows.

With it comes what people must know of leases and of the clocks that measure them. Prices are in USD per hour for whole
offers, bills in USD, moments seconds since the epoch.
"""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import dataclass

from .._text import first_of, formatted, grouped, moments, number_of, seconds_of
from .._wording import amount, gpus_of, narrow_table
from . import lease, planning, storage
from .candidates import Case
from .lease import API_CLOCK, VALID_TO, Clock, clocks_differ
from .messages import abridged, unreadable_lease
from .place import Place
from .planning import BUY, LATER, STOP, Plan
from .prices import Sum, add_up, bill_between, total_of
from .rounds import published
from .search import SPOT, Offer
from .standing import Status

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


# Until when machines live


@dataclass(frozen=True)
class Lifetime:
    """Until when a machine lives (None for no end), and what it costs at most until then (None if not known)."""

    end: float | None = None
    bill: float | None = None


def lifetimes_of(
    cases: t.Sequence[Case], plans: t.Sequence[Plan], statuses: t.Mapping[str, Status], clock: Clock
) -> dict[str, Lifetime]:
    """Those of the hosts that own or would buy something."""
    return {
        draft.host: _lifetime(case, draft, statuses.get(draft.offer_id) or {}, clock)
        for case, draft in zip(cases, plans)
        if draft.action != STOP
    }


def _lifetime(case: Case, draft: Plan, status: Status, clock: Clock) -> Lifetime:
    """That of what the host owns or would buy."""
    noted, created = seconds_of(case.entry.journaled_at), _created(case, status)
    if draft.action == BUY or case.begins_anew:
        begin = clock.now() if draft.action == BUY else created
        end = case.host.lease.end(clock.now())
    else:
        begin = lease.begin_of(noted, created, adopted=case.entry.adopted)
        try:
            end = _end_of_lease(case, status)
        except ValueError:  # which `warnings` tells
            end = None
    return Lifetime(end, bill_between(draft.price_per_hour, begin, end))


def _end_of_lease(case: Case, status: Status) -> float | None:
    """When the machine of the host is over, None if never. Raises ValueError for what cannot be read."""
    entry, created = case.entry, _created(case, status)
    if not case.host.by_name:
        return lease.end_of(entry.leased, entry.ends_at, created)
    return None if created is None else case.host.lease.end(created)


def _created(case: Case, status: Status) -> float | None:
    """When the host's machine was bought, by the API's records; None if they do not say."""
    return first_of([status.get("procured_at"), *(machine.get("created_at") for machine in case.standing.machines)])


def lifetimes_shown(found: t.Mapping[str, Lifetime]) -> t.Iterator[str]:
    """A line for each end, with the hosts that it is of."""
    hosts = grouped(("" if item.end is None else formatted(item.end), host) for host, item in found.items())
    for same in hosts.values():
        total = total_of(found[host].bill for host in same)
        line = lease.until(found[same[0]].end, total)
        yield f"{abridged(same)}: {line}{' together' if len(same) > 1 and total else ''}"


def lease_warnings(
    cases: t.Sequence[Case], plans: t.Sequence[Plan], statuses: t.Mapping[str, Status], clock: Clock
) -> t.Iterator[str]:
    """What people must know of the leases of what the hosts own, and of the clocks that measure them."""
    for case in cases:
        if case.standing.owns:
            yield _overdue(case, statuses.get(case.entry.offer_id) or {}, clock)
    for case, draft in zip(cases, plans):
        yield _ends_early(case, draft, statuses.get(draft.offer_id) or {}, clock)
    if any(case.entry.ends_at or _begins_lease(case, draft) for case, draft in zip(cases, plans)):
        yield clocks_differ(clock)


def _overdue(case: Case, status: Status, clock: Clock) -> str:
    """That a machine runs although its lease is over, or that this cannot be told; empty if its lease lasts."""
    try:
        end = _end_of_lease(case, status)
    except ValueError as error:
        return unreadable_lease(case.host.host, str(error))
    noted_by = API_CLOCK if case.host.by_name else case.entry.clock
    if end is None or clock.since(end, noted_by) < 0:
        return ""
    return (
        f"The lease of {case.host.host} was over at {formatted(end)}, and its machine is still billed:"
        " compute_index.supply.reap ends it, compute_index.supply.extend gives it more time."
    )


def _ends_early(case: Case, draft: Plan, status: Status, clock: Clock) -> str:
    """That what the host has or would buy ends before its lease, by the API; empty if the API does not say so."""
    if draft.action in (STOP, LATER):
        return ""
    offer, now = draft.offer if draft.action == BUY else case.entry.offer, clock.now(API_CLOCK)
    moments = [lease.end_of_offer(offer), *(lease.end_of_machine(machine, now) for machine in case.standing.machines)]
    moment = min((item for item in moments if item is not None and item > now), default=None)
    what = f"the {'offer' if draft.action == BUY else 'machine'} of {case.host.host}"
    return "" if moment is None else lease.ends_before_lease(what, moment, _lifetime(case, draft, status, clock).end)


def _begins_lease(case: Case, draft: Plan) -> bool:
    return bool(case.host.lease) and (draft.action == BUY or case.begins_anew)


def unswept_places(cases: t.Sequence[Case], plans: t.Sequence[Plan]) -> list[Place]:
    """The registries of which people must know if no sweep enforces the leases that begin now."""
    pairs = [(case, draft) for case, draft in zip(cases, plans) if _begins_lease(case, draft)]
    return [case.host.registry for case, _draft in pairs if case.host.unswept != "refuse"]


# A quote


def quoted(
    plans: t.Sequence[Plan],
    kept_in: str,
    lifetimes: t.Mapping[str, Lifetime],
    plan_file: str | None = None,
) -> Row:
    """The fields of the result of a quote.

    ``kept_in``: which registry is used. ``lifetimes``: by hosts. ``plan_file``: where a sealed plan of it is written;
    empty if it is only published, None if none is made.
    """
    hosts = {draft.host: _published(draft, lifetimes.get(draft.host)) for draft in plans}
    costs = add_up([number_of(host["price_per_hour"]) for host in hosts.values() if "price_per_hour" in host])
    refusals = {draft.host: draft.refusal for draft in plans if draft.refusal}
    lines = [
        *(_total_and_ends(costs, lifetimes) if _has_prices(hosts.values()) else ()),
        *_taken_away(hosts),
        *itertools.chain(*planning.paragraphs_of_storage(plans)),
        *(draft.label for draft in plans if draft.action == LATER),
        # Why a host gets nothing is said by the task that fails for it.
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


def what_is_bought(plans: t.Sequence[Plan], lifetimes: t.Mapping[str, Lifetime]) -> str:
    """What the plans buy, in a line; empty for nothing."""
    buyers = [draft for draft in plans if draft.action == BUY]
    return summary({draft.host: _published(draft, lifetimes.get(draft.host)) for draft in buyers}) if buyers else ""


def _has_prices(rows: t.Iterable[Row]) -> bool:
    return any("price_per_hour" in row for row in rows)


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
    rows = [_table_row(draft.host, _offer_of(draft) or {"gpu_type": "no offer"}) for draft in plans]
    taken = {draft.offer_id for draft in plans}
    spare = (item for draft in plans for item in draft.alternatives if item["offer_id"] not in taken)
    # Several offers of one kind at one price are one way out.
    others = {tuple(map(row.get, _COLUMNS.values())): row for row in (_table_row("or", item) for item in spare)}
    rows += list(others.values())[:_ALTERNATIVES]
    if not _has_prices(rows):
        return []
    return [*narrow_table(rows, _COLUMNS, ("vendor", "region", "GPUs", "host")), ""]


def _table_row(host: str, offer: Offer) -> Row:
    return {**offer, "host": host, "gpus": gpus_of(offer.get("gpu_count"), offer.get("gpu_type"))}


def summary(hosts: t.Mapping[str, Row]) -> str:
    """What is to be approved, in a line: hosts, USD per hour, the largest bill, and until when."""
    new = new_hosts(hosts)
    if not new:
        return "nothing to buy"
    price = add_up([number_of(item.get("price_per_hour")) for item in new.values()])
    bill = total_of(item["at_most"] for item in new.values())
    most = "no cap on the bill" if bill is None else f"at most USD {amount(bill)} in all"
    spot = f"; {VANISHES}" if any(map(is_spot, new.values())) else ""
    stays = storage.goes_on_at(
        part for item in new.values() for part in item["storage"] if item["storage_on_end"] != "end"
    )
    return f"{abridged(new)}: USD {amount(price.total)} per hour, {most}{_times(new.values())}{spot}{stays}"


def new_hosts(hosts: t.Mapping[str, Row]) -> dict[str, Row]:
    """Those that would buy an offer, of the artifact of a quote."""
    return {host: item for host, item in hosts.items() if item.get("offer_id") and not item["owned"]}


def _times(new: t.Collection[Row]) -> str:
    """When the last of the leases ends, and until when all offers hold, as far as they say so."""
    ends, expires = (moments(item.get(name) for item in new) for name in ("ends_at", "expires_at"))
    until = f" until {formatted(max(ends))}" if ends else ""
    return f"{until}; offers hold until {formatted(min(expires))}" if expires else until


def is_spot(offer: Offer) -> bool:
    """Whether its vendor may take the machine away at any time."""
    return offer.get("contract_type") == SPOT


def _taken_away(hosts: t.Mapping[str, Row]) -> t.Iterator[str]:
    """Which hosts would get a machine that may vanish."""
    if spot := [host for host, offer in hosts.items() if is_spot(offer)]:
        yield f"{VANISHES} ({abridged(spot)})."


def _how_to_buy(new: t.Collection[Row], plan_file: str) -> t.Iterator[str]:
    """What buys the ``new`` hosts' machines, and how long there is to think for the person who approves it."""
    if new:
        expires = moments(item.get("expires_at") for item in new)
        until = f" until {formatted(min(expires))}" if expires else ""
        by_plan = f" -e plan={plan_file}" if plan_file else ""
        yield f"Buy {'them' if len(new) > 1 else 'it'}{until}: {PURCHASE}{by_plan}"


def _total_and_ends(costs: Sum, lifetimes: t.Mapping[str, Lifetime]) -> t.Iterator[str]:
    """What all hosts cost, and how long; each end in a line of its own if there are any."""
    unknown = f", and {costs.unknown} unknown price(s)" if costs.unknown else ""
    has_ends = any(life.end is not None for life in lifetimes.values())
    lasts = "" if has_ends or not lifetimes else f", until you end {'them' if len(lifetimes) > 1 else 'it'}"
    yield f"USD per hour in total: {amount(costs.total)}{unknown}{lasts}"
    yield from lifetimes_shown(lifetimes) if has_ends else ()
