# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans as the role's tasks need them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import (
    rows,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import Case
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import facts_of_machine
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    BUY,
    KEEP,
    LATER,
    STOP,
    WAIT,
    Plan,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState, Standing

from provision_samples import REGISTRY, declared, entry, machine_id, offer, offer_id

M, X = machine_id(1), offer_id(1)
HERE = {"resource_id": M, "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
PINS = "/inventory/host_vars/gpu-1/.known_hosts"


def case(kind: HostState = HostState.FREE, its: Any = None, place: str = REGISTRY, **fields: Any) -> Case:
    stands = Standing(kind, X, (M,), 2.0) if kind is HostState.READY else Standing(kind)
    return Case(declared(place, **fields), its or entry(), stands)


def owner(place: str = REGISTRY, **fields: Any) -> Case:
    """A host whose machine runs as it is registered, and as Ansible knows it."""
    facts = facts_of_machine(X, [M], [HERE], 2.0, "first_use", PINS)
    others = {name: value for name, value in facts.items() if name.startswith("ansible") or name.endswith("instances")}
    return case(HostState.READY, entry(X, [M], "made", **others), place, known=facts, **fields)


def cluster() -> Case:
    """One whose purchase has two machines."""
    return replace(owner(), standing=Standing(HostState.READY, X, (M, machine_id(2)), 2.0))


def adopter(**fields: Any) -> Case:
    return replace(case(HostState.READY, **fields), standing=Standing(HostState.READY, X, (M,), 2.0, adopted=True))


def row(draft: Plan, one: Case, **more: Any) -> dict[str, Any]:
    return rows.plan_row(
        draft,
        one,
        **{"round_id": "r", "declaration": "d", "known_hosts": PINS, "ahead": None, "check_mode": False, **more},
    )


@pytest.mark.parametrize(
    ("draft", "fields", "first"),
    [
        (Plan("gpu-1", STOP, refusal="No."), {}, "stop"),
        (Plan("gpu-1", LATER, label="later"), {}, "later"),
        (Plan("gpu-1", BUY, label="buys"), {}, ""),
        (Plan("gpu-1", BUY, label="buys"), {"host_key_trust": "seeded"}, "seeded"),
        (Plan("gpu-1", WAIT), {"host_key_trust": "seeded"}, ""),
    ],
)
def test_what_comes_before_a_purchase(draft: Plan, fields: Any, first: str) -> None:
    found = row(draft, case(**fields))
    assert (found["first"], found["next"]) == (first, "")


def test_a_machine_that_runs_as_registered_is_only_reached() -> None:
    waits, status = Plan("gpu-1", WAIT, X, price_per_hour=2.0), {"connections": [HERE]}
    kept = rows.keep_if_as_registered(owner(), waits, status, PINS)
    assert (kept.action, kept.facts) == (KEEP, {})
    found = row(kept, owner())
    assert (found["next"], found["label"]) == ("reach", "runs as registered, USD 2.00/h")
    shared = rows.keep_if_as_registered(owner("shared:default"), waits, status, PINS)
    assert shared.action == KEEP and shared.facts["ansible_host"] == "192.0.2.1"


@pytest.mark.parametrize(
    ("one", "draft", "connections"),
    [
        (case(), Plan("gpu-1", BUY, X), [HERE]),
        (case(HostState.UNDER_WAY), Plan("gpu-1", WAIT, X), [HERE]),
        (owner(), Plan("gpu-1", WAIT, X), []),
        (cluster(), Plan("gpu-1", WAIT, X), [HERE, {**HERE, "resource_id": machine_id(2)}]),
        (owner(), Plan("gpu-1", WAIT, X), [{**HERE, "ansible_host": "192.0.2.2"}]),
        (case(HostState.READY, entry(X, [M], "made")), Plan("gpu-1", WAIT, X), [HERE]),
    ],
)
def test_everything_else_is_looked_at(one: Case, draft: Plan, connections: list[Any]) -> None:
    assert rows.keep_if_as_registered(one, draft, {"connections": connections}, PINS) is draft


@pytest.mark.parametrize(
    ("nodes", "inventory", "action"),
    [(1, ["gpu-1-1"], BUY), (3, [], BUY), (3, ["gpu-1"], BUY), (3, ["gpu-1-2"], STOP), (None, ["gpu-1-1"], BUY)],
)
def test_machines_of_a_cluster_take_over_no_host(nodes: int | None, inventory: list[str], action: str) -> None:
    draft = Plan("gpu-1", BUY, X, offer(1, node_count=nodes))
    assert rows.unless_names_are_taken(draft, inventory).action == action


@pytest.mark.parametrize(
    ("one", "check_mode", "may"),
    [
        (case(on_failure="release"), False, True),
        (case(on_failure="release"), True, False),
        (case(on_failure="keep"), False, False),
        (owner(on_failure="release"), False, False),
        (case(its=entry(X, [M], provision_adopted=True), on_failure="release"), False, False),
    ],
)
def test_what_may_be_in_use_is_never_released(one: Case, check_mode: bool, may: bool) -> None:
    assert row(Plan("gpu-1", WAIT), one, check_mode=check_mode)["may_release"] is may


def test_what_is_protected_is_not_given_back_and_says_so() -> None:
    one = case(on_failure="release", protect=True)
    guarded = row(Plan("gpu-1", WAIT), one)
    assert guarded["may_release"] is False
    assert guarded["spared"].startswith("It was not released. gpu-1 is protected.")
    for other in (case(on_failure="release"), case(on_failure="keep", protect=True), owner(protect=True)):
        assert row(Plan("gpu-1", WAIT), other)["spared"] == ""


@pytest.mark.parametrize(
    ("one", "noted"),
    [
        (owner(), set()),
        (owner(protect=True), {"provision_protected_since"}),
        (case(protect=True), set()),
        (case(HostState.READY, entry(X, [M], "made", provision_protected_since="2026-01-01T00:00:00Z")), {None}),
    ],
)
def test_what_a_run_notes_of_a_machine_that_runs(one: Case, noted: set[Any]) -> None:
    changes = rows.changes_of_protection(one, Clock(0.0))
    assert {value if value is None else name for name, value in changes.items()} == noted
    assert rows.note_of_adoption(one, Clock(0.0)) == {}


def test_what_a_host_takes_over_may_be_protected_from_then_on() -> None:
    adopts = adopter(protect=True)
    assert rows.note_of_adoption(adopts, Clock(0.0))["provision_protected_since"] == "1970-01-01T00:00:00Z"
    assert rows.changes_of_protection(adopts, Clock(0.0)) == {}


def test_what_a_host_takes_over_is_found_again_by_its_groups() -> None:
    groups = ["gpu", "train"]
    assert rows.note_of_adoption(adopter(groups=groups), Clock(0.0))["provision_groups"] == groups


@pytest.mark.parametrize(
    ("place", "total", "told"),
    [(REGISTRY, 9, None), ("shared:default", 9, 9.0), ("shared:default", "unlimited", None)],
)
def test_the_sum_of_a_project_is_checked_where_it_is_known(place: str, total: Any, told: float | None) -> None:
    one = case(place=place, max_total_price_per_hour=total)
    draft = Plan("gpu-1", BUY, X, offer(1), price_per_hour=5.0, label="buys")
    options = rows.purchase_row(draft, one, row(draft, one), "account", {})["options"]
    assert (options["max_total_price_per_hour"], options["price_per_hour"]) == (told, 5.0)


def test_what_a_workflow_gets() -> None:
    assert rows.published_stats([Plan("gpu-1", STOP)], [case()]) == {}
    data = rows.published_stats([Plan("gpu-1", KEEP, X)], [owner()])["ansible_stats"]["data"]
    assert data["provision_hosts"]["gpu-1"]["resource_ids"] == [M]
    waits = case(wait="1970-01-02T00:00Z", wait_delay=0)
    assert rows.published_stats([Plan("gpu-1", LATER)], [waits])["ansible_stats"]["data"] == {
        "provision_waiting": ["gpu-1"]
    }


def test_where_hosts_are_remembered_is_named_as_short_as_possible() -> None:
    assert rows.line_of_registries([], "/inventory") == "no registry, machines are known by their names"
    assert (
        rows.line_of_registries(["/inventory/host_vars", "db, project red"], "/inventory")
        == "registry: host_vars, db, project red"
    )
    assert rows.login_command("/a b/.ssh_config", "/a b/c/d/e") == "ssh -F '/a b/.ssh_config'"


@pytest.mark.parametrize(
    ("classes", "numbers"), [([], []), (["", "price", "capacity", "price"], [1, 3]), (["capacity"], [])]
)
def test_the_rows_of_hosts_that_a_ceiling_stops(classes: list[str], numbers: list[int]) -> None:
    table = [{"error_class": error_class, "number": number} for number, error_class in enumerate(classes)]
    assert [row["number"] for row in rows.above_ceilings(table)] == numbers
