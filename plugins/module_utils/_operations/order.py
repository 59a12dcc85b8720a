# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts the playbooks were asked for."""

from __future__ import annotations

import secrets
import typing as t

from .._ansible import steps
from .._ansible.operation import Operation, Params, Result, refusing
from .._provision import order
from .._provision.entry import Entry
from .._provision.messages import NOTHING_SENT
from .._provision.place import Place, another_project
from ._registries import Registries, registered_machines


def order_of(params: Params, check_mode: bool) -> Result:
    """The hosts to add, how those of an earlier job are reached, and the group that the plays of this run are for.

    That is a group of this run's own for hosts that are named: a list of names in a play could mean groups, and other
    hosts of their group have no part in the order. Raises Failure (invalid) for an order that cannot be carried out.
    """
    group = params["group"]
    with refusing(ValueError, NOTHING_SENT):
        found = order.ordered_hosts(params["variables"], group, params["sizes"], params["limited"], params["members"])
    run_group = order.new_order_group(secrets.randbits(32)) if found.hosts else group
    hosts = found.looked_for(params["sought"])
    registries = Registries.of(params, read_only=True)
    rows = {row["host"]: row for row in params["sought"] if row["host"] in hosts}
    places = registries.places({**params, "hosts": rows.values()})
    registered = _registered(registries, places, rows, params["reached"])
    further = [*params["further"], *(item["name"] for item in registered if item["name"] not in hosts)]
    return {
        "changed": False,
        "group": run_group,
        "added": [{"name": host, "groups": [group, run_group]} for host in (*found.hosts, *further)],
        "reached": [*found.published(places), *registered],
        "warnings": list(filter(None, [order.excluded_by_limit(found.left_out)])),
    }


def _registered(
    registries: Registries, places: t.Mapping[str, Place], rows: t.Mapping[str, Params], reached: t.Iterable[str]
) -> list[dict[str, t.Any]]:
    """How the machines of hosts are reached, but for those that are ``reached`` as the inventory says.

    ``places``: where each host is remembered; ``rows``: what it says of that. The host keys of all are pinned on this
    computer. Files beside an inventory Ansible reads by itself, but without an inventory it does not. Raises Failure.
    """

    def of_another(host: str, place: Place, entry: Entry) -> str:
        return another_project(host, place.entry_file(host), entry, rows[host]["project"])

    sought = places.items() - {(host, places.get(host)) for host in reached}
    return [
        {"name": machine.host, **machine.address, **machine.variables}
        for place in dict.fromkeys(filter(None, places.values()))
        for machine in registered_machines(registries, place).values()
        if (machine.owner, place) in sought and machine.address and not of_another(machine.owner, place, machine.entry)
    ]


ORDER = Operation(order_of, steps.ORDER)
