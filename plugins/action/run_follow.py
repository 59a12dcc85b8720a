# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows a run on its machine, and shows the lines of its log; a network that is cut meanwhile is waited for."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible_collections.compute_index.supply.plugins.module_utils import _spec
from ansible_collections.compute_index.supply.plugins.module_utils._provision import running
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import (
    MachineAction,
    answering_within,
    display,
    in_terminal,
    limit_attempts,
)

MODULE = "compute_index.supply.run_info"
LOOK = 120.0  # seconds that one may take


class ActionModule(MachineAction):
    """Ansible's way to find the plugin."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """What the machine said last. Never "unreachable", which would take the host out of the play."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(_spec.RUN_FOLLOW)
        limit_attempts(self._connection)
        look, start = running.LogLook(), time.monotonic()
        while True:
            job = self._asked(options["name"], task_vars)
            look = running.next_look(look, job, time.monotonic() - start)
            for line in look.lines if in_terminal() else ():
                display.display(f"  {line}")
            if look.is_last or not options["follow"]:
                return running.followed(look)
            if look.lost_at is not None:
                self.progress.tell(look.job["msg"], urgent=True)
            self.pause(options["delay"])

    def _asked(self, name: str, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """What the machine says; a failure if it does not answer."""
        try:
            with answering_within(LOOK):
                return t.cast(
                    "dict[str, t.Any]",
                    self._execute_module(MODULE, {"name": name, "lines": running.LINES}, task_vars=task_vars),
                )
        except AnsibleError as error:
            return {"failed": True, "msg": to_text(error)}
