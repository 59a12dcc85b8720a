# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit: owners of machines, contested machines, orphans, claims whose machine is gone, sums, and why it fails."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import auditing, storage
from ansible_collections.compute_index.supply.plugins.module_utils._provision.auditing import (
    Audit,
    audit_by_owners,
    audit_lines,
    expected_claims,
    under_deletion,
    why_audit_fails,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry, read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import MOVED
from ansible_collections.compute_index.supply.plugins.module_utils._provision.missing import MissingLook
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
OFFERS = "several offers have machines of this name"
STRANGER = "it is called n, and the registry names only its offer"
NAMESAKE = "it has the name of a host whose registry names another machine"
UNNAMED = "it has the name of a host whose registry names no machine"


def machine(resource_id: str, name: str | None = "n", offer: str | None = "o", **fields: Any) -> dict[str, Any]:
    known = {"resource_id": resource_id, "name": name, "offer_id": offer, "status": "running", "vendor": "v"}
    return {**known, "price_per_hour": 2.0, **fields}


def registered(host: str, *ids: str, offer: str = "", name: str = "", purchase: str = "") -> OwnershipClaim:
    """The claim of a host with a registry entry."""
    entry = {"provision_resource_ids": list(ids), "provision_procured_offer_id": offer, "provision_purchase": purchase}
    return claim_of(host, name or host, read_entry(entry), by_name=False)


def unregistered(host: str, name: str = "") -> OwnershipClaim:
    """The claim of a host without a registry."""
    return OwnershipClaim(host, name or host, by_name=True)


def owners_and_trouble(rows: list[Any]) -> list[tuple[Any, ...]]:
    return [(row["resource_id"], row["hosts"], row["trouble"]) for row in rows]


def case(
    id: str, machines: Any = (), claims: Any = (), claimed: Any = (), contested: Any = (), orphans: Any = ()
) -> Any:
    return pytest.param(machines, claims, [*claimed], [*contested], [*orphans], id=id)


@pytest.mark.parametrize(
    ("machines", "claims", "claimed", "contested", "orphans"),
    [
        case("no machine"),
        case("id", [machine("r")], [registered("h", "r")], claimed=[("r", ["h"], "")]),
        case("offer and name", [machine("r", "h")], [registered("h", offer="o")], claimed=[("r", ["h"], "")]),
        case("offer without name", [machine("r")], [registered("h", offer="o")], orphans=[("r", ["h"], STRANGER)]),
        case(
            "offer, and no name at all",
            [machine("r", None)],
            [registered("h", offer="o")],
            orphans=[("r", ["h"], "it is called nothing, and the registry names only its offer")],
        ),
        case(
            "offer of an answered purchase",
            [machine("r")],
            [registered("h", offer="o", purchase="made")],
            claimed=[("r", ["h"], "")],
        ),
        case("name without registry", [machine("r", "h")], [unregistered("h")], claimed=[("r", ["h"], "")]),
        case("name with registry", [machine("r", "h")], [registered("h")], orphans=[("r", [], "")]),
        case("resource name", [machine("r")], [unregistered("h", "n")], claimed=[("r", ["h"], "")]),
        case("another name", [machine("r")], [unregistered("h")], orphans=[("r", [], "")]),
        case(
            "one id, two hosts",
            [machine("r")],
            [registered("b", "r"), registered("a", "r")],
            contested=[("r", ["a", "b"], SEVERAL)],
        ),
        case(
            "id beats name",
            [machine("r", "a")],
            [unregistered("a"), registered("b", "r"), registered("c", offer="x")],
            claimed=[("r", ["b"], "")],
        ),
        case(
            "one name, two hosts",
            [machine("r")],
            [unregistered("a", "n"), unregistered("b", "n")],
            contested=[("r", ["a", "b"], SEVERAL)],
        ),
        case(
            "another offer",
            [machine("r")],
            [registered("h", "r", offer="p")],
            claimed=[("r", ["h"], "its offer is o, not that of the registry")],
        ),
        case("no offer", [machine("r", offer=None)], [registered("h", "r", offer="p")], claimed=[("r", ["h"], "")]),
        case(
            "further machine of the offer",
            [machine("r"), machine("s")],
            [registered("h", "r", offer="o")],
            claimed=[("r", ["h"], ""), ("s", ["h"], "")],
        ),
        case(
            "one name, two offers",
            [machine("r", "h", "o"), machine("s", "h", "p")],
            [unregistered("h")],
            contested=[("r", ["h"], OFFERS), ("s", ["h"], OFFERS)],
        ),
        case(
            "one name, one offer",
            [machine("r", "h"), machine("s", "h")],
            [unregistered("h")],
            claimed=[("r", ["h"], ""), ("s", ["h"], "")],
        ),
        case(
            "numbered name of another offer",
            [machine("r", "h"), machine("s", "h-1", "p")],
            [unregistered("h")],
            claimed=[("r", ["h"], "")],
            orphans=[("s", [], "")],
        ),
        case(
            "one name, two offers, one ended",
            [machine("r", "h"), machine("s", "h", "p", status="deleted")],
            [unregistered("h")],
            claimed=[("r", ["h"], "")],
        ),
        case(
            "orphan with the name of a registered host",
            [machine("r", "h"), machine("s", "h", "p")],
            [registered("h", "r", offer="o")],
            claimed=[("r", ["h"], "")],
            orphans=[("s", ["h"], NAMESAKE)],
        ),
        case(
            "orphan that a host may have bought",
            [machine("s", "h", None)],
            [registered("h", offer="o")],
            orphans=[("s", ["h"], UNNAMED)],
        ),
        case("failed", [machine("r", status="failed")], orphans=[("r", [], "")]),
        case("unknown status", [machine("r", status=None)], orphans=[("r", [], "")]),
        *(
            case(status, [machine("r", "h", status=status)], [unregistered("h")])
            for status in ("deleting", "deleted", "terminated")
        ),
    ],
)
def test_billed_machine_is_claimed_contested_or_orphan(
    machines: list[Any], claims: list[OwnershipClaim], claimed: list[Any], contested: list[Any], orphans: list[Any]
) -> None:
    found = audit_by_owners(machines, claims, {claim.host for claim in claims}, NOW)
    assert (
        owners_and_trouble(found.claimed),
        owners_and_trouble(found.contested),
        owners_and_trouble(found.orphans),
    ) == (claimed, contested, orphans)
    assert found.unlisted == []
    # The hosts may have bought these machines twice.
    assert owners_and_trouble(found.doubled) == [
        row for row in owners_and_trouble(found.orphans) if row[2] in (NAMESAKE, UNNAMED)
    ]


def test_machines_of_hosts_outside_inventory_are_unlisted() -> None:
    found = audit_by_owners(
        [machine("r"), machine("s", offer="p")], [registered("a", "r"), registered("b", "s")], {"b"}, NOW
    )
    assert (owners_and_trouble(found.claimed), owners_and_trouble(found.unlisted)) == (
        [("s", ["b"], "")],
        [("r", ["a"], "")],
    )
    assert [row["hosts"] for row in found.published["claimed"]] == [["a"], ["b"]]


@pytest.mark.parametrize("status", [None, "terminated", "deleted"])
def test_claimed_machine_that_ended_or_is_unlisted_is_gone(status: str | None) -> None:
    found = audit_by_owners(
        [machine("r", status=status)] if status else [], [registered("h", "r", offer="p")], {"h"}, NOW
    )
    assert (found.claimed, found.orphans, owners_and_trouble(found.gone)) == ([], [], [("r", ["h"], "")])
    assert (found.gone[0]["status"], found.gone[0]["offer_id"]) == (status, "o" if status else "p")
    assert f"GONE: claimed, but ended or unknown to the API{f' ({status})' if status else ''}" in audit_lines(found)
    (row,) = audit_by_owners([], [registered("h", "s")], {"h"}, NOW).gone
    assert (row["resource_id"], row["offer_id"]) == ("s", None)


DAY_AGO, HALF_AN_HOUR_AGO, TOMORROW = "2027-01-14T08:00:00Z", "2027-01-15T07:30:00Z", "2027-01-16T08:00:00Z"


@pytest.mark.parametrize("status", ["deleting", "terminating"])
@pytest.mark.parametrize(
    ("claims", "hosts", "label"),
    [
        pytest.param([registered("h", "r", offer="o")], ["h"], "h", id="claimed"),
        pytest.param([], [], "n", id="registry lost"),
        pytest.param([registered("a", "r"), registered("b", "r")], ["a", "b"], "a, b", id="contested"),
        pytest.param([registered("h", offer="o", purchase="made")], ["h"], "h", id="id not noted"),
        pytest.param([registered("h", offer="o")], ["h"], "h", id="only its offer is noted"),
    ],
)
def test_ending_machine_is_shown_with_age_and_cost(
    status: str, claims: list[OwnershipClaim], hosts: list[str], label: str
) -> None:
    found = audit_by_owners([machine("r", status=status, created_at=DAY_AGO)], claims, {"h"}, NOW)
    found.note_buying([("h", entry("o", "made"))])
    assert (found.claimed, found.contested, found.orphans, found.gone, found.buying) == ([], [], [], [], [])
    assert owners_and_trouble(found.ending) == [("r", hosts, "")] and (
        found.ending[0]["hours"],
        found.ending[0]["usd"],
    ) == (24, 48)
    assert found.published["price_per_hour"] == {
        "claimed": 0.0,
        "storage": 0,
        "orphans": 0.0,
        "ending": 2.0,
        "total": 2.0,
    }
    lines = audit_lines(found)
    title, _head, row = lines[: lines.index("")]
    assert title == f"ENDING: being deleted, and billed until it is gone ({status})"
    assert row.split() == [*label.split(), "2.00", "24h", "48.00", "r"]
    assert lines[-1] == "USD per hour: 0.00 claimed + 0.00 orphans + 2.00 ending = 2.00"


@pytest.mark.parametrize(
    ("valid_to", "reaped_at", "hours"),
    [
        pytest.param(DAY_AGO, "", 24.0, id="start by the API"),
        pytest.param(HALF_AN_HOUR_AGO, "", None, id="half an hour"),
        pytest.param("2027-01-15T07:00:00Z", "", None, id="an hour"),
        pytest.param("2027-01-15T06:54:00Z", "", 1.1, id="six minutes more"),
        pytest.param(TOMORROW, "", None, id="future end is no start"),
        pytest.param("soon", DAY_AGO, 24.0, id="start by the sweep"),
        pytest.param(HALF_AN_HOUR_AGO, DAY_AGO, 24.0, id="earlier of two starts"),
        pytest.param(None, "", None, id="unknown start"),
    ],
)
def test_end_that_does_not_come_within_an_hour_fails_audit(valid_to: Any, reaped_at: str, hours: float | None) -> None:
    claim = replace(registered("h", "r"), reaped_at=reaped_at)
    found = audit_by_owners([machine("r", status="deleting", valid_to=valid_to)], [claim], {"h"}, NOW)
    reason = why_audit_fails(found, fail_on_orphans=False)
    assert reason.startswith("1 machine(s) have been ending for more than an hour") is (hours is not None)
    assert [row["ending_hours"] for row in found.stuck] == ([] if hours is None else [hours])
    assert hours is None or f"r (USD 2.00 per hour, {hours:.1f} h)" in reason
    assert all((row["ending_hours"] or 0.0) >= 0.0 for row in found.ending)


def test_known_prices_are_summed_and_unknown_ones_counted() -> None:
    machines = [
        machine("r", price_per_hour=0.1),
        machine("s", price_per_hour=0.2),
        machine("t", price_per_hour=None),
        machine("u", None, "x", price_per_hour=4.0),
        machine("v", None, "x", price_per_hour=None),
        machine("w", price_per_hour=100.0, status="deleting"),
    ]
    found = audit_by_owners(machines, [registered("h", "r", "s", "t", "w")], {"h"}, NOW)
    published = found.published
    assert published["price_per_hour"] == {
        "claimed": 0.3,
        "storage": 0,
        "orphans": 4.0,
        "ending": 100.0,
        "total": 104.3,
    }
    assert published["unpriced"] == 2
    assert audit_lines(found)[-1].endswith(" = 104.30, and 2 of unknown price")
    lists = {"claimed", "storage", "orphans", "ending", "gone", "buying", "missing", "elsewhere", "tested", "leases"}
    assert published.keys() == {*lists, "price_per_hour", "usd", "unpriced"}


def entry(offer: str, purchase: str, *ids: str) -> Entry:
    noted = {"provision_journaled_at": "2027-01-14T08:00:00Z", "provision_bought_by": "alice at bastion"}
    known = {"provision_procured_offer_id": offer, "provision_purchase": purchase, "provision_resource_ids": list(ids)}
    return read_entry({**noted, **known, "provision_price_per_hour": 2.5})


def test_purchase_without_machine_is_shown_while_it_may_be_billed() -> None:
    found = audit_by_owners([machine("r", "h", "shown")], [registered("h", offer="shown", purchase="sent")], {"h"}, NOW)
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


@pytest.mark.parametrize(("held_by", "run"), [("", "alice at bastion"), ("bob", "bob")])
def test_purchase_without_machine_names_the_run_that_buys_now(held_by: str, run: str) -> None:
    found = audit_by_owners([], [], (), NOW)
    found.note_buying([("h", replace(entry("o", "sent"), held_by=held_by))])
    assert [row["run"] for row in found.buying] == [run]


@pytest.mark.parametrize(
    ("claims", "offer", "owners"),
    [
        pytest.param([], "o", None, id="registry lost"),
        pytest.param([registered("h", "r", offer="o", purchase="made")], "o", ["h"], id="offer"),
        pytest.param([registered("h", offer="o", purchase="sent")], "o", None, id="unanswered purchase"),
        pytest.param([registered("h", "r", offer="o", purchase="made")], "p", None, id="another offer"),
        pytest.param([registered("h", "r")], None, None, id="neither has an offer"),
        pytest.param([registered("h", "V")], None, ["h"], id="noted as a machine"),
        pytest.param(
            [replace(registered("a"), storage_ids=frozenset("v")), registered("b", "r", offer="o", purchase="made")],
            "o",
            ["a"],
            id="id beats offer",
        ),
        pytest.param(
            [replace(registered("h: v", "v", offer="v", purchase="made"), storage_of="h")],
            "o",
            ["h"],
            id="outlived its machine",
        ),
    ],
)
def test_storage_is_of_the_host_that_notes_it_or_bought_its_offer(
    claims: list[OwnershipClaim], offer: str | None, owners: list[str] | None
) -> None:
    volume = {**machine("v", "data", offer), "kind": "storage"}
    found = audit_by_owners([volume], claims, {"h"}, NOW)
    orphan = ("v", [], "storage of no registered machine")
    assert owners_and_trouble(found.storage) == ([] if owners is None else [("v", owners, "")])
    assert owners_and_trouble(found.orphans) == ([orphan] if owners is None else [])
    lines = audit_lines(found)
    assert ("To end an orphan: compute_index.supply.end_by_id" in lines) is (owners is None)
    failure = why_audit_fails(found, fail_on_orphans=True)
    assert failure.startswith("1 orphan(s) cost" if owners is None else "") and "machine(s)" not in failure
    assert (f"v: {orphan[2]}" in " ".join(lines)) is (owners is None)
    assert (storage.ADVICE[0] in lines) is (owners is not None)


def test_missing_machine_is_not_also_shown_as_gone() -> None:
    claims = [registered("a", "r"), registered("b", "s"), registered("c", "t")]
    found = audit_by_owners([machine("s", status="deleted")], claims, {"a", "b", "c"}, NOW)
    entries = [("a", entry("o1", "made", "r")), ("b", entry("o2", "made", "s")), ("c", entry("o3", "made", "t"))]
    gone = machine("t", status="deleted")
    found.note_missing(entries, MissingLook([machine("s", status="deleted")], {"r": None, "s": None, "t": gone}), NOW)
    assert [row["host"] for row in found.missing] == ["a", "b"]
    assert [(row["resource_id"], row["status"]) for row in found.gone] == [("s", "deleted"), ("t", None)]


@pytest.mark.parametrize(("status", "is_doubled"), [("running", True), (None, True), ("failed", False)])
def test_only_a_live_orphan_may_have_been_bought_twice(status: str | None, is_doubled: bool) -> None:
    machines = [machine("r", "h"), machine("s", "h", "p", status=status)]
    found = audit_by_owners(machines, [registered("h", "r", offer="o")], {"h"}, NOW)
    assert [row["resource_id"] for row in found.orphans] == ["s"]
    assert bool(found.doubled) is is_doubled


def test_under_deletion_has_the_known_ids_of_machines_being_deleted() -> None:
    statuses = {"r": "deleting", "s": "running", "t": "deleted", "u": None}
    machines = [machine(key, status=status) for key, status in statuses.items()]
    assert under_deletion([*machines, {**machine("", status="deleting"), "resource_id": None}]) == {"r"}


def noted_test(**fields: Any) -> Entry:
    return read_entry({"provision_resource_ids": ["r"], "provision_tested": fields})


def test_last_test_of_each_machine_is_shown() -> None:
    found = audit_by_owners([], [], {"a"}, NOW)
    reasons = "bad: GPU 3: xid: Xid 79 (fell off the bus); degraded: GPU 1: pcie: generation 4 x16 instead of 5."
    found.note_tests(
        [
            ("b", noted_test(at="2027-01-15T08:00:00Z", verdict="bad", reasons=reasons)),
            ("a", noted_test(at="2027-01-15T08:00:00Z", verdict="ok", reasons="")),
            ("by hand", noted_test(at="yesterday\x1b[2J", verdict=None)),
            ("untested", noted_test()),
            ("without a machine", read_entry({"provision_tested": {"verdict": "bad"}})),
            ("malformed", read_entry({"provision_resource_ids": ["r"], "provision_tested": "well"})),
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


def test_audit_of_5000_machines_takes_less_than_3_cpu_seconds() -> None:
    count = 5000
    machines = [machine(f"r{n}", f"h{n}", f"o{n}") for n in range(count)]
    claims = [registered(f"h{n}", f"r{n}", offer=f"o{n}") if n % 2 else unregistered(f"h{n}") for n in range(count)]
    began = time.process_time()
    found = audit_by_owners(machines, claims, {claim.host for claim in claims}, NOW)
    assert len(found.claimed) == count
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("pages", "orphans"),
    [
        ({}, ["r", "s"]),
        ({"r": None}, ["r", "s"]),
        ({"r": machine("r", status="running")}, ["r", "s"]),
        ({"r": machine("r", status="deleting")}, ["r", "s"]),
        ({"r": machine("r", status="deleted")}, ["s"]),
    ],
)
def test_machine_that_ended_by_its_own_page_is_not_an_orphan(pages: Any, orphans: list[str]) -> None:
    """A 404 alone (None) proves nothing."""
    found = audit_by_owners([machine("R"), machine("s")], [], {"h"}, NOW)
    found.note_read(pages)
    assert [row["resource_id"].lower() for row in found.orphans] == orphans


EARLY, LATE, PAST = "2027-01-15T12:00:00Z", "2027-01-15T16:00:00Z", "2027-01-15T07:00:00Z"


@pytest.mark.parametrize(
    ("valid_to", "ends_at", "line"),
    [
        (EARLY, LATE, "The API says that h r ends at 2027-01-15 12:00 UTC, before its lease."),
        (EARLY, "", "The API says that h r ends at 2027-01-15 12:00 UTC."),
        (EARLY, "soon", "The API says that h r ends at 2027-01-15 12:00 UTC."),
        (LATE, EARLY, ""),
        (EARLY, EARLY, ""),
        (PAST, LATE, ""),
        ("2027-01-15T08:00:00Z", LATE, ""),
        (None, LATE, ""),
        ("soon", LATE, ""),
    ],
)
def test_machine_that_ends_before_its_lease_by_the_api_is_shown(valid_to: str | None, ends_at: str, line: str) -> None:
    volume = {**machine("v", "data", "o", valid_to=valid_to), "kind": "storage"}
    found = audit_by_owners([machine("r", valid_to=valid_to), volume], [registered("h", "r")], {"h"}, NOW)
    found.note_leases([("h", read_entry({"provision_ends_at": ends_at})), ("other", read_entry(None))])
    assert found.claimed[0]["valid_to"] == (valid_to if valid_to in (EARLY, LATE) else None)
    report = " ".join(text.strip() for text in audit_lines(found))
    assert (line in report) and ("The API says" in report) == bool(line)
    assert list(found.leases) == (["h"] if ends_at else [])


def test_rows_have_age_in_hours_and_cost_so_far() -> None:
    machines = [
        machine("r", created_at=DAY_AGO),
        machine("s", created_at=DAY_AGO, price_per_hour=None),
        machine("t", created_at=None),
        machine("u", created_at="yesterday"),
        machine("v", offer="x", created_at="2027-01-15T08:00:01Z"),
        machine("w", created_at=DAY_AGO, status="deleting"),
    ]
    published = audit_by_owners(machines, [registered("h", "r", "s", "t", "u", "w")], {"h"}, NOW).published
    kinds = ("claimed", "orphans", "ending")
    assert {kind: [(row["hours"], row["usd"]) for row in published[kind]] for kind in kinds} == {
        "claimed": [(24.0, 48.0), (24.0, None), (None, None), (None, None)],
        "orphans": [(0.0, 0.0)],
        "ending": [(24.0, 48.0)],
    }
    assert published["usd"] == {"claimed": 48.0, "storage": 0, "orphans": 0.0, "ending": 48.0, "total": 96.0}


def test_expected_names_get_the_prefix_of_the_project() -> None:
    here = [{"host": "gpu-1", "prefix": "other-"}, {"host": "localhost", "prefix": "red-"}]
    assert expected_claims([" gpu-1", "", "red-gpu-2"], here, is_shared=False) == [
        OwnershipClaim("gpu-1", "red-gpu-1", by_name=True),
        OwnershipClaim("red-gpu-2", "red-gpu-2", by_name=True),
    ]
    for inventory in ([{"host": "localhost", "prefix": None}], [{"host": "localhost"}], here[:1]):
        assert expected_claims(["gpu-1"], inventory, is_shared=False) == [
            OwnershipClaim("gpu-1", "gpu-1", by_name=True)
        ]


def test_hosts_with_same_name_in_two_projects_own_their_own_machines() -> None:
    red, blue = registered("h", "r", offer="o"), registered("h", "s", offer="p")
    found = audit_by_owners(
        [machine("r", "h", "o"), machine("s", "h", "p"), machine("t", "h", "q")], [red, blue], {"h"}, NOW
    )
    assert owners_and_trouble(found.claimed) == [("r", ["h"], ""), ("s", ["h"], "")]
    assert [row[0] for row in owners_and_trouble(found.orphans)] == ["t"]


@pytest.mark.parametrize(("registered", "is_shared"), [((), True), (("h",), False)])
def test_expected_name_claims_nothing_for_host_with_registry(registered: tuple[str, ...], is_shared: bool) -> None:
    assert expected_claims(["h"], [{"host": "localhost", "prefix": ""}], registered, is_shared=is_shared) == []


X, M = offer_id(1), machine_id(1)
OWNER = OwnershipClaim("gpu-1", "gpu-1", X, frozenset({M}), bought=True)
RIVAL = OwnershipClaim("gpu-2", "gpu-2", X, frozenset({M}), bought=True)
OTHER = OwnershipClaim("gpu-1", "gpu-1", offer_id(2), frozenset({machine_id(2)}), bought=True)


def audit_of_one(claims: list[OwnershipClaim], name: str = "gpu-1") -> Audit:
    """The audit of an account with one machine."""
    return audit_by_owners([sample(1, name, X)], claims, {"gpu-1"}, NOW)


@pytest.mark.parametrize(
    ("claims", "fail_on_orphans", "reason"),
    [
        ([OWNER], True, ""),
        ([], False, ""),
        ([], True, f"1 orphan(s) cost USD 2.00 per hour: {M}. End each by its id"),
        ([OWNER, RIVAL], False, f"1 machine(s) are contested: {M} (gpu-1, gpu-2: several hosts claim it)."),
        (
            [OTHER],
            False,
            f"1 machine(s) have the name of a host whose registry names another machine, or none: {M} (gpu-1, USD 2.00",
        ),
    ],
)
def test_why_audit_fails_by_owners(claims: list[OwnershipClaim], fail_on_orphans: bool, reason: str) -> None:
    text = why_audit_fails(audit_of_one(claims), fail_on_orphans=fail_on_orphans)
    assert text.startswith(reason) and bool(text) is bool(reason)


def test_why_audit_fails_for_unread_data_and_moved_purchases() -> None:
    moved, ended = (
        Bill("default", host, "x", (resource_id,), begin=1.0, end=2.0, why=MOVED)
        for host, resource_id in (("a", M), ("b", "unlisted"))
    )
    text = why_audit_fails(audit_of_one([]), ["A file.", "A file."], [moved, ended], fail_on_orphans=False)
    assert text.startswith("A file. a: moved into a shared registry that this run does not read")
    assert why_audit_fails(audit_of_one([]), [], [ended], fail_on_orphans=False) == ""


@pytest.mark.parametrize(
    ("claims", "title", "total"),
    [
        ([OWNER], "CLAIMED by a host (running)", "2.00 claimed = 2.00"),
        ([], "ORPHANS: billed, and no host claims them (running)", "0.00 claimed + 2.00 orphans = 2.00"),
        ([OWNER, RIVAL], "CONTESTED: several hosts claim it, so you must decide (running)", "2.00 claimed = 2.00"),
    ],
)
def test_section_of_machine_depends_on_its_claims(claims: list[OwnershipClaim], title: str, total: str) -> None:
    report = audit_lines(audit_of_one(claims, "gpu-1" if claims else "a-very-long-name-of-a-machine"))
    assert title in report and any(M in line for line in report)
    assert any(line.startswith(f"{M}: ") for line in report) is (RIVAL in claims)
    assert max(map(len, report)) <= LINE
    assert report[-1].startswith("USD per hour: ") and total.split(" = ")[0] in report[-1]


def test_rounded_sums_add_up() -> None:
    sums = {"claimed": 0.17, "storage": 0.01, "orphans": 0.0}
    assert auditing._added(sums, sums) == "0.17 claimed + 0.01 storage + 0.00 orphans = 0.18"
