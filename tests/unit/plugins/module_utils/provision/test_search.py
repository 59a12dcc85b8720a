# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Searches: keys and their page, contract, GPUs, filters that the API did not apply, and offers that do not match."""

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
        ({"gpu_count": 1, "contract_type": "any"}, "any", {"gpu_count": 1}),  # the API has no word for any contract
        ({}, "", {}),
        ("H100", "", "H100"),
    ],
)
def test_search_without_contract_is_for_ondemand(compute: Any, contract: str, sent: Any) -> None:
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
def test_check_spec_refuses_incomplete_or_misspelled_search(spec: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=r"^(needs|has)") as caught:
        search.check_spec(spec)
    assert reason in str(caught.value)


def test_other_contract_is_refused_before_the_api_is_asked() -> None:
    spec = {"compute": {"gpu_type": "H100", "contract_type": "spott"}}
    assert search.misspelled_in("provision_spec", spec) == [
        "provision_spec has compute.contract_type 'spott': it must be ondemand, spot or any."
    ]
    assert not search.misspelled_in("provision_spec", {"compute": {"gpu_type": "H100", "contract_type": "Spot"}})


@pytest.mark.parametrize("spec", [{"storage": [{"size_gb": 1}]}, {"compute": {"gpu_type": "H100"}}])
def test_check_spec_accepts_machines_or_storage(spec: dict[str, Any]) -> None:
    assert search.check_spec(spec) is spec


CATALOG = {"H100": ["nvidia-h100-sxm5-80gb"], "RTX 4090": ["nvidia-rtx-4090-24gb"]}


@pytest.mark.parametrize(
    ("gpu_type", "catalog", "expected_text"),
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
def test_unlisted_gpus_suggests_nearest_name(gpu_type: str | None, catalog: Any, expected_text: str) -> None:
    sentences = search.unlisted_gpus({"compute": {"gpu_type": gpu_type}}, catalog)
    assert len(sentences) == bool(expected_text) and expected_text in "".join(sentences)


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
def test_unapplied_keys_names_missing_filter(filters: Any, lost: str) -> None:
    sentence = f"The API's list of applied filters lacks {lost}: it may have ignored that."
    assert search.unapplied_keys(FILTERED, filters) == [sentence] * bool(lost)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    )
)
def test_unapplied_keys_reads_filters_of_any_form(filters: Any) -> None:
    texts = search.unapplied_keys({"region": "EU", "compute": {"gpu_type": "H100"}, "network": 7}, filters)
    assert len(texts) <= 1


GPU = {"gpu_type": "H100", "gpu_count": 1}
EVERY_KEY = spec_page.example()


@pytest.mark.parametrize(
    ("spec", "path", "suggestion"),
    [
        ({"regoin": "EU", "compute": GPU}, "regoin", "region"),
        ({"computer": GPU}, "computer", "compute"),
        ({"compute": {**GPU, "gpu_cuont": 2}}, "compute.gpu_cuont", "compute.gpu_count"),
        ({"compute": GPU, "storage": [{"typ": "filesystem"}]}, "storage.typ", "storage.type"),
        ({"compute": GPU, "storage": {"sise": "1TB"}}, "storage.sise", "storage.size"),
        ({"compute": GPU, "network": {"support_cilium": True}}, "network.support_cilium", "network.supports_cilium"),
        # Limits that would have no effect
        ({"compute": GPU, "max_price_per_hou": 4}, "max_price_per_hou", "max_price_per_hour"),
        ({"compute": {**GPU, "max_price_per_hour": 4}}, "compute.max_price_per_hour", ""),
        ({"compute": GPU, "max_price_per_gpu_hour": 4}, "max_price_per_gpu_hour", ""),
        ({"compute": GPU, "storage": [{"min_size": 4}]}, "storage.min_size", ""),
    ],
)
def test_misspelled_or_misplaced_key_is_refused(spec: dict[str, Any], path: str, suggestion: str) -> None:
    (sentence,) = misspelled_keys(spec, (CEILING,))
    advice = f"did you mean '{suggestion}'?" if suggestion else "leave it out."
    assert sentence == f"has '{path}', which the API does not document: {advice}"


