# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the market has now: which requests are sent for that, and what becomes of refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._operations.offers import OFFERS

from request_queue import RequestQueue
from samples import offer

Look = Callable[..., dict[str, Any]]
GPUS = {"H100": ["nvidia-h100-sxm5-80gb"], "L4": ["nvidia-l4-pcie-24gb"]}
SIZES = (1, 2, 4, 8)


@pytest.fixture
def look(perform: Callable[..., dict[str, Any]]) -> Look:
    return lambda **params: perform(OFFERS, step="offers", **params)


def expect(queue: RequestQueue, count: int, *offers: Any, status: int = 200, **compute: Any) -> None:
    answer = {"offers": list(offers)} if status == 200 else {"detail": "No."}
    queue.expect("POST", "/get_offers", answer, status, body={"compute": {**compute, "gpu_count": count}})


def test_all_kinds_take_one_search_for_each_size(queue: RequestQueue, look: Look) -> None:
    queue.expect("GET", "/available_gpus", GPUS)
    for count in SIZES:
        expect(queue, count, *([offer()] if count == 1 else []), gpu_type="H100 | L4")
    shown = look()
    assert [kind["gpu_type"] for kind in shown["kinds"]] == ["nvidia-h100-sxm5-80gb"] and shown["offers"] == []
    assert shown["warnings"] == [] and shown["changed"] is False


def test_the_offers_of_a_gpu(queue: RequestQueue, look: Look) -> None:
    for count in SIZES:
        expect(queue, count, offer(gpu_count=count), gpu_type="H100", contract_type="ondemand")
    shown = look(spec={"compute": {"gpu_type": "H100"}})
    assert len(shown["offers"]) == 4 and shown["kinds"] == []
    assert shown["lines"][-2].strip() == f"-e provision_offer_id={shown['offers'][0]['offer_id']}"


def test_a_search_that_the_api_refuses_fails(queue: RequestQueue, look: Look) -> None:
    expect(queue, 1, status=422, gpu_type="h100", contract_type="ondemand")
    queue.expect("GET", "/available_gpus", GPUS)
    shown = look(answers={"order_gpu_type": "h100", "order_gpu_count": 1})
    assert shown["failed"] and shown["msg"].endswith("No. The API lists no GPU 'h100'. Did you mean H100?")


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"answers": {"order_gpu_count": "two"}}, "order_gpu_count must be a whole number from 0 to 999."),
        ({"spec": {"compute": {"gpu_type": "L4"}, "max_price_per_hou": 1}}, "did you mean 'max_price_per_hour'?"),
        ({"spec": {"regoin": "EU", "compute": {"gpu_type": "L4", "gpu_count": 1}}}, "did you mean 'region'?"),
    ],
)
def test_what_makes_no_sense_sends_nothing(queue: RequestQueue, look: Look, params: Any, reason: str) -> None:
    shown = look(**params)
    assert shown["error_class"] == "invalid" and reason in shown["msg"] and "Nothing was sent." in shown["msg"]
    assert queue.calls == []


def test_a_token_that_is_refused_fails(queue: RequestQueue, look: Look) -> None:
    queue.expect("GET", "/available_gpus", {}, 401)
    assert look()["error_class"] == "auth"
