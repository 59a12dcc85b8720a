# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases and idle times that are over, the hosts that a sweep ends, and why a sweep fails."""

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
from ansible_collections.compute_index.supply.plugins.module_utils._provision.missing import MissingLook
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
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage
from ansible_collections.compute_index.supply.plugins.module_utils._text import formatted
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import account as account_of
from provision_samples import entry, machine, machine_id, offer_id
from provision_samples import host as declaration_of

HOUR = 3600.0
PURCHASED_AT = 1_800_000_000.0
ENDS = utc_rounded_up(PURCHASED_AT + 8 * HOUR)
OVER, LIVES, ENDLESS, UNKNOWN = "over", "lives", "endless", "unknown"


def state_of(life: Life) -> str:
    """The state of a life: over, not over, without an end, or unreadable."""
    if life.reason or life.end is None:
        return UNKNOWN if life.reason else ENDLESS
    return OVER if life.is_over() else LIVES


def entry_with_lease(leased: str = "8h", ends_at: Any = ENDS, **others: Any) -> Any:
    fields = {"provision_leased": leased, "provision_ends_at": ends_at, "provision_price_per_hour": 2.0, **others}
    purchase = {"provision_procured_offer_id": offer_id(1), "provision_resource_ids": [machine_id(1)]}
    return read_entry({**purchase, **fields})


@pytest.mark.parametrize(
    ("hours", "created", "grace", "is_over"),
    [
        (8.0, None, 0, True),
        (7.99, None, 0, False),
        # If the machine was created later than noted, the lease ends later, by at most an hour.
        (8.0, 60, 0, False),
        (8.02, 60, 0, True),
        (8.0, -60, 0, True),
        (8.99, 24 * HOUR, 0, False),
        (9.0, 24 * HOUR, 0, True),
        # A failed last command grants a grace.
        (8.0, None, 1, False),
        (8.5, None, 1800, True),
    ],
)
def test_lease_is_over_at_its_end_plus_late_creation_and_grace(
    hours: float, created: float | None, grace: float, is_over: bool
) -> None:
    created_at = None if created is None else PURCHASED_AT + created
    own_life = life(entry_with_lease(), created_at, Clock(PURCHASED_AT + hours * HOUR))
    assert own_life.is_over(grace) is is_over
    assert grace or state_of(own_life) == (OVER if is_over else LIVES)


@pytest.mark.parametrize(
    ("leased", "ends_at", "state"),
    [("8h", "", ENDLESS), ("", "", ENDLESS), ("8h", "soon", UNKNOWN), ("8h", "2026-11-27T03:00", UNKNOWN)],
)
def test_lease_without_readable_end_is_never_over(leased: str, ends_at: str, state: str) -> None:
    own_life = life(entry_with_lease(leased, ends_at), PURCHASED_AT, Clock(PURCHASED_AT + 1e9))
    assert state_of(own_life) == state and not own_life.is_over()


@pytest.mark.parametrize(
    ("leased", "created", "hours", "state"),
    [
        ("8h", PURCHASED_AT, 8.0, OVER),
        ("8h", PURCHASED_AT, 7.9, LIVES),
        ("8h", None, 1e6, UNKNOWN),
        ("eight", PURCHASED_AT, 1e6, UNKNOWN),
        ("", PURCHASED_AT, 1e6, ENDLESS),
        (utc_rounded_up(PURCHASED_AT + HOUR), None, 1.0, OVER),
        (utc_rounded_up(PURCHASED_AT + HOUR), PURCHASED_AT, 0.9, LIVES),
    ],
)
def test_life_by_name_measures_from_creation(leased: str, created: float | None, hours: float, state: str) -> None:
    assert state_of(life_by_name(leased, created, Clock(PURCHASED_AT + hours * HOUR))) == state


