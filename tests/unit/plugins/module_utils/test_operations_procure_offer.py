# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buying an offer, once: what is asked, what is sent, and what a result says about money.

The queue holds every request that may be sent; one POST more, or in another order, fails the test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api import client
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations import procure_offer as operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import (
    BLANK,
    PROCURE_OFFER,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clock import Clock
from raw_server import RawServer, Step, answer, read_and_hang_up
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

pytestmark = pytest.mark.usefixtures("clock")

Result = dict[str, Any]
USER_DATA = "#cloud-config\nchpasswd: {list: 'root:hunter22'}\n"
SHA256 = hashlib.sha256(USER_DATA.encode()).hexdigest()


@pytest.fixture(autouse=True)
def shown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API shows the machine by its id: what only a status names is read before it is held.

    And it lists none that denies a refusal.
    """
    monkeypatch.setattr("random.uniform", lambda _least, most: most)
    if "queue" in request.fixturenames:
        request.getfixturevalue("queue").show(resource(RESOURCE_ID)).list_nothing_of(OFFER_ID)


@pytest.fixture
def buy(perform: Callable[..., Result]) -> Callable[..., Result]:
    """``buy(check_mode=False, **params)``, with an offer id and a key."""

    def run(check_mode: bool = False, **params: Any) -> Result:
        return perform(PROCURE_OFFER, check_mode, **{"offer_id": OFFER_ID, "ssh_public_key": KEY, **params})

    return run


def free(queue: RequestQueue, **fields: Any) -> RequestQueue:
    """Expect the two looks before a purchase, at an offer that is free."""
    return queue.expect("GET", STATUS_PATH, status()).expect("GET", OFFER_PATH, offer(**fields))


def expect_resources(queue: RequestQueue, *resources: Any, code: int = 200) -> RequestQueue:
    return queue.expect("GET", "/resources", list(resources), code, query={"offer_id": OFFER_ID})


def assert_failed(result: Result, error_class: str, outcome: str, code: int | None = None, ids: Any = ()) -> str:
    """Hold a failure against what each must have; returns its message."""
    assert BLANK.keys() | {"msg", "error_class", "status_code", "failed"} <= result.keys()
    assert result["failed"] is True
    assert (result["error_class"], result["outcome"]) == (error_class, outcome)
    assert result["status_code"] == code
    assert result["resource_ids"] == list(ids)
    assert result["changed"] is (outcome in ("unknown", "created"))
    assert "diff" not in result
    return str(result["msg"])


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
def test_a_free_offer_is_bought(queue: RequestQueue, buy: Any, answer: Any, state: str, procured_at: Any) -> None:
    free(queue).expect(*POST, answer, body={"offer_id": OFFER_ID, "ssh_public_key": KEY})
    result = buy()
    assert BLANK.keys() <= result.keys()
    assert (result["changed"], result["outcome"], result["status"]) == (True, "created", state)
    assert (result["procured_at"], result["resource_ids"]) == (procured_at, [RESOURCE_ID])
    assert (result["offer_id"], result["price_per_hour"]) == (OFFER_ID, 2.0)
    assert result["offer"]["gpu_type"] == "nvidia-h100-sxm5-80gb"
    assert result["msg"] == f"Offer {OFFER_ID} was bought at USD 2.00 per hour."
    assert "failed" not in result


def test_everything_that_was_given_is_sent(queue: RequestQueue, buy: Any) -> None:
    order = {
        "offer_id": OFFER_ID,
        "ssh_public_key": KEY,
        "cloud_init": USER_DATA,
        "resource_name": "trainer",
        "cluster_name": "c1",
    }
    free(queue).expect(*POST, procurement(), body=order)
    result = buy(**{**order, "offer_id": f" {OFFER_ID.upper()} ", "ssh_public_key": f"{KEY}\n"})
    assert result["cloud_init_sha256"] == SHA256
    assert result["diff"]["after"]["cloud_init_sha256"] == SHA256
    assert (result["diff"]["after"]["resource_name"], result["diff"]["after"]["cluster_name"]) == ("trainer", "c1")


@pytest.mark.parametrize("value", [None, ""])
def test_what_was_not_given_is_not_sent(queue: RequestQueue, buy: Any, value: str | None) -> None:
    free(queue).expect(*POST, procurement(), body={"offer_id": OFFER_ID, "ssh_public_key": KEY})
    result = buy(cloud_init=None, resource_name=value, cluster_name=value)
    assert result["cloud_init_sha256"] is None
    assert not {"resource_name", "cluster_name"} & result["diff"]["after"].keys()


def test_the_diff_shows_what_is_bought(queue: RequestQueue, buy: Any) -> None:
    free(queue, gpu_count=8, gpu_price_per_hour=0.25).expect(*POST, procurement())
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


def test_the_diff_falls_back_to_the_group_of_regions(queue: RequestQueue, buy: Any) -> None:
    free(queue, vendor_region=None).expect(*POST, procurement())
    assert buy()["diff"]["after"]["region"] == "EU"


@pytest.mark.parametrize("seconds", [600, 1])
def test_the_purchase_may_take_as_long_as_was_said(queue: RequestQueue, buy: Any, seconds: float) -> None:
    free(queue).expect(*POST, procurement())
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
def test_ids_that_the_purchase_did_not_name_are_asked_for(
    queue: RequestQueue, buy: Any, state: Any, resources: Any
) -> None:
    free(queue).expect(*POST, procurement("provisioning_in_progress"))
    queue.expect("GET", STATUS_PATH, status("provisioning", **state))
    if resources is not None:
        expect_resources(queue, *resources)
    assert buy()["resource_ids"] == [RESOURCE_ID]


# Where resources say nothing of offers, and no answer has an id, only the filter of the list leads to the machine.
MUTE = {"offer_history": None, "created_at": "2026-01-31T12:01:02Z"}


@pytest.mark.parametrize(
    ("resources", "ids"),
    [
        ([resource(**MUTE)], [RESOURCE_ID]),
        ([resource(**MUTE, name="of-the-vendor")], [RESOURCE_ID]),
        # Then the filter was not applied: other machines of the account are listed, too
        ([resource(**MUTE), resource(OTHER_ID, **{**MUTE, "created_at": "2026-01-31T11:59:00Z"})], []),
        ([resource(**MUTE), resource(OTHER_ID, offer_history=[{"offer_id": OTHER_ID}])], []),
        ([resource(**MUTE), resource(SECOND_RESOURCE_ID, **MUTE)], []),
        ([resource(**{**MUTE, "created_at": None})], []),
    ],
    ids=["one", "another name", "an older one", "another offer's", "more than were bought", "of unknown age"],
)
def test_a_filtered_list_alone_may_lead_to_the_machine(queue: RequestQueue, buy: Any, resources: Any, ids: Any) -> None:
    free(queue).expect(*POST, procurement("provisioning_in_progress"))
    expect_resources(queue.expect("GET", STATUS_PATH, status("provisioning")), *resources)
    for resource_id in ids:
        found = queue.expect("GET", f"/resources/{resource_id}", resources[0], query={"force_refresh": "true"})
        assert found is queue
    assert (buy(resource_name="trainer")["resource_ids"], len(queue.calls)) == (ids, 5 + len(ids))


@pytest.mark.parametrize(
    "ask",
    [
        lambda queue: queue.expect("GET", STATUS_PATH, status=500),
        lambda queue: queue.expect("GET", STATUS_PATH, LOST),
        lambda queue: queue.expect("GET", STATUS_PATH, b"<html>"),
        lambda queue: expect_resources(queue.expect("GET", STATUS_PATH, status("provisioning")), code=404),
        lambda queue: expect_resources(queue.expect("GET", STATUS_PATH, status("provisioning"))),
        lambda queue: expect_resources(queue.expect("GET", STATUS_PATH, status("provisioning")), resource(None)),
    ],
    ids=["500", "lost", "HTML", "no such list", "none yet", "without an id"],
)
def test_ids_that_nobody_knows_do_not_hide_the_purchase(queue: RequestQueue, buy: Any, ask: Any) -> None:
    free(queue).expect(*POST, procurement("provisioning_in_progress"))
    ask(queue)
    result = buy()
    assert (result["outcome"], result["changed"], result["resource_ids"]) == ("created", True, [])


def test_several_machines_are_all_named(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, procurement(resource_ids=[RESOURCE_ID, SECOND_RESOURCE_ID]))
    queue.show(resource(SECOND_RESOURCE_ID))
    assert buy()["resource_ids"] == [RESOURCE_ID, SECOND_RESOURCE_ID]


@pytest.mark.parametrize(
    "answer",
    [procurement(resource_ids=[SECOND_RESOURCE_ID]), procurement("failed", error="no stock")],
    ids=["procured", "failed"],
)
def test_an_answer_about_another_offer_is_a_lost_one(queue: RequestQueue, buy: Any, answer: Result) -> None:
    """A gateway that mixes answers up: neither another buyer's machine nor another buyer's failure is this host's."""
    free(queue).expect(*POST, {**answer, "offer_id": OTHER_ID})
    expect_resources(queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])), resource())
    result = buy(resource_name="trainer")
    assert (result["outcome"], result["resource_ids"]) == ("created", [RESOURCE_ID])
    assert f"asked for {OFFER_ID}, and answered with {OTHER_ID}, another offer" in result["warnings"][0]


