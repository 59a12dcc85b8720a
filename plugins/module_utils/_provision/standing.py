# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host stands: what must be asked of registry and API, and what both say together, before a plan."""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, replace

from .. import _states
from .._text import applicable, ids_in_words, joined, mapping_of, seconds_of, usd
from . import holdings, ownership, search
from .declaration import Declaration
from .entry import Entry
from .holdings import HoldingState, Observation, Proof, PurchaseLook
from .messages import (
    NOTHING_BOUGHT,
    NOTHING_SENT,
    described,
    does_not_fit,
    if_gone,
    may_be_bought,
    shared_name,
    still_open,
)
from .order import GROUP_OF_RUNS
from .ownership import Account, Kind, Machine, Owned, OwnershipClaim, billed_among, is_one_alive, price_of
from .place import Folder, Place, is_within
from .search import UNLIMITED, total_of
from .storage import Storage

Status = t.Mapping[str, t.Any]  # one offer as offer_status answers it


# What hosts have tried before in this play, by their names
Attempts = t.Mapping[str, t.Iterable[t.Mapping[str, t.Any]]]


class HostState(enum.Enum):
    """What can be done for a host."""

    FREE = "free"  # it has no machine, and may buy one
    OPEN = "open"  # its journal names an offer: that very one is settled or bought
    UNDER_WAY = "under way"
    READY = "ready"
    FAILED = "failed"  # bought, failed, and possibly billed
    STOP = "stop"  # a person must decide


@dataclass(frozen=True)
class Standing:
    """``price`` is in USD per hour. ``void``: the registry's entry has come to nothing, and may be removed.

    ``machines``: those that were taken over, or because of which a person must decide. ``storage``: what a void entry
    leaves behind, None if that was not looked for. ``may_be_made``: its purchase was never answered, and has failed,
    perhaps after it was made.
    ``brings``: the storage that came with what is taken over by its name.
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
        """Whether the host has something that is or may be billed."""
        return self.kind in (HostState.UNDER_WAY, HostState.READY, HostState.FAILED)


_FREE = Standing(HostState.FREE)


def stopped(reason: str, stands: Standing = _FREE, **changes: t.Any) -> Standing:
    """That of a host for which a person must decide, and that ``stands`` so otherwise, with these changes."""
    return replace(stands, kind=HostState.STOP, reason=reason, **changes)


# What must be asked


@dataclass(frozen=True)
class Observed:
    """All that was asked: entries by hosts, the statuses of their offers by ids, and the account's machines."""

    entries: t.Mapping[str, Entry]
    statuses: t.Mapping[str, dict[str, t.Any]]
    account: Account

    def status(self, host: Declaration) -> Status | None:
        """The status of the offer that the host's entry names."""
        return self.statuses.get(self.entries[host.host].offer_id)


def asks_for_the_list(host: Declaration, entry: Entry, status: Status | None) -> bool:
    """Whether neither its declaration nor its offer's status says all that there is to know of a host."""
    if entry.is_empty:
        return not host.objections
    phase, named = (status or {}).get("phase"), (status or {}).get("resource_ids") or ()
    return (
        not entry.resource_ids
        or bool(entry.missing_since)
        # What is named beside them may be another's, and only the list may say so.
        or not {*entry.resource_ids, *(item.resource_id for item in entry.storage)}.issuperset(named)
        or phase not in (_states.READY, _states.GOING_ON, _states.UNBOUGHT)
    )


def ids_to_read(hosts: t.Iterable[Declaration], observed: Observed) -> set[str]:
    """The ids that are read before anything is decided: those that decide, and those of failed offers."""
    ids: set[str] = set()
    for host in hosts:
        entry, status = observed.entries[host.host], observed.status(host) or {}
        if asks_for_the_list(host, entry, status):
            ids |= decisive(host, entry, observed.account)
        if status.get("phase") in (_states.FAILED, _states.ENDED):
            ids.update(entry.resource_ids, status["resource_ids"])
    return ids


def decisive(host: Declaration, entry: Entry, account: Account) -> set[str]:
    """The ids of listed machines by which it is decided that a host without a running purchase is free, or takes one.

    A list lags behind an end, also of our own, so these are read by themselves. With them the storage that they use,
    which a list may leave out, if the host may adopt them.
    """
    shown = [*account.named(host.name), *account.of_offer(entry.offer_id or host.offer_id)]
    shown += account.machines_with((*entry.resource_ids, host.listed_id))
    linked = {item for machine, _owner in shown if host.adopt for item in holdings.linked_to(machine)}
    live = {ownership.id_of(machine) for machine, _owner in shown if not _states.is_gone(machine["status"])}
    return live.union(linked) - {""}


