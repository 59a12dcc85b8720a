#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_entry
short_description: Keeps the registry file of a host
version_added: 1.0.0
description:
  - Writes host variables to a file that Ansible reads back by itself, for example C(host_vars/NAME/machine.yml).
  - The file is replaced in one step, is readable for its owner only, and is on disk when the task ends. The role
    P(compute_index.supply.provision#role) uses it as the journal of a purchase.
author:
  - Contributors to the compute_index.supply collection (@compute-index)
extends_documentation_fragment:
  - compute_index.supply.api.attributes
attributes:
  action_group:
    support: none
    membership: []
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description:
      - The file. Its folder is made if it does not exist.
    type: path
    required: true
  variables:
    description:
      - The host variables.
    type: dict
    default: {}
  state:
    description:
      - Whether the file shall be there.
    type: str
    choices: [present, absent]
    default: present
requirements:
  - PyYAML (Python library)
"""

EXAMPLES = r"""
- name: Note where a machine is
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Write host variables
      compute_index.supply.registry_entry:
        path: ./host_vars/trainer/machine.yml
        variables:
          ansible_host: 203.0.113.7
          ansible_port: 22
"""

RETURN = r"""
path:
  description: The file.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.compute_index.supply.plugins.module_utils import _registry


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "variables": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    if not _registry.HAS_YAML:
        module.fail_json(msg=missing_required_lib("PyYAML"))
    path = module.params["path"]
    try:
        before = _registry.read_text(path)
        after = _registry.entry_text(module.params["variables"]) if module.params["state"] == "present" else None
        if before != after and not module.check_mode:
            _registry.keep(path, after)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        module.fail_json(msg=f"The registry file {path} cannot be kept: {reason}.", path=path, error_class="invalid")
    diff = {"before": before or "", "after": after or "", "before_header": path, "after_header": path}
    module.exit_json(changed=before != after, path=path, diff=diff)


if __name__ == "__main__":
    main()
