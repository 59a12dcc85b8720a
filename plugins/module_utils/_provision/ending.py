# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends for a host: exactly the machines that are its own by the rule of `ownership`, or nothing, and why.

And which storage ends with a machine.

Machines end for good, so whatever registry and API do not say alike ends nothing. A registry entry is forgotten only if
each machine that it names was told to be gone, or a person says so of one that the API does not know.
"""

from __future__ import annotations

import enum
import math
import typing as t
from dataclasses import dataclass, field, replace

from .. import _states
from .._text import end_option, ids_in_words, joined, usd
from . import ownership
from .entry import Entry
from .holdings import linked_to
from .messages import described, if_gone
from .ownership import Account, Machine, Owned, OwnershipClaim, base_of, machines_in, unowned
from .purchase import LONGEST_POST
from .search import add_up
from .standing import Status, brought_with, look_at, storage_bought
from .storage import Storage, together

_Odd = tuple[Machine, str]  # a machine, and what is odd about it

OTHER_OFFER = "its offer is {offer_id}, not that of the registry"
NOT_NAMED = "it belongs to the host's offer, but the registry does not name it"
NAMESAKE = "it has the name of a host whose registry names another machine"
UNNAMED = "it has the name of a host whose registry names no machine"
STRANGER = "it is called {name}, and the registry names only its offer"
SEVERAL_HOSTS = "several hosts claim it"
_NO_ID = "Of its machines the API gives no id that can be used for {}. Ask the API's support to end what has none."
_BY_ID = "End the right ones by their ids (compute_index.supply.delete_resource)"


class Action(enum.Enum):
    """What happens for a host."""

    END = "end"
    FORGET = "note"  # the registry names something, and nothing of it runs any more
    STORAGE = "storage"  # it has no machine, and its storage ends
    NOTHING = ""
    STOP = "stop"  # a person must decide


@dataclass(frozen=True)
class EndRequest:
    """A host whose machines shall end. ``age``: seconds since its purchase was noted, None if that is not known.

    ``by_name``: it has no registry. ``resource_id``: its machine by id, of a person or of the inventory plugin.
    ``twin``: a host of another project whose machine has the same name, empty for none; see `place.twin_of`.
    ``protection``: why nothing of ours ends its machine, empty if it is not protected.
    ``ends_storage``: whether storage ends, too, with its data. ``is_swept``: no person ends it, but a sweep.
    ``forget``: ids that a person says are gone.
    """

    host: str
    name: str
    entry: Entry
    by_name: bool = False
    resource_id: str = ""
    age: float | None = None
    twin: str = ""
    protection: str = ""
    ends_storage: bool = False
    is_swept: bool = False
    forget: frozenset[str] = frozenset()

    @property
    def claim(self) -> OwnershipClaim:
        """What the host says that it owns."""
        claim = ownership.claim_of(self.host, self.name, self.entry, by_name=self.by_name)
        if self.resource_id and _may_be_named(self.entry):
            return replace(claim, resource_ids=frozenset({self.resource_id}), by_name=False)
        return claim


@dataclass(frozen=True)
class ApiView:
    """What the API says. ``unknown`` and ``unread``: ids that no list has, and its sentence for a 404 or an error.

    What was looked up by its id and found is among the machines of the account.
    """

    account: Account
    statuses: t.Mapping[str, Status] = field(default_factory=dict)
    unknown: t.Mapping[str, str] = field(default_factory=dict)
    unread: t.Mapping[str, str] = field(default_factory=dict)


def unknown_and_unread(
    errors: t.Mapping[str, tuple[str, str]], listed: t.Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The ids that neither a page nor the list knows, and those of which nothing is known; each with its sentence.

    One that the list has and its page does not know is neither: the list counts. ``errors``: the class and the sentence
    of each page that cannot be read, by ids.
    """
    unknown = {item: text for item, (kind, text) in errors.items() if kind == "not_found" and item not in listed}
    return unknown, {item: text for item, (kind, text) in errors.items() if kind != "not_found"}


