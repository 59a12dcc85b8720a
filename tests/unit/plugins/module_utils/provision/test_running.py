# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The next step of a run, decided from its record, plan and machine; new lines of its log."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import (
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
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage
from ansible_collections.compute_index.supply.plugins.module_utils._text import utc
from hypothesis import given
from hypothesis import strategies as st

from run_samples import BOUGHT, RECORD

PRICE = 2.0
NOW = 1_796_000_000.0
AFTER_CTRL_C = [
    "After Ctrl-C it goes on at USD 2.00/h; the same command follows it.",
    "To end it: compute_index.supply.decommission -e decommission_hosts=run-train",
]


@pytest.mark.parametrize(
    ("phase", "is_same", "again", "expected"),
    [
        ("", False, False, ""),
        ("", False, True, ""),
        ("ordered", True, False, ""),
        ("ordered", False, False, ""),  # nothing has run yet
        ("started", True, False, ""),
        ("started", True, True, ""),  # the job is followed, not started again
        ("started", False, False, "is another job"),
        ("started", False, True, "is another job"),
        ("home", True, False, ""),
        ("home", False, True, "is another job"),
        ("gone", True, False, "has finished the run"),
        ("gone", True, True, ""),
        ("gone", False, False, ""),
    ],
)
def test_another_job_or_finished_run_stops_command(phase: str, is_same: bool, again: bool, expected: str) -> None:
    run = Run(Request(digest="a" if is_same else "b", again=again), {"phase": phase, "digest": "a"} if phase else {})
    trouble = running.why_stopped(run)
    assert expected in trouble and bool(trouble) is bool(expected)
    assert (running.begin(run).get("hosts") is None) is bool(expected)


@pytest.mark.parametrize(
    ("phase", "is_free", "expected"),
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
def test_course_comes_from_phase_and_plan(phase: str, is_free: bool, expected: Course) -> None:
    assert running.course(phase, is_free=is_free) is expected


@pytest.mark.parametrize("course", list(Course))
def test_refusal_of_plan_counts_only_if_command_may_buy(course: Course) -> None:
    stops = (
        pytest.raises(ValueError, match="too dear")
        if course in (Course.BUY, Course.RESUME)
        else contextlib.nullcontext()
    )
    with stops:
        running.lease_for(course, Run(Request(name="train", max_bill=20)), PRICE, "It is too dear.", has_registry=True)


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
        # The connection was lost while the job was followed: its last state is no answer.
        ({"state": "none", "lost_sight": True}, "did not report on its job: it did not answer."),
        ({"state": "running", "digest": "a", "lost_sight": True}, "did not report on its job: it did not answer."),
    ],
)
def test_job_starts_only_on_machine_without_job(job: dict[str, Any], trouble: str | None) -> None:
    decision = running.next_on_machine(Run(Request(name="train", files="code", digest="a")), job)
    assert (decision.get("starts"), decision.get("copies")) == ((True, True) if trouble is None else (None, None))
    assert (trouble or "") in decision.get("trouble", "") and ("trouble" in decision) is bool(trouble)


