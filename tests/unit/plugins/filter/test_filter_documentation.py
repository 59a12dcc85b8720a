# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of the filters match their functions."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.filter.adapters import FilterModule

FOLDER = Path(__file__).parents[4] / "plugins" / "filter"
FILTERS = FilterModule().filters()


def test_each_filter_has_a_page() -> None:
    assert sorted(FILTERS) == sorted(file.stem for file in FOLDER.glob("*.yml"))


@pytest.mark.parametrize("name", FILTERS)
def test_filter_page_matches_signature_and_has_example(name: str) -> None:
    page, function = yaml.safe_load((FOLDER / f"{name}.yml").read_text()), FILTERS[name]
    document = page["DOCUMENTATION"]
    assert function.__name__ == name
    subject, *parameters = inspect.signature(function).parameters.values()
    options = [document["options"]["_input"], *(document["options"][item.name] for item in parameters)]
    assert document["name"] == name
    assert ", ".join(["_input", *(item.name for item in parameters)]).startswith(document["positional"])
    assert document["options"].keys() == {"_input", *(item.name for item in parameters)}
    for item, option in zip([subject, *parameters], options, strict=True):
        assert option.get("required", False) is (item.default is inspect.Parameter.empty)
    assert f"| compute_index.supply.{name}" in page["EXAMPLES"]
    assert yaml.safe_load(page["EXAMPLES"]) and "_value" in page["RETURN"]
