# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sealed plan: bought as it stands, or refused with the difference."""

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
NOTHING = Ledger((), NOW)
READY, OPEN, FREE = HostState.READY, HostState.OPEN, HostState.FREE


def hosts(**fields: Any) -> list[Declaration]:
    """The two hosts of the plan, which have a lease and a ceiling."""
    return [host(name, **{"lease": "8h", "max_price_per_hour": 4, **fields}) for name in ("gpu-1", "gpu-2")]


def draft(*plans: Plan, declared: list[Declaration] | None = None) -> dict[str, Any]:
    """What a quote of these plans would seal: by default that gpu-1 buys an offer, and gpu-2 has one."""
    brings = [{"name": "data", "type": "disk", "persistent": True, "hourly_cost": 0.1}]
    buys = offer(1, expires_at=utc_rounded_up(HOLDS), storage_details=brings)
    its = plans or (
        Plan("gpu-1", BUY, X, buys, price_per_hour=2.0),
        Plan("gpu-2", KEEP, Y, price_per_hour=3),
    )
    quote = quoted(its, "", "plan.json")["ansible_stats"]["data"]["quote"]
    return sealed.draft(quote, declared or hosts(), ACCOUNT, "7f3a", NOW)


def written(**fields: Any) -> dict[str, Any]:
    """The plan as it was sealed."""
    return sealed.sealed_with_orders({**draft(), **fields}, {"gpu-1": ORDER}, TOKEN)


def read(plan: Any = None, declared: list[Declaration] | None = None, account: str = ACCOUNT) -> SealedPlan:
    """The plan as a run is given it that is for these hosts."""
    return SealedPlan.of(written() if plan is None else plan, TOKEN).compared(declared or hosts(), account)


def test_what_a_plan_says() -> None:
    plan = written()
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
def test_what_cannot_be_bought_is_not_sealed(plans: list[Plan], orders: Any) -> None:
    with pytest.raises(ValueError, match="no offer with a price for gpu-1, so no plan was written"):
        sealed.sealed_with_orders(draft(*plans), orders, TOKEN)


def test_a_plan_holds_as_long_as_an_offer_lives_if_the_api_does_not_say() -> None:
    plan = draft(Plan("gpu-1", BUY, X, offer(1), price_per_hour=2.0))
    assert plan["expires_at"] == utc_rounded_up(NOW + 1800)


# The price of a sealed plan: the one that its purchase compares


def sealed_by_pages(
    found: list[Any], pages: dict[str, SearchResult], *, attempts: int = 3, **fields: Any
) -> tuple[list[tuple[str, str, float | None]], list[str], list[str], list[str]]:
    """The plans of gpu-1 and gpu-2, which search: their actions, offers and prices; refusals; warnings; pages read."""
    read: list[str] = []

    def pages_of(ids: Any) -> dict[str, SearchResult]:
        read.extend(ids)
        return {
            each: pages.get(each, SearchResult([item for item in found if item["offer_id"] == each])) for each in ids
        }

    searching = [Case(replace(one, max_attempts=attempts), entry(), Standing(FREE)) for one in hosts(**fields)]
    find_plans = functools.partial(host_plans, searching, lambda one: SearchResult.of(one, [found]))
    plans, warnings = sealed.plans_at_page_prices(find_plans, searching, {}, pages_of)
    bought = [(plan.action, plan.offer_id, plan.price_per_hour) for plan in plans]
    return bought, [plan.refusal for plan in plans], warnings, read


def page(number: int, price: float | None, **fields: Any) -> dict[str, SearchResult]:
    return {offer_id(number): SearchResult([offer(number, price, **fields)])}


GONE = {X: SearchResult(reason="Offer has expired.", is_gone=True)}


NEXT = [(2, 2), (3, 3)]


