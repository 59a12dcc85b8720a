# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows a run on its machine, and shows new lines of its log. Waits if the network is down."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible_collections.compute_index.supply.plugins.module_utils import _spec
from ansible_collections.compute_index.supply.plugins.module_utils._machine.job_state import OVER, RUNNING
from ansible_collections.compute_index.supply.plugins.module_utils._provision import run_record, running
from ansible_collections.compute_index.supply.plugins.module_utils._text import one_line, sentence
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import raw_variables
from ansible_collections.compute_index.supply.plugins.plugin_utils._results_home import is_run_over
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import (
    MachineAction,
    display,
    in_terminal,
    limit_connection_attempts,
    time_limit,
)

MODULE = "compute_index.supply.run_info"
LOOK = 120.0  # seconds for one check
LINES = 200  # newest lines of the log that a check reads
PATIENCE = running.PATIENCE


class ActionModule(MachineAction):
    """The action plugin; Ansible finds it by the name of this class."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """The last answer of the machine. Never "unreachable", which would remove the host from the play."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(_spec.RUN_FOLLOW)
        limit_connection_attempts(self._connection)
        self._job, self._shown, self._silent_since = dict[str, t.Any](), list[str](), t.cast("float | None", None)
        while not self._look(options["name"], task_vars) and options["follow"]:
            if self._silent_since is not None:
                self.progress.show(f"{sentence(self._job['msg'])} {running.OR_ENDED}", urgent=True)
            self.pause(options["delay"])
        is_lost = self._silent_since is not None
        is_over = self._job.get("state") in OVER and not is_lost
        return {**self._job, "changed": False, "is_over": is_over, "lost_sight": is_lost}

    def _look(self, name: str, task_vars: dict[str, t.Any]) -> bool:
        """Check once, and show new lines of the log. Returns whether it was the last check."""
        answer = self._asked(name, task_vars)
        if answer.get("failed") or not answer.get("state"):
            now = time.monotonic()
            self._silent_since = self._silent_since or now
            why = one_line(str(answer.get("msg") or "no answer"))
            self._job["msg"] = f"the machine does not answer (its job needs no connection): {why}"
            return now - self._silent_since >= PATIENCE or _is_over(task_vars)
        # A machine that has lost its disk no longer knows when its job began.
        self._job = {**answer, "began_at": answer.get("began_at") or self._job.get("began_at")}
        before, self._shown, self._silent_since = self._shown, run_record.log_of(answer), None
        for line in running.new_lines(before, self._shown) if in_terminal() else ():
            display.display(f"  {line}")
        return bool(answer["state"] != RUNNING)

    def _asked(self, name: str, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """The machine's answer, or a failure."""
        try:
            with time_limit(LOOK):
                answer = self._execute_module(MODULE, {"name": name, "lines": LINES}, task_vars=task_vars)
            return {key: value for key, value in answer.items() if key != "invocation"}
        except AnsibleError as error:
            return {"failed": True, "msg": to_text(error)}


def _is_over(task_vars: dict[str, t.Any]) -> bool:
    """Whether another command has finished the run of the playbook ``run``; no other play knows where its record is."""
    return "run__job" in task_vars and is_run_over(raw_variables("localhost", task_vars)["run__asked"]["job"]["dest"])
