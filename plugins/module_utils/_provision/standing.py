# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host stands: what its registry and the API say together, before anything is decided.

This module util is private to the collection.
"""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, field

from .. import _states
from .._text import usd
from . import allocation, messages, ownership
from .declaration import UNLIMITED, Declaration
from .entry import Entry
from .ownership import Claim, Machine, Owners

Status = t.Mapping[str, t.Any]  # one offer as offer_status answers it


class Kind(enum.Enum):
    """What can be done for a host."""

    FREE = "free"  # it has no machine, and may buy one
    OPEN = "open"  # its journal names an offer: that very one is settled or bought
    UNDER_WAY = "under way"
    READY = "ready"
    FAILED = "failed"  # bought, failed, and possibly billed
    STOP = "stop"  # a person must decide


@dataclass(frozen=True)
class Standing:
    """``price`` is in USD per hour. ``void``: the registry's entry has come to nothing, and may be removed."""

    kind: Kind
    offer_id: str = ""
    resource_ids: tuple[str, ...] = ()
    price: float | None = None
    reason: str = ""
    void: bool = False
    adopted: bool = False
    machines: tuple[Machine, ...] = ()

    @property
    def owns(self) -> bool:
        """Whether the host has something that is or may be billed."""
        return self.kind in (Kind.UNDER_WAY, Kind.READY, Kind.FAILED)


@dataclass(frozen=True)
class Account:
    """The machines that the API lists, with their owners; None if they were not asked for or cannot be read."""

    machines: tuple[tuple[Machine, Owners], ...] | None = None
    unreadable: str = ""
    claims: t.Mapping[str, Claim] = field(default_factory=dict)
    rivals: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, claims: t.Iterable[Claim], machines: t.Iterable[Machine] | None, unreadable: str = "") -> Account:
        """The account as these claims see it."""
        known = list(claims)
        owned = None if machines is None else tuple(ownership.owners(machines, known))
        return cls(owned, unreadable, {claim.host: claim for claim in known}, ownership.rivals(known))

    def named(self, name: str) -> list[tuple[Machine, Owners]]:
        """The machines that have the name and live, else those that have failed, which may be billed."""
        called = [each for each in self.machines or () if ownership.is_named(each[0], name)]
        return [each for each in called if _states.is_live(each[0]["status"])] or [
            each for each in called if each[0]["status"] == "failed"
        ]

    def of_offer(self, offer_id: str) -> list[tuple[Machine, Owners]]:
        """The machines that say that they were bought as this offer."""
        return [each for each in self.machines or () if each[0]["offer_id"] == offer_id]


def standing(host: Declaration, entry: Entry, status: Status | None, account: Account) -> Standing:
    """Where the host stands. ``status`` is that of the offer which its entry names, None if it names none."""
    rivals = account.rivals.get(host.host, ())
    if rivals:
        return Standing(Kind.STOP, reason=messages.claimed_twice(host.host, rivals, entry.offer_id, entry.resource_ids))
    if entry.is_empty or (entry.is_refused):
        return _unregistered(host, account, void=not entry.is_empty)
    if not entry.offer_id:
        return Standing(Kind.STOP, reason=messages.no_offer(host.host, entry.resource_ids))
    return _registered(host, entry, status or {}, account)


def _registered(host: Declaration, entry: Entry, status: Status, account: Account) -> Standing:
    phase = status.get("phase")
    ids = tuple(status.get("resource_ids") or ()) or entry.resource_ids
    ours = Standing(Kind.UNDER_WAY, entry.offer_id, ids, entry.price)
    if phase is None:
        return _unknown(host, entry, status, ours)
    if entry.is_open:
        return _opened(host, entry, phase, ours, account)
    if phase == _states.READY:
        return _replace(ours, Kind.READY) if status.get("ready") else ours
    if phase == _states.ENDED:
        return _replace(_unregistered(host, account, void=True), void=True)
    if phase == _states.FAILED:
        left = _left(entry, status, account)
        if left is not None and not left:
            return _unregistered(host, account, void=True)
        return Standing(Kind.FAILED, entry.offer_id, left or ids, entry.price)
    if phase == _states.EXPIRED:
        reason = messages.gone_missing(host.host, entry.offer_id, entry.resource_ids, "it has expired unbought")
        return Standing(Kind.STOP, entry.offer_id, ids, entry.price, reason)
    # What was answered to be bought and is called unbought is shown late.
    return ours


def _unknown(host: Declaration, entry: Entry, status: Status, ours: Standing) -> Standing:
    """The offer's status cannot be read, or the API does not know the offer."""
    said = str(status.get("msg") or "its offer was not asked about")
    if status.get("error_class") != "not_found":
        return _replace(ours, Kind.STOP, reason=messages.cannot_be_asked(host.host, entry.offer_id, said))
    if entry.is_open:
        return _replace(ours, Kind.OPEN)
    reason = messages.gone_missing(host.host, entry.offer_id, entry.resource_ids, "the API does not know it")
    return _replace(ours, Kind.STOP, reason=reason)


