# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of several searches a host buys from, how offers are allocated to hosts, and how long a host waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import (
    Avoided,
    Case,
    SearchResult,
    Unavailable,
    allocate,
    choose,
    pooled,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import (
    CHEAPEST,
    LISTED,
    UNLIMITED,
    Choice,
    Patience,
    choice_in_words,
    highest_prices,
    matching_offers,
    may_wait,
    mismatch_with_all,
    offers_at_prices,
    passes_max_price,
    product_key,
    read_patience,
    without_limits,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState, Standing
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import SPEC, host, offer, offer_id

H100 = Choice({"region": "EU", "compute": {"gpu_type": "H100", "gpu_count": 1, "contract_type": "ondemand"}})
A100 = Choice({"compute": {"gpu_type": "A100", "gpu_count": 2}}, max_price_per_hour=3.0)
ONE, TWO, PAIR = offer(1, 4.0), offer(2, 5.0), offer(3, 3.0, gpu_count=2)
DEAR = offer(4, 3.5, gpu_count=2)


@pytest.mark.parametrize(
    ("order", "found", "numbers"),
    [
        (LISTED, [[ONE, TWO], [PAIR]], [1, 2, 3]),
        (CHEAPEST, [[ONE, TWO], [PAIR]], [3, 1, 2]),
        # The price of one GPU counts; an unknown number of GPUs counts as one.
        (CHEAPEST, [[offer(9, 2.0), offer(8, 1.0, gpu_count=None)], [PAIR]], [8, 3, 9]),
        # The price is above the choice's own ceiling, or unknown.
        (LISTED, [[], [PAIR, DEAR]], [3]),
        (LISTED, [[offer(5, None)], [offer(6, None, gpu_count=2)]], [5]),
        # Two choices find the same offer.
        (LISTED, [[PAIR], [PAIR]], [3]),
        (LISTED, [[], []], []),
    ],
)
def test_choose_returns_affordable_offers_best_first(
    order: str, found: Sequence[Sequence[Mapping[str, Any]]], numbers: list[int]
) -> None:
    offers, _choices = choose([H100, A100], found, order)
    assert [item["offer_id"] for item in offers] == [offer_id(number) for number in numbers]


@pytest.mark.parametrize(
    ("prices", "left"),
    [
        ({1: 4.0, 2: 5.0}, [(1, 4.0), (2, 5.0)]),
        ({1: 5.5, 2: 5.0}, [(2, 5.0), (1, 5.5)]),  # the cheapest comes first
        ({1: 6.5, 2: 5.0}, [(2, 5.0)]),  # now above the ceiling of its search
        ({1: 6.5, 2: 6.5}, []),
    ],
)
def test_ceiling_of_a_search_counts_at_the_highest_price(prices: dict[int, float], left: list[Any]) -> None:
    declared = host(spec={**SPEC, "max_price_per_hour": 6}, max_price_per_hour=9)
    now = {offer_id(number): price for number, price in prices.items()}
    found = SearchResult.of(declared, [[ONE, TWO]]).at(declared, now)
    assert [(item["offer_id"], item["price_per_hour"]) for item in found.offers] == [
        (offer_id(number), price) for number, price in left
    ]
    assert len(found.offers_by_choice[0]) == 2
    assert SearchResult([ONE, offer(2, None)]).at(declared, now).offers == [offer(1, prices[1]), offer(2, None)]


def test_choose_returns_number_of_choice_for_each_offer() -> None:
    _offers, numbers = choose([H100, A100], [[ONE], [PAIR, ONE]], LISTED)
    assert numbers == {offer_id(1): 1, offer_id(3): 2}


def test_search_without_offers_is_repeated_without_region_and_contract() -> None:
    compute = {"gpu_type": "H100", "gpu_count": 1}
    assert without_limits(H100.spec, []) == [{"compute": {**compute, "contract_type": "any"}}]
    assert without_limits(A100.spec, []) == [{"compute": {**A100.spec["compute"], "contract_type": "any"}}]
    assert without_limits(H100.spec, [ONE]) == []
    for spec in ({}, {"compute": "H100"}, {"compute": {**compute, "contract_type": "any"}}):
        assert without_limits(spec, []) == []


def test_choice_in_words() -> None:
    assert choice_in_words(H100) == "1 x H100, ondemand, EU"
    assert choice_in_words(A100) == "2 x A100, ondemand"
    assert choice_in_words(Choice({"compute": {"gpu_type": "L4", "contract_type": "any"}})) == "1 x L4"
    assert choice_in_words(Choice({})) == "1 x any GPU"


def test_offer_must_match_one_of_the_choices() -> None:
    assert mismatch_with_all([H100, A100], {"gpu_type": "nvidia-a100-sxm4-80gb", "gpu_count": 2}) == ""
    assert "gpu_type nvidia-l4 instead of H100" in mismatch_with_all(
        [H100, A100], {"gpu_type": "nvidia-l4", "gpu_count": 2}
    )
    assert mismatch_with_all([], {"gpu_type": "x"}) == ""


prices = st.none() | st.floats(min_value=0, max_value=100)


@given(st.lists(st.tuples(st.integers(0, 2), prices), max_size=12), st.sampled_from([LISTED, CHEAPEST]))
def test_choose_never_returns_offer_above_ceiling_of_its_choice(
    market: list[tuple[int, float | None]], order: str
) -> None:
    choices = [Choice(SPEC, ceiling) for ceiling in (10.0, UNLIMITED, 0.0)]
    offers: list[list[Mapping[str, Any]]] = [[], [], []]
    for number, (choice, price) in enumerate(market):
        offers[choice].append(offer(number, price))
    found, number_of = choose(choices, offers, order)
    numbers = [number_of[item["offer_id"]] for item in found]
    for item, number in zip(found, numbers, strict=True):
        ceiling = choices[number - 1].max_price_per_hour
        assert ceiling == UNLIMITED or item["price_per_hour"] <= ceiling
    assert order == CHEAPEST or numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("offers", "matching", "reason"),
    [
        ([ONE, offer(7, region="US")], [ONE], ""),
        ([], [], ""),
        ([{**ONE, "offer_id": None}], [], ""),
        ([offer(7, region="US")], [], "with 1 offer of another kind (region US instead of EU)"),
    ],
)
def test_offers_that_do_not_match_search_are_left_out(offers: list[Any], matching: list[Any], reason: str) -> None:
    found, message = matching_offers(H100.spec, offers)
    assert found == matching and reason in message and bool(reason) == bool(message)


