# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The standing of a host: a table of typical cases, and rules for each combination of registry, status and list."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import Declaration
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import (
    Account,
    OwnershipClaim,
    claim_of,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import (
    HostState,
    Standing,
    ids_to_prove,
    standing_of,
    what_is_adopted,
)

from provision_samples import account, entry, host, machine, machine_id, offer_id

X, Y = offer_id(1), offer_id(2)
M, N = machine_id(1), machine_id(2)
FREE, OPEN, UNDER_WAY, READY, FAILED, STOP = HostState

ENTRIES = {
    "no entry": entry(),
    "sent": entry(X, purchase="sent"),
    "refused": entry(X, purchase="refused"),
    "made": entry(X, purchase="made"),
    "owns": entry(X, [M], "made"),
}


def status_of(phase: str | None, **fields: Any) -> dict[str, Any]:
    return {"phase": phase, "ready": False, "resource_ids": [], "msg": f"Offer {X} is {phase}.", **fields}


STATUSES: dict[str, dict[str, Any] | None] = {
    "none": None,
    "404": status_of(None, error_class="not_found", msg="GET answered 404."),
    "passing": status_of(None, transient_error=True, msg="GET answered 503. Check again."),
    "forbidden": status_of(None, error_class="auth", msg="GET answered 403."),
    "unbought": status_of("unbought"),
    "going on": status_of("going_on"),
    "ready": status_of("ready", ready=True, resource_ids=[M]),
    "no address": status_of("ready", resource_ids=[M]),
    "failed": status_of("failed"),
    "failed with ids": status_of("failed", resource_ids=[M]),
    "expired": status_of("expired"),
    "ended": status_of("ended"),
}
LISTS: dict[str, list[dict[str, Any]] | None] = {
    "unreadable": None,
    "empty": [],
    "its own": [machine(1, "gpu-1", X)],
    "its own, failed": [machine(1, "gpu-1", X, status="failed")],
    "its own, deleted": [machine(1, "gpu-1", X, status="deleted")],
    "another of its name": [machine(2, "gpu-1", Y)],
    "a stranger with its offer": [machine(2, "stranger", X)],
    "without a name": [machine(1, None, X)],
    "another host's": [machine(2, "gpu-2", X)],
}


def standing_with(
    declared: Declaration, own_entry: Entry, status: Any, listed: Any, claims: Iterable[OwnershipClaim] = ()
) -> Standing:
    """The standing of a host that is alone in its play. ``listed``: the account's machines; ``claims``: of others."""
    return standing_of(declared, own_entry, status, account([(declared, own_entry)], listed, claims))


GPU_2 = claim_of("gpu-2", "gpu-2", entry(X, [N], "made"), by_name=False)
MODES = {"": {}, "adopt": {"adopt": True}, "by name": {"by_name": True}}


def standing_in(entry_kind: str, status: str, listed: str, mode: str = "", **fields: Any) -> Standing:
    declared = host(**MODES[mode], **fields)
    other_claims = [GPU_2] if listed == "another host's" else []
    unreadable = "GET /resources answered 500. Nothing was bought." if LISTS[listed] is None else ""
    observed = account([(declared, ENTRIES[entry_kind])], LISTS[listed], other_claims, unreadable)
    return standing_of(declared, ENTRIES[entry_kind], STATUSES[status], observed)


# registry | status | list | mode || kind | void, adopted | parts of the message
TABLE: list[tuple[str, str, str, str, HostState, str, tuple[str, ...]]] = [
    ("no entry", "none", "empty", "", FREE, "", ()),
    ("no entry", "none", "its own, deleted", "", FREE, "", ()),
    ("no entry", "none", "unreadable", "", STOP, "", ("answered 500", "Nothing was bought")),
    ("no entry", "none", "its own", "", STOP, "", (M, "USD 2.00", "provision_adopt: true", "provision_resource_name")),
    ("no entry", "none", "another of its name", "", STOP, "", ("another folder", "-e provision_registry_dir=")),
    ("no entry", "none", "its own, failed", "", STOP, "", (M, "failed", "provision_adopt: true")),
    ("no entry", "none", "its own", "adopt", UNDER_WAY, "adopted", ()),
    ("no entry", "none", "its own", "by name", UNDER_WAY, "adopted", ()),
    ("no entry", "none", "its own, failed", "by name", FAILED, "adopted", ()),
    ("no entry", "none", "a stranger with its offer", "by name", FREE, "", ()),
    ("no entry", "none", "another host's", "", FREE, "", ()),
    ("refused", "none", "empty", "", FREE, "void", ()),
    ("refused", "none", "a stranger with its offer", "", FREE, "void", ()),
    # Refused, but a machine has the host's name: another project's, or a gateway sent the request twice.
    ("refused", "none", "its own", "", STOP, "void", (M, "USD 2.00", "provision_adopt: true")),
    ("refused", "none", "its own", "adopt", UNDER_WAY, "void adopted", ()),
    ("refused", "none", "unreadable", "", STOP, "void", ("answered 500",)),
    ("sent", "unbought", "empty", "", OPEN, "", ()),
    ("sent", "expired", "empty", "", OPEN, "", ()),
    ("sent", "404", "empty", "", OPEN, "", ()),
    ("sent", "unbought", "empty", "by name", STOP, "", (X, "MAY BE BOUGHT", "USD 2.00", "There is no registry")),
    ("sent", "unbought", "its own", "by name", UNDER_WAY, "adopted", ()),
    ("sent", "passing", "its own", "", STOP, "", (X, "503", "MAY BE BOUGHT and billed at USD 2.00", "Run again")),
    ("sent", "forbidden", "empty", "adopt", STOP, "", (X, "403")),
    ("sent", "none", "empty", "", STOP, "", (X, "was not requested")),
    ("sent", "ready", "its own", "", UNDER_WAY, "", ()),
    ("sent", "going on", "its own", "", UNDER_WAY, "", ()),
    ("sent", "failed", "its own, failed", "", FAILED, "", ()),
    ("sent", "failed", "empty", "", FREE, "void", ()),
    ("sent", "failed", "unreadable", "", OPEN, "", ()),
    ("sent", "ready", "unreadable", "", OPEN, "", ()),
    ("sent", "ready", "without a name", "", OPEN, "", ()),
    (
        "sent",
        "ready",
        "a stranger with its offer",
        "",
        STOP,
        "",
        (X, N, "USD 2.00", "never answered", "provision_adopt: true"),
    ),
    ("sent", "ready", "a stranger with its offer", "adopt", UNDER_WAY, "adopted", ()),
    ("sent", "ready", "another host's", "", FREE, "void", ()),
    # A machine that only the status names, and the API does not show yet, is billed and blocks the host.
    ("made", "ready", "empty", "", UNDER_WAY, "", ()),
    ("made", "unbought", "empty", "", UNDER_WAY, "", ()),
    ("made", "404", "empty", "", STOP, "", (X, "may be billed", "decommission_forget")),
    ("made", "ready", "another host's", "", STOP, "", (X, "gpu-2")),
    ("owns", "ready", "its own", "", READY, "", ()),
    ("owns", "ready", "unreadable", "", READY, "", ()),
    ("owns", "no address", "its own", "", UNDER_WAY, "", ()),
    ("owns", "going on", "its own", "", UNDER_WAY, "", ()),
    ("owns", "unbought", "its own", "", UNDER_WAY, "", ()),
    ("owns", "404", "its own", "", STOP, "", (X, "does not know it, while the list has " + M, "To end it")),
    ("owns", "404", "empty", "", STOP, "", (X, M, "may be billed", "decommission_forget")),
    ("owns", "expired", "its own", "", STOP, "", (X, "expired unbought, while the list has " + M, "To end it")),
    ("owns", "passing", "its own", "", STOP, "", (X, M, "503", "USD 2.00", "Run again")),
    ("owns", "ended", "its own, deleted", "", FREE, "void", ()),
    ("owns", "ended", "empty", "", FREE, "void", ()),
    # A listed live machine contradicts a status of ended.
    ("owns", "ended", "its own", "", STOP, "", (X, M, "running", "USD 2.00", "To end it")),
    ("owns", "ended", "another of its name", "", STOP, "void", (N, "provision_adopt: true")),
    ("owns", "failed", "its own, failed", "", FAILED, "", ()),
    ("owns", "failed", "its own, deleted", "", FREE, "void", ()),
    # A machine that is not listed may still exist.
    ("owns", "failed", "empty", "", FAILED, "", ()),
    ("owns", "failed", "unreadable", "", FAILED, "", ()),
]


@pytest.mark.parametrize(
    ("entry_kind", "status", "listed", "mode", "kind", "flags", "expected_parts"),
    [pytest.param(*row, id=", ".join(filter(None, row[:4]))) for row in TABLE],
)
def test_standing_in_typical_cases(
    entry_kind: str, status: str, listed: str, mode: str, kind: HostState, flags: str, expected_parts: tuple[str, ...]
) -> None:
    standing = standing_in(entry_kind, status, listed, mode)
    assert standing.kind is kind, standing.reason
    assert (standing.void, standing.adopted) == ("void" in flags, "adopted" in flags)
    assert bool(standing.reason) == (kind is STOP)
    assert kind is not STOP or re.search("(?i)nothing (else )?was (bought|sent)|Do not buy another", standing.reason)
    for part in expected_parts:
        assert part in standing.reason


def worlds() -> Iterator[tuple[str, str, str, str]]:
    return itertools.product(ENTRIES, STATUSES, LISTS, MODES)


def test_rules_hold_in_each_combination() -> None:
    for entry_kind, status, listed, mode in worlds():
        standing = standing_in(entry_kind, status, listed, mode)
        where = (entry_kind, status, listed, mode, standing)
        own_entry, names_offer = ENTRIES[entry_kind], entry_kind in ("owns", "made", "sent")
        machines = LISTS[listed] or []
        live = {m["resource_id"] for m in machines if m["status"] == "running"}
        # Only a host that stops has a reason, which names the ids of the registry.
        assert bool(standing.reason) == (standing.kind is STOP), where
        if standing.kind is STOP and names_offer and not standing.void:
            assert X in standing.reason, where
            assert all(item in standing.reason for item in own_entry.resource_ids), where
        # A host is free only if the list could be read, and has no live machine of the host.
        if standing.kind is FREE:
            assert LISTS[listed] is not None, where
            assert listed not in ("its own", "another of its name") or (entry_kind == "sent" and status == "failed"), (
                where
            )
            assert standing.void == (own_entry.offer_id != ""), where
        # A purchase that succeeded is void only once the API said that its machines ended.
        if entry_kind in ("owns", "made") and standing.void:
            assert status in ("ended", "failed", "failed with ids"), where
            assert not live & {*own_entry.resource_ids}, where
        # A purchase without an answer is void only if the offer failed, or another known host has bought it.
        if entry_kind == "sent" and standing.void:
            assert status.startswith("failed") or listed == "another host's" or standing.adopted, where
        if standing.owns:
            assert standing.offer_id, where
        if standing.adopted:
            assert mode != "" and standing.kind in (UNDER_WAY, FAILED), where
            # Adopted machines replace those in the entry.
            assert standing.void == (own_entry.offer_id not in ("", standing.offer_id) or entry_kind == "refused"), (
                where
            )
            message = what_is_adopted(Declaration("gpu-1", "gpu-1"), standing.machines, standing.offer_id, would=False)
            taken_over = [machine["resource_id"] for machine in standing.machines] or [standing.offer_id]
            assert all(item in message for item in taken_over), (where, message)
        if standing.kind is OPEN:
            assert entry_kind == "sent" and standing.offer_id == X, where
        if standing.kind is READY:
            assert entry_kind in ("owns", "made") and status == "ready", where
        # A machine that another host's registry names is never this host's.
        if listed == "another host's":
            assert N not in standing.resource_ids, where
        # The account's list cannot free a host whose offer is alive by its status.
        if (
            entry_kind == "owns"
            and status in ("ready", "no address", "going on", "unbought")
            and listed != "another host's"
        ):
            assert standing.kind in (READY, UNDER_WAY), where


# Machines with the host's name


@pytest.mark.parametrize(
    ("machines", "kind", "expected_parts"),
    [
        ([machine(1, "gpu-1", X), machine(2, "gpu-1", Y)], STOP, (M, N, "delete_resource")),
        ([machine(1, "gpu-1", None)], STOP, (M, "does not name its offer", "delete_resource")),
        ([machine(1, "gpu-1", X, price_per_hour=4.5)], STOP, (M, "USD 4.50", "provision_max_price_per_hour (USD 4.00")),
        (
            [machine(1, "gpu-1", X, spec={"region": "US"})],
            STOP,
            (M, "region US instead of EU", "provision_resource_name"),
        ),
        ([machine(1, "gpu-1", X, spec={"gpu_type": "nvidia-l4-24gb"})], STOP, (M, "nvidia-l4-24gb instead of H100")),
        ([machine(1, "gpu-1", X, spec={"gpu_count": 8})], STOP, ("gpu_count 8 instead of 1",)),
        ([machine(1, "gpu-1", X, spec={"gpu_type": "nvidia-h100-sxm5-80gb", "region": "eu"})], UNDER_WAY, ()),
        ([machine(1, "gpu-1", X, price_per_hour=None)], UNDER_WAY, ()),
        ([machine(1, "gpu-1", X, status="failed", price_per_hour=9.0)], FAILED, ()),
        ([machine(1, "gpu-1", X, status="deleting")], FREE, ()),
        ([machine(1, "gpu-1", X, status="failed"), machine(2, "gpu-1", Y)], UNDER_WAY, ()),
        ([machine(1, "gpu-1", X, status="a new word")], UNDER_WAY, ()),
        # Names with numbers: a cluster if one offer has several
        ([machine(1, "gpu-1-1", X), machine(2, "gpu-1-2", X)], UNDER_WAY, ()),
        ([machine(number, f"gpu-1-{number}", X, spec={"gpu_count": 8}) for number in (1, 2)], UNDER_WAY, ()),
        ([machine(1, "gpu-1", X), machine(2, "gpu-1-1", X)], UNDER_WAY, ()),
        ([machine(1, "gpu-1-1", X)], FREE, ()),
        ([machine(1, "gpu-1-1", X), machine(2, "gpu-1-2", Y)], FREE, ()),
        ([machine(1, "gpu-1-1", None), machine(2, "gpu-1-2", None)], STOP, ("does not name its offer",)),
        ([machine(1, None, X)], FREE, ()),
    ],
)
def test_without_registry_name_decides(
    machines: list[dict[str, Any]], kind: HostState, expected_parts: tuple[str, ...]
) -> None:
    declared = host(by_name=True)
    standing = standing_with(declared, entry(), None, machines)
    assert standing.kind is kind, standing.reason
    for part in expected_parts:
        assert part in standing.reason


def test_cluster_found_by_name_costs_sum_of_its_machines() -> None:
    declared = host(by_name=True, max_price_per_hour="unlimited")
    machines = [machine(1, "gpu-1-1", X), machine(2, "gpu-1-2", X)]
    standing = standing_with(declared, entry(), None, machines)
    assert (standing.price_per_hour, standing.resource_ids) == (4.0, (M, N))


def test_adopted_offer_costs_sum_of_its_billed_machines() -> None:
    """In a cluster, one machine has failed and one has another name; both are billed like the others."""
    listed = [machine(1, "gpu-1-1", X), machine(2, "gpu-1-2", X, status="failed"), machine(3, "vm-3", X)]
    for mode in ({"adopt": True}, {"by_name": True}):
        declared, low_ceiling = (host(max_price_per_hour=ceiling, **mode) for ceiling in (6, 5))
        standing = standing_with(declared, entry(), None, listed)
        assert (standing.kind, standing.price_per_hour, standing.resource_ids) == (
            UNDER_WAY,
            6.0,
            (M, N, machine_id(3)),
        )
        refused = standing_with(low_ceiling, entry(), None, listed)
        assert refused.kind is STOP and "USD 6.00" in refused.reason


def test_host_without_entry_stops_if_cluster_has_its_name() -> None:
    declared = host()
    machines = [machine(1, "gpu-1-1", X), machine(2, "gpu-1-2", X)]
    standing = standing_with(declared, entry(), None, machines)
    assert standing.kind is STOP
    assert M in standing.reason and N in standing.reason


def test_two_hosts_never_adopt_one_machine() -> None:
    for mode, own_entry in itertools.product(({"adopt": True}, {"by_name": True}), (entry(), ENTRIES["refused"])):
        hosts = [host(host=name, name="gpu", **mode) for name in ("a", "b")]
        observed = account([(declared, own_entry) for declared in hosts], [machine(1, "gpu", Y)])
        for declared in hosts:
            standing = standing_of(declared, own_entry, None, observed)
            assert standing.kind is STOP and M in standing.reason


def test_two_hosts_never_adopt_one_machine_by_its_offer() -> None:
    """The machine's name is neither host's."""
    for own_entry in (entry(), ENTRIES["refused"]):
        pairs = [(host(host=name, name=name, offer_id=X, adopt=True), own_entry) for name in ("a", "b")]
        observed = account(pairs, [machine(1, "old", X)])
        for (declared, _entry), other in zip(pairs, "ba", strict=True):
            standing = standing_of(declared, own_entry, None, observed)
            assert standing.kind is STOP and f"and {other} claim the same machine {M}" in standing.reason


@pytest.mark.parametrize("entry_kind", ["sent", "made"])
def test_host_does_not_adopt_machine_of_offer_bought_by_another(entry_kind: str) -> None:
    """The name of the machine does not show which host bought it."""
    declared, other_claim = host(offer_id=X, adopt=True), claim_of("gpu-2", "gpu-2", ENTRIES[entry_kind], by_name=False)
    standing = standing_with(declared, entry(), None, [machine(1, "vm-1", X)], [other_claim])
    assert standing.kind is STOP and f"gpu-1 and gpu-2 claim the same machine {M}" in standing.reason


@pytest.mark.parametrize("offer", [X, None])
def test_unanswered_purchase_keeps_ordered_name(offer: str | None) -> None:
    """After a killed run, the next one uses another name; the registry has the ordered one."""
    declared, own_entry = host(name="renamed"), entry(X, purchase="sent", provision_resource_name="gpu-1")
    standing = standing_with(declared, own_entry, status_of("ready"), [machine(1, "gpu-1", offer)])
    assert (standing.kind, standing.adopted, standing.resource_ids) == (UNDER_WAY, False, (M,)), standing.reason
    other_standing = standing_with(declared, own_entry, status_of("ready"), [machine(1, "renamed", X)])
    assert other_standing.kind is STOP and "none of its machines is called gpu-1: " in other_standing.reason


def test_open_purchase_keeps_ids_that_only_its_status_names() -> None:
    standing = standing_in("sent", "ready", "unreadable")
    assert (standing.kind, standing.resource_ids) == (OPEN, (M,))
    assert standing_in("sent", "ready", "a stranger with its offer", "adopt").resource_ids == (N,)


@pytest.mark.parametrize("listed", [machine(1, "gpu-1", None), machine(2, "stranger", X), machine(1, "gpu-1-1", None)])
def test_refused_purchase_takes_no_machine(listed: dict[str, Any]) -> None:
    """Each of its requests was refused, so a machine of its name or offer is somebody else's."""
    refused = entry(X, purchase="sent", provision_refused_status=409)
    assert standing_with(host(), refused, status_of("ready"), [listed]).kind is OPEN
    assert standing_with(host(), refused, status_of("failed"), []).kind is FREE


def test_failed_purchase_keeps_ids_that_may_be_billed() -> None:
    both, listed = entry(X, [M, N], "made"), [machine(1, "gpu-1", X, status="failed")]
    gone = [*listed, machine(2, "gpu-1-1", X, status="deleted")]
    for machines, ids in ((gone, (M,)), (listed, (M, N)), (None, (M, N))):
        standing = standing_with(host(), both, status_of("failed"), machines)
        assert (standing.kind, standing.resource_ids) == (FAILED, ids)


def test_ended_purchase_is_over_although_a_list_lags() -> None:
    """The machine's own page proves that it is gone."""
    observed = replace(account([(host(), ENTRIES["owns"])], LISTS["without a name"]), read={M: None})
    standing = standing_of(host(), ENTRIES["owns"], STATUSES["ended"], observed)
    assert (standing.kind, standing.void) == (FREE, True)


def test_host_does_not_adopt_machine_in_another_registry() -> None:
    for mode in ({"adopt": True}, {"by_name": True}):
        declared = host(**mode)
        other_claim = claim_of("gpu-2", "gpu-2", entry(X, [M]), by_name=False)
        standing = standing_with(declared, entry(), None, [machine(1, "gpu-1", X)], [other_claim])
        assert standing.kind is STOP and "gpu-2" in standing.reason and M in standing.reason
    standing = standing_with(host(), entry(), None, [machine(1, "gpu-1", X)], [other_claim])
    assert standing.kind is STOP and "gpu-2" in standing.reason


def test_host_with_contested_machine_stops_and_keeps_journal() -> None:
    """Another host's registry names a second machine of the offer, so a person must decide who owns it."""
    declared = host(name="train")
    other_claim = claim_of("gpu-2", "gpu-2", entry(Y, [N]), by_name=False)
    sent = entry(X)
    machines = [machine(1, "train", X), machine(2, "other", X)]
    standing = standing_with(declared, sent, status_of("ready", ready=True), machines, [other_claim])
    assert (standing.kind, standing.void) == (STOP, False)
    assert X in standing.reason and "gpu-2" in standing.reason


def test_machine_of_offer_held_by_another_host_is_contradiction() -> None:
    declared = host()
    other_claim = claim_of("gpu-2", "gpu-2", entry(Y, [N]), by_name=False)
    machines = [machine(1, "gpu-1", X, status="failed"), machine(2, "gpu-2", X)]
    standing = standing_with(declared, ENTRIES["owns"], status_of("failed"), machines, [other_claim])
    assert (standing.kind, standing.resource_ids) == (STOP, (M,))
    for part in (M, N, "gpu-2 holds it", "USD 2.00", "None of these was registered"):
        assert part in standing.reason


def test_status_with_machine_of_others_keeps_ids_of_registry() -> None:
    """The registry's ids stay, even if the status names only others."""
    declared, status = host(), status_of("ready", resource_ids=[N], ready=True)
    observed = account([(declared, ENTRIES["owns"])], None)
    assert ids_to_prove({"gpu-1": ENTRIES["owns"]}, {X: status}, observed) == {N}
    for colleague in (machine(2, "train", Y), machine(2, "train", None, created_at="2025-01-31T12:00:00Z")):
        own_entry = replace(ENTRIES["owns"], journaled_at="2026-01-31T12:00:00Z")
        standing = standing_of(declared, own_entry, status, replace(observed, read={N: colleague}))
        assert (standing.kind, standing.resource_ids) == (STOP, (M,))
        assert "called train" in standing.reason
    late = standing_of(declared, ENTRIES["owns"], status, replace(observed, read={N: None}))
    assert (late.kind, late.resource_ids) == (UNDER_WAY, (M, N)), "it is billed, blocks, and is checked again"
    second = standing_of(declared, ENTRIES["owns"], status, replace(observed, read={N: machine(2, "gpu-1-2", X)}))
    assert (second.kind, second.resource_ids) == (READY, (M, N))


def test_lost_answer_is_settled_by_name_if_machines_name_no_offer() -> None:
    declared, sent = host(), entry(X, provision_journaled_at="2026-01-31T12:00:00Z")
    named = [machine(1, "gpu-1", None)]
    assert standing_with(declared, sent, status_of("ready"), named).kind is UNDER_WAY
    assert standing_with(declared, sent, status_of("unbought"), named).kind is STOP
    older = [machine(1, "gpu-1", None, created_at="2026-01-30T12:00:00Z")]
    assert standing_with(declared, sent, status_of("ready"), older).kind is OPEN


# The offer in provision_offer_id


def test_named_offer_bought_by_others_needs_adopt() -> None:
    stranger = [machine(2, "colleague", X)]
    declared = host(offer_id=X)
    standing = standing_with(declared, entry(), None, stranger)
    assert standing.kind is STOP
    for part in (X, N, "colleague", "USD 2.00", "provision_adopt: true", "provision_offer_id"):
        assert part in standing.reason
    adopting = host("gpu-2", offer_id=X, adopt=True)
    observed = account([(declared, entry()), (adopting, entry())], stranger)
    taken = standing_of(adopting, entry(), None, observed)
    assert (taken.kind, taken.adopted, taken.resource_ids) == (UNDER_WAY, True, (N,))


def test_host_is_free_if_machine_of_named_offer_ended() -> None:
    declared = host(offer_id=X)
    deleted = [machine(2, "colleague", X, status="deleted")]
    assert standing_with(declared, entry(), None, deleted).kind is FREE


# Hosts that claim the same, and entries that are incomplete


@pytest.mark.parametrize("status", STATUSES)
def test_two_hosts_with_one_entry_both_stop(status: str) -> None:
    both = [(host("a"), ENTRIES["owns"]), (host("b"), ENTRIES["owns"])]
    observed = account(both, LISTS["its own"])
    for declared, own_entry in both:
        standing = standing_of(declared, own_entry, STATUSES[status], observed)
        assert standing.kind is STOP and not standing.void
        assert X in standing.reason and "a" in standing.reason and "b" in standing.reason


def test_entry_without_offer_stops_host() -> None:
    declared, own_entry = host(), entry("", [M])
    standing = standing_with(declared, own_entry, None, LISTS["its own"])
    assert standing.kind is STOP
    assert (
        M in standing.reason
        and "provision_procured_offer_id" in standing.reason
        and "Nothing was sent." in standing.reason
    )


def test_a_missing_machine_is_not_replaced() -> None:
    missing = dict.fromkeys(("provision_missing_since", "provision_missing_at"), "2026-01-31T12:00:00Z")
    own_entry = entry(X, [M], "made", **missing)
    standing = standing_with(host(), own_entry, None, [])
    assert standing.kind is STOP and not standing.void
    for part in (M, "MISSING since 2026-01-31T12:00:00Z", "nothing else was bought", f"decommission_forget={M}"):
        assert part in standing.reason
    # The mark is from an earlier run: the machine is listed again.
    assert standing_with(host(), own_entry, STATUSES["ready"], LISTS["its own"]).kind is READY


def test_host_stops_if_account_cannot_be_listed() -> None:
    standing = standing_of(host(), entry(), None, Account())
    assert standing.kind is STOP and standing.reason.endswith("so gpu-1 may have one already. Nothing was bought.")


def test_standing_of_5000_hosts_is_fast() -> None:
    numbers = range(5_000)
    hosts = []
    for number in numbers:
        ids = [machine_id(number)] if number % 3 == 2 else []
        own_entry = entry() if number % 3 == 0 else entry(offer_id(number), ids)
        hosts.append((host(f"gpu-{number}"), own_entry))
    machines = [machine(number, f"other-{number}", offer_id(number), status="failed") for number in numbers]
    start = time.process_time()
    observed = account(hosts, machines)
    standings = [standing_of(declared, own_entry, status_of("failed"), observed) for declared, own_entry in hosts]
    assert time.process_time() - start < 4
    assert {standing.kind for standing in standings} == {FREE, STOP, FAILED}


def test_machine_shown_only_by_list_is_not_adopted() -> None:
    declared = host(adopt=True)
    observed = replace(account([(declared, entry())], [machine(1, "gpu-1", X)]), read={M: None})
    standing = standing_of(declared, entry(), None, observed)
    assert standing.kind is STOP and M in standing.reason
    assert standing.reason.endswith("Nothing was bought or taken over. Run again in a minute.")
    declared = host(adopt=True, offer_id=X)
    observed = replace(account([(declared, entry())], [machine(2, "colleague", X)]), read={N: None})
    assert standing_of(declared, entry(), None, observed).kind is STOP


@pytest.mark.parametrize("mode", MODES)
def test_host_listed_by_inventory_plugin_buys_no_machine(mode: str) -> None:
    """The listed machine has another name than one of this host, so each run would buy one more."""
    declared = host("cloud-gpu-1", listed_id=M.upper(), **MODES[mode])
    other_claim = claim_of("gpu-1", "gpu-1", entry(X, [M], "made"), by_name=False)
    for other_claims in ([other_claim], []):
        standing = standing_with(declared, entry(), None, [machine(1, "gpu-1", X)], other_claims)
        assert standing.kind is STOP and not standing.owns
        assert (
            M in standing.reason
            and "called cloud-gpu-1" in standing.reason
            and "Nothing was bought." in standing.reason
        )
    # If that machine has ended since, perhaps only a cached list made it a host. The registry's machine stays.
    assert standing_with(declared, entry(), None, [machine(1, "gpu-1", X, status="deleted")]).kind is STOP
    assert standing_with(declared, entry(), None, []).kind is STOP
    own_entry = entry(Y, [N], "made")
    machines, ready = [machine(1, "gpu-1", X), machine(2, "cloud-gpu-1", Y)], STATUSES["ready"]
    assert standing_with(declared, own_entry, {**ready, "resource_ids": [N]}, machines, [other_claim]).kind is READY


@pytest.mark.parametrize(
    ("listed", "known", "kind"),
    [
        (M, [M], STOP),
        (M, None, STOP),  # no registry noted it
        (M, [], FREE),  # this run has ended it: decommission clears the variables
        ("", [M], FREE),  # a host of a file, which asks for a machine
    ],
)
def test_host_that_only_the_inventory_plugin_listed_buys_no_other_machine(
    listed: str, known: list[str] | None, kind: HostState
) -> None:
    """Its lease was over, or somebody ended it, after the inventory was read. Another one would have no lease."""
    standing = standing_in("no entry", "none", "empty", listed_id=listed, known={"provision_resource_ids": known})
    assert standing.kind is kind
    assert kind is FREE or "has ended since the inventory was read, or another account has it." in standing.reason
