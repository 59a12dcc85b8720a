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
