# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long and how often capacity is waited for, and what is told of what was seen."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.waiting import (
    MarketLook,
    Patience,
    by_hour,
    look,
    looks,
    may_wait,
    read_patience,
)

NOW, HOUR = 1_800_000_000.0, 3600.0  # 08:00 UTC


@pytest.mark.parametrize(
    ("wait", "delay", "patience", "said"),
    [
        ("", "10m", Patience(None, 600.0), ""),
        ("8h", "10m", Patience(NOW + 8 * HOUR, 600.0), ""),
        ("2027-01-15T10:00Z", "1m", Patience(NOW + 2 * HOUR, 60.0), ""),
        ("2027-01-15T10:00Z", "0", Patience(NOW + 2 * HOUR, 0.0), ""),
        ("2027-01-15T10:00Z", 0, Patience(NOW + 2 * HOUR, 0.0), ""),
        ("8h", 0, Patience(NOW + 8 * HOUR, 0.0), "so provision_wait must be a time"),
        ("8 hours", "10m", Patience(), "provision_wait must be a duration"),
        ("8h", "10", Patience(), "provision_wait_delay must be a duration"),
        ("8h", "2027-01-15T10:00Z", Patience(), "provision_wait_delay must be a duration"),
    ],
)
def test_patience(wait: Any, delay: Any, patience: Patience, said: str) -> None:
    found: list[str] = []
    assert read_patience(wait, delay, NOW, found) == patience
    assert said in " ".join(found) if said else found == []


@pytest.mark.parametrize(
    ("patience", "now", "time", "back", "count"),
    [
        (Patience(NOW + HOUR, 600.0), NOW, True, False, 8),
        (Patience(NOW + HOUR, 600.0), NOW + 3000, True, False, 3),
        (Patience(NOW + HOUR, 600.0), NOW + 3001, False, False, 3),
        (Patience(NOW + HOUR, 0.0), NOW, False, True, 100_000),
        (Patience(NOW + HOUR, 0.0), NOW + HOUR, False, False, 100_000),
        (Patience(None), NOW, False, False, 100_000),
        (Patience(NOW + 1e12, 1.0), NOW, True, False, 100_000),
    ],
)
def test_another_look(patience: Patience, now: float, time: bool, back: bool, count: int) -> None:
    assert (patience.has_time(now), patience.comes_back(now), looks(patience, now)) == (time, back, count)


def test_what_was_seen_by_the_hour() -> None:
    assert look(NOW, [None, 4.1, 3.0]) == MarketLook(NOW, 3, 3.0)
    assert (look(NOW, []).said, look(NOW, [None]).said) == ("no offer", "1 offer, the cheapest at unknown price")
    history = [look(NOW, []), look(NOW + 600, [4.1, 5.0]), look(NOW + 1200, [4.5]), look(NOW + HOUR, [])]
    assert by_hour(history) == (
        "2027-01-15 08:00 UTC 2 offers, the cheapest at USD 4.10/h; 2027-01-15 09:00 UTC no offer"
    )
    assert by_hour([look(NOW + hour * HOUR, []) for hour in range(30)]).count("no offer") == 12
    assert by_hour([]) == ""


@pytest.mark.parametrize(
    ("fields", "count", "may"),
    [
        ({}, 0, True),
        ({}, 9, True),
        ({}, 10, False),
        ({"quote": True}, 0, False),
        ({"attempts": {"gpu-1": [{}]}}, 0, False),  # something was bought
        ({"failed": ["gpu-1"]}, 0, False),
    ],
)
def test_only_a_run_that_has_bought_nothing_waits(fields: dict[str, Any], count: int, may: bool) -> None:
    assert may_wait({"quote": False, "attempts": {}, "failed": [], "looks": 10, **fields}, count) is may
