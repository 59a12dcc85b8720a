# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A search: its keys and their page, its contract, its GPUs; what the API has not applied, and which offers match."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import search
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import (
    CEILING,
    DOCUMENTED,
    check_spec,
    mismatch,
    misspelled_keys,
    undocumented_keys,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import SPEC, offer
from simulator import search as simulated
from tools import spec_page


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
    assert search.with_contract(spec) == {"region": "EU", "compute": sent}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({}, "needs a section 'compute'"),
        ({"compute": {}, "storage": []}, "needs a section 'compute'"),
        ({"compute": {"gpu_typ": "H100"}}, "has 'compute.gpu_typ', which the API does not document: did you mean"),
        ({"compute": {"gpu_type": "H100", "contract_type": "on-demand"}}, "must be ondemand, spot or any"),
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
        ("h100", CATALOG, "The API lists no GPU 'h100'. Did you mean H100?"),
        ("H10O", CATALOG, "The API lists no GPU 'H10O'. Did you mean H100?"),
        ("RTX4090", CATALOG, "The API lists no GPU 'RTX4090'. Did you mean RTX 4090?"),
        ("nvidia-h100-80gb", CATALOG, "'nvidia-h100-80gb'. Did you mean nvidia-h100-sxm5-80gb"),
        ("H100 | TPU", CATALOG, "The API lists no GPU 'TPU'."),
        ("TPU", {}, ""),  # another form than the documented one
        ("TPU", ["H100"], ""),
        ("TPU", {"gpus": 7, 3: None}, ""),
        (None, CATALOG, ""),
    ],
)
def test_a_gpu_that_the_api_does_not_list_is_named_with_the_nearest(
    gpu_type: str | None, catalog: Any, words: str
) -> None:
    found = search.unlisted_gpus({"compute": {"gpu_type": gpu_type}}, catalog)
    assert len(found) == bool(words) and words in "".join(found)


FILTERED = {"region": "EU", "compute": {"gpu_type": "H100", "gpu_count": 1, "nvlink": None}, "storage": []}


@pytest.mark.parametrize(
    ("filters", "lost"),
    [
        (None, ""),
        ({}, ""),
        ({"region": "EU", "gpuType": "H100", "GPU-count": 1}, ""),
        (["region", "compute.gpu_type", "gpu_count"], ""),
        ({"region": "EU", "compute": {"gpu_type": "H100"}}, "compute.gpu_count"),
    ],
)
def test_a_filter_that_was_not_applied_is_named(filters: Any, lost: str) -> None:
    sentence = f"The API lists the filters that it applied, without {lost}: it may have ignored that."
    assert search.unapplied_keys(FILTERED, filters) == [sentence] * bool(lost)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    )
)
def test_filters_of_any_form_are_read(filters: Any) -> None:
    texts = search.unapplied_keys({"region": "EU", "compute": {"gpu_type": "H100"}, "network": 7}, filters)
    assert len(texts) <= 1


def test_keys_that_no_page_documents_are_named() -> None:
    assert search.undocumented_keys({"compute": {"gpu_type": "H100", "quantum": 1}}) == [
        "spec has compute.quantum, which no page of the API documents: it may be ignored."
    ]
    assert search.undocumented_keys({"compute": {"gpu_type": "H100", "gpu_count": 1}}) == []


GPU = {"gpu_type": "H100", "gpu_count": 1}
EVERY_KEY = spec_page.example()


@pytest.mark.parametrize(
    ("spec", "path", "meant"),
    [
        ({"regoin": "EU", "compute": GPU}, "regoin", "region"),
        ({"computer": GPU}, "computer", "compute"),
        ({"compute": {**GPU, "gpu_cuont": 2}}, "compute.gpu_cuont", "compute.gpu_count"),
        ({"compute": GPU, "storage": [{"typ": "filesystem"}]}, "storage.typ", "storage.type"),
        ({"compute": GPU, "storage": {"sise": "1TB"}}, "storage.sise", "storage.size"),
        ({"compute": GPU, "network": {"support_cilium": True}}, "network.support_cilium", "network.supports_cilium"),
        # Limits that would limit nothing
        ({"compute": GPU, "max_price_per_hou": 4}, "max_price_per_hou", "max_price_per_hour"),
        ({"compute": {**GPU, "max_price_per_hour": 4}}, "compute.max_price_per_hour", ""),
        ({"compute": GPU, "max_price_per_gpu_hour": 4}, "max_price_per_gpu_hour", ""),
        ({"compute": GPU, "storage": [{"min_size": 4}]}, "storage.min_size", ""),
    ],
)
def test_a_key_that_would_not_count_is_refused(spec: dict[str, Any], path: str, meant: str) -> None:
    (slip,) = misspelled_keys(spec, (CEILING,))
    advice = f"did you mean '{meant}'?" if meant else "leave it out."
    assert slip == f"has '{path}', which the API does not document: {advice}"


