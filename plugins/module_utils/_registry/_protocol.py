# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of a host: its purchases, as host variables. Knows neither the API nor HTTP.

This file has what all stores share. `_files` keeps one file per host, which Ansible reads back as host variables;
`_shared` keeps claims in a database.
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
Variables = dict[str, t.Any]  # host variables as the registry has them

_TRIES = 5  # for an entry that other runs keep changing


class RegistryError(ValueError):
    """An entry cannot be read or written. The message is for people, and says where the entry is.

    ``error_class`` is the one that a module's failure reports.
    """

    error_class = "invalid"


class Claimed(RegistryError):
    """A purchase must not be sent: the host's ``entry`` names another one, or another run holds it."""

    error_class = "conflict"

    def __init__(self, where: str, variables: Variables | None) -> None:
        entry = self.entry = read_entry(variables)
        if entry.is_empty and not entry.held_by:
            super().__init__(f"{where} has nothing about this host any more: another run has ended its purchase.")
            return
        ids, verb = ", ".join(entry.resource_ids), "owns" if entry.is_made else "is buying"
        what = f"offer {entry.offer_id or 'unknown'}{f' ({ids})' if ids else ''}"
        when = f", since {entry.journaled_at}" if entry.journaled_at else ""
        who = f", in a run of {entry.held_by}" if entry.held_by else ""
        super().__init__(f"{where} says that this host {verb} {what}{when}{who}.")


class ReadOnlyRegistry(RegistryError):
    """A registry was to be changed that is only read, as by a quote or in check mode. Nothing was changed."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} is only read here, so nothing in it is changed.")


class Unwritable(RegistryError):
    """An entry that can be read cannot be written, as on a full disk: until that is mended, no run can change it."""


class Registry(t.Protocol):
    """The registry of one host. Each method raises RegistryError.

    If it is ``read_only``, each method that would change it raises ReadOnlyRegistry. ``where``: the place of the entry,
    for messages.
    """

    read_only: bool
    where: str

    @property
    def longest_post(self) -> float:
        """Seconds after which a purchase can no longer be under way."""

    def read(self) -> Variables | None:
        """The host's entry, or None without one."""

    def clock(self) -> Clock:
        """The clocks that can be read; its ``noting`` names the one for new entries."""

    def now(self) -> float:
        """Seconds since the epoch, by the clock that noted the entry's moments."""

    def hold(self) -> None:
        """Keep other runs from settling the entry's purchase. Raises Claimed if another run already holds it."""

    def claim(self, variables: Variables) -> Variables:
        """Note a purchase before it is sent: replace the host's entry, durably, and return the new one.

        Raises Claimed if the entry's offer is another one and may have been bought, or if another run has claimed or
        changed the entry since this run read it. Only one of two concurrent runs gets the claim.
        """

    def still_holds(self) -> bool:
        """Whether this run's last claim still stands: no other run has claimed, freed or ended it since."""

    def note(self, changes: Variables, disowned: t.Collection[str] = ()) -> Variables:
        """Merge changes into the entry, durably, and return the whole entry. A value of None removes its key.

        ``disowned``: noted resource ids to remove, since another host or offer has proved to own them. Raises Claimed
        if the changes name another offer than the entry, and the entry's may have been bought.
        """

    def compare_and_set(self, changes: Variables) -> Variables:
        """Merge changes that are not about a purchase, if the entry is still as this run read it; return the whole.

        Only one of two concurrent runs succeeds; the other gets Claimed.
        """

    def end(self, why: str = GONE, price_per_hour: float | None = None) -> Bill | None:
        """Remove the entry that this run has read or written last, durably: its purchase has certainly ended.

        The ledger keeps ``why``, and the API's present price (USD per hour) if it is above the noted one. Returns what
        the purchase has cost by the ledger, or None if that is unknown. If another run has replaced the entry since,
        its entry stays; a store with one place for both raises Claimed. Before the end is noted, the entry's storage is
        noted, durably, as a purchase of its own: it is still billed.
        """

    def end_stray(self, offer: str, ids: t.Collection[str], why: str = GONE) -> Bill | None:
        """Note the end of kept storage, whose offer is its own id, or of a stray machine.

        Returns its cost; None if the host does not have it, or has resources of it that are not in ``ids``.
        """

    def close(self) -> None:
        """Release what `hold` and `claim` have taken. Never raises."""


def note_and_end(registry: Registry, storage: Variables, why: str = GONE) -> None:
    """End a purchase; first note the storage that it leaves, so that this is kept. Raises RegistryError."""
    if storage:
        registry.note(storage)
    registry.end(why)


def retry_if_changed(step: t.Callable[[], Decided]) -> Decided:
    """Run a step that reads, decides and changes an entry; run it again if another run changes the entry meanwhile.

    Raises Claimed if that keeps happening.
    """
    for _try in range(_TRIES - 1):
        with contextlib.suppress(Claimed):
            return step()
    return step()


@dataclass(frozen=True)
class Entries:
    """The entries of a place by host, and why others cannot be read (``broken``).

    ``strays``: kept storage and stray machines, by a name for people. ``other_projects``: what hosts of other projects
    have, by project and such a name.
    """

    hosts: dict[str, Entry] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    strays: dict[str, Entry] = field(default_factory=dict)
    other_projects: dict[tuple[str, str], Entry] = field(default_factory=dict)
