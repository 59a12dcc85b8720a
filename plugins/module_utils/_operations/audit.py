# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the account, what does it cost, and who owns it? This module util is private to the collection."""

from __future__ import annotations

import time
import typing as t

from .. import _decide_spec
from .._api import SupplyApi
from .._on_api import on_api
from .._operation import Failure, Params, Result
from .._provision import messages
from .._provision.auditing import Audit, Row
from .._provision.auditing import audit as compare
from .._provision.ownership import Claim
from .._provision.spending import HOUR, MILLION, cents
from .._wording import age, amount, narrow_table, table
from ._leases import Sweeps
from ._memory import Memory, named_claim
from ._registries import Registries, with_registries

BLANK: Result = {"changed": False, "audit": {}, "lines": [], "trouble": ""}

_RUNS = {"state": "status", "USD/h": "price_per_hour", "age": "age", "USD": "so_far", "resource": "resource_id"}
_OWNED = {"host": "hosts", **_RUNS}
_NAMED = {"name": "name", **_RUNS}
_GONE = {"host": "hosts", "state": "status", "resource": "resource_id"}
_LEASES = 10  # that are shown
WIDTH = 80


@with_registries
def audit(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """The machines of the account by owners: rows, lines for people, and in ``trouble`` why the audit fails."""
    if params["limited"]:
        raise Failure("An audit is about the whole account: leave --limit out.", "invalid")
    places = registries.places(params)
    memory = Memory(registries, places.values())
    names = list(filter(None, (name.strip() for name in params["names"])))
    nameable = [each for each in params["hosts"] if each["declares"] and not places[each["host"]]]
    found = compare(api.resources(), _claims(memory, nameable, names), {*places, *names}, time.time())
    leased = [(place, host, entry) for place, host, entry in memory.all() if entry.ends_at]
    ends = [(entry.ends_at, host, entry.at_most) for _place, host, entry in leased]
    leases = sorted(ends, key=lambda each: each[:2])
    unswept = Sweeps(registries).warnings(place for place, _host, _entry in leased)
    warnings = [*memory.warnings(), *unswept]
    return {
        **BLANK,
        "audit": {**found.published, "leases": {host: {"ends_at": end, "at_most": bill} for end, host, bill in leases}},
        "lines": [*_of_leases(leases), *_lines(found)],
        "trouble": messages.joined(*memory.unread, _trouble(found, params["fail_on_orphans"])),
        "warnings": warnings,
    }


def _claims(memory: Memory, nameable: t.Iterable[t.Mapping[str, t.Any]], names: t.Iterable[str]) -> list[Claim]:
    """What registries note; and the names of hosts that have no registry and declare something, or are expected."""
    claims = {claim.host: claim for claim in memory.claims()}
    for claim in [*map(named_claim, nameable), *(Claim(name, name, by_name=True) for name in names)]:
        claims.setdefault(claim.host, claim)
    return list(claims.values())


def _lines(found: Audit) -> list[str]:
    sections: list[tuple[str, list[Row], dict[str, str]]] = [
        ("CLAIMED by a host of the inventory", found.claimed, _OWNED),
        ("ONLY THE REGISTRY KNOWS: not in the inventory", found.unlisted, _OWNED),
        ("CONTESTED: whose it is, a person must say", found.contested, _OWNED),
        ("ORPHANS: billed, and nobody claims them", found.orphans, _NAMED),
        ("GONE: claimed, but ended or unknown to the API", found.gone, _GONE),
    ]
    lines = []
    for title, rows, columns in sections:
        lines += _section(title, rows, columns) if rows else []
    published = found.published
    odd = [row for row in published["claimed"] + found.orphans if row["trouble"]]
    lines += [*(f"{row['resource_id']}: {row['trouble']}" for row in odd), ""] if odd else []
    sums = published["price_per_hour"]
    unknown = f", and {published['unpriced']} of unknown price" if published["unpriced"] else ""
    said = [amount(sums[name]) for name in ("claimed", "orphans", "total")]
    so_far = [amount(_shown_usd(published["usd"][name])) for name in ("claimed", "orphans", "total")]
    lines.append(f"USD so far, by age and price: {so_far[0]} claimed + {so_far[1]} orphans = {so_far[2]}")
    return [*lines, f"USD per hour: {said[0]} claimed + {said[1]} orphans = {said[2]}{unknown}"]


def _section(title: str, rows: t.Sequence[Row], columns: t.Mapping[str, str]) -> list[str]:
    """The rows below their title. A state that all have stands there: beside an id there is no room for a column."""
    states = {row["status"] for row in rows}
    if len(states) == 1 and (state := states.pop()):
        title = f"{title} ({state})"
        columns = {head: key for head, key in columns.items() if key != "status"}
    shorten = [head for head in columns if head in ("host", "name", "state")]
    return [title, *narrow_table([_shown(row) for row in rows], columns, WIDTH, shorten), ""]


def _of_leases(leases: t.Sequence[tuple[str, str, float | None]]) -> list[str]:
    """The machines that have a last day, those that end first."""
    if not leases:
        return []
    shown = [{"host": host, "until": end, "bill": bill} for end, host, bill in leases[:_LEASES]]
    more = [f"and {len(leases) - _LEASES} more"] if len(leases) > _LEASES else []
    return [
        "LEASES, what ends first",
        *table(shown, {"host": "host", "until": "until", "USD at most": "bill"}),
        *more,
        "",
    ]


def _shown(row: Row) -> Row:
    """The row with its age and its cost as there is room for them."""
    hours, usd = row["hours"], row["usd"]
    so_far = None if usd is None else _shown_usd(usd)
    return {**row, "age": None if hours is None else age(hours * HOUR), "so_far": so_far}


def _shown_usd(usd: float) -> float:
    """A sum of whole millionths, rounded up to cents."""
    return cents(round(usd * MILLION))


def _trouble(found: Audit, fail_on_orphans: bool) -> str:
    contested = messages.audit_contested(found.contested) if found.contested else ""
    doubled = messages.audit_doubled(found.doubled) if found.doubled else ""
    orphans = messages.audit_orphans(found.orphans) if found.orphans and fail_on_orphans else ""
    return messages.joined(contested, doubled, orphans)


AUDIT = on_api(SupplyApi, audit, _decide_spec.AUDIT, BLANK)
