# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the plugins' tests: a queue of expected requests, raw servers, a home folder, clocks without sleep."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import responses
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import operation
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Operation
from ansible_collections.compute_index.supply.plugins.module_utils._api import http
from ansible_collections.compute_index.supply.plugins.module_utils._operations import _purchase, procure_offer
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock as Clocks
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from hypothesis import settings

import postgresql
import samples
from clock import Clock
from raw_server import RawServer, raw_servers
from request_queue import Registry, RequestQueue

settings.register_profile("unit", derandomize=True, deadline=None, database=None, max_examples=150)
settings.register_profile("nightly", settings.get_profile("unit"), derandomize=False)
settings.load_profile(os.environ.get("SUPPLY_TEST_PROFILE", "unit"))

_FOREIGN = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC")


_NUMBERS = itertools.count()


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the test's own. Pytest's fixture also links to it, which takes longer than many of our tests."""
    folder = tmp_path_factory.getbasetemp() / str(next(_NUMBERS))
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test cuts the power, and fsync is slow."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home folder and an environment without the computer's own settings."""
    for name in (*_FOREIGN, "COMPUTE_INDEX_API_TOKEN", "COMPUTE_INDEX_API_URL", "COMPUTE_INDEX_REGISTRY_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def new_sessions() -> None:
    """No test reuses the API client of another test."""
    operation._client.cache_clear()


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses in seconds between the client's attempts; it does not sleep."""
    seconds: list[float] = []
    monkeypatch.setitem(http.HttpClient.__init__.__kwdefaults__, "sleep", seconds.append)
    return seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of purchases and their journals; sleeping moves it forward."""
    clock = Clock()
    monkeypatch.setattr(procure_offer, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep))
    monkeypatch.setattr(_purchase, "time", SimpleNamespace(time=clock.time))
    monkeypatch.setattr(HostFile, "clock", lambda _file: Clocks(clock.time()))
    return clock


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The connection URL of a PostgreSQL server of this test session."""
    with postgresql.server() as url:
        yield url


@pytest.fixture
def registry_url(postgresql_server: str) -> Iterator[str]:
    """The URL of a shared registry without tables."""
    yield postgresql_server
    postgresql.forget(postgresql_server)


@pytest.fixture
def queue() -> Iterator[RequestQueue]:
    """The queue of requests to `samples.BASE`; no other request leaves the process."""
    with responses.RequestsMock(assert_all_requests_are_fired=False, registry=Registry) as mock:
        yield RequestQueue(mock)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Compare a test's requests with its queue. A mismatch fails a test that passed; a failed test reports it."""
    expected = pyfuncitem.funcargs.get("queue")
    try:
        outcome = yield
    except Exception:
        if expected and expected.complaints:
            pyfuncitem.add_report_section("call", "queue of requests", "\n".join(expected.complaints))
        raise
    assert not expected or expected.complaints == []
    return outcome


@pytest.fixture
def serve() -> Iterator[Callable[..., RawServer]]:
    """``serve(*steps, tls=None)``: starts a `RawServer`."""
    with raw_servers() as start:
        yield start


@pytest.fixture
def import_without(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType, str], Any]:
    """``import_without(module, library)``: a second copy of the module, imported while the library is missing."""

    def run(module: ModuleType, library: str) -> Any:
        spec = importlib.util.spec_from_file_location(f"{module.__name__}_bare", str(module.__file__))
        assert spec is not None and spec.loader is not None
        copy = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, copy)
        monkeypatch.setitem(sys.modules, library, None)
        spec.loader.exec_module(copy)
        return copy

    return run


@pytest.fixture
def perform() -> Callable[..., dict[str, Any]]:
    """``perform(operation, check_mode=False, **params)``: an operation's result; other options have their defaults."""

    def run(operation: Operation, check_mode: bool = False, **params: Any) -> dict[str, Any]:
        spec = operation.argument_spec
        unknown = params.keys() - spec.keys()
        assert not unknown
        defaults = {name: option.get("default") for name, option in spec.items()}
        common = {"api_token": samples.TOKEN, "api_url": samples.BASE, "api_retries": 0}
        return operation.perform({**defaults, **common, **params}, check_mode)

    return run


# Purchases


@pytest.fixture
def buy(perform: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """``buy(check_mode=False, **params)``: the result of procure_offer, by default for the sample offer."""

    def run(check_mode: bool = False, **params: Any) -> dict[str, Any]:
        order = {"offer_id": samples.OFFER_ID, "ssh_public_key": samples.KEY}
        return perform(procure_offer.PROCURE_OFFER, check_mode, **{**order, **params})

    return run


@pytest.fixture
def resource_shown(request: pytest.FixtureRequest) -> None:
    """Let the API show the bought machine by its id, and list no resource of its offer unless the queue expects it."""
    if "queue" in request.fixturenames:
        queue: RequestQueue = request.getfixturevalue("queue")
        queue.show(samples.resource()).list_no_resources_of(samples.OFFER_ID)


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each random pause take its longest time."""
    monkeypatch.setattr("random.uniform", lambda _least, most: most)
