# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The duration of a sweep of many machines with a few ended leases, compared with a play that does nothing."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import yaml

from simulator import Settings, Simulator
from simulator.fleet import Resource
from simulator.nowhere import Nowhere

from .answers import TOKEN
from .measure import Commands, Usage, in_turn
from .table import Row

START, SWEEP = "a play that does nothing", "the playbook reap"
BEYOND = "10 s beyond the start"
"""The goal for 500 machines, 10 of which end."""


def sweep_rows(commands: Commands, hosts: int, over: int, rounds: int) -> list[Row]:
    """Seconds until the command has ended, with Ansible's default number of forks."""
    nothing = commands.folder / "nothing.json"
    nothing.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": []}]))
    ways = {START: partial(run, commands, hosts, 0, str(nothing))}
    ways |= {SWEEP: partial(run, commands, hosts, over, "compute_index.supply.reap")}
    started, swept = in_turn(ways, rounds).values()
    beyond = statistics.median(one.wall - other.wall for one, other in zip(swept, started, strict=True))
    what = f"{hosts} hosts, {over} of them over"
    return [
        Row(f"{what}: {START}", [each.wall for each in started], "s"),
        Row(f"{what}: {SWEEP}", [each.wall for each in swept], "s", f"{beyond:.3g} s beyond", BEYOND),
        Row(f"{what}: {SWEEP}, CPU time", [each.cpu for each in swept], "s"),
    ]


def run(commands: Commands, hosts: int, over: int, playbook: str) -> Usage:
    """Run it once. Raises RuntimeError unless exactly these machines ended."""
    with Simulator(Settings(token=TOKEN), [], backend=Nowhere()) as simulator:
        machines = simulator.populate(hosts)
        inventory = write(Path(tempfile.mkdtemp(dir=commands.folder)), machines, over)
        api = {"COMPUTE_INDEX_API_URL": simulator.url, "COMPUTE_INDEX_API_TOKEN": TOKEN}
        usage = commands.run("ansible-playbook", "-i", str(inventory), playbook, **api)
        left = set(simulator.billed)
    if left != {each.resource_id for each in machines[over:]}:
        raise RuntimeError(f"{hosts - len(left)} machines ended:\n{usage.output[-4000:]}")
    return usage


def write(folder: Path, machines: Sequence[Resource], over: int) -> Path:
    """Write the inventory and, next to it, registry files. The lease of the first ``over`` hosts ended an hour ago."""
    now = datetime.now(timezone.utc)
    for number, machine in enumerate(machines):
        file = folder / "host_vars" / f"gpu-{number}" / "compute_index_supply.yml"
        file.parent.mkdir(parents=True)
        reached = {"ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
        entry = {
            "provision_procured_offer_id": machine.purchase.offer.offer_id,
            "provision_resource_ids": [machine.resource_id],
            "provision_purchase": "made",
            "provision_price_per_hour": 2.0,
            "provision_journaled_at": (now - timedelta(hours=9)).isoformat(),
            "provision_leased": "8h",
            "provision_ends_at": (now + timedelta(hours=-1 if number < over else 7)).isoformat(),
            "provision_instances": [reached],
            **reached,
        }
        file.write_text(yaml.safe_dump(entry))
    group = {"hosts": {f"gpu-{number}": {} for number in range(len(machines))}}
    group["vars"] = {"provision_spec": {"compute": {"gpu_type": "H100"}}, "provision_lease": "8h"}
    (folder / "hosts.json").write_text(json.dumps({"gpu": group}))
    return folder / "hosts.json"
