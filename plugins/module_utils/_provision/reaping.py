# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose time is over, what a sweep finds, and what it does with each host. What cannot be read never ends a machine.

Moments are seconds since the epoch, durations seconds.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .. import _states
from .._text import (
    abridged,
    applicable,
    duration,
    formatted,
    grouped,
    ids_in_words,
    joined,
    narrow_table,
    number_of,
    one_line,
    printable,
    ranges,
    text_of,
    usd,
    wrapped,
)
from . import declaration, lease, moving, ownership
from .ending import Action, End, nothing_ends
from .entry import Entry
from .lease import API_CLOCK, Clock
from .messages import unreadable_lease
from .order import GROUP_OF_RUNS, LIMITS_OF_SWEEPS
from .ownership import Account, Machine, last_created_at, price_of
from .place import NOWHERE, Place
from .run_record import is_fetch_due
from .spending import Bill

FRESH = 60.0  # seconds after which what a machine has said of its use is unknown
_ASKED_MOST = 20  # machines, whose answers then are new when they count, however many forks there are
_AHEAD = 1.0  # seconds by which it may be of the future: a clock was set a little back meanwhile
_GRACE_MOST, _COMMAND_MOST = 31 * 86_400.0, 86_400.0  # seconds; what is longer is a slip, and no limit


@dataclass(frozen=True)
class SweepLimits:
    """Seconds by which a failed last command delays an end (``grace``), and that it may take (``command``)."""

    grace: float = 1800.0
    command: float = 300.0


def read_limits(grace: t.Any, command: t.Any, usual: SweepLimits | None = None) -> SweepLimits:
    """What the variables of a sweep say; an empty one says nothing, and what is ``usual`` holds.

    A number without a unit is one of minutes for ``grace`` and of seconds for ``command``. Raises ValueError with a
    sentence for a person.
    """
    usual = usual or SweepLimits()
    return SweepLimits(
        _duration(LIMITS_OF_SWEEPS[0], grace, "m", usual.grace, range_of=(0.0, _GRACE_MOST)),
        _duration(LIMITS_OF_SWEEPS[1], command, "s", usual.command, range_of=(1.0, _COMMAND_MOST)),
    )


def _duration(name: str, value: t.Any, unit: str, otherwise: float, range_of: tuple[float, float]) -> float:
    """The seconds of a duration, without a unit in this one. Raises ValueError that names the variable."""
    text, (least, most) = text_of(value), range_of
    try:
        seconds = duration(f"{text}{unit}" if text[-1:].isdigit() else text) if text else otherwise
    except ValueError:
        seconds = -1.0
    if least <= seconds <= most:
        return seconds
    allowed = f"a duration such as 90s, 30m or 2h, from {least:g} seconds to {most / 3600:g} hours"
    raise ValueError(f"{name} must be {allowed}, not '{printable(text, 60)}'.")


def batches(hosts: t.Iterable[Host], forks: int) -> list[int]:
    """How many hosts take part at once: first all that are due, then as many as can be asked within seconds."""
    return [max(1, sum(item.life.is_over() for item in hosts)), max(1, min(forks, _ASKED_MOST))]


@dataclass(frozen=True)
class Life:
    """The life of a host's machine: its ``end``, and for how many seconds that was ``passed`` (negative before it).

    Without an end it was bought without a lease, or its lease cannot be read, for this ``reason``.
    """

    end: float | None = None
    passed: float = 0.0
    reason: str = ""

    def end_by(self, now: float) -> float | None:
        """Its end by another clock, which says that it is ``now``."""
        return None if self.end is None else now - self.passed

    def is_over(self, grace: float = 0.0) -> bool:
        """Whether its end was so long ago."""
        return self.end is not None and self.passed >= grace


def life(entry: Entry, created: float | None, clock: Clock) -> Life:
    """The life of what a registry entry names, by the clock that noted its end.

    ``created``: when the machine was made, by the API's records; None if they do not say.
    """
    try:
        end = lease.end_of(entry.leased, entry.ends_at, created)
    except ValueError as error:
        return Life(reason=str(error))
    return _life(end, clock, entry.clock)


