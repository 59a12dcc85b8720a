# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays in which hosts differ: a `when` leaves some out, some need another round, or have failed."""

from __future__ import annotations

from typing import Any

import pytest

from attack import SPEC, SUPPLY, Attacked, as_play, core, failed, failures
from standin import Answer, StandIn

pytestmark = pytest.mark.first

NOT_THE_FIRST = {"when": "inventory_hostname != 'gpu-1'"}


def play_with_roles(role: str) -> dict[str, Any]:
    """A play with the role in its `roles`, for all hosts but the first."""
    play = as_play(role, roles=[{"role": f"{SUPPLY}.{role}", **NOT_THE_FIRST}])
    del play["tasks"]
    return play


@core
def test_when_may_leave_out_the_first_host(account: StandIn, project: Attacked) -> None:
    hosts = ["gpu-1", "gpu-2", "gpu-3"]
    project.declare(hosts)
    for host in hosts:
        account.sell(host)
    run = project.playbook(project.book(play_with_roles("provision")))
    assert run.returncode == 0, run.output
    owned = {host: project.owned(host) for host in hosts}
    assert [len(ids) for ids in owned.values()] == [0, 1, 1], run.output
    project.register("gpu-1", account.buy(account.offers[0], "gpu-1"))
    # When the role runs for the second time, gpu-3 still has the decisions of the first.
    task = {"name": "End", "ansible.builtin.import_role": {"name": f"{SUPPLY}.decommission"}, **NOT_THE_FIRST}
    play = as_play("decommission")
    play["tasks"] = [{**task, "when": "inventory_hostname == 'gpu-3'"}, task]
    run = project.playbook(project.book(play))
    assert run.returncode == 0, run.output
    assert {machine.name: machine.runs for machine in account.machines} == {
        "gpu-1": True,
        "gpu-2": False,
        "gpu-3": False,
    }


@core
def test_run_once_covers_one_host_and_delegate_to_is_refused(account: StandIn, project: Attacked) -> None:
    hosts = ["gpu-1", "gpu-2"]
    project.declare(hosts)
    for host in hosts:
        account.sell(host)
    task = {"name": "Provision", "ansible.builtin.import_role": {"name": f"{SUPPLY}.provision"}}
    elsewhere = {"vars": {"provision_reach": True}, "delegate_to": "gpu-2"}
    run = project.playbook(project.book(as_play("provision", "gpu-1", tasks=[{**task, **elsewhere}])))
    assert "Leave out delegate_to" in failures(run, "gpu-1") and not account.purchases, run.output
    run = project.playbook(project.book(as_play("provision", tasks=[{**task, "run_once": True}])))
    assert run.returncode == 0 and [len(project.owned(host)) for host in hosts] == [1, 0], run.output
    # Also refused once the host has a machine.
    run = project.playbook(project.book(as_play("provision", "gpu-1", tasks=[{**task, **elsewhere}])))
    assert "Leave out delegate_to" in failures(run, "gpu-1") and len(account.purchases) == 1, run.output


@core
def test_first_host_left_out_after_the_purchase_stops_the_others(account: StandIn, project: Attacked) -> None:
    """The first host judges the purchases of all. A host without a verdict must not go on as if it had a machine."""
    hosts = ["gpu-1", "gpu-2"]
    project.declare(hosts)
    for host in hosts:
        account.sell(host)
    turns = {"when": "inventory_hostname != 'gpu-1' or provision__purchase is not defined"}
    task = {"name": "Provision", "ansible.builtin.import_role": {"name": f"{SUPPLY}.provision"}, **turns}
    run = project.playbook(project.book(as_play("provision", tasks=[task])))
    assert "Run again: nothing is bought twice." in failures(run, "gpu-2"), run.output
    run = project.role("provision")
    assert run.returncode == 0 and [len(project.owned(host)) for host in hosts] == [1, 1], run.output
    assert len(account.purchases) == 2, run.output


@core
def test_cluster_machines_stay_hosts_while_another_host_fails_over(account: StandIn, project: Attacked) -> None:
    several = {"vendor": "ray", "compute": {"gpu_type": "H100", "gpu_count": 16}}
    project.declare(
        {
            "alone": {"provision_spec": {**SPEC, "vendor": "alone"}},
            "ray": {"provision_spec": several, "provision_max_price_per_hour": 8},
        }
    )
    node_count = {"node_count": 2}
    account.sell("ray", 0.5, gpus=16, machines=2, listed=node_count, details=node_count)
    gone, _next = account.sell("alone", 2.0), account.sell("alone", 2.1)
    account.on("POST", "/procure_offer", lambda _r, _p: Answer(410, {"detail": "Offer expired"}), sent=gone.offer_id)
    show = {"name": "Show", "ansible.builtin.debug": {"msg": "{{ inventory_hostname }} is in {{ group_names }}"}}
    run = project.playbook(project.book(as_play("provision"), {"hosts": "gpu", "gather_facts": False, "tasks": [show]}))
    assert run.returncode == 0 and not failed(run, "alone"), run.output
    assert "ray-1 is in ['gpu']" in run.output, f"a billed machine is not a host\n{run.output}"


@core
def test_decommission_in_always_ends_machines_of_failed_hosts(account: StandIn, project: Attacked) -> None:
    hosts = ["gpu-1", "gpu-2"]
    project.declare(hosts)
    for host in hosts:
        account.sell(host)
    (buy,), (end,) = (as_play(role)["tasks"] for role in ("provision", "decommission"))
    job = {"name": "Train", "ansible.builtin.fail": {"msg": "no luck"}, "when": "inventory_hostname == 'gpu-1'"}
    play = as_play("provision", tasks=[{"name": "Try", "block": [buy, job], "always": [end]}])
    run = project.playbook(project.book(play))
    assert "ENDED BY THE TEST" not in run.output, run.output[-4000:]
    assert failed(run, "gpu-1") and not failed(run, "gpu-2"), run.output
    assert [machine.runs for machine in account.machines] == [False, False], run.output
    assert [project.owned(host) for host in hosts] == [[], []]


@core
def test_start_at_task_within_the_role_fails(account: StandIn, project: Attacked) -> None:
    project.declare(["gpu-1"])
    account.sell("gpu-1")
    imported = {"name": "Provision", "ansible.builtin.import_role": {"name": f"{SUPPLY}.provision"}}
    book = project.book(as_play("provision", tasks=[imported]))
    words = "ansible-playbook", "-i", str(project.inventory), book, "--start-at-task", "Plan | Find, quote and allocate"
    run = project.finish(project.start(*words))
    assert "ENDED BY THE TEST" not in run.output, run.output[-4000:]
    assert "--start-at-task" in failures(run, "gpu-1"), run.output
    assert not account.purchases


@core
def test_numeric_host_name_ends_and_extends_one_host(account: StandIn, project: Attacked) -> None:
    bought = {name: account.buy(account.sell(name), name) for name in ("101", "102")}
    project.declare(["101", "102"], provision_lease="1h")
    for name, purchase in bought.items():
        project.register(name, purchase)
    run = project.playbook("compute_index.supply.decommission", decommission_hosts=101)
    assert run.returncode == 0, run.output
    assert [purchase.machines[0].runs for purchase in bought.values()] == [False, True]
    run = project.playbook("compute_index.supply.extend", extend_hosts=102, extend_by="1h")
    assert "must be an iterable" not in run.output and "102" in run.output
