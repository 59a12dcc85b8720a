# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that were named to end, or to get more time. This module util is private to the collection."""

from __future__ import annotations

import typing as t

from .. import _decide_spec
from .._api import SupplyApi
from .._on_api import on_api
from .._operation import Failure, Params, Result
from .._provision.naming import DEEDS, Part, objection
from .._provision.ownership import is_named

BLANK: Result = {"changed": False, "hosts": [], "add": []}


def named(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """The hosts in their order, and those that a play must add first. Raises Failure (invalid): nothing happens."""
    parts = [Part(each["text"], tuple(each["hosts"])) for each in params["parts"]]
    new = [part.text for part in parts if part.is_name and not part.hosts]
    made = _made(api, new, params) if new else []
    parts = [Part(part.text, (part.text,)) if part.text in made else part for part in parts]
    limited = params["limited"]
    hosts = [host for host in [*params["matched"], *made] if limited is None or host in limited]
    reason = objection(parts, hosts, limited, params["count"], params["by_job"], DEEDS[params["verb"]])
    if reason:
        raise Failure(reason, "invalid")
    known = set(params["known"])
    add = [
        {"name": host, "groups": params["registered"].get(host) or [params["group"]]}
        for host in hosts
        if host not in known
    ]
    return {**BLANK, "hosts": hosts, "add": add, "warnings": params["broken"]}


def _made(api: SupplyApi, names: t.Sequence[str], params: Params) -> list[str]:
    """Names that nothing here knows, but that mean a machine: it is given by its id, or the name is its identity."""
    if params["by_id"]:
        return list(names)
    if not params["by_name"]:
        return []
    machines = api.resources()
    return [
        name for name in names if any(is_named(machine, params["prefix"] + name, numbered=True) for machine in machines)
    ]


NAMED = on_api(SupplyApi, named, _decide_spec.NAMED, BLANK)
