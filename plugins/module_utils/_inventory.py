# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How resources become hosts of an inventory: their names, variables and groups. Independent of Ansible.

All values come from the network, so a machine must not be able to take the name of another host or of a group.
"""

from __future__ import annotations

import re
import typing as t
from collections import Counter
from functools import cache

from ._api.client import ApiError, Json
from ._machine.connection import ADDRESS
from ._text import UUID, grouped

GROUP = "supply"  # contains all machines
LISTED_ID = "supply_resource_id"  # the variable from which the roles know a host's machine, whatever the prefix
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")  # also the name of a folder, of at most 255 characters
# Names with a special meaning to Ansible. A machine called localhost would get the controller's tasks.
_RESERVED = frozenset({"all", "ungrouped", "localhost", "localhost4", "localhost6"})
# Fields of a resource or of its free-form spec. The API's pages document most of them only for offers.
_GROUPED = {
    "vendor": ("vendor",),
    "region": ("region", "vendor_region"),
    "gpu": ("gpu_family", "gpu_type"),
    "state": ("status",),
    "contract": ("contract_type",),
}


class HostNames(t.NamedTuple):
    """``hosts``: a name for each resource, in their order. ``shared``: the hosts of each name that several wanted."""

    hosts: list[str]
    shared: dict[str, list[str]]


def host_names(resources: t.Sequence[Json], preferred: t.Sequence[object], taken: t.Container[str]) -> HostNames:
    """Name each resource as it prefers, else by its id.

    Resources that prefer the same name get it with their ids appended. A preferred name is ignored if it is no plain
    host name, has a special meaning to Ansible, contains an id, or is in ``taken`` (the names of groups). Raises
    ApiError (protocol) if an id is needed and is missing, or cannot name a host.
    """
    allowed = [name if _may_name(name, taken) and not UUID.search(name.lower()) else None for name in preferred]
    counts = Counter(allowed)
    hosts = [_host_name(resource, name, counts[name]) for resource, name in zip(resources, allowed)]
    # Only ids that are not UUIDs, as the API documents them, can cause this.
    if len(set(hosts)) < len(hosts) or not all(_may_name(host, taken) for host in hosts):
        raise ApiError("GET /resources: the API's ids cannot tell the machines apart.", "protocol", status_code=200)
    return HostNames(hosts, grouped((name, host) for name, host in zip(allowed, hosts) if name and counts[name] > 1))


def _may_name(name: object, taken: t.Container[str]) -> t.TypeGuard[str]:
    if not isinstance(name, str) or not HOST_NAME.fullmatch(name) or name in taken:
        return False
    return name.lower() not in _RESERVED and not name.startswith("127.")


def _host_name(resource: Json, preferred: str | None, count: int) -> str:
    """``count``: how many resources prefer this name."""
    resource_id = resource["resource_id"]
    if preferred and count == 1:
        return preferred
    if not resource_id:
        raise ApiError("GET /resources: the API lists a resource without an id.", "protocol", status_code=200)
    return f"{preferred}-{resource_id}" if preferred else str(resource_id)


def field(variables: t.Mapping[str, t.Any], path: str) -> t.Any:
    """The value at a dotted path such as ``supply_access.internal_ip``, or None."""
    value: t.Any = variables
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def host_variables(resource: Json, prefix: str) -> Json:
    """The host's variables: the API's fields with the prefix, the id for our roles, and how to reach the machine."""
    variables = {_variable(prefix, key): value for key, value in resource.items() if key not in ADDRESS}
    variables[LISTED_ID] = resource["resource_id"]
    if resource["ansible_host"] is None:
        # Without an address Ansible would connect to the host's name, perhaps to another computer. The domain
        # "invalid" never resolves (RFC 2606).
        variables["ansible_host"] = f"{resource['resource_id']}.invalid"
    else:
        variables.update((name, resource[name]) for name in ADDRESS)
    return variables


@cache
def _variable(prefix: str, key: str) -> str:
    return prefix + re.sub(r"\W", "_", key, flags=re.ASCII)


def groups_of(resource: Json) -> list[str]:
    """The default groups of a resource, such as ``vendor_nebius`` and ``gpu_h100``."""
    spec = resource["spec"]
    groups = [GROUP]
    for kind, names in _GROUPED.items():
        values = [resource.get(name) or spec.get(name) for name in names]
        if kind == "gpu":
            # The family in a canonical name: ``h100`` for ``nvidia-h100-sxm5-80gb`` (API page "gpu-selection")
            family = re.match(r"nvidia-([A-Za-z0-9]+)-", values[1]) if isinstance(values[1], str) else None
            values[0] = values[0] or (family and family[1])
        groups += [_group(kind, value) for value in values if isinstance(value, str)]
    return groups


@cache
def _group(kind: str, value: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", f"{kind}_{value.lower()}").strip("_")
