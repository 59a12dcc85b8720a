# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registries of a call: a folder of files, or the database that several controllers share."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import platform
import time
import typing as t
import uuid

from .._ansible.operation import Params, Result
from .._api import http
from .._api.client import SupplyApi
from .._provision import moving
from .._provision.clock import Clock
from .._provision.entry import Entry, read_entry
from .._provision.ownership import Machine
from .._provision.place import NOWHERE, Place, SharedProject, place_of
from .._provision.spending import Bill, Ledger
from .._registry._folder import registry_dir
from .._registry._pins import pin
from .._registry._postgresql import Database
from .._registry._protocol import Registry, RegistryError, run_of
from .._registry._shared import Read, late_of, take_late
from .._registry._stores import Store, store_of

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
        self.run = str(uuid.uuid4())
        self._database: Database | None = None
        self.ahead = ahead

    @classmethod
    def of(cls, params: Params, ahead: t.Callable[[], float | None] = lambda: None, *, read_only: bool) -> Registries:
        """Those of an operation's parameters. ``ahead``: seconds by which the API's clock is ahead, None if unknown."""
        url, *names = (params.get(name) or "" for name in ("registry_url", "api_url", "home", "account_name"))
        return cls(url, *names, ahead=ahead, read_only=read_only)

    def clock(self) -> Clock:
        """What time it is now, by each clock that can be read."""
        return Clock.of(time.time(), self.ahead(), self._database_time())

    def recall(self, ahead: float | None) -> None:
        """Measure by what an earlier step has learnt of the API's clock, as long as this one has asked the API nothing.

        ``ahead``: seconds by which it is ahead of this computer's; None if it did not say.
        """
        asked = self.ahead
        self.ahead = lambda: ahead if asked() is None else asked()

    def _database_time(self) -> float | None:
        with contextlib.suppress(RegistryError):  # which its hosts fail for
            return self.database(keep=True).now() if self._url else None
        return None

    @property
    def who(self) -> str:
        """This run, as others name it."""
        return this_run()

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
        return SharedProject(host["project"] or "default") if shared else self.folder(host, call)

    def places(self, call: t.Mapping[str, t.Any], project: str | None = None) -> dict[str, Place]:
        """The same of all ``hosts`` of a call; of one project those, too, that are not asked about (``elsewhere``).

        What counts a project reads all of these.
        """
        if project is None:
            return {raw["host"]: self.place(raw, call) for raw in call["hosts"]}
        hosts = [raw for raw in (*call["hosts"], *call["elsewhere"]) if (raw["project"] or "default") == project]
        return {raw["host"]: self.place(raw, call) for raw in hosts}

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

    def left_behind(self, host: t.Mapping[str, t.Any], call: t.Mapping[str, t.Any], offer_id: str) -> str:
        """Why a host must wait whose file, which is not used any more, names another purchase than this one."""
        folder = self.folder(host, call) if self._url else NOWHERE
        try:
            file = self.at(folder).host(str(host["host"]))
            entry = read_entry(file.read() if file else None)
        except RegistryError as error:
            return str(error)
        return moving.left_behind(folder.entry_file(str(host["host"])), entry, offer_id)

    def make(self, check_mode: bool) -> bool:
        """Make the tables of the shared registry; whether there were none. Raises RegistryError."""
        database = self.database(keep=True)
        missing = not database.has_tables()
        if missing and not check_mode:
            database.make_tables()
        return missing

    def ledger(self, places: t.Iterable[Place], since: float = 0.0) -> Ledger:
        """What was or may be billed since a moment, of all hosts of these places together. Raises RegistryError."""
        return together([self.at(place).ledger(since) for place in dict.fromkeys(filter(None, places))], since)

    def end_stray(self, place: Place, entry: Entry) -> Bill | None:
        """Note that what a host had beside its own machine is gone, and what it has cost. Raises RegistryError."""
        if not entry.storage_of:
            return self.database(keep=True).end_stray(entry.offer_id, entry.resource_ids)
        return t.cast(Registry, self.at(place).host(entry.storage_of)).end_storage(entry.offer_id)

    def pin(self, place: Place, host: str, entry: Entry) -> None:
        """Let ssh know the host keys that other controllers have seen; without them it takes the one that answers."""
        if place.keeps_host_keys:
            with contextlib.suppress(OSError):
                pin(self.at(place).known_hosts(host, entry.offer_id), entry.host_keys)

    def take_late(self, unclaimed: t.Iterable[Machine], read: Read) -> list[str]:
        """Note what freed claims have bought after all, unless this only reads; a warning for each.

        ``read`` asks for machines by their ids. Raises RegistryError.
        """
        machines = list(unclaimed) if self._url else []
        late = late_of(self.database(keep=True), self.account, machines, read) if machines else []
        if self.read_only:
            return [item.told(would=True) for item in late]
        return [take_late(self.database(keep=True), item) for item in late]

    def __exit__(self, *_error: object) -> None:
        if self._database is not None:
            self._database.close()

    def database(self, *, keep: bool) -> Database:
        """The database that all controllers share. Raises RegistryError."""
        if self._database is None:
            self._database = Database(
                self._url or "",
                {**_who(), "run": self.run},
                keep=keep,
                read_only=self.read_only,
            )
        return self._database


def together(ledgers: t.Sequence[Ledger], since: float) -> Ledger:
    """What several registries know of the time since a moment (seconds since the epoch)."""
    return Ledger(
        tuple(bill for ledger in ledgers for bill in ledger.bills),
        max((ledger.now for ledger in ledgers), default=since),
        tuple(text for ledger in ledgers for text in ledger.warnings),
    )


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
    return run_of(_who())


def _who() -> dict[str, str]:
    """What tells a person which run this is."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = str(os.getuid())
    who = {"host": platform.node(), "user": user, "process": str(os.getpid())}
    if is_job():
        who["job"] = os.environ["JOB_ID"]
    return who


def is_job() -> bool:
    """Whether AWX runs this."""
    return all(os.environ.get(name) for name in ("AWX_HOST", "JOB_ID"))
