# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""offer_info, and the options and failures that all operations share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import operation
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError, SupplyApi
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import OFFER_INFO

from request_queue import LOST, RequestQueue
from samples import BASE, NOT_FOUND, OFFER_ID, OFFER_PATH, OTHER_ID, TOKEN, offer

Result = dict[str, Any]
SPEC = {"region": "EU", "compute": {"gpu_type": "H100", "gpu_count": 8, "contract_type": "ondemand"}}
SEARCH = "POST", "/get_offers"


@pytest.fixture
def info(queue: RequestQueue, perform: Callable[..., Result]) -> Callable[..., Result]:
    queue.list_gpus({})  # read if a search finds nothing
    return lambda check_mode=False, **params: perform(OFFER_INFO, check_mode, **params)


# Searching


@pytest.mark.parametrize("check_mode", [False, True])
def test_search_returns_offers_cheapest_first(queue: RequestQueue, info: Any, check_mode: bool) -> None:
    found = [offer(offer_id=OTHER_ID, total_price_per_hour=3.0), offer()]
    queue.expect(*SEARCH, {"offers": found, "total_count": 12, "filters_applied": {}}, body=SPEC)
    result = info(check_mode, spec=SPEC)
    assert [item["offer_id"] for item in result["offers"]] == [OFFER_ID, OTHER_ID]
    assert (result["changed"], result["total_count"]) == (False, 12)
    assert "failed" not in result


def test_search_without_offers_succeeds(queue: RequestQueue, info: Any) -> None:
    queue.expect(*SEARCH, {"offers": [], "total_count": 0})
    assert info(spec=SPEC) == {"changed": False, "offers": [], "total_count": 0, "warnings": []}


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ({**SPEC, "zone": "US", "cluster": {}}, "zone, cluster"),
        ({"compute": {"gpu_type": "L4", "nvlink": True, 7: 8}}, "compute.nvlink, compute.7"),
        ({"compute": "L4", "x": 1}, "x"),
        (
            {**SPEC, "storage": [{"kind": 1}, {"kind": 2, "size": "1TB"}], "network": {"mtu": 9}},
            "storage.kind, network.mtu",
        ),
        ({**SPEC, "storage": {"iops": 1}, "network": ["x"]}, "storage.iops"),
    ],
)
def test_undocumented_keys_are_sent_with_a_warning(queue: RequestQueue, info: Any, spec: Any, names: str) -> None:
    queue.expect(*SEARCH, [])
    assert info(spec=spec)["warnings"] == [f"spec has {names}, which no page of the API documents: it may be ignored."]


FULL_SPEC = {
    **{"region": "EU", "vendor": "nebius", "max_procure_time_seconds": 300, "storage": [{"type": "filesystem"}]},
    **{"compute": {"gpu_type": "H100", "gpu_count": 8, "contract_type": "any"}, "network": {"supports_cilium": False}},
}
FLAT_NAMES = ["gpuType", "minGpuCount", "region", "vendor", "max-procure-time-seconds", "storage", "supportsCilium"]


@pytest.mark.parametrize(
    ("filters", "missing"),
    [
        # Empty (as in the sample of the API's documentation) or unreadable
        *((nothing, "") for nothing in ({}, None, [], "", 7, True, "absent")),
        (FULL_SPEC, ""),
        (FLAT_NAMES, ""),
        (dict.fromkeys(FLAT_NAMES, 1), ""),
        ([{"name": "gpu_type"}, *FLAT_NAMES[1:]], ""),
        ({name: item for name, item in FULL_SPEC.items() if name != "region"}, "region"),
        ({**FULL_SPEC, "compute": {"gpu_type": "H100"}}, "compute.gpu_count"),
        ({**FULL_SPEC, "storage": [], "network": {}}, "network.supports_cilium"),
        ({"vendor": "nebius"}, "region, max_procure_time_seconds, storage, compute.gpu_type, compute.gpu_count,"),
    ],
    ids=repr,
)
def test_filter_that_was_not_applied_is_a_warning(queue: RequestQueue, info: Any, filters: Any, missing: str) -> None:
    queue.expect(
        *SEARCH, {"offers": [], "total_count": 0, **({} if filters == "absent" else {"filters_applied": filters})}
    )
    warnings = info(spec=FULL_SPEC)["warnings"]
    assert len(warnings) == bool(missing)
    assert all(f"The API's list of applied filters lacks {missing}" in text for text in warnings)


