# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owners of machines: every small world against the rule as documented, and properties of larger ones."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import (
    Owners,
    OwnershipClaim,
    OwnershipProof,
    claim_of,
    clusters,
    is_named,
    owners,
    proof,
    refreshed,
    rivals,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import entry, machine, machine_id, offer_id

X, Y = offer_id(1), offer_id(2)
M, N = machine_id(1), machine_id(2)
Machine = dict[str, Any]

OPEN = entry(X, purchase="sent")
MADE = entry(X, purchase="made")
REFUSED = entry(X, purchase="refused")
OWNS = entry(X, [M], "made")
EMPTY = entry()


def claim(host: str, known: Entry = EMPTY, name: str = "train", *, by_name: bool = False) -> OwnershipClaim:
    return claim_of(host, name, known, by_name=by_name)


def owned(machines: Sequence[Machine], *claims: OwnershipClaim) -> list[tuple[tuple[str, ...], OwnershipProof]]:
    return [(owner.hosts, owner.proof) for _machine, owner in owners(machines, claims)]


# One host, one machine


@pytest.mark.parametrize(
    ("known", "by_name", "resource", "expected"),
    [
        (OWNS, False, machine(1, "whatever", Y), OwnershipProof.ID),
        (OWNS, False, machine(1, None, None, resource_id=M.upper()), OwnershipProof.ID),
        (OWNS, True, machine(2, "train", Y), OwnershipProof.NONE),
        # A further machine in addition to the noted one
        (OWNS, False, machine(2, "train", X), OwnershipProof.PURCHASE),
        (OPEN, False, machine(1, "train", X), OwnershipProof.PURCHASE),
        (OPEN, False, machine(1, "train", X.upper()), OwnershipProof.PURCHASE),
        (OPEN, False, machine(1, "train-2", X), OwnershipProof.PURCHASE),
        (OPEN, False, machine(1, "other", X), OwnershipProof.NONE),
        (OPEN, False, machine(1, None, X), OwnershipProof.NONE),
        (OPEN, True, machine(1, "train", Y), OwnershipProof.NONE),
        # An offer is sold once, so all its machines belong to the host whose purchase succeeded.
        (MADE, False, machine(1, "other", X), OwnershipProof.PURCHASE),
        (MADE, False, machine(1, "train", Y), OwnershipProof.NONE),
        (REFUSED, False, machine(1, "train", X), OwnershipProof.NONE),
        # After a refused purchase the name decides.
        (REFUSED, True, machine(1, "train", Y), OwnershipProof.NAME),
        (EMPTY, False, machine(1, "train", X), OwnershipProof.NONE),
        (EMPTY, True, machine(1, "train", X), OwnershipProof.NAME),
        (EMPTY, True, machine(1, "train", None), OwnershipProof.NAME),
        (EMPTY, True, machine(1, "train-7", X), OwnershipProof.NAME),
        (EMPTY, True, machine(1, "Train", X), OwnershipProof.NONE),
        (EMPTY, True, machine(1, "train-", X), OwnershipProof.NONE),
        (EMPTY, True, machine(1, "train-x1", X), OwnershipProof.NONE),
        (EMPTY, True, machine(1, "train-1-1", X), OwnershipProof.NONE),
        (EMPTY, True, machine(1, "trainx1", X), OwnershipProof.NONE),
        (EMPTY, True, machine(1, "train-\N{ARABIC-INDIC DIGIT ONE}", X), OwnershipProof.NONE),
        (EMPTY, True, machine(1, None, X), OwnershipProof.NONE),
    ],
)
def test_proof_of_one_claim_for_one_machine(
    known: Entry, by_name: bool, resource: Machine, expected: OwnershipProof
) -> None:
    assert proof(claim("gpu", known, by_name=by_name), resource, {(X, "train")}) is expected


@pytest.mark.parametrize(
    ("known", "by_name", "resource", "expected"),
    [
        (OPEN, False, machine(1, "train-2", X), OwnershipProof.NONE),
        (OPEN, False, machine(1, "train", X), OwnershipProof.PURCHASE),
        (MADE, False, machine(1, "train-2", X), OwnershipProof.PURCHASE),
        (EMPTY, True, machine(1, "train-2", X), OwnershipProof.NONE),
        (EMPTY, True, machine(1, "train-2", None), OwnershipProof.NONE),
        (EMPTY, True, machine(1, "train", X), OwnershipProof.NAME),
    ],
)
def test_numbered_machine_outside_a_cluster_belongs_to_another_host(
    known: Entry, by_name: bool, resource: Machine, expected: OwnershipProof
) -> None:
    assert proof(claim("gpu", known, by_name=by_name), resource, ()) is expected


