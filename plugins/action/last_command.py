# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the last command on a machine, and leaves no process behind at its limit."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.compute_index.supply.plugins.plugin_utils._on_machine import leaving_nothing, limit_attempts


class ActionModule(ActionBase):
    """Ansible's way to find the plugin."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """What the module says."""
        super().run(tmp, task_vars)
        limit_attempts(self._connection)
        with leaving_nothing():
            return t.cast("dict[str, t.Any]", self._execute_module(task_vars=task_vars))
