# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP exchange: session, authentication, repeats, errors, and limits of time and size.

Knows neither Ansible nor the Supply API.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import io
import ipaddress
import json
import random
import re
import socket
import sys
import time
import traceback
import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from .._text import applicable, mask_secrets

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
except ImportError:
    REQUESTS_IMPORT_ERROR: str | None = traceback.format_exc()
    HTTPAdapter = object  # type: ignore[assignment, misc]
else:
    REQUESTS_IMPORT_ERROR = None

MISSING_REQUESTS = f"The Python library requests is missing: run '{sys.executable} -m pip install requests'."
CONNECT_TIMEOUT = 10.0  # seconds; a server that does not even answer the handshake is not worth a minute
FIRST_PAUSE = 0.5  # seconds before the first retry; doubled for each further one
LONGEST_PAUSE = 60.0  # seconds; if the server asks for more, that is reported instead
FARTHEST = 10 * 366 * 86_400.0  # seconds between two clocks; beyond that, one of them is not a clock
MOST_BODY = 32 * 1024 * 1024  # bytes of a body; 10,000 machines take about 10 MB
_PRIVATE = re.compile(r"[?#].*|(?<=//)[^/]*@", re.DOTALL)  # parts of an address that may hold a login
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that a later retry may cure
_NO_PROXIES: t.Any = {"http": None, "https": None, "all": None}  # None overrides the environment


