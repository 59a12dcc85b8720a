# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Until when machines live, what they cost until then, and who buys nothing while clocks differ."""

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


def free(**fields: Any) -> Case:
    return Case(host(**fields), entry(), Standing(HostState.FREE))


def owner(ends: float | None = 8 * HOUR, **fields: Any) -> Case:
    noted = {"provision_leased": "8h", "provision_ends_at": None if ends is None else lease.utc_rounded_up(NOON + ends)}
    known = {"provision_journaled_at": lease.utc_rounded_up(NOON), "provision_price_per_hour": 2.0, **noted, **fields}
    found = entry(offer_id(1), [machine_id(1)], "made", **known)
    return Case(host(lease="8h"), found, Standing(HostState.READY, offer_id=offer_id(1)))


def buys(case: Case) -> Plan:
    return Plan(case.host.host, BUY, offer_id(1), price_per_hour=2.0)


@pytest.mark.parametrize(
    ("fields", "refuses"),
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
@pytest.mark.parametrize("ahead", [DAY, -DAY, YEAR, 301.0])
def test_clocks_that_differ_buy_nothing_that_has_an_end(fields: dict[str, Any], refuses: bool, ahead: float) -> None:
    case = candidates.unless_clocks_differ(free(**fields), Clock.of(NOON, ahead))
    assert case.buys is not refuses
    assert bool(case.host.objections) is refuses
    if refuses:
        (said,) = case.host.objections
        assert f"{formatted(NOON)} by this computer, {formatted(NOON + ahead)} by the API" in said
        assert "Without provision_lease, provision_max_bill and provision_budget it buys." in said


def test_clocks_that_agree_change_nothing() -> None:
    case = free(lease="8h", max_bill=20)
    assert candidates.unless_clocks_differ(case, Clock.of(NOON, 299.0, NOON + 100)) is case
    assert candidates.unless_clocks_differ(case, Clock(NOON)) is case
    # What is owned is kept, whatever the clocks say.
    kept = owner()
    assert candidates.unless_clocks_differ(kept, Clock.of(NOON, YEAR)) is kept


@pytest.mark.parametrize(
    ("clock", "noted"),
    [
        (Clock(NOON), "here"),
        (Clock.of(NOON - 60, 60.0), "api"),
        (Clock.of(NOON - 60, 30.0, NOON), "database"),
    ],
)
def test_the_end_is_noted_with_its_clock(clock: Clock, noted: str) -> None:
    ends = {
        "provision_leased": "8h",
        "provision_ends_at": lease.utc_rounded_up(NOON + 8 * HOUR),
        "provision_clock": noted,
    }
    assert host(lease="8h").noted(clock) == ends
    assert host().noted(clock) == {}
    case = free(lease="8h")
    (draft,) = host_plans([case], lambda _host: candidates.SearchResult([offer(1)]), {}, now=clock.now())
    assert (draft.end, draft.bill) == (NOON + 8 * HOUR, 16.0)


@pytest.mark.parametrize(
    ("case", "life"),
    [
        (owner(provision_at_most=16.0), (NOON + 8 * HOUR, 16.0)),
        (owner(), (NOON + 8 * HOUR, None)),
        (owner(None), (None, None)),
        (owner(provision_ends_at="soon"), (None, None)),
    ],
)
def test_what_is_owned_lives_as_its_registry_notes(case: Case, life: tuple[float | None, float | None]) -> None:
    (draft,) = host_plans([case], lambda _host: candidates.SearchResult([]), {}, now=NOON + HOUR)
    assert (draft.action, draft.end, draft.bill) == (WAIT, *life)


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
def test_what_is_owned_by_name_ends_as_its_host_declares(leased: str, created: float | None, end: float | None) -> None:
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
def test_a_machine_that_is_taken_over_has_the_lease_that_begins_now(place: str) -> None:
    made = lease.utc_rounded_up(NOON - HOUR)
    stands = Standing(HostState.READY, offer_id(1), (), 2.0, adopted=True, machines=({"created_at": made},))
    one = Case(declared(place, lease="8h"), entry(), stands)
    draft = Plan(one.host.host, WAIT, offer_id(1), price_per_hour=2.0)
    assert rows.unswept_places([one], [draft]) == ([one.host.registry] if place else [])
    # Without a registry nothing is noted: the lease has begun with the machine.
    assert one.lease_end_and_bill(NOON) == ((NOON + 8 * HOUR, 18.0) if place else (NOON + 7 * HOUR, 16.0))


@pytest.mark.parametrize(
    ("swept", "said"),
    [
        (None, "it has never run here"),
        (NOON - HOUR - 1, ""),
        (NOON - 4500, ""),
        (NOON - 4501, "2027"),
        (NOON + DAY, "2027"),
        (NOON, ""),
    ],
)
def test_sweeps(swept: float | None, said: str) -> None:
    found = lease.unswept(swept, NOON, refused=False)
    assert said in found and bool(found) is bool(said)


@pytest.mark.parametrize(
    ("refused", "by_job", "said"),
    [
        (False, False, "compute_index.supply.reap_timer installs a timer for it."),
        (True, False, "provision_lease_unswept is refuse. compute_index.supply.reap_timer"),
        (False, True, "Enable the schedule 'GPU reap every quarter of an hour'."),
    ],
)
def test_what_lets_sweeps_run(refused: bool, by_job: bool, said: str) -> None:
    sentence = lease.unswept(None, NOON, refused=refused, by_job=by_job)
    assert said in sentence
    assert sentence.count("reap_timer") + sentence.count("schedule") == 1


def test_registries_that_must_be_swept() -> None:
    cases = [free(lease="8h"), free(lease="8h", lease_unswept="refuse"), free(), owner()]
    plans = [*map(buys, cases[:3]), Plan("gpu-1", WAIT)]
    assert rows.unswept_places(cases, plans) == [cases[0].host.registry]


def test_lines() -> None:
    found = [("a", NOON, 16.0), ("b", NOON, 8.0), ("c", None, None), ("d", NOON + 60, None)]
    assert list(quote.lease_end_lines(Plan(host, "buy", end=end, bill=bill) for host, end, bill in found)) == [
        "a, b: until 2027-01-15 08:00 UTC, at most USD 24.00 together",
        "c: until you end it",
        "d: until 2027-01-15 08:01 UTC, at most an unknown sum",
    ]
    assert isinstance(owner().entry, Entry)
