# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registries of a call (folders of files, or the shared database), and a snapshot of their entries."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import platform
import time
import typing as t
import uuid
from dataclasses import dataclass, replace

from .._ansible.operation import Params, Result, is_awx_job, refusing
from .._api import http
from .._api.client import SupplyApi
from .._machine import connection
from .._provision import lease, standing
from .._provision.entry import (
    IDS,
    OFFER,
    PRICE,
    Entry,
    connection_variables,
    further_names,
    project_of,
    read_entry,
    run_in_words,
    shares_host_keys,
    ssh_args,
    ssh_machines,
    ssh_variables,
    storage_kept_by,
    trust_of,
)
from .._provision.ownership import Machine, OwnershipClaim, claim_of, id_of, noted_claim
from .._provision.place import (
    Folder,
    Place,
    SharedProject,
    another_project,
    place_of,
    place_of_purchase,
    why_not_imported,
)
from .._provision.spending import Bill, Ledger, combined_ledger
from .._provision.storage import Storage
from .._registry._files import as_registry_error
from .._registry._postgresql import Database
from .._registry._protocol import Entries, Registry, RegistryError, Variables
from .._registry._shared import Read, note_late_purchases
from .._registry._stores import Store, earlier_registry_dirs, keep_ssh_config, pin_host_keys, registry_dir, store_of

Api = t.TypeVar("Api", bound=SupplyApi)


