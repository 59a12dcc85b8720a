# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the tables of the shared registry, and move the entries and ledgers of files into it."""

from __future__ import annotations

import typing as t

from .._ansible import steps
from .._ansible.operation import Failure, Params, Result, refusing
from .._provision import moving
from .._provision.entry import Entry, project_of, read_entry, without_local_paths
from .._provision.ledger import MOVED
from .._provision.place import Place, SharedProject
from .._registry._files import HOST_KEYS
from .._registry._protocol import Claimed, Registry, RegistryError, Variables
from .._registry._statements import SCHEMA
from .._registry._stores import pinned_host_keys
from .._text import joined, seconds_of
from ._registries import Registries, RegistrySnapshot, update_ssh_config

BLANK: Result = {"changed": False, "lines": [], "trouble": ""}


def registry(params: Params, check_mode: bool) -> Result:
    """Create the tables, and move the entries of hosts and the ledgers, which budgets count.

    ``trouble`` says what could not be moved, and why. Raises Failure.
    """
    if not params["registry_url"]:
        raise Failure(moving.NO_SHARED_REGISTRY, "invalid", **BLANK)
    trouble = list(params["troubles"])
    with Registries.of(params, read_only=check_mode) as registries:
        with refusing(RegistryError, **BLANK):
            database = registries.database()
            made = not database.has_tables()
            if made and not check_mode:
                database.make_tables()
            name = registries.at(SharedProject()).name()
        moved = list(_all_moved(registries, params, check_mode, trouble))
    lines = [moving.tables_made(name, made, would=check_mode), *moved]
    text = joined(*dict.fromkeys(trouble))
    diff = moving.tables_diff(SCHEMA, made)
    return {"changed": made or bool(moved), "lines": lines, "trouble": text, "diff": diff}


def _all_moved(registries: Registries, params: Params, check_mode: bool, trouble: list[str]) -> t.Iterator[str]:
    """Move all files. Yields a line for each host and each ledger that was moved; adds failures to ``trouble``."""
    rows = moving.rows_in_shared_registry(params["hosts"])
    of_rows = [registries.folder(row, params) for row in rows]
    folders = list(dict.fromkeys(filter(None, of_rows)))
    snapshot = RegistrySnapshot(registries, folders)
    inventory = {str(row["host"]) for row in params["hosts"]}
    hosts, stay = moving.hosts_to_move(rows, of_rows, snapshot.host_entries(), inventory)
    trouble += [*snapshot.warnings(), *stay]
    readable = [host for host in hosts if not snapshot.trouble(registries.folder(host, params), str(host["host"]))]
    lines = [line for host in readable for line in _tried(_moved, trouble, host, registries, params, check_mode)]
    yield from lines
    if lines and not check_mode:
        update_ssh_config(registries, folders)
    for folder in folders:
        yield from _tried(_ended, trouble, folder, registries, check_mode)


def _tried(move: t.Callable[..., str], trouble: list[str], *given: t.Any) -> list[str]:
    """The line of a move; none if there was nothing to move, or if it failed, which is added to ``trouble``."""
    try:
        return list(filter(None, [move(*given)]))
    except RegistryError as error:
        trouble.append(moving.with_retry_advice(str(error), error.error_class))
        return []


def _moved(host: t.Mapping[str, t.Any], registries: Registries, params: Params, check_mode: bool) -> str:
    """Move the file of a host. Return a line about it, empty if there is no file. Raises RegistryError."""
    name, folder = str(host["host"]), registries.folder(host, params)
    file = registries.at(folder).host(name)
    variables = file.read() if file else None
    if file is None or variables is None:
        return ""
    path, entry = folder.entry_file(name), read_entry(variables)
    if entry.held_by:
        raise Claimed(path, variables)
    project = project_of(host["project"])
    shared = t.cast(Registry, registries.at(SharedProject(project)).host(name))
    known = shared.read()
    noted = None if known is None else read_entry(known)
    bills = registries.database().bills_of_offer(project, entry.offer_id)
    if reason := moving.why_contradicted(path, entry, shared.where, noted, bills):
        raise RegistryError(reason)
    if not check_mode:
        _move_storage(registries, project, name, file, entry)
        if entry.may_have_bought:
            keys = pinned_host_keys(registries.at(folder).known_hosts(name, entry.offer_id))
            facts = moving.without_kept(without_local_paths(variables), entry)
            _move(shared, {**facts, **({HOST_KEYS: keys} if keys else {})}, known, path)
            registries.database().note_begin(name, entry.offer_id, seconds_of(entry.journaled_at))
        file.end(MOVED)
    return moving.was_moved(name, path, entry.offer_id, entry.may_have_bought, would=check_mode)


def _move_storage(registries: Registries, project: str, name: str, file: Registry, entry: Entry) -> None:
    """Move the storage that earlier machines of the host have left. Raises RegistryError."""
    for item in entry.kept_storage:
        registries.database().keep_storage(project, name, registries.account, item)
        file.end_stray(item.resource_id, [item.resource_id], MOVED)


def _move(shared: Registry, facts: Variables, variables: Variables | None, path: str) -> None:
    """Move an entry into the shared registry, which has noted ``variables`` of its offer already; None for nothing.

    A purchase that may still be under way is claimed, and counts as sent just now. Raises RegistryError if the registry
    contradicts the entry; the file stays.
    """
    entry = read_entry(facts)
    try:
        if moving.is_to_be_claimed(entry, variables):
            shared.claim(facts)
            shared.close()
        elif note := moving.facts_to_note(facts, entry, variables, read_entry(variables)):
            shared.note(note)
    except RegistryError as error:
        raise RegistryError(moving.why_not_moved(path, str(error))) from None


def _ended(folder: Place, registries: Registries, check_mode: bool) -> str:
    """Move what only the folder's ledger has. Return a line, empty if none of it is new. Raises RegistryError."""
    bills = moving.bills_without_entry(registries.at(folder).ledger().bills)
    projects = map(SharedProject, {bill.project for bill in bills})
    new = moving.missing_bills((registries.at(project).ledger() for project in projects), bills)
    count = registries.database().note_ended(registries.account, new) if new and not check_mode else len(new)
    lost = sum(item.runs for item in new)
    return moving.bills_moved(folder.text, count, lost, would=check_mode) if count else ""


REGISTRY = steps.operation(registry, steps.REGISTRY, BLANK)
