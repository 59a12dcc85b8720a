# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the probe may buy a machine, and which."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._probe import purchases

MAY = {"limited": False, "is_known": False, "extra": ["probe_buy"], "remembers": True}


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({}, ""),
        ({"limited": True, "is_known": True}, "which --limit leaves out"),
        ({"is_known": True}, "take the-probe out of the inventory"),
        ({"extra": ["provision_spec", "provision_adopt"]}, "decides on provision_adopt, provision_spec by itself"),
        ({"remembers": False}, "needs a registry"),
    ],
)
def test_why_nothing_is_bought(fields: dict[str, Any], refusal: str) -> None:
    told = purchases.why_not_bought("the-probe", **{**MAY, **fields})
    assert refusal in told and bool(told) is bool(refusal)


def test_the_cheapest_offer_has_a_price() -> None:
    offers: list[Any] = [(None, {"id": 0}), (2.0, {"id": 1}), (1.5, {"id": 2}), (1.5, {"id": 3})]
    assert purchases.cheapest(offers) == {"id": 2}
    assert purchases.cheapest(offers[:1]) is None and purchases.cheapest([]) is None


@pytest.mark.parametrize(
    ("fields", "one"),
    [
        ({}, True),
        ({"node_count": 1}, True),
        ({"node_count": 2}, False),
        ({"gpu_count": 8}, False),
        ({"gpu_type": None}, False),
        ({"gpu_type": "{{ 7 * 7 }}"}, False),
    ],
)
def test_one_machine_with_one_gpu_of_a_plain_name(fields: dict[str, Any], one: bool) -> None:
    assert purchases.is_one_machine({"gpu_type": "nvidia-h100", "gpu_count": 1, **fields}) is one


@pytest.mark.parametrize(
    ("families", "refused", "parts"),
    [(["A", "B"], True, [["A"], ["B"]]), (["A", "B"], False, []), (["A"], True, []), ([], True, [])],
)
def test_an_api_that_takes_one_name_is_asked_for_each(families: list[str], refused: bool, parts: list[Any]) -> None:
    assert purchases.one_by_one(families, refused) == parts