def test_a_status_of_another_offer_says_nothing_of_a_lost_answer(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, LOST)
    for _look in range(3):
        queue.expect("GET", STATUS_PATH, {**status("failed", "failed"), "offer_id": OTHER_ID})
    result = buy(resource_name="trainer", settle_timeout=6)
    assert (result["failed"], result["outcome"]) == (True, "unknown")


@pytest.fixture(params=["none", "file", "database"])
def remembers(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The options of a task that name its registry, if it has one."""
    if request.param == "none":
        return {}
    if request.param == "file":
        return {"registry_file": str(tmp_path / "trainer" / "compute_index_supply.yml")}
    return {"registry_url": request.getfixturevalue("registry_url")}


@pytest.mark.parametrize("answered", [[SECOND_RESOURCE_ID], [RESOURCE_ID, SECOND_RESOURCE_ID]], ids=["alone", "beside"])
def test_a_machine_of_another_offer_that_the_answer_names_is_neither_returned_nor_noted(
    queue: RequestQueue, buy: Any, answered: list[str], remembers: dict[str, str]
) -> None:
    """Without a plan the task itself sees that, so that nobody's `delete_resource` ends what it has returned."""
    theirs = [{"offer_id": OTHER_ID, "role": "primary", "created_at": "2026-01-01T00:00:00Z"}]
    free(queue).expect(*POST, procurement(resource_ids=answered))
    queue.show(resource(SECOND_RESOURCE_ID, name="colleague", offer_history=theirs))
    result = buy(resource_name="trainer", **remembers)
    msg = assert_failed(result, "conflict", "created", ids=answered[:-1])
    assert f"{SECOND_RESOURCE_ID} (called colleague), but it says that it was bought with offer {OTHER_ID}" in msg
    for _run in range(2):
        queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
        if not remembers:
            expect_resources(queue, resource())
        queue.expect("GET", OFFER_PATH, offer())
        again = buy(resource_name="trainer", **remembers)
        assert (again["outcome"], again["resource_ids"]) == ("existing", [RESOURCE_ID]), "it was noted"


def test_a_noted_machine_that_no_list_of_the_offer_has_says_itself_whose_it_is(
    queue: RequestQueue, buy: Any, tmp_path: Path
) -> None:
    theirs = [{"offer_id": OTHER_ID, "role": "primary", "created_at": "2026-01-01T00:00:00Z"}]
    file = str(tmp_path / "trainer" / "compute_index_supply.yml")
    entry = {"provision_procured_offer_id": OFFER_ID, "provision_purchase": "made"}
    HostFile(file).note({**entry, "provision_resource_ids": [RESOURCE_ID, SECOND_RESOURCE_ID]})
    queue.show(resource(SECOND_RESOURCE_ID, name="colleague", offer_history=theirs))
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])).expect("GET", OFFER_PATH, offer())
    result = buy(resource_name="trainer", registry_file=file)
    assert result["failed"] and (result["outcome"], result["resource_ids"]) == ("existing", [RESOURCE_ID])


def test_warnings_about_user_data_come_with_the_purchase(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, procurement())
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
def test_what_is_bought_already_is_not_bought_again(
    queue: RequestQueue, buy: Any, state: Any, check_mode: bool
) -> None:
    queue.expect("GET", STATUS_PATH, state)
    if not (state.get("resource_ids") or state.get("resources")):
        expect_resources(queue, resource())
    queue.expect("GET", OFFER_PATH, offer(status="procured"))
    result = buy(check_mode, max_price_per_hour=0.01)
    assert BLANK.keys() <= result.keys()
    assert (result["changed"], result["outcome"], result["resource_ids"]) == (False, "existing", [RESOURCE_ID])
    assert (result["offer_id"], result["status"], result["price_per_hour"]) == (OFFER_ID, state["status"], 2.0)
    assert result["msg"] == f"Offer {OFFER_ID} is bought already."
    assert "failed" not in result and "diff" not in result
    assert queue.count(*POST) == 0


@pytest.mark.parametrize("code", [404, 500])
def test_the_details_of_what_exists_may_be_unreadable(queue: RequestQueue, buy: Any, code: int) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])).expect("GET", OFFER_PATH, {}, code)
    result = buy()
    assert (result["outcome"], result["offer"], result["price_per_hour"]) == ("existing", None, None)
    [warning] = result["warnings"]
    assert warning.startswith("The present price of the existing machine is not known: ") and str(code) in warning


@pytest.mark.parametrize("ids", [[], [SECOND_RESOURCE_ID]], ids=["no ids", "ids"])
def test_what_another_account_has_bought_is_no_success(queue: RequestQueue, buy: Any, ids: list[str]) -> None:
    """Neither a name nor a registry tells who has bought what is ready, and no machine of it is on this account."""
    queue.show(resource(SECOND_RESOURCE_ID), NOT_FOUND, 404)
    for _look in range(3):
        queue.expect("GET", STATUS_PATH, status("ready", resource_ids=ids))
    result = buy(settle_timeout=6)
    assert (result["failed"], result["outcome"], result["changed"], result["resource_ids"]) == (
        *(True, "unknown", False),
        ids,
    )
    assert "Nothing proves whose it is" in result["msg"] and "Do not buy another offer instead." in result["msg"]


@pytest.mark.parametrize("code", [404, 500])
def test_that_no_machine_can_be_listed_is_no_success(queue: RequestQueue, buy: Any, code: int) -> None:
    """It proves nothing: without a name and a registry only a machine on this account does."""
    for _look in range(3):
        expect_resources(queue.expect("GET", STATUS_PATH, status("ready")), code=code)
    result = buy(settle_timeout=6)
    assert (result["outcome"], result["changed"], result["resource_ids"]) == ("unknown", False, [])
    assert f"answered {code}" in result["msg"]


def test_what_exists_may_name_no_resources(queue: RequestQueue, buy: Any) -> None:
    word = "provisioning_in_progress"
    expect_resources(queue.expect("GET", STATUS_PATH, status(word)), code=404).expect("GET", OFFER_PATH, offer())
    assert (buy()["outcome"], len(queue.calls)) == ("existing", 3)


# Check mode


def test_check_mode_plans_and_sends_reads_only(queue: RequestQueue, buy: Any) -> None:
    free(queue)
    result = buy(True, max_price_per_hour=2, resource_name="trainer", cloud_init=USER_DATA)
    assert {call.method for call in queue.calls} == {"GET"}
    assert (result["changed"], result["outcome"], result["status"]) == (True, "planned", "planned")
    assert (result["resource_ids"], result["procured_at"]) == ([], None)
    assert result["msg"] == f"Offer {OFFER_ID} would be bought at USD 2.00 per hour."
    assert result["diff"]["after"]["resource_name"] == "trainer"
    assert result["price_per_hour"] == 2.0 and result["cloud_init_sha256"] == SHA256


