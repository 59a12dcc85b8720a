# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts the playbooks were asked for. This module util is private to the collection."""

from __future__ import annotations

from .. import _decide_spec
from .._operation import Failure, Operation, Params, Result
from .._provision import order


def order_of(params: Params, check_mode: bool) -> Result:
    """The hosts to add to the group, and how those of an earlier job are reached.

    Raises Failure (invalid) for names that are none, and if the group stays empty.
    """
    group = params["group"]
    try:
        added, reached = order.hosts_of(params["variables"], group, has_members=params["has_members"])
    except ValueError as error:
        raise Failure(str(error), "invalid") from None
    return {"changed": False, "group": group, "added": added, "reached": reached}


ORDER = Operation(order_of, _decide_spec.ORDER)
