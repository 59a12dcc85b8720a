# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed plans: their contents and prices, and why a changed, expired or used plan is refused."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import sealed
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import Case, SearchResult
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import Declaration
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import utc_rounded_up
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import SharedProject
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    BUY,
    KEEP,
    Plan,
    host_plans,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.quote import quoted
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sealed import SealedPlan
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill, Ledger
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import (
    HostState,
    Standing,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import entry, host, machine_id, offer, offer_id

NOW = 1_800_000_000.0  # seconds since the epoch, when the quote was made
HOLDS = NOW + 1200.0
TOKEN, ACCOUNT = "token", "account"
X, Y = offer_id(1), offer_id(2)
ORDER = {"token": "0f", "ssh_public_key": "1f", "resource_name": "2f"}
EMPTY_LEDGER = Ledger((), NOW)
DATA = {"name": "data", "type": "disk", "persistent": True, "hourly_cost": 0.1}
READY, OPEN, FREE = HostState.READY, HostState.OPEN, HostState.FREE


def hosts(**fields: Any) -> list[Declaration]:
    """The declarations of the plan's two hosts, with a lease and a ceiling."""
    return [host(name, **{"lease": "8h", "max_price_per_hour": 4, **fields}) for name in ("gpu-1", "gpu-2")]


def draft(*plans: Plan, declared: list[Declaration] | None = None) -> dict[str, Any]:
    """The draft of a sealed plan for these plans; by default gpu-1 buys an offer, and gpu-2 has one."""
    offered = offer(1, expires_at=utc_rounded_up(HOLDS), storage_details=[DATA])
    usual = (
        Plan("gpu-1", BUY, X, offered, price_per_hour=2.0),
        Plan("gpu-2", KEEP, Y, price_per_hour=3),
    )
    quote = quoted(plans or usual, "", "plan.json")["ansible_stats"]["data"]["quote"]
    return sealed.draft(quote, declared or hosts(), ACCOUNT, "7f3a", NOW)


def sealed_plan(declared: list[Declaration] | None = None) -> dict[str, Any]:
    """The usual plan, quoted for these hosts."""
    return sealed.sealed_with_orders(draft(declared=declared), {"gpu-1": ORDER}, TOKEN)


def read(plan: Any = None, declared: list[Declaration] | None = None, account: str = ACCOUNT) -> SealedPlan:
    """The plan as a run for these hosts reads it."""
    return SealedPlan.of(sealed_plan() if plan is None else plan, TOKEN).compared(declared or hosts(), account)


def test_plan_may_have_bought_since_an_hour_before_its_quote() -> None:
    assert read().since == NOW - 3600


def test_sealed_plan_has_account_prices_orders_and_terms() -> None:
    plan = sealed_plan()
    assert {name: plan[name] for name in ("number", "account", "quoted_at", "expires_at", "price_per_hour")} == {
        "number": "7f3a",
        "account": ACCOUNT,
        "quoted_at": utc_rounded_up(NOW),
        "expires_at": utc_rounded_up(HOLDS),
        "price_per_hour": 5.0,
    }
    assert plan["at_most"] is None and plan["summary"].startswith("gpu-1: USD 2.00 per hour, no cap on the bill")
    first, second = plan["hosts"]["gpu-1"], plan["hosts"]["gpu-2"]
    assert (first["offer_id"], first["price_per_hour"], first["owned"], first["order"]) == (X, 2.0, False, ORDER)
    assert (second["offer_id"], second["owned"], second["order"]) == (Y, True, {})
    terms = {"the registry": "files", "provision_max_price_per_hour": 4.0, "provision_lease": "8h"}
    assert first["terms"] == second["terms"] == terms


@pytest.mark.parametrize(
    ("plans", "orders"),
    [
        ([Plan("gpu-1", "later", label="gpu-1: no offer yet")], {}),
        ([Plan("gpu-1", BUY, X, offer(1, None))], {"gpu-1": ORDER}),
        ([Plan("gpu-1", BUY, X, offer(1), price_per_hour=2.0)], {}),
    ],
    ids=["no offer", "no price", "no order"],
)
def test_plan_without_offer_price_or_order_is_not_sealed(plans: list[Plan], orders: Any) -> None:
    with pytest.raises(ValueError, match="no offer with a price for gpu-1, so no plan was written"):
        sealed.sealed_with_orders(draft(*plans), orders, TOKEN)


def test_plan_without_expiry_holds_half_an_hour() -> None:
    plan = draft(Plan("gpu-1", BUY, X, offer(1), price_per_hour=2.0))
    assert plan["expires_at"] == utc_rounded_up(NOW + 1800)


# A plan is sealed at the price that its purchase compares: the higher of search and offer page


def sealed_by_pages(
    offers: list[Any], pages: dict[str, SearchResult], *, attempts: int = 3, **fields: Any
) -> tuple[list[tuple[str, str, float | None]], list[str], list[str], list[str]]:
    """Plans of gpu-1 and gpu-2 (action, offer, price), their refusals, the warnings, and the ids of the pages read.

    ``pages``: those that differ from the ``offers`` of the search.
    """
    read_ids: list[str] = []

    def pages_of(ids: Any) -> dict[str, SearchResult]:
        read_ids.extend(ids)
        usual = {item["offer_id"]: SearchResult([item]) for item in offers}
        return {offer_id: pages.get(offer_id, usual[offer_id]) for offer_id in ids}

    searching = [Case(replace(item, max_attempts=attempts), entry(), Standing(FREE)) for item in hosts(**fields)]
    find_plans = functools.partial(host_plans, searching, lambda declared: SearchResult.of(declared, [offers]))
    plans, warnings = sealed.plans_at_page_prices(find_plans, searching, {}, pages_of)
    bought = [(plan.action, plan.offer_id, plan.price_per_hour) for plan in plans]
    return bought, [plan.refusal for plan in plans], warnings, read_ids


def page(number: int, price: float | None, **fields: Any) -> dict[str, SearchResult]:
    return {offer_id(number): SearchResult([offer(number, price, **fields)])}


GONE = {X: SearchResult(reason="Offer has expired.", is_gone=True)}
WITHOUT_FIRST = [(2, 2), (3, 3)]


@pytest.mark.parametrize(
    ("prices", "pages", "expected", "expected_warning"),
    [
        pytest.param((2, 2), {}, [(1, 2), (2, 2)], "", id="page like search"),
        pytest.param((2, 2, 2, 2), page(1, 2.1) | page(2, 2.2), [(1, 2.1), (2, 2.2)], "", id="each page dearer"),
        pytest.param((3, 3), page(1, 2), [(1, 3), (2, 3)], "", id="page cheaper"),
        pytest.param((2, 2, 3), page(1, 4.5), WITHOUT_FIRST, "", id="page above ceiling"),
        pytest.param((2, 2, 3), page(1, None), WITHOUT_FIRST, "names no price in USD", id="page without price"),
        pytest.param((2, 2, 3), GONE, WITHOUT_FIRST, "Offer has expired.", id="offer gone"),
        pytest.param(
            (2, 2, 3), page(1, 2, gpu_type="L4"), WITHOUT_FIRST, "gpu_type L4 instead", id="page with another GPU"
        ),
    ],
)
def test_plan_is_sealed_at_higher_price_of_search_and_page(
    prices: Any, pages: Any, expected: Any, expected_warning: str
) -> None:
    offers = [offer(number, price) for number, price in enumerate(prices, start=1)]
    bought, refusals, warnings, read_ids = sealed_by_pages(offers, pages)
    assert bought == [(BUY, offer_id(number), price) for number, price in expected], refusals
    assert len(read_ids) == len(set(read_ids)) == (3 if expected == WITHOUT_FIRST else 2)
    assert len(warnings) == bool(expected_warning)
    assert all(text.startswith(f"Offer {X} is not in the plan: ") and expected_warning in text for text in warnings)


def test_offer_with_unreadable_page_is_not_sealed() -> None:
    pages = {X: SearchResult(reason="GET /offers: 503.")}
    (first, second), refusals, warnings, _read = sealed_by_pages([offer(1, 2.0), offer(2, 2.0), offer(3, 2.0)], pages)
    assert (first[:2], second) == (("stop", X), (BUY, Y, 2.0)) and warnings == []
    assert refusals[0] == (
        f"The page of offer {X} cannot be read, so its price is not certain and no plan was sealed: GET /offers: 503."
        " Make a new quote."
    )


def test_owned_and_already_read_offers_need_no_further_page() -> None:
    plans = [Plan("gpu-1", BUY, X, offer(1), price_per_hour=2.0), Plan("gpu-2", KEEP, Y, price_per_hour=3.0)]
    searching = [Case(item, entry(), Standing(FREE)) for item in hosts()]
    pages = {X: SearchResult([offer(1)])}
    sealable, warnings = sealed.plans_at_page_prices(lambda _pages, _before: plans, searching, pages, lambda ids: {})
    assert (sealable, warnings) == (plans, [])


def test_open_purchase_is_sealed_at_its_noted_price_without_a_page() -> None:
    """It is settled by its status: its offer may be gone. Without it, no other host's plan could be sealed."""
    pages, found = {X: SearchResult(reason="Offer has expired.", is_gone=True)}, SearchResult([offer(2, 3.0)])
    opened = Case(hosts()[0], entry(X, (), "sent"), Standing(OPEN, X, price_per_hour=2.0))
    cases = [opened, Case(hosts()[1], entry(), Standing(FREE))]
    find_plans = functools.partial(host_plans, cases, lambda _declared: found)
    plans, warnings = sealed.plans_at_page_prices(find_plans, cases, pages, lambda ids: dict.fromkeys(ids, found))
    bought = [(plan.action, plan.offer_id, plan.price_per_hour) for plan in plans]
    assert (bought, warnings) == ([(BUY, X, 2.0), (BUY, Y, 3.0)], [])


def test_host_reads_at_most_max_attempts_pages() -> None:
    offers = [offer(number, 2.0) for number in range(1, 30)]
    dearer_pages = {key: value for number in range(1, 30) for key, value in page(number, 4.1).items()}
    bought, refusals, _warnings, read_ids = sealed_by_pages(offers, dearer_pages, attempts=2)
    assert [action for action, _offer, _price in bought] == ["stop"] * 2 and len(read_ids) == 4
    assert refusals[1] == (
        "Each offer tried for gpu-2 (provision_max_attempts) is gone, or its own page shows a price above a ceiling."
        " So no price is certain, and no plan was sealed. Make a new quote."
    )


def test_ceiling_of_play_counts_sealed_prices() -> None:
    offers = [offer(1, 2.0), offer(2, 2.0)]
    _bought, refusals, _warnings, _read = sealed_by_pages(offers, page(1, 2.1), max_total_price_per_hour=4)
    assert "would cost USD 4.10 per hour together" in refusals[0]


def test_storage_on_offer_page_is_quoted() -> None:
    pages = {X: SearchResult([offer(1, 2.1, storage_details=[DATA])])}
    searching = [Case(hosts()[0], entry(), Standing(FREE))]
    plan = draft(*host_plans(searching, lambda declared: SearchResult.of(declared, [[offer(1)]]), pages))
    assert plan["hosts"]["gpu-1"]["storage"] == [DATA]
    assert plan["summary"].startswith("gpu-1: USD 2.10 per hour, ")
    assert plan["summary"].endswith("; storage outlives them, USD 0.10 per hour")


# The seal


@pytest.mark.parametrize("ceiling", [4, "unlimited"])
def test_plan_survives_json_round_trip(ceiling: Any) -> None:
    declared = hosts(max_price_per_hour=ceiling)
    plan = sealed_plan(declared)
    text = json.dumps(plan, indent=1, allow_nan=False)
    assert read(json.loads(text), declared) == read(plan, declared) and not read(plan, declared).fault


@pytest.mark.parametrize("digest", [None, "", "ü", "0" * 64, 7])
def test_plan_with_wrong_digest_or_token_is_refused(digest: Any) -> None:
    assert "it was changed since it was sealed" in read({**sealed_plan(), "digest": digest}).fault
    assert "it was changed since it was sealed" in SealedPlan.of(sealed_plan(), "another token").fault


def fields_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all fields of a plan."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*path, key)
        yield from fields_of(part, (*path, key))


PATHS_OF_PLAN = list(fields_of(sealed_plan()))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 3),
    st.floats(0, 3),
    st.just(X),
    st.text(max_size=3),
    st.just({}),
    st.just([]),
)


