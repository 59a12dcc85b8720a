# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ceilings of a play, an account and a month: what counts, and that an unknown price exceeds each of them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ceilings import AccountPrices as Prices
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ceilings import (
    CeilingPart,
    Count,
    State,
    account_prices,
    account_refusal,
    budget_refusal,
    ceiling_for_registered,
    costs_of_month,
    month_of,
    objection_to_a_part,
    parts_of_other_hosts,
    play_refusal,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    MISSING_AT,
    MISSING_SINCE,
    read_entry,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import (
    NOTHING_BOUGHT,
    NOTHING_SENT,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import UNLIMITED
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import (
    Bill,
    dollars,
    millionths_of_usd,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage
from ansible_collections.compute_index.supply.plugins.module_utils._text import END, UNKNOWN, formatted, seconds_of
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import billed, declared, entry, machine, machine_id, offer_id


def at(text: str) -> float:
    moment = seconds_of(text)
    assert moment is not None
    return moment


NOW = at("2026-02-27T00:00:00Z")  # the month has 48 hours left
HOUR = 3600.0


def bill(begin: float | None = -10, end: float | None = None, price: float | None = 2.0, **fields: Any) -> Bill:
    """The bill of a purchase. ``begin``, ``end``: in hours from now."""
    times = [None if hours is None else NOW + hours * HOUR for hours in (begin, end)]
    purchase = {"project": "default", "host": "gpu-9", "offer_id": "old", **fields}
    return Bill(price_per_hour=price, begin=times[0], end=times[1], **purchase)


def planned_bill(
    host: str, offer_id: str, price: float | None, ends_at: float | None = None, stays_per_hour: float | None = 0.0
) -> Bill:
    """The bill of a planned purchase."""
    return Bill(
        "default", host, offer_id, price_per_hour=price, begin=NOW, ends_at=ends_at, stays_per_hour=stays_per_hour
    )


# The play


@pytest.mark.parametrize(
    ("ceiling", "prices", "unread", "reason"),
    [
        (UNLIMITED, [9.0, None], ["gpu-2"], ""),
        (9.0, [9.0], [], ""),
        (10.0, [9.0], [], ""),
        (9.0, [1.0], ["gpu-2"], "(gpu-2) cannot be counted"),
        (9.0, [9.01], [], "USD 9.01 per hour together"),
        (9.0, [1.0, None], [], "1 unknown price(s)"),
    ],
)
def test_play_refusal(ceiling: float, prices: list[float | None], unread: list[str], reason: str) -> None:
    refusal = play_refusal(ceiling, Count(billed(*prices)), unread)
    assert reason in refusal and bool(reason) == bool(refusal)
    assert not refusal or NOTHING_SENT in refusal or NOTHING_BOUGHT in refusal


@pytest.mark.parametrize(
    ("projects", "subject"), [([], "The hosts of this play"), (["red", "blue"], "All machines of project red, blue")]
)
def test_play_refusal_names_projects_of_shared_registry(projects: list[str], subject: str) -> None:
    assert play_refusal(1.0, Count(billed(2.0)), [], projects).startswith(f"{subject} would cost USD 2.00")


# The account


@pytest.mark.parametrize(
    ("ceiling", "live", "planned", "reason"),
    [
        (UNLIMITED, Prices(unreadable="down"), [None], ""),
        (10.0, Prices(), [4.0], ""),
        (10.0, Prices(billed(2.0), billed(4.0)), [2.0, 2.0], ""),
        (
            10.0,
            Prices(billed(2.0), billed(4.01)),
            [2.0, 2.0],
            "USD 10.01 per hour together, of which USD 6.01 per hour are",
        ),
        (10.0, Prices(billed(2.0), billed(None)), [2.0], "and 1 unknown price(s)"),
        (10.0, Prices(), [None], "and 1 unknown price(s)"),
        (10.0, Prices(unreadable="It is down."), [2.0], "cannot be checked: It is down. Nothing was sent."),
    ],
)
def test_account_refusal(ceiling: float, live: Prices, planned: list[float | None], reason: str) -> None:
    refusal = account_refusal(ceiling, live, [CeilingPart("gpu-1", price, State.ORDERED) for price in planned])
    assert reason in refusal and bool(reason) == bool(refusal)
    assert not refusal or NOTHING_SENT in refusal or NOTHING_BOUGHT in refusal


@pytest.mark.parametrize(
    ("ceiling", "live", "limit"),
    [
        (UNLIMITED, Prices((), billed(3.0)), UNLIMITED),
        (10.0, Prices(billed(9.0), billed(3.1)), 6.9),
        (1.0, Prices((), billed(3.0)), 0.0),
    ],
)
def test_ceiling_for_registered_leaves_out_unregistered_machines(ceiling: float, live: Prices, limit: float) -> None:
    assert ceiling_for_registered(ceiling, live) == limit


M, N, X, Y = machine_id(1), machine_id(2), offer_id(1), offer_id(2)
DAY = "2026-02-26T08:00:00Z"
MISSING = dict.fromkeys((MISSING_SINCE, MISSING_AT), DAY)
VOLUME = machine(2, None, X, kind="storage", price_per_hour=0.5)


@pytest.mark.parametrize(
    ("machines", "entries", "buying", "registered", "foreign"),
    [
        pytest.param([machine(1)], [], (), (), (2.0,), id="in no registry"),
        pytest.param([machine(1)], [entry(X, [M], "made")], (), (2.0,), (), id="known by its id"),
        pytest.param([machine(1, None, X)], [entry(X, purchase="sent")], (), (2.0,), (), id="known by its offer"),
        pytest.param(
            [machine(1, None, X)], [entry(X, purchase="sent")], [X], (2.0,), (), id="listed, and bought again"
        ),
        pytest.param([], [entry(X, purchase="sent")], [X], (), (), id="counts as planned purchase"),
        pytest.param([], [entry(X, [M], provision_price_per_hour=3.0)], [Y], (3.0,), (), id="not listed yet"),
        pytest.param([], [entry(X, [M], provision_price_per_hour=None)], (), (None,), (), id="unknown price"),
        pytest.param([], [entry(X, purchase="refused"), entry()], (), (), (), id="nothing bought"),
        pytest.param(
            [machine(1, None, X)], [entry(X, purchase="refused")], (), (), (2.0,), id="bought by someone else"
        ),
        pytest.param(
            [VOLUME],
            [entry(X, [M, N], "made", provision_price_per_hour=3.0)],
            (),
            (3.0,),
            (),
            id="storage noted by an earlier version, machine not listed yet",
        ),
        pytest.param(
            [VOLUME],
            [entry(X, [M], "made", provision_price_per_hour=3.0, provision_storage=[{"resource_id": N}])],
            (),
            (3.0,),
            (),
            id="storage, machine not listed yet",
        ),
        pytest.param(
            [machine(1), VOLUME],
            [entry(X, [M], "made", provision_storage=[{"resource_id": N}])],
            (),
            (2.5,),
            (),
            id="machine and storage listed",
        ),
        pytest.param([VOLUME], [read_entry(Storage(N).entry("h"))], (), (0.5,), (), id="kept storage"),
        pytest.param(
            [], [read_entry(Storage(N, price_per_hour=0.6).entry("h"))], (), (0.6,), (), id="kept storage, not listed"
        ),
        pytest.param(
            [VOLUME],
            [
                read_entry(Storage(N, price_per_hour=0.4).entry("h")),
                entry(X, [M], provision_price_per_hour=3.0, provision_storage=[{"resource_id": N, "kept_since": DAY}]),
            ],
            (),
            (0.5, 3.0),
            (),
            id="kept storage, not its earlier machine's",
        ),
        pytest.param(
            [VOLUME],
            [entry(X, [M], provision_price_per_hour=3.0, provision_storage=[{"resource_id": N}], **MISSING)],
            (),
            (0.5,),
            (),
            id="storage of a missing machine",
        ),
        pytest.param([machine(1, status="deleted")], [], (), (), (), id="gone"),
        pytest.param([machine(1, status="deleting")], [], (), (), (2.0,), id="being deleted"),
        pytest.param(
            [machine(1, price_per_hour=None), machine(2)], [entry(Y, [N])], (), (2.0,), (None,), id="registered and not"
        ),
    ],
)
def test_account_prices_by_registry_entries(
    machines: list[Any], entries: list[Any], buying: Any, registered: tuple[float | None, ...], foreign: Any
) -> None:
    found = account_prices(machines, [("gpu-1", item) for item in entries], buying)
    assert [(part.name, part.cost) for part in found.registered] == [("gpu-1", price) for price in registered]
    assert [part.cost for part in found.foreign] == list(foreign)
    assert {part.state for part in found.foreign} <= {State.UNOWNED}


@pytest.mark.parametrize(
    ("facts", "entries", "has_registry", "costs"),
    [
        ({}, {}, True, ([], [])),
        ({"a": 2.0, "b": "3"}, {}, True, ([2.0, 3.0], [])),
        ({"a": "dear"}, {}, True, ([None], [])),
        ({"a": None}, {"a": entry(X, [M], "made")}, True, ([2.0], [])),
        ({"a": None}, {"a": entry(X, purchase="refused")}, True, ([], [])),
        ({"a": None}, {"a": entry(X, [M], provision_price_per_hour=None)}, True, ([None], [])),
        ({"a": None}, {}, True, ([], [])),
        ({"a": None}, {}, False, ([], ["a"])),
        ({"a": None}, {"a": entry(X, [M], "made")}, False, ([2.0], [])),
        ({"a": 4.0}, {"a": entry(X, [M], "made")}, True, ([4.0], [])),
    ],
)
def test_other_hosts_count_by_their_facts_or_entries(facts: Any, entries: Any, has_registry: bool, costs: Any) -> None:
    parts, unread = parts_of_other_hosts(facts, entries, has_registry=has_registry)
    assert ([part.cost for part in parts], unread) == costs


@pytest.mark.parametrize(("missing", "state"), [({}, State.LIVE), (MISSING, State.MISSING)])
def test_missing_machine_of_another_host_counts_by_its_entry(missing: dict[str, str], state: State) -> None:
    known = entry(X, [M], "made", **missing)
    (part,), _unread = parts_of_other_hosts({"a": 2.0}, {"a": known}, has_registry=True)
    assert part.state is state


@pytest.mark.parametrize(
    ("place", "fields", "template", "is_refused"),
    [
        ("/registry", {"max_total_price_per_hour": 9, "budget": 9}, "job", True),
        ("/registry", {"max_total_price_per_hour": 9}, "", False),
        ("/registry", {"max_account_price_per_hour": 9}, "job", True),
        ("/registry", {"budget": 9}, "job", True),
        ("/registry", {"max_price_per_hour": 9}, "job", False),
        ("shared:default", {"max_total_price_per_hour": 9}, "job", False),
    ],
)
def test_sliced_job_refuses_ceilings_of_several_hosts(place: str, fields: Any, template: str, is_refused: bool) -> None:
    assert bool(objection_to_a_part(declared(place, **fields), template, in_batches=True)) is is_refused


@pytest.mark.parametrize(
    ("template", "in_batches", "way"),
    [("job", False, "set Job Slicing of 'job' to 1"), ("", True, "leave serial out"), ("", False, "")],
)
def test_all_or_nothing_is_refused_where_only_some_hosts_are_planned(template: str, in_batches: bool, way: str) -> None:
    """Another slice or batch may get nothing, whatever the registry."""
    for place in ("/registry", "shared:default"):
        objection = objection_to_a_part(declared(place, all_or_nothing=True), template, in_batches=in_batches)
        assert bool(objection) is bool(way) and objection.endswith(way and f"{way}.")


# A month


@pytest.mark.parametrize(
    ("now", "name", "begin", "end"),
    [
        ("2026-02-27T00:00:00Z", "2026-02", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        ("2026-12-31T23:59:59Z", "2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2028-02-01T00:00:00Z", "2028-02", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
    ],
)
def test_month_is_a_calendar_month_in_utc(now: str, name: str, begin: str, end: str) -> None:
    assert month_of(at(now)) == (name, at(begin), at(end))


def test_time_outside_the_calendar_is_in_a_month_without_bounds() -> None:
    assert month_of(1e20) == (UNKNOWN, 0.0, END)


@pytest.mark.parametrize(
    ("bills", "planned", "spent", "runs_on", "ordered"),
    [
        pytest.param([], [], 0.0, 0.0, 0.0, id="no purchase"),
        pytest.param([bill(-10, -5)], [], 10.0, 0.0, 0.0, id="ended"),
        pytest.param([bill(-1000, -990)], [], 0.0, 0.0, 0.0, id="last month"),
        pytest.param([bill(-1000, -620)], [], 8.0, 0.0, 0.0, id="partly last month"),
        pytest.param([bill()], [], 20.0, 96.0, 0.0, id="runs"),
        pytest.param([bill(-10, 1)], [], 22.0, 0.0, 0.0, id="ended in the future by another clock"),
        pytest.param([bill(ends_at=NOW + 5 * HOUR)], [], 20.0, 10.0, 0.0, id="lease"),
        pytest.param([bill(ends_at=NOW + 500 * HOUR)], [], 20.0, 96.0, 0.0, id="lease beyond the month"),
        pytest.param([bill(ends_at=NOW - HOUR)], [], 20.0, 96.0, 0.0, id="runs although lease is over"),
        pytest.param([], [planned_bill("gpu-1", "new", 3.0)], 0.0, 0.0, 144.0, id="planned"),
        pytest.param([], [planned_bill("gpu-1", "new", 3.0, NOW + 2 * HOUR)], 0.0, 0.0, 6.0, id="planned with lease"),
        # The price of the machine includes storage, which is billed on after the lease.
        pytest.param([bill(stays_per_hour=0.5)], [], 20.0, 96.0, 0.0, id="storage"),
        pytest.param(
            [bill(ends_at=NOW + 8 * HOUR, stays_per_hour=0.5)],
            [],
            20.0,
            36.0,
            0.0,
            id="storage and lease",
        ),
        pytest.param([bill(-10, -5, stays_per_hour=0.5)], [], 10.0, 0.0, 0.0, id="kept storage has its own bill"),
        pytest.param(
            [],
            [planned_bill("gpu-1", "new", 3.0, NOW + 8 * HOUR, 0.5)],
            0.0,
            0.0,
            44.0,
            id="planned with storage and lease",
        ),
        pytest.param(
            [bill(host="gpu-1", offer_id="new")],
            [planned_bill("gpu-1", "new", 3.0)],
            20.0,
            0.0,
            144.0,
            id="planned again",
        ),
    ],
)
def test_costs_of_month(bills: list[Bill], planned: list[Bill], spent: float, runs_on: float, ordered: float) -> None:
    found = costs_of_month(bills, planned, NOW)
    states = (State.SPENT, State.RUNS_ON, State.ORDERED)
    assert [found.count.sum_of(state).total for state in states] == [spent, runs_on, ordered]
    assert dollars(found.total) == spent + runs_on + ordered and found.unknown == ()


@pytest.mark.parametrize(("hours_ahead", "spent", "runs_on"), [(-5, 20.0, 96.0), (2, 24.0, 92.0), (900, 116.0, 0.0)])
def test_registry_clock_that_is_ahead_does_not_shift_the_month(
    hours_ahead: float, spent: float, runs_on: float
) -> None:
    bills = [bill(), bill(-10, -5, offer_id="over")]
    planned = [planned_bill("gpu-1", "new", 3.0, NOW + 2 * HOUR)]
    found = costs_of_month(bills, planned, NOW, NOW + hours_ahead * HOUR)
    states = (State.SPENT, State.RUNS_ON, State.ORDERED)
    assert [found.count.sum_of(state).total for state in states] == [spent + 10.0, runs_on, 6.0]
    assert (found.name, found.unknown) == (month_of(NOW)[0], ())


def test_hosts_with_unknown_price_or_start_are_named() -> None:
    bills = [bill(price=None), bill(None, host="gpu-8"), bill(host="gpu-8"), bill(None, -1000, host="gpu-7")]
    assert costs_of_month(bills, [planned_bill("gpu-1", "new", None)], NOW).unknown == ("gpu-9", "gpu-8", "gpu-1")
    bills = [bill(stays_per_hour=None), bill(-10, -5, stays_per_hour=None, host="gpu-8")]
    assert costs_of_month(bills, [planned_bill("gpu-1", "new", 2.0, None, None)], NOW).unknown == ("gpu-9", "gpu-1")


@pytest.mark.parametrize(
    ("budget", "bills", "planned", "reason"),
    [
        (UNLIMITED, [bill(price=None)], [], ""),
        (100.0, [], [planned_bill("h", "o", 2.0)], ""),
        (100.0, [bill(-10, -5)], [planned_bill("h", "o", 2.0, NOW + 45 * HOUR)], ""),
        (
            99.99,
            [bill(-10, -5)],
            [planned_bill("h", "o", 2.0, NOW + 45 * HOUR)],
            ": 10.00 spent so far",
        ),
        (100.0, [bill(price=None)], [], "price or start of gpu-9 is unknown"),
        (0.0, [], [planned_bill("h", "o", 2.0)], "provision_budget is USD 0.00"),
    ],
)
def test_budget_refusal(budget: float, bills: list[Bill], planned: list[Bill], reason: str) -> None:
    refusal = budget_refusal(budget, "default", costs_of_month(bills, planned, NOW))
    assert reason in refusal and bool(reason) == bool(refusal)


def test_budget_refusal_names_start_of_first_purchase_of_each_host() -> None:
    bills = [bill(-10, -5), bill(-3, -2)]
    refusal = budget_refusal(1.0, "default", costs_of_month(bills, [planned_bill("h", "o", 2.0, NOW + HOUR)], NOW))
    assert f"gpu-9 USD 12.00 (spent since {formatted(NOW - 10 * HOUR)}); h USD 2.00 (would be bought)." in refusal


hours = st.floats(-700, 60, allow_nan=False)
lease_ends = st.none() | hours.map(lambda number: NOW + number * HOUR)
storage_prices = st.just(0.0) | st.floats(0, 50)
bills = st.builds(
    bill,
    begin=hours,
    end=st.none() | hours,
    price=st.floats(0, 50),
    offer_id=st.uuids().map(str),
    ends_at=lease_ends,
    stays_per_hour=storage_prices,
)
planned_bills = st.builds(
    planned_bill,
    host=st.just("gpu-1"),
    offer_id=st.uuids().map(str),
    price=st.floats(0, 50),
    ends_at=lease_ends,
    stays_per_hour=storage_prices,
)


@given(
    st.lists(bills, max_size=4), st.lists(planned_bills, min_size=1, max_size=3), st.floats(0, 5000), st.floats(0, 48)
)
def test_allowed_purchases_never_exceed_budget_within_the_month(
    known: list[Bill], planned: list[Bill], budget: float, hours_later: float
) -> None:
    """A machine ends with its lease, or runs on if that is over or missing; storage is billed on."""
    if budget_refusal(budget, "default", costs_of_month(known, planned, NOW)):
        return
    moment, begin = NOW + hours_later * HOUR, month_of(NOW)[1]
    total = 0
    for item in known:
        end = item.ends_at if item.end is None else item.end
        if end is None or (item.end is None and end <= NOW):
            end = moment
        total += millionths_of_usd(item.price_per_hour, max(begin, item.begin or 0.0), min(end, moment))
        total += millionths_of_usd(item.stays_per_hour, end, moment) if item.end is None else 0
    for item in planned:
        end = item.ends_at if item.ends_at is not None and item.ends_at > NOW else moment
        total += millionths_of_usd(item.price_per_hour, NOW, min(end, moment))
        total += millionths_of_usd(item.stays_per_hour, end, moment)
    assert dollars(total) <= budget + 1e-4
