# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose machine is it, and of which offer? The one rule, for the role, the audit, approvals and every end.

A machine is a host's by the strongest of these proofs, and nobody's if two hosts have the same:

1. the host's registry names its id;
2. the host's journal names its offer, and the purchase was answered with yes; or it was never answered, and the machine
   has the host's name, or is one of several that the API numbers after it;
3. the host has no registry, so its name is its identity, and the machine is called so, or is one of several of one
   offer that the API numbers after that name.

With a registry a name alone proves nothing: accounts are shared. An offer belongs to one host, so hosts that prove
different machines of one offer contest all of them.

A machine is an offer's if the offer's own answers name its id, or if it says itself that this is the offer it was
bought with (``offer_id``; None if that is not certain). ``GET /resources?offer_id=`` proves nothing by itself: the
filter may be ignored, and a machine may have been linked to a second offer (a volume that was bought for it). A list
that holds machines of other offers only shows that the filter was not applied.
"""

from __future__ import annotations

import enum
import re
import typing as t
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property

from .. import _states
from .._text import grouped, seconds_of, timestamps
from .entry import Entry
from .search import total_of

Machine = t.Mapping[str, t.Any]  # a resource as the tolerant reader returns it
Key = tuple[str, str]  # as ("offer", its id): what a machine and a claim may have in common
Kind = t.TypeVar("Kind", bound=Machine)
_LASTING = ("name", "offer_id", "resource_type", "price_per_hour", "created_at")  # what a page may leave out
_SLACK = 30.0  # seconds by which a machine may be older than its purchase

# What a machine says of itself


def id_of(machine: Machine) -> str:
    """The machine's id as registry entries have it: in small letters, empty if it has none."""
    return str(machine["resource_id"] or "").lower()


def offer_of(machine: Machine) -> str:
    """The id of its offer, likewise."""
    return str(machine["offer_id"] or "").lower()


def is_named(machine: Machine, name: str, *, numbered: bool = False) -> bool:
    """Whether the machine has the name; with ``numbered`` also if the API numbers several machines after it."""
    own = machine["name"] or ""
    return bool(name) and (own == name or (numbered and base_of(own) == name))


def base_of(name: str) -> str:
    """The name after which the API has numbered a machine of this name, empty if it has no number."""
    base, _dash, number = name.rpartition("-")
    return base if re.fullmatch("[0-9]+", number) else ""


def _keys_of(machine: Machine) -> list[Key]:
    """The keys by which a machine is looked up: its id, its offer, its name, and the name without its number."""
    name = machine["name"] or ""
    keys = (("id", id_of(machine)), ("offer", offer_of(machine)), ("name", name), ("base", base_of(name)))
    return [key for key in keys if key[1]]


def clusters(machines: t.Iterable[Machine]) -> frozenset[Key]:
    """Offers, each with the name of a cluster: several of its machines have it, with a number or without."""
    known = list(machines)
    sizes = Counter((offer_of(machine), machine["name"] or "") for machine in known)
    sizes.update((offer_of(machine), base_of(machine["name"] or "")) for machine in known)
    return frozenset(key for key, size in sizes.items() if key[1] and size > 1)


def machines_among(resources: t.Iterable[Kind]) -> list[Kind]:
    """The resources without storage, which no rule for machines knows."""
    return list(filter(_states.is_machine, resources))


def without_storage(ids: t.Iterable[str], resources: t.Iterable[Machine]) -> list[str]:
    """The ids without those of storage among the resources."""
    storage = {item["resource_id"] for item in resources if not _states.is_machine(item)}
    return [item for item in ids if item not in storage]


def matching(resources: t.Iterable[Kind], name: str | None, kinds: t.Collection[str]) -> list[Kind]:
    """The resources of this name (None: of any) and of one of these kinds (none: of any)."""
    return [item for item in resources if name in (None, item["name"]) and (not kinds or item["kind"] in kinds)]


def in_states(resources: t.Iterable[Kind], states: t.Iterable[str]) -> list[Kind]:
    """The resources in one of these states, as a person writes them; all if none is given."""
    words = set(map(_states.word, states))
    return [resource for resource in resources if not words or resource["status"] in words]


def is_one_alive(machines: t.Iterable[Machine]) -> bool:
    """Whether one of them lives, by its own word."""
    return any(_states.is_live(machine["status"]) for machine in machines)


def ids_not_gone(machines: t.Iterable[Machine]) -> list[str]:
    """The ids of those that have not been told to be gone."""
    return [
        machine["resource_id"]
        for machine in machines
        if machine["resource_id"] and not _states.is_gone(machine["status"])
    ]


