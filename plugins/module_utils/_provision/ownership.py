# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose machine is it? The one rule, for the role, the audit, approvals and every end of a machine.

A machine is a host's by the strongest of these proofs, and nobody's if two hosts have the same:

1. the host's registry names its id;
2. the host's journal names its offer, and the purchase was answered with yes; or it was never answered, and the machine
   has the host's name, or is one of several that the API numbers after it;
3. the host has no registry, so its name is its identity, and the machine is called exactly so;
4. the same, and the machine is one of several of one offer that the API numbers after that name.

With a registry a name alone proves nothing: accounts are shared. An offer belongs to one host, so hosts that prove
different machines of one offer contest all of them.
"""

from __future__ import annotations

import enum
import re
import typing as t
from collections import Counter
from dataclasses import dataclass, replace

from .. import _states
from .._text import grouped
from .entry import MADE, Entry
from .machines import machines_among

Machine = t.Mapping[str, t.Any]  # a resource as the tolerant reader returns it


class OwnershipProof(enum.IntEnum):
    """Why a machine is a host's; the higher one wins."""

    NONE = 0
    NUMBERED = 1
    NAME = 2
    PURCHASE = 3
    ID = 4


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
    run: str = ""  # that has bought it, for a person; empty where nobody knows
    reaped_at: str = ""  # when a run has begun to end it
    storage_ids: frozenset[str] = frozenset()
    storage_of: str = ""  # the host whose machine has ended, if it is about storage alone
    affected_ids: frozenset[str] = frozenset()  # others' storage that its purchase has only named

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


def claim_of(host: str, name: str, entry: Entry, *, by_name: bool) -> OwnershipClaim:
    """The claim of a host with this registry entry. A name is no identity beside an entry that names something.

    A purchase that was refused claims nothing: the offer is somebody else's.
    """
    if entry.is_refused:
        return OwnershipClaim(host, name, by_name=by_name)
    ids = frozenset(entry.resource_ids)
    bought = entry.purchase == MADE or bool(ids)
    claim = OwnershipClaim(host, name, entry.offer_id, ids, entry.is_unanswered, by_name and entry.is_empty, bought)
    return replace(claim, storage_ids=frozenset(item.resource_id for item in entry.storage)) if entry.storage else claim


def noted_claim(host: str, entry: Entry) -> OwnershipClaim:
    """The claim of a host of which only its registry entry is known."""
    claim = claim_of(host, entry.name or host, entry, by_name=False)
    claim = replace(claim, storage_of=entry.storage_of, affected_ids=frozenset(entry.affected))
    return replace(claim, run=entry.bought_by, reaped_at=entry.reaped_at)


def holders_of(claims: t.Iterable[OwnershipClaim], host: str) -> dict[str, str]:
    """The other hosts than this one that hold resources, by the ids of these."""
    return {resource_id: claim.host for claim in claims if claim.host != host for resource_id in claim.all_ids}


def with_unnoted(noted: t.Sequence[OwnershipClaim], others: t.Iterable[OwnershipClaim]) -> list[OwnershipClaim]:
    """What registries note, where hosts of several projects may have one name, and the first claim of other hosts."""
    known = {claim.host for claim in noted}
    further = grouped((claim.host, claim) for claim in others if claim.host not in known)
    return [*noted, *(claims[0] for claims in further.values())]


def apart(
    resources: t.Iterable[Machine], claims: t.Iterable[OwnershipClaim]
) -> tuple[list[Machine], list[Machine], list[OwnershipClaim]]:
    """What is listed as machines, and as storage; and the claims, which name no storage as a machine any more.

    Earlier versions noted the ids of storage beside the machines'.
    """
    listed = list(resources)
    storage = [item for item in listed if not _states.is_machine(item)]
    ids = {id_of(item) for item in storage}
    return machines_among(listed), storage, [_without_storage(claim, ids) for claim in claims]


def _without_storage(claim: OwnershipClaim, storage: t.Collection[str]) -> OwnershipClaim:
    ids = claim.resource_ids.intersection(storage)
    if not ids:
        return claim
    return replace(claim, resource_ids=claim.resource_ids - ids, storage_ids=claim.storage_ids | ids)


@dataclass(frozen=True)
class Owners:
    """The hosts that prove that a machine is theirs: one owns it, several contest it, none leaves it to nobody."""

    hosts: tuple[str, ...] = ()
    proof: OwnershipProof = OwnershipProof.NONE

    @property
    def is_contested(self) -> bool:
        """Whether a person must say whose it is."""
        return len(self.hosts) > 1


Owned = tuple[Machine, Owners]


