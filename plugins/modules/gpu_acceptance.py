#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_acceptance
short_description: Tests whether a GPU machine is what was paid for, and sound
version_added: 1.0.0
description:
  - Runs on the machine. Compares it with its offer, reads what driver and kernel report about each GPU, and puts load
    on the GPUs. It installs nothing, and uses only programs that are installed.
  - The table in the guide C(docs/acceptance.md) says what each check means, and when it is degraded or bad.
  - A value that cannot be read is V(unknown), never V(ok). A program that does not answer is V(bad) and is killed; if
    it cannot be killed, it is left running.
author:
  - Contributors to the compute_index.supply collection (@compute-index)
extends_documentation_fragment:
  - compute_index.supply.api.attributes
attributes:
  check_mode:
    support: partial
    details: In check mode it puts no load on the machine, as with O(level=health), and writes nothing to its disk.
  diff_mode:
    support: N/A
  idempotent:
    support: full
options:
  level:
    description:
      - V(specs) compares the machine with its offer. That takes seconds.
      - V(health) also reads what driver and kernel report, which takes up to 30 seconds.
      - V(load) also puts load on the GPUs for a minute, with C(dcgmi) and one of C(gpu_burn), PyTorch and
        C(nvbandwidth), as far as they are installed.
      - V(burnin) also runs the long diagnosis of C(dcgmi), ten minutes of load, and C(all_reduce_perf).
    type: str
    choices: [specs, health, load, burnin]
    default: health
  timeout:
    description:
      - The time limit of the whole test, in seconds. By default V(60) for O(level=specs), V(120) for O(level=health),
        V(600) for O(level=load) and V(3600) for O(level=burnin).
    type: float
  tool_timeout:
    description:
      - How long a program may take to answer a question, in seconds. Without persistence mode C(nvidia-smi) starts the
        driver, which takes long on machines with eight GPUs.
    type: float
    default: 60
  expected:
    description:
      - The offer that the machine was bought with, as M(compute_index.supply.offer_info) returns it. In a cluster with
        C(node_count) machines each machine has its share of the GPUs.
    type: dict
    default: {}
  min_driver:
    description:
      - The oldest NVIDIA driver that passes, such as V(550) or V(550.54.15).
    type: str
    default: ''
  min_cuda:
    description:
      - The oldest CUDA that the driver must support, such as V(12.4).
    type: str
    default: ''
  thresholds:
    description:
      - New limits for single checks, by name. The defaults are C(clock) V(60) (seconds), C(disk_write) V(50) (MB/s) and
        C(temperature_margin) V(5) (degrees Celsius).
    type: dict
    default: {}
  controller_time:
    description:
      - The time of the controller when the task begins, in seconds since 1970. Without it the clock is not checked.
    type: float
notes:
  - Use C(become), since the kernel log belongs to root on many systems.
seealso:
  - module: compute_index.supply.machine_info
"""

EXAMPLES = r"""
- name: Are these machines sound?
  hosts: gpu
  gather_facts: false
  tasks:
    - name: Test them
      compute_index.supply.gpu_acceptance:
        level: health
        expected:
          gpu_type: nvidia-h100-sxm5-80gb
          gpu_count: 8
        min_driver: "550"
        controller_time: "{{ now().timestamp() }}"
      become: true
      register: tested

    - name: Show why one is not
      ansible.builtin.debug:
        msg: "{{ tested.reasons }}"
      when: tested.verdict in ['bad', 'degraded']
"""

RETURN = r"""
verdict:
  description: The worst verdict of all findings. The order is V(ok), V(unknown), V(degraded), V(bad).
  returned: success
  type: str
  sample: ok
findings:
  description: The result of each check.
  returned: success
  type: list
  elements: dict
  contains:
    check:
      description: The name of the check.
      type: str
      sample: ecc
    gpu:
      description: The number of the GPU, V(null) for the machine.
      type: int
    verdict:
      description: V(ok), V(unknown), V(degraded) or V(bad).
      type: str
    measured:
      description: The measured value, a number or a text.
      type: raw
    expected:
      description: The expected value; V(null) if there is nothing to compare with.
      type: raw
    unit:
      description: The unit of C(measured) and C(expected), empty if they have none.
      type: str
    source:
      description: The program or file that was asked.
      type: str
reasons:
  description: A sentence for each finding that is degraded or bad, the worst first.
  returned: success
  type: list
  elements: str
  sample: ["GPU 3: xid: Xid 79 (fell off the bus) (bad)"]
tools:
  description: The versions of C(driver), C(cuda), C(dcgm) and C(kernel); V(null) if one is unknown.
  returned: success
  type: dict
  sample: {"driver": "550.54.15", "cuda": "12.4", "dcgm": null, "kernel": "6.8.0-45-generic"}
seconds:
  description: How long the whole test took, in seconds.
  returned: success
  type: float
  sample: 21.4
evidence:
  description:
    - The output of the programs, with the serial numbers that vendors ask for; at most 256 KiB as JSON. The kernel log
      is reduced to lines about GPUs.
  returned: success
  type: list
  elements: dict
  contains:
    command:
      description: The command that was run.
      type: str
    exit_code:
      description: The exit code of the command, V(null) if it did not answer.
      type: int
    seconds:
      description: How long the command took, in seconds.
      type: float
    output:
      description: The output of the command, then its errors.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.compute_index.supply.plugins.module_utils._machine import acceptance

SPEC = {
    "level": {"type": "str", "choices": ["specs", "health", "load", "burnin"], "default": "health"},
    "timeout": {"type": "float"},
    "tool_timeout": {"type": "float", "default": 60.0},
    "expected": {"type": "dict", "default": {}},
    "min_driver": {"type": "str", "default": ""},
    "min_cuda": {"type": "str", "default": ""},
    "thresholds": {"type": "dict", "default": {}},
    "controller_time": {"type": "float"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        result = acceptance.accept_by_options(module.params, module.check_mode)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