def test_check_mode_holds_the_price_against_the_ceiling_too(queue: RequestQueue, buy: Any) -> None:
    free(queue)
    assert_failed(buy(True, max_price_per_hour=1.99), "price", "not_sent")


# The ceiling


@pytest.mark.parametrize("ceiling", [None, 2, 2.0, 2.000001, 100])
def test_a_price_up_to_the_ceiling_passes(queue: RequestQueue, buy: Any, ceiling: float | None) -> None:
    free(queue).expect(*POST, procurement())
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
def test_a_price_above_the_ceiling_does_not(
    queue: RequestQueue, buy: Any, fields: Any, ceiling: float, price: str
) -> None:
    free(queue, **fields)
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
def test_an_unknown_price_does_not_pass_a_ceiling(queue: RequestQueue, buy: Any, fields: Any) -> None:
    free(queue, **{"total_price_per_hour": None, **fields})
    msg = assert_failed(buy(max_price_per_hour=100), "price", "not_sent")
    assert "names no price" in msg and msg.endswith("Nothing was bought.")


@pytest.mark.parametrize(("limits", "kind"), [({}, "conflict"), ({"max_price_per_hour": 100}, "price")])
def test_an_offer_in_another_currency_is_not_bought(queue: RequestQueue, buy: Any, limits: Any, kind: str) -> None:
    free(queue, currency="EUR")
    msg = assert_failed(buy(**limits), kind, "not_sent")
    assert "USD" in msg and msg.endswith("Nothing was bought.")


def test_a_discount_for_storage_does_not_get_an_offer_below_the_ceiling(queue: RequestQueue, buy: Any) -> None:
    free(queue, total_price_per_hour=None, storage_price_per_hour=-0.5)
    assert_failed(buy(max_price_per_hour=1.9), "price", "not_sent")


@pytest.mark.parametrize(
    ("resources", "ceiling", "said"),
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
def test_all_of_the_account_is_looked_at_right_before_a_purchase(
    queue: RequestQueue, buy: Any, resources: list[Any], ceiling: float, said: str
) -> None:
    free(queue).expect("GET", "/resources", resources)
    if said:
        assert said in assert_failed(buy(max_account_price_per_hour=ceiling), "price", "not_sent")
    else:
        queue.expect(*POST, procurement())
        assert buy(max_account_price_per_hour=ceiling)["outcome"] == "created"


# The price that the plan counted with: a search may name storage that the offer's own page leaves out.


@pytest.mark.parametrize(
    ("planned", "fresh", "counts"), [(5.0, 4.0, 5.0), (4.0, 5.0, 5.0), (None, 4.0, 4.0), (0.0, 4.0, 4.0)]
)
def test_the_higher_of_planned_and_fresh_price_counts(
    queue: RequestQueue, buy: Any, planned: float | None, fresh: float, counts: float
) -> None:
    free(queue, gpu_price_per_hour=fresh, total_price_per_hour=fresh).expect(*POST, procurement())
    result = buy(price_per_hour=planned, max_price_per_hour=5)
    assert (result["outcome"], result["price_per_hour"]) == ("created", counts)
    assert result["diff"]["after"]["price_per_hour"] == counts
    assert f"was bought at USD {counts:.2f} per hour" in result["msg"]


def test_the_planned_price_does_not_pass_a_lower_ceiling(queue: RequestQueue, buy: Any) -> None:
    free(queue, gpu_price_per_hour=4.0, total_price_per_hour=4.0)
    result = buy(price_per_hour=5, max_price_per_hour=4.5)
    msg = assert_failed(result, "price", "not_sent")
    assert "costs USD 5.00 per hour, which is above max_price_per_hour (USD 4.50 per hour)" in msg
    assert result["price_per_hour"] == 5.0


@pytest.mark.parametrize(
    ("page", "odd"),
    [
        ({"contract_type": "spot"}, "contract_type spot instead of ondemand"),
        ({"gpu_type": "nvidia-a100-sxm4-80gb"}, "gpu_type nvidia-a100-sxm4-80gb instead of nvidia-h100-sxm5-80gb"),
    ],
)
def test_an_offer_is_not_bought_if_its_page_sells_something_else(
    queue: RequestQueue, buy: Any, page: dict[str, str], odd: str
) -> None:
    free(queue, **page)
    result = buy(note={"provision_offer": {"contract_type": "ondemand", "gpu_type": "nvidia-h100-sxm5-80gb"}})
    assert f"Its own page says: {odd}." in assert_failed(result, "conflict", "not_sent")


def test_spot_is_bought_if_it_was_found_as_spot(queue: RequestQueue, buy: Any) -> None:
    free(queue, contract_type="spot").expect(*POST, procurement())
    assert buy(note={"provision_offer": {"contract_type": "spot"}})["outcome"] == "created"


@pytest.mark.parametrize("ceiling", ["max_price_per_hour", "max_account_price_per_hour"])
def test_a_planned_price_does_not_make_an_unknown_one_pass(queue: RequestQueue, buy: Any, ceiling: str) -> None:
    free(queue, total_price_per_hour=None, gpu_price_per_hour=None)
    if ceiling == "max_account_price_per_hour":
        queue.expect("GET", "/resources", [])
    assert_failed(buy(price_per_hour=2, **{ceiling: 100}), "price", "not_sent")


def test_the_account_is_summed_up_with_the_planned_price(queue: RequestQueue, buy: Any) -> None:
    free(queue, gpu_price_per_hour=4.0, total_price_per_hour=4.0).expect("GET", "/resources", [resource(OTHER_ID)])
    msg = assert_failed(buy(price_per_hour=5, max_account_price_per_hour=6.5), "price", "not_sent")
    assert "all machines of the account would cost USD 7.00 per hour together" in msg


def test_a_machine_that_exists_has_the_planned_price_if_that_is_higher(queue: RequestQueue, buy: Any) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])).expect("GET", OFFER_PATH, offer())
    assert buy(price_per_hour=2.5)["price_per_hour"] == 2.5


