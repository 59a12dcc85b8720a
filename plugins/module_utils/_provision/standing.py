# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The standing of a host before the plan: what must be read from registry and API, and what follows from both."""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, replace

from .. import _states
from .._text import (
    abridged,
    applicable,
    end_option,
    grouped,
    ids_in_words,
    items_of,
    joined,
    mapping_of,
    seconds_of,
    usd,
)
from . import holdings, ownership, search
from .declaration import Declaration
from .entry import IDS, Entry
from .holdings import HoldingState, Observation, Proof, PurchaseLook
from .messages import (
    NOTHING_BOUGHT,
    NOTHING_SENT,
    described,
    does_not_fit,
    forget_advice,
    may_be_bought,
    shared_name,
    still_open,
)
from .order import GROUP_OF_RUNS
from .ownership import Account, Kind, Machine, Owned, OwnershipClaim, billed_among, is_one_alive, price_of
from .place import Folder, Place, is_within
from .search import total_of
from .storage import Storage

Status = t.Mapping[str, t.Any]  # an offer's status, as offer_status returns it
Attempts = t.Mapping[str, t.Iterable[t.Mapping[str, t.Any]]]  # earlier attempts in this play, by host


class HostState(enum.Enum):
    """The state of a host before the plan."""

    FREE = "free"  # it has no machine, and may buy one
    OPEN = "open"  # its journal names an offer, and only that offer is settled or bought
    UNDER_WAY = "under way"
    READY = "ready"
    FAILED = "failed"  # bought and failed, and may be billed
    STOP = "stop"  # a person must decide


@dataclass(frozen=True)
class Standing:
    """The state of a host and its resources.

    void: the registry's entry has come to nothing, and may be removed.
    adopted: the machines are taken over by their name, or by the offer that a person named.
    machines: machines that are taken over, or about which a person must decide.
    storage: storage that a void entry leaves behind; None if it was not looked for.
    may_be_made: the purchase has failed, perhaps after it was made.
    brings: storage that came with adopted machines.
    """

    kind: HostState
    offer_id: str = ""
    resource_ids: tuple[str, ...] = ()
    price_per_hour: float | None = None
    reason: str = ""
    void: bool = False
    adopted: bool = False
    machines: tuple[Machine, ...] = ()
    storage: tuple[Storage, ...] | None = None
    may_be_made: bool = False
    brings: tuple[Storage, ...] = ()

    @property
    def owns(self) -> bool:
        """Whether the host has a resource that may be billed."""
        return self.kind in (HostState.UNDER_WAY, HostState.READY, HostState.FAILED)


_FREE = Standing(HostState.FREE)


def stopped(reason: str, standing: Standing = _FREE, **changes: t.Any) -> Standing:
    """Return the standing with these changes, and stopped for this reason: a person must decide."""
    return replace(standing, kind=HostState.STOP, reason=reason, **changes)


# Reads before the plan


@dataclass(frozen=True)
class Observed:
    """Registry entries by host, the statuses of their offers by id, and the account's resources."""

    entries: t.Mapping[str, Entry]
    statuses: t.Mapping[str, dict[str, t.Any]]
    account: Account

    def status(self, host: Declaration) -> Status | None:
        """The status of the offer that the host's entry names."""
        return self.statuses.get(self.entries[host.host].offer_id)


def needs_list(host: Declaration, entry: Entry, status: Status | None) -> bool:
    """Whether a host's plan needs the account's list, in addition to its entry and its offer's status."""
    if entry.is_empty:
        return not host.objections
    phase, named = (status or {}).get("phase"), (status or {}).get("resource_ids") or ()
    return (
        not entry.resource_ids
        or bool(entry.missing_since)
        # Further ids in the status may belong to someone else, which only the list may show.
        or not {*entry.resource_ids, *(item.resource_id for item in entry.storage)}.issuperset(named)
        or phase not in (_states.READY, _states.GOING_ON, _states.UNBOUGHT)
    )


def ids_to_read(hosts: t.Iterable[Declaration], observed: Observed) -> set[str]:
    """Return the ids that must be read before the plan: `ids_that_decide`, and all ids of failed and ended offers."""
    ids: set[str] = set()
    for host in hosts:
        entry, status = observed.entries[host.host], observed.status(host) or {}
        if needs_list(host, entry, status):
            ids |= ids_that_decide(host, entry, observed.account)
        if status.get("phase") in (_states.FAILED, _states.ENDED):
            ids.update(entry.resource_ids, status["resource_ids"])
    return ids


