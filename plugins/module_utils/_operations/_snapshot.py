# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that the registries of some hosts remember, also of hosts that nobody asks about; and their ssh configuration."""

from __future__ import annotations

import typing as t

from .._ansible.operation import Params
from .._machine import connection
from .._provision import registration
from .._provision.entry import Entry, read_entry, storage_kept_by
from .._provision.ownership import OwnershipClaim, claim_of, noted_claim
from .._provision.place import Place, SharedProject, another_project, place_of_purchase
from .._provision.storage import Storage
from .._registry._files import keep_ssh_config
from .._registry._protocol import RegistryError
from ._registries import Registries


def named_claim(host: t.Mapping[str, t.Any]) -> OwnershipClaim:
    """The claim of a host without a registry (``host``, ``name``, ``known``): its name is its identity."""
    return claim_of(host["host"], str(host["name"]), read_entry(host["known"]), by_name=True)


def nameable(params: Params, places: t.Mapping[str, Place]) -> list[t.Mapping[str, t.Any]]:
    """The hosts that declare something and have no registry."""
    return [host for host in params["hosts"] if host["declares"] and not places[host["host"]]]


def noted_in(registries: Registries, place: Place) -> t.Iterator[OwnershipClaim]:
    """What the registry of the place notes of all hosts, read once the first is asked for."""
    yield from RegistrySnapshot(registries, [place]).claims()


def noted_beside(params: Params) -> t.Iterator[OwnershipClaim]:
    """What a single purchase's registry notes of all hosts (``registry_url``, ``project``; ``registry_file``)."""
    place = place_of_purchase(*map(params.get, ("registry_url", "project", "registry_file")))
    with Registries.of(params, read_only=True) as registries:
        yield from noted_in(registries, place)


