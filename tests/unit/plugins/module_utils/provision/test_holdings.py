# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a purchase holds: the table of docs/architecture.md row by row, and properties of every combination."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.holdings import (
    HoldingState,
    Observation,
    Proof,
    PurchaseLook,
    what_is_held,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import machine, machine_id, offer_id

OURS, THEIRS = offer_id(1), offer_id(2)
SENT_AT = 1_769_860_800.0  # 2026-01-31T12:00:00Z, when the samples' machines were made
LATER = SENT_AT + 3600

M = machine_id(1)
MINE = machine(1, "gpu-1", OURS)
SILENT = machine(1, "gpu-1", None)
OTHER = machine(1, "gpu-1", THEIRS)
VOLUME = machine(1, "data", THEIRS, kind="storage")

HELD, PENDING, AFFECTED = HoldingState.HELD, HoldingState.PENDING, HoldingState.AFFECTED
CONTRADICTION, IGNORED = HoldingState.CONTRADICTION, HoldingState.IGNORED

TABLE: list[tuple[str, Proof, Any, str, float | None, HoldingState]] = [
    # our purchase's own answer (2xx)
    ("answer, ours", Proof.ANSWER, MINE, "", SENT_AT, HELD),
    ("answer, nothing", Proof.ANSWER, SILENT, "", LATER, HELD),
    ("answer, not readable yet", Proof.ANSWER, None, "", SENT_AT, HELD),
    ("answer, certain other, a machine", Proof.ANSWER, OTHER, "", SENT_AT, CONTRADICTION),
    ("answer, ours, another host holds it", Proof.ANSWER, MINE, "gpu-2", SENT_AT, CONTRADICTION),
    ("answer, nothing, another host holds it", Proof.ANSWER, SILENT, "gpu-2", SENT_AT, CONTRADICTION),
    ("answer, certain other, storage", Proof.ANSWER, VOLUME, "", SENT_AT, AFFECTED),
    # the status, or a filtered list, of an answered purchase
    ("status, ours", Proof.STATUS, MINE, "", SENT_AT, HELD),
    ("status, nothing", Proof.STATUS, SILENT, "", SENT_AT, HELD),
    ("status, nothing, sending time unknown", Proof.STATUS, SILENT, "", None, HELD),
    ("status, nothing, older than the purchase", Proof.STATUS, SILENT, "", LATER, CONTRADICTION),
    ("status, nothing, another host holds it", Proof.STATUS, SILENT, "gpu-2", SENT_AT, CONTRADICTION),
    ("status, 404 or not listed", Proof.STATUS, None, "", SENT_AT, PENDING),
    ("status, certain other", Proof.STATUS, OTHER, "", SENT_AT, CONTRADICTION),
    ("status, certain other, storage", Proof.STATUS, VOLUME, "", SENT_AT, AFFECTED),
    ("status, ours, another host holds it", Proof.STATUS, MINE, "gpu-2", SENT_AT, CONTRADICTION),
    # a further id beside a held one
    ("itself, ours", Proof.OFFER, MINE, "", SENT_AT, HELD),
    ("itself, another host holds it", Proof.OFFER, MINE, "gpu-2", SENT_AT, CONTRADICTION),
    # the host's name, and an unanswered purchase of ours
    ("name, ours", Proof.NAME, MINE, "", SENT_AT, HELD),
    ("name, nothing", Proof.NAME, SILENT, "", SENT_AT, HELD),
    ("name, nothing, older than the purchase", Proof.NAME, SILENT, "", LATER, IGNORED),
    ("name, certain other", Proof.NAME, OTHER, "", SENT_AT, IGNORED),
]


@pytest.mark.parametrize(
    ("proof", "resource", "holder", "sent_at", "verdict"), [each[1:] for each in TABLE], ids=[each[0] for each in TABLE]
)
def test_what_follows_for_one_resource(
    proof: Proof, resource: Any, holder: str, sent_at: float | None, verdict: HoldingState
) -> None:
    observed = Observation(machine_id(1), proof, resource, holder)
    assert what_is_held(observed, OURS, sent_at)[0] is verdict


def look(**fields: Any) -> PurchaseLook:
    return PurchaseLook(**{"offer_id": OURS, "noted": (machine_id(1),), "sent_at": SENT_AT, **fields})


