# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of resources: all pages are read, or the list is an error."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api import client
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._api.http import Answer, HttpClient
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from hypothesis import given, settings
from hypothesis import strategies as st

from canned_api import METHODS, Canned, canned, error_of
from request_queue import RequestQueue
from samples import BASE, OFFER_ID, RESOURCE_ID, SECOND_RESOURCE_ID, TOKEN, resource

Body = dict[str, Any]


@dataclass
class Server:
    """Replaces the HTTP client: lists ``ids`` in pages of ``size``. ``style`` adds marks such as links and counts.

    ``understands``: whether it follows the queries of its own links; else each page is the first one. ``between`` is
    called before each request but the first.
    """

    ids: list[str]
    size: int
    style: Callable[[Server, int, int, Body], dict[str, str] | None]
    understands: bool = True
    between: Callable[[Server], None] | None = None
    requests: list[dict[str, str]] = field(default_factory=list)

    def exchange(self, _method: str, _path: str, query: dict[str, str], **_how: Any) -> Answer:
        if self.requests and self.between:
            self.between(self)
        self.requests.append(query)
        page = begin = 0
        if self.understands:
            page = int(query.get("page", 1)) - 1
            begin = int(query.get("offset") or query.get("cursor") or page * self.size)
        body: Body = {"items": [{"resource_id": each} for each in self.ids[begin : begin + self.size]]}
        headers = self.style(self, begin // self.size, begin, body)
        return Answer(200, True, body, headers=headers or {})

    def last(self, begin: int) -> bool:
        return begin + self.size >= len(self.ids)

    @property
    def pages(self) -> int:
        return -(-len(self.ids) // self.size)


def by_numbers(server: Server, page: int, begin: int, body: Body) -> None:
    """The form of fastapi-pagination."""
    body.update(total=len(server.ids), page=page + 1, size=server.size, pages=server.pages)


def by_numbers_without_total(server: Server, page: int, begin: int, body: Body) -> None:
    body.update(page=page + 1, pages=server.pages)


def by_numbers_and_total(server: Server, page: int, begin: int, body: Body) -> None:
    body.update(total=len(server.ids), page=page + 1, size=server.size)


def by_offset(server: Server, page: int, begin: int, body: Body) -> None:
    body.update(total=len(server.ids), limit=server.size, offset=begin)


def by_offset_without_total(server: Server, page: int, begin: int, body: Body) -> None:
    body.update(limit=server.size, offset=begin)


def by_cursor(server: Server, page: int, begin: int, body: Body) -> None:
    has_more = not server.last(begin)
    body.update(has_more=has_more, next_cursor=str(begin + server.size) if has_more else None)


def by_camel_case(server: Server, page: int, begin: int, body: Body) -> None:
    has_more = not server.last(begin)
    body["pagination"] = {"hasMore": has_more, "nextCursor": str(begin + server.size) if has_more else ""}


def by_next_page(server: Server, page: int, begin: int, body: Body) -> None:
    body["meta"] = {"next_page": None if server.last(begin) else page + 2, "total_count": len(server.ids)}


def by_link(server: Server, page: int, begin: int, body: Body) -> None:
    body["next"] = None if server.last(begin) else f"/resources?{urlencode({'page': page + 2})}"


def by_nested_link(server: Server, page: int, begin: int, body: Body) -> None:
    href = f"https://api.example.com/resources?page={page + 2}"
    body["_links"] = {"self": {"href": "/resources"}} | ({} if server.last(begin) else {"next": {"href": href}})


def by_list_of_links(server: Server, page: int, begin: int, body: Body) -> None:
    body["links"] = [] if server.last(begin) else [{"rel": "next", "href": f"?page={page + 2}"}]


def by_header(server: Server, page: int, begin: int, body: Body) -> dict[str, str]:
    links = ['<https://api.example.com/resources?page=1>; rel="first"']
    links += [] if server.last(begin) else [f'<https://api.example.com/resources?page={page + 2}>; rel="next"']
    return {"link": ", ".join(links)}


def by_header_with_title(server: Server, page: int, begin: int, body: Body) -> dict[str, str]:
    has_more = not server.last(begin)
    return {"link": f"<?page={page + 2}>; title=\"a, b\"; rel='next'"} if has_more else {}


def by_header_and_limit(server: Server, page: int, begin: int, body: Body) -> dict[str, str]:
    body.update(page=page + 1, limit=server.size)
    return by_header(server, page, begin, body)


def by_nested_numbers(server: Server, page: int, begin: int, body: Body) -> None:
    """The form of Hetzner, DigitalOcean and Strapi."""
    following = None if server.last(begin) else page + 2
    marks = {"page": page + 1, "per_page": server.size, "next_page": following, "total_entries": len(server.ids)}
    body["meta"] = {"pagination": marks}


def by_deeply_nested_links(server: Server, page: int, begin: int, body: Body) -> None:
    body["links"] = {"pages": {} if server.last(begin) else {"next": f"https://api.example.com/?page={page + 2}"}}


def by_numbers_in_headers(server: Server, page: int, begin: int, body: Body) -> dict[str, str]:
    following = "" if server.last(begin) else str(page + 2)
    return {"x-page": str(page + 1), "x-total-pages": str(server.pages), "x-next-page": following}


FOLLOWED = (by_link, by_header, by_header_with_title, by_header_and_limit)


def only(**marks: Callable[[Server, int], Any]) -> Callable[..., None]:
    """A style of list: each mark is a field of the answer, computed from the server and the first index of the page."""

    def style(server: Server, _page: int, begin: int, body: Body) -> None:
        body.update({name: mark(server, begin) for name, mark in marks.items()})

    return style


def count(server: Server, _begin: int) -> int:
    return len(server.ids)


def has_more(server: Server, begin: int) -> bool:
    return not server.last(begin)


REFUSED = {
    **{
        style.__name__: style
        for style in (
            *(by_numbers, by_numbers_without_total, by_numbers_and_total, by_offset, by_offset_without_total),
            *(by_cursor, by_camel_case, by_next_page, by_nested_link, by_list_of_links, by_numbers_in_headers),
            *(by_nested_numbers, by_deeply_nested_links),
        )
    },
    "total": only(total=count),
    "total as text": only(total=lambda server, _begin: str(len(server.ids))),
    "total in camel case": only(totalCount=count),
    "count": only(count=count),
    "count and no link": only(count=count, next=lambda _server, _begin: None),
    "has_more": only(has_more=has_more),
    "has_more as text": only(has_more=lambda server, begin: str(has_more(server, begin)).lower()),
    "pages": only(total_pages=lambda server, _begin: server.pages),
    "next_token": only(next_token=lambda server, begin: "x" if has_more(server, begin) else None),
    "continuation": only(ContinuationToken=lambda server, begin: "x" if has_more(server, begin) else None),
    "truncated": only(truncated=has_more),
    "last": only(last=lambda server, begin: server.last(begin)),
    "limit": only(limit=lambda server, _begin: server.size),
    "in meta": lambda server, _page, _begin, body: body.update(meta={"total": len(server.ids)}),
    "header": lambda server, _page, _begin, _body: {"x-total-count": str(len(server.ids))},
    "other headers": lambda server, _page, _begin, _body: {"x-wp-total": str(len(server.ids))},
    "result_info": lambda server, _page, _begin, body: body.update(result_info={"total_count": len(server.ids)}),
    "metadata": lambda server, _page, begin, body: body.update(
        metadata={
            "continue": "abc" if has_more(server, begin) else "",
            "remainingItemCount": has_more(server, begin) * 7,
        }
    ),
    "cursor": only(cursor=lambda server, begin: "abc" if has_more(server, begin) else None),
    "done": only(done=lambda server, begin: server.last(begin)),
    "more_results_available": only(moreResultsAvailable=has_more),
    **{
        f"{name}: count": only(**{name: count})
        for name in ("recordsTotal", "grand_total", "total_machines", "machine_count", "cnt")
    },
    **{
        f"{name}: cursor": only(**{name: lambda server, begin: "x" if has_more(server, begin) else None})
        for name in ("page_token", "endCursor", "nextStart", "next_batch", "has_more_data")
    },
    **{
        f"{name}: true or false": only(**{name: lambda server, begin: str(server.last(begin)).lower()})
        for name in ("last", "isLastPage", "final", "done", "is_completed")
    },
    "x-continuation-token": lambda server, _page, begin, _body: (
        {} if server.last(begin) else {"x-continuation-token": "x"}
    ),
    "info": lambda server, _page, _begin, body: body.update(info={"count": len(server.ids)}),
    "range": lambda server, _page, begin, _body: {"content-range": f"items 0-{server.size}/{len(server.ids)}"},
}
STYLES = {**{style.__name__: style for style in FOLLOWED}, **REFUSED}


def market(server: Any) -> Market:
    return Market(server)


def listed(server: Server) -> list[str]:
    return [each["resource_id"] for each in market(server).resources()]


IDS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(10)]


@pytest.mark.parametrize("style", FOLLOWED, ids=lambda style: style.__name__)
@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_pages_with_followable_links_are_all_read(style: Any, size: int) -> None:
    assert listed(Server(IDS, size, style)) == IDS


@pytest.mark.parametrize("style", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("size", [1, 9])
def test_list_marked_as_incomplete_is_an_error(style: Any, size: int) -> None:
    server = Server(IDS, size, style)
    with pytest.raises(ApiError, match="GET /resources: the API") as caught:
        listed(server)
    assert caught.value.error_class == "protocol"
    assert len(server.requests) == 1


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES.keys())
def test_single_page_with_all_resources_is_complete(style: Any) -> None:
    assert listed(Server(IDS, 11, style)) == IDS


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES.keys())
def test_empty_list_is_complete(style: Any) -> None:
    assert listed(Server([], 5, style)) == []


