# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a search asks for: its contract, the GPUs that it means, and what the API has not applied."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import search
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("compute", "contract", "sent"),
    [
        ({"gpu_type": "H100"}, "ondemand", {"gpu_type": "H100", "contract_type": "ondemand"}),
        ({"contract_type": " Spot "}, "spot", {"contract_type": "spot"}),
        ({"contract_type": ""}, "ondemand", {"contract_type": "ondemand"}),
        ({"gpu_count": 1, "contract_type": "any"}, "any", {"gpu_count": 1}),  # the API knows no such word
        ({}, "", {}),
        ("H100", "", "H100"),
    ],
)
def test_a_search_is_for_on_demand_machines_unless_it_says_otherwise(compute: Any, contract: str, sent: Any) -> None:
    spec = {"region": "EU", "compute": compute}
    assert search.contract_of(spec) == contract
    assert search.as_sent(spec) == {"region": "EU", "compute": sent}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({}, "needs a section 'compute'"),
        ({"compute": {}, "storage": []}, "needs a section 'compute'"),
        ({"compute": {"gpu_typ": "H100"}}, "has 'compute.gpu_typ', which the API does not document: did you mean"),
        ({"compute": {"gpu_type": "H100", "contract_type": "on-demand"}}, "did you mean 'ondemand'?"),
    ],
)
def test_a_search_that_would_find_something_else_is_refused(spec: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=r"^(needs|has)") as caught:
        search.check_spec(spec)
    assert reason in str(caught.value)


@pytest.mark.parametrize("spec", [{"storage": [{"size_gb": 1}]}, {"compute": {"gpu_type": "H100"}}])
def test_a_search_for_machines_or_storage_is_sent(spec: dict[str, Any]) -> None:
    assert search.check_spec(spec) is spec


CATALOG = {"H100": ["nvidia-h100-sxm5-80gb"], "RTX 4090": ["nvidia-rtx-4090-24gb"]}


@pytest.mark.parametrize(
    ("gpu_type", "catalog", "words"),
    [
        ("H100", CATALOG, ""),
        ("H100 | nvidia-rtx-4090-24gb", CATALOG, ""),
        ("h100", CATALOG, "no GPU 'h100'. Did you mean H100?"),
        ("RTX4090", CATALOG, "no GPU 'RTX4090'. Did you mean RTX 4090?"),
        ("TPU", CATALOG, "no GPU 'TPU'. It lists H100, RTX 4090, nvidia-h100-sxm5-80gb"),
        ("H100 | TPU", CATALOG, "no GPU 'TPU'"),
        ("TPU", {}, ""),  # another form than the documented one
        ("TPU", ["H100"], ""),
        (None, CATALOG, ""),
    ],
)
def test_a_gpu_that_the_api_does_not_list_is_named(gpu_type: str | None, catalog: Any, words: str) -> None:
    found = search.unlisted_gpus({"compute": {"gpu_type": gpu_type}}, catalog)
    assert len(found) == bool(words) and words in "".join(found)


@pytest.mark.parametrize(
    ("offers", "gpu_type", "may"), [([], "H100", True), ([{}], "H100", False), ([], "", False), ([], " | ", False)]
)
def test_only_a_search_that_finds_nothing_may_name_no_gpu(offers: list[Any], gpu_type: str, may: bool) -> None:
    assert search.may_mistype_gpu({"compute": {"gpu_type": gpu_type}}, offers) is may


SPEC = {"region": "EU", "compute": {"gpu_type": "H100", "gpu_count": 1, "nvlink": None}, "storage": []}


@pytest.mark.parametrize(
    ("filters", "lost"),
    [
        (None, ""),
        ({}, ""),
        ({"region": "EU", "gpuType": "H100", "GPU-count": 1}, ""),
        (["region", "compute.gpu_type", "gpu_count"], ""),
        ({"region": "EU", "compute": {"gpu_type": "H100"}}, "compute.gpu_count"),
        ({"region": None, "gpu_type": "H100", "gpu_count": 1}, "region"),
    ],
)
def test_a_filter_that_was_not_applied_is_named(filters: Any, lost: str) -> None:
    sentence = f"The API lists the filters that it applied, without {lost}: it may have ignored that."
    assert search.unapplied(SPEC, filters) == [sentence] * bool(lost)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    )
)
def test_filters_of_any_form_are_read(filters: Any) -> None:
    texts = search.unapplied({"region": "EU", "compute": {"gpu_type": "H100"}, "network": 7}, filters)
    assert len(texts) <= 1


def test_keys_that_no_page_documents_are_named() -> None:
    assert search.undocumented({"compute": {"gpu_type": "H100", "quantum": 1}}) == [
        "spec has compute.quantum, which no page of the API documents: it may be ignored."
    ]
    assert search.undocumented({"compute": {"gpu_type": "H100", "gpu_count": 1}}) == []
