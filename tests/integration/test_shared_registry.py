# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Purchases with a registry in PostgreSQL: concurrent runs, killed runs, and the password of its URL."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import postgresql
from conftest import PROCURE, MakeProject, Project
from limits import HANGS, until
from simulator import Fault, Offer

PASSWORD = "kept-between-us-4711"


@pytest.fixture(params=["1", "0"], ids=["in-process", "module"])
def shop(make_project: MakeProject, request: pytest.FixtureRequest, registry: str) -> Project:
    """A project with two offers and a shared registry; tasks run in process and as modules."""
    project = make_project([Offer(), Offer()], provision_seconds=0)
    project.environment["COMPUTE_INDEX_IN_PROCESS"] = request.param
    # The server does not ask for a password, but the URL has one.
    project.environment["COMPUTE_INDEX_REGISTRY_URL"] = registry.replace("postgres:@", f"postgres:{PASSWORD}@")
    return project


def purchase(project: Project, offer_id: str, name: str = "one") -> list[str]:
    """The command of a playbook that buys an offer for the host ``trainer`` and writes the result to ``name``.json."""
    order = {
        "offer_id": offer_id,
        "ssh_public_key": project.public_key,
        "resource_name": "trainer",
        "settle_timeout": 1,
    }
    buy = {"compute_index.supply.procure_offer": order, "register": "result", "failed_when": False}
    keep = {"ansible.builtin.copy": {"dest": str(project.folder / f"{name}.json"), "content": "{{ result | to_json }}"}}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [buy, {**keep, "diff": False}]}
    book = project.folder / f"{name}.yml"
    book.write_text(json.dumps([play]))
    return ["ansible-playbook", str(book)]


def result(project: Project, name: str = "one") -> dict[str, Any]:
    """The result that a playbook of `purchase` has written."""
    content: dict[str, Any] = json.loads(Path(project.folder, f"{name}.json").read_text())
    return content


def sent_claims(url: str) -> list[tuple[Any, ...]]:
    """The claims of purchases that were sent, each with its state, offer and resources.

    Other claims are left out, since another run may free them.
    """
    return postgresql.execute(
        url,
        "SELECT p.state, p.offer, array_remove(array_agg(m.resource), NULL) FROM compute_index_supply.purchase p"
        " LEFT JOIN compute_index_supply.machine m USING (claim) WHERE p.sent_at IS NOT NULL GROUP BY p.claim"
        " ORDER BY p.claimed_at",
    )


# The database decides, so one version of ansible-core is enough.
@pytest.mark.parametrize("same", [pytest.param(True, id="one offer"), pytest.param(False, id="two offers")])
def test_only_one_of_two_concurrent_runs_buys(shop: Project, registry: str, same: bool) -> None:
    offers = list(shop.simulator.offers)
    shop.simulator.settings.procure_seconds = 3
    commands = [purchase(shop, offers[0], "one"), purchase(shop, offers[0 if same else 1], "two")]
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda command: shop.run(*command), commands))
    assert [run.returncode for run in runs] == [0, 0], runs[0].output + runs[1].output
    results = {each["outcome"]: each for each in (result(shop, "one"), result(shop, "two"))}
    (bought,) = shop.simulator.purchases
    assert shop.requests(*PROCURE) == 1
    assert sent_claims(registry) == [("live", bought.request["offer_id"], bought.resource_ids)]
    assert set(results) <= {"created", "claimed", "existing"} and "created" in results, results
    if "claimed" in results:
        assert "in a run of " in results["claimed"]["msg"]


def kill(project: Project, command: list[str], due: Callable[[], bool]) -> None:
    """Kill the play and all its processes as soon as ``due`` returns true."""
    with project.start(*command) as process:
        until(lambda: due() or process.poll() is not None, 0.005)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(HANGS)
    # In newer versions of ansible-core workers have their own sessions, so a module would go on.
    project.end_leftovers()


@pytest.mark.parametrize("made", [pytest.param(False, id="before"), pytest.param(True, id="after")])
def test_next_run_continues_a_purchase_whose_run_was_killed(shop: Project, registry: str, made: bool) -> None:
    first, second = shop.simulator.offers
    if made:
        shop.simulator.settings.procure_seconds = 3
        kill(shop, purchase(shop, first), lambda: bool(shop.simulator.purchases))
    else:
        shop.simulator.faults.append(Fault(path="/procure_offer", delay=3, cut="before"))
        kill(shop, purchase(shop, first), lambda: shop.requests(*PROCURE) > 0)
    assert sent_claims(registry) == [("buying", first, [])]
    shop.simulator.settings.procure_seconds = 0
    for offer_id in (first, second):
        assert shop.run(*purchase(shop, offer_id)).returncode == 0
        assert result(shop)["outcome"] == "claimed", "the dead run's hold should last"
    postgresql.execute(registry, "UPDATE compute_index_supply.purchase SET held_until = now()")
    assert shop.run(*purchase(shop, second)).returncode == 0
    continued = result(shop)
    assert (continued["outcome"], continued["offer_id"]) == ("existing" if made else "created", first)
    assert shop.run(*purchase(shop, first)).returncode == 0
    assert result(shop)["outcome"] == "existing"
    (bought,) = shop.simulator.purchases
    assert sent_claims(registry) == [("live", first, bought.resource_ids)]


def test_registry_password_is_in_no_output(shop: Project) -> None:
    url = shop.environment["COMPUTE_INDEX_REGISTRY_URL"]
    order = {"offer_id": next(iter(shop.simulator.offers)), "ssh_public_key": shop.public_key, "resource_name": "x"}
    results, run = shop.tasks(
        *(
            {"compute_index.supply.procure_offer": {**order, **more}}
            for more in ({"registry_url": f"{url}&geheim={PASSWORD}"}, {"registry_url": url}, {})
        ),
        options=("-vvvv", "--diff"),
    )
    assert [each["outcome"] for each in results] == ["not_sent", "created", "existing"]
    assert "registry_url is not a PostgreSQL connection string. Nothing was sent." in results[0]["msg"]
    assert PASSWORD not in json.dumps(results) + run.said
