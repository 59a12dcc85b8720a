# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The next step of a run, decided from its record, plan and machine, and the lines of its log."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import (
    lease,
    run_record,
    run_request,
    running,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import GROUP_OF_RUNS
from ansible_collections.compute_index.supply.plugins.module_utils._provision.run_record import Run
from ansible_collections.compute_index.supply.plugins.module_utils._provision.run_request import Request
from ansible_collections.compute_index.supply.plugins.module_utils._provision.running import Course
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill, Ledger
from ansible_collections.compute_index.supply.plugins.module_utils._text import utc
from hypothesis import given
from hypothesis import strategies as st

from run_samples import BOUGHT, RECORD

PRICE = 2.0
NOW = 1_796_000_000.0


@pytest.mark.parametrize(
    ("phase", "same", "again", "expected"),
    [
        ("", False, False, ""),
        ("", False, True, ""),
        ("ordered", True, False, ""),
        ("ordered", False, False, ""),  # nothing has run yet
        ("started", True, False, ""),
        ("started", True, True, ""),  # it is followed, not begun twice
        ("started", False, False, "is another job"),
        ("started", False, True, "is another job"),
        ("home", True, False, ""),
        ("home", False, True, "is another job"),
        ("gone", True, False, "has finished the run"),
        ("gone", True, True, ""),
        ("gone", False, False, ""),
    ],
)
def test_what_the_record_says(phase: str, same: bool, again: bool, expected: str) -> None:
    run = Run(Request(digest="a" if same else "b", again=again), {"phase": phase, "digest": "a"} if phase else {})
    trouble = running.why_stopped(run)
    assert expected in trouble and bool(trouble) is bool(expected)
    assert (running.begin(run).get("hosts") is None) is bool(expected)


@pytest.mark.parametrize(
    ("phase", "free", "expected"),
    [
        ("", True, Course.BUY),
        ("", False, Course.RESUME),  # another controller may have begun it
        ("ordered", True, Course.BUY),
        ("ordered", False, Course.RESUME),
        ("started", True, Course.LOST),
        ("started", False, Course.RESUME),
        ("home", True, Course.END),
        ("home", False, Course.END),
        ("gone", True, Course.BUY),
    ],
)
def test_what_the_plan_says(phase: str, free: bool, expected: Course) -> None:
    assert running.course(phase, is_free=free) is expected


@pytest.mark.parametrize("way", list(Course))
def test_a_refusal_of_the_plan_counts_where_something_may_be_bought(way: Course) -> None:
    stops = (
        pytest.raises(ValueError, match="too dear") if way in (Course.BUY, Course.RESUME) else contextlib.nullcontext()
    )
    with stops:
        running.lease_for(way, Run(Request(name="train", max_bill=20)), PRICE, "It is too dear.", "", has_registry=True)


@pytest.mark.parametrize(
    ("job", "trouble"),
    [
        ({"state": "none"}, None),
        ({"state": "running", "digest": "a"}, ""),
        ({"state": "running", "digest": "b", "command": "false"}, "has another job: false (running)"),
        ({"state": "succeeded", "digest": "a"}, ""),
        ({"state": "failed", "digest": "a"}, ""),
        ({"state": "interrupted", "digest": "a"}, ""),
        ({"state": "succeeded", "digest": "b"}, "has another job: its command is not known (succeeded)"),
        ({"state": "failed", "digest": "b", "command": ["odd"]}, "has another job: ['odd'] (failed)"),
        ({"failed": True, "msg": "no Python"}, "did not report on its job: no Python."),
        ({"unreachable": True}, "did not report on its job: it did not answer."),
        ({}, "did not report on its job: it did not answer."),
    ],
)
def test_what_is_done_with_the_machine(job: dict[str, Any], trouble: str | None) -> None:
    found = running.next_on_machine(Run(Request(name="train", files="code", digest="a")), job)
    assert (found.get("starts"), found.get("copies")) == ((True, True) if trouble is None else (None, None))
    assert (trouble or "") in found.get("trouble", "") and ("trouble" in found) is bool(trouble)


