# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What requests and urllib3 leave unlimited: how long an answer may take as a whole, and how large it may become.

They know a timeout for each piece that arrives, so a server that drips bytes holds a client for ever; and they
decompress what arrives, whatever comes of it.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import time
import typing as t
import zlib

try:
    import requests
    from requests.adapters import HTTPAdapter
except ImportError:
    HTTPAdapter = object  # type: ignore[assignment, misc]

MOST_BODY = 32 * 1024 * 1024  # bytes of a body after decompression; 10,000 machines take about 10 MB
_PIECE = 65536  # bytes
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate"})


class BodyError(ValueError):
    """A body that cannot be read, or that nobody should."""


class _UntilDeadline(io.RawIOBase):
    """What a socket receives within its timeout, counted from now for all reads together."""

    def __init__(self, sock: t.Any, raw: t.Any) -> None:
        self._socket = sock
        self._raw = raw
        self._timeout: float | None = sock.gettimeout()
        self._deadline = time.monotonic() + (self._timeout or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any, /) -> int | None:
        if self._timeout is None:
            return t.cast("int | None", self._raw.readinto(buffer))
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")  # which Python 3.9 does not know as TimeoutError
        self._socket.settimeout(left)
        try:
            return t.cast("int | None", self._raw.readinto(buffer))
        finally:
            self._socket.settimeout(self._timeout)  # the connection may be used again

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer whose status, headers and body all arrive before one deadline.

    urllib3 gives the socket what is left of the total timeout just before it makes this object.
    """

    def __init__(self, sock: t.Any, *args: t.Any, **options: t.Any) -> None:
        super().__init__(sock, *args, **options)
        received: t.Any = self.fp
        self.fp = io.BufferedReader(_UntilDeadline(sock, received.detach()))


@functools.cache
def _with_deadline(pool_class: t.Any) -> t.Any:
    """A class of connection pools whose answers have a deadline."""
    if issubclass(pool_class.ConnectionCls.response_class, _Response):
        return pool_class
    connection_class = type("Connection", (pool_class.ConnectionCls,), {"response_class": _Response})
    return type("Pool", (pool_class,), {"ConnectionCls": connection_class})


class _Adapter(HTTPAdapter):
    """Makes connections, through proxies too, whose answers have a deadline."""

    def init_poolmanager(self, *args: t.Any, **options: t.Any) -> None:
        super().init_poolmanager(*args, **options)
        self._set_deadlines(self.poolmanager)

    def proxy_manager_for(self, *args: t.Any, **options: t.Any) -> t.Any:
        manager = super().proxy_manager_for(*args, **options)
        self._set_deadlines(manager)
        return manager

    @staticmethod
    def _set_deadlines(manager: t.Any) -> None:
        classes = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: _with_deadline(pool_class) for scheme, pool_class in classes.items()}


def new_session(headers: dict[str, str]) -> t.Any:
    """A session in which the total of an urllib3.Timeout is a deadline. Its requests must ask for ``stream``."""
    session = t.cast(t.Any, requests.Session())
    session.headers.update({**headers, "Accept-Encoding": "gzip"})
    # It would prepare a request to wherever an answer points, and read that answer's body without a limit.
    session.get_redirect_target = lambda _response: None
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session


def read_body(response: t.Any) -> bytes:
    """The decompressed body of an answer, in memory that is bounded whatever arrives. Closes what is not read.

    Raises BodyError, and what urllib3 raises.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in (*_COMPRESSED, "", "identity"):
        response.close()
        raise BodyError(f"its body is compressed in a way that was not asked for ({encoding[:40]!r})")
    response.raw.enforce_content_length = True  # urllib3 1.26 would pass over a body that is cut
    with response:
        pieces = iter(functools.partial(response.raw.read, _PIECE, decode_content=False), b"")
        return _joined(_decompressed(pieces) if encoding in _COMPRESSED else pieces)


def _joined(pieces: t.Iterable[bytes]) -> bytes:
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > MOST_BODY:
            raise BodyError(f"its body is larger than {MOST_BODY / 1e6:.0f} MB")
    return bytes(body)


def _decompressed(pieces: t.Iterator[bytes]) -> t.Iterator[bytes]:
    """The content of gzip or zlib data, in pieces of limited size however much a few bytes become."""
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either of both formats
    for piece in pieces:
        while piece and not decoder.eof:
            try:
                yield decoder.decompress(piece, _PIECE)
            except zlib.error:
                raise BodyError("its body cannot be decompressed") from None
            piece = decoder.unconsumed_tail
    if not decoder.eof:
        raise BodyError("its body is cut")