def machines_in(owned: t.Iterable[Owned]) -> list[Machine]:
    """The machines without their owners."""
    return [machine for machine, _owner in owned]


def unowned(owned: t.Iterable[Owned]) -> list[Machine]:
    """The machines that nobody claims."""
    return [machine for machine, owner in owned if not owner.hosts]


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
    if not (claim.by_name and is_named(machine, claim.name, numbered=True)):
        return OwnershipProof.NONE
    return OwnershipProof.NAME if is_named(machine, claim.name) else OwnershipProof.NUMBERED


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


def clusters(machines: t.Iterable[Machine]) -> frozenset[tuple[str, str]]:
    """Offers, each with the name of a cluster: several of its machines have it, with a number or without."""
    known = list(machines)
    sizes = Counter((offer_of(machine), machine["name"] or "") for machine in known)
    sizes.update((offer_of(machine), base_of(machine["name"] or "")) for machine in known)
    return frozenset(key for key, size in sizes.items() if key[1] and size > 1)


def owners(machines: t.Iterable[Machine], claims: t.Iterable[OwnershipClaim]) -> list[tuple[Machine, Owners]]:
    """Each machine with those who own it, in the order of the machines."""
    machines = list(machines)
    known = _Index(claims, clusters(machines))
    found = [(machine, known.best(machine)) for machine in machines]
    by_offer: dict[str, set[str]] = {}
    for machine, owner in found:
        by_offer.setdefault(offer_of(machine), set()).update(owner.hosts)
    by_offer.pop("", None)
    # If the machines of an offer have several owners, each machine has all of them.
    several = {offer: tuple(sorted(hosts)) for offer, hosts in by_offer.items() if len(hosts) > 1}
    return [(machine, replace(owner, hosts=several.get(offer_of(machine), owner.hosts))) for machine, owner in found]


class _Index:
    """Claims by what they may prove, so that thousands of machines are not compared with thousands of hosts."""

    def __init__(self, claims: t.Iterable[OwnershipClaim], several: t.Collection[tuple[str, str]]) -> None:
        self._several = several
        self._claims: dict[tuple[str, str], list[OwnershipClaim]] = {}
        for claim in claims:
            keys = [("id", resource_id) for resource_id in claim.resource_ids]
            keys += [("offer", claim.offer_id)] if claim.unanswered or claim.bought else []
            keys += [("name", claim.name)] if claim.by_name else []
            for key in keys:
                self._claims.setdefault(key, []).append(claim)

    def best(self, machine: Machine) -> Owners:
        name = machine["name"] or ""
        keys = [("id", id_of(machine)), ("offer", offer_of(machine)), ("name", name), ("name", base_of(name))]
        proofs: dict[str, OwnershipProof] = {}
        for claim in (claim for key in keys for claim in self._claims.get(key, ())):
            proofs[claim.host] = max(proofs.get(claim.host, OwnershipProof.NONE), self._proof(claim, machine))
        strongest = max(proofs.values(), default=OwnershipProof.NONE)
        if strongest is OwnershipProof.NONE:
            return Owners()
        return Owners(tuple(sorted(host for host, item in proofs.items() if item is strongest)), strongest)

    def _proof(self, claim: OwnershipClaim, machine: Machine) -> OwnershipProof:
        """What it proves. A single machine with a number is rather another host's: train-1 is no part of train."""
        ownership_proof = proof(claim, machine)
        if ownership_proof is OwnershipProof.ID or claim.bought or is_named(machine, claim.name):
            return ownership_proof
        return ownership_proof if (offer_of(machine), claim.name) in self._several else OwnershipProof.NONE


def rivals(claims: t.Iterable[OwnershipClaim]) -> dict[str, tuple[str, ...]]:
    """Hosts that claim the same id, or the same offer with equal right, each with the others.

    A journal that is only open yields to a host whose purchase of that offer was answered: it was faster.
    """
    claims = list(claims)
    groups: dict[tuple[str, str], set[str]] = {}
    settled = {claim.offer_id for claim in claims if claim.is_answered}
    for claim in claims:
        for resource_id in claim.resource_ids:
            groups.setdefault(("id", resource_id), set()).add(claim.host)
        if claim.offer_id and not (claim.unanswered and claim.offer_id in settled):
            groups.setdefault(("offer", claim.offer_id), set()).add(claim.host)
    found: dict[str, set[str]] = {}
    for hosts in groups.values():
        for host in hosts if len(hosts) > 1 else ():
            found.setdefault(host, set()).update(hosts - {host})
    return {host: tuple(sorted(others)) for host, others in found.items()}
