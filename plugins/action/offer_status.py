# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module offer_status in the process of Ansible itself; see ``plugin_utils/_in_process.py``.

Beside that it tells in a terminal how far a machine is that is waited for: Ansible's own line only counts retries.
"""

from __future__ import annotations

import typing as t

from ansible_collections.compute_index.supply.plugins.module_utils._operations.offer_status import OFFER_STATUS
from ansible_collections.compute_index.supply.plugins.plugin_utils._in_process import InProcessAction
from ansible_collections.compute_index.supply.plugins.plugin_utils._progress import Progress

# By host, since the looks of an ``until`` began. All of them happen in one process.
_waits: dict[str, Progress] = {}


class ActionModule(InProcessAction):
    """Ansible's way to find the plugin."""

    operation = OFFER_STATUS

    def perform(self, host: str | None) -> dict[str, t.Any]:
        result = super().perform(host)
        if self._task.until and not self._task.check_mode and not result["terminal"]:
            name = str(host)
            _waits.setdefault(name, Progress(name)).tell(result["msg"])
        return result