def ids_that_decide(host: Declaration, entry: Entry, account: Account) -> set[str]:
    """Return the ids of listed machines that decide whether a host is free or adopts one.

    A list lags behind ends, also our own, so these machines are read one by one. If the host may adopt them, so is the
    storage that they use, which a list may omit.
    """
    listed = [*account.named(host.name), *account.of_offer(entry.offer_id or host.offer_id)]
    listed += account.machines_with((*entry.resource_ids, host.listed_id))
    linked = {item for machine, _owner in listed if host.adopt for item in holdings.linked_to(machine)}
    live = {ownership.id_of(machine) for machine, _owner in listed if not _states.is_gone(machine["status"])}
    return live.union(linked) - {""}


def without_ended(machines: t.Iterable[Kind], attempts: Attempts) -> list[Kind]:
    """Return the listed machines without those that this play has ended; a list may still have them."""
    ended = {item for of_host in attempts.values() for one in of_host or () for item in one.get("ended") or ()}
    return [machine for machine in machines if machine["resource_id"] not in ended]


def is_unchanged(entry: Entry, now: Entry) -> bool:
    """Whether the host's purchase in the registry is the same as when it was read for the plan."""
    return all(getattr(entry, name) == getattr(now, name) for name in ("offer_id", "resource_ids", "journaled_at"))


def offers_of(entries: t.Iterable[Entry]) -> dict[str, tuple[str, ...]]:
    """Return the offers that hosts have or may have bought, whose statuses must be read, with their noted ids."""
    return {entry.offer_id: entry.resource_ids for entry in entries if entry.offer_id and not entry.is_refused}


def shadowed_files(host: Declaration, is_file: t.Callable[[str], bool]) -> str:
    """Return the message if the registry's folder would hide a file with the host's own variables; else empty.

    Ansible does not read a file next to a folder of the same name, so ceilings in it would be lost.
    """
    names = (f"{host.registry.text}/{host.host}{end}" for end in (".yml", ".yaml", ".json"))
    files = list(filter(is_file, names)) if host.registry_file else []
    return (
        f"Ansible would no longer read {', '.join(files)}, since the registry makes a folder of that name. Move it into"
        " that folder, for example as main.yml."
        if files
        else ""
    )


def registry_lost_with_job(host: Declaration, by_job: bool, folders: t.Iterable[str]) -> str:
    """Return the message if a job of AWX (``by_job``) has its registry in one of its ``folders``; else empty."""
    return (
        f"This is a job of AWX, which loses {host.registry.text} at its end: nothing would remember the machine, or end"
        " its lease. Let jobs share a registry (provision_registry_url), or set provision_registry_dir in the"
        ' variables of the inventory: to a folder that stays, or to "" for none.'
        if host.registry_file and by_job and is_within(host.registry.text, folders)
        else ""
    )


def bought_elsewhere(
    host: str, project: str, own: Place, places: t.Iterable[Place], entry_in: t.Callable[[Place], Entry]
) -> t.Iterator[str]:
    """Yield messages about purchases of a host that other folders than its ``own`` registry remember.

    places: the registries where it may have been remembered before, or which other hosts of the play have.
    entry_in: reads the host's entry in a place; raises ValueError.
    """
    of_another_account = f"of another account, add -e provision_registry_dir={own.text}."
    others = (item for item in dict.fromkeys(places) if isinstance(item, Folder) and item != own)
    for place in others if own.entry_file(host) else ():
        try:
            entry = entry_in(place)
        except ValueError as error:
            yield (
                f"{error} This play has another registry, but {host} may have a machine in that one. Correct it. If it"
                f" is {of_another_account}"
            )
            continue
        if entry.may_have_bought and not entry.is_of_another_project(project):
            yield (
                f"{place.entry_place(host)} says that {host} has offer {entry.offer_id or 'unknown'} at"
                f" {usd(entry.price_per_hour)}, and this play's registry is {own.text}. For that machine, add -e"
                f" provision_registry_dir={place.text}. For one more, add -e provision_project=<name>. If that entry is"
                f" {of_another_account}"
            )


