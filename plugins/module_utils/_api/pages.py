# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a list of the API is whole, and how its next page is read. Knows neither Ansible nor HTTP.

No page of the API's documentation shows paging. So every mark counts by which other APIs say that a list goes on: in
the envelope, in objects in it that are about pages, and in the answer's headers. What can be read is read; a list that
is not known to be whole is an error. An answer without such a mark is whole.
"""

from __future__ import annotations

import functools
import json
import re
import typing as t
from dataclasses import dataclass
from urllib.parse import parse_qsl

from .._text import grouped, letters_of, mapping_of, mappings_in, number_of

# What a mark is about, by its name in small letters without what stands between the words. Other words may stand before
# it: `x-total-count` and `itemCount` mean the same as `total_count` and `count`.
_THINGS = r"items?|resources?|results?|records?|entries|elements?|objects?|rows?|machines?|instances?|hits|matches"
_BEFORE = rf"(?:x|ms|wp|odata|list|{_THINGS}|pagination|paging)*?"
_KINDS = {
    "next page": r"nextpage|pagenext",
    "next": r"next|next(?:page|records)?(?:link|url|href|uri)",
    "next cursor": r"nextcursor",
    "next token": (
        r"next\w*(?:cursor|token|marker|key|offset|id|start|after|from|batch)|continu\w*|cursornext|lastevaluatedkey"
        r"|resumetoken|searchafter|startingafter"
    ),
    "cursor": r"(?:page|end)?cursor|pagetoken|marker|scrollid|bookmark",
    "pages": r"(?:total|num|numberof)?pages|page(?:count|total)|pagestotal|totalpages|lastpage",
    "page": r"page|currentpage|pagenumber|pageindex|number",
    "offset": r"offset|skip",
    "total": (
        rf"(?:grand|overall)?total(?:count|num(?:ber)?(?:of)?|size)?(?:{_THINGS})?|fullcount"
        rf"|(?:count|num|nb|n|size)(?:of)?total|(?:num|nb)?(?:found|matched)"
    ),
    "count": rf"count|cnt|(?:num|number)(?:of)?(?:{_THINGS})",
    "more": (
        rf"(?:has)?(?:more|additional)(?:pages|data|{_THINGS})?(?:available)?|hasnext(?:page)?"
        r"|(?:is)?truncated|incomplete\w*|(?:is)?partial\w*|remaining\w*"
        r"|(?:vendor|provider)?errors?|(?:failed|unavailable|unreachable|missing|skipped)(?:vendor|provider|region)s?"
    ),
    "whole": (
        r"(?:is)?(?:completed?|last|final|finished)|islastpage|done|eof|exhausted"
        r"|(?:is|at)?end(?:ofthe|of)?(?:list|items)?"
    ),
    "limit": r"limit|pagesize|perpage|pagelimit|maxresults|maxitems",
    "size": r"size",
}
_NAMES = {kind: re.compile(f"{_BEFORE}(?:{names})") for kind, names in _KINDS.items()}
# The objects and headers that have such marks. Objects may be in one another.
_ABOUT = re.compile(r"^info$|(?:response)?(?:meta|metadata|pag\w+|links?|cursors?|range|result(?:set)?info|total|hits)")
_DEEPEST = 4
_HEADER = re.compile(
    r"link|content-range|(?:x-)?(?:\w+-)?count"
    r"|.*(?:total|page|paging|pagination|next|cursor|marker|more|continu|truncat|partial|complete|is-last).*",
    re.IGNORECASE,
)
_NO = frozenset({"", "0", "false", "no", "n", "none", "null"})

Marks = t.Mapping[str, t.Sequence[t.Any]]


class Incomplete(ValueError):
    """A list that is not known to be whole, and why: a part of a sentence."""


@dataclass(frozen=True)
class Page:
    """An answer as a part of a list. ``items``: how many resources it has; ``read``: how many were read with it.

    ``first``: the number by which the first page calls itself; None on that page itself.
    """

    marks: Marks
    items: int
    read: int
    first: float | None = None

    @property
    def number(self) -> float:
        """The number by which it calls itself: of first pages 0 or 1."""
        return self._number("page", default=1)

    @property
    def following(self) -> dict[str, str] | None:
        """The query of the next page; None if this is the last one and all were read. Raises Incomplete."""
        if self.first is None and (self.number > 1 or self._number("offset")):
            raise Incomplete("the API does not begin its list with the first page.")
        query = self._by_link() or self._by_cursor() or self._by_number() or self._by_offset()
        if not query:
            self._check_end()
        return query or None

    def _by_link(self) -> dict[str, str]:
        """Only the query of the link is taken, so that no answer decides where the token is sent."""
        pages = self._all("next page")
        link = next((item for item in map(_target, [*self._all("next"), *pages]) if item), None)
        if not link or (number_of(link) and link in pages):
            return {}
        query = dict(parse_qsl(link.partition("?")[2].partition("#")[0])) if isinstance(link, str) else {}
        if not query:
            raise Incomplete(_PARTLY)
        return query

    def _by_cursor(self) -> dict[str, str]:
        cursor = next(filter(None, self._all("next cursor")), None)
        if (cursor or any(self._all("next token"))) and not isinstance(cursor, str):
            raise Incomplete(_PARTLY)
        return {"cursor": cursor} if isinstance(cursor, str) else {}

    def _by_number(self) -> dict[str, str]:
        following = self._number("next page")
        first, pages = self.number if self.first is None else self.first, self._number("pages")
        goes_on = self.items > 0 and self._number("total") > self.read
        if following or self.number - first + 1 < pages or (self._has("page") and (goes_on or self._may_go_on)):
            return {"page": f"{following or self.number + 1:.0f}"}
        return {}

    def _by_offset(self) -> dict[str, str]:
        end = self._number("offset") + self.items
        goes_on = self.items > 0 and (end < self._number("total") or self._may_go_on)
        return {"offset": f"{end:.0f}"} if self._has("offset") and goes_on else {}

    @property
    def _is_told(self) -> bool:
        """Whether any mark says whether there is more."""
        return any(kind in self.marks for kind in ("next", "next page")) or self._has("pages", "total", "more")

    @property
    def _may_go_on(self) -> bool:
        """Whether the page is full, or may be, and no mark says that it is the last one."""
        limits = ("limit", "size") if self._has("page", "offset") else ("limit",)
        is_paged = self._has(*limits, "page", "offset")
        return is_paged and not self._is_told and self.items > 0 and self.items >= self._number(*limits)

    def _check_end(self) -> None:
        """Raise Incomplete if any mark says, or leaves open, that there is more."""
        count = self._number("total", "count")
        if count > self.read:
            raise Incomplete(f"the API counts {count:.0f} resources, but lists only {self.read}.")
        whole = self._whole
        if any(map(_is_yes, self._all("more"))) or not all(whole):
            raise Incomplete(_PARTLY)
        if whole:
            return
        if self._may_go_on:
            raise Incomplete(f"the API lists {self.items} resources, its limit, and does not say that these are all.")
        if self._has_lone_cursor:
            raise Incomplete(_PARTLY)

    @property
    def _whole(self) -> list[bool]:
        """Whether this is all, by each mark that says so; ``last`` may be a link as well."""
        said = (str(item).strip().lower() for item in self._all("whole", "pages"))
        return [item == "true" for item in said if item in ("true", "false")]

    @property
    def _has_lone_cursor(self) -> bool:
        """Whether a cursor may be the next page's. Beside a mark of that one it is this page's."""
        is_cursor = self._has("cursor") and any(self._all("cursor"))
        return is_cursor and not (self._is_told or {"next cursor", "next token"}.intersection(self.marks))

    def _has(self, *kinds: str) -> bool:
        """Whether one of these marks says anything in a word or a number."""
        return any(isinstance(value, (str, int, float)) for value in self._all(*kinds))

    def _all(self, *kinds: str) -> list[t.Any]:
        return [value for kind in kinds for value in self.marks.get(kind, ())]

    def _number(self, *kinds: str, default: float = 0.0) -> float:
        """The largest of these marks that is a number."""
        return max((item for item in map(number_of, self._all(*kinds)) if item is not None), default=default)


def is_whole(data: t.Any, items: int) -> bool:
    """Whether nothing in an answer of so many resources says, or leaves open, that there are more."""
    try:
        return Page(marks_of(data, 200, {}), items, items).following is None
    except Incomplete:
        return False


_PARTLY = "the API lists only a part, and does not say how to read the rest."


def headers_of(headers: t.Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer that may be such marks, by names in small letters."""
    return {name.lower(): value for name, value in headers.items() if _HEADER.fullmatch(name)}


