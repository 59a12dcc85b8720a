# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at an offer's procurement, made for ``until``. This module util is private to the collection."""

from __future__ import annotations

import copy
import typing as t

from .. import _connection, _input, _spec, _states
from .._api import ApiError, Json, SupplyApi, read_resource
from .._on_api import on_api
from .._operation import Failure, Params, Result, given

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
}


_CONNECTION = ("resource_id", "ansible_host", "ansible_port", "ansible_user")
_HOPELESS = (_states.FAILED, _states.EXPIRED, _states.ENDED)


def offer_status(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """The state of a procurement, with all keys whatever happens.

    A single try: repeating is the loop's business. What waiting may cure is no failure but ``transient_error``; what
    it cannot cure raises Failure with ``terminal``, so that the loop ends.
    """
    if params.get("offer_ids") is not None:
        offers = {}
        for one in params["offer_ids"]:
            try:
                offers[one] = offer_status(api, {"offer_id": one}, check_mode)
            except Failure as error:
                offers[one] = {**BLANK, **error.result, "terminal": True}
        return {
            **BLANK,
            "offers": offers,
            "terminal": all(o["terminal"] for o in offers.values()),
            "ready": all(o["ready"] for o in offers.values()),
        }
    offer_id = given("offer_id", params["offer_id"], _input.check_uuid)
    known: Result = {"offer_id": offer_id, "resource_ids": []}
    try:
        status = api.offer_status(offer_id, retries=0)
        known["resource_ids"] = status["resource_ids"]
        machines, phase, hindrance = _machines(api, status)
    except ApiError as error:
        blank = {**BLANK, **known}
        if error.passing:
            return {**blank, "transient_error": True, "retry_after": error.retry_after, "msg": f"{error} Look again."}
        raise Failure.of(error, "Waiting cannot cure this.", **known) from None
    ready = phase == _states.READY and hindrance is None
    over = phase in _HOPELESS or (check_mode and phase == _states.UNBOUGHT)
    return {
        **copy.deepcopy(BLANK),
        **status,
        "phase": phase,
        "instances": machines,
        "connections": [{key: m[key] for key in _CONNECTION} for m in machines if m["ansible_host"] is not None],
        "resource_ids": status["resource_ids"] or [m["resource_id"] for m in machines if m["resource_id"]],
        "ready": ready,
        "terminal": ready or over,
        "transient_error": phase == _states.READY and not ready,
        "msg": _message(phase, status, machines, hindrance),
    }


def _machines(api: SupplyApi, status: Json) -> tuple[list[Json], str, str | None]:
    """The machines of an offer, its phase, and why a ready one cannot be used yet.

    Ports, missing addresses and the news that a machine was deleted stand with the resources, which are read only once
    the offer is ready.
    """
    machines = _connection.machines(status["instances"], [])
    if status["phase"] != _states.READY:
        return machines, status["phase"], None
    # Not every deployment may have the list of resources; what the status says is then all there is.
    told = bool(machines) and all(_connection.parse_ssh_command(m.get("ssh_command")).host for m in machines)
    try:
        resources = api.resources(status["offer_id"], retries=0)
        if not resources and not told:
            resources = _read(api, status["resource_ids"])
    except ApiError:
        if not told:
            raise
        return machines, _states.READY, None
    if resources and not any(_states.is_live(resource["status"]) for resource in resources):
        if all(_states.is_ending(resource["status"]) for resource in resources):
            return machines, _states.ENDED, None
        # Nothing says that a machine that has failed is billed no more.
        left = [r["resource_id"] for r in resources if r["resource_id"] and not _states.is_gone(r["status"])]
        status.update(resource_ids=left, failure_reason=status["failure_reason"] or "its machines have failed")
        return machines, _states.FAILED, None
    machines = _connection.machines(status["instances"], resources)
    if not machines:
        return machines, _states.READY, "the API names no instance yet"
    without = sum(machine["ansible_host"] is None for machine in machines)
    hindrance = f"{without} of {len(machines)} instances have no address yet" if without else None
    return machines, _states.READY, hindrance


def _read(api: SupplyApi, resource_ids: list[str]) -> list[Json]:
    """The resources by their ids, where the list has none of them: it may leave out those that are deleted."""
    resources = []
    for resource_id in resource_ids:
        try:
            resources.append(api.resource(resource_id, retries=0))
        except ApiError as error:
            if error.error_class != "not_found":
                raise
            resources.append(read_resource({"resource_id": resource_id, "status": "deleted"}))
    return resources


def _message(phase: str, status: Json, machines: list[Json], hindrance: str | None) -> str:
    """One line for the terminal."""
    offer = f"Offer {status['offer_id']}"
    said = status["procurement_status"] or status["status"]
    if phase == _states.READY:
        return f"{offer} is ready: {len(machines)} instance(s)." if hindrance is None else f"{offer}: {hindrance}."
    if phase == _states.FAILED:
        return f"{offer} failed: {status['failure_reason'] or 'the API gives no reason'}.{_billing(status)}"
    if phase == _states.EXPIRED:
        return f"{offer} has expired without being bought."
    if phase == _states.ENDED:
        return f"{offer} was bought, but all its machines have been deleted since."
    if phase == _states.UNBOUGHT:
        return f"{offer} is not bought (yet): the API says '{said}'."
    progress: t.Any = status["progress"]
    return f"{offer} is under way: {said}{', ' + progress if progress else ''}."


def _billing(status: Json) -> str:
    ids = ", ".join(status["resource_ids"])
    return f" These resources may still be billed: {ids}." if ids else ""


# A failure, be it of the options, is nothing that waiting could cure.
OFFER_STATUS = on_api(SupplyApi, offer_status, _spec.OFFER_STATUS, {**BLANK, "terminal": True})
