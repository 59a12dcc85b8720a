# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each job template runs by ansible-runner, with its survey's answers, its credentials and its inventory source."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

import postgresql
from conftest import ROOT, Controller, Job, MakeController, SyncFailed
from launcher import Request
from project import tool
from simulator import Fault, Offer

core = pytest.mark.core

LIMIT = {"order_max_price_per_hour": 4}
ORDER = {"order_names": "2", **LIMIT}
NOTES = "SELECT note FROM compute_index_supply.purchase"


def bought(controller: Controller) -> list[str]:
    """The ids of bought offers."""
    return [purchase.offer_id for purchase in controller.simulator.purchases]


def successful(job: Job) -> Job:
    """Return the job, which must have succeeded."""
    assert job.status == "successful", job.output
    return job


def test_variables_of_a_job_let_the_launcher_fork_its_commands(make_controller: MakeController) -> None:
    """Otherwise each command imports ansible-core anew, which takes most of the time of these tests."""
    (controller,) = make_controller("red")
    variables = {**os.environ, **controller.environment, **controller.credential, **controller.source_variables}
    commands = [Request([tool(name)], str(ROOT), variables) for name in ("ansible-inventory", "ansible-playbook")]
    assert [command.for_fork for command in commands] == [True, True]


@core
def test_workflow_buys_and_configures_the_approved_machines(make_controller: MakeController) -> None:
    controller = make_controller()
    seen: list[dict[str, Any]] = []

    def approve(artifacts: dict[str, Any]) -> bool:
        seen.append(artifacts)
        # A cheaper offer, which was not approved
        controller.simulator.add_offer(gpu_price_per_hour=1.0)
        return True

    quote, provision, configure = map(successful, controller.launch_workflow(ORDER, approve))

    quoted = seen[0]["quote"]
    assert bought(controller) and quote.artifacts == seen[0]
    assert sorted(bought(controller)) == sorted(host["offer_id"] for host in quoted["hosts"].values())
    assert sorted(host["price_per_hour"] for host in quoted["hosts"].values()) == [2.0, 2.5]
    assert quoted["price_per_hour"] == 4.5

    hosts = provision.artifacts["provision_hosts"]
    assert set(hosts) == {"gpu-1", "gpu-2"}
    assert set(provision.nodes) == {each for host in hosts.values() for each in host["resource_ids"]}
    assert quote.nodes == configure.nodes == {}
    for name, host in hosts.items():
        (resource_id,) = host["resource_ids"]
        address = controller.simulator.resources[resource_id].address
        assert address is not None
        assert (host["ansible_host"], host["ansible_port"], host["ansible_user"]) == ("127.0.0.1", address.port, "root")
        assert host["offer_id"] == quoted["hosts"][name]["offer_id"]
        assert host["price_per_hour"] == quoted["hosts"][name]["price_per_hour"]
        note = json.loads((controller.simulator.home(resource_id) / "compute_index_supply.json").read_text())
        assert note == {"host": name, "resource_ids": [resource_id]}

    for job in (quote, provision, configure):
        plan = job.artifacts.get("plan", "")
        assert len(json.dumps(job.artifacts)) - len(json.dumps(plan)) < 1000 and len(plan) < 1900
        assert controller.simulator.settings.token not in job.output + json.dumps(job.artifacts)


@core
def test_each_template_takes_the_answers_of_its_survey(make_controller: MakeController) -> None:
    controller = make_controller()
    order = {**ORDER, "order_names": " alice ", "order_gpu_count": "1", "order_region": "EU"}
    alice, ending = {"order_names": "alice"}, {"decommission_hosts": "alice"}

    check = successful(controller.launch("GPU provision (check)", order))
    assert ", USD 2.00/h" in check.text
    assert controller.simulator.purchases == []

    provision = successful(controller.launch("GPU provision", order))
    assert list(provision.artifacts["provision_hosts"]) == ["alice"]
    assert successful(controller.launch("GPU configure (check)", alice)).changed == 1

    controller.simulator.populate(1, gpu_price_per_hour=2.5)
    audit = controller.launch("GPU audit", {"audit_names": "alice", "audit_fail_on_orphans": "yes"})
    assert audit.status == "failed"
    assert [row["name"] for row in audit.artifacts["audit"]["claimed"]] == ["alice"]
    assert len(audit.artifacts["audit"]["orphans"]) == 1
    assert "1 orphan(s) cost USD 2.50 per hour" in audit.text

    assert "would end" in successful(controller.launch("GPU decommission (check)", ending)).output
    assert len(controller.simulator.billed) == 2
    ended = successful(controller.launch("GPU decommission", ending))
    assert list(ended.nodes) == provision.artifacts["provision_hosts"]["alice"]["resource_ids"]
    assert check.nodes == audit.nodes == {}
    assert "alice" not in [controller.simulator.resources[each].name for each in controller.simulator.billed]
    assert len(controller.simulator.billed) == 1


