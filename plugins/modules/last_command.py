#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: last_command
short_description: Runs a command on a machine that may be frozen
version_added: 1.0.0
description:
  - The playbook C(compute_index.supply.reap) runs C(reap_before_end) with it. It works like C(ansible.builtin.shell)
    with a plain command line. The output need not be UTF-8.
  - A frozen machine is noticed after some 15 seconds. Once the C(timeout) of the task is over, no process of the task
    is left on the controller, even if C(ansible-playbook) was killed.
author:
  - Contributors to the compute_index.supply collection (@compute-index)
extends_documentation_fragment:
  - compute_index.supply.api.attributes
attributes:
  check_mode:
    support: partial
    details:
      - The command does not run, and the task is skipped.
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - The command runs each time.
options:
  cmd:
    description:
      - The command line for C(/bin/sh).
    type: str
    required: true
notes:
  - With a connection plugin other than C(ssh) only the C(timeout) of the task limits it.
seealso:
  - module: compute_index.supply.activity_info
"""

EXAMPLES = r"""
- name: Save what must not be lost
  hosts: gpu
  gather_facts: false
  tasks:
    - name: Save checkpoints before the machine ends
      compute_index.supply.last_command:
        cmd: test ! -x /opt/save-checkpoints || /opt/save-checkpoints
      timeout: 300
"""

RETURN = r"""
rc:
  description: The exit code of the command.
  returned: if it has ended
  type: int
  sample: 0
stdout:
  description: The output of the command, with a replacement character for each byte that is not UTF-8.
  returned: if it has ended
  type: str
  sample: 12 checkpoints saved
stderr:
  description: The error output of the command.
  returned: if it has ended
  type: str
  sample: ''
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={"cmd": {"type": "str", "required": True}}, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False, skipped=True, msg="The command would have run, were it not for check mode.")
    # Bytes that are not UTF-8 would turn a success into a failure: Ansible takes no such result.
    code, out, err = module.run_command(module.params["cmd"], use_unsafe_shell=True, errors="replace")
    result = {"changed": True, "rc": code, "stdout": out.rstrip("\r\n"), "stderr": err.rstrip("\r\n")}
    if code:
        module.fail_json(msg=f"The command has ended with exit code {code}.", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
