# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a run, the results that a sweep fetches, and the messages about its job and cost."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import (
    run_record,
    run_request,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import seconds_until
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import GROUP_OF_RUNS
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill, Ledger
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE, folded_lines, utc
from hypothesis import given
from hypothesis import strategies as st

from run_samples import BOUGHT, RECORD, VARIABLES, read_variables

RUNNING = read_entry(
    {"provision_procured_offer_id": "o1", "provision_resource_ids": ["m1"], "provision_groups": ["supply_run"]}
)


def test_digest_changes_with_code_command_setup_and_env() -> None:
    request, _mistakes = read_variables()
    digests = {
        run_record.digest_of(read_variables(**changes)[0], code)
        for changes, code in (
            ({}, ""),
            ({}, "code"),
            ({"run_command": "false"}, ""),
            ({"run_setup": "true"}, ""),
            ({"run_env": {"A": True}}, ""),
        )
    }
    assert len(digests) == 5
    # The job stays the same with a larger bill, other results and more time.
    extended, _mistakes = read_variables(run_max_bill=300, run_results="out", run_time="9h")
    assert run_record.digest_of(extended, "") == run_record.digest_of(request, "")


def test_name_alone_repeats_variables_of_begun_run() -> None:
    request, _mistakes = read_variables(run_results="out", run_keep="90m")
    run = run_record.Run(replace(request, digest="digest"))
    record = run_record.ordered(run, "2026-12-01T06:00:00Z")
    assert run_record.with_variables_of_run({"run_name": "train"}, record) == {"run_name": "train"}  # not begun yet
    begun = run_record.started(replace(run, record=record), "2026-12-01T06:00:00Z", {})
    completed = run_record.with_variables_of_run({"run_name": "train", "run_follow": "false"}, begun)
    repeated = run_request.read_request(completed, [])
    assert (repeated.command, repeated.results, repeated.spec) == (request.command, request.results, request.spec)
    # A later command keeps the machine after a failure as the first one would, unless it gives another time.
    assert (repeated.keep, repeated.follow, repeated.by_name, request.by_name) == (5400.0, False, True, False)
    assert run_request.read_request({**completed, "run_keep": "2h"}, []).keep == 7200.0
    assert run_record.digest_of(repeated, "other code") == "digest"
    # A machine that is not kept has no duration: 0s would be a mistake of the next command.
    for seconds, repeated_seconds in ((0.0, 0.0), (0.5, 1.0), (90.0, 90.0)):
        other = replace(run, request=replace(request, keep=seconds))
        asked, mistakes = run_record.ordered(other, "2026-12-01T06:00:00Z")["asked"], list[str]()
        assert run_request.read_request({**asked, "run_name": "train"}, mistakes).keep == repeated_seconds
        assert not mistakes
    # Once the run is over, its name alone shows the outcome. A further run, or a job of this name, takes nothing over.
    over = {**begun, "phase": "gone"}
    shown = run_record.Run(run_request.read_request(run_record.with_variables_of_run({"run_name": "train"}, over), []))
    assert replace(shown, record=over, request=replace(shown.request, digest="digest")).is_done
    for further in ({"run_name": "train", "run_again": True}, VARIABLES):
        assert run_record.with_variables_of_run(further, over) == further
    # A repeated command fetches the results that the first one named, unless it names other ones.
    other_job = {**VARIABLES, "run_command": "false"}
    assert run_record.with_variables_of_run(other_job, begun) == {**other_job, "run_results": ["out"]}
    assert run_record.with_variables_of_run({**other_job, "run_results": "log"}, begun) == {
        **other_job,
        "run_results": "log",
    }