class TransportError(Exception):
    """No readable answer arrived.

    ``sent`` is false only if the server cannot have got the whole request, so that repeating it is safe whatever
    it does. ``permanent``: a retry cannot help (a certificate that does not verify). ``unreachable``: the host's name
    does not resolve, or nothing accepts a connection there.
    """

    def __init__(self, message: str, *, sent: bool, permanent: bool = False, unreachable: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.permanent = permanent
        self.unreachable = unreachable


@dataclass(frozen=True)
class Answer:
    """The server's answer. ``data`` is the decoded JSON, or None if ``is_json`` is false.

    ``ahead``: seconds by which the server's clock is ahead of this one; None if the answer has no time. ``is_html``:
    its type is HTML, as of a page from a proxy or gateway.
    """

    status: int
    is_json: bool
    data: t.Any
    retry_after: float | None = None  # seconds
    location: str | None = None  # the target of a redirect, which is not followed, without `_PRIVATE` parts
    ahead: float | None = None
    headers: t.Mapping[str, str] = field(default_factory=dict)  # by names in lower case
    is_html: bool = False


#: Called after each attempt with method, path, query, its begin (seconds since the epoch), and the answer, if any. Must
#: not raise.
Observer = t.Callable[[str, str, "t.Mapping[str, str] | None", float, "Answer | None"], None]


def asks_for_retry(status: int | None, retry_after: float | None) -> bool:
    """Whether the server asks to try again later. That need not mean that it did not accept the request."""
    return status == 429 or (status == 503 and retry_after is not None)


def pause_before(attempt: int, retry_after: float | None) -> float:
    """Seconds before the next attempt, jittered so that many hosts do not come back at once."""
    pause = min(LONGEST_PAUSE / 2, FIRST_PAUSE * 2.0**attempt) * random.uniform(0.5, 1.0)
    return max(pause, retry_after or 0.0)


class _WatchedBody(io.BytesIO):
    """A request body that knows whether it was read.

    It is read only once connection and TLS are up, so if it is unread, the server cannot have got it.
    """

    was_read = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.was_read = True
        return super().read(size)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this computer itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_base_url(url: str) -> str:
    """The URL in its normal form, by which accounts are compared. Raises ValueError if it must not get a token.

    Scheme and host become lower case; the default port and a trailing slash are removed.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"is not a valid URL: {error}") from None
    faults = {
        "must be an http(s) URL such as https://supply-api.example.com": parts.scheme not in ("http", "https")
        or not host,
        "must not contain credentials, a query or a fragment": parts.username is not None or "?" in url or "#" in url,
        "is plain http, which sends the token unencrypted; only loopback addresses may use it": (
            parts.scheme == "http" and not is_loopback(host)
        ),
    }
    for fault in applicable(faults):
        raise ValueError(fault)
    host = host[:1] + host[1:].removesuffix(".")
    shown = "" if port in (None, {"http": 80, "https": 443}[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{shown}{parts.path.rstrip('/')}"


def _moment(header: str | None) -> datetime | None:
    """The moment of an HTTP date (RFC 9110, 5.6.7); None if it is unreadable."""
    try:
        moment = parsedate_to_datetime(header or "")
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def seconds_ahead(date: str | None, age: str | None, now: float) -> float | None:
    """Seconds by which the clock of a ``Date`` is ahead of ``now`` (seconds since the epoch); None if unknown.

    A cache passes on the origin's ``Date``, and its ``Age`` in seconds (RFC 9111, 5.1). A clock that is off by ten
    years is ignored.
    """
    moment, text = _moment(date), (age or "0").strip()
    if moment is None or not re.fullmatch(r"[0-9]{1,10}", text):
        return None
    ahead = moment.timestamp() + int(text) - now
    return ahead if abs(ahead) <= FARTHEST else None


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """``Retry-After`` in seconds, from its two forms (RFC 9110: seconds, or an HTTP date); None if unreadable."""
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,15}", text):
        return float(text)
    moment = _moment(text)
    return None if moment is None else max(0.0, (moment - now).total_seconds())


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    query: dict[str, str] | None
    body: bytes | None
    content_type: str | None
    timeout: float  # seconds


class HttpClient:
    """Requests to one origin with one token, over one session.

    ``timeout`` in seconds is the deadline of each attempt as a whole: connection, headers and body.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        user_agent: str,
        *,
        timeout: float = 60,
        retries: int = 5,
        verify: bool | str = True,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = check_base_url(base_url)
        self._token = token
        # Identifies the account without revealing the token.
        self.account = hashlib.sha256(f"{self.base_url} {token}".encode()).hexdigest()[:16]
        self._timeout = timeout
        self._retries = retries
        self._verify = verify
        self._sleep = sleep
        self._secrets: list[str] = []
        self.observer: Observer | None = None
        # Seconds by which the server's clock was ahead at its last answer with a time; None if no answer had one.
        self.ahead: float | None = None
        self.hide(token)
        # Prices and purchases must be judged by the API's present answer, not by a cache's.
        fresh = {"Cache-Control": "no-cache"}
        self._session = t.cast(t.Any, requests.Session())
        self._session.headers.update(
            {"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "identity", **fresh}
        )
        # Else it would prepare a request to a redirect's target, and read the answer's body without a limit.
        self._session.get_redirect_target = lambda _response: None
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter())
        if verify is False:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def for_server(self, base_url: str, token: str) -> HttpClient:
        """A client with the same settings for another server and token; an empty token is not sent."""
        agent = self._session.headers["User-Agent"]
        how: dict[str, t.Any] = {"timeout": self._timeout, "retries": self._retries, "verify": self._verify}
        return HttpClient(base_url, token, agent, **how, sleep=self._sleep)

    def hide(self, *secrets: str) -> None:
        """Let `redact` hide these texts as well, except very short ones, which would garble every message."""
        # The reader turns words and ids of the API into lower case.
        self._secrets.extend(dict.fromkeys(text for item in secrets for text in (item, item.lower()) if len(text) > 2))

    def redact(self, text: str) -> str:
        """A text for people, without secrets that the server may have echoed.

        Not for data: a secret may equal one of the API's own words.
        """
        return mask_secrets(text, self._secrets)

    def exchange(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: bytes | None = None,
        content_type: str | None = None,
        repeatable: bool,
        repeat_if_busy: bool = True,
        timeout: float | None = None,
        retries: int | None = None,
    ) -> Answer:
        """Send a request and return the last answer, whatever its status. Raises TransportError if none arrived.

        A ``repeatable`` request is retried, at most ``retries`` times, after lost connections and transient errors. Any
        other is retried only if it was certainly not sent or, with ``repeat_if_busy``, if the server asks to try later.
        """
        retries = self._retries if retries is None else retries
        request = _Request(method, path, query, body, content_type, timeout or self._timeout)
        for attempt in range(retries + 1):
            outcome = self._attempt(request)
            pause = pause_before(attempt, outcome.retry_after if isinstance(outcome, Answer) else None)
            again = _may_repeat(outcome, repeatable, repeat_if_busy)
            if not again or attempt == retries or pause > LONGEST_PAUSE:
                break
            self._sleep(pause)
        if isinstance(outcome, TransportError):
            raise outcome
        return outcome

    def _authorized(self, request: t.Any) -> t.Any:
        """The request with the token, if any. As a plain header, requests would let an entry of ~/.netrc replace it."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _attempt(self, request: _Request) -> Answer | TransportError:
        """The outcome of one request, after the observer has been called with it."""
        began = time.time()
        outcome: Answer | TransportError
        try:
            outcome = self._read(*self._send(request))
            self.ahead = self.ahead if outcome.ahead is None else outcome.ahead
        except TransportError as error:
            outcome = error
        if self.observer is not None:
            answer = outcome if isinstance(outcome, Answer) else None
            self.observer(request.method, request.path, request.query, began, answer)
        return outcome

    def _send(self, request: _Request) -> tuple[t.Any, bytes]:
        """Send a request; return its answer and body. Follows no redirect: no answer decides where the token goes."""
        body = None if request.body is None else _WatchedBody(request.body)
        # Requests to this computer bypass proxies, which would see the token over plain http.
        is_local = is_loopback(urlsplit(self.base_url).hostname or "")
        try:
            response = self._session.request(
                request.method,
                self.base_url + request.path,
                params=request.query,
                data=body,
                headers={"Content-Type": request.content_type} if request.content_type else None,
                auth=self._authorized,
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, request.timeout), total=request.timeout),
                allow_redirects=False,
                stream=True,
                verify=self._verify,  # given here, since REQUESTS_CA_BUNDLE overrides what the session says
                proxies=_NO_PROXIES if is_local else None,
            )
            return response, _read_body(response)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            sent = body is None or body.was_read
            permanent = isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
            how = {"sent": sent, "permanent": permanent, "unreachable": _is_unreachable(error)}
            raise TransportError(self.redact(_reason(error, request.timeout)), **how) from None

    @staticmethod
    def _read(response: t.Any, content: bytes) -> Answer:
        try:
            # NaN and Infinity are neither JSON nor prices. A byte order mark may be ignored (RFC 8259, 8.1).
            data = json.loads(content.decode("utf-8-sig"), parse_constant=lambda _word: None)
            is_json = True
        except (ValueError, RecursionError):
            data, is_json = None, False
        retry_after = retry_after_seconds(response.headers.get("Retry-After"), datetime.now(timezone.utc))
        location = _PRIVATE.sub("", response.headers.get("Location", "")) if response.is_redirect else None
        # A page of a proxy has the proxy's time.
        is_html = "html" in response.headers.get("Content-Type", "").lower()
        dated = response.headers.get("Date") if is_json and not is_html else None
        ahead = seconds_ahead(dated, response.headers.get("Age"), time.time())
        return Answer(response.status_code, is_json, data, retry_after, location, ahead, response.headers, is_html)


def _may_repeat(outcome: Answer | TransportError, repeatable: bool, repeat_if_busy: bool) -> bool:
    """Whether a request may be sent again after this outcome; see `HttpClient.exchange`."""
    if isinstance(outcome, TransportError):
        return not outcome.permanent and (repeatable or not outcome.sent)
    if repeatable:
        return outcome.status in _TRANSIENT
    return repeat_if_busy and asks_for_retry(outcome.status, outcome.retry_after)


def _is_unreachable(error: BaseException) -> bool:
    """Whether no connection to the host was made: its name is unknown, or it does not answer."""
    cause = getattr(next(iter(error.args), None), "reason", None)
    return isinstance(error, requests.exceptions.ConnectTimeout) or isinstance(
        cause, urllib3.exceptions.NewConnectionError
    )


def _reason(error: BaseException, timeout: float) -> str:
    """The innermost cause, in words for people; the outer layers only repeat URLs and object addresses."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {min(CONNECT_TIMEOUT, timeout):g} seconds"
    if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError)):
        return f"no answer within {timeout:g} seconds"
    prefix = "proxy: " if isinstance(error, requests.exceptions.ProxyError) else ""
    cause = error
    # urllib3 and requests may keep it in any of these.
    while inner := [
        part
        for part in (getattr(cause, "reason", None), *cause.args, cause.__cause__)
        if isinstance(part, BaseException)
    ]:
        cause = inner[0]
    if isinstance(cause, OSError) and cause.strerror:
        return prefix + cause.strerror
    return prefix + (str(cause) or type(cause).__name__)


