# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweeps with machines that accept a connection and never answer, or that come into use at the last moment."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any

import pytest

from conftest import MakeProject, Project
from limits import until
from project import extra
from simulator import Offer
from test_boot import buy
from test_ending import note
from test_sweeps import in_hours

BANNER = b"SSH-2.0-OpenSSH_9.6\r\n"
IDLE = {"state": "idle", "idle_seconds": 7200, "evidence": "8 GPUs at 0 %"}
KEPT = {"state": "active", "evidence": "supply-keep until 2027-01-01 00:00 UTC"}
# A Python that prints a prepared result of activity_info, instead of reading the notes of a real machine's sampler
PYTHON = """#!/bin/sh
case "$1" in
  *activity_info*) cat ~/answer ;;
  *) exec python3 "$@" ;;
esac
"""
# By default, connections stay open for a minute.
SOON = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=5s"}


class Frozen:
    """A server that accepts connections, sends ``greeting``, and never answers.

    ``connected_at``: the time of each connection.
    """

    def __init__(self, greeting: bytes) -> None:
        self.greeting, self.connected_at = greeting, list[datetime]()
        self.socket, self.connections = socket.create_server(("127.0.0.1", 0)), list[socket.socket]()
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                connection, _address = self.socket.accept()
            except OSError:
                return
            self.connected_at.append(datetime.now(timezone.utc))
            self.connections.append(connection)
            connection.send(self.greeting)

    def close(self) -> None:
        for each in (self.socket, *self.connections):
            each.close()


@pytest.fixture
def frozen() -> Iterator[list[Frozen]]:
    """A server that sends nothing, and one that stops after its SSH banner."""
    with ExitStack() as running:
        servers = [Frozen(b""), Frozen(BANNER)]
        for server in servers:
            running.callback(server.close)
        yield servers


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project([Offer() for _number in range(9)], provision_seconds=0)


def give_machine(project: Project, host: str, port: int | None = None, **more: Any) -> str:
    """Give the host an idle machine, and return its id.

    Its lease ends in two hours, and it may be idle for one. ``port``: of its SSH, if not the simulator's.
    """
    offer = next(key for key, each in project.simulator.offers.items() if each.purchase is None)
    id_ = buy(project, offer, host)
    address = project.simulator.resources[id_].address
    assert address is not None
    reached = {"ansible_host": "127.0.0.1", "ansible_port": port or address.port, "ansible_user": "root"}
    arguments = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    bought = {"provision_procured_offer_id": offer, "provision_purchase": "made", **more}
    leased = {"provision_leased": "8h", "provision_ends_at": in_hours(2), "provision_idles": "1h", **more}
    entry = {**bought, **leased, **reached, "ansible_ssh_extra_args": arguments}
    note(project, host, {**entry, "provision_resource_ids": [id_], "provision_instances": [reached]})
    home = project.simulator.home(id_)
    (home / "python").write_text(PYTHON)
    (home / "python").chmod(0o755)
    (home / "answer").write_text(json.dumps({**IDLE, "changed": False}))
    project.declare_host(host, ansible_python_interpreter=str(home / "python"))
    return id_


def give_hanging_machine(project: Project, host: str) -> str:
    """Give the host a machine that accepts logins, but on which Ansible's commands hang, and return its id."""
    id_ = give_machine(project, host)
    program = project.simulator.home(id_) / "bin" / "mkdir"
    program.write_text("#!/bin/sh\nexec /bin/sleep 100000\n")
    program.chmod(0o755)
    return id_


@pytest.mark.first
def test_frozen_machines_do_not_delay_a_sweep(project: Project, frozen: list[Frozen]) -> None:
    """Expired leases end before any machine is contacted; a machine that the last command finds in use is kept."""
    hosts = ["frozen-1", "frozen-2", "frozen-3", "idle", "kept", "over"]
    cold = [give_machine(project, host, each.port) for host, each in zip(hosts, frozen, strict=False)]
    cold.append(give_hanging_machine(project, "frozen-3"))
    idle, kept = give_machine(project, "idle"), give_machine(project, "kept")
    over = give_machine(project, "over", provision_ends_at=in_hours(-2), provision_idles="")
    (project.simulator.home(kept) / "keep").write_text(json.dumps({**KEPT, "changed": False}))
    project.declare(hosts, provision_idle_after="1h")
    command = {
        "reap_before_end": "test ! -e keep || mv keep answer",
        "reap_grace": "1h",
        "reap_before_end_timeout": "9s",
    }
    run = project.play("compute_index.supply.reap", *extra(command), ANSIBLE_FORKS="6", **SOON)
    assert run.returncode == 2, run.output
    failure = run.failure("localhost")
    for host in hosts[:3]:
        assert f"{host}: its machine could not be asked whether it is idle" in failure, run.output
    assert "kept: " not in failure and "over: " not in failure and "idle: " not in failure
    assert "kept no longer counts as idle, so it stays" in run.text
    assert sorted(project.simulator.billed) == sorted([*cold, kept]), run.output
    deletions = [(each.path, each.time) for each in project.simulator.requests if each.method == "DELETE"]
    assert [path for path, _time in deletions] == [f"/resources/{over}", f"/resources/{idle}"]
    assert all(deletions[0][1] < server.connected_at[0] for server in frozen)
    # The sweep counts as done, since all expired leases were ended.
    assert (project.folder / "host_vars" / ".compute_index_supply.swept").exists()
    until(lambda: not project.processes(), 0.5)


@pytest.mark.parametrize("where", ["idle", "last command"])
def test_killed_sweep_leaves_no_process_and_ends_no_machine(project: Project, frozen: list[Frozen], where: str) -> None:
    for number, each in enumerate(frozen):
        give_machine(project, f"frozen-{number}", each.port)
    give_hanging_machine(project, "frozen-2")
    if where == "last command":
        for number in range(3):
            file = project.registry_file(f"frozen-{number}")
            file.write_text(f"{file.read_text()}provision_ends_at: '{in_hours(-1)}'\n")
    project.declare([f"frozen-{number}" for number in range(3)], provision_idle_after="1h")
    command = {"reap_before_end": "true", "reap_before_end_timeout": "20s"}
    words = ("ansible-playbook", "-i", str(project.inventory), "compute_index.supply.reap", *extra(command))
    with project.start(*words, **SOON) as sweep:
        until(lambda: all(server.connected_at for server in frozen))
        os.kill(sweep.pid, signal.SIGKILL)
        sweep.wait(10)
        until(lambda: not project.processes(), 0.5)
    assert len(project.simulator.billed) == 3
