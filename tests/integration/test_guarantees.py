# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guarantees 1 to 3 and 5, attacked from outside: lost answers, gone offers, lost registries, races, killed plays.

However a run ends, the runs after it must end with one purchase a host and nothing that is billed unseen.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import GPU, PROCURE, MakeProject, Project, Run, core
from project import tool
from simulator import Fault, Offer, Settings, Simulator
from simulator.market import GPUS, Outcome

# How many plays are killed at moments that time alone chooses. Before a release: SUPPLY_TEST_KILLS=50.
KILLS = int(os.environ.get("SUPPLY_TEST_KILLS", "16"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PARTS = 3


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    """A project with the default offers, whose machines are ready at once."""
    return make_project(provision_seconds=0)


def write_impatient(project: Project, **variables: Any) -> str:
    """Write a play of the role that asks after lost answers only briefly, and return its name."""
    play = {
        "hosts": "gpu",
        "gather_facts": False,
        "module_defaults": {
            "compute_index.supply.procure_offer": {"settle_timeout": 0.5, "procure_timeout": 2},
            "group/compute_index.supply.all": {"api_retries": 1},
        },
        "vars": {"provision_reach": False, **variables},
        "tasks": [
            {"name": "Provision", "ansible.builtin.include_role": {"name": "compute_index.supply.provision"}},
            {
                "name": "Show",
                "ansible.builtin.debug": {
                    "msg": "attempts: {{ provision_attempts | map(attribute='outcome') | join(' ') }}"
                },
            },
        ],
    }
    return project.write(play)


def impatient(project: Project, *words: str, **variables: Any) -> Run:
    """Run such a play."""
    return project.play(write_impatient(project, **variables), *words)


def assert_owns_one(project: Project, *hosts: str) -> None:
    """Each host owns one machine, nothing else was bought, and the registry names the right one."""
    purchases = {purchase.request["resource_name"]: purchase for purchase in project.simulator.purchases}
    assert sorted(purchases) == sorted(hosts)
    assert len(project.simulator.purchases) == len(hosts), "bought twice"
    for host in hosts:
        entry = project.registry(host)
        assert entry is not None
        assert entry["provision_procured_offer_id"] == purchases[host].offer_id
        assert entry["provision_resource_ids"] == purchases[host].resource_ids
    assert sorted(project.simulator.billed) == sorted(i for p in purchases.values() for i in p.resource_ids)


def sell(project: Project, hosts: list[str]) -> dict[str, Offer]:
    """Let each host search for something else, and sell it an offer that the others find only when it is gone."""
    sold = {}
    for host in hosts:
        number = len(project.simulator.offers) + 1
        project.declare_host(host, provision_spec={**GPU, "max_procure_time_seconds": number})
        sold[host] = project.simulator.add_offer(typical_procure_seconds=number, gpu_price_per_hour=4 - number / 100)
    return sold


# What becomes of a purchase, how often it is sent at most, and what the host says of it; nothing if it has its machine.
BOUGHT, OPEN, REFUSED = "", "MAY BE BOUGHT", "Nothing is billed for"
LOST: dict[str, tuple[dict[str, Any], int, str]] = {
    "cut-before": ({"cut": "before"}, 1, OPEN),
    "cut-after": ({"cut": "after"}, 1, BOUGHT),
    "cut-within": ({"cut": "within"}, 1, BOUGHT),
    "late": ({"delay": 4}, 1, OPEN),
    "500": ({"status": 500}, 1, OPEN),
    "500-bought": ({"status": 500, "process": True}, 1, BOUGHT),
    "502-bought": ({"status": 502, "process": True, "body": b"<html>Bad Gateway</html>"}, 1, BOUGHT),
    "503-bought": ({"status": 503, "process": True}, 1, BOUGHT),
    "504-bought": ({"status": 504, "process": True}, 1, BOUGHT),
    "503-wait": ({"status": 503, "headers": {"Retry-After": "0"}}, 2, BOUGHT),
    "429-wait": ({"status": 429, "headers": {"Retry-After": "1"}}, 2, BOUGHT),
    "429-date": ({"status": 429, "headers": {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}}, 2, BOUGHT),
    "429-long": ({"status": 429, "headers": {"Retry-After": "3600"}}, 1, REFUSED),
    "503-long": ({"status": 503, "headers": {"Retry-After": "3600"}}, 1, OPEN),
    "503-wait-bought": ({"status": 503, "headers": {"Retry-After": "0"}, "process": True}, 1, BOUGHT),
    "429-wait-bought": ({"status": 429, "headers": {"Retry-After": "0"}, "process": True}, 1, BOUGHT),
    "failed-bought": ({"status": 200, "process": True, "body": {"status": "failed", "resource_ids": None}}, 1, BOUGHT),
    "html-bought": ({"status": 200, "process": True, "body": b"<html>"}, 1, BOUGHT),
    "empty-bought": ({"status": 200, "process": True, "body": b""}, 1, BOUGHT),
    "truncated-bought": ({"status": 200, "process": True, "body": b'{"offer_id": "5'}, 1, BOUGHT),
    "not-utf8-bought": ({"status": 200, "process": True, "body": b'{"status": "\xff"}'}, 1, BOUGHT),
    "list-bought": ({"status": 200, "process": True, "body": b"[]"}, 1, BOUGHT),
    "redirected-bought": ({"status": 303, "process": True, "headers": {"Location": "/resources"}}, 1, BOUGHT),
    "408": ({"status": 408}, 1, OPEN),
    "401": ({"status": 401}, 1, REFUSED),
    "422": ({"status": 422, "body": {"detail": [{"loc": ["body"], "msg": "bad", "input": "secret"}]}}, 1, REFUSED),
}


def test_whatever_becomes_of_the_answer_to_the_purchase(make_project: MakeProject) -> None:
    # A host for each, all in one play: hosts are named after what becomes of their purchases.
    project = make_project([], provision_seconds=0)
    sell(project, list(LOST))
    project.declare(list(LOST))
    for host, (rule, _most, _said) in LOST.items():
        project.simulator.faults.append(Fault(path="/procure_offer", sent=f'"{host}"', **rule))

    first = impatient(project, f"--forks={len(LOST)}")

    bought = [purchase.request["resource_name"] for purchase in project.simulator.purchases]
    sent = [each.json["resource_name"] for each in project.simulator.requests if each.path == "/procure_offer"]
    for host, (_rule, most, said) in LOST.items():
        assert sent.count(host) == most, host
        assert bool(first.failure(host)) == bool(said) and said in first.failure(host), (host, first.failure(host))
        assert bought.count(host) == (said == BOUGHT) or host == "late", host
        assert (project.registry(host) is None) == (said == REFUSED), host

    second = impatient(project, f"--forks={len(LOST)}")
    assert second.returncode == 0, first.output + second.output
    assert_owns_one(project, *LOST)


READS: dict[str, dict[str, Any]] = {
    "cut-before": {"cut": "before"},
    "cut-within": {"cut": "within"},
    "500": {"status": 500},
    "html": {"status": 200, "body": b"<html>"},
    "redirect": {"status": 302, "headers": {"Location": "http://supply.example.com/"}},
}


def break_reads(project: Project, breaks: dict[str, dict[str, Any]]) -> list[str]:
    """Break each read on the way to a purchase in each of these ways, for a host of its own. Returns the hosts."""
    hosts = [f"{step}-{kind}" for step in ("search", "look", "price") for kind in breaks]
    for host, offer in sell(project, hosts).items():
        step, kind = host.split("-", 1)
        where: dict[str, dict[str, Any]] = {
            "search": {"path": "/get_offers", "sent": rf"max_procure_time_seconds: {offer.typical_procure_seconds}\b"},
            "look": {"path": f"/offers/{offer.offer_id}/status"},
            "price": {"path": f"/offers/{offer.offer_id}$"},
        }
        project.simulator.faults.append(Fault(**where[step], **breaks[kind], count=None))
    return hosts


def test_a_read_that_fails_costs_nothing(make_project: MakeProject) -> None:
    project = make_project([], provision_seconds=0)
    hosts = break_reads(project, READS)
    project.declare(hosts)
    run = impatient(project, f"--forks={len(hosts)}")
    for host in hosts:
        assert run.failure(host), host
    assert project.requests(*PROCURE) == 0
    project.simulator.faults.clear()
    some = [next(host for host in hosts if host.startswith(step)) for step in ("search", "look", "price")]
    run = impatient(project, "--limit", ",".join(some))
    assert run.returncode == 0, run.output
    assert_owns_one(project, *some)


def test_a_list_of_machines_that_cannot_be_read_costs_nothing(project: Project) -> None:
    # It is read once a play.
    for rule in READS.values():
        project.simulator.faults[:] = [Fault(method="GET", path="/resources", count=None, **rule)]
        run = impatient(project)
        assert run.failure("gpu-1"), run.output
        assert project.requests(*PROCURE) == 0


def separate(make_project: MakeProject, offers: dict[str, list[Offer]], **variables: dict[str, Any]) -> Project:
    """A project whose hosts each search for another GPU and find these offers; with variables of single hosts."""
    project = make_project([offer for found in offers.values() for offer in found])
    project.declare(list(offers))
    for (host, found), family in zip(offers.items(), GPUS, strict=False):
        for offer in found:
            offer.gpu_type = GPUS[family][0]
        spec = {"compute": {"gpu_type": family, "gpu_count": 1}}
        project.declare_host(host, provision_spec=spec, **variables.get(host, {}))
    return project


@core
def test_an_offer_that_is_lost_is_replaced_by_the_next_cheapest(make_project: MakeProject) -> None:
    # What becomes of the cheapest offer, and of the attempt to buy it: what somebody else has bought exists by now.
    lost: dict[Outcome, str] = {"taken": "existing", "expired": "rejected", "rejected": "rejected", "fails": "created"}
    offers: dict[str, list[Offer]] = {
        outcome: [
            Offer(gpu_price_per_hour=2.0, outcome=outcome, failed_bills=False),
            Offer(gpu_price_per_hour=3.0),
            Offer(gpu_price_per_hour=4.0),
        ]
        for outcome in lost
    }
    project = separate(make_project, offers)

    run = impatient(project)

    assert run.returncode == 0, run.output
    for host, attempt in lost.items():
        entry = project.registry(host)
        assert entry is not None
        assert entry["provision_procured_offer_id"] == offers[host][1].offer_id
        assert entry["provision_price_per_hour"] == 3.0
        assert re.search(rf"^ok: \[{host}\].*\n.*attempts: {attempt} created\b", run.output, re.MULTILINE), run.output
    assert len(project.simulator.billed) == len(lost)
    again = impatient(project)
    assert (again.returncode, again.changed) == (0, 0), again.output


def test_another_offer_is_tried_only_within_the_limits(make_project: MakeProject) -> None:
    limits: dict[str, dict[str, Any]] = {
        "attempts": {"provision_max_attempts": 2},
        "ceiling": {"provision_max_price_per_hour": 2.5},
    }
    tries = {"attempts": 2, "as-usual": 3, "ceiling": 2}
    prices = (2.0, 2.5, 3.0, 3.5)
    offers = {host: [Offer(gpu_price_per_hour=price, outcome="taken") for price in prices] for host in tries}
    project = separate(make_project, offers, **limits)
    run = impatient(project)
    sent = [each.json["offer_id"] for each in project.simulator.requests if each.path == "/procure_offer"]
    assert len(sent) == sum(tries.values())
    for host, count in tries.items():
        tried = [offer.offer_id for offer in offers[host][:count]]
        assert set(tried) <= set(sent)
        assert f"Nothing is billed for {host}. Offers tried: {', '.join(tried)}." in run.failure(host)
        assert project.registry(host) is None


@core
def test_another_offer_is_tried_only_below_the_ceiling_of_the_play(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=price, outcome="taken") for price in (2.0, 2.5, 3.0)])
    run = impatient(project, provision_max_total_price_per_hour=2.5)
    assert project.requests(*PROCURE) == 2
    assert "Nothing is billed for gpu-1." in run.failure("gpu-1")
    assert project.registry("gpu-1") is None


