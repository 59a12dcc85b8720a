# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bought once: the next step for every history of a purchase and every look at its offer.

The table says it for each story; the rules below it hold for the whole product, whatever the table says.
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
    with_other_owners,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import Story, ending_of

from provision_samples import entry

# What a look shows, in the order of the table's columns
COLUMNS = {
    "unreadable": OfferLook(None),
    "404": OfferLook(NOT_FOUND),
    "unbought": OfferLook(_states.UNBOUGHT),
    "expired": OfferLook(_states.EXPIRED),
    "unbought, and listed": OfferLook(_states.UNBOUGHT, THEIRS, True, listed=True),
    "bought, our name": OfferLook(_states.GOING_ON, OURS, True),
    "bought, another name": OfferLook(_states.READY, THEIRS, True, listed=True),
    "bought, another host's": OfferLook(_states.READY, THEIRS, True, listed=True, of_others=True),
    "bought, shown without a name": OfferLook(_states.READY, UNSEEN, True, listed=True),
    "bought, no name": OfferLook(_states.GOING_ON, UNSEEN),
    "failed, nothing left": OfferLook(_states.FAILED),
    "failed, our name": OfferLook(_states.FAILED, OURS, True),
    "failed, another name": OfferLook(_states.FAILED, THEIRS, True, listed=True),
    "failed, no name": OfferLook(_states.FAILED, UNSEEN, True),
    "failed, cannot be listed": OfferLook(_states.FAILED, UNSEEN, None),
    "bought, and deleted": OfferLook(_states.GOING_ON, THEIRS, False, listed=True),
}

STORIES: dict[str, dict[str, Any]] = {
    # Without a registry
    "nothing sent": {},
    "nothing sent, no name asked for": {"named": False},
    "lost": {"sends": 1, "unanswered": True},
    "lost, no name asked for": {"sends": 1, "unanswered": True, "named": False},
    "lost twice": {"sends": 2, "unanswered": True, "may_send": False},
    "lost, then 409": {"sends": 2, "unanswered": True, "refused": 409, "may_send": False},
    "422": {"sends": 1, "refused": 422},
    "404": {"sends": 1, "refused": 404},
    "409": {"sends": 1, "refused": 409},
    "409, no name asked for": {"sends": 1, "refused": 409, "named": False},
    "429": {"sends": 1, "refused": 429, "busy": True},
    "429, too often": {"sends": 6, "refused": 429, "may_send": False},
    "503": {"sends": 1, "unanswered": True, "busy": True},
    "503, too often": {"sends": 6, "unanswered": True, "may_send": False},
    "200 that says no": {"sends": 1, "refused": ANSWERED_NO},
    # With one
    "R nothing sent": {"by_name": False},
    "R nothing sent, no name asked for": {"by_name": False, "named": False},
    "R made": {"by_name": False, "made": True},
    "R sent before": {"by_name": False, "unanswered": True},
    "R sent before, no name asked for": {"by_name": False, "unanswered": True, "named": False},
    "R sent before, expired long ago": {"by_name": False, "unanswered": True, "gone_long": True},
    "R sent before, then 409": {"by_name": False, "unanswered": True, "sends": 1, "refused": 409},
    "R 429 before": {"by_name": False, "refused": 429},
    "R 409 before": {"by_name": False, "refused": 409},
    "R sent before, may not send": {"by_name": False, "unanswered": True, "may_send": False},
    "R lost": {"by_name": False, "sends": 1, "unanswered": True},
    "R lost, made by another run": {"by_name": False, "sends": 1, "unanswered": True, "made": True},
    "R 422": {"by_name": False, "sends": 1, "refused": 422},
    "R 404": {"by_name": False, "sends": 1, "refused": 404},
    "R 409": {"by_name": False, "sends": 1, "refused": 409},
    "R 429": {"by_name": False, "sends": 1, "refused": 429, "busy": True},
    "R 200 that says no": {"by_name": False, "sends": 1, "refused": ANSWERED_NO},
}

