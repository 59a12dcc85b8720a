# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What purchases have cost at most, and that all ways to add it up agree."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import Sum
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import (
    DAYS,
    MILLION,
    MOST_PUBLISHED,
    Bill,
    Ledger,
    cents,
    combined_ledger,
    cost_lines,
    dollars,
    millionths_of_usd,
    read_since,
    sheet,
    spending_of,
    warnings,
)
from ansible_collections.compute_index.supply.plugins.module_utils._text import seconds_of, utc
from hypothesis import given
from hypothesis import strategies as st


def at(text: str) -> float:
    moment = seconds_of(text)
    assert moment is not None
    return moment


NOW = at("2026-03-01T12:00:00Z")
BILL = Bill("default", "gpu-1", "o", ("r",), ("gpu",), 2.4, at("2026-02-27T18:00:00Z"))


def ended(when: str, **fields: Any) -> Bill:
    return BILL._replace(end=at(when), why="decommissioned", **fields)


@pytest.mark.parametrize(
    ("bill", "since", "days"),
    [
        pytest.param(BILL, 0.0, {"2026-02-27": 14.4, "2026-02-28": 57.6, "2026-03-01": 28.8}, id="it runs"),
        pytest.param(ended("2026-02-27T19:00:00Z"), 0.0, {"2026-02-27": 2.4}, id="it has ended"),
        pytest.param(ended("2026-02-28T00:00:00Z"), 0.0, {"2026-02-27": 14.4}, id="at midnight"),
        pytest.param(BILL, at("2026-02-28T12:00:00Z"), {"2026-02-28": 28.8, "2026-03-01": 28.8}, id="since a moment"),
        pytest.param(ended("2026-02-27T19:00:00Z"), at("2026-02-28T00:00:00Z"), {}, id="ended before that"),
        pytest.param(BILL._replace(begin=NOW + 5), 0.0, {}, id="by a clock that is ahead"),
        pytest.param(
            ended("2026-03-01T13:00:00Z"), at("2026-03-01T00:00:00Z"), {"2026-03-01": 31.2}, id="by ours later"
        ),
        pytest.param(BILL._replace(price_per_hour=0.0, begin=NOW - 60), 0.0, {"2026-03-01": 0.0}, id="for nothing"),
        pytest.param(BILL._replace(price_per_hour=None), 0.0, {}, id="price unknown"),
        pytest.param(BILL._replace(begin=None), 0.0, {}, id="beginning unknown"),
    ],
)
def test_days(bill: Bill, since: float, days: dict[str, float]) -> None:
    found = spending_of([bill], NOW, since)
    assert {day: dollars(millionths) for day, millionths in found.total.days.items()} == days
    assert dollars(found.total.millionths) == round(sum(days.values()), 6)
    is_over = bill.end is not None and bill.end <= since
    assert found.total.unknown == (not bill.is_known(NOW)) and len(found.hosts) == (not is_over)


@pytest.mark.parametrize("first", [True, False])
def test_what_was_moved_between_registries_counts_once(first: bool) -> None:
    moved, other = ended("2026-02-27T20:00:00Z")._replace(why="moved"), BILL._replace(host="gpu-2", offer_id="p")
    ledgers = [Ledger((moved, other), NOW - 1, ("one",)), Ledger((BILL, BILL._replace(project="team")), NOW, ("two",))]
    found = combined_ledger(ledgers if first else ledgers[::-1], 0.0)
    assert sorted(found.bills) == sorted([BILL, BILL._replace(project="team"), other])
    assert (found.now, sorted(found.warnings), combined_ledger([], 5.0)) == (NOW, ["one", "two"], Ledger((), 5.0))


def test_rows() -> None:
    bills = [
        BILL,
        ended("2026-02-27T19:00:00Z", offer_id="p", groups=("gpu", "train")),
        BILL._replace(host="gpu-2", price_per_hour=None),
        BILL._replace(host="gpu-2", project="red", groups=(), price_per_hour=1.0, begin=at("2026-03-01T11:00:00Z")),
    ]
    found = spending_of(bills, NOW)
    assert list(found.hosts) == ["gpu-1", "gpu-2", "red/gpu-2"]
    first, second, third = found.hosts.values()
    assert (first.purchases, first.seconds, dollars(first.millionths)) == (2, 43 * 3600.0, 103.2)
    assert (first.runs, second.runs, third.runs) == (Sum(2.4), Sum(0.0, 1), Sum(1.0))
    assert (second.unknown, second.millionths, second.purchases) == (1, 0, 1)
    assert {name: (row.purchases, dollars(row.millionths)) for name, row in found.groups.items()} == {
        "gpu": (3, 103.2),
        "train": (1, 2.4),
        "ungrouped": (1, 1.0),
    }
    assert {month: dollars(millionths) for month, millionths in found.total.months.items()} == {
        "2026-02": 74.4,
        "2026-03": 29.8,
    }
    assert (dollars(found.total.millionths), found.total.runs, found.total.unknown) == (104.2, Sum(3.4, 1), 1)


