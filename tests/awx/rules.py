# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that AWX 24 applies to surveys, answers, credential types, and the variables of a workflow's jobs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jq
import jsonschema
import yaml
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

Variables = dict[str, Any]

# The types of a question's default, by the type of the question. An empty default is always accepted.
QUESTION_TYPES: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "textarea": str,
    "password": str,
    "multiplechoice": str,
    "multiselect": str,
    "integer": int,
    "float": float,
}
_QUESTION = {
    "type": "object",
    "required": ["question_name", "variable", "type", "required"],
    "additionalProperties": False,
    "properties": {
        "question_name": {"type": "string", "minLength": 1},
        "question_description": {"type": "string"},
        "variable": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "type": {"enum": list(QUESTION_TYPES)},
        "required": {"type": "boolean"},
        # AWX takes only whole numbers, also for a float.
        "min": {"type": ["integer", "null"]},
        "max": {"type": ["integer", "null"]},
        # AWX also takes a list, but the forms of some versions break with it.
        "choices": {"type": "string"},
        "default": {},
    },
}
_SURVEY = {
    "type": "object",
    "required": ["name", "description", "spec"],
    "properties": {
        "name": {"type": "string"},
        "description": {"type": "string"},
        "spec": {"type": "array", "minItems": 1, "items": _QUESTION},
    },
}
_NAME = "^[a-zA-Z_]+[a-zA-Z0-9_]*$"
_INPUTS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "required": {"type": "array", "items": {"type": "string"}},
        "fields": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["id", "label"],
                "properties": {
                    "type": {"enum": ["string", "boolean"]},
                    "format": {"enum": ["ssh_private_key", "url"]},
                    "choices": {"type": "array", "minItems": 1, "items": {"type": "string"}, "uniqueItems": True},
                    "id": {"type": "string", "pattern": _NAME},
                    "label": {"type": "string"},
                    "help_text": {"type": "string"},
                    "multiline": {"type": "boolean"},
                    "secret": {"type": "boolean"},
                    "ask_at_runtime": {"type": "boolean"},
                    "default": {"type": ["string", "boolean"]},
                },
            },
        },
    },
}
_TEXTS = {"type": "object", "additionalProperties": False, "patternProperties": {_NAME: {"type": "string"}}}
_INJECTORS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"env": _TEXTS, "extra_vars": _TEXTS, "file": {"type": "object"}},
}


def check_survey(survey: Any) -> None:
    """Raise ValueError if AWX would refuse the survey, or its forms could not show it."""
    _check(survey, _SURVEY)
    variables = [question["variable"] for question in survey["spec"]]
    if len(set(variables)) < len(variables):
        raise ValueError(f"a variable is asked for twice: {variables}")
    for question in survey["spec"]:
        default, kind = question.get("default", ""), question["type"]
        if default != "" and not isinstance(default, QUESTION_TYPES[kind]):
            raise ValueError(f"{question['variable']}: the default {default!r} is no {kind}")
        if kind in ("multiplechoice", "multiselect"):
            if not choices_of(question) or default not in choices_of(question):
                raise ValueError(f"{question['variable']}: {default!r} is not one of its choices")
        elif not question["required"] and question.get("min") and kind in ("text", "textarea", "password"):
            raise ValueError(f"{question['variable']}: an answer that is left empty would be too short")


def choices_of(question: Variables) -> list[str]:
    """The choices of a question, one a line."""
    return [choice for choice in question.get("choices", "").splitlines() if choice.strip()]


def accept(survey: Variables, answers: Variables) -> Variables:
    """The variables of a job that is launched with these answers. Raises ValueError if AWX refuses the launch."""
    variables: Variables = {}
    for question in survey["spec"]:
        name = question["variable"]
        if name in answers:
            complaint = _complaint(question, answers[name])
            if complaint:
                raise ValueError(f"{name}: {complaint}")
            variables[name] = answers[name]
        elif "default" in question and not _complaint(question, question["default"]):
            variables[name] = question["default"]
        elif question["required"]:
            raise ValueError(f"{name}: value missing")
    unknown = set(answers) - {question["variable"] for question in survey["spec"]}
    if unknown:
        raise ValueError(f"variables are not allowed on launch: {unknown}")
    return variables