SPOT = offer(8, contract_type="spot")


@pytest.mark.parametrize(
    ("contract", "found"),
    [({}, [ONE]), ({"contract_type": "spot"}, [SPOT]), ({"contract_type": "any"}, [ONE, SPOT])],
)
def test_offers_of_another_contract_are_left_out(contract: dict[str, str], found: list[Any]) -> None:
    """The API may ignore the contract of a search."""
    spec = {"compute": {"gpu_type": "H100", "gpu_count": 1, **contract}}
    assert matching_offers(spec, [ONE, SPOT]) == (found, "")


def test_offers_have_highest_price_of_several_answers() -> None:
    prices = highest_prices([ONE, TWO, offer(1, 6.0), offer(2, None), offer(3, None)])
    assert prices == {offer_id(1): 6.0, offer_id(2): 5.0, offer_id(3): None}
    found = offers_at_prices(prices, [offer(2, None), ONE, TWO])
    assert [(item["offer_id"], item["price_per_hour"]) for item in found] == [
        (offer_id(2), 5.0),
        (offer_id(1), 6.0),
        (offer_id(2), None),
    ]


# Repeated searches


def pooled_ids(answers: list[list[int]], wanted: int) -> list[str]:
    """The ids of the offers that are pooled for so many hosts. ``answers``: of one search in turn; each is a price."""
    searches = iter([[offer(number, float(number)) for number in numbers] for numbers in answers])
    offers = pooled(next(searches), lambda items: len(items) < wanted, lambda: next(searches, []))
    return [item["offer_id"] for item in offers]


@pytest.mark.parametrize(
    ("answers", "wanted", "numbers"),
    [
        ([[1, 4]], 2, [1, 4]),  # enough
        ([[1, 4], [1, 4], [9]], 3, [1, 4]),  # a repetition without new offers is the last one
        ([[1, 4], [2, 3]], 3, [1, 2, 3, 4]),  # a repetition with new offers
        ([[1, 4], [2], [3], [5]], 4, [1, 2, 3, 4]),
        ([[1], []], 2, [1]),  # the repetition failed
    ],
)
def test_search_is_repeated_until_it_has_enough_offers(
    answers: list[list[int]], wanted: int, numbers: list[int]
) -> None:
    assert pooled_ids(answers, wanted) == [offer_id(number) for number in numbers]


@pytest.mark.parametrize(("new_offers", "prices"), [([], [3.0]), ([offer(2, 2.0)], [2.0, 3.0])])
def test_highest_price_of_repeated_searches_counts(new_offers: list[Any], prices: list[float]) -> None:
    offers = pooled([offer(1, 1.0)], lambda items: len(items) < 3, lambda: [offer(1, 3.0), *new_offers])
    assert [item["price_per_hour"] for item in offers] == prices


def test_search_is_repeated_at_most_50_times() -> None:
    assert len(pooled_ids([[number] for number in range(1, 200)], 1000)) <= 60