@pytest.mark.parametrize(
    ("prices", "pages", "expected", "warned"),
    [
        pytest.param((2, 2), {}, [(1, 2), (2, 2)], "", id="a page like the search"),
        pytest.param((2, 2, 2, 2), page(1, 2.1) | page(2, 2.2), [(1, 2.1), (2, 2.2)], "", id="always dearer"),
        pytest.param((3, 3), page(1, 2), [(1, 3), (2, 3)], "", id="a cheaper page"),
        pytest.param((2, 2, 3), page(1, 4.5), NEXT, "", id="above the ceiling by its page"),
        pytest.param((2, 2, 3), page(1, None), NEXT, "names no price in USD", id="no price on its page"),
        pytest.param((2, 2, 3), GONE, NEXT, "Offer has expired.", id="gone"),
        pytest.param((2, 2, 3), page(1, 2, gpu_type="L4"), NEXT, "gpu_type L4 instead", id="another GPU by its page"),
    ],
)
def test_the_price_that_is_sealed_is_the_one_that_its_purchase_compares(
    prices: Any, pages: Any, expected: Any, warned: str
) -> None:
    found = [offer(number, price) for number, price in enumerate(prices, start=1)]
    bought, refusals, warnings, read = sealed_by_pages(found, pages)
    assert bought == [(BUY, offer_id(number), price) for number, price in expected], refusals
    assert len(read) == len(set(read)) == (3 if expected == NEXT else 2)
    assert len(warnings) == bool(warned)
    assert all(text.startswith(f"Offer {X} is not in the plan: ") and warned in text for text in warnings)


def test_an_offer_whose_page_cannot_be_read_is_not_sealed() -> None:
    pages = {X: SearchResult(reason="GET /offers: 503.")}
    (first, second), refusals, warnings, _read = sealed_by_pages([offer(1, 2.0), offer(2, 2.0), offer(3, 2.0)], pages)
    assert (first[:2], second) == (("stop", X), (BUY, Y, 2.0)) and warnings == []
    assert refusals[0] == (
        f"The page of offer {X} cannot be read, so its price is not certain and no plan was sealed: GET /offers: 503."
        " Make a new quote."
    )


def test_a_host_tries_as_many_pages_as_offers() -> None:
    found = [offer(number, 2.0) for number in range(1, 30)]
    dear = {key: value for number in range(1, 30) for key, value in page(number, 4.1).items()}
    bought, refusals, _warnings, read = sealed_by_pages(found, dear, attempts=2)
    assert [action for action, _offer, _price in bought] == ["stop"] * 2 and len(read) == 4
    assert refusals[1] == (
        "Offers were gone, or above a ceiling by their own pages, until no attempt (provision_max_attempts) was left."
        " So gpu-2 has no offer with a certain price, and no plan was sealed. Make a new quote."
    )


def test_the_ceiling_of_all_hosts_counts_the_prices_that_are_sealed() -> None:
    found = [offer(1, 2.0), offer(2, 2.0)]
    _bought, refusals, _warnings, _read = sealed_by_pages(found, page(1, 2.1), max_total_price_per_hour=4)
    assert "would cost USD 4.10 per hour together" in refusals[0]


def test_storage_that_only_the_offers_page_names_is_quoted_as_it_outlives_the_machine() -> None:
    data = {"name": "data", "type": "disk", "persistent": True, "hourly_cost": 0.1}
    pages = {X: SearchResult([offer(1, 2.1, storage_details=[data])])}
    searching = [Case(hosts()[0], entry(), Standing(FREE))]
    plan = draft(*host_plans(searching, lambda one: SearchResult.of(one, [[offer(1)]]), pages))
    assert plan["hosts"]["gpu-1"]["storage"] == [data]
    assert plan["summary"].startswith("gpu-1: USD 2.10 per hour, ")
    assert plan["summary"].endswith("; storage outlives them, USD 0.10 per hour")


# The seal


def test_a_plan_stays_itself_on_its_way() -> None:
    assert read(json.loads(json.dumps(written(), indent=1))) == read() and not read().fault


@pytest.mark.parametrize("digest", [None, "", "ü", "0" * 64, 7])
def test_a_wrong_digest_is_refused(digest: Any) -> None:
    assert "it was changed since it was sealed" in read({**written(), "digest": digest}).fault
    assert "it was changed since it was sealed" in SealedPlan.of(written(), "another token").fault