@pytest.mark.parametrize(
    ("requested", "entry", "expected"),
    [
        # Bought an hour ago for the same request
        ({"seconds": 7200.0, "max_bill": 20}, {}, None),
        ({"max_bill": 6}, {}, None),
        ({"max_bill": 6}, {"ends_at": NOW + 7250}, None),  # a lease is rounded up
        # Bought for a larger request
        ({"max_bill": 5}, {"ends_at": NOW + 200_000}, NOW + 5400),
        ({"max_bill": 5, "seconds": 36_000.0}, {"ends_at": NOW + 200_000}, NOW + 5400),
        ({"max_bill": 5}, {"ends_at": None}, NOW + 5400),  # without a lease
        ({"max_bill": 5, "seconds": 1800.0}, {"ends_at": NOW + 200_000}, NOW + 5400),
        # The lease may be two minutes longer than the bill: it is rounded.
        ({"max_bill": 5}, {"ends_at": NOW + 5520}, NOW + 5400),
        ({"max_bill": 5}, {"ends_at": NOW + 5519}, None),
        ({"max_bill": 100}, {"ends_at": NOW + 3659}, "no time left for the job"),
        ({"max_bill": 4}, {"ends_at": NOW + 200_000}, "no time left for the job"),
        ({"max_bill": 0}, {"ends_at": NOW + 200_000}, "no time left for the job"),
        # A lease longer than the job's time stays, if the bill pays for it.
        ({"max_bill": 1000, "seconds": 3600.0}, {"ends_at": NOW + 200_000}, None),
        ({"max_bill": 100, "seconds": 36_000.0}, {}, None),
        # Without a price or a purchase time, the bill cannot set an end.
        ({"max_bill": 1}, {"price": None, "ends_at": NOW + 200_000}, None),
        ({"max_bill": 1}, {"bought": None, "ends_at": NOW + 200_000}, None),
    ],
)
def test_lease_is_shortened_to_requested_bill(requested: dict[str, Any], entry: dict[str, Any], expected: Any) -> None:
    entry_values = {"bought": NOW - 3600, "ends_at": NOW + 7200, "price": 2.0, **entry}
    moments = {name: utc(entry_values[name]) if entry_values[name] else "" for name in ("bought", "ends_at")}
    own_entry = read_entry(
        {
            "provision_procured_offer_id": "o",
            "provision_journaled_at": moments["bought"],
            "provision_ends_at": moments["ends_at"],
            "provision_price_per_hour": entry_values["price"],
        }
    )
    request = Request(name="train", **requested)
    decision = running.next_on_machine(Run(request, entry=own_entry, now=NOW), {"state": "none"})
    if isinstance(expected, str):
        assert list(decision) == ["trouble"] and expected in decision["trouble"]
    else:
        assert decision["until"] == expected and decision["seconds"] <= (request.seconds or 10**6)
        assert decision["lines"] or not expected  # a person reads that the lease gets shorter


@dataclass
class World:
    """The record of a run, its machine and job, and a command that is killed after ``budget`` steps.

    A kill leaves what was written before it. ``purchases`` and ``job_starts`` count what must happen only once.
    """

    record: dict[str, Any] = field(default_factory=dict)
    machine: bool = False
    job: str = "none"
    purchases: int = 0
    job_starts: int = 0
    budget: float = math.inf

    def step(self) -> None:
        if self.budget <= 0:
            raise TimeoutError
        self.budget -= 1

    def command(self) -> str:
        """Run the command: "done", or "killed" if its budget did not suffice."""
        try:
            return self._command()
        except TimeoutError:
            return "killed"

    def _command(self) -> str:
        request = Request(name="train", command="true", digest="digest")
        if Run(request, self.record).is_done:
            return "done"
        course = running.course(self.record.get("phase") or "", is_free=not self.machine)
        self.step()
        if course is Course.LOST:
            self.record = run_record.after_job(Run(request, self.record), {}, {}, has_gone=True)
        if course in (Course.BUY, Course.RESUME):
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
            self.purchases += 1
        self.step()
        run = Run(request, self.record)
        decision = running.next_on_machine(run, {"state": self.job, "digest": "digest"})
        self.record = run_record.started(run, "2026-12-01T06:00:00Z", {})
        self.step()
        if decision.get("starts"):
            self.job = "running"
            self.job_starts += 1
        self.step()
        self.job = "succeeded" if self.job == "running" else self.job
        self.step()
        if not self.machine:
            raise TimeoutError
        self.record = run_record.with_outcome(self.record, {"state": self.job, "digest": "digest"}, {"complete": True})
        assert run_record.result_once_home(Run(request, self.record)) == {"ends": True}


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=8))
def test_command_killed_at_any_step_and_repeated_runs_job_once(kills: list[tuple[int, bool]]) -> None:
    """Also if the machine vanishes between two commands. At the end nothing is billed."""
    world, vanished = World(), 0
    for budget, vanishes in kills:
        world.budget = budget
        world.command()
        if vanishes and world.machine:
            world.machine, vanished = False, vanished + 1
    world.budget = math.inf
    assert world.command() == "done" and world.command() == "done"
    assert not world.machine and world.record["phase"] == "gone"
    assert world.job_starts <= 1 and world.purchases <= 1 + vanished
    assert world.record["state"] in ("succeeded", "lost")
    if world.record["state"] == "succeeded":
        assert world.job_starts == 1 and world.record["complete"]


