# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which leases are over and which machines idle, what a sweep finds, and what it does with each host.

Unreadable data never ends a machine. Moments are seconds since the epoch, durations seconds.
"""

from __future__ import annotations

import collections
import math
import typing as t
from dataclasses import dataclass, replace

from .. import _states
from .._text import (
    abridged,
    applicable,
    duration,
    duration_text,
    formatted,
    ids_in_words,
    joined,
    narrow_table,
    number_of,
    one_line,
    printable,
    seconds_of,
    text_of,
    usd,
    wrapped,
)
from . import declaration, lease, missing, moving, ownership
from .ending import Action, End, nothing_ends
from .entry import Entry
from .lease import API_CLOCK, Clock
from .messages import unreadable_lease
from .order import GROUP_OF_RUNS, LIMITS_OF_SWEEPS
from .ownership import Account, Machine, id_of, last_created_at, price_of
from .place import NOWHERE, Place, line_of_empty
from .run_record import is_fetch_due
from .spending import Bill
from .standing import known_nearby

FRESH = 60.0  # seconds for which a machine's answer about its use counts
_ASKED_MOST = 20  # machines that are asked at once, whatever the number of forks, so that their answers stay fresh
_AHEAD = 1.0  # seconds by which an answer may be from the future: a clock was set back a little
_GRACE_MOST, _COMMAND_MOST = 31 * 86_400.0, 86_400.0  # seconds; longer values are mistakes
_COMMANDS_OF_JOB = 3600.0  # seconds for all last commands of a sweep of AWX, which ends a job after two hours


@dataclass(frozen=True)
class SweepLimits:
    """Seconds for which a failed last command delays an end (``grace``), and for which it may run (``command``)."""

    grace: float = 1800.0
    command: float = 300.0


def read_limits(grace: t.Any, command: t.Any, usual: SweepLimits | None = None) -> SweepLimits:
    """The limits that the variables of a sweep set; if one is empty, its ``usual`` limit counts.

    Numbers without a unit are minutes for ``grace``, and seconds for ``command``. Raises ValueError with a sentence for
    people.
    """
    usual = usual or SweepLimits()
    return SweepLimits(
        _duration(LIMITS_OF_SWEEPS[0], grace, "m", usual.grace, range_of=(0.0, _GRACE_MOST)),
        _duration(LIMITS_OF_SWEEPS[1], command, "s", usual.command, range_of=(1.0, _COMMAND_MOST)),
    )


def _duration(name: str, value: t.Any, unit: str, otherwise: float, range_of: tuple[float, float]) -> float:
    """The seconds of a duration. ``unit``: of a number without one. Raises ValueError that names the variable."""
    text, (least, most) = text_of(value), range_of
    try:
        seconds = duration(f"{text}{unit}" if text[-1:].isdigit() else text) if text else otherwise
    except ValueError:
        seconds = -1.0
    if least <= seconds <= most:
        return seconds
    allowed = f"a duration such as 90s, 30m or 2h, from {duration_text(least)} to {duration_text(most)}"
    raise ValueError(f"{name} must be {allowed}, not '{printable(text, 60)}'.")


def _batch_sizes(able: t.Iterable[tuple[Host, SweepLimits]], forks: int) -> list[int]:
    """How many hosts take part at once: those whose lease is over and whose last commands may take the same time.

    The last number is for all other hosts: as many as can be asked within seconds.
    """
    over = collections.Counter(limits.command for item, limits in able if item.life.is_over())
    return [*over.values(), max(1, min(forks, _ASKED_MOST))]


def in_batches(
    able: t.Sequence[tuple[Host, SweepLimits]], forks: int, *, by_job: bool
) -> tuple[list[tuple[Host, SweepLimits]], list[int]]:
    """The hosts in the order in which they take part, and how many do at once.

    Their last commands get less time if AWX would otherwise end the sweep before it ends machines.
    """
    *over, asked = _batch_sizes(able, forks)
    rounds = sum(math.ceil(size / max(1, forks)) for size in over) + math.ceil((len(able) - sum(over)) / asked)
    longest = _COMMANDS_OF_JOB / max(1, rounds) if by_job else math.inf
    in_time = [(item, replace(own, command=min(own.command, longest))) for item, own in able]
    return in_time, _batch_sizes(in_time, forks)


@dataclass(frozen=True)
class Life:
    """The ``end`` of the lease of a host's machine, and by how many seconds it is ``overdue`` (negative before it).

    Without an end, the machine has no lease, or the lease cannot be read for this ``reason``.
    """

    end: float | None = None
    overdue: float = 0.0
    reason: str = ""

    def end_by(self, now: float) -> float | None:
        """The end by another clock, which shows ``now``."""
        return None if self.end is None else now - self.overdue

    def is_over(self, grace: float = 0.0) -> bool:
        """Whether the lease is over, and has been for this grace."""
        return self.end is not None and self.overdue >= grace


def life(entry: Entry, created: float | None, clock: Clock) -> Life:
    """The life of the machine in a registry entry, by the clock that noted its end.

    ``created``: when the API made the machine; None if unknown.
    """
    try:
        end = lease.read_end(entry.leased, entry.ends_at, created)
    except ValueError as error:
        return Life(reason=str(error))
    return _life(end, clock, entry.clock)


def life_by_name(leased: str, created: float | None, clock: Clock) -> Life:
    """The life of a machine without a registry, by the lease that its host declares now."""
    try:
        declared = lease.read_time_limit(leased)
    except ValueError as error:
        return Life(reason=f"provision_lease {error}")
    if declared.seconds is not None and created is None:
        return Life(reason="the API does not say when it was made")
    return _life(lease.end_of(declared, created), clock, API_CLOCK)


def _life(end: float | None, clock: Clock, noted_by: str) -> Life:
    return Life() if end is None else Life(end, clock.since(end, noted_by))


@dataclass(frozen=True)
class Idleness:
    """A machine's answer about its use (`activity_info`). ``limit``: the seconds for which it may be idle."""

    limit: float
    state: str = "unknown"
    seconds: float = 0.0
    evidence: str = ""

    def is_over(self, grace: float = 0.0) -> bool:
        """Whether it has been idle for the limit and this grace. Unknown counts as in use."""
        return self.state == "idle" and self.seconds >= self.limit + grace > 0


