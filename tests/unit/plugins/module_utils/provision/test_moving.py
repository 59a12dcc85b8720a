# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving entries and ledgers from files to a shared registry."""

from __future__ import annotations

from dataclasses import replace
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
    ("known", "registered_offer", "stops"),
    [
        (MADE, "", True),
        (MADE, X, False),  # the registry knows it
        (MADE, Y, True),
        (OPEN, "", True),
        (REFUSED, "", False),
        (EMPTY, "", False),
    ],
)
def test_why_not_imported_stops_host_whose_file_names_another_purchase(
    known: Entry, registered_offer: str, stops: bool
) -> None:
    reason = place.why_not_imported("/vars/gpu-1/compute_index_supply.yml", known, registered_offer)
    assert bool(reason) is stops
    assert not stops or (
        reason.startswith(f"/vars/gpu-1/compute_index_supply.yml names offer {X}") and "registry" in reason
    )


@pytest.mark.parametrize(
    ("known", "noted", "is_contradicted"),
    [
        (MADE, None, False),
        (MADE, MADE, False),
        (MADE, entry(Y, [N], "made"), True),
        (OPEN, entry(Y, [], "refused"), True),
        (REFUSED, entry(Y, [N], "made"), False),  # the file's purchase was refused
    ],
)
def test_why_contradicted_if_the_registry_has_another_purchase(
    known: Entry, noted: Entry | None, is_contradicted: bool
) -> None:
    reason = moving.why_contradicted("the file", known, "the database", noted, ())
    assert bool(reason) is is_contradicted and (not reason or (X in reason and Y in reason))


ADOPTED = replace(MADE, adopted=True)


@pytest.mark.parametrize("noted", [None, entry(Y, [N], "made")])
@pytest.mark.parametrize(
    ("known", "end", "is_over"),
    [
        (MADE, 60.0, True),
        (OPEN, 60.0, True),
        (MADE, None, False),
        (REFUSED, 60.0, False),
        (ADOPTED, 60.0, False),
        (entry(X, [M, N], "made"), 60.0, False),  # a machine that the registry does not know
    ],
)
def test_file_of_an_ended_purchase_says_so(known: Entry, end: float | None, is_over: bool, noted: Entry | None) -> None:
    """Git may bring a file back. Then nothing has to end, above all not the machine that the host has bought since."""
    over = Bill("default", "gpu-1", X, (M,), begin=0.0, end=end)
    reason = moving.why_contradicted("the file", known, "the database", noted, (over,))
    assert ("ended at 1970-01-01 00:01 UTC" in reason) is is_over
    assert not is_over or ("Remove the file" in reason and "End the machine" not in reason)


@pytest.mark.parametrize(
    ("known", "registered", "is_claimed"),
    [(OPEN, None, True), (MADE, None, False), (OPEN, {}, False), (REFUSED, None, False)],
)
def test_open_entry_unknown_to_the_registry_is_moved_as_claim(known: Entry, registered: Any, is_claimed: bool) -> None:
    assert moving.is_to_be_claimed(known, registered) is is_claimed


@pytest.mark.parametrize(
    ("known", "noted", "note"),
    [
        pytest.param(None, EMPTY, FACTS, id="the registry has no entry"),
        pytest.param({"provision_lease": "1h"}, MADE, None, id="the registry knows all"),
        pytest.param(
            {"provision_lease": "1h"},
            OPEN,
            {**FACTS, "provision_lease": None, "provision_purchase": "made"},
            id="the purchase is noted, other values stay",
        ),
        pytest.param(
            {}, entry(X, [N], "made"), {**FACTS, "provision_purchase": "made"}, id="a machine is new to the registry"
        ),
    ],
)
def test_facts_to_note(known: Any, noted: Entry, note: Any) -> None:
    expected = None if note is None else {name: value for name, value in note.items() if value is not None}
    assert moving.facts_to_note(FACTS, MADE, known, noted) == expected


EARLY, LATE = "2026-12-01T06:00:00Z", "2026-12-02T06:00:00Z"


