# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Supply API: a method for each endpoint, and the tolerant reader of its answers. Knows no Ansible.

This file has the endpoints of purchases and machines; `market` has those of offers, and the purchase itself. They are
apart since Ansible ships a module with all that it imports, and modules that wait or list run often.

Every answer gets one shape: documented fields are always present (None if the API gave nothing), undocumented ones are
passed on. Rules without a source are those of the API's documentation pages.
"""

from __future__ import annotations

import functools
import re
import typing as t
from urllib.parse import parse_qsl, quote, urlsplit

from .. import _states
from .._text import (
    LONGEST_NAME,
    QUOTA,
    foreign_currency,
    grouped,
    is_quota,
    letters_of,
    mapping_of,
    mappings_in,
    number_of,
    one_line,
    printable,
    read_price,
    seconds_of,
)
from .http import Answer, HttpClient, TransportError

# Ansible ships a module without galaxy.yml; a test compares the two numbers.
VERSION = "1.0.0"
USER_AGENT = f"compute_index.supply/{VERSION}"

MOST_PAGES = 1_000  # of a list
MOST_READINGS = 5  # of a list that has several pages
MOST_DEPTH = 50  # of nested values: more than any answer needs, and less than exhausts the stack

Json = dict[str, t.Any]

_RESOURCE_FIELDS = (
    "resource_id",
    "resource_type",
    "name",
    "vendor",
    "vendor_region",
    "status",
    "pricing_total_hourly",
    "created_at",
    "valid_from",
    "valid_to",
    "last_synced_at",
)
# Fields that might repeat what the purchase sent, in lower case and without separators.
_SECRET_PARTS = ("cloudinit", "cloudconfig", "userdata", "startupscript", "console")
_SECRET_FIELDS = frozenset({"sshpublickey", "request", "statusmessage"})
_PLAIN_UUID = re.compile(r"\A([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})\Z")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_PROBLEM = frozenset({"title", "type", "instance"})
_NOT_DONE = frozenset({"failed", "error", "rejected", "refused", "denied"})  # statuses in an answer to a deletion
_LINKED = frozenset({"attached", "linked", "secondary", "additional"})  # roles of offers that were linked later
LONGEST_ODD = 60  # characters shown of a value that is not an id

# Both are on the API's pages; none says which one is current.
HOSTS = ("supply-api.compute-index.com", "supply-api.compute-desk.com")

RESOURCE_ENVELOPES = ("resources", "items", "data", "results")

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

# The pages name no status for an exhausted quota, so any of these classes may stand for one: see `is_quota`.
_MAY_BE_QUOTA = ("invalid", "auth", "conflict")

# Unknown, sold or ended, expired: only the API itself knows that of an offer or a resource.
_FACTS = (404, 409, 410)
# Requests without an id, so that a 404 is about the address.
_WITHOUT_ID = re.compile(r"GET /\w+|POST /get_offers")


class ApiError(Exception):
    """A request failed, or its answer cannot be used.

    ``sent`` is false only if the server cannot have got the request. ``transient``: the error may pass.
    ``retry_after``: in seconds.
    """

    def __init__(
        self,
        message: str,
        error_class: str,
        *,
        status_code: int | None = None,
        retry_after: float | None = None,
        sent: bool = True,
        transient: bool = False,
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.status_code = status_code
        self.retry_after = retry_after
        self.sent = sent
        self.transient = transient

    @property
    def refused(self) -> bool:
        """Whether the answer is a refusal: a 4xx, except 408, and except one of `_FACTS` that is not the API's own.

        A refusal does not prove that nothing was done; see rules 2 to 4 of `_provision/purchase.py`.
        """
        may_be_done = self.status_code == 408 or (self.status_code in _FACTS and self.transient)
        return self.status_code is not None and 400 <= self.status_code < 500 and not may_be_done


class SupplyApi:
    """The endpoints of purchases and resources. With ``read_only`` (check mode) it refuses to send a change."""

    def __init__(self, http: HttpClient, *, read_only: bool = False) -> None:
        self._http = http
        self._read_only = read_only

    @property
    def account(self) -> str:
        """A word that identifies the account: token and server."""
        return self._http.account

    @property
    def ahead(self) -> float | None:
        """Seconds by which the API's clock was ahead at its last answer with a time; None if no answer had one."""
        return self._http.ahead

    # Reads

    def offer_status(self, offer_id: str, *, timeout: float | None = None, retries: int | None = None) -> Json:
        """GET /offers/{offer_id}/status: see `read_status`."""
        answer = self._read("GET", path_to("offers", offer_id, "status"), timeout=timeout, retries=retries)
        return self._without_secrets(read_status(checked_answer(answer, "offer_id", offer_id), offer_id))

    def resources(self, offer_id: str | None = None, *, retries: int | None = None) -> list[Json]:
        """GET /resources: the resources of one offer, or all, without duplicates.

        The documentation shows no paging. If the API pages all the same, the pages are read until two readings list the
        same, since a resource may move to another page while they are read. Raises ApiError (protocol) if the list may
        be incomplete: machines that it lacks would be billed unseen.
        """
        query = {} if offer_id is None else {"offer_id": offer_id}
        before: t.Collection[str] | None = None
        for _reading in range(MOST_READINGS):
            found, pages = self._listed(query, retries)
            if pages == 1 or found.keys() == before:
                return [read_resource(item) for item in found.values()]
            before = found.keys()
        message = "GET /resources: the list changes faster than its pages can be read."
        raise ApiError(message, "protocol", status_code=200, transient=True)

    def _listed(self, query: dict[str, str], retries: int | None) -> tuple[dict[str, t.Any], int]:
        """The resources of all pages by their ids, and how many pages there are. Raises ApiError."""
        found: dict[str, t.Any] = {}
        why = "the API's pages do not come to an end."
        for number in range(1, MOST_PAGES + 1):
            answer = self._exchange("GET", "/resources", query=query, repeatable=True, retries=retries)
            known, items = len(found), require_list(answer.data, RESOURCE_ENVELOPES, "GET /resources")
            _collect(found, items)
            following = next_query(answer)
            if not following and not (why := why_partial(answer, len(items), len(found), number)):
                return found, number
            if not following or len(found) == known:
                break
            query = {**query, **following}
        raise ApiError(f"GET /resources: {why}", "protocol", status_code=200)

    def resource(self, resource_id: str, *, force_refresh: bool = False, retries: int | None = None) -> Json:
        """GET /resources/{resource_id}. ``force_refresh``: ask the vendor, else the answer may be 30 seconds old.

        Raises ApiError: ``not_found`` after a 404 and after a 410, which says no more about a resource.
        """
        query = {"force_refresh": "true"} if force_refresh else None
        try:
            answer = self._read("GET", path_to("resources", resource_id), query=query, retries=retries)
        except ApiError as error:
            if error.error_class == "expired":
                error.error_class = "not_found"
            raise
        return with_requested_id(read_resource(answer), "resource_id", resource_id)

    # Changes

    def delete_resource(self, resource_id: str, *, force: bool) -> Json:
        """DELETE /resources/{resource_id}, sent once. The machine ends some time after the answer.

        Raises ApiError, of class protocol if the answer is about another resource, or says that the deletion failed.
        """
        query = {"force": "true"} if force else None
        answer = require_object(self._change("DELETE", path_to("resources", resource_id), query=query), "delete")
        status = _states.word(answer.get("status"))
        if status in _NOT_DONE:
            message = one_line(self._http.redact(text_or_none(answer.get("message")) or "it names no reason"))
            raise ApiError(f"The API's answer to the deletion says '{status}': {message}.", "protocol", status_code=200)
        return t.cast(Json, checked_answer(answer, "resource_id", resource_id))

    # Exchanges

    def _read(self, method: str, path: str, **how: t.Any) -> t.Any:
        return self._exchange(method, path, repeatable=True, **how).data

    def _change(self, method: str, path: str, **how: t.Any) -> t.Any:
        if self._read_only:
            raise AssertionError(f"{method} {path} must not be sent in check mode")
        return self._exchange(method, path, repeatable=False, **how).data

    def _exchange(self, method: str, path: str, **how: t.Any) -> Answer:
        try:
            answer = self._http.exchange(method, path, **how)
        except TransportError as error:
            message, host = f"{method} {path} got no answer: {error}.", urlsplit(self._http.base_url).hostname
            if error.unreachable and host in HOSTS:
                others = " or ".join(f"https://{name}" for name in HOSTS if name != host)
                message += f" {host} cannot be reached. Some pages of the API name another host: try api_url {others}."
            raise ApiError(message, "unavailable", sent=error.sent, transient=not error.permanent) from None
        if 200 <= answer.status < 300 and answer.is_json:
            return answer
        place = printable(self._http.redact(answer.location), LONGEST_NAME) if answer.location else ""
        raise error_from(f"{method} {path}", answer, place or read_detail(answer, self._http.redact))

    def _without_secrets(self, answer: Json) -> Json:
        """The answer, with its texts on one line and without secrets: a server may repeat what it was sent."""
        for name in ("error", "failure_reason", "progress"):
            if answer.get(name):
                answer[name] = one_line(self._http.redact(answer[name])) or None
        answer["odd_ids"] = list(map(self._http.redact, answer["odd_ids"]))
        return answer


