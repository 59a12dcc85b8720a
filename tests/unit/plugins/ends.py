# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the steps of an end for the plans of some hosts, as the tasks of the role decommission do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._operations import delete_resource
from ansible_collections.compute_index.supply.plugins.module_utils._operations.end import ended
from ansible_collections.compute_index.supply.plugins.module_utils._provision import ending_by_id

Json = dict[str, Any]
OUTCOME = ("changed", "left", "usd", "cost", "storage")


def params(spec: Json, **given: Any) -> Json:
    """The parameters of a step, with the defaults of its spec."""
    return {**{name: option.get("default") for name, option in spec.items()}, **given}


def by_id(answers: Iterable[Json]) -> Json:
    return {str(answer.get("resource_id")): answer for answer in answers}


def delete_all(api: Any, plans: Sequence[Json], *, check_mode: bool = False) -> Json:
    """Run the step `delete`; return its answers by id."""
    given = params(steps.DELETE, round="1", jobs=ending_by_id.jobs(plans))
    return cast(Json, delete_resource.delete(api, given, check_mode)["answers"])


def note_all(api: Any, plans: Sequence[Json], answers: Json, *, check_mode: bool = False) -> Json:
    """Run the step `ended`; return its result."""
    given = {"round": "1", "ends": list(plans), "answers": answers, "alone": True}
    return ended(api, params(steps.ENDED, **given), check_mode)


def note_end(api: Any, plan: Json, *answers: Json, check_mode: bool = False) -> Json:
    """Run the step `ended` for one host; return its outcome. Raises Failure as the host's task does."""
    result = note_all(api, [plan], by_id(answers), check_mode=check_mode)
    outcome = result["outcomes"][plan["host"]]
    if outcome.get("failed"):
        raise Failure(outcome["stop"], outcome["error_class"], left=outcome["left"])
    warnings = {"warnings": result["warnings"]} if result["warnings"] else {}
    return {**{name: outcome[name] for name in OUTCOME}, **warnings}