@given(
    st.sampled_from([LOCAL_CLOCK, API_CLOCK, DATABASE_CLOCK]),
    st.floats(min_value=0, max_value=1e6),
    *[st.none() | st.floats(min_value=-1e8, max_value=1e8)] * 2,
    st.none() | st.floats(min_value=-1e9, max_value=1e9),
)
def test_lease_never_ends_early_and_at_most_an_hour_late(
    noted_by: str, passed: float, ahead: float | None, database: float | None, created: float | None
) -> None:
    """Skews cancel out: only the clock that noted the end measures the time since."""
    clock = Clock.of(PURCHASED_AT + passed, ahead, None if database is None else PURCHASED_AT + passed + database)
    now = clock.times.get(noted_by)
    entry = entry_with_lease(provision_clock=noted_by)
    own_life = life(entry, None if created is None else PURCHASED_AT + created, clock)
    if now is not None:
        assert now >= PURCHASED_AT + 8 * HOUR if own_life.is_over() else now < PURCHASED_AT + 9 * HOUR
    elif own_life.is_over():
        assert max(clock.times.values()) >= PURCHASED_AT + 8 * HOUR
    else:
        assert min(clock.times.values()) < PURCHASED_AT + 9 * HOUR


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
def test_idle_result_ends_only_hosts_idle_for_limit(activity: dict[str, Any], ends: bool, line: str) -> None:
    """This decides whether the last command runs; the last look compares again."""
    variables = {"reap__sweep": {"idle": HOUR}, "reap__activity": {"asked_at": PURCHASED_AT, **activity}}
    assert idle_result(variables) == {"ends": ends, "lines": [line]}


@pytest.mark.parametrize(
    ("passed", "idle", "grace", "action", "expected_text"),
    [
        (0.0, None, 0, Action.END, "its lease was over at"),
        (-1.0, None, 0, Action.NOTHING, "got more time meanwhile"),
        (None, None, 0, Action.NOTHING, "got more time meanwhile"),
        # Its last command has failed.
        (60.0, None, 1800, Action.STOP, "A sweep ends it anyway 30 minutes after"),
        (1800.0, None, 1800, Action.END, "its lease was over at"),
        # Idle, with or without a lease.
        (-1.0, 0.0, 0, Action.END, "it was idle"),
        (None, 0.0, 0, Action.END, "it was idle"),
        (None, -1.0, 0, Action.NOTHING, "no longer counts as idle"),
        (None, 60.0, 1800, Action.STOP, "reap_before_end failed"),
        (60.0, 1800.0, 1800, Action.END, "its lease was over at"),
        ("odd", 9000.0, 0, Action.NOTHING, "so it stays"),
    ],
)
def test_last_look_ends_host_only_if_still_over_or_idle(
    passed: Any, idle: float | None, grace: float, action: Action, expected_text: str
) -> None:
    ends_at = passed if passed in ("odd", None) else utc_rounded_up(PURCHASED_AT - passed)
    current_entry = read_entry({"provision_ends_at": ends_at})
    idleness = Idleness(0.0) if idle is None else Idleness(HOUR, "idle", HOUR + idle, "load 0.02")
    gone = [] if action is Action.STOP else [End(Action.FORGET, gone=("r",))]
    for end in (End(Action.END, (machine(1),)), *gone):
        result = last_look(
            "gpu-1", end, SweptHost("/registry", grace, "", idleness), current_entry, Clock(PURCHASED_AT)
        )
        assert expected_text in result.reason + result.by_sweep
        assert result.action is action if action is not Action.END else replace(result, by_sweep="") == end


@pytest.mark.parametrize(
    ("end", "action"),
    [
        (End(Action.END, (machine(1, status="deleting"), machine(2))), Action.STOP),
        (End(Action.END, (machine(1, status="deleting"),)), Action.END),
        (End(Action.FORGET, gone=("r",)), Action.FORGET),
    ],
)
def test_failed_last_command_delays_only_ends_of_machines_that_run(end: End, action: Action) -> None:
    over = read_entry({"provision_ends_at": utc_rounded_up(PURCHASED_AT)})
    swept_host = SweptHost("/registry", 1800.0, "", Idleness(0.0))
    assert last_look("gpu-1", end, swept_host, over, Clock(PURCHASED_AT)).action is action


