# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How entries and ledgers in files are moved to a shared registry."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import moving, place
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry, read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import place_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill, Ledger

from provision_samples import entry, machine_id, offer_id

X, Y = offer_id(1), offer_id(2)
M, N = machine_id(1), machine_id(2)
MADE, OPEN, REFUSED, EMPTY = entry(X, [M], "made"), entry(X, [], "sent"), entry(X, [], "refused"), Entry()
FACTS = {"provision_procured_offer_id": X, "provision_resource_ids": [M], "provision_lease": "8h"}


@pytest.mark.parametrize(
    ("known", "offer", "waits"),
    [
        (MADE, "", True),
        (MADE, X, False),  # the registry knows it
        (MADE, Y, True),
        (OPEN, "", True),
        (REFUSED, "", False),
        (EMPTY, "", False),
    ],
)
def test_a_host_waits_while_its_file_names_another_purchase(known: Entry, offer: str, waits: bool) -> None:
    found = place.why_not_imported("/vars/gpu-1/compute_index_supply.yml", known, offer)
    assert bool(found) is waits
    assert not waits or (
        found.startswith(f"/vars/gpu-1/compute_index_supply.yml names offer {X}") and "registry" in found
    )


@pytest.mark.parametrize(
    ("known", "noted", "is_contradicted"),
    [
        (MADE, None, False),
        (MADE, MADE, False),
        (MADE, entry(Y, [N], "made"), True),
        (OPEN, entry(Y, [], "refused"), True),
        (REFUSED, entry(Y, [N], "made"), False),  # nothing was bought by the file
    ],
)
def test_a_host_has_one_purchase(known: Entry, noted: Entry | None, is_contradicted: bool) -> None:
    found = moving.why_contradicted("the file", known, "the database", noted)
    assert bool(found) is is_contradicted and (not found or (X in found and Y in found))


@pytest.mark.parametrize(
    ("known", "facts", "claims"), [(OPEN, None, True), (MADE, None, False), (OPEN, {}, False), (REFUSED, None, False)]
)
def test_what_may_be_under_way_is_claimed(known: Entry, facts: Any, claims: bool) -> None:
    assert moving.is_to_be_claimed(known, facts) is claims


@pytest.mark.parametrize(
    ("known", "noted", "note"),
    [
        pytest.param(None, EMPTY, FACTS, id="the registry knows nothing"),
        pytest.param({"provision_lease": "1h"}, MADE, None, id="it knows all"),
        pytest.param(
            {"provision_lease": "1h"},
            OPEN,
            {**FACTS, "provision_lease": None, "provision_purchase": "made"},
            id="it learns what was bought, and keeps what it has",
        ),
        pytest.param({}, entry(X, [N], "made"), {**FACTS, "provision_purchase": "made"}, id="a machine is new"),
    ],
)
def test_what_the_registry_learns(known: Any, noted: Entry, note: Any) -> None:
    wanted = None if note is None else {name: value for name, value in note.items() if value is not None}
    assert moving.facts_to_note(FACTS, MADE, known, noted) == wanted


EARLY, LATE = "2026-12-01T06:00:00Z", "2026-12-02T06:00:00Z"


@pytest.mark.parametrize(
    ("ends_at", "noted_end", "is_noted"),
    [
        pytest.param(LATE, EARLY, True, id="it was extended there"),
        pytest.param(EARLY, LATE, False, id="it was extended here"),
        pytest.param(EARLY, EARLY, False, id="another clone has moved it"),
        pytest.param(EARLY, "", True, id="it has no end here"),
        pytest.param("", EARLY, False, id="it has no end there"),
    ],
)
@pytest.mark.parametrize("ids", [[M], [M, N]], ids=["known machines", "a machine is new"])
def test_the_later_end_of_two_leases_holds(ends_at: str, noted_end: str, is_noted: bool, ids: list[str]) -> None:
    lease = {"provision_leased": "8h", "provision_ends_at": ends_at, "provision_at_most": 16.0} if ends_at else {}
    facts = {**FACTS, "provision_resource_ids": ids, **lease}
    known = {**FACTS, **({"provision_leased": "8h", "provision_ends_at": noted_end} if noted_end else {})}
    found = moving.facts_to_note(facts, read_entry(facts), known, read_entry(known)) or {}
    assert {name: found[name] for name in lease if name in found and is_noted} == (lease if is_noted else {})
    assert is_noted or "provision_ends_at" not in found
    assert found.get("provision_resource_ids", []) == (ids if N in ids else []), "what was seen to be missing stays so"


FOLDER, OTHER = place_of("/a"), place_of("/b")


@pytest.mark.parametrize(
    ("host", "folder", "project", "moved", "stays"),
    [
        ("gpu-1", FOLDER, "", ["gpu-1"], False),
        ("extra", FOLDER, "", ["gpu-1", "extra"], False),  # of the group that uses the folder
        ("extra", FOLDER, "blue", ["gpu-1"], True),
        ("extra", OTHER, "", ["gpu-1"], True),
    ],
)
def test_hosts_that_were_added_move_with_their_group(
    host: str, folder: Any, project: str, moved: list[str], stays: bool
) -> None:
    rows = [{"host": "gpu-1", "project": "default"}, {"host": "gpu", "project": "default", "group": "gpu"}]
    known = entry(X, [M], "made", provision_project=project)
    inventory = {"gpu-1", "keeps"}
    entries = [(folder, host, known), (FOLDER, "keeps", known)]
    hosts, sentences = moving.hosts_to_move(rows, [FOLDER, FOLDER], entries, inventory)
    assert ([row["host"] for row in hosts], len(sentences)) == (moved, stays), "a host that keeps files keeps its own"


RUNS = Bill("default", "gpu-1", X, (M,), begin=1.0)


@pytest.mark.parametrize(
    ("bill", "counts"),
    [
        (RUNS, False),  # its entry moves
        (RUNS._replace(registered=False), True),
        (RUNS._replace(end=2.0), True),
        (RUNS._replace(end=2.0, why="moved"), False),
        (RUNS._replace(begin=None, end=2.0), False),
    ],
)
def test_what_a_ledger_has_beside_the_entries(bill: Bill, counts: bool) -> None:
    assert moving.bills_without_entry([bill]) == ([bill] if counts else [])
    assert [item.offer_id for item in moving.bills_without_entry([RUNS._replace(offer_id="", end=2.0)])] == [M]


def test_purchases_that_a_ledger_has_are_not_noted_again() -> None:
    bills = [RUNS, RUNS._replace(offer_id=Y), RUNS._replace(offer_id="")]
    assert moving.missing_bills([Ledger((RUNS,), 2.0)], bills) == [bills[1]]
    assert moving.missing_bills([], bills) == bills[:2]


@pytest.mark.parametrize(
    ("made", "would", "words"),
    [
        (True, True, "would be made"),
        (True, False, "were made"),
        (False, True, "exist"),
        (False, False, "exist"),
    ],
)
def test_what_is_said_of_the_tables(made: bool, would: bool, words: str) -> None:
    assert moving.tables_made("the registry", made, would=would) == f"The tables {words}: the registry"
