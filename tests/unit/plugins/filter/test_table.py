# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter table: mappings as the lines of a table."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.filter.adapters import table
from ansible_collections.compute_index.supply.plugins.module_utils._text import narrow_table, row_line

NAME = {"name": "name"}


@pytest.mark.parametrize(
    ("rows", "columns", "lines"),
    [
        pytest.param([], NAME, [], id="no rows"),
        pytest.param([{"name": "a"}], {"Host": "name"}, ["Host", "a"], id="the title is wider"),
        pytest.param([{"name": "ab"}, {"name": "a"}], {"n": "name"}, ["n", "ab", "a"], id="no blanks at the end"),
        pytest.param([{"a": "xx", "b": "y"}], {"B": "b", "A": "a"}, ["B  A", "y  xx"], id="order of the columns"),
        pytest.param(
            [{"name": "a", "gpus": 8}, {"name": "bcd", "gpus": 16}],
            {"host": "name", "GPUs": "gpus"},
            ["host  GPUs", "a        8", "bcd     16"],
            id="numbers on the right",
        ),
        pytest.param(
            [{"p": 2.0}, {"p": 12.345}, {"p": None}], {"USD": "p"}, ["   USD", "  2.00", "12.345", "     -"],
            id="prices",
        ),
        pytest.param(
            [{"b": True, "n": "x"}, {"b": False, "n": "y"}], {"b": "b", "n": "n"}, ["b      n", "True   x", "False  y"],
            id="booleans are not numbers",
        ),
        pytest.param(
            [{"ids": ["a", "b"]}, {"ids": []}, {"ids": ("c", 7)}], {"ids": "ids"}, ["ids", "a, b", "-", "c, 7"],
            id="lists",
        ),
        pytest.param(
            [{"t": "2026-01-31T12:00:59Z"}, {"t": "2026-01-31T12:00:59+01:00"}, {"t": "x2026-01-31T12:00:59Z"}],
            {"until": "t"},
            ["until", "2026-01-31 12:00 UTC", "2026-01-31T12:00:59+01:00", "x2026-01-31T12:00:59Z"],
            id="times",
        ),
        pytest.param(
            [{}, {"name": None}, {"name": ""}, {"name": 0}],
            NAME,
            ["name", *["   -"] * 3, "   0"],
            id="missing",
        ),
        pytest.param([{"name": "a"}], {}, ["", ""], id="no columns"),
    ],
)  # fmt: skip
def test_narrow_table_formats_rows(rows: list[Any], columns: dict[str, str], lines: list[str]) -> None:
    assert narrow_table(rows, columns) == lines


COLUMNS = {
    **{"host": "host", "machines": "machines", "USD/hour": "price", "until": "ends_at", "at most": "bill"},
    "address": "ansible_host",
}
ROW = {
    **{"host": "gpu-1", "machines": 3, "price": 2.5, "ends_at": "2026-11-27T13:00:00Z", "bill": 60.0},
    "ansible_host": "192.0.2.1",
}


def test_single_row_may_be_one_line() -> None:
    line = row_line(ROW, COLUMNS)
    assert line == ("gpu-1  3 machines  2.50 USD/hour  until 2026-11-27 13:00 UTC  60.00 at most  address 192.0.2.1")


def test_filter_makes_a_table() -> None:
    assert table([ROW], COLUMNS) == narrow_table([ROW], COLUMNS)
