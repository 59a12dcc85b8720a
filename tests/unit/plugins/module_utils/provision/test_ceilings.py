# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ceilings of the account and of a month: what counts, what is left for buyers, and that nothing unknown passes."""

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
    objection_in_a_slice,
    parts_of_other_hosts,
    play_refusal,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import UNLIMITED
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import (
    Bill,
    dollars,
    millionths_of_usd,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage
from ansible_collections.compute_index.supply.plugins.module_utils._text import formatted, seconds_of
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
    """A purchase; its moments are hours from now."""
    moments = [None if each is None else NOW + each * HOUR for each in (begin, end)]
    known = {"project": "default", "host": "gpu-9", "offer_id": "old", **fields}
    return Bill(price_per_hour=price, begin=moments[0], end=moments[1], **known)


def buys(
    host: str, offer_id: str, price_per_hour: float | None, ends_at: float | None = None, stays: float | None = 0.0
) -> Bill:
    """A purchase that is planned."""
    return Bill(
        "default", host, offer_id, price_per_hour=price_per_hour, begin=NOW, ends_at=ends_at, stays_per_hour=stays
    )


# The play


@pytest.mark.parametrize(
    ("ceiling", "prices", "unread"), [(UNLIMITED, [9.0, None], ["gpu-2"]), (9.0, [9.0], []), (10.0, [9.0], [])]
)
def test_of_a_play(ceiling: float, prices: list[float | None], unread: list[str]) -> None:
    assert play_refusal(ceiling, Count(billed(*prices)), unread) == ""


def test_a_play_is_refused() -> None:
    assert "(gpu-2) cannot be counted" in play_refusal(9.0, Count(billed(1.0)), ["gpu-2"])
    assert "USD 9.01 per hour together" in play_refusal(9.0, Count(billed(9.01)), [])
    assert "1 unknown price(s)" in play_refusal(9.0, Count(billed(1.0, None)), [])


# The account


@pytest.mark.parametrize(
    ("ceiling", "live", "wanted", "said"),
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
        (10.0, Prices(unreadable="It is down."), [2.0], "is not known: It is down. Nothing was sent."),
    ],
)
def test_of_an_account(ceiling: float, live: Prices, wanted: list[float | None], said: str) -> None:
    refusal = account_refusal(ceiling, live, [CeilingPart("gpu-1", price, State.ORDERED) for price in wanted])
    assert said in refusal and bool(said) == bool(refusal)


@pytest.mark.parametrize(
    ("ceiling", "live", "limit"),
    [
        (UNLIMITED, Prices((), billed(3.0)), UNLIMITED),
        (10.0, Prices(billed(9.0), billed(3.1)), 6.9),
        (1.0, Prices((), billed(3.0)), 0.0),
    ],
)
def test_a_shared_registry_is_left_what_others_do_not_use(ceiling: float, live: Prices, limit: float) -> None:
    assert ceiling_for_registered(ceiling, live) == limit


M, N, X, Y = machine_id(1), machine_id(2), offer_id(1), offer_id(2)
VOLUME = machine(2, None, X, kind="storage", price_per_hour=0.5)