@pytest.mark.parametrize(
    ("spec", "pattern"),
    [
        ({**SPEC, "regoin": "US"}, "has 'regoin', which the API does not document: did you mean 'region'?"),
        ({"compute": {"gpu_type": "L4", "gpu_cuont": 8}}, "has 'compute.gpu_cuont', .* 'compute.gpu_count'"),
        (
            {"compute": {"gpu_type": "L4", "contract_typ": "spot"}},
            "has 'compute.contract_typ', .* 'compute.contract_type'",
        ),
        ({"compute": {"gpu_type": "L4"}, "Vendor": "x", "x": 1}, "has 'Vendor', .* 'vendor'"),
        (
            {**SPEC, "storage": [{"size": "1TB"}, {"persistant": True}]},
            "has 'storage.persistant', .* 'storage.persistent'",
        ),
        ({**SPEC, "network": {"support_cilium": True}}, "has 'network.support_cilium', .* 'network.supports_cilium'"),
    ],
)
def test_misspelled_key_is_refused(queue: RequestQueue, info: Any, spec: Any, pattern: str) -> None:
    """An API that ignores the key would sell something else."""
    result = info(spec=spec)
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, "invalid", None)
    assert re.fullmatch(f"spec {pattern}.* Nothing was sent\\.", result["msg"])
    assert queue.calls == []


@pytest.mark.parametrize(
    ("compute", "sent"),
    [
        ({}, {"contract_type": "ondemand"}),
        ({"contract_type": None}, {"contract_type": "ondemand"}),
        ({"contract_type": ""}, {"contract_type": "ondemand"}),
        ({"contract_type": "ondemand"}, {"contract_type": "ondemand"}),
        ({"contract_type": " Spot "}, {"contract_type": "spot"}),
        ({"contract_type": "any"}, {}),
    ],
)
def test_contract_type_defaults_to_ondemand(queue: RequestQueue, info: Any, compute: Any, sent: Any) -> None:
    """A spot machine may be taken away, so spot must be explicit."""
    queue.expect(*SEARCH, [], body={"compute": {"gpu_type": "L4", **sent}})
    assert "failed" not in info(spec={"compute": {"gpu_type": "L4", **compute}})


@pytest.mark.parametrize("word", ["spto", "on-demand", "reserved"])
def test_undocumented_contract_type_is_refused(queue: RequestQueue, info: Any, word: str) -> None:
    result = info(spec={"compute": {"gpu_type": "L4", "contract_type": word}})
    assert (
        result["msg"] == f"spec has compute.contract_type '{word}': it must be ondemand, spot or any. Nothing was sent."
    )
    assert queue.calls == []


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (2, 2), (3, 2), (None, 2)])
def test_limit_caps_the_number_of_offers(queue: RequestQueue, info: Any, limit: int | None, count: int) -> None:
    found = [offer(offer_id=OTHER_ID, total_price_per_hour=3.0), offer()]
    queue.expect(*SEARCH, {"offers": found, "total_count": 12}, body=SPEC)
    result = info(spec=SPEC, limit=limit)
    assert [item["offer_id"] for item in result["offers"]] == [OFFER_ID, OTHER_ID][:count]
    assert result["total_count"] == 12


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one_is_refused(queue: RequestQueue, info: Any, limit: int) -> None:
    result = info(spec=SPEC, limit=limit)
    assert (result["failed"], result["error_class"]) == (True, "invalid")
    assert result["msg"] == f"limit must be at least 1, not {limit}. Nothing was sent."
    assert queue.calls == []


@pytest.mark.parametrize("odd", [None, 7, [], {"a": 1}, "a b"])
def test_offers_without_a_valid_id_come_last(queue: RequestQueue, info: Any, odd: Any) -> None:
    queue.expect(*SEARCH, [offer(offer_id=odd, total_price_per_hour=0.5), offer()])
    assert [item["offer_id"] for item in info(spec=SPEC)["offers"]] == [OFFER_ID, None]


def test_answer_with_another_offer_fails(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", OFFER_PATH, offer(offer_id=OTHER_ID))
    result = info(offer_id=OFFER_ID)
    assert (result["failed"], result["error_class"]) == (True, "protocol")


@pytest.mark.parametrize(
    "spec",
    [
        {"storage": [{"type": "filesystem", "size": "2TB"}]},
        {"compute": {"gpu_type": "L4", "contract_type": "ondemand"}},
        {"storage": [{"type": "filesystem", "size": "2TB"}], "compute": {}},
    ],
)
def test_compute_or_storage_is_enough_for_a_search(queue: RequestQueue, info: Any, spec: Any) -> None:
    queue.expect(*SEARCH, [], body=spec)
    assert info(spec=spec)["offers"] == []


@pytest.mark.parametrize("spec", [{}, {"region": "EU"}, {"compute": {}, "storage": []}, {"compute": None}])
def test_spec_without_compute_and_storage_is_refused(queue: RequestQueue, info: Any, spec: Any) -> None:
    result = info(spec=spec)
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, "invalid", None)
    assert result["msg"].startswith("spec needs a section 'compute'")
    assert result["msg"].endswith("Nothing was sent.")
    assert queue.calls == []


GPUS = {"H100": ["nvidia-h100-sxm5-80gb"], "A100": ["nvidia-a100-sxm4-80gb"]}


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize(("status", "hint"), [(200, "The API lists no GPU 'h100'. Did you mean H100?"), (404, "")])
def test_unknown_gpu_gets_a_hint_at_the_nearest_one(
    queue: RequestQueue, info: Any, refuses: bool, status: int, hint: str
) -> None:
    """Whether the API refuses the search or finds nothing. An unreadable catalog does not hide the refusal."""
    queue.expect(*SEARCH, {"detail": "Unknown GPU"} if refuses else [], 422 if refuses else 200)
    queue.expect("GET", "/available_gpus", GPUS, status)
    result = info(spec={"compute": {"gpu_type": "h100"}})
    if refuses:
        assert result["status_code"] == 422 and result["msg"].endswith(f"answered 422: Unknown GPU. {hint}".strip())
    else:
        assert result["warnings"] == [hint] * bool(hint)


