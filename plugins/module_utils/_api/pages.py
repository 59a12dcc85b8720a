# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a list of the API is whole, and how its next page is read. Knows neither Ansible nor HTTP.

No page of the API's documentation shows paging. So every mark counts by which other APIs say that a list goes on: in
the envelope, in objects in it that are about pages, and in the answer's headers. What can be read is read; a list that
is not known to be whole is an error. An answer without such a mark is whole.

This module util is private to the collection.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from urllib.parse import parse_qsl

from .._text import grouped, number_of

#: The headers of an answer that may be such marks, in small letters.
HEADERS = ("link", "content-range", "x-total", "x-total-count", "x-total-pages", "x-next-page", "x-page", "x-has-more")

# Names of marks, in small letters and without what stands between their words.
_ABOUT_PAGES = (
    *("meta", "metadata", "responsemetadata", "pagination", "paginator", "paging", "pageinfo", "page", "links"),
    *("cursor", "cursors"),
)
_NEXT = ("next", "nextlink", "nexturl", "nexthref", "nextpageurl", "nextpagelink", "odatanextlink", "nextpage")
_NEXT_PAGE = ("nextpage", "xnextpage")
_CURSOR = re.compile(r"next\w*(cursor|token|marker|key|offset|id)|continuation\w*|cursornext|lastevaluatedkey")
_PAGE = ("page", "currentpage", "pagenumber", "pageindex", "number", "xpage")
_PAGES = ("pages", "totalpages", "pagecount", "pagestotal", "numpages", "numberofpages", "lastpage", "xtotalpages")
_OFFSET = ("offset", "skip")
_TOTAL = (
    *(
        "total",
        "totalcount",
        "odatacount",
        "resourcestotal",
        "totalitems",
        "totalresults",
        "totalelements",
        "totalresources",
        "totalsize",
    ),
    *("totalhits", "totalrecords", "xtotal", "xtotalcount"),
)
_COUNT = (
    "count",
    "resourcescount",
    "numresources",
    "itemcount",
    "itemscount",
    "resourcecount",
    "numitems",
    "numresults",
)
_MORE = (
    *("hasmore", "hasnext", "hasnextpage", "hasmorepages", "hasmoreitems", "hasmoreresults", "xhasmore", "more"),
    *(
        "moreresults",
        "moreavailable",
        "remaining",
        "truncated",
        "istruncated",
        "incomplete",
        "incompleteresults",
        "partial",
    ),
)
_WHOLE = ("complete", "iscomplete", "islast", "islastpage", "last")
_LIMIT = ("limit", "pagesize", "perpage", "pagelimit", "maxresults", "maxitems")
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
        return self._number(_PAGE, 1)

    @property
    def following(self) -> dict[str, str] | None:
        """The query of the next page; None if this is the last one and all were read. Raises Incomplete."""
        if self.first is None and (self.number > 1 or self._number(_OFFSET)):
            raise Incomplete("the API does not begin its list with the first page.")
        query = self._by_link() or self._by_cursor() or self._by_number() or self._by_offset()
        if not query:
            self._check_end()
        return query or None

    def _by_link(self) -> dict[str, str]:
        """Only the query of the link is taken, so that no answer decides where the token is sent."""
        link = next((each for each in map(_target, self._all(_NEXT)) if each), None)
        if not link or (number_of(link) and link in self._all(_NEXT_PAGE)):
            return {}
        query = dict(parse_qsl(link.partition("?")[2].partition("#")[0])) if isinstance(link, str) else {}
        return query or _raise(_PARTLY)

    def _by_cursor(self) -> dict[str, str]:
        cursors = {name: value for name in self.marks if _CURSOR.fullmatch(name) for value in self.marks[name] if value}
        cursor = cursors.get("nextcursor")
        if cursors and not isinstance(cursor, str):
            raise Incomplete(_PARTLY)
        return {"cursor": str(cursor)} if cursors else {}

    def _by_number(self) -> dict[str, str]:
        following = self._number(_NEXT_PAGE)
        first, pages = self.number if self.first is None else self.first, self._number(_PAGES)
        if following or self.number - first + 1 < pages or (self._has(_PAGE) and self._may_go_on):
            return {"page": f"{following or self.number + 1:.0f}"}
        return {}

    def _by_offset(self) -> dict[str, str]:
        end = self._number(_OFFSET) + self.items
        goes_on = self.items > 0 and (end < self._number(_TOTAL) or self._may_go_on)
        return {"offset": f"{end:.0f}"} if self._has(_OFFSET) and goes_on else {}

    @property
    def _may_go_on(self) -> bool:
        """Whether the page is full, or may be, and no mark says that it is the last one."""
        limits = (*_LIMIT, "size") if self._has((*_PAGE, *_OFFSET)) else _LIMIT
        is_told = any(name in self.marks for name in (*_NEXT, *_NEXT_PAGE)) or self._has((*_PAGES, *_TOTAL, *_MORE))
        is_paged = self._has((*limits, *_PAGE, *_OFFSET))
        return is_paged and not is_told and self.items > 0 and self.items >= self._number(limits)

    def _check_end(self) -> None:
        """Raise Incomplete if any mark says, or leaves open, that there is more."""
        count = self._number((*_TOTAL, *_COUNT))
        if count > self.read:
            raise Incomplete(f"the API counts {count:.0f} resources, but lists only {self.read}.")
        # ``last`` may be a link as well.
        if any(map(_is_yes, self._all(_MORE))) or any(value is False for value in self._all(_WHOLE)):
            raise Incomplete(_PARTLY)
        if self._may_go_on and not any(value is True for value in self._all(_WHOLE)):
            raise Incomplete(f"the API lists {self.items} resources, its limit, and does not say that these are all.")

    def _has(self, names: t.Iterable[str]) -> bool:
        """Whether one of these marks says anything in a word or a number."""
        return any(isinstance(value, (str, int, float)) for value in self._all(names))

    def _all(self, names: t.Iterable[str]) -> list[t.Any]:
        return [value for name in names for value in self.marks.get(name, ())]

    def _number(self, names: t.Iterable[str], default: float = 0.0) -> float:
        """The largest of these marks that is a number."""
        return max((each for each in map(number_of, self._all(names)) if each is not None), default=default)