@pytest.mark.parametrize(
    ("state", "complete", "keep", "expected"),
    [
        # expected: is a state noted, is the phase "home", does the machine end, and until when is it kept
        ("running", True, 0, (False, False, False, None)),
        ("none", True, 0, (False, False, False, None)),
        ("", True, 0, (False, False, False, None)),
        ("succeeded", True, 0, (True, True, True, None)),
        ("succeeded", True, 60, (True, True, True, None)),
        ("failed", True, 0, (True, True, True, None)),
        ("failed", True, 60, (True, True, False, 160.0)),
        ("interrupted", True, 6000, (True, True, False, 1000.0)),  # no longer than its lease
        ("succeeded", False, 0, (True, False, False, None)),
        ("failed", False, 60, (True, False, False, None)),
        ("succeeded", "yes", 0, (True, False, False, None)),
    ],
)
def test_machine_of_finished_job_ends_or_is_kept(
    state: str, complete: Any, keep: float, expected: tuple[Any, ...]
) -> None:
    job, results = {"state": state}, {"complete": complete}
    entry = replace(RUNNING, ends_at=utc(1000.0))
    run = run_record.Run(run_request.Request(name="train", keep=keep), {"phase": "started"}, entry, now=100.0)
    record = run_record.after_job(run, job, results, has_gone=False)
    entry = replace(entry, ends_at=utc(record.get("kept_until") or 1000.0))
    once_home = run_record.result_once_home(replace(run, record=record, entry=entry))
    ends = record["phase"] == "home" and once_home.get("ends", False)
    assert ("state" in record, record["phase"] == "home", ends, record.get("kept_until")) == expected


@pytest.mark.parametrize(
    ("entry", "kept_until"),
    [
        (RUNNING, 160.0),  # without a lease
        (replace(RUNNING, ends_at=utc(120.0)), 120.0),
        (read_entry({}), None),  # nothing may be billed
    ],
)
def test_machine_is_kept_only_while_billed_and_leased(entry: Any, kept_until: float | None) -> None:
    run = run_record.Run(run_request.Request(name="train", keep=60), {"phase": "started"}, entry, now=100.0)
    after = run_record.after_job(run, {"state": "failed"}, {"complete": True}, has_gone=False)
    assert after["kept_until"] == kept_until


@pytest.mark.parametrize("phase", ["home", "gone"])
def test_fetched_record_keeps_its_outcome(phase: str) -> None:
    """A machine that answers later, or the one of another purchase, does not change it."""
    record = {"phase": phase, "state": "failed", "complete": True, "digest": "a"}
    run = run_record.Run(run_request.Request(name="train"), record)
    after = run_record.after_job(run, {"state": "succeeded", "digest": "a"}, {"complete": False}, has_gone=True)
    assert after == {**record, "kept_until": None}


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        ({"state": "running"}, ("lost", run_record.MACHINE_GONE)),
        ({"state": "failed", "reason": "exit code 3"}, ("failed", "exit code 3")),
        ({"state": "succeeded", "reason": "exit code 0"}, ("succeeded", "exit code 0")),
    ],
)
def test_job_is_lost_if_its_machine_ended_first(record: dict[str, Any], outcome: tuple[str, str]) -> None:
    run = run_record.Run(run_request.Request(name="train"), {**record, "phase": "started", "complete": None})
    after = run_record.after_job(run, {"unreachable": True}, {}, has_gone=True)
    assert (after["state"], after["reason"], after["complete"]) == (*outcome, False)


def test_begun_run_keeps_its_purchase_phase_and_beginning() -> None:
    """Also if the machine says later that the job began at another moment, or the host has another purchase."""
    run = run_record.Run(run_request.Request(name="train"), entry=RUNNING)
    first = run_record.started(run, "2026-12-01T06:00:00Z", {"began_at": "2026-12-01T06:01:00Z"})
    assert (first["phase"], first["offer_id"], first["began_at"]) == ("started", "o1", "2026-12-01T06:01:00Z")
    for before in (first, {**first, "phase": "home", "state": "failed"}):
        later = replace(run, record=before, entry=replace(RUNNING, offer_id="o2"))
        assert run_record.started(later, "2026-12-01T09:00:00Z", {"began_at": "2026-12-01T08:00:00Z"}) == before


@pytest.mark.parametrize(
    ("record", "is_settled"),
    [({}, False), ({"phase": "home"}, False), ({"phase": "home", "kept_until": None}, True), ({"phase": "gone"}, True)],
)
def test_record_is_settled_by_command_that_keeps_or_ends(record: dict[str, Any], is_settled: bool) -> None:
    assert run_record.is_settled(record) is is_settled


