# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines that a project of the shared registry owns, as hosts."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._ansible.operation import refusing
from .._provision import registration
from .._provision.entry import read_entry
from .._provision.place import SharedProject
from .._registry._protocol import RegistryError, Variables
from ._registries import Registries

_KEPT = ("provision_procured_offer_id", "provision_resource_ids", "provision_price_per_hour")


@dataclass(frozen=True)
class Registered:
    """A machine under the name that it has as a host, with what its registry says of it.

    ``owner``: the host that bought it, which has a cluster's further machines, too. ``address``: how it was reached
    when it was registered; empty if it never was.
    """

    host: str
    owner: str
    variables: Variables
    groups: tuple[str, ...]
    address: Variables


def registered(registries: Registries, project: str) -> dict[str, Registered]:
    """The machines of the project's hosts, by their ids. Raises Failure.

    What each needs to be reached is brought to this controller: host keys that others have seen first are pinned here.
    """
    place = SharedProject(project or "default")
    store = registries.at(place)
    with refusing(RegistryError), registries:
        entries = store.entries().hosts
    result: dict[str, Registered] = {}
    for host, variables in entries.items():
        entry = read_entry(variables)
        registries.pin(place, host, entry)
        result.update(_machines(host, variables, store.known_hosts(host, entry.offer_id)))
    return result


def _machines(host: str, variables: Variables, known_hosts: str) -> t.Iterator[tuple[str, Registered]]:
    """The host's machine, and the further ones of its cluster, which are hosts of its groups."""
    entry = read_entry(variables)
    kept = {name: variables[name] for name in _KEPT if name in variables}
    reached = {machine.alias: machine for machine in registration.ssh_machines(host, entry, known_hosts)}
    names = [host, *registration.further_names(host, len(entry.resource_ids))]
    for number, resource_id in enumerate(entry.resource_ids):
        own: Variables = dict(kept) if number == 0 else {"provision_resource_ids": [resource_id]}
        machine = reached.get(resource_id)
        if machine is not None:
            arguments = registration.ssh_args(machine.alias, registration.trust_of(machine.trust), known_hosts)
            own.update(dict.fromkeys(registration.SSH_ARGUMENTS, arguments))
        address = {name: machine.connection.get(name) for name in registration.ADDRESS} if machine else {}
        yield resource_id, Registered(machine.name if machine else names[number], host, own, entry.groups, address)
