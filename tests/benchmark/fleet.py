# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost of the playbook ``provision`` for many hosts, compared with a peer's plain creation, and its output."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import screen

from .measure import Commands, in_turn, ratio
from .provision import FIRST, RUNS, SECOND, check, peer, provision, quote
from .table import Row
from .tasks import MODULES

OURS, PEER = "provision", "vultr.cloud"
OF_PEER = {FIRST: "0.7", SECOND: "0.2"}
"""The goals, as a ratio to the peer's run with as many hosts."""
FEW_HOSTS = 50
OF_FEW = "1.3" if version("ansible-core").startswith("2.16.") else "1.15"
"""The goal for larger fleets: the cost of a host, as a ratio to that in a fleet of 50."""
LATENCY = 0.2
"""Seconds until an answer of the slow API."""
BEYOND = "16 s beyond"
"""The goal of a fleet whose purchases take 10 s each."""
CALLBACKS = Path(__file__).with_name("callback")
# Without this setting, Ansible prints a warning for each machine.
SILENT = {"ANSIBLE_PYTHON_INTERPRETER": "auto_silent"}
FORKS = "7"
"""The goal for the processes that the first purchase of a host forks."""
QUOTE = "50"
LINES = {"no SSH": {2: "54", 10: "86"}, "SSH": {2: "60", 10: "100"}}
"""The goals for the lines of a quote, and of a first purchase by number of hosts; see integration/test_screen.py."""
CHECK = "30 s"
"""The goal of a job in check mode."""


def hosts_of(count: int) -> str:
    return f"{count} host{'s' if count > 1 else ''}"


def fleet_rows(commands: Commands, counts: Sequence[int], peer_hosts: int, rounds: int) -> list[Row]:
    """CPU time of a host and memory.

    Each round measures the peer's run, with a fixed number of hosts, right after ours, and a small fleet after a large
    one, since minutes later the machine may be faster or slower.
    """
    found: list[Row] = []
    small = hosts_of(FEW_HOSTS)
    for hosts in sorted({peer_hosts, *counts}):
        ways = {OURS: partial(provision, commands, hosts), PEER: partial(peer, commands, peer_hosts)}
        if hosts > FEW_HOSTS:
            ways[small] = partial(provision, commands, FEW_HOSTS)
        measured = in_turn(ways, rounds)
        for run in RUNS:
            ours = [usages[run].cpu / hosts for usages in measured[OURS]]
            theirs = [usages[run].cpu / peer_hosts for usages in measured[PEER]]
            few = [usages[run].cpu / FEW_HOSTS for usages in measured.get(small, [])]
            compared, goal = f"{ratio(ours, theirs):.3g} of {PEER}", ""
            if hosts == peer_hosts:
                goal = f"{OF_PEER[run]} of {PEER}"
            elif few:
                compared += f", {ratio(ours, few):.3g} of {small}"
                goal = f"{OF_FEW} of {small}"
            what = f"{hosts_of(hosts)}, {run}, a host"
            found.append(Row(what, ours, "s", compared, goal))
            found.append(Row(f"{what}: {PEER} with {hosts_of(peer_hosts)}", theirs, "s"))
        peaks = [max(usage.peak for usage in usages.values()) for usages in measured[OURS]]
        found.append(Row(f"{hosts_of(hosts)}, memory of the controller", peaks, "MiB"))
    return found


def latency_rows(commands: Commands, hosts: int, rounds: int) -> list[Row]:
    """The duration of a first run, in process and by modules, with a fast and a slow API."""
    found = []
    for way, environment, goal in (("in process", {}, "30 s beyond"), ("by modules", MODULES, "")):
        first = partial(wall, commands, hosts, environment)
        at_once, later = in_turn({"at once": first, "later": partial(first, LATENCY)}, rounds).values()
        beyond = statistics.median(late - early for early, late in zip(at_once, later, strict=True))
        what = f"{hosts_of(hosts)}, {way}: answers"
        found.append(Row(f"{what} at once", at_once, "s"))
        found.append(Row(f"{what} after {LATENCY * 1000:.0f} ms", later, "s", f"{beyond:.3g} s beyond", goal))
    return found


def wall(commands: Commands, hosts: int, environment: dict[str, str], latency: float = 0) -> float:
    return provision(commands, hosts, (FIRST,), latency=latency, environment=environment)[FIRST].wall


def post_rows(commands: Commands, hosts: int, post: float, rounds: int) -> list[Row]:
    """The duration of a first run with a fork for each host, with fast and slow purchases.

    Each holds a fork of Ansible's.
    """

    def first(seconds: float) -> float:
        return provision(commands, hosts, (FIRST,), post=seconds, forks=hosts)[FIRST].wall

    at_once, later = in_turn({"at once": partial(first, 0), "later": partial(first, post)}, rounds).values()
    beyond = statistics.median(late - early for early, late in zip(at_once, later, strict=True))
    what = f"{hosts_of(hosts)}, {hosts} fork{'s' if hosts > 1 else ''}: purchases answered"
    return [
        Row(f"{what} at once", at_once, "s"),
        Row(f"{what} after {post:g} s", later, "s", f"{beyond:.3g} s beyond", BEYOND),
    ]


def check_rows(commands: Commands, hosts: int, rounds: int) -> list[Row]:
    """The duration of a job in check mode for many machines."""
    usages = [check(commands, hosts) for _round in range(rounds)]
    return [
        Row(f"{hosts} names", [usage.wall for usage in usages], "s", "", CHECK),
        Row(f"{hosts} names, CPU time of a host", [usage.cpu / hosts for usage in usages], "s"),
    ]


def seen_rows(commands: Commands, counts: Sequence[int]) -> list[Row]:
    """The forks of a first run, without reaching the machines, and its lines on a terminal, with reaching them."""
    file, most = commands.folder / "forks.json", max(counts)
    environment = {"ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS), "BENCHMARK_FORKS": str(file)}
    provision(commands, most, (FIRST,), environment=environment)
    forks: dict[str, int] = json.loads(file.read_text())
    each = statistics.median(forks.get(f"gpu-{number}", 0) for number in range(most))
    found = [
        Row("workers forked for a host", [each], "", "", FORKS),
        Row(f"workers forked once for {hosts_of(most)}", [sum(forks.values()) - most * each], ""),
    ]
    key = commands.folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "benchmark", "-f", str(key)], check=True)
    for hosts in counts:
        for way, reached in (("no SSH", None), ("SSH", key)):
            output = provision(commands, hosts, (FIRST,), key=reached, environment=SILENT)[FIRST].output
            what = f"printed with {hosts_of(hosts)}, {way}"
            found.append(Row(what, [screen.lines(output)], "lines", "", LINES[way].get(hosts, "")))
    output = quote(commands, most, SILENT).output
    return [*found, Row(f"printed by a quote of {hosts_of(most)}", [screen.lines(output)], "lines", "", QUOTE)]
