# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bills from ledger lines, which git may have merged from two clones in any order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import (
    ADOPTED,
    ENDED,
    FREED,
    HELD,
    MADE,
    MOVED,
    NOTHING,
    SENT,
    Line,
    bills_of,
    clock_ahead,
    line_of_entry,
    read_line,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import MILLION
from ansible_collections.compute_index.supply.plugins.module_utils._text import utc
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import entry, machine_id, offer_id

X, M = offer_id(1), machine_id(1)
NOW = 100_000.0


def line(
    event: str, at: float, claim: float, price: float | None = 2.0, *, ids: bool = False, renews: float = 0.0
) -> Line:
    """A line about the host's only offer; moments in seconds. ``claim``: when the claim was made."""
    facts = replace(entry(X, [M] if ids else []), price_per_hour=price, journaled_at=utc(claim), project="default")
    return Line(event, "gpu-1", facts, at, claim, "why" if event == ENDED else "", utc(renews) if renews else "")


def by_hand(event: str, at: float | None) -> Line:
    """A line that names no claim; None for a time that cannot be read."""
    return Line(event, "gpu-1", replace(entry(X), price_per_hour=2.0), at)


@dataclass(frozen=True)
class ExpectedBill:
    """The bill of the purchase. ``end``: None if it still runs."""

    begin: float
    end: float | None
    price: float = 2.0


A, B = 1000.0, 2000.0
REFUSED_CLONE = [line(SENT, A, A, 7.0), line(NOTHING, A + 60, A, 7.0)]
BOUGHT = [line(SENT, B, B), line(MADE, B + 5, B, ids=True)]
OVER = [*BOUGHT, line(ENDED, B + 3600, B, ids=True)]

TABLE = {
    "bought and ended": (OVER, ExpectedBill(B, B + 3600)),
    "bought": (BOUGHT, ExpectedBill(B, None)),
    "refused": (REFUSED_CLONE, None),
    "another clone was refused": ([*REFUSED_CLONE, *OVER], ExpectedBill(B, B + 3600)),
    "another clone was refused, this one runs": ([*REFUSED_CLONE, *BOUGHT], ExpectedBill(B, None)),
    "another clone was refused, this one got no answer": (
        [*REFUSED_CLONE, line(SENT, B, B)],
        ExpectedBill(B, None),
    ),
    "refused, and sent again": ([*REFUSED_CLONE, line(SENT, B, B)], ExpectedBill(B, None)),
    "sent again, and refused": ([line(SENT, A, A), line(SENT, B, B, renews=A), line(NOTHING, B + 1, B)], None),
    "sent again, and made": (
        [line(SENT, A, A), line(SENT, B, B, renews=A), line(MADE, B + 1, B)],
        ExpectedBill(A, None),
    ),
    "sent again by another clone, and made": (
        [line(SENT, A, A), line(SENT, B, B, renews=A), line(MADE, B + 1, B), line(NOTHING, B + 2, A)],
        ExpectedBill(A, None),
    ),
    "sent again by another clone, without an answer": (
        [line(SENT, A, A), line(SENT, B, B, renews=A), line(NOTHING, B + 2, A)],
        ExpectedBill(A, None),
    ),
    "made after all": ([*REFUSED_CLONE, line(MADE, B, B)], ExpectedBill(A, None, 7.0)),
    "the price rose": ([*BOUGHT, line(ENDED, B + 3600, B, 5.0)], ExpectedBill(B, B + 3600, 5.0)),
    "two clones noted the end": ([*OVER, line(ENDED, B + 9000, B)], ExpectedBill(B, B + 3600)),
    "the price was noted later": ([line(SENT, B, B, None), line(MADE, B + 5, B)], ExpectedBill(B, None)),
    "an end by hand": ([*BOUGHT, line(ENDED, B + 9, B)._replace(entry=entry(X))], ExpectedBill(B, B + 9)),
    "an end by hand before the purchase was noted as made": (
        [line(SENT, B, B), line(MADE, B + 60, B), by_hand(ENDED, B + 9)],
        ExpectedBill(B, B + 9),
    ),
    "an end by hand in the second of its claim": ([*BOUGHT, by_hand(ENDED, B)], ExpectedBill(B, B)),
    "an end by hand before the claim": ([*BOUGHT, by_hand(ENDED, B - 9)], ExpectedBill(B, None)),
    "an end without a time": ([*BOUGHT, by_hand(ENDED, None)], ExpectedBill(B, None)),
    "a second end without a time": ([*OVER, line(ENDED, B, B)._replace(at=None)], ExpectedBill(B, B + 3600)),
    "only its end is left": ([line(ENDED, B + 3600, B)], ExpectedBill(B, B + 3600)),
    "a line by hand, and an end before it": ([by_hand(MADE, B), by_hand(ENDED, A)], ExpectedBill(0.0, None)),
    "a line by hand, and an end after it": ([by_hand(MADE, A), by_hand(ENDED, B)], ExpectedBill(0.0, B)),
    "a line by hand without a time, and an end": ([by_hand(MADE, None), by_hand(ENDED, B)], ExpectedBill(0.0, B)),
    "a line by hand, another clone was refused": ([*REFUSED_CLONE, by_hand(SENT, B)], ExpectedBill(0.0, None)),
    "claimed again after its end": ([*OVER, line(SENT, B + 7200, B + 7200)], ExpectedBill(B, None)),
    "a clock behind noted the end": ([*BOUGHT, line(ENDED, B - 9, B)], ExpectedBill(B, B - 9)),
    "the registry still has it": ([*OVER, line(HELD, 0.0, B)], ExpectedBill(B, None)),
    "the registry was freed": ([line(SENT, A, A), line(FREED, 0.0, A)], None),
    "another clone's registry was freed": ([*REFUSED_CLONE, *BOUGHT, line(FREED, 0.0, A)], ExpectedBill(B, None)),
    "taken over, and ended": ([line(ADOPTED, A, A), line(ENDED, B, A)], ExpectedBill(A, B)),
    "taken over, and ended within a second": ([line(ADOPTED, A, A), line(ENDED, A, A)], ExpectedBill(A, A)),
    "taken over by hand without a time, and ended": ([by_hand(ADOPTED, None), by_hand(ENDED, B)], ExpectedBill(0.0, B)),
    "taken over again after its end": (
        [line(ADOPTED, A, A), line(ENDED, B, A), line(ADOPTED, B + 60, A)],
        ExpectedBill(A, None),
    ),
}


