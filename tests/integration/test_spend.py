# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `spend`: a ledger without gaps, even after kills, that never shows less than the bill. And budgets."""

from __future__ import annotations

import datetime
import json
import random
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from conftest import PROCURE, MakeProject, Project, Run, core
from plays import kill
from project import extra
from simulator import Offer

FIRST = "Upper bounds in USD, from before each purchase to its confirmed end."


def spend(project: Project, **variables: Any) -> tuple[dict[str, Any], Run]:
    """Run the playbook, and return what it publishes, and the run.

    Assert that it needs no token, changes nothing, and shows each purchase with at least its bill.
    """
    billed = project.simulator.bill
    environment = {"ANSIBLE_SHOW_CUSTOM_STATS": "1", "COMPUTE_INDEX_API_TOKEN": ""}
    run = project.play("compute_index.supply.spend", *extra(variables), **environment)
    assert (run.returncode, run.changed) == (0, 0), run.output
    stats = re.search(r"RUN: (\{.*\})", run.output, re.DOTALL)
    assert stats, run.output
    published = json.loads(stats[1])["spend"]
    shown = {each["offer_id"]: each["usd"] for each in published["purchases"]}
    assert billed == {offer_id: min(usd, shown[offer_id]) for offer_id, usd in billed.items()}
    assert published["usd"] == pytest.approx(sum(shown.values()), abs=1e-5)
    return published, run


def lines(run: Run) -> list[str]:
    """The lines of a play's messages."""
    return [json.loads(each.rstrip(",")) for each in re.findall(r'^ {8}(".*)$', run.output, re.MULTILINE)]


def decommission(project: Project, hosts: str) -> Run:
    return project.play("compute_index.supply.decommission", "-e", f"decommission_hosts={hosts}")


@pytest.fixture(params=["files", "shared"])
def fleet(request: pytest.FixtureRequest, make_project: MakeProject) -> Project:
    """A project with three hosts, with each kind of registry; without SSH."""
    project = make_project([Offer() for _number in range(8)], provision_seconds=0)
    url = request.getfixturevalue("registry") if request.param == "shared" else ""
    project.declare(["gpu-1", "gpu-2", "gpu-3"], provision_reach=False, provision_registry_url=url)
    return project


@pytest.mark.first
@pytest.mark.parametrize("fleet", [pytest.param("files", marks=core), "shared"], indirect=True)
def test_spend_covers_purchases_from_begin_to_end(fleet: Project) -> None:
    nothing, _run = spend(fleet)
    assert (nothing["usd"], nothing["purchases"]) == (0.0, [])
    assert fleet.provision("--limit", "gpu-1,gpu-2").returncode == 0

    sent = len(fleet.simulator.requests)
    published, run = spend(fleet)
    assert len(fleet.simulator.requests) == sent, "the registry has it all"
    assert published["price_per_hour"] == 5.0 and published["since"] is None
    assert set(published["hosts"]) == {"gpu-1", "gpu-2"} and published["groups"]["gpu"]["purchases"] == 2
    assert list(published["months"]) == [next(iter(published["days"]))[:7]]
    printed = lines(run)
    assert "USD in total: 0.0" in run.output and printed[0] == FIRST and max(map(len, printed)) <= 69

    run = decommission(fleet, "gpu-1")
    assert run.returncode == 0 and ", USD 0.0" in run.text, run.output
    audit = fleet.play("compute_index.supply.audit")
    assert "USD so far: 0.0" in audit.text, audit.output
    assert max(map(len, lines(audit))) <= 80
    published, _run = spend(fleet, spend_since="1h")
    first, second = sorted(published["purchases"], key=lambda each: str(each["host"]))
    assert (first["why"], second["why"], second["end"]) == ("decommissioned", "", None)
    assert 0 < first["usd"] < 2.5 / 60
    assert published["hosts"]["gpu-1"]["price_per_hour"] == 0.0 and published["price_per_hour"] == 2.5

    assert fleet.provision().returncode == 0
    published, _run = spend(fleet)
    assert len(published["purchases"]) == 4 and published["hosts"]["gpu-1"]["purchases"] == 2


