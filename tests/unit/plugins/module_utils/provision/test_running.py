# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person asks for with a run, and what follows from the states of job, machine and record."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine.code_files import is_ignored, rules_of
from ansible_collections.compute_index.supply.plugins.module_utils._moments import utc
from ansible_collections.compute_index.supply.plugins.module_utils._provision import running, running_report
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.running import First, Next, Request, Way
from hypothesis import given
from hypothesis import strategies as st

ASKED = {"run_name": "train", "run_command": "true", "run_gpu": "8 x H100", "run_max_bill": "200"}
NOW = 1_796_000_000.0
PHASES = ("", running.ORDERED, running.STARTED, running.HOME, running.GONE)


def read(**variables: Any) -> tuple[Request, list[str]]:
    """The request of the usual variables and these, without those that are None, and what is wrong."""
    wrong: list[str] = []
    asked = {name: value for name, value in {**ASKED, **variables}.items() if value is not None}
    running.name_of(asked, wrong)
    return running.read_request(asked, wrong), wrong


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"spec": {"compute": {"gpu_type": "H100", "gpu_count": 8}}, "max_bill": 200.0, "seconds": None}),
        ({"run_gpu": "8xH100"}, {"spec": {"compute": {"gpu_type": "H100", "gpu_count": 8}}}),
        ({"run_gpu": "8 H100"}, {"spec": {"compute": {"gpu_type": "H100", "gpu_count": 8}}}),
        ({"run_gpu": "2\u00d7A100 80GB"}, {"spec": {"compute": {"gpu_type": "A100 80GB", "gpu_count": 2}}}),
        ({"run_gpu": "4090 Ti"}, {"spec": {"compute": {"gpu_type": "4090 Ti", "gpu_count": 1}}}),
        ({"run_gpu": "RTX 4090"}, {"spec": {"compute": {"gpu_type": "RTX 4090", "gpu_count": 1}}}),
        ({"run_gpu": None, "run_spec": {"compute": {}}}, {"spec": {"compute": {}}}),
        ({"run_time": "8h"}, {"seconds": 28_800.0}),
        ({"run_results": "out, *.csv"}, {"results": ("out", "*.csv")}),
        ({"run_results": ["out", "a b"], "run_exclude": "*.pt"}, {"results": ("out", "a b"), "exclude": ("*.pt",)}),
        ({"run_env": {"A": True, "B": True}}, {"environment": ("A", "B")}),
        ({}, {"environment": (), "results": (), "exclude": ()}),
        ({"run_follow": "no", "run_again": True}, {"follow": False, "again": True}),
        ({"run_keep": "2h", "run_log_delay": "0.1s"}, {"keep": 7200.0, "log_delay": 1.0}),
    ],
)
def test_what_is_asked_for(variables: dict[str, Any], expected: dict[str, Any]) -> None:
    request, wrong = read(**variables)
    assert not wrong
    assert {name: getattr(request, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("variables", "instead"),
    [
        ({"run_name": None}, "-e run_name=train"),
        ({"run_name": "../train"}, "not '../train'"),
        ({"run_command": " "}, "run_command must say what to run"),
        ({"run_gpu": None}, 'run_gpu="8 x H100"'),
        ({"run_spec": {"compute": {}}}, "one of them"),
        ({"run_gpu": None, "run_spec": "H100"}, "a mapping"),
        ({"run_gpu": "0 x {{ H100 }}"}, '"8 x H100"'),
        ({"run_max_bill": None}, "run_max_bill=200"),
        ({"run_max_bill": "unlimited"}, "run_max_bill=200"),
        ({"run_max_bill": "3,5"}, "a number of USD, not '3,5': -e run_max_bill=200"),
        ({"run_max_bill": "200 USD"}, "not '200 USD'"),
        ({"run_max_bill": True}, "not 'True'"),
        ({"run_command": ["python", "train.py"]}, "run_command must be a text"),
        ({"run_command": True}, "run_command must be a text"),
        ({"run_setup": {"pip": "install"}, "run_files": ["."]}, "run_setup and run_files must be a text"),
        ({"run_results_dir": ["a"]}, "run_results_dir must be a text"),
        ({"run_time": "5m"}, "at least 10m"),
        ({"run_time": "8"}, "run_time must be a duration such as 8h, 90m or 3d, not '8'"),
        ({"run_keep": "2026-12-01T06:00Z"}, "run_keep must be a duration"),
        ({"run_results": "/etc"}, "not /etc"),
        ({"run_results": ["a/../../b"]}, "not a/../../b"),
        ({"run_results": {"a": 1}}, "run_results must be a list"),
        ({"run_results": True}, "run_results must be a list"),
        ({"run_env": {"A B": True}}, "unlike 'A B'"),
        ({"run_env": {"A": False}}, "unlike 'A'"),
        ({"run_env": ["A"]}, "run_env must map"),
        ({"run_env": "A=1"}, "run_env must map"),
        ({"run_follow": "maybe"}, "run_follow must be true or false"),
    ],
)
def test_a_mistake_says_what_to_write_instead(variables: dict[str, Any], instead: str) -> None:
    _request, wrong = read(**variables)
    assert len(wrong) == 1 and instead in wrong[0]


def test_all_mistakes_are_told_at_once() -> None:
    wrong: list[str] = []
    running.name_of({}, wrong)
    running.read_request({}, wrong)
    assert [text.split()[0] for text in wrong] == ["run_name", "run_command", "run_gpu", "run_max_bill"]


def test_what_makes_another_job() -> None:
    request, _wrong = read()
    digests = {
        running.digest_of(read(**changes)[0], code, {}, {})
        for changes, code in (
            ({}, ""),
            ({}, "code"),
            ({"run_command": "false"}, ""),
            ({"run_setup": "true"}, ""),
            ({"run_env": {"A": True}}, ""),
        )
    }
    assert len(digests) == 5
    # A larger bill, other results and more time are no other job.
    more, _wrong = read(run_max_bill=300, run_results="out", run_time="9h")
    assert running.digest_of(more, "", {}, {}) == running.digest_of(request, "", {}, {})


def test_the_name_alone_follows_what_was_begun() -> None:
    request, _wrong = read(run_results="out", run_keep="90m")
    record = running.ordered(request, "digest", {}, "2026-12-01T06:00:00Z")
    assert running.completed({"run_name": "train"}, record) == {"run_name": "train"}  # nothing has begun
    begun = running.started(record, read_entry({}))
    completed = running.completed({"run_name": "train", "run_follow": "false"}, begun)
    again = running.read_request(completed, [])
    assert (again.command, again.results, again.spec) == (request.command, request.results, request.spec)
    # A machine that was to be kept after a failure is kept, whoever follows it, unless another time is given.
    assert (again.keep, again.follow, again.by_name, request.by_name) == (5400.0, False, True, False)
    assert running.read_request({**completed, "run_keep": "2h"}, []).keep == 7200.0
    assert running.digest_of(again, "other code", completed, begun) == "digest"
    other = {**ASKED, "run_command": "false"}
    assert running.completed(other, begun) == other


@pytest.mark.parametrize(
    ("files", "base", "expected"),
    [
        ("/p/./code", "/p/runs", ("/p/code", ("*.pt",))),
        ("/p/.", "/p/runs", ("/p", ("*.pt", "/runs/"))),
        ("/p", "/p/a/runs", ("/p", ("*.pt", "/a/runs/"))),
        ("/p/code", "/p", ("/p/code", ("*.pt",))),
        ("/p", "/p/..runs", ("/p", ("*.pt", "/..runs/"))),
        ("/p", "/p/runs [old]*", ("/p", ("*.pt", r"/runs \[old]\*/"))),
    ],
)
def test_results_are_no_code(files: str, base: str, expected: tuple[Any, ...]) -> None:
    wrong: list[str] = []
    request = running.with_paths(Request(files=".", exclude=("*.pt",)), files, base, wrong)
    assert (request.files, request.exclude) == expected
    assert running.with_paths(Request(), files, base, wrong) == Request() and not wrong
    assert is_ignored(os.path.relpath(base, files), True, rules_of(request.exclude)) is (len(request.exclude) > 1)


@pytest.mark.parametrize(("files", "base"), [("/p/", "/p"), ("/p/train", "/p"), ("/p/x/../train", "/p/.")])
def test_results_in_the_folder_of_the_code_are_refused(files: str, base: str) -> None:
    wrong: list[str] = []
    running.with_paths(Request(name="train", files="."), files, base, wrong)
    assert wrong == [running_report.MIXED]


def test_what_else_is_wrong() -> None:
    assert running.objections(["run_name", "provision_max_attempts"], limited=False, folder="") == []
    overruled, limited = running.objections(["provision_lease"], limited=True, folder="")
    assert "provision_lease itself" in overruled and "--limit" in limited
    given = ["order_max_price_per_hour", "plan", "provision_hosts", "run_gpu"]
    (unread,) = running.objections(given, limited=False, folder="")
    assert "A run does not read order_max_price_per_hour, plan, provision_hosts: say" in unread
    # It limits what a run buys, and a run sets none of its own.
    assert not running.objections(["provision_max_price_per_hour", "provision_verify"], limited=False, folder="")
    assert running.objections([], limited=False, folder="No room.") == ["No room."]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["run_command", "_raw_params"], "Words of -e stand outside quotes, so"),  # run_command=python train.py
        (["run_command", "--lr"], "outside quotes (--lr), so"),  # run_command=python --lr=0.1
        (["a-b", "--lr", "_raw_params"], "outside quotes (--lr, a-b), so"),
    ],
)
def test_a_command_that_lost_its_quotes_is_refused(extra: list[str], words: str) -> None:
    (text,) = running.objections(extra, limited=False, folder="")
    assert words in text and "-e 'run_command=\"python train.py\"'" in text


