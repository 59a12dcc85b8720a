# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states that a real cloud-init shows at its first boot, and how the role waits for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from conftest import Backend, MakeProject
from simulator import Offer
from tools import make_cloud_config

# The user data that each host adds.
USER_DATA: dict[str, dict[str, Any]] = {
    "done": {"runcmd": ["sleep 15; touch /var/lib/finished"]},
    "degraded": {"no_ssh_fingerprints": "maybe"},
    "error": {"runcmd": ["false"]},
    "hangs": {"runcmd": ["sleep 600"]},
}


def test_role_waits_for_the_first_boot(rent: MakeProject) -> None:
    project = rent([Offer() for _host in USER_DATA])
    project.declare(list(USER_DATA), provision_reach=False)
    for host, user_data in USER_DATA.items():
        project.declare_host(host, provision_cloud_init=user_data)
    assert project.provision().returncode == 0
    limit = "{{ '20s' if inventory_hostname == 'hangs' else '5m' }}"
    show = {"ansible.builtin.debug": {"msg": "{{ boot.cloud_init.status }}, {{ boot.msg }}"}}
    task = {
        "compute_index.supply.wait_for_boot": {"boot_timeout": limit},
        "register": "boot",
        "ignore_errors": True,
    }
    run = project.play(project.write({"hosts": "gpu", "gather_facts": False, "tasks": [task, show]}))

    assert run.returncode == 0, run.output
    assert re.search(r"hangs, after 1\d s: The state of cloud-init is 'running'", run.output)
    for said in (
        "done, cloud-init has finished.",
        "done, cloud-init has finished with errors: ",
        "error, cloud-init has failed: ",
        "running, The state of cloud-init is 'running'. The limit was 20 seconds.",
    ):
        assert f'"msg": "{said}' in run.output, run.output


def test_known_keys_are_those_of_this_cloud_init(backend: Backend, tmp_path: Path) -> None:
    make_cloud_config.main(backend.image / "usr/lib/python3/dist-packages/cloudinit", tmp_path / "made.py")
    made, kept = (file.read_text().split('"""') for file in (tmp_path / "made.py", make_cloud_config.TARGET))
    assert made[2:] == kept[2:]  # behind the docstring, which names the version
