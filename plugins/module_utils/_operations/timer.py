# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook writes to install the timer that runs sweeps, and how sweeps go. Asks no API and no registry."""

from __future__ import annotations

from .._ansible import steps
from .._ansible.operation import Params, Result, refusing
from .._provision import timer as rules

BLANK: Result = {
    **{"changed": False, "state": "", "name": "", "folder": "", "path": "", "script": "", "variables": []},
    **{"minute": "", "job": "", "lines": [], "trouble": "", **rules.tasks_of_state("", rules.TimerState())},
}


def timer(params: Params, check_mode: bool) -> Result:
    """The folder, the script and the line of cron of a timer, whether it has still to sweep, and lines for people."""
    one, observed = rules.Timer(**params["timer"]), rules.TimerState(**params["observed"])
    run = {name: params[name] for name in ("missing", "limited", "asks", "by_job")}
    with refusing(ValueError, **BLANK):
        minutes = rules.minutes_of(params["every"])
        rules.check(params["state"], params["variables"], observed, **run)
    return {
        **BLANK,
        **{"state": params["state"], "name": one.name, "folder": one.folder, "path": one.file("sweep")},
        **{"script": one.script, "variables": params["variables"], "minute": f"*/{minutes}", "job": one.job},
        **rules.tasks_of_state(params["state"], observed),
        **rules.sweep_report(one, observed),
    }


TIMER = steps.operation(timer, steps.TIMER, BLANK)