def not_told_gone(ids: t.Iterable[str], machines: t.Collection[Machine]) -> list[str]:
    """Those of the ids, and of those of the machines, that have not been told to be gone."""
    gone = {machine["resource_id"] for machine in machines if _states.is_gone(machine["status"])}
    return [item for item in dict.fromkeys([*ids, *ids_not_gone(machines)]) if item not in gone]


def last_created_at(machines: t.Iterable[Machine]) -> float | None:
    """When the last of them was made, by the API (seconds since the epoch); None where that does not tell."""
    return max(timestamps(machine.get("created_at") for machine in machines), default=None)


def price_of(machines: t.Iterable[Machine]) -> float | None:
    """What they cost together, in USD per hour; None if the price of one is not known."""
    return total_of(machine["price_per_hour"] for machine in machines)


def refreshed(listed: t.Iterable[Kind], read: t.Mapping[str, Kind | None]) -> list[Kind]:
    """The listed resources as they were ``read`` by their ids since, with those that only this has shown.

    One that has no page (None) stays as it was listed: that proves nothing.
    """
    by_id: dict[t.Any, Kind] = {item["resource_id"] or number: item for number, item in enumerate(listed)}
    for resource_id, page in read.items():
        if page is not None:
            by_id[resource_id] = shown_by_both(page, by_id.get(resource_id))
    return list(by_id.values())


def shown_by_both(page: Kind, listed: Kind | None) -> Kind:
    """A resource as its ``page`` shows it; what it is, and the page leaves out, as it was ``listed``.

    Which fields of a resource a list has, and which its own page, is not documented.
    """
    known = {name: listed[name] for name in _LASTING if page.get(name) is None and listed.get(name)} if listed else {}
    if "resource_type" in known:
        known["kind"] = t.cast("Kind", listed)["kind"]
    return t.cast("Kind", {**page, **known}) if known else page


# Which machines are an offer's


def bought_with(resources: t.Iterable[Kind], offer_id: str, ids: t.Collection[str]) -> list[Kind]:
    """Those of the resources that are this offer's; ``ids`` are those that the purchase or the status names."""
    return [resource for resource in resources if resource["resource_id"] in ids or resource["offer_id"] == offer_id]


def ids_in(status: t.Mapping[str, t.Any]) -> list[str]:
    """The ids of resources that the status of an offer names, by themselves or beside its instances."""
    return list(dict.fromkeys([*status["resource_ids"], *_of_instances(status, "resource_id")]))


def ids_for_match(status: t.Mapping[str, t.Any]) -> list[str]:
    """The same, and the instances' own ids, which may be those of resources, or the vendor's."""
    return [*ids_in(status), *_of_instances(status, "instance_id")]


def _of_instances(status: t.Mapping[str, t.Any], field: str) -> list[str]:
    return [item[field] for item in status["instances"] if isinstance(item.get(field), str) and item[field]]


def named_by_filter(resources: t.Collection[Machine], offer_id: str, procured_at: str | None, nodes: int) -> list[str]:
    """The ids that only the filter of a list names as an offer's, since their resources name no offer.

    None of them unless the filter was surely applied: no resource is another offer's, or older than the purchase by the
    API's own clock (``procured_at``), or of unknown age; and there are no more of them than the offer has machines.
    """
    mute = [
        str(resource["resource_id"])
        for resource in resources
        if resource["resource_id"] and resource["offer_id"] is None
    ]
    is_applied = len(resources) <= nodes and {item["offer_id"] for item in resources} <= {None, offer_id}
    return mute if is_applied and _are_younger(resources, procured_at) else []


def _are_younger(resources: t.Iterable[Machine], procured_at: str | None) -> bool:
    """Whether all were surely created after a purchase, by the API's own clock."""
    moment, ages = seconds_of(procured_at), [seconds_of(item.get("created_at")) for item in resources]
    return moment is not None and all(created is not None and created >= moment - _SLACK for created in ages)


def namesakes(machines: t.Iterable[Kind], name: str, offer_id: str, ids: t.Collection[str]) -> list[Kind]:
    """Machines that live, are called as those of this purchase (``ids``), and were bought with another offer."""
    listed = [machine for machine in machines if machine["resource_id"] and _states.is_machine(machine)]
    own = bought_with(listed, offer_id, ids)
    mine = {item["resource_id"] for item in own}
    names = {name, *(item["name"] for item in own)} - {"", None}
    live = [item for item in listed if _states.is_live(item["status"])]
    return [item for item in live if item["resource_id"] not in mine and item["name"] in names]


