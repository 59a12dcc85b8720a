# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at an offer's procurement, or at many, made for ``until``.

This module util is private to the collection.
"""

from __future__ import annotations

import copy
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor

from .. import _connection, _input, _spec, _states
from .._api import ApiError, Json, SupplyApi
from .._on_api import on_api
from .._operation import Failure, Params, Result, given
from .._provision.machines import ids_for_match, ids_in, of_offer

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

_CONNECTION = ("resource_id", "ansible_host", "ansible_port", "ansible_user")
_HOPELESS = (_states.FAILED, _states.EXPIRED, _states.ENDED)
MOST_THREADS = 8  # requests at the same moment; the client's session keeps up to ten connections
_GATHERED = ("instances", "connections", "resource_ids")  # of many offers one list

_List = t.Callable[[], "list[Json]"]  # the resources that the API lists; raises ApiError


def offer_status(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """The state of a procurement, or of many, with all keys whatever happens.

    A single try: repeating is the loop's business. What waiting may cure is no failure but ``transient_error``; what
    it cannot cure raises Failure with ``terminal``, so that the loop ends. Among many it is the entry of its offer.
    """
    if params.get("offer_ids") is not None:
        return _many(api, params["offer_ids"], check_mode)
    offer_id = given("offer_id", params["offer_id"], _input.check_uuid)
    return _one(api, offer_id, lambda: api.resources(offer_id, retries=0), check_mode)


def offer_statuses(api: SupplyApi, offer_ids: t.Iterable[str]) -> dict[str, Json]:
    """The states of many by their ids, which may be empty. Raises Failure if the token is refused."""
    wanted = sorted(set(offer_ids) - {""})
    return _many(api, wanted, check_mode=False)["offers"] if wanted else {}


# Many


def _many(api: SupplyApi, offer_ids: list[str], check_mode: bool) -> Result:
    """One look at many offers. Raises Failure if the token is refused."""
    listing = _Listing(api)

    def look(text: str) -> tuple[str, Result]:
        try:
            offer_id = given("offer_ids", text, _input.check_uuid)
            return offer_id, _one(api, offer_id, listing, check_mode)
        except Failure as failure:
            return text, {**copy.deepcopy(BLANK), "terminal": True, "offer_id": text, **failure.result}

    texts = list(dict.fromkeys(text.strip().lower() for text in offer_ids))
    with ThreadPoolExecutor(max(1, min(MOST_THREADS, len(texts)))) as pool:
        offers = dict(pool.map(look, texts))
    for result in offers.values():
        result.pop("offers")
    refused = [result for result in offers.values() if result.get("error_class") == "auth"]
    if refused and (len(refused) == len(offers) or any(result["status_code"] == 401 for result in refused)):
        raise _refused(refused[0], offers)
    return _gathered(offers)


class _Listing:
    """The list of all resources: read once, by the first thread that needs it, and only if one does."""

    def __init__(self, api: SupplyApi) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._answer: list[Json] | ApiError | None = None

    def __call__(self) -> list[Json]:
        with self._lock:
            if self._answer is None:
                try:
                    self._answer = self._api.resources(retries=0)
                except ApiError as error:
                    self._answer = error
        if isinstance(self._answer, ApiError):
            raise self._answer
        return self._answer


def _refused(result: Result, offers: t.Mapping[str, Result]) -> Failure:
    """The failure of a token that is refused, which is no offer's own."""
    facts = {**_gathered(offers), "ready": False, "terminal": True, "transient_error": False}
    known = {name: value for name, value in facts.items() if name not in ("msg", "changed")}
    return Failure(result["msg"], "auth", **{**known, "status_code": result["status_code"]})


def _gathered(offers: t.Mapping[str, Result]) -> Result:
    """All of them in one result."""
    found = list(offers.values())
    pauses = [result["retry_after"] for result in found if result["retry_after"] is not None]
    return {
        **copy.deepcopy(BLANK),
        **{name: [each for result in found for each in result[name]] for name in _GATHERED},
        "offers": dict(offers),
        "ready": all(result["ready"] for result in found),
        "terminal": all(result["terminal"] for result in found),
        "transient_error": any(result["transient_error"] for result in found),
        "retry_after": max(pauses, default=None),
        "msg": _summary(found),
    }