@dataclass(frozen=True)
class End:
    """What ends: ``machines``; of what is registered ``gone`` has ended before, and a person forgets ``forgotten``.

    ``in_doubt``: the ids of machines that do not end since the API does not show them; ``reason`` says why.

    ``price_when_gone``: of what has ended before, by the API (USD per hour), as far as it is known.
    ``pending``: the offer is still under way, so further machines of it may come. ``storage``: what it leaves, and what
    the host has kept; of this ``storage_ends`` are the ids of what ends, too, ``storage_lost`` of what a person
    forgets, and ``storage_spared`` of what should end, with the reason why it does not. ``unremembered``: what it
    leaves of a host of which no registry has noted the machine. ``by_sweep``: why a sweep ends it, or a line about the
    host if it does not.
    """

    action: Action
    machines: tuple[Machine, ...] = ()
    gone: tuple[str, ...] = ()
    price_when_gone: float = 0.0
    forgotten: tuple[str, ...] = ()
    in_doubt: tuple[str, ...] = ()
    reason: str = ""
    pending: bool = False
    storage: tuple[Storage, ...] = ()
    storage_ends: tuple[str, ...] = ()
    storage_lost: tuple[str, ...] = ()
    storage_spared: t.Mapping[str, str] = field(default_factory=dict)
    unremembered: tuple[Storage, ...] = ()
    by_sweep: str = ""

    @property
    def ends(self) -> bool:
        """Whether the host's purchase ends, with machines or without."""
        return self.action in (Action.END, Action.FORGET)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of what ends."""
        return tuple(machine["resource_id"] for machine in self.machines)

    @property
    def storage_stays(self) -> tuple[Storage, ...]:
        """The storage that does not end."""
        return tuple(item for item in self.storage if item.resource_id not in self.storage_ends)


def ids_to_read_before_end(
    claims: t.Iterable[OwnershipClaim], named: t.Iterable[str], machines: t.Iterable[Machine]
) -> set[str]:
    """The ids to read by themselves before anything ends, since a list may lag: all that may be the hosts'.

    ``claims``: of the hosts that are asked about. ``named``: the ids that the statuses of their offers name.
    """
    claims = list(claims)
    offers = {claim.offer_id for claim in claims} - {""}
    names = {claim.name for claim in claims if not claim.resource_ids}
    listed = {
        ownership.id_of(machine)
        for machine in machines
        if ownership.offer_of(machine) in offers
        or not names.isdisjoint({machine["name"], base_of(machine["name"] or "")})
    }
    return listed.union(named, *(claim.resource_ids | claim.storage_ids for claim in claims)) - {""}


def undecided_offers(entries: t.Iterable[Entry], listed: t.Collection[str]) -> set[str]:
    """The offers whose statuses are asked for: entry and list do not say all that there is to know of the purchase.

    ``listed``: the ids of the machines that the list has.
    """
    bought = [entry for entry in entries if not entry.is_refused]
    ready = ((entry.offer_id, entry.resource_ids if entry.was_ready else ()) for entry in bought)
    return {offer_id for offer_id, ids in ready if not (ids and set(ids).issubset(listed))}


def without_ids(asked: t.Iterable[EndRequest]) -> dict[str, Entry]:
    """The entries that name no machine, by their hosts: only the statuses of their offers do."""
    return {one.host: one.entry for one in asked if not one.entry.resource_ids}


def what_ends(asked: EndRequest, api_view: ApiView) -> End:
    """What ends for the host, and which storage stays. Of a protected host no machine ends, but one is forgotten."""
    found, entry, account = _end(asked, api_view), asked.entry, api_view.account
    if refusal := _why_not(asked, found):
        return nothing_ends(asked.host, refusal)
    if not found.ends:
        return found
    if entry.offer_id:
        look = look_at(asked.host, entry, api_view.statuses.get(entry.offer_id, {}), account)
        # Of a purchase that was not answered with yes a machine proves that the offer's storage is the host's. Else
        # somebody else has bought the offer, perhaps, and keeps the storage.
        has_bought = entry.is_made or any(_is_hosts(asked, owned) for owned in account.of_offer(entry.offer_id))
        return replace(found, storage=storage_bought(entry, look, has_bought=has_bought))
    offers = {ownership.offer_of(machine) for machine in found.machines}
    return replace(found, unremembered=brought_with(asked.host, offers, found.ids, account))


def _is_hosts(asked: EndRequest, owned: Owned) -> bool:
    """Whether a machine of the host's offer is its own, or nobody's that has its name, though a refusal denies it."""
    machine, owner = owned
    return asked.host in owner.hosts or (not owner.hosts and ownership.is_named(machine, asked.name))


def _why_not(asked: EndRequest, found: End) -> str:
    """Why what was found may not end, or cannot; empty if it may."""
    if asked.protection and found.action is Action.END:
        return asked.protection
    odd = [machine for machine in found.machines if not machine["resource_id"]]
    return _NO_ID.format(described(odd)) if odd else ""


def _end(asked: EndRequest, api_view: ApiView) -> End:
    account, entry, host = api_view.account, asked.entry, asked.host
    if account.machines is None:
        return nothing_ends(host, f"{account.unreadable} Run again.")
    storage = {ownership.id_of(item) for item in account.storage}
    ids = sorted(asked.claim.resource_ids - storage)
    if rivals := account.rivals.get(host, ()):
        named = machines_in(account.machines_with(ids))
        return nothing_ends(host, _contested_by(host, rivals, named, [*ids, entry.offer_id]))
    if misnamed := _misnamed(asked, api_view):
        return nothing_ends(host, misnamed)
    if ids:
        return _by_ids(asked, ids, api_view)
    if entry.is_refused:
        return _came_to_nothing(asked, api_view)
    if entry.offer_id:
        return _journal(asked, api_view)
    if asked.by_name:
        return _by_name(asked, api_view)
    if unclaimed := _namesakes(asked, account):
        return nothing_ends(host, _claimed_by_nobody(asked, unclaimed))
    return End(Action.NOTHING)


def _claimed_by_nobody(asked: EndRequest, machines: t.Sequence[Machine]) -> str:
    """Machines are called as the host's would be, and no registry names them."""
    ids = [str(machine["resource_id"]) for machine in machines if machine.get("resource_id")]
    return (
        f"The registry of {asked.host} names no machine, but there is one called {asked.name} that no host claims:"
        f" {described(machines)}. On a shared account it may be a colleague's. If it is this host's, end it by its"
        f" id: {naming_its_machine([asked.host], *ids[:1])} (or"
        " compute_index.supply.delete_resource), or run compute_index.supply.provision with provision_adopt: true."
    )


