# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines that a purchase starts. The tests log in with the system's ssh."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine.acceptance import accept, measure_hardware
from ansible_collections.compute_index.supply.plugins.module_utils._machine.wanted import Wanted

from limits import HANGS
from simulator import Offer, Purchase, Resource
from simulator.catalogue import default_offers
from simulator.fleet import programs
from simulator.instances import install

Make = Callable[..., Any]


@pytest.fixture
def buy(simulate: Make, key: Path) -> Make:
    """Buy an offer with the key; returns the client of the simulator and the first resource."""

    def start(offer: Offer | None = None, cloud_init: str | None = None, **settings: Any) -> Any:
        offer = offer or Offer()
        api = simulate([offer], **settings)
        api.buy(offer, ssh_public_key=key.with_suffix(".pub").read_text(), cloud_init=cloud_init)
        return api, api.simulator.purchases[0].resources[0]

    return start


def test_commands_have_streams_and_an_exit_status(buy: Make, ssh: Make) -> None:
    api, resource = buy(cloud_init="#cloud-config\n{}\n")
    home = api.simulator.home(resource.resource_id)
    data = os.urandom(1_000_000)
    echo = ssh(resource.address, "sleep 0.1; cat; pwd >&2; echo $HOME ~root >&2; exit 7", input=data)
    assert (echo.returncode, echo.stdout == data, echo.stderr.decode().split()) == (7, True, [str(home)] * 3)
    assert api.simulator.user_data(resource.resource_id) == "#cloud-config\n{}\n"

    fake = home / "bin" / "cloud-init"
    fake.write_text("#!/bin/sh\necho status: done\n")
    fake.chmod(0o755)
    assert ssh(resource.address, "cloud-init status").stdout == b"status: done\n"
    assert ssh(resource.address, "kill -KILL $$").returncode == 255
    assert ssh(resource.address, input=b"echo from a shell\n").stdout == b"from a shell\n"


def test_nvidia_smi_lists_the_bought_gpus(buy: Make, ssh: Make) -> None:
    offer = Offer(gpu_type="A100", gpu_count=8, node_count=2)
    first, second = buy(offer)[1].purchase.resources

    def smi(options: str, resource: Any = first) -> list[str]:
        answer = ssh(resource.address, f"nvidia-smi {options}")
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.decode().splitlines()

    table = smi("")
    assert sum("NVIDIA A100-SXM4-80GB" in line and " On " in line for line in table) == 4
    assert sum("1MiB /  81920MiB" in line for line in table) == 4
    assert {len(line) for line in table if line.startswith(("|", "+"))} == {91}
    gpus = smi("-L")
    assert [line.partition(" (UUID: GPU-")[0] for line in gpus] == [f"GPU {n}: NVIDIA A100-SXM4-80GB" for n in range(4)]
    assert len({*gpus, *smi("-L", second)}) == 8
    assert smi("--query-gpu=index,name,memory.total --format=csv") == [
        "index, name, memory.total [MiB]",
        *(f"{n}, NVIDIA A100-SXM4-80GB, 81920 MiB" for n in range(4)),
    ]
    assert smi("-i 3 --query-gpu=index,memory.total,utilization.gpu --format=csv,noheader,nounits") == ["3, 81920, 0"]
    assert smi("--query-compute-apps=pid --format=csv,noheader") == []
    for wrong in ("--query-gpu=colour --format=csv", "--query-gpu=name", "topo -m", "-i 4"):
        assert ssh(first.address, f"nvidia-smi {wrong}").returncode != 0, wrong


