# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The next step of a purchase, for every history and every look at its offer: an offer is bought once.

``TABLE`` has the step for each story and look. The rules after it hold for all combinations, independently of it.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _states
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import OwnershipClaim
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import (
    ANSWERED_NO,
    LIKE_OURS,
    NOT_FOUND,
    OURS,
    THEIRS,
    UNSEEN,
    Decision,
    History,
    NextStep,
    OfferLook,
    Reason,
    after_look,
    list_must_confirm,
    needs_machine_list,
    next_step,
    owner_by_name,
    phase_in_words,
    with_other_owners,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import Story, ending_of

from provision_samples import entry

# Looks, in the order of the table's columns
COLUMNS = {
    "unreadable": OfferLook(None),
    "404": OfferLook(NOT_FOUND),
    "unbought": OfferLook(_states.UNBOUGHT),
    "expired": OfferLook(_states.EXPIRED),
    "unbought, machines listed": OfferLook(_states.UNBOUGHT, THEIRS, True, listed=True),
    "bought, our name": OfferLook(_states.GOING_ON, OURS, True),
    "bought, another name": OfferLook(_states.READY, THEIRS, True, listed=True),
    "bought, proved another host's": OfferLook(_states.READY, THEIRS, True, listed=True, of_others=True),
    "bought, listed without a name": OfferLook(_states.READY, UNSEEN, True, listed=True),
    "bought, not listed": OfferLook(_states.GOING_ON, UNSEEN),
    "failed, no machine": OfferLook(_states.FAILED),
    "failed, our name": OfferLook(_states.FAILED, OURS, True),
    "failed, another name": OfferLook(_states.FAILED, THEIRS, True, listed=True),
    "failed, no name": OfferLook(_states.FAILED, UNSEEN, True),
    "failed, list unreadable": OfferLook(_states.FAILED, UNSEEN, None),
    "bought, machines deleted": OfferLook(_states.GOING_ON, THEIRS, False, listed=True),
}

STORIES: dict[str, dict[str, Any]] = {
    # Without a registry
    "nothing sent": {},
    "nothing sent, without a name": {"named": False},
    "unanswered": {"sends": 1, "unanswered": True},
    "unanswered, without a name": {"sends": 1, "unanswered": True, "named": False},
    "unanswered twice": {"sends": 2, "unanswered": True, "may_send": False},
    "unanswered, then 409": {"sends": 2, "unanswered": True, "refused": 409, "may_send": False},
    "422": {"sends": 1, "refused": 422},
    "404": {"sends": 1, "refused": 404},
    "409": {"sends": 1, "refused": 409},
    "409, without a name": {"sends": 1, "refused": 409, "named": False},
    "429": {"sends": 1, "refused": 429, "busy": True},
    "429 too often": {"sends": 6, "refused": 429, "may_send": False},
    "503": {"sends": 1, "unanswered": True, "busy": True},
    "503 too often": {"sends": 6, "unanswered": True, "may_send": False},
    "200 with a refusal": {"sends": 1, "refused": ANSWERED_NO},
    # With a registry (R)
    "R nothing sent": {"by_name": False},
    "R nothing sent, without a name": {"by_name": False, "named": False},
    "R made": {"by_name": False, "made": True},
    "R unanswered before": {"by_name": False, "unanswered": True},
    "R unanswered before, without a name": {"by_name": False, "unanswered": True, "named": False},
    "R unanswered before, expired long ago": {"by_name": False, "unanswered": True, "gone_long": True},
    "R unanswered before, then 409": {"by_name": False, "unanswered": True, "sends": 1, "refused": 409},
    "R 429 before": {"by_name": False, "refused": 429},
    "R 409 before": {"by_name": False, "refused": 409},
    "R unanswered before, may not send": {"by_name": False, "unanswered": True, "may_send": False},
    "R unanswered": {"by_name": False, "sends": 1, "unanswered": True},
    "R unanswered, made by another run": {"by_name": False, "sends": 1, "unanswered": True, "made": True},
    "R 422": {"by_name": False, "sends": 1, "refused": 422},
    "R 404": {"by_name": False, "sends": 1, "refused": 404},
    "R 409": {"by_name": False, "sends": 1, "refused": 409},
    "R 409, made by another run": {"by_name": False, "sends": 1, "refused": 409, "made": True},
    "R 429": {"by_name": False, "sends": 1, "refused": 429, "busy": True},
    "R 200 with a refusal": {"by_name": False, "sends": 1, "refused": ANSWERED_NO},
}

# A cell has the next step, and its reason. A "?" means that the purchase looks again while there is time.
TABLE = """
nothing sent                         |not_sent unreadable|not_sent not_found|send|not_sent expired|send|existing|not_sent taken|not_sent taken|?not_sent taken|?not_sent taken|not_sent failed|not_sent failed|not_sent taken|?not_sent taken|not_sent failed|not_sent ended
nothing sent, without a name         |not_sent unreadable|not_sent not_found|send|not_sent expired|send|existing|existing|existing|existing|existing|not_sent failed|not_sent failed|not_sent failed|not_sent failed|not_sent failed|existing
unanswered                           |?unknown unreadable|?unknown lately|?send|?unknown lately|?send|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
unanswered, without a name           |?unknown unreadable|?unknown lately|?send|?unknown lately|?send|created|created|created|created|?unknown unproven|rejected failed|rejected failed|rejected failed|rejected failed|?unknown unreadable|rejected ended
unanswered twice                     |?unknown unreadable|?unknown lately|?unknown silent|?unknown lately|?unknown silent|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
unanswered, then 409                 |?unknown unreadable|?unknown lately|?unknown silent|?unknown lately|?unknown silent|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
422                                  |?rejected refused|rejected refused|rejected refused|rejected refused|?unknown unproven|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
404                                  |?unknown unreadable|rejected refused|rejected refused|rejected refused|?unknown unproven|existing|?unknown unproven|rejected taken|?unknown unproven|?rejected taken|rejected failed|rejected failed|?unknown unproven|?rejected taken|?unknown unreadable|rejected ended
409                                  |?unknown unreadable|?rejected refused|?rejected refused|?rejected refused|?unknown unproven|existing|?unknown unproven|rejected taken|?unknown unproven|?rejected taken|rejected failed|rejected failed|?unknown unproven|?rejected taken|?unknown unreadable|rejected ended
409, without a name                  |?unknown unreadable|?rejected refused|?rejected refused|?rejected refused|?unknown unproven|?unknown unproven|?unknown unproven|?rejected taken|?unknown unproven|?unknown unproven|rejected failed|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
429                                  |?unknown unreadable|?unknown lately|send|?unknown lately|?unknown unproven|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
429 too often                        |?unknown unreadable|?unknown lately|?rejected refused|?unknown lately|?unknown unproven|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
503                                  |?unknown unreadable|?unknown lately|send|?unknown lately|send|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
503 too often                        |?unknown unreadable|?unknown lately|?unknown silent|?unknown lately|?unknown silent|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
200 with a refusal                   |?unknown unreadable|rejected refused|rejected refused|rejected refused|?unknown unproven|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R nothing sent                       |not_sent unreadable|not_sent not_found|send|not_sent expired|send|?unknown unproven|not_sent taken|not_sent taken|not_sent taken|not_sent taken|not_sent failed|?unknown unproven|not_sent taken|not_sent taken|not_sent failed|not_sent ended
R nothing sent, without a name       |not_sent unreadable|not_sent not_found|send|not_sent expired|send|not_sent taken|not_sent taken|not_sent taken|not_sent taken|not_sent taken|not_sent failed|not_sent taken|not_sent taken|not_sent taken|not_sent failed|not_sent ended
R made                               |?unknown unreadable|?unknown contradicted|?unknown contradicted|?unknown contradicted|?unknown contradicted|existing|existing|existing|existing|existing|not_sent failed|not_sent failed|not_sent failed|not_sent failed|?unknown unreadable|existing
R unanswered before                  |?unknown unreadable|?unknown lately|?send|?unknown lately|?send|existing|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R unanswered before, without a name  |?unknown unreadable|?unknown lately|?send|?unknown lately|?send|existing|existing|existing|existing|?unknown unproven|rejected failed|rejected failed|rejected failed|rejected failed|?unknown unreadable|rejected ended
R unanswered before, expired long ago|?unknown unreadable|rejected not_found|?send|rejected expired|?send|existing|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R unanswered before, then 409        |?unknown unreadable|?unknown lately|?unknown silent|?unknown lately|?unknown silent|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R 429 before                         |?unknown unreadable|?unknown lately|?rejected refused|?unknown lately|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R 409 before                         |?unknown unreadable|?rejected refused|?rejected refused|?rejected refused|?unknown unproven|?unknown unproven|?unknown unproven|rejected taken|?unknown unproven|?rejected taken|rejected failed|?unknown unproven|?unknown unproven|?rejected taken|?unknown unreadable|rejected ended
R unanswered before, may not send    |?unknown unreadable|?unknown lately|?unknown silent|?unknown lately|?unknown silent|existing|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R unanswered                         |?unknown unreadable|?unknown lately|?send|?unknown lately|?send|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R unanswered, made by another run    |?unknown unreadable|?unknown contradicted|?unknown contradicted|?unknown contradicted|?unknown contradicted|created|created|created|created|created|rejected failed|rejected failed|rejected failed|rejected failed|?unknown unreadable|created
R 422                                |?rejected refused|rejected refused|rejected refused|rejected refused|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R 404                                |?unknown unreadable|rejected refused|rejected refused|rejected refused|?unknown unproven|?unknown unproven|?unknown unproven|rejected taken|?unknown unproven|?rejected taken|rejected failed|?unknown unproven|?unknown unproven|?rejected taken|?unknown unreadable|rejected ended
R 409                                |?unknown unreadable|?rejected refused|?rejected refused|?rejected refused|?unknown unproven|?unknown unproven|?unknown unproven|rejected taken|?unknown unproven|?rejected taken|rejected failed|?unknown unproven|?unknown unproven|?rejected taken|?unknown unreadable|rejected ended
R 409, made by another run           |?unknown unreadable|?unknown contradicted|?unknown contradicted|?unknown contradicted|?unknown contradicted|existing|existing|existing|existing|existing|rejected failed|rejected failed|rejected failed|rejected failed|?unknown unreadable|existing
R 429                                |?unknown unreadable|?unknown lately|send|?unknown lately|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R 200 with a refusal                 |?unknown unreadable|rejected refused|rejected refused|rejected refused|?unknown unproven|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
"""  # noqa: E501

ROWS = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]
CELLS = [(story, look, cell) for story, *cells in ROWS for look, cell in zip(COLUMNS, cells, strict=True)]


