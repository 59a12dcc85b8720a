# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of decide, and what is imported for them."""

from __future__ import annotations

import subprocess
import sys
from unittest.mock import Mock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.compute_index.supply.plugins.action import decide
from ansible_collections.compute_index.supply.plugins.module_utils._operation import Operation


def test_an_unknown_step_is_told_with_all_that_there_are() -> None:
    with pytest.raises(AnsibleActionFail, match=r"must be one of declare, plan, .*probe, probe_purchase.*, not 'prob'"):
        decide.ActionModule.run(Mock(_task=Mock(args={"step": "prob"})), None, {})


@pytest.mark.parametrize("step", ["probe", "probe_purchase", "probe_ended"])
def test_the_probe_is_found_when_it_is_asked_for(step: str) -> None:
    assert isinstance(decide._of_probe(step), Operation)


def test_what_only_the_probe_needs_is_imported_by_it_alone() -> None:
    name = "ansible_collections.compute_index.supply.plugins"
    program = f"import sys, {name}.action.decide; print([each for each in sys.modules if each.startswith('{name}')])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "_operations.audit" in run.stdout and "probe" not in run.stdout
