# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch job templates as AWX does: by ansible-runner, each job in its own folder, filled from the definitions."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible_runner
import pytest
import yaml

import rules
from launcher import Program, stand_ins
from limits import HANGS
from project import MakeProject, Project, make_project, postgresql_server, registry, sockets, tool

__all__ = [
    "Controller",
    "Job",
    "MakeController",
    "make_controller",
    "make_project",
    "postgresql_server",
    "registry",
    "sockets",
]

ROOT = Path(__file__).resolve().parents[2]
DEFINITIONS = ROOT / "playbooks" / "vars" / "awx"


class Loader(yaml.SafeLoader):
    """Reads YAML as Ansible does, with !unsafe for texts that are not templates."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


class Unsafe(str):
    """A text that AWX marks for Ansible as !unsafe, so that it is not a template."""


class Dumper(yaml.SafeDumper):
    """Writes answers of surveys, and artifacts, as AWX does."""


Dumper.add_representer(Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style="'"))


def unsafe(value: Any) -> Any:
    """The value with each text in it marked as !unsafe."""
    if isinstance(value, dict):
        return {key: unsafe(part) for key, part in value.items()}
    if isinstance(value, list):
        return [unsafe(part) for part in value]
    return Unsafe(value) if isinstance(value, str) else value


def definitions() -> dict[str, Any]:
    """All definitions in playbooks/vars/awx."""
    found: dict[str, Any] = {}
    for file in sorted(DEFINITIONS.glob("*.yml")):
        found.update(yaml.load(file.read_text(), Loader))
    return found


@dataclass
class Job:
    """The output, status and artifacts of a job."""

    status: str
    output: str
    artifacts: dict[str, Any]
    changed: int
    template: str
    variables: dict[str, Any]
    nodes: dict[str, str]
    """The indirect nodes that AWX counts for the job: names by resource id, their only canonical fact."""

    @property
    def text(self) -> str:
        """The output on one line."""
        return " ".join(self.output.split())


class SyncFailed(Exception):
    """The inventory source could not be read; AWX then fails the job that waits for it."""


class Controller:
    """The part of AWX that a job can see. Each job gets its own folder, which no later job sees."""

    def __init__(self, project: Project, commands: Path, team: str = "") -> None:
        """Set up a controller.

        ``commands``: the folder of the commands that jobs start by name. ``team``: the project of an organization
        (awx_project), as the set-up writes it to inventory and source.
        """
        self.simulator = project.simulator
        self.key = project.key
        self.folder = project.folder / "jobs" / team
        self.source = ROOT / "awx" / "project"
        """The folder with the content of the project's repository."""
        self._numbers = itertools.count(1)
        self.environment = {
            **{name: project.environment[name] for name in ("HOME", "ANSIBLE_HOME", "ANSIBLE_SSH_CONTROL_PATH_DIR")},
            # AWX sets these for each job.
            **{"AWX_HOST": "https://awx.example.com", "JOB_ID": "7", "ANSIBLE_HOST_KEY_CHECKING": "False"},
            # Fewer processes for each module.
            "ANSIBLE_PIPELINING": "True",
            "PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        found = definitions()
        self.templates = {each["name"]: each for each in found["awx_job_templates"]}
        self.workflow = found["awx_workflow"]
        self.forks = found["awx_job_forks"]
        self.surveys = found["awx_surveys"]
        values = {"url": project.simulator.url, "token": project.simulator.settings.token}
        self.credential = rules.inject(found["awx_credential_type"]["injectors"], values)
        # The variables of the inventory that awx_setup.yml makes; only tests poll each second.
        self.inventory_variables = {
            "provision_registry_dir": "",
            "provision_ssh_public_key": project.public_key,
            "provision_poll_delay": 1,
            **({"provision_project": team} if team else {}),
        }
        self.source_variables = {"COMPUTE_INDEX_PROJECT": team} if team else {}

    def launch(self, template: str, answers: dict[str, Any] | None = None, **options: Any) -> Job:
        """Launch a job template with the answers of its survey."""
        survey = self.templates[template].get("survey")
        accepted = rules.accept(self.surveys[survey], answers or {}) if survey else {}
        return self.run(template, accepted, **options)

    def launch_workflow(self, answers: dict[str, Any], approve: Callable[[dict[str, Any]], bool] = bool) -> list[Job]:
        """Launch the workflow, and return its jobs in order. ``approve`` gets the artifacts."""
        variables = rules.accept(self.surveys[self.workflow["survey"]], answers)
        nodes = {node["identifier"]: node for node in self.workflow["nodes"]}
        (name,) = set(nodes) - {following for node in nodes.values() for following in node.get("success", [])}
        jobs: list[Job] = []
        artifacts: dict[str, Any] = {}
        while True:
            node = nodes[name]
            if "approval" in node:
                if not approve(artifacts):
                    return jobs
            else:
                jobs.append(self.run(node["template"], rules.job_variables(artifacts, variables)))
                if jobs[-1].status != "successful":
                    return jobs
                artifacts = {**artifacts, **jobs[-1].artifacts}
            if not node.get("success"):
                return jobs
            (name,) = node["success"]

    def relaunch(self, job: Job) -> Job:
        """Run a job again with its variables."""
        return self.run(job.template, job.variables)

    def run(self, template: str, variables: dict[str, Any], cancel: Callable[[], bool] | None = None) -> Job:
        """Run a job with these extra variables."""
        definition = self.templates[template]
        folder = self.folder / str(next(self._numbers))
        shutil.copytree(self.source, folder / "project")
        self._update_inventory(folder)
        (folder / "env").mkdir()
        (folder / "env" / "extravars").write_text(yaml.dump({"awx_job_id": 7, **unsafe(variables)}, Dumper=Dumper))
        words = ["--forks", str(self.forks), *self._mode(definition)]
        runner = ansible_runner.run(
            private_data_dir=str(folder),
            playbook=definition["playbook"],
            cmdline=" ".join(words),
            envvars={**self.environment, **self.credential},
            ssh_key=self.key.read_text() if definition.get("ssh") else None,
            settings={"job_timeout": HANGS, "pexpect_timeout": 1},
            cancel_callback=cancel,
            quiet=True,
        )
        (stats,) = [e["event_data"] for e in runner.events if e["event"] == "playbook_on_stats"] or [{}]
        return Job(
            runner.status,
            "".join(event["stdout"] + "\n" for event in runner.events if event.get("stdout")),
            stats.get("artifact_data", {}),
            sum(stats.get("changed", {}).values()),
            template,
            variables,
            rules.indirect_nodes([event["event_data"] for event in runner.events if "event_data" in event]),
        )

    @staticmethod
    def _mode(definition: dict[str, Any]) -> list[str]:
        """The options of ansible-playbook for the job type of a template, and for its diff mode."""
        check = ["--check"] if definition.get("job_type") == "check" else []
        return [*check, *(["--diff"] if definition.get("diff") else [])]

    def _update_inventory(self, folder: Path) -> None:
        """Sync the inventory source, and write the script that prints its hosts for a job."""
        source = folder / "project" / "account.supply.yml"
        words = [tool("ansible-inventory"), "--list", "-i", str(source), "--playbook-dir", str(source.parent)]
        environment = {**os.environ, **self.environment, **self.credential, "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True"}
        environment |= self.source_variables
        # AWX also does that in a separate process. By ansible-runner it would take three times as long.
        with Program(words, self.folder, environment) as program:
            failed, printed = program.wait(HANGS), program.read()
        if failed:
            raise SyncFailed(printed)
        found, _end = json.JSONDecoder().raw_decode(printed, printed.index("{"))
        found["all"]["vars"] = self.inventory_variables
        script = folder / "inventory" / "hosts"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!{sys.executable}\nprint({json.dumps(found)!r})\n")
        script.chmod(0o700)


MakeController = Callable[..., Any]


@pytest.fixture(scope="session")
def commands() -> Iterator[Path]:
    """Stand-ins for the commands that jobs start, which would spend most of their time importing ansible-core."""
    with tempfile.TemporaryDirectory(prefix="supply-") as name:
        stand_ins(Path(name), [Path(tool("ansible-playbook"))])
        yield Path(name)


@pytest.fixture
def make_controller(make_project: MakeProject, commands: Path) -> MakeController:
    """Make a controller with a simulated API of these settings and offers; for several ``teams``, one for each."""

    def make(*teams: str, **settings: Any) -> Any:
        project = make_project(**{"provision_seconds": 0, **settings})
        controllers = [Controller(project, commands, team) for team in teams or ("",)]
        return controllers if teams else controllers[0]

    return make
