# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much plays print: each line more is one that a buyer must read, and each wide one is broken by a terminal.

`make benchmark ARGS='--only seen'` counts the same for two and for ten hosts, with and without SSH.
"""

from __future__ import annotations

import screen
from conftest import MakeProject, Run
from simulator import Offer

LINES = {"a quote of ten": 50, "ten without SSH": 86, "two with SSH": 60}


def check(run: Run, what: str) -> None:
    """It went well, in no more lines, none of which is too wide."""
    assert run.returncode == 0, run.output
    assert screen.too_wide(run.output) == []
    assert screen.lines(run.output) <= LINES[what], f"{what}: {screen.lines(run.output)} lines\n{run.output}"


def test_what_is_printed_fits_a_screen(make_project: MakeProject) -> None:
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