def known_nearby(
    entries: t.Iterable[tuple[Place, str, Entry]], concerns: t.Callable[[Place], object] = bool
) -> t.Iterator[str]:
    """Yield a warning for each folder that has machines, but is no registry of this run.

    entries: by their places and hosts. concerns: whether a place matters to this run.
    """
    bought = grouped((place, host) for place, host, entry in entries if entry.may_have_bought)
    for place, hosts in bought.items():
        if concerns(place):
            yield (
                f"{place.text} has machines of {abridged(hosts)}, and is no registry of this run. For those, give their"
                f" inventory (-i), or add -e provision_registry_dir={place.text}."
            )


# The standing


def standing_of(host: Declaration, entry: Entry, status: Status | None, account: Account) -> Standing:
    """Return where the host stands. ``status``: of the offer that its entry names; None if it names none."""
    if rivals := account.rivals.get(host.host, ()):
        return stopped(claimed_twice(host.host, rivals, entry.offer_id, entry.resource_ids))
    if not entry.may_have_bought:
        return _unregistered(host, account, void=not entry.is_empty)
    if not entry.offer_id:
        return stopped(
            f"The registry entry of {host.host} names machine {ids_in_words(entry.resource_ids)}, but no offer. Add its"
            f" provision_procured_offer_id: compute_index.supply.resource_info shows it. {NOTHING_SENT}"
        )
    if entry.is_missing and not account.machines_with(entry.resource_ids):
        return stopped(
            f"The machine of {host.host} is MISSING since {entry.missing_since}: the API finds"
            f" {ids_in_words(entry.resource_ids)} ({usd(entry.price_per_hour)}) neither by id nor in its list. It may"
            f" be billed, so nothing else was bought. Ask the vendor. {forget_advice(host.host, entry.resource_ids)}"
        )
    result = _registered(host, entry, status or {}, account)
    if result.kind is HostState.OPEN and host.by_name:
        # Only this run of Ansible knows of the purchase, so no later answer could prove what another one has bought.
        return stopped(
            f"{still_open(host.host, entry.offer_id, entry.price_per_hour, result.resource_ids)} Do not buy another"
            " offer instead. There is no registry, so a later run finds the machine by its name: run again later.",
            result,
        )
    return result


def claim_of_host(host: Declaration, entry: Entry) -> OwnershipClaim:
    """Return the claim of a host of the play, with the offer whose machines a person lets it adopt."""
    adopts = host.offer_id if host.adopt else ""
    name = _ordered_name(host, entry)
    return ownership.claim_of(host.host, name, entry, by_name=host.by_name or host.adopt, adopts=adopts)


def _ordered_name(host: Declaration, entry: Entry) -> str:
    """The name of the host's machine; of an unanswered purchase the name with which it was sent."""
    return entry.name if entry.is_unanswered and entry.name else host.name


def look_at(host: str, entry: Entry, status: Status, account: Account) -> PurchaseLook:
    """Return the resources of the purchase that a host's entry names."""
    named = tuple(dict.fromkeys(str(item).lower() for item in status.get("resource_ids") or ()))
    owned = [*account.of_offer(entry.offer_id), *account.machines_with((*entry.resource_ids, *named))]
    machines = ownership.machines_in(owned)
    ids = {*entry.resource_ids, *named, *(item for machine in machines for item in holdings.linked_to(machine))}
    storage = {item.resource_id for item in entry.storage}
    resources = [*machines, *account.storage_of(entry.offer_id, ids | storage)]
    listed = {ownership.id_of(item): item for item in resources if ownership.id_of(item)}
    # If two registry entries name an id, `rivals` says so.
    others = {*listed, *ids}.difference(entry.resource_ids)
    return PurchaseLook(
        entry.offer_id,
        entry.resource_ids,
        named,
        seconds_of(entry.journaled_at),
        listed=listed,
        read=account.read,
        holders={item: account.holder_of(item, host) for item in others},
        listed_before=entry.listed_before,
        storage=storage,
    )


def storage_bought(entry: Entry, look: PurchaseLook, *, has_bought: bool = True) -> tuple[Storage, ...]:
    """Return the storage of a host's purchase: noted, or bought by the rule of `holdings`.

    ``has_bought``: whether the host itself has certainly bought the offer.
    """
    return look.storage_with(look.concluded[0].storage if has_bought else (), entry.storage, entry.offer)