@pytest.mark.parametrize("style", FOLLOWED, ids=lambda style: style.__name__)
def test_repeated_first_page_is_an_error(style: Any) -> None:
    with pytest.raises(ApiError, match="do not come to an end"):
        listed(Server(IDS, 5, style, understands=False))


@pytest.mark.parametrize(
    "marks",
    [
        {"page": 0, "pages": 1},
        {"page": {"number": 0, "size": 1, "totalElements": 1, "totalPages": 1}, "last": True},
        {"current_page": 1, "last_page": 1, "per_page": 1, "from": 1, "to": 1, "next_page_url": None},
        {"total": 1, "count": 1, "page": 1, "pages": 1, "limit": 1},
        {"total_price_per_hour": 30.0, "gpu_count": 64, "more_info": "https://example.com/"},
        {"links": {"next": None, "last": "/resources?page=1", "self": "/resources"}},
        {"has_more": False, "limit": 1},
        {"next": None, "limit": 1},
        {"request": {"search": {"filters": {"total": 2}}}},
        {"size": 1},
        {"next_cursor": ""},
        {"last_page": 0, "per_page": 15, "current_page": 1},
        {"previous_page": None, "next_page": None, "total": 1},
        {"count": 0},
        {"errors": [], "error": None, "failed_vendors": [], "failed": 3},
    ],
    ids=str,
)
def test_marks_of_complete_list_are_accepted(marks: Body) -> None:
    assert listed(Server(IDS[:1], 1, lambda *args: args[3].update(marks))) == IDS[:1]


