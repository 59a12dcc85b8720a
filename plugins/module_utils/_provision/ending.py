# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends for a host: exactly the machines that are its own by the rule of `ownership`, or nothing, and why.

Machines end for good, so whatever registry and API do not say alike ends nothing. A registry entry is forgotten only if
each machine that it names was told to be gone, or a person says so of one that the API does not know.

This module util is private to the collection.
"""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, field

from .. import _states
from . import messages, ownership
from .entry import MADE, Entry
from .ownership import Claim, Machine, Owners, Proof
from .standing import Account, Status, look_at

# Seconds after its journal in which the purchase of a run that was killed may still arrive.
FRESH = 15 * 60.0

Owned = t.Sequence[tuple[Machine, Owners]]


class Action(enum.Enum):
    """What happens for a host."""

    END = "end"
    FORGET = "forget"  # the registry names something, and nothing of it runs any more
    NOTHING = "nothing"
    STOP = "stop"  # a person must decide


@dataclass(frozen=True)
class Asked:
    """A host whose machines shall end. ``age``: seconds since its purchase was noted, None if that is not known.

    ``by_name``: it has no registry. ``resource_id``: its machine by id, of a person or of the inventory plugin.
    """

    host: str
    name: str
    entry: Entry
    by_name: bool = False
    resource_id: str = ""
    age: float | None = None

    @property
    def claim(self) -> Claim:
        """What the host says that it owns."""
        if self.resource_id and self.entry.is_empty:
            return Claim(self.host, self.name, resource_ids=frozenset({self.resource_id}))
        return ownership.claim_of(self.host, self.name, self.entry, by_name=self.by_name)


@dataclass(frozen=True)
class Seen:
    """What the API says. ``unknown`` and ``unread``: ids that no list has, and its sentence for a 404 or an error.

    What was looked up by its id and found is among the machines of the account.
    """

    account: Account
    statuses: t.Mapping[str, Status] = field(default_factory=dict)
    unknown: t.Mapping[str, str] = field(default_factory=dict)
    unread: t.Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """What ends: ``machines``; of what is registered ``gone`` has ended before, and a person forgets ``forgotten``.

    ``pending``: the offer is still under way, so further machines of it may come.
    """

    action: Action
    machines: tuple[Machine, ...] = ()
    gone: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    reason: str = ""
    pending: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of what ends."""
        return tuple(machine["resource_id"] for machine in self.machines)


def end(asked: Asked, seen: Seen, forget: t.Collection[str] = ()) -> End:
    """What ends for the host. ``forget``: ids that a person says are gone."""
    account, entry, host = seen.account, asked.entry, asked.host
    if account.machines is None:
        return _stop(messages.cannot_be_read(host, account.unreadable))
    rivals = account.rivals.get(host, ())
    if rivals:
        ids = asked.claim.resource_ids
        named = [machine for machine, _owner in account.machines if machine["resource_id"] in ids]
        return _stop(messages.contested(host, rivals, named, [*sorted(ids), entry.offer_id]))
    if asked.resource_id and not entry.is_empty and asked.resource_id not in entry.resource_ids:
        return _stop(messages.other_id(host, asked.resource_id, entry.resource_ids))
    if asked.resource_id and entry.is_empty and asked.resource_id in seen.unknown:
        return _stop(messages.no_such_machine(host, seen.unknown[asked.resource_id]))
    if asked.claim.resource_ids:
        return _by_ids(asked, sorted(asked.claim.resource_ids), seen, forget)
    if entry.is_refused:
        return _forget(asked, seen)
    if entry.offer_id:
        return _journal(asked, seen, forget)
    if asked.by_name:
        return _by_name(asked, account)
    unclaimed = _namesakes(asked, account)
    return _stop(messages.unclaimed(host, asked.name, unclaimed)) if unclaimed else End(Action.NOTHING)


def _stop(reason: str) -> End:
    return End(Action.STOP, reason=reason)


def _namesakes(asked: Asked, account: Account) -> list[Machine]:
    """Machines that have the host's name, may be billed, and that nobody claims."""
    return [machine for machine, owner in account.named(asked.name) if not owner.hosts]


def _by_ids(asked: Asked, ids: t.Sequence[str], seen: Seen, forget: t.Collection[str]) -> End:
    """The machines that the registry or a person names by their ids, with further ones of the same purchase."""
    named = {m["resource_id"]: (m, owner) for m, owner in seen.account.machines or () if m["resource_id"] in ids}
    lost = [each for each in ids if each not in named]
    further = _further(asked, ids, seen.account)
    reason = next(filter(None, _objections(asked, ids, seen, forget, named, lost, further)), "")
    if reason:
        return _stop(reason)
    machines = [named[each][0] for each in ids if each in named]
    return _of([*machines, *further], lost, pending=_pending(asked.entry, seen))


