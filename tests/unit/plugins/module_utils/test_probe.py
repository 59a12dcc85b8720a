# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From exchanges to findings: each rule by a table. What a simulator does is tried by the tests of the simulator."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import HOSTS
from ansible_collections.compute_index.supply.plugins.module_utils._probe.assumptions import (
    ASSUMPTIONS,
    CONFIRMED,
    CONTRADICTED,
    NOT_SEEN,
    AssumptionFinding,
    assumption_findings,
)
from ansible_collections.compute_index.supply.plugins.module_utils._probe.exchanges import (
    CATALOGS,
    Exchange,
    Exchanges,
    named_by_path,
)
from hypothesis import given
from hypothesis import strategies as st

import samples

SECOND = "2026-01-31T12:00:0{}Z"
NAMES = (
    *("resources", "gpus", *CATALOGS, "search", "several_types", "without_count", "eight_gpus", "nodes", "no_match"),
    *("invalid", "offer", "offer_status", "resources_of_offer", "unknown_offer", "unknown_resource", "fresh_resource"),
    *("resource", "machine_status", "ended", "wrong_token"),
    *("purchase", "life_status", "life_resource", "life_list", "life_offer", "deletion"),
)


def look(name: str, data: Any = None, status: int | None = 200, **fields: Any) -> Exchange:
    return Exchange(name, "GET", f"/{name}", status=status, data=data, **fields)


def offers(*found: Any, **fields: Any) -> dict[str, Any]:
    """The answer to a search."""
    return {"offers": list(found), "total_count": len(found), "filters_applied": {}, **fields}


def found(assumption: str, *looks: Exchange, **seen: Any) -> AssumptionFinding:
    (finding,) = [each for each in assumption_findings(Exchanges(looks, **seen)) if each.id == assumption]
    return finding


@pytest.mark.parametrize(
    ("answers", "verdict", "evidence"),
    [
        ({HOSTS[0]: 401, HOSTS[1]: None}, CONFIRMED, f"{HOSTS[0]} 401, {HOSTS[1]} no answer"),
        ({HOSTS[0]: None, HOSTS[1]: 200}, CONTRADICTED, f"{HOSTS[0]} no answer, {HOSTS[1]} 200"),
        ({}, NOT_SEEN, "needs an api_url from the API's pages"),
    ],
)
def test_the_host(answers: dict[str, int | None], verdict: str, evidence: str) -> None:
    finding = found("host", hosts=answers)
    assert finding.verdict == verdict and finding.evidence.endswith(evidence)


KEY = samples.RESOURCE_ID
BUSY = {"status": 429, "data": {"detail": "slow down"}}
LIST = look("resources", [samples.resource()])
AT = 1769860800.0
BOUGHT = {"status": "procured", "procured_at": "2026-01-31T12:00:00Z", "resource_ids": [samples.RESOURCE_ID]}


