# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules by which a request goes wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class Fault:
    """One rule. It counts the requests that match it, and is in force from the ``nth`` on for ``count`` of them.

    A rule without ``status`` and ``cut`` only delays. The first rule in force is applied, all matching ones count.
    """

    method: str | None = None
    """None: any."""
    path: str = "/"
    """Prefix of the path, as a regular expression: ``/offers/[^/]+/status``, ``/offers/[^/]+$``."""
    sent: str | None = None
    """What the request's body must hold, as a regular expression; None: anything."""
    nth: int = 1
    count: int | None = 1
    """None: for ever."""
    delay: float = 0
    """Seconds before anything else happens."""
    status: int | None = None
    """Answer this instead of the API's own answer."""
    headers: dict[str, str] = field(default_factory=dict)
    """With ``status``: these and no other headers, except a Content-Length where none is given."""
    body: Any = b""
    """With ``status``: bytes, a text, or what becomes JSON."""
    process: bool = False
    """With ``status``: whether the API does what it was asked to before the fault's answer is sent."""
    cut: Literal["before", "after", "within"] | None = None
    """Close the connection: before the API hears of the request; after it did its work, without a byte of an answer;
    or after half of the body, with a Content-Length that promised all of it."""
    seen: int = field(default=0, init=False)
    """Matching requests so far."""

    def counts(self, method: str, path: str, body: str) -> bool:
        """Count a request if it matches; whether the rule is in force for it."""
        if self.method not in (None, method) or not re.match(self.path, path) or not re.search(self.sent or "", body):
            return False
        self.seen += 1
        return self.seen >= self.nth and (self.count is None or self.seen < self.nth + self.count)

    def answer(self) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body of a rule with ``status``."""
        headers, body = dict(self.headers), self.body
        if isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **headers}
        if "content-length" not in (name.lower() for name in headers):
            headers["Content-Length"] = str(len(body))
        return self.status or 200, [(name.encode(), value.encode()) for name, value in headers.items()], body


def first_in_force(rules: Iterable[Fault], method: str, path: str, body: str) -> Fault | None:
    """The rule to apply; every matching one counts the request."""
    return next(iter([each for each in rules if each.counts(method, path, body)]), None)