# One offer


def test_one_offer_is_read_with_its_price(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", OFFER_PATH, offer())
    result = info(offer_id=OFFER_ID.upper())
    assert (result["total_count"], result["changed"]) == (1, False)
    assert (result["offers"][0]["offer_id"], result["offers"][0]["price_per_hour"]) == (OFFER_ID, 2.0)


def test_invalid_offer_id_sends_nothing(queue: RequestQueue, info: Any) -> None:
    result = info(offer_id="abc-123")
    assert (result["failed"], result["error_class"]) == (True, "invalid")
    assert queue.calls == []


# Failures


@pytest.mark.parametrize(
    ("reply", "code", "error_class", "advice"),
    [
        ({}, 401, "auth", "Check api_token (COMPUTE_INDEX_API_TOKEN) and that it belongs to api_url."),
        ({}, 403, "auth", "Check api_token (COMPUTE_INDEX_API_TOKEN) and that it belongs to api_url."),
        (NOT_FOUND, 404, "not_found", "answered 404: Not found. Check api_url."),
        ({"detail": "Unknown GPU"}, 422, "invalid", "answered 422: Unknown GPU."),
        ({}, 429, "rate_limited", "answered 429."),
        ({}, 500, "unavailable", "Try again later; check api_url, the network and proxies."),
        (LOST, None, "unavailable", "Try again later; check api_url, the network and proxies."),
        (b"<html>", 200, "protocol", "Is api_url the Supply API?"),
        ({"offers": None}, 200, "protocol", "the API's answer holds no list."),
    ],
)
def test_failed_search_has_error_class_and_advice(
    queue: RequestQueue, info: Any, reply: Any, code: int | None, error_class: str, advice: str
) -> None:
    queue.expect(*SEARCH, reply, code or 200)
    result = info(spec=SPEC)
    assert (result["failed"], result["changed"]) == (True, False)
    assert (result["error_class"], result["status_code"]) == (error_class, code)
    assert result["msg"].endswith(advice)


def test_bug_is_reported_without_its_text(info: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_bug(*_args: Any) -> None:
        raise RuntimeError(TOKEN)

    monkeypatch.setattr(Market, "search_offers", raise_bug)
    result = info(spec=SPEC)
    assert result["msg"] == "This is a bug of the collection: RuntimeError in offer_info."
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, "protocol", None)
    assert "outcome" not in result
    assert TOKEN not in repr(result)


# The common options


@pytest.mark.parametrize(
    ("params", "verify"),
    [
        ({}, True),
        ({"validate_certs": False}, False),
        ({"validate_certs": False, "ca_path": __file__}, False),
        ({"ca_path": __file__}, __file__),
        ({"ca_path": ""}, True),
    ],
    ids=["default", "not verified", "not verified, with ca_path", "ca_path", "empty ca_path"],
)
def test_certificate_options_reach_the_client(queue: RequestQueue, info: Any, params: Any, verify: Any) -> None:
    queue.expect(*SEARCH, [])
    info(spec=SPEC, **params)
    assert queue.calls[0].req_kwargs["verify"] == verify


def test_timeout_token_and_url_reach_the_client(queue: RequestQueue, info: Any) -> None:
    queue.expect(*SEARCH, [offer()])
    info(spec=SPEC, api_timeout=7.5, api_token=f" {TOKEN}\n", api_url=f"{BASE}/")
    ((connecting, whole),) = queue.timeouts
    assert 0 < connecting <= 7.5 and 0 < whole <= 7.5, "the rest of the timeout when the request is sent"
    assert queue.calls[0].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (2, 3), (-1, 1)])
def test_reads_are_retried_up_to_api_retries(queue: RequestQueue, info: Any, retries: int, requests: int) -> None:
    queue.expect(*SEARCH, {}, 500, times=requests)
    assert info(spec=SPEC, api_retries=retries)["failed"]


def test_creating_the_client_sends_nothing(queue: RequestQueue) -> None:
    params = {"api_url": BASE, "api_token": TOKEN, "api_timeout": 60, "api_retries": 5, "validate_certs": True}
    assert isinstance(operation._connect(SupplyApi, params, True), SupplyApi)


def test_failure_has_the_fields_of_its_api_error() -> None:
    error = ApiError("No.", "rate_limited", status_code=429, retry_after=7.0)
    assert Failure.of(error, "Later.", offer_id=OFFER_ID).result == {
        "changed": False,
        "failed": True,
        "msg": "No. Later.",
        "error_class": "rate_limited",
        "status_code": 429,
        "retry_after": 7.0,
        "offer_id": OFFER_ID,
    }
