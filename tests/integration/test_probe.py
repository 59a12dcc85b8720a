# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `probe`: what it prints, publishes and records, with and without a purchase."""

from __future__ import annotations

import json
import os
import re
import signal
from functools import partial
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._probe.assumptions import ASSUMPTIONS

from conftest import PROCURE, MakeProject, Project, Run, core
from limits import until
from simulator import Fault, Offer
from simulator.like import switches

HOST = "supply-probe"
IDS = [each.id for each in ASSUMPTIONS]
OF_PURCHASE = IDS[IDS.index("post-time") :]
BUY = ("-e", "probe_buy=true", "-e", "probe_max_usd=2", "-e", "provision_poll_delay=1")


def probe_without_purchase(project: Project, *words: str) -> tuple[dict[str, Any], list[str], Run]:
    """Run the probe as `run_probe` does, and assert that it sends nothing but reads and searches."""
    before = len(project.simulator.requests)
    published, lines, run = run_probe(project, *words)
    sent = project.simulator.requests[before:]
    assert {(each.method, each.path) for each in sent if each.method != "GET"} <= {("POST", "/get_offers")}
    return published, lines, run


def run_probe(project: Project, *words: str, **environment: str) -> tuple[dict[str, Any], list[str], Run]:
    """Run the probe, which may buy. Return what it publishes, the lines that it prints for people, and the run."""
    run = project.play("compute_index.supply.probe", *words, ANSIBLE_SHOW_CUSTOM_STATS="1", **environment)
    stats = re.search(r"RUN: (\{.*\})", run.output, re.DOTALL)
    last = run.output.rpartition("TASK [Show what was found]")[2]
    lines = [json.loads(each.rstrip(",")) for each in re.findall(r'^ {8}(".*)$', last, re.MULTILINE)]
    return json.loads(stats[1])["probe"] if stats else {}, lines, run


def states(project: Project) -> list[str]:
    """The states of all machines that were ever bought."""
    now = project.simulator.market.clock()
    return [each.status_at(now) for each in project.simulator.resources.values()]


@pytest.mark.first
@core
def test_probe_reports_and_records_what_the_api_does(make_project: MakeProject) -> None:
    settings = {"vocabulary": "B", "list_envelope": "items", "deleted_readable": False, "auth_failure_status": 403}
    project = make_project([Offer() for _number in range(4)], provision_seconds=0, **settings)
    project.declare(["gpu-1", "gpu-2"], provision_reach=False)
    assert project.provision().returncode == 0
    ended = project.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-2")
    assert ended.returncode == 0, ended.output
    file = project.folder / "recording.json"

    published, lines, run = probe_without_purchase(project, "-e", "probe_recording=recording.json", "--check")
    assert run.returncode == 0 and run.changed == 1 and not file.exists(), run.output

    published, lines, run = probe_without_purchase(project, "-e", "probe_recording=recording.json", "--limit", "gpu-1")
    assert run.returncode == 0 and run.changed == 1, run.output
    assert published["contradicted"] == ["wrong-token", "vocabulary", "list-bare", "deleted-read"]
    assert {"names", "deleted-listed", "ssh-port", "sync"} <= set(published["confirmed"])
    assert set(published["not_seen"]) == {"busy", "host", "search-clusters", *OF_PURCHASE}
    assert max(map(len, lines)) <= 69
    assert lines[-1] == f"{len(published['confirmed'])} confirmed, 4 contradicted, 14 not seen"
    recorded = switches(str(file))
    assert {name: recorded[name] for name in settings} == settings

    token, ids = project.simulator.settings.token, [*project.simulator.offers, *project.simulator.resources]
    assert not [text for text in (token, *ids, "gpu-1", "gpu-2") if text in file.read_text()]
    assert not [text for text in (token, *ids) if text in run.output]
    assert file.stat().st_mode & 0o777 == 0o600


def test_probe_wrong_token_false_sends_no_wrong_token(project: Project) -> None:
    published, _lines, run = probe_without_purchase(project, "-e", "probe_wrong_token=false")
    assert run.returncode == 0 and "wrong-token" in published["not_seen"], run.output
    assert {each.status for each in project.simulator.requests} <= {200, 404, 422}


def test_probe_fails_with_a_refused_token(project: Project) -> None:
    project.environment["COMPUTE_INDEX_API_TOKEN"] = "an-old-token"
    published, _lines, run = probe_without_purchase(project)
    assert run.returncode != 0 and published == {}
    assert "GET /resources answered 401: Invalid token. Check api_token" in run.text, run.output


