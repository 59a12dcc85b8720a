# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the market has now, for a person who looks around."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import browsing
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import (
    UNLIMITED,
    Choice,
)
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE, folded_lines
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import offer, offer_id

H100 = {"compute": {"gpu_type": "H100"}}


@pytest.mark.parametrize(
    ("answers", "spec", "search", "limit"),
    [
        ({}, {}, {}, UNLIMITED),
        ({"order_gpu_type": "H100"}, {}, H100, UNLIMITED),
        ({"order_gpu_type": "any", "order_region": "EU"}, {}, {"region": "EU"}, UNLIMITED),
        ({"order_gpu_count": "8"}, {}, {"compute": {"gpu_count": 8}}, UNLIMITED),
        ({"order_contract_type": "any"}, H100, {"compute": {"gpu_type": "H100", "contract_type": "any"}}, UNLIMITED),
        ({"order_region": "US"}, {"region": "EU", **H100}, {"region": "US", **H100}, UNLIMITED),
        ({"order_max_price_per_hour": "2.5"}, {"max_price_per_hour": 3, **H100}, H100, 2.5),
        ({}, {"max_price_per_hour": 3, **H100}, H100, 3.0),
        (
            {"order_max_price_per_hour": "unlimited"},
            {"storage": [{"size": "1TB"}]},
            {"storage": [{"size": "1TB"}]},
            UNLIMITED,
        ),
    ],
)
def test_what_is_to_be_seen(answers: Any, spec: Any, search: Any, limit: float) -> None:
    assert browsing.read_search(answers, spec) == Choice(search, limit)


