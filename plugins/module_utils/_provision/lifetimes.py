# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Until when the machines of planned hosts live, what they cost until then, and what people must know of it.

Moments are seconds since the epoch, bills USD.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .._moments import first_of, seconds_of
from .._text import grouped
from . import lease, validity
from .clock import API, NOTED_BY, Clock
from .declaration import Declaration
from .messages import some, unreadable_lease
from .place import Place
from .planning import BUY, LATER, STOP, Case, Plan
from .standing import Status
from .sums import UNLIMITED

_CLOCKS = {"here": "this computer", "api": "the API", "database": "the database of the registry"}


def leased(host: Declaration, clock: Clock) -> dict[str, t.Any]:
    """What the registry keeps of a lease that begins now."""
    end = host.lease.end(clock.now())
    if end is None:
        return {}
    return {lease.LEASED: host.lease.text, lease.ENDS_AT: lease.utc(end), NOTED_BY: clock.noting}


def idles(host: Declaration) -> dict[str, t.Any]:
    """What the registry keeps of how long a machine may be idle whose first boot installs what notes that."""
    return {lease.IDLES: host.idle_after} if host.idle_after else {}


def timed(case: Case, clock: Clock) -> Case:
    """The case; a host that would buy what ends by the clock must not, if the clocks are apart."""
    host = case.host
    # What a wrong clock would make last longer, or cost more, than is declared
    is_timed = bool(host.lease) or host.max_bill is not None or host.budget != UNLIMITED
    if not (clock.is_apart and case.buys and is_timed):
        return case
    refusal = (
        f"{apart(clock)} Until then {host.host} buys nothing that has a lease, a largest bill or a budget:"
        " it could last longer and cost more than that. Without provision_lease, provision_max_bill and"
        " provision_budget it buys."
    )
    return replace(case, host=replace(host, objections=(*host.objections, refusal)))


def apart(clock: Clock) -> str:
    """What each clock says; empty if they agree."""
    if not clock.is_apart:
        return ""
    times = ", ".join(f"{lease.said(at)} by {_CLOCKS[name]}" for name, at in clock.times.items())
    return f"The clocks differ: it is {times}. Leases end by the clock that noted them. Set the one that is wrong."


@dataclass(frozen=True)
class Lifetime:
    """Until when a machine lives (None for no end), and what it costs at most until then (None if not known)."""

    end: float | None = None
    bill: float | None = None


def created_of(case: Case, status: Status) -> float | None:
    """When the host's machine was bought, by the API's records; None if they do not say."""
    return first_of([status.get("procured_at"), *(machine.get("created_at") for machine in case.standing.machines)])


def end_of(case: Case, status: Status) -> float | None:
    """When the machine of the host is over, None if never. Raises ValueError for what cannot be read."""
    entry, created = case.entry, created_of(case, status)
    if not case.host.by_name:
        return lease.end_of(entry.leased, entry.ends_at, created)
    return None if created is None else case.host.lease.end(created)


def lifetime(case: Case, draft: Plan, status: Status, clock: Clock) -> Lifetime:
    """That of what the host owns or would buy."""
    if draft.action == BUY:
        return _lifetime(clock.now(), case.host.lease.end(clock.now()), draft.price_per_hour)
    noted, created = seconds_of(case.entry.journaled_at), created_of(case, status)
    begin = lease.begin_of(noted, created, adopted=case.entry.adopted)
    try:
        return _lifetime(begin, end_of(case, status), draft.price_per_hour)
    except ValueError:  # which `warnings` tells
        return Lifetime()


def _lifetime(begin: float | None, end: float | None, price: float | None) -> Lifetime:
    if end is None or begin is None:
        return Lifetime(end)
    return Lifetime(end, lease.most(price, max(0.0, end - begin)))


def of_hosts(
    plans: t.Sequence[Plan], cases: t.Mapping[str, Case], statuses: t.Mapping[str, Status], clock: Clock
) -> dict[str, Lifetime]:
    """Those of the hosts that own or would buy something."""
    known = [draft for draft in plans if draft.host in cases and draft.action != STOP]
    return {
        draft.host: lifetime(cases[draft.host], draft, statuses.get(draft.offer_id) or {}, clock) for draft in known
    }


