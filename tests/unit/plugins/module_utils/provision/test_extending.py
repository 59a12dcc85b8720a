# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extension of leases: the new end, its cost, and why an extension is refused."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.extending import (
    Extension,
    TimeRequest,
    extension_lines,
    extension_of,
    extension_rows,
    read_time_request,
    variables_of_extension,
    why_above_budget,
    with_limits,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import (
    API_CLOCK,
    CLOCKS_APART,
    ENDING,
    Clock,
    TimeLimit,
    read_time_limit,
    utc_rounded_up,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill, Ledger

from provision_samples import machine_id, offer_id

HOUR = 3600.0
BOUGHT = 1_800_000_000.0
ENDS = utc_rounded_up(BOUGHT + 8 * HOUR)


def leased_entry(leased: str = "8h", ends_at: Any = ENDS, **fields: Any) -> Any:
    lease = {"provision_leased": leased, "provision_ends_at": ends_at, "provision_price_per_hour": 2.0}
    purchase = {"provision_procured_offer_id": offer_id(1), "provision_resource_ids": [machine_id(1)]}
    return read_entry({**purchase, **lease, "provision_journaled_at": utc_rounded_up(BOUGHT), **fields})


@pytest.mark.parametrize(
    ("by", "until", "expected"),
    [
        ("4h", "", TimeLimit(seconds=4 * HOUR)),
        (" 90m ", None, TimeLimit(seconds=1.5 * HOUR)),
        ("", "2027-01-15T10:00Z", TimeLimit(moment=BOUGHT + 2 * HOUR)),
        ("", "", "Give either extend_by"),
        (None, None, "Give either extend_by"),
        ("4h", "2027-01-15T10:00Z", "Give either extend_by"),
        ("", "8h", "extend_until must be a time with its zone such as 2026-12-01T06:00Z, not '8h'"),
        ("2027-01-15T10:00Z", "", "extend_by must be a duration such as 8h, 90m or 3d, not '2027-01-15T10:00Z'"),
        ("", "tomorrow", "extend_until must be a time with its zone"),
        ("more", "", "extend_by must be a duration"),
        ("0h", "", "extend_by must be a duration"),
    ],
)
def test_request_names_either_duration_or_moment(by: Any, until: Any, expected: Any) -> None:
    if isinstance(expected, TimeLimit):
        assert read_time_request(by, until).more == expected
    else:
        with pytest.raises(ValueError, match=re.escape(expected)):
            read_time_request(by, until)


@pytest.mark.parametrize(
    ("limit", "variable"), [("lease_max", "provision_lease_max"), ("max_bill", "provision_max_bill")]
)
def test_unreadable_limit_of_host_forbids_extension(limit: str, variable: str) -> None:
    """Without this, a limit that is misspelled would limit nothing."""
    raw = {"host": "gpu-1", "project": "default", "lease_max": "", "max_bill": "", "budget": "", limit: "much"}
    with pytest.raises(ValueError, match=f"{variable} cannot be read"):
        with_limits(TimeRequest(TimeLimit()), {**raw, "trouble": {variable: f"{variable} cannot be read."}})
    other = {**raw, limit: "", "trouble": {"provision_idle_after": "It is of no concern here."}}
    assert with_limits(TimeRequest(TimeLimit()), other).longest == TimeLimit()


@pytest.mark.parametrize(("max_bill", "stops"), [("17.99", True), ("18", False), ("", False), (None, False)])
def test_declared_bill_limits_extension(max_bill: Any, stops: bool) -> None:
    raw = {"host": "gpu-1", "project": "default", "lease_max": "", "max_bill": max_bill, "budget": ""}
    with pytest.raises(ValueError, match=r"provision_max_bill is USD 17\.99") if stops else nullcontext():
        extension_of(leased_entry(), with_limits(TimeRequest(TimeLimit(seconds=HOUR)), raw), Clock(BOUGHT + HOUR))


def test_bill_may_be_used_up() -> None:
    """Twelve hours at 0.14 are 1.6800000000000002 in binary."""
    entry = leased_entry(provision_price_per_hour=0.14)
    time_request = TimeRequest(TimeLimit(moment=BOUGHT + 12 * HOUR), max_bill=1.68)
    assert extension_of(entry, time_request, Clock(BOUGHT + HOUR)).end == BOUGHT + 12 * HOUR


@pytest.mark.parametrize(
    ("extension", "noted", "row"),
    [
        (
            Extension(BOUGHT, BOUGHT + HOUR, 2.346, 18.006),
            18.01,
            {"before": "2027-01-15 08:00 UTC", "until": "2027-01-15 09:00 UTC", "more": 2.35, "at_most": 18.01},
        ),
        (
            Extension(None, BOUGHT + HOUR, None, None),
            None,
            {"before": None, "until": "2027-01-15 09:00 UTC", "more": None, "at_most": None},
        ),
    ],
)
def test_unknown_bill_of_extension_stays_unknown(extension: Extension, noted: Any, row: dict[str, Any]) -> None:
    assert variables_of_extension(extension)["provision_at_most"] == noted
    assert extension_rows({"gpu-1": extension}) == [{"host": "gpu-1", **row}]


def test_lines_of_extensions_add_known_costs() -> None:
    known = Extension(BOUGHT, BOUGHT + HOUR, 2.0, 18.0)
    lines = extension_lines({"gpu-1": known, "gpu-2": known, "gpu-3": Extension(None, BOUGHT + HOUR, None, None)})
    assert lines[-1] == "USD more in total: 4.00" and len(lines) == 6
    assert lines[1].split()[:3] == ["gpu-1", "2027-01-15", "08:00"] and lines[3].split()[:2] == ["gpu-3", "-"]
    assert extension_lines({}) == ["No lease was extended."]


@pytest.mark.parametrize(
    ("time_request", "hours", "end", "more", "at_most"),
    [
        (TimeRequest(TimeLimit(seconds=4 * HOUR)), 1.0, 12, 8.0, 24.0),
        (TimeRequest(TimeLimit(moment=BOUGHT + 12 * HOUR)), 1.0, 12, 8.0, 24.0),
        (TimeRequest(TimeLimit(moment=BOUGHT + 8 * HOUR)), 1.0, 8, 0.0, 16.0),
        # A lease that is over is extended from now on.
        (TimeRequest(TimeLimit(seconds=4 * HOUR)), 9.0, 13, 10.0, 26.0),
        (TimeRequest(TimeLimit(seconds=4 * HOUR), longest=read_time_limit("12h"), max_bill=24.0), 1.0, 12, 8.0, 24.0),
    ],
)
def test_extension_has_new_end_and_cost(
    time_request: TimeRequest, hours: float, end: float, more: float, at_most: float
) -> None:
    found = extension_of(leased_entry(), time_request, Clock(BOUGHT + hours * HOUR))
    assert (found.end, found.more, found.at_most) == (
        BOUGHT + end * HOUR,
        pytest.approx(more),
        pytest.approx(at_most),
    )
    assert variables_of_extension(found) == {
        "provision_ends_at": utc_rounded_up(BOUGHT + end * HOUR),
        "provision_at_most": round(at_most, 2),
        "provision_reaped_at": None,
        "provision_storage_ends": None,
    }


@pytest.mark.parametrize(
    ("entry", "time_request", "reason"),
    [
        (read_entry(None), TimeRequest(TimeLimit(seconds=HOUR)), "knows no machine of it"),
        (
            leased_entry(provision_resource_ids=[], provision_purchase="refused"),
            TimeRequest(TimeLimit(seconds=HOUR)),
            "knows no machine",
        ),
        (leased_entry(ends_at="soon"), TimeRequest(TimeLimit(seconds=HOUR)), "cannot be read"),
        (leased_entry(ends_at=""), TimeRequest(TimeLimit(seconds=HOUR)), "has no lease, so nothing ends it."),
        (
            leased_entry(ends_at=""),
            TimeRequest(TimeLimit(seconds=HOUR)),
            "replace extend_by: -e extend_until=2027-01-15T10:00:00Z",
        ),
        (leased_entry(), TimeRequest(TimeLimit(moment=BOUGHT)), "The new end, 2027-01-15 08:00 UTC, has passed"),
        (
            leased_entry(ends_at=utc_rounded_up(BOUGHT + HOUR)),
            TimeRequest(TimeLimit(moment=BOUGHT + HOUR)),
            "2027-01-15 09:00 UTC, has passed: it is 2027-01-15 09:00 UTC now",
        ),
        (leased_entry(), TimeRequest(TimeLimit(moment=BOUGHT + 7 * HOUR)), ": at 2027-01-15 16:00 UTC"),
        (
            leased_entry(),
            TimeRequest(TimeLimit(seconds=HOUR), longest=read_time_limit("8h")),
            "exceed provision_lease_max (8h)",
        ),
        (
            leased_entry(provision_journaled_at=None),
            TimeRequest(TimeLimit(seconds=HOUR), longest=read_time_limit("80h")),
            "its purchase has no date",
        ),
        (
            leased_entry(),
            TimeRequest(TimeLimit(seconds=HOUR), max_bill=17.99),
            "up to USD 18.00 in all, and provision_max_bill is USD 17.99",
        ),
        (
            leased_entry(),
            TimeRequest(TimeLimit(seconds=1.25 * HOUR), max_bill=18.49),
            "up to USD 18.50 in all, and provision_max_bill is USD 18.49",
        ),
        (
            leased_entry(provision_price_per_hour=None),
            TimeRequest(TimeLimit(seconds=HOUR), max_bill=1e6),
            "would cost an unknown sum",
        ),
        # A purchase time in the future comes from a wrong clock.
        (
            leased_entry(provision_journaled_at=utc_rounded_up(BOUGHT + 9 * HOUR)),
            TimeRequest(TimeLimit(seconds=HOUR), max_bill=99.0),
            "would cost an unknown sum",
        ),
        (
            leased_entry(provision_reaped_at=utc_rounded_up(BOUGHT + HOUR)),
            TimeRequest(TimeLimit(seconds=HOUR)),
            "A run began to end its machine",
        ),
        (
            leased_entry(provision_reaped_at=utc_rounded_up(BOUGHT + 0.9 * HOUR)),
            TimeRequest(TimeLimit(seconds=HOUR)),
            "A run began to end its machine at 2027-01-15 08:54 UTC",
        ),
    ],
)
def test_refused_extension_gives_reason(entry: Any, time_request: TimeRequest, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        extension_of(entry, time_request, Clock(BOUGHT + HOUR))


@pytest.mark.parametrize(("project", "file", "is_own"), [("red", "f", True), ("blue", "f", False), ("blue", "", True)])
def test_entry_file_of_another_project_is_not_extended(project: str, file: str, is_own: bool) -> None:
    entry = leased_entry(provision_resource_name="red-gpu-1", provision_project="red")
    raw = {"host": "gpu-1", "project": project, "lease_max": "", "max_bill": "", "budget": ""}
    reason = "f was written for gpu-1 of the project red, but provision_project is blue."
    with nullcontext() if is_own else pytest.raises(ValueError, match=re.escape(reason)):
        extension_of(entry, with_limits(TimeRequest(TimeLimit(seconds=HOUR)), raw, file), Clock(BOUGHT))


@pytest.mark.parametrize(("ahead", "at_most"), [(CLOCKS_APART, 16 - 2 * CLOCKS_APART / HOUR), (301.0, None)])
def test_purchase_by_a_clock_slightly_ahead_still_counts(ahead: float, at_most: float | None) -> None:
    entry = leased_entry(provision_journaled_at=utc_rounded_up(BOUGHT + ahead))
    found = extension_of(entry, TimeRequest(TimeLimit(moment=BOUGHT + 8 * HOUR)), Clock(BOUGHT))
    assert found.at_most == (None if at_most is None else pytest.approx(at_most))


def test_machine_without_lease_gets_one() -> None:
    found = extension_of(leased_entry("", ""), TimeRequest(TimeLimit(moment=BOUGHT + 5 * HOUR)), Clock(BOUGHT + HOUR))
    assert (found.end, found.more, found.at_most) == (BOUGHT + 5 * HOUR, None, 10.0)


def test_machine_with_failed_end_may_be_extended_later() -> None:
    entry = leased_entry(provision_reaped_at=utc_rounded_up(BOUGHT + 8 * HOUR))
    one_hour = TimeRequest(TimeLimit(seconds=HOUR))
    with pytest.raises(ValueError, match="A run began to end its machine"):
        extension_of(entry, one_hour, Clock(BOUGHT + 8 * HOUR + ENDING - 1))
    assert extension_of(entry, one_hour, Clock(BOUGHT + 8 * HOUR + ENDING)).end == BOUGHT + 9 * HOUR + ENDING


@pytest.mark.parametrize("groups", [["gpu", "supply_run"], ["gpu"]])
def test_report_warns_about_jobs_that_get_no_more_time(groups: list[str]) -> None:
    request = TimeRequest(TimeLimit(seconds=HOUR))
    found = extension_of(leased_entry(provision_groups=groups), request, Clock(BOUGHT + HOUR))
    lines = extension_lines({"run-train": found})
    assert any("A job that has begun ends as planned (run-train)" in line for line in lines) == ("supply_run" in groups)
    assert max(map(len, lines)) <= 70


def test_lease_is_extended_by_the_clock_that_noted_its_end() -> None:
    """The clock of this controller is a day ahead."""
    entry, clock = leased_entry(provision_clock="api"), Clock.of(BOUGHT + 25 * HOUR, -24 * HOUR)
    assert clock.now(API_CLOCK) == BOUGHT + HOUR
    assert extension_of(entry, TimeRequest(TimeLimit(seconds=4 * HOUR)), clock).at_most == 24.0
    assert extension_of(leased_entry(), TimeRequest(TimeLimit(seconds=4 * HOUR)), clock).at_most == 58.0


@pytest.mark.parametrize(("ahead", "hours"), [(-24.0, 12.0), (0.5, 12.5), (2.0, 13.0), (24 * 366.0, None)])
def test_wrong_clock_extends_a_lease_by_an_hour_more_at_most(ahead: float, hours: float | None) -> None:
    """The API's clock noted the end, and only this computer's can be read."""
    entry, clock = leased_entry(provision_clock="api"), Clock(BOUGHT + (8 + ahead) * HOUR)
    with nullcontext() if hours else pytest.raises(ValueError, match="set a later extend_until"):
        assert extension_of(entry, TimeRequest(TimeLimit(seconds=4 * HOUR)), clock).end == BOUGHT + (hours or 0) * HOUR


# 17 days and 16 hours of the month are left.
BILLS = [
    Bill("default", "gpu-1", "o1", price_per_hour=2.0, begin=BOUGHT, ends_at=BOUGHT + 8 * HOUR),
    Bill("default", "gpu-2", "o2", price_per_hour=1.0, begin=BOUGHT, ends_at=BOUGHT + 10 * HOUR),
    Bill("default", "over", "o3", price_per_hour=3.0, begin=BOUGHT - 20 * HOUR, end=BOUGHT - 10 * HOUR),
    Bill("another", "gpu-3", "o4", price_per_hour=None, begin=BOUGHT),
]
STORAGE = Bill("default", "gpu-1", "s1", ("s1",), price_per_hour=1.0, begin=BOUGHT)
LATER = BOUGHT + 900 * HOUR
MOVED = {"gpu-2": Extension(None, BOUGHT + 20 * HOUR, None, None)}
NAMED = {"gpu-1", "gpu-2"}
OVER = BILLS[1]._replace(ends_at=BOUGHT + 0.5 * HOUR)
AGAIN = BILLS[1]._replace(begin=BOUGHT - HOUR, ends_at=BOUGHT - 0.5 * HOUR, end=BOUGHT - 0.5 * HOUR)


@pytest.mark.parametrize(
    ("hours", "budget", "bills", "moved", "reason"),
    [
        # 24 and 10 for the machines that run, and 30 for the one that has ended
        (12, "64", BILLS, {}, ""),
        (12, "63.99", BILLS, {}, "project default would cost USD 64.00 in 2027-01, and provision_budget is"),
        (12, "63.99", BILLS, {}, "is USD 63.99. -e provision_budget=<USD> allows more."),
        (12, "", BILLS, {}, ""),
        (12, "unlimited", BILLS, {}, ""),
        # This run has extended another lease before.
        (12, "73.99", BILLS, MOVED, "would cost USD 74.00"),
        (12, "74", BILLS, MOVED, ""),
        # A lease that is over is extended as well, here also until the 12th hour; that of another host is not.
        (12, "36", [BILLS[0], OVER], {}, ""),
        (12, "35.99", [BILLS[0], OVER], {}, "would cost USD 36.00"),
        (12, "44", [BILLS[0], OVER], MOVED, ""),
        (12, "400", [BILLS[0], OVER._replace(host="gpu-9")], {}, "gpu-1 USD 22.00 (runs on); gpu-9 USD "),
        # The lease of an earlier machine of the host, which has ended, is over.
        (12, "34.5", [BILLS[0], BILLS[1], AGAIN], {}, ""),
        (12, "34.49", [BILLS[0], BILLS[1], AGAIN], {}, "would cost USD 34.50"),
        # Storage of an earlier machine is billed until the end of the month, for 400 hours.
        (12, "423.99", [BILLS[0], STORAGE], {}, "would cost USD 424.00"),
        (12, "424", [BILLS[0], STORAGE], {}, ""),
        # The month exceeds its budget even without the extension.
        (910, "1", [BILLS[0]._replace(ends_at=LATER)], {}, "-e provision_budget=<USD> allows more."),
        (12, "1000000", [*BILLS, BILLS[1]._replace(price_per_hour=None)], {}, "would cost an unknown sum"),
        (12, "1", [BILLS[0]._replace(price_per_hour=None)], {}, "-e provision_budget=unlimited allows more."),
    ],
)
def test_extension_must_stay_within_budget(hours: float, budget: str, bills: Any, moved: Any, reason: str) -> None:
    raw = {"host": "gpu-1", "project": "default", "lease_max": "", "max_bill": "", "budget": budget}
    ledgers = {"default": Ledger(tuple(bills), BOUGHT + HOUR)}
    limits, now, end = with_limits(TimeRequest(TimeLimit()), raw), BOUGHT + HOUR, BOUGHT + hours * HOUR
    found = why_above_budget(limits, raw, NAMED, moved, ledgers.__getitem__, now, end)
    assert (reason in found) if reason else not found, found
    with pytest.raises(ValueError, match=re.escape(reason)) if reason else nullcontext():
        extension_of(
            leased_entry(), TimeRequest(TimeLimit(moment=BOUGHT + 12 * HOUR)), Clock(BOUGHT), lambda _now, _end: found
        )


def test_unreadable_ledger_forbids_extension_within_budget() -> None:
    raw = {"host": "gpu-1", "project": "default", "lease_max": "", "max_bill": "", "budget": "1000"}
    ledger = Ledger((), BOUGHT, unreadable="spend.jsonl is no file.")
    for budget, part in (("1000", "cannot be read, so provision_budget cannot be checked"), ("", "")):
        limits = with_limits(TimeRequest(TimeLimit()), {**raw, "budget": budget})
        found = why_above_budget(limits, raw, NAMED, {}, lambda _project: ledger, BOUGHT, BOUGHT + HOUR)
        assert part in found and bool(found) is bool(part)
