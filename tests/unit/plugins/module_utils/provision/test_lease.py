# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases of machines: begin, end and largest bill."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import (
    ENDING,
    SWEEPS,
    TimeLimit,
    begin_of,
    end_begun,
    end_of,
    moment_of,
    noted_end,
    read_duration,
    read_end,
    read_time_limit,
    seconds_until,
    unswept,
    until,
    utc_rounded_up,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import (
    UNLIMITED,
    cost_in_usd,
    max_price_for_bill,
)
from ansible_collections.compute_index.supply.plugins.module_utils._text import formatted
from hypothesis import given
from hypothesis import strategies as st

HOUR, DAY = 3600.0, 86_400.0
NOON = datetime(2026, 11, 26, 12, tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("value", "seconds", "moment"),
    [
        ("8h", 8 * HOUR, None),
        (" 90m ", 1.5 * HOUR, None),
        ("3d", 3 * DAY, None),
        ("1.5h", 1.5 * HOUR, None),
        ("45s", 45.0, None),
        ("2026-11-26T12:00Z", None, NOON),
        ("2026-11-26T12:00:00Z", None, NOON),
        ("2026-11-26 13:00+01:00", None, NOON),
        ("2026-11-26t12:00z", None, NOON),
        (datetime(2026, 11, 26, 12, tzinfo=timezone.utc), None, NOON),
        ("", None, None),
        (None, None, None),
    ],
)
def test_read_time_limit_of_duration_or_moment(value: Any, seconds: float | None, moment: float | None) -> None:
    limit = read_time_limit(value)
    assert (limit.seconds, limit.moment, bool(limit)) == (seconds, moment, (seconds, moment) != (None, None))


