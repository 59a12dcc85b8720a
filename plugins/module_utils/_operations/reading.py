# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read from the API: resources by id or as a list, the states of offers, and the market.

Several requests are sent at the same time. A failed one affects only its own resource or offer.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor

from .. import _spec, _states
from .._ansible.operation import Failure, Params, Result, check_limit, check_uuid, checked_option, on_api
from .._api.client import ApiError, Json, SupplyApi, read_status
from .._api.market import Market
from .._machine import connection
from .._provision import ownership, search, waiting
from .._provision.holdings import links_in
from .._provision.ownership import bought_with, ids_for_match, ids_in

# Resources, and parallel requests

List = t.Callable[[], "list[Json]"]  # the resources that the API lists; raises ApiError

_NotedIds = t.Mapping[str, t.Collection[str]]  # ids that registries note for offers, by the offers' ids

MOST_THREADS = 8  # the client's session keeps up to ten connections

_Item = t.TypeVar("_Item")
_Answer = t.TypeVar("_Answer")


def in_parallel(ask: t.Callable[[_Item], _Answer], items: t.Collection[_Item]) -> list[_Answer]:
    """The results of ``ask`` for the items, in order. Raises the first error that ``ask`` raises."""
    with ThreadPoolExecutor(max(1, min(MOST_THREADS, len(items)))) as pool:
        return list(pool.map(ask, items))


def answer_of(api: SupplyApi, resource_id: str, retries: int | None = None) -> Json | ApiError:
    """The resource, or the error. Unlike a list, this answer does not lag (``force_refresh``).

    ``retries``: after transient errors; None for as many as the task allows.
    """
    try:
        return api.resource(resource_id, force_refresh=True, retries=retries)
    except ApiError as error:
        return error


def ask_by_id(api: SupplyApi, ids: t.Iterable[str], retries: int | None = None) -> dict[str, Json | ApiError]:
    """The resource or the error for each of these ids, sorted by id. ``retries`` as in `answer_of`."""
    wanted = sorted(set(ids))
    return dict(zip(wanted, in_parallel(lambda resource_id: answer_of(api, resource_id, retries), wanted)))


def ask_with_storage(api: SupplyApi, ids: t.Iterable[str], retries: int | None = None) -> dict[str, Json | ApiError]:
    """As `ask_by_id`, and also for storage that only the machines among these name."""
    answers = ask_by_id(api, ids, retries)
    return {**answers, **ask_by_id(api, links_in(answers.values()).difference(answers), retries)}


def read_by_id(api: SupplyApi, ids: t.Iterable[str], retries: int | None = 0) -> dict[str, Json | None]:
    """The resources with these ids, and the storage that they name. An unreadable one is left out.

    A 404 becomes None; it alone does not prove that the resource is gone.
    """
    return _pages(ask_with_storage(api, ids, retries))


def read_each_by_id(api: SupplyApi, ids: t.Iterable[str], retries: int | None = None) -> dict[str, Json | None]:
    """The resources with these ids, None for a 404. Raises ApiError if one cannot be read."""
    answers = ask_by_id(api, ids, retries)
    for error in _unreadable(answers).values():
        raise error
    return _pages(answers)


def _unreadable(answers: t.Mapping[str, Json | ApiError]) -> dict[str, ApiError]:
    errors = ((resource_id, answer) for resource_id, answer in answers.items() if isinstance(answer, ApiError))
    return {resource_id: error for resource_id, error in errors if error.error_class != "not_found"}


def _pages(answers: t.Mapping[str, Json | ApiError]) -> dict[str, Json | None]:
    """The readable ones of these answers, None for a 404."""
    readable = answers.keys() - _unreadable(answers)
    return {item: None if isinstance(answer := answers[item], ApiError) else answer for item in sorted(readable)}