class RegistrySnapshot:
    """The entries of all hosts in these places. What cannot be read of one host concerns that host alone."""

    def __init__(self, registries: Registries, places: t.Iterable[Place]) -> None:
        self._entries: dict[Place, dict[str, Entry]] = {}
        self._broken: dict[Place, dict[str, str]] = {}
        self._strays: dict[Place, dict[str, Entry]] = {}
        further: dict[tuple[str, str], Entry] = {}
        self._unread: dict[Place, str] = {}
        for place in dict.fromkeys(filter(None, places)):
            try:
                found = registries.at(place).entries()
            except RegistryError as error:
                self._unread[place] = str(error)
            else:
                self._broken[place] = found.broken
                self._entries[place] = {host: read_entry(variables) for host, variables in found.hosts.items()}
                self._strays[place] = {name: read_entry(variables) for name, variables in found.strays.items()}
                further.update({key: read_entry(variables) for key, variables in found.further.items()})
        # Of projects beside these places.
        self._further = {key: entry for key, entry in further.items() if SharedProject(key[0]) not in self._entries}

    @property
    def keeps(self) -> bool:
        """Whether there is any registry that can be read."""
        return bool(self._entries)

    def entry(self, place: Place, host: str) -> Entry:
        """The host's entry in the place, an empty one if there is none."""
        return self.entries(place).get(host) or read_entry(None)

    def trouble(self, place: Place, host: str) -> str:
        """Why the host's entry cannot be read, with the name of the file; empty if it can."""
        return self._unread.get(place, "") or self._broken.get(place, {}).get(host, "")

    def has_trouble(self, place: Place) -> bool:
        """Whether something of the place cannot be read."""
        return bool(self._unread.get(place) or self._broken.get(place))

    def all(self) -> t.Iterator[tuple[Place, str, Entry]]:
        """Each entry that can be read, with its place and host."""
        for place, entries in self._entries.items():
            for host, entry in entries.items():
                yield place, host, entry

    def known(self) -> list[tuple[str, Entry]]:
        """Each entry of this account, also of projects beside these places, by names for people."""
        return [*((host, entry) for _place, host, entry in self.all()), *self.beside()]

    def claims(self, without: t.Container[str] = ()) -> list[OwnershipClaim]:
        """What the registries note, but for these hosts."""
        own = ((host, entry) for _place, host, entry in self.all() if host not in without)
        return [noted_claim(host, entry) for host, entry in (*own, *self.beside())]

    def beside(self) -> t.Iterable[tuple[str, Entry]]:
        """What a shared registry notes for others than the hosts of these places, and beside what these have."""
        others = {name: entry for (_project, name), entry in self._further.items()}
        return {**others, **self.stray_entries()}.items()

    def elsewhere(self) -> t.Iterator[tuple[str, Entry]]:
        """The entries of the projects that are beside these, with their names."""
        for (project, _name), entry in self._further.items():
            yield project, entry

    def stray_entries(self) -> dict[str, Entry]:
        """What hosts have beside their own machines: others, and storage that they keep, by names for people."""
        return {name: entry for _place, name, entry in self.strays()}

    def strays(self) -> t.Iterator[tuple[Place, str, Entry]]:
        """The same with the places that know it."""
        for place, entries in self._strays.items():
            for name, entry in entries.items():
                yield place, name, entry

    def storage_of(self, place: Place, host: str) -> tuple[Storage, ...]:
        """The storage that the host keeps, which has survived its machines."""
        return storage_kept_by(host, self._strays.get(place, {}).values())

    def foreign(self, place: Place, host: str, project: str) -> str:
        """Why the file of a host is not its own; empty if it is. In a shared registry each project has entries."""
        entry, file = self.entry(place, host), place.entry_file(host)
        if not file or not entry.is_of_another_project(project):
            return ""
        return another_project(host, file, entry.project, project)

    def hosts(self) -> dict[str, tuple[str, ...]]:
        """All hosts that have an entry, be it one that cannot be read, with the groups that it notes."""
        broken: dict[str, tuple[str, ...]] = {host: () for item in self._broken.values() for host in item}
        return {**broken, **{host: entry.groups for _place, host, entry in self.all()}}

    def entries(self, place: Place) -> dict[str, Entry]:
        """The entries of a place, by hosts."""
        return self._entries.get(place, {})

    @property
    def unread(self) -> list[str]:
        """Why whole registries cannot be read."""
        return list(self._unread.values())

    def warnings(self, without: t.Container[str] = ()) -> list[str]:
        """What cannot be read, but for these hosts, which fail for it."""
        broken = [(host, text) for item in self._broken.values() for host, text in item.items()]
        return [*self._unread.values(), *(text for host, text in broken if host not in without)]


def bring_ssh_up_to_date(
    registries: Registries, places: t.Iterable[Place], snapshot: RegistrySnapshot | None = None
) -> list[str]:
    """Write how the machines of these registries are reached, unless they are only read.

    Nothing depends on it, so what fails is a warning. ``snapshot``: what has just been read of them, and spares another
    look where the file says just that.
    """
    warnings = []
    for place in dict.fromkeys(place for place in places if place.ssh_config and not registries.read_only):
        known = None if snapshot is None else _ssh_config_of(registries, place, snapshot)
        try:
            keep_ssh_config(
                place.ssh_config,
                lambda _before, place=place: _ssh_config_of(registries, place, RegistrySnapshot(registries, [place])),  # type: ignore[misc]
                known,
            )
        except RegistryError as error:
            warnings.append(str(error))
    return warnings


def _ssh_config_of(registries: Registries, place: Place, snapshot: RegistrySnapshot) -> str | None:
    """How the machines of a folder are reached, as a file of ssh's; None if there are none."""
    store, known = registries.at(place), snapshot.entries(place)
    files = {host: store.known_hosts(host, entry.offer_id) for host, entry in known.items()}
    return connection.render((host, registration.ssh_machines(host, known[host], files[host])) for host in known)


def leave_out_of_ssh(hosts: t.Collection[str], place: Place) -> list[str]:
    """The same for hosts whose entries have just ended, without a look at all the others."""
    try:
        if place.ssh_config:
            keep_ssh_config(place.ssh_config, lambda before: connection.without(before, hosts))
    except RegistryError as error:
        return [str(error)]
    return []