@pytest.mark.parametrize(
    ("assumption", "looks", "verdict", "evidence"),
    [
        ("wrong-token", [look("wrong_token", {"detail": "no"}, 401)], CONFIRMED, "401"),
        ("wrong-token", [look("wrong_token", {}, 403)], CONTRADICTED, "403"),
        ("wrong-token", [look("wrong_token", [])], CONTRADICTED, "200"),
        ("wrong-token", [look("wrong_token", None, None)], NOT_SEEN, ""),
        ("clock", [look("gpus", ahead=-0.9), look("offer", ahead=-0.2)], CONFIRMED, "0 s ahead"),
        ("clock", [look("gpus", ahead=59.4)], CONTRADICTED, "60 s ahead"),
        ("clock", [look("gpus", ahead=-60.3)], CONTRADICTED, "-60 s ahead"),
        ("clock", [look("gpus")], CONTRADICTED, "no answer has a Date"),
        (
            "timestamps",
            [look("search", offers({"created_at": "2026-01-31T12:00:00Z"}, {"created_at": "2026-01-31T12:00:00"}))],
            CONTRADICTED,
            "no zone",
        ),
        ("timestamps", [look("search", offers({"created_at": "yesterday"}))], NOT_SEEN, ""),
        ("unknown-id", [look("unknown_offer", {"detail": "gone"}, 404)], CONFIRMED, "404"),
        ("unknown-id", [look("unknown_offer", {}, 404), look("unknown_resource", {}, 422)], CONTRADICTED, "422"),
        ("error-body", [look("invalid", {"detail": []}, 422)], CONFIRMED, "list"),
        ("history", [look("resource", samples.resource())], CONFIRMED, "primary"),
        (
            "history",
            [look("resource", samples.resource(offer_history=[{"offer_id": samples.OFFER_ID, "role": "Origin"}]))],
            CONTRADICTED,
            "origin",
        ),
        (
            "history",
            [look("resource", samples.resource(offer_history=[{"offer_id": samples.OFFER_ID}]))],
            CONTRADICTED,
            "no role",
        ),
        *(
            ("history", [look("resource", samples.resource(offer_history=odd))], CONTRADICTED, "no offer")
            for odd in (None, [], "?", [{"role": "primary"}])
        ),
        ("history", [look("resources", [samples.resource()])], NOT_SEEN, ""),
        ("error-body", [look("invalid", is_json=False, status=400)], CONTRADICTED, "none (invalid)"),
        ("busy", [look("gpus", retry_after=3.0, **BUSY)], CONFIRMED, "with Retry-After"),
        ("busy", [look("gpus", **BUSY)], CONTRADICTED, "without Retry-After"),
        ("fields", [look("offer", samples.offer())], CONFIRMED, "as documented"),
        (
            "fields",
            [look("offer", samples.offer(gpu_count="8", vendor=None))],
            CONTRADICTED,
            "vendor is null, gpu_count is text",
        ),
        ("fields", [look("offer_status", {})], NOT_SEEN, ""),
        ("more-fields", [look("offer", samples.offer(kind="vm"))], CONTRADICTED, "vendor_region, kind"),
        ("more-fields", [look("offer_status", {"status": "x", "gpu-1": []})], CONTRADICTED, "an unusual word"),
        ("more-fields", [look("offer_status", {"progress": None})], CONFIRMED, "none"),
        ("gpus", [look("gpus", {"H100": ["a"], "L4": []})], CONFIRMED, "list"),
        ("gpus", [look("gpus", ["H100"])], CONTRADICTED, "no object"),
        ("catalogs", [look("vendors", {"vendors": []})], CONTRADICTED, "object"),
        ("catalogs", [look("vendors", {"detail": "no"}, 404)], NOT_SEEN, ""),
        ("search", [look("search", offers({}))], CONFIRMED, "1 offers, total_count 1"),
        ("search", [look("search", offers({}, total_count=9))], CONTRADICTED, "1 offers, total_count 9"),
        ("search", [look("search", [{}])], CONTRADICTED, "no list of offers, total_count null"),
        (
            "search-order",
            [look("search", offers(*({"gpu_price_per_hour": price, "gpu_count": 1} for price in (2, 1))))],
            CONTRADICTED,
            "2 first, 1 last",
        ),
        (
            "search-types",
            [
                look("several_types", {"detail": "no"}, 422, spec={"compute": {"gpu_type": "A | B"}}),
                look("search", offers()),
            ],
            CONTRADICTED,
            "422",
        ),
        (
            "search-again",
            [look("search", offers(samples.offer())), look("without_count", offers(samples.offer()))],
            CONFIRMED,
            "1 of 1 offer found again",
        ),
        (
            "search-again",
            [
                look("search", offers(samples.offer())),
                look("without_count", offers(samples.offer(offer_id=samples.SECOND_RESOURCE_ID))),
            ],
            CONTRADICTED,
            "0 of 1 offer found again",
        ),
        ("search-again", [look("search", offers(samples.offer())), look("without_count", offers())], NOT_SEEN, ""),
        (
            "search-count",
            [look("search", offers()), look("without_count", offers({"gpu_count": 8}, {"gpu_count": 1}, {}))],
            CONTRADICTED,
            "8 GPUs",
        ),
        (
            "search-count",
            [look("search", offers()), look("without_count", offers({"gpu_count": 2, "node_count": 2}))],
            CONFIRMED,
            "answered with 200",
        ),
        ("search-count", [look("without_count", {"detail": "no"}, 422)], NOT_SEEN, ""),
        ("search-count", [look("search", offers()), look("without_count", {}, 500)], NOT_SEEN, ""),
        ("search-no-match", [look("no_match", {"detail": "none"}, 404)], CONTRADICTED, "404, object"),
        ("search-no-match", [look("no_match", offers({}))], NOT_SEEN, ""),
        ("search-invalid", [look("invalid", {"detail": "no"}, 400)], CONTRADICTED, "400"),
        ("search-invalid", [look("invalid", offers())], CONTRADICTED, "200"),
        (
            "offer-price",
            [look("offer", samples.offer(total_price_per_hour=3)), look("search", offers(samples.offer()))],
            CONTRADICTED,
            "3.0 there, 2.0 in the search",
        ),
        ("total-price", [look("search", offers({"total_price_per_hour": None}, {}))], CONTRADICTED, "missing"),
        ("vocabulary", [look("machine_status", samples.status("ready"))], NOT_SEEN, ""),
        (
            "vocabulary",
            [look("offer_status", samples.status("available")), look("machine_status", samples.status("provisioning"))],
            CONTRADICTED,
            "provisioning",
        ),
        ("odd-words", [look("machine_status", samples.status("Moved to H4x0r"))], CONTRADICTED, "an unusual word"),
        ("odd-words", [look("machine_status", samples.status("ready"))], CONFIRMED, "ready"),
        ("status-ids", [look("offer_status", samples.status(resource_ids=[]))], NOT_SEEN, ""),
        (
            "status-ids",
            [look("machine_status", samples.status("ready", resource_ids=[{"resource_id": KEY}]))],
            CONTRADICTED,
            "resource_ids: object",
        ),
        ("ssh-command", [look("resource", samples.resource())], CONTRADICTED, "ssh root@{ip}"),
        (
            "ssh-command",
            [look("resource", samples.resource(access={"ssh_command": "ssh -i key joe@203.0.113.7"}))],
            CONTRADICTED,
            "an unusual form",
        ),
        ("ssh-port", [look("resource", samples.resource())], NOT_SEEN, ""),
        ("list-bare", [look("resources", {"machines": []})], CONTRADICTED, "no list"),
        ("list-pages", [look("resources", {"items": [{}], "total_count": 1})], NOT_SEEN, ""),
        ("list-pages", [look("resources", {"items": [{}], "next": "/resources?cursor=x"})], CONTRADICTED, "1 at once"),
        ("list-filter", [LIST, look("resources_of_offer", [{}])], CONTRADICTED, "1 for an offer that was not bought"),
        ("list-filter", [look("resources", []), look("resources_of_offer", [])], NOT_SEEN, ""),
        ("states", [look("resources", [{"status": "Booting"}, {}])], CONTRADICTED, "booting"),
        (
            "sync",
            [
                look("fresh_resource", {"last_synced_at": SECOND.format(2)}),
                look("resource", {"last_synced_at": SECOND.format(1)}),
            ],
            CONTRADICTED,
            "each answer is new",
        ),
        ("deleted-read", [look("ended", {"status": "running"})], CONTRADICTED, "running"),
        ("post-time", [look("purchase", None, None, seconds=600.4)], CONTRADICTED, "no answer within 600 s"),
        ("post-time", [look("purchase", {"detail": "gone"}, 410, seconds=3)], NOT_SEEN, ""),
        ("post-time", [look("purchase", {"status": "failed"}, seconds=3)], NOT_SEEN, ""),
        (
            "post-time",
            [look("purchase", {"detail": "busy"}, 429), look("purchase", BOUGHT, seconds=42.3)],
            CONFIRMED,
            "42 s",
        ),
        ("post-time", [look("purchase", BOUGHT, seconds=700)], CONTRADICTED, "700 s"),
        ("post-moment", [look("purchase", BOUGHT, at=AT - 1, seconds=1.5)], NOT_SEEN, ""),
        (
            "post-moment",
            [look("purchase", BOUGHT, at=AT - 1, seconds=20)],
            CONFIRMED,
            "bought 1 s after the request, answered 20 s",
        ),
        (
            "post-moment",
            [look("purchase", BOUGHT, at=AT - 110, seconds=20, ahead=90)],
            CONTRADICTED,
            "bought 20 s after the request, answered 20 s",
        ),
        ("post-answer", [look("purchase", {"status": "Failed"})], CONTRADICTED, "failed"),
        ("post-answer", [look("purchase", {"detail": "gone"}, 410)], NOT_SEEN, ""),
        ("post-ids", [look("purchase", BOUGHT)], CONFIRMED, "1 id"),
        ("post-ids", [look("purchase", {"status": "procured", "resource_ids": None})], CONTRADICTED, "0 ids"),
        ("sold", [look("life_status", samples.status("ready"), at=5)], NOT_SEEN, ""),
        (
            "sold",
            [
                look("life_status", samples.status("available"), at=5),
                look("purchase", BOUGHT, at=6, seconds=1),
                look("life_status", samples.status("ready"), at=8),
            ],
            CONFIRMED,
            "ready",
        ),
        (
            "sold",
            [look("purchase", BOUGHT, at=6, seconds=1), look("life_status", samples.status("available"), at=9)],
            CONTRADICTED,
            "unbought",
        ),
        (
            "boot-time",
            [
                look("purchase", BOUGHT, at=AT, seconds=1),
                look("life_status", samples.status("provisioning_started", status="procured"), at=AT + 2),
                look("life_status", samples.status("ready"), at=AT + 400),
            ],
            CONTRADICTED,
            "400 s",
        ),
        (
            "boot-time",
            [look("purchase", BOUGHT, at=AT, seconds=90), look("life_status", samples.status("ready"), at=AT + 91)],
            CONFIRMED,
            "at the first look",
        ),
        (
            "boot-time",
            [look("purchase", BOUGHT, at=AT), look("life_status", samples.status("failed"), at=AT + 9)],
            CONTRADICTED,
            "not within 9 s",
        ),
        ("lets-in", [look("life_status", samples.status("ready"))], NOT_SEEN, ""),
        (
            "lets-in",
            [look("life_status", samples.status("ready"), at=5), look("life_resource", samples.resource(), at=9)],
            CONTRADICTED,
            "SSH did not answer",
        ),
        ("listed", [look("purchase", BOUGHT), look("life_list", {}, 500, at=2)], NOT_SEEN, ""),
        (
            "listed",
            [look("purchase", BOUGHT), look("life_list", [], at=2), look("life_list", [samples.resource()], at=9)],
            CONTRADICTED,
            "not listed 2 s after the answer",
        ),
        (
            "listed",
            [
                look("purchase", {**BOUGHT, "resource_ids": [samples.RESOURCE_ID.upper()]}),
                look("life_list", [samples.resource()], at=9),
            ],
            CONFIRMED,
            "listed 9 s after the answer",
        ),
        (
            "listed",
            [
                look("purchase", BOUGHT),
                look("life_list", [], at=2),
                look("life_status", samples.status("provisioning"), at=3),
                look("life_status", samples.status("ready"), at=5),
                look("life_list", [samples.resource()], at=9),
            ],
            CONFIRMED,
            "listed 9 s after the answer",
        ),
        (
            "listed",
            [look("purchase", BOUGHT), look("life_list", [], at=2), look("life_status", samples.status("ready"), at=5)],
            NOT_SEEN,
            "",
        ),
        (
            "listed",
            [look("life_list", []), look("purchase", BOUGHT, at=1), look("life_list", [samples.resource()], at=9)],
            CONFIRMED,
            "listed 8 s after the answer",
        ),
        (
            "running-price",
            [look("life_offer", samples.offer()), look("life_resource", samples.resource(pricing_total_hourly=9))],
            CONTRADICTED,
            "9 of the machine, 2.0 of its offer",
        ),
        (
            "running-price",
            [look("life_offer", samples.offer()), look("life_resource", {"status": "running"})],
            CONTRADICTED,
            "null of the machine, 2.0 of its offer",
        ),
        ("end-answer", [look("deletion", {"detail": "no"}, 409)], CONTRADICTED, "409"),
        ("end-answer", [look("deletion", None, 204, is_json=False)], CONTRADICTED, "204"),
        ("end-answer", [look("deletion", {"status": "queued"})], CONTRADICTED, "queued"),
        ("end-answer", [look("deletion", {"status": "Deleting"})], CONFIRMED, "deleting"),
        ("end-time", [look("deletion", {"detail": "no"}, 409)], NOT_SEEN, ""),
        (
            "end-time",
            [
                look("deletion", {"status": "deleting"}, at=1),
                look("life_resource", {"status": "deleting"}, at=2),
                look("life_resource", {"detail": "none"}, 404, at=43),
            ],
            CONFIRMED,
            "42 s",
        ),
        (
            "end-time",
            [look("deletion", {"status": "deleting"}, at=1), look("life_resource", {"status": "deleting"}, at=302)],
            CONTRADICTED,
            "not within 301 s",
        ),
        (
            "end-time",
            [
                look("life_resource", {"status": "running"}),
                look("deletion", {"status": "deleting"}, at=1),
                look("life_resource", {"status": "deleted"}, at=3),
            ],
            CONFIRMED,
            "at the first look",
        ),
        ("status-ids", [look("life_status", samples.status("available", resource_ids=[]))], NOT_SEEN, ""),
        ("status-ids", [look("life_status", samples.status("ready", resource_ids=None))], CONTRADICTED, "none"),
    ],
)
def test_verdicts(assumption: str, looks: list[Exchange], verdict: str, evidence: str) -> None:
    finding = found(assumption, *looks)
    assert finding.verdict == verdict
    assert finding.evidence == evidence if evidence else finding.evidence.startswith("needs ")


