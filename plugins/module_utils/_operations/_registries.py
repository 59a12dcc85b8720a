# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registries of a call: folders of files, or the database that several controllers share; and what they know."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import platform
import time
import typing as t
import uuid
from dataclasses import dataclass

from .._ansible.operation import Params, Result, is_awx_job, refusing
from .._api import http
from .._api.client import SupplyApi
from .._machine import connection
from .._provision import lease
from .._provision.entry import (
    IDS,
    OFFER,
    PRICE,
    Entry,
    further_names,
    project_of,
    read_entry,
    run_in_words,
    ssh_args,
    ssh_machines,
    ssh_variables,
    storage_kept_by,
    trust_of,
)
from .._provision.ownership import Machine, OwnershipClaim, claim_of, id_of, noted_claim
from .._provision.place import Place, SharedProject, another_project, place_of, place_of_purchase, why_not_imported
from .._provision.spending import Bill, Ledger, combined_ledger
from .._provision.storage import Storage
from .._registry._postgresql import Database
from .._registry._protocol import Entries, Registry, RegistryError, Variables
from .._registry._shared import Read, note_late_purchases
from .._registry._stores import Store, keep_ssh_config, pin_host_keys, registry_dir, store_of

Api = t.TypeVar("Api", bound=SupplyApi)


class Registries(contextlib.AbstractContextManager["Registries"]):
    """The registries of one call of Ansible, which leave no connection open. With a ``url`` all hosts are in that one.

    ``read_only``: they refuse every change, as the API's client does in check mode.
    """

    def __init__(
        self,
        url: str | None,
        api_url: str,
        home: str = "",
        account_name: str = "",
        *,
        ahead: t.Callable[[], float | None] = lambda: None,
        read_only: bool,
    ) -> None:
        self.read_only = read_only
        self._url = url
        self._api_url = api_url
        self._account_name = account_name
        self.home = home
        self.who, self.run = this_run(), str(uuid.uuid4())
        self._database: Database | None = None
        self.ahead = ahead

    @classmethod
    def of(cls, params: Params, ahead: t.Callable[[], float | None] = lambda: None, *, read_only: bool) -> Registries:
        """Those of an operation's parameters. ``ahead``: seconds by which the API's clock is ahead, None if unknown."""
        url, *names = (params.get(name) or "" for name in ("registry_url", "api_url", "home", "account_name"))
        return cls(url, *names, ahead=ahead, read_only=read_only)

    def clock(self) -> lease.Clock:
        """What time it is now, by each clock that can be read."""
        database = None
        with contextlib.suppress(RegistryError):  # which its hosts fail for
            database = self.database().now() if self._url else None
        return lease.Clock.of(time.time(), self.ahead(), database)

    def note_api_clock(self, ahead: float | None) -> None:
        """Measure by what an earlier step has learnt of the API's clock, as long as this one has asked the API nothing.

        ``ahead``: seconds by which it is ahead of this computer's; None if it did not say.
        """
        asked = self.ahead
        self.ahead = lambda: ahead if asked() is None else asked()

    @property
    def account(self) -> str:
        """What machines are billed to: the API that bills it, and a name of the user's; a token may be replaced.

        Raises RegistryError.
        """
        try:
            return " ".join(filter(None, (http.check_base_url(self._api_url), self._account_name)))
        except ValueError as error:
            raise RegistryError(f"api_url {error}.") from None

    def place(self, host: t.Mapping[str, t.Any], call: t.Mapping[str, t.Any]) -> Place:
        """Where a host (``project``, ``registry_dir``, ``inventory_dir``) of a call (``sources``, ``here``) is kept.

        Beside hosts that share a registry there may be some that keep files: these are not ``shared``.
        """
        shared = self._url and host.get("shared", True)
        return SharedProject(project_of(host["project"])) if shared else self.folder(host, call)

    def places(self, call: t.Mapping[str, t.Any]) -> dict[str, Place]:
        """The same of all ``hosts`` of a call."""
        return {raw["host"]: self.place(raw, call) for raw in call["hosts"]}

    @staticmethod
    def folder(host: t.Mapping[str, t.Any], call: t.Mapping[str, t.Any]) -> Place:
        """The folder of the host's file, also where it is not used."""
        return place_of(registry_dir(host["registry_dir"], host["inventory_dir"], call["sources"], call["here"]))

    def at(self, place: Place) -> Store:
        """The registry of a place."""
        return store_of(place, self)

    def of_plan(self, plan: t.Mapping[str, t.Any]) -> Registry | None:
        """The registry of the host that a plan is about; None if it has none. Raises RegistryError."""
        return self.at(place_of(plan["registry"])).host(plan["host"])

    def stale_file_refusal(self, host: t.Mapping[str, t.Any], call: t.Mapping[str, t.Any], offer_id: str) -> str:
        """Why a host must wait whose file, which is not used any more, names another purchase than this one."""
        if not self._url:
            return ""
        folder = self.folder(host, call)
        try:
            file = self.at(folder).host(str(host["host"]))
            entry = read_entry(file.read() if file else None)
        except RegistryError as error:
            return str(error)
        return why_not_imported(folder.entry_file(str(host["host"])), entry, offer_id)

    def ledger(self, places: t.Iterable[Place], since: float = 0.0) -> Ledger:
        """What was or may be billed since a moment, of all hosts of these places together. Raises RegistryError."""
        return combined_ledger([self.at(place).ledger(since) for place in dict.fromkeys(filter(None, places))], since)

    def ended_bills(self, places: t.Iterable[Place], unclaimed: t.Iterable[Machine]) -> list[Bill]:
        """What has ended in these places by their ledgers, of resources that no host claims: a list may lag.

        Nothing where that cannot be read.
        """
        ids = {id_of(machine) for machine in unclaimed}
        with contextlib.suppress(RegistryError):
            return self.ledger(places if ids else ()).over(ids)
        return []

    def end_stray(self, place: Place, entry: Entry) -> Bill | None:
        """Note that what a host had beside its own machine is gone, and what it has cost. Raises RegistryError."""
        registry = t.cast(Registry, self.at(place).host(entry.storage_of))
        return registry.end_stray(entry.offer_id, entry.resource_ids)

    def pin_host_keys(self, place: Place, host: str, entry: Entry) -> None:
        """Let ssh know the host keys that other controllers have seen; without them it takes the one that answers."""
        if place.keeps_host_keys:
            with contextlib.suppress(OSError):
                pin_host_keys(self.at(place).known_hosts(host, entry.offer_id), entry.host_keys)

    def note_late_purchases(self, unclaimed: t.Iterable[Machine], read: Read) -> list[str]:
        """Note what freed claims have bought after all, unless this only reads; a warning for each.

        ``read`` asks for machines by their ids. Raises RegistryError.
        """
        machines = list(unclaimed) if self._url else []
        return list(note_late_purchases(self.database(), self.account, machines, read)) if machines else []

    def taken_offers(self, offers: t.Collection[str]) -> set[str]:
        """Those of these offers that hosts of a shared registry have, or had, though a search may still list them.

        If that cannot be read none is left out here, and the purchase is refused.
        """
        with contextlib.suppress(RegistryError):
            return self.database().taken_offers(offers) if self._url else set()
        return set()

    def __exit__(self, *_error: object) -> None:
        if self._database is not None:
            self._database.close()

    def database(self, *, keep: bool = True) -> Database:
        """The database that all controllers share. Raises RegistryError.

        Threads share no connection: once one does not ``keep`` it, each step has its own.
        """
        if self._database is None:
            self._database = Database(self._url or "", {**_who(), "run": self.run}, keep=True, read_only=self.read_only)
        if not keep:
            self._database.stop_keeping()
        return self._database


