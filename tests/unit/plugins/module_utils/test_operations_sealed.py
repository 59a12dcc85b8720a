# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sealed plan by the operations of the plays against the simulated API: replayed at once, killed, and edited."""

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
    """Two hosts without machines, a market, and a registry: in files, or one of ``url`` that controllers share."""

    def __init__(self, simulator: Simulator, folder: Path, url: str | None) -> None:
        self.simulator, self.folder, self.url = simulator, folder, url
        self.before = len(simulator.purchases)

    def perform(self, operation: Operation, **params: Any) -> Json:
        """The result of an operation, as a process of its own would get it."""
        defaults = {name: option.get("default") for name, option in operation.argument_spec.items()}
        api = {"api_url": self.simulator.url, "api_token": self.simulator.settings.token}
        api |= {"api_retries": 0, "api_timeout": HANGS}
        result = operation.perform({**defaults, **api, "registry_url": self.url, **params}, False)
        assert "bug of the collection" not in str(result.get("msg")), result
        return result

    def planned(
        self, *, quote: bool = False, sealed: Json | None = None, plan_file: str | None = "", **declares: Any
    ) -> Json:
        """The step `plan`, or `quote`."""
        fields = {"registry_dir": str(self.folder), "max_price_per_hour": 9, "reach": False, **declares}
        hosts = [raw(host=host, name=host, id=host, **fields) for host in HOSTS]
        how: Json = {"quote": quote, "plan_file": plan_file, "sealed": sealed or {}, "here": str(self.folder)}
        return self.perform(PLAN, hosts=hosts, ids=list(HOSTS), **how)

    def quoted(self, **declares: Any) -> Json:
        """The sealed plan of a quote for both hosts."""
        quote = self.planned(quote=True, **declares)
        rows = {row["host"]: row["purchases"][0]["options"] for row in quote["plans"] if row["action"] == "buy"}
        names = ("offer_id", "resource_name", "cluster_name")
        orders = {host: {**BODY, **{name: row[name] for name in names}} for host, row in rows.items()}
        sealed = self.perform(SEAL, plan=quote["plan"], orders=orders)
        return dict(json.loads(sealed["ansible_stats"]["data"]["plan"]))

    def provision(self, sealed: Json, body: Json | None = None, **declares: Any) -> dict[str, tuple[str, str]]:
        """A run by the plan: what became of each host, and why it stopped."""
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
        """The offers that were bought, in order."""
        return [purchase.offer_id for purchase in self.simulator.purchases[self.before :]]

    def end(self, host: str) -> None:
        """Let the machine of a host end, and its entry."""
        with Registries(self.url, self.simulator.url, read_only=False) as registries:
            registry = registries.at(SharedProject("default") if self.url else place_of(str(self.folder))).host(host)
            assert registry is not None
            (purchase,) = (
                item for item in self.simulator.purchases[self.before :] if item.request["resource_name"] == host
            )
            registry.read()
            # As the step `judge` does, if the run that bought was killed before it could.
            made = {"provision_purchase": "made", "provision_resource_ids": purchase.resource_ids}
            registry.note({"provision_procured_offer_id": purchase.offer_id, **made})
            for resource_id in purchase.resource_ids:
                self.simulator.market.delete(resource_id)
            registry.end()


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world of files, or of a registry that is shared."""
    monkeypatch.setattr(_registries, "Database", functools.partial(Database, hold=0.5))
    monkeypatch.setattr(procure_offer, "SETTLE_PAUSE", 0.05)
    url = request.getfixturevalue("registry_url") if request.param == "shared" else None
    with Simulator(Settings(provision_seconds=0), offers=[Offer() for _number in range(60)], backend=Nowhere()) as api:
        yield World(api, tmp_path / "host_vars", url)


both = pytest.mark.parametrize("world", ["files", "shared"], indirect=True)


def offers_of(plan: Json) -> list[str]:
    return sorted(host["offer_id"] for host in plan["hosts"].values())


def in_a_process(world: World, plan: Json, place: int = 0) -> int:
    """A run of the plan in a process of its own, killed before this line of ours; which one it came to."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            operation._client.cache_clear()
            with lines_of_ours(place):
                world.provision(plan)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def lines_of_ours(last: int) -> Iterator[list[int]]:
    """Counts the lines of ours that run, and kills the process before the ``last``, unless that is 0."""
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
def test_a_plan_is_bought_once_and_then_used_up(world: World) -> None:
    plan = world.quoted(lease="8h")
    assert world.bought == [] and plan["at_most"] is not None
    assert world.provision(plan, lease="9h")["a"][1].startswith(
        f"Plan {plan['number']} is refused: provision_lease of a"
    )
    other = world.provision(plan, {**BODY, "cloud_init": "#cloud-config\npackages: [vim]\n"}, lease="8h")
    assert [end[0] for end in other.values()] == ["not_sent"] * 2
    assert "The plan was quoted with other user data (cloud_init). Nothing was sent." in other["a"][1]
    assert world.bought == []

    assert {end[0] for end in world.provision(plan, lease="8h").values()} == {"created"}
    assert sorted(world.bought) == offers_of(plan)
    asked = len(world.simulator.requests)
    again = world.provision(plan, lease="8h")
    assert {end[0] for end in again.values()} <= {"keep", "wait"}
    assert {request.method for request in world.simulator.requests[asked:]} == {"GET"}

    world.end("b")
    for _time in range(2):
        over = world.provision(plan, lease="8h")
        assert {end[0] for end in over.values()} == {"stop"}
        assert all("is refused: it is used up, since the machine of b has ended" in end[1] for end in over.values())
        assert "a keeps " in over["a"][1] and "per hour." in over["a"][1]
    assert sorted(world.bought) == offers_of(plan)
    if world.url:
        rows = postgresql.execute(world.url, "SELECT note->>'provision_plan' FROM compute_index_supply.purchase")
        assert rows == [(plan["number"],)] * 2
    else:
        assert f"provision_plan: {plan['number']}" in (world.folder / "a" / "compute_index_supply.yml").read_text()


