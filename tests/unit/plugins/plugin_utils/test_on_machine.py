# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks on machines that may be frozen: their time limits, processes, connections and failures."""

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
    """Like Ansible's own timeout, this is not an Exception."""


@pytest.fixture(params=["/proc", "ps"])
def process_listing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source of the list of child processes: /proc, or ps on systems without /proc."""
    if request.param == "ps":
        monkeypatch.setattr(_task.glob, "glob", lambda _pattern: [])


@pytest.mark.usefixtures("process_listing")
def test_ending_child_processes_kills_descendants() -> None:
    # Like a proxy of ssh, the grandchild ignores the end of its parent.
    script = "trap '' TERM HUP; sleep 1000 & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        proxy = int(child.stdout.readline())
        assert {child.pid, proxy} <= set(child_processes(os.getpid()))
        with pytest.raises(LimitIsOver), ending_child_processes():
            raise LimitIsOver
        assert child.wait(30) < 0
        assert child.stdout.read() == ""  # at its end only if the proxy has ended as well


def test_time_limit_ends_hanging_command() -> None:
    """The machine then counts as unreachable, whether the command fails or not. Other failures are passed on."""
    message = "no command ended within 0.1 seconds"
    for error in (None, AnsibleError("it was killed")):
        with pytest.raises(AnsibleConnectionFailure, match=message), time_limit(0.1):
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
def test_wait_for_boot_limits_each_look(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A machine may accept a login and keep the connection alive, but never finish a command."""
    monkeypatch.setattr(wait_for_boot, "LOOK", 0.1)
    action = wait_for_boot.ActionModule(Mock(), Mock(transport="local"), Mock(), Mock(), Mock(), Mock())
    frozen = Mock(side_effect=lambda *_words, **_how: subprocess.run(["sleep", "1000"], check=False))
    monkeypatch.setattr(action, "_low_level_execute_command", frozen)
    with pytest.raises(AnsibleConnectionFailure, match="it accepts logins, but no command ended"):
        getattr(action, method)(*([False] if method == "_connect" else []))


def test_run_follow_survives_frozen_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_follow, "LOOK", 0.1)
    action = run_follow.ActionModule(Mock(), Mock(), Mock(), Mock(), Mock(), Mock())
    frozen = Mock(side_effect=lambda *_words, **_how: subprocess.run(["sleep", "1000"], check=False))
    monkeypatch.setattr(action, "_execute_module", frozen)
    answer = action._asked("train", {})
    assert answer["failed"] and "no command ended within" in answer["msg"]


def test_ending_child_processes_ends_nothing_without_exception() -> None:
    with subprocess.Popen(["sleep", "1000"]) as other:
        with ending_child_processes():
            pass
        assert other.poll() is None
        other.kill()


def test_limit_connection_attempts_keeps_ssh_options_of_user() -> None:
    connection = Mock(transport="ssh", get_option=Mock(return_value="-o ServerAliveInterval=60"))
    limit_connection_attempts(connection, 7)
    options = dict(call.args for call in connection.set_option.call_args_list)
    assert options["ssh_extra_args"].startswith("-o ServerAliveInterval=60 -o ServerAliveInterval=5 ")
    assert (options["timeout"], options["reconnection_retries"]) == (7, 0)
    local = Mock(transport="local")
    limit_connection_attempts(local)
    assert not local.set_option.called


@pytest.mark.parametrize("plugin", [run_files, run_follow, run_results, wait_for_boot])
def test_failed_cleanup_does_not_make_machine_unreachable(plugin: ModuleType) -> None:
    """Ansible removes the task's files after its result is known; an error would replace that result."""
    connection = Mock(_shell=Mock(tmpdir="/home/me/.ansible/tmp/task"))
    action = plugin.ActionModule(Mock(async_val=0), connection, Mock(), Mock(), Mock(), Mock())
    gone = Mock(side_effect=AnsibleConnectionFailure("Connection refused"))
    action._remove_tmp_path = gone
    action.cleanup()
    assert gone.called


def test_checked_answer_returns_answer_of_successful_module() -> None:
    answer = {"changed": False, "has": True}
    assert checked_answer(answer) == answer


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"msg": "No space left.", "exception": object()}, "No space left."),  # since ansible-core 2.19
        ({"msg": "No space left.", "exception": "Traceback"}, "No space left. Traceback"),
        (
            {"msg": "MODULE FAILURE", "module_stderr": "sh: no python", "exception": object()},
            "MODULE FAILURE sh: no python",
        ),
        ({"msg": "MODULE FAILURE", "module_stderr": "sh: no python"}, "MODULE FAILURE sh: no python"),
        ({"msg": "No space left."}, "No space left."),
        ({"exception": None}, "The machine does not answer."),
    ],
)
def test_checked_answer_raises_message_of_failed_module(answer: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        checked_answer({"failed": True, **answer})


def test_checked_answer_refuses_unreachable_machine() -> None:
    with pytest.raises(ValueError, match=r"^The machine does not answer\.$"):
        checked_answer({"unreachable": True})


def test_sweep_treats_host_with_local_connection_as_unreachable() -> None:
    """An exception would remove the host from the play despite failed_when; if all hosts were local, it would end."""
    action = _task.BriefAction(Mock(async_val=0), Mock(transport="local"), Mock(), Mock(), Mock(), Mock())
    answer = action.run(task_vars={"reap__sweep": {}})
    assert answer["unreachable"] and "this computer would be asked instead of its machine" in answer["msg"]