def life_by_name(leased: str, created: float | None, clock: Clock) -> Life:
    """The same without a registry: all that is known is the lease that its host declares now."""
    try:
        found = lease.read_lease(leased)
    except ValueError as error:
        return Life(reason=f"provision_lease {error}")
    if found.seconds is not None and created is None:
        return Life(reason="the API does not say when it was made")
    return _life(found.end(created), clock, API_CLOCK)


def _life(end: float | None, clock: Clock, noted_by: str) -> Life:
    return Life() if end is None else Life(end, clock.since(end, noted_by))


@dataclass(frozen=True)
class Idleness:
    """What a machine says of its use (`activity_info`), and for how many seconds it may be idle (``limit``)."""

    limit: float
    state: str = "unknown"
    seconds: float = 0.0
    evidence: str = ""

    def is_over(self, grace: float = 0.0) -> bool:
        """Whether it was idle for so long. What is unknown is not."""
        return self.state == "idle" and self.seconds >= self.limit + grace > 0


def idleness(limit: t.Any, activity: t.Mapping[str, t.Any] | None, now: float) -> Idleness:
    """That of a machine by the answer of `activity_info`; unknown without one, or if that is older than a minute.

    ``now``: by this computer's clock, as ``asked_at`` of the answer.
    """
    told = activity or {}
    asked = number_of(told.get("asked_at"))
    is_fresh = asked is not None and -_AHEAD <= now - asked <= FRESH
    return Idleness(
        number_of(limit) or 0.0,
        str(told.get("state") or "unknown") if is_fresh else "unknown",
        number_of(told.get("idle_seconds")) or 0.0,
        str(told.get("evidence") or ""),
    )