@pytest.mark.parametrize(("waited", "evidence"), [(0.0, "at the first look"), (30.0, "34 s")])
def test_how_long_a_machine_lets_nobody_in(waited: float, evidence: str) -> None:
    looks = look("life_status", samples.status("ready"), at=5), look("life_resource", samples.resource(), at=39)
    finding = found("lets-in", *looks, lets_in=waited)
    assert (finding.verdict, finding.evidence) == (CONFIRMED, evidence)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/procure_offer", "purchase"),
        ("DELETE", f"/resources/{samples.RESOURCE_ID}", "deletion"),
        ("POST", "/get_offers", "life_search"),
        ("GET", samples.STATUS_PATH, "life_status"),
        ("GET", samples.OFFER_PATH, "life_offer"),
        ("GET", f"/resources/{samples.RESOURCE_ID}", "life_resource"),
        ("GET", "/resources", "life_list"),
        ("GET", "/available_gpus", "life_other"),
    ],
)
def test_what_an_exchange_of_a_purchase_was_for(method: str, path: str, name: str) -> None:
    assert named_by_path(method, path) == name


@pytest.mark.parametrize(
    ("names", "verdict"),
    [
        (["gpu-1"], CONFIRMED),
        (["gpu-1-2"], CONFIRMED),
        (["other"], CONTRADICTED),
        ([None], CONTRADICTED),
        (["gpu-1", "other"], CONTRADICTED),
        ([], NOT_SEEN),
    ],
)
def test_names_are_those_that_a_registry_has_asked_for(names: list[str | None], verdict: str) -> None:
    machines = [samples.resource(f"r-{number}", name=name) for number, name in enumerate(names)]
    finding = found("names", look("resources", machines), requested_names={"r-0": "gpu-1", "r-1": "gpu-1", "r-9": "x"})
    assert finding.verdict == verdict


