# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a purchase may be sent or sent again, how its answer is read, and how its end is noted in the registry."""

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
    after_objection,
    claimed_by_another,
    freed,
    is_made,
    needs_claim,
    outcome_unsent,
    planned_for_another_account,
    precedence,
    registry_refusal,
)

from provision_samples import entry

# Prices


@pytest.mark.parametrize(
    ("planned", "fresh", "expected"),
    [(None, 4.0, 4.0), (5.0, 4.0, 5.0), (4.0, 5.0, 5.0), (5.0, None, None), (None, None, None), (0.0, 4.0, 4.0)],
)
def test_price_that_counts_is_higher_one_and_needs_fresh_price(
    planned: float | None, fresh: float | None, expected: float | None
) -> None:
    assert Terms(price_per_hour=planned).price_that_counts(fresh) == expected


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
def test_price_refusal_above_max_price_per_hour(limit: float | None, price: float | None, refusal: str) -> None:
    actual = Terms(max_price_per_hour=limit).price_refusal("o", price)
    assert refusal in actual and bool(actual) is bool(refusal)


@pytest.mark.parametrize(
    ("currency", "is_accepted"), [(None, True), ("", True), ("USD", True), (" usd", True), ("EUR", False), (7, False)]
)
def test_page_refusal_for_other_currency(currency: Any, is_accepted: bool) -> None:
    expected = f"Offer o is sold in {currency}. Only prices in USD are compared and counted."
    assert Terms().page_refusal("o", {"currency": currency}) == ("" if is_accepted else expected)


def test_page_refusal_for_page_that_differs_from_search() -> None:
    terms = Terms(offer={"gpu_type": "nvidia-h100-sxm5-80gb", "region": "EU"})
    assert terms.page_refusal("o", {"gpu_type": "nvidia-a100-sxm4-80gb", "region": "US"}) == (
        "Offer o differs from what the search found. Its own page says: region US instead of EU, gpu_type"
        " nvidia-a100-sxm4-80gb instead of nvidia-h100-sxm5-80gb."
    )
    assert not terms.page_refusal("o", {"gpu_type": "nvidia-h100-sxm5-80gb", "region": None})
    assert not Terms().page_refusal("o", {"gpu_type": "nvidia-a100-sxm4-80gb"})


TERMS = Terms(price_per_hour=5.0, host="gpu-1")


@pytest.mark.parametrize(
    ("own_entry", "limit", "offer_id", "max_price", "warning"),
    [
        (entry(), None, "new", None, ""),
        (entry("old", purchase="refused"), None, "new", None, ""),
        (entry("old", ["r"], "made", provision_held_by="alice"), None, "new", None, ""),  # the plan reports that run
        (entry("", ["r"]), None, "new", None, ""),  # a person has written ids without an offer
        (entry("new", purchase="sent"), None, "new", None, ""),
        (entry("old", purchase="sent"), None, "old", 2.0, "gpu-1 may have bought offer old, so the task's offer new"),
        (entry("old", purchase="sent"), 4.0, "old", 4.0, "gpu-1 may have bought offer old, so the task's offer new"),
        (entry("old", purchase="made"), None, "old", 2.0, "gpu-1 has bought offer old, so the task's offer new"),
        (entry("old", ["r"]), 1.0, "old", 1.0, "gpu-1 has bought offer old, so the task's offer new"),
    ],
)
def test_noted_purchase_takes_precedence_over_offer_of_task(
    own_entry: Entry, limit: float | None, offer_id: str, max_price: float | None, warning: str
) -> None:
    terms = replace(TERMS, max_price_per_hour=limit)
    chosen_offer, agreed, warnings = precedence(own_entry, "new", terms)
    assert (chosen_offer, agreed.max_price_per_hour) == (offer_id, max_price)
    assert (agreed == terms, len(warnings)) == (offer_id == "new", bool(warning))
    assert agreed.price_per_hour == (None if warnings else 5.0), "the planned price is the other offer's"
    assert warning in "".join(warnings)


