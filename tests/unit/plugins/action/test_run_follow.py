# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Following a job: the action waits for a silent machine, and keeps known facts about the job."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.compute_index.supply.plugins.action import run_follow
from ansible_collections.compute_index.supply.plugins.module_utils._registry._records import RecordFolder

Result = dict[str, Any]
BEGAN = "2026-12-01T06:00:00Z"


class Action(run_follow.ActionModule):  # type: ignore[misc]
    """The action with a machine that gives these answers, one for each look."""

    def follow(self, answers: list[Any], variables: Result) -> Result:
        self.answers = iter(answers)
        result: Result = self.run(None, {"inventory_hostname": "gpu-1", **variables})
        return result

    def _execute_module(self, *_given: Any, **_more: Any) -> Result:
        answer = next(self.answers)
        if answer is None:
            raise AnsibleConnectionFailure("Connection timed out")
        return dict(answer)


@pytest.fixture
def displayed_lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The displayed lines; each pause lets its seconds pass."""
    clock, lines = [0.0], list[str]()
    monkeypatch.setattr(run_follow, "time", SimpleNamespace(monotonic=lambda: clock[0] + 1000))
    monkeypatch.setattr(run_follow.display, "display", lines.append)
    monkeypatch.setattr(run_follow, "in_terminal", lambda: True)
    monkeypatch.setattr(Action, "pause", lambda _self, seconds: clock.__setitem__(0, clock[0] + seconds))
    return lines


def follow(answers: list[Any], variables: Result | None = None, **options: Any) -> Result:
    arguments = {"name": "train", "delay": 600.0, **options}
    task = SimpleNamespace(args=arguments, check_mode=False, async_val=0, delegate_to=None, action="run_follow")
    connection = SimpleNamespace(transport="local", _shell=SimpleNamespace(tmpdir="given"))
    return Action(task, connection, SimpleNamespace(), None, None, None).follow(answers, variables or {})


def logged(state: str, *lines: str) -> Result:
    return {"state": state, "log": list(lines), "began_at": None if state == "none" else BEGAN, "invocation": {}}


def test_each_log_line_is_shown_once_without_control_characters(displayed_lines: list[str]) -> None:
    answers = [logged("running", "a", "b\x1b[2J"), None, logged("failed", "b\x1b[2J", "c", "d")]
    followed = follow(answers)
    log_lines = [line for line in displayed_lines if not line.startswith(("  gpu-1", "    "))]
    assert log_lines == ["  a", "  b\N{REPLACEMENT CHARACTER}[2J", "  c", "  d"]
    assert (followed["is_over"], followed["lost_sight"], followed["state"]) == (True, False, "failed")
    assert "invocation" not in followed


@pytest.mark.parametrize(
    ("silent_looks", "lost_sight"),
    [(3, False), (4, True)],  # looks are ten minutes apart
)
def test_run_follow_waits_half_an_hour_for_silent_machine(
    displayed_lines: list[str], silent_looks: int, lost_sight: bool
) -> None:
    answers = [
        logged("running"),
        *[None] * (silent_looks - 1),
        {"unreachable": True, "msg": "cut"},
        logged("succeeded"),
    ]
    followed = follow(answers)
    assert (followed["lost_sight"], followed["is_over"]) == (lost_sight, not lost_sight)
    assert followed["state"] == ("running" if lost_sight else "succeeded")
    assert not lost_sight or followed["msg"] == "the machine does not answer (its job needs no connection): cut"


def in_play(folder: Path) -> Result:
    """The variables of a task in the playbook ``run``, whose results go to a folder."""
    variables = {"run__asked": {"job": {"dest": str(folder)}}}
    return {"run__job": "{{ hostvars }}", "hostvars": SimpleNamespace(raw_get=lambda _host: variables)}


@pytest.mark.parametrize(("phase", "looks"), [("gone", 2), ("home", 4)])
def test_run_follow_waits_for_no_machine_that_another_command_has_ended(
    displayed_lines: list[str], tmp_path: Path, phase: str, looks: int
) -> None:
    RecordFolder(str(tmp_path)).write({"phase": phase})
    answers: list[Any] = [logged("running"), *[None] * (looks - 1), *[logged("succeeded")] * (looks > 2)]
    assert follow(answers, in_play(tmp_path))["lost_sight"] is (phase == "gone")


@pytest.mark.parametrize("content", ["{", "[]", '{"phase": ["gone"]}', "[" * 100_000])
def test_run_follow_names_an_unreadable_record(displayed_lines: list[str], tmp_path: Path, content: str) -> None:
    """Whether another command has ended the machine is unknown then, and no later step could go on."""
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(AnsibleActionFail, match=r"run\.json, the record of this run, cannot be read .* Correct it,"):
        follow([logged("running"), None], in_play(tmp_path))


def test_run_without_follow_looks_once(displayed_lines: list[str]) -> None:
    assert follow([logged("running", "a")], follow=False)["state"] == "running"
    assert follow([None], follow=False)["lost_sight"]


def test_job_keeps_its_start_time_if_machine_loses_its_disk(displayed_lines: list[str]) -> None:
    followed = follow([logged("running"), logged("none")])
    assert (followed["state"], followed["began_at"], followed["is_over"]) == ("none", BEGAN, False)