def nothing_ends(host: str, why: str) -> End:
    """Nothing ends for the host."""
    return End(Action.STOP, reason=f"Nothing was ended for {host}. {why}")


def _contested_by(host: str, hosts: t.Iterable[str], machines: t.Sequence[Machine], ids: t.Iterable[str]) -> str:
    """Several hosts say that a machine or an offer is theirs."""
    what = described(machines) if machines else ids_in_words(ids)
    return (
        f"{', '.join(sorted({host, *hosts}))}: {SEVERAL_HOSTS}: {what}. A machine belongs to one host: remove the"
        f" registry entry or the name of those that it does not belong to. {_BY_ID}."
    )


def _misnamed(asked: EndRequest, api_view: ApiView) -> str:
    """Why the machine that is given by its id is none of the host; empty if it may be, or none is given."""
    resource_id, entry = asked.resource_id, asked.entry
    if resource_id in api_view.unknown and (entry.is_empty or resource_id not in (*entry.resource_ids, *asked.forget)):
        return f"{api_view.unknown[resource_id]} Is the token of the right account?"
    if resource_id in ("", *asked.claim.resource_ids):
        return ""
    return (
        f"decommission_resource_id is {resource_id}, but the registry names {ids_in_words(entry.resource_ids)} for this"
        " host. Leave it out to end what the registry names, or end the other one with"
        " compute_index.supply.delete_resource."
    )


