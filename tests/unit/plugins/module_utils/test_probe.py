# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe's rules: exchanges in, verdict and evidence out. The simulator's tests also run the rules against it."""

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


def exchange(name: str, data: Any = None, status: int | None = 200, **fields: Any) -> Exchange:
    return Exchange(name, "GET", f"/{name}", status=status, data=data, **fields)


def offers(*items: Any, **fields: Any) -> dict[str, Any]:
    """The answer to a search."""
    return {"offers": list(items), "total_count": len(items), "filters_applied": {}, **fields}


def finding_about(assumption: str, *exchanges: Exchange, **facts: Any) -> AssumptionFinding:
    (finding,) = [each for each in assumption_findings(Exchanges(exchanges, **facts)) if each.id == assumption]
    return finding


@pytest.mark.parametrize(
    ("answers", "verdict", "evidence"),
    [
        ({HOSTS[0]: 401, HOSTS[1]: None}, CONFIRMED, f"{HOSTS[0]} 401, {HOSTS[1]} no answer"),
        ({HOSTS[0]: None, HOSTS[1]: 200}, CONTRADICTED, f"{HOSTS[0]} no answer, {HOSTS[1]} 200"),
        ({}, NOT_SEEN, "needs an api_url from the API's pages"),
    ],
)
def test_verdict_on_host(answers: dict[str, int | None], verdict: str, evidence: str) -> None:
    finding = finding_about("host", hosts=answers)
    assert finding.verdict == verdict and finding.evidence.endswith(evidence)


BUSY = {"status": 429, "data": {"detail": "slow down"}}
LIST = exchange("resources", [samples.resource()])
AT = 1769860800.0
BOUGHT = {"status": "procured", "procured_at": "2026-01-31T12:00:00Z", "resource_ids": [samples.RESOURCE_ID]}


