# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A newer version brings its questions into a survey that AWX has, and an operator's limits and questions stay."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._provision.survey import merged_survey

SURVEYS = yaml.safe_load((Path(__file__).resolve().parents[5] / "playbooks/vars/awx/surveys.yml").read_text())
TEXT: dict[str, Any] = {"variable": "order_names", "question_name": "Machines", "type": "textarea", "max": 65536}
CHOICE: dict[str, Any] = {
    **{"variable": "order_region", "question_name": "Region", "type": "multiplechoice"},
    **{"choices": "any\nUS\nEU", "default": "any"},
}
EARLIER = {"order_names": {"type": ["text"], "max": [1024]}, "order_region": {"choices": ["any\nUS"]}}


@pytest.mark.parametrize(
    ("ours", "asked", "merged", "kept"),
    [
        pytest.param(TEXT, {"question_name": "Hosts"}, {}, "", id="texts"),
        pytest.param(TEXT, {"type": "text", "max": 1024}, {}, "", id="earlier-version"),
        pytest.param(
            TEXT, {"type": "text", "max": 64}, {"max": 64}, "order_names keeps max '64' instead of", id="limit"
        ),
        pytest.param(
            TEXT,
            {"type": "multiplechoice", "choices": "a\nb", "max": 1024, "default": "b"},
            {"type": "multiplechoice", "choices": "a\nb", "default": "b"},
            "order_names keeps type 'multiplechoice' instead of 'textarea'",
            id="choices-of-an-operator",
        ),
        pytest.param(CHOICE, {"choices": "any\nUS", "question_name": "Where"}, {}, "", id="earlier-choices"),
        pytest.param(CHOICE, {"choices": ["any", "US", "EU"], "min": None}, None, "", id="form-of-awx"),
        pytest.param(
            CHOICE,
            {"choices": "EU", "default": "EU"},
            {"choices": "EU", "default": "EU"},
            "keeps choices 'EU'",
            id="fewer",
        ),
        pytest.param(CHOICE, {"choices": "EU"}, {"choices": "EU", "default": ""}, "keeps choices", id="default-gone"),
        pytest.param(
            CHOICE, {"choices": "any\nUS", "default": "US"}, {"default": "US"}, "keeps default 'US'", id="own-default"
        ),
        pytest.param(
            CHOICE, {"required": True}, {"required": True}, "keeps required 'True' instead of ''", id="required"
        ),
    ],
)
def test_merged_survey(ours: dict[str, Any], asked: dict[str, Any], merged: dict[str, Any] | None, kept: str) -> None:
    had = {**ours, **asked}
    result = merged_survey({"name": "Order", "spec": [ours]}, [had], EARLIER)
    (question,) = result["survey"]["spec"]
    assert question == (had if merged is None else {**ours, **merged})
    assert kept in result["kept"] and bool(kept) is bool(result["kept"])
    again = merged_survey({"name": "Order", "spec": [ours]}, [question], EARLIER)
    assert again["survey"] == result["survey"]


def test_merged_survey_keeps_questions_of_operators_and_adds_missing_ones() -> None:
    mine = {"variable": "cost_centre", "question_name": "Cost centre", "type": "text"}
    result = merged_survey({"name": "Order", "spec": [TEXT, CHOICE]}, [CHOICE, mine], {})
    assert result == {"survey": {"name": "Order", "spec": [CHOICE, mine, TEXT]}, "kept": ""}
    assert merged_survey({}, [mine], {}) == {"survey": {}, "kept": ""}


def test_earlier_values_of_changed_questions_are_noted() -> None:
    """If a question accepts other answers than in a release, add the earlier values to awx_earlier_limits."""
    questions = {each["variable"]: each for survey in SURVEYS["awx_surveys"].values() for each in survey["spec"]}
    limits = [
        (name, {k: v for k, v in each.items() if "question" not in k}) for name, each in sorted(questions.items())
    ]
    assert sha256(repr(limits).encode()).hexdigest()[:8] == "3ab2143c"
    first = {each: {"type": ["text"], "max": [1024]} for each in ("order_names", "decommission_hosts", "extend_hosts")}
    assert first.items() <= SURVEYS["awx_earlier_limits"].items()
    assert SURVEYS["awx_earlier_limits"].keys() <= questions.keys()
