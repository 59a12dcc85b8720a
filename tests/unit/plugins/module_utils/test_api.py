# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API client: the request of each endpoint, and the tolerant reader of its answers."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _text
from ansible_collections.compute_index.supply.plugins.module_utils._api import client, market
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import VERSION, ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._api.http import Answer, HttpClient, TransportError
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._machine import connection
from hypothesis import given
from hypothesis import strategies as st

from request_queue import LOST, RequestQueue
from samples import (
    BASE,
    KEY,
    OFFER_ID,
    OFFER_PATH,
    RESOURCE_ID,
    SECOND_RESOURCE_ID,
    STATUS_PATH,
    TOKEN,
    instance,
    offer,
    procurement,
    resource,
    status,
)

SECRETS = ("hunter22", "w0rd-w1th-qu0tes", "\u00fcber-secret-word")
USER_DATA = (
    '#cloud-config\nchpasswd:\n  list: root:hunter22\nruncmd:\n- echo "w0rd-w1th-qu0tes"\n- [\u00fcber-secret-word]\n'
)
ORDER = {"offer_id": OFFER_ID, "ssh_public_key": KEY, "cloud_init": USER_DATA}

# Calls each method of the API with sample arguments.
METHODS: dict[str, Callable[[Market], Any]] = {
    "search_offers": lambda api: api.search_offers({"compute": {"gpu_type": "H100"}}),
    "offer": lambda api: api.offer(OFFER_ID),
    "offer_status": lambda api: api.offer_status(OFFER_ID),
    "resources": lambda api: api.resources(OFFER_ID),
    "resource": lambda api: api.resource(RESOURCE_ID),
    "catalog": lambda api: api.catalog("gpus"),
    "procure": lambda api: api.procure(ORDER, timeout=600),
    "delete_resource": lambda api: api.delete_resource(RESOURCE_ID, force=False),
}
METHOD = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


class Canned:
    """Replaces the HTTP client; gives the same answer to each request."""

    base_url = "https://supply-api.example.com"

    def __init__(self, data: Any = None, status: int = 200, *, is_json: bool = True, **facts: Any) -> None:
        self.answer = Answer(status, is_json, data, **facts)

    def exchange(self, *_request: Any, **_how: Any) -> Answer:
        return self.answer

    def hide(self, *_secrets: str) -> None:
        pass

    def redact(self, text: str) -> str:
        return text


def canned(data: Any = None, status: int = 200, **facts: Any) -> Market:
    http: Any = Canned(data, status, **facts)
    return Market(http)


@pytest.fixture
def api() -> Market:
    return Market(HttpClient(BASE, TOKEN, client.USER_AGENT, retries=0))


def error_of(method: Callable[[Market], Any], api: Market) -> ApiError:
    with pytest.raises(ApiError) as caught:
        method(api)
    return caught.value


# Requests


@pytest.mark.parametrize(
    ("name", "expected", "answer"),
    [
        ("offer", ("GET", OFFER_PATH), offer()),
        ("offer_status", ("GET", STATUS_PATH), status()),
        ("resources", ("GET", "/resources"), []),
        ("resource", ("GET", f"/resources/{RESOURCE_ID}"), resource()),
        ("catalog", ("GET", "/available_gpus"), {}),
        ("search_offers", ("POST", "/get_offers"), []),
        ("procure", ("POST", "/procure_offer"), procurement()),
        ("delete_resource", ("DELETE", f"/resources/{RESOURCE_ID}"), {"status": "deleting"}),
    ],
)
def test_each_method_sends_one_request(
    queue: RequestQueue, api: Market, name: str, expected: tuple[str, str], answer: Any
) -> None:
    queue.expect(*expected, answer, query={"offer_id": OFFER_ID} if name == "resources" else None)
    METHODS[name](api)
    headers = queue.calls[0].headers
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["User-Agent"] == client.USER_AGENT
    assert headers["Accept"] == "application/json"


def test_search_sends_spec_as_yaml(queue: RequestQueue, api: Market) -> None:
    class Text(str):
        """A subclass of str, like the texts that Ansible's templates return."""

    spec = {"region": Text("EU"), "compute": {"gpu_type": "H100 | A100", "gpu_count": 8}, "storage": [{"size": "2TB"}]}
    queue.expect("POST", "/get_offers", {"offers": [], "total_count": 0}, body=spec)
    assert api.search_offers(spec)[:2] == ([], 0)
    assert queue.calls[0].headers["Content-Type"] == "application/yaml"


def test_search_keeps_key_order_and_non_ascii_text(queue: RequestQueue, api: Market) -> None:
    queue.expect("POST", "/get_offers", [])
    api.search_offers({"vendor": "Z\u00fcrich", "compute": {"gpu_type": "L4"}})
    body = queue.calls[0].body
    text = getattr(body, "getvalue", lambda: body)().decode()
    assert text == "vendor: Z\u00fcrich\ncompute:\n  gpu_type: L4\n"


@pytest.mark.parametrize(
    "order",
    [{"offer_id": OFFER_ID, "ssh_public_key": KEY}, {**ORDER, "resource_name": "trainer", "cluster_name": "c"}],
    ids=["required fields", "all fields"],
)
def test_purchase_sends_order_as_json(queue: RequestQueue, api: Market, order: dict[str, str]) -> None:
    queue.expect("POST", "/procure_offer", procurement(), body=order)
    api.procure(order, timeout=600)
    assert queue.calls[0].headers["Content-Type"] == "application/json"


def test_purchase_and_status_use_their_own_timeouts(queue: RequestQueue, api: Market) -> None:
    queue.expect("POST", "/procure_offer", procurement()).expect("GET", STATUS_PATH, status())
    api.procure(ORDER, timeout=600)
    api.offer_status(OFFER_ID, timeout=3)
    assert [whole for _connecting, whole in queue.timeouts] == [600, 3]


def test_all_resources_are_listed_without_a_query(queue: RequestQueue, api: Market) -> None:
    queue.expect("GET", "/resources", [resource()])
    assert [item["resource_id"] for item in api.resources()] == [RESOURCE_ID]


def test_ids_are_quoted_in_paths(queue: RequestQueue, api: Market) -> None:
    queue.expect("GET", "/offers/a%2Fb%3Fc%23d", offer(offer_id=None))
    api.offer("a/b?c#d")


@pytest.mark.parametrize("name", ["search_offers", "offer", "offer_status", "resources", "resource", "catalog"])
def test_reads_are_retried(queue: RequestQueue, name: str) -> None:
    method, path = {
        "search_offers": ("POST", "/get_offers"),
        "offer": ("GET", OFFER_PATH),
        "offer_status": ("GET", STATUS_PATH),
        "resources": ("GET", "/resources"),
        "resource": ("GET", f"/resources/{RESOURCE_ID}"),
        "catalog": ("GET", "/available_gpus"),
    }[name]
    answer = {"offers": [], "resources": [], "status": "available"}
    query = {"offer_id": OFFER_ID} if name == "resources" else None
    queue.expect(method, path, LOST, query=query).expect(method, path, status=502, query=query)
    queue.expect(method, path, answer, query=query)
    METHODS[name](Market(HttpClient(BASE, TOKEN, "tests", retries=5)))


@pytest.mark.parametrize(
    ("name", "request_line"),
    [("procure", ("POST", "/procure_offer")), ("delete_resource", ("DELETE", f"/resources/{RESOURCE_ID}"))],
)
@pytest.mark.parametrize(("reply", "code"), [(LOST, 200), ({}, 500), ({}, 503)], ids=["lost", "500", "503"])
def test_changes_are_not_retried(
    queue: RequestQueue, name: str, request_line: tuple[str, str], reply: Any, code: int
) -> None:
    queue.expect(*request_line, reply, code)
    error = error_of(METHODS[name], Market(HttpClient(BASE, TOKEN, "tests", retries=5)))
    assert (error.sent, error.error_class, error.refused) == (True, "unavailable", False)


def test_force_refresh_and_force_are_sent_in_the_query(queue: RequestQueue, api: Market) -> None:
    queue.expect("GET", f"/resources/{RESOURCE_ID}", resource(), query={"force_refresh": "true"})
    queue.expect("DELETE", f"/resources/{RESOURCE_ID}", {"status": "deleting"}, query={"force": "true"})
    api.resource(RESOURCE_ID, force_refresh=True)
    assert api.delete_resource(RESOURCE_ID, force=True) == {"status": "deleting"}