def listed(*machines: dict[str, Any]) -> dict[str, Any]:
    return {each["resource_id"]: each for each in machines}


def test_an_id_that_a_later_status_omits_stays() -> None:
    found, contradictions = look(noted=(machine_id(1), machine_id(2)), named=(machine_id(2),)).concluded
    assert (found.ids, contradictions) == ((machine_id(1), machine_id(2)), ())


def test_a_further_machine_of_the_offer_is_held_beside_the_first() -> None:
    second = machine(2, "gpu-1-2", OURS)
    assert look(listed=listed(MINE, second)).concluded[0].ids == (machine_id(1), machine_id(2))
    assert look(named=(machine_id(2),), read=listed(second)).concluded[0].ids == (machine_id(1), machine_id(2))


def test_a_contradiction_names_both_sides_and_overwrites_nothing() -> None:
    found, (contradiction,) = look(named=(machine_id(2),), read=listed(machine(2, "train", THEIRS))).concluded
    assert found.ids == (machine_id(1),) and machine_id(2) not in found.billable
    assert all(part in str(contradiction) for part in (machine_id(2), "called train", THEIRS, "the offer's status"))


def test_the_offer_that_only_the_list_names_contradicts_like_that_of_a_page() -> None:
    other = machine(2, None, THEIRS)
    page = {machine_id(2): {**other, "offer_id": None}}
    found, contradictions = look(named=(machine_id(2),), listed=listed(other), read=page).concluded
    assert (found.ids, len(contradictions)) == ((machine_id(1),), 1)


def test_what_is_pending_is_billed_and_not_held() -> None:
    found, contradictions = look(noted=(), named=(machine_id(2),), read={machine_id(2): None}).concluded
    assert (found.ids, found.billable, contradictions) == ((), (machine_id(2),), ())


def test_only_what_was_told_gone_goes() -> None:
    gone = {**machine(2, None, OURS), "status": "deleted"}
    one = look(noted=(machine_id(1), machine_id(2)), listed=listed(gone))
    assert one.left_of(one.concluded[0].billable) == (machine_id(1),)


@pytest.mark.parametrize(
    ("fields", "ids_to_prove"),
    [
        ({}, ()),
        ({"listed": listed(MINE)}, ()),
        ({"listed": listed(SILENT), "named": (machine_id(1),)}, ()),
        ({"listed": listed(OTHER)}, (machine_id(1),)),
        ({"named": (machine_id(2),)}, (machine_id(2),)),
        ({"named": (machine_id(2),), "listed": listed(machine(2, None, OURS))}, ()),
        ({"named": (machine_id(2),), "listed": listed(machine(2, None, None))}, (machine_id(2),)),
        ({"named": (machine_id(2),), "read": {machine_id(2): None}}, ()),
    ],
)
def test_only_what_decides_is_read_by_its_id(fields: dict[str, Any], ids_to_prove: tuple[str, ...]) -> None:
    assert look(**fields).ids_to_prove == ids_to_prove


ids = st.sampled_from([machine_id(number) for number in range(4)])
resources = st.builds(
    lambda number, offer, kind: machine(number, None, offer, kind=kind),
    st.integers(0, 3),
    st.sampled_from([None, OURS, THEIRS]),
    st.sampled_from(["machine", "other", "storage"]),
)
some_ids = st.lists(ids, unique=True).map(tuple)
looks = st.builds(
    PurchaseLook,
    st.just(OURS),
    noted=some_ids,
    named=some_ids,
    sent_at=st.just(SENT_AT),
    listed=st.lists(resources).map(lambda shown: listed(*shown)),
    read=st.builds(lambda unknown, shown: {**dict.fromkeys(unknown), **listed(*shown)}, some_ids, st.lists(resources)),
    holders=st.dictionaries(ids, st.just("gpu-2")),
)