def parsed_step(text: str) -> NextStep:
    decision, _blank, reason = text.partition(" ")
    return NextStep(Decision(decision), Reason(reason) if reason else None)


def test_table_has_a_row_for_each_story() -> None:
    assert [story for story, *_cells in ROWS] == list(STORIES)


@pytest.mark.parametrize(("story", "look", "cell"), CELLS, ids=str)
def test_next_step_by_story_and_look(story: str, look: str, cell: str) -> None:
    history, seen, end = History(**STORIES[story]), COLUMNS[look], parsed_step(cell.lstrip("?"))
    assert next_step(history, seen, may_wait=False) == end
    assert next_step(history, seen, may_wait=True) == (NextStep(Decision.LOOK) if cell.startswith("?") else end)


# All combinations

BOOLEANS = (False, True)
REFUSALS = (None, ANSWERED_NO, 403, 404, 409, 410, 422, 429)
HISTORIES = [
    History(by_name, named, made, unanswered, sends, refused, busy, may_send, gone_long)
    for by_name, named, made, unanswered, sends, refused, busy, may_send, gone_long in itertools.product(
        *(*[BOOLEANS] * 4, (0, 1, 2), REFUSALS, *[BOOLEANS] * 3)
    )
    if (sends or not (busy or (by_name and (unanswered or refused is not None))))
    and (sends == 0 or made or unanswered or refused is not None)
    and not (busy and not (may_send and (unanswered or refused == 429)))
    and not (sends == 0 and refused is not None and (unanswered or made))
]
# Histories of runs that have sent a purchase, each also as overtaken. They are built once, since that is slow.
OVERTAKEN = [(history, replace(history, overtaken=True)) for history in HISTORIES if history.sends]
PHASES = (
    None,
    NOT_FOUND,
    _states.UNBOUGHT,
    _states.GOING_ON,
    _states.READY,
    _states.FAILED,
    _states.EXPIRED,
    _states.ENDED,
)
BOUGHT = (_states.GOING_ON, _states.READY, _states.ENDED)
BILLED_AND_LISTED = ((False, False), (False, True), (True, True), (None, False))
LOOKS = [
    OfferLook(phase, owner, billed, listed)
    for phase in PHASES
    for owner in (OURS, THEIRS, UNSEEN)
    for billed, listed in BILLED_AND_LISTED
]
LOOKS += [OfferLook(phase, owner, True, True, of_others=True) for phase in PHASES for owner in (THEIRS, UNSEEN)]


