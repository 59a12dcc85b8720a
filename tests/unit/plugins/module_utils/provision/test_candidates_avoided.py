# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions are avoided for a while after a machine there failed its test, unless a host names the offer."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import (
    Avoided,
    Case,
    SearchResult,
    Unavailable,
    avoided_regions,
    evidence_places,
    with_evidence,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import Declaration
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    BUY,
    STOP,
    Plan,
    host_plans,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import (
    AVOIDED_FOR,
    read_avoid,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState, Standing
from ansible_collections.compute_index.supply.plugins.module_utils._text import utc
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import declared, entry, host, offer, offer_id

NOW, DAY = 1_769_860_800.0, 86_400.0  # 2026-01-31 12:00 UTC
REASON = "GPU 3: xid: Xid 79 (fell off the bus)"
UNTIL = Avoided(("nebius", "EU"), REASON, NOW + 7 * DAY)
SENTENCE = f"nebius EU is avoided until 2026-02-07 12:00 UTC, after a failed test: {REASON}."
TRIED = {"offer_id": offer_id(9), "vendor": "nebius", "region": "EU", "error_class": "unsound"}
OFFERS = [
    offer(1, 1.0),
    offer(2, 2.0, vendor="crusoe"),
    offer(3, 3.0, region="US"),
    offer(4, 4.0, region=None),
    offer(5, 4.0, vendor=None, region=None),
]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7d", AVOIDED_FOR), ("12h", DAY / 2), (0, 0.0), ("", 0.0), (None, 0.0), ("None", 0.0), (90, 90.0)],
)
def test_read_avoid_returns_seconds(value: Any, seconds: float) -> None:
    assert read_avoid(value) == seconds


