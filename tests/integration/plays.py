# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays of the role `provision` that look only briefly for a purchase with a lost answer, and checks of the result."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from conftest import GPU, MakeProject, Project, Run
from limits import HANGS
from project import as_in_playbooks
from simulator import Fault, Offer
from simulator.market import GPUS


@pytest.fixture
def ready_at_once(make_project: MakeProject) -> Project:
    """A project with the default offers, whose machines are ready at once."""
    return make_project(provision_seconds=0)


def write_impatient(project: Project, **variables: Any) -> str:
    """Write a play that looks only briefly for a purchase whose answer was lost, and return its name.

    The variable ``post_timeout`` is the time limit in seconds for the answer to a purchase. Its default is so long that
    no answer counts as lost just because the computer is busy.
    """
    play = {
        "hosts": "gpu",
        "gather_facts": False,
        "module_defaults": {
            "compute_index.supply.procure_offer": {"settle_timeout": 0.5, "procure_timeout": "{{ post_timeout }}"},
            "group/compute_index.supply.all": {"api_retries": 1},
        },
        "vars": {"provision_reach": False, "post_timeout": HANGS, **variables},
        "tasks": [
            {"name": "Provision", **as_in_playbooks("provision")},
            {
                "name": "Show",
                "ansible.builtin.debug": {
                    "msg": "attempts: {{ provision_attempts | default([]) | map(attribute='outcome') | join(' ') }}"
                },
            },
        ],
    }
    return project.write(play)


def impatient(project: Project, *words: str, **variables: Any) -> Run:
    """Run the play of `write_impatient`."""
    return project.play(write_impatient(project, **variables), *words)


def assert_owns_one(project: Project, *hosts: str) -> None:
    """Assert that each host owns one machine, that the registry names it, and that nothing else was bought."""
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
    """Add one offer per host that no other host's search finds, and return the offers by host."""
    sold = {}
    for host in hosts:
        number = len(project.simulator.offers) + 1
        project.declare_host(host, provision_spec={**GPU, "max_procure_time_seconds": number})
        sold[host] = project.simulator.add_offer(typical_procure_seconds=number, gpu_price_per_hour=4 - number / 100)
    return sold


def separate(make_project: MakeProject, offers: dict[str, list[Offer]], **variables: dict[str, Any]) -> Project:
    """A project whose hosts search for different GPUs, so that each finds only its own offers.

    ``variables``: extra variables by host.
    """
    project = make_project([offer for found in offers.values() for offer in found])
    project.declare(list(offers))
    for (host, found), family in zip(offers.items(), GPUS, strict=False):
        for offer in found:
            offer.gpu_type = GPUS[family][0]
        spec = {"compute": {"gpu_type": family, "gpu_count": 1}}
        project.declare_host(host, provision_spec=spec, **variables.get(host, {}))
    return project


SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def kill(project: Project, number: signal.Signals, due: Callable[[], bool], book: str = "") -> None:
    """Start the impatient play, or ``book``, and send all its processes a signal once ``due``, as a reboot does."""
    with project.start("ansible-playbook", "-i", str(project.inventory), book or write_impatient(project)) as process:
        while process.poll() is None and not due():
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


READS: dict[str, dict[str, Any]] = {
    "cut-before": {"cut": "before"},
    "cut-within": {"cut": "within"},
    "500": {"status": 500},
    "html": {"status": 200, "body": b"<html>"},
    "redirect": {"status": 302, "headers": {"Location": "http://supply.example.com/"}},
}


def break_reads(project: Project, breaks: dict[str, dict[str, Any]]) -> list[str]:
    """Break each read before a purchase in each of these ways, each for its own host. Return the hosts."""
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