@pytest.mark.parametrize(
    ("state", "missing", "files", "is_home"),
    [
        ("succeeded", [], 0, True),  # run_results is empty, or names empty folders
        ("succeeded", ["ouput"], 3, False),  # probably mistyped
        ("succeeded", ["*.csv"], 3, True),  # a pattern may match nothing
        ("succeeded", ["*.csv", "logs/[0-9].txt"], 0, False),  # but no file at all is suspicious
        ("succeeded", ["*.csv", "out"], 3, False),
        ("failed", ["out"], 0, True),  # it may have failed in its first second
        ("interrupted", ["out"], 0, True),
    ],
)
def test_success_without_requested_results_keeps_machine(
    state: str, missing: list[str], files: int, is_home: bool
) -> None:
    results = {"complete": True, "missing": missing, "files": files}
    record = run_record.with_outcome({"phase": "started"}, {"state": state}, results)
    assert (record["phase"] == "home", record["complete"]) == (is_home, is_home)


@pytest.mark.parametrize(
    ("groups", "end", "overdue", "since", "is_due"),
    [
        (["supply_run"], 9000.0, -3600.0, 900.0, True),
        (["supply_run"], 9000.0, -1.0, 900.0, True),
        (["supply_run"], 9000.0, -3601.0, 900.0, False),  # its job may still run, and there will be another sweep
        (["supply_run"], 9000.0, -3601.0, 3601.0, True),  # the next sweep would be too late
        (["supply_run"], 9000.0, -4500.0, 3600.0, True),
        (["supply_run"], 9000.0, -4501.0, 3600.0, False),
        (["supply_run"], 9000.0, -86_400.0, 86_400.0, True),  # sweeps once a day
        (["supply_run"], 9000.0, -4500.0, None, True),  # the first sweep
        (["supply_run"], 9000.0, -4501.0, None, False),
        (["supply_run"], 9000.0, -3600.0, -60.0, True),  # a clock was set back
        (["supply_run"], 9000.0, 0.0, 900.0, False),  # this sweep ends it
        (["supply_run"], None, 0.0, 900.0, False),
        (["supply_run"], None, -60.0, 900.0, False),
        (["gpu"], 9000.0, -60.0, 900.0, False),
    ],
)
def test_fetch_is_due_before_lease_ends(
    groups: list[str], end: float | None, overdue: float, since: float | None, is_due: bool
) -> None:
    entry = read_entry({"provision_procured_offer_id": "o", "provision_groups": groups})
    assert run_record.is_fetch_due(entry, end, overdue, since) is is_due


@given(st.floats(60, 7200), st.floats(0, 0.24), st.lists(st.floats(-0.24, 0.24), max_size=30), st.floats(0, 1e5))
def test_some_sweep_before_end_of_lease_fetches_results(
    interval: float, first_drift: float, drifts: list[float], end: float
) -> None:
    """The last sweep before the end of a lease fetches the results, however a schedule drifts."""
    entry = read_entry({"provision_procured_offer_id": "o", "provision_groups": ["supply_run"]})
    sweeps, since = [0.0], interval
    for drift in (first_drift, *drifts):  # each interval is at most a quarter longer than the one before it
        since = since * (1 + drift)
        sweeps.append(sweeps[-1] + since)
    earlier_sweeps = [(at, at - sweeps[number - 1]) for number, at in enumerate(sweeps) if number and at < end]
    if earlier_sweeps and sweeps[-1] >= end:
        at, since = earlier_sweeps[-1]
        assert run_record.is_fetch_due(entry, end, at - end, since)