@pytest.mark.parametrize(
    ("answers", "spec", "reason"),
    [
        ({"order_gpu_count": "two"}, {}, "order_gpu_count must be a whole number from 0 to 999."),
        ({"order_gpu_type": ["H100"]}, {}, "order_gpu_type must be a text or a number."),
        (
            {"order_max_price_per_hour": "3,5"},
            {},
            "order_max_price_per_hour must be a number (USD per hour) or \"unlimited\", not '3,5'.",
        ),
        (
            {},
            {"max_price_per_hour": "x"},
            "offers_spec.max_price_per_hour must be a number (USD per hour) or \"unlimited\", not 'x'.",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(answers: Any, spec: Any, reason: str) -> None:
    with pytest.raises(ValueError) as error:
        browsing.read_search(answers, spec)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("spec", "listed"),
    [
        (H100, True),
        ({"storage": [{"size": "1TB"}]}, True),
        ({}, False),
        ({"region": "EU", "compute": {"gpu_count": 8}}, False),
    ],
)
def test_offers_are_listed_if_a_gpu_is_named(spec: Any, listed: bool) -> None:
    assert browsing.lists_offers(Choice(spec)) is listed


def test_each_size_of_a_machine_is_a_search() -> None:
    """The API takes no more than one number of GPUs."""
    sizes = [{"compute": {"gpu_type": "H100", "gpu_count": count}} for count in (1, 2, 4, 8)]
    assert browsing.searches(Choice(H100)) == sizes
    assert browsing.searches(Choice(sizes[3])) == [sizes[3]]
    assert browsing.searches(Choice({"storage": [1]})) == [{"storage": [1]}]


def test_all_gpus_are_searched_for_at_once_and_apart_if_the_api_refuses_that() -> None:
    one, *_others = browsing.searches_of_all(Choice({"region": "EU", "compute": {"contract_type": "spot"}}), ["A", "B"])
    compute = {"gpu_count": 1, "contract_type": "any"}
    assert one == {"region": "EU", "compute": {"gpu_type": "A | B", **compute}}
    assert browsing.searches_of_all(Choice({}), []) == []


@pytest.mark.parametrize(("catalog", "families"), [({"L4": [], "H100": []}, ["L4", "H100"]), (["L4"], []), (None, [])])
def test_families(catalog: Any, families: list[str]) -> None:
    assert browsing.families_of(catalog) == families


L4 = {"gpu_type": "nvidia-l4-pcie-24gb", "gpu_family": "L4"}
MARKET = [
    offer(1, 2.95),
    offer(2, 2.4),
    offer(3, 22.4, gpu_count=8),
    offer(4, 2.1, contract_type="spot"),
    offer(5, 0.45, **L4, contract_type="spot"),
    offer(6, None, contract_type=None),
    {**offer(7, 0.1), "offer_id": None},
]


def test_kinds_of_gpu_with_the_price_on_demand_and_spot_beside_it() -> None:
    shown = browsing.market_report(Choice({}), MARKET)
    assert shown["kinds"] == [
        {
            "gpu_type": "nvidia-h100-sxm5-80gb",
            "price_per_hour": 2.4,
            "offers": 4,
            "gpu_counts": ["1", "8"],
            "spot_price_per_hour": 2.1,
            "spot_offers": 1,
        },
        {
            "gpu_type": "nvidia-l4-pcie-24gb",
            "price_per_hour": None,
            "offers": 0,
            "gpu_counts": ["1"],
            "spot_price_per_hour": 0.45,
            "spot_offers": 1,
        },
    ]
    assert shown["lines"] == [
        "GPU                    USD/h  offers  GPUs  spot",
        "nvidia-h100-sxm5-80gb   2.40       4  1, 8  1 from 2.10",
        "nvidia-l4-pcie-24gb        -       0  1     1 from 0.45",
        "",
        "USD/h: the price of the cheapest on-demand offer as a whole.",
        "spot: may be taken away.",
        "The offers of a kind: -e order_gpu_type=nvidia-h100-sxm5-80gb",
    ]


def test_a_ceiling_holds_for_the_market() -> None:
    shown = browsing.market_report(Choice({}, 2.5), MARKET)
    assert [kind["offers"] for kind in shown["kinds"]] == [1, 0]
    nothing = browsing.market_report(Choice({}, 0.1), MARKET)
    assert nothing == {
        "kinds": [],
        "lines": ["No GPU has a matching offer now."],
    }


def test_offers_of_a_search_cheapest_first_with_their_ids() -> None:
    spec = {"compute": {"gpu_type": "H100", "contract_type": "any"}}
    cluster = offer(8, 70.0, gpu_count=24, node_count=3, expires_at="2026-11-28T20:50:00Z")
    shown = browsing.offer_report(Choice(spec), [*MARKET, cluster])
    assert [item["offer_id"] for item in shown["offers"]] == [offer_id(number) for number in (4, 2, 1, 3, 8, 6)]
    assert shown["lines"] == [
        "1 x nvidia-h100-sxm5-80gb, spot: may be taken away",
        "USD/h  offer                                 vendor  region",
        f" 2.10  {offer_id(4)}  nebius  EU",
        "",
        "1 x nvidia-h100-sxm5-80gb, ondemand",
        "USD/h  offer                                 vendor  region",
        f" 2.40  {offer_id(2)}  nebius  EU",
        f" 2.95  {offer_id(1)}  nebius  EU",
        "",
        "8 x nvidia-h100-sxm5-80gb, ondemand",
        "USD/h  offer                                 vendor  region",
        f"22.40  {offer_id(3)}  nebius  EU",
        "",
        "24 x nvidia-h100-sxm5-80gb, 3 machines, ondemand",
        "USD/h  offer                                 vendor  region",
        f"70.00  {offer_id(8)}  nebius  EU",
        "",
        "1 x nvidia-h100-sxm5-80gb",
        "USD/h  offer                                 vendor  region",
        f"-      {offer_id(6)}  nebius  EU",
        "",
        "These offers can be bought until 2026-11-28 20:50 UTC.",
        "To buy the first one: compute_index.supply.provision",
        f"  -e provision_offer_id={offer_id(4)}",
        "  -e provision_hosts=<host>",
    ]


def test_a_long_list_is_cut_and_counted() -> None:
    lines = browsing.offer_report(Choice(H100), [offer(number, 1.0 + number) for number in range(25)])["lines"]
    assert "And 5 more, from USD 21.00 per hour." in lines and not [line for line in lines if offer_id(20) in line]


@pytest.mark.parametrize(
    ("choice", "answer", "reason"),
    [
        (Choice(H100), [], "No offer matches now."),
        (Choice(H100), [offer(1, contract_type="spot")], "with 1 offer of another kind (contract_type spot instead of"),
        (Choice(H100, 1.0), [offer(1, 2.0), offer(2, None)], "Each of the 2 offers costs more than USD 1.00 per hour"),
    ],
)
def test_why_there_is_none(choice: Choice, answer: Any, reason: str) -> None:
    shown = browsing.offer_report(choice, answer)
    assert shown["offers"] == [] and reason in " ".join(shown["lines"])


texts = st.text("abc-0123 ", min_size=1, max_size=60)


@given(
    st.lists(
        st.builds(
            offer,
            st.integers(0, 99),
            st.none() | st.floats(0, 9999),
            gpu_type=texts,
            gpu_count=st.sampled_from([1, 2, 4, 8, 24, None]),
            vendor=texts,
            region=texts,
            contract_type=st.sampled_from(["ondemand", "spot", None]),
            node_count=st.sampled_from([None, 1, 16]),
        ),
        max_size=8,
    )
)
def test_no_line_is_too_long_for_the_screen(offers: list[dict[str, Any]]) -> None:
    """But for what was shortened and stands whole below its table."""
    lines = [*browsing.market_report(Choice({}), offers)["lines"], *browsing.offer_report(Choice({}), offers)["lines"]]
    assert [line for line in folded_lines(lines) if len(line) > LINE and not line.startswith(("~ ", "-e "))] == []
