# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step offers: its requests, and its failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._operations.offers import OFFERS

from request_queue import RequestQueue
from samples import offer

Show = Callable[..., dict[str, Any]]
GPUS = {"H100": ["nvidia-h100-sxm5-80gb"], "L4": ["nvidia-l4-pcie-24gb"]}
GPU_COUNTS = (1, 2, 4, 8)


@pytest.fixture
def show(perform: Callable[..., dict[str, Any]]) -> Show:
    return lambda **params: perform(OFFERS, step="offers", **params)


def expect_search(queue: RequestQueue, count: int, *offers: Any, status: int = 200, **compute: Any) -> None:
    answer = {"offers": list(offers)} if status == 200 else {"detail": "No."}
    queue.expect("POST", "/get_offers", answer, status, body={"compute": {**compute, "gpu_count": count}})


def test_overview_of_all_gpus_sends_one_search_for_each_count(queue: RequestQueue, show: Show) -> None:
    queue.expect("GET", "/available_gpus", GPUS)
    for count in GPU_COUNTS:
        expect_search(queue, count, *([offer()] if count == 1 else []), gpu_type="H100 | L4")
    result = show()
    assert [kind["gpu_type"] for kind in result["kinds"]] == ["nvidia-h100-sxm5-80gb"] and result["offers"] == []
    assert result["warnings"] == [] and result["changed"] is False


def test_spec_lists_offers_of_its_gpu_in_each_count(queue: RequestQueue, show: Show) -> None:
    for count in GPU_COUNTS:
        expect_search(queue, count, offer(gpu_count=count), gpu_type="H100", contract_type="ondemand")
    result = show(spec={"compute": {"gpu_type": "H100"}})
    assert len(result["offers"]) == 4 and result["kinds"] == []
    assert result["lines"][-2].strip() == f"-e provision_offer_id={result['offers'][0]['offer_id']}"


def test_refused_search_fails_with_the_nearest_gpu(queue: RequestQueue, show: Show) -> None:
    expect_search(queue, 1, status=422, gpu_type="h100", contract_type="ondemand")
    queue.expect("GET", "/available_gpus", GPUS)
    result = show(answers={"order_gpu_type": "h100", "order_gpu_count": 1})
    assert result["failed"] and result["msg"].endswith("No. The API lists no GPU 'h100'. Did you mean H100?")


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"answers": {"order_gpu_count": "two"}}, "order_gpu_count must be a whole number from 0 to 999."),
        ({"spec": {"compute": {"gpu_type": "L4"}, "max_price_per_hou": 1}}, "did you mean 'max_price_per_hour'?"),
        ({"spec": {"regoin": "EU", "compute": {"gpu_type": "L4", "gpu_count": 1}}}, "did you mean 'region'?"),
    ],
)
def test_invalid_search_sends_nothing(queue: RequestQueue, show: Show, params: Any, reason: str) -> None:
    result = show(**params)
    assert result["error_class"] == "invalid" and reason in result["msg"] and "Nothing was sent." in result["msg"]
    assert queue.calls == []


def test_refused_token_fails(queue: RequestQueue, show: Show) -> None:
    queue.expect("GET", "/available_gpus", {}, 401)
    assert show()["error_class"] == "auth"
