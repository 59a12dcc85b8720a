# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The largest cost of purchases by day, host, group and project; all sums agree."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder
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
        pytest.param(BILL, 0.0, {"2026-02-27": 14.4, "2026-02-28": 57.6, "2026-03-01": 28.8}, id="running"),
        pytest.param(ended("2026-02-27T19:00:00Z"), 0.0, {"2026-02-27": 2.4}, id="ended"),
        pytest.param(ended("2026-02-28T00:00:00Z"), 0.0, {"2026-02-27": 14.4}, id="ended at midnight"),
        pytest.param(BILL, at("2026-02-28T12:00:00Z"), {"2026-02-28": 28.8, "2026-03-01": 28.8}, id="since noon"),
        pytest.param(ended("2026-02-27T19:00:00Z"), at("2026-02-28T00:00:00Z"), {}, id="ended before since"),
        pytest.param(ended("2026-02-28T00:00:00Z"), at("2026-02-28T00:00:00Z"), {}, id="ended at since"),
        pytest.param(BILL._replace(begin=NOW + 5), 0.0, {}, id="begins in the future"),
        pytest.param(
            ended("2026-03-01T13:00:00Z"), at("2026-03-01T00:00:00Z"), {"2026-03-01": 31.2}, id="ends in the future"
        ),
        pytest.param(BILL._replace(price_per_hour=0.0, begin=NOW - 60), 0.0, {"2026-03-01": 0.0}, id="free of charge"),
        pytest.param(BILL._replace(price_per_hour=None), 0.0, {}, id="price unknown"),
        pytest.param(BILL._replace(begin=None), 0.0, {}, id="begin unknown"),
    ],
)
def test_spending_counts_each_day_in_utc(bill: Bill, since: float, days: dict[str, float]) -> None:
    spending = spending_of([bill], NOW, since)
    assert {day: dollars(millionths) for day, millionths in spending.total.days.items()} == days
    assert dollars(spending.total.millionths) == round(sum(days.values()), 6)
    is_over = bill.end is not None and bill.end <= since
    assert spending.total.unknown == (not bill.is_known(NOW)) and len(spending.hosts) == (not is_over)


@pytest.mark.parametrize(
    ("bill", "is_known"),
    [
        (BILL, True),
        (BILL._replace(begin=NOW), True),
        (BILL._replace(begin=NOW + 1), False),
        (BILL._replace(end=BILL.begin), True),
        (BILL._replace(end=at("2026-02-27T17:59:59Z")), False),
        (BILL._replace(begin=NOW + 1, end=NOW + 2), True),
        (BILL._replace(price_per_hour=0.0), True),
        (BILL._replace(price_per_hour=None), False),
        (BILL._replace(begin=None), False),
    ],
)
def test_cost_is_unknown_without_a_price_or_if_a_clock_was_wrong(bill: Bill, is_known: bool) -> None:
    assert bill.is_known(NOW) is is_known
    assert spending_of([bill], NOW).total.unknown == (not is_known)


@pytest.mark.parametrize(
    ("bill", "has_ended"),
    [
        (ended("2026-02-27T20:00:00Z"), True),
        (BILL, False),
        (ended("2026-02-27T20:00:00Z", host="gpu-2"), False),
        (ended("2026-02-27T20:00:00Z", offer_id="p"), False),
    ],
)
def test_ledger_knows_the_end_of_a_purchase_by_host_and_offer(bill: Bill, has_ended: bool) -> None:
    assert Ledger((bill,), NOW).has_ended("gpu-1", "o") is has_ended


@pytest.mark.parametrize(("ids", "is_over"), [({"r"}, True), ({"r", "s"}, True), ({"s"}, False), (set(), False)])
def test_ledger_finds_ended_purchases_by_their_resources(ids: set[str], is_over: bool) -> None:
    over = ended("2026-02-27T20:00:00Z")
    assert Ledger((over, BILL), NOW).over(ids) == ([over] if is_over else [])


