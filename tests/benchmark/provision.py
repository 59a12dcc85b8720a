# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook ``provision`` costs, with machines that need no time at all: buying, and finding it all done."""

from __future__ import annotations

import json
from pathlib import Path

from simulator import Offer, Settings, Simulator
from simulator.market import Address

from .answers import TOKEN
from .measure import Commands
from .table import Row
from .tasks import MODULES

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f benchmark"
FIRST, SECOND = "first run", "second run"


class Nowhere:
    """Machines that are only addresses."""

    async def start(self, resource_id: str, ssh_public_key: str, cloud_init: str | None) -> Address:
        return Address("192.0.2.1", 22)

    async def stop(self, resource_id: str) -> None:
        """There is nothing to end."""

    async def close(self) -> None:
        """There is nothing to end."""

    def folder(self, resource_id: str) -> Path:
        raise NotImplementedError


def provision(commands: Commands, hosts: int, environment: dict[str, str]) -> tuple[dict[str, float], float]:
    """The CPU seconds of both runs, and the largest process's MiB."""
    folder = commands.folder / "project"
    inventory = folder / f"{hosts}-{'-'.join(environment) or 'in-process'}" / "hosts.json"
    inventory.parent.mkdir(parents=True)
    group = {
        "hosts": {f"gpu-{number}": {} for number in range(hosts)},
        "vars": {
            "provision_spec": {"compute": {"gpu_type": "H100", "gpu_count": 1}},
            "provision_max_price_per_hour": 5,
            "provision_ssh_public_key": KEY,
            "provision_reach": False,
            "provision_poll_delay": 1,
        },
    }
    inventory.write_text(json.dumps({"gpu": group}))
    seconds, peak = {}, 0.0
    with Simulator(Settings(token=TOKEN), [Offer() for _number in range(hosts)], backend=Nowhere()) as simulator:
        api = {"COMPUTE_INDEX_API_URL": simulator.url, "COMPUTE_INDEX_API_TOKEN": TOKEN}
        for run in (FIRST, SECOND):
            words = ("compute_index.supply.provision", "-i", str(inventory), "--forks=50")
            usage = commands.run("ansible-playbook", *words, **api, **environment)
            seconds[run], peak = usage.cpu, max(peak, usage.peak)
        if len(simulator.purchases) != hosts:
            raise RuntimeError(f"{len(simulator.purchases)} machines were bought for {hosts} hosts")
    return seconds, peak


def rows(commands: Commands, counts: list[int]) -> list[Row]:
    """The table's lines. Each is measured once: what is compared is minutes long."""
    found = []
    for hosts in counts:
        both = [provision(commands, hosts, environment) for environment in ({}, MODULES)]
        for run in (FIRST, SECOND):
            ours, modules = (seconds[run] for seconds, _peak in both)
            goal = "0.25 of by modules" if (hosts, run) == (50, SECOND) else ""
            what = f"{hosts} host{'s' if hosts > 1 else ''}, {run}, a host"
            found.append(Row(f"{what}: in process", [ours / hosts], "s", f"{ours / modules:.3g} of by modules", goal))
            found.append(Row(f"{what}: by modules", [modules / hosts], "s"))
        for (_seconds, peak), way in zip(both, ("in process", "by modules"), strict=True):
            found.append(Row(f"{hosts} host{'s' if hosts > 1 else ''}, memory of the controller: {way}", [peak], "MiB"))
    return found
