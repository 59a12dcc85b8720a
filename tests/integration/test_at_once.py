# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Concurrent runs for the same hosts: on one controller with a registry of files, or on several that share one."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

import postgresql
from conftest import PROCURE, MakeProject, Project, Run
from launcher import Program
from limits import HANGS, until
from simulator import Offer

ROUNDS = int(os.environ.get("SUPPLY_TEST_ROUNDS") or 5)
SEED = int(os.environ.get("SUPPLY_TEST_SEED") or 1)
POST = float(os.environ.get("SUPPLY_TEST_POST") or 1)  # seconds until a purchase is answered and visible
LONG = 20  # for a purchase that outlasts another play, even on a busy computer
HOSTS = [f"gpu-{number}" for number in range(1, 7)]
PRICE = 2.5


@dataclass
class Shop:
    """A project whose purchases are invisible until they are answered.

    ``url``: the shared registry; empty for a registry of files.
    """

    project: Project
    url: str

    def declare(self, hosts: list[str], **variables: Any) -> None:
        """Declare hosts that are not reached by SSH."""
        shared = {"provision_registry_url": self.url} if self.url else {}
        self.project.declare(hosts, **{"provision_reach": False, "provision_poll_retries": 100, **shared, **variables})

    def controller(self, number: int) -> dict[str, str]:
        """The environment of a controller; with a registry of files there is only one."""
        home = self.project.folder / f"controller-{number}"
        home.mkdir(exist_ok=True)
        return {"HOME": str(home), "ANSIBLE_HOME": str(home / ".ansible")} if self.url else {}

    def play(self, *words: str, controller: int = 1) -> Run:
        """Run a play on a controller."""
        return self.project.play(*words, **self.controller(controller))

    def start(self, number: int) -> Program:
        """Start a play on a controller that provisions all hosts, in a session of its own."""
        words = ["ansible-playbook", "-i", str(self.project.inventory), "compute_index.supply.provision"]
        return self.project.start(*words, "--forks", "20", **self.controller(number))

    @property
    def live(self) -> list[str]:
        """The names of the machines that are billed."""
        return sorted(each.name for each in self.project.simulator.resources.values() if each.deleting_at is None)

    def wait_for_purchases(self, count: int) -> None:
        """Wait until this many purchases have been sent."""
        until(lambda: self.project.requests(*PROCURE) >= count)

    def forget_holds(self) -> None:
        """End all holds on claims in the shared registry: no purchase may depend on them. Locked files need none."""
        if self.url and postgresql.execute(self.url, "SELECT to_regclass('compute_index_supply.purchase')") != [
            (None,)
        ]:
            postgresql.execute(self.url, "UPDATE compute_index_supply.purchase SET held_until = now()")


def make_shop(make_project: MakeProject, request: pytest.FixtureRequest, store: str, seconds: float) -> Shop:
    offers = [Offer() for _number in range(14)]
    project = make_project(offers, provision_seconds=0, procure_seconds=seconds, purchase_at="end")
    return Shop(project, request.getfixturevalue("registry") if store == "shared" else "")


@pytest.fixture(params=["shared", "files"])
def shop(make_project: MakeProject, request: pytest.FixtureRequest) -> Shop:
    """A shop with each kind of registry, whose purchases take long."""
    return make_shop(make_project, request, request.param, LONG)


@pytest.mark.first
def test_a_run_waits_while_another_one_buys(shop: Shop) -> None:
    shop.declare(["gpu-1", "gpu-2"])
    with ThreadPoolExecutor() as pool:
        first = pool.submit(shop.play, "compute_index.supply.provision")
        shop.wait_for_purchases(2)
        second = shop.play("compute_index.supply.provision", controller=2)
        assert (first.result().returncode, second.returncode) == (0, 0), first.result().output + second.output
    assert shop.live == ["gpu-1", "gpu-2"] and shop.project.requests(*PROCURE) == 2
    assert "RETRYING" in second.output


