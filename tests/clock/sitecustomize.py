# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets the clock ahead, for commands whose PYTHONPATH begins with this folder."""

from __future__ import annotations

import os
import time


def move() -> None:
    """Add SUPPLY_CLOCK_AHEAD seconds to the time."""
    ahead, now = float(os.environ.get("SUPPLY_CLOCK_AHEAD") or 0), time.time
    if ahead:
        time.time = lambda: now() + ahead


move()
