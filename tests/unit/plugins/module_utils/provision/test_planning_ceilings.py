# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans under the ceilings of play, account and month, which count each offer at one price."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import (
    Case,
    SearchResult,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ceilings import (
    NOT_ASKED_FOR,
    AccountPrices,
    CeilingPart,
    Count,
    State,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    BUY,
    STOP,
    WAIT,
    counted_in_budgets,
    host_plans,
    prices_of_others,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill, Ledger
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState
from hypothesis import given
from hypothesis import strategies as st

from planning_samples import DEAR, M, X, Y, actions, case, free, open_purchase, owner, planned
from provision_samples import billed, declared, entry, host, machine, machine_id, offer, offer_id

NIGHT = 1_772_150_400.0  # 2026-02-27T00:00:00Z; 48 hours of the month are left
RUNNING = Bill("default", "gpu-9", "old", price_per_hour=1.0, begin=NIGHT - 36_000)


# One price for each offer

WITHOUT_STORAGE, WITH_STORAGE = offer(1, 4.0), offer(1, 5.0)  # one offer, as two answers price it


def hosts_of_offer_with_two_prices(**fields: Any) -> tuple[Case, Case]:
    """A host that names an offer by its id, and one whose search shows this offer, at another price."""
    return free("a", offer_id=X, max_price_per_hour="unlimited", **fields), free(
        "b", max_price_per_hour="unlimited", **fields
    )


@pytest.mark.parametrize(
    ("page", "listed", "price"),
    [
        (WITHOUT_STORAGE, WITH_STORAGE, 5.0),
        (WITH_STORAGE, WITHOUT_STORAGE, 5.0),
        (offer(1, None), WITH_STORAGE, None),
        (WITHOUT_STORAGE, offer(1, None), 4.0),
    ],
)
def test_higher_price_of_page_and_search_counts(
    page: Mapping[str, Any], listed: Mapping[str, Any], price: float | None
) -> None:
    plans = host_plans(
        hosts_of_offer_with_two_prices(), lambda _host: SearchResult([listed, offer(2, 6.0)]), {X: SearchResult([page])}
    )
    assert [(each.offer_id, each.price_per_hour) for each in plans] == [(X, price), (Y, 6.0)]
    assert plans[0].offer["price_per_hour"] == price


@pytest.mark.parametrize(
    ("fields", "options", "sum_in_words"),
    [
        ({"max_total_price_per_hour": 10.99}, {}, "USD 11.00 per hour together"),
        (
            {"max_account_price_per_hour": 12.99},
            {"account": lambda _buying: AccountPrices(billed(2.0))},
            "USD 13.00 per hour together",
        ),
        ({"budget": 527.99}, {}, "would cost USD 528.00"),
    ],
)
def test_ceilings_of_several_hosts_count_higher_price(
    fields: dict[str, Any], options: dict[str, Any], sum_in_words: str
) -> None:
    night = {"now": NIGHT, "ledgers": {"default": Ledger((), NIGHT)}}
    plans = host_plans(
        hosts_of_offer_with_two_prices(**fields),
        lambda _host: SearchResult([WITH_STORAGE, offer(2, 6.0)]),
        {X: SearchResult([WITHOUT_STORAGE])},
        **{**night, **options},
    )
    assert [(each.action, each.error_class) for each in plans] == [(STOP, "price")] * 2
    assert sum_in_words in plans[0].refusal


def test_offer_id_above_ceiling_by_search_price_is_refused() -> None:
    cases = free("a", offer_id=X, max_price_per_hour=4), free("b", max_price_per_hour=4)
    plans = host_plans(cases, lambda _host: SearchResult([WITH_STORAGE]), {X: SearchResult([WITHOUT_STORAGE])})
    assert [each.action for each in plans] == [STOP, STOP] and "costs USD 5.00" in plans[0].refusal


def test_hosts_share_offers_of_a_repriced_search() -> None:
    search = SearchResult([offer(2, 1.0), WITH_STORAGE, offer(3, 6.0)])
    cases = [
        free("a", offer_id=X, max_price_per_hour="unlimited"),
        *(free(f"b{n}", max_price_per_hour="unlimited") for n in range(2)),
    ]
    plans = host_plans(cases, lambda _host: search, {X: SearchResult([WITHOUT_STORAGE])})
    assert [each.offer_id for each in plans] == [X, Y, offer_id(3)]


def test_open_purchase_counts_at_higher_noted_price() -> None:
    known = entry(X, purchase="sent", provision_price_per_hour=5.0)
    buyer = case(host(max_price_per_hour=9), HostState.OPEN, known, offer_id=X, price_per_hour=5.0)
    (plan,) = host_plans([buyer], lambda _host: SearchResult(), {X: SearchResult([WITHOUT_STORAGE])})
    assert (plan.action, plan.price_per_hour) == (BUY, 5.0)


@pytest.mark.parametrize(("quoted", "price", "action"), [(5.0, 5.0, STOP), (4.5, 4.5, BUY), (None, 4.0, BUY)])
def test_offer_of_sealed_plan_counts_at_higher_quoted_price(quoted: Any, price: float, action: str) -> None:
    sealed = replace(host(offer_id=X, max_price_per_hour=4.5), quoted_price_per_hour=quoted)
    (plan,) = planned(case(sealed), offers=[WITHOUT_STORAGE])
    assert (plan.action, plan.offer["price_per_hour"]) == (action, price)


# The ceiling of all hosts together


def test_total_ceiling_stops_all_buyers() -> None:
    hosts = [free(f"gpu-{n}", max_total_price_per_hour="5.99") for n in range(3)]
    plans = planned(*hosts)
    assert [each.action for each in plans] == [STOP] * 3
    assert "USD 6.00" in plans[0].refusal and "USD 5.99" in plans[0].refusal
    assert [each.action for each in planned(*hosts[:2])] == [BUY] * 2
    # The offers' own pages may be dearer, so the buyers share what remains below the ceiling.
    assert [each.max_price_per_hour for each in planned(*hosts[:2])] == [1.0 + 1.495, 2.0 + 1.495]


@pytest.mark.parametrize(
    ("others", "action"),
    [((), BUY), ((4.0,), BUY), ((4.01,), STOP), ((None,), STOP), ((2.0, 2.0), BUY), ((0.0,), BUY)],
)
def test_total_ceiling_counts_other_hosts_of_the_play(others: Sequence[float | None], action: str) -> None:
    (plan,) = planned(free(max_total_price_per_hour=5), others=billed(*others))
    assert plan.action == action
    assert ("unknown price" in plan.refusal) == (None in others)


@pytest.mark.parametrize(
    "other",
    [
        owner("other", 4.5),
        # They stop, but their registry entries name something that is or may be billed.
        case(host("other"), HostState.STOP, entry(Y, [M], "made", provision_price_per_hour=4.5), reason="-"),
        case(host("other"), HostState.STOP, entry(Y, provision_price_per_hour=4.5), reason="-"),
        case(host("other"), HostState.STOP, entry("", [M]), reason="-"),
        case(
            host("other", max_price_per_hour=1),
            HostState.OPEN,
            entry(DEAR["offer_id"], provision_price_per_hour=4.5),
            offer_id=DEAR["offer_id"],
            price_per_hour=4.5,
        ),
        case(host("other"), HostState.UNDER_WAY, entry(Y), offer_id=Y, price_per_hour=None),
    ],
)
def test_total_ceiling_counts_hosts_that_buy_nothing(other: Case) -> None:
    plans = planned(other, free(max_total_price_per_hour=5))
    assert plans[1].action == STOP and "USD 5.00" in plans[1].refusal


def test_total_ceiling_counts_shared_offer_once_and_no_void_purchase() -> None:
    twice = [case(host(each), HostState.STOP, entry(Y, [M], provision_price_per_hour=4.0), reason="-") for each in "ab"]
    void = case(host("c"), HostState.STOP, entry(X, [M], provision_price_per_hour=4.0), void=True, reason="-")
    refused = case(host("d"), HostState.STOP, entry(X, purchase="refused"), reason="-")
    assert planned(*twice, void, refused, free(max_total_price_per_hour=5))[-1].action == BUY


def test_total_ceiling_counts_each_machine_without_an_offer() -> None:
    """A person may have written the registry entries."""
    entries = [entry("", [machine_id(number)], provision_price_per_hour=2.5) for number in (7, 8)]
    stopped = [case(host(f"h{n}"), HostState.STOP, known, reason="-") for n, known in enumerate(entries)]
    plan = planned(*stopped, free(max_total_price_per_hour=5))[-1]
    assert plan.action == STOP and "USD 6.00 per hour together" in plan.refusal


def test_lowest_total_ceiling_of_buyers_holds_for_all() -> None:
    plans = planned(
        free("a", max_total_price_per_hour=10),
        free("b", max_total_price_per_hour=4),
        owner("c", max_total_price_per_hour=1),
    )
    assert [each.action for each in plans] == [STOP, STOP, WAIT]
    plans = planned(free("a", max_total_price_per_hour=10), free("b", max_total_price_per_hour=4))
    assert sum(each.max_price_per_hour for each in plans) <= 4


def test_total_ceiling_stops_buyers_if_other_batches_are_unread() -> None:
    plans = planned(free(max_total_price_per_hour=9), owner("b", max_total_price_per_hour=9), unread=["h1", "h2"])
    assert [each.action for each in plans] == [STOP, WAIT]
    assert "serial" in plans[0].refusal and "h1, h2" in plans[0].refusal
    assert planned(free(), unread=["h1"])[0].action == BUY


_price = st.none() | st.integers(0, 12).map(lambda quarters: quarters / 4)
_ceiling = st.sampled_from(["unlimited", "0", "1.5", "3", "6.25"])


@given(
    st.lists(
        st.tuples(st.sampled_from(["free", "open", "owner", "stop"]), _price, _ceiling, _ceiling, st.booleans()),
        max_size=5,
    ),
    st.lists(_price, max_size=5),
    st.lists(_price, max_size=2),
)
def test_no_plan_exceeds_a_ceiling(
    hosts: list[tuple[str, float | None, str, str, bool]], prices: list[float | None], others: list[float | None]
) -> None:
    market = sorted(
        (offer(n, price) for n, price in enumerate(prices)), key=lambda each: each["price_per_hour"] or math.inf
    )
    cases, pages = [], {}
    for n, (kind, price, limit, total, all_or_nothing) in enumerate(hosts):
        declaration = host(
            f"h{n}", max_price_per_hour=limit, max_total_price_per_hour=total, all_or_nothing=all_or_nothing
        )
        own_entry = entry(
            offer_id(100 + n), [machine_id(n)] if kind in ("owner", "stop") else [], provision_price_per_hour=price
        )
        kinds = {"free": HostState.FREE, "open": HostState.OPEN, "owner": HostState.READY, "stop": HostState.STOP}
        pages[own_entry.offer_id] = SearchResult([offer(100 + n, price)])
        if kind == "free":
            cases.append(case(declaration))
        else:
            cases.append(
                case(
                    declaration,
                    kinds[kind],
                    own_entry,
                    offer_id=own_entry.offer_id,
                    price_per_hour=price,
                    reason="-" if kind == "stop" else "",
                )
            )
    plans = host_plans(cases, lambda _host: SearchResult(market), pages, others=billed(*others))
    assert [plan.host for plan in plans] == [each.host.host for each in cases]
    buyers = [(each, plan) for each, plan in zip(cases, plans, strict=True) if plan.action == BUY]
    assert len({plan.offer_id for _case, plan in buyers}) == len(buyers)
    other_prices = [
        *others,
        *(
            each.entry.price_per_hour
            for each, plan in zip(cases, plans, strict=True)
            if plan.action != BUY and each.may_be_billed
        ),
    ]
    max_sum = sum(price or 0.0 for price in other_prices) + sum(plan.max_price_per_hour for _case, plan in buyers)
    for each, plan in buyers:
        limit = plan.max_price_per_hour
        assert plan.price_per_hour is None or plan.price_per_hour <= limit
        assert each.host.max_price_per_hour == math.inf or (
            plan.price_per_hour is not None and limit <= each.host.max_price_per_hour
        )
        if each.host.max_total_price_per_hour != math.inf:
            assert None not in other_prices
            assert max_sum <= each.host.max_total_price_per_hour + 1e-5
        if each.host.all_or_nothing:
            assert all(other.action != STOP for other in plans)
    for each, plan in zip(cases, plans, strict=True):
        assert bool(plan.refusal) == (plan.action == STOP)
        assert plan.action == WAIT or not each.standing.owns


# Ceilings of account and month


def test_account_ceiling_covers_all_buyers() -> None:
    hosts = [free("gpu-1", max_account_price_per_hour=10), free("gpu-2", max_account_price_per_hour="unlimited")]
    plans = planned(*hosts, account=AccountPrices(billed(2.0), billed(5.0)))
    assert actions(plans) == [(BUY, X), (BUY, Y)]
    assert [each.max_price_per_hour for each in plans] == [1.0, 2.0], "the ceiling leaves no room for a rise"
    assert [each.max_account_price_per_hour for each in plans] == [10.0, 10.0]
    shared = declared("shared:default", host="gpu-1", max_account_price_per_hour=10)
    (plan,) = planned(case(shared), account=AccountPrices(billed(2.0), billed(5.0)))
    assert plan.max_account_price_per_hour == 5.0, "the registry counts the rest"
    plans = planned(*hosts, account=AccountPrices(billed(2.0), billed(5.01)))
    assert [each.action for each in plans] == [STOP, STOP]
    assert "USD 10.01 per hour together, of which USD 7.01 per hour are live" in plans[0].refusal


def test_total_ceiling_refusal_lists_counted_and_uncounted_prices() -> None:
    others = [CeilingPart("a-1", 3.0, State.BUYING), CeilingPart("gone", 9.0, State.MISSING)]
    hosts = [
        case(declared("shared:red", host="b-1", project="red", max_total_price_per_hour=5)),
        owner("c-1"),
        case(host("d-1"), HostState.STOP, machines=[machine(8, "d-1")], reason="-"),
    ]
    refusal = planned(*hosts, others=others)[0].refusal
    assert refusal.startswith(
        "All machines of project red would cost USD 8.00 per hour together, of which USD 7.00 per hour are live or"
        " being bought already; provision_max_total_price_per_hour is USD 5.00 per hour. Counted: b-1 USD 1.00 (would"
        f" be bought); a-1 USD 3.00 (being bought); c-1 USD 2.00 (live); d-1 ({machine_id(8)}) USD 2.00 (in no"
    )
    assert "Not counted: gone USD 9.00 (missing). Nothing was bought." in refusal


def test_account_ceiling_stops_no_owner() -> None:
    plans = planned(owner("gpu-1", max_account_price_per_hour=1), account=AccountPrices(billed(50.0), billed(None)))
    assert [(each.action, each.max_account_price_per_hour) for each in plans] == [(WAIT, math.inf)]


def test_account_ceiling_counts_open_purchase_once() -> None:
    plans = planned(open_purchase("gpu-1", max_account_price_per_hour=4), account=AccountPrices(billed(2.0)))
    assert actions(plans) == [(BUY, X)]
    hosts = [open_purchase("gpu-1", max_price_per_hour=0.5), free("gpu-2", max_account_price_per_hour=3)]
    plans = planned(*hosts, account=partial(prices_of_others, Account.of([], []), hosts, []))
    assert [each.action for each in plans] == [STOP, STOP] and "USD 4.00 per hour together" in plans[1].refusal


def test_account_ceiling_stops_buyer_if_account_is_unreadable() -> None:
    plans = planned(free(max_account_price_per_hour=10), account=AccountPrices(unreadable="It is down."))
    assert [each.action for each in plans] == [STOP] and "It is down." in plans[0].refusal


def test_budget_limits_month_of_project() -> None:
    ledgers = {"default": Ledger((RUNNING, RUNNING._replace(project="red")), NIGHT), "red": Ledger((), NIGHT)}
    assert actions(planned(free(budget=106), now=NIGHT, ledgers=ledgers)) == [(BUY, X)], (
        "spent 10, both machines 48 each until the month ends"
    )
    (refused,) = planned(free(budget=105.99), now=NIGHT, ledgers=ledgers)
    assert refused.action == STOP and "Project default would cost USD 106.00 in 2026-02" in refused.refusal
    assert actions(planned(free(budget=105, lease="4h"), now=NIGHT, ledgers=ledgers)) == [(BUY, X)]
    assert actions(planned(free("r", budget=105, project="red"), now=NIGHT, ledgers=ledgers)) == [(BUY, X)]
    hosts = [free("gpu-1", budget=150), free("gpu-2", budget=""), free("gpu-3", project="red")]
    assert [each.action for each in planned(*hosts, now=NIGHT, ledgers=ledgers)] == [STOP, STOP, BUY]


def test_counted_in_budgets_are_hosts_of_projects_with_a_budget() -> None:
    cases = [free("gpu-1", budget=5), free("r", project="red"), owner("b", project="blue", budget=5)]
    hosts = [{"host": "gpu-1", "project": "default"}, {"host": "gpu-2", "project": ""}, {"host": "r", "project": "red"}]
    assert counted_in_budgets(cases, hosts) == {"default": hosts[:2]}


def test_two_folders_of_a_project_share_its_budget() -> None:
    ledgers = {"default": Ledger((), NIGHT)}
    hosts = [free("gpu-1", budget=143), free("gpu-2", budget=143)]
    apart = [replace(each, host=replace(each.host, registry=Folder(f"/{each.host.host}"))) for each in hosts]
    for cases in (hosts, apart):
        plans = planned(*cases, now=NIGHT, ledgers=ledgers)
        assert [each.action for each in plans] == [STOP, STOP], "48 + 96 = 144"


def test_budget_limits_max_price_per_hour() -> None:
    (plan,) = planned(free(budget=72, max_price_per_hour=4), now=NIGHT, ledgers={"default": Ledger((), NIGHT)})
    assert plan.max_price_per_hour == 1.5


def test_budget_stops_buyer_if_ledger_is_unreadable() -> None:
    (plan,) = planned(free(budget=100), now=NIGHT, ledgers={"default": Ledger((), NIGHT, unreadable="It is torn.")})
    assert plan.action == STOP
    assert "What was spent cannot be read" in plan.refusal and "It is torn." in plan.refusal


@pytest.mark.parametrize(
    ("machines", "unreadable", "total", "reason"),
    [
        ([machine(1, "gpu-1", X), machine(2, "foreign")], "", 6.0, ""),
        ([], "", 2.0, ""),  # only the registry names it
        (None, "It answered 500.", 0.0, "It answered 500."),
        (None, "", 0.0, NOT_ASKED_FOR),
    ],
)
def test_prices_of_others_counts_listed_and_registered_machines(
    machines: list[dict[str, Any]] | None, unreadable: str, total: float, reason: str
) -> None:
    others = [("gpu-2", entry(offer_id(7), [machine_id(7)], "made"))]
    void = case(host("gpu-3"), HostState.STOP, entry(offer_id(8), [machine_id(8)], "made"), void=True)
    prices = prices_of_others(Account.of([], machines, unreadable), [void], others, ())
    assert (prices.unreadable, Count((*prices.registered, *prices.foreign)).sum.total) == (reason, total)
