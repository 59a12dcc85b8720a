# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The holdings of a purchase: the ids of the resources that it has bought, each with its proof.

Holdings grow by proof and shrink only by "told gone". If a later answer omits an id, nothing is removed. A
contradiction stops the host and changes nothing: lists lag, statuses name other people's machines, and a machine may be
linked to a second offer. Registration, release, decommission, reap, audit and the ledger use only holdings.
"""

from __future__ import annotations

import enum
import math
import typing as t
from dataclasses import dataclass, field
from functools import cached_property

from .. import _states
from .._text import grouped, ids_in_words, seconds_of, usd
from .lease import CLOCKS_APART
from .ownership import Machine, merged, not_told_gone
from .storage import Storage, merged_storage, storage_of


class Proof(enum.Enum):
    """The source that names a resource as bought by the purchase."""

    ANSWER = "the answer to the purchase"  # or the registry, which notes ids once they are proved
    STATUS = "the offer's status"
    OFFER = "the resource itself"
    LINK = "a machine that it is linked to"
    NAME = "the host's name, and a purchase that was never answered"


class HoldingState(enum.Enum):
    """The state of one resource that is named as bought by a purchase."""

    HELD = "held"
    STORAGE = "storage"  # bought, but not a machine: kept when the machine ends
    PENDING = "pending"  # named, but not readable yet: billed, blocks the host, and is checked again
    AFFECTED = "affected"  # storage of another offer that the purchase only attached: noted, never held or ended
    CONTRADICTION = "contradiction"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Observation:
    """A resource that was named as bought.

    resource: as the API shows it; None for a 404, or if it was not listed.
    holder: another host that holds it, or empty.
    listed_before: whether it was listed before the purchase was sent.
    """

    resource_id: str
    proof: Proof
    resource: Machine | None = None
    holder: str = ""
    listed_before: bool = False


@dataclass(frozen=True)
class Contradiction:
    """A resource that one source names as bought by the purchase, and why it cannot be."""

    observation: Observation
    why: str

    def __str__(self) -> str:
        machine = self.observation.resource or {}
        name = f" (called {machine['name']})" if machine.get("name") else ""
        return f"{self.observation.proof.value} names {self.observation.resource_id}{name}, but {self.why}"


@dataclass(frozen=True)
class Holdings:
    """The ids of one purchase's resources, each once, by `HoldingState`. ``ids``: the machines that it holds."""

    ids: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    affected: tuple[str, ...] = ()
    storage: tuple[str, ...] = ()

    @property
    def billable(self) -> tuple[str, ...]:
        """The ids of all machines that the purchase may be billed for."""
        return (*self.ids, *self.pending)


def ids_listed_before(contradictions: t.Iterable[Contradiction]) -> list[str]:
    """Return the contradicting ids that were listed before the purchase; no later look can find that out."""
    return [
        contradiction.observation.resource_id
        for contradiction in contradictions
        if contradiction.observation.listed_before
    ]


def disowned(holdings: Holdings, contradictions: t.Iterable[Contradiction]) -> list[str]:
    """Return the ids of the purchase's own answer that belong to someone else; none if the purchase holds no id.

    Ids of an answer are noted before they are checked. If none is held, the noted ids are the only trace of it.
    """
    named = [item.observation.resource_id for item in contradictions if item.observation.proof is Proof.ANSWER]
    return named if holdings.ids else []


def what_is_held(observation: Observation, offer_id: str, noted_at: float | None) -> tuple[HoldingState, str]:
    """Return the state of one resource, and why it contradicts the purchase, else an empty text. The whole table.

    ``offer_id``: of the purchase. ``noted_at``: when it was noted, before it was sent (seconds since the epoch);
    None if unknown.
    """
    resource, proof = observation.resource, observation.proof
    named = (resource or {}).get("offer_id")
    doubt = HoldingState.IGNORED if proof is Proof.NAME else HoldingState.CONTRADICTION
    if resource is not None and not _states.is_machine(resource):
        return _of_storage(observation, resource, offer_id, noted_at), ""
    if named and named != offer_id:
        return doubt, f"it says that it was bought with offer {named}"
    if observation.holder:
        return HoldingState.CONTRADICTION, f"host {observation.holder} holds it"
    if named or proof is Proof.ANSWER:
        return HoldingState.HELD, ""
    if resource is None:
        return HoldingState.PENDING, ""
    if observation.listed_before or _existed_before(resource, noted_at):
        return doubt, "it existed before the purchase was sent"
    return HoldingState.HELD, ""


