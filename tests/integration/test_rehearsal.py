# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole life of a machine at a second API, which was written from the documentation alone."""

from __future__ import annotations

import json
import os
import re
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import golden
from conftest import Project, Run
from project import extra
from rehearsal.standin import TOKEN, serving
from rehearsal.world import World

CLOCK = Path(__file__).resolve().parents[1] / "clock"


@dataclass(frozen=True)
class Endpoint:
    """The part of a simulator that a project needs: where the API is, and its token."""

    url: str
    token: str = TOKEN

    @property
    def settings(self) -> Endpoint:
        """A project reads the token from here."""
        return self


@pytest.fixture
def world() -> World:
    """The vendors and the account of the second API."""
    return World()


@pytest.fixture
def project(tmp_path: Path, sockets: str, world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project with the second API, whose machines accept no logins."""
    monkeypatch.setattr(golden, "FOLDER", None)
    with serving(world) as url:
        project = Project(tmp_path, Endpoint(url), sockets)  # type: ignore[arg-type]
        yield project
        project.end_killed()


class Banner(socketserver.BaseRequestHandler):
    """An SSH server that only sends its banner, which is what the role waits for."""

    def handle(self) -> None:
        """Send the banner."""
        self.request.sendall(b"SSH-2.0-rehearsal\r\n")


@pytest.fixture
def ssh(world: World) -> Iterator[None]:
    """Let the machines' SSH ports answer."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Banner) as server:
        world.ssh = ("127.0.0.1", server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def run(project: Project, playbook: str, *words: str, **variables: Any) -> Run:
    """Run a playbook of the collection, and assert that it succeeds."""
    result = project.play(f"compute_index.supply.{playbook}", *extra(variables), *words)
    assert result.returncode == 0, result.output
    return result


def later(project: Project, world: World, hours: float) -> None:
    """Move the clocks of the API and of this computer ahead by these hours."""
    world.ahead = timedelta(hours=hours)
    project.environment["SUPPLY_CLOCK_AHEAD"] = str(hours * 3600)
    project.environment["PYTHONPATH"] = f"{CLOCK}{os.pathsep}{os.environ['PYTHONPATH']}"


def test_whole_life_of_a_fleet_at_the_second_api(project: Project, world: World) -> None:
    project.declare(["gpu-[1:4]"], provision_reach=False, provision_lease="8h")
    offers = run(project, "offers")
    assert re.search(r"nvidia-h100-pcie-80gb +1\.90", offers.output), offers.output
    # A search returns three offers, so it is repeated. The cheapest vendor is sold out, but refuses only the purchase.
    assert "USD per hour in total: 9.70" in run(project, "quote").output and not world.resources
    bought = run(project, "provision")
    prices = {machine.name: machine.price for machine in world.live()}
    assert prices == {"gpu-1": 2.95, "gpu-2": 3.1, "gpu-3": 2.95, "gpu-4": 2.95}, bought.output
    again = run(project, "provision")
    assert (again.changed, len(world.resources)) == (0, 4)

    file = project.folder / "all.supply.yml"
    file.write_text("plugin: compute_index.supply.resources\n")
    listed = json.loads(project.run("ansible-inventory", "-i", str(file), "--list").output)
    assert sorted(listed["supply"]["hosts"]) == sorted(listed["gpu_h100"]["hosts"]) == sorted(prices)

    assert "USD per hour: 11.95 claimed + 0.00 orphans = 11.95" in run(project, "audit").output
    assert "USD more in total: 11.80" in run(project, "extend", extend_hosts="gpu-1", extend_by="4h").output
    assert "now 11.95 per hour" in run(project, "spend").output

    run(project, "decommission", decommission_hosts="gpu-1,gpu-2")
    assert sorted(machine.name for machine in world.live()) == ["gpu-3", "gpu-4"] and project.registry("gpu-1") is None
    later(project, world, 8.1)
    run(project, "reap")
    assert list(world.live()) == [] and project.registry("gpu-3") is None


# The assumptions that the second API contradicts. By default the simulator contradicts none.
CONTRADICTED = [
    *("catalogs", "search-again", "search-invalid", "vocabulary", "list-bare", "history", "deleted-listed"),
    *("post-answer", "post-ids"),
]


def test_probe_reports_the_contradicted_assumptions(project: Project, world: World, ssh: None) -> None:
    project.declare(["gpu-1"])
    project.environment["ANSIBLE_SHOW_CUSTOM_STATS"] = "1"
    words = ("-e", "probe_buy=true", "-e", "probe_max_usd=3", "-e", "probe_recording=recording.json")
    probed = run(project, "probe", *words)
    assert [machine.status for machine in world.resources.values()] == ["deleted"], probed.output
    published = json.loads(re.search(r"RUN: (\{.*\})", probed.output, re.DOTALL)[1])["probe"]
    assert published["contradicted"] == CONTRADICTED
    assert set(published["not_seen"]) == {"host", "busy", "search-clusters", "list-pages", "post-moment"}

    assert "list-bare: it is also read from" in probed.output, "no consequence named"
    private = [TOKEN, "supply-probe", str(project.folder), *map(str, world.resources)]
    assert not [text for text in private if text in (project.folder / "recording.json").read_text()]