@pytest.mark.parametrize(("host", "words"), [("gpu-1", ("gpu-1", "gpu-1")), ("", ("the host", "this host"))])
def test_messages_about_noted_purchase_need_no_name_of_host(host: str, words: tuple[str, str]) -> None:
    _offer_id, _terms, (warning,) = precedence(entry("old", purchase="sent"), "new", Terms(host=host))
    assert warning.startswith(f"The registry says that {words[0]} may have bought")
    assert f"If another run is buying for {words[1]}" in claimed_by_another("It is open.", host)


@pytest.mark.parametrize(("planned", "is_refused"), [(None, False), ("", False), ("own", False), ("other", True)])
def test_purchase_planned_with_another_account_is_refused(planned: str | None, is_refused: bool) -> None:
    refusal = planned_for_another_account("o", planned, "own")
    assert ("Offer o was planned with another token or api_url" in refusal) is bool(refusal) is is_refused


def resource(price: float | None, status: str = "running") -> dict[str, Any]:
    return {"resource_id": "r", "offer_id": None, "price_per_hour": price, "status": status}


@pytest.mark.parametrize(
    ("limit", "price", "resources", "is_refused"),
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
def test_account_refusal_above_max_account_price_per_hour(
    limit: float | None, price: float | None, resources: Any, is_refused: bool
) -> None:
    account = account_prices(resources, (), ())
    refusals = [
        Terms(max_account_price_per_hour=limit, host=host).account_refusal("o", price, account)
        for host in ("gpu-1", "")
    ]
    assert [("Counted: gpu-1 " in text, "Counted: o " in text) for text in refusals] == [
        (is_refused, False),
        (False, is_refused),
    ]


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
def test_registry_refusal_for_contradictory_options(
    file: bool, url: bool, host: str, has_total: bool, refusal: str
) -> None:
    actual = registry_refusal(file=file, url=url, host=host, has_total=has_total)
    assert refusal in actual and bool(actual) is bool(refusal)


# Answers


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"status": "reserved"}, True),
        ({"status": "failed"}, False),
        ({"status": "available"}, False),
        ({"status": "expired"}, False),
        ({"error": "no stock"}, False),
        # An answer with a resource or a purchase time proves a purchase.
        ({"status": "failed", "resource_ids": ["r"]}, True),
        ({"status": "failed", "procured_at": "2026-01-31T12:00:00Z"}, True),
        ({"error": "slow", "odd_ids": ["?"]}, True),
        ({"status": "available", "procured_at": "2026-01-31T12:00:00Z"}, True),
    ],
)
def test_is_made_needs_success_or_proof_of_purchase(fields: dict[str, Any], expected: bool) -> None:
    success = {"status": "procured", "procured_at": None, "resource_ids": [], "odd_ids": [], "error": None}
    assert is_made({**success, **fields}) is expected


@pytest.mark.parametrize(
    ("is_planned", "fields", "expected"),
    [
        (False, {"status": "failed", "resource_ids": ["r"]}, True),
        (True, {"status": "failed", "resource_ids": ["r"]}, False),  # the role queries all offers together
        (False, {"status": "failed"}, False),
        (False, {"resource_ids": ["r"]}, False),
    ],
)
def test_status_of_purchase_that_failed_at_once_is_queried(
    is_planned: bool, fields: dict[str, Any], expected: bool
) -> None:
    answer = {"status": "procured", "procured_at": None, "resource_ids": [], "odd_ids": [], "error": None, **fields}
    assert Terms(is_planned=is_planned).looks_after(answer) is expected


@pytest.mark.parametrize(
    ("sends", "retries", "refused", "is_busy", "may_send"),
    [
        (0, 5, None, False, True),  # a lost answer: sent again once
        (1, 5, None, False, False),
        (0, 5, 429, True, True),  # a busy API: sent again, up to the number of retries
        (4, 5, 429, True, True),
        (4, 5, None, True, True),
        (5, 5, 429, True, False),
        (0, 0, None, False, False),
        (0, 0, 429, True, False),
    ],
)
def test_after_lost_answer_or_429_purchase_is_sent_again(
    sends: int, retries: int, refused: int | None, is_busy: bool, may_send: bool
) -> None:
    history = after(History(sends=sends), retries, refused, busy=is_busy)
    assert (history.sends, history.refused, history.unanswered) == (sends + 1, refused, refused is None)
    assert (history.may_send, history.busy) == (may_send, may_send and is_busy)