# A cell is the next step; with a "?" it is taken only once there is no time for another look.
# unreadable|404|unbought|expired|bought: ours, theirs, no name|failed: nothing left, ours, theirs, no name, not listed|
# bought, and deleted
TABLE = """
nothing sent                     |not_sent unreadable|not_sent not_found|send|not_sent expired|send|existing|not_sent taken|not_sent taken|?not_sent taken|?not_sent taken|not_sent failed|not_sent failed|not_sent taken|?not_sent taken|not_sent failed|not_sent ended
nothing sent, no name asked for  |not_sent unreadable|not_sent not_found|send|not_sent expired|send|existing|existing|existing|existing|existing|not_sent failed|not_sent failed|not_sent failed|not_sent failed|not_sent failed|existing
lost                             |?unknown unreadable|?unknown lately|?send|?unknown lately|?send|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
lost, no name asked for          |?unknown unreadable|?unknown lately|?send|?unknown lately|?send|created|created|created|created|?unknown unproven|rejected failed|rejected failed|rejected failed|rejected failed|?unknown unreadable|rejected ended
lost twice                       |?unknown unreadable|?unknown lately|?unknown silent|?unknown lately|?unknown silent|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
lost, then 409                   |?unknown unreadable|?unknown lately|?unknown silent|?unknown lately|?unknown silent|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
422                              |?rejected refused|rejected refused|rejected refused|rejected refused|?unknown unproven|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
404                              |?unknown unreadable|rejected refused|rejected refused|rejected refused|?unknown unproven|existing|?unknown unproven|rejected taken|?unknown unproven|?rejected taken|rejected failed|rejected failed|?unknown unproven|?rejected taken|?unknown unreadable|rejected ended
409                              |?unknown unreadable|?rejected refused|?rejected refused|?rejected refused|?unknown unproven|existing|?unknown unproven|rejected taken|?unknown unproven|?rejected taken|rejected failed|rejected failed|?unknown unproven|?rejected taken|?unknown unreadable|rejected ended
409, no name asked for           |?unknown unreadable|?rejected refused|?rejected refused|?rejected refused|?unknown unproven|?unknown unproven|?unknown unproven|?rejected taken|?unknown unproven|?unknown unproven|rejected failed|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
429                              |?unknown unreadable|?unknown lately|send|?unknown lately|?unknown unproven|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
429, too often                   |?unknown unreadable|?unknown lately|?rejected refused|?unknown lately|?unknown unproven|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
503                              |?unknown unreadable|?unknown lately|send|?unknown lately|send|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
503, too often                   |?unknown unreadable|?unknown lately|?unknown silent|?unknown lately|?unknown silent|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
200 that says no                 |?unknown unreadable|rejected refused|rejected refused|rejected refused|?unknown unproven|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R nothing sent                   |not_sent unreadable|not_sent not_found|send|not_sent expired|send|?unknown unproven|not_sent taken|not_sent taken|not_sent taken|not_sent taken|not_sent failed|?unknown unproven|not_sent taken|not_sent taken|not_sent failed|not_sent ended
R nothing sent, no name asked for|not_sent unreadable|not_sent not_found|send|not_sent expired|send|not_sent taken|not_sent taken|not_sent taken|not_sent taken|not_sent taken|not_sent failed|not_sent taken|not_sent taken|not_sent taken|not_sent failed|not_sent ended
R made                           |?unknown unreadable|?unknown contradicted|?unknown contradicted|?unknown contradicted|?unknown contradicted|existing|existing|existing|existing|existing|not_sent failed|not_sent failed|not_sent failed|not_sent failed|?unknown unreadable|existing
R sent before                    |?unknown unreadable|?unknown lately|?send|?unknown lately|?send|existing|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R sent before, no name asked for |?unknown unreadable|?unknown lately|?send|?unknown lately|?send|existing|existing|existing|existing|?unknown unproven|rejected failed|rejected failed|rejected failed|rejected failed|?unknown unreadable|rejected ended
R sent before, expired long ago  |?unknown unreadable|rejected not_found|?send|rejected expired|?send|existing|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R sent before, then 409          |?unknown unreadable|?unknown lately|?unknown silent|?unknown lately|?unknown silent|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R 429 before                     |?unknown unreadable|?unknown lately|?rejected refused|?unknown lately|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R 409 before                     |?unknown unreadable|?rejected refused|?rejected refused|?rejected refused|?unknown unproven|?unknown unproven|?unknown unproven|rejected taken|?unknown unproven|?rejected taken|rejected failed|?unknown unproven|?unknown unproven|?rejected taken|?unknown unreadable|rejected ended
R sent before, may not send      |?unknown unreadable|?unknown lately|?unknown silent|?unknown lately|?unknown silent|existing|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R lost                           |?unknown unreadable|?unknown lately|?send|?unknown lately|?send|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R lost, made by another run      |?unknown unreadable|?unknown contradicted|?unknown contradicted|?unknown contradicted|?unknown contradicted|created|created|created|created|created|rejected failed|rejected failed|rejected failed|rejected failed|?unknown unreadable|created
R 422                            |?rejected refused|rejected refused|rejected refused|rejected refused|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R 404                            |?unknown unreadable|rejected refused|rejected refused|rejected refused|?unknown unproven|?unknown unproven|?unknown unproven|rejected taken|?unknown unproven|?rejected taken|rejected failed|?unknown unproven|?unknown unproven|?rejected taken|?unknown unreadable|rejected ended
R 409                            |?unknown unreadable|?rejected refused|?rejected refused|?rejected refused|?unknown unproven|?unknown unproven|?unknown unproven|rejected taken|?unknown unproven|?rejected taken|rejected failed|?unknown unproven|?unknown unproven|?rejected taken|?unknown unreadable|rejected ended
R 429                            |?unknown unreadable|?unknown lately|send|?unknown lately|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
R 200 that says no               |?unknown unreadable|rejected refused|rejected refused|rejected refused|?unknown unproven|created|?unknown unproven|?unknown unproven|?unknown unproven|?unknown unproven|rejected failed|rejected failed|?unknown unproven|?unknown unproven|?unknown unreadable|rejected ended
"""  # noqa: E501