@pytest.mark.parametrize(
    ("asked", "entry", "expected"),
    [
        # Bought an hour ago, by this command or by one with the same request
        ({"seconds": 7200.0, "max_bill": 20}, {}, None),
        ({"max_bill": 6}, {}, None),
        ({"max_bill": 6}, {"ends_at": NOW + 7250}, None),  # rounded
        # Bought by a command that asked for more
        ({"max_bill": 5}, {"ends_at": NOW + 200_000}, NOW + 5400),
        ({"max_bill": 5, "seconds": 36_000.0}, {"ends_at": NOW + 200_000}, NOW + 5400),
        ({"max_bill": 5}, {"ends_at": None}, NOW + 5400),  # for ever
        ({"max_bill": 4}, {"ends_at": NOW + 200_000}, "no time left for the job"),
        ({"max_bill": 0}, {"ends_at": NOW + 200_000}, "no time left for the job"),
        # The lease stays if it is longer than the job's time.
        ({"max_bill": 1000, "seconds": 3600.0}, {"ends_at": NOW + 200_000}, None),
        ({"max_bill": 100, "seconds": 36_000.0}, {}, None),
        # Without a price or a purchase time, a bill sets no end.
        ({"max_bill": 1}, {"price": None, "ends_at": NOW + 200_000}, None),
        ({"max_bill": 1}, {"bought": None, "ends_at": NOW + 200_000}, None),
    ],
)
def test_a_machine_that_was_bought_for_more_ends_by_what_is_asked_for_now(
    asked: dict[str, Any], entry: dict[str, Any], expected: Any
) -> None:
    known = {"bought": NOW - 3600, "ends_at": NOW + 7200, "price": 2.0, **entry}
    moments = {name: utc(known[name]) if known[name] else "" for name in ("bought", "ends_at")}
    owned = read_entry(
        {
            "provision_procured_offer_id": "o",
            "provision_journaled_at": moments["bought"],
            "provision_ends_at": moments["ends_at"],
            "provision_price_per_hour": known["price"],
        }
    )
    request = Request(name="train", **asked)
    found = running.next_on_machine(Run(request, entry=owned, now=NOW), {"state": "none"})
    if isinstance(expected, str):
        assert list(found) == ["trouble"] and expected in found["trouble"]
    else:
        assert found["until"] == expected and found["seconds"] <= (request.seconds or 10**6)


@dataclass
class World:
    """A machine with its job, and a command that performs its steps until it is killed.

    ``budget``: the number of steps before the kill; everything that was written stays.
    """

    record: dict[str, Any] = field(default_factory=dict)
    machine: bool = False
    job: str = "none"
    bought: int = 0
    begun: int = 0
    budget: float = math.inf

    def step(self) -> None:
        if self.budget <= 0:
            raise TimeoutError
        self.budget -= 1

    def command(self) -> str:
        """The outcome that a command shows at its end; "killed" if it was killed before."""
        try:
            return self._command()
        except TimeoutError:
            return "killed"

    def _command(self) -> str:
        request = Request(name="train", command="true", digest="digest")
        if Run(request, self.record).is_done:
            return "done"
        way = running.course(self.record.get("phase") or "", is_free=not self.machine)
        self.step()
        if way is Course.LOST:
            self.record = run_record.after_job(Run(request, self.record), {}, {}, has_gone=True)
        if way in (Course.BUY, Course.RESUME):
            self.record = run_record.ordered(Run(request, self.record), "2026-12-01T06:00:00Z")
            self.step()
            self._work(request)
        self.step()
        self.machine = False
        self.step()
        self.record = run_record.after_end(Run(request, self.record))
        return "done"

    def _work(self, request: Request) -> None:
        if not self.machine:
            self.machine, self.job = True, "none"
            self.bought += 1
        self.step()
        run = Run(request, self.record)
        found = running.next_on_machine(run, {"state": self.job, "digest": "digest"})
        self.record = run_record.started(run, "2026-12-01T06:00:00Z", {})
        self.step()
        if found.get("starts"):
            self.job = "running"
            self.begun += 1
        self.step()
        self.job = "succeeded" if self.job == "running" else self.job
        self.step()
        if not self.machine:
            raise TimeoutError
        self.record = run_record.with_outcome(self.record, {"state": self.job, "digest": "digest"}, {"complete": True})
        assert run_record.result_once_home(Run(request, self.record)) == {"ends": True}


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=8))
def test_killed_at_any_step_and_repeated_the_command_runs_once(kills: list[tuple[int, bool]]) -> None:
    """Whenever a command is killed, or the machine is taken away between two: at the end nothing is billed."""
    world, taken = World(), 0
    for budget, takes in kills:
        world.budget = budget
        world.command()
        if takes and world.machine:
            world.machine, taken = False, taken + 1
    world.budget = math.inf
    assert world.command() == "done" and world.command() == "done"
    assert not world.machine and world.record["phase"] == "gone"
    assert world.begun <= 1 and world.bought <= 1 + taken
    assert world.record["state"] in ("succeeded", "lost")
    if world.record["state"] == "succeeded":
        assert world.begun == 1 and world.record["complete"]


