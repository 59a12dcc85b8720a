# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API client: the request of each endpoint, errors, and secrets in answers."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _text
from ansible_collections.compute_index.supply.plugins.module_utils._api import client
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import VERSION, ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._api.http import Answer, HttpClient, TransportError
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market

from canned_api import METHOD, METHODS, ORDER, SECRETS, USER_DATA, Canned, canned, error_of
from request_queue import LOST, RequestQueue
from samples import (
    BASE,
    KEY,
    OFFER_ID,
    OFFER_PATH,
    RESOURCE_ID,
    STATUS_PATH,
    TOKEN,
    offer,
    procurement,
    resource,
    status,
)


@pytest.fixture
def api() -> Market:
    return Market(HttpClient(BASE, TOKEN, client.USER_AGENT, retries=0))


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
    ("code", "error_class"), [(400, "invalid"), (401, "auth"), (403, "auth"), (422, "invalid"), (429, "rate_limited")]
)
def test_refusal_sent_as_html_keeps_its_class(method: Any, code: int, error_class: str) -> None:
    """Waiting cannot cure a token or a request that a gateway refuses."""
    plain = error_of(method, canned({"detail": "no"}, code))
    error = error_of(method, canned(None, code, is_json=False, is_html=True))
    assert (error.error_class, error.transient, error.refused) == (error_class, plain.transient, plain.refused)


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
    named = [name for name in client.HOSTS if f"https://{name}" in message]
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
@pytest.mark.parametrize(
    ("location", "target"), [("https://login.example.com:443", " to https://login.example.com:443"), (None, "")]
)
def test_redirect_error_names_its_target(data: Any, location: str | None, target: str) -> None:
    error = error_of(METHODS["offer"], canned(data, 302, location=location))
    assert str(error).startswith(f"GET {OFFER_PATH} was redirected{target}, which is not followed.")


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


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": "Failed", "message": "the machine\nis busy"}, "'failed': the machine is busy"),
        ({"status": "rejected"}, "'rejected': it names no reason"),
        ({"status": "error", "message": 7}, "'error': it names no reason"),
    ],
)
def test_deletion_that_failed_by_its_answer_is_an_error(answer: dict[str, Any], reason: str) -> None:
    error = error_of(METHODS["delete_resource"], canned(answer))
    assert (error.error_class, error.sent, error.refused) == ("protocol", True, False)
    assert str(error) == f"The API's answer to the deletion says {reason}."


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


def test_line_that_contains_another_line_is_hidden_whole(queue: RequestQueue, api: Market) -> None:
    queue.expect("POST", "/procure_offer", {"detail": "sh: export a path=/srv abc123: not found"}, 422)
    order = {**ORDER, "cloud_init": "#!/bin/sh\npath=/srv\nexport a path=/srv abc123\n"}
    assert "abc123" not in str(error_of(lambda api: api.procure(order, timeout=60), api))


def test_line_of_eight_characters_is_hidden(queue: RequestQueue, api: Market) -> None:
    queue.expect("POST", "/procure_offer", {"detail": "cannot run hunter22"}, 422)
    order = {**ORDER, "cloud_init": "#!/bin/sh\nhunter22\n"}
    assert "hunter22" not in str(error_of(lambda api: api.procure(order, timeout=60), api))


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


def test_short_line_of_user_data_is_not_a_secret(queue: RequestQueue, api: Market) -> None:
    """Hiding it would make messages unreadable."""
    queue.expect("POST", "/procure_offer", {"detail": "cannot wait for a machine"}, 422)
    order = {**ORDER, "cloud_init": "#!/bin/sh\nwait\n"}
    assert "cannot wait for a machine" in str(error_of(lambda api: api.procure(order, timeout=60), api))


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


def test_odd_id_reveals_no_secret(queue: RequestQueue, api: Market) -> None:
    queue.expect("POST", "/procure_offer", procurement(resource_ids=[f"{TOKEN} a"]))
    assert TOKEN not in repr(api.procure(ORDER, timeout=60))


def test_user_agent_names_collection_and_version() -> None:
    assert f"compute_index.supply/{VERSION}" == client.USER_AGENT
