#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: activity_info
short_description: Tells whether the machine that it runs on is in use
version_added: 1.0.0
description:
  - Reads the notes of the sampler that the role P(compute_index.supply.provision#role) installs with
    O(compute_index.supply.provision#role:main:provision_idle_after), and checks who else is logged in right now.
  - In doubt the state is never V(idle). It is V(unknown) if the sampler has noted nothing for five minutes, or is not
    installed. Whatever the sampler itself cannot read, such as the utilization of a GPU, counts as use.
  - The connection that the module itself uses is not counted.
  - With the connection plugin C(ssh) a frozen machine is noticed after some 15 seconds. Once the C(timeout) of the task
    is over, no process of the task is left on the controller.
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
notes:
  - It needs no privileges on the machine. If the system hides the processes of other users (C(hidepid)), the answer is
    V(unknown) without C(become).
seealso:
  - module: compute_index.supply.machine_info
"""

EXAMPLES = r"""
- name: Which machines are idle?
  hosts: gpu
  gather_facts: false
  tasks:
    - name: Ask the machine
      compute_index.supply.activity_info:
      register: activity

    - name: Show the machines that were idle for two hours
      ansible.builtin.debug:
        msg: "{{ inventory_hostname }} has been idle since {{ activity.since }}: {{ activity.evidence }}"
      when: activity.state == 'idle' and activity.idle_seconds >= 7200
"""

RETURN = r"""
state:
  description:
    - V(active), V(idle) or V(unknown).
    - V(active) also while someone is connected at this moment, and while C(supply-keep) is in force.
  returned: success
  type: str
  sample: idle
since:
  description: When the machine was last in use, in UTC (ISO 8601). V(null) if that is unknown.
  returned: success
  type: str
  sample: "2026-11-27T03:00:00Z"
idle_seconds:
  description: For how long it has been idle; V(0) unless RV(state) is V(idle).
  returned: success
  type: int
  sample: 28800
keep_until:
  description: Until when a user of the machine keeps it (C(supply-keep)), in UTC. V(null) if no one does.
  returned: success
  type: str
  sample: "2026-11-27T09:00:00Z"
evidence:
  description: The observations that led to RV(state).
  returned: success
  type: str
  sample: 8 GPUs at 0 %, no SSH connection, load 0.02; last in use at 2026-11-27 03:00 UTC (GPU 7 at 97 %)
asked_at:
  description: When the machine was asked, by the controller's clock, in seconds since 1970.
  returned: always
  type: float
  sample: 1795820400.25
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.compute_index.supply.plugins.module_utils._machine import activity


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        found = activity.activity_of(activity.read_activity())
    except ValueError as error:
        found = activity.Activity(activity.UNKNOWN, str(error))
    module.exit_json(changed=False, **found.result())


if __name__ == "__main__":
    main()
