# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Second choices: what is bought where there is nothing of what is wanted most, and what is said of it."""

from __future__ import annotations

from conftest import MakeProject, core
from simulator import Offer

A100 = "nvidia-a100-sxm4-80gb"
CHOICES = [
    {"region": "EU", "compute": {"gpu_type": "H100", "gpu_count": 1, "contract_type": "ondemand"}},
    {"region": "US", "compute": {"gpu_type": "H100", "gpu_count": 1}, "max_price_per_hour": 3},
    {"compute": {"gpu_type": "A100", "gpu_count": 1}},
]


@core
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
        "gpu-2 gets choice 3 (1 x A100): 1 x H100, ondemand, EU: only elsewhere (US); 1 x H100, US: given to other hosts"
    ) in shown.text
    assert "None of the searches of provision_spec has an offer for this host." in shown.failure("gpu-3")
    # The market is asked once for each search, and once without each limit of the one that finds nothing.
    assert project.requests("POST", "/get_offers") == 5
    project.declare(["gpu-1", "gpu-2"], provision_spec=CHOICES, provision_reach=False)
    bought = project.provision()
    assert bought.returncode == 0, bought.output
    owned = {each.request["resource_name"]: each.offer_id for each in project.simulator.purchases}
    assert owned == {"gpu-1": offers[1].offer_id, "gpu-2": offers[3].offer_id}
    assert "gpu-1 gets choice 2 (1 x H100, US)" in bought.text
    again = project.provision()
    assert (again.returncode, again.changed) == (0, 0) and "owns something else" not in again.text, again.output


def test_the_cheapest_gpu_of_all_choices(make_project: MakeProject) -> None:
    offers = [Offer(gpu_price_per_hour=2.0), Offer(gpu_type=A100, gpu_count=4, gpu_price_per_hour=0.5)]
    project = make_project(offers)
    pair = [{"compute": {"gpu_type": "H100", "gpu_count": 1}}, {"compute": {"gpu_type": "A100", "gpu_count": 4}}]
    project.declare(["gpu-1"], provision_spec=pair, provision_spec_order="cheapest", provision_reach=False)
    run = project.provision()
    assert run.returncode == 0, run.output
    (purchase,) = project.simulator.purchases
    assert purchase.offer_id == offers[1].offer_id
