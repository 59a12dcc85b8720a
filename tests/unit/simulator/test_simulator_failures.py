# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures of single offers and of single requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from simulator import Fault, Offer

Make = Callable[..., Any]
H100 = "compute: {gpu_type: H100}"


def test_offers_may_be_taken_expired_or_rejected(simulate: Make) -> None:
    taken, expired, rejected = offers = Offer(outcome="taken"), Offer(outcome="expired"), Offer(outcome="rejected")
    api = simulate(offers)
    assert api.search(H100).json()["total_count"] == 3
    assert [api.buy(each).status_code for each in offers] == [409, 410, 200]
    again = api.buy(rejected).json()
    assert (again["status"], again["error"], again["resource_ids"]) == ("failed", rejected.error, None)
    assert [api.status(each)["status"] for each in offers] == ["procured", "expired", "failed"]
    assert api.status(taken)["procurement_status"] == "available"
    assert (api.status(rejected)["procurement_status"], api.status(rejected)["failure_reason"]) == (
        "failed",
        rejected.error,
    )
    assert api.search(H100).json()["total_count"] == 0
    assert not api.simulator.purchases
    assert expired.purchase is None


@pytest.mark.parametrize("bills", [True, False])
def test_failed_provisioning_may_bill_its_machine(simulate: Make, bills: bool) -> None:
    offer = Offer(outcome="fails", failed_bills=bills, error="out of stock")
    api = simulate([offer])
    (resource_id,) = api.buy(offer).json()["resource_ids"]
    status = api.status(offer)
    assert (status["procurement_status"], status["status"], status["failure_reason"]) == (
        "failed",
        "failed",
        "out of stock",
    )
    assert status["resource_ids"] == api.simulator.billed == ([resource_id] if bills else [])
    assert [each["status"] for each in api.get("/resources")] == (["failed"] if bills else [])
    assert api("DELETE", f"/resources/{resource_id}").status_code == (200 if bills else 409)
    assert api.simulator.billed == []


@pytest.mark.parametrize(
    ("fields", "word", "progress"),
    [
        ({"outcome": "never_ready"}, "provisioning_in_progress", "0/3"),
        ({"outcome": "never_ready", "running_instances": 2}, "provisioning_in_progress", "2/3"),
        ({"running_instances": 2}, "ready", "2/3"),
    ],
)
def test_clusters_may_be_incomplete(simulate: Make, fields: dict[str, Any], word: str, progress: str) -> None:
    offer = Offer(gpu_count=3, node_count=3, **fields)
    api = simulate([offer])
    api.buy(offer)
    status = api.status(offer)
    assert (status["procurement_status"], status["progress"]) == (word, f"{progress} instances running")
    assert status["instances"][-1] == {"external_ip": None, "ssh_command": None, "status": "provisioning"}


def test_machine_may_be_deleted_while_provisioning(simulate: Make) -> None:
    offer = Offer()
    api = simulate([offer], provision_seconds=60)
    (resource_id,) = api.buy(offer).json()["resource_ids"]
    assert api("DELETE", f"/resources/{resource_id}").json()["status"] == "deleted"
    assert api.status(offer)["procurement_status"] == "failed"


def test_machine_that_vanishes_while_provisioning_fails_its_offer(simulate: Make, until: Make) -> None:
    offer = Offer()
    api = simulate([offer], provision_seconds=0.1)
    (resource_id,) = api.buy(offer).json()["resource_ids"]
    api.simulator.vanish(resource_id)
    until(lambda: api.status(offer)["status"] == "failed")
    assert api.status(offer)["procurement_status"] == "failed"
    assert api.simulator.resources[resource_id].address is None


def test_fault_refuses_a_deletion_once(simulate: Make) -> None:
    api = simulate()
    (machine,) = api.simulator.populate(1)
    path = f"/resources/{machine.resource_id}"
    api.simulator.faults.append(Fault(method="DELETE", path="/resources/", status=409, body={"detail": "busy"}))
    assert api("DELETE", path).status_code == 409
    assert api.get(path)["status"] == "running"
    assert api("DELETE", path).json()["status"] == "deleted"


