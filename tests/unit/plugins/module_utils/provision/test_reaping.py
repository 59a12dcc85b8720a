# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose time is over, and how much more it may get."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock, Lease, read_lease, utc
from ansible_collections.compute_index.supply.plugins.module_utils._provision.reaping import (
    ENDING,
    Life,
    State,
    Wish,
    extend,
    life,
    life_by_name,
    noted,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import machine_id, offer_id

HOUR = 3600.0
BOUGHT = 1_800_000_000.0
ENDS = utc(BOUGHT + 8 * HOUR)
OVER, LIVES, ENDLESS, UNKNOWN = State.OVER, State.LIVES, State.ENDLESS, State.UNKNOWN


def known(leased: str = "8h", ends_at: Any = ENDS, **more: Any) -> Any:
    fields = {"provision_leased": leased, "provision_ends_at": ends_at, "provision_price_per_hour": 2.0, **more}
    own = {"provision_procured_offer_id": offer_id(1), "provision_resource_ids": [machine_id(1)]}
    return read_entry({**own, **fields})


@pytest.mark.parametrize(
    ("hours", "ahead", "created", "grace", "state"),
    [
        (8.0, 0, None, 0, OVER),
        (7.99, 0, None, 0, LIVES),
        # The later of two ends, by the later of two clocks.
        (8.0, 0, 60, 0, LIVES),
        (8.02, 0, 60, 0, OVER),
        (8.0, 0, -60, 0, OVER),
        (8.0, HOUR, None, 0, OVER),
        (9.0, -2 * HOUR, None, 0, LIVES),
        (7.0, 2 * HOUR, None, 0, LIVES),
        # Later this time.
        (8.0, 0, None, 1, LIVES),
        (8.5, 0, None, 1800, OVER),
    ],
)
def test_a_life(hours: float, ahead: float, created: float | None, grace: float, state: State) -> None:
    moment = None if created is None else BOUGHT + created
    assert life(known(), moment, Clock(BOUGHT + hours * HOUR, ahead), grace).state is state


@pytest.mark.parametrize(
    ("leased", "ends_at", "state"),
    [("8h", "", ENDLESS), ("", "", ENDLESS), ("8h", "soon", UNKNOWN), ("8h", "2026-11-27T03:00", UNKNOWN)],
)
def test_what_has_no_end_or_an_odd_one_is_never_over(leased: str, ends_at: str, state: State) -> None:
    found = life(known(leased, ends_at), BOUGHT, Clock(BOUGHT + 1e9))
    assert (found.state, found.end) == (state, None)
    assert bool(found.reason) is (state is UNKNOWN)


@pytest.mark.parametrize(
    ("leased", "created", "hours", "state"),
    [
        ("8h", BOUGHT, 8.0, OVER),
        ("8h", BOUGHT, 7.9, LIVES),
        ("8h", None, 1e6, UNKNOWN),
        ("eight", BOUGHT, 1e6, UNKNOWN),
        ("", BOUGHT, 1e6, ENDLESS),
        (utc(BOUGHT + HOUR), None, 1.0, OVER),
        (utc(BOUGHT + HOUR), BOUGHT, 0.9, LIVES),
    ],
)
def test_without_a_registry(leased: str, created: float | None, hours: float, state: State) -> None:
    assert life_by_name(leased, created, Clock(BOUGHT + hours * HOUR)).state is state


@given(
    st.floats(min_value=0, max_value=1e6),
    st.floats(min_value=-1e5, max_value=1e5),
    st.none() | st.floats(min_value=-1e5, max_value=1e5),
)
def test_no_time_that_is_left_is_ever_taken(passed: float, ahead: float, created: float | None) -> None:
    """Whatever two clocks say, a machine is over only if it is by both, counted from the later of two beginnings."""
    clock = Clock(BOUGHT + passed, ahead)
    found = life(known(), None if created is None else BOUGHT + created, clock)
    begin = BOUGHT + max(0.0, created or 0.0)
    assert (found.state is OVER) == (min(clock.here, clock.here + ahead) >= begin + 8 * HOUR)


# More time


@pytest.mark.parametrize(
    ("wish", "hours", "end", "more", "at_most"),
    [
        (Wish(by=4 * HOUR), 1.0, 12, 8.0, 24.0),
        (Wish(until=BOUGHT + 12 * HOUR), 1.0, 12, 8.0, 24.0),
        (Wish(until=BOUGHT + 8 * HOUR), 1.0, 8, 0.0, 16.0),
        # What is over already gets it from now on.
        (Wish(by=4 * HOUR), 9.0, 13, 10.0, 26.0),
        (Wish(by=4 * HOUR, longest=read_lease("12h"), max_bill=24.0), 1.0, 12, 8.0, 24.0),
    ],
)
def test_more_time(wish: Wish, hours: float, end: float, more: float, at_most: float) -> None:
    found = extend("gpu-1", known(), BOUGHT, wish, BOUGHT + hours * HOUR)
    assert (found.refusal, found.end) == ("", BOUGHT + end * HOUR)
    assert (found.more, found.at_most) == (pytest.approx(more), pytest.approx(at_most))
    assert noted(found) == {
        "provision_ends_at": utc(BOUGHT + end * HOUR),
        "provision_at_most": round(at_most, 2),
        "provision_reaped_at": None,
    }


@pytest.mark.parametrize(
    ("entry", "begin", "wish", "said"),
    [
        (read_entry(None), BOUGHT, Wish(by=HOUR), "knows no machine of gpu-1"),
        (known(provision_resource_ids=[], provision_purchase="refused"), BOUGHT, Wish(by=HOUR), "knows no machine"),
        (known(ends_at="soon"), BOUGHT, Wish(by=HOUR), "cannot be read"),
        (known(ends_at=""), BOUGHT, Wish(by=HOUR), "has no lease"),
        (known(), BOUGHT, Wish(until=BOUGHT), "cannot be extended until 2027-01-15 08:00 UTC"),
        (known(), BOUGHT, Wish(until=BOUGHT + 7 * HOUR), "may live until 2027-01-15 16:00 UTC already"),
        (known(), BOUGHT, Wish(by=HOUR, longest=read_lease("8h")), "longer than provision_lease_max (8h)"),
        (known(), None, Wish(by=HOUR, longest=read_lease("80h")), "nobody knows when it was bought"),
        (known(), BOUGHT, Wish(by=HOUR, max_bill=17.99), "up to USD 18.00 in all, and provision_max_bill is USD 17.99"),
        (known(provision_price_per_hour=None), BOUGHT, Wish(by=HOUR, max_bill=1e6), "nobody knows how much"),
        (known(provision_reaped_at=utc(BOUGHT + HOUR)), BOUGHT, Wish(by=HOUR), "A sweep began to end the machine"),
    ],
)
def test_no_more_time(entry: Any, begin: float | None, wish: Wish, said: str) -> None:
    found = extend("gpu-1", entry, begin, wish, BOUGHT + HOUR)
    assert said in found.refusal and found.end is None


def test_a_machine_without_a_lease_gets_one() -> None:
    found = extend("gpu-1", known("", ""), BOUGHT, Wish(until=BOUGHT + 5 * HOUR), BOUGHT + HOUR)
    assert (found.end, found.more, found.at_most) == (BOUGHT + 5 * HOUR, None, 10.0)


def test_what_a_sweep_could_not_end_may_be_extended_later() -> None:
    entry = known(provision_reaped_at=utc(BOUGHT + 8 * HOUR))
    wish = Wish(by=HOUR)
    assert extend("gpu-1", entry, BOUGHT, wish, BOUGHT + 8 * HOUR + ENDING - 1).refusal
    assert extend("gpu-1", entry, BOUGHT, wish, BOUGHT + 8 * HOUR + ENDING).end == BOUGHT + 9 * HOUR + ENDING


def test_an_empty_wish_has_no_limit() -> None:
    assert Wish().longest == Lease() and Life(ENDLESS).end is None
