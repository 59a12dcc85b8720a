# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The holdings of a purchase: the table of docs/architecture.md row by row, and a property of every look."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.holdings import (
    Contradiction,
    Holdings,
    HoldingState,
    Observation,
    Proof,
    PurchaseLook,
    disowned,
    links_in,
    what_is_held,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import machine, machine_id, offer_id

OURS, THEIRS = offer_id(1), offer_id(2)
NOTED_AT = 1_769_860_800.0  # 2026-01-31T12:00:00Z, when the samples' machines were made
LATER = NOTED_AT + 3600

M = machine_id(1)
OWN = machine(1, "gpu-1", OURS)
OFFERLESS = machine(1, "gpu-1", None)
FOREIGN = machine(1, "gpu-1", THEIRS)
UNDATED = machine(1, "gpu-1", None, created_at=None)
VOLUME = machine(1, "data", OURS, kind="storage")
OFFERLESS_VOLUME = machine(1, "data", None, kind="storage")
FOREIGN_VOLUME = machine(1, "data", THEIRS, kind="storage")
LINKED = {**OWN, "linked_resources": [{"resource_id": machine_id(3), "kind": "storage"}]}
DELETED_VOLUME = machine(1, "data", OURS, kind="storage", status="deleted")

HELD, PENDING, AFFECTED = HoldingState.HELD, HoldingState.PENDING, HoldingState.AFFECTED
CONTRADICTION, IGNORED, STORAGE = HoldingState.CONTRADICTION, HoldingState.IGNORED, HoldingState.STORAGE

TABLE: list[tuple[str, Proof, Any, str, float | None, HoldingState]] = [
    # our purchase's own answer (2xx)
    ("answer, our offer", Proof.ANSWER, OWN, "", NOTED_AT, HELD),
    ("answer, no offer", Proof.ANSWER, OFFERLESS, "", LATER, HELD),
    ("answer, 404", Proof.ANSWER, None, "", NOTED_AT, HELD),
    ("answer, another offer", Proof.ANSWER, FOREIGN, "", NOTED_AT, CONTRADICTION),
    ("answer, our offer, another host holds it", Proof.ANSWER, OWN, "gpu-2", NOTED_AT, CONTRADICTION),
    ("answer, no offer, another host holds it", Proof.ANSWER, OFFERLESS, "gpu-2", NOTED_AT, CONTRADICTION),
    ("answer, storage", Proof.ANSWER, VOLUME, "", NOTED_AT, STORAGE),
    # A purchase's own answer proves more than two clocks.
    ("answer, storage, no offer, older than the purchase", Proof.ANSWER, OFFERLESS_VOLUME, "", LATER, STORAGE),
    ("answer, storage, another host holds it", Proof.ANSWER, VOLUME, "gpu-2", NOTED_AT, AFFECTED),
    ("answer, storage of another offer", Proof.ANSWER, FOREIGN_VOLUME, "", NOTED_AT, AFFECTED),
    ("answer, deleted storage", Proof.ANSWER, DELETED_VOLUME, "", NOTED_AT, IGNORED),
    # the status, or a filtered list, of an answered purchase
    ("status, our offer", Proof.STATUS, OWN, "", NOTED_AT, HELD),
    ("status, our offer, older than the purchase", Proof.STATUS, OWN, "", LATER, HELD),
    ("status, no offer", Proof.STATUS, OFFERLESS, "", NOTED_AT, HELD),
    ("status, no offer, creation time unknown", Proof.STATUS, UNDATED, "", NOTED_AT, HELD),
    ("status, no offer, sending time unknown", Proof.STATUS, OFFERLESS, "", None, HELD),
    ("status, no offer, older than the purchase", Proof.STATUS, OFFERLESS, "", LATER, CONTRADICTION),
    ("status, no offer, another host holds it", Proof.STATUS, OFFERLESS, "gpu-2", NOTED_AT, CONTRADICTION),
    ("status, 404 or not listed", Proof.STATUS, None, "", NOTED_AT, PENDING),
    ("status, another offer", Proof.STATUS, FOREIGN, "", NOTED_AT, CONTRADICTION),
    ("status, storage, no offer, older than the purchase", Proof.STATUS, OFFERLESS_VOLUME, "", LATER, AFFECTED),
    ("status, storage of another offer", Proof.STATUS, FOREIGN_VOLUME, "", NOTED_AT, AFFECTED),
    ("status, our offer, another host holds it", Proof.STATUS, OWN, "gpu-2", NOTED_AT, CONTRADICTION),
    # a further resource, which names our offer itself
    ("resource, our offer", Proof.OFFER, OWN, "", NOTED_AT, HELD),
    ("resource, our offer, another host holds it", Proof.OFFER, OWN, "gpu-2", NOTED_AT, CONTRADICTION),
    # the host's name, and an unanswered purchase of ours
    ("name, our offer", Proof.NAME, OWN, "", NOTED_AT, HELD),
    ("name, no offer", Proof.NAME, OFFERLESS, "", NOTED_AT, HELD),
    ("name, no offer, older than the purchase", Proof.NAME, OFFERLESS, "", LATER, IGNORED),
    ("name, no offer, older by as much as clocks may differ", Proof.NAME, OFFERLESS, "", NOTED_AT + 300, HELD),
    ("name, no offer, older by a second more", Proof.NAME, OFFERLESS, "", NOTED_AT + 301, IGNORED),
    ("name, another offer", Proof.NAME, FOREIGN, "", NOTED_AT, IGNORED),
]


