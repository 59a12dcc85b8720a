# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guarantees 1 to 3 and 5, attacked from outside: lost answers, gone offers, lost registries, races, killed plays.

However a run ends, the runs after it must end with one purchase a host and nothing that is billed unseen.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import GPU, MakeProject, Project, Run
from simulator import Fault, Offer, Settings, Simulator

PROCURE = ("POST", "/procure_offer")
KILLS = int(os.environ.get("SUPPLY_TEST_KILLS", "50"))
# Expensive, and the same on every ansible-core: see noxfile.py.
once = pytest.mark.once


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    """A project with the default offers, whose machines are ready at once."""
    return make_project(provision_seconds=0)


def impatient(project: Project, *words: str, **variables: Any) -> Run:
    """Run the role in a play that asks after lost answers only briefly."""
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
                "ansible.builtin.debug": {"msg": "attempts={{ provision_attempts | map(attribute='outcome') | list }}"},
            },
        ],
    }
    (project.folder / "play.yml").write_text(yaml.safe_dump([play]))
    return project.play("play.yml", *words)


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


LOST = {
    "cut-before": {"cut": "before"},
    "cut-after": {"cut": "after"},
    "cut-within": {"cut": "within"},
    "late": {"delay": 3, "process": True},
    "500": {"status": 500},
    "500-bought": {"status": 500, "process": True},
    "502-bought": {"status": 502, "process": True, "body": b"<html>Bad Gateway</html>"},
    "503-bought": {"status": 503, "process": True},
    "504-bought": {"status": 504, "process": True},
    "503-wait": {"status": 503, "headers": {"Retry-After": "0"}},
    "429-wait": {"status": 429, "headers": {"Retry-After": "1"}},
    "429-date": {"status": 429, "headers": {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}},
    "429-long": {"status": 429, "headers": {"Retry-After": "3600"}},
    "html-bought": {"status": 200, "process": True, "body": b"<html>"},
    "empty-bought": {"status": 200, "process": True, "body": b""},
    "truncated-bought": {"status": 200, "process": True, "body": b'{"offer_id": "5'},
    "not-utf8-bought": {"status": 200, "process": True, "body": b'{"status": "\xff"}'},
    "list-bought": {"status": 200, "process": True, "body": b"[]"},
    "redirected-bought": {"status": 303, "process": True, "headers": {"Location": "/resources"}},
    "408": {"status": 408},
    "401": {"status": 401},
    "422": {"status": 422, "body": b'{"detail": [{"loc": ["body", "x"], "msg": "bad", "input": "secret"}]}'},
}


@once
@pytest.mark.parametrize("fault", LOST)
def test_whatever_becomes_of_the_answer_to_the_purchase(project: Project, fault: str) -> None:
    project.simulator.faults.append(Fault(path="/procure_offer", **LOST[fault]))

    first = impatient(project)
    assert len(project.simulator.purchases) <= 1
    bought = len(project.simulator.purchases) == 1
    if bought:
        assert project.requests(*PROCURE) == 1 or fault.startswith(("429", "503-wait")), "sent twice"
        entry = project.registry("gpu-1")
        assert entry is not None, "a purchase that nobody remembers"
    if first.returncode != 0 and bought:
        assert "MAY BE BOUGHT" in first.text or "is BOUGHT" in first.text

    project.simulator.faults.clear()
    second = impatient(project)
    assert second.returncode == 0, first.output + second.output
    assert_owns_one(project, "gpu-1")


STEPS = {
    "search": ("POST", "/get_offers"),
    "names": ("GET", "/resources"),
    "look": ("GET", "/offers/[^/]+/status"),
    "price": ("GET", "/offers/[^/]+$"),
}
READS = {
    "cut-before": {"cut": "before"},
    "cut-within": {"cut": "within"},
    "500": {"status": 500},
    "html": {"status": 200, "body": b"<html>"},
    "redirect": {"status": 302, "headers": {"Location": "http://supply.example.com/"}},
}


@once
@pytest.mark.parametrize("step", STEPS)
def test_a_read_that_fails_costs_nothing(project: Project, step: str) -> None:
    method, path = STEPS[step]
    for fault in READS.values():
        project.simulator.faults[:] = [Fault(method=method, path=path, count=None, **fault)]
        run = impatient(project)
        assert run.returncode != 0, run.output
        assert project.requests(*PROCURE) == 0
    project.simulator.faults.clear()
    run = impatient(project)
    assert run.returncode == 0, run.output
    assert_owns_one(project, "gpu-1")


@pytest.mark.parametrize("outcome", ["taken", "expired", "rejected", "fails"])
def test_an_offer_that_is_lost_is_replaced_by_the_next_cheapest(make_project: MakeProject, outcome: str) -> None:
    offers = [
        Offer(gpu_price_per_hour=2.0, outcome=outcome, failed_bills=False),
        Offer(gpu_price_per_hour=3.0),
        Offer(gpu_price_per_hour=4.0),
    ]
    project = make_project(offers)
    run = impatient(project)
    assert run.returncode == 0, run.output
    entry = project.registry("gpu-1")
    assert entry is not None
    assert entry["provision_procured_offer_id"] == offers[1].offer_id
    assert entry["provision_price_per_hour"] == 3.0
    assert len(project.simulator.billed) == 1
    assert run.text.count("'created'") + run.text.count('"created"') >= 1
    again = impatient(project)
    assert (again.returncode, again.changed) == (0, 0), again.output


