# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One clock dates a file's moments and measures what passes since: the API's if known, else this computer's."""

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

NOON = 1_769_860_800.0  # 2026-01-31 12:00 UTC, by a clock that is right
HOUR, DAY = 3600.0, 86_400.0
PRICE = 2.0


class World:
    """A true time, and how far this computer's clock is ahead of it.

    With ``dated`` the API tells the true one, in a ``Date`` of whole seconds.
    """

    def __init__(self, skew: float = 0.0, *, dated: bool = True) -> None:
        self.true, self.skew, self.dated = NOON, skew, dated

    def time(self) -> float:
        return self.true + self.skew

    def host(self, folder: Path | str) -> HostFile:
        return HostFile(entry_file(folder), ahead=self.ahead)

    def ahead(self) -> float | None:
        return math.floor(self.true) - self.time() if self.dated else None

    def journal(self, folder: Path | str) -> Journal:
        found = Journal(self.host(folder), "o", {})
        found.read()
        return found

    def buy(self, folder: Path | str) -> None:
        found = self.journal(folder)
        found.claim(PRICE)
        found.close()

    def end(self, folder: Path | str) -> None:
        registry = self.host(folder)
        registry.read()
        registry.end()

    def cost(self, folder: Path | str) -> float | None:
        """The cost by the ledger, in USD; None if unknown."""
        ledger = _stores.ledger(str(folder))
        (bill,) = ledger.bills
        return bill.cost(0.0, ledger.now) / 1e6 if bill.is_known(ledger.now) else None


def world(monkeypatch: pytest.MonkeyPatch, skew: float = 0.0, *, dated: bool = True) -> World:
    found = World(skew, dated=dated)
    for module in (_files, _stores):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=found.time, monotonic=time.monotonic))
    return found


def test_a_journal_is_measured_by_the_clock_that_noted_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller is a day ahead at the purchase, and corrected later: no offer has been gone for a day."""
    found = world(monkeypatch, DAY)
    found.buy(tmp_path)
    entry: Any = found.host(tmp_path).read()
    assert (entry["provision_journaled_at"], entry["provision_clock"]) == ("2026-01-31T12:00:00Z", "api")
    found.skew, found.true = 0.0, NOON + 600
    assert (found.journal(tmp_path).since_sent(), is_long_gone(found, tmp_path)) == (600.0, False)
    found.true += 1800
    assert is_long_gone(found, tmp_path)


@pytest.mark.parametrize("behind", ["the API's clock", "this computer's clock"])
def test_an_offer_is_gone_by_every_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: str) -> None:
    """One clock is two hours behind until the offer is seen as gone, and corrected a minute later."""
    found = world(monkeypatch)
    ahead = [-2 * HOUR if behind == "the API's clock" else 2 * HOUR]
    found.skew = min(0.0, -ahead[0])
    monkeypatch.setattr(found, "host", lambda folder: HostFile(entry_file(folder), ahead=lambda: ahead[0]))
    found.buy(tmp_path)
    assert not is_long_gone(found, tmp_path)
    found.skew, ahead[0], found.true = 0.0, 0.0, NOON + 1799
    assert not is_long_gone(found, tmp_path)
    found.true = NOON + 1800
    assert is_long_gone(found, tmp_path)


def is_long_gone(found: World, folder: Path) -> bool:
    """Whether an offer, first seen as gone now or before, has been gone for longer than any purchase takes."""
    return found.journal(folder).with_time_gone(History(unanswered=True), "expired").gone_long


def entry_file(folder: Path | str) -> str:
    return Folder(str(folder)).entry_file("gpu-1")


def test_without_a_date_this_computers_clock_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = world(monkeypatch, DAY, dated=False)
    found.buy(tmp_path)
    entry: Any = found.host(tmp_path).read()
    assert (entry["provision_journaled_at"], entry.get("provision_clock")) == ("2026-02-01T12:00:00Z", None)
    # The clock that noted it measures it, even once the API dates its answers.
    found.dated, found.true = True, NOON + 600
    assert found.journal(tmp_path).since_sent() == 600.0


def test_an_older_entry_keeps_its_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = world(monkeypatch, DAY, dated=False)
    found.buy(tmp_path)
    found.dated = True
    found.journal(tmp_path).note_purchase(["r"], PRICE)
    assert "provision_clock" not in (found.host(tmp_path).read() or {})


@pytest.mark.parametrize(("skew", "later"), [(DAY, 0.0), (-DAY, 0.0), (DAY, DAY), (-DAY, -DAY), (0.0, DAY)])
def test_five_hours_cost_ten_dollars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: float, later: float
) -> None:
    found = world(monkeypatch, skew)
    found.buy(tmp_path)
    found.journal(tmp_path).note_purchase(["r"], PRICE)
    found.true, found.skew = NOON + 5 * HOUR, later
    running = found.cost(tmp_path)
    assert running is not None and running >= 10.0
    found.end(tmp_path)
    assert found.cost(tmp_path) == pytest.approx(10.0, abs=0.002)


def test_an_end_before_its_begin_does_not_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = world(monkeypatch, DAY, dated=False)
    found.buy(tmp_path)
    found.journal(tmp_path).note_purchase(["r"], PRICE)
    found.true, found.skew = NOON + 5 * HOUR, 0.0
    assert found.cost(tmp_path) is None, "what runs begins tomorrow, and costs nothing"
    found.end(tmp_path)
    assert found.cost(tmp_path) is None


SKEWS = st.sampled_from([0.0, DAY, -DAY, 365 * DAY]) | st.floats(min_value=-1e7, max_value=1e7)


@given(SKEWS, SKEWS, st.booleans(), st.booleans(), st.floats(min_value=60.0, max_value=1e6))
@example(DAY, 0.0, True, True, 5 * HOUR)
@example(-DAY, -DAY, True, False, 5 * HOUR)
def test_the_ledger_is_never_below_the_meter(skew: float, later: float, dated: bool, ends: bool, lasts: float) -> None:
    """In worlds with a constant skew, or with an API that dates its answers; ``later``: the skew at the end."""
    later = later if dated else skew
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        found = world(monkeypatch, skew, dated=dated)
        found.buy(folder)
        found.journal(folder).note_purchase(["r"], PRICE)
        found.true, found.skew = NOON + lasts, later if ends else skew
        if ends:
            found.end(folder)
        cost = found.cost(folder)
        assert cost is not None and cost >= PRICE * lasts / HOUR - 0.001
