# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host owns a machine, and with which offer was it bought? The one rule for the role, audits, approvals and ends.

A machine belongs to the host with the strongest of these proofs, and to no host if two have the same:

1. the host's registry names the machine's id;
2. the host's journal names the machine's offer, and the purchase succeeded; or the purchase was never answered, and the
   machine has the host's name, or is one of several that the API numbers after it;
3. the host has no registry, so that its name is its identity, and the machine has that name, or is one of several of
   one offer that the API numbers after it.

With a registry a name alone proves nothing: accounts are shared. An offer belongs to one host, so hosts that prove
different machines of one offer contest all of them.

A machine was bought with an offer if the offer's own answers name its id, or if the machine names the offer
(``offer_id``; None if that is not certain). The filter ``GET /resources?offer_id=`` proves nothing: it may be ignored,
and a machine may have been linked to a second offer (a volume that was bought for it). If a list has machines of other
offers, the filter was not applied.
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
Key = tuple[str, str]  # such as ("offer", id): a property by which machines and claims are matched
Kind = t.TypeVar("Kind", bound=Machine)
_STABLE = ("name", "offer_id", "resource_type", "price_per_hour", "created_at")  # fields that a page may omit
_SLACK = 30.0  # seconds by which a machine may be older than its purchase

# The machine's own properties


def id_of(machine: Machine) -> str:
    """The machine's id in lower case, as in registry entries; empty if it has none."""
    return str(machine["resource_id"] or "").lower()


def offer_of(machine: Machine) -> str:
    """The id of the machine's offer in lower case; empty if it names none."""
    return str(machine["offer_id"] or "").lower()


def is_named(machine: Machine, name: str, *, numbered: bool = False) -> bool:
    """Whether the machine has the name; with ``numbered`` also if the API numbers several machines after it."""
    own = machine["name"] or ""
    return bool(name) and (own == name or (numbered and base_of(own) == name))


def base_of(name: str) -> str:
    """Return the name without the API's number (``train-1``: ``train``); empty if it has no number."""
    base, _dash, number = name.rpartition("-")
    return base if re.fullmatch("[0-9]+", number) else ""


def _keys_of(machine: Machine) -> list[Key]:
    """Return the keys to look up a machine: its id, its offer, its name, and the name without its number."""
    name = machine["name"] or ""
    keys = (("id", id_of(machine)), ("offer", offer_of(machine)), ("name", name), ("base", base_of(name)))
    return [key for key in keys if key[1]]


def clusters(machines: t.Iterable[Machine]) -> frozenset[Key]:
    """Return pairs of an offer and the name of its cluster: several of its machines have it, with or without number."""
    known = list(machines)
    sizes = Counter((offer_of(machine), machine["name"] or "") for machine in known)
    sizes.update((offer_of(machine), base_of(machine["name"] or "")) for machine in known)
    return frozenset(key for key, size in sizes.items() if key[1] and size > 1)


def machines_among(resources: t.Iterable[Kind]) -> list[Kind]:
    """Return the resources without storage."""
    return list(filter(_states.is_machine, resources))


def matching(resources: t.Iterable[Kind], name: str | None, kinds: t.Collection[str]) -> list[Kind]:
    """Return the resources of this name (None: any) and of one of these kinds (empty: any)."""
    return [item for item in resources if name in (None, item["name"]) and (not kinds or item["kind"] in kinds)]


def in_states(resources: t.Iterable[Kind], states: t.Iterable[str]) -> list[Kind]:
    """Return the resources in one of these states, as a person writes them; all without states."""
    words = set(map(_states.word, states))
    return [resource for resource in resources if not words or resource["status"] in words]


def is_one_alive(machines: t.Iterable[Machine]) -> bool:
    """Whether the status of one of the machines is a live one."""
    return any(_states.is_live(machine["status"]) for machine in machines)


def not_gone(resources: t.Iterable[Kind]) -> list[Kind]:
    """Return the resources that were not told gone."""
    return [item for item in resources if not _states.is_gone(item["status"])]


