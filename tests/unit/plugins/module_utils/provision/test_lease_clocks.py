# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clocks of controller, API and database: which one notes a lease, and which one ends it."""

from __future__ import annotations

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import (
    API_CLOCK,
    CLOCKS_APART,
    DATABASE_CLOCK,
    LEASE_OVER_AFTER,
    LOCAL_CLOCK,
    Clock,
    clock_of,
    clocks_differ,
    noted_clock,
)

NOON = 1_800_000_000.0
HOUR, DAY = 3600.0, 86_400.0


@pytest.mark.parametrize(
    ("ahead", "database", "noting", "now", "is_apart"),
    [
        (None, None, LOCAL_CLOCK, 0.0, False),
        (60.0, None, API_CLOCK, 60.0, False),
        (60.0, 30.0, DATABASE_CLOCK, 30.0, False),
        (None, 30.0, DATABASE_CLOCK, 30.0, False),
        (CLOCKS_APART, None, API_CLOCK, CLOCKS_APART, False),
        (CLOCKS_APART + 1, None, API_CLOCK, CLOCKS_APART + 1, True),
        (-DAY, None, API_CLOCK, -DAY, True),
        # The API's and the database's clock each agree with this computer's, but not with each other.
        (200.0, -200.0, DATABASE_CLOCK, -200.0, True),
    ],
)
def test_clock_that_notes_a_new_lease(
    ahead: float | None, database: float | None, noting: str, now: float, is_apart: bool
) -> None:
    clock = Clock.of(NOON, ahead, None if database is None else NOON + database)
    assert (clock.noting, clock.now(), clock.is_apart) == (noting, NOON + now, is_apart)


@pytest.mark.parametrize(
    ("clock", "noted_by", "now"),
    [
        (Clock(NOON, NOON + DAY, NOON - DAY), LOCAL_CLOCK, 0.0),
        (Clock(NOON, NOON + DAY, NOON - DAY), API_CLOCK, DAY),
        (Clock(NOON, NOON + DAY, NOON - DAY), DATABASE_CLOCK, -DAY),
        # The noting clock cannot be read: the earliest of the others counts.
        (Clock(NOON, None, NOON - DAY), API_CLOCK, -DAY),
        (Clock(NOON, NOON + DAY), DATABASE_CLOCK, 0.0),
    ],
)
def test_now_is_read_from_the_noting_clock(clock: Clock, noted_by: str, now: float) -> None:
    assert clock.now(noted_by) == NOON + now


@pytest.mark.parametrize(
    ("clock", "noted_by", "since"),
    [
        (Clock(NOON, NOON + DAY), LOCAL_CLOCK, 0.0),
        (Clock(NOON, NOON + DAY), API_CLOCK, DAY),
        # The noting clock cannot be read: over by all the others, or an hour later by one of them.
        (Clock(NOON, NOON + DAY), DATABASE_CLOCK, DAY - LEASE_OVER_AFTER),
        (Clock(NOON, NOON + HOUR / 2), DATABASE_CLOCK, 0.0),
        (Clock(NOON, NOON - 60), DATABASE_CLOCK, -60.0),
    ],
)
def test_since_is_measured_by_the_noting_clock(clock: Clock, noted_by: str, since: float) -> None:
    assert clock.since(NOON, noted_by) == since


@pytest.mark.parametrize(
    ("clock", "span"),
    [
        (Clock(NOON), (0.0, 0.0)),
        (Clock(NOON, NOON + 60), (0.0, 60.0)),
        (Clock(NOON, NOON - 60), (-60.0, 0.0)),
        (Clock(NOON, NOON + 60, NOON + 30), (30.0, 30.0)),
    ],
)
def test_span_of_clocks_is_that_of_the_database_alone(clock: Clock, span: tuple[float, float]) -> None:
    assert clock.span == (NOON + span[0], NOON + span[1])


@pytest.mark.parametrize(
    ("clock", "expected_text"),
    [
        (Clock(NOON, NOON + CLOCKS_APART), ""),
        (
            Clock(NOON, NOON + HOUR),
            "The clocks differ: it is 2027-01-15 08:00 UTC by this computer, 2027-01-15 09:00 UTC by the API. ",
        ),
    ],
)
def test_clocks_that_differ_are_named_with_their_times(clock: Clock, expected_text: str) -> None:
    found = clocks_differ(clock)
    assert found.startswith(expected_text) and bool(found) is bool(expected_text)


@pytest.mark.parametrize(("clock", "noted"), [(LOCAL_CLOCK, None), (API_CLOCK, "api"), (DATABASE_CLOCK, "database")])
def test_entry_notes_every_clock_but_this_computers(clock: str, noted: str | None) -> None:
    assert noted_clock(clock) == noted
    assert clock_of(noted) == clock


@pytest.mark.parametrize(
    ("noted", "clock"),
    [
        ("api", API_CLOCK),
        ("database", DATABASE_CLOCK),
        ("here", LOCAL_CLOCK),
        (None, LOCAL_CLOCK),
        ("API", LOCAL_CLOCK),
        ([], LOCAL_CLOCK),
    ],
)
def test_clock_of_an_entry(noted: object, clock: str) -> None:
    assert clock_of(noted) == clock
