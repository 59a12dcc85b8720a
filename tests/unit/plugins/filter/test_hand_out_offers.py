# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers are handed out so that no two hosts race for the same one."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.filter.hand_out_offers import hand_out_offers

H100 = {"compute": {"gpu_type": "H100"}}
A100 = {"compute": {"gpu_type": "A100"}}


def offers(**prices: float | None) -> list[dict[str, Any]]:
    return [{"offer_id": name, "price_per_hour": price} for name, price in prices.items()]


def wish(host: str, ceiling: Any = None, spec: Any = None, attempts: int = 1) -> dict[str, Any]:
    return {"host": host, "spec": spec or H100, "ceiling": ceiling, "attempts": attempts}


def handed(wishes: list[Any], found: list[Any], *taken: str, searches: Any = None) -> dict[str, list[str]]:
    result = hand_out_offers(wishes, searches or [{"item": H100, "offers": found}], taken)
    return {host: [offer["offer_id"] for offer in own] for host, own in result.items()}


def wishes_of(attempts: int, *hosts: str) -> list[dict[str, Any]]:
    return [wish(host, attempts=attempts) for host in hosts]


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ([], {}),
        (wishes_of(1, "h1"), {"h1": ["a"]}),
        (wishes_of(1, "h1", "h2"), {"h1": ["a"], "h2": ["b"]}),
        (wishes_of(1, "h2", "h1"), {"h2": ["a"], "h1": ["b"]}),
        (wishes_of(2, "h1", "h2"), {"h1": ["a", "c"], "h2": ["b", "d"]}),
        (wishes_of(2, "h1", "h2", "h3"), {"h1": ["a", "d"], "h2": ["b"], "h3": ["c"]}),
        (wishes_of(9, "h1"), {"h1": ["a", "b", "c", "d"]}),
        (wishes_of(0, "h1"), {"h1": []}),
        (wishes_of(1, "h0", "h1", "h2", "h3", "h4"), {"h0": ["a"], "h1": ["b"], "h2": ["c"], "h3": ["d"], "h4": []}),
        (wishes_of(1, "h1") + wishes_of(3, "h2"), {"h1": ["a"], "h2": ["b", "c", "d"]}),
        (wishes_of(3, "h1") + wishes_of(0, "h2"), {"h1": ["a", "b", "c"], "h2": []}),
    ],
)
def test_no_offer_is_given_to_two_hosts(wishes: list[Any], expected: Any) -> None:
    assert handed(wishes, offers(a=1, b=2, c=3, d=4)) == expected


def test_offers_that_are_taken_are_given_to_nobody() -> None:
    assert handed(wishes_of(2, "h1", "h2"), offers(a=1, b=2, c=3, d=4), "a", "d") == {"h1": ["b"], "h2": ["c"]}


@pytest.mark.parametrize(
    ("ceiling", "expected"),
    [
        (2, ["a", "b"]),
        (2.0, ["a", "b"]),
        ("2.0", ["a", "b"]),
        (1.99, ["a"]),
        (0, []),
        ("0", []),
        (None, ["a", "b", "c", "d"]),
        ("", ["a", "b", "c", "d"]),
        ("unlimited", ["a", "b", "c", "d"]),
    ],
)
def test_offers_above_the_ceiling_and_of_unknown_price_are_left_out(ceiling: Any, expected: list[str]) -> None:
    assert handed([wish("h1", ceiling, attempts=9)], offers(a=1, b=2, c=3, d=None)) == {"h1": expected}


def test_a_host_gets_one_offer_unless_more_are_wanted() -> None:
    assert handed([{"host": "h1", "spec": H100}], offers(a=1, b=2)) == {"h1": ["a"]}


def test_a_ceiling_may_be_missing_altogether() -> None:
    assert handed([{"host": "h1", "spec": H100}], offers(a=None)) == {"h1": ["a"]}


def test_a_ceiling_that_is_no_number_is_an_error() -> None:
    with pytest.raises(ValueError):
        handed([wish("h1", "cheap")], offers(a=1))


def test_a_low_ceiling_of_one_host_leaves_the_rest_to_others() -> None:
    assert handed([wish("h1"), wish("h2", 1), wish("h3")], offers(a=1, b=2)) == {"h1": ["a"], "h2": [], "h3": ["b"]}


def test_each_host_is_given_offers_of_its_own_search() -> None:
    searches = [{"item": A100, "offers": offers(x=1)}, {"item": H100, "offers": offers(a=1)}]
    wishes = [wish("h1"), wish("h2", spec=A100), wish("h3", spec={"compute": {"gpu_type": "L4"}})]
    assert handed(wishes, [], searches=searches) == {"h1": ["a"], "h2": ["x"], "h3": []}


def test_an_offer_that_two_searches_found_is_given_once() -> None:
    searches = [{"item": A100, "offers": offers(a=1, x=2)}, {"item": H100, "offers": offers(a=1, b=2)}]
    assert handed([wish("h1"), wish("h2", spec=A100)], [], searches=searches) == {"h1": ["a"], "h2": ["x"]}


@pytest.mark.parametrize("search", [{"item": H100}, {"item": H100, "offers": None}, {"item": H100, "failed": True}])
def test_a_search_without_offers_leaves_a_host_empty_handed(search: Any) -> None:
    assert hand_out_offers([wish("h1")], [search]) == {"h1": []}


def test_offers_are_handed_on_whole_and_searches_are_left_as_they_were() -> None:
    found = [{"offer_id": "a", "price_per_hour": 1, "vendor": "nebius"}]
    searches = [{"item": H100, "offers": found}]
    assert hand_out_offers([wish("h1")], searches) == {"h1": [found[0]]}
    assert searches == [{"item": H100, "offers": [{"offer_id": "a", "price_per_hour": 1, "vendor": "nebius"}]}]
