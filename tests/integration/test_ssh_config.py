# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry's file `.ssh_config`, with which ssh reaches the machines as Ansible does."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from pathlib import Path

import pytest

from conftest import MakeProject, Project, Run, core
from simulator import Offer


def command(run: Run) -> str:
    """The ssh command that the role prints below its table."""
    (text,) = re.findall(r'^ +"(ssh -F .*)"$', run.output, re.MULTILINE)
    return str(json.loads(f'"{text}"'))


def hosts(file: Path) -> list[str]:
    """The hosts in the file; empty without a file."""
    return re.findall(r"^Host (.*)$", file.read_text(), re.MULTILINE) if file.exists() else []


@pytest.mark.first
def test_private_key_next_to_the_public_key_logs_in(project: Project) -> None:
    """The user need not set ansible_ssh_private_key_file."""
    project.declare(["gpu-1"], ansible_ssh_private_key_file="")
    first = project.provision()
    assert first.returncode == 0, first.output
    assert project.run("bash", "-c", f"{command(first)} -o BatchMode=yes 'echo arrived'").returncode == 0
    second = project.provision()
    assert (second.returncode, second.changed) == (0, 0), second.output


def test_private_key_of_the_command_line_is_in_ssh_config(project: Project) -> None:
    key = project.folder / "mine"
    shutil.copy(project.key, key)
    project.declare(["gpu-1"], ansible_ssh_private_key_file="", provision_ssh_public_key=project.public_key)
    first = project.provision("--private-key", str(key))
    assert first.returncode == 0, first.output
    assert f"identityfile {key}" in project.run("bash", "-c", f"{command(first)} -G").output
    second = project.provision("--private-key", str(key))
    assert (second.returncode, second.changed) == (0, 0), second.output


@core
def test_printed_ssh_command_logs_in_until_the_machine_ends(project: Project) -> None:
    project.declare(["gpu-1", "gpu-2"])
    variables = {"provision_registry_dir": "100% of it's here"}
    file = project.folder / variables["provision_registry_dir"] / ".ssh_config"
    assert project.provision("--check", **variables).returncode == 0 and not file.parent.exists()

    first = project.provision(**variables)
    assert first.returncode == 0, first.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    printed = command(first)
    words = "-o BatchMode=yes -o StrictHostKeyChecking=yes"
    for host in ("gpu-1", "gpu-2"):
        login = project.run("bash", "-c", f"{printed.removesuffix('gpu-1')}{host} {words} 'echo arrived'")
        assert login.returncode == 0 and "arrived" in login.output, login.output
        options = project.run("bash", "-c", f"{printed.removesuffix('gpu-1')}{host} -G").output
        assert f"userknownhostsfile {file.parent / host / '.known_hosts'}" in options
        assert f"identityfile {project.key}" in options

    # Ansible does not read the file as variables of a host, and another run changes nothing.
    before = file.stat().st_mtime_ns
    second = project.provision(**variables)
    assert (second.returncode, second.changed, file.stat().st_mtime_ns) == (0, 0, before), second.output
    assert command(second) == printed and "WARNING" not in second.output
    file.unlink()
    assert project.provision("--check", **variables).returncode == 0 and not file.exists()
    assert project.provision(**variables).returncode == 0 and hosts(file) == ["gpu-1", "gpu-2"]

    for host, remaining in (("gpu-1", ["gpu-2"]), ("gpu-2", [])):
        words = ["-e", json.dumps({"decommission_hosts": host, **variables})]
        assert project.play("compute_index.supply.decommission", *words, "--check").returncode == 0
        assert host in hosts(file)
        ended = project.play("compute_index.supply.decommission", *words)
        assert ended.returncode == 0, ended.output
        assert hosts(file) == remaining


def test_machines_of_a_cluster_have_their_own_names_in_ssh_config(make_project: MakeProject) -> None:
    cluster = Offer(gpu_count=24, node_count=3, gpu_price_per_hour=0.2)
    project = make_project([cluster])
    project.declare(["ray"], provision_offer_id=cluster.offer_id)
    assert project.provision().returncode == 0
    assert hosts(project.folder / "host_vars" / ".ssh_config") == ["ray", "ray-1", "ray-2"]


def test_without_a_registry_the_table_has_the_ssh_commands(project: Project) -> None:
    run = project.provision(provision_registry_dir="")
    assert run.returncode == 0, run.output
    (address,) = [each.address for each in project.simulator.resources.values()]
    assert address is not None and f"ssh -p {address.port} root@127.0.0.1" in run.output
    assert "ssh -F" not in run.output and not list(project.folder.rglob(".ssh_config"))


def test_unwritable_ssh_config_does_not_fail_the_purchase(project: Project) -> None:
    file = project.folder / "host_vars" / ".ssh_config"
    file.mkdir(parents=True)
    run = project.provision()
    assert run.returncode == 0, run.output
    assert "WARNING" in run.output and os.fspath(file) in run.text
    assert project.registry("gpu-1") is not None


def test_released_machine_leaves_no_ssh_config(make_project: MakeProject) -> None:
    project = make_project([Offer(vcpu_count=999)])
    run = project.provision(provision_verify=True, provision_on_failure="release")
    assert "It has ended." in run.failure("gpu-1"), run.output
    assert not (project.folder / "host_vars" / ".ssh_config").exists()