def _complaint(question: Variables, value: Any) -> str:
    kind = question["type"]
    low, high = question.get("min"), question.get("max")
    if kind == "multiplechoice":
        return "" if value in choices_of(question) else f"{value!r} is not one of the choices"
    if kind in ("integer", "float"):
        # AWX takes neither a boolean nor a text of digits as a number.
        if isinstance(value, bool) or not isinstance(value, int if kind == "integer" else (int, float)):
            return f"{value!r} is not numeric"
        size = value
    else:
        if not isinstance(value, str):
            return f"{value!r} is no text"
        size = len(value)
    if low is not None and size < low:
        return f"{value!r} is too small"
    return f"{value!r} is too large" if high is not None and size > high else ""


def check_credential_type(inputs: Any, injectors: Any) -> None:
    """Raise ValueError if AWX would refuse the credential type."""
    _check(inputs, _INPUTS)
    _check(injectors, _INJECTORS)
    ids = [field["id"] for field in inputs.get("fields", [])]
    if len(set(ids)) < len(ids) or "tower" in ids:
        raise ValueError(f"field ids must be unique, and not 'tower': {ids}")
    if not set(inputs.get("required", [])) <= set(ids):
        raise ValueError(f"a required field does not exist: {inputs['required']}")
    for field in inputs.get("fields", []):
        kind = field.get("type", "string")
        if kind != "string" and {"choices", "multiline", "format", "secret"} & set(field):
            raise ValueError(f"{field['id']}: only a string can have these")
        if "default" in field and not isinstance(field["default"], str if kind == "string" else bool):
            raise ValueError(f"{field['id']}: the default is no {kind}")
    for name in injectors.get("env", {}):
        if name.startswith("ANSIBLE_"):
            raise ValueError(f"{name} is not allowed in credentials")
    inject(injectors, dict.fromkeys(ids, "EXAMPLE"))


def inject(injectors: Variables, values: dict[str, str]) -> dict[str, str]:
    """A job's environment from a credential with these values. Raises ValueError for an unknown field."""
    sandbox = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    try:
        return {key: sandbox.from_string(text).render(values) for key, text in injectors.get("env", {}).items()}
    except Exception as error:
        raise ValueError(f"injectors: {error}") from None


def job_variables(artifacts: Variables, answers: Variables) -> Variables:
    """The variables of a job in a workflow: the artifacts of earlier nodes, unless an answer has the same name."""
    return {**artifacts, **answers}


def _check(value: Any, schema: Variables) -> None:
    try:
        jsonschema.validate(value, schema)
    except jsonschema.ValidationError as error:
        raise ValueError(error.message) from None


@cache
def _queries() -> dict[str, Any]:
    """The programs of extensions/audit/event_query.yml, by the modules' full names."""
    file = Path(__file__).resolve().parents[2] / "extensions" / "audit" / "event_query.yml"
    return {module: jq.compile(entry["query"]) for module, entry in yaml.safe_load(file.read_text()).items()}


def indirect_nodes(events: list[Variables]) -> dict[str, str]:
    """The indirect nodes that AWX counts (awx/main/tasks/host_indirect.py): names by id, their only canonical fact.

    AWX drops a node with a null fact, and all nodes of the job if a name is null; here both are errors.
    """
    nodes: dict[str, str] = {}
    for event in events:
        if "res" in event and (query := _queries().get(event.get("resolved_action", ""))):
            for node in query.input_value(event["res"]).all():
                (resource_id,) = node["canonical_facts"].values()
                texts = [resource_id, node["name"], *node["facts"].values()]
                assert all(isinstance(text, str) and text for text in texts), node
                nodes[resource_id] = node["name"]
    return nodes
