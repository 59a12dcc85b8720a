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
CONNECT_TIMEOUT = 10.0  # seconds; a machine that does not even answer the handshake is not worth a minute
FIRST_PAUSE = 0.5  # seconds before the first repeat; doubles with each
LONGEST_PAUSE = 60.0  # seconds; a server that wants more is reported instead of waited for
FARTHEST = 10 * 366 * 86_400.0  # seconds between two clocks, of which one is no clock then
MOST_BODY = 32 * 1024 * 1024  # bytes of a body; 10,000 machines take about 10 MB
_PRIVATE = re.compile(r"[?#].*|(?<=//)[^/]*@", re.DOTALL)  # what an address may have of a login
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # what a later repeat of a read may cure
_NO_PROXIES: t.Any = {"http": None, "https": None, "all": None}  # None takes an entry of the environment away


class TransportError(Exception):
    """No readable answer arrived.

    ``sent`` is false only if the server cannot have got the whole request, so that repeating it is safe whatever
    it does. ``permanent`` is true if a repeat cannot help (a certificate that does not verify). ``unreachable`` is true
    if the host's name does not resolve, or nothing there accepts a connection.
    """

    def __init__(self, message: str, *, sent: bool, permanent: bool = False, unreachable: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.permanent = permanent
        self.unreachable = unreachable


@dataclass(frozen=True)
class Answer:
    """What the server said. ``data`` is the decoded JSON, or None where ``is_json`` is false.

    ``ahead``: seconds by which the server's clock is ahead of this one; None if the answer does not say. ``is_html``:
    its type is HTML, as that of a proxy's or a gateway's page.
    """

    status: int
    is_json: bool
    data: t.Any
    retry_after: float | None = None  # seconds
    location: str | None = None  # where a redirect points to, without what is `_PRIVATE`; none is followed
    ahead: float | None = None
    headers: t.Mapping[str, str] = field(default_factory=dict)  # found by names in small letters
    is_html: bool = False


#: Is told of each attempt: method, path, query, when it began (seconds since the epoch), and the answer that came, if
#: one did. It must not raise.
Observer = t.Callable[[str, str, "t.Mapping[str, str] | None", float, "Answer | None"], None]


def asks_for_retry(status: int | None, retry_after: float | None) -> bool:
    """Whether the server asks to come back. It says that it did not take the request up, which need not be true."""
    return status == 429 or (status == 503 and retry_after is not None)


def pause_before(attempt: int, retry_after: float | None) -> float:
    """Seconds before the next attempt: jittered, so that many hosts do not come back at once."""
    pause = min(LONGEST_PAUSE / 2, FIRST_PAUSE * 2.0**attempt) * random.uniform(0.5, 1.0)
    return max(pause, retry_after or 0.0)


class _WatchedBody(io.BytesIO):
    """A request body that knows whether anybody has read it.

    It is read only after the connection and its TLS stand: unread means that the server cannot have got it.
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
    """The URL in its one spelling, by which accounts are compared. Raises ValueError if no token may be sent to it.

    Scheme and host are in small letters, without a usual port and a last slash.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no valid URL: {error}") from None
    faults = {
        "must be an http(s) URL such as https://supply-api.example.com": parts.scheme not in ("http", "https")
        or not host,
        "must not hold credentials, a query or a fragment": parts.username is not None or "?" in url or "#" in url,
        "is plain http: the token would travel unencrypted; only a loopback address may do that": (
            parts.scheme == "http" and not is_loopback(host or "")
        ),
    }
    for fault in applicable(faults):
        raise ValueError(fault)
    return f"{parts.scheme}://{_server_of(parts.scheme, host or '', port)}{parts.path.rstrip('/')}"


def _server_of(scheme: str, host: str, port: int | None) -> str:
    """Host and port in their one spelling."""
    host = host[:-1] if host[1:].endswith(".") else host
    shown = "" if port in (None, {"http": 80, "https": 443}[scheme]) else f":{port}"
    return f"{f'[{host}]' if ':' in host else host}{shown}"


def _moment(header: str | None) -> datetime | None:
    """The moment of an HTTP date (RFC 9110, 5.6.7); None if it is unreadable."""
    try:
        moment = parsedate_to_datetime(header or "")
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def seconds_ahead(date: str | None, age: str | None, now: float) -> float | None:
    """Seconds by which the clock of a ``Date`` is ahead of ``now`` (since the epoch); None if that is not known.

    A cache keeps the ``Date`` of the origin, and says in ``Age`` (RFC 9111, 5.1) how many seconds ago that was. A clock
    that is off by ten years says nothing.
    """
    moment, text = _moment(date), (age or "0").strip()
    if moment is None or not re.fullmatch(r"[0-9]{1,10}", text):
        return None
    ahead = moment.timestamp() + int(text) - now
    return ahead if abs(ahead) <= FARTHEST else None


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """``Retry-After`` in seconds from its two forms (RFC 9110: seconds, or an HTTP date); None if unreadable."""
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,15}", text):
        return float(text)
    moment = _moment(text)
    return None if moment is None else max(0.0, (moment - now).total_seconds())


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
        # Tells two accounts apart, and nothing of the token.
        self.account = hashlib.sha256(f"{self.base_url} {token}".encode()).hexdigest()[:16]
        self._timeout = timeout
        self._retries = retries
        self._verify = verify
        self._sleep = sleep
        self._secrets: list[str] = []
        self.observer: Observer | None = None
        # Seconds by which the server's clock was ahead of this one at the last answer that said so; None if none did.
        self.ahead: float | None = None
        self.hide(token)
        # A price is compared, and a purchase settled, by what the API says now, not by what a cache has kept.
        fresh = {"Cache-Control": "no-cache"}
        self._session = _new_session({"User-Agent": user_agent, "Accept": "application/json", **fresh})
        if verify is False:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def for_server(self, base_url: str, token: str) -> HttpClient:
        """A client of any server with another token; of an empty one it sends none."""
        agent = self._session.headers["User-Agent"]
        how: dict[str, t.Any] = {"timeout": self._timeout, "retries": self._retries, "verify": self._verify}
        return HttpClient(base_url, token, agent, **how, sleep=self._sleep)

    def hide(self, *secrets: str) -> None:
        """Let `redact` take these texts away too. One of a letter or two would only garble every message."""
        # Words and ids of the API are kept in small letters.
        self._secrets.extend(dict.fromkeys(text for item in secrets for text in (item, item.lower()) if len(text) > 2))

    def redact(self, text: str) -> str:
        """A text for people without the secrets, should the server have echoed them.

        Not for data: a secret may be a word that the API uses itself.
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

        A repeatable request is sent again, at most ``retries`` times, after lost connections and transient errors; any
        other only if it was not sent for certain or, with ``repeat_if_busy``, if the server asks to come back.
        """
        retries = self._retries if retries is None else retries
        for attempt in range(retries + 1):
            outcome = self._attempt(method, path, query, body, content_type, timeout or self._timeout)
            pause = pause_before(attempt, outcome.retry_after if isinstance(outcome, Answer) else None)
            again = _may_repeat(outcome, repeatable, repeat_if_busy)
            if not again or attempt == retries or pause > LONGEST_PAUSE:
                break
            self._sleep(pause)
        if isinstance(outcome, TransportError):
            raise outcome
        return outcome

    def _authorized(self, request: t.Any) -> t.Any:
        """The request with the token, if there is one: requests lets an entry of ~/.netrc replace a plain header."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _attempt(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None,
        body: bytes | None,
        content_type: str | None,
        timeout: float,
    ) -> Answer | TransportError:
        """What comes of one request, told to who observes."""
        began = time.time()
        outcome: Answer | TransportError
        try:
            outcome = self._read(*self._send(method, self.base_url + path, query, body, content_type, timeout))
            self.ahead = self.ahead if outcome.ahead is None else outcome.ahead
        except TransportError as error:
            outcome = error
        if self.observer is not None:
            self.observer(method, path, query, began, outcome if isinstance(outcome, Answer) else None)
        return outcome

    def _send(
        self,
        method: str,
        url: str,
        query: dict[str, str] | None,
        body: bytes | None,
        content_type: str | None,
        timeout: float,
    ) -> tuple[t.Any, bytes]:
        """A request's answer and body. No redirect is followed: no answer decides where the token goes."""
        watched = None if body is None else _WatchedBody(body)
        # A proxy must never see a request to this computer itself: over plain http it would see the token.
        local = is_loopback(urlsplit(url).hostname or "")
        try:
            response = self._session.request(
                method,
                url,
                params=query,
                data=watched,
                headers={"Content-Type": content_type} if content_type else None,
                auth=self._authorized,
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, timeout), total=timeout),
                allow_redirects=False,
                stream=True,
                verify=self._verify,  # given here, since REQUESTS_CA_BUNDLE overrides what the session says
                proxies=_NO_PROXIES if local else None,
            )
            return response, _read_body(response)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            sent = watched is None or watched.was_read
            permanent = isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
            how = {"sent": sent, "permanent": permanent, "unreachable": _is_unreached(error)}
            raise TransportError(self.redact(_reason(error, timeout)), **how) from None

    @staticmethod
    def _read(response: t.Any, content: bytes) -> Answer:
        try:
            # NaN and Infinity are no JSON, and no price. A byte order mark may be passed over (RFC 8259, 8.1).
            data = json.loads(content.decode("utf-8-sig"), parse_constant=lambda _word: None)
            is_json = True
        except (ValueError, RecursionError):
            data, is_json = None, False
        retry_after = retry_after_seconds(response.headers.get("Retry-After"), datetime.now(timezone.utc))
        location = _PRIVATE.sub("", response.headers.get("Location", "")) if response.is_redirect else None
        # A proxy's page has the proxy's time.
        is_html = "html" in response.headers.get("Content-Type", "").lower()
        dated = response.headers.get("Date") if is_json and not is_html else None
        ahead = seconds_ahead(dated, response.headers.get("Age"), time.time())
        return Answer(response.status_code, is_json, data, retry_after, location, ahead, response.headers, is_html)


