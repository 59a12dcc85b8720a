# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans as rows for the role's tasks, and the statistics and lines of a play."""

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
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import STORAGE, Storage

from provision_samples import REGISTRY, declared, entry, machine, machine_id, offer, offer_id

M, X = machine_id(1), offer_id(1)
CONNECTION = {"resource_id": M, "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
KNOWN_HOSTS = "/inventory/host_vars/gpu-1/.known_hosts"


def case(kind: HostState = HostState.FREE, registered: Any = None, place: str = REGISTRY, **fields: Any) -> Case:
    standing = Standing(kind, X, (M,), 2.0) if kind is HostState.READY else Standing(kind)
    return Case(declared(place, **fields), registered or entry(), standing)


def owner(place: str = REGISTRY, **fields: Any) -> Case:
    """A host whose machine runs as registered; Ansible knows its address."""
    facts = facts_of_machine(X, [M], [CONNECTION], 2.0, "first_use", KNOWN_HOSTS)
    noted = {name: value for name, value in facts.items() if name.startswith("ansible") or name.endswith("instances")}
    return case(HostState.READY, entry(X, [M], "made", **noted), place, known=facts, **fields)


def cluster() -> Case:
    return replace(owner(), standing=Standing(HostState.READY, X, (M, machine_id(2)), 2.0))


def adopter(**fields: Any) -> Case:
    return replace(case(HostState.READY, **fields), standing=Standing(HostState.READY, X, (M,), 2.0, adopted=True))


def row(plan: Plan, host_case: Case, **options: Any) -> dict[str, Any]:
    return rows.plan_row(
        plan,
        host_case,
        **{
            "round_id": "r",
            "declaration": "d",
            "known_hosts": KNOWN_HOSTS,
            "ahead": None,
            "check_mode": False,
            **options,
        },
    )


@pytest.mark.parametrize(
    ("plan", "fields", "first"),
    [
        (Plan("gpu-1", STOP, refusal="No."), {}, "stop"),
        (Plan("gpu-1", LATER, label="later"), {}, "later"),
        (Plan("gpu-1", BUY, label="buys"), {}, ""),
        (Plan("gpu-1", BUY, label="buys"), {"host_key_trust": "seeded"}, "seeded"),
        (Plan("gpu-1", WAIT), {"host_key_trust": "seeded"}, ""),
    ],
)
def test_first_step_comes_from_plan_and_host_key_trust(plan: Plan, fields: Any, first: str) -> None:
    plan_row = row(plan, case(**fields))
    assert (plan_row["first"], plan_row["next"]) == (first, "")


def test_machine_that_runs_as_registered_is_kept() -> None:
    waiting_plan, status = Plan("gpu-1", WAIT, X, price_per_hour=2.0), {"connections": [CONNECTION]}
    kept = rows.keep_if_as_registered(owner(), waiting_plan, status, KNOWN_HOSTS)
    assert (kept.action, kept.facts) == (KEEP, {})
    plan_row = row(kept, owner())
    assert (plan_row["next"], plan_row["label"]) == ("reach", "runs as registered, USD 2.00/h")
    kept_in_database = rows.keep_if_as_registered(owner("shared:default"), waiting_plan, status, KNOWN_HOSTS)
    assert kept_in_database.action == KEEP and kept_in_database.facts["ansible_host"] == "192.0.2.1"
    assert "provision_ends_at" not in kept_in_database.facts
    leased = replace(owner("shared:default"), entry=replace(owner().entry, ends_at="2026-02-01T12:00:00Z"))
    kept_with_lease = rows.keep_if_as_registered(leased, waiting_plan, status, KNOWN_HOSTS)
    assert kept_with_lease.facts["provision_ends_at"] == "2026-02-01T12:00:00Z"


@pytest.mark.parametrize(
    ("host_case", "plan", "connections"),
    [
        (case(), Plan("gpu-1", BUY, X), [CONNECTION]),
        (case(HostState.UNDER_WAY), Plan("gpu-1", WAIT, X), [CONNECTION]),
        (owner(), Plan("gpu-1", WAIT, X), []),
        (owner(), Plan("gpu-1", STOP, X, refusal="No."), [CONNECTION]),
        (replace(owner(), standing=Standing(HostState.UNDER_WAY, X, (M,), 2.0)), Plan("gpu-1", WAIT, X), [CONNECTION]),
        (cluster(), Plan("gpu-1", WAIT, X), [CONNECTION, {**CONNECTION, "resource_id": machine_id(2)}]),
        (owner(), Plan("gpu-1", WAIT, X), [{**CONNECTION, "ansible_host": "192.0.2.2"}]),
        (owner("shared:default"), Plan("gpu-1", WAIT, X), [{**CONNECTION, "ansible_host": "192.0.2.2"}]),
        (case(HostState.READY, entry(X, [M], "made")), Plan("gpu-1", WAIT, X), [CONNECTION]),
    ],
)
def test_only_single_machine_as_registered_is_kept(host_case: Case, plan: Plan, connections: list[Any]) -> None:
    assert rows.keep_if_as_registered(host_case, plan, {"connections": connections}, KNOWN_HOSTS) is plan


@pytest.mark.parametrize(
    ("action", "nodes", "inventory", "expected"),
    [
        (BUY, 1, ["gpu-1-1"], BUY),
        (BUY, 3, [], BUY),
        (BUY, 3, ["gpu-1"], BUY),
        (BUY, 3, ["gpu-1-2"], STOP),
        (BUY, None, ["gpu-1-1"], BUY),
        (WAIT, 3, ["gpu-1-2"], WAIT),  # bought already
    ],
)
def test_cluster_is_not_bought_if_inventory_has_name_of_further_machine(
    action: str, nodes: int | None, inventory: list[str], expected: str
) -> None:
    plan = Plan("gpu-1", action, X, offer(1, node_count=nodes))
    assert rows.unless_names_are_taken(plan, inventory).action == expected


@pytest.mark.parametrize(
    ("fields", "offered", "is_cluster"),
    [
        ({}, {}, False),
        ({}, {"node_count": 2}, True),
        ({}, {"gpu_count": 16}, True),  # more than one machine can have
        ({}, {"node_count": None, "gpu_count": None}, False),
        ({"cluster_name": "train"}, {}, True),
    ],
)
def test_plan_row_marks_clusters(fields: Any, offered: Any, is_cluster: bool) -> None:
    host_case, plan = case(**fields), Plan("gpu-1", BUY, X, offer(1, **offered), price_per_hour=2.0, label="buys")
    plan_row = row(plan, host_case)
    assert plan_row["cluster"] is is_cluster
    options = rows.purchase_row(plan, host_case, plan_row, "account", {})["options"]
    assert options["cluster_name"] == fields.get("cluster_name")


@pytest.mark.parametrize(
    ("serial", "first", "next_step", "skips"),
    [
        (False, "", "", (True, True)),
        (False, "stop", "", (False, True)),
        (False, "", "reach", (True, False)),
        (True, "", "", (False, False)),  # later batches would skip as well
    ],
)
def test_hosts_skip_for_all_only_without_steps_and_serial(
    serial: bool, first: str, next_step: str, skips: tuple[bool, bool]
) -> None:
    table = [{"first": "", "next": ""}, {"first": first, "next": next_step}]
    part = rows.common_part([], [], table, serial=serial, check_mode=False)
    assert (part["all_skip_first"], part["all_skip_next"]) == skips


def test_common_part_names_offers_to_wait_for() -> None:
    plans = [Plan("gpu-1", WAIT, X), Plan("gpu-2", BUY, offer_id(2)), Plan("gpu-3", STOP)]
    part = rows.common_part(plans, [case()], [], serial=False, check_mode=False)
    assert (part["under_way"], part["labels"]) == ([X], {X: "gpu-1", offer_id(2): "gpu-2"})
    assert part["acquires"] and not rows.common_part(plans[2:], [], [], serial=False, check_mode=False)["acquires"]
    assert part["poll"]["retries"] > 0 == rows.poll([case()], check_mode=True)["retries"]


@pytest.mark.parametrize(
    ("host_case", "check_mode", "may_release"),
    [
        (case(on_failure="release"), False, True),
        (case(on_failure="release"), True, False),
        (case(on_failure="keep"), False, False),
        (owner(on_failure="release"), False, False),
        (case(registered=entry(X, [M], provision_adopted=True), on_failure="release"), False, False),
        (adopter(on_failure="release"), False, False),
    ],
)
def test_only_new_purchase_with_on_failure_release_may_be_released(
    host_case: Case, check_mode: bool, may_release: bool
) -> None:
    assert row(Plan("gpu-1", WAIT), host_case, check_mode=check_mode)["may_release"] is may_release


def test_protected_machine_is_spared_from_release() -> None:
    protected = case(on_failure="release", protect=True)
    plan_row = row(Plan("gpu-1", WAIT), protected)
    assert plan_row["may_release"] is False
    assert plan_row["spared"].startswith("It was not released. gpu-1 is protected.")
    for other in (case(on_failure="release"), case(on_failure="keep", protect=True), owner(protect=True)):
        assert row(Plan("gpu-1", WAIT), other)["spared"] == ""


@pytest.mark.parametrize(
    ("host_case", "expected"),
    [
        (owner(), set()),
        (owner(protect=True), {"provision_protected_since"}),
        (case(protect=True), set()),
        (case(HostState.READY, entry(X, [M], "made", provision_protected_since="2026-01-01T00:00:00Z")), {None}),
    ],
)
def test_changes_of_protection_are_noted(host_case: Case, expected: set[Any]) -> None:
    changes = rows.changes_of_protection(host_case, Clock(0.0))
    assert {value if value is None else name for name, value in changes.items()} == expected
    assert rows.note_of_adoption(host_case, Clock(0.0)) == {}


def test_adoption_notes_protection() -> None:
    adopting_case = adopter(protect=True)
    assert rows.note_of_adoption(adopting_case, Clock(0.0))["provision_protected_since"] == "1970-01-01T00:00:00Z"
    assert rows.changes_of_protection(adopting_case, Clock(0.0)) == {}


def test_adoption_notes_groups() -> None:
    groups = ["gpu", "train"]
    assert rows.note_of_adoption(adopter(groups=groups), Clock(0.0))["provision_groups"] == groups
    assert "provision_groups" not in rows.note_of_adoption(adopter(groups=[]), Clock(0.0))


def test_adoption_notes_storage_and_known_begin() -> None:
    """The bill begins when the first machine was created whose time is known."""
    machines = (machine(1, "gpu-1", X, created_at=None), machine(2, "gpu-1-1", X))
    volume = Storage(machine_id(3), "data", X, 0.05)
    host_case = adopter()
    adopted = replace(host_case.standing, machines=machines, brings=(volume,))
    note = rows.note_of_adoption(replace(host_case, standing=adopted), Clock(0.0))
    assert (note["provision_journaled_at"], note[STORAGE]) == ("2026-01-31T12:00:00Z", [volume.variables])
    assert STORAGE not in rows.note_of_adoption(host_case, Clock(0.0))


@pytest.mark.parametrize(
    ("place", "total", "checked_total"),
    [(REGISTRY, 9, None), ("shared:default", 9, 9.0), ("shared:default", "unlimited", None)],
)
def test_only_shared_registry_checks_total_of_project(place: str, total: Any, checked_total: float | None) -> None:
    host_case = case(place=place, max_total_price_per_hour=total)
    plan = Plan("gpu-1", BUY, X, offer(1), price_per_hour=5.0, label="buys")
    options = rows.purchase_row(plan, host_case, row(plan, host_case), "account", {})["options"]
    assert (options["max_total_price_per_hour"], options["price_per_hour"]) == (checked_total, 5.0)


def test_published_stats_have_owned_and_waiting_hosts() -> None:
    assert rows.published_stats([Plan("gpu-1", STOP)], [case()]) == {}
    data = rows.published_stats([Plan("gpu-1", KEEP, X)], [owner()])["ansible_stats"]["data"]
    assert data["provision_hosts"]["gpu-1"]["resource_ids"] == [M]
    waiting_case = case(wait="1970-01-02T00:00Z", wait_delay=0)
    assert rows.published_stats([Plan("gpu-1", LATER)], [waiting_case])["ansible_stats"]["data"] == {
        "provision_waiting": ["gpu-1"]
    }


def test_registries_are_named_relative_to_inventory() -> None:
    assert rows.line_of_registries([], "/inventory") == "no registry: machines are known only by name"
    assert (
        rows.line_of_registries(["/inventory/host_vars", "db, project red"], "/inventory")
        == "registry: host_vars, db, project red"
    )
    assert rows.login_command("/a b/.ssh_config", "/a b/c/d/e") == "ssh -F '/a b/.ssh_config'"


@pytest.mark.parametrize(
    ("classes", "numbers"), [([], []), (["", "price", "capacity", "price"], [1, 3]), (["capacity"], [])]
)
def test_above_ceilings_returns_rows_stopped_by_price(classes: list[str], numbers: list[int]) -> None:
    table = [{"error_class": error_class, "number": number} for number, error_class in enumerate(classes)]
    assert [row["number"] for row in rows.above_ceilings(table)] == numbers
