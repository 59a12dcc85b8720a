# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report of spending shows: all sums, what is in none, and lines that fit."""

from __future__ import annotations

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill, spent
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending_report import (
    DAYS,
    lines,
    project_not_counted,
    warnings,
)

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86_400.0
BILL = Bill("default", "gpu-1", "o-1", ("r-1",), ("gpu",), 2.0, NOW - 3 * HOUR)


@pytest.mark.parametrize(
    ("bill", "end"),
    [
        (BILL, "USD in total: 6.00; now 2.00 per hour"),
        (BILL._replace(end=NOW - HOUR), "USD in total: 4.00; now 0.00 per hour"),
        (BILL._replace(price_per_hour=None), "USD in total: 0.00; now 0.00 + unknown per hour"),
        (
            BILL._replace(is_missing=True, missing_since="2027-01-15T05:00:00Z"),
            "USD in total: 6.00; now 2.00 per hour, 0.00 without what is missing",
        ),
    ],
)
def test_the_last_line_has_the_sum(bill: Bill, end: str) -> None:
    found = lines(spent([bill], NOW, 0.0))
    assert found[-1] == end
    assert max(map(len, found)) <= 80 and any(line.startswith("gpu-1 ") for line in found)
    assert any("MISSING" in line for line in found) is bill.is_missing


def test_of_many_days_the_last_ones_are_shown() -> None:
    found = lines(spent([BILL._replace(begin=NOW - 40 * DAY)], NOW, 0.0))
    assert f"The last {DAYS} of 41 days; the result has all of them." in found
    assert not [line for line in lines(spent([BILL], NOW, 0.0)) if "The last" in line]


@pytest.mark.parametrize(
    ("bill", "uncounted", "words"),
    [
        (BILL, [], ""),
        (BILL._replace(registered=False), [], "has no entry of gpu-1's offer o-1 (r-1) any more"),
        (BILL._replace(registered=False, offer_id="", resource_ids=()), [], "offer unknown (none known yet)"),
        (BILL._replace(price_per_hour=None), [], "In no sum, since price or beginning is unknown: gpu-1."),
        (BILL._replace(begin=None), [], "In no sum, since price or beginning is unknown: gpu-1."),
        (BILL, ["a", "b"], "Not counted, since they keep no registry: a, b."),
        (BILL._replace(project="red", begin=None), [], "unknown: red/gpu-1."),
    ],
)
def test_what_is_in_no_sum_is_said(bill: Bill, uncounted: list[str], words: str) -> None:
    found = list(warnings(spent([bill], NOW, 0.0), uncounted))
    assert len(found) == bool(words) and words in "".join(found)


def test_another_project_says_how_to_count_it() -> None:
    assert "-e provision_project=red counts it." in project_not_counted("red")
