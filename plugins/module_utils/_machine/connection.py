# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads from the API's answers how a machine is reached over SSH, and renders a file for ``ssh -F``.

``ssh_command`` and ``access`` come from the network and end in an SSH client's arguments and in inventory files: only
plain host names, addresses, users and ports are accepted, and no option of the command is ever passed on.
"""

from __future__ import annotations

import getopt
import re
import string
import typing as t

from .. import _states
from .._text import PLAIN_NAME

Json = dict[str, t.Any]

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}")
_WITH_ARGUMENT = "BbcDEeFIiJLlmOoPpQRSWw"  # the options of OpenSSH's ssh(1) that take an argument, for getopt
_OPTIONS = "".join(f"{item}:" if item in _WITH_ARGUMENT else item for item in string.ascii_letters + string.digits)
DEFAULT_USER = "root"  # API page "offer lifecycle": root for all vendors
DEFAULT_PORT = 22
ADDRESS = ("ansible_host", "ansible_port", "ansible_user")
_IDS = ("resource_id", "instance_id")  # fields of an instance that may have the id of its resource


class _Target(t.NamedTuple):
    host: str | None = None
    port: int | None = None
    user: str | None = None


def _host(value: object) -> str | None:
    text = value.strip().strip("[]") if isinstance(value, str) else ""
    return text if _HOST.fullmatch(text) else None


def _user(value: object) -> str | None:
    return value if isinstance(value, str) and _USER.fullmatch(value) else None


def _port(value: object) -> int | None:
    number = int(text) if re.fullmatch(r"[0-9]{1,5}", text := str(value)) else 0
    return number if 0 < number < 65536 else None


def parse_ssh_command(command: object) -> _Target:
    """Host, port and user of a command such as ``ssh root@1.2.3.4 -p 22022``, with ``-p`` and ``-l`` anywhere."""
    program, *words = str(command).split() or [""]
    try:
        # The destination may be followed by more options, then by a command. A missing argument is read as empty.
        before, rest = getopt.getopt([*words, ""], _OPTIONS)
        after, _command = getopt.getopt(rest[1:], _OPTIONS)
    except getopt.GetoptError:
        return _Target()
    options = dict(reversed([*before, *after]))  # the first one counts
    user, at, host = "".join(rest[:1]).rpartition("@")
    if program.rpartition("/")[2] != "ssh" or _host(host) is None or (at and not _user(user)):
        return _Target()
    return _Target(_host(host), _port(options.get("-p")), _user(options.get("-l")) or _user(user))


def connection_of(instance: t.Mapping[str, t.Any], resource: t.Mapping[str, t.Any]) -> Json | None:
    """The connection variables of a machine, from an instance of the status answer and the ``access`` of its resource.

    Either may be empty. None as long as no address is known, and without an instance unless the resource is a known
    kind of machine. The default port is 22, the default user root.
    """
    if not instance and not _states.may_be_reached(resource):
        return None
    access = resource.get("access") or {}
    commands = [parse_ssh_command(instance.get("ssh_command")), parse_ssh_command(access.get("ssh_command"))]
    hosts = [commands[0].host, _host(instance.get("external_ip")), commands[1].host, _host(access.get("external_ip"))]
    ports = [commands[0].port, _port(instance.get("ssh_port")), _port(access.get("ssh_port")), commands[1].port]
    users = [command.user for command in commands]
    host = next(filter(None, hosts), None)
    if host is None:
        return None
    return {
        "ansible_host": host,
        "ansible_port": next(filter(None, ports), DEFAULT_PORT),
        "ansible_user": next(filter(None, users), DEFAULT_USER),
    }


def machines(instances: list[Json], resources: list[Json]) -> list[Json]:
    """List the machines, each with the instance's own fields, ``resource_id``, ``name`` and the connection variables.

    An instance belongs to the resource with its id, else to the one with its address. Otherwise, if there are as many
    instances as resources, it belongs to the resource at the same position. Without instances the resources are the
    machines. Storage is left out, even if an instance names it. Unknown fields are None.
    """
    storage = {item["resource_id"] for item in resources if not _states.is_machine(item)}
    instances = [item for item in instances if storage.isdisjoint(_texts_of(item, _IDS))]
    resources = list(filter(_states.is_machine, resources))
    paired = _pair(instances, resources) if instances else [({}, resource) for resource in resources]
    # Deleted machines are left out. Without a resource, the instance's own status counts.
    return [
        _machine(instance, resource)
        for instance, resource in paired
        if not _states.is_ending(_states.word((resource or instance).get("status")))
    ]


def _pair(instances: list[Json], resources: list[Json]) -> t.Iterator[tuple[Json, Json]]:
    """Each instance with its resource, or with an empty one."""
    addresses = [resource["access"].get("external_ip") for resource in resources]
    matches = [_resource_of(instance, resources, addresses) for instance in instances]
    same_position = resources if len(resources) == len(instances) else [{} for _instance in instances]
    for instance, match, resource in zip(instances, matches, same_position):
        # An instance with an id of its own, even an invalid one, is never matched by position.
        is_taken = any(resource is other for other in matches) or _texts_of(instance, (*_IDS, "odd_id"))
        yield instance, match or ({} if is_taken else resource)


def _texts_of(instance: Json, names: t.Iterable[str]) -> list[str]:
    """The values of these fields that are texts and not empty."""
    return [text for name in names if isinstance(text := instance.get(name), str) and text]


def _resource_of(instance: Json, resources: list[Json], addresses: list[object]) -> Json | None:
    """The resource of an instance by its id, else by its address; None if neither matches.

    ``addresses``: of all resources. An address that several machines share (containers) matches none.
    """
    ids = _texts_of(instance, _IDS)
    address = instance.get("external_ip")
    is_unique = isinstance(address, str) and addresses.count(address) == 1
    by_id = (resource for resource in resources if resource["resource_id"] in ids)
    by_address = (item for item in resources if is_unique and item["access"].get("external_ip") == address)
    return next(by_id, None) or next(by_address, None)


def with_connection(resource: Json) -> Json:
    """Add the connection variables to a resource; None for each if it has no address, or allows no login."""
    return {**resource, **(connection_of({}, resource) or dict.fromkeys(ADDRESS))}


def _machine(instance: Json, resource: Json) -> Json:
    gone = bool(resource) and not _states.is_live(resource["status"])
    connection = None if gone else connection_of(instance, resource)
    own_id = instance.get("resource_id")
    return {
        "status": None,
        "name": resource.get("name"),
        **instance,
        "resource_id": resource.get("resource_id") or (own_id if isinstance(own_id, str) else None),
        **(connection or dict.fromkeys(ADDRESS)),
    }


# A configuration of ssh for the machines of a registry, so that ``ssh -F FILE gpu-1`` reaches them as Ansible does.
# The registry's values are untrusted: none of them can add an option, or become a pattern that matches other hosts.

# Even between quotes, ssh reads these as the end of a path, an escape or a variable.
UNREADABLE = ('"', "\\\\", "\\'", "${", "\n")

_HEADER = "# Written by compute_index.supply, which replaces it at each change: ssh -F THIS_FILE HOST"
_TRUST = frozenset({"accept-new", "yes", "no"})  # the values of StrictHostKeyChecking that the role uses


class Machine(t.NamedTuple):
    """A machine with unchecked values of the registry.

    ``name``: of its host. ``alias``: the name of its key in the file ``known_hosts``. ``trust``: the value of
    StrictHostKeyChecking. ``identity``: the file of the private key; if it is empty, ssh uses its default keys.
    """

    name: str
    connection: t.Mapping[str, t.Any]
    alias: str
    trust: str
    known_hosts: str
    identity: str = ""


def quoted_path(path: str) -> str:
    """Quote a path for ssh, in a file or after ``-o``. It must be readable (`is_readable`)."""
    return '"' + path.replace("%", "%%") + '"'


def is_readable(path: str) -> bool:
    """Whether ssh can read this path if it is quoted; see UNREADABLE."""
    return bool(path) and not any(mark in path for mark in UNREADABLE)


def render(hosts: t.Iterable[t.Sequence[Machine]]) -> str | None:
    """The text of the file for the machines of each host; None without machines."""
    blocks = ("\n".join(filter(None, map(_block, machines))) for machines in hosts)
    parts = list(filter(None, blocks))
    return "\n\n".join([_HEADER, *parts]) + "\n" if parts else None


def _block(machine: Machine) -> str:
    """The lines of a machine; none if one of its values is missing or invalid, or ssh would misread it."""
    host, port, user = (check(machine.connection.get(name)) for check, name in zip((_host, _port, _user), ADDRESS))
    known_hosts = "/dev/null" if machine.trust == "no" else machine.known_hosts
    is_plain = PLAIN_NAME.fullmatch(machine.name) and PLAIN_NAME.fullmatch(machine.alias) and machine.trust in _TRUST
    if not all((host, port, user, is_plain, is_readable(known_hosts))):
        return ""
    lines = [
        f"Host {machine.name}",
        f"  HostName {str(host).replace('%', '%%')}",
        f"  Port {port}",
        f"  User {user}",
        f"  HostKeyAlias {machine.alias}",
        f"  StrictHostKeyChecking {machine.trust}",
        f"  UserKnownHostsFile {quoted_path(known_hosts)}",
    ]
    if is_readable(machine.identity):
        lines.append(f"  IdentityFile {quoted_path(machine.identity)}")
    return "\n".join(lines)