def test_answers_may_be_texts_and_empty_ones_do_not_count(make_controller: MakeController) -> None:
    controller = make_controller()
    questions = [question["variable"] for question in controller.surveys["order"]["spec"]]
    empty = {**dict.fromkeys(questions, ""), "order_region": None, "order_max_total_price_per_hour": None}
    texts = {
        "order_names": "1",
        "order_gpu_type": "H100 | A100",
        "order_gpu_count": "1",
        "order_max_price_per_hour": "2.0",
    }

    quote = successful(controller.run("GPU quote", {**empty, **texts}))

    assert quote.artifacts["quote"]["hosts"]["gpu-1"]["price_per_hour"] == 2.0
    (search,) = [request for request in controller.simulator.requests if request.path == "/get_offers"]
    # Without a contract type the order is not for spot machines, which the vendor may take away.
    compute = {"gpu_type": "H100 | A100", "gpu_count": 1, "contract_type": "ondemand"}
    assert yaml.safe_load(search.body) == {"compute": compute}


def test_ceiling_of_zero_counts(make_controller: MakeController) -> None:
    controller = make_controller()
    controller.inventory_variables["provision_max_price_per_hour"] = 4
    job = controller.launch("GPU provision", {**ORDER, "order_max_price_per_hour": 0})
    assert job.status == "failed"
    assert "none within order_max_price_per_hour (USD 0.00 per hour)" in job.text
    assert controller.simulator.purchases == []


def test_job_buys_only_the_approved_offers(make_controller: MakeController) -> None:
    controller = make_controller(offers=[Offer(gpu_price_per_hour=2.0) for _each in range(5)])
    fates = ("expired", "forgotten", "dearer", "sold", "mine")
    order = {**ORDER, "order_names": ",".join(fates), "order_gpu_type": "H100"}
    variables = {**successful(controller.run("GPU quote", order)).artifacts, **order}
    plan = json.loads(variables["plan"])
    ids = {name: host["offer_id"] for name, host in plan["hosts"].items()}
    offers = {name: controller.simulator.offers[ids[name]] for name in fates}
    # Another person had the same offer approved, and bought it first with the same token.
    controller.simulator.market.procure(ids["sold"], {"resource_name": "other"})
    offers["expired"].expires_at = offers["expired"].created_at
    del controller.simulator.offers[ids["forgotten"]]
    offers["dearer"].details_price = 2.01

    changes: dict[str, tuple[dict[str, Any], str]] = {
        "hosts": ({"order_names": f"{order['order_names']},unquoted"}, "this run is also for unquoted"),
        "ceiling": ({"provision_max_price_per_hour": 3}, "was 4.0 when it was quoted, and is 3.0 now"),
        "offer": ({"provision_offer_id": ids["mine"]}, "was the default when it was quoted"),
        "plan": ({"plan": json.dumps({**plan, "number": "7"})}, "it was changed since it was sealed"),
        "quote": ({"plan": ""}, "quote is not sealed, so it is not bought"),
        "key": ({"provision_docker": True}, "The plan was quoted with other user data (cloud_init)."),
    }
    for change, text in changes.values():
        job = controller.run("GPU provision", {**variables, **change})
        assert job.status == "failed" and text in job.text, job.output
    assert bought(controller) == [ids["sold"]]

    job = controller.run("GPU provision", variables)

    assert job.status == "failed"
    reasons = {
        "expired": "The offer has expired; search again. Nothing was bought.",
        "forgotten": f"{ids['forgotten']} answered 404: Offer not found. Nothing was bought.",
        "dearer": f"Offer {ids['dearer']} costs USD 2.01 per hour, which is not within the price in plan"
        f" {plan['number']} (USD 2.00 per hour). Nothing was bought.",
        "sold": f"Offer {ids['sold']} of sold is bought, but none of its machines is called sold:",
    }
    for host, reason in reasons.items():
        (failure,) = [line for line in job.output.splitlines() if f"fatal: [{host}]" in line]
        assert reason in failure and "Nothing was bought" in failure
        assert "Make a new quote." in failure, failure
    assert bought(controller) == [ids["sold"], ids["mine"]]
    assert list(job.artifacts["provision_hosts"]) == ["mine"]


