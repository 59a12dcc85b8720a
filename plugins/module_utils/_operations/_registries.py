# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registries of a call: a folder of files, or the database that several controllers share.

A place is where a host is remembered: a folder, a project of the shared registry, or nothing. This module util is
private to the collection.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import platform
import typing as t
import uuid

from .. import _http
from .._api import SupplyApi
from .._operation import Params, Result
from .._provision import messages
from .._provision.entry import read_entry
from .._provision.lease import moment_of, utc
from .._provision.ownership import Machine
from .._provision.place import entry_file, is_shared
from .._provision.spending import Bill, Ledger
from .._registry import _files, _postgresql
from .._registry._files import HostFile
from .._registry._place import known_hosts_file, pinned_of, project_of, registry_dir, shared_place
from .._registry._postgresql import Ceilings, Database
from .._registry._protocol import Registry, RegistryError, run_of
from .._registry._shared import Entries, SharedHost, entries_of, take_late

Api = t.TypeVar("Api", bound=SupplyApi)


class Registries:
    """The registries of one call of Ansible. With a ``url`` all hosts are in that one, by projects."""

    def __init__(self, url: str | None, api_url: str, home: str = "", account_name: str = "") -> None:
        self._url = url
        self._api_url = api_url
        self._account_name = account_name
        self._home = home
        self._run = str(uuid.uuid4())
        self._database: Database | None = None

    @classmethod
    def of(cls, params: Params) -> Registries:
        """Those of an operation's parameters."""
        names = ("api_url", "home", "account_name")
        return cls(params.get("registry_url"), *(params.get(name) or "" for name in names))

    @property
    def account(self) -> str:
        """What machines are billed to: the API that bills it, and a name of the user's; a token may be replaced.

        Raises RegistryError.
        """
        try:
            return " ".join(filter(None, (_http.check_base_url(self._api_url), self._account_name)))
        except ValueError as error:
            raise RegistryError(f"api_url {error}.") from None

    def place(self, host: t.Mapping[str, t.Any], call: t.Mapping[str, t.Any]) -> str:
        """Where a host (``project``, ``registry_dir``, ``inventory_dir``) of a call (``sources``, ``here``) is kept."""
        return shared_place(host["project"]) if self._url else self.folder(host, call)

    @staticmethod
    def folder(host: t.Mapping[str, t.Any], call: t.Mapping[str, t.Any]) -> str:
        """The folder of the host's file, also where it is not used."""
        return registry_dir(host["registry_dir"], host["inventory_dir"], call["sources"], call["here"])

    def left_behind(self, host: t.Mapping[str, t.Any], call: t.Mapping[str, t.Any], offer_id: str) -> str:
        """Why a host must wait whose file, which is not used any more, names another purchase than this one."""
        path = entry_file(self.folder(host, call), str(host["host"])) if self._url else ""
        if not path or not os.path.exists(path):
            return ""
        try:
            entry = read_entry(HostFile(path).read())
        except RegistryError as error:
            return str(error)
        left = entry.offer_id if entry.may_have_bought else ""
        return messages.not_imported(path, left) if left not in ("", offer_id) else ""

    def make(self, check_mode: bool) -> bool:
        """Make the tables of the shared registry; whether there were none. Raises RegistryError."""
        database = self._shared(keep=True)
        missing = not database.has_tables()
        if missing and not check_mode:
            database.make_tables()
        return missing

    def host(self, place: str, host: str, ceilings: Ceilings | None = None) -> Registry | None:
        """The memory of one host; None where there is none. Raises RegistryError."""
        if not place:
            return None
        if not is_shared(place):
            return HostFile(entry_file(place, host), this_run())
        database = self._shared(keep=ceilings is None)
        return SharedHost(database, project_of(place), host, self.account, run=self._run, ceilings=ceilings)

    def entries(self, place: str) -> Entries:
        """All that the place remembers. Raises RegistryError."""
        if not is_shared(place):
            return Entries(*_files.entries(place))
        return entries_of(self._shared(keep=True).counted(), project_of(place), self.account, self._run)

    def swept(self, place: str) -> float | None:
        """When the leases of the place were enforced last (seconds since the epoch), None if that was never noted.

        Raises RegistryError.
        """
        if is_shared(place):
            moment = self._shared(keep=True).swept(project_of(place))
            return None if moment is None else moment.timestamp()
        return moment_of(_files.swept(place))

    def note_sweep(self, place: str, now: float) -> None:
        """Note that they were enforced now (seconds since the epoch). Raises RegistryError."""
        if is_shared(place):
            self._shared(keep=True).note_sweep(project_of(place))
        else:
            _files.note_sweep(place, utc(now))

    def ledger(self, place: str, since: float = 0.0) -> Ledger:
        """What was or may be billed since a moment, of all hosts of the place. Raises RegistryError."""
        if is_shared(place):
            return self._shared(keep=True).ledger(project_of(place), since)
        return _files.ledger(place, since)

    def note_ended(self, bills: t.Sequence[Bill]) -> int:
        """Note in the shared registry what has ended in files; how many it did not know. Raises RegistryError."""
        return self._shared(keep=True).note_ended(self.account, bills)

    def name(self, place: str) -> str:
        """What a place is called for people, without a secret. Raises RegistryError."""
        return f"{self._shared(keep=True).place}, project {project_of(place)}" if is_shared(place) else place

    def known_hosts(self, place: str, host: str, offer_id: str) -> str:
        """The file that pins the host keys of a purchase; empty without a registry."""
        return pinned_of(self._home, offer_id) if is_shared(place) else known_hosts_file(entry_file(place, host))

    def take_late(self, unclaimed: t.Iterable[Machine]) -> list[str]:
        """Note what freed claims have bought after all; a warning for each. Raises RegistryError."""
        machines = list(unclaimed) if self._url else []
        return take_late(self._shared(keep=True), self.account, machines) if machines else []

    def close(self) -> None:
        """Leave no connection open."""
        if self._database is not None:
            self._database.close()

    def _shared(self, *, keep: bool) -> Database:
        if self._database is None:
            self._database = Database(
                self._url or "",
                {**_who(), "run": self._run},
                hold=_postgresql.HOLD,
                patience=_postgresql.PATIENCE,
                facts_patience=_postgresql.FACTS_PATIENCE,
                keep=keep,
            )
        return self._database


def with_registries(
    function: t.Callable[[Api, Registries, Params, bool], Result],
) -> t.Callable[[Api, Params, bool], Result]:
    """The operation of a function that also gets the registries of its call, which leaves no connection open."""

    @functools.wraps(function)
    def opened(api: Api, params: Params, check_mode: bool) -> Result:
        with contextlib.closing(Registries.of(params)) as registries:
            return function(api, registries, params, check_mode)

    return opened


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
    # AWX sets both for its jobs.
    if os.environ.get("AWX_HOST") and os.environ.get("JOB_ID"):
        who["job"] = os.environ["JOB_ID"]
    return who
