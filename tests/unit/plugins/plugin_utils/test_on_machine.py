# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task whose limit is over leaves no process behind."""

from __future__ import annotations

import os
import subprocess
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.compute_index.supply.plugins.action import run_files, run_follow, run_results, wait_for_boot
from ansible_collections.compute_index.supply.plugins.plugin_utils import _task
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import (
    checked_answer,
    child_processes,
    ending_child_processes,
    limit_connection_attempts,
    time_limit,
)


class LimitIsOver(BaseException):
    """As Ansible's own is no Exception."""


@pytest.fixture(params=["/proc", "ps"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "ps":
        monkeypatch.setattr(_task.glob, "glob", lambda _pattern: [])


@pytest.mark.usefixtures("by")
def test_what_was_begun_ends_with_all_that_it_has_begun() -> None:
    # Beside a proxy that it has begun, and that ignores the end of its parent.
    script = "trap '' TERM HUP; sleep 1000 & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as begun:
        assert begun.stdout is not None
        proxy = int(begun.stdout.readline())
        assert {begun.pid, proxy} <= set(child_processes(os.getpid()))
        with pytest.raises(LimitIsOver), ending_child_processes():
            raise LimitIsOver
        assert begun.wait(30) < 0
        assert begun.stdout.read() == ""  # the proxy had it open, too


def test_a_command_that_does_not_end_is_ended_here() -> None:
    """Whether it then fails or not, the machine counts as one out of reach; another failure stays as it is."""
    said = "no command ended within 0.1 seconds"
    for error in (None, AnsibleError("it was killed")):
        with pytest.raises(AnsibleConnectionFailure, match=said), time_limit(0.1):
            assert subprocess.run(["sleep", "1000"], check=False).returncode < 0
            if error:
                raise error
    with subprocess.Popen(["sleep", "1000"]) as other:
        with pytest.raises(AnsibleError, match="another"), time_limit(1000):
            raise AnsibleError("another")
        with time_limit(1000):
            pass
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("method", ["_connect", "_ask"])
def test_a_first_boot_is_asked_only_for_so_long(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A machine may let in, keep the connection alive, and end no command."""
    monkeypatch.setattr(wait_for_boot, "LOOK", 0.1)
    action = wait_for_boot.ActionModule(Mock(), Mock(transport="local"), Mock(), Mock(), Mock(), Mock())
    frozen = Mock(side_effect=lambda *_words, **_how: subprocess.run(["sleep", "1000"], check=False))
    monkeypatch.setattr(action, "_low_level_execute_command", frozen)
    with pytest.raises(AnsibleConnectionFailure, match="it accepts logins, but no command ended"):
        getattr(action, method)(*([False] if method == "_connect" else []))


def test_a_job_whose_machine_freezes_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_follow, "LOOK", 0.1)
    action = run_follow.ActionModule(Mock(), Mock(), Mock(), Mock(), Mock(), Mock())
    frozen = Mock(side_effect=lambda *_words, **_how: subprocess.run(["sleep", "1000"], check=False))
    monkeypatch.setattr(action, "_execute_module", frozen)
    answer = action._asked("train", {})
    assert answer["failed"] and "no command ended within" in answer["msg"]


def test_what_ends_by_itself_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "1000"]) as other:
        with ending_child_processes():
            pass
        assert other.poll() is None
        other.kill()


def test_a_users_own_options_of_ssh_stay_in_force() -> None:
    connection = Mock(transport="ssh", get_option=Mock(return_value="-o ServerAliveInterval=60"))
    limit_connection_attempts(connection, 7)
    options = dict(call.args for call in connection.set_option.call_args_list)
    assert options["ssh_extra_args"].startswith("-o ServerAliveInterval=60 -o ServerAliveInterval=5 ")
    assert (options["timeout"], options["reconnection_retries"]) == (7, 0)
    local = Mock(transport="local")
    limit_connection_attempts(local)
    assert not local.set_option.called


@pytest.mark.parametrize("plugin", [run_files, run_follow, run_results, wait_for_boot])
def test_a_machine_that_has_gone_with_files_of_a_task_is_not_unreachable_for_them(plugin: ModuleType) -> None:
    """Ansible removes them once the task has its result, which would not count any more."""
    connection = Mock(_shell=Mock(tmpdir="/home/me/.ansible/tmp/task"))
    action = plugin.ActionModule(Mock(async_val=0), connection, Mock(), Mock(), Mock(), Mock())
    gone = Mock(side_effect=AnsibleConnectionFailure("Connection refused"))
    action._remove_tmp_path = gone
    action.cleanup()
    assert gone.called


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"msg": "No space left.", "exception": object()}, "No space left."),  # since ansible-core 2.19
        ({"msg": "No space left.", "exception": "Traceback"}, "No space left. Traceback"),
        (
            {"msg": "MODULE FAILURE", "module_stderr": "sh: no python", "exception": object()},
            "MODULE FAILURE sh: no python",
        ),
        ({"exception": None}, "The machine does not answer."),
    ],
)
def test_why_a_machine_could_not_do_it_is_a_sentence(answer: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        checked_answer({"failed": True, **answer})


def test_a_sweep_goes_on_past_a_host_whose_connection_is_local() -> None:
    """An exception would pass failed_when by: the host would leave its play, and all such would end the sweep."""
    action = _task.BriefAction(Mock(async_val=0), Mock(transport="local"), Mock(), Mock(), Mock(), Mock())
    answer = action.run(task_vars={"reap__sweep": {}})
    assert answer["unreachable"] and "this computer would be taken for its machine" in answer["msg"]
