# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered in a place, whichever kind it is: the one file that tells folders and databases apart."""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from .._provision import acceptance, lease
from .._provision.entry import TESTED, Entry, read_entry
from .._provision.place import Folder, Place, SharedProject
from .._provision.spending import Ledger
from . import _files
from ._files import SWEPT, HostFile, known_hosts_file, known_hosts_of_offer, read_text
from ._postgresql import Ceilings, Database
from ._protocol import Entries, ReadsOnly, Registry, RegistryError, Variables, explained
from ._shared import SharedHost, entries_of


class Session(t.Protocol):
    """What the registries of one call of Ansible have in common. The methods raise RegistryError.

    ``run``: an id that no other call has; ``who``: this run, as others name it; ``home``: Ansible's own folder;
    ``account``: what machines are billed to; ``ahead``: seconds by which the API's clock is ahead, None if unknown;
    ``read_only``: nothing is changed in them.
    """

    run: str
    who: str
    home: str
    read_only: bool
    ahead: t.Callable[[], float | None]

    @property
    def account(self) -> str:
        """What machines are billed to."""

    def database(self, *, keep: bool = True) -> Database:
        """The shared registry; ``keep``: its connection may stay open for the next step."""


class Store:
    """The registry of a place; this class itself remembers nothing. All but `known_hosts` raise RegistryError."""

    def host(self, host: str, ceilings: Ceilings | None = None) -> Registry | None:
        """The memory of one host; None where there is none. With ``ceilings`` it is asked about one purchase."""
        return None

    def entries(self) -> Entries:
        """All that is remembered."""
        return Entries()

    def ledger(self, since: float = 0.0) -> Ledger:
        """What was or may be billed since a moment (seconds since the epoch), of all hosts."""
        return Ledger((), since)

    def unsettled(self, *, everywhere: bool = False) -> list[tuple[Place, str]]:
        """Places and hosts of purchases whose runs are gone and that any run may settle; of a file its host alone may.

        ``everywhere``: of all projects of this account.
        """
        return []

    def swept(self) -> float | None:
        """When the leases were enforced last (seconds since the epoch), None if that was never noted."""
        return None

    def now(self) -> float:
        """What time it is by the clock that notes that (seconds since the epoch)."""
        return time.time()

    def note_sweep(self, now: float) -> None:
        """Note that they were enforced now (seconds since the epoch)."""

    def entry(self, host: str) -> tuple[Entry, float]:
        """What is remembered of a host, an empty entry of nothing; and what time it is by the clock that noted it."""
        registry = self.host(host)
        entry = read_entry(registry.read() if registry else None)
        return entry, registry.now() if registry else time.time()

    def evidence(self, since: float) -> tuple[list[Variables], list[str]]:
        """What was kept against machines since a moment (seconds since the epoch), and what of it cannot be read."""
        return [], []

    def keep_evidence(self, host: str, whole: t.Mapping[str, t.Any]) -> str:
        """Keep what speaks against a host's machine, durably, and return where it is.

        Empty where there is no registry, or it is only read.
        """
        return ""

    def note_test(self, report: acceptance.Report) -> tuple[acceptance.Report, str]:
        """Note how the test of a host's machines has gone. Never raises.

        Returns the report beside what is remembered of the host, and why it could not be noted, else empty.
        """
        try:
            registry = self.host(report.host)
            if registry:
                entry = read_entry(registry.read())
                report = report.as_noted(entry, registry.now())
                if report.is_tested and entry.resource_ids and not registry.read_only:
                    registry.compare_and_set({TESTED: report.noted(registry.now())})
        except RegistryError as error:
            return report, str(error)
        return report, ""

    def name(self) -> str:
        """What the place is called for people, without a secret."""
        return ""

    def known_hosts(self, host: str, offer_id: str) -> str:
        """The file that pins the host keys of a purchase; empty without a registry."""
        return ""