def test_least_certain_of_several_answers_counts() -> None:
    history = after(History(sends=1, unanswered=True), 5, 409, busy=False)
    assert history.unanswered and history.refused == 409
    for uncertain in (429, ANSWERED_NO):
        history = after(after(History(), 5, uncertain, busy=True), 5, 409, busy=False)
        assert history.refused == uncertain and history.may_be_ours and not history.unanswered
        lost = after(after(History(), 5, uncertain, busy=True), 5, None, busy=False)
        assert lost.unanswered and lost.refused is None


@pytest.mark.parametrize(
    ("history", "error_class", "unanswered"),
    [
        (History(sends=1, refused=429), "expired", True),  # the purchase that was put off may have bought it
        (History(sends=1, refused=429), "not_found", True),
        (History(sends=1, refused=429), "price", False),
        (History(sends=1, refused=409), "expired", False),
        (History(), "expired", False),
        (History(sends=1, unanswered=True), "price", True),
    ],
    ids=str,
)
def test_after_objection_offer_gone_since_429_counts_as_unanswered(
    history: History, error_class: str, unanswered: bool
) -> None:
    history = after_objection(replace(history, may_send=True, busy=True), error_class)
    assert (history.unanswered, history.may_send, history.busy) == (unanswered, False, False)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (History(), Decision.NOT_SENT),
        (History(sends=1, refused=409), Decision.REJECTED),
        (History(unanswered=True), None),
        # After a 429 the purchase may still show up.
        (History(sends=1, refused=429), None),
    ],
)
def test_outcome_unsent_needs_proof_that_nothing_is_under_way(history: History, expected: Decision | None) -> None:
    assert outcome_unsent(history) is expected


@pytest.mark.parametrize(
    ("step", "history", "billed", "expected"),
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
def test_only_refusal_that_frees_host_needs_claim(
    step: NextStep, history: History, billed: list[str], expected: bool
) -> None:
    assert needs_claim(step, history, billed) is expected


# Notes in the registry


@pytest.mark.parametrize(
    ("step", "history", "billed", "expected"),
    [
        (NextStep(Decision.UNKNOWN, Reason.SILENT), History(sends=1, unanswered=True), [], None),
        (NextStep(Decision.NOT_SENT, Reason.UNREADABLE), History(), [], None),
        (NextStep(Decision.NOT_SENT, Reason.EXPIRED), History(), [], False),
        (NextStep(Decision.REJECTED, Reason.REFUSED), History(sends=1, refused=422), [], False),
        (NextStep(Decision.REJECTED, Reason.TAKEN), History(sends=1, refused=409), [], False),
        (NextStep(Decision.REJECTED, Reason.TAKEN), History(sends=1, refused=409), ["theirs"], False),
        (NextStep(Decision.REJECTED, Reason.EXPIRED), History(unanswered=True), [], False),
        (NextStep(Decision.REJECTED, Reason.FAILED), History(unanswered=True), ["r"], None),
        # If the purchase may have been ours, the ledger counts its cost up to now.
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
def test_freed_notes_end_as_billed_void_or_open(
    step: NextStep, history: History, billed: list[str], expected: bool | None
) -> None:
    assert freed(step, history, billed, UNSEEN) is expected


@pytest.mark.parametrize("owner", [OURS, THEIRS, UNSEEN])
@pytest.mark.parametrize("history", [History(sends=1, refused=410), History()], ids=str)
def test_refused_offer_with_machine_of_our_name_was_billed(history: History, owner: str) -> None:
    is_ours = owner == OURS and history.refused is not None
    assert freed(NextStep(Decision.REJECTED, Reason.ENDED), history, [], owner) is is_ours