@pytest.mark.parametrize(
    ("proof", "resource", "holder", "noted_at", "state"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_state_of_resource_by_its_proof(
    proof: Proof, resource: Any, holder: str, noted_at: float | None, state: HoldingState
) -> None:
    observed = Observation(machine_id(1), proof, resource, holder)
    assert what_is_held(observed, OURS, noted_at)[0] is state


def look(**fields: Any) -> PurchaseLook:
    return PurchaseLook(**{"offer_id": OURS, "noted": (machine_id(1),), "noted_at": NOTED_AT, **fields})


def listed(*machines: dict[str, Any]) -> dict[str, Any]:
    return {each["resource_id"]: each for each in machines}


def test_id_that_a_later_status_omits_stays_held() -> None:
    holdings, contradictions = look(noted=(machine_id(1), machine_id(2)), named=(machine_id(2),)).concluded
    assert (holdings.ids, contradictions) == ((machine_id(1), machine_id(2)), ())


def test_further_machine_of_the_offer_is_also_held() -> None:
    second = machine(2, "gpu-1-2", OURS)
    assert look(listed=listed(OWN, second)).concluded[0].ids == (machine_id(1), machine_id(2))
    assert look(named=(machine_id(2),), read=listed(second)).concluded[0].ids == (machine_id(1), machine_id(2))


def test_contradiction_names_source_and_offer_and_changes_no_holding() -> None:
    holdings, (contradiction,) = look(named=(machine_id(2),), read=listed(machine(2, "train", THEIRS))).concluded
    assert holdings.ids == (machine_id(1),) and machine_id(2) not in holdings.billable
    assert all(part in str(contradiction) for part in (machine_id(2), "called train", THEIRS, "the offer's status"))


def test_other_offer_named_only_by_the_list_contradicts() -> None:
    other = machine(2, None, THEIRS)
    page = {machine_id(2): {**other, "offer_id": None}}
    holdings, contradictions = look(named=(machine_id(2),), listed=listed(other), read=page).concluded
    assert (holdings.ids, len(contradictions)) == ((machine_id(1),), 1)


def test_pending_id_is_billable_but_not_held() -> None:
    holdings, contradictions = look(noted=(), named=(machine_id(2),), read={machine_id(2): None}).concluded
    assert (holdings.ids, holdings.billable, contradictions) == ((), (machine_id(2),), ())


def test_left_of_drops_only_gone_machines() -> None:
    gone = {**machine(2, None, OURS), "status": "deleted"}
    both = look(noted=(machine_id(1), machine_id(2)), listed=listed(gone))
    assert both.left_of(both.concluded[0].billable) == (machine_id(1),)


@pytest.mark.parametrize(
    ("fields", "ids_to_prove"),
    [
        ({}, ()),
        ({"listed": listed(OWN)}, ()),
        ({"listed": listed(OFFERLESS), "named": (machine_id(1),)}, ()),
        ({"listed": listed(FOREIGN)}, (machine_id(1),)),
        ({"named": (machine_id(2),)}, (machine_id(2),)),
        ({"named": (machine_id(2),), "listed": listed(machine(2, None, OURS))}, ()),
        ({"named": (machine_id(2),), "listed": listed(machine(2, None, None))}, (machine_id(2),)),
        ({"named": (machine_id(2),), "read": {machine_id(2): None}}, ()),
        ({"listed": listed(LINKED)}, (machine_id(3),)),
        ({"listed": listed(LINKED, machine(3, "data", OURS, kind="storage"))}, ()),
        # Noted storage needs a proof only to be gone.
        (
            {"storage": (machine_id(3),), "listed": listed(OWN, machine(3, kind="storage", status="deleted"))},
            (machine_id(3),),
        ),
        ({"noted": (machine_id(3),), "storage": (machine_id(3),), "listed": listed(machine(3, None, THEIRS))}, ()),
    ],
)
def test_ids_to_prove_are_those_that_the_list_leaves_open(
    fields: dict[str, Any], ids_to_prove: tuple[str, ...]
) -> None:
    assert look(**fields).ids_to_prove == ids_to_prove


def test_links_lead_from_machines_to_storage_only() -> None:
    """Otherwise a machine of someone else could become the host's, or storage that no page shows could block it."""
    other = machine(2, "train", None)
    linked_machine = {**OWN, "linked_resources": [{"resource_id": machine_id(2), "kind": "machine"}]}
    assert look(listed=listed(linked_machine, other)).concluded == (Holdings((M,)), ())
    volume = {**machine(2, "data", OURS, kind="storage"), "linked_resources": LINKED["linked_resources"]}
    assert look(named=(machine_id(2),), listed=listed(OWN, volume)).linked == []
    assert look(listed=listed(LINKED), read={machine_id(3): None}).concluded == (Holdings((M,)), ())
    assert links_in([LINKED, linked_machine, None, "GET answered 404."]) == {machine_id(3)}


def test_noted_storage_is_no_machine_and_stays_until_it_is_gone() -> None:
    noted, deleted = machine_id(3), machine(4, "data", OURS, kind="storage", status="deleted")
    both = look(noted=(M, noted), storage=(noted, machine_id(4)), listed=listed(OWN), read=listed(deleted))
    assert both.concluded == (Holdings((M,)), ())
    assert both.left_of((M, noted)) == (M,)
    assert both.storage_with([], [Storage(noted), Storage(machine_id(4))], {}) == (Storage(noted),)
    assert look(listed=listed(machine(3, "data", OURS, kind="storage"))).left_of((M, noted)) == (M,)


def test_unlisted_are_the_noted_ids_that_the_list_lacks() -> None:
    assert look(noted=(M, machine_id(2)), named=(machine_id(3),), listed=listed(OWN)).unlisted == (machine_id(2),)


@pytest.mark.parametrize(
    ("resource", "name"), [(FOREIGN, " (called gpu-1)"), ({**FOREIGN, "name": None}, ""), (None, "")]
)
def test_contradiction_in_words(resource: Any, name: str) -> None:
    contradiction = Contradiction(Observation(M, Proof.STATUS, resource), "host gpu-2 holds it")
    assert str(contradiction) == f"the offer's status names {M}{name}, but host gpu-2 holds it"


@pytest.mark.parametrize(
    ("proof", "held", "expected"),
    [
        (Proof.ANSWER, (machine_id(2),), [M]),
        (Proof.STATUS, (machine_id(2),), []),
        (Proof.ANSWER, (), []),  # the noted ids are the only trace of the purchase
    ],
)
def test_disowned_are_ids_of_the_answer_if_the_purchase_holds_others(
    proof: Proof, held: tuple[str, ...], expected: list[str]
) -> None:
    contradiction = Contradiction(Observation(M, proof, FOREIGN), "it was bought with another offer")
    assert disowned(Holdings(held), [contradiction]) == expected


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
    noted_at=st.just(NOTED_AT),
    listed=st.lists(resources).map(lambda machines: listed(*machines)),
    read=st.builds(
        lambda missing, machines: {**dict.fromkeys(missing), **listed(*machines)}, some_ids, st.lists(resources)
    ),
    holders=st.dictionaries(ids, st.just("gpu-2")),
)


@given(looks)
def test_every_observed_id_has_one_state_and_foreign_ids_are_not_held(purchase_look: PurchaseLook) -> None:
    holdings, contradictions = purchase_look.concluded
    observed = {item.resource_id: item for item in purchase_look.observations()}
    assert {*purchase_look.noted, *purchase_look.named} <= set(observed)
    contradicting = [item.observation.resource_id for item in contradictions]
    assert sorted([*holdings.ids, *holdings.pending, *holdings.affected, *holdings.storage, *contradicting]) == sorted(
        observed
    )
    for resource_id in holdings.ids:
        observation = observed[resource_id]
        assert (observation.resource or {}).get("offer_id") in (None, OURS) and not observation.holder
    for resource_id in holdings.pending:
        assert observed[resource_id].resource is None and resource_id not in purchase_look.noted


@pytest.mark.parametrize(
    ("listed", "read", "is_left"),
    [
        ("running", {}, True),
        ("deleted", {}, False),
        ("deleting", {}, True),
        pytest.param("running", {M: {**OWN, "status": "deleted"}}, False, id="the list lags"),
        pytest.param("deleted", {M: OWN}, True, id="the list errs"),
        pytest.param("running", {M: None}, True, id="a 404 proves nothing"),
        pytest.param("deleted", {M: None}, False, id="a 404 does not undo the list"),
        pytest.param(None, {M: None}, True, id="neither shows it"),
    ],
)
def test_left_of_prefers_the_page_to_the_list(listed: str | None, read: Any, is_left: bool) -> None:
    by_id = {} if listed is None else {M: {**OWN, "status": listed}}
    look = PurchaseLook(OURS, (M,), (), NOTED_AT, by_id, read)
    assert look.left_of(look.ids) == ((M,) if is_left else ())


@pytest.mark.parametrize(
    ("linked_since", "machine_created", "offer", "is_bought"),
    [
        ("2026-01-31T12:20:00Z", "2026-01-31T12:00:00Z", None, True),
        ("2026-01-31T13:00:00Z", "2026-01-31T12:00:00Z", None, True),
        ("2026-01-31T13:00:01Z", "2026-01-31T12:00:00Z", None, False),
        ("2026-01-31T15:00:00Z", "2026-01-31T12:00:00Z", None, False),  # a person may have linked a colleague's storage
        ("2026-01-31T15:00:00Z", "2026-01-31T12:00:00Z", OURS, True),  # it names our offer
        ("2026-01-31T15:00:00Z", None, None, True),
        (None, "2026-01-31T12:00:00Z", None, True),
    ],
)
def test_storage_linked_long_after_the_machine_was_made_is_not_bought(
    linked_since: str | None, machine_created: str | None, offer: str | None, is_bought: bool
) -> None:
    volume = machine(2, "data", offer, kind="storage", created_at="2026-01-31T14:00:00Z")
    link = {"resource_id": machine_id(2), "kind": "storage", "linked_since": linked_since}
    own = {**OWN, "created_at": machine_created, "linked_resources": [link]}
    look = PurchaseLook(OURS, (M,), noted_at=NOTED_AT, listed={M: own, machine_id(2): volume})
    holdings, contradictions = look.concluded
    assert (holdings.ids, holdings.storage, contradictions) == ((M,), (machine_id(2),) if is_bought else (), ())
    assert replace(look, named=(machine_id(2),)).concluded[0].storage == (machine_id(2),), "the status proves more"


@pytest.mark.parametrize("linked_until", [None, "2026-01-31T13:00:00Z"])
@pytest.mark.parametrize("status", ["active", "failed", "deleting", "deleted"])
def test_ended_link_proves_storage_only_if_its_machine_has_ended(status: str, linked_until: str | None) -> None:
    """If a link ends while the machine runs, the storage was detached from it."""
    volume = machine(2, "data", kind="storage", created_at="2026-01-31T12:20:00Z")
    own = {
        **machine(1, "gpu-1", OURS, status=status),
        "linked_resources": [{"resource_id": machine_id(2), "kind": "storage", "linked_until": linked_until}],
    }
    holdings, contradictions = PurchaseLook(OURS, (M,), read={M: own, machine_id(2): volume}).concluded
    is_bought = linked_until is None or status in ("deleting", "deleted")
    assert (holdings.storage, contradictions) == ((machine_id(2),) if is_bought else (), ())


@pytest.mark.parametrize(("offer", "state"), [(None, AFFECTED), (OURS, STORAGE), (THEIRS, AFFECTED)])
@pytest.mark.parametrize("proof", [Proof.ANSWER, Proof.STATUS, Proof.LINK])
def test_storage_listed_before_the_purchase_is_bought_only_if_it_names_the_offer(
    proof: Proof, offer: str | None, state: HoldingState
) -> None:
    """Its age proves nothing: two projects may attach a volume within minutes of each other."""
    volume = machine(2, "data", offer, kind="storage", created_at=None)
    observed = Observation(machine_id(2), proof, volume, listed_before=True)
    assert what_is_held(observed, OURS, NOTED_AT)[0] is state
