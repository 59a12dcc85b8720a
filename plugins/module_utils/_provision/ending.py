# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machines end for a host, and which storage ends with them.

Only machines end that are the host's by the rule of `ownership`, or none, with the reason. An end is final, so a
machine does not end if registry and API disagree about it. A registry entry is removed only if the API said of each of
its machines that it is gone, or a person forgets one that the API does not know.
"""

from __future__ import annotations

import enum
import math
import typing as t
from dataclasses import dataclass, field, replace

from .. import _states
from .._text import end_option, formatted, ids_in_words, joined, seconds_of, usd
from . import ownership
from .entry import Entry
from .holdings import linked_to
from .messages import described, forget_advice
from .ownership import Account, Machine, Owned, OwnershipClaim, base_of, machines_in, not_gone, unowned
from .purchase import LONGEST_POST
from .search import add_up
from .standing import Status, brought_with, look_at, offers_of, storage_bought
from .storage import Storage, merged_storage

_Mismatch = tuple[Machine, str]  # a machine, and how registry and API disagree about it

OTHER_OFFER = "its offer is {offer_id}, not that of the registry"
NOT_NAMED = "it belongs to the host's offer, but the registry does not name it"
NAMESAKE = "it has the name of a host whose registry names another machine"
UNNAMED = "it has the name of a host whose registry names no machine"
STRANGER = "it is called {name}, and the registry names only its offer"
SEVERAL_HOSTS = "several hosts claim it"
_NO_ID = "The API gives no usable id for some of its machines: {}. Ask the API's support to end them."
_BY_ID = "End the right ones by their ids (compute_index.supply.delete_resource)"


class Action(enum.Enum):
    """What happens for a host."""

    END = "end"
    FORGET = "note"  # nothing that the registry names runs any more
    STORAGE = "storage"  # the host has no machine, and its storage ends
    NOTHING = ""
    STOP = "stop"  # a person must decide


@dataclass(frozen=True)
class EndRequest:
    """A host whose machines are to end.

    ``by_name``: the host has no registry. ``resource_id``: its machine's id, if a person or the inventory plugin gives
    one. ``age``: seconds since its purchase was noted; None if unknown. ``twin``: a host of another project whose
    machine has the same name; empty without one (see `place.twin_of`). ``protection``: why the host is protected; empty
    if it is not. ``ends_storage``: whether its storage ends as well, with all data. ``is_swept``: a sweep requests the
    end, not a person. ``forget``: ids that a person says are gone.
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
        """The host's claim to its machines."""
        claim = ownership.claim_of(self.host, self.name, self.entry, by_name=self.by_name)
        if self.resource_id and _may_be_named(self.entry):
            return replace(claim, resource_ids=frozenset({self.resource_id}), by_name=False)
        return claim


@dataclass(frozen=True)
class ApiView:
    """The API's answers. ``account`` also has the machines that only their own pages show.

    ``unknown`` and ``unread``: the API's sentence about each id that it does not know, or whose page cannot be read.
    """

    account: Account
    statuses: t.Mapping[str, Status] = field(default_factory=dict)
    unknown: t.Mapping[str, str] = field(default_factory=dict)
    unread: t.Mapping[str, str] = field(default_factory=dict)