@given(path=st.sampled_from(PATHS_OF_PLAN), value=VALUES, deletes=st.booleans())
def test_edited_plan_is_refused_or_reads_the_same(path: tuple[Any, ...], value: Any, deletes: bool) -> None:
    plan = copy.deepcopy(sealed_plan())
    *parents, key_to_edit = path
    part: Any = plan
    for key in parents:
        part = part[key]
    if deletes:
        del part[key_to_edit]
    else:
        part[key_to_edit] = value
    edited = read(plan)
    assert edited.fault or edited == read()
    if edited.fault:
        case = Case(edited.bound(hosts()[0]), entry(), Standing(FREE))
        (stopped_case,) = edited.checked([case], EMPTY_LEDGER, NOW)
        assert stopped_case.standing.reason.startswith(("Plan 7f3a is refused: ", "The plan is refused: "))


# Differences from the plan


@pytest.mark.parametrize(
    ("declared", "fault"),
    [
        (hosts(), ""),
        (hosts(lease="480m"), ""),
        (
            hosts(lease="470m"),
            "provision_lease of gpu-1 was 8h when it was quoted, and is 470m now (does this run lack a variable of the"
            " quote?)",
        ),
        (hosts(lease=""), "provision_lease of gpu-1 was 8h when it was quoted, and is the default now"),
        (
            hosts(max_price_per_hour=9),
            "provision_max_price_per_hour of gpu-1 was 4.0 when it was quoted, and is 9.0 now",
        ),
        (hosts(max_bill=0), "provision_max_bill of gpu-1 was the default when it was quoted, and is 0.0 now"),
        (hosts(budget=99), "provision_budget of gpu-1 was the default when it was quoted, and is 99.0 now"),
        (hosts(offer_id=Y), f"provision_offer_id of gpu-1 was the default when it was quoted, and is {Y} now"),
        (
            hosts(storage_on_end="end"),
            "provision_storage_on_end of gpu-1 was the default when it was quoted, and is end",
        ),
        (hosts(project="red"), "provision_project of gpu-1 was the default when it was quoted, and is red now"),
        (hosts(protect=True), "provision_protect of gpu-1 was the default when it was quoted, and is True now"),
        (
            hosts(spec={"compute": {"gpu_type": "L4", "gpu_count": 1}}),
            "it has gpu_type nvidia-h100-sxm5-80gb instead of L4 for gpu-1",
        ),
        (hosts(spec={"compute": {"gpu_type": "H100", "gpu_count": 8}}), ""),  # the count of a cluster is ambiguous
        (hosts()[:1], "this run leaves out gpu-2"),
        ([*hosts(), host("gpu-3")], "this run is also for gpu-3"),
        ([host("gpu-3"), *hosts()[1:]], "this run leaves out gpu-1 and is also for gpu-3"),
        (
            [replace(item, registry=SharedProject("default")) for item in hosts()],
            "the registry of gpu-1 was files when it was quoted, and is shared:default now",
        ),
    ],
)
def test_changed_term_search_or_host_is_a_fault(declared: list[Declaration], fault: str) -> None:
    actual_fault = read(declared=declared).fault
    assert actual_fault.startswith(fault) and bool(actual_fault) == bool(fault)