def test_an_account_that_cannot_be_listed_is_bought_nothing_for(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect("GET", "/resources", {}, 403)
    msg = assert_failed(buy(max_account_price_per_hour=10), "auth", "not_sent", 403)
    assert msg.endswith("So whether max_account_price_per_hour holds is not known. Nothing was bought.")


def test_an_unknown_price_passes_without_a_ceiling(queue: RequestQueue, buy: Any) -> None:
    free(queue, total_price_per_hour=None, gpu_price_per_hour=None).expect(*POST, procurement())
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
        ({"cloud_init": "#cloud-config\na: ["}, "cloud_init is no valid YAML"),
        ({"cloud_init": "#cloud-config\na: !!bool hunter22"}, "cloud_init is no valid YAML"),
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
def test_bad_input_costs_nothing(queue: RequestQueue, buy: Any, params: Any, option: str) -> None:
    msg = assert_failed(buy(**params), "auth" if "api_token" in params else "invalid", "not_sent")
    assert msg.startswith(option)
    assert msg.endswith("Nothing was sent.")
    assert "hunter22" not in msg and "b3BlbnNzaC1rZXktdjEAAAAA" not in msg
    assert queue.calls == []


def test_half_a_character_in_a_script_is_sent_as_json_has_it(queue: RequestQueue, buy: Any) -> None:
    script = "#!/bin/sh\n# \udcff\n"
    free(queue).expect(*POST, procurement(), body={"offer_id": OFFER_ID, "ssh_public_key": KEY, "cloud_init": script})
    assert buy(cloud_init=script)["outcome"] == "created"


@pytest.mark.parametrize(
    ("state", "error_class", "text"),
    [
        (status("available", "expired"), "expired", "The offer has expired; search again. Nothing was bought."),
        (status(None, "expired"), "expired", "search again."),
        (status("failed", "failed", failure_reason="no stock"), "conflict", "failed: no stock. No resource of it"),
        (status("failed", None), "conflict", "failed: the API gives no reason. No resource of it is known."),
    ],
    ids=["expired", "expired, one state", "failed", "failed without a reason"],
)
def test_an_offer_that_is_no_longer_to_be_had(
    queue: RequestQueue, buy: Any, state: Any, error_class: str, text: str
) -> None:
    queue.expect("GET", STATUS_PATH, state)
    if error_class == "conflict":
        expect_resources(queue)
    result = buy()
    assert text in assert_failed(result, error_class, "not_sent")
    assert (result["offer_id"], result["status"]) == (OFFER_ID, state["status"])


def test_a_failed_offer_may_still_be_billed(queue: RequestQueue, buy: Any) -> None:
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
def test_without_a_look_nothing_is_sent(queue: RequestQueue, buy: Any, code: int, error_class: str, path: str) -> None:
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
def test_an_unreadable_look_sends_nothing(queue: RequestQueue, buy: Any, answer: Any) -> None:
    queue.expect("GET", STATUS_PATH, answer)
    result = buy()
    code = None if answer is LOST else 200
    assert_failed(result, "unavailable" if answer is LOST else "protocol", "not_sent", code)


def test_an_unknown_offer_says_to_search_again(queue: RequestQueue, buy: Any) -> None:
    queue.expect("GET", STATUS_PATH, {"detail": "Offer not found"}, 404)
    assert "Offer not found. The offer is gone; search again. Nothing was bought." in buy()["msg"]


def test_a_wish_to_wait_is_handed_on(queue: RequestQueue, buy: Any) -> None:
    queue.expect("GET", STATUS_PATH, {}, 429, headers={"Retry-After": "120"})
    assert buy()["retry_after"] == 120


# The purchase is refused


@pytest.mark.parametrize(
    ("code", "error_class", "advice"),
    [
        (400, "invalid", ""),
        (401, "auth", "Check api_token (COMPUTE_INDEX_API_TOKEN)."),
        (402, "invalid", ""),
        (403, "auth", "Check api_token (COMPUTE_INDEX_API_TOKEN)."),
        (404, "not_found", "The offer is gone; search again."),
        (409, "conflict", ""),
        (410, "expired", "The offer has expired; search again."),
        (422, "invalid", ""),
    ],
)
def test_a_refused_purchase_is_rejected(
    queue: RequestQueue, buy: Any, code: int, error_class: str, advice: str
) -> None:
    free(queue).expect(*POST, {"detail": "because"}, code)
    # Those of the second kind may have been made all the same; a conflict over a free offer is looked at for a while.
    queue.expect("GET", STATUS_PATH, status(), times=2 if code == 409 else 1)
    result = buy(api_retries=5, settle_timeout=3)
    msg = assert_failed(result, error_class, "rejected", code)
    assert msg == f"POST /procure_offer answered {code}: because. {advice}{' ' if advice else ''}Nothing was bought."
    assert (result["price_per_hour"], result["offer_id"]) == (2.0, OFFER_ID)
    assert queue.count(*POST) == 1


@pytest.mark.parametrize("code", [400, 403, 409, 422])
def test_a_refusal_for_a_quota_says_that_waiting_does_not_help(queue: RequestQueue, buy: Any, code: int) -> None:
    free(queue).expect(*POST, {"detail": "The project's quota is 0"}, code)
    queue.expect("GET", STATUS_PATH, status(), times=2 if code == 409 else 1)
    msg = assert_failed(buy(settle_timeout=3), "quota", "rejected", code)
    assert "Waiting does not raise a quota: end a machine, or ask" in msg and msg.endswith("Nothing was bought.")


@pytest.mark.parametrize("state", ["failed", "available"])
def test_an_offer_that_was_not_sold_for_a_quota(queue: RequestQueue, buy: Any, state: str) -> None:
    answer = procurement(state, resource_ids=None, procured_at=None, error="instance limit reached")
    free(queue).expect(*POST, answer)
    queue.expect("GET", STATUS_PATH, status(state))
    if state == "failed":
        queue.expect("GET", "/resources", [], query={"offer_id": OFFER_ID})
    result = buy(settle_timeout=0)
    assert (result["outcome"], result["error_class"], result["resource_ids"]) == ("rejected", "quota", [])


def test_a_conflict_over_an_offer_that_is_bought_by_now_tells_only_by_name_whose_it_is(
    queue: RequestQueue, buy: Any
) -> None:
    # An earlier run may have been killed after its purchase was sent and before the API showed it; or another's.
    free(queue).expect(*POST, {"detail": "bought already"}, 409)
    queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID]))
    msg = assert_failed(buy(settle_timeout=0), "unknown_outcome", "unknown", 409, [RESOURCE_ID])
    assert "Nothing proves whose it is" in msg


@pytest.mark.parametrize("code", [400, 401, 402, 403, 422])
def test_a_refusal_that_does_not_speak_of_the_offer_holds_if_nobody_can_be_asked(
    queue: RequestQueue, buy: Any, code: int
) -> None:
    free(queue).expect(*POST, NOT_FOUND, code).expect("GET", STATUS_PATH, {}, 500, times=2)
    result = buy(settle_timeout=3)
    assert (result["outcome"], result["status_code"]) == ("rejected", code)


@pytest.mark.parametrize("code", [404, 409, 410])
def test_a_refusal_that_speaks_of_the_offer_needs_a_look(queue: RequestQueue, buy: Any, code: int) -> None:
    # A gateway that sent the purchase twice hands on the second answer.
    free(queue).expect(*POST, NOT_FOUND, code).expect("GET", STATUS_PATH, {}, 500, times=2)
    msg = assert_failed(buy(settle_timeout=3), "unknown_outcome", "unknown", code)
    assert "MAY BE BOUGHT" in msg and f"{STATUS_PATH} answered 500" in msg


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 422])
def test_a_purchase_that_was_made_although_its_answer_says_no_is_found_by_its_name(
    queue: RequestQueue, buy: Any, code: int
) -> None:
    free(queue).expect(*POST, NOT_FOUND, code)
    queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID]))
    expect_resources(queue, resource())
    if code in (404, 409, 410):
        queue.expect("GET", OFFER_PATH, offer())
    result = buy(resource_name="trainer")
    outcome = "existing" if code in (404, 409, 410) else "created"
    assert (result["outcome"], result["resource_ids"]) == (outcome, [RESOURCE_ID])


@pytest.mark.parametrize("code", [404, 409, 410])
@pytest.mark.parametrize("name", ["colleague", None])
def test_a_refusal_is_no_proof_that_a_machine_of_this_account_is_somebody_elses(
    queue: RequestQueue, buy: Any, code: int, name: str | None
) -> None:
    """A gateway may have sent the request twice, and not every deployment keeps names."""
    free(queue).expect(*POST, {"detail": "sold"}, code)
    for _time in range(2):
        queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
        expect_resources(queue, resource(name=name))
    result = buy(resource_name="trainer", settle_timeout=2)
    msg = assert_failed(result, "unknown_outcome", "unknown", code, [RESOURCE_ID])
    assert RESOURCE_ID in msg and "MAY BE" in msg and "othing was bought." not in msg
    assert f"answered {code}: sold. Asked now:" in msg and f"Nothing proves whose it is: {RESOURCE_ID}" in msg