def is_later(own: t.Collection[Machine], others: t.Collection[Machine]) -> bool:
    """Whether a purchase is the later one of two: by the first machine of each, its time, then its id.

    Both runs see the same, so they never end both. Without an ``own`` machine to be seen it is the later one.
    """
    if not (own and others):
        return bool(others)
    mine, theirs = (min(timestamps(item.get("created_at") for item in each), default=None) for each in (own, others))
    if None in (mine, theirs) or mine == theirs:
        return min(map(id_of, own)) > min(map(id_of, others))
    return t.cast(float, mine) > t.cast(float, theirs)


# Whose they are


class OwnershipProof(enum.IntEnum):
    """Why a machine is a host's; the higher one wins."""

    NONE = 0
    NAME = 1
    PURCHASE = 2
    ID = 3


@dataclass(frozen=True)
class OwnershipClaim:
    """What a host says that it owns. ``by_name``: it has no registry, or a person lets it adopt."""

    host: str
    name: str
    offer_id: str = ""
    resource_ids: frozenset[str] = frozenset()
    unanswered: bool = False
    by_name: bool = False
    bought: bool = False  # the answer was yes
    reaped_at: str = ""  # when a run has begun to end it
    storage_ids: frozenset[str] = frozenset()
    storage_of: str = ""  # the host whose machine has ended, if it is about storage alone
    adopts: str = ""  # the offer whose machines a person lets it take over

    @property
    def all_ids(self) -> frozenset[str]:
        """The ids of its machines and its storage."""
        return self.resource_ids | self.storage_ids

    @property
    def is_registered(self) -> bool:
        """Whether it names something that was or may be bought."""
        return bool(self.offer_id or self.resource_ids)

    @property
    def is_answered(self) -> bool:
        """Whether it has bought its offer for certain."""
        return bool(self.offer_id) and not self.unanswered


def claim_of(host: str, name: str, entry: Entry, *, by_name: bool, adopts: str = "") -> OwnershipClaim:
    """The claim of a host with this registry entry. A name is no identity beside an entry that names something.

    A purchase that was refused claims nothing: the offer is somebody else's.
    """
    if entry.is_refused:
        return OwnershipClaim(host, name, by_name=by_name, adopts=adopts)
    return OwnershipClaim(
        host,
        name,
        entry.offer_id,
        frozenset(entry.resource_ids),
        entry.is_unanswered,
        by_name and entry.is_empty,
        entry.is_made,
        storage_ids=frozenset(item.resource_id for item in entry.storage),
        adopts="" if entry.is_made else adopts,
    )


def noted_claim(host: str, entry: Entry) -> OwnershipClaim:
    """The claim of a host of which only its registry entry is known."""
    return replace(
        claim_of(host, entry.name or host, entry, by_name=False),
        reaped_at=entry.reaped_at,
        storage_of=entry.storage_of,
    )


def holders_of(claims: t.Iterable[OwnershipClaim], host: str) -> dict[str, str]:
    """The other hosts than this one that hold resources, by the ids of these."""
    return {resource_id: claim.host for claim in claims if claim.host != host for resource_id in claim.all_ids}


def with_unnoted(noted: t.Sequence[OwnershipClaim], others: t.Iterable[OwnershipClaim]) -> list[OwnershipClaim]:
    """What registries note, where hosts of several projects may have one name, and the first claim of other hosts."""
    known = {claim.host for claim in noted}
    further = grouped((claim.host, claim) for claim in others if claim.host not in known)
    return [*noted, *(claims[0] for claims in further.values())]


def machines_and_storage(
    resources: t.Iterable[Machine], claims: t.Iterable[OwnershipClaim]
) -> tuple[list[Machine], list[Machine], list[OwnershipClaim]]:
    """What is listed as machines, and as storage; and the claims, which name no storage as a machine any more.

    An id may have been noted before the API said what it is.
    """
    listed = list(resources)
    storage = [item for item in listed if not _states.is_machine(item)]
    ids = {id_of(item) for item in storage}
    known = [
        replace(
            claim, resource_ids=claim.resource_ids - ids, storage_ids=claim.storage_ids | (claim.resource_ids & ids)
        )
        if claim.resource_ids & ids
        else claim
        for claim in claims
    ]
    return machines_among(listed), storage, known


@dataclass(frozen=True)
class Owners:
    """The hosts that prove that a machine is theirs: one owns it, several contest it, none leaves it to nobody."""

    hosts: tuple[str, ...] = ()
    proof: OwnershipProof = OwnershipProof.NONE

    @property
    def is_contested(self) -> bool:
        """Whether several hosts claim it, so that a person must decide."""
        return len(self.hosts) > 1


Owned = tuple[Machine, Owners]