@pytest.mark.parametrize("offer", default_offers(), ids=lambda offer: f"{offer.gpu_count}-{offer.gpu_type}")
def test_gpus_of_all_default_offers_pass_the_acceptance_test(
    offer: Offer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(programs(Resource(Purchase(offer, {}, offer.created_at, 0), "gpu-1")), tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.path.dirname(sys.executable)}:/usr/bin:/bin")

    machine = measure_hardware(os.fspath(tmp_path))
    fields = ("gpu_type", "gpu_family", "gpu_count", "node_count")
    expected = {name: getattr(offer, name) for name in fields}
    assert machine["gpu_source"] == "nvidia-smi"
    assert len(machine["gpus"]) * (offer.node_count or 1) == offer.gpu_count
    findings = accept(Wanted("health", expected), 60, 30, writes=False, root=os.fspath(tmp_path))["findings"]
    about_gpus = [finding for finding in findings if finding["source"].startswith("nvidia-smi")]
    assert {finding["verdict"] for finding in about_gpus} == {"ok"}, findings


def test_ssh_can_request_a_terminal(buy: Make, ssh: Make) -> None:
    resource = buy()[1]
    answer = ssh(resource.address, "-tt", "test -t 0 && tty; exit 4")
    assert (answer.returncode, answer.stdout.startswith(b"/dev/")) == (4, True)


def test_only_root_with_the_key_can_log_in(buy: Make, ssh: Make, simulate: Make) -> None:
    resource = buy()[1]
    assert b"Permission denied (publickey)" in ssh(resource.address, "true", user="admin").stderr
    other = Offer()
    api = simulate([other])
    api.buy(other, ssh_public_key="no key at all")
    address = api.simulator.purchases[0].resources[0].address
    assert b"Permission denied (publickey)" in ssh(address, "true").stderr


def test_sftp_accepts_relative_and_absolute_paths(buy: Make, ssh_options: list[str], tmp_path: Path) -> None:
    api, resource = buy()
    home = api.simulator.home(resource.resource_id)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(100_000))
    batch = f"put {source} relative\nput {source} {home}/absolute\n"
    subprocess.run(
        ["sftp", *ssh_options, "-P", str(resource.address.port), "-b", "-", f"root@{resource.address.ip}"],
        input=batch.encode(),
        capture_output=True,
        check=True,
        timeout=HANGS,
    )
    assert (home / "relative").read_bytes() == (home / "absolute").read_bytes() == source.read_bytes()


def test_ssh_delay_starts_when_the_offer_is_ready(buy: Make, until: Make, ssh: Make) -> None:
    api, resource = buy(ssh_delay_seconds=0.4)
    assert api.status(resource.purchase.offer)["procurement_status"] == "ready"
    assert b"Connection refused" in ssh(resource.address, "true").stderr
    until(lambda: ssh(resource.address, "true").returncode == 0)


def test_each_node_of_a_cluster_is_a_machine(buy: Make, ssh: Make) -> None:
    first = buy(Offer(gpu_count=16, node_count=2))[1]
    homes = {ssh(each.address, "pwd").stdout for each in first.purchase.resources}
    assert len(homes) == 2


def _is_running(number: str) -> bool:
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True)
    return f"sleep {number}".encode() in listing.stdout.splitlines()


@contextmanager
def logged_in(address: Any, options: list[str], until: Make) -> Iterator[None]:
    """A client whose command runs until its machine ends. Afterwards, checks that the command has ended as well."""
    number = f"300.{address.port}"
    command = ["ssh", *options, "-p", str(address.port), f"root@{address.ip}", f"sleep {number}; true"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as client:
        until(lambda: _is_running(number))
        yield
        assert client.wait(HANGS) == 255
    until(lambda: not _is_running(number))


def test_deletion_ends_processes_and_removes_the_home(buy: Make, until: Make, ssh: Make) -> None:
    api, resource = buy()
    home = api.simulator.home(resource.resource_id)
    number = f"300.{resource.address.port}"
    assert ssh(resource.address, f"setsid nohup sleep {number} >/dev/null 2>&1 &").returncode == 0
    until(lambda: _is_running(number))
    assert api("DELETE", f"/resources/{resource.resource_id}").status_code == 200
    assert not home.exists()
    until(lambda: not _is_running(number))
    assert b"Connection refused" in ssh(resource.address, "true").stderr


def test_vanished_machine_closes_connections(buy: Make, until: Make, ssh: Make, ssh_options: list[str]) -> None:
    api, resource = buy()
    home = api.simulator.home(resource.resource_id)
    with logged_in(resource.address, ssh_options, until):
        api.simulator.vanish(resource.resource_id)
    assert not home.exists()
    assert b"Connection refused" in ssh(resource.address, "true").stderr


def test_end_of_the_simulator_ends_all_machines(buy: Make, until: Make, ssh_options: list[str]) -> None:
    api, resource = buy()
    home = api.simulator.home(resource.resource_id)
    with logged_in(resource.address, ssh_options, until):
        api.simulator.__exit__()
    assert not home.parent.parent.exists()
