#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_results
short_description: Brings the results of a run home
version_added: 1.0.0
description:
  - Fetches files of the run's folder and its log, in parts. Each part is packed on the machine, fetched over the
    connection and checked by its SHA-256. An interrupted transfer resumes, also within a file.
  - Files appear below O(dest), by a rename, once they are complete. The module writes only below O(dest).
  - A link stays a link if it leads to something within a folder that is fetched. Other links are followed. Sockets,
    devices, empty folders and broken links are left out.
author:
  - Contributors to the compute_index.supply collection (@compute-index)
extends_documentation_fragment:
  - compute_index.supply.api.attributes
attributes:
  check_mode:
    support: none
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  name:
    description:
      - The name of the run.
    type: str
    required: true
  paths:
    description:
      - Files, folders, or patterns of them (without C(**)), relative to the folder that the command runs in.
    type: list
    elements: str
    default: []
  dest:
    description:
      - The folder on the controller. It gets C(files/) and C(log.txt).
    type: path
    required: true
  part_size:
    description:
      - The most bytes of a part before compression. The machine's disk needs room for one part.
    type: int
    default: 64000000
  step:
    description:
      - Internal - the request of the action plugin to the machine.
    type: dict
notes:
  - If it is interrupted, or the machine does not answer, the task fails; run it again.
  - C(become) works for root.
seealso:
  - module: compute_index.supply.run_info
"""

EXAMPLES = r"""
- name: Where are the results?
  hosts: gpu
  gather_facts: false
  tasks:
    - name: Bring the results home
      compute_index.supply.run_results:
        name: train
        paths: [out, "*.json"]
        dest: "{{ playbook_dir }}/runs/train"
      register: results

    - name: Stop if something is missing
      ansible.builtin.assert:
        that: results.complete
        fail_msg: "{{ results.msg }}"
"""

RETURN = r"""
complete:
  description: Whether the run is over, and all of its results and its log are here.
  returned: always
  type: bool
  sample: true
files:
  description: How many files are here.
  returned: always
  type: int
  sample: 20000
bytes:
  description: The size of all results and the log in bytes.
  returned: always
  type: int
  sample: 2147483648
missing:
  description: The O(paths) that match no file. They do not make the results incomplete.
  returned: always
  type: list
  elements: str
  sample: []
incomplete:
  description: The files that changed during the transfer, or could not be read or written.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The path; empty if the entry is about the whole run.
      type: str
      sample: out/model.bin
    reason:
      description: Why it was not fetched.
      type: str
      sample: it changed while it was fetched
fault:
  description: Why the transfer stopped early; empty if it did not. C(failed_when=false) does not remove it.
  returned: always
  type: str
  sample: ""
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.compute_index.supply.plugins.module_utils import _spec
from ansible_collections.compute_index.supply.plugins.module_utils._machine import results


def main() -> None:
    """Serve the action plugin's request on the machine."""
    module = AnsibleModule(argument_spec=_spec.RUN_RESULTS)
    try:
        answer = results.step(module.params["name"], module.params["paths"], module.params["step"] or {})
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
