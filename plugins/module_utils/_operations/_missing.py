# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for registered machines that the API does not list, and note what `_provision.missing` concludes.

Used by a plan that may buy, by a sweep, and by an audit with ``audit_settle``.
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
from .._provision.sending import token_digest
from .._provision.standing import offers_of
from .._registry._protocol import Registry, RegistryError, note_and_end, retry_if_changed
from ._registries import Registries, RegistrySnapshot, update_ssh_config
from .reading import offer_statuses, read_by_id


def look_for_missing(
    api: SupplyApi, params: Params, registries: Registries, snapshot: RegistrySnapshot, machines: t.Collection[Machine]
) -> MissingLook:
    """Compare what the registries know with ``machines``, the whole list of the account. Writes nothing."""
    known = [entry for _host, entry in snapshot.account_entries()]
    at = registries.clock()  # before anything is read by its id
    look = MissingLook(machines, read_by_id(api, missing.to_read(known, machines)), at)
    return look.with_tokens(token_digest(params.get("api_token")), known)


def snapshot_of_all_projects(
    registries: Registries, places: t.Iterable[Place], snapshot: RegistrySnapshot
) -> RegistrySnapshot:
    """A snapshot of all projects of the shared registry, so that missing machines can be noted in each."""
    others = [SharedProject(project) for project, _entry in snapshot.other_project_entries()]
    return RegistrySnapshot(registries, [*places, *others]) if others else snapshot


def note_missing(
    api: SupplyApi, params: Params, snapshot: RegistrySnapshot, look: MissingLook, leave: t.Container[str] = ()
) -> Looked:
    """Note what follows from the look for all hosts of the snapshot, except those in ``leave``."""
    with Registries.of(params, lambda: api.ahead, read_only=False) as registries:
        noting = _Noting(api, registries, snapshot, look)
        for place, host, entry in snapshot.host_entries():
            if host not in leave:
                noting.note(place, host, entry, noting.note_step)
        for place, name, entry in snapshot.strays():
            noting.note(place, name, entry, noting.end_stray)
        if noting.noted:
            update_ssh_config(registries, (place for place, _host, _entry in snapshot.host_entries()))
        return Looked(tuple(noting.noted), tuple(noting.problems))


_NoteStep = t.Callable[[Place, str, Entry], "MissingStep | None"]  # returns the step it noted; raises RegistryError


class _Noting:
    """Notes the conclusions of one look: ``noted`` by host, and ``problems`` of registries that refused."""

    def __init__(self, api: SupplyApi, registries: Registries, snapshot: RegistrySnapshot, look: MissingLook) -> None:
        self._registries, self._snapshot, self._look = registries, snapshot, look
        self.noted: list[tuple[str, str]] = []
        self.problems: list[str] = []
        entries = [*(entry for _place, _host, entry in snapshot.host_entries()), *snapshot.stray_entries().values()]
        self._statuses = offer_statuses(api, offers_of(filter(look.asks_about, entries)))

    @cached_property
    def _account(self) -> Account:
        return Account.of(self._snapshot.claims(), refreshed(self._look.machines, self._look.read))

    def note(self, place: Place, host: str, entry: Entry, note_step: _NoteStep) -> None:
        """Note the step for one host, if the entry in the snapshot calls for one."""
        if self._step(place, host, entry):
            try:
                if step := retry_if_changed(lambda: note_step(place, host, entry)):
                    self.noted.append((host, missing.noted(host, step, entry)))
            except RegistryError as error:
                self.problems.append(str(error))

    def end_stray(self, place: Place, name: str, entry: Entry) -> MissingStep | None:
        """Note the end of a stray machine or kept storage, and return that step; no other step applies to these."""
        is_over = self._step(place, name, entry) is MissingStep.END and self._registries.end_stray(place, entry)
        return MissingStep.END if is_over else None

    def _step(self, place: Place, host: str, entry: Entry) -> MissingStep | None:
        status = self._statuses.get(entry.offer_id, {})
        return self._look.step(host, entry, place, status, lambda: self._account)

    def note_step(self, place: Place, host: str, known: Entry) -> MissingStep | None:
        """Read the entry again, and note the step that it calls for now; None if its purchase is another one by now."""
        registry = t.cast(Registry, self._registries.at(place).host(host))
        entry = missing.entry_if_same(known, read_entry(registry.read()))
        step = self._step(place, host, entry)
        if step is MissingStep.END:
            status = self._statuses.get(entry.offer_id, {})
            note_and_end(registry, missing.changes_for_storage(host, entry, status, self._account))
        elif step:
            registry.compare_and_set(self._look.changes(step, entry, place, registry.now()))
        return step
