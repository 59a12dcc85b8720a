# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disturbed sweeps: killed, concurrent with other plays, with a failing API. None ends a machine too early."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
import yaml

import postgresql
from conftest import MakeProject, Project, core
from plays import kill
from simulator import Fault, Offer
from test_ending import give_machines
from test_leases import HOUR, extend, later, reap


def in_hours(hours: float) -> str:
    """The time in this many hours, in the form of a registry entry."""
    return (datetime.now(timezone.utc) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def give_leased_machines(project: Project, *hosts: str, hours: float = -1.0) -> list[str]:
    """Give each host a machine whose lease ends in this many hours, and return their ids."""
    return give_machines(
        project, *hosts, provision_leased="8h", provision_ends_at=in_hours(hours), provision_price_per_hour=2.0
    )


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    """A project whose API shows all machines as ten hours old."""
    return make_project([Offer() for _number in range(30)], provision_seconds=0, clock_ahead=-10 * HOUR)


def run_concurrently(*runs: Any) -> list[Any]:
    """Call these functions at the same time, and return their results."""
    with ThreadPoolExecutor(len(runs)) as pool:
        return [each.result() for each in [pool.submit(run) for run in runs]]


def test_next_sweep_finishes_one_killed_at_any_request(project: Project) -> None:
    (warm,) = give_leased_machines(project, "warm-up")
    (keeps,) = give_leased_machines(project, "keeps", hours=1.0)
    project.simulator.settings.clock_ahead = 0
    sent = project.simulator.requests
    sent.clear()
    project.declare(["warm-up", "keeps"])
    assert project.play("compute_index.supply.reap").returncode == 0
    assert project.simulator.billed == [keeps]

    def arrived(number: int) -> Callable[[], bool]:
        return lambda: len(sent) >= number

    count = len(sent)
    for nth in range(1, count + 1):
        host = f"gpu-{nth}"
        project.simulator.settings.clock_ahead = -10 * HOUR
        give_leased_machines(project, host)
        project.simulator.settings.clock_ahead = 0
        project.declare([host])
        # Every second time the API delays the request, and processes it after the kill.
        project.simulator.faults[:] = [Fault(path="/", nth=nth, delay=0.2)] if nth % 2 else []
        kill(project, signal.SIGKILL, arrived(len(sent) + nth), "compute_index.supply.reap")
        project.simulator.faults.clear()
    project.declare([*(f"gpu-{nth}" for nth in range(1, count + 1)), "keeps"])
    last = project.play("compute_index.supply.reap")
    assert last.returncode == 0, last.output
    assert project.simulator.billed == [keeps] and warm not in project.simulator.billed
    assert project.registry("keeps") is not None and all(
        project.registry(f"gpu-{n}") is None for n in range(1, count + 1)
    )


@pytest.mark.first
def test_concurrent_sweeps_end_each_machine_once(project: Project) -> None:
    give_leased_machines(project, "gpu-1", "gpu-2", "gpu-3")
    (keeps,) = give_leased_machines(project, "keeps", hours=1.0)
    project.declare(["gpu-1", "gpu-2", "gpu-3", "keeps"])
    project.simulator.settings.clock_ahead = 0
    project.simulator.settings.delete_seconds = 1
    runs = run_concurrently(*[partial(project.play, "compute_index.supply.reap")] * 2)
    assert project.simulator.billed == [keeps]
    # One sweep may read a host while the other ends it, and reports that. Neither takes it for a purchase.
    notice = re.compile("another run (has ended|began to end|may have ended)", re.IGNORECASE)
    assert 0 in [run.returncode for run in runs], "\n".join(run.output for run in runs)
    for run in runs:
        assert run.returncode == 0 or notice.search(run.text), run.output
        assert "is buying" not in run.text, run.output
    again = project.play("compute_index.supply.reap")
    assert again.returncode == 0, again.output
    assert [host for host in ("gpu-1", "gpu-2", "gpu-3", "keeps") if project.registry(host)] == ["keeps"]


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.3])
def test_extension_during_a_sweep_keeps_its_promise(project: Project, delay: float) -> None:
    hosts = [f"gpu-{number}" for number in range(1, 7)]
    ids = dict(zip(hosts, give_leased_machines(project, *hosts, hours=0), strict=True))
    project.declare(hosts)
    project.simulator.settings.clock_ahead = 0
    # The sweep's second list is delayed, so that the extension falls between its reading and its mark.
    project.simulator.faults[:] = [Fault(method="GET", path="/resources", nth=2, delay=delay)]
    sweep, extended = run_concurrently(
        partial(project.play, "compute_index.supply.reap"), partial(extend, project, ",".join(hosts), extend_by="4h")
    )
    for host, machine in ids.items():
        promised = f'"{host}  ' in extended.output
        assert promised == (machine in project.simulator.billed), sweep.output + extended.output
    assert extended.returncode == (0 if len(project.simulator.billed) == 6 else 2), extended.output


