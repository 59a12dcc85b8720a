#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_job
short_description: Starts the command of a run on a machine, once
version_added: 1.0.0
description:
  - Starts a command that goes on without any connection, in the folder that M(compute_index.supply.run_files) has
    filled. M(compute_index.supply.run_info) reads its state.
  - The same O(digest) under the same O(name) is started once, whatever happens in between. While another one runs, the
    task fails.
  - The run is over when its command ends, so the command must not go on in the background.
author:
  - Contributors to the compute_index.supply collection (@compute-index)
extends_documentation_fragment:
  - compute_index.supply.api.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: With O(again=true) a command that is over starts again.
options:
  name:
    description:
      - The name of the run. It has letters, digits, C(.), C(_) and C(-).
    type: str
    required: true
  command:
    description:
      - The command, for C(/bin/bash -c), or C(/bin/sh -c) without bash.
    type: str
    required: true
  setup:
    description:
      - A command that runs before O(command). Once it has succeeded, it does not run again until it or the code
        changes.
    type: str
    default: ''
  env:
    description:
      - Environment variables of O(setup) and O(command). They are in no file on the machine.
    type: dict
    default: {}
  digest:
    description:
      - A value that identifies this job, such as a digest of code and command.
    type: str
    required: true
  time:
    description:
      - How long O(setup) and O(command) may take together, in seconds. Then they get C(TERM), and 30 seconds later
        C(KILL). V(0) means no limit.
    type: float
    default: 0
  results:
    description:
      - The paths in the run's folder that are results. The module only notes them, for
        M(compute_index.supply.run_info).
    type: list
    elements: str
    default: []
  again:
    description:
      - Start the run again if it is over. A run that is not over goes on.
    type: bool
    default: false
notes:
  - As root on a machine with systemd, the run is a unit of its own (C(systemd-run --scope)), else a process with a
    session of its own. Both outlive the connection. If C(KillUserProcesses=yes) would end the latter, the task fails.
  - The output goes to C(log.txt) in the run's folder. Python does not buffer it (C(PYTHONUNBUFFERED)).
seealso:
  - module: compute_index.supply.run_info
  - module: compute_index.supply.run_results
"""

EXAMPLES = r"""
- name: Start a job
  hosts: gpu
  gather_facts: false
  tasks:
    - name: Start the training
      compute_index.supply.run_job:
        name: train
        setup: pip install -r requirements.txt
        command: python train.py
        env:
          WANDB_API_KEY: "{{ lookup('ansible.builtin.env', 'WANDB_API_KEY') }}"
        digest: "{{ 'python train.py' | hash('sha256') }}"
        time: 36000
"""

RETURN = r"""
state:
  description: The state of the run, as M(compute_index.supply.run_info) returns it; in check mode the present one.
  returned: success
  type: str
  sample: running
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.compute_index.supply.plugins.module_utils import _spec
from ansible_collections.compute_index.supply.plugins.module_utils._machine import job


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=_spec.RUN_JOB, supports_check_mode=True)
    # The result has nothing of it. Otherwise Ansible would hide each "1" in it because of a variable with that value.
    env = module.params.pop("env")
    module.no_log_values = set()
    try:
        result = job.start_once(module.params, env, module.check_mode)
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
