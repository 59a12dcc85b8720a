# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A claim of a shared registry: as the database has it, and as host variables."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from decimal import Decimal

from .._provision import claims
from .._provision.ceilings import CeilingPart, State
from .._provision.entry import (
    BOUGHT_BY,
    EXPIRED,
    HELD_BY,
    IDS,
    JOURNALED,
    MADE,
    OFFER,
    PRICE,
    PURCHASE,
    REFUSED,
    SENT,
    read_entry,
    run_in_words,
)
from .._provision.lease import DATABASE_CLOCK, NOTED_BY
from .._provision.storage import STORAGE_OF, label_of
from ._protocol import Variables

# Variables with columns of their own; all others are in the note.
COLUMNS = frozenset({OFFER, PRICE, IDS, PURCHASE, JOURNALED, EXPIRED, HELD_BY, BOUGHT_BY})
_OUTCOMES = {claims.BUYING: SENT, claims.VOID: REFUSED}  # in all other states something was bought


@dataclass(frozen=True)
class Row:
    """A claim as the database had it at ``seen_at``, by its own clock.

    ``longest_post`` (seconds) is a setting of the registry; see `Registry`.
    """

    claim: str
    project: str
    host: str
    account: str
    offer: str
    state: str
    price_per_hour: Decimal | None
    epoch: int
    holder: dict[str, t.Any]
    held: bool
    sent_at: datetime | None
    expired_seen: datetime | None
    claimed_at: datetime
    note: dict[str, t.Any]
    resource_ids: list[str]
    seen_at: datetime
    longest_post: float

    @property
    def counts(self) -> bool:
        """See `claims.counts`."""
        return claims.counts(self.state, is_sent=self.sent_at is not None, is_held=self.held)

    def label_in(self, project: str) -> str:
        """The host, or its stray or storage, in words for the users of a project."""
        of = "" if self.project == project else f" of project {self.project}"
        if STORAGE_OF in self.note:
            return f"{label_of(self.host, self.offer)}{of}"
        return f"{self.host}{of}" + (f" (stray {self.claim[:8]})" if self.state == claims.STRAY else "")

    def ceiling_part(self, claim: str, project: str) -> CeilingPart:
        """The row as a part of the sum with which a ``claim`` of the project is compared."""
        part = CeilingPart.of_entry(self.label_in(project), read_entry(self.variables()))
        return replace(part, state=State.ORDERED, since=None) if self.claim == claim else part

    def is_held_by_another(self, run: str) -> bool:
        """Whether another run than ``run`` is buying under the claim at this moment."""
        return self.state == claims.BUYING and self.held and self.holder.get("run") != run

    def variables(self, run: str = "") -> Variables:
        """The claim as host variables, for ``run``."""
        entry: Variables = {
            NOTED_BY: DATABASE_CLOCK,
            **self.note,
            OFFER: self.offer,
            PRICE: None if self.price_per_hour is None else float(self.price_per_hour),
            JOURNALED: _utc(self.sent_at or self.claimed_at),
            PURCHASE: _OUTCOMES.get(self.state, MADE),
            EXPIRED: self.expired_seen and _utc(self.expired_seen),
            IDS: self.resource_ids or None,
            BOUGHT_BY: run_in_words(self.holder),
        }
        if self.is_held_by_another(run):
            entry[HELD_BY] = run_in_words(self.holder)
        return {name: value for name, value in entry.items() if value is not None}

    @property
    def needs_settling(self) -> bool:
        """See `claims.needs_settling`."""
        return claims.needs_settling(self.state, is_sent=self.sent_at is not None, is_held=self.held)


def note_of_claim(variables: Variables) -> Variables:
    """The variables of an entry that are in the note of its claim."""
    return {name: value for name, value in variables.items() if name not in COLUMNS and value is not None}


def _utc(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
