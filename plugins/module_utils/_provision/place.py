# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The place of a host's registry entry: a folder of files, or a project of the shared registry.

A place tells how its registry differs from others; the registry itself is in `_registry`. Plans carry places as texts
(`Place.text`), which only `place_of` reads. Pure: reads no files.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .entry import DEFAULT_PROJECT, Entry, project_of, without_local_paths

ENTRY = "compute_index_supply.yml"  # in the host's folder
EVIDENCE = ".evidence"  # a folder in the registry, for machines that failed their test
SSH_CONFIG = ".ssh_config"  # for all hosts, in the registry's folder. Ansible ignores files that begin with a dot.
_SHARED = "shared:"  # begins the text of a project; the text of a folder is its absolute path


@dataclass(frozen=True)
class Place:
    """The place of a host's registry entry. An instance of this class is false, and means that there is no registry."""

    # Whether the registry itself compares sums with ceilings, behind its gate
    keeps_sums: t.ClassVar[bool] = False
    # Whether entries contain host keys, from which each controller writes a file for ssh
    keeps_host_keys: t.ClassVar[bool] = False
    # Whether a play must set the entry's variables on the host, since Ansible does not read them
    hands_facts: t.ClassVar[bool] = False

    @property
    def text(self) -> str:
        """The place as plain data: see `place_of`."""
        return ""

    @property
    def ssh_config(self) -> str:
        """The configuration file with which ssh reaches all machines of the registry; empty if there is none."""
        return ""

    def __bool__(self) -> bool:
        return bool(self.text)

    def entry_file(self, host: str) -> str:
        """The file of a host's entry; empty if entries are not files."""
        return ""

    def entry_place(self, host: str) -> str:
        """The place of a host's entry, for a message; empty without a registry."""
        return self.entry_file(host)

    def identity_file(self, entry: Entry) -> str:
        """The file of the private key for an entry's machine; empty if unknown on this controller."""
        return entry.identity_file

    def noted_facts(self, facts: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """The part of a host's variables that its entry keeps."""
        return dict(facts)


NOWHERE = Place()


@dataclass(frozen=True)
class Folder(Place):
    """A folder next to the inventory, with a folder and a file for each host; ``path`` is absolute."""

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
        """The folder for results of failed tests."""
        return os.path.join(self.path, EVIDENCE)

    def evidence_file(self, host: str, offer_id: str) -> str:
        """The file for the failed test of a host's machine, named after its offer."""
        return os.path.join(self.evidence_folder, f"{host}-{offer_id}.json")


@dataclass(frozen=True)
class SharedProject(Place):
    """A project of the shared registry. Paths of this controller are useless to the others."""

    keeps_sums = keeps_host_keys = hands_facts = True
    project: str = DEFAULT_PROJECT

    @property
    def text(self) -> str:
        return f"{_SHARED}{self.project}"

    def entry_place(self, host: str) -> str:
        return "the shared registry"

    def identity_file(self, entry: Entry) -> str:
        return ""  # each controller has its own

    def noted_facts(self, facts: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        return without_local_paths(facts)


def prefix_of(project: object) -> str:
    """The prefix of a project's machine names, as in the default of ``provision_resource_name``."""
    return "" if project_of(project) == DEFAULT_PROJECT else f"{project}-"


def twin_of(project: str, host: str, name: str) -> str:
    """The host of another project whose machine would get the same name; empty if there is none.

    ``team-a`` + ``b`` and ``team`` + ``a-b`` are twins. The form of names cannot change: running machines have it.
    """
    if "-" not in project or name != prefix_of(project) + host:
        return ""
    first, _dash, rest = name.partition("-")
    return f"host {rest} of project {first}"


def shortest_path(path: str, here: str) -> str:
    """The path or its form relative to ``here``, where Ansible was started, whichever is shorter."""
    return min(path, os.path.relpath(path, here), key=len)


def line_of_empty(places: t.Iterable[Place], here: str) -> list[str]:
    """The line of a report or sweep that has found nothing: it may have read other registries than a person meant."""
    names = (
        f"project {place.project} of the shared registry"
        if isinstance(place, SharedProject)
        else shortest_path(place.text, here)
        for place in dict.fromkeys(filter(None, places))
    )
    return [f"Registry: {text}"] if (text := ", ".join(names)) else []


def place_of(text: str) -> Place:
    """The place for its ``Place.text``."""
    if text.startswith(_SHARED):
        return SharedProject(text[len(_SHARED) :])
    return Folder(text) if text else NOWHERE


def place_of_purchase(registry_url: str | None, project: str | None, registry_file: str | None) -> Place:
    """The place of a purchase's registry, by module options. A ``registry_file`` is in its host's own folder."""
    if registry_url:
        return SharedProject(project_of(project))
    return Folder(os.path.dirname(os.path.dirname(os.path.abspath(registry_file)))) if registry_file else NOWHERE


def is_within(path: str, folders: t.Iterable[str]) -> bool:
    """Whether an absolute path is one of these folders, or in one."""
    return any(os.path.commonpath([path, folder]) == folder for folder in folders)


def another_project(host: str, path: str, entry: Entry, project: str) -> str:
    """Why a host's file is refused: it is for a host of the same name in another project. Empty if it is its own.

    ``path``: of the file; empty in a shared registry, where each project has its own entries.
    """
    if not (path and entry.is_of_another_project(project)):
        return ""
    noted = project_of(entry.project)
    return (
        f"{path} was written for {host} of the project {noted}, but provision_project is {project}. If you mean that"
        f" host, set provision_project to {noted}; otherwise give each project a registry of its own"
        " (provision_registry_dir)."
    )


def why_not_imported(path: str, entry: Entry, offer_id: str) -> str:
    """Why a host with a shared registry stops: its file names a purchase that the registry does not; empty otherwise.

    ``offer_id``: in the registry; empty if it has none, or only one that has ended.
    """
    if not entry.may_have_bought or entry.offer_id in ("", offer_id):
        return ""
    return (
        f"{path} names offer {entry.offer_id}, which the shared registry does not name for this host."
        " Run compute_index.supply.registry with the same inventory and variables: it moves the files of all hosts,"
        " including those that were ordered by number."
    )
