# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of resources, and one resource by its id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError, SupplyApi
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import RESOURCE_INFO
from test_operations_delete_resource import DISK, PATH, expect_error, expect_look

from request_queue import RequestQueue
from samples import NOT_FOUND, OFFER_ID, RESOURCE_ID, SECOND_RESOURCE_ID, resource

Result = dict[str, Any]


@pytest.fixture
def info(perform: Callable[..., Result]) -> Callable[..., Result]:
    return lambda check_mode=False, **params: perform(RESOURCE_INFO, check_mode, **params)


LISTED = [
    resource(),
    resource(SECOND_RESOURCE_ID, None, name="other", status="deleting"),
    resource("r3", name=None, status=None),
]


@pytest.mark.parametrize(
    ("params", "ids"),
    [
        ({}, [RESOURCE_ID, SECOND_RESOURCE_ID, "r3"]),
        ({"name": "trainer"}, [RESOURCE_ID]),
        ({"name": "train"}, []),
        ({"name": "Trainer"}, []),
        ({"states": ["running"]}, [RESOURCE_ID]),
        ({"states": [" Running ", "DELETING"]}, [RESOURCE_ID, SECOND_RESOURCE_ID]),
        ({"states": []}, [RESOURCE_ID, SECOND_RESOURCE_ID, "r3"]),
        ({"name": "other", "states": ["running"]}, []),
    ],
    ids=str,
)
def test_resources_must_match_all_options(queue: RequestQueue, info: Any, params: Any, ids: list[str]) -> None:
    queue.expect("GET", "/resources", LISTED)
    result = info(**params)
    assert [item["resource_id"] for item in result["resources"]] == ids
    assert result["changed"] is False


@pytest.mark.parametrize(
    ("kinds", "expected_types"),
    [
        ({}, ["vm", "block_disk", "network", "warp-core", None]),
        ({"kinds": None}, ["vm", "block_disk", "network", "warp-core", None]),
        ({"kinds": []}, ["vm", "block_disk", "network", "warp-core", None]),
        ({"kinds": ["machine"]}, ["vm", "warp-core", None]),
        ({"kinds": ["storage"]}, ["block_disk"]),
        ({"kinds": ["other", "storage"]}, ["block_disk", "network"]),
    ],
    ids=str,
)
def test_kinds_select_resources(queue: RequestQueue, info: Any, kinds: Any, expected_types: list[str | None]) -> None:
    types = ["vm", "block_disk", "network", "warp-core", None]
    queue.expect("GET", "/resources", [resource(f"r-{each}", resource_type=each) for each in types])
    assert [item["resource_type"] for item in info(**kinds)["resources"]] == expected_types


def test_only_resources_of_selected_kinds_are_read_fresh(queue: RequestQueue, info: Any) -> None:
    disk = resource(SECOND_RESOURCE_ID, **DISK)
    queue.expect("GET", "/resources", [resource(), disk])
    queue.expect("GET", f"/resources/{SECOND_RESOURCE_ID}", disk, query={"force_refresh": "true"})
    assert [item["kind"] for item in info(kinds=["storage"], force_refresh=True)["resources"]] == ["storage"]


@pytest.mark.parametrize("resource_type", ["block_disk", "network", "warp-core"])
def test_only_known_machine_types_have_ansible_host(queue: RequestQueue, info: Any, resource_type: str) -> None:
    queue.expect("GET", "/resources", [resource(resource_type=resource_type)])
    (described,) = info()["resources"]
    assert (described["ansible_host"], described["access"]["external_ip"]) == (None, "203.0.113.7")


