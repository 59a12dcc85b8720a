# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plans of many hosts, which Ansible keeps several times each for as long as the play goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from ansible_collections.compute_index.supply.plugins.module_utils._market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations.plan import plan

from provision_samples import SPEC, offer, raw


class Offers:
    """A market with so many offers that fit, on an account without machines."""

    account = "account"

    def __init__(self, count: int) -> None:
        self._offers = [offer(number, region="EU", contract_type="ondemand") for number in range(count)]

    def search_offers(self, spec: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
        assert spec == SPEC
        return self._offers, len(self._offers)

    def resources(self) -> list[dict[str, Any]]:
        return []


def plans(folder: Path, count: int) -> list[dict[str, Any]]:
    """The plans of so many hosts, with as many offers."""
    hosts = [raw(host=f"gpu-{n}", name=f"gpu-{n}", id=str(n), registry_dir=str(folder)) for n in range(count)]
    params = {
        **{"hosts": hosts, "ids": [one["id"] for one in hosts], "consumed": [], "others": {}, "attempts": {}},
        **{"sources": [], "here": "/", "inventory": {}, "connection": "", "identity_file": "", "forbidden": ""},
        **{"quote": False, "failed": [], "registry_mark": "", "slice_of": ""},
    }
    found = plan(cast(Market, Offers(count)), params, True)
    return cast("list[dict[str, Any]]", found["plans"])


def test_a_plan_is_no_larger_among_many(tmp_path: Path) -> None:
    few, many = plans(tmp_path, 5), plans(tmp_path, 100)
    assert {one["action"] for one in (*few, *many)} == {"buy"}
    assert len({one["offer_id"] for one in many}) == 100
    assert len(json.dumps(many)) / 100 < 1.1 * len(json.dumps(few)) / 5