@pytest.mark.parametrize(
    ("assumption", "exchanges", "verdict", "evidence"),
    [
        ("wrong-token", [exchange("wrong_token", {"detail": "no"}, 401)], CONFIRMED, "401"),
        ("wrong-token", [exchange("wrong_token", {}, 403)], CONTRADICTED, "403"),
        ("wrong-token", [exchange("wrong_token", [])], CONTRADICTED, "200"),
        ("wrong-token", [exchange("wrong_token", None, None)], NOT_SEEN, ""),
        ("clock", [exchange("gpus", ahead=-0.9), exchange("offer", ahead=-0.2)], CONFIRMED, "0 s ahead"),
        ("clock", [exchange("gpus", ahead=59.4)], CONTRADICTED, "60 s ahead"),
        ("clock", [exchange("gpus", ahead=-60.3)], CONTRADICTED, "-60 s ahead"),
        ("clock", [exchange("gpus")], CONTRADICTED, "no answer has a Date"),
        (
            "timestamps",
            [exchange("search", offers({"created_at": "2026-01-31T12:00:00Z"}, {"created_at": "2026-01-31T12:00:00"}))],
            CONTRADICTED,
            "no zone",
        ),
        ("timestamps", [exchange("search", offers({"created_at": "yesterday"}))], NOT_SEEN, ""),
        ("unknown-id", [exchange("unknown_offer", {"detail": "gone"}, 404)], CONFIRMED, "404"),
        (
            "unknown-id",
            [exchange("unknown_offer", {}, 404), exchange("unknown_resource", {}, 422)],
            CONTRADICTED,
            "422",
        ),
        ("error-body", [exchange("invalid", {"detail": []}, 422)], CONFIRMED, "list"),
        ("history", [exchange("resource", samples.resource())], CONFIRMED, "primary"),
        (
            "history",
            [exchange("resource", samples.resource(offer_history=[{"offer_id": samples.OFFER_ID, "role": "Origin"}]))],
            CONTRADICTED,
            "origin",
        ),
        (
            "history",
            [exchange("resource", samples.resource(offer_history=[{"offer_id": samples.OFFER_ID}]))],
            CONTRADICTED,
            "no role",
        ),
        *(
            ("history", [exchange("resource", samples.resource(offer_history=odd))], CONTRADICTED, "no offer")
            for odd in (None, [], "?", [{"role": "primary"}])
        ),
        ("history", [exchange("resources", [samples.resource()])], NOT_SEEN, ""),
        ("error-body", [exchange("invalid", is_json=False, status=400)], CONTRADICTED, "none (invalid)"),
        ("busy", [exchange("gpus", retry_after=3.0, **BUSY)], CONFIRMED, "with Retry-After"),
        ("busy", [exchange("gpus", **BUSY)], CONTRADICTED, "without Retry-After"),
        ("fields", [exchange("offer", samples.offer())], CONFIRMED, "as documented"),
        (
            "fields",
            [exchange("offer", samples.offer(gpu_count="8", vendor=None))],
            CONTRADICTED,
            "vendor is null, gpu_count is text",
        ),
        ("fields", [exchange("offer_status", {})], NOT_SEEN, ""),
        ("more-fields", [exchange("offer", samples.offer(kind="vm"))], CONTRADICTED, "vendor_region, kind"),
        ("more-fields", [exchange("offer_status", {"status": "x", "gpu-1": []})], CONTRADICTED, "an unusual word"),
        ("more-fields", [exchange("offer_status", {"progress": None})], CONFIRMED, "none"),
        ("gpus", [exchange("gpus", {"H100": ["a"], "L4": []})], CONFIRMED, "list"),
        ("gpus", [exchange("gpus", ["H100"])], CONTRADICTED, "no object"),
        ("catalogs", [exchange("vendors", {"vendors": []})], CONTRADICTED, "object"),
        ("catalogs", [exchange("vendors", {"detail": "no"}, 404)], NOT_SEEN, ""),
        ("search", [exchange("search", offers({}))], CONFIRMED, "1 offers, total_count 1"),
        ("search", [exchange("search", offers({}, total_count=9))], CONTRADICTED, "1 offers, total_count 9"),
        ("search", [exchange("search", [{}])], CONTRADICTED, "no list of offers, total_count null"),
        (
            "search-order",
            [exchange("search", offers(*({"gpu_price_per_hour": price, "gpu_count": 1} for price in (2, 1))))],
            CONTRADICTED,
            "2 first, 1 last",
        ),
        (
            "search-types",
            [
                exchange("several_types", {"detail": "no"}, 422, spec={"compute": {"gpu_type": "A | B"}}),
                exchange("search", offers()),
            ],
            CONTRADICTED,
            "422",
        ),
        (
            "search-again",
            [exchange("search", offers(samples.offer())), exchange("without_count", offers(samples.offer()))],
            CONFIRMED,
            "1 of 1 offer found again",
        ),
        (
            "search-again",
            [
                exchange("search", offers(samples.offer())),
                exchange("without_count", offers(samples.offer(offer_id=samples.SECOND_RESOURCE_ID))),
            ],
            CONTRADICTED,
            "0 of 1 offer found again",
        ),
        (
            "search-again",
            [exchange("search", offers(samples.offer())), exchange("without_count", offers())],
            NOT_SEEN,
            "",
        ),
        (
            "search-again",
            [exchange(name, offers(samples.offer(offer_id=["odd"]))) for name in ("search", "without_count")],
            NOT_SEEN,
            "",
        ),
        (
            "search-count",
            [exchange("search", offers()), exchange("without_count", offers({"gpu_count": 8}, {"gpu_count": 1}, {}))],
            CONTRADICTED,
            "8 GPUs",
        ),
        (
            "search-count",
            [exchange("search", offers()), exchange("without_count", offers({"gpu_count": 2, "node_count": 2}))],
            CONFIRMED,
            "answered with 200",
        ),
        ("search-count", [exchange("without_count", {"detail": "no"}, 422)], NOT_SEEN, ""),
        ("search-count", [exchange("search", offers()), exchange("without_count", {}, 500)], NOT_SEEN, ""),
        ("search-no-match", [exchange("no_match", {"detail": "none"}, 404)], CONTRADICTED, "404, object"),
        ("search-no-match", [exchange("no_match", offers({}))], NOT_SEEN, ""),
        ("search-invalid", [exchange("invalid", {"detail": "no"}, 400)], CONTRADICTED, "400"),
        ("search-invalid", [exchange("invalid", offers())], CONTRADICTED, "200"),
        (
            "offer-price",
            [exchange("offer", samples.offer(total_price_per_hour=3)), exchange("search", offers(samples.offer()))],
            CONTRADICTED,
            "3.0 there, 2.0 in the search",
        ),
        (
            "offer-price",
            [exchange("offer", samples.offer(offer_id={})), exchange("search", offers(samples.offer(offer_id={})))],
            NOT_SEEN,
            "",
        ),
        ("total-price", [exchange("search", offers({"total_price_per_hour": None}, {}))], CONTRADICTED, "missing"),
        ("vocabulary", [exchange("machine_status", samples.status("ready"))], NOT_SEEN, ""),
        (
            "vocabulary",
            [
                exchange("offer_status", samples.status("available")),
                exchange("machine_status", samples.status("provisioning")),
            ],
            CONTRADICTED,
            "provisioning",
        ),
        ("odd-words", [exchange("machine_status", samples.status("Moved to H4x0r"))], CONTRADICTED, "an unusual word"),
        ("odd-words", [exchange("machine_status", samples.status("ready"))], CONFIRMED, "ready"),
        ("status-ids", [exchange("offer_status", samples.status(resource_ids=[]))], NOT_SEEN, ""),
        (
            "status-ids",
            [exchange("machine_status", samples.status("ready", resource_ids=[{"resource_id": samples.RESOURCE_ID}]))],
            CONTRADICTED,
            "resource_ids: object",
        ),
        ("ssh-command", [exchange("resource", samples.resource())], CONTRADICTED, "ssh root@{ip}"),
        (
            "ssh-command",
            [exchange("resource", samples.resource(access={"ssh_command": "ssh -i key joe@203.0.113.7"}))],
            CONTRADICTED,
            "an unusual form",
        ),
        ("ssh-port", [exchange("resource", samples.resource())], NOT_SEEN, ""),
        ("list-bare", [exchange("resources", {"machines": []})], CONTRADICTED, "no list"),
        ("list-pages", [exchange("resources", {"items": [{}], "total_count": 1})], NOT_SEEN, ""),
        (
            "list-pages",
            [exchange("resources", {"items": [{}], "next": "/resources?cursor=x"})],
            CONTRADICTED,
            "1 at once",
        ),
        (
            "list-filter",
            [LIST, exchange("resources_of_offer", [{}])],
            CONTRADICTED,
            "1 for an offer that was not bought",
        ),
        ("list-filter", [exchange("resources", []), exchange("resources_of_offer", [])], NOT_SEEN, ""),
        ("states", [exchange("resources", [{"status": "Booting"}, {}])], CONTRADICTED, "booting"),
        (
            "sync",
            [
                exchange("fresh_resource", {"last_synced_at": SECOND.format(2)}),
                exchange("resource", {"last_synced_at": SECOND.format(1)}),
            ],
            CONTRADICTED,
            "each answer is new",
        ),
        ("deleted-read", [exchange("ended", {"status": "running"})], CONTRADICTED, "running"),
        ("post-time", [exchange("purchase", None, None, seconds=600.4)], CONTRADICTED, "no answer within 600 s"),
        ("post-time", [exchange("purchase", {"detail": "gone"}, 410, seconds=3)], NOT_SEEN, ""),
        ("post-time", [exchange("purchase", {"status": "failed"}, seconds=3)], NOT_SEEN, ""),
        (
            "post-time",
            [exchange("purchase", {"detail": "busy"}, 429), exchange("purchase", BOUGHT, seconds=42.3)],
            CONFIRMED,
            "42 s",
        ),
        ("post-time", [exchange("purchase", BOUGHT, seconds=700)], CONTRADICTED, "700 s"),
        ("post-moment", [exchange("purchase", BOUGHT, at=AT - 1, seconds=1.5)], NOT_SEEN, ""),
        (
            "post-moment",
            [exchange("purchase", BOUGHT, at=AT - 1, seconds=20)],
            CONFIRMED,
            "bought 1 s after the request, answered 20 s",
        ),
        (
            "post-moment",
            [exchange("purchase", BOUGHT, at=AT - 110, seconds=20, ahead=90)],
            CONTRADICTED,
            "bought 20 s after the request, answered 20 s",
        ),
        ("post-answer", [exchange("purchase", {"status": "Failed"})], CONTRADICTED, "failed"),
        ("post-answer", [exchange("purchase", {"detail": "gone"}, 410)], NOT_SEEN, ""),
        ("post-ids", [exchange("purchase", BOUGHT)], CONFIRMED, "1 id"),
        ("post-ids", [exchange("purchase", {"status": "procured", "resource_ids": None})], CONTRADICTED, "0 ids"),
        ("sold", [exchange("life_status", samples.status("ready"), at=5)], NOT_SEEN, ""),
        (
            "sold",
            [
                exchange("life_status", samples.status("available"), at=5),
                exchange("purchase", BOUGHT, at=6, seconds=1),
                exchange("life_status", samples.status("ready"), at=8),
            ],
            CONFIRMED,
            "ready",
        ),
        (
            "sold",
            [exchange("purchase", BOUGHT, at=6, seconds=1), exchange("life_status", samples.status("available"), at=9)],
            CONTRADICTED,
            "unbought",
        ),
        (
            "boot-time",
            [
                exchange("purchase", BOUGHT, at=AT, seconds=1),
                exchange("life_status", samples.status("provisioning_started", status="procured"), at=AT + 2),
                exchange("life_status", samples.status("ready"), at=AT + 400),
            ],
            CONTRADICTED,
            "400 s",
        ),
        (
            "boot-time",
            [
                exchange("purchase", BOUGHT, at=AT, seconds=90),
                exchange("life_status", samples.status("ready"), at=AT + 91),
            ],
            CONFIRMED,
            "at the first look",
        ),
        (
            "boot-time",
            [exchange("purchase", BOUGHT, at=AT), exchange("life_status", samples.status("failed"), at=AT + 9)],
            CONTRADICTED,
            "not within 9 s",
        ),
        ("lets-in", [exchange("life_status", samples.status("ready"))], NOT_SEEN, ""),
        (
            "lets-in",
            [
                exchange("life_status", samples.status("ready"), at=5),
                exchange("life_resource", samples.resource(), at=9),
            ],
            CONTRADICTED,
            "SSH did not answer",
        ),
        ("listed", [exchange("purchase", BOUGHT), exchange("life_list", {}, 500, at=2)], NOT_SEEN, ""),
        (
            "listed",
            [
                exchange("purchase", BOUGHT),
                exchange("life_list", [], at=2),
                exchange("life_list", [samples.resource()], at=9),
            ],
            CONTRADICTED,
            "not listed 2 s after the answer",
        ),
        (
            "listed",
            [
                exchange("purchase", {**BOUGHT, "resource_ids": [samples.RESOURCE_ID.upper()]}),
                exchange("life_list", [samples.resource()], at=9),
            ],
            CONFIRMED,
            "listed 9 s after the answer",
        ),
        (
            "listed",
            [
                exchange("purchase", BOUGHT),
                exchange("life_list", [], at=2),
                exchange("life_status", samples.status("provisioning"), at=3),
                exchange("life_status", samples.status("ready"), at=5),
                exchange("life_list", [samples.resource()], at=9),
            ],
            CONFIRMED,
            "listed 9 s after the answer",
        ),
        (
            "listed",
            [
                exchange("purchase", BOUGHT),
                exchange("life_list", [], at=2),
                exchange("life_status", samples.status("ready"), at=5),
            ],
            NOT_SEEN,
            "",
        ),
        (
            "listed",
            [
                exchange("life_list", []),
                exchange("purchase", BOUGHT, at=1),
                exchange("life_list", [samples.resource()], at=9),
            ],
            CONFIRMED,
            "listed 8 s after the answer",
        ),
        (
            "running-price",
            [
                exchange("life_offer", samples.offer()),
                exchange("life_resource", samples.resource(pricing_total_hourly=9)),
            ],
            CONTRADICTED,
            "9 of the machine, 2.0 of its offer",
        ),
        (
            "running-price",
            [exchange("life_offer", samples.offer()), exchange("life_resource", {"status": "running"})],
            CONTRADICTED,
            "null of the machine, 2.0 of its offer",
        ),
        ("end-answer", [exchange("deletion", {"detail": "no"}, 409)], CONTRADICTED, "409"),
        ("end-answer", [exchange("deletion", None, 204, is_json=False)], CONTRADICTED, "204"),
        ("end-answer", [exchange("deletion", {"status": "queued"})], CONTRADICTED, "queued"),
        ("end-answer", [exchange("deletion", {"status": "Deleting"})], CONFIRMED, "deleting"),
        ("end-time", [exchange("deletion", {"detail": "no"}, 409)], NOT_SEEN, ""),
        (
            "end-time",
            [
                exchange("deletion", {"status": "deleting"}, at=1),
                exchange("life_resource", {"status": "deleting"}, at=2),
                exchange("life_resource", {"detail": "none"}, 404, at=43),
            ],
            CONFIRMED,
            "42 s",
        ),
        (
            "end-time",
            [
                exchange("deletion", {"status": "deleting"}, at=1),
                exchange("life_resource", {"status": "deleting"}, at=302),
            ],
            CONTRADICTED,
            "not within 301 s",
        ),
        (
            "end-time",
            [
                exchange("life_resource", {"status": "running"}),
                exchange("deletion", {"status": "deleting"}, at=1),
                exchange("life_resource", {"status": "deleted"}, at=3),
            ],
            CONFIRMED,
            "at the first look",
        ),
        ("status-ids", [exchange("life_status", samples.status("available", resource_ids=[]))], NOT_SEEN, ""),
        ("status-ids", [exchange("life_status", samples.status("ready", resource_ids=None))], CONTRADICTED, "none"),
    ],
)
def test_verdict_and_evidence(assumption: str, exchanges: list[Exchange], verdict: str, evidence: str) -> None:
    finding = finding_about(assumption, *exchanges)
    assert finding.verdict == verdict
    assert finding.evidence == evidence if evidence else finding.evidence.startswith("needs ")