def _objections(
    asked: Asked,
    ids: t.Sequence[str],
    seen: Seen,
    forget: t.Collection[str],
    named: t.Mapping[str, tuple[Machine, Owners]],
    lost: t.Sequence[str],
    further: t.Sequence[Machine],
) -> t.Iterator[str]:
    """Why nothing of these may end, the first reason that is not empty. ``lost``: ids that the API does not know."""
    entry, host = asked.entry, asked.host
    unread = [seen.unread[each] for each in ids if each in seen.unread]
    yield messages.cannot_be_read(host, " ".join(unread)) if unread else ""
    contested = [each for each in named.values() if each[1].is_contested]
    yield _contested(asked, contested).reason if contested else ""
    odd = list(_oddities(asked, [machine for machine, _owner in named.values()], seen.account, lost, further))
    shown = [f"{each} (unknown to the API)" if each in lost else each for each in ids]
    yield messages.differs(host, entry.offer_id, shown, odd) if odd else ""
    refuted = [machine for machine, _owner in named.values() if machine["resource_id"] in forget]
    live = any(not _states.is_gone(machine["status"]) for machine in refuted)
    yield messages.not_lost(host, refuted) if live else ""
    yield messages.none_yet(host, entry.offer_id, lost) if lost and _pending(entry, seen) else ""
    missing = [each for each in lost if each not in forget]
    yield messages.lost(host, missing, _said(seen, missing)) if missing else ""


def _oddities(
    asked: Asked,
    machines: t.Iterable[Machine],
    account: Account,
    lost: t.Collection[str],
    further: t.Collection[Machine],
) -> t.Iterator[tuple[Machine, str]]:
    """Machines of which registry and API do not say the same: nothing is ended before a person has looked."""
    for machine in machines:
        if asked.entry.offer_id and machine["offer_id"] not in (None, asked.entry.offer_id):
            yield machine, messages.OTHER_OFFER.format(offer_id=machine["offer_id"])
    yield from ((machine, messages.NOT_NAMED) for machine in further if lost or not machine["resource_id"])
    if lost:
        yield from ((each, messages.NAMESAKE) for each in _namesakes(asked, account) if each not in further)


def _further(asked: Asked, ids: t.Collection[str], account: Account) -> list[Machine]:
    """Machines that say that they were bought by the registered purchase, beside those that the registry names.

    They are held, too, and end with them. Storage stays: it may hold the data that is to survive.
    """
    if not asked.entry.offer_id:
        return []
    return [
        machine
        for machine, owner in account.of_offer(asked.entry.offer_id)
        if machine["resource_id"] not in ids
        and owner.hosts in ((), (asked.host,))
        and not _states.is_ending(machine["status"])
        and not _states.is_storage(machine.get("resource_type"))
    ]


def _said(seen: Seen, ids: t.Iterable[str]) -> str:
    """What the API answered when it was asked for these ids."""
    return " ".join(seen.unknown.get(each, "") for each in ids)


def _of(machines: t.Iterable[Machine], forgotten: t.Sequence[str] = (), *, pending: bool = False) -> End:
    """What is gone is not ended again; what is on its way is waited for."""
    machines = list(machines)
    left = tuple(machine for machine in machines if not _states.is_gone(machine["status"]))
    gone = tuple(machine["resource_id"] for machine in machines if _states.is_gone(machine["status"]))
    return End(Action.END if left else Action.FORGET, left, gone, tuple(forgotten), pending=pending)


def _contested(asked: Asked, owned: Owned) -> End:
    hosts = {host for _machine, owner in owned for host in owner.hosts}
    return _stop(messages.contested(asked.host, hosts, [machine for machine, _owner in owned], ()))


def _pending(entry: Entry, seen: Seen) -> bool:
    return seen.statuses.get(entry.offer_id, {}).get("phase") == _states.GOING_ON


def _journal(asked: Asked, seen: Seen, forget: t.Collection[str]) -> End:
    """Only the offer of a purchase is registered, by a run that did not get as far as its machines."""
    entry, account = asked.entry, seen.account
    status = seen.statuses.get(entry.offer_id, {})
    named = list(status.get("resource_ids") or ())
    shown = [
        each
        for each in account.machines or ()
        if entry.offer_id == each[0]["offer_id"] or each[0]["resource_id"] in named
    ]
    billed = [(machine, owner) for machine, owner in shown if not _states.is_gone(machine["status"])]
    contested = [each for each in billed if each[1].is_contested]
    if contested:
        return _contested(asked, contested)
    mine, odd = _bought(asked, status, account, billed)
    if odd:
        return _stop(messages.differs(asked.host, entry.offer_id, (), odd))
    if mine:
        return _of(mine, pending=_pending(entry, seen))
    if status.get("phase") is None:
        return _unknown_offer(asked, seen, status, forget)
    listed = {machine["resource_id"] for machine, _owner in account.machines or ()}
    unlisted = [each for each in named if each not in listed]
    reason = _not_over(asked, seen, status, unlisted, [each for each in unlisted if each not in forget], bool(shown))
    return _stop(reason) if reason else _forget(asked, seen, tuple(unlisted), sold=bool(shown or unlisted))


