# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds a machine against the offer that it was bought as. The logic is a plain function of the module utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: shortfalls
short_description: Says where a machine has less than its offer
version_added: 1.0.0
author:
  - Contributors to the compute_index.supply collection (@compute-index)
description:
  - Compares GPU count and model, GPU memory, CPUs, memory and boot disk. What the offer or the machine does not tell is
    passed over. Up to 15 % of memory and disk may be missing, since systems keep a part for themselves.
positional: _input, offer
options:
  _input:
    description:
      - The machine, as M(compute_index.supply.machine_info) returns it.
    type: dict
    required: true
  offer:
    description:
      - The offer, as M(compute_index.supply.offer_info) returns it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Is it what was paid for?
  hosts: gpu
  gather_facts: false
  tasks:
    - name: Measure
      compute_index.supply.machine_info:
      register: measured

    - name: Read what was bought
      compute_index.supply.offer_info:
        offer_id: "{{ provision_procured_offer_id }}"
      register: bought
      delegate_to: localhost

    - name: Compare
      ansible.builtin.assert:
        that: missing | length == 0
        fail_msg: "{{ missing | join('; ') }}"
      vars:
        missing: "{{ measured.machine | compute_index.supply.shortfalls(bought.offers[0]) }}"
"""

RETURN = r"""
_value:
  description: A sentence for each field that falls short; none if all is there.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.compute_index.supply.plugins.module_utils._machine import verdicts


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file by their names."""
        return {"shortfalls": verdicts.shortfalls}
