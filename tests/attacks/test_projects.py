# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two projects on one account, with equal host names: neither touches machines of the other."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from attack import SPEC, Attacked, Cases, Make, as_play, failed, failures
from project import Run
from standin import Answer, Hook, Proceed, Request, StandIn

pytestmark = pytest.mark.first


def run_in_both(projects: dict[str, Attacked], role: str) -> dict[str, Run]:
    """Run a role in both projects at the same time."""
    started = {
        name: project.start("ansible-playbook", "-i", str(project.inventory), project.play_of(role))
        for name, project in projects.items()
    }
    return {name: project.finish(started[name]) for name, project in projects.items()}


def test_two_projects_that_want_the_same_offers_stay_separate(account: StandIn, make: Make) -> None:
    named, unnamed = ("gpu-1", "gpu-2"), ("bare-1",)
    projects = {name: make(name) for name in "ab"}
    for name, project in projects.items():
        vendor = "{{ inventory_hostname.split('-')[0] }}"
        project.declare([*named, *unnamed], provision_project=name, provision_spec={**SPEC, "vendor": vendor})
    for number in range(6):
        account.sell("gpu", 2.0 + number / 10)
        account.sell("bare", 2.0 + number / 10, keeps_name=False)
    # Both purchases of an offer arrive before either is answered.
    for offer in account.offers[:2]:
        account.on("POST", "/procure_offer", meet(threading.Barrier(2)), times=2, sent=offer.offer_id)
    runs = run_in_both(projects, "provision")
    second = run_in_both(projects, "provision")
    owned = {(name, host): p.owned(host) for name, p in projects.items() for host in (*named, *unnamed)}
    flat = [resource_id for ids in owned.values() for resource_id in ids]
    check = Cases()
    with check("one owner"):
        assert len(flat) == len(set(flat)), f"a machine has two owners: {owned}"
        assert set(flat) == {machine.resource_id for machine in account.machines}, "a machine is forgotten"
    for (name, host), ids in owned.items():
        # A machine whose name the vendor did not keep, or may not have kept for this project, has an unclear owner. A
        # host whose purchase lost the race may stop then, but must not take the machine.
        may_stop = host in unnamed or not any(owned[name, other] for other in named)
        with check(f"{host} of {name}"):
            assert len(ids) == 1 or (may_stop and not ids)
            assert bool(ids) != failed(second[name], host), failures(second[name], host)
    with check("names"):
        names = [purchase.name for purchase in account.purchases]
        assert len(set(names)) == len(names), f"two machines of one name: {names}"
    # Project b uses the files of project a, to provision one host and to decommission the other.
    tasks = [
        {**task, "when": f"inventory_hostname == '{host}'"}
        for host, role in zip(named, ("provision", "decommission"), strict=True)
        for task in as_play(role)["tasks"]
    ]
    play = as_play("provision", ":".join(named), tasks=tasks)
    mixed = projects["a"].playbook(projects["a"].book(play), provision_project="b")
    for host in named:
        with check(f"{host} in a folder of another project"):
            assert "was written for" in failures(mixed, host) and "project a" in failures(mixed, host)
            assert all(machine.runs for machine in account.machines) and len(account.purchases) == len(names)
    last = projects["a"].role("decommission")
    with check("the end of one"):
        mine = {resource_id for (name, _host), ids in owned.items() for resource_id in ids if name == "a"}
        assert {machine.resource_id for machine in account.machines if not machine.runs} == mine
    check.judge(*runs.values(), *second.values(), mixed, last)


def meet(meeting: threading.Barrier) -> Hook:
    """A hook that waits up to 3 seconds for the other purchase."""

    def act(_request: Request, proceed: Proceed) -> Answer:
        with suppress(threading.BrokenBarrierError):
            meeting.wait(3)
        return proceed()

    return act
