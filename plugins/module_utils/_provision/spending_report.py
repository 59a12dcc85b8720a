# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report of spending tells people."""

from __future__ import annotations

import typing as t

from .._wording import LINE, amount, narrow_table, table
from .lease import said
from .messages import ids_of, some
from .missing_report import missing_lines
from .spending import HOUR, Spending, Spent, cents
from .sums import Sum

DAYS = 31  # days that are shown; the result has all


_UPPER_BOUNDS = (
    "Upper bounds in USD, from before each purchase to its confirmed end.",
    "Each is rounded up, so the rows of a table may come to more than all.",
)
NEEDS_ALL_HOSTS = "compute_index.supply.spend covers whole registries: leave --limit out. Nothing was sent."
SPEND_NEEDS_REGISTRY = (
    "Only a registry knows what was spent, and there is none (provision_registry_dir is empty, and there is no"
    " provision_registry_url). Nothing was sent."
)


def warnings(spending: Spending, uncounted: t.Sequence[str]) -> t.Iterator[str]:
    """What is not, or not certainly, in the sums. ``uncounted``: hosts that no ledger knows."""
    for bill in spending.bills:
        if not bill.registered:
            yield (
                f"The registry has no entry of {bill.label}'s offer {bill.offer_id or 'unknown'}"
                f" ({ids_of(bill.resource_ids)}) any more, and no end of it was noted: it counts up to now. Does it"
                " still run? If not, add its end to the ledger (docs/registry.md)."
            )
    if spending.unknown:
        hosts = dict.fromkeys(bill.label for bill in spending.unknown)
        yield f"In no sum, since price or beginning is unknown: {some(hosts)}."
    if uncounted:
        yield f"Not counted, since they keep no registry: {some(uncounted)}."


def lines(spending: Spending) -> list[str]:
    """The costs by hosts, groups, months and days, and the sums."""
    since = f"Since {said(spending.since)}, until" if spending.since else "Until"
    report = [*_UPPER_BOUNDS, f"{since} now, {said(spending.now)}; what runs counts up to now.", ""]
    for title, rows in (("host", spending.hosts), ("group", spending.groups)):
        columns = {title: "name", "purchases": "purchases", "hours": "hours", "USD/h now": "runs", "USD": "usd"}
        shown = [{"name": name, **_row(row)} for name, row in rows.items()]
        report += [*narrow_table(shown, columns, LINE, [title]), ""] if shown else []
    for title, sums in (("month", spending.months), ("day", dict(list(spending.days.items())[-DAYS:]))):
        shown = [{"name": name, "usd": cents(millionths)} for name, millionths in sums.items()]
        report += [*table(shown, {title: "name", "USD": "usd"}), ""] if shown else []
    if len(spending.days) > DAYS:
        report += [f"The last {DAYS} of {len(spending.days)} days; the result has all of them.", ""]
    report += missing_lines(spending.missing)
    without = f", {_per_hour(spending.runs_found)} without what is missing" if spending.missing else ""
    return [*report, f"USD in total: {amount(cents(spending.total))}; now {_per_hour(spending.runs)} per hour{without}"]


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


def project_not_counted(project: str) -> str:
    """Another project of the shared registry, which owns machines."""
    return f"Not counted: the project {project} of the shared registry. -e provision_project={project} counts it."