def test_the_next_offer_boots_with_what_was_made_for_it(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0, outcome="taken"), Offer(gpu_price_per_hour=3.0)])
    template = project.folder / "own.j2"
    keys, command = "{{ provision__ssh_keys | to_json }}", "echo {{ provision_offer.offer_id }}"
    template.write_text(f"#cloud-config\nssh_keys: {keys}\nruncmd: [{command}]\n")
    run = impatient(project, provision_host_key_trust="seeded", provision_cloud_init_template=str(template))
    assert run.returncode == 0, run.output
    entry = project.registry("gpu-1")
    assert entry is not None
    user_data = project.simulator.user_data(entry["provision_resource_ids"][0]) or ""
    assert f"echo {entry['provision_procured_offer_id']}" in user_data
    assert entry["provision_bootstrap_host_key"] in user_data


def test_old_quotes_are_asked_for_anew(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0, outcome="taken"), Offer(gpu_price_per_hour=3.0)])
    # An extra variable overrides the 25 minutes of the role.
    run = impatient(project, "-e", "provision__quote_seconds=-1")
    assert run.returncode == 0, run.output
    assert project.requests("POST", "/get_offers") == 2
    assert_owns_one(project, "gpu-1")


def test_a_failed_machine_that_is_billed_can_be_released(make_project: MakeProject) -> None:
    offers = [Offer(gpu_price_per_hour=2.0, outcome="fails", failed_bills=True), Offer(gpu_price_per_hour=3.0)]
    project = make_project(offers)
    run = impatient(project, provision_on_failure="release")
    assert run.returncode == 0, run.output
    entry = project.registry("gpu-1")
    assert entry is not None
    assert entry["provision_procured_offer_id"] == offers[1].offer_id
    assert sorted(project.simulator.billed) == sorted(entry["provision_resource_ids"])


