#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_entry
short_description: Keeps a file of host variables
version_added: 1.0.0
description:
  - Writes host variables to a file that Ansible reads automatically, for example C(host_vars/NAME/machine.yml).
  - The file is replaced in one step, is readable for its owner only, and is on disk when the task ends. The registry of
    the role P(compute_index.supply.provision#role) is kept in the same way, by M(compute_index.supply.procure_offer).
author:
  - Contributors to the compute_index.supply collection (@compute-index)
extends_documentation_fragment:
  - compute_index.supply.api.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  path:
    description:
      - The file. Its folder is created if needed. When the file is removed, so is its folder if nothing else is in it.
    type: path
    required: true
  variables:
    description:
      - The host variables.
    type: dict
    default: {}
  state:
    description:
      - Whether the file should exist.
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
  sample: /home/me/project/host_vars/trainer/machine.yml
error_class:
  description: Always V(invalid).
  returned: failure
  type: str
  sample: invalid
status_code:
  description: Always V(null), since no request is sent.
  returned: failure
  type: int
"""

from ansible_collections.compute_index.supply.plugins.module_utils._ansible.module import run
from ansible_collections.compute_index.supply.plugins.module_utils._operations.registry_entry import REGISTRY_ENTRY


def main() -> None:
    """Run the module."""
    run(REGISTRY_ENTRY)


if __name__ == "__main__":
    main()
