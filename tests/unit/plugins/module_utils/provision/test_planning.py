# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From where the hosts stand to a plan for each."""

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
    drift_warning,
    is_short,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ceilings import (
    AccountPrices,
    CeilingPart,
    Count,
    State,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import Declaration
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    BUY,
    LATER,
    STOP,
    WAIT,
    Plan,
    fork_warning,
    host_plans,
    line_of_waiting,
    prices_of_others,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.quote import quoted
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import product_key
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill, Ledger
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState, Standing
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import noted_offer
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import billed, declared, entry, host, machine, machine_id, offer, offer_id

M, X, Y = machine_id(1), offer_id(1), offer_id(2)
CHEAP, FAIR, DEAR = offer(1, 1.0), offer(2, 2.0), offer(3, 3.0)
ALL = [CHEAP, FAIR, DEAR]


def case(
    one: Declaration,
    kind: HostState = HostState.FREE,
    known: Entry | None = None,
    attempts: Sequence[Mapping[str, Any]] = (),
    **fields: Any,
) -> Case:
    return Case(one, known or entry(), Standing(kind, **fields), attempts)


def free(name: str = "gpu-1", **fields: Any) -> Case:
    return case(host(name, **fields))


def owner(name: str, price: float | None = 2.0, number: int = 7, **fields: Any) -> Case:
    known = entry(offer_id(number), [machine_id(number)], "made", provision_price_per_hour=price)
    return case(
        host(name, **fields),
        HostState.READY,
        known,
        offer_id=known.offer_id,
        resource_ids=known.resource_ids,
        price_per_hour=price,
    )


def opened(name: str = "gpu-1", number: int = 1, **fields: Any) -> Case:
    known = entry(offer_id(number), purchase="sent")
    return case(
        host(name, **fields), HostState.OPEN, known, offer_id=known.offer_id, price_per_hour=known.price_per_hour
    )


def planned(*cases: Case, offers: Sequence[Mapping[str, Any]] = tuple(ALL), said: str = "", **more: Any) -> list[Plan]:
    by_id = {each["offer_id"]: SearchResult([each]) for each in offers}

    def found(one: Declaration) -> SearchResult:
        return replace(SearchResult.of(one, [offers]), reason=said)

    if isinstance(prices := more.get("account"), AccountPrices):
        more["account"] = lambda _buying: prices
    return host_plans(cases, found, more.pop("wanted", by_id), **more)


def actions(plans: Sequence[Plan]) -> list[tuple[str, str]]:
    return [(each.action, each.offer_id) for each in plans]


# One host


@pytest.mark.parametrize("kind", [HostState.UNDER_WAY, HostState.READY])
@pytest.mark.parametrize(("locked_out", "reached"), [("no key", False), ("no key", True), ("", False)])
def test_a_job_without_the_key_waits_for_no_machine_that_another_one_buys(
    kind: HostState, locked_out: str, reached: bool
) -> None:
    known = entry(X, [M], "made", provision_price_per_hour=2.0)
    known = replace(known, instances=({"ansible_host": "h"},)) if reached else known
    one = replace(host(), objections=(locked_out,) if locked_out else (), locked_out=locked_out)
    (found,) = planned(case(one, kind, known, offer_id=X, resource_ids=(M,), price_per_hour=2.0))
    if locked_out and not reached:
        assert found.action == STOP
        assert f"offer {X} at USD 2.00 per hour, resource ids: {M}. It is billed" in found.refusal
        assert found.refusal.endswith(locked_out)
    else:
        assert found.action == WAIT


def test_a_quote_does_not_show_a_failed_offer_as_something_to_buy() -> None:
    """Or its workflow is approved, and buys nothing in its place."""
    stands = {"offer_id": X, "resource_ids": (M,), "price_per_hour": 2.0}
    (found,) = planned(case(host(), HostState.FAILED, entry(X, [M], "made"), **stands))
    (row,) = quoted([found], "")["ansible_stats"]["data"]["quote"]["hosts"].values()
    assert (found.action, row["owned"], row["gpu_type"]) == (WAIT, True, "owned already")


def test_an_offer_of_a_plan_that_cannot_be_had_says_what_to_do() -> None:
    wants = case(replace(host(offer_id=X, max_price_per_hour=2), plan_number="7f", advice="Quote again."))
    plans = [
        *planned(wants, offers=[offer(1, 2.01)]),
        *planned(wants, wanted={X: SearchResult(reason="It is gone.", is_gone=True)}),
        *planned(wants, taken=[X]),
    ]
    assert [each.refusal.rpartition(". ")[2] for each in plans] == ["Quote again."] * 3
    assert "which is not within the price in plan 7f (USD 2.00 per hour)." in plans[0].refusal
    (busy,) = planned(wants, wanted={X: SearchResult(reason="The API answered 503.")})
    assert busy.refusal.endswith("Nothing was bought.")


def test_the_cheapest_offer_within_the_ceiling() -> None:
    (found,) = planned(free(max_price_per_hour=2))
    assert (found.action, found.offer_id, found.price_per_hour, found.max_price_per_hour) == (BUY, X, 1.0, 2.0)
    assert found.label == "1 x nvidia-h100-sxm5-80gb, USD 1.00/h"


@pytest.mark.parametrize(
    ("one", "offers", "said", "refusal"),
    [
        (free(max_price_per_hour="0.5"), ALL, "", ("USD 0.50", "USD 1.00", "Nothing was bought")),
        (free(), [], "", ("There is no offer", "Nothing was bought")),
        (free(), [], "POST answered 500.", ("answered 500", "Nothing was bought")),
        (free(), [offer(1, None)], "", ("an unknown price", "Nothing was bought")),
        (opened(offer_id=Y, max_price_per_hour="0.5"), [offer(1, None)], "", ("not within", "Nothing was bought")),
        (
            replace(free(max_price_per_hour="unlimited"), attempts=[{"offer_id": X}]),
            [CHEAP],
            "",
            ("none is left for this host", "Nothing was bought"),
        ),
        (case(declared(max_price_per_hour="3,5")), ALL, "", ("3,5", "Nothing was sent")),
        (case(host(), HostState.STOP, reason="A person must decide."), ALL, "", ("A person must decide.",)),
    ],
)
def test_refusals(one: Case, offers: Sequence[Mapping[str, Any]], said: str, refusal: tuple[str, ...]) -> None:
    (found,) = planned(one, offers=offers, said=said)
    assert found.action == STOP
    for each in refusal:
        assert each in found.refusal


def test_an_unknown_price_only_where_unlimited_was_said() -> None:
    (found,) = planned(free(max_price_per_hour="unlimited"), offers=[offer(1, None)])
    assert (found.action, found.price_per_hour, found.max_price_per_hour) == (BUY, None, math.inf)


def test_what_runs_stays_whatever_is_declared_now() -> None:
    its = owner("gpu-1")
    broken = Case(declared(max_price_per_hour="3,5"), its.entry, its.standing)
    for each in (its, broken):
        assert actions(planned(each, offers=[])) == [(WAIT, offer_id(7))]


# Of several hosts


def test_hosts_never_share_an_offer() -> None:
    assert actions(planned(*(free(f"gpu-{n}") for n in range(4)))) == [
        (BUY, X),
        (BUY, Y),
        (BUY, offer_id(3)),
        (STOP, ""),
    ]


@pytest.mark.parametrize(
    ("hosts", "most", "taken", "begins"),
    [
        (4, 5, (), "3 offers for 4 hosts. There is no"),
        (9, 2, (), "2 offers for 9 hosts. There is no"),
        (9, 5, (X, Y), "1 offer for 9 hosts. There is no"),
        (2, 0.5, (), "There is no offer for this host. "),  # all of them are too dear
        (2, 5, (X, Y, offer_id(3)), "There is no offer for this host. "),
    ],
)
def test_too_few_offers_are_counted(hosts: int, most: float, taken: tuple[str, ...], begins: str) -> None:
    result = SearchResult(ALL)
    cases = [free(f"gpu-{number}", max_price_per_hour=most) for number in range(hosts)]
    found = [draft.refusal for draft in host_plans(cases, lambda _host: result, {}, taken=taken)]
    assert {text for text in found if text} == {found[-1]} and found[-1].startswith(begins), found
    assert found[-1].endswith("Nothing was bought.")


@pytest.mark.parametrize(("forks", "is_told"), [(1, True), (2, False), (0, False)])
def test_fewer_forks_than_buyers_are_told(forks: int, is_told: bool) -> None:
    plans = planned(free("gpu-1"), free("gpu-2"), owner("gpu-3"))
    assert fork_warning(plans, forks).startswith("2 hosts buy, 1 at a time: a purchase may take minutes") is is_told


def test_what_others_want_have_or_tried_is_left_alone() -> None:
    wants = free("a", offer_id=X)
    (_wants, found) = planned(wants, free("b"))
    assert found.offer_id == Y
    (found,) = planned(free("b"), taken={X, Y})
    assert found.offer_id == offer_id(3)
    tried = case(host("b"), attempts=[{"offer_id": X, "msg": "gone"}])
    assert actions(planned(tried, free("c"))) == [(BUY, Y), (BUY, offer_id(3))]


def test_all_or_nothing() -> None:
    hosts = [free(f"gpu-{n}", all_or_nothing=True) for n in range(4)]
    found = planned(*hosts)
    assert [each.action for each in found] == [STOP] * 4
    assert all("gpu-3 cannot have a machine" in each.refusal for each in found[:3])
    assert [each.action for each in planned(*hosts[:3])] == [BUY] * 3
    assert [each.action for each in planned(*hosts[:2], failed=["gpu-9"])] == [STOP] * 2
    # Hosts that run are kept, and hosts that were not declared so go on.
    found = planned(owner("r"), free("m"), *hosts[1:3], free("x", all_or_nothing=True))
    assert [each.action for each in found] == [WAIT, BUY, STOP, STOP, STOP]


@pytest.mark.parametrize("names", [("gpu", "gpu"), ("gpu", "gpu", "gpu")])
def test_one_name_of_several_hosts(names: tuple[str, ...]) -> None:
    hosts = [case(host(host=f"h{n}", name=name)) for n, name in enumerate(names)]
    for n, found in enumerate(planned(*hosts)):
        assert found.action == STOP
        assert "gpu" in found.refusal and "provision_resource_name" in found.refusal
        assert f"h{n}" not in found.refusal.split(" has or would")[0]


def test_one_name_beside_a_host_that_has_its_machine() -> None:
    its = owner("a")
    found = planned(its, case(host(host="b", name="a")))
    assert [each.action for each in found] == [WAIT, STOP]
    assert "a also has or would buy" in found[1].refusal


# The very offer


def test_an_offer_that_was_quoted_or_ordered_is_still_meant_as_it_was_then() -> None:
    then, now = {"gpu_type": "nvidia-h100-sxm5-80gb"}, offer(1, 2.0, gpu_type="nvidia-a100-sxm4-80gb", region="US")
    quoted = replace(host(offer_id=X), quoted_offer=then)
    known = entry(X, purchase="sent", provision_offer=then)
    ordered = case(host(), HostState.OPEN, known, offer_id=X, price_per_hour=2.0)
    for one in (case(quoted), ordered):
        (found,) = planned(one, wanted={X: SearchResult([now])})
        assert found.action == BUY
        assert {**noted_offer(now), **then} == noted_offer(found.offer), "its purchase compares that with its page"


def test_wanted_by_its_id_without_a_ceiling() -> None:
    (found,) = planned(free(offer_id=Y, max_price_per_hour=""))
    assert (found.action, found.offer_id, found.max_price_per_hour) == (BUY, Y, math.inf)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (SearchResult([DEAR]), ("USD 3.00", "USD 2.00")),
        (SearchResult([offer(3, None)]), ("an unknown price",)),
        (SearchResult(reason="GET answered 404."), ("404",)),
        (SearchResult(), ("an unknown price",)),
    ],
)
def test_wanted_by_its_id_and_refused(wanted: SearchResult, said: tuple[str, ...]) -> None:
    (found,) = planned(free(offer_id=offer_id(3), max_price_per_hour=2), wanted={offer_id(3): wanted})
    assert found.action == STOP
    for each in (*said, "Nothing was bought"):
        assert each in found.refusal


