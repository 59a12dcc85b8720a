#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_info
short_description: Reads the state of a run on a machine
version_added: 1.0.0
description:
  - Reads the state of a run, and the newest lines of its log.
  - A run has succeeded only if exit code 0 is on record.
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
options:
  name:
    description:
      - The name of the run.
    type: str
    required: true
  lines:
    description:
      - How many lines of the log to return, at most V(1000).
    type: int
    default: 20
seealso:
  - module: compute_index.supply.run_job
"""

EXAMPLES = r"""
- name: Is the job over?
  hosts: gpu
  gather_facts: false
  tasks:
    - name: Wait until the training is over
      compute_index.supply.run_info:
        name: train
      register: run
      until: run.state is defined and run.state != 'running'
      retries: 1000
      delay: 30
"""

RETURN = r"""
name:
  description: The name of the run.
  returned: success
  type: str
  sample: train
state:
  description:
    - The state of the run, V(none), V(running), V(succeeded), V(failed) or V(interrupted).
  returned: success
  type: str
  sample: running
reason:
  description: The reason of RV(state) in words; often empty.
  returned: success
  type: str
  sample: exit code 0
msg:
  description: The state of the run as a sentence.
  returned: success
  type: str
  sample: The job runs.
command:
  description: The command of the run.
  returned: success
  type: str
  sample: python train.py
results:
  description:
    - The paths and patterns that M(compute_index.supply.run_job) was given as results, whether or not files match them.
      M(compute_index.supply.run_results) returns what arrived.
  returned: success
  type: list
  elements: str
  sample: [out]
digest:
  description: The digest that M(compute_index.supply.run_job) was given.
  returned: success
  type: str
  sample: 3f786850e387550fdab836ed7e6dc881de23001b3f786850e387550fdab836ed
exit_code:
  description:
    - The exit code of the command, V(null) if unknown. A command that was ended by a signal has 128 plus the signal's
      number.
  returned: success
  type: int
  sample: 0
began_at:
  description: When the run began, in UTC (ISO 8601).
  returned: success
  type: str
  sample: "2026-11-27T03:00:00Z"
ended_at:
  description: When the run ended, in UTC (ISO 8601). V(null) if it still runs, or if that is unknown.
  returned: success
  type: str
  sample: "2026-11-27T09:12:00Z"
log:
  description: The newest lines of the run's output, without control characters.
  returned: success
  type: list
  elements: str
  sample: ["epoch 3: loss 0.12"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.compute_index.supply.plugins.module_utils import _spec
from ansible_collections.compute_index.supply.plugins.module_utils._machine import job


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=_spec.RUN_INFO, supports_check_mode=True)
    try:
        result = job.report(module.params["name"], module.params["lines"])
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