@pytest.mark.parametrize(
    ("spec", "unknown"),
    [
        ({"compute": {**GPU, "interconnect": "nvlink"}, "zone": "a"}, ["zone", "compute.interconnect"]),
        ({"compute": {**GPU, "region": "EU"}}, ["compute.region"]),
        ({"compute": GPU, "storage": [{"fs": 1}, {"fs": 2}]}, ["storage.fs"]),
        ({"compute": "H100", "storage": "500GB", "network": None, 7: 8}, ["7"]),
    ],
)
def test_what_no_page_documents_is_no_slip(spec: dict[Any, Any], unknown: list[str]) -> None:
    assert misspelled_keys(spec) == []
    assert undocumented_keys(spec) == [
        f"spec has {', '.join(unknown)}, which no page of the API documents: it may be ignored."
    ]


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section in DOCUMENTED for name in DOCUMENTED[section]]
)
@given(data=st.data())
def test_no_key_with_a_letter_too_few_is_sent(section: str, name: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(name) - 1))
    slip = name[:place] + name[place + 1 :]
    (sentence,) = misspelled_keys({section: {slip: 1}} if section else {slip: 1})
    assert f"did you mean '{search.path_of(section, name)}'?" in sentence


def test_the_keys_are_those_that_the_simulator_reads() -> None:
    models = {
        "": simulated.Search,
        "compute": simulated.Compute,
        "storage": simulated.Storage,
        "network": simulated.Network,
    }
    assert models.keys() == DOCUMENTED.keys()
    for section, model in models.items():
        names = {field.alias or name for name, field in model.model_fields.items()}
        # How many machines a cluster has is on no page.
        assert names - {"node_count"} == set(DOCUMENTED[section]), section


