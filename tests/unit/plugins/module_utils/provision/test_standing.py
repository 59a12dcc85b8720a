# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host stands: a table of cases that matter, and rules for every combination of registry, status and list."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import Declaration
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account, claim_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import SharedProject
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import (
    HostState,
    Observed,
    Standing,
    ids_to_prove,
    ids_to_read,
    registry_lost_with_job,
    standing_of,
    what_is_adopted,
)

from provision_samples import account, entry, host, machine, machine_id, offer_id

X, Y = offer_id(1), offer_id(2)
M, N = machine_id(1), machine_id(2)
FREE, OPEN, UNDER_WAY, READY, FAILED, STOP = HostState
World = tuple[Declaration, Entry, Any, Account]

ENTRIES = {
    "no entry": entry(),
    "sent": entry(X, purchase="sent"),
    "refused": entry(X, purchase="refused"),
    "made": entry(X, purchase="made"),
    "owns": entry(X, [M], "made"),
}


def look(phase: str | None, **fields: Any) -> dict[str, Any]:
    return {"phase": phase, "ready": False, "resource_ids": [], "msg": f"Offer {X} is {phase}.", **fields}


STATUSES: dict[str, dict[str, Any] | None] = {
    "none": None,
    "404": look(None, error_class="not_found", msg="GET answered 404."),
    "passing": look(None, transient_error=True, msg="GET answered 503. Look again."),
    "forbidden": look(None, error_class="auth", msg="GET answered 403."),
    "unbought": look("unbought"),
    "going on": look("going_on"),
    "ready": look("ready", ready=True, resource_ids=[M]),
    "no address": look("ready", resource_ids=[M]),
    "failed": look("failed"),
    "failed with ids": look("failed", resource_ids=[M]),
    "expired": look("expired"),
    "ended": look("ended"),
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
GPU_2 = claim_of("gpu-2", "gpu-2", entry(X, [N], "made"), by_name=False)
MODES = {"": {}, "adopt": {"adopt": True}, "by name": {"by_name": True}}


def stands(known: str, status: str, listed: str, mode: str = "", **fields: Any) -> Standing:
    one = host(**MODES[mode], **fields)
    others = [GPU_2] if listed == "another host's" else []
    unreadable = "GET /resources answered 500. Nothing was bought." if LISTS[listed] is None else ""
    seen = account([(one, ENTRIES[known])], LISTS[listed], others, unreadable)
    return standing_of(one, ENTRIES[known], STATUSES[status], seen)


# registry | status | list | mode || kind | void, adopted | what the message says
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
    # Refused, but a machine has its name: another project's, or a gateway sent the request twice.
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
    # A machine that the status names, but that the API does not show yet, is billed and blocks the host.
    ("made", "ready", "empty", "", UNDER_WAY, "", ()),
    ("made", "unbought", "empty", "", UNDER_WAY, "", ()),
    ("made", "404", "empty", "", STOP, "", (X, "may be billed", "decommission_forget")),
    ("made", "ready", "another host's", "", STOP, "", (X, "gpu-2")),
    ("owns", "ready", "its own", "", READY, "", ()),
    ("owns", "ready", "unreadable", "", READY, "", ()),
    ("owns", "no address", "its own", "", UNDER_WAY, "", ()),
    ("owns", "going on", "its own", "", UNDER_WAY, "", ()),
    ("owns", "unbought", "its own", "", UNDER_WAY, "", ()),
    ("owns", "404", "its own", "", STOP, "", (X, M, "may be billed", "decommission_forget")),
    ("owns", "expired", "its own", "", STOP, "", (X, M, "expired", "decommission_forget")),
    ("owns", "passing", "its own", "", STOP, "", (X, M, "503", "USD 2.00", "Run again")),
    ("owns", "ended", "its own, deleted", "", FREE, "void", ()),
    ("owns", "ended", "empty", "", FREE, "void", ()),
    # A live machine has not ended, whatever the status says.
    ("owns", "ended", "its own", "", STOP, "", (X, M, "running", "USD 2.00", "decommission_forget")),
    ("owns", "ended", "another of its name", "", STOP, "void", (N, "provision_adopt: true")),
    ("owns", "failed", "its own, failed", "", FAILED, "", ()),
    ("owns", "failed", "its own, deleted", "", FREE, "void", ()),
    # Not listed is not told gone.
    ("owns", "failed", "empty", "", FAILED, "", ()),
    ("owns", "failed", "unreadable", "", FAILED, "", ()),
]


