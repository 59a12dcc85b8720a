# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module offer_status in Ansible's own process; see ``plugin_utils/_task.py``.

Also shows the progress of machines in a terminal, since Ansible's own line only counts retries. The variable
``compute_index_labels`` may give the offers names for this.
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

MOST_LINES = 5  # about single offers, if a task checks several

# By host or offer, for all retries of an ``until``, which run in one process
_progress: dict[str, Progress] = {}


class ActionModule(InProcessAction):
    """The action plugin; Ansible finds it by the name of this class."""

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
    """Lines about changes since the last check, or the same message again after a minute.

    With several offers: a line about all, and one for each that will not become ready.
    """
    passed = _passed(host, result["msg"])
    offers = result["offers"]
    if not offers:
        return [] if passed is None else [f"{host}, after {passed:.0f} s: {result['msg']}"]
    is_one = len(offers) == 1
    lines = [] if is_one or passed is None else [f"After {passed:.0f} s: {result['msg']}"]
    shown = offers if is_one else {key: one for key, one in offers.items() if one["terminal"] and not one["ready"]}
    changes = [
        f"{labels.get(key) or key}, after {_progress[host].passed:.0f} s: {_short(key, one['msg'], key in labels)}"
        for key, one in shown.items()
        if _passed(key, one["msg"], repeat=is_one) is not None
    ]
    more = len(changes) - MOST_LINES
    return [*lines, *changes[:MOST_LINES], *([f"and {more} more"] if more > 0 else [])]


def _short(offer_id: str, msg: str, is_named: bool) -> str:
    """The message; for an offer with a name, without its own first words, so that it fits into a line."""
    subject = f"Offer {offer_id} is "
    return msg[len(subject) :].removeprefix("under way: ") if is_named and msg.startswith(subject) else msg


def _passed(key: str, msg: str, *, repeat: bool = True) -> float | None:
    """Seconds since the first check, if the message is to be shown; see `Progress.news`."""
    return _progress.setdefault(key, Progress(key)).news(msg, repeat=repeat)
