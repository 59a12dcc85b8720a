# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Broken registry files: each is named, and stops only its own host."""

from __future__ import annotations

import pytest

from attack import SUPPLY, Attacked, Cases, as_play, failed, failures
from standin import StandIn

pytestmark = pytest.mark.first

CONFLICT = "<<<<<<< HEAD\nprovision_resource_ids: [{}]\n=======\nprovision_resource_ids: []\n>>>>>>> other\n"


def test_broken_registry_file_stops_only_its_own_host(account: StandIn, project: Attacked) -> None:
    hosts = ["gpu-1", "gpu-2"]
    project.declare(hosts)
    for host in hosts:
        project.register(host, account.buy(account.sell(host), host))
    broken = account.add_machine("conflict")
    for host, text in (("conflict", CONFLICT.format(broken.resource_id)), ("listing", "- 1\n")):
        project.registry_file(host).parent.mkdir(parents=True)
        project.registry_file(host).write_text(text)
    audit = project.playbook(f"{SUPPLY}.audit")
    unwrapped = "".join(audit.output.split())  # older versions of ansible-core wrap warnings, within a path too
    check = Cases()
    with check("audit"):
        for host in ("conflict", "listing"):
            assert str(project.registry_file(host)) in unwrapped, "the broken file is not named"
        for machine in account.machines:
            assert machine.resource_id in audit.output, "a billed machine is not shown"
    last = project.playbook(project.book(as_play("decommission", "gpu", serial=1)))
    for host in hosts:
        with check(f"{host} is ended, in batches"):
            assert not failed(last, host), failures(last, host)
            assert not account.bought(host)[0].machines[0].runs
    with check("conflict"):
        assert broken.runs and project.registry_text("conflict")
    check.judge(audit, last)