def test_probe_fails_if_the_api_cannot_be_reached(project: Project) -> None:
    project.environment["COMPUTE_INDEX_API_URL"] = "http://127.0.0.1:9"
    _published, _lines, run = probe_without_purchase(project)
    assert run.returncode != 0 and "GET /resources got no answer" in run.text, run.output


# With a purchase


def ids_of(project: Project) -> list[str]:
    """The resource ids of the probe's host in the registry."""
    return (project.registry(HOST) or {}).get("provision_resource_ids") or []


@pytest.fixture
def shop(make_project: MakeProject) -> Project:
    """A project whose API offers two H100 machines, one with 8 GPUs, and one with an L4."""
    return make_project([Offer(), Offer(gpu_type="L4", gpu_price_per_hour=1.2), Offer(gpu_count=8)])


def test_probe_buys_follows_and_ends_a_machine(make_project: MakeProject) -> None:
    offers = [Offer(), Offer(gpu_type="L4", gpu_price_per_hour=1.2), Offer(gpu_type="L4", node_count=2, gpu_count=2)]
    settings = {"procure_seconds": 2.5, "procure_returns_ids": False, "vocabulary": "B", "ssh_delay_seconds": 7}
    project = make_project(offers, provision_seconds=5, delete_seconds=1, **settings)
    words = (*BUY, "-e", "probe_recording=recording.json")
    published, lines, run = run_probe(project, *words)
    assert run.returncode == 0, run.output
    (purchase,) = project.simulator.purchases
    assert purchase.offer is offers[1] and purchase.request["resource_name"] == HOST
    assert states(project) == ["deleted"] and project.registry(HOST) is None
    assert f"decommission_hosts={HOST}" in run.text and "USD 1.20/h, USD 1.20 in all" in run.text
    assert published["contradicted"] == ["vocabulary", "post-ids"]
    confirmed = {"post-time", "post-moment", "post-answer", "sold", "boot-time", "lets-in", "listed", "running-price"}
    confirmed |= {"names", "sync", "states", "progress", "ssh-port", "end-answer", "end-time", "deleted-read"}
    assert confirmed <= set(published["confirmed"])
    assert max(map(len, lines)) <= 69

    file = project.folder / "recording.json"
    recorded = switches(str(file))
    exact = {"procure_returns_ids": False, "vocabulary": "B", "purchase_at": "start", "procure_answer": "procured"}
    assert {name: recorded[name] for name in exact} == exact
    # Measured times are longer on a busy computer.
    assert recorded["procure_seconds"] >= 2 and recorded["provision_seconds"] > 0
    private = [project.simulator.settings.token, *project.simulator.offers, *project.simulator.resources, HOST]
    private += project.public_key.split()[1:2]
    assert not [text for text in private if text in file.read_text()]
    # The log of the API's answers is removed with Ansible's temporary files.
    assert not list((project.folder / "home").rglob("probe.log"))

    spent = project.play("compute_index.supply.spend")
    assert HOST in spent.output, spent.output


@pytest.mark.parametrize(
    ("killed", "playbook"), [("in its purchase", "probe"), ("in its purchase", "decommission"), ("booting", "probe")]
)
def test_machine_of_a_killed_probe_is_ended_by_the_next_run(
    make_project: MakeProject, killed: str, playbook: str
) -> None:
    project = make_project([Offer(gpu_price_per_hour=1.2)], provision_seconds=6, procure_seconds=3)
    program = project.start("ansible-playbook", "-i", str(project.inventory), "compute_index.supply.probe", *BUY)
    # The ids are noted once the purchase is answered.
    is_due = partial(ids_of, project) if killed == "booting" else lambda: project.simulator.purchases
    until(lambda: is_due() or program.poll() is not None)
    assert program.poll() is None, program.read()
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    project.end_leftovers()
    (bought,) = project.simulator.purchases
    entry = project.registry(HOST) or {}
    assert entry["provision_procured_offer_id"] == bought.offer_id and entry["provision_ends_at"]
    assert ids_of(project) == (bought.resource_ids if killed == "booting" else [])

    # Another offer appears, but the next run buys nothing.
    project.simulator.add_offer(gpu_price_per_hour=1.5)
    if playbook == "probe":
        published, _lines, run = run_probe(project, *BUY)
        assert {"post-time", "sold"} <= set(published["not_seen"]) and "end-answer" in published["confirmed"]
    else:
        run = project.play("compute_index.supply.decommission", "-e", f"decommission_hosts={HOST}")
    assert run.returncode == 0, run.output
    assert len(project.simulator.purchases) == 1 and states(project) == ["deleted"]
    assert project.registry(HOST) is None


