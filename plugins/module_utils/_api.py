# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Supply API: a method per endpoint, and the tolerant reader of its answers. Knows no Ansible.

Here is what asks after purchases and machines; `_market` has what comes before them, and the purchase. A module is
shipped with all that it imports, and those that wait or list are run often.

Every answer is brought into one shape: documented fields are always there (None where the API gave nothing), fields
that nobody documented are handed through. Rules without a source are those of the API's documentation pages.
This module util is private to the collection.
"""

from __future__ import annotations

import math
import typing as t
from urllib.parse import parse_qsl, quote

from . import _states
from ._http import Answer, HttpClient, TransportError
from ._version import VERSION

USER_AGENT = f"compute_index.supply/{VERSION}"
MOST_DETAIL = 400  # characters of a server's explanation that are shown

Json = dict[str, t.Any]

_RESOURCE_FIELDS = (
    "resource_id",
    "resource_type",
    "name",
    "vendor",
    "vendor_region",
    "status",
    "status_message",
    "pricing_total_hourly",
    "created_at",
    "valid_from",
    "valid_to",
    "last_synced_at",
)
# Where a machine's specification might repeat what was sent at the purchase.
_SECRET_FIELDS = frozenset({"cloud_init", "user_data", "userdata", "ssh_public_key"})

_RESOURCE_ENVELOPES = ("resources", "items", "data", "results")

_ERROR_CLASSES = {
    400: "invalid",
    401: "auth",
    403: "auth",
    404: "not_found",
    409: "conflict",
    410: "expired",
    422: "invalid",
    429: "rate_limited",
}


class ApiError(Exception):
    """A request that brought nothing to work with.

    ``sent`` is false only if the server cannot have got it. ``passing`` tells whether waiting may cure it.
    ``retry_after`` is in seconds.
    """

    def __init__(
        self,
        message: str,
        error_class: str,
        *,
        status_code: int | None = None,
        retry_after: float | None = None,
        sent: bool = True,
        passing: bool = False,
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.status_code = status_code
        self.retry_after = retry_after
        self.sent = sent
        self.passing = passing

    @property
    def refused(self) -> bool:
        """Whether the server answered that it will not do what was asked, so that nothing has happened."""
        return self.status_code is not None and 400 <= self.status_code < 500 and self.status_code != 408


class SupplyApi:
    """The endpoints of what was bought.

    With ``read_only`` (check mode) it refuses to send anything that could change something.
    """

    def __init__(self, http: HttpClient, *, read_only: bool = False) -> None:
        self._http = http
        self._read_only = read_only

    # Reads

    def offer_status(self, offer_id: str, *, timeout: float | None = None, retries: int | None = None) -> Json:
        """GET /offers/{offer_id}/status: see `read_status`."""
        path = path_to("offers", offer_id, "status")
        return self._without_secrets(read_status(self._read("GET", path, timeout=timeout, retries=retries), offer_id))

    def resources(self, offer_id: str | None = None, *, retries: int | None = None) -> list[Json]:
        """GET /resources: those of one offer, or all that the API lists.

        No page documents paging; should the API begin to page, its ``next`` is followed within ``/resources``. Raises
        ApiError (protocol) where the list is known to be incomplete: machines that are left out would bill unseen.
        """
        query = {} if offer_id is None else {"offer_id": offer_id}
        items: list[t.Any] = []
        seen: list[dict[str, str]] = []
        while query not in seen:
            data = self._read("GET", "/resources", query=query, retries=retries)
            items += list_in(data, _RESOURCE_ENVELOPES, "GET /resources")
            seen.append(query)
            following = _next_page(data)
            if following is None:
                return [read_resource(item) for item in _complete(items, data)]
            query = {**query, **following}
        raise ApiError("GET /resources: the API's pages go round in a circle.", "protocol", status_code=200)

    def resource(self, resource_id: str, *, force_refresh: bool = False, retries: int | None = None) -> Json:
        """GET /resources/{resource_id}; ``force_refresh`` asks the vendor, else the answer may be 30 seconds old."""
        query = {"force_refresh": "true"} if force_refresh else None
        return read_resource(self._read("GET", path_to("resources", resource_id), query=query, retries=retries))

    # Changes

    def delete_resource(self, resource_id: str, *, force: bool) -> Json:
        """DELETE /resources/{resource_id}, once: the machine ends some time after the answer."""
        query = {"force": "true"} if force else None
        return object_of(self._change("DELETE", path_to("resources", resource_id), query=query), "delete")

    # The way to HTTP

    def _read(self, method: str, path: str, **how: t.Any) -> t.Any:
        return self._exchange(method, path, repeatable=True, **how)

    def _change(self, method: str, path: str, **how: t.Any) -> t.Any:
        if self._read_only:
            raise AssertionError(f"{method} {path} must not be sent in check mode")
        return self._exchange(method, path, repeatable=False, **how)

    def _exchange(self, method: str, path: str, **how: t.Any) -> t.Any:
        try:
            answer = self._http.exchange(method, path, **how)
        except TransportError as error:
            message = f"{method} {path} brought no answer: {error}."
            raise ApiError(message, "unavailable", sent=error.sent, passing=not error.lasting) from None
        if 200 <= answer.status < 300 and answer.is_json:
            return answer.data
        place = self._http.redact(answer.location) if answer.location else ""
        raise _error_of(f"{method} {path}", answer, place or read_detail(answer, self._http.redact))

    def _without_secrets(self, answer: Json) -> Json:
        """The answer's sentences, which a server may have made of what it was sent, without secrets."""
        for name in ("error", "failure_reason", "progress"):
            if answer.get(name):
                answer[name] = self._http.redact(answer[name])
        return answer