@pytest.mark.parametrize(
    ("life", "end"), [(Life(), None), (Life(PURCHASED_AT, -60.0), 560.0), (Life(PURCHASED_AT, 60.0), 440.0)]
)
def test_end_by_converts_end_to_given_clock(life: Life, end: float | None) -> None:
    assert life.end_by(500.0) == end


@pytest.mark.parametrize(
    ("reaped", "expected"),
    [
        ({}, None),
        (None, None),
        ({"grace": "1800"}, SweptHost("/here", 1800.0, "", Idleness(0.0))),
        ({"place": "/there", "idle": "60", "lease": "8h", "grace": 0}, SweptHost("/there", 0.0, "8h", Idleness(60.0))),
    ],
)
def test_read_swept_host_reads_declared_sweep(reaped: Any, expected: SweptHost | None) -> None:
    assert read_swept_host({"reaped": reaped, "before": {"rc": 1}}, "/here", "offer", PURCHASED_AT) == expected


@pytest.mark.parametrize(("offer_now", "ends"), [("offer", True), ("another", False)])
def test_idleness_of_earlier_offer_does_not_count(offer_now: str, ends: bool) -> None:
    activity = {"state": "idle", "idle_seconds": 2 * HOUR, "asked_at": PURCHASED_AT}
    reaped = {"idle": HOUR, "offer_id": "offer"}
    swept_host = read_swept_host({"reaped": reaped, "activity": activity}, "/here", offer_now, PURCHASED_AT)
    assert swept_host is not None and swept_host.use.is_over() is ends


