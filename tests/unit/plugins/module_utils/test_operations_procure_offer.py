# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""procure_offer without a registry: its requests, their order, and its results.

The queue has every request that may be sent: a second POST, or another order, fails the test.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api import client
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations import procure_offer as operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import (
    BLANK,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import order_digests
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clock import Clock
from purchases import assert_failed, expect_failed_offer
from request_queue import LOST, RequestQueue
from samples import (
    BASE,
    KEY,
    NOT_FOUND,
    OFFER_ID,
    OFFER_PATH,
    OTHER_ID,
    POST,
    PRIVATE_KEY,
    RESOURCE_ID,
    SECOND_RESOURCE_ID,
    STATUS_PATH,
    TOKEN,
    offer,
    procurement,
    resource,
    status,
)

pytestmark = pytest.mark.usefixtures("clock", "resource_shown", "no_jitter")

Result = dict[str, Any]
USER_DATA = "#cloud-config\nchpasswd: {list: 'root:hunter22'}\n"
SHA256 = hashlib.sha256(USER_DATA.encode()).hexdigest()


# Created


@pytest.mark.parametrize(
    ("answer", "state", "procured_at"),
    [
        (procurement(), "procured", "2026-01-31T12:01:00Z"),
        (procurement("provisioning_in_progress", resource_ids=[RESOURCE_ID]), "provisioning_in_progress", None),
        (procurement("reserved", resource_ids=[RESOURCE_ID]), "reserved", None),
    ],
    ids=["procured", "in progress", "unknown word"],
)
def test_free_offer_is_bought(queue: RequestQueue, buy: Any, answer: Any, state: str, procured_at: Any) -> None:
    queue.expect_free_offer().expect(*POST, answer, body={"offer_id": OFFER_ID, "ssh_public_key": KEY})
    result = buy()
    assert BLANK.keys() <= result.keys()
    assert (result["changed"], result["outcome"], result["status"]) == (True, "created", state)
    assert (result["procured_at"], result["resource_ids"]) == (procured_at, [RESOURCE_ID])
    assert (result["offer_id"], result["price_per_hour"]) == (OFFER_ID, 2.0)
    assert result["offer"]["gpu_type"] == "nvidia-h100-sxm5-80gb"
    assert result["msg"] == f"Offer {OFFER_ID} was bought at USD 2.00 per hour."
    assert "failed" not in result


def test_all_given_options_are_sent(queue: RequestQueue, buy: Any) -> None:
    order = {
        "offer_id": OFFER_ID,
        "ssh_public_key": KEY,
        "cloud_init": USER_DATA,
        "resource_name": "trainer",
        "cluster_name": "c1",
    }
    queue.expect_free_offer().expect(*POST, procurement(), body=order)
    result = buy(**{**order, "offer_id": f" {OFFER_ID.upper()} ", "ssh_public_key": f"{KEY}\n"})
    assert result["cloud_init_sha256"] == SHA256
    assert result["diff"]["after"]["cloud_init_sha256"] == SHA256
    assert (result["diff"]["after"]["resource_name"], result["diff"]["after"]["cluster_name"]) == ("trainer", "c1")


@pytest.mark.parametrize("value", [None, ""])
def test_unset_options_are_not_sent(queue: RequestQueue, buy: Any, value: str | None) -> None:
    queue.expect_free_offer().expect(*POST, procurement(), body={"offer_id": OFFER_ID, "ssh_public_key": KEY})
    result = buy(cloud_init=None, resource_name=value, cluster_name=value, note=None, sealed=None, listed_before=None)
    assert result["cloud_init_sha256"] is None
    assert not {"resource_name", "cluster_name"} & result["diff"]["after"].keys()


def test_diff_shows_the_bought_machine(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer(gpu_count=8, gpu_price_per_hour=0.25).expect(*POST, procurement())
    assert buy()["diff"] == {
        "before_header": "machine (none)",
        "after_header": f"machine (offer {OFFER_ID})",
        "before": {},
        "after": {
            "offer_id": OFFER_ID,
            "status": "procured",
            "gpus": "8 x nvidia-h100-sxm5-80gb",
            "contract_type": "ondemand",
            "vendor": "nebius",
            "region": "eu-north1",
            "price_per_hour": 2.0,
            "resource_ids": [RESOURCE_ID],
            "cloud_init_sha256": None,
        },
    }


def test_diff_shows_region_if_vendor_region_is_missing(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer(vendor_region=None).expect(*POST, procurement())
    assert buy()["diff"]["after"]["region"] == "EU"


@pytest.mark.parametrize("seconds", [600, 1])
def test_procure_timeout_applies_only_to_the_purchase(queue: RequestQueue, buy: Any, seconds: float) -> None:
    queue.expect_free_offer().expect(*POST, procurement())
    buy(procure_timeout=seconds)
    assert [whole for _connecting, whole in queue.timeouts[:3]] == [60, 60, seconds]


@pytest.mark.parametrize(
    ("state", "resources"),
    [
        ({"resource_ids": [RESOURCE_ID]}, None),
        ({"resources": [{"resource_id": RESOURCE_ID}]}, None),
        ({}, [resource(RESOURCE_ID)]),
    ],
    ids=["status", "status with objects", "list of resources"],
)
def test_ids_missing_in_the_answer_are_read_from_status_or_list(
    queue: RequestQueue, buy: Any, state: Any, resources: Any
) -> None:
    queue.expect_free_offer().expect(*POST, procurement("provisioning_in_progress"))
    queue.expect("GET", STATUS_PATH, status("provisioning", **state))
    if resources is not None:
        queue.expect_resources(*resources)
    assert buy()["resource_ids"] == [RESOURCE_ID]


# Resources without offers: if no answer names an id either, only the filter of the list identifies the machine.
WITHOUT_HISTORY = {"offer_history": None, "created_at": "2026-01-31T12:01:02Z"}


@pytest.mark.parametrize(
    ("resources", "ids"),
    [
        ([resource(**WITHOUT_HISTORY)], [RESOURCE_ID]),
        ([resource(**WITHOUT_HISTORY, name="vendor-name")], [RESOURCE_ID]),
        # The API has not applied the filter: it lists other machines of the account.
        (
            [
                resource(**WITHOUT_HISTORY),
                resource(OTHER_ID, **{**WITHOUT_HISTORY, "created_at": "2026-01-31T11:59:00Z"}),
            ],
            [],
        ),
        ([resource(**WITHOUT_HISTORY), resource(OTHER_ID, offer_history=[{"offer_id": OTHER_ID}])], []),
        ([resource(**WITHOUT_HISTORY), resource(SECOND_RESOURCE_ID, **WITHOUT_HISTORY)], []),
        ([resource(**{**WITHOUT_HISTORY, "created_at": None})], []),
    ],
    ids=["one", "other name", "older one", "of another offer", "more than bought", "unknown age"],
)
def test_filtered_list_identifies_a_single_new_machine(queue: RequestQueue, buy: Any, resources: Any, ids: Any) -> None:
    queue.expect_free_offer().expect(*POST, procurement("provisioning_in_progress"))
    queue.expect("GET", STATUS_PATH, status("provisioning")).expect_resources(*resources)
    for resource_id in ids:
        queue.expect("GET", f"/resources/{resource_id}", resources[0], query={"force_refresh": "true"})
    assert (buy(resource_name="trainer")["resource_ids"], len(queue.calls)) == (ids, 5 + len(ids))


@pytest.mark.parametrize(
    "expect_look",
    [
        lambda queue: queue.expect("GET", STATUS_PATH, status=500),
        lambda queue: queue.expect("GET", STATUS_PATH, LOST),
        lambda queue: queue.expect("GET", STATUS_PATH, b"<html>"),
        lambda queue: queue.expect("GET", STATUS_PATH, status("provisioning")).expect_resources(status=404),
        lambda queue: queue.expect("GET", STATUS_PATH, status("provisioning")).expect_resources(),
        lambda queue: queue.expect("GET", STATUS_PATH, status("provisioning")).expect_resources(resource(None)),
    ],
    ids=["500", "lost", "HTML", "no such list", "none yet", "without an id"],
)
def test_purchase_without_known_ids_is_still_created(queue: RequestQueue, buy: Any, expect_look: Any) -> None:
    queue.expect_free_offer().expect(*POST, procurement("provisioning_in_progress"))
    expect_look(queue)
    result = buy()
    assert (result["outcome"], result["changed"], result["resource_ids"]) == ("created", True, [])


def test_ids_of_all_machines_are_returned(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, procurement(resource_ids=[RESOURCE_ID, SECOND_RESOURCE_ID]))
    queue.show(resource(SECOND_RESOURCE_ID))
    assert buy()["resource_ids"] == [RESOURCE_ID, SECOND_RESOURCE_ID]


@pytest.mark.parametrize(
    "answer",
    [procurement(resource_ids=[SECOND_RESOURCE_ID]), procurement("failed", error="no stock")],
    ids=["procured", "failed"],
)
def test_answer_about_another_offer_counts_as_lost(queue: RequestQueue, buy: Any, answer: Result) -> None:
    """A gateway may mix up answers; this one is about the machine, or the failure, of another buyer."""
    queue.expect_free_offer().expect(*POST, {**answer, "offer_id": OTHER_ID})
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])).expect_resources(resource())
    result = buy(resource_name="trainer")
    assert (result["outcome"], result["resource_ids"]) == ("created", [RESOURCE_ID])
    assert f"asked for {OFFER_ID}, and answered with {OTHER_ID}, another offer" in result["warnings"][0]