@core
def test_what_has_failed_and_may_be_billed_is_not_replaced(make_project: MakeProject) -> None:
    offers = {name: [Offer(gpu_price_per_hour=2.0), Offer(gpu_price_per_hour=3.0)] for name in ("at-once", "later")}
    offers["at-once"][0].outcome = "fails"
    project = separate(make_project, offers)
    assert impatient(project).failure("at-once")
    bought = {purchase.request["resource_name"]: purchase.resources[0] for purchase in project.simulator.purchases}
    bought["later"].broken, bought["later"].synced_at = True, None
    for words in ((), ("--check",)):
        run = impatient(project, *words)
        for host, resource in bought.items():
            billed = f"BOUGHT and may be billed at USD 2.00 per hour. Resource ids: {resource.resource_id}."
            assert billed in run.failure(host), run.output
    assert len(project.simulator.purchases) == 2

    # As killed before its ids were noted, and nobody can tell what there is.
    entry = project.registry("at-once")
    assert entry is not None
    project.registry_file("at-once").write_text(yaml.safe_dump({**entry, "provision_resource_ids": []}))
    project.simulator.faults.append(Fault(method="GET", path="/resources", count=None, status=500))
    assert "may be billed" in impatient(project, "--limit", "at-once").failure("at-once")
    project.simulator.faults.clear()

    run = impatient(project, provision_on_failure="release")
    for host in bought:
        assert f"It was deleted again. Nothing is billed for {host}." in run.failure(host), run.output
        assert project.registry(host) is None
    assert project.simulator.billed == []
    assert impatient(project).returncode == 0
    assert len(project.simulator.billed) == 2 and len(project.simulator.purchases) == 4


