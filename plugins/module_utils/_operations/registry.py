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
from .._provision.entry import read_entry
from .._provision.place import entry_file
from .._registry._files import HostFile
from .._registry._pins import HOST_KEYS, pinned
from .._registry._place import known_hosts_file, shared_place
from .._registry._postgresql import schema
from .._registry._protocol import (
    MOVED,
    Claimed,
    Registry,
    RegistryError,
    Variables,
)
from ._memory import bring_ssh_up_to_date
from ._registries import Registries

BLANK: Result = {"changed": False, "lines": []}


def registry(params: Params, check_mode: bool) -> Result:
    """Make the tables, move the entries of ``hosts``, and note what has ended beside them, which budgets count.

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
            bring_ssh_up_to_date(folders)
        moved += [_ended(folder, registries, check_mode) for folder in filter(None, folders)]
    except RegistryError as error:
        raise Failure(str(error), error.error_class, **BLANK) from None
    finally:
        registries.close()
    lines = [messages.tables_made(registries.name(shared_place("")), made, would=check_mode), *filter(None, moved)]
    diff = {"before": "" if made else schema(), "after": schema(), "before_header": "tables", "after_header": "tables"}
    return {"changed": made or any(moved), "lines": lines, "diff": diff}


def _moved(host: t.Mapping[str, t.Any], registries: Registries, params: Params, check_mode: bool) -> str:
    """A line about the host whose file was moved, empty if it has none. Raises RegistryError."""
    name, path = str(host["host"]), entry_file(registries.folder(host, params), str(host["host"]))
    file = HostFile(path) if path else None
    variables = file.read() if file else None
    if file is None or variables is None:
        return ""
    entry = read_entry(variables)
    if entry.held_by:
        raise Claimed(path, variables)
    shared = t.cast(Registry, registries.host(shared_place(host["project"]), name))
    known = shared.read()
    other = read_entry(known).offer_id
    if known is not None and other != entry.offer_id and entry.may_have_bought:
        raise RegistryError(messages.moved_to_another(path, entry.offer_id, shared.where, other))
    if not check_mode:
        if known is None and entry.may_have_bought:
            _move(shared, variables, pinned(known_hosts_file(path)))
        file.end(MOVED)
    return messages.moved(name, path, entry.offer_id, entry.may_have_bought, would=check_mode)


def _ended(folder: str, registries: Registries, check_mode: bool) -> str:
    """A line about what has ended by the folder's ledger, empty if that is known. Raises RegistryError."""
    bills = [each for each in registries.ledger(folder).bills if each.end is not None and each.why != MOVED]
    projects = {each.project for each in bills}
    known = {each.offer_id for name in projects for each in registries.ledger(shared_place(name)).bills}
    new = [each for each in bills if each.begin is not None and each.offer_id not in {"", *known}]
    count = registries.note_ended(new) if new and not check_mode else len(new)
    return messages.ended_moved(folder, count, would=check_mode) if count else ""


def _move(shared: Registry, entry: Variables, keys: list[str] | None) -> None:
    """Let the registry remember the entry. What may still be under way is claimed, and counts as sent just now."""
    facts = {**registration.portable(entry), **({HOST_KEYS: keys} if keys else {})}
    if read_entry(entry).is_open:
        shared.claim(facts)
        shared.close()
    else:
        shared.note(facts)


SPEC: _spec.Spec = {**_spec.API, **_decide_spec.REGISTRY}
REGISTRY = Operation(registry, SPEC, BLANK)
