# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bought once: lost answers, sold offers, races, and killed plays."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import yaml

from conftest import PROCURE, MakeProject, Project
from limits import HANGS
from plays import (
    READS,
    SIGNALS,
    assert_owns_one,
    break_reads,
    impatient,
    kill,
    ready_at_once,
    sell,
    write_impatient,
)
from simulator import Fault, Offer

project = ready_at_once


# Number of plays that are killed at moments spread evenly over the run, in addition to those killed around each
# request. Before a release: SUPPLY_TEST_KILLS=50.
KILLS = int(os.environ.get("SUPPLY_TEST_KILLS", "8"))


# The parametrized parts of test_a_play_killed_at_any_moment_buys_once
PARTS = 3


# Part of the host's failure message; empty if the host gets its machine.
BOUGHT, OPEN, REFUSED = "", "MAY BE BOUGHT", "Nothing is billed for"


# Seconds that the host `late` waits for an answer. The other hosts wait for any answer.
LATE = 6


# By host: what happens to the answer to its purchase, how often the purchase is sent, and part of the failure message
LOST: dict[str, tuple[dict[str, Any], int, str]] = {
    "cut-before": ({"cut": "before"}, 2, BOUGHT),
    "cut-after": ({"cut": "after"}, 1, BOUGHT),
    "cut-within": ({"cut": "within"}, 1, BOUGHT),
    "late": ({"delay": 2 * LATE}, 2, BOUGHT),
    "500": ({"status": 500}, 2, BOUGHT),
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
    "429-wait-bought": ({"status": 429, "headers": {"Retry-After": "0"}, "process": True}, 1, "provision_adopt"),
    "failed-bought": (
        {"status": 200, "process": True, "body": {"status": "failed", "resource_ids": None}},
        1,
        BOUGHT,
    ),
    "html-bought": ({"status": 200, "process": True, "body": b"<html>"}, 1, BOUGHT),
    "empty-bought": ({"status": 200, "process": True, "body": b""}, 1, BOUGHT),
    "truncated-bought": ({"status": 200, "process": True, "body": b'{"offer_id": "5'}, 1, BOUGHT),
    "not-utf8-bought": ({"status": 200, "process": True, "body": b'{"status": "\xff"}'}, 1, BOUGHT),
    "list-bought": ({"status": 200, "process": True, "body": b"[]"}, 1, BOUGHT),
    "redirected-bought": ({"status": 303, "process": True, "headers": {"Location": "/resources"}}, 1, BOUGHT),
    "408": ({"status": 408}, 2, BOUGHT),
    "401": ({"status": 401}, 1, REFUSED),
    "422": ({"status": 422, "body": {"detail": [{"loc": ["body"], "msg": "bad", "input": "secret"}]}}, 1, REFUSED),
}


@pytest.mark.first
def test_any_answer_to_the_purchase_buys_at_most_once(make_project: MakeProject) -> None:
    project = make_project([], provision_seconds=0)
    sell(project, list(LOST))
    project.declare(list(LOST))
    for host, (rule, _times_sent, _message) in LOST.items():
        project.simulator.faults.append(Fault(path="/procure_offer", sent=f'"{host}"', **rule))

    patience = f"{{{{ {LATE} if inventory_hostname == 'late' else {HANGS} }}}}"
    first = impatient(project, f"--forks={len(LOST)}", post_timeout=patience)

    bought = [purchase.request["resource_name"] for purchase in project.simulator.purchases]
    sent = [each.json["resource_name"] for each in project.simulator.requests if each.path == "/procure_offer"]
    for host, (_rule, times_sent, message) in LOST.items():
        assert sent.count(host) == times_sent, host
        failure = first.failure(host)
        assert bool(failure) == bool(message) and message in failure, (host, failure)
        assert bought.count(host) == (message not in (OPEN, REFUSED)), host
        assert (project.registry(host) is None) == (message == REFUSED), host

    # `429-wait-bought`: a machine has the host's name, but its purchase was refused, so the user must adopt it.
    second = impatient(project, f"--forks={len(LOST)}", provision_adopt=True)
    assert second.returncode == 0, first.output + second.output
    assert_owns_one(project, *LOST)


@pytest.mark.first
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


@pytest.mark.first
def test_a_list_of_machines_that_cannot_be_read_costs_nothing(project: Project) -> None:
    # A play reads the list once for all hosts, so each fault needs its own play.
    for rule in READS.values():
        project.simulator.faults[:] = [Fault(method="GET", path="/resources", count=None, **rule)]
        run = impatient(project)
        assert run.failure("gpu-1"), run.output
        assert project.requests(*PROCURE) == 0


@pytest.mark.first
def test_search_skips_offers_reserved_by_other_hosts(make_project: MakeProject) -> None:
    cheap, middle, dear = offers = [Offer(gpu_price_per_hour=price) for price in (2.0, 2.5, 3.0)]
    project = make_project(offers)
    project.declare(["searches", "by-id", "journal"])
    project.declare_host("by-id", provision_offer_id=cheap.offer_id)
    # The registry as a run leaves it that was killed before its purchase
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


@pytest.mark.first
def test_ten_hosts_of_two_plays_race_for_offers_and_get_one_each(make_project: MakeProject) -> None:
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


def after(seconds: float) -> Callable[[], bool]:
    """Return a function that is true once this time has passed, counted from now."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def moments(project: Project, seconds: float, requests: int) -> list[Callable[[], Callable[[], bool]]]:
    """The moments at which to kill a play that takes ``seconds`` and sends ``requests``.

    They are before and after the answer to each request, and spread evenly over the whole time. Call each one when its
    play starts; the function that it returns is true once the kill is due.
    """
    sent = project.simulator.requests

    def arrived(nth: int) -> Callable[[], bool]:
        # The API delays the request, and processes it after the kill.
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


@pytest.mark.parametrize("part", [pytest.param(0, marks=pytest.mark.first), *range(1, PARTS)])
def test_a_play_killed_at_any_moment_buys_once(make_project: MakeProject, part: int) -> None:
    # The purchase takes long, so that many of the kills hit it.
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


@pytest.mark.parametrize("keeps_name", [True, False])
def test_a_purchase_that_shows_late_is_not_made_twice(make_project: MakeProject, keeps_name: bool) -> None:
    # The play is killed while the API still processes the purchase and shows the offer as unbought.
    project = make_project(
        [Offer(), Offer()], procure_seconds=6, purchase_at="end", provision_seconds=0, keeps_name=keeps_name
    )
    kill(project, signal.SIGKILL, lambda: project.requests(*PROCURE) == 1)
    for _run in range(8):
        run = impatient(project, post_timeout=2)
        if run.returncode == 0 or project.simulator.billed:
            break
    if run.returncode:  # the machine may have appeared after the last look of that run
        run = impatient(project)
    # Without its name, the machine could be a colleague's, so the user must adopt it. On a very busy computer the
    # purchase may have shown in time.
    if run.returncode and not keeps_name:
        assert project.simulator.billed[0] in run.failure("gpu-1") and "provision_adopt" in run.failure("gpu-1")
        run = impatient(project, provision_adopt=True)
    assert run.returncode == 0, run.output
    assert_owns_one(project, "gpu-1")


@pytest.mark.first
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
