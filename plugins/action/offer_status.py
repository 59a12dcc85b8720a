# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module offer_status in the process of Ansible itself; see ``plugin_utils/_task.py``.

Beside that it tells in a terminal how far machines are that are waited for: Ansible's own line only counts retries.
The variable ``compute_index_labels`` may say how the offers of a look at many are called there.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import OFFER_STATUS
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import (
    InProcessAction,
    Progress,
    in_terminal,
    show_lines,
)

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
                show_lines(line)
        return result


def news(host: str, result: Mapping[str, t.Any], labels: Mapping[str, t.Any]) -> list[str]:
    """Lines about what is new in a look, or one if nothing was said for a minute.

    Of several offers these are a line for all, and one for each that will not get ready.
    """
    passed = _passed(host, result["msg"])
    offers = result["offers"]
    if not offers:
        return [] if passed is None else [f"{host}, after {passed:.0f} s: {result['msg']}"]
    is_one = len(offers) == 1
    lines = [] if is_one or passed is None else [f"After {passed:.0f} s: {result['msg']}"]
    shown = offers if is_one else {key: one for key, one in offers.items() if one["terminal"] and not one["ready"]}
    changes = [
        f"{labels.get(key) or key}, after {_told[host].passed:.0f} s: {_short(key, one['msg'], key in labels)}"
        for key, one in shown.items()
        if _passed(key, one["msg"], repeat=is_one) is not None
    ]
    more = len(changes) - MOST_LINES
    return [*lines, *changes[:MOST_LINES], *([f"and {more} more"] if more > 0 else [])]


def _short(offer_id: str, msg: str, is_named: bool) -> str:
    """The message without what the line of an offer with a name begins with: it shall fit into a line."""
    subject = f"Offer {offer_id} is "
    return msg[len(subject) :].removeprefix("under way: ") if is_named and msg.startswith(subject) else msg


def _passed(key: str, msg: str, *, repeat: bool = True) -> float | None:
    """Seconds since the looks began, if there is something new to say; see `Progress.news`."""
    return _told.setdefault(key, Progress(key)).news(msg, repeat=repeat)