def disagreed(
    host: str, offer_id: str, price_per_hour: float | None, ids: t.Sequence[str], contradictions: t.Iterable[object]
) -> str:
    """The message if a purchase was made, but the API's answers contradict each other about its machines."""
    return (
        f"Offer {offer_id} is BOUGHT for {host or 'this host'} and billed at {usd(price_per_hour)}. Resource ids:"
        f" {ids_in_words(ids)}. Contradicting: {'; '.join(map(str, contradictions))}. None of these was"
        " registered, changed or ended. Ask the API's support to correct it, then run again."
        " compute_index.supply.decommission ends only the machines that the host holds."
    )


def not_shown_yet(ids: t.Sequence[str]) -> str:
    """The message if the offer's status names resources that the API does not show by their ids."""
    return (
        f"The offer's status names {', '.join(ids)}, which the API does not show yet. It is billed, and until it is"
        " shown, the host buys nothing else. Run again to check."
    )


def _of_storage(observation: Observation, resource: Machine, offer_id: str, noted_at: float | None) -> HoldingState:
    """Return the state of storage: the purchase bought it, or only attached it. Storage never stops a host."""
    proof, named = observation.proof, resource.get("offer_id")
    if _states.is_gone(resource["status"]):
        return HoldingState.IGNORED
    if observation.holder or (named and named != offer_id):
        return HoldingState.AFFECTED
    # A purchase's own answer is better proof than two clocks. But it did not bring storage that was listed before.
    is_older = observation.listed_before or (proof is not Proof.ANSWER and _existed_before(resource, noted_at))
    return HoldingState.AFFECTED if is_older and not named else HoldingState.STORAGE


def _existed_before(resource: Machine, noted_at: float | None) -> bool:
    """Whether a resource is certainly older than a purchase; ``noted_at`` in seconds since the epoch."""
    created = seconds_of(resource.get("created_at"))
    return created is not None and noted_at is not None and created < noted_at - CLOCKS_APART


