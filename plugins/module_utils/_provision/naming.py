# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts did a person name, to end their machines or to extend their leases? A typing error must do nothing."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._inventory import HOST_NAME
from .._text import abridged, applicable, joined, plural
from .messages import NOTHING_ENDED
from .order import GROUP_OF_RUNS, within
from .ownership import Machine, is_named, machines_among

Registered = t.Mapping[str, t.Sequence[str]]  # the groups of each host that a registry knows


@dataclass(frozen=True)
class PatternPart:
    """A part of a host pattern between commas, and the hosts that it matches without its leading ``!`` or ``&``."""

    text: str
    hosts: tuple[str, ...] = ()

    @property
    def narrows(self) -> bool:
        """Whether it only removes hosts."""
        return self.text.startswith(("!", "&"))

    @property
    def is_name(self) -> bool:
        """Whether it can only be the name of a host or a group."""
        return HOST_NAME.fullmatch(self.text) is not None


@dataclass(frozen=True)
class NamedAction:
    """An action on the machines of named hosts: the playbook's name, what the machines do, and that nothing happened.

    ``has_play``: a play runs on these hosts, rather than a task on localhost. ``accumulates``: a second run adds to
    the first.
    """

    name: str
    verb: str
    nothing_done: str
    has_play: bool = True
    accumulates: bool = False


NAMED_ACTIONS = {
    item.name: item
    for item in (
        NamedAction("decommission", "end", NOTHING_ENDED),
        NamedAction("extend", "get more time", "Nothing was extended.", has_play=False, accumulates=True),
    )
}


def unmatched_names(parts: t.Iterable[PatternPart]) -> list[str]:
    """The parts that match no host, and can only be names."""
    return [part.text for part in parts if part.is_name and not part.hosts]


def with_new_hosts(parts: t.Iterable[PatternPart], new: t.Container[str]) -> list[PatternPart]:
    """The parts; the name of a ``new`` host now matches this host."""
    return [PatternPart(part.text, (part.text,)) if part.text in new else part for part in parts]


def troubles_of_groups(parts: t.Iterable[PatternPart], ungrouped: t.Sequence[str]) -> t.Sequence[str]:
    """The ``ungrouped`` troubles if a group or pattern may match their hosts; none if all hosts are given by name.

    ``ungrouped``: sentences about hosts that only registries know, and whose groups cannot be read.
    """
    return ungrouped if any(part.hosts != (part.text,) and not part.narrows for part in parts) else ()


def hosts_in_reach(
    hosts: t.Sequence[str], unreadable: t.Container[str], ambiguous: t.Container[str], action: NamedAction
) -> list[str]:
    """The hosts on which the action is possible. Raises ValueError if there are none, or if any is ambiguous.

    ``unreadable``: hosts for which Ansible can run nothing; a play that includes one ends for all its hosts.
    ``ambiguous``: hosts that are in no inventory, but in several registries.
    """
    if unclear := [host for host in hosts if host in ambiguous]:
        raise ValueError(
            f"Several registries know {abridged(unclear)}: choose one with -e provision_project=... or -e"
            f" provision_registry_dir=... {action.nothing_done}"
        )
    possible = [host for host in hosts if not (action.has_play and host in unreadable)]
    if not possible:
        raise ValueError(action.nothing_done)
    return possible


def hosts_to_add(
    hosts: t.Iterable[str],
    inventory: t.Collection[str],
    registered: Registered,
    group: str,
    folders: t.Mapping[str, str],
) -> list[dict[str, t.Any]]:
    """The hosts that a play must add first, in the groups that a registry notes, else in ``group``.

    ``inventory``: the hosts that it has already. ``folders``: the registry folders of hosts, which take precedence over
    those of their groups.
    """
    known = set(inventory)
    new = [host for host in hosts if host not in known]
    places = {host: {"registry_dir": folders[host]} for host in new if host in folders}
    return [{"name": host, "groups": registered.get(host) or [group], **places.get(host, {})} for host in new]


def spared_runs(parts: t.Sequence[PatternPart], registered: Registered, action: NamedAction) -> list[str]:
    """The hosts of runs that an extension leaves out, since only groups or patterns with other hosts match them.

    A job that has begun ends as planned, so more time would only raise its bill above run_max_bill.
    """
    runs = {host for host, groups in registered.items() if GROUP_OF_RUNS in groups and action.accumulates}
    matched = [set(part.hosts) for part in parts]
    chosen = set[str]().union(*(hosts for hosts in matched if hosts <= runs))
    return sorted(runs.intersection(set[str]().union(*matched)) - chosen)