def test_price_may_rise_after_the_search(simulate: Make) -> None:
    offer = Offer(gpu_count=2, gpu_price_per_hour=2, details_price=3)
    api = simulate([offer])
    assert api.search("compute: {gpu_type: H100, gpu_count: 2}").json()["offers"][0]["total_price_per_hour"] == 4
    assert api.get(f"/offers/{offer.offer_id}")["total_price_per_hour"] == 6
    api.buy(offer)
    assert api.get("/resources")[0]["pricing_total_hourly"] == 6


def test_fault_replaces_answers(simulate: Make) -> None:
    api = simulate()
    api.simulator.faults += [
        Fault(method="GET", path="/available_gpus", nth=2, status=429, headers={"Retry-After": "7"}, body="slow down"),
        Fault(path="/available_(vendors|regions)$", count=None, status=503, body={"detail": ["x"]}),
    ]
    answers = [api("GET", "/available_gpus") for each in range(3)]
    assert [each.status_code for each in answers] == [200, 429, 200]
    assert (answers[1].headers["Retry-After"], answers[1].text) == ("7", "slow down")
    assert [api("GET", path).status_code for path in ("/available_vendors", "/available_regions")] == [503, 503]
    assert api("GET", "/available_vendors").json() == {"detail": ["x"]}
    assert [each.status for each in api.simulator.requests] == [200, 429, 200, 503, 503, 503]


def test_fault_may_depend_on_the_request_body(simulate: Make) -> None:
    offers = [Offer(), Offer()]
    api = simulate(offers)
    api.simulator.faults.append(Fault(path="/procure_offer", sent=r'"resource_name": ?"b"', status=409))
    assert api.buy(offers[0], resource_name="a").status_code == 200
    assert api.buy(offers[1], resource_name="b").status_code == 409
    assert api.buy(offers[1], resource_name="b").status_code == 200


def test_fault_may_delay_answers(simulate: Make) -> None:
    api = simulate()
    api.simulator.faults.append(Fault(delay=0.3))
    begin = time.monotonic()
    assert api("GET", "/available_gpus").status_code == 200
    assert time.monotonic() - begin >= 0.3
    api.simulator.faults.append(Fault(delay=30))
    with pytest.raises(requests.exceptions.ReadTimeout):
        api("GET", "/available_gpus", timeout=0.1)


@pytest.mark.parametrize(
    ("fault", "bought"),
    [
        (Fault(cut="before"), False),
        (Fault(cut="after"), True),
        (Fault(cut="within"), True),
        (Fault(status=502, body="<html>"), False),
        (Fault(status=504, body="<html>", process=True), True),
        (Fault(status=200, body={"status": "procured"}, cut="within"), False),
    ],
)
def test_fault_may_lose_the_answer_to_a_purchase(simulate: Make, fault: Fault, bought: bool) -> None:
    offer = Offer()
    api = simulate([offer])
    fault.seen, fault.method = 0, "POST"
    api.simulator.faults.append(fault)
    if fault.cut:
        with pytest.raises(
            requests.exceptions.ConnectionError if fault.cut != "within" else requests.exceptions.ChunkedEncodingError
        ):
            api.buy(offer)
    else:
        assert api.buy(offer).status_code == fault.status
    assert len(api.simulator.purchases) == bought
    assert (api.status(offer)["procurement_status"] == "ready") == bought
    assert api.simulator.requests[0].json["offer_id"] == offer.offer_id


def test_purchase_completes_after_its_client_has_left(simulate: Make, until: Make) -> None:
    offer = Offer()
    api = simulate([offer], procure_seconds=0.3, purchase_at="end")
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(
            api.simulator.url + "/procure_offer",
            timeout=0.1,
            headers=api.session.headers,
            json={"offer_id": offer.offer_id, "ssh_public_key": "ssh-x"},
        )
    assert not api.simulator.purchases
    until(lambda: api.simulator.purchases)


def test_offers_can_be_added_while_the_simulator_runs(simulate: Make) -> None:
    api = simulate()
    offer = api.simulator.add_offer(gpu_type="nvidia-b200-sxm6-180gb", gpu_price_per_hour=4)
    assert api.simulator.offers[offer.offer_id] is offer
    assert api.search("compute: {gpu_type: B200}").json()["offers"][0]["offer_id"] == offer.offer_id
