# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between server and API: records each request, and applies faults."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from .faults import Fault, first_in_force
from .market import Clock, utc_now

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Reply = tuple[int, list[tuple[bytes, bytes]], bytes]
LOG = logging.getLogger("simulator")


@dataclass
class Request:
    """A request. ``status``: of its answer; None without one."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    """Names in lower case; the value of ``authorization`` is ``***``."""
    body: str
    time: datetime
    client: tuple[str, int]
    """Address and port of the other end: the same for all requests of a connection."""
    status: int | None = None

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Wire:
    """An ASGI application around another. ``disconnect(client)`` closes that client's connection.

    Answers have the ``Date`` of its clock.
    """

    def __init__(self, app: App, disconnect: Callable[[tuple[str, int]], None], clock: Clock = utc_now) -> None:
        self.app = app
        self.clock = clock
        self.disconnect = disconnect
        self.requests: list[Request] = []
        self.faults: list[Fault] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request. It is no error if the simulator stops in the middle."""
        with suppress(asyncio.CancelledError):
            await self._exchange(scope, receive, send)

    async def _exchange(self, scope: Message, receive: Receive, send: Send) -> None:
        begin = time.monotonic()
        request = self._note(scope, await read(receive))
        fault = first_in_force(list(self.faults), request.method, request.path, request.body)
        if fault:
            await asyncio.sleep(fault.delay)
        send = self._dated(send)
        if fault is None or not fault.cut:
            await deliver(send, await self._reply(fault, scope, request, receive), request)
        else:
            if fault.cut != "before":
                reply = await self._reply(fault, scope, request, receive)
            if fault.cut == "within":
                await deliver(send, reply, request, half=True)
            self.disconnect(tuple(scope["client"]))
            while (await receive())["type"] != "http.disconnect":
                pass
        LOG.info(
            "%s %s %s %.0f ms", request.method, request.path, request.status or "cut", (time.monotonic() - begin) * 1000
        )

    def _dated(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = format_datetime(self.clock(), usegmt=True).encode()
                message["headers"] = [*message["headers"], (b"date", date)]
            await send(message)

        return sending

    def _note(self, scope: Message, body: bytes) -> Request:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if "authorization" in headers:
            headers["authorization"] = "***"
        request = Request(
            scope["method"],
            scope["path"],
            scope["query_string"].decode("latin-1"),
            headers,
            body.decode(errors="replace"),
            utc_now(),
            tuple(scope["client"]),
        )
        self.requests.append(request)
        scope["state"] = {"body": body}
        return request

    async def _reply(self, fault: Fault | None, scope: Message, request: Request, receive: Receive) -> Reply:
        if fault and fault.status and not (fault.process or fault.cut == "after"):
            return fault.answer()
        reply = await ask(self.app, scope, receive)
        return fault.answer() if fault and fault.status else reply


async def read(receive: Receive) -> bytes:
    """The whole body of a request."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def ask(app: App, scope: Message, receive: Receive) -> Reply:
    """The API's own answer, whole."""
    unread = [{"type": "http.request", "body": scope["state"].pop("body"), "more_body": False}]
    sent: list[Message] = []

    async def replay() -> Message:
        return unread.pop() if unread else await receive()

    async def keep(message: Message) -> None:
        sent.append(message)

    await app(scope, replay, keep)
    return sent[0]["status"], list(sent[0]["headers"]), b"".join(each.get("body", b"") for each in sent[1:])


async def deliver(send: Send, reply: Reply, request: Request, half: bool = False) -> None:
    """Send an answer, or the half of it."""
    request.status, headers, body = reply
    await send({"type": "http.response.start", "status": request.status, "headers": headers})
    await send({"type": "http.response.body", "body": body[: len(body) // 2] if half else body, "more_body": half})
