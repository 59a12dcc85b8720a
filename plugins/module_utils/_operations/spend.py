# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has been spent by the registries of a call, at most? This module util is private to the collection."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .. import _spec
from .._ansible import steps
from .._ansible.operation import Failure, Operation, Params, Result, given
from .._provision import messages
from .._provision.lease import said
from .._provision.place import Place
from .._provision.spending import HOUR, Ledger, Spending, Spent, cents, since_of, spent
from .._provision.sums import Sum
from .._registry._protocol import RegistryError
from .._wording import LINE, amount, narrow_table, table
from ._memory import Memory, nameable
from ._registries import Registries, together

BLANK: Result = {"changed": False, "spend": {}, "csv": "", "lines": [], "trouble": ""}
DAYS = 31  # days that are shown; the result has all


def spend(params: Params, check_mode: bool) -> Result:
    """The costs of all purchases since ``since``, as figures and as lines for people.

    ``trouble`` is what could not be read, and so is not counted. Raises Failure.
    """
    if params["limited"]:
        raise Failure(messages.spend_limited(), "invalid", **BLANK)
    since = given("spend_since", params["since"], lambda value: since_of(value, time.time()))
    registries = Registries.of(params, read_only=True)
    with contextlib.closing(registries):
        places = registries.places(params)
        if not any(places.values()):
            reason = messages.joined(*params["troubles"], messages.SPEND_NEEDS_REGISTRY)
            raise Failure(reason, "invalid", **BLANK)
        ledger, unread = _ledger(registries, list(dict.fromkeys(filter(None, places.values()))), since)
        beside = _projects_beside(registries, places.values())
    found = spent(ledger.bills, ledger.now, since)
    uncounted = [host["host"] for host in nameable(params, places)]
    return {
        **BLANK,
        "spend": found.published,
        "csv": found.csv,
        "lines": _lines(found),
        "trouble": messages.joined(*dict.fromkeys([*params["troubles"], *unread, *ledger.warnings])),
        "warnings": [*_warnings(found, uncounted), *map(messages.project_not_counted, beside)],
    }


def _ledger(registries: Registries, places: t.Sequence[Place], since: float) -> tuple[Ledger, list[str]]:
    """What these places know together, and why some cannot be read. Raises Failure if none can."""
    found, unread = [], []
    for place in places:
        try:
            found.append(registries.at(place).ledger(since))
        except RegistryError as error:
            unread.append(error)
    if not found:
        raise Failure(messages.joined(*map(str, unread)), unread[0].error_class, **BLANK)
    return together(found, since), list(map(str, unread))


def _projects_beside(registries: Registries, places: t.Iterable[Place]) -> list[str]:
    """The projects of the shared registry that own machines and are not counted."""
    return sorted({project for project, _entry in Memory(registries, filter(_is_shared, places)).elsewhere()})


def _is_shared(place: Place) -> bool:
    return place.keeps_sums


def _warnings(found: Spending, uncounted: t.Sequence[str]) -> t.Iterator[str]:
    for bill in found.bills:
        if not bill.registered:
            yield messages.unregistered(bill.label, bill.offer_id, bill.resource_ids)
    if found.unknown:
        yield messages.unpriced(dict.fromkeys(bill.label for bill in found.unknown))
    if uncounted:
        yield messages.no_ledger(uncounted)


def _lines(found: Spending) -> list[str]:
    since = f"Since {said(found.since)}, until" if found.since else "Until"
    lines = [messages.UPPER_BOUNDS, f"{since} now, {said(found.now)}; what runs counts up to now.", ""]
    for title, rows in (("host", found.hosts), ("group", found.groups)):
        columns = {title: "name", "purchases": "purchases", "hours": "hours", "USD/h now": "runs", "USD": "usd"}
        shown = [{"name": name, **_row(row)} for name, row in rows.items()]
        lines += [*narrow_table(shown, columns, LINE, [title]), ""] if shown else []
    for title, sums in (("month", found.months), ("day", dict(list(found.days.items())[-DAYS:]))):
        shown = [{"name": name, "usd": cents(millionths)} for name, millionths in sums.items()]
        lines += [*table(shown, {title: "name", "USD": "usd"}), ""] if shown else []
    if len(found.days) > DAYS:
        lines += [f"The last {DAYS} of {len(found.days)} days; the result has all of them.", ""]
    return [*lines, f"USD in total: {amount(cents(found.total))}; now {_per_hour(found.runs)} per hour"]


def _row(row: Spent) -> Result:
    usd: t.Any = cents(row.millionths)
    return {
        "purchases": row.purchases,
        "hours": round(row.seconds / HOUR, 2),
        "runs": _per_hour(row.runs) if row.runs.unknown else row.runs.total,
        "usd": f"{amount(usd)} + unknown" if row.unknown else usd,
    }


def _per_hour(runs: Sum) -> str:
    return f"{amount(runs.total)} + unknown" if runs.unknown else amount(runs.total)


SPEND = Operation(spend, {**_spec.API, **steps.SPEND}, BLANK)