@pytest.mark.parametrize("code", [404, 409, 410, 422])
@pytest.mark.parametrize("shown", [(status(), 200), (status("available", "expired"), 200), (NOT_FOUND, 404)], ids=str)
def test_a_status_that_lags_does_not_confirm_a_refusal(
    queue: RequestQueue, buy: Any, code: int, shown: tuple[Any, int]
) -> None:
    """The account lists a machine of the offer, whose name the API has not kept."""
    free(queue).expect(*POST, {"detail": "sold"}, code)
    for _time in range(2):
        queue.expect("GET", STATUS_PATH, *shown)
        expect_resources(queue, resource(name="vm-1"))
    result = buy(resource_name="trainer", settle_timeout=2)
    msg = assert_failed(result, "unknown_outcome", "unknown", code, [RESOURCE_ID])
    assert RESOURCE_ID in msg and "MAY BE" in msg and "othing was bought." not in msg


@pytest.mark.parametrize("code", [404, 409, 410])
@pytest.mark.parametrize("shown", [status(), status("ready")], ids=["unbought", "ready"])
@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ("new", "unknown"),
        ("of this offer by its page", "unknown"),
        ("unreadable", "unknown"),
        ("listed before", "rejected"),
        ("another name", "rejected"),
        ("deleted", "rejected"),
        ("deleted by its page", "rejected"),
        ("of another offer by its page", "rejected"),
    ],
)
def test_a_refused_purchase_may_have_bought_a_machine_of_its_name_that_names_no_offer(
    queue: RequestQueue, buy: Any, code: int, shown: Any, end: str, outcome: str
) -> None:
    """A gateway sent the request twice, the status names no ids, and the list does not say the offers of resources."""
    free(queue).expect(*POST, {"detail": "sold"}, code)
    pages: dict[str, Any] = {
        "of this offer by its page": resource(name="trainer"),
        "deleted by its page": resource(name="trainer", status="deleted", offer_history=None),
        "of another offer by its page": resource(name="trainer", offer_history=None, offer_id=OTHER_ID),
    }
    for _time in range(2 if outcome == "unknown" or code == 409 or shown != status() else 1):
        queue.expect("GET", STATUS_PATH, shown)
        name, state = "vm-1" if end == "another name" else "trainer", "deleted" if end == "deleted" else "running"
        listed = resource(name=name, status=state, offer_history=None)
        expect_resources(queue, listed)
        if end == "unreadable":
            queue.show(listed, {}, 503)
        elif end == "new" or end in pages:
            queue.show(pages.get(end, listed))
    before = [RESOURCE_ID] if end == "listed before" else []
    result = buy(resource_name="trainer", settle_timeout=2, listed_before=before)
    assert (result["outcome"], result["resource_ids"]) == (outcome, [RESOURCE_ID] if outcome == "unknown" else [])
    assert (f"Nothing proves whose it is: {RESOURCE_ID}" in result["msg"]) is (outcome == "unknown")


@pytest.mark.parametrize(("holder", "outcome"), [(OTHER_ID, "unknown"), (RESOURCE_ID, "rejected")])
def test_a_vendor_that_keeps_names_proves_nothing_against_a_machine_of_its_name(
    queue: RequestQueue, buy: Any, tmp_path: Path, holder: str, outcome: str
) -> None:
    """Only a host that holds the very machine does."""
    entry = {"provision_procured_offer_id": OTHER_ID, "provision_resource_ids": [holder]}
    HostFile(str(tmp_path / "tuner" / "compute_index_supply.yml")).note(entry)
    free(queue).expect(*POST, {"detail": "sold"}, 410)
    for _time in range(2 if outcome == "unknown" else 1):
        queue.expect("GET", STATUS_PATH, status("ready"))
        machine = resource(name="trainer", offer_history=None)
        expect_resources(queue, machine).show(machine)
    registry = str(tmp_path / "trainer" / "compute_index_supply.yml")
    assert buy(resource_name="trainer", settle_timeout=2, registry_file=registry)["outcome"] == outcome


def test_a_machine_that_the_status_names_is_shown_once(queue: RequestQueue, buy: Any, tmp_path: Path) -> None:
    free(queue).expect(*POST, {"detail": "sold"}, 409)
    for _time in range(2):
        queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
        expect_resources(queue, resource(name="trainer", offer_history=None))
    registry = str(tmp_path / "trainer" / "compute_index_supply.yml")
    result = buy(resource_name="trainer", settle_timeout=2, registry_file=registry)
    assert result["outcome"] == "unknown" and len(result["machines"]) == 1


@pytest.mark.parametrize("code", [400, 402, 403, 422])
def test_a_machine_of_its_name_does_not_doubt_a_refusal_that_is_about_the_request(
    queue: RequestQueue, buy: Any, code: int
) -> None:
    free(queue).expect(*POST, {"detail": "no"}, code).expect("GET", STATUS_PATH, status())
    expect_resources(queue, resource(name="trainer", offer_history=None))
    assert buy(resource_name="trainer", settle_timeout=2)["outcome"] == "rejected"


@pytest.mark.parametrize("code", [404, 409, 410])
def test_an_offer_that_another_host_has_by_now_is_theirs(
    queue: RequestQueue, buy: Any, tmp_path: Path, code: int
) -> None:
    """The machine of another host shows that the vendor keeps names, so this one was bought under its own."""
    entry = {"provision_procured_offer_id": OTHER_ID, "provision_resource_ids": [SECOND_RESOURCE_ID]}
    HostFile(str(tmp_path / "tuner" / "compute_index_supply.yml")).note(entry)
    theirs = resource(name="colleague")
    free(queue).expect(*POST, {"detail": "sold"}, code)
    expect_resources(queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])), theirs)
    queue.expect("GET", "/resources", [theirs, resource(SECOND_RESOURCE_ID, name="tuner", offer_history=[])])
    result = buy(resource_name="trainer", registry_file=str(tmp_path / "trainer" / "compute_index_supply.yml"))
    msg = assert_failed(result, "conflict", "rejected", code)
    assert f"sold. Someone else has bought offer {OFFER_ID}: {RESOURCE_ID} (called colleague, running" in msg
    assert msg.endswith("USD 2.00 per hour). Nothing was bought.")
    assert result["machines"] == [
        {"resource_id": RESOURCE_ID, "name": "colleague", "status": "running", "price_per_hour": 2.0}
    ]


def test_who_has_an_offer_is_asked_until_a_name_shows(queue: RequestQueue, buy: Any, clock: Clock) -> None:
    free(queue).expect(*POST, {}, 409)
    expect_resources(queue.expect("GET", STATUS_PATH, status("provisioning")))
    expect_resources(queue.expect("GET", STATUS_PATH, status("provisioning")), code=500)
    expect_resources(queue.expect("GET", STATUS_PATH, status("provisioning")), resource(name=None))
    expect_resources(queue.expect("GET", STATUS_PATH, status("provisioning")), resource())
    queue.expect("GET", OFFER_PATH, offer())
    assert buy(resource_name="trainer")["outcome"] == "existing"
    assert clock.naps == [3] * 3


def test_an_offer_whose_machines_show_nowhere_was_sold_to_another_customer(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, {}, 409)
    for _time in range(2):
        expect_resources(queue.expect("GET", STATUS_PATH, status("provisioning")))
    msg = assert_failed(buy(resource_name="trainer", settle_timeout=2), "conflict", "rejected", 409)
    assert "this account lists no machine of it. Nothing was bought." in msg


def test_an_offer_whose_machines_cannot_be_listed_is_not_replaced(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, {}, 409)
    for _time in range(2):
        expect_resources(queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID])), code=500)
        queue.show(resource(), NOT_FOUND, 404)
    msg = assert_failed(
        buy(resource_name="trainer", settle_timeout=2), "unknown_outcome", "unknown", 409, [RESOURCE_ID]
    )
    assert "Nothing proves whose it is" in msg and "billed at USD 2.00 per hour" in msg
    assert "GET /resources answered 500" in msg


def test_machines_of_other_offers_in_the_list_are_nobodys_concern(queue: RequestQueue, buy: Any) -> None:
    """The filter of the list may be ignored."""
    free(queue).expect(*POST, procurement("provisioning_in_progress"))
    queue.expect("GET", STATUS_PATH, status("provisioning"))
    others = [resource(SECOND_RESOURCE_ID, offer_history=[], offer_id=OTHER_ID), resource("x", offer_history=None)]
    expect_resources(queue, *others, resource())
    assert buy()["resource_ids"] == [RESOURCE_ID]