def test_two_hosts_want_one_offer() -> None:
    found = planned(free("a", offer_id=X), free("b", offer_id=f" {X.upper()} "))
    assert [each.action for each in found] == [STOP, STOP]
    assert "b also has or wants" in found[0].refusal and "a also has or wants" in found[1].refusal


def test_a_host_wants_what_another_has() -> None:
    """An id in group_vars, and a host that is added later."""
    its = owner("a", number=1)
    for found in (planned(its, free("b", offer_id=X), taken={X}), planned(free("b", offer_id=X), taken={X})):
        assert found[-1].action == STOP
        assert X in found[-1].refusal and "Nothing was sent" in found[-1].refusal
    assert [each.action for each in planned(opened("a"), free("b", offer_id=X))] == [BUY, STOP]


def test_what_was_refused_or_came_to_nothing_is_free() -> None:
    refused = case(host("a", offer_id=Y), known=entry(X, purchase="refused"), void=True)
    assert actions(planned(refused, free("b", offer_id=X))) == [(BUY, Y), (BUY, X)]


# A purchase whose answer never came


def test_the_same_offer_is_sent_again_at_its_price() -> None:
    (found,) = planned(opened(number=3, max_price_per_hour=4))
    assert (found.action, found.offer_id, found.price_per_hour) == (BUY, offer_id(3), 3.0)


