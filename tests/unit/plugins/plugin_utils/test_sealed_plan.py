# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run reads its sealed plan, and which plans it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.compute_index.supply.plugins.plugin_utils._declare import plan_of

from samples import AWX_JOB

PLAN = {"number": "7f", "hosts": {"gpu-1": {}}}


def test_plan_is_a_file_json_or_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(PLAN, indent=1))
    monkeypatch.chdir(tmp_path)
    for given in ("plan.json", str(tmp_path / "plan.json"), json.dumps(PLAN), PLAN):
        assert plan_of({"plan": given, "quote": {"hosts": {}}}) == PLAN
    for without_plan in ({}, {"quote": "a variable of the user's"}):
        assert plan_of(without_plan) == {}
    for name, value in AWX_JOB.items():
        monkeypatch.setenv(name, value)
    for unanswered in ("", {}, None):
        assert plan_of({"plan": unanswered}) == {}


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"plan": ""}, "plan= cannot be read: No such file or directory. Give the file that quote_file wrote, or no"),
        ({"plan": None}, "plan must be a file that the playbook quote has written."),
        ({"plan": {}}, "plan must be a file that the playbook quote has written."),
        ({"plan": "missing.json"}, "plan=missing.json cannot be read: No such file or directory."),
        ({"plan": "{"}, "cannot be read: it is not JSON."),
        ({"plan": "[1]"}, "cannot be read"),
        ({"plan": " "}, "cannot be read"),
        ({"plan": "{}"}, "plan must be a file that the playbook quote has written."),
        ({"plan": {"number": 1}}, "plan must be a file that the playbook quote has written."),
        ({"plan": '{"hosts": {}}'}, "plan must be a file that the playbook quote has written."),
        ({"plan": 0}, "plan must be a file that the playbook quote has written."),
        ({"plan": [1]}, "plan must be a file that the playbook quote has written."),
        ({"plan": {"hosts": ["gpu-1"]}}, "plan must be a file that the playbook quote has written."),
        ({"quote": {"hosts": {}}}, "quote is not sealed, so it is not bought"),
    ],
)
def test_invalid_plan_is_refused(extra: dict[str, Any], reason: str) -> None:
    with pytest.raises(AnsibleActionFail, match="Nothing was sent") as refused:
        plan_of(extra)
    assert reason in str(refused.value)


def test_purchase_refuses_plan_under_another_name() -> None:
    for name in ("plan_file", "quote_file", "plann", "quote_plan"):
        assert plan_of({name: "plan.json"}) == {}, "a quote uses these names for its own file"
        assert plan_of({name: "plan.json", "plan": PLAN}, buys=True) == PLAN
        with pytest.raises(AnsibleActionFail, match=f"Purchases ignore {name}. .* Nothing was sent"):
            plan_of({name: "plan.json"}, buys=True)