def test_offer_in_provision_offer_id_need_not_match_search() -> None:
    declared = hosts(offer_id=X, spec={"compute": {"gpu_type": "L4", "gpu_count": 1}})
    assert not read(sealed_plan(declared), declared).fault


def test_other_account_is_a_fault() -> None:
    assert read(account="other").fault == "it was quoted for another account or api_url"


def test_further_round_may_leave_out_hosts() -> None:
    plan = SealedPlan.of(sealed_plan(), TOKEN)
    assert not plan.compared(hosts()[:1], ACCOUNT, further=True).fault
    assert plan.compared([host("gpu-3")], ACCOUNT, further=True).fault


def test_bound_limits_host_to_sealed_offer_price_and_order() -> None:
    first, second = map(read().bound, hosts())
    assert (first.offer_id, first.max_price_per_hour, first.quoted_price_per_hour) == (X, 2.0, 2.0)
    assert (first.plan_number, first.sealed_order, first.advice) == ("7f3a", ORDER, "Make a new quote.")
    assert [item["name"] for item in first.quoted_offer["storage_details"]] == ["data"]
    assert (second.offer_id, second.sealed_order) == (Y, {})
    faulty_plan = read(declared=hosts(lease="9h"))
    assert faulty_plan.bound(hosts()[0]).plan_number == ""
    assert not (first.adopt or second.adopt), "a plan does not let hosts adopt machines"


