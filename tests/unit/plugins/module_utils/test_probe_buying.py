# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The offer that the probe buys. `test_operations_probe_purchase` tests when it may buy."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._probe import purchases

OFFER = {"gpu_type": "nvidia-h100", "gpu_count": 1, "gpu_price_per_hour": 2.0}


@pytest.mark.parametrize(
    ("fields", "is_suitable"),
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
def test_cheapest_needs_one_gpu_with_plain_name_and_price(fields: dict[str, Any], is_suitable: bool) -> None:
    assert (purchases.cheapest([{**OFFER, **fields}]) is not None) is is_suitable


def test_cheapest_returns_first_of_lowest_price() -> None:
    offers = [{**OFFER, "gpu_price_per_hour": price, "id": number} for number, price in enumerate((2.0, 1.5, 1.5))]
    assert (purchases.cheapest(offers) or {})["id"] == 1
    assert purchases.cheapest([]) is None