# A success that says no


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (procurement("rejected", error="insufficient credit."), "insufficient credit."),
        (procurement("queued", error="try later"), "try later."),
        (procurement("available"), "it answered 'available'."),
        (procurement("expired"), "it answered 'expired'."),
    ],
)
def test_a_success_that_says_no_is_a_rejection_in_the_apis_words(
    queue: RequestQueue, buy: Any, reply: Any, reason: str
) -> None:
    free(queue).expect(*POST, reply).expect("GET", STATUS_PATH, status())
    msg = assert_failed(buy(), "conflict", "rejected")
    assert msg == f"The API did not sell offer {OFFER_ID}: {reason} Nothing was bought."


def test_a_success_that_says_no_may_have_bought_it(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, procurement("rejected", error="timed out at the vendor"))
    queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID]))
    result = buy()
    assert (result["outcome"], result["resource_ids"]) == ("created", [RESOURCE_ID])
    assert "timed out at the vendor. The offer's status says that it was bought." in result["warnings"][0]


def test_a_success_that_says_no_and_cannot_be_looked_at_is_unknown(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, procurement("rejected", error="credit")).expect("GET", STATUS_PATH, {}, 500)
    msg = assert_failed(buy(settle_timeout=0), "unknown_outcome", "unknown")
    assert f"The API did not sell offer {OFFER_ID}: credit." in msg


def test_ids_that_are_none_are_named_after_the_purchase(
    queue: RequestQueue, buy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Market.procure
    monkeypatch.setattr(Market, "procure", lambda *args, **how: {**real(*args, **how), "odd_ids": ["x -oY", 7]})
    free(queue).expect(*POST, procurement())
    msg = assert_failed(buy(), "protocol", "created", ids=[RESOURCE_ID])
    assert "was BOUGHT and is billed at USD 2.00 per hour" in msg and "'x -oY', '7'" in msg


# The API asks to come back: 429, or 503 with Retry-After

BUSY = pytest.mark.parametrize(("code", "wait"), [(429, None), (429, "9"), (503, "9")])


def busy(queue: RequestQueue, code: int, wait: str | None) -> RequestQueue:
    return queue.expect(*POST, NOT_FOUND, code, headers={} if wait is None else {"Retry-After": wait})


@BUSY
@pytest.mark.parametrize("times", [1, 2])
def test_a_purchase_is_sent_again_only_while_the_api_calls_the_offer_unbought(
    queue: RequestQueue, buy: Any, clock: Clock, code: int, wait: str | None, times: int
) -> None:
    for _time in range(times):
        busy(free(queue), code, wait)
    free(queue).expect(*POST, procurement())
    assert buy(api_retries=2)["outcome"] == "created"
    assert queue.count(*POST) == times + 1
    assert clock.naps == ([float(wait)] * times if wait else [0.5, 1.0][:times])


@BUSY
def test_a_purchase_that_was_taken_up_nevertheless_is_not_sent_again(
    queue: RequestQueue, buy: Any, code: int, wait: str | None
) -> None:
    busy(free(queue), code, wait)
    queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID]))
    expect_resources(queue, resource(name="trainer"))
    result = buy(resource_name="trainer", api_retries=2)
    assert (result["outcome"], result["resource_ids"]) == ("created", [RESOURCE_ID])
    assert queue.count(*POST) == 1


@BUSY
@pytest.mark.parametrize("name", ["database", "trainers", None])
@pytest.mark.parametrize("refused", [False, True])
def test_an_offer_that_is_sold_while_the_api_is_busy_may_be_ours(
    queue: RequestQueue, buy: Any, name: str | None, code: int, wait: str | None, refused: bool
) -> None:
    """The API has taken the request up that it put off, and keeps no names; or somebody else was faster."""
    busy(free(queue), code, wait)
    if refused:  # since the first one was made
        free(queue).expect(*POST, {}, 409)
    for _time in range(2):
        expect_resources(
            queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])), resource(name=name)
        )
    result = buy(resource_name="trainer", api_retries=2, settle_timeout=2)
    msg = assert_failed(result, "unknown_outcome", "unknown", 409 if refused else code, [RESOURCE_ID])
    assert "MAY BE BOUGHT" in msg and "provision_adopt: true" in msg
    assert queue.count(*POST) == 1 + refused


@pytest.mark.parametrize("ids", [[], [RESOURCE_ID]])
@pytest.mark.parametrize("code", [404, 409, 410, 429, 503])
def test_a_module_alone_is_never_told_of_a_success_that_nothing_proves(
    queue: RequestQueue, buy: Any, code: int, ids: list[str]
) -> None:
    """It asked for no name and keeps no registry: another customer may have bought the offer."""
    free(queue).expect(*POST, NOT_FOUND, code)
    state = status("provisioning", resource_ids=ids)
    is_ours = code == 503 and bool(ids)  # never answered, and there is a machine of it on this account
    for _time in range(1 if is_ours else 2):
        queue.expect("GET", STATUS_PATH, state)
        if not ids:
            expect_resources(queue)
    result = buy(settle_timeout=2, api_retries=0)
    if is_ours:
        assert (result["outcome"], result["resource_ids"]) == ("created", ids)
        return
    msg = assert_failed(result, "unknown_outcome", "unknown", code, ids)
    assert "billed at USD 2.00 per hour" in msg and "compute_index.supply.delete_resource" in msg


def test_a_machine_of_the_offer_that_has_ended_is_offered_to_nobody(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, {}, 409).expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
    gone = resource(name="colleague", status="deleted")
    expect_resources(queue, gone).expect("GET", f"/resources/{RESOURCE_ID}", gone, query={"force_refresh": "true"})
    msg = assert_failed(buy(resource_name="trainer"), "conflict", "rejected", 409)
    assert "its machines have ended" in msg and "adopt" not in msg and "MAY BE" not in msg


@BUSY
def test_a_purchase_is_not_sent_again_if_nobody_says_that_it_may(
    queue: RequestQueue, buy: Any, code: int, wait: str | None
) -> None:
    busy(free(queue), code, wait).expect("GET", STATUS_PATH, {}, 401)
    assert_failed(buy(settle_timeout=0, api_retries=2), "unknown_outcome", "unknown", code)
    assert queue.count(*POST) == 1


@pytest.mark.parametrize("code", [400, 409, 410, 500])
def test_a_refusal_of_what_was_sent_again_does_not_speak_for_the_first(
    queue: RequestQueue, buy: Any, code: int
) -> None:
    free(busy(free(queue), 503, "9")).expect(*POST, NOT_FOUND, code)
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
    result = buy(api_retries=2)
    assert (result["outcome"], result["resource_ids"]) == ("created", [RESOURCE_ID])


@pytest.mark.parametrize(("later", "outcome"), [("available", "unknown"), ("failed", "rejected")])
def test_a_failure_of_what_was_sent_again_does_not_speak_for_the_one_that_was_lost(
    queue: RequestQueue, buy: Any, later: str, outcome: str
) -> None:
    """The first may be under way, unless the offer itself has failed."""
    free(queue).expect(*POST, LOST)
    free(queue).expect(*POST, {"offer_id": OFFER_ID, "status": "failed", "error": "no stock"})
    queue.expect("GET", STATUS_PATH, status(later))
    if later == "failed":
        expect_resources(queue)
    error_class = "conflict" if later == "failed" else "unknown_outcome"
    assert ("MAY BE BOUGHT" in assert_failed(buy(settle_timeout=0, api_retries=1), error_class, outcome)) is (
        later == "available"
    )


