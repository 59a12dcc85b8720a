# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An unreadable variable or file stops only its own host; hosts that only orders name are swept and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import GPU, MakeProject, Project
from simulator import Offer
from test_ending import decommission, give_machines
from test_leases import extend
from test_sweeps import in_hours

OVER = {"provision_leased": "8h", "provision_ends_at": in_hours(-1.0), "provision_price_per_hour": 2.0}
CONFLICT = "<<<<<<< HEAD\nprovision_lease: 8h\n=======\nprovision_lease: 9h\n>>>>>>> theirs\n"


def test_unreadable_variable_or_file_of_a_host_does_not_stop_others(make_project: MakeProject) -> None:
    """All leases are over. Ansible can run no task for the broken hosts, so the error names them, and the run fails."""
    project = make_project([Offer() for _number in range(4)], provision_seconds=0)
    project.declare(["gpu-1", "gpu-2", "gpu-3", "gpu-4", "gpu-5"])
    ids = {host: give_machines(project, host, **OVER)[0] for host in ("gpu-1", "gpu-2", "gpu-3", "gpu-4")}
    project.declare_host("gpu-1", provision_lease="{{ hours }}h")
    broken = project.registry_file("gpu-2").with_name("own.yml")
    broken.write_text(CONFLICT)
    entry = project.registry_file("gpu-5")
    entry.parent.mkdir()
    entry.write_text(CONFLICT)

    def assert_named(run: Any, words: tuple[str, ...]) -> None:
        assert run.returncode == 2, run.output
        assert "a bug of the collection" not in run.text and "Traceback" not in run.output
        assert [word for word in words if word not in run.text] == []

    # Ansible itself would not name the host that ends the play.
    assert_named(project.play("compute_index.supply.quote"), (f"gpu-2: {broken} cannot be read", "all:!gpu-2"))
    errors = ("provision_lease", "'hours' is undefined", str(broken), str(entry))
    assert_named(project.play("compute_index.supply.audit"), (*ids.values(), *errors))
    spend = project.play("compute_index.supply.spend")
    assert_named(spend, errors)
    assert "now 8.00 per hour" in spend.text
    extension = extend(project, "gpu-2,gpu-3", extend_by="4h")
    assert_named(extension, (str(broken), "gpu-3"))
    assert end_of_lease(project, "gpu-3") > OVER["provision_ends_at"]
    assert_named(decommission(project, "gpu-2,gpu-4", ANSIBLE_STRATEGY="free"), (str(broken),))
    assert sorted(project.simulator.billed) == sorted(ids[host] for host in ("gpu-1", "gpu-2", "gpu-3"))
    sweep = project.play("compute_index.supply.reap")
    assert_named(sweep, (*errors, f"The lease of gpu-2 is over, and {ids['gpu-2']}"))
    assert sorted(project.simulator.billed) == sorted(ids[host] for host in ("gpu-2", "gpu-3"))
    # gpu-6 may belong to the group: only its unreadable entry says so.
    unreadable = project.registry_file("gpu-6")
    unreadable.parent.mkdir()
    unreadable.write_text(CONFLICT)
    broken.write_text("")
    assert_named(decommission(project, "gpu", "--check"), (str(unreadable),))
    single = decommission(project, "gpu-3", "--check")
    # Ansible wraps a warning anywhere.
    assert single.returncode == 0 and str(unreadable) in "".join(single.output.split()), single.output


def end_of_lease(project: Project, host: str) -> str:
    return str((project.registry(host) or {})["provision_ends_at"])


