# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bills from the lines of a ledger, in any order in which git may have merged those of two clones."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import (
    ADOPTED,
    ENDED,
    FREED,
    HELD,
    MADE,
    NOTHING,
    SENT,
    Line,
    bills_of,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import MILLION
from ansible_collections.compute_index.supply.plugins.module_utils._text import utc
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import entry, machine_id, offer_id

X, M = offer_id(1), machine_id(1)
NOW = 100_000.0


def line(event: str, at: float, claim: float, price: float = 2.0, *, ids: bool = False, renews: float = 0.0) -> Line:
    """An event of the host's only offer; moments in seconds."""
    about = replace(entry(X, [M] if ids else []), price_per_hour=price, journaled_at=utc(claim), project="default")
    return Line(event, "gpu-1", about, at, claim, "why" if event == ENDED else "", utc(renews) if renews else "")


@dataclass(frozen=True)
class Told:
    """The bill of the purchase; None without a purchase."""

    begin: float
    end: float | None
    price: float = 2.0


A, B = 1000.0, 2000.0
REFUSED_CLONE = [line(SENT, A, A, 7.0), line(NOTHING, A + 60, A, 7.0)]
BOUGHT = [line(SENT, B, B), line(MADE, B + 5, B, ids=True)]
OVER = [*BOUGHT, line(ENDED, B + 3600, B, ids=True)]

TABLE = {
    "bought and ended": (OVER, Told(B, B + 3600)),
    "bought": (BOUGHT, Told(B, None)),
    "refused": (REFUSED_CLONE, None),
    "another clone was refused": ([*REFUSED_CLONE, *OVER], Told(B, B + 3600)),
    "another clone was refused, this one runs": ([*REFUSED_CLONE, *BOUGHT], Told(B, None)),
    "another clone was refused, the answer to this one is not known": (
        [*REFUSED_CLONE, line(SENT, B, B)],
        Told(B, None),
    ),
    "refused, and sent again": ([*REFUSED_CLONE, line(SENT, B, B)], Told(B, None)),
    "sent again, and refused": ([line(SENT, A, A), line(SENT, B, B, renews=A), line(NOTHING, B + 1, B)], None),
    "sent again, and made": ([line(SENT, A, A), line(SENT, B, B, renews=A), line(MADE, B + 1, B)], Told(A, None)),
    "sent again by another clone, and made": (
        [line(SENT, A, A), line(SENT, B, B, renews=A), line(MADE, B + 1, B), line(NOTHING, B + 2, A)],
        Told(A, None),
    ),
    "sent again by another clone, of whose answer nothing is known": (
        [line(SENT, A, A), line(SENT, B, B, renews=A), line(NOTHING, B + 2, A)],
        Told(A, None),
    ),
    "made after all": ([*REFUSED_CLONE, line(MADE, B, B)], Told(A, None, 7.0)),
    "the price rose": ([*BOUGHT, line(ENDED, B + 3600, B, 5.0)], Told(B, B + 3600, 5.0)),
    "two clones noted the end": ([*OVER, line(ENDED, B + 9000, B)], Told(B, B + 3600)),
    "an end by hand": ([*BOUGHT, line(ENDED, B + 9, B)._replace(entry=entry(X))], Told(B, B + 9)),
    "a clock behind noted the end": ([*BOUGHT, line(ENDED, B - 9, B)], Told(B, B - 9)),
    "the registry still has it": ([*OVER, line(HELD, 0.0, B)], Told(B, None)),
    "the registry was freed": ([line(SENT, A, A), line(FREED, 0.0, A)], None),
    "another clone's registry was freed": ([*REFUSED_CLONE, *BOUGHT, line(FREED, 0.0, A)], Told(B, None)),
    "taken over again after its end": (
        [line(ADOPTED, A, A), line(ENDED, B, A), line(ADOPTED, B + 60, A)],
        Told(A, None),
    ),
}


@pytest.mark.parametrize(("lines", "told"), TABLE.values(), ids=TABLE)
def test_the_order_of_lines_does_not_matter(lines: list[Line], told: Told | None) -> None:
    for order in itertools.permutations(lines):
        bills = bills_of(order)
        found = [Told(bill.begin or 0.0, bill.end, bill.price_per_hour or 0.0) for bill in bills]
        assert found == ([told] if told else [])


@st.composite
def clones(draw: st.DrawFn) -> tuple[list[Line], float, float, float]:
    """The merged lines of a clone that buys and one whose claims buy nothing; and the true begin, end and price.

    Clocks may be an hour apart, but a claim is never noted after its purchase.
    """
    skew = draw(st.integers(-3600, 3600))
    begin, seconds, price = draw(st.integers(5000, 50_000)), draw(st.integers(1, 40_000)), draw(st.integers(1, 9))
    sends = sorted(draw(st.lists(st.integers(4000, 50_000), max_size=3, unique=True)))
    lost = [line(SENT, at + skew, at + skew, 1.0) for at in sends]
    lost += [line(NOTHING, at + skew + 1, at + skew, 1.0) for at in sends]
    own = [line(SENT, begin, begin, price), line(MADE, begin + 1, begin, price, ids=True)]
    ends = [line(ENDED, begin + seconds, begin, price)] if draw(st.booleans()) else []
    merged = draw(st.permutations([*lost, *own, *ends]))
    return list(merged), begin, begin + seconds if ends else NOW, price


@given(clones())
def test_two_clones_never_tell_less_than_the_meter(world: tuple[list[Line], float, float, float]) -> None:
    lines, begin, end, price = world
    (bill,) = bills_of(lines)
    assert bill.cost(0.0, NOW) >= int(price * (end - begin) * MILLION / 3600)
    assert bill.resource_ids == (M,)
