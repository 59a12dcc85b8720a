# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A queue of the requests that the code under test must send, in this order, with their answers."""

from __future__ import annotations

import json
from typing import Any

import requests
import responses
import yaml
from responses.registries import OrderedRegistry

import samples

UNCHECKED: Any = object()


class Registry(OrderedRegistry):
    """The queue of `responses`, which records mismatches: to the code under test they look like a lost connection.

    ``shown``: standing answers by path. They may be read any number of times, or never.
    """

    def __init__(self) -> None:
        super().__init__()
        self.complaints: list[str] = []
        self.shown: dict[str, responses.Response] = {}

    def find(self, request: Any) -> Any:
        is_next = bool(self.registered) and self.registered[0].matches(request)[0]
        if not is_next and request.method == "GET" and request.path_url in self.shown:
            return self.shown[request.path_url], []
        found, reasons = super().find(request)
        if found is None:
            self.complaints.append(f"{request.method} {request.url}: {' '.join(reasons)}")
        return found, reasons


class RequestQueue:
    """The expected requests. An unexpected or a missing one fails the test; `complaints` lists them."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self._mock = mock

    @property
    def calls(self) -> list[Any]:
        """The requests that were sent so far."""
        return [call.request for call in self._mock.calls]

    @property
    def timeouts(self) -> list[tuple[float, float]]:
        """For each request the limits in seconds for connecting and for the whole exchange."""
        given = [call.req_kwargs["timeout"] for call in self.calls]
        return [(round(timeout.connect_timeout, 1), round(timeout.total, 1)) for timeout in given]

    def count(self, method: str, path: str) -> int:
        """The number of requests with this method and path, whatever their query."""
        return sum(call.method == method and call.path_url.partition("?")[0] == path for call in self.calls)

    def expect(
        self,
        method: str,
        path: str,
        answer: Any = UNCHECKED,
        status: int = 200,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        body: Any = UNCHECKED,
        times: int = 1,
    ) -> RequestQueue:
        """Expect a request. ``answer``: data for a JSON body, raw bytes, or an exception to raise.

        ``body``: the decoded body that the request must have.
        """
        if isinstance(answer, bytes | Exception):
            content: Any = answer
        else:
            content = json.dumps({} if answer is UNCHECKED else answer)
        matchers = [responses.matchers.query_param_matcher(query or {})]
        if body is not UNCHECKED:
            matchers.append(_carries(body))
        for _time in range(times):
            self._mock.add(
                responses.Response(
                    method, samples.BASE + path, body=content, status=status, headers=headers, match=matchers
                )
            )
        return self

    def expect_free_offer(self, **details: Any) -> RequestQueue:
        """Expect the two reads before each purchase, for an offer that is free: its status and its details."""
        self.expect("GET", samples.STATUS_PATH, samples.status())
        return self.expect("GET", samples.OFFER_PATH, samples.offer(**details))

    def expect_resources(self, *resources: Any, status: int = 200) -> RequestQueue:
        """Expect the list of the offer's resources."""
        return self.expect("GET", "/resources", list(resources), status, query={"offer_id": samples.OFFER_ID})

    def show(self, resource: dict[str, Any], answer: Any = None, status: int = 200) -> RequestQueue:
        """Let the API show a resource whenever it is read by its id with ``force_refresh``.

        ``answer``, ``status``: another answer to these reads.
        """
        path = f"/resources/{resource['resource_id']}?force_refresh=true"
        registry: Any = self._mock.get_registry()
        body = json.dumps(resource if answer is None else answer)
        registry.shown[path] = responses.Response("GET", samples.BASE + path, body=body, status=status)
        return self

    def list_no_resources_of(self, offer_id: str) -> RequestQueue:
        """Let the API list no resource of an offer, unless the queue expects that list."""
        path = f"/resources?offer_id={offer_id}"
        registry: Any = self._mock.get_registry()
        registry.shown[path] = responses.Response("GET", samples.BASE + path, body="[]")
        return self

    def list_gpus(self, catalog: Any) -> RequestQueue:
        """Let the API list these GPUs, unless the queue expects that list."""
        registry: Any = self._mock.get_registry()
        body = json.dumps(catalog)
        registry.shown["/available_gpus"] = responses.Response("GET", f"{samples.BASE}/available_gpus", body=body)
        return self

    @property
    def complaints(self) -> list[str]:
        """The unexpected requests, and those that were expected and not sent."""
        registry: Any = self._mock.get_registry()
        missing = [f"{request.method} {request.url} was not sent" for request in registry.registered]
        return list(dict.fromkeys(registry.complaints + missing))


def sent_body(request: Any) -> Any:
    """The decoded body of a request."""
    content = getattr(request.body, "getvalue", lambda: request.body)()
    return yaml.safe_load(content) if request.headers["Content-Type"] == "application/yaml" else json.loads(content)


def _carries(expected: Any) -> Any:
    def match(request: Any) -> tuple[bool, str]:
        return sent_body(request) == expected, f"its body is {sent_body(request)}"

    return match


LOST = requests.ConnectionError("the connection was lost")