def test_without_a_registry_the_name_finds_what_has_failed(make_project: MakeProject) -> None:
    offers = [Offer(gpu_price_per_hour=2.0, outcome="fails"), Offer(gpu_price_per_hour=3.0)]
    project = make_project(offers)
    for _run in range(2):
        said = impatient(project, provision_registry_dir="").failure("gpu-1")
        (billed,) = project.simulator.billed
        assert "BOUGHT and may be billed" in said and billed in said
    assert len(project.simulator.purchases) == 1


def test_a_failed_machine_is_taken_by_no_other_host(make_project: MakeProject) -> None:
    offers = [Offer(gpu_price_per_hour=2.0, outcome="fails"), Offer(gpu_price_per_hour=3.0)]
    project = make_project(offers)
    project.declare(["fast", "slow"])
    assert "BOUGHT" in impatient(project, "--limit", "fast").failure("fast")
    entry = project.registry("fast")
    assert entry is not None
    # As if killed between its journal and its purchase, while the other play bought.
    project.declare_host("slow")
    journal = {name: entry[name] for name in ("provision_procured_offer_id", "provision_price_per_hour")}
    project.registry_file("slow").write_text(yaml.safe_dump(journal))
    run = impatient(project, "--limit", "slow")
    assert run.returncode == 0, run.output
    assert project.registry("fast") == entry
    assert_owns_one(project, "fast", "slow")


def test_a_play_killed_while_it_waits_knows_the_ids(make_project: MakeProject) -> None:
    project = make_project(provision_seconds=600, keeps_name=False)
    looks = ("GET", "/offers/[^/]+/status")
    # Not SIGKILL: a worker that waits would stay, and on some versions for ever.
    kill(project, signal.SIGINT, lambda: project.requests(*PROCURE) == 1 and project.requests(*looks) >= 2)
    entry = project.registry("gpu-1")
    assert entry is not None
    assert entry["provision_resource_ids"] == project.simulator.billed


