#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: resource_info
short_description: Lists the resources of the account, or reads one
version_added: 1.0.0
description:
  - Reads the resources that the API lists, machines and storage, with their prices and addresses.
  - The options narrow the list; a resource must match every given filter. O(resource_id) and O(offer_id) exclude each
    other.
  - If the API says that it lists only a part, that is a failure. A list is never silently incomplete.
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
    support: N/A
  idempotent:
    support: full
options:
  resource_id:
    description:
      - Read the resource with this id. The task fails if there is none.
    type: str
  offer_id:
    description:
      - Only resources that were bought with this offer.
    type: str
  name:
    description:
      - Only resources with exactly this name.
    type: str
  states:
    description:
      - Only resources in one of these states, in the API's words.
    type: list
    elements: str
  kinds:
    description:
      - Only resources of these kinds, see RV(resources[].kind). Without this option, all of them.
    type: list
    elements: str
    choices: [machine, storage, other]
  force_refresh:
    description:
      - Ask the vendors, instead of using the API's data of the last 30 seconds.
      - Costs a further request for each resource that is listed; with O(name) only for resources of that name.
    type: bool
    default: false
seealso:
  - module: compute_index.supply.delete_resource
  - plugin: compute_index.supply.resources
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: What runs, and what does it cost?
  hosts: localhost
  gather_facts: false
  tasks:
    - name: List the machines
      compute_index.supply.resource_info:
      register: found

    - name: Show the live resources
      ansible.builtin.debug:
        msg: "{{ item.name }}: {{ item.status }}, USD {{ item.price_per_hour }} per hour"
      loop: "{{ found.resources | selectattr('live') }}"
      loop_control:
        label: "{{ item.resource_id }}"

    - name: List the storage, which is billed until it is deleted by its id
      compute_index.supply.resource_info:
        kinds: [storage]
      register: kept
"""

RETURN = r"""
resources:
  description: The resources. Fields that the API adds are kept; user data is left out.
  returned: success
  type: list
  elements: dict
  contains:
    resource_id:
      description:
        - The id, for M(compute_index.supply.delete_resource). V(null) if the API's value is not a valid id; C(odd_id)
          then shows it. Such a resource may be billed all the same.
      type: str
    kind:
      description:
        - V(machine), V(storage), or V(other) for anything else, such as a network, an address, a key or a snapshot.
        - It comes from C(resource_type), whose values the API does not document. An unknown one is a V(machine), but
          without an address to log in to, since it may be something else.
      type: str
    resource_type:
      description: The API's own word for the kind of resource.
      type: str
    name:
      description: The name, if the API keeps one.
      type: str
    status:
      description: The state in the API's words.
      type: str
      sample: running
    live:
      description: Whether it exists, judging by its state. V(false) for deleting, deleted and failed ones.
      type: bool
    gone:
      description: Whether the vendor has confirmed the end of the resource. A resource that is not gone may be billed.
      type: bool
    offer_id:
      description: The offer that it was bought with, if the API says so.
      type: str
    price_per_hour:
      description: USD per hour, V(null) if unknown.
      type: float
    vendor:
      description: The cloud vendor.
      type: str
    vendor_region:
      description: The vendor's own name of the region.
      type: str
    access:
      description: Addresses as the API gives them, C(external_ip), C(internal_ip), C(ssh_command), C(ssh_port).
      type: dict
    linked_resources:
      description:
        - The resources that the API links to this one, for example the storage of a machine. Each has at least a
          C(resource_id) and a C(kind), which is V(null) if the API does not say.
      type: list
      elements: dict
    ansible_host:
      description: The address; V(null) without one, or if the resource is not a machine.
      type: str
    ansible_port:
      description: The SSH port.
      type: int
    ansible_user:
      description: The user that the SSH key was installed for.
      type: str
error_class:
  description: The kind of failure, see the notes.
  returned: failure
  type: str
  sample: not_found
status_code:
  description: The HTTP status that the API answered with, V(null) if it did not.
  returned: failure
  type: int
  sample: 404
"""

from ansible_collections.compute_index.supply.plugins.module_utils._ansible.module import run
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import RESOURCE_INFO


def main() -> None:
    """Run the module."""
    run(RESOURCE_INFO)


if __name__ == "__main__":
    main()
