# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be read before hosts can be planned."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import (
    Observed,
    bought_elsewhere,
    ids_to_read,
    is_unchanged,
    needs_list,
    offers_of,
    shadowed_files,
    without_ended,
)

from provision_samples import REGISTRY, declared, entry, host, machine, machine_id, offer_id

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
    assert needs_list(host(), known, phase and {"phase": phase}) is asks  # type: ignore[arg-type]


@pytest.mark.parametrize(("named", "asks"), [([], False), ([M], False), ([M, N], True)])
def test_the_list_is_asked_for_where_a_status_names_what_is_not_noted(named: list[str], asks: bool) -> None:
    """The page of someone else's machine may not name its offer."""
    assert needs_list(host(), BOUGHT, {"phase": "ready", "resource_ids": named}) is asks


def test_a_host_that_cannot_buy_needs_no_list() -> None:
    assert not needs_list(declared(max_price_per_hour="3,5"), entry(), None)


@pytest.mark.parametrize(
    ("own", "wanted", "others"),
    [
        ("/p/inventory/host_vars", None, ["/p/host_vars"]),
        ("/p/host_vars", None, ["/p/inventory/host_vars"]),
        ("/q/host_vars", None, ["/p/host_vars", "/p/inventory/host_vars"]),
        ("/p/inventory/host_vars", "host_vars", []),  # the user chose it
        ("", None, []),
    ],
)
def test_which_other_registries_may_have_a_host(own: str, wanted: Any, others: list[str]) -> None:
    asked = []

    def unreadable(place: Any) -> Entry:
        asked.append(place.text)
        raise ValueError(f"{place.text} cannot be read.")

    told = list(bought_elsewhere(declared(own), wanted, "/p", unreadable))
    assert asked == others and [text.partition(" ")[0] for text in told] == others
    assert all(f"-e provision_registry_dir={own}." in text for text in told)


@pytest.mark.parametrize(
    ("elsewhere", "refused"),
    [
        (entry(), False),
        (REFUSED, False),
        (OPEN, True),
        (BOUGHT, True),
        (entry("", [M]), True),
        (entry(X, [M], "made", provision_project="blue"), False),
    ],
)
def test_what_a_host_has_in_another_registry_is_not_bought_again(elsewhere: Entry, refused: bool) -> None:
    reasons = list(bought_elsewhere(declared("/p/inventory/host_vars"), None, "/p", lambda place: elsewhere))
    assert bool(reasons) is refused
    for part in ("/p/host_vars/gpu-1/", "provision_registry_dir=/p/host_vars.", "provision_project"):
        assert all(part in reason for reason in reasons)


def test_which_offers_are_asked_for() -> None:
    entries = [REFUSED, entry(Y, [N], "made"), entry("", [M])]
    assert offers_of(entries) == {Y}
    assert offers_of([OPEN, REFUSED]) == {X}


@pytest.mark.parametrize(
    ("known", "status", "listed", "ids"),
    [
        pytest.param(BOUGHT, {"phase": "failed", "resource_ids": [N]}, [], {M, N}, id="of a failed offer"),
        pytest.param(BOUGHT, {"phase": "ready", "resource_ids": [M]}, [machine(1, "gpu-1", X)], set(), id="it runs"),
        pytest.param(entry(), {}, [machine(1, "gpu-1", Y), machine(2, "train", X)], {M}, id="it has the name"),
        pytest.param(entry(), {}, [machine(1, "gpu-1", Y), machine(2, "vm", Y)], {M, N}, id="with others of its offer"),
        pytest.param(entry(), {}, [machine(1, "gpu-1", Y, status="deleted")], set(), id="the list calls it gone"),
        pytest.param(OPEN, {"phase": "ready"}, [machine(1, "train", X)], {M}, id="of an open purchase"),
        pytest.param(BOUGHT, {"phase": "ended"}, [machine(1, "train", X, status="deleting")], {M}, id="over"),
        pytest.param(BOUGHT, {"phase": "ended"}, [], {M}, id="over, and only its page tells what it leaves"),
    ],
)
def test_what_decides_is_read_by_itself(known: Entry, status: Any, listed: Any, ids: set[str]) -> None:
    status = {"resource_ids": [], **status}
    seen = Observed({"gpu-1": known}, {known.offer_id: status}, Account.of([], listed))
    assert ids_to_read([host()], seen) == ids


def test_what_this_play_has_ended_is_left_out_of_a_list_that_lags() -> None:
    listed = [machine(1), machine(2)]
    assert without_ended(listed, {"gpu-1": [{"ended": [M]}, {}], "gpu-2": ()}) == [listed[1]]


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
    assert is_unchanged(BOUGHT, now) is same


@pytest.mark.parametrize("place", [REGISTRY, "", "shared:default"])
def test_files_that_a_folder_hides(place: str) -> None:
    there = [f"{REGISTRY}/gpu-1.yml", f"{REGISTRY}/gpu-1.json", f"{REGISTRY}/gpu-2.yaml", "/gpu-1.yml"]
    told = shadowed_files(declared(place), there.__contains__)
    assert told.startswith(f"{REGISTRY}/gpu-1.yml, {REGISTRY}/gpu-1.json would not be read") == (place == REGISTRY)
    assert bool(told) == (place == REGISTRY) and not shadowed_files(declared(place), lambda path: False)
