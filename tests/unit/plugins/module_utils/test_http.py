# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP client. Tests that depend on the transport use real sockets; the others use a queue of requests."""

from __future__ import annotations

import gzip
import random
import socket
import ssl
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime, formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme
from ansible_collections.compute_index.supply.plugins.module_utils._api import http
from ansible_collections.compute_index.supply.plugins.module_utils._api.http import (
    FARTHEST,
    Answer,
    HttpClient,
    TransportError,
    seconds_ahead,
)
from hypothesis import given
from hypothesis import strategies as st

from raw_server import RawServer, answer, drip, hang_up, read_and_hang_up, say, stall
from request_queue import LOST, RequestQueue
from samples import BASE, TOKEN

Serve = Callable[..., RawServer]
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=timezone.utc)
READ: dict[str, Any] = {"repeatable": True}
PURCHASE: dict[str, Any] = {
    **{"repeatable": False, "repeat_if_busy": False},
    **{"body": b'{"offer_id": "x"}', "content_type": "application/json"},
}


def client(url: str = BASE, **options: Any) -> HttpClient:
    return HttpClient(url, options.pop("token", TOKEN), "supply-tests/1", **{"timeout": 5, "retries": 0, **options})


def failure(http_client: HttpClient, method: str = "GET", **options: Any) -> TransportError:
    with pytest.raises(TransportError) as caught:
        http_client.exchange(method, "/x", **(options or READ))
    return caught.value


@pytest.fixture
def closed_port(serve: Serve) -> RawServer:
    """A server that refuses connections until its ``listen`` is called."""
    return serve(answer(), listen=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server's TLS context, with a certificate for 127.0.0.1 by an authority that no computer trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


# Answers


def test_answer_has_status_and_data(serve: Serve) -> None:
    got = client(serve(answer(201, b'{"a": [1, null]}')).url).exchange("GET", "/x", **READ)
    assert got == Answer(201, True, {"a": [1, None]}, retry_after=None, location=None, headers=got.headers)


def test_request_has_token_agent_query_and_body(serve: Serve) -> None:
    server = serve(answer())
    http_client = client(server.url + "/prefix/")
    http_client.exchange("POST", "/buy", query={"a": "b c"}, **PURCHASE)
    head, _blank, body = server.received[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /prefix/buy?a=b+c HTTP/1.1"
    assert {
        f"Authorization: Bearer {TOKEN}",
        "User-Agent: supply-tests/1",
        "Accept: application/json",
        "Cache-Control: no-cache",
        "Content-Type: application/json",
        f"Content-Length: {len(PURCHASE['body'])}",
    } <= set(lines)
    assert body == PURCHASE["body"]
    assert TOKEN not in lines[0]


def test_request_without_body_has_no_content_type(serve: Serve) -> None:
    server = serve(answer())
    client(server.url).exchange("GET", "/x", **READ)
    assert b"content-type" not in server.received[0].lower()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html><body>Bad gateway</body></html>", id="html"),
        pytest.param(b'{"offers": [', id="cut"),
        pytest.param(b'{"name": "\xff\xfe"}', id="not UTF-8"),
        pytest.param(b"\xef\xbb\xbf", id="byte order mark alone"),
        pytest.param(b"\xef\xbb\xbf\xef\xbb\xbf{}", id="two byte order marks"),
        pytest.param(b"[" * 200_000 + b"]" * 200_000, id="nested too deeply"),
        pytest.param(b"1" * 10_000, id="a number of 10,000 digits"),
    ],
)
def test_body_that_is_not_json_gives_no_data(serve: Serve, body: bytes) -> None:
    got = client(serve(answer(200, body)).url).exchange("GET", "/x", **READ)
    assert (got.status, got.is_json, got.data) == (200, False, None)


def test_byte_order_mark_is_ignored(serve: Serve) -> None:
    """RFC 8259, 8.1: a parser may ignore it."""
    got = client(serve(answer(200, b"\xef\xbb\xbf[1]")).url).exchange("GET", "/x", **READ)
    assert got.data == [1]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_json_become_none(serve: Serve, word: str) -> None:
    got = client(serve(answer(200, f'{{"price": {word}}}'.encode())).url).exchange("GET", "/x", **READ)
    assert (got.is_json, got.data) == (True, {"price": None})