@pytest.mark.parametrize(
    ("ends_at", "noted_end", "is_noted"),
    [
        pytest.param(LATE, EARLY, True, id="extended in the file"),
        pytest.param(EARLY, LATE, False, id="extended in the registry"),
        pytest.param(EARLY, EARLY, False, id="the same end"),
        pytest.param(EARLY, "", True, id="no end in the registry"),
        pytest.param("", EARLY, False, id="no end in the file"),
    ],
)
@pytest.mark.parametrize("ids", [[M], [M, N]], ids=["known machines", "a machine is new"])
def test_later_end_of_two_leases_is_noted(ends_at: str, noted_end: str, is_noted: bool, ids: list[str]) -> None:
    lease = {"provision_leased": "8h", "provision_ends_at": ends_at, "provision_at_most": 16.0} if ends_at else {}
    facts = {**FACTS, "provision_resource_ids": ids, **lease}
    known = {**FACTS, **({"provision_leased": "8h", "provision_ends_at": noted_end} if noted_end else {})}
    changes = moving.facts_to_note(facts, read_entry(facts), known, read_entry(known)) or {}
    assert {name: changes[name] for name in lease if name in changes and is_noted} == (lease if is_noted else {})
    assert is_noted or "provision_ends_at" not in changes
    assert changes.get("provision_resource_ids", []) == (ids if N in ids else []), "known machines are not noted again"


FOLDER, OTHER = place_of("/a"), place_of("/b")


@pytest.mark.parametrize(
    ("host", "folder", "project", "moved", "file_stays"),
    [
        ("gpu-1", FOLDER, "", ["gpu-1"], False),
        ("extra", FOLDER, "", ["gpu-1", "extra"], False),  # its group uses the folder
        ("extra", FOLDER, "blue", ["gpu-1"], True),
        ("extra", OTHER, "", ["gpu-1"], True),
    ],
)
def test_hosts_outside_the_inventory_move_with_their_group(
    host: str, folder: Any, project: str, moved: list[str], file_stays: bool
) -> None:
    rows = [{"host": "gpu-1", "project": "default"}, {"host": "gpu", "project": "default", "group": "gpu"}]
    known = entry(X, [M], "made", provision_project=project)
    inventory = {"gpu-1", "keeps"}
    entries = [(folder, host, known), (FOLDER, "keeps", known)]
    hosts, sentences = moving.hosts_to_move(rows, [FOLDER, FOLDER], entries, inventory)
    assert ([row["host"] for row in hosts], len(sentences)) == (moved, file_stays), (
        "a host of the inventory that keeps its file is not moved"
    )


RUNNING = Bill("default", "gpu-1", X, (M,), begin=1.0)


@pytest.mark.parametrize(
    ("bill", "is_moved"),
    [
        (RUNNING, False),  # its entry moves
        (RUNNING._replace(registered=False), True),
        (RUNNING._replace(end=2.0), True),
        (RUNNING._replace(end=2.0, why="moved"), False),
        (RUNNING._replace(begin=None, end=2.0), False),
    ],
)
def test_bills_without_entry(bill: Bill, is_moved: bool) -> None:
    assert moving.bills_without_entry([bill]) == ([bill] if is_moved else [])
    assert [item.offer_id for item in moving.bills_without_entry([RUNNING._replace(offer_id="", end=2.0)])] == [M]


MOVED = RUNNING._replace(end=2.0, why="moved")


@pytest.mark.parametrize(
    ("bill", "known", "listed", "project", "is_refused"),
    [
        (MOVED, EMPTY, M, "", True),
        (MOVED, REFUSED, M, "default", True),
        (MOVED, MADE, M, "", False),  # it has bought another since
        (MOVED, EMPTY, N, "", False),  # its machine has ended
        (MOVED, EMPTY, M, "blue", False),
        (MOVED._replace(host="gpu-2"), EMPTY, M, "", False),
        (MOVED._replace(why="decommissioned"), EMPTY, M, "", False),
    ],
)
def test_host_whose_machine_was_moved_is_refused(
    bill: Bill, known: Entry, listed: str, project: str, is_refused: bool
) -> None:
    reason = moving.why_moved_away("gpu-1", project, known, [bill], [{"resource_id": listed}])
    assert reason.startswith("gpu-1: moved into a shared registry") is is_refused and bool(reason) is is_refused


def test_costs_since_a_move_are_not_counted() -> None:
    (sentence,) = moving.uncounted([RUNNING, MOVED, MOVED._replace(host="gpu-2")])
    assert sentence.startswith("Not counted: what gpu-1, gpu-2 cost since the move")
    assert not moving.uncounted([RUNNING])


def test_missing_bills_are_in_no_ledger() -> None:
    bills = [RUNNING, RUNNING._replace(offer_id=Y), RUNNING._replace(offer_id="")]
    assert moving.missing_bills([Ledger((RUNNING,), 2.0)], bills) == [bills[1]]
    assert moving.missing_bills([], bills) == bills[:2]


@pytest.mark.parametrize(
    ("made", "would", "verb"),
    [
        (True, True, "would be made"),
        (True, False, "were made"),
        (False, True, "exist"),
        (False, False, "exist"),
    ],
)
def test_tables_made(made: bool, would: bool, verb: str) -> None:
    assert moving.tables_made("the registry", made, would=would) == f"The tables {verb}: the registry"
