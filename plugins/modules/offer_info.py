#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: offer_info
short_description: Searches offers of the Supply API, or reads one
version_added: 1.0.0
description:
  - Asks all vendors for GPU machines that match a specification, or reads one offer with its current price.
  - Either O(spec) or O(offer_id) is required. Offers live 30 minutes. Searching costs nothing.
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
  spec:
    description:
      - The search; the YAML specification of C(POST /get_offers) as a mapping, with at least C(compute) or
        C(storage).
      - C(docs/spec.md) in the collection lists all keys.
      - A search is for on-demand offers unless C(contract_type) is V(spot), or V(any) for every contract.
      - A misspelled key, such as C(regoin), and an unknown one that begins with C(max_) or C(min_), is refused before
        anything is sent. Any other key that the API does not document is sent, with a warning.
    type: dict
  offer_id:
    description:
      - Read this offer instead of searching.
    type: str
  limit:
    description:
      - How many offers a search returns at most; it keeps the cheapest. By default it returns all. RV(total_count) also
        counts the offers that are left out.
    type: int
seealso:
  - module: compute_index.supply.procure_offer
"""

EXAMPLES = r"""
- name: What does an H100 cost in Europe?
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Search
      compute_index.supply.offer_info:
        spec:
          region: EU
          compute:
            gpu_type: H100
            gpu_count: 1
            contract_type: ondemand
        limit: 3
      register: search

    - name: Show the cheapest
      ansible.builtin.debug:
        msg: "{{ item.vendor }} {{ item.region }}: USD {{ item.price_per_hour }}"
      loop: "{{ search.offers }}"
      loop_control:
        label: "{{ item.offer_id }}"
"""

RETURN = r"""
offers:
  description: The offers, cheapest first; offers of unknown price come last. Fields that the API adds are kept.
  returned: success
  type: list
  elements: dict
  contains:
    offer_id:
      description:
        - The id, for M(compute_index.supply.procure_offer). V(null) if the API's value is not a valid id; C(odd_id)
          then shows it. Such offers come last, and cannot be bought.
      type: str
    price_per_hour:
      description:
        - USD per hour for the whole offer, V(null) if unknown. This is the higher of RV(offers[].total_price_per_hour)
          and the price of all GPUs. If the API gives no total, the price of the storage is added to that.
        - A total of zero counts as unknown.
      type: float
      sample: 2.35
    gpu_type:
      description: Canonical name of the GPU.
      type: str
      sample: nvidia-h100-sxm5-80gb
    gpu_family:
      description: Family of the GPU.
      type: str
      sample: H100
    gpu_count:
      description: GPUs in the offer.
      type: int
      sample: 1
    vendor:
      description: The cloud vendor.
      type: str
      sample: nebius
    region:
      description: Group of regions.
      type: str
      sample: EU
    vendor_region:
      description: The vendor's own name of the region.
      type: str
      sample: eu-north1
    contract_type:
      description: V(ondemand) or V(spot).
      type: str
      sample: ondemand
    type:
      description: V(vm) or V(container).
      type: str
      sample: vm
    status:
      description: State of the offer; only if one offer was read.
      type: str
      sample: available
    gpu_price_per_hour:
      description: USD per hour and GPU.
      type: float
      sample: 2.35
    storage_price_per_hour:
      description: USD per hour for additional volumes.
      type: float
    total_price_per_hour:
      description: USD per hour in total, as the API gives it.
      type: float
    vcpu_count:
      description: Virtual CPUs, V(null) if the vendor does not say.
      type: int
    memory_in_gb:
      description: Memory in GB, V(null) if the vendor does not say.
      type: float
    boot_disk_in_gb:
      description: Boot disk in GB, V(null) if the vendor does not say.
      type: int
    node_count:
      description: Machines in a cluster offer, V(null) if the API does not say.
      type: int
    created_at:
      description: When the offer was made.
      type: str
    expires_at:
      description: When the offer ends, 30 minutes after it was made.
      type: str
    procured_at:
      description: When the offer was bought.
      type: str
total_count:
  description: How many offers there are, by the API's own count.
  returned: success
  type: int
  sample: 12
error_class:
  description: The kind of failure, see the notes.
  returned: failure
  type: str
  sample: auth
status_code:
  description: The HTTP status that the API answered with, V(null) if it did not.
  returned: failure
  type: int
  sample: 401
"""

from ansible_collections.compute_index.supply.plugins.module_utils._ansible.module import run
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import OFFER_INFO


def main() -> None:
    """Run the module."""
    run(OFFER_INFO)


if __name__ == "__main__":
    main()