@pytest.mark.parametrize("seen", LOOKS, ids=str)
def test_next_step_obeys_the_rules_for_every_history(seen: OfferLook) -> None:
    for history in HISTORIES:
        step = next_step(history, seen, may_wait=False)
        context = (history, seen, step)
        assert step.decision is not Decision.LOOK, context
        assert next_step(history, seen, may_wait=True) in (NextStep(Decision.LOOK), step), (
            "with time for another look, only that may change",
            context,
        )
        gone = seen.phase in (_states.EXPIRED, NOT_FOUND)
        is_open = history.unanswered or (history.refused == 429 and gone)
        is_identity = history.by_name and (history.named or history.refused is None)
        is_proved = history.made or history.unanswered or is_identity or history.refused == ANSWERED_NO
        is_named_ours = seen.owner == OURS if history.named else seen.billed or not history.was_sent
        if step.decision is Decision.SEND:
            assert seen.phase == _states.UNBOUGHT and not history.made and history.may_send, context
        is_listed = list_must_confirm(history, seen.phase) and seen.listed and bool(seen.billed)
        is_sold = seen.phase in BOUGHT or is_listed
        if step.decision in (Decision.CREATED, Decision.EXISTING):
            assert is_sold and is_proved and (history.made or is_named_ours), context
        if step.decision in (Decision.REJECTED, Decision.NOT_SENT):  # the host may buy another offer
            assert not history.made or seen.phase == _states.FAILED, context
            if is_open:
                may_free = seen.phase == _states.FAILED or (gone and history.gone_long) or seen.gone
                assert step.decision is Decision.REJECTED and may_free, context
            if seen.phase in BOUGHT:
                is_theirs = step.reason is Reason.TAKEN and not history.may_be_ours
                assert is_theirs or (step.reason is Reason.ENDED and seen.gone), context
            if step.reason is Reason.FAILED and seen.billed:
                assert history.made or is_named_ours, context
        if step.decision is Decision.NOT_SENT:
            assert not history.was_sent, context
        if step.reason is Reason.TAKEN:
            assert seen.owner != OURS or not history.named, context
            assert seen.owner == THEIRS or seen.billed is not None, context
            assert not history.may_be_ours and not history.made, context
            assert not (history.refused and seen.listed) or seen.of_others, (
                "only the refusal says that it was taken",
                context,
            )
        if step.decision is Decision.UNKNOWN:
            assert history.was_sent or history.made or seen.phase in (*BOUGHT, _states.FAILED), context
        if step.reason is Reason.REFUSED:
            assert not is_listed, ("the account has a machine of the offer", context)
        assert (step.reason is None) is (step.decision in (Decision.SEND, Decision.CREATED, Decision.EXISTING)), context


