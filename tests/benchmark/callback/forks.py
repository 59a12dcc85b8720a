# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the workers that Ansible forks: one for each task of a host, skipped or not."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Writes them, by the names of the hosts, to the file that ``BENCHMARK_FORKS`` names."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "forks"

    def __init__(self) -> None:
        super().__init__()
        self.forks: Counter[str] = Counter()

    def v2_runner_on_start(self, host: Any, _task: Any) -> None:
        """Right before the fork."""
        self.forks[host.name] += 1

    def v2_playbook_on_stats(self, _stats: Any) -> None:
        """At the end."""
        Path(os.environ["BENCHMARK_FORKS"]).write_text(json.dumps(self.forks))