class Registries(contextlib.AbstractContextManager["Registries"]):
    """The registries of one call of Ansible; as a context manager, it closes the connection to the database.

    With a ``url``, all hosts use the shared registry. With ``read_only``, every change is refused, as the API's client
    does in check mode.
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
        """The registries for an operation's parameters. ``ahead``: the lead of the API's clock, as in `Session`."""
        url, *names = (params.get(name) or "" for name in ("registry_url", "api_url", "home", "account_name"))
        return cls(url, *names, ahead=ahead, read_only=read_only)

    def clock(self) -> lease.Clock:
        """The present time of each clock that can be read."""
        database = None
        with contextlib.suppress(RegistryError):  # its hosts fail for this error later
            database = self.database().now() if self._url else None
        return lease.Clock.of(time.time(), self.ahead(), database)

    def note_api_clock(self, ahead: float | None) -> None:
        """Use the lead of the API's clock that an earlier step has measured, until this step has asked the API itself.

        ``ahead``: seconds by which the API's clock is ahead of this computer's; None if the API did not say.
        """
        asked = self.ahead
        self.ahead = lambda: ahead if asked() is None else asked()

    @property
    def account(self) -> str:
        """The account that is billed: the API's URL, and the account's name if the user gave one.

        Not the token, which may be replaced. Raises RegistryError.
        """
        try:
            return " ".join(filter(None, (http.check_base_url(self._api_url), self._account_name)))
        except ValueError as error:
            raise RegistryError(f"api_url {error}.") from None

    def place(self, host: t.Mapping[str, t.Any], call: t.Mapping[str, t.Any]) -> Place:
        """The place of a host (``project``, ``registry_dir``, ``inventory_dir``) of a call (``sources``, ``here``).

        Even if the call has a shared registry, some of its hosts may use files: their ``shared`` is false.
        """
        shared = self._url and host.get("shared", True)
        return SharedProject(project_of(host["project"])) if shared else self.folder(host, call)

    def places(self, call: t.Mapping[str, t.Any]) -> dict[str, Place]:
        """The place of each of the ``hosts`` of a call."""
        return {raw["host"]: self.place(raw, call) for raw in call["hosts"]}

    @staticmethod
    def folder(host: t.Mapping[str, t.Any], call: t.Mapping[str, t.Any]) -> Place:
        """The folder for the host's file, even if the host uses the shared registry."""
        return place_of(registry_dir(host["registry_dir"], host["inventory_dir"], call["sources"], call["here"]))

    def at(self, place: Place) -> Store:
        """The registry of a place."""
        return store_of(place, self)

    def of_plan(self, plan: t.Mapping[str, t.Any]) -> Registry | None:
        """The registry of the host that a plan is about; None if it has none. Raises RegistryError."""
        return self.at(place_of(plan["registry"])).host(plan["host"])

    def stale_file_refusal(self, host: t.Mapping[str, t.Any], call: t.Mapping[str, t.Any], offer_id: str) -> str:
        """Why a host with a shared registry must wait: its old file names another purchase. Empty if it may go on."""
        if not self._url:
            return ""
        folder, name = self.folder(host, call), str(host["host"])
        try:
            entry, _now = self.at(folder).entry(name)
        except RegistryError as error:
            return str(error)
        return why_not_imported(folder.entry_file(name), entry, offer_id)

    def bought_elsewhere(
        self, host: t.Mapping[str, t.Any], call: t.Mapping[str, t.Any], own: Place, places: t.Iterable[Place]
    ) -> t.Iterator[str]:
        """Messages about purchases of a host without an entry in its ``own`` place that another folder remembers.

        It may be a folder of the call's inventories, or one of these ``places`` of its hosts.
        """
        name = str(host["host"])
        if os.path.exists(own.entry_file(name)):
            return
        earlier = map(Folder, earlier_registry_dirs(host["registry_dir"], call["sources"], call["here"]))
        yield from standing.bought_elsewhere(
            name, project_of(host["project"]), own, [*earlier, *places], lambda place: self.at(place).entry(name)[0]
        )

    def nearby(self, call: t.Mapping[str, t.Any]) -> list[Place]:
        """The folders that runs with another inventory may have had as registries, and that this call does not have."""
        wanted = dict.fromkeys(host["registry_dir"] for host in call["hosts"])
        paths = (path for each in wanted for path in earlier_registry_dirs(each, call["sources"], call["here"]))
        own = set(self.places(call).values())
        return [folder for folder in dict.fromkeys(map(Folder, paths)) if folder not in own]

    def ledger(self, places: t.Iterable[Place], since: float = 0.0) -> Ledger:
        """The combined ledger of these places since a moment (seconds since the epoch). Raises RegistryError."""
        return combined_ledger([self.at(place).ledger(since) for place in dict.fromkeys(filter(None, places))], since)

    def ended_bills(self, places: t.Iterable[Place], unclaimed: t.Iterable[Machine]) -> list[Bill]:
        """The bills in these ledgers of unclaimed resources that have ended, although a lagging list still shows them.

        Empty if the ledgers cannot be read.
        """
        ids = {id_of(machine) for machine in unclaimed}
        with contextlib.suppress(RegistryError):
            return self.ledger(places if ids else ()).over(ids)
        return []

    def end_stray(self, place: Place, entry: Entry) -> Bill | None:
        """Note that a stray machine or kept storage is gone, and return its bill. Raises RegistryError."""
        registry = t.cast(Registry, self.at(place).host(entry.storage_of))
        return registry.end_stray(entry.offer_id, entry.resource_ids)

    def pin_host_keys(self, place: Place, host: str, entry: Entry) -> None:
        """Pin the host keys that other controllers have seen; without them, ssh would accept any key that answers.

        Raises RegistryError: if their file cannot be written, ssh would accept any key each time.
        """
        if shares_host_keys(entry.ssh_trust, place.keeps_host_keys):
            file = self.at(place).known_hosts(host, entry.offer_id)
            with as_registry_error(f"{file}, which pins host keys (ANSIBLE_HOME), cannot be written"):
                pin_host_keys(file, entry.host_keys)

    def reached(self, place: Place, host: str, entry: Entry) -> Variables:
        """The variables that reach a host's machine. If its host keys cannot be pinned, ssh refuses all keys."""
        try:
            self.pin_host_keys(place, host, entry)
        except RegistryError:
            entry = replace(entry, ssh_trust="seeded")
        known_hosts = self.at(place).known_hosts(host, entry.offer_id)
        return dict(connection_variables(entry, known_hosts, is_shared=place.hands_facts))

    def note_late_purchases(self, unclaimed: t.Iterable[Machine], read: Read) -> list[str]:
        """Note machines that freed claims have bought after all, unless read-only. Returns a warning for each.

        ``read`` reads machines by their ids. Raises RegistryError.
        """
        machines = list(unclaimed) if self._url else []
        return list(note_late_purchases(self.database(), self.account, machines, read)) if machines else []

    def taken_offers(self, offers: t.Collection[str]) -> set[str]:
        """The offers among these that hosts of a shared registry have or had; a search may still list them.

        Empty if the registry cannot be read: then the purchase itself is refused.
        """
        with contextlib.suppress(RegistryError):
            return self.database().taken_offers(offers) if self._url else set()
        return set()

    def __exit__(self, *_error: object) -> None:
        if self._database is not None:
            self._database.close()

    def database(self, *, keep: bool = True) -> Database:
        """The shared database. Raises RegistryError.

        ``keep``: whether its connection stays open for the next step. Threads must not share a connection: after one
        call without ``keep``, each step opens its own.
        """
        if self._database is None:
            self._database = Database(self._url or "", {**_who(), "run": self.run}, keep=True, read_only=self.read_only)
        if not keep:
            self._database.stop_keeping()
        return self._database