@pytest.mark.parametrize(
    ("known", "status", "listed", "mode", "kind", "flags", "said"),
    [pytest.param(*row, id=", ".join(filter(None, row[:4]))) for row in TABLE],
)
def test_what_matters(
    known: str, status: str, listed: str, mode: str, kind: HostState, flags: str, said: tuple[str, ...]
) -> None:
    found = stands(known, status, listed, mode)
    assert found.kind is kind, found.reason
    assert (found.void, found.adopted) == ("void" in flags, "adopted" in flags)
    assert bool(found.reason) == (kind is STOP)
    assert kind is not STOP or re.search("(?i)nothing (else )?was (bought|sent)|Do not buy another", found.reason)
    for each in said:
        assert each in found.reason


def test_a_registry_that_controllers_share_is_in_no_other_folder() -> None:
    shared = replace(host(), registry=SharedProject())
    found = standing_of(shared, entry(), None, account([(shared, entry())], LISTS["its own"]))
    assert found.kind is STOP and "folder" not in found.reason and "provision_adopt: true" in found.reason


def worlds() -> Iterator[tuple[str, str, str, str]]:
    return itertools.product(ENTRIES, STATUSES, LISTS, MODES)


def test_in_every_world() -> None:
    for known, status, listed, mode in worlds():
        found = stands(known, status, listed, mode)
        where = (known, status, listed, mode, found)
        its, named = ENTRIES[known], known in ("owns", "made", "sent")
        machines = LISTS[listed] or []
        live = {m["resource_id"] for m in machines if m["status"] == "running"}
        # Only a stop has a reason, which names the ids of the registry.
        assert bool(found.reason) == (found.kind is STOP), where
        if found.kind is STOP and named and not found.void:
            assert X in found.reason, where
            assert all(each in found.reason for each in its.resource_ids), where
        # Free only if the list could be read, and has no live machine of the host.
        if found.kind is FREE:
            assert LISTS[listed] is not None, where
            assert listed not in ("its own", "another of its name") or (known == "sent" and status == "failed"), where
            assert found.void == (its.offer_id != ""), where
        # A purchase that succeeded is void only once the API said that its machines ended.
        if known in ("owns", "made") and found.void:
            assert status in ("ended", "failed", "failed with ids"), where
            assert not live & {*its.resource_ids}, where
        # The answer is unknown: no other offer, unless it failed, or another known host was faster.
        if known == "sent" and found.void:
            assert status.startswith("failed") or listed == "another host's" or found.adopted, where
        # It waits for machines that it owns or may own.
        if found.owns:
            assert found.offer_id, where
        if found.adopted:
            assert mode != "" and found.kind in (UNDER_WAY, FAILED), where
            # Adopted machines replace those in the entry.
            assert found.void == (its.offer_id not in ("", found.offer_id) or known == "refused"), where
            told = what_is_adopted("gpu-1", found.machines, found.offer_id, would=False)
            taken = [machine["resource_id"] for machine in found.machines] or [found.offer_id]
            assert all(each in told for each in taken), (where, told)
        if found.kind is OPEN:
            assert known == "sent" and found.offer_id == X, where
        if found.kind is READY:
            assert known in ("owns", "made") and status == "ready", where
        # Never a machine that another host's registry names.
        if listed == "another host's":
            assert N not in found.resource_ids, where
        # The account's list cannot free a host whose offer is alive by its status.
        if known == "owns" and status in ("ready", "no address", "going on", "unbought") and listed != "another host's":
            assert found.kind in (READY, UNDER_WAY), where


# The name


@pytest.mark.parametrize(
    ("machines", "kind", "said"),
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
        ([machine(1, "gpu-1", X, status="deleting")], FREE, ()),
        ([machine(1, "gpu-1", X, status="failed"), machine(2, "gpu-1", Y)], UNDER_WAY, ()),
        ([machine(1, "gpu-1", X, status="a new word")], UNDER_WAY, ()),
        # Machines that the API numbers after the name: a cluster, or not
        ([machine(1, "gpu-1-1", X), machine(2, "gpu-1-2", X)], UNDER_WAY, ()),
        ([machine(1, "gpu-1", X), machine(2, "gpu-1-1", X)], UNDER_WAY, ()),
        ([machine(1, "gpu-1-1", X)], FREE, ()),
        ([machine(1, "gpu-1-1", X), machine(2, "gpu-1-2", Y)], FREE, ()),
        ([machine(1, "gpu-1-1", None), machine(2, "gpu-1-2", None)], STOP, ("does not name its offer",)),
        ([machine(1, None, X)], FREE, ()),
    ],
)
def test_without_a_registry_the_name_tells(
    machines: list[dict[str, Any]], kind: HostState, said: tuple[str, ...]
) -> None:
    one = host(by_name=True)
    found = standing_of(one, entry(), None, account([(one, entry())], machines))
    assert found.kind is kind, found.reason
    for each in said:
        assert each in found.reason