def _namesakes(asked: EndRequest, account: Account) -> list[Machine]:
    """Machines that have the host's name, may be billed, and that nobody claims."""
    return unowned(account.named(asked.name))


def _by_ids(asked: EndRequest, ids: t.Sequence[str], api_view: ApiView) -> End:
    """The machines that the registry or a person names by their ids, with further ones of the same purchase."""
    named = api_view.account.machines_with(ids)
    lost = [item for item in _unlisted(ids, api_view.account) if item not in api_view.unread]
    further = _further(asked, ids, api_view.account)
    if reason := next(filter(None, _objections(asked, ids, api_view, named, lost, further)), ""):
        return nothing_ends(asked.host, reason)
    return _end_of([*machines_in(named), *further], asked, api_view, ids)


def _objections(
    asked: EndRequest,
    ids: t.Sequence[str],
    api_view: ApiView,
    named: t.Sequence[Owned],
    lost: t.Sequence[str],
    further: t.Sequence[Machine],
) -> t.Iterator[str]:
    """Why nothing of these may end, the first reason that is not empty. ``lost``: ids that the API does not know."""
    entry, machines = asked.entry, machines_in(named)
    yield _contested(asked, named)
    odd = list(_oddities(asked, machines, api_view.account, lost, further))
    shown = [f"{item} (unknown to the API)" if item in lost else item for item in ids]
    yield _differs(entry.offer_id, shown, odd) if odd else ""
    refuted = [machine for machine in machines if machine["resource_id"] in asked.forget]
    if any(not _states.is_gone(machine["status"]) for machine in refuted):
        known = f"The API knows {described(refuted)}, so it cannot be forgotten."
        yield f"{known} Leave decommission_forget out to end it."
    yield _none_yet(asked, lost) if lost and _pending(entry, api_view) else ""


def _differs(offer_id: str, ids: t.Iterable[str], odd: t.Iterable[_Odd]) -> str:
    """Registry and API do not say the same; both are shown."""
    has = "; ".join(f"{described([machine])}: {trouble}" for machine, trouble in odd)
    return (
        f"Registry and API do not agree. The registry names offer {offer_id or '(none)'} with resources"
        f" {', '.join(ids) or '(none)'}. The API has {has}. {_BY_ID}, or correct the registry, and run again."
    )


def _none_yet(asked: EndRequest, ids: t.Sequence[str]) -> str:
    entry, known = asked.entry, f" ({ids_in_words(ids)})" if ids else ""
    shown = f" If an audit shows that, name it: {naming_its_machine([asked.host])}." if _may_be_named(entry) else ""
    return (
        f"Offer {entry.offer_id} is bought and may be billed{known}, but the API lists no machine of it yet. Run again"
        f" when there is one.{shown}"
    )


def naming_its_machine(hosts: t.Iterable[str], resource_id: str = "<id>") -> str:
    """How a person ends the machine of hosts whose registry does not name it."""
    return f"{end_option(hosts)} -e decommission_resource_id={resource_id}"


def _may_be_named(entry: Entry) -> bool:
    """Whether a person may say which machine is meant: the registry names none, and no purchase that is still open."""
    return entry.is_empty or (entry.is_made and not entry.resource_ids)


