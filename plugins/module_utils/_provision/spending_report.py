# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report of spending tells people."""

from __future__ import annotations

import typing as t

from .._wording import LINE, amount, narrow_table, table
from . import messages
from .lease import said
from .missing_report import missing_lines
from .spending import HOUR, Spending, Spent, cents
from .sums import Sum

DAYS = 31  # days that are shown; the result has all


def warnings(found: Spending, uncounted: t.Sequence[str]) -> t.Iterator[str]:
    """What is not, or not certainly, in the sums. ``uncounted``: hosts that no ledger knows."""
    for bill in found.bills:
        if not bill.registered:
            yield messages.unregistered(bill.label, bill.offer_id, bill.resource_ids)
    if found.unknown:
        yield messages.unpriced(dict.fromkeys(bill.label for bill in found.unknown))
    if uncounted:
        yield messages.no_ledger(uncounted)


def lines(found: Spending) -> list[str]:
    """The costs by hosts, groups, months and days, and the sums."""
    since = f"Since {said(found.since)}, until" if found.since else "Until"
    told = [messages.UPPER_BOUNDS, f"{since} now, {said(found.now)}; what runs counts up to now.", ""]
    for title, rows in (("host", found.hosts), ("group", found.groups)):
        columns = {title: "name", "purchases": "purchases", "hours": "hours", "USD/h now": "runs", "USD": "usd"}
        shown = [{"name": name, **_row(row)} for name, row in rows.items()]
        told += [*narrow_table(shown, columns, LINE, [title]), ""] if shown else []
    for title, sums in (("month", found.months), ("day", dict(list(found.days.items())[-DAYS:]))):
        shown = [{"name": name, "usd": cents(millionths)} for name, millionths in sums.items()]
        told += [*table(shown, {title: "name", "USD": "usd"}), ""] if shown else []
    if len(found.days) > DAYS:
        told += [f"The last {DAYS} of {len(found.days)} days; the result has all of them.", ""]
    told += missing_lines(found.missing)
    without = f", {_per_hour(found.runs_found)} without what is missing" if found.missing else ""
    return [*told, f"USD in total: {amount(cents(found.total))}; now {_per_hour(found.runs)} per hour{without}"]


def _row(row: Spent) -> dict[str, t.Any]:
    usd: t.Any = cents(row.millionths)
    return {
        "purchases": row.purchases,
        "hours": round(row.seconds / HOUR, 2),
        "runs": _per_hour(row.runs) if row.runs.unknown else row.runs.total,
        "usd": f"{amount(usd)} + unknown" if row.unknown else usd,
    }


def _per_hour(runs: Sum) -> str:
    return f"{amount(runs.total)} + unknown" if runs.unknown else amount(runs.total)
