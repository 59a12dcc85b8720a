# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `offers`, run by a user who has no inventory yet."""

from __future__ import annotations

import json

from conftest import MakeProject, Project, Run
from simulator import Offer
from simulator.catalogue import default_offers

PLAYBOOK = "compute_index.supply.offers"


def run_offers(project: Project, **extra: object) -> Run:
    """Run the playbook without an inventory; assert that no line of ours is wider than a screen."""
    run = project.run("ansible-playbook", PLAYBOOK, "-e", json.dumps(extra))
    assert [line for line in run.output.splitlines() if len(line) > 80 and line.startswith('        "')] == []
    return run


def test_offers_shows_the_market_and_offers_that_can_be_bought(make_project: MakeProject) -> None:
    cheap = Offer(gpu_type="H100", gpu_price_per_hour=1.9)
    project = make_project([*default_offers(), cheap])
    project.inventory.unlink()
    market = run_offers(project)
    assert market.returncode == 0, market.output
    assert '"nvidia-h100-sxm5-80gb    1.90       5  1, 2, 8, 24  1 from 2.10",' in market.output, market.output
    assert '"nvidia-a100-pcie-40gb       -       0  1            1 from 1.15",' in market.output
    assert project.requests("POST", "/get_offers") == 4
    offers = run_offers(project, offers_spec={"compute": {"gpu_type": "H100", "gpu_count": 1}})
    assert offers.returncode == 0 and "spot" not in offers.output, offers.output
    assert f'"  -e provision_offer_id={cheap.offer_id}",' in offers.output
    assert '"  -e provision_hosts=<host>"' in offers.output
    bought = project.run(
        *("ansible-playbook", "compute_index.supply.provision", "-e", "provision_hosts=1 provision_reach=false"),
        *("-e", f"provision_offer_id={cheap.offer_id}"),
    )
    assert bought.returncode == 0, bought.output
    assert [purchase.offer_id for purchase in project.simulator.purchases] == [cheap.offer_id]
    ended = project.run("ansible-playbook", "compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1")
    assert ended.returncode == 0 and not project.simulator.billed, ended.output
    assert "Could not match supplied host pattern" not in ended.output, "the registry knows the host"
    mistyped = run_offers(project, order_gpu_type="h100")
    assert mistyped.returncode == 2 and "The API lists no GPU 'h100'. Did you mean H100?" in mistyped.text, (
        mistyped.output
    )
