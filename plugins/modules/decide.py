#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: decide
short_description: Decides for all hosts of a play what is bought, kept or given back
version_added: 1.0.0
description:
  - The roles of this collection use it; it is of no use elsewhere. It gathers what the hosts of the play have declared,
    reads their registry, asks the API, and answers a plan or a verdict for each.
  - It runs once for all hosts, in Ansible's own process. One host's fault never fails the others; it stands in that
    host's plan, and the host fails by itself.
author:
  - Contributors to the compute_index.supply collection (@compute-index)
extends_documentation_fragment:
  - compute_index.supply.api
  - compute_index.supply.api.attributes
  - compute_index.supply.api.module
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  step:
    description:
      - V(plan) - what does each host own, and what would it buy at which price? V(quote) is the same before anything
        is bought, and needs no SSH key.
      - V(judge) - what became of the purchases, and what follows?
      - V(release) - what follows, once a machine was given back?
      - V(order) - what extra variables and surveys ask of the playbooks.
      - V(reached) - notes that the machine was reached, so that what is done once is not done again.
    type: str
    required: true
    choices: [plan, quote, judge, release, reached, order]
  deleted:
    description:
      - For O(step=release) what M(compute_index.supply.delete_resource) answered.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Plan for all hosts of the play
  compute_index.supply.decide:
    step: plan
  register: planned
  run_once: true
"""

RETURN = r"""
plans:
  description: For O(step=plan) and O(step=quote) the plan of each host.
  returned: success
  type: list
  elements: dict
next:
  description: For the other steps the file of the role that follows for each host.
  returned: success
  type: dict
stops:
  description: For the other steps why hosts stop, and what is billed.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Only the action plugin of this name can gather what hosts have declared."""
    module = AnsibleModule(
        argument_spec={
            "step": {
                "type": "str",
                "required": True,
                "choices": ["plan", "quote", "judge", "release", "reached", "order"],
            },
            "deleted": {"type": "list", "elements": "dict", "default": []},
        },
        supports_check_mode=True,
    )
    module.fail_json(msg="decide runs in Ansible's own process only, as the roles of this collection use it.")


if __name__ == "__main__":
    main()