def test_lost_job_and_second_launch_buy_once(make_controller: MakeController) -> None:
    controller = make_controller(procure_seconds=8)
    order: dict[str, Any] = {**ORDER, "order_names": "1", "order_gpu_type": "H100"}
    quote = successful(controller.run("GPU quote", order))

    lost = controller.run("GPU provision", {**quote.artifacts, **order}, cancel=lambda: bool(bought(controller)))

    assert lost.status == "canceled"
    assert lost.artifacts == {}
    again = successful(controller.relaunch(lost))
    assert list(again.artifacts["provision_hosts"]) == ["gpu-1"]

    # The workflow was launched twice. The second one waits for the first, since concurrent jobs are off.
    second = successful(controller.run("GPU quote", order))
    assert second.artifacts["quote"]["hosts"]["gpu-1"]["owned"] is True
    provision = successful(controller.run("GPU provision", {**second.artifacts, **order}))
    assert provision.changed == 0
    assert provision.artifacts == again.artifacts
    assert len(bought(controller)) == 1


def test_lost_job_with_a_search_buys_once(make_controller: MakeController) -> None:
    controller = make_controller(procure_seconds=8)
    lost = controller.run(
        "GPU provision",
        {**ORDER, "order_names": "1", "order_gpu_type": "H100"},
        cancel=lambda: bool(bought(controller)),
    )
    assert lost.status == "canceled"
    assert list(successful(controller.relaunch(lost)).artifacts["provision_hosts"]) == ["gpu-1"]
    assert len(bought(controller)) == 1


def test_failed_inventory_source_fails_the_job(make_controller: MakeController) -> None:
    controller = make_controller()
    controller.simulator.faults.append(Fault(method="GET", path="/resources", status=401, count=None))
    with pytest.raises(SyncFailed, match="401"):
        controller.launch("GPU audit")


def test_host_without_machine_is_not_configured(make_controller: MakeController) -> None:
    job = make_controller().launch("GPU configure", {"order_names": "unbought"})
    assert job.status == "failed"
    assert "unbought has no machine yet" in job.text


def test_workflow_without_an_offer_ends(make_controller: MakeController) -> None:
    controller = make_controller(offers=[Offer(gpu_price_per_hour=9.0)])
    (job,) = controller.launch_workflow({**ORDER, "order_names": "1"})
    assert job.status == "failed"
    assert job.artifacts["quote"]["hosts"]["gpu-1"]["refusal"]
    assert controller.simulator.purchases == []


def test_jobs_with_a_shared_registry_buy_once(make_controller: MakeController, registry: str) -> None:
    """A job is launched twice while the purchase is under way and not visible; a third one follows later."""
    controller = make_controller(procure_seconds=4, purchase_at="end")
    controller.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
    with ThreadPoolExecutor() as pool:
        jobs = list(pool.map(lambda _number: controller.launch("GPU provision", ORDER), range(2)))
    jobs.append(controller.launch("GPU provision", ORDER))
    for job in jobs:
        successful(job)
        assert set(job.artifacts["provision_hosts"]) == {"gpu-1", "gpu-2"}
    assert len(bought(controller)) == 2
    audit = successful(controller.launch("GPU audit", {"audit_fail_on_orphans": "yes"}))
    assert audit.artifacts["audit"]["orphans"] == []
    successful(controller.launch("GPU decommission", {"decommission_hosts": "gpu-1,gpu-2"}))
    assert controller.simulator.billed == []
    assert "FAILED - RETRYING" not in jobs[2].output


