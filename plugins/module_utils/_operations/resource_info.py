# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List resources, or read one. This module util is private to the collection."""

from __future__ import annotations

from .. import _connection, _input, _spec, _states
from .._api import Json, SupplyApi
from . import Operation, Params, Result, given


def resource_info(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """The resources that match all that was given; with nothing given, all that the API lists."""
    resources = [_described(resource) for resource in _read(api, params) if _matches(resource, params)]
    return {"changed": False, "resources": resources}


def _read(api: SupplyApi, params: Params) -> list[Json]:
    if params["resource_id"] is not None:
        return [api.resource(given("resource_id", params["resource_id"], _input.check_uuid))]
    offer_id = params["offer_id"]
    return api.resources(None if offer_id is None else given("offer_id", offer_id, _input.check_uuid))


def _matches(resource: Json, params: Params) -> bool:
    if params["name"] is not None and resource["name"] != params["name"]:
        return False
    return not params["states"] or resource["status"] in [_states.word(state) for state in params["states"]]


def _described(resource: Json) -> Json:
    return {**_connection.with_connection(resource), "live": _states.is_live(resource["status"])}


RESOURCE_INFO = Operation(
    resource_info, _spec.RESOURCE_INFO, rules={"mutually_exclusive": [("resource_id", "offer_id")]}
)