_Function = t.Callable[[Api, Registries, Params, bool], Result]
_Opened = t.Callable[[Api, Params, bool], Result]


def with_registries(function: _Function[Api], reads_only: bool = False) -> _Opened[Api]:
    """Give a function the registries of its call, and close their connection afterwards.

    They are read-only in check mode and for a quote; with ``reads_only``, always.
    """

    @functools.wraps(function)
    def opened(api: Api, params: Params, check_mode: bool) -> Result:
        read_only = reads_only or check_mode or bool(params.get("quote"))
        with Registries.of(params, lambda: api.ahead, read_only=read_only) as registries:
            return function(api, registries, params, check_mode)

    return opened


def reading_registries(function: _Function[Api]) -> _Opened[Api]:
    """Give a function the registries of its call, read-only; see `with_registries`."""
    return with_registries(function, reads_only=True)


def this_run() -> str:
    """A name of this run, for messages in other runs."""
    return run_in_words(_who())


def _who() -> dict[str, str]:
    """The computer, user, process and AWX job of this run, by which people recognize it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = str(os.getuid())
    who = {"host": platform.node(), "user": user, "process": str(os.getpid())}
    if is_awx_job():
        who["job"] = os.environ["JOB_ID"]
    return who


# Entries


class RegistrySnapshot:
    """The entries of all hosts in these places, read once. An unreadable entry affects only its own host."""

    def __init__(self, registries: Registries, places: t.Iterable[Place]) -> None:
        self._read: dict[Place, Entries] = {}
        self._unread: dict[Place, str] = {}
        for place in dict.fromkeys(filter(None, places)):
            try:
                self._read[place] = registries.at(place).entries()
            except RegistryError as error:
                self._unread[place] = str(error)
        further = {key: entry for found in self._read.values() for key, entry in found.other_projects.items()}
        # The entries of other projects in the same database
        self._further = {key: entry for key, entry in further.items() if SharedProject(key[0]) not in self._read}

    @property
    def places(self) -> tuple[Place, ...]:
        """The places that can be read."""
        return tuple(self._read)

    def entry(self, place: Place, host: str) -> Entry:
        """The host's entry in the place; an empty entry if it has none."""
        return self.at(place).hosts.get(host) or read_entry(None)

    def trouble(self, place: Place, host: str) -> str:
        """Why the host's entry cannot be read, with the file's name; empty if it can."""
        return self._unread.get(place, "") or self.at(place).broken.get(host, "")

    def has_trouble(self, place: Place) -> bool:
        """Whether the place, or an entry in it, cannot be read."""
        return bool(self._unread.get(place) or self.at(place).broken)

    def host_entries(self) -> t.Iterator[tuple[Place, str, Entry]]:
        """Each entry that can be read, with its place and host."""
        return ((place, host, entry) for place, found in self._read.items() for host, entry in found.hosts.items())

    def account_entries(self, without: t.Container[str] = ()) -> list[tuple[str, Entry]]:
        """All entries of the account, by names for people, without the entries of these hosts."""
        own = ((host, entry) for _place, host, entry in self.host_entries() if host not in without)
        return [*own, *self.other_entries()]

    def claims(self, without: t.Container[str] = ()) -> list[OwnershipClaim]:
        """The ownership claims of all entries of the account, without those of these hosts."""
        return [noted_claim(host, entry) for host, entry in self.account_entries(without)]

    def other_entries(self) -> t.Iterable[tuple[str, Entry]]:
        """The entries of other projects in the shared registry, and stray machines and kept storage of all hosts."""
        others = {name: entry for (_project, name), entry in self._further.items()}
        return {**others, **self.stray_entries()}.items()

    def other_project_entries(self) -> t.Iterator[tuple[str, Entry]]:
        """Each entry of another project in the shared registry, with the project's name."""
        return ((project, entry) for (project, _name), entry in self._further.items())

    def stray_entries(self) -> dict[str, Entry]:
        """Stray machines and kept storage, by names for people."""
        return {name: entry for _place, name, entry in self.strays()}

    def strays(self) -> t.Iterator[tuple[Place, str, Entry]]:
        """Stray machines and kept storage: the place, the name for people, and the entry."""
        return ((place, name, entry) for place, found in self._read.items() for name, entry in found.strays.items())

    def storage_of(self, place: Place, host: str) -> tuple[Storage, ...]:
        """The storage that the host keeps after the end of its machines."""
        return storage_kept_by(host, self.at(place).strays.values())

    def wrong_project(self, place: Place, host: str, project: str) -> str:
        """Why the host's file belongs to another project; empty if it does not."""
        return another_project(host, place.entry_file(host), self.entry(place, host), project)

    def hosts(self, named: t.Container[str]) -> dict[str, list[str]]:
        """The hosts with an entry, readable or not, and the groups that it notes.

        Hosts in ``named`` are included even if they only keep storage: a shared registry removes a host's entry when
        its machine ends.
        """
        broken: dict[str, list[str]] = {host: [] for found in self._read.values() for host in found.broken}
        kept = [(entry.storage_of, entry) for entry in self.stray_entries().values() if entry.storage_of in named]
        entries = [*kept, *((host, entry) for _place, host, entry in self.host_entries())]
        return {**broken, **{host: list(entry.groups) for host, entry in entries}}

    def at(self, place: Place) -> Entries:
        """The entries of a place; empty if it cannot be read."""
        return self._read.get(place, Entries())

    def warnings(self, without: t.Container[str] = ()) -> list[str]:
        """Why places and entries cannot be read. The hosts in ``without`` are left out: they fail for it themselves."""
        broken = [(host, text) for found in self._read.values() for host, text in found.broken.items()]
        return [*self._unread.values(), *(text for host, text in broken if host not in without)]


