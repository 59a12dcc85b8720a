#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_files
short_description: Brings the code of a run to its machine
version_added: 1.0.0
description:
  - Packs a folder of the controller, copies it over the connection, checks it, and replaces the run's code by it
    as a whole. If the machine already has exactly this code, nothing is copied.
  - C(git) on the controller decides which files are packed, also outside of a repository. C(.gitignore) files count,
    also those above the folder in its repository. The registry's files and empty folders are left out. Links stay
    links. Only the executable bit of a file's mode counts; its time does not.
  - It refuses to replace code while a command of this run is still running.
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
    support: full
options:
  name:
    description:
      - The name of the run. It has letters, digits, C(.), C(_) and C(-).
    type: str
    required: true
  src:
    description:
      - The folder on the controller. The playbook C(run) gives the archive that it has packed when it began.
    type: path
    required: true
  exclude:
    description:
      - More patterns to leave out, in the syntax of C(.gitignore).
    type: list
    elements: str
    default: []
  step:
    description:
      - Internal - the request of the action plugin to the machine.
    type: dict
notes:
  - On the machine the code is in C(/var/lib/compute_index/run/NAME/work), without root in
    C(~/.compute_index/run/NAME/work).
  - With C(become) to a user other than root, Ansible must be able to share files with that user.
seealso:
  - module: compute_index.supply.run_job
"""

EXAMPLES = r"""
- name: Does the machine have my code?
  hosts: gpu
  gather_facts: false
  tasks:
    - name: Bring my code to the machine
      compute_index.supply.run_files:
        name: train
        src: "{{ playbook_dir }}/training"
        exclude: ["*.ckpt", /data/]
      register: code
"""

RETURN = r"""
digest:
  description: The SHA-256 of the code, with all paths and whether they may be executed.
  returned: success
  type: str
  sample: 3f786850e387550fdab836ed7e6dc881de23001b3f786850e387550fdab836ed
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.compute_index.supply.plugins.module_utils import _spec
from ansible_collections.compute_index.supply.plugins.module_utils._machine import job


def main() -> None:
    """Serve the action plugin's request on the machine."""
    module = AnsibleModule(argument_spec=_spec.RUN_FILES, supports_check_mode=True)
    try:
        has = job.receive_code(module.params["name"], module.params["step"] or {})
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, has=has)


if __name__ == "__main__":
    main()
