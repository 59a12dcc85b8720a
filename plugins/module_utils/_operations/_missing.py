# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for the machines of ours that the account does not list, and note what follows, by `_provision.missing`.

A plan that may buy, a sweep, and an audit that is asked to note it.
"""

from __future__ import annotations

import typing as t
from functools import cached_property

from .._ansible.operation import Params
from .._api.client import SupplyApi
from .._provision import missing
from .._provision.entry import Entry, read_entry
from .._provision.missing import Looked, MissingLook, MissingStep
from .._provision.ownership import Account, Machine, refreshed
from .._provision.place import Place, SharedProject
from .._registry._protocol import Registry, RegistryError, note_and_end, retry_if_changed
from ._registries import Registries, RegistrySnapshot, update_ssh_config
from .reading import offer_statuses, read_by_id


def look_for_missing(
    api: SupplyApi, registries: Registries, snapshot: RegistrySnapshot, machines: t.Collection[Machine]
) -> MissingLook:
    """One look at all that the registries know, beside the whole list of the account. Nothing is noted."""
    known = [entry for _host, entry in snapshot.account_entries()]
    at = registries.clock()  # before anything is read by its id
    return MissingLook(machines, read_by_id(api, missing.to_read(known, machines)), at)


def snapshot_of_all_projects(
    registries: Registries, places: t.Iterable[Place], snapshot: RegistrySnapshot
) -> RegistrySnapshot:
    """A snapshot of all projects of the shared registry, so that what is missing in each may be noted."""
    beside = dict.fromkeys(SharedProject(project) for project, _entry in snapshot.other_project_entries())
    return RegistrySnapshot(registries, [*places, *beside]) if beside else snapshot


def note_missing(
    api: SupplyApi, params: Params, snapshot: RegistrySnapshot, look: MissingLook, leave: t.Container[str] = ()
) -> Looked:
    """Note what follows from the look, for all hosts of the snapshot but those to ``leave``."""
    with Registries.of(params, lambda: api.ahead, read_only=False) as registries:
        noting = _Noting(api, registries, snapshot, look)
        for place, host, entry in snapshot.host_entries():
            if host not in leave:
                noting.note(place, host, entry, noting.taken)
        for place, name, entry in snapshot.strays():
            noting.note(place, name, entry, noting.stray_ended)
        if noting.noted:
            update_ssh_config(registries, (place for place, _host, _entry in snapshot.host_entries()))
        return Looked(tuple(noting.noted), tuple(noting.problems))


_Take = t.Callable[[Place, str, Entry], "MissingStep | None"]  # the step that was noted; raises RegistryError


class _Noting:
    """What one look notes."""

    def __init__(self, api: SupplyApi, registries: Registries, snapshot: RegistrySnapshot, look: MissingLook) -> None:
        self._registries, self._snapshot, self._look = registries, snapshot, look
        self.noted: list[tuple[str, str]] = []
        self.problems: list[str] = []
        entries = [*(entry for _place, _host, entry in snapshot.host_entries()), *snapshot.stray_entries().values()]
        self._statuses = offer_statuses(api, {entry.offer_id for entry in filter(look.asks_about, entries)})

    @cached_property
    def _account(self) -> Account:
        return Account.of(self._snapshot.claims(), refreshed(self._look.machines, self._look.read))

    def note(self, place: Place, host: str, entry: Entry, take: _Take) -> None:
        """Note what follows for one host, if anything does by the entry as it was read."""
        if self._step(place, host, entry):
            try:
                if step := retry_if_changed(lambda: take(place, host, entry)):
                    self.noted.append((host, missing.noted(host, step, entry)))
            except RegistryError as error:
                self.problems.append(str(error))

    def stray_ended(self, place: Place, name: str, entry: Entry) -> MissingStep | None:
        """The end of what a host has beside its own machine, noted; a person has told it to. No other step is."""
        is_over = self._step(place, name, entry) is MissingStep.END and self._registries.end_stray(place, entry)
        return MissingStep.END if is_over else None

    def _step(self, place: Place, host: str, entry: Entry) -> MissingStep | None:
        status = self._statuses.get(entry.offer_id, {})
        return self._look.step(host, entry, place, status, lambda: self._account)

    def taken(self, place: Place, host: str, known: Entry) -> MissingStep | None:
        """The step by the entry as it is now, noted; None if it is about another purchase by now."""
        registry = t.cast(Registry, self._registries.at(place).host(host))
        entry = missing.entry_if_same(known, read_entry(registry.read()))
        step = self._step(place, host, entry)
        if step is MissingStep.END:
            status = self._statuses.get(entry.offer_id, {})
            note_and_end(registry, missing.changes_for_storage(host, entry, status, self._account))
        elif step:
            registry.compare_and_set(self._look.changes(step, entry, place, registry.now()))
        return step
