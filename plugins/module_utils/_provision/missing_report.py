# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reports tell people of missing machines."""

from __future__ import annotations

import typing as t

from .._wording import LINE, narrow_table

_COLUMNS = {"host": "host", "since (UTC)": "noted", "USD/h": "price_per_hour", "resource": "resource_id"}
# By whether it counts in ceilings per hour
_TITLES = {
    True: "MISSING: the API does not find it. It may be billed, and it counts",
    False: "MISSING after two looks: maybe billed, but in no ceiling per hour",
}
ADVICE = (
    "Two looks that do not find it, half an hour apart, take it out of",
    "ceilings per hour: provision and reap look, and",
    "compute_index.supply.audit with audit_settle: true.",
    "Ask the vendor. If it is gone for certain, run",
    "compute_index.supply.decommission",
    "  -e decommission_hosts=<host>",
    "  -e decommission_forget=<resource>",
)


def missing_row(
    host: str, since: str, price_per_hour: float | None, resource_ids: t.Iterable[str], *, counts: bool
) -> dict[str, t.Any]:
    """A host whose machines are not found, as a workflow gets it. ``counts``: whether in ceilings per hour, too."""
    found = {"host": host, "since": since, "price_per_hour": price_per_hour}
    return {**found, "counts": counts, "resource_ids": list(resource_ids)}


def missing_lines(rows: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """What is not found, since when, whether it counts in ceilings per hour, and what to do about it."""
    lines = [line for counts in (True, False) for line in _section([row for row in rows if row["counts"] is counts])]
    return [*lines, *ADVICE, ""] if lines else []


def _section(rows: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    shown = [
        {
            "host": row["host"],
            "noted": str(row["since"])[5:16].replace("T", " "),
            "price_per_hour": None if number else row["price_per_hour"],  # that of the whole offer
            "resource_id": resource_id,
        }
        for row in rows
        for number, resource_id in enumerate(row["resource_ids"])
    ]
    return [_TITLES[rows[0]["counts"]], *narrow_table(shown, _COLUMNS, LINE, ["host"])] if rows else []
