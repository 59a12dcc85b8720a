# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module procure_offer in Ansible's own process; see ``plugin_utils/_task.py``."""

from __future__ import annotations

import typing as t

from ansible_collections.compute_index.supply.plugins.filter import adapters as _filters  # noqa: F401, for all workers
from ansible_collections.compute_index.supply.plugins.lookup import user_data as _lookup  # noqa: F401, as the filters are
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import PROCURE_OFFER
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import NOTHING_SENT
from ansible_collections.compute_index.supply.plugins.module_utils._registry._connection import preload_psycopg
from ansible_collections.compute_index.supply.plugins.plugin_utils import _hosts
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import InProcessAction

preload_psycopg()  # before Ansible forks its workers


class ActionModule(InProcessAction):
    """The action plugin; Ansible finds it by the name of this class."""

    operation = PROCURE_OFFER

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module with the options in ``plan`` and those of the task.

        The plan's take precedence, since the task's include module_defaults, which must not change what was planned.
        """
        own = dict(self._task.args)
        plan = own.pop("plan", None) or {}
        if not isinstance(plan, t.Mapping):
            return self.operation.refused(f"plan must be a mapping of options. {NOTHING_SENT}")
        listed = _hosts.round_of(task_vars or {}).listed_before
        self._task.args = {**own, **plan, **({"listed_before": list(listed)} if listed else {})}
        return super().run(tmp, task_vars)

    def shown_options(self, params: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
        """The options without ``listed_before``, which may contain all resources of the account."""
        return {name: value for name, value in params.items() if name != "listed_before"}