@pytest.mark.parametrize("seen", LOOKS, ids=str)
def test_overtaken_run_neither_sends_again_nor_frees_the_host(seen: OfferLook) -> None:
    """Still, it may look again, and report a machine that is certainly the host's."""
    for history, overtaken in OVERTAKEN:
        for may_wait in BOOLEANS:
            of_holder, of_overtaken = next_step(history, seen, may_wait), next_step(overtaken, seen, may_wait)
            is_kept = of_holder.decision in (Decision.LOOK, Decision.CREATED, Decision.EXISTING)
            assert of_overtaken == (of_holder if is_kept else NextStep(Decision.UNKNOWN, Reason.OVERTAKEN)), (
                f"{history} {seen} {of_holder}"
            )


@pytest.mark.parametrize(
    ("names", "requested", "owner"),
    [
        (["gpu-1"], ["gpu-1"], OURS),
        (["gpu-1-1", "gpu-1-2"], ["gpu-1"], OURS),
        (["gpu-1-1"], ["gpu-1"], THEIRS),
        (["gpu-1", "gpu-1-1"], ["gpu-1"], OURS),
        (["gpu-1-1", "gpu-1-2"], ["gpu.1"], THEIRS),
        (["other", "gpu-1"], ["gpu-1"], OURS),
        (["c1"], ["gpu-1", "c1"], OURS),
        (["gpu-10"], ["gpu-1"], THEIRS),
        (["gpu-1-data"], ["gpu-1"], THEIRS),
        (["GPU-1"], ["gpu-1"], THEIRS),
        (["x", None], ["gpu-1"], THEIRS),
        ([None], ["gpu-1"], UNSEEN),
        ([], ["gpu-1"], UNSEEN),
        (["x"], [], UNSEEN),
    ],
)
def test_owner_by_name(names: list[str | None], requested: list[str], owner: str) -> None:
    assert owner_by_name([{"name": name} for name in names], requested) == owner


