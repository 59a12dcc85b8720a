# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an audit tells people, and why it fails."""

from __future__ import annotations

import typing as t

from .._moments import UNKNOWN, formatted, seconds_of
from .._text import grouped
from .._wording import LINE, age, amount, folded_lines, narrow_table, usd
from . import lease, storage, validity
from .auditing import Audit, Row, sum_of
from .messages import joined
from .missing_report import missing_lines
from .spending import HOUR, MILLION, cents
from .validity import VALID_TO

Lease = tuple[str, str, t.Optional[float]]  # its end, the host, and the largest bill (USD)

_RUNS = {"USD/h": "price_per_hour", "age": "age", "USD": "so_far", "resource": "resource_id"}
_OWNED = {"host": "hosts", **_RUNS}
_STORED = {"host": "hosts", "name": "name", **{head: key for head, key in _RUNS.items() if head != "USD"}}
_NAMED = {"name": "name", **_RUNS}
_ENDING = {"name": "who", **_RUNS}
_GONE = {"host": "hosts", "resource": "resource_id"}
_UNDER_WAY = {"host": "host", "USD/h": "price_per_hour", "since": "since", "last run": "run"}
_BUYING = "BUYING: purchases that count, with no known machine yet"
_LEASES = 10  # that are shown


def lines(audit: Audit, leases: t.Sequence[Lease]) -> list[str]:
    """The leases that end first, the machines by owners, and the sums."""
    return [*_of_leases(leases), *_ends_earlier(audit, leases), *_of_machines(audit)]


def _ends_earlier(audit: Audit, leases: t.Sequence[Lease]) -> list[str]:
    """The machines that end before their leases, by the API, or have none."""
    ends = {host: lease.moment_of(end) for end, host, _bill in leases}
    lines = []
    for row in audit.billed:
        if moment := seconds_of(row.get(VALID_TO)):
            # Storage has no lease: it may outlive its machine.
            end = None if row in audit.storage else next(filter(None, map(ends.get, row["hosts"])), None)
            lines.append(validity.warning(" ".join([*row["hosts"], str(row["resource_id"])]), moment, end))
    return [*filter(None, lines), ""] if any(lines) else []


def _of_machines(audit: Audit) -> list[str]:
    sections: list[tuple[str, list[Row], dict[str, str]]] = [
        ("CLAIMED by a host of the inventory", audit.claimed, _OWNED),
        ("ONLY THE REGISTRY KNOWS: not in the inventory", audit.unlisted, _OWNED),
        ("CONTESTED: several hosts claim it, so you must decide", audit.contested, _OWNED),
        ("STORAGE: billed until you end it, even without a machine", audit.storage, _STORED),
        ("ORPHANS: billed, and no host claims them", audit.orphans, _NAMED),
        ("ENDING: being deleted, and billed until it is gone", audit.ending, _ENDING),
        ("GONE: claimed, but ended or unknown to the API", audit.gone, _GONE),
    ]
    lines = [line for section in sections for line in _section(*section)]
    lines += [*storage.ADVICE, ""] if audit.storage else []
    lines += missing_lines(audit.missing)
    if audit.buying:
        lines += [_BUYING, *narrow_table(audit.buying, _UNDER_WAY, LINE, ["last run", "host"]), ""]
    lines += _tested_lines(audit.tested)
    published = audit.published
    rows = published["claimed"] + audit.storage + audit.orphans
    odd = [f"{row['resource_id']}: {row['trouble']}" for row in rows if row["trouble"]]
    lines += [*odd, ""] if odd else []
    sums = published["price_per_hour"]
    unknown = f", and {published['unpriced']} of unknown price" if published["unpriced"] else ""
    also = {"storage": audit.storage, "orphans": True, "ending": audit.ending}
    names = ["claimed", *(name for name, rows in also.items() if rows)]
    so_far = {name: _shown_usd(usd) for name, usd in published["usd"].items()}
    lines.append(f"USD so far: {_added(so_far, names)}")
    return [*lines, f"USD per hour: {_added(sums, names)}{unknown}"]


