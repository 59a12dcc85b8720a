# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One purchase: its journal in the registry, and the machines of its offer at the API.

The journal says ``sent`` before the purchase is sent, and until its outcome is known. A refusal is noted at once in
``provision_refused_status``, so that a later run knows that the purchase was answered. ``refused``, which frees the
host, is noted only after the offer's status has confirmed that nothing was bought.

`OfferMachines` finds all resource ids of a purchase.
"""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import replace

from .. import _states
from .._api.client import ApiError, Json, SupplyApi
from .._provision import claims, ownership
from .._provision.entry import (
    EXPIRED,
    JOURNALED,
    OFFER,
    PRICE,
    STATUS,
    Entry,
    changes_once_freed,
    changes_once_made,
    entry_before_sending,
    forbids_buying,
    is_about,
    is_journaled,
    is_same_purchase,
    read_entry,
    seconds_since_expired,
)
from .._provision.holdings import PurchaseLook
from .._provision.lease import NOTED_BY, Clock, noted_clock
from .._provision.purchase import (
    LONGEST_POST,
    PHASE_OF_ERROR,
    UNSEEN,
    History,
    OfferLook,
    confirmed_phase,
    list_must_confirm,
    needs_machine_list,
    needs_time_gone,
    owner_by_name,
    phase_in_words,
    possible_machines,
    with_other_owners,
)
from .._provision.standing import storage_bought
from .._provision.storage import Storage
from .._registry._protocol import Claimed, Registry, RegistryError, Variables
from .._text import seconds_of, utc
from .reading import read_by_id


class Journal:
    """The registry entry of a host, for the purchase of one offer. Without a registry, it remembers nothing.

    ``facts``: variables to note besides the purchase's state and its ``order`` (`sending.noted_order`). If the registry
    is read-only, no outcome is noted. Methods raise RegistryError.
    """

    def __init__(
        self, registry: Registry | None, offer_id: str, facts: Variables, order: Variables | None = None
    ) -> None:
        self._registry = registry
        self._writable = registry if registry and not registry.read_only else None
        self.where = registry.where if registry else None  # the place of the entry, for messages
        self._offer_id = offer_id
        self._facts = {**facts, OFFER: offer_id}
        self.order = order or {}
        self._entry: Variables = {}

    @property
    def clock(self) -> Clock:
        """The present time of the registry's clocks. Only for purchases with a registry."""
        return t.cast(Registry, self._registry).clock()

    @property
    def entry(self) -> Entry:
        """The entry, if it is about this offer; else an empty one."""
        return read_entry(self._entry)

    def read(self) -> None:
        """Read the entry.

        Raises Claimed if another offer may have been bought for the host, or if another run is buying now.
        """
        variables = (self._registry.read() if self._registry else None) or {}
        if self._registry and forbids_buying(read_entry(variables), self._offer_id):
            raise Claimed(self._registry.where, variables)
        self._entry = variables if is_about(variables, self._offer_id) else {}

    def hold(self) -> None:
        """Hold an open purchase, so that no other run settles it, and read the entry again. Raises Claimed."""
        if self._writable and self.entry.is_open:
            self._writable.hold()
            self.read()

    def close(self) -> None:
        """Give back what this run holds. Never raises."""
        if self._registry:
            self._registry.close()

    def since_sent(self) -> float:
        """The seconds since the purchase was journaled; 0 if unknown."""
        sent_at = seconds_of(self._entry.get(JOURNALED))
        return 0.0 if sent_at is None else max(0.0, self._now() - sent_at)

    def claim(self, price_per_hour: float | None) -> None:
        """Note that the purchase is about to be sent, at this price (USD per hour). Raises Claimed; see `Registry`."""
        if self._registry is None:
            return
        order = self.entry.first_order if self.entry.is_open else self.order
        entry = entry_before_sending(self._facts, price_per_hour, self._journaled(), order)
        self._entry = self._registry.claim(entry)

    def check_held(self) -> None:
        """Read the entry again after the purchase was sent. Raises RegistryError if this run no longer holds it."""
        if self._registry is None:
            return
        self.read()
        if not (self.entry.is_made or self._registry.still_holds()):
            raise RegistryError(claims.not_held(self._registry.where))

    def note_refusal(self, status: int) -> None:
        """Note the HTTP status by which the purchase was refused, unless it is noted as made."""
        if self._registry is not None and not self.entry.is_made:
            self._entry = self._registry.note({STATUS: status})

    def free(self, status: int | None = None, *, made: bool = False, kept: t.Collection[Storage] = ()) -> None:
        """Note that the purchase is over and has left no machine, unless another run has begun it again.

        ``status``: the HTTP status of its refusal. ``made``: it was made and failed later, so it may have been billed
        until now. ``kept``: the storage that is left of it.
        """
        if self._writable is None:
            return
        before = self._entry
        try:
            self.read()
        except Claimed:
            return
        if is_same_purchase(before, self._entry):
            for changes in changes_once_freed(self._offer_id, status, is_made=made, kept=kept):
                self._entry = self._writable.note(changes)

    def note_purchase(
        self,
        resource_ids: list[str],
        price_per_hour: float | None,
        strange: t.Sequence[str] = (),
        disowned: t.Collection[str] = (),
    ) -> None:
        """Note that the purchase was made, and its resource ids, in addition to what is noted already.

        ``strange``: ids that only seem to belong to it, since they were listed before. ``disowned``: see `Registry`.
        Raises Claimed if another offer may have been bought for the host meanwhile.
        """
        if self._writable is None:
            return
        before = self._writable.read() or {}
        facts = {**self._facts, PRICE: price_per_hour}
        if not is_journaled(before, self._offer_id):
            facts.update(self._journaled())
        if changes := changes_once_made(before, facts, resource_ids, strange, disowned):
            self._entry = self._writable.note(changes, disowned)

    @property
    def longest_post(self) -> float:
        """The seconds for which an offer must have been gone to prove that an unanswered purchase was not made."""
        return self._registry.longest_post if self._registry else LONGEST_POST

    def with_time_gone(self, history: History, phase: str | None) -> History:
        """The history, with whether the offer has been gone for long, if that matters. Notes when it was first gone."""
        if not (self._entry and needs_time_gone(history, phase)):
            return history
        earliest, latest = self.clock.span
        if seconds_of(self._entry.get(EXPIRED)) is None:
            now: Variables = {OFFER: self._offer_id, EXPIRED: utc(latest)}
            self._entry = self._writable.note(now) if self._writable else {**self._entry, **now}
        return replace(history, gone_long=seconds_since_expired(self._entry, earliest) >= self.longest_post)

    def gone_since(self, later: float = 0.0) -> str:
        """When the offer was first seen as gone (in UTC), plus ``later`` seconds; if that is not noted, from now on."""
        first = seconds_of(self._entry.get(EXPIRED))
        return utc((self._now() if first is None else first) + later)

    def _journaled(self) -> Variables:
        """The present time and the clock it is from: the one that noted the end of the lease, or the registry's."""
        clock = self.clock
        noted_by = self._facts.get(NOTED_BY) or clock.noting
        return {NOTED_BY: noted_clock(noted_by), JOURNALED: utc(clock.now(noted_by))}

    def _now(self) -> float:
        return self._registry.now() if self._registry else time.time()


