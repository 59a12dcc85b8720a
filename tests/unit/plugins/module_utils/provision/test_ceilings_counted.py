# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a ceiling counts, and at which price; its refusal lists these parts, and their sum is the one that it names."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ceilings import (
    CeilingPart,
    Count,
    State,
    account_prices,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    MISSING_AT,
    MISSING_SINCE,
    Entry,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Machine
from ansible_collections.compute_index.supply.plugins.module_utils._text import ranges, seconds_of
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import entry, machine, machine_id, offer_id

NIGHT = seconds_of("2026-02-27T00:00:00Z") or 0.0
MORNING = NIGHT + 8 * 3600
FLEET = [CeilingPart(f"gpu-{number}", 2.0, since=NIGHT + 60 * number) for number in range(27, 0, -1)]


@pytest.mark.parametrize(
    ("parts", "total", "listed"),
    [
        pytest.param([], "USD 0.00 per hour together", "", id="no part"),
        pytest.param(
            [CeilingPart("b-1", 3.0, State.ORDERED)],
            "USD 3.00 per hour together",
            "Counted: b-1 USD 3.00 (would be bought).",
            id="planned only",
        ),
        pytest.param(
            [
                CeilingPart("b-1", 3.0, State.ORDERED),
                CeilingPart("a", None, State.BUYING, since=MORNING),
                CeilingPart("c", 1.5, since=NIGHT),
                CeilingPart("d", 1.5, since=MORNING),
            ],
            "USD 6.00 per hour and 1 unknown price(s) together, of which USD 3.00 per hour are live or being bought"
            " already",
            "Counted: b-1 USD 3.00 (would be bought); a unknown (being bought since 2026-02-27 08:00 UTC); c USD 1.50"
            " (live since 2026-02-27 00:00 UTC); d USD 1.50 (live since 2026-02-27 08:00 UTC).",
            id="few parts, each with its start",
        ),
        pytest.param(
            [CeilingPart("b-1", 3.0, State.ORDERED), *FLEET],
            "USD 57.00 per hour together, of which USD 54.00 per hour are live or being bought already",
            "Counted: b-1 USD 3.00 (would be bought); gpu-[1:27] 27 x USD 2.00 (live, the oldest since 2026-02-27 00:01"
            " UTC).",
            id="many parts, grouped by state and price",
        ),
        pytest.param(
            [CeilingPart("b-1", 3.0, State.ORDERED), CeilingPart("gpu-7", 2.0, State.MISSING, since=NIGHT)],
            "USD 3.00 per hour together",
            "Counted: b-1 USD 3.00 (would be bought). Not counted: gpu-7 USD 2.00 (missing since 2026-02-27 00:00"
            " UTC).",
            id="missing",
        ),
    ],
)
def test_count_in_words(parts: list[CeilingPart], total: str, listed: str) -> None:
    assert (Count(tuple(parts)).sum_in_words, Count(tuple(parts)).parts_in_words) == (total, listed)


NOTED = {"provision_journaled_at": "2026-02-27T00:00:00Z", "provision_price_per_hour": 2.0}
MISSING = dict.fromkeys((MISSING_SINCE, MISSING_AT), "2026-02-27T08:00:00Z")


@pytest.mark.parametrize(
    ("known", "state", "since"),
    [
        (entry(offer_id(1), purchase="sent", **NOTED), State.BUYING, NIGHT),
        (entry(offer_id(1), [machine_id(1)], "made", **NOTED), State.LIVE, NIGHT),
        (entry(offer_id(1), [machine_id(1)], "made", **NOTED, **MISSING), State.MISSING, MORNING),
    ],
)
def test_part_has_state_and_start_of_entry(known: Entry, state: State, since: float) -> None:
    assert CeilingPart.of_entry("a", known) == CeilingPart("a", 2.0, state, offer_id(1), since)


def test_found_machine_is_live_even_if_noted_as_missing() -> None:
    known = entry(offer_id(1), [machine_id(1)], "made", **NOTED, **MISSING)
    assert CeilingPart.of_found("a", known, 2.0) == CeilingPart("a", 2.0, State.LIVE, offer_id(1), NIGHT)