@pytest.mark.parametrize("value", [True, "a week", "-1", ["7d"], "2026-01-31"])
def test_invalid_avoid_is_an_objection(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^must be a number of seconds, or a duration"):
        read_avoid(value)
    assert (declared(avoid=value).avoid, len(declared(avoid=value).objections)) == (0.0, 1)


def evidence(tested: float = NOW, **fields: Any) -> dict[str, Any]:
    return {"tested_at": utc(tested), "vendor": "nebius", "region": "EU", "reason": REASON, "clock": "here", **fields}


@pytest.mark.parametrize(
    ("bundle", "clock", "until"),
    [
        (evidence(), Clock(NOW), NOW + 7 * DAY),
        (evidence(NOW - 7 * DAY + 1), Clock(NOW), NOW + 1),
        (evidence(NOW - 7 * DAY), Clock(NOW), None),
        # The clock was ahead when it noted the test.
        (evidence(NOW + 30 * DAY), Clock(NOW), NOW + 7 * DAY),
        # The clock that noted the test counts.
        (evidence(NOW - 8 * DAY, clock="api"), Clock(NOW, api=NOW - 2 * DAY), NOW - DAY),
        (evidence(NOW - 8 * DAY, clock="database"), Clock(NOW, database=NOW), None),
        (evidence(NOW - DAY, clock="moon"), Clock(NOW), NOW + 6 * DAY),
        (evidence(tested_at="yesterday"), Clock(NOW), None),
        ({}, Clock(NOW), None),
        (None, Clock(NOW), None),
        (["nebius"], Clock(NOW), None),
    ],
)
def test_region_is_avoided_until_time_since_its_test(bundle: Any, clock: Clock, until: float | None) -> None:
    regions = avoided_regions([bundle], 7 * DAY, clock)
    assert [(item.region, item.until) for item in regions] == ([(("nebius", "EU"), until)] if until else [])


@given(
    st.dictionaries(st.sampled_from(["tested_at", "vendor", "region", "reason", "clock"]), st.text() | st.integers()),
    st.floats(0, 1e9),
)
def test_arbitrary_evidence_raises_nothing(bundle: dict[str, Any], seconds: float) -> None:
    for item in avoided_regions([evidence(**bundle)], seconds, Clock(NOW)):
        assert item.until is not None and NOW < item.until <= NOW + seconds
        assert "\n" not in item.words


def test_zero_seconds_avoid_no_region() -> None:
    assert avoided_regions([evidence()], 0.0, Clock(NOW)) == ()


def test_newest_failed_test_of_each_region_counts() -> None:
    bundles = [evidence(), evidence(NOW - DAY, reason="another"), evidence(vendor=None)]
    found = avoided_regions(bundles, 7 * DAY, Clock(NOW))
    assert [(item.region, item.reason) for item in found] == [(("", "EU"), REASON), (("nebius", "EU"), REASON)]


def test_words_name_vendor_even_if_it_has_no_name() -> None:
    assert UNTIL.words == SENTENCE.removesuffix(".")
    assert Avoided(("", ""), "", NOW).words.startswith("a vendor without a name is avoided")


def case(declaration: Declaration, *before: Avoided, attempts: Any = ()) -> Case:
    return Case(declaration, entry(), Standing(HostState.FREE), attempts, avoided_before=before)


def planned(*cases: Case, offers: Any = tuple(OFFERS)) -> list[Plan]:
    wanted = {item["offer_id"]: SearchResult([item]) for item in offers}
    return host_plans(cases, lambda _host: SearchResult(offers), wanted)


def left_for(avoiding: Case) -> list[str]:
    return [item["offer_id"] for item in OFFERS if not avoiding.why_left_out(item, Unavailable())]


@pytest.mark.parametrize(
    ("error_class", "vendor", "numbers"),
    [
        ("unsound", "nebius", [2, 3, 4, 5]),  # only the region
        ("quota", "nebius", [2, 5]),  # the vendor everywhere
        ("capacity", "nebius", [1, 2, 3, 4, 5]),
        ("", "nebius", [1, 2, 3, 4, 5]),
        ("quota", "", [1, 2, 3, 4, 5]),
        ("quota", "crusoe", [1, 3, 4, 5]),
    ],
)
def test_failed_attempt_rules_out_its_vendor_or_region_only_for_quota_or_test(
    error_class: str, vendor: str, numbers: list[int]
) -> None:
    tried = case(host(), attempts=[{**TRIED, "vendor": vendor, "error_class": error_class}])
    assert left_for(tried) == [offer_id(number) for number in numbers]


@pytest.mark.parametrize("of_this_run", [False, True])
def test_regions_of_failed_tests_of_this_and_earlier_runs_are_avoided(of_this_run: bool) -> None:
    avoiding = case(host(), attempts=[TRIED]) if of_this_run else case(host(), UNTIL)
    assert left_for(avoiding) == [offer_id(n) for n in (2, 3, 4, 5)]
    assert left_for(case(host())) == [item["offer_id"] for item in OFFERS]
    (draft,) = planned(avoiding)
    assert (draft.action, draft.offer_id) == (BUY, offer_id(2))
    assert draft.missed == ("" if of_this_run else SENTENCE)


@pytest.mark.parametrize(
    ("kind", "avoid", "is_read"),
    [(HostState.FREE, "7d", True), (HostState.FREE, 0, False), (HostState.READY, "7d", False)],
)
def test_evidence_is_read_for_hosts_that_buy_and_avoid_regions(kind: HostState, avoid: Any, is_read: bool) -> None:
    buyer = Case(host(avoid=avoid), entry(), Standing(kind))
    assert [*evidence_places([buyer])] == [buyer.host.registry] * is_read


def test_avoided_region_without_offers_is_not_reported() -> None:
    (draft,) = planned(case(host(), UNTIL), offers=OFFERS[1:])
    assert (draft.action, draft.missed) == (BUY, "")


def test_refusal_names_avoided_region_with_all_offers() -> None:
    first, second = planned(case(host(), UNTIL), case(host("gpu-2"), UNTIL), offers=OFFERS[:1])
    assert (first.action, first.error_class, second.action) == (STOP, "capacity", STOP)
    assert f"{SENTENCE} To search there anyway, add -e provision_avoid=0." in first.refusal
    (again,) = planned(case(host(), attempts=[TRIED]), offers=OFFERS[:1])
    assert again.action == STOP and "avoided" not in again.refusal


def test_avoided_regions_are_computed_once_per_declaration() -> None:
    times = [NOW - number for number in range(100)]
    kept = {host().registry: [evidence(moment) for moment in times]}
    first, second, third = with_evidence([case(host()), case(host("gpu-2")), case(host(avoid="12h"))], kept, Clock(NOW))
    assert first.avoided_before == (UNTIL,) and first.avoided_before is second.avoided_before
    assert [item.until for item in third.avoided_before] == [NOW + DAY / 2]


def test_host_that_names_offer_buys_it_in_avoided_region() -> None:
    (draft,) = planned(case(host(offer_id=offer_id(1)), UNTIL))
    assert (draft.action, draft.offer_id, draft.missed) == (BUY, offer_id(1), "")


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.sampled_from(["EU", "US", ""])), max_size=4),
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from(["EU", "US", None])), max_size=6),
)
def test_offer_in_avoided_region_is_never_bought(regions: list[tuple[str, str]], at: list[Any]) -> None:
    offers = [offer(number, 1.0, vendor=vendor, region=region) for number, (vendor, region) in enumerate(at)]
    avoiding = case(host(), *(Avoided(region, REASON, NOW) for region in regions))
    (draft,) = planned(avoiding, offers=offers)
    if draft.action == BUY:
        assert (draft.offer["vendor"] or "", draft.offer["region"] or "") not in regions
    else:
        assert {(vendor or "", region or "") for vendor, region in at} <= {*regions}
