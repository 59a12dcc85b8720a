# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Until when a machine is there, by ``valid_to`` of its offer or of itself.

No page says what that means. So it ends nothing and lowers no bill: it is shown if it comes before the lease's end.
Moments are seconds since the epoch.
"""

from __future__ import annotations

import typing as t

from .. import _states
from .._moments import seconds_of
from . import lease

VALID_TO = "valid_to"

Fields = t.Mapping[str, t.Any]


def of_offer(offer: Fields) -> float | None:
    """Until when the machines of an offer are there, None if it does not say.

    A moment at which the offer expires says only how long it can be bought.
    """
    moment, expires = seconds_of(offer.get(VALID_TO)), seconds_of(offer.get("expires_at"))
    return None if moment is None or (expires is not None and moment <= expires) else moment


def of_machine(machine: Fields, now: float) -> float | None:
    """Until when a machine that lives is there, None if it does not say. A moment that is past ends nothing."""
    moment = seconds_of(machine.get(VALID_TO))
    return moment if moment is not None and moment > now and _states.is_live(machine.get("status")) else None


def kept_of(offer: Fields) -> dict[str, t.Any]:
    """What the registry remembers of it with the offer."""
    return {} if of_offer(offer) is None else {VALID_TO: offer[VALID_TO]}


def warning(what: str, moment: float, end: float | None) -> str:
    """That ``what`` ends earlier than its lease, or that it ends if it has none; empty if the lease is the earlier."""
    if end is not None and moment >= end:
        return ""
    before = "" if end is None else f", before its lease ({lease.said(end)})"
    return f"By the API, {what} ends at {lease.said(moment)}{before}."