@pytest.mark.parametrize("outcome", ["fails", "rejected"])
def test_failed_purchase_ends_its_machine_and_fails_the_probe(make_project: MakeProject, outcome: Any) -> None:
    project = make_project([Offer(outcome=outcome, error="no capacity"), Offer(gpu_price_per_hour=3)])
    published, lines, run = run_probe(project, *BUY[:3], "probe_max_usd=4", *BUY[4:], "-e", "probe_recording=r.json")
    assert run.returncode != 0 and "The purchase failed: " in run.failure(HOST), run.output
    assert "no capacity" in run.failure(HOST) and "that has ended" in run.failure(HOST)
    # A probe does not try a second offer.
    assert project.requests(*PROCURE) == 1
    assert states(project) == (["deleted"] if outcome == "fails" else [])
    assert ids_of(project) == []
    assert lines and published and (project.folder / "r.json").exists()
    assert ("boot-time" if outcome == "fails" else "post-answer") in published["contradicted"]


def test_machine_that_does_not_end_is_named_with_price_and_command(shop: Project) -> None:
    shop.simulator.faults.append(Fault(method="DELETE", status=503, body={"detail": "down"}, count=None))
    published, _lines, run = run_probe(shop, *BUY)
    (resource_id,) = shop.simulator.resources
    failure = run.failure(HOST)
    assert run.returncode != 0 and "MAY STILL BE BILLED" in failure, run.output
    assert resource_id in failure and "USD 1.20 per hour" in failure and f"decommission_hosts={HOST}" in failure
    assert ids_of(shop) == [resource_id]
    assert "end-answer" in published["contradicted"]

    shop.simulator.faults.clear()
    ended = shop.play("compute_index.supply.decommission", "-e", f"decommission_hosts={HOST}")
    assert ended.returncode == 0 and states(shop) == ["deleted"], ended.output


def test_probe_buys_nothing_if_every_offer_costs_too_much(shop: Project) -> None:
    published, _lines, run = run_probe(shop, "-e", "probe_buy=true", "-e", "probe_max_usd=1.19")
    assert run.returncode != 0 and "The purchase failed: " in run.failure(HOST), run.output
    assert "1.19" in run.failure(HOST) and not shop.requests(*PROCURE) and not shop.requests("DELETE", ".*")
    assert "post-time" in published["not_seen"]


@pytest.mark.first
def test_check_mode_shows_the_quote_and_buys_nothing(shop: Project) -> None:
    published, lines, run = run_probe(shop, *BUY, "-e", "probe_recording=recording.json", "--check")
    assert run.returncode == 0 and not shop.requests(*PROCURE), run.output
    assert "1 x L4, USD 1.20/h, USD 1.20 in all" in run.text
    assert not (shop.folder / "recording.json").exists() and shop.registry(HOST) is None
    assert "post-time" in published["not_seen"] and lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-e", "probe_buy=true"], "probe_max_usd must be the highest total cost of probe_buy's machine"),
        (["-e", "probe_buy=true", "-e", "probe_max_usd=unlimited"], "probe_max_usd must be the highest"),
        (["-e", "probe_buy=true", "-e", "probe_max_usd=nan"], "probe_max_usd must be the highest"),
        (["-e", "probe_buy=true", "-e", "probe_max_usd=0"], "probe_max_usd must be the highest"),
        ([*BUY, "--limit", "gpu-1"], "which --limit excludes"),
        ([*BUY, "-e", "provision_max_bill=900"], "probe_buy sets provision_max_bill itself"),
        ([*BUY, "-e", "provision_registry_dir="], "probe_buy needs a registry"),
        ([*BUY, "-i", f"{HOST},"], f"Remove {HOST} from the inventory"),
    ],
)
def test_invalid_variables_of_a_purchase_send_nothing(shop: Project, words: list[str], message: str) -> None:
    _published, _lines, run = run_probe(shop, *words)
    assert run.returncode != 0 and message in run.text and "Nothing was sent." in run.text, run.output
    assert shop.simulator.requests == []


@pytest.mark.first
def test_probe_buys_nothing_without_probe_buy(shop: Project) -> None:
    published, _lines, run = probe_without_purchase(shop, "-e", "probe_buy=false")
    assert run.returncode == 0 and "post-time" in published["not_seen"], run.output


def test_probe_buys_with_a_shared_registry(shop: Project, registry: str) -> None:
    shop.environment["COMPUTE_INDEX_REGISTRY_URL"] = registry
    created = shop.play("compute_index.supply.registry")
    assert created.returncode == 0, created.output
    published, _lines, run = run_probe(shop, *BUY, "-e", "provision_registry_dir=")
    assert run.returncode == 0 and states(shop) == ["deleted"], run.output
    assert {"names", "deleted-read", "post-time"} <= set(published["confirmed"])
    assert not shop.registry_file(HOST).exists()