class Listing:
    """The list of all resources, read once, when a thread first needs it."""

    def __init__(self, api: SupplyApi, retries: int | None = 0) -> None:
        """``retries``: after transient errors; None for as many as the task allows."""
        self._api, self._retries = api, retries
        self._lock = threading.Lock()
        self._answer: list[Json] | ApiError | None = None

    def answer(self) -> list[Json] | ApiError:
        """The list, or the error."""
        with self._lock:
            if self._answer is None:
                try:
                    self._answer = self._api.resources(retries=self._retries)
                except ApiError as error:
                    self._answer = error
        return self._answer

    def __call__(self) -> list[Json]:
        answer = self.answer()
        if isinstance(answer, ApiError):
            raise answer
        return answer


def resource_info(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """Return the resources that match all options; without options, all that the API lists."""
    found = ownership.matching(_listed(api, params), params["name"], params["kinds"] or ())
    # A list has no force_refresh (API page "get-resource"), so each resource is read again by its id.
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
        resource_id = checked_option("resource_id", params["resource_id"], check_uuid)
        return [api.resource(resource_id, force_refresh=params["force_refresh"])]
    offer_id = params["offer_id"]
    return api.resources(None if offer_id is None else checked_option("offer_id", offer_id, check_uuid))


RESOURCE_INFO = on_api(
    SupplyApi, resource_info, _spec.RESOURCE_INFO, rules={"mutually_exclusive": [("resource_id", "offer_id")]}
)


# States of offers

_BLANK_STATUS: Result = {
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
    """Return the state of one procurement or of many. The result always has all keys.

    Each call looks once; an ``until`` repeats it. If waiting may help, the result has ``transient_error`` and is no
    failure. Otherwise raises Failure with ``terminal``, so that the loop ends; one of many offers has this failure as
    its entry.
    """
    if params.get("offer_ids") is not None:
        return _many(api, dict.fromkeys(params["offer_ids"], ()), check_mode)
    offer_id = checked_option("offer_id", params["offer_id"], check_uuid)
    return _one(api, offer_id, (), lambda: api.resources(offer_id, retries=0), check_mode)


def offer_statuses(api: SupplyApi, noted: _NotedIds) -> dict[str, Json]:
    """The state of each of these offers, by its id. Raises Failure if the token is refused."""
    offers: dict[str, Json] = _many(api, dict(sorted(noted.items())), False)["offers"]
    return offers


def _many(api: SupplyApi, noted: _NotedIds, check_mode: bool) -> Result:
    """The states of many offers, from one look. Raises Failure if the token is refused."""
    listing = Listing(api)

    def look(text: str) -> tuple[str, Result]:
        try:
            offer_id = checked_option("offer_ids", text, check_uuid)
            return offer_id, _one(api, offer_id, texts[text], listing, check_mode)
        except Failure as failure:
            return text, {**copy.deepcopy(_BLANK_STATUS), "terminal": True, "offer_id": text, **failure.result}

    texts = {text.strip().lower(): ids for text, ids in noted.items()}
    offers = dict(in_parallel(look, texts))
    for result in offers.values():
        result.pop("offers")
    together = {**copy.deepcopy(_BLANK_STATUS), **waiting.combined_look(offers.values()), "offers": offers}
    if refused := waiting.refused_token(offers.values()):
        together.update(ready=False, terminal=True, transient_error=False, status_code=refused["status_code"])
        raise Failure(refused["msg"], "auth", **together)
    return together


def _one(api: SupplyApi, offer_id: str, noted: t.Collection[str], listing: List, check_mode: bool) -> Result:
    """The state of one procurement. Raises Failure if waiting cannot help."""
    result: Result = {"offer_id": offer_id, "resource_ids": []}
    try:
        status = _status(api, offer_id, noted, listing)
        result["resource_ids"] = status["resource_ids"]
        view = _view(api, status, listing)
    except ApiError as error:
        blank = {**copy.deepcopy(_BLANK_STATUS), **result}
        if error.transient:
            return {**blank, "transient_error": True, "retry_after": error.retry_after, "msg": f"{error} Check again."}
        raise Failure.of(error, "Waiting does not help.", **result) from None
    return {**copy.deepcopy(_BLANK_STATUS), **waiting.result_of(status, view, check_mode=check_mode)}


def _status(api: SupplyApi, offer_id: str, noted: t.Collection[str], listing: List) -> Json:
    """The status of an offer. Raises ApiError.

    The API may forget old offers. Then its machines, which a registry notes or which name the offer themselves, show
    that it is ready, if all of them run by their own pages.
    """
    try:
        return api.offer_status(offer_id, retries=0)
    except ApiError as error:
        pages = read_each_by_id(api, waiting.ids_if_forgotten(offer_id, error.error_class, noted, listing), retries=0)
        if waiting.all_run(pages.values()):
            return read_status({"procurement_status": "ready", "resource_ids": list(pages)}, offer_id)
        raise


def _view(api: SupplyApi, status: Json, listing: List) -> waiting.OfferView:
    """The status as a view; for an offer that is ready, completed from its resources. Raises ApiError.

    Only resources name ports, addresses that the status lacks, and machines that were deleted.
    """
    alone = waiting.view_of_status(status)
    if alone.phase != _states.READY:
        return alone
    # A deployment may lack the list of resources. Then the status must do.
    is_reachable = waiting.is_reachable(alone)
    try:
        resources = bought_with(listing(), status["offer_id"], ids_for_match(status))
    except ApiError:
        if not is_reachable:
            raise
        return alone
    unlisted = () if is_reachable else set(ids_in(status)).difference(resource["resource_id"] for resource in resources)
    # A list may lag behind an end. So if its state would end the wait, or an instance contradicts it, the resources are
    # read by their ids.
    read = read_each_by_id(api, {*unlisted, *waiting.ids_to_read_when_ready(status, resources)}, retries=0)
    return waiting.view_with_resources(status, waiting.with_own_pages(status, resources, read))


_ONE_OR_MANY = {"mutually_exclusive": [("offer_id", "offer_ids")], "required_one_of": [("offer_id", "offer_ids")]}
# Waiting cannot cure a failure, not even one of the options.
OFFER_STATUS = on_api(SupplyApi, offer_status, _spec.OFFER_STATUS, {**_BLANK_STATUS, "terminal": True}, _ONE_OR_MANY)


# The market: offers and catalogues


def catalog_info(api: Market, params: Params, check_mode: bool) -> Result:
    """Return one of the API's catalogues unchanged."""
    return {"changed": False, "catalog": api.catalog(params["kind"])}


def offer_info(api: Market, params: Params, check_mode: bool) -> Result:
    """Return the offers that match ``spec``, cheapest first and unknown prices last; or the one with ``offer_id``.

    A search finds on-demand offers unless ``spec`` asks for others.
    """
    limit = checked_option("limit", params["limit"], check_limit)
    if params["offer_id"] is not None:
        offer = api.offer(checked_option("offer_id", params["offer_id"], check_uuid))
        return {"changed": False, "offers": [offer], "total_count": 1}
    offers, total_count, warnings = find(api, params["spec"])
    return {"changed": False, "offers": offers[:limit], "total_count": total_count, "warnings": warnings}


def find(api: Market, wanted: t.Mapping[str, t.Any] | None) -> tuple[list[Json], int, list[str]]:
    """The offers of a search, the API's count of them, and warnings. Raises Failure and ApiError."""
    spec = checked_option("spec", wanted, search.check_spec)
    sent = search.with_contract(spec)
    try:
        offers, total_count, filters = api.search_offers(sent)
    except ApiError as error:
        if error.error_class != "invalid":
            raise
        raise Failure.of(error, " ".join(_unlisted(api, spec))) from None
    unlisted = [] if offers else _unlisted(api, spec)
    return offers, total_count, [*search.undocumented_keys(spec), *search.unapplied_keys(sent, filters), *unlisted]


def _unlisted(api: Market, spec: Params) -> list[str]:
    """Warnings about GPUs of a search that the API does not list, with similar names; none without its catalogue."""
    with contextlib.suppress(ApiError):
        return search.unlisted_gpus(spec, api.gpus)
    return []


_BY_SPEC_OR_ID = {"mutually_exclusive": [("spec", "offer_id")], "required_one_of": [("spec", "offer_id")]}
OFFER_INFO = on_api(Market, offer_info, _spec.OFFER_INFO, rules=_BY_SPEC_OR_ID)
CATALOG_INFO = on_api(Market, catalog_info, _spec.CATALOG_INFO)
