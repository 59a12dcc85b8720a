# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage in offers, in purchases, and after the end of machines: its price, its ids, and messages about it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import (
    candidates,
    ceilings,
    planning,
    rows,
    sealed,
    storage,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ending import (
    Action,
    ApiView,
    EndRequest,
    what_ends,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry, read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.judging import JudgedHost
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import bills_of, line_of_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account, noted_claim
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import BUY, STOP, WAIT, Plan
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import Verdict
from ansible_collections.compute_index.supply.plugins.module_utils._provision.quote import quoted
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sealed import SealedPlan
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Ledger
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import (
    standing_of,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import (
    STORAGE,
    STORAGE_IDS,
    Storage,
    kept_warning,
    storage_in_words,
    storage_of,
)
from ansible_collections.compute_index.supply.plugins.module_utils._text import seconds_of
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import declared, entry, host, machine, machine_id, offer, offer_id, planned

OFFER, MACHINE, VOLUME, OLDER = offer_id(1), machine_id(1), machine_id(2), machine_id(3)
NOW = seconds_of("2026-02-10T00:00:00Z") or 0.0
MADE = {"outcome": "created", "resource_ids": [MACHINE]}
UNPRICED = {**machine(2, "data", OFFER, kind="storage"), "resource_id": VOLUME, "price_per_hour": None}


def disk(hourly_cost: Any = 0.05, **fields: Any) -> dict[str, Any]:
    """Storage as an offer describes it."""
    sold = {"name": "data", "type": "block_disk", "size_gb": 500, "hourly_cost": hourly_cost, "persistent": True}
    return {**sold, "monthly_cost": 36.5, **fields}


def kept(**fields: Any) -> Storage:
    """Storage of a machine that has ended."""
    return Storage(OLDER, "old", **{"price_per_hour": 0.25, "kept_since": "2026-11-01T00:00:00Z", **fields})


# The price of storage


@pytest.mark.parametrize(
    ("own", "details", "price"),
    [
        (None, [disk(0.05)], 0.05),
        (None, [disk("0.05")], 0.05),
        (None, [disk(0.05), disk(0.2), disk(0.1)], 0.2),
        (0.01, [disk(0.05)], 0.01),
        (0.0, [disk(0.05)], 0.0),
        (None, [disk(0.05), disk(9.0, persistent=False)], 0.05),
        (None, [disk(0.05), disk(9.0, persistent="false"), disk(8.0, persistent=None)], 0.05),
        (None, [disk(0.05, persistent="true")], 0.05),
        # What is not known of one of them may be the highest.
        (None, [disk(0.05), disk(None)], None),
        (None, [disk(0.05), disk("much")], None),
        (None, [disk(-1)], None),
        (None, [disk(0)], None),
        (None, [], None),
        (None, None, None),
        (None, "500 GB", None),
        (None, ["500 GB", None], None),
    ],
)
def test_storage_without_a_price_has_the_highest_of_its_offer(own: Any, details: Any, price: float | None) -> None:
    resource = {**UNPRICED, "price_per_hour": own}
    bought = {**offer(1), "storage_details": details}
    assert storage_of(resource, OFFER, bought).price_per_hour == price
    # The registry keeps of the offer what that needs.
    assert storage_of(resource, OFFER, storage.noted_offer(bought)).price_per_hour == price


def test_the_registry_keeps_of_an_offer_only_storage_that_survives() -> None:
    brought = storage.noted_offer({**offer(1), "storage_details": [disk(), disk(persistent=False)]})["storage_details"]
    assert brought == [{key: item for key, item in disk().items() if key != "monthly_cost"}]
    assert "storage_details" not in storage.noted_offer({**offer(1), "storage_details": [disk(persistent=False)]})


@pytest.mark.parametrize(
    ("shown", "noted", "cost"),
    [
        ({}, {"storage_details": [disk(0.05)]}, 0.05),
        ({"storage_details": None}, {"storage_details": [disk(0.05)]}, 0.05),
        ({"storage_details": [disk(0.2)]}, {"storage_details": [disk(0.05)]}, 0.2),
        ({"storage_details": [disk(0.2)]}, {}, 0.2),
        ({}, {}, None),
    ],
)
def test_a_purchase_that_is_open_keeps_what_was_noted_of_its_offer(
    shown: dict[str, Any], noted: dict[str, Any], cost: float | None
) -> None:
    """The next run reads the offer's own page, which may leave its storage out."""
    known = entry(OFFER, purchase="sent", provision_offer=noted)
    its = host()
    stands = standing_of(its, known, {"phase": "unbought"}, Account.of([], []))
    found = {OFFER: candidates.SearchResult([{**offer(1), **shown}])}
    (draft,) = planning.host_plans(
        [candidates.Case(its, known, stands)], lambda _host: candidates.SearchResult(), found
    )
    assert draft.action == BUY
    assert [item["hourly_cost"] for item in storage.persistent_storage(draft.offer)] == ([cost] if cost else [])


@pytest.mark.parametrize(("shown", "cost"), [({}, 0.05), ({"storage_details": [disk(0.2)]}, 0.2)])
def test_a_sealed_plan_keeps_the_storage_of_its_quote(shown: dict[str, Any], cost: float) -> None:
    """A quote publishes it, and the purchase reads the offer's own page, which may leave it out."""
    sold = {**offer(1), "storage_details": [disk(0.05), disk(9.0, persistent=False)]}
    quote = quoted([Plan("gpu-1", BUY, OFFER, sold, price_per_hour=2.0)], "")["ansible_stats"]["data"]["quote"]
    plan = sealed.draft(quote, [host()], "", "1", 0.0)
    its = SealedPlan.of(sealed.sealed_with_orders(plan, {"gpu-1": {"token": "t"}}, "t"), "t").bound(host())
    found = {OFFER: candidates.SearchResult([{**offer(1), **shown}])}
    case = candidates.Case(its, entry(), standing_of(its, entry(), None, Account.of([], [])))
    (draft,) = planning.host_plans([case], lambda _host: candidates.SearchResult(), found)
    assert draft.action == BUY
    assert [item["hourly_cost"] for item in storage.persistent_storage(draft.offer)] == [cost]


def test_purchase_and_end_take_the_price_of_the_offer() -> None:
    listed = {MACHINE: {**machine(1, "gpu-1", OFFER), "resource_id": MACHINE}, VOLUME: UNPRICED}
    sold = {"storage_details": [disk(0.05)]}
    known = entry(OFFER, [MACHINE], "made", provision_offer=sold)
    purchase = {**MADE, "resource_ids": [MACHINE, VOLUME]}
    for plan, noted in ((planned(offer=sold), entry(OFFER)), (planned(action=WAIT), known)):
        case = JudgedHost(plan, purchase, {}, noted, has_entry=True, listed=listed)
        assert [item.price_per_hour for item in case.storage] == [0.05], plan
    account = Account.of([noted_claim("gpu-1", known)], listed.values())
    ends = what_ends(EndRequest("gpu-1", "gpu-1", known), ApiView(account))
    assert ends.action is Action.END and [item.price_per_hour for item in ends.storage] == [0.05]


PRICES = st.one_of(st.none(), st.integers(0, 10**8).map(lambda millionths: millionths / 1e6), st.just("much"))


@given(PRICES, st.lists(PRICES, max_size=4))
def test_no_price_is_made_up_and_none_is_too_low(own: Any, costs: list[Any]) -> None:
    price = storage_of({**UNPRICED, "price_per_hour": own}, OFFER, {"storage_details": list(map(disk, costs))})
    if own is None and price.price_per_hour is not None:
        assert price.price_per_hour in costs and all(cost <= price.price_per_hour for cost in costs)


@pytest.mark.parametrize("price", [0.05, None])
def test_a_ceiling_of_the_account_counts_the_noted_price_and_names_storage_of_an_unknown_one(
    price: float | None,
) -> None:
    own = Storage(VOLUME, "data", OFFER, price)
    live = read_entry({**_made(), STORAGE: [own.variables]})
    stray = read_entry(kept(price_per_hour=price).entry("gpu-1"))
    listed = [{**machine(1, "gpu-1", OFFER), "resource_id": MACHINE}, UNPRICED, {**UNPRICED, "resource_id": OLDER}]
    account = ceilings.account_prices(listed, [("gpu-1", live), ("gpu-1 (storage)", stray)], ())
    assert sorted(str(part.cost) for part in account.registered) == sorted(map(str, [2.0 + (price or 0.0), price]))
    refusal = ceilings.account_refusal(100.0, account, [])
    assert bool(refusal) is (price is None) and ("gpu-1 (storage)" in refusal or price is not None)


def test_only_storage_without_a_price_takes_the_noted_one() -> None:
    noted = [Storage(VOLUME, price_per_hour=0.05), Storage(MACHINE, price_per_hour=9.0), kept(price_per_hour=None)]
    listed = [
        {**machine(1), "resource_id": MACHINE, "price_per_hour": None},
        UNPRICED,
        {**UNPRICED, "resource_id": OLDER},
    ]
    assert [item["price_per_hour"] for item in storage.with_noted_prices(listed, noted)] == [None, 0.05, None]
    (own,) = storage.with_noted_prices([{**UNPRICED, "resource_id": VOLUME.upper(), "price_per_hour": 0.01}], noted)
    assert own["price_per_hour"] == 0.01


@pytest.mark.parametrize(
    ("prices", "earlier", "stays"),
    [((), 0, 0.0), ((0.05, 0.2), 0, 0.25), ((0.05, None), 0, None), ((0.05,), 1, 0.05), ((), 1, 0.0)],
)
def test_the_ledger_has_what_goes_on_after_a_lease(
    prices: tuple[float | None, ...], earlier: int, stays: float | None
) -> None:
    """Kept storage is a purchase of its own."""
    own = [Storage(machine_id(10 + number), price_per_hour=price) for number, price in enumerate(prices)]
    known = read_entry({**_made(), STORAGE: [item.variables for item in (*own, *[kept()] * earlier)]})
    (bill,) = bills_of(filter(None, [line_of_entry("gpu-1", known)]))
    assert bill.stays_per_hour == known.stays_per_hour == stays
    (bill,) = bills_of(filter(None, [line_of_entry("gpu-1", read_entry(kept().entry("gpu-1")))]))
    assert (bill.price_per_hour, bill.stays_per_hour) == (0.25, 0.0)


@pytest.mark.parametrize(
    ("lease", "details", "begin"),
    [
        ("1h", [disk(10.0)], "The month"),
        ("1h", [disk(None)], ""),
        ("1h", [disk(10.0, persistent=False)], None),
        ("1h", [], None),
    ],
)
def test_a_budget_counts_storage_until_the_month_is_over(lease: str, details: list[Any], begin: str | None) -> None:
    """USD 30 a month: an hour of the machine costs 2, a day of its storage 240."""
    its = host(lease=lease, budget=30, max_price_per_hour="unlimited")
    case = candidates.Case(its, entry(), standing_of(its, entry(), None, Account.of([], [])))
    found = candidates.SearchResult([{**offer(1), "storage_details": details}])
    moment = seconds_of("2026-02-27T00:00:00Z") or 0.0
    spent = {"default": Ledger((), moment)}
    (draft,) = planning.host_plans([case], lambda _host: found, {}, now=moment, ledgers=spent)
    assert (draft.action == BUY) is (begin is None), draft.refusal
    assert begin is None or (draft.refusal.startswith(begin) and "gpu-1" in draft.refusal)


def _made() -> dict[str, Any]:
    return {
        "provision_procured_offer_id": OFFER,
        "provision_purchase": "made",
        "provision_resource_ids": [MACHINE],
        "provision_price_per_hour": 2.0,
    }


# What people read


def test_a_quote_names_storage_once_for_the_hosts_that_would_get_it() -> None:
    bought = {**offer(1), "storage_details": [disk()]}
    twice = {**offer(2), "storage_details": [disk(), disk(), disk(None, name=None, size_gb="1000", type="filesystem")]}
    offers = {"gpu-1": bought, "gpu-2": bought, "gpu-3": bought, "big": twice, "none": offer(3)}
    assert storage.offer_lines("Storage:", offers) == [
        "Storage:",
        "  gpu-[1:3]: data, 500 GB block_disk, USD 0.05 per hour",
        "  big: 2 x data, 500 GB block_disk, USD 0.05 per hour",
        "  big: 1000 GB filesystem, an unknown price",
    ]
    assert storage.offer_lines("Storage:", {"gpu-1": offer(1)}) == storage.offer_lines("Storage:", {}) == []


def test_words_of_the_api_fill_no_terminal() -> None:
    (_head, line) = storage.offer_lines("", {"gpu-1": {"storage_details": [disk(name="x" * 500 + "\x1b[2J")]}})
    assert len(line) < 120 and "\x1b" not in line


@pytest.mark.parametrize("ends", [False, True])
def test_storage_that_ends_with_its_machine_costs_a_month_no_more_after_the_lease(ends: bool) -> None:
    its = host(lease="1h", budget=30, storage_on_end="end" if ends else "keep")
    assert its.ends_storage is ends
    sold = {**offer(1), "storage_details": [disk(1.0)]}
    cases = [candidates.Case(its, entry(), standing_of(its, entry(), None, Account.of([], [])))]
    drafts = planning.host_plans(
        cases, lambda _host: candidates.SearchResult([sold]), {}, now=NOW, ledgers={"default": Ledger((), NOW)}
    )
    assert (drafts[0].action, drafts[0].stays_per_hour) == (BUY if ends else STOP, 0.0 if ends else 1.0)


END = (
    "To end storage, with its data: compute_index.supply.decommission"
    " -e decommission_hosts=gpu-1 -e decommission_storage=end."
)


def test_a_host_that_buys_again_reads_what_it_still_has() -> None:
    text = kept_warning("gpu-1", [kept(vendor="nebius", region="eu-north1")])
    assert text.startswith(
        "gpu-1 still has storage of an earlier machine, which is billed until you end it: old"
        f" {OLDER}, USD 0.25 per hour (nebius eu-north1). We do not know how the API attaches it"
    )
    assert text.endswith(END)
    assert kept_warning("gpu-1", []) == ""


def test_only_hosts_that_would_buy_read_it() -> None:
    cases = [_case(entry()), _case(entry(OFFER, [MACHINE], "made"))]
    texts = planning.warnings_of_kept_storage(cases, [Plan("gpu-1", BUY, OFFER, offer(1)), Plan("gpu-1", WAIT)])
    assert len(texts) == 1 and OLDER in texts[0]


def _case(known: Entry) -> candidates.Case:
    its = host()
    return candidates.Case(its, known, standing_of(its, known, {"phase": "ready"}, Account.of([], [])), (), (kept(),))


# A host's variables


def test_a_host_that_runs_on_has_the_ids_of_all_its_storage() -> None:
    own = Storage(VOLUME, "data", OFFER, 0.05)
    case = JudgedHost(
        planned(keeps=[kept().variables]),
        MADE,
        {"phase": "ready", "ready": True, "resource_ids": [MACHINE], "connections": [_CONNECTION]},
        entry(OFFER, [MACHINE], "made", **{STORAGE: [own.variables]}),
        has_entry=True,
    )
    assert case.facts()[STORAGE_IDS] == [VOLUME, OLDER]
    # The entry names its own alone; what it has kept is noted elsewhere.
    assert case.noted(Verdict.READY)[STORAGE_IDS] == [VOLUME]


_CONNECTION = {"resource_id": MACHINE, "ansible_host": "203.0.113.7", "ansible_port": 22, "ansible_user": "root"}


@pytest.mark.parametrize(("own", "earlier", "ids"), [(1, 1, [VOLUME, OLDER]), (0, 1, [OLDER]), (0, 0, None)])
def test_so_has_one_of_a_shared_registry(own: int, earlier: int, ids: Any) -> None:
    noted = {STORAGE: [Storage(VOLUME, "data", OFFER, 0.05).variables] * own}
    known = read_entry({**_made(), **noted, "provision_instances": [_CONNECTION], **_CONNECTION})
    its = declared("shared:default")
    status = {"phase": "ready", "ready": True, "resource_ids": [MACHINE], "connections": [_CONNECTION]}
    stands = standing_of(its, known, status, Account.of([], None))
    case = candidates.Case(its, known, stands, (), (kept(),) * earlier)
    assert (
        rows.keep_if_as_registered(case, Plan("gpu-1", WAIT, OFFER), status, "known_hosts").facts.get(STORAGE_IDS)
        == ids
    )


# What is given back


@pytest.mark.parametrize("earlier", [True, False])
def test_what_ended_says_which_storage_stays(earlier: bool) -> None:
    own = Storage(VOLUME, "data", OFFER, 0.05)
    failed = {"phase": "failed", "resource_ids": [MACHINE]}
    known = entry(OFFER, [MACHINE], "made", **{STORAGE: [own.variables]})
    case = JudgedHost(planned(keeps=[kept().variables] if earlier else []), MADE, failed, known, has_entry=True)
    named = f"data {VOLUME}, USD 0.05 per hour" + (f"; old {OLDER}, USD 0.25 per hour" if earlier else "")
    text = f"gpu-1 keeps its storage, which is billed until you end it: {named}. {END}"
    assert case.given_back == f"It has ended. {text}"
    stop = case.failure(case.attempt(released=True), [OFFER])
    assert text in stop and "Nothing is billed" not in stop


def test_without_storage_nothing_is_billed() -> None:
    case = JudgedHost(planned(), MADE, {"phase": "failed"}, entry(OFFER, [MACHINE], "made"), has_entry=True)
    assert case.given_back == "It has ended." and storage_in_words("gpu-1", ()) == ""
    assert "Nothing is billed for gpu-1." in case.failure(case.attempt(released=True), [OFFER])


def test_a_host_without_an_offer_says_what_it_still_has() -> None:
    tried = [{"offer_id": OFFER, "outcome": "created", "msg": "It failed."}]
    case = candidates.Case(host(), entry(), standing_of(host(), entry(), None, Account.of([], [])), tried, (kept(),))
    (draft,) = planning.host_plans([case], lambda _host: candidates.SearchResult(), {})
    assert draft.action == STOP and storage.storage_in_words("gpu-1", [kept()]) in draft.refusal
    assert "Nothing is billed" not in draft.refusal