def test_part_of_machine_without_owner_has_its_name_and_id() -> None:
    listed = {**machine(1, "train"), "created_at": "2026-02-27T08:00:00Z"}
    assert CeilingPart.of_machine(listed) == CeilingPart(f"train ({machine_id(1)})", 2.0, State.UNOWNED, since=MORNING)
    assert CeilingPart.of_machine({**listed, "name": None}).name == machine_id(1)


VOLUME = {"kind": "storage", "price_per_hour": 0.25}


@pytest.mark.parametrize(
    ("noted", "listed", "counted"),
    [
        pytest.param(2.25, [], 2.25, id="not listed"),
        pytest.param(2.25, [machine(1, price_per_hour=5.0)], 5.25, id="price has risen"),
        pytest.param(2.25, [machine(1, price_per_hour=1.0)], 2.25, id="price has fallen"),
        pytest.param(2.25, [machine(1, price_per_hour=None)], 2.25, id="price not listed"),
        pytest.param(None, [machine(1, price_per_hour=5.0)], 5.25, id="price never noted"),
        pytest.param(2.25, [machine(1), machine(3, **VOLUME)], 2.25, id="machine and storage add up to noted price"),
        pytest.param(2.25, [machine(1, price_per_hour=2.25), machine(3, **VOLUME)], 2.5, id="and to more than it"),
        pytest.param(2.25, [machine(1), machine(4, offer=offer_id(1), **VOLUME)], 2.5, id="kept storage of the offer"),
        pytest.param(2.25, [machine(1, price_per_hour=3.0), machine(5, offer=offer_id(1))], 5.25, id="cluster"),
        pytest.param(2.25, [machine(1, price_per_hour=5.0, status="deleted")], 2.25, id="ended"),
        pytest.param(2.25, [machine(2, offer=offer_id(2), price_per_hour=5.0)], 2.25, id="another purchase"),
    ],
)
def test_registered_part_counts_at_higher_of_noted_and_listed_price(
    noted: float | None, listed: list[Machine], counted: float | None
) -> None:
    ids, kept = [machine_id(1)], {"resource_id": machine_id(4), "kept_since": "2026-02-27T00:00:00Z"}
    storage = [{"resource_id": machine_id(3), "price_per_hour": 0.25}, {**kept, "price_per_hour": 0.25}]
    bought = entry(offer_id(1), ids, "made", provision_price_per_hour=noted, provision_storage=storage)
    account = account_prices(listed, [("a", bought), ("b", entry("", [machine_id(2)], "made"))], ())
    part = CeilingPart.of_entry("a", bought)
    assert account.at_account_price(part) == replace(part, cost=counted)
    ordered = CeilingPart("c", 1.0, State.ORDERED)
    assert account.at_account_price(ordered) == ordered


@pytest.mark.parametrize(
    ("prices", "storage_price", "noted", "counted"),
    [
        ([4.0], None, 5.0, 5.0),  # the search named a price for storage, which the list leaves out
        ([6.0], None, 5.0, 6.0),
        ([4.0], None, None, 4.0),
        ([None], None, 5.0, 5.0),
        ([None], None, None, None),
        ([4.0], 0.25, 4.25, 4.25),
        ([4.0], 0.25, 4.0, 4.25),
        ([4.0, 3.0], 0.25, 9.0, 9.0),
    ],
)
def test_account_counts_purchase_at_no_less_than_noted_price(
    prices: list[float | None], storage_price: float | None, noted: float | None, counted: float | None
) -> None:
    machines = [machine(number, offer=offer_id(1), price_per_hour=price) for number, price in enumerate(prices)]
    storage = [] if storage_price is None else [{"resource_id": machine_id(9), "price_per_hour": storage_price}]
    ids = [machine_id(number) for number in range(len(prices))]
    bought = entry(offer_id(1), ids, "made", provision_price_per_hour=noted, provision_storage=storage)
    other = entry(offer_id(2), [machine_id(8)], "made", provision_price_per_hour=1.0)
    listed = [*machines, machine(8, offer=offer_id(2), price_per_hour=1.5)]
    parts = account_prices(listed, [("a", bought), ("b", other)], ()).registered
    assert [part.cost for part in parts if part.name != "b"] == [counted]
    assert [part.cost for part in parts if part.name == "b"] == [1.5]