def test_cost_of_run_leaves_out_earlier_purchases() -> None:
    bills = (
        Bill("default", "run-train", "o1", price_per_hour=2.0, begin=0.0, end=3600.0),
        Bill("default", "run-train", "o2", price_per_hour=2.0, begin=10_000.0, end=13_600.0),
        Bill("default", "run-train", "o3", price_per_hour=4.0, begin=13_600.0),
        Bill("default", "gpu-1", "o4", price_per_hour=9.0, begin=10_000.0),
    )
    ledger = Ledger(bills, 17_200.0)
    # The offers decide, not ``ordered_at``: it is by this computer's clock, the bills by the registry's.
    record = {"ordered_at": "1970-01-01T02:56:40Z", "earlier_offers": ["o1"]}
    assert run_record.cost_of_run(ledger, "run-train", record) == 6.0
    assert run_record.cost_of_run(ledger, "run-train", {}) == 8.0
    assert run_record.cost_of_run(ledger, "run-train", {"earlier_offers": []}) == 8.0
    assert run_record.cost_of_run(ledger, "run-eval", {}) is None
    for offer_id, earlier in (("", ["o1", "o2", "o3"]), ("o3", ["o1", "o2"])):
        entry = read_entry({"provision_procured_offer_id": offer_id})
        run = run_record.Run(run_request.Request(name="train"), entry=entry, ledger=ledger)
        first = run_record.ordered(run, "2026-12-01T06:00:00Z")
        assert first["earlier_offers"] == earlier
        # A repeated order keeps them: what was bought since then was bought for this run, also if it has ended.
        repeated = run_record.ordered(replace(run, record=first, entry=RUNNING), "2026-12-01T09:00:00Z")
        assert (repeated["earlier_offers"], repeated["ordered_at"]) == (earlier, "2026-12-01T06:00:00Z")
    unknown = Ledger((*bills, Bill("default", "run-train", "o5", begin=11_000.0)), 17_200.0)
    assert run_record.cost_of_run(unknown, "run-train", record) is None


def test_all_runs_merges_records_machines_and_answers() -> None:
    records = [
        {
            "folder": "train",
            "name": "train",
            "host": "run-train",
            "state": "succeeded",
            "cost_usd": 2.5,
            "phase": "gone",
        },
        {"folder": "train.1", "name": "train", "host": "run-train", "state": "failed", "phase": "gone"},
        {
            **{"folder": "eval", "name": "eval", "host": "run-eval", "state": "running", "phase": "started"},
            "began_at": "2026-12-01T06:00:00Z",
        },
    ]
    place = Folder("/host_vars")
    machines = [(place, "run-eval", RUNNING), (place, "run-new", RUNNING)]
    storage = Storage(resource_id="s1", kept_since="2026-12-01T06:00:00Z", groups=(GROUP_OF_RUNS,))
    other_entries = [BOUGHT, read_entry(storage.entry("run-eval")), read_entry({"provision_groups": [GROUP_OF_RUNS]})]
    assert run_record.is_of_run(RUNNING) and not any(map(run_record.is_of_run, other_entries))
    # No command of the run "ended" has noted yet that a person ended its machine.
    home = {"folder": "ended", "name": "ended", "host": "run-ended", "state": "failed", "phase": "home"}
    records.append({**home, "offer_id": "o1"})
    # The machine of this one may be in the registry of another inventory.
    records.append({**home, "folder": "other", "name": "other", "host": "run-other", "offer_id": "o2"})
    bill = Bill("default", "run-eval", "o1", price_per_hour=2.0, begin=0.0)
    ledger = Ledger((bill, bill._replace(host="run-ended", end=1800.0)), 3600.0)
    answer = {"state": "succeeded", "exit_code": 0, "ended_at": None, "log": ["a", "b"]}
    jobs = {"run-eval": answer, "run-new": {"unreachable": True}}
    runs = run_record.all_runs(records, machines, jobs, [place], lambda _place: ledger)
    summaries = [(run["name"], run["state"], run["machine"], run["usd"], run["last_line"]) for run in runs]
    assert summaries == [
        ("eval", "succeeded", ["m1"], 2.0, "b"),
        ("new", "unknown", ["m1"], None, ""),
        ("ended", "failed", [], 1.0, ""),
        ("other", "failed", [], None, ""),
        ("train", "succeeded", [], 2.5, ""),
    ]
    assert runs[0]["exit_code"] == 0 and runs[0]["began_at"] == "2026-12-01T06:00:00Z"
    lines = run_record.table_of_runs(runs, 0.0)
    assert len(lines) == 6 and "billed" in lines[1] and "gone" in lines[3] and "unknown" in lines[4]
    assert run_record.table_of_runs([], 0.0) == ["There are no runs."]


