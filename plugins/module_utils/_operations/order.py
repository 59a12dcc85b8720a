# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the hosts that a playbook was asked for: in an order, or by name, to end or to extend them."""

from __future__ import annotations

import secrets
import typing as t

from .._ansible import steps
from .._ansible.operation import Failure, Operation, Params, Result, on_api, refusing
from .._api.client import SupplyApi
from .._provision import acceptance, order
from .._provision.entry import Entry
from .._provision.messages import NOTHING_SENT
from .._provision.naming import (
    NAMED_ACTIONS,
    PatternPart,
    check_slice,
    hosts_in_reach,
    hosts_to_add,
    names_in_use,
    objection,
    spared_runs,
    troubles_of_groups,
    unmatched_names,
    warnings_of_runs,
    with_new_hosts,
)
from .._provision.place import Place, another_project
from .._text import host_pattern, joined, text_of
from ._registries import Registries, registered_machines

BLANK_NAMED: Result = {"changed": False, "hosts": [], "patterns": [], "add": [], "trouble": ""}


def order_of(params: Params, check_mode: bool) -> Result:
    """Return the hosts to add, how to reach hosts of an earlier job, and the group that this run's plays are for.

    If the order names hosts, the group is new: names in a play's ``hosts`` could also mean groups, and the order must
    not cover other hosts of the group. Raises Failure (invalid) for an order that cannot be carried out.
    """
    group = params["group"]
    with refusing(ValueError, NOTHING_SENT):
        acceptance.check_level(text_of(params["variables"].get("level")))
        found = order.ordered_hosts(params["variables"], group, params["sizes"], params["limited"])
    run_group = order.new_order_group(secrets.randbits(32)) if found.hosts else group
    hosts = found.to_find(params["sought"])
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
    registries: Registries, places: t.Mapping[str, Place], rows: t.Mapping[str, Params], reached: Params
) -> list[dict[str, t.Any]]:
    """How to reach the machines of hosts, except those whose ids are ``reached`` through the inventory.

    ``places``: the place of each host; ``rows``: its row, which names its project. Pins all host keys on this computer.
    Ansible itself reads entries in files only next to an inventory. Raises Failure.
    """

    def of_another(host: str, place: Place, entry: Entry) -> str:
        return another_project(host, place.entry_file(host), entry, rows[host]["project"])

    known = {
        resource_id: (machine.owner, {"name": machine.host, **machine.address, **machine.variables})
        for place in dict.fromkeys(filter(None, places.values()))
        for resource_id, machine in registered_machines(registries, place).items()
        if places.get(machine.owner) == place and not of_another(machine.owner, place, machine.entry)
    }
    return order.newer_rows(known, reached, places)


def named(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """Return the named hosts in order, those that a play must add first, and in ``trouble`` what could not be read.

    Raises Failure (invalid) if the names cannot be used.
    """
    action = NAMED_ACTIONS[params["verb"]]
    with refusing(ValueError):
        check_slice(params["slice_of"], action, params["count"])
    parts = [PatternPart(part["text"], tuple(part["hosts"])) for part in params["parts"]]
    made = _made(api, unmatched_names(parts), params)
    parts = with_new_hosts(parts, made)
    spared = spared_runs(parts, params["registered"], action)
    hosts = order.within([*params["matched"], *made], params["limited"], spared)
    reason = objection(parts, hosts, params["limited"], params["count"], params["by_job"], action, params["ungrouped"])
    if reason:
        raise Failure(reason, "invalid")
    trouble = joined(*params["troubles"], *troubles_of_groups(parts, params["ungrouped"]))
    try:
        left = hosts_in_reach(hosts, params["unreadable"], params["several"], action)
    except ValueError as error:
        raise Failure(joined(trouble, str(error)), "invalid") from None
    add = hosts_to_add(left, params["known"], params["registered"], params["group"], params["folders"])
    runs = warnings_of_runs(parts, left, params["registered"], action)
    warnings = [*params["broken"], *params["troubles"], *params["others"], *runs]
    patterns = list(map(host_pattern, left))  # for a play
    return {**BLANK_NAMED, "hosts": left, "patterns": patterns, "add": add, "trouble": trouble, "warnings": warnings}


def _made(api: SupplyApi, names: t.Sequence[str], params: Params) -> list[str]:
    """The unknown names that stand for a machine: it is given by its id, or, without a registry, has that name."""
    if params["by_id"]:
        return list(names)
    return names_in_use(api.resources(), names, params["prefix"]) if names and params["by_name"] else []


NAMED = on_api(SupplyApi, named, steps.NAMED, BLANK_NAMED)
ORDER = Operation(order_of, steps.ORDER)