def test_refusal_names_at_most_40_machines_of_one_state_and_price() -> None:
    listed = Count(tuple(CeilingPart(f"m{number}x", 2.0, State.UNOWNED) for number in range(500))).parts_in_words
    assert "and 460 more 500 x USD 2.00 (in no registry that was read)" in listed
    assert len(listed) < 400


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ([], []),
        (["b", "a", "a"], ["a", "b"]),
        (["gpu-1", "gpu-2"], ["gpu-1", "gpu-2"]),
        (["gpu-10", "gpu-9", "gpu-8"], ["gpu-[8:10]"]),
        (["n08", "n09", "n10"], ["n[08:10]"]),
        (["n8", "n9", "n10", "n010", "n011"], ["n[8:10]", "n010", "n011"]),
        (["1", "2", "3"], ["[1:3]"]),
        (["a1b", "a2b", "a3b"], ["a1b", "a2b", "a3b"]),
        ([f"x{9 * '9'}", f"x1{9 * '0'}", "x" + 5000 * "1"], ["x" + 5000 * "1", f"x1{9 * '0'}", f"x{9 * '9'}"]),
    ],
)
def test_consecutive_names_become_a_range(names: list[str], folded: list[str]) -> None:
    assert sorted(ranges(names)) == sorted(folded)


# Names that match [ab]-?[0-9]{0,3}: hypothesis takes five times as long to generate them from this expression.
NUMBERS = [[f"{number:0{digits}}" for number in range(10**digits)] for digits in (1, 2, 3)]
numbers = st.just("") | st.sampled_from(NUMBERS[0]) | st.sampled_from(NUMBERS[1]) | st.sampled_from(NUMBERS[2])
host_names = st.tuples(st.sampled_from("ab"), st.sampled_from(["", "-"]), numbers).map("".join)


@given(st.lists(host_names, max_size=40))
def test_ranges_expand_to_the_names(hosts: list[str]) -> None:
    assert sorted(expanded(ranges(hosts))) == sorted({*hosts})


def expanded(folded: list[str]) -> list[str]:
    """The names that the ranges stand for in an order."""
    found = []
    for item in folded:
        text, begin, end = re.fullmatch(r"(.*?)(?:\[([0-9]+):([0-9]+)\])?", item, re.DOTALL).groups()  # type: ignore[union-attr]
        numbers = range(int(begin), int(end) + 1) if begin else ()
        found += [f"{text}{number:0{len(begin)}d}" for number in numbers] or [item]
    return found


STATES = [State.ORDERED, State.BUYING, State.LIVE, State.UNREAD, State.MISSING]
random_parts = st.builds(
    CeilingPart,
    name=host_names,
    cost=st.integers(0, 8).map(lambda quarters: quarters / 4),
    state=st.sampled_from(STATES),
)


@given(st.lists(random_parts, max_size=30, unique_by=lambda part: part.name))
def test_listed_costs_add_up_to_the_sum(ceiling_parts: list[CeilingPart]) -> None:
    count = Count(tuple(ceiling_parts))
    counted = count.parts_in_words.partition("Not counted: ")[0]
    total, found = 0.0, Counter[str]()
    for group in filter(None, re.split(r"; |Counted: |\. ?$", counted)):
        listed, _blank, cost = group.partition(" USD ")
        times = re.search(r" ([0-9]+) x$", listed)
        total += float(cost.split()[0]) * (int(times[1]) if times else 1)
        found.update(expanded(re.sub(r" [0-9]+ x$", "", listed).split(", ")))
    assert found == Counter(part.name for part in ceiling_parts if part.state is not State.MISSING)
    assert f"USD {total:.2f} per hour together" in count.sum_in_words