def test_a_cluster_that_is_found_by_its_name_costs_all_its_machines() -> None:
    one = host(by_name=True, max_price_per_hour="unlimited")
    machines = [machine(1, "gpu-1-1", X), machine(2, "gpu-1-2", X)]
    found = standing_of(one, entry(), None, account([(one, entry())], machines))
    assert (found.price_per_hour, found.resource_ids) == (4.0, (M, N))


def test_all_that_is_billed_of_an_adopted_offer_counts() -> None:
    """One machine of a cluster has failed, and one has another name: both are billed like the others."""
    listed = [machine(1, "gpu-1-1", X), machine(2, "gpu-1-2", X, status="failed"), machine(3, "vm-3", X)]
    for mode in ({"adopt": True}, {"by_name": True}):
        one, cheap = (host(max_price_per_hour=most, **mode) for most in (6, 5))
        found = standing_of(one, entry(), None, account([(one, entry())], listed))
        assert (found.kind, found.price_per_hour, found.resource_ids) == (UNDER_WAY, 6.0, (M, N, machine_id(3)))
        above = standing_of(cheap, entry(), None, account([(cheap, entry())], listed))
        assert above.kind is STOP and "USD 6.00" in above.reason


def test_a_lost_registry_of_a_cluster_buys_no_second_one() -> None:
    one = host()
    machines = [machine(1, "gpu-1-1", X), machine(2, "gpu-1-2", X)]
    found = standing_of(one, entry(), None, account([(one, entry())], machines))
    assert found.kind is STOP
    assert M in found.reason and N in found.reason


def test_two_hosts_never_adopt_one_machine() -> None:
    for mode, known in itertools.product(({"adopt": True}, {"by_name": True}), (entry(), ENTRIES["refused"])):
        hosts = [host(host=each, name="gpu", **mode) for each in ("a", "b")]
        seen = account([(each, known) for each in hosts], [machine(1, "gpu", Y)])
        for each in hosts:
            found = standing_of(each, known, None, seen)
            assert found.kind is STOP and M in found.reason


def test_two_hosts_never_adopt_one_machine_by_its_offer() -> None:
    """It has the name of neither."""
    for known in (entry(), ENTRIES["refused"]):
        pairs = [(host(host=each, name=each, offer_id=X, adopt=True), known) for each in ("a", "b")]
        seen = account(pairs, [machine(1, "old", X)])
        for (each, _known), other in zip(pairs, "ba", strict=True):
            found = standing_of(each, known, None, seen)
            assert found.kind is STOP and f"and {other} claim the same machine {M}" in found.reason


@pytest.mark.parametrize("known", ["sent", "made"])
def test_a_host_does_not_adopt_what_the_purchase_of_another_may_have_bought(known: str) -> None:
    """The API keeps no names, so the machine does not say that it is the other host's."""
    one, other = host(offer_id=X, adopt=True), claim_of("gpu-2", "gpu-2", ENTRIES[known], by_name=False)
    found = standing_of(one, entry(), None, account([(one, entry())], [machine(1, "vm-1", X)], [other]))
    assert found.kind is STOP and f"gpu-1 and gpu-2 claim the same machine {M}" in found.reason


@pytest.mark.parametrize("offer", [X, None])
def test_a_purchase_without_an_answer_has_the_name_that_it_was_sent_with(offer: str | None) -> None:
    """The run was killed, and the next one uses another name; the registry has the name that was ordered."""
    one, known = host(name="renamed"), entry(X, purchase="sent", provision_resource_name="gpu-1")
    found = standing_of(one, known, look("ready"), account([(one, known)], [machine(1, "gpu-1", offer)]))
    assert (found.kind, found.adopted, found.resource_ids) == (UNDER_WAY, False, (M,)), found.reason
    other = standing_of(one, known, look("ready"), account([(one, known)], [machine(1, "renamed", X)]))
    assert other.kind is STOP and "no machine of it is called gpu-1: " in other.reason


