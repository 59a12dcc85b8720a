# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's project for tests: a folder, the real ansible-playbook, and a simulated API."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

import golden
import postgresql
from launcher import Program
from limits import HANGS, until
from simulator import Offer, Settings, Simulator
from simulator.instances import InstanceBackend

# A program cloud-init that prints the variables which its script sets.
CLOUD_INIT = r"""#!/bin/sh
status=done stage='' error='' warning=''
case "$*" in
  'status --long' | 'status --wait --long') ;;
  *) exit 9 ;;
esac
{script}
printf 'status: %s\nextended_status: %s\n' "$status" "${{warning:+degraded }}$status"
printf 'detail: %s\nerrors:%b\n' "${{stage:+Running in stage: $stage}}" "${{error:+\n\t- $error}}"
printf 'recoverable_errors:\n%b\n' "${{warning:+WARNING:\n\t- $warning}}"
[ -z "$error" ] || exit 1
[ -z "$warning" ] || exit 2
"""
GPU = {"compute": {"gpu_type": "H100", "gpu_count": 1}}
# A command of ansible-core in which a shell would expand nothing.
PLAIN = r"ansible(?:[\w ./=,:-]|'[^']*'|\"[^\"$`\\]*\")*"


@dataclass
class Run:
    """The output and the exit code of a command."""

    returncode: int
    output: str

    def recap(self, host: str, counter: str) -> int:
        """A counter (ok, changed, failed, skipped ...) of a host in the last recap."""
        return int(re.findall(rf"^{re.escape(host)} .*\b{counter}=(\d+)", self.output, re.MULTILINE)[-1])

    def failure(self, host: str) -> str:
        """Ansible's line about the last failed task of a host; empty if none failed."""
        said = re.findall(rf"^fatal: \[{re.escape(host)}(?: -> .*?)?\]: .*$", self.output, re.MULTILINE)
        return said[-1] if said else ""

    @property
    def changed(self) -> int:
        """The sum of all hosts' counters ``changed``."""
        return sum(int(count) for count in re.findall(r"\bchanged=(\d+)", self.output))

    @property
    def text(self) -> str:
        """The output on one line, since messages are wrapped, and a text in a list has indented lines."""
        return " ".join(re.sub(r'",\n +"  (?=\S)', " ", self.output).split())

    @property
    def said(self) -> str:
        """The output without the lines of the user's playbook that Ansible quotes for a failed task."""
        shown = ("1 ", '{"hosts', '[{"hosts')
        return "\n".join(line for line in self.output.splitlines() if not line.lstrip().startswith(shown))