def without_ended(machines: t.Iterable[Kind], attempts: Attempts) -> list[Kind]:
    """The listed machines without those that this play has ended, which a list may still have."""
    ended = {item for tried in attempts.values() for one in tried or () for item in one.get("ended") or ()}
    return [machine for machine in machines if machine["resource_id"] not in ended]


def is_as_read(entry: Entry, now: Entry) -> bool:
    """Whether the registry says of a host's purchase what it said when it was read for the plan."""
    return all(getattr(entry, name) == getattr(now, name) for name in ("offer_id", "resource_ids", "journaled_at"))


def offers_of(entries: t.Iterable[Entry]) -> set[str]:
    """The offers that hosts have, or may still buy: their statuses tell what became of them."""
    return {entry.offer_id for entry in entries if entry.offer_id and not entry.is_refused}


def shadowed_files(host: Declaration, is_there: t.Callable[[str], bool]) -> str:
    """The host's own variables, ceilings and all, in a file that Ansible reads no more beside a folder of that name.

    Empty if there is no such file. ``is_there``: whether there is a file of this path.
    """
    names = (f"{host.registry.text}/{host.host}{end}" for end in (".yml", ".yaml", ".json"))
    files = list(filter(is_there, names)) if host.registry_file else []
    return (
        f"{', '.join(files)} would not be read any more: Ansible reads the folder of that name instead, where the"
        " registry is kept. Move it there, for example as main.yml."
        if files
        else ""
    )


def forgotten_with_job(host: Declaration, by_job: bool, folders: t.Iterable[str]) -> str:
    """That a registry in one of the ``folders`` of a job of AWX (``by_job``) is lost with it; empty for any other."""
    return (
        f"This is a job of AWX, which loses {host.registry.text} at its end: nothing would remember the machine, or end"
        " its lease. Let jobs share a registry (provision_registry_url), or set provision_registry_dir among the"
        ' variables of the inventory: to a folder that stays, or to "" for none.'
        if host.registry_file and by_job and is_within(host.registry.text, folders)
        else ""
    )


def bought_elsewhere(
    host: Declaration, wanted: t.Any, here: str, entry_in: t.Callable[[Place], Entry]
) -> t.Iterator[str]:
    """What a host without an entry has, or may have, by the usual registries, if nothing was said of its own.

    One is for plays without an inventory, which remember hosts in the folder ``here`` where Ansible was started; the
    other for an inventory in its usual folder there. ``wanted``: provision_registry_dir, None if it was not given.
    ``entry_in``: reads the host's entry in a place; raises ValueError.
    """
    usual = (Folder(f"{here}/host_vars"), Folder(f"{here}/inventory/host_vars"))
    of_another_account = f"of another account, add -e provision_registry_dir={host.registry.text}."
    for place in (item for item in usual if wanted is None and host.registry_file and item != host.registry):
        try:
            entry = entry_in(place)
        except ValueError as error:
            yield (
                f"{error} That is another registry than this play's, and {host.host} may have a machine by it. Correct"
                f" it. If it is {of_another_account}"
            )
            continue
        if entry.may_have_bought and not entry.is_of_another_project(host.project):
            yield (
                f"{place.entry_place(host.host)} says that {host.host} has offer {entry.offer_id or 'unknown'} at"
                f" {usd(entry.price_per_hour)}, and this play would remember it in {host.registry.text}. For that"
                f" machine, add -e provision_registry_dir={place.text}. For one more, add -e provision_project=<name>."
                f" If that entry is {of_another_account}"
            )


# What both say


def standing_of(host: Declaration, entry: Entry, status: Status | None, account: Account) -> Standing:
    """Where the host stands. ``status`` is that of the offer which its entry names, None if it names none."""
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
            f" be billed, so nothing else was bought. Ask the vendor. {if_gone(host.host, entry.resource_ids)}"
        )
    result = _registered(host, entry, status or {}, account)
    if result.kind is HostState.OPEN and host.by_name:
        # Only this run of Ansible knows of it, so nothing could tell what another purchase of it would be answered.
        return stopped(
            f"{still_open(host.host, entry.offer_id, entry.price_per_hour, result.resource_ids)} Do not buy another"
            " offer instead. There is no registry, so a later run finds what was bought by its name: run again then.",
            result,
        )
    return result