@pytest.mark.parametrize(
    "one",
    [
        opened(number=3, max_price_per_hour=2),
        case(
            declared(max_price_per_hour="3,5"),
            HostState.OPEN,
            entry(offer_id(3)),
            offer_id=offer_id(3),
            price_per_hour=2.0,
        ),
        opened(number=3, max_total_price_per_hour=1),
        case(
            host(max_price_per_hour=2),
            HostState.OPEN,
            entry(offer_id(3)),
            [{"offer_id": X, "msg": "gone"}],
            offer_id=offer_id(3),
            price_per_hour=2.0,
        ),
    ],
)
def test_a_host_that_stops_says_what_may_be_billed(one: Case) -> None:
    (found,) = planned(one)
    assert found.action == STOP
    assert offer_id(3) in found.refusal and "MAY BE BOUGHT and billed at USD 2.00" in found.refusal
    assert "Nothing is billed" not in found.refusal


def test_all_or_nothing_says_it_too() -> None:
    found = planned(opened(number=3, all_or_nothing=True), free("b", max_price_per_hour=0))
    assert "MAY BE BOUGHT" in found[0].refusal and "MAY BE" not in found[1].refusal


# One price for one offer

BARE, WHOLE = offer(1, 4.0), offer(1, 5.0)  # the same offer without its storage and with it


def dear_by_id(**fields: Any) -> tuple[Case, Case]:
    """A host that wants an offer by its id, and one whose search shows that offer, at a higher price."""
    return free("a", offer_id=X, max_price_per_hour="unlimited", **fields), free(
        "b", max_price_per_hour="unlimited", **fields
    )


@pytest.mark.parametrize(
    ("page", "searched", "price"),
    [(BARE, WHOLE, 5.0), (WHOLE, BARE, 5.0), (offer(1, None), WHOLE, None), (BARE, offer(1, None), 4.0)],
)
def test_the_highest_price_that_was_shown_counts(
    page: Mapping[str, Any], searched: Mapping[str, Any], price: float | None
) -> None:
    found = host_plans(dear_by_id(), lambda _host: SearchResult([searched, offer(2, 6.0)]), {X: SearchResult([page])})
    assert [(each.offer_id, each.price_per_hour) for each in found] == [(X, price), (Y, 6.0)]
    assert found[0].offer["price_per_hour"] == price