@pytest.mark.parametrize(
    ("course", "entry", "unswept", "has_registry", "refusal"),
    [
        (Course.BUY, read_entry({}), "", True, ""),
        (Course.BUY, read_entry({}), "No sweep is known.", True, "run_unswept=true"),
        (Course.BUY, read_entry({}), "", False, "needs a registry"),
        (Course.BUY, BOUGHT, "", True, "was not bought by a run (m)"),
        (Course.RESUME, BOUGHT, "", True, "was not bought by a run (m)"),
        (Course.RESUME, read_entry({}), "No sweep is known.", True, ""),  # its machine is bought already
        (Course.LOST, read_entry({}), "No sweep is known.", True, ""),
    ],
)
def test_lease_for_refuses_purchase_without_registry_or_sweeps(
    course: Course, entry: Any, unswept: str, has_registry: bool, refusal: str
) -> None:
    try:
        run = Run(Request(name="train", max_bill=20), entry=entry, unswept=unswept)
        lease = running.lease_for(course, run, PRICE, "", has_registry=has_registry)
    except ValueError as error:
        assert refusal and refusal in str(error)
    else:
        assert not refusal and lease >= run_request.SHORTEST_JOB + run_request.RESULTS_SECONDS
    if course is Course.BUY and unswept:  # run_unswept accepts that
        accepted = Run(Request(name="train", max_bill=20, unswept=True), entry=entry, unswept=unswept)
        assert running.lease_for(course, accepted, PRICE, "", has_registry=True) == 36_000.0


@pytest.mark.parametrize(
    ("leased", "seconds"), [("3h", 10_800.0), ("", 7200.0), ("2026-12-01T06:00:00Z", 7200.0), ("long", 7200.0)]
)
def test_repeated_command_declares_lease_of_its_machine(leased: str, seconds: float) -> None:
    """With another lease, a repeated command would report that the machine differs from the request."""
    entry = read_entry(
        {"provision_procured_offer_id": "o", "provision_leased": leased, "provision_groups": [GROUP_OF_RUNS]}
    )
    run = Run(Request(name="train", max_bill=20, seconds=3600.0), entry=entry)
    for course in (Course.RESUME, Course.END, Course.LOST):
        assert running.lease_for(course, run, PRICE, "", has_registry=True) == seconds


@pytest.mark.parametrize(
    ("phase", "offer_noted", "offer_owned", "ended", "expected"),
    [
        ("ordered", None, "", (), ""),
        ("started", "o1", "o1", (), ""),
        ("started", "o1", "", ("o1",), "ended"),
        ("started", "o1", "", ("o2",), "IT MAY BE BILLED"),
        ("home", "o1", "", (), "IT MAY BE BILLED"),
        ("home", "o1", "o2", ("o1",), "the machine of another run (offer o2)"),
        ("started", "o1", "o2", (), "the machine of another run (offer o2)"),
        ("gone", "o1", "o2", (), ""),  # the run is over; the new machine is not its concern
        ("gone", "o1", "", (), ""),
    ],
)
def test_begun_run_without_its_machine_is_in_doubt(
    phase: str, offer_noted: str | None, offer_owned: str, ended: tuple[str, ...], expected: str
) -> None:
    record = {"phase": phase, "offer_id": offer_noted, "name": "train", "host": "run-train", "digest": ""}
    entry = read_entry(
        {"provision_procured_offer_id": offer_owned, "provision_purchase": "made"} if offer_owned else None
    )
    ledger = Ledger(tuple(Bill("default", "run-train", offer_id, begin=0.0, end=1.0) for offer_id in ended), 2.0)
    run = Run(Request(name="train"), record=record, entry=entry, ledger=ledger)
    assert run.is_over is (expected == "ended" or phase == "gone")
    doubt = "" if expected == "ended" else expected
    assert doubt in running.why_in_doubt(run) and bool(running.why_in_doubt(run)) is bool(doubt)
    assert not doubt or f"began with offer {offer_noted}" in running.why_in_doubt(run)
    # Its job does not start on a machine in doubt, and a failure must not promise that nothing is billed.
    assert not doubt or doubt in running.next_on_machine(run, {"state": "none"})["trouble"]
    assert ("Nothing is billed" in running.failure_message({}, run, "")) is not bool(doubt or offer_owned)