class _FolderStore(Store):
    def __init__(self, place: Folder, session: Session) -> None:
        self._place, self._path, self._session = place, place.path, session

    def host(self, host: str, ceilings: Ceilings | None = None) -> Registry | None:
        session, path = self._session, self._place.entry_file(host)
        return HostFile(path, session.who, session.ahead, read_only=session.read_only)

    def entries(self) -> Entries:
        return _files.entries(self._path)

    def ledger(self, since: float = 0.0) -> Ledger:
        return _files.ledger(self._path, since)

    def swept(self) -> float | None:
        path = os.path.join(self._path, SWEPT)
        with explained(f"The file {path} cannot be read"):
            return lease.moment_of((read_text(path) or "").strip())

    def note_sweep(self, now: float) -> None:
        if self._session.read_only:
            raise ReadsOnly(self._path)
        # It is made if it would lie in a folder that there is: the first purchase, too, must know that sweeps run.
        if os.path.isdir(os.path.dirname(self._path)):
            _files.write_beside_entries(os.path.join(self._path, SWEPT), f"{lease.utc_rounded_up(now)}\n")

    def keep_evidence(self, host: str, whole: t.Mapping[str, t.Any]) -> str:
        path = self._place.evidence_file(host, str(whole["offer_id"]))
        if self._session.read_only:
            return ""
        _files.write_beside_entries(path, json.dumps(whole, indent=1))
        return path

    def evidence(self, since: float) -> tuple[list[Variables], list[str]]:
        folder, paths = self._place.evidence_folder, list[str]()
        with explained(f"The folder {folder} cannot be read"), contextlib.suppress(FileNotFoundError):
            paths = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".json"))
        kept, unread = [], []
        for path in paths:
            try:
                kept.append(dict(json.loads(read_text(path) or "")))
            except (OSError, ValueError, TypeError, RecursionError):
                unread.append(f"The evidence {path} cannot be read, so the place of its machine may not be avoided.")
        return kept, unread

    def name(self) -> str:
        return self._path

    def known_hosts(self, host: str, offer_id: str) -> str:
        return known_hosts_file(self._place.entry_file(host))


class _SharedStore(Store):
    def __init__(self, place: SharedProject, session: Session) -> None:
        self._project, self._session = place.project, session

    def host(self, host: str, ceilings: Ceilings | None = None) -> Registry | None:
        database, account = self._session.database(keep=ceilings is None), self._session.account
        return SharedHost(database, self._project, host, account, run=self._session.run, ceilings=ceilings)

    def entries(self) -> Entries:
        return entries_of(self._session.database().counted(), self._project, self._session.account, self._session.run)

    def ledger(self, since: float = 0.0) -> Ledger:
        return self._session.database().ledger(self._project, since)

    def unsettled(self, *, everywhere: bool = False) -> list[tuple[Place, str]]:
        # Not kept: what settles them takes steps in threads.
        rows = self._session.database(keep=False).counted(None if everywhere else self._project)
        mine = [row for row in rows if row.needs_settling and row.account == self._session.account]
        return [(SharedProject(row.project), row.host) for row in mine]

    def swept(self) -> float | None:
        return self._session.database().swept(self._project)

    def now(self) -> float:
        return self._session.database().now()

    def note_sweep(self, now: float) -> None:
        self._session.database().note_sweep(self._project)

    def keep_evidence(self, host: str, whole: t.Mapping[str, t.Any]) -> str:
        registry = t.cast(Registry, self.host(host))
        if registry.read_only:
            return ""
        registry.read()
        registry.note({acceptance.EVIDENCE: acceptance.fitted_to_note(whole)})
        return self.name()

    def evidence(self, since: float) -> tuple[list[Variables], list[str]]:
        return self._session.database().evidence(self._project, since), []

    def name(self) -> str:
        return f"{self._session.database().place}, project {self._project}"

    def known_hosts(self, host: str, offer_id: str) -> str:
        return known_hosts_of_offer(self._session.home, offer_id)


def store_of(place: Place, session: Session) -> Store:
    """The registry of the place."""
    if isinstance(place, SharedProject):
        return _SharedStore(place, session)
    return _FolderStore(place, session) if isinstance(place, Folder) else Store()
