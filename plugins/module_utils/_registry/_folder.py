# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the registry of files is: one absolute folder, whoever asks, and in it a folder for each host."""

from __future__ import annotations

import os
import typing as t

from .._provision.place import ENTRY

# Of all hosts, in the registry itself. Ansible does not read files whose name begins with a dot.
SWEPT = ".compute_index_supply.swept"  # when its leases were enforced last
LEDGER = ".compute_index_supply.ledger"
KNOWN_HOSTS = ".known_hosts"  # the host keys of the host's machines, beside its entry


def registry_dir(wanted: object, inventory_dir: object, sources: t.Sequence[str], here: str) -> str:
    """The folder as an absolute path; empty where none is wanted.

    ``wanted``: provision_registry_dir; None means host_vars beside the inventory, where Ansible reads it back. It does
    so only in the folder of an inventory source, not in folders within it; and hosts that a play added belong to no
    file: theirs is the first source's. Without any inventory file it is the folder ``here``, where Ansible was started.
    A relative path is meant from the inventory, not from the playbook, which may lie in an installed collection.
    """
    if wanted is not None and not str(wanted).strip():
        return ""
    folders = [
        _folder(os.path.join(here, source)) for source in sources if "," not in source and os.path.exists(source)
    ]
    beside = str(inventory_dir) if inventory_dir and os.path.realpath(str(inventory_dir)) in folders else ""
    base = beside or next(iter(folders), here)
    path = "host_vars" if wanted is None else os.path.expanduser(os.path.expandvars(str(wanted)))
    return os.path.normpath(os.path.join(base, path))


def ledger_file(entry: str) -> str:
    """What was bought under that file and its neighbours: in the registry itself, or beside a file of another name."""
    folder, name = os.path.split(os.path.abspath(entry))
    return os.path.join(os.path.dirname(folder) if name == ENTRY else folder, LEDGER)


def host_of(entry: str) -> str:
    """The host of that file, as far as its place tells."""
    folder, name = os.path.split(os.path.abspath(entry))
    return os.path.basename(folder) if name == ENTRY else os.path.splitext(name)[0]


def known_hosts_file(entry: str) -> str:
    """Where the host keys of a host's machines are pinned: beside its entry; empty without one."""
    return os.path.join(os.path.realpath(os.path.dirname(entry)), KNOWN_HOSTS) if entry else ""


def pinned_of(home: str, offer_id: str) -> str:
    """The file of host keys of a purchase without an entry file; ``home`` is Ansible's own folder."""
    return os.path.join(home, "compute_index_supply", "known_hosts", os.path.basename(offer_id) or "none")


def _folder(source: str) -> str:
    path = os.path.realpath(source)
    return path if os.path.isdir(path) else os.path.dirname(path)
