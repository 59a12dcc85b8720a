# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A refusal names every host that its ceiling counts, and its numbers are those of the sum."""

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
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import MISSING_AT, MISSING_SINCE
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Machine
from ansible_collections.compute_index.supply.plugins.module_utils._text import ranges, seconds_of
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import entry, machine, machine_id, offer_id

NIGHT = seconds_of("2026-02-27T00:00:00Z") or 0.0
MORNING = NIGHT + 8 * 3600
FLEET = [CeilingPart(f"gpu-{number}", 2.0, since=NIGHT + 60 * number) for number in range(27, 0, -1)]


@pytest.mark.parametrize(
    ("parts", "told", "names"),
    [
        pytest.param([], "USD 0.00 per hour together", "", id="nothing"),
        pytest.param(
            [CeilingPart("b-1", 3.0, State.ORDERED)],
            "USD 3.00 per hour together",
            "Counted: b-1 USD 3.00 (would be bought).",
            id="only what would be bought",
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
            id="one by one",
        ),
        pytest.param(
            [CeilingPart("b-1", 3.0, State.ORDERED), *FLEET],
            "USD 57.00 per hour together, of which USD 54.00 per hour are live or being bought already",
            "Counted: b-1 USD 3.00 (would be bought); gpu-[1:27] 27 x USD 2.00 (live, the oldest since 2026-02-27 00:01"
            " UTC).",
            id="many",
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
def test_a_sum_is_told_with_all_of_its_parts(parts: list[CeilingPart], told: str, names: str) -> None:
    assert (Count(tuple(parts)).sum_in_words, Count(tuple(parts)).parts_in_words) == (told, names)


def test_a_registry_and_the_list_say_what_a_part_is() -> None:
    noted = {"provision_journaled_at": "2026-02-27T00:00:00Z", "provision_price_per_hour": 2.0}
    assert CeilingPart.of_entry("a", entry(offer_id(1), purchase="sent", **noted)) == CeilingPart(
        "a", 2.0, State.BUYING, offer_id(1), NIGHT
    )
    made = entry(offer_id(1), [machine_id(1)], "made", **noted)
    assert CeilingPart.of_entry("a", made) == CeilingPart("a", 2.0, State.LIVE, offer_id(1), NIGHT)
    lost = entry(
        offer_id(1),
        [machine_id(1)],
        "made",
        **noted,
        **dict.fromkeys((MISSING_SINCE, MISSING_AT), "2026-02-27T08:00:00Z"),
    )
    assert CeilingPart.of_entry("a", lost) == CeilingPart("a", 2.0, State.MISSING, offer_id(1), MORNING)
    assert CeilingPart.of_found("a", lost, 2.0) == CeilingPart("a", 2.0, State.LIVE, offer_id(1), NIGHT)
    listed = {**machine(1, "train"), "created_at": "2026-02-27T08:00:00Z"}
    assert CeilingPart.of_machine(listed) == CeilingPart(f"train ({machine_id(1)})", 2.0, State.UNOWNED, since=MORNING)
    assert CeilingPart.of_machine({**listed, "name": None}).name == machine_id(1)


VOLUME = {"kind": "storage", "price_per_hour": 0.25}


@pytest.mark.parametrize(
    ("noted", "listed", "counted"),
    [
        pytest.param(2.25, [], 2.25, id="the list has nothing of it"),
        pytest.param(2.25, [machine(1, price_per_hour=5.0)], 5.25, id="it has become dearer"),
        pytest.param(2.25, [machine(1, price_per_hour=1.0)], 2.25, id="it has become cheaper"),
        pytest.param(2.25, [machine(1, price_per_hour=None)], 2.25, id="its price is not listed"),
        pytest.param(None, [machine(1, price_per_hour=5.0)], 5.25, id="its price was never known"),
        pytest.param(2.25, [machine(1), machine(3, **VOLUME)], 2.25, id="storage has a price of its own"),
        pytest.param(2.25, [machine(1, price_per_hour=2.25), machine(3, **VOLUME)], 2.5, id="or the machine's has it"),
        pytest.param(2.25, [machine(1), machine(4, offer=offer_id(1), **VOLUME)], 2.5, id="kept storage is linked"),
        pytest.param(2.25, [machine(1, price_per_hour=3.0), machine(5, offer=offer_id(1))], 5.25, id="a cluster"),
        pytest.param(2.25, [machine(1, price_per_hour=5.0, status="deleted")], 2.25, id="it has ended"),
        pytest.param(2.25, [machine(2, offer=offer_id(2), price_per_hour=5.0)], 2.25, id="of another purchase"),
    ],
)
def test_a_purchase_counts_at_what_its_machines_cost_now(
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
    ("prices", "stored", "noted", "counted"),
    [
        ([4.0], None, 5.0, 5.0),  # a search named the price of storage, which no list shows
        ([6.0], None, 5.0, 6.0),
        ([4.0], None, None, 4.0),
        ([None], None, 5.0, 5.0),
        ([None], None, None, None),
        ([4.0], 0.25, 4.25, 4.25),
        ([4.0], 0.25, 4.0, 4.25),
        ([4.0, 3.0], 0.25, 9.0, 9.0),
    ],
)
def test_a_listed_purchase_counts_for_the_account_at_no_less_than_it_was_noted(
    prices: list[float | None], stored: float | None, noted: float | None, counted: float | None
) -> None:
    machines = [machine(number, offer=offer_id(1), price_per_hour=price) for number, price in enumerate(prices)]
    storage = [] if stored is None else [{"resource_id": machine_id(9), "price_per_hour": stored}]
    ids = [machine_id(number) for number in range(len(prices))]
    bought = entry(offer_id(1), ids, "made", provision_price_per_hour=noted, provision_storage=storage)
    # Another purchase is none of this one's.
    other = entry(offer_id(2), [machine_id(8)], "made", provision_price_per_hour=1.0)
    listed = [*machines, machine(8, offer=offer_id(2), price_per_hour=1.5)]
    parts = account_prices(listed, [("a", bought), ("b", other)], ()).registered
    assert [part.cost for part in parts if part.name != "b"] == [counted]
    assert [part.cost for part in parts if part.name == "b"] == [1.5]


def test_a_large_account_does_not_fill_the_page() -> None:
    found = Count(tuple(CeilingPart(f"m{number}x", 2.0, State.UNOWNED) for number in range(500))).parts_in_words
    assert "and 460 more 500 x USD 2.00 (in no registry that was read)" in found
    assert len(found) < 400


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
def test_names_in_a_row_are_a_range(names: list[str], folded: list[str]) -> None:
    assert sorted(ranges(names)) == sorted(folded)


# What the expression [ab]-?[0-9]{0,3} matches: as an expression it takes five times as long to draw.
NUMBERS = [[f"{number:0{digits}}" for number in range(10**digits)] for digits in (1, 2, 3)]
ends = st.just("") | st.sampled_from(NUMBERS[0]) | st.sampled_from(NUMBERS[1]) | st.sampled_from(NUMBERS[2])
names = st.tuples(st.sampled_from("ab"), st.sampled_from(["", "-"]), ends).map("".join)


@given(st.lists(names, max_size=40))
def test_ranges_mean_the_names(some: list[str]) -> None:
    assert sorted(expanded(ranges(some))) == sorted({*some})


def expanded(folded: list[str]) -> list[str]:
    """The names, as a survey takes them."""
    found = []
    for each in folded:
        text, begin, end = re.fullmatch(r"(.*?)(?:\[([0-9]+):([0-9]+)\])?", each, re.DOTALL).groups()  # type: ignore[union-attr]
        numbers = range(int(begin), int(end) + 1) if begin else ()
        found += [f"{text}{number:0{len(begin)}d}" for number in numbers] or [each]
    return found


STATES = [State.ORDERED, State.BUYING, State.LIVE, State.UNREAD, State.MISSING]
parts = st.builds(
    CeilingPart,
    name=names,
    cost=st.integers(0, 8).map(lambda quarters: quarters / 4),
    state=st.sampled_from(STATES),
)


@given(st.lists(parts, max_size=30, unique_by=lambda part: part.name))
def test_what_is_named_adds_up_to_what_is_told(known: list[CeilingPart]) -> None:
    count = Count(tuple(known))
    counted = count.parts_in_words.partition("Not counted: ")[0]
    total, found = 0.0, Counter[str]()
    for group in filter(None, re.split(r"; |Counted: |\. ?$", counted)):
        listed, _blank, cost = group.partition(" USD ")
        times = re.search(r" ([0-9]+) x$", listed)
        total += float(cost.split()[0]) * (int(times[1]) if times else 1)
        found.update(expanded(re.sub(r" [0-9]+ x$", "", listed).split(", ")))
    assert found == Counter(part.name for part in known if part.state is not State.MISSING)
    assert f"USD {total:.2f} per hour together" in count.sum_in_words