def unknown_and_unread(
    errors: t.Mapping[str, tuple[str, str]], listed: t.Collection[Machine], forget: t.Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The sentences for `ApiView.unknown` and `ApiView.unread`, each by id.

    If a page answers 404, but the list has the id, the list counts, and the id is in neither. Nor is one that a person
    forgets (``forget``) and the list calls gone, whatever its page answers. ``errors``: the error class and sentence of
    each page that cannot be read, by id.
    """
    ids = {machine["resource_id"] for machine in listed}
    over = ids.intersection(forget).difference(ownership.ids_not_gone(listed))
    unknown = {item: text for item, (kind, text) in errors.items() if kind == "not_found" and item not in ids}
    return unknown, {item: text for item, (kind, text) in errors.items() if kind != "not_found" and item not in over}


@dataclass(frozen=True)
class End:
    """What ends for a host: its ``machines``. The other fields of machines:

    - ``gone``: ids of registered machines that had ended before; ``price_when_gone``: their known prices, USD per hour.
    - ``forgotten``: ids that a person forgets.
    - ``in_doubt``: ids that do not end since the API does not show them; ``reason`` says why.
    - ``pending``: whether the offer is still under way, so that further machines may come.
    - ``reason``: why nothing ends, or not everything.
    - ``by_sweep``: why a sweep ends the host's machines, or a line about the host if it does not.

    ``storage``: what the machines leave, and what the host has kept of earlier ones. ``storage_ends``: the ids that end
    of these. ``storage_lost``: those of them that a person forgets. ``storage_spared``: why storage that should end
    does not, by id. ``unregistered_storage``: what the machines of a host without a registry leave.
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
    unregistered_storage: tuple[Storage, ...] = ()
    by_sweep: str = ""

    @property
    def ends(self) -> bool:
        """Whether the host's purchase ends, with machines or without."""
        return self.action in (Action.END, Action.FORGET)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the machines that end."""
        return tuple(machine["resource_id"] for machine in self.machines)

    @property
    def storage_stays(self) -> tuple[Storage, ...]:
        """The storage that does not end."""
        return tuple(item for item in self.storage if item.resource_id not in self.storage_ends)


def ids_to_read_before_end(
    claims: t.Iterable[OwnershipClaim], named: t.Iterable[str], machines: t.Iterable[Machine]
) -> set[str]:
    """The ids whose own pages are read before anything ends, since a list may lag: everything that may be the hosts'.

    ``claims``: those of the hosts that are to end. ``named``: the ids that the statuses of their offers name.
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


def undecided_offers(entries: t.Iterable[Entry], listed: t.Collection[str]) -> dict[str, tuple[str, ...]]:
    """`offers_of` the entries that do not tell everything about their purchases, even with the list.

    ``listed``: the ids of the listed machines.
    """
    ready = ((entry, set(entry.resource_ids) if entry.was_ready else ()) for entry in entries)
    return offers_of(entry for entry, ids in ready if not (ids and ids.issubset(listed)))


def entries_without_ids(requests: t.Iterable[EndRequest]) -> dict[str, Entry]:
    """The entries that name no machine, by host: only the statuses of their offers do."""
    return {request.host: request.entry for request in requests if not request.entry.resource_ids}


def what_ends(request: EndRequest, api_view: ApiView) -> End:
    """What ends for the host, and the storage that its machines leave.

    If the host is protected, no machine ends, but an entry whose machines are gone is still removed.
    """
    end, entry, account = _end(request, api_view), request.entry, api_view.account
    if refusal := _refusal(request, end):
        return nothing_ends(request.host, refusal)
    if not end.ends:
        return end
    if entry.offer_id:
        look = look_at(request.host, entry, api_view.statuses.get(entry.offer_id, {}), account)
        # If the purchase was never confirmed, a machine proves that the offer's storage is the host's. Otherwise
        # someone else may have bought the offer, and has this storage.
        has_bought = entry.is_made or any(_is_hosts(request, owned) for owned in account.of_offer(entry.offer_id))
        return replace(end, storage=storage_bought(entry, look, has_bought=has_bought))
    offers = {ownership.offer_of(machine) for machine in end.machines}
    return replace(end, unregistered_storage=brought_with(request.host, offers, end.ids, account))


def _is_hosts(request: EndRequest, owned: Owned) -> bool:
    """Whether a machine of the host's offer is the host's: it proves that, or has the host's name and no owner."""
    machine, owner = owned
    return request.host in owner.hosts or (not owner.hosts and ownership.is_named(machine, request.name))


def _refusal(request: EndRequest, end: End) -> str:
    """Why these machines must not end, or cannot; empty if they may."""
    if request.protection and end.action is Action.END:
        return request.protection
    without_id = [machine for machine in end.machines if not machine["resource_id"]]
    return _NO_ID.format(described(without_id)) if without_id else ""


def _end(request: EndRequest, api_view: ApiView) -> End:
    account, entry, host = api_view.account, request.entry, request.host
    if account.machines is None:
        billed = f"{ids_in_words(entry.resource_ids)} may be billed at {usd(entry.price_per_hour)}."
        advice = "Check token, api_url and network, and run again."
        return nothing_ends(host, joined(account.unreadable, billed if entry.may_have_bought else "", advice))
    storage = {ownership.id_of(item) for item in account.storage}
    ids = sorted(request.claim.resource_ids - storage)
    if rivals := account.rivals.get(host, ()):
        named = machines_in(account.machines_with(ids))
        return nothing_ends(host, _contested_by(host, rivals, named, [*ids, entry.offer_id]))
    if wrong_id := _wrong_id(request, api_view):
        return nothing_ends(host, wrong_id)
    if ids:
        return _end_by_ids(request, ids, api_view)
    if entry.is_refused:
        return _end_without_machines(request, api_view)
    if entry.offer_id:
        return _end_by_offer(request, api_view)
    if request.by_name:
        return _end_by_name(request, api_view)
    if namesakes := _unowned_namesakes(request, account):
        return nothing_ends(host, _unregistered(request, namesakes))
    return End(Action.NOTHING)


def _unregistered(request: EndRequest, machines: t.Sequence[Machine]) -> str:
    """Why machines do not end that have the host's name, but are in no registry."""
    ids = [str(machine["resource_id"]) for machine in machines if machine.get("resource_id")]
    return (
        f"The registry of {request.host} names no machine, but there is one called {request.name} that no host claims:"
        f" {described(machines)}. On a shared account it may be a colleague's. If it is this host's, end it by its"
        f" id: {end_by_id_options([request.host], *ids[:1])} (or"
        " compute_index.supply.delete_resource), or run compute_index.supply.provision with provision_adopt: true."
    )


def nothing_ends(host: str, why: str) -> End:
    """An end that stops the host, with the reason."""
    return End(Action.STOP, reason=f"Nothing was ended for {host}. {why}")


def _contested_by(host: str, hosts: t.Iterable[str], machines: t.Sequence[Machine], ids: t.Iterable[str]) -> str:
    what = described(machines) if machines else ids_in_words(ids)
    return (
        f"{', '.join(sorted({host, *hosts}))}: {SEVERAL_HOSTS}: {what}. A machine belongs to one host: remove the"
        f" registry entry or the name of the others. {_BY_ID}."
    )


def _wrong_id(request: EndRequest, api_view: ApiView) -> str:
    """Why the given id cannot be the host's machine; empty if it can, or none is given."""
    resource_id, entry = request.resource_id, request.entry
    if resource_id in api_view.unknown and (
        entry.is_empty or resource_id not in (*entry.resource_ids, *request.forget)
    ):
        return f"{api_view.unknown[resource_id]} Is the token of the right account?"
    if resource_id in ("", *request.claim.resource_ids):
        return ""
    return (
        f"decommission_resource_id is {resource_id}, but the registry names {ids_in_words(entry.resource_ids)} for this"
        " host. Omit it to end the machines in the registry, or end the other one with"
        " compute_index.supply.delete_resource."
    )


def _unowned_namesakes(request: EndRequest, account: Account) -> list[Machine]:
    """Machines that have the host's name and may be billed, and that no host owns."""
    return unowned(account.named(request.name))


def _end_by_ids(request: EndRequest, ids: t.Sequence[str], api_view: ApiView) -> End:
    """The end of the machines that the registry or a person names by id, and of further ones of the same purchase."""
    account, entry = api_view.account, request.entry
    named, further = account.machines_with(ids), _further(request, ids, account)
    unknown = [item for item in _unlisted(ids, account) if item not in api_view.unread]
    shown = [f"{item} (unknown to the API)" if item in unknown else item for item in ids]
    refusals = (
        _contested(request, named),
        _disagreement(entry, shown, list(_mismatches(request, machines_in(named), account, unknown, further))),
        _why_not_forgotten(request, machines_in(named)),
        _not_listed_yet(request, unknown) if unknown and _is_under_way(entry, api_view) else "",
    )
    if reason := next(filter(None, refusals), ""):
        return nothing_ends(request.host, reason)
    return _end_of([*machines_in(named), *further], request, api_view, ids)


def _why_not_forgotten(request: EndRequest, machines: t.Iterable[Machine]) -> str:
    """Why a person cannot forget some of these machines; empty if the API says that those are gone."""
    refuted = [machine for machine in machines if machine["resource_id"] in request.forget]
    if not not_gone(refuted):
        return ""
    return f"The API knows {described(refuted)}, so it cannot be forgotten. Omit decommission_forget to end it."


def _disagreement(entry: Entry, ids: t.Iterable[str], mismatches: t.Sequence[_Mismatch]) -> str:
    """What the registry says, with these resources, and what the API says; empty if they do not disagree."""
    if not mismatches:
        return ""
    shown = "; ".join(f"{described([machine])}: {trouble}" for machine, trouble in mismatches)
    return (
        f"Registry and API do not agree. The registry names offer {entry.offer_id or '(none)'} with resources"
        f" {', '.join(ids) or '(none)'}. The API has {shown}. {_BY_ID}, or correct the registry, and run again."
    )


def _not_listed_yet(request: EndRequest, ids: t.Sequence[str]) -> str:
    entry, known = request.entry, f" ({ids_in_words(ids)})" if ids else ""
    advice = f" If an audit shows it, name it: {end_by_id_options([request.host])}." if _may_be_named(entry) else ""
    return (
        f"Offer {entry.offer_id} is bought and may be billed{known}, but the API lists no machine of it yet. Run again"
        f" later.{advice}"
    )


def end_by_id_options(hosts: t.Iterable[str], resource_id: str = "<id>") -> str:
    """The options of a command that ends a machine for hosts whose registry does not name it."""
    return f"{end_option(hosts)} -e decommission_resource_id={resource_id}"


def _may_be_named(entry: Entry) -> bool:
    """Whether a person may name the host's machine: the registry names none, and no purchase is open."""
    return entry.is_empty or (entry.is_made and not entry.resource_ids)


def _mismatches(
    request: EndRequest,
    machines: t.Iterable[Machine],
    account: Account,
    unknown: t.Collection[str],
    further: t.Collection[Machine],
) -> t.Iterator[_Mismatch]:
    """The machines about which registry and API disagree, so that nothing ends before a person has looked."""
    for machine in machines:
        if request.entry.offer_id and machine["offer_id"] not in (None, request.entry.offer_id):
            yield machine, OTHER_OFFER.format(offer_id=machine["offer_id"])
    if unknown:
        yield from ((machine, NOT_NAMED) for machine in further)
        yield from ((namesake, NAMESAKE) for namesake in _unowned_namesakes(request, account))


def _further(request: EndRequest, ids: t.Collection[str], account: Account) -> list[Machine]:
    """Machines that name the registered offer, although the registry does not name them (``ids``).

    The purchase holds them as well, so they end with the others.
    """
    owned = account.of_offer(request.entry.offer_id)
    own = [machine for machine, owner in owned if owner.hosts in ((), (request.host,))]
    return [machine for machine in not_gone(own) if machine["resource_id"] not in ids]


def _unlisted(ids: t.Iterable[str], account: Account) -> list[str]:
    return [item for item in ids if not account.machines_with([item])]


def _in_doubt(request: EndRequest, api_view: ApiView, ids: t.Iterable[str]) -> list[str]:
    """The ids that the API does not show: it answers an error, or does not know them and no person forgets them."""
    unlisted = _unlisted(ids, api_view.account)
    return [item for item in ids if item in api_view.unread or (item in unlisted and item not in request.forget)]


def _why_in_doubt(request: EndRequest, api_view: ApiView, ids: t.Iterable[str]) -> str:
    """Why these ids do not end, at which price they may be billed, and what to do; empty without ids."""
    unread = [item for item in ids if item in api_view.unread]
    unknown = [item for item in ids if item not in unread]
    sentences = [
        f"{api_view.unread[item]} So {item} does not end. It may be billed at {usd(_listed_price(item, api_view))}."
        for item in unread
    ]
    listed = machines_in(api_view.account.machines_with(unread))
    over = [machine["resource_id"] for machine in listed if _states.is_ending(machine["status"])]
    advice = joined(
        "Run again; if its page stays unreadable, ask the API's support to end it." if unread else "",
        forget_advice(request.host, over) if over else "",
    )
    message = joined(*(api_view.unknown.get(item, "") for item in unknown))
    return joined(*sentences, advice, _unknown_ids(request, unknown, message) if unknown else "")


def _listed_price(resource_id: str, api_view: ApiView) -> float | None:
    """USD per hour by the list of all machines; None if that does not show it."""
    return next((machine["price_per_hour"] for machine, _owner in api_view.account.machines_with([resource_id])), None)


def _unknown_ids(request: EndRequest, ids: t.Sequence[str], message: str) -> str:
    """What to do about ids that the API does not know, which does not prove that they have ended."""
    source = "registry" if {*ids} <= {request.entry.offer_id, *request.entry.resource_ids} else "offer's status"
    begun = seconds_of(request.entry.reaped_at)  # perhaps by a run that was killed before it saw the end
    return joined(
        f"The {source} names {ids_in_words(ids)}, which the API does not know: {message}",
        "" if begun is None else f"A run began to end it at {formatted(begun)}.",
        f"It may still be billed. Is the token of the right account? {forget_advice(request.host, ids)}",
    )


def _end_of(machines: t.Iterable[Machine], request: EndRequest, api_view: ApiView, ids: t.Iterable[str] = ()) -> End:
    """The end of the host's machines. It skips those that are gone, and waits for those that are ending.

    A machine that the API does not show stays, without keeping the others from ending: each of them is proved to be the
    host's by its own page. ``ids``: everything that is known to be the host's, shown or not.
    """
    shown = list(machines)
    known = dict.fromkeys([*ids, *_ids_of(shown)])
    doubts = _in_doubt(request, api_view, known)
    proved = [machine for machine in shown if machine["resource_id"] not in doubts]
    left = not_gone(proved)
    gone = [machine for machine in proved if machine not in left]
    reason = _why_in_doubt(request, api_view, doubts)
    if doubts and not left:
        return nothing_ends(request.host, reason)
    return End(
        Action.END if left else Action.FORGET,
        tuple(left),
        gone=tuple(_ids_of(gone)),
        price_when_gone=add_up(machine["price_per_hour"] for machine in gone).total,
        forgotten=tuple(sorted({*_unlisted(known, api_view.account)} - {*doubts})),
        in_doubt=tuple(doubts),
        reason=reason,
        pending=_is_under_way(request.entry, api_view),
    )


def _ids_of(machines: t.Iterable[Machine]) -> list[str]:
    return [machine["resource_id"] for machine in machines if machine["resource_id"]]


def _contested(request: EndRequest, owned: t.Iterable[Owned]) -> str:
    """Which hosts claim some of these machines together; empty if each has one owner."""
    contested = [item for item in owned if item[1].is_contested]
    hosts = {host for _machine, owner in contested for host in owner.hosts}
    return _contested_by(request.host, hosts, machines_in(contested), ()) if contested else ""


def _is_under_way(entry: Entry, api_view: ApiView) -> bool:
    return api_view.statuses.get(entry.offer_id, {}).get("phase") == _states.GOING_ON


def _billed(owned: t.Iterable[Owned]) -> list[Owned]:
    return [item for item in owned if not _states.is_gone(item[0]["status"])]


def _end_by_offer(request: EndRequest, api_view: ApiView) -> End:
    """The end of a purchase of which only the offer is registered, by a run that did not get as far as its machines."""
    entry, account = request.entry, api_view.account
    status = api_view.statuses.get(entry.offer_id, {})
    named = list(status.get("resource_ids") or ())
    shown = [item for item in account.owned if entry.offer_id == item[0]["offer_id"] or item[0]["resource_id"] in named]
    machines, reason = _purchased(request, status, account, _billed(shown))
    if reason:
        return nothing_ends(request.host, reason)
    storage = {ownership.id_of(item) for item in account.storage_of(entry.offer_id, named)}
    unlisted = [item for item in _unlisted(named, account) if item not in storage]
    if machines:
        return _end_of(machines, request, api_view, unlisted)
    if status.get("phase") is None:
        return _end_of_unknown_offer(request, api_view, status)
    if reason := _why_not_over(request, api_view, unlisted, has_machines=bool(shown)):
        return nothing_ends(request.host, reason)
    return _end_without_machines(request, api_view, tuple(unlisted), is_sold=bool(shown or storage or unlisted))


def _purchased(
    request: EndRequest, status: Status, account: Account, billed: t.Sequence[Owned]
) -> tuple[list[Machine], str]:
    """The machines of these that the host's purchase has bought, and why none may end; empty if they may.

    A confirmed purchase has bought what `holdings` proves; one without an answer, the machines that have its name.
    """
    entry = request.entry
    machines, odd = _proved(request, status, account, billed) if entry.is_made else _named(request, billed)
    return machines, _contested(request, billed) or _disagreement(entry, (), odd)


def _proved(
    request: EndRequest, status: Status, account: Account, billed: t.Iterable[Owned]
) -> tuple[list[Machine], list[_Mismatch]]:
    holdings, contradictions = look_at(request.host, request.entry, status, account).concluded
    odd = [(contradiction.observation.resource or {}, contradiction.why) for contradiction in contradictions]
    # All that is known of a machine without an id is that it was bought with this offer.
    return [machine for machine in machines_in(billed) if (machine["resource_id"] or "") in (*holdings.ids, "")], odd


def _named(request: EndRequest, billed: t.Sequence[Owned]) -> tuple[list[Machine], list[_Mismatch]]:
    own = [machine for machine, owner in billed if owner.hosts == (request.host,)]
    # If none is its own, one that is being deleted may be: until it has ended, it is billed.
    strangers = [machine for machine in unowned(billed) if not (own and _states.is_ending(machine["status"]))]
    return own, [(stranger, STRANGER.format(name=stranger["name"] or "nothing")) for stranger in strangers]


def _why_not_over(request: EndRequest, api_view: ApiView, unlisted: t.Sequence[str], *, has_machines: bool) -> str:
    """Why an offer without a billed machine may not be over; empty if it is.

    ``unlisted``: ids that the offer's status names, but no list.
    """
    entry, phase = request.entry, api_view.statuses.get(request.entry.offer_id, {}).get("phase")
    # An offer that was ready had machines, though the registry may name only storage.
    has_ended = has_machines or (entry.was_ready and phase == _states.ENDED)
    is_bought = phase in (_states.READY, _states.ENDED) and not (has_ended or unlisted)
    # If the purchase was confirmed, but the offer is shown as unbought, the API lags, or the account is another one.
    is_late = entry.is_made and phase in (_states.UNBOUGHT, _states.EXPIRED)
    if is_bought or is_late or (phase == _states.GOING_ON and (unlisted or not has_machines)):
        return _not_listed_yet(request, unlisted)
    return _why_in_doubt(request, api_view, _in_doubt(request, api_view, unlisted))


def _end_of_unknown_offer(request: EndRequest, api_view: ApiView, status: Status) -> End:
    """The end of a purchase whose offer has no readable status."""
    offer_id, message = request.entry.offer_id, str(status.get("msg") or "The offer's status is unknown.")
    if status.get("error_class") != "not_found":
        return nothing_ends(request.host, f"{message} Run again.")
    if offer_id not in request.forget:
        return nothing_ends(request.host, _unknown_ids(request, [offer_id], message))
    return _end_without_machines(request, api_view, (offer_id,))


def _end_without_machines(
    request: EndRequest, api_view: ApiView, forgotten: tuple[str, ...] = (), *, is_sold: bool = False
) -> End:
    """The end of a purchase that has no machine. ``is_sold``: a request under way cannot buy its offer any more."""
    namesakes = [(machine, UNNAMED) for machine in _unowned_namesakes(request, api_view.account)]
    if mismatch := _disagreement(request.entry, (), namesakes):
        return nothing_ends(request.host, mismatch)
    if request.age is not None and request.age < LONGEST_POST and not is_sold:
        minutes = max(1, math.ceil((LONGEST_POST - max(request.age, 0.0)) / 60))
        return nothing_ends(
            request.host,
            f"The API has no machine of offer {request.entry.offer_id}, but its purchase was noted only recently. If"
            f" its run was stopped, the request may still arrive. Run again in {minutes} minutes.",
        )
    owned = api_view.account.of_offer(request.entry.offer_id)
    # Otherwise someone else may have bought the offer, and machines that it still brings are theirs.
    has_bought = request.entry.is_made or any(request.host in owner.hosts for _machine, owner in owned)
    pending = has_bought and _is_under_way(request.entry, api_view)
    return End(Action.FORGET, gone=tuple(_ids_of(machines_in(owned))), forgotten=forgotten, pending=pending)


def _end_by_name(request: EndRequest, api_view: ApiView) -> End:
    """The end of a host without a registry: its name is its identity."""
    billed = _billed(item for item in api_view.account.owned if request.host in item[1].hosts)
    # Machines that are ending already count only if there are no others.
    billed = [item for item in billed if not _states.is_ending(item[0]["status"])] or billed
    if not billed:
        return End(Action.NOTHING)
    machines = machines_in(billed)
    doubt = doubt_about_name(machines) or (
        f"without a registry it may belong to {request.twin}" if request.twin else ""
    )
    trouble = (
        f"The API has {described(machines)} with the name {request.name}: {doubt}. {_BY_ID}, or name one with"
        f" {end_by_id_options([request.host])}."
    )
    reason = _contested(request, billed) or (trouble if doubt else "")
    return nothing_ends(request.host, reason) if reason else _end_of(machines, request, api_view)


def doubt_about_name(machines: t.Sequence[Machine]) -> str:
    """Why the machines that a name proves may not all be the host's; empty without a doubt."""
    offers = {machine["offer_id"] for machine in machines}
    is_in_doubt = len(offers) > 1 or (offers == {None} and len(machines) > 1)
    return "several offers have machines of this name" if is_in_doubt else ""


# Which storage ends with a machine, with all its data: never more than its host, or a person, has asked for


def with_storage(
    request: EndRequest, end: End, kept: t.Iterable[Storage], api_view: ApiView, storage_hosts: t.Container[str] = ()
) -> End:
    """The end with the storage that the host has kept of earlier machines, and which of all its storage ends.

    All storage stays if the host stops, or a machine is in doubt. ``storage_hosts``: see `hosts_ending_only_storage`.
    """
    items = merged_storage(kept, end.storage)
    if end.action is Action.STOP:
        return end
    lost = tuple(item.resource_id for item in items if item.resource_id in request.forget)
    if refuted := [item for item in lost if item not in api_view.unknown]:
        return nothing_ends(
            request.host,
            f"The API may know {ids_in_words(refuted)}, so it cannot be forgotten. Omit decommission_forget, or end it"
            " with its data: -e decommission_storage=end.",
        )
    ids = _storage_to_end(items, is_asked=not request.is_swept) if request.ends_storage and not end.in_doubt else []
    reasons: dict[str, str] = {}
    if ids:
        reasons.update(_held_by_others(api_view.account.claims.values(), request.host, storage_hosts))
        reasons.update(_why_in_use(machines_in(api_view.account.owned), end.ids, items))
    over = tuple(dict.fromkeys((*(item for item in ids if item not in reasons), *lost)))
    spared = {item: reasons[item] for item in ids if item in reasons}
    action = Action.STORAGE if over and end.action is Action.NOTHING else end.action
    return replace(end, action=action, storage=items, storage_ends=over, storage_lost=lost, storage_spared=spared)


def hosts_ending_only_storage(requests: t.Iterable[EndRequest]) -> set[str]:
    """The hosts that have nothing but storage, which ends: their claims keep no other host's storage from ending."""
    return {request.host for request in requests if request.ends_storage and request.entry.is_empty}


def _held_by_others(claims: t.Iterable[OwnershipClaim], host: str, storage_hosts: t.Container[str]) -> dict[str, str]:
    """Why storage that another host also holds does not end, by id. A host's own kept storage has its own claim."""
    by_host = ((claim.storage_of or claim.host, claim) for claim in claims)
    others = (claim for name, claim in by_host if name != host and name not in storage_hosts)
    return {item: f"{holder} also holds it" for item, holder in ownership.holders_of(others, host).items()}


def storage_after_release(
    plan: t.Mapping[str, t.Any],
    items: t.Collection[Storage],
    ended: t.Container[str],
    machines: t.Iterable[Machine] | None,
) -> tuple[str, ...]:
    """The ids of the storage that ends after the machines with the ids ``ended`` were given back.

    ``plan``: see `rows.plan_row`. ``machines``: all of the account; None if they cannot be listed, so that no storage
    ends. Without a registry none ends either, since only a registry proves whose it is.
    """
    if not (plan["ends_storage"] and plan["registry"]) or machines is None:
        return ()
    used = _why_in_use(machines, ended, items)
    return tuple(item for item in _storage_to_end(items, is_asked=False) if item not in used)


def _storage_to_end(items: t.Iterable[Storage], *, is_asked: bool) -> list[str]:
    """The storage that ends if its host ends storage.

    Storage of an earlier machine ends only if a person asks (``is_asked``), or an earlier end could not finish it.
    """
    return [item.resource_id for item in items if is_asked or item.is_to_end or not item.kept_since]


def _why_in_use(machines: t.Iterable[Machine], ended: t.Container[str], items: t.Iterable[Storage]) -> dict[str, str]:
    """Why storage does not end, by id: a machine that goes on uses it, or the API lists it as a machine.

    If the API names the offer that was noted, the storage is the host's, even if the API now calls it a machine.
    """
    bought = {(item.resource_id, item.offer_id) for item in items if item.offer_id}
    live = [item for item in machines if _states.is_machine(item) and _states.is_live(item["status"])]
    others = [machine for machine in live if machine["resource_id"] not in ended]
    odd = [machine for machine in others if (ownership.id_of(machine), ownership.offer_of(machine)) not in bought]
    used = {item: f"a machine uses it: {described([machine])}" for machine in others for item in linked_to(machine)}
    return {**used, **{ownership.id_of(machine): f"it is a machine: {described([machine])}" for machine in odd}}
