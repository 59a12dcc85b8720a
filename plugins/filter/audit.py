# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds the machines of the account against the hosts that own them. The logic is a plain function."""

from __future__ import annotations

DOCUMENTATION = r"""
name: audit
short_description: Holds the machines of the account against the hosts that own them
version_added: 1.0.0
author:
  - Contributors to the compute_index.supply collection (@compute-index)
description:
  - Says for each resource that may be billed which hosts claim it, and for each claim whether there is such a resource.
  - A host claims the resources and the offer that its variables name (C(provision_resource_ids),
    C(provision_procured_offer_id), as the registry has them). A host without them that declares what it wants
    (C(provision_spec) or C(provision_offer_id)) claims what has its name (C(provision_resource_name), else the host's).
positional: _input, hosts, registered
options:
  _input:
    description:
      - The resources, as M(compute_index.supply.resource_info) returns them.
    type: list
    elements: dict
    required: true
  hosts:
    description:
      - The variables of each host, by its name.
    type: dict
    required: true
  registered:
    description:
      - What registry files say, by host, for hosts that are not in O(hosts), or whose variables do not have it.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Does somebody own each machine?
  hosts: localhost
  gather_facts: false
  tasks:
    - name: List the machines of the account
      compute_index.supply.resource_info:
      register: found

    - name: Show those that nobody claims
      ansible.builtin.debug:
        msg: "{{ (found.resources | compute_index.supply.audit(owners)).orphans }}"
      vars:
        owners: "{{ dict(groups.all | zip(groups.all | map('extract', hostvars))) }}"
"""

RETURN = r"""
_value:
  description:
    - C(claimed), C(orphans) and C(gone) are lists of rows with C(hosts), C(resource_id), C(name), C(offer_id),
      C(status), C(vendor), C(price_per_hour) (USD; V(null) if unknown) and C(trouble), which is empty where registry
      and API agree.
    - C(price_per_hour) has the sums C(claimed), C(orphans) and C(total) in USD; C(unpriced) counts the resources whose
      price is unknown.
  type: dict
"""

import typing as t

from ansible_collections.compute_index.supply.plugins.module_utils import _states
from ansible_collections.compute_index.supply.plugins.module_utils._market import is_called

Row = dict[str, t.Any]
Variables = t.Mapping[str, t.Any]
_SHOWN = ("resource_id", "name", "offer_id", "status", "vendor", "price_per_hour")


class Claim(t.NamedTuple):
    """What a host says that it owns; without offer and ids it goes by the name."""

    host: str
    offer_id: str
    resource_ids: list[str]
    name: str

    @property
    def is_registered(self) -> bool:
        """Whether the host's variables name what it has bought."""
        return bool(self.offer_id or self.resource_ids)


def audit(
    resources: list[dict[str, t.Any]],
    hosts: t.Mapping[str, Variables],
    registered: t.Mapping[str, Variables] | None = None,
) -> dict[str, t.Any]:
    """Who claims which resource. Resources that are ending or gone are billed no more, and need nobody."""
    registered = registered or {}
    names = dict.fromkeys([*hosts, *registered])
    claims = list(filter(None, (_claim(host, hosts.get(host) or {}, registered.get(host) or {}) for host in names)))
    billed = [resource for resource in resources if not _states.is_ending(resource["status"])]
    claimed, orphans = [], []
    for resource in billed:
        claimants = _claimants(resource, claims)
        if claimants:
            claimed.append(_row(resource, claimants, _trouble(resource, claimants, billed)))
        else:
            namesakes = [claim for claim in claims if claim.name == resource["name"]]
            trouble = "it has the name of a host whose registry names another machine" if namesakes else ""
            orphans.append(_row(resource, namesakes, trouble))
    claimed.sort(key=lambda row: row["hosts"])
    prices = {"claimed": _sum(claimed), "orphans": _sum(orphans), "total": _sum(claimed + orphans)}
    return {
        "claimed": claimed,
        "orphans": orphans,
        "gone": _gone(resources, claims),
        "price_per_hour": prices,
        "unpriced": sum(row["price_per_hour"] is None for row in claimed + orphans),
    }


def _claim(host: str, variables: Variables, entry: Variables) -> Claim | None:
    """The claim of a host, None for a host that has nothing to do with the API."""

    def of(name: str) -> t.Any:
        return variables.get(name) or entry.get(name)

    claim = Claim(
        host,
        of("provision_procured_offer_id") or "",
        list(of("provision_resource_ids") or []),
        str(of("provision_resource_name") or host),
    )
    wants = claim.is_registered or of("provision_spec") or of("provision_offer_id")
    return claim if wants else None


def _claimants(resource: Row, claims: list[Claim]) -> list[Claim]:
    """Those that name the resource, else those whose offer it is, else those that are called like it."""
    by_id = [claim for claim in claims if resource["resource_id"] in claim.resource_ids]
    by_offer = [claim for claim in claims if claim.offer_id and claim.offer_id == resource["offer_id"]]
    by_name = [claim for claim in claims if not claim.is_registered and claim.name == resource["name"]]
    # Whoever has only noted the offer before its purchase may have lost it to one that is known by name.
    return by_id or by_offer + by_name


def _trouble(resource: Row, claimants: list[Claim], billed: list[Row]) -> str:
    """Where registry and API do not agree on a resource that is claimed; empty if they do."""
    claim, offer_id = claimants[0], resource["offer_id"]
    namesakes = {other["offer_id"] or other["resource_id"] for other in billed if other["name"] == claim.name}
    if len(claimants) > 1:
        return "several hosts claim it"
    if resource["resource_id"] in claim.resource_ids:
        differs = claim.offer_id and offer_id and claim.offer_id != offer_id
        return f"its offer is {offer_id}, not that of the registry" if differs else ""
    if claim.resource_ids:
        return "it belongs to the host's offer, but the registry does not name it"
    name = resource["name"]
    if claim.offer_id and name and not is_called(name, claim.name):
        # Noted before a purchase that somebody else may have been faster with.
        return f"it is called {name}, and the registry names only its offer"
    if not claim.is_registered and len(namesakes) > 1:
        return "several offers have machines of this name"
    return ""


def _gone(resources: list[Row], claims: list[Claim]) -> list[Row]:
    """What hosts claim by id and is ending, gone, or not known to the API at all."""
    listed = {resource["resource_id"]: resource for resource in resources}
    rows = []
    for claim in claims:
        for resource_id in claim.resource_ids:
            resource = listed.get(resource_id) or {"resource_id": resource_id, "offer_id": claim.offer_id}
            if resource_id not in listed or _states.is_ending(resource["status"]):
                rows.append(_row({**dict.fromkeys(_SHOWN), **resource}, [claim], ""))
    return rows


def _row(resource: Row, claims: list[Claim], trouble: str) -> Row:
    shown = {name: resource[name] for name in _SHOWN}
    return {"hosts": [claim.host for claim in claims], **shown, "trouble": trouble}


def _sum(rows: list[Row]) -> float:
    """USD per hour; unknown prices count nothing here and are counted apart."""
    return round(sum(row["price_per_hour"] or 0.0 for row in rows), 6)


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file by their names."""
        return {"audit": audit}