_SHOWN = ("resource_id", "name", "status", "price_per_hour")


class OfferMachines:
    """The machines of one offer, as of the latest look.

    ``listed``: the listed machines of any owner, with a few fields. ``billed``: the ids that may be billed.
    ``unreadable``: why the machines cannot be listed. ``owner``: of the machines, by their names. ``status``: of the
    offer, empty if it cannot be read. ``asked``: that in words, or why not.
    """

    def __init__(
        self,
        api: SupplyApi,
        offer_id: str,
        names: t.Collection[str],
        claims: t.Callable[[], t.Iterable[ownership.OwnershipClaim]],
        listed_before: t.Collection[str] = (),
    ) -> None:
        """``claims``: reads the ownership claims of all hosts.

        ``listed_before``: the ids of resources that were listed before the purchase and named no offer.
        """
        self._api, self._claims = api, claims
        self._listed_before = listed_before
        self._offer_id = offer_id
        self._names = names
        self.listed: list[Json] = []
        self.billed: list[str] = []
        self.unreadable: ApiError | None = None
        self.owner = UNSEEN
        self.status: Json = {}
        self.asked: str | ApiError = ""
        self._named: list[str] = []  # ids in the latest status
        self._resources: list[Json] = []
        self._filtered: list[Json] = []  # the list, filtered by the offer

    def look(self, history: History, noted_ids: t.Iterable[str], **how: t.Any) -> OfferLook:
        """Read the offer's phase, and if it matters, who owns the offer's machines.

        ``noted_ids``: the ids in the registry or in the purchase's answer. ``how``: options of the status request.
        """
        self.status, self._named, self._resources, self.owner = {}, [], [], UNSEEN
        try:
            status = self._api.offer_status(self._offer_id, **how)
        except ApiError as error:
            self.asked = error
            seen = self._unbought(history, PHASE_OF_ERROR.get(error.error_class))
        else:
            self.status, self.asked = status, phase_in_words(status)
            if status["phase"] in (_states.UNBOUGHT, _states.EXPIRED):
                seen = self._unbought(history, status["phase"])
            else:
                seen = self._bought(history, status, noted_ids)
        with contextlib.suppress(ApiError):
            of_offer = self._offer_id, self.billed
            return with_other_owners(history, seen, of_offer, self._claims, lambda: self._api.resources(retries=0))
        return seen

    def _bought(self, history: History, status: Json, noted_ids: t.Iterable[str]) -> OfferLook:
        """Look at the machines of an offer that was bought, or was bought and failed."""
        ids = ownership.ids_in(status)
        self._named = ids
        is_failed = status["phase"] == _states.FAILED
        ids = list(dict.fromkeys([*ids, *(noted_ids if is_failed else ())]))
        found = self._read(history, ids, ownership.ids_for_match(status)) if needs_machine_list(history, ids) else []
        self.billed = ownership.not_told_gone(ids, [*self._resources, *found])
        # If the machines cannot be listed, they may include ours. For a failed offer, known ids are enough.
        is_known = self.unreadable is None or (is_failed and self.billed)
        left = bool(self.billed) if is_known else None
        return OfferLook(status["phase"], self.owner, left, listed=bool(found))

    def _unbought(self, history: History, phase: str | None) -> OfferLook:
        """Look for machines of an offer that seems unbought, gone or unreadable, if such machines matter."""
        if not list_must_confirm(history, phase):
            return OfferLook(phase)
        found = self._read(history, [], [])
        self.billed = ownership.ids_not_gone(found)
        return OfferLook(confirmed_phase(phase, self.unreadable), self.owner, bool(self.billed), listed=bool(found))

    def purchase_look(self, entry: Entry, ids: t.Iterable[str] = (), doubted: t.Iterable[str] = ()) -> PurchaseLook:
        """The evidence of what our purchase holds: its ``entry``, its answer's ``ids``, and the latest look.

        Noted ids that the list lacks, and ``doubted`` ids, are read by id: their pages name the offer that bought them.
        """
        look = PurchaseLook(
            self._offer_id,
            (*entry.resource_ids, *ids),
            tuple(self._named),
            seconds_of(entry.journaled_at),
            {resource["resource_id"]: resource for resource in self._resources if resource["resource_id"]},
            listed_before={*self._listed_before, *entry.listed_before},
        )
        return replace(look, read=read_by_id(self._api, {*look.ids_to_prove, *doubted, *look.unlisted}))

    def storage_left(self, host: str, entry: Entry, look: PurchaseLook) -> tuple[Storage, ...]:
        """The storage that a failed purchase of the host has left. ``look``: its `purchase_look`."""
        return storage_bought(entry, replace(look, holders=ownership.holders_of(self._claims(), host)))

    def look_for_unnamed(self, nodes: int) -> None:
        """Look for the machines of a purchase whose answer named none. An error must not hide the purchase.

        ``nodes``: the number of machines in the offer.
        """
        with contextlib.suppress(ApiError):
            status = self._api.offer_status(self._offer_id, retries=0)
            self._named = ownership.ids_in(status)
            if not self._named:
                self._read(History(), [], ownership.ids_for_match(status))
                machines = ownership.machines_among(self._filtered)
                self._named = ownership.named_by_filter(machines, self._offer_id, status["procured_at"], nodes)

    def _read(self, history: History, ids: list[str], match: list[str]) -> list[Json]:
        """The machines of the offer, and those that may be: from the list, and by their ids if it omits them."""
        self.unreadable, self._filtered = None, []
        try:
            self._filtered = self._api.resources(self._offer_id, retries=0)
            machines = ownership.bought_with(self._filtered, self._offer_id, [*ids, *match])
        except ApiError as error:
            self.unreadable = error
            machines = []
        # Machines that the list lacks or calls gone are read by their ids.
        doubted = set(ids).difference(ownership.ids_not_gone(machines))
        read = read_by_id(self._api, doubted)
        machines = ownership.refreshed(machines, read, doubted.difference(read))
        self._resources = machines
        machines = ownership.machines_among(machines)
        possible = self._possible_machines(history, {*self._listed_before, *map(ownership.id_of, machines)})
        self.owner = owner_by_name(machines, self._names, possible)
        machines += possible
        self.listed[:] = [{key: item[key] for key in _SHOWN} for item in machines]
        return machines

    def _possible_machines(self, history: History, left_out: t.Collection[str]) -> list[Json]:
        """The `possible_machines`, each by its own page, since the list may lag behind an end, or omit offers."""
        found = possible_machines(history, self._offer_id, self._filtered, self._names, left_out)
        found = ownership.refreshed(found, read_by_id(self._api, filter(None, map(ownership.id_of, found))))
        return possible_machines(history, self._offer_id, found, self._names, left_out)