@pytest.mark.parametrize(
    ("variables", "tried"),
    [
        pytest.param({"provision_max_attempts": 2}, 2, id="attempts"),
        pytest.param({"provision_max_price_per_hour": 2.5}, 2, id="ceiling-of-the-host"),
        pytest.param({"provision_max_total_price_per_hour": 2.5}, 2, id="ceiling-of-the-play"),
        pytest.param({}, 3, id="default"),
    ],
)
def test_another_offer_is_tried_only_within_the_limits(
    make_project: MakeProject, variables: dict[str, Any], tried: int
) -> None:
    project = make_project([Offer(gpu_price_per_hour=price, outcome="taken") for price in (2.0, 2.5, 3.0, 3.5)])
    run = impatient(project, **variables)
    assert run.returncode != 0
    assert project.requests(*PROCURE) == tried
    assert "Nothing is billed for gpu-1." in run.text
    for offer in list(project.simulator.offers.values())[:tried]:
        assert offer.offer_id in run.text
    assert project.registry("gpu-1") is None


@once
def test_old_quotes_are_asked_for_anew(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0, outcome="taken"), Offer(gpu_price_per_hour=3.0)])
    # An extra variable overrides the 25 minutes of the role.
    run = impatient(project, "-e", "provision__quote_seconds=-1")
    assert run.returncode == 0, run.output
    assert project.requests("POST", "/get_offers") == 2
    assert_owns_one(project, "gpu-1")


@once
@pytest.mark.parametrize("on_failure", ["keep", "release"])
def test_a_failed_machine_that_is_billed_is_kept_in_sight_or_released(
    make_project: MakeProject, on_failure: str
) -> None:
    offers = [Offer(gpu_price_per_hour=2.0, outcome="fails", failed_bills=True), Offer(gpu_price_per_hour=3.0)]
    project = make_project(offers)
    run = impatient(project, provision_on_failure=on_failure)
    if on_failure == "keep":
        assert run.returncode != 0
        (purchase,) = project.simulator.purchases
        assert purchase.resource_ids[0] in run.text
        assert "is BOUGHT and may be billed at USD 2.0 per hour" in run.text
        entry = project.registry("gpu-1")
        assert entry is not None
        assert entry["provision_resource_ids"] == purchase.resource_ids
    else:
        assert run.returncode == 0, run.output
        entry = project.registry("gpu-1")
        assert entry is not None
        assert entry["provision_procured_offer_id"] == offers[1].offer_id
        assert sorted(project.simulator.billed) == sorted(entry["provision_resource_ids"])


@once
def test_a_machine_that_never_gets_ready_can_be_released(make_project: MakeProject) -> None:
    project = make_project([Offer(outcome="never_ready")])
    run = impatient(project, provision_on_failure="release", provision_poll_retries=2)
    assert run.returncode != 0
    assert project.simulator.billed == []
    assert "Nothing is billed for gpu-1." in run.text
    assert project.registry("gpu-1") is None


@once
def test_a_machine_that_cannot_be_reached_can_be_released(make_project: MakeProject) -> None:
    project = make_project()
    assert impatient(project).returncode == 0
    (purchase,) = project.simulator.purchases
    program = project.simulator.home(purchase.resource_ids[0]) / "bin" / "cloud-init"
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\necho status: error; exit 1\n")
    program.chmod(0o755)
    kept = project.provision()
    assert kept.returncode != 0
    assert "status: error" in kept.text
    assert f"It is BOUGHT and billed at USD 2.0 per hour. Resource ids: {purchase.resource_ids[0]}." in kept.text
    released = project.provision(provision_on_failure="release")
    assert released.returncode != 0
    assert "It was deleted again." in released.text
    assert project.simulator.billed == []
    assert project.registry("gpu-1") is None


@once
def test_a_partly_ready_cluster_is_not_ready(make_project: MakeProject) -> None:
    cluster = Offer(gpu_count=24, node_count=3, gpu_price_per_hour=0.2, running_instances=2)
    project = make_project([cluster])
    run = impatient(project, provision_offer_id=cluster.offer_id, provision_poll_retries=2)
    assert run.returncode != 0
    assert "is BOUGHT and may be billed" in run.text
    for resource_id in project.simulator.purchases[0].resource_ids:
        assert resource_id in run.text


# Found again


def forget(project: Project) -> None:
    """Lose the registry."""
    (project.folder / "host_vars" / "gpu-1" / "compute_index_supply.yml").unlink()


def test_a_lost_registry_is_made_again_from_the_name(project: Project) -> None:
    assert impatient(project).returncode == 0
    before = project.registry("gpu-1")
    forget(project)
    run = impatient(project)
    assert run.returncode == 0, run.output
    assert_owns_one(project, "gpu-1")
    after = project.registry("gpu-1")
    assert before is not None and after is not None
    assert {**before, "provision_journaled_at": ""} == {**after, "provision_journaled_at": ""}