@pytest.mark.parametrize(
    ("name", "path", "query"),
    [
        ("offer_status", STATUS_PATH, None),
        ("resources", "/resources", {"offer_id": OFFER_ID}),
        ("resource", f"/resources/{OFFER_ID}", None),
    ],
)
def test_reads_accept_zero_retries(queue: RequestQueue, name: str, path: str, query: Any) -> None:
    queue.expect("GET", path, status=503, query=query)
    api = Market(HttpClient(BASE, TOKEN, "tests", retries=5))
    assert error_of(lambda api: getattr(api, name)(OFFER_ID, retries=0), api).status_code == 503


def test_check_mode_sends_reads_only(queue: RequestQueue) -> None:
    api = Market(HttpClient(BASE, TOKEN, "tests"), read_only=True)
    queue.expect("POST", "/get_offers", []).expect("GET", OFFER_PATH, offer())
    METHODS["search_offers"](api)
    METHODS["offer"](api)
    for name in ("procure", "delete_resource"):
        with pytest.raises(AssertionError, match="must not be sent in check mode"):
            METHODS[name](api)


def test_search_without_pyyaml_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    error = error_of(METHODS["search_offers"], canned([]))
    assert (error.error_class, error.sent) == ("invalid", False)
    assert "PyYAML" in str(error)


# Errors


@METHOD
@pytest.mark.parametrize(
    ("code", "error_class", "transient", "refused"),
    [
        (300, "protocol", False, False),
        (301, "protocol", False, False),
        (304, "protocol", False, False),
        (307, "protocol", False, False),
        (400, "invalid", False, True),
        (401, "auth", False, True),
        (402, "invalid", False, True),
        (403, "auth", False, True),
        (404, "not_found", False, True),
        (405, "invalid", False, True),
        (408, "unavailable", True, False),
        (409, "conflict", False, True),
        (410, "expired", False, True),
        (413, "invalid", False, True),
        (415, "invalid", False, True),
        (418, "invalid", False, True),
        (422, "invalid", False, True),
        (425, "unavailable", True, True),
        (429, "rate_limited", True, True),
        (451, "invalid", False, True),
        (500, "unavailable", True, False),
        (501, "unavailable", True, False),
        (502, "unavailable", True, False),
        (503, "unavailable", True, False),
        (504, "unavailable", True, False),
        (520, "unavailable", True, False),
        (599, "unavailable", True, False),
    ],
)
def test_each_status_code_has_an_error_class(
    method: Any, code: int, error_class: str, transient: bool, refused: bool
) -> None:
    error = error_of(method, canned({"detail": "because"}, code))
    if code == 410 and method is METHODS["resource"]:
        error_class = "not_found"  # a 410 says no more about a resource than a 404
    assert (error.error_class, error.status_code) == (error_class, code)
    assert (error.transient, error.refused, error.sent) == (transient, refused, True)
    assert str(code) in str(error) or 300 <= code < 400


@METHOD
@pytest.mark.parametrize("code", [400, 402, 403, 409, 422])
def test_refusal_that_mentions_a_quota_has_class_quota(method: Any, code: int) -> None:
    error = error_of(method, canned({"detail": "Quota exceeded for GPUs in eu-north1"}, code))
    assert (error.error_class, error.transient, error.refused) == ("quota", False, True)


@METHOD
@pytest.mark.parametrize("code", [401, 404, 408, 410, 425, 429, 500, 503])
def test_quota_text_does_not_change_class_of_other_status_codes(method: Any, code: int) -> None:
    words = "Quota exceeded for GPUs in eu-north1"
    plain = error_of(method, canned({"detail": "because"}, code))
    assert error_of(method, canned({"detail": words}, code)).error_class == plain.error_class


@pytest.mark.parametrize("status", [409, 410])
def test_html_page_does_not_prove_offer_sold_or_expired(status: int) -> None:
    error = error_of(METHODS["procure"], canned({"detail": "no"}, status, is_html=True))
    assert (error.refused, error.transient, error.error_class) == (False, True, "unavailable")
    assert error_of(METHODS["procure"], canned({}, status)).refused


@METHOD
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"data": None, "is_json": False}, id="no JSON"),
        pytest.param({"data": {"detail": "Not found"}, "is_html": True}, id="JSON sent as HTML"),
        pytest.param({"data": {}}, id="an empty object"),
        pytest.param({"data": []}, id="a list"),
        pytest.param({"data": {"detail": ""}}, id="an empty detail"),
        pytest.param({"data": {"message": "no Route matched with those values"}}, id="a gateway's message"),
        pytest.param({"data": {"error": "Not Found", "path": "/resources", "status": 404}}, id="a framework's error"),
        pytest.param(
            {"data": {"type": "about:blank", "title": "Not Found", "detail": "No such host"}}, id="a problem document"
        ),
    ],
)
def test_404_in_a_form_other_than_the_apis_is_transient(method: Any, answer: Any) -> None:
    error = error_of(method, canned(status=404, **answer))
    assert (error.error_class, error.transient, error.refused, error.sent) == ("unavailable", True, False, True)


@METHOD
@pytest.mark.parametrize("code", [200, 201, 204])
def test_success_without_json_is_a_transient_error(method: Any, code: int) -> None:
    error = error_of(method, canned(None, code, is_json=False))
    assert (error.error_class, error.status_code, error.transient, error.sent) == ("protocol", code, True, True)
    assert not error.refused
    assert "api_url" in str(error)


@METHOD
@pytest.mark.parametrize(("sent", "permanent"), [(True, False), (False, False), (False, True)])
def test_transport_error_has_class_unavailable(
    method: Any, sent: bool, permanent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_args: Any, **_how: Any) -> Answer:
        raise TransportError("Connection refused", sent=sent, permanent=permanent)

    api = canned()
    monkeypatch.setattr(Canned, "exchange", lose)
    error = error_of(method, api)
    assert (error.error_class, error.status_code, error.sent, error.transient) == (
        "unavailable",
        None,
        sent,
        not permanent,
    )
    assert not error.refused
    assert "got no answer: Connection refused." in str(error)


@pytest.mark.parametrize("unreachable", [False, True])
@pytest.mark.parametrize("host", [*client.HOSTS, "supply-api.example.com"])
def test_unreachable_host_error_names_the_other_documented_host(
    host: str, unreachable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_args: Any, **_how: Any) -> Answer:
        raise TransportError("Name or service not known", sent=True, unreachable=unreachable)

    monkeypatch.setattr(Canned, "exchange", lose)
    monkeypatch.setattr(Canned, "base_url", f"https://{host}")
    message = str(error_of(METHODS["resources"], canned()))
    named = [name for name in client.HOSTS if f"try api_url https://{name}." in message]
    assert named == ([name for name in client.HOSTS if name != host] if unreachable and host in client.HOSTS else [])


def test_503_with_retry_after_is_not_a_refusal() -> None:
    error = error_of(METHODS["procure"], canned({}, 503, retry_after=7.0))
    assert (error.sent, error.refused, error.retry_after, error.transient) == (True, False, 7.0, True)
    assert str(error) == "POST /procure_offer answered 503. It asks to wait 7 seconds."


def test_retry_after_is_reported_only_for_transient_errors() -> None:
    assert str(error_of(METHODS["offer"], canned({"detail": "no"}, 404, retry_after=7.0))).endswith("answered 404: no.")


@METHOD
def test_404_advises_to_check_api_url_only_if_request_has_no_id(method: Any) -> None:
    message = str(error_of(method, canned({"detail": "Not Found"}, 404)))
    request = message.split(" answered ")[0]
    assert ("Check api_url" in message) == (
        request.split("/")[1:] in (["resources"], ["get_offers"], ["available_gpus"])
    )


