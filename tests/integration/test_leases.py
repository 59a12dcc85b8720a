# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A purchase has a last day and a largest bill: said before it, fixed by it, and kept."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from conftest import Project

HOUR = 3600
CLOCK = Path(__file__).resolve().parents[1] / "clock"


def later(project: Project, hours: float) -> dict[str, str]:
    """The environment of a play that runs so many hours later, by the API's clock and by this computer's."""
    project.simulator.settings.clock_ahead = hours * HOUR
    return {"SUPPLY_CLOCK_AHEAD": str(hours * HOUR), "PYTHONPATH": f"{CLOCK}{os.pathsep}{os.environ['PYTHONPATH']}"}


def moment(text: Any) -> datetime:
    return datetime.fromisoformat(str(text).replace("Z", "+00:00"))


def test_a_lease_is_said_before_the_purchase_and_fixed_by_it(project: Project) -> None:
    project.declare(["gpu-1", "gpu-2"], provision_lease="8h", provision_max_bill=20)
    shown = project.play("compute_index.supply.quote")
    assert re.search(r"gpu-1, gpu-2: until [-0-9]+ [:0-9]+ UTC, at most USD 36.00 together", shown.output), shown.output
    run = project.provision()
    assert run.returncode == 0, run.output
    assert "1 x nvidia-h100-sxm5-80gb, USD 2.00/h, USD 16.00 in 8h" in run.output
    assert "compute_index.supply.reap does, and must run at least once an hour; none is known of" in run.text
    entry = project.registry("gpu-1")
    assert entry is not None
    (bought,) = project.simulator.purchases[:1]
    lasts = moment(entry["provision_ends_at"]) - bought.time
    assert 8 * HOUR <= lasts.total_seconds() < 8 * HOUR + 2
    assert (entry["provision_leased"], entry["provision_at_most"]) == ("8h", 16.0)
    again = project.provision()
    assert (again.returncode, again.changed) == (0, 0)
