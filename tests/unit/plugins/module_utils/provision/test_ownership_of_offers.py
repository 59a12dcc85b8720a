# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of an offer, and of other purchases with the same name. The filter of a list proves nothing."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import read_resource
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import (
    bought_with,
    ids_for_match,
    ids_in,
    ids_not_gone,
    is_later,
    named_by_filter,
    namesakes,
)

A, B = "5b1f3c1e-7a53-4b0e-9d0c-2f6f0d4a9c11", "00000000-0000-4000-8000-000000000001"


def linked(offer_id: Any, role: str | None = None) -> dict[str, Any]:
    return {"offer_id": offer_id, "role": role, "created_at": "2026-01-31T12:00:00Z"}


@pytest.mark.parametrize(
    ("fields", "offer"),
    [
        ({"offer_id": A}, A),
        ({"offer_id": A.upper()}, A),
        ({"offer_history": [linked(A)]}, A),
        ({"offer_history": [linked(A), linked(A.upper()), linked(None), {}, 7]}, A),
        ({"offer_id": A, "offer_history": [linked(A)]}, A),
        ({"offer_history": [linked(A, "primary"), linked(B, "volume")]}, A),
        ({"offer_history": [linked(B, "volume"), linked(A, "primary"), linked(A, "primary")]}, A),
        ({"offer_history": [linked(A), linked(B)]}, None),
        ({"offer_history": [linked(A, "primary"), linked(B, "primary")]}, None),
        ({"offer_id": A, "offer_history": [linked(A), linked(B)]}, None),
        ({}, None),
        ({"offer_id": 7, "offer_history": "?"}, None),
    ],
)
def test_read_resource_names_an_offer_only_if_it_is_certain(fields: dict[str, Any], offer: str | None) -> None:
    assert read_resource({"resource_id": "x", **fields})["offer_id"] == offer


def test_bought_with_needs_an_id_of_the_status_or_the_offer_of_the_machine() -> None:
    named = {"resource_id": "1", "offer_id": None}
    own = {"resource_id": "2", "offer_id": A}
    others = [
        {"resource_id": "3", "offer_id": B},
        {"resource_id": "4", "offer_id": None},
        read_resource({"resource_id": "5", "offer_history": [linked(A), linked(B)]}),
        {"resource_id": None, "offer_id": None},
    ]
    assert bought_with([*others, named, own], A, ["1"]) == [named, own]
    assert bought_with(others, A, []) == []


def test_ids_in_status_and_in_its_instances() -> None:
    instances = [{"resource_id": "b"}, {"instance_id": "c"}, {"resource_id": 7}, {"instance_id": ""}, {}]
    status = {"resource_ids": ["a", "b"], "instances": instances}
    assert (ids_in(status), ids_for_match(status)) == (["a", "b"], ["a", "b", "c"])
    assert ids_in({"resource_ids": [], "instances": instances}) == ["b"]


def test_ids_not_gone() -> None:
    machines = [
        {"resource_id": str(number), "status": word}
        for number, word in enumerate(["running", "deleted", "deleting", "failed", "terminated", None])
    ]
    assert ids_not_gone([*machines, {"resource_id": None, "status": "running"}]) == ["0", "2", "3", "5"]


def machine(number: int, name: str = "gpu-1", offer_id: str = B, minute: int = 0, **fields: Any) -> dict[str, Any]:
    created_at = f"2026-01-31T12:{minute:02d}:00Z"
    known = {"resource_id": str(number), "name": name, "offer_id": offer_id, "created_at": created_at}
    return {**known, "status": "running", **fields}


OWN = machine(5, offer_id=A, minute=5)