@pytest.mark.parametrize("data", [None, {}, {"detail": "Moved"}])
def test_redirect_error_names_its_target(data: Any) -> None:
    error = error_of(METHODS["offer"], canned(data, 302, location="https://login.example.com:443"))
    assert str(error).startswith(f"GET {OFFER_PATH} was redirected to https://login.example.com:443, ")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param({"detail": "Offer has expired."}, "Offer has expired", id="text"),
        pytest.param({"detail": "  two\n lines "}, "two lines", id="text of several lines"),
        pytest.param({"detail": None}, "", id="null"),
        pytest.param({"detail": None, "message": "gone"}, "gone", id="null and a message"),
        pytest.param({"detail": 7}, "", id="number"),
        pytest.param({"detail": True}, "", id="boolean"),
        pytest.param({"detail": ""}, "", id="empty"),
        pytest.param({"detail": []}, "", id="empty list"),
        pytest.param({"detail": {}}, "", id="empty object"),
        pytest.param({}, "", id="absent"),
        pytest.param({"message": "gone"}, "gone", id="message"),
        pytest.param(None, "", id="JSON null"),
        pytest.param([], "", id="list"),
        pytest.param("gone", "", id="bare text"),
        pytest.param(
            {"detail": [{"loc": ["body", "offer_id"], "msg": "Input should be a valid UUID", "type": "uuid_parsing"}]},
            "offer_id: Input should be a valid UUID",
            id="validation error",
        ),
        pytest.param(
            {
                "detail": [
                    {"loc": ["query", "page", 0], "msg": "too big", "input": "x", "ctx": {}},
                    {"loc": "body", "msg": "bad"},
                    {"loc": ["body"], "msg": "worse"},
                    {"msg": None},
                    "plain",
                    7,
                    None,
                ]
            },
            "query.page.0: too big; bad; worse; plain",
            id="validation errors of all kinds",
        ),
        pytest.param({"detail": {"message": "no stock", "code": 7}}, "no stock", id="object with message"),
        pytest.param({"detail": {"msg": "", "error": "no stock"}}, "no stock", id="object with error"),
        pytest.param({"detail": {"detail": "no stock"}}, "no stock", id="object with detail"),
        pytest.param({"detail": {"reason": "no stock"}}, "no stock", id="object with reason"),
        pytest.param({"detail": {"code": 7}}, "", id="object without text"),
    ],
)
def test_error_detail_is_read_in_all_forms(data: Any, expected: str) -> None:
    error = error_of(METHODS["offer"], canned(data, 400))
    assert str(error) == f"GET {OFFER_PATH} answered 400{': ' + expected if expected else ''}."


def test_long_error_detail_is_cut() -> None:
    error = error_of(METHODS["offer"], canned({"detail": "x" * _text.LONGEST_LINE}, 400))
    assert str(error).endswith(": " + "x" * _text.LONGEST_LINE + ".")
    error = error_of(METHODS["offer"], canned({"detail": "x" * 10_000}, 400))
    assert str(error).endswith("x" * _text.LONGEST_LINE + "....")
    assert len(str(error)) < _text.LONGEST_LINE + 100


def test_error_message_does_not_quote_html(queue: RequestQueue, api: Market) -> None:
    queue.expect("GET", OFFER_PATH, b"<html>Bad gateway</html>", 502)
    assert str(error_of(METHODS["offer"], api)) == f"GET {OFFER_PATH} answered 502."


# Secrets


@pytest.mark.parametrize("code", [200, 400, 422, 500])
@pytest.mark.parametrize(
    "echo",
    [
        pytest.param(lambda text: {"detail": f"cannot use {text}"}, id="text"),
        pytest.param(lambda text: {"detail": [{"loc": ["body"], "msg": f"bad: {text}", "input": text}]}, id="list"),
        pytest.param(lambda text: {"detail": {"message": text, "body": text}}, id="object"),
        pytest.param(lambda text: {"status": "failed", "error": f"cannot use {text}"}, id="procurement"),
    ],
)
def test_answer_to_purchase_reveals_no_secret(queue: RequestQueue, api: Market, code: int, echo: Any) -> None:
    queue.expect("POST", "/procure_offer", echo(f"{TOKEN} {USER_DATA}"), code)
    try:
        shown = repr(api.procure(ORDER, timeout=60))
    except ApiError as error:
        shown = f"{error} {error!r}"
    assert [secret for secret in (TOKEN, *SECRETS) if secret in shown] == []


@pytest.mark.parametrize("line", [line.strip() for line in USER_DATA.splitlines()[1:]])
def test_echoed_line_of_user_data_is_hidden(queue: RequestQueue, api: Market, line: str) -> None:
    queue.expect("POST", "/procure_offer", {"detail": f"cannot run: {line}"}, 422)
    error = error_of(METHODS["procure"], api)
    assert "cannot run" in str(error)
    assert [secret for secret in SECRETS if secret in str(error)] == []


def test_line_that_starts_with_another_line_is_hidden_whole(queue: RequestQueue, api: Market) -> None:
    queue.expect("POST", "/procure_offer", {"detail": "sh: export KEY=abc123: not found"}, 422)
    order = {**ORDER, "cloud_init": "#!/bin/sh\nexport KEY\nexport KEY=abc123\n"}
    assert "abc123" not in str(error_of(lambda api: api.procure(order, timeout=60), api))


@pytest.mark.parametrize(
    "line", ["[{}]", "{{list: '{}'}}", "export KEY={}", "key: [a, {}, b]", "root:{}", '{{"a": "{}"}}']
)
def test_echoed_value_from_user_data_is_hidden(queue: RequestQueue, api: Market, line: str) -> None:
    queue.expect("POST", "/procure_offer", {"detail": "bad value hf_Abcdefghijkl123"}, 422)
    order = {**ORDER, "cloud_init": f"#!/bin/sh\n{line.format('hf_Abcdefghijkl123')}\n"}
    assert "hf_Abcdefghijkl123" not in str(error_of(lambda api: api.procure(order, timeout=60), api))


@pytest.mark.parametrize("echo", ["login   sp4ce\tx", "login sp4ce x"])
def test_line_is_hidden_with_and_without_repeated_blanks(queue: RequestQueue, api: Market, echo: str) -> None:
    queue.expect("POST", "/procure_offer", {"detail": f"cannot run: {echo}"}, 422)
    order = {**ORDER, "cloud_init": "#!/bin/sh\nlogin   sp4ce\tx\n"}
    assert "sp4ce" not in str(error_of(lambda api: api.procure(order, timeout=60), api))


@pytest.mark.parametrize("before", range(_text.LONGEST_LINE - len(TOKEN), _text.LONGEST_LINE, 5))
def test_secret_is_hidden_before_text_is_cut(queue: RequestQueue, api: Market, before: int) -> None:
    queue.expect("GET", OFFER_PATH, {"detail": "x" * before + TOKEN}, 422)
    assert TOKEN[:5] not in str(error_of(METHODS["offer"], api))


def test_token_in_redirect_target_is_hidden(queue: RequestQueue) -> None:
    token = "lower.case-t0ken"
    queue.expect("GET", OFFER_PATH, {}, 302, headers={"Location": f"https://{token}.example.com/"})
    assert token not in str(error_of(METHODS["offer"], Market(HttpClient(BASE, token, "tests", retries=0))))


def test_user_data_header_is_not_a_secret(queue: RequestQueue, api: Market) -> None:
    queue.expect("POST", "/procure_offer", {"detail": "must begin with #cloud-config"}, 422)
    assert "must begin with #cloud-config" in str(error_of(METHODS["procure"], api))


@pytest.mark.parametrize("field", ["failure_reason", "progress", "message"])
def test_later_answers_reveal_no_secret_of_the_purchase(queue: RequestQueue, api: Market, field: str) -> None:
    queue.expect("POST", "/procure_offer", LOST)
    queue.expect("GET", STATUS_PATH, status("failed", **{field: f"{TOKEN}: cannot run {USER_DATA}"}))
    with pytest.raises(ApiError):
        api.procure(ORDER, timeout=60)
    shown = repr(api.offer_status(OFFER_ID))
    assert "cannot run" in shown
    assert [secret for secret in (TOKEN, *SECRETS) if secret in shown] == []


def test_state_equal_to_the_token_is_not_hidden(queue: RequestQueue) -> None:
    queue.expect("GET", STATUS_PATH, status("ready"))
    assert Market(HttpClient(BASE, "ready", "tests")).offer_status(OFFER_ID)["phase"] == "ready"


# The tolerant reader: lists


BARE: Callable[[list[Any]], Any] = list
ENVELOPES = {
    "bare": BARE,
    **{
        name: (lambda items, name=name: {name: items, "region": "EU"})
        for name in ("resources", "items", "data", "results")
    },
    "after fields that are not lists": lambda items: {"items": None, "data": "x", "results": items},
}


