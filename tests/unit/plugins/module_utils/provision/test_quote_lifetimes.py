# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a lease and its bill, in plans and quotes; refusals while clocks differ; warnings if no sweep runs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import (
    candidates,
    lease,
    quote,
    reaping,
    rows,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import Case
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.judging import JudgedHost
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    BUY,
    WAIT,
    Plan,
    host_plans,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState, Standing
from ansible_collections.compute_index.supply.plugins.module_utils._text import formatted

from provision_samples import declared, entry, host, machine, machine_id, offer, offer_id, planned

NOON = 1_800_000_000.0
HOUR, DAY, YEAR = 3600.0, 86_400.0, 365 * 86_400.0


def case_without_machine(**fields: Any) -> Case:
    return Case(host(**fields), entry(), Standing(HostState.FREE))


def case_with_machine(ends: float | None = 8 * HOUR, **fields: Any) -> Case:
    lease_fields = {
        "provision_leased": "8h",
        "provision_ends_at": None if ends is None else lease.utc_rounded_up(NOON + ends),
    }
    purchase = {"provision_journaled_at": lease.utc_rounded_up(NOON), "provision_price_per_hour": 2.0}
    registered = entry(offer_id(1), [machine_id(1)], "made", **{**purchase, **lease_fields, **fields})
    return Case(host(lease="8h"), registered, Standing(HostState.READY, offer_id=offer_id(1)))


def buying_plan(case: Case) -> Plan:
    return Plan(case.host.host, BUY, offer_id(1), price_per_hour=2.0)


@pytest.mark.parametrize(
    ("fields", "is_refused"),
    [
        ({}, False),
        ({"idle_after": "8h"}, False),
        ({"max_total_price_per_hour": 5}, False),
        ({"lease": "8h"}, True),
        ({"lease": "2028-01-01T00:00Z"}, True),
        ({"lease": "8h", "max_bill": 20}, True),
        ({"budget": 100}, True),
        ({"budget": "unlimited"}, False),
    ],
)
@pytest.mark.parametrize("api_offset", [DAY, -DAY, YEAR, 301.0])
def test_host_with_lease_or_budget_is_refused_if_clocks_differ(
    fields: dict[str, Any], is_refused: bool, api_offset: float
) -> None:
    case = candidates.unless_clocks_differ(case_without_machine(**fields), Clock.of(NOON, api_offset))
    assert case.buys is not is_refused
    assert bool(case.host.objections) is is_refused
    if is_refused:
        (objection,) = case.host.objections
        assert f"{formatted(NOON)} by this computer, {formatted(NOON + api_offset)} by the API" in objection
        assert "Without provision_lease, provision_max_bill and provision_budget it buys." in objection


def test_close_clocks_and_owned_machines_are_not_refused() -> None:
    case = case_without_machine(lease="8h", max_bill=20)
    assert candidates.unless_clocks_differ(case, Clock.of(NOON, 299.0, NOON + 100)) is case
    assert candidates.unless_clocks_differ(case, Clock(NOON)) is case
    # A host that has its machine buys nothing, so clocks do not matter.
    owned_case = case_with_machine()
    assert candidates.unless_clocks_differ(owned_case, Clock.of(NOON, YEAR)) is owned_case


@pytest.mark.parametrize(
    ("clock", "clock_name"),
    [
        (Clock(NOON), "here"),
        (Clock.of(NOON - 60, 60.0), "api"),
        (Clock.of(NOON - 60, 30.0, NOON), "database"),
    ],
)
def test_end_of_lease_is_noted_with_its_clock(clock: Clock, clock_name: str) -> None:
    assert host(lease="8h").noted(clock) == {
        "provision_leased": "8h",
        "provision_ends_at": lease.utc_rounded_up(NOON + 8 * HOUR),
        "provision_clock": clock_name,
    }
    assert host().noted(clock) == {}
    case = case_without_machine(lease="8h")
    (plan,) = host_plans([case], lambda _host: candidates.SearchResult([offer(1)]), {}, now=clock.now())
    assert (plan.end, plan.bill) == (NOON + 8 * HOUR, 16.0)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (case_with_machine(provision_at_most=16.0), (NOON + 8 * HOUR, 16.0)),
        (case_with_machine(), (NOON + 8 * HOUR, None)),
        (case_with_machine(None), (None, None)),
        (case_with_machine(provision_ends_at="soon"), (None, None)),
    ],
)
def test_plan_takes_end_and_bill_from_registry(case: Case, expected: tuple[float | None, float | None]) -> None:
    (plan,) = host_plans([case], lambda _host: candidates.SearchResult([]), {}, now=NOON + HOUR)
    assert (plan.action, plan.end, plan.bill) == (WAIT, *expected)


