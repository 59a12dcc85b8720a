# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages at the end of a purchase. test_purchase.py checks the sentence for each end of `next_step`."""

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
    ("error_class", "expected_text"),
    [
        ("conflict", "POST /procure_offer answered 409. Nothing was bought."),
        ("expired", "The offer has expired; search again. Nothing was bought."),
        ("not_found", "The offer is gone; search again. Nothing was bought."),
        ("auth", "Check api_token (COMPUTE_INDEX_API_TOKEN). Nothing was bought."),
        ("quota", "Waiting does not raise a quota: end a machine, or ask"),
        ("invalid", "POST /procure_offer answered 409. Nothing was bought."),
    ],
)
def test_refusal_gives_advice_by_error_class(error_class: str, expected_text: str) -> None:
    story = Story(X, History(sends=1, refused=409), error=Answer(error_class))
    ending = ending_of(NextStep(Decision.REJECTED, Reason.REFUSED), story)
    assert (ending.error_class, ending.ids, ending.answer["status_code"]) == (error_class, (), 409)
    assert expected_text in ending.msg


@pytest.mark.parametrize(
    ("history", "where", "error", "expected"),
    [
        (History(sends=1), None, Answer("conflict"), "POST /procure_offer answered 409."),
        (History(made=True), "/vars/gpu-1", None, "/vars/gpu-1 says that it was bought."),
        (History(made=True), None, None, "the API says that it was bought."),
        (
            History(unanswered=True),
            "/vars/gpu-1",
            None,
            "/vars/gpu-1 says that it was sent, but not its outcome.",
        ),
        (History(sends=1), None, None, "its purchase was refused."),
        (History(), None, None, "no purchase of it is noted for this host."),
    ],
)
def test_answer_comes_from_newest_error_or_history(
    history: History, where: str | None, error: Answer | None, expected: str
) -> None:
    assert Story(X, history, where, error=error).answer == expected


@pytest.mark.parametrize(
    ("ids", "price", "expected_text"),
    [
        ([M], 2.0, f"These resources may still be billed, at USD 2.00 per hour: {M}."),
        ([M], None, f"These resources may still be billed, at an unknown price: {M}."),
        ([], 2.0, "No resource of it is known."),
    ],
)
def test_failed_offer_names_resources_that_may_be_billed(
    ids: list[str], price: float | None, expected_text: str
) -> None:
    story = Story(X, History(sends=1), ids=ids, reason="no disk", price_per_hour=price)
    ending = ending_of(NextStep(Decision.REJECTED, Reason.FAILED), story)
    assert ending.msg == f"Offer {X} failed: no disk. {expected_text}" and list(ending.ids) == ids


@pytest.mark.parametrize(("price", "price_in_words"), [(2.0, "USD 2.00 per hour"), (None, "an unknown price")])
@pytest.mark.parametrize("ids", [[M], []])
def test_bought_messages_name_price_and_resources(ids: list[str], price: float | None, price_in_words: str) -> None:
    for text in (bought_not_noted(X, price, ids, "The disk is full."), bought_with_odd_ids(X, price, ids, ["x y"])):
        assert text.startswith(f"Offer {X} was BOUGHT and is billed at {price_in_words}, resources: ")
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
def test_result_of_purchase_has_message_and_diff(outcome: str, msg: str) -> None:
    result = result_of_purchase(
        outcome, FACTS, {"offer_id": X, "ssh_public_key": "ssh-ed25519 AAAA", "resource_name": "gpu-1"}
    )
    assert (result["changed"], result["outcome"], result["msg"]) == (True, outcome, msg)
    assert result["diff"]["before"] == {} and result["diff"]["after"] == {
        **{"offer_id": X, "status": "ready", "gpus": "8 x h100", "contract_type": "ondemand", "vendor": "nebius"},
        **{"region": "eu-north1", "price_per_hour": 16.0, "resource_ids": [M], "cloud_init_sha256": None},
        "resource_name": "gpu-1",
    }


@pytest.mark.parametrize(("fields", "region"), [({}, "eu-north1"), ({"vendor_region": None}, "EU")])
def test_diff_prefers_region_name_of_vendor(fields: dict[str, Any], region: str) -> None:
    facts = {**FACTS, "offer": {**OFFER, **fields}}
    assert result_of_purchase("created", facts, {"offer_id": X})["diff"]["after"]["region"] == region