def path_to(*parts: str) -> str:
    """The path of these parts. Each is quoted, so that none can lead elsewhere."""
    return "".join("/" + quote(part, safe="") for part in parts)


# Errors


def error_from(request: str, answer: Answer, detail: str) -> ApiError:
    """The error for an answer that is not a success, or not JSON."""
    status = answer.status
    facts: dict[str, t.Any] = {"status_code": status, "retry_after": answer.retry_after}
    if 300 <= status < 400:
        where = f" to {detail}" if answer.location else ""
        return ApiError(f"{request} was redirected{where}, which is not followed. Check api_url.", "protocol", **facts)
    if status < 300:
        message = f"{request} answered {status}, but its body is not JSON. Is api_url the Supply API?"
        return ApiError(message, "protocol", transient=True, **facts)
    if status in _FACTS and not _is_fact(answer):
        message = (
            f"{request} answered {status}, but not in the form of the Supply API: it may come from a proxy or gateway,"
            " so it proves nothing."
        )
        return ApiError(message, "unavailable", transient=True, **facts)
    hint = " Check api_url." if status == 404 and _WITHOUT_ID.fullmatch(request) else ""
    return _refusal(f"{request} answered {status}{': ' + detail if detail else ''}.{hint}", detail, facts)


def _refusal(message: str, detail: str, facts: dict[str, t.Any]) -> ApiError:
    """The error for the API's own answer of status 400 or more. ``facts``: arguments of ApiError from the answer."""
    status, retry_after = facts["status_code"], facts["retry_after"]
    transient = status >= 500 or status in (408, 425, 429)
    error_class = _ERROR_CLASSES.get(status) or ("unavailable" if transient else "invalid")
    if error_class in _MAY_BE_QUOTA and status != 401 and is_quota(detail):
        error_class = QUOTA
    if retry_after is not None and transient:
        message += f" It asks to wait {retry_after:.0f} seconds."
    return ApiError(message, error_class, transient=transient, **facts)