def warnings_of_runs(
    parts: t.Sequence[PatternPart], hosts: t.Iterable[str], registered: Registered, action: NamedAction
) -> t.Iterator[str]:
    """A warning if a group or pattern ends machines of runs, or if an extension leaves them out."""
    if spared := spared_runs(parts, registered, action):
        yield (
            f"Runs keep their leases ({abridged(spared)}): a job that has begun ends as planned. To give its results"
            f" more time, name its host in {action.name}_hosts."
        )
    names = {part.text for part in parts}
    runs = [host for host in hosts if GROUP_OF_RUNS in registered.get(host, ()) and host not in names]
    if runs and action.name == "decommission":
        yield f"Machines of runs end ({abridged(runs)}): their jobs, and results not fetched yet, are lost."


def why_more_would_end(hosts: t.Iterable[str], named: t.Container[str]) -> str:
    """Why the user's own play, which ignores decommission_hosts, is refused; empty if this names all its hosts.

    ``hosts``: those whose machines the play would end. ``named``: those that decommission_hosts names.
    """
    others = [host for host in hosts if host not in named]
    if not others:
        return ""
    return (
        f"decommission_hosts does not name {abridged(others)}, but this play ends the machines of all its hosts: only"
        " the playbook compute_index.supply.decommission takes decommission_hosts. Run that playbook; or leave"
        f" decommission_hosts out, and choose hosts with --limit. {NAMED_ACTIONS['decommission'].nothing_done}"
    )


def names_in_use(machines: t.Collection[Machine], names: t.Iterable[str], prefix: str) -> list[str]:
    """The given names that a machine has, with the ``prefix`` of its project and perhaps a number from the API."""
    machines = machines_among(machines)
    return [name for name in names if any(is_named(machine, prefix + name, numbered=True) for machine in machines)]


def objection(
    parts: t.Sequence[PatternPart],
    hosts: t.Collection[str],
    limited: t.Collection[str] | None,
    count: str = "",
    by_job: bool = False,
    action: NamedAction = NAMED_ACTIONS["decommission"],
    unread: t.Sequence[str] = (),
) -> str:
    """Why nothing happens; empty if the action applies to these ``hosts``, which the whole pattern matches.

    ``count``: the expected number of hosts, empty if none was given. It is required if the pattern means all hosts, or
    all but some; in a job (``by_job``), whose form shows no inventory, also for any group or pattern.

    ``limited``: the hosts of the inventory that ``--limit`` includes, None without it. A limit narrows groups and
    patterns, but a host given by name must be in it. ``unread``: sentences about what registries could not tell.
    """
    asked, name = ",".join(part.text for part in parts), f"{action.name}_hosts"
    are_names = bool(parts) and all(re.search(r"\w", part.text) for part in parts)
    unmatched = [part.text for part in parts if not part.hosts]
    elsewhere = "" if by_job else " If its machine was bought from another folder or inventory, run this there."
    nowhere = f"none of its registries knows one.{elsewhere}"
    outside = [part.text for part in parts if not part.narrows and not within(part.hosts, limited)]
    reasons = applicable(
        {
            f"{name} must say whose machines {action.verb}: names with commas between them, or a group, for example"
            f" -e {name}=gpu-1,gpu-2.": not are_names,
            f"{name}='{asked}' begins with an exclusion, which means all others. Name the hosts.": asked[:1]
            in ("!", "&"),
            f"{name}='{asked}': {', '.join(unmatched)} matches no host: the inventory has no such host or group, and"
            f" {joined('a registry that may know one cannot be read.', *unread) if unread else nowhere}": unmatched,
            f"{name} names {', '.join(outside)}, which --limit excludes, like every host that is only in a registry."
            f" Leave --limit out, and choose hosts with {name} alone.": outside,
            f"{name}='{asked}' matches no host.": not hosts,
        }
    )
    return f"{reasons[0]} {action.nothing_done}" if reasons else _unexpected(parts, hosts, asked, count, by_job, action)


def check_slice(template: str, action: NamedAction, count: str) -> None:
    """Raise ValueError in a slice of a job if each slice would repeat the action, or compare ``count`` with its hosts.

    ``template``: the job template that is sliced; empty if the job is not a slice.
    """
    if template and (count or action.accumulates):
        raise ValueError(
            f"This job is a slice of '{template}'. Each slice would count only its own hosts, but {action.name} all"
            f" named hosts. Set Job Slicing of the template to 1. {action.nothing_done}"
        )


def _unexpected(
    parts: t.Sequence[PatternPart], hosts: t.Collection[str], asked: str, count: str, by_job: bool, action: NamedAction
) -> str:
    """Why a count is required, or is wrong; empty if neither."""
    has_pattern = any(part.hosts != (part.text,) for part in parts)
    means_all = any(part.text in _ALL or part.text.startswith("!") for part in parts)
    if count == str(len(hosts)) or not (count or means_all or (by_job and has_pattern)):
        return ""
    message = f"{action.name}_count says {count}" if count else f"{action.name}_count does not confirm that"
    return (
        f"{action.name}_hosts='{asked}' means {plural(len(hosts), 'host')} ({abridged(hosts)}), and {message}. If you"
        f" want all of them to {action.verb}, give {action.name}_count={len(hosts)}. {action.nothing_done}"
    )


_ALL = frozenset({"all", "*"})
