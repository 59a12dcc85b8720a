# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a terminal is told while machines are waited for: what is new, in a few lines."""

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


def one(msg: str) -> dict[str, Any]:
    return {"msg": msg, "offers": {}}


def many(msg: str, **offers: str) -> dict[str, Any]:
    """A look at offers with these messages; one that begins with "failed" is told of a failure."""
    looks = {name: {"msg": text, "ready": text == "ready", "terminal": text != "a"} for name, text in offers.items()}
    return {"msg": msg, "offers": looks}


def test_one_offer_is_told_of_when_it_changes_and_each_minute(clock: Clock) -> None:
    assert action.news("gpu-1", one("a"), {}) == ["gpu-1, after 0 s: a"]
    clock.now += 15
    assert action.news("gpu-1", one("a"), {}) == []
    assert action.news("gpu-1", one("b"), {}) == ["gpu-1, after 15 s: b"]
    clock.now += 59
    assert action.news("gpu-1", one("b"), {}) == []
    clock.now += 1
    assert action.news("gpu-1", one("b"), {}) == ["gpu-1, after 75 s: b"]


def test_the_only_offer_of_a_look_is_told_of_by_its_label(clock: Clock) -> None:
    assert action.news("h", many("0 of 1", x="a"), {"x": "gpu-1"}) == ["gpu-1, after 0 s: a"]
    clock.now += 15
    assert action.news("h", many("0 of 1", x="a"), {"x": "gpu-1"}) == []
    clock.now += 60
    assert action.news("h", many("0 of 1", x="a"), {"x": "gpu-1"}) == ["gpu-1, after 75 s: a"]


def test_many_are_one_line_and_one_for_each_that_fails(clock: Clock) -> None:
    labels = {"x": "gpu-1", "y": "gpu-2"}
    assert action.news("h", many("0 of 3", x="a", y="a", z="a"), labels) == ["After 0 s: 0 of 3"]
    clock.now += 15
    assert action.news("h", many("1 of 3", x="a", y="ready", z="a"), labels) == ["After 15 s: 1 of 3"]
    clock.now += 30
    assert action.news("h", many("1 of 3", x="a", y="ready", z="a"), labels) == []
    clock.now += 30
    assert action.news("h", many("1 of 3", x="a", y="ready", z="a"), labels) == ["After 75 s: 1 of 3"]
    failed = many("1 of 3; 1 failed", x="failed", y="ready", z="a")
    assert action.news("h", failed, labels) == ["After 75 s: 1 of 3; 1 failed", "gpu-1, after 75 s: failed"]
    clock.now += 60
    assert action.news("h", failed, labels) == ["After 135 s: 1 of 3; 1 failed"]


def test_of_many_that_fail_a_few_are_told() -> None:
    lines = action.news("h", many("100 failed.", **{f"o{number}": "failed" for number in range(100)}), {})
    assert len(lines) == 7 and (lines[0], lines[-1]) == ("After 0 s: 100 failed.", "and 95 more")


def test_what_has_not_changed_is_told_in_its_first_words(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(_task.display, "display", told.append)
    progress = _task.Progress("gpu-1")
    progress.show("SSH does not answer yet: Connection refused.")
    progress.show("SSH refuses the user's key: Permission denied. Set another one.", urgent=True)
    clock.now += 60
    progress.show("SSH refuses the user's key: Permission denied. Set another one.")
    clock.now += 1
    progress.show("cloud-init is still running.")
    clock.now += 60
    progress.show("cloud-init is still running.")
    assert told == [
        "  gpu-1, after 0 s: SSH refuses the user's key: Permission denied. Set another",
        "    one.",
        "  gpu-1, after 60 s: unchanged: SSH refuses the user's key.",
        "  gpu-1, after 61 s: cloud-init is still running.",
        "  gpu-1, after 121 s: unchanged: cloud-init is still running.",
    ]


def test_a_wait_for_many_is_told_of_once_a_minute(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(_task.display, "display", told.append)
    progress = _task.Progress()
    for second in range(0, 135, 5):
        progress.show_each_minute(f"waiting since {second} s.")
        clock.now += 5
    monkeypatch.setattr(_task, "in_terminal", lambda: False)
    progress.show_each_minute("no terminal.")
    assert told == [f"  After {second} s: waiting since {second} s." for second in (10, 70, 130)]