@pytest.mark.parametrize(
    ("before", "succeeded"),
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
def test_failed_last_command_grants_grace(before: Any, succeeded: bool) -> None:
    assert last_command_succeeded(before) is succeeded
    swept_host = read_swept_host({"reaped": {"grace": 60}, "before": before}, "/here", "offer", PURCHASED_AT)
    assert swept_host is not None and swept_host.grace == (0 if succeeded else 60)


NOW = 1_800_000_000.0
X, M = offer_id(1), machine_id(1)
PLACE, OTHER = Folder("/vars"), SharedProject("red")
CLOCK = Clock(NOW)
LIMITS = {"provision_leased": "8h", "provision_ends_at": utc_rounded_up(NOW - HOUR)}
LONG_OVER, LIVING, ENDLESS_LIFE = Life(NOW - HOUR, HOUR), Life(NOW + HOUR, -HOUR), Life()
ODD = Life(reason="'soon' is no time")


@pytest.mark.parametrize(("hours", "action"), [(7.9, Action.NOTHING), (8.0, Action.END)])
def test_last_look_without_registry_measures_from_creation(hours: float, action: Action) -> None:
    end = End(Action.END, (machine(1, created_at=utc_rounded_up(PURCHASED_AT)),))
    swept_host = SweptHost("", 0.0, "8h", Idleness(0.0))
    assert last_look("gpu-1", end, swept_host, Entry(), Clock(PURCHASED_AT + hours * HOUR)).action is action


@pytest.mark.parametrize(
    ("age", "state"),
    [(0.0, "idle"), (60.0, "idle"), (60.1, "unknown"), (-1.0, "idle"), (-1.1, "unknown"), (None, "unknown")],
)
def test_answer_about_idleness_counts_for_a_minute(age: float | None, state: str) -> None:
    asked_at = None if age is None else PURCHASED_AT - age
    activity = {"state": "idle", "idle_seconds": 2 * HOUR, "asked_at": asked_at, "evidence": "load 0.02"}
    use = reaping.idleness(HOUR, activity, PURCHASED_AT)
    assert (use.state, use.is_over(), use.evidence) == (state, state == "idle", "load 0.02")


@pytest.mark.parametrize(
    ("grace", "command", "expected"),
    [
        (None, "", SweepLimits(1800.0, 300.0)),
        ("10", 20, SweepLimits(600.0, 20.0)),  # without a unit: minutes of grace, seconds of the command
        ("1h", "2m", SweepLimits(3600.0, 120.0)),
        ("0", "1", SweepLimits(0.0, 1.0)),
        ("745h", "", "reap_grace must be a duration"),
        ("soon", "", "reap_grace must be a duration"),
        ("", "0", "reap_before_end_timeout must be a duration"),
        ("", "25h", "reap_before_end_timeout must be a duration"),
    ],
)
def test_read_limits_accepts_durations_in_range(grace: Any, command: Any, expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            reaping.read_limits(grace, command)
    else:
        assert reaping.read_limits(grace, command) == expected
        assert reaping.read_limits("", "", expected) == expected


def host(name: str = "gpu-1", life: Life = LONG_OVER, **fields: Any) -> Host:
    """A host that owns a machine, registered in PLACE."""
    defaults = {"place": PLACE, "entry": entry(X, [M], "made"), "machines": (machine(1, name, X),), **fields}
    return Host(name, life=life, **defaults)


@pytest.mark.parametrize(
    ("own_entry", "protects", "state", "is_protected"),
    [
        (entry(X, [M], "made", **LIMITS), None, OVER, False),
        (entry(X, [M], "made"), None, ENDLESS, False),
        (entry(X, [], "sent", **LIMITS), None, OVER, False),
        (entry(X, [M], "made", **LIMITS), True, OVER, True),
        (entry(X, [], "refused", **LIMITS), None, None, False),
        (Entry(), None, None, False),
    ],
)
def test_registered_host_has_life_and_protection_of_its_entry(
    own_entry: Entry, protects: bool | None, state: str | None, is_protected: bool
) -> None:
    account = Account.of([noted_claim("gpu-1", own_entry)], [machine(1, "gpu-1", X)])
    registered = reaping.registered_host(
        PLACE, "gpu-1", own_entry, account, CLOCK, {}, {"gpu-1": protects}, MissingLook()
    )
    assert (None if registered is None else state_of(registered.life)) == state
    assert bool(registered and registered.protection) is is_protected


@pytest.mark.parametrize(
    ("own_entry", "listed", "ids"),
    [
        (entry(X, [M], "made"), [machine(1, None, None), machine(2, "train", X)], [M]),
        # An open purchase: machines of its offer that are the host's
        (entry(X, [], "sent"), [machine(1, "gpu-1", X), machine(2, "train", X)], [M]),
    ],
)
def test_registered_host_has_only_its_own_machines(own_entry: Entry, listed: list[Any], ids: list[str]) -> None:
    account = Account.of([noted_claim("gpu-1", own_entry)], listed)
    registered = reaping.registered_host(PLACE, "gpu-1", own_entry, account, CLOCK, {}, {}, MissingLook())
    assert registered is not None and [item["resource_id"] for item in registered.machines] == ids


def test_host_by_name_has_only_its_own_machines_that_do_not_end() -> None:
    raw = {"host": "gpu-1", "lease": "8h", "protect": False, "idle_after": "soon"}
    listed = [machine(1, "gpu-1", X), machine(2, "gpu-2", offer_id(2)), machine(3, "gpu-1", X, status="deleting")]
    named = account_of([(declaration_of("gpu-1", by_name=True), Entry())], listed)
    found = reaping.host_by_name(raw, named, CLOCK)
    assert [item["resource_id"] for item in found.machines] == [M]
    assert found.leased == "8h" and found.life.end is not None and found.idle_error
    without = reaping.host_by_name({**raw, "lease": None}, Account(), CLOCK)  # the account cannot be listed
    assert (without.machines, without.leased, without.life, without.idle_error) == ((), "", Life(), "")


KEPT = Storage(M, kept_since=utc_rounded_up(NOW), is_to_end=True)


@pytest.mark.parametrize(
    ("stray", "own_entry", "ends"),
    [
        (read_entry(KEPT.entry("gpu-1")), Entry(), True),
        (read_entry(replace(KEPT, is_to_end=None).entry("gpu-1")), Entry(), False),
        (read_entry({**KEPT.entry("gpu-1"), "provision_missing_since": utc_rounded_up(NOW)}), Entry(), False),
        (read_entry(KEPT.entry("gpu-1")), entry(X, [M], "made"), False),  # the host has a machine again
        (entry(X, [M], "made", **LIMITS), Entry(), False),  # a second machine, not storage
    ],
)
def test_sweep_ends_storage_that_earlier_sweep_could_not_end(stray: Entry, own_entry: Entry, ends: bool) -> None:
    strays = [(PLACE, "gpu-1 (storage)", stray)]
    left = list(reaping.storage_left_to_end(strays, lambda _place, _host: own_entry))
    assert left == ([(PLACE, "gpu-1", stray)] if ends else [])


@pytest.mark.parametrize(
    ("declared", "noted", "instances", "idle", "has_error"),
    [
        ("30m", "", 1, 1800.0, False),
        ("30m", "8h", 1, 1800.0, False),  # the declaration takes precedence over the entry
        (None, "8h", 1, 8 * HOUR, False),
        ("30m", "", 2, 0.0, False),  # in a cluster, only the first machine would be asked
        ("soon", "", 1, 0.0, True),
        ("", "8h", 1, 0.0, False),
    ],
)
def test_idle_limit_comes_from_declaration_or_entry(
    declared: str | None, noted: str, instances: int, idle: float, has_error: bool
) -> None:
    fields = {"provision_idles": noted, "provision_instances": [{}] * instances}
    own_entry, limits = entry(X, [M], "made", **fields), {} if declared is None else {"gpu-1": declared}
    registered = reaping.registered_host(
        PLACE, "gpu-1", own_entry, Account.of([], []), CLOCK, limits, {}, MissingLook()
    )
    assert registered is not None and (registered.idle, bool(registered.idle_error)) == (idle, has_error)


def test_machine_of_run_is_never_watched_and_its_results_are_fetched() -> None:
    """Results of a watched host are not fetched, so a run is not watched even if an inventory lists its machine."""
    hosts = []
    for name, seconds in (("run-train", 1800), ("run-long", 2 * 86_400)):
        lease = {"provision_groups": ["gpu", "supply_run"], "provision_ends_at": utc_rounded_up(CLOCK.here + seconds)}
        own_entry = entry(X, [M], "made", **lease)
        hosts.append(
            reaping.registered_host(PLACE, name, own_entry, Account.of([], []), CLOCK, {name: "30m"}, {}, MissingLook())
        )
    train, long = hosts
    assert train is not None and long is not None
    findings = SweepFindings((train, long), (), CLOCK)
    assert (findings.watched, findings.late_runs((), lambda _place: 900.0)) == ([], [train])
    assert findings.late_runs({"run-train"}, lambda _place: 900.0) == [], "Ansible cannot read the host's file"
    namesake = SweepFindings((train, replace(train, place=OTHER, life=LONG_OVER)), (), CLOCK)
    assert namesake.late_runs((), lambda _place: 900.0) == [], "a play has one host per name"


@pytest.mark.parametrize(
    ("life", "fields", "is_watched"),
    [
        (LIVING, {"idle": 60.0}, True),
        (ENDLESS_LIFE, {"idle": 60.0}, True),
        (LONG_OVER, {"idle": 60.0}, False),  # its lease ends it
        (ODD, {"idle": 60.0}, False),
        (LIVING, {"idle": 0.0}, False),
        (LIVING, {"idle": 60.0, "protection": "it is protected"}, False),
    ],
)
def test_watched_hosts_have_idle_limit_and_live_lease(life: Life, fields: dict[str, Any], is_watched: bool) -> None:
    assert bool(SweepFindings((host(life=life, **fields),), (), CLOCK).watched) is is_watched


@pytest.mark.parametrize(
    ("life", "fields", "ends", "is_spared", "fails"),
    [
        (LONG_OVER, {}, True, False, False),
        (LONG_OVER, {"protection": "it is protected"}, False, True, True),
        (LIVING, {"protection": "it is protected"}, False, False, False),
        (LONG_OVER, {"protection": "it is protected", "entry": read_entry(KEPT.entry("gpu-1"))}, False, False, False),
        (LIVING, {}, False, False, False),
        (ENDLESS_LIFE, {}, False, False, False),
        (ODD, {}, False, False, True),
        (LIVING, {"idle_error": "is no duration"}, False, False, True),
    ],
)
def test_sweep_ends_unprotected_hosts_with_lease_over(
    life: Life, fields: dict[str, Any], ends: bool, is_spared: bool, fails: bool
) -> None:
    findings = SweepFindings((host(life=life, **fields),), (), CLOCK)
    why_red = findings.why_red([], [], [], [])
    assert (bool(findings.due), bool(findings.spared), bool(why_red)) == (ends, is_spared, fails)
    assert ("compute_index.supply.extend gives it more time" in why_red) is is_spared


def test_host_of_sweep_has_limits_for_idleness_and_last_command() -> None:
    assert [host(life=life, idle=60.0).idle_allowed for life in (LONG_OVER, LIVING)] == [0.0, 60.0]
    only_storage = host(entry=read_entry(Storage(M, kept_since=utc_rounded_up(NOW)).entry("gpu-1")))
    assert [item.time_for_command(SweepLimits()) for item in (host(), only_storage)] == [300.0, 0.0]


@pytest.mark.parametrize(
    ("place", "inventory", "expected"),
    [(PLACE, ["gpu-1"], {}), (OTHER, [], {}), (PLACE, ["gpu-2"], {"registry_dir": "/vars"})],
)
def test_host_outside_inventory_gets_folder_of_its_registry(
    place: Any, inventory: list[str], expected: dict[str, str]
) -> None:
    assert host(place=place).folder(inventory) == expected


def test_row_of_host_has_machines_of_account_or_else_of_entry() -> None:
    noted = entry(X, [M], "made", provision_price_per_hour=3.0)
    listed = (machine(1, "gpu-1", X, price_per_hour=2.0), machine(2, "gpu-1-2", X, price_per_hour=2.5))
    rows = [host(life=life, entry=noted, machines=found).row for life, found in ((LIVING, listed), (ENDLESS_LIFE, ()))]
    assert [(row["price_per_hour"], row["resource_id"]) for row in rows] == [(4.5, [M, machine_id(2)]), (3.0, [M])]
    assert [row["until"] for row in rows] == [formatted(NOW + HOUR), None]


MOVED_AWAY = Bill("default", "gpu-2", "x", (machine_id(2),), begin=1.0, end=2.0, why=MOVED)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ""),
        ({"unread": ["A file cannot be read.", "A file cannot be read."]}, "A file cannot be read."),
        ({"left": [(host(), "No play looks after gpu-1.")]}, "No play looks after gpu-1."),
        ({"moved": [MOVED_AWAY]}, "gpu-2: moved into a shared registry that this run does not read"),
        ({"moved": [MOVED_AWAY._replace(why="decommissioned")]}, ""),
        ({"moved": [MOVED_AWAY._replace(resource_ids=(machine_id(3),))]}, ""),  # its machine is not unclaimed
        ({"unswept": ["No sweep runs for red."]}, "No sweep runs for red."),
        ({"clock": Clock(NOW, api=NOW + HOUR)}, "clock"),
    ],
)
def test_why_red_names_gaps_of_sweep(fields: dict[str, Any], words: str) -> None:
    """Unreadable leases and protected hosts are in the table above, failed ends in the one below."""
    findings = SweepFindings((host(),), (), fields.pop("clock", CLOCK), unclaimed=[machine(2)])
    why_red = findings.why_red(*({"unread": [], "left": [], "moved": [], "unswept": [], **fields}.values()))
    assert words in why_red and bool(words) is bool(why_red)
    assert why_red.count("A file") <= 1, "each sentence once"