@pytest.mark.parametrize(
    ("phase", "same", "again", "expected"),
    [
        ("", False, False, First.NEW),
        ("", False, True, First.NEW),
        ("ordered", True, False, First.GO_ON),
        ("ordered", False, False, First.GO_ON),  # nothing has run yet
        ("started", True, False, First.GO_ON),
        ("started", True, True, First.GO_ON),  # it is followed, not begun twice
        ("started", False, False, First.REFUSED),
        ("started", False, True, First.REFUSED),
        ("home", True, False, First.GO_ON),
        ("home", False, True, First.REFUSED),
        ("gone", True, False, First.DONE),
        ("gone", True, True, First.ANEW),
        ("gone", False, False, First.ANEW),
    ],
)
def test_what_the_record_says(phase: str, same: bool, again: bool, expected: First) -> None:
    record = {"phase": phase, "digest": "a"} if phase else {}
    assert running.first(record, "a" if same else "b", again=again) is expected


@pytest.mark.parametrize(
    ("phase", "free", "refused", "expected"),
    [
        ("", True, False, Way.BUY),
        ("", True, True, Way.REFUSED),
        ("", False, False, Way.LOOK),  # another controller may have begun it
        ("ordered", True, False, Way.BUY),
        ("ordered", False, False, Way.LOOK),
        ("ordered", False, True, Way.REFUSED),
        ("started", True, False, Way.LOST),
        ("started", True, True, Way.LOST),
        ("started", False, False, Way.LOOK),
        ("started", False, True, Way.REFUSED),
        ("home", True, True, Way.END),
        ("home", False, False, Way.END),
        ("home", False, True, Way.END),
        ("gone", True, False, Way.BUY),
    ],
)
def test_what_the_plan_says(phase: str, free: bool, refused: bool, expected: Way) -> None:
    assert running.way(phase, is_free=free, is_refused=refused) is expected


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ({"state": "none"}, Next.START),
        ({"state": "setting_up", "digest": "a"}, Next.FOLLOW),
        ({"state": "running", "digest": "a"}, Next.FOLLOW),
        ({"state": "running", "digest": "b"}, Next.OTHER),
        ({"state": "succeeded", "digest": "a"}, Next.FETCH),
        ({"state": "failed", "digest": "a"}, Next.FETCH),
        ({"state": "interrupted", "digest": "a"}, Next.FETCH),
        ({"state": "succeeded", "digest": "b"}, Next.OTHER),
        ({"failed": True, "msg": "no Python"}, Next.UNREAD),
        ({"unreachable": True}, Next.UNREAD),
        ({}, Next.UNREAD),
    ],
)
def test_what_the_machine_says(job: dict[str, Any], expected: Next) -> None:
    assert running.on_machine(job, "a") is expected


