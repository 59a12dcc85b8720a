# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost of an inventory: that of the account, and the same hosts in a static file."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from .answers import SUPPLY, TOKEN
from .measure import Commands, in_turn, ratio
from .server import Server
from .table import Row

OURS, STATIC = "built-in groups", "static YAML of the same content"
COMMANDS = {
    "ansible --list-hosts": ("ansible", "all", "--list-hosts", "-i"),
    "ansible-inventory --list": ("ansible-inventory", "--list", "-i"),
}
GOALS = {10000: "1.6 of static YAML"}


def files(commands: Commands, server: Server) -> dict[str, Path]:
    """The inventories' files."""
    ours = {
        "plugin": "compute_index.supply.resources",
        "api_url": server.url + SUPPLY,
        "api_token": TOKEN,
        "ca_path": str(server.ca),
    }
    found = {
        OURS: write(commands.folder / "plain.supply.yml", ours),
        STATIC: commands.folder / "static.yml",
    }
    dumped = commands.run(
        "ansible-inventory", "--list", "--yaml", "-i", str(found[OURS]), "--output", str(found[STATIC])
    )
    if "WARN" in dumped.output:
        raise RuntimeError(dumped.output)
    return found


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))  # which is YAML too
    return path


def without_mark(value: dict[str, Any]) -> Any:
    """Remove Ansible's mark of untrusted texts, which only those of the network have."""
    return value["__ansible_unsafe"] if value.keys() == {"__ansible_unsafe"} else value


def listed(commands: Commands, file: Path) -> Any:
    """The content of an inventory, by Ansible, without an order."""
    target = commands.folder / "listed.json"
    commands.run("ansible-inventory", "--list", "-i", str(file), "--output", str(target))
    found = json.loads(target.read_text(), object_hook=without_mark)
    return found.pop("_meta"), {
        name: {kind: sorted(each) for kind, each in group.items()} for name, group in found.items()
    }


def rows(commands: Commands, server: Server, count: int, rounds: int) -> list[Row]:
    """The table's lines for so many hosts."""
    inventories = files(commands, server)
    if listed(commands, inventories[OURS]) != listed(commands, inventories[STATIC]):
        raise RuntimeError("the static inventory differs from its source")
    found = []
    for command, words in COMMANDS.items():
        ways = {name: partial(cpu, commands, words, str(file)) for name, file in inventories.items()}
        figures = in_turn(ways, rounds)
        compared = f"{ratio(figures[OURS], figures[STATIC]):.3g} of static YAML"
        what = f"{count:,} hosts, {command}"
        found.append(Row(f"{what}: {OURS}", figures[OURS], "s", compared, GOALS.get(count, "")))
        found.append(Row(f"{what}: {STATIC}", figures[STATIC], "s"))
    return found


def cpu(commands: Commands, words: tuple[str, ...], file: str) -> float:
    return commands.run(*words, file).cpu