def marks_of(data: t.Any, status: int, headers: t.Mapping[str, str]) -> Marks:
    """The marks of an answer by their kinds: of its JSON, its status, and its headers (`headers_of`)."""
    pairs = [
        *_pairs(mapping_of(data)),
        *_pairs({name: _in_json(value) for name, value in headers.items()}),
        *(("next", url) for url in _next_links(headers.get("link"))),
        *_range_marks(status, headers.get("content-range")),
    ]
    kinds = ((_kind(name), value) for name, value in pairs)
    return grouped((kind, value) for kind, value in kinds if kind)


def _range_marks(status: int, content_range: str | None) -> list[tuple[str, t.Any]]:
    """The total at the end of a header Content-Range; an answer without a total is a part."""
    if content_range is None:
        return [("partial", True)] if status == 206 else []
    total = content_range.rpartition("/")[2]
    return [("total", total) if number_of(total) is not None else ("partial", True)]


def _in_json(header: str) -> t.Any:
    """A header that has an object, as that."""
    try:
        return json.loads(header) if header.lstrip().startswith("{") else header
    except (ValueError, RecursionError):
        return header


def _pairs(part: t.Any, depth: int = 1) -> t.Iterator[tuple[str, t.Any]]:
    """Names and values in an envelope, and in what is about pages there: objects, and lists of links."""
    for name, value in _items_of(part):
        yield name, value
        if _ABOUT.search(letters_of(name)) and depth < _DEEPEST:
            yield from ((name if item == "value" else item, entry) for item, entry in _pairs(value, depth + 1))


def _items_of(part: t.Any) -> t.Iterable[tuple[str, t.Any]]:
    """Names and values of an object, or of a list's links."""
    if isinstance(part, dict):
        return part.items()
    return [(str(link.get("rel")), link.get("href")) for link in mappings_in(part)]


@functools.lru_cache(maxsize=1024)
def _kind(name: str) -> str:
    """What a mark of this name is about; empty for what is none."""
    plain = letters_of(name)
    return next((kind for kind, names in _NAMES.items() if names.fullmatch(plain)), "")


def _target(link: t.Any) -> t.Any:
    """Where a link leads: some are objects (HAL)."""
    return link.get("href") or link.get("url") or link if isinstance(link, dict) else link


def _next_links(header: t.Any) -> list[str]:
    """The targets of a header Link (RFC 8288) that lead to the next page."""
    found = re.findall(r"<([^>]*)>([^<]*)", header) if isinstance(header, str) else []
    return [url for url, about in found if re.search(r"""rel\s*=\s*["']?[^"';,]*\bnext\b""", about, re.IGNORECASE)]


def _is_yes(value: t.Any) -> bool:
    return str(value).strip().lower() not in _NO if isinstance(value, (str, int, float)) else bool(value)
