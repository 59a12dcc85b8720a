# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each machine that is billed has an owner, is contested or an orphan, and each claim has a machine or is gone."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import auditing
from ansible_collections.compute_index.supply.plugins.module_utils._provision.auditing import (
    Audit,
    audit_by_owners,
    audit_lines,
    expected_claims,
    why_audit_fails,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry, read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import MOVED
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import (
    OwnershipClaim,
    claim_of,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE

from provision_samples import machine as sample
from provision_samples import machine_id, offer_id

NOW = 1_800_000_000.0
SEVERAL = "several hosts claim it"
UNNAMED = "it belongs to the host's offer, but the registry does not name it"
OFFERS = "several offers have machines of this name"
STRANGER = "it is called n, and the registry names only its offer"
NAMESAKE = "it has the name of a host whose registry names another machine"
UNNAMED = "it has the name of a host whose registry names no machine"


def machine(key: str, name: str | None = "n", offer: str | None = "o", **fields: Any) -> dict[str, Any]:
    shown = {"resource_id": key, "name": name, "offer_id": offer, "status": "running", "vendor": "v"}
    return {**shown, "price_per_hour": 2.0, **fields}


def owns(host: str, *ids: str, offer: str = "", name: str = "", purchase: str = "") -> OwnershipClaim:
    """The claim of a host with a registry entry."""
    entry = {"provision_resource_ids": list(ids), "provision_procured_offer_id": offer, "provision_purchase": purchase}
    return claim_of(host, name or host, read_entry(entry), by_name=False)


def named(host: str, name: str = "") -> OwnershipClaim:
    """The claim of a host without a registry."""
    return OwnershipClaim(host, name or host, by_name=True)


def brief(rows: list[Any]) -> list[tuple[Any, ...]]:
    return [(row["resource_id"], row["hosts"], row["trouble"]) for row in rows]


@pytest.mark.parametrize(
    ("machines", "claims", "claimed", "contested", "orphans"),
    [
        pytest.param([], [], [], [], [], id="nothing"),
        pytest.param([machine("r")], [owns("h", "r")], [("r", ["h"], "")], [], [], id="by id"),
        *(
            pytest.param([machine("r", name)], [owns("h", offer="o")], [("r", ["h"], "")], [], [], id=f"noted, {name}")
            for name in ("h",)
        ),
        pytest.param([machine("r")], [owns("h", offer="o")], [], [], [("r", ["h"], STRANGER)], id="noted, n"),
        pytest.param(
            [machine("r")], [owns("h", offer="o", purchase="made")], [("r", ["h"], "")], [], [], id="answered with yes"
        ),
        pytest.param([machine("r", "h")], [named("h")], [("r", ["h"], "")], [], [], id="by name"),
        pytest.param(
            [machine("r", "h")], [owns("h")], [], [], [("r", [], "")], id="with a registry a name is no claim"
        ),
        pytest.param([machine("r")], [named("h", "n")], [("r", ["h"], "")], [], [], id="by a name of its own"),
        pytest.param([machine("r")], [named("h")], [], [], [("r", [], "")], id="another name"),
        pytest.param(
            [machine("r")], [owns("b", "r"), owns("a", "r")], [], [("r", ["a", "b"], SEVERAL)], [], id="two by id"
        ),
        pytest.param(
            [machine("r", "a")], [named("a"), owns("b", "r"), owns("c", offer="x")], [("r", ["b"], "")], [], [],
            id="an id is worth more than a name",
        ),
        pytest.param(
            [machine("r")], [named("a", "n"), named("b", "n")], [], [("r", ["a", "b"], SEVERAL)], [],
            id="one name, two hosts",
        ),
        pytest.param(
            [machine("r")], [owns("h", "r", offer="p")], [("r", ["h"], "its offer is o, not that of the registry")],
            [], [],
            id="another offer",
        ),
        pytest.param(
            [machine("r", offer=None)], [owns("h", "r", offer="p")], [("r", ["h"], "")], [], [], id="no offer"
        ),
        pytest.param(
            [machine("r"), machine("s")], [owns("h", "r", offer="o")], [("r", ["h"], ""), ("s", ["h"], "")], [], [],
            id="a further machine of a purchase",
        ),
        pytest.param(
            [machine("r", "h", "o"), machine("s", "h", "p")], [named("h")], [],
            [("r", ["h"], OFFERS), ("s", ["h"], OFFERS)],
            [], id="one name, two offers",
        ),
        pytest.param(
            [machine("r", "h"), machine("s", "h")], [named("h")], [("r", ["h"], ""), ("s", ["h"], "")], [], [],
            id="one name, one offer",
        ),
        pytest.param(
            [machine("r", "h"), machine("s", "h-1", "p")], [named("h")], [("r", ["h"], "")], [], [("s", [], "")],
            id="a number of another offer",
        ),
        pytest.param(
            [machine("r", "h"), machine("s", "h", "p", status="deleted")], [named("h")], [("r", ["h"], "")], [], [],
            id="one name, but the other one has ended",
        ),
        pytest.param(
            [machine("r", "h"), machine("s", "h", "p")], [owns("h", "r", offer="o")], [("r", ["h"], "")], [],
            [("s", ["h"], NAMESAKE)], id="an orphan with the name of a registered host",
        ),
        pytest.param(
            [machine("s", "h", None)], [owns("h", offer="o")], [], [], [("s", ["h"], UNNAMED)],
            id="an orphan that may be what a host has bought",
        ),
        pytest.param([machine("r", status="failed")], [], [], [], [("r", [], "")], id="failed is billed"),
        pytest.param([machine("r", status=None)], [], [], [], [("r", [], "")], id="unknown is billed"),
        *(
            pytest.param([machine("r", "h", status=word)], [named("h")], [], [], [], id=word)
            for word in ("deleting", "deleted", "terminated")
        ),
    ],
)  # fmt: skip
def test_each_machine_has_an_owner_or_is_an_orphan(
    machines: list[Any], claims: list[OwnershipClaim], claimed: list[Any], contested: list[Any], orphans: list[Any]
) -> None:
    found = audit_by_owners(machines, claims, {claim.host for claim in claims}, NOW)
    assert (brief(found.claimed), brief(found.contested), brief(found.orphans)) == (claimed, contested, orphans)
    assert found.unlisted == []
    # Those with the name of a host that has bought something, which may be bought twice.
    assert brief(found.doubled) == [row for row in brief(found.orphans) if row[2] in (NAMESAKE, UNNAMED)]


def test_hosts_that_only_the_registry_knows_have_a_section() -> None:
    found = audit_by_owners([machine("r"), machine("s", offer="p")], [owns("a", "r"), owns("b", "s")], {"b"}, NOW)
    assert (brief(found.claimed), brief(found.unlisted)) == ([("s", ["b"], "")], [("r", ["a"], "")])
    assert [row["hosts"] for row in found.published["claimed"]] == [["a"], ["b"]]


@pytest.mark.parametrize("status", [None, "terminated", "deleted"])
def test_what_is_claimed_by_id_and_has_ended_is_gone(status: str | None) -> None:
    found = audit_by_owners([machine("r", status=status)] if status else [], [owns("h", "r", offer="p")], {"h"}, NOW)
    assert (found.claimed, found.orphans, brief(found.gone)) == ([], [], [("r", ["h"], "")])
    assert (found.gone[0]["status"], found.gone[0]["offer_id"]) == (status, "o" if status else "p")


DAY_AGO, HALF_AN_HOUR_AGO, TOMORROW = "2027-01-14T08:00:00Z", "2027-01-15T07:30:00Z", "2027-01-16T08:00:00Z"


@pytest.mark.parametrize("word", ["deleting", "terminating"])
@pytest.mark.parametrize(
    ("claims", "hosts", "who"),
    [
        pytest.param([owns("h", "r", offer="o")], ["h"], "h", id="claimed"),
        pytest.param([], [], "n", id="its registry is lost"),
        pytest.param([owns("a", "r"), owns("b", "r")], ["a", "b"], "a, b", id="contested"),
        pytest.param([owns("h", offer="o", purchase="made")], ["h"], "h", id="its id was never noted"),
    ],
)
def test_what_is_ending_is_shown_with_its_age_and_its_price(
    word: str, claims: list[OwnershipClaim], hosts: list[str], who: str
) -> None:
    found = audit_by_owners([machine("r", status=word, created_at=DAY_AGO)], claims, {"h"}, NOW)
    found.note_buying([("h", entry("o", "made"))])
    assert (found.claimed, found.contested, found.orphans, found.gone, found.buying) == ([], [], [], [], [])
    assert brief(found.ending) == [("r", hosts, "")] and (found.ending[0]["hours"], found.ending[0]["usd"]) == (24, 48)
    assert found.published["price_per_hour"] == {
        "claimed": 0.0,
        "storage": 0,
        "orphans": 0.0,
        "ending": 2.0,
        "total": 2.0,
    }
    lines = audit_lines(found)
    title, _head, row = lines[: lines.index("")]
    assert title == f"ENDING: being deleted, and billed until it is gone ({word})"
    assert row.split() == [*who.split(), "2.00", "24h", "48.00", "r"]
    assert lines[-1] == "USD per hour: 0.00 claimed + 0.00 orphans + 2.00 ending = 2.00"


@pytest.mark.parametrize(
    ("valid_to", "reaped_at", "hours"),
    [
        pytest.param(DAY_AGO, "", 24.0, id="the API says since when"),
        pytest.param(HALF_AN_HOUR_AGO, "", None, id="not for long"),
        pytest.param(TOMORROW, "", None, id="that is when it would have ended"),
        pytest.param("soon", DAY_AGO, 24.0, id="a sweep says since when"),
        pytest.param(HALF_AN_HOUR_AGO, DAY_AGO, 24.0, id="the earlier one"),
        pytest.param(None, "", None, id="nobody says"),
    ],
)
def test_an_end_that_does_not_come_fails_the_audit(valid_to: Any, reaped_at: str, hours: float | None) -> None:
    claim = replace(owns("h", "r"), reaped_at=reaped_at)
    found = audit_by_owners([machine("r", status="deleting", valid_to=valid_to)], [claim], {"h"}, NOW)
    said = auditing.why_audit_fails(found, fail_on_orphans=False)
    assert said.startswith("1 machine(s) have been ending for more than an hour") is (hours is not None)
    assert [row["ending_hours"] for row in found.stuck] == ([] if hours is None else [hours])
    assert "r (USD 2.00 per hour, 24.0 h)" in said or hours is None


def test_prices_are_summed_and_unknown_ones_counted() -> None:
    machines = [
        machine("r", price_per_hour=0.1),
        machine("s", price_per_hour=0.2),
        machine("t", price_per_hour=None),
        machine("u", None, "x", price_per_hour=4.0),
        machine("v", None, "x", price_per_hour=None),
        machine("w", price_per_hour=100.0, status="deleting"),
    ]
    published = audit_by_owners(machines, [owns("h", "r", "s", "t", "w")], {"h"}, NOW).published
    assert published["price_per_hour"] == {
        "claimed": 0.3,
        "storage": 0,
        "orphans": 4.0,
        "ending": 100.0,
        "total": 104.3,
    }
    assert published["unpriced"] == 2
    lists = {"claimed", "storage", "orphans", "ending", "gone", "buying", "missing", "tested", "leases"}
    assert published.keys() == {*lists, "price_per_hour", "usd", "unpriced"}


def entry(offer: str, purchase: str, *ids: str) -> Entry:
    noted = {"provision_journaled_at": "2027-01-14T08:00:00Z", "provision_bought_by": "alice at bastion"}
    known = {"provision_procured_offer_id": offer, "provision_purchase": purchase, "provision_resource_ids": list(ids)}
    return read_entry({**noted, **known, "provision_price_per_hour": 2.5})


def test_a_purchase_without_a_machine_is_shown_while_it_counts() -> None:
    found = audit_by_owners([machine("r", "h", "shown")], [owns("h", offer="shown", purchase="sent")], {"h"}, NOW)
    found.note_buying(
        [
            ("sent", entry("o1", "sent")),
            ("made", entry("o2", "made")),
            ("refused", entry("o3", "refused")),
            ("known", entry("o4", "made", "s")),
            ("h", entry("shown", "sent")),
            ("empty", read_entry(None)),
        ]
    )
    assert [(row["host"], row["offer_id"]) for row in found.published["buying"]] == [("made", "o2"), ("sent", "o1")]
    assert found.buying[0] == {
        **{"host": "made", "offer_id": "o2", "price_per_hour": 2.5, "run": "alice at bastion"},
        "since": "2027-01-14T08:00:00Z",
    }


def noted_test(**fields: Any) -> Entry:
    return read_entry({"provision_resource_ids": ["r"], "provision_tested": fields})


def test_the_last_tests_of_machines_are_shown() -> None:
    found = audit_by_owners([], [], {"a"}, NOW)
    reasons = "bad: GPU 3: xid: Xid 79 (fell off the bus); degraded: GPU 1: pcie: generation 4 x16 instead of 5."
    found.note_tests(
        [
            ("b", noted_test(at="2027-01-15T08:00:00Z", verdict="bad", reasons=reasons)),
            ("a", noted_test(at="2027-01-15T08:00:00Z", verdict="ok", reasons="")),
            ("by hand", noted_test(at="yesterday\x1b[2J", verdict=None)),
            ("untested", noted_test()),
            ("without a machine", read_entry({"provision_tested": {"verdict": "bad"}})),
            ("of a person", read_entry({"provision_resource_ids": ["r"], "provision_tested": "well"})),
        ]
    )
    assert [row["verdict"] for row in found.published["tested"]] == ["ok", "bad", ""]
    lines = audit_lines(found)
    begin = lines.index("TESTED by the playbook verify")
    assert lines[begin + 1 : begin + 3] == [
        "a (2027-01-15T08:00:00Z): ok",
        "b (2027-01-15T08:00:00Z): bad: GPU 3: xid: Xid 79 (fell off the bus);",
    ]
    assert max(map(len, lines)) <= LINE and all(line.isprintable() for line in lines)
    assert not any(line.startswith("TESTED") for line in audit_lines(audit_by_owners([], [], {"a"}, NOW)))


def test_thousands_of_machines_and_hosts() -> None:
    count = 5000
    machines = [machine(f"r{n}", f"h{n}", f"o{n}") for n in range(count)]
    claims = [owns(f"h{n}", f"r{n}", offer=f"o{n}") if n % 2 else named(f"h{n}") for n in range(count)]
    began = time.process_time()
    found = audit_by_owners(machines, claims, {claim.host for claim in claims}, NOW)
    assert len(found.claimed) == count
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("read", "orphans"),
    [
        ({}, ["r", "s"]),
        ({"r": None}, ["r", "s"]),
        ({"r": machine("r", status="running")}, ["r", "s"]),
        ({"r": machine("r", status="deleting")}, ["r", "s"]),
        ({"r": machine("r", status="deleted")}, ["s"]),
    ],
)
def test_an_orphan_that_has_ended_by_its_own_page_is_none(read: Any, orphans: list[str]) -> None:
    """A 404 proves nothing by itself."""
    found = audit_by_owners([machine("R"), machine("s")], [], {"h"}, NOW)
    found.note_read(read)
    assert [row["resource_id"].lower() for row in found.orphans] == orphans


EARLY, LATE, PAST = "2027-01-15T12:00:00Z", "2027-01-15T16:00:00Z", "2027-01-15T07:00:00Z"


@pytest.mark.parametrize(
    ("valid_to", "ends_at", "said"),
    [
        (EARLY, LATE, "By the API, h r ends at 2027-01-15 12:00 UTC, before its lease."),
        (EARLY, "", "By the API, h r ends at 2027-01-15 12:00 UTC."),
        (EARLY, "soon", "By the API, h r ends at 2027-01-15 12:00 UTC."),
        (LATE, EARLY, ""),
        (EARLY, EARLY, ""),
        (PAST, LATE, ""),
        (None, LATE, ""),
        ("soon", LATE, ""),
    ],
)
def test_machines_that_end_before_their_leases_by_the_api_are_shown(
    valid_to: str | None, ends_at: str, said: str
) -> None:
    volume = {**machine("v", "data", "o", valid_to=valid_to), "kind": "storage"}
    found = audit_by_owners([machine("r", valid_to=valid_to), volume], [owns("h", "r")], {"h"}, NOW)
    found.note_leases([("h", read_entry({"provision_ends_at": ends_at})), ("other", read_entry(None))])
    assert found.claimed[0]["valid_to"] == (valid_to if valid_to in (EARLY, LATE) else None)
    shown = " ".join(line.strip() for line in audit_lines(found))
    assert (said in shown) and ("By the API" in shown) == bool(said)
    assert list(found.leases) == (["h"] if ends_at else [])


def test_age_and_cost_so_far() -> None:
    machines = [
        machine("r", created_at=DAY_AGO),
        machine("s", created_at=DAY_AGO, price_per_hour=None),
        machine("t", created_at=None),
        machine("u", created_at="yesterday"),
        machine("v", offer="x", created_at="2027-01-15T08:00:01Z"),
        machine("w", created_at=DAY_AGO, status="deleting"),
    ]
    published = audit_by_owners(machines, [owns("h", "r", "s", "t", "u", "w")], {"h"}, NOW).published
    kinds = ("claimed", "orphans", "ending")
    assert {kind: [(row["hours"], row["usd"]) for row in published[kind]] for kind in kinds} == {
        "claimed": [(24.0, 48.0), (24.0, None), (None, None), (None, None)],
        "orphans": [(0.0, 0.0)],
        "ending": [(24.0, 48.0)],
    }
    assert published["usd"] == {"claimed": 48.0, "storage": 0, "orphans": 0.0, "ending": 48.0, "total": 96.0}


def test_names_that_are_expected_are_those_of_the_project() -> None:
    here = [{"host": "gpu-1", "prefix": "other-"}, {"host": "localhost", "prefix": "red-"}]
    assert expected_claims([" gpu-1", "", "red-gpu-2"], here, is_shared=False) == [
        OwnershipClaim("gpu-1", "red-gpu-1", by_name=True),
        OwnershipClaim("red-gpu-2", "red-gpu-2", by_name=True),
    ]


def test_hosts_of_one_name_in_two_projects_are_compared_with_their_own_entries() -> None:
    red, blue = owns("h", "r", offer="o"), owns("h", "s", offer="p")
    found = audit_by_owners(
        [machine("r", "h", "o"), machine("s", "h", "p"), machine("t", "h", "q")], [red, blue], {"h"}, NOW
    )
    assert brief(found.claimed) == [("r", ["h"], ""), ("s", ["h"], "")]
    assert [row[0] for row in brief(found.orphans)] == ["t"]


@pytest.mark.parametrize(("registered", "is_shared"), [((), True), (("h",), False)])
def test_a_name_claims_nothing_for_a_host_with_a_registry(registered: tuple[str, ...], is_shared: bool) -> None:
    assert expected_claims(["h"], [{"host": "localhost", "prefix": ""}], registered, is_shared=is_shared) == []


X, M = offer_id(1), machine_id(1)
OWNER = OwnershipClaim("gpu-1", "gpu-1", X, frozenset({M}), bought=True)
RIVAL = OwnershipClaim("gpu-2", "gpu-2", X, frozenset({M}), bought=True)
OTHER = OwnershipClaim("gpu-1", "gpu-1", offer_id(2), frozenset({machine_id(2)}), bought=True)


def found(claims: list[OwnershipClaim], name: str = "gpu-1", **fields: Any) -> Audit:
    """The audit of an account with one machine."""
    return audit_by_owners([sample(1, name, X, **fields)], claims, {"gpu-1"}, NOW)


@pytest.mark.parametrize(
    ("claims", "fails_on_orphans", "words"),
    [
        ([OWNER], True, ""),
        ([], False, ""),
        ([], True, f"1 machine(s) that no host claims cost USD 2.00 per hour: {M}. End each by its id"),
        ([OWNER, RIVAL], False, f"1 machine(s) are contested: {M} (gpu-1, gpu-2: several hosts claim it)."),
        (
            [OTHER],
            False,
            "1 machine(s) have the name of a host that has bought another one, or one that no registry names yet:"
            f" {M} (gpu-1, USD 2.00",
        ),
    ],
)
def test_why_an_audit_fails(claims: list[OwnershipClaim], fails_on_orphans: bool, words: str) -> None:
    text = why_audit_fails(found(claims), fail_on_orphans=fails_on_orphans)
    assert text.startswith(words) and bool(text) is bool(words)


def test_an_audit_also_fails_for_what_it_could_not_read_and_for_what_was_moved_away() -> None:
    over = [
        Bill("default", host, "x", (ids,), begin=1.0, end=2.0, why=MOVED) for host, ids in (("a", M), ("b", "else"))
    ]
    text = why_audit_fails(found([]), ["A file.", "A file."], over, fail_on_orphans=False)
    assert text.startswith("A file. a: moved into a shared registry, which this run does not read")
    assert why_audit_fails(found([]), [], [over[1]], fail_on_orphans=False) == ""


@pytest.mark.parametrize(
    ("claims", "title", "total"),
    [
        ([OWNER], "CLAIMED by a host of the inventory (running)", "2.00 claimed = 2.00"),
        ([], "ORPHANS: billed, and no host claims them (running)", "0.00 claimed + 2.00 orphans = 2.00"),
        ([OWNER, RIVAL], "CONTESTED: several hosts claim it, so you must decide (running)", "2.00 claimed = 2.00"),
    ],
)
def test_each_machine_has_a_section(claims: list[OwnershipClaim], title: str, total: str) -> None:
    report = audit_lines(found(claims, "gpu-1" if claims else "a-very-long-name-of-a-machine"))
    assert title in report and any(M in line for line in report)
    assert max(map(len, report)) <= LINE
    assert report[-1].startswith("USD per hour: ") and total.split(" = ")[0] in report[-1]


def test_what_is_rounded_up_adds_up() -> None:
    sums = {"claimed": 0.17, "storage": 0.01, "orphans": 0.0}
    assert auditing._added(sums, sums) == "0.17 claimed + 0.01 storage + 0.00 orphans = 0.18"
