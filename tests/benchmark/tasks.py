# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost of a task of an API beyond the same play without it, compared with ``ansible.builtin.ping``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .answers import HCLOUD, SUPPLY, TOKEN, VULTR, Answers
from .measure import Commands, Figures, in_turn, ratio
from .server import Server
from .table import Row

MODULES = {"COMPUTE_INDEX_IN_PROCESS": "0"}
PING = "ansible.builtin.ping"
STATUS, INFO = "offer_status, in process", "resource_info, in process"
HCLOUD_NAME, BY_MODULE = "hetzner.hcloud.server_info", "offer_status, by module"
# kind: (how it is called, what one of it is called)
KINDS = {
    "separate": "a separate task",
    "item": "an item of a loop",
    "poll": "a poll of until",
    "hosts": "a delegated host",
}
GOALS = {
    ("separate", STATUS): "0.15 of ping, 0.10 of hcloud",
    ("item", STATUS): "0.04 of ping",
    ("poll", STATUS): "0.06 of ping",
    ("hosts", STATUS): "0.14 of ping",
    ("separate", BY_MODULE): "1.40 of ping, 0.75 of hcloud",
}


@dataclass(frozen=True)
class Way:
    """A task, and the environment that it needs. ``asks`` is false if it sends no request."""

    task: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    asks: bool = True


def ways(server: Server, answers: Answers) -> dict[str, Way]:
    """All tasks that are compared; each of them but ping sends one request."""
    ca = str(server.ca)
    ours = {"api_url": server.url + SUPPLY, "api_token": TOKEN, "ca_path": ca}
    status = {"compute_index.supply.offer_status": {**ours, "offer_id": answers.offer_id}}
    info = {"compute_index.supply.resource_info": {**ours, "resource_id": answers.resource_id}}
    uri = {
        "url": f"{server.url}{SUPPLY}/offers/{answers.offer_id}/status",
        "headers": {"Authorization": f"Bearer {TOKEN}"},
        "ca_path": ca,
        "return_content": True,
    }
    hcloud = {"id": 1, "api_endpoint": server.url + HCLOUD, "api_token": TOKEN}
    vultr = {"api_endpoint": server.url + VULTR, "api_key": TOKEN}
    return {
        PING: Way({PING: {}}, asks=False),
        STATUS: Way(status),
        INFO: Way(info),
        BY_MODULE: Way(status, MODULES),
        "resource_info, by module": Way(info, MODULES),
        "ansible.builtin.uri": Way({"ansible.builtin.uri": uri}),
        HCLOUD_NAME: Way({HCLOUD_NAME: hcloud}, {"REQUESTS_CA_BUNDLE": ca}),
        "vultr.cloud.instance_info": Way({"vultr.cloud.instance_info": vultr}, {"SSL_CERT_FILE": ca}),
    }


def tasks_of(kind: str, task: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """So many of the task."""
    if kind == "separate":
        return [task] * count
    if kind == "item":
        return [{**task, "loop": list(range(count))}]
    if kind == "poll":
        return [{**task, "register": "look", "until": f"look.attempts | int >= {count}", "retries": count, "delay": 0}]
    return [{**task, "delegate_to": "localhost"}]


class Tasks:
    """The plays of a kind."""

    def __init__(self, commands: Commands, server: Server, kind: str, count: int) -> None:
        self.commands, self.server, self.kind, self.count = commands, server, kind, count
        hosts = [f"host-{number}" for number in range(count)]
        self.inventory = commands.folder / "hosts.json"
        self.inventory.write_text(json.dumps({"all": {"hosts": {host: {} for host in hosts}}}))

    def play(self, tasks: list[dict[str, Any]], environment: dict[str, str]) -> float:
        """The CPU seconds of a play of these tasks."""
        file = self.commands.folder / "play.json"
        hosts = "all" if self.kind == "hosts" else "localhost"
        file.write_text(json.dumps([{"hosts": hosts, "gather_facts": False, "tasks": tasks}]))
        inventory = ("-i", str(self.inventory)) if self.kind == "hosts" else ()
        return self.commands.run("ansible-playbook", *inventory, "--forks=5", str(file), **environment).cpu

    def one(self, way: Way) -> float:
        """The CPU seconds of a play with so many of the task."""
        before = self.server.requests
        seconds = self.play(tasks_of(self.kind, way.task, self.count), way.environment)
        asked = self.server.requests - before
        if asked != (self.count if way.asks else 0):
            raise RuntimeError(f"{self.count} tasks {list(way.task)} have sent {asked} requests")
        return seconds

    def measure(self, ways: dict[str, Way], rounds: int) -> Figures:
        """CPU milliseconds of one task, by the ways' names."""
        without = "without"
        figures = in_turn(
            {without: partial(self.play, [], {}), **{name: partial(self.one, way) for name, way in ways.items()}},
            rounds,
        )
        base = figures.pop(without)
        return {
            name: [(all_of_it - rest) / self.count * 1000 for all_of_it, rest in zip(each, base, strict=True)]
            for name, each in figures.items()
        }


def rows(kind: str, figures: Figures) -> list[Row]:
    """The table's lines for a kind of task."""
    found = []
    for name, each in figures.items():
        compared = [f"{ratio(each, figures[PING]):.3g} of ping"] if name != PING else []
        if kind == "separate" and HCLOUD_NAME in figures and name.startswith(("offer_", "resource_")):
            compared.append(f"{ratio(each, figures[HCLOUD_NAME]):.3g} of hcloud")
        found.append(Row(f"{KINDS[kind]}: {name}", each, "ms", ", ".join(compared), GOALS.get((kind, name), "")))
    return found


def shipped_lines(commands: Commands, way: Way) -> int:
    """The lines of Python that are sent to run a task's module once."""
    remote, file = commands.folder / f"remote-{next(iter(way.task))}", commands.folder / "play.json"
    file.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [way.task]}]))
    keep = {"ANSIBLE_KEEP_REMOTE_FILES": "1", "ANSIBLE_REMOTE_TMP": str(remote)}
    commands.run("ansible-playbook", str(file), **{**way.environment, **MODULES, **keep})
    # A module file that Ansible has kept can unpack itself.
    (payload,) = remote.glob("*/AnsiballZ_*.py")
    commands.run("python", str(payload), "explode")
    return sum(len(file.read_text().splitlines()) for file in payload.parent.glob("debug_dir/**/*.py"))


def payload_rows(commands: Commands, ways: dict[str, Way]) -> list[Row]:
    """The lines of Python shipped with each module, beyond those of ping."""
    ping = shipped_lines(commands, ways[PING])
    named = {re.sub(", .*", "", name): way for name, way in ways.items() if name != PING}
    return [
        Row(
            f"shipped with {name}",
            [shipped_lines(commands, way) - ping],
            "lines",
            "",
            "1,500" if "_" in name[:9] else "",
        )
        for name, way in named.items()
    ]
