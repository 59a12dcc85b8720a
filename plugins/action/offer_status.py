# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module offer_status in the process of Ansible itself; see ``plugin_utils/_in_process.py``.

Beside that it tells in a terminal how far a machine is that is waited for: Ansible's own line only counts retries.
"""

from __future__ import annotations

import time
import typing as t

from ansible import constants as C
from ansible_collections.compute_index.supply.plugins.module_utils._operations.offer_status import OFFER_STATUS
from ansible_collections.compute_index.supply.plugins.plugin_utils._in_process import InProcessAction, display

MINUTE = 60.0  # seconds after which a state that has not changed is told again
# Ansible's callback for terminals. Others, such as AWX's and JSON, have an output of their own, which stays as it is.
_TERMINAL = ("default", "ansible.builtin.default")

# By host: when the looks of an ``until`` began, what was told last, and when. All of them happen in one process.
_told: dict[str, tuple[float, str, float]] = {}


class ActionModule(InProcessAction):
    """Ansible's way to find the plugin."""

    operation = OFFER_STATUS

    def perform(self, host: str | None) -> dict[str, t.Any]:
        result = super().perform(host)
        waits = self._task.until and not self._task.check_mode and not result["terminal"]
        if waits and C.DEFAULT_STDOUT_CALLBACK in _TERMINAL:
            _tell(str(host), result["msg"])
        return result


def _tell(host: str, msg: str) -> None:
    """A line if there is something new to say, or nothing was said for a minute."""
    now = time.monotonic()
    start, last, when = _told.get(host, (now, "", now))
    if msg != last or now - when >= MINUTE:
        display.display(f"  {host}, after {now - start:.0f} s: {msg}")
        when = now
    _told[host] = (start, msg, when)
