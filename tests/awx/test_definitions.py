# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definitions follow AWX's rules, and ansible-builder takes the execution environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import rules
from conftest import ROOT, definitions

FOUND = definitions()
SURVEYS: dict[str, Any] = FOUND["awx_surveys"]
TEMPLATES: dict[str, Any] = {each["name"]: each for each in FOUND["awx_job_templates"]}
# The names of the roles in AWX's forms.
ROLES = {"execute": "Execute", "read": "Read", "approval": "Approve"}
# The variables that playbooks publish by set_stats.
ARTIFACTS = {"plan", "quote", "provision_hosts", "audit", "reap", "spend", "spend_csv", "probe", "ended", "verify"}


@pytest.mark.parametrize("name", SURVEYS)
def test_surveys_follow_the_rules_of_awx(name: str) -> None:
    rules.check_survey(SURVEYS[name])


def test_no_answer_has_the_name_of_an_artifact() -> None:
    assert not ARTIFACTS & {question["variable"] for survey in SURVEYS.values() for question in survey["spec"]}


def test_credential_type_follows_the_rules_of_awx() -> None:
    kind = FOUND["awx_credential_type"]
    rules.check_credential_type(kind["inputs"], kind["injectors"])
    environment = rules.inject(kind["injectors"], {"url": "https://api", "token": "secret"})
    names = ("COMPUTE_INDEX_API_URL", "COMPUTE_INDEX_API_TOKEN", "COMPUTE_INDEX_REGISTRY_URL")
    assert environment == dict(zip(names, ("https://api", "secret", ""), strict=True))
    assert [field["id"] for field in kind["inputs"]["fields"] if field.get("secret")] == ["token", "registry_url"]


ORDER = {"order_names": "1", "order_gpu_type": "H100", "order_max_price_per_hour": 4.5}


@pytest.mark.parametrize(
    ("survey", "variable"), [("order", "order_names"), ("end", "decommission_hosts"), ("more", "extend_hosts")]
)
def test_form_takes_five_hundred_names(survey: str, variable: str) -> None:
    (question,) = [each for each in SURVEYS[survey]["spec"] if each["variable"] == variable]
    names = ",".join(f"a-name-that-is-rather-long-{number}" for number in range(500))
    assert question["type"] == "textarea" and len(names) <= question["max"]
    assert variable in rules.accept({**SURVEYS[survey], "spec": [question]}, {variable: names})


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({**ORDER, "order_names": ""}, id="no-names"),
        pytest.param({**ORDER, "order_gpu_type": ""}, id="no-type"),
        pytest.param({**ORDER, "order_max_price_per_hour": -1}, id="negative-price"),
        pytest.param({**ORDER, "order_max_price_per_hour": "4"}, id="price-as-text"),
        pytest.param({**ORDER, "order_gpu_count": "3"}, id="no-such-count"),
        pytest.param({**ORDER, "order_region": "Mars"}, id="no-such-region"),
        pytest.param({**ORDER, "order_max_total_price_per_hour": 100001}, id="too-dear"),
        pytest.param({key: ORDER[key] for key in ("order_names", "order_gpu_type")}, id="no-ceiling"),
    ],
)
def test_form_refuses_invalid_orders(answers: dict[str, Any]) -> None:
    assert rules.accept(SURVEYS["order"], ORDER)["order_contract_type"] == "ondemand"
    with pytest.raises(ValueError):
        rules.accept(SURVEYS["order"], answers)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "number"},
        {"required": "yes"},
        {"min": 0.5},
        {"default": 1},
        {"default": "5"},
        {"choices": ["1", "2"]},
        {"choices": ""},
        {"variable": "order_region"},
        {"answer": 42},
    ],
    ids=str,
)
def test_rules_refuse_an_invalid_question(change: dict[str, Any]) -> None:
    spec = [dict(question) for question in SURVEYS["order"]["spec"]]
    (count,) = [question for question in spec if question["variable"] == "order_gpu_count"]
    count.update(change)
    with pytest.raises(ValueError):
        rules.check_survey({**SURVEYS["order"], "spec": spec})


