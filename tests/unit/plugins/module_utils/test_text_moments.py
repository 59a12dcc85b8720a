# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversions between timestamps and seconds, also outside the calendar."""

from __future__ import annotations

import math
import time
from datetime import date, datetime, timedelta, timezone

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ceilings import month_of
from ansible_collections.compute_index.supply.plugins.module_utils._text import (
    END,
    first_timestamp,
    formatted,
    seconds_of,
    utc,
)
from hypothesis import example, given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2027-01-15T08:00:00", 1_800_000_000.0),
        (datetime(2027, 1, 15, 10, tzinfo=timezone(timedelta(hours=2))), 1_800_000_000.0),
        (datetime(2027, 1, 15, 8, 0, 0, 500_000), 1_800_000_000.5),
        (date(2027, 1, 15), 1_799_971_200.0),
        ("9998-12-31T23:59:59Z", END - 1),
        # outside the calendar, as given or in UTC
        ("9999-01-01T00:00:00Z", None),
        ("9998-12-31T23:59:59-01:00", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("1969-12-31T23:59:59Z", None),
        (datetime(1, 1, 1), None),
        ("now", None),
        (None, None),
        (5, None),
    ],
)
def test_seconds_of_and_first_timestamp(text: object, seconds: float | None) -> None:
    assert seconds_of(text) == seconds
    assert first_timestamp(["", text, "2027-01-15T08:00:00Z"]) == (1_800_000_000.0 if seconds is None else seconds)


def test_time_without_zone_means_utc_and_not_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert seconds_of("2027-01-15T08:00:00") == 1_800_000_000.0
        assert seconds_of(datetime(2027, 1, 15, 8)) == 1_800_000_000.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.floats() | st.integers())
@example(math.nan)
@example(END)
@example(-1.0)
def test_any_number_of_seconds_is_formatted_or_unknown(seconds: float) -> None:
    texts = (utc(seconds), formatted(seconds), month_of(seconds)[0])
    assert ("unknown" in texts) is (texts == ("unknown",) * 3) is (not 0 <= seconds < END)
    assert seconds_of(texts[0]) == (None if "unknown" in texts else math.floor(seconds))


@given(st.floats(min_value=0, max_value=END - 1))
def test_month_of_contains_the_moment(seconds: float) -> None:
    _name, begin, after = month_of(seconds)
    assert begin <= seconds < after and after - begin <= 31 * 86_400


@given(st.datetimes() | st.datetimes(timezones=st.timezones()) | st.text(max_size=30))
def test_seconds_of_accepts_any_value(text: object) -> None:
    found = seconds_of(text)
    assert found is None or 0 <= found < END
