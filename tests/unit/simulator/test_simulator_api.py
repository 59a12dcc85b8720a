# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documented endpoints over real HTTP, and FastAPI's shapes of errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest

from simulator import Offer, volume

Make = Callable[..., Any]
H100 = 'compute: {gpu_type: "H100", gpu_count: 1}'


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    assert answer.json()["total_count"] == len(answer.json()["offers"])
    return [each["offer_id"] for each in answer.json()["offers"]]


def test_openapi_lists_the_documented_endpoints(simulate: Make) -> None:
    api = simulate()
    info = api.get("/openapi.json")
    assert (info["info"]["title"], info["info"]["version"]) == ("Supply Service", "0.1.0")
    assert sorted((method.upper(), path) for path, methods in info["paths"].items() for method in methods) == [
        ("DELETE", "/resources/{resource_id}"),
        ("GET", "/available_contracts"),
        ("GET", "/available_gpus"),
        ("GET", "/available_regions"),
        ("GET", "/available_storage"),
        ("GET", "/available_vendors"),
        ("GET", "/offers/{offer_id}"),
        ("GET", "/offers/{offer_id}/status"),
        ("GET", "/resources"),
        ("GET", "/resources/{resource_id}"),
        ("POST", "/get_offers"),
        ("POST", "/procure_offer"),
    ]


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_tokens_are_refused(simulate: Make, status: int) -> None:
    api = simulate(auth_failure_status=status, token="right")
    assert api("GET", "/available_gpus").status_code == 200
    for token, detail in (("Bearer wrong", "Invalid token"), ("Basic right", "Not authenticated"), (None, "Not auth")):
        answer = api("GET", "/available_gpus", headers={"Authorization": token})
        assert answer.status_code == status
        assert answer.json()["detail"].startswith(detail)
    assert [each.headers.get("authorization") for each in api.simulator.requests] == ["***", "***", "***", None]


def test_default_catalogue(simulate: Make) -> None:
    api = simulate(offers=None)
    offers = list(api.simulator.offers.values())
    assert {each.gpu_family for each in offers} == {"H100", "A100", "L40S", "L4", "RTX4090"}
    assert {each.vendor for each in offers} == {"nebius", "hyperstack", "scaleway"}
    assert {each.region for each in offers} == {"US", "EU", "APAC"}
    assert [each.node_count for each in offers if each.node_count] == [3]
    assert any(each.gpu_price_per_hour is None for each in offers)
    assert api.get("/available_vendors") == ["hyperstack", "nebius", "scaleway"]
    assert api.get("/available_contracts") == ["ondemand", "spot"]
    assert api.get("/available_regions") == ["US", "EU", "APAC", "Other"]
    assert api.get("/available_gpus")["L40S"] == ["nvidia-l40s-pcie-48gb"]
    assert api.get("/available_storage")[0]["price_per_gb_month"] == 0.08


SEARCHES = [
    ("H100", "", "sxm pcie spot"),
    ("nvidia-h100-pcie-80gb", "", "pcie"),
    ("H100 | RTX4090", "", "sxm pcie spot"),
    ("nvidia-l40s-48gb", "", "l40s"),
    ("H100", "gpu_count: 8", "eight cluster"),
    ("RTX4090", "type: container", "shared"),
    ("H100", "contract_type: spot", "spot"),
    ("H100", "max_price_per_gpu_hour: 2.4", "spot pcie"),
    ("A100", "", "cheap dear unknown"),
    ("A100", "max_price_per_gpu_hour: 9", "cheap dear"),
    ("H100", "min_boot_disk_gb: 300", "pcie"),
    ("A100", "min_boot_disk_gb: 100", "cheap dear"),
    ("H100", "gpu_count: 8, node_count: 2", "cluster"),
    ("H100", "}\nregion: US\nx: {", "pcie"),
    ("H100", "}\nvendor: scaleway\nx: {", "spot"),
    ("H100", "}\nnetwork: {supports_cilium: true}\nx: {", "sxm pcie"),
    ("H100", "}\nmax_procure_time_seconds: 60\nx: {", "spot"),
    ("L40S", "}\nstorage: [{type: block_disk, size: 500GB}]\nx: {", "l40s"),
    ("L40S", "}\nstorage: [{type: block_disk, size: 1TB}]\nx: {", ""),
    ("L40S", "}\nstorage: [{type: block_disk, size: 500GB, class: economy}]\nx: {", ""),
]