def fall_back(project: Project, first: dict[str, Any], then: dict[str, Any]) -> Run:
    """Run the role, and once more if it fails, with other variables."""
    role = {"name": "compute_index.supply.provision"}
    common = {"provision_reach": False, "provision_poll_retries": 1}
    block, rescue = (
        [{"name": "Provision", "ansible.builtin.include_role": role, "vars": {**common, **variables}}]
        for variables in (first, then)
    )
    defaults = {"group/compute_index.supply.all": {"api_retries": 1}}
    play = {"hosts": "gpu", "gather_facts": False, "module_defaults": defaults}
    return project.play(project.write({**play, "tasks": [{"name": "Fall back", "block": block, "rescue": rescue}]}))


def test_what_an_earlier_run_of_the_play_found_and_allowed_is_not_bought(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0, outcome="fails"), Offer(gpu_price_per_hour=3.0)])
    lower = {"provision_on_failure": "release", "provision_max_price_per_hour": 2.2}
    run = fall_back(project, {"provision_on_failure": "keep"}, lower)
    assert "It was deleted again. Nothing is billed" in run.output
    assert (len(project.simulator.purchases), project.simulator.billed) == (1, [])


def test_what_an_earlier_run_of_the_play_gave_back_says_nothing_of_this_one(make_project: MakeProject) -> None:
    offers = [Offer(gpu_price_per_hour=price, outcome="never_ready") for price in (2.0, 3.0)]
    project = make_project(offers, procure_returns_ids=False, status_resources=None)
    # After the second purchase nobody can tell what there is. Four lists come before that.
    project.simulator.faults.append(Fault(method="GET", path="/resources$", nth=5, count=None, status=500))
    run = fall_back(project, {"provision_on_failure": "release"}, {"provision_on_failure": "keep"})
    assert run.returncode != 0
    _first, second = project.simulator.purchases
    assert project.simulator.billed == second.resource_ids
    entry = project.registry("gpu-1")
    assert entry is not None and entry["provision_procured_offer_id"] == second.offer_id
    *_first, said = re.findall(r"^fatal: .*", run.output, re.MULTILINE)
    assert "The offer is BOUGHT and may be billed at USD 3.00 per hour" in said and "Nothing is billed" not in said


def test_a_machine_that_never_gets_ready_can_be_released(make_project: MakeProject) -> None:
    project = make_project([Offer(outcome="never_ready")])
    run = impatient(project, provision_on_failure="release", provision_poll_retries=2)
    assert run.returncode != 0
    assert project.simulator.billed == []
    assert "Nothing is billed for gpu-1." in run.text
    assert project.registry("gpu-1") is None


def test_a_machine_that_cannot_be_reached_can_be_released(make_project: MakeProject) -> None:
    project = make_project()
    assert impatient(project).returncode == 0
    (purchase,) = project.simulator.purchases
    project.first_boot(purchase.resource_ids[0], "status=error error=broken")
    kept = project.provision()
    assert kept.returncode != 0
    assert "status: error" in kept.text
    assert f"It is BOUGHT and billed at USD 2.00 per hour. Resource ids: {purchase.resource_ids[0]}." in kept.text
    released = project.provision(provision_on_failure="release")
    assert released.returncode != 0
    assert "It was deleted again." in released.text
    assert project.simulator.billed == []
    assert project.registry("gpu-1") is None


def test_a_partly_ready_cluster_is_not_ready(make_project: MakeProject) -> None:
    cluster = Offer(gpu_count=24, node_count=3, gpu_price_per_hour=0.2, running_instances=2)
    project = make_project([cluster])
    run = impatient(project, provision_offer_id=cluster.offer_id, provision_poll_retries=2)
    assert run.returncode != 0
    assert "is BOUGHT and may be billed" in run.text
    for resource_id in project.simulator.purchases[0].resource_ids:
        assert resource_id in run.text


# Found again


@core
def test_a_lost_registry_is_made_again_from_the_name_and_without_one_the_name_is_the_memory(project: Project) -> None:
    project.declare(["lost", "never"])
    project.declare_host("never", provision_registry_dir="")
    assert impatient(project).returncode == 0
    before = project.registry("lost")
    project.registry_file("lost").unlink()
    run = impatient(project)
    assert run.returncode == 0, run.output
    bought = {purchase.request["resource_name"]: purchase for purchase in project.simulator.purchases}
    assert (len(project.simulator.purchases), sorted(bought)) == (2, ["lost", "never"])
    after = project.registry("lost")
    assert before is not None and after is not None
    assert {**before, "provision_journaled_at": ""} == {**after, "provision_journaled_at": ""}
    assert after["provision_procured_offer_id"] == bought["lost"].offer_id
    assert project.registry("never") is None


