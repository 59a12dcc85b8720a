# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the lines of a play's output are counted, and which of them the demo shows."""

from __future__ import annotations

import pytest

import screen
from demo.demo import excerpt

COUNTERS = "ok=9    changed=2    unreachable=0    failed=0    skipped=2    rescued=0    ignored=0"
RECAP = f"{'gpu-1':<26} : {COUNTERS}   "


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        ("", 0),
        ("a\n\nb\n", 3),
        ("x" * 80, 1),
        ("x" * 81, 2),
        (f"{'x' * 80}   ", 1),
        (f"\x1b[0;32m{'x' * 80}\x1b[0m", 1),
        (RECAP, 1),
        ("[WARNING]: Others count.\nFAILED - RETRYING: [gpu-1]: Wait (9 retries left).\na", 1),
    ],
)
def test_lines_counts_as_a_terminal_wraps(output: str, lines: int) -> None:
    assert screen.lines(output) == lines


def test_too_wide_ignores_lines_that_ansible_writes() -> None:
    path, ours = f"included: /{'x' * 90} for gpu-1", f'        "{"x" * 80}",'
    assert screen.too_wide("\n".join([path, RECAP, f"fatal: [gpu-1]: {'x' * 90}", "short", ours])) == [ours]


OUTPUT = f"""
PLAY [Quiet] *******************************************************************

TASK [Ask] *********************************************************************
ok: [gpu-1]
ok: [gpu-1 -> localhost] => (item=a)
included: /a.yml for gpu-1

PLAY [Loud] ********************************************************************

TASK [Look] ********************************************************************
skipping: [gpu-1]

TASK [Buy] *********************************************************************
changed: [gpu-1]

TASK [Show] ********************************************************************
\x1b[0;32mok: [gpu-1] => {{\x1b[0m
\x1b[0;32m    "msg": "Bought."\x1b[0m
\x1b[0;32m}}\x1b[0m

TASK [Fail] ********************************************************************
fatal: [gpu-1]: FAILED! => {{"msg": "No."}}

PLAY RECAP *********************************************************************
{RECAP}
"""


def test_excerpt_of_demo_keeps_changes_messages_and_failures() -> None:
    shown = list(excerpt(OUTPUT.splitlines()))
    heads = [line.rstrip("*") for line in shown if line.startswith(("PLAY", "TASK"))]
    assert heads == ["TASK [Buy] ", "TASK [Show] ", "TASK [Fail] ", "PLAY RECAP "]
    assert shown[-1] == RECAP and '\x1b[0;32m    "msg": "Bought."\x1b[0m' in shown
