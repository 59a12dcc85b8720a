# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a search: which of them mean others, and the page that is made of them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import search as search_rules
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search_keys import (
    CEILING,
    KEYS,
    SECTIONS,
    Key,
    documented,
    slips,
    undocumented,
)
from hypothesis import given
from hypothesis import strategies as st

from simulator import search
from tools import spec_page

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
        ({"compute": {**GPU, "max_price_per_hour": 4}}, "compute.max_price_per_hour", "max_price_per_hour"),
        ({"compute": GPU, "max_price_per_gpu_hour": 4}, "max_price_per_gpu_hour", "compute.max_price_per_gpu_hour"),
    ],
)
def test_a_key_that_would_not_count_is_refused(spec: dict[str, Any], path: str, meant: str) -> None:
    (slip,) = slips(spec, (CEILING,))
    assert slip == f"has '{path}', which the API does not document: did you mean '{meant}'?"


@pytest.mark.parametrize(
    ("spec", "unknown"),
    [
        (EVERY_KEY, [CEILING.name]),  # which the role takes out
        ({"compute": {**GPU, "interconnect": "nvlink"}, "zone": "a"}, ["zone", "compute.interconnect"]),
        ({"compute": {**GPU, "region": "EU"}}, ["compute.region"]),
        ({"compute": GPU, "storage": [{"fs": 1}, {"fs": 2}]}, ["storage.fs"]),
        ({"compute": "H100", "storage": "500GB", "network": None, 7: 8}, ["7"]),
    ],
)
def test_what_no_page_documents_is_no_slip(spec: dict[Any, Any], unknown: list[str]) -> None:
    assert (slips(spec), undocumented(spec)) == ([], unknown)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
@given(data=st.data())
def test_no_key_with_a_letter_too_few_is_sent(key: Key, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(key.name) - 1))
    slip = key.name[:place] + key.name[place + 1 :]
    (sentence,) = slips({key.section: {slip: 1}} if key.section else {slip: 1})
    assert f"did you mean '{key.path}'?" in sentence


def test_the_keys_are_those_that_the_simulator_reads() -> None:
    models = {"": search.Search, "compute": search.Compute, "storage": search.Storage, "network": search.Network}
    assert models.keys() == SECTIONS.keys()
    for section, model in models.items():
        names = {field.alias or name for name, field in model.model_fields.items()}
        # How many machines a cluster has is on no page.
        assert names - {"node_count"} == set(documented(section)), section


def test_each_key_is_on_the_page_once_and_the_page_is_up_to_date() -> None:
    page = spec_page.page()
    assert spec_page.PAGE.read_text() == page, f"python {spec_page.__file__}"
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{key.name}`" for section in SECTIONS for key in (*KEYS, CEILING) if key.section == section]


def test_the_example_of_the_page_is_a_search() -> None:
    spec = {name: value for name, value in EVERY_KEY.items() if name != CEILING.name}
    assert search_rules.check_spec(spec) is spec and search_rules.undocumented(spec) == []
