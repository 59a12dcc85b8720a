# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a play that wait for offers, and what was seen meanwhile.

The looks of one task follow each other in one process, which remembers them.
"""

from __future__ import annotations

import typing as t

from .._ansible.operation import Params, Result
from .._provision import lease, planning, waiting
from .._provision.planning import Case, Plan
from .._provision.waiting import MarketLook

_HISTORY: dict[str, list[MarketLook]] = {}  # by the first declaration of those that wait


def waits(cases: t.Sequence[Case], plans: t.Sequence[Plan], params: Params, now: float, trouble: str = "") -> Result:
    """What to say if another look is worth waiting for, empty if not. ``trouble``: why nothing can be looked at now."""
    history = _HISTORY.setdefault(_key(params), [])
    # The task ends badly if it is to look again more often than it may.
    if params["quote"] or params["attempts"] or params["failed"] or len(history) >= params["looks"]:
        return {}
    lacking = planning.lacking(cases, plans, now, trouble)
    if not lacking:
        return {}
    look = waiting.look(now, (price for _case, draft in lacking for price in draft.market))
    history.append(look)
    return {"waiting": planning.waits(lacking, history[0].moment, now, trouble or look.said)}


def told(plans: t.Sequence[Plan], params: Params) -> list[Plan]:
    """The plans, in which those that have waited in vain say what was seen."""
    history = _HISTORY.get(_key(params))
    if not history:
        return list(plans)
    text = waiting.waited(lease.said(history[0].moment), waiting.by_hour(history))
    return [draft.after_waiting(text) for draft in plans]


def _key(params: Params) -> str:
    return str(next(iter(params["ids"]), ""))
