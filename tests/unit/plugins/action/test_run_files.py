# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The message of a failed module of a run is kept, and each module documents its options."""

from __future__ import annotations

import importlib

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils import _spec
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import checked_answer


def test_what_a_module_says_of_its_failure_is_kept() -> None:
    assert checked_answer({"changed": False, "has": True})["has"] is True
    for answer, words in (
        ({"failed": True, "msg": "No room."}, r"^No room\.$"),
        ({"failed": True, "msg": "MODULE FAILURE", "module_stderr": "python3: not found"}, "^MODULE FAILURE python3"),
        ({"unreachable": True}, r"^The machine does not answer\.$"),
    ):
        with pytest.raises(ValueError, match=words):
            checked_answer(answer)


@pytest.mark.parametrize("name", ["run_files", "run_job", "run_info", "run_results"])
def test_a_module_of_a_run_documents_its_options(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.compute_index.supply.plugins.modules.{name}")
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    spec = getattr(_spec, name.upper())
    assert documented.keys() == spec.keys()
    for option, given in spec.items():
        said = {
            key: documented[option][key]
            for key in ("type", "elements", "required", "default")
            if key in documented[option]
        }
        assert said == {key: value for key, value in given.items() if key != "no_log"}, option