def _oddities(
    asked: EndRequest,
    machines: t.Iterable[Machine],
    account: Account,
    lost: t.Collection[str],
    further: t.Collection[Machine],
) -> t.Iterator[_Odd]:
    """Machines of which registry and API do not say the same: nothing is ended before a person has looked."""
    for machine in machines:
        if asked.entry.offer_id and machine["offer_id"] not in (None, asked.entry.offer_id):
            yield machine, OTHER_OFFER.format(offer_id=machine["offer_id"])
    yield from ((machine, NOT_NAMED) for machine in further if lost or not machine["resource_id"])
    if lost:
        yield from ((namesake, NAMESAKE) for namesake in _namesakes(asked, account) if namesake not in further)


def _further(asked: EndRequest, ids: t.Collection[str], account: Account) -> list[Machine]:
    """Machines that say that they were bought by the registered purchase, beside those that the registry names.

    They are held, too, and end with them.
    """
    if not asked.entry.offer_id:
        return []
    return [
        machine
        for machine, owner in account.of_offer(asked.entry.offer_id)
        if machine["resource_id"] not in ids
        and owner.hosts in ((), (asked.host,))
        and not _states.is_gone(machine["status"])
    ]


def _unlisted(ids: t.Iterable[str], account: Account) -> list[str]:
    return [item for item in ids if not account.machines_with([item])]


def _in_doubt(asked: EndRequest, api_view: ApiView, ids: t.Iterable[str]) -> list[str]:
    """The ids that the API does not show: it answers an error, or does not know them and no person forgets them."""
    unlisted = _unlisted(ids, api_view.account)
    return [item for item in ids if item in api_view.unread or (item in unlisted and item not in asked.forget)]


def _why_in_doubt(asked: EndRequest, api_view: ApiView, ids: t.Iterable[str]) -> str:
    """Why these ids do not end, at which price they may be billed, and what to do; empty without any."""
    unread = [item for item in ids if item in api_view.unread]
    unknown = [item for item in ids if item not in unread]
    sentences = [
        f"{api_view.unread[item]} So {item} does not end. It may be billed at {usd(_listed_price(item, api_view))}."
        for item in unread
    ]
    advice = "If its page stays unreadable, ask the API's support to end it." if unread else ""
    message = joined(*(api_view.unknown.get(item, "") for item in unknown))
    return joined(*sentences, advice, _unknown_ids(asked.host, unknown, message) if unknown else "")


def _listed_price(resource_id: str, api_view: ApiView) -> float | None:
    """USD per hour by the list of all machines; None if that does not show it."""
    return next((machine["price_per_hour"] for machine, _owner in api_view.account.machines_with([resource_id])), None)


def _unknown_ids(host: str, ids: t.Sequence[str], text: str) -> str:
    """The API does not know what the registry names, which is no proof of an end."""
    return (
        f"The registry names {ids_in_words(ids)}, which the API does not know: {text} It may be billed all the same. Is"
        f" the token of the right account? {if_gone(host, ids)}"
    )


def _end_of(machines: t.Sequence[Machine], asked: EndRequest, api_view: ApiView, ids: t.Iterable[str] = ()) -> End:
    """The end of the host's machines. Those that are gone are not ended again, those that are ending are waited for.

    A machine that the API does not show stays, and does not keep the others from ending: each of these is the host's
    by its own page. ``ids``: all that are known to be the host's, shown or not.
    """
    known = dict.fromkeys([*ids, *filter(None, (machine["resource_id"] for machine in machines))])
    doubted = _in_doubt(asked, api_view, known)
    shown = [machine for machine in machines if machine["resource_id"] not in doubted]
    left = tuple(machine for machine in shown if not _states.is_gone(machine["status"]))
    why = _why_in_doubt(asked, api_view, doubted)
    if doubted and not left:
        return nothing_ends(asked.host, f"{why} Run again." if api_view.unread else why)
    over = [machine for machine in shown if _states.is_gone(machine["status"])]
    return End(
        Action.END if left else Action.FORGET,
        left,
        gone=tuple(filter(None, (machine["resource_id"] for machine in over))),
        price_when_gone=add_up(machine["price_per_hour"] for machine in over).total,
        forgotten=tuple(item for item in _unlisted(known, api_view.account) if item not in doubted),
        in_doubt=tuple(doubted),
        reason=why,
        pending=_pending(asked.entry, api_view),
    )


