# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A scripted server on loopback, whose answers may break HTTP or stop halfway."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

Step = Callable[[socket.socket, "RawServer"], None]


class RawServer:
    """Serves one connection at a time, each with the next step of ``script``; the last step serves all further ones.

    ``received``: the requests that the steps have read.
    """

    def __init__(self, *script: Step, host: str = "127.0.0.1", tls: Any = None, listen: bool = True) -> None:
        self._script = script
        self._tls = tls
        self.received: list[bytes] = []
        self.connections = 0
        self.closing = threading.Event()
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.bind((host, 0))
        self.port: int = self._socket.getsockname()[1]
        self._host = f"[{host}]" if ":" in host else host
        self._thread = threading.Thread(target=self._serve, daemon=True)
        if listen:
            self.listen()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}"

    def listen(self) -> None:
        """Accept connections; before this call they are refused."""
        self._socket.listen()
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        if self._thread.is_alive():
            with contextlib.suppress(OSError):
                socket.create_connection((self._host.strip("[]"), self.port), timeout=1).close()  # wakes accept()
            self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            connection, _address = self._socket.accept()
            with connection, contextlib.suppress(OSError):
                if self.closing.is_set():
                    return
                step = self._script[min(self.connections, len(self._script) - 1)]
                self.connections += 1
                if self._tls:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                with connection:
                    step(connection, self)

    def read_request(self, connection: socket.socket) -> bytes:
        """Read one request and append it to ``received``."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += _receive(connection)
        length = re.search(rb"\r\nContent-Length: (\d+)", data, re.IGNORECASE)
        missing = int(length[1]) - len(data.partition(b"\r\n\r\n")[2]) if length else 0
        while missing > 0:
            part = _receive(connection)
            data, missing = data + part, missing - len(part)
        self.received.append(data)
        return data


def _receive(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    if not part:
        raise OSError("the client closed the connection")
    return part


def hang_up(connection: socket.socket, server: RawServer) -> None:
    """Close the connection without reading anything."""


def read_and_hang_up(connection: socket.socket, server: RawServer) -> None:
    """Read the request, and close the connection without an answer."""
    server.read_request(connection)


def stall(connection: socket.socket, server: RawServer) -> None:
    """Read the request, and send nothing for 10 seconds or until the server closes."""
    server.read_request(connection)
    server.closing.wait(10)


def answer(status: int = 200, body: bytes = b"{}", length: int | None = None, **headers: str) -> Step:
    """Answer; ``length`` replaces the true Content-Length, ``retry_after`` is the header Retry-After."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Connection: close"]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    lines += [f"{name.title().replace('_', '-')}: {value}" for name, value in headers.items()]
    return say("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def say(data: bytes) -> Step:
    """Answer with these bytes, HTTP or not."""

    def step(connection: socket.socket, server: RawServer) -> None:
        server.read_request(connection)
        connection.sendall(data)

    return step


def drip(at_once: bytes, rest: bytes = b"x" * 1000, pause: float = 0.05) -> Step:
    """Answer with ``at_once``, then send ``rest`` byte by byte, with a pause in seconds before each."""

    def step(connection: socket.socket, server: RawServer) -> None:
        server.read_request(connection)
        connection.sendall(at_once)
        for number in range(len(rest)):
            if server.closing.wait(pause):
                return
            connection.sendall(rest[number : number + 1])

    return step


@contextlib.contextmanager
def raw_servers() -> Iterator[Callable[..., RawServer]]:
    """A factory of servers that are closed at the end of the block."""
    with contextlib.ExitStack() as stack:

        def start(*script: Step, **options: Any) -> RawServer:
            server = RawServer(*script, **options)
            stack.callback(server.close)
            return server

        yield start