@pytest.mark.parametrize(
    ("moments", "since"),
    [
        ({"ordered_at": utc(0.0)}, "50m"),
        ({"ordered_at": utc(0.0), "began_at": utc(600.0)}, "40m"),
        ({"ordered_at": utc(0.0), "began_at": utc(600.0), "ended_at": utc(1200.0)}, "30m"),
        ({}, "-"),
    ],
)
def test_table_of_runs_shows_time_since_last_change(moments: dict[str, str], since: str) -> None:
    record = {**moments, "folder": "train", "name": "train", "host": "run-train", "state": "over"}
    runs = run_record.all_runs([{**record, "last_lines": ["a", "b"]}], [], {}, [], {}.__getitem__)
    assert runs[0]["last_line"] == "b"
    assert run_record.table_of_runs(runs, 3000.0)[1].split()[:3] == ["train", "over", since]


def test_record_keeps_last_lines_of_log_without_control_characters() -> None:
    job = {"state": "failed", "log": [f"line {number}\x1b" for number in range(7)]}
    lines = run_record.with_outcome({}, job, {})["last_lines"]
    assert [line.split()[1][0] for line in lines] == ["2", "3", "4", "5", "6"] and "\x1b" not in "".join(lines)
    assert run_record.with_outcome({}, {"state": "failed", "log": None}, {})["last_lines"] == []


@pytest.mark.parametrize(
    ("name", "phase", "skips", "fetches"),
    [
        ("train", None, False, True),
        ("train", "started", False, True),
        ("train", "started", True, False),
        ("train", "home", False, False),
        ("train", "gone", False, False),
        ("../x", None, False, False),
        ("train.1", None, False, False),  # the folder of an earlier run
    ],
)
def test_sweep_fetches_only_unfinished_runs(name: str, phase: str | None, skips: bool, fetches: bool) -> None:
    record = {"phase": phase} if phase else {}
    job = {"state": "succeeded", "results": ["out"]}
    fetch = run_record.sweep_fetch(name, record, job, 3600.0, {"run_fetch_timeout": "5m"}, skips=skips)
    assert fetch == {"name": name, "paths": ["out"], "seconds": 300, "fetches": fetches}


@pytest.mark.parametrize(
    ("job", "fetches"),
    [
        ({"state": "running"}, True),
        ({"state": "interrupted"}, True),
        ({"state": "none"}, False),
        ({"unreachable": True, "msg": "Connection refused"}, False),
    ],
)
def test_sweep_waits_for_no_machine_that_does_not_answer(job: dict[str, Any], fetches: bool) -> None:
    """Its results cannot be named without its answer, and all other leases would wait."""
    assert run_record.sweep_fetch("train", {}, job, 3600.0, {}, skips=False)["fetches"] is fetches


@pytest.mark.parametrize(
    ("timeout", "ends_at", "seconds"),
    [
        ("5m", 1000.0 + 3600, 300),
        ("5m", 1000.0 + 299.5, 300),
        ("5m", 1000.0 + 60, 60),
        ("10h", 1000.0 + 3000, 3000),
        ("5m", 1000.0, 1),
        ("5m", 900.0, 1),
        ("x", None, 1800),
        ("x", 1000.0 + 3600, 1800),
    ],
)
def test_sweep_fetch_ends_with_lease(timeout: str, ends_at: float | None, seconds: int) -> None:
    seconds_of_lease = seconds_until(ends_at, 1000.0)
    fetch = run_record.sweep_fetch("train", {}, {}, seconds_of_lease, {"run_fetch_timeout": timeout}, skips=False)
    assert fetch["seconds"] == seconds