def claim_of_host(host: Declaration, entry: Entry) -> OwnershipClaim:
    """What a host of the play claims, with what a person lets it take over."""
    adopts = host.offer_id if host.adopt else ""
    name = _ordered_name(host, entry)
    return ownership.claim_of(host.host, name, entry, by_name=host.by_name or host.adopt, adopts=adopts)


def _ordered_name(host: Declaration, entry: Entry) -> str:
    """The name of its machine: that of a purchase that was not answered is the one that it was sent with."""
    return entry.name if entry.is_unanswered and entry.name else host.name


def look_at(host: str, entry: Entry, status: Status, account: Account) -> PurchaseLook:
    """What is known of the purchase that the entry of a host names."""
    named = tuple(dict.fromkeys(str(item).lower() for item in status.get("resource_ids") or ()))
    owned = [*account.of_offer(entry.offer_id), *account.machines_with((*entry.resource_ids, *named))]
    machines = ownership.machines_in(owned)
    beside = {*entry.resource_ids, *named, *(item for machine in machines for item in holdings.linked_to(machine))}
    noted = {item.resource_id for item in entry.storage}
    resources = [*machines, *account.storage_of(entry.offer_id, beside | noted)]
    listed = {ownership.id_of(item): item for item in resources if ownership.id_of(item)}
    # Of what two registry entries name `rivals` tells.
    others = {*listed, *beside}.difference(entry.resource_ids)
    holders = {item: account.holder_of(item, host) for item in others}
    about = listed, account.read, holders, entry.listed_before, noted
    return PurchaseLook(entry.offer_id, entry.resource_ids, named, seconds_of(entry.journaled_at), *about)


def storage_bought(entry: Entry, look: PurchaseLook, *, has_bought: bool = True) -> tuple[Storage, ...]:
    """What the purchase of a host has bought beside machines, by the rule of `holdings`, and what is noted of it.

    ``has_bought``: whether the host itself has bought the offer for certain.
    """
    return look.storage_with(look.concluded[0].storage if has_bought else (), entry.storage, entry.offer)


def ids_to_prove(entries: t.Mapping[str, Entry], statuses: t.Mapping[str, Status], account: Account) -> frozenset[str]:
    """The ids that must be read before it is decided what these hosts hold; none of an ordinary purchase."""
    looks = (
        look_at(host, entry, statuses.get(entry.offer_id, {}), account)
        for host, entry in entries.items()
        if entry.offer_id and not entry.is_open and not entry.is_refused
    )
    return frozenset(item for look in looks for item in look.ids_to_prove)


def _registered(host: Declaration, entry: Entry, status: Status, account: Account) -> Standing:
    phase = status.get("phase")
    look = look_at(host.host, entry, status, account)
    ours = Standing(HostState.UNDER_WAY, entry.offer_id, look.named or entry.resource_ids, entry.price_per_hour)
    if phase is None:
        return _unknown(host, entry, status, ours)
    if entry.is_open:
        return _opened(host, entry, phase, ours, account)
    held, contradictions = look.concluded
    ours = replace(ours, resource_ids=held.billable)
    if contradictions:
        text = holdings.disagreed(host.host, entry.offer_id, entry.price_per_hour, held.ids, contradictions)
        return stopped(text, ours, resource_ids=held.ids)
    if phase == _states.READY:
        return replace(ours, kind=HostState.READY) if status.get("ready") and not held.pending else ours
    if phase == _states.EXPIRED:
        return _missing(host, entry, ours, "it has expired unbought")
    follows = {_states.ENDED: _ended, _states.FAILED: _failed}.get(phase)
    # What was answered to be bought and is called unbought is shown late.
    return follows(host, entry, ours, look, account) if follows else ours


def _missing(host: Declaration, entry: Entry, ours: Standing, what: str) -> Standing:
    """What is registered as bought is not there, for the reason ``what``."""
    place = host.registry.entry_place(host.host)
    file = f" The registry file is {place}." if place else ""
    return stopped(
        f"The registry says that {host.host} has bought offer {entry.offer_id} (machine"
        f" {ids_in_words(entry.resource_ids)}), but {what}. The machine may be billed all the same, so nothing else was"
        f" bought. Is the token of the account that bought it? {if_gone(host.host, entry.resource_ids)}{file}",
        ours,
    )