def test_without_a_registry_the_name_is_the_memory(project: Project) -> None:
    for _run in range(2):
        run = impatient(project, provision_registry_dir="")
        assert run.returncode == 0, run.output
    assert len(project.simulator.purchases) == 1
    assert not (project.folder / "host_vars").exists()


@once
def test_without_any_memory_the_role_says_so(make_project: MakeProject) -> None:
    run = impatient(make_project(keeps_name=False), provision_registry_dir="")
    assert run.returncode == 0, run.output
    assert "NOTHING tells the next run that it exists" in run.text


@once
def test_two_machines_of_one_name_are_an_error_that_lists_both(project: Project) -> None:
    first, second = list(project.simulator.offers)[:2]
    key = project.key.with_suffix(".pub").read_text()
    buy = {"ssh_public_key": key, "resource_name": "gpu-1"}
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


@once
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


@once
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"provision_resource_name": "same"}, "have the provision_resource_name same"),
        ({"provision_offer_id": "first"}, "have the provision_offer_id"),
    ],
    ids=["name", "offer"],
)
def test_two_hosts_cannot_want_one_machine(project: Project, variables: dict[str, Any], message: str) -> None:
    if "provision_offer_id" in variables:
        variables = {"provision_offer_id": next(iter(project.simulator.offers))}
    project.declare(["gpu-1", "gpu-2"])
    run = impatient(project, **variables)
    assert run.returncode != 0
    assert message in run.text
    assert project.requests(*PROCURE) == 0


# Many at once


@once
def test_ten_hosts_of_two_plays_that_race_for_the_same_offers(make_project: MakeProject) -> None:
    project = make_project(
        [Offer(gpu_price_per_hour=2.0 + i / 100) for i in range(15)], procure_seconds=0.3, provision_seconds=0
    )
    hosts = [f"gpu-{i}" for i in range(10)]
    project.declare(hosts)
    impatient(project, "--list-hosts")  # writes the play
    words = ["-i", str(project.inventory), "play.yml", "--forks", "10", "--limit"]
    runs: list[Run] = []
    threads = [
        threading.Thread(
            target=lambda half=half: runs.append(project.command("ansible-playbook", *words, ",".join(half)))
        )
        for half in (hosts[:5], hosts[5:])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.returncode for run in runs] == [0, 0], runs[0].output + runs[1].output
    assert_owns_one(project, *hosts)
    assert len({purchase.offer_id for purchase in project.simulator.purchases}) == 10


# Killed


def kill_after(project: Project, seconds: float, number: signal.Signals) -> None:
    """Start the play, and after a while send all its processes a signal, as a closed terminal or a reboot does."""
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    with subprocess.Popen(
        [program, "-i", str(project.inventory), "play.yml"],
        cwd=project.folder,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, number)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@once
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(4))
def test_a_play_killed_at_any_moment_buys_once(make_project: MakeProject, part: int) -> None:
    # The purchase blocks, so that many of the kills fall into it.
    project = make_project(
        [Offer(gpu_price_per_hour=2.0) for _number in range(KILLS + 2)], procure_seconds=0.5, provision_seconds=0.2
    )
    project.declare(["warm-up"])
    start = time.monotonic()
    assert impatient(project).returncode == 0
    whole = time.monotonic() - start

    hosts = ["warm-up"]
    signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
    for number in range(part, KILLS, 4):
        host = f"gpu-{number}"
        hosts.append(host)
        project.declare([host])
        kill_after(project, whole * (number + 0.5) / KILLS, signals[number % len(signals)])
        again = impatient(project)
        assert again.returncode == 0, again.output
        assert_owns_one(project, *hosts)


@once
def test_a_purchase_that_shows_late_is_not_made_twice(make_project: MakeProject) -> None:
    # Killed while the API still works at the purchase and calls the offer unbought; no name to find it by.
    project = make_project(
        [Offer(), Offer()], procure_seconds=6, purchase_at="end", provision_seconds=0, keeps_name=False
    )
    impatient(project, "--list-hosts")  # writes the play
    kill_after(project, 5, signal.SIGKILL)
    for _run in range(8):
        run = impatient(project)
        if run.returncode == 0:
            break
    assert run.returncode == 0, run.output
    assert_owns_one(project, "gpu-1")


@once
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


@once
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


@once
def test_the_token_goes_to_no_other_origin(project: Project) -> None:
    with Simulator(Settings(), offers=[]) as other:
        for method, path in (*STEPS.values(), PROCURE):
            project.simulator.faults[:] = [
                Fault(method=method, path=path, count=None, status=307, headers={"Location": f"{other.url}/resources"})
            ]
            assert impatient(project).returncode != 0
        assert other.requests == []


@once
def test_rescue_can_tell_failures_apart(project: Project) -> None:
    task = {
        "name": "Buy",
        "compute_index.supply.offer_info": {"spec": {**GPU, "compute": {"gpu_type": "none"}}},
    }
    (result,), _run = project.tasks(task)
    assert (result["error_class"], result["status_code"]) == ("invalid", 422)