@pytest.mark.parametrize("name", [None, "", "-1", "train"])
def test_empty_name_matches_no_machine(name: str | None) -> None:
    assert not is_named(machine(1, name), "", numbered=True)
    assert owned([machine(1, name, X)], claim("gpu", name="", by_name=True)) == [((), OwnershipProof.NONE)]


def test_name_is_not_a_regular_expression() -> None:
    assert not is_named(machine(1, "trainx-1"), "train.", numbered=True)
    assert is_named(machine(1, "a+b[c-1"), "a+b[c", numbered=True)


# Several machines


def test_numbered_machines_without_an_offer_form_no_cluster() -> None:
    """Otherwise the host train could end a colleague's train-1 where the API names no offers."""
    strangers = [machine(1, "train-1", None), machine(2, "train-2", None)]
    assert owned(strangers, claim("train", by_name=True)) == [((), OwnershipProof.NONE)] * 2


def test_single_numbered_machine_is_not_owned_by_its_base_name() -> None:
    assert owned([machine(1, "train-1", X)], claim("train", by_name=True)) == [((), OwnershipProof.NONE)]
    assert (
        owned([machine(1, "train-1", X), machine(2, "train-2", Y)], claim("train", by_name=True))
        == [((), OwnershipProof.NONE)] * 2
    )


def test_open_purchase_proves_a_numbered_machine_only_in_a_cluster() -> None:
    """A host train-1 of another project may have bought the offer first."""
    assert owned([machine(1, "train-1", X)], claim("train", OPEN)) == [((), OwnershipProof.NONE)]
    cluster = [machine(1, "train", X), machine(2, "train-1", X)]
    assert owned(cluster, claim("train", OPEN)) == [(("train",), OwnershipProof.PURCHASE)] * 2


def test_cluster_is_owned_by_its_base_name() -> None:
    cluster = [machine(number, f"train-{number}", X) for number in (1, 2, 3)]
    assert owned(cluster, claim("train", by_name=True)) == [(("train",), OwnershipProof.NAME)] * 3


def test_host_named_like_a_machine_of_a_cluster_contests_it() -> None:
    cluster = [machine(number, f"train-{number}", X) for number in (1, 2)]
    both = [claim("train", by_name=True), claim("train-1", name="train-1", by_name=True)]
    assert [hosts for hosts, _proof in owned(cluster, *both)] == [("train", "train-1")] * 2


def test_hosts_that_prove_machines_of_one_offer_contest_it() -> None:
    machines = [machine(1, "a", X), machine(2, "b", X), machine(3, "c", X)]
    owners_and_proofs = owned(machines, claim("h1", entry(X, [M])), claim("h2", entry(Y, [N])))
    assert owners_and_proofs == [
        (("h1", "h2"), OwnershipProof.ID),
        (("h1", "h2"), OwnershipProof.ID),
        (("h1", "h2"), OwnershipProof.PURCHASE),
    ]


def test_name_proves_nothing_about_an_offer_that_another_host_bought() -> None:
    owners_and_proofs = owned(
        [machine(1, "a", X), machine(2, "b", X)], claim("h1", entry(X, [M])), claim("h2", name="b", by_name=True)
    )
    assert owners_and_proofs == [(("h1",), OwnershipProof.ID), (("h1",), OwnershipProof.PURCHASE)]


def test_two_claims_of_one_host_count_as_one() -> None:
    twice = [claim("gpu", by_name=True), OwnershipClaim("gpu", "train", X)]
    for claims in itertools.permutations(twice):
        assert owned([machine(1, "train", X)], *claims) == [(("gpu",), OwnershipProof.NAME)]
        assert rivals(claims) == {}


# Rivals


@pytest.mark.parametrize(
    ("entry_of_a", "entry_of_b", "expected"),
    [
        (OWNS, OWNS, {"a": ("b",), "b": ("a",)}),
        # One offer with different machines: an offer belongs to one host.
        (OWNS, entry(X, [N]), {"a": ("b",), "b": ("a",)}),
        # One machine with different offers: the folder was copied, and the offer changed.
        (OWNS, entry(Y, [M]), {"a": ("b",), "b": ("a",)}),
        (OPEN, OPEN, {"a": ("b",), "b": ("a",)}),
        # Both purchases succeeded.
        (MADE, OWNS, {"a": ("b",), "b": ("a",)}),
        (MADE, MADE, {"a": ("b",), "b": ("a",)}),
        # The other purchase succeeded.
        (OPEN, OWNS, {}),
        (OPEN, MADE, {}),
        # A refused purchase claims nothing.
        (REFUSED, OWNS, {}),
        (REFUSED, OPEN, {}),
        (REFUSED, REFUSED, {}),
        (EMPTY, OWNS, {}),
        (OWNS, entry(Y, [N]), {}),
    ],
)
def test_rivals_of_two_claims(entry_of_a: Entry, entry_of_b: Entry, expected: dict[str, tuple[str, ...]]) -> None:
    assert rivals([claim("a", entry_of_a), claim("b", entry_of_b)]) == expected
    assert rivals([claim("b", entry_of_b), claim("a", entry_of_a)]) == expected