def _failed(host: Declaration, entry: Entry, ours: Standing, look: PurchaseLook, account: Account) -> Standing:
    left = _left(look, look.concluded[0].billable, account)
    if left == ():
        return _void(host, entry, look, account, has_bought=True)
    return replace(ours, kind=HostState.FAILED, resource_ids=left or ours.resource_ids)


def _void(host: Declaration, entry: Entry, look: PurchaseLook, account: Account, *, has_bought: bool) -> Standing:
    """That of a host whose purchase is over; ``has_bought``: nobody else can have bought what that has left."""
    left = storage_bought(entry, look, has_bought=has_bought)
    return replace(_unregistered(host, account, void=True), storage=left, may_be_made=has_bought)


def _ended(host: Declaration, entry: Entry, ours: Standing, look: PurchaseLook, account: Account) -> Standing:
    """All machines of the offer have ended, unless one that the list has says otherwise itself."""
    machines = filter(_states.is_machine, look.listed.values())
    left = [machine for machine in machines if not _states.is_gone(machine["status"]) and account.shows(machine)]
    if not left:
        return _void(host, entry, look, account, has_bought=True)
    what = f"its status says that all of it has ended, while the list has {described(left)}"
    return _missing(host, entry, ours, what)


def _unknown(host: Declaration, entry: Entry, status: Status, ours: Standing) -> Standing:
    """The offer's status cannot be read, or the API does not know the offer."""
    said = str(status.get("msg") or "its offer was not asked about.")
    if status.get("error_class") != "not_found":
        return stopped(
            f"What became of offer {entry.offer_id}, which the registry names for {host.host}, cannot be read: {said}"
            f" {may_be_bought(ours.price_per_hour, ours.resource_ids)} Nothing else was bought. Run again.",
            ours,
        )
    if entry.is_open:
        return replace(ours, kind=HostState.OPEN)
    return _missing(host, entry, ours, "the API does not know it")


def _opened(host: Declaration, entry: Entry, phase: str, ours: Standing, account: Account) -> Standing:
    """A purchase was sent, and its answer never came. What cannot be decided here, the purchase itself settles."""
    if phase in (_states.UNBOUGHT, _states.EXPIRED):
        return _opened_unbought(host, entry, ours, account)
    owned = account.of_offer(entry.offer_id)
    owners = _owners(owned)
    others = sorted({*owners, *account.buyers(entry.offer_id)} - {host.host})
    if others and host.host in owners:
        return stopped(claimed_twice(host.host, others, entry.offer_id, ours.resource_ids), ours)
    if others:
        # Sold to another host that we know of: it was faster.
        return _unregistered(host, account, void=True)
    mine = [machine for machine, owner in owned if owner.hosts] or _namesakes(host, entry, account)
    strangers = [machine for machine in ownership.unowned(owned) if machine["name"]]
    if not mine and not host.adopt:
        return _opened_by_strangers(host, entry, phase, ours, account, strangers)
    listed = _ids(mine or strangers)
    kind = HostState.FAILED if phase == _states.FAILED else HostState.UNDER_WAY
    return replace(ours, kind=kind, resource_ids=listed or ours.resource_ids, adopted=not mine)


def _opened_unbought(host: Declaration, entry: Entry, ours: Standing, account: Account) -> Standing:
    """The API calls the offer unbought or expired; another controller may have bought for the host by another offer."""
    other = _unregistered(host, account, void=False)
    if not other.machines:
        return replace(ours, kind=HostState.OPEN)
    text = still_open(host.host, entry.offer_id, entry.price_per_hour, entry.resource_ids)
    reason = joined(other.reason, text) if other.reason else ""
    return replace(other, reason=reason, void=other.owns and other.offer_id != entry.offer_id)


def _opened_by_strangers(
    host: Declaration, entry: Entry, phase: str, ours: Standing, account: Account, strangers: list[Machine]
) -> Standing:
    """The offer is bought, and no machine of it is proved to be the host's."""
    if strangers and not entry.is_unanswered:
        # Each purchase of ours was refused: the next one says what that means.
        return replace(ours, kind=HostState.OPEN)
    if strangers:
        name = _ordered_name(host, entry)
        reason = bought_by_another(host.host, name, entry.offer_id, strangers, was_sent=True)
        return stopped(reason, ours, machines=tuple(strangers))
    look = look_at(host.host, entry, {"resource_ids": ours.resource_ids}, account)
    if phase == _states.FAILED and _left(look, look.ids, account) == ():
        return _void(host, entry, look, account, has_bought=entry.is_unanswered)
    return replace(ours, kind=HostState.OPEN)