@pytest.mark.parametrize(
    ("since", "message"),
    [
        ("30 days", "spend_since must be a date, an ISO 8601 time or a duration such as 30d, not '30 days'"),
        ("2026-02-30", "spend_since must be a date"),
        ("2999-01-01", "spend_since must lie in the past"),
    ],
)
def test_invalid_spend_since_is_refused(project: Project, since: str, message: str) -> None:
    run = project.play("compute_index.supply.spend", *extra({"spend_since": since}))
    assert run.returncode == 2 and message in run.failure("localhost"), run.output
    assert project.simulator.requests == []


def test_spend_needs_a_registry_and_refuses_limit(project: Project) -> None:
    run = project.play("compute_index.supply.spend", "-e", '{"provision_registry_dir": ""}')
    assert run.returncode == 2 and "Only a registry knows what was spent" in run.failure("localhost")
    run = project.play("compute_index.supply.spend", "--limit", "gpu-1")
    assert run.returncode == 2 and "leave --limit out" in run.text


def test_long_host_names_fit_the_table(project: Project) -> None:
    host = "a-very-long-name-of-a-host-of-the-training-cluster-number-0000001.example.com"
    project.declare([host], provision_reach=False, provision_resource_name="short")
    assert project.provision().returncode == 0
    published, run = spend(project)
    assert list(published["hosts"]) == [host]
    assert max(map(len, lines(run))) <= 80


def test_purchase_without_an_entry_counts_until_its_end_is_noted(project: Project) -> None:
    project.declare(["gpu-1"], provision_reach=False)
    assert project.provision().returncode == 0
    project.registry_file("gpu-1").unlink()
    project.simulator.vanish(next(iter(project.simulator.resources)))
    published, run = spend(project)
    (purchase,) = published["purchases"]
    assert not purchase["registered"] and purchase["end"] is None
    assert "no end was noted, so it counts up to now" in run.text
    ledger = project.folder / "host_vars" / ".compute_index_supply.ledger"
    end = datetime.datetime.now(datetime.timezone.utc).isoformat()
    line = {"event": "ended", "at": end, "host": "gpu-1", "offer_id": purchase["offer_id"]}
    with ledger.open("a") as file:
        file.write(json.dumps(line) + "\n")
    published, run = spend(project)
    assert published["purchases"][0]["end"] and "no end was noted" not in run.text


def test_entry_without_a_ledger_counts_from_its_journal(project: Project) -> None:
    project.declare(["gpu-1"], provision_reach=False)
    assert project.provision().returncode == 0
    (project.folder / "host_vars" / ".compute_index_supply.ledger").unlink()
    entry = project.registry("gpu-1")
    assert entry is not None
    entry["provision_journaled_at"] = "2026-01-01T00:00:00Z"
    project.registry_file("gpu-1").write_text(yaml.safe_dump(entry))
    published, _run = spend(project)
    assert published["purchases"][0]["begin"] == "2026-01-01T00:00:00Z"
    assert decommission(project, "gpu-1").returncode == 0
    published, _run = spend(project)
    assert published["purchases"][0]["begin"] == "2026-01-01T00:00:00Z" and published["purchases"][0]["end"]


def test_adopted_machine_counts_from_its_purchase(project: Project) -> None:
    offer_id = next(iter(project.simulator.offers))
    bought = project.simulator.market.procure(offer_id, {"ssh_public_key": "", "resource_name": "gpu-1"})
    assert bought is not None
    bought.provision_seconds = 0
    bought.time -= datetime.timedelta(hours=3)
    project.declare(["gpu-1"], provision_reach=False, provision_adopt=True, provision_poll_retries=1)
    project.provision()
    published, _run = spend(project)
    assert 7.5 < published["purchases"][0]["usd"] < 8


def test_released_machine_counts_until_its_end(make_project: MakeProject) -> None:
    project = make_project([Offer(outcome="fails"), Offer(outcome="taken", gpu_price_per_hour=2.6)])
    project.declare(["gpu-1"], provision_reach=False, provision_on_failure="release")
    project.provision()
    published, _run = spend(project)
    (purchase,) = published["purchases"]
    assert purchase["why"] == "released" and purchase["usd"] > 0


