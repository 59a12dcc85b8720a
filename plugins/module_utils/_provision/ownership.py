# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose machine is it? The one rule, for the role, the audit, approvals and every end of a machine.

A machine is a host's by the strongest of these proofs, and nobody's if two hosts have the same:

1. the host's registry names its id;
2. the host's journal names its offer, and the purchase was answered with yes, or never answered and the machine has the
   host's name;
3. the host has no registry, so its name is its identity, and the machine is called exactly so;
4. the same, and the machine is one of several that the API numbers after that name.

With a registry a name alone proves nothing: accounts are shared. An offer belongs to one host, so hosts that prove
different machines of one offer contest all of them.

This module util is private to the collection.
"""

from __future__ import annotations

import enum
import re
import typing as t
from dataclasses import dataclass

from .._registry import MADE
from .entry import Entry

Machine = t.Mapping[str, t.Any]  # a resource as the tolerant reader returns it


class Proof(enum.IntEnum):
    """Why a machine is a host's; the higher one wins."""

    NONE = 0
    NUMBERED = 1
    NAME = 2
    PURCHASE = 3
    ID = 4


@dataclass(frozen=True)
class Claim:
    """What a host says that it owns. ``by_name``: it has no registry, or a person lets it adopt."""

    host: str
    name: str
    offer_id: str = ""
    resource_ids: frozenset[str] = frozenset()
    unanswered: bool = False
    by_name: bool = False
    bought: bool = False  # the answer was yes, but no id is noted yet

    @property
    def is_registered(self) -> bool:
        """Whether it names something that was or may be bought."""
        return bool(self.offer_id or self.resource_ids)


def claim_of(host: str, name: str, entry: Entry, *, by_name: bool) -> Claim:
    """The claim of a host with this registry entry. A name is no identity beside an entry that names something."""
    ids = frozenset(entry.resource_ids)
    bought = entry.purchase == MADE and not ids
    return Claim(host, name, entry.offer_id, ids, entry.is_open, by_name and entry.is_empty, bought)


@dataclass(frozen=True)
class Owners:
    """The hosts that prove that a machine is theirs: one owns it, several contest it, none leaves it to nobody."""

    hosts: tuple[str, ...] = ()
    proof: Proof = Proof.NONE

    @property
    def is_contested(self) -> bool:
        """Whether a person must say whose it is."""
        return len(self.hosts) > 1


def proof(claim: Claim, machine: Machine) -> Proof:
    """What the claim proves of this machine by itself."""
    if machine["resource_id"] in claim.resource_ids and machine["resource_id"]:
        return Proof.ID
    if claim.offer_id and claim.offer_id == machine["offer_id"] and (claim.unanswered or claim.bought):
        return Proof.PURCHASE if claim.bought or is_named(machine, claim.name, numbered=True) else Proof.NONE
    if claim.by_name and is_named(machine, claim.name):
        return Proof.NAME
    if claim.by_name and is_named(machine, claim.name, numbered=True):
        return Proof.NUMBERED
    return Proof.NONE


def is_named(machine: Machine, name: str, *, numbered: bool = False) -> bool:
    """Whether the machine has the name; with ``numbered`` also if the API numbers several machines after it."""
    own = machine["name"] or ""
    return bool(own == name or (numbered and re.fullmatch(rf"{re.escape(name)}-[0-9]+", own)))


def owners(machines: t.Iterable[Machine], claims: t.Iterable[Claim]) -> list[tuple[Machine, Owners]]:
    """Each machine with those who own it, in the order of the machines."""
    known = _Index(claims)
    found = [(machine, known.best(machine)) for machine in machines]
    by_offer: dict[str, set[str]] = {}
    for machine, owner in found:
        if machine["offer_id"]:
            by_offer.setdefault(machine["offer_id"], set()).update(owner.hosts)
    return [
        (machine, Owners(tuple(sorted(by_offer[machine["offer_id"]])), owner.proof))
        if machine["offer_id"] and len(by_offer[machine["offer_id"]]) > 1
        else (machine, owner)
        for machine, owner in found
    ]


class _Index:
    """Claims by what they may prove, so that thousands of machines are not compared with thousands of hosts."""

    def __init__(self, claims: t.Iterable[Claim]) -> None:
        self._claims: dict[tuple[str, str], list[Claim]] = {}
        for claim in claims:
            keys = [("id", resource_id) for resource_id in claim.resource_ids]
            keys += [("offer", claim.offer_id)] if claim.unanswered or claim.bought else []
            keys += [("name", claim.name)] if claim.by_name else []
            for key in keys:
                self._claims.setdefault(key, []).append(claim)

    def best(self, machine: Machine) -> Owners:
        name = machine["name"] or ""
        base = re.sub(r"-[0-9]+$", "", name)
        keys = [("id", machine["resource_id"]), ("offer", machine["offer_id"]), ("name", name), ("name", base)]
        candidates = {claim.host: claim for key in keys for claim in self._claims.get(key, ())}
        proofs = {host: proof(claim, machine) for host, claim in candidates.items()}
        strongest = max(proofs.values(), default=Proof.NONE)
        if strongest is Proof.NONE:
            return Owners()
        return Owners(tuple(sorted(host for host, each in proofs.items() if each is strongest)), strongest)


def rivals(claims: t.Iterable[Claim]) -> dict[str, tuple[str, ...]]:
    """Hosts that claim the same id, or the same offer with equal right, each with the others.

    A journal that is only open yields to a host whose registry names the machines of that offer: it was faster.
    """
    claims = list(claims)
    groups: dict[tuple[str, str], set[str]] = {}
    settled = {claim.offer_id for claim in claims if claim.offer_id and claim.resource_ids}
    for claim in claims:
        for resource_id in claim.resource_ids:
            groups.setdefault(("id", resource_id), set()).add(claim.host)
        if claim.offer_id and (claim.resource_ids or claim.offer_id not in settled):
            groups.setdefault(("offer", claim.offer_id), set()).add(claim.host)
    found: dict[str, set[str]] = {}
    for hosts in groups.values():
        for host in hosts if len(hosts) > 1 else ():
            found.setdefault(host, set()).update(hosts - {host})
    return {host: tuple(sorted(others)) for host, others in found.items()}