_Function = t.Callable[[Api, Registries, Params, bool], Result]
_Opened = t.Callable[[Api, Params, bool], Result]


def with_registries(function: _Function[Api], reads_only: bool = False) -> _Opened[Api]:
    """The operation of a function that also gets the registries of its call, which leaves no connection open.

    In check mode, and for a quote, it can only read them; with ``reads_only`` whatever the mode.
    """

    @functools.wraps(function)
    def opened(api: Api, params: Params, check_mode: bool) -> Result:
        read_only = reads_only or check_mode or bool(params.get("quote"))
        with Registries.of(params, lambda: api.ahead, read_only=read_only) as registries:
            return function(api, registries, params, check_mode)

    return opened


def reading_registries(function: _Function[Api]) -> _Opened[Api]:
    """The same of one that only reads them."""
    return with_registries(function, reads_only=True)


def this_run() -> str:
    """This run, as others name it."""
    return run_in_words(_who())


def _who() -> dict[str, str]:
    """What tells a person which run this is."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = str(os.getuid())
    who = {"host": platform.node(), "user": user, "process": str(os.getpid())}
    if is_awx_job():
        who["job"] = os.environ["JOB_ID"]
    return who


# What they know


class RegistrySnapshot:
    """The entries of all hosts in these places. What cannot be read of one host concerns that host alone."""

    def __init__(self, registries: Registries, places: t.Iterable[Place]) -> None:
        self._read: dict[Place, Entries] = {}
        self._unread: dict[Place, str] = {}
        for place in dict.fromkeys(filter(None, places)):
            try:
                self._read[place] = registries.at(place).entries()
            except RegistryError as error:
                self._unread[place] = str(error)
        further = {key: entry for found in self._read.values() for key, entry in found.other_projects.items()}
        # Of projects beside these places.
        self._further = {key: entry for key, entry in further.items() if SharedProject(key[0]) not in self._read}

    def entry(self, place: Place, host: str) -> Entry:
        """The host's entry in the place, an empty one if there is none."""
        return self.at(place).hosts.get(host) or read_entry(None)

    def trouble(self, place: Place, host: str) -> str:
        """Why the host's entry cannot be read, with the name of the file; empty if it can."""
        return self._unread.get(place, "") or self.at(place).broken.get(host, "")

    def has_trouble(self, place: Place) -> bool:
        """Whether something of the place cannot be read."""
        return bool(self._unread.get(place) or self.at(place).broken)

    def host_entries(self) -> t.Iterator[tuple[Place, str, Entry]]:
        """Each entry that can be read, with its place and host."""
        return ((place, host, entry) for place, found in self._read.items() for host, entry in found.hosts.items())

    def account_entries(self, without: t.Container[str] = ()) -> list[tuple[str, Entry]]:
        """Each entry of this account but for these hosts, also of projects beside these places, by names for people."""
        own = ((host, entry) for _place, host, entry in self.host_entries() if host not in without)
        return [*own, *self.other_entries()]

    def claims(self, without: t.Container[str] = ()) -> list[OwnershipClaim]:
        """What hosts own by these entries, but for these hosts."""
        return [noted_claim(host, entry) for host, entry in self.account_entries(without)]

    def other_entries(self) -> t.Iterable[tuple[str, Entry]]:
        """What a shared registry notes for others than the hosts of these places, and beside what these have."""
        others = {name: entry for (_project, name), entry in self._further.items()}
        return {**others, **self.stray_entries()}.items()

    def other_project_entries(self) -> t.Iterator[tuple[str, Entry]]:
        """The entries of the projects that are beside these, with their names."""
        return ((project, entry) for (project, _name), entry in self._further.items())

    def stray_entries(self) -> dict[str, Entry]:
        """What hosts have beside their own machines: others, and storage that they keep, by names for people."""
        return {name: entry for _place, name, entry in self.strays()}

    def strays(self) -> t.Iterator[tuple[Place, str, Entry]]:
        """The same with the places that know it."""
        return ((place, name, entry) for place, found in self._read.items() for name, entry in found.strays.items())

    def storage_of(self, place: Place, host: str) -> tuple[Storage, ...]:
        """The storage that the host keeps, which has survived its machines."""
        return storage_kept_by(host, self.at(place).strays.values())

    def wrong_project(self, place: Place, host: str, project: str) -> str:
        """Why the file of a host is not its own; empty if it is."""
        return another_project(host, place.entry_file(host), self.entry(place, host), project)

    def hosts(self, named: t.Container[str]) -> dict[str, list[str]]:
        """All hosts that have an entry, be it one that cannot be read, with the groups that it notes.

        In a shared registry a host has none any more once its machine has ended. Of those that are ``named``, also who
        keeps storage alone.
        """
        broken: dict[str, list[str]] = {host: [] for found in self._read.values() for host in found.broken}
        kept = [(entry.storage_of, entry) for entry in self.stray_entries().values() if entry.storage_of in named]
        entries = [*kept, *((host, entry) for _place, host, entry in self.host_entries())]
        return {**broken, **{host: list(entry.groups) for host, entry in entries}}

    def at(self, place: Place) -> Entries:
        """What the place holds; nothing if it cannot be read."""
        return self._read.get(place, Entries())

    def warnings(self, without: t.Container[str] = ()) -> list[str]:
        """What cannot be read, but for these hosts, which fail for it."""
        broken = [(host, text) for found in self._read.values() for host, text in found.broken.items()]
        return [*self._unread.values(), *(text for host, text in broken if host not in without)]


