# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered in a place, whichever kind it is: the one file that tells folders and databases apart.

This module util is private to the collection.
"""

from __future__ import annotations

import typing as t

from .._provision import lease
from .._provision.place import Folder, Place, SharedProject
from .._provision.spending import Ledger
from . import _files
from ._files import HostFile
from ._place import known_hosts_file, pinned_of
from ._postgresql import Ceilings, Database
from ._protocol import Entries, Registry
from ._shared import SharedHost, entries_of


class Session(t.Protocol):
    """What the registries of one call of Ansible have in common."""

    @property
    def run(self) -> str:
        """An id that no other call has."""

    @property
    def who(self) -> str:
        """This run, as others name it."""

    @property
    def home(self) -> str:
        """Ansible's own folder, for what is this controller's alone."""

    @property
    def account(self) -> str:
        """What machines are billed to. Raises RegistryError."""

    def database(self, *, keep: bool) -> Database:
        """The database that all controllers share. Raises RegistryError."""


class Store(t.Protocol):
    """The registry of a place. Each method but `known_hosts` raises RegistryError."""

    def host(self, host: str, ceilings: Ceilings | None = None) -> Registry | None:
        """The memory of one host; None where there is none. With ``ceilings`` it is asked about one purchase."""

    def entries(self) -> Entries:
        """All that is remembered."""

    def ledger(self, since: float = 0.0) -> Ledger:
        """What was or may be billed since a moment (seconds since the epoch), of all hosts."""

    def swept(self) -> float | None:
        """When the leases were enforced last (seconds since the epoch), None if that was never noted."""

    def note_sweep(self, now: float) -> None:
        """Note that they were enforced now (seconds since the epoch)."""

    def name(self) -> str:
        """What the place is called for people, without a secret."""

    def known_hosts(self, host: str, offer_id: str) -> str:
        """The file that pins the host keys of a purchase; empty without a registry."""


def store_of(place: Place, session: Session) -> Store:
    """The registry of the place."""
    if isinstance(place, SharedProject):
        return _SharedStore(place.project, session)
    return _FolderStore(place.path, session) if isinstance(place, Folder) else _NoStore()


class _NoStore:
    """Where nothing is remembered."""

    def host(self, host: str, ceilings: Ceilings | None = None) -> Registry | None:
        return None

    def entries(self) -> Entries:
        return Entries()

    def ledger(self, since: float = 0.0) -> Ledger:
        return Ledger((), since)

    def swept(self) -> float | None:
        return None

    def note_sweep(self, now: float) -> None:
        pass

    def name(self) -> str:
        return ""

    def known_hosts(self, host: str, offer_id: str) -> str:
        return ""


class _FolderStore:
    """The files of a folder."""

    def __init__(self, path: str, session: Session) -> None:
        self._path, self._session = path, session

    def host(self, host: str, ceilings: Ceilings | None = None) -> Registry | None:
        return HostFile(Folder(self._path).entry_file(host), self._session.who)

    def entries(self) -> Entries:
        return Entries(*_files.entries(self._path))

    def ledger(self, since: float = 0.0) -> Ledger:
        return _files.ledger(self._path, since)

    def swept(self) -> float | None:
        return lease.moment_of(_files.swept(self._path))

    def note_sweep(self, now: float) -> None:
        _files.note_sweep(self._path, lease.utc(now))

    def name(self) -> str:
        return self._path

    def known_hosts(self, host: str, offer_id: str) -> str:
        return known_hosts_file(Folder(self._path).entry_file(host))


class _SharedStore:
    """A project of the database."""

    def __init__(self, project: str, session: Session) -> None:
        self._project, self._session = project, session

    @property
    def _database(self) -> Database:
        return self._session.database(keep=True)

    def host(self, host: str, ceilings: Ceilings | None = None) -> Registry | None:
        database, account = self._session.database(keep=ceilings is None), self._session.account
        return SharedHost(database, self._project, host, account, run=self._session.run, ceilings=ceilings)

    def entries(self) -> Entries:
        return entries_of(self._database.counted(), self._project, self._session.account, self._session.run)

    def ledger(self, since: float = 0.0) -> Ledger:
        return self._database.ledger(self._project, since)

    def swept(self) -> float | None:
        moment = self._database.swept(self._project)
        return None if moment is None else moment.timestamp()

    def note_sweep(self, now: float) -> None:
        self._database.note_sweep(self._project)

    def name(self) -> str:
        return f"{self._database.place}, project {self._project}"

    def known_hosts(self, host: str, offer_id: str) -> str:
        return pinned_of(self._session.home, offer_id)