def warnings_nearby(registries: Registries, call: t.Mapping[str, t.Any]) -> list[str]:
    """A warning for each folder nearby that has machines, but is no registry of this call."""
    return list(standing.known_nearby(RegistrySnapshot(registries, registries.nearby(call)).host_entries()))


def update_ssh_config(registries: Registries, places: t.Iterable[Place]) -> list[str]:
    """Write the file ``.ssh_config`` of each of these places, unless the registries are read-only.

    A failure is returned as a warning, since nothing depends on these files.
    """
    warnings = []
    for place in dict.fromkeys(place for place in places if place.ssh_config and not registries.read_only):
        try:
            keep_ssh_config(place.ssh_config, functools.partial(_ssh_config_of, registries.at(place)))
        except RegistryError as error:
            warnings.append(str(error))
    return warnings


def _ssh_config_of(store: Store) -> str | None:
    """The ssh configuration for all machines of a folder; None if it has none."""
    return connection.render(
        ssh_machines(host, entry, store.known_hosts(host, entry.offer_id))
        for host, entry in store.entries().hosts.items()
    )


def claim_by_name(host: t.Mapping[str, t.Any]) -> OwnershipClaim:
    """The claim of a host (``host``, ``name``, ``known``) without a registry, whose name is its identity."""
    return claim_of(host["host"], str(host["name"]), read_entry(host["known"]), by_name=True)


