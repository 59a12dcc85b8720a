#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_info
short_description: Measures the machine that it runs on
version_added: 1.0.0
description:
  - Returns the GPUs, CPUs, memory and boot disk of a machine. M(compute_index.supply.gpu_acceptance) compares them with
    the offer that the machine was bought with.
author:
  - Contributors to the compute_index.supply collection (@compute-index)
extends_documentation_fragment:
  - compute_index.supply.api.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
  idempotent:
    support: full
options: {}
"""

EXAMPLES = r"""
- name: What do these machines have?
  hosts: gpu
  gather_facts: false
  tasks:
    - name: Measure
      compute_index.supply.machine_info:
      register: measured

    - name: Show the GPUs
      ansible.builtin.debug:
        msg: "{{ measured.machine.gpus | map(attribute='model') | list }}"
"""

RETURN = r"""
machine:
  description: The hardware of the machine. Unknown values are V(null).
  returned: success
  type: dict
  contains:
    gpus:
      description: The NVIDIA GPUs, each with C(model) and C(memory_in_gb).
      type: list
      elements: dict
    gpu_source:
      description: How the GPUs were found, V(nvidia-smi), or V(pci) without a driver.
      type: str
    vcpu_count:
      description: The CPUs that may be used.
      type: int
    memory_in_gb:
      description: The memory in GB (10^9 bytes).
      type: float
    boot_disk_in_gb:
      description: The size of the root file system in GB (10^9 bytes).
      type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.compute_index.supply.plugins.module_utils._machine import acceptance


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, machine=acceptance.measure_hardware("/"))


if __name__ == "__main__":
    main()