@pytest.mark.parametrize(
    "marks",
    [
        {"next_page": True},
        {"next_page": "two"},
        {"next": {"href": "/resources/2"}},
        {"has_more": False, "total": 2},
        {"next": None, "page": 1, "total_pages": None, "hasNext": "yes"},
        {"limit": 1, "total": None},
        {"limit": 1, "has_more": None},
        {"limit": 1, "count": 1},
        {"page": 1},
        {"offset": 0, "count": 1},
        {"complete": False},
        {"errors": ["nebius did not answer in time"]},
        {"meta": {"failed_vendors": ["nebius"]}},
        {"vendor_errors": {"nebius": "timeout"}},
        {"nextMarker": 7},
        {"@odata.count": 2},
        {"cursor": {"next": "abc"}},
        {"paging": {"next": {"after": "abc"}}},
        {"links": {"next": "/resources/2", "last": "x"}},
    ],
    ids=str,
)
def test_marks_of_incomplete_list_are_errors(marks: Body) -> None:
    with pytest.raises(ApiError, match="GET /resources: "):
        listed(Server(IDS[:1], 1, lambda *args: args[3].update(marks)))


def test_status_206_is_an_error() -> None:
    """Partial content (RFC 9110, 15.3.7)."""
    server = Server(IDS, 5, lambda *_args: None)
    answer = server.exchange("GET", "/resources", {})
    server.exchange = lambda *_args, **_how: Answer(206, True, answer.data)  # type: ignore[method-assign]
    with pytest.raises(ApiError, match="lists only a part"):
        listed(server)


def test_next_link_without_query_is_an_error() -> None:
    for link in ('</resources/2>; rel="last next"', "</resources/2>; rel=next"):
        with pytest.raises(ApiError, match="lists only a part"):
            listed(Server(IDS, 5, lambda *_args, link=link: {"link": link}))  # type: ignore[misc]


def test_content_range_of_unknown_size_is_an_error() -> None:
    with pytest.raises(ApiError, match="lists only a part"):
        listed(Server(IDS, 5, lambda *_args: {"content-range": "items 0-4/*"}))