ROWS = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]
CELLS = [(story, shown, cell) for story, *cells in ROWS for shown, cell in zip(COLUMNS, cells, strict=True)]


def step(text: str) -> NextStep:
    decision, _blank, reason = text.partition(" ")
    return NextStep(Decision(decision), Reason(reason) if reason else None)


def test_each_story_is_in_the_table() -> None:
    assert [story for story, *_cells in ROWS] == list(STORIES)


@pytest.mark.parametrize(("story", "shown", "cell"), CELLS, ids=str)
def test_what_follows(story: str, shown: str, cell: str) -> None:
    history, seen, end = History(**STORIES[story]), COLUMNS[shown], step(cell.lstrip("?"))
    assert next_step(history, seen, False) == end
    assert next_step(history, seen, True) == (NextStep(Decision.LOOK) if cell.startswith("?") else end)


# All combinations

BOOLEANS = (False, True)
REFUSALS = (None, ANSWERED_NO, 403, 404, 409, 410, 422, 429)
PASTS = [
    History(by_name, named, made, unanswered, sends, refused, busy, again, long)
    for by_name, named, made, unanswered, sends, refused, busy, again, long in itertools.product(
        *(*[BOOLEANS] * 4, (0, 1, 2), REFUSALS, *[BOOLEANS] * 3)
    )
    if (sends or not (busy or (by_name and (unanswered or refused is not None))))
    and (sends == 0 or made or unanswered or refused is not None)
    and not (busy and not (again and (unanswered or refused == 429)))
    and not (sends == 0 and refused is not None and (unanswered or made))
]
# Histories of runs that have sent a purchase, each also as overtaken; built once, since each is tried with each look
OVERTAKEN = [(history, replace(history, overtaken=True)) for history in PASTS if history.sends]
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
SHOWN = (
    (False, False),
    (False, True),
    (True, True),
    (None, False),
)  # billed, listed
LOOKS = [OfferLook(phase, whose, *shown) for phase in PHASES for whose in (OURS, THEIRS, UNSEEN) for shown in SHOWN]
LOOKS += [OfferLook(phase, whose, True, True, of_others=True) for phase in PHASES for whose in (THEIRS, UNSEEN)]


