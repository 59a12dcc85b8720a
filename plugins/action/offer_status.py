# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module offer_status in the process of Ansible itself; see ``plugin_utils/_in_process.py``.

Beside that it tells in a terminal how far machines are that are waited for: Ansible's own line only counts retries.
The variable ``compute_index_labels`` may say how the offers of a look at many are called there.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.compute_index.supply.plugins.module_utils._operations.offer_status import OFFER_STATUS
from ansible_collections.compute_index.supply.plugins.plugin_utils._in_process import InProcessAction
from ansible_collections.compute_index.supply.plugins.plugin_utils._progress import Progress, display, in_terminal

MOST_LINES = 5  # about the offers of one look at many

# By host or offer, since the looks of an ``until`` began. They happen in one process.
_told: dict[str, Progress] = {}


class ActionModule(InProcessAction):
    """Ansible's way to find the plugin."""

    operation = OFFER_STATUS
    _labels: t.Any = None

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        self._labels = (task_vars or {}).get("compute_index_labels")
        return super().run(tmp, task_vars)

    def perform(self, host: str | None) -> dict[str, t.Any]:
        result = super().perform(host)
        waits = self._task.until and not self._task.check_mode and not result["terminal"]
        if waits and in_terminal():
            labels = self._templar.template(self._labels)
            for line in news(str(host), result, labels if isinstance(labels, Mapping) else {}):
                display.display(f"  {line}")
        return result


def news(host: str, result: Mapping[str, t.Any], labels: Mapping[str, t.Any]) -> list[str]:
    """Lines about what is new in a look, or one if nothing was said for a minute."""
    passed = _passed(host, result["msg"])
    if not result["offers"]:
        return [] if passed is None else [f"{host}, after {passed:.0f} s: {result['msg']}"]
    lines = []
    for offer_id, one in result["offers"].items():
        since = _passed(offer_id, one["msg"], repeat=False)
        if since is not None:
            name = labels.get(offer_id)
            said = _without(f"Offer {offer_id} is ", one["msg"]) if name else one["msg"]
            lines.append(f"{name or offer_id}, after {since:.0f} s: {said}")
    if not lines and passed is not None:
        return [f"After {passed:.0f} s: {result['msg']}"]
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"and {more} more. {result['msg']}"]


def _without(subject: str, msg: str) -> str:
    """The message without what its line begins with: it shall fit into a line."""
    return msg[len(subject) :].removeprefix("under way: ") if msg.startswith(subject) else msg


def _passed(key: str, msg: str, *, repeat: bool = True) -> float | None:
    """Seconds since the looks began, if there is something new to say; see `Progress.news`."""
    return _told.setdefault(key, Progress(key)).news(msg, repeat=repeat)
