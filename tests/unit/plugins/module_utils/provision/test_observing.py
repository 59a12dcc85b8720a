# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be asked before hosts can be planned."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.observing import (
    asks_for_the_list,
    ids_of_failed,
    is_as_read,
    offers_of,
    shadows,
    spoken_for,
)

from provision_samples import REGISTRY, declared, entry, host, machine_id, offer_id

M, N, X, Y = machine_id(1), machine_id(2), offer_id(1), offer_id(2)
REFUSED, BOUGHT, OPEN = entry(X, purchase="refused"), entry(X, [M], "made"), entry(X, purchase="sent")


@pytest.mark.parametrize(
    ("known", "phase", "asks"),
    [
        (entry(), None, True),
        (BOUGHT, "ready", False),
        (BOUGHT, "going_on", False),
        (BOUGHT, "unbought", False),
        (BOUGHT, "failed", True),
        (BOUGHT, "ended", True),
        (BOUGHT, "expired", True),
        (BOUGHT, None, True),
        (OPEN, "ready", True),
        (entry("", [M]), None, True),
    ],
)
def test_the_list_is_asked_for_where_a_status_does_not_say_it_all(known: Entry, phase: str | None, asks: bool) -> None:
    assert asks_for_the_list(host(), known, phase and {"phase": phase}) is asks  # type: ignore[arg-type]


def test_a_host_that_cannot_buy_needs_no_list() -> None:
    assert not asks_for_the_list(declared(max_price_per_hour="3,5"), entry(), None)


def test_which_offers_are_asked_for_and_which_are_spoken_for() -> None:
    entries = [REFUSED, entry(Y, [N], "made"), entry("", [M])]
    assert offers_of(entries) == {Y, ""}
    assert spoken_for(entries) == {Y}
    assert spoken_for([OPEN, REFUSED]) == {X}


def test_machines_of_failed_offers_are_looked_for_by_their_ids() -> None:
    statuses = {X: {"phase": "failed", "resource_ids": [N]}, Y: {"phase": "ready", "resource_ids": [M]}}
    assert list(ids_of_failed([BOUGHT, entry(Y, [N], "made"), entry()], statuses)) == [M, N]


@pytest.mark.parametrize(
    ("now", "same"),
    [
        (entry(X, [M], "made"), True),
        (entry(X, [M], "made", provision_verified=True), True),
        (entry(Y, [M], "made"), False),
        (entry(X, [M, N], "made"), False),
        (entry(X, [M], "made", provision_journaled_at="2026-01-31T12:00:00Z"), False),
        (entry(), False),
    ],
)
def test_what_another_run_has_changed_is_not_as_it_was_read(now: Entry, same: bool) -> None:
    assert is_as_read(BOUGHT, now) is same


@pytest.mark.parametrize(("place", "count"), [(REGISTRY, 3), ("", 0), ("shared:default", 0)])
def test_files_that_a_folder_hides(place: str, count: int) -> None:
    found: list[Any] = shadows(declared(place))
    assert len(found) == count and all(each.startswith(f"{REGISTRY}/gpu-1.") for each in found)