@pytest.mark.parametrize("wrap", ENVELOPES.values(), ids=ENVELOPES.keys())
@pytest.mark.parametrize("items", [[], [resource()], [resource(), resource(SECOND_RESOURCE_ID)]], ids=len)
def test_resource_list_is_found_in_every_envelope(wrap: Any, items: list[Any]) -> None:
    found = canned(wrap(items)).resources(OFFER_ID)
    assert [item["resource_id"] for item in found] == [item["resource_id"] for item in items]


@pytest.mark.parametrize("data", [None, "x", 7, {}, {"resources": {}}, {"items": "x"}, {"offers": []}])
def test_answer_without_resource_list_is_an_error(data: Any) -> None:
    error = error_of(METHODS["resources"], canned(data))
    assert (error.error_class, error.transient) == ("protocol", True)


@pytest.mark.parametrize("data", [[7], [None], {"resources": ["x"]}])
def test_resource_that_is_not_an_object_is_an_error(data: Any) -> None:
    assert error_of(METHODS["resources"], canned(data)).error_class == "protocol"


NEXT = {"page": "2"}


@pytest.mark.parametrize("query", [{}, {"offer_id": OFFER_ID}], ids=["all", "offer"])
@pytest.mark.parametrize(
    "link",
    [
        f"{BASE}/resources?page=2",
        "/resources?page=2",
        "?page=2",
        f"https://thief.example.net/steal?page=2#{TOKEN}",
        f"http://me:{TOKEN}@127.0.0.1:9/?page=2",
    ],
)
def test_only_the_query_of_a_next_link_is_used(
    queue: RequestQueue, api: Market, link: str, query: dict[str, str]
) -> None:
    following = {"items": [resource(SECOND_RESOURCE_ID)], "next": None}
    for _reading in range(2):
        queue.expect("GET", "/resources", {"items": [resource()], "next": link}, query=query)
        queue.expect("GET", "/resources", following, query={**query, **NEXT})
    found = api.resources(query.get("offer_id"))
    assert [item["resource_id"] for item in found] == [RESOURCE_ID, SECOND_RESOURCE_ID]
    assert {call.headers["Authorization"] for call in queue.calls} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("link", [None, "", False, 0, [], {}], ids=str)
def test_empty_next_link_ends_the_list(link: Any) -> None:
    assert len(canned({"items": [resource()], "next": link}).resources()) == 1


@pytest.mark.parametrize("link", ["cursor", "/resources/2", "?", "?page=", "?page", 2, True, ["?page=2"], {"page": 2}])
def test_next_link_without_usable_query_is_an_error(link: Any) -> None:
    error = error_of(METHODS["resources"], canned({"items": [resource()], "next": link}))
    assert (error.error_class, error.transient) == ("protocol", False)
    assert "lists only a part" in str(error)


@pytest.mark.parametrize("second_page", [[resource()], [resource(name="other")]], ids=["same", "same id"])
def test_page_without_new_resources_is_an_error(queue: RequestQueue, api: Market, second_page: list[Any]) -> None:
    queue.expect("GET", "/resources", {"items": [resource()], "next": "?page=2"})
    queue.expect("GET", "/resources", {"items": second_page, "next": "?page=3"}, query=NEXT)
    error = error_of(lambda api: api.resources(), api)
    assert (error.error_class, error.transient) == ("protocol", False)
    assert str(error) == "GET /resources: the API's pages do not come to an end."


class Pages(Canned):
    """Replaces the HTTP client; each page has new resources and a link to the next page, up to page ``last``."""

    def __init__(self, size: int, last: float = math.inf) -> None:
        super().__init__()
        self.size, self.last, self.pages = size, last, 0

    def exchange(self, *_request: Any, query: dict[str, str], **_how: Any) -> Answer:
        self.pages += 1
        page = int(query.get("page", 1))
        items = [{"resource_id": f"r-{page}-{number}"} for number in range(self.size)]
        following = f"?page={page + 1}" if page < self.last else None
        return Answer(200, True, {"items": items, "next": following})


def test_endless_pages_are_an_error() -> None:
    http: Any = Pages(1)
    assert "do not come to an end" in str(error_of(lambda api: api.resources(), Market(http)))
    assert http.pages == client.MOST_PAGES


def test_ten_thousand_machines_on_four_pages_are_listed() -> None:
    http: Any = Pages(2500, 4)
    assert len(Market(http).resources()) == 10_000


def test_failing_page_fails_the_whole_list(queue: RequestQueue, api: Market) -> None:
    queue.expect("GET", "/resources", {"items": [resource()], "next": "?page=2"})
    queue.expect("GET", "/resources", {}, 500, query=NEXT)
    assert error_of(lambda api: api.resources(), api).status_code == 500


def test_resource_on_two_pages_is_listed_once(queue: RequestQueue, api: Market) -> None:
    first = {"items": [resource(), resource("r2")], "next": "?page=2", "total_count": 3}
    for _reading in range(2):
        queue.expect("GET", "/resources", first)
        queue.expect("GET", "/resources", {"items": [resource("r2"), resource("r3")], "total_count": 3}, query=NEXT)
    assert [item["resource_id"] for item in api.resources()] == [RESOURCE_ID, "r2", "r3"]


@pytest.mark.parametrize("nameless", [None, 7, {}, ""], ids=str)
def test_resources_without_id_are_all_listed(nameless: Any) -> None:
    found = canned({"items": [resource(nameless), resource(nameless)], "total_count": 2}).resources()
    assert [item["resource_id"] for item in found] == [None, None]


@pytest.mark.parametrize("count", [2, "2", 2.0])
def test_list_shorter_than_its_count_is_an_error(count: Any) -> None:
    for items in ([resource()], [resource(), resource()]):
        error = error_of(METHODS["resources"], canned({"items": items, "total_count": count}))
        assert (error.error_class, error.transient) == ("protocol", False)
        assert str(error) == "GET /resources: the API counts 2 resources, but lists only 1."


@pytest.mark.parametrize("count", [1, 0, -1, None, True, "many", "", [2], {"relation": 2}, float("inf")], ids=str)
def test_smaller_or_unreadable_count_is_ignored(count: Any) -> None:
    assert len(canned({"items": [resource()], "total_count": count}).resources()) == 1


@pytest.mark.parametrize(
    ("data", "count"),
    [
        pytest.param([offer()], 1, id="bare"),
        pytest.param({"offers": [offer()], "total_count": 7, "filters_applied": {}}, 7, id="documented"),
        pytest.param({"offers": [offer()]}, 1, id="no count"),
        pytest.param({"offers": [offer()], "total_count": None}, 1, id="null"),
        pytest.param({"offers": [offer()], "total_count": "7"}, 1, id="text"),
        pytest.param({"offers": [offer()], "total_count": True}, 1, id="boolean"),
    ],
)
def test_search_returns_offers_count_and_filters(data: Any, count: int) -> None:
    offers, total_count, filters = canned(data).search_offers({})
    assert filters == ({} if count == 7 else None)
    assert [item["offer_id"] for item in offers] == [OFFER_ID]
    assert total_count == count and total_count.__class__ is int


@pytest.mark.parametrize("data", [None, {}, {"offers": None}, {"resources": []}, [7]])
def test_search_answer_without_offer_list_is_an_error(data: Any) -> None:
    assert error_of(METHODS["search_offers"], canned(data)).error_class == "protocol"


def test_offers_are_sorted_by_price_unknown_prices_last() -> None:
    prices = [3.0, None, 0, "1.5", 2, "?", float("inf")]
    items = [offer(offer_id=str(n), total_price_per_hour=p, gpu_price_per_hour=None) for n, p in enumerate(prices)]
    offers, *_rest = canned({"offers": items}).search_offers({})
    assert [item["offer_id"] for item in offers] == ["2", "3", "4", "0", "1", "5", "6"]


# The tolerant reader: prices