@pytest.mark.parametrize(
    ("first", "second", "expected_count"),
    [
        (BILL, BILL._replace(resource_ids=("s",)), 1),
        (BILL, BILL._replace(offer_id="p"), 2),
        (BILL._replace(offer_id=""), BILL._replace(offer_id=""), 1),
        (BILL._replace(offer_id=""), BILL._replace(offer_id="", resource_ids=("s",)), 2),
    ],
)
def test_purchases_of_registries_are_the_same_by_offer_else_by_resources(
    first: Bill, second: Bill, expected_count: int
) -> None:
    assert len(combined_ledger([Ledger((first,), NOW), Ledger((second,), NOW)], 0.0).bills) == expected_count


@pytest.mark.parametrize("first", [True, False])
def test_bill_moved_between_registries_counts_once(first: bool) -> None:
    moved, other = ended("2026-02-27T20:00:00Z")._replace(why="moved"), BILL._replace(host="gpu-2", offer_id="p")
    ledgers = [Ledger((moved, other), NOW - 1, ("one",)), Ledger((BILL, BILL._replace(project="team")), NOW, ("two",))]
    combined = combined_ledger(ledgers if first else ledgers[::-1], 0.0)
    assert sorted(combined.bills) == sorted([BILL, BILL._replace(project="team"), other])
    assert (combined.now, sorted(combined.warnings), combined_ledger([], 5.0)) == (NOW, ["one", "two"], Ledger((), 5.0))


def test_spending_adds_up_hosts_groups_and_months() -> None:
    bills = [
        BILL,
        ended("2026-02-27T19:00:00Z", offer_id="p", groups=("gpu", "train")),
        BILL._replace(host="gpu-2", price_per_hour=None),
        BILL._replace(host="gpu-2", project="red", groups=(), price_per_hour=1.0, begin=at("2026-03-01T11:00:00Z")),
    ]
    spending = spending_of(bills, NOW)
    assert list(spending.hosts) == ["gpu-1", "gpu-2", "red/gpu-2"]
    first, second, third = spending.hosts.values()
    assert (first.purchases, first.seconds, dollars(first.millionths)) == (2, 43 * 3600.0, 103.2)
    assert (first.runs, second.runs, third.runs) == (Sum(2.4), Sum(0.0, 1), Sum(1.0))
    assert (second.unknown, second.millionths, second.purchases) == (1, 0, 1)
    assert {name: (row.purchases, dollars(row.millionths)) for name, row in spending.groups.items()} == {
        "gpu": (3, 103.2),
        "train": (1, 2.4),
        "ungrouped": (1, 1.0),
    }
    assert {month: dollars(millionths) for month, millionths in spending.total.months.items()} == {
        "2026-02": 74.4,
        "2026-03": 29.8,
    }
    assert (dollars(spending.total.millionths), spending.total.runs, spending.total.unknown) == (104.2, Sum(3.4, 1), 1)


def test_published_purchases_are_running_or_newest() -> None:
    ended_last = [ended("2026-02-27T19:00:00Z")] * 3
    older = [ended("2026-02-26T19:00:00Z", begin=at("2026-02-26T18:00:00Z"))] * MOST_PUBLISHED
    published = spending_of([*older, BILL, *ended_last], NOW).published
    assert published["purchases_left_out"] == 4 and len(published["purchases"]) == MOST_PUBLISHED
    assert [each["end"] for each in published["purchases"][-4:]] == [*["2026-02-27T19:00:00Z"] * 3, None]
    assert published["groups"]["gpu"]["purchases"] == MOST_PUBLISHED + 4
    assert spending_of([BILL, *ended_last], NOW).published["purchases_left_out"] == 0


@given(
    price=st.floats(0, 1000).map(lambda price: round(price, 6)), begin=st.integers(0, 10**9), duration=st.floats(0, 1e7)
)
def test_cost_is_exact_for_whole_and_fractional_seconds(price: float, begin: int, duration: float) -> None:
    for end in (begin + duration, float(begin + int(duration))):
        exact = Fraction(str(price)) * (Fraction(end) - begin) * MILLION / 3600
        assert millionths_of_usd(price, float(begin), end) == pytest.approx(math.ceil(exact), abs=1)