@pytest.mark.parametrize(
    ("before", "failed", "unnoted", "expected"),
    [
        ([], "", [], ""),
        (["A file."], "", [], "A file."),
        ([""], "It failed.", [], "It failed."),
        ([], "", ["Not noted."], "Not noted."),
        (["A file."], "It failed.", ["Not noted."], "A file. It failed. Not noted."),
    ],
)
def test_why_red_at_end_joins_findings_failures_and_notes(
    before: list[str], failed: str, unnoted: list[str], expected: str
) -> None:
    rows = [{"host": "gpu-1", "idle": None, "activity": None, "failed": failed}]
    assert reaping.why_red_at_end(before, rows, unnoted) == expected


@pytest.mark.parametrize("by_name", [False, True])
def test_hosts_without_registry_end_only_with_reap_by_name(by_name: bool) -> None:
    findings = SweepFindings((), (host(place=NOWHERE, entry=Entry()),), CLOCK, by_name=by_name)
    assert bool(findings.due) is by_name
    assert any("-e reap_by_name=true ends them." in line for line in findings.lines((), "/a")) is not by_name
    assert ("known only by name, runs on" in findings.why_red([], [], [], [])) is not by_name


@pytest.mark.parametrize(
    ("hosts", "left", "clock", "enforced"),
    [
        ([host()], [], CLOCK, [PLACE]),
        ([host(life=ODD)], [], CLOCK, []),
        ([host()], [(host(), "its file cannot be read")], CLOCK, []),
        ([host()], [(host(life=LIVING), "its file cannot be read")], CLOCK, [PLACE]),
        ([host(entry=entry(X, [], "sent"), machines=())], [], CLOCK, [PLACE]),  # it may have no machine
        ([host(entry=read_entry(KEPT.entry("gpu-1")), machines=())], [], CLOCK, [PLACE]),  # only storage
        ([host(machines=())], [], CLOCK, []),  # it may be another account's
        ([host("a", machines=()), host("b")], [], CLOCK, [PLACE]),
        ([host()], [], Clock(NOW, api=NOW + HOUR), []),
        ([], [], CLOCK, [PLACE]),
    ],
)
def test_registry_is_enforced_only_if_read_completely(
    hosts: list[Host], left: list[Any], clock: Clock, enforced: list[Any]
) -> None:
    findings = SweepFindings(tuple(hosts), (), clock)
    assert findings.enforced_places([PLACE, NOWHERE], left, lambda _place: False) == enforced
    assert findings.enforced_places([PLACE, NOWHERE], left, lambda _place: True) == []


