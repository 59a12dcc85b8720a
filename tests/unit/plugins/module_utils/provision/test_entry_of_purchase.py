# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each step of a purchase changes its host's entry."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import entry as registry_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage

from provision_samples import entry, machine_id, offer_id

X, Y = offer_id(1), offer_id(2)
M, N = machine_id(1), machine_id(2)
SENT_AT = "2026-01-31T12:00:00Z"
SENT = {registry_entry.OFFER: X, registry_entry.PURCHASE: "sent", registry_entry.JOURNALED: SENT_AT}
FACTS = {registry_entry.OFFER: X, "provision_price_per_hour": 2.0, registry_entry.JOURNALED: "2026-01-31T12:05:00Z"}
MADE = {registry_entry.PURCHASE: "made", registry_entry.STATUS: None, registry_entry.EXPIRED: None}


@pytest.mark.parametrize(
    ("body", "project", "note", "facts"),
    [
        ({}, "default", {}, {}),
        ({"resource_name": "gpu-1"}, "default", {}, {"provision_resource_name": "gpu-1"}),
        ({}, "red", {}, {"provision_project": "red"}),
        (
            {"resource_name": "red-gpu-1"},
            "red",
            {"provision_lease": "8h"},
            {"provision_lease": "8h", "provision_resource_name": "red-gpu-1", "provision_project": "red"},
        ),
    ],
)
def test_entry_keeps_facts_of_the_order(body: Any, project: str, note: Any, facts: Any) -> None:
    assert registry_entry.facts_of_order({"offer_id": X, **body}, project, note) == facts


@pytest.mark.parametrize(
    ("offer", "ids", "purchase", "fields", "is_forbidden"),
    [
        ("", [], "", {}, False),
        (X, [], "sent", {}, False),  # the same purchase
        (X, [M], "made", {}, False),
        (Y, [], "sent", {}, True),
        (Y, [M], "made", {}, True),
        (Y, [], "refused", {}, False),
        (X, [], "sent", {"provision_held_by": "another run"}, True),
        ("", [], "", {"provision_held_by": "another run"}, True),
    ],
)
def test_other_purchase_or_run_forbids_buying(
    offer: str, ids: list[str], purchase: str, fields: dict[str, Any], is_forbidden: bool
) -> None:
    assert registry_entry.forbids_buying(entry(offer, ids, purchase, **fields), X) is is_forbidden


@pytest.mark.parametrize(
    ("variables", "is_about", "is_journaled"),
    [
        ({}, False, False),
        (SENT, True, True),
        ({registry_entry.OFFER: X.upper()}, True, False),  # handwritten
        ({**SENT, registry_entry.OFFER: Y}, False, False),
    ],
)
def test_entry_is_about_its_offer_only(variables: dict[str, Any], is_about: bool, is_journaled: bool) -> None:
    found = registry_entry.is_about(variables, X), registry_entry.is_journaled(variables, X)
    assert found == (is_about, is_journaled)


@pytest.mark.parametrize(
    ("variables", "expected"), [(SENT, SENT), ({**SENT, registry_entry.OFFER: Y}, None), ({}, None), (None, None)]
)
def test_entry_of_plan_is_about_the_offer_of_the_plan(variables: Any, expected: Any) -> None:
    assert registry_entry.entry_of_plan({"offer_id": X}, variables) == expected


@pytest.mark.parametrize(
    ("variables", "changes", "has_them"),
    [
        (None, {}, False),  # no entry
        ({}, {}, True),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"b": None}, True),
        ({"a": 1}, {"a": None}, False),
    ],
)
def test_has_already(variables: Any, changes: dict[str, Any], has_them: bool) -> None:
    assert registry_entry.has_already(variables, changes) is has_them


def test_journal_has_known_facts_before_the_purchase() -> None:
    facts, clock = {registry_entry.OFFER: X, "provision_lease": None}, {registry_entry.JOURNALED: SENT_AT}
    order = {"provision_ordered": {"a": "b"}, "provision_boot_mark": None}
    assert registry_entry.entry_before_sending(facts, 2.0, clock, order) == {
        **SENT,
        "provision_price_per_hour": 2.0,
        "provision_ordered": {"a": "b"},
    }
    assert "provision_price_per_hour" not in registry_entry.entry_before_sending(facts, None, {}, {})


