# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real machines behind the simulated API, from purchase to deletion. Needs root on Debian."""

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
    """Keeps the consoles of machines, to explain a failure, and the modules that they have compiled."""

    def __init__(self, folder: Path) -> None:
        """``folder``: a temporary folder."""
        file = folder / "keep.pth"
        file.write_text(KEEP)
        KEPT.mkdir(parents=True, exist_ok=True)
        seen = f"--bind-ro={file}:/usr/lib/python3/dist-packages/{file.name}"
        super().__init__(options=[f"--bind-ro={COMPILED}", f"--bind={KEPT}", seen])

    def consoles(self) -> str:
        """The last lines of the console of each running machine."""
        files = sorted(self.root.glob("*/console"))
        return "\n".join(f"--- {file.parent.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)


class Machine:
    """A machine, reached over SSH without Ansible."""

    def __init__(self, project: Project, address: str, user: str = "root") -> None:
        self.project, self.address, self.user = project, address, user

    def run(self, script: str) -> str:
        """The output of a shell script, which must succeed."""
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
        """The machine with a login as another user."""
        return Machine(self.project, self.address, user)


def cgroups(folder: Path) -> list[Path]:
    """The cgroups of a machine's processes."""
    return list(map(Path, (folder / "cgroups").read_text().split(":")))


@cache
def why_not() -> str:
    """The reason why no test here can run, found once for all; empty if all can."""
    return obstacle()


@pytest.fixture(autouse=True)
def possible() -> None:
    """Skip all tests here if machines cannot boot."""
    if why_not():
        pytest.skip(f"real machines: {why_not()}")


@pytest.fixture
def backend(possible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend that boots machines, and leaves nothing of them, whatever the test does."""
    backend = Backend(tmp_path_factory.mktemp("backend"))
    yield backend
    asyncio.run(backend.close())


@pytest.fixture
def rent(backend: Backend, make_project: MakeProject) -> MakeProject:
    """Make a project whose simulator sells machines of the backend."""
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
    """Print the figures that tests have recorded, in all processes."""
    for report in terminalreporter.getreports("passed"):
        for name, line in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(str(line))
