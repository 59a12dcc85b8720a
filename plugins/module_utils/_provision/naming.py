# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts did a person name whose machines shall end, or live longer? A slip of the hand must do nothing."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._text import abridged, applicable, plural
from .messages import NOTHING_ENDED
from .order import GROUP_OF_RUNS, HOST_NAME, within
from .ownership import Machine, is_named, machines_among

Registered = t.Mapping[str, t.Sequence[str]]  # the hosts that registries know, with their groups


@dataclass(frozen=True)
class PatternPart:
    """A part of a host pattern between commas, and the hosts that it matches by itself, without its ``!`` or ``&``."""

    text: str
    hosts: tuple[str, ...] = ()

    @property
    def narrows(self) -> bool:
        """Whether it only takes hosts away."""
        return self.text.startswith(("!", "&"))

    @property
    def is_name(self) -> bool:
        """Whether it can be nothing but the name of a host or a group."""
        return HOST_NAME.fullmatch(self.text) is not None


@dataclass(frozen=True)
class NamedAction:
    """What is to happen to the machines: the playbook's name, in words, and that it did not.

    ``plays``: whether a play has these hosts, rather than a task on localhost. ``adds``: whether it is done once more
    where it is done again.
    """

    name: str
    happens: str
    nothing: str
    plays: bool = True
    adds: bool = False


NAMED_ACTIONS = {
    item.name: item
    for item in (
        NamedAction("decommission", "end", NOTHING_ENDED),
        NamedAction("extend", "get more time", "Nothing was extended.", plays=False, adds=True),
    )
}


def unmatched_names(parts: t.Iterable[PatternPart]) -> list[str]:
    """The parts that match no host, and can only be names."""
    return [part.text for part in parts if part.is_name and not part.hosts]


def with_names(parts: t.Iterable[PatternPart], made: t.Container[str]) -> list[PatternPart]:
    """The parts, where a name that was ``made`` a host matches that."""
    return [PatternPart(part.text, (part.text,)) if part.text in made else part for part in parts]


def left_out(parts: t.Iterable[PatternPart], ungrouped: t.Sequence[str]) -> t.Sequence[str]:
    """What cannot be read of hosts that a group or pattern may mean. ``ungrouped``: of those that only registries know.

    Nothing else says of which groups they are. Of a host that is named by its name nothing is left out.
    """
    return ungrouped if any(part.hosts != (part.text,) and not part.narrows for part in parts) else ()


def playable(
    hosts: t.Sequence[str], unreadable: t.Container[str], several: t.Container[str], deed: NamedAction
) -> list[str]:
    """The hosts that a deed can be done to. Raises ValueError if there is none, or if it is not clear which is meant.

    ``unreadable``: Ansible ends a play that has one of these, and the others shall not wait for it. ``several``: hosts
    of no inventory that more than one registry knows.
    """
    if unclear := [host for host in hosts if host in several]:
        raise ValueError(
            f"Several registries know {abridged(unclear)}: say which one is meant by -e provision_project=... or -e"
            f" provision_registry_dir=... {deed.nothing}"
        )
    left = [host for host in hosts if not (deed.plays and host in unreadable)]
    if not left:
        raise ValueError(deed.nothing)
    return left


def added(
    hosts: t.Iterable[str],
    names: t.Collection[str],
    registered: Registered,
    group: str,
    folders: t.Mapping[str, str],
) -> list[dict[str, t.Any]]:
    """The hosts that a play must add first, in the groups that a registry notes, else in ``group``.

    ``folders``: where files remember them, whatever their groups say.
    """
    inventory = set(names)
    new = [host for host in hosts if host not in inventory]
    apart = {host: {"registry_dir": folders[host]} for host in new if host in folders}
    return [{"name": host, "groups": registered.get(host) or [group], **apart.get(host, {})} for host in new]


def warnings_of_runs(
    parts: t.Iterable[PatternPart], hosts: t.Iterable[str], registered: Registered, deed: NamedAction
) -> t.Iterator[str]:
    """A warning of the runs that a group or pattern ends; they end all the same, since a person has asked for it.

    A person who names the host itself knows that.
    """
    spelled = {part.text for part in parts}
    runs = [host for host in hosts if GROUP_OF_RUNS in registered.get(host, ()) and host not in spelled]
    if runs and deed.happens == "end":
        yield f"Machines of runs end ({abridged(runs)}): their jobs, and results that are not home yet, are lost."


