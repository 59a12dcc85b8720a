# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What installs, shows and removes the timer that runs sweeps. Asks no API and no registry."""

from __future__ import annotations

from .._ansible import steps
from .._ansible.operation import Params, Result, refusing
from .._provision import timer as rules

BLANK: Result = {
    **{"changed": False, "name": "", "runtime": "", "lines": [], "trouble": ""},
    **{"folders": [], "environment": [], "files": [], "linger": [], "waits": [], "units": [], "cron": []},
    **{"removed": [], "forget": [], "sweeps": []},
}


def timer(params: Params, check_mode: bool) -> Result:
    """What the playbook's loops do for a state. Raises Failure."""
    with refusing(ValueError, **BLANK):
        one, observed = _read(params, rules.minutes_of(params["every"]))
        decided = rules.decide(
            params["state"], params["scheduler"], one, observed, params["variables"], check_mode=check_mode
        )
        return {**BLANK, "name": one.name, "runtime": observed.runtime, **decided}


def timer_due(params: Params, check_mode: bool) -> Result:
    """The sweep that proves that the timer works, if there was none. Raises Failure."""
    with refusing(ValueError, **BLANK):
        return {**BLANK, **rules.due(params["state"], *_read(params), check_mode=check_mode)}


def _read(params: Params, minutes: int = 0) -> tuple[rules.Timer, rules.TimerState]:
    """The timer and what there is of it. Raises ValueError for a run that no timer can be made of."""
    run = {name: params[name] for name in ("missing", "limited", "asks", "by_job")}
    rules.check(params["state"], params["variables"], params["timer"]["command"], **run)
    return rules.Timer(**params["timer"], minutes=minutes), rules.TimerState(**params["observed"])


TIMER = steps.operation(timer, steps.TIMER, BLANK)
TIMER_DUE = steps.operation(timer_due, steps.TIMER_DUE, BLANK)
