# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What time it is, by each clock that can be read."""

from __future__ import annotations

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.clock import (
    APART,
    API,
    DATABASE,
    HERE,
    LATEST,
    Clock,
    clock_of,
)

NOON = 1_800_000_000.0
HOUR, DAY = 3600.0, 86_400.0


@pytest.mark.parametrize(
    ("ahead", "database", "noting", "now", "is_apart"),
    [
        (None, None, HERE, 0.0, False),
        (60.0, None, API, 60.0, False),
        (60.0, 30.0, DATABASE, 30.0, False),
        (None, 30.0, DATABASE, 30.0, False),
        (APART, None, API, APART, False),
        (APART + 1, None, API, APART + 1, True),
        (-DAY, None, API, -DAY, True),
        # The database's against the API's, whatever this computer's says
        (200.0, -200.0, DATABASE, -200.0, True),
    ],
)
def test_what_begins_now(ahead: float | None, database: float | None, noting: str, now: float, is_apart: bool) -> None:
    clock = Clock.of(NOON, ahead, None if database is None else NOON + database)
    assert (clock.noting, clock.now(), clock.is_apart) == (noting, NOON + now, is_apart)


@pytest.mark.parametrize(
    ("clock", "noted_by", "now"),
    [
        (Clock(NOON, NOON + DAY, NOON - DAY), HERE, 0.0),
        (Clock(NOON, NOON + DAY, NOON - DAY), API, DAY),
        (Clock(NOON, NOON + DAY, NOON - DAY), DATABASE, -DAY),
        # It cannot be read: the earliest of the others.
        (Clock(NOON, None, NOON - DAY), API, -DAY),
        (Clock(NOON, NOON + DAY), DATABASE, 0.0),
    ],
)
def test_what_was_noted(clock: Clock, noted_by: str, now: float) -> None:
    assert clock.now(noted_by) == NOON + now


@pytest.mark.parametrize(
    ("clock", "noted_by", "since"),
    [
        (Clock(NOON, NOON + DAY), HERE, 0.0),
        (Clock(NOON, NOON + DAY), API, DAY),
        # It cannot be read: over by all others, or an hour later by one of them.
        (Clock(NOON, NOON + DAY), DATABASE, DAY - LATEST),
        (Clock(NOON, NOON + HOUR / 2), DATABASE, 0.0),
        (Clock(NOON, NOON - 60), DATABASE, -60.0),
    ],
)
def test_a_lease_that_ends_at_noon(clock: Clock, noted_by: str, since: float) -> None:
    assert clock.since(NOON, noted_by) == since


@pytest.mark.parametrize(
    ("noted", "clock"),
    [("api", API), ("database", DATABASE), ("here", HERE), (None, HERE), ("API", HERE), ([], HERE)],
)
def test_the_clock_of_an_entry(noted: object, clock: str) -> None:
    assert clock_of(noted) == clock
