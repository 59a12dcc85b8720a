# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of the playbook `offers`: kinds of GPU on the market, or the offers of one search."""

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
def test_order_variables_override_offers_spec(answers: Any, spec: Any, search: Any, limit: float) -> None:
    assert browsing.read_search(answers, spec) == Choice(search, limit)


@pytest.mark.parametrize(
    ("answers", "spec", "reason"),
    [
        ({"order_gpu_count": "two"}, {}, "order_gpu_count must be a whole number from 0 to 999."),
        ({"order_gpu_type": ["H100"]}, {}, "order_gpu_type must be text or a number."),
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
def test_invalid_search_is_refused(answers: Any, spec: Any, reason: str) -> None:
    with pytest.raises(ValueError) as error:
        browsing.read_search(answers, spec)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("spec", "is_listed"),
    [
        (H100, True),
        ({"storage": [{"size": "1TB"}]}, True),
        ({}, False),
        ({"region": "EU", "compute": {"gpu_count": 8}}, False),
    ],
)
def test_offers_are_listed_if_gpu_or_storage_is_named(spec: Any, is_listed: bool) -> None:
    assert browsing.lists_offers(Choice(spec)) is is_listed


def test_each_gpu_count_is_searched_for_separately() -> None:
    """The API accepts only one number of GPUs."""
    sizes = [{"compute": {"gpu_type": "H100", "gpu_count": count}} for count in (1, 2, 4, 8)]
    assert browsing.searches(Choice(H100)) == sizes
    assert browsing.searches(Choice(sizes[3])) == [sizes[3]]
    assert browsing.searches(Choice({"storage": [1]})) == [{"storage": [1]}]


def test_search_for_all_gpus_names_all_families() -> None:
    first, *_others = browsing.searches_of_all(
        Choice({"region": "EU", "compute": {"contract_type": "spot"}}), ["A", "B"]
    )
    compute = {"gpu_count": 1, "contract_type": "any"}
    assert first == {"region": "EU", "compute": {"gpu_type": "A | B", **compute}}
    assert browsing.searches_of_all(Choice({}), []) == []


@pytest.mark.parametrize(("catalog", "families"), [({"L4": [], "H100": []}, ["L4", "H100"]), (["L4"], []), (None, [])])
def test_families_are_keys_of_catalog(catalog: Any, families: list[str]) -> None:
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


def test_market_report_shows_on_demand_and_spot_price_of_each_gpu() -> None:
    report = browsing.market_report(Choice({}), MARKET)
    assert report["kinds"] == [
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
    assert report["lines"] == [
        "GPU                    USD/h  offers  GPUs  spot",
        "nvidia-h100-sxm5-80gb   2.40       4  1, 8  1 from 2.10",
        "nvidia-l4-pcie-24gb        -       0  1     1 from 0.45",
        "",
        "USD/h: the price of the cheapest on-demand offer as a whole.",
        "spot: may be taken away.",
        "The offers of a kind: -e order_gpu_type=nvidia-h100-sxm5-80gb",
    ]


@pytest.mark.parametrize(
    ("offers", "row"),
    [
        ([offer(1, 2.0)], "nvidia-h100-sxm5-80gb   2.00       1  1"),
        ([offer(1, 2.0, gpu_type=None)], "H100   2.00       1  1"),
        ([offer(1, 2.0, gpu_type=None, gpu_family=None)], "unknown   2.00       1  1"),
        ([offer(1, 2.0), offer(2, 3.0, gpu_type="B200", contract_type="spot")], "B200        -       0  1     1 from"),
    ],
)
def test_market_report_names_gpu_and_explains_spot_if_there_is_any(offers: Any, row: str) -> None:
    lines = browsing.market_report(Choice({}), offers)["lines"]
    assert [line for line in lines if " ".join(line.split()).startswith(" ".join(row.split()))], lines
    assert ("spot: may be taken away." in lines) is ("from" in row)
    assert "from" in row or not any("from" in line for line in lines)


def test_offer_report_says_when_its_first_offer_expires() -> None:
    offers = [offer(number, 2.0, expires_at=f"2026-11-{28 + number}T20:50:00Z") for number in (0, 1, 2)]
    assert (
        "These offers can be bought until 2026-11-28 20:50 UTC." in browsing.offer_report(Choice(H100), offers)["lines"]
    )


def test_market_report_leaves_out_offers_above_ceiling() -> None:
    report = browsing.market_report(Choice({}, 2.5), MARKET)
    assert [kind["offers"] for kind in report["kinds"]] == [1, 0]
    nothing = browsing.market_report(Choice({}, 0.1), MARKET)
    assert nothing == {
        "kinds": [],
        "lines": ["No GPU has a matching offer now."],
    }


def test_offer_report_lists_offers_cheapest_first_with_ids() -> None:
    spec = {"compute": {"gpu_type": "H100", "contract_type": "any"}}
    cluster = offer(8, 70.0, gpu_count=24, node_count=3, expires_at="2026-11-28T20:50:00Z")
    report = browsing.offer_report(Choice(spec), [*MARKET, cluster])
    assert [item["offer_id"] for item in report["offers"]] == [offer_id(number) for number in (4, 2, 1, 3, 8, 6)]
    assert report["lines"] == [
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


def test_offer_report_shows_at_most_20_offers() -> None:
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
def test_offer_report_says_why_no_offer_matches(choice: Choice, answer: Any, reason: str) -> None:
    report = browsing.offer_report(choice, answer)
    assert report["offers"] == [] and reason in " ".join(report["lines"])


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
def test_report_lines_fit_the_screen(offers: list[dict[str, Any]]) -> None:
    """Exceptions: values that a table shortens and repeats in full below (``~``), and commands (``-e``)."""
    lines = [*browsing.market_report(Choice({}), offers)["lines"], *browsing.offer_report(Choice({}), offers)["lines"]]
    assert [line for line in folded_lines(lines) if len(line) > LINE and not line.startswith(("~ ", "-e "))] == []