def buyer(name: str = "gpu-1", max_price_per_hour: Any = "unlimited", **fields: Any) -> Case:
    """A host that searches for offers up to this price."""
    declared = host(name, max_price_per_hour=max_price_per_hour)
    return Case(declared, Entry(), Standing(HostState.FREE), **fields)


def test_hosts_get_cheapest_offers_in_their_order() -> None:
    offers = [offer(1, 1.0), offer(2, 2.0), offer(3, 3.0)]
    limits = {"b": 5, "a": 5, "c": 2.5, "d": 5}
    found = allocate([(buyer(name, limit), offers) for name, limit in limits.items()], Unavailable())
    assert {name: item["offer_id"] for name, item in found.items()} == {
        "b": offer_id(1),
        "a": offer_id(2),
        "d": offer_id(3),
    }


def tried(number: int, error_class: str = "unavailable", **fields: Any) -> dict[str, Any]:
    return {"offer_id": offer_id(number), "vendor": "nebius", "region": "EU", "error_class": error_class, **fields}


AVOIDED = (Avoided(("nebius", "EU"), "", 0.0),)


@pytest.mark.parametrize(
    ("other", "own", "reason"),
    [
        ({}, {}, ""),
        # Offers are left out for all hosts of the plan, whichever of them has tried one.
        ({}, {"attempts": [tried(1)]}, "has tried it"),
        ({"attempts": [tried(1)]}, {}, "has tried it"),
        ({"attempts": [tried(2)]}, {"attempts": [tried(2)]}, ""),
        # Vendors and regions are left out only for the host whose attempt failed there.
        ({}, {"attempts": [tried(2, "quota")]}, "quota is used up"),
        ({}, {"attempts": [tried(2, "quota", vendor="crusoe")]}, ""),
        ({"attempts": [tried(2, "quota")]}, {}, ""),
        ({}, {"attempts": [tried(2, "unsound")]}, "failed its test"),
        ({}, {"attempts": [tried(2, "unsound", region="US")]}, ""),
        ({"attempts": [tried(2, "unsound")]}, {}, ""),
        ({}, {"avoided_before": AVOIDED}, "failed its test"),
        ({"avoided_before": AVOIDED}, {}, ""),
        ({}, {"max_price_per_hour": 1.99}, "above the ceiling"),
        ({}, {"max_price_per_hour": 2}, ""),
        ({"max_price_per_hour": 1.99}, {}, ""),
    ],
)
def test_offer_is_left_out_for_a_reason(other: dict[str, Any], own: dict[str, Any], reason: str) -> None:
    case = buyer(**own)
    found = case.why_left_out(offer(1, 2.0), Unavailable.of([case, buyer("gpu-2", **other)], (), {}))
    assert reason in found and bool(reason) == bool(found)


@pytest.mark.parametrize(
    ("taken", "named", "gone", "reason"),
    [
        ([1], 9, [], "another host has it"),
        ([], 1, [], "wants it by its id"),
        ([], 9, [1], "it is gone"),
        ([2], 2, [2], ""),
    ],
)
def test_unavailable_offer_is_left_out(taken: list[int], named: int, gone: list[int], reason: str) -> None:
    case = buyer()
    naming = Case(host("gpu-2", offer_id=offer_id(named)), Entry(), Standing(HostState.FREE))
    pages = {offer_id(number): SearchResult(reason="gone", is_gone=True) for number in gone}
    unavailable = Unavailable.of([case, naming], map(offer_id, taken), pages)
    found = case.why_left_out(offer(1), unavailable)
    assert reason in found and bool(reason) == bool(found)


@pytest.mark.parametrize(
    ("attempts", "kept", "numbers"),
    [
        ([], None, [1, 2, 3]),
        ([], 3, [3, 1, 2]),
        ([tried(9, product=product_key(ONE, 4.0))], None, [2, 3, 1]),
        ([tried(9, product=product_key(ONE, 4.0))], 1, [1, 2, 3]),
    ],
)
def test_kept_offer_comes_first_and_undelivered_product_last(
    attempts: list[Any], kept: int | None, numbers: list[int]
) -> None:
    found = buyer(attempts=attempts).in_order([ONE, TWO, PAIR], kept and offer_id(kept))
    assert [item["offer_id"] for item in found] == [offer_id(number) for number in numbers]


_prices = st.none() | st.integers(0, 8).map(lambda quarters: quarters / 4)
_markets = st.lists(
    st.lists(st.tuples(st.integers(1, 9), _prices), max_size=6, unique_by=lambda item: item[0]), min_size=1, max_size=3
)