def ids_not_gone(machines: t.Iterable[Machine]) -> list[str]:
    """Return the ids of machines that were not told gone."""
    return [machine["resource_id"] for machine in not_gone(machines) if machine["resource_id"]]


def not_told_gone(ids: t.Iterable[str], resources: t.Collection[Machine]) -> list[str]:
    """Return the ids and those of the resources, without storage and without ids told gone."""
    out = {item["resource_id"] for item in resources if not _states.is_machine(item) or _states.is_gone(item["status"])}
    return [item for item in dict.fromkeys([*ids, *ids_not_gone(resources)]) if item not in out]


def last_created_at(machines: t.Iterable[Machine]) -> float | None:
    """When the newest machine was created, by the API (seconds since the epoch); None if unknown."""
    return max(timestamps(machine.get("created_at") for machine in machines), default=None)


def price_of(machines: t.Iterable[Machine]) -> float | None:
    """The price of all machines together, in USD per hour; None if one is unknown."""
    return total_of(machine["price_per_hour"] for machine in machines)


def refreshed(listed: t.Iterable[Kind], read: t.Mapping[str, Kind | None], unread: t.Iterable[str] = ()) -> list[Kind]:
    """Return the listed resources, updated and completed by those that were ``read`` by their ids since.

    A resource without a page (None) stays as listed, since a missing page proves nothing. One whose page cannot be read
    (``unread``) may still be billed, whatever the list says: if that calls it deleted, it counts as being deleted.
    """
    by_id: dict[t.Any, Kind] = {item["resource_id"] or number: item for number, item in enumerate(listed)}
    for item in by_id.keys() & {*unread}:
        if _states.is_gone(by_id[item]["status"]):
            by_id[item] = t.cast("Kind", {**by_id[item], "status": "deleting"})
    for resource_id, page in read.items():
        if page is not None:
            by_id[resource_id] = merged(page, by_id.get(resource_id))
    return list(by_id.values())


def merged(page: Kind, listed: Kind | None) -> Kind:
    """Return a resource as its ``page`` shows it, with stable fields that the page omits as ``listed``.

    The API does not document which fields a list has, and which a resource's own page.
    """
    known = {name: listed[name] for name in _STABLE if page.get(name) is None and listed.get(name)} if listed else {}
    if "resource_type" in known:
        known["kind"] = t.cast("Kind", listed)["kind"]
    return t.cast("Kind", {**page, **known}) if known else page


# The machines of an offer


def bought_with(resources: t.Iterable[Kind], offer_id: str, ids: t.Collection[str]) -> list[Kind]:
    """Return the resources of this offer. ``ids``: named by the purchase or the offer's status."""
    return [resource for resource in resources if resource["resource_id"] in ids or resource["offer_id"] == offer_id]


def ids_in(status: t.Mapping[str, t.Any]) -> list[str]:
    """Return the ids of resources that the status of an offer names, also those of its instances."""
    return list(dict.fromkeys([*status["resource_ids"], *_of_instances(status, "resource_id")]))


def ids_for_match(status: t.Mapping[str, t.Any]) -> list[str]:
    """Return `ids_in` and the instances' own ids, which may be ids of resources or the vendor's."""
    return [*ids_in(status), *_of_instances(status, "instance_id")]


def _of_instances(status: t.Mapping[str, t.Any], field: str) -> list[str]:
    return [item[field] for item in status["instances"] if isinstance(item.get(field), str) and item[field]]


def named_by_filter(resources: t.Collection[Machine], offer_id: str, procured_at: str | None, nodes: int) -> list[str]:
    """Return the ids of resources that name no offer, and that only the list's filter assigns to this one.

    Empty unless the filter was certainly applied: no resource names another offer, is older than the purchase by the
    API's own clock (``procured_at``), or is of unknown age; and there are at most as many as the offer has machines
    (``nodes``).
    """
    without_offer = [
        str(resource["resource_id"])
        for resource in resources
        if resource["resource_id"] and resource["offer_id"] is None
    ]
    is_applied = len(resources) <= nodes and {item["offer_id"] for item in resources} <= {None, offer_id}
    return without_offer if is_applied and _are_younger(resources, procured_at) else []