@pytest.mark.parametrize("seen", LOOKS, ids=str)
def test_the_rules_hold_for_everything_that_can_have_happened(seen: OfferLook) -> None:
    for history in PASTS:
        found = next_step(history, seen, False)
        told = (history, seen, found)
        assert found.decision is not Decision.LOOK, told
        assert next_step(history, seen, True) in (NextStep(Decision.LOOK), found), ("time changes the end", told)
        gone = seen.phase in (_states.EXPIRED, NOT_FOUND)
        is_open = history.unanswered or (history.refused == 429 and gone)
        is_identity = history.by_name and (history.named or history.refused is None)
        proved = history.made or history.unanswered or is_identity or history.refused == ANSWERED_NO
        called = seen.owner == OURS if history.named else seen.billed or not history.was_sent
        if found.decision is Decision.SEND:
            assert seen.phase == _states.UNBOUGHT and not history.made and history.may_send, told
        is_listed = list_must_confirm(history, seen.phase) and seen.listed and bool(seen.billed)
        is_sold = seen.phase in BOUGHT or is_listed
        if found.decision in (Decision.CREATED, Decision.EXISTING):
            assert is_sold and proved and (history.made or called), told
        if found.decision in (Decision.REJECTED, Decision.NOT_SENT):  # the host is free for another offer
            assert not history.made or seen.phase == _states.FAILED, told
            if is_open:
                freed = seen.phase == _states.FAILED or (gone and history.gone_long) or seen.gone
                assert found.decision is Decision.REJECTED and freed, told
            if seen.phase in BOUGHT:
                is_theirs = found.reason is Reason.TAKEN and not history.may_be_ours
                assert is_theirs or (found.reason is Reason.ENDED and seen.gone), told
            if found.reason is Reason.FAILED and seen.billed:
                assert history.made or called, told
        if found.decision is Decision.NOT_SENT:
            assert not history.was_sent, told
        if found.reason is Reason.TAKEN:
            assert seen.owner != OURS or not history.named, told
            assert seen.owner == THEIRS or seen.billed is not None, told
            assert not history.may_be_ours and not history.made, told
            assert not (history.refused and seen.listed) or seen.of_others, ("only the API's refusal says so", told)
        if found.decision is Decision.UNKNOWN:
            assert history.was_sent or history.made or seen.phase in (*BOUGHT, _states.FAILED), told
        if found.reason is Reason.REFUSED:
            assert not is_listed, ("the account has a machine of it", told)
        assert (found.reason is None) is (found.decision in (Decision.SEND, Decision.CREATED, Decision.EXISTING)), told


@pytest.mark.parametrize("seen", LOOKS, ids=str)
def test_a_run_that_no_longer_holds_its_purchase_neither_sends_again_nor_frees_the_host(seen: OfferLook) -> None:
    """This holds for any answer. The run may still report a machine that is certainly the host's."""
    for history, overtaken in OVERTAKEN:
        for patience in BOOLEANS:
            alone, found = next_step(history, seen, patience), next_step(overtaken, seen, patience)
            is_fact = alone.decision in (Decision.LOOK, Decision.CREATED, Decision.EXISTING)
            assert found == (alone if is_fact else NextStep(Decision.UNKNOWN, Reason.OVERTAKEN)), (
                f"{history} {seen} {alone}"
            )


