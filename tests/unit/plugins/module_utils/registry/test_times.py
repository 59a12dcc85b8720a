# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times in registry files come from one clock, which also measures durations: the API's, else the controller's."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._operations._purchase import Journal
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import History
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _files, _stores
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from hypothesis import example, given
from hypothesis import strategies as st

NOON = 1_769_860_800.0  # 2026-01-31 12:00 UTC, the true time
HOUR, DAY = 3600.0, 86_400.0
PRICE = 2.0


class World:
    """The true time, and how far the controller's clock is ahead of it (``skew``).

    With ``dates_answers``, answers of the API have the true time, in whole seconds.
    """

    def __init__(self, skew: float = 0.0, *, dates_answers: bool = True) -> None:
        self.true, self.skew, self.dates_answers = NOON, skew, dates_answers

    def time(self) -> float:
        return self.true + self.skew

    def host(self, folder: Path | str) -> HostFile:
        return HostFile(entry_file(folder), ahead=self.ahead)

    def ahead(self) -> float | None:
        return math.floor(self.true) - self.time() if self.dates_answers else None

    def journal(self, folder: Path | str) -> Journal:
        journal = Journal(self.host(folder), "o", {})
        journal.read()
        return journal

    def buy(self, folder: Path | str) -> None:
        journal = self.journal(folder)
        journal.claim(PRICE)
        journal.close()

    def end(self, folder: Path | str) -> None:
        registry = self.host(folder)
        registry.read()
        registry.end()

    def cost(self, folder: Path | str) -> float | None:
        """The cost by the ledger, in USD; None if unknown."""
        ledger = _stores.ledger(str(folder))
        (bill,) = ledger.bills
        return bill.cost(0.0, ledger.now) / 1e6 if bill.is_known(ledger.now) else None


def make_world(monkeypatch: pytest.MonkeyPatch, skew: float = 0.0, *, dates_answers: bool = True) -> World:
    world = World(skew, dates_answers=dates_answers)
    for module in (_files, _stores):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=world.time, monotonic=time.monotonic))
    return world


def test_age_of_journal_is_measured_by_the_clock_that_noted_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller's clock is a day ahead at the purchase, and corrected later. Its offer is not gone for a day."""
    world = make_world(monkeypatch, DAY)
    world.buy(tmp_path)
    entry: Any = world.host(tmp_path).read()
    assert (entry["provision_journaled_at"], entry["provision_clock"]) == ("2026-01-31T12:00:00Z", "api")
    world.skew, world.true = 0.0, NOON + 600
    assert (world.journal(tmp_path).since_sent(), is_long_gone(world, tmp_path)) == (600.0, False)
    world.true += 1800
    assert is_long_gone(world, tmp_path)


@pytest.mark.parametrize("behind", ["the API's clock", "this computer's clock"])
def test_offer_is_long_gone_only_by_both_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: str) -> None:
    """One clock is two hours behind when the offer is first seen as gone, and is corrected afterwards."""
    world = make_world(monkeypatch)
    ahead = [-2 * HOUR if behind == "the API's clock" else 2 * HOUR]
    world.skew = min(0.0, -ahead[0])
    monkeypatch.setattr(world, "host", lambda folder: HostFile(entry_file(folder), ahead=lambda: ahead[0]))
    world.buy(tmp_path)
    assert not is_long_gone(world, tmp_path)
    world.skew, ahead[0], world.true = 0.0, 0.0, NOON + 1799
    assert not is_long_gone(world, tmp_path)
    world.true = NOON + 1800
    assert is_long_gone(world, tmp_path)


def is_long_gone(world: World, folder: Path) -> bool:
    """Whether an offer, seen as gone now and perhaps before, has been gone for longer than any purchase takes."""
    return world.journal(folder).with_time_gone(History(unanswered=True), "expired").gone_long


def entry_file(folder: Path | str) -> str:
    return Folder(str(folder)).entry_file("gpu-1")


def test_without_date_header_the_controllers_clock_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(monkeypatch, DAY, dates_answers=False)
    world.buy(tmp_path)
    entry: Any = world.host(tmp_path).read()
    assert (entry["provision_journaled_at"], entry.get("provision_clock")) == ("2026-02-01T12:00:00Z", None)
    # The same clock measures it, even if answers of the API have a date later on.
    world.dates_answers, world.true = True, NOON + 600
    assert world.journal(tmp_path).since_sent() == 600.0


def test_entry_without_clock_keeps_controllers_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(monkeypatch, DAY, dates_answers=False)
    world.buy(tmp_path)
    world.dates_answers = True
    world.journal(tmp_path).note_purchase(["r"], PRICE)
    assert "provision_clock" not in (world.host(tmp_path).read() or {})


def test_purchase_dated_by_the_controllers_clock_is_billed_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if answers of the API have a date later on, by which it is a day older."""
    world = make_world(monkeypatch, -DAY, dates_answers=False)
    world.buy(tmp_path)
    world.dates_answers = True
    world.journal(tmp_path).note_purchase(["r"], PRICE)
    world.true += 5 * HOUR
    assert world.cost(tmp_path) == pytest.approx(10.0, abs=0.002)


@pytest.mark.parametrize(("skew", "later"), [(DAY, 0.0), (-DAY, 0.0), (DAY, DAY), (-DAY, -DAY), (0.0, DAY)])
def test_five_hours_cost_ten_dollars_despite_clock_skew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: float, later: float
) -> None:
    world = make_world(monkeypatch, skew)
    world.buy(tmp_path)
    world.journal(tmp_path).note_purchase(["r"], PRICE)
    world.true, world.skew = NOON + 5 * HOUR, later
    running = world.cost(tmp_path)
    assert running is not None and running >= 10.0
    world.end(tmp_path)
    assert world.cost(tmp_path) == pytest.approx(10.0, abs=0.002)


def test_cost_is_unknown_if_end_is_before_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(monkeypatch, DAY, dates_answers=False)
    world.buy(tmp_path)
    world.journal(tmp_path).note_purchase(["r"], PRICE)
    world.true, world.skew = NOON + 5 * HOUR, 0.0
    assert world.cost(tmp_path) is None, "a start in the future must not mean a cost of zero"
    world.end(tmp_path)
    assert world.cost(tmp_path) is None


SKEWS = st.sampled_from([0.0, DAY, -DAY, 365 * DAY]) | st.floats(min_value=-1e7, max_value=1e7)


@given(SKEWS, SKEWS, st.booleans(), st.booleans(), st.floats(min_value=60.0, max_value=1e6))
@example(DAY, 0.0, True, True, 5 * HOUR)
@example(-DAY, -DAY, True, False, 5 * HOUR)
def test_cost_in_ledger_is_never_below_the_true_cost(
    skew: float, later: float, dates_answers: bool, ends: bool, lasts: float
) -> None:
    """Either the skew is constant, or the API dates its answers. ``later``: the skew at the end."""
    later = later if dates_answers else skew
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        world = make_world(monkeypatch, skew, dates_answers=dates_answers)
        world.buy(folder)
        world.journal(folder).note_purchase(["r"], PRICE)
        world.true, world.skew = NOON + lasts, later if ends else skew
        if ends:
            world.end(folder)
        cost = world.cost(folder)
        assert cost is not None and cost >= PRICE * lasts / HOUR - 0.001
