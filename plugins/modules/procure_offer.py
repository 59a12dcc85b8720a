#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: procure_offer
short_description: Buys an offer of the Supply API, once
version_added: 1.0.0
description:
  - Buys an offer, unless it is bought already. An offer can be bought once, so its id makes the task idempotent.
  - The module first reads the offer's status and price. After the purchase, whatever the answer was, it reads the
    status until the outcome is known. Only the same offer is ever sent again, and only while its status says that it is
    unbought and its price is within the ceiling - after C(429) or C(503) with C(Retry-After), and once after
    O(settle_timeout). In a process of its own the module cannot see that Ansible was stopped, so there it sends the
    purchase once.
  - With O(registry_file) each step is noted in the registry before it is taken. If a run is killed at any moment, the
    next one takes over its purchase, and the host buys nothing else while the outcome is open.
  - Accounts are shared. A machine is this host's if the registry names its id, or if it has the requested name and
    a purchase was sent that was never answered. Without a registry the name alone decides; without O(resource_name) and
    O(cluster_name) the offer's id decides, if the account has a machine of it.
  - A refusal is double-checked. If another run has taken over the purchase in the meantime, or if the offer turns out
    to be sold after the API had asked to retry later, the outcome is V(unknown), and nothing else is bought.
  - It does not wait until the machine runs. Poll M(compute_index.supply.offer_status) for that.
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
  offer_id:
    description:
      - The id of the offer, as M(compute_index.supply.offer_info) found it. Offers expire after 30 minutes.
    type: str
    required: true
  ssh_public_key:
    description:
      - The public key, one line in OpenSSH's format, that may log in as C(root).
    type: str
    required: true
  cloud_init:
    description:
      - User data that the machine runs at its first boot. It begins with C(#cloud-config) or C(#!/) and has at most
        65,536 bytes.
      - Header, size and YAML are checked before anything is sent. The text is never shown.
      - An empty text is refused. Leave the option out if nothing is to run.
    type: str
  resource_name:
    description:
      - The name that the machine gets. Not every deployment of the API keeps it.
    type: str
  cluster_name:
    description:
      - The name of the cluster, for offers of several machines.
    type: str
  price_per_hour:
    description:
      - The price of the whole offer that the purchase was planned with, in USD per hour. A search may name a price with
        storage that the offer's own page leaves out.
      - The higher of this price and the fresh one counts. It is compared with all ceilings, noted in the registry and
        returned as RV(price_per_hour).
    type: float
  max_price_per_hour:
    description:
      - The most that the whole offer may cost, in USD per hour. It is compared with a fresh price, or a higher
        O(price_per_hour), right before each purchase that is sent. An offer whose fresh price is unknown does not pass.
    type: float
  procure_timeout:
    description:
      - Seconds that the purchase itself may take; the API may answer only when the vendor has.
    type: float
    default: 600
  settle_timeout:
    description:
      - Seconds for which the module asks for the outcome, after an answer that does not settle it.
      - A purchase that an earlier run has journaled is left alone for as long.
    type: float
    default: 30
  registry_file:
    description:
      - The registry file of the host, for example C(host_vars/NAME/compute_index_supply.yml), whose variables Ansible
        reads back. It is made for its owner only, and needs PyYAML.
      - An offer in this file that was or may have been bought takes precedence over O(offer_id). No other offer is
        bought, and a warning says so, so it is safe to repeat a task whose search finds another offer. If the file
        records the purchase as refused, the host may buy.
    type: path
  registry_url:
    description:
      - The registry that several controllers share instead of O(registry_file) - a PostgreSQL database, in any form of
        connection string that its client library takes, for example C(postgresql://supply@db.example.com/supply). A
        password may also come from E(PGPASSWORD) or C(~/.pgpass). It is never shown.
      - If not set, the value of the environment variable E(COMPUTE_INDEX_REGISTRY_URL) is used. A task that also has
        O(registry_file) is refused, even if only the environment names the shared registry.
      - The purchase is claimed for the host (O(project) and O(host)) before it is sent. While another run holds the
        claim, nothing is sent, the outcome is V(claimed), and the message says who it is and since when. A purchase
        that a dead run has left open is taken over and settled.
      - The first purchase makes the tables, in a schema of their own.
    type: str
  account_name:
    description:
      - The name of the account of O(api_token) in the registry of O(registry_url), which otherwise names it after
        O(api_url). Needed if several accounts of one API share a registry. Everyone who uses the account must give the
        same name.
      - If not set, the value of the environment variable E(COMPUTE_INDEX_ACCOUNT) is used.
    type: str
    default: ""
  max_total_price_per_hour:
    description:
      - The most that all purchases of the O(project) may cost together with this one, in USD per hour. It is compared
        in the transaction that claims the purchase. Needs O(registry_url).
      - Before this ceiling or O(max_account_price_per_hour) refuses a purchase, open purchases of dead runs that count
        in the sum are settled with the API. A refusal names those that are still open.
    type: float
  max_account_price_per_hour:
    description:
      - The most that all machines of the account may cost together with this one, in USD per hour.
      - With O(registry_url) the sum covers all purchases of the account that the registry knows, in all projects, and
        is compared in the same transaction. Without it the sum covers the machines that the API lists and the hosts
        that the registry of O(registry_file) notes, and is compared right before the purchase is sent. An unknown price
        does not pass.
    type: float
  project:
    description:
      - The project that the host belongs to. It is noted in the registry, unless it is V(default). With O(registry_url)
        hosts of the same name in two projects are two hosts.
    type: str
    default: default
  host:
    description:
      - The host that the machine is for, in messages and in the registry of O(registry_url). O(resource_name) by
        default.
    type: str
  note:
    description:
      - Variables that are kept in the registry with the purchase.
    type: dict
    default: {}
  account:
    description:
      - The account that the purchase was planned for, as M(compute_index.supply.decide) names it. With another
        O(api_token) or O(api_url) nothing is sent.
      - With this option, if the registry names another offer for the host by the time of the purchase, the plan is
        outdated, and the outcome is V(claimed).
    type: str
  listed_before:
    description:
      - Ids of resources that the API listed before the purchase, and that did not name the offer that they were bought
        with. If the offer's status names one of them, the task fails, since this purchase did not make it.
      - If the API refuses the purchase (404, 409, 410 or 429), a machine with the requested name makes the outcome
        V(unknown), provided that it has not ended, names no offer, and is not in this list.
    type: list
    elements: str
    default: []
  sealed:
    description:
      - The digests of the order in a sealed plan, as M(compute_index.supply.decide) has quoted it. If the order differs
        now, nothing is sent.
    type: dict
    default: {}
  plan:
    description:
      - Options of this module as one mapping, as M(compute_index.supply.decide) plans a purchase. They override those
        of the task and of C(module_defaults).
      - It is for tasks of many hosts, since Ansible compiles the template of each option for each host.
    type: dict
requirements:
  - psycopg 3 (Python library, only for O(registry_url))
seealso:
  - module: compute_index.supply.offer_info
  - module: compute_index.supply.offer_status
"""

EXAMPLES = r"""
- name: Buy the cheapest H100, but not for more than 4 USD per hour
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Search
      compute_index.supply.offer_info:
        spec:
          compute:
            gpu_type: H100
            gpu_count: 1
      register: search

    - name: Buy
      compute_index.supply.procure_offer:
        offer_id: "{{ search.offers[0].offer_id }}"
        ssh_public_key: "{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"
        resource_name: trainer
        max_price_per_hour: 4
        registry_file: "{{ playbook_dir }}/host_vars/trainer/compute_index_supply.yml"
        cloud_init: |
          #cloud-config
          packages: [git]
      register: purchase

    - name: Wait for the machine
      compute_index.supply.offer_status:
        offer_id: "{{ purchase.offer_id }}"
      register: machine
      until: machine.terminal
      retries: 120
      delay: 15
      failed_when: not (machine.ready or ansible_check_mode)
"""

RETURN = r"""
outcome:
  description:
    - The result of the purchase. V(created) - bought by this task; V(existing) - bought before; V(planned) - would be
      bought, in check mode.
    - In a failure V(rejected) - the API refused it, someone else has the offer, or it failed; V(not_sent) - this task
      sent nothing; V(claimed) - nothing was sent, since another purchase of the host is open; V(unknown) - the
      result of the purchase, or the owner of its machines, is not known, so it may be billed and nothing else may be
      bought;
      V(created) - bought, but the registry could not be written, or the API gave no valid id of a machine.
  returned: always
  type: str
  sample: created
claimed_by:
  description: With RV(outcome=claimed), who is buying for the host at this moment; V(null) if no one is.
  returned: always
  type: str
  sample: alice at bastion (AWX job 7)
offer_id:
  description: The id of the offer. It differs from the option if the registry has another offer for the host.
  returned: always
  type: str
  sample: 5b1f3c1e-7a53-4b0e-9d0c-2f6f0d4a9c11
status:
  description: The state of the offer in the API's words, or V(planned) in check mode.
  returned: always
  type: str
  sample: procured
procured_at:
  description: When the offer was bought, if the API says so.
  returned: always
  type: str
  sample: "2026-01-31T12:00:00Z"
resource_ids:
  description:
    - The ids of the offer's machines, as far as they are known yet. Also in failures. These are billed.
    - Machines of someone else are only in RV(machines).
  returned: always
  type: list
  elements: str
  sample: ["0e4f6f35-8a52-4f4e-a7ab-3b1b2bd2a2c4"]
machines:
  description:
    - The machines of the offer that the API lists, of any owner. Empty unless their names decide who owns them.
  returned: always
  type: list
  elements: dict
  contains:
    resource_id:
      description: The id of the machine.
      type: str
    name:
      description: The name of the machine, V(null) as long as it has none.
      type: str
    status:
      description: The state of the machine in the API's words.
      type: str
    price_per_hour:
      description: USD per hour, V(null) if unknown.
      type: float
registry:
  description: The place of the purchase in the registry, such as a file; V(null) without a registry.
  returned: always
  type: str
  sample: /home/me/project/inventory/host_vars/trainer/compute_index_supply.yml
offer:
  description: The offer's details as M(compute_index.supply.offer_info) returns them, V(null) if they were not read.
  returned: always
  type: dict
price_per_hour:
  description:
    - USD per hour for the whole offer, the higher of its fresh price and the option O(price_per_hour). V(null) if
      unknown.
  returned: always
  type: float
  sample: 2.35
cloud_init_sha256:
  description: The SHA-256 of the user data, V(null) without any.
  returned: always
  type: str
  sample: 3f786850e387550fdab836ed7e6dc881de23001b3f786850e387550fdab836ed
error_class:
  description: The kind of failure, see the notes.
  returned: failure
  type: str
  sample: expired
status_code:
  description: The HTTP status that the API answered with, V(null) if it did not.
  returned: failure
  type: int
  sample: 410
"""

from ansible_collections.compute_index.supply.plugins.module_utils._ansible.module import run
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import PROCURE_OFFER


def main() -> None:
    """Run the module."""
    run(PROCURE_OFFER)


if __name__ == "__main__":
    main()
