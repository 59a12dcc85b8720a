# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at an offer's procurement, or at many, made for ``until``."""

from __future__ import annotations

import copy
import typing as t

from .. import _spec, _states
from .._ansible.operation import Failure, Params, Result, check_uuid, given, on_api
from .._api.client import ApiError, Json, SupplyApi
from .._provision import offer as _offer
from .._provision.ownership import bought_with, ids_for_match, ids_in
from ._by_id import List, Listing, read_each_by_id, side_by_side

BLANK: Result = {
    "changed": False,
    "offer_id": None,
    "status": None,
    "procurement_status": None,
    "phase": None,
    "ready": False,
    "terminal": False,
    "transient_error": False,
    "progress": None,
    "failure_reason": None,
    "instances": [],
    "connections": [],
    "resource_ids": [],
    "procured_at": None,
    "retry_after": None,
    "msg": "",
    "offers": {},
}


def offer_status(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """The state of a procurement, or of many, with all keys whatever happens.

    A single try: repeating is the loop's business. What waiting may cure is no failure but ``transient_error``; what
    it cannot cure raises Failure with ``terminal``, so that the loop ends. Among many it is the entry of its offer.
    """
    if params.get("offer_ids") is not None:
        return _many(api, params["offer_ids"], check_mode)
    offer_id = given("offer_id", params["offer_id"], check_uuid)
    return _one(api, offer_id, lambda: api.resources(offer_id, retries=0), check_mode)


def offer_statuses(api: SupplyApi, offer_ids: t.Iterable[str]) -> dict[str, Json]:
    """The states of many by their ids, which may be empty. Raises Failure if the token is refused."""
    wanted = sorted(set(offer_ids) - {""})
    return _many(api, wanted, check_mode=False)["offers"] if wanted else {}


# Many


def _many(api: SupplyApi, offer_ids: list[str], check_mode: bool) -> Result:
    """One look at many offers. Raises Failure if the token is refused."""
    listing = Listing(api)

    def look(text: str) -> tuple[str, Result]:
        try:
            offer_id = given("offer_ids", text, check_uuid)
            return offer_id, _one(api, offer_id, listing, check_mode)
        except Failure as failure:
            return text, {**copy.deepcopy(BLANK), "terminal": True, "offer_id": text, **failure.result}

    texts = list(dict.fromkeys(text.strip().lower() for text in offer_ids))
    offers = dict(side_by_side(look, texts))
    for result in offers.values():
        result.pop("offers")
    together = {**copy.deepcopy(BLANK), **_offer.combined_look(offers.values()), "offers": offers}
    if refused := _offer.refused_token(offers.values()):
        together.update(ready=False, terminal=True, transient_error=False, status_code=refused["status_code"])
        raise Failure(refused["msg"], "auth", **together)
    return together


# One


def _one(api: SupplyApi, offer_id: str, listing: List, check_mode: bool) -> Result:
    """The state of one procurement. Raises Failure for what waiting cannot cure."""
    result: Result = {"offer_id": offer_id, "resource_ids": []}
    try:
        status = api.offer_status(offer_id, retries=0)
        result["resource_ids"] = status["resource_ids"]
        view = _view(api, status, listing)
    except ApiError as error:
        blank = {**copy.deepcopy(BLANK), **result}
        if error.passing:
            return {**blank, "transient_error": True, "retry_after": error.retry_after, "msg": f"{error} Look again."}
        raise Failure.of(error, "Waiting cannot cure this.", **result) from None
    return {**copy.deepcopy(BLANK), **_offer.result_of(status, view, check_mode=check_mode)}


def _view(api: SupplyApi, status: Json, listing: List) -> _offer.View:
    """What the status shows, with the resources of an offer that is ready: ports, missing addresses and the news that a
    machine was deleted stand with these. Raises ApiError.
    """
    alone = _offer.seen_alone(status)
    if alone.phase != _states.READY:
        return alone
    # Not every deployment may have the list of resources; what the status says is then all there is.
    is_reachable = _offer.is_reachable(alone)
    try:
        resources = bought_with(listing(), status["offer_id"], ids_for_match(status))
    except ApiError:
        if not is_reachable:
            raise
        return alone
    unlisted = () if is_reachable else set(ids_in(status)).difference(resource["resource_id"] for resource in resources)
    # A list lags behind an end: where its word ends the wait, or an instance denies it, the resources speak themselves.
    read = read_each_by_id(api, {*unlisted, *_offer.ids_to_read_when_ready(status, resources)}, retries=0)
    return _offer.seen_with(status, _offer.as_read(status, resources, read))


_RULES = {"mutually_exclusive": [("offer_id", "offer_ids")], "required_one_of": [("offer_id", "offer_ids")]}
# A failure, be it of the options, is nothing that waiting could cure.
OFFER_STATUS = on_api(SupplyApi, offer_status, _spec.OFFER_STATUS, {**BLANK, "terminal": True}, _RULES)