def _contested(asked: EndRequest, owned: t.Iterable[Owned]) -> str:
    """That several hosts claim some of these; empty if none is contested."""
    contested = [item for item in owned if item[1].is_contested]
    hosts = {host for _machine, owner in contested for host in owner.hosts}
    return _contested_by(asked.host, hosts, machines_in(contested), ()) if contested else ""


def _pending(entry: Entry, api_view: ApiView) -> bool:
    return api_view.statuses.get(entry.offer_id, {}).get("phase") == _states.GOING_ON


def _billed(owned: t.Iterable[Owned]) -> list[Owned]:
    return [item for item in owned if not _states.is_gone(item[0]["status"])]


def _journal(asked: EndRequest, api_view: ApiView) -> End:
    """Only the offer of a purchase is registered, by a run that did not get as far as its machines."""
    entry, account = asked.entry, api_view.account
    status = api_view.statuses.get(entry.offer_id, {})
    named = list(status.get("resource_ids") or ())
    shown = [m for m in account.owned if entry.offer_id == m[0]["offer_id"] or m[0]["resource_id"] in named]
    mine, reason = _bought(asked, status, account, _billed(shown))
    if reason:
        return nothing_ends(asked.host, reason)
    storage = {ownership.id_of(item) for item in account.storage_of(entry.offer_id, named)}
    unlisted = [item for item in _unlisted(named, account) if item not in storage]
    if mine:
        return _end_of(mine, asked, api_view, unlisted)
    if status.get("phase") is None:
        return _unknown_offer(asked, api_view, status)
    if reason := _not_over(asked, api_view, unlisted, has_machines=bool(shown)):
        return nothing_ends(asked.host, reason)
    return _came_to_nothing(asked, api_view, tuple(unlisted), sold=bool(shown or storage or unlisted))


def _bought(
    asked: EndRequest, status: Status, account: Account, billed: t.Sequence[Owned]
) -> tuple[list[Machine], str]:
    """The machines of these that the host's purchase has bought, and why nothing may end; empty if they may.

    A purchase that was answered with yes holds what `holdings` proves; one without an answer holds what has its name.
    """
    entry = asked.entry
    mine, odd = _proved(asked, status, account, billed) if entry.is_made else _named(asked, billed)
    return mine, _contested(asked, billed) or (_differs(entry.offer_id, (), odd) if odd else "")


def _proved(
    asked: EndRequest, status: Status, account: Account, billed: t.Iterable[Owned]
) -> tuple[list[Machine], list[_Odd]]:
    holdings, contradictions = look_at(asked.host, asked.entry, status, account).concluded
    odd = [(contradiction.observation.resource or {}, contradiction.why) for contradiction in contradictions]
    # Of one without an id nobody can say more than that it was bought with this offer.
    return [item for item in machines_in(billed) if (item["resource_id"] or "") in (*holdings.ids, "")], odd


def _named(asked: EndRequest, billed: t.Sequence[Owned]) -> tuple[list[Machine], list[_Odd]]:
    strangers = [machine for machine in unowned(billed) if not _states.is_ending(machine["status"])]
    odd = [(stranger, STRANGER.format(name=stranger["name"] or "nothing")) for stranger in strangers]
    return [machine for machine, owner in billed if owner.hosts == (asked.host,)], odd


