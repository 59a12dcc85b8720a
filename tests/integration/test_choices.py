# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Second choices, and waiting for offers."""

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
def test_hosts_without_an_offer_of_their_first_choice_get_the_next_one(make_project: MakeProject) -> None:
    offers = [
        Offer(region="EU", contract_type="spot", gpu_price_per_hour=1.0),
        Offer(region="US", gpu_price_per_hour=2.9),
        Offer(region="US", gpu_price_per_hour=3.1),
        Offer(gpu_type=A100, gpu_price_per_hour=2.0),
    ]
    project = make_project(offers)
    project.declare(["gpu-1", "gpu-2", "gpu-3"], provision_spec=CHOICES, provision_reach=False)
    quote = project.play("compute_index.supply.quote")
    assert quote.returncode == 2, quote.output
    assert (
        "gpu-2 gets choice 3 (1 x A100, ondemand): 1 x H100, ondemand, EU: only elsewhere (US);"
        " 1 x H100, ondemand, US: none is left"
    ) in quote.text
    assert "There is no offer for this host." in quote.failure("gpu-3")
    # Each of the three choices is searched once; the first also without its limits, since it found nothing, and the
    # other two once more, since they had too few offers for all hosts.
    assert project.requests("POST", "/get_offers") == 6
    project.declare(["gpu-1", "gpu-2"], provision_spec=CHOICES, provision_reach=False)
    bought = project.provision()
    assert bought.returncode == 0, bought.output
    owned = {each.request["resource_name"]: each.offer_id for each in project.simulator.purchases}
    assert owned == {"gpu-1": offers[1].offer_id, "gpu-2": offers[3].offer_id}
    assert "gpu-1 gets choice 2 (1 x H100, ondemand, US)" in bought.text
    again = project.provision()
    assert (again.returncode, again.changed) == (0, 0) and "differs from its variables" not in again.text, again.output


def test_spec_order_cheapest_compares_prices_per_gpu(make_project: MakeProject) -> None:
    offers = [Offer(gpu_price_per_hour=2.0), Offer(gpu_type=A100, gpu_count=4, gpu_price_per_hour=0.5)]
    project = make_project(offers)
    pair = [{"compute": {"gpu_type": "H100", "gpu_count": 1}}, {"compute": {"gpu_type": "A100", "gpu_count": 4}}]
    project.declare(["gpu-1"], provision_spec=pair, provision_spec_order="cheapest", provision_reach=False)
    run = project.provision()
    assert run.returncode == 0, run.output
    (purchase,) = project.simulator.purchases
    assert purchase.offer_id == offers[1].offer_id


def provision_patiently(project: Project, **variables: Any) -> Run:
    """Provision, and wait up to 30 s for offers."""
    usual = {"provision_wait": "30s", "provision_wait_delay": "1s", "provision_reach": False}
    return project.provision(**{**usual, **variables})


@pytest.mark.first
@core
def test_provision_buys_nothing_until_every_host_has_an_offer(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0), Offer(gpu_price_per_hour=9.0)])
    project.declare(["gpu-1", "gpu-2"])
    # Hosts may differ; gpu-1 does not wait.
    project.declare_host("gpu-2", provision_wait="30s")

    is_over = threading.Event()

    def sell() -> None:
        """Add an offer after two looks found too few."""
        # Each look searches twice, since two hosts share one offer.
        while project.requests("POST", "/get_offers") < 4 and not is_over.wait(0.05):
            pass
        assert project.simulator.purchases == [], "a machine was bought and billed while a host waited"
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


def test_host_that_waited_in_vain_fails_and_the_other_buys(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0)])
    project.declare(["gpu-1", "gpu-2"])
    checked = project.provision("--check", provision_wait="1h")
    assert checked.returncode == 2 and "No offer yet" not in checked.text
    # gpu-1, whose task searches for all hosts, stops waiting long before gpu-2.
    project.declare_host("gpu-1", provision_wait="1s")
    project.declare_host("gpu-2", provision_wait="7s")
    run = project.provision(provision_wait_delay="1s", provision_reach=False)
    assert run.returncode == 2 and len(project.simulator.billed) == 1, run.output
    assert "No offer yet for gpu-2, since" in run.text and "There is no offer for this host" in run.failure("gpu-2")
    assert "It has waited since 2" in run.failure("gpu-2")


def test_with_zero_wait_delay_a_later_run_looks_again(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0)])
    project.declare(["gpu-1", "gpu-2"])
    until_2099 = {"provision_wait": "2099-01-01T00:00Z", "provision_wait_delay": 0}
    first = provision_patiently(project, **until_2099)
    assert first.returncode == 0, first.output
    assert "gpu-2: no offer yet; runs look until 2099-01-01 00:00 UTC" in first.text
    assert (len(project.simulator.billed), project.registry("gpu-2")) == (1, None)
    project.simulator.add_offer(gpu_price_per_hour=3.0)
    second = provision_patiently(project, **until_2099)
    assert second.returncode == 0 and len(project.simulator.billed) == 2, second.output
    # A relative time is invalid with a delay of 0, but hosts that own a machine do not wait.
    third = provision_patiently(project, provision_wait="8h", provision_wait_delay=0)
    assert third.returncode == 0, third.output