# Plans that are used up


OWNS_Y = Standing(READY, Y, (machine_id(2),), 3.0)
OWNS_X = Standing(READY, X, (machine_id(1),), 2.0)
OTHER = offer_id(3)
ENDED = Bill("default", "gpu-1", X, end=NOW + 60)


def cases(first: Standing, second: Standing = OWNS_Y, own_entry: Entry | None = None) -> list[Case]:
    """The plan's hosts with these standings. ``own_entry``: of the first host."""
    buyer, owner = map(read().bound, hosts())
    return [Case(buyer, own_entry or entry(), first), Case(owner, entry(Y, [machine_id(2)], "made"), second)]


@pytest.mark.parametrize(
    ("first", "second", "own_entry", "bills", "now", "reason"),
    [
        pytest.param(FREE, OWNS_Y, None, (), NOW, "", id="not bought yet"),
        pytest.param(FREE, OWNS_Y, None, (), HOLDS + 1, "its first offer held until", id="expired"),
        pytest.param(OWNS_X, OWNS_Y, None, (), HOLDS + 1, "", id="repeated while machines exist"),
        pytest.param(Standing(OPEN, X), OWNS_Y, entry(X, purchase="sent"), (), HOLDS + 1, "", id="killed and repeated"),
        pytest.param(
            Standing(OPEN, Y), OWNS_Y, entry(Y, purchase="sent"), (), NOW, "gpu-1 has offer", id="other offer open"
        ),
        pytest.param(Standing(READY, Y), OWNS_Y, None, (), NOW, "gpu-1 has offer", id="other offer bought"),
        pytest.param(FREE, OWNS_Y, None, (ENDED,), NOW, "it is used up", id="machine ended"),
        pytest.param(FREE, OWNS_Y, None, (ENDED,), HOLDS + 1, "it is used up", id="machine ended, expired"),
        pytest.param(
            FREE,
            OWNS_Y,
            entry(X, [machine_id(1)], "made"),
            (),
            NOW,
            "it is used up",
            id="entry says made, machine ended",
        ),
        pytest.param(FREE, OWNS_Y, entry(X, purchase="refused"), (), NOW, "", id="refused, tried again"),
        pytest.param(
            FREE, OWNS_Y, entry(OTHER, [machine_id(3)], "made"), (), NOW, "", id="machine of other offer ended"
        ),
        pytest.param(FREE, OWNS_Y, None, (ENDED._replace(offer_id=OTHER),), NOW, "", id="bill of other offer ended"),
        pytest.param(FREE, OWNS_Y, None, (ENDED._replace(offer_id=Y, end=None),), NOW, "", id="owned machine runs"),
        pytest.param(OWNS_X, FREE, None, (), NOW, "gpu-2 had offer", id="owned machine gone"),
        pytest.param(OWNS_X, Standing(OPEN, Y), None, (), NOW, "gpu-2 had offer", id="owned offer for sale again"),
        pytest.param(OWNS_X, OWNS_Y, None, (ENDED,), NOW, "", id="ledger counts only for buyers"),
    ],
)
def test_used_expired_or_different_plan_is_refused(
    first: Any, second: Any, own_entry: Any, bills: Any, now: float, reason: str
) -> None:
    standings = [Standing(item) if isinstance(item, HostState) else item for item in (first, second)]
    before = cases(*standings, own_entry=own_entry)
    checked = read().checked(before, Ledger(bills, NOW), now)
    if not reason:
        assert checked == before
        return
    for case, case_before in zip(checked, before, strict=True):
        refusal = case.standing.reason
        assert refusal.startswith(f"Plan 7f3a is refused: {reason}") and "Make a new quote." in refusal
        assert not case.buys and not case.standing.owns
        assert (f"{case_before.host.host} keeps" in refusal) == case_before.standing.owns