@pytest.mark.parametrize(("seconds", "evidence"), [(0.0, "at the first look"), (30.0, "34 s")])
def test_lets_in_reports_seconds_without_ssh(seconds: float, evidence: str) -> None:
    exchanges = (
        exchange("life_status", samples.status("ready"), at=5),
        exchange("life_resource", samples.resource(), at=39),
    )
    finding = finding_about("lets-in", *exchanges, lets_in=seconds)
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
def test_named_by_path(method: str, path: str, name: str) -> None:
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
def test_machine_names_are_compared_with_requested_names(names: list[str | None], verdict: str) -> None:
    machines = [samples.resource(f"r-{number}", name=name) for number, name in enumerate(names)]
    finding = finding_about(
        "names", exchange("resources", machines), requested_names={"r-0": "gpu-1", "r-1": "gpu-1", "r-9": "x"}
    )
    assert finding.verdict == verdict


def test_requested_names_are_found_by_ids_in_capitals() -> None:
    finding = finding_about(
        "names", exchange("resources", [samples.resource("R-0", name="gpu-1")]), requested_names={"r-0": "gpu-1"}
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
def test_deleted_listed_is_not_seen_if_list_has_more_pages(data: Any, verdict: str) -> None:
    assert (
        finding_about("deleted-listed", exchange("resources", data), ended=samples.SECOND_RESOURCE_ID).verdict
        == verdict
    )


def test_every_assumption_is_not_seen_without_exchanges() -> None:
    assert {each.verdict for each in assumption_findings(Exchanges(()))} == {NOT_SEEN}
    assert len({each.id for each in ASSUMPTIONS}) == len(ASSUMPTIONS)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
FIELDS = st.sampled_from(
    [
        *("offers", "total_count", "resources", "items", "next", "instances", "resource_ids", "status", "detail"),
        *("procurement_status", "created_at", "expires_at", "gpu_price_per_hour", "node_count", "access", "spec"),
        *("external_ip", "ssh_command", "ssh_port", "last_synced_at", "progress", "name", "resource_id", "offer_id"),
        *("filters_applied", "offer_history", "role", "gpu_count", "total_price_per_hour", "procured_at", "reason"),
        *("pricing_total_hourly", "storage_details", "hourly_cost", "gpus_per_node", "compute", "currency"),
    ]
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5))
EXCHANGES = st.builds(
    exchange,
    st.sampled_from(NAMES),
    JSON,
    st.sampled_from([200, 200, 200, 401, 404, 422, 429, 500, None]),
    spec=st.none() | st.just({"compute": {"gpu_type": "H100", "gpu_count": 1}}),
    is_json=st.sampled_from([True, True, True, False]),
)


@given(st.lists(EXCHANGES, max_size=8))
def test_rules_accept_any_exchanges(exchanges: list[Exchange]) -> None:
    findings = assumption_findings(Exchanges(tuple(exchanges), {"x": "y"}, "z", 1.0))
    assert [each.id for each in findings] == [each.id for each in ASSUMPTIONS]
    assert {each.verdict for each in findings} <= {CONFIRMED, CONTRADICTED, NOT_SEEN}
