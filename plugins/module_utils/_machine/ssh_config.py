# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration of ssh for the machines of a registry, so that ``ssh -F FILE gpu-1`` reaches them as Ansible does.

What a registry says may have been written by anybody. Only plain names, addresses, users, ports and ids get through:
none of them can add an option, or become a pattern that stands for other hosts.
"""

from __future__ import annotations

import json
import re
import typing as t

from .connection import plain

# What ssh takes for the end of a path, an escape or a variable in it, even between quotes.
UNREADABLE = ('"', "\\\\", "\\'", "${", "\n")

_HEADER = "# Written by compute_index.supply, which replaces it at each change: ssh -F THIS_FILE HOST"
# The words of ssh's StrictHostKeyChecking that the role uses.
_TRUST = frozenset({"accept-new", "yes", "no"})
_NAME = re.compile(r"\w[\w.-]*")


class Machine(t.NamedTuple):
    """A machine as the registry knows it, unchecked.

    ``name``: what its host is called. ``alias``: under what its key is kept in the file ``known_hosts``. ``trust``: the
    word of StrictHostKeyChecking. ``identity``: the file of the private key; empty where ssh looks for one by itself.
    """

    name: str
    connection: t.Mapping[str, t.Any]
    alias: str
    trust: str
    known_hosts: str
    identity: str = ""


def quoted(path: str) -> str:
    """A path as ssh reads it, be it in a file or behind ``-o``; see UNREADABLE for those that it cannot read."""
    return '"' + path.replace("%", "%%") + '"'


def is_readable(path: str) -> bool:
    """Whether ssh can read such a path; see UNREADABLE."""
    return bool(path) and not any(mark in path for mark in UNREADABLE)


def render(hosts: t.Iterable[tuple[str, t.Sequence[Machine]]]) -> str | None:
    """The text of the file for these hosts and their machines; None if there are none."""
    parts = ["\n".join(map(_block, machines)) for _host, machines in hosts if machines]
    return _file(parts)


def without(text: str | None, hosts: t.Iterable[str]) -> str | None:
    """What `render` has made, but for these hosts and their further machines; None if nothing is left."""
    parts = (text or "").rstrip("\n").split("\n\n")[1:]
    theirs = tuple(beginning for host in hosts for beginning in (f"Host {host}\n", _odd(host)))
    return _file([part for part in parts if not part.startswith(theirs)])


def _file(parts: t.Sequence[str]) -> str | None:
    return "\n\n".join([_HEADER, *parts]) + "\n" if parts else None


def _block(machine: Machine) -> str:
    found, known_hosts = plain(machine.connection), machine.known_hosts
    if machine.trust == "no":
        known_hosts = "/dev/null"
    is_plain = _NAME.fullmatch(machine.name) and _NAME.fullmatch(machine.alias) and machine.trust in _TRUST
    if found is None or not is_plain or not is_readable(known_hosts):
        return _odd(machine.name)
    address = found["ansible_host"].replace("%", "%%")
    lines = [
        f"Host {machine.name}",
        f"  HostName {address}",
        f"  Port {found['ansible_port']}",
        f"  User {found['ansible_user']}",
        f"  HostKeyAlias {machine.alias}",
        f"  StrictHostKeyChecking {machine.trust}",
        f"  UserKnownHostsFile {quoted(known_hosts)}",
    ]
    if is_readable(machine.identity):
        lines.append(f"  IdentityFile {quoted(machine.identity)}")
    return "\n".join(lines)


def _odd(name: str) -> str:
    # JSON makes one line of it, whatever it holds.
    return f"# Left out, since ssh would misread it: {json.dumps(name)}"