@dataclass(frozen=True)
class PurchaseLook:
    """The resources of a purchase, as one look shows them.

    noted: ids that were proved before. named: ids in the offer's status.
    noted_at: when the purchase was noted, before it was sent (seconds since the epoch), None if unknown.
    listed: listed resources of the account, by id.
    read: resources that were read by their ids with ``force_refresh``; None for a 404.
    holders: other hosts that hold resources, by resource id.
    listed_before: ids that were listed before the purchase was sent.
    storage: ids that are noted as the host's storage, and need no other proof.
    """

    offer_id: str
    noted: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    noted_at: float | None = None
    listed: t.Mapping[str, Machine] = field(default_factory=dict)
    read: t.Mapping[str, Machine | None] = field(default_factory=dict)
    holders: t.Mapping[str, str] = field(default_factory=dict)
    listed_before: t.Collection[str] = ()
    storage: t.Collection[str] = ()

    @property
    def ids_to_prove(self) -> tuple[str, ...]:
        """The ids that must be read one by one before they decide anything, since a list may lag.

        An ordinary purchase has none: its ids were proved before, and no list contradicts them.
        """
        unlisted = (item for item in self.linked if item not in self.listed)
        ids = (*filter(self._is_unproved, (*self.noted, *self.named)), *unlisted)
        gone = (item for item in self.storage if _is_told_gone(self.listed.get(item)))
        own = (item for item in ids if item not in self.storage)
        return tuple(item for item in (*own, *gone) if item not in self.read)

    @property
    def unlisted(self) -> tuple[str, ...]:
        """The proved ids that the list lacks; they must be read one by one."""
        return tuple(item for item in self.noted if item not in self.listed)

    def _is_unproved(self, resource_id: str) -> bool:
        offer_id = (self.listed.get(resource_id) or {}).get("offer_id")
        return offer_id != self.offer_id if resource_id not in self.noted else offer_id not in (None, self.offer_id)

    @property
    def names_only_proved(self) -> bool:
        """Whether the status names only ids that were proved before."""
        return set(self.named) <= {*self.noted, *self.storage}

    @cached_property
    def linked(self) -> list[str]:
        """The ids of storage that machines of the purchase are linked to; the list may omit it."""
        pages = (resource for resource in map(self.page_of, self.ids) if resource and _states.is_machine(resource))
        return [item for machine in pages for item in linked_to(machine)]

    @cached_property
    def _attached_later(self) -> set[str]:
        """The ids of storage that existed before the purchase, or was linked to a machine long after its creation."""
        pages = filter(None, map(self.page_of, self.ids))
        return {item for machine in pages for item in _linked_later(machine)}.union(self.listed_before)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """All ids that any source names, proved or not: what may be left of an unanswered purchase."""
        return tuple(dict.fromkeys((*self.noted, *self.named, *self._own)))

    @cached_property
    def _own(self) -> list[str]:
        return [item for item, resource in self.listed.items() if resource["offer_id"] == self.offer_id]

    def page_of(self, resource_id: str) -> Machine | None:
        """Return the resource as read by its id, else as listed; None if neither shows it."""
        page, listed = self.read.get(resource_id), self.listed.get(resource_id)
        return merged(page, listed) if page else listed

    def observations(self) -> t.Iterator[Observation]:
        """Return the observed resources, each once, with its strongest proof."""
        linked = [item for item in self.linked if self.page_of(item)]
        by_proof = (
            (Proof.LINK, linked),
            (Proof.OFFER, self._own),
            (Proof.STATUS, self.named),
            (Proof.ANSWER, self.noted),
        )
        proofs = {item: proof for proof, ids in by_proof for item in ids}
        for item in dict.fromkeys((*self.ids, *linked)):
            if item not in self.storage:
                is_older = item in (self._attached_later if proofs[item] is Proof.LINK else self.listed_before)
                yield Observation(item, proofs[item], self.page_of(item), self.holders.get(item, ""), is_older)

    @cached_property
    def concluded(self) -> tuple[Holdings, tuple[Contradiction, ...]]:
        """The holdings of the purchase, and the contradictions, which change nothing."""
        verdicts = [(item, *what_is_held(item, self.offer_id, self.noted_at)) for item in self.observations()]
        ids = grouped((state, item.resource_id) for item, state, _why in verdicts)
        states = (HoldingState.HELD, HoldingState.PENDING, HoldingState.AFFECTED, HoldingState.STORAGE)
        holdings = Holdings(*(tuple(ids.get(state, ())) for state in states))
        odd = (Contradiction(item, why) for item, state, why in verdicts if state is HoldingState.CONTRADICTION)
        return holdings, tuple(odd)

    def storage_with(
        self, ids: t.Iterable[str], noted: t.Collection[Storage], offer: t.Mapping[str, t.Any]
    ) -> tuple[Storage, ...]:
        """Return ``noted`` storage that was not told gone, and the purchase's resources with these ids as storage.

        ``offer``: the offer that it bought.
        """
        left = [item for item in noted if not _is_told_gone(self.page_of(item.resource_id))]
        pages = filter(None, map(self.page_of, ids))
        return merged_storage(left, (*left, *(storage_of(resource, self.offer_id, offer) for resource in pages)))

    def left_of(self, ids: t.Iterable[str]) -> tuple[str, ...]:
        """Return the ids that may still be billed as machines: all but storage, and those told gone."""
        machines = [item for item in ids if item not in self.storage]
        return tuple(not_told_gone(machines, [*filter(None, map(self.page_of, machines))]))


def _is_told_gone(resource: Machine | None) -> bool:
    return resource is not None and _states.is_gone(resource["status"])


def linked_to(machine: Machine) -> list[str]:
    """Return the ids of resources other than machines that a machine is linked to; see `read_resource`.

    For a machine that ends or is gone these include past links: links end with the machine, but storage remains.
    """
    links, is_ending = machine.get("linked_resources") or (), _states.is_ending(machine["status"])
    known = (link for link in links if link["kind"] != _states.MACHINE and (is_ending or not link.get("linked_until")))
    return [str(link["resource_id"]).lower() for link in known]


def links_in(answers: t.Iterable[object]) -> set[str]:
    """Return the ids that the machines among these answers are linked to; other answers are errors or None."""
    return {item for answer in answers if isinstance(answer, t.Mapping) for item in linked_to(answer)}


def _linked_later(machine: Machine) -> list[str]:
    """Return the ids linked to a machine long after its creation, if the API dates both: they may be anyone's."""
    created, links = seconds_of(machine.get("created_at")), machine.get("linked_resources") or ()
    latest = math.inf if created is None else created + _states.LINKED_LATER
    return [str(link["resource_id"]).lower() for link in links if (seconds_of(link.get("linked_since")) or 0) > latest]