def ids_to_prove(entries: t.Mapping[str, Entry], statuses: t.Mapping[str, Status], account: Account) -> frozenset[str]:
    """Return the ids that must be read to decide what these hosts hold; an ordinary purchase has none."""
    looks = (
        look_at(host, entry, statuses.get(entry.offer_id, {}), account)
        for host, entry in entries.items()
        if entry.offer_id and not entry.is_open and not entry.is_refused
    )
    return frozenset(item for look in looks for item in look.ids_to_prove)


def _registered(host: Declaration, entry: Entry, status: Status, account: Account) -> Standing:
    phase = status.get("phase")
    look = look_at(host.host, entry, status, account)
    standing = Standing(HostState.UNDER_WAY, entry.offer_id, look.named or entry.resource_ids, entry.price_per_hour)
    if phase is None:
        return _unknown(host, entry, status, standing, account)
    if entry.is_open:
        return _opened(host, entry, phase, standing, account)
    held, contradictions = look.concluded
    standing = replace(standing, resource_ids=held.billable)
    if contradictions:
        text = holdings.disagreed(host.host, entry.offer_id, entry.price_per_hour, held.ids, contradictions)
        return stopped(text, standing, resource_ids=held.ids)
    if phase == _states.READY:
        return replace(standing, kind=HostState.READY) if status.get("ready") and not held.pending else standing
    if phase == _states.EXPIRED:
        return _contradicted(host, entry, standing, "it has expired unbought", _shown(entry, account))
    over = {_states.ENDED: _ended, _states.FAILED: _failed}.get(phase)
    # After a purchase that succeeded, the status "unbought" only lags.
    return over(host, entry, standing, look, account) if over else standing


def _contradicted(host: Declaration, entry: Entry, standing: Standing, reason: str, left: list[Machine]) -> Standing:
    """The registry says that the machine was bought, but the API contradicts it for this reason.

    ``left``: machines of the purchase that it shows nevertheless.
    """
    place = host.registry.entry_place(host.host)
    file = f" The registry file is {place}." if place else ""
    advice = f"Does the token belong to the account that bought it? {forget_advice(host.host, entry.resource_ids)}"
    if left:
        reason += f", while the list has {described(left)}"
        advice = f"To end it: compute_index.supply.decommission {end_option([host.host])}."
    return stopped(
        f"The registry says that {host.host} has bought offer {entry.offer_id} (machine"
        f" {ids_in_words(entry.resource_ids)}), but {reason}. The machine may be billed nevertheless, so nothing else"
        f" was bought. {advice}{file}",
        standing,
    )


def _failed(host: Declaration, entry: Entry, standing: Standing, look: PurchaseLook, account: Account) -> Standing:
    billable = _billable(look, look.concluded[0].billable, account)
    if billable == ():
        return _void(host, entry, look, account, has_bought=True)
    return replace(standing, kind=HostState.FAILED, resource_ids=billable or standing.resource_ids)


def _void(host: Declaration, entry: Entry, look: PurchaseLook, account: Account, *, has_bought: bool) -> Standing:
    """Return the standing after a purchase that is over. ``has_bought``: its remaining storage is certainly ours."""
    storage = storage_bought(entry, look, has_bought=has_bought)
    return replace(_unregistered(host, account, void=True), storage=storage, may_be_made=has_bought)


def _ended(host: Declaration, entry: Entry, standing: Standing, look: PurchaseLook, account: Account) -> Standing:
    """The standing if all machines have ended by the status, unless the list and a machine's own page deny it."""
    machines = filter(_states.is_machine, look.listed.values())
    left = [machine for machine in machines if not _states.is_gone(machine["status"]) and account.shows(machine)]
    if not left:
        return _void(host, entry, look, account, has_bought=True)
    return _contradicted(host, entry, standing, "its status says that everything has ended", left)


def _shown(entry: Entry, account: Account) -> list[Machine]:
    """Return the machines of an entry that may be billed, by the list and by their own pages."""
    return list(filter(account.shows, ownership.machines_in(billed_among(account.machines_with(entry.resource_ids)))))


def _unknown(host: Declaration, entry: Entry, status: Status, standing: Standing, account: Account) -> Standing:
    """The standing if the offer's status cannot be read, or the API does not know the offer."""
    reason = str(status.get("msg") or "its status was not requested.")
    if status.get("error_class") != "not_found":
        return stopped(
            f"The status of offer {entry.offer_id}, which the registry names for {host.host}, cannot be read: {reason}"
            f" {may_be_bought(standing.price_per_hour, standing.resource_ids)} Nothing else was bought. Run again.",
            standing,
        )
    if entry.is_open:
        return replace(standing, kind=HostState.OPEN)
    return _contradicted(host, entry, standing, "the API does not know it", _shown(entry, account))


