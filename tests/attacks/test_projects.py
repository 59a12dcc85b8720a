# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two projects on one account, with hosts of the same names: neither ever touches what is the other's."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from attack import SPEC, Attacked, Cases, core, failed, failures
from conftest import Make
from project import Run
from standin import Answer, Proceed, Request, StandIn


def both(projects: list[Attacked], role: str) -> list[Run]:
    """Run a role in both at the same moment."""
    started = [
        project.start("ansible-playbook", "-i", str(project.inventory), project.play_of(role)) for project in projects
    ]
    return [project.finish(process) for project, process in zip(projects, started, strict=True)]


@core
@pytest.mark.parametrize("keeps_name", [True, False], ids=["named", "unnamed"])
def test_two_projects_want_the_same_offers(account: StandIn, make: Make, keeps_name: bool) -> None:
    hosts = ["gpu-1", "gpu-2"]
    projects = [make(name) for name in "ab"]
    for project, name in zip(projects, "ab", strict=True):
        project.declare(hosts, provision_project=name, provision_spec={**SPEC, "vendor": "acme"})
    for number in range(8):
        account.sell("acme", 2.0 + number / 10, keeps_name=keeps_name)
    meeting = threading.Barrier(2)

    def meet(_request: Request, proceed: Proceed) -> Answer:
        # Both purchases of an offer arrive before either is answered, if there are two.
        with suppress(threading.BrokenBarrierError):
            meeting.wait(3)
        return proceed()

    account.on("POST", "/procure_offer", meet, sent=account.offers[0].offer_id)
    check = Cases()
    runs = both(projects, "provision")
    if not keeps_name:
        # A machine without a name may be anybody's: who was told that somebody was faster may stop, but takes nothing.
        meeting.abort()
    runs += both(projects, "provision")
    owned = {(name, host): p.owned(host) for p, name in zip(projects, "ab", strict=True) for host in hosts}
    flat = [resource_id for ids in owned.values() for resource_id in ids]
    with check("one machine each"):
        assert len(flat) == len(set(flat)), f"a machine has two owners: {owned}"
        assert set(flat) == {machine.resource_id for machine in account.machines}, "somebody's machine is forgotten"
    if keeps_name:
        for (name, host), ids in owned.items():
            with check(f"{host} of {name}"):
                assert len(ids) == 1
                run = runs[2 + "ab".index(name)]
                assert not failed(run, host), failures(run, host)
    names = [purchase.name for purchase in account.purchases]
    with check("names"):
        assert len(set(names)) == len(names), f"two machines of one name: {names}"
    last = projects[0].role("decommission")
    with check("the end of one"):
        mine = {resource_id for (name, _host), ids in owned.items() for resource_id in ids if name == "a"}
        assert {machine.resource_id for machine in account.machines if not machine.runs} == mine
    check.judge(*runs, last)