@pytest.mark.parametrize(
    ("record", "offer_id", "folder"),
    [
        ({}, "o1", "train"),
        ({"offer_id": "o1"}, "o1", "train"),
        ({"offer_id": None}, "o1", "train.o1"),  # ordered here, but begun on another computer
        ({"offer_id": "o1"}, "", "train"),
        ({"offer_id": "o2"}, "o1", "train.o1"),
        ({"offer_id": "o2"}, "../o1", "train.___o1"),
    ],
)
def test_results_of_another_purchase_have_another_folder(record: dict[str, Any], offer_id: str, folder: str) -> None:
    assert run_record.sweep_folder("train", record, offer_id) == folder


@pytest.mark.parametrize(
    ("record", "job", "results", "phase"),
    [
        ({"phase": "started", "name": "train"}, {"state": "failed"}, {"complete": True}, "home"),
        ({"phase": "started", "digest": "b"}, {"state": "succeeded", "digest": "a"}, {"complete": True}, "started"),
        ({}, {"state": "succeeded", "digest": "a"}, {"complete": True}, "home"),
        ({}, {"state": "succeeded"}, {"failed": False, "msg": "It took too long."}, "started"),
        # No requested file has arrived, so the next command must neither end the machine nor succeed.
        ({}, {"state": "succeeded", "msg": "x"}, {"complete": True, "missing": ["ouput"], "files": 0}, "started"),
        ({}, {"state": "running"}, {"complete": False}, None),
        ({"phase": "ordered"}, {"state": "none"}, {}, None),
        ({}, {"unreachable": True}, {}, None),
        ({"phase": "gone", "complete": True}, {"state": "failed"}, {"complete": True}, None),  # a command was first
        ({"phase": "home", "complete": True}, {"state": "failed"}, {"complete": False}, None),
    ],
)
def test_after_sweep_notes_outcome_of_finished_job(
    record: dict[str, Any], job: dict[str, Any], results: dict[str, Any], phase: str
) -> None:
    fetch = {"name": "train", "fetches": True, "offer_id": "o1"}
    after = run_record.after_sweep(record, fetch, job, results)
    new_records = [] if after is record else [after]
    assert [item["phase"] for item in new_records] == ([phase] if phase else [])
    assert record or not new_records or new_records[0]["offer_id"] == "o1"
    line = run_record.swept_line("train", after, job, results, "runs/train")
    assert ("are home: runs/train" in line) is (phase == "home" or bool(record.get("complete")))
    assert "see run.json." in line or not results.get("missing")
    assert run_record.after_sweep(record, {**fetch, "fetches": False}, job, results) is record


@pytest.mark.parametrize(
    ("job", "results", "why"),
    [
        ({"state": "failed", "msg": "old"}, {}, "see run.json."),
        ({"unreachable": True}, {}, "see run.json."),
        ({"unreachable": True, "msg": "no route"}, {}, "no route."),
        ({"state": "failed"}, {"complete": False, "fault": "The disk is full."}, "The disk is full."),
        ({"state": "failed"}, {"failed": True, "msg": "It took too long."}, "It took too long."),
        ({"unreachable": True, "msg": "no route"}, {"msg": "It took too long."}, "It took too long."),
    ],
)
def test_swept_line_names_fault_of_transfer_or_machine(job: dict[str, Any], results: dict[str, Any], why: str) -> None:
    line = run_record.swept_line("train", {}, job, results, "runs/train")
    assert line == f"The results of train are NOT complete: {why} Fetched so far: runs/train"