def idleness(limit: t.Any, activity: t.Mapping[str, t.Any] | None, now: float) -> Idleness:
    """The idleness by an answer of `activity_info`; unknown without one, or if it is older than a minute.

    ``now``: by this computer's clock, like ``asked_at`` in the answer.
    """
    answer = activity or {}
    asked_at = number_of(answer.get("asked_at"))
    is_fresh = asked_at is not None and -_AHEAD <= now - asked_at <= FRESH
    return Idleness(
        number_of(limit) or 0.0,
        str(answer.get("state") or "unknown") if is_fresh else "unknown",
        number_of(answer.get("idle_seconds")) or 0.0,
        str(answer.get("evidence") or ""),
    )


def idle_result(got: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Whether a host's machine was idle for too long when it was asked (``ends``), and lines. ``got``: variables."""
    sweep, activity = got.get("reap__sweep") or {}, got.get("reap__activity") or {}
    use = idleness(sweep.get("idle"), activity, number_of(activity.get("asked_at")) or 0.0)
    answer = f"{activity.get('state') or 'unknown'}: {activity.get('evidence') or activity.get('msg') or ''}"
    return {"ends": use.is_over(), "lines": wrapped(answer, indent="  ")}


@dataclass(frozen=True)
class SweptHost:
    """A host that a sweep hands to the role decommission.

    ``place``: the registry that knows its machine. ``grace``: seconds for which its time must have been over; 0 unless
    its last command failed. ``lease``: the declared lease of a host without a registry.
    """

    place: str
    grace: float
    lease: str
    use: Idleness


def read_swept_host(raw: t.Mapping[str, t.Any], place: str, offer_id: str, now: float) -> SweptHost | None:
    """The host as a sweep hands it over; None if no sweep does.

    ``raw``: its declaration, also with the results of its last command (``before``) and of `activity_info`
    (``activity``), which does not count if the host has bought another offer since (``offer_id``). ``place``: its own.
    ``now``: by this computer's clock.
    """
    sweep = raw.get("reaped")
    if not sweep:
        return None
    grace = 0.0 if last_command_succeeded(raw.get("before")) else number_of(sweep.get("grace")) or 0.0
    is_same = sweep.get("offer_id", offer_id) == offer_id
    use = idleness(sweep.get("idle"), raw.get("activity") if is_same else None, now)
    return SweptHost(str(sweep.get("place", place)), grace, str(sweep.get("lease") or ""), use)


def last_command_succeeded(before: t.Mapping[str, t.Any] | None) -> bool:
    """Whether the last command on a machine succeeded, or there was none. ``before``: the result of its task."""
    result = before or {"skipped": True}
    return bool(result.get("skipped")) or result.get("rc") == 0


def last_look(host: str, end: End, sweep: SweptHost, entry: Entry, clock: Clock) -> End:
    """The end of a swept host right before it begins, after its last command. ``entry``: as it is by now.

    The host stops if its last command failed, until the grace is over, unless no machine is left to run it on. Nothing
    ends if the machine got more time or is in use again. If its lease cannot be read, it does not end for being idle
    either.
    """
    runs = any(not _states.is_ending(machine["status"]) for machine in end.machines)
    use, grace, created = sweep.use, sweep.grace if runs else 0.0, last_created_at(end.machines)
    lived = life(entry, created, clock) if sweep.place else life_by_name(sweep.lease, created, clock)
    is_idle = use.is_over() and not lived.reason
    if not (lived.is_over() or is_idle):
        return End(Action.NOTHING, by_sweep=_why_it_stays(host, use))
    if not (lived.is_over(grace) or (is_idle and use.is_over(grace))):
        return nothing_ends(
            host,
            f"Its time is over, but reap_before_end failed on it. A sweep ends it anyway {grace / 60:g} minutes after"
            " its time.",
        )
    lease_over = f"its lease was over at {formatted(lived.end or 0.0)}"
    return replace(end, by_sweep=lease_over if lived.is_over() else f"it was idle: {use.evidence}")


def _why_it_stays(host: str, use: Idleness) -> str:
    """A line about a machine that got more time, or is in use again, or has not answered within the last minute."""
    why = "no longer counts as idle" if use.limit else "got more time meanwhile"
    return f"{host} {why}, so it stays"


# The findings of a sweep: hosts whose lease is over, hosts to ask whether they are idle, and the rest

# If a sweep cannot read the API
NOTHING_ENDED = "Nothing was ended: a machine whose lease is over is billed until a sweep succeeds."

_OVER = {"host": "host", "over since (UTC)": "since", "USD/h": "price_per_hour", "machine": "resource_id"}


@dataclass(frozen=True)
class Host:
    """A host that owns something, with its machines by the API."""

    host: str
    place: Place
    entry: Entry
    machines: tuple[Machine, ...]
    life: Life
    idle: float = 0.0  # seconds for which it may be idle; 0 if it is not watched
    idle_error: str = ""  # why this duration cannot be read, or is not kept
    leased: str = ""  # the declared lease, if no registry knows one
    protection: str = ""  # why it is protected; empty if it is not
    is_elsewhere: bool = False  # its machine is probably another account's

    @property
    def price_per_hour(self) -> float | None:
        """USD per hour of all its machines; None if the price of one is unknown."""
        return price_of(self.machines) if self.machines else self.entry.price_per_hour

    @property
    def idle_allowed(self) -> float:
        """Seconds for which the machine may be idle; 0 if its lease is over anyway."""
        return 0.0 if self.life.is_over() else self.idle

    def time_for_command(self, limits: SweepLimits) -> float:
        """Seconds for which the last command may run; 0 if there is only storage, and no machine to run it on."""
        return 0.0 if self.entry.storage_of else limits.command

    def folder(self, inventory: t.Container[str]) -> dict[str, str]:
        """The option for the registry's folder, whatever its groups say; empty for a host of the inventory."""
        return {} if self.host in inventory or self.place.keeps_sums else {"registry_dir": self.place.text}

    @property
    def row(self) -> dict[str, t.Any]:
        """The host as a row of a table, which a workflow also gets."""
        return {
            "host": self.host,
            "until": None if self.life.end is None else formatted(self.life.end),
            "price_per_hour": self.price_per_hour,
            "resource_id": [ownership.id_of(machine) for machine in self.machines] or list(self.entry.resource_ids),
        }


def registered_host(
    place: Place,
    host: str,
    entry: Entry,
    account: Account,
    clock: Clock,
    limits: t.Mapping[str, str],
    protects: t.Mapping[str, t.Any],
    look: missing.MissingLook,
) -> Host | None:
    """A host of a registry; None if it owns nothing. ``limits``: how long declared hosts may be idle, by host.

    ``protects``: the variable of each host of the inventory that says whether it is protected. ``look``: shows whose
    machine it is.
    """
    if not entry.may_have_bought:
        return None
    machines = [machine for machine, _owner in account.machines_with(entry.resource_ids)]
    if not entry.resource_ids:
        machines = [machine for machine, owner in account.of_offer(entry.offer_id) if owner.hosts == (host,)]
    # A declaration says how long its host may be idle; for other hosts, the registry keeps the limit of the purchase. A
    # run is never declared, though an inventory may list its machine: results of a watched host do not come home.
    declared = {} if GROUP_OF_RUNS in entry.groups else limits
    created = last_created_at(machines)
    begin = lease.begin_of(seconds_of(entry.journaled_at), created)
    age = clock.now(entry.clock) - begin if begin and any(_states.is_live(item["status"]) for item in machines) else 0.0
    idle, idle_error = _idle_after(declared.get(host, entry.idles), len(entry.instances), age)
    protection = declaration.why_protected(host, protects.get(host), entry)
    own_life = life(entry, created, clock)
    own = Host(host, place, entry, tuple(machines), own_life, idle, idle_error, protection=protection)
    return replace(own, is_elsewhere=look.is_elsewhere(entry))


def storage_left_to_end(
    strays: t.Iterable[tuple[Place, str, Entry]], entry_of: t.Callable[[Place, str], Entry]
) -> t.Iterator[tuple[Place, str, Entry]]:
    """The hosts that have only storage, which an earlier sweep could not end, and which is not missing.

    Each is a place, a host and an entry, as `registered_host` takes them. ``strays``: what hosts have in addition to
    their own machines, which are in their entries (``entry_of``).
    """
    kept = ((place, entry.storage_of, entry) for place, _name, entry in strays if entry.storage_of)
    hosts = {(place, host): entry for place, host, entry in kept if entry.ends_at and not entry.missing_since}
    return ((*key, entry) for key, entry in hosts.items() if not entry_of(*key).may_have_bought)


def host_by_name(raw: t.Mapping[str, t.Any], account: Account, clock: Clock) -> Host:
    """A host without a registry: its machines are those that its name proves."""
    host = raw["host"]
    own = [m for m, owner in account.machines or () if owner.hosts == (host,) and not _states.is_ending(m["status"])]
    leased, protection = str(raw["lease"] or ""), declaration.why_protected(host, raw["protect"], Entry())
    idle, idle_error = _idle_after(str(raw["idle_after"]), len(own))
    own_life = life_by_name(leased, last_created_at(own), clock) if own else Life()
    return Host(host, NOWHERE, Entry(), tuple(own), own_life, idle, idle_error if own else "", leased, protection)


def _idle_after(text: str, machines: int, age: float = 0.0) -> tuple[float, str]:
    """The seconds for which a host may be idle, and why that is not kept; 0 seconds mean that it is not watched.

    Clusters are not watched, since only their first machine would be asked. Nor is a host whose run ended before its
    machine was ready: its address is not known. ``age``: of its live machine, in seconds.
    """
    try:
        seconds = lease.read_duration(text) or 0.0
    except ValueError as error:
        return 0.0, str(error)
    if not machines and 0.0 < seconds <= age - lease.MADE_WITHIN:
        return 0.0, "is not kept, since no run has seen its machine ready: run compute_index.supply.provision"
    return seconds if machines == 1 else 0.0, ""


def _why_left_out(item: Host, unreadable: t.Container[str]) -> str:
    """Why no play can end a host whose lease is over."""
    if item.host not in unreadable:
        return f"Two registries have a {item.host} whose lease is over. This sweep ends one of them; sweep again."
    runs_on = f"{ids_in_words(item.row['resource_id'])} runs on at {usd(item.price_per_hour)}"
    why = "Ansible runs nothing for it until its file can be read."
    return f"The lease of {item.host} is over, and {runs_on}: {why}"


def unswept_projects(
    entries: t.Iterable[tuple[str, Entry]], clock: Clock, why_unswept: t.Callable[[str], str]
) -> list[str]:
    """A sentence for each other project of the shared registry with leases that are over and that no sweep enforces.

    ``entries``: those of other projects, each with its project. ``why_unswept``: returns an empty text if the project
    is swept.
    """
    over = sorted({project for project, entry in entries if life(entry, None, clock).is_over()})
    return [
        f"The shared registry has leases of the project {project} that are over, and no sweep enforces them. Sweep it"
        f" as well: -e provision_project={project}."
        for project in over
        if why_unswept(project)
    ]


def unswept_folders(
    entries: t.Iterable[tuple[Place, str, Entry]], why_unswept: t.Callable[[Place], str]
) -> t.Iterator[str]:
    """A warning for each folder nearby with leases that no sweep enforces. ``entries``: by their places and hosts."""
    return known_nearby(((place, host, entry) for place, host, entry in entries if entry.ends_at), why_unswept)


LeftOut = t.Sequence[tuple[Host, str]]  # hosts that take no part in a sweep, and why


@dataclass(frozen=True)
class SweepFindings:
    """The findings of a sweep: hosts ``known`` to registries, and hosts without one, ``named`` by their machines.

    ``by_name``: whether machines of the latter may end. ``unclaimed``: machines that no host owns.
    """

    known: tuple[Host, ...]
    named: tuple[Host, ...]
    clock: Clock
    unclaimed: t.Sequence[Machine] = ()
    by_name: bool = False

    @property
    def all(self) -> tuple[Host, ...]:
        """Every host that may have a machine on this account."""
        return (*self._here, *self.named)

    @property
    def _here(self) -> tuple[Host, ...]:
        return tuple(item for item in self.known if not item.is_elsewhere)

    @property
    def elsewhere(self) -> list[Host]:
        """The hosts whose machines are probably another account's: its sweeps end them."""
        return [item for item in self.known if item.is_elsewhere]

    @property
    def _unswept_elsewhere(self) -> list[Host]:
        """The hosts among them whose leases no sweep enforces."""
        return [item for item in self.elsewhere if item.life.is_over(lease.SWEEPS)]

    @property
    def may_end(self) -> tuple[Host, ...]:
        """The hosts that this sweep may end."""
        return self.all if self.by_name else self._here

    @property
    def due(self) -> list[Host]:
        """The hosts that end, since their lease is over."""
        return [item for item in self.may_end if item.life.is_over() and not item.protection]

    @property
    def spared(self) -> list[Host]:
        """The hosts whose lease is over, but that are protected."""
        machines = (item for item in self.all if not item.entry.storage_of)
        return [item for item in machines if item.life.is_over() and item.protection]

    @property
    def by_name_alone(self) -> list[Host]:
        """The hosts whose lease is over, but whose machines only their names prove, and that do not end for this."""
        return [item for item in self.named if item.life.is_over() and not (item.protection or self.by_name)]

    @property
    def watched(self) -> list[Host]:
        """The hosts to ask whether they are idle: their lease is not over, and they are not protected."""
        asked = (item for item in self.may_end if item.idle and not item.protection)
        return [item for item in asked if not (item.life.is_over() or item.life.reason)]

    def playable(
        self, unreadable: t.Container[str], own: t.Mapping[str, t.Mapping[str, t.Any]], usual: SweepLimits
    ) -> tuple[list[tuple[Host, SweepLimits]], LeftOut]:
        """The hosts that can take part in a play, first those that end, with their limits; and why the others cannot.

        A host whose last command may take longer comes later, so that no other waits for it. Ansible ends a play at a
        host whose files it cannot read (``unreadable``), and a play has one host per name. ``own``: the variables
        ``reap_grace`` and ``reap_before_end_timeout`` of hosts that have them.
        """
        able: dict[str, tuple[Host, SweepLimits]] = {}
        left = []
        for item in (*self.due, *self.watched):
            grace, command = (own.get(item.host, {}).get(name) for name in LIMITS_OF_SWEEPS)
            if item.host in unreadable or item.host in able:
                left += [(item, _why_left_out(item, unreadable))] if item.life.is_over() else []
                continue
            try:
                able[item.host] = item, read_limits(grace, command, usual)
            except ValueError as error:
                left.append((item, f"{item.host}: {error} Nothing was ended for it."))
        return sorted(able.values(), key=lambda pair: (not pair[0].life.is_over(), pair[1].command)), left

    def late_runs(self, unreadable: t.Container[str], since: t.Callable[[Place], float | None]) -> list[Host]:
        """The hosts of runs that may end before the next sweep, so that their results come home now.

        Hosts that no play can take are left out: a play has one host per name, and hosts that end or may be idle come
        first, even if they are in another registry. ``since``: returns how many seconds ago a registry was last swept;
        None if unknown.
        """
        # Most sweeps have no runs, so they do not ask the registry.
        lives = ((item, item.life) for item in self._here if GROUP_OF_RUNS in item.entry.groups)
        late = [item for item, life in lives if is_fetch_due(item.entry, life.end, life.overdue, since(item.place))]
        others = {item.host for item in (*self.due, *self.watched)}
        return [item for item in late if item.host not in unreadable and item.host not in others]

    def why_red(self, unread: t.Iterable[str], left: LeftOut, moved: t.Iterable[Bill], unswept: t.Iterable[str]) -> str:
        """Why the sweep fails, whatever becomes of the hosts that it ends; empty if it does not.

        ``unread``: sentences about inventories, registries and missing machines that could not be read or noted.
        ``left``: hosts whose lease is over, but that no play can take. ``moved``: ended purchases in folders' ledgers;
        those that moved into a registry which is not read here may be billed. ``unswept``: `unswept_projects`
        and `why_unknown`.
        """
        moved_away = moving.moved_away(moved, self.unclaimed)
        return joined(*dict.fromkeys([*unread, *self._unkept(), *moved_away, *unswept, *(why for _host, why in left)]))

    def _unkept(self) -> list[str]:
        """Sentences about leases that are not enforced, and clocks that differ."""
        unreadable = [unreadable_lease(item.host, item.life.reason) for item in self.all if item.life.reason]
        idle_errors = [
            f"provision_idle_after of {item.host} {item.idle_error}. Its machine does not end when idle."
            for item in self.all
            if item.idle_error
        ]
        spared = [
            f"The lease of {item.host} was over at {item.row['until']}, and its machine runs on. {item.protection}"
            " If it is to stay, compute_index.supply.extend gives it more time."
            for item in self.spared
        ]
        named = [
            f"The lease of {item.host} was over at {item.row['until']}, and its machine, known only by name, runs on."
            " -e reap_by_name=true ends it."
            for item in self.by_name_alone
        ]
        elsewhere = [
            f"The lease of {item.host} was over at {item.row['until']}. Another token bought its machine, and this one"
            " does not find it: sweep with that token as well. If it was replaced, run"
            f" compute_index.supply.decommission -e decommission_hosts={item.host}."
            for item in self._unswept_elsewhere
        ]
        return [*unreadable, *idle_errors, *spared, *named, *elsewhere, lease.clocks_differ(self.clock)]

    def why_unknown(self, why_unswept: t.Callable[[Place], str]) -> list[str]:
        """Sentences about registries of another account, or whose machines it does not find for another reason.

        ``why_unswept``: returns an empty text if a registry is swept.
        """
        elsewhere = {(item.place, item.host) for item in self.elsewhere}
        return missing.why_of_another_account(self._unknown, elsewhere, lambda place: not why_unswept(place))

    def enforced_places(
        self, places: t.Iterable[Place], left: LeftOut, is_unread: t.Callable[[Place], bool]
    ) -> list[Place]:
        """The registries whose leases this sweep enforces: it can read all of them, and the clocks agree.

        A registry does not count if it may be another account's (`missing.unknown_places`), or if the lease of a host
        in it is over, but the host is ``left`` out. ``is_unread``: whether something in a registry cannot be read.
        """
        unread = {item.place for item in self.all if item.life.reason}
        overdue = (*self._unswept_elsewhere, *(host for host, _why in left if host.life.is_over()))
        broken = unread.union(self._unknown, (host.place for host in overdue))
        enforced = [] if self.clock.is_apart else [place for place in places if place and place not in broken]
        return [place for place in enforced if not is_unread(place)]

    @property
    def _unknown(self) -> dict[Place, list[str]]:
        """The registries that may be of another account, with their hosts."""
        known = {id_of(machine) for item in self.known for machine in item.machines}
        return missing.unknown_places(((item.place, item.host, item.entry) for item in self.known), known)

    def lines(self, places: t.Iterable[Place], here: str) -> list[str]:
        """Lines for people: the leases that are over, how many have time left, and which are over but do not end.

        ``places``: the registries that were read. ``here``: the folder in which Ansible was started.
        """
        rows = [{**item.row, "since": str(item.row["until"] or "-").removesuffix(" UTC")} for item in self.due]
        over = narrow_table(rows, _OVER, ["host"]) if rows else ["No lease is over."]
        live = [item for item in self.all if item.life.end is not None and not item.life.is_over()]
        next_end = min(((item.life.end or 0.0, item.host) for item in live), default=(0.0, ""))
        named = self.by_name_alone
        sentences = {
            f"{len(live)} with time left; the next until {formatted(next_end[0])} ({next_end[1]}).": live,
            f"{_names(self.watched)} will be asked whether they are idle.": self.watched,
            f"Over, but known only by name: {_names(named)}. -e reap_by_name=true ends them.": named,
            f"Over, but protected: {_names(self.spared)}.": self.spared,
            f"Not checked: {_names(self.elsewhere)}. Another token bought them: sweep with it as well.": self.elsewhere,
        }
        return [*over, *applicable(sentences), *([] if self.all else line_of_empty(places, here))]


def _names(hosts: t.Iterable[Host]) -> str:
    return abridged([item.host for item in hosts])


# The result of a sweep


def why_not_done(raw: t.Mapping[str, t.Any]) -> str:
    """Why a sweep did not finish with a host that took part; empty if it did.

    ``raw``: its ``host``, the seconds for which it may be ``idle``, its failure (``failed``: empty if nothing failed,
    None if its tasks did not finish), and its ``activity``.
    """
    host, activity = raw["host"], raw["activity"] or {}
    if raw["failed"]:
        return str(raw["failed"])
    if not number_of(raw["idle"]):
        unended = "its lease is over, and this sweep did not finish. Its machine may be billed; sweep again."
        return f"{host}: {unended}" if raw["failed"] is None else ""
    if "state" in activity:
        return ""
    why = one_line(str(activity.get("msg") or ""))
    unasked = "its machine could not be asked whether it is idle, so it stays and is billed"
    return f"{host}: {unasked}{f': {why}' if why else '.'}"


def why_red_at_end(before: t.Iterable[str], rows: t.Iterable[t.Mapping[str, t.Any]], unnoted: t.Iterable[str]) -> str:
    """Why the finished sweep fails: by its findings (``before``: `SweepFindings.why_red`), and by its result.

    ``rows``: see `why_not_done`. ``unnoted``: why it could not note in registries that it enforced their leases.
    """
    return joined(*before, *map(why_not_done, rows), *unnoted)


def swept_places(places: t.Iterable[str], rows: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """The registries of these in which a sweep has enforced all leases, since no end failed."""
    broken = {row["place"] for row in rows if not number_of(row["idle"]) and why_not_done(row)}
    return [place for place in places if place not in broken]