def not_named(hosts: t.Iterable[str], named: t.Container[str]) -> str:
    """Why nothing ends in a play of the user's own, which does not read decommission_hosts, but was given it.

    ``hosts``: those that would end. ``named``: those that it names; empty if these are all of them.
    """
    others = [host for host in hosts if host not in named]
    if not others:
        return ""
    return (
        f"decommission_hosts does not name {abridged(others)}. It is for the playbook"
        " compute_index.supply.decommission. This play is your own: it ends the machine of each of its hosts. Leave it"
        f" out, and choose hosts with --limit; or run that playbook. {NAMED_ACTIONS['decommission'].nothing}"
    )


def names_of(machines: t.Collection[Machine], names: t.Iterable[str], prefix: str) -> list[str]:
    """The names by which a machine is called, with the ``prefix`` of its project; the API may have numbered it."""
    machines = machines_among(machines)
    return [name for name in names if any(is_named(machine, prefix + name, numbered=True) for machine in machines)]


def objection(
    parts: t.Sequence[PatternPart],
    hosts: t.Collection[str],
    limited: t.Collection[str] | None,
    count: str = "",
    by_job: bool = False,
    deed: NamedAction = NAMED_ACTIONS["decommission"],
) -> str:
    """Why nothing happens, empty if it does to these ``hosts``, which the whole pattern matches.

    ``count``: how many hosts the person expects, empty if nothing was said. A job's form (``by_job``) shows no
    inventory, so there each group and pattern needs it, elsewhere only what ends all hosts, or all but some.

    ``limited``: the hosts that ``--limit`` leaves of the inventory, None without it. A limit narrows groups and
    patterns, and contradicts a name.
    """
    asked, name = ",".join(part.text for part in parts), f"{deed.name}_hosts"
    are_names = bool(parts) and all(re.search(r"\w", part.text) for part in parts)
    unmatched = [part.text for part in parts if not part.hosts]
    outside = [part.text for part in parts if not part.narrows and not within(part.hosts, limited)]
    reasons = applicable(
        {
            f"{name} must say whose machines {deed.happens}: names with commas between them, or a group, for example"
            f" -e {name}=gpu-1,gpu-2.": not are_names,
            f"{name}='{asked}' begins with an exclusion, which means all others. Name the hosts.": asked[:1]
            in ("!", "&"),
            f"{name}='{asked}': {', '.join(unmatched)} matches no host: the inventory has no such host or group, and no"
            " registry knows one.": unmatched,
            f"{name} names {', '.join(outside)}, but --limit leaves it out. It knows hosts of the inventory only: name"
            f" the hosts by {name} alone.": outside,
            f"{name}='{asked}' matches no host.": not hosts,
        }
    )
    return f"{reasons[0]} {deed.nothing}" if reasons else _unexpected(parts, hosts, asked, count, by_job, deed)


def check_slice(template: str, deed: NamedAction, count: str) -> None:
    """Raise ValueError in a job that is one of several slices, if each would do it, or would be as large as was said.

    ``template``: of sliced jobs. ``count``: how many hosts there are to be.
    """
    if template and (count or deed.adds):
        raise ValueError(
            f"This job is one of the slices of '{template}': each would count its own hosts alone, and {deed.name} all"
            f" that were named. Set Job Slicing of the template to 1. {deed.nothing}"
        )


def _unexpected(
    parts: t.Sequence[PatternPart], hosts: t.Collection[str], asked: str, count: str, by_job: bool, deed: NamedAction
) -> str:
    """Why a number must be given, or is not the right one."""
    several = any(part.hosts != (part.text,) for part in parts)
    sweeping = any(part.text in _ALL or part.text.startswith("!") for part in parts)
    if count == str(len(hosts)) or not (count or sweeping or (by_job and several)):
        return ""
    message = f"{deed.name}_count says {count}" if count else f"{deed.name}_count does not confirm that"
    return (
        f"{deed.name}_hosts='{asked}' means {plural(len(hosts), 'host')} ({abridged(hosts)}), and {message}. If you"
        f" want all of them to {deed.happens}, give {deed.name}_count={len(hosts)}. {deed.nothing}"
    )


_ALL = frozenset({"all", "*"})