@pytest.mark.parametrize(
    ("state", "complete", "keep", "expected"),
    [
        # is_over, is_home, ends, kept_until
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
def test_when_the_machine_ends(state: str, complete: Any, keep: float, expected: tuple[Any, ...]) -> None:
    found = running.outcome({"state": state}, {"complete": complete}, keep=keep, now=100.0, ends_at=1000.0)
    assert (found.is_over, found.is_home, found.ends, found.kept_until) == expected


@pytest.mark.parametrize(
    ("state", "missing", "files", "ends"),
    [
        ("succeeded", [], 0, True),  # it was asked for nothing, or for empty folders
        ("succeeded", ["ouput"], 3, False),  # a slip of the hand
        ("succeeded", ["*.csv"], 3, True),  # what may be there or not
        ("succeeded", ["*.csv", "logs/[0-9].txt"], 0, False),  # nothing at all
        ("succeeded", ["*.csv", "out"], 3, False),
        ("failed", ["out"], 0, True),  # as after an error in its first second
        ("interrupted", ["out"], 0, True),
    ],
)
def test_a_success_without_what_was_asked_for_keeps_its_machine(
    state: str, missing: list[str], files: int, ends: bool
) -> None:
    results = {"complete": True, "missing": missing, "files": files}
    found = running.outcome({"state": state}, results, keep=0, now=100.0, ends_at=1000.0)
    assert (found.is_over, found.is_home, found.ends) == (True, ends, ends)


@given(
    st.floats(1, 1e5),
    st.floats(0.01, 500),
    st.one_of(st.none(), st.floats(running.LEAST, 1e7)),
)
def test_a_lease_costs_no_more_than_the_bill(bill: float, price: float, seconds: float | None) -> None:
    request = Request(max_bill=bill, seconds=seconds)
    try:
        lease = running.lease_of(request, price)
    except ValueError as error:
        assert seconds is None and price * (running.LEAST + running.TAIL) / 3600 > bill * 0.999
        assert "run_max_bill" in str(error)
        return
    assert lease >= running.LEAST + running.TAIL and lease % 60 == 0
    if seconds is None:  # with a time the plan compares price and bill
        assert price * lease / 3600 <= bill * (1 + 1e-9)
    else:
        assert seconds + running.TAIL - 60 <= lease <= seconds + running.TAIL
    assert running.time_left(1000.0 + lease, 1000.0, 0) == lease - running.TAIL


def test_a_price_that_nobody_knows_needs_a_time() -> None:
    with pytest.raises(ValueError, match="run_time"):
        running.lease_of(Request(max_bill=5), None)
    assert running.lease_of(Request(max_bill=5, seconds=7200.0), None) == 10_800.0
    assert running.shortest(Request()) == "70m" and running.shortest(Request(seconds=7200.0)) == "3h"


@pytest.mark.parametrize(
    ("groups", "end", "passed", "since", "late"),
    [
        (["supply_run"], 9000.0, -3600.0, 900.0, True),
        (["supply_run"], 9000.0, -1.0, 900.0, True),
        (["supply_run"], 9000.0, -3601.0, 900.0, False),  # its job may still run, and other sweeps come
        (["supply_run"], 9000.0, -3601.0, 3601.0, True),  # by which time the next one would come too late
        (["supply_run"], 9000.0, -4500.0, 3600.0, True),
        (["supply_run"], 9000.0, -4501.0, 3600.0, False),
        (["supply_run"], 9000.0, -86_400.0, 86_400.0, True),  # sweeps once a day
        (["supply_run"], 9000.0, -4500.0, None, True),  # the first sweep
        (["supply_run"], 9000.0, -4501.0, None, False),
        (["supply_run"], 9000.0, -3600.0, -60.0, True),  # a clock was set back
        (["supply_run"], 9000.0, 0.0, 900.0, False),  # it ends now
        (["supply_run"], None, 0.0, 900.0, False),
        (["gpu"], 9000.0, -60.0, 900.0, False),
    ],
)
def test_when_a_sweep_brings_results_home(
    groups: list[str], end: float | None, passed: float, since: float | None, late: bool
) -> None:
    entry = read_entry({"provision_procured_offer_id": "o", "provision_groups": groups})
    assert running.is_late(entry, end, passed, since) is late


@given(st.floats(60, 7200), st.floats(0, 0.24), st.lists(st.floats(-0.24, 0.24), max_size=30), st.floats(0, 1e5))
def test_no_lease_ends_between_two_sweeps_that_saw_it_too_early(
    interval: float, first: float, drifts: list[float], end: float
) -> None:
    """Whatever the drift of a schedule is, the last sweep before the end of a lease brings the results home."""
    entry = read_entry({"provision_procured_offer_id": "o", "provision_groups": ["supply_run"]})
    sweeps, since = [0.0], interval
    for drift in (first, *drifts):  # each interval is at most a quarter longer than the one before it
        since = since * (1 + drift)
        sweeps.append(sweeps[-1] + since)
    before = [(at, at - sweeps[number - 1]) for number, at in enumerate(sweeps) if number and at < end]
    if before and sweeps[-1] >= end:
        at, since = before[-1]
        assert running.is_late(entry, end, at - end, since)


@pytest.mark.parametrize(
    ("asked", "entry", "expected"),
    [
        # Bought an hour ago, by this command or by one that asked for the same.
        ({"seconds": 7200.0, "max_bill": 20}, {}, None),
        ({"max_bill": 6}, {}, None),
        ({"max_bill": 6}, {"ends_at": NOW + 7250}, None),  # rounded
        # By one that asked for more.
        ({"max_bill": 5}, {"ends_at": NOW + 200_000}, NOW + 5400),
        ({"max_bill": 100, "seconds": 3600.0}, {"ends_at": NOW + 200_000}, NOW + 7200),
        ({"max_bill": 5, "seconds": 36_000.0}, {"ends_at": NOW + 200_000}, NOW + 5400),
        ({"max_bill": 5}, {"ends_at": None}, NOW + 5400),  # for ever
        ({"max_bill": 4}, {"ends_at": NOW + 200_000}, "does not pay for ten minutes more"),
        ({"max_bill": 0}, {"ends_at": NOW + 200_000}, "does not pay for ten minutes more"),
        # By one that asked for less: it stays as it is.
        ({"max_bill": 100, "seconds": 36_000.0}, {}, None),
        # Without a price or a beginning a bill says nothing.
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
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            running.earlier_end(request, owned, NOW)
    else:
        assert running.earlier_end(request, owned, NOW) == expected


@dataclass
class World:
    """A machine with its job, and what a command does step by step until it is killed.

    ``budget``: the steps that the command still does; what it has written stays.
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
        """What a command says in the end; "killed" if it comes to none."""
        try:
            return self._command()
        except TimeoutError:
            return "killed"

    def _command(self) -> str:
        request = Request(name="train", command="true")
        first = running.first(self.record, "digest", again=False)
        if first is First.DONE:
            return "done"
        way = running.way(self.record.get("phase") or "", is_free=not self.machine, is_refused=False)
        self.step()
        if way is Way.LOST:
            self.record = running.lost(self.record)
        if way in (Way.BUY, Way.LOOK):
            self.record = running.ordered(request, "digest", self.record, "2026-12-01T06:00:00Z")
            self.step()
            self._work()
        self.step()
        self.machine = False
        self.step()
        self.record = running.gone(self.record, 1.0)
        return "done"

    def _work(self) -> None:
        if not self.machine:
            self.machine, self.job = True, "none"
            self.bought += 1
        self.step()
        following_step = running.on_machine({"state": self.job, "digest": "digest"}, "digest")
        self.record = running.started(self.record, read_entry({}))
        self.step()
        if following_step is Next.START:
            self.job = "running"
            self.begun += 1
        self.step()
        self.job = "succeeded" if self.job == "running" else self.job
        self.step()
        if not self.machine:
            raise TimeoutError
        job = {"state": self.job}
        found = running.outcome(job, {"complete": True}, keep=0, now=0.0, ends_at=None)
        assert found.ends
        self.record = running.over(self.record, found, job, {"complete": True})


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
