# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows and lines of reports about missing machines."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import (
    ADVICE_ON_MISSING,
    missing_lines,
    missing_row,
)

from provision_samples import machine_id

M, N = machine_id(1), machine_id(2)
SINCE = "2026-01-31T12:00:00Z"
COUNTED = missing_row("gpu-1", SINCE, 2.0, [M], counts=True)
UNCOUNTED = missing_row("gpu-2", SINCE, None, [N], counts=False)


def test_missing_row_has_fields_for_workflows() -> None:
    assert COUNTED == {
        **{"host": "gpu-1", "since": SINCE, "price_per_hour": 2.0},
        **{"counts": True, "resource_ids": [M]},
    }


@pytest.mark.parametrize(
    ("rows", "titles"),
    [
        ([], []),
        ([COUNTED], ["MISSING: the API does not find it. Maybe billed, counts in ceilings"]),
        ([UNCOUNTED], ["MISSING after two looks: maybe billed, but in no ceiling per hour"]),
        (
            [UNCOUNTED, COUNTED],
            [
                "MISSING: the API does not find it. Maybe billed, counts in ceilings",
                "MISSING after two looks: maybe billed, but in no ceiling per hour",
            ],
        ),
    ],
)
def test_missing_lines_separate_counted_and_uncounted_machines(rows: list[dict[str, Any]], titles: list[str]) -> None:
    lines = missing_lines(rows)
    assert [line for line in lines if line.startswith("MISSING")] == titles
    assert lines[-len(ADVICE_ON_MISSING) - 1 :] == ([*ADVICE_ON_MISSING, ""] if rows else [])
    assert all(any(row["host"] in line and "01-31 12:00" in line for line in lines) for row in rows)


def test_missing_lines_show_price_of_an_offer_once() -> None:
    lines = missing_lines([missing_row("gpu-1", SINCE, 16.0, [M, N], counts=True)])
    assert [("16.00" in line) for line in lines if M in line or N in line] == [True, False]
