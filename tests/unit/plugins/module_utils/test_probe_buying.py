# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the probe may buy a machine, and which."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._probe import purchases

MAY = {"limited": False, "is_known": False, "extra": ["probe_buy"], "remembers": True}


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({}, ""),
        ({"limited": True, "is_known": True}, "which --limit excludes"),
        ({"is_known": True}, "Remove the-probe from the inventory"),
        ({"extra": ["provision_spec", "provision_adopt"]}, "sets provision_adopt, provision_spec itself"),
        ({"remembers": False}, "needs a registry"),
    ],
)
def test_why_nothing_is_bought(fields: dict[str, Any], refusal: str) -> None:
    told = purchases.why_not_bought("the-probe", **{**MAY, **fields})
    assert refusal in told and bool(told) is bool(refusal)


ONE = {"gpu_type": "nvidia-h100", "gpu_count": 1, "gpu_price_per_hour": 2.0}


@pytest.mark.parametrize(
    ("fields", "one"),
    [
        ({}, True),
        ({"node_count": 1}, True),
        ({"node_count": 2}, False),
        ({"gpu_count": 8}, False),
        ({"gpu_type": None}, False),
        ({"gpu_type": "{{ 7 * 7 }}"}, False),
        ({"gpu_price_per_hour": None}, False),
    ],
)
def test_one_machine_with_one_gpu_of_a_plain_name_and_a_price(fields: dict[str, Any], one: bool) -> None:
    assert (purchases.cheapest([{**ONE, **fields}]) is not None) is one


def test_the_cheapest_is_chosen() -> None:
    offers = [{**ONE, "gpu_price_per_hour": price, "id": number} for number, price in enumerate((2.0, 1.5, 1.5))]
    assert (purchases.cheapest(offers) or {})["id"] == 1
    assert purchases.cheapest([]) is None
