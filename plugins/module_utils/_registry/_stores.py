# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of a place. Only this file distinguishes between folders and databases."""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from .._provision import acceptance, lease
from .._provision.entry import TESTED, Entry, read_entry
from .._provision.ledger import bills_of, clock_ahead, line_of_entry
from .._provision.place import Folder, Place, SharedProject
from .._provision.spending import Ledger
from .._provision.storage import label_of
from ._files import (
    LEDGER,
    SWEPT,
    HostFile,
    as_registry_error,
    known_hosts_file,
    locked,
    read_ledger,
    read_text,
    readable_text,
    unless_missing,
    write_durably,
    write_or_remove,
)
from ._postgresql import Ceilings, Database
from ._protocol import Entries, ReadOnlyRegistry, Registry, RegistryError, Variables
from ._shared import SharedHost, entries_of


class Session(t.Protocol):
    """The properties that all registries of one module or action call share. The methods raise RegistryError.

    ``run``: the call's unique id; ``who``: this run, as others name it; ``home``: Ansible's own folder; ``ahead``:
    seconds by which the API's clock is ahead, None if unknown; ``read_only``: the registries must not be changed.
    """

    run: str
    who: str
    home: str
    read_only: bool
    ahead: t.Callable[[], float | None]

    @property
    def account(self) -> str:
        """The account to which machines are billed."""

    def database(self, *, keep: bool = True) -> Database:
        """The shared registry. ``keep``: its connection may stay open for the next step."""


class Store:
    """The registry of a place; this base class has no entries. Each method but `known_hosts` raises RegistryError."""

    def host(self, host: str, ceilings: Ceilings | None = None) -> Registry | None:
        """The registry of one host, None without a registry. ``ceilings``: for a purchase under these."""
        return None

    def entries(self) -> Entries:
        """All entries."""
        return Entries()

    def ledger(self, since: float = 0.0) -> Ledger:
        """The bills of all hosts since a moment (seconds since the epoch), ended or not."""
        return Ledger((), since)

    def unsettled(self, *, everywhere: bool = False) -> list[tuple[Place, str]]:
        """Places and hosts of purchases whose runs are gone, and which any run may settle.

        Never a file's: only the run of its host may settle that. ``everywhere``: of all projects of this account.
        """
        return []

    def why_no_purchase(self) -> str:
        """Why no purchase can be noted here now, whatever is bought; empty if one can."""
        return ""

    def last_sweep(self) -> float | None:
        """When a sweep last enforced the leases (seconds since the epoch), None if none was noted."""
        return None

    def now(self) -> float:
        """The time (seconds since the epoch) by the clock that dates sweeps."""
        return time.time()

    def note_sweep(self, now: float) -> None:
        """Note that a sweep has enforced the leases ``now`` (seconds since the epoch)."""

    def entry(self, host: str) -> tuple[Entry, float]:
        """A host's entry, empty if there is none, and the time by the clock that noted it."""
        registry = self.host(host)
        entry = read_entry(registry.read() if registry else None)
        return entry, registry.now() if registry else time.time()

    def evidence(self, since: float) -> tuple[list[Variables], list[str]]:
        """Evidence against machines since a moment (seconds since the epoch), and sentences about unreadable files."""
        return [], []

    def keep_evidence(self, host: str, whole: t.Mapping[str, t.Any]) -> str:
        """Keep evidence against a host's machine, durably, and return its place.

        Returns an empty text without a registry, or if it is read-only.
        """
        return ""

    def note_test(self, report: acceptance.Report) -> tuple[acceptance.Report, str]:
        """Note the acceptance test of a host's machines. Never raises.

        Returns the report, compared with the host's entry, and why it could not be noted, else an empty text.
        """
        try:
            registry = self.host(report.host)
            if registry:
                entry = read_entry(registry.read())
                report = report.unless_ended(entry, registry.now())
                if report.is_tested and entry.resource_ids and not registry.read_only:
                    registry.compare_and_set({TESTED: report.summary(registry.now())})
        except RegistryError as error:
            return report, str(error)
        return report, ""

    def name(self) -> str:
        """The place in words for people, without secrets."""
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
        return entries(self._path)

    def ledger(self, since: float = 0.0) -> Ledger:
        return ledger(self._path, since)

    def last_sweep(self) -> float | None:
        path = os.path.join(self._path, SWEPT)
        with as_registry_error(f"The file {path} cannot be read"):
            return lease.moment_of((read_text(path) or "").strip())

    def note_sweep(self, now: float) -> None:
        if self._session.read_only:
            raise ReadOnlyRegistry(self._path)
        # Made as soon as its parent exists: even the first purchase must know that sweeps run.
        if os.path.isdir(os.path.dirname(self._path)):
            _write_file(os.path.join(self._path, SWEPT), f"{lease.utc_rounded_up(now)}\n")

    def keep_evidence(self, host: str, whole: t.Mapping[str, t.Any]) -> str:
        path = self._place.evidence_file(host, str(whole["offer_id"]))
        if self._session.read_only:
            return ""
        _write_file(path, json.dumps(whole, indent=1))
        return path

    def evidence(self, since: float) -> tuple[list[Variables], list[str]]:
        folder, paths = self._place.evidence_folder, list[str]()
        with as_registry_error(f"The folder {folder} cannot be read"), contextlib.suppress(FileNotFoundError):
            paths = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".json"))
        evidence, unread = [], []
        for path in paths:
            try:
                evidence.append(dict(json.loads(read_text(path) or "")))
            except (OSError, ValueError, TypeError, RecursionError):
                unread.append(f"The evidence {path} cannot be read, so its vendor and region may not be avoided.")
        return evidence, unread

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
        # No connection is kept: purchases are settled in threads.
        rows = self._session.database(keep=False).counted(None if everywhere else self._project)
        mine = [row for row in rows if row.needs_settling and row.account == self._session.account]
        return [(SharedProject(row.project), row.host) for row in mine]

    def why_no_purchase(self) -> str:
        with contextlib.suppress(RegistryError):  # its hosts fail for this error
            return self._session.database().why_no_claim
        return ""

    def last_sweep(self) -> float | None:
        return self._session.database().last_sweep(self._project)

    def now(self) -> float:
        return self._session.database().now()

    def note_sweep(self, now: float) -> None:
        self._session.database().note_sweep(self._project)

    def keep_evidence(self, host: str, whole: t.Mapping[str, t.Any]) -> str:
        registry = t.cast(Registry, self.host(host))
        if registry.read_only:
            return ""
        registry.read()
        registry.note({acceptance.EVIDENCE: acceptance.shortened_bundle(whole)})
        return self.name()

    def evidence(self, since: float) -> tuple[list[Variables], list[str]]:
        return self._session.database().evidence(self._project, since), []

    def name(self) -> str:
        return f"{self._session.database().place}, project {self._project}"

    def known_hosts(self, host: str, offer_id: str) -> str:
        folder = os.path.join(self._session.home, "compute_index_supply", "known_hosts")
        return os.path.join(folder, os.path.basename(offer_id) or "none")


