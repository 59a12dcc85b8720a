# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of one purchase: what the registry is told of it, and when.

``sent`` is written before the purchase is sent, and stays until it is clear what became of it. A refusal is noted at
once beside it (``provision_refused_status``), so that a later run knows that the purchase was answered; ``refused``,
which frees the host, is written only once the offer's status has shown that nothing came of it all the same.
"""

from __future__ import annotations

import time
import typing as t

from .._moments import seconds_of, utc
from .._provision import claims
from .._provision.claims import EXPIRED, JOURNALED, OFFER, STATUS
from .._provision.entry import Entry, read_entry
from .._provision.lease import NOTED_BY, noted_clock
from .._provision.ordered import Order
from .._provision.storage import Storage
from .._registry._protocol import LONGEST_POST, Claimed, Registry, RegistryError, Variables


class Journal:
    """The registry of a host, seen from the purchase of one offer; without a registry it remembers nothing.

    ``facts`` are what is kept of the purchase beside its state and its ``order``. Methods raise RegistryError. Of a
    registry that is only read it tells what it would note, and notes nothing.
    """

    def __init__(self, registry: Registry | None, offer_id: str, facts: Variables, order: Order | None = None) -> None:
        self._registry = registry
        self._offer_id = offer_id
        self._facts = {**facts, OFFER: offer_id}
        self.order = order or Order()
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
    def entry(self) -> Entry:
        """What is noted of this offer."""
        return read_entry(self._entry)

    @property
    def sent_at(self) -> float | None:
        """When the purchase was noted (seconds since the epoch), None if that cannot be read."""
        return seconds_of(self._entry.get(JOURNALED))

    def read(self) -> None:
        """Read what is noted of this offer.

        Raises Claimed if another offer may have been bought for the host, or if another run is buying at this moment.
        """
        variables = (self._registry.read() if self._registry else None) or {}
        if self._registry and claims.forbids_buying(read_entry(variables), self._offer_id):
            raise Claimed(self._registry.where, variables)
        self._entry = variables if claims.is_about(variables, self._offer_id) else {}

    def hold(self) -> None:
        """Be the one run that settles the purchase that is noted. Raises Claimed."""
        if self._writes and self.entry.is_open:
            self._writes.hold()

    def close(self) -> None:
        """The end of this run's work at the purchase, whatever became of it."""
        if self._registry:
            self._registry.close()

    def since_sent(self) -> float:
        """Seconds since the purchase was journaled; 0 if that cannot be told."""
        return 0.0 if self.sent_at is None else max(0.0, self._now() - self.sent_at)

    def claim(self, price_per_hour: float | None) -> None:
        """Note that the purchase is about to be sent. Raises Claimed; see `Registry`."""
        if self._registry is None:
            return
        entry = claims.entry_before_sending(self._facts, price_per_hour, self._journaled(), self.order.kept(self.entry))
        self._entry = self._registry.claim(entry)

    def check_held(self) -> None:
        """Read anew what is noted of the purchase that this run has sent. Raises RegistryError if it is not its own."""
        if self._registry is None:
            return
        self.read()
        if not (self.entry.is_made or self._registry.holds()):
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
        if claims.is_same_purchase(before, self._entry):
            for changes in claims.changes_once_freed(self._offer_id, status, is_made=made, kept=kept):
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
        facts = {**self._facts, "provision_price_per_hour": price_per_hour}
        if not claims.is_journaled(before, self._offer_id):
            facts.update(self._journaled())
        if changes := claims.changes_once_made(before, facts, resource_ids, strange, disowned):
            self._entry = self._writes.note(changes, disowned)

    @property
    def longest_post(self) -> float:
        """Seconds that an offer must have been seen as gone before a purchase that was never answered is not made."""
        return self._registry.longest_post if self._registry else LONGEST_POST

    def gone_for(self) -> float:
        """Seconds since the offer was first seen as expired or gone, which is noted now if it was not before."""
        if self._registry is None or not self._entry:
            return 0.0
        earliest, latest = self._registry.clock().span
        if seconds_of(self._entry.get(EXPIRED)) is None:
            now: Variables = {OFFER: self._offer_id, EXPIRED: utc(latest)}
            self._entry = self._writes.note(now) if self._writes else {**self._entry, **now}
        return claims.seconds_gone(self._entry, earliest)

    def gone_since(self, later: float = 0.0) -> str:
        """That moment, or one so many seconds later."""
        seen = seconds_of(self._entry.get(EXPIRED))
        return utc((self._now() if seen is None else seen) + later)

    def _journaled(self) -> Variables:
        """The moment of the purchase, and the clock that notes it: the one that noted the end of its lease, if any."""
        if self._registry is None:
            return {}
        clock = self._registry.clock()
        noted_by = self._facts.get(NOTED_BY) or clock.noting
        return {NOTED_BY: noted_clock(noted_by), JOURNALED: utc(clock.now(noted_by))}

    def _now(self) -> float:
        return self._registry.now() if self._registry else time.time()