def _namesakes(host: Declaration, entry: Entry, account: Account) -> list[Machine]:
    """Machines of the host's name that an unanswered purchase has bought, though they do not say with which offer."""
    sent_at, name = seconds_of(entry.journaled_at), _ordered_name(host, entry)
    named = [
        (machine, Observation(ownership.id_of(machine), Proof.NAME, machine, next(iter(owner.hosts), "")))
        for machine, owner in account.named(name)
        if entry.is_unanswered and ownership.is_named(machine, name)
    ]
    states = ((machine, holdings.what_is_held(seen, entry.offer_id, sent_at)[0]) for machine, seen in named)
    return [machine for machine, state in states if state is HoldingState.HELD]


def _left(look: PurchaseLook, ids: tuple[str, ...], account: Account) -> tuple[str, ...] | None:
    """Which of these machines a failed offer has left that may be billed, None if that cannot be read."""
    return None if account.machines is None else look.left_of(ids)


def _unregistered(host: Declaration, account: Account, *, void: bool) -> Standing:
    """The registry names nothing of this host: its name may tell of a machine."""
    free = replace(_FREE, void=void)
    if account.machines is None:
        text = f"The machines of the account cannot be listed, so {host.host} may have one already. {NOTHING_BOUGHT}"
        return stopped(account.unreadable or text, free)
    named = account.named(host.name)
    bought = [] if named else billed_among(account.of_offer(host.offer_id))
    if unseen := [machine for machine, _owner in named or bought if not account.shows(machine)]:
        # The entry stays as well: one of them may be its own.
        return stopped(
            f"The list of machines has {described(unseen)} for {host.host}, and by its id it cannot be read. The list"
            " may be behind an end, or the API behind the list. Nothing was bought and nothing taken over. Run again in"
            " a minute.",
            machines=tuple(unseen),
        )
    if taken := _taken(host, named, bought):
        return _by_name(host, ownership.machines_in(taken), _others(host, taken), account, void=void)
    if others := _others(host, named):
        return stopped(shared_name(host.name, others), free)
    if unclaimed := tuple(ownership.unowned(named)):
        return stopped(unregistered_namesake(host, unclaimed), free, machines=unclaimed)
    if bought:
        strangers = ownership.machines_in(bought)
        reason = bought_by_another(host.host, host.name, host.offer_id, strangers, was_sent=False)
        return stopped(joined(reason, host.advice), free)
    if listed := billed_among(account.machines_with([host.listed_id])):
        return stopped(listed_under_another_name(host, ownership.machines_in(listed)), free)
    return free