def test_playable_leaves_out_second_host_of_a_name_and_unreadable_hosts() -> None:
    first, second, unread = host(), host(place=OTHER), host("gpu-2")
    watched = host("gpu-3", LIVING, idle=60.0)
    watched_namesake = host(life=LIVING, place=OTHER, idle=60.0)
    findings = SweepFindings((first, second, unread, watched, watched_namesake), (), CLOCK)
    playable_hosts, left = findings.playable({"gpu-2"}, {}, SweepLimits())
    assert playable_hosts == [(first, SweepLimits()), (watched, SweepLimits())]
    assert [item.idle_allowed for item, _limits in playable_hosts] == [0.0, 60.0]
    assert reaping.in_batches(playable_hosts, 9, by_job=False)[1] == [1, 9]
    assert [item.place for item, _why in left] == [OTHER, PLACE]
    assert "Two registries have a gpu-1" in left[0][1] and f"{M} runs on at USD 2.00 per hour" in left[1][1]


@pytest.mark.parametrize(
    ("host_variables", "grace", "has_error"),
    [({}, 1800.0, False), ({"reap_grace": "1h"}, HOUR, False), ({"reap_grace": "x"}, 0, True)],
)
def test_host_variables_override_limits_of_sweep(host_variables: dict[str, Any], grace: float, has_error: bool) -> None:
    playable_hosts, left = SweepFindings((host(),), (), CLOCK).playable((), {"gpu-1": host_variables}, SweepLimits())
    assert ([limits.grace for _host, limits in playable_hosts], bool(left)) == ([] if has_error else [grace], has_error)