@pytest.mark.parametrize(
    ("fields", "more", "said"),
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
def test_ceilings_of_many_count_that_price(fields: dict[str, Any], more: dict[str, Any], said: str) -> None:
    night = {"now": NIGHT, "ledgers": {"default": Ledger((), NIGHT)}}
    found = host_plans(
        dear_by_id(**fields),
        lambda _host: SearchResult([WHOLE, offer(2, 6.0)]),
        {X: SearchResult([BARE])},
        **{**night, **more},
    )
    assert [(each.action, each.error_class) for each in found] == [(STOP, "price")] * 2 and said in found[0].refusal


def test_an_id_buys_nothing_that_a_search_refuses() -> None:
    cases = free("a", offer_id=X, max_price_per_hour=4), free("b", max_price_per_hour=4)
    found = host_plans(cases, lambda _host: SearchResult([WHOLE]), {X: SearchResult([BARE])})
    assert [each.action for each in found] == [STOP, STOP] and "costs USD 5.00" in found[0].refusal


def test_choices_see_that_price_too() -> None:
    """An offer that two searches show at two prices, in whichever order, and one that only a wider search shows."""
    one, other = free("gpu-1", spec=[H100, A100], max_price_per_hour="unlimited"), free("gpu-2", spec=[A100])
    for seen in ([[BARE, offer(2, 4.5)], [WHOLE]], [[WHOLE, offer(2, 4.5)], [BARE]]):
        (found,) = chosen(one, seen=seen)
        assert (found.offer_id, found.price_per_hour) == (Y, 4.5), "cheapest first, at the prices that count"
    cheap = offer(8, 2.6)
    (above,) = chosen(other, seen=[[cheap]])
    assert (above.action, above.error_class) == (STOP, "capacity"), "above the ceiling of the choice"


def test_hosts_that_share_a_search_still_share_it() -> None:
    shared = SearchResult([offer(2, 1.0), WHOLE, offer(3, 6.0)])
    cases = [
        free("a", offer_id=X, max_price_per_hour="unlimited"),
        *(free(f"b{n}", max_price_per_hour="unlimited") for n in range(2)),
    ]
    found = host_plans(cases, lambda _host: shared, {X: SearchResult([BARE])})
    assert [each.offer_id for each in found] == [X, Y, offer_id(3)]


def test_a_purchase_that_may_be_made_counts_at_the_price_that_was_noted() -> None:
    known = entry(X, purchase="sent", provision_price_per_hour=5.0)
    one = case(host(max_price_per_hour=9), HostState.OPEN, known, offer_id=X, price_per_hour=5.0)
    (found,) = host_plans([one], lambda _host: SearchResult(), {X: SearchResult([BARE])})
    assert (found.action, found.price_per_hour) == (BUY, 5.0)


@pytest.mark.parametrize(("quoted", "price", "action"), [(5.0, 5.0, STOP), (4.5, 4.5, BUY), (None, 4.0, BUY)])
def test_an_offer_of_a_plan_counts_at_the_price_that_was_quoted(quoted: Any, price: float, action: str) -> None:
    wants = replace(host(offer_id=X, max_price_per_hour=4.5), quoted_price_per_hour=quoted)
    (found,) = planned(case(wants), offers=[BARE])
    assert (found.action, found.offer["price_per_hour"]) == (action, price)


# After attempts


def test_the_history_is_in_the_refusal() -> None:
    tried = [{"offer_id": X, "msg": "gone"}, {"offer_id": Y, "msg": "Someone else was faster."}]
    (found,) = planned(case(host(), attempts=tried), offers=[CHEAP, FAIR])
    assert found.action == STOP
    for said in ("Someone else was faster.", "Nothing is billed", f"Offers tried: {X}, {Y}."):
        assert said in found.refusal
    assert case(host(max_attempts=3), attempts=tried).attempts_left == 1


def test_what_was_not_delivered_comes_last_under_whichever_id() -> None:
    tried = [{"offer_id": X, "outcome": "created", "product": product_key(CHEAP, CHEAP["price_per_hour"])}]
    again, dearer = offer(9, 1.0), offer(10, 1.5)
    failed = case(host(), attempts=tried)
    for market, bought in (([again, FAIR], FAIR), ([again, dearer, FAIR], dearer), ([again], again)):
        (draft,) = planned(failed, offers=market)
        assert (draft.action, draft.offer_id) == (BUY, bought["offer_id"])
    # Another host has not tried it.
    first, second = planned(failed, free("other"), offers=[again, FAIR])
    assert (first.offer_id, second.offer_id) == (FAIR["offer_id"], again["offer_id"])


# More hosts than offers

ONE, TWO, THREE = (free(name) for name in ("gpu-1", "gpu-2", "gpu-3"))


@pytest.mark.parametrize(
    ("cases", "offers", "short"),
    [
        ([ONE], [CHEAP], False),
        ([ONE, TWO], [CHEAP], True),
        ([ONE, TWO], [CHEAP, FAIR], False),
        ([ONE, TWO], [], False),  # there is none, and another look would show none
        ([ONE, TWO], [CHEAP, offer(4, 99.0)], True),  # above every ceiling
        ([ONE, owner("gpu-2")], [CHEAP], False),
        ([ONE, free("gpu-2", offer_id=Y)], [CHEAP], False),
        ([ONE, free("gpu-2", spec={"compute": {"gpu_type": "A100"}})], [CHEAP], False),
        ([ONE, free("gpu-2", all_or_nothing=True)], [CHEAP], False),
        ([ONE, TWO, THREE], [CHEAP, FAIR], True),
    ],
)
def test_a_search_is_sent_again_for_hosts_without_an_offer(cases: list[Case], offers: list[Any], short: bool) -> None:
    (spec,) = [choice.spec for choice in ONE.host.choices]
    assert is_short(cases, spec, (), offers) is short
    # What a search lists and is spoken for is no offer for any of them.
    assert is_short([ONE, TWO], spec, {CHEAP["offer_id"]}, [CHEAP, FAIR]) is True


# No run waits for a quota, and only another vendor may have more

BEYOND = {"outcome": "rejected", "error_class": "quota", "msg": "The quota is used up."}


@pytest.mark.parametrize(
    ("vendor", "vendors", "bought"),
    [
        ("nebius", ["nebius", "scaleway"], 1),
        ("nebius", ["scaleway", None], 0),
        ("nebius", ["nebius", None], 1),  # of a vendor that is not known
        ("", ["nebius"], 0),  # tried with an offer that named none
        ("nebius", ["nebius", "nebius"], None),
    ],
)
def test_after_a_quota_only_other_vendors_are_tried(vendor: str, vendors: list[str | None], bought: int | None) -> None:
    tried = [{"offer_id": X, "vendor": vendor, **BEYOND}]
    market = [offer(number + 10, number + 1.0, vendor=name) for number, name in enumerate(vendors)]
    patient = host(wait="8h")
    other = free("other", wait="8h")  # of which nothing was tried
    first, second = planned(case(patient, attempts=tried), other, offers=market)
    assert second.action == BUY or len(market) == 1
    if bought is not None:
        assert (first.action, first.offer_id) == (BUY, market[bought]["offer_id"])
        return
    assert (first.action, first.error_class) == (STOP, "quota")
    assert "The quota is used up." in first.refusal and "Offers of nebius were left out" in first.refusal


def test_a_ceiling_counts_after_a_quota_as_well() -> None:
    tried = [{"offer_id": X, "vendor": "nebius", **BEYOND}]
    (draft,) = planned(case(host(max_total_price_per_hour=0.5), attempts=tried), offers=[offer(9, vendor="scaleway")])
    assert (draft.action, draft.error_class) == (STOP, "price")


# Ceilings of all hosts


def test_the_ceiling_of_all() -> None:
    hosts = [free(f"gpu-{n}", max_total_price_per_hour="5.99") for n in range(3)]
    found = planned(*hosts)
    assert [each.action for each in found] == [STOP] * 3
    assert "USD 6.00" in found[0].refusal and "USD 5.99" in found[0].refusal
    assert [each.action for each in planned(*hosts[:2])] == [BUY] * 2
    # The offer's own page may be dearer, always; what is left is used once.
    assert [each.max_price_per_hour for each in planned(*hosts[:2])] == [1.0 + 1.495, 2.0 + 1.495]


@pytest.mark.parametrize(
    ("others", "action"),
    [((), BUY), ((4.0,), BUY), ((4.01,), STOP), ((None,), STOP), ((2.0, 2.0), BUY), ((0.0,), BUY)],
)
def test_what_other_hosts_of_the_play_cost(others: Sequence[float | None], action: str) -> None:
    (found,) = planned(free(max_total_price_per_hour=5), others=billed(*others))
    assert found.action == action
    assert ("unknown price" in found.refusal) == (None in others)


@pytest.mark.parametrize(
    "other",
    [
        owner("other", 4.5),
        # It stops, but what its registry names is or may be billed all the same.
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
def test_hosts_that_buy_nothing_count(other: Case) -> None:
    found = planned(other, free(max_total_price_per_hour=5))
    assert found[1].action == STOP and "USD 5.00" in found[1].refusal


def test_what_two_hosts_claim_counts_once_and_what_came_to_nothing_not_at_all() -> None:
    twice = [case(host(each), HostState.STOP, entry(Y, [M], provision_price_per_hour=4.0), reason="-") for each in "ab"]
    void = case(host("c"), HostState.STOP, entry(X, [M], provision_price_per_hour=4.0), void=True, reason="-")
    refused = case(host("d"), HostState.STOP, entry(X, purchase="refused"), reason="-")
    assert planned(*twice, void, refused, free(max_total_price_per_hour=5))[-1].action == BUY


def test_the_lowest_ceiling_of_those_that_buy_holds_for_all() -> None:
    found = planned(
        free("a", max_total_price_per_hour=10),
        free("b", max_total_price_per_hour=4),
        owner("c", max_total_price_per_hour=1),
    )
    assert [each.action for each in found] == [STOP, STOP, WAIT]
    found = planned(free("a", max_total_price_per_hour=10), free("b", max_total_price_per_hour=4))
    assert sum(each.max_price_per_hour for each in found) <= 4


def test_hosts_of_other_batches_that_cannot_be_read() -> None:
    found = planned(free(max_total_price_per_hour=9), owner("b", max_total_price_per_hour=9), unread=["h1", "h2"])
    assert [each.action for each in found] == [STOP, WAIT]
    assert "serial" in found[0].refusal and "h1, h2" in found[0].refusal
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
    known = sorted(
        (offer(n, price) for n, price in enumerate(prices)), key=lambda each: each["price_per_hour"] or math.inf
    )
    cases, wanted = [], {}
    for n, (kind, price, limit, total, together) in enumerate(hosts):
        one = host(f"h{n}", max_price_per_hour=limit, max_total_price_per_hour=total, all_or_nothing=together)
        its = entry(
            offer_id(100 + n), [machine_id(n)] if kind in ("owner", "stop") else [], provision_price_per_hour=price
        )
        kinds = {"free": HostState.FREE, "open": HostState.OPEN, "owner": HostState.READY, "stop": HostState.STOP}
        wanted[its.offer_id] = SearchResult([offer(100 + n, price)])
        if kind == "free":
            cases.append(case(one))
        else:
            cases.append(
                case(
                    one,
                    kinds[kind],
                    its,
                    offer_id=its.offer_id,
                    price_per_hour=price,
                    reason="-" if kind == "stop" else "",
                )
            )
    found = host_plans(cases, lambda _host: SearchResult(known), wanted, others=billed(*others))
    assert [each.host for each in found] == [each.host.host for each in cases]
    buyers = [(one, its) for one, its in zip(cases, found, strict=True) if its.action == BUY]
    assert len({its.offer_id for _one, its in buyers}) == len(buyers)
    fixed = [
        *others,
        *(
            one.entry.price_per_hour
            for one, its in zip(cases, found, strict=True)
            if its.action != BUY and one.may_be_billed
        ),
    ]
    for one, its in buyers:
        limit = its.max_price_per_hour
        assert its.price_per_hour is None or its.price_per_hour <= limit
        assert one.host.max_price_per_hour == math.inf or (
            its.price_per_hour is not None and limit <= one.host.max_price_per_hour
        )
        if one.host.max_total_price_per_hour != math.inf:
            assert None not in fixed
            paid = [each.max_price_per_hour for _one, each in buyers]
            assert sum(price or 0.0 for price in fixed) + sum(paid) <= one.host.max_total_price_per_hour + 1e-5
        # All or nothing: nobody who needs a machine goes without.
        if one.host.all_or_nothing:
            assert all(other.action != STOP for other in found)
    for one, its in zip(cases, found, strict=True):
        assert bool(its.refusal) == (its.action == STOP)
        assert its.action == WAIT or not one.standing.owns


# Drift


@pytest.mark.parametrize(
    ("fields", "kept", "price", "said"),
    [
        ({}, FAIR, 2.0, ()),
        ({"max_price_per_hour": 1}, FAIR, 2.0, ("USD 2.00", "USD 1.00", "stays as it is")),
        ({"max_price_per_hour": 1}, FAIR, None, ()),
        ({"max_price_per_hour": ""}, {}, 9.0, ()),
        (
            {"spec": {"region": "US", "compute": {"gpu_type": "L4"}}},
            FAIR,
            2.0,
            ("region EU instead of US", "instead of L4"),
        ),
        ({"spec": {"region": "US", "compute": {"gpu_type": "L4"}}}, {}, 2.0, ()),
        # Whoever names an offer has seen what it is, so the search says nothing.
        ({"spec": {"region": "US", "compute": {"gpu_type": "L4"}}, "offer_id": Y}, FAIR, 2.0, ()),
        ({"offer_id": X}, FAIR, 2.0, (f"its offer is {Y}", f"provision_offer_id is {X}")),
        (
            {"spec": {"region": "US", "compute": {"gpu_type": "H100"}}, "max_price_per_hour": 1},
            FAIR,
            2.0,
            ("region", "USD 1.00"),
        ),
    ],
)
def test_drift(fields: dict[str, Any], kept: dict[str, Any], price: float | None, said: tuple[str, ...]) -> None:
    known = entry(Y, [M], "made", provision_price_per_hour=price, provision_offer=noted_offer(kept))
    found = drift_warning(declared(**fields), known)
    assert bool(found) == bool(said)
    for each in said:
        assert each in found


def test_another_name_is_drift() -> None:
    known = entry(Y, [M], "made", provision_resource_name="trainer")
    assert "bought as trainer, and provision_resource_name is gpu-1" in drift_warning(declared(), known)
    assert drift_warning(declared(name="trainer"), known) == ""


# Leases


def test_what_a_lease_costs_at_most_is_said_before_the_purchase() -> None:
    assert planned(free(lease="8h"))[0].label == "1 x H100, USD 1.00/h, USD 8.00 in all"
    (found,) = planned(free(lease="1970-01-02T00:00Z"), now=3600.0 * 22)
    assert found.label.endswith("USD 1.00/h, USD 2.00 in all")


@pytest.mark.parametrize(
    ("fields", "action"), [({"max_bill": "7.99"}, STOP), ({"max_bill": "8"}, BUY), ({"max_bill": "unlimited"}, BUY)]
)
def test_the_whole_bill_is_a_ceiling(fields: dict[str, Any], action: str) -> None:
    (found,) = planned(free(lease="8h", **fields))
    assert found.action == action
    (wanted,) = planned(free(lease="8h", offer_id=X, **fields))
    assert wanted.action == action
    if action == STOP:
        for each in (found, wanted):
            assert "provision_max_bill (USD 7.99 with the lease 8h, so USD 0.99875 per hour)" in each.refusal


@pytest.mark.parametrize(
    ("declares", "noted", "said"),
    [
        ("8h", "8h", ""),
        ("", "", ""),
        ("9h", "8h", "its lease is 8h, and provision_lease says otherwise (compute_index.supply.extend changes it)"),
        ("8h", "", "it has no lease, and provision_lease says otherwise (compute_index.supply.extend changes it)"),
        ("", "8h", "its lease is 8h, and provision_lease says otherwise"),
        ("8h", "eight hours", "its lease is eight hours, and provision_lease says otherwise"),
        ("8h", "480m", ""),
        ("0.5d", "12h", ""),
        ("2030-12-01T06:00Z", "2030-12-01T07:00:00+01:00", ""),
        ("2030-12-01T06:00Z", "2030-12-01T06:00:00+01:00", "provision_lease says otherwise"),
    ],
)
def test_another_lease_is_drift(declares: str, noted: str, said: str) -> None:
    known = entry(X, [M], "made", provision_resource_name="gpu-1", provision_leased=noted)
    found = drift_warning(declared(lease=declares), known)
    assert said in found if said else found == ""
    assert drift_warning(declared("", lease=declares), known) == ""


# Ceilings that see more than the play


def test_the_account_has_a_ceiling_for_all_that_buy() -> None:
    hosts = [free("gpu-1", max_account_price_per_hour=10), free("gpu-2", max_account_price_per_hour="unlimited")]
    plans = planned(*hosts, account=AccountPrices(billed(2.0), billed(5.0)))
    assert actions(plans) == [(BUY, X), (BUY, Y)]
    assert [each.max_price_per_hour for each in plans] == [1.0, 2.0], "nothing is left for a price that rises"
    assert [each.max_account_price_per_hour for each in plans] == [10.0, 10.0]
    shared = declared("shared:default", host="gpu-1", max_account_price_per_hour=10)
    (found,) = planned(case(shared), account=AccountPrices(billed(2.0), billed(5.0)))
    assert found.max_account_price_per_hour == 5.0, "the registry counts the rest"
    plans = planned(*hosts, account=AccountPrices(billed(2.0), billed(5.01)))
    assert [each.action for each in plans] == [STOP, STOP]
    assert "USD 10.01 per hour together, of which USD 7.01 per hour are live" in plans[0].refusal


def test_a_refusal_names_all_that_was_counted() -> None:
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


def test_hosts_that_own_a_machine_do_not_mind_a_full_account() -> None:
    plans = planned(owner("gpu-1", max_account_price_per_hour=1), account=AccountPrices(billed(50.0), billed(None)))
    assert [(each.action, each.max_account_price_per_hour) for each in plans] == [(WAIT, math.inf)]


def test_a_purchase_that_goes_on_counts_once_and_one_that_stops_too() -> None:
    plans = planned(opened("gpu-1", max_account_price_per_hour=4), account=AccountPrices(billed(2.0)))
    assert actions(plans) == [(BUY, X)]
    hosts = [opened("gpu-1", max_price_per_hour=0.5), free("gpu-2", max_account_price_per_hour=3)]
    plans = planned(*hosts, account=partial(prices_of_others, Account.of([], []), hosts, []))
    assert [each.action for each in plans] == [STOP, STOP] and "USD 4.00 per hour together" in plans[1].refusal


def test_an_account_that_cannot_be_listed_sells_nothing() -> None:
    plans = planned(free(max_account_price_per_hour=10), account=AccountPrices(unreadable="It is down."))
    assert [each.action for each in plans] == [STOP] and "It is down." in plans[0].refusal


NIGHT = 1_772_150_400.0  # 2026-02-27T00:00:00Z; 48 hours of the month are left
RUNS = Bill("default", "gpu-9", "old", price_per_hour=1.0, begin=NIGHT - 36_000)


def test_a_budget_is_a_projects_and_a_months() -> None:
    spent = {"default": Ledger((RUNS,), NIGHT), "red": Ledger((), NIGHT)}
    assert actions(planned(free(budget=106), now=NIGHT, ledgers=spent)) == [(BUY, X)], "10 + 48 + 48"
    (dear,) = planned(free(budget=105.99), now=NIGHT, ledgers=spent)
    assert dear.action == STOP and "The month 2026-02 of project default would cost USD 106.00" in dear.refusal
    assert actions(planned(free(budget=105, lease="4h"), now=NIGHT, ledgers=spent)) == [(BUY, X)]
    assert actions(planned(free("r", budget=105, project="red"), now=NIGHT, ledgers=spent)) == [(BUY, X)]
    hosts = [free("gpu-1", budget=150), free("gpu-2", budget=""), free("gpu-3", project="red")]
    assert [each.action for each in planned(*hosts, now=NIGHT, ledgers=spent)] == [STOP, STOP, BUY]


def test_two_folders_of_a_project_share_its_budget() -> None:
    spent = {"default": Ledger((), NIGHT)}
    hosts = [free("gpu-1", budget=143), free("gpu-2", budget=143)]
    apart = [replace(each, host=replace(each.host, registry=Folder(f"/{each.host.host}"))) for each in hosts]
    for cases in (hosts, apart):
        plans = planned(*cases, now=NIGHT, ledgers=spent)
        assert [each.action for each in plans] == [STOP, STOP], "48 + 96"


def test_the_price_may_not_rise_beyond_a_budget() -> None:
    (found,) = planned(free(budget=72, max_price_per_hour=4), now=NIGHT, ledgers={"default": Ledger((), NIGHT)})
    assert found.max_price_per_hour == 1.5


def test_what_was_spent_must_be_readable() -> None:
    (found,) = planned(free(budget=100), now=NIGHT, ledgers={"default": Ledger((), NIGHT, unreadable="It is torn.")})
    assert found.action == STOP and "What was spent cannot be read" in found.refusal and "It is torn." in found.refusal


# Second choices

H100 = {"compute": {"gpu_type": "H100", "gpu_count": 1, "contract_type": "ondemand"}}
A100 = {"compute": {"gpu_type": "A100", "gpu_count": 1}, "max_price_per_hour": 2.5}


def chosen(*cases: Case, seen: Sequence[Sequence[Any]], **more: Any) -> list[Plan]:
    return host_plans(cases, lambda one: SearchResult.of(one, seen), {}, **more)


def test_a_host_takes_what_it_wants_most() -> None:
    (found,) = chosen(free(spec=[H100, A100]), seen=[[FAIR], [CHEAP]])
    assert (found.action, found.offer_id, found.missed) == (BUY, FAIR["offer_id"], "")
    (cheapest,) = chosen(free(spec=[H100, A100], spec_order="cheapest"), seen=[[FAIR], [CHEAP]])
    assert (cheapest.offer_id, cheapest.missed) == (CHEAP["offer_id"], "")


def test_a_later_choice_says_why() -> None:
    dear = [offer(8, 4.1)]
    (found,) = chosen(free(spec=[H100, A100]), seen=[dear, [FAIR]])
    assert (found.offer_id, found.max_price_per_hour) == (FAIR["offer_id"], 2.5)
    assert found.missed == (
        "gpu-1 gets choice 2 (1 x A100, ondemand): 1 x H100, ondemand: none within"
        " provision_max_price_per_hour (USD 4.00 per hour), the cheapest costs USD 4.10 per hour."
    )


def test_the_lower_ceiling_of_host_and_choice_holds() -> None:
    (below,) = chosen(free(spec=[A100], max_price_per_hour=2), seen=[[offer(8, 2.4)]])
    (above,) = chosen(free(spec=[A100], max_price_per_hour=9), seen=[[offer(8, 2.6)]])
    assert (below.action, above.action) == (STOP, STOP)
    (own,) = chosen(free(spec=[A100], max_price_per_hour=""), seen=[[offer(8, 2.4)]])
    assert (own.action, own.max_price_per_hour) == (BUY, 2.5)


def test_hosts_that_share_their_choices_get_different_offers() -> None:
    seen = [[CHEAP], [FAIR]]
    found = SearchResult.of(host(spec=[H100, A100]), seen)
    plans = host_plans([free("gpu-1", spec=[H100, A100]), free("gpu-2", spec=[H100, A100])], lambda _one: found, {})
    assert [each.offer_id for each in plans] == [CHEAP["offer_id"], FAIR["offer_id"]]
    assert "1 x H100, ondemand: none is left for this host" in plans[1].missed


def test_no_choice_has_an_offer() -> None:
    (found,) = chosen(free(spec=[H100, A100]), seen=[[], []])
    assert found.action == STOP
    assert "1 x H100, ondemand: none; 1 x A100, ondemand: none. Ask for less" in found.refusal


def test_what_was_not_sent_is_no_attempt() -> None:
    gone = [{"offer_id": offer_id(number), "outcome": "not_sent", "msg": ""} for number in range(20, 28)]
    assert case(host(), attempts=gone[:2]).attempts_left == 3
    assert case(host(), attempts=[*gone[:2], {"offer_id": X, "outcome": "rejected"}]).attempts_left == 2
    # But not for ever.
    assert case(host(), attempts=gone).attempts_left == 1


# Waiting


def test_who_has_no_offer_waits_for_a_later_run_if_that_was_asked_for() -> None:
    asks = {"wait": "1970-01-02T00:00Z", "wait_delay": 0, "max_price_per_hour": "0.5"}
    (found,) = planned(free(**asks))
    assert (found.action, found.refusal, found.error_class) == (LATER, "", "")
    assert found.label == "gpu-1: no offer yet; runs look until 1970-01-02 00:00 UTC"
    (over,) = planned(free(**asks), now=24 * 3600.0)
    assert (over.action, over.error_class) == (STOP, "capacity")
    (wrong,) = planned(case(declared(**{**asks, "max_price_per_hour": "3,5"})))
    assert (wrong.action, wrong.error_class) == (STOP, "")


def test_what_is_waited_for_is_one_line() -> None:
    asks = {"wait": "1970-01-02T00:00Z", "wait_delay": "10m"}
    prices = {"a": 4.0, "b": 3.0, "c": None}
    lacking = [
        (free(name, **asks), Plan(name, STOP, error_class="capacity", cheapest=price)) for name, price in prices.items()
    ]
    line = line_of_waiting(lacking, 660.0, "The API is down.")
    assert line == (
        "No offer yet for a, b, c, since 1970-01-01 00:00 UTC. The API is down. The cheapest costs USD 3.00 per hour."
        " Next look 1970-01-01 00:21 UTC, until 1970-01-02 00:00 UTC."
    )
    assert "costs" not in line_of_waiting(lacking[2:], 660.0, "") and line_of_waiting([], 660.0, "") == ""


@pytest.mark.parametrize(
    ("fields", "now", "is_told"),
    [
        ({"wait": "1h"}, 3600.0, True),
        ({"wait": "1h"}, 1.0, False),  # its first look, as in a quote
        ({}, 3600.0, False),
        ({"wait": "1970-01-01T00:10Z", "wait_delay": 0}, 3600.0, False),  # other runs have waited
    ],
)
def test_who_has_waited_in_vain_is_told_since_when_and_the_cheapest(
    fields: dict[str, Any], now: float, is_told: bool
) -> None:
    (found,) = planned(free(max_price_per_hour="0.5", **fields), now=now)
    assert "the cheapest costs USD " in found.refusal and found.cheapest == CHEAP["price_per_hour"]
    assert ("It has waited since 1970-01-01 00:00 UTC." in found.refusal) is is_told, found.refusal


def test_all_or_nothing_waits_for_all() -> None:
    asks = {"wait": "1970-01-02T00:00Z", "wait_delay": 0, "all_or_nothing": True}
    plans = planned(free("gpu-1", **asks), free("gpu-2", **asks, max_price_per_hour="0.5"))
    assert [each.action for each in plans] == [LATER, LATER]
    some = planned(free("gpu-1", **{**asks, "all_or_nothing": False}), free("gpu-2", **asks, max_price_per_hour="0.5"))
    assert [each.action for each in some] == [BUY, LATER]
    (first, _second) = planned(free("gpu-1", **asks), case(host("gpu-2", **asks), HostState.STOP, reason="A fault."))
    assert first.action == STOP and "gpu-1 buys nothing, since gpu-2 cannot have a machine" in first.refusal


@pytest.mark.parametrize(
    ("machines", "unreadable", "total", "said"),
    [
        ([machine(1, "gpu-1", X), machine(2, "foreign")], "", 6.0, ""),
        ([], "", 2.0, ""),  # what the registry names, and the list does not have
        (None, "It answered 500.", 0.0, "It answered 500."),
    ],
)
def test_what_is_billed_on_the_account(
    machines: list[dict[str, Any]] | None, unreadable: str, total: float, said: str
) -> None:
    others = [("gpu-2", entry(offer_id(7), [machine_id(7)], "made"))]
    found = prices_of_others(Account.of([], machines, unreadable), [], others, ())
    assert (found.unreadable, Count((*found.registered, *found.foreign)).sum.total) == (said, total)


def test_an_account_that_was_not_listed_says_so() -> None:
    assert prices_of_others(Account.of([], None), [], [], ()).unreadable
