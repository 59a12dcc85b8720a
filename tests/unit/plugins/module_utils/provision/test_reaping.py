# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose time is over?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import reaping
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ending import Action, End
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry, read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import (
    API_CLOCK,
    DATABASE_CLOCK,
    LOCAL_CLOCK,
    Clock,
    utc_rounded_up,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import MOVED
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account, noted_claim
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import (
    NOWHERE,
    Folder,
    SharedProject,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.reaping import (
    Host,
    Idleness,
    Life,
    SweepFindings,
    SweepLimits,
    SweptHost,
    idle_result,
    last_command_succeeded,
    last_look,
    life,
    life_by_name,
    read_swept_host,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import entry, machine, machine_id, offer_id

HOUR = 3600.0
BOUGHT = 1_800_000_000.0
ENDS = utc_rounded_up(BOUGHT + 8 * HOUR)
OVER, LIVES, ENDLESS, UNKNOWN = "over", "lives", "endless", "unknown"


def state_of(life: Life) -> str:
    """How it stands with a life."""
    if life.reason or life.end is None:
        return UNKNOWN if life.reason else ENDLESS
    return OVER if life.is_over() else LIVES


def known(leased: str = "8h", ends_at: Any = ENDS, **more: Any) -> Any:
    fields = {"provision_leased": leased, "provision_ends_at": ends_at, "provision_price_per_hour": 2.0, **more}
    own = {"provision_procured_offer_id": offer_id(1), "provision_resource_ids": [machine_id(1)]}
    return read_entry({**own, **fields})


@pytest.mark.parametrize(
    ("hours", "created", "grace", "is_over"),
    [
        (8.0, None, 0, True),
        (7.99, None, 0, False),
        # The later of two ends, but at most an hour later.
        (8.0, 60, 0, False),
        (8.02, 60, 0, True),
        (8.0, -60, 0, True),
        (8.99, 24 * HOUR, 0, False),
        (9.0, 24 * HOUR, 0, True),
        # Later this time.
        (8.0, None, 1, False),
        (8.5, None, 1800, True),
    ],
)
def test_a_life(hours: float, created: float | None, grace: float, is_over: bool) -> None:
    moment = None if created is None else BOUGHT + created
    found = life(known(), moment, Clock(BOUGHT + hours * HOUR))
    assert found.is_over(grace) is is_over
    assert grace or state_of(found) == (OVER if is_over else LIVES)


@pytest.mark.parametrize(
    ("leased", "ends_at", "state"),
    [("8h", "", ENDLESS), ("", "", ENDLESS), ("8h", "soon", UNKNOWN), ("8h", "2026-11-27T03:00", UNKNOWN)],
)
def test_what_has_no_end_or_an_odd_one_is_never_over(leased: str, ends_at: str, state: str) -> None:
    found = life(known(leased, ends_at), BOUGHT, Clock(BOUGHT + 1e9))
    assert state_of(found) == state and not found.is_over()


@pytest.mark.parametrize(
    ("leased", "created", "hours", "state"),
    [
        ("8h", BOUGHT, 8.0, OVER),
        ("8h", BOUGHT, 7.9, LIVES),
        ("8h", None, 1e6, UNKNOWN),
        ("eight", BOUGHT, 1e6, UNKNOWN),
        ("", BOUGHT, 1e6, ENDLESS),
        (utc_rounded_up(BOUGHT + HOUR), None, 1.0, OVER),
        (utc_rounded_up(BOUGHT + HOUR), BOUGHT, 0.9, LIVES),
    ],
)
def test_without_a_registry(leased: str, created: float | None, hours: float, state: str) -> None:
    assert state_of(life_by_name(leased, created, Clock(BOUGHT + hours * HOUR))) == state


@given(
    st.sampled_from([LOCAL_CLOCK, API_CLOCK, DATABASE_CLOCK]),
    st.floats(min_value=0, max_value=1e6),
    *[st.none() | st.floats(min_value=-1e8, max_value=1e8)] * 2,
    st.none() | st.floats(min_value=-1e9, max_value=1e9),
)
def test_no_time_that_is_left_is_taken_and_an_hour_is_given_at_most(
    noted_by: str, passed: float, ahead: float | None, database: float | None, created: float | None
) -> None:
    """Skews cancel out: whatever other clocks and the API's records say, the clock that noted the end measures it."""
    clock = Clock.of(BOUGHT + passed, ahead, None if database is None else BOUGHT + passed + database)
    now = clock.times.get(noted_by)
    entry = known(provision_clock=noted_by)
    found = life(entry, None if created is None else BOUGHT + created, clock)
    if now is not None:
        assert now >= BOUGHT + 8 * HOUR if found.is_over() else now < BOUGHT + 9 * HOUR
    elif found.is_over():
        assert max(clock.times.values()) >= BOUGHT + 8 * HOUR
    else:
        assert min(clock.times.values()) < BOUGHT + 9 * HOUR


@pytest.mark.parametrize(
    ("activity", "ends", "line"),
    [
        ({"state": "idle", "idle_seconds": HOUR, "evidence": "load 0.02"}, True, "idle: load 0.02"),
        ({"state": "idle", "idle_seconds": HOUR - 1, "evidence": "load 0.02"}, False, "idle: load 0.02"),
        ({"state": "active", "idle_seconds": 0, "evidence": "an SSH connection"}, False, "active: an SSH connection"),
        ({"state": "unknown", "idle_seconds": 2 * HOUR, "evidence": "e"}, False, "unknown: e"),
        ({"failed": True, "msg": "no Python"}, False, "unknown: no Python"),
        ({"unreachable": True, "msg": "m", "idle_seconds": 2 * HOUR}, False, "unknown: m"),
        ({}, False, "unknown:"),
    ],
)
def test_only_what_was_idle_for_long_goes_on_to_its_end(activity: dict[str, Any], ends: bool, line: str) -> None:
    """Once it was asked, before its last command is run; the last look compares anew."""
    got = {"reap__sweep": {"idle": HOUR}, "reap__activity": {"asked_at": BOUGHT, **activity}}
    assert idle_result(got) == {"ends": ends, "lines": [line]}


# The last look


@pytest.mark.parametrize(
    ("passed", "idle", "grace", "action", "said"),
    [
        (0.0, None, 0, Action.END, "its lease was over at"),
        (-1.0, None, 0, Action.NOTHING, "has got more time meanwhile"),
        (None, None, 0, Action.NOTHING, "has got more time meanwhile"),
        # Its last command has failed.
        (60.0, None, 1800, Action.STOP, "When it has been over for 30 minutes"),
        (1800.0, None, 1800, Action.END, "its lease was over at"),
        # Idle, with or without a lease.
        (-1.0, 0.0, 0, Action.END, "it was idle"),
        (None, 0.0, 0, Action.END, "it was idle"),
        (None, -1.0, 0, Action.NOTHING, "is not known to be idle any more"),
        (None, 60.0, 1800, Action.STOP, "reap_before_end failed"),
        (60.0, 1800.0, 1800, Action.END, "its lease was over at"),
        ("odd", 9000.0, 0, Action.NOTHING, "nothing ends"),
    ],
)
def test_the_last_look(passed: Any, idle: float | None, grace: float, action: Action, said: str) -> None:
    noted = passed if passed in ("odd", None) else utc_rounded_up(BOUGHT - passed)
    known = read_entry({"provision_ends_at": noted})
    use = Idleness(0.0) if idle is None else Idleness(HOUR, "idle", HOUR + idle, "load 0.02")
    for end in (End(Action.END, ({"resource_id": "r"},)), End(Action.FORGET, gone=("r",))):
        found = last_look("gpu-1", end, SweptHost("/registry", grace, "", use), known, Clock(BOUGHT))
        assert said in found.reason + found.by_sweep
        assert found.action is action if action is not Action.END else replace(found, by_sweep="") == end


@pytest.mark.parametrize(("life", "end"), [(Life(), None), (Life(BOUGHT, -60.0), 560.0), (Life(BOUGHT, 60.0), 440.0)])
def test_an_end_by_another_clock(life: Life, end: float | None) -> None:
    assert life.end_by(500.0) == end


@pytest.mark.parametrize(
    ("reaped", "sweep"),
    [
        ({}, None),
        (None, None),
        ({"grace": "1800"}, SweptHost("/here", 1800.0, "", Idleness(0.0))),
        ({"place": "/there", "idle": "60", "lease": "8h", "grace": 0}, SweptHost("/there", 0.0, "8h", Idleness(60.0))),
    ],
)
def test_what_a_sweep_says(reaped: Any, sweep: SweptHost | None) -> None:
    assert read_swept_host({"reaped": reaped, "before": {"rc": 1}}, "/here", "offer", BOUGHT) == sweep


@pytest.mark.parametrize(("offer", "ends"), [("offer", True), ("another", False)])
def test_a_machine_that_was_bought_since_is_not_idle_by_what_its_predecessor_has_said(offer: str, ends: bool) -> None:
    idle = {"state": "idle", "idle_seconds": 2 * HOUR, "asked_at": BOUGHT}
    reaped = {"idle": HOUR, "offer_id": "offer"}
    found = read_swept_host({"reaped": reaped, "activity": idle}, "/here", offer, BOUGHT)
    assert found is not None and found.use.is_over() is ends


@pytest.mark.parametrize(
    ("before", "saved"),
    [
        (None, True),
        ({}, True),
        ({"skipped": True}, True),
        ({"rc": 0}, True),
        ({"rc": 1}, False),
        ({"unreachable": True, "msg": "no route"}, False),
        ({"failed": False, "msg": "failed to execute in the expected time frame (3)"}, False),
    ],
)
def test_whether_the_last_command_has_saved_what_it_should(before: Any, saved: bool) -> None:
    assert last_command_succeeded(before) is saved
    found = read_swept_host({"reaped": {"grace": 60}, "before": before}, "/here", "offer", BOUGHT)
    assert found is not None and found.grace == (0 if saved else 60)


NOW = 1_800_000_000.0
X, M = offer_id(1), machine_id(1)
PLACE, OTHER = Folder("/vars"), SharedProject("red")
CLOCK = Clock(NOW)
LIMITS = {"provision_leased": "8h", "provision_ends_at": utc_rounded_up(NOW - HOUR)}
LONG_OVER, LIVING, ENDLESS_LIFE = Life(NOW - HOUR, HOUR), Life(NOW + HOUR, -HOUR), Life()
ODD = Life(reason="'soon' is no time")


def host(name: str = "gpu-1", life: Life = LONG_OVER, **fields: Any) -> Host:
    """A host that owns a machine, registered in PLACE."""
    own = {"place": PLACE, "entry": entry(X, [M], "made"), "machines": (machine(1, name, X),), **fields}
    return Host(name, life=life, **own)


def test_the_lives_are_what_their_names_say() -> None:
    states = [state_of(item) for item in (LONG_OVER, LIVING, ENDLESS_LIFE, ODD)]
    assert states == [OVER, LIVES, ENDLESS, UNKNOWN]


@pytest.mark.parametrize(
    ("noted", "protects", "state", "is_protected"),
    [
        (entry(X, [M], "made", **LIMITS), None, OVER, False),
        (entry(X, [M], "made"), None, ENDLESS, False),
        (entry(X, [], "sent", **LIMITS), None, OVER, False),
        (entry(X, [M], "made", **LIMITS), True, OVER, True),
        (entry(X, [], "refused", **LIMITS), None, None, False),
        (Entry(), None, None, False),
    ],
)
def test_what_a_registry_knows_of_a_host(
    noted: Entry, protects: bool | None, state: str | None, is_protected: bool
) -> None:
    account = Account.of([noted_claim("gpu-1", noted)], [machine(1, "gpu-1", X)])
    found = reaping.registered_host(PLACE, "gpu-1", noted, account, CLOCK, {}, {"gpu-1": protects})
    assert (None if found is None else state_of(found.life)) == state
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
    found = reaping.registered_host(PLACE, "gpu-1", own, Account.of([], []), CLOCK, limits, {})
    assert found is not None and (found.idle, bool(found.idle_error)) == (idle, is_odd)


def test_a_run_whose_machine_an_inventory_lists_is_not_watched_and_its_results_come_home() -> None:
    """Its group may be watched; who is asked whether it is idle is not asked for results."""
    own = entry(
        X, [M], "made", provision_groups=["gpu", "supply_run"], provision_ends_at=utc_rounded_up(CLOCK.here + 1800)
    )
    found = reaping.registered_host(PLACE, "run-train", own, Account.of([], []), CLOCK, {"run-train": "30m"}, {})
    assert found is not None
    findings = SweepFindings((found,), (), CLOCK)
    assert (findings.watched, findings.late_runs((), lambda _place: 900.0)) == ([], [found])


@pytest.mark.parametrize(
    ("life", "fields", "may_be"),
    [
        (LIVING, {"idle": 60.0}, True),
        (ENDLESS_LIFE, {"idle": 60.0}, True),
        (LONG_OVER, {"idle": 60.0}, False),  # it ends anyway
        (ODD, {"idle": 60.0}, False),
        (LIVING, {"idle": 0.0}, False),
        (LIVING, {"idle": 60.0, "protection": "it is protected"}, False),
    ],
)
def test_who_is_asked_whether_it_is_idle(life: Life, fields: dict[str, Any], may_be: bool) -> None:
    assert bool(SweepFindings((host(life=life, **fields),), (), CLOCK).watched) is may_be


@pytest.mark.parametrize(
    ("life", "fields", "ends", "is_spared", "fails"),
    [
        (LONG_OVER, {}, True, False, False),
        (LONG_OVER, {"protection": "it is protected"}, False, True, True),
        (LIVING, {}, False, False, False),
        (ENDLESS_LIFE, {}, False, False, False),
        (ODD, {}, False, False, True),
        (LIVING, {"idle_error": "is no duration"}, False, False, True),
    ],
)
def test_whose_machines_end(life: Life, fields: dict[str, Any], ends: bool, is_spared: bool, fails: bool) -> None:
    found = SweepFindings((host(life=life, **fields),), (), CLOCK)
    why_red = found.why_red([], [], [], [])
    assert (bool(found.due), bool(found.spared), bool(why_red)) == (ends, is_spared, fails)
    assert ("compute_index.supply.extend gives it more time" in why_red) is is_spared


MOVED_AWAY = Bill("default", "gpu-2", "x", (machine_id(2),), begin=1.0, end=2.0, why=MOVED)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ""),
        ({"unread": ["A file cannot be read.", "A file cannot be read."]}, "A file cannot be read."),
        ({"left": [(host(), "No play looks after gpu-1.")]}, "No play looks after gpu-1."),
        ({"moved": [MOVED_AWAY]}, "gpu-2: moved into a shared registry, which this run does not read"),
        ({"moved": [MOVED_AWAY._replace(why="decommissioned")]}, ""),
        ({"moved": [MOVED_AWAY._replace(resource_ids=(machine_id(3),))]}, ""),  # a host has it
        ({"unswept": ["Nobody sweeps red."]}, "Nobody sweeps red."),
        ({"clock": Clock(NOW, api=NOW + HOUR)}, "clock"),
    ],
)
def test_why_a_sweep_is_red(fields: dict[str, Any], words: str) -> None:
    """Beside leases that it cannot read, and protected hosts; and whatever it does for hosts afterwards."""
    found = SweepFindings((host(),), (), fields.pop("clock", CLOCK), unclaimed=[machine(2)])
    why_red = found.why_red(*({"unread": [], "left": [], "moved": [], "unswept": [], **fields}.values()))
    assert words in why_red and bool(words) is bool(why_red)
    assert why_red.count("A file") <= 1, "each sentence once"