@pytest.mark.parametrize(
    ("way", "entry", "unswept", "registry", "refusal"),
    [
        (Course.BUY, read_entry({}), "", True, ""),
        (Course.BUY, read_entry({}), "No sweep is known.", True, "run_unswept=true"),
        (Course.BUY, read_entry({}), "", False, "needs a registry"),
        (Course.BUY, BOUGHT, "", True, "was not bought by a run (m)"),
        (Course.RESUME, BOUGHT, "", True, "was not bought by a run (m)"),
        (Course.RESUME, read_entry({}), "No sweep is known.", True, ""),  # it was bought already
        (Course.LOST, read_entry({}), "No sweep is known.", True, ""),
    ],
)
def test_why_nothing_may_be_bought(way: Course, entry: Any, unswept: str, registry: bool, refusal: str) -> None:
    try:
        run = Run(Request(name="train", max_bill=20), entry=entry)
        lease = running.lease_for(way, run, PRICE, "", unswept, has_registry=registry)
    except ValueError as error:
        assert refusal and refusal in str(error)
    else:
        assert not refusal and lease >= run_request.SHORTEST_JOB + run_request.RESULTS_SECONDS
    if way is Course.BUY and unswept:  # which a person may accept
        accepted = Run(Request(name="train", max_bill=20, unswept=True), entry=entry)
        assert running.lease_for(way, accepted, PRICE, "", unswept, has_registry=True) == 36_000.0


@pytest.mark.parametrize(
    ("leased", "seconds"), [("3h", 10_800.0), ("", 7200.0), ("2026-12-01T06:00:00Z", 7200.0), ("long", 7200.0)]
)
def test_a_command_that_looks_at_its_machine_declares_the_lease_that_it_has(leased: str, seconds: float) -> None:
    """Else a person who repeats a command reads that the machine is another one than was asked for."""
    entry = read_entry(
        {"provision_procured_offer_id": "o", "provision_leased": leased, "provision_groups": [GROUP_OF_RUNS]}
    )
    run = Run(Request(name="train", max_bill=20, seconds=3600.0), entry=entry)
    for way in (Course.RESUME, Course.END, Course.LOST):
        assert running.lease_for(way, run, PRICE, "", "", has_registry=True) == seconds


@pytest.mark.parametrize(
    ("phase", "noted", "has", "ended", "expected"),
    [
        ("ordered", None, "", (), ""),
        ("started", "o1", "o1", (), ""),
        ("started", "o1", "", ("o1",), "ended"),
        ("started", "o1", "", ("o2",), "IT MAY BE BILLED"),
        ("home", "o1", "", (), "IT MAY BE BILLED"),
        ("home", "o1", "o2", ("o1",), "the machine of another run (offer o2)"),
        ("started", "o1", "o2", (), "the machine of another run (offer o2)"),
        ("gone", "o1", "o2", (), ""),  # the run is over, whatever has come since
        ("gone", "o1", "", (), ""),
    ],
)
def test_nothing_has_ended_that_is_not_proven(
    phase: str, noted: str | None, has: str, ended: tuple[str, ...], expected: str
) -> None:
    record = {"phase": phase, "offer_id": noted, "name": "train", "host": "run-train"}
    entry = read_entry({"provision_procured_offer_id": has, "provision_purchase": "made"} if has else None)
    ledger = Ledger(tuple(Bill("default", "run-train", offer_id, begin=0.0, end=1.0) for offer_id in ended), 2.0)
    run = Run(Request(name="train"), record=record, entry=entry, ledger=ledger)
    assert run.is_over is (expected == "ended" or phase == "gone")
    doubt = "" if expected == "ended" else expected
    assert doubt in running.why_in_doubt(run) and bool(running.why_in_doubt(run)) is bool(doubt)
    assert not doubt or f"began with offer {noted}" in running.why_in_doubt(run)


def test_a_machine_that_is_kept_ends_when_it_was_said() -> None:
    noted = {"provision_leased": "3h", "provision_ends_at": "2026-12-01T06:00:00Z", **running.shorter_lease(3600.0)}
    assert lease.end_of(noted["provision_leased"], noted["provision_ends_at"], 1000.0) == 3600.0