@pytest.mark.parametrize(
    ("spec", "unknown"),
    [
        ({"compute": {**GPU, "interconnect": "nvlink"}, "zone": "a"}, ["zone", "compute.interconnect"]),
        ({"compute": {**GPU, "region": "EU"}}, ["compute.region"]),
        ({"compute": GPU, "storage": [{"fs": 1}, {"fs": 2}]}, ["storage.fs"]),
        ({"compute": "H100", "storage": "500GB", "network": None, 7: 8}, ["7"]),
    ],
)
def test_undocumented_key_is_reported_but_not_refused(spec: dict[Any, Any], unknown: list[str]) -> None:
    assert misspelled_keys(spec) == []
    assert undocumented_keys(spec) == [
        f"spec has {', '.join(unknown)}, which no page of the API documents: it may be ignored."
    ]


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section in DOCUMENTED for name in DOCUMENTED[section]]
)
@given(data=st.data())
def test_key_with_a_missing_letter_is_refused(section: str, name: str, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(name) - 1))
    misspelled = name[:index] + name[index + 1 :]
    (sentence,) = misspelled_keys({section: {misspelled: 1}} if section else {misspelled: 1})
    assert f"did you mean '{search.path_of(section, name)}'?" in sentence


def test_documented_keys_are_those_of_simulator() -> None:
    models = {
        "": simulated.Search,
        "compute": simulated.Compute,
        "storage": simulated.Storage,
        "network": simulated.Network,
    }
    assert models.keys() == DOCUMENTED.keys()
    for section, model in models.items():
        names = {field.alias or name for name, field in model.model_fields.items()}
        # The API documents no key for the number of machines in a cluster.
        assert names - {"node_count"} == set(DOCUMENTED[section]), section


def test_page_of_keys_is_up_to_date() -> None:
    page = spec_page.page()
    assert spec_page.PAGE.read_text() == page, f"python {spec_page.__file__}"
    names_on_page = {section: [key.name for key in spec_page.keys_of(section)] for section in spec_page.SECTIONS}
    documented = {section: [name for name in names if name not in DOCUMENTED] for section, names in DOCUMENTED.items()}
    assert names_on_page == {**documented, "": [*documented[""], CEILING]}
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{name}`" for names in names_on_page.values() for name in names]


def test_example_on_page_is_valid_search() -> None:
    spec = {name: value for name, value in EVERY_KEY.items() if name != CEILING}
    assert check_spec(spec) is spec and undocumented_keys(spec) == []


# Offers that differ from the search


@pytest.mark.parametrize(
    ("compute", "fields", "difference"),
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
        # A search without a contract, or for any, accepts a spot offer.
        ({}, {"contract_type": "spot"}, ""),
        ({"contract_type": "any"}, {"contract_type": "spot"}, ""),
    ],
)
def test_mismatch_compares_gpu_and_contract(compute: dict[str, Any], fields: dict[str, Any], difference: str) -> None:
    assert mismatch({"compute": compute}, offer(1, **fields)) == difference


@pytest.mark.parametrize(
    ("spec", "difference"),
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
def test_mismatch_compares_region_and_vendor(spec: dict[str, Any], difference: str) -> None:
    assert mismatch(spec, offer(1)) == difference


@pytest.mark.parametrize(
    ("planned", "page", "difference"),
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
        ({"vendor": "acme"}, {"vendor": "acme labs"}, "vendor acme labs instead of acme"),
        ({"vendor_region": "eu-north-1"}, {"vendor_region": "north-1"}, "vendor_region north-1 instead of eu-north-1"),
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
def test_other_than_planned_compares_offer_page_with_search(
    planned: dict[str, Any], page: dict[str, Any], difference: str
) -> None:
    assert search.other_than_planned(planned, page) == difference


def test_other_than_planned_quotes_value_without_control_characters() -> None:
    """Secrets are masked by their exact text, so a sentence keeps it. Control characters would harm a terminal."""
    difference = search.other_than_planned({"vendor": "acme"}, {"vendor": f"Bearer toKen-1\x1b[2J{'x' * 5000}"})
    assert "Bearer toKen-1" in difference and "\x1b" not in difference and len(difference) < 1000