# Failures: can the server have received the request?


@pytest.mark.parametrize(
    ("step", "message"),
    [
        pytest.param(hang_up, "reset|closed|Broken pipe", id="closed before the request was read"),
        pytest.param(read_and_hang_up, "closed connection without response", id="closed after the request was read"),
        pytest.param(answer(200, b'{"a":', length=100), "100 expected|95 more expected", id="body cut"),
        pytest.param(stall, "no answer within 0.2 seconds", id="too slow"),
        pytest.param(say(b"220 mail.example.com ESMTP\r\n\r\n"), "220 mail", id="not HTTP"),
        pytest.param(say(b""), "closed connection without response", id="empty answer"),
    ],
)
def test_failure_after_the_request_counts_as_sent(serve: Serve, step: Any, message: str) -> None:
    http_client = client(serve(step).url, timeout=0.2)
    error = failure(http_client, "POST", **PURCHASE)
    assert error.sent and not error.permanent and not error.unreachable
    assert any(part in str(error) for part in message.split("|")), str(error)


def test_refused_connection_counts_as_not_sent(closed_port: RawServer) -> None:
    error = failure(client(closed_port.url), "POST", **PURCHASE)
    assert (str(error), error.sent, error.permanent) == ("Connection refused", False, False)
    assert error.unreachable


def test_connection_timeout_counts_as_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float | None] = []

    def connect(self: socket.socket, _address: Any) -> None:
        seen.append(self.gettimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket.socket, "connect", connect)
    error = failure(client("http://127.0.0.1:9", timeout=600), "POST", **PURCHASE)
    assert (str(error), error.sent, error.permanent) == ("no connection within 10 seconds", False, False)
    assert error.unreachable
    assert set(seen) == {10.0}