def _not_over(asked: EndRequest, api_view: ApiView, unlisted: t.Sequence[str], *, has_machines: bool) -> str:
    """Why an offer of which no machine is billed is not certainly over; empty if it is.

    ``unlisted``: ids that its status names and no list has.
    """
    entry, phase = asked.entry, api_view.statuses.get(asked.entry.offer_id, {}).get("phase")
    # One that was ready had machines, though the registry may name storage alone.
    has_ended = has_machines or (entry.was_ready and phase == _states.ENDED)
    is_bought = phase in (_states.READY, _states.ENDED) and not (has_ended or unlisted)
    # One that was answered to be bought and is called unbought is shown late, or by another account.
    is_late = entry.is_made and phase in (_states.UNBOUGHT, _states.EXPIRED)
    if is_bought or is_late or (phase == _states.GOING_ON and (unlisted or not has_machines)):
        return _none_yet(asked, unlisted)
    return _why_in_doubt(asked, api_view, _in_doubt(asked, api_view, unlisted))


def _unknown_offer(asked: EndRequest, api_view: ApiView, status: Status) -> End:
    """The status of the journal's offer cannot be read."""
    offer_id, said = asked.entry.offer_id, str(status.get("msg") or "The API does not say what became of it.")
    if status.get("error_class") != "not_found":
        return nothing_ends(asked.host, f"{said} Run again.")
    if offer_id not in asked.forget:
        return nothing_ends(asked.host, _unknown_ids(asked.host, [offer_id], said))
    return _came_to_nothing(asked, api_view, (offer_id,))


def _came_to_nothing(
    asked: EndRequest, api_view: ApiView, forgotten: tuple[str, ...] = (), *, sold: bool = False
) -> End:
    """A purchase that has come to nothing. One that is ``sold`` cannot be bought by what may be under way."""
    if namesakes := _namesakes(asked, api_view.account):
        odd = [(machine, UNNAMED) for machine in namesakes]
        return nothing_ends(asked.host, _differs(asked.entry.offer_id, (), odd))
    if asked.age is not None and asked.age < LONGEST_POST and not sold:
        minutes = max(1, math.ceil((LONGEST_POST - max(asked.age, 0.0)) / 60))
        return nothing_ends(
            asked.host,
            f"The API has no machine of offer {asked.entry.offer_id}, but its purchase was noted only a short while"
            f" ago, and that of a run that was stopped may still arrive. Run again in {minutes} minutes.",
        )
    gone = [m["resource_id"] for m, _owner in api_view.account.of_offer(asked.entry.offer_id) if m["resource_id"]]
    return End(Action.FORGET, gone=tuple(gone), forgotten=forgotten)


def _by_name(asked: EndRequest, api_view: ApiView) -> End:
    """Without a registry the name is the identity."""
    owned_machines = _billed(item for item in api_view.account.owned if asked.host in item[1].hosts)
    # What is ending needs nobody, if there is something else.
    owned_machines = [item for item in owned_machines if not _states.is_ending(item[0]["status"])] or owned_machines
    if not owned_machines:
        return End(Action.NOTHING)
    mine = machines_in(owned_machines)
    trouble = told_by_name(mine) or (f"without a registry it may as well be that of {asked.twin}" if asked.twin else "")
    doubt = (
        f"For the name {asked.name} the API has {described(mine)}: {trouble}. {_BY_ID}, or name one with"
        f" {naming_its_machine([asked.host])}."
    )
    reason = _contested(asked, owned_machines) or (doubt if trouble else "")
    return nothing_ends(asked.host, reason) if reason else _end_of(mine, asked, api_view)


def told_by_name(machines: t.Sequence[Machine]) -> str:
    """Why it is in doubt that the machines which a name proves are those that are meant; empty if it is not."""
    offers = {machine["offer_id"] for machine in machines}
    is_in_doubt = len(offers) > 1 or (offers == {None} and len(machines) > 1)
    return "several offers have machines of this name" if is_in_doubt else ""


# Which storage ends with a machine, and its data with it: never more than its host, or a person, has said


