#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_follow
short_description: Follows a run on its machine until it is over
version_added: 1.0.0
description:
  - The playbook C(compute_index.supply.run) uses it to follow its job. In a terminal, with Ansible's default output, it
    shows the lines of the log.
  - The job does not need the controller. If the machine does not answer, the task waits for half an hour; the machine
    is never C(unreachable).
author:
  - Contributors to the compute_index.supply collection (@compute-index)
extends_documentation_fragment:
  - compute_index.supply.api.attributes
attributes:
  check_mode:
    support: full
    details:
      - It only looks.
  diff_mode:
    support: N/A
  idempotent:
    support: full
options:
  name:
    description:
      - The name of the run.
    type: str
    required: true
  follow:
    description:
      - Whether the task waits until the run is over. V(false) looks once.
    type: bool
    default: true
  delay:
    description:
      - The seconds between two looks.
    type: float
    default: 30
seealso:
  - module: compute_index.supply.run_info
"""

EXAMPLES = r"""
- name: Wait for a job
  hosts: gpu
  gather_facts: false
  tasks:
    - name: Follow it
      compute_index.supply.run_follow:
        name: train
"""

RETURN = r"""
state:
  description: The state of the run, as M(compute_index.supply.run_info) returns it, with its other results.
  returned: if the machine has answered
  type: str
  sample: succeeded
is_over:
  description: Whether the run is over.
  returned: always
  type: bool
  sample: true
lost_sight:
  description: Whether the machine stopped answering.
  returned: always
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.compute_index.supply.plugins.module_utils import _spec


def main() -> None:
    """Fail: only the action plugin of this name does the work, on the controller."""
    module = AnsibleModule(argument_spec=_spec.RUN_FOLLOW, supports_check_mode=True)
    module.fail_json(msg="compute_index.supply.run_follow is an action: it runs on the controller, as a task.")


if __name__ == "__main__":
    main()
