# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells what hosts own, out of their variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: owned_machines
short_description: Lists the machines that hosts own, by their variables
version_added: 1.0.0
author:
  - Contributors to the compute_index.supply collection (@compute-index)
description:
  - Reads the variables that the role P(compute_index.supply.provision#role) gives to a host. Hosts without a machine
    are left out.
positional: _input
options:
  _input:
    description:
      - The variables of each host.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: What do the hosts cost?
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Show it
      ansible.builtin.debug:
        msg: "{{ machines | compute_index.supply.table({'host': 'host', 'USD/hour': 'price_per_hour'}) }}"
      vars:
        machines: "{{ groups.gpu | map('extract', hostvars) | compute_index.supply.owned_machines }}"
"""

RETURN = r"""
_value:
  description: For each host that has a machine its offer, how to reach it, and what it costs.
  type: list
  elements: dict
  contains:
    host:
      description: The host's name in the inventory.
      type: str
    offer_id:
      description: The offer that it owns.
      type: str
    resource_ids:
      description: The ids of its machines.
      type: list
      elements: str
    machines:
      description: How many machines the offer has.
      type: int
    ansible_host:
      description: The address of the host's first machine.
      type: str
    ansible_port:
      description: The SSH port of the host's first machine.
      type: int
    ansible_user:
      description: The user that may log in to the host's first machine.
      type: str
    ssh:
      description: The command that logs in, for a shell.
      type: str
    price_per_hour:
      description: USD per hour for all its machines; V(null) if unknown.
      type: float
    ends_at:
      description: When its lease is over, in UTC (ISO 8601); V(null) if it has none.
      type: str
    at_most:
      description: USD from the purchase to RV(_value[].ends_at); V(null) without a lease or a price.
      type: float
"""

import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.compute_index.supply.plugins.module_utils._provision import registration


def owned_machines(hosts: Iterable[Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """A mapping for each host with machines."""
    return [
        registration.owned_row(host["inventory_hostname"], host) for host in hosts if host.get("provision_instances")
    ]


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file by their names."""
        return {"owned_machines": owned_machines}