def test_an_id_in_capitals_is_the_one_that_a_registry_has() -> None:
    finding = found(
        "names", look("resources", [samples.resource("R-0", name="gpu-1")]), requested_names={"r-0": "gpu-1"}
    )
    assert finding.verdict == CONFIRMED


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        ([samples.resource()], CONFIRMED),
        ([samples.resource(status="deleted")], CONTRADICTED),
        ({"items": [samples.resource()], "next": "?page=2"}, NOT_SEEN),
    ],
)
def test_a_machine_that_ended_may_be_on_the_next_page(data: Any, verdict: str) -> None:
    assert found("deleted-listed", look("resources", data), ended=samples.SECOND_RESOURCE_ID).verdict == verdict


def test_nothing_seen_is_no_verdict() -> None:
    assert {each.verdict for each in assumption_findings(Exchanges(()))} == {NOT_SEEN}
    assert len({each.id for each in ASSUMPTIONS}) == len(ASSUMPTIONS)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
FIELDS = st.sampled_from(
    [
        *("offers", "total_count", "resources", "items", "next", "instances", "resource_ids", "status", "detail"),
        *("procurement_status", "created_at", "expires_at", "gpu_price_per_hour", "node_count", "access", "spec"),
        *("external_ip", "ssh_command", "ssh_port", "last_synced_at", "progress", "name", "resource_id", "offer_id"),
    ]
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5))
LOOKS = st.builds(
    look,
    st.sampled_from(NAMES),
    JSON,
    st.sampled_from([200, 200, 200, 401, 404, 422, 429, 500, None]),
    is_json=st.sampled_from([True, True, True, False]),
)


@given(st.lists(LOOKS, max_size=8))
def test_no_answer_breaks_a_rule(looks: list[Exchange]) -> None:
    found = assumption_findings(Exchanges(tuple(looks), {"x": "y"}, "z", 1.0))
    assert [each.id for each in found] == [each.id for each in ASSUMPTIONS]
    assert {each.verdict for each in found} <= {CONFIRMED, CONTRADICTED, NOT_SEEN}