class Project:
    """A user's folder with an inventory, a key pair and an empty home, and the commands of ansible-core."""

    def __init__(self, folder: Path, simulator: Simulator, sockets: str) -> None:
        self.folder = folder
        self.simulator = simulator
        self.inventory = folder / "hosts.yml"
        ssh = folder / "home" / ".ssh"
        ssh.mkdir(parents=True)
        self.key = ssh / "id_ed25519"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(self.key)], check=True)
        self.mark = f"SUPPLY_TEST_{uuid4().hex}"
        self.environment = {
            **os.environ,
            self.mark: "1",
            "HOME": str(folder / "home"),
            "ANSIBLE_HOME": str(folder / "home" / ".ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
            # In the folder of a test, the paths of sockets would be too long.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
            "COMPUTE_INDEX_API_URL": simulator.url,
            "COMPUTE_INDEX_API_TOKEN": simulator.settings.token,
        }
        self.programs: list[Program] = []
        self.declare(["gpu-1"])
        self.recorder = golden.recorder(self)

    @property
    def public_key(self) -> str:
        """The public half of the key pair, on one line."""
        return self.key.with_suffix(".pub").read_text().strip()

    def declare(self, hosts: list[str], **variables: Any) -> None:
        """Write an inventory with these hosts in the group gpu, and these variables in addition to the usual ones."""
        usual = {
            "provision_spec": GPU,
            "provision_max_price_per_hour": 5,
            "provision_ssh_public_key_file": f"{self.key}.pub",
            "provision_poll_delay": 1,
            "provision_poll_retries": 30,
            "ansible_ssh_private_key_file": str(self.key),
        }
        group = {"hosts": dict.fromkeys(hosts), "vars": {**usual, **variables}}
        self.inventory.write_text(yaml.safe_dump({"gpu": group}))

    def declare_host(self, host: str, **variables: Any) -> None:
        """Write variables of a single host next to its registry file."""
        folder = self.folder / "host_vars" / host
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "own.yml").write_text(yaml.safe_dump(variables))

    def start(self, *words: str, **environment: str) -> Program:
        """Start a program in the project's folder, in its own session."""
        if words[:2] == ("bash", "-c") and re.fullmatch(PLAIN, words[2]):
            words = tuple(shlex.split(words[2]))
        if words[0].startswith("ansible"):
            words = (tool(words[0]), *words[1:])
        program = Program(words, self.folder, {**self.environment, **environment})
        self.programs.append(program)
        return program

    def kill_when(self, due: Callable[[], object], *words: str) -> None:
        """Start a program, and kill it once ``due`` is true. Its child processes may go on for a moment."""
        with self.start(*words) as process:
            until(lambda: due() or process.poll() is not None, 0.005)
            assert process.poll() is None, process.read()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(HANGS)

    def run(self, *words: str, **environment: str) -> Run:
        """Run a program in the project's folder."""
        with self.start(*words, **environment) as program:
            run = Run(program.wait(HANGS), unfolded(program.read()))
        if self.recorder:
            self.recorder.note(words, run)
        return run

    def processes(self) -> list[int]:
        """The processes of this project's commands.

        They have its mark in their environment, or have its folder open (see `launcher.become`), or work in it.
        """
        found = []
        for entry in Path("/proc").iterdir():
            # Processes that have just ended, or belong to other users, cannot be read.
            with suppress(OSError):
                if entry.name.isdigit() and (
                    self.mark.encode() in (entry / "environ").read_bytes()
                    or any(file.readlink() == self.folder for file in [entry / "cwd", *(entry / "fd").iterdir()])
                ):
                    found.append(int(entry.name))
        return found

    def end_leftovers(self) -> None:
        """End processes that this project's commands have left, such as workers in their own sessions."""
        while pids := self.processes():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def end_killed(self) -> None:
        """End the workers of killed commands, which would wait for each other for ever."""
        if any(program.returncode is None or program.returncode < 0 for program in self.programs):
            self.end_leftovers()

    def play(self, *words: str, **environment: str) -> Run:
        """Run ansible-playbook with the project's inventory."""
        return self.run("ansible-playbook", "-i", str(self.inventory), *words, **environment)

    def write(self, *plays: dict[str, Any]) -> str:
        """Write a playbook of these plays, on one line, and return its name."""
        name = "own.yml"
        (self.folder / name).write_text(json.dumps(plays))
        return name

    def provision(self, *words: str, **variables: Any) -> Run:
        """Run the collection's playbook ``provision``, with extra variables."""
        return self.play("compute_index.supply.provision", *extra(variables), *words)

    def tasks(self, *tasks: dict[str, Any], options: tuple[str, ...] = ()) -> tuple[list[dict[str, Any]], Run]:
        """Run tasks on localhost, and return their results. A failed task does not end the play."""
        results = self.folder / "results.json"
        names = [f"result_{number}" for number, _task in enumerate(tasks)]
        steps = [
            {"name": name, "register": name, "ignore_errors": True, **task}
            for name, task in zip(names, tasks, strict=True)
        ]
        dump = {
            "ansible.builtin.copy": {
                "dest": str(results),
                "content": "{{ {" + ", ".join(f"'{name}': {name}" for name in names) + "} | to_json }}",
            },
            "check_mode": False,
            "diff": False,
            "no_log": True,
        }
        play = {"hosts": "localhost", "gather_facts": False, "tasks": [*steps, dump]}
        run = self.run("ansible-playbook", self.write(play), *options)
        assert run.returncode == 0, run.output
        found = json.loads(results.read_text())
        return [found[name] for name in names], run

    def registry_file(self, host: str) -> Path:
        """The registry file of a host."""
        return self.folder / "host_vars" / host / "compute_index_supply.yml"

    def registry(self, host: str) -> dict[str, Any] | None:
        """The registry entry of a host; None without one."""
        file = self.registry_file(host)
        return yaml.safe_load(file.read_text()) if file.exists() else None

    def first_boot(self, resource_id: str, script: str) -> None:
        """Give a machine a cloud-init; the shell script may set ``status``, ``stage``, ``error`` and ``warning``."""
        program = self.simulator.home(resource_id) / "bin" / "cloud-init"
        program.write_text(CLOUD_INIT.format(script=script))
        program.chmod(0o755)

    def requests(self, method: str, path: str) -> int:
        """The number of requests that the API got. ``path``: a regular expression for the whole path."""
        return sum(1 for r in self.simulator.requests if r.method == method and re.fullmatch(path, r.path))


def unfolded(output: str) -> str:
    """The output with each of our warnings on one line."""
    return re.sub(
        r"^\[WARNING\]: .*(?:\n    \S.*)+", lambda warning: re.sub(r"\n +", " ", warning[0]), output, flags=re.M
    )


def tool(name: str) -> str:
    """A program of the Python environment that runs the tests, whatever PATH says."""
    return str(Path(sys.executable).with_name(name))


def as_in_playbooks(role: str) -> dict[str, Any]:
    """A task's keywords to use a role as the collection's playbooks do: imported, validated once by the role."""
    return {"ansible.builtin.import_role": {"name": f"compute_index.supply.{role}", "rolespec_validate": False}}


def extra(variables: dict[str, Any]) -> list[str]:
    """The options of ansible-playbook that set variables, with their types."""
    return ["-e", json.dumps(variables)] if variables else []


@pytest.fixture
def sockets() -> Iterator[str]:
    """A short path for the sockets of shared SSH connections."""
    with tempfile.TemporaryDirectory(prefix="supply-", ignore_cleanup_errors=True) as folder:
        yield folder


MakeProject = Callable[..., Project]


@pytest.fixture
def make_project(tmp_path: Path, sockets: str) -> Iterator[MakeProject]:
    """Make a project and a simulator with these settings and offers (default: three H100 at 2.00, 2.50 and 3.00)."""
    with ExitStack() as running:

        def make(offers: list[Offer] | None = None, backend: InstanceBackend | None = None, **settings: Any) -> Project:
            settings = {"provision_seconds": 0.5, "reissue": False, **settings}
            if offers is None:
                offers = [Offer(gpu_price_per_hour=price) for price in (2.5, 2.0, 3.0)]
            simulator = running.enter_context(Simulator(Settings(**settings), offers=offers, backend=backend))
            project = Project(tmp_path, simulator, sockets)
            running.callback(project.end_killed)
            return project

        yield make


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The connection string of a PostgreSQL for the session."""
    with postgresql.server() as url:
        yield url


@pytest.fixture
def registry(postgresql_server: str) -> str:
    """The URL of a shared registry, empty and without tables.

    It is emptied before a test, not after it: workers of a killed play, which end with their project, could still write
    to it, and the next test would find machines of another account.
    """
    postgresql.forget(postgresql_server)
    return postgresql_server
