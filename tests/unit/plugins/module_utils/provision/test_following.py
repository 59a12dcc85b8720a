# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a run is followed, and which lines of its log are shown."""

from __future__ import annotations

from ansible_collections.compute_index.supply.plugins.module_utils._provision import following
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.sampled_from(["answer", "cut"]), max_size=30))
def test_a_silent_machine_is_waited_for(answers: list[str]) -> None:
    look, silent = following.Look(), 0
    for number, answer in enumerate(answers):
        job = {"state": "running", "log_bytes": 7} if answer == "answer" else {"failed": True, "msg": "cut"}
        look = following.after(look, job, number * 300.0)
        silent = 0 if answer == "answer" else silent + 1
        assert look.is_last is ((silent - 1) * 300 >= following.PATIENCE if silent else False)
        assert following.result(look)["lost_sight"] is bool(silent)


def test_each_line_is_shown_once() -> None:
    first = following.after(following.Look(), {"state": "running", "log": ["a", "b\x1b[2J"], "log_bytes": 8}, 0)
    assert first.lines == ("a", "b\N{REPLACEMENT CHARACTER}[2J") and first.offset == 8
    cut = following.after(first, {"unreachable": True}, 1)
    assert (cut.lines, cut.offset) == ((), 8)
    assert cut.msg == "the machine does not answer (its job needs no connection): no answer"
    over = following.after(cut, {"state": "failed", "log": ["b\x1b[2J", "c", "d"], "log_bytes": 12}, 2)
    assert over.lines == ("c", "d") and over.is_last and following.result(over)["is_over"]


@given(st.lists(st.text(st.sampled_from("ab\u00e9"), max_size=5), max_size=12), st.data())
def test_no_line_is_shown_twice_or_left_out(lines: list[str], data: st.DataObject) -> None:
    look, shown, end = following.Look(), [], 0
    while end < len(lines):
        end = data.draw(st.integers(end, len(lines)))
        log = lines[:end]
        job = {"state": "running", "log": log, "log_bytes": sum(len(line.encode()) + 1 for line in log)}
        look = following.after(look, job, 0)
        shown += look.lines
    assert shown == lines
