# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has once its machine runs: variables, entry, SSH arguments, the names of a cluster's machines."""

from __future__ import annotations

import re
import shlex
import typing as t

from .._machine.connection import ADDRESS, Machine, is_readable, quoted_path
from .._text import abridged, number_of
from . import lease, prices
from .entry import BOOT_MARK, CONNECTION, HOST_KEY_CHECKING, SSH_ARGUMENTS, Entry

Variables = dict[str, t.Any]
Connections = t.Sequence[t.Mapping[str, t.Any]]  # resource_id, ansible_host, ansible_port, ansible_user

_HANDED_OVER = "provision_bootstrap_host_key"  # the host key in the user data
_ANY_ID = "00000000-0000-4000-8000-000000000000"
_TRUST = {"first_use": "accept-new", "seeded": "yes", "none": "no"}
SSH_TRUST = "provision_ssh_trust"  # in the registry of all controllers: which host keys are accepted


def ssh_args(alias: str, trust: str, known_hosts: str, identity: str = "") -> str:
    """The options for one machine. Its key is kept under its id, so that a reused address never matches an old key.

    ``identity``: the file of the private key, which ssh may not try by itself; empty where nobody knows it, as with a
    registry that other controllers share.
    """
    pinned = shlex.quote(quoted_path(known_hosts)) if known_hosts and trust != "none" else "/dev/null"
    offered = f" -o IdentityFile={shlex.quote(quoted_path(identity))}" if is_readable(identity) else ""
    word = _TRUST.get(trust, _TRUST["first_use"])  # a later version may have noted another one
    kept = f"-o StrictHostKeyChecking={word} -o UserKnownHostsFile={pinned}"
    return f"-o HostKeyAlias={shlex.quote(alias)} {kept}{offered}"


def ssh_variables(arguments: str) -> Variables:
    """How Ansible calls ssh for a machine: with these options (`ssh_args`), and with the check of its key, as they say.

    A setting that is for all hosts, as AWX has it, would come before these options, and beat them.
    """
    return {**dict.fromkeys(SSH_ARGUMENTS, arguments), HOST_KEY_CHECKING: True}


def without_local_paths(variables: t.Mapping[str, t.Any]) -> Variables:
    """The same for the registry of all controllers: without the paths of this one, by which they mean nothing."""
    gone = (*SSH_ARGUMENTS, HOST_KEY_CHECKING, "provision_identity_file")
    kept = {name: value for name, value in variables.items() if name not in gone}
    word = _word_in(variables.get("ansible_ssh_extra_args"))
    return {**kept, SSH_TRUST: trust_of(word)} if word else kept


def _word_in(options: t.Any) -> str:
    """What options of ssh say of unknown host keys, empty if they say nothing."""
    match = re.search(r"StrictHostKeyChecking=(\S+)", str(options))
    return match[1] if match else ""


def trust_of(word: str) -> str:
    """The role's word for one of ssh's StrictHostKeyChecking."""
    return next((trust for trust, item in _TRUST.items() if item == word), "first_use")


def ssh_machines(host: str, entry: Entry, known_hosts: str) -> list[Machine]:
    """The machines of a registry entry, as a configuration of ssh wants them."""
    word = _word_in(entry.connection.get("ansible_ssh_extra_args")) or _TRUST.get(entry.ssh_trust, "accept-new")
    names = [host, *further_names(host, len(entry.instances))]
    return [
        Machine(
            name,
            item,
            _alias(item, entry.offer_id if name == host else name),
            word,
            known_hosts,
            entry.identity_file,
        )
        for name, item in zip(names, entry.instances)
    ]


def _alias(machine: t.Mapping[str, t.Any], otherwise: str) -> str:
    return str(machine.get("resource_id") or otherwise)


def instances_in_order(
    connections: Connections, noted: Connections, ids: t.Sequence[str]
) -> list[t.Mapping[str, t.Any]]:
    """How the machines of a host are reached: in the noted order, since the first one is the host, then further ones.

    One that is held (``ids``) and that a later status omits keeps its place and its address. Of one that is neither
    held nor noted nothing follows. While the API does not tell which is which, the only one has the only id, and
    several are reached as noted: by its id a key is pinned.
    """
    named = {connection.get("resource_id"): connection for connection in connections}
    before = {item.get("resource_id"): item for item in noted if item.get("resource_id") in {*named, *ids}}
    if None not in named:
        own = {item: named[item] for item in named if item in {*before, *ids}}
        return list({**before, **own}.values() or named.values()) if named else []
    if len(connections) == len(ids) == 1:
        return [{**connections[0], "resource_id": ids[0]}]
    return list(connections if None in before or len(before) < len(connections) else before.values())


def facts_of_machine(
    offer_id: str,
    resource_ids: t.Sequence[str],
    connections: Connections,
    price: float | None,
    trust: str,
    known_hosts: str,
    identity: str = "",
) -> Variables:
    """The variables of a host whose machine runs; the first machine of a cluster is the host itself."""
    first = connections[0]
    arguments = ssh_args(_alias(first, offer_id), trust, known_hosts, identity)
    return {
        "provision_procured_offer_id": offer_id,
        "provision_price_per_hour": price,
        "provision_resource_ids": list(resource_ids),
        "provision_instances": [dict(connection) for connection in connections],
        **{name: first.get(name) for name in ADDRESS},  # a person may have written it
        **ssh_variables(arguments),
    }