def _are_younger(resources: t.Iterable[Machine], procured_at: str | None) -> bool:
    """Whether all resources were certainly created after a purchase, by the API's own clock."""
    moment, ages = seconds_of(procured_at), [seconds_of(item.get("created_at")) for item in resources]
    return moment is not None and all(created is not None and created >= moment - _SLACK for created in ages)


def namesakes(machines: t.Iterable[Kind], name: str, offer_id: str, ids: t.Collection[str]) -> list[Kind]:
    """Return live machines that have the name of this purchase's (``ids``), but were bought with another offer."""
    listed = [machine for machine in machines if machine["resource_id"] and _states.is_machine(machine)]
    own = bought_with(listed, offer_id, ids)
    own_ids = {item["resource_id"] for item in own}
    names = {name, *(item["name"] for item in own)} - {"", None}
    live = [item for item in listed if _states.is_live(item["status"])]
    return [item for item in live if item["resource_id"] not in own_ids and item["name"] in names]


def is_later(own: t.Collection[Machine], others: t.Collection[Machine]) -> bool:
    """Whether the own purchase is the later of two, by the creation time, then the id, of each one's first machine.

    Both runs see the same, so they never end both. An own purchase without a listed machine is the later one.
    """
    if not (own and others):
        return bool(others)
    mine, theirs = (min(timestamps(item.get("created_at") for item in each), default=None) for each in (own, others))
    if None in (mine, theirs) or mine == theirs:
        return min(map(id_of, own)) > min(map(id_of, others))
    return t.cast(float, mine) > t.cast(float, theirs)


# Owners


class OwnershipProof(enum.IntEnum):
    """Why a host owns a machine; the highest proof wins."""

    NONE = 0
    NAME = 1
    PURCHASE = 2
    ID = 3


@dataclass(frozen=True)
class OwnershipClaim:
    """The resources that a host claims to own. ``by_name``: it has no registry, or a person lets it adopt."""

    host: str
    name: str
    offer_id: str = ""
    resource_ids: frozenset[str] = frozenset()
    unanswered: bool = False
    by_name: bool = False
    bought: bool = False  # the purchase succeeded
    reaped_at: str = ""  # when a run began to end its machine
    storage_ids: frozenset[str] = frozenset()
    storage_of: str = ""  # for a claim to storage only: the host whose machine has ended
    adopts: str = ""  # the offer whose machines a person lets the host take over

    @property
    def all_ids(self) -> frozenset[str]:
        """The ids of the host's machines and storage."""
        return self.resource_ids | self.storage_ids

    @property
    def is_registered(self) -> bool:
        """Whether the claim names an offer or a machine that was or may be bought."""
        return bool(self.offer_id or self.resource_ids)

    @property
    def is_answered(self) -> bool:
        """Whether the host has certainly bought its offer."""
        return bool(self.offer_id) and not self.unanswered


def claim_of(host: str, name: str, entry: Entry, *, by_name: bool, adopts: str = "") -> OwnershipClaim:
    """Return the claim of a host with this registry entry. Only without an entry may the name be its identity.

    A refused purchase claims nothing, since the offer belongs to someone else.
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
    """Return the claim of a host that is known only by its registry entry."""
    return replace(
        claim_of(host, entry.name or host, entry, by_name=False),
        reaped_at=entry.reaped_at,
        storage_of=entry.storage_of,
    )


def holders_of(claims: t.Iterable[OwnershipClaim], host: str) -> dict[str, str]:
    """Return the other hosts that hold resources, by resource id."""
    return {resource_id: claim.host for claim in claims if claim.host != host for resource_id in claim.all_ids}


def with_unregistered(noted: t.Sequence[OwnershipClaim], others: t.Iterable[OwnershipClaim]) -> list[OwnershipClaim]:
    """Return the claims in registries, and the first claim of each host that they lack.

    In registries several hosts may have one name, in different projects.
    """
    known = {claim.host for claim in noted}
    further = grouped((claim.host, claim) for claim in others if claim.host not in known)
    return [*noted, *(claims[0] for claims in further.values())]


def machines_and_storage(
    resources: t.Iterable[Machine], claims: t.Iterable[OwnershipClaim]
) -> tuple[list[Machine], list[Machine], list[OwnershipClaim]]:
    """Return the listed machines, the storage, and the claims with storage moved from their machines to their storage.

    An id may have been noted before the API showed its kind.
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
    """The hosts with the strongest proof for a machine: one owns it, several contest it, none means no owner."""

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
    """Return the machines that no host claims."""
    return [machine for machine, owner in owned if not owner.hosts]