def test_published_spending_has_times_and_costs() -> None:
    spending = spending_of(
        [ended("2026-02-27T19:00:00.5Z"), BILL._replace(price_per_hour=None, begin=None)], NOW, at("2026-02-01")
    )
    published = spending.published
    assert (published["since"], published["until"]) == ("2026-02-01T00:00:00Z", "2026-03-01T12:00:00Z")
    assert (published["usd"], published["unknown"], published["price_per_hour"]) == (2.400334, 1, 0.0)
    first, second = published["purchases"]
    assert (first["begin"], first["end"], first["usd"]) == ("2026-02-27T18:00:00Z", "2026-02-27T19:00:01Z", 2.400334)
    assert (second["begin"], second["end"], second["usd"]) == (None, None, None)
    assert published["hosts"]["gpu-1"]["purchases"] == 2
    assert published["price_per_hour_without_missing"] == 0.0
    assert spending_of([BILL], NOW).published["since"] is None


@pytest.mark.parametrize(("millionths", "usd"), [(0, 0.0), (1, 0.01), (10_000, 0.01), (2_400_334, 2.41)])
def test_cents_round_up(millionths: int, usd: float) -> None:
    assert cents(millionths) == usd


@pytest.mark.parametrize(
    ("price", "seconds", "millionths"),
    [(3.6, 1, 1000), (0.57, 3600, 570_000), (0.1, 1, 28), (2.5, 0, 0), (2.5, -1, 0), (None, 9, 0)],
)
def test_millionths_of_usd_round_up(price: float | None, seconds: float, millionths: int) -> None:
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
def test_sums_by_host_month_and_bill_agree(some_bills: list[Bill], since: float) -> None:
    spending = spending_of(some_bills, NOW, since)
    total = spending.total.millionths
    assert total == sum(spending.total.months.values()) == sum(row.millionths for row in spending.hosts.values())
    assert sum(row.unknown for row in spending.hosts.values()) == spending.total.unknown
    # `decommission` reports each bill, rounded up in the same way.
    assert total == sum(bill.cost(since, NOW) for bill in some_bills)
    begun = [(bill, max(bill.begin, since)) for bill in some_bills if bill.begin is not None]
    exact = sum(millionths_of_usd(bill.price_per_hour, begin, bill.until(NOW)) for bill, begin in begun)
    assert exact - len(some_bills) <= total <= exact + sum(2 + len(spending.total.days) for _bill in some_bills)
    assert spending.total.runs.unknown == sum(row.runs.unknown for row in spending.hosts.values())


@given(st.lists(bills, max_size=6), moments)
def test_costs_before_and_since_add_up_to_total(some_bills: list[Bill], since: float) -> None:
    """Except for rounding up on the day that is divided."""
    since_then = spending_of(some_bills, NOW, since)
    before = spending_of([bill._replace(end=min(bill.end or NOW, since)) for bill in some_bills], NOW)
    whole = spending_of(some_bills, NOW)
    excess = since_then.total.millionths + before.total.millionths - whole.total.millionths
    assert -len(some_bills) <= excess <= len(some_bills) or since > NOW


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
def test_read_since_accepts_durations_and_times(value: object, moment: float) -> None:
    assert read_since(value, NOW) == moment


@pytest.mark.parametrize(
    ("value", "expected_text"),
    [
        *(
            (value, "must be a date, an ISO 8601 time")
            for value in ("30", "30 days", "-1d", "2026", "20260201", "yesterday", "1.5")
        ),
        *((value, "must be a date, an ISO 8601 time") for value in ("2026-02-30", "2026-13-01", "d", True)),
        ("1.2.3d", "must be a number of seconds"),
        ("2026-03-02", "must lie in the past"),
        ("1960-01-01", "must be a date"),
        (utc(NOW + 60), "must lie in the past"),
    ],
)
def test_read_since_refuses_other_texts_and_future(value: object, expected_text: str) -> None:
    with pytest.raises(ValueError, match=expected_text):
        read_since(value, NOW)