def update_ssh_config(registries: Registries, places: t.Iterable[Place]) -> list[str]:
    """Write how the machines of these registries are reached, unless they are only read.

    Nothing depends on it, so what fails is a warning.
    """
    warnings = []
    for place in dict.fromkeys(place for place in places if place.ssh_config and not registries.read_only):
        try:
            keep_ssh_config(place.ssh_config, functools.partial(_ssh_config_of, registries.at(place)))
        except RegistryError as error:
            warnings.append(str(error))
    return warnings


def _ssh_config_of(store: Store) -> str | None:
    """How the machines of a folder are reached, as a file of ssh's; None if there are none."""
    return connection.render(
        ssh_machines(host, entry, store.known_hosts(host, entry.offer_id))
        for host, entry in store.entries().hosts.items()
    )


def claim_by_name(host: t.Mapping[str, t.Any]) -> OwnershipClaim:
    """The claim of a host without a registry (``host``, ``name``, ``known``): its name is its identity."""
    return claim_of(host["host"], str(host["name"]), read_entry(host["known"]), by_name=True)


def hosts_without_registry(params: Params, places: t.Mapping[str, Place]) -> list[t.Mapping[str, t.Any]]:
    """The hosts that declare something and have no registry."""
    return [host for host in params["hosts"] if host["declares"] and not places[host["host"]]]


