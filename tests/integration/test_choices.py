# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Second choices and waiting: what is bought where there is nothing of what is wanted most, or nothing yet."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import MakeProject, Project, Run, core
from simulator import Offer

A100 = "nvidia-a100-sxm4-80gb"
CHOICES = [
    {"region": "EU", "compute": {"gpu_type": "H100", "gpu_count": 1, "contract_type": "ondemand"}},
    {"region": "US", "compute": {"gpu_type": "H100", "gpu_count": 1}, "max_price_per_hour": 3},
    {"compute": {"gpu_type": "A100", "gpu_count": 1}},
]


@pytest.mark.first
def test_second_choices(make_project: MakeProject) -> None:
    offers = [
        Offer(region="EU", contract_type="spot", gpu_price_per_hour=1.0),
        Offer(region="US", gpu_price_per_hour=2.9),
        Offer(region="US", gpu_price_per_hour=3.1),
        Offer(gpu_type=A100, gpu_price_per_hour=2.0),
    ]
    project = make_project(offers)
    project.declare(["gpu-1", "gpu-2", "gpu-3"], provision_spec=CHOICES, provision_reach=False)
    shown = project.play("compute_index.supply.quote")
    assert shown.returncode == 2, shown.output
    assert (
        "gpu-2 gets choice 3 (1 x A100, ondemand): 1 x H100, ondemand, EU: only elsewhere (US);"
        " 1 x H100, ondemand, US: none is left"
    ) in shown.text
    assert "There is no offer for this host." in shown.failure("gpu-3")
    # The market is asked once for each search, once without the limits of the one that finds nothing, and once more
    # where it has offers, but not for all hosts.
    assert project.requests("POST", "/get_offers") == 6
    project.declare(["gpu-1", "gpu-2"], provision_spec=CHOICES, provision_reach=False)
    bought = project.provision()
    assert bought.returncode == 0, bought.output
    owned = {each.request["resource_name"]: each.offer_id for each in project.simulator.purchases}
    assert owned == {"gpu-1": offers[1].offer_id, "gpu-2": offers[3].offer_id}
    assert "gpu-1 gets choice 2 (1 x H100, ondemand, US)" in bought.text
    again = project.provision()
    assert (again.returncode, again.changed) == (0, 0) and "owns something other" not in again.text, again.output


def test_the_cheapest_gpu_of_all_choices(make_project: MakeProject) -> None:
    offers = [Offer(gpu_price_per_hour=2.0), Offer(gpu_type=A100, gpu_count=4, gpu_price_per_hour=0.5)]
    project = make_project(offers)
    pair = [{"compute": {"gpu_type": "H100", "gpu_count": 1}}, {"compute": {"gpu_type": "A100", "gpu_count": 4}}]
    project.declare(["gpu-1"], provision_spec=pair, provision_spec_order="cheapest", provision_reach=False)
    run = project.provision()
    assert run.returncode == 0, run.output
    (purchase,) = project.simulator.purchases
    assert purchase.offer_id == offers[1].offer_id


def waits(project: Project, **variables: Any) -> Run:
    usual = {"provision_wait": "30s", "provision_wait_delay": "1s", "provision_reach": False}
    return project.provision(**{**usual, **variables})


@pytest.mark.first
@core
def test_offers_are_waited_for(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0), Offer(gpu_price_per_hour=9.0)])
    project.declare(["gpu-1", "gpu-2"])
    # Hosts need not agree; the first one does not wait.
    project.declare_host("gpu-2", provision_wait="30s")

    is_over = threading.Event()

    def sell() -> None:
        """Sell what fits once two looks have found too little."""
        # Each look asks once more, since two hosts share one offer.
        while project.requests("POST", "/get_offers") < 4 and not is_over.wait(0.05):
            pass
        assert project.simulator.purchases == [], "nothing is bought, and so billed, while it is waited"
        project.simulator.add_offer(gpu_price_per_hour=3.0)

    with ThreadPoolExecutor() as pool:
        selling = pool.submit(sell)
        run = project.provision(provision_wait_delay="1s", provision_reach=False)
        is_over.set()
        selling.result()
    assert run.returncode == 0, run.output
    assert len(project.simulator.billed) == 2
    assert (
        "No offer yet for gpu-2, since 2" in run.text
        and "The cheapest costs USD 2.00 per hour. Next look 2" in run.text
    )


def test_time_is_up(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0)])
    project.declare(["gpu-1", "gpu-2"])
    checked = project.provision("--check", provision_wait="1h")
    assert checked.returncode == 2 and "No offer yet" not in checked.text
    # The time of the host that looks for all is up long before.
    project.declare_host("gpu-1", provision_wait="1s")
    project.declare_host("gpu-2", provision_wait="7s")
    run = project.provision(provision_wait_delay="1s", provision_reach=False)
    assert run.returncode == 2 and len(project.simulator.billed) == 1, run.output
    assert "No offer yet for gpu-2, since" in run.text and "There is no offer for this host" in run.failure("gpu-2")
    assert "It has waited since 2" in run.failure("gpu-2")


def test_a_later_run_looks_again(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0)])
    project.declare(["gpu-1", "gpu-2"])
    asks = {"provision_wait": "2099-01-01T00:00Z", "provision_wait_delay": 0}
    first = waits(project, **asks)
    assert first.returncode == 0, first.output
    assert "gpu-2: no offer yet; runs look until 2099-01-01 00:00 UTC" in first.text
    assert (len(project.simulator.billed), project.registry("gpu-2")) == (1, None)
    project.simulator.add_offer(gpu_price_per_hour=3.0)
    second = waits(project, **asks)
    assert second.returncode == 0 and len(project.simulator.billed) == 2, second.output
    wrong = waits(project, provision_wait="8h", provision_wait_delay=0)
    assert wrong.returncode == 0, "what is owned needs no waiting"
