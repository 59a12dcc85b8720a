# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines that a terminal shows during a wait for machines: only news, and few of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.action import offer_status as action
from ansible_collections.compute_index.supply.plugins.plugin_utils import _task


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_task, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(action, "_progress", {})
    return clock


def look_at_one(msg: str) -> dict[str, Any]:
    return {"msg": msg, "offers": {}}


def look_at_many(msg: str, **offers: str) -> dict[str, Any]:
    """A look at offers with these messages. Offers with a message other than "a" are terminal."""
    looks = {name: {"msg": text, "ready": text == "ready", "terminal": text != "a"} for name, text in offers.items()}
    return {"msg": msg, "offers": looks}


def test_one_offer_is_shown_on_change_and_each_minute(clock: Clock) -> None:
    assert action.news("gpu-1", look_at_one("a"), {}) == ["gpu-1, after 0 s: a"]
    clock.now += 15
    assert action.news("gpu-1", look_at_one("a"), {}) == []
    assert action.news("gpu-1", look_at_one("b"), {}) == ["gpu-1, after 15 s: b"]
    clock.now += 59
    assert action.news("gpu-1", look_at_one("b"), {}) == []
    clock.now += 1
    assert action.news("gpu-1", look_at_one("b"), {}) == ["gpu-1, after 75 s: b"]


def test_only_offer_of_a_list_is_shown_by_its_label(clock: Clock) -> None:
    assert action.news("h", look_at_many("0 of 1", x="a"), {"x": "gpu-1"}) == ["gpu-1, after 0 s: a"]
    clock.now += 15
    assert action.news("h", look_at_many("0 of 1", x="a"), {"x": "gpu-1"}) == []
    clock.now += 60
    assert action.news("h", look_at_many("0 of 1", x="a"), {"x": "gpu-1"}) == ["gpu-1, after 75 s: a"]


def test_many_offers_take_one_line_and_one_for_each_failure(clock: Clock) -> None:
    labels = {"x": "gpu-1", "y": "gpu-2"}
    assert action.news("h", look_at_many("0 of 3", x="a", y="a", z="a"), labels) == ["After 0 s: 0 of 3"]
    clock.now += 15
    assert action.news("h", look_at_many("1 of 3", x="a", y="ready", z="a"), labels) == ["After 15 s: 1 of 3"]
    clock.now += 30
    assert action.news("h", look_at_many("1 of 3", x="a", y="ready", z="a"), labels) == []
    clock.now += 30
    assert action.news("h", look_at_many("1 of 3", x="a", y="ready", z="a"), labels) == ["After 75 s: 1 of 3"]
    failed = look_at_many("1 of 3; 1 failed", x="failed", y="ready", z="a")
    assert action.news("h", failed, labels) == ["After 75 s: 1 of 3; 1 failed", "gpu-1, after 75 s: failed"]
    clock.now += 60
    assert action.news("h", failed, labels) == ["After 135 s: 1 of 3; 1 failed"]


def test_many_failures_show_five_and_a_count() -> None:
    lines = action.news("h", look_at_many("100 failed.", **{f"o{number}": "failed" for number in range(100)}), {})
    assert len(lines) == 7 and (lines[0], lines[-1]) == ("After 0 s: 100 failed.", "and 95 more")


def test_unchanged_message_is_shortened_to_its_first_clause(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    displayed_lines: list[str] = []
    monkeypatch.setattr(_task.display, "display", displayed_lines.append)
    progress = _task.Progress("gpu-1")
    progress.show("SSH does not answer yet: Connection refused.")
    progress.show("SSH refuses the user's key: Permission denied. Set another one.", urgent=True)
    clock.now += 60
    progress.show("SSH refuses the user's key: Permission denied. Set another one.")
    clock.now += 1
    progress.show("cloud-init is still running.")
    clock.now += 60
    progress.show("cloud-init is still running.")
    assert displayed_lines == [
        "  gpu-1, after 0 s: SSH refuses the user's key: Permission denied. Set another",
        "    one.",
        "  gpu-1, after 60 s: unchanged: SSH refuses the user's key.",
        "  gpu-1, after 61 s: cloud-init is still running.",
        "  gpu-1, after 121 s: unchanged: cloud-init is still running.",
    ]


def test_show_each_minute_waits_ten_seconds_then_a_minute(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    displayed_lines: list[str] = []
    monkeypatch.setattr(_task.display, "display", displayed_lines.append)
    progress = _task.Progress()
    for second in range(0, 135, 5):
        progress.show_each_minute(f"waiting since {second} s.")
        clock.now += 5
    monkeypatch.setattr(_task, "in_terminal", lambda: False)
    progress.show_each_minute("no terminal.")
    assert displayed_lines == [f"  After {second} s: waiting since {second} s." for second in (10, 70, 130)]