def test_unrelated_headers_are_ignored() -> None:
    headers = {"x-retry-count": "3", "x-more-info": "yes", "x-nextjs-cache": "HIT", "content-length": "7"}
    assert listed(Server(IDS, 10, lambda *_args: headers)) == IDS


@pytest.mark.parametrize("style", FOLLOWED, ids=lambda style: style.__name__)
def test_machine_that_moves_to_a_page_already_read_is_listed(style: Any) -> None:
    """The first machine ends after the first page was read, so a machine of the second page moves to the first."""

    def end_first(server: Server) -> None:
        if len(server.requests) == 1:
            del server.ids[0]
            server.ids.append("new")

    assert listed(Server(list(IDS), 5, style, between=end_first)) == [*IDS[1:], "new"]


@pytest.mark.parametrize("style", FOLLOWED, ids=lambda style: style.__name__)
def test_machine_bought_while_pages_are_read_is_listed(style: Any) -> None:
    """The newest machine comes first, so the last one of the first page is also on the second page."""

    def add_first(server: Server) -> None:
        if len(server.requests) == 1:
            server.ids.insert(0, "new")

    assert listed(Server(list(IDS), 5, style, between=add_first)) == ["new", *IDS]


def test_list_that_keeps_changing_is_an_error() -> None:
    def rotate(server: Server) -> None:
        server.ids = [*server.ids[1:], f"new-{len(server.requests)}"]

    with pytest.raises(ApiError, match="changes faster than its pages can be read") as caught:
        listed(Server(list(IDS), 4, by_link, between=rotate))
    assert caught.value.transient


ID = st.sampled_from(IDS).flatmap(lambda each: st.sampled_from([each, each.upper().replace("8000", "800A")]))


@settings(max_examples=300, deadline=None)
@given(ids=st.lists(ID, max_size=12), size=st.integers(1, 6), style=st.sampled_from(sorted(STYLES)), data=st.data())
def test_incomplete_list_never_passes_as_complete(ids: list[str], size: int, style: str, data: st.DataObject) -> None:
    """Lists of any style, with upper-case and repeated ids, while machines end or are bought between requests."""
    spelled = [each if data.draw(st.booleans()) else each.upper() for each in ids]
    chance = random.Random(data.draw(st.integers()))
    changes = data.draw(st.integers(0, 3))
    always_listed = {each.lower() for each in ids}

    def change(server: Server) -> None:
        nonlocal changes
        if changes and chance.random() < 0.6:
            changes -= 1
            if server.ids and chance.random() < 0.7:
                gone = server.ids.pop(chance.randrange(len(server.ids)))
                server.ids = [each for each in server.ids if each.lower() != gone.lower()]
                always_listed.discard(gone.lower())
            else:
                server.ids.append(f"new-{changes}")

    server = Server(spelled, size, STYLES[style], data.draw(st.booleans()), between=change)
    try:
        found = listed(server)
    except ApiError as error:
        assert error.error_class == "protocol"
        return
    assert always_listed <= set(found)
    assert len(found) == len(set(found))
    assert all(each == each.lower() for each in found)


# Links and counts


@pytest.fixture
def api() -> Market:
    return Market(HttpClient(BASE, TOKEN, client.USER_AGENT, retries=0))


NEXT = {"page": "2"}


@pytest.mark.parametrize("query", [{}, {"offer_id": OFFER_ID}], ids=["all", "offer"])
@pytest.mark.parametrize(
    "link",
    [
        f"{BASE}/resources?page=2",
        "/resources?page=2",
        "?page=2",
        f"https://thief.example.net/steal?page=2#{TOKEN}",
        f"http://me:{TOKEN}@127.0.0.1:9/?page=2",
    ],
)
def test_only_the_query_of_a_next_link_is_used(
    queue: RequestQueue, api: Market, link: str, query: dict[str, str]
) -> None:
    following = {"items": [resource(SECOND_RESOURCE_ID)], "next": None}
    for _reading in range(2):
        queue.expect("GET", "/resources", {"items": [resource()], "next": link}, query=query)
        queue.expect("GET", "/resources", following, query={**query, **NEXT})
    found = api.resources(query.get("offer_id"))
    assert [item["resource_id"] for item in found] == [RESOURCE_ID, SECOND_RESOURCE_ID]
    assert {call.headers["Authorization"] for call in queue.calls} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("link", [None, "", False, 0, [], {}], ids=str)