@core
@pytest.mark.parametrize("where", ["elsewhere", "within"])
def test_a_registry_that_ansible_does_not_read_is_read_by_the_role(make_project: MakeProject, where: str) -> None:
    project = make_project(keeps_name=False)
    variables: dict[str, Any] = {"provision_registry_dir": str(project.folder / "registry")}
    if where == "within":
        # A folder as the inventory, and the host in a folder within: Ansible reads only the first one's host_vars.
        inventory = project.folder / "all"
        (inventory / "eu").mkdir(parents=True)
        project.inventory = project.inventory.rename(inventory / "eu" / "hosts.yml")
        project.inventory, variables = inventory, {}
    runs = [impatient(project, **variables) for _run in range(2)]
    assert [(run.returncode, run.changed > 0) for run in runs] == [(0, True), (0, False)], runs[1].output
    assert len(project.simulator.purchases) == 1
    folder = project.folder / ("registry" if variables else "all/host_vars")
    entry = yaml.safe_load((folder / "gpu-1" / "compute_index_supply.yml").read_text())
    assert entry["provision_resource_ids"] == project.simulator.billed


def test_without_any_memory_the_role_says_so(make_project: MakeProject) -> None:
    run = impatient(make_project(keeps_name=False), provision_registry_dir="")
    assert run.returncode == 0, run.output
    assert "NOTHING tells the next run that it exists" in run.text


def test_a_machine_of_the_name_comes_before_an_offer_that_was_only_noted(project: Project) -> None:
    # The purchase was lost, and by the time that it is tried again another computer has bought for the same host.
    project.simulator.faults.append(Fault(path="/procure_offer", cut="before"))
    assert OPEN in impatient(project).failure("gpu-1")
    noted = project.registry_file("gpu-1").read_text()
    project.registry_file("gpu-1").unlink()
    project.simulator.add_offer(gpu_price_per_hour=1.5)
    assert impatient(project).returncode == 0
    project.registry_file("gpu-1").write_text(noted)
    run = impatient(project)
    assert run.returncode == 0, run.output
    assert_owns_one(project, "gpu-1")


def test_two_machines_of_one_name_are_an_error_that_lists_both(project: Project) -> None:
    first, second = list(project.simulator.offers)[:2]
    buy = {"ssh_public_key": project.public_key, "resource_name": "gpu-1"}
    results, _run = project.tasks(
        *({"compute_index.supply.procure_offer": {"offer_id": offer_id, **buy}} for offer_id in (first, second))
    )
    run = impatient(project)
    assert run.returncode != 0
    for result in results:
        assert result["resource_ids"][0] in run.text
    assert project.requests(*PROCURE) == 2

    # One that is being deleted does not count.
    gone, left = (result["resource_ids"][0] for result in results)
    (deleted,), _run = project.tasks({"compute_index.supply.delete_resource": {"resource_id": gone}})
    assert (deleted["changed"], deleted["billing_stopped"]) == (True, True)
    assert impatient(project).returncode == 0
    entry = project.registry("gpu-1")
    assert entry is not None
    assert entry["provision_resource_ids"] == [left]
    assert project.requests(*PROCURE) == 2


def test_a_machine_that_was_deleted_outside_is_bought_anew(make_project: MakeProject) -> None:
    project = make_project(deleted_listed=True)
    assert impatient(project).returncode == 0
    (old,) = project.simulator.billed
    project.tasks({"compute_index.supply.delete_resource": {"resource_id": old}})
    run = impatient(project)
    assert run.returncode == 0, run.output
    entry = project.registry("gpu-1")
    assert entry is not None
    assert sorted(project.simulator.billed) == entry["provision_resource_ids"] != [old]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"provision_resource_name": "same"}, "have the provision_resource_name same"),
        ({"provision_offer_id": "first"}, "have the provision_offer_id"),
    ],
    ids=["name", "offer"],
)
def test_two_hosts_cannot_want_one_machine(project: Project, variables: dict[str, Any], message: str) -> None:
    project.declare(["gpu-1", "gpu-2"])
    if "provision_offer_id" in variables:
        first = next(iter(project.simulator.offers))
        variables = {}
        project.declare_host("gpu-1", provision_offer_id=first)
        project.declare_host("gpu-2", provision_offer_id=first.upper())
    run = impatient(project, **variables)
    assert run.returncode != 0
    assert message in run.text
    assert project.requests(*PROCURE) == 0