def path_to(*parts: str) -> str:
    """The path of these parts, none of which can leave its place."""
    return "".join("/" + quote(part, safe="") for part in parts)


# Errors


def _error_of(request: str, answer: Answer, detail: str) -> ApiError:
    """The error of an answer that is no success, or is none that can be read."""
    status = answer.status
    facts: dict[str, t.Any] = {"status_code": status, "retry_after": answer.retry_after}
    if 300 <= status < 400:
        where = f" to {detail}" if answer.location else ""
        return ApiError(f"{request} was redirected{where}, which is not followed. Check api_url.", "protocol", **facts)
    if status < 300:
        message = f"{request} answered {status}, but its body is no JSON. Is api_url the Supply API?"
        return ApiError(message, "protocol", passing=True, **facts)
    passing = status >= 500 or status in (408, 425, 429)
    error_class = _ERROR_CLASSES.get(status) or ("unavailable" if passing else "invalid")
    message = f"{request} answered {status}{': ' + detail if detail else ''}."
    if answer.retry_after is not None and passing:
        message += f" It asks to wait {answer.retry_after:.0f} seconds."
    return ApiError(message, error_class, passing=passing, **facts)


def read_detail(answer: Answer, redact: t.Callable[[str], str] = str) -> str:
    """The server's explanation: FastAPI's ``detail`` as text, list or object; never the input that it repeats."""
    body = answer.data if isinstance(answer.data, dict) else {}
    detail = body.get("detail") or body.get("message")
    if isinstance(detail, list):
        text = "; ".join(filter(None, map(_validation_line, detail)))
    elif isinstance(detail, dict):
        text = str(next(filter(None, map(detail.get, ("message", "msg", "error", "detail", "reason"))), ""))
    else:
        text = detail if isinstance(detail, str) else ""
    # Before the text is folded or cut, since a part of a secret is not recognised any more.
    text = " ".join(redact(text).split()).rstrip(".")
    return text if len(text) <= MOST_DETAIL else text[:MOST_DETAIL] + "..."


def _validation_line(item: object) -> str:
    """One entry of FastAPI's HTTPValidationError, ``{"loc": [...], "msg": "..."}``."""
    if not isinstance(item, dict):
        return item if isinstance(item, str) else ""
    loc = item.get("loc")
    place = ".".join(str(part) for part in loc if part != "body") if isinstance(loc, list) else ""
    return ": ".join(filter(None, (place, str(item.get("msg") or ""))))


# The tolerant reader


def object_of(data: t.Any, what: str) -> Json:
    """The answer, which must be an object. Raises ApiError (protocol, passing)."""
    if not isinstance(data, dict):
        raise ApiError(f"{what}: the API answered JSON, but no object.", "protocol", status_code=200, passing=True)
    return data


def list_in(data: t.Any, envelopes: t.Iterable[str], what: str) -> list[t.Any]:
    """A bare list, or the first of the envelope's fields that is one. Raises ApiError (protocol, passing)."""
    if isinstance(data, list):
        return data
    if isinstance(data, dict):
        for name in envelopes:
            if isinstance(data.get(name), list):
                return t.cast("list[t.Any]", data[name])
    raise ApiError(f"{what}: the API's answer holds no list.", "protocol", status_code=200, passing=True)


def _next_page(data: t.Any) -> dict[str, str] | None:
    """The query of the page that follows: out of the envelope's ``next``, a link that ends in a query."""
    following = data.get("next") if isinstance(data, dict) else None
    if not following:
        return None
    # Only the query is taken from the link, so that no answer decides where the token is sent.
    query = dict(parse_qsl(following.partition("?")[2].partition("#")[0])) if isinstance(following, str) else {}
    if not query:
        message = "GET /resources: the API lists only a part, and does not say how to read the rest."
        raise ApiError(message, "protocol", status_code=200)
    return query


