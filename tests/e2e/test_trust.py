# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys, and acceptance tests of the ordered hardware, on real machines."""

from __future__ import annotations

from typing import Any

from conftest import Machine, MakeProject, Project
from simulator import Offer

MEMORY = "<fb_memory_usage><total>81559 MiB</total></fb_memory_usage>"
GPU = f"<gpu><product_name>NVIDIA H100 80GB HBM3</product_name>{MEMORY}</gpu>"


def smi_of(count: int) -> str:
    """A stand-in that lists GPUs as ``nvidia-smi -q -x`` does."""
    gpus = f"<attached_gpus>{count}</attached_gpus>{count * GPU}"
    return f"#!/bin/sh\necho '<nvidia_smi_log>{gpus}</nvidia_smi_log>'\n"


def owned(project: Project, host: str) -> tuple[Machine, dict[str, Any]]:
    """The machine of a host, and its registry entry."""
    entry = project.registry(host)
    assert entry is not None
    return Machine(project, entry["ansible_host"]), entry


def test_another_host_key_fails_with_an_explanation(rent: MakeProject) -> None:
    project = rent([Offer()])
    assert project.provision().returncode == 0
    machine, entry = owned(project, "gpu-1")
    machine.run("rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh")

    run = project.provision(ANSIBLE_SSH_ARGS="-o ControlMaster=no")

    assert run.returncode == 2
    assert "answers with another host key than the one pinned in" in run.text
    assert "remove that file and run again" in run.text
    assert entry["provision_resource_ids"][0] in run.text.rpartition("cannot be used")[2]


def test_each_missing_part_of_the_hardware_is_named(rent: MakeProject) -> None:
    project = rent([Offer(gpu_count=4, vcpu_count=999, memory_in_gb=None, boot_disk_in_gb=None, gpu_price_per_hour=1)])
    fields = {"provision_verify": True, "provision_spec": {"compute": {"gpu_type": "H100", "gpu_count": 4}}}
    smi = {"path": "/usr/local/bin/nvidia-smi", "permissions": "0755", "content": smi_of(3)}
    project.declare(["gpu-1"], provision_files=[smi], **fields)

    short = project.provision()

    assert short.returncode == 2
    assert "did not pass its test: gpu_count: 3 instead of 4 (bad); vcpu_count: " in short.text
    machine, entry = owned(project, "gpu-1")
    assert project.simulator.billed == entry["provision_resource_ids"]

    project.simulator.offers[entry["provision_procured_offer_id"]].vcpu_count = None
    machine.run(f"cat > /usr/local/bin/nvidia-smi <<'END'\n{smi_of(4)}END")
    again = project.provision()
    assert again.returncode == 0, again.output
    assert project.registry("gpu-1") == {**entry, "provision_verified": True}

    machine.run("rm /usr/local/bin/nvidia-smi")
    assert project.provision().changed == 0, "it is verified once"


def test_machine_with_missing_hardware_is_released(rent: MakeProject) -> None:
    project = rent([Offer(vcpu_count=None, memory_in_gb=None, boot_disk_in_gb=None)])
    smi = {"path": "/usr/local/bin/nvidia-smi", "permissions": "0755", "content": smi_of(0)}
    project.declare(["gpu-1"], provision_verify=True, provision_on_failure="release", provision_files=[smi])
    run = project.provision()
    assert run.returncode == 2
    assert "gpu_count: 0 instead of 1 (bad); could not be read: driver." in run.text
    assert (project.simulator.billed, project.registry("gpu-1")) == ([], None)
