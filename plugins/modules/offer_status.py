#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: offer_status
short_description: Reads the state of procured offers, for loops with until
version_added: 1.0.0
description:
  - Reads the state of one or many offers once, and returns at once. The task waits, with C(until), C(retries) and
    C(delay), so that you can watch and stop it.
  - Every result is returned, also in failures. An error that may pass (a lost connection, a timeout, 429, 5xx, an
    unreadable answer) is not a failure but RV(transient_error=true). An error that stays (401, 403, 404, 422) is a
    failure with RV(terminal=true), so that the loop ends at once.
  - Each check sends its request once, whatever O(api_retries) is.
  - With O(offer_ids), RV(offers) has the results of each offer, and the other results summarize all of them. An offer
    that cannot be read is a failure in its own entry only; a refused token fails the task.
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
  offer_id:
    description:
      - The id of the offer. Either this or O(offer_ids) is required.
    type: str
  offer_ids:
    description:
      - The ids of many offers, which are read together. With an empty list no request is sent, and RV(ready) is true.
      - In a terminal the task prints each change. The task's variable C(compute_index_labels), a mapping from ids to
        names, sets the names that are printed.
    type: list
    elements: str
seealso:
  - module: compute_index.supply.procure_offer
"""

EXAMPLES = r"""
- name: Wait until the machines of an offer run, at most half an hour
  hosts: localhost
  gather_facts: false
  vars:
    offer_id: 5b1f3c1e-7a53-4b0e-9d0c-2f6f0d4a9c11
  tasks:
    - name: Wait for the machines
      compute_index.supply.offer_status:
        offer_id: "{{ offer_id }}"
      register: machine
      until: machine.terminal
      retries: 120
      delay: 15
      failed_when: not machine.ready

- name: Wait until the machines of several offers run
  hosts: localhost
  gather_facts: false
  vars:
    offer_ids: [5b1f3c1e-7a53-4b0e-9d0c-2f6f0d4a9c11, 0f7c2a52-33c1-4d0e-8a2e-6f0d4a9c1122]
  tasks:
    - name: Wait for the machines
      compute_index.supply.offer_status:
        offer_ids: "{{ offer_ids }}"
      register: machines
      until: machines.terminal
      retries: 120
      delay: 15
      failed_when: not machines.ready
"""

RETURN = r"""
offers:
  description:
    - With O(offer_ids) the results of each offer, by its id in lower case. Each has all fields that are described here
      but this one, and RV(ignore:failed), RV(error_class) and RV(status_code) if it cannot be read. Empty
      without O(offer_ids).
  returned: always
  type: dict
ready:
  description:
    - Whether all machines run and can be reached. It takes V(ready) as the state and an address for each instance.
    - With O(offer_ids), whether all offers are ready.
  returned: always
  type: bool
  sample: true
terminal:
  description:
    - Whether waiting is over, in success or failure. In check mode also if the offer is unbought, since this run buys
      nothing.
    - With O(offer_ids), whether that is true of all offers.
  returned: always
  type: bool
  sample: true
transient_error:
  description:
    - Whether reading again may help, since this request got no answer, or the machines of a ready offer are not listed
      or cannot be used yet.
    - With O(offer_ids), whether that is true of any offer.
  returned: always
  type: bool
  sample: false
msg:
  description: The state in one line.
  returned: always
  type: str
  sample: "Offer 5b1f3c1e-7a53-4b0e-9d0c-2f6f0d4a9c11 is under way: provisioning_in_progress, 2/4 instances running."
offer_id:
  description: The id of the offer; V(null) with O(offer_ids).
  returned: always
  type: str
  sample: 5b1f3c1e-7a53-4b0e-9d0c-2f6f0d4a9c11
procurement_status:
  description: The state of the procurement in the API's words, V(null) if unknown.
  returned: always
  type: str
  sample: ready
status:
  description: The state of the offer in the API's words, V(null) if unknown.
  returned: always
  type: str
  sample: procured
phase:
  description:
    - The meaning of both states together. V(unbought), V(going_on), V(ready), V(failed), V(expired) (unbought and too
      late) or V(ended) (all its machines are deleted, by their states). V(null) if the request got no answer, and
      with O(offer_ids).
  returned: always
  type: str
  sample: ready
progress:
  description: The progress of the procurement, in the API's words.
  returned: always
  type: str
  sample: 2/4 instances running
failure_reason:
  description: Why the procurement failed, in the API's words.
  returned: always
  type: str
instances:
  description: The machines, empty until the vendor has made some. Fields that the API adds are kept.
  returned: always
  type: list
  elements: dict
  contains:
    resource_id:
      description: The id of the machine, V(null) if it is not known.
      type: str
    name:
      description: The name that the API keeps for the machine.
      type: str
    status:
      description: The state of the instance in the API's words.
      type: str
      sample: running
    ansible_host:
      description: The address of the machine, V(null) as long as it has none.
      type: str
      sample: 203.0.113.7
    ansible_port:
      description: The SSH port of the machine.
      type: int
      sample: 22
    ansible_user:
      description: The user that the SSH key was installed for.
      type: str
      sample: root
connections:
  description:
    - C(resource_id), C(ansible_host), C(ansible_port) and C(ansible_user) of each instance that has an address, and
      nothing that changes while the machine lives. Addresses, users and ports are checked to be plain ones.
  returned: always
  type: list
  elements: dict
  sample:
    - resource_id: 0e4f6f35-8a52-4f4e-a7ab-3b1b2bd2a2c4
      ansible_host: 203.0.113.7
      ansible_port: 22
      ansible_user: root
resource_ids:
  description: The ids of all machines of the offer, or of all offers. These are billed.
  returned: always
  type: list
  elements: str
  sample: ["0e4f6f35-8a52-4f4e-a7ab-3b1b2bd2a2c4"]
procured_at:
  description: When the offer was bought, if the API says so.
  returned: always
  type: str
  sample: "2026-01-31T12:00:00Z"
retry_after:
  description: Seconds that the API asked to wait, V(null) if it did not.
  returned: always
  type: float
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
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import OFFER_STATUS


def main() -> None:
    """Run the module."""
    run(OFFER_STATUS)


if __name__ == "__main__":
    main()