def _complete(items: list[t.Any], data: t.Any) -> list[t.Any]:
    """The items of all pages, each once. Raises ApiError if the envelope counts more than it lists."""
    # A resource that moved to the next page while it was read stands on both.
    ids = [item.get("resource_id") if isinstance(item, dict) else None for item in items]
    by_id = {
        name if isinstance(name, str) and name else number: item for number, (name, item) in enumerate(zip(ids, items))
    }
    count = number_of(data.get("total_count")) if isinstance(data, dict) else None
    if count is not None and count > len(by_id):
        message = f"GET /resources: the API counts {count:.0f} resources, but lists only {len(by_id)}."
        raise ApiError(message, "protocol", status_code=200)
    return list(by_id.values())


def text_of(value: t.Any) -> str | None:
    """A text that is not empty."""
    return value or None if isinstance(value, str) else None


def number_of(value: t.Any) -> float | None:
    """A finite number, also where the API writes it as text, as FastAPI does with decimals."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _without_user_data(value: t.Any) -> t.Any:
    """A part of an answer without fields that might repeat what was sent at the purchase."""
    if isinstance(value, dict):
        return {key: _without_user_data(part) for key, part in value.items() if key.lower() not in _SECRET_FIELDS}
    return [_without_user_data(part) for part in value] if isinstance(value, list) else value


def resource_ids_of(data: Json) -> list[str]:
    """Ids out of ``resource_ids`` (list of ids) or ``resources`` (list of ids or of objects)."""
    for name in ("resource_ids", "resources"):
        items = data.get(name)
        if isinstance(items, list):
            ids = [item.get("resource_id") if isinstance(item, dict) else item for item in items]
            texts = list(dict.fromkeys(item for item in ids if isinstance(item, str) and item))
            if texts:
                return texts
    return []


def read_status(data: t.Any, offer_id: str) -> Json:
    """The status of an offer; ``phase`` is a word of `_states`, ``instances`` and ``resource_ids`` are always lists.

    Raises ApiError (protocol, passing) for an object that names neither state.
    """
    data = object_of(data, "offer status")
    status, procurement_status = _states.word(data.get("status")), _states.word(data.get("procurement_status"))
    if status is None and procurement_status is None:
        raise ApiError("The API's offer status names no state.", "protocol", status_code=200, passing=True)
    instances = data.get("instances")
    instances = instances if isinstance(instances, list) else []
    instances = [_without_user_data(item) for item in instances if isinstance(item, dict)]
    resource_ids = resource_ids_of(data)
    procured_at = text_of(data.get("procured_at"))
    has_machines = bool(instances or resource_ids or procured_at)
    return {
        "offer_id": offer_id,
        "status": status,
        "procurement_status": procurement_status,
        "phase": _states.phase(procurement_status, status, has_machines=has_machines),
        "instances": instances,
        "resource_ids": resource_ids,
        # The page shows the text of this field, but not its name.
        "progress": next(filter(None, (text_of(data.get(n)) for n in ("progress", "message", "status_message"))), None),
        "failure_reason": text_of(data.get("failure_reason")),
        "procured_at": procured_at,
    }


def read_resource(data: t.Any) -> Json:
    """A resource; ``access`` is always a mapping, ``price_per_hour`` in USD or None, user data is left out."""
    resource = _without_user_data(object_of(data, "resource"))
    access, spec = resource.get("access"), resource.get("spec")
    price = number_of(resource.get("pricing_total_hourly"))
    return {
        **dict.fromkeys(_RESOURCE_FIELDS),
        **resource,
        "resource_id": text_of(resource.get("resource_id")),
        "name": text_of(resource.get("name")),
        "status": _states.word(resource.get("status")),
        "offer_id": _offer_of(resource),
        "access": access if isinstance(access, dict) else {},
        "spec": spec if isinstance(spec, dict) else {},
        "price_per_hour": price if price is not None and price >= 0 else None,
    }


def _offer_of(resource: Json) -> str | None:
    """The offer that a resource was bought with: its own field, else the newest entry of its history."""
    history = resource.get("offer_history")
    entries = [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []
    entries.sort(key=lambda entry: text_of(entry.get("created_at")) or "")
    ids = [text_of(resource.get("offer_id")), *(text_of(entry.get("offer_id")) for entry in reversed(entries))]
    return next(filter(None, ids), None)
