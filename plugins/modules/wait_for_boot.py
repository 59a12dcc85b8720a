#!/usr/bin/python
# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wait_for_boot
short_description: Waits until a machine answers over SSH and its first boot is over
version_added: 1.0.0
description:
  - Tries to connect until SSH answers, then asks cloud-init until it has finished. Both waits have a limit.
  - The machine needs only a shell, no Python and no privileges; C(become) is not used.
  - A machine that cannot be reached, or stops answering, is a failure and never C(unreachable), so that C(rescue) can
    report what is billed. If a machine restarts during the wait, the wait begins again, three times at most.
  - In a terminal, with Ansible's default output, it shows what it waits for after ten seconds, at each change, and
    once a minute.
author:
  - Contributors to the compute_index.supply collection (@compute-index)
extends_documentation_fragment:
  - compute_index.supply.api.attributes
attributes:
  check_mode:
    support: full
    details:
      - It only reads, and waits as in a normal run.
  diff_mode:
    support: N/A
  idempotent:
    support: full
options:
  connect_timeout:
    description:
      - How long SSH may take to answer, in seconds. After each restart of the machine the time begins again.
      - A host key other than the known one ends the wait at once, unless O(seeded=true). A user's key that is refused
        may be installed late, and is waited for at most four minutes.
      - If this computer cannot resolve the machine's name, the wait ends after a minute.
    type: float
    default: 600
  boot_timeout:
    description:
      - How long cloud-init may take once SSH answers. A number of seconds, or with a unit, such as V(90s), V(30m) or
        V(2h).
    type: str
    default: 30m
  seeded:
    description:
      - Whether the host key was handed over with the user data, so that another one may answer until the first boot has
        installed it.
    type: bool
    default: false
  marked:
    description:
      - Whether the user data leaves the file V(/var/lib/supply-booted) or V(~/.supply-booted) at its end.
      - If cloud-init is absent or disabled on the machine, the task waits for that file instead. Without it the machine
        has not run its user data, and the task fails after O(boot_timeout).
    type: bool
    default: false
notes:
  - With the connection plugin C(ssh) an attempt to connect takes 15 seconds at most,
    whatever the configuration says. Shared connections from before are closed, and a machine that freezes is noticed.
    Other plugins keep their own timeouts.
seealso:
  - module: compute_index.supply.offer_status
"""

EXAMPLES = r"""
- name: Use the machines as soon as they can be used
  hosts: gpu
  gather_facts: false
  tasks:
    - name: Wait until the first boot is over
      compute_index.supply.wait_for_boot:
        boot_timeout: 45m
      register: boot

    - name: Show what cloud-init says
      ansible.builtin.debug:
        var: boot.cloud_init
"""

RETURN = r"""
msg:
  description: How the wait ended. In a failure the condition that was not met, and the last reason.
  returned: always
  type: str
  sample: "The state of cloud-init is 'running'. The limit was 30 minutes."
seconds:
  description: How long the wait took.
  returned: always
  type: float
  sample: 74.2
connected_after:
  description: The seconds after which SSH answered first, V(null) if it never did.
  returned: always
  type: float
  sample: 12.4
cloud_init:
  description: The last answer of cloud-init.
  returned: always
  type: dict
  contains:
    status:
      description:
        - The state of cloud-init in its own words, such as V(done), V(running), V(error) or V(disabled). V(absent) if
          the machine has no cloud-init, V(unclear) if its answer could not be read, V(null) if it was never asked.
      type: str
      sample: done
    errors:
      description:
        - The errors of cloud-init, each on one line and cut to 400 characters. With V(done) it recovered from them.
      type: list
      elements: str
    detail:
      description: The rest of the answer, on one line and shortened.
      type: str
      sample: "Running in stage: init-local"
host_key_refused:
  description: Whether the wait ended because the machine answers with a host key other than the known one.
  returned: always
  type: bool
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.compute_index.supply.plugins.module_utils import _spec


def main() -> None:
    """Fail: only the action plugin of this name does the work, on the controller."""
    module = AnsibleModule(argument_spec=_spec.WAIT_FOR_BOOT, supports_check_mode=True)
    module.fail_json(msg="compute_index.supply.wait_for_boot is an action: it runs on the controller, as a task.")


if __name__ == "__main__":
    main()