@pytest.mark.parametrize(
    ("machines", "entries", "buying", "registered", "foreign"),
    [
        pytest.param([machine(1)], [], (), (), (2.0,), id="nothing of it is known"),
        pytest.param([machine(1)], [entry(X, [M], "made")], (), (2.0,), (), id="known by its id"),
        pytest.param([machine(1, None, X)], [entry(X, purchase="sent")], (), (2.0,), (), id="known by its offer"),
        pytest.param([machine(1, None, X)], [entry(X, purchase="sent")], [X], (2.0,), (), id="listed, and bought on"),
        pytest.param([], [entry(X, purchase="sent")], [X], (), (), id="its price counts with the plan"),
        pytest.param([], [entry(X, [M], provision_price_per_hour=3.0)], [Y], (3.0,), (), id="not listed yet"),
        pytest.param([], [entry(X, [M], provision_price_per_hour=None)], (), (None,), (), id="at an unknown price"),
        pytest.param([], [entry(X, purchase="refused"), entry()], (), (), (), id="came to nothing"),
        pytest.param([machine(1, None, X)], [entry(X, purchase="refused")], (), (), (2.0,), id="bought by others"),
        pytest.param(
            [VOLUME],
            [entry(X, [M, N], "made", provision_price_per_hour=3.0)],
            (),
            (3.0,),
            (),
            id="storage that an earlier version has noted, and its machine is not listed yet",
        ),
        pytest.param(
            [VOLUME],
            [entry(X, [M], "made", provision_price_per_hour=3.0, provision_storage=[{"resource_id": N}])],
            (),
            (3.0,),
            (),
            id="storage, and its machine is not listed yet",
        ),
        pytest.param(
            [machine(1), VOLUME],
            [entry(X, [M], "made", provision_storage=[{"resource_id": N}])],
            (),
            (2.5,),
            (),
            id="both are listed",
        ),
        pytest.param([VOLUME], [read_entry(Storage(N).entry("h"))], (), (0.5,), (), id="storage that is kept"),
        pytest.param(
            [], [read_entry(Storage(N, price_per_hour=0.6).entry("h"))], (), (0.6,), (), id="and is not listed"
        ),
        pytest.param([machine(1, status="deleted")], [], (), (), (), id="it is gone"),
        pytest.param([machine(1, status="deleting")], [], (), (), (2.0,), id="billed until it is gone"),
        pytest.param(
            [machine(1, price_per_hour=None), machine(2)], [entry(Y, [N])], (), (2.0,), (None,), id="both kinds"
        ),
    ],
)
def test_what_is_billed_on_an_account(
    machines: list[Any], entries: list[Any], buying: Any, registered: tuple[float | None, ...], foreign: Any
) -> None:
    found = account_prices(machines, [("gpu-1", each) for each in entries], buying)
    assert [(each.name, each.cost) for each in found.registered] == [("gpu-1", price) for price in registered]
    assert [each.cost for each in found.foreign] == list(foreign)
    assert {each.state for each in found.foreign} <= {State.UNOWNED}


@pytest.mark.parametrize(
    ("facts", "known", "has_registry", "costs"),
    [
        ({}, {}, True, ([], [])),
        ({"a": 2.0, "b": "3"}, {}, True, ([2.0, 3.0], [])),
        ({"a": "dear"}, {}, True, ([None], [])),
        ({"a": None}, {"a": entry(X, [M], "made")}, True, ([2.0], [])),
        ({"a": None}, {"a": entry(X, purchase="refused")}, True, ([], [])),
        ({"a": None}, {"a": entry(X, [M], provision_price_per_hour=None)}, True, ([None], [])),
        ({"a": None}, {}, True, ([], [])),
        ({"a": None}, {}, False, ([], ["a"])),
        ({"a": 4.0}, {"a": entry(X, [M], "made")}, True, ([4.0], [])),
    ],
)
def test_what_other_hosts_of_the_play_cost(facts: Any, known: Any, has_registry: bool, costs: Any) -> None:
    parts, unread = parts_of_other_hosts(facts, known, has_registry=has_registry)
    assert ([each.cost for each in parts], unread) == costs


@pytest.mark.parametrize(
    ("place", "fields", "template", "count"),
    [
        ("/registry", {"max_total_price_per_hour": 9, "budget": 9}, "job", 1),
        ("/registry", {"max_total_price_per_hour": 9}, "", 0),
        ("/registry", {"max_account_price_per_hour": 9}, "job", 1),
        ("/registry", {"max_price_per_hour": 9}, "job", 0),
        ("shared:default", {"max_total_price_per_hour": 9}, "job", 0),
    ],
)
def test_a_slice_sees_too_few_hosts_for_some_ceilings(place: str, fields: Any, template: str, count: int) -> None:
    assert bool(objection_in_a_slice(declared(place, **fields), template)) is bool(count)


# A month


