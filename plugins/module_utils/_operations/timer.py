# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe the timer that runs sweeps, and report how sweeps go. Uses neither the API nor a registry."""

from __future__ import annotations

from .._ansible import steps
from .._ansible.operation import Params, Result, refusing
from .._provision import timer as rules

_NONE = rules.tasks_of_state("", rules.Timer((), "", ""), rules.TimerState(), check_mode=True)

BLANK: Result = {
    **{"changed": False, "name": "", "folder": "", "path": "", "script": "", "variables": [], "units": ""},
    **{"user": "", "runtime": "", "minutes": 0, "job": "", "lines": [], "trouble": "", "warnings": [], **_NONE},
}


def timer(params: Params, check_mode: bool) -> Result:
    """Return the files and times of a timer, the tasks of its state, and a report of its sweeps. Raises Failure."""
    one, observed, state = rules.Timer(**params["timer"]), rules.TimerState(**params["observed"]), params["state"]
    run = {name: params[name] for name in ("missing", "limited", "asks", "by_job")}
    with refusing(ValueError, **BLANK):
        minutes = rules.minutes_of(params["every"])
        rules.check(state, params["variables"], observed, **run)
    return {
        **BLANK,
        **{"name": one.name, "folder": one.folder, "path": one.file("sweep"), "units": one.units},
        **{"user": observed.user, "runtime": observed.runtime},
        **{"script": one.script, "variables": params["variables"], "minutes": minutes, "job": one.job},
        **rules.tasks_of_state(state, one, observed, check_mode=check_mode),
        **rules.sweep_report(state, one, observed, check_mode=check_mode),
    }


TIMER = steps.operation(timer, steps.TIMER, BLANK)
