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


def wish(host: str, ceiling: Any = None, spec: Any = None) -> dict[str, Any]:
    return {"host": host, "spec": spec or H100, "ceiling": ceiling}


def handed(wishes: list[Any], found: list[Any], *rounds: int, searches: Any = None) -> dict[str, list[str]]:
    result = hand_out_offers(wishes, searches or [{"item": H100, "offers": found}], *rounds)
    return {host: [offer["offer_id"] for offer in own] for host, own in result.items()}


@pytest.mark.parametrize(
    ("wishes", "rounds", "expected"),
    [
        ([], 1, {}),
        ([wish("h1")], 1, {"h1": ["a"]}),
        ([wish("h1"), wish("h2")], 1, {"h1": ["a"], "h2": ["b"]}),
        ([wish("h2"), wish("h1")], 1, {"h2": ["a"], "h1": ["b"]}),
        ([wish("h1"), wish("h2")], 2, {"h1": ["a", "c"], "h2": ["b", "d"]}),
        ([wish("h1"), wish("h2"), wish("h3")], 2, {"h1": ["a", "d"], "h2": ["b"], "h3": ["c"]}),
        ([wish("h1")], 9, {"h1": ["a", "b", "c", "d"]}),
        ([wish("h1")], 0, {"h1": []}),
        ([wish(f"h{n}") for n in range(5)], 1, {"h0": ["a"], "h1": ["b"], "h2": ["c"], "h3": ["d"], "h4": []}),
    ],
)
def test_no_offer_is_given_to_two_hosts(wishes: list[Any], rounds: int, expected: Any) -> None:
    assert handed(wishes, offers(a=1, b=2, c=3, d=4), rounds) == expected


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
    assert handed([wish("h1", ceiling)], offers(a=1, b=2, c=3, d=None), 9) == {"h1": expected}


def test_a_host_gets_one_offer_unless_more_are_wanted() -> None:
    assert handed([wish("h1")], offers(a=1, b=2)) == {"h1": ["a"]}


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