@given(
    _markets,
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.5, 1.0, 2.0, UNLIMITED])), max_size=8),
    st.sets(st.integers(1, 9), max_size=3),
)
def test_each_host_gets_first_free_offer_within_its_limit(
    markets: list[list[tuple[int, float | None]]], hosts: list[tuple[int, float]], taken: set[int]
) -> None:
    known = [
        sorted(
            [offer(number, price) for number, price in market],
            key=lambda item: (item["price_per_hour"] is None, item["price_per_hour"] or 0.0),
        )
        for market in markets
    ]
    requests = [
        (buyer(f"h{n}", "unlimited" if limit == UNLIMITED else limit), known[which % len(known)])
        for n, (which, limit) in enumerate(hosts)
    ]
    ids = {offer_id(item) for item in taken}
    found = allocate(requests, Unavailable(taken=ids))
    given_out = [item["offer_id"] for item in found.values()]
    assert len(given_out) == len({*given_out})
    assert not ids & {*given_out}
    earlier = set(ids)
    for case, offers in requests:
        free = [
            item
            for item in offers
            if item["offer_id"] not in earlier
            and passes_max_price(item["price_per_hour"], case.host.max_price_per_hour)
        ]
        assert found.get(case.host.host) == (free[0] if free else None)
        earlier |= {free[0]["offer_id"]} if free else set()


NOW, HOUR = 1_800_000_000.0, 3600.0  # 08:00 UTC


@pytest.mark.parametrize(
    ("wait", "delay", "patience", "objection"),
    [
        ("", "10m", Patience(None, 600.0), ""),
        ("8h", "10m", Patience(NOW + 8 * HOUR, 600.0), ""),
        ("2027-01-15T10:00Z", "1m", Patience(NOW + 2 * HOUR, 60.0), ""),
        ("2027-01-15T10:00Z", "0", Patience(NOW + 2 * HOUR, 0.0), ""),
        ("2027-01-15T10:00Z", 0, Patience(NOW + 2 * HOUR, 0.0), ""),
        ("8h", 0, Patience(NOW + 8 * HOUR, 0.0), "so provision_wait must be a time"),
        ("8 hours", "10m", Patience(), "provision_wait must be a duration"),
        ("8h", "10", Patience(), "provision_wait_delay must be a duration"),
        ("8h", "2027-01-15T10:00Z", Patience(), "provision_wait_delay must be a duration"),
    ],
)
def test_read_patience(wait: Any, delay: Any, patience: Patience, objection: str) -> None:
    found: list[str] = []
    assert read_patience(wait, delay, NOW, found) == patience
    assert objection in " ".join(found) if objection else found == []


@pytest.mark.parametrize(
    ("patience", "now", "waits", "later_run"),
    [
        (Patience(NOW + HOUR, 600.0), NOW, True, False),
        (Patience(NOW + HOUR, 600.0), NOW + 3000, True, False),
        (Patience(NOW + HOUR, 600.0), NOW + 3001, False, False),
        (Patience(NOW + HOUR, 0.0), NOW, False, True),
        (Patience(NOW + HOUR, 0.0), NOW + HOUR, False, False),
        (Patience(None), NOW, False, False),
        (Patience(None, 0.0), NOW, False, False),
        (Patience(NOW + 1e12, 1.0), NOW, True, False),
    ],
)
def test_host_waits_in_this_run_or_for_a_later_one(
    patience: Patience, now: float, waits: bool, later_run: bool
) -> None:
    assert (patience.has_time(now), patience.has_later_run(now)) == (waits, later_run)


@pytest.mark.parametrize(
    ("patience", "now", "has_waited", "spans_runs"),
    [
        (Patience(NOW + HOUR, 600.0, NOW), NOW, False, False),
        (Patience(NOW + HOUR, 600.0, NOW), NOW + 599, False, False),
        (Patience(NOW + HOUR, 600.0, NOW), NOW + 600, True, False),
        (Patience(NOW + HOUR, 0.0, NOW), NOW + 600, False, True),
        (Patience(None, 600.0, NOW), NOW + 600, False, False),
        (Patience(None, 0.0, NOW), NOW + 600, False, False),
    ],
)
def test_host_has_waited_after_a_delay_of_this_run(
    patience: Patience, now: float, has_waited: bool, spans_runs: bool
) -> None:
    assert (patience.has_waited(now), patience.spans_runs) == (has_waited, spans_runs)


@pytest.mark.parametrize(
    ("fields", "waits"),
    [
        ({}, True),
        ({"quote": True}, False),
        ({"attempts": {"gpu-1": [{}]}}, False),  # a purchase was tried
        ({"failed": ["gpu-1"]}, False),
    ],
)
def test_only_run_that_has_tried_no_purchase_waits(fields: dict[str, Any], waits: bool) -> None:
    call = {"quote": False, "attempts": {}, "failed": [], **fields}
    assert may_wait(call, False) is waits and not may_wait(call, True)
