# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extra variables that mean one of a playbook's, but are none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._provision.names import PLAYBOOKS, slips_of_playbook

ROOT = Path(__file__).resolve().parents[5]


@pytest.mark.parametrize(
    ("playbook", "name", "meant"),
    [
        ("order_", "order_max_total_price_per_hou", "order_max_total_price_per_hour"),
        ("order_", "odrer_gpu_type", "order_gpu_type"),
        ("order_", "order_max_total", "limit nothing"),
        ("order_", "order_number", ""),  # somebody else's
        ("order_", "audit_name", ""),
        ("order_", "provision_hosts", ""),
        ("order_", "quota", ""),
        ("audit_", "audit_fail_on_orphan", "audit_fail_on_orphans"),
        ("audit_", "order_max_total", ""),
        ("spend_", "spend_sinc", "spend_since"),
        ("reap_", "reap_by_names", "reap_by_name"),
        ("probe_", "probe_max_use", "probe_max_usd"),
        ("extend_", "extend_host", "extend_hosts"),
        ("decommission_", "decommission_coun", "decommission_count"),
        ("decommission_", "extend_host", ""),
    ],
)
def test_a_name_that_means_another_one_is_told(playbook: str, name: str, meant: str) -> None:
    told = slips_of_playbook([name, *PLAYBOOKS], playbook)
    assert len(told) == bool(meant)
    assert all(line.startswith(f"{name} is no variable of this collection") and meant in line for line in told)


def test_the_names_are_those_of_the_guide_of_the_role_and_of_the_surveys() -> None:
    guide = (ROOT / "docs" / "playbooks.md").read_text()
    cells = [row.partition("|")[2].partition("|")[0] for row in guide.splitlines() if row.startswith("| `")]
    role = yaml.safe_load((ROOT / "roles" / "decommission" / "meta" / "argument_specs.yml").read_text())
    surveys = (ROOT / "playbooks" / "vars" / "awx" / "surveys.yml").read_text()
    names = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    names |= set(role["argument_specs"]["main"]["options"]) | set(re.findall(r"variable: (\w+)", surveys))
    assert {name for name in names if not name.startswith(("awx_", "provision_"))} - {"quote"} == PLAYBOOKS
