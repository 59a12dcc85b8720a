# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the registry that several controllers share, and move into it what the files of hosts remember.

This module util is private to the collection.
"""

from __future__ import annotations

import typing as t

from .. import _decide_spec, _spec
from .._operation import Failure, Operation, Params, Result
from .._provision import messages, registration
from .._provision.entry import MADE, read_entry
from .._provision.place import Place, SharedProject
from .._provision.spending import Bill
from .._registry._pins import HOST_KEYS, pinned
from .._registry._postgresql import schema
from .._registry._protocol import MOVED, Claimed, Registry, RegistryError, Variables
from ._memory import bring_ssh_up_to_date
from ._registries import Registries

BLANK: Result = {"changed": False, "lines": []}


def registry(params: Params, check_mode: bool) -> Result:
    """Make the tables, move the entries of ``hosts``, and note what was bought beside them, which budgets count.

    Raises Failure that names what could not be moved.
    """
    if not params["registry_url"]:
        raise Failure(messages.NO_SHARED_REGISTRY, "invalid", **BLANK)
    registries = Registries.of(params)
    try:
        made = registries.make(check_mode)
        moved = [_moved(host, registries, params, check_mode) for host in params["hosts"]]
        folders = dict.fromkeys(registries.folder(host, params) for host in params["hosts"])
        if not check_mode and any(moved):
            bring_ssh_up_to_date(registries, folders)
        moved += [_ended(folder, registries, check_mode) for folder in filter(None, folders)]
        name = registries.at(SharedProject()).name()
    except RegistryError as error:
        raise Failure(str(error), error.error_class, **BLANK) from None
    finally:
        registries.close()
    lines = [messages.tables_made(name, made, would=check_mode), *filter(None, moved)]
    diff = {"before": "" if made else schema(), "after": schema(), "before_header": "tables", "after_header": "tables"}
    return {"changed": made or any(moved), "lines": lines, "diff": diff}


def _moved(host: t.Mapping[str, t.Any], registries: Registries, params: Params, check_mode: bool) -> str:
    """A line about the host whose file was moved, empty if it has none. Raises RegistryError."""
    name, folder = str(host["host"]), registries.folder(host, params)
    file = registries.at(folder).host(name)
    variables = file.read() if file else None
    if file is None or variables is None:
        return ""
    path, entry = folder.entry_file(name), read_entry(variables)
    if entry.held_by:
        raise Claimed(path, variables)
    shared = t.cast(Registry, registries.at(SharedProject(host["project"] or "default")).host(name))
    known = shared.read()
    if known is not None and read_entry(known).offer_id != entry.offer_id and entry.may_have_bought:
        raise RegistryError(messages.moved_to_another(path, entry.offer_id, shared.where, read_entry(known).offer_id))
    if not check_mode:
        if entry.may_have_bought:
            keys = pinned(registries.at(folder).known_hosts(name, entry.offer_id))
            _move(shared, {**registration.portable(variables), **({HOST_KEYS: keys} if keys else {})}, known, path)
        file.end(MOVED)
    return messages.moved(name, path, entry.offer_id, entry.may_have_bought, would=check_mode)


def _move(shared: Registry, facts: Variables, known: Variables | None, path: str) -> None:
    """Let the registry remember an entry, of whose offer it ``known`` something already.

    What may still be under way is claimed, and counts as sent just now. Raises RegistryError, which keeps the file:
    the registry contradicts it.
    """
    entry, noted = read_entry(facts), read_entry(known)
    try:
        if known is None and entry.is_open:
            shared.claim(facts)
            shared.close()
        elif known is None:
            shared.note(facts)
        elif entry.is_made and not (noted.is_made and set(entry.resource_ids) <= set(noted.resource_ids)):
            new = {name: facts[name] for name in sorted(facts.keys() - known.keys())}
            ids = {"provision_resource_ids": list(entry.resource_ids)} if entry.resource_ids else {}
            shared.note({**new, "provision_procured_offer_id": entry.offer_id, "provision_purchase": MADE, **ids})
    except RegistryError as error:
        raise RegistryError(messages.not_moved(path, str(error))) from None


def _unentered(folder: Place, registries: Registries) -> list[Bill]:
    """What the folder's ledger has beside the entries: what has ended, and what lost its entry."""
    bills = [each for each in registries.at(folder).ledger().bills if each.why != MOVED and each.begin is not None]
    # Of an entry that a person has written there may be machines and no offer.
    named = [each._replace(offer_id=each.offer_id or next(iter(each.resource_ids), "")) for each in bills]
    return [each for each in named if not (each.runs and each.registered)]


def _ended(folder: Place, registries: Registries, check_mode: bool) -> str:
    """A line about what the folder's ledger has beside the entries, empty if that is known. Raises RegistryError."""
    bills = _unentered(folder, registries)
    projects = map(SharedProject, {each.project for each in bills})
    known = {"", *(each.offer_id for project in projects for each in registries.at(project).ledger().bills)}
    new = [each for each in bills if each.offer_id not in known]
    count = registries.note_ended(new) if new and not check_mode else len(new)
    lost = sum(each.runs for each in new)
    return messages.ended_moved(folder.text, count, lost, would=check_mode) if count else ""


SPEC: _spec.Spec = {**_spec.API, **_decide_spec.REGISTRY}
REGISTRY = Operation(registry, SPEC, BLANK)
