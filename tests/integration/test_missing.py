# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A missing machine: it does not use up a ceiling, and its host keeps it until the user decides otherwise."""

from __future__ import annotations

import re

import postgresql
from conftest import MakeProject, Run
from project import extra
from simulator import Offer

PLAYS = "compute_index.supply"
_AGE = """
UPDATE compute_index_supply.purchase SET note = note || '{"provision_missing_since": "2026-01-01T00:00:00Z"}'
WHERE note ? 'provision_missing_since'
"""


def age(url: str) -> None:
    """Make the first look that missed a machine long ago."""
    postgresql.execute(url, _AGE)


def own_lines(run: Run) -> list[str]:
    """The lines of a play's messages, as Ansible prints them."""
    return re.findall(r'^ {8}".*$', run.output, re.MULTILINE)


def test_missing_machine_does_not_use_up_the_account_ceiling(make_project: MakeProject, registry: str) -> None:
    """With a shared registry only: module_utils/test_operations_missing.py tests the rules with both kinds."""
    project = make_project([Offer(gpu_price_per_hour=2.0) for _number in range(6)], provision_seconds=0)
    ceiling = {"provision_max_account_price_per_hour": 6}
    project.declare(["gpu-1", "gpu-2", "gpu-3"], provision_reach=False, provision_registry_url=registry, **ceiling)
    play = project.play
    assert play(f"{PLAYS}.provision").returncode == 0
    lost = next(each.resource_id for each in project.simulator.resources.values() if "gpu-2" in str(each.name))
    project.simulator.hide(lost)
    for _look in range(2):
        swept = play(f"{PLAYS}.reap")
        assert swept.returncode == 0 and "gpu-2: MISSING" in swept.output, swept.output
        age(registry)
    audit, spend = play(f"{PLAYS}.audit"), play(f"{PLAYS}.spend")
    for run in (audit, spend):
        assert "MISSING after two looks" in run.output and lost in run.output, run.output
        assert max(map(len, own_lines(run))) <= 80, run.output
    assert "now 6.00 per hour, 4.00 without missing machines" in spend.output, spend.output
    # Another host fits below the ceiling, but nothing is bought for the host whose machine is missing.
    other = play(f"{PLAYS}.provision", *extra({"provision_hosts": "gpu-4"}))
    assert other.returncode == 0 and len(project.simulator.purchases) == 4, other.output
    assert "gpu-2" not in other.output, other.output
    again = play(f"{PLAYS}.provision", *extra({"provision_hosts": "gpu-2"}))
    assert again.returncode != 0 and len(project.simulator.purchases) == 4, again.output
    assert "MISSING since" in " ".join(again.output.split()), again.output
    # The machine returns and counts again, so nothing more is bought.
    project.simulator.hide()
    full = play(f"{PLAYS}.provision", *extra({"provision_hosts": "gpu-5"}))
    assert full.returncode != 0 and len(project.simulator.purchases) == 4, full.output
    # After the user has forgotten the machine, the host can buy again.
    project.simulator.hide(lost)
    words = {"decommission_hosts": "gpu-2", "decommission_forget": lost}
    assert play(f"{PLAYS}.decommission", *extra(words)).returncode == 0
    bought = play(f"{PLAYS}.provision", *extra({"provision_hosts": "gpu-2", "provision_max_account_price_per_hour": 9}))
    assert bought.returncode == 0 and len(project.simulator.purchases) == 5, bought.output