@pytest.fixture(scope="module")
def catalogue() -> dict[str, dict[str, Any]]:
    return {
        "sxm": {"gpu_price_per_hour": 3},
        "pcie": {
            "gpu_type": "nvidia-h100-pcie-80gb",
            "gpu_price_per_hour": 2.4,
            "region": "US",
            "boot_disk_in_gb": 500,
        },
        "spot": {
            "contract_type": "spot",
            "gpu_price_per_hour": 2,
            "vendor": "scaleway",
            "supports_cilium": False,
            "typical_procure_seconds": 60,
        },
        "eight": {"gpu_count": 8},
        "cluster": {"gpu_count": 16, "node_count": 2},
        "shared": {"gpu_type": "RTX4090", "type": "container", "boot_disk_in_gb": None},
        "dear": {"gpu_type": "A100", "gpu_price_per_hour": 2},
        "cheap": {"gpu_type": "A100", "gpu_price_per_hour": 1},
        "unknown": {"gpu_type": "A100", "gpu_price_per_hour": None, "boot_disk_in_gb": None},
        "l40s": {"gpu_type": "L40S", "storage": [volume(500, 0.1)]},
    }


def test_search_filters_and_sorts(simulate: Make, catalogue: dict[str, dict[str, Any]]) -> None:
    offers = {name: Offer(**fields) for name, fields in catalogue.items()}
    api = simulate(offers=offers.values())
    names = {offer.offer_id: name for name, offer in offers.items()}
    for gpu, conditions, expected in SEARCHES:
        found = [names[each] for each in ids(api.search(f'compute: {{gpu_type: "{gpu}", {conditions}}}'))]
        by_price = sorted(found, key=lambda name: offers[name].gpu_price_per_hour or 99)
        assert (sorted(found), found) == (sorted(expected.split()), by_price), (gpu, conditions)


def test_offer_in_a_search_has_all_documented_fields(simulate: Make) -> None:
    api = simulate(offers=[Offer(gpu_count=16, node_count=2, storage=[volume(730, 0.1)])])
    answer = api.search("compute: {gpu_type: H100, gpu_count: 8, node_count: 2}").json()
    assert answer["filters_applied"]["compute"]["gpu_type"] == "H100"
    offer = answer["offers"][0]
    assert set(offer) == {
        "offer_id",
        "gpu_type",
        "gpu_family",
        "gpu_count",
        "vendor",
        "region",
        "gpu_price_per_hour",
        "boot_disk_in_gb",
        "created_at",
        "vendor_region",
        "contract_type",
        "type",
        "vcpu_count",
        "memory_in_gb",
        "storage_details",
        "storage_price_per_hour",
        "total_price_per_hour",
        "expires_at",
        "deployment_type",
        "node_count",
        "gpus_per_node",
        "infiniband_bandwidth_gbps",
        "cluster_storage_gb",
    }
    assert (offer["storage_price_per_hour"], offer["total_price_per_hour"]) == (0.1, 40.1)
    assert (offer["gpu_count"], offer["node_count"], offer["gpus_per_node"]) == (16, 2, 8)


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ("compute: [unclosed", None),
        ('"compute: {gpu_type: H100}"', None),
        ("compute: {gpu_count: 1}", ["body", "compute", "gpu_type"]),
        ("compute: {gpu_type: T1000}", ["body", "compute", "gpu_type"]),
        ("compute: {gpu_type: H100, gpu_count: 3}", ["body", "compute", "gpu_count"]),
        ("compute: {gpu_type: H100, max_price_per_gpu_hour: .nan}", ["body", "compute", "max_price_per_gpu_hour"]),
        ("compute: {gpu_type: H100}\nregion: Mars", ["body", "region"]),
        ("region: EU", ["body"]),
    ],
)
def test_invalid_searches_are_refused(simulate: Make, spec: str, where: list[str] | None) -> None:
    answer = simulate().search(spec)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    if where is None:
        assert isinstance(detail, str)
    else:
        assert detail[0]["loc"] == where
        assert {"msg", "type"} <= set(detail[0])


