# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps after a look at machines that the account does not list, case by case."""

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
    MissingLook,
    MissingStep,
    missing_rows,
    to_read,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account, noted_claim
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder, SharedProject

from provision_samples import made_entry

Json = dict[str, Any]
NOW = 1_800_000_000.0
FOLDER = Folder("/inventory/host_vars")
ADDRESS = {"ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}


def machine(key: str, status: str | None = "running", **fields: Any) -> Json:
    known = {"resource_id": key, "offer_id": f"o-{key}", "name": key, "status": status, "price_per_hour": 2.0}
    return {**known, "created_at": None, **fields}


def entry(*keys: str, since: float | None = None, at: float | None = None, ready: bool = True, **more: Any) -> Entry:
    """The entry of a host that owns these machines. ``since``, ``at``: how many seconds ago looks did not find them."""
    looks = {
        name: utc_rounded_up(NOW - ago) for name, ago in ((MISSING_SINCE, since), (MISSING_AT, at)) if ago is not None
    }
    known = {**made_entry(keys[0]), "provision_resource_ids": list(keys), **looks, **more}
    return read_entry({**known, "provision_instances": [ADDRESS]} if ready else known)


def look(
    own: Entry, *listed: Json, read: Mapping[str, Json | None], others: int = 1, clock: Clock | None = None
) -> MissingLook:
    """A look at the entry, and at a number of others that are found."""
    beside = [machine(f"other-{number}") for number in range(others)]
    found = {each["resource_id"]: each for each in beside}
    return MissingLook([*beside, *listed], {**found, **read}, clock or Clock(NOW))


def step_of(own: Entry, seen: MissingLook, phase: str | None = None, **status: Any) -> MissingStep | None:
    def account() -> Account:
        return Account.of([noted_claim("gpu-1", own)], [each for each in seen.read.values() if each])

    return seen.step("gpu-1", own, FOLDER, {"phase": phase, **status}, account)


ABSENT: Json = {"r": None}
GONE: Json = {"r": machine("r", "deleted")}
TABLE: list[Any] = [
    pytest.param(entry("r"), {"read": ABSENT}, None, MissingStep.FIRST, id="not found"),
    pytest.param(entry("r", since=APART), {"read": ABSENT}, None, MissingStep.SECOND, id="again, half an hour later"),
    pytest.param(entry("r", since=APART - 1), {"read": ABSENT}, None, None, id="again, a second earlier"),
    pytest.param(entry("r", since=-10), {"read": ABSENT}, None, None, id="another run has looked just now"),
    pytest.param(
        entry("r", **{MISSING_SINCE: "soon"}), {"read": ABSENT}, None, MissingStep.FIRST, id="an odd first look"
    ),
    pytest.param(entry("r", since=9e6), {"read": ABSENT}, None, MissingStep.SECOND, id="again, months later"),
    pytest.param(entry("r", since=9e3, at=7e3), {"read": ABSENT}, None, None, id="missing already"),
    # Which looks prove something
    pytest.param(entry("r"), {"read": ABSENT, "others": 0}, None, None, id="no other machine is found"),
    pytest.param(entry("r", since=9e3), {"read": ABSENT, "others": 0}, None, None, id="nor at the second look"),
    pytest.param(entry("r", "s"), {"read": {"r": None, "s": None}}, None, MissingStep.FIRST, id="two beside one"),
    pytest.param(entry("r"), {"listed": [machine("r")], "read": ABSENT}, None, None, id="the list has it, no page has"),
    pytest.param(entry("r"), {"listed": [machine("r", "deleted")], "read": ABSENT}, None, None, id="the list ends it"),
    pytest.param(entry("r"), {"read": {}}, None, None, id="its page cannot be read"),
    pytest.param(entry("r", "s"), {"read": {"r": None}, "others": 5}, None, None, id="one of two cannot be read"),
    pytest.param(entry("r", "s"), {"read": {"r": None, "s": machine("s")}}, None, None, id="one of two is found"),
    # Whether it was ever there
    pytest.param(entry("r", ready=False), {"read": ABSENT}, "going_on", None, id="never seen, on its way"),
    pytest.param(entry("r", ready=False), {"read": ABSENT}, None, None, id="never seen, of an unknown offer"),
    pytest.param(entry("r", ready=False), {"read": ABSENT}, "failed", None, id="never seen, of a failed offer"),
    pytest.param(entry("r", ready=False), {"read": ABSENT}, "ready", MissingStep.FIRST, id="its offer calls it ready"),
    pytest.param(
        entry("r"), {"read": ABSENT}, "going_on", MissingStep.FIRST, id="it was ready once, whatever its offer says"
    ),
    # Found again
    pytest.param(
        entry("r", since=9e3), {"listed": [machine("r")], "read": {}}, None, MissingStep.CLEAR, id="listed again"
    ),
    pytest.param(
        entry("r", since=9e3, at=7e3), {"read": {"r": machine("r")}}, None, MissingStep.CLEAR, id="found by its id"
    ),
    pytest.param(
        entry("r", since=9e3, at=7e3),
        {"read": {"r": machine("r", "deleting")}},
        None,
        MissingStep.CLEAR,
        id="found ending",
    ),
    pytest.param(
        entry("r", since=9e3, at=7e3),
        {"listed": [machine("s", offer_id="o-r")], "read": ABSENT},
        None,
        MissingStep.CLEAR,
        id="another machine of its purchase is found",
    ),
    pytest.param(
        entry("r"),
        {"listed": [machine("s", offer_id="o-r", kind="storage")], "read": ABSENT},
        None,
        MissingStep.FIRST,
        id="storage of its purchase is no machine",
    ),
    pytest.param(entry("r"), {"listed": [machine("r")], "read": {}}, None, None, id="nothing is to be cleared"),
    # Told gone
    pytest.param(entry("r"), {"read": GONE}, "ended", MissingStep.END, id="told to be gone"),
    pytest.param(entry("r", since=9e3, at=7e3), {"read": GONE}, None, MissingStep.END, id="told after all"),
    pytest.param(entry("r"), {"read": GONE, "others": 0}, None, MissingStep.END, id="told, the only one"),
    pytest.param(entry("r"), {"listed": [machine("r", "deleted")], "read": {}}, None, None, id="only the list says so"),
    pytest.param(entry("r"), {"read": GONE}, "going_on", None, id="more of its purchase may come"),
    pytest.param(
        entry("r", "s"), {"read": {**GONE, "s": None}, "others": 2}, None, MissingStep.FIRST, id="one told, one not"
    ),
    pytest.param(
        entry("r"), {"read": {"r": machine("r", "deleted", offer_id="other")}}, None, None, id="one of another purchase"
    ),
]


@pytest.mark.parametrize(("own", "seen", "phase", "expected"), TABLE)
def test_what_follows_from_a_look(own: Entry, seen: Json, phase: str | None, expected: MissingStep | None) -> None:
    how = dict(seen)
    assert step_of(own, look(own, *how.pop("listed", ()), **how), phase) is expected


def test_an_offer_whose_status_cannot_be_read_may_bring_more() -> None:
    own = entry("r")
    assert step_of(own, look(own, read=GONE), transient_error=True) is None


def test_what_another_run_is_buying_is_left_to_it() -> None:
    own = entry("r", since=9e3, provision_held_by="alice")
    assert step_of(own, look(own, machine("r"), read={})) is None


def test_others_are_read_if_any_is_lacking() -> None:
    known = [entry(f"r-{number}") for number in range(20)]
    listed = [machine(f"r-{number}") for number in range(3, 20)]
    assert to_read(known, [*listed, machine("r-0")]) >= {"r-1", "r-2"}
    ids = to_read(known, listed)
    assert ids >= {"r-0", "r-1", "r-2"} and len(ids) == 3 + 3
    # If nothing is lacking, nothing is read.
    assert to_read(known[3:], listed) == set()
    # What the list calls gone says so itself, or not.
    assert to_read(known[3:], [machine("r-3", "deleted"), *listed[1:]]) == {"r-3"}


def test_the_clock_of_the_registry_decides() -> None:
    """The computer's clock has moved by an hour; neither the API's nor the database's has."""
    clock = Clock(NOW + 3600, api=NOW, database=NOW)
    own = entry("r", since=APART - 60, provision_clock="api")
    seen = look(own, read=ABSENT, clock=clock)
    for place in (FOLDER, SharedProject("blue")):
        assert seen.step("gpu-1", own, place, {}, Account) is None
    here = entry("r", since=APART - 60)
    assert look(here, read=ABSENT, clock=clock).step("gpu-1", here, FOLDER, {}, Account) is MissingStep.SECOND


def test_the_second_moment_is_that_at_which_the_look_began() -> None:
    own = entry("r", since=9e3)
    seen = look(own, read=ABSENT)
    assert seen.changes(MissingStep.FIRST, own, FOLDER, NOW + 50) == {
        MISSING_SINCE: utc_rounded_up(NOW + 50),
        MISSING_AT: None,
    }
    assert seen.changes(MissingStep.SECOND, own, FOLDER, NOW + 50) == {MISSING_AT: utc_rounded_up(NOW)}
    assert seen.changes(MissingStep.CLEAR, own, FOLDER, NOW) == dict.fromkeys((MISSING_SINCE, MISSING_AT))


def test_what_is_missing_fills_no_ceiling_and_keeps_its_price() -> None:
    own, gone = entry("r"), entry("s", since=9e3, at=7e3)
    once = entry("t", since=9e3)
    assert [each.is_missing for each in (own, gone, once)] == [False, True, False]
    assert gone.price_per_hour == 2.0 and gone.may_have_bought
    known = [("a", own), ("b", gone), ("c", once)]
    count = Count(account_prices([], known, ()).registered)
    assert count.sum.total == 4.0 and "Not counted: b USD 2.00 (missing since" in count.parts_in_words
    # Found again, it counts, whatever is noted.
    assert Count(account_prices([machine("s")], known, ()).registered).sum.total == 6.0
    parts, unread = parts_of_other_hosts({"a": 2.0, "b": 2.0, "c": None}, {"b": gone, "c": gone}, has_registry=True)
    assert (Count(tuple(parts)).sum.total, unread) == (2.0, [])


def test_entries_of_earlier_versions_say_nothing_of_it() -> None:
    assert not read_entry(made_entry("r")).is_missing and read_entry(made_entry("r")).missing_since == ""


def test_an_audit_shows_what_it_does_not_find_from_the_first_look_on() -> None:
    lost, second, back = entry("r"), entry("s", since=9e3, at=7e3), entry("t", since=9e3)
    told = entry("u")
    read: Json = {"r": None, "s": None, "t": machine("t"), "u": machine("u", "deleted")}
    seen = MissingLook([], read, Clock(NOW))
    shown = missing_rows([("gpu-1", lost), ("gpu-2", second), ("gpu-3", back), ("gpu-4", told)], seen, NOW)
    assert [(row["host"], row["since"], row["counts"]) for row in shown] == [
        ("gpu-1", utc_rounded_up(NOW), True),
        ("gpu-2", utc_rounded_up(NOW - 9e3), False),
    ]


def test_the_lines_of_a_report_fit_where_ansible_prints_a_list() -> None:
    few = [(f"gpu-{number:03d}-of-a-long-name", entry(f"{number:036d}")) for number in range(3)]
    many = entry(*(f"{number:036d}" for number in range(8)), since=9e3, at=7e3)
    lines = missing_lines(missing_rows([*few, ("cluster", many)], MissingLook(), NOW))
    assert sum("MISSING" in line for line in lines) == 2
    assert max(map(len, lines)) <= 69, lines
    assert missing_lines([]) == []
