# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much more time a machine may get."""

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
    variables_of_extension,
    why_above_budget,
    with_limits,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import (
    API_CLOCK,
    ENDING,
    Clock,
    Lease,
    read_lease,
    utc_rounded_up,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill, Ledger

from provision_samples import machine_id, offer_id

HOUR = 3600.0
BOUGHT = 1_800_000_000.0
ENDS = utc_rounded_up(BOUGHT + 8 * HOUR)


def known(leased: str = "8h", ends_at: Any = ENDS, **more: Any) -> Any:
    fields = {"provision_leased": leased, "provision_ends_at": ends_at, "provision_price_per_hour": 2.0}
    fields = {"provision_journaled_at": utc_rounded_up(BOUGHT), **fields, **more}
    own = {"provision_procured_offer_id": offer_id(1), "provision_resource_ids": [machine_id(1)]}
    return read_entry({**own, **fields})


@pytest.mark.parametrize(
    ("wish", "hours", "end", "more", "at_most"),
    [
        (TimeRequest(Lease(seconds=4 * HOUR)), 1.0, 12, 8.0, 24.0),
        (TimeRequest(Lease(moment=BOUGHT + 12 * HOUR)), 1.0, 12, 8.0, 24.0),
        (TimeRequest(Lease(moment=BOUGHT + 8 * HOUR)), 1.0, 8, 0.0, 16.0),
        # What is over already gets it from now on.
        (TimeRequest(Lease(seconds=4 * HOUR)), 9.0, 13, 10.0, 26.0),
        (TimeRequest(Lease(seconds=4 * HOUR), longest=read_lease("12h"), max_bill=24.0), 1.0, 12, 8.0, 24.0),
    ],
)
def test_more_time(wish: TimeRequest, hours: float, end: float, more: float, at_most: float) -> None:
    found = extension_of(known(), wish, Clock(BOUGHT + hours * HOUR))
    assert (found.end, found.more, found.at_most) == (
        BOUGHT + end * HOUR,
        pytest.approx(more),
        pytest.approx(at_most),
    )
    assert variables_of_extension(found) == {
        "provision_ends_at": utc_rounded_up(BOUGHT + end * HOUR),
        "provision_at_most": round(at_most, 2),
        "provision_reaped_at": None,
    }


@pytest.mark.parametrize(
    ("entry", "wish", "said"),
    [
        (read_entry(None), TimeRequest(Lease(seconds=HOUR)), "knows no machine of it"),
        (
            known(provision_resource_ids=[], provision_purchase="refused"),
            TimeRequest(Lease(seconds=HOUR)),
            "knows no machine",
        ),
        (known(ends_at="soon"), TimeRequest(Lease(seconds=HOUR)), "cannot be read"),
        (known(ends_at=""), TimeRequest(Lease(seconds=HOUR)), "has no lease, so nothing ends it."),
        (
            known(ends_at=""),
            TimeRequest(Lease(seconds=HOUR)),
            "instead of extend_by: -e extend_until=2027-01-15T10:00:00Z",
        ),
        (known(), TimeRequest(Lease(moment=BOUGHT)), "cannot be extended until 2027-01-15 08:00 UTC"),
        (known(), TimeRequest(Lease(moment=BOUGHT + 7 * HOUR)), "may live until 2027-01-15 16:00 UTC already"),
        (known(), TimeRequest(Lease(seconds=HOUR), longest=read_lease("8h")), "longer than provision_lease_max (8h)"),
        (
            known(provision_journaled_at=None),
            TimeRequest(Lease(seconds=HOUR), longest=read_lease("80h")),
            "its purchase has no date",
        ),
        (
            known(),
            TimeRequest(Lease(seconds=HOUR), max_bill=17.99),
            "up to USD 18.00 in all, and provision_max_bill is USD 17.99",
        ),
        (
            known(provision_price_per_hour=None),
            TimeRequest(Lease(seconds=HOUR), max_bill=1e6),
            "would cost an unknown sum",
        ),
        # A purchase in the future was noted by a wrong clock.
        (
            known(provision_journaled_at=utc_rounded_up(BOUGHT + 9 * HOUR)),
            TimeRequest(Lease(seconds=HOUR), max_bill=99.0),
            "would cost an unknown sum",
        ),
        (
            known(provision_reaped_at=utc_rounded_up(BOUGHT + HOUR)),
            TimeRequest(Lease(seconds=HOUR)),
            "A run began to end its machine",
        ),
    ],
)
def test_no_more_time(entry: Any, wish: TimeRequest, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        extension_of(entry, wish, Clock(BOUGHT + HOUR))


@pytest.mark.parametrize(("project", "file", "is_own"), [("red", "f", True), ("blue", "f", False), ("blue", "", True)])
def test_a_file_of_another_projects_host_gives_no_more_time(project: str, file: str, is_own: bool) -> None:
    entry = known(provision_resource_name="red-gpu-1", provision_project="red")
    raw = {"host": "gpu-1", "project": project, "lease_max": "", "max_bill": "", "budget": ""}
    said = "f was written for gpu-1 of the project red, but provision_project is blue."
    with nullcontext() if is_own else pytest.raises(ValueError, match=re.escape(said)):
        extension_of(entry, with_limits(TimeRequest(Lease(seconds=HOUR)), raw, file), Clock(BOUGHT))


def test_a_machine_without_a_lease_gets_one() -> None:
    found = extension_of(known("", ""), TimeRequest(Lease(moment=BOUGHT + 5 * HOUR)), Clock(BOUGHT + HOUR))
    assert (found.end, found.more, found.at_most) == (BOUGHT + 5 * HOUR, None, 10.0)


def test_what_a_sweep_could_not_end_may_be_extended_later() -> None:
    entry = known(provision_reaped_at=utc_rounded_up(BOUGHT + 8 * HOUR))
    wish = TimeRequest(Lease(seconds=HOUR))
    with pytest.raises(ValueError, match="A run began to end its machine"):
        extension_of(entry, wish, Clock(BOUGHT + 8 * HOUR + ENDING - 1))
    assert extension_of(entry, wish, Clock(BOUGHT + 8 * HOUR + ENDING)).end == BOUGHT + 9 * HOUR + ENDING


@pytest.mark.parametrize("groups", [["gpu", "supply_run"], ["gpu"]])
def test_a_job_that_has_begun_gets_no_more_time_and_that_is_said(groups: list[str]) -> None:
    found = extension_of(known(provision_groups=groups), TimeRequest(Lease(seconds=HOUR)), Clock(BOUGHT + HOUR))
    shown = extension_lines({"run-train": found})
    assert any("A job that has begun ends as planned (run-train)" in line for line in shown) == ("supply_run" in groups)
    assert max(map(len, shown)) <= 70


def test_an_empty_wish_has_no_limit() -> None:
    assert TimeRequest(Lease()).longest == Lease()


def test_the_clock_that_noted_the_end_moves_it() -> None:
    """A controller that is a day ahead takes and gives no time."""
    entry, clock = known(provision_clock="api"), Clock.of(BOUGHT + 25 * HOUR, -24 * HOUR)
    assert clock.now(API_CLOCK) == BOUGHT + HOUR
    assert extension_of(entry, TimeRequest(Lease(seconds=4 * HOUR)), clock).at_most == 24.0
    assert extension_of(known(), TimeRequest(Lease(seconds=4 * HOUR)), clock).at_most == 58.0


# The month has 17 days and 16 hours left, of 31.
BILLS = [
    Bill("default", "gpu-1", "o1", price_per_hour=2.0, begin=BOUGHT, ends_at=BOUGHT + 8 * HOUR),
    Bill("default", "gpu-2", "o2", price_per_hour=1.0, begin=BOUGHT, ends_at=BOUGHT + 10 * HOUR),
    Bill("default", "over", "o3", price_per_hour=3.0, begin=BOUGHT - 20 * HOUR, end=BOUGHT - 10 * HOUR),
    Bill("another", "gpu-3", "o4", price_per_hour=None, begin=BOUGHT),
]
STORAGE = Bill("default", "gpu-1", "s1", ("s1",), price_per_hour=1.0, begin=BOUGHT)
LATER = BOUGHT + 900 * HOUR
MOVED = {"gpu-2": Extension(None, BOUGHT + 20 * HOUR, None, None)}


@pytest.mark.parametrize(
    ("hours", "budget", "bills", "moved", "said"),
    [
        # 16 and 10 for what runs, and 30 for what is over
        (12, "64", BILLS, {}, ""),
        (12, "63.99", BILLS, {}, "the month 2027-01 of project default would cost USD 64.00, and provision_budget is"),
        (12, "63.99", BILLS, {}, "is USD 63.99. -e provision_budget=<USD> allows more."),
        (12, "", BILLS, {}, ""),
        (12, "unlimited", BILLS, {}, ""),
        # With what this run has extended before
        (12, "73.99", BILLS, MOVED, "would cost USD 74.00"),
        (12, "74", BILLS, MOVED, ""),
        # Storage of an earlier machine goes on until the month is over, for 400 hours
        (12, "423.99", [BILLS[0], STORAGE], {}, "would cost USD 424.00"),
        (12, "424", [BILLS[0], STORAGE], {}, ""),
        # The month costs too much already
        (910, "1", [BILLS[0]._replace(ends_at=LATER)], {}, "-e provision_budget=<USD> allows more."),
        (12, "1000000", [*BILLS, BILLS[1]._replace(price_per_hour=None)], {}, "would cost an unknown sum"),
        (12, "1", [BILLS[0]._replace(price_per_hour=None)], {}, "-e provision_budget=unlimited allows more."),
    ],
)
def test_the_budget_of_a_month(hours: float, budget: str, bills: Any, moved: Any, said: str) -> None:
    raw = {"host": "gpu-1", "project": "default", "lease_max": "", "max_bill": "", "budget": budget}
    ledgers = {"default": Ledger(tuple(bills), BOUGHT + HOUR)}
    why = why_above_budget(
        with_limits(TimeRequest(Lease()), raw), raw, moved, ledgers.__getitem__, BOUGHT + HOUR, BOUGHT + hours * HOUR
    )
    assert (said in why) if said else not why, why
    with pytest.raises(ValueError, match=re.escape(said)) if said else nullcontext():
        extension_of(known(), TimeRequest(Lease(moment=BOUGHT + 12 * HOUR)), Clock(BOUGHT), lambda _now, _end: why)