class Answer(Exception):
    """An error as the client raises it."""

    error_class, status_code, retry_after = "conflict", 409, None


@pytest.mark.parametrize("seen", LOOKS, ids=str)
def test_message_of_each_end_names_possible_bill(seen: OfferLook) -> None:
    listing = Answer("It cannot be listed.") if seen.billed is None else None
    for history in HISTORIES:
        step = next_step(history, seen, False)
        if step.reason is None or history.sends > 1 or history.busy:
            continue
        asked = Answer("It got no answer.") if seen.phase in (None, NOT_FOUND) else "the API calls it 'expired'"
        error = Answer("It was refused.") if history.refused is not None and history.sends else None
        ids = ["r-1"] if seen.billed else []
        machine = {"resource_id": "r-1", "name": None, "price_per_hour": 2.0, "status": "deleted"}
        facts = {"ids": ids, "asked": asked, "error": error, "listing": listing}
        facts["machines"] = [machine] if seen.gone else []
        ending = ending_of(step, Story("o-1", history, "the file", 2.0, **facts))
        context = (history, seen, step, ending.msg)
        assert "None" not in ending.msg and "  " not in ending.msg and ending.msg.endswith((".", "?")), context
        if step.decision is Decision.UNKNOWN:
            assert ending.error_class == "unknown_outcome", context
            assert "MAY BE BOUGHT" in ending.msg, context
        elif step.reason is Reason.FAILED and ids:
            assert ending.ids == ids and "r-1" in ending.msg, context
        else:
            possible_parts = (
                "Nothing was bought.",
                "No resource of it",
                "have ended: r-1 (without a name, deleted, USD 2.00",
            )
            assert not ending.ids and any(part in ending.msg for part in possible_parts), context


@pytest.mark.parametrize("ids", [[], ["r-1"]])
def test_message_of_overtaken_run_does_not_suggest_adopting_an_ended_machine(ids: list[str]) -> None:
    machine = {"resource_id": "r-1", "name": "gpu-1", "price_per_hour": 2.0, "status": "deleted"}
    history = History(by_name=False, sends=1, refused=409, overtaken=True)
    facts = {"ids": ids, "machines": [machine], "error": Answer("It was refused."), "taken_over": "It is taken over."}
    story = Story("o-1", history, "the file", 2.0, **facts)
    message = ending_of(NextStep(Decision.UNKNOWN, Reason.OVERTAKEN), story).msg
    assert "adopt" not in message and ("MAY BE BOUGHT and billed at USD 2.00 per hour" in message) is bool(ids)
    assert ids or "No machine of it is known." in message