def test_resource_info_adds_state_connection_and_price(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", "/resources", {"items": LISTED})
    first, second, third = info(True)["resources"]
    assert (first["live"], first["ansible_host"], first["ansible_port"]) == (True, "203.0.113.7", 22)
    assert (second["live"], second["ansible_host"]) == (False, None)
    assert (third["live"], third["status"], third["price_per_hour"]) == (True, None, 2.0)


def test_offer_id_selects_resources(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", "/resources", [resource()], query={"offer_id": OFFER_ID})
    assert len(info(offer_id=OFFER_ID.upper())["resources"]) == 1


def test_resource_id_selects_one_resource(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", PATH, resource())
    assert info(resource_id=RESOURCE_ID)["resources"][0]["name"] == "trainer"


def test_resource_info_fails_for_unknown_id(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", PATH, NOT_FOUND, 404)
    result = info(resource_id=RESOURCE_ID)
    assert (result["failed"], result["error_class"], result["status_code"]) == (True, "not_found", 404)


@pytest.mark.parametrize(
    ("status", "live", "gone"),
    [
        ("running", True, False),
        ("hibernating", True, False),
        (None, True, False),
        ("failed", False, False),
        ("deleting", False, False),
        (" Deleted ", False, True),
        ("TERMINATED", False, True),
    ],
)
def test_status_decides_live_and_gone(
    queue: RequestQueue, info: Any, status: str | None, live: bool, gone: bool
) -> None:
    queue.expect("GET", "/resources", [resource(status=status)])
    found = info()["resources"][0]
    assert (found["live"], found["gone"]) == (live, gone)


# force_refresh


def test_resource_id_can_be_read_fresh(queue: RequestQueue, info: Any) -> None:
    expect_look(queue, "running")
    assert info(resource_id=RESOURCE_ID, force_refresh=True)["resources"][0]["status"] == "running"


@pytest.mark.parametrize(
    ("params", "read_ids"),
    [({}, [RESOURCE_ID, SECOND_RESOURCE_ID]), ({"name": "other"}, [SECOND_RESOURCE_ID]), ({"name": "none"}, [])],
    ids=str,
)
def test_each_listed_resource_that_may_match_is_read_fresh(
    queue: RequestQueue, info: Any, params: Any, read_ids: list[str]
) -> None:
    queue.expect("GET", "/resources", LISTED[:2], query={"offer_id": OFFER_ID})
    for key in read_ids:
        queue.expect("GET", f"/resources/{key}", resource(key, status="deleted"), query={"force_refresh": "true"})
    found = info(offer_id=OFFER_ID, force_refresh=True, **params)["resources"]
    assert [(item["resource_id"], item["gone"]) for item in found] == [(key, True) for key in read_ids]


@pytest.mark.parametrize(("states", "count"), [(["deleted"], 1), (["running"], 0)])
def test_states_match_fresh_status(queue: RequestQueue, info: Any, states: list[str], count: int) -> None:
    expect_look(queue.expect("GET", "/resources", [resource()]), "deleted")
    assert len(info(states=states, force_refresh=True)["resources"]) == count


def test_resource_without_page_is_returned_as_listed(queue: RequestQueue, info: Any) -> None:
    """A replica may lag, and a kind of resource may have no pages: a volume would be billed unseen."""
    expect_error(queue.expect("GET", "/resources", [resource(status="stopped")]), NOT_FOUND, 404)
    assert [item["status"] for item in info(force_refresh=True)["resources"]] == ["stopped"]


def test_fields_omitted_by_page_are_returned_as_listed(queue: RequestQueue, info: Any) -> None:
    expect_look(queue.expect("GET", "/resources", [resource()]), "stopped", name=None, offer_history=None)
    (found,) = info(force_refresh=True)["resources"]
    assert (found["status"], found["name"], found["offer_id"]) == ("stopped", "trainer", OFFER_ID)


@pytest.mark.parametrize(("code", "error_class"), [(500, "unavailable"), (403, "auth"), (429, "rate_limited")])
def test_failed_fresh_read_fails_whole_list(queue: RequestQueue, info: Any, code: int, error_class: str) -> None:
    queue.expect("GET", "/resources", LISTED[:2]).show(LISTED[0], {}, code).show(LISTED[1])
    result = info(force_refresh=True)
    assert (result["failed"], result["error_class"]) == (True, error_class)
    assert "resources" not in result


def test_resource_without_id_is_returned_as_listed(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", "/resources", [resource(None)])
    result = info(force_refresh=True)
    assert [(item["resource_id"], item["name"]) for item in result["resources"]] == [(None, "trainer")]
    assert "failed" not in result


# Failures


@pytest.mark.parametrize("params", [{"resource_id": "trainer"}, {"offer_id": "*"}])
def test_resource_info_with_invalid_id_sends_nothing(queue: RequestQueue, info: Any, params: Any) -> None:
    result = info(**params)
    assert (result["failed"], result["error_class"]) == (True, "invalid")
    assert queue.calls == []


def test_failed_list_is_not_returned_as_empty(queue: RequestQueue, info: Any) -> None:
    queue.expect("GET", "/resources", {}, 500)
    result = info()
    assert result["failed"] is True and "resources" not in result


def test_api_error_becomes_failure_with_retry_after(info: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise ApiError("No.", "rate_limited", status_code=429, retry_after=7.0)

    monkeypatch.setattr(SupplyApi, "resources", fail)
    assert info()["retry_after"] == 7.0