def with_storage(
    one: EndRequest, end: End, kept: t.Iterable[Storage], api_view: ApiView, all_ends: t.Container[str] = ()
) -> End:
    """The same end with what the host has kept of earlier machines. If nothing may end, no storage ends either.

    ``all_ends``: see `hosts_that_end_all`.
    """
    items = together(kept, end.storage)
    if end.action is Action.STOP or not items:
        return end
    lost = tuple(item.resource_id for item in items if item.resource_id in one.forget)
    if refuted := [item for item in lost if item not in api_view.unknown]:
        return nothing_ends(
            one.host,
            f"The API does not say that it does not know {ids_in_words(refuted)}, so it cannot be forgotten. Leave"
            " decommission_forget out; -e decommission_storage=end ends it with its data.",
        )
    ends = _wanted(items, is_asked=not one.is_swept) if one.ends_storage and not end.in_doubt else []
    machines, claims = machines_in(api_view.account.owned), api_view.account.claims.values()
    reasons = {**_held(claims, one.host, all_ends), **_used(machines, end.ids, items)} if ends else {}
    over = tuple(dict.fromkeys((*(item for item in ends if item not in reasons), *lost)))
    spared = {item: reasons[item] for item in ends if item in reasons}
    action = Action.STORAGE if over and end.action is Action.NOTHING else end.action
    return replace(end, action=action, storage=items, storage_ends=over, storage_lost=lost, storage_spared=spared)


def hosts_that_end_all(asked: t.Iterable[EndRequest]) -> set[str]:
    """Those that have nothing but storage, which ends: so they keep none from ending that another host has as well."""
    return {one.host for one in asked if one.ends_storage and one.entry.is_empty}


def _held(claims: t.Iterable[OwnershipClaim], host: str, all_ends: t.Container[str]) -> dict[str, str]:
    """Why storage does not end that another host has, too. A host's own kept storage has a claim of its own."""
    others = ((claim.storage_of or claim.host, claim) for claim in claims)
    holders = ownership.holders_of((claim for name, claim in others if name != host and name not in all_ends), host)
    return {item: f"{holder} has it as well" for item, holder in holders.items()}


def of_released(
    plan: t.Mapping[str, t.Any],
    items: t.Collection[Storage],
    ended: t.Container[str],
    machines: t.Iterable[Machine] | None,
) -> tuple[str, ...]:
    """The ids of the storage that ends since the machines with these ids were given back, and have ended.

    ``plan``: see `rows.plan_row`. ``machines``: all of the account; None if they cannot be listed, and then none ends.
    Nor does any of a host without a registry, which would prove whose it is.
    """
    if not (plan["ends_storage"] and plan["registry"]) or machines is None:
        return ()
    used = _used(machines, ended, items)
    return tuple(item for item in _wanted(items, is_asked=False) if item not in used)


def _wanted(items: t.Iterable[Storage], *, is_asked: bool) -> list[str]:
    """What ends if its host ends storage: unless a person asks for it, nothing that an earlier machine has left.

    But for what was to end with that, and has not ended for certain.
    """
    return [item.resource_id for item in items if is_asked or item.is_to_end or not item.kept_since]


def _used(machines: t.Iterable[Machine], ended: t.Container[str], items: t.Iterable[Storage]) -> dict[str, str]:
    """Why storage with these ids does not end: it is a machine, or a machine uses it that goes on.

    What was bought with the same offer as was noted is the host's, whatever the API calls it by now.
    """
    bought = {(item.resource_id, item.offer_id) for item in items if item.offer_id}
    live = [item for item in machines if _states.is_machine(item) and _states.is_live(item["status"])]
    others = [machine for machine in live if machine["resource_id"] not in ended]
    odd = [machine for machine in others if (ownership.id_of(machine), ownership.offer_of(machine)) not in bought]
    used = {item: f"a machine uses it: {described([machine])}" for machine in others for item in linked_to(machine)}
    return {**used, **{ownership.id_of(machine): f"it is a machine: {described([machine])}" for machine in odd}}