def _may_repeat(outcome: Answer | TransportError, repeatable: bool, repeat_if_busy: bool) -> bool:
    """Whether a request may be sent again after this; the arguments are those of `HttpClient.exchange`."""
    if isinstance(outcome, TransportError):
        return not outcome.permanent and (repeatable or not outcome.sent)
    if repeatable:
        return outcome.status in PASSING
    return repeat_if_busy and asks_for_retry(outcome.status, outcome.retry_after)


def _is_unreached(error: BaseException) -> bool:
    """Whether there was no connection to the host itself, be its name unknown or the host silent."""
    cause = getattr(next(iter(error.args), None), "reason", None)
    return isinstance(error, requests.exceptions.ConnectTimeout) or isinstance(
        cause, urllib3.exceptions.NewConnectionError
    )


def _reason(error: BaseException, timeout: float) -> str:
    """The innermost cause in the words of a person; the outer layers only repeat URLs and object addresses."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {min(CONNECT_TIMEOUT, timeout):g} seconds"
    if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError)):
        return f"no answer within {timeout:g} seconds"
    prefix = "proxy: " if isinstance(error, requests.exceptions.ProxyError) else ""
    cause = error
    while inner := [part for part in _causes(cause) if isinstance(part, BaseException)]:
        cause = inner[0]
    if isinstance(cause, OSError) and cause.strerror:
        return prefix + cause.strerror
    return prefix + (str(cause) or type(cause).__name__)


def _causes(error: BaseException) -> tuple[object, ...]:
    """Where urllib3 and requests keep what an error comes from."""
    return (getattr(error, "reason", None), *error.args, error.__cause__)


# Limits of time and size. requests and urllib3 know a timeout for each piece that arrives, so a server that drips bytes
# holds a client for ever.

_PIECE = 65536  # bytes


class _UntilDeadline(io.RawIOBase):
    """What a socket receives within its timeout, counted from now for all reads together."""

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
def _with_deadline(connection_class: t.Any) -> t.Any:
    """The class of connections whose answers have a deadline."""
    is_one = issubclass(connection_class.response_class, _Response)
    return connection_class if is_one else type("Connection", (connection_class,), {"response_class": _Response})


class _Adapter(HTTPAdapter):
    """Makes connections, through proxies too, whose answers have a deadline."""

    def cert_verify(self, conn: t.Any, url: t.Any, verify: t.Any, cert: t.Any) -> None:
        """requests calls this with the pool of connections before each request."""
        t.cast(t.Any, super()).cert_verify(conn, url, verify, cert)
        conn.ConnectionCls = _with_deadline(conn.ConnectionCls)


def _new_session(headers: dict[str, str]) -> t.Any:
    """A session in which the total of an urllib3.Timeout is a deadline. Its requests must ask for ``stream``."""
    session = t.cast(t.Any, requests.Session())
    session.headers.update({**headers, "Accept-Encoding": "identity"})
    # It would prepare a request to wherever an answer points, and read that answer's body without a limit.
    session.get_redirect_target = lambda _response: None
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session


def _read_body(response: t.Any) -> bytes:
    """The body of an answer, in memory that is bounded whatever arrives. Closes what is not read.

    Raises ValueError for what cannot be read or should not be, and what urllib3 raises.
    """
    response.raw.enforce_content_length = True  # urllib3 1.26 would pass over a body that is cut
    body = bytearray()
    with response:
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise ValueError("its body is compressed, which was not asked for")
        for piece in iter(functools.partial(response.raw.read, _PIECE, decode_content=False), b""):
            body += piece
            if len(body) > MOST_BODY:
                raise ValueError(f"its body is larger than {MOST_BODY / 1e6:.0f} MB")
    return bytes(body)