def hosts_without_registry(params: Params, places: t.Mapping[str, Place]) -> list[t.Mapping[str, t.Any]]:
    """The hosts that declare something and have no registry, so that their names are their identities."""
    return [host for host in params["hosts"] if host["declares"] and not places[host["host"]]]


def registry_entries(params: Params) -> list[tuple[str, Entry]]:
    """All entries of the registry that a purchase names (by ``registry_url`` and ``project``, or ``registry_file``)."""
    place = place_of_purchase(*map(params.get, ("registry_url", "project", "registry_file")))
    with Registries.of(params, read_only=True) as registries:
        return RegistrySnapshot(registries, [place]).account_entries()


def registry_claims(params: Params) -> list[OwnershipClaim]:
    """The ownership claims of all hosts in the registry that a purchase names."""
    return [noted_claim(host, entry) for host, entry in registry_entries(params)]


class LastSweeps:
    """When the leases of each registry were last enforced; each is read once."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries
        self._of = functools.cache(self._read)

    def trouble(self, place: Place, *, refused: bool) -> str:
        """The warning or, if ``refused``, the refusal for a lease in a place that is not swept regularly; else empty.

        Empty also if the place cannot be read.
        """
        known = self._of(place)
        return "" if known is None else lease.unswept(*known, refused=refused, by_job=is_awx_job())

    def since(self, place: Place) -> float | None:
        """The seconds since the leases in this place were last enforced; None if unknown."""
        swept, now = self._of(place) or (None, 0.0)
        return None if swept is None else now - swept

    def warnings(self, places: t.Iterable[Place]) -> list[str]:
        """The warnings about leases in these places, each once."""
        return list(dict.fromkeys(filter(None, (self.trouble(place, refused=False) for place in places))))

    def _read(self, place: Place) -> tuple[float | None, float] | None:
        """The times of the last sweep and of now, by the same clock; None if the place cannot be read."""
        try:
            store = self._registries.at(place)
            return (store.last_sweep(), store.now()) if place else None
        except RegistryError:  # its hosts fail for this error
            return None


@dataclass(frozen=True)
class RegisteredMachine:
    """A machine as its registry describes it.

    ``host``: its name as a host. ``owner``: the host that bought it; in a cluster, the host of the first machine.
    ``variables``: its host variables. ``address``: how it was reached when it was registered; empty if it never was.
    """

    host: str
    owner: str
    variables: Variables
    entry: Entry
    address: Variables


def registered_machines(registries: Registries, place: Place) -> dict[str, RegisteredMachine]:
    """The machines of all hosts in the place, by resource id. Raises Failure.

    Pins the host keys that other controllers have seen, so that this controller can reach the machines.
    """
    store = registries.at(place)
    result: dict[str, RegisteredMachine] = {}
    with refusing(RegistryError), registries:
        for host, entry in store.entries().hosts.items():
            registries.pin_host_keys(place, host, entry)
            known_hosts = store.known_hosts(host, entry.offer_id)
            result.update(_machines_of_host(host, entry, known_hosts, place.identity_file(entry)))
    return result


def _machines_of_host(
    host: str, entry: Entry, known_hosts: str, identity: str
) -> t.Iterator[tuple[str, RegisteredMachine]]:
    """The machine of the host, and the further machines of its cluster, which become hosts of the same groups."""
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