def after_asking(got: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Whether the machine of a host was idle for too long when it was asked, by what tasks have ``got``, and lines."""
    sweep, activity = got.get("reap__sweep") or {}, got.get("reap__activity") or {}
    use = idleness(sweep.get("idle"), activity, number_of(activity.get("asked_at")) or 0.0)
    found = f"{activity.get('state') or 'unknown'}: {activity.get('evidence') or activity.get('msg') or ''}"
    return {"ends": use.is_over(), "lines": wrapped(found, indent="  ")}


@dataclass(frozen=True)
class SweptHost:
    """What a sweep has found of a host that it sends to its end.

    ``place``: the registry that knows its machine. ``grace``: seconds for which its time must have been over, 0 unless
    its last command has failed. ``lease``: what a host without a registry declares.
    """

    place: str
    grace: float
    lease: str
    use: Idleness


def read_swept_host(raw: t.Mapping[str, t.Any], place: str, offer_id: str, now: float) -> SweptHost | None:
    """What a sweep says of a host in this place; None if no sweep has sent it.

    ``raw``: with ``before``, the result of its last command, and ``activity``: of nothing if its machine was bought
    since (``offer_id``). ``now``: by this computer's clock.
    """
    asked = raw.get("reaped")
    if not asked:
        return None
    grace = 0.0 if is_saved(raw.get("before")) else number_of(asked.get("grace")) or 0.0
    is_same = asked.get("offer_id", offer_id) == offer_id
    use = idleness(asked.get("idle"), raw.get("activity") if is_same else None, now)
    return SweptHost(str(asked.get("place", place)), grace, str(asked.get("lease") or ""), use)


def is_saved(before: t.Mapping[str, t.Any] | None) -> bool:
    """Whether the last command on a machine has succeeded, or there was none. ``before``: the result of its task."""
    told = before or {"skipped": True}
    return bool(told.get("skipped")) or told.get("rc") == 0


def last_look(host: str, end: End, sweep: SweptHost, entry: Entry, clock: Clock) -> End:
    """What ends of a host that a sweep has sent to its ``end``, now that its last command was run. ``entry``: as it is.

    It stops if its last command has failed, and may be tried by the next sweep. Nothing happens if it has got more
    time, or is in use again. A machine whose lease cannot be read ends neither by it nor by its idleness.
    """
    use, grace, created = sweep.use, sweep.grace, last_created_at(end.machines)
    lived = life(entry, created, clock) if sweep.place else life_by_name(sweep.lease, created, clock)
    is_idle = use.is_over() and not lived.reason
    if not (lived.is_over() or is_idle):
        return End(Action.NOTHING, by_sweep=_why_it_stays(host, use))
    if not (lived.is_over(grace) or (is_idle and use.is_over(grace))):
        return nothing_ends(
            host,
            f"Its time is over, but reap_before_end failed on it. When it has been over for {grace / 60:g} minutes, a"
            " sweep ends it in any case.",
        )
    lease_over = f"its lease was over at {formatted(lived.end or 0.0)}"
    return replace(end, by_sweep=lease_over if lived.is_over() else f"it was idle: {use.evidence}")


def _why_it_stays(host: str, use: Idleness) -> str:
    """A line for a machine that has got more time, or is in use again, or has said nothing for a minute."""
    why = "is not known to be idle any more" if use.limit else "has got more time meanwhile"
    return f"{host} {why}; nothing ends"


# What a sweep finds: the hosts whose lease is over, those to be asked whether they are idle, and the rest

# What follows if a sweep cannot read the API
NOTHING_ENDED = "Nothing was ended: a machine whose lease is over is billed until a sweep succeeds."

_OVER = {"host": "host", "over since (UTC)": "since", "USD/h": "price_per_hour", "machine": "resource_id"}


@dataclass(frozen=True)
class Host:
    """A host that owns something, with what the API has of it."""

    host: str
    place: Place
    entry: Entry
    machines: tuple[Machine, ...]
    life: Life
    idle: float = 0.0  # seconds for which it may be idle; 0 if it is not watched
    odd_idle: str = ""  # why that cannot be read
    leased: str = ""  # what it declares, if no registry knows its lease
    protection: str = ""  # why nothing of ours ends its machine; empty if it is not protected

    @property
    def price_per_hour(self) -> float | None:
        """USD per hour of all its machines; None if one of them is unknown."""
        return price_of(self.machines) if self.machines else self.entry.price_per_hour

    @property
    def idle_allowed(self) -> float:
        """Seconds for which it may still be idle when it is asked; 0 for one whose time is over in any case."""
        return 0.0 if self.life.is_over() else self.idle

    def time_for_command(self, limits: SweepLimits) -> float:
        """Seconds that its last command may take; none if it has only storage, and no machine to run it on."""
        return 0.0 if self.entry.storage_of else limits.command

    def folder(self, inventory: t.Container[str]) -> dict[str, str]:
        """The folder that remembers it, whatever its groups say; nothing of a host that the inventory has."""
        return {} if self.host in inventory or self.place.keeps_sums else {"registry_dir": self.place.text}

    @property
    def row(self) -> dict[str, t.Any]:
        """It as people read it, and a workflow gets it."""
        return {
            "host": self.host,
            "until": None if self.life.end is None else formatted(self.life.end),
            "price_per_hour": self.price_per_hour,
            "resource_id": [ownership.id_of(machine) for machine in self.machines] or list(self.entry.resource_ids),
        }


def of_entry(
    place: Place,
    host: str,
    entry: Entry,
    account: Account,
    clock: Clock,
    limits: t.Mapping[str, str],
    protects: t.Mapping[str, t.Any],
) -> Host | None:
    """A host that a registry knows; None if it owns nothing. ``limits``: how long declared hosts may be idle.

    ``protects``: the variables of hosts of the inventory that say whether they are protected.
    """
    if not entry.may_have_bought:
        return None
    found = [machine for machine, _owner in account.machines_with(entry.resource_ids)]
    if not entry.resource_ids:
        found = [machine for machine, owner in account.of_offer(entry.offer_id) if owner.hosts == (host,)]
    # Who declares the host says how long it may be idle; of others the registry knows what was said at the purchase. A
    # run is never declared, though an inventory may list its machine: what is watched brings no results home.
    declared = {} if GROUP_OF_RUNS in entry.groups else limits
    idle, odd = _idle_after(declared.get(host, entry.idles), len(entry.instances))
    spared = declaration.why_protected(host, protects.get(host), entry)
    lived = life(entry, last_created_at(found), clock)
    return Host(host, place, entry, tuple(found), lived, idle, odd, protection=spared)


def left_to_end(
    strays: t.Iterable[tuple[Place, str, Entry]], entry_of: t.Callable[[Place, str], Entry]
) -> t.Iterator[tuple[Place, str, Entry]]:
    """The hosts that have only storage, which an earlier sweep was to end, and which the API knows; see `of_entry`.

    ``strays``: what hosts have beside their own machines, which are in their entries (``entry_of``).
    """
    kept = ((place, entry.storage_of, entry) for place, _name, entry in strays if entry.storage_of)
    hosts = {(place, host): entry for place, host, entry in kept if entry.ends_at and not entry.missing_since}
    return ((*key, entry) for key, entry in hosts.items() if not entry_of(*key).may_have_bought)


def of_name(raw: t.Mapping[str, t.Any], account: Account, clock: Clock) -> Host:
    """A host without a registry: its machine is the one that its name proves."""
    host = raw["host"]
    own = [m for m, owner in account.machines or () if owner.hosts == (host,) and not _states.is_ending(m["status"])]
    leased, spared = str(raw["lease"] or ""), declaration.why_protected(host, raw["protect"], Entry())
    idle, odd = _idle_after(str(raw["idle_after"]), len(own))
    lived = life_by_name(leased, last_created_at(own), clock) if own else Life()
    return Host(host, NOWHERE, Entry(), tuple(own), lived, idle, odd if own else "", leased, spared)


def _idle_after(text: str, machines: int) -> tuple[float, str]:
    """The seconds for which a host may be idle, 0 for ever, and why they cannot be read, in which case it never ends.

    Of several machines only the first would be asked, so those of a cluster never are.
    """
    try:
        seconds = lease.read_duration(text) or 0.0
    except ValueError as error:
        return 0.0, str(error)
    return seconds if machines == 1 else 0.0, ""


def _unplayable(item: Host, unreadable: t.Container[str]) -> str:
    """Why no play looks after a host whose lease is over."""
    if item.host not in unreadable:
        return f"Two registries have a {item.host} whose lease is over. One of them was ended; sweep again."
    runs_on = f"{ids_in_words(item.row['resource_id'])} runs on at {usd(item.price_per_hour)}"
    why = "Ansible runs nothing for it until its file can be read."
    return f"The lease of {item.host} is over, and {runs_on}: {why}"


def unswept_projects(
    entries: t.Iterable[tuple[str, Entry]], clock: Clock, why_unswept: t.Callable[[str], str]
) -> list[str]:
    """A sentence for each project of the shared registry in which leases are over that no sweep enforces.

    ``entries``: what the registry has beside a sweep's, by projects. ``why_unswept``: empty for one that is swept.
    """
    over = sorted({project for project, entry in entries if life(entry, None, clock).is_over()})
    return [
        f"The shared registry has leases of the project {project} that are over, and no sweep enforces them. Sweep it"
        f" as well: -e provision_project={project}."
        for project in over
        if why_unswept(project)
    ]


Left = t.Sequence[tuple[Host, str]]  # hosts that do not take part in a sweep, and why


@dataclass(frozen=True)
class SweepFindings:
    """All that a sweep has found: the hosts that registries know, those that only their names tell, and the clocks.

    ``by_name``: machines of the latter end, too. ``unclaimed``: machines that no host owns.
    """

    known: tuple[Host, ...]
    named: tuple[Host, ...]
    clock: Clock
    unclaimed: t.Sequence[Machine] = ()
    by_name: bool = False

    @property
    def all(self) -> tuple[Host, ...]:
        """Every host."""
        return (*self.known, *self.named)

    @property
    def ending(self) -> tuple[Host, ...]:
        """Those that this sweep may end."""
        return self.all if self.by_name else self.known

    @property
    def due(self) -> list[Host]:
        """Those whose lease is over, so that they end."""
        return [item for item in self.ending if item.life.is_over() and not item.protection]

    @property
    def spared(self) -> list[Host]:
        """Those whose lease is over, and that do not end since they are protected."""
        machines = (item for item in self.all if not item.entry.storage_of)
        return [item for item in machines if item.life.is_over() and item.protection]

    @property
    def watched(self) -> list[Host]:
        """Those that are asked whether they are idle: their time is not over in any case, and nothing protects them."""
        asked = (item for item in self.ending if item.idle and not item.protection)
        return [item for item in asked if not (item.life.is_over() or item.life.reason)]

    def playable(
        self, unreadable: t.Container[str], own: t.Mapping[str, t.Mapping[str, t.Any]], usual: SweepLimits
    ) -> tuple[list[tuple[Host, SweepLimits]], list[tuple[Host, str]]]:
        """The hosts that a play can look after, first those that end, with their limits; and the others, with a reason.

        Ansible ends a play at a host whose files it cannot read (``unreadable``), and a play has one host of a name.
        ``own``: the variables ``reap_grace`` and ``reap_before_end_timeout`` of hosts that have any.
        """
        able: dict[str, tuple[Host, SweepLimits]] = {}
        left = []
        for item in (*self.due, *self.watched):
            grace, command = (own.get(item.host, {}).get(name) for name in LIMITS_OF_SWEEPS)
            if item.host in unreadable or item.host in able:
                left += [(item, _unplayable(item, unreadable))] if item.life.is_over() else []
                continue
            try:
                able[item.host] = item, read_limits(grace, command, usual)
            except ValueError as error:
                left.append((item, f"{item.host}: {error} Nothing was ended for it."))
        return list(able.values()), left

    def late_runs(self, unreadable: t.Container[str], since: t.Callable[[Place], float | None]) -> list[Host]:
        """The hosts of runs that may end before the next sweep, so that their results come home now.

        Not those without a play, which has one host of a name: what ends, or may be idle, comes first, also if it is in
        another registry. ``since``: how many seconds ago a registry was swept last; None if that is not known.
        """
        # Most sweeps have no runs, and so nothing to ask a registry for.
        lives = ((item, item.life) for item in self.known if GROUP_OF_RUNS in item.entry.groups)
        late = [item for item, life in lives if is_fetch_due(item.entry, life.end, life.passed, since(item.place))]
        others = {item.host for item in (*self.due, *self.watched)}
        return [item for item in late if item.host not in unreadable and item.host not in others]

    def why_red(self, unread: t.Iterable[str], left: Left, moved: t.Iterable[Bill], unswept: t.Iterable[str]) -> str:
        """Why the sweep fails, whatever becomes of the hosts that it ends; empty if nothing speaks against it.

        ``unread``: what could not be read or noted, of inventories, registries and missing machines. ``left``: hosts
        whose lease is over and that no play looks after. ``moved``: what the ledgers of folders have as over; what of
        that went into a registry which is not read here may be billed. ``unswept``: `unswept_projects`.
        """
        moved_away = moving.moved_away(moved, self.unclaimed)
        return joined(*dict.fromkeys([*unread, *self._unkept(), *moved_away, *unswept, *(why for _host, why in left)]))

    def _unkept(self) -> list[str]:
        """Leases that cannot be read or that protected hosts outlive, and clocks that differ."""
        unreadable = [unreadable_lease(item.host, item.life.reason) for item in self.all if item.life.reason]
        odd = [
            f"provision_idle_after of {item.host} {item.odd_idle}. Its machine is never ended for being idle."
            for item in self.all
            if item.odd_idle
        ]
        spared = [
            f"The lease of {item.host} was over at {item.row['until']}, and its machine runs on. {item.protection}"
            " If it is to stay, compute_index.supply.extend gives it more time."
            for item in self.spared
        ]
        return [*unreadable, *odd, *spared, lease.clocks_differ(self.clock)]

    def keeps(self, places: t.Iterable[Place], left: Left, is_unread: t.Callable[[Place], bool]) -> list[Place]:
        """The registries for which the sweep counts: all leases in them can be read, and are over by clocks that agree.

        One of which the account has no machine at all is rather another account's: see `of_another_account`. ``left``:
        hosts that do not take part, and why; one whose lease is over does not end. ``is_unread``: whether something in
        a registry cannot be read.
        """
        unread = {item.place for item in self.all if item.life.reason}
        broken = unread.union(self._unlisted(), (host.place for host, _why in left if host.life.is_over()))
        kept = [] if self.clock.is_apart else [place for place in places if place and place not in broken]
        return [place for place in kept if not is_unread(place)]

    def _unlisted(self) -> dict[Place, list[str]]:
        """The registries that name machines of which the account lists none, with the hosts of these."""
        named = [item for item in self.known if item.entry.resource_ids and not item.entry.storage_of]
        listed = {item.place for item in named if item.machines}
        return grouped((item.place, item.host) for item in named if item.place not in listed)

    @property
    def of_another_account(self) -> list[str]:
        """A warning for each registry that this token can hardly sweep: its leases would end nothing."""
        return [
            f"The account lists no machine of {', '.join(ranges(hosts))}, which {place.entry_place('<host>')} names. Is"
            " the token of the right account? Until one is listed, no sweep counts for their leases."
            for place, hosts in self._unlisted().items()
        ]

    def lines(self) -> list[str]:
        """For people: the leases that are over, how many have time left, and which are over and do not end."""
        rows = [{**item.row, "since": str(item.row["until"] or "-").removesuffix(" UTC")} for item in self.due]
        over = narrow_table(rows, _OVER, ["host"]) if rows else ["No lease is over."]
        live = [item for item in self.all if item.life.end is not None and not item.life.is_over()]
        next_end = min(((item.life.end or 0.0, item.host) for item in live), default=(0.0, ""))
        by_name = [item for item in self.named if item.life.is_over() and not (item.protection or self.by_name)]
        sentences = {
            f"{len(live)} with time left; the next until {formatted(next_end[0])} ({next_end[1]}).": live,
            f"{_names(self.watched)} will be asked whether they are idle.": self.watched,
            f"Over, by their names alone: {_names(by_name)}. -e reap_by_name=true ends them.": by_name,
            f"Over, but protected: {_names(self.spared)}.": self.spared,
        }
        return [*over, *applicable(sentences)]


def _names(hosts: t.Iterable[Host]) -> str:
    return abridged([item.host for item in hosts])


# What has become of it


def not_done(raw: t.Mapping[str, t.Any]) -> str:
    """What a sweep has not done for a host that it was to look after; empty if nothing.

    ``raw``: its ``host``, for how long it may be ``idle``, what ``failed`` (empty: nothing, None: its tasks did not
    come to their end), and its ``activity``.
    """
    host, activity = raw["host"], raw["activity"] or {}
    if raw["failed"]:
        return str(raw["failed"])
    if not number_of(raw["idle"]):
        unended = "its lease is over, and this sweep did not come to its end. Its machine may be billed; sweep again."
        return f"{host}: {unended}" if raw["failed"] is None else ""
    if "state" in activity:
        return ""
    why = one_line(str(activity.get("msg") or ""))
    unasked = "its machine could not be asked whether it is idle, so it stays, and is billed"
    return f"{host}: {unasked}{f': {why}' if why else '.'}"


def why_red_at_end(before: t.Iterable[str], rows: t.Iterable[t.Mapping[str, t.Any]], unnoted: t.Iterable[str]) -> str:
    """Why the sweep fails now that it is over: by what it has found (`SweepFindings.why_red`), and by what it has done.

    ``rows``: see `not_done`. ``unnoted``: registries in which it could not note that it has kept the leases.
    """
    return joined(*before, *map(not_done, rows), *unnoted)


def swept_places(places: t.Iterable[str], rows: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """The registries in which a sweep has kept all leases: of those that it could read, where no end has failed."""
    broken = {row["place"] for row in rows if not number_of(row["idle"]) and not_done(row)}
    return [place for place in places if place not in broken]