def test_a_price_that_rose_meanwhile_is_not_paid(queue: RequestQueue, buy: Any) -> None:
    free(busy(free(queue), 429, "9"), total_price_per_hour=4.0).expect("GET", STATUS_PATH, status(), times=2)
    msg = assert_failed(buy(max_price_per_hour=3, api_retries=2, settle_timeout=3), "price", "rejected", 429)
    assert "USD 4.00 per hour, which is above" in msg and msg.endswith("Nothing was bought.")


def test_what_was_put_off_and_may_not_be_sent_again_may_show_later(queue: RequestQueue, buy: Any) -> None:
    """A gateway has passed the request on, and the offer cannot be read right then."""
    expect_resources(busy(free(queue), 429, "1").expect("GET", STATUS_PATH, status())).expect(
        "GET", OFFER_PATH, {}, 401
    )
    expect_resources(queue.expect("GET", STATUS_PATH, status()))
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
    expect_resources(queue, resource(name="trainer"))
    result = buy(api_retries=2, settle_timeout=9, resource_name="trainer")
    assert result["outcome"] == "created" and queue.count(*POST) == 1


@pytest.mark.parametrize(
    "unread",
    [([], 502), ([], 403), ([], 302), ({"resources": [], "total": 1}, 200)],
    ids=["not now", "not allowed", "redirected", "not whole"],
)
@pytest.mark.parametrize("is_read", [True, False])
@pytest.mark.parametrize("code", [404, 409, 410])
def test_a_list_that_cannot_be_read_confirms_no_refusal(
    queue: RequestQueue, buy: Any, code: int, is_read: bool, unread: tuple[Any, int]
) -> None:
    """A gateway has sent the request twice, and the status lags behind the purchase."""
    free(queue).expect(*POST, NOT_FOUND, code)
    queue.expect("GET", STATUS_PATH, status()).expect("GET", "/resources", *unread, query={"offer_id": OFFER_ID})
    queue.expect("GET", STATUS_PATH, status())
    if is_read:
        expect_resources(queue, resource(name="trainer")).expect("GET", OFFER_PATH, offer())
    else:
        queue.expect("GET", "/resources", *unread, query={"offer_id": OFFER_ID})
    result = buy(settle_timeout=3, resource_name="trainer")
    assert result["outcome"] == ("existing" if is_read else "unknown") and queue.count(*POST) == 1


def test_a_503_may_be_on_its_way_when_it_is_not_sent_again(queue: RequestQueue, buy: Any) -> None:
    busy(free(queue), 503, "9").expect("GET", STATUS_PATH, status()).expect("GET", OFFER_PATH, {}, 401)
    queue.expect("GET", STATUS_PATH, status()).expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
    assert buy(api_retries=2)["outcome"] == "created"
    assert queue.count(*POST) == 1


@pytest.mark.parametrize(("retries", "wait"), [(0, "9"), (5, "3600")])
def test_an_api_that_is_too_busy_for_long_has_refused_or_nobody_knows(
    queue: RequestQueue, buy: Any, retries: int, wait: str
) -> None:
    # What it was taken up all the same for would show in the meantime.
    busy(free(queue), 429, wait).expect("GET", STATUS_PATH, status(), times=2)
    result = buy(api_retries=retries, settle_timeout=3)
    assert assert_failed(result, "rate_limited", "rejected", 429).endswith("Nothing was bought.")
    assert result["retry_after"] == float(wait)
    busy(free(queue), 503, wait).expect("GET", STATUS_PATH, status())
    assert_failed(buy(api_retries=retries, settle_timeout=0), "unknown_outcome", "unknown", 503)


# A success that is none


def nothing_left(queue: RequestQueue, *resources: Any) -> None:
    """Expect that the machines of a failed purchase are asked for."""
    expect_resources(queue.expect("GET", STATUS_PATH, status("failed")), *resources)


@pytest.mark.parametrize("reason", ["no stock", None])
def test_a_purchase_may_fail_in_a_success(queue: RequestQueue, buy: Any, reason: str | None) -> None:
    nothing_left(free(queue).expect(*POST, procurement("failed", error=reason)), resource(status="deleted"))
    result = buy()
    msg = assert_failed(result, "conflict", "rejected")
    assert f"failed: {reason or 'the API gives no reason'}. No resource of it is known." in msg


def test_a_purchase_that_failed_may_still_be_billed(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, procurement("failed", resource_ids=[RESOURCE_ID], error="no stock"))
    queue.expect("GET", STATUS_PATH, status("failed"))
    msg = assert_failed(buy(), "conflict", "rejected", ids=[RESOURCE_ID])
    assert f"no stock. These resources may still be billed, at USD 2.00 per hour: {RESOURCE_ID}." in msg


def test_a_purchase_that_failed_and_cannot_be_looked_at_names_its_machines(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, procurement("failed", resource_ids=[RESOURCE_ID]))
    queue.expect("GET", STATUS_PATH, {}, 500)
    assert_failed(buy(settle_timeout=0), "unknown_outcome", "unknown", ids=[RESOURCE_ID])


def test_a_plan_looks_at_a_purchase_that_failed(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, procurement("failed", resource_ids=[RESOURCE_ID]))
    account = hashlib.sha256(f"https://supply-api.example.com {TOKEN}".encode()).hexdigest()[:16]
    result = buy(account=account)
    assert (result["outcome"], result["status"], result["resource_ids"]) == ("created", "failed", [RESOURCE_ID])


def test_a_failed_purchase_that_names_no_machines_may_have_some(queue: RequestQueue, buy: Any) -> None:
    nothing_left(free(queue).expect(*POST, procurement("failed")), resource(status="failed"))
    assert "may still be billed" in assert_failed(buy(), "conflict", "rejected", ids=[RESOURCE_ID])


@pytest.mark.parametrize("code", [401, 500])
def test_a_failed_purchase_may_be_billed_if_nobody_can_tell(queue: RequestQueue, buy: Any, code: int) -> None:
    free(queue).expect(*POST, procurement("failed", error="no stock")).expect("GET", STATUS_PATH, status("failed"))
    expect_resources(queue, code=code)
    msg = assert_failed(buy(settle_timeout=0), "unknown_outcome", "unknown")
    assert "no stock. Asked now: " in msg and "It MAY BE BOUGHT" in msg


# The answer is lost

LOSSES: dict[str, tuple[Any, int]] = {
    "lost": (LOST, 200),
    "500": ({}, 500),
    "502 with HTML": (b"<html>", 502),
    "503 without Retry-After": ({}, 503),
    "504": ({}, 504),
    "408": ({}, 408),
    "307": ({}, 307),
    "200 without JSON": (b"", 200),
    "200 without a status": ({"detail": "ok"}, 200),
    "200 with a list": ([], 200),
}


@pytest.mark.parametrize(("reply", "code"), LOSSES.values(), ids=LOSSES.keys())
def test_a_lost_answer_is_asked_after_and_never_sent_again(
    queue: RequestQueue, buy: Any, reply: Any, code: int
) -> None:
    free(queue).expect(*POST, reply, code)
    queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID]))
    result = buy(api_retries=0 if code == 503 else 5)
    assert (result["outcome"], result["changed"], result["status"]) == ("created", True, "procured")
    assert result["resource_ids"] == [RESOURCE_ID]
    [warning] = result["warnings"]
    assert warning.endswith("The offer's status says that it was bought.")
    assert queue.count(*POST) == 1


def test_a_lost_answer_is_asked_after_until_it_is_known(queue: RequestQueue, buy: Any, clock: Clock) -> None:
    free(queue).expect(*POST, LOST)
    queue.expect("GET", STATUS_PATH, LOST).expect("GET", STATUS_PATH, {}, 500).expect("GET", STATUS_PATH, status())
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID]))
    assert buy(api_retries=5)["outcome"] == "created"
    assert clock.naps == [operation.SETTLE_PAUSE] * 3
    assert [whole for _connecting, whole in queue.timeouts[3:7]] == [operation.SETTLE_TIMEOUT] * 4