def test_name_alone_follows_but_never_starts_job() -> None:
    """With its name alone a job can be followed. To start it, its code, setup and environment are needed."""
    named_run = Run(Request(name="train", by_name=True, digest="a"))
    found = running.next_on_machine(named_run, {"state": "none"})
    assert list(found) == ["trouble"] and found["trouble"].startswith("Repeat the whole command")
    assert not running.next_on_machine(named_run, {"state": "running", "digest": "a"})
    # A job that has begun is not started again.
    begun_run = replace(named_run, record={"phase": "started", "digest": "a", "began_at": "2026-12-01T06:00:00Z"})
    assert "it is not started again" in running.next_on_machine(begun_run, {"state": "none"})["trouble"]


@pytest.mark.parametrize(
    ("requested", "seconds_left", "seconds", "expected_text"),
    [
        ({"seconds": 7200.0}, 10_800.0, 7200, ""),
        ({"seconds": 7200.0}, 10_300.0, 6700, ""),  # a few minutes less, after the first boot
        ({"seconds": 7200.0}, 10_200.0, 6600, ""),
        ({"seconds": 7200.0}, 10_100.0, 6500, "The job may take 1 h 48 min, since the lease of its machine ends at"),
        ({}, 4300.0, 700, ""),
        ({}, 4100.0, 500, "The job may take 8 min"),
        ({}, 3660.0, 60, "The job may take 1 min"),
    ],
)
def test_message_tells_that_job_gets_less_time(
    requested: dict[str, Any], seconds_left: float, seconds: int, expected_text: str
) -> None:
    entry = read_entry({"provision_procured_offer_id": "o", "provision_ends_at": utc(NOW + seconds_left)})
    request = Request(name="train", max_bill=20, **requested)
    decision = running.next_on_machine(Run(request, entry=entry, now=NOW), {"state": "none"})
    assert decision["starts"] and decision["seconds"] == seconds
    assert expected_text in " ".join(decision["lines"]) and bool(expected_text) is bool(decision["lines"])


@pytest.mark.parametrize(
    ("phase", "has_gone", "job", "expected"),
    [
        ("home", False, {"state": "failed", "digest": "a"}, {"ends": True}),
        ("home", True, {}, {"ends": True}),
        ("started", True, {}, {"ends": True}),  # the registry notes its end
        ("gone", False, {}, "It cost at most USD 33.40."),  # another command was first: the machine may be a new one
        ("gone", True, {}, "It cost at most USD 33.40."),
        ("started", False, {"state": "failed", "digest": "a"}, "Its machine stays."),
        ("started", False, {"state": "succeeded", "digest": "a"}, "Its machine stays."),
        ("started", False, {"state": "running", "digest": "a"}, "train runs."),
        ("started", False, {"state": "none"}, "has not begun its job."),
        ("started", False, {"state": "failed", "digest": "b"}, "has another job"),
        ("started", False, {"unreachable": True}, "did not report on its job"),
    ],
)
def test_machine_ends_once_results_are_home_or_it_has_gone(
    phase: str, has_gone: bool, job: dict[str, Any], expected: Any
) -> None:
    changes = {"phase": phase, "digest": "a", "kept_until": None, "began_at": None}
    run = Run(Request(name="train", digest="a"), {**RECORD, **changes})
    found = running.over_result(run, job, {}, has_gone=has_gone)
    if isinstance(expected, dict):
        assert found == expected
    else:
        text = " ".join([*found.get("lines", []), found.get("trouble", "")])
        assert expected in text and "ends" not in found
        assert bool(found.get("trouble")) is (job.get("state") != "running")


def test_control_characters_from_machine_are_removed() -> None:
    """Names of files, commands and reasons come from the machine, so the job can forge them."""
    forged = "out\x1b]0;bought\x07\x9b2J\nfatal: [run-train]"
    record = {**RECORD, "incomplete": [{"path": forged, "reason": forged}], "reason": forged}
    texts = [
        *run_record.incomplete_result(Run(Request(), record), forged)["lines"],
        run_record.swept_line("train", {}, {}, {"msg": forged}, "runs/train"),
        running.next_on_machine(Run(Request()), {"command": forged, "state": "running", "digest": "a"})["trouble"],
        running.next_on_machine(Run(Request()), {"msg": forged})["trouble"],
    ]
    assert not any(character in text for text in texts for character in "\x1b\x07\x9b\n")


