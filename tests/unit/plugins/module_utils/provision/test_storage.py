# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage in offers, in purchases, and after the end of machines: prices, ids, and messages."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import (
    ceilings,
    planning,
    rows,
    sealed,
    storage,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import Case, SearchResult
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import Declaration
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
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import standing_of
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
    """Storage in an offer."""
    documented = {"name": "data", "type": "block_disk", "size_gb": 500, "hourly_cost": hourly_cost, "persistent": True}
    return {**documented, "monthly_cost": 36.5, **fields}


def kept_storage(**fields: Any) -> Storage:
    """Storage of a machine that has ended."""
    return Storage(OLDER, "old", **{"price_per_hour": 0.25, "kept_since": "2026-11-01T00:00:00Z", **fields})


def free_case(declaration: Declaration, *attempts: dict[str, Any], **fields: Any) -> Case:
    """A host without a registry entry, on an account without machines."""
    standing = standing_of(declaration, entry(), None, Account.of([], []))
    return Case(declaration, entry(), standing, attempts, **fields)


# The price of storage


@pytest.mark.parametrize(
    ("own_price", "details", "price"),
    [
        (None, [disk(0.05)], 0.05),
        (None, [disk("0.05")], 0.05),
        (None, [disk(0.05), disk(0.2), disk(0.1)], 0.2),
        (0.01, [disk(0.05)], 0.01),
        (0.0, [disk(0.05)], 0.0),
        (None, [disk(0.05), disk(9.0, persistent=False)], 0.05),
        (None, [disk(0.05), disk(9.0, persistent="false"), disk(8.0, persistent=None)], 0.05),
        (None, [disk(0.05, persistent="true")], 0.05),
        # An unknown price may be the highest.
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
def test_storage_without_price_gets_highest_price_of_its_offer(
    own_price: Any, details: Any, price: float | None
) -> None:
    resource = {**UNPRICED, "price_per_hour": own_price}
    its_offer = {**offer(1), "storage_details": details}
    assert storage_of(resource, OFFER, its_offer).price_per_hour == price
    # The facts of the offer in the registry give the same price.
    assert storage_of(resource, OFFER, storage.noted_offer(its_offer)).price_per_hour == price


def test_noted_offer_has_only_persistent_storage() -> None:
    noted = storage.noted_offer({**offer(1), "storage_details": [disk(), disk(persistent=False)]})["storage_details"]
    assert noted == [{key: item for key, item in disk().items() if key != "monthly_cost"}]
    assert "storage_details" not in storage.noted_offer({**offer(1), "storage_details": [disk(persistent=False)]})


@pytest.mark.parametrize(
    ("page_fields", "noted_offer", "cost"),
    [
        ({}, {"storage_details": [disk(0.05)]}, 0.05),
        ({"storage_details": None}, {"storage_details": [disk(0.05)]}, 0.05),
        ({"storage_details": [disk(0.2)]}, {"storage_details": [disk(0.05)]}, 0.2),
        ({"storage_details": [disk(0.2)]}, {}, 0.2),
        ({}, {}, None),
    ],
)
def test_open_purchase_keeps_storage_noted_with_its_offer(
    page_fields: dict[str, Any], noted_offer: dict[str, Any], cost: float | None
) -> None:
    """The next run reads the offer's page, which may omit the storage."""
    own_entry = entry(OFFER, purchase="sent", provision_offer=noted_offer)
    declaration = host()
    standing = standing_of(declaration, own_entry, {"phase": "unbought"}, Account.of([], []))
    pages = {OFFER: SearchResult([{**offer(1), **page_fields}])}
    (draft,) = planning.host_plans([Case(declaration, own_entry, standing)], lambda _host: SearchResult(), pages)
    assert draft.action == BUY
    assert [item["hourly_cost"] for item in storage.persistent_storage(draft.offer)] == ([cost] if cost else [])


@pytest.mark.parametrize(("page_fields", "cost"), [({}, 0.05), ({"storage_details": [disk(0.2)]}, 0.2)])
def test_sealed_plan_keeps_storage_of_its_quote(page_fields: dict[str, Any], cost: float) -> None:
    """The quote has the storage; the purchase reads the offer's page, which may omit it."""
    quoted_offer = {**offer(1), "storage_details": [disk(0.05), disk(9.0, persistent=False)]}
    quote = quoted([Plan("gpu-1", BUY, OFFER, quoted_offer, price_per_hour=2.0)], "")["ansible_stats"]["data"]["quote"]
    plan = sealed.draft(quote, [host()], "", "1", 0.0)
    bound_host = SealedPlan.of(sealed.sealed_with_orders(plan, {"gpu-1": {"token": "t"}}, "t"), "t").bound(host())
    pages = {OFFER: SearchResult([{**offer(1), **page_fields}])}
    (draft,) = planning.host_plans([free_case(bound_host)], lambda _host: SearchResult(), pages)
    assert draft.action == BUY
    assert [item["hourly_cost"] for item in storage.persistent_storage(draft.offer)] == [cost]


def test_purchase_and_end_note_storage_price_of_offer() -> None:
    listed = {MACHINE: {**machine(1, "gpu-1", OFFER), "resource_id": MACHINE}, VOLUME: UNPRICED}
    its_offer = {"storage_details": [disk(0.05)]}
    own_entry = entry(OFFER, [MACHINE], "made", provision_offer=its_offer)
    purchase = {**MADE, "resource_ids": [MACHINE, VOLUME]}
    for plan, entry_before in ((planned(offer=its_offer), entry(OFFER)), (planned(action=WAIT), own_entry)):
        case = JudgedHost(plan, purchase, {}, entry_before, has_entry=True, listed=listed)
        assert [item.price_per_hour for item in case.storage] == [0.05], plan
    account = Account.of([noted_claim("gpu-1", own_entry)], listed.values())
    ends = what_ends(EndRequest("gpu-1", "gpu-1", own_entry), ApiView(account))
    assert ends.action is Action.END and [item.price_per_hour for item in ends.storage] == [0.05]


PRICES = st.one_of(st.none(), st.integers(0, 10**8).map(lambda millionths: millionths / 1e6), st.just("much"))


@given(PRICES, st.lists(PRICES, max_size=4))
def test_price_of_storage_is_highest_of_offer_or_unknown(own_price: Any, costs: list[Any]) -> None:
    result = storage_of({**UNPRICED, "price_per_hour": own_price}, OFFER, {"storage_details": list(map(disk, costs))})
    if own_price is None and result.price_per_hour is not None:
        assert result.price_per_hour in costs and all(cost <= result.price_per_hour for cost in costs)


@pytest.mark.parametrize("price", [0.05, None])
def test_account_ceiling_counts_noted_storage_and_refuses_unknown_price(price: float | None) -> None:
    volume = Storage(VOLUME, "data", OFFER, price)
    machine_entry = read_entry({**made_purchase(), STORAGE: [volume.variables]})
    kept_entry = read_entry(kept_storage(price_per_hour=price).entry("gpu-1"))
    listed = [{**machine(1, "gpu-1", OFFER), "resource_id": MACHINE}, UNPRICED, {**UNPRICED, "resource_id": OLDER}]
    account = ceilings.account_prices(listed, [("gpu-1", machine_entry), ("gpu-1 (storage)", kept_entry)], ())
    assert sorted(str(part.cost) for part in account.registered) == sorted(map(str, [2.0 + (price or 0.0), price]))
    refusal = ceilings.account_refusal(100.0, account, [])
    assert bool(refusal) is (price is None) and ("gpu-1 (storage)" in refusal or price is not None)


def test_with_noted_prices_changes_only_unpriced_storage() -> None:
    noted = [
        Storage(VOLUME, price_per_hour=0.05),
        Storage(MACHINE, price_per_hour=9.0),
        kept_storage(price_per_hour=None),
    ]
    listed = [
        {**machine(1), "resource_id": MACHINE, "price_per_hour": None},
        UNPRICED,
        {**UNPRICED, "resource_id": OLDER},
    ]
    assert [item["price_per_hour"] for item in storage.with_noted_prices(listed, noted)] == [None, 0.05, None]
    (priced,) = storage.with_noted_prices([{**UNPRICED, "resource_id": VOLUME.upper(), "price_per_hour": 0.01}], noted)
    assert priced["price_per_hour"] == 0.01


@pytest.mark.parametrize(
    ("prices", "kept_volumes", "stays"),
    [((), 0, 0.0), ((0.05, 0.2), 0, 0.25), ((0.05, None), 0, None), ((0.05,), 1, 0.05), ((), 1, 0.0)],
)
def test_bill_has_price_of_storage_that_stays(
    prices: tuple[float | None, ...], kept_volumes: int, stays: float | None
) -> None:
    """Kept storage has its own bill, so it does not count as what stays of the machine's purchase."""
    volumes = [Storage(machine_id(10 + number), price_per_hour=price) for number, price in enumerate(prices)]
    own_entry = read_entry(
        {**made_purchase(), STORAGE: [item.variables for item in (*volumes, *[kept_storage()] * kept_volumes)]}
    )
    (bill,) = bills_of(filter(None, [line_of_entry("gpu-1", own_entry)]))
    assert bill.stays_per_hour == own_entry.stays_per_hour == stays
    (bill,) = bills_of(filter(None, [line_of_entry("gpu-1", read_entry(kept_storage().entry("gpu-1")))]))
    assert (bill.price_per_hour, bill.stays_per_hour) == (0.25, 0.0)


@pytest.mark.parametrize(
    ("details", "refusal_start"),
    [([disk(10.0)], "Project "), ([disk(None)], ""), ([disk(10.0, persistent=False)], None), ([], None)],
)
def test_budget_counts_storage_until_end_of_month(details: list[Any], refusal_start: str | None) -> None:
    """The budget is USD 30; an hour of the machine costs 2, a day of its storage 240."""
    case = free_case(host(lease="1h", budget=30, max_price_per_hour="unlimited"))
    result = SearchResult([{**offer(1), "storage_details": details}])
    now = seconds_of("2026-02-27T00:00:00Z") or 0.0
    ledgers = {"default": Ledger((), now)}
    (draft,) = planning.host_plans([case], lambda _host: result, {}, now=now, ledgers=ledgers)
    assert (draft.action == BUY) is (refusal_start is None), draft.refusal
    assert refusal_start is None or (draft.refusal.startswith(refusal_start) and "gpu-1" in draft.refusal)


def made_purchase() -> dict[str, Any]:
    return {
        "provision_procured_offer_id": OFFER,
        "provision_purchase": "made",
        "provision_resource_ids": [MACHINE],
        "provision_price_per_hour": 2.0,
    }


# Messages


def test_offer_lines_group_hosts_with_same_storage() -> None:
    with_disk = {**offer(1), "storage_details": [disk()]}
    with_three = {
        **offer(2),
        "storage_details": [disk(), disk(), disk(None, name=None, size_gb="1000", type="filesystem")],
    }
    offers = {"gpu-1": with_disk, "gpu-2": with_disk, "gpu-3": with_disk, "big": with_three, "none": offer(3)}
    assert storage.offer_lines("Storage:", offers) == [
        "Storage:",
        "  gpu-[1:3]: data, 500 GB block_disk, USD 0.05 per hour",
        "  big: 2 x data, 500 GB block_disk, USD 0.05 per hour",
        "  big: 1000 GB filesystem, an unknown price",
    ]
    assert storage.offer_lines("Storage:", {"gpu-1": offer(1)}) == storage.offer_lines("Storage:", {}) == []


def test_offer_lines_shorten_and_clean_text_of_api() -> None:
    (_head, line) = storage.offer_lines("", {"gpu-1": {"storage_details": [disk(name="x" * 500 + "\x1b[2J")]}})
    assert len(line) < 120 and "\x1b" not in line


@pytest.mark.parametrize("ends", [False, True])
def test_storage_that_ends_with_machine_does_not_count_after_lease(ends: bool) -> None:
    declaration = host(lease="1h", budget=30, storage_on_end="end" if ends else "keep")
    assert declaration.ends_storage is ends
    offered = {**offer(1), "storage_details": [disk(1.0)]}
    result, ledgers = SearchResult([offered]), {"default": Ledger((), NOW)}
    (draft,) = planning.host_plans([free_case(declaration)], lambda _host: result, {}, now=NOW, ledgers=ledgers)
    assert (draft.action, draft.stays_per_hour) == (BUY if ends else STOP, 0.0 if ends else 1.0)


END = (
    "To end storage, with its data: compute_index.supply.decommission"
    " -e decommission_hosts=gpu-1 -e decommission_storage=end."
)


def test_kept_warning_names_storage_and_command_to_end_it() -> None:
    text = kept_warning("gpu-1", [kept_storage(vendor="nebius", region="eu-north1")])
    assert text.startswith(
        "gpu-1 still has storage of an earlier machine, which is billed until you end it: old"
        f" {OLDER}, USD 0.25 per hour (nebius eu-north1). We do not know how the API attaches it"
    )
    assert text.endswith(END)
    assert kept_warning("gpu-1", []) == ""


def test_only_hosts_that_buy_are_warned_of_kept_storage() -> None:
    cases = [case_with_kept_storage(entry()), case_with_kept_storage(entry(OFFER, [MACHINE], "made"))]
    texts = planning.warnings_of_kept_storage(cases, [Plan("gpu-1", BUY, OFFER, offer(1)), Plan("gpu-1", WAIT)])
    assert len(texts) == 1 and OLDER in texts[0]


def case_with_kept_storage(own_entry: Entry) -> Case:
    declaration = host()
    return Case(
        declaration,
        own_entry,
        standing_of(declaration, own_entry, {"phase": "ready"}, Account.of([], [])),
        (),
        (kept_storage(),),
    )


# A host's variables


def test_facts_have_ids_of_own_and_kept_storage() -> None:
    volume = Storage(VOLUME, "data", OFFER, 0.05)
    case = JudgedHost(
        planned(keeps=[kept_storage().variables]),
        MADE,
        {"phase": "ready", "ready": True, "resource_ids": [MACHINE], "connections": [CONNECTION]},
        entry(OFFER, [MACHINE], "made", **{STORAGE: [volume.variables]}),
        has_entry=True,
    )
    assert case.facts()[STORAGE_IDS] == [VOLUME, OLDER]
    # The entry of the machine does not name kept storage, which has entries of its own.
    assert case.noted(Verdict.READY)[STORAGE_IDS] == [VOLUME]


CONNECTION = {"resource_id": MACHINE, "ansible_host": "203.0.113.7", "ansible_port": 22, "ansible_user": "root"}


@pytest.mark.parametrize(("volumes", "kept_volumes", "ids"), [(1, 1, [VOLUME, OLDER]), (0, 1, [OLDER]), (0, 0, None)])
def test_facts_of_shared_registry_have_ids_of_own_and_kept_storage(volumes: int, kept_volumes: int, ids: Any) -> None:
    stored = {STORAGE: [Storage(VOLUME, "data", OFFER, 0.05).variables] * volumes}
    own_entry = read_entry({**made_purchase(), **stored, "provision_instances": [CONNECTION], **CONNECTION})
    declaration = declared("shared:default")
    status = {"phase": "ready", "ready": True, "resource_ids": [MACHINE], "connections": [CONNECTION]}
    standing = standing_of(declaration, own_entry, status, Account.of([], None))
    case = Case(declaration, own_entry, standing, (), (kept_storage(),) * kept_volumes)
    assert (
        rows.keep_if_as_registered(case, Plan("gpu-1", WAIT, OFFER), status, "known_hosts").facts.get(STORAGE_IDS)
        == ids
    )


# The registry's items


@pytest.mark.parametrize("groups", [(), ("gpu", "train")])
def test_storage_survives_registry_round_trip(groups: tuple[str, ...]) -> None:
    item = kept_storage(offer_id=OFFER, vendor="nebius", region="eu-north1", project="red", groups=groups)
    assert storage.read_storage([item.variables]) == (item,)
    assert Storage(VOLUME).variables == {"resource_id": VOLUME}


def test_read_storage_skips_invalid_items_and_marks() -> None:
    """A person may have written the entry."""
    twice = [{"resource_id": OLDER}] * 2
    written = ["disk", {"name": "no id"}, {"resource_id": VOLUME.upper(), "is_to_end": "yes"}, *twice]
    assert storage.read_storage(written) == (Storage(VOLUME), Storage(OLDER))
    assert storage.read_storage({"resource_id": VOLUME, "is_to_end": True}) == (Storage(VOLUME, is_to_end=True),)


def test_kept_after_end_dates_only_storage_of_ended_machine() -> None:
    own, kept = Storage(VOLUME), kept_storage()
    moment, host_fields = "2026-12-01T00:00:00Z", {"provision_project": "red", "provision_groups": ["gpu"]}
    ended = storage.kept_after_end({STORAGE: [own.variables, kept.variables], **host_fields}, moment)
    assert ended == (Storage(VOLUME, kept_since=moment, project="red", groups=("gpu",)), kept)
    begun = {STORAGE: [own.variables, kept.variables], "provision_storage_ends": True}
    assert [item.is_to_end for item in storage.kept_after_end(begun, moment)] == [True, None]


def test_merged_storage_replaces_all_but_kept_storage() -> None:
    kept = kept_storage()
    attached_again, new = Storage(OLDER, "old", OFFER), Storage(VOLUME)
    assert set(storage.merged_storage([kept, Storage(MACHINE)], [attached_again, new])) == {kept, new}


# Released machines


@pytest.mark.parametrize("has_kept", [True, False])
def test_released_host_names_storage_that_stays(has_kept: bool) -> None:
    volume = Storage(VOLUME, "data", OFFER, 0.05)
    failed = {"phase": "failed", "resource_ids": [MACHINE]}
    own_entry = entry(OFFER, [MACHINE], "made", **{STORAGE: [volume.variables]})
    case = JudgedHost(
        planned(keeps=[kept_storage().variables] if has_kept else []), MADE, failed, own_entry, has_entry=True
    )
    named = f"data {VOLUME}, USD 0.05 per hour" + (f"; old {OLDER}, USD 0.25 per hour" if has_kept else "")
    text = f"gpu-1 keeps its storage, which is billed until you end it: {named}. {END}"
    assert case.given_back == f"It has ended. {text}"
    message = case.failure(case.attempt(released=True), [OFFER])
    assert text in message and "Nothing is billed" not in message


def test_released_host_without_storage_is_not_billed() -> None:
    case = JudgedHost(planned(), MADE, {"phase": "failed"}, entry(OFFER, [MACHINE], "made"), has_entry=True)
    assert case.given_back == "It has ended." and storage_in_words("gpu-1", ()) == ""
    assert "Nothing is billed for gpu-1." in case.failure(case.attempt(released=True), [OFFER])


def test_host_without_offer_names_kept_storage() -> None:
    attempts = [{"offer_id": OFFER, "outcome": "created", "msg": "It failed."}]
    case = free_case(host(), *attempts, kept_storage=(kept_storage(),))
    (draft,) = planning.host_plans([case], lambda _host: SearchResult(), {})
    assert draft.action == STOP and storage.storage_in_words("gpu-1", [kept_storage()]) in draft.refusal
    assert "Nothing is billed" not in draft.refusal