@pytest.mark.parametrize("number", range(4))
def test_ledger_misses_nothing_after_a_kill(make_project: MakeProject, number: int) -> None:
    project = make_project(procure_seconds=0.3, provision_seconds=0.5)
    project.declare(["gpu-1"], provision_reach=False)
    dice = random.Random(number)
    due = [
        lambda: project.requests(*PROCURE) == 1,
        lambda: bool(project.simulator.purchases),
        lambda: project.requests("GET", "/offers/.*/status") > 1,
        lambda: project.registry("gpu-1") is not None,
    ][number]
    kill(project, dice.choice([signal.SIGKILL, signal.SIGTERM]), due)
    published, _run = spend(project)
    assert project.provision().returncode == 0
    published, _run = spend(project)
    assert len(published["purchases"]) == len(project.simulator.purchases) == 1


def test_concurrent_plays_lose_no_line_of_the_ledger(fleet: Project) -> None:
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda host: fleet.provision("--limit", host), ["gpu-1", "gpu-2", "gpu-3"]))
    assert [run.returncode for run in runs] == [0, 0, 0], "".join(run.output for run in runs)
    published, _run = spend(fleet)
    assert len(published["purchases"]) == 3
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda host: decommission(fleet, host), ["gpu-1", "gpu-2", "gpu-3"]))
    assert [run.returncode for run in runs] == [0, 0, 0], "".join(run.output for run in runs)
    published, _run = spend(fleet)
    assert [each["why"] for each in published["purchases"]] == ["decommissioned"] * 3


# Ceilings and budgets


def buy_by_hand(project: Project, name: str) -> float:
    """Buy a machine on the account without a registry, as another user would. Return its price in USD per hour."""
    offer = next(each for each in project.simulator.offers.values() if each.purchase is None)
    assert project.simulator.market.procure(offer.offer_id, {"ssh_public_key": "", "resource_name": name})
    return offer.total_price(offer.gpu_price_per_hour) or 0.0


def test_account_ceiling_counts_all_machines_of_the_account(fleet: Project) -> None:
    buy_by_hand(fleet, "of-somebody-else")
    run = fleet.provision(provision_max_account_price_per_hour=9.99)
    assert run.returncode == 2 and fleet.requests(*PROCURE) == 0
    message = "All machines of the account would cost USD 10.00 per hour together, of which USD 2.50 per hour are live"
    assert message in run.text, run.output
    run = fleet.provision(provision_max_account_price_per_hour=10)
    assert run.returncode == 0, run.output
    assert len(fleet.simulator.purchases) == 4
    again = fleet.provision(provision_max_account_price_per_hour=1)
    assert (again.returncode, again.changed) == (0, 0), "hosts with a machine need no further price"


def test_purchase_checks_the_account_ceiling_again(project: Project) -> None:
    """Machines that others have bought since the plan also count."""
    buy_by_hand(project, "of-somebody-else")
    offer_id = next(key for key, each in project.simulator.offers.items() if each.purchase is None)
    options = {"offer_id": offer_id, "ssh_public_key": project.public_key, "resource_name": "gpu-1"}
    tasks = [
        {"compute_index.supply.procure_offer": {**options, "max_account_price_per_hour": most}} for most in (4.49, 4.5)
    ]
    (above, below), _run = project.tasks(*tasks)
    assert above["failed"] and above["error_class"] == "price" and above["outcome"] == "not_sent"
    assert "all machines of the account would cost USD 4.50 per hour together" in above["msg"]
    assert below["outcome"] == "created"


@pytest.mark.first
def test_concurrent_plays_stay_below_the_account_ceiling(make_project: MakeProject, registry: str) -> None:
    """With a shared registry, sums are checked and claims are made under one lock."""
    project = make_project([Offer() for _number in range(8)], provision_seconds=0, procure_seconds=1)
    hosts = ["gpu-1", "gpu-2", "gpu-3", "gpu-4"]
    project.declare(hosts, provision_reach=False, provision_registry_url=registry)
    buy_by_hand(project, "of-somebody-else")
    with ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(lambda host: project.provision("--limit", host, provision_max_account_price_per_hour=7.5), hosts)
        )
    assert sorted(run.returncode for run in runs) == [0, 0, 2, 2], [run.output for run in runs]
    assert len(project.simulator.purchases) == 3