def billed_among(machines: t.Iterable[Owned]) -> list[Owned]:
    """Return the machines that may be billed: live and failed ones."""
    return [owned for owned in machines if not _states.is_ending(owned[0]["status"])]


def proof(claim: OwnershipClaim, machine: Machine, numbered: t.Container[Key]) -> OwnershipProof:
    """Return the proof that the claim has for this machine, regardless of other claims. ``numbered``: see `clusters`.

    A single numbered machine, or one without an offer, belongs to another host: train-1 is not part of train.
    """
    if id_of(machine) in claim.resource_ids:
        return OwnershipProof.ID
    offer = offer_of(machine)
    is_of_cluster = bool(offer) and (offer, claim.name) in numbered
    has_name = is_named(machine, claim.name, numbered=claim.bought or is_of_cluster)
    if claim.offer_id and claim.offer_id == offer and (claim.unanswered or claim.bought):
        return OwnershipProof.PURCHASE if claim.bought or has_name else OwnershipProof.NONE
    return OwnershipProof.NAME if claim.by_name and has_name else OwnershipProof.NONE


def owners(machines: t.Iterable[Machine], claims: t.Iterable[OwnershipClaim]) -> list[tuple[Machine, Owners]]:
    """Return each machine with its owners, in the order of the machines."""
    machines = list(machines)
    # With keys, thousands of machines need not be compared with thousands of hosts.
    by_key = grouped((key, claim) for claim in claims for key in _keys_proved(claim))
    numbered = clusters(machines)
    found = [(machine, _strongest(machine, by_key, numbered)) for machine in machines]
    by_offer = grouped((offer_of(machine), host) for machine, owner in found for host in owner.hosts)
    # If the machines of an offer have several owners, each machine has all of them.
    several = {offer: tuple(sorted({*hosts})) for offer, hosts in by_offer.items() if offer and len({*hosts}) > 1}
    return [(machine, replace(owner, hosts=several.get(offer_of(machine), owner.hosts))) for machine, owner in found]


def _keys_proved(claim: OwnershipClaim) -> list[Key]:
    """Return the keys of machines for which the claim may have a proof."""
    keys = [("id", resource_id) for resource_id in claim.resource_ids]
    keys += [("offer", claim.offer_id)] if claim.unanswered or claim.bought else []
    return [*keys, ("name", claim.name), ("base", claim.name)] if claim.by_name else keys


def _strongest(
    machine: Machine, by_key: t.Mapping[Key, t.Sequence[OwnershipClaim]], numbered: t.Container[Key]
) -> Owners:
    """Return the hosts with the strongest proof for the machine. ``numbered``: see `clusters`."""
    hosts: dict[OwnershipProof, set[str]] = {}
    for claim in (claim for key in _keys_of(machine) for claim in by_key.get(key, ())):
        hosts.setdefault(proof(claim, machine, numbered), set()).add(claim.host)
    strongest = max(hosts, default=OwnershipProof.NONE)
    return Owners(tuple(sorted(hosts[strongest])), strongest) if strongest else Owners()