def store_of(place: Place, session: Session) -> Store:
    """The registry of the place."""
    if isinstance(place, SharedProject):
        return _SharedStore(place, session)
    return _FolderStore(place, session) if isinstance(place, Folder) else Store()


# Folders: their entries and ledgers, their paths, and the files that ssh reads there


def entries(folder: str) -> Entries:
    """The entries of all hosts in a folder; none if it does not exist. Raises RegistryError if it cannot be listed."""
    found, folder, hosts = Entries(), os.path.abspath(folder), list[str]()
    with as_registry_error(f"The registry folder {folder} cannot be read"), unless_missing(folder):
        hosts = sorted(os.listdir(folder))
    for host in hosts:
        try:
            variables = HostFile(Folder(folder).entry_file(host)).read()
        except RegistryError as error:
            found.broken[host] = str(error)
            continue
        if variables is not None:
            found.hosts[host] = entry = read_entry(variables)
            for item in entry.kept_storage:
                found.strays[label_of(host, item.resource_id)] = read_entry(item.entry(host))
    return found


def ledger(folder: str, since: float = 0.0) -> Ledger:
    """The bills of all hosts in a folder since a moment (seconds since the epoch), ended or not.

    Raises RegistryError if the folder or its ledger cannot be read.
    """
    path = os.path.join(os.path.abspath(folder), LEDGER)
    known = entries(folder)
    held = [*known.hosts.items(), *((entry.storage_of, entry) for entry in known.strays.values())]
    lines, unread = read_ledger(path)
    lines += filter(None, (line_of_entry(host, entry) for host, entry in held))
    bills = bills_of(lines, known.broken, since)
    warnings = list(known.broken.values())
    if unread > 0:
        warnings.append(f"The ledger {path} has {unread} line(s) that cannot be read; a crash may have torn them.")
    return Ledger(tuple(bills), time.time() + clock_ahead(lines), tuple(warnings))


