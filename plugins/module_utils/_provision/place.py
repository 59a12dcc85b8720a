# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The places where hosts are remembered: a folder of files, or a project of the registry that all controllers share.

A place says how its registry differs from others; the registry itself is in `_registry`. Plans carry places as texts
(`Place.text`), which only `place_of` reads. Pure: no file is looked at.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .entry import DEFAULT_PROJECT, Entry, project_of, without_local_paths

ENTRY = "compute_index_supply.yml"  # in the host's folder
EVIDENCE = ".evidence"  # a folder in the registry, of machines that did not pass their test
SSH_CONFIG = ".ssh_config"  # of all hosts, in the registry itself. Ansible does not read files that begin with a dot.
_SHARED = "shared:"  # what the text of a project begins with; that of a folder is its absolute path


@dataclass(frozen=True)
class Place:
    """Where a host is remembered. This class itself, which is false, is the place of hosts without a registry."""

    # Whether the registry compares sums with ceilings by itself, behind its gate
    keeps_sums: t.ClassVar[bool] = False
    # Whether host keys are in the entries, from which each controller writes a file for ssh
    keeps_host_keys: t.ClassVar[bool] = False
    # Whether a play must hand what is in the entry to the host, since Ansible does not read it by itself
    hands_facts: t.ClassVar[bool] = False

    @property
    def text(self) -> str:
        """The place in plain data, see `place_of`."""
        return ""

    @property
    def ssh_config(self) -> str:
        """The file by which ssh reaches all machines of the registry; empty if there is none."""
        return ""

    def __bool__(self) -> bool:
        return bool(self.text)

    def entry_file(self, host: str) -> str:
        """The file of a host's entry; empty without one."""
        return ""

    def entry_place(self, host: str) -> str:
        """Where the entry of a host is, in a message; empty without a registry."""
        return self.entry_file(host)

    def identity_file(self, entry: Entry) -> str:
        """The file of the private key for the machine of an entry; empty if nobody knows it here."""
        return entry.identity_file

    def remembered(self, facts: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """What an entry keeps of these variables of a host."""
        return dict(facts)


NOWHERE = Place()


@dataclass(frozen=True)
class Folder(Place):
    """A folder beside the inventory, with a file for each host in the host's folder; ``path`` is absolute."""

    path: str

    @property
    def text(self) -> str:
        return self.path

    @property
    def ssh_config(self) -> str:
        return os.path.join(self.path, SSH_CONFIG)

    def entry_file(self, host: str) -> str:
        return f"{self.path}/{host}/{ENTRY}"

    @property
    def evidence_folder(self) -> str:
        """The folder of evidence against machines."""
        return os.path.join(self.path, EVIDENCE)

    def evidence_file(self, host: str, offer_id: str) -> str:
        """The file of evidence against a machine of the host, named after its offer."""
        return os.path.join(self.evidence_folder, f"{host}-{offer_id}.json")


@dataclass(frozen=True)
class SharedProject(Place):
    """A project of the registry that all controllers share. Paths of this one mean nothing to the others."""

    keeps_sums = keeps_host_keys = hands_facts = True
    project: str = DEFAULT_PROJECT

    @property
    def text(self) -> str:
        return f"{_SHARED}{self.project}"

    def entry_place(self, host: str) -> str:
        return "the shared registry"

    def identity_file(self, entry: Entry) -> str:
        return ""  # each controller has its own

    def remembered(self, facts: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        return without_local_paths(facts)


def prefix_of(project: object) -> str:
    """What the names of a project's machines begin with, as the default of ``provision_resource_name`` has it."""
    return "" if project_of(project) == DEFAULT_PROJECT else f"{project}-"


def twin_of(project: str, host: str, name: str) -> str:
    """A host of another project whose machine has the same name, as ``team`` + ``a-b`` of ``team-a`` + ``b``; or empty.

    Names are a contract, and so is this form of theirs: machines that run have it.
    """
    if "-" not in project or name != prefix_of(project) + host:
        return ""
    first, _dash, rest = name.partition("-")
    return f"host {rest} of project {first}"


def place_of(text: str) -> Place:
    """The place of its text in a plan."""
    if text.startswith(_SHARED):
        return SharedProject(text[len(_SHARED) :])
    return Folder(text) if text else NOWHERE


def place_of_purchase(registry_url: str | None, project: str | None, registry_file: str | None) -> Place:
    """The place of a purchase by the options that name its registry; a file is in a folder of its host's."""
    if registry_url:
        return SharedProject(project_of(project))
    return Folder(os.path.dirname(os.path.dirname(os.path.abspath(registry_file)))) if registry_file else NOWHERE


def is_within(path: str, folders: t.Iterable[str]) -> bool:
    """Whether an absolute path is one of these, or below one."""
    return any(os.path.commonpath([path, folder]) == folder for folder in folders)


def another_project(host: str, path: str, entry: Entry, project: str) -> str:
    """That the file of a host was written for a host of the same name in another project; empty if it is its own.

    ``path``: of that file; empty in a shared registry, where each project has entries.
    """
    if not (path and entry.is_of_another_project(project)):
        return ""
    noted = project_of(entry.project)
    return (
        f"{path} was written for {host} of the project {noted}, and here provision_project is {project}. If that host"
        f" is meant, set provision_project to {noted}; else give each project a registry of its own"
        " (provision_registry_dir)."
    )


def why_not_imported(path: str, entry: Entry, offer_id: str) -> str:
    """Why a host with a shared registry waits: its file names another purchase than the registry.

    ``offer_id``: that the registry names; empty if it names none, or one that has ended. The answer is empty if the
    host need not wait.
    """
    if not entry.may_have_bought or entry.offer_id in ("", offer_id):
        return ""
    return (
        f"{path} names offer {entry.offer_id}, which the shared registry does not name for this host."
        " Run compute_index.supply.registry with the same inventory and variables: it moves what files remember, also"
        " of hosts that were ordered by number."
    )