def test_the_name_alone_starts_nothing() -> None:
    """It follows a job, but says neither its code nor its setup and environment."""
    named = Run(Request(name="train", by_name=True, digest="a"))
    found = running.next_on_machine(named, {"state": "none"})
    assert list(found) == ["trouble"] and found["trouble"].startswith("Repeat the whole command")
    assert not running.next_on_machine(named, {"state": "running", "digest": "a"})
    # The whole command would not start it again, either.
    begun = replace(named, record={"phase": "started", "digest": "a", "began_at": "2026-12-01T06:00:00Z"})
    assert "it is not started again" in running.next_on_machine(begun, {"state": "none"})["trouble"]


@pytest.mark.parametrize(
    ("asked", "left", "seconds", "said"),
    [
        ({"seconds": 7200.0}, 10_800.0, 7200, ""),
        ({"seconds": 7200.0}, 10_300.0, 6700, ""),  # its first boot took a while
        ({"seconds": 7200.0}, 10_100.0, 6500, "The job may take 1 h 48 min, since the lease of its machine ends at"),
        ({}, 4300.0, 700, ""),
        ({}, 4100.0, 500, "The job may take 8 min"),
    ],
)
def test_a_person_reads_that_a_job_gets_less_time(asked: dict[str, Any], left: float, seconds: int, said: str) -> None:
    entry = read_entry({"provision_procured_offer_id": "o", "provision_ends_at": utc(NOW + left)})
    request = Request(name="train", max_bill=20, **asked)
    found = running.next_on_machine(Run(request, entry=entry, now=NOW), {"state": "none"})
    assert found["starts"] and found["seconds"] == seconds
    assert said in " ".join(found["lines"]) and bool(said) is bool(found["lines"])


def test_a_job_moves_no_cursor_of_the_terminal() -> None:
    """Names of files, commands and reasons come from the machine, where the job may have made them up."""
    odd = "out\x1b]0;bought\x07\x9b2J\nfatal: [run-train]"
    record = {**RECORD, "incomplete": [{"path": odd, "reason": odd}], "reason": odd}
    texts = [
        *run_record.incomplete_result(Run(Request(), record), odd)["lines"],
        run_record.swept_line("train", {}, {}, {"msg": odd}, "runs/train"),
        running.next_on_machine(Run(Request()), {"command": odd, "state": "running", "digest": "a"})["trouble"],
        running.next_on_machine(Run(Request()), {"msg": odd})["trouble"],
    ]
    assert not any(character in text for text in texts for character in "\x1b\x07\x9b\n")


@pytest.mark.parametrize(
    ("until", "billed", "part"),
    [
        ("", False, "Nothing is billed for run-train."),
        ("", True, "run-train may have a machine that is billed."),
        ("2026-12-01T09:00:00Z", True, "It is billed until its lease ends at 2026-12-01 09:00 UTC."),
    ],
)
def test_a_command_that_came_to_no_end_says_what_is_billed(until: str, billed: bool, part: str) -> None:
    entry = read_entry({"provision_procured_offer_id": "o", "provision_ends_at": until} if billed else {})
    text = running.failure_message({}, Run(Request(name="train"), entry=entry), "SSH does not answer.")
    assert text.startswith("SSH does not answer.") and part in text
    assert ("decommission_hosts=run-train" in text) is billed


@pytest.mark.parametrize(
    ("shown", "lines", "expected"),
    [
        ([], [], []),
        ([], ["a", "b"], ["a", "b"]),
        (["a", "b"], ["b", "c", "d"], ["c", "d"]),
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], ["x", "y"], ["x", "y"]),  # more than a look has
        (["begins", "loads", "10 %"], ["begins", "loads", "50 %"], ["50 %"]),  # a bar that overwrites its line
    ],
)
def test_lines_that_are_new(shown: list[str], lines: list[str], expected: list[str]) -> None:
    assert running.new_lines(shown, lines) == expected


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(1, 9))
def test_no_line_is_shown_twice_and_of_those_that_a_look_has_none_is_left_out(sizes: list[int], most: int) -> None:
    before, shown, log = list[str](), list[str](), list[str]()
    for size in sizes:
        log += [f"line {len(log) + number}" for number in range(size)]
        shown += running.new_lines(before, log[-most:])
        before = log[-most:]
        assert shown[-min(size, most) :] == log[-min(size, most) :] or not size
    assert len(shown) == len(set(shown))
