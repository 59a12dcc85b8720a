#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: delete_resource
short_description: Ends a machine or storage, and makes sure that it is gone
version_added: 1.0.0
description:
  - Deletes the resource with exactly the given id, and waits until the API says that it is deleted.
  - Storage has an id of its own, and is deleted with all its data. Deleting a machine does not delete storage that was
    bought to outlive it. The message says which kind of resource has ended.
  - The deletion is sent once. If its answer is lost, the module reads the resource to find out whether it ended.
  - A resource that is already deleted, by its state, is a success. A resource that the API does not know (404) is a
    failure, since it may still be billed. After an accepted deletion, by this run or another, such a 404 counts as the
    end, if it is the API's own answer and either the list no longer has the resource, or the API repeats it when the
    wait is over.
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
    support: full
  idempotent:
    support: full
options:
  resource_id:
    description:
      - The id of the resource. Names and patterns are refused, so that the wrong machine never ends.
    type: str
    required: true
  force:
    description:
      - Passed to the API, which does not document its effect.
    type: bool
    default: false
  wait:
    description:
      - Wait until the API says that the resource is deleted. With V(false), the task ends before it is known when
        billing stops.
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds to wait. It is a failure if the resource is not gone by then.
    type: float
    default: 300
  accepted:
    description:
      - Whether the API has already accepted a deletion of this resource; an earlier task with O(wait=false) returns
        that as RV(accepted). Then a resource that the API no longer knows has ended.
    type: bool
    default: false
seealso:
  - module: compute_index.supply.resource_info
"""

EXAMPLES = r"""
- name: End a machine
  hosts: localhost
  gather_facts: false
  vars:
    resource_id: 0e4f6f35-8a52-4f4e-a7ab-3b1b2bd2a2c4
  tasks:
    - name: Delete it and wait until it is gone
      compute_index.supply.delete_resource:
        resource_id: "{{ resource_id }}"
      register: ended

    - name: Show whether billing has stopped
      ansible.builtin.debug:
        var: ended.billing_stopped
"""

RETURN = r"""
billing_stopped:
  description:
    - Whether the API confirmed that the resource is deleted, or does not know it any more after it accepted the
      deletion. V(false) in every failure.
  returned: always
  type: bool
  sample: true
accepted:
  description:
    - Whether the API accepted a deletion, by this task or (with O(accepted)) by an earlier one. It counts as accepted
      if the API answered with a success, or if the resource was seen to end. V(false) if the answer was lost and
      nothing shows that it was accepted.
  returned: always
  type: bool
  sample: true
resource_id:
  description: The id of the resource.
  returned: always
  type: str
  sample: 0e4f6f35-8a52-4f4e-a7ab-3b1b2bd2a2c4
resource:
  description:
    - The last known state of the resource, in the form of M(compute_index.supply.resource_info). V(null) if it could
      not be read.
  returned: always
  type: dict
error_class:
  description: The kind of failure, see the notes.
  returned: failure
  type: str
  sample: unavailable
status_code:
  description: The HTTP status that the API answered with, V(null) if it did not.
  returned: failure
  type: int
  sample: 503
"""

from ansible_collections.compute_index.supply.plugins.module_utils._ansible.module import run
from ansible_collections.compute_index.supply.plugins.module_utils._operations.delete_resource import DELETE_RESOURCE


def main() -> None:
    """Run the module."""
    run(DELETE_RESOURCE)


if __name__ == "__main__":
    main()
