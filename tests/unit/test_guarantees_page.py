# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the guarantees' tests in CONTRIBUTING.md names existing tests, and claims no more cases than exist."""

from __future__ import annotations

import pytest

from tools import count_guarantees as tool

PAGE = f"""{tool.BEGIN}
| guarantee | what | tests | cases |
|---|---|---|---|
| 1 | this | {{}} | 0 |
{tool.END}"""


def test_page_names_existing_tests() -> None:
    assert len(tool.checked(tool.PAGE.read_text())) > 20


@pytest.mark.parametrize(
    "tests",
    [
        "nothing",
        "`test_no_such_file.py`",
        "`test_boot.py`",  # two files
        "`integration/test_failover.py` (`no_such_test`)",
        "`integration/test_failover.py` (`NO_TABLE`)",
    ],
)
def test_checked_refuses_unknown_tests(tests: str) -> None:
    with pytest.raises(tool.Wrong):
        tool.checked(PAGE.format(tests))


def test_count_adds_tests_and_rows_of_tables() -> None:
    (line,) = tool.checked(PAGE.format("`test_bought_once.py` (`answer_to_the_purchase`, `race`, `LOST`)"))
    ((file, names),) = line[1]
    found = {
        "tests": {"test_any_answer_to_the_purchase_buys_at_most_once": 1, "test_race": 2},
        "tables": {"LOST": 26},
    }
    assert tool.count(file, names, {str(file): found}) == 26 + 2
    assert tool.count(file, [], {str(file): found}) == 3


def test_claims_too_much_finds_only_numbers_that_are_too_high() -> None:
    page = PAGE.format("`test_bought_once.py`").replace("| 0 |", "| 5 |")
    assert tool.claims_too_much(page, page.replace("| 5 |", "| 6 |")) == []
    assert tool.claims_too_much(page, page.replace("| 5 |", "| 4 |")) == ["this"]