def test_budget_limits_the_project_in_the_month(fleet: Project) -> None:
    run = fleet.provision(provision_budget=0.4, provision_lease="4m")
    assert run.returncode == 2 and fleet.requests(*PROCURE) == 0
    assert "Project default would cost USD 0.5" in run.text, run.output
    assert "provision_budget is USD 0.40. Counted: gpu-[1:3] 3 x USD 0.1" in run.text
    run = fleet.provision(provision_budget=0.55, provision_lease="4m")
    assert run.returncode == 0, run.output
    published, _run = spend(fleet)
    assert published["usd"] < 0.1
    assert decommission(fleet, "gpu-1").returncode == 0
    run = fleet.provision(provision_budget=0.4, provision_lease="4m")
    assert run.returncode == 2 and " for what runs and 0.1" in run.text, run.output
    assert fleet.provision(provision_budget=1, provision_lease="4m").returncode == 0


def test_budget_covers_the_registry_folders_of_all_hosts(project: Project) -> None:
    folder = "{{ inventory_hostname }}/registry"
    project.declare(["gpu-1", "gpu-2"], provision_reach=False, provision_registry_dir=folder, provision_lease="4m")
    both = project.provision(provision_budget=0.25)
    assert both.returncode == 2 and project.requests(*PROCURE) == 0, both.output
    assert project.provision("--limit", "gpu-1", provision_budget=0.25).returncode == 0
    run = project.provision("--limit", "gpu-2", provision_budget=0.25)
    assert run.returncode == 2 and "for what runs and 0.1" in run.text, run.output


def test_budget_without_a_lease_counts_the_rest_of_the_month(project: Project) -> None:
    project.declare(["gpu-1"], provision_reach=False, provision_budget=0.01)
    run = project.provision()
    assert run.returncode == 2 and project.requests(*PROCURE) == 0
    assert "Project default would cost USD" in run.text and "for what would be bought" in run.text
    quote = project.play("compute_index.supply.quote")
    assert quote.returncode == 2 and "provision_budget is USD 0.01" in quote.text


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"provision_budget": 100, "provision_registry_dir": ""}, "provision_budget needs a registry"),
        ({"provision_budget": "100 USD"}, "provision_budget must be a number (USD a month)"),
        ({"provision_max_account_price_per_hour": "10/h"}, "provision_max_account_price_per_hour must be a number"),
        ({"provision_max_acount_price_per_hour": 10}, "Did you mean provision_max_account_price_per_hour?"),
    ],
    ids=str,
)
def test_invalid_ceiling_sends_nothing(project: Project, variables: dict[str, Any], message: str) -> None:
    run = project.provision(**variables)
    assert run.returncode == 2 and message in run.text, run.output
    assert project.simulator.requests == []


def test_ledger_moves_into_a_shared_registry(project: Project, registry: str) -> None:
    project.simulator.settings.keeps_name = False
    project.declare(["gpu-1"], provision_reach=False)
    assert project.provision().returncode == decommission(project, "gpu-1").returncode == 0
    assert project.provision().returncode == 0
    before = spend(project)[0]["purchases"]
    assert [each["why"] for each in before] == ["decommissioned", ""]
    words = ("compute_index.supply.registry", *extra({"provision_registry_url": registry}))
    planned, moved, again = project.play(*words, "--check"), project.play(*words), project.play(*words)
    assert "1 purchase that had ended would be added to the shared ledger" in planned.text, planned.output
    assert (moved.returncode, moved.changed) == (0, 1) and "ended was added to the shared ledger" in moved.text, (
        moved.output
    )
    assert (again.returncode, again.changed) == (0, 0) and "ended" not in again.text, again.output
    published, _run = spend(project, provision_registry_url=registry)
    ended, running = published["purchases"]
    assert ended == before[0], "a month's budget counts it"
    assert (running["begin"], running["end"]) == (before[1]["begin"], None)
    assert running["price_per_hour"] == before[1]["price_per_hour"]
    ledger = (project.folder / "host_vars" / ".compute_index_supply.ledger").read_text().splitlines()
    assert json.loads(ledger[-1])["why"] == "moved"
    # Runs without the registry's URL do not know the machine, whose name may not tell whose it is.
    report = project.play("compute_index.supply.spend", *extra({"spend_since": "1s"}))
    assert report.returncode == 2 and "Not counted: what gpu-1 cost since the move" in report.text, report.output
    for run in (project.provision(), decommission(project, "gpu-1")):
        assert run.returncode == 2 and "gpu-1: moved into a shared registry" in run.failure("gpu-1"), run.output
    assert len(project.simulator.purchases) == 2 and len(project.simulator.billed) == 1