def test_a_host_does_not_adopt_what_another_registry_names() -> None:
    for mode in ({"adopt": True}, {"by_name": True}):
        one = host(**mode)
        other = claim_of("gpu-2", "gpu-2", entry(X, [M]), by_name=False)
        found = standing_of(one, entry(), None, account([(one, entry())], [machine(1, "gpu-1", X)], [other]))
        assert found.kind is STOP and "gpu-2" in found.reason and M in found.reason


def test_a_journal_is_kept_if_its_machine_is_contested() -> None:
    """Another host's registry names a second machine of the offer: a person must decide who owns it."""
    one = host(name="train")
    other = claim_of("gpu-2", "gpu-2", entry(Y, [N]), by_name=False)
    sent = entry(X)
    seen = account([(one, sent)], [machine(1, "train", X), machine(2, "other", X)], [other])
    found = standing_of(one, sent, look("ready", ready=True), seen)
    assert (found.kind, found.void) == (STOP, False)
    assert X in found.reason and "gpu-2" in found.reason


def test_a_machine_of_the_offer_that_another_host_holds_is_a_contradiction() -> None:
    one = host()
    other = claim_of("gpu-2", "gpu-2", entry(Y, [N]), by_name=False)
    machines = [machine(1, "gpu-1", X, status="failed"), machine(2, "gpu-2", X)]
    found = standing_of(one, ENTRIES["owns"], look("failed"), account([(one, ENTRIES["owns"])], machines, [other]))
    assert (found.kind, found.resource_ids) == (STOP, (M,))
    for said in (M, N, "gpu-2 holds it", "USD 2.00", "None of these was registered"):
        assert said in found.reason


def test_a_status_that_names_a_colleagues_machine_changes_nothing() -> None:
    """The registry's ids stay, whatever the status names instead."""
    one, status = host(), look("ready", resource_ids=[N], ready=True)
    seen = account([(one, ENTRIES["owns"])], None)
    assert ids_to_prove({"gpu-1": ENTRIES["owns"]}, {X: status}, seen) == {N}
    for colleague in (machine(2, "train", Y), machine(2, "train", None, created_at="2025-01-31T12:00:00Z")):
        known = replace(ENTRIES["owns"], journaled_at="2026-01-31T12:00:00Z")
        found = standing_of(one, known, status, replace(seen, read={N: colleague}))
        assert (found.kind, found.resource_ids) == (STOP, (M,))
        assert "called train" in found.reason
    late = standing_of(one, ENTRIES["owns"], status, replace(seen, read={N: None}))
    assert (late.kind, late.resource_ids) == (UNDER_WAY, (M, N)), "it is billed, blocks, and is looked at again"
    second = standing_of(one, ENTRIES["owns"], status, replace(seen, read={N: machine(2, "gpu-1-2", X)}))
    assert (second.kind, second.resource_ids) == (READY, (M, N))


def test_a_lost_answer_is_settled_by_the_name_where_machines_name_no_offer() -> None:
    one, sent = host(), entry(X, provision_journaled_at="2026-01-31T12:00:00Z")
    seen = account([(one, sent)], [machine(1, "gpu-1", None)])
    assert (standing_of(one, sent, look("ready"), seen).kind, standing_of(one, sent, look("unbought"), seen).kind) == (
        UNDER_WAY,
        STOP,
    )
    older = account([(one, sent)], [machine(1, "gpu-1", None, created_at="2026-01-30T12:00:00Z")])
    assert standing_of(one, sent, look("ready"), older).kind is OPEN


# An offer that the user names


def test_someone_else_has_bought_the_named_offer() -> None:
    stranger = [machine(2, "colleague", X)]
    one = host(offer_id=X)
    found = standing_of(one, entry(), None, account([(one, entry())], stranger))
    assert found.kind is STOP
    for said in (X, N, "colleague", "USD 2.00", "provision_adopt: true", "provision_offer_id"):
        assert said in found.reason
    adopting = host(offer_id=X, adopt=True)
    taken = standing_of(adopting, entry(), None, account([(adopting, entry())], stranger))
    assert (taken.kind, taken.adopted, taken.resource_ids) == (UNDER_WAY, True, (N,))


def test_the_named_offer_ran_once_and_is_gone() -> None:
    one = host(offer_id=X)
    gone = [machine(2, "colleague", X, status="deleted")]
    assert standing_of(one, entry(), None, account([(one, entry())], gone)).kind is FREE


# Rivals


