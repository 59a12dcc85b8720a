# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for hosts: who keeps, waits, buys or stops, with which offer and at which price."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import (
    Case,
    SearchResult,
    is_short,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    BUY,
    LATER,
    STOP,
    WAIT,
    Plan,
    fork_warning,
    host_plans,
    lacking,
    line_of_waiting,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.quote import quoted
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import product_key
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage, noted_offer

from planning_samples import ALL, CHEAP, DEAR, FAIR, M, X, Y, actions, case, free, open_purchase, owner, planned
from provision_samples import declared, entry, host, offer, offer_id

# One host


@pytest.mark.parametrize("kind", [HostState.UNDER_WAY, HostState.READY])
@pytest.mark.parametrize(("locked_out", "has_address"), [("no key", False), ("no key", True), ("", False)])
def test_locked_out_job_stops_unless_machine_has_an_address(
    kind: HostState, locked_out: str, has_address: bool
) -> None:
    known = entry(X, [M], "made", provision_price_per_hour=2.0)
    known = replace(known, instances=({"ansible_host": "h"},)) if has_address else known
    declaration = replace(host(), objections=(locked_out,) if locked_out else (), locked_out=locked_out)
    (plan,) = planned(case(declaration, kind, known, offer_id=X, resource_ids=(M,), price_per_hour=2.0))
    if locked_out and not has_address:
        assert plan.action == STOP
        assert f"offer {X} at USD 2.00 per hour, resource ids: {M}. It is billed" in plan.refusal
        assert plan.refusal.endswith(locked_out)
    else:
        assert plan.action == WAIT


def test_quote_shows_failed_purchase_as_owned() -> None:
    """Otherwise a person would approve the workflow, which then buys nothing for this host."""
    standing = {"offer_id": X, "resource_ids": (M,), "price_per_hour": 2.0}
    (plan,) = planned(case(host(), HostState.FAILED, entry(X, [M], "made"), **standing))
    (row,) = quoted([plan], "")["ansible_stats"]["data"]["quote"]["hosts"].values()
    assert (plan.action, row["owned"], row["gpu_type"]) == (WAIT, True, "owned already")


def test_unavailable_offer_of_sealed_plan_gives_advice() -> None:
    sealed = case(replace(host(offer_id=X, max_price_per_hour=2), plan_number="7f", advice="Quote again."))
    plans = [
        *planned(sealed, offers=[offer(1, 2.01)]),
        *planned(sealed, pages={X: SearchResult(reason="It is gone.", is_gone=True)}),
        *planned(sealed, taken=[X]),
    ]
    assert [each.refusal.rpartition(". ")[2] for each in plans] == ["Quote again."] * 3
    assert "which is not within the price in plan 7f (USD 2.00 per hour)." in plans[0].refusal
    (busy,) = planned(sealed, pages={X: SearchResult(reason="The API answered 503.")})
    assert busy.refusal.endswith("Nothing was bought.")


def test_free_host_buys_cheapest_offer_within_its_ceiling() -> None:
    (plan,) = planned(free(max_price_per_hour=2))
    assert (plan.action, plan.offer_id, plan.price_per_hour, plan.max_price_per_hour) == (BUY, X, 1.0, 2.0)
    assert plan.label == "1 x nvidia-h100-sxm5-80gb, USD 1.00/h"


