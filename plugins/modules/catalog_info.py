#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: catalog_info
short_description: Reads which GPUs, vendors and regions the Supply API knows
version_added: 1.0.0
description:
  - Reads the GPUs, vendors, regions, contracts or storage classes that a search may name. Reading costs nothing.
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
  kind:
    description:
      - The catalog to read.
    type: str
    required: true
    choices: [gpus, vendors, regions, contracts, storage]
seealso:
  - module: compute_index.supply.offer_info
"""

EXAMPLES = r"""
- name: Which GPUs does the API know?
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Read the names of the GPUs
      compute_index.supply.catalog_info:
        kind: gpus
      register: gpus

    - name: Show the GPUs of a family
      ansible.builtin.debug:
        msg: "{{ gpus.catalog.H100 }}"
"""

RETURN = r"""
catalog:
  description:
    - The API's answer, unchanged. With O(kind=gpus) a mapping from each family to a list of its canonical names. The
      API does not document the shape of the others, which may change.
  returned: success
  type: raw
  sample:
    H100: [nvidia-h100-sxm5-80gb, nvidia-h100-pcie-80gb]
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
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import CATALOG_INFO


def main() -> None:
    """Run the module."""
    run(CATALOG_INFO)


if __name__ == "__main__":
    main()
