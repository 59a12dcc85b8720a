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
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock, clocks_differ
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import (
    OURS,
    THEIRS,
    UNSEEN,
    Decision,
    History,
    NextStep,
    Reason,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import (
    AnswerMeaning,
    Note,
    Repeats,
    Terms,
    after,
    leaves_storage,
    meaning_of,
    needs_claim,
    note_of,
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


def test_an_offer_is_not_bought_as_something_else_than_it_was_found_as() -> None:
    terms = Terms(offer={"gpu_type": "nvidia-h100-sxm5-80gb", "region": "EU"})
    assert terms.page_refusal("o", {"gpu_type": "nvidia-a100-sxm4-80gb", "region": "US"}) == (
        "Offer o is not what it was found as. Its own page says: region US instead of EU, gpu_type"
        " nvidia-a100-sxm4-80gb instead of nvidia-h100-sxm5-80gb."
    )
    assert not terms.page_refusal("o", {"gpu_type": "nvidia-h100-sxm5-80gb", "region": None})
    assert not Terms().page_refusal("o", {"gpu_type": "nvidia-a100-sxm4-80gb"})


@pytest.mark.parametrize(
    ("ends_at", "ahead", "is_bought"), [("2026-01-31T20:00:00Z", 301, False), ("2026-01-31T20:00:00Z", 299, True),
                                        ("", 301, True)],
)  # fmt: skip
def test_a_clock_that_was_set_since_the_plan_buys_nothing_with_a_lease(
    ends_at: str, ahead: float, is_bought: bool
) -> None:
    clock = Clock.of(1769860800.0, ahead)
    expected = [] if is_bought else [(clocks_differ(clock), "unavailable")]
    assert list(Terms(ends_at=ends_at).refusals("o", 2.0, {}, clock)) == expected


TERMS = Terms(price_per_hour=5.0, host="gpu-1")


@pytest.mark.parametrize(
    ("has", "limit", "offer_id", "most"),
    [
        (entry(), None, "new", None),
        (entry("old", purchase="refused"), None, "new", None),
        (entry("old", ["r"], "made", provision_held_by="alice"), None, "new", None),  # which is told
        (entry("", ["r"]), None, "new", None),  # of a person, without the offer
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
    ("fields", "meaning"),
    [
        ({"status": "failed", "procured_at": "2026-01-31T12:00:00Z"}, AnswerMeaning.FAILED),
        ({}, AnswerMeaning.MADE),
        ({"status": "reserved"}, AnswerMeaning.MADE),
        ({"status": "failed"}, AnswerMeaning.FAILED),
        ({"status": "failed", "resource_ids": ["r"]}, AnswerMeaning.FAILED),
        ({"status": "available"}, AnswerMeaning.DENIED),
        ({"status": "expired"}, AnswerMeaning.DENIED),
        ({"error": "no stock"}, AnswerMeaning.DENIED),
        ({"error": "slow", "resource_ids": ["r"]}, AnswerMeaning.MADE),
        ({"error": "slow", "odd_ids": ["?"]}, AnswerMeaning.MADE),
        ({"status": "available", "procured_at": "2026-01-31T12:00:00Z"}, AnswerMeaning.MADE),
    ],
)
def test_what_an_answer_means(fields: dict[str, Any], meaning: AnswerMeaning) -> None:
    blank = {"status": "procured", "procured_at": None, "resource_ids": [], "odd_ids": [], "error": None}
    assert meaning_of({**blank, **fields}, unanswered=False) is meaning
    # What failed and names nothing may not be the purchase that was never answered.
    after_lost = AnswerMeaning.DENIED if fields == {"status": "failed"} else meaning
    assert meaning_of({**blank, **fields}, unanswered=True) is after_lost


FIVE = Repeats(returns=5, resends=1, pause=0.5, longest=60.0)
ALONE = Repeats(returns=0, resends=0, pause=0.5, longest=60.0)


@pytest.mark.parametrize(
    ("repeats", "answer", "again", "busy", "left", "wait"),
    [
        # What was lost is sent once more, what was refused is not sent by itself, and what is busy waits
        (FIVE, (None, False, 0.0), True, False, (5, 0, 0.5), 0.0),
        (Repeats(5, 0, 0.5, 60.0), (None, False, 0.0), False, False, (5, -1, 0.5), 0.0),
        (FIVE, (409, False, 0.0), True, False, (5, 1, 0.5), 0.0),
        (FIVE, (429, True, 0.0), True, True, (4, 1, 1.0), 0.5),
        (FIVE, (429, True, 20.0), True, True, (4, 1, 1.0), 20.0),
        (FIVE, (None, True, 60.0), True, True, (4, 1, 1.0), 60.0),
        (FIVE, (429, True, 60.1), False, False, (5, 1, 0.5), 0.0),
        (Repeats(0, 1, 8.0, 60.0), (429, True, 0.0), False, False, (0, 1, 8.0), 0.0),
        (ALONE, (None, False, 0.0), False, False, (0, -1, 0.5), 0.0),
        (ALONE, (429, True, 0.0), False, False, (0, 0, 0.5), 0.0),
    ],
)
def test_what_may_be_sent_after_an_answer(
    repeats: Repeats, answer: Any, again: bool, busy: bool, left: Any, wait: float
) -> None:
    history, found, seconds = after(History(sends=1), repeats, *answer)
    assert (history.sends, history.refused, history.lost) == (2, answer[0], answer[0] is None)
    assert (history.again, history.busy, seconds) == (again, busy, wait)
    assert (found.returns, found.resends, found.pause) == left


def test_what_was_lost_or_put_off_once_stays_so() -> None:
    history, _allowance, _seconds = after(History(sends=1, lost=True), FIVE, 409, False, 0.0)
    assert history.lost and history.unanswered and history.refused == 409
    put_off, _allowance, _seconds = after(History(), FIVE, 429, True, 0.0)
    history, _allowance, _seconds = after(put_off, FIVE, 409, False, 0.0)
    assert put_off.put_off and history.put_off and not history.unanswered


@pytest.mark.parametrize(
    ("history", "end"),
    [
        (History(), Decision.NOT_SENT),
        (History(sends=1, refused=429), Decision.REJECTED),
        (History(sends=1, lost=True), None),
        (History(sent_before=True), None),
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
        (NextStep(Decision.REJECTED, Reason.EXPIRED), History(sent_before=True), [], False),
        (NextStep(Decision.NOT_SENT, Reason.EXPIRED), History(), [], False),
        (NextStep(Decision.UNKNOWN, Reason.SILENT), History(sends=1, lost=True), [], False),
    ],
    ids=str,
)
def test_who_makes_room_for_another_offer_must_hold_the_purchase(
    step: NextStep, history: History, left: list[str], needed: bool
) -> None:
    assert needs_claim(step, history, left) is needed


# What the registry notes


@pytest.mark.parametrize(
    ("step", "history", "left", "note"),
    [
        (NextStep(Decision.UNKNOWN, Reason.SILENT), History(sends=1, lost=True), [], Note.NOTHING),
        (NextStep(Decision.UNKNOWN, Reason.UNLISTED), History(made=True), ["r"], Note.NOTHING),
        (NextStep(Decision.NOT_SENT, Reason.UNREADABLE), History(), [], Note.NOTHING),
        (NextStep(Decision.NOT_SENT, Reason.EXPIRED), History(), [], Note.FREE),
        (NextStep(Decision.REJECTED, Reason.REFUSED), History(sends=1, refused=422), [], Note.FREE),
        (NextStep(Decision.REJECTED, Reason.TAKEN), History(sends=1, refused=409), [], Note.FREE),
        (NextStep(Decision.REJECTED, Reason.FAILED), History(sends=1), [], Note.FREE_MADE),
        (NextStep(Decision.REJECTED, Reason.FAILED), History(sends=1), ["r"], Note.LEFT),
        (NextStep(Decision.NOT_SENT, Reason.FAILED), History(made=True), ["r"], Note.LEFT),
        (NextStep(Decision.REJECTED, Reason.FAILED), History(sent_before=True), ["r"], Note.LEFT),
        (NextStep(Decision.NOT_SENT, Reason.FAILED), History(), ["r"], Note.NOTHING),
        # Of what may have been ours the ledger counts what it may have cost.
        (NextStep(Decision.REJECTED, Reason.ENDED), History(sends=1, refused=409), [], Note.FREE),
        (NextStep(Decision.REJECTED, Reason.ENDED), History(sends=1, lost=True), [], Note.FREE_MADE),
        (NextStep(Decision.NOT_SENT, Reason.ENDED), History(by_name=False, put_off=True), [], Note.FREE_MADE),
    ],
    ids=str,
)
def test_what_the_registry_notes_of_an_end(step: NextStep, history: History, left: list[str], note: Note) -> None:
    assert note_of(step, history, left) is note


@pytest.mark.parametrize("whose", [OURS, THEIRS, UNSEEN])
@pytest.mark.parametrize(
    "history", [History(sends=1, refused=410), History(by_name=False, refused_before=True), History()], ids=str
)
def test_what_was_refused_and_had_our_name_was_billed_until_it_ended(history: History, whose: str) -> None:
    is_ours = whose == OURS and history.was_refused
    note = Note.FREE_MADE if is_ours else Note.FREE
    assert note_of(NextStep(Decision.REJECTED, Reason.ENDED), history, [], whose) is note
    assert leaves_storage(note, history, whose) is is_ours


@pytest.mark.parametrize(("whose", "leaves"), [(OURS, True), (UNSEEN, True), (THEIRS, False)])
def test_what_an_unanswered_purchase_has_left_is_the_hosts_unless_a_machine_has_another_name(
    whose: str, leaves: bool
) -> None:
    assert leaves_storage(Note.FREE_MADE, History(sends=1, lost=True), whose) is leaves
    assert leaves_storage(Note.FREE_MADE, History(made=True), whose)