def is_whole(data: t.Any, items: int) -> bool:
    """Whether nothing in an answer of so many resources says, or leaves open, that there are more."""
    try:
        return Page(marks_of(data, 200, {}), items, items).following is None
    except Incomplete:
        return False


_PARTLY = "the API lists only a part, and does not say how to read the rest."


def _raise(reason: str) -> t.NoReturn:
    raise Incomplete(reason)


def marks_of(data: t.Any, status: int, headers: t.Mapping[str, str]) -> Marks:
    """The marks of an answer: its JSON, its status, and those of its headers that are in `HEADERS`."""
    envelope = data if isinstance(data, dict) else {}
    about = [part for name, part in envelope.items() if _plain(name) in _ABOUT_PAGES]
    pairs = [*envelope.items(), *(pair for part in about for pair in _pairs(part)), *headers.items()]
    marks = grouped((_plain(name), value) for name, value in pairs)
    links = [url for text in marks.get("link", ()) for url in _next_links(text)]
    total = [text.rpartition("/")[2] for text in map(str, marks.pop("contentrange", ()))]
    return {
        **marks,
        **({"next": [*marks.get("next", ()), *links]} if links else {}),
        **({"total": [*marks.get("total", ()), *total]} if total else {}),
        **({"partial": [True]} if status == 206 and not total else {}),
    }


def _pairs(part: t.Any) -> t.Iterable[tuple[str, t.Any]]:
    """Names and values in an object about pages, or in a list of links."""
    if isinstance(part, dict):
        return part.items()
    links = [each for each in part if isinstance(each, dict)] if isinstance(part, list) else []
    return [(str(each.get("rel")), each.get("href")) for each in links]


def _plain(name: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _target(link: t.Any) -> t.Any:
    """Where a link leads: some are objects (HAL)."""
    return link.get("href") or link.get("url") or link if isinstance(link, dict) else link


def _next_links(header: t.Any) -> list[str]:
    """The targets of a header Link (RFC 8288) that lead to the next page."""
    found = re.findall(r"<([^>]*)>([^<]*)", header) if isinstance(header, str) else []
    return [url for url, about in found if re.search(r"""rel\s*=\s*["']?[^"';,]*\bnext\b""", about, re.IGNORECASE)]


def _is_yes(value: t.Any) -> bool:
    return str(value).strip().lower() not in _NO if isinstance(value, (str, int, float)) else bool(value)