@given(looks)
def test_whatever_is_observed_nothing_is_lost_and_nothing_of_another_is_held(one: PurchaseLook) -> None:
    held, contradictions = one.concluded
    observed = {each.resource_id: each for each in one.observations()}
    assert {*one.noted, *one.named} <= set(observed)
    odd = [each.observation.resource_id for each in contradictions]
    assert sorted([*held.ids, *held.pending, *held.affected, *held.storage, *odd]) == sorted(observed)
    for each in held.ids:
        seen = observed[each]
        assert (seen.resource or {}).get("offer_id") in (None, OURS) and not seen.holder
    for each in held.pending:
        assert observed[each].resource is None and each not in one.noted


@pytest.mark.parametrize(
    ("listed", "read", "is_left"),
    [
        ("running", {}, True),
        ("deleted", {}, False),
        ("deleting", {}, True),
        pytest.param("running", {M: {**MINE, "status": "deleted"}}, False, id="the list lags"),
        pytest.param("deleted", {M: MINE}, True, id="the list errs"),
        pytest.param("running", {M: None}, True, id="a 404 proves nothing"),
        pytest.param("deleted", {M: None}, False, id="nor does it take back what the API has said"),
        pytest.param(None, {M: None}, True, id="nobody shows it"),
    ],
)
def test_what_is_left_goes_by_its_own_page(listed: str | None, read: Any, is_left: bool) -> None:
    shown = {} if listed is None else {M: {**MINE, "status": listed}}
    look = PurchaseLook(OURS, (M,), (), SENT_AT, shown, read)
    assert look.left_of(look.ids) == ((M,) if is_left else ())


@pytest.mark.parametrize(
    ("since", "made", "offer", "is_ours"),
    [
        ("2026-01-31T12:20:00Z", "2026-01-31T12:00:00Z", None, True),
        ("2026-01-31T15:00:00Z", "2026-01-31T12:00:00Z", None, False),  # linked by a person, and may be a colleague's
        ("2026-01-31T15:00:00Z", "2026-01-31T12:00:00Z", OURS, True),  # it says so itself
        ("2026-01-31T15:00:00Z", None, None, True),
        (None, "2026-01-31T12:00:00Z", None, True),
    ],
)
def test_storage_that_was_attached_later_has_not_come_with_the_machine(
    since: str | None, made: str | None, offer: str | None, is_ours: bool
) -> None:
    volume = machine(2, "data", offer, kind="storage", created_at="2026-01-31T14:00:00Z")
    link = {"resource_id": machine_id(2), "kind": "storage", "linked_since": since}
    mine = {**MINE, "created_at": made, "linked_resources": [link]}
    look = PurchaseLook(OURS, (M,), sent_at=SENT_AT, listed={M: mine, machine_id(2): volume})
    held, contradictions = look.concluded
    assert (held.ids, held.storage, contradictions) == ((M,), (machine_id(2),) if is_ours else (), ())


@pytest.mark.parametrize("until", [None, "2026-01-31T13:00:00Z"])
@pytest.mark.parametrize("status", ["active", "failed", "deleting", "deleted"])
def test_the_links_of_a_machine_end_with_it_and_storage_goes_on(status: str, until: str | None) -> None:
    """While the machine runs, a link that has ended means that the storage was detached."""
    volume = machine(2, "data", kind="storage", created_at="2026-01-31T12:20:00Z")
    mine = {
        **machine(1, "gpu-1", OURS, status=status),
        "linked_resources": [{"resource_id": machine_id(2), "kind": "storage", "linked_until": until}],
    }
    held, contradictions = PurchaseLook(OURS, (M,), read={M: mine, machine_id(2): volume}).concluded
    is_ours = until is None or status in ("deleting", "deleted")
    assert (held.storage, contradictions) == ((machine_id(2),) if is_ours else (), ())


@pytest.mark.parametrize(("offer", "state"), [(None, AFFECTED), (OURS, HoldingState.STORAGE), (THEIRS, AFFECTED)])
@pytest.mark.parametrize("proof", [Proof.ANSWER, Proof.STATUS, Proof.LINK])
def test_storage_that_was_listed_before_the_purchase_is_ours_only_if_it_says_so(
    proof: Proof, offer: str | None, state: HoldingState
) -> None:
    """Its age proves nothing: two projects may attach a volume within minutes of each other."""
    volume = machine(2, "data", offer, kind="storage", created_at=None)
    observed = Observation(machine_id(2), proof, volume, listed_before=True)
    assert what_is_held(observed, OURS, SENT_AT)[0] is state