@pytest.mark.parametrize(
    ("history", "status"),
    [
        (History(), None),
        (History(sends=1, refused=409), 409),
        (History(sends=1, refused=ANSWERED_NO), ANSWERED_NO),
        (History(sends=2, refused=429), 429),
        (History(refused=409), 409),
        # An earlier purchase may be under way, or another run holds the purchase.
        (History(sends=2, unanswered=True, refused=409), None),
        (History(sends=1, refused=409, overtaken=True), None),
    ],
)
def test_noted_refusal(history: History, status: int | None) -> None:
    assert history.noted_refusal == status


@pytest.mark.parametrize(
    ("purchase", "refused", "expected"),
    [
        ("sent", None, History(unanswered=True)),
        ("sent", 409, History(refused=409)),
        ("made", 429, History(made=True)),
        ("refused", 429, History()),
    ],
)
def test_history_noted_by_an_earlier_run(purchase: str, refused: int | None, expected: History) -> None:
    assert History().noted(entry("o-1", purchase=purchase, provision_refused_status=refused)) == expected


_REFUSED = History(by_name=False, sends=1, refused=409)
_SHOWN = OfferLook(_states.READY, THEIRS, True, listed=True)


def _claim(offer_id: str, *ids: str, name: str = "b", **fields: bool) -> OwnershipClaim:
    return OwnershipClaim("b", name, offer_id, frozenset(ids), **fields)


@pytest.mark.parametrize(
    ("claims", "names", "is_proved"),
    [
        pytest.param([], ["vm-1"], False, id="no claims"),
        pytest.param([_claim("o-2", "r-1", bought=True)], ["vm-1"], True, id="it holds the machine"),
        pytest.param([_claim("o-1", bought=True)], ["vm-1"], True, id="its purchase succeeded"),
        pytest.param([_claim("o-1", unanswered=True)], ["vm-1"], False, id="its purchase got no answer"),
        pytest.param([_claim("o-1")], ["vm-1"], False, id="its purchase was refused"),
        pytest.param([_claim("o-2", "r-2", bought=True)], ["vm-1"], True, id="the vendor keeps names"),
        pytest.param([_claim("o-2", "r-2", bought=True)], [None], False, id="the machine has no name"),
        pytest.param([_claim("o-2", "r-2", bought=True)], ["vm-1", None], False, id="one machine has no name"),
        pytest.param(
            [_claim("o-2", "r-2", name="c", bought=True)], ["vm-1"], False, id="the vendor did not keep a name"
        ),
        pytest.param([_claim("o-2", "r-3", bought=True)], ["vm-1"], False, id="another vendor keeps names"),
        pytest.param([_claim("o-2", "r-9", bought=True)], ["vm-1"], False, id="its machine is not listed"),
    ],
)
def test_with_other_owners_needs_proof(claims: list[OwnershipClaim], names: list[str | None], is_proved: bool) -> None:
    others = [{"resource_id": "r-2", "name": "b", "vendor": "v"}, {"resource_id": "r-3", "name": "b", "vendor": "w"}]
    own = [{"resource_id": f"r-1{n or ''}", "name": name, "vendor": "v"} for n, name in enumerate(names)]
    ids = [each["resource_id"] for each in own]
    seen = with_other_owners(_REFUSED, _SHOWN, ("o-1", ids), lambda: claims, lambda: [*others, *own])
    assert seen == replace(_SHOWN, of_others=is_proved)
    # The account's list lags and lacks the machine.
    by_names = any(claim.resource_ids == {"r-2"} for claim in claims)
    assert with_other_owners(_REFUSED, _SHOWN, ("o-1", ids), lambda: claims, lambda: others).of_others is (
        is_proved and not by_names
    )