# Limits of time and size. The timeouts of requests and urllib3 are for each piece that arrives, so a server that drips
# bytes could hold a client for ever.

_PIECE = 65536  # bytes


class _UntilDeadline(io.RawIOBase):
    """The bytes of a socket, whose timeout becomes a deadline, counted from now, for all reads together."""

    def __init__(self, sock: t.Any, raw: t.Any) -> None:
        self._socket = sock
        self._raw = raw
        self._timeout: float = sock.gettimeout()
        self._deadline = time.monotonic() + self._timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any, /) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")  # not yet TimeoutError in Python 3.9
        self._socket.settimeout(left)
        try:
            return t.cast("int | None", self._raw.readinto(buffer))
        finally:
            self._socket.settimeout(self._timeout)  # the connection may be used again

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer with one deadline for status, headers and body.

    Just before urllib3 makes this object, it sets the socket's timeout to the rest of the total timeout.
    """

    def __init__(self, sock: t.Any, *args: t.Any, **options: t.Any) -> None:
        super().__init__(sock, *args, **options)
        received: t.Any = self.fp
        self.fp = io.BufferedReader(_UntilDeadline(sock, received.detach()))


@functools.cache
def _with_deadline(connection_class: t.Any) -> t.Any:
    """The class of connections, changed so that answers have a deadline."""
    has_deadline = issubclass(connection_class.response_class, _Response)
    return connection_class if has_deadline else type("Connection", (connection_class,), {"response_class": _Response})


class _Adapter(HTTPAdapter):
    """Makes connections, also through proxies, whose answers have a deadline: the total of a urllib3.Timeout."""

    def cert_verify(self, conn: t.Any, url: t.Any, verify: t.Any, cert: t.Any) -> None:
        """Set the class of the pool's connections: requests calls this with the pool before each request."""
        t.cast(t.Any, super()).cert_verify(conn, url, verify, cert)
        conn.ConnectionCls = _with_deadline(conn.ConnectionCls)


def _read_body(response: t.Any) -> bytes:
    """The body of an answer, at most MOST_BODY bytes. Closes the connection if the rest is not read.

    Raises ValueError for a body that cannot or should not be read, and the errors of urllib3.
    """
    response.raw.enforce_content_length = True  # else urllib3 1.26 accepts a truncated body
    body = bytearray()
    with response:
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise ValueError("its body is compressed, which was not requested")
        for piece in iter(functools.partial(response.raw.read, _PIECE, decode_content=False), b""):
            body += piece
            if len(body) > MOST_BODY:
                raise ValueError(f"its body is larger than {MOST_BODY / 1e6:.0f} MB")
    return bytes(body)