def fields_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all fields of a plan."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*path, key)
        yield from fields_of(part, (*path, key))


PATHS = list(fields_of(written()))
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


@given(path=st.sampled_from(PATHS), value=VALUES, takes_out=st.booleans())
def test_whatever_is_edited_is_refused_or_buys_the_same(path: tuple[Any, ...], value: Any, takes_out: bool) -> None:
    plan = copy.deepcopy(written())
    *above, last = path
    part: Any = plan
    for key in above:
        part = part[key]
    if takes_out:
        del part[last]
    else:
        part[last] = value
    found = read(plan)
    assert found.fault or found == read()
    if found.fault:
        case = Case(found.bound(hosts()[0]), entry(), Standing(FREE))
        (stopped,) = found.checked([case], NOTHING, NOW)
        assert "lan 7f3a is refused" in stopped.standing.reason or "The plan is refused" in stopped.standing.reason


# What differs


@pytest.mark.parametrize(
    ("declared", "fault"),
    [
        (hosts(), ""),
        (hosts(lease="480m"), ""),
        (hosts(lease="470m"), "provision_lease of gpu-1 was 8h when it was quoted, and is 470m now"),
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
        (hosts(spec={"compute": {"gpu_type": "H100", "gpu_count": 8}}), ""),  # a cluster's may be counted in any way
        (hosts()[:1], "this run leaves out gpu-2"),
        ([*hosts(), host("gpu-3")], "this run is also for gpu-3"),
        ([host("gpu-3"), *hosts()[1:]], "this run leaves out gpu-1 and is also for gpu-3"),
        (
            [replace(one, registry=SharedProject("default")) for one in hosts()],
            "the registry of gpu-1 was files when it was quoted, and is shared:default now",
        ),
    ],
)
def test_each_difference_is_a_sentence(declared: list[Declaration], fault: str) -> None:
    found = read(declared=declared).fault
    assert found.startswith(fault) and bool(found) == bool(fault)


def test_another_account_is_a_difference() -> None:
    assert read(account="other").fault == "it was quoted for another account or api_url"


def test_in_a_further_round_some_of_the_hosts_are_enough() -> None:
    plan = SealedPlan.of(written(), TOKEN)
    assert not plan.compared(hosts()[:1], ACCOUNT, further=True).fault
    assert plan.compared([host("gpu-3")], ACCOUNT, further=True).fault


def test_a_host_may_buy_only_what_the_plan_has_for_it() -> None:
    first, second = map(read().bound, hosts())
    assert (first.offer_id, first.max_price_per_hour, first.quoted_price_per_hour) == (X, 2.0, 2.0)
    assert (first.plan_number, first.sealed_order, first.advice) == ("7f3a", ORDER, "Make a new quote.")
    assert [item["name"] for item in first.quoted_offer["storage_details"]] == ["data"]
    assert (second.offer_id, second.sealed_order) == (Y, {})
    refused = read(declared=hosts(lease="9h"))
    assert refused.bound(hosts()[0]).plan_number == ""


# What became of it


OWNED = Standing(READY, Y, (machine_id(2),), 3.0)
BOUGHT = Standing(READY, X, (machine_id(1),), 2.0)
ENDED = Bill("default", "gpu-1", X, end=NOW + 60)


def cases(first: Standing, second: Standing = OWNED, noted: Entry | None = None) -> list[Case]:
    """The hosts of the plan where they stand."""
    one, other = map(read().bound, hosts())
    return [Case(one, noted or entry(), first), Case(other, entry(Y, [machine_id(2)], "made"), second)]