def machines_in(owned: t.Iterable[Owned]) -> list[Machine]:
    """The machines without their owners."""
    return [machine for machine, _owner in owned]


def unowned(owned: t.Iterable[Owned]) -> list[Machine]:
    """The machines that nobody claims."""
    return [machine for machine, owner in owned if not owner.hosts]


def billed_among(machines: t.Iterable[Owned]) -> list[Owned]:
    """Those that may be billed: they live, or have failed."""
    return [owned for owned in machines if not _states.is_ending(owned[0]["status"])]


def proof(claim: OwnershipClaim, machine: Machine) -> OwnershipProof:
    """What the claim proves of this machine by itself."""
    if id_of(machine) in claim.resource_ids:
        return OwnershipProof.ID
    if claim.offer_id and claim.offer_id == offer_of(machine) and (claim.unanswered or claim.bought):
        return (
            OwnershipProof.PURCHASE
            if claim.bought or is_named(machine, claim.name, numbered=True)
            else OwnershipProof.NONE
        )
    is_named_so = claim.by_name and is_named(machine, claim.name, numbered=True)
    return OwnershipProof.NAME if is_named_so else OwnershipProof.NONE


def owners(machines: t.Iterable[Machine], claims: t.Iterable[OwnershipClaim]) -> list[tuple[Machine, Owners]]:
    """Each machine with those who own it, in the order of the machines."""
    machines = list(machines)
    # Thousands of machines are not compared with thousands of hosts.
    by_key = grouped((key, claim) for claim in claims for key in _keys_proved(claim))
    numbered = clusters(machines)
    found = [(machine, _strongest(machine, by_key, numbered)) for machine in machines]
    by_offer = grouped((offer_of(machine), host) for machine, owner in found for host in owner.hosts)
    # If the machines of an offer have several owners, each machine has all of them.
    several = {offer: tuple(sorted({*hosts})) for offer, hosts in by_offer.items() if offer and len({*hosts}) > 1}
    return [(machine, replace(owner, hosts=several.get(offer_of(machine), owner.hosts))) for machine, owner in found]


def _keys_proved(claim: OwnershipClaim) -> list[Key]:
    """What a machine must have in common with a claim that may prove something of it."""
    keys = [("id", resource_id) for resource_id in claim.resource_ids]
    keys += [("offer", claim.offer_id)] if claim.unanswered or claim.bought else []
    return [*keys, ("name", claim.name), ("base", claim.name)] if claim.by_name else keys


def _strongest(
    machine: Machine, by_key: t.Mapping[Key, t.Sequence[OwnershipClaim]], numbered: t.Container[Key]
) -> Owners:
    """Those whose claims prove most of the machine. ``numbered``: see `clusters`."""
    hosts: dict[OwnershipProof, set[str]] = {}
    for claim in (claim for key in _keys_of(machine) for claim in by_key.get(key, ())):
        its = proof(claim, machine)
        # A single machine with a number is rather another host's: train-1 is no part of train. Nor is one of no offer.
        is_whole = its is OwnershipProof.ID or claim.bought or is_named(machine, claim.name)
        offer = offer_of(machine)
        if is_whole or (offer and (offer, claim.name) in numbered):
            hosts.setdefault(its, set()).add(claim.host)
    strongest = max(hosts, default=OwnershipProof.NONE)
    return Owners(tuple(sorted(hosts[strongest])), strongest) if strongest else Owners()


def rivals(claims: t.Iterable[OwnershipClaim]) -> dict[str, tuple[str, ...]]:
    """Hosts that claim the same id, or the same offer with equal right, each with the others.

    A journal that is only open yields to a host whose purchase of that offer was answered: it was faster.
    """
    claims = list(claims)
    settled = {claim.offer_id for claim in claims if claim.is_answered}
    equal = [claim for claim in claims if claim.offer_id and not (claim.unanswered and claim.offer_id in settled)]
    by_key = grouped(
        [
            *((("id", resource_id), claim.host) for claim in claims for resource_id in claim.resource_ids),
            *((("offer", claim.offer_id), claim.host) for claim in equal),
        ]
    )
    contested = (hosts for hosts in map(set, by_key.values()) if len(hosts) > 1)
    by_host = grouped((host, hosts) for hosts in contested for host in hosts)
    return {host: tuple(sorted(set().union(*others) - {host})) for host, others in by_host.items()}


