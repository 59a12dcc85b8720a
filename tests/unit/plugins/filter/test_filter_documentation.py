# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written of the filters is what they are."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.filter import (
    audit,
    hand_out_offers,
    owned_machines,
    shortfalls,
    table,
)

SOURCES = [audit, hand_out_offers, owned_machines, shortfalls, table]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__.split(".")[-1])
def test_a_filter_is_documented_with_its_parameters_and_an_example(source: ModuleType) -> None:
    document = yaml.safe_load(source.DOCUMENTATION)
    ((name, function),) = source.FilterModule().filters().items()
    subject, *parameters = inspect.signature(function).parameters.values()
    options = [document["options"]["_input"], *(document["options"][item.name] for item in parameters)]
    assert document["name"] == name == source.__name__.split(".")[-1]
    assert ", ".join(["_input", *(item.name for item in parameters)]).startswith(document["positional"])
    assert document["options"].keys() == {"_input", *(item.name for item in parameters)}
    for item, option in zip([subject, *parameters], options, strict=True):
        assert option.get("required", False) is (item.default is inspect.Parameter.empty)
    assert f"| compute_index.supply.{name}" in source.EXAMPLES
    assert yaml.safe_load(source.EXAMPLES) and "_value" in yaml.safe_load(source.RETURN)