def _is_fact(answer: Answer) -> bool:
    """Whether one of `_FACTS` comes from the API itself: a gateway does not know what the API knows.

    The API's own 404 is JSON, ``{"detail": ...}`` (FastAPI's form, which its pages imply); a problem document (RFC
    9457) of a gateway has a ``title`` or ``type`` next to its ``detail``. No page shows the body of a 409 or a 410.
    """
    body = mapping_of(answer.data)
    is_own_form = bool(body.get("detail")) and not body.keys() & _PROBLEM
    return not answer.is_html and (answer.status != 404 or is_own_form)


def read_detail(answer: Answer, redact: t.Callable[[str], str] = str) -> str:
    """The server's explanation from FastAPI's ``detail`` (text, list or object), without the input that it repeats."""
    body = mapping_of(answer.data)
    detail = body.get("detail") or body.get("message")
    if isinstance(detail, list):
        text = "; ".join(filter(None, map(_validation_line, detail)))
    elif isinstance(detail, dict):
        text = str(next(filter(None, map(detail.get, ("message", "msg", "error", "detail", "reason"))), ""))
    else:
        text = detail if isinstance(detail, str) else ""
    # Redacted before the text is folded or cut: a part of a secret would not be recognized.
    return one_line(redact(text).strip().rstrip("."))