def lives(found: t.Mapping[str, Lifetime]) -> t.Iterator[str]:
    """A line for each end, with the hosts that it is of."""
    hosts = grouped(("" if item.end is None else lease.said(item.end), host) for host, item in found.items())
    for same in hosts.values():
        bills = [found[host].bill for host in same]
        total = None if None in bills else sum(filter(None, bills))
        line = lease.until(found[same[0]].end, total)
        yield f"{some(same)}: {line}{' together' if len(same) > 1 and total else ''}"


def unswept(swept: float | None, now: float, *, refused: bool, by_job: bool = False) -> str:
    """What to say of a lease where the last sweep was at ``swept``, both by one clock; empty if that was lately.

    Whatever runs sweeps, each complete one leaves that mark, so a timer whose sweeps fail counts for nothing.
    ``by_job``: whether AWX runs them.
    """
    if swept is not None and abs(now - swept) <= lease.SWEEPS:
        return ""
    timer = "compute_index.supply.reap_timer installs a timer for it."
    schedule = f"Enable the schedule '{lease.SCHEDULE}'."
    when = "it has never run here" if swept is None else f"it ran last at {lease.said(swept)}"
    return (
        f"A lease ends nothing by itself: compute_index.supply.reap does, and must run at least once an hour; {when}."
        f"{' provision_lease_unswept is refuse.' if refused else ''} {schedule if by_job else timer}"
    )


def warnings(
    cases: t.Sequence[Case], plans: t.Sequence[Plan], statuses: t.Mapping[str, Status], clock: Clock
) -> t.Iterator[str]:
    """What people must know of the leases of what the hosts own, and of the clocks that measure them."""
    for case in cases:
        if case.standing.owns:
            yield _overdue(case, statuses.get(case.entry.offer_id) or {}, clock)
    for case, draft in zip(cases, plans):
        yield _earlier(case, draft, statuses.get(draft.offer_id) or {}, clock)
    if any(case.entry.ends_at or _begins(case, draft) for case, draft in zip(cases, plans)):
        yield apart(clock)


def _overdue(case: Case, status: Status, clock: Clock) -> str:
    """That a machine runs although its lease is over, or that this cannot be told; empty if its lease lasts."""
    try:
        end = end_of(case, status)
    except ValueError as error:
        return unreadable_lease(case.host.host, str(error))
    noted_by = API if case.host.by_name else case.entry.clock
    if end is None or clock.since(end, noted_by) < 0:
        return ""
    return (
        f"The lease of {case.host.host} was over at {lease.said(end)}, and its machine is still billed:"
        " compute_index.supply.reap ends it, compute_index.supply.extend gives it more time."
    )


def _earlier(case: Case, draft: Plan, status: Status, clock: Clock) -> str:
    """That what the host has or would buy ends before its lease, by the API; empty if the API does not say so."""
    if draft.action in (STOP, LATER):
        return ""
    offer, now = draft.offer if draft.action == BUY else case.entry.offer, clock.now(API)
    moments = [validity.of_offer(offer), *(validity.of_machine(machine, now) for machine in case.standing.machines)]
    moment = min((item for item in moments if item is not None and item > now), default=None)
    what = f"the {'offer' if draft.action == BUY else 'machine'} of {case.host.host}"
    return "" if moment is None else validity.warning(what, moment, lifetime(case, draft, status, clock).end)


def _begins(case: Case, draft: Plan) -> bool:
    return bool(case.host.lease) and draft.action == BUY


def unwatched(cases: t.Sequence[Case], plans: t.Sequence[Plan]) -> list[Place]:
    """The registries of which people must know if no sweep enforces the leases that begin now."""
    pairs = [(case, draft) for case, draft in zip(cases, plans) if _begins(case, draft)]
    return [case.host.registry for case, _draft in pairs if case.host.unswept != "refuse"]