def test_sweep_during_provision_and_decommission_ends_only_the_expired_machine(make_project: MakeProject) -> None:
    project = make_project([Offer() for _number in range(4)], provision_seconds=0)
    project.declare(["gpu-1", "gpu-2"], provision_reach=False)
    project.declare_host("gpu-1", provision_lease="8h")
    project.declare_host("gpu-2", provision_lease="12h")
    assert project.play("compute_index.supply.provision", **later(project, -10)).returncode == 0
    later(project, 0)
    # Either machine may have been bought first.
    (ends,), (keeps,) = (project.registry(host)["provision_resource_ids"] for host in ("gpu-1", "gpu-2"))
    decommission = partial(project.play, "compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1")
    run_concurrently(partial(project.play, "compute_index.supply.reap"), project.provision, decommission)
    assert ends not in project.simulator.billed and keeps in project.simulator.billed
    last = project.provision()
    assert last.returncode == 0, last.output
    assert len(project.simulator.billed) == 2 and len(project.simulator.purchases) == 3


@pytest.mark.first
@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"status": 403}, "answered 403"),
        ({"status": 503, "count": None}, "answered 503"),
        ({"cut": "before", "count": None}, "GET /resources"),
    ],
)
def test_sweep_ends_nothing_if_the_api_cannot_be_read(project: Project, rule: dict[str, Any], message: str) -> None:
    give_leased_machines(project, "gpu-1")
    project.declare(["gpu-1"])
    project.simulator.settings.clock_ahead = 0
    project.simulator.faults[:] = [Fault(method="GET", path="/resources", **rule)]
    run = project.play("compute_index.supply.reap", COMPUTE_INDEX_API_RETRIES="0")
    assert run.returncode != 0 and message in run.text, run.output
    assert "Nothing was ended: a machine whose lease is over is billed until a sweep succeeds." in run.text
    assert len(project.simulator.billed) == 1
    # The sweep is not noted, since it did not enforce the leases.
    assert not (project.folder / "host_vars" / ".compute_index_supply.swept").exists()


def test_machine_missing_from_the_list_ends_by_its_id(project: Project) -> None:
    give_leased_machines(project, "gpu-1")
    project.declare(["gpu-1"])
    project.simulator.settings.clock_ahead = 0
    project.simulator.faults[:] = [Fault(method="GET", path="/resources$", status=200, body=b"[]", count=None)]
    run = project.play("compute_index.supply.reap")
    assert run.returncode == 0 and project.simulator.billed == [], run.output


def test_reap_grace_that_cannot_be_evaluated_fails(project: Project) -> None:
    give_leased_machines(project, "gpu-1")
    project.declare(["gpu-1"])
    run = project.play("compute_index.supply.reap", "-e", '{"reap_grace": "{{ hours }}h"}')
    assert run.returncode == 2 and "reap_grace cannot be evaluated: 'hours' is undefined" in run.text, run.output


def test_tags_that_skip_the_sweep_fail_unless_the_import_is_tagged(project: Project) -> None:
    give_leased_machines(project, "gpu-1")
    project.declare(["gpu-1"])
    project.simulator.settings.clock_ahead = 0
    project.simulator.requests.clear()
    direct = project.play("compute_index.supply.reap", ANSIBLE_RUN_TAGS="deploy")
    assert direct.returncode != 0 and "The collection's playbooks have no tags" in direct.text, direct.output
    # In AWX, each job starts such a playbook.
    imported = project.play(project.write({"import_playbook": "compute_index.supply.reap"}), "--tags", "deploy")
    assert imported.returncode != 0 and project.simulator.requests == [], imported.output
    tagged = project.write({"import_playbook": "compute_index.supply.reap", "tags": "sweep"})
    skipped = project.play(tagged, "--tags", "deploy")
    assert skipped.returncode == 0 and project.simulator.requests == [], skipped.output
    run = project.play(tagged, "--tags", "sweep")
    assert run.returncode == 0 and project.simulator.billed == [], run.output


@pytest.mark.first
def test_machine_that_cannot_be_ended_does_not_stop_others(project: Project) -> None:
    first, second = give_leased_machines(project, "gpu-1", "gpu-2")
    project.declare(["gpu-1", "gpu-2"])
    project.simulator.settings.clock_ahead = 0
    project.simulator.faults[:] = [Fault(method="DELETE", path=f"/resources/{first}", status=403, count=None)]
    project.simulator.faults.append(Fault(method="GET", path="/resources", delay=1.5))
    # A user's settings do not apply to the tasks that decide for all hosts.
    settings = {"ANSIBLE_STRATEGY": "free", "ANSIBLE_TASK_TIMEOUT": "1", "ANSIBLE_ANY_ERRORS_FATAL": "1"}
    run = project.play("compute_index.supply.reap", **settings)
    assert run.returncode == 2 and "gpu-1: " in run.failure("localhost"), run.output
    assert "gpu-2: " not in run.failure("localhost")
    assert project.simulator.billed == [first] and second not in project.simulator.billed
    # The sweep is not noted, since it did not enforce all leases; a purchase may require a sweep.
    assert not (project.folder / "host_vars" / ".compute_index_supply.swept").exists()


