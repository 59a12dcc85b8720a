# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m benchmark``: measure the collection and others in one run on this machine."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import screen
from packaged import unpack

from . import ends, fleet, inventories, shared, sweep, tasks
from .answers import Answers
from .measure import Commands
from .server import Server
from .table import markdown

BUILD = Path(__file__).resolve().parents[2] / ".build"
BEGIN, END = "<!-- measured: {} -->", "<!-- end of {} -->"
FLEET = [10, 50, 200, 500]
# A version of the PyPI package ansible, and the collections to compare with out of it.
PEERS = ("14.5.0", "hetzner.hcloud", "vultr.cloud")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmark", description=__doc__)
    parser.add_argument("--small", action="store_true", help="tiny counts, to see that everything runs")
    parser.add_argument("--rounds", type=int, default=3, help="how often what is compared with others is measured")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="leave out the other parts")
    parser.add_argument("--fleet", type=numbers, metavar="HOSTS", default=FLEET, help="for example 10,50")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace each measured part between its marks there")
    options = parser.parse_args()
    if options.small:
        options.rounds, options.fleet = 1, []
    return options


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


@contextmanager
def commands() -> Iterator[Commands]:
    """Commands in a new folder, in an environment without this machine's settings."""
    (BUILD / "benchmark").mkdir(parents=True, exist_ok=True)
    others = unpack(BUILD / "benchmark" / f"peers-{PEERS[0]}", *PEERS)
    with tempfile.TemporaryDirectory(prefix="supply-benchmark-") as name:
        folder = Path(name)
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": f"{BUILD / 'dev'}{os.pathsep}{others}",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_NOCOLOR": "1",
        }
        yield Commands(folder, environment)


def measure_tasks(where: Commands, options: argparse.Namespace) -> str:
    answers, rows = Answers(1), []
    with Server(answers, where.folder) as server:
        ways = tasks.ways(server, answers)
        counts = {"separate": 20, "item": 100, "poll": 20, "hosts": 50}
        some = {name: ways[name] for name in (tasks.PING, tasks.STATUS, tasks.BY_MODULE)}
        if options.small:
            counts = {"separate": 1, "item": 2, "poll": 2, "hosts": 2}
        for kind, count in counts.items():
            few = kind == "hosts" or (options.small and kind != "separate")
            plays = tasks.Tasks(where, server, kind, count)
            rows += tasks.rows(kind, plays.measure(some if few else ways, options.rounds))
        rows += tasks.payload_rows(where, some if options.small else ways)
    return markdown("Tasks (CPU time of one, over TLS)", rows)


def measure_fleet(where: Commands, options: argparse.Namespace) -> str:
    title = "A full provision (CPU time; the simulator without delays, plain HTTP, no SSH)"
    return markdown(title, fleet.fleet_rows(where, options.fleet, 2 if options.small else 40, options.rounds))


def measure_ends(where: Commands, options: argparse.Namespace) -> str:
    title = f"Ends (CPU time; registry files, plain HTTP), and what they print on {screen.COLUMNS} columns"
    rows = ends.end_rows(where, options.fleet, 2 if options.small else 40, options.rounds)
    return markdown(title, rows + ends.line_rows(where, (1,) if options.small else (2, 10)))


def measure_latency(where: Commands, options: argparse.Namespace) -> str:
    title = "A first run with a slow API (wall time; plain HTTP, no SSH)"
    return markdown(title, fleet.latency_rows(where, 1 if options.small else 50, options.rounds))


def measure_posts(where: Commands, options: argparse.Namespace) -> str:
    title = "A first run with purchases that take long (wall time; plain HTTP, no SSH)"
    hosts, seconds = (2, 0.5) if options.small else (20, 10)
    return markdown(title, fleet.post_rows(where, hosts, seconds, options.rounds))


def measure_registry(where: Commands, options: argparse.Namespace) -> str:
    title = "A registry in PostgreSQL (CPU time of the controller; plain HTTP, no SSH, 50 forks)"
    hosts, ended = (2, 10) if options.small else (100, 100_000)
    return markdown(title, shared.registry_rows(where, hosts, ended, options.rounds))


def measure_check(where: Commands, options: argparse.Namespace) -> str:
    title = "Names of a survey in check mode, as AWX's kit runs it (wall time; plain HTTP)"
    return markdown(title, fleet.check_rows(where, 2 if options.small else 500, 1))


def measure_sweep(where: Commands, options: argparse.Namespace) -> str:
    title = "A sweep (wall time; registry files, the simulator without delays, plain HTTP, no SSH)"
    hosts, over = (3, 1) if options.small else (500, 10)
    return markdown(title, sweep.sweep_rows(where, hosts, over, options.rounds))


def measure_seen(where: Commands, options: argparse.Namespace) -> str:
    title = (
        f"What a first run forks (no SSH), and prints on {screen.COLUMNS} columns (simulated machines that SSH reaches)"
    )
    return markdown(title, fleet.seen_rows(where, (1,) if options.small else (2, 10)))


def measure_inventories(where: Commands, options: argparse.Namespace) -> str:
    rows = []
    for count in (3,) if options.small else (10, 1000, 10000):
        with Server(Answers(count), where.folder) as server:
            rows += inventories.rows(where, server, count, options.rounds)
    return markdown("Inventories (CPU time, over TLS)", rows)


SECTIONS = {
    "tasks": measure_tasks,
    "fleet": measure_fleet,
    "ends": measure_ends,
    "latency": measure_latency,
    "posts": measure_posts,
    "check": measure_check,
    "registry": measure_registry,
    "sweep": measure_sweep,
    "seen": measure_seen,
    "inventories": measure_inventories,
}


def machine() -> str:
    """The line that names the machine and the versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = f"{os.cpu_count()} x {names[0] if names else platform.machine()}"
    core, python = version("ansible-core"), platform.python_version()
    return f"Measured on {processor}, {platform.system()}, Python {python}, ansible-core {core}, by `make benchmark`.\n"


def main() -> int:
    """Measure, print, and write the figures."""
    options = arguments()
    report = {}
    for name in options.only or SECTIONS:
        with commands() as where:
            table = SECTIONS[name](where, options)
        report[name] = f"{table}\n{machine()}"
        print(report[name], flush=True)
    (BUILD / "benchmark" / "result.md").write_text("\n".join(report.values()))
    if options.write:
        page = options.write.read_text()
        for name, text in report.items():
            before, begin, rest = page.partition(BEGIN.format(name))
            _old, end, after = rest.partition(END.format(name))
            page = f"{before}{begin}\n\n{text}\n{end}{after}"
        options.write.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