@pytest.mark.parametrize("status", STATUSES)
def test_what_two_hosts_claim_stops_both(status: str) -> None:
    both = [(host("a"), ENTRIES["owns"]), (host("b"), ENTRIES["owns"])]
    seen = account(both, LISTS["its own"])
    for one, known in both:
        found = standing_of(one, known, STATUSES[status], seen)
        assert found.kind is STOP and not found.void
        assert X in found.reason and "a" in found.reason and "b" in found.reason


def test_an_entry_without_an_offer() -> None:
    one, known = host(), entry("", [M])
    found = standing_of(one, known, None, account([(one, known)], LISTS["its own"]))
    assert found.kind is STOP
    assert M in found.reason and "provision_procured_offer_id" in found.reason and "Nothing was sent." in found.reason


def test_a_missing_machine_is_not_replaced() -> None:
    missing = dict.fromkeys(("provision_missing_since", "provision_missing_at"), "2026-01-31T12:00:00Z")
    known = entry(X, [M], "made", **missing)
    found = standing_of(host(), known, None, account([(host(), known)], []))
    assert found.kind is STOP and not found.void
    for said in (M, "MISSING since 2026-01-31T12:00:00Z", "nothing else was bought", f"decommission_forget={M}"):
        assert said in found.reason


def test_an_account_that_was_not_listed_may_have_a_machine() -> None:
    found = standing_of(host(), entry(), None, Account())
    assert found.kind is STOP and found.reason.endswith("so gpu-1 may have one already. Nothing was bought.")


def test_thousands() -> None:
    number = 5_000
    hosts = []
    for each in range(number):
        ids = [machine_id(each)] if each % 3 == 2 else []
        known = entry() if each % 3 == 0 else entry(offer_id(each), ids)
        hosts.append((host(f"gpu-{each}"), known))
    machines = [machine(each, f"other-{each}", offer_id(each), status="failed") for each in range(number)]
    start = time.process_time()
    seen = account(hosts, machines)
    found = [standing_of(one, known, look("failed"), seen) for one, known in hosts]
    assert time.process_time() - start < 4
    assert {each.kind for each in found} == {FREE, STOP, FAILED}


def test_a_machine_that_only_the_list_shows_is_not_taken_over() -> None:
    one = host(adopt=True)
    seen = replace(account([(one, entry())], [machine(1, "gpu-1", X)]), read={M: None})
    found = standing_of(one, entry(), None, seen)
    assert found.kind is STOP and M in found.reason
    assert found.reason.endswith("Nothing was bought or taken over. Run again in a minute.")


@pytest.mark.parametrize("mode", MODES)
def test_a_host_that_the_inventory_lists_as_a_machine_buys_none(mode: str) -> None:
    """The machine has another name than the host's own would have, so each run would buy one more for each machine."""
    one = host("cloud-gpu-1", listed_id=M.upper(), **MODES[mode])
    owner = claim_of("gpu-1", "gpu-1", entry(X, [M], "made"), by_name=False)
    for others in ([owner], []):
        found = standing_of(one, entry(), None, account([(one, entry())], [machine(1, "gpu-1", X)], others))
        assert found.kind is STOP and not found.owns
        assert M in found.reason and "called cloud-gpu-1" in found.reason and "Nothing was bought." in found.reason
    # A machine that ended since the inventory was read is replaced; the registry's machine stays.
    over = account([(one, entry())], [machine(1, "gpu-1", X, status="deleted")])
    assert standing_of(one, entry(), None, over).kind is FREE
    assert standing_of(one, entry(), None, account([(one, entry())], [])).kind is FREE
    its = entry(Y, [N], "made")
    seen = account([(one, its)], [machine(1, "gpu-1", X), machine(2, "cloud-gpu-1", Y)], [owner])
    assert standing_of(one, its, look("ready", ready=True, resource_ids=[N]), seen).kind is READY


def test_a_job_loses_a_registry_in_its_own_folders() -> None:
    folder = host().registry.text
    assert "nothing would remember the machine" in registry_lost_with_job(host(), True, ["/other", folder])
    assert "nothing would remember the machine" in registry_lost_with_job(host(), True, [os.path.dirname(folder)])
    for one, by_job, job in ((host(), True, f"{folder}s"), (host(), False, folder), (host(by_name=True), True, "/")):
        assert registry_lost_with_job(one, by_job, [job]) == ""


def test_a_listed_machine_is_read_before_it_stops_its_host() -> None:
    one = host("cloud-gpu-1", listed_id=M)
    seen = Observed({one.host: entry()}, {}, account([(one, entry())], [machine(1, "gpu-1", X)]))
    assert ids_to_read([one], seen) == {M}
