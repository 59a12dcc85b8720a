# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machines are an offer's: what a list's filter says proves nothing."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api import read_resource
from ansible_collections.compute_index.supply.plugins.module_utils._provision.machines import (
    bought_with,
    ids_for_match,
    ids_in,
    may_be_billed,
    of_offer,
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
def test_a_machine_says_for_certain_what_it_was_bought_with(fields: dict[str, Any], offer: str | None) -> None:
    assert bought_with(fields) == offer
    assert bought_with(read_resource({"resource_id": "x", **fields})) == offer


def test_only_what_an_offer_names_or_what_says_so_is_the_offers() -> None:
    named = {"resource_id": "1"}
    own = {"resource_id": "2", "offer_id": A}
    others = [
        {"resource_id": "3", "offer_id": B},
        {"resource_id": "4"},
        {"resource_id": "5", "offer_history": [linked(A), linked(B)]},
        {"resource_id": None},
    ]
    assert of_offer([*others, named, own], A, ["1"]) == [named, own]
    assert of_offer(others, A, []) == []


def test_ids_stand_in_the_status_or_beside_its_instances() -> None:
    instances = [{"resource_id": "b"}, {"instance_id": "c"}, {"resource_id": 7}, {"instance_id": ""}, {}]
    status = {"resource_ids": ["a", "b"], "instances": instances}
    assert (ids_in(status), ids_for_match(status)) == (["a", "b"], ["a", "b", "c"])
    assert ids_in({"resource_ids": [], "instances": instances}) == ["b"]


def test_what_is_gone_is_not_billed() -> None:
    machines = [
        {"resource_id": str(number), "status": word}
        for number, word in enumerate(["running", "deleted", "deleting", "failed", "terminated", None])
    ]
    assert may_be_billed([*machines, {"resource_id": None, "status": "running"}]) == ["0", "2", "3", "5"]