def test_of_many_purchases_those_are_published_that_may_run_or_have_ended_last() -> None:
    over = [ended("2026-02-27T19:00:00Z")] * 3
    older = [ended("2026-02-26T19:00:00Z", begin=at("2026-02-26T18:00:00Z"))] * MOST_PUBLISHED
    found = spending_of([*older, BILL, *over], NOW).published
    assert found["purchases_left_out"] == 4 and len(found["purchases"]) == MOST_PUBLISHED
    assert [each["end"] for each in found["purchases"][-4:]] == [*["2026-02-27T19:00:00Z"] * 3, None]
    assert found["groups"]["gpu"]["purchases"] == MOST_PUBLISHED + 4
    assert spending_of([BILL, *over], NOW).published["purchases_left_out"] == 0


@given(price=st.floats(0, 1000).map(lambda price: round(price, 6)), begin=st.integers(0, 10**9), more=st.floats(0, 1e7))
def test_whole_seconds_cost_what_fractions_of_them_do(price: float, begin: int, more: float) -> None:
    for end in (begin + more, float(begin + int(more))):
        exact = Fraction(str(price)) * (Fraction(end) - begin) * MILLION / 3600
        assert millionths_of_usd(price, float(begin), end) == pytest.approx(math.ceil(exact), abs=1)


def test_what_is_published() -> None:
    found = spending_of(
        [ended("2026-02-27T19:00:00.5Z"), BILL._replace(price_per_hour=None, begin=None)], NOW, at("2026-02-01")
    )
    published = found.published
    assert (published["since"], published["until"]) == ("2026-02-01T00:00:00Z", "2026-03-01T12:00:00Z")
    assert (published["usd"], published["unknown"], published["price_per_hour"]) == (2.400334, 1, 0.0)
    first, second = published["purchases"]
    assert (first["begin"], first["end"], first["usd"]) == ("2026-02-27T18:00:00Z", "2026-02-27T19:00:01Z", 2.400334)
    assert (second["begin"], second["end"], second["usd"]) == (None, None, None)
    assert published["hosts"]["gpu-1"]["purchases"] == 2


@pytest.mark.parametrize(("millionths", "shown"), [(0, 0.0), (1, 0.01), (10_000, 0.01), (2_400_334, 2.41)])
def test_cents(millionths: int, shown: float) -> None:
    assert cents(millionths) == shown


@pytest.mark.parametrize(
    ("price", "seconds", "millionths"),
    [(3.6, 1, 1000), (0.57, 3600, 570_000), (0.1, 1, 28), (2.5, 0, 0), (2.5, -1, 0), (None, 9, 0)],
)
def test_it_is_rounded_up(price: float | None, seconds: float, millionths: int) -> None:
    assert millionths_of_usd(price, 100.0, 100.0 + seconds) == millionths


prices = st.one_of(st.none(), st.floats(0, 500, allow_nan=False), st.sampled_from([0.0, 0.1, 2.95]))
moments = st.floats(NOW - 90 * 86_400, NOW + 5 * 86_400, allow_nan=False)
bills = st.builds(
    Bill,
    project=st.sampled_from(["default", "red"]),
    host=st.sampled_from(["gpu-1", "gpu-2"]),
    offer_id=st.uuids().map(str),
    groups=st.lists(st.sampled_from(["gpu", "train"]), max_size=3).map(tuple),
    price_per_hour=prices,
    begin=st.none() | moments,
    end=st.none() | moments,
)


@given(st.lists(bills, max_size=6), st.just(0.0) | moments)
def test_all_sums_agree(found: list[Bill], since: float) -> None:
    spending = spending_of(found, NOW, since)
    total = spending.total.millionths
    assert total == sum(spending.total.months.values()) == sum(row.millionths for row in spending.hosts.values())
    assert sum(row.unknown for row in spending.hosts.values()) == spending.total.unknown
    # What `decommission` says of each is rounded up in the same way.
    assert total == sum(bill.cost(since, NOW) for bill in found)
    begun = [(bill, max(bill.begin, since)) for bill in found if bill.begin is not None]
    exact = sum(millionths_of_usd(bill.price_per_hour, begin, bill.until(NOW)) for bill, begin in begun)
    assert exact - len(found) <= total <= exact + sum(2 + len(spending.total.days) for _bill in found)
    assert spending.total.runs.unknown == sum(row.runs.unknown for row in spending.hosts.values())