def _opened(host: Declaration, entry: Entry, phase: str, standing: Standing, account: Account) -> Standing:
    """The standing of an open purchase. If it cannot be decided here, procure_offer settles it."""
    if phase in (_states.UNBOUGHT, _states.EXPIRED):
        return _opened_unbought(host, entry, standing, account)
    owned = account.of_offer(entry.offer_id)
    owners = _owners(owned)
    others = sorted({*owners, *account.buyers(entry.offer_id)} - {host.host})
    if others and host.host in owners:
        return stopped(claimed_twice(host.host, others, entry.offer_id, standing.resource_ids), standing)
    if others:
        # Another known host was faster.
        return _unregistered(host, account, void=True)
    proved = [machine for machine, owner in owned if owner.hosts] or _namesakes(host, entry, account)
    strangers = [machine for machine in ownership.unowned(owned) if machine["name"]]
    if not proved and not host.adopt:
        return _opened_unproved(host, entry, phase, standing, account, strangers)
    listed = _ids(proved or strangers)
    kind = HostState.FAILED if phase == _states.FAILED else HostState.UNDER_WAY
    return replace(standing, kind=kind, resource_ids=listed or standing.resource_ids, adopted=not proved)


def _opened_unbought(host: Declaration, entry: Entry, standing: Standing, account: Account) -> Standing:
    """The standing if the offer is unbought or expired; another controller may have bought a different one."""
    other = _unregistered(host, account, void=False)
    if not other.machines:
        return replace(standing, kind=HostState.OPEN)
    text = still_open(host.host, entry.offer_id, entry.price_per_hour, entry.resource_ids)
    reason = joined(other.reason, text) if other.reason else ""
    return replace(other, reason=reason, void=other.owns and other.offer_id != entry.offer_id)


def _opened_unproved(
    host: Declaration, entry: Entry, phase: str, standing: Standing, account: Account, strangers: list[Machine]
) -> Standing:
    """The standing if the offer is bought, but no machine is proved to be the host's."""
    if strangers and not entry.is_unanswered:
        # Every purchase of ours was refused; procure_offer decides what follows.
        return replace(standing, kind=HostState.OPEN)
    if strangers:
        name = _ordered_name(host, entry)
        reason = bought_by_another(host, name, entry.offer_id, strangers, was_sent=True)
        return stopped(reason, standing, machines=tuple(strangers))
    look = look_at(host.host, entry, {"resource_ids": standing.resource_ids}, account)
    if phase == _states.FAILED and _billable(look, look.ids, account) == ():
        return _void(host, entry, look, account, has_bought=entry.is_unanswered)
    return replace(standing, kind=HostState.OPEN)


def _namesakes(host: Declaration, entry: Entry, account: Account) -> list[Machine]:
    """Return machines of the host's name that its unanswered purchase has bought, though they name no offer."""
    noted_at, name = seconds_of(entry.journaled_at), _ordered_name(host, entry)
    named = [
        (machine, Observation(ownership.id_of(machine), Proof.NAME, machine, next(iter(owner.hosts), "")))
        for machine, owner in account.named(name)
        if entry.is_unanswered and ownership.is_named(machine, name)
    ]
    states = ((machine, holdings.what_is_held(item, entry.offer_id, noted_at)[0]) for machine, item in named)
    return [machine for machine, state in states if state is HoldingState.HELD]


def _billable(look: PurchaseLook, ids: tuple[str, ...], account: Account) -> tuple[str, ...] | None:
    """Return the ids of a failed offer that may still be billed; None if they cannot be read."""
    return None if account.machines is None else look.left_of(ids)


