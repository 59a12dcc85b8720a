# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of the probe: private values are replaced, and known words of the API stay."""

from __future__ import annotations

import json
import string
from ipaddress import ip_network
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._probe.assumptions import (
    AssumptionFinding,
    assumption_findings,
)
from ansible_collections.compute_index.supply.plugins.module_utils._probe.exchanges import Exchange, Exchanges
from ansible_collections.compute_index.supply.plugins.module_utils._probe.recording import redacted
from hypothesis import given
from hypothesis import strategies as st

import samples

TOKEN, REPLACEMENT = samples.TOKEN, "text"
ADDRESS = ("external_ip", "ssh_command")
DOCUMENTATION_NETWORKS = [ip_network(each) for each in ("192.0.2.0/24", "2001:db8::/32")]


def redacted_answer(data: Any, name: str = "resource", path: str = "/resources/x", **fields: Any) -> Any:
    """The redacted answer of a single exchange."""
    ((exchange,), _found) = redacted([Exchange(name, "GET", path, data=data, **fields)], [], [TOKEN])
    return exchange["data"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"status": "running", "gpu_count": 8}, {"status": "running", "gpu_count": 8}),
        ({"created_at": "2026-01-31T12:00:00.5+00:00"}, {"created_at": "2026-01-31T12:00:00.5+00:00"}),
        ({"status": "warming up"}, {"status": REPLACEMENT}),
        ({"resource_id": samples.RESOURCE_ID}, {"resource_id": REPLACEMENT}),
        ({"resource_id": 4711, "gpu_count": 4711}, {"resource_id": 0, "gpu_count": 4711}),
        ({"name": None, "access": None, "spec": {}}, {"name": None, "access": None, "spec": {}}),
        ({"customer": "ACME"}, {REPLACEMENT: REPLACEMENT}),
        ({"trainer": 1, "cloud_init": "#!/bin/sh"}, {REPLACEMENT: REPLACEMENT}),
        ({"external_ip": "203.0.113.7", "ssh_command": "ssh root@203.0.113.7"}, dict.fromkeys(ADDRESS, REPLACEMENT)),
        ({"detail": f"no {TOKEN}."}, {"detail": REPLACEMENT}),
        ([{"loc": ["body", 1], "msg": "Field required"}], [{"loc": ["body", 1], "msg": REPLACEMENT}]),
        ([1.5, True, None, "x y"], [0, True, None, REPLACEMENT]),
    ],
)
def test_redaction_keeps_known_words_and_replaces_others(data: Any, expected: Any) -> None:
    assert redacted_answer(data) == expected


def test_ids_in_paths_and_queries_and_names_in_evidence_are_replaced() -> None:
    exchanges = [
        Exchange("offer_status", "GET", f"/offers/{samples.OFFER_ID}/status"),
        Exchange("resources_of_offer", "GET", "/resources", {"offer_id": samples.OFFER_ID}, data=[]),
        Exchange("fresh_resource", "GET", "/resources/x", {"force_refresh": "true"}),
    ]
    evidences = ("trainer starts", "warming up")
    findings = [AssumptionFinding("odd-words", "contradicted", text) for text in evidences]
    plain, clean = redacted(exchanges, findings, [TOKEN, "trainer", "", "a"])
    assert [exchange["path"] for exchange in plain] == ["/offers/id/status", "/resources", "/resources/id"]
    assert [exchange["query"] for exchange in plain] == [{}, {"offer_id": "id"}, {"force_refresh": "true"}]
    assert [finding.evidence for finding in clean] == [REPLACEMENT, "warming up"]