@pytest.mark.parametrize(
    ("buyer", "offers", "search_error", "parts"),
    [
        (free(max_price_per_hour="0.5"), ALL, "", ("USD 0.50", "USD 1.00", "Nothing was bought")),
        (free(), [], "", ("There is no offer", "Nothing was bought")),
        (free(), [], "POST answered 500.", ("answered 500", "Nothing was bought")),
        (free(), [offer(1, None)], "", ("an unknown price", "Nothing was bought")),
        (
            open_purchase(offer_id=Y, max_price_per_hour="0.5"),
            [offer(1, None)],
            "",
            ("not within", "Nothing was bought"),
        ),
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
def test_stopped_host_gives_its_reason(
    buyer: Case, offers: Sequence[Mapping[str, Any]], search_error: str, parts: tuple[str, ...]
) -> None:
    (plan,) = planned(buyer, offers=offers, reason=search_error)
    assert plan.action == STOP
    for part in parts:
        assert part in plan.refusal


@pytest.mark.parametrize(
    ("kind", "known", "refusal"),
    [
        (HostState.FREE, entry(), "'3,5'"),
        (HostState.OPEN, entry(X, purchase="sent"), "'3,5'"),
        (HostState.STOP, entry(), "'3,5'"),
        (HostState.STOP, entry(X, [M], "made"), "A person must decide."),
    ],
)
def test_invalid_declaration_stops_host_unless_its_purchase_does(kind: HostState, known: Entry, refusal: str) -> None:
    invalid = declared(max_price_per_hour="3,5")
    (plan,) = planned(case(invalid, kind, known, offer_id=known.offer_id, reason="A person must decide."))
    reasons = [text for text in ("'3,5'", "A person must decide.") if text in plan.refusal]
    assert (plan.action, reasons) == (STOP, [refusal])


def test_unlimited_host_buys_at_unknown_price() -> None:
    (plan,) = planned(free(max_price_per_hour="unlimited"), offers=[offer(1, None)])
    assert (plan.action, plan.price_per_hour, plan.max_price_per_hour) == (BUY, None, math.inf)


def test_owner_keeps_machine_despite_invalid_declaration() -> None:
    valid = owner("gpu-1")
    invalid = Case(declared(max_price_per_hour="3,5"), valid.entry, valid.standing)
    for each in (valid, invalid):
        # An owner needs no search, and any would fail the test.
        assert actions(host_plans([each], lambda _host: pytest.fail(), {})) == [(WAIT, offer_id(7))]


# Several hosts


def test_hosts_never_share_an_offer() -> None:
    assert actions(planned(*(free(f"gpu-{n}") for n in range(4)))) == [
        (BUY, X),
        (BUY, Y),
        (BUY, offer_id(3)),
        (STOP, ""),
    ]


@pytest.mark.parametrize(
    ("hosts", "max_price", "taken", "beginning"),
    [
        (4, 5, (), "3 offers for 4 hosts. There is no"),
        (9, 2, (), "2 offers for 9 hosts. There is no"),
        (9, 5, (X, Y), "1 offer for 9 hosts. There is no"),
        (2, 0.5, (), "There is no offer for this host. "),  # all of them are too dear
        (2, 5, (X, Y, offer_id(3)), "There is no offer for this host. "),
    ],
)
def test_refusal_counts_offers_and_hosts_of_a_shared_search(
    hosts: int, max_price: float, taken: tuple[str, ...], beginning: str
) -> None:
    result = SearchResult(ALL)
    cases = [free(f"gpu-{number}", max_price_per_hour=max_price) for number in range(hosts)]
    refusals = [plan.refusal for plan in host_plans(cases, lambda _host: result, {}, taken=taken)]
    assert {text for text in refusals if text} == {refusals[-1]} and refusals[-1].startswith(beginning), refusals
    assert refusals[-1].endswith("Nothing was bought.")


@pytest.mark.parametrize(("forks", "warns"), [(1, True), (2, False), (0, False)])
def test_fork_warning_if_forks_are_fewer_than_buyers(forks: int, warns: bool) -> None:
    plans = planned(free("gpu-1"), free("gpu-2"), owner("gpu-3"))
    warning = fork_warning(plans, forks)
    assert warning.startswith("2 hosts buy, 1 at a time: a purchase may take minutes") if warns else warning == ""


def test_search_skips_offers_wanted_taken_or_tried() -> None:
    (_by_id, searching) = planned(free("a", offer_id=X), free("b"))
    assert searching.offer_id == Y
    (searching,) = planned(free("b"), taken={X, Y})
    assert searching.offer_id == offer_id(3)
    tried = case(host("b"), attempts=[{"offer_id": X, "msg": "gone"}])
    assert actions(planned(tried, free("c"))) == [(BUY, Y), (BUY, offer_id(3))]


def test_all_or_nothing_stops_its_buyers_if_one_host_stops() -> None:
    hosts = [free(f"gpu-{n}", all_or_nothing=True) for n in range(4)]
    plans = planned(*hosts)
    assert [each.action for each in plans] == [STOP] * 4
    assert all("gpu-3 cannot have a machine" in each.refusal for each in plans[:3])
    assert [each.action for each in planned(*hosts[:3])] == [BUY] * 3
    assert [each.action for each in planned(*hosts[:2], failed=["gpu-9"])] == [STOP] * 2
    # Owners keep their machines, and hosts without all_or_nothing still buy.
    plans = planned(owner("r"), free("m"), *hosts[1:3], free("x", all_or_nothing=True))
    assert [each.action for each in plans] == [WAIT, BUY, STOP, STOP, STOP]


@pytest.mark.parametrize("names", [("gpu", "gpu"), ("gpu", "gpu", "gpu")])
def test_hosts_with_the_same_machine_name_stop(names: tuple[str, ...]) -> None:
    hosts = [case(host(host=f"h{n}", name=name)) for n, name in enumerate(names)]
    for n, plan in enumerate(planned(*hosts)):
        assert plan.action == STOP
        assert "gpu" in plan.refusal and "provision_resource_name" in plan.refusal
        assert f"h{n}" not in plan.refusal.split(" has or would")[0]


def test_host_with_machine_name_of_an_owner_stops() -> None:
    plans = planned(owner("a"), case(host(host="b", name="a")))
    assert [each.action for each in plans] == [WAIT, STOP]
    assert "a also has or would buy" in plans[1].refusal


# Offers by id


def test_plan_keeps_offer_details_noted_at_quote_or_order() -> None:
    noted, page = {"gpu_type": "nvidia-h100-sxm5-80gb"}, offer(1, 2.0, gpu_type="nvidia-a100-sxm4-80gb", region="US")
    quoted = replace(host(offer_id=X), quoted_offer=noted)
    known = entry(X, purchase="sent", provision_offer=noted)
    ordered = case(host(), HostState.OPEN, known, offer_id=X, price_per_hour=2.0)
    for buyer in (case(quoted), ordered):
        (plan,) = planned(buyer, pages={X: SearchResult([page])})
        assert plan.action == BUY
        assert {**noted_offer(page), **noted} == noted_offer(plan.offer), "the purchase compares this with the page"


def test_offer_id_needs_no_ceiling() -> None:
    for buyer in (free(offer_id=Y, max_price_per_hour=""), free(offer_id=Y, max_price_per_hour="", spec=[H100, A100])):
        (plan,) = planned(buyer)
        assert (plan.action, plan.offer_id, plan.max_price_per_hour) == (BUY, Y, math.inf), (
            "choices limit only searches"
        )


@pytest.mark.parametrize(
    ("page", "parts"),
    [
        (SearchResult([DEAR]), ("USD 3.00", "USD 2.00")),
        (SearchResult([offer(3, None)]), ("an unknown price",)),
        (SearchResult(reason="GET answered 404."), ("404",)),
        (SearchResult(), ("an unknown price",)),
    ],
)
def test_offer_id_above_ceiling_unpriced_or_unreadable_is_refused(page: SearchResult, parts: tuple[str, ...]) -> None:
    (plan,) = planned(free(offer_id=offer_id(3), max_price_per_hour=2), pages={offer_id(3): page})
    assert plan.action == STOP
    for part in (*parts, "Nothing was bought"):
        assert part in plan.refusal


def test_two_hosts_with_one_offer_id_stop() -> None:
    plans = planned(free("a", offer_id=X), free("b", offer_id=f" {X.upper()} "))
    assert [each.action for each in plans] == [STOP, STOP]
    assert "b also has or wants" in plans[0].refusal and "a also has or wants" in plans[1].refusal


def test_host_with_offer_id_of_another_host_stops() -> None:
    """For example if group_vars have the id, and the host is added later."""
    bought = owner("a", number=1)
    for plans in (planned(bought, free("b", offer_id=X), taken={X}), planned(free("b", offer_id=X), taken={X})):
        assert plans[-1].action == STOP
        assert X in plans[-1].refusal and "Nothing was sent" in plans[-1].refusal
    assert "which a host of the registry has, had or wants." in planned(free("b", offer_id=X), taken={X})[0].refusal
    own = case(host("b", offer_id=X), known=entry(X, purchase="refused"), void=True)
    assert actions(planned(own, taken={X})) == [(BUY, X)], "its own entry names the offer"
    assert [each.action for each in planned(open_purchase("a"), free("b", offer_id=X))] == [BUY, STOP]


def test_refused_purchase_frees_its_offer() -> None:
    refused = case(host("a", offer_id=Y), known=entry(X, purchase="refused"), void=True)
    assert actions(planned(refused, free("b", offer_id=X))) == [(BUY, Y), (BUY, X)]


# Purchases without an answer


def test_open_purchase_sends_same_offer_again_at_current_price() -> None:
    (plan,) = planned(open_purchase(number=3, max_price_per_hour=4))
    assert (plan.action, plan.offer_id, plan.price_per_hour) == (BUY, offer_id(3), 3.0)


@pytest.mark.parametrize(
    "buyer",
    [
        open_purchase(number=3, max_price_per_hour=2),
        case(
            declared(max_price_per_hour="3,5"),
            HostState.OPEN,
            entry(offer_id(3)),
            offer_id=offer_id(3),
            price_per_hour=2.0,
        ),
        open_purchase(number=3, max_total_price_per_hour=1),
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
def test_stopped_host_with_open_purchase_names_possible_bill(buyer: Case) -> None:
    (plan,) = planned(buyer)
    assert plan.action == STOP
    assert offer_id(3) in plan.refusal and "MAY BE BOUGHT and billed at USD 2.00" in plan.refusal
    assert "Nothing is billed" not in plan.refusal


def test_all_or_nothing_refusal_names_possible_bill() -> None:
    plans = planned(open_purchase(number=3, all_or_nothing=True), free("b", max_price_per_hour=0))
    assert "MAY BE BOUGHT" in plans[0].refusal and "MAY BE" not in plans[1].refusal


# After attempts


def test_refusal_reports_attempts() -> None:
    tried = [{"offer_id": X, "msg": "gone"}, {"offer_id": Y, "msg": "Someone else was faster."}]
    (plan,) = planned(case(host(), attempts=tried), offers=[CHEAP, FAIR])
    assert plan.action == STOP
    for part in ("Someone else was faster.", "Nothing is billed", f"Offers tried: {X}, {Y}."):
        assert part in plan.refusal
    assert case(host(max_attempts=3), attempts=tried).attempts_left == 1
    keeps = replace(case(host(), attempts=tried), kept_storage=(Storage("s-1", price_per_hour=0.25),))
    (plan,) = planned(keeps, offers=[CHEAP, FAIR])
    assert "keeps its storage, which is billed" in plan.refusal and "Nothing is billed" not in plan.refusal


def test_undelivered_product_is_tried_last_under_any_offer_id() -> None:
    tried = [{"offer_id": X, "outcome": "created", "product": product_key(CHEAP, CHEAP["price_per_hour"])}]
    same_product, dearer = offer(9, 1.0), offer(10, 1.5)
    failed = case(host(), attempts=tried)
    for market, expected in (
        ([same_product, FAIR], FAIR),
        ([same_product, dearer, FAIR], dearer),
        ([same_product], same_product),
    ):
        (plan,) = planned(failed, offers=market)
        assert (plan.action, plan.offer_id) == (BUY, expected["offer_id"])
    # Another host has not tried it.
    first, second = planned(failed, free("other"), offers=[same_product, FAIR])
    assert (first.offer_id, second.offer_id) == (FAIR["offer_id"], same_product["offer_id"])


def test_attempts_left_ignores_a_few_unsent_purchases() -> None:
    unsent = [{"offer_id": offer_id(number), "outcome": "not_sent", "msg": ""} for number in range(20, 28)]
    assert case(host(), attempts=unsent[:2]).attempts_left == 3
    assert case(host(), attempts=[*unsent[:2], {"offer_id": X, "outcome": "rejected"}]).attempts_left == 2
    # Many unsent purchases use up the attempts.
    assert case(host(), attempts=unsent).attempts_left == 1


# More hosts than offers

ONE, TWO, THREE = (free(name) for name in ("gpu-1", "gpu-2", "gpu-3"))


@pytest.mark.parametrize(
    ("cases", "offers", "expected"),
    [
        ([ONE], [CHEAP], False),
        ([ONE, TWO], [CHEAP], True),
        ([ONE, TWO], [CHEAP, FAIR], False),
        ([ONE, TWO], [], False),  # a second search would find none either
        ([ONE, TWO], [CHEAP, offer(4, 99.0)], True),  # listed, but above each ceiling
        ([ONE, owner("gpu-2")], [CHEAP], False),
        ([ONE, free("gpu-2", offer_id=Y)], [CHEAP], False),
        ([ONE, free("gpu-2", spec={"compute": {"gpu_type": "A100"}})], [CHEAP], False),
        ([ONE, free("gpu-2", all_or_nothing=True)], [CHEAP], False),
        ([ONE, TWO, THREE], [CHEAP, FAIR], True),
        # An offer that was tried in vain counts no longer.
        ([replace(ONE, attempts=[{"offer_id": CHEAP["offer_id"], "outcome": "rejected"}])], [CHEAP], True),
        ([replace(ONE, attempts=[{"offer_id": CHEAP["offer_id"], "outcome": "rejected"}])], [CHEAP, FAIR], False),
    ],
)
def test_is_short_if_hosts_outnumber_listed_offers(cases: list[Case], offers: list[Any], expected: bool) -> None:
    (spec,) = [choice.spec for choice in ONE.host.choices]
    assert is_short(cases, spec, (), offers) is expected
    # A listed offer that is taken does not count.
    assert is_short([ONE, TWO], spec, {CHEAP["offer_id"]}, [CHEAP, FAIR]) is True


# Quotas: no run waits for one, and only another vendor may have more

QUOTA_REFUSAL = {"outcome": "rejected", "error_class": "quota", "msg": "The quota is used up."}


@pytest.mark.parametrize(
    ("vendor", "vendors", "bought"),
    [
        ("nebius", ["nebius", "scaleway"], 1),
        ("nebius", ["scaleway", None], 0),
        ("nebius", ["nebius", None], 1),  # its vendor is unknown
        ("", ["nebius"], 0),  # the offer that was tried named no vendor
        ("nebius", ["nebius", "nebius"], None),
    ],
)
def test_after_quota_refusal_only_other_vendors_are_tried(
    vendor: str, vendors: list[str | None], bought: int | None
) -> None:
    tried = [{"offer_id": X, "vendor": vendor, **QUOTA_REFUSAL}]
    market = [offer(number + 10, number + 1.0, vendor=name) for number, name in enumerate(vendors)]
    refused = case(host(wait="8h"), attempts=tried)
    first, second = planned(refused, free("other", wait="8h"), offers=market)
    assert second.action == BUY or len(market) == 1
    if bought is not None:
        assert (first.action, first.offer_id) == (BUY, market[bought]["offer_id"])
        return
    assert (first.action, first.error_class) == (STOP, "quota")
    assert "The quota is used up." in first.refusal and "Offers of nebius were left out" in first.refusal


def test_total_ceiling_holds_after_quota_refusal() -> None:
    tried = [{"offer_id": X, "vendor": "nebius", **QUOTA_REFUSAL}]
    (plan,) = planned(case(host(max_total_price_per_hour=0.5), attempts=tried), offers=[offer(9, vendor="scaleway")])
    assert (plan.action, plan.error_class) == (STOP, "price")


# Leases


def test_label_gives_largest_bill_of_lease() -> None:
    assert planned(free(lease="8h"))[0].label == "1 x H100, USD 1.00/h, USD 8.00 in all"
    (plan,) = planned(free(lease="1970-01-02T00:00Z"), now=3600.0 * 22)
    assert plan.label.endswith("USD 1.00/h, USD 2.00 in all")


@pytest.mark.parametrize(
    ("fields", "action"), [({"max_bill": "7.99"}, STOP), ({"max_bill": "8"}, BUY), ({"max_bill": "unlimited"}, BUY)]
)
def test_max_bill_limits_price_per_hour(fields: dict[str, Any], action: str) -> None:
    for buyer in (free(lease="8h", **fields), free(lease="8h", offer_id=X, **fields)):
        (plan,) = planned(buyer)
        assert plan.action == action
        is_named = "provision_max_bill (USD 7.99 with the lease 8h, so USD 0.99875 per hour)" in plan.refusal
        assert is_named is (action == STOP)


# Choices

H100 = {"compute": {"gpu_type": "H100", "gpu_count": 1, "contract_type": "ondemand"}}
A100 = {"compute": {"gpu_type": "A100", "gpu_count": 1}, "max_price_per_hour": 2.5}


def chosen(*cases: Case, offers_by_choice: Sequence[Sequence[Any]]) -> list[Plan]:
    return host_plans(cases, lambda declaration: SearchResult.of(declaration, offers_by_choice), {})


def test_host_gets_first_choice_or_cheapest_one() -> None:
    (first,) = chosen(free(spec=[H100, A100]), offers_by_choice=[[FAIR], [CHEAP]])
    assert (first.action, first.offer_id, first.missed) == (BUY, FAIR["offer_id"], "")
    (cheapest,) = chosen(free(spec=[H100, A100], spec_order="cheapest"), offers_by_choice=[[FAIR], [CHEAP]])
    assert (cheapest.offer_id, cheapest.missed) == (CHEAP["offer_id"], "")


def test_later_choice_explains_missed_first_choice() -> None:
    too_dear = [offer(8, 4.1)]
    (plan,) = chosen(free(spec=[H100, A100]), offers_by_choice=[too_dear, [FAIR]])
    assert (plan.offer_id, plan.max_price_per_hour) == (FAIR["offer_id"], 2.5)
    assert plan.missed == (
        "gpu-1 gets choice 2 (1 x A100, ondemand): 1 x H100, ondemand: none within"
        " provision_max_price_per_hour (USD 4.00 per hour), the cheapest costs USD 4.10 per hour."
    )


def test_lower_ceiling_of_host_and_choice_holds() -> None:
    (below,) = chosen(free(spec=[A100], max_price_per_hour=2), offers_by_choice=[[offer(8, 2.4)]])
    (above,) = chosen(free(spec=[A100], max_price_per_hour=9), offers_by_choice=[[offer(8, 2.6)]])
    assert (below.action, above.action) == (STOP, STOP)
    (own,) = chosen(free(spec=[A100], max_price_per_hour=""), offers_by_choice=[[offer(8, 2.4)]])
    assert (own.action, own.max_price_per_hour) == (BUY, 2.5)


def test_hosts_with_same_choices_get_different_offers() -> None:
    search = SearchResult.of(host(spec=[H100, A100]), [[CHEAP], [FAIR]])
    plans = host_plans([free("gpu-1", spec=[H100, A100]), free("gpu-2", spec=[H100, A100])], lambda _one: search, {})
    assert [each.offer_id for each in plans] == [CHEAP["offer_id"], FAIR["offer_id"]]
    assert "1 x H100, ondemand: none is left for this host" in plans[1].missed


def test_refusal_names_each_choice_without_offer() -> None:
    (plan,) = chosen(free(spec=[H100, A100]), offers_by_choice=[[], []])
    assert plan.action == STOP
    assert "1 x H100, ondemand: none; 1 x A100, ondemand: none. Ask for less" in plan.refusal


def test_choices_use_highest_price_of_all_searches() -> None:
    low, high = offer(1, 4.0), offer(1, 5.0)  # the same offer
    both, second = free("gpu-1", spec=[H100, A100], max_price_per_hour="unlimited"), free("gpu-2", spec=[A100])
    for offers_by_choice in (
        [[low, offer(2, 4.5)], [high]],
        [[high, offer(2, 4.5)], [low]],
    ):
        (plan,) = chosen(both, offers_by_choice=offers_by_choice)
        assert (plan.offer_id, plan.price_per_hour) == (Y, 4.5), "the cheapest, at the higher prices"
    (above,) = chosen(second, offers_by_choice=[[offer(8, 2.6)]])
    assert (above.action, above.error_class) == (STOP, "capacity"), "above the ceiling of the choice"


# Waiting


def test_host_without_offer_is_left_to_later_run_until_deadline() -> None:
    fields = {"wait": "1970-01-02T00:00Z", "wait_delay": 0, "max_price_per_hour": "0.5"}
    (plan,) = planned(free(**fields))
    assert (plan.action, plan.refusal, plan.error_class) == (LATER, "", "")
    assert plan.label == "gpu-1: no offer yet; runs look until 1970-01-02 00:00 UTC"
    (over,) = planned(free(**fields), now=24 * 3600.0)
    assert (over.action, over.error_class) == (STOP, "capacity")
    transient, permanent = (SearchResult(reason="It failed.", is_transient=each) for each in (True, False))
    assert host_plans([free(**fields)], lambda _host: transient, {})[0].action == LATER
    assert host_plans([free(**fields)], lambda _host: permanent, {})[0].action == STOP
    (tried,) = planned(case(host(**fields), attempts=[{"offer_id": offer_id(9), "msg": "It is gone."}]))
    assert (tried.action, tried.error_class) == (STOP, "capacity"), "a host with attempts does not wait"
    (invalid,) = planned(case(declared(**{**fields, "max_price_per_hour": "3,5"})))
    assert (invalid.action, invalid.error_class) == (STOP, "")


@pytest.mark.parametrize(
    ("buyer", "now", "trouble", "expected"),
    [
        (free(wait="1h", max_price_per_hour="0.5"), 0.0, "", True),
        (free(wait="1h"), 0.0, "", False),  # it has an offer
        (free(wait="1h"), 0.0, "The account cannot be read.", True),
        (owner("gpu-1", wait="1h"), 0.0, "The account cannot be read.", False),
        (free(wait="1h", max_price_per_hour="0.5"), 3600.0, "", False),  # no time for another search
        (free(max_price_per_hour="0.5"), 0.0, "", False),
    ],
)
def test_lacking_hosts_without_an_offer_that_have_time(buyer: Case, now: float, trouble: str, expected: bool) -> None:
    plans = planned(buyer)
    assert lacking([buyer], plans, now, trouble, may_wait=True) == ([(buyer, plans[0])] if expected else [])
    assert lacking([buyer], plans, now, trouble, may_wait=False) == []


def test_line_of_waiting_names_hosts_times_and_cheapest_price() -> None:
    fields = {"wait": "1970-01-02T00:00Z", "wait_delay": "10m"}
    prices = {"a": 4.0, "b": 3.0, "c": None}
    waiting = [
        (free(name, **fields), Plan(name, STOP, error_class="capacity", cheapest=price))
        for name, price in prices.items()
    ]
    line = line_of_waiting(waiting, 660.0, "The API is down.")
    assert line == (
        "No offer yet for a, b, c, since 1970-01-01 00:00 UTC. The API is down. The cheapest costs USD 3.00 per hour."
        " Next look 1970-01-01 00:21 UTC, until 1970-01-02 00:00 UTC."
    )
    assert "costs" not in line_of_waiting(waiting[2:], 660.0, "") and line_of_waiting([], 660.0, "") == ""


@pytest.mark.parametrize(
    ("fields", "now", "names_start"),
    [
        ({"wait": "1h"}, 3600.0, True),
        ({"wait": "1h"}, 1.0, False),  # the first search, as in a quote
        ({}, 3600.0, False),
        ({"wait": "1970-01-01T00:10Z", "wait_delay": 0}, 3600.0, False),  # the delay is 0, so other runs have waited
    ],
)
def test_refusal_after_waiting_names_start_and_cheapest_price(
    fields: dict[str, Any], now: float, names_start: bool
) -> None:
    (plan,) = planned(free(max_price_per_hour="0.5", **fields), now=now)
    assert "the cheapest costs USD " in plan.refusal and plan.cheapest == CHEAP["price_per_hour"]
    assert ("It has waited since 1970-01-01 00:00 UTC." in plan.refusal) is names_start, plan.refusal


def test_all_or_nothing_waits_until_all_have_offers() -> None:
    fields = {"wait": "1970-01-02T00:00Z", "wait_delay": 0, "all_or_nothing": True}
    plans = planned(free("gpu-1", **fields), free("gpu-2", **fields, max_price_per_hour="0.5"))
    assert [each.action for each in plans] == [LATER, LATER]
    plans = planned(
        free("gpu-1", **{**fields, "all_or_nothing": False}), free("gpu-2", **fields, max_price_per_hour="0.5")
    )
    assert [each.action for each in plans] == [BUY, LATER]
    (first, _second) = planned(
        free("gpu-1", **fields), case(host("gpu-2", **fields), HostState.STOP, reason="A fault.")
    )
    assert first.action == STOP and "gpu-1 buys nothing, since gpu-2 cannot have a machine" in first.refusal
