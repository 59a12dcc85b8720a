# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List resources, or read one."""

from __future__ import annotations

from .. import _spec, _states
from .._ansible.operation import Params, Result, check_uuid, given, on_api
from .._api.client import Json, SupplyApi
from .._machine import connection
from .._provision import ownership
from ._by_id import read_each_by_id


def resource_info(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """The resources that match all that was given; with nothing given, all that the API lists."""
    found = ownership.matching(_listed(api, params), params["name"], params["kinds"] or ())
    # A list has no force_refresh (API page "get-resource"): each resource is asked for by itself.
    if params["force_refresh"] and params["resource_id"] is None:
        found = ownership.refreshed(found, read_each_by_id(api, filter(None, (item["resource_id"] for item in found))))
    resources = [
        {
            **connection.with_connection(resource),
            "live": _states.is_live(resource["status"]),
            "gone": _states.is_gone(resource["status"]),
        }
        for resource in ownership.in_states(found, params["states"] or ())
    ]
    return {"changed": False, "resources": resources}


def _listed(api: SupplyApi, params: Params) -> list[Json]:
    if params["resource_id"] is not None:
        resource_id = given("resource_id", params["resource_id"], check_uuid)
        return [api.resource(resource_id, force_refresh=params["force_refresh"])]
    offer_id = params["offer_id"]
    return api.resources(None if offer_id is None else given("offer_id", offer_id, check_uuid))


_RULES = {"mutually_exclusive": [("resource_id", "offer_id")]}
RESOURCE_INFO = on_api(SupplyApi, resource_info, _spec.RESOURCE_INFO, rules=_RULES)
