# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which claims count in sums, and the state of a claim once its purchase is noted."""

from __future__ import annotations

import itertools
import re
from decimal import Decimal

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.claims import (
    BUYING,
    COUNTED,
    ENDED,
    LIVE,
    OPEN,
    OVER,
    STATES,
    STRAY,
    VOID,
    counts,
    needs_settling,
    state_once_made,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import UNLIMITED, Sum
from ansible_collections.compute_index.supply.plugins.module_utils._registry._statements import SCHEMA

# state, machines are new, the name is free, a rival of the same offer: what follows
TABLE = {
    "our claim": (BUYING, True, True, None, LIVE),
    "our claim, and no machine is known yet": (BUYING, False, True, None, LIVE),
    "noted before": (LIVE, False, True, None, LIVE),
    "one more machine": (LIVE, True, True, None, LIVE),
    "a stray one": (STRAY, True, True, None, STRAY),
    "called void too early": (VOID, True, True, None, LIVE),
    "called void too early, and the host has bought another": (VOID, True, False, None, STRAY),
    "the row was lost": (None, True, True, None, LIVE),
    "the row was lost, and the host has bought another": (None, True, False, None, STRAY),
    "ended, and told again": (ENDED, False, True, None, ENDED),
    "ended, and a machine that nobody knew": (ENDED, True, True, None, STRAY),
    "another host is buying the offer": (None, True, True, BUYING, LIVE),
    "void, and another host is buying the offer": (VOID, True, True, BUYING, LIVE),
    "another host is buying the offer, and ours has another": (VOID, True, False, BUYING, STRAY),
    "another host has it": (None, True, True, LIVE, None),
    "another host has ended it": (VOID, True, True, ENDED, None),
}


@pytest.mark.parametrize(("state", "adds", "free", "rival", "expected"), TABLE.values(), ids=TABLE.keys())
def test_what_a_noted_purchase_makes_of_a_claim(
    state: str | None, adds: bool, free: bool, rival: str | None, expected: str | None
) -> None:
    assert state_once_made(state, adds=adds, name_is_free=free, rival=rival) == expected


def test_what_a_person_takes_over_has_not_ended() -> None:
    assert state_once_made(ENDED, adds=False, name_is_free=True, adopted=True) == LIVE
    assert state_once_made(ENDED, adds=False, name_is_free=False, adopted=True) == STRAY


def test_what_is_billed_is_always_counted() -> None:
    """In any case the machines belong to the claim, which then counts, or to the rival, which has them."""
    for state, free, rival in itertools.product((None, *STATES), (True, False), (None, *STATES)):
        verdict = state_once_made(state, adds=True, name_is_free=free, rival=rival if rival != VOID else None)
        assert verdict in COUNTED or (verdict is None and rival not in (None, VOID, BUYING))


def test_a_name_is_never_given_twice() -> None:
    for state, adds in itertools.product((None, VOID, ENDED), (True, False)):
        assert state_once_made(state, adds=adds, name_is_free=False) not in OPEN


# state, it was marked as sent, its run holds it: whether it counts, and whether any run may settle it
COUNTING = {
    "claimed a moment ago": (BUYING, False, True, True, False),
    "its run has died before the mark": (BUYING, False, False, False, False),
    "its purchase is under way": (BUYING, True, True, True, False),
    "its run has died after the mark": (BUYING, True, False, True, True),
    "bought": (LIVE, True, False, True, False),
    "taken over from elsewhere": (LIVE, False, False, True, False),
    "beside another": (STRAY, True, False, True, False),
    "nothing was bought": (VOID, True, True, False, False),
    "gone": (ENDED, True, False, False, False),
}


@pytest.mark.parametrize(("state", "sent", "held", "counted", "settles"), COUNTING.values(), ids=COUNTING.keys())
def test_a_claim_counts_while_it_may_have_bought(
    state: str, sent: bool, held: bool, counted: bool, settles: bool
) -> None:
    assert counts(state, is_sent=sent, is_held=held) is counted
    assert needs_settling(state, is_sent=sent, is_held=held) is settles


@pytest.mark.parametrize(
    ("total", "unknown", "ceiling", "expected"),
    [
        ("5.00", 0, "5", False),
        ("5.01", 0, "5", True),
        ("0.3", 0, "0.3", False),
        ("1", 1, "5", True),
        ("100", 3, None, False),
    ],
)
def test_a_sum_and_its_ceiling(total: str, unknown: int, ceiling: str | None, expected: bool) -> None:
    limit = UNLIMITED if ceiling is None else float(ceiling)
    assert Sum(float(Decimal(total)), unknown).exceeds(limit) is expected


def test_the_tables_know_the_same_states() -> None:
    lists = [tuple(re.findall(r"'(\w+)'", each)) for each in re.findall(r"state IN \(([^)]*)\)", SCHEMA)]
    assert lists == [STATES, OPEN, OVER, COUNTED, COUNTED]