def _unregistered(host: Declaration, account: Account, *, void: bool) -> Standing:
    """The standing of a host without a purchase in the registry: a machine may have its name."""
    free = replace(_FREE, void=void)
    if account.machines is None:
        text = f"The machines of the account cannot be listed, so {host.host} may have one already. {NOTHING_BOUGHT}"
        return stopped(account.unreadable or text, free)
    named = account.named(host.name)
    bought = [] if named else billed_among(account.of_offer(host.offer_id))
    if unread := [machine for machine, _owner in named or bought if not account.shows(machine)]:
        # The entry stays as well: one of them may belong to it.
        return stopped(
            f"The list of machines has {described(unread)} for {host.host}, but its own page cannot be read. Either the"
            " list or the page is outdated. Nothing was bought or taken over. Run again in a minute.",
            machines=tuple(unread),
        )
    if taken := _adoptable(host, named, bought):
        return _adopted(host, ownership.machines_in(taken), _others(host, taken), account, void=void)
    if others := _others(host, named):
        return stopped(shared_name(host.name, others), free)
    if unclaimed := tuple(ownership.unowned(named)):
        return stopped(unregistered_namesake(host, unclaimed), free, machines=unclaimed)
    if bought:
        strangers = ownership.machines_in(bought)
        reason = bought_by_another(host, host.name, host.offer_id, strangers, was_sent=False)
        return stopped(joined(reason, host.advice), free)
    if listed := billed_among(account.machines_with([host.listed_id])):
        return stopped(listed_under_another_name(host, ownership.machines_in(listed)), free)
    # Perhaps only its machine made it a host, and no file asks for another one. `decommission` clears these ids.
    known = host.known.get(IDS)
    if host.listed_id and (known is None or host.listed_id in map(str, items_of(known))):
        ended = f"The machine of {host.host} has ended since the inventory was read, or another account has it."
        again = "If it is to have another one, run again, with --flush-cache if the inventory is cached."
        return stopped(f"{ended} {NOTHING_BOUGHT} {again}", free)
    return free


def _adoptable(host: Declaration, named: list[Owned], bought: list[Owned]) -> list[Owned]:
    """Return the machines that the host takes over, by its name or by the offer that a person lets it adopt.

    Only offers with a live machine count, with their failed machines, which may also be billed; without any, all.
    """
    machines = named or bought if host.adopt else named if host.by_name else []
    alive = {ownership.offer_of(machine) for machine, _owner in machines if _states.is_live(machine["status"])}
    return [owned for owned in machines if ownership.offer_of(owned[0]) in alive] or machines


def _owners(machines: t.Iterable[Owned]) -> set[str]:
    return {name for _machine, owner in machines for name in owner.hosts}


def _others(host: Declaration, machines: t.Iterable[Owned]) -> list[str]:
    return sorted(_owners(machines) - {host.host})


def _ids(machines: t.Iterable[Machine]) -> tuple[str, ...]:
    return tuple(machine["resource_id"] for machine in machines if machine["resource_id"])


def _adopted(
    host: Declaration, machines: list[Machine], others: list[str], account: Account, *, void: bool
) -> Standing:
    """The standing of a host that takes over these machines, if they fit and no other host claims them."""
    offers = set(map(ownership.offer_of, machines))
    ids, others = _ids(machines), sorted({*others, *account.claimants(offers)} - {host.host})
    brings = () if host.by_name else brought_with(host.host, offers, ids, account)
    price = total_of([price_of(machines), *(item.price_per_hour for item in brings)])
    failed = not is_one_alive(machines)
    mismatch = "" if failed else _unfit(host, machines, price)
    reasons = applicable(
        {
            claimed_twice(host.host, others, "", ids): others,
            f"Several offers have machines called {host.name}: {described(machines)}. {NOTHING_BOUGHT} End those of"
            " all offers but one by their ids (compute_index.supply.delete_resource).": len(offers) > 1,
            f"There is a machine called {host.name}, but the API does not name its offer: {described(machines)}."
            f" {NOTHING_BOUGHT} End it by its id (compute_index.supply.delete_resource), or set another"
            " provision_resource_name.": offers == {""},
            does_not_fit(host.host, host.name, machines, mismatch): mismatch,
        }
    )
    if reasons:
        return stopped(reasons[0], void=void, machines=() if others else tuple(machines))
    kind = HostState.FAILED if failed else HostState.UNDER_WAY
    return Standing(kind, offers.pop(), ids, price, void=void, adopted=True, machines=tuple(machines), brings=brings)


def brought_with(host: str, offers: t.Collection[str], ids: tuple[str, ...], account: Account) -> tuple[Storage, ...]:
    """Return the storage bought with these machines of one offer, as if the registry had noted them."""
    entry = Entry("".join(offers), ids)
    return storage_bought(entry, look_at(host, entry, {}, account)) if len(offers) == 1 and entry.offer_id else ()