def volumes(*costs: Any) -> list[dict[str, Any]]:
    """The ``storage_details`` of an offer with these prices."""
    return [{"name": "data", "hourly_cost": cost} for cost in costs]


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({"total_price_per_hour": 2.5}, 2.5),
        ({"total_price_per_hour": "2.50"}, 2.5),
        ({"total_price_per_hour": 0}, 0.0),
        ({"total_price_per_hour": 2.5, "gpu_price_per_hour": 9, "gpu_count": 8, "storage_price_per_hour": 1}, 72.0),
        ({"total_price_per_hour": 1.0, "gpu_price_per_hour": 30.0, "gpu_count": 8}, 240.0),
        ({"total_price_per_hour": "250", "gpu_price_per_hour": "30", "gpu_count": "8"}, 250.0),
        ({"total_price_per_hour": 1.0, "gpu_price_per_hour": 30.0, "gpu_count": None}, 30.0),
        ({"total_price_per_hour": 40.0, "gpu_price_per_hour": 30.0, "gpu_count": 0}, 40.0),
        ({"total_price_per_hour": 0, "gpu_price_per_hour": 30.0, "gpu_count": 1}, None),
        ({"total_price_per_hour": "0.00", "gpu_price_per_hour": 30.0}, None),
        ({"total_price_per_hour": 1e-9, "gpu_price_per_hour": 30.0, "gpu_count": 1}, None),
        ({"total_price_per_hour": 0, "gpu_price_per_hour": 0, "gpu_count": 1}, None),
        ({"total_price_per_hour": 0, "gpu_price_per_hour": -1, "gpu_count": 1}, 0.0),
        ({"total_price_per_hour": -1, "gpu_price_per_hour": 2, "gpu_count": 2, "storage_price_per_hour": 1}, 5.0),
        ({"total_price_per_hour": 3, "gpu_price_per_hour": -1, "gpu_count": 2}, 3.0),
        ({"gpu_price_per_hour": 1e200, "gpu_count": 1e200}, None),
        ({"gpu_price_per_hour": 1e200, "gpu_count": 1e200, "total_price_per_hour": 1}, None),
        ({"gpu_price_per_hour": 0, "gpu_count": 8, "storage_price_per_hour": 0.5}, 0.5),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 8}, 10.0),
        # A cluster whose GPUs are counted per machine, or for all, or either way
        ({"gpu_price_per_hour": 2, "gpu_count": 8, "node_count": 2, "gpus_per_node": 8}, 32.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 16, "node_count": 2, "gpus_per_node": 8}, 32.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 8, "node_count": "2", "gpus_per_node": "8"}, 32.0),
        ({"gpu_price_per_hour": 2, "node_count": 2, "gpus_per_node": 8, "total_price_per_hour": 16}, 32.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 16, "node_count": 2}, 32.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "node_count": 1, "gpus_per_node": 8}, 2.0),
        ({"gpu_price_per_hour": "1.25", "gpu_count": "8"}, 10.0),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 8, "total_price_per_hour": None}, 10.0),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 8, "storage_price_per_hour": 0.5}, 10.5),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 8, "storage_price_per_hour": "0.5"}, 10.5),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 8, "storage_price_per_hour": None}, 10.0),
        ({"gpu_price_per_hour": 0.1, "gpu_count": 3}, 0.3),
        ({"gpu_price_per_hour": 2, "gpu_count": 1}, 2.0),
        ({"gpu_price_per_hour": 0, "gpu_count": 1}, None),
        ({"total_price_per_hour": 0.12345678}, 0.123457),
        ({"gpu_price_per_hour": -1, "gpu_count": 1, "storage_price_per_hour": 5}, None),
        ({}, None),
        ({"gpu_price_per_hour": 1.25}, None),
        ({"gpu_price_per_hour": 1.25, "gpu_count": None}, None),
        ({"gpu_price_per_hour": 1.25, "gpu_count": 0}, None),
        ({"gpu_price_per_hour": 1.25, "gpu_count": -1}, None),
        ({"gpu_price_per_hour": -1.25, "gpu_count": 1}, None),
        ({"gpu_price_per_hour": None, "gpu_count": 1}, None),
        ({"gpu_price_per_hour": True, "gpu_count": 1}, None),
        ({"gpu_price_per_hour": 1.25, "gpu_count": True}, None),
        ({"gpu_price_per_hour": [1], "gpu_count": 1}, None),
        ({"gpu_count": 8, "storage_price_per_hour": 0.5}, None),
        ({"total_price_per_hour": -1}, None),
        ({"total_price_per_hour": "-1"}, None),
        ({"total_price_per_hour": True}, None),
        ({"total_price_per_hour": "free"}, None),
        ({"total_price_per_hour": ""}, None),
        ({"total_price_per_hour": "nan"}, None),
        ({"total_price_per_hour": float("nan")}, None),
        ({"total_price_per_hour": float("inf")}, None),
        ({"total_price_per_hour": "1e999"}, None),
        ({"total_price_per_hour": 10**400}, None),
        ({"total_price_per_hour": {}}, None),
        ({"total_price_per_hour": 2, "currency": "EUR"}, None),
        ({"total_price_per_hour": 2, "currency": "usd"}, 2.0),
        ({"total_price_per_hour": 2, "price_currency": "EUR"}, None),
        ({"total_price_per_hour": 2, "currency": "USD", "currencyCode": "GBP"}, None),
        ({"total_price_per_hour": 2, "price_currency": None, "takes_currencies": ["EUR"]}, 2.0),
        ({"total_price_per_hour": False, "gpu_price_per_hour": 1, "gpu_count": 2}, 2.0),
        # An unreadable total may be higher than the price of the GPUs.
        ({"total_price_per_hour": "$9.95", "gpu_price_per_hour": 2, "gpu_count": 1}, None),
        ({"total_price_per_hour": "9,95", "gpu_price_per_hour": 2, "gpu_count": 1}, None),
        ({"total_price_per_hour": {"amount": 9.95}, "gpu_price_per_hour": 2, "gpu_count": 1}, None),
        ({"total_price_per_hour": 10**400, "gpu_price_per_hour": 2, "gpu_count": 1}, None),
        ({"total_price_per_hour": 1e308, "gpu_price_per_hour": 2, "gpu_count": 1}, None),
        ({"total_price_per_hour": 1e308}, None),
        ({"total_price_per_hour": "", "gpu_price_per_hour": 2, "gpu_count": 1}, 2.0),
        ({"total_price_per_hour": 3, "gpu_price_per_hour": "$9.95", "gpu_count": 1}, None),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_price_per_hour": "3 USD"}, None),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_price_per_hour": "3 USD", "total_price_per_hour": 5}, 5.0),
        # The prices of storage may be given only per volume.
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_details": volumes(3, "0.5", None, -1)}, 5.5),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_details": volumes("3 USD")}, None),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_details": volumes(3), "storage_price_per_hour": 1}, 3.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_details": volumes(3), "total_price_per_hour": 4}, 4.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_details": ["?"]}, 2.0),
        ({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_details": "?"}, 2.0),
    ],
    ids=str,
)
def test_price_per_hour_of_offer(fields: dict[str, Any], price: float | None) -> None:
    assert market.price_per_hour(fields) == price
    assert market.read_offer(fields)["price_per_hour"] == price


@pytest.mark.parametrize("storage", [-0.5, "-0.5", -100])
def test_negative_storage_price_is_not_a_discount(storage: Any) -> None:
    price = market.price_per_hour({"gpu_price_per_hour": 2, "gpu_count": 1, "storage_price_per_hour": storage})
    assert price is None or price >= 2


# The tolerant reader: offers


def test_offer_has_all_documented_fields_and_keeps_others() -> None:
    read = market.read_offer({"offer_id": OFFER_ID, "infiniband_bandwidth_gbps": 400})
    assert read["infiniband_bandwidth_gbps"] == 400
    assert {name: read[name] for name in ("gpu_type", "vendor", "status", "expires_at", "price_per_hour")} == {
        "gpu_type": None,
        "vendor": None,
        "status": None,
        "expires_at": None,
        "price_per_hour": None,
    }


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"catalog"}))
@pytest.mark.parametrize("data", [None, "x", 7, True, ["x"]])
def test_json_of_wrong_type_is_an_error(name: str, data: Any) -> None:
    error = error_of(METHODS[name], canned(data))
    assert (error.error_class, error.status_code, error.transient) == ("protocol", 200, True)
    assert (error.sent, error.refused) == (True, False)


# The tolerant reader: ids


ODD_IDS: list[tuple[Any, str]] = [
    ("x -oProxyCommand='touch /tmp/x'", "\"x -oProxyCommand='touch /tmp/x'\""),
    ("-oProxyCommand=x", "'-oProxyCommand=x'"),
    ("_a", "'_a'"),
    ("a b", "'a b'"),
    ("a\n", "'a\\n'"),
    ("../a", "'../a'"),
    ("a.b", "'a.b'"),
    ("{{ a }}", "'{{ a }}'"),
    ("\u0661", "'\u0661'"),
    ("\ud800", "'\\ud800'"),
    ("\x1b[2J", "'\\x1b[2J'"),
    ("x" * 65, "'" + "x" * 59 + "..."),
    (7, "7"),
    (True, "True"),
    (["a"], "['a']"),
    ({"id": "a"}, "{'id': 'a'}"),
]
ODD = pytest.mark.parametrize(("odd", "shown"), ODD_IDS, ids=[shown for _odd, shown in ODD_IDS])
# In a list of ids, an object may name its id in ``resource_id``.
ODD_IN_LIST = pytest.mark.parametrize(("odd", "shown"), ODD_IDS[:-1], ids=[shown for _odd, shown in ODD_IDS[:-1]])