def test_bound_host_buys_its_quoted_offer_instead_of_adopting() -> None:
    declared = hosts(adopt=True)
    buyer, owner = map(read(sealed_plan(declared), declared).bound, declared)
    assert (buyer.adopt, owner.adopt) == (False, True)


def test_ledgers_are_read_only_for_new_purchases() -> None:
    buying, owning = cases(Standing(FREE)), cases(OWNS_X)
    assert read().places(buying) == {buying[0].host.registry}
    assert read().places(owning) == replace(read(), fault="it was changed").places(buying) == set()


def test_plan_is_refused_if_ledger_is_unreadable() -> None:
    (case, _other) = read().checked(cases(Standing(FREE)), Ledger((), NOW, unreadable="It is broken."), NOW)
    assert "it may be used up: It is broken." in case.standing.reason


def test_refused_plan_keeps_reason_why_host_stops() -> None:
    billed = "A machine of that name runs, USD 2.00 per hour."
    before = cases(Standing(HostState.STOP, reason=billed))
    (first, _second) = replace(read(), fault="it was changed since it was sealed").checked(before, EMPTY_LEDGER, NOW)
    (host_plan,) = host_plans([first], lambda _host: SearchResult(), {})
    assert (host_plan.action, host_plan.refusal) == (
        "stop",
        f"Plan 7f3a is refused: it was changed since it was sealed. Make a new quote. Nothing was sent. {billed}",
    )


def test_refused_plan_stops_all_hosts_and_names_their_machines() -> None:
    checked = replace(read(), fault="it was changed since it was sealed").checked(cases(OWNS_X), EMPTY_LEDGER, NOW)
    assert [case.standing.kind for case in checked] == [HostState.STOP] * 2
    assert checked[0].standing.reason.endswith(f"gpu-1 keeps {machine_id(1)}, USD 2.00 per hour.")


def test_refused_plan_names_open_purchase_that_may_be_billed() -> None:
    before = cases(Standing(OPEN, X, price_per_hour=2.0), own_entry=entry(X, purchase="sent"))
    (first, _second) = replace(read(), fault="it was changed since it was sealed").checked(before, EMPTY_LEDGER, NOW)
    assert f"A purchase of offer {X} was sent for gpu-1 before, and its outcome is not known." in first.standing.reason