def test_what_is_spoken_for_is_handed_to_nobody_else(make_project: MakeProject) -> None:
    cheap, middle, dear = offers = [Offer(gpu_price_per_hour=price) for price in (2.0, 2.5, 3.0)]
    project = make_project(offers)
    project.declare(["searches", "by-id", "journal"])
    project.declare_host("by-id", provision_offer_id=cheap.offer_id)
    # As if killed before its purchase; and others run without it.
    entry = {"provision_procured_offer_id": middle.offer_id, "provision_price_per_hour": 2.5}
    project.declare_host("journal")
    project.registry_file("journal").write_text(yaml.safe_dump(entry))
    first = impatient(project, "--limit", "searches,by-id")
    assert first.returncode == 0, first.output
    second = impatient(project)
    assert second.returncode == 0, second.output
    assert_owns_one(project, "searches", "by-id", "journal")
    owned = {p.request["resource_name"]: p.offer_id for p in project.simulator.purchases}
    assert owned == {"searches": dear.offer_id, "by-id": cheap.offer_id, "journal": middle.offer_id}


@pytest.mark.parametrize("keeps_name", [True, False])
def test_a_journal_that_another_host_was_faster_with_owns_nothing(make_project: MakeProject, keeps_name: bool) -> None:
    project = make_project(keeps_name=keeps_name)
    project.declare(["fast"])
    assert impatient(project).returncode == 0
    fast = project.registry("fast")
    assert fast is not None
    # As if killed between its journal and its purchase, while the other play bought.
    journal = {name: fast[name] for name in ("provision_procured_offer_id", "provision_price_per_hour")}
    project.declare(["fast", "slow"])
    project.declare_host("slow")
    project.registry_file("slow").write_text(yaml.safe_dump(journal))
    run = impatient(project)
    assert run.returncode == 0, run.output
    assert project.registry("fast") == fast
    assert_owns_one(project, "fast", "slow")


def test_what_ended_is_bought_anew_only_at_a_price_that_was_agreed_to(make_project: MakeProject) -> None:
    project = make_project()
    assert impatient(project).returncode == 0
    (old,) = project.simulator.billed
    project.tasks({"compute_index.supply.delete_resource": {"resource_id": old}})
    run = impatient(project, provision_max_price_per_hour="")
    assert "provision_max_price_per_hour must say" in run.failure("gpu-1")
    assert len(project.simulator.purchases) == 1


# Many at once


def test_ten_hosts_of_two_plays_that_race_for_the_same_offers(make_project: MakeProject) -> None:
    project = make_project(
        [Offer(gpu_price_per_hour=2.0 + i / 100) for i in range(15)], procure_seconds=0.3, provision_seconds=0
    )
    hosts = [f"gpu-{i}" for i in range(10)]
    project.declare(hosts)
    words = (write_impatient(project), "--forks", "10", "--limit")
    with ThreadPoolExecutor() as both:
        runs = list(both.map(lambda half: project.play(*words, ",".join(half)), (hosts[:5], hosts[5:])))
    assert [run.returncode for run in runs] == [0, 0], runs[0].output + runs[1].output
    assert_owns_one(project, *hosts)
    assert len({purchase.offer_id for purchase in project.simulator.purchases}) == 10


# Killed