@pytest.mark.parametrize(
    ("now", "name", "begin", "end"),
    [
        ("2026-02-27T00:00:00Z", "2026-02", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        ("2026-12-31T23:59:59Z", "2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2028-02-01T00:00:00Z", "2028-02", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
    ],
)
def test_a_month_is_that_of_utc(now: str, name: str, begin: str, end: str) -> None:
    assert month_of(at(now)) == (name, at(begin), at(end))


@pytest.mark.parametrize(
    ("bills", "wanted", "spent", "runs", "bought"),
    [
        pytest.param([], [], 0.0, 0.0, 0.0, id="nothing"),
        pytest.param([bill(-10, -5)], [], 10.0, 0.0, 0.0, id="it has ended"),
        pytest.param([bill(-1000, -990)], [], 0.0, 0.0, 0.0, id="in the last month"),
        pytest.param([bill(-1000, -620)], [], 8.0, 0.0, 0.0, id="partly in the last month"),
        pytest.param([bill()], [], 20.0, 96.0, 0.0, id="it runs"),
        pytest.param([bill(-10, 1)], [], 22.0, 0.0, 0.0, id="it ends in an hour, by another clock"),
        pytest.param([bill(ends_at=NOW + 5 * HOUR)], [], 20.0, 10.0, 0.0, id="until its lease is over"),
        pytest.param([bill(ends_at=NOW + 500 * HOUR)], [], 20.0, 96.0, 0.0, id="its lease is longer than the month"),
        pytest.param([bill(ends_at=NOW - HOUR)], [], 20.0, 96.0, 0.0, id="its lease is over, and it runs"),
        pytest.param([], [buys("gpu-1", "new", 3.0)], 0.0, 0.0, 144.0, id="wanted"),
        pytest.param([], [buys("gpu-1", "new", 3.0, NOW + 2 * HOUR)], 0.0, 0.0, 6.0, id="wanted with a lease"),
        # Storage is in the price of the machine, and goes on after it.
        pytest.param([bill(stays_per_hour=0.5)], [], 20.0, 96.0, 0.0, id="with storage"),
        pytest.param(
            [bill(ends_at=NOW + 8 * HOUR, stays_per_hour=0.5)],
            [],
            20.0,
            36.0,
            0.0,
            id="storage goes on after its lease",
        ),
        pytest.param([bill(-10, -5, stays_per_hour=0.5)], [], 10.0, 0.0, 0.0, id="that is kept has a bill of its own"),
        pytest.param(
            [], [buys("gpu-1", "new", 3.0, NOW + 8 * HOUR, 0.5)], 0.0, 0.0, 44.0, id="wanted with storage and a lease"
        ),
        pytest.param(
            [bill(host="gpu-1", offer_id="new")],
            [buys("gpu-1", "new", 3.0)],
            20.0,
            0.0,
            144.0,
            id="once more",
        ),
    ],
)
def test_what_a_month_costs(bills: list[Bill], wanted: list[Bill], spent: float, runs: float, bought: float) -> None:
    found = costs_of_month(bills, wanted, NOW)
    states = (State.SPENT, State.RUNS_ON, State.ORDERED)
    assert [found.count.sum_of(each).total for each in states] == [spent, runs, bought]
    assert dollars(found.total) == spent + runs + bought and found.unknown == ()


@pytest.mark.parametrize(("ahead", "spent", "runs"), [(-5, 20.0, 96.0), (2, 24.0, 92.0), (900, 116.0, 0.0)])
def test_a_clock_that_is_ahead_neither_begins_another_month_nor_makes_it_longer(
    ahead: float, spent: float, runs: float
) -> None:
    """What has ended in this month counts, and what is planned begins now."""
    known = [bill(), bill(-10, -5, offer_id="over")]
    found = costs_of_month(known, [buys("gpu-1", "new", 3.0, NOW + 2 * HOUR)], NOW, NOW + ahead * HOUR)
    states = (State.SPENT, State.RUNS_ON, State.ORDERED)
    assert [found.count.sum_of(state).total for state in states] == [spent + 10.0, runs, 6.0]
    assert (found.name, found.unknown) == (month_of(NOW)[0], ())


def test_what_is_not_known_is_named() -> None:
    bills = [bill(price=None), bill(None, host="gpu-8"), bill(None, -1000, host="gpu-7")]
    assert costs_of_month(bills, [buys("gpu-1", "new", None)], NOW).unknown == ("gpu-9", "gpu-8", "gpu-1")
    bills = [bill(stays_per_hour=None), bill(-10, -5, stays_per_hour=None, host="gpu-8")]
    assert costs_of_month(bills, [buys("gpu-1", "new", 2.0, None, None)], NOW).unknown == ("gpu-9", "gpu-1")


@pytest.mark.parametrize(
    ("budget", "bills", "wanted", "said"),
    [
        (UNLIMITED, [bill(price=None)], [], ""),
        (100.0, [], [buys("h", "o", 2.0)], ""),
        (100.0, [bill(-10, -5)], [buys("h", "o", 2.0, NOW + 45 * HOUR)], ""),
        (
            99.99,
            [bill(-10, -5)],
            [buys("h", "o", 2.0, NOW + 45 * HOUR)],
            "would cost USD 100.00: 10.00 spent",
        ),
        (100.0, [bill(price=None)], [], "price or start of gpu-9 is unknown"),
        (0.0, [], [buys("h", "o", 2.0)], "provision_budget is USD 0.00"),
    ],
)
def test_of_a_month(budget: float, bills: list[Bill], wanted: list[Bill], said: str) -> None:
    refusal = budget_refusal(budget, "default", costs_of_month(bills, wanted, NOW))
    assert said in refusal and bool(said) == bool(refusal)


def test_the_refusal_of_a_month_says_since_when_each_host_has_cost() -> None:
    bills = [bill(-10, -5), bill(-3, -2)]
    refusal = budget_refusal(1.0, "default", costs_of_month(bills, [buys("h", "o", 2.0, NOW + HOUR)], NOW))
    assert f"gpu-9 USD 12.00 (spent since {formatted(NOW - 10 * HOUR)}); h USD 2.00 (would be bought)." in refusal


hours = st.floats(-700, 60, allow_nan=False)
bills = st.builds(
    bill,
    begin=hours,
    end=st.none() | hours,
    price=st.floats(0, 50),
    offer_id=st.uuids().map(str),
    ends_at=st.none() | hours.map(lambda each: NOW + each * HOUR),
    stays_per_hour=st.just(0.0) | st.floats(0, 50),
)
purchases = st.builds(
    buys,
    host=st.just("gpu-1"),
    offer_id=st.uuids().map(str),
    price_per_hour=st.floats(0, 50),
    ends_at=st.none() | hours.map(lambda each: NOW + each * HOUR),
    stays=st.just(0.0) | st.floats(0, 50),
)


@given(st.lists(bills, max_size=4), st.lists(purchases, min_size=1, max_size=3), st.floats(0, 5000), st.floats(0, 48))
def test_what_passes_stays_within_the_budget(
    known: list[Bill], wanted: list[Bill], budget: float, later: float
) -> None:
    """Whenever in the month one looks: each machine ends with its lease, if that is still to come; storage goes on."""
    if budget_refusal(budget, "default", costs_of_month(known, wanted, NOW)):
        return
    moment, begin = NOW + later * HOUR, month_of(NOW)[1]
    ends = {each.offer_id: each.ends_at if each.end is None else each.end for each in known}
    total = 0
    for each in known:
        end = ends[each.offer_id]
        if end is None or (each.end is None and end <= NOW):
            end = moment
        total += millionths_of_usd(each.price_per_hour, max(begin, each.begin or 0.0), min(end, moment))
        total += millionths_of_usd(each.stays_per_hour, end, moment) if each.end is None else 0
    for each_wanted in wanted:
        end = each_wanted.ends_at if each_wanted.ends_at is not None and each_wanted.ends_at > NOW else moment
        total += millionths_of_usd(each_wanted.price_per_hour, NOW, min(end, moment))
        total += millionths_of_usd(each_wanted.stays_per_hour, end, moment)
    assert dollars(total) <= budget + 1e-4