def test_sheet_has_line_for_each_purchase_and_no_formula() -> None:
    bill_with_formula = ended("2026-02-27T19:00:00Z", host="=cmd", groups=("a,b", "c"), resource_ids=("r", "s"))
    header, first, second, end = sheet(spending_of([bill_with_formula, BILL], NOW).published["purchases"]).split("\n")
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
        (
            REPORTED._replace(end=REPORTED_AT - HOUR, missing_since="2027-01-15T05:00:00Z"),
            "USD in total: 4.00; now 0.00 per hour",
        ),
        (REPORTED._replace(price_per_hour=None), "USD in total: 0.00; now 0.00 + unknown per hour"),
        (
            REPORTED._replace(is_missing=True, missing_since="2027-01-15T05:00:00Z"),
            "USD in total: 6.00; now 2.00 per hour, 0.00 without missing machines",
        ),
    ],
)
def test_cost_lines_end_with_total(bill: Bill, end: str) -> None:
    lines = cost_lines(spending_of([bill], REPORTED_AT, 0.0))
    assert lines[-1] == end
    assert max(map(len, lines)) <= 80 and any(line.startswith("gpu-1 ") for line in lines)
    assert any("MISSING" in line for line in lines) is bill.is_missing


def test_cost_lines_show_newest_days() -> None:
    lines = cost_lines(spending_of([REPORTED._replace(begin=REPORTED_AT - 40 * DAY)], REPORTED_AT, 0.0))
    assert f"The last {DAYS} of 41 days; the result has all of them." in lines
    assert sum(line.startswith(("2026-12-", "2027-01-")) and len(line.split()[0]) == 10 for line in lines) == DAYS
    for days in (0, DAYS - 1):
        few = spending_of([REPORTED._replace(begin=REPORTED_AT - days * DAY - HOUR)], REPORTED_AT)
        assert len(few.total.days) == days + 1
        assert not [line for line in cost_lines(few) if "The last" in line]


@pytest.mark.parametrize(
    ("unknown", "sums"),
    [
        ([], "gpu-1 1 3.00 2.00 6.00"),
        ([REPORTED._replace(price_per_hour=None)], "gpu-1 2 6.00 2.00 + unknown 6.00 + unknown"),
        ([REPORTED._replace(begin=None)], "gpu-1 2 3.00 4.00 6.00 + unknown"),
        ([REPORTED._replace(price_per_hour=None, end=REPORTED_AT)], "gpu-1 2 6.00 2.00 6.00 + unknown"),
    ],
)
def test_cost_lines_say_which_sums_are_incomplete(unknown: list[Bill], sums: str) -> None:
    lines = cost_lines(spending_of([REPORTED, *unknown], REPORTED_AT, REPORTED_AT - 9 * HOUR))
    assert lines[2].startswith("Since 2027-01-14 23:00 UTC, until now, 2027-01-15 08:00 UTC;")
    assert sums in [" ".join(line.split()) for line in lines]


def test_cost_lines_without_purchases_have_no_tables() -> None:
    lines = cost_lines(spending_of([], REPORTED_AT), [Folder("/a/b/host_vars")], "/a")
    assert lines[2:] == [
        "Until now, 2027-01-15 08:00 UTC; what runs counts up to now.",
        "",
        "USD in total: 0.00; now 0.00 per hour",
        "Registry: b/host_vars",
    ]


@pytest.mark.parametrize(
    ("bill", "uncounted", "expected_text"),
    [
        (REPORTED, [], ""),
        (REPORTED._replace(registered=False), [], "no longer has an entry for gpu-1's offer o-1 (r-1), and"),
        (REPORTED._replace(registered=False, offer_id="", resource_ids=()), [], "offer unknown (none known yet)"),
        (REPORTED._replace(price_per_hour=None), [], "Not in the sums, since price or start is unknown: gpu-1."),
        (REPORTED._replace(begin=None), [], "Not in the sums, since price or start is unknown: gpu-1."),
        (REPORTED, ["a", "b"], "Not counted, since they keep no registry: a, b."),
        (REPORTED._replace(project="red", begin=None), [], "unknown: red/gpu-1."),
    ],
)
def test_warnings_name_costs_in_no_sum(bill: Bill, uncounted: list[str], expected_text: str) -> None:
    sentences = list(warnings(spending_of([bill], REPORTED_AT, 0.0), uncounted, ()))
    assert len(sentences) == bool(expected_text) and expected_text in "".join(sentences)


def test_warning_about_other_project_has_option_to_count_it() -> None:
    (warning,) = warnings(spending_of([REPORTED], REPORTED_AT, 0.0), (), ["red"])
    assert "-e provision_project=red counts it." in warning