def test_searches_are_yaml_and_may_find_nothing(simulate: Make) -> None:
    api = simulate()
    assert api.search(json.dumps({"compute": {"gpu_type": "H100"}}), "application/json").status_code == 415
    assert api.search(H100, "application/yaml; charset=utf-8").json()["offers"] == []
    assert api.search("storage: [{type: filesystem, size: 2TB}]").json()["total_count"] == 0


def test_offer_details_have_all_documented_fields(simulate: Make) -> None:
    api = simulate(offers=[Offer(gpu_price_per_hour=None), Offer(gpu_count=2, gpu_price_per_hour=2.25)])
    unknown, known = (api.get(f"/offers/{each}") for each in api.simulator.offers)
    assert set(known) == {
        "offer_id",
        "gpu_type",
        "gpu_family",
        "gpu_count",
        "vendor",
        "region",
        "status",
        "created_at",
        "contract_type",
        "gpu_price_per_hour",
        "boot_disk_in_gb",
        "vcpu_count",
        "memory_in_gb",
        "total_price_per_hour",
        "expires_at",
        "procured_at",
    }
    assert (known["status"], known["procured_at"], known["total_price_per_hour"]) == ("available", None, 4.5)
    assert (unknown["gpu_price_per_hour"], unknown["total_price_per_hour"]) == (None, None)


def test_unknown_ids_are_404_and_malformed_ids_422(simulate: Make) -> None:
    api = simulate()
    for method, path in (
        ("GET", "/offers/{}"),
        ("GET", "/offers/{}/status"),
        ("GET", "/resources/{}"),
        ("DELETE", "/resources/{}"),
    ):
        missing, malformed = api(method, path.format(uuid4())), api(method, path.format("abc-123"))
        assert (missing.status_code, malformed.status_code) == (404, 422)
        assert isinstance(missing.json()["detail"], str)
        assert malformed.json()["detail"][0]["type"] == "uuid_parsing"
    assert api.get(f"/resources?offer_id={uuid4()}") == []


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"offer_id": "abc-123"}, "offer_id"),
        ({"ssh_public_key": ""}, "ssh_public_key"),
        ({"ssh_public_key": None}, "ssh_public_key"),
        ({"cloud_init": "echo"}, "cloud_init"),
        ({"cloud_init": "#cloud-config\n" + "é" * 32768}, "cloud_init"),
        ({"cluster_name": 5}, "cluster_name"),
    ],
)
def test_invalid_purchases_are_refused(simulate: Make, fields: dict[str, Any], where: str) -> None:
    api = simulate(offers=[Offer()])
    answer = api.buy(next(iter(api.simulator.offers.values())), **fields)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", where]
    assert not api.simulator.purchases