def kill(project: Project, number: signal.Signals, due: Callable[[], bool]) -> None:
    """Start the play, and when it is due send all its processes a signal, as a closed terminal or a reboot does."""
    with subprocess.Popen(
        [tool("ansible-playbook"), "-i", str(project.inventory), write_impatient(project)],
        cwd=project.folder,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        while process.poll() is None and not due():
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def after(seconds: float) -> Callable[[], bool]:
    """Whether so much time has passed from now on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def moments(project: Project, seconds: float, requests: int) -> list[Callable[[], Callable[[], bool]]]:
    """When plays are killed that take so long and send so many requests; each is called when its play starts.

    Before and after the answer to each request, and spread over the whole time, from Ansible's start to its end.
    """
    sent = project.simulator.requests

    def arrived(nth: int) -> Callable[[], bool]:
        # It is held back for a moment; the API goes on with it after the kill.
        project.simulator.faults[:] = [Fault(path="/", nth=nth, delay=0.2)]
        before = len(sent)
        return lambda: len(sent) >= before + nth

    def answered(nth: int) -> Callable[[], bool]:
        before = len(sent)
        return lambda: len(sent) >= before + nth and sent[before + nth - 1].status is not None

    return [
        *(partial(each, nth) for nth in range(1, requests + 1) for each in (arrived, answered)),
        *(partial(after, seconds * (number + 0.5) / KILLS) for number in range(KILLS)),
    ]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_play_killed_at_any_moment_buys_once(make_project: MakeProject, part: int) -> None:
    # The purchase blocks, so that many of the kills fall into it.
    project = make_project([], procure_seconds=0.5, provision_seconds=0.2)
    sell(project, ["warm-up"])
    project.declare(["warm-up"])
    start = time.monotonic()
    assert impatient(project).returncode == 0
    plan = moments(project, time.monotonic() - start, len(project.simulator.requests))
    hosts = [f"gpu-{number}" for number in range(part, len(plan), PARTS)]
    sell(project, hosts)
    for number, host in zip(range(part, len(plan), PARTS), hosts, strict=True):
        project.declare([host])
        kill(project, SIGNALS[number % len(SIGNALS)], plan[number]())
        project.simulator.faults.clear()
    assert 1 < len(project.simulator.purchases) <= len(hosts), "some kills came before the purchase, some after"
    project.declare(hosts)
    again = impatient(project, f"--forks={len(hosts)}")
    assert again.returncode == 0, again.output
    assert_owns_one(project, "warm-up", *hosts)


def test_a_purchase_that_shows_late_is_not_made_twice(make_project: MakeProject) -> None:
    # Killed while the API still works at the purchase and calls the offer unbought; no name to find it by.
    project = make_project(
        [Offer(), Offer()], procure_seconds=6, purchase_at="end", provision_seconds=0, keeps_name=False
    )
    kill(project, signal.SIGKILL, lambda: project.requests(*PROCURE) == 1)
    for _run in range(8):
        run = impatient(project)
        if run.returncode == 0:
            break
    assert run.returncode == 0, run.output
    assert_owns_one(project, "gpu-1")


def test_a_full_disk_stops_before_the_purchase(project: Project) -> None:
    disk = project.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("SKIPPED the full disk: needs root, to mount a small one")
    try:
        with pytest.raises(OSError), (disk / "full").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 1024)
        run = impatient(project, provision_registry_dir=str(disk))
        assert run.returncode != 0
        assert "No space left on device" in run.text
        assert project.requests(*PROCURE) == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# Secrets


def test_secrets_are_nowhere_but_at_the_api(make_project: MakeProject) -> None:
    secret = "do-not-tell-anybody-77"
    project = make_project(procure_seconds=1, token="a-token-for-this-test-only")
    echo = json.dumps(
        {"detail": [{"loc": ["body"], "msg": f"no {secret}, a-token-for-this-test-only", "input": secret}]}
    )
    project.simulator.faults.append(Fault(path="/procure_offer", nth=1, status=422, body=echo.encode()))
    project.declare(["gpu-1"], provision_files=[{"path": "/etc/x", "content": "{{ lookup('env', 'THE_SECRET') }}"}])
    project.environment["THE_SECRET"] = secret
    seen: list[str] = []
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(0.05):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.append(file.read_bytes().decode(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        runs = [project.provision("-vvvv", "--diff", provision_reach=False) for _run in range(2)]
    finally:
        watching.set()
        watcher.join()
    assert [run.returncode for run in runs] == [2, 0], runs[0].output + runs[1].output
    assert secret in (project.simulator.user_data(project.simulator.purchases[0].resource_ids[0]) or "")
    everywhere = "".join(run.output for run in runs) + "".join(seen) + json.dumps(project.registry("gpu-1"))
    assert secret not in everywhere
    assert "a-token-for-this-test-only" not in everywhere


def test_the_token_goes_to_no_other_origin(make_project: MakeProject) -> None:
    project = make_project([], provision_seconds=0)
    with Simulator(Settings(), offers=[]) as other:
        away: dict[str, Any] = {"status": 307, "headers": {"Location": f"{other.url}/resources"}}
        hosts = break_reads(project, {"redirect": away})
        sell(project, ["purchase", "names"])
        project.declare([*hosts, "purchase"])
        project.simulator.faults.append(Fault(path="/procure_offer", sent='"purchase"', **away))
        run = impatient(project)
        for host in (*hosts, "purchase"):
            assert run.failure(host), host
        project.declare(["names"])
        project.simulator.faults[:] = [Fault(path="/resources", count=None, **away)]
        assert impatient(project).failure("names")
        assert other.requests == []