@pytest.mark.parametrize(
    "text",
    [
        *("8 hours", "-1h", "8", "h", "1h30m", "1..5h", "0h", "0.0d", "4000d", "forever", "unlimited", "8H", "8,5h"),
        *("2026-11-26", "2026-11-26T12:00", "tomorrow", "12:00Z", "{{ x }}", "None", "1e3h"),
        *("9999-01-01T00:00Z", "1969-12-31T23:59Z"),
    ],
)
def test_read_time_limit_rejects_other_text(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        read_time_limit(text)


@pytest.mark.parametrize(("value", "seconds"), [("8h", 8 * HOUR), (" 45s ", 45.0), ("", None), (None, None)])
def test_read_duration_with_unit_or_nothing(value: Any, seconds: float | None) -> None:
    assert read_duration(value) == seconds


@pytest.mark.parametrize("text", ["0", "8", "8 hours", "2026-11-26T12:00Z"])
def test_read_duration_rejects_moments_and_other_text(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration such as 8h, 90m or 3d, not '"):
        read_duration(text)


@pytest.mark.parametrize(
    ("reaped_at", "seconds", "is_begun"),
    [(NOON, 0.0, True), (NOON, ENDING - 1, True), (NOON, ENDING, False), (None, 0.0, False)],
)
def test_end_that_a_sweep_began_counts_for_a_quarter_of_an_hour(
    reaped_at: float | None, seconds: float, is_begun: bool
) -> None:
    noted = "" if reaped_at is None else utc_rounded_up(reaped_at)
    assert end_begun(noted, NOON + seconds) == (reaped_at if is_begun else None)


@pytest.mark.parametrize(
    ("ago", "refused", "by_job", "texts"),
    [
        (SWEEPS, True, False, ()),
        (-SWEEPS, True, False, ()),
        (SWEEPS + 1, False, False, ("it ran last at 2026-11-26 10:44 UTC", "reap_timer installs a timer")),
        (-SWEEPS - 1, False, False, ("it ran last at 2026-11-26 13:15 UTC",)),
        (None, True, False, ("it has never run here. provision_lease_unswept is refuse. compute_index",)),
        (None, False, True, ("it has never run here. Enable the schedule",)),
    ],
)
def test_lease_is_unswept_if_no_sweep_was_complete_in_time(
    ago: float | None, refused: bool, by_job: bool, texts: tuple[str, ...]
) -> None:
    found = unswept(None if ago is None else NOON - ago, NOON, refused=refused, by_job=by_job)
    assert bool(found) is bool(texts) and all(text in found for text in texts)
    assert ("provision_lease_unswept" in found) is (refused and bool(texts))


def test_time_limit_ends_at_moment_or_after_duration() -> None:
    assert read_time_limit("8h").end(NOON) == NOON + 8 * HOUR
    assert read_time_limit("2026-11-26T12:00Z").end(0.0) == read_time_limit("2026-11-26T12:00Z").end(None) == NOON
    assert read_time_limit("8h").end(None) is None
    assert TimeLimit().end(NOON) is None
    assert (seconds_until(None, NOON), seconds_until(NOON, NOON - 60)) == (math.inf, 60.0)
    assert seconds_until(NOON, NOON + 60) == 0.0


@pytest.mark.parametrize(
    ("leased", "begin", "noted", "end"),
    [
        # Before the purchase, and without a registry: the lease as declared
        ("8h", NOON, None, NOON + 8 * HOUR),
        ("8h", None, None, None),
        ("2026-11-26T12:00Z", NOON - HOUR, None, NOON),
        ("2026-11-26T12:00Z", None, None, NOON),
        ("", NOON, None, None),
        # The lease counts from the creation if that is later: clocks differ, and the API takes time.
        ("8h", None, NOON + 8 * HOUR, NOON + 8 * HOUR),
        ("8h", NOON + 60, NOON + 8 * HOUR, NOON + 8 * HOUR + 60),
        ("8h", NOON - 60, NOON + 8 * HOUR, NOON + 8 * HOUR),
        # The API's time may change when its records are synchronized, so it moves the end by at most an hour.
        ("8h", NOON + HOUR, NOON + 8 * HOUR, NOON + 9 * HOUR),
        ("8h", NOON + DAY, NOON + 8 * HOUR, NOON + 9 * HOUR),
        # The lease was extended.
        ("8h", NOON + 60, NOON + 20 * HOUR, NOON + 20 * HOUR),
        # A lease until a time does not depend on the creation.
        ("2026-11-26T12:00Z", NOON + 60, NOON, NOON),
        ("2026-11-26T12:00Z", NOON + 60, NOON + DAY, NOON + DAY),
        ("2026-11-26T12:00Z", NOON + 60, NOON - DAY, NOON - DAY),
        # Without a declared lease the noted end counts.
        ("", NOON + 60, NOON, NOON),
    ],
)
def test_end_of_is_the_later_of_noted_end_and_lease_from_creation(
    leased: str, begin: float | None, noted: float | None, end: float | None
) -> None:
    assert end_of(read_time_limit(leased), begin, noted) == end
    assert noted is None or read_end(leased, utc_rounded_up(noted), begin) == end


@pytest.mark.parametrize(
    ("leased", "noted", "end"), [("8h", "", None), ("8h", None, None), ("eight", utc_rounded_up(NOON), NOON)]
)
def test_read_end_without_end_or_readable_lease(leased: str, noted: Any, end: float | None) -> None:
    assert read_end(leased, noted, NOON) == end


@pytest.mark.parametrize("noted", ["soon", "2026-11-26T12:00", "8h", 5, True])
def test_read_end_rejects_unreadable_end(noted: Any) -> None:
    with pytest.raises(ValueError, match="not a time with its zone"):
        read_end("8h", noted, NOON)


@pytest.mark.parametrize(("is_shorter", "end"), [(True, NOON), (False, NOON + HOUR)])
def test_shorter_end_also_replaces_the_declared_duration(is_shorter: bool, end: float) -> None:
    entry = {"provision_leased": "3h", **noted_end(NOON, is_shorter=is_shorter)}
    assert read_end(entry["provision_leased"], entry["provision_ends_at"], NOON - HOUR) == end


def test_utc_rounded_up_never_ends_a_lease_early() -> None:
    assert moment_of(utc_rounded_up(NOON)) == NOON
    assert utc_rounded_up(NOON + 0.2) == "2026-11-26T12:00:01Z"
    assert formatted(NOON + 59.9) == "2026-11-26 12:00 UTC"


@pytest.mark.parametrize(
    ("price", "seconds", "usd"),
    [(2.0, 8 * HOUR, 16.0), (7.2, 8 * HOUR, 57.6), (None, HOUR, None), (2.0, math.inf, None), (0.0, HOUR, 0.0)],
)
def test_cost_in_usd(price: float | None, seconds: float, usd: float | None) -> None:
    assert cost_in_usd(price, seconds) == (None if usd is None else pytest.approx(usd))


@given(st.decimals(min_value="0.01", max_value="500", places=2), st.integers(min_value=1, max_value=10_000))
def test_price_that_exactly_reaches_max_bill_passes(price: Any, hours: int) -> None:
    # People write both as decimals, whose product is exact; rounding of floats must not refuse the price.
    limit = max_price_for_bill(float(price * hours), hours * HOUR)
    assert float(price) <= limit < float(price) + 1e-6
    assert (max_price_for_bill(None, HOUR), max_price_for_bill(5.0, math.inf)) == (UNLIMITED, UNLIMITED)


@pytest.mark.parametrize(
    ("end", "bill", "line"),
    [
        (None, None, "until you end it"),
        (NOON, 57.6, "until 2026-11-26 12:00 UTC, at most USD 57.60"),
        (NOON, None, "until 2026-11-26 12:00 UTC, at most an unknown sum"),
    ],
)
def test_until_gives_end_and_largest_bill(end: float | None, bill: float | None, line: str) -> None:
    assert until(end, bill) == line


@pytest.mark.parametrize("moment", [-1.0, -1e18, 253_400_000_000.0, 1e18, math.inf, -math.inf, math.nan])
def test_moment_outside_the_calendar_is_unknown(moment: float) -> None:
    assert (utc_rounded_up(moment), formatted(moment)) == ("unknown", "unknown")
    assert until(moment, 5.0) == "until unknown, at most USD 5.00"


@pytest.mark.parametrize(
    ("noted", "created", "adopted", "begin"),
    [
        (NOON, None, False, NOON),
        (None, NOON, False, NOON),
        (None, None, False, None),
        (NOON, NOON + 60, False, NOON + 60),
        # The API's time is earlier, or much later: its clock is wrong, or its records have moved.
        (NOON, NOON - 60, False, NOON),
        (NOON, NOON + DAY, False, NOON),
        (NOON, NOON - 365 * DAY, False, NOON),
        # An adopted machine is older than its entry.
        (NOON, NOON - DAY, True, NOON - DAY),
    ],
)
def test_begin_of_trusts_api_time_within_an_hour(
    noted: float | None, created: float | None, adopted: bool, begin: float | None
) -> None:
    assert begin_of(noted, created, adopted=adopted) == begin
