# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry: what a host owns or is about to buy, as host variables. Knows neither the API nor HTTP.

Here is what all stores have in common; `_files` keeps a file a host, which Ansible reads back by itself.
This module util is private to the collection.
"""

from __future__ import annotations

import typing as t

Variables = dict[str, t.Any]  # host variables as they stand in the registry

# Seconds that the purchase of a run that has died may be under way at the API: as long as an offer lives
LONGEST_POST = 1800.0

# What became of the newest purchase of an entry (`provision_purchase`)
SENT = "sent"  # noted before it is sent; the answer is not known, or was none
MADE = "made"
REFUSED = "refused"

# Why a purchase has ended, in the ledger
DECOMMISSIONED = "decommissioned"
REAPED = "reaped"
RELEASED = "released"  # given back: it never got ready
FAILED = "failed"  # made, and failed without leaving anything
GONE = "gone"  # it was found to have ended
MOVED = "moved"  # into another registry, where it goes on

# In what a registry answers, never in what it keeps: another run that is buying for the host at this moment
HELD_BY = "provision_held_by"
# The same of one that several controllers share: the run that has bought, or that has settled the purchase
BOUGHT_BY = "provision_bought_by"


class RegistryError(ValueError):
    """An entry that cannot be read or kept; the message is for a person, and says where the entry is.

    ``error_class`` is what the failure of a module calls it.
    """

    error_class = "invalid"


class Claimed(RegistryError):
    """A purchase that must not be sent, since the host's ``entry`` is about another one, or of another run."""

    error_class = "conflict"

    def __init__(self, where: str, entry: Variables) -> None:
        ids, since = ", ".join(resource_ids_of(entry)), entry.get("provision_journaled_at")
        verb = "owns" if purchase_of(entry) == MADE else "is buying"
        what = f"offer {offer_of(entry) or 'unknown'}{f' ({ids})' if ids else ''}"
        when, who = f", since {since}" if since else "", holder_of(entry)
        super().__init__(f"{where} says that this host {verb} {what}{when}{f', in a run of {who}' if who else ''}.")
        self.entry = entry


class Registry(t.Protocol):
    """The memory of one host. Each method raises RegistryError."""

    @property
    def where(self) -> str:
        """The place of the entry, for messages."""

    @property
    def longest_post(self) -> float:
        """Seconds after which no purchase can be under way any more."""

    def read(self) -> Variables | None:
        """The host's entry, None if there is none."""

    def now(self) -> float:
        """Seconds since the epoch by the clock that the entry's moments come from."""

    def hold(self) -> None:
        """Keep other runs from settling the purchase of the entry meanwhile. Raises Claimed if one is at it already."""

    def claim(self, variables: Variables) -> Variables:
        """Note a purchase before it is sent: replace the host's entry, durably, and return it.

        Raises Claimed if the entry is of another offer that may have been bought, or if another run has claimed or
        changed it since this one has read it: of two runs at the same moment one gets the claim.
        """

    def note(self, changes: Variables) -> Variables:
        """Merge changes into the entry, durably, and return the whole; a value None removes the key.

        Raises Claimed if the changes are of another offer than the entry, and that one may have been bought.
        """

    def alter(self, changes: Variables) -> Variables:
        """The same as `note` of what is about no purchase, but only if the entry is still as this run has read it.

        Of two runs that decide at the same moment by what they read, one gets its way. Raises Claimed for the other.
        """

    def end(self, why: str = GONE) -> None:
        """Remove the entry that this run has read or written last, durably: its purchase has ended for certain.

        ``why`` is kept in the ledger. What another run has made of it since stays; a store that has one place for both
        raises Claimed.
        """

    def close(self) -> None:
        """Give back what `hold` and `claim` have taken beside the entry. Never raises."""


def resource_ids_of(entry: t.Mapping[str, t.Any]) -> list[str]:
    """The machines that the entry names; also of one that was written by hand."""
    value = entry.get("provision_resource_ids") or []
    return [str(item) for item in (value if isinstance(value, list) else [value])]


def offer_of(entry: t.Mapping[str, t.Any]) -> str | None:
    """The offer that the entry is about, in the API's spelling."""
    return str(entry.get("provision_procured_offer_id") or "").strip().lower() or None


def holder_of(entry: t.Mapping[str, t.Any]) -> str | None:
    """Which other run is at the entry's purchase at this moment; None if none is, or none can be known."""
    return entry.get(HELD_BY)


def run_of(holder: t.Mapping[str, t.Any]) -> str:
    """A run in a message, by who has started it: ``alice at bastion (AWX job 7, process 4711)``."""
    known = [f"{name} {holder[key]}" for key, name in (("job", "AWX job"), ("process", "process")) if holder.get(key)]
    where = f"{holder.get('user') or 'somebody'} at {holder.get('host') or 'an unknown computer'}"
    return f"{where} ({', '.join(known)})" if known else where


def purchase_of(entry: t.Mapping[str, t.Any]) -> str | None:
    """What became of the purchase of the entry; None if it names neither machines nor an offer.

    Machines prove a purchase, whatever else is noted. Entries of earlier versions do not say what became of it.
    """
    if resource_ids_of(entry):
        return MADE
    if offer_of(entry) is None:
        return None
    word = entry.get("provision_purchase")
    return word if word in (MADE, REFUSED) else SENT


def may_have_bought(entry: t.Mapping[str, t.Any]) -> bool:
    """Whether something may have been bought under the entry, so that no other offer may be bought for its host."""
    return purchase_of(entry) in (SENT, MADE)


def is_unanswered(entry: t.Mapping[str, t.Any]) -> bool:
    """Whether a purchase was sent whose answer never came.

    One that was refused and stays ``sent`` was answered, and is not settled yet: whether it was made all the same is
    still to be seen.
    """
    return purchase_of(entry) == SENT and entry.get("provision_refused_status") is None