@pytest.mark.parametrize(
    ("before", "ids", "listed_before", "changes"),
    [
        pytest.param({}, [M], [], {**FACTS, **MADE, "provision_resource_ids": [M]}, id="no journal"),
        pytest.param(
            SENT,
            [M],
            [],
            {**MADE, registry_entry.OFFER: X, "provision_price_per_hour": 2.0, "provision_resource_ids": [M]},
            id="keeps time of the journal",
        ),
        pytest.param(
            {**SENT, "provision_price_per_hour": 3.0},
            [],
            [],
            {**MADE, registry_entry.OFFER: X},
            id="keeps noted ids that the answer omits",
        ),
        pytest.param(
            {**SENT, "provision_price_per_hour": 3.0},
            [M],
            [N],
            {
                **MADE,
                registry_entry.OFFER: X,
                "provision_resource_ids": [M],
                "provision_listed_before": [N],
            },
            id="ids listed before the purchase",
        ),
        pytest.param(
            {
                **{registry_entry.OFFER: Y, registry_entry.PURCHASE: "refused"},
                **{"provision_lease": "8h", "provision_price_per_hour": 9.0},
            },
            [M],
            [],
            {**FACTS, **MADE, "provision_lease": None, "provision_resource_ids": [M]},
            id="replaces entry of another offer",
        ),
        pytest.param(
            {**FACTS, registry_entry.PURCHASE: "made", "provision_resource_ids": [M]},
            [M],
            [],
            {},
            id="unchanged",
        ),
    ],
)
def test_changes_once_made(before: Any, ids: list[str], listed_before: list[str], changes: Any) -> None:
    assert registry_entry.changes_once_made(before, FACTS, ids, listed_before) == changes


def test_disowned_ids_are_written_even_if_nothing_else_changed() -> None:
    before = {**FACTS, registry_entry.PURCHASE: "made", "provision_resource_ids": [M]}
    changes = {registry_entry.OFFER: X, **MADE, "provision_resource_ids": [M]}
    assert registry_entry.changes_once_made(before, FACTS, [M], [], [N]) == changes


@pytest.mark.parametrize(
    ("changes", "cleared"),
    [
        ({"provision_resource_ids": [M]}, {"provision_missing_since": None, "provision_missing_at": None}),
        ({"provision_lease": "8h"}, {}),
    ],
)
def test_noting_machines_clears_that_they_were_missing(changes: dict[str, Any], cleared: dict[str, Any]) -> None:
    assert registry_entry.with_missing_cleared(changes) == {**cleared, **changes}


@pytest.mark.parametrize(
    ("before", "now", "is_same"),
    [
        (SENT, SENT, True),
        (SENT, {**SENT, registry_entry.PURCHASE: "made"}, True),
        (SENT, {**SENT, registry_entry.JOURNALED: "2026-01-31T13:00:00Z"}, False),  # another run has sent it again
        (SENT, {}, False),  # entry removed, or about another offer
        ({}, {}, False),
    ],
)
def test_purchase_sent_by_another_run_is_not_the_same(before: Any, now: Any, is_same: bool) -> None:
    assert registry_entry.is_same_purchase(before, now) is is_same


DISK = Storage("disk", "data", 0.05)
FREED = {registry_entry.PURCHASE: "refused", registry_entry.EXPIRED: None, "provision_resource_ids": None}


@pytest.mark.parametrize(
    ("status", "is_made", "kept", "steps"),
    [
        (None, False, [], [FREED]),
        (409, False, [], [{**FREED, registry_entry.STATUS: 409}]),
        # If it was made and failed later, it was billed, so the ledger must first see that it was made.
        (None, True, [], [{registry_entry.OFFER: X, registry_entry.PURCHASE: "made"}, FREED]),
    ],
)
def test_changes_once_freed(status: int | None, is_made: bool, kept: Any, steps: Any) -> None:
    assert registry_entry.changes_once_freed(X, status, is_made=is_made, kept=kept) == steps


def test_kept_storage_is_noted_before_the_purchase_is_freed() -> None:
    first, last = registry_entry.changes_once_freed(X, None, is_made=True, kept=[DISK])
    assert "disk" in str(first) and last == FREED


@pytest.mark.parametrize(
    ("expired", "journaled", "seconds"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", 600.0),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:05:00Z", 300.0),  # the later time counts
        ("2026-01-31T12:05:00Z", "2026-01-31T12:00:00Z", 300.0),
        ("2026-01-31T13:00:00Z", "2026-01-31T12:00:00Z", 0.0),  # the clock was ahead
        ("2026-01-31T12:00:00Z", "invalid", 600.0),
        ("", "", 0.0),
    ],
)
def test_seconds_since_expired(expired: str, journaled: str, seconds: float) -> None:
    now = 1_769_861_400.0  # 2026-01-31T12:10:00Z
    known = {registry_entry.EXPIRED: expired, registry_entry.JOURNALED: journaled}
    assert registry_entry.seconds_since_expired(known, now) == seconds
