# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the files of hosts goes into a shared registry, and how."""

from __future__ import annotations

import typing as t

from .._text import abridged
from . import storage
from .entry import MADE, Entry
from .lease import AT_MOST, ENDS_AT, LEASED, moment_of
from .ledger import MOVED
from .ownership import Machine, id_of
from .place import Place
from .spending import Bill, Ledger

Row = t.Mapping[str, t.Any]
Facts = t.Mapping[str, t.Any]


NO_SHARED_REGISTRY = (
    "No shared registry is named: set provision_registry_url or COMPUTE_INDEX_REGISTRY_URL. Nothing was done."
)


def sharing(rows: t.Iterable[Row]) -> list[Row]:
    """The rows of hosts, and of groups that hosts may be added to, whose registry is the shared one."""
    return [row for row in rows if row.get("shared", True)]


def hosts_to_move(
    rows: t.Sequence[Row],
    folders: t.Sequence[Place],
    entries: t.Iterable[tuple[Place, str, Entry]],
    known: t.Container[str],
) -> tuple[list[Row], list[str]]:
    """The hosts whose files are moved, and a sentence about each file that stays though its registry is the shared one.

    ``folders``: of the rows. ``entries``: what these hold, also of hosts that plays have added: such a host is of the
    group, or of localhost, that uses its folder, if it was bought for the same project. ``known``: all other hosts, of
    which those without a row keep their files.
    """
    found: dict[str, Row] = {}
    stay = []
    for folder, host, entry in entries:
        users = [row for row, item in zip(rows, folders) if item == folder]
        own_project = [row for row in users if not entry.is_of_another_project(row["project"])]
        if host not in known and own_project:
            found.setdefault(host, {**own_project[0], "host": host})
        elif host not in known:
            stay.append(
                f"{folder.entry_file(host)} was not moved: {host} is not in the inventory, and the file is of the"
                f" project {entry.project}. Run this again with -e provision_project={entry.project}."
            )
    return [row for row in rows if "group" not in row] + list(found.values()), stay


def contradiction(path: str, entry: Entry, where: str, noted: Entry | None) -> str:
    """Why an entry cannot be moved: the shared registry has noted another purchase of the host; empty if it can."""
    if noted is None or noted.offer_id == entry.offer_id or not entry.may_have_bought:
        return ""
    return (
        f"{path} names offer {entry.offer_id}, and {where} names offer {noted.offer_id}. A host has one: end the"
        " one that is too many, and remove what names it."
    )


def without_kept(facts: Facts, entry: Entry) -> dict[str, t.Any]:
    """What moves with the purchase: without the storage of earlier ones, which the shared registry has by itself."""
    return {**facts, **storage.variables_of(item for item in entry.storage if not item.kept_since)}


def claims(entry: Entry, facts: Facts | None) -> bool:
    """Whether what may still be under way is claimed, and counts as sent just now, instead of noted."""
    return facts is None and entry.is_open


def facts_to_note(facts: Facts, entry: Entry, known: Facts | None, noted: Entry) -> dict[str, t.Any] | None:
    """What the shared registry is told of an entry of which it has ``known`` something; None if it knows all of it."""
    if known is None:
        return dict(facts)
    if not entry.is_made:
        return None
    # Time that was promised is given, whichever of two registries was told of it; ends only ever move to later.
    is_later = (moment_of(entry.ends_at) or 0.0) > (moment_of(noted.ends_at) or 0.0)
    lease = {name: facts[name] for name in (LEASED, ENDS_AT, AT_MOST) if is_later and name in facts}
    if noted.is_made and set(entry.resource_ids) <= set(noted.resource_ids):
        return lease or None
    new = {**{name: facts[name] for name in sorted(facts.keys() - known.keys())}, **lease}
    ids = {"provision_resource_ids": list(entry.resource_ids)} if entry.resource_ids else {}
    return {**new, "provision_procured_offer_id": entry.offer_id, "provision_purchase": MADE, **ids}


def unentered(bills: t.Iterable[Bill]) -> list[Bill]:
    """What a ledger has beside the entries: what has ended, but for what was moved, and what lost its entry."""
    left = [bill for bill in bills if bill.why != MOVED and bill.begin is not None]
    # Of an entry that a person has written there may be machines and no offer.
    named = [item._replace(offer_id=item.offer_id or next(iter(item.resource_ids), "")) for item in left]
    return [item for item in named if not (item.runs and item.registered)]


def moved_away(over: t.Iterable[Bill], unclaimed: t.Iterable[Machine]) -> t.Iterator[str]:
    """Hosts that were moved into a shared registry which this run does not read. ``over``: what has ended in files."""
    ids = set(map(id_of, unclaimed))
    if hosts := [bill.label for bill in over if bill.why == MOVED and not ids.isdisjoint(bill.resource_ids)]:
        yield (
            f"{abridged(hosts)}: moved into a shared registry, which this run does not read, so nothing here looks"
            " after what is billed for them. Set provision_registry_url or COMPUTE_INDEX_REGISTRY_URL."
        )


def unknown_to(ledgers: t.Iterable[Ledger], bills: t.Iterable[Bill]) -> list[Bill]:
    """Those of the purchases, by their offers, that none of the ledgers has."""
    known = {"", *(bill.offer_id for ledger in ledgers for bill in ledger.bills)}
    return [bill for bill in bills if bill.offer_id not in known]


def tables_diff(sql: str, made: bool) -> dict[str, str]:
    """What ``--diff`` shows of the tables: their SQL, if they were or would be made."""
    return {"before": "" if made else sql, "after": sql}


def tables_made(registry: str, made: bool, *, would: bool) -> str:
    """Whether the shared registry has had its tables before."""
    return f"The tables {'would be made' if made and would else 'were made' if made else 'are there'}: {registry}"


def was_moved(host: str, path: str, offer_id: str | None, counts: bool, *, would: bool) -> str:
    """A file whose entry is in the shared registry now."""
    what = f"offer {offer_id}" if counts else "nothing that was bought"
    return f"{host}: {path} ({what}) {'would be moved' if would else 'was moved'} into it."


def ended_moved(folder: str, count: int, lost: int, *, would: bool) -> str:
    """Purchases of a ledger of files that are in the shared registry's now; ``lost``: those without entry and end."""
    what, verb = ("1 purchase", "was") if count == 1 else (f"{count} purchases", "were")
    why = f"that had ended or lost their entries ({lost})" if lost else "that had ended"
    return f"{folder}: {what} {why} {'would be' if would else verb} noted in it, too."


def left(reason: str, error_class: str) -> str:
    """Why something was not moved, and what to do if another run was in the way."""
    way_out = " Another run is buying, or has changed it: run this again."
    return reason + (way_out if error_class == "conflict" else "")


def not_moved(path: str, reason: str) -> str:
    """A file that stays, since the shared registry contradicts it, or cannot be written."""
    way_out = "Remove the file if its machine has ended, or before a host takes that over."
    return f"{path} was not moved, and stays as it is: {reason} {way_out}"