@pytest.mark.parametrize("world", ["files"], indirect=True)
@pytest.mark.parametrize("together", [False, True], ids=["each", "all or none"])
def test_what_became_dearer_is_not_bought_and_the_rest_only_if_hosts_are_apart(world: World, together: bool) -> None:
    plan = world.quoted(all_or_nothing=together)
    item = plan["hosts"]["a"]
    world.simulator.offers[item["offer_id"]].details_price = 9.0
    ends = world.provision(plan, all_or_nothing=together)
    assert ends["a"][0] == "stop" and f"which is not within the price in plan {plan['number']}" in ends["a"][1]
    assert ends["b"][0] == ("stop" if together else "created")
    assert world.bought == ([] if together else [plan["hosts"]["b"]["offer_id"]])


@pytest.mark.parametrize("world", ["files"], indirect=True)
def test_a_plan_is_bought_where_the_pages_of_offers_are_always_dearer_than_the_search(world: World) -> None:
    for offer in world.simulator.offers.values():
        offer.details_price = 2.75
    plan = world.quoted(max_price_per_hour=3)
    assert {host["price_per_hour"] for host in plan["hosts"].values()} == {2.75}
    assert plan["summary"].startswith("a, b: USD 5.50 per hour")
    pages = [request.path for request in world.simulator.requests if request.path.startswith("/offers/")]
    assert sorted(pages) == [f"/offers/{offer_id}" for offer_id in offers_of(plan)]
    assert {end[0] for end in world.provision(plan, max_price_per_hour=3).values()} == {"created"}


@pytest.mark.parametrize("world", ["files"], indirect=True)
def test_a_quote_that_seals_nothing_reads_no_page(world: World) -> None:
    quote = world.planned(quote=True, plan_file=None)
    assert [row["action"] for row in quote["plans"]] == ["buy", "buy"]
    assert not [request for request in world.simulator.requests if request.path.startswith("/offers/")]


@both
def test_a_plan_that_is_replayed_at_once_is_bought_once(world: World) -> None:
    """Fifty runs, ten at a time, each a process of its own; while the last ones run, a machine ends."""
    plan = world.quoted()
    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(lambda _number: in_a_process(world, plan, -1), range(40))) == {0}
    assert sorted(world.bought) == offers_of(plan)
    assert {end[0] for end in world.provision(plan).values()} <= {"keep", "wait"}
    world.end("a")
    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(lambda _number: in_a_process(world, plan, -1), range(10))) == {0}
    assert {end[0] for end in world.provision(plan).values()} == {"stop"}
    assert sorted(world.bought) == offers_of(plan)


@both
def test_a_plan_whose_run_is_killed_between_any_two_lines_goes_on(world: World) -> None:
    dice = random.Random(SEED)
    with lines_of_ours(0) as count:
        plan = world.quoted()
        quoted = count[0]
        world.provision(plan)
    lines = count[0] - quoted
    assert lines > 1000, "the tracer sees the code"
    for round_ in range(15):
        for host in HOSTS:
            world.end(host)
        world.before = len(world.simulator.purchases)
        plan = world.quoted()
        place = dice.randrange(1, lines)
        assert in_a_process(world, plan, place) in (0, -signal.SIGKILL)
        ends: Any = {}
        for _try in range(40):
            ends = world.provision(plan)
            if {end[0] for end in ends.values()} <= {"keep", "wait", "created", "existing"}:
                break
            assert {end[0] for end in ends.values()} <= {"keep", "wait", "created", "existing", "claimed"}, (
                place,
                ends,
            )
            time.sleep(0.1)  # until the hold of the run that died is over
        assert sorted(world.bought) == offers_of(plan), (round_, place, ends)
        assert {end[0] for end in world.provision(plan).values()} <= {"keep", "wait"}
