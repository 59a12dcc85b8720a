# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose time is over?"""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.clock import API, DATABASE, HERE, Clock
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import utc
from ansible_collections.compute_index.supply.plugins.module_utils._provision.reaping import (
    Idleness,
    LeaseState,
    Life,
    SweptHost,
    Turn,
    is_saved,
    last_look,
    life,
    life_by_name,
    newest,
    read_swept_host,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import machine_id, offer_id

HOUR = 3600.0
BOUGHT = 1_800_000_000.0
ENDS = utc(BOUGHT + 8 * HOUR)
OVER, LIVES, ENDLESS, UNKNOWN = LeaseState.OVER, LeaseState.LIVES, LeaseState.ENDLESS, LeaseState.UNKNOWN


def known(leased: str = "8h", ends_at: Any = ENDS, **more: Any) -> Any:
    fields = {"provision_leased": leased, "provision_ends_at": ends_at, "provision_price_per_hour": 2.0, **more}
    own = {"provision_procured_offer_id": offer_id(1), "provision_resource_ids": [machine_id(1)]}
    return read_entry({**own, **fields})


@pytest.mark.parametrize(
    ("hours", "created", "grace", "is_over"),
    [
        (8.0, None, 0, True),
        (7.99, None, 0, False),
        # The later of two ends, but at most an hour later.
        (8.0, 60, 0, False),
        (8.02, 60, 0, True),
        (8.0, -60, 0, True),
        (8.99, 24 * HOUR, 0, False),
        (9.0, 24 * HOUR, 0, True),
        # Later this time.
        (8.0, None, 1, False),
        (8.5, None, 1800, True),
    ],
)
def test_a_life(hours: float, created: float | None, grace: float, is_over: bool) -> None:
    moment = None if created is None else BOUGHT + created
    found = life(known(), moment, Clock(BOUGHT + hours * HOUR))
    assert found.is_over(grace) is is_over
    assert grace or found.state is (OVER if is_over else LIVES)


@pytest.mark.parametrize(
    ("leased", "ends_at", "state"),
    [("8h", "", ENDLESS), ("", "", ENDLESS), ("8h", "soon", UNKNOWN), ("8h", "2026-11-27T03:00", UNKNOWN)],
)
def test_what_has_no_end_or_an_odd_one_is_never_over(leased: str, ends_at: str, state: LeaseState) -> None:
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
def test_without_a_registry(leased: str, created: float | None, hours: float, state: LeaseState) -> None:
    assert life_by_name(leased, created, Clock(BOUGHT + hours * HOUR)).state is state


@given(
    st.sampled_from([HERE, API, DATABASE]),
    st.floats(min_value=0, max_value=1e6),
    *[st.none() | st.floats(min_value=-1e8, max_value=1e8)] * 2,
    st.none() | st.floats(min_value=-1e9, max_value=1e9),
)
def test_no_time_that_is_left_is_taken_and_an_hour_is_given_at_most(
    noted_by: str, passed: float, ahead: float | None, database: float | None, created: float | None
) -> None:
    """Skews cancel out: whatever other clocks and the API's records say, the clock that noted the end measures it."""
    clock = Clock.of(BOUGHT + passed, ahead, None if database is None else BOUGHT + passed + database)
    now = clock.times.get(noted_by)
    entry = known(provision_clock=noted_by)
    found = life(entry, None if created is None else BOUGHT + created, clock)
    if now is not None:
        assert now >= BOUGHT + 8 * HOUR if found.is_over() else now < BOUGHT + 9 * HOUR
    elif found.is_over():
        assert max(clock.times.values()) >= BOUGHT + 8 * HOUR
    else:
        assert min(clock.times.values()) < BOUGHT + 9 * HOUR


# The last look

ENDS_NOW, STAYS, WAITS = Turn.ENDS, Turn.STAYS, Turn.WAITS


@pytest.mark.parametrize(
    ("passed", "idle", "grace", "turn", "said"),
    [
        (0.0, None, 0, ENDS_NOW, "its lease was over at"),
        (-1.0, None, 0, STAYS, "has got more time meanwhile, until"),
        (None, None, 0, STAYS, "until you end it"),
        # Its last command has failed.
        (60.0, None, 1800, WAITS, "When it has been over for 30 minutes"),
        (1800.0, None, 1800, ENDS_NOW, "its lease was over at"),
        # Idle, with or without a lease.
        (-1.0, 0.0, 0, ENDS_NOW, "it was idle"),
        (None, 0.0, 0, ENDS_NOW, "it was idle"),
        (None, -1.0, 0, STAYS, "is not known to be idle any more (load 0.02)"),
        (None, 60.0, 1800, WAITS, "reap_before_end failed"),
        (60.0, 1800.0, 1800, ENDS_NOW, "its lease was over at"),
        ("odd", 9000.0, 0, STAYS, "nothing ends"),
    ],
)
def test_the_last_look(passed: Any, idle: float | None, grace: float, turn: Turn, said: str) -> None:
    lived = Life(reason="odd") if passed == "odd" else Life() if passed is None else Life(BOUGHT, passed)
    use = Idleness(0.0) if idle is None else Idleness(HOUR, "idle", HOUR + idle, "load 0.02")
    found = last_look("gpu-1", SweptHost("/registry", grace, "", use), lived)
    assert found.turn is turn and said in found.said


@pytest.mark.parametrize(("life", "end"), [(Life(), None), (Life(BOUGHT, -60.0), 560.0), (Life(BOUGHT, 60.0), 440.0)])
def test_an_end_by_another_clock(life: Life, end: float | None) -> None:
    assert life.end_by(500.0) == end


@pytest.mark.parametrize(
    ("reaped", "sweep"),
    [
        ({}, None),
        (None, None),
        ({"grace": "1800"}, SweptHost("/here", 1800.0, "", Idleness(0.0))),
        ({"place": "/there", "idle": "60", "lease": "8h", "grace": 0}, SweptHost("/there", 0.0, "8h", Idleness(60.0))),
    ],
)
def test_what_a_sweep_says(reaped: Any, sweep: SweptHost | None) -> None:
    assert read_swept_host({"reaped": reaped, "before": {"rc": 1}}, "/here", BOUGHT) == sweep


@pytest.mark.parametrize(
    ("before", "saved"),
    [
        (None, True),
        ({}, True),
        ({"skipped": True}, True),
        ({"rc": 0}, True),
        ({"rc": 1}, False),
        ({"unreachable": True, "msg": "no route"}, False),
        ({"failed": False, "msg": "failed to execute in the expected time frame (3)"}, False),
    ],
)
def test_whether_the_last_command_has_saved_what_it_should(before: Any, saved: bool) -> None:
    assert is_saved(before) is saved
    found = read_swept_host({"reaped": {"grace": 60}, "before": before}, "/here", BOUGHT)
    assert found is not None and found.grace == (0 if saved else 60)


def test_the_second_answer_counts_where_there_was_a_second_question() -> None:
    first, again = {"state": "idle"}, {"state": "active"}
    assert newest(first, again) == again
    assert newest(first, {"skipped": True}) == newest(first, None) == first
    assert newest(first, {"unreachable": True}) == {"unreachable": True}