def _write_file(path: str, text: str) -> None:
    """Write a file durably. Raises RegistryError."""
    with as_registry_error(f"The file {path} cannot be written"):
        write_durably(path, text)


def registry_dir(wanted: object, inventory_dir: object, sources: t.Sequence[str], here: str) -> str:
    """The registry folder as an absolute path; empty if none is wanted.

    ``wanted``: provision_registry_dir. None means host_vars next to the inventory, where Ansible reads it back, but
    only in the folder of an inventory source, not in folders within it. Hosts that a play has added belong to no
    source; they use the first one's folder. Without an inventory file it is in the folder ``here``, where Ansible was
    started. A relative path starts at the inventory, not at the playbook, which may be in an installed collection.
    """
    if wanted is not None and not str(wanted).strip():
        return ""
    folders = inventory_folders(sources, here)
    inventory = os.path.realpath(str(inventory_dir or os.devnull))
    base = next((folder for folder in folders if os.path.realpath(folder) == inventory), next(iter(folders), here))
    path = "host_vars" if wanted is None else os.path.expanduser(os.path.expandvars(str(wanted)))
    return os.path.normpath(os.path.join(base, path))


def earlier_registry_dirs(wanted: object, sources: t.Sequence[str], here: str) -> list[str]:
    """The registry folders that a host may have had in earlier runs, with the inventories in another order.

    If it wants the usual folder: also the one without an inventory, and the one next to an inventory there.
    """
    usual = [] if wanted is not None else [f"{here}/host_vars", f"{here}/inventory/host_vars"]
    return [*usual, *(registry_dir(wanted, folder, sources, here) for folder in inventory_folders(sources, here))]


def inventory_folders(sources: t.Iterable[str], here: str) -> list[str]:
    """The folders of an inventory's sources, without duplicates; a comma-separated list of hosts has none.

    Links are not resolved: Ansible reads variables next to the link, not next to its target.
    """
    paths = [os.path.normpath(os.path.join(here, source)) for source in sources if "," not in source]
    folders = (path if os.path.isdir(path) else os.path.dirname(path) for path in paths if os.path.exists(path))
    return list(dict.fromkeys(folders))


def job_folders(sources: t.Iterable[str], here: str) -> list[str]:
    """The folders that AWX makes for one job and removes at its end: around the inventory, and the working folder."""
    return [here, *map(os.path.dirname, inventory_folders(sources, here))]


def inventory_around(path: str, sources: t.Iterable[str], here: str) -> str:
    """The outermost inventory folder that contains the path, or empty. Ansible reads or runs the files in it."""
    folders = [os.path.realpath(os.path.join(here, source)) for source in sources if "," not in source]
    real = os.path.realpath(path)
    around = [folder for folder in folders if os.path.isdir(folder) and os.path.commonpath([folder, real]) == folder]
    return min(around, key=len, default="")


def keep_ssh_config(path: str, text_now: t.Callable[[], str | None]) -> None:
    """Bring a registry's ssh configuration up to date; a text of None removes the file. Raises RegistryError.

    Does nothing if the folder is not writable.
    """
    with as_registry_error(f"The file {path} cannot be written"):
        if os.access(os.path.dirname(path), os.W_OK):
            with locked(path):
                text = text_now()
                if text != read_text(path):
                    write_or_remove(path, text)


def pinned_host_keys(path: str) -> list[str] | None:
    """The lines of a known_hosts file, None if it has none."""
    return readable_text(path).splitlines() or None


def pin_host_keys(path: str, keys: t.Sequence[str]) -> None:
    """Add lines to a known_hosts file. Makes its folder even if there are none to add. Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    if set(keys) <= set(pinned_host_keys(path) or ()):
        return
    with locked(path):
        write_durably(path, "".join(f"{line}\n" for line in dict.fromkeys([*(pinned_host_keys(path) or ()), *keys])))
