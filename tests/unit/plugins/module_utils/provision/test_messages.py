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
def test_may_be_bought_lists_ids(ids: list[str], text: str) -> None:
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
def test_described_names_state_price_and_age_of_machines(fields: dict[str, Any], text: str) -> None:
    gpu = {**machine(1, "gpu-1"), **fields}
    assert messages.described([gpu]) == text
    assert messages.described([gpu, gpu]) == f"{text}; {text}"


@pytest.mark.parametrize(("ids", "text"), [([], ""), (["a"], ""), (["a", "b"], "Offers tried: a, b.")])
def test_offers_tried_is_empty_for_one_offer(ids: list[str], text: str) -> None:
    assert messages.offers_tried(ids) == text


def test_messages_of_stopped_hosts_name_ids_and_next_step() -> None:
    open_purchase = messages.still_open("gpu-1", offer_id(1), None, [M])
    assert "an unknown price" in open_purchase and M in open_purchase and offer_id(1) in open_purchase
    misfit = messages.does_not_fit("gpu-1", "gpu-1", [machine(1, "gpu-1")], "H100 instead of A100")
    assert M in misfit and "It was not adopted, and nothing was bought" in misfit
    assert messages.NOTHING_SENT in messages.shared_name("gpu-1", ["gpu-2"])
    assert f"-e decommission_forget={M},x" in messages.forget_advice("gpu-1", [M, "x"])
    assert messages.nothing_billed("gpu-1") == "Nothing is billed for gpu-1."
    assert "so it never ends its machine" in messages.unreadable_lease("gpu-1", "'soon' is no time")
