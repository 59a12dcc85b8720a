# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of one purchase: its journal, by the registry; and the machines of its offer, by the API.

``sent`` is written before the purchase is sent, and stays until it is clear what became of it. A refusal is noted at
once beside it (``provision_refused_status``), so that a later run knows that the purchase was answered; ``refused``,
which frees the host, is written only once the offer's status has shown that nothing came of it all the same.

Every id that a purchase names comes from `OfferMachines`.
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
    namesakes_without_offer,
    needs_machine_list,
    needs_time_gone,
    owner_by_name,
    phase_in_words,
    with_other_owners,
)
from .._provision.standing import storage_bought
from .._provision.storage import Storage
from .._registry._protocol import Claimed, Registry, RegistryError, Variables
from .._text import seconds_of, utc
from .reading import read_by_id


class Journal:
    """The registry of a host, seen from the purchase of one offer; without a registry it remembers nothing.

    ``facts`` are what is kept of the purchase beside its state and its ``order``: see `sending.noted_order`. Methods
    raise RegistryError. Of a registry that is only read it tells what it would note, and notes nothing.
    """

    def __init__(
        self, registry: Registry | None, offer_id: str, facts: Variables, order: Variables | None = None
    ) -> None:
        self._registry = registry
        self._offer_id = offer_id
        self._facts = {**facts, OFFER: offer_id}
        self.order = order or {}
        self._entry: Variables = {}

    @property
    def where(self) -> str | None:
        """The place of the registry, for messages."""
        return None if self._registry is None else self._registry.where

    @property
    def _writes(self) -> Registry | None:
        """The registry, if it may be changed."""
        return None if self._registry is None or self._registry.read_only else self._registry

    @property
    def clock(self) -> Clock:
        """The clocks of the registry at this moment; without one this computer's."""
        return self._registry.clock() if self._registry else Clock(time.time())

    @property
    def entry(self) -> Entry:
        """What is noted of this offer."""
        return read_entry(self._entry)

    def read(self) -> None:
        """Read what is noted of this offer.

        Raises Claimed if another offer may have been bought for the host, or if another run is buying at this moment.
        """
        variables = (self._registry.read() if self._registry else None) or {}
        if self._registry and forbids_buying(read_entry(variables), self._offer_id):
            raise Claimed(self._registry.where, variables)
        self._entry = variables if is_about(variables, self._offer_id) else {}

    def hold(self) -> None:
        """Be the one run that settles the purchase that is noted, and read it as it is then. Raises Claimed."""
        if self._writes and self.entry.is_open:
            self._writes.hold()
            self.read()

    def close(self) -> None:
        """The end of this run's work at the purchase, whatever became of it."""
        if self._registry:
            self._registry.close()

    def since_sent(self) -> float:
        """Seconds since the purchase was journaled; 0 if that cannot be told."""
        sent_at = seconds_of(self._entry.get(JOURNALED))
        return 0.0 if sent_at is None else max(0.0, self._now() - sent_at)

    def claim(self, price_per_hour: float | None) -> None:
        """Note that the purchase is about to be sent. Raises Claimed; see `Registry`."""
        if self._registry is None:
            return
        order = self.entry.first_order if self.entry.is_open else self.order
        entry = entry_before_sending(self._facts, price_per_hour, self._journaled(), order)
        self._entry = self._registry.claim(entry)

    def check_held(self) -> None:
        """Read anew what is noted of the purchase that this run has sent. Raises RegistryError if it is not its own."""
        if self._registry is None:
            return
        self.read()
        if not (self.entry.is_made or self._registry.still_holds()):
            raise RegistryError(claims.not_held(self._registry.where))

    def answered(self, status: int) -> None:
        """Note that the purchase, which this run holds, was refused."""
        if self._registry is not None and not self.entry.is_made:
            self._entry = self._registry.note({STATUS: status})

    def free(self, status: int | None = None, *, made: bool = False, kept: t.Collection[Storage] = ()) -> None:
        """Note that nothing came of the purchase, if it was noted, and no other run has begun it anew.

        ``made``: it failed only after it was made, so that it may have been billed until now. ``kept``: the storage
        that it has left.
        """
        if self._writes is None:
            return
        before = self._entry
        try:
            self.read()
        except Claimed:
            return
        if is_same_purchase(before, self._entry):
            for changes in changes_once_freed(self._offer_id, status, is_made=made, kept=kept):
                self._entry = self._writes.note(changes)

    def make(
        self,
        resource_ids: list[str],
        price_per_hour: float | None,
        strange: t.Sequence[str] = (),
        disowned: t.Collection[str] = (),
    ) -> None:
        """Note that the purchase was made, and its machines; what is noted of it already stays.

        ``strange``: ids that only seem to be of it, since they were listed before. ``disowned``: see `Registry`.
        Raises Claimed if another offer may have been bought for the host meanwhile.
        """
        if self._writes is None:
            return
        before = self._writes.read() or {}
        facts = {**self._facts, PRICE: price_per_hour}
        if not is_journaled(before, self._offer_id):
            facts.update(self._journaled())
        if changes := changes_once_made(before, facts, resource_ids, strange, disowned):
            self._entry = self._writes.note(changes, disowned)

    @property
    def longest_post(self) -> float:
        """Seconds that an offer must have been seen as gone before a purchase that was never answered is not made."""
        return self._registry.longest_post if self._registry else LONGEST_POST

    def aged(self, history: History, phase: str | None) -> History:
        """The history, once it counts for how long the offer has been seen as gone; when it first was is noted."""
        if not (self._entry and needs_time_gone(history, phase)):
            return history
        earliest, latest = self.clock.span
        if seconds_of(self._entry.get(EXPIRED)) is None:
            now: Variables = {OFFER: self._offer_id, EXPIRED: utc(latest)}
            self._entry = self._writes.note(now) if self._writes else {**self._entry, **now}
        return replace(history, gone_long=seconds_since_expired(self._entry, earliest) >= self.longest_post)

    def gone_since(self, later: float = 0.0) -> str:
        """That moment, or one so many seconds later."""
        seen = seconds_of(self._entry.get(EXPIRED))
        return utc((self._now() if seen is None else seen) + later)

    def _journaled(self) -> Variables:
        """The moment of the purchase, and the clock that notes it: the one that noted the end of its lease, if any."""
        if self._registry is None:
            return {}
        clock = self.clock
        noted_by = self._facts.get(NOTED_BY) or clock.noting
        return {NOTED_BY: noted_clock(noted_by), JOURNALED: utc(clock.now(noted_by))}

    def _now(self) -> float:
        return self._registry.now() if self._registry else time.time()