@pytest.mark.parametrize(("lines", "expected"), TABLE.values(), ids=TABLE)
def test_bill_of_lines_in_any_order(lines: list[Line], expected: ExpectedBill | None) -> None:
    for order in itertools.permutations(lines):
        bills = bills_of(order)
        facts = [ExpectedBill(bill.begin or 0.0, bill.end, bill.price_per_hour or 0.0) for bill in bills]
        assert facts == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("lines", "since", "expected_count"),
    [
        (OVER, B + 3599, 1),
        (OVER, B + 3600, 0),
        ([line._replace(why=MOVED) for line in OVER], B + 3600, 1),  # it may run on in another registry
        (BOUGHT, NOW, 1),
        (REFUSED_CLONE, 0.0, 0),
        ([*OVER, by_hand(MADE, B)._replace(entry=entry("", [M]))], 0.0, 2),
        ([by_hand(MADE, B)._replace(entry=entry("", [machine_id(number)])) for number in (1, 2)], 0.0, 2),
    ],
)
def test_bills_cover_purchases_that_had_not_ended_before(lines: list[Line], since: float, expected_count: int) -> None:
    """Without an offer, each machine is a purchase of its own."""
    assert len(bills_of(lines, since=since)) == expected_count


@pytest.mark.parametrize(
    ("lines", "ahead"),
    [
        ([], 0.0),
        ([BOUGHT[0]._replace(ahead=60.0)], 60.0),
        ([BOUGHT[0]._replace(ahead=-60.0)], 0.0),
        ([BOUGHT[0]._replace(ahead=60.0), BOUGHT[1]._replace(ahead=90.0)], 90.0),
        ([BOUGHT[0]._replace(ahead=60.0), OVER[-1]], 0.0),
        ([BOUGHT[0]._replace(ahead=60.0), OVER[-1]._replace(host="gpu-2")], 60.0),
    ],
)
def test_clock_ahead_is_that_of_purchases_without_an_end(lines: list[Line], ahead: float) -> None:
    assert clock_ahead(lines) == ahead


@pytest.mark.parametrize(
    ("held", "event"),
    [
        (entry(X, [], "sent"), HELD),
        (entry(X, [M], "made"), HELD),
        (entry("", [M]), HELD),
        (entry(X, [M], "refused"), HELD),
        (entry(X, [], "refused"), FREED),
        (entry(), None),
    ],
)
def test_line_of_an_entry_is_held_unless_nothing_was_bought(held: Entry, event: str | None) -> None:
    found = line_of_entry("gpu-1", held)
    assert (found and found.event) == event


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"why": "reaped", "renews": utc(A), "ahead": 60}, ("reaped", utc(A), 60.0)),
        ({"why": None, "renews": None, "ahead": "soon"}, ("", "", 0.0)),
        ({}, ("", "", 0.0)),
    ],
)
def test_read_line_of_a_file_that_a_person_edited(fields: dict[str, object], expected: tuple[str, str, float]) -> None:
    found = read_line({"event": SENT, "host": "gpu-1", **fields})
    assert (found.why, found.renews, found.ahead) == expected


@st.composite
def clones(draw: st.DrawFn) -> tuple[list[Line], float, float, float]:
    """The merged lines of a clone that buys and of one whose claims buy nothing, and the true begin, end and price.

    Clocks may be an hour apart, but a claim is never noted after its purchase.
    """
    skew = draw(st.integers(-3600, 3600))
    begin, seconds, price = draw(st.integers(5000, 50_000)), draw(st.integers(1, 40_000)), draw(st.integers(1, 9))
    sends = sorted(draw(st.lists(st.integers(4000, 50_000), max_size=3, unique=True)))
    refused = [line(SENT, at + skew, at + skew, 1.0) for at in sends]
    refused += [line(NOTHING, at + skew + 1, at + skew, 1.0) for at in sends]
    own = [line(SENT, begin, begin, price), line(MADE, begin + 1, begin, price, ids=True)]
    ends = [line(ENDED, begin + seconds, begin, price)] if draw(st.booleans()) else []
    merged = draw(st.permutations([*refused, *own, *ends]))
    return list(merged), begin, begin + seconds if ends else NOW, price


@given(clones())
def test_bill_of_two_merged_clones_covers_the_true_cost(world: tuple[list[Line], float, float, float]) -> None:
    lines, begin, end, price = world
    (bill,) = bills_of(lines)
    assert bill.cost(0.0, NOW) >= int(price * (end - begin) * MILLION / 3600)
    assert bill.resource_ids == (M,)
