# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tolerant reader of the API's answers. Prices and pages have their own files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _text
from ansible_collections.compute_index.supply.plugins.module_utils._api import client, market
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._machine import connection
from hypothesis import given
from hypothesis import strategies as st

from canned_api import METHODS, ORDER, canned, error_of
from samples import (
    OFFER_ID,
    RESOURCE_ID,
    SECOND_RESOURCE_ID,
    instance,
    offer,
    procurement,
    resource,
    status,
)

# Lists


BARE: Callable[[list[Any]], Any] = list
ENVELOPES = {
    "bare": BARE,
    **{
        name: (lambda items, name=name: {name: items, "region": "EU"})
        for name in ("resources", "items", "data", "results")
    },
    "after fields that are not lists": lambda items: {"items": None, "data": "x", "results": items},
}


@pytest.mark.parametrize("wrap", ENVELOPES.values(), ids=ENVELOPES.keys())
@pytest.mark.parametrize("items", [[], [resource()], [resource(), resource(SECOND_RESOURCE_ID)]], ids=len)
def test_resource_list_is_found_in_every_envelope(wrap: Any, items: list[Any]) -> None:
    found = canned(wrap(items)).resources(OFFER_ID)
    assert [item["resource_id"] for item in found] == [item["resource_id"] for item in items]


@pytest.mark.parametrize("data", [None, "x", 7, {}, {"resources": {}}, {"items": "x"}, {"offers": []}])
def test_answer_without_resource_list_is_an_error(data: Any) -> None:
    error = error_of(METHODS["resources"], canned(data))
    assert (error.error_class, error.transient) == ("protocol", True)


@pytest.mark.parametrize("data", [[7], [None], {"resources": ["x"]}])
def test_resource_that_is_not_an_object_is_an_error(data: Any) -> None:
    assert error_of(METHODS["resources"], canned(data)).error_class == "protocol"


@pytest.mark.parametrize(
    ("data", "count"),
    [
        pytest.param([offer()], 1, id="bare"),
        pytest.param({"offers": [offer()], "total_count": 7, "filters_applied": {}}, 7, id="documented"),
        pytest.param({"offers": [offer()]}, 1, id="no count"),
        pytest.param({"offers": [offer()], "total_count": None}, 1, id="null"),
        pytest.param({"offers": [offer()], "total_count": "7"}, 1, id="text"),
        pytest.param({"offers": [offer()], "total_count": True}, 1, id="boolean"),
    ],
)
def test_search_returns_offers_count_and_filters(data: Any, count: int) -> None:
    offers, total_count, filters = canned(data).search_offers({})
    assert filters == ({} if count == 7 else None)
    assert [item["offer_id"] for item in offers] == [OFFER_ID]
    assert total_count == count and total_count.__class__ is int


@pytest.mark.parametrize("data", [None, {}, {"offers": None}, {"resources": []}, [7]])
def test_search_answer_without_offer_list_is_an_error(data: Any) -> None:
    assert error_of(METHODS["search_offers"], canned(data)).error_class == "protocol"


# Offers


def test_offer_has_all_documented_fields_and_keeps_others() -> None:
    read = market.read_offer({"offer_id": OFFER_ID, "infiniband_bandwidth_gbps": 400})
    assert read["infiniband_bandwidth_gbps"] == 400
    assert {name: read[name] for name in ("gpu_type", "vendor", "status", "expires_at", "price_per_hour")} == {
        "gpu_type": None,
        "vendor": None,
        "status": None,
        "expires_at": None,
        "price_per_hour": None,
    }


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"catalog"}))
@pytest.mark.parametrize("data", [None, "x", 7, True, ["x"]])
def test_json_of_wrong_type_is_an_error(name: str, data: Any) -> None:
    error = error_of(METHODS[name], canned(data))
    assert (error.error_class, error.status_code, error.transient) == ("protocol", 200, True)
    assert (error.sent, error.refused) == (True, False)


# Ids