@pytest.mark.parametrize("shared", [False, True], ids=["a folder", "a shared registry"])
def test_hosts_ordered_into_an_empty_group_are_swept_counted_and_ended(
    project: Project, request: pytest.FixtureRequest, shared: bool
) -> None:
    """The inventory has no host, but its group's registry and project also apply to hosts that plays add."""
    registry_variables = (
        {"provision_registry_url": request.getfixturevalue("registry")}
        if shared
        else {"provision_registry_dir": "{{ inventory_dir }}/registry"}
    )
    write_group(project, registry_variables)
    if shared:
        project.play("compute_index.supply.registry")
    assert project.provision(provision_hosts=2).returncode == 0
    assert len(project.simulator.billed) == 2
    audit = project.play("compute_index.supply.audit", "-e", "audit_fail_on_orphans=true")
    assert audit.returncode == 0 and "ONLY THE REGISTRY KNOWS" in audit.output, audit.output
    spend = project.play("compute_index.supply.spend")
    assert spend.returncode == 0 and "gpu-2" in spend.text and "now 0.00 per hour" not in spend.text, spend.output
    ended = decommission(project, "gpu-2")
    assert ended.returncode == 0 and len(project.simulator.billed) == 1, ended.output
    extension = extend(project, "gpu-1", extend_by="1h")
    assert extension.returncode == 0 and "gpu-1" in extension.text, extension.output
    sweep = project.play("compute_index.supply.reap")
    assert sweep.returncode == 0 and "1 with time left" in sweep.text, sweep.output


def write_group(project: Project, registry_variables: dict[str, Any]) -> None:
    """Write an inventory whose group has no host, and the variables of this group."""
    project.inventory.write_text(yaml.safe_dump({"gpu": None}))
    variables = {
        **registry_variables,
        "provision_project": "team-a",
        "provision_spec": GPU,
        "provision_max_price_per_hour": 5,
        "provision_lease": "{{ hours | default(1) }}h",
        "provision_reach": False,
        "provision_ssh_public_key_file": f"{project.key}.pub",
        "provision_poll_delay": "1s",
    }
    group = Path(project.folder / "group_vars" / "gpu.yml")
    group.parent.mkdir(exist_ok=True)
    group.write_text(json.dumps(variables))


def test_hosts_ordered_by_number_move_into_a_shared_registry(project: Project, registry: str) -> None:
    write_group(project, {})
    assert project.provision(provision_hosts=2).returncode == 0
    bought = sorted(project.simulator.billed)
    write_group(project, {"provision_registry_url": registry})
    refused = project.provision(provision_hosts=2)
    assert refused.returncode == 2 and "Run compute_index.supply.registry" in refused.text, refused.output
    assert "remove the file" not in refused.text
    moved = project.play("compute_index.supply.registry")
    assert moved.returncode == 0 and moved.text.count("was moved to the") == 2, moved.output
    again = project.provision(provision_hosts=2)
    assert again.returncode == 0 and sorted(project.simulator.billed) == bought, again.output
    assert project.registry("gpu-1") is None


def test_ordered_hosts_end_whatever_the_order_of_two_inventories(project: Project) -> None:
    """By lease and by name. Hosts that a play adds have no inventory_dir, which could tell where their entry is."""
    write_group(project, {})
    first, second = project.folder / "first", project.folder / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "hosts.yml").write_text(yaml.safe_dump({"gpu": {"hosts": {f"{folder.name}-1": None}}}))
        (folder / "group_vars").symlink_to(project.folder / "group_vars")

    def play(name: str, *words: str, last: Path = first, other: Path = second) -> Any:
        sources = [word for folder in (other, last) for word in ("-i", str(folder / "hosts.yml"))]
        return project.run("ansible-playbook", *sources, f"compute_index.supply.{name}", *words)

    bought = play("provision", "-e", "provision_hosts=2", last=second, other=first)
    assert bought.returncode == 0 and len(project.simulator.billed) == 2, bought.output
    entry = first / "host_vars" / "gpu-1" / "compute_index_supply.yml"
    entry.write_text(yaml.safe_dump({**yaml.safe_load(entry.read_text()), "provision_ends_at": in_hours(-1.0)}))
    sweep = play("reap")
    assert sweep.returncode == 0 and len(project.simulator.billed) == 1, sweep.output
    assert play("extend", "-e", "extend_hosts=gpu-2", "-e", "extend_by=1h").returncode == 0
    ended = play("decommission", "-e", "decommission_hosts=gpu-2")
    assert ended.returncode == 0 and project.simulator.billed == [], ended.output
