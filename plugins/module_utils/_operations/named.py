# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that were named to end. Asks no API. This module util is private to the collection."""

from __future__ import annotations

from .. import _spec
from .._operation import Failure, Operation, Params, Result
from .._provision.naming import Part, objection

BLANK: Result = {"changed": False, "hosts": [], "add": []}


def named(params: Params, check_mode: bool) -> Result:
    """The hosts in their order, and those that a play must add first. Raises Failure (invalid): nothing ends."""
    parts = [Part(each["text"], tuple(each["hosts"])) for each in params["parts"]]
    limited, inventory = params["limited"], set(params["known"])
    hosts = [host for host in params["matched"] if limited is None or host in limited]
    reason = objection(parts, hosts, limited)
    if reason:
        raise Failure(reason, "invalid")
    new = [host for host in hosts if host not in inventory]
    add = [{"name": host, "groups": params["registered"].get(host) or [params["group"]]} for host in new]
    return {**BLANK, "hosts": hosts, "add": add, "warnings": params["broken"]}


NAMED = Operation(named, _spec.NAMED, BLANK)