_SHOWN = ("resource_id", "name", "status", "price_per_hour")


class OfferMachines:
    """The machines of one offer, as the newest look has shown them.

    ``listed``: those that the API lists, whoever they belong to, in short. ``billed``: the ids of those that may be
    billed. ``unreadable``: why they cannot be listed. ``owner``: they are by their names. ``status``: of the offer,
    empty if it cannot be read. ``asked``: that in words, or why not.
    """

    def __init__(
        self,
        api: SupplyApi,
        offer_id: str,
        names: t.Collection[str],
        noted: t.Callable[[], t.Iterable[ownership.OwnershipClaim]],
        listed_before: t.Collection[str] = (),
    ) -> None:
        """``noted``: answers what registries note of all hosts.

        ``listed_before``: the ids of resources that were listed before the purchase, and named no offer.
        """
        self._api, self._noted = api, noted
        self._listed_before = listed_before
        self._offer_id = offer_id
        self._names = names
        self.listed: list[Json] = []
        self.billed: list[str] = []
        self.unreadable: ApiError | None = None
        self.owner = UNSEEN
        self.status: Json = {}
        self.asked: str | ApiError = ""
        self._named: list[str] = []  # by the newest status
        self._resources: list[Json] = []
        self._filtered: list[Json] = []  # what the list with the filter of the offer has

    def look(self, history: History, noted_ids: t.Iterable[str], **how: t.Any) -> OfferLook:
        """The offer's phase, and whose its machines are where that decides.

        ``noted_ids``: of its machines, by the registry or its answer. ``how``: the status is asked for.
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
            return with_other_owners(history, seen, of_offer, self._noted, lambda: self._api.resources(retries=0))
        return seen

    def _bought(self, history: History, status: Json, noted_ids: t.Iterable[str]) -> OfferLook:
        """What the status of an offer that is bought, or bought and failed, shows with the list of its machines."""
        ids = ownership.ids_in(status)
        self._named = ids
        is_failed = status["phase"] == _states.FAILED
        ids = list(dict.fromkeys([*ids, *(noted_ids if is_failed else ())]))
        found = self._read(history, ids, ownership.ids_for_match(status)) if needs_machine_list(history, ids) else []
        self.billed = ownership.not_told_gone(ownership.without_storage(ids, self._resources), found)
        # If they cannot be listed, one of ours may be among them. Of a failed offer those that are known are enough.
        is_known = self.unreadable is None or (is_failed and self.billed)
        left = bool(self.billed) if is_known else None
        return OfferLook(status["phase"], self.owner, left, listed=bool(found))

    def _unbought(self, history: History, phase: str | None) -> OfferLook:
        """Free, gone or unreadable: whether the account has machines of it all the same, if that may be asked."""
        if not list_must_confirm(history, phase):
            return OfferLook(phase)
        found = self._read(history, [], [])
        self.billed = ownership.ids_not_gone(found)
        return OfferLook(confirmed_phase(phase, self.unreadable), self.owner, bool(self.billed), listed=bool(found))

    def held(self, entry: Entry, ids: t.Iterable[str] = (), doubted: t.Iterable[str] = ()) -> PurchaseLook:
        """What shows what a purchase that is ours holds: its ``entry`` and its answer's ``ids``, and the newest look.

        What was noted, and the list of the offer's machines lacks, says itself with which offer it was bought.
        ``doubted``: further ids that are read by themselves.
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
        """The storage that a purchase of the host has left, which has failed; ``look``: what it `held`."""
        return storage_bought(entry, replace(look, holders=ownership.holders_of(self._noted(), host)))

    def look_afterwards(self, nodes: int) -> None:
        """Look for the machines of a purchase whose answer did not name them; that fails must not hide the purchase.

        ``nodes``: how many machines the offer has.
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
        # What a list lacks, or calls gone, says so itself.
        machines = ownership.refreshed(
            machines, read_by_id(self._api, set(ids).difference(ownership.ids_not_gone(machines)))
        )
        self._resources = machines
        machines = ownership.machines_among(machines)
        self.owner = owner_by_name(machines, self._names)
        machines += namesakes_without_offer(history, self._filtered, self._names, self._listed_before)
        self.listed[:] = [{key: item[key] for key in _SHOWN} for item in machines]
        return machines