@pytest.mark.parametrize(
    ("names", "asked", "verdict"),
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
def test_the_owner_of_machines_by_their_names(names: list[str | None], asked: list[str], verdict: str) -> None:
    assert owner_by_name([{"name": name} for name in names], asked) == verdict


class Answer(Exception):
    """An error as the client raises it."""

    error_class, status_code, retry_after = "conflict", 409, None


@pytest.mark.parametrize("seen", LOOKS, ids=str)
def test_each_end_has_a_message_that_says_whether_something_may_be_billed(seen: OfferLook) -> None:
    listing = Answer("It cannot be listed.") if seen.billed is None else None
    for history in PASTS:
        step = next_step(history, seen, False)
        if step.reason is None or history.sends > 1 or history.busy:
            continue
        asked = Answer("It got no answer.") if seen.phase in (None, NOT_FOUND) else "the API calls it 'expired'"
        error = Answer("It was refused.") if history.refused is not None and history.sends else None
        left = ["r-1"] if seen.billed else []
        machine = {"resource_id": "r-1", "name": None, "price_per_hour": 2.0, "status": "deleted"}
        facts = {"ids": left, "asked": asked, "error": error, "listing": listing}
        facts["machines"] = [machine] if seen.gone else []
        told = ending_of(step, Story("o-1", history, "the file", 2.0, **facts))
        line = (history, seen, step, told.msg)
        assert "None" not in told.msg and "  " not in told.msg and told.msg.endswith((".", "?")), line
        if step.decision is Decision.UNKNOWN:
            assert told.error_class == "unknown_outcome", line
            assert "MAY BE BOUGHT" in told.msg, line
        elif step.reason is Reason.FAILED and left:
            assert told.ids == left and "r-1" in told.msg, line
        else:
            said = ("Nothing was bought.", "No resource of it", "have ended: r-1 (without a name, deleted, USD 2.00")
            assert not told.ids and any(each in told.msg for each in said), line


@pytest.mark.parametrize("ids", [[], ["r-1"]])
def test_a_message_never_offers_to_take_a_machine_that_has_ended(ids: list[str]) -> None:
    machine = {"resource_id": "r-1", "name": "gpu-1", "price_per_hour": 2.0, "status": "deleted"}
    history = History(by_name=False, sends=1, refused=409, overtaken=True)
    facts = {"ids": ids, "machines": [machine], "error": Answer("It was refused."), "taken_over": "It is taken over."}
    told = ending_of(NextStep(Decision.UNKNOWN, Reason.OVERTAKEN), Story("o-1", history, "the file", 2.0, **facts)).msg
    assert "adopt" not in told and ("MAY BE BOUGHT and billed at USD 2.00 per hour" in told) is bool(ids)
    assert ids or "No machine of it is known." in told


@pytest.mark.parametrize(
    ("history", "status"),
    [
        (History(), None),
        (History(sends=1, refused=409), 409),
        (History(sends=1, refused=ANSWERED_NO), ANSWERED_NO),
        (History(sends=2, refused=429), 429),
        (History(refused=409), 409),
        # Nothing is certain yet.
        (History(sends=2, unanswered=True, refused=409), None),
        (History(sends=1, refused=409, overtaken=True), None),
    ],
)
def test_which_refusal_the_registry_keeps(history: History, status: int | None) -> None:
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
def test_the_history_of_an_earlier_run_in_the_registry(purchase: str, refused: int | None, expected: History) -> None:
    assert History().noted(entry("o-1", purchase=purchase, provision_refused_status=refused)) == expected
    assert History(made=True).noted(entry()) == History(made=True)


_REFUSED = History(by_name=False, sends=1, refused=409)
_SHOWN = OfferLook(_states.READY, THEIRS, True, listed=True)


@pytest.mark.parametrize(
    ("claims", "names", "proved"),
    [
        ([], ["vm-1"], False),
        ([OwnershipClaim("b", "b", "o-2", frozenset({"r-1"}), bought=True)], ["vm-1"], True),  # it holds the machine
        ([OwnershipClaim("b", "b", "o-1", bought=True)], ["vm-1"], True),  # its purchase succeeded
        ([OwnershipClaim("b", "b", "o-1", unanswered=True)], ["vm-1"], False),  # it may have lost the race as well
        ([OwnershipClaim("b", "b", "o-1")], ["vm-1"], False),  # it was also refused
        ([OwnershipClaim("b", "b", "o-2", frozenset({"r-2"}), bought=True)], ["vm-1"], True),  # the vendor keeps names
        (
            [OwnershipClaim("b", "b", "o-2", frozenset({"r-2"}), bought=True)],
            [None],
            False,
        ),  # and this machine has none
        ([OwnershipClaim("b", "b", "o-2", frozenset({"r-2"}), bought=True)], ["vm-1", None], False),
        ([OwnershipClaim("b", "c", "o-2", frozenset({"r-2"}), bought=True)], ["vm-1"], False),  # not kept
        (
            [OwnershipClaim("b", "b", "o-2", frozenset({"r-3"}), bought=True)],
            ["vm-1"],
            False,
        ),  # another vendor keeps them
        ([OwnershipClaim("b", "b", "o-2", frozenset({"r-9"}), bought=True)], ["vm-1"], False),  # not listed
    ],
)
def test_what_proves_that_a_machine_is_another_hosts(
    claims: list[OwnershipClaim], names: list[str | None], proved: bool
) -> None:
    others = [{"resource_id": "r-2", "name": "b", "vendor": "v"}, {"resource_id": "r-3", "name": "b", "vendor": "w"}]
    own = [{"resource_id": f"r-1{n or ''}", "name": name, "vendor": "v"} for n, name in enumerate(names)]
    ids = [each["resource_id"] for each in own]
    seen = with_other_owners(_REFUSED, _SHOWN, ("o-1", ids), lambda: claims, lambda: [*others, *own])
    assert seen == replace(_SHOWN, of_others=proved)
    # The account's list lags and lacks the machine.
    by_names = any(claim.resource_ids == {"r-2"} for claim in claims)
    assert with_other_owners(_REFUSED, _SHOWN, ("o-1", ids), lambda: claims, lambda: others).of_others is (
        proved and not by_names
    )


@pytest.mark.parametrize(("holds", "proved"), [("r-1", True), ("r-2", False)])
def test_a_vendor_that_keeps_names_proves_nothing_against_a_machine_of_our_name(holds: str, proved: bool) -> None:
    claims = [OwnershipClaim("b", "b", "o-2", frozenset({holds}), bought=True)]
    account = [{"resource_id": f"r-{number}", "name": name, "vendor": "v"} for number, name in ((1, "a"), (2, "b"))]
    shown = replace(_SHOWN, owner=LIKE_OURS)
    seen = with_other_owners(_REFUSED, shown, ("o-1", ["r-1"]), lambda: claims, lambda: account)
    assert seen.of_others is proved
    expected = NextStep(Decision.REJECTED, Reason.TAKEN) if proved else NextStep(Decision.UNKNOWN, Reason.UNPROVEN)
    assert next_step(_REFUSED, seen, may_wait=False) == expected


@pytest.mark.parametrize(
    "history", [History(), History(sends=1, unanswered=True), replace(_REFUSED, refused=429)], ids=str
)
def test_claims_and_account_are_not_read_if_they_decide_nothing(history: History) -> None:
    def fail() -> Any:
        raise AssertionError

    assert with_other_owners(history, _SHOWN, ("o-1", ["r-1"]), fail, fail) == _SHOWN


# Machines that one look shows, and a later one does not


@pytest.mark.parametrize("patience", [True, False])
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
def test_a_refused_purchase_stays_doubted_once_a_look_has_shown_a_machine(
    seen: OfferLook, is_doubted: bool, phase: str, patience: bool
) -> None:
    history = after_look(replace(_REFUSED, refused=410), seen)
    assert history.doubted is is_doubted
    step = next_step(history, OfferLook(phase), patience)
    doubt = NextStep(Decision.LOOK) if patience else NextStep(Decision.UNKNOWN, Reason.UNPROVEN)
    assert (step == doubt) is (is_doubted or (patience and phase == _states.READY)), step
    assert next_step(history, replace(seen, of_others=True), False).decision is Decision.REJECTED or seen.owner == OURS


# When a purchase lists the machines of its offer


@pytest.mark.parametrize(
    ("named", "made", "ids", "lists"),
    [
        (True, False, ["r-1"], True),  # the names decide
        (True, True, ["r-1"], False),
        (False, False, ["r-1"], True),  # it decides whether this account has the machine
        (False, True, ["r-1"], False),
        (False, False, [], True),
        (True, True, [], True),
    ],
)
def test_when_the_machines_of_an_offer_are_listed(named: bool, made: bool, ids: list[str], lists: bool) -> None:
    assert needs_machine_list(History(named=named, made=made), ids) is lists
    assert named or not needs_machine_list(History(named=named, made=made, sends=1), ["r-1"])
    refused = History(by_name=False, named=False, made=made, sends=1, refused=409)
    assert made or needs_machine_list(refused, ids)
