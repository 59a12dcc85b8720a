# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks were asked for, as hosts and variables. This module util is private to the collection."""

from __future__ import annotations

from collections.abc import Mapping

from .. import _decide_spec
from .._operation import Failure, Operation, Params, Result
from .._provision import order


def order_of(params: Params, check_mode: bool) -> Result:
    """The hosts to add to the group, and what is asked for each of its hosts, as variables of the role.

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
    members = list(dict.fromkeys([*params["members"], *names]))
    if not members:
        raise Failure(
            f"There is no host in the group '{group}'. Add some to the inventory, or give provision_hosts (names, or"
            " how many). Nothing was sent.",
            "invalid",
        )
    reached = order.published(wanted)
    common = order.ordered({name: value for name, value in variables.items() if name.startswith("order_")})
    quote = variables.get("quote")
    given = [
        {"host": host, **common, **(order.approved(host, quote, params["extra"]) if quote else {})} for host in members
    ]
    added = [{"name": name, **reached.get(name, {})} for name in names]
    return {"changed": False, "group": group, "added": added, "hosts": given if common or quote else []}


ORDER = Operation(order_of, _decide_spec.ORDER)