def _validation_line(item: object) -> str:
    """One entry of FastAPI's HTTPValidationError, ``{"loc": [...], "msg": "..."}``."""
    if not isinstance(item, dict):
        return item if isinstance(item, str) else ""
    loc = item.get("loc")
    place = ".".join(str(part) for part in loc if part != "body") if isinstance(loc, list) else ""
    return ": ".join(filter(None, (place, str(item.get("msg") or ""))))


# Whether a list is complete. No page of the API's documentation shows paging. A link to the next page is followed; any
# other sign of an incomplete list, as other APIs give it, is an error.

# The meanings of fields and headers about a list, by their names in lower case and without separators
_LIST_MARKS = {
    "more": re.compile(
        r".*(?:next|cursor|continu|marker|pagetoken|truncated|partial|incomplete).*|(?:has)?(?:more|additional)(?!info).*"
        r"|xhasmore|(?:vendor|provider)?errors?|(?:failed|unavailable|unreachable|missing|skipped).+"
    ),
    "count": re.compile(r"count|cnt"),  # of all resources, or of one page
    "total": re.compile(
        r"(?:x|xwp|grand)?total|(?:odata|xtotal|total|full|item|resource|result|record|machine)s?"
        r"(?:total|count|items|resources|results|records|elements|entries|machines)"
    ),
    "pages": re.compile(r"(?:x|xwp|num)?(?:total)?pages|page(?:s?total|count)|lastpage"),
    "end": re.compile(r"(?:is)?(?:last|done|final|completed?)|islastpage"),
    "limit": re.compile(r"limit|pagesize|perpage|maxresults"),
    "place": re.compile(r"(?:current)?page(?:number|index)?|offset|skip"),  # of this page in the list
}
_LIST_HEADERS = (
    *("x-total", "x-total-count", "x-total-pages", "x-wp-total", "x-wp-totalpages"),
    *("x-next-page", "x-next-cursor", "x-has-more", "x-continuation-token"),
)
_DEEPEST_MARK = 3  # nested objects: {"meta": {"pagination": {"total": 9}}}
_NO_MARK = ("", "0", "false", "no", "none", "null")


def next_query(answer: Answer) -> dict[str, str]:
    """The query of the next page, from a header Link (RFC 8288) or a URL in ``next``; empty if neither is present.

    Only the query of a link is used, so that no answer decides where the token is sent.
    """
    body = mapping_of(answer.data)
    header = re.search(r"<([^>]*)>[^<]*;\s*rel\s*=\s*[\"']?next\b", answer.headers.get("link") or "", re.IGNORECASE)
    link = header[1] if header else body.get("next")
    return dict(parse_qsl(link.partition("?")[2].partition("#")[0])) if isinstance(link, str) else {}


def why_partial(answer: Answer, items: int, read: int, pages: int = 1) -> str:
    """Why a list that ends with this answer may be incomplete, as part of a sentence; empty if it is complete.

    ``items``: the number of items in this answer; ``read``: of resources read from all its ``pages``.
    """
    marks = _list_marks(answer)
    count = _highest(*marks.get("count", ()), *marks.get("total", ()))
    if count > read:
        return f"the API counts {count:.0f} resources, but lists only {read}."
    pages_more = _highest(*marks.get("pages", ())) > pages
    if pages_more or any(map(_is_yes, marks.get("more", ()))) or not all(map(_is_yes, marks.get("end", ()))):
        return "the API lists only a part, and does not say how to read the rest."
    limit = _highest(*marks.get("limit", ())) or (items if "place" in marks else 0)
    # If links have led here, a further page would have one.
    if pages == 1 and 0 < limit <= items and not marks.keys() & {"more", "total", "pages", "end"}:
        return f"the API lists {items} resources as one page, and does not say that these are all."
    return ""


