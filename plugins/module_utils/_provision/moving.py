# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How entries and ledgers in files are moved to a shared registry."""

from __future__ import annotations

import typing as t

from .._text import abridged, formatted, joined
from . import storage
from .entry import MADE, Entry, project_of
from .lease import AT_MOST, ENDS_AT, LEASED
from .ledger import MOVED
from .ownership import Machine, id_of
from .place import Place
from .spending import Bill, Ledger

Row = t.Mapping[str, t.Any]
Facts = t.Mapping[str, t.Any]


NO_SHARED_REGISTRY = (
    "No shared registry is named: set provision_registry_url or COMPUTE_INDEX_REGISTRY_URL. Nothing was done."
)

_NAME_IT = "Set provision_registry_url or COMPUTE_INDEX_REGISTRY_URL."


def rows_in_shared_registry(rows: t.Iterable[Row]) -> list[Row]:
    """The rows that use the shared registry: of hosts, and of groups to which plays may add hosts."""
    return [row for row in rows if row.get("shared", True)]


def hosts_to_move(
    rows: t.Sequence[Row],
    folders: t.Sequence[Place],
    entries: t.Iterable[tuple[Place, str, Entry]],
    known: t.Container[str],
) -> tuple[list[Row], list[str]]:
    """The hosts whose files are moved, and a sentence about each file that stays although it should be moved.

    ``rows``: hosts and groups that use the shared registry, with their ``folders``. ``entries``: all entries in these
    folders. A host that is not in the inventory (``known``), since a play has added it, is moved by the row of a group
    or of localhost that has its folder and its project.
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
                f"{folder.entry_file(host)} was not moved: {host} is not in the inventory, and the file belongs to"
                f" project {entry.project}. Run this again with -e provision_project={entry.project}."
            )
    return [row for row in rows if "group" not in row] + list(found.values()), stay


def why_contradicted(path: str, entry: Entry, where: str, noted: Entry | None, bills: t.Iterable[Bill]) -> str:
    """Why an entry cannot be moved: the shared registry names another purchase of the host, or has noted its end.

    ``bills``: the shared registry's, of the entry's offer. A person may adopt a machine that counts as ended. Empty if
    it can be moved.
    """
    if not entry.may_have_bought or (noted is not None and noted.offer_id == entry.offer_id):
        return ""
    for bill in () if entry.adopted else bills:
        if bill.end is not None and {*entry.resource_ids} <= {*bill.resource_ids}:
            ended = f"{where} has noted that the machine of offer {bill.offer_id} ended at {formatted(bill.end)}."
            return why_not_moved(path, ended)
    if noted is None:
        return ""
    return (
        f"{path} names offer {entry.offer_id}, and {where} names offer {noted.offer_id}, but a host has only one"
        " purchase. End the machine that you do not need, and remove the file or entry that names it."
    )


def without_kept(facts: Facts, entry: Entry) -> dict[str, t.Any]:
    """The variables that move with a purchase: without kept storage, which is moved separately."""
    return {**facts, **storage.storage_variables(item for item in entry.storage if not item.kept_since)}


def is_to_be_claimed(entry: Entry, known: Facts | None) -> bool:
    """Whether an entry is moved as a claim that was sent just now: its purchase may still be under way.

    ``known``: the variables that the shared registry has for the host; None if it has no entry.
    """
    return known is None and entry.is_open


def facts_to_note(facts: Facts, entry: Entry, known: Facts | None, noted: Entry) -> dict[str, t.Any] | None:
    """The variables to note in the shared registry; None if it has all of them.

    ``facts`` are moved, ``known`` is in the shared registry (None without an entry); ``entry`` and ``noted`` are these
    two, read.
    """
    if known is None:
        return dict(facts)
    if not entry.is_made:
        return None
    # An extension counts whichever registry noted it. Ends only move to later.
    is_later = (entry.lease_end or 0.0) > (noted.lease_end or 0.0)
    lease = {name: facts[name] for name in (LEASED, ENDS_AT, AT_MOST) if is_later and name in facts}
    if noted.is_made and set(entry.resource_ids) <= set(noted.resource_ids):
        return lease or None
    new = {**{name: facts[name] for name in sorted(facts.keys() - known.keys())}, **lease}
    ids = {"provision_resource_ids": list(entry.resource_ids)} if entry.resource_ids else {}
    return {**new, "provision_procured_offer_id": entry.offer_id, "provision_purchase": MADE, **ids}


def bills_without_entry(bills: t.Iterable[Bill]) -> list[Bill]:
    """The bills of purchases that have ended (other than by a move), or that lost their entries."""
    left = [bill for bill in bills if bill.why != MOVED and bill.begin is not None]
    # A handwritten entry may have machines and no offer.
    named = [item._replace(offer_id=item.offer_id or next(iter(item.resource_ids), "")) for item in left]
    return [item for item in named if not (item.runs and item.registered)]


def moved_away(over: t.Iterable[Bill], unclaimed: t.Iterable[Machine]) -> t.Iterator[str]:
    """A warning about hosts that were moved to a shared registry that this run does not read.

    ``over``: purchases that have ended in files. ``unclaimed``: machines that no entry of this run claims.
    """
    ids = set(map(id_of, unclaimed))
    if hosts := [bill.label for bill in over if bill.why == MOVED and not ids.isdisjoint(bill.resource_ids)]:
        yield (
            f"{abridged(hosts)}: moved into a shared registry that this run does not read. Their machines are billed,"
            f" but not managed here. {_NAME_IT}"
        )


def why_moved_away(
    host: str, project: str, entry: Entry, over: t.Iterable[Bill], unclaimed: t.Iterable[Machine]
) -> str:
    """Why nothing is bought or ended for a host whose machine another registry has.

    Empty if none has, or if the host has bought something since. ``over``, ``unclaimed``: see `moved_away`.
    """
    own = [bill for bill in over if (bill.host, bill.project) == (host, project_of(project))]
    return "" if entry.may_have_bought else joined(*moved_away(own, unclaimed))


def uncounted(bills: t.Iterable[Bill]) -> list[str]:
    """A sentence about purchases whose costs since their move into a shared registry are in none of these bills."""
    hosts = dict.fromkeys(bill.label for bill in bills if bill.why == MOVED)
    return (
        [f"Not counted: what {abridged(hosts)} cost since the move into a shared registry. {_NAME_IT}"] if hosts else []
    )


def missing_bills(ledgers: t.Iterable[Ledger], bills: t.Iterable[Bill]) -> list[Bill]:
    """The bills whose offers are in none of the ledgers."""
    known = {"", *(bill.offer_id for ledger in ledgers for bill in ledger.bills)}
    return [bill for bill in bills if bill.offer_id not in known]


def tables_diff(sql: str, made: bool) -> dict[str, str]:
    """The ``--diff`` of the tables: their SQL, which is new if they were or would be made."""
    return {"before": "" if made else sql, "after": sql}


def tables_made(registry: str, made: bool, *, would: bool) -> str:
    """A line: the shared registry's tables were made, would be made in check mode, or existed."""
    return f"The tables {'would be made' if made and would else 'were made' if made else 'exist'}: {registry}"