def test_status_of_another_offer_does_not_settle_a_lost_answer(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, LOST)
    for _look in range(3):
        queue.expect("GET", STATUS_PATH, {**status("failed", "failed"), "offer_id": OTHER_ID})
    result = buy(resource_name="trainer", settle_timeout=6)
    assert (result["failed"], result["outcome"]) == (True, "unknown")


@pytest.fixture(params=["none", "file", "database"])
def registry_options(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The options that name the registry; empty without one."""
    if request.param == "none":
        return {}
    if request.param == "file":
        return {"registry_file": str(tmp_path / "trainer" / "compute_index_supply.yml")}
    return {"registry_url": request.getfixturevalue("registry_url")}


@pytest.mark.parametrize(
    "answered", [[SECOND_RESOURCE_ID], [RESOURCE_ID, SECOND_RESOURCE_ID]], ids=["only id", "second id"]
)
def test_machine_of_another_offer_is_neither_returned_nor_noted(
    queue: RequestQueue, buy: Any, answered: list[str], registry_options: dict[str, str]
) -> None:
    """Otherwise a later `delete_resource` with the returned ids would end a machine of someone else."""
    other_history = [{"offer_id": OTHER_ID, "role": "primary", "created_at": "2026-01-01T00:00:00Z"}]
    queue.expect_free_offer().expect(*POST, procurement(resource_ids=answered))
    queue.show(resource(SECOND_RESOURCE_ID, name="colleague", offer_history=other_history))
    result = buy(resource_name="trainer", **registry_options)
    msg = assert_failed(result, "conflict", "created", ids=answered[:-1])
    assert f"{SECOND_RESOURCE_ID} (called colleague), but it says that it was bought with offer {OTHER_ID}" in msg
    for _run in range(2):
        queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
        if not registry_options:
            queue.expect_resources(resource())
        queue.expect("GET", OFFER_PATH, offer())
        again = buy(resource_name="trainer", **registry_options)
        assert (again["outcome"], again["resource_ids"]) == ("existing", [RESOURCE_ID]), "it was noted"


def test_noted_machine_of_another_offer_is_not_returned(queue: RequestQueue, buy: Any, tmp_path: Path) -> None:
    other_history = [{"offer_id": OTHER_ID, "role": "primary", "created_at": "2026-01-01T00:00:00Z"}]
    file = str(tmp_path / "trainer" / "compute_index_supply.yml")
    entry = {"provision_procured_offer_id": OFFER_ID, "provision_purchase": "made"}
    HostFile(file).note({**entry, "provision_resource_ids": [RESOURCE_ID, SECOND_RESOURCE_ID]})
    queue.show(resource(SECOND_RESOURCE_ID, name="colleague", offer_history=other_history))
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])).expect("GET", OFFER_PATH, offer())
    result = buy(resource_name="trainer", registry_file=file)
    assert result["failed"] and (result["outcome"], result["resource_ids"]) == ("existing", [RESOURCE_ID])


def test_result_has_warnings_about_user_data(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, procurement())
    [warning] = buy(cloud_init="#!/bin/sh\necho {{ name }}\n")["warnings"]
    assert "template marks in line 2" in warning


# Existing

BOUGHT = {
    "started": status("provisioning_started"),
    "in progress": status("provisioning_in_progress", resource_ids=[RESOURCE_ID]),
    "provisioning": status("provisioning"),
    "ready": status("ready", resource_ids=[RESOURCE_ID]),
    "unknown word": status("queued", "reserved"),
    "pending, but procured": status("pending", "procured"),
    "available, with a resource": status("available", resources=[RESOURCE_ID]),
}


@pytest.mark.parametrize("state", BOUGHT.values(), ids=BOUGHT.keys())
@pytest.mark.parametrize("check_mode", [False, True])
def test_bought_offer_is_not_bought_again(queue: RequestQueue, buy: Any, state: Any, check_mode: bool) -> None:
    queue.expect("GET", STATUS_PATH, state)
    if not (state.get("resource_ids") or state.get("resources")):
        queue.expect_resources(resource())
    queue.expect("GET", OFFER_PATH, offer(status="procured"))
    result = buy(check_mode, max_price_per_hour=0.01)
    assert BLANK.keys() <= result.keys()
    assert (result["changed"], result["outcome"], result["resource_ids"]) == (False, "existing", [RESOURCE_ID])
    assert (result["offer_id"], result["status"], result["price_per_hour"]) == (OFFER_ID, state["status"], 2.0)
    assert result["msg"] == f"Offer {OFFER_ID} is bought already."
    assert "failed" not in result and "diff" not in result
    assert queue.count(*POST) == 0


@pytest.mark.parametrize("code", [404, 500])
def test_existing_machine_without_readable_offer_has_no_price(queue: RequestQueue, buy: Any, code: int) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])).expect("GET", OFFER_PATH, {}, code)
    result = buy()
    assert (result["outcome"], result["offer"], result["price_per_hour"]) == ("existing", None, None)
    [warning] = result["warnings"]
    assert warning.startswith("The current price of the existing machine is unknown: ") and str(code) in warning


@pytest.mark.parametrize("ids", [[], [SECOND_RESOURCE_ID]], ids=["no ids", "ids"])
def test_bought_offer_without_machine_on_this_account_is_unknown(queue: RequestQueue, buy: Any, ids: list[str]) -> None:
    """Without a name and a registry, only a machine on this account proves that the purchase was ours."""
    queue.show(resource(SECOND_RESOURCE_ID), NOT_FOUND, 404)
    for _look in range(3):
        queue.expect("GET", STATUS_PATH, status("ready", resource_ids=ids))
    result = buy(settle_timeout=6)
    assert (result["failed"], result["changed"]) == (True, False)
    assert (result["outcome"], result["resource_ids"]) == ("unknown", ids)
    assert "Nothing proves whose it is" in result["msg"] and "Do not buy another offer instead." in result["msg"]


@pytest.mark.parametrize("code", [404, 500])
def test_bought_offer_with_unreadable_list_is_unknown(queue: RequestQueue, buy: Any, code: int) -> None:
    for _look in range(3):
        queue.expect("GET", STATUS_PATH, status("ready")).expect_resources(status=code)
    result = buy(settle_timeout=6)
    assert (result["outcome"], result["changed"], result["resource_ids"]) == ("unknown", False, [])
    assert f"answered {code}" in result["msg"]


def test_offer_in_progress_exists_without_a_listed_machine(queue: RequestQueue, buy: Any) -> None:
    word = "provisioning_in_progress"
    queue.expect("GET", STATUS_PATH, status(word)).expect_resources(status=404).expect("GET", OFFER_PATH, offer())
    assert (buy()["outcome"], len(queue.calls)) == ("existing", 3)


# Check mode


def test_check_mode_plans_and_only_reads(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer()
    result = buy(True, max_price_per_hour=2, resource_name="trainer", cloud_init=USER_DATA)
    assert {call.method for call in queue.calls} == {"GET"}
    assert (result["changed"], result["outcome"], result["status"]) == (True, "planned", "planned")
    assert (result["resource_ids"], result["procured_at"]) == ([], None)
    assert result["msg"] == f"Offer {OFFER_ID} would be bought at USD 2.00 per hour."
    assert result["diff"]["after"]["resource_name"] == "trainer"
    assert result["price_per_hour"] == 2.0 and result["cloud_init_sha256"] == SHA256


def test_check_mode_checks_the_price_ceiling(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer()
    assert_failed(buy(True, max_price_per_hour=1.99), "price", "not_sent")


# The ceiling


@pytest.mark.parametrize("ceiling", [None, 2, 2.0, 2.000001, 100])
def test_price_up_to_the_ceiling_is_accepted(queue: RequestQueue, buy: Any, ceiling: float | None) -> None:
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy(max_price_per_hour=ceiling)["outcome"] == "created"


@pytest.mark.parametrize(
    ("fields", "ceiling", "price"),
    [
        ({}, 1.99, "USD 2.00"),
        ({}, 0, "USD 2.00"),
        ({"total_price_per_hour": 2.000001}, 2, "USD 2.000001"),
        ({"total_price_per_hour": "2.5"}, 2, "USD 2.50"),
        ({"total_price_per_hour": None, "gpu_count": 8}, 15.99, "USD 16.00"),
        ({"total_price_per_hour": None, "storage_price_per_hour": 0.5}, 2.4, "USD 2.50"),
    ],
)
def test_price_above_the_ceiling_is_refused(
    queue: RequestQueue, buy: Any, fields: Any, ceiling: float, price: str
) -> None:
    queue.expect_free_offer(**fields)
    result = buy(max_price_per_hour=ceiling)
    msg = assert_failed(result, "price", "not_sent")
    assert f"costs {price} per hour, which is above max_price_per_hour (USD " in msg
    assert msg.endswith("Nothing was bought.")
    assert result["price_per_hour"] > ceiling and result["offer"]["vendor"] == "nebius"
    assert result["status"] == "available"


@pytest.mark.parametrize(
    "fields",
    [{"gpu_price_per_hour": None}, {"gpu_count": None}, {"gpu_price_per_hour": -1}, {"gpu_price_per_hour": "?"}],
    ids=str,
)
def test_unknown_price_is_refused_under_a_ceiling(queue: RequestQueue, buy: Any, fields: Any) -> None:
    queue.expect_free_offer(**{"total_price_per_hour": None, **fields})
    msg = assert_failed(buy(max_price_per_hour=100), "price", "not_sent")
    assert "names no price" in msg and msg.endswith("Nothing was bought.")


@pytest.mark.parametrize(("limits", "kind"), [({}, "conflict"), ({"max_price_per_hour": 100}, "price")])
def test_offer_in_another_currency_is_not_bought(queue: RequestQueue, buy: Any, limits: Any, kind: str) -> None:
    queue.expect_free_offer(currency="EUR")
    msg = assert_failed(buy(**limits), kind, "not_sent")
    assert "USD" in msg and msg.endswith("Nothing was bought.")


def test_negative_storage_price_does_not_lower_the_price(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer(total_price_per_hour=None, storage_price_per_hour=-0.5)
    assert_failed(buy(max_price_per_hour=1.9), "price", "not_sent")


@pytest.mark.parametrize(
    ("resources", "ceiling", "expected_message"),
    [
        ([], 2.0, ""),
        ([resource(OTHER_ID), resource("gone", status="deleted")], 4.0, ""),
        ([resource(OTHER_ID), resource("x", status="deleting")], 5.99, "cost USD 6.00 per hour together"),
        ([resource(OTHER_ID, pricing_total_hourly=None)], 100.0, "USD 2.00 per hour and 1 unknown price(s) together"),
        (
            [resource(OTHER_ID)],
            3.99,
            f"USD 3.99 per hour. Counted: {OFFER_ID} USD 2.00 (would be bought); trainer ({OTHER_ID}) USD 2.00 (in no",
        ),
    ],
)
def test_account_ceiling_counts_all_billed_machines_before_a_purchase(
    queue: RequestQueue, buy: Any, resources: list[Any], ceiling: float, expected_message: str
) -> None:
    queue.expect_free_offer().expect("GET", "/resources", resources)
    if expected_message:
        assert expected_message in assert_failed(buy(max_account_price_per_hour=ceiling), "price", "not_sent")
    else:
        queue.expect(*POST, procurement())
        assert buy(max_account_price_per_hour=ceiling)["outcome"] == "created"


# The planned price: a search may include storage that the offer's details leave out


@pytest.mark.parametrize(
    ("planned", "fresh", "expected"), [(5.0, 4.0, 5.0), (4.0, 5.0, 5.0), (None, 4.0, 4.0), (0.0, 4.0, 4.0)]
)
def test_higher_of_planned_and_fresh_price_counts(
    queue: RequestQueue, buy: Any, planned: float | None, fresh: float, expected: float
) -> None:
    queue.expect_free_offer(gpu_price_per_hour=fresh, total_price_per_hour=fresh).expect(*POST, procurement())
    result = buy(price_per_hour=planned, max_price_per_hour=5)
    assert (result["outcome"], result["price_per_hour"]) == ("created", expected)
    assert result["diff"]["after"]["price_per_hour"] == expected
    assert f"was bought at USD {expected:.2f} per hour" in result["msg"]


def test_planned_price_above_the_ceiling_is_refused(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer(gpu_price_per_hour=4.0, total_price_per_hour=4.0)
    result = buy(price_per_hour=5, max_price_per_hour=4.5)
    msg = assert_failed(result, "price", "not_sent")
    assert "costs USD 5.00 per hour, which is above max_price_per_hour (USD 4.50 per hour)" in msg
    assert result["price_per_hour"] == 5.0


@pytest.mark.parametrize(
    ("details", "difference"),
    [
        ({"contract_type": "spot"}, "contract_type spot instead of ondemand"),
        ({"gpu_type": "nvidia-a100-sxm4-80gb"}, "gpu_type nvidia-a100-sxm4-80gb instead of nvidia-h100-sxm5-80gb"),
    ],
)
def test_offer_whose_details_differ_from_the_search_is_not_bought(
    queue: RequestQueue, buy: Any, details: dict[str, str], difference: str
) -> None:
    queue.expect_free_offer(**details)
    result = buy(note={"provision_offer": {"contract_type": "ondemand", "gpu_type": "nvidia-h100-sxm5-80gb"}})
    assert f"Its own page says: {difference}." in assert_failed(result, "conflict", "not_sent")


def test_spot_offer_found_as_spot_is_bought(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer(contract_type="spot").expect(*POST, procurement())
    assert buy(note={"provision_offer": {"contract_type": "spot"}})["outcome"] == "created"


@pytest.mark.parametrize("ceiling", ["max_price_per_hour", "max_account_price_per_hour"])
def test_planned_price_does_not_replace_an_unknown_price(queue: RequestQueue, buy: Any, ceiling: str) -> None:
    queue.expect_free_offer(total_price_per_hour=None, gpu_price_per_hour=None)
    if ceiling == "max_account_price_per_hour":
        queue.expect("GET", "/resources", [])
    assert_failed(buy(price_per_hour=2, **{ceiling: 100}), "price", "not_sent")


def test_account_ceiling_counts_the_planned_price(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer(gpu_price_per_hour=4.0, total_price_per_hour=4.0).expect(
        "GET", "/resources", [resource(OTHER_ID)]
    )
    msg = assert_failed(buy(price_per_hour=5, max_account_price_per_hour=6.5), "price", "not_sent")
    assert "all machines of the account would cost USD 7.00 per hour together" in msg


def test_existing_machine_reports_the_planned_price_if_higher(queue: RequestQueue, buy: Any) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])).expect("GET", OFFER_PATH, offer())
    assert buy(price_per_hour=2.5)["price_per_hour"] == 2.5


def test_account_ceiling_refuses_if_the_account_cannot_be_listed(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect("GET", "/resources", {}, 403)
    msg = assert_failed(buy(max_account_price_per_hour=10), "auth", "not_sent", 403)
    assert msg.endswith("So max_account_price_per_hour cannot be checked. Nothing was bought.")


def test_unknown_price_is_accepted_without_a_ceiling(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer(total_price_per_hour=None, gpu_price_per_hour=None).expect(*POST, procurement())
    result = buy()
    assert (result["outcome"], result["price_per_hour"]) == ("created", None)
    assert result["msg"] == f"Offer {OFFER_ID} was bought at an unknown price."


# Failures before anything is sent


@pytest.mark.parametrize(
    ("params", "option"),
    [
        ({"offer_id": "abc-123"}, "offer_id must be a UUID"),
        ({"ssh_public_key": ""}, "ssh_public_key is empty"),
        ({"ssh_public_key": PRIVATE_KEY}, "ssh_public_key is a PRIVATE key"),
        ({"cloud_init": "packages: [git]"}, "cloud_init must begin with"),
        ({"cloud_init": ""}, "cloud_init must begin with"),
        ({"cloud_init": " \n\t\n"}, "cloud_init must begin with"),
        ({"cloud_init": "#cloud-config\na: ["}, "cloud_init is not valid YAML"),
        ({"cloud_init": "#cloud-config\na: !!bool hunter22"}, "cloud_init is not valid YAML"),
        ({"cloud_init": "#!/bin/sh\n" + "x" * 65_536}, "cloud_init is 65546 bytes long"),
        ({"max_price_per_hour": -1}, "max_price_per_hour must be USD per hour"),
        ({"max_price_per_hour": float("nan")}, "max_price_per_hour must be USD per hour"),
        ({"max_price_per_hour": float("inf")}, "max_price_per_hour must be USD per hour"),
        ({"max_account_price_per_hour": -1}, "max_account_price_per_hour must be USD per hour"),
        ({"price_per_hour": -1}, "price_per_hour must be USD per hour"),
        ({"price_per_hour": float("nan")}, "price_per_hour must be USD per hour"),
        ({"procure_timeout": 0}, "procure_timeout must be a number of seconds"),
        ({"procure_timeout": 1e10}, "procure_timeout must be a number of seconds"),
        ({"settle_timeout": -1}, "settle_timeout must be a number of seconds"),
        ({"settle_timeout": float("nan")}, "settle_timeout must be a number of seconds"),
        ({"api_token": None}, "api_token is missing"),
        ({"api_token": "two words"}, "api_token holds a space"),
        ({"api_url": "http://supply-api.example.com"}, "api_url is plain http"),
        ({"api_url": "supply-api.example.com"}, "api_url must be an http(s) URL"),
        ({"api_url": "https://[::1"}, "api_url is not a valid URL"),
        ({"api_timeout": 0.5}, "api_timeout must be a number of seconds"),
        ({"api_timeout": 1e10}, "api_timeout must be a number of seconds"),
        ({"ca_path": "/no/such/file.pem"}, "ca_path: there is no file or folder '/no/such/file.pem'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input_sends_nothing(queue: RequestQueue, buy: Any, params: Any, option: str) -> None:
    msg = assert_failed(buy(**params), "auth" if "api_token" in params else "invalid", "not_sent")
    assert msg.startswith(option)
    assert msg.endswith("Nothing was sent.")
    assert "hunter22" not in msg and "b3BlbnNzaC1rZXktdjEAAAAA" not in msg
    assert queue.calls == []


def test_plan_of_another_account_sends_nothing(queue: RequestQueue, buy: Any) -> None:
    assert "was planned with another token or api_url" in assert_failed(buy(account="other"), "invalid", "not_sent")
    assert queue.calls == []


@pytest.mark.parametrize(
    "change",
    [{}, {"ssh_public_key": f"{KEY[:60]}B{KEY[61:]}"}, {"cloud_init": USER_DATA}, {"resource_name": "other"}],
    ids=lambda change: next(iter(change), "as quoted"),
)
def test_only_the_order_that_was_quoted_is_sent(queue: RequestQueue, buy: Any, change: dict[str, str]) -> None:
    order = {"offer_id": OFFER_ID, "ssh_public_key": KEY, "resource_name": "trainer"}
    quoted = {**order, "sealed": order_digests(order, TOKEN, {})}
    if not change:
        queue.expect_free_offer().expect(*POST, procurement())
        assert buy(**quoted)["outcome"] == "created"
        return
    msg = assert_failed(buy(**{**quoted, **change}), "conflict", "not_sent")
    assert msg.startswith("The plan was quoted with ") and msg.endswith("Nothing was sent.")
    assert queue.calls == []


def test_lone_surrogate_in_cloud_init_is_sent_unchanged(queue: RequestQueue, buy: Any) -> None:
    script = "#!/bin/sh\n# \udcff\n"
    queue.expect_free_offer().expect(
        *POST, procurement(), body={"offer_id": OFFER_ID, "ssh_public_key": KEY, "cloud_init": script}
    )
    assert buy(cloud_init=script)["outcome"] == "created"


@pytest.mark.parametrize(
    ("state", "error_class", "text"),
    [
        (status("available", "expired"), "expired", "The offer has expired; search again. Nothing was bought."),
        (status(None, "expired"), "expired", "search again."),
        (status("failed", "failed", failure_reason="no stock"), "conflict", "failed: no stock. No resource of it"),
        (status("failed", None), "conflict", "failed: the API gives no reason. No resource of it is known."),
    ],
    ids=["expired", "expired, without procurement status", "failed", "failed without a reason"],
)
def test_expired_or_failed_offer_is_not_sent(
    queue: RequestQueue, buy: Any, state: Any, error_class: str, text: str
) -> None:
    queue.expect("GET", STATUS_PATH, state)
    if error_class == "conflict":
        queue.expect_resources()
    result = buy()
    assert text in assert_failed(result, error_class, "not_sent")
    assert (result["offer_id"], result["status"]) == (OFFER_ID, state["status"])


def test_failed_offer_names_resources_that_may_be_billed(queue: RequestQueue, buy: Any) -> None:
    queue.expect("GET", STATUS_PATH, status("failed", resource_ids=[RESOURCE_ID]))
    msg = assert_failed(buy(), "conflict", "not_sent", ids=[RESOURCE_ID])
    assert f"These resources may still be billed, at an unknown price: {RESOURCE_ID}." in msg


READ_ERRORS = [
    (400, "invalid"),
    (401, "auth"),
    (403, "auth"),
    (404, "not_found"),
    (409, "conflict"),
    (410, "expired"),
    (422, "invalid"),
    (429, "rate_limited"),
    (500, "unavailable"),
    (503, "unavailable"),
    (302, "protocol"),
]


@pytest.mark.parametrize(("code", "error_class"), READ_ERRORS)
@pytest.mark.parametrize("path", [STATUS_PATH, OFFER_PATH], ids=["status", "details"])
def test_http_error_before_the_purchase_sends_nothing(
    queue: RequestQueue, buy: Any, code: int, error_class: str, path: str
) -> None:
    if path == OFFER_PATH:
        queue.expect("GET", STATUS_PATH, status())
    queue.expect("GET", path, {"detail": "because"}, code)
    result = buy()
    msg = assert_failed(result, error_class, "not_sent", code)
    assert msg.endswith("Nothing was bought.")
    assert result["offer_id"] == OFFER_ID


@pytest.mark.parametrize(
    "answer", [LOST, b"<html>", b"[]", b'{"detail": "?"}'], ids=["lost", "HTML", "list", "no state"]
)
def test_lost_or_malformed_status_sends_nothing(queue: RequestQueue, buy: Any, answer: Any) -> None:
    queue.expect("GET", STATUS_PATH, answer)
    result = buy()
    code = None if answer is LOST else 200
    assert_failed(result, "unavailable" if answer is LOST else "protocol", "not_sent", code)


def test_unknown_offer_advises_a_new_search(queue: RequestQueue, buy: Any) -> None:
    queue.expect("GET", STATUS_PATH, {"detail": "Offer not found"}, 404)
    assert "Offer not found. The offer is gone; search again. Nothing was bought." in buy()["msg"]


def test_retry_after_of_the_status_is_returned(queue: RequestQueue, buy: Any) -> None:
    queue.expect("GET", STATUS_PATH, {}, 429, headers={"Retry-After": "120"})
    assert buy()["retry_after"] == 120


# Running again


def test_second_run_buys_nothing(queue: RequestQueue, buy: Any) -> None:
    queue.expect_free_offer().expect(*POST, procurement())
    first = buy()
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])).expect("GET", OFFER_PATH, offer())
    second = buy()
    assert (first["outcome"], second["outcome"], second["changed"]) == ("created", "existing", False)
    assert first["resource_ids"] == second["resource_ids"]
    assert queue.count(*POST) == 1


def test_results_do_not_share_their_lists(queue: RequestQueue, buy: Any) -> None:
    queue.expect("GET", STATUS_PATH, {}, 500)
    assert buy()["resource_ids"] is not BLANK["resource_ids"]


# Secrets and bugs


@pytest.mark.parametrize("code", [200, 400, 401, 422, 500])
def test_result_contains_no_secret(queue: RequestQueue, buy: Any, code: int) -> None:
    echo = {"detail": f"{TOKEN} {USER_DATA} {PRIVATE_KEY}", "status": "failed", "error": f"{TOKEN} {USER_DATA}"}
    queue.expect_free_offer().expect(*POST, echo, code)
    if code != 200:
        queue.expect("GET", STATUS_PATH, status(progress=USER_DATA, failure_reason=TOKEN))
    if code == 200:
        expect_failed_offer(queue)
    result = buy(cloud_init=USER_DATA, settle_timeout=0)
    assert TOKEN not in repr(result) and "hunter22" not in repr(result)


@pytest.mark.parametrize("check_mode", [False, True])
def test_bug_makes_the_outcome_unknown_and_shows_no_secret(
    buy: Any, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    def raise_bug(*_args: Any, **_options: Any) -> None:
        raise KeyError(f"{TOKEN} {USER_DATA}")

    monkeypatch.setattr(Market, "offer_status", raise_bug)
    result = buy(check_mode, cloud_init=USER_DATA)
    msg = assert_failed(result, "unknown_outcome", "unknown")
    assert msg.startswith("This is a bug of the collection: KeyError in procure_offer.")
    assert "Run the same again" in msg
    assert result["offer_id"] == OFFER_ID
    assert TOKEN not in repr(result) and "hunter22" not in repr(result)


def test_uncaught_api_error_becomes_a_failure(buy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise ApiError("No.", "auth", status_code=401)

    monkeypatch.setattr(operation._Purchase, "_look", fail)
    msg = assert_failed(buy(), "auth", "not_sent", 401)
    assert msg == "No. Check api_token (COMPUTE_INDEX_API_TOKEN) and that it belongs to api_url."


WORDS = st.sampled_from(
    ["available", "pending", "provisioning", "ready", "failed", "expired", "procured", "?", "", None]
)
SCALARS = st.none() | st.booleans() | st.integers(-1, 99) | st.text(max_size=5) | st.just(RESOURCE_ID)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner), max_leaves=4
)
ANSWERS = st.fixed_dictionaries(
    {"status": WORDS | JSON},
    optional={
        "procurement_status": WORDS | JSON,
        "resource_ids": JSON,
        "resources": st.lists(st.fixed_dictionaries({"resource_id": JSON})) | JSON,
        "resource_id": JSON,
        "total_price_per_hour": JSON,
        "gpu_count": JSON,
        "error": JSON,
        "failure_reason": JSON,
        "procured_at": JSON,
        "detail": JSON,
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=st.lists(
        st.tuples(st.sampled_from([200, 200, 200, 200, 401, 429, 500, 503]), ANSWERS | JSON), min_size=8, max_size=8
    )
)
def test_arbitrary_answers_give_complete_results_and_no_unchecked_purchase(
    buy: Any, clock: Clock, script: list[tuple[int, Any]]
) -> None:
    sent: list[str] = []
    purchase = " ".join(POST)

    def exchange(_self: Any, method: str, path: str, **_how: Any) -> Any:
        code, data = script[len(sent) % len(script)]
        sent.append(f"{method} {path}")
        return client.Answer(code, True, data, retry_after=1.0 if code in (429, 503) else None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client.HttpClient, "exchange", exchange)
        result = buy(settle_timeout=9)
    for number, request in enumerate(sent):
        assert request != purchase or sent[number - 2 : number] == [f"GET {STATUS_PATH}", f"GET {OFFER_PATH}"]
    assert BLANK.keys() | {"msg"} <= result.keys()
    assert "bug of the collection" not in result["msg"]
    assert all(isinstance(item, str) and item for item in result["resource_ids"])
    assert result["outcome"] in ("created", "existing", "rejected", "not_sent", "unknown")
    if result["outcome"] != "existing":
        assert (purchase in sent) is (result["outcome"] != "not_sent")
    assert BASE not in result["msg"]