def test_empty_next_link_ends_the_list(link: Any) -> None:
    assert len(canned({"items": [resource()], "next": link}).resources()) == 1


@pytest.mark.parametrize("link", ["cursor", "/resources/2", "?", "?page=", "?page", 2, True, ["?page=2"], {"page": 2}])
def test_next_link_without_usable_query_is_an_error(link: Any) -> None:
    error = error_of(METHODS["resources"], canned({"items": [resource()], "next": link}))
    assert (error.error_class, error.transient) == ("protocol", False)
    assert "lists only a part" in str(error)


@pytest.mark.parametrize("second_page", [[resource()], [resource(name="other")]], ids=["same", "same id"])
def test_page_without_new_resources_is_an_error(queue: RequestQueue, api: Market, second_page: list[Any]) -> None:
    queue.expect("GET", "/resources", {"items": [resource()], "next": "?page=2"})
    queue.expect("GET", "/resources", {"items": second_page, "next": "?page=3"}, query=NEXT)
    error = error_of(lambda api: api.resources(), api)
    assert (error.error_class, error.transient) == ("protocol", False)
    assert str(error) == "GET /resources: the API's pages do not come to an end."


class Pages(Canned):
    """Replaces the HTTP client; each page has new resources and a link to the next page, up to page ``last``."""

    def __init__(self, size: int, last: float = math.inf) -> None:
        super().__init__()
        self.size, self.last, self.pages = size, last, 0

    def exchange(self, *_request: Any, query: dict[str, str], **_how: Any) -> Answer:
        self.pages += 1
        page = int(query.get("page", 1))
        items = [{"resource_id": f"r-{page}-{number}"} for number in range(self.size)]
        following = f"?page={page + 1}" if page < self.last else None
        return Answer(200, True, {"items": items, "next": following})


def test_endless_pages_are_an_error() -> None:
    http: Any = Pages(1)
    assert "do not come to an end" in str(error_of(lambda api: api.resources(), Market(http)))
    assert http.pages == client.MOST_PAGES


def test_ten_thousand_machines_on_four_pages_are_listed() -> None:
    http: Any = Pages(2500, 4)
    assert len(Market(http).resources()) == 10_000


def test_failing_page_fails_the_whole_list(queue: RequestQueue, api: Market) -> None:
    queue.expect("GET", "/resources", {"items": [resource()], "next": "?page=2"})
    queue.expect("GET", "/resources", {}, 500, query=NEXT)
    assert error_of(lambda api: api.resources(), api).status_code == 500


def test_resource_on_two_pages_is_listed_once(queue: RequestQueue, api: Market) -> None:
    first = {"items": [resource(), resource("r2")], "next": "?page=2", "total_count": 3}
    for _reading in range(2):
        queue.expect("GET", "/resources", first)
        queue.expect("GET", "/resources", {"items": [resource("r2"), resource("r3")], "total_count": 3}, query=NEXT)
    assert [item["resource_id"] for item in api.resources()] == [RESOURCE_ID, "r2", "r3"]


@pytest.mark.parametrize("states", [["deleted", "running"], ["running", "deleted"], ["terminated", "stopped"]])
def test_duplicate_id_lists_the_live_resource(states: list[str]) -> None:
    """A list that shows an ended and a live machine under one id must not hide the live one."""
    (listed_resource,) = canned([resource(status=state) for state in states]).resources()
    assert listed_resource["status"] in ("running", "stopped")


@pytest.mark.parametrize("nameless", [None, 7, {}, ""], ids=str)
def test_resources_without_id_are_all_listed(nameless: Any) -> None:
    found = canned({"items": [resource(nameless), resource(nameless)], "total_count": 2}).resources()
    assert [item["resource_id"] for item in found] == [None, None]


@pytest.mark.parametrize("count", [2, "2", 2.0])
def test_list_shorter_than_its_count_is_an_error(count: Any) -> None:
    for items in ([resource()], [resource(), resource()]):
        error = error_of(METHODS["resources"], canned({"items": items, "total_count": count}))
        assert (error.error_class, error.transient) == ("protocol", False)
        assert str(error) == "GET /resources: the API counts 2 resources, but lists only 1."


@pytest.mark.parametrize("count", [1, 0, -1, None, True, "many", "", [2], {"relation": 2}, float("inf")], ids=str)
def test_smaller_or_unreadable_count_is_ignored(count: Any) -> None:
    assert len(canned({"items": [resource()], "total_count": count}).resources()) == 1