def test_decommission_refuses_a_host_that_another_run_is_buying(shop: Shop) -> None:
    shop.declare(["gpu-1"])
    with ThreadPoolExecutor() as pool:
        first = pool.submit(shop.play, "compute_index.supply.provision")
        shop.wait_for_purchases(1)
        refused = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1", controller=2)
        planned = shop.play("compute_index.supply.provision", "--check", controller=2)
        assert first.result().returncode == 0
    assert refused.returncode == 2 and "is buying for gpu-1 at this moment" in refused.text, refused.output
    assert planned.returncode == 2 and "in a run of " in planned.text, planned.output
    assert shop.live == ["gpu-1"]


def kill(play: Program, how: str) -> None:
    """Kill the play with its workers ("all"), or only the play ("alone"), so that its workers go on buying."""
    if how == "all":
        os.killpg(play.pid, signal.SIGKILL)
    else:
        os.kill(play.pid, signal.SIGKILL)
    play.wait(HANGS)


@pytest.mark.parametrize(
    ("store", "seed"),
    [(store, SEED + i) for store, rounds in (("shared", ROUNDS), ("files", (ROUNDS + 2) // 3)) for i in range(rounds)],
)
def test_three_runs_buy_six_machines(
    make_project: MakeProject, request: pytest.FixtureRequest, store: str, seed: int
) -> None:
    """Three runs provision the same six hosts at the same time, and some are killed and started again."""
    dice = random.Random(seed)
    shop = make_shop(make_project, request, store, POST)
    ceiling = len(HOSTS) * PRICE
    shop.declare(HOSTS, **({"provision_max_total_price_per_hour": ceiling} if shop.url else {}))
    runs = {number: shop.start(number) for number in range(3)}
    started = list(runs.values())
    for _kill in range(2):
        time.sleep(dice.uniform(1, 4))
        number = dice.randrange(3)
        if runs[number].poll() is None:
            kill(runs[number], dice.choice(["all", "alone"]))
            shop.forget_holds()
            runs[number] = shop.start(number)
            started.append(runs[number])
        assert len(shop.live) * PRICE <= ceiling
    for play in runs.values():
        play.wait(HANGS)
    last = shop.project.play("compute_index.supply.provision")
    assert last.returncode == 0, last.output
    outputs = "".join(play.read() for play in started)
    assert shop.live == HOSTS, outputs
    assert len(shop.project.simulator.purchases) == len(HOSTS), outputs
    audit = shop.project.play("compute_index.supply.audit", "-e", "audit_fail_on_orphans=true")
    assert audit.returncode == 0, audit.output


@pytest.mark.parametrize("on_failure", ["release", "keep"])
def test_without_a_registry_a_double_purchase_is_detected_by_name(make_project: MakeProject, on_failure: str) -> None:
    """A double purchase is possible while the first one is invisible; a cheaper offer appears meanwhile."""
    project = make_project([Offer(gpu_price_per_hour=2.5)], provision_seconds=0, procure_seconds=8, purchase_at="end")
    project.declare(["gpu-1"], provision_reach=False, provision_registry_dir="", provision_on_failure=on_failure)
    shop = Shop(project, "")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(shop.play, "compute_index.supply.provision")
        shop.wait_for_purchases(1)
        project.simulator.add_offer(gpu_price_per_hour=2.0)
        # Until the first run has looked for other machines with its name
        project.simulator.settings.procure_seconds = 11
        second = shop.play("compute_index.supply.provision")
        assert first.result().returncode == 0, first.result().output
    ids = [each.resource_ids[0] for each in project.simulator.purchases]
    if on_failure == "release":
        assert (second.returncode, project.simulator.billed) == (2, ids[:1]), second.output
        assert ids[0] in second.failure("gpu-1") and project.provision().changed == 0
        return
    assert (second.returncode, sorted(project.simulator.billed)) == (2, sorted(ids)), second.output
    failure = second.failure("gpu-1")
    assert all(each in failure for each in ids) and f"delete_resource -a resource_id={ids[1]}" in failure, failure
    for words in (("compute_index.supply.audit",), ("compute_index.supply.provision",)):
        again = shop.play(*words)
        assert again.returncode == 2 and all(each in again.text for each in ids), again.output