@pytest.mark.parametrize(
    ("before", "failed", "unnoted", "why"),
    [
        ([], "", [], ""),
        (["A file."], "", [], "A file."),
        ([""], "It failed.", [], "It failed."),
        ([], "", ["Not noted."], "Not noted."),
        (["A file."], "It failed.", ["Not noted."], "A file. It failed. Not noted."),
    ],
)
def test_why_a_sweep_is_red_once_it_is_over(before: list[str], failed: str, unnoted: list[str], why: str) -> None:
    rows = [{"host": "gpu-1", "idle": None, "activity": None, "failed": failed}]
    assert reaping.why_red_at_end(before, rows, unnoted) == why


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
    findings = SweepFindings(tuple(hosts), (), clock)
    assert findings.enforced_places([PLACE, NOWHERE], left, lambda _place: False) == kept
    assert findings.enforced_places([PLACE, NOWHERE], left, lambda _place: True) == []


def test_a_play_has_one_host_of_a_name() -> None:
    first, second, unread = host(), host(place=OTHER), host("gpu-2")
    watched = host("gpu-3", LIVING, idle=60.0)
    asked_too = host(life=LIVING, place=OTHER, idle=60.0)
    found = SweepFindings((first, second, unread, watched, asked_too), (), CLOCK)
    able, left = found.playable({"gpu-2"}, {}, SweepLimits())
    assert able == [(first, SweepLimits()), (watched, SweepLimits())]
    assert [item.idle_allowed for item, _limits in able] == [0.0, 60.0]
    assert reaping.batch_sizes([first, watched], 9) == [1, 9]
    assert [item.place for item, _why in left] == [OTHER, PLACE]
    assert "Two registries have a gpu-1" in left[0][1] and f"{M} runs on at USD 2.00 per hour" in left[1][1]