def buy_with_a_lease(controller: Controller) -> None:
    """Buy two machines for eight hours, by answers of the survey."""
    job = successful(controller.launch("GPU provision", {**ORDER, "order_lease": "8h", "order_max_bill": 20}))
    assert all(bool(host["ends_at"]) for host in job.artifacts["provision_hosts"].values())


def test_scheduled_job_ends_the_lease_of_a_survey(make_controller: MakeController, registry: str) -> None:
    controller = make_controller()
    controller.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
    too_dear = controller.launch("GPU quote", {**ORDER, "order_lease": "8h", "order_max_bill": 15})
    assert too_dear.status == "failed" and "with the lease 8h" in too_dear.text, too_dear.output
    buy_with_a_lease(controller)
    more = controller.run("GPU extend", {"extend_hosts": "gpu-2", "extend_by": "4h", "awx_job_id": 7})
    assert "USD more in total: 10.00" in successful(more).text
    postgresql.age(registry, 9)
    assert successful(controller.launch("GPU reap")).artifacts["reap"]["over"][0]["host"] == "gpu-1"
    assert [controller.simulator.resources[each].name for each in controller.simulator.billed] == ["gpu-2"]
    postgresql.age(registry, 4)
    successful(controller.launch("GPU reap"))
    assert controller.simulator.billed == []


def test_lease_of_a_survey_needs_a_registry(make_controller: MakeController) -> None:
    controller = make_controller()
    buy_with_a_lease(controller)
    controller.simulator.settings.clock_ahead = 9 * 3600
    clock = Path(__file__).resolve().parents[1] / "clock"
    controller.environment["PYTHONPATH"] = f"{clock}{os.pathsep}{os.environ['PYTHONPATH']}"
    controller.environment["SUPPLY_CLOCK_AHEAD"] = str(9 * 3600)
    successful(controller.launch("GPU reap"))
    assert len(controller.simulator.billed) == 2


def test_order_covers_no_hosts_of_earlier_jobs_in_the_workflow(make_controller: MakeController) -> None:
    """Each job gets the artifacts of all earlier ones, which may be for another order."""
    controller = make_controller()
    first = successful(controller.launch("GPU provision", {**ORDER, "order_names": "alice"}))
    second = {**first.artifacts, **LIMIT, "order_names": "bob", "order_gpu_type": "H100"}
    job = successful(controller.run("GPU provision", second))
    assert list(job.artifacts["provision_hosts"]) == ["bob"] and len(bought(controller)) == 2
    configured = successful(controller.run("GPU configure", {**first.artifacts, "order_names": "bob"}))
    assert "Configured: bob" in configured.text and "alice" not in configured.output


def test_registry_beats_artifacts_of_an_earlier_job(make_controller: MakeController, registry: str) -> None:
    """The machine has ended since, and another one may have its address."""
    controller = make_controller()
    controller.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
    order = {**ORDER, "order_names": "alice"}
    first = successful(controller.launch("GPU provision", order))
    successful(controller.launch("GPU decommission", {"decommission_hosts": "alice"}))
    ended = controller.run("GPU configure", first.artifacts)
    assert ended.status == "failed" and "alice has no machine yet" in ended.text, ended.output
    successful(controller.launch("GPU provision", order))
    successful(controller.run("GPU configure", first.artifacts))
    (resource_id,) = controller.simulator.billed
    assert (controller.simulator.home(resource_id) / "compute_index_supply.json").exists()