def test_the_ids_of_a_settled_purchase_are_asked_for(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, LOST).expect("GET", STATUS_PATH, status("provisioning"))
    expect_resources(queue, resource())
    assert buy()["resource_ids"] == [RESOURCE_ID]


@pytest.mark.parametrize("ids", [[], [RESOURCE_ID]])
def test_a_lost_answer_may_turn_out_as_a_failure(queue: RequestQueue, buy: Any, ids: list[str]) -> None:
    free(queue).expect(*POST, LOST)
    queue.expect("GET", STATUS_PATH, status("failed", "failed", failure_reason="no stock", resource_ids=ids))
    if not ids:
        expect_resources(queue)
    msg = assert_failed(buy(), "conflict", "rejected", ids=ids)
    assert "failed: no stock." in msg and ("may still be billed" in msg) is bool(ids)


@pytest.mark.parametrize(
    ("state", "code"),
    [(status("available", "expired"), 200), (NOT_FOUND, 404), ({}, 410)],
    ids=["expired", "404", "410"],
)
def test_a_lost_purchase_may_be_under_way_although_the_offer_is_gone(
    queue: RequestQueue, buy: Any, state: Any, code: int
) -> None:
    free(queue).expect(*POST, LOST).expect("GET", STATUS_PATH, state, code, times=2)
    msg = assert_failed(buy(settle_timeout=2), "unknown_outcome", "unknown")
    assert "MAY BE BOUGHT" in msg and "Run the same again after 2026-01-31T12:30:0" in msg


@pytest.mark.parametrize(
    ("settle_timeout", "looks", "naps"),
    [(0, 1, []), (2, 2, [2]), (3, 2, [3]), (7, 4, [3, 3, 1]), (30, 11, [3] * 10)],
)
def test_a_lost_answer_is_asked_after_for_so_long(
    queue: RequestQueue, buy: Any, clock: Clock, settle_timeout: float, looks: int, naps: list[float]
) -> None:
    for _purchase in range(2):
        free(queue) if _purchase == 0 else queue.expect("GET", OFFER_PATH, offer())
        queue.expect(*POST, LOST).expect("GET", STATUS_PATH, status(), times=looks)
    result = buy(settle_timeout=settle_timeout, api_retries=5)
    msg = assert_failed(result, "unknown_outcome", "unknown")
    assert "MAY BE BOUGHT and billed at USD 2.00 per hour" in msg
    assert "Do not buy another offer instead" in msg and "the API still calls it unbought" in msg
    assert OFFER_ID in msg and "Nothing was bought" not in msg
    assert clock.naps == naps * 2
    assert queue.count(*POST) == 2, "the same offer, once more, since the status calls it unbought all the time"


@pytest.mark.parametrize(("code", "told"), [(502, 502), (200, 200)])
def test_an_unknown_outcome_tells_the_status_of_the_purchase(
    queue: RequestQueue, buy: Any, code: int, told: int
) -> None:
    free(queue).expect(*POST, b"<html>", code).expect("GET", STATUS_PATH, {}, 500)
    msg = assert_failed(buy(settle_timeout=0), "unknown_outcome", "unknown", told)
    assert f"{STATUS_PATH} answered 500" in msg


def test_a_look_that_fails_does_not_make_an_earlier_one_forgotten(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, LOST).expect("GET", STATUS_PATH, status()).expect("GET", STATUS_PATH, LOST)
    result = buy(settle_timeout=3)
    assert queue.count(*POST) == 1, "sent again only on the word of the newest look"
    assert_failed(result, "unknown_outcome", "unknown")
    assert result["status"] == "available"


@pytest.mark.parametrize("sent", [True, False])
def test_only_what_was_sent_is_settled(
    queue: RequestQueue, buy: Any, monkeypatch: pytest.MonkeyPatch, sent: bool
) -> None:
    def lose(*_args: Any, **_how: Any) -> None:
        raise ApiError("No answer.", "unavailable", sent=sent, transient=True)

    monkeypatch.setattr(Market, "procure", lose)
    free(queue)
    if sent:
        queue.expect("GET", STATUS_PATH, {}, 500)
    result = buy(settle_timeout=0)
    if sent:
        assert_failed(result, "unknown_outcome", "unknown")
    else:
        assert assert_failed(result, "unavailable", "not_sent").endswith("Nothing was bought.")


def test_over_a_real_connection_a_purchase_without_an_answer_is_sent_once(
    serve: Callable[..., RawServer], buy: Any
) -> None:
    def say(data: Any) -> Step:
        return answer(200, json.dumps(data).encode())

    server = serve(
        say(status()),
        say(offer()),
        read_and_hang_up,
        say(status("provisioning", resource_ids=[RESOURCE_ID])),
        say(resource(RESOURCE_ID)),
    )
    result = buy(api_url=server.url, api_retries=5)
    assert (result["outcome"], result["resource_ids"]) == ("created", [RESOURCE_ID])
    lines = [request.split(b" HTTP/", 1)[0].decode() for request in server.received]
    by_id = f"GET /resources/{RESOURCE_ID}?force_refresh=true"
    assert lines == [f"GET {STATUS_PATH}", f"GET {OFFER_PATH}", "POST /procure_offer", f"GET {STATUS_PATH}", by_id]


# Running again


def test_running_again_buys_nothing(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, procurement())
    first = buy()
    queue.expect("GET", STATUS_PATH, status("ready", resource_ids=[RESOURCE_ID])).expect("GET", OFFER_PATH, offer())
    second = buy()
    assert (first["outcome"], second["outcome"], second["changed"]) == ("created", "existing", False)
    assert first["resource_ids"] == second["resource_ids"]
    assert queue.count(*POST) == 1


def test_running_again_after_an_unknown_outcome_buys_only_what_is_free(queue: RequestQueue, buy: Any) -> None:
    free(queue).expect(*POST, LOST).expect("GET", STATUS_PATH, {}, 500)
    assert buy(settle_timeout=0)["outcome"] == "unknown"
    queue.expect("GET", STATUS_PATH, status("provisioning", resource_ids=[RESOURCE_ID]))
    queue.expect("GET", OFFER_PATH, offer())
    assert buy()["outcome"] == "existing"
    assert queue.count(*POST) == 1


def test_results_do_not_share_their_lists(queue: RequestQueue, buy: Any) -> None:
    queue.expect("GET", STATUS_PATH, {}, 500)
    assert buy()["resource_ids"] is not BLANK["resource_ids"]


# Secrets and bugs


@pytest.mark.parametrize("code", [200, 400, 401, 422, 500])
def test_no_result_repeats_a_secret(queue: RequestQueue, buy: Any, code: int) -> None:
    echo = {"detail": f"{TOKEN} {USER_DATA} {PRIVATE_KEY}", "status": "failed", "error": f"{TOKEN} {USER_DATA}"}
    free(queue).expect(*POST, echo, code)
    if code != 200:
        queue.expect("GET", STATUS_PATH, status(progress=USER_DATA, failure_reason=TOKEN))
    if code == 200:
        nothing_left(queue)
    result = buy(cloud_init=USER_DATA, settle_timeout=0)
    assert TOKEN not in repr(result) and "hunter22" not in repr(result)


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_bug_leaves_the_outcome_open_and_tells_nothing(
    buy: Any, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    def burst(*_args: Any, **_options: Any) -> None:
        raise KeyError(f"{TOKEN} {USER_DATA}")

    monkeypatch.setattr(Market, "offer_status", burst)
    result = buy(check_mode, cloud_init=USER_DATA)
    msg = assert_failed(result, "unknown_outcome", "unknown")
    assert msg.startswith("This is a bug of the collection: KeyError in procure_offer.")
    assert "Run the same again" in msg
    assert result["offer_id"] == OFFER_ID
    assert TOKEN not in repr(result) and "hunter22" not in repr(result)


def test_an_error_of_the_api_that_nobody_caught_is_a_failure(buy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_whatever_the_api_answers_there_is_a_complete_result_and_no_purchase_without_a_look(
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