@core
def test_inventory_may_name_the_controller_by_its_address(project: Project) -> None:
    _first, second, third = give_leased_machines(project, "gpu-1", "gpu-2", "gpu-3")
    project.declare(["gpu-1", "gpu-2", "gpu-3"])
    local = {"127.0.0.1": {"ansible_connection": "local"}}
    project.inventory.write_text(
        json.dumps({**yaml.safe_load(project.inventory.read_text()), "local": {"hosts": local}})
    )
    project.simulator.settings.clock_ahead = 0
    for host, words, billed in (("gpu-1", (), [second, third]), ("gpu-2", ("--limit", "gpu"), [third])):
        ended = project.play("compute_index.supply.decommission", "-e", f"decommission_hosts={host}", *words)
        assert (ended.returncode, project.simulator.billed) == (0, billed), ended.output
    run = project.play("compute_index.supply.reap")
    assert (run.returncode, project.simulator.billed) == (0, []), run.output


def test_sweep_with_inventories_in_another_order_fails_and_names_the_lease(project: Project) -> None:
    (machine,) = give_leased_machines(project, "gpu-1")
    project.declare(["gpu-1"])
    project.simulator.settings.clock_ahead = 0
    (project.folder / "first").mkdir()
    shutil.copy(project.inventory, project.folder / "first" / "hosts.yml")
    sources = ("-i", "first", "-i", str(project.inventory))
    run = project.run("ansible-playbook", *sources, "compute_index.supply.reap")
    assert run.returncode == 2 and "gpu-1: " in run.failure("localhost"), run.output
    audit = project.run("ansible-playbook", *sources, "compute_index.supply.audit")
    assert "ORPHANS" not in audit.output and machine in audit.output, audit.output
    assert project.play("compute_index.supply.reap").returncode == 0 and project.simulator.billed == []


def test_sweep_ends_renamed_machines_and_keeps_unregistered_ones(project: Project) -> None:
    renamed, lost, theirs = give_leased_machines(project, "gpu-1", "gpu-2", "colleague")
    project.simulator.resources[renamed].name = "something-else"
    for host in ("gpu-2", "colleague"):
        project.registry_file(host).unlink()
    project.declare(["gpu-1", "gpu-2"])
    project.simulator.settings.clock_ahead = 0
    run = project.play("compute_index.supply.reap")
    assert run.returncode == 0, run.output
    assert sorted(project.simulator.billed) == sorted([lost, theirs])


def test_sweep_without_a_registry_ends_machines_only_with_reap_by_name(make_project: MakeProject) -> None:
    project = make_project([Offer() for _number in range(4)], provision_seconds=0)
    project.declare(["gpu-1", "gpu-2"], provision_registry_dir="", provision_lease="8h", provision_reach=False)
    bought = project.provision()
    assert bought.returncode == 0, bought.output
    listed = reap(project, 9)
    assert listed.returncode == 2 and "Over, but known only by name: gpu-1, gpu-2." in listed.text, listed.output
    assert "The lease of gpu-2 was over at" in listed.failure("localhost"), listed.output
    assert len(project.simulator.billed) == 2
    early = reap(project, 7, reap_by_name=True)
    assert early.returncode == 0 and len(project.simulator.billed) == 2, early.output
    late = reap(project, 9, reap_by_name=True)
    assert late.returncode == 0 and project.simulator.billed == [], late.output


def test_controller_without_the_hosts_sweeps_and_extends_by_the_shared_registry(
    make_project: MakeProject, registry: str
) -> None:
    project = make_project([Offer() for _number in range(4)], provision_seconds=0)
    project.environment["COMPUTE_INDEX_REGISTRY_URL"] = registry
    project.declare(["gpu-1", "gpu-2"])
    project.declare_host("gpu-1", provision_lease="8h")
    project.declare_host("gpu-2", provision_lease="3d")
    bought = project.provision()
    assert bought.returncode == 0, bought.output
    ids = {each.name: each.resource_id for each in project.simulator.resources.values()}
    # Another controller, whose inventory does not have the hosts
    project.inventory.write_text(json.dumps({"all": {"vars": {"ansible_ssh_private_key_file": str(project.key)}}}))
    project.environment["ANSIBLE_HOME"] = str(project.folder / "another")
    extension = extend(project, "gpu-2", extend_by="1d")
    assert extension.returncode == 0 and "compute_index.supply.reap does" in extension.text, extension.output
    postgresql.age(registry, 9)
    run = reap(project, 0, reap_before_end="echo kept on $(cat ~/name 2>/dev/null || hostname)")
    assert run.returncode == 0 and "kept on" in run.output, run.output
    assert project.simulator.billed == [ids["gpu-2"]]
    assert extend(project, "gpu-1", extend_by="4h").returncode == 2
    assert "compute_index.supply.reap does" not in extend(project, "gpu-2", "--check", extend_by="1h").text