@pytest.mark.parametrize(
    "injectors",
    [
        {"env": {"TOKEN": "{{ tokens }}"}},
        {"env": {"ANSIBLE_CONFIG": "{{ token }}"}},
        {"env": {"1ST": "{{ token }}"}},
        {"environment": {"TOKEN": "{{ token }}"}},
    ],
    ids=str,
)
def test_rules_refuse_an_invalid_injector(injectors: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        rules.check_credential_type(FOUND["awx_credential_type"]["inputs"], injectors)


def test_templates_workflow_and_schedules_name_existing_objects() -> None:
    nodes = {node["identifier"]: node for node in FOUND["awx_workflow"]["nodes"]}
    assert {node["template"] for node in nodes.values() if "template" in node} <= set(TEMPLATES)
    asked = {each.get("survey") for each in (*TEMPLATES.values(), FOUND["awx_workflow"])}
    assert asked - {None} <= set(SURVEYS)
    assert {each["template"] for each in FOUND["awx_schedules"]} <= set(TEMPLATES)
    for template in TEMPLATES.values():
        for play in yaml.safe_load((ROOT / "awx" / "project" / template["playbook"]).read_text()):
            if "hosts" in play:
                continue
            name = play["ansible.builtin.import_playbook"].removeprefix("compute_index.supply.")
            assert (ROOT / "playbooks" / f"{name}.yml").exists()
    # A quote must still be valid if it is approved in the last second.
    assert nodes["approve"]["approval"]["timeout"] <= 1500


def test_project_takes_no_next_major_version() -> None:
    """AWX installs the collection again at each update of the project, also between a quote and its purchase."""
    required = yaml.safe_load((ROOT / "awx" / "project" / "collections" / "requirements.yml").read_text())
    major = int(yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"].partition(".")[0])
    versions = f">={major}.0.0,<{major + 1}.0.0"
    assert required == {"collections": [{"name": "compute_index.supply", "version": versions}]}


def test_questions_name_their_variables() -> None:
    questions = [each for survey in SURVEYS.values() for each in survey["spec"]]
    assert all(each["question_name"].endswith(f" ({each['variable']})") for each in questions)


def test_labels_name_templates_that_spend_or_only_read() -> None:
    labels = {name: each["labels"] for name, each in TEMPLATES.items()}
    assert all(each[0] == "gpu" for each in labels.values())
    assert {name for name, each in labels.items() if "spends money" in each} == {"GPU provision", "GPU extend"}
    reads = {"GPU quote", "GPU audit", "GPU spend", "GPU verify", *(name for name in TEMPLATES if "(check)" in name)}
    assert {name for name, each in labels.items() if "reads only" in each} == reads


def test_permissions_name_existing_objects_and_require_approval_to_buy() -> None:
    guide = (ROOT / "docs" / "awx.md").read_text()
    for each in FOUND["awx_permissions"]:
        assert set(each.get("job_templates", [])) <= set(TEMPLATES)
        assert each.get("workflows", [FOUND["awx_workflow"]["name"]]) == [FOUND["awx_workflow"]["name"]]
        parts = [f"workflow {name}" for name in each.get("workflows", [])] + [", ".join(each.get("job_templates", []))]
        cell = "; ".join(filter(None, parts))
        assert re.search(rf"\| {ROLES[each['role']]} \| {re.escape(cell)}( \||:)", guide), cell
        assert each["role"] == "read" or "GPU provision" not in each.get("job_templates", [])


def builder(*words: str) -> str:
    """Run ansible-builder, and return its output."""
    program = str(Path(sys.executable).with_name("ansible-builder"))
    return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout


def test_ansible_builder_accepts_the_example(tmp_path: Path) -> None:
    example = str(ROOT / "awx" / "execution-environment.yml")
    builder("create", "--file", example, "--context", str(tmp_path), "--output-filename", "Containerfile")
    assert "compute_index.supply" in (tmp_path / "_build" / "requirements.yml").read_text()
    # The shell splits this value at spaces.
    assert 'ANSIBLE_INSTALL_REFS="ansible-core~=2.18.0 ansible-runner>=2.4"' in (tmp_path / "Containerfile").read_text()


def test_ansible_builder_finds_the_dependencies() -> None:
    found = yaml.safe_load(builder("introspect", os.environ["ANSIBLE_COLLECTIONS_PATH"]).replace("---\n", ""))
    assert [line.split("#")[0].strip() for line in found["python"]] == ["requests >= 2.25"]
    assert [line.split(" ")[0] for line in found["system"]] == ["openssh-clients", "openssh-client", "git"]
