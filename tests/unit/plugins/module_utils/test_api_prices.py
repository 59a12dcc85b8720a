# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prices per hour, as the tolerant reader takes them from offers and resources."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api import client, market

from canned_api import canned
from samples import offer, resource


def volumes(*costs: Any) -> list[dict[str, Any]]:
    """The ``storage_details`` of an offer with these prices."""
    return [{"name": "data", "hourly_cost": cost} for cost in costs]


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({"total_price_per_hour": 2.5}, 2.5),
        ({"total_price_per_hour": "2.50"}, 2.5),
        ({"total_price_per_hour": 0}, None),
        ({"total_price_per_hour": 0, "gpu_price_per_hour": None, "gpu_count": 8}, None),
        ({"total_price_per_hour": 2.5, "gpu_price_per_hour": 9, "gpu_count": 8, "storage_price_per_hour": 1}, 72.0),
        ({"total_price_per_hour": 1.0, "gpu_price_per_hour": 30.0, "gpu_count": 8}, 240.0),
        ({"total_price_per_hour": "250", "gpu_price_per_hour": "30", "gpu_count": "8"}, 250.0),
        ({"total_price_per_hour": 1.0, "gpu_price_per_hour": 30.0, "gpu_count": None}, 30.0),
        ({"total_price_per_hour": 40.0, "gpu_price_per_hour": 30.0, "gpu_count": 0}, 40.0),
        ({"total_price_per_hour": 0, "gpu_price_per_hour": 30.0, "gpu_count": 1}, None),
        ({"total_price_per_hour": "0.00", "gpu_price_per_hour": 30.0}, None),
        ({"total_price_per_hour": 1e-9, "gpu_price_per_hour": 30.0, "gpu_count": 1}, None),
        ({"total_price_per_hour": 0, "gpu_price_per_hour": 0, "gpu_count": 1}, None),
        ({"total_price_per_hour": 0, "gpu_price_per_hour": -1, "gpu_count": 1}, None),
        ({"total_price_per_hour": -1, "gpu_price_per_hour": 2, "gpu_count": 2, "storage_price_per_hour": 1}, 5.0),
        ({"total_price_per_hour": 3, "gpu_price_per_hour": -1, "gpu_count": 2}, 3.0),
        ({"gpu_price_per_hour": 1e200, "gpu_count": 1e200}, None),
        ({"gpu_price_per_hour": 1e200, "gpu_count": 1e200, "total_price_per_hour": 1}, None),
        ({"gpu_price_per_hour": 0, "gpu_count": 8, "storage_price_per_hour": 0.5}, 0.5),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 8}, 10.0),
        # A cluster whose GPUs are counted per machine, or for all, or either way
        ({"gpu_price_per_hour": 2, "gpu_count": 8, "node_count": 2, "gpus_per_node": 8}, 32.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 16, "node_count": 2, "gpus_per_node": 8}, 32.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 8, "node_count": "2", "gpus_per_node": "8"}, 32.0),
        ({"gpu_price_per_hour": 2, "node_count": 2, "gpus_per_node": 8, "total_price_per_hour": 16}, 32.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 16, "node_count": 2}, 32.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "node_count": 1, "gpus_per_node": 8}, 2.0),
        ({"gpu_price_per_hour": "1.25", "gpu_count": "8"}, 10.0),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 8, "total_price_per_hour": None}, 10.0),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 8, "storage_price_per_hour": 0.5}, 10.5),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 8, "storage_price_per_hour": "0.5"}, 10.5),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 8, "storage_price_per_hour": None}, 10.0),
        ({"gpu_price_per_hour": 0.1, "gpu_count": 3}, 0.3),
        ({"gpu_price_per_hour": 2, "gpu_count": 1}, 2.0),
        ({"gpu_price_per_hour": 0, "gpu_count": 1}, None),
        ({"total_price_per_hour": 0.12345678}, 0.123457),
        ({"gpu_price_per_hour": -1, "gpu_count": 1, "storage_price_per_hour": 5}, None),
        ({}, None),
        ({"gpu_price_per_hour": 1.25}, None),
        ({"gpu_price_per_hour": 1.25, "gpu_count": None}, None),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 0}, None),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 0, "storage_price_per_hour": 5}, None),
        ({"gpu_price_per_hour": 1.25, "gpu_count": None, "storage_price_per_hour": 5}, None),
        ({"gpu_price_per_hour": 1.25, "gpu_count": -1, "storage_price_per_hour": 5}, None),
        ({"gpu_price_per_hour": 1.25, "gpu_count": -1}, None),
        ({"gpu_price_per_hour": -1.25, "gpu_count": 1}, None),
        ({"gpu_price_per_hour": None, "gpu_count": 1}, None),
        ({"gpu_price_per_hour": True, "gpu_count": 1}, None),
        ({"gpu_price_per_hour": 1.25, "gpu_count": True}, None),
        ({"gpu_price_per_hour": [1], "gpu_count": 1}, None),
        ({"gpu_count": 8, "storage_price_per_hour": 0.5}, None),
        ({"total_price_per_hour": -1}, None),
        ({"total_price_per_hour": "-1"}, None),
        ({"total_price_per_hour": True}, None),
        ({"total_price_per_hour": "free"}, None),
        ({"total_price_per_hour": ""}, None),
        ({"total_price_per_hour": "nan"}, None),
        ({"total_price_per_hour": float("nan")}, None),
        ({"total_price_per_hour": float("inf")}, None),
        ({"total_price_per_hour": "1e999"}, None),
        ({"total_price_per_hour": 10**400}, None),
        ({"total_price_per_hour": {}}, None),
        ({"total_price_per_hour": 2, "currency": "EUR"}, None),
        ({"total_price_per_hour": 2, "currency": "usd"}, 2.0),
        ({"total_price_per_hour": 2, "price_currency": "EUR"}, None),
        ({"total_price_per_hour": 2, "currency": "USD", "currencyCode": "GBP"}, None),
        ({"total_price_per_hour": 2, "price_currency": None, "takes_currencies": ["EUR"]}, 2.0),
        ({"total_price_per_hour": False, "gpu_price_per_hour": 1, "gpu_count": 2}, 2.0),
        # An unreadable total may be higher than the price of the GPUs.
        ({"total_price_per_hour": "$9.95", "gpu_price_per_hour": 2, "gpu_count": 1}, None),
        ({"total_price_per_hour": "9,95", "gpu_price_per_hour": 2, "gpu_count": 1}, None),
        ({"total_price_per_hour": {"amount": 9.95}, "gpu_price_per_hour": 2, "gpu_count": 1}, None),
        ({"total_price_per_hour": 10**400, "gpu_price_per_hour": 2, "gpu_count": 1}, None),
        ({"total_price_per_hour": 1e308, "gpu_price_per_hour": 2, "gpu_count": 1}, None),
        ({"total_price_per_hour": 1e308}, None),
        ({"total_price_per_hour": "", "gpu_price_per_hour": 2, "gpu_count": 1}, 2.0),
        ({"total_price_per_hour": 3, "gpu_price_per_hour": "$9.95", "gpu_count": 1}, None),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_price_per_hour": "3 USD"}, None),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_price_per_hour": "3 USD", "total_price_per_hour": 5}, 5.0),
        # The prices of storage may be given only per volume.
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_details": volumes(3, "0.5", None, -1)}, 5.5),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_details": volumes("3 USD")}, None),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_details": volumes(3), "storage_price_per_hour": 1}, 3.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_details": volumes(3), "total_price_per_hour": 4}, 4.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_details": ["?"]}, 2.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_details": "?"}, 2.0),
    ],
    ids=str,
)
def test_price_per_hour_of_offer(fields: dict[str, Any], price: float | None) -> None:
    assert market.price_per_hour(fields) == price
    assert market.read_offer(fields)["price_per_hour"] == price


