# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sweep finds, whose machines it ends, and which registries it has kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import sweeping
from ansible_collections.compute_index.supply.plugins.module_utils._provision.clock import Clock
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import utc
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account, noted_claim
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import (
    NOWHERE,
    Folder,
    SharedProject,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.reaping import (
    LeaseState,
    Life,
    SweepLimits,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sweeping import Host, SweepFindings

from provision_samples import entry, machine, machine_id, offer_id

NOW = 1_800_000_000.0
HOUR = 3600.0
X, M = offer_id(1), machine_id(1)
PLACE, OTHER = Folder("/vars"), SharedProject("red")
CLOCK = Clock(NOW)
LIMITS = {"provision_leased": "8h", "provision_ends_at": utc(NOW - HOUR)}
OVER, LIVES, ENDLESS = Life(NOW - HOUR, HOUR), Life(NOW + HOUR, -HOUR), Life()
ODD = Life(reason="'soon' is no time")


def host(name: str = "gpu-1", life: Life = OVER, **fields: Any) -> Host:
    """A host that owns a machine, registered in PLACE."""
    own = {"place": PLACE, "entry": entry(X, [M], "made"), "machines": (machine(1, name, X),), **fields}
    return Host(name, life=life, **own)


def test_the_lives_are_what_their_names_say() -> None:
    states = [item.state for item in (OVER, LIVES, ENDLESS, ODD)]
    assert states == [LeaseState.OVER, LeaseState.LIVES, LeaseState.ENDLESS, LeaseState.UNKNOWN]


@pytest.mark.parametrize(
    ("noted", "protects", "state", "is_protected"),
    [
        (entry(X, [M], "made", **LIMITS), None, LeaseState.OVER, False),
        (entry(X, [M], "made"), None, LeaseState.ENDLESS, False),
        (entry(X, [], "sent", **LIMITS), None, LeaseState.OVER, False),
        (entry(X, [M], "made", **LIMITS), True, LeaseState.OVER, True),
        (entry(X, [], "refused", **LIMITS), None, None, False),
        (Entry(), None, None, False),
    ],
)
def test_what_a_registry_knows_of_a_host(
    noted: Entry, protects: bool | None, state: LeaseState | None, is_protected: bool
) -> None:
    account = Account.of([noted_claim("gpu-1", noted)], [machine(1, "gpu-1", X)])
    found = sweeping.of_entry(PLACE, "gpu-1", noted, account, CLOCK, {}, {"gpu-1": protects})
    assert (None if found is None else found.life.state) is state
    assert bool(found and found.protection) is is_protected


@pytest.mark.parametrize(
    ("declared", "noted", "instances", "idle", "is_odd"),
    [
        ("30m", "", 1, 1800.0, False),
        ("30m", "8h", 1, 1800.0, False),  # what is declared now counts
        (None, "8h", 1, 8 * HOUR, False),
        ("30m", "", 2, 0.0, False),  # only the first of several would be asked
        ("soon", "", 1, 0.0, True),
        ("", "8h", 1, 0.0, False),
    ],
)
def test_how_long_a_machine_may_be_idle(
    declared: str | None, noted: str, instances: int, idle: float, is_odd: bool
) -> None:
    fields = {"provision_idles": noted, "provision_instances": [{}] * instances}
    own, limits = entry(X, [M], "made", **fields), {} if declared is None else {"gpu-1": declared}
    found = sweeping.of_entry(PLACE, "gpu-1", own, Account.of([], []), CLOCK, limits, {})
    assert found is not None and (found.idle, bool(found.odd_idle)) == (idle, is_odd)


@pytest.mark.parametrize(
    ("life", "fields", "may_be"),
    [
        (LIVES, {"idle": 60.0}, True),
        (ENDLESS, {"idle": 60.0}, True),
        (OVER, {"idle": 60.0}, False),  # it ends anyway
        (ODD, {"idle": 60.0}, False),
        (LIVES, {"idle": 0.0}, False),
        (LIVES, {"idle": 60.0, "protection": "it is protected"}, False),
    ],
)
def test_who_is_asked_whether_it_is_idle(life: Life, fields: dict[str, Any], may_be: bool) -> None:
    assert host(life=life, **fields).may_be_idle is may_be


@pytest.mark.parametrize(
    ("life", "fields", "ends", "is_spared", "fails"),
    [
        (OVER, {}, True, False, False),
        (OVER, {"protection": "it is protected"}, False, True, True),
        (LIVES, {}, False, False, False),
        (ENDLESS, {}, False, False, False),
        (ODD, {}, False, False, True),
        (LIVES, {"odd_idle": "is no duration"}, False, False, True),
    ],
)
def test_whose_machines_end(life: Life, fields: dict[str, Any], ends: bool, is_spared: bool, fails: bool) -> None:
    found = SweepFindings((host(life=life, **fields),), (), CLOCK)
    assert (bool(found.due), bool(found.spared), any(found.trouble)) == (ends, is_spared, fails)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_name_alone_ends_nothing_unless_that_is_asked_for(by_name: bool) -> None:
    found = SweepFindings((), (host(place=NOWHERE, entry=Entry()),), CLOCK, by_name=by_name)
    assert bool(found.due) is by_name
    assert any("-e reap_by_name=true ends them." in line for line in found.lines()) is not by_name


@pytest.mark.parametrize(
    ("hosts", "left", "clock", "kept"),
    [
        ([host()], [], CLOCK, [PLACE]),
        ([host(life=ODD)], [], CLOCK, []),
        ([host()], [(host(), "its file cannot be read")], CLOCK, []),
        ([host(machines=())], [], CLOCK, []),  # rather another account's
        ([host("a", machines=()), host("b")], [], CLOCK, [PLACE]),
        ([host()], [], Clock(NOW, api=NOW + HOUR), []),
        ([], [], CLOCK, [PLACE]),
    ],
)
def test_a_sweep_counts_for_a_registry_of_which_it_has_read_all(
    hosts: list[Host], left: list[Any], clock: Clock, kept: list[Any]
) -> None:
    assert SweepFindings(tuple(hosts), (), clock).keeps([PLACE, NOWHERE], left) == kept


def test_a_play_has_one_host_of_a_name() -> None:
    first, second, unread = host(), host(place=OTHER), host("gpu-2")
    watched = host("gpu-3", LIVES, idle=60.0)
    due, asked, left = sweeping.playable([first, second, unread], [watched, first], {"gpu-2"})
    assert (due, asked) == ([first], [watched])
    assert [item.place for item, _why in left] == [OTHER, PLACE]
    assert "Two registries have a gpu-1" in left[0][1] and f"{M} runs on at USD 2.00 per hour" in left[1][1]


@pytest.mark.parametrize(
    ("own", "grace", "is_odd"),
    [({}, 1800.0, False), ({"reap_grace": "1h"}, HOUR, False), ({"reap_grace": "x"}, 0, True)],
)
def test_a_host_may_have_limits_of_its_own(own: dict[str, Any], grace: float, is_odd: bool) -> None:
    found, odd = sweeping.limited([host()], {"gpu-1": own}, SweepLimits())
    assert ([limits.grace for _host, limits in found], bool(odd)) == ([] if is_odd else [grace], is_odd)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"failed": ""}, ""),
        ({"failed": "It failed."}, "It failed."),
        ({"failed": None}, "this sweep did not come to its end"),
        ({"failed": "", "idle": 60.0, "activity": {"state": "idle"}}, ""),
        ({"failed": "", "idle": 60.0, "activity": {"msg": "no route"}}, "could not be asked whether it is idle"),
        ({"failed": "", "idle": 60.0, "activity": None}, "so it stays, and is billed."),
    ],
)
def test_what_a_sweep_has_not_done(raw: dict[str, Any], words: str) -> None:
    row = {"host": "gpu-1", "idle": None, "activity": None, "place": "/vars", **raw}
    found = sweeping.outcome(row)
    assert words in found and bool(words) == bool(found)
    is_broken = bool(found) and not row["idle"]
    assert sweeping.kept(["/vars", "/b"], [row]) == (["/b"] if is_broken else ["/vars", "/b"])


def test_other_projects_whose_leases_are_over_are_named() -> None:
    over, lives = entry(X, [M], "made", **LIMITS), entry(X, [M], "made")
    assert sweeping.projects_over([("red", over), ("blue", lives), ("red", over)], CLOCK) == ["red"]
    assert "-e provision_project=red." in sweeping.project_unswept("red")


def test_lines_fit_and_name_what_goes_on() -> None:
    hosts = (host("a" * 70), host("b", LIVES), host("c", ENDLESS), replace(host("d"), protection="it is protected"))
    found = SweepFindings(hosts, (), CLOCK, [machine(9)]).lines()
    assert max(map(len, found[:3])) <= 80
    text = "\n".join(found)
    for words in (
        "1 with time left",
        "1 without a lease: c.",
        "Over, but protected: d.",
        "no host claims cost USD 2.00",
    ):
        assert words in text
    assert SweepFindings((), (), CLOCK).lines() == ["No lease is over."]
