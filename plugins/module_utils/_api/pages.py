# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a list of the API is whole, and how its next page is read. Knows no Ansible.

No page of the API's documentation shows paging. A standard link to the next page is followed. Any other sign that there
is more, as other APIs give it, makes the list an error: machines that are left out would bill unseen.
"""

from __future__ import annotations

import re
import typing as t
from urllib.parse import parse_qsl

from .._text import grouped, letters_of, mapping_of, mappings_in, number_of
from .http import Answer

# What a field or header says of a list, by its name in small letters without what stands between the words.
_KINDS = {
    "more": re.compile(
        r".*(?:next|cursor|continu|marker|pagetoken|truncated|partial|incomplete).*|(?:has)?(?:more|additional)(?!info).*"
        r"|xhasmore|(?:vendor|provider)?errors?|(?:failed|unavailable|unreachable|missing|skipped).+"
    ),
    "count": re.compile(r"count|cnt"),  # of the whole list, or of one page
    "total": re.compile(
        r"(?:x|xwp|grand)?total|(?:odata|xtotal|total|full|item|resource|result|record|machine)s?"
        r"(?:total|count|items|resources|results|records|elements|entries|machines)"
    ),
    "pages": re.compile(r"(?:x|xwp|num)?(?:total)?pages|page(?:s?total|count)|lastpage"),
    "end": re.compile(r"(?:is)?(?:last|lastpage|done|final|completed?)"),
    "limit": re.compile(r"limit|pagesize|perpage|maxresults"),
}
_HEADERS = (
    *("x-total", "x-total-count", "x-total-pages", "x-wp-total", "x-wp-totalpages"),
    *("x-next-page", "x-next-cursor", "x-has-more", "x-continuation-token"),
)
_DEEPEST = 3  # objects in one another: {"meta": {"pagination": {"total": 9}}}
_NO = ("", "0", "false", "no", "none", "null")


def next_query(answer: Answer) -> dict[str, str]:
    """The query of the next page, by a header Link (RFC 8288) or a URL in ``next``; empty if neither names one.

    No more of a link is taken, so that no answer decides where the token is sent.
    """
    body = mapping_of(answer.data)
    header = re.search(r'<([^>]*)>[^<,]*;\s*rel\s*=\s*"?next\b', answer.headers.get("link") or "", re.IGNORECASE)
    link = header[1] if header else body.get("next")
    return dict(parse_qsl(link.partition("?")[2].partition("#")[0])) if isinstance(link, str) else {}


def why_partial(answer: Answer, items: int, read: int, pages: int = 1) -> str:
    """Why a list that ends with this answer is not known to be whole, as a part of a sentence; empty if it is.

    ``items``: how many the answer has; ``read``: how many resources were read with all its ``pages``.
    """
    marks = grouped((kind, value) for name, value in _said(answer) for kind in _KINDS if _KINDS[kind].fullmatch(name))
    count = _most(*marks.get("count", ()), *marks.get("total", ()))
    if count > read:
        return f"the API counts {count:.0f} resources, but lists only {read}."
    pages_more = _most(*marks.get("pages", ())) > pages
    if pages_more or any(map(_is_yes, marks.get("more", ()))) or not all(map(_is_yes, marks.get("end", ()))):
        return "the API lists only a part, and does not say how to read the rest."
    if 0 < _most(*marks.get("limit", ())) <= items and not marks.keys() & {"more", "total", "pages", "end"}:
        return f"the API lists {items} resources, its limit, and does not say that these are all."
    return ""


def _said(answer: Answer) -> t.Iterator[tuple[str, t.Any]]:
    """What the envelope and the headers of an answer say of its list, by plain names; None says nothing."""
    if answer.status == 206:
        yield "partial", True
    yield from _fields(mapping_of(answer.data))
    yield from ((letters_of(name), answer.headers[name]) for name in _HEADERS if name in answer.headers)
    if content_range := answer.headers.get("content-range"):
        total = content_range.rpartition("/")[2]
        yield ("partial", True) if number_of(total) is None else ("total", total)


def _fields(part: t.Mapping[str, t.Any], depth: int = 1) -> t.Iterator[tuple[str, t.Any]]:
    """The fields of an object and of the objects in it, also lists of links by their relation."""
    for name, value in part.items():
        plain = letters_of(name)
        if value is not None or "next" in plain:
            yield plain, value
        if depth < _DEEPEST:
            yield from _fields(mapping_of(value), depth + 1)
        if "link" in plain:
            yield from ((letters_of(link.get("rel")), link.get("href")) for link in mappings_in(value))


def _most(*values: t.Any) -> float:
    return max(filter(None, map(number_of, values)), default=0.0)


def _is_yes(value: t.Any) -> bool:
    return value.strip().lower() not in _NO if isinstance(value, str) else bool(value)
