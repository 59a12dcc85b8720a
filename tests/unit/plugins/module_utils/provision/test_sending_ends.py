# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the end of a purchase reads. For each end of `next_step` test_purchase.py checks the sentence."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import (
    Decision,
    History,
    NextStep,
    Reason,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import (
    Story,
    bought_not_noted,
    bought_with_odd_ids,
    ending_of,
    result_of_purchase,
)

from provision_samples import machine_id, offer_id

X, M = offer_id(1), machine_id(1)


class Answer(Exception):
    """An error as the API's client raises it."""

    status_code, retry_after = 409, None

    def __init__(self, error_class: str) -> None:
        super().__init__("POST /procure_offer answered 409.")
        self.error_class = error_class


@pytest.mark.parametrize(
    ("error_class", "words"),
    [
        ("conflict", "POST /procure_offer answered 409. Nothing was bought."),
        ("expired", "The offer has expired; search again. Nothing was bought."),
        ("not_found", "The offer is gone; search again. Nothing was bought."),
        ("auth", "Check api_token (COMPUTE_INDEX_API_TOKEN). Nothing was bought."),
        ("quota", "Waiting does not raise a quota: end a machine, or ask"),
        ("invalid", "POST /procure_offer answered 409. Nothing was bought."),
    ],
)
def test_a_refusal_says_what_it_means(error_class: str, words: str) -> None:
    story = Story(X, History(sends=1, refused=409), error=Answer(error_class))
    found = ending_of(NextStep(Decision.REJECTED, Reason.REFUSED), story)
    assert (found.error_class, found.ids, found.answer["status_code"]) == (error_class, (), 409)
    assert words in found.msg


@pytest.mark.parametrize(
    ("ids", "sends", "price", "words"),
    [
        ([M], 1, 2.0, f"These resources may still be billed, at USD 2.00 per hour: {M}."),
        ([M], 0, None, f"These resources may still be billed, at an unknown price: {M}."),
        ([], 1, 2.0, "No resource of it is known."),
        ([], 0, None, "No resource of it is known."),
    ],
)
def test_what_a_failed_offer_has_left(ids: list[str], sends: int, price: float | None, words: str) -> None:
    story = Story(X, History(sends=sends), ids=ids, reason="no disk", price_per_hour=price)
    found = ending_of(NextStep(Decision.REJECTED, Reason.FAILED), story)
    assert found.msg == f"Offer {X} failed: no disk. {words}" and list(found.ids) == ids


@pytest.mark.parametrize(("price", "shown"), [(2.0, "USD 2.00 per hour"), (None, "an unknown price")])
@pytest.mark.parametrize("ids", [[M], []])
def test_what_was_bought_is_named_with_its_price(ids: list[str], price: float | None, shown: str) -> None:
    for text in (bought_not_noted(X, price, ids, "The disk is full."), bought_with_odd_ids(X, price, ids, ["x y"])):
        assert text.startswith(f"Offer {X} was BOUGHT and is billed at {shown}, resources: ")
        assert (M in text) is bool(ids)


OFFER = {
    **{"gpu_count": 8, "gpu_type": "h100", "contract_type": "ondemand", "vendor": "nebius"},
    **{"vendor_region": "eu-north1", "region": "EU"},
}
FACTS = {
    **{"offer": OFFER, "status": "ready", "price_per_hour": 16.0},
    **{"resource_ids": [M], "cloud_init_sha256": None},
}


@pytest.mark.parametrize(
    ("outcome", "msg"),
    [
        ("created", f"Offer {X} was bought at USD 16.00 per hour."),
        ("planned", f"Offer {X} would be bought at USD 16.00 per hour."),
    ],
)
def test_the_result_of_a_purchase(outcome: str, msg: str) -> None:
    found = result_of_purchase(
        outcome, FACTS, {"offer_id": X, "ssh_public_key": "ssh-ed25519 AAAA", "resource_name": "gpu-1"}
    )
    assert (found["changed"], found["outcome"], found["msg"]) == (True, outcome, msg)
    assert found["diff"]["before"] == {} and found["diff"]["after"] == {
        **{"offer_id": X, "status": "ready", "gpus": "8 x h100", "contract_type": "ondemand", "vendor": "nebius"},
        **{"region": "eu-north1", "price_per_hour": 16.0, "resource_ids": [M], "cloud_init_sha256": None},
        "resource_name": "gpu-1",
    }


@pytest.mark.parametrize(("fields", "region"), [({}, "eu-north1"), ({"vendor_region": None}, "EU")])
def test_the_vendors_own_name_of_a_region_is_shown_first(fields: dict[str, Any], region: str) -> None:
    facts = {**FACTS, "offer": {**OFFER, **fields}}
    assert result_of_purchase("created", facts, {"offer_id": X})["diff"]["after"]["region"] == region
