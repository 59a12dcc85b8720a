# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report the highest possible costs of all purchases in the registries of a call."""

from __future__ import annotations

import time
import typing as t

from .._ansible import steps
from .._ansible.operation import Failure, Params, Result, checked_option
from .._provision import moving, spending
from .._provision.place import Place
from .._registry._protocol import RegistryError
from .._text import joined
from ._registries import Registries, RegistrySnapshot, hosts_without_registry, warnings_nearby

BLANK: Result = {"changed": False, "spend": {}, "csv": "", "lines": [], "trouble": ""}


def spend(params: Params, check_mode: bool) -> Result:
    """Return the costs of all purchases since ``since``, as figures and as lines for people.

    ``trouble`` names what could not be read and is not counted. Raises Failure.
    """
    if params["limited"]:
        raise Failure(spending.NEEDS_ALL_HOSTS, "invalid", **BLANK)
    since = checked_option("spend_since", params["since"], lambda value: spending.read_since(value, time.time()))
    with Registries.of(params, read_only=True) as registries:
        places = registries.places(params)
        if not any(places.values()):
            reason = joined(*params["troubles"], spending.SPEND_NEEDS_REGISTRY)
            raise Failure(reason, "invalid", **BLANK)
        ledger, unread = _ledger(registries, list(dict.fromkeys(filter(None, places.values()))), since)
        snapshot = RegistrySnapshot(registries, (place for place in places.values() if place.keeps_sums))
        nearby = warnings_nearby(registries, params)
        others = sorted({project for project, _entry in snapshot.other_project_entries()})
    costs = spending.spending_of(ledger.bills, ledger.now, since)
    uncounted = [host["host"] for host in hosts_without_registry(params, places)]
    published = costs.published
    return {
        **BLANK,
        "spend": published,
        "csv": spending.sheet(published["purchases"]),
        "lines": spending.cost_lines(costs, places.values(), params["here"]),
        "trouble": joined(
            *dict.fromkeys([*params["troubles"], *unread, *ledger.warnings, *moving.uncounted(ledger.bills)])
        ),
        "warnings": [*spending.warnings(costs, uncounted, others), *nearby],
    }


def _ledger(registries: Registries, places: t.Sequence[Place], since: float) -> tuple[spending.Ledger, list[str]]:
    """The combined ledger of these places, and why some could not be read. Raises Failure if none could."""
    found, unread = [], []
    for place in places:
        try:
            found.append(registries.at(place).ledger(since))
        except RegistryError as error:
            unread.append(error)
    if not found:
        raise Failure(joined(*map(str, unread)), unread[0].error_class, **BLANK)
    return spending.combined_ledger(found, since), list(map(str, unread))


SPEND = steps.operation(spend, steps.SPEND, BLANK)
