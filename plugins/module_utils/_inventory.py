# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How resources become hosts of an inventory: their names, variables and groups. Knows no Ansible.

All of it comes from the network: a machine must not be able to take the name of another host or of a group.
"""

from __future__ import annotations

import re
import typing as t
from collections import Counter
from functools import cache

from ._api.client import ApiError, Json
from ._machine.connection import ADDRESS
from ._text import UUID, grouped

GROUP = "supply"  # the group of all machines
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
# Names that mean something else to Ansible. A machine called localhost would get the tasks meant for the controller.
_RESERVED = frozenset({"all", "ungrouped", "localhost", "localhost4", "localhost6"})
# The documentation knows no field for these but an offer's; a resource may repeat them in its free-form spec.
_GROUPED = {
    "vendor": ("vendor",),
    "region": ("region", "vendor_region"),
    "gpu": ("gpu_family", "gpu_type"),
    "state": ("status",),
    "contract": ("contract_type",),
}


def host_names(resources: t.Sequence[Json], wishes: t.Sequence[object], taken: t.Container[str]) -> list[str]:
    """The host names of resources, in their order: what each wishes to be called, else its id.

    A wish of two resources gets the id behind it for both. A wish that is no plain host name, means something to
    Ansible, holds an id, or is in ``taken`` (the names of groups) is not granted. Raises ApiError (protocol) where an
    id is needed and there is none, or none that can name a host.
    """
    plain = [wish if _may_name(wish, taken) and not UUID.search(wish.lower()) else None for wish in wishes]
    often = Counter(plain)
    names = [_host_name(resource, wish, often[wish]) for resource, wish in zip(resources, plain)]
    # Only ids that are no UUIDs, as documented, can bring this about.
    if len(set(names)) < len(names) or not all(_may_name(name, taken) for name in names):
        raise ApiError("GET /resources: the API's ids cannot tell the machines apart.", "protocol", status_code=200)
    return names


def shared_names(wishes: t.Sequence[object], hosts: t.Sequence[str]) -> dict[str, list[str]]:
    """Wishes of several resources, each with the host names that these have got instead."""
    pairs = zip(wishes, hosts)
    found = grouped((wish, host) for wish, host in pairs if isinstance(wish, str) and host.startswith(f"{wish}-"))
    return {wish: sharing for wish, sharing in found.items() if len(sharing) > 1}


def _may_name(wish: object, taken: t.Container[str]) -> t.TypeGuard[str]:
    if not isinstance(wish, str) or not _HOST_NAME.fullmatch(wish) or wish in taken:
        return False
    return wish.lower() not in _RESERVED and not wish.startswith("127.")


def _host_name(resource: Json, wish: str | None, often: int) -> str:
    resource_id = resource["resource_id"]
    if wish and often == 1:
        return wish
    if not resource_id:
        raise ApiError("GET /resources: the API lists a resource without an id.", "protocol", status_code=200)
    return f"{wish}-{resource_id}" if wish else str(resource_id)


def field(variables: t.Mapping[str, t.Any], path: str) -> t.Any:
    """The value at a dotted path, as ``supply_access.internal_ip``; None where there is none."""
    value: t.Any = variables
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def host_variables(resource: Json, prefix: str) -> Json:
    """The host's variables: the API's fields behind the prefix, and how to reach it."""
    variables = {_variable(prefix, key): value for key, value in resource.items() if key not in ADDRESS}
    if resource["ansible_host"] is None:
        # Without an address Ansible would go by the host's name, and could reach some other computer that has it.
        # The domain "invalid" never resolves (RFC 2606).
        variables["ansible_host"] = f"{resource['resource_id']}.invalid"
    else:
        variables.update((name, resource[name]) for name in ADDRESS)
    return variables


@cache
def _variable(prefix: str, key: str) -> str:
    return prefix + re.sub(r"\W", "_", key, flags=re.ASCII)


def groups_of(resource: Json) -> list[str]:
    """The groups that a resource is in without configuration, as ``vendor_nebius`` and ``gpu_h100``."""
    spec = resource["spec"]
    groups = [GROUP]
    for kind, names in _GROUPED.items():
        values = [resource.get(name) or spec.get(name) for name in names]
        if kind == "gpu":
            values[0] = values[0] or _family(values[1])
        groups += [_group(kind, value) for value in values if isinstance(value, str)]
    return groups


def _family(gpu_type: object) -> str | None:
    """``h100`` of ``nvidia-h100-sxm5-80gb``: canonical names tell the family (API page "gpu-selection")."""
    found = re.match(r"nvidia-([A-Za-z0-9]+)-", gpu_type) if isinstance(gpu_type, str) else None
    return found[1] if found else None


@cache
def _group(kind: str, value: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", f"{kind}_{value.lower()}").strip("_")
