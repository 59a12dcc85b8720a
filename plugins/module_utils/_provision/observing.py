# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be asked of API and registry before hosts can be planned, and what is still as it was read."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .. import _states
from .._wording import usd
from .declaration import Declaration
from .entry import Entry
from .ownership import Account, Kind
from .place import Folder, Place
from .standing import Status, decisive

# What hosts have tried before in this play, by their names
Attempts = t.Mapping[str, t.Iterable[t.Mapping[str, t.Any]]]


@dataclass(frozen=True)
class Observed:
    """All that was asked: entries by hosts, the statuses of their offers by ids, and the account's machines."""

    entries: t.Mapping[str, Entry]
    statuses: t.Mapping[str, dict[str, t.Any]]
    account: Account

    def status(self, host: Declaration) -> Status | None:
        """The status of the offer that the host's entry names."""
        return self.statuses.get(self.entries[host.host].offer_id)


def shadows(host: Declaration) -> list[str]:
    """Files of the host's own variables, ceilings and all, that Ansible reads no more beside a folder of that name."""
    folder = host.registry.text if host.registry_file else ""
    return [f"{folder}/{host.host}{end}" for end in (".yml", ".yaml", ".json")] if folder else []


def shadowed(files: t.Iterable[str]) -> str:
    """Host variables in a file that Ansible reads no more once there is a folder of its name."""
    return (
        f"{', '.join(files)} would not be read any more: Ansible reads the folder of that name instead, where the"
        " registry is kept. Move it there, for example as main.yml."
    )


def other_registries(host: Declaration, wanted: t.Any, here: str) -> list[Place]:
    """The other usual places of registries, if the host's is one of these because nothing was said of it.

    One is for plays without an inventory, which remember hosts in the folder ``here`` where Ansible was started; the
    other for an inventory in its usual folder there. ``wanted``: provision_registry_dir, None if it was not given.
    """
    usual = [Folder(f"{here}/host_vars"), Folder(f"{here}/inventory/host_vars")]
    return [place for place in usual if place != host.registry] if wanted is None and host.registry_file else []


def bought_elsewhere(host: Declaration, place: Place, entry: Entry) -> str:
    """The host has bought something by another registry, where it has this entry; its own has nothing of it."""
    if not entry.names_purchase or entry.is_of_another_project(host.project):
        return ""
    return (
        f"{place.entry_place(host.host)} says that {host.host} has offer {entry.offer_id or 'unknown'} at"
        f" {usd(entry.price_per_hour)}, and this play would remember it in {host.registry.text}. For that machine, add"
        f" -e provision_registry_dir={place.text}. For one more, add -e provision_project=<name>. If that entry is of"
        f" another account, add -e provision_registry_dir={host.registry.text}."
    )


def unread_elsewhere(host: Declaration, error: str) -> str:
    """The host's entry in another registry cannot be read, so it may have bought something by that."""
    return (
        f"{error} That is another registry than this play's, and {host.host} may have a machine by it. Correct it."
        f" If it is of another account, add -e provision_registry_dir={host.registry.text}."
    )


def offers_of(entries: t.Iterable[Entry]) -> set[str]:
    """The offers whose statuses tell what became of them."""
    return {entry.offer_id for entry in entries if not entry.is_refused}


def asks_for_the_list(host: Declaration, entry: Entry, status: Status | None) -> bool:
    """Whether neither its declaration nor its offer's status says all that there is to know of a host."""
    if entry.is_empty:
        return not host.objections
    phase = (status or {}).get("phase")
    return (
        not entry.resource_ids
        or bool(entry.missing_since)
        or phase not in (_states.READY, _states.GOING_ON, _states.UNBOUGHT)
    )


def read_by_themselves(hosts: t.Iterable[Declaration], observed: Observed) -> set[str]:
    """The ids that are read before anything is decided: those that decide, and those of failed offers."""
    ids: set[str] = set()
    for host in hosts:
        entry, status = observed.entries[host.host], observed.status(host) or {}
        if asks_for_the_list(host, entry, status):
            ids |= decisive(host, entry, observed.account)
        if status.get("phase") == _states.FAILED:
            ids.update(entry.resource_ids, status["resource_ids"])
    return ids


def not_ended(machines: t.Iterable[Kind], attempts: Attempts) -> list[Kind]:
    """The listed machines without those that this play has ended, which a list may still have."""
    ended = {item for tried in attempts.values() for one in tried or () for item in one.get("ended") or ()}
    return [machine for machine in machines if machine["resource_id"] not in ended]


def is_as_read(entry: Entry, now: Entry) -> bool:
    """Whether the registry says of a host's purchase what it said when it was read for the plan."""
    return all(getattr(entry, name) == getattr(now, name) for name in ("offer_id", "resource_ids", "journaled_at"))


def spoken_for(entries: t.Iterable[Entry]) -> set[str]:
    """Offers that hosts have, or may still buy."""
    return {entry.offer_id for entry in entries if entry.offer_id and not entry.is_refused}