@pytest.mark.parametrize(
    ("leased", "created", "end"),
    [
        ("8h", NOON + 60, NOON + 8 * HOUR + 60),
        ("8h", None, None),
        ("", NOON, None),
        (lease.utc_rounded_up(NOON + DAY), NOON, NOON + DAY),
        (lease.utc_rounded_up(NOON + DAY), None, NOON + DAY),
    ],
)
def test_without_registry_lease_begins_with_machine(leased: str, created: float | None, end: float | None) -> None:
    known = machine(1, "gpu-1", offer_id(1), created_at=None if created is None else lease.utc_rounded_up(created))
    status = {"procured_at": known["created_at"]}
    plan = planned(registry="", lease=leased)
    judged = JudgedHost(plan, {"outcome": "existing"}, status, Entry(), has_entry=False, now=NOON)
    swept = reaping.life_by_name(leased, created, Clock(NOON))
    owned = Standing(HostState.READY, offer_id=offer_id(1), machines=(known,), price_per_hour=2.0)
    planned_end, bill = Case(host(by_name=True, lease=leased), Entry(), owned).lease_end_and_bill(NOON)
    assert judged.end() == swept.end == planned_end == end
    assert bill == (None if end is None or created is None else pytest.approx(2.0 * (end - created) / HOUR))


@pytest.mark.parametrize("place", ["/registry", ""])
def test_lease_of_adopted_machine_begins_at_adoption(place: str) -> None:
    made = lease.utc_rounded_up(NOON - HOUR)
    standing = Standing(HostState.READY, offer_id(1), (), 2.0, adopted=True, machines=({"created_at": made},))
    case = Case(declared(place, lease="8h"), entry(), standing)
    plan = Plan(case.host.host, WAIT, offer_id(1), price_per_hour=2.0)
    assert rows.unswept_places([case], [plan]) == ([case.host.registry] if place else [])
    # Without a registry the adoption is not noted, so the lease began with the machine.
    assert case.lease_end_and_bill(NOON) == ((NOON + 8 * HOUR, 18.0) if place else (NOON + 7 * HOUR, 16.0))


@pytest.mark.parametrize(
    ("swept", "expected_text"),
    [
        (None, "it has never run here"),
        (NOON - HOUR - 1, ""),
        (NOON - 4500, ""),
        (NOON - 4501, "2027"),
        (NOON + DAY, "2027"),
        (NOON, ""),
    ],
)
def test_unswept_warns_if_last_sweep_is_too_old(swept: float | None, expected_text: str) -> None:
    warning = lease.unswept(swept, NOON, refused=False)
    assert expected_text in warning and bool(warning) is bool(expected_text)


@pytest.mark.parametrize(
    ("refused", "by_job", "expected_text"),
    [
        (False, False, "compute_index.supply.reap_timer installs a timer for it."),
        (True, False, "provision_lease_unswept is refuse. compute_index.supply.reap_timer"),
        (False, True, "Enable the schedule 'GPU reap every quarter of an hour'."),
    ],
)
def test_unswept_names_one_way_to_start_sweeps(refused: bool, by_job: bool, expected_text: str) -> None:
    warning = lease.unswept(None, NOON, refused=refused, by_job=by_job)
    assert expected_text in warning
    assert warning.count("reap_timer") + warning.count("schedule") == 1, "one way to start sweeps"


def test_unswept_places_are_those_of_new_leases() -> None:
    cases = [
        case_without_machine(lease="8h"),
        case_without_machine(lease="8h", lease_unswept="refuse"),
        case_without_machine(),
        case_with_machine(),
    ]
    plans = [*map(buying_plan, cases[:3]), Plan("gpu-1", WAIT)]
    assert rows.unswept_places(cases, plans) == [cases[0].host.registry]


def test_lease_end_lines_group_hosts_with_same_end() -> None:
    ends = [("a", NOON, 16.0), ("b", NOON, 8.0), ("c", None, None), ("d", NOON + 60, None)]
    assert list(quote.lease_end_lines(Plan(name, BUY, end=end, bill=bill) for name, end, bill in ends)) == [
        "a, b: until 2027-01-15 08:00 UTC, at most USD 24.00 together",
        "c: until you end it",
        "d: until 2027-01-15 08:01 UTC, at most an unknown sum",
    ]