def was_moved(host: str, path: str, offer_id: str | None, counts: bool, *, would: bool) -> str:
    """A line about a file whose entry was moved. ``counts``: whether it names a purchase."""
    what = f"offer {offer_id}" if counts else "no purchase"
    return f"{host}: {path} ({what}) {'would be moved' if would else 'was moved'} to the shared registry."


def bills_moved(folder: str, count: int, lost: int, *, would: bool) -> str:
    """A line about a folder's purchases that were added to the shared ledger. ``lost``: have neither entry nor end."""
    what, verb = ("1 purchase", "was") if count == 1 else (f"{count} purchases", "were")
    why = f"that had ended or lost their entries ({lost})" if lost else "that had ended"
    return f"{folder}: {what} {why} {'would be' if would else verb} added to the shared ledger."


def with_retry_advice(reason: str, error_class: str) -> str:
    """The reason why something was not moved; if another run was in the way, with what to do."""
    advice = " Another run is buying, or has changed it: run this again."
    return reason + (advice if error_class == "conflict" else "")


def why_not_moved(path: str, reason: str) -> str:
    """A sentence about a file that stays, since the shared registry contradicts it or cannot be written."""
    way_out = "Remove the file if its machine has ended, or if another host is to adopt the machine."
    return f"{path} was not moved, and stays as it is: {reason} {way_out}"