def test_host_with_a_longer_last_command_delays_no_other() -> None:
    hosts = [host("gpu-1"), host("gpu-2"), host("gpu-3", LIVING, idle=60.0), host("gpu-4"), host("gpu-5")]
    own = {name: {"reap_before_end_timeout": "1d"} for name in ("gpu-1", "gpu-4")}
    able, _left = SweepFindings(tuple(hosts), (), CLOCK).playable((), own, SweepLimits())
    assert [item.host for item, _limits in able] == ["gpu-2", "gpu-5", "gpu-1", "gpu-4", "gpu-3"]
    assert reaping.in_batches(able, 9, by_job=False)[1] == [2, 2, 9]


@pytest.mark.parametrize(
    ("over", "watched", "wanted", "by_job", "seconds"),
    [
        (1, 0, "1d", True, 3600.0),
        (1, 0, "1d", False, 86_400.0),
        (1, 0, "5m", True, 300.0),
        (20, 0, "1d", True, 3600.0),
        (21, 0, "1d", True, 1800.0),
        (21, 41, "1d", True, 720.0),  # two rounds for those that are over, and three for those that may be idle
        (0, 20, "1d", True, 3600.0),
        (1000, 0, "5m", True, 72.0),
    ],
)
def test_last_commands_leave_a_job_of_awx_time_for_the_ends(
    over: int, watched: int, wanted: str, by_job: bool, seconds: float
) -> None:
    hosts = [host(f"over-{number}") for number in range(over)]
    hosts += [host(f"watched-{number}", LIVING, idle=60.0) for number in range(watched)]
    able, _left = SweepFindings(tuple(hosts), (), CLOCK).playable((), {}, reaping.read_limits("", wanted))
    in_time, batches = reaping.in_batches(able, 20, by_job=by_job)
    assert {limits.command for _host, limits in in_time} == {seconds}
    assert [item for item, _limits in in_time] == [item for item, _limits in able]
    assert batches == ([over, 20] if over else [20])


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"failed": ""}, ""),
        ({"failed": "It failed."}, "It failed."),
        ({"failed": None}, "this sweep did not finish"),
        ({"failed": "", "idle": 60.0, "activity": {"state": "idle"}}, ""),
        ({"failed": "", "idle": 60.0, "activity": {"msg": "no route"}}, "could not be asked whether it is idle"),
        ({"failed": "", "idle": 60.0, "activity": None}, "so it stays and is billed."),
    ],
)
def test_why_not_done_names_failed_and_unasked_hosts(raw: dict[str, Any], words: str) -> None:
    row = {"host": "gpu-1", "idle": None, "activity": None, "place": "/vars", **raw}
    reason = reaping.why_not_done(row)
    assert words in reason and bool(words) == bool(reason)
    is_broken = bool(reason) and not row["idle"]
    assert reaping.swept_places(["/vars", "/b"], [row]) == (["/b"] if is_broken else ["/vars", "/b"])