def test_purchase_from_search_to_deletion(simulate: Make) -> None:
    api = simulate(offers=[Offer()])
    offer = api.simulator.offers[ids(api.search(H100))[0]]
    assert api.status(offer) == {
        "offer_id": offer.offer_id,
        "status": "available",
        "created_at": api.status(offer)["created_at"],
        "procurement_status": "available",
        "instances": [],
        "resource_ids": [],
        "progress": None,
        "failure_reason": None,
        "procured_at": None,
    }

    bought = api.buy(offer, resource_name="train-1", cloud_init="#!/bin/sh\n").json()
    (resource_id,) = bought["resource_ids"]
    assert (bought["status"], bought["error"]) == ("procured", None)
    status = api.status(offer)
    assert (status["status"], status["procurement_status"], status["progress"]) == (
        "procured",
        "ready",
        "1/1 instances running",
    )
    assert status["instances"][0]["status"] == "running"
    assert ids(api.search(H100)) == []
    (resource,) = api.get(f"/resources?offer_id={offer.offer_id}")
    assert resource == api.get(f"/resources/{resource_id}")
    assert (resource["name"], resource["status"], resource["pricing_total_hourly"]) == ("train-1", "running", 2.5)
    assert resource["offer_history"][0]["offer_id"] == offer.offer_id

    purchase = api.simulator.purchases[0]
    assert (purchase.offer_id, purchase.resource_ids) == (offer.offer_id, [resource_id])
    assert purchase.request["resource_name"] == "train-1"
    assert api.simulator.billed == [resource_id]

    deleted = api("DELETE", f"/resources/{resource_id}", params={"force": "true"})
    assert (deleted.status_code, set(deleted.json())) == (200, {"resource_id", "status", "message"})
    assert api("DELETE", f"/resources/{resource_id}").status_code == 409
    assert api.get(f"/resources/{resource_id}")["status"] == "deleted"
    assert api.get("/resources") == []
    assert api.simulator.billed == []
    last = api.simulator.requests[-4]
    assert (last.method, last.query, last.status) == ("DELETE", "force=true", 200)


def test_expired_and_ended_offers_are_listed_anew(simulate: Make) -> None:
    now = [datetime(2030, 1, 1, tzinfo=timezone.utc)]
    api = simulate(offers=[Offer()], clock=lambda: now[0])
    (first,) = ids(api.search(H100))
    now[0] += timedelta(minutes=29, seconds=59)
    assert ids(api.search(H100)) == [first]
    now[0] += timedelta(seconds=1)
    offer = api.simulator.offers[first]
    assert api.get(f"/offers/{first}")["status"] == "expired"
    assert api.buy(offer).status_code == 410
    (second,) = ids(api.search(H100))
    assert second != first

    (resource_id,) = api.buy(api.simulator.offers[second]).json()["resource_ids"]
    assert ids(api.search(H100)) == []
    api("DELETE", f"/resources/{resource_id}")
    (third,) = ids(api.search(H100))
    assert third not in (first, second)
    api.simulator.settings.reissue = False
    now[0] += timedelta(minutes=30)
    assert ids(api.search(H100)) == []


def test_ten_thousand_machines_are_listed(simulate: Make) -> None:
    api = simulate(provision_seconds=60, procure_seconds=60)
    machines = api.simulator.populate(10_000)
    listed = api.get("/resources")
    api.simulator.__exit__()
    assert [each["resource_id"] for each in listed] == [each.resource_id for each in machines]
    assert {each["status"] for each in listed} == {"running"}
    assert len({each["name"] for each in listed}) == len({each["access"]["ssh_command"] for each in listed}) == 10_000
    assert {each["access"]["external_ip"].rpartition(".")[0] for each in listed} == {"192.0.2"}
    assert {each["vendor"] for each in listed} == {"nebius", "hyperstack", "scaleway"}
    assert {each["spec"]["region"] for each in listed} == {"US", "EU", "APAC"}
    assert {each["spec"]["contract_type"] for each in listed} == {"ondemand", "spot"}
    assert {each["spec"]["gpu_family"] for each in listed} == {"H100", "A100", "L40S", "L4", "RTX4090"}


def test_populate_adds_running_machines(simulate: Make) -> None:
    api = simulate(provision_seconds=60)
    cluster = api.simulator.populate(1, vendor="acme", gpu_count=16, node_count=2)
    single = api.simulator.populate(2, vendor="acme", contract_type=None)
    listed = api.get("/resources")
    assert [each["name"] for each in listed] == ["machine-1-1", "machine-1-2", "machine-3", "machine-4"]
    assert {each["vendor"] for each in listed} == {"acme"}
    assert api.simulator.billed == [each.resource_id for each in [*cluster, *single]]
    assert len({each.address for each in [*cluster, *single]}) == 4
    status = api.status(cluster[0].purchase.offer)
    assert (status["procurement_status"], status["progress"]) == ("ready", "2/2 instances running")
    api("DELETE", f"/resources/{single[0].resource_id}")
    assert api.get(f"/resources/{single[0].resource_id}")["status"] == "deleted"