def test_each_key_is_on_the_page_once_and_the_page_is_up_to_date() -> None:
    page = spec_page.page()
    assert spec_page.PAGE.read_text() == page, f"python {spec_page.__file__}"
    shown = {section: [key.name for key in spec_page.keys_of(section)] for section in spec_page.SECTIONS}
    known = {section: [name for name in names if name not in DOCUMENTED] for section, names in DOCUMENTED.items()}
    assert shown == {**known, "": [*known[""], CEILING]}
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{name}`" for names in shown.values() for name in names]


def test_the_example_of_the_page_is_a_search() -> None:
    spec = {name: value for name, value in EVERY_KEY.items() if name != CEILING}
    assert check_spec(spec) is spec and undocumented_keys(spec) == []


# What was asked for


@pytest.mark.parametrize(
    ("compute", "fields", "odd"),
    [
        ({}, {}, ""),
        ({"gpu_type": "H100"}, {}, ""),
        ({"gpu_type": "h100 "}, {}, ""),
        ({"gpu_type": "nvidia-h100-sxm5-80gb"}, {}, ""),
        ({"gpu_type": "NVIDIA-H100-SXM5-80GB"}, {"gpu_family": None}, ""),
        ({"gpu_type": "H100"}, {"gpu_family": None}, ""),
        ({"gpu_type": "H100 | A100"}, {}, ""),
        ({"gpu_type": "A100|H100"}, {}, ""),
        ({"gpu_type": "A100 | L4"}, {}, "gpu_type nvidia-h100-sxm5-80gb instead of A100 | L4"),
        ({"gpu_type": "nvidia-h100-pcie-80gb"}, {}, "gpu_type nvidia-h100-sxm5-80gb instead of nvidia-h100-pcie-80gb"),
        (
            {"gpu_type": "L4"},
            {"gpu_type": "nvidia-l40-48gb", "gpu_family": "L40"},
            "gpu_type nvidia-l40-48gb instead of L4",
        ),
        ({"gpu_type": "L40S"}, {"gpu_type": "nvidia-l40s-pcie-48gb", "gpu_family": None}, ""),
        ({"gpu_type": "RTX 4090"}, {"gpu_type": "nvidia-rtx-4090-24gb", "gpu_family": None}, ""),
        ({"gpu_type": "H100"}, {"gpu_type": None, "gpu_family": None}, ""),
        ({"gpu_type": "H100"}, {"gpu_type": None, "gpu_family": "L4"}, "gpu_type L4 instead of H100"),
        ({"gpu_type": ""}, {}, ""),
        ({"gpu_type": " | "}, {}, ""),
        ({"gpu_count": "1"}, {}, ""),
        ({"gpu_count": 1}, {"gpu_count": 1.0}, ""),
        ({"gpu_count": 8}, {}, "gpu_count 1 instead of 8"),
        ({"gpu_count": 8}, {"gpu_count": None}, ""),
        ({"contract_type": "spot"}, {}, "contract_type ondemand instead of spot"),
        ({"contract_type": "ondemand"}, {"contract_type": None}, ""),
        # Of a machine that runs already
        ({}, {"contract_type": "spot"}, ""),
        ({"contract_type": "any"}, {"contract_type": "spot"}, ""),
    ],
)
def test_compute(compute: dict[str, Any], fields: dict[str, Any], odd: str) -> None:
    assert mismatch({"compute": compute}, offer(1, **fields)) == odd


@pytest.mark.parametrize(
    ("spec", "odd"),
    [
        (SPEC, ""),
        ({"region": "eu"}, ""),
        ({"region": "US"}, "region EU instead of US"),
        ({"vendor": "hyperstack"}, "vendor nebius instead of hyperstack"),
        ({"compute": "H100"}, ""),
        ({}, ""),
        (
            {"region": "US", "compute": {"gpu_type": "L4", "gpu_count": 2}},
            "gpu_type nvidia-h100-sxm5-80gb instead of L4, region EU instead of US, gpu_count 1 instead of 2",
        ),
    ],
)
def test_specs(spec: dict[str, Any], odd: str) -> None:
    assert mismatch(spec, offer(1)) == odd


@pytest.mark.parametrize(
    ("planned", "page", "odd"),
    [
        ({}, {"gpu_type": "A100", "contract_type": "spot"}, ""),
        ({"gpu_type": "A100", "vendor": "acme", "gpu_count": 8, "contract_type": "ondemand"}, {}, ""),
        ({"gpu_count": 8}, {"gpu_count": "8"}, ""),
        ({"gpu_count": 8}, {"gpu_count": 4}, "gpu_count 4 instead of 8"),
        ({"gpu_count": 8}, {"gpu_count": 0}, ""),
        ({"gpu_count": 8}, {"gpu_count": "some"}, "gpu_count some instead of 8"),
        ({"gpu_count": 16, "node_count": 2}, {"gpu_count": 8}, ""),
        ({"gpu_count": 8, "node_count": 2}, {"gpu_count": 16}, ""),
        ({"gpu_count": 16, "node_count": 2}, {"gpu_count": 4}, ""),
        ({"node_count": 2}, {"node_count": 1}, "node_count 1 instead of 2"),
        ({"vendor": "acme"}, {"vendor": " ACME "}, ""),
        ({"vendor": "acme"}, {"vendor": "other"}, "vendor other instead of acme"),
        ({"region": "EU"}, {"region": "US"}, "region US instead of EU"),
        ({"region": "EU"}, {"region": ["US"]}, ""),
        ({"vendor_region": "eu-1"}, {"vendor_region": "eu-2"}, "vendor_region eu-2 instead of eu-1"),
        ({"contract_type": "ondemand"}, {"contract_type": " Spot "}, "contract_type Spot instead of ondemand"),
        ({"contract_type": "reserved"}, {"contract_type": "spot"}, "contract_type spot instead of reserved"),
        ({"contract_type": "spot"}, {"contract_type": "ondemand"}, ""),
        ({"contract_type": "ondemand"}, {"contract_type": "reserved"}, ""),
        ({"gpu_family": "H100"}, {"gpu_family": "A100"}, "gpu_family A100 instead of H100"),
        ({"gpu_family": "L40"}, {"gpu_family": "L40S"}, "gpu_family L40S instead of L40"),
        ({"gpu_type": "nvidia-l40s-48gb"}, {"gpu_type": "nvidia-l40s-pcie-48gb"}, ""),
        ({"gpu_type": "nvidia-l40s-pcie-48gb"}, {"gpu_type": "L40S"}, ""),
        (
            {"gpu_type": "nvidia-h100-sxm5-80gb"},
            {"gpu_type": "nvidia-h100-pcie-80gb"},
            "gpu_type nvidia-h100-pcie-80gb instead of nvidia-h100-sxm5-80gb",
        ),
    ],
)
def test_an_offer_that_turns_into_another_one(planned: dict[str, Any], page: dict[str, Any], odd: str) -> None:
    assert search.other_than_planned(planned, page) == odd


def test_what_an_offer_turns_into_is_told_as_it_came() -> None:
    """A secret that a server echoes is found by its letters, and a control character harms a terminal."""
    told = search.other_than_planned({"vendor": "acme"}, {"vendor": f"Bearer toKen-1\x1b[2J{'x' * 5000}"})
    assert "Bearer toKen-1" in told and "\x1b" not in told and len(told) < 1000