def test_registry_beats_an_inventory_that_is_older(
    make_controller: MakeController, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine ended after the inventory's update, and another one may have its address."""
    controller = make_controller()
    controller.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
    order = {**ORDER, "order_names": "alice"}
    successful(controller.launch("GPU provision", order))
    update = controller._update_inventory

    def end_after_update(folder: Path) -> None:
        update(folder)
        with monkeypatch.context() as patch:
            patch.setattr(controller, "_update_inventory", update)
            successful(controller.launch("GPU decommission", {"decommission_hosts": "alice"}))
            if len(bought(controller)) == 2:
                successful(controller.launch("GPU provision", order))

    monkeypatch.setattr(controller, "_update_inventory", end_after_update)
    ended = controller.launch("GPU configure", {"order_names": "alice"})
    assert ended.status == "failed" and "alice has no machine yet" in ended.text, ended.output
    monkeypatch.setattr(controller, "_update_inventory", update)
    successful(controller.launch("GPU provision", order))
    monkeypatch.setattr(controller, "_update_inventory", end_after_update)
    successful(controller.launch("GPU configure", {"order_names": "alice"}))
    (resource_id,) = controller.simulator.billed
    assert len(bought(controller)) == 3
    assert (controller.simulator.home(resource_id) / "compute_index_supply.json").exists()


def test_slice_of_a_job_orders_nothing(make_controller: MakeController) -> None:
    controller = make_controller()
    slice_of = {"awx_job_template_name": "GPU provision", "awx_workflow_job_name": "GPU provision"}
    job = controller.run("GPU provision", {"order_names": "6", "order_max_price_per_hour": 4, **slice_of})
    assert (job.status, controller.simulator.purchases) == ("failed", [])
    assert "each slice would order all named hosts" in job.text


def test_job_without_a_lasting_registry_buys_nothing_with_a_lease(make_controller: MakeController) -> None:
    """The inventory lacks the variables of the set-up, so the registry's files would be gone after the job."""
    controller = make_controller()
    folder = controller.inventory_variables.pop("provision_registry_dir")
    for template in ("GPU quote", "GPU provision"):  # the quote refuses as well
        job = controller.launch(template, {**ORDER, "order_lease": "8h"})
        assert (job.status, controller.simulator.purchases) == ("failed", [])
        assert "nothing would remember the machine, or end its lease" in job.text
    controller.inventory_variables["provision_registry_dir"] = folder
    successful(controller.launch("GPU provision", ORDER))


@pytest.mark.parametrize("template", ["GPU provision", "GPU reap", "GPU decommission"])
def test_limit_without_hosts_fails(make_controller: MakeController, template: str) -> None:
    """AWX sets such a limit in a relaunch for failed hosts if none of them has a machine."""
    controller = make_controller()
    mode = controller._mode
    controller._mode = lambda definition: [*mode(definition), "--limit", "gpu-1"]
    job = controller.run(template, {**ORDER, "decommission_hosts": "gpu-1", "awx_job_id": 7})
    assert (job.status, controller.simulator.purchases) == ("failed", [])
    assert "relaunch for all hosts" in job.text, job.output


def test_slice_of_a_job_extends_nothing(make_controller: MakeController, registry: str) -> None:
    """Each slice would give all named hosts the time again."""
    controller = make_controller()
    slice_of = {"awx_job_template_name": "GPU extend", "awx_workflow_job_name": "GPU extend"}
    controller.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
    successful(controller.launch("GPU provision", {**ORDER, "order_lease": "8h"}))
    order = {"extend_hosts": "gpu-1,gpu-2", "extend_by": "4h"}
    refused = controller.run("GPU extend", {**order, **slice_of})
    assert refused.status == "failed"
    assert "Each slice would count only its own hosts" in refused.text
    extended = successful(controller.run("GPU extend", order))
    ends = [note["provision_ends_at"] for (note,) in postgresql.execute(registry, NOTES)]
    assert extended.changed == 1 and all(f"{end[:10]} {end[11:16]}" in extended.text for end in ends)
    assert "USD more in total: 18.00" in extended.text


def test_job_ends_a_group_only_with_its_exact_size(make_controller: MakeController) -> None:
    controller = make_controller()
    successful(controller.launch("GPU provision", ORDER))
    launched = {"awx_job_id": 7}
    refused = controller.run("GPU decommission", {"decommission_hosts": "supply", **launched})
    assert (refused.status, len(controller.simulator.billed)) == ("failed", 2)
    assert "give decommission_count=2" in refused.text, refused.text
    wrong = controller.run("GPU decommission", {"decommission_hosts": "gpu-*", "decommission_count": "3", **launched})
    assert (wrong.status, len(controller.simulator.billed)) == ("failed", 2)
    # Each slice would have the expected size.
    slice_of = {**launched, "awx_job_template_name": "GPU end", "awx_workflow_job_name": "GPU end"}
    sliced = controller.run("GPU decommission", {"decommission_hosts": "gpu-*", "decommission_count": "2", **slice_of})
    assert (sliced.status, len(controller.simulator.billed)) == ("failed", 2), sliced.output
    assert "Each slice would count only its own hosts" in sliced.text
    successful(
        controller.run("GPU decommission", {"decommission_hosts": "supply", "decommission_count": "2", **launched})
    )
    assert controller.simulator.billed == []


def test_output_of_a_job_is_short(make_controller: MakeController) -> None:
    """The lines of a job's page, including the recap, are few, and have the price and the logins."""
    controller = make_controller(offers=[Offer() for _each in range(11)])
    for names, count, most in (("10", 10, 115), ("alice", 1, 50)):
        job = successful(controller.launch("GPU provision", {**ORDER, "order_names": names}))
        plain = re.sub(r"\x1b\[[0-9;]*m", "", job.output)
        lines = len(plain.splitlines())
        assert lines <= most, f"{lines} lines:\n{plain}"
        assert "FAILED - RETRYING" not in job.output
        assert f"{2.5 * count:.2f}" in plain and len(re.findall("ssh -p .* root@", plain)) == count


def test_check_mode_prints_few_lines_for_a_pattern_of_names(make_controller: MakeController) -> None:
    controller = make_controller(offers=[Offer() for _each in range(21)])
    job = successful(controller.launch("GPU provision (check)", {**ORDER, "order_names": "b-[01:20]"}))
    assert all(f"b-{number:02}" in job.text for number in range(1, 21))
    assert controller.simulator.purchases == []
    assert len(job.output.splitlines()) <= 3 * 20 + 60, job.output

    successful(controller.launch("GPU provision", {**ORDER, "order_names": "b-[01:02]\nb-03"}))
    ending = successful(controller.launch("GPU decommission", {"decommission_hosts": "b-[01:02]\nb-03"}))
    assert controller.simulator.billed == [], ending.output


LAUNCHED = {"awx_job_id": 7, "awx_job_template_name": "GPU provision"}


def test_failure_names_the_variables_of_the_survey(make_controller: MakeController) -> None:
    controller = make_controller(offers=[Offer(gpu_price_per_hour=9.0)])
    dear = controller.run("GPU provision", {"order_names": "1", "order_gpu_type": "H100", **LIMIT, **LAUNCHED})
    assert dear.status == "failed"
    assert "none within order_max_price_per_hour (USD 4.00 per hour)" in dear.text
    assert "provision_max" not in dear.output


def test_failed_machine_must_end_before_the_next_purchase(make_controller: MakeController) -> None:
    """The advice in the message works."""
    controller = make_controller(offers=[Offer(outcome="fails")])
    order = {"order_names": "1", "order_gpu_type": "H100", **LIMIT, **LAUNCHED}
    way = "End it with compute_index.supply.decommission -e decommission_hosts=gpu-1; then run again for another one."
    for _launched in range(2):
        failed = controller.run("GPU provision", order)
        assert failed.status == "failed"
        assert "may be billed at USD 2.50 per hour" in failed.text and way in failed.text
    controller.simulator.add_offer(gpu_price_per_hour=2.0)
    successful(controller.run("GPU decommission", {"decommission_hosts": "gpu-1", **LAUNCHED}))
    assert controller.simulator.billed == []
    again = successful(controller.run("GPU provision", order))
    assert list(again.artifacts["provision_hosts"]) == ["gpu-1"]
    assert len(controller.simulator.billed) == 1


def test_quote_names_the_time_limit_for_its_approval(make_controller: MakeController) -> None:
    controller = make_controller()
    quote = successful(controller.launch("GPU quote", ORDER))
    first = min(host["expires_at"] for host in quote.artifacts["quote"]["hosts"].values())
    assert f"Buy them until {first[:10]} {first[11:16]} UTC: compute_index.supply.provision" in quote.text
    successful(controller.launch("GPU provision", ORDER))
    assert "Buy them" not in successful(controller.launch("GPU quote", ORDER)).text


@pytest.mark.parametrize("key", ["another", "none"])
def test_job_that_could_not_log_in_buys_nothing(make_controller: MakeController, key: str) -> None:
    controller = make_controller()
    if key == "none":
        controller.templates["GPU provision"] = {**controller.templates["GPU provision"], "ssh": False}
    else:
        controller.inventory_variables["provision_ssh_public_key"] = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="
    order = {"order_names": "2", "order_gpu_type": "H100", **LIMIT, **LAUNCHED}
    job = controller.run("GPU provision", order)
    assert (job.status, controller.simulator.purchases) == ("failed", [])
    assert "This job cannot log in to the machines that it would buy" in job.text
    assert "Could not open a connection to your authentication agent" in job.text or key == "another"
    controller.inventory_variables["provision_reach"] = False
    if key == "none":
        successful(controller.run("GPU provision", order))


def test_job_without_the_key_does_not_wait_for_the_purchase_of_another(
    make_controller: MakeController, registry: str
) -> None:
    """It reports the other job's purchase and the wrong key at once, not after minutes of failed logins."""
    controller = make_controller(provision_seconds=20)
    order = {"order_names": "1", "order_gpu_type": "H100", **LIMIT, **LAUNCHED}
    with ThreadPoolExecutor() as pool:
        controller.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
        first = pool.submit(controller.run, "GPU provision", order)
        while not postgresql.execute(registry, "SELECT to_regclass('compute_index_supply.purchase')")[0][0]:
            assert not first.done()
            time.sleep(0.2)
        while not postgresql.execute(registry, "SELECT 1 FROM compute_index_supply.purchase WHERE state <> 'buying'"):
            assert not first.done(), first.result().output
            time.sleep(0.2)
        key = controller.inventory_variables["provision_ssh_public_key"]
        controller.inventory_variables["provision_ssh_public_key"] = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="
        second = controller.run("GPU provision", order)
        controller.inventory_variables["provision_ssh_public_key"] = key
        successful(first.result())
    assert second.status == "failed" and len(bought(controller)) == 1
    assert "Another run is buying or has bought the machine of gpu-1: offer" in second.text, second.text
    assert "This job cannot log in to the machines that it would buy" in second.text
    assert "Reach" not in second.output


@core
def test_no_job_uses_a_machine_with_another_host_key(
    make_controller: MakeController, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWX turns off the check of host keys, and updates the inventory in another container than the job's."""
    controller = make_controller()
    controller.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
    successful(controller.launch("GPU provision", {**ORDER, "order_names": "alice"}))
    (resource_id,) = controller.simulator.billed
    other = " ".join(controller.inventory_variables["provision_ssh_public_key"].split()[:2])
    keys = json.dumps({"provision_host_keys": [f"{resource_id} {other}"]})
    postgresql.execute(registry, "UPDATE compute_index_supply.purchase SET note = note || %(keys)s", {"keys": keys})
    # A shared connection that is still open would not check the key again.
    controller.environment["ANSIBLE_SSH_ARGS"] = "-o ControlPath=none"
    update = controller._update_inventory

    def update_elsewhere(folder: Path) -> None:
        update(folder)
        shutil.rmtree(Path(controller.environment["ANSIBLE_HOME"], "compute_index_supply"))

    monkeypatch.setattr(controller, "_update_inventory", update_elsewhere)
    again = controller.launch("GPU provision", {**ORDER, "order_names": "alice"})
    assert again.status == "failed" and "another host key than the one pinned in" in again.text, again.output
    for template in ("GPU configure", "GPU verify"):
        assert controller.launch(template, {"order_names": "alice"}).status == "failed"
    assert not (controller.simulator.home(resource_id) / "compute_index_supply.json").exists()


@core
def test_project_can_contain_the_collection(
    make_controller: MakeController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Galaxy: there are no requirements, and the collection is nowhere else."""
    controller = make_controller()
    controller.source = tmp_path / "source"
    shutil.copytree(ROOT / "awx" / "project", controller.source)
    (controller.source / "collections" / "requirements.yml").unlink()
    for part in ("meta", "playbooks", "plugins", "roles", "galaxy.yml"):
        target = controller.source / "collections" / "ansible_collections" / "compute_index" / "supply" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, target)
    monkeypatch.delenv("ANSIBLE_COLLECTIONS_PATH")
    elsewhere = [
        each for each in os.environ["PYTHONPATH"].split(os.pathsep) if not Path(each, "ansible_collections").exists()
    ]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(elsewhere))

    successful(controller.launch("GPU provision", {"order_names": "1", **LIMIT}))
    assert len(bought(controller)) == 1