@pytest.mark.parametrize(
    ("until", "ids", "is_billed", "expected_part"),
    [
        ("", [], False, "Nothing is billed for run-train."),
        ("", ["m"], True, "run-train may have a machine that is billed."),
        ("2026-12-01T09:00:00Z", [], True, "run-train may have a machine that is billed."),  # an unanswered purchase
        ("2026-12-01T09:00:00Z", ["m"], True, "It is billed until its lease ends at 2026-12-01 09:00 UTC."),
    ],
)
def test_failure_message_names_bill_and_command_to_end(
    until: str, ids: list[str], is_billed: bool, expected_part: str
) -> None:
    noted = {"provision_procured_offer_id": "o", "provision_ends_at": until, "provision_resource_ids": ids}
    entry = read_entry(noted if is_billed else {})
    text = running.failure_message({}, Run(Request(name="train"), entry=entry), "SSH does not answer.")
    assert text.startswith("SSH does not answer.") and expected_part in text
    assert ("decommission_hosts=run-train" in text) is is_billed
    kept = replace(entry, storage=(Storage("s1", kept_since="2026-12-01T06:00:00Z"),))
    text = running.failure_message({}, Run(Request(name="train"), entry=kept), "SSH does not answer.")
    assert is_billed or ("keeps its storage, which is billed until you end it" in text and "Nothing" not in text)
    stopped = {"trouble": "Its machine has another job."}
    assert running.failure_message(stopped, Run(Request(), entry=entry), "It failed.") == stopped["trouble"]


@pytest.mark.parametrize(
    ("protect", "unswept", "expected"),
    [
        (None, "", ""),
        (False, "", ""),
        (None, "No sweep is known.", "No sweep is known."),
        (True, "", "No sweep would end run-train"),
        (True, "No sweep is known.", "No sweep would end run-train"),
        ("maybe", "", "No sweep would end run-train"),  # it counts as protected
    ],
)
def test_protected_group_leaves_lease_unenforced(protect: Any, unswept: str, expected: str) -> None:
    found = running.why_unenforced("run-train", protect, unswept)
    assert expected in found and bool(found) is bool(expected)


def quote_found(price: float | None = PRICE, refusal: str = "", *, is_new: bool) -> dict[str, Any]:
    """The result of the role's quote for the run's host."""
    return {
        "plans": {"run-train": {"is_new": is_new}},
        "ansible_stats": {"data": {"quote": {"hosts": {"run-train": {"price_per_hour": price}}}}},
        "refusals": {"run-train": refusal} if refusal else {},
        "common": {"registry": "registry: host_vars"},
    }


def run_in_phase(phase: str, *, has_machine: bool) -> Run:
    """A run of offer o1 whose machine exists, or has ended by the ledger."""
    record = {"phase": phase, "offer_id": "o1", "digest": "a"} if phase else {}
    fields = {"provision_procured_offer_id": "o1", "provision_groups": [GROUP_OF_RUNS], "provision_leased": "3h"}
    bills = () if has_machine else (Bill("default", "run-train", "o1", begin=0.0, end=1.0),)
    request = Request(name="train", max_bill=20, seconds=3600.0, digest="a")
    return Run(request, record, read_entry(fields if has_machine else None), Ledger(bills, 2.0))