ODD_IDS: list[tuple[Any, str]] = [
    ("x -oProxyCommand='touch /tmp/x'", "\"x -oProxyCommand='touch /tmp/x'\""),
    ("-oProxyCommand=x", "'-oProxyCommand=x'"),
    ("_a", "'_a'"),
    ("a b", "'a b'"),
    ("a\n", "'a\\n'"),
    ("../a", "'../a'"),
    ("a.b", "'a.b'"),
    ("{{ a }}", "'{{ a }}'"),
    ("\u0661", "'\u0661'"),
    ("\ud800", "'\\ud800'"),
    ("\x1b[2J", "'\\x1b[2J'"),
    ("x" * 65, "'" + "x" * 59 + "..."),
    (7, "7"),
    (True, "True"),
    (["a"], "['a']"),
    ({"id": "a"}, "{'id': 'a'}"),
]
ODD = pytest.mark.parametrize(("odd", "shown"), ODD_IDS, ids=[shown for _odd, shown in ODD_IDS])
# In a list of ids, an object may name its id in ``resource_id``.
ODD_IN_LIST = pytest.mark.parametrize(("odd", "shown"), ODD_IDS[:-1], ids=[shown for _odd, shown in ODD_IDS[:-1]])


@pytest.mark.parametrize("value", [RESOURCE_ID.replace("-", ""), RESOURCE_ID.replace("-", "").upper()])
def test_uuid_without_hyphens_is_normalized(value: str) -> None:
    """An id noted in two forms could be neither found in a list nor ended."""
    assert client.read_resource(resource(value))["resource_id"] == RESOURCE_ID
    assert client.ids_and_odd_ids({"resource_ids": [value, RESOURCE_ID]}) == ([RESOURCE_ID], [])
    assert client.normalized_id(f"{value}0") == f"{value}0".lower()


@pytest.mark.parametrize("value", [RESOURCE_ID, RESOURCE_ID.upper(), "r2", "abc-123", "a_b", "0", "x" * 64])
def test_valid_ids_become_lower_case(value: str) -> None:
    assert client.normalized_id(value) == value.lower()
    read = client.read_resource(resource(value))
    assert (read["resource_id"], "odd_id" in read) == (value.lower(), False)


@ODD
def test_resource_with_odd_id_stays_listed(odd: Any, shown: str) -> None:
    found = canned([resource(odd), resource()]).resources()
    assert [(item["resource_id"], item.get("odd_id")) for item in found] == [(None, shown), (RESOURCE_ID, None)]
    assert found[0]["price_per_hour"] == 2.0


@ODD
def test_offer_with_odd_id_comes_last(odd: Any, shown: str) -> None:
    items = [offer(offer_id=odd, total_price_per_hour=0.1), offer(), offer(total_price_per_hour=None, gpu_count=None)]
    found, *_rest = canned(items).search_offers({})
    assert [item["offer_id"] for item in found] == [OFFER_ID, OFFER_ID, None]
    assert found[2]["odd_id"] == shown


@ODD_IN_LIST
def test_purchase_reports_odd_ids(odd: Any, shown: str) -> None:
    for ids in ([odd, RESOURCE_ID], [{"resource_id": odd}, {"resource_id": RESOURCE_ID}, None, ""]):
        bought = canned(procurement(resource_ids=ids)).procure(ORDER, timeout=60)
        assert (bought["resource_ids"], bought["odd_ids"]) == ([RESOURCE_ID], [shown])


@ODD_IN_LIST
def test_offer_status_with_odd_ids_counts_as_bought(odd: Any, shown: str) -> None:
    read = canned(status("pending", resource_ids=[odd])).offer_status(OFFER_ID)
    assert (read["phase"], read["resource_ids"], read["odd_ids"]) == ("going_on", [], [shown])


@ODD
@pytest.mark.parametrize("field", ["resource_id", "instance_id"])
def test_instance_with_odd_id_is_matched_to_no_resource(odd: Any, shown: str, field: str) -> None:
    read = client.read_status(status("ready", instances=[instance(None, **{field: odd})]), OFFER_ID)
    assert (read["instances"][0][field], read["instances"][0]["odd_id"]) == (None, shown)
    machines = connection.machines(read["instances"], [client.read_resource(resource())])
    assert [(machine["resource_id"], machine["ansible_host"]) for machine in machines] == [(None, None)]


@ODD
def test_odd_offer_ids_of_a_resource_are_ignored(odd: Any, shown: str) -> None:
    read = client.read_resource(resource(offer_id=odd, offer_history=[{"offer_id": odd}]))
    assert (read["offer_id"], read["resource_id"], "odd_id" in read) == (None, RESOURCE_ID, False)