@given(st.lists(bills, max_size=6), moments)
def test_a_period_and_what_was_before_are_all(found: list[Bill], since: float) -> None:
    """But for what is rounded up on the day that is cut."""
    later = spending_of(found, NOW, since)
    before = spending_of([bill._replace(end=min(bill.end or NOW, since)) for bill in found], NOW)
    whole = spending_of(found, NOW)
    more = later.total.millionths + before.total.millionths - whole.total.millionths
    assert -len(found) <= more <= len(found) or since > NOW


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("", 0.0),
        (None, 0.0),
        (" 30d ", NOW - 30 * 86_400),
        ("12h", NOW - 43_200),
        ("90m", NOW - 5400),
        ("99999d", 0.0),
        ("2026-02-01", at("2026-02-01T00:00:00Z")),
        ("2026-02-01T10:00:00Z", at("2026-02-01T10:00:00Z")),
        ("2026-02-01 10:00:00+02:00", at("2026-02-01T08:00:00Z")),
        ("2026-02-01T10:00", at("2026-02-01T10:00:00Z")),
    ],
)
def test_since_when(value: object, moment: float) -> None:
    assert read_since(value, NOW) == moment


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *(
            (value, "must be a date, an ISO 8601 time")
            for value in ("30", "30 days", "-1d", "2026", "yesterday", "1.5")
        ),
        *((value, "must be a date, an ISO 8601 time") for value in ("2026-02-30", "2026-13-01", "d", True)),
        ("1.2.3d", "must be a number of seconds"),
        ("2026-03-02", "must lie in the past"),
        ("1960-01-01", "must be a date"),
        (utc(NOW + 60), "must lie in the past"),
    ],
)
def test_what_is_no_moment(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_since(value, NOW)


def test_a_spreadsheet_has_a_line_for_each_purchase_and_no_formula() -> None:
    odd = ended("2026-02-27T19:00:00Z", host="=cmd", groups=("a,b", "c"), resource_ids=("r", "s"))
    header, first, second, end = sheet(spending_of([odd, BILL], NOW).published["purchases"]).split("\n")
    assert header == "project,host,groups,begin,end,why,price_per_hour,usd,offer_id,resource_ids,registered"
    assert first.startswith('default,\'=cmd,"a,b c",') and first.endswith(",2.4,2.4,o,r s,True")
    assert second == "default,gpu-1,gpu,2026-02-27T18:00:00Z,,,2.4,100.8,o,r,True"
    assert end == ""


REPORTED_AT = 1_800_000_000.0
HOUR, DAY = 3600.0, 86_400.0
REPORTED = Bill("default", "gpu-1", "o-1", ("r-1",), ("gpu",), 2.0, REPORTED_AT - 3 * HOUR)


@pytest.mark.parametrize(
    ("bill", "end"),
    [
        (REPORTED, "USD in total: 6.00; now 2.00 per hour"),
        (REPORTED._replace(end=REPORTED_AT - HOUR), "USD in total: 4.00; now 0.00 per hour"),
        (REPORTED._replace(price_per_hour=None), "USD in total: 0.00; now 0.00 + unknown per hour"),
        (
            REPORTED._replace(is_missing=True, missing_since="2027-01-15T05:00:00Z"),
            "USD in total: 6.00; now 2.00 per hour, 0.00 without what is missing",
        ),
    ],
)
def test_the_last_line_has_the_sum(bill: Bill, end: str) -> None:
    found = cost_lines(spending_of([bill], REPORTED_AT, 0.0))
    assert found[-1] == end
    assert max(map(len, found)) <= 80 and any(line.startswith("gpu-1 ") for line in found)
    assert any("MISSING" in line for line in found) is bill.is_missing


def test_of_many_days_the_last_ones_are_shown() -> None:
    found = cost_lines(spending_of([REPORTED._replace(begin=REPORTED_AT - 40 * DAY)], REPORTED_AT, 0.0))
    assert f"The last {DAYS} of 41 days; the result has all of them." in found
    assert sum(line.startswith(("2026-12-", "2027-01-")) and len(line.split()[0]) == 10 for line in found) == DAYS
    assert not [line for line in cost_lines(spending_of([REPORTED], REPORTED_AT, 0.0)) if "The last" in line]


@pytest.mark.parametrize(
    ("bill", "uncounted", "words"),
    [
        (REPORTED, [], ""),
        (REPORTED._replace(registered=False), [], "has no entry for gpu-1's offer o-1 (r-1) any more"),
        (REPORTED._replace(registered=False, offer_id="", resource_ids=()), [], "offer unknown (none known yet)"),
        (REPORTED._replace(price_per_hour=None), [], "Not in the sums, since price or start is unknown: gpu-1."),
        (REPORTED._replace(begin=None), [], "Not in the sums, since price or start is unknown: gpu-1."),
        (REPORTED, ["a", "b"], "Not counted, since they keep no registry: a, b."),
        (REPORTED._replace(project="red", begin=None), [], "unknown: red/gpu-1."),
    ],
)
def test_what_is_in_no_sum_is_said(bill: Bill, uncounted: list[str], words: str) -> None:
    found = list(warnings(spending_of([bill], REPORTED_AT, 0.0), uncounted, ()))
    assert len(found) == bool(words) and words in "".join(found)


def test_another_project_says_how_to_count_it() -> None:
    (told,) = warnings(spending_of([REPORTED], REPORTED_AT, 0.0), (), ["red"])
    assert "-e provision_project=red counts it." in told