@pytest.mark.parametrize(
    ("phase", "has_machine", "course", "is_bought", "offer_id", "lease"),
    [
        ("", False, Course.BUY, True, "", "2h"),
        ("ordered", False, Course.BUY, True, "", "2h"),
        ("ordered", True, Course.RESUME, True, "", "3h"),
        # The job may have begun: the role gets only the run's own offer, and tests nothing on its machine.
        ("started", True, Course.RESUME, True, "o1", "3h"),
        ("started", False, Course.LOST, False, "o1", "2h"),
        ("home", True, Course.END, False, "", "3h"),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_play_provisions_what_course_and_record_allow(
    phase: str, has_machine: bool, course: Course, is_bought: bool, offer_id: str, lease: str, check_mode: bool
) -> None:
    run, found = run_in_phase(phase, has_machine=has_machine), quote_found(is_new=not has_machine)
    play = running.play_after_quote(run, found, has_registry=True, check_mode=check_mode)
    assert (play["provisions"], play["goes_on"]) == (is_bought and not check_mode, not check_mode)
    assert (play["lost"], play["lease"]) == (course is Course.LOST, lease)
    assert (play["offer_id"], play["verify"]) == (offer_id, "none" if offer_id else "")
    lines = [*play["lines"], ""]
    assert lines[0] == ("at most USD 4.00 for its machine, USD 2.00/h" if course is Course.BUY else course.value)
    job = "the job may take 1 h, plus an hour to bring the results home"
    assert ("Registry: host_vars" in lines, job in lines) == (course is Course.BUY, course is Course.BUY)
    assert (lines[-3:-1] == AFTER_CTRL_C) is play["provisions"]


@pytest.mark.parametrize("names", [("SEED",), ()])
@pytest.mark.parametrize("phase", ["", "ordered", "started", "home", "gone"])
def test_command_for_begun_job_says_that_values_of_run_env_are_not_compared(phase: str, names: tuple[str, ...]) -> None:
    """Otherwise a result with SEED=1 would pass for one with SEED=2."""
    run = run_in_phase(phase, has_machine=bool(phase))
    run = replace(run, request=replace(run.request, environment=names))
    found = quote_found(is_new=not phase)
    is_over = phase == "gone"
    play = running.begin(run) if is_over else running.play_after_quote(run, found, has_registry=True, check_mode=False)
    assert any("run_env" in line for line in play["lines"]) is (bool(names) and phase not in ("", "ordered"))


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({}, ""),
        ({"run_max_bill": 20.0, "run_time": "3600s"}, ""),
        ({"run_max_bill": 30, "run_time": "3600s"}, "other values of run_max_bill change nothing"),
        ({"run_max_bill": 30, "run_time": ""}, "other values of run_max_bill and run_time change nothing"),
    ],
)
def test_command_with_other_limits_says_that_begun_job_keeps_its_own(asked: dict[str, Any], line: str) -> None:
    run = run_in_phase("started", has_machine=True)
    run = replace(run, record={**run.record, "asked": {**asked, "run_spec": {}}})
    play = running.play_after_quote(run, quote_found(is_new=False), has_registry=True, check_mode=False)
    assert play["lines"][-2:] == AFTER_CTRL_C
    further = play["lines"][1:-2]
    assert line in " ".join(further) and len(further) == bool(line)


def test_play_after_quote_shows_whole_bill_if_price_is_unknown() -> None:
    run = run_in_phase("", has_machine=False)
    play = running.play_after_quote(run, quote_found(None, is_new=True), has_registry=True, check_mode=False)
    assert play["lines"][0].startswith("at most USD 20.00 for its machine")


@pytest.mark.parametrize(
    ("digest", "refusal", "reason"),
    [("a", "It is too dear.", "It is too dear."), ("b", "", "it is another job")],
)
def test_play_after_quote_stops_for_refusal_or_other_job(digest: str, refusal: str, reason: str) -> None:
    run = run_in_phase("started", has_machine=True)
    run = replace(run, record={**run.record, "digest": digest})
    with pytest.raises(ValueError, match=reason):
        running.play_after_quote(run, quote_found(refusal=refusal, is_new=False), has_registry=True, check_mode=False)


@pytest.mark.parametrize(
    ("shown", "lines", "expected"),
    [
        ([], [], []),
        ([], ["a", "b"], ["a", "b"]),
        (["a", "b"], ["b", "c", "d"], ["c", "d"]),
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], ["x", "y"], ["x", "y"]),  # more new lines than one look returns
        (["begins", "loads", "10 %"], ["begins", "loads", "50 %"], ["50 %"]),  # a progress bar overwrites its line
    ],
)
def test_new_lines_follow_those_shown_before(shown: list[str], lines: list[str], expected: list[str]) -> None:
    assert running.new_lines(shown, lines) == expected


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(1, 9))
def test_new_lines_neither_repeat_nor_skip(sizes: list[int], limit: int) -> None:
    last_look, shown, log = list[str](), list[str](), list[str]()
    for size in sizes:
        log += [f"line {len(log) + number}" for number in range(size)]
        shown += running.new_lines(last_look, log[-limit:])
        last_look = log[-limit:]
        assert shown[-min(size, limit) :] == log[-min(size, limit) :] or not size
    assert len(shown) == len(set(shown))