def registry_entries(params: Params) -> list[tuple[str, Entry]]:
    """What a single purchase's registry has of all hosts (``registry_url``, ``project``; ``registry_file``)."""
    place = place_of_purchase(*map(params.get, ("registry_url", "project", "registry_file")))
    with Registries.of(params, read_only=True) as registries:
        return RegistrySnapshot(registries, [place]).account_entries()


def registry_claims(params: Params) -> list[OwnershipClaim]:
    """What hosts own by the registry of a single purchase."""
    return [noted_claim(host, entry) for host, entry in registry_entries(params)]


class LastSweeps:
    """When the leases of each registry were enforced last, read once."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries
        self._of = functools.cache(self._read)

    def trouble(self, place: Place, *, refused: bool) -> str:
        """What to say of a lease in this place, empty if it was enforced lately, or if that cannot be read."""
        known = self._of(place)
        return "" if known is None else lease.unswept(*known, refused=refused, by_job=is_awx_job())

    def since(self, place: Place) -> float | None:
        """How many seconds ago the leases in this place were enforced; None if that is not known."""
        swept, now = self._of(place) or (None, 0.0)
        return None if swept is None else now - swept

    def warnings(self, places: t.Iterable[Place]) -> list[str]:
        """What to say of leases in several places, each sentence once."""
        return list(dict.fromkeys(filter(None, (self.trouble(place, refused=False) for place in places))))

    def _read(self, place: Place) -> tuple[float | None, float] | None:
        """When the last sweep was, and what time it is by the clock that noted it; None if that cannot be read."""
        try:
            store = self._registries.at(place)
            return (store.last_sweep(), store.now()) if place else None
        except RegistryError:  # which its hosts fail for
            return None


@dataclass(frozen=True)
class RegisteredMachine:
    """A machine under the name that it has as a host, with what its registry says of it.

    ``owner``: the host that bought it, which has a cluster's further machines, too. ``address``: how it was reached
    when it was registered; empty if it never was.
    """

    host: str
    owner: str
    variables: Variables
    entry: Entry
    address: Variables


def registered_machines(registries: Registries, place: Place) -> dict[str, RegisteredMachine]:
    """The machines of the place's hosts, by their ids. Raises Failure.

    What each needs to be reached is brought to this controller: host keys that others have seen first are pinned here.
    """
    store = registries.at(place)
    with refusing(RegistryError), registries:
        entries = store.entries().hosts
    result: dict[str, RegisteredMachine] = {}
    for host, entry in entries.items():
        registries.pin_host_keys(place, host, entry)
        known_hosts = store.known_hosts(host, entry.offer_id)
        result.update(_machines_of_host(host, entry, known_hosts, place.identity_file(entry)))
    return result


def _machines_of_host(
    host: str, entry: Entry, known_hosts: str, identity: str
) -> t.Iterator[tuple[str, RegisteredMachine]]:
    """The host's machine, and the further ones of its cluster, which are hosts of its groups."""
    noted = {OFFER: entry.offer_id, IDS: list(entry.resource_ids), PRICE: entry.price_per_hour}
    kept = {name: value for name, value in noted.items() if value is not None}
    reached = {machine.alias: machine for machine in ssh_machines(host, entry, known_hosts)}
    names = [host, *further_names(host, len(entry.resource_ids))]
    for number, resource_id in enumerate(entry.resource_ids):
        own: Variables = dict(kept) if number == 0 else {IDS: [resource_id]}
        machine = reached.get(resource_id)
        if machine is not None:
            trust = trust_of(machine.trust)
            arguments = ssh_args(machine.alias, trust, known_hosts, identity)
            own.update(ssh_variables(arguments))
        address = {name: machine.connection.get(name) for name in connection.ADDRESS} if machine else {}
        yield (
            resource_id,
            RegisteredMachine(machine.name if machine else names[number], host, own, entry, address),
        )
