# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts the playbooks were asked for. This module util is private to the collection."""

from __future__ import annotations

from collections.abc import Mapping

from .. import _decide_spec
from .._operation import Failure, Operation, Params, Result
from .._provision import messages, order
from .._provision.purchase_messages import NOTHING_SENT


def order_of(params: Params, check_mode: bool) -> Result:
    """The hosts to add to the group, and how those of an earlier job are reached.

    Raises Failure (invalid) for names that are none, and if the group stays empty.
    """
    variables, group = params["variables"], params["group"]
    # A survey's answer of another name, since it would hide an artifact of the same name.
    wanted = variables.get("provision_hosts") or variables.get("order_names") or ""
    try:
        names = order.names(wanted, group)
    except ValueError as error:
        raise Failure(str(error), "invalid") from None
    template = order.slice_of(variables)
    if template and names and not isinstance(wanted, Mapping):
        raise Failure(order.sliced_names(template), "invalid")
    if not (params["has_members"] or names):
        raise Failure(f"{messages.no_hosts(group)} {NOTHING_SENT}", "invalid")
    published = order.published(wanted)
    reached = [{"name": name, **published[name]} for name in names if name in published]
    return {"changed": False, "group": group, "added": names, "reached": reached}


ORDER = Operation(order_of, _decide_spec.ORDER)