def test_sweep_writes_complete_record() -> None:
    """Another computer may have begun the run, so this one has no record to start from."""
    fetch = {"name": "train", "fetches": True, "offer_id": "o1"}
    times = {"began_at": "2026-12-01T06:00:00Z", "ended_at": "2026-12-01T06:10:00Z"}
    job = {"state": "failed", "exit_code": 3, "command": "python train.py", "digest": "a", **times}
    record = run_record.after_sweep({}, fetch, job, {"complete": True, "files": 1})
    expected_fields = {
        "name",
        "command",
        "state",
        "exit_code",
        "began_at",
        "ended_at",
        "offer_id",
        "cost_usd",
        "complete",
    }
    assert expected_fields <= record.keys() and record["command"] == "python train.py"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "train failed after 2 h 5 min (exit code 3)."),
        ({"state": "succeeded", "reason": "exit code 0"}, "train succeeded after 2 h 5 min (exit code 0)."),
        (
            {"state": "interrupted", "reason": "its time\nwas up"},
            "train interrupted after 2 h 5 min (its time was up).",
        ),
        ({"reason": None}, "train failed after 2 h 5 min."),
        (
            {"state": "lost", "exit_code": None, "ended_at": None, "reason": run_record.MACHINE_GONE},
            "train lost (its machine has gone).",
        ),
        ({"ended_at": "2026-12-01T06:00:41Z"}, "train failed after 41 seconds (exit code 3)."),
        ({"began_at": None}, "train failed (exit code 3)."),
        ({"ended_at": "2026-12-01T05:59:00Z"}, "train failed after 0 seconds (exit code 3)."),  # a clock was set back
    ],
)
def test_job_outcome_has_state_duration_and_reason(changes: dict[str, Any], sentence: str) -> None:
    assert run_record.job_outcome({**RECORD, **changes}) == sentence


def test_last_result_has_outcome_cost_files_and_log() -> None:
    assert run_record.last_result(RECORD, "runs/train")["lines"] == [
        "train failed after 2 h 5 min (exit code 3).",
        "Nothing is billed any more. It cost at most USD 33.40.",
        "Results: runs/train (12 files)",
        "Not found on the machine: *.csv",
        "The last lines of its log:",
        "loss 0.1",
        "Traceback",
    ]
    assert "unknown" in run_record.last_result({**RECORD, "cost_usd": None}, "runs/train")["lines"][1]
    assert "Results: runs/train (0 files)" in run_record.last_result({**RECORD, "files": None}, "runs/train")["lines"]
    text_with_storage = " ".join(
        run_record.last_result({**RECORD, "stays": "run-train keeps its storage."}, "runs/train")["lines"]
    )
    assert "run-train keeps its storage. It cost" in text_with_storage and "Nothing is billed" not in text_with_storage


@pytest.mark.parametrize(
    ("state", "complete", "parts", "has_log"),
    [
        ("succeeded", True, [], False),
        ("succeeded", False, ["train succeeded", "Its results went with the machine"], False),
        ("failed", True, ["train failed"], True),
        ("lost", False, ["train lost", "Its results went with the machine"], True),
    ],
)
def test_last_result_is_in_trouble_without_success_and_results(
    state: str, complete: bool, parts: list[str], has_log: bool
) -> None:
    found = run_record.last_result(
        {**RECORD, "state": state, "complete": complete}, "runs/train", "Nothing was bought."
    )
    assert all(part in found["trouble"] for part in parts) and bool(found["trouble"]) is bool(parts)
    assert ("Traceback" in found["lines"]) is has_log and found["lines"][-1] == "Nothing was bought."
    text = " ".join(found["lines"])
    assert ("Results: runs/train" in text, "arrived before are in runs/train" in text) == (complete, not complete)
    # If the machine ended before the job, its log and files were never read.
    assert run_record.last_result({"name": "train", "state": state, "complete": complete}, "runs/train")["lines"]


@pytest.mark.parametrize(
    ("incomplete", "missing", "expected"),
    [
        (None, None, []),
        (
            [{"path": "a", "reason": "changed"}, {"path": "b"}, {"reason": "no space"}],
            ["*.csv"],
            [
                "Not home: a (changed), b, no space.",
                "Not written by the job: *.csv. To fetch other files, change run_results.",
            ],
        ),
    ],
)
def test_incomplete_result_names_files_and_reasons(incomplete: Any, missing: Any, expected: list[str]) -> None:
    record = {**RECORD, "incomplete": incomplete, "missing": missing}
    run = run_record.Run(run_request.Request(name="train", folder="runs/train"), record)
    lines = run_record.incomplete_result(run, "It broke")["lines"]
    assert lines[1] == "Its results are NOT complete. It broke. See runs/train." and lines[2:-2] == expected


