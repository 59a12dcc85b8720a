# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that were named to end, or to get more time."""

from __future__ import annotations

import typing as t

from .._ansible import steps
from .._ansible.operation import Failure, Params, Result, on_api, refusing
from .._api.client import SupplyApi
from .._provision.naming import (
    NAMED_ACTIONS,
    PatternPart,
    added,
    check_slice,
    elsewhere,
    left_out,
    names_of,
    objection,
    playable,
    unmatched_names,
    warnings_of_runs,
    with_names,
)
from .._provision.order import within
from .._text import as_pattern, joined

BLANK: Result = {"changed": False, "hosts": [], "patterns": [], "add": [], "trouble": ""}


def named(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """The hosts in their order, those that a play must add first, and in ``trouble`` what cannot be read of some.

    Raises Failure (invalid): nothing happens.
    """
    deed = NAMED_ACTIONS[params["verb"]]
    with refusing(ValueError):
        check_slice(params["slice_of"], deed, params["count"])
    parts = [PatternPart(part["text"], tuple(part["hosts"])) for part in params["parts"]]
    made = _made(api, unmatched_names(parts), params)
    parts = with_names(parts, made)
    hosts = within([*params["matched"], *made], params["limited"])
    reason = objection(parts, hosts, params["limited"], params["count"], params["by_job"], deed)
    if reason:
        hosts = [*params["known"], *params["registered"]]
        advice = elsewhere(unmatched_names(parts), params["elsewhere"], hosts)
        raise Failure(joined(reason, *advice), "invalid")
    trouble = joined(*params["troubles"], *left_out(parts, params["ungrouped"]))
    try:
        left = playable(hosts, params["unreadable"], params["several"], deed)
    except ValueError as error:
        raise Failure(joined(trouble, str(error)), "invalid") from None
    add = added(left, params["known"], params["registered"], params["group"])
    runs = warnings_of_runs(parts, left, params["registered"], deed)
    warnings = [*params["broken"], *params["troubles"], *params["others"], *runs]
    patterns = list(map(as_pattern, left))  # for a play
    return {**BLANK, "hosts": left, "patterns": patterns, "add": add, "trouble": trouble, "warnings": warnings}


def _made(api: SupplyApi, names: t.Sequence[str], params: Params) -> list[str]:
    """Names that nothing here knows, but that mean a machine: it is given by its id, or the name is its identity."""
    if params["by_id"]:
        return list(names)
    return names_of(api.resources(), names, params["prefix"]) if names and params["by_name"] else []


NAMED = on_api(SupplyApi, named, steps.NAMED, BLANK)
