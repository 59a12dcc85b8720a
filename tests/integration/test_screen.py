# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much plays print: buyers must read every line, and terminals wrap wide ones.

`make benchmark ARGS='--only seen'` counts the lines for two and for ten hosts, with and without SSH.
"""

from __future__ import annotations

import screen
from conftest import MakeProject, Run
from simulator import Offer

# The most lines that each play may print
LINES = {"a quote of ten": 50, "ten without SSH": 86, "two with SSH": 60}


def check(run: Run, name: str) -> None:
    """Assert that the play succeeded, printed no more than its lines, and none that is too wide."""
    assert run.returncode == 0, run.output
    assert screen.too_wide(run.output) == []
    assert screen.lines(run.output) <= LINES[name], f"{name}: {screen.lines(run.output)} lines\n{run.output}"


def test_output_of_plays_fits_a_screen(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2 + number / 10) for number in range(14)])
    hosts = [f"gpu-{number}" for number in range(1, 11)]
    project.declare(hosts, provision_reach=False)
    check(project.play("compute_index.supply.quote"), "a quote of ten")
    check(project.provision("--forks", "10"), "ten without SSH")
    project.declare(["ml-1", "ml-2"])
    check(project.provision(), "two with SSH")
    for words in (["audit"], ["extend", "-e", "extend_hosts=gpu", "-e", "extend_until=2100-01-01T00:00Z"]):
        run = project.play(f"compute_index.supply.{words[0]}", *words[1:])
        assert run.returncode == 0 and screen.too_wide(run.output) == [], run.output
