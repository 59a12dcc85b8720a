# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a purchase may be sent, what its answer means, when it is sent again, and what the registry notes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ceilings import account_prices
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import (
    ANSWERED_NO,
    OURS,
    THEIRS,
    UNSEEN,
    Decision,
    History,
    NextStep,
    Reason,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import (
    Terms,
    after,
    freed,
    is_made,
    needs_claim,
    outcome_unsent,
    precedence,
    registry_refusal,
)

from provision_samples import entry

# Prices


@pytest.mark.parametrize(
    ("planned", "fresh", "counts"),
    [(None, 4.0, 4.0), (5.0, 4.0, 5.0), (4.0, 5.0, 5.0), (5.0, None, None), (None, None, None), (0.0, 4.0, 4.0)],
)
def test_the_higher_price_counts_and_an_unknown_fresh_one_stays_unknown(
    planned: float | None, fresh: float | None, counts: float | None
) -> None:
    assert Terms(price_per_hour=planned).price_that_counts(fresh) == counts


@pytest.mark.parametrize(
    ("limit", "price", "refusal"),
    [
        (None, None, ""),
        (None, 9.0, ""),
        (4.0, 4.0, ""),
        (4.0, 4.000001, "costs USD 4.000001 per hour, which is above max_price_per_hour (USD 4.00 per hour)"),
        (0.0, 1.0, "is above max_price_per_hour (USD 0.00 per hour)"),
        (4.0, None, "names no price in USD"),
    ],
)
def test_the_limit_of_an_offer(limit: float | None, price: float | None, refusal: str) -> None:
    told = Terms(max_price_per_hour=limit).price_refusal("o", price)
    assert refusal in told and bool(told) is bool(refusal)


@pytest.mark.parametrize(
    ("currency", "is_bought"), [(None, True), ("", True), ("USD", True), (" usd", True), ("EUR", False), (7, False)]
)
def test_an_offer_in_another_currency_is_not_bought_whatever_its_limit(currency: Any, is_bought: bool) -> None:
    expected = f"Offer o is sold in {currency}. Only prices in USD are compared and counted."
    assert Terms().page_refusal("o", {"currency": currency}) == ("" if is_bought else expected)


def test_an_offer_that_differs_from_what_the_search_found_is_not_bought() -> None:
    terms = Terms(offer={"gpu_type": "nvidia-h100-sxm5-80gb", "region": "EU"})
    assert terms.page_refusal("o", {"gpu_type": "nvidia-a100-sxm4-80gb", "region": "US"}) == (
        "Offer o differs from what the search found. Its own page says: region US instead of EU, gpu_type"
        " nvidia-a100-sxm4-80gb instead of nvidia-h100-sxm5-80gb."
    )
    assert not terms.page_refusal("o", {"gpu_type": "nvidia-h100-sxm5-80gb", "region": None})
    assert not Terms().page_refusal("o", {"gpu_type": "nvidia-a100-sxm4-80gb"})


TERMS = Terms(price_per_hour=5.0, host="gpu-1")


@pytest.mark.parametrize(
    ("has", "limit", "offer_id", "most"),
    [
        (entry(), None, "new", None),
        (entry("old", purchase="refused"), None, "new", None),
        (entry("old", ["r"], "made", provision_held_by="alice"), None, "new", None),  # the plan reports it
        (entry("", ["r"]), None, "new", None),  # written by a person, without the offer
        (entry("new", purchase="sent"), None, "new", None),
        (entry("old", purchase="sent"), None, "old", 2.0),
        (entry("old", purchase="sent"), 4.0, "old", 4.0),
        (entry("old", purchase="made"), None, "old", 2.0),
        (entry("old", ["r"]), 1.0, "old", 1.0),
    ],
)
def test_what_a_host_has_takes_precedence(has: Entry, limit: float | None, offer_id: str, most: float | None) -> None:
    terms = replace(TERMS, max_price_per_hour=limit)
    asked, agreed, warnings = precedence(has, "new", terms)
    assert (asked, agreed.max_price_per_hour) == (offer_id, most)
    assert (agreed == terms, len(warnings)) == (offer_id == "new", int(offer_id == "old"))
    assert agreed.price_per_hour == (None if warnings else 5.0), "it is the price of the other offer"
    assert all("gpu-1" in warning and "old" in warning and "new" in warning for warning in warnings)


def resource(price: float | None, status: str = "running") -> dict[str, Any]:
    return {"resource_id": "r", "offer_id": None, "price_per_hour": price, "status": status}


@pytest.mark.parametrize(
    ("limit", "price", "resources", "refused"),
    [
        (None, None, [resource(None)], False),
        (4.0, 2.0, [resource(2.0)], False),
        (4.0, 2.0, [resource(2.0), resource(9.0, "deleted"), resource(9.0, "terminated")], False),
        (4.0, 2.0, [resource(2.000001)], True),
        (4.0, 2.0, [resource(2.1, "deleting")], True),
        (4.0, None, [], True),
        (4.0, 2.0, [resource(None)], True),
    ],
)
def test_the_limit_of_an_account(limit: float | None, price: float | None, resources: Any, refused: bool) -> None:
    account = account_prices(resources, (), ())
    assert bool(Terms(max_account_price_per_hour=limit).account_refusal("o", price, account)) is refused


@pytest.mark.parametrize(
    ("file", "url", "host", "has_total", "refusal"),
    [
        (False, False, "", False, ""),
        (True, False, "", False, ""),
        (False, True, "gpu-1", True, ""),
        (True, True, "gpu-1", False, "one registry"),
        (False, True, "", False, "needs the name of the host"),
        (True, False, "gpu-1", True, "max_total_price_per_hour needs registry_url"),
        (False, False, "gpu-1", True, "max_total_price_per_hour needs registry_url"),
    ],
)
def test_the_options_of_the_registry(file: bool, url: bool, host: str, has_total: bool, refusal: str) -> None:
    told = registry_refusal(file=file, url=url, host=host, has_total=has_total)
    assert refusal in told and bool(told) is bool(refusal)


# Answers


@pytest.mark.parametrize(
    ("fields", "is_success"),
    [
        ({}, True),
        ({"status": "reserved"}, True),
        ({"status": "failed"}, False),
        ({"status": "available"}, False),
        ({"status": "expired"}, False),
        ({"error": "no stock"}, False),
        # An answer with a machine or a time means a purchase, whatever its outcome
        ({"status": "failed", "resource_ids": ["r"]}, True),
        ({"status": "failed", "procured_at": "2026-01-31T12:00:00Z"}, True),
        ({"error": "slow", "odd_ids": ["?"]}, True),
        ({"status": "available", "procured_at": "2026-01-31T12:00:00Z"}, True),
    ],
)
def test_what_an_answer_means(fields: dict[str, Any], is_success: bool) -> None:
    blank = {"status": "procured", "procured_at": None, "resource_ids": [], "odd_ids": [], "error": None}
    assert is_made({**blank, **fields}) is is_success


@pytest.mark.parametrize(
    ("sends", "retries", "refused", "is_busy", "again"),
    [
        (0, 5, None, False, True),  # after a lost answer it is sent once more
        (1, 5, None, False, False),
        (0, 5, 429, True, True),  # while the API is busy it is sent again and again
        (4, 5, 429, True, True),
        (4, 5, None, True, True),
        (5, 5, 429, True, False),
        (0, 0, None, False, False),
        (0, 0, 429, True, False),
    ],
)
def test_what_may_be_sent_after_an_answer(
    sends: int, retries: int, refused: int | None, is_busy: bool, again: bool
) -> None:
    history = after(History(sends=sends), retries, refused, busy=is_busy)
    assert (history.sends, history.refused, history.unanswered) == (sends + 1, refused, refused is None)
    assert (history.may_send, history.busy) == (again, again and is_busy)


def test_of_several_answers_the_one_that_proves_least_counts() -> None:
    history = after(History(sends=1, unanswered=True), 5, 409, busy=False)
    assert history.unanswered and history.refused == 409
    for vague in (429, ANSWERED_NO):
        history = after(after(History(), 5, vague, busy=True), 5, 409, busy=False)
        assert history.refused == vague and history.may_be_ours and not history.unanswered


@pytest.mark.parametrize(
    ("history", "end"),
    [
        (History(), Decision.NOT_SENT),
        (History(sends=1, refused=409), Decision.REJECTED),
        (History(unanswered=True), None),
        # The API may show only later that it has bought the offer.
        (History(sends=1, refused=429), None),
    ],
)
def test_an_objection_ends_what_is_certainly_not_under_way(history: History, end: Decision | None) -> None:
    assert outcome_unsent(history) is end


@pytest.mark.parametrize(
    ("step", "history", "left", "needed"),
    [
        (NextStep(Decision.REJECTED, Reason.REFUSED), History(sends=1, refused=409), [], True),
        (NextStep(Decision.REJECTED, Reason.TAKEN), History(sends=1, refused=409), ["theirs"], True),
        (NextStep(Decision.REJECTED, Reason.FAILED), History(sends=1, made=True), [], True),
        (NextStep(Decision.REJECTED, Reason.FAILED), History(sends=1, made=True), ["r"], False),
        (NextStep(Decision.REJECTED, Reason.EXPIRED), History(unanswered=True), [], False),
        (NextStep(Decision.NOT_SENT, Reason.EXPIRED), History(), [], False),
        (NextStep(Decision.UNKNOWN, Reason.SILENT), History(sends=1, unanswered=True), [], False),
    ],
    ids=str,
)
def test_who_makes_room_for_another_offer_must_hold_the_purchase(
    step: NextStep, history: History, left: list[str], needed: bool
) -> None:
    assert needs_claim(step, history, left) is needed


# What the registry notes


@pytest.mark.parametrize(
    ("step", "history", "left", "made"),
    [
        (NextStep(Decision.UNKNOWN, Reason.SILENT), History(sends=1, unanswered=True), [], None),
        (NextStep(Decision.NOT_SENT, Reason.UNREADABLE), History(), [], None),
        (NextStep(Decision.NOT_SENT, Reason.EXPIRED), History(), [], False),
        (NextStep(Decision.REJECTED, Reason.REFUSED), History(sends=1, refused=422), [], False),
        (NextStep(Decision.REJECTED, Reason.TAKEN), History(sends=1, refused=409), [], False),
        (NextStep(Decision.REJECTED, Reason.EXPIRED), History(unanswered=True), [], False),
        (NextStep(Decision.REJECTED, Reason.FAILED), History(unanswered=True), ["r"], None),
        # If the purchase may have been ours, the ledger counts its possible cost.
        (NextStep(Decision.REJECTED, Reason.FAILED), History(made=True), [], True),
        (NextStep(Decision.REJECTED, Reason.FAILED), History(unanswered=True), [], True),
        (NextStep(Decision.REJECTED, Reason.FAILED), History(sends=1, refused=409), [], False),
        (NextStep(Decision.NOT_SENT, Reason.FAILED), History(), [], False),
        (NextStep(Decision.REJECTED, Reason.ENDED), History(sends=1, refused=409), [], False),
        (NextStep(Decision.REJECTED, Reason.ENDED), History(unanswered=True), [], True),
        (NextStep(Decision.REJECTED, Reason.ENDED), History(refused=429), [], True),
    ],
    ids=str,
)
def test_what_the_registry_notes_of_an_end(
    step: NextStep, history: History, left: list[str], made: bool | None
) -> None:
    assert freed(step, history, left, UNSEEN) is made


@pytest.mark.parametrize("owner", [OURS, THEIRS, UNSEEN])
@pytest.mark.parametrize("history", [History(sends=1, refused=410), History()], ids=str)
def test_what_was_refused_and_had_our_name_was_billed_until_it_ended(history: History, owner: str) -> None:
    is_ours = owner == OURS and history.refused is not None
    assert freed(NextStep(Decision.REJECTED, Reason.ENDED), history, [], owner) is is_ours