def _list_marks(answer: Answer) -> dict[str, list[t.Any]]:
    """The values of an answer's envelope and headers that are about its list, by their meaning."""
    fields = list(_list_fields(answer))
    return grouped(
        (kind, value) for kind, names in _LIST_MARKS.items() for name, value in fields if names.fullmatch(name)
    )


def _list_fields(answer: Answer) -> t.Iterator[tuple[str, t.Any]]:
    """The fields of an answer's envelope and headers that may be about its list, by `letters_of` their names."""
    link = re.sub("<[^>]*>", "", answer.headers.get("link") or "")
    if answer.status == 206 or re.search(r"\bnext\b", link, re.IGNORECASE):
        yield "partial", True
    yield from _fields(mapping_of(answer.data))
    yield from ((letters_of(name), answer.headers[name]) for name in _LIST_HEADERS if name in answer.headers)
    if content_range := answer.headers.get("content-range"):
        total = content_range.rpartition("/")[2]
        yield ("partial", True) if number_of(total) is None else ("total", total)


def _fields(part: t.Mapping[str, t.Any], depth: int = 1) -> t.Iterator[tuple[str, t.Any]]:
    """The fields of an object and of its nested objects, and of lists of links by their relation."""
    for name, value in part.items():
        plain = letters_of(name)
        if value is not None or "next" in plain:
            yield plain, value
        if depth < _DEEPEST_MARK:
            yield from _fields(mapping_of(value), depth + 1)
        if "link" in plain:
            yield from ((letters_of(link.get("rel")), link.get("href")) for link in mappings_in(value))


def _highest(*values: t.Any) -> float:
    return max(filter(None, map(number_of, values)), default=0.0)


def _is_yes(value: t.Any) -> bool:
    return value.strip().lower() not in _NO_MARK if isinstance(value, str) else bool(value)


# The tolerant reader


def with_requested_id(item: Json, field: str, requested: str) -> Json:
    """The requested offer or resource, with its id even if the answer has none.

    Raises ApiError (protocol) if the answer names another one.
    """
    _check_id(item[field] or item.get("odd_id"), requested, field)
    item[field] = item[field] or requested
    return item


def checked_answer(answer: t.Any, field: str, requested: str) -> t.Any:
    """Return the answer, unless it names another offer or resource than the one requested.

    Raises ApiError (protocol, transient): a gateway may mix up answers, and an answer about another one decides
    nothing.
    """
    answered = normalized_id(answer.get(field)) if isinstance(answer, dict) else None
    _check_id(answered, requested, field, transient=True)
    return answer


def _check_id(answered: str | None, requested: str, field: str, *, transient: bool = False) -> None:
    """Raise ApiError (protocol) if an answer names another id than the requested one. None: it names none."""
    if answered is not None and answered.lower() != requested.lower():
        message = f"The API was asked for {requested}, and answered with {answered}, another {field.partition('_')[0]}."
        raise ApiError(message, "protocol", status_code=200, transient=transient)


def require_object(data: t.Any, what: str) -> Json:
    """Return the answer if it is an object. Raises ApiError (protocol, transient)."""
    if not isinstance(data, dict):
        raise ApiError(
            f"{what}: the API answered JSON that is not an object.", "protocol", status_code=200, transient=True
        )
    return data


def require_list(data: t.Any, envelopes: t.Iterable[str], what: str) -> list[t.Any]:
    """The list that `find_list` finds in an answer. Raises ApiError (protocol, transient) if there is none."""
    items = find_list(data, envelopes)
    if items is None:
        raise ApiError(f"{what}: the API's answer holds no list.", "protocol", status_code=200, transient=True)
    return items