def _opened(host: Declaration, entry: Entry, phase: str, ours: Standing, account: Account) -> Standing:
    """A purchase was sent whose answer nobody knows. What cannot be told here, the purchase itself settles."""
    if phase == _states.UNBOUGHT or phase == _states.EXPIRED:
        return _replace(ours, Kind.OPEN)
    found = account.of_offer(entry.offer_id)
    mine = [machine for machine, owner in found if owner.hosts == (host.host,)]
    others = sorted(
        {name for _machine, owner in found for name in owner.hosts if name != host.host}
        | {
            claim.host
            for claim in account.claims.values()
            if claim.host != host.host and claim.offer_id == entry.offer_id and claim.resource_ids
        }
    )
    if others and not mine:
        # Sold to another host that we know of: it was faster.
        return _unregistered(host, account, void=True)
    strangers = [machine for machine, owner in found if owner.hosts != (host.host,) and machine["name"]]
    if strangers and not mine and not host.adopt:
        reason = messages.bought_by_another(host.host, host.name, entry.offer_id, strangers, was_sent=True)
        return _replace(ours, Kind.STOP, reason=reason, machines=tuple(strangers))
    if not mine and not host.adopt:
        return _replace(ours, Kind.OPEN)
    listed = tuple(machine["resource_id"] for machine in mine or strangers if machine["resource_id"])
    ids = listed or ours.resource_ids
    kind = {_states.READY: Kind.READY, _states.FAILED: Kind.FAILED}.get(phase, Kind.UNDER_WAY)
    return _replace(ours, Kind.UNDER_WAY if kind is Kind.READY else kind, resource_ids=ids, adopted=not mine)


def _left(entry: Entry, status: Status, account: Account) -> tuple[str, ...] | None:
    """What a failed offer has left that may be billed, None if nobody can tell."""
    if account.machines is None:
        return None
    noted = {*entry.resource_ids, *(status.get("resource_ids") or ())}
    listed = {m["resource_id"]: m for m, _owner in account.machines if m["resource_id"]}
    own = {m["resource_id"] for m, _owner in account.of_offer(entry.offer_id) if m["resource_id"]}
    # One that is not listed has told nobody that it is gone; but a failed offer need not have had a machine.
    return tuple(
        sorted(each for each in noted | own if each not in listed or not _states.is_gone(listed[each]["status"]))
    )


def _unregistered(host: Declaration, account: Account, *, void: bool) -> Standing:
    """The registry names nothing of this host: its name may tell of a machine."""
    if account.machines is None:
        return Standing(Kind.STOP, reason=account.unreadable or messages.not_listed(host.host), void=void)
    found = account.named(host.name)
    machines = [machine for machine, _owner in found]
    others = sorted({name for _machine, owner in found for name in owner.hosts if name != host.host})
    if host.by_name or host.adopt:
        return _by_name(host, machines, others, void=void)
    unclaimed = [machine for machine, owner in found if not owner.hosts]
    if unclaimed:
        return Standing(Kind.STOP, reason=messages.namesake(host.host, host.name, unclaimed), void=void)
    return Standing(Kind.FREE, void=void)


def _by_name(host: Declaration, machines: list[Machine], others: list[str], *, void: bool) -> Standing:
    """Without a registry, or where a person lets it, the machine of the host's name is the host's, if it fits."""
    if not machines:
        return Standing(Kind.FREE, void=void)
    offers = {machine["offer_id"] or "" for machine in machines}
    ids = tuple(machine["resource_id"] for machine in machines if machine["resource_id"])
    reason = ""
    if others:
        reason = messages.claimed_twice(host.host, others, "", ids)
    elif len(offers) > 1:
        reason = messages.several_of_a_name(host.name, machines)
    elif offers == {""}:
        reason = messages.no_offer_named(host.name, machines)
    if reason:
        return Standing(Kind.STOP, reason=reason, void=void)
    prices = [machine["price_per_hour"] for machine in machines]
    price = None if None in prices else round(sum(prices), 6)
    failed = not any(_states.is_live(machine["status"]) for machine in machines)
    odd = "" if failed else _unfit(host, machines, price)
    if odd:
        return Standing(Kind.STOP, reason=messages.does_not_fit(host.host, host.name, machines, odd), void=void)
    kind = Kind.FAILED if failed else Kind.UNDER_WAY
    return Standing(kind, offers.pop(), ids, price, adopted=True, machines=tuple(machines))


def _unfit(host: Declaration, machines: list[Machine], price: float | None) -> str:
    """Why a machine that has the name is not what the host declares, empty if it fits."""
    if host.limit != UNLIMITED and price is not None and price > host.limit:
        return f"it costs {usd(price)}, above provision_max_price_per_hour ({usd(host.limit)})"
    known = machines[0].get("spec")
    own = dict(known) if isinstance(known, t.Mapping) else {}
    if len(machines) > 1:
        own.pop("gpu_count", None)  # that of one machine, and the search asks for that of all
    return allocation.misfit(host.spec, {**own, "vendor": machines[0].get("vendor")})


def _replace(standing: Standing, kind: Kind | None = None, **changes: t.Any) -> Standing:
    return Standing(**{**vars(standing), **({"kind": kind} if kind else {}), **changes})
