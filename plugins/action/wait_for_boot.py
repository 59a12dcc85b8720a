# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits until a machine accepts SSH and its first boot is over. ``_provision/waiting.py`` decides after each check."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible_collections.compute_index.supply.plugins.module_utils import _spec, _text
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import check_seconds
from ansible_collections.compute_index.supply.plugins.module_utils._provision import waiting
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import (
    ATTEMPT,
    MachineAction,
    limit_connection_attempts,
    time_limit,
)

LOOK = float(ATTEMPT + waiting.ANSWER_SECONDS + 5)  # seconds for one check, with a new connection


class ActionModule(MachineAction):
    """The action plugin; Ansible finds it by the name of this class."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Check until the wait is over. The result is never "unreachable": that would remove the host from the play."""
        super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(_spec.WAIT_FOR_BOOT)
        try:
            wait = waiting.Wait(_limits(options))
        except ValueError as error:
            return _result(waiting.Wait(waiting.BootTimeouts(0, 0)), waiting.BootStep(str(error), failed=True), None, 0)
        # This plugin repeats attempts itself.
        limit_connection_attempts(self._connection, max(1, min(ATTEMPT, int(wait.limits.connect))))
        report, stale = None, True  # an old shared connection may be dead
        start = time.monotonic()
        while True:
            try:
                if not wait.reachable:
                    self._connect(stale)
                    wait = waiting.connected(wait, time.monotonic() - start)
                report = self._ask()
            except AnsibleError as error:
                stale = wait.reachable
                wait, step = waiting.after_failure(wait, to_text(error), time.monotonic() - start)
            else:
                wait, step = waiting.after_report(wait, report, time.monotonic() - start)
            if step.pause is None:
                result = _result(wait, step, report, time.monotonic() - start)
                # Ansible does not show which host a warning is about.
                warnings = {"warnings": [f"{self.progress.host}: {step.warning}"]} if step.warning else {}
                return {**result, **warnings}
            self.progress.show(step.msg, step.urgent)
            self.pause(step.pause)

    def _connect(self, stale: bool) -> None:
        """Connect; with ``stale``, not over an old shared connection. Raises AnsibleError if SSH does not answer."""
        with time_limit(LOOK):
            if stale and self._connection.transport == "ssh":
                self._connection.reset()
            self._low_level_execute_command(waiting.CONNECT, sudoable=False)

    def _ask(self) -> waiting.CloudInitStatus:
        """The status of cloud-init. Raises AnsibleError if SSH no longer answers."""
        # Without become (any user may ask), and without a terminal (it would mix stdout and stderr)
        with time_limit(LOOK):
            answer = self._low_level_execute_command(waiting.ASK, sudoable=False)
        return waiting.cloud_init_status(answer["rc"], answer["stdout"], answer["stderr"])


def _limits(options: dict[str, t.Any]) -> waiting.BootTimeouts:
    """Read the time limits. Raises ValueError with the reason for people."""
    name = "connect_timeout"
    try:
        connect = check_seconds(options[name])
        name = "boot_timeout"
        return waiting.BootTimeouts(connect, _text.duration(options[name]), options["seeded"], options["marked"])
    except ValueError as error:
        raise ValueError(f"{name} {error}.") from error


def _result(
    wait: waiting.Wait, step: waiting.BootStep, report: waiting.CloudInitStatus | None, seconds: float
) -> dict[str, t.Any]:
    return {
        "changed": False,
        "failed": step.failed,
        "msg": step.msg,
        "seconds": round(seconds, 1),
        "connected_after": None if wait.connected is None else round(wait.connected, 1),
        "cloud_init": {
            "status": report.status if report else None,
            "errors": list(report.errors) if report else [],
            "detail": report.detail if report else "",
        },
        "host_key_refused": step.host_key_refused,
    }