@pytest.mark.parametrize(
    ("machines", "others"),
    [
        ([OWN], []),
        ([OWN, machine(1)], ["1"]),
        ([OWN, machine(1, minute=9), machine(2)], ["1", "2"]),
        ([OWN, machine(1, created_at=None)], ["1"]),
        # The list lags, and does not show our own machine yet.
        ([machine(1, minute=9)], ["1"]),
        # The further machines of a cluster are numbered.
        ([OWN, machine(6, "gpu-1-2", A), machine(1, "gpu-1-2", minute=9)], ["1"]),
        # No other machine has the host's name.
        ([OWN, machine(6, offer_id=A)], []),
        ([OWN, machine(1, status="deleting"), machine(2, status="failed"), machine(3, "gpu-2"), machine(4, "")], []),
        ([OWN, {**machine(1), "resource_id": None}], []),
        ([], []),
    ],
)
def test_namesakes_are_machines_of_other_purchases(machines: list[dict[str, Any]], others: list[str]) -> None:
    assert [each["resource_id"] for each in namesakes(machines, "gpu-1", A, ["5"])] == others


@pytest.mark.parametrize(
    ("own", "others", "later"),
    [
        ([OWN], [], False),
        ([OWN], [machine(1)], True),
        ([OWN], [machine(1, minute=9), machine(2)], True),
        ([OWN], [machine(9, minute=9)], False),
        # The first machine of each counts.
        ([OWN, machine(6, minute=1)], [machine(1, minute=2)], False),
        # Without a time, and at the same time, the ids decide.
        ([OWN], [machine(9, created_at=None)], False),
        ([OWN], [machine(1, minute=9, created_at=None)], True),
        ([OWN], [machine(4, minute=5)], True),
        ([OWN], [machine(9, created_at="2026-01-31T13:04:00+02:00")], True),
        # Our own machine is not listed yet.
        ([], [machine(1, minute=9)], True),
    ],
)
def test_is_later_compares_the_first_machines(
    own: list[dict[str, Any]], others: list[dict[str, Any]], later: bool
) -> None:
    assert is_later(own, others) is later
    assert not (own and others) or is_later(others, own) is not later


def listed(number: int, offer_id: str | None, created_at: str | None) -> dict[str, Any]:
    return {"resource_id": f"{number:08d}-0000-4000-8000-000000000000", "offer_id": offer_id, "created_at": created_at}


AT_ONCE, LATER, STILL_LATER = "2026-01-31T12:00:00Z", "2026-01-31T12:00:30Z", "2026-01-31T12:00:31Z"


@pytest.mark.parametrize(
    ("resources", "procured_at", "nodes", "ids"),
    [
        pytest.param([listed(1, None, AT_ONCE)], AT_ONCE, 1, 1, id="made at once"),
        pytest.param([listed(1, None, AT_ONCE)], LATER, 1, 1, id="made half a minute before"),
        pytest.param([listed(1, None, AT_ONCE)], STILL_LATER, 1, 0, id="made a second earlier"),
        pytest.param([listed(1, None, None)], AT_ONCE, 1, 0, id="unknown age"),
        pytest.param([listed(1, None, AT_ONCE)], None, 1, 0, id="unknown time of the purchase"),
        pytest.param([listed(1, None, AT_ONCE), listed(2, B, AT_ONCE)], AT_ONCE, 2, 0, id="with one of another offer"),
        pytest.param([listed(1, None, AT_ONCE), listed(2, A, AT_ONCE)], AT_ONCE, 2, 1, id="with one of this offer"),
        pytest.param([listed(1, None, AT_ONCE), listed(2, None, AT_ONCE)], AT_ONCE, 2, 2, id="a cluster's"),
        pytest.param([listed(1, None, AT_ONCE), listed(2, None, AT_ONCE)], AT_ONCE, 1, 0, id="more than were bought"),
    ],
)
def test_filter_names_resources_only_if_it_was_certainly_applied(
    resources: list[dict[str, Any]], procured_at: str | None, nodes: int, ids: int
) -> None:
    without_offer = [item["resource_id"] for item in resources if item["offer_id"] is None]
    assert named_by_filter(resources, A, procured_at, nodes) == without_offer[:ids]