def rivals(claims: t.Iterable[OwnershipClaim]) -> dict[str, tuple[str, ...]]:
    """Return hosts that claim the same id, or the same offer with equal right, each with its rivals.

    An open journal yields to a host whose purchase of that offer succeeded: that host was faster.
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
    """The resources that the API lists, with the owners of machines.

    machines: None if they were not requested, or could not be read; ``unreadable`` then says why.
    claims, rivals: by host.
    read: resources that were read by their ids with ``force_refresh``; None for a 404.
    storage: listed storage, which has no owners here.
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
        """Return the account with the owners by these claims. Listed storage is no machine, even if a claim says so."""
        machines, storage, known = machines_and_storage(resources or (), claims)
        owned = None if resources is None else tuple(owners(machines, known))
        of_host = {claim.host: claim for claim in known}
        return cls(owned, unreadable, of_host, rivals(known), storage=tuple(storage))

    @property
    def owned(self) -> tuple[Owned, ...]:
        """The machines with their owners; empty if they could not be read."""
        return self.machines or ()

    @property
    def without_offer(self) -> list[str]:
        """The ids of listed resources that name no offer."""
        return [id_of(item) for item in self.resources if not offer_of(item)]

    @property
    def resources(self) -> list[Machine]:
        """All listed machines and storage."""
        return [*machines_in(self.owned), *self.storage]

    def storage_of(self, offer_id: str, ids: t.Collection[str]) -> list[Machine]:
        """Return the listed storage that names the offer, or has one of these ids."""
        return [item for item in self.storage if id_of(item) in ids or (offer_id and offer_of(item) == offer_id)]

    @property
    def unclaimed(self) -> list[Machine]:
        """The live machines that no host owns."""
        return [machine for machine in unowned(self.owned) if _states.is_live(machine["status"])]

    def named(self, name: str) -> list[Owned]:
        """Return the machines of this name that may be billed, with all other machines of their offers.

        Without a machine of exactly this name, several of one offer that the API has numbered after it count as a
        cluster of this name.
        """
        numbered = self._owned_by_key.get(("base", name), ())
        called = self._owned_by_key.get(("name", name)) or [
            item for item in numbered if (offer_of(item[0]), name) in self._clusters
        ]
        offers = dict.fromkeys(offer_of(machine) for machine, _owner in called)
        further = [item for offer_id in offers for item in self.of_offer(offer_id) if item not in called]
        return billed_among([*called, *further])

    def of_offer(self, offer_id: str) -> list[Owned]:
        """Return the machines that name this offer."""
        return self._owned_by_key.get(("offer", offer_id), [])

    def machines_with(self, ids: t.Iterable[str]) -> list[Owned]:
        """Return the machines with these ids."""
        return [owned for resource_id in ids for owned in self._owned_by_key.get(("id", resource_id), [])]

    def shows(self, machine: Machine) -> bool:
        """Whether the machine's own page shows it, or was not read."""
        return self.read.get(id_of(machine), machine) is not None

    def holder_of(self, resource_id: str, host: str) -> str:
        """Return another host that holds the resource, or an empty text."""
        return next((holder for holder in self._holders.get(resource_id, ()) if holder != host), "")

    def claimants(self, offers: t.Collection[str]) -> set[str]:
        """Return the hosts that have or may have bought one of these offers, or would adopt its machines."""
        return {claim.host for offer_id in offers for claim in self._claims_by_offer.get(offer_id, ())}

    def buyers(self, offer_id: str) -> set[str]:
        """Return the hosts that have certainly bought this offer."""
        claims = self._claims_by_offer.get(offer_id, ())
        return {claim.host for claim in claims if claim.offer_id == offer_id and claim.is_answered}

    # Indexes, since thousands of hosts are looked up among thousands of machines
    @cached_property
    def _owned_by_key(self) -> dict[Key, list[Owned]]:
        return grouped((key, item) for item in self.owned for key in _keys_of(item[0]))

    @cached_property
    def _claims_by_offer(self) -> dict[str, list[OwnershipClaim]]:
        """The claims, by the offer that was or may have been bought, and by the one to adopt."""
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