def test_long_lists_are_cut() -> None:
    machines = [samples.resource(f"r-{number}") for number in range(5000)]
    assert len(redacted_answer({"items": machines, "total_count": 5000}, "resources", "/resources")["items"]) == 20


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(
    lambda each: (
        not any(each in net for net in DOCUMENTATION_NETWORKS if net.version == each.version) and len(str(each)) > 6
    )
)
LETTERS = string.ascii_lowercase + string.digits
PRIVATE_TEXTS = st.text(LETTERS, min_size=5, max_size=12).map(lambda text: f"q{text}z")
PRIVATE = st.fixed_dictionaries(
    {
        "id": st.one_of(st.uuids().map(str), PRIVATE_TEXTS.map(lambda text: f"i-{text}")),
        "offer": st.uuids().map(str),
        "address": st.one_of(ADDRESSES.map(str), PRIVATE_TEXTS.map(lambda text: f"{text}.example.org")),
        "name": st.one_of(
            PRIVATE_TEXTS, st.tuples(PRIVATE_TEXTS, PRIVATE_TEXTS).map(" ".join), PRIVATE_TEXTS.map(str.upper)
        ),
        "customer": PRIVATE_TEXTS.map(lambda text: f"{text} & sons"),
        "key": st.binary(min_size=32, max_size=32).map(lambda key: samples.public_key("ssh-ed25519", key)),
        "token": st.text(string.ascii_letters + string.digits + "-_.", min_size=12, max_size=40).map("q{}z".format),
    }
)
PLACES = ["{id}", "{offer}", "{address}", "{name}", "{token}", "{customer}"]
SENTENCES = st.lists(st.sampled_from([*PLACES, "machine", "1/2", "(", "x"]), max_size=8)
SEPARATORS = st.sampled_from([" ", "", "/", ":", ", ", "-", "_", "="])
FIELDS = st.sampled_from(["note", "tags", "host", "status", "type", "vendor", "message", "spec", "uuid", "loc"])
VALUES = st.recursive(
    st.sampled_from([*PLACES, "running", "key"]),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(FIELDS, inner, max_size=3)),
    max_leaves=6,
)


def with_private_values(value: Any, private: dict[str, str]) -> Any:
    """The value with private values in place of its placeholders."""
    if isinstance(value, dict):
        return {with_private_values(key, private): with_private_values(part, private) for key, part in value.items()}
    if isinstance(value, list):
        return [with_private_values(part, private) for part in value]
    return value.format(**private) if isinstance(value, str) else value


@given(PRIVATE, SENTENCES, SEPARATORS, VALUES, st.booleans())
def test_private_values_never_appear_in_recordings(
    private: dict[str, str], words: list[str], separator: str, values: Any, as_keys: bool
) -> None:
    sentence = with_private_values(separator.join(words), private)
    resource = {
        **samples.resource(private["id"], private["address"], name=private["name"]),
        "customer": private["customer"],
        "ssh_public_key": private["key"],
        "cloud_init": f"#!/bin/sh\necho {private['token']}",
        "extra": with_private_values(values, private),
        **({private[name]: 1 for name in ("id", "offer", "address", "name", "token")} if as_keys else {}),
    }
    resource["offer_history"][0]["offer_id"] = private["offer"]
    exchanges = [
        Exchange("resources", "GET", "/resources", data=[resource]),
        Exchange(
            "bought_status", "GET", f"/offers/{private['offer']}/status", data={"progress": sentence, "x": sentence}
        ),
        Exchange("wrong_token", "GET", "/resources", status=401, data={"detail": sentence}),
        Exchange("invalid", "POST", "/get_offers", status=422, data={"detail": [{"msg": sentence, "loc": [sentence]}]}),
    ]
    found = [AssumptionFinding("error-body", "confirmed", sentence)]
    plain, clean = redacted(exchanges, found, private.values())
    written = json.dumps([plain, [each.evidence for each in clean]])
    kept = {name: value for name, value in private.items() if value in written}
    assert not kept
    assert private["key"].split()[1] not in written


def test_numbers_are_kept_only_in_known_fields() -> None:
    data = {"gpu_count": 8, "balance": 1234.5, "customer": {"number": 77}, "offer_id": 7, "resources": [{"phone": 49}]}
    (exchange,), _found = redacted([Exchange("resource", "GET", "/resources/x", data=data)], [], [])
    assert exchange["data"] == {"gpu_count": 8, "text": {"text": 0}, "offer_id": 0, "resources": [{"text": 0}]}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(ANYTHING)
def test_any_answer_can_be_recorded(data: Any) -> None:
    exchanges, _found = redacted([Exchange("resource", "GET", "/resources/x", data=data)], [], [TOKEN])
    assert assumption_findings(Exchanges((Exchange("resource", "GET", "/resources/x", data=data),)))
    json.dumps(exchanges)