@dataclass(frozen=True)
class Account:
    """The machines that the API lists, with their owners; None if they were not asked for or cannot be read.

    ``storage``: what it lists beside them, which no rule for machines knows.
    ``read``: what was read by its id with ``force_refresh``, None if it is not shown there.
    """

    machines: tuple[Owned, ...] | None = None
    unreadable: str = ""
    claims: t.Mapping[str, OwnershipClaim] = field(default_factory=dict)
    rivals: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    read: t.Mapping[str, Machine | None] = field(default_factory=dict)
    storage: tuple[Machine, ...] = ()

    @classmethod
    def of(
        cls, claims: t.Iterable[OwnershipClaim], resources: t.Iterable[Machine] | None, unreadable: str = ""
    ) -> Account:
        """The account as these claims see it. What is listed as storage is no machine, whatever a claim says."""
        machines, storage, known = machines_and_storage(resources or (), claims)
        owned = None if resources is None else tuple(owners(machines, known))
        of_host = {claim.host: claim for claim in known}
        return cls(owned, unreadable, of_host, rivals(known), storage=tuple(storage))

    @property
    def owned(self) -> tuple[Owned, ...]:
        """The machines with their owners; nothing if they cannot be read."""
        return self.machines or ()

    @property
    def without_offer(self) -> list[str]:
        """The ids of listed resources that do not say with which offer they were bought."""
        return [id_of(item) for item in self.resources if not offer_of(item)]

    @property
    def resources(self) -> list[Machine]:
        """All that the API lists: machines and storage."""
        return [*machines_in(self.owned), *self.storage]

    def storage_of(self, offer_id: str, ids: t.Collection[str]) -> list[Machine]:
        """The listed storage that says it was bought with the offer, or that has one of these ids."""
        return [item for item in self.storage if id_of(item) in ids or (offer_id and offer_of(item) == offer_id)]

    @property
    def unclaimed(self) -> list[Machine]:
        """Machines that live, and that no host owns."""
        return [machine for machine in unowned(self.owned) if _states.is_live(machine["status"])]

    def named(self, name: str) -> list[Owned]:
        """The machines that have the name and may be billed: they live, or have failed.

        With all others of their offers, whatever the API calls these. Without a machine of the very name several of one
        offer that the API has numbered after it are a cluster of that name.
        """
        numbered = self._owned_by_key.get(("base", name), ())
        called = self._owned_by_key.get(("name", name)) or [
            item for item in numbered if (offer_of(item[0]), name) in self._clusters
        ]
        offers = dict.fromkeys(offer_of(machine) for machine, _owner in called)
        further = [item for offer_id in offers for item in self.of_offer(offer_id) if item not in called]
        return billed_among([*called, *further])

    def of_offer(self, offer_id: str) -> list[Owned]:
        """The machines that say that they were bought as this offer."""
        return self._owned_by_key.get(("offer", offer_id), [])

    def machines_with(self, ids: t.Iterable[str]) -> list[Owned]:
        """The machines that have these ids."""
        return [owned for resource_id in ids for owned in self._owned_by_key.get(("id", resource_id), [])]

    def shows(self, machine: Machine) -> bool:
        """Whether nothing denies the listed machine: its own page has it, or was not looked at."""
        return self.read.get(id_of(machine), machine) is not None

    def holder_of(self, resource_id: str, host: str) -> str:
        """Another host than this one that holds the resource; empty if there is none."""
        return next((holder for holder in self._holders.get(resource_id, ()) if holder != host), "")

    def claimants(self, offers: t.Collection[str]) -> set[str]:
        """The hosts that have bought one of these offers, or may have, or would take over its machines."""
        return {claim.host for offer_id in offers for claim in self._claims_by_offer.get(offer_id, ())}

    def buyers(self, offer_id: str) -> set[str]:
        """The hosts whose purchase of this offer was answered."""
        claims = self._claims_by_offer.get(offer_id, ())
        return {claim.host for claim in claims if claim.offer_id == offer_id and claim.is_answered}

    # Thousands of hosts look for theirs among thousands of machines.
    @cached_property
    def _owned_by_key(self) -> dict[Key, list[Owned]]:
        return grouped((key, item) for item in self.owned for key in _keys_of(item[0]))

    @cached_property
    def _claims_by_offer(self) -> dict[str, list[OwnershipClaim]]:
        """By what was bought, or may have been, and by what a person lets a host take over."""
        claims = self.claims.values()
        return grouped((item, claim) for claim in claims for item in {claim.offer_id, claim.adopts} - {""})

    @cached_property
    def _holders(self) -> dict[str, list[str]]:
        owned = [(id_of(machine), host) for machine, owner in self.owned for host in owner.hosts]
        named = ((item, claim.host) for claim in self.claims.values() for item in claim.all_ids)
        return grouped([*owned, *named])

    @cached_property
    def _clusters(self) -> frozenset[Key]:
        return clusters(machines_in(self.owned))
