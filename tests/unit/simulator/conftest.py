# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the simulator's tests: a simulator with few offers, its client, and an SSH key."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import requests

# ansible-test units does not read pyproject.toml, has older Pythons too, and installs only tests/unit/requirements.txt.
sys.path.insert(0, str(Path(__file__).parents[2]))
import limits

MISSING = [name for name in ("fastapi", "uvicorn", "asyncssh", "yaml") if find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING or sys.version_info < (3, 10) else []

if TYPE_CHECKING:
    from simulator import Simulator

T = TypeVar("T")
SSH_OPTIONS = [
    "-o",
    "StrictHostKeyChecking=no",
    "-o",
    "UserKnownHostsFile=/dev/null",
    "-o",
    "LogLevel=ERROR",
    "-o",
    "IdentitiesOnly=yes",
    "-o",
    "IdentityAgent=none",
    "-F",
    "none",
]


class Api:
    """A client of the simulator. A call returns the answer of ``requests``, whatever its status."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {simulator.settings.token}"
        self.session.trust_env = False

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", limits.HANGS)
        return self.session.request(method, self.simulator.url + path, **options)

    def get(self, path: str, **options: Any) -> Any:
        """The JSON of a successful read."""
        answer = self("GET", path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def search(self, spec: str, content_type: str = "application/yaml") -> requests.Response:
        """POST /get_offers."""
        return self("POST", "/get_offers", data=spec, headers={"Content-Type": content_type})

    def buy(self, offer: Any, **fields: Any) -> requests.Response:
        """POST /procure_offer."""
        return self("POST", "/procure_offer", json={"offer_id": offer.offer_id, "ssh_public_key": "ssh-x", **fields})

    def status(self, offer: Any) -> Any:
        """GET /offers/{offer_id}/status."""
        return self.get(f"/offers/{offer.offer_id}/status")


@pytest.fixture
def until() -> Callable[..., Any]:
    """``until(look)`` calls ``look`` until it returns a true value, and returns that."""
    return limits.until


@pytest.fixture
def simulate() -> Iterator[Callable[..., Api]]:
    """``simulate(offers=(), **settings)`` starts a simulator with these offers. None: the default catalogue."""
    from simulator import Settings, Simulator

    with ExitStack() as stack:

        def start(offers: Any = (), clock: Any = None, **settings: Any) -> Api:
            options = {"clock": clock} if clock else {}
            return Api(stack.enter_context(Simulator(Settings(**settings), offers, **options)))

        yield start


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a private key; its public key is next to it."""
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.fixture
def ssh_options(key: Path) -> list[str]:
    """Options for the system's ssh and sftp."""
    return [*SSH_OPTIONS, "-i", str(key)]


@pytest.fixture
def ssh(ssh_options: list[str]) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """``ssh(address, command, ...)`` runs a command with the system's ssh."""

    def run(address: Any, *command: str, user: str = "root", **options: Any) -> subprocess.CompletedProcess[bytes]:
        arguments = ["ssh", *ssh_options, "-p", str(address.port), f"{user}@{address.ip}", *command]
        options = {"stdin": subprocess.DEVNULL, "timeout": limits.HANGS, **options}
        if "input" in options:
            del options["stdin"]
        return subprocess.run(arguments, capture_output=True, check=False, **options)

    return run
