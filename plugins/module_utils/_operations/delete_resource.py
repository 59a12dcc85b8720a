# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End a machine, and make sure of it. This module util is private to the collection."""

from __future__ import annotations

import time

from .. import _input, _spec, _states
from .._api import ApiError, Json, SupplyApi
from .._on_api import on_api
from .._operation import Failure, Params, Result, given
from .._wording import usd

PAUSE = 5.0  # seconds between two looks
_ACCEPTED = (202, 204)  # no page of the API has them, but they say that the deletion was taken up
SETTLE_LOOKS = 4  # looks after a lost answer, before the outcome counts as unknown

BLANK: Result = {"changed": False, "resource_id": None, "resource": None, "billing_stopped": False}


def delete_resource(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """End the resource with exactly this id.

    ``billing_stopped`` is true only once the API says that it is deleted, or does not know it any more after it has
    accepted a deletion, be it of an earlier call (``accepted``). Any other 404 proves nothing: a replica may lag, a
    token be another account's.
    """
    resource_id = given("resource_id", params["resource_id"], _input.check_uuid)
    wait_timeout = given("wait_timeout", params["wait_timeout"], _input.check_seconds)
    facts: Result = {**BLANK, "resource_id": resource_id}
    try:
        resource = facts["resource"] = _look(api, resource_id)
    except ApiError as error:
        if error.error_class == "not_found":
            return _gone(error, facts, params["accepted"])
        raise Failure.of(error, "Nothing was deleted.", **facts) from None
    if _states.is_gone(resource["status"]):
        return {**facts, "billing_stopped": True, "msg": f"Resource {resource_id} was deleted before."}
    if resource["status"] != "deleting":
        facts["changed"] = True
        facts["diff"] = _diff(resource)
        if check_mode:
            return {**facts, "msg": f"Resource {resource_id} would be deleted, which saves {_price(resource)}."}
        facts["changed"] = _delete(api, resource_id, params["force"], facts)
    if check_mode or not params["wait"]:
        return {**facts, "msg": f"Resource {resource_id} is being deleted."}
    return _wait(api, facts, wait_timeout, params["accepted"] or facts["changed"])


def _look(api: SupplyApi, resource_id: str) -> Json:
    """The resource as its vendor sees it now."""
    return api.resource(resource_id, force_refresh=True)


def _unknown(error: ApiError, facts: Result) -> Failure:
    """The failure of a resource that the API does not know (any more), without a deletion of ours."""
    advice = (
        "It may run under another account, or the API may be behind. This run deleted nothing, and nobody knows that "
        "it is billed no more. If it is gone for certain, forget it: decommission with -e decommission_forget="
    )
    return Failure.of(error, f"{advice}{facts['resource_id']}.", **{**facts, "changed": False})


def _gone(error: ApiError, facts: Result, accepted: bool) -> Result:
    """The result of a resource that the API does not know any more. Raises Failure unless it accepted its deletion."""
    if not accepted:
        raise _unknown(error, facts) from None
    return {**facts, **_ended(facts)}


def _ended(facts: Result) -> Result:
    return {"billing_stopped": True, "msg": f"Resource {facts['resource_id']} is deleted."}


def _delete(api: SupplyApi, resource_id: str, force: bool, facts: Result) -> bool:
    """Send the deletion, once. Returns whether it was this one that ended the resource."""
    try:
        api.delete_resource(resource_id, force=force)
    except ApiError as error:
        if error.status_code in _ACCEPTED:
            return True
        if error.error_class in ("conflict", "not_found") and _ends_already(api, facts):
            return False
        if error.refused or not error.sent:
            raise Failure.of(error, _still(facts["resource"]), **{**facts, "changed": False}) from None
        _settle(api, resource_id, error, facts)
    return True


def _ends_already(api: SupplyApi, facts: Result) -> bool:
    """Whether somebody else ends the resource; a look that fails shows nothing. Raises Failure if it is unknown now."""
    try:
        return _states.is_ending(_look(api, facts["resource_id"])["status"])
    except ApiError as error:
        if error.error_class == "not_found":
            raise _unknown(error, facts) from None
        return False


def _settle(api: SupplyApi, resource_id: str, lost: ApiError, facts: Result) -> None:
    """After a lost answer: see whether the resource ends. Raises Failure (unknown_outcome) if nothing shows that."""
    for look in range(SETTLE_LOOKS):
        try:
            if _states.is_ending(_look(api, resource_id)["status"]):
                return
        except ApiError as error:
            lost = error
        if look < SETTLE_LOOKS - 1:
            time.sleep(PAUSE)
    msg = f"Whether resource {resource_id} is being deleted is not known: {lost} {_still(facts['resource'])}"
    raise Failure(msg, "unknown_outcome", **{**facts, "status_code": lost.status_code})


def _wait(api: SupplyApi, facts: Result, wait_timeout: float, accepted: bool) -> Result:
    """Look until the API says that the resource is deleted. Passing errors are looked past.

    ``accepted``: a deletion of ours was, so that a resource that is unknown now has ended.
    """
    resource_id, deadline = facts["resource_id"], time.monotonic() + wait_timeout
    while True:
        try:
            resource = facts["resource"] = _look(api, resource_id)
        except ApiError as error:
            if error.error_class == "not_found":
                return _gone(error, facts, accepted)
            if not error.passing:
                raise Failure.of(error, _still(facts["resource"]), **facts) from None
            said = str(error).rstrip(".")
        else:
            if _states.is_gone(resource["status"]):
                return {**facts, **_ended(facts)}
            said = f"the API still says '{resource['status']}'" if resource["status"] else "no state is told"
        left = deadline - time.monotonic()
        if left <= 0:
            msg = f"Resource {resource_id} is not gone after {wait_timeout:g} seconds: {said}."
            raise Failure(f"{msg} {_still(facts['resource'])}", "unavailable", **facts)
        time.sleep(min(PAUSE, left))


def _price(resource: Json) -> str:
    return usd(resource["price_per_hour"])


def _still(resource: Json) -> str:
    return f"It may still run and be billed at {_price(resource)}."


def _diff(resource: Json) -> Result:
    shown = {name: resource[name] for name in ("resource_id", "name", "vendor", "status", "price_per_hour")}
    return {
        "before_header": f"resource {resource['resource_id']}",
        "after_header": f"resource {resource['resource_id']} (none)",
        "before": shown,
        "after": {},
    }


_DOUBT = "The machine may be ending, or still be billed. Run the same again: it asks the API first."
DELETE_RESOURCE = on_api(SupplyApi, delete_resource, _spec.DELETE_RESOURCE, BLANK, doubt=_DOUBT)