@pytest.mark.parametrize(
    ("first", "second", "noted", "bills", "now", "reason"),
    [
        pytest.param(FREE, OWNED, None, (), NOW, "", id="nothing is bought yet"),
        pytest.param(FREE, OWNED, None, (), HOLDS + 1, "its first offer held until", id="too late"),
        pytest.param(BOUGHT, OWNED, None, (), HOLDS + 1, "", id="repeated while its machines exist"),
        pytest.param(Standing(OPEN, X), OWNED, entry(X, purchase="sent"), (), HOLDS + 1, "", id="killed and repeated"),
        pytest.param(
            Standing(OPEN, Y), OWNED, entry(Y, purchase="sent"), (), NOW, "gpu-1 has offer", id="another is open"
        ),
        pytest.param(Standing(READY, Y), OWNED, None, (), NOW, "gpu-1 has offer", id="another was bought"),
        pytest.param(FREE, OWNED, None, (ENDED,), NOW, "it is used up", id="its machine has ended"),
        pytest.param(FREE, OWNED, None, (ENDED,), HOLDS + 1, "it is used up", id="long ago"),
        pytest.param(FREE, OWNED, entry(X, [machine_id(1)], "made"), (), NOW, "it is used up", id="this run learns it"),
        pytest.param(FREE, OWNED, entry(X, purchase="refused"), (), NOW, "", id="it was refused, and is tried again"),
        pytest.param(BOUGHT, FREE, None, (), NOW, "gpu-2 had offer", id="what a host had is gone"),
        pytest.param(
            BOUGHT, Standing(OPEN, Y), None, (), NOW, "gpu-2 had offer", id="what a host had is on sale again"
        ),
        pytest.param(BOUGHT, OWNED, None, (ENDED,), NOW, "", id="only those that would buy ask the ledger"),
    ],
)
def test_a_plan_is_bought_once(first: Any, second: Any, noted: Any, bills: Any, now: float, reason: str) -> None:
    stands = [Standing(item) if isinstance(item, HostState) else item for item in (first, second)]
    before = cases(*stands, noted=noted)
    found = read().checked(before, Ledger(bills, NOW), now)
    if not reason:
        assert found == before
        return
    for case, known in zip(found, before, strict=True):
        refusal = case.standing.reason
        assert refusal.startswith(f"Plan 7f3a is refused: {reason}") and "Make a new quote." in refusal
        assert not case.buys and not case.standing.owns
        assert (f"{known.host.host} keeps" in refusal) == known.standing.owns


def test_what_a_plan_quotes_is_bought_and_not_taken_over() -> None:
    declared = hosts(adopt=True)
    one, other = map(read(written_for(declared), declared).bound, declared)
    assert (one.adopt, other.adopt) == (False, True)


def written_for(declared: list[Declaration]) -> dict[str, Any]:
    """The plan of a quote for these hosts, sealed."""
    return sealed.sealed_with_orders(draft(declared=declared), {"gpu-1": ORDER}, TOKEN)


def test_a_ledger_that_cannot_be_read_may_say_that_the_plan_is_used_up() -> None:
    (case, _other) = read().checked(cases(Standing(FREE)), Ledger((), NOW, unreadable="It is broken."), NOW)
    assert "whether it is used up is not known: It is broken." in case.standing.reason


def test_a_refused_plan_hides_no_machine_for_which_a_host_stops() -> None:
    billed = "A machine of that name runs, USD 2.00 per hour."
    before = cases(Standing(HostState.STOP, reason=billed))
    (first, _second) = replace(read(), fault="it was changed since it was sealed").checked(before, NOTHING, NOW)
    (draft,) = host_plans([first], lambda _host: SearchResult(), {})
    assert (draft.action, draft.refusal) == (
        "stop",
        f"Plan 7f3a is refused: it was changed since it was sealed. Make a new quote. Nothing was sent. {billed}",
    )


def test_a_refused_plan_stops_all_hosts_and_says_what_they_keep() -> None:
    found = replace(read(), fault="it was changed since it was sealed").checked(cases(BOUGHT), NOTHING, NOW)
    assert [case.standing.kind for case in found] == [HostState.STOP] * 2
    assert found[0].standing.reason.endswith(f"gpu-1 keeps {machine_id(1)}, USD 2.00 per hour.")