def test_rivalry_is_not_transitive() -> None:
    chain = [claim("a", entry(X, [M])), claim("b", entry(X, [N])), claim("c", entry(Y, [N]))]
    assert rivals(chain) == {"a": ("b",), "b": ("a", "c"), "c": ("b",)}


# Every small world


ENTRIES = (EMPTY, OPEN, MADE, REFUSED, OWNS, entry(Y, [N], "made"), entry("", [M]))


def machines_of(number: int) -> list[Machine]:
    names = (None, "train", "train-1", "train-2") if number == 1 else ("train", "train-2")
    return [machine(number, name, offer) for name in names for offer in (X, Y, None)]


def worlds() -> Iterator[tuple[list[Machine], list[tuple[OwnershipClaim, Entry]]]]:
    first, second = machines_of(1), machines_of(2)
    fleets = [[one] for one in first] + [
        [one, two] for one in first for two in second if one["offer_id"] or not two["offer_id"]
    ]
    hosts = [
        [(claim(host, known, name, by_name=by_name), known) for known in ENTRIES for by_name in (False, True)]
        for host, name in (("a", "train"), ("b", "train-1"), ("b", "train"))
    ]
    for others in hosts[1:]:
        for one, other in itertools.product(hosts[0], others):
            for fleet in fleets:
                yield fleet, [one, other]


def expected_proof(known: Entry, name: str, by_name: bool, resource: Machine, fleet: list[Machine]) -> int:
    """The rule as documented, without an index, and for one host."""
    pattern = re.escape(name) + "(-[0-9]+)?"
    called = resource["name"] == name
    siblings = [m for m in fleet if m["offer_id"] == resource["offer_id"] and re.fullmatch(pattern, m["name"] or "")]
    numbered = bool(resource["offer_id"]) and resource in siblings and len(siblings) > 1
    if resource["resource_id"] in known.resource_ids and known.purchase != "refused":
        return 4
    if known.offer_id == resource["offer_id"] and (known.resource_ids or known.purchase == "made"):
        return 3
    sent_without_answer = known.offer_id and not known.resource_ids and known.purchase not in ("made", "refused")
    if sent_without_answer and resource["offer_id"] == known.offer_id and (called or numbered):
        return 3
    names_something = (known.offer_id or known.resource_ids) and known.purchase != "refused"
    if not by_name or names_something:
        return 0
    return 1 if called or numbered else 0


def expected_owners(
    fleet: list[Machine], hosts: list[tuple[OwnershipClaim, Entry]], by_names: list[bool]
) -> list[set[str]]:
    owners_of_machines = []
    for resource in fleet:
        proofs = {
            c.host: expected_proof(known, c.name, by_name, resource, fleet)
            for (c, known), by_name in zip(hosts, by_names, strict=True)
        }
        best = max(proofs.values())
        owners_of_machines.append({host for host, each in proofs.items() if each == best and best > 0})
    merged = []
    for resource, own in zip(fleet, owners_of_machines, strict=True):
        together = set().union(
            *(
                o
                for m, o in zip(fleet, owners_of_machines, strict=True)
                if m["offer_id"] and m["offer_id"] == resource["offer_id"]
            )
        )
        merged.append(together if len(together) > 1 else own)
    return merged


def test_owners_in_every_small_world() -> None:
    count = 0
    for fleet, hosts in worlds():
        count += 1
        claims = [each for each, _known in hosts]
        # Parts of this world: a name counts if the claim says so, unless an entry overrides it.
        by_names = [each.by_name for each in claims]
        got = [set(owner.hosts) for _machine, owner in owners(fleet, claims)]
        assert got == expected_owners(fleet, hosts, by_names), (fleet, hosts)
    assert count > 20_000


# Larger worlds