@pytest.mark.parametrize(("held_id", "is_proved"), [("r-1", True), ("r-2", False)])
def test_kept_names_prove_nothing_against_a_machine_of_our_name(held_id: str, is_proved: bool) -> None:
    claims = [_claim("o-2", held_id, bought=True)]
    account = [{"resource_id": f"r-{number}", "name": name, "vendor": "v"} for number, name in ((1, "a"), (2, "b"))]
    like_ours = replace(_SHOWN, owner=LIKE_OURS)
    seen = with_other_owners(_REFUSED, like_ours, ("o-1", ["r-1"]), lambda: claims, lambda: account)
    assert seen.of_others is is_proved
    expected = NextStep(Decision.REJECTED, Reason.TAKEN) if is_proved else NextStep(Decision.UNKNOWN, Reason.UNPROVEN)
    assert next_step(_REFUSED, seen, may_wait=False) == expected


@pytest.mark.parametrize(
    ("history", "seen"),
    [
        (History(), _SHOWN),
        (History(sends=1, unanswered=True), _SHOWN),
        (replace(_REFUSED, refused=429), _SHOWN),
        (_REFUSED, replace(_SHOWN, owner=OURS)),  # a person decides about a machine of our name
    ],
    ids=str,
)
def test_with_other_owners_reads_nothing_if_no_refusal_is_doubted(history: History, seen: OfferLook) -> None:
    def fail() -> Any:
        raise AssertionError

    assert with_other_owners(history, seen, ("o-1", ["r-1"]), fail, fail) == seen


# Machines that one look shows, and a later one does not


@pytest.mark.parametrize("may_wait", [True, False])
@pytest.mark.parametrize("phase", [_states.UNBOUGHT, _states.EXPIRED, NOT_FOUND, _states.READY, _states.FAILED])
@pytest.mark.parametrize(
    ("seen", "is_doubted"),
    [
        (OfferLook(_states.READY, OURS, True, listed=True), True),
        (OfferLook(_states.UNBOUGHT, THEIRS, True, listed=True), True),
        (OfferLook(_states.READY, THEIRS, True, listed=True, of_others=True), False),
        (OfferLook(_states.READY, OURS, False, listed=True), False),
        (OfferLook(_states.READY), False),
    ],
)
def test_refused_purchase_stays_doubted_after_a_look_with_machines(
    seen: OfferLook, is_doubted: bool, phase: str, may_wait: bool
) -> None:
    history = after_look(replace(_REFUSED, refused=410), seen)
    assert history.doubted is is_doubted
    step = next_step(history, OfferLook(phase), may_wait)
    doubt = NextStep(Decision.LOOK) if may_wait else NextStep(Decision.UNKNOWN, Reason.UNPROVEN)
    assert (step == doubt) is (is_doubted or (may_wait and phase == _states.READY)), step
    assert next_step(history, replace(seen, of_others=True), False).decision is Decision.REJECTED or seen.owner == OURS


@pytest.mark.parametrize(
    ("named", "made", "ids", "needs_list"),
    [
        (True, False, ["r-1"], True),  # the names decide
        (True, True, ["r-1"], False),
        (False, False, ["r-1"], True),  # without a name it matters whether this account has the machine
        (False, True, ["r-1"], False),
        (False, False, [], True),
        (True, True, [], True),
    ],
)
def test_needs_machine_list(named: bool, made: bool, ids: list[str], needs_list: bool) -> None:
    assert needs_machine_list(History(named=named, made=made), ids) is needs_list
    assert named or not needs_machine_list(History(named=named, made=made, sends=1), ["r-1"])
    refused = History(by_name=False, named=False, made=made, sends=1, refused=409)
    assert made or needs_machine_list(refused, ids)
    assert needs_machine_list(History(by_name=False, named=False), ids) is (not ids), "the registry decides"


@pytest.mark.parametrize(
    ("phase", "procurement_status", "status", "clause"),
    [
        (_states.UNBOUGHT, "unclaimed", "available", "the API still calls it unbought"),
        (_states.EXPIRED, "expired", "available", "the API calls it 'expired'"),
        (_states.EXPIRED, "", "expired", "the API calls it 'expired'"),
    ],
)
def test_phase_in_words(phase: str, procurement_status: str, status: str, clause: str) -> None:
    assert phase_in_words({"phase": phase, "procurement_status": procurement_status, "status": status}) == clause
