# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of sentences about money."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import messages

from provision_samples import machine, machine_id, offer_id

M = machine_id(1)


@pytest.mark.parametrize(("ids", "text"), [([], "none known yet"), (["a"], "a"), (["a", "b"], "a, b")])
def test_ids(ids: list[str], text: str) -> None:
    assert messages.may_be_bought(2.0, ids) == (
        f"It MAY BE BOUGHT and billed at USD 2.00 per hour. Resource ids: {text}."
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, f"{M} (called gpu-1, running, USD 2.00 per hour, since 2026-01-31 12:00 UTC)"),
        ({"name": None, "created_at": None}, f"{M} (without a name, running, USD 2.00 per hour)"),
        ({"status": None, "created_at": ""}, f"{M} (called gpu-1, USD 2.00 per hour)"),
        ({"resource_id": None, "created_at": ""}, "a machine without an id (called gpu-1, running, USD 2.00 per hour)"),
        ({"price_per_hour": None, "created_at": ""}, f"{M} (called gpu-1, running, an unknown price)"),
    ],
)
def test_a_machine_in_a_sentence(fields: dict[str, Any], text: str) -> None:
    own = {**machine(1, "gpu-1"), **fields}
    assert messages.described([own]) == text and messages.described([own, own]) == f"{text}; {text}"


@pytest.mark.parametrize(("ids", "text"), [([], ""), (["a"], ""), (["a", "b"], "Offers tried: a, b.")])
def test_one_offer_is_no_list(ids: list[str], text: str) -> None:
    assert messages.offers_tried(ids) == text


def test_what_stops_a_host_says_what_may_be_billed_and_what_to_do() -> None:
    still = messages.still_open("gpu-1", offer_id(1), None, [M])
    assert "an unknown price" in still and M in still and offer_id(1) in still
    odd = messages.does_not_fit("gpu-1", "gpu-1", [machine(1, "gpu-1")], "H100 instead of A100")
    assert M in odd and "It was not adopted, and nothing was bought" in odd
    assert messages.NOTHING_SENT in messages.shared_name("gpu-1", ["gpu-2"])
    assert f"-e decommission_forget={M},x" in messages.forget_advice("gpu-1", [M, "x"])
    assert messages.nothing_billed("gpu-1") == "Nothing is billed for gpu-1."
    assert "so it never ends its machine" in messages.unreadable_lease("gpu-1", "'soon' is no time")