@pytest.mark.parametrize("storage", [-0.5, "-0.5", -100])
def test_negative_storage_price_is_not_a_discount(storage: Any) -> None:
    price = market.price_per_hour({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_price_per_hour": storage})
    assert price is None or price >= 2


def test_offers_are_sorted_by_price_unknown_prices_last() -> None:
    prices = [3.0, None, 0, "1.5", 2, "?", float("inf")]
    items = [offer(offer_id=str(n), total_price_per_hour=p, gpu_price_per_hour=None) for n, p in enumerate(prices)]
    offers, *_rest = canned({"offers": items}).search_offers({})
    assert [item["offer_id"] for item in offers] == ["3", "4", "0", "1", "2", "5", "6"]


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({"pricing_total_hourly": 2}, 2.0),
        ({"pricing_total_hourly": "2.5"}, 2.5),
        ({"pricing_total_hourly": None}, None),
        ({"pricing_total_hourly": True}, None),
        ({"pricing_total_hourly": "?"}, None),
        ({"pricing_total_hourly": 1e300}, None),
        ({"pricing_total_hourly": -1}, None),
        ({"pricing_total_hourly": 2, "currency": "EUR"}, None),
    ],
    ids=str,
)
def test_price_per_hour_of_resource(fields: dict[str, Any], price: float | None) -> None:
    assert client.read_resource(resource(**fields))["price_per_hour"] == price