def find_list(data: t.Any, envelopes: t.Iterable[str]) -> list[t.Any] | None:
    """A bare list, or the first field of these names that is a list; None without one."""
    parts = (data, *map(mapping_of(data).get, envelopes))
    return next((part for part in parts if isinstance(part, list)), None)


def _collect(found: dict[str, t.Any], items: t.Iterable[t.Any]) -> None:
    """Add the items of a page by their ids. An item may be on two pages, if it moved while they were read.

    Of two items with one id, the one that may be billed is kept. Items without an id are all kept.
    """
    for item in items:
        resource_id = normalized_id(item.get("resource_id")) if isinstance(item, dict) else None
        if resource_id not in found or not _states.is_gone(_states.word(item.get("status"))):
            found[resource_id or f"number {len(found)}: {item!r}"] = item


def text_or_none(value: t.Any) -> str | None:
    """The value if it is a text that is not empty, else None."""
    return value or None if isinstance(value, str) else None


def normalized_id(value: t.Any) -> str | None:
    """An id of the API in its normal form; None for a value that cannot be one.

    Ids become parts of paths, file names and arguments, so options, blanks and separators are rejected. The
    documentation says UUID, which becomes lower case with hyphens; other ids are accepted.
    """
    if not isinstance(value, str) or not _ID.fullmatch(value):
        return None
    return _PLAIN_UUID.sub(r"\1-\2-\3-\4-\5", value.lower())


def _odd_id(value: t.Any) -> str | None:
    """A value in the place of an id that is not one, as a text for people; None for an id or an empty value."""
    return None if value in (None, "") or normalized_id(value) else printable(repr(value), LONGEST_ODD)


def with_checked_ids(item: Json, id_field: str) -> Json:
    """An offer, a resource or an instance, with ids in their normal form, and a name that can be shown.

    ``id_field``: the field of its own id. If that is not an id, ``odd_id`` shows it.
    """
    item.pop("odd_id", None)
    for field in (id_field, "instance_id"):
        if odd := _odd_id(item.get(field)):
            item["odd_id"] = odd
    fields = ("offer_id", "resource_id", "instance_id")
    item.update({field: normalized_id(item[field]) for field in fields if field in item})
    if "name" in item:
        name = text_or_none(item["name"])
        item["name"] = name and printable(name, LONGEST_NAME)
    return item


@functools.lru_cache(maxsize=1024)
def _may_hold_user_data(field: str) -> bool:
    plain = letters_of(field)
    return plain in _SECRET_FIELDS or any(part in plain for part in _SECRET_PARTS)


def without_user_data(value: t.Any, depth: int = MOST_DEPTH) -> t.Any:
    """A value of an answer without fields that might repeat the purchase's user data, and cut at ``depth``."""
    if depth == 0:
        return None
    if isinstance(value, dict):
        return {key: without_user_data(part, depth - 1) for key, part in value.items() if not _may_hold_user_data(key)}
    return [without_user_data(part, depth - 1) for part in value] if isinstance(value, list) else value


def ids_and_odd_ids(data: Json) -> tuple[list[str], list[str]]:
    """The ids in ``resource_ids`` (a list of ids) or ``resources`` (of ids or objects), and values that are not ids.

    The second list has texts for people.
    """
    for name in ("resource_ids", "resources"):
        items = data.get(name)
        if isinstance(items, list):
            named = [item.get("resource_id") if isinstance(item, dict) else item for item in items]
            ids = list(dict.fromkeys(filter(None, map(normalized_id, named))))
            odd = list(dict.fromkeys(filter(None, map(_odd_id, named))))
            if ids or odd:
                return ids, odd
    return [], []