@pytest.mark.parametrize("value", [RESOURCE_ID.replace("-", ""), RESOURCE_ID.replace("-", "").upper()])
def test_uuid_without_hyphens_is_normalized(value: str) -> None:
    """An id noted in two forms could be neither found in a list nor ended."""
    assert client.read_resource(resource(value))["resource_id"] == RESOURCE_ID
    assert client.ids_and_odd_ids({"resource_ids": [value, RESOURCE_ID]}) == ([RESOURCE_ID], [])
    assert client.normalized_id(f"{value}0") == f"{value}0".lower()


@pytest.mark.parametrize("value", [RESOURCE_ID, RESOURCE_ID.upper(), "r2", "abc-123", "a_b", "0", "x" * 64])
def test_valid_ids_become_lower_case(value: str) -> None:
    assert client.normalized_id(value) == value.lower()
    read = client.read_resource(resource(value))
    assert (read["resource_id"], "odd_id" in read) == (value.lower(), False)


@ODD
def test_resource_with_odd_id_stays_listed(odd: Any, shown: str) -> None:
    found = canned([resource(odd), resource()]).resources()
    assert [(item["resource_id"], item.get("odd_id")) for item in found] == [(None, shown), (RESOURCE_ID, None)]
    assert found[0]["price_per_hour"] == 2.0


@ODD
def test_offer_with_odd_id_comes_last(odd: Any, shown: str) -> None:
    items = [offer(offer_id=odd, total_price_per_hour=0.1), offer(), offer(total_price_per_hour=None, gpu_count=None)]
    found, *_rest = canned(items).search_offers({})
    assert [item["offer_id"] for item in found] == [OFFER_ID, OFFER_ID, None]
    assert found[2]["odd_id"] == shown


@ODD_IN_LIST
def test_purchase_reports_odd_ids(odd: Any, shown: str) -> None:
    for ids in ([odd, RESOURCE_ID], [{"resource_id": odd}, {"resource_id": RESOURCE_ID}, None, ""]):
        bought = canned(procurement(resource_ids=ids)).procure(ORDER, timeout=60)
        assert (bought["resource_ids"], bought["odd_ids"]) == ([RESOURCE_ID], [shown])


@ODD_IN_LIST
def test_offer_status_with_odd_ids_counts_as_bought(odd: Any, shown: str) -> None:
    read = canned(status("pending", resource_ids=[odd])).offer_status(OFFER_ID)
    assert (read["phase"], read["resource_ids"], read["odd_ids"]) == ("going_on", [], [shown])


@ODD
def test_instance_with_odd_id_is_matched_to_no_resource(odd: Any, shown: str) -> None:
    read = client.read_status(status("ready", instances=[instance(None, resource_id=odd)]), OFFER_ID)
    assert (read["instances"][0]["resource_id"], read["instances"][0]["odd_id"]) == (None, shown)
    machines = connection.machines(read["instances"], [client.read_resource(resource())])
    assert [(machine["resource_id"], machine["ansible_host"]) for machine in machines] == [(None, None)]


@ODD
def test_odd_offer_ids_of_a_resource_are_ignored(odd: Any, shown: str) -> None:
    read = client.read_resource(resource(offer_id=odd, offer_history=[{"offer_id": odd}]))
    assert (read["offer_id"], read["resource_id"], "odd_id" in read) == (None, RESOURCE_ID, False)


def test_odd_id_reveals_no_secret(queue: RequestQueue, api: Market) -> None:
    queue.expect("POST", "/procure_offer", procurement(resource_ids=[f"{TOKEN} a"]))
    assert TOKEN not in repr(api.procure(ORDER, timeout=60))


@pytest.mark.parametrize("other", [SECOND_RESOURCE_ID, "a b", 7])
def test_answer_about_another_id_is_an_error(other: Any) -> None:
    for method, data in (("resource", resource(other)), ("offer", offer(offer_id=other))):
        error = error_of(METHODS[method], canned(data))
        assert (error.error_class, error.status_code, error.transient) == ("protocol", 200, False)
        assert f"another {method}." in str(error)


@pytest.mark.parametrize("same", [str.upper, str.lower, lambda _id: None, lambda _id: ""])
def test_answered_id_may_differ_in_case_or_be_missing(same: Any) -> None:
    assert canned(resource(same(RESOURCE_ID))).resource(RESOURCE_ID)["resource_id"].lower() == RESOURCE_ID
    assert canned(offer(offer_id=same(OFFER_ID))).offer(OFFER_ID)["offer_id"].lower() == OFFER_ID


# The tolerant reader: texts


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("trainer", "trainer"),
        ("M\u00fcller \u00a0\u200d", "M\u00fcller \u00a0\u200d"),
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 256 + "..."),
        ("gpu-1\n", "gpu-1\ufffd"),
        ("\x1b[31mgpu\x00\x9b\ud800", "\ufffd[31mgpu\ufffd\ufffd\ufffd"),
        ("", None),
        (7, None),
    ],
    ids=ascii,
)
def test_names_have_no_control_characters_and_limited_length(name: Any, shown: str | None) -> None:
    assert client.read_resource(resource(name=name))["name"] == shown
    assert (
        client.read_status(status("ready", instances=[instance(name=name)]), OFFER_ID)["instances"][0]["name"] == shown
    )


@pytest.mark.parametrize("field", ["progress", "failure_reason"])
def test_long_texts_are_cut_to_one_line(field: str) -> None:
    read = canned(status(**{field: "two\nlines \x1b[2J" + "x" * 5_000_000})).offer_status(OFFER_ID)
    assert read[field].startswith("two lines \ufffd[2Jx") and len(read[field]) == _text.LONGEST_LINE + 3
    bought = canned(procurement("failed", error=" \n")).procure(ORDER, timeout=60)
    assert bought["error"] is None


# The tolerant reader: catalogues


@pytest.mark.parametrize("data", [{"H100": ["nvidia-h100-sxm5-80gb"]}, ["nebius"], [{"name": "EU"}], {}, [], None, "x"])
def test_catalogue_is_returned_unchanged(data: Any) -> None:
    assert canned(data).catalog("vendors") == data


# The tolerant reader: status


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({"resource_ids": ["a", "b"]}, ["a", "b"]),
        ({"resources": ["a", "b"]}, ["a", "b"]),
        ({"resources": [{"resource_id": "a", "status": "running"}, {"resource_id": "b"}]}, ["a", "b"]),
        ({"resource_ids": [{"resource_id": "a"}]}, ["a"]),
        ({"resource_ids": ["a"], "resources": ["b"]}, ["a"]),
        ({"resource_ids": [], "resources": ["b"]}, ["b"]),
        ({"resource_ids": None, "resources": [{"resource_id": "b"}]}, ["b"]),
        ({"resource_ids": [None], "resources": ["b"]}, ["b"]),
        ({"resource_ids": ["a", "a", "b"]}, ["a", "b"]),
        ({"resource_ids": ["a", None, "", 7, {}, {"resource_id": None}, {"resource_id": 7}, ["b"]]}, ["a"]),
        ({"resource_ids": "a"}, []),
        ({"resources": {"a": {}}}, []),
        ({}, []),
    ],
    ids=str,
)
def test_resource_ids_are_read_in_all_forms(fields: dict[str, Any], ids: list[str]) -> None:
    assert client.read_status({"status": "procured", **fields}, OFFER_ID)["resource_ids"] == ids
    assert market.read_procurement({"status": "procured", **fields})["resource_ids"] == ids


@pytest.mark.parametrize("data", [{}, {"status": None}, {"status": "", "procurement_status": "  "}, {"status": 7}])
def test_offer_status_without_state_is_a_transient_error(data: Any) -> None:
    error = error_of(METHODS["offer_status"], canned(data))
    assert (error.error_class, error.status_code, error.transient) == ("protocol", 200, True)


