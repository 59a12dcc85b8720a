# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost of ending many machines, by the playbook and in a user's play, compared with a peer's plain deletion."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import screen
from simulator import Nowhere, Settings, Simulator

from .answers import TOKEN, VULTR, VULTR_INSTANCE, Vultr
from .fleet import FEW_HOSTS, OF_FEW, PEER, hosts_of
from .measure import Commands, Usage, in_turn, ratio
from .server import Server
from .sweep import write
from .table import Row

PLAYBOOK, OWN = "the playbook decommission", "a play with the role"
OF_PEER = {PLAYBOOK: "0.2", OWN: "0.35"}
"""The goals, as a ratio to the peer's deletion of as many machines."""
LINES = {2: "45", 10: "70"}
"""The goals for the lines that the playbook prints."""


def end_rows(commands: Commands, counts: Sequence[int], peer_hosts: int, rounds: int) -> list[Row]:
    """CPU time of a host. Each round also measures the peer, with a fixed number of hosts, and a small fleet."""
    measured_rows: list[Row] = []
    small = hosts_of(FEW_HOSTS)
    for hosts in sorted({peer_hosts, *counts}):
        ways = {way: partial(end, commands, hosts, way) for way in OF_PEER}
        ways[PEER] = partial(peer, commands, peer_hosts)
        if hosts > FEW_HOSTS:
            ways |= {f"{way}, {small}": partial(end, commands, FEW_HOSTS, way) for way in OF_PEER}
        measured = in_turn(ways, rounds)
        theirs = [usage.cpu / peer_hosts for usage in measured[PEER]]
        for way, goal in OF_PEER.items():
            ours = [usage.cpu / hosts for usage in measured[way]]
            few = [usage.cpu / FEW_HOSTS for usage in measured.get(f"{way}, {small}", [])]
            compared = f"{ratio(ours, theirs):.3g} of {PEER}"
            if few:
                compared, goal = f"{compared}, {ratio(ours, few):.3g} of {small}", f"{OF_FEW} of {small}"
            elif hosts == peer_hosts:
                goal = f"{goal} of {PEER}"
            else:
                goal = ""
            measured_rows.append(Row(f"{hosts_of(hosts)}, {way}, a host", ours, "s", compared, goal))
        measured_rows.append(Row(f"{hosts_of(hosts)}: {PEER} with {hosts_of(peer_hosts)}, a host", theirs, "s"))
    return measured_rows


def line_rows(commands: Commands, counts: Sequence[int]) -> list[Row]:
    """The lines that the playbook prints on a terminal."""
    return [
        Row(f"printed with {hosts_of(hosts)}", [screen.lines(end(commands, hosts, PLAYBOOK).output)], "lines", "", goal)
        for hosts, goal in ((hosts, LINES.get(hosts, "")) for hosts in counts)
    ]


def end(commands: Commands, hosts: int, way: str) -> Usage:
    """End the machines of so many hosts, which registry files know. Raises RuntimeError unless all have ended."""
    with Simulator(Settings(token=TOKEN), [], backend=Nowhere()) as simulator:
        folder = Path(tempfile.mkdtemp(dir=commands.folder))
        inventory = write(folder, simulator.populate(hosts), over=0)
        api = {"COMPUTE_INDEX_API_URL": simulator.url, "COMPUTE_INDEX_API_TOKEN": TOKEN}
        playbook = ["compute_index.supply.decommission", "-e", "decommission_hosts=gpu"]
        if way == OWN:
            play = {"hosts": "gpu", "gather_facts": False, "roles": [{"role": "compute_index.supply.decommission"}]}
            (folder / "own.json").write_text(json.dumps([play]))
            playbook = [str(folder / "own.json")]
        usage = commands.run("ansible-playbook", "-i", str(inventory), "--forks=50", *playbook, **api)
        if simulator.billed or list(folder.glob("host_vars/*/compute_index_supply.yml")):
            raise RuntimeError(f"{len(simulator.billed)} machines were left:\n{usage.output[-4000:]}")
    return usage


def peer(commands: Commands, hosts: int) -> Usage:
    """Delete bare machines by their names as the peer's authors do, delegated host by host."""
    instance = {"label": "{{ inventory_hostname }}", "region": VULTR_INSTANCE["region"], "state": "absent"}
    tasks = [{"vultr.cloud.instance": instance, "delegate_to": "localhost"}]
    folder, account = Path(tempfile.mkdtemp(dir=commands.folder)), Vultr()
    names = [f"gpu-{number}" for number in range(hosts)]
    for name in names:
        account.create({"label": name, "hostname": name})
    (folder / "hosts.json").write_text(json.dumps({"gpu": {"hosts": {name: {} for name in names}}}))
    (folder / "peer.json").write_text(json.dumps([{"hosts": "gpu", "gather_facts": False, "tasks": tasks}]))
    with Server(account, commands.folder, tls=False, delete=account.delete) as server:
        api = {"VULTR_API_ENDPOINT": server.url + VULTR, "VULTR_API_KEY": TOKEN}
        words = ("ansible-playbook", "-i", str(folder / "hosts.json"), "--forks=50", str(folder / "peer.json"))
        usage = commands.run(*words, **api)
    if account.instances:
        raise RuntimeError(f"{len(account.instances)} machines were left:\n{usage.output[-4000:]}")
    return usage
