# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages about offers: why there is none for a host, and how an open purchase differs from its declaration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import (
    candidates,
    planning,
    standing,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import (
    Case,
    SearchResult,
    declaration_warning,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState, Standing

from provision_samples import SPEC, declared, entry, host, machine, offer, offer_id

X = offer_id(1)
FREE = Case(host(), Entry(), Standing(HostState.FREE))
OFFERS = [offer(number, 5.0) for number in (1, 2, 3)]


@pytest.mark.parametrize(("own", "first", "is_refused"), [("a", "a", False), ("a", "b", True), ("", "b", True)])
def test_hosts_of_a_play_must_share_one_registry(own: str, first: str, is_refused: bool) -> None:
    assert bool(standing.differing_databases(own, first)) is is_refused


@pytest.mark.parametrize(
    "message",
    [
        candidates.why_none(FREE, SearchResult()),
        candidates.why_none(FREE, SearchResult.of(FREE.host, [[]])),
        candidates.why_none(FREE, SearchResult.of(FREE.host, [OFFERS])),
        candidates.why_none(FREE, SearchResult.of(FREE.host, [[offer(1, None)]])),
    ],
)
def test_why_none_says_once_that_nothing_was_bought(message: str) -> None:
    assert message.count("Nothing was sent.") + message.lower().count("nothing was bought") == 1
    assert "inf" not in message.replace("info", "") and "None" not in message


@pytest.mark.parametrize(
    ("fields", "offers", "reason"),
    [
        ({}, [], "1 x H100, ondemand, EU: none."),
        ({"max_price_per_hour": 9}, OFFERS, "1 x H100, ondemand, EU: none is left for this host."),
        (
            {"max_price_per_hour": 1},
            [offer(1, 5.0), offer(2, 4.5), offer(3, None)],
            "none within provision_max_price_per_hour (USD 1.00 per hour), the cheapest costs USD 4.50 per hour.",
        ),
        ({"max_price_per_hour": 9}, [offer(1, None)], "the cheapest costs an unknown price."),
        (
            {"lease": "8h", "max_bill": "16", "max_price_per_hour": "unlimited"},
            OFFERS,
            "none within provision_max_bill (USD 16.00 with the lease 8h, so USD 2.00 per hour), the cheapest",
        ),
        (
            {"spec": {**SPEC, "max_price_per_hour": 2}, "max_price_per_hour": 9},
            OFFERS,
            "none within max_price_per_hour in provision_spec (USD 2.00 per hour), the cheapest costs USD 5.00",
        ),
    ],
)
def test_why_none_gives_reason_for_each_search(fields: dict[str, Any], offers: list[Any], reason: str) -> None:
    case = Case(host(**fields), Entry(), Standing(HostState.FREE))
    assert reason in candidates.why_none(case, SearchResult.of(case.host, [offers]))


@pytest.mark.parametrize(
    ("wider", "alternative"),
    [
        ([offer(5, region="US"), offer(6, region="AP"), offer(7, contract_type="spot")], "only elsewhere (AP, US)."),
        ([offer(5, region="eu", contract_type="spot")], "only spot."),
        ([offer(5, region="US", contract_type="spot")], "none."),
        ([], "none."),
    ],
)
def test_why_none_names_region_or_contract_that_has_offers(wider: list[Any], alternative: str) -> None:
    found = SearchResult.of(FREE.host, [[]], [wider])
    assert f"1 x H100, ondemand, EU: {alternative}" in candidates.why_none(FREE, found)
    assert found.at(FREE.host, {}) == found  # new prices do not change it


@pytest.mark.parametrize(
    ("verify", "noted", "level"),
    [("load", None, "load"), ("load", True, ""), ("load", "yes", "load"), ("none", None, "")],
)
def test_machine_is_tested_until_its_entry_notes_that_it_passed(verify: str, noted: Any, level: str) -> None:
    known = entry(X, ["m"], "made", provision_verified=noted)
    assert Case(host(verify=verify), known, Standing(HostState.READY)).verifies == level


OPEN_X = Standing(HostState.OPEN, offer_id=X)
UNREADABLE = SearchResult(reason="HTTP 503.")


@pytest.mark.parametrize(
    ("state", "known", "declared_id", "own", "wants_by_id"),
    [
        (FREE.standing, Entry(), X, {X}, True),
        (FREE.standing, Entry(), "", set(), False),
        (OPEN_X, entry(X, purchase="sent"), "", {X}, True),
        (Standing(HostState.STOP), Entry(), X, set(), False),
        (Standing(HostState.READY), entry(X, ["m"], "made"), "", {X}, False),
        (Standing(HostState.READY), entry(X, ["m"], "made"), offer_id(2), {X}, False),
        (Standing(HostState.FREE, void=True), entry(X, ["m"], "made"), offer_id(2), {offer_id(2)}, True),
    ],
)
def test_host_owns_offer_that_may_be_billed_or_that_it_would_buy_by_id(
    state: Standing, known: Entry, declared_id: str, own: set[str], wants_by_id: bool
) -> None:
    found = Case(host(offer_id=declared_id), known, state)
    assert (found.own_offer_ids, found.wants_by_id) == (own, wants_by_id)


@pytest.mark.parametrize(
    ("state", "fields", "buys"),
    [
        (FREE.standing, {}, True),
        (OPEN_X, {}, True),
        (FREE.standing, {"budget": "3,5"}, False),  # an objection
        (OPEN_X, {"budget": "3,5"}, False),
        (Standing(HostState.READY), {}, False),
        (Standing(HostState.STOP), {}, False),
    ],
)
def test_host_with_an_objection_or_a_machine_buys_nothing(state: Standing, fields: dict[str, Any], buys: bool) -> None:
    found = Case(declared(**fields), Entry(), state)
    assert (found.buys, found.searches(SPEC)) == (buys, buys and not found.is_open)
    assert not found.searches({**SPEC, "region": "US"})
    limited = Case(declared(**{"budget": 9, **fields}), Entry(), state)
    assert (limited.has_budget, found.has_budget) == (buys, False)


@pytest.mark.parametrize(
    ("known", "state", "is_void", "changes"),
    [
        (entry(X, purchase="sent"), Standing(HostState.FREE, void=True), True, {"provision_purchase": "refused"}),
        (
            entry(X, purchase="sent"),
            Standing(HostState.FREE, void=True, may_be_made=True),
            True,
            {"provision_purchase": "made"},
        ),
        (entry(X, ["m"], "made"), Standing(HostState.FREE, void=True), True, {}),
        (entry(X, ["m"], "made"), Standing(HostState.READY), False, {}),
        (Entry(), Standing(HostState.FREE, void=True), False, {}),
    ],
)
def test_void_entry_is_removed_after_its_purchase_is_settled(
    known: Entry, state: Standing, is_void: bool, changes: dict[str, Any]
) -> None:
    found = Case(host(), known, state)
    assert (found.is_void, found.changes_before_removal) == (is_void, changes)
    assert candidates.hosts_with_void_entries([found]) == ({"gpu-1"} if is_void else set())


READY = Standing(HostState.READY, offer_id=X, adopted=True, machines=(machine(1),))


@pytest.mark.parametrize(
    ("state", "adopted_id"),
    [
        (READY, X),
        (replace(READY, kind=HostState.UNDER_WAY), X),
        (replace(READY, kind=HostState.FAILED), ""),
        (replace(READY, adopted=False), ""),
        (replace(READY, machines=(machine(1), machine(2))), ""),
    ],
)
def test_page_is_read_of_the_one_machine_to_adopt(state: Standing, adopted_id: str) -> None:
    case = Case(host(), Entry(), state)
    assert case.adopted_offer_id == adopted_id
    assert case.unless_unfit(offer(1)) is case
    assert case.unless_unfit(offer(1, region="US")).standing.kind is HostState.STOP


@pytest.mark.parametrize(
    ("known", "kind", "locked_out", "in_vain"),
    [
        (entry(X, ["m"], "made"), HostState.UNDER_WAY, "No key.", True),
        (entry(X, ["m"], "made"), HostState.READY, "No key.", True),
        (entry(X, ["m"], "made"), HostState.READY, "", False),
        (entry(X, ["m"], "made", provision_adopted=True), HostState.READY, "No key.", False),
        (entry(X, ["m"], "made"), HostState.FREE, "No key.", False),
        (Entry(), HostState.READY, "No key.", False),
    ],
)
def test_job_without_key_waits_in_vain_for_machine_that_was_never_reached(
    known: Entry, kind: HostState, locked_out: str, in_vain: bool
) -> None:
    assert Case(replace(host(), locked_out=locked_out), known, Standing(kind)).waits_in_vain is in_vain


APART = Clock(1000.0, api=2000.0)


@pytest.mark.parametrize(
    ("fields", "clock", "refused"),
    [
        ({}, APART, False),
        ({"lease": "8h"}, APART, True),
        ({"lease": "8h", "max_bill": 9}, APART, True),
        ({"max_bill": "unlimited"}, APART, True),
        ({"budget": 9}, APART, True),
        ({"budget": 9, "lease": "8h"}, Clock(1000.0, api=1001.0), False),
        ({"budget": 9, "lease": "8h"}, Clock(1000.0), False),
    ],
)
def test_host_with_a_time_or_bill_buys_nothing_while_clocks_differ(
    fields: dict[str, Any], clock: Clock, refused: bool
) -> None:
    case = Case(host(**fields), Entry(), Standing(HostState.FREE))
    found = candidates.unless_clocks_differ(case, clock)
    assert (not found.buys, bool(found.host.objections)) == (refused, refused)
    owner = replace(case, standing=Standing(HostState.READY))
    assert candidates.unless_clocks_differ(owner, clock) is owner


CREATED, NOW, HOUR = 1_769_860_800.0, 1_769_868_000.0, 3600.0  # two hours later
NOTED = entry(X, ["m"], "made", provision_ends_at="2026-01-31T20:00:00Z", provision_at_most=12.5)


@pytest.mark.parametrize(
    ("fields", "adopted", "known", "end", "bill"),
    [
        ({"lease": "9h"}, False, NOTED, CREATED + 8 * HOUR, 12.5),  # the registry's
        ({}, False, NOTED, CREATED + 8 * HOUR, 12.5),
        ({"lease": "9h"}, False, entry(X, ["m"], "made"), None, None),
        ({"lease": "9h"}, True, Entry(), NOW + 9 * HOUR, 22.0),  # from now, but billed since it was created
        ({}, True, Entry(), None, None),
        ({"lease": "9h", "by_name": True}, False, Entry(), CREATED + 9 * HOUR, 18.0),
        ({"lease": "9h", "by_name": True}, True, Entry(), CREATED + 9 * HOUR, 18.0),
        ({"by_name": True}, False, Entry(), None, None),
    ],
)
def test_lease_ends_by_the_registry_or_else_by_the_declaration(
    fields: dict[str, Any], adopted: bool, known: Entry, end: float | None, bill: float | None
) -> None:
    state = Standing(HostState.READY, price_per_hour=2.0, adopted=adopted, machines=(machine(1),))
    assert Case(host(**fields), known, state).lease_end_and_bill(NOW) == (end, bill)


@pytest.mark.parametrize(
    ("state", "declared_id", "quoted", "price"),
    [
        (OPEN_X, "", None, 2.0),
        (OPEN_X, X, 3.0, 3.0),
        (OPEN_X, X, 1.0, 2.0),
        (OPEN_X, offer_id(2), 3.0, 2.0),  # the quote is for another offer than the open purchase
        (FREE.standing, X, 1.0, 1.0),  # the entry's price is of an earlier machine
        (FREE.standing, X, None, None),
    ],
)
def test_wanted_offer_has_higher_of_its_noted_and_quoted_price(
    state: Standing, declared_id: str, quoted: float | None, price: float | None
) -> None:
    wanting = replace(host(offer_id=declared_id), quoted_price_per_hour=quoted)
    found = Case(wanting, entry(X, purchase="sent"), state).offer_at_noted_price
    assert found == {"offer_id": X, "price_per_hour": price}


@pytest.mark.parametrize(
    ("search_result", "state", "ids"),
    [
        (UNREADABLE, OPEN_X, [X]),
        (UNREADABLE, FREE.standing, []),
        (SearchResult(OFFERS), OPEN_X, [offer_id(1), offer_id(2), offer_id(3)]),
    ],
)
def test_open_purchase_needs_no_readable_page_of_its_offer(
    search_result: SearchResult, state: Standing, ids: list[str]
) -> None:
    """It is settled by the offer's status."""
    found = search_result.unless_open(Case(host(), entry(X, purchase="sent"), state))
    assert [item["offer_id"] for item in found.offers] == ids
    assert found.reason == ("" if ids else "HTTP 503.")


@pytest.mark.parametrize(
    ("bill", "fields", "text"),
    [
        (16.0, {}, "1 x H100, USD 2.00/h, USD 16.00 in all"),
        (None, {"contract_type": "spot"}, "1 x nvidia-h100-sxm5-80gb, USD 2.00/h, spot"),
        (None, {"gpu_type": None, "gpu_family": None, "price_per_hour": None}, "1 x None, unknown price"),
    ],
)
def test_offer_in_one_line(bill: float | None, fields: dict[str, Any], text: str) -> None:
    assert planning.offer_in_one_line({**offer(1), **fields}, bill) == text


H100 = {"gpu_type": "nvidia-h100-sxm5-80gb", "gpu_family": "H100"}
TOKEN = {"provision_ordered": {"token": "0f"}}
DIFFERS = "gpu-1's open purchase differs from its variables: "
AS_ORDERED = f"gpu-1 takes the machine of offer {X} as first ordered"


@pytest.mark.parametrize(
    ("known", "state", "warning"),
    [
        (entry(X, purchase="sent", provision_offer=H100), HostState.OPEN, DIFFERS),
        (entry(X, purchase="sent", provision_offer=H100), HostState.FREE, ""),
        (entry(X, purchase="sent", provision_offer=H100), HostState.STOP, ""),
        (entry(X, purchase="sent"), HostState.OPEN, ""),
        (entry(X, purchase="sent", **TOKEN), HostState.UNDER_WAY, AS_ORDERED),
        (entry(X, purchase="made", **TOKEN), HostState.UNDER_WAY, ""),
        (entry(X, purchase="sent"), HostState.UNDER_WAY, ""),
    ],
)
def test_open_purchase_that_differs_from_declaration_is_warned_about(
    known: Entry, state: HostState, warning: str
) -> None:
    found = declaration_warning(Case(host(spec={"compute": {"gpu_type": "A100"}}), known, Standing(state)))
    assert warning in found and (DIFFERS in found, AS_ORDERED in found) == (warning == DIFFERS, warning == AS_ORDERED)