def test_unswept_projects_names_projects_with_leases_over() -> None:
    over_entry, endless_entry = entry(X, [M], "made", **LIMITS), entry(X, [M], "made")
    entries = [("red", over_entry), ("blue", endless_entry), ("red", over_entry), ("green", over_entry)]
    (sentence,) = reaping.unswept_projects(entries, CLOCK, {"red": "It has never run here.", "green": ""}.__getitem__)
    assert "the project red that are over" in sentence and "-e provision_project=red." in sentence


def test_lines_of_sweep_fit_and_count_live_and_protected_hosts() -> None:
    hosts = (
        host("a" * 70),
        host("b", LIVING),
        host("c", ENDLESS_LIFE),
        replace(host("d"), protection="it is protected"),
    )
    lines = SweepFindings(hosts, (), CLOCK, [machine(9)]).lines([Folder("/a/host_vars")], "/a")
    assert max(map(len, lines[:3])) <= 80
    text = "\n".join(lines)
    assert "1 with time left" in text and "Over, but protected: d." in text
    places = {"gpu-1": Folder("/a/host_vars"), "gpu-2": SharedProject("red"), "gpu-3": Folder("/a/host_vars")}
    assert SweepFindings((), (), CLOCK).lines(places.values(), "/a") == [
        "No lease is over.",
        "Registry: host_vars, project red of the shared registry",
    ]
    assert SweepFindings((), (), CLOCK).lines([NOWHERE], "/a") == ["No lease is over."]