def _summary(found: list[Result]) -> str:
    """Many offers in one line."""
    if not found:
        return "There is no offer to look at."
    counts: dict[str, int] = {}
    for result in found:
        word = _word(result)
        counts[word] = counts.get(word, 0) + 1
    ready = counts.pop("ready", 0)
    others = "".join(f"; {count} {word}" for word, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f"{ready} of {len(found)} {'is' if ready == 1 else 'are'} ready{others}."


def _word(result: Result) -> str:
    """What an offer is in the line of many."""
    if result["ready"]:
        return "ready"
    if result.get("failed"):
        return "cannot be looked at"
    if result["phase"] is None:
        return "not readable this time"
    words = {
        _states.UNBOUGHT: "not bought (yet)",
        _states.FAILED: "failed",
        _states.EXPIRED: "expired",
        _states.ENDED: "deleted since",
    }
    return words.get(result["phase"], "under way")


# One


def _one(api: SupplyApi, offer_id: str, listing: _List, check_mode: bool) -> Result:
    """The state of one procurement. Raises Failure for what waiting cannot cure."""
    known: Result = {"offer_id": offer_id, "resource_ids": []}
    try:
        status = api.offer_status(offer_id, retries=0)
        known["resource_ids"] = status["resource_ids"]
        machines, phase, hindrance = _machines(api, status, listing)
    except ApiError as error:
        blank = {**copy.deepcopy(BLANK), **known}
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


def _machines(api: SupplyApi, status: Json, listing: _List) -> tuple[list[Json], str, str | None]:
    """The machines of an offer, its phase, and why a ready one cannot be used yet.

    Ports, missing addresses and the news that a machine was deleted stand with the resources, which are read only once
    the offer is ready.
    """
    machines = _connection.machines(status["instances"], [])
    if status["phase"] != _states.READY:
        return machines, status["phase"], None
    # Not every deployment may have the list of resources; what the status says is then all there is.
    told = bool(machines) and all(_connection.parse_ssh_command(m.get("ssh_command")).host for m in machines)
    ids = ids_in(status)
    try:
        resources = of_offer(listing(), status["offer_id"], ids_for_match(status))
        if not told:
            resources += _read(api, set(ids) - {resource["resource_id"] for resource in resources})
    except ApiError:
        if not told:
            raise
        return machines, _states.READY, None
    if resources and not any(_states.is_live(resource["status"]) for resource in resources):
        return _without_life(status, machines, resources, ids)
    machines = _connection.machines(status["instances"], resources)
    if not machines:
        return machines, _states.READY, "the API lists none of its machines" if ids else "the API names no instance yet"
    without = sum(machine["ansible_host"] is None for machine in machines)
    hindrance = f"{without} of {len(machines)} instances have no address yet" if without else None
    return machines, _states.READY, hindrance


def _without_life(
    status: Json, machines: list[Json], resources: list[Json], ids: list[str]
) -> tuple[list[Json], str, str | None]:
    """No machine of a ready offer lives: it ends, or it has failed."""
    if all(_states.is_ending(resource["status"]) for resource in resources):
        # What is not listed, or is still being deleted, has told nobody that it is gone.
        if not {resource["resource_id"] for resource in resources}.issuperset(ids):
            return [], _states.READY, "its machines are being deleted, or the API does not list them any more"
        if not all(_states.is_gone(resource["status"]) for resource in resources):
            return [], _states.READY, "its machines are being deleted"
        return machines, _states.ENDED, None
    # Nothing says that a machine that has failed is billed no more.
    left = [r["resource_id"] for r in resources if r["resource_id"] and not _states.is_gone(r["status"])]
    status.update(resource_ids=left, failure_reason=status["failure_reason"] or "its machines have failed")
    return machines, _states.FAILED, None


def _read(api: SupplyApi, resource_ids: t.Iterable[str]) -> list[Json]:
    """The resources by their ids, where the list has none of them. One that the API does not know proves nothing."""
    resources = []
    for resource_id in sorted(resource_ids):
        try:
            resources.append(api.resource(resource_id, retries=0))
        except ApiError as error:
            if error.error_class != "not_found":
                raise
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


_RULES = {"mutually_exclusive": [("offer_id", "offer_ids")], "required_one_of": [("offer_id", "offer_ids")]}
# A failure, be it of the options, is nothing that waiting could cure.
OFFER_STATUS = on_api(SupplyApi, offer_status, _spec.OFFER_STATUS, {**BLANK, "terminal": True}, _RULES)