@pytest.mark.parametrize("other", [SECOND_RESOURCE_ID, "a b", 7])
def test_answer_about_another_id_is_an_error(other: Any) -> None:
    for method, data in (("resource", resource(other)), ("offer", offer(offer_id=other))):
        error = error_of(METHODS[method], canned(data))
        assert (error.error_class, error.status_code, error.transient) == ("protocol", 200, False)
        assert f"another {method}." in str(error)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("offer_status", status(offer_id=SECOND_RESOURCE_ID)),
        ("procure", procurement(offer_id=SECOND_RESOURCE_ID)),
        ("delete_resource", {"resource_id": SECOND_RESOURCE_ID, "status": "deleting"}),
    ],
)
def test_status_or_change_of_another_id_is_a_transient_error(method: str, answer: Any) -> None:
    error = error_of(METHODS[method], canned(answer))
    assert (error.error_class, error.transient, error.sent, error.refused) == ("protocol", True, True, False)
    assert f"answered with {SECOND_RESOURCE_ID}, another " in str(error)


@pytest.mark.parametrize("same", [str.upper, str.lower, lambda _id: None, lambda _id: ""])
def test_answered_id_may_differ_in_case_or_be_missing(same: Any) -> None:
    assert canned(resource(same(RESOURCE_ID))).resource(RESOURCE_ID)["resource_id"].lower() == RESOURCE_ID
    assert canned(offer(offer_id=same(OFFER_ID))).offer(OFFER_ID)["offer_id"].lower() == OFFER_ID


# Texts


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("trainer", "trainer"),
        ("M\u00fcller \u00a0\u200d", "M\u00fcller \u00a0\u200d"),
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 256 + "..."),
        ("gpu-1\n", "gpu-1\ufffd"),
        ("\x1b[31mgpu\x00\x9b\ud800", "\ufffd[31mgpu\ufffd\ufffd\ufffd"),
        ("", None),
        (7, None),
    ],
    ids=ascii,
)
def test_names_have_no_control_characters_and_limited_length(name: Any, shown: str | None) -> None:
    assert client.read_resource(resource(name=name))["name"] == shown
    assert (
        client.read_status(status("ready", instances=[instance(name=name)]), OFFER_ID)["instances"][0]["name"] == shown
    )


@pytest.mark.parametrize("field", ["progress", "failure_reason"])
def test_long_texts_are_cut_to_one_line(field: str) -> None:
    read = canned(status(**{field: "two\nlines \x1b[2J" + "x" * 5_000_000})).offer_status(OFFER_ID)
    assert read[field].startswith("two lines \ufffd[2Jx") and len(read[field]) == _text.LONGEST_LINE + 3
    bought = canned(procurement("failed", error=" \n")).procure(ORDER, timeout=60)
    assert bought["error"] is None


# Catalogues


@pytest.mark.parametrize("data", [{"H100": ["nvidia-h100-sxm5-80gb"]}, ["nebius"], [{"name": "EU"}], {}, [], None, "x"])
def test_catalogue_is_returned_unchanged(data: Any) -> None:
    assert canned(data).catalog("vendors") == data


# Status


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({"resource_ids": ["a", "b"]}, ["a", "b"]),
        ({"resources": ["a", "b"]}, ["a", "b"]),
        ({"resources": [{"resource_id": "a", "status": "running"}, {"resource_id": "b"}]}, ["a", "b"]),
        ({"resource_ids": [{"resource_id": "a"}]}, ["a"]),
        ({"resource_ids": ["a"], "resources": ["b"]}, ["a"]),
        ({"resource_ids": [], "resources": ["b"]}, ["b"]),
        ({"resource_ids": None, "resources": [{"resource_id": "b"}]}, ["b"]),
        ({"resource_ids": [None], "resources": ["b"]}, ["b"]),
        ({"resource_ids": ["a", "a", "b"]}, ["a", "b"]),
        ({"resource_ids": ["a", None, "", 7, {}, {"resource_id": None}, {"resource_id": 7}, ["b"]]}, ["a"]),
        ({"resource_ids": "a"}, []),
        ({"resources": {"a": {}}}, []),
        ({}, []),
    ],
    ids=str,
)
def test_resource_ids_are_read_in_all_forms(fields: dict[str, Any], ids: list[str]) -> None:
    assert client.read_status({"status": "procured", **fields}, OFFER_ID)["resource_ids"] == ids
    assert market.read_procurement({"status": "procured", **fields})["resource_ids"] == ids