@pytest.mark.parametrize(
    ("keep", "kept_until", "ends_at", "ends"),
    [
        (60.0, 500.0, utc(500.0), False),
        (0.0, 500.0, utc(500.0), True),  # this command does not keep it
        (60.0, None, utc(500.0), True),  # its job has succeeded
        (60.0, 500.0, utc(100.0), True),
        (60.0, 500.0, "", True),
    ],
)
def test_machine_ends_once_home_unless_kept(keep: float, kept_until: Any, ends_at: str, ends: bool) -> None:
    request, entry = run_request.Request(name="train", keep=keep), replace(RUNNING, ends_at=ends_at)
    run = run_record.Run(request, {**RECORD, "kept_until": kept_until}, entry, now=100.0)
    assert run_record.result_once_home(run).get("ends", False) is ends


@pytest.mark.parametrize(
    "lines",
    [
        run_record.last_result(RECORD, "runs/train")["lines"],
        run_record.incomplete_result(
            run_record.Run(
                run_request.Request(name="train", folder="runs/train"),
                {**RECORD, "incomplete": [{"path": "out/a", "reason": "changed"}]},
                replace(RUNNING, ends_at="2026-12-01T09:00:00Z"),
            ),
            "",
        )["lines"],
        run_record.result_once_home(
            run_record.Run(
                run_request.Request(name="train", keep=60, folder="runs/train"),
                RECORD,
                replace(RUNNING, ends_at="2026-12-01T09:00:00Z"),
            )
        )["lines"],
        run_request.quote_lines(
            {"gpu_count": 8, "gpu_type": "nvidia-h100-sxm5-80gb", "price_per_hour": 16.0},
            7200.0,
            48.0,
            "Registry: host_vars",
        ),
    ],
)
def test_lines_about_runs_fit_terminal(lines: list[str]) -> None:
    assert lines and all(len(line) <= LINE for line in folded_lines(lines))


def test_offer_without_gpu_count_is_shown_by_gpu_type() -> None:
    lines = run_request.quote_lines({"gpu_count": None, "gpu_type": "H100", "price_per_hour": 16.0}, 7200.0, 48.0, "")
    assert "H100, on demand" in lines


@pytest.mark.parametrize(
    ("fields", "registry", "expected"),
    [
        (
            {"contract_type": "spot", "vendor": "nebius", "region": "EU"},
            "Registry: host_vars",
            ["8 x H100, spot (nebius, EU)", "Registry: host_vars"],
        ),
        ({"vendor": "nebius", "region": None}, "", ["8 x H100, on demand (nebius)"]),
        ({"contract_type": None}, "", ["8 x H100, on demand"]),
    ],
)
def test_quote_of_run_shows_contract_and_region(fields: dict[str, Any], registry: str, expected: list[str]) -> None:
    host = {"gpu_count": 8, "gpu_type": "H100", "price_per_hour": 16.0, **fields}
    first, kind, job, _comes_on_top, *rest = run_request.quote_lines(host, 5400.0, 40.0, registry)
    assert (first, [kind, *rest]) == ("at most USD 40.00 for its machine, USD 16.00/h", expected)
    assert job == "the job may take 1 h 30 min, plus an hour to bring the results home"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, ""),
        ({"phase": "gone", "cost_usd": None, "files": 2, "complete": True, "asked": {}, "later": object()}, ""),
        ({"phase": 3}, "phase must be text, not 3"),
        ({"phase": "startd"}, "phase must be ordered, started, home or gone, not startd"),
        ({"phase": None}, "phase must be ordered, started, home or gone, not None"),
        ({"cost_usd": "12"}, "cost_usd must be a number, not 12"),
        ({"earlier_offers": "o"}, "earlier_offers must be a list, not o"),
        ({"incomplete": ["a"]}, "incomplete must be a list of mappings"),
        ({"asked": ["run_command"]}, r"asked must be a mapping, not \['run_command'\]"),
        ({"complete": "yes"}, "complete must be true or false, not yes"),
    ],
)
def test_record_that_a_person_has_changed_is_refused_with_its_field(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$") if reason else nullcontext():
        run_record.check_record(record)