def _bought(
    asked: Asked, status: Status, account: Account, billed: Owned
) -> tuple[list[Machine], list[tuple[Machine, str]]]:
    """The machines of these that the host's purchase has bought, and what is odd about the others.

    A purchase that was answered with yes holds what `holdings` proves; one without an answer holds what has its name.
    """
    entry = asked.entry
    if entry.purchase == MADE:
        holdings, contradictions = look_at(asked.host, entry, status, account).conclude()
        odd = [(each.observation.resource or {}, each.why) for each in contradictions]
        machines = [machine for machine, _owner in billed]
        # Of one without an id nobody can say more than that it was bought with this offer.
        return [each for each in machines if (each["resource_id"] or "") in (*holdings.ids, "")], odd
    strangers = [machine for machine, owner in billed if not owner.hosts and not _states.is_ending(machine["status"])]
    odd = [(each, messages.STRANGER.format(name=each["name"] or "nothing")) for each in strangers]
    return [machine for machine, owner in billed if owner.hosts == (asked.host,)], odd


def _not_over(
    asked: Asked,
    seen: Seen,
    status: Status,
    unlisted: t.Sequence[str],
    missing: t.Sequence[str],
    has_machines: bool,
) -> str:
    """Why an offer of which no machine is billed is not certainly over; empty if it is.

    ``unlisted``: ids that its status names and no list has; ``missing``: those of them that no person says are gone.
    """
    host, entry, phase = asked.host, asked.entry, status.get("phase")
    is_bought = phase in (_states.READY, _states.ENDED) and not (has_machines or unlisted)
    # One that was answered to be bought and is called unbought is shown late, or by another account.
    is_late = entry.purchase == MADE and phase in (_states.UNBOUGHT, _states.EXPIRED)
    if is_bought or is_late or (phase == _states.GOING_ON and (unlisted or not has_machines)):
        return messages.none_yet(host, entry.offer_id, unlisted)
    unread = [seen.unread[each] for each in unlisted if each in seen.unread]
    if unread:
        return messages.cannot_be_read(host, " ".join(unread))
    return messages.lost(host, missing, _said(seen, missing)) if missing else ""


def _unknown_offer(asked: Asked, seen: Seen, status: Status, forget: t.Collection[str]) -> End:
    """The status of the journal's offer cannot be read."""
    offer_id, said = asked.entry.offer_id, str(status.get("msg") or "The API does not say what became of it.")
    if status.get("error_class") != "not_found":
        return _stop(messages.cannot_be_read(asked.host, said))
    if offer_id not in forget:
        return _stop(messages.lost(asked.host, [offer_id], said))
    return _forget(asked, seen, (offer_id,))


def _forget(asked: Asked, seen: Seen, forgotten: tuple[str, ...] = (), *, sold: bool = False) -> End:
    """A purchase that has come to nothing. One that is ``sold`` cannot be bought by what may be under way."""
    namesakes = _namesakes(asked, seen.account)
    if namesakes:
        odd = [(machine, messages.NAMESAKE) for machine in namesakes]
        return _stop(messages.differs(asked.host, asked.entry.offer_id, (), odd))
    if asked.age is not None and asked.age < FRESH and not sold:
        return _stop(messages.too_fresh(asked.host, asked.entry.offer_id, FRESH - max(asked.age, 0.0)))
    gone = [m["resource_id"] for m, _owner in seen.account.of_offer(asked.entry.offer_id) if m["resource_id"]]
    return End(Action.FORGET, gone=tuple(gone), forgotten=forgotten)


def _by_name(asked: Asked, account: Account) -> End:
    """Without a registry the name is the identity."""
    own = [(m, owner) for m, owner in account.machines or () if asked.host in owner.hosts]
    own = [(machine, owner) for machine, owner in own if not _states.is_gone(machine["status"])]
    # What is ending needs nobody, if there is something else.
    own = [(m, owner) for m, owner in own if not _states.is_ending(m["status"])] or own
    if not own:
        return End(Action.NOTHING)
    contested = [(machine, owner) for machine, owner in own if owner.is_contested]
    if contested:
        return _contested(asked, contested)
    mine, trouble = told_by_name(own, [machine for machine, _owner in account.machines or ()])
    if trouble:
        return _stop(messages.in_doubt(asked.host, asked.name, mine, trouble))
    return _of(mine)


def told_by_name(own: Owned, machines: t.Iterable[Machine]) -> tuple[list[Machine], str]:
    """Which of the machines that a name proves are really meant, and why that is in doubt; empty if it is not.

    Machines that the API numbers after a name belong to an offer of several, so one alone may be another host's.
    """
    exact = [machine for machine, owner in own if owner.proof is not Proof.NUMBERED]
    offers = {machine["offer_id"] for machine in exact or [machine for machine, _owner in own]}
    mine = [machine for machine, owner in own if machine in exact or machine["offer_id"] in offers - {None}]
    if not exact and not mine:
        return [machine for machine, _owner in own], messages.ONLY_NUMBERED
    if len(offers) > 1 or (offers == {None} and len(mine) > 1):
        return mine, messages.SEVERAL_OFFERS
    if not exact and sum(machine["offer_id"] in offers for machine in machines) < 2:
        return mine, messages.ONLY_NUMBERED
    return mine, ""
