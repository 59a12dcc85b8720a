# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the purchase to the deletion with real machines behind the simulated API: needs root on Debian."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Generator, Iterator
from functools import cache, partial
from pathlib import Path

import pytest

from limits import HANGS
from project import MakeProject, Project, make_project, sockets
from simulator.nspawn import NspawnBackend, obstacle

__all__ = ["Backend", "Machine", "MakeProject", "Project", "backend", "cgroups", "make_project", "rent", "sockets"]

ROOT = Path(__file__).resolve().parents[2]
COMPILED = ROOT / "tests" / "compiled"
KEPT = ROOT / ".build" / "compiled"
# Lets each Python of a machine do what this folder in PYTHONPATH does: sudo and sshd would remove that.
KEEP = f"import sys; sys.path.insert(0, {str(COMPILED)!r}); import sitecustomize; sys.path.pop(0)\n"


class Backend(NspawnBackend):
    """Keeps what the machines printed at their boot, to explain a failure, and what they compiled of modules."""

    def __init__(self, folder: Path) -> None:
        """``folder``: a temporary one."""
        file = folder / "keep.pth"
        file.write_text(KEEP)
        KEPT.mkdir(parents=True, exist_ok=True)
        seen = f"--bind-ro={file}:/usr/lib/python3/dist-packages/{file.name}"
        super().__init__(options=[f"--bind-ro={COMPILED}", f"--bind={KEPT}", seen])

    def consoles(self) -> str:
        """The last lines of each machine that runs."""
        files = sorted(self.root.glob("*/console"))
        return "\n".join(f"--- {file.parent.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)


class Machine:
    """A machine, looked at over SSH without Ansible."""

    def __init__(self, project: Project, address: str, user: str = "root") -> None:
        self.project, self.address, self.user = project, address, user

    def run(self, script: str) -> str:
        """What a shell script prints; it must succeed."""
        options = ["-i", str(self.project.key), "-F", "none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
        # Addresses are used again by other machines; Ansible's connections are those that check host keys.
        options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        shared = f"{self.project.environment['ANSIBLE_SSH_CONTROL_PATH_DIR']}/%C"
        options += ["-o", "ControlMaster=auto", "-o", f"ControlPath={shared}", "-o", "ControlPersist=20"]
        command = ["ssh", *options, f"{self.user}@{self.address}", script]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HANGS, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def login(self, user: str) -> Machine:
        """The same machine as seen by another user."""
        return Machine(self.project, self.address, user)


def cgroups(folder: Path) -> list[Path]:
    """Where the processes of a machine are."""
    return list(map(Path, (folder / "cgroups").read_text().split(":")))


@cache
def why_not() -> str:
    """Found out once for all tests."""
    return obstacle()


@pytest.fixture(autouse=True)
def possible() -> None:
    """All tests here boot machines."""
    if why_not():
        pytest.skip(f"real machines: {why_not()}")


@pytest.fixture
def backend(possible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Boots machines; whatever the test does, nothing of them is left."""
    backend = Backend(tmp_path_factory.mktemp("backend"))
    yield backend
    asyncio.run(backend.close())


@pytest.fixture
def rent(backend: Backend, make_project: MakeProject) -> MakeProject:
    """Makes a project whose simulator sells machines of the backend."""
    return partial(make_project, backend=backend)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the machines' consoles to the report of a failed test, while they run."""
    report = yield
    backend = getattr(item, "funcargs", {}).get("backend")
    if report.when == "call" and report.failed and backend:
        report.sections.append(("Consoles of the machines", backend.consoles()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured: what tests have recorded, in whichever process they ran."""
    for report in terminalreporter.getreports("passed"):
        for name, line in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(str(line))
