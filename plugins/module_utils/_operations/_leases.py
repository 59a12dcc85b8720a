# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The leases of hosts that are planned: what is noted of them, when they end, and what people must know.

This module util is private to the collection.
"""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass

from .._api import Json
from .._moments import first_of, seconds_of
from .._provision import lease, messages
from .._provision.declaration import Declaration
from .._provision.lease import Clock
from .._provision.place import Place
from .._provision.planning import BUY, STOP, Case, Plan
from .._registry._protocol import RegistryError, Variables
from ._registries import Registries


class Sweeps:
    """When the leases of each registry were enforced last, read once."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries
        self._known: dict[Place, float | None] = {}

    def trouble(self, place: Place, *, refused: bool) -> str:
        """What to say of a lease in this place, empty if it was enforced lately, or if nobody can tell."""
        if not place:
            return ""
        if place not in self._known:
            try:
                self._known[place] = self._registries.at(place).swept()
            except RegistryError:  # which its hosts fail for
                return ""
        swept = self._known[place]
        if swept is not None and time.time() - swept <= lease.SWEEPS:
            return ""
        return messages.unswept("" if swept is None else lease.said(swept), refused=refused)

    def warnings(self, places: t.Iterable[Place]) -> list[str]:
        """The same of several places, each sentence once."""
        return list(dict.fromkeys(filter(None, (self.trouble(place, refused=False) for place in places))))


def leased(host: Declaration, clock: Clock) -> Variables:
    """What the registry keeps of a lease that begins now."""
    end = host.lease.end(clock.latest)
    return {} if end is None else {lease.LEASED: host.lease.text, lease.ENDS_AT: lease.utc(end)}


def idles(host: Declaration) -> Variables:
    """What the registry keeps of how long a machine may be idle whose first boot installs what notes that."""
    return {lease.IDLES: host.idle_after} if host.idle_after else {}


def _end(case: Case, status: Json | None) -> float | None:
    """When the machine of the host is over, None if never. Raises ValueError for what cannot be read."""
    entry, created = case.entry, _created(case, status)
    if not case.host.by_name:
        return lease.end_of(entry.leased, entry.ends_at, created)
    return None if created is None else case.host.lease.end(created)


def _created(case: Case, status: Json | None) -> float | None:
    """When the host's machine was bought, by the API; None where that does not tell."""
    told = [(status or {}).get("procured_at"), *(machine.get("created_at") for machine in case.standing.machines)]
    return first_of(told)


def warnings_of(
    cases: t.Sequence[Case], plans: t.Sequence[Plan], statuses: t.Mapping[str, Json], clock: Clock, sweeps: Sweeps
) -> t.Iterator[str]:
    """What people must know of the leases of what the hosts own or buy."""
    has_any = False
    for case, draft in zip(cases, plans):
        has_any |= bool(case.entry.ends_at or (case.host.lease and draft.action == BUY))
        if draft.action == BUY and case.host.lease and case.host.unswept != "refuse":
            yield sweeps.trouble(case.host.registry, refused=False)
        if not case.standing.owns:
            continue
        try:
            end = _end(case, statuses.get(case.entry.offer_id))
        except ValueError as error:
            yield messages.unreadable_lease(case.host.host, str(error))
        else:
            if end is not None and end <= clock.earliest:
                yield messages.lease_over(case.host.host, lease.said(end))
    if has_any and clock.is_apart:
        yield messages.clocks_apart(clock.ahead)


@dataclass(frozen=True)
class Lifetime:
    """Until when a machine lives (seconds since the epoch, None for no end), and what it costs at most till then."""

    end: float | None = None
    bill: float | None = None


def _begin(case: Case, status: Json | None) -> float | None:
    """When the host's machine was bought, by the API or by the registry."""
    return _created(case, status) or seconds_of(case.entry.journaled_at)


def lifetimes_of(
    plans: t.Sequence[Plan], cases: t.Mapping[str, Case], statuses: t.Mapping[str, Json], clock: Clock
) -> dict[str, Lifetime]:
    """Those of what the hosts own or would buy."""
    found = {}
    for draft in plans:
        case = cases.get(draft.host)
        if case is None or draft.action == STOP:
            continue
        status = statuses.get(draft.offer_id)
        begin: float | None = clock.latest
        end = case.host.lease.end(clock.latest)
        if draft.action != BUY:
            begin = _begin(case, status)
            with contextlib.suppress(ValueError):
                end = _end(case, status)
        seconds = None if end is None or begin is None else max(0.0, end - begin)
        found[draft.host] = Lifetime(end, None if seconds is None else lease.most(draft.price_per_hour, seconds))
    return found


def lives(found: t.Mapping[str, Lifetime]) -> t.Iterator[str]:
    """A line for each end, with the hosts that it is of."""
    ends: dict[str, list[tuple[str, Lifetime]]] = {}
    for host, each in found.items():
        ends.setdefault("" if each.end is None else lease.said(each.end), []).append((host, each))
    for same in ends.values():
        bills = [each.bill for _host, each in same]
        total = None if None in bills else sum(filter(None, bills))
        hosts = messages.some([host for host, _each in same])
        yield f"{hosts}: {lease.until(same[0][1].end, total)}{' together' if len(same) > 1 and total else ''}"