def facts_to_come(*, goes_on: bool) -> Variables:
    """What the role gives to a host before it is done with it, with values as they may be.

    ``goes_on``: it does more for a host whose machine runs, or that may have one, than to give it these variables.
    """
    machine = {"resource_id": _ANY_ID, "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
    machines = facts_of_machine(_ANY_ID, [_ANY_ID], [machine], 1.0, "none", "") if goes_on else {}
    return {**machines, "provision_attempts": [{"offer_id": _ANY_ID, "outcome": "created", "msg": ""}]}


def connection_variables(entry: Entry, known_hosts: str, *, is_shared: bool) -> Variables:
    """How the machine of an entry is reached; empty if that is not known.

    Files beside an inventory say the same to Ansible, but without an inventory it does not read them. ``is_shared``: of
    a registry that several controllers share.
    """
    if not is_shared:
        return {name: value for name, value in entry.connection.items() if value is not None}
    if not entry.instances:
        return {}
    every = facts_of_machine(entry.offer_id, entry.resource_ids, entry.instances, None, entry.ssh_trust, known_hosts)
    return {name: every[name] for name in CONNECTION if every[name] is not None}


def facts_of_first_boot(entry: Entry) -> Variables:
    """What the machine's first boot was given, as the registry noted it with the order."""
    return {_HANDED_OVER: entry.bootstrap_host_key, BOOT_MARK: entry.boot_mark}


def lease_facts(end: float | None, begin: float | None, price: float | None) -> Variables:
    """Until when machines that were bought at ``begin`` (both in seconds since the epoch) may live, if that was said.

    And what they cost in all that time at most, in USD, at this price per hour.
    """
    if end is None:
        return {}
    bill = prices.bill_between(price, begin, end)
    return {lease.ENDS_AT: lease.utc_rounded_up(end), lease.AT_MOST: None if bill is None else round(bill, 2)}


def is_registered(variables: Variables, entry: Entry, seen: t.Mapping[str, t.Any]) -> bool:
    """Whether the registry and Ansible (``seen``: the host's own variables) say just that already."""
    is_seen = all(str(variables[name]) == str(seen.get(name)) for name in CONNECTION)
    return is_seen and is_kept(variables, entry, CONNECTION)


def is_kept(variables: Variables, entry: Entry, connection: t.Sequence[str] = ADDRESS) -> bool:
    """Whether the registry of all controllers says just that already; how ssh is called is each controller's matter."""
    return (
        tuple(variables["provision_resource_ids"]) == entry.resource_ids
        and tuple(variables["provision_instances"]) == entry.instances
        and all(variables[name] == entry.connection.get(name) for name in connection)
    )


def further_names(host: str, count: int) -> list[str]:
    """What the further machines of so many are called as hosts."""
    return [f"{host}-{number}" for number in range(1, count)]


def names_taken(host: str, names: t.Iterable[str]) -> str:
    """A cluster's further machines would take over hosts of the inventory."""
    return (
        f"The further machines of {host} would be called {abridged(names)}, and the inventory has hosts of these names,"
        " which would be taken over. Rename them (what the inventory plugin lists by its option hostname), or the host."
    )


def further_hosts(plan: t.Mapping[str, t.Any], connections: Connections) -> list[Variables]:
    """The further machines of a cluster as hosts of its groups: names after the first one, and how they are reached.

    ``plan``: of the first one.
    """
    return [
        {
            "name": name,
            **{key: machine[key] for key in ADDRESS},
            **ssh_variables(
                ssh_args(_alias(machine, name), plan["trust"], plan["known_hosts_file"], plan["identity_file"])
            ),
            "alias": _alias(machine, name),
            "resource_ids": [machine["resource_id"]] if machine["resource_id"] else [],
            "groups": plan["groups"],
        }
        for name, machine in zip(further_names(plan["host"], len(connections)), connections[1:])
    ]


def owned_row(host: str, entry: Entry) -> Variables:
    """A host with machines as a workflow and a table want it. ``price_per_hour``: USD, all its machines.

    ``entry``: by the registry, or by the host's own variables. ``at_most`` (USD) is what they cost until ``ends_at``;
    both are None for what lives until somebody ends it.
    """
    first = entry.instances[0]
    address, user = first.get("ansible_host"), first.get("ansible_user")
    port = int(number_of(first.get("ansible_port")) or 22)
    return {
        "host": host,
        "offer_id": entry.offer_id,
        "resource_ids": list(entry.resource_ids),
        "machines": len(entry.instances),
        "ansible_host": address,
        "ansible_port": port,
        "ansible_user": user,
        "ssh": f"ssh {user}@{address}" if port == 22 else f"ssh -p {port} {user}@{address}",
        "price_per_hour": entry.price_per_hour,
        "ends_at": entry.ends_at or None,
        "at_most": entry.at_most,
    }


def tasks_that_reach(reach: bool, verify: bool, entry: Entry, trust: str, keeps_host_keys: bool) -> str:
    """How the role reaches a machine that runs (see its tasks/), empty if it is not to be reached.

    A shared registry keeps the host key that answers first, for the other controllers.
    """
    if not reach:
        return ""
    if verify or (trust == "seeded" and entry.bootstrap_host_key):
        return "prepare"
    return "reach_and_share_key" if shares_host_keys(trust, keeps_host_keys) and not entry.host_keys else "reach"


def shares_host_keys(trust: str, keeps_host_keys: bool) -> bool:
    """Whether the registry has a machine's host keys, for other controllers. ``trust``: provision_host_key_trust."""
    return keeps_host_keys and trust != "none"


def noted_once_reached(plan: Variables, before: Variables | None) -> dict[str, t.Any]:
    """What is noted once a machine was reached: it was tested, if it was; and the key that was handed over is used up.

    ``before``: what the registry says; None without an entry.
    """
    tested = {"provision_verified": True} if plan["verify"] else {}
    return {**tested, **({_HANDED_OVER: None} if _HANDED_OVER in (before or {}) else {})}