@pytest.mark.parametrize(
    ("data", "phase"),
    [
        ({"procurement_status": "ready"}, "ready"),
        ({"status": "expired"}, "expired"),
        ({"status": "procured"}, "going_on"),
    ],
    ids=str,
)
def test_one_of_status_and_procurement_status_is_enough(data: Any, phase: str) -> None:
    assert canned(data).offer_status(OFFER_ID)["phase"] == phase


def test_offer_status_has_all_fields() -> None:
    assert canned({"procurement_status": " Pending ", "status": "AVAILABLE"}).offer_status(OFFER_ID) == {
        "offer_id": OFFER_ID,
        "status": "available",
        "procurement_status": "pending",
        "phase": "unbought",
        "instances": [],
        "resource_ids": [],
        "odd_ids": [],
        "progress": None,
        "failure_reason": None,
        "procured_at": None,
    }


@pytest.mark.parametrize("field", ["progress", "message", "status_message"])
def test_progress_is_read_from_each_field_name(field: str) -> None:
    read = client.read_status(status("provisioning", **{field: "2/4 instances running"}), OFFER_ID)
    assert read["progress"] == "2/4 instances running"


@pytest.mark.parametrize("value", [None, "", 7, [], {"done": 1}])
def test_values_that_are_not_text_become_none(value: Any) -> None:
    read = client.read_status(status(progress=value, failure_reason=value, procured_at=value), OFFER_ID)
    assert (read["progress"], read["failure_reason"], read["procured_at"]) == (None, None, None)
    bought = market.read_procurement(procurement(error=value, procured_at=value))
    assert (bought["error"], bought["procured_at"]) == (None, None)


@pytest.mark.parametrize(
    ("value", "instances"),
    [
        ([instance(), None, "x", 7, [instance()]], [instance()]),
        (None, []),
        ({}, []),
        ("running", []),
        ([{}], [{}]),
    ],
)
def test_instances_are_a_list_of_objects(value: Any, instances: list[Any]) -> None:
    assert client.read_status(status("ready", instances=value), OFFER_ID)["instances"] == instances


@pytest.mark.parametrize(
    "fields",
    [
        {"instances": [instance()]},
        {"resource_ids": [RESOURCE_ID]},
        {"resources": [{"resource_id": RESOURCE_ID}]},
        {"procured_at": "2026-01-31T12:00:00Z"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_pending_offer_with_machines_counts_as_bought(fields: dict[str, Any]) -> None:
    assert client.read_status({**status("pending"), **fields}, OFFER_ID)["phase"] == "going_on"


# The tolerant reader: purchase


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(procurement(), ("procured", "2026-01-31T12:01:00Z", [RESOURCE_ID], [], None), id="procured"),
        pytest.param(
            procurement("provisioning_in_progress"), ("provisioning_in_progress", None, [], [], None), id="in progress"
        ),
        pytest.param(procurement("failed", error="no stock"), ("failed", None, [], [], "no stock"), id="failed"),
        pytest.param({"status": " Procured "}, ("procured", None, [], [], None), id="status only"),
        pytest.param(
            {"status": "reserved", "error": {}, "procured_at": 7}, ("reserved", None, [], [], None), id="unknown status"
        ),
    ],
)
def test_read_procurement(data: Any, expected: tuple[Any, ...]) -> None:
    assert tuple(canned(data).procure(ORDER, timeout=60).values()) == expected


@pytest.mark.parametrize("data", [{}, {"status": None}, {"status": ""}, {"status": 200}, {"detail": "ok"}])
def test_purchase_answer_without_status_is_no_refusal(data: Any) -> None:
    error = error_of(METHODS["procure"], canned(data))
    assert (error.error_class, error.status_code, error.sent, error.refused) == ("protocol", 200, True, False)


# The tolerant reader: resources


def test_resource_has_all_documented_fields_and_keeps_others() -> None:
    read = canned({"resource_id": RESOURCE_ID, "status": " Running ", "spot": True}).resource(RESOURCE_ID)
    assert (read["resource_id"], read["status"], read["spot"]) == (RESOURCE_ID, "running", True)
    assert (read["access"], read["spec"], read["price_per_hour"], read["name"]) == ({}, {}, None, None)


@pytest.mark.parametrize(
    ("word", "kind"), [("vm", "machine"), ("warp-core", "machine"), (None, "machine"), ("volume", "storage")]
)
def test_kind_follows_resource_type(word: str | None, kind: str) -> None:
    assert client.read_resource(resource(resource_type=word, kind="Resource"))["kind"] == kind


LINKED = {"resource_id": SECOND_RESOURCE_ID, "name": "data"}


@pytest.mark.parametrize(
    ("value", "linked"),
    [
        *((value, []) for value in (None, "x", 7, {}, [], [None, 7, ["x"]], [{}], [{"name": "data"}])),
        ([{**LINKED, "resource_type": "block_disk"}], [{**LINKED, "resource_type": "block_disk", "kind": "storage"}]),
        ([{**LINKED, "resource_type": "gpu vm"}], [{**LINKED, "resource_type": "gpu vm", "kind": "machine"}]),
        ([{**LINKED, "kind": "storage"}], [{**LINKED, "kind": None}]),
        ([SECOND_RESOURCE_ID.upper()], [{"resource_id": SECOND_RESOURCE_ID, "kind": None}]),
        ([{**LINKED, "resource_id": "a b"}, LINKED, "../x"], [{**LINKED, "kind": None}]),
    ],
    ids=str,
)
def test_linked_resources_have_an_id_and_a_kind_if_known(value: Any, linked: Any) -> None:
    assert client.read_resource(resource(linked_resources=value))["linked_resources"] == linked


@pytest.mark.parametrize("value", [None, "x", 7, []])
def test_access_and_spec_are_always_mappings(value: Any) -> None:
    read = client.read_resource(resource(access=value, spec=value))
    assert (read["access"], read["spec"]) == ({}, {})


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({"pricing_total_hourly": 2}, 2.0),
        ({"pricing_total_hourly": "2.5"}, 2.5),
        ({"pricing_total_hourly": None}, None),
        ({"pricing_total_hourly": True}, None),
        ({"pricing_total_hourly": "?"}, None),
        ({"pricing_total_hourly": 1e300}, None),
        ({"pricing_total_hourly": -1}, None),
        ({"pricing_total_hourly": 2, "currency": "EUR"}, None),
    ],
    ids=str,
)
def test_price_per_hour_of_resource(fields: dict[str, Any], price: float | None) -> None:
    assert client.read_resource(resource(**fields))["price_per_hour"] == price


def linked(offer_id: str, role: str | None, at: str, *others: dict[str, Any]) -> dict[str, Any]:
    """The fields of a resource created at noon whose history names an offer."""
    history = [*others, {"offer_id": offer_id, "role": role, "created_at": at}]
    return {"created_at": "2026-01-31T12:00:00Z", "offer_history": history}


@pytest.mark.parametrize(
    ("fields", "offer_id"),
    [
        ({}, None),
        ({"offer_id": "a"}, "a"),
        ({"offer_id": "A"}, "a"),
        ({"offer_id": "a", "offer_history": [{"offer_id": "a"}]}, "a"),
        # Several offers, none of them marked as the one it was bought with
        ({"offer_id": "a", "offer_history": [{"offer_id": "b"}]}, None),
        ({"offer_history": [{"offer_id": "a", "created_at": "2026-02"}, {"offer_id": "b"}]}, None),
        ({"offer_history": [{"offer_id": "a", "role": "first"}, {"offer_id": "b", "role": "other"}]}, None),
        ({"offer_history": [{"offer_id": "a", "role": "first"}, {"offer_id": "b", "role": "attached"}]}, "a"),
        ({"offer_history": [{"offer_id": "a", "role": "primary"}, {"offer_id": "b", "role": "attached"}]}, "a"),
        ({"offer_history": [{"offer_id": "a"}, {"offer_id": None}, {}, None, 7]}, "a"),
        ({"offer_history": [{"offer_id": "a", "created_at": 7}]}, "a"),
        ({"offer_id": 7, "offer_history": {"offer_id": "a"}}, None),
        ({"offer_history": [{"offer_id": "a", "role": "PRIMARY"}, {"offer_id": "b", "role": "other"}]}, "a"),
        # An offer linked more than an hour after the resource was created is not the one it was bought with,
        (linked("a", "volume", "2026-01-31T13:00:01Z"), None),
        (linked("a", "volume", "2026-01-31T12:59:59Z"), "a"),
        # nor is an offer that a machine calls attached, whenever it was linked, even if it is the only one.
        (linked("a", "attached", "2026-01-31T12:00:01Z"), None),
        (linked("a", "Attached", "no moment", {"offer_id": None, "role": "primary"}), None),
        ({**linked("a", "linked", "2026-01-31T12:00:00Z"), "resource_type": "volume"}, "a"),
        (linked("a", "primary", "2026-02-01T00:00:00Z"), "a"),
        (linked("a", None, "2099-01-01T00:00:00Z"), None),
        (linked("a", "volume", "no moment"), "a"),
        ({**linked("a", "volume", "2099-01-01T00:00:00Z"), "created_at": None}, "a"),
        (linked("a", "attached", "2099-01-01T00:00:00Z", {"offer_id": "b", "role": "origin"}), "b"),
    ],
    ids=str,
)
def test_offer_id_of_resource(fields: dict[str, Any], offer_id: str | None) -> None:
    assert client.read_resource(resource(**{"offer_history": None, **fields}))["offer_id"] == offer_id


