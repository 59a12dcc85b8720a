# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sweep finds: the hosts whose lease is over, those to be asked whether they are idle, and the rest."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .. import _states
from .._text import grouped, number_of, one_line
from .._wording import LINE, narrow_table, ranges, usd
from . import lease, lifetimes, ownership, protection, reaping, running
from .clock import Clock
from .entry import Entry
from .messages import ids_of, some, unreadable_lease
from .ownership import Account, Machine, last_created_at, price_of
from .place import NOWHERE, Place
from .reaping import LeaseState, Life, SweepLimits
from .running_report import GROUP

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
    def may_be_idle(self) -> bool:
        """Whether it is asked: its time is not over in any case, and neither oddity nor protection keeps it."""
        is_asked = bool(self.idle) and not self.protection
        return is_asked and self.life.state in (LeaseState.LIVES, LeaseState.ENDLESS)

    @property
    def price_per_hour(self) -> float | None:
        """USD per hour of all its machines; None if one of them is unknown."""
        return price_of(self.machines) if self.machines else self.entry.price_per_hour

    @property
    def row(self) -> dict[str, t.Any]:
        """It as people read it, and a workflow gets it."""
        return {
            "host": self.host,
            "until": None if self.life.end is None else lease.said(self.life.end),
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
    if entry.is_empty or entry.is_refused:
        return None
    found = [machine for machine, _owner in account.machines_with(entry.resource_ids)]
    if not entry.resource_ids:
        found = [machine for machine, owner in account.of_offer(entry.offer_id) if owner.hosts == (host,)]
    # Who declares the host says how long it may be idle; of others the registry knows what was said at the purchase. Of
    # several machines only the first would be asked, so those of a cluster never are.
    idle, odd = _seconds(limits.get(host, entry.idles))
    lived = reaping.life(entry, last_created_at(found), clock)
    spared = protection.refusal(host, protects.get(host), entry)
    idle = idle if len(entry.instances) == 1 else 0.0
    return Host(host, place, entry, tuple(found), lived, idle, odd, protection=spared)


def of_name(raw: t.Mapping[str, t.Any], account: Account, clock: Clock) -> Host:
    """A host without a registry: its machine is the one that its name proves."""
    host = raw["host"]
    own = [m for m, owner in account.machines or () if owner.hosts == (host,) and not _states.is_ending(m["status"])]
    leased = str(raw["lease"] or "")
    life = reaping.life_by_name(leased, last_created_at(own), clock) if own else Life()
    idle, odd = _seconds(str(raw["idle_after"]))
    spared, idle = protection.refusal(host, raw["protect"], Entry()), idle if len(own) == 1 else 0.0
    return Host(host, NOWHERE, Entry(), tuple(own), life, idle, odd if own else "", leased, spared)


def _seconds(text: str) -> tuple[float, str]:
    """A duration, 0 of none, and why it cannot be read, in which case it ends nothing."""
    try:
        return lease.read_duration(text) or 0.0, ""
    except ValueError as error:
        return 0.0, str(error)


def playable(
    due: t.Iterable[Host], watched: t.Iterable[Host], unreadable: t.Container[str]
) -> tuple[list[Host], list[Host], list[tuple[Host, str]]]:
    """Those that a play can look after, and each that it cannot, though its lease is over, with a sentence.

    Ansible ends a play at a host whose files it cannot read, and a play has one host of a name.
    """
    first: dict[str, Host] = {}
    left = []
    for item in due:
        if item.host in unreadable:
            runs_on = f"{ids_of(item.row['resource_id'])} runs on at {usd(item.price_per_hour)}"
            why = "Ansible runs nothing for it until its file can be read."
            left.append((item, f"The lease of {item.host} is over, and {runs_on}: {why}"))
        elif item.host in first:
            why = f"Two registries have a {item.host} whose lease is over. One of them was ended; sweep again."
            left.append((item, why))
        else:
            first[item.host] = item
    others = [item for item in watched if item.host not in unreadable and item.host not in first]
    return list(first.values()), list({item.host: item for item in others}.values()), left


def projects_over(entries: t.Iterable[tuple[str, Entry]], clock: Clock) -> list[str]:
    """The projects in which a lease is over. ``entries``: what a shared registry has beside a sweep's, by projects."""
    return sorted({project for project, entry in entries if reaping.life(entry, None, clock).is_over()})


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
        return [item for item in _in(LeaseState.OVER, self.ending) if not item.protection]

    @property
    def spared(self) -> list[Host]:
        """Those whose lease is over, and that do not end since they are protected."""
        return [item for item in _in(LeaseState.OVER, self.all) if item.protection]

    @property
    def watched(self) -> list[Host]:
        """Those that are asked whether they are idle."""
        return [item for item in self.ending if item.may_be_idle]

    def late_runs(self, unreadable: t.Container[str], since: t.Callable[[Place], float | None]) -> list[Host]:
        """The hosts of runs that may end before the next sweep, so that their results come home now.

        Not those without a play, which has one host of a name: what ends, or may be idle, comes first, also if it is in
        another registry. ``since``: how many seconds ago a registry was swept last; None if that is not known.
        """
        # Most sweeps have no runs, and so nothing to ask a registry for.
        lives = ((item, item.life) for item in self.known if GROUP in item.entry.groups)
        late = [item for item, life in lives if running.is_late(item.entry, life.end, life.passed, since(item.place))]
        others = {item.host for item in (*self.due, *self.watched)}
        return [item for item in late if item.host not in unreadable and item.host not in others]

    @property
    def trouble(self) -> list[str]:
        """Why the sweep fails: leases that cannot be read or that protected hosts outlive, and clocks that differ."""
        unreadable = [unreadable_lease(item.host, item.life.reason) for item in _in(LeaseState.UNKNOWN, self.all)]
        odd = [
            f"provision_idle_after of {item.host} {item.odd_idle}. Its machine is never ended for being idle."
            for item in self.all
            if item.odd_idle
        ]
        spared = [
            f"The lease of {item.host} was over at {item.row['until']}, and its machine runs on. {item.protection}"
            for item in self.spared
        ]
        return [*unreadable, *odd, *spared, lifetimes.apart(self.clock)]

    def keeps(self, places: t.Iterable[Place], left: t.Iterable[tuple[Host, str]]) -> list[Place]:
        """Those of these registries in which all leases can be read, and are over by clocks that agree.

        One of which the account has no machine at all is rather another account's: see `of_another_account`. ``left``:
        hosts whose lease is over and that do not end, and why.
        """
        broken = {item.place for item in (*_in(LeaseState.UNKNOWN, self.all), *(host for host, _why in left))}
        broken.update(self._unlisted())
        return [] if self.clock.is_apart else [place for place in places if place and place not in broken]

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
        """For people, shortest if there is nothing to do."""
        due = self.due
        rows = [{**item.row, "since": str(item.row["until"] or "-").removesuffix(" UTC")} for item in due]
        over = narrow_table(rows, _OVER, LINE, ["host"]) if due else ["No lease is over."]
        kinds = {
            "{count} without a lease: {hosts}.": [item for item in _in(LeaseState.ENDLESS, self.all) if item.machines],
            "{count} asked whether they are idle: {hosts}.": self.watched,
            "Over, by their names alone: {hosts}. -e reap_by_name=true ends them.": self._over_by_name(),
            "Over, but protected: {hosts}.": self.spared,
        }
        sentences = [
            text.format(count=len(hosts), hosts=some([item.host for item in hosts]))
            for text, hosts in kinds.items()
            if hosts
        ]
        return [*over, *filter(None, (self._live(), *sentences, self._rest()))]

    def _live(self) -> str:
        live = sorted(_in(LeaseState.LIVES, self.all), key=lambda each: each.life.end or 0.0)
        if not live:
            return ""
        return f"{len(live)} with time left; the next until {lease.said(live[0].life.end or 0.0)} ({live[0].host})."

    def _over_by_name(self) -> list[Host]:
        over = [] if self.by_name else _in(LeaseState.OVER, self.named)
        return [item for item in over if not item.protection]

    def _rest(self) -> str:
        if not self.unclaimed:
            return ""
        cost = usd(round(sum(machine["price_per_hour"] or 0.0 for machine in self.unclaimed), 6))
        return f"{len(self.unclaimed)} that no host claims cost {cost}; compute_index.supply.audit shows them."


def _in(state: LeaseState, hosts: t.Iterable[Host]) -> list[Host]:
    return [host for host in hosts if host.life.state is state]


def limited(
    hosts: t.Iterable[Host], own: t.Mapping[str, t.Mapping[str, t.Any]], usual: SweepLimits
) -> tuple[list[tuple[Host, SweepLimits]], list[tuple[Host, str]]]:
    """These hosts with the limits that hold for each, and those whose ``own`` cannot be read, with a sentence.

    ``own``: their variables ``reap_grace`` and ``reap_before_end_timeout``, by host, where they have any.
    """
    found, odd = [], []
    for host in hosts:
        said = own.get(host.host) or {}
        try:
            limits = reaping.read_limits(said.get("reap_grace"), said.get("reap_before_end_timeout"), usual)
        except ValueError as error:
            odd.append((host, f"{host.host}: {error} Nothing was ended for it."))
        else:
            found.append((host, limits))
    return found, odd


# What has become of it


def outcome(raw: t.Mapping[str, t.Any]) -> str:
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


def kept(places: t.Iterable[str], rows: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """The registries in which a sweep has kept all leases: of those that it could read, where no end has failed."""
    broken = {row["place"] for row in rows if not number_of(row["idle"]) and outcome(row)}
    return [place for place in places if place not in broken]


def project_unswept(project: str) -> str:
    """A project of the shared registry that this sweep is not about, and no other enforces."""
    return (
        f"The shared registry has leases of the project {project} that are over, and no sweep enforces them. Sweep it"
        f" as well: -e provision_project={project}."
    )
