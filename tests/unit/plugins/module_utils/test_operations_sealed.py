# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed plans, bought by the operations of the plays at the simulated API: once, concurrently, killed."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

pytest.importorskip("uvicorn")  # ansible-test units installs only tests/unit/requirements.txt

from ansible_collections.compute_index.supply.plugins.module_utils._ansible import operation
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations import _registries, procure_offer
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import Registries
from ansible_collections.compute_index.supply.plugins.module_utils._operations.plan import PLAN
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import PROCURE_OFFER
from ansible_collections.compute_index.supply.plugins.module_utils._operations.sealing import SEAL
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import SharedProject, place_of
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import Database

import postgresql
from limits import HANGS
from provision_samples import raw
from samples import KEY
from simulator import Nowhere, Offer, Settings, Simulator

SEED = int(os.environ.get("SUPPLY_TEST_SEED") or 1)
HOSTS = ("a", "b")
BODY = {"ssh_public_key": KEY, "cloud_init": "#cloud-config\npackages: [git]\n"}
Json = dict[str, Any]


class World:
    """Two hosts without machines, a market, and a registry: files, or the shared one at ``url``."""

    def __init__(self, simulator: Simulator, folder: Path, url: str | None) -> None:
        self.simulator, self.folder, self.url = simulator, folder, url
        self.before = len(simulator.purchases)

    def perform(self, operation: Operation, *, check_mode: bool = False, **params: Any) -> Json:
        """The result of an operation with default options and this world's API and registry."""
        defaults = {name: option.get("default") for name, option in operation.argument_spec.items()}
        api = {"api_url": self.simulator.url, "api_token": self.simulator.settings.token}
        api |= {"api_retries": 0, "api_timeout": HANGS}
        result = operation.perform({**defaults, **api, "registry_url": self.url, **params}, check_mode)
        assert "bug of the collection" not in str(result.get("msg")), result
        return result

    def planned(
        self, *, quote: bool = False, sealed: Json | None = None, plan_file: str | None = "", **declares: Any
    ) -> Json:
        """The result of the step `plan` or `quote`."""
        fields = {"registry_dir": str(self.folder), "max_price_per_hour": 9, "reach": False, **declares}
        hosts = [raw(host=host, name=host, id=host, **fields) for host in HOSTS]
        how: Json = {"quote": quote, "plan_file": plan_file, "sealed": sealed or {}, "here": str(self.folder)}
        return self.perform(PLAN, hosts=hosts, ids=list(HOSTS), **how)

    def sealed(self, quote: Json, **params: Any) -> Json:
        """The result of the step `seal` for this result of a quote."""
        rows = {row["host"]: row["purchases"][0]["options"] for row in quote["plans"] if row["action"] == "buy"}
        names = ("offer_id", "resource_name", "cluster_name")
        orders = {host: {**BODY, **{name: row[name] for name in names}} for host, row in rows.items()}
        return self.perform(SEAL, plan=quote["plan"], orders=orders, **params)

    def quoted(self, **declares: Any) -> Json:
        """The sealed plan of a quote for both hosts."""
        sealed = self.sealed(self.planned(quote=True, **declares))
        return dict(json.loads(sealed["ansible_stats"]["data"]["plan"]))

    def provision(self, sealed: Json, body: Json | None = None, **declares: Any) -> dict[str, tuple[str, str]]:
        """Run provision with a sealed plan. Return the end of each host: its action or outcome, and the message."""
        planned = self.planned(sealed=sealed, **declares)
        assert not planned.get("failed"), planned
        ends = {row["host"]: (row["action"], row["refusal"]) for row in planned["plans"]}
        for row in planned["plans"]:
            for purchase in row.get("purchases", ()):
                options, note = purchase["options"], purchase["note"]
                timing = {"settle_timeout": 0.1, "procure_timeout": HANGS}
                bought = self.perform(PROCURE_OFFER, **{**options, **(body or BODY), "note": note, **timing})
                ends[row["host"]] = bought["outcome"], bought["msg"]
        return {host: ends.get(host, ("keep", "")) for host in HOSTS}

    @property
    def bought(self) -> list[str]:
        """The ids of the bought offers, in order."""
        return [purchase.offer_id for purchase in self.simulator.purchases[self.before :]]

    def end(self, host: str) -> None:
        """End a host's machine and its registry entry."""
        with Registries(self.url, self.simulator.url, read_only=False) as registries:
            registry = registries.at(SharedProject("default") if self.url else place_of(str(self.folder))).host(host)
            assert registry is not None
            (purchase,) = (
                item for item in self.simulator.purchases[self.before :] if item.request["resource_name"] == host
            )
            registry.read()
            # The step judge may not have noted it, if the run was killed.
            made = {"provision_purchase": "made", "provision_resource_ids": purchase.resource_ids}
            registry.note({"provision_procured_offer_id": purchase.offer_id, **made})
            for resource_id in purchase.resource_ids:
                self.simulator.market.delete(resource_id)
            registry.end()


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world with registry files, or with a shared registry (``shared``)."""
    monkeypatch.setattr(_registries, "Database", functools.partial(Database, hold=0.5))
    monkeypatch.setattr(procure_offer, "SETTLE_PAUSE", 0.05)
    url = request.getfixturevalue("registry_url") if request.param == "shared" else None
    with Simulator(Settings(provision_seconds=0), offers=[Offer() for _number in range(60)], backend=Nowhere()) as api:
        yield World(api, tmp_path / "host_vars", url)


both = pytest.mark.parametrize("world", ["files", "shared"], indirect=True)


def offers_of(plan: Json) -> list[str]:
    return sorted(host["offer_id"] for host in plan["hosts"].values())


def run_in_process(world: World, plan: Json, place: int = 0) -> int:
    """Run a plan in a new process, and return its exit code. ``place``: see `traced_lines`."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            operation._client.cache_clear()
            with traced_lines(place):
                world.provision(plan)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def traced_lines(last: int) -> Iterator[list[int]]:
    """Count the lines of module_utils that run, and kill the process before line ``last`` (0: never, -1: no trace)."""
    count = [0]

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if "/module_utils/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            count[0] += 1
            if count[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    outer = sys.gettrace()
    if last >= 0:
        sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(outer)


@both
def test_sealed_plan_is_bought_once_and_then_used_up(world: World) -> None:
    plan = world.quoted(lease="8h")
    assert world.bought == [] and plan["at_most"] is not None
    assert world.provision(plan, lease="9h")["a"][1].startswith(
        f"Plan {plan['number']} is refused: provision_lease of a"
    )
    other_data = world.provision(plan, {**BODY, "cloud_init": "#cloud-config\npackages: [vim]\n"}, lease="8h")
    assert [end[0] for end in other_data.values()] == ["not_sent"] * 2
    assert "The plan was quoted with other user data (cloud_init). Nothing was sent." in other_data["a"][1]
    assert world.bought == []

    assert {end[0] for end in world.provision(plan, lease="8h").values()} == {"created"}
    assert sorted(world.bought) == offers_of(plan)
    sent_before = len(world.simulator.requests)
    again = world.provision(plan, lease="8h")
    assert {end[0] for end in again.values()} <= {"keep", "wait"}
    assert {request.method for request in world.simulator.requests[sent_before:]} == {"GET"}

    world.end("b")
    for _run in range(2):
        ends = world.provision(plan, lease="8h")
        assert {end[0] for end in ends.values()} == {"stop"}
        assert all("is refused: it is used up, since the machine of b has ended" in end[1] for end in ends.values())
        assert "a keeps " in ends["a"][1] and "per hour." in ends["a"][1]
    assert sorted(world.bought) == offers_of(plan)
    if world.url:
        rows = postgresql.execute(world.url, "SELECT note->>'provision_plan' FROM compute_index_supply.purchase")
        assert rows == [(plan["number"],)] * 2
    else:
        assert f"provision_plan: {plan['number']}" in (world.folder / "a" / "compute_index_supply.yml").read_text()


@pytest.mark.parametrize("world", ["files"], indirect=True)
@pytest.mark.parametrize("all_or_nothing", [False, True])
def test_risen_price_of_a_sealed_offer_stops_its_host(world: World, all_or_nothing: bool) -> None:
    plan = world.quoted(all_or_nothing=all_or_nothing)
    item = plan["hosts"]["a"]
    world.simulator.offers[item["offer_id"]].details_price = 9.0
    ends = world.provision(plan, all_or_nothing=all_or_nothing)
    assert ends["a"][0] == "stop" and f"which is not within the price in plan {plan['number']}" in ends["a"][1]
    assert ends["b"][0] == ("stop" if all_or_nothing else "created")
    assert world.bought == ([] if all_or_nothing else [plan["hosts"]["b"]["offer_id"]])


@pytest.mark.parametrize("world", ["files"], indirect=True)
def test_plan_is_sealed_at_the_higher_prices_of_offer_details(world: World) -> None:
    for offer in world.simulator.offers.values():
        offer.details_price = 2.75
    plan = world.quoted(max_price_per_hour=3)
    assert {host["price_per_hour"] for host in plan["hosts"].values()} == {2.75}
    assert plan["summary"].startswith("a, b: USD 5.50 per hour")
    details = [request.path for request in world.simulator.requests if request.path.startswith("/offers/")]
    assert sorted(details) == [f"/offers/{offer_id}" for offer_id in offers_of(plan)]
    assert {end[0] for end in world.provision(plan, max_price_per_hour=3).values()} == {"created"}


@pytest.mark.parametrize("world", ["files"], indirect=True)
def test_quote_that_seals_nothing_reads_no_offer_details(world: World) -> None:
    quote = world.planned(quote=True, plan_file=None)
    assert [row["action"] for row in quote["plans"]] == ["buy", "buy"]
    assert not [request for request in world.simulator.requests if request.path.startswith("/offers/")]


@pytest.mark.parametrize("world", ["files"], indirect=True)
@pytest.mark.parametrize("check_mode", [True, False])
def test_check_mode_announces_the_plan_and_writes_none(world: World, check_mode: bool) -> None:
    file = world.folder / "plan.json"
    sealed = world.sealed(world.planned(quote=True), quote_file=str(file), check_mode=check_mode)
    assert (sealed["changed"], file.exists()) == (True, not check_mode)


@both
def test_plan_replayed_by_concurrent_runs_is_bought_once(world: World) -> None:
    """Forty processes, ten at a time; then ten more, after one machine has ended."""
    plan = world.quoted()
    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(lambda _number: run_in_process(world, plan, -1), range(40))) == {0}
    assert sorted(world.bought) == offers_of(plan)
    assert {end[0] for end in world.provision(plan).values()} <= {"keep", "wait"}
    world.end("a")
    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(lambda _number: run_in_process(world, plan, -1), range(10))) == {0}
    assert {end[0] for end in world.provision(plan).values()} == {"stop"}
    assert sorted(world.bought) == offers_of(plan)


@both
def test_killed_run_of_a_plan_can_be_repeated(world: World) -> None:
    dice = random.Random(SEED)
    with traced_lines(0) as count:
        plan = world.quoted()
        quoted = count[0]
        world.provision(plan)
    lines = count[0] - quoted
    assert lines > 1000, "the tracer does not see module_utils"
    for round_ in range(15):
        for host in HOSTS:
            world.end(host)
        world.before = len(world.simulator.purchases)
        plan = world.quoted()
        place = dice.randrange(1, lines)
        assert run_in_process(world, plan, place) in (0, -signal.SIGKILL)
        ends: Any = {}
        for _try in range(40):
            ends = world.provision(plan)
            if {end[0] for end in ends.values()} <= {"keep", "wait", "created", "existing"}:
                break
            assert {end[0] for end in ends.values()} <= {"keep", "wait", "created", "existing", "claimed"}, (
                place,
                ends,
            )
            time.sleep(0.1)  # until the hold of the killed run is over
        assert sorted(world.bought) == offers_of(plan), (round_, place, ends)
        assert {end[0] for end in world.provision(plan).values()} <= {"keep", "wait"}
