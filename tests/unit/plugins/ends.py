# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of an end as the tasks of the role take them, for the plans of some hosts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._operations import delete_resource
from ansible_collections.compute_index.supply.plugins.module_utils._operations.end import ended
from ansible_collections.compute_index.supply.plugins.module_utils._provision import ending_by_id

Json = dict[str, Any]
SAID = ("changed", "left", "usd", "cost", "storage")


def params(spec: Json, **given: Any) -> Json:
    return {**{name: option.get("default") for name, option in spec.items()}, **given}


def by_id(answers: Iterable[Json]) -> Json:
    return {str(each.get("resource_id")): each for each in answers}


def deleted(api: Any, plans: Sequence[Json], *, check_mode: bool = False) -> Json:
    """The answers by id, once what ends by these plans was told to, and waited for."""
    given = params(steps.DELETE, round="1", jobs=ending_by_id.jobs(plans))
    return cast(Json, delete_resource.delete(api, given, check_mode)["answers"])


def noted(api: Any, plans: Sequence[Json], answers: Json, *, check_mode: bool = False) -> Json:
    """The result of the step `ended`."""
    given = {"round": "1", "ends": list(plans), "answers": answers, "alone": True}
    return ended(api, params(steps.ENDED, **given), check_mode)


def after(api: Any, plan: Json, *answers: Json, check_mode: bool = False) -> Json:
    """What was noted of one host. Raises Failure as its task does."""
    result = noted(api, [plan], by_id(answers), check_mode=check_mode)
    one = result["outcomes"][plan["host"]]
    if one.get("failed"):
        raise Failure(one["stop"], one["error_class"], left=one["left"])
    warnings = {"warnings": result["warnings"]} if result["warnings"] else {}
    return {**{name: one[name] for name in SAID}, **warnings}