@pytest.mark.parametrize("data", [{}, {"status": None}, {"status": "", "procurement_status": "  "}, {"status": 7}])
def test_offer_status_without_state_is_a_transient_error(data: Any) -> None:
    error = error_of(METHODS["offer_status"], canned(data))
    assert (error.error_class, error.status_code, error.transient) == ("protocol", 200, True)


@pytest.mark.parametrize(
    ("data", "phase"),
    [
        ({"procurement_status": "ready"}, "ready"),
        ({"status": "expired"}, "expired"),
        ({"status": "procured"}, "going_on"),
    ],
    ids=str,
)
def test_one_of_status_and_procurement_status_is_enough(data: Any, phase: str) -> None:
    assert canned(data).offer_status(OFFER_ID)["phase"] == phase


def test_offer_status_has_all_fields() -> None:
    assert canned({"procurement_status": " Pending ", "status": "AVAILABLE"}).offer_status(OFFER_ID) == {
        "offer_id": OFFER_ID,
        "status": "available",
        "procurement_status": "pending",
        "phase": "unbought",
        "instances": [],
        "resource_ids": [],
        "odd_ids": [],
        "progress": None,
        "failure_reason": None,
        "procured_at": None,
    }


@pytest.mark.parametrize("field", ["progress", "message", "status_message"])
def test_progress_is_read_from_each_field_name(field: str) -> None:
    read = client.read_status(status("provisioning", **{field: "2/4 instances running"}), OFFER_ID)
    assert read["progress"] == "2/4 instances running"


@pytest.mark.parametrize("value", [None, "", 7, [], {"done": 1}])
def test_values_that_are_not_text_become_none(value: Any) -> None:
    read = client.read_status(status(progress=value, failure_reason=value, procured_at=value), OFFER_ID)
    assert (read["progress"], read["failure_reason"], read["procured_at"]) == (None, None, None)
    bought = market.read_procurement(procurement(error=value, procured_at=value))
    assert (bought["error"], bought["procured_at"]) == (None, None)


@pytest.mark.parametrize(
    ("value", "instances"),
    [
        ([instance(), None, "x", 7, [instance()]], [instance()]),
        (None, []),
        ({}, []),
        ("running", []),
        ([{}], [{}]),
    ],
)
def test_instances_are_a_list_of_objects(value: Any, instances: list[Any]) -> None:
    assert client.read_status(status("ready", instances=value), OFFER_ID)["instances"] == instances


