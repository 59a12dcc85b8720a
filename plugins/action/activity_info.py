# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a machine whether it is in use, with the time of the question. Does not wait for a frozen machine."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.compute_index.supply.plugins.plugin_utils._task import BriefAction


class ActionModule(BriefAction):
    """The action plugin; Ansible finds it by the name of this class."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """The module's result, and the time right before it was asked (``asked_at``, seconds since the epoch)."""
        asked_at = time.time()
        return {**super().run(tmp, task_vars), "asked_at": asked_at}