def _unfit(host: Declaration, machines: list[Machine], price: float | None) -> str:
    """Return why machines of the host's name do not fit its declaration, or an empty text."""
    if price is not None and not search.passes_max_price(price, host.max_price_per_hour):
        return f"it costs {usd(price)}, above {host.ceiling}"
    own = dict(mapping_of(machines[0].get("spec")))
    if len(machines) > 1:
        own.pop("gpu_count", None)  # it counts one machine, the search counts all
    return search.mismatch_with_all(host.choices, {**own, "vendor": machines[0].get("vendor")})


# Messages: reasons for a person to decide, and adopted machines


def claimed_twice(host: str, others: t.Iterable[str], offer_id: str, ids: t.Sequence[str]) -> str:
    """The message if several hosts claim one machine or offer."""
    parts = [f"offer {offer_id}" if offer_id else "", f"machine {ids_in_words(ids)}" if ids or not offer_id else ""]
    return (
        f"{host} and {', '.join(others)} claim the same {' with '.join(filter(None, parts))}, which belongs to one"
        " host. Nothing was bought or changed. Remove the registry entry, provision_offer_id or provision_resource_name"
        " of every host that does not own it."
    )


_OF_A_RUN = "A run takes no machine over: choose another run_name"


def unregistered_namesake(host: Declaration, machines: t.Iterable[Machine]) -> str:
    """The message if a machine has the host's name, but the host's registry does not know it."""
    here = (
        f" If you bought it from another folder, its registry is there, and not in {host.registry.text}: run there, or"
        " add -e provision_registry_dir=<that registry>."
        if host.registry_file  # a shared registry is the same for all controllers
        else ""
    )
    advice = (
        f" {_OF_A_RUN}, or end this one by its id."
        if GROUP_OF_RUNS in host.groups
        else f" If it is {host.host}'s and no registry has it, set provision_adopt: true."
        " If it is someone else's, or you want one more, set a provision_project or another provision_resource_name."
    )
    return (
        f"There is a machine called {host.name} that the registry of {host.host} does not know: {described(machines)}."
        f" Nothing was bought.{here}{advice}"
    )


def listed_under_another_name(host: Declaration, machines: t.Iterable[Machine]) -> str:
    """The message if the inventory plugin lists a machine as this host, but the machine has another name.

    Every run would buy one more machine for each listed one.
    """
    return (
        f"The inventory plugin lists a machine as {host.host}: {described(machines)}. But a machine that is bought for"
        f" this host is called {host.name}, so it would get a second one. {NOTHING_BOUGHT} Keep running machines out of"
        " the groups for which machines are bought (groups and keyed_groups of the plugin), or give them other names"
        " than these hosts have (hostname, project)."
    )


def bought_by_another(
    host: Declaration, name: str, offer_id: str, machines: t.Iterable[Machine], *, was_sent: bool
) -> str:
    """The message if the host's offer is bought, but its machines have another name than the host's."""
    sent = " A purchase for this host was never answered, so it may be this host's." if was_sent else ""
    adopt = _OF_A_RUN if GROUP_OF_RUNS in host.groups else "If it is this host's, set provision_adopt: true"
    return (
        f"Offer {offer_id} of {host.host} is bought, but none of its machines is called {name}: {described(machines)}."
        f"{sent} Nothing was bought. {adopt}; if it is not this host's, remove"
        f" {'the registry entry' if was_sent else 'provision_offer_id'}."
    )


def what_is_adopted(host: Declaration, machines: t.Sequence[Machine], offer_id: str, *, would: bool) -> str:
    """The message about machines that a host takes over by its name, or that its unanswered purchase may have bought.

    Says if they have no lease: a registry entry that was lost may have noted one. ``would``: it is only shown, in check
    mode or by a quote.
    """
    takes = f"{host.host} {'would take over' if would else 'takes over'}"
    if not machines:
        return f"{takes} the machines of its offer {offer_id}, since provision_adopt is set."
    unleased = (
        "It declares no lease (provision_lease), and one that was noted before is not known: nothing ends them, unless"
        f" you set an end: compute_index.supply.extend -e extend_hosts={host.host} -e extend_until=<time>."
    )
    return joined(f"{takes} {described(machines)} by its name.", "" if host.lease or host.by_name else unleased)


def differing_databases(fingerprint: str, others: str) -> str:
    """The message if hosts of a play have different registries, by fingerprints of their URLs; else empty."""
    if fingerprint == others:
        return ""
    return "The hosts of a play share one registry, and these have different values of provision_registry_url."