def test_unknown_host_counts_as_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(*_args: Any, **_options: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    error = failure(client(), "POST", **PURCHASE)
    assert (str(error), error.sent, error.permanent) == ("Name or service not known", False, False)
    assert error.unreachable


def test_broken_tls_handshake_counts_as_not_sent(serve: Serve) -> None:
    error = failure(client(serve(hang_up).url.replace("http:", "https:")), "POST", **PURCHASE)
    assert not error.sent and not error.permanent and not error.unreachable


def test_failed_read_always_counts_as_sent(closed_port: RawServer) -> None:
    error = failure(client(closed_port.url))
    assert (str(error), error.sent) == ("Connection refused", True)


def test_client_without_token_sends_no_authorization(
    queue: RequestQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(f"machine {BASE.partition('//')[2]} login alice password geheim\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    queue.expect("GET", "/x")
    client("https://elsewhere.example.com").for_server(BASE, "").exchange("GET", "/x", **READ)
    assert "Authorization" not in queue.calls[0].headers


def test_failure_without_message_shows_its_class(queue: RequestQueue) -> None:
    queue.expect("GET", "/x", type(LOST)())
    assert str(failure(client())) == "ConnectionError"


# Limits of time and size

HEAD = b"HTTP/1.1 200 OK\r\n"
JSON_HEAD = HEAD + b"Content-Type: application/json\r\n"
DRIPPING = {
    "status line": drip(b"HTTP/1.1 "),
    "headers": drip(HEAD + b"X-Filler: "),
    "one header after the other": drip(HEAD, b"a: b\r\n" * 200),
    "interim answers": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40),
    "body": drip(JSON_HEAD + b"Content-Length: 1000\r\n\r\n"),
    "body of unknown length": drip(JSON_HEAD + b"\r\n"),
    "size of a chunk": drip(JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 1000),
    "chunks": drip(JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 200),
    "body of an error": drip(b"HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\n"),
    "body of a redirect": drip(b"HTTP/1.1 302 No\r\nLocation: /x\r\nContent-Length: 1000\r\n\r\n"),
}


@pytest.mark.parametrize(
    ("step", "encrypted"),
    [(step, encrypted) for encrypted in (False, True) for step in list(DRIPPING)[:: 4 if encrypted else 1]],
)
def test_slow_answer_is_cut_off_at_the_deadline(serve: Serve, tls: ssl.SSLContext, step: str, encrypted: bool) -> None:
    server = serve(DRIPPING[step], tls=tls if encrypted else None)
    http_client = client(server.url, timeout=0.25, verify=False)
    threads = threading.active_count()
    error = failure(http_client)
    assert (str(error), error.sent, error.permanent) == ("no answer within 0.25 seconds", True, False)
    assert threading.active_count() == threads


def test_slow_answer_of_a_proxy_is_cut_off_and_counts_as_not_sent(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", serve(drip(HEAD + b"X-Filler: ")).url)
    assert not failure(client(timeout=0.4), "POST", **PURCHASE).sent


def test_each_attempt_has_its_own_deadline(serve: Serve, naps: list[float]) -> None:
    server = serve(drip(HEAD), drip(HEAD), answer(200, b"[]"))
    assert client(server.url, timeout=1, retries=2).exchange("GET", "/x", **READ).data == []
    assert len(naps) == 2


def test_reused_connection_gets_a_new_deadline(serve: Serve) -> None:
    def twice(connection: socket.socket, server: RawServer) -> None:
        for _answer in range(2):
            server.read_request(connection)
            connection.sendall(HEAD + b"Content-Length: 2\r\n\r\n[]")

    server = serve(twice)
    http_client = client(server.url)
    assert [http_client.exchange("GET", "/x", **READ).data for _answer in range(2)] == [[], []]
    assert server.connections == 1

    client_end, server_end = socket.socketpair()
    with client_end, server_end:
        client_end.settimeout(5)
        reader = http._UntilDeadline(client_end, client_end.makefile("rb", buffering=0))
        server_end.sendall(b"abc")
        assert (reader.read(2), reader.read(2), client_end.gettimeout()) == (b"ab", b"c", 5)


def test_no_compression_is_requested_or_read(serve: Serve) -> None:
    server = serve(answer(200, gzip.compress(b"{}"), content_encoding="gzip"))
    error = failure(client(server.url), "POST", **PURCHASE)
    assert (str(error), error.sent) == ("its body is compressed, which was not requested", True)
    assert b"\r\naccept-encoding: identity\r\n" in server.received[0].lower()


@pytest.mark.parametrize(
    ("form", "code"),
    [("with length", 200), ("with length", 500), ("chunked", 200), ("without length", 302)],
)
def test_body_above_the_limit_is_refused_and_not_kept_in_memory(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, form: str, code: int
) -> None:
    monkeypatch.setattr(http, "MOST_BODY", 1_000_000)
    body = b" " * 8_000_000
    step = {
        "with length": answer(code, body, location="/x"),
        "chunked": say(f"HTTP/1.1 {code} No\r\nTransfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body),
        "without length": say(f"HTTP/1.1 {code} No\r\n\r\n".encode() + body),
    }[form]
    http_client = client(serve(step).url)
    tracemalloc.start()
    try:
        error = failure(http_client, "POST", **PURCHASE)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (str(error), error.sent) == ("its body is larger than 1 MB", True)
    assert peak < 4_000_000  # one or two copies of what was read before the limit


def test_body_of_exactly_the_limit_is_read(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_BODY", 1000)
    body = b"[]" + b" " * 998
    assert client(serve(answer(200, body)).url).exchange("GET", "/x", **READ).data == []


def test_body_limit_is_32_mib() -> None:
    assert http.MOST_BODY == 33_554_432


# Retries


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_read_is_retried_after_transient_status_codes(queue: RequestQueue, naps: list[float], status: int) -> None:
    queue.expect("GET", "/x", status=status, times=2).expect("GET", "/x", {"a": 1})
    assert client(retries=5).exchange("GET", "/x", **READ).data == {"a": 1}
    assert len(naps) == 2


@pytest.mark.parametrize("status", [200, 204, 304, 400, 401, 403, 404, 409, 410, 422, 501, 505])
def test_read_is_not_retried_after_other_status_codes(queue: RequestQueue, naps: list[float], status: int) -> None:
    queue.expect("GET", "/x", b"", status)
    assert client(retries=5).exchange("GET", "/x", **READ).status == status
    assert naps == []


def test_read_is_retried_after_lost_connections(serve: Serve, naps: list[float]) -> None:
    server = serve(read_and_hang_up, hang_up, answer(200, b'{"a":', length=100), answer(200, b"[]"))
    assert client(server.url, retries=5).exchange("GET", "/x", **READ).data == []
    assert (server.connections, len(naps)) == (4, 3)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_read_is_retried_at_most_retries_times(queue: RequestQueue, naps: list[float], retries: int) -> None:
    queue.expect("GET", "/x", status=503, times=retries + 1)
    assert client(retries=retries).exchange("GET", "/x", **READ).status == 503
    assert len(naps) == retries


def test_failure_of_the_last_attempt_is_raised(queue: RequestQueue) -> None:
    queue.expect("GET", "/x", status=500).expect("GET", "/x", LOST)
    assert "the connection was lost" in str(failure(client(retries=1)))


def test_answer_of_the_last_attempt_is_returned(queue: RequestQueue) -> None:
    queue.expect("GET", "/x", LOST).expect("GET", "/x", status=500)
    assert client(retries=1).exchange("GET", "/x", **READ).status == 500


def test_request_may_have_its_own_retries_and_timeout(queue: RequestQueue, naps: list[float]) -> None:
    queue.expect("GET", "/x", status=500)
    client(retries=5, timeout=60).exchange("GET", "/x", retries=0, timeout=3, **READ)
    assert naps == []
    assert queue.timeouts == [(3, 3)]


@pytest.mark.parametrize(("timeout", "expected"), [(60, (10.0, 60)), (4, (4, 4))])
def test_connecting_times_out_after_at_most_ten_seconds(
    queue: RequestQueue, timeout: float, expected: tuple[float, float]
) -> None:
    queue.expect("GET", "/x")
    client(timeout=timeout).exchange("GET", "/x", **READ)
    assert queue.timeouts == [expected]


BUSY: list[tuple[int, dict[str, str]]] = [(429, {}), (429, {"Retry-After": "2"}), (503, {"Retry-After": "2"})]


@pytest.mark.parametrize(
    ("status", "headers", "asks_for_retry"),
    [
        *((status, {}, False) for status in (408, 425, 500, 502, 503, 504)),
        *((status, {"Retry-After": "1"}, False) for status in (408, 425, 500, 502, 504)),
        *((*busy, True) for busy in BUSY),
    ],
)
def test_answered_purchase_is_never_retried(
    queue: RequestQueue, naps: list[float], status: int, headers: dict[str, str], asks_for_retry: bool
) -> None:
    queue.expect("POST", "/x", status=status, headers=headers)
    got = client(retries=5).exchange("POST", "/x", **PURCHASE)
    assert (got.status, http.asks_for_retry(got.status, got.retry_after), naps) == (status, asks_for_retry, [])


@pytest.mark.parametrize("step", [hang_up, read_and_hang_up, stall, answer(200, b"{", length=9)])
def test_purchase_with_lost_answer_is_never_retried(serve: Serve, naps: list[float], step: Any) -> None:
    server = serve(step)
    assert failure(client(server.url, retries=5, timeout=0.2), "POST", **PURCHASE).sent
    assert (server.connections, naps) == (1, [])


@pytest.mark.parametrize(("status", "headers"), BUSY)
def test_change_is_retried_if_the_server_asks_for_it(
    queue: RequestQueue, naps: list[float], status: int, headers: dict[str, str]
) -> None:
    queue.expect("DELETE", "/x", status=status, headers=headers).expect("DELETE", "/x", {"a": 1})
    assert client(retries=5).exchange("DELETE", "/x", repeatable=False).data == {"a": 1}
    assert len(naps) == 1


def test_unsent_purchase_is_retried(closed_port: RawServer) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            closed_port.listen()

    got = client(closed_port.url, retries=5, sleep=nap).exchange("POST", "/x", **PURCHASE)
    assert (got.status, len(naps), closed_port.connections) == (200, 2, 1)
    assert closed_port.received[0].endswith(PURCHASE["body"])


def test_unsent_purchase_is_retried_at_most_retries_times(closed_port: RawServer, naps: list[float]) -> None:
    assert not failure(client(closed_port.url, retries=2), "POST", **PURCHASE).sent
    assert len(naps) == 2


def test_answer_after_an_unsent_attempt_is_returned(closed_port: RawServer) -> None:
    closed_port._script = (answer(500),)
    got = client(closed_port.url, retries=5, sleep=lambda _s: closed_port.listen()).exchange("POST", "/x", **PURCHASE)
    assert (got.status, closed_port.connections) == (500, 1)


# Pauses


@pytest.mark.parametrize(("luck", "factor"), [(0.0, 0.5), (1.0, 1.0)])
def test_pauses_double_up_to_half_a_minute(
    queue: RequestQueue, naps: list[float], monkeypatch: pytest.MonkeyPatch, luck: float, factor: float
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: low + luck * (high - low))
    queue.expect("GET", "/x", status=500, times=10)
    client(retries=9).exchange("GET", "/x", **READ)
    assert naps == [factor * pause for pause in (0.5, 1, 2, 4, 8, 16, 30, 30, 30)]


def test_pauses_are_random(queue: RequestQueue, naps: list[float]) -> None:
    queue.expect("GET", "/x", status=500, times=12)
    for _host in range(6):
        client(retries=1).exchange("GET", "/x", **READ)
    assert len(set(naps)) > 1
    assert all(0.25 <= pause <= 0.5 for pause in naps)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_sets_the_pause(queue: RequestQueue, naps: list[float], status: int, form: str) -> None:
    date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=40), usegmt=True)
    queue.expect("GET", "/x", status=status, headers={"Retry-After": "40" if form == "seconds" else date})
    queue.expect("GET", "/x")
    client(retries=1).exchange("GET", "/x", **READ)
    assert 37 < naps[0] <= 40


def test_short_retry_after_does_not_shorten_the_pause(queue: RequestQueue, naps: list[float]) -> None:
    queue.expect("GET", "/x", status=429, headers={"Retry-After": "0"}).expect("GET", "/x")
    client(retries=1).exchange("GET", "/x", **READ)
    assert 0.25 <= naps[0] <= 0.5


@pytest.mark.parametrize(("seconds", "requests"), [("60", 2), ("61", 1), ("3600", 1), ("99999999999", 1)])
def test_retry_after_of_more_than_a_minute_is_reported_not_awaited(
    queue: RequestQueue, naps: list[float], seconds: str, requests: int
) -> None:
    queue.expect("GET", "/x", status=429, headers={"Retry-After": seconds}, times=requests)
    got = client(retries=1).exchange("GET", "/x", **READ)
    assert got.retry_after == float(seconds)
    assert len(naps) == requests - 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        (" 7 ", 7),
        ("-7", None),
        ("1.5", None),
        ("soon", None),
        ("\u0667", None),
        ("Sat, 31 Jan 2026 12:00:30 GMT", 30),
        ("Sat, 31 Jan 2026 13:00:30 +0100", 30),
        ("Sat, 31 Jan 2026 12:00:30 -0000", 30),
        ("Sat, 31 Jan 2026 11:59:00 GMT", 0),
        ("Sat, 31 Jan 2026 99:99:99 GMT", None),
        ("Sat, 31 Jan 99999 12:00:30 GMT", None),
    ],
)
def test_retry_after_seconds(value: str | None, seconds: float | None) -> None:
    assert http.retry_after_seconds(value, NOW) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d [+-]\d{1,6}"))
def test_retry_after_seconds_accepts_any_text(value: str) -> None:
    seconds = http.retry_after_seconds(value, NOW)
    assert seconds is None or seconds >= 0


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("options", [READ, PURCHASE], ids=["read", "purchase"])
@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("/new?a=b", "/new"),
        ("http://[::1", "http://[::1"),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9/x"),
        ("https://me:hunter2@login.example/@x#id_token=abc", "https://login.example/@x"),
    ],
)
def test_redirects_are_not_followed(
    serve: Serve, status: int, options: dict[str, Any], location: str, shown: str
) -> None:
    server = serve(answer(status, location=location))
    got = client(server.url, retries=5).exchange("GET" if options is READ else "POST", "/x", **options)
    assert (got.status, got.location, server.connections) == (status, shown, 1)