_offers = st.sampled_from([X, Y, offer_id(3)])
_names = st.sampled_from(["train", "train-1", "train-2", "train-1-1", "other"])
_machines = st.lists(
    st.builds(
        machine,
        st.integers(1, 6),
        st.none() | _names,
        st.none() | _offers,
    ),
    max_size=6,
    unique_by=lambda resource: resource["resource_id"],
)
_claims = st.lists(
    st.builds(
        lambda host, name, offer, ids, purchase, by_name: claim_of(
            host, name, entry(offer, ids, purchase), by_name=by_name
        ),
        st.sampled_from("abcde"),
        _names,
        st.just("") | _offers,
        st.lists(st.integers(1, 6).map(machine_id), max_size=2),
        st.sampled_from(["", "sent", "made", "refused"]),
        st.booleans(),
    ),
    max_size=5,
    unique_by=lambda each: each.host,
)


def by_id(machines: Sequence[Machine], claims: Sequence[OwnershipClaim]) -> dict[str, Owners]:
    return {resource["resource_id"]: owner for resource, owner in owners(machines, claims)}


@given(_machines, _claims, st.randoms(use_true_random=False))
def test_order_of_machines_and_claims_changes_no_owner(
    machines: list[Machine], claims: list[OwnershipClaim], random: Any
) -> None:
    before, before_rivals = by_id(machines, claims), rivals(claims)
    random.shuffle(machines)
    random.shuffle(claims)
    assert by_id(machines, claims) == before
    assert rivals(claims) == before_rivals


@given(_machines, _claims)
def test_claim_of_another_host_never_gives_a_host_more(machines: list[Machine], claims: list[OwnershipClaim]) -> None:
    every = by_id(machines, claims)
    for added in claims:
        before = by_id(machines, [each for each in claims if each is not added])
        for resource_id, owner in every.items():
            if not owner.is_contested and owner.hosts and owner.hosts != (added.host,):
                assert before[resource_id].hosts == owner.hosts


@given(_machines, _claims)
def test_machine_or_offer_of_two_hosts_is_contested(machines: list[Machine], claims: list[OwnershipClaim]) -> None:
    pairs = owners(machines, claims)
    assert [resource for resource, _owner in pairs] == machines
    for resource, owner in pairs:
        assert owner.is_contested == (len(owner.hosts) > 1)
        alone = {c.host for c in claims if proof(c, resource, clusters(machines)) is not OwnershipProof.NONE}
        assert owner.is_contested or set(owner.hosts) <= alone
        for other, others in pairs:
            if resource["offer_id"] and resource["offer_id"] == other["offer_id"] and owner.hosts and others.hosts:
                assert owner.hosts == others.hosts


@given(_claims)
def test_rivalry_is_mutual(claims: list[OwnershipClaim]) -> None:
    rivals_of = rivals(claims)
    for host, others in rivals_of.items():
        assert host not in others
        assert all(host in rivals_of[other] for other in others)


LISTED = {**machine(1, "gpu-1", offer_id(1)), "resource_type": "block_disk", "kind": "storage"}
BARE = dict.fromkeys(("name", "offer_id", "resource_type", "price_per_hour", "created_at"))


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        pytest.param({**BARE, "kind": "machine", "status": None}, {"status": None}, id="bare page"),
        pytest.param(
            {"name": "train", "status": "deleted"}, {"name": "train", "status": "deleted"}, id="newer name and status"
        ),
        pytest.param({"resource_type": "vm", "kind": "machine"}, {"resource_type": "vm", "kind": "machine"}, id="kind"),
    ],
)
def test_refreshed_keeps_listed_fields_that_a_page_omits(page: Machine, expected: Machine) -> None:
    assert refreshed([LISTED], {machine_id(1): {**LISTED, **page}}) == [{**LISTED, **expected}]


def test_owners_of_thousands_of_machines_are_found_fast() -> None:
    number = 5_000
    machines = [machine(each, f"gpu-{each}", offer_id(each)) for each in range(number)]
    kinds = [
        lambda each: claim(f"h{each}", entry(offer_id(each), [machine_id(each)]), f"gpu-{each}"),
        lambda each: claim(f"h{each}", entry(offer_id(each)), f"gpu-{each}"),
        lambda each: claim(f"h{each}", EMPTY, f"gpu-{each}", by_name=True),
    ]
    claims = [kinds[each % 3](each) for each in range(number)]
    start = time.process_time()
    found = owners(machines, claims)
    assert rivals(claims) == {}
    assert time.process_time() - start < 2
    assert [owner.hosts for _machine, owner in found] == [(f"h{each}",) for each in range(number)]
