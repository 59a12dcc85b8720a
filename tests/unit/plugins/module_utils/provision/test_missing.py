# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps after a look at machines, and the counts and reports of missing ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ceilings import (
    Count,
    account_prices,
    parts_of_other_hosts,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    MISSING_AT,
    MISSING_SINCE,
    Entry,
    read_entry,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock, utc_rounded_up
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import missing_lines
from ansible_collections.compute_index.supply.plugins.module_utils._provision.missing import (
    APART,
    Looked,
    MissingLook,
    MissingStep,
    changes_for_storage,
    entry_if_same,
    missing_rows,
    to_read,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account, noted_claim
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder, SharedProject
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import STORAGE_IDS

from provision_samples import made_entry

Json = dict[str, Any]
NOW = 1_800_000_000.0
FOLDER = Folder("/inventory/host_vars")
ADDRESS = {"ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}


def machine(key: str, status: str | None = "running", **fields: Any) -> Json:
    known = {"resource_id": key, "offer_id": f"o-{key}", "name": key, "status": status, "price_per_hour": 2.0}
    return {**known, "created_at": None, **fields}


def entry(*keys: str, since: float | None = None, at: float | None = None, ready: bool = True, **fields: Any) -> Entry:
    """The entry of a host that owns these machines.

    ``since``, ``at``: how many seconds ago the first and the second look did not find them. ``ready``: whether the
    machines were noted as ready.
    """
    looks = {
        name: utc_rounded_up(NOW - ago) for name, ago in ((MISSING_SINCE, since), (MISSING_AT, at)) if ago is not None
    }
    known = {**made_entry(keys[0]), "provision_resource_ids": list(keys), **looks, **fields}
    return read_entry({**known, "provision_instances": [ADDRESS]} if ready else known)


def look(*listed: Json, read: Mapping[str, Json | None], others: int = 1, clock: Clock | None = None) -> MissingLook:
    """A look that also finds a number of ``others`` of our machines."""
    other_machines = [machine(f"other-{number}") for number in range(others)]
    by_id = {each["resource_id"]: each for each in other_machines}
    return MissingLook([*other_machines, *listed], {**by_id, **read}, clock or Clock(NOW))


def step_of(own: Entry, seen: MissingLook, phase: str | None = None, **status: Any) -> MissingStep | None:
    def account() -> Account:
        return Account.of([noted_claim("gpu-1", own)], [each for each in seen.read.values() if each])

    return seen.step("gpu-1", own, FOLDER, {"phase": phase, **status}, account)


ABSENT: Json = {"r": None}
GONE: Json = {"r": machine("r", "deleted")}
TABLE: list[Any] = [
    pytest.param(entry("r"), {"read": ABSENT}, None, MissingStep.FIRST, id="not found"),
    pytest.param(
        entry("r", since=APART), {"read": ABSENT}, None, MissingStep.SECOND, id="not found again half an hour later"
    ),
    pytest.param(entry("r", since=APART - 1), {"read": ABSENT}, None, None, id="not found again a second earlier"),
    pytest.param(entry("r", since=-10), {"read": ABSENT}, None, None, id="another run has looked just now"),
    pytest.param(
        entry("r", **{MISSING_SINCE: "soon"}),
        {"read": ABSENT},
        None,
        MissingStep.FIRST,
        id="the first look has an unreadable time",
    ),
    pytest.param(entry("r", since=9e6), {"read": ABSENT}, None, MissingStep.SECOND, id="not found again months later"),
    pytest.param(entry("r", since=9e3, at=7e3), {"read": ABSENT}, None, None, id="missing already"),
    # Evidence
    pytest.param(entry("r"), {"read": ABSENT, "others": 0}, None, None, id="no other machine is found"),
    pytest.param(
        entry("r", since=9e3),
        {"read": ABSENT, "others": 0},
        None,
        None,
        id="no other machine is found at the second look",
    ),
    pytest.param(
        entry("r", "s"),
        {"read": {"r": None, "s": None}},
        None,
        MissingStep.FIRST,
        id="two of one host, another machine is found",
    ),
    pytest.param(entry("r"), {"listed": [machine("r")], "read": ABSENT}, None, None, id="listed, but 404"),
    pytest.param(
        entry("r"), {"listed": [machine("r", "deleted")], "read": ABSENT}, None, None, id="listed as deleted, but 404"
    ),
    pytest.param(entry("r"), {"read": {}}, None, None, id="its page cannot be read"),
    pytest.param(entry("r", "s"), {"read": {"r": None}, "others": 5}, None, None, id="one of two cannot be read"),
    pytest.param(entry("r", "s"), {"read": {"r": None, "s": machine("s")}}, None, None, id="one of two is found"),
    # Machines that were never seen ready
    pytest.param(entry("r", ready=False), {"read": ABSENT}, "going_on", None, id="never ready, its offer goes on"),
    pytest.param(entry("r", ready=False), {"read": ABSENT}, None, None, id="never ready, its offer is unknown"),
    pytest.param(entry("r", ready=False), {"read": ABSENT}, "failed", None, id="never ready, its offer has failed"),
    pytest.param(
        entry("r", ready=False),
        {"read": ABSENT},
        "ready",
        MissingStep.FIRST,
        id="never noted as ready, its offer is ready",
    ),
    pytest.param(entry("r"), {"read": ABSENT}, "going_on", MissingStep.FIRST, id="was ready, its offer goes on"),
    pytest.param(
        entry("r", provision_resource_ids=[]),
        {"read": ABSENT},
        "ready",
        None,
        id="no machine noted, its offer is ready",
    ),
    # Found again
    pytest.param(
        entry("r", since=9e3), {"listed": [machine("r")], "read": {}}, None, MissingStep.CLEAR, id="listed again"
    ),
    pytest.param(
        entry("r", since=9e3, at=7e3), {"read": {"r": machine("r")}}, None, MissingStep.CLEAR, id="found by its id"
    ),
    pytest.param(
        entry("r", at=7e3),
        {"read": {"r": machine("r")}},
        None,
        MissingStep.CLEAR,
        id="found, only the second look noted",
    ),
    pytest.param(
        entry("r", since=9e3, at=7e3),
        {"read": {"r": machine("r", "deleting")}},
        None,
        MissingStep.CLEAR,
        id="found while it is deleted",
    ),
    pytest.param(
        entry("r", since=9e3, at=7e3),
        {"listed": [machine("s", offer_id="o-r")], "read": ABSENT},
        None,
        MissingStep.CLEAR,
        id="another machine of its offer is found",
    ),
    pytest.param(
        entry("r"),
        {"listed": [machine("s", offer_id="o-r", kind="storage")], "read": ABSENT},
        None,
        MissingStep.FIRST,
        id="storage of its offer is found",
    ),
    pytest.param(
        entry("r", since=9e3, at=7e3),
        {"listed": [machine("s", "deleted", offer_id="o-r")], "read": ABSENT},
        None,
        None,
        id="another machine of its offer is deleted",
    ),
    pytest.param(
        entry("r", since=9e3, at=7e3),
        {"listed": [machine("s", offer_id="o-r")], "read": {"r": None, "s": None}},
        None,
        None,
        id="another machine of its offer is listed, but 404",
    ),
    pytest.param(
        entry("r"), {"listed": [machine("r")], "read": {}}, None, None, id="found, and never noted as missing"
    ),
    # Gone by its own page
    pytest.param(entry("r", provision_storage_of="gpu-1"), {"read": GONE}, None, MissingStep.END, id="deleted storage"),
    pytest.param(
        entry("r", provision_storage_of="gpu-1"),
        {"read": {"r": machine("r", "deleted", offer_id="other")}},
        None,
        MissingStep.END,
        id="deleted storage of another offer",
    ),
    pytest.param(
        entry("r", provision_storage_of="gpu-1"),
        {"listed": [machine("r", "deleted")], "read": {}},
        None,
        None,
        id="storage deleted by the list alone",
    ),
    pytest.param(entry("r"), {"read": GONE}, "ended", MissingStep.END, id="deleted by its page"),
    pytest.param(
        entry("r", since=9e3, at=7e3),
        {"read": GONE},
        None,
        MissingStep.END,
        id="deleted by its page after it was missing",
    ),
    pytest.param(
        entry("r"),
        {"read": GONE, "others": 0},
        None,
        MissingStep.END,
        id="deleted by its page, no other machine is found",
    ),
    pytest.param(
        entry("r"),
        {"listed": [machine("r", "deleted")], "read": {}},
        "ended",
        None,
        id="deleted by the list alone, its offer has ended",
    ),
    pytest.param(entry("r"), {"read": GONE}, "going_on", None, id="deleted, but its offer goes on"),
    pytest.param(
        entry("r"),
        {"read": {**GONE, "s": machine("s", offer_id="o-r")}},
        "ended",
        None,
        id="deleted, another machine of its offer is found by its id",
    ),
    pytest.param(
        entry("r"),
        {"read": {**GONE, "s": machine("s", "deleted", offer_id="o-r")}},
        "ended",
        MissingStep.END,
        id="deleted, as is another machine of its offer that is not noted",
    ),
    pytest.param(
        entry("r", "s"),
        {"read": {**GONE, "s": None}, "others": 2},
        None,
        MissingStep.FIRST,
        id="one of two deleted, the other 404",
    ),
    pytest.param(
        entry("r"),
        {"read": {"r": machine("r", "deleted", offer_id="other")}},
        None,
        None,
        id="deleted, but of another offer",
    ),
]


@pytest.mark.parametrize(("own", "seen", "phase", "expected"), TABLE)
def test_step_after_a_look(own: Entry, seen: Json, phase: str | None, expected: MissingStep | None) -> None:
    fields = dict(seen)
    assert step_of(own, look(*fields.pop("listed", ()), **fields), phase) is expected


@pytest.mark.parametrize(
    ("own", "read", "expected"),
    [
        (entry("r"), GONE, True),
        (entry("r"), ABSENT, False),
        (entry("r", ready=False), ABSENT, True),
        (entry("r", "s", ready=False), {**GONE, "s": None}, True),
        (entry("r", ready=False), {"r": machine("r")}, False),
        (entry("r", "s", ready=False), {**GONE, "s": machine("s")}, False),
        (entry("r", provision_storage_of="o-r"), GONE, False),
    ],
)
def test_asks_about_offers_of_gone_and_of_never_ready_machines(own: Entry, read: Json, expected: bool) -> None:
    assert look(read=read).asks_about(own) is expected


def test_gone_machine_ends_nothing_while_its_offer_status_is_unreadable() -> None:
    """The status may name more machines."""
    assert step_of(entry("r"), look(read=GONE), transient_error=True) is None


def test_entry_held_by_another_run_is_not_changed() -> None:
    own = entry("r", since=9e3, provision_held_by="alice")
    assert step_of(own, look(machine("r"), read={})) is None


def test_to_read_adds_other_machines_if_the_list_lacks_any() -> None:
    known = [entry(f"r-{number}") for number in range(20)]
    listed = [machine(f"r-{number}") for number in range(3, 20)]
    assert to_read(known, [*listed, machine("r-0")]) >= {"r-1", "r-2"}
    ids = to_read(known, listed)
    assert ids >= {"r-0", "r-1", "r-2"} and len(ids) == 3 + 3
    assert to_read(known[3:], listed) == set()
    # Only its own page proves that a machine is gone.
    assert to_read(known[3:], [machine("r-3", "deleted"), *listed[1:]]) == {"r-3"}


def test_step_is_timed_by_the_clock_of_the_registry() -> None:
    """Here the computer's clock has jumped by an hour, and the clocks of API and database have not."""
    clock = Clock(NOW + 3600, api=NOW, database=NOW)
    by_api_clock = entry("r", since=APART - 60, provision_clock="api")
    seen = look(read=ABSENT, clock=clock)
    for place in (FOLDER, SharedProject("blue")):
        assert seen.step("gpu-1", by_api_clock, place, {}, Account) is None
    by_own_clock = entry("r", since=APART - 60)
    assert seen.step("gpu-1", by_own_clock, FOLDER, {}, Account) is MissingStep.SECOND
    assert seen.step("gpu-1", by_own_clock, SharedProject("blue"), {}, Account) is None


def test_changes_note_when_the_second_look_began() -> None:
    own = entry("r", since=9e3)
    seen = look(read=ABSENT)
    assert seen.changes(MissingStep.FIRST, own, FOLDER, NOW + 50) == {
        MISSING_SINCE: utc_rounded_up(NOW + 50),
        MISSING_AT: None,
    }
    assert seen.changes(MissingStep.SECOND, own, FOLDER, NOW + 50) == {MISSING_AT: utc_rounded_up(NOW)}
    assert seen.changes(MissingStep.CLEAR, own, FOLDER, NOW) == dict.fromkeys((MISSING_SINCE, MISSING_AT))


@pytest.mark.parametrize(
    ("now", "is_same"),
    [
        (entry("r"), True),
        (entry("r", since=9e3), True),
        (entry("s"), False),
        (entry("r", provision_procured_offer_id="another"), False),
        (entry("r", provision_resource_ids=["r", "s"]), False),
    ],
)
def test_look_changes_an_entry_only_if_it_names_the_same_purchase(now: Entry, is_same: bool) -> None:
    assert entry_if_same(entry("r"), now) == (now if is_same else Entry())


@pytest.mark.parametrize(
    ("storage_offer", "expected_ids"), [("o-r", ["v"]), ("another", None)], ids=["of its offer", "of another offer"]
)
def test_storage_of_an_ended_purchase_is_noted_with_its_offer(
    storage_offer: str, expected_ids: list[str] | None
) -> None:
    own = entry("r")
    machines = [machine("r", "deleted"), machine("v", offer_id=storage_offer, kind="storage")]
    changes = changes_for_storage("gpu-1", own, {}, Account.of([noted_claim("gpu-1", own)], machines))
    assert changes.get(STORAGE_IDS) == expected_ids
    assert changes.get("provision_procured_offer_id") == ("o-r" if expected_ids else None)


@pytest.mark.parametrize(
    ("hosts", "expected"), [(None, ["one", "two"]), (["a"], ["one"]), (["b", "c"], ["two"]), ([], [])]
)
def test_sentences_of_a_look_are_about_the_given_hosts(hosts: list[str] | None, expected: list[str]) -> None:
    assert Looked((("a", "one"), ("b", "two"))).sentences(hosts) == expected


def test_missing_machine_counts_in_no_ceiling_and_keeps_its_price() -> None:
    found, missing, missed_once = entry("r"), entry("s", since=9e3, at=7e3), entry("t", since=9e3)
    assert [each.is_missing for each in (found, missing, missed_once)] == [False, True, False]
    assert missing.price_per_hour == 2.0 and missing.may_have_bought
    known = [("a", found), ("b", missing), ("c", missed_once)]
    count = Count(account_prices([], known, ()).registered)
    assert count.sum.total == 4.0 and "Not counted: b USD 2.00 (missing since" in count.parts_in_words
    # If it is listed again it counts, although the entry still notes it as missing.
    assert Count(account_prices([machine("s")], known, ()).registered).sum.total == 6.0
    parts, unread = parts_of_other_hosts(
        {"a": 2.0, "b": 2.0, "c": None}, {"b": missing, "c": missing}, has_registry=True
    )
    assert (Count(tuple(parts)).sum.total, unread) == (2.0, [])


def test_entry_without_missing_fields_is_not_missing() -> None:
    assert not read_entry(made_entry("r")).is_missing and read_entry(made_entry("r")).missing_since == ""


def test_missing_rows_begin_with_the_first_look() -> None:
    missed_now, missing, found_again = entry("r"), entry("s", since=9e3, at=7e3), entry("t", since=9e3)
    deleted, listed = entry("u"), entry("v")
    read: Json = {"r": None, "s": None, "t": machine("t"), "u": machine("u", "deleted"), "v": None}
    seen = MissingLook([machine("v")], read, Clock(NOW))
    entries = [("gpu-1", missed_now), ("gpu-2", missing), ("gpu-3", found_again), ("gpu-4", deleted)]
    entries += [("gpu-5", listed), ("gpu-6", Entry())]
    rows = missing_rows(entries, seen, NOW)
    assert [(row["host"], row["since"], row["counts"]) for row in rows] == [
        ("gpu-1", utc_rounded_up(NOW), True),
        ("gpu-2", utc_rounded_up(NOW - 9e3), False),
    ]


def test_missing_lines_fit_into_a_list_that_ansible_prints() -> None:
    hosts = [(f"gpu-{number:03d}-of-a-long-name", entry(f"{number:036d}")) for number in range(3)]
    cluster = entry(*(f"{number:036d}" for number in range(8)), since=9e3, at=7e3)
    lines = missing_lines(missing_rows([*hosts, ("cluster", cluster)], MissingLook(), NOW))
    assert sum("MISSING" in line for line in lines) == 2
    assert max(map(len, lines)) <= 69, lines
    assert missing_lines([]) == []