@pytest.mark.parametrize(
    "fields",
    [
        {"instances": [instance()]},
        {"resource_ids": [RESOURCE_ID]},
        {"resources": [{"resource_id": RESOURCE_ID}]},
        {"procured_at": "2026-01-31T12:00:00Z"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_pending_offer_with_machines_counts_as_bought(fields: dict[str, Any]) -> None:
    assert client.read_status({**status("pending"), **fields}, OFFER_ID)["phase"] == "going_on"


# Purchase


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(procurement(), ("procured", "2026-01-31T12:01:00Z", [RESOURCE_ID], [], None), id="procured"),
        pytest.param(
            procurement("provisioning_in_progress"), ("provisioning_in_progress", None, [], [], None), id="in progress"
        ),
        pytest.param(procurement("failed", error="no stock"), ("failed", None, [], [], "no stock"), id="failed"),
        pytest.param({"status": " Procured "}, ("procured", None, [], [], None), id="status only"),
        pytest.param(
            {"status": "reserved", "error": {}, "procured_at": 7}, ("reserved", None, [], [], None), id="unknown status"
        ),
    ],
)
def test_read_procurement(data: Any, expected: tuple[Any, ...]) -> None:
    assert tuple(canned(data).procure(ORDER, timeout=60).values()) == expected


@pytest.mark.parametrize("data", [{}, {"status": None}, {"status": ""}, {"status": 200}, {"detail": "ok"}])
def test_purchase_answer_without_status_is_no_refusal(data: Any) -> None:
    error = error_of(METHODS["procure"], canned(data))
    assert (error.error_class, error.status_code, error.sent, error.refused) == ("protocol", 200, True, False)


# Resources


def test_resource_has_all_documented_fields_and_keeps_others() -> None:
    read = canned({"resource_id": RESOURCE_ID, "status": " Running ", "spot": True}).resource(RESOURCE_ID)
    assert (read["resource_id"], read["status"], read["spot"]) == (RESOURCE_ID, "running", True)
    assert (read["access"], read["spec"], read["price_per_hour"], read["name"]) == ({}, {}, None, None)


@pytest.mark.parametrize(
    ("word", "kind"), [("vm", "machine"), ("warp-core", "machine"), (None, "machine"), ("volume", "storage")]
)
def test_kind_follows_resource_type(word: str | None, kind: str) -> None:
    assert client.read_resource(resource(resource_type=word, kind="Resource"))["kind"] == kind


LINKED = {"resource_id": SECOND_RESOURCE_ID, "name": "data"}


@pytest.mark.parametrize(
    ("value", "linked"),
    [
        *((value, []) for value in (None, "x", 7, {}, [], [None, 7, ["x"]], [{}], [{"name": "data"}])),
        ([{**LINKED, "resource_type": "block_disk"}], [{**LINKED, "resource_type": "block_disk", "kind": "storage"}]),
        ([{**LINKED, "resource_type": "gpu vm"}], [{**LINKED, "resource_type": "gpu vm", "kind": "machine"}]),
        ([{**LINKED, "kind": "storage"}], [{**LINKED, "kind": None}]),
        ([SECOND_RESOURCE_ID.upper()], [{"resource_id": SECOND_RESOURCE_ID, "kind": None}]),
        ([{**LINKED, "resource_id": "a b"}, LINKED, "../x"], [{**LINKED, "kind": None}]),
    ],
    ids=str,
)
def test_linked_resources_have_an_id_and_a_kind_if_known(value: Any, linked: Any) -> None:
    assert client.read_resource(resource(linked_resources=value))["linked_resources"] == linked


@pytest.mark.parametrize("value", [None, "x", 7, []])
def test_access_and_spec_are_always_mappings(value: Any) -> None:
    read = client.read_resource(resource(access=value, spec=value))
    assert (read["access"], read["spec"]) == ({}, {})


def linked(offer_id: str, role: str | None, at: str, *others: dict[str, Any]) -> dict[str, Any]:
    """The fields of a resource created at noon whose history names an offer."""
    history = [*others, {"offer_id": offer_id, "role": role, "created_at": at}]
    return {"created_at": "2026-01-31T12:00:00Z", "offer_history": history}


@pytest.mark.parametrize(
    ("fields", "offer_id"),
    [
        ({}, None),
        ({"offer_id": "a"}, "a"),
        ({"offer_id": "A"}, "a"),
        ({"offer_id": "a", "offer_history": [{"offer_id": "a"}]}, "a"),
        # Several offers, none of them marked as the one it was bought with
        ({"offer_id": "a", "offer_history": [{"offer_id": "b"}]}, None),
        ({"offer_history": [{"offer_id": "a", "created_at": "2026-02"}, {"offer_id": "b"}]}, None),
        ({"offer_history": [{"offer_id": "a", "role": "first"}, {"offer_id": "b", "role": "other"}]}, None),
        ({"offer_history": [{"offer_id": "a", "role": "first"}, {"offer_id": "b", "role": "attached"}]}, "a"),
        ({"offer_history": [{"offer_id": "a", "role": "primary"}, {"offer_id": "b", "role": "attached"}]}, "a"),
        ({"offer_history": [{"offer_id": "a"}, {"offer_id": None}, {}, None, 7]}, "a"),
        ({"offer_history": [{"offer_id": "a", "created_at": 7}]}, "a"),
        ({"offer_id": 7, "offer_history": {"offer_id": "a"}}, None),
        ({"offer_history": [{"offer_id": "a", "role": "PRIMARY"}, {"offer_id": "b", "role": "other"}]}, "a"),
        # An offer linked more than an hour after the resource was created is not the one it was bought with,
        (linked("a", "volume", "2026-01-31T13:00:01Z"), None),
        (linked("a", "volume", "2026-01-31T13:00:00Z"), "a"),
        # nor is an offer that a machine calls attached, whenever it was linked, even if it is the only one.
        (linked("a", "attached", "2026-01-31T12:00:01Z"), None),
        (linked("a", "Attached", "no moment", {"offer_id": None, "role": "primary"}), None),
        ({**linked("a", "linked", "2026-01-31T12:00:00Z"), "resource_type": "volume"}, "a"),
        (linked("a", "primary", "2026-02-01T00:00:00Z"), "a"),
        (linked("a", None, "2099-01-01T00:00:00Z"), None),
        (linked("a", "volume", "no moment"), "a"),
        ({**linked("a", "volume", "2099-01-01T00:00:00Z"), "created_at": None}, "a"),
        (linked("a", "attached", "2099-01-01T00:00:00Z", {"offer_id": "b", "role": "origin"}), "b"),
    ],
    ids=str,
)
def test_offer_id_of_resource(fields: dict[str, Any], offer_id: str | None) -> None:
    assert client.read_resource(resource(**{"offer_history": None, **fields}))["offer_id"] == offer_id


SECRET_FIELDS = (
    *("cloud_init", "user_data", "userdata", "ssh_public_key", "User_Data", "cloudInit", "cloud-init", "userData"),
    *(
        "request",
        "startup_script",
        "console_log",
        "status_message",
        "user_data_base64",
        "cloud-config",
        "consoleOutput",
    ),
)
PLACES = {
    "spec": lambda secret: resource(spec={**secret, "gpus": 8}),
    "the resource itself": lambda secret: resource(**secret),
    "deep in the spec": lambda secret: resource(spec={"boot": {**secret}, "disks": [secret]}),
}


@pytest.mark.parametrize("name", SECRET_FIELDS)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_resource_drops_fields_with_user_data(name: str, place: Any) -> None:
    read = client.read_resource(place({name: "hunter22"}))
    assert "hunter22" not in json.dumps(read)
    assert read["resource_id"] == RESOURCE_ID


@pytest.mark.parametrize("name", SECRET_FIELDS)
def test_instance_drops_fields_with_user_data(name: str) -> None:
    read = client.read_status(status("ready", instances=[instance(**{name: "hunter22"})]), OFFER_ID)
    assert "hunter22" not in json.dumps(read)


@pytest.mark.parametrize("name", SECRET_FIELDS)
def test_offer_and_catalogue_drop_fields_with_user_data(name: str) -> None:
    assert "hunter22" not in json.dumps(market.read_offer(offer(**{name: "hunter22"})))
    assert "hunter22" not in json.dumps(canned([{"last": {name: "hunter22"}}]).catalog("storage"))


def test_deeply_nested_fields_are_cut() -> None:
    """Python can parse deeper JSON than a recursive function can walk."""
    value: Any = "x"
    for _level in range(5 * client.MOST_DEPTH):
        value = {"a": value}
    read = str(client.read_resource(resource(spec=value))["spec"])
    assert "x" not in read and 0 < read.count("a") < client.MOST_DEPTH


def test_other_fields_of_spec_are_kept() -> None:
    spec = {"gpus": 8, "image": {"name": "x"}, "description": "y", "requested_at": "z", "user": "root", "status": "ok"}
    assert client.read_resource(resource(spec=spec))["spec"] == spec


# Arbitrary answers


SCALARS = st.none() | st.booleans() | st.integers(-3, 10**12) | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def shaped(**likely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with some of these fields, each with a likely value or with arbitrary JSON."""
    return st.fixed_dictionaries({}, optional={name: strategy | JSON for name, strategy in likely.items()})


WORDS = st.sampled_from(
    [
        "available",
        "pending",
        "provisioning_started",
        "provisioning",
        "ready",
        "failed",
        "expired",
        "procured",
        "deleted",
        "?",
    ]
)
IDS = st.lists(st.sampled_from([RESOURCE_ID, SECOND_RESOURCE_ID]) | JSON, max_size=3)
PRICES = st.floats(-1, 100) | st.sampled_from(["2.50", "-1", "nan", "1e999", 10**400])
INSTANCES = st.lists(
    shaped(external_ip=st.just("203.0.113.7"), ssh_command=st.just("ssh root@203.0.113.7")), max_size=2
)
RESOURCES = shaped(
    resource_id=st.just(RESOURCE_ID),
    status=WORDS,
    access=shaped(external_ip=st.just("203.0.113.7"), ssh_port=st.integers(0, 70000)),
    spec=shaped(cloud_init=st.just("hunter22")),
    offer_id=st.just(OFFER_ID),
    offer_history=st.lists(shaped(offer_id=st.just(OFFER_ID), created_at=st.text()), max_size=2),
    pricing_total_hourly=PRICES,
)
LINKS = st.none() | st.builds(
    "{}?{}".format, st.sampled_from(["", "/resources", "http://a:b"]), st.text("a=&%[", max_size=5)
)
OFFERS = shaped(
    offer_id=st.just(OFFER_ID), gpu_price_per_hour=PRICES, gpu_count=st.integers(-1, 8), total_price_per_hour=PRICES
)
STATUSES = shaped(
    status=WORDS, procurement_status=WORDS, instances=INSTANCES, resource_ids=IDS, resources=IDS, progress=st.text()
)
ERRORS = shaped(detail=st.text() | st.lists(shaped(loc=st.lists(SCALARS), msg=st.text())) | shaped(message=st.text()))


def is_text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value != "")


def is_price(value: Any) -> bool:
    return value is None or (value.__class__ is float and math.isfinite(value) and value >= 0)


def is_offer(value: Any) -> bool:
    return set(market._OFFER_FIELDS) <= value.keys() and is_price(value["price_per_hour"])


def is_resource(value: Any) -> bool:
    return (
        set(client._RESOURCE_FIELDS) <= value.keys()
        and is_text(value["resource_id"])
        and is_text(value["status"])
        and is_text(value["offer_id"])
        and isinstance(value["access"], dict)
        and isinstance(value["spec"], dict)
        and value["kind"] in ("machine", "storage", "other")
        and are_ids([item["resource_id"] for item in value["linked_resources"]])
        and is_price(value["price_per_hour"])
    )


def is_status(value: Any) -> bool:
    return (
        value["phase"] in ("unbought", "going_on", "ready", "failed", "expired")
        and all(isinstance(item, dict) for item in value["instances"])
        and are_ids(value["resource_ids"])
        and all(
            is_text(value[n]) for n in ("status", "procurement_status", "progress", "failure_reason", "procured_at")
        )
    )


def is_procurement(value: Any) -> bool:
    return (
        value["status"] and are_ids(value["resource_ids"]) and is_text(value["error"]) and is_text(value["procured_at"])
    )


def are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def is_search(value: Any) -> bool:
    offers, count, _filters = value
    return all(map(is_offer, offers)) and count.__class__ is int


SHAPES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], bool]]] = {
    "search_offers": (st.lists(OFFERS, max_size=3) | shaped(offers=st.lists(OFFERS, max_size=3)), is_search),
    "offer": (OFFERS, is_offer),
    "offer_status": (STATUSES, is_status),
    "resources": (
        st.lists(RESOURCES, max_size=2)
        | shaped(items=st.lists(RESOURCES, max_size=2), next=LINKS, total_count=st.integers(0, 3)),
        lambda value: all(map(is_resource, value)),
    ),
    "resource": (RESOURCES, is_resource),
    "catalog": (JSON, lambda value: True),
    "delete_resource": (shaped(status=WORDS), lambda value: isinstance(value, dict)),
    "procure": (shaped(status=WORDS, resource_ids=IDS, error=st.text(), procured_at=st.text()), is_procurement),
}


@pytest.mark.parametrize("name", METHODS)
@given(data=st.data())
def test_any_json_gives_documented_shape_or_protocol_error(name: str, data: st.DataObject) -> None:
    strategy, has_shape = SHAPES[name]
    try:
        value = METHODS[name](canned(data.draw(strategy | JSON)))
    except ApiError as error:
        assert error.error_class == "protocol"
    else:
        assert has_shape(value), value


@given(ERRORS | JSON, st.integers(300, 599), st.none() | st.floats(0, 1e9))
def test_any_error_answer_gives_a_known_error_class(data: Any, code: int, retry_after: float | None) -> None:
    error = error_of(METHODS["procure"], canned(data, code, retry_after=retry_after))
    assert error.error_class in {
        "auth", "not_found", "conflict", "expired", "invalid", "rate_limited", "unavailable", "protocol", "quota",
    }  # fmt: skip
    assert error.status_code == code
    assert len(str(error)) < 600