@pytest.mark.parametrize(
    ("own", "grace", "is_odd"),
    [({}, 1800.0, False), ({"reap_grace": "1h"}, HOUR, False), ({"reap_grace": "x"}, 0, True)],
)
def test_a_host_may_have_limits_of_its_own(own: dict[str, Any], grace: float, is_odd: bool) -> None:
    able, left = SweepFindings((host(),), (), CLOCK).playable((), {"gpu-1": own}, SweepLimits())
    assert ([limits.grace for _host, limits in able], bool(left)) == ([] if is_odd else [grace], is_odd)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"failed": ""}, ""),
        ({"failed": "It failed."}, "It failed."),
        ({"failed": None}, "this sweep did not finish"),
        ({"failed": "", "idle": 60.0, "activity": {"state": "idle"}}, ""),
        ({"failed": "", "idle": 60.0, "activity": {"msg": "no route"}}, "could not be asked whether it is idle"),
        ({"failed": "", "idle": 60.0, "activity": None}, "so it stays, and is billed."),
    ],
)
def test_what_a_sweep_has_not_done(raw: dict[str, Any], words: str) -> None:
    row = {"host": "gpu-1", "idle": None, "activity": None, "place": "/vars", **raw}
    found = reaping.why_not_done(row)
    assert words in found and bool(words) == bool(found)
    is_broken = bool(found) and not row["idle"]
    assert reaping.swept_places(["/vars", "/b"], [row]) == (["/b"] if is_broken else ["/vars", "/b"])


def test_other_projects_whose_leases_are_over_are_named() -> None:
    over, lives = entry(X, [M], "made", **LIMITS), entry(X, [M], "made")
    beside = [("red", over), ("blue", lives), ("red", over), ("green", over)]
    (told,) = reaping.unswept_projects(beside, CLOCK, {"red": "It has never run here.", "green": ""}.__getitem__)
    assert "the project red that are over" in told and "-e provision_project=red." in told


def test_lines_fit_and_name_what_goes_on() -> None:
    hosts = (
        host("a" * 70),
        host("b", LIVING),
        host("c", ENDLESS_LIFE),
        replace(host("d"), protection="it is protected"),
    )
    found = SweepFindings(hosts, (), CLOCK, [machine(9)]).lines()
    assert max(map(len, found[:3])) <= 80
    text = "\n".join(found)
    for words in (
        "1 with time left",
        "Over, but protected: d.",
    ):
        assert words in text
    assert SweepFindings((), (), CLOCK).lines() == ["No lease is over."]