SECRET_FIELDS = (
    *("cloud_init", "user_data", "userdata", "ssh_public_key", "User_Data", "cloudInit", "cloud-init", "userData"),
    *(
        "request",
        "startup_script",
        "console_log",
        "status_message",
        "user_data_base64",
        "cloud-config",
        "consoleOutput",
    ),
)
PLACES = {
    "spec": lambda secret: resource(spec={**secret, "gpus": 8}),
    "the resource itself": lambda secret: resource(**secret),
    "deep in the spec": lambda secret: resource(spec={"boot": {**secret}, "disks": [secret]}),
}


@pytest.mark.parametrize("name", SECRET_FIELDS)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_resource_drops_fields_with_user_data(name: str, place: Any) -> None:
    read = client.read_resource(place({name: "hunter22"}))
    assert "hunter22" not in json.dumps(read)
    assert read["resource_id"] == RESOURCE_ID


@pytest.mark.parametrize("name", SECRET_FIELDS)
def test_instance_drops_fields_with_user_data(name: str) -> None:
    read = client.read_status(status("ready", instances=[instance(**{name: "hunter22"})]), OFFER_ID)
    assert "hunter22" not in json.dumps(read)


@pytest.mark.parametrize("name", SECRET_FIELDS)
def test_offer_and_catalogue_drop_fields_with_user_data(name: str) -> None:
    assert "hunter22" not in json.dumps(market.read_offer(offer(**{name: "hunter22"})))
    assert "hunter22" not in json.dumps(canned([{"last": {name: "hunter22"}}]).catalog("storage"))


def test_other_fields_of_spec_are_kept() -> None:
    spec = {"gpus": 8, "image": {"name": "x"}, "description": "y", "requested_at": "z", "user": "root", "status": "ok"}
    assert client.read_resource(resource(spec=spec))["spec"] == spec


# Arbitrary answers


SCALARS = st.none() | st.booleans() | st.integers(-3, 10**12) | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def shaped(**likely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with some of these fields, each with a likely value or with arbitrary JSON."""
    return st.fixed_dictionaries({}, optional={name: strategy | JSON for name, strategy in likely.items()})


WORDS = st.sampled_from(
    [
        "available",
        "pending",
        "provisioning_started",
        "provisioning",
        "ready",
        "failed",
        "expired",
        "procured",
        "deleted",
        "?",
    ]
)
IDS = st.lists(st.sampled_from([RESOURCE_ID, SECOND_RESOURCE_ID]) | JSON, max_size=3)
PRICES = st.floats(-1, 100) | st.sampled_from(["2.50", "-1", "nan", "1e999", 10**400])
INSTANCES = st.lists(
    shaped(external_ip=st.just("203.0.113.7"), ssh_command=st.just("ssh root@203.0.113.7")), max_size=2
)
RESOURCES = shaped(
    resource_id=st.just(RESOURCE_ID),
    status=WORDS,
    access=shaped(external_ip=st.just("203.0.113.7"), ssh_port=st.integers(0, 70000)),
    spec=shaped(cloud_init=st.just("hunter22")),
    offer_id=st.just(OFFER_ID),
    offer_history=st.lists(shaped(offer_id=st.just(OFFER_ID), created_at=st.text()), max_size=2),
    pricing_total_hourly=PRICES,
)
LINKS = st.none() | st.builds(
    "{}?{}".format, st.sampled_from(["", "/resources", "http://a:b"]), st.text("a=&%[", max_size=5)
)
OFFERS = shaped(
    offer_id=st.just(OFFER_ID), gpu_price_per_hour=PRICES, gpu_count=st.integers(-1, 8), total_price_per_hour=PRICES
)
STATUSES = shaped(
    status=WORDS, procurement_status=WORDS, instances=INSTANCES, resource_ids=IDS, resources=IDS, progress=st.text()
)
ERRORS = shaped(detail=st.text() | st.lists(shaped(loc=st.lists(SCALARS), msg=st.text())) | shaped(message=st.text()))


def is_text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value != "")


def is_price(value: Any) -> bool:
    return value is None or (value.__class__ is float and math.isfinite(value) and value >= 0)


def is_offer(value: Any) -> bool:
    return set(market._OFFER_FIELDS) <= value.keys() and is_price(value["price_per_hour"])


def is_resource(value: Any) -> bool:
    return (
        set(client._RESOURCE_FIELDS) <= value.keys()
        and is_text(value["resource_id"])
        and is_text(value["status"])
        and is_text(value["offer_id"])
        and isinstance(value["access"], dict)
        and isinstance(value["spec"], dict)
        and value["kind"] in ("machine", "storage", "other")
        and are_ids([item["resource_id"] for item in value["linked_resources"]])
        and is_price(value["price_per_hour"])
    )


def is_status(value: Any) -> bool:
    return (
        value["phase"] in ("unbought", "going_on", "ready", "failed", "expired")
        and all(isinstance(item, dict) for item in value["instances"])
        and are_ids(value["resource_ids"])
        and all(
            is_text(value[n]) for n in ("status", "procurement_status", "progress", "failure_reason", "procured_at")
        )
    )


def is_procurement(value: Any) -> bool:
    return (
        value["status"] and are_ids(value["resource_ids"]) and is_text(value["error"]) and is_text(value["procured_at"])
    )


def are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def is_search(value: Any) -> bool:
    offers, count, _filters = value
    return all(map(is_offer, offers)) and count.__class__ is int


SHAPES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], bool]]] = {
    "search_offers": (st.lists(OFFERS, max_size=3) | shaped(offers=st.lists(OFFERS, max_size=3)), is_search),
    "offer": (OFFERS, is_offer),
    "offer_status": (STATUSES, is_status),
    "resources": (
        st.lists(RESOURCES, max_size=2)
        | shaped(items=st.lists(RESOURCES, max_size=2), next=LINKS, total_count=st.integers(0, 3)),
        lambda value: all(map(is_resource, value)),
    ),
    "resource": (RESOURCES, is_resource),
    "catalog": (JSON, lambda value: True),
    "delete_resource": (shaped(status=WORDS), lambda value: isinstance(value, dict)),
    "procure": (shaped(status=WORDS, resource_ids=IDS, error=st.text(), procured_at=st.text()), is_procurement),
}


@pytest.mark.parametrize("name", METHODS)
@given(data=st.data())
def test_any_json_gives_documented_shape_or_protocol_error(name: str, data: st.DataObject) -> None:
    strategy, has_shape = SHAPES[name]
    try:
        value = METHODS[name](canned(data.draw(strategy | JSON)))
    except ApiError as error:
        assert error.error_class == "protocol"
    else:
        assert has_shape(value), value


@given(ERRORS | JSON, st.integers(300, 599), st.none() | st.floats(0, 1e9))
def test_any_error_answer_gives_a_known_error_class(data: Any, code: int, retry_after: float | None) -> None:
    error = error_of(METHODS["procure"], canned(data, code, retry_after=retry_after))
    assert error.error_class in {
        "auth", "not_found", "conflict", "expired", "invalid", "rate_limited", "unavailable", "protocol", "quota",
    }  # fmt: skip
    assert error.status_code == code
    assert len(str(error)) < 600


def test_user_agent_names_collection_and_version() -> None:
    assert f"compute_index.supply/{VERSION}" == client.USER_AGENT