# The token


def test_netrc_does_not_replace_the_token(serve: Serve, home: Path) -> None:
    server = serve(answer())
    (home / ".netrc").write_text("machine 127.0.0.1 login someone password else\n")
    (home / ".netrc").chmod(0o600)
    client(server.url).exchange("GET", "/x", **READ)
    assert f"Authorization: Bearer {TOKEN}".encode() in server.received[0]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_loopback_requests_bypass_proxies(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, variable: str, host: str
) -> None:
    proxy = serve(answer())
    monkeypatch.setenv(variable, proxy.url)
    try:
        server = serve(answer(200, b"[]"), host="::1" if host == "[::1]" else "127.0.0.1")
    except OSError:
        pytest.skip("this computer has no IPv6")
    assert client(f"http://{host}:{server.port}").exchange("GET", "/x", **READ).data == []
    assert (server.connections, proxy.connections) == (1, 0)


def test_proxy_for_other_hosts_never_sees_the_token(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve(answer(403, b"not you"))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    error = failure(client(), "POST", **PURCHASE)
    assert proxy.received[0].startswith(b"CONNECT supply-api.example.com:443 ")
    assert TOKEN.encode() not in proxy.received[0]
    assert str(error).startswith("proxy: ") and "403" in str(error)
    assert not error.sent and not error.permanent


def test_request_to_an_unreachable_proxy_counts_as_not_sent(
    closed_port: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", closed_port.url)
    error = failure(client(), "POST", **PURCHASE)
    assert (str(error), error.sent) == ("proxy: Connection refused", False)


@pytest.mark.parametrize("proxy", ["http://me:s3cretword@[bad", "http://me:s3cretword@host:port", "me:s3cretword@@:x"])
def test_proxy_password_is_hidden(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setattr(socket, "getaddrinfo", _no_names)
    assert "s3cretword" not in str(failure(client()))


def _no_names(*_args: Any, **_options: Any) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


# Certificates


def test_untrusted_certificate_is_a_permanent_error_and_sends_nothing(
    serve: Serve, tls: ssl.SSLContext, naps: list[float]
) -> None:
    error = failure(client(serve(answer(), tls=tls).url, retries=5), "POST", **PURCHASE)
    assert "certificate verify failed" in str(error)
    assert (error.sent, error.permanent, naps) == (False, True, [])


def test_certificate_for_another_name_is_a_permanent_error_and_sends_nothing(
    serve: Serve, authority: trustme.CA, ca_file: str, naps: list[float]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example.com").configure_cert(context)
    error = failure(client(serve(answer(), tls=context).url, retries=5, verify=ca_file), "POST", **PURCHASE)
    assert "certificate verify failed" in str(error)
    assert (error.sent, error.permanent, naps) == (False, True, [])


def test_certificate_of_given_authority_is_accepted(serve: Serve, tls: ssl.SSLContext, ca_file: str) -> None:
    server = serve(answer(200, b"[]"), tls=tls)
    assert client(server.url, verify=ca_file).exchange("GET", "/x", **READ).data == []
    assert f"Bearer {TOKEN}".encode() in server.received[0]


def test_verification_can_be_switched_off_without_warnings(
    serve: Serve, tls: ssl.SSLContext, recwarn: pytest.WarningsRecorder
) -> None:
    assert client(serve(answer(200, b"[]"), tls=tls).url, verify=False).exchange("GET", "/x", **READ).data == []
    assert not [warning for warning in recwarn if "Insecure" in warning.category.__name__]


def test_certificate_of_authority_in_requests_ca_bundle_is_accepted(
    serve: Serve, tls: ssl.SSLContext, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    assert client(serve(answer(200, b"[]"), tls=tls).url).exchange("GET", "/x", **READ).data == []


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("verified", [True, False], ids=["ca_path", "validate_certs=false"])
def test_environment_does_not_override_ca_path_or_validate_certs(
    serve: Serve, tls: ssl.SSLContext, ca_file: str, monkeypatch: pytest.MonkeyPatch, variable: str, verified: bool
) -> None:
    other = Path(ca_file).with_name("other.pem")
    trustme.CA().cert_pem.write_to_path(str(other))
    monkeypatch.setenv(variable, str(other))
    server = serve(answer(200, b"[]"), tls=tls)
    assert client(server.url, verify=ca_file if verified else False).exchange("GET", "/x", **READ).data == []


# The base URL


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://supply-api.example.com", "https://supply-api.example.com"),
        (" https://supply-api.example.com/ \n", "https://supply-api.example.com"),
        ("https://example.com:8443/supply//", "https://example.com:8443/supply"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.99.0.1", "http://127.99.0.1"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("http://localhost", "http://localhost"),
        ("HTTP://LOCALHOST:1", "http://localhost:1"),
        *(
            (url, "https://api.example.com/Base")
            for url in (
                *("https://API.Example.com/Base", "https://api.example.com:443/Base/", "https://api.example.com./Base"),
                *("HTTPS://api.example.com:0443/Base", "https://api.example.com:/Base//"),
            )
        ),
        ("http://127.0.0.1:80/", "http://127.0.0.1"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
        ("https://example.com:80", "https://example.com:80"),
    ],
)
def test_check_base_url_returns_normal_form(url: str, expected: str) -> None:
    assert http.check_base_url(url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", r"must be an http\(s\) URL"),
        ("supply-api.example.com", r"must be an http\(s\) URL"),
        ("ftp://supply-api.example.com", r"must be an http\(s\) URL"),
        ("file:///etc/passwd", r"must be an http\(s\) URL"),
        ("https://", r"must be an http\(s\) URL"),
        ("https:///path", r"must be an http\(s\) URL"),
        ("https://:443", r"must be an http\(s\) URL"),
        ("https://host:99999", "is not a valid URL"),
        ("https://host:port", "is not a valid URL"),
        ("https://[::1", "is not a valid URL"),
        ("https://user@host", "must not contain credentials"),
        ("https://user:word@host", "must not contain credentials"),
        ("https://@host", "must not contain credentials"),
        ("https://host?a=b", "must not contain .* query"),
        ("https://host?", "must not contain .* query"),
        ("https://host/#part", "must not contain .* fragment"),
        ("https://host#", "must not contain .* fragment"),
        ("http://supply-api.example.com", "is plain http"),
        ("HTTP://supply-api.example.com", "is plain http"),
        ("http://10.0.0.1", "is plain http"),
        ("http://0.0.0.0", "is plain http"),
        ("http://127.1", "is plain http"),
        ("http://localhost.example.com", "is plain http"),
        ("http://127.0.0.1.example.com", "is plain http"),
        ("http://127.0.0.1\t.example.com", "is plain http"),
        ("http://127.0.0.1@example.com", "must not contain credentials"),
        ("http://example.com\\@127.0.0.1", "must not contain credentials"),
    ],
)
def test_check_base_url_refuses_unsafe_urls(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        http.check_base_url(url)


@given(st.text(max_size=40) | st.from_regex(r"https?://[a-z0-9.:@\[\]\\/?#%-]{0,20}", fullmatch=True))
def test_check_base_url_accepts_or_refuses_any_text(url: str) -> None:
    try:
        accepted = http.check_base_url(url)
    except ValueError as error:
        assert str(error)
    else:
        assert accepted.lower().startswith(("https://", "http://127.", "http://localhost", "http://[")), accepted


def test_client_refuses_unsafe_url() -> None:
    with pytest.raises(ValueError, match="plain http"):
        client("http://supply-api.example.com")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("", False)],
)
def test_is_loopback(host: str, expected: bool) -> None:
    assert http.is_loopback(host) is expected


# Secrets


def test_data_is_not_redacted(serve: Serve) -> None:
    """A token may equal a word of the API."""
    got = client(serve(answer(200, b'{"status": "ready"}')).url, token="status").exchange("GET", "/x", **READ)
    assert got.data == {"status": "ready"}


def test_redact_removes_the_token() -> None:
    assert client().redact(f"bad token {TOKEN}, {TOKEN}") == "bad token ********, ********"
    # The reader turns words of the API into lower case.
    http_client = client(token="My-Token-7")
    assert http_client.redact("of 'my-token-7', My-Token-7") == "of '********', ********"


def test_token_in_broken_status_line_is_hidden(serve: Serve) -> None:
    error = failure(client(serve(say(f"{TOKEN} is bad\r\n\r\n".encode())).url))
    assert TOKEN not in repr(error) + "".join(traceback.format_exception(error))


def test_token_that_is_invalid_in_a_header_is_hidden() -> None:
    error = failure(client(token="line1-of-token\r\nX-Evil: 1"))
    assert "line1-of-token" not in repr(error) + "".join(traceback.format_exception(error))


def test_redact_removes_further_secrets() -> None:
    http_client = client()
    http_client.hide("hunter22", "", "hunter23")
    assert http_client.redact("password: hunter22 and hunter23") == "password: ******** and ********"
    assert client().redact("hunter22") == "hunter22"


def test_secrets_of_two_letters_are_not_redacted() -> None:
    http_client = client(token="er")
    http_client.hide("rr")
    assert http_client.redact("The server errs.") == "The server errs."


# Missing library


def test_missing_requests_library_is_reported(import_without: Callable[..., Any]) -> None:
    assert http.REQUESTS_IMPORT_ERROR is None
    assert "import of requests halted" in import_without(http, "requests").REQUESTS_IMPORT_ERROR


# The server's clock

AT_EIGHT = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC


@pytest.mark.parametrize(
    ("date", "age", "ahead"),
    [
        ("Fri, 15 Jan 2027 08:00:00 GMT", None, 0.0),
        ("Fri, 15 Jan 2027 09:00:00 GMT", None, 3600.0),
        # A cache says for how many seconds it has kept the answer.
        ("Fri, 15 Jan 2027 07:00:00 GMT", "3600", 0.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", "soon", None),
        ("Fri, 15 Jan 2027 07:00:00 GMT", "-1", None),
        # A clock that is off by more than ten years is ignored.
        ("Fri, 15 Jan 2036 08:00:00 GMT", None, 283_996_800.0),
        ("Sat, 15 Jan 2039 08:00:00 GMT", None, None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None, None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", "9999999999", None),
        ("Mon, 01 Jan 0001 00:00:00 +2359", None, None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None, None),
        ("now", None, None),
        (None, "5", None),
    ],
)
def test_seconds_ahead(date: str | None, age: str | None, ahead: float | None) -> None:
    assert seconds_ahead(date, age, AT_EIGHT) == ahead


@given(st.text(max_size=40) | st.none(), st.text(max_size=12) | st.none())
def test_seconds_ahead_accepts_any_headers(date: str | None, age: str | None) -> None:
    found = seconds_ahead(date, age, AT_EIGHT)
    assert found is None or abs(found) <= FARTHEST


def test_only_json_answers_set_the_clock(serve: Serve) -> None:
    def dated(hours: float, body: bytes = b"{}", **headers: str) -> Any:
        return answer(body=body, date=formatdate(time.time() + 3600 * hours, usegmt=True), **headers)

    steps = [
        dated(1.0),
        dated(24.0, b"<html>502</html>", content_type="text/html"),
        dated(24.0, b"Bad gateway", content_type="text/plain"),
        dated(24.0, b"{}", content_type="text/html; charset=utf-8"),
        answer(),
        dated(2.0, age="3600", content_type="application/json"),
    ]
    http_client, readings = client(serve(*steps).url), []
    for _step in steps:
        http_client.exchange("GET", "/x", **READ)
        readings.append(http_client.ahead)
    assert readings == pytest.approx([3600.0] * 5 + [3 * 3600.0], abs=30)