def _taken(host: Declaration, named: list[Owned], bought: list[Owned]) -> list[Owned]:
    """What the host takes over: machines of its name; those of the offer that it wants only if a person lets it.

    Those of offers of which one lives, else those that have failed. What has failed beside it may be billed, too.
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


def _by_name(
    host: Declaration, machines: list[Machine], others: list[str], account: Account, *, void: bool
) -> Standing:
    """Without a registry, or where a person lets it, the machine of the host's name is the host's, if it fits."""
    offers = set(map(ownership.offer_of, machines))
    ids, others = _ids(machines), sorted({*others, *account.claimants(offers)} - {host.host})
    brings = () if host.by_name else brought_with(host.host, offers, ids, account)
    price = total_of([price_of(machines), *(item.price_per_hour for item in brings)])
    failed = not is_one_alive(machines)
    odd = "" if failed else _unfit(host, machines, price)
    reasons = applicable(
        {
            claimed_twice(host.host, others, "", ids): others,
            f"Several offers have machines called {host.name}: {described(machines)}. {NOTHING_BOUGHT} End those that"
            " are too many by their ids (compute_index.supply.delete_resource).": len(offers) > 1,
            f"There is a machine called {host.name}, but the API does not name its offer: {described(machines)}."
            f" {NOTHING_BOUGHT}": offers == {""},
            does_not_fit(host.host, host.name, machines, odd): odd,
        }
    )
    if reasons:
        return stopped(reasons[0], void=void, machines=() if others else tuple(machines))
    kind = HostState.FAILED if failed else HostState.UNDER_WAY
    return Standing(kind, offers.pop(), ids, price, void=void, adopted=True, machines=tuple(machines), brings=brings)


def brought_with(host: str, offers: t.Collection[str], ids: tuple[str, ...], account: Account) -> tuple[Storage, ...]:
    """The storage that was bought with machines of these ids and of one offer, as if the registry had noted them."""
    entry = Entry("".join(offers), ids)
    return storage_bought(entry, look_at(host, entry, {}, account)) if len(offers) == 1 and entry.offer_id else ()


def _unfit(host: Declaration, machines: list[Machine], price: float | None) -> str:
    """Why a machine that has the name is not what the host declares, empty if it fits."""
    if host.max_price_per_hour != UNLIMITED and price is not None and price > host.max_price_per_hour:
        return f"it costs {usd(price)}, above {host.ceiling}"
    own = dict(mapping_of(machines[0].get("spec")))
    if len(machines) > 1:
        own.pop("gpu_count", None)  # that of one machine, and the search asks for that of all
    return search.mismatch_with_all(host.choices, {**own, "vendor": machines[0].get("vendor")})


# Why a person must decide, and what a host takes over


def claimed_twice(host: str, others: t.Iterable[str], offer_id: str, ids: t.Sequence[str]) -> str:
    """Several hosts say that one machine or offer is theirs."""
    parts = [f"offer {offer_id}" if offer_id else "", f"machine {ids_in_words(ids)}" if ids or not offer_id else ""]
    what = " with ".join(filter(None, parts))
    return (
        f"{host} and {', '.join(others)} claim the same {what}, which belongs to one host. Nothing was bought or"
        " changed. Remove the registry entry, provision_offer_id or provision_resource_name of those that it does not"
        " belong to."
    )


def unregistered_namesake(host: Declaration, machines: t.Iterable[Machine]) -> str:
    """A machine has the host's name, and the host has a registry that does not know it."""
    here = (
        f" If you bought it from another folder, its registry is there, and not in {host.registry.text}: run there, or"
        " add -e provision_registry_dir=<that registry>."
        if host.registry_file  # else all controllers share it
        else ""
    )
    advice = (
        " A run takes no machine over: choose another run_name, or end this one by its id."
        if GROUP_OF_RUNS in host.groups
        else f" If it is {host.host}'s and no registry has it, set provision_adopt: true."
        " If it is someone else's, or you want one more, set a provision_project or another provision_resource_name."
    )
    return (
        f"There is a machine called {host.name} that the registry of {host.host} does not know: {described(machines)}."
        f" Nothing was bought.{here}{advice}"
    )


def listed_under_another_name(host: Declaration, machines: t.Iterable[Machine]) -> str:
    """The host is a machine by the inventory plugin, and not by its name: each run would buy one for each machine."""
    return (
        f"The inventory plugin lists a machine as {host.host}: {described(machines)}. A machine of this host would be"
        f" called {host.name}, so one more would be bought for a host that is one. {NOTHING_BOUGHT} Keep machines that"
        " run out of the groups that are bought for (groups and keyed_groups of the plugin), or give them other names"
        " than these hosts have (hostname, project)."
    )


def bought_by_another(host: str, name: str, offer_id: str, machines: t.Iterable[Machine], *, was_sent: bool) -> str:
    """An offer of the host is bought, and its machine has another name than the host's."""
    sent = " A purchase of this host was never answered, so it may be this host's." if was_sent else ""
    away = "the registry entry" if was_sent else "provision_offer_id"
    return (
        f"Offer {offer_id} of {host} is bought, but no machine of it is called {name}: {described(machines)}.{sent}"
        f" Nothing was bought. If it is this host's, set provision_adopt: true; if it is not, remove {away}."
    )


def what_is_adopted(host: str, machines: t.Sequence[Machine], offer_id: str, *, would: bool) -> str:
    """What the host takes: machines by its name, or else what its purchase without an answer may have bought.

    ``would``: it is not noted now.
    """
    takes = "would take" if would else "takes"
    if not machines:
        return f"{host} {takes} what was bought with its offer {offer_id}, since provision_adopt is set."
    return f"{host} {takes} {described(machines)} by its name."


def differing_databases(fingerprint: str, others: str) -> str:
    """A host of the play has another shared registry than the first one, by the fingerprints of their URLs."""
    if fingerprint == others:
        return ""
    return "The hosts of a play share one registry, and these have different values of provision_registry_url."