def read_status(data: t.Any, offer_id: str) -> Json:
    """The status of an offer. ``phase`` is a word of `_states`; ``instances`` and ``resource_ids`` are always lists.

    Raises ApiError (protocol, transient) if the answer has neither status.
    """
    data = require_object(data, "offer status")
    status, procurement_status = _states.word(data.get("status")), _states.word(data.get("procurement_status"))
    if status is None and procurement_status is None:
        raise ApiError("The API's offer status names no state.", "protocol", status_code=200, transient=True)
    named = mappings_in(data.get("instances"))
    instances = [with_checked_ids(without_user_data(item), "resource_id") for item in named]
    resource_ids, odd_ids = ids_and_odd_ids(data)
    procured_at = text_or_none(data.get("procured_at"))
    has_machines = bool(instances or resource_ids or odd_ids or procured_at)
    return {
        "offer_id": offer_id,
        "status": status,
        "procurement_status": procurement_status,
        "phase": _states.phase(procurement_status, status, has_machines=has_machines),
        "instances": instances,
        "resource_ids": resource_ids,
        "odd_ids": odd_ids,
        # The documentation shows this field's text, but not its name.
        "progress": next(
            filter(None, (text_or_none(data.get(n)) for n in ("progress", "message", "status_message"))), None
        ),
        "failure_reason": text_or_none(data.get("failure_reason")),
        "procured_at": procured_at,
    }


def read_resource(data: t.Any) -> Json:
    """A resource without user data. ``access`` is always a mapping, ``price_per_hour`` in USD or None.

    ``kind`` is a word of `_states`; ``linked_resources`` is always a list, see `_linked`. A resource with an unusable
    id stays in lists, since it is billed as well: its ``resource_id`` is None, and ``odd_id`` shows the value.
    """
    resource = with_checked_ids(without_user_data(require_object(data, "resource")), "resource_id")
    access, spec = mapping_of(resource.get("access")), mapping_of(resource.get("spec"))
    # Only machines have a login or GPUs. Storage may have an address.
    is_used = bool(access.get("ssh_command") or access.get("ssh_port") or spec.get("gpu_count"))
    kind = _states.kind_of(resource.get("resource_type"), is_used=is_used)
    return {
        **dict.fromkeys(_RESOURCE_FIELDS),
        **resource,
        "status": _states.word(resource.get("status")),
        "kind": kind,
        "offer_id": _offer_of({**resource, "kind": kind}),
        "linked_resources": list(_linked(resource.get("linked_resources"))),
        "access": access,
        "spec": spec,
        "price_per_hour": None if foreign_currency(resource) else read_price(resource.get("pricing_total_hourly")),
    }


def _linked(value: t.Any) -> t.Iterator[Json]:
    """The linked resources of a resource, each with its ``resource_id`` and its ``kind``, None if unknown.

    ``value``: a list of mappings as documented, or of bare ids. Items without a usable id are left out.
    """
    for item in value if isinstance(value, list) else ():
        link = with_checked_ids(dict(item) if isinstance(item, dict) else {"resource_id": item}, "resource_id")
        if link.get("resource_id"):
            word = link.get("resource_type")
            yield {**link, "kind": _states.kind_of(word) if word else None}


def _offer_of(resource: Json) -> str | None:
    """The offer with which a resource was certainly bought; None if it names none, or several without a primary one.

    It names offers in its own field and in its history. That a ``role`` may be ``primary`` is an assumption: see
    docs/api.md. Offers that were linked to the resource later are left out: see `_was_linked`.
    """
    history = mappings_in(resource.get("offer_history"))
    primary = [entry for entry in history if _states.word(entry.get("role")) == "primary"]
    bought_with = [entry for entry in history if not _was_linked(entry, resource)]
    for parts in ([resource, *primary, *bought_with], primary):
        offers = {normalized_id(part.get("offer_id")) for part in parts} - {None}
        if len(offers) == 1:
            return offers.pop()
    return None


def _was_linked(entry: Json, resource: Json) -> bool:
    """Whether an offer was linked to a resource after its purchase: long after it was made, or by a machine's role.

    The role of storage proves nothing: it may be attached to the machine with which it was bought.
    """
    if _states.is_machine(resource) and _states.word(entry.get("role")) in _LINKED:
        return True
    made, named = seconds_of(resource.get("created_at")), seconds_of(entry.get("created_at"))
    return made is not None and named is not None and named > made + _states.LINKED_LATER