def _tested_lines(rows: t.Iterable[Row]) -> list[str]:
    """The last test of each host whose machine was tested; what was noted may be a person's."""
    lines = folded_lines(map(_tested, rows))
    return ["TESTED by the playbook verify", *lines, ""] if lines else []


def _tested(row: Row) -> str:
    moment = seconds_of(row["at"])
    when = UNKNOWN if moment is None else formatted(moment)
    return f"{row['host']} ({when}): {row['reasons'] or row['verdict'] or UNKNOWN}"


def _added(sums: t.Mapping[str, float], names: t.Iterable[str]) -> str:
    parts = (f"{amount(sums[name])} {name}" for name in names)
    return f"{' + '.join(parts)} = {amount(sums['total'])}"


def _section(title: str, rows: t.Sequence[Row], columns: t.Mapping[str, str]) -> list[str]:
    """The rows by their states, each below the title with its state: beside an id there is no room for a column."""
    shorten = [head for head in columns if head in ("host", "name")]
    lines = []
    for state, group in grouped((row["status"], _shown(row)) for row in rows).items():
        lines += [f"{title} ({state})" if state else title, *narrow_table(group, columns, LINE, shorten), ""]
    return lines


def _of_leases(leases: t.Sequence[Lease]) -> list[str]:
    """The machines that have a last day, those that end first."""
    if not leases:
        return []
    shown = [{"host": host, "until": end, "bill": bill} for end, host, bill in leases[:_LEASES]]
    more = [f"and {len(leases) - _LEASES} more"] if len(leases) > _LEASES else []
    return [
        "LEASES, what ends first",
        *narrow_table(shown, {"host": "host", "until": "until", "USD at most": "bill"}, LINE, ["host"]),
        *more,
        "",
    ]


def _shown(row: Row) -> Row:
    """The row with its age and its cost as there is room for them."""
    hours, usd = row["hours"], row["usd"]
    so_far = None if usd is None else _shown_usd(usd)
    return {
        **row,
        "who": row["hosts"] or row["name"],
        "age": None if hours is None else age(hours * HOUR),
        "so_far": so_far,
    }


def _shown_usd(usd: float) -> float:
    """A sum of whole millionths, rounded up to cents."""
    return cents(round(usd * MILLION))


# Why an audit fails, and how each of the machines is named then
_CONTESTED = (
    "{count} machine(s) are contested: {found}. Each belongs to one host: correct the registry entries or names, or end"
    " those that are too many by their ids (compute_index.supply.end_by_id).",
    "{id} ({hosts}: {trouble})",
)
_DOUBLED = (
    "{count} machine(s) have the name of a host that owns another one: {found}. End each that is not needed by its id"
    " (compute_index.supply.end_by_id); if it is another project's, give one of the two a provision_project.",
    "{id} ({hosts}, {usd})",
)
_ORPHANS = (
    "{count} machine(s) that no host claims cost {together}: {found}. End each by its id with"
    " compute_index.supply.end_by_id. Or adopt it: declare a host of its name, and run"
    " compute_index.supply.provision -e provision_adopt=true.",
    "{id}",
)
_STUCK = (
    "{count} machine(s) have been ending for more than an hour, and may be billed until they are gone: {found}. Ask the"
    " API's operator to end them; compute_index.supply.decommission then confirms that.",
    "{id} ({usd}, {hours} h)",
)


def trouble(audit: Audit, *, fail_on_orphans: bool) -> str:
    """Why the audit fails; empty if it does not."""
    orphans = audit.orphans if fail_on_orphans else []
    rows = {_CONTESTED: audit.contested, _DOUBLED: audit.doubled, _ORPHANS: orphans, _STUCK: audit.stuck}
    return joined(*(_troubled(*sentence, machines) for sentence, machines in rows.items() if machines))


def _troubled(sentence: str, of_each: str, rows: t.Sequence[Row]) -> str:
    found = [
        of_each.format(
            id=row["resource_id"],
            hosts=", ".join(row["hosts"]),
            trouble=row["trouble"],
            usd=usd(row["price_per_hour"]),
            hours=f"{row.get('ending_hours') or 0.0:.1f}",
        )
        for row in rows
    ]
    together = usd(sum_of(rows))
    return sentence.format(count=len(rows), found="; ".join(found), together=together)
