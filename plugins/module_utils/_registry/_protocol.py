# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry: what a host owns or is about to buy, as host variables. Knows neither the API nor HTTP.

Here is what all stores have in common; `_files` keeps a file a host, which Ansible reads back by itself.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass, field

from .._provision.entry import Entry, read_entry
from .._provision.lease import Clock
from .._provision.ledger import GONE
from .._provision.spending import Bill

Decided = t.TypeVar("Decided")
Variables = dict[str, t.Any]  # host variables as they stand in the registry

_TRIES = 5  # to alter an entry that others alter at the same moment


class RegistryError(ValueError):
    """An entry that cannot be read or kept; the message is for a person, and says where the entry is.

    ``error_class`` is what the failure of a module calls it.
    """

    error_class = "invalid"


class Claimed(RegistryError):
    """A purchase that must not be sent, since the host's ``entry`` is about another one, or of another run."""

    error_class = "conflict"

    def __init__(self, where: str, variables: Variables) -> None:
        entry = self.entry = read_entry(variables)
        if entry.is_empty and not entry.held_by:
            super().__init__(f"{where} says nothing of this host any more: another run has ended what it named.")
            return
        ids, verb = ", ".join(entry.resource_ids), "owns" if entry.is_made else "is buying"
        what = f"offer {entry.offer_id or 'unknown'}{f' ({ids})' if ids else ''}"
        when = f", since {entry.journaled_at}" if entry.journaled_at else ""
        who = f", in a run of {entry.held_by}" if entry.held_by else ""
        super().__init__(f"{where} says that this host {verb} {what}{when}{who}.")


class ReadOnlyRegistry(RegistryError):
    """A registry that is only read was to be changed, as by a quote or in check mode; nothing of it was."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} is only read here, so nothing in it is changed.")


class Registry(t.Protocol):
    """The memory of one host. Each method raises RegistryError.

    If it is ``read_only``, each method that would change it raises ReadOnlyRegistry. ``where``: the place of the entry,
    for messages.
    """

    read_only: bool
    where: str

    @property
    def longest_post(self) -> float:
        """Seconds after which no purchase can be under way any more."""

    def read(self) -> Variables | None:
        """The host's entry, None if there is none."""

    def clock(self) -> Clock:
        """The clocks that can be read; what is noted now is noted by its ``noting``."""

    def now(self) -> float:
        """Seconds since the epoch by the clock that noted the entry's moments."""

    def hold(self) -> None:
        """Keep other runs from settling the purchase of the entry meanwhile. Raises Claimed if one is at it already."""

    def claim(self, variables: Variables) -> Variables:
        """Note a purchase before it is sent: replace the host's entry, durably, and return it.

        Raises Claimed if the entry is of another offer that may have been bought, or if another run has claimed or
        changed it since this one has read it: of two runs at the same moment one gets the claim.
        """

    def still_holds(self) -> bool:
        """Whether what this run has claimed last is still its own: no other has claimed, freed or ended it since."""

    def note(self, changes: Variables, disowned: t.Collection[str] = ()) -> Variables:
        """Merge changes into the entry, durably, and return the whole; a value None removes the key.

        ``disowned``: resource ids that it has no longer, since they were noted before another host or offer proved to
        have them. Raises Claimed if the changes are of another offer than the entry, and that one may have been bought.
        """

    def compare_and_set(self, changes: Variables) -> Variables:
        """The same as `note` of what is about no purchase, but only if the entry is still as this run has read it.

        Of two runs that decide at the same moment by what they read, one gets its way. Raises Claimed for the other.
        """

    def end(self, why: str = GONE, price_per_hour: float | None = None) -> Bill | None:
        """Remove the entry that this run has read or written last, durably: its purchase has ended for certain.

        ``why`` is kept in the ledger, and the price that the API says now (USD per hour) if it is higher than what was
        noted. Returns what the purchase has cost by the ledger, None if that is not known. What another run has made of
        the entry since stays; a store that has one place for both raises Claimed. The entry's storage is kept, durably
        before the end is noted: from now on it is billed by itself.
        """

    def end_stray(self, offer: str, ids: t.Collection[str], why: str = GONE) -> Bill | None:
        """Note that what the host has beside its machine is gone: kept storage, whose offer is its own id, or strays.

        Returns what it has cost; None if the host does not have it, or has more of it than these ids.
        """

    def close(self) -> None:
        """Give back what `hold` and `claim` have taken beside the entry. Never raises."""


def note_and_end(registry: Registry, leaves: Variables, why: str = GONE) -> None:
    """Let a purchase end, of which this is noted first: its storage, so that it stays. Raises RegistryError."""
    if leaves:
        registry.note(leaves)
    registry.end(why)


def retry_if_changed(step: t.Callable[[], Decided]) -> Decided:
    """The result of a step that reads an entry, decides by it and alters it, taken anew if another run changes it then.

    Raises Claimed if that happens time and again.
    """
    for _try in range(_TRIES - 1):
        with contextlib.suppress(Claimed):
            return step()
    return step()


@dataclass(frozen=True)
class Entries:
    """What a place holds: entries by host, and for those that cannot be understood why.

    ``strays``: machines that hosts have beside their own, and the storage that they keep, by a name for people.
    ``other_projects``: what hosts of other projects have, by project and such a name.
    """

    hosts: dict[str, Entry] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    strays: dict[str, Entry] = field(default_factory=dict)
    other_projects: dict[tuple[str, str], Entry] = field(default_factory=dict)
