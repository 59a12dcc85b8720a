# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which leases are over, of all that the registries know?

What is over ends elsewhere, by the role decommission, which looks again. This module util is private to the collection.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from .. import _decide_spec, _spec, _states
from .._api import SupplyApi
from .._on_api import on_api
from .._operation import Failure, Operation, Params, Result
from .._provision import lease, messages, ownership, reaping, registration
from .._provision.entry import Entry, read_entry
from .._provision.lease import Clock
from .._provision.machines import created_of, price_of
from .._provision.ownership import Machine
from .._provision.place import NOWHERE, Place
from .._provision.reaping import Life, State
from .._provision.standing import Account
from .._registry._protocol import RegistryError
from .._wording import table, usd
from ._memory import Memory, named_claim
from ._registries import Registries, with_registries
from .settle import settle

BLANK: Result = {"changed": False, "due": [], "hosts": [], "lines": [], "trouble": "", "reap": {}}

_OVER = {"host": "host", "lease over since": "until", "USD/hour": "price_per_hour", "machine": "resource_id"}


@dataclass(frozen=True)
class _Host:
    """A host that owns something, with what the API has of it."""

    host: str
    place: Place
    entry: Entry
    machines: tuple[Machine, ...]
    life: Life
    idle: float = 0.0  # seconds that it may be idle; 0 for what nobody watches

    @property
    def may_be_idle(self) -> bool:
        """Whether it is asked: its time is not over in any case, and what is odd about it ends nothing."""
        return bool(self.idle) and self.life.state in (State.LIVES, State.ENDLESS)

    @property
    def price_per_hour(self) -> float | None:
        """USD per hour of all its machines; None if one of them is unknown."""
        return price_of(self.machines) if self.machines else self.entry.price_per_hour


@with_registries
def reap(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """The hosts whose lease is over in ``due``, lines for people, and in ``trouble`` why the sweep fails."""
    if params["limited"]:
        raise Failure("A sweep is about all machines that the registry knows: leave --limit out.", "invalid")
    places = registries.places(params)
    settled = settle(api, params, places.values(), check_mode)
    memory = Memory(registries, places.values())
    nameable = [each for each in params["hosts"] if each["declares"] and not places[each["host"]]]
    account = Account.of([*memory.claims(), *map(named_claim, nameable)], api.resources())
    clock = Clock(time.time(), api.ahead)
    limits = {each["host"]: str(each["idle_after"]) for each in params["hosts"] if each["declares"]}
    known = [_of_entry(*each, account, clock, limits) for each in memory.all() if not _is_void(each[2])]
    named = [_of_name(each, account, clock) for each in nameable]
    trouble = list(memory.warnings())
    trouble += [messages.unreadable_lease(each.host, each.life.reason) for each in _in(State.UNKNOWN, [*known, *named])]
    if not check_mode:
        trouble += _noted(registries, places.values(), clock)
    due = _in(State.OVER, known) + (_in(State.OVER, named) if params["by_name"] else [])
    watched = [each for each in [*known, *(named if params["by_name"] else [])] if each.may_be_idle]
    if not check_mode:
        for each in (*due, *watched):  # commands may be run on their machines
            registries.pin(each.place, each.host, each.entry)
    return {
        **BLANK,
        "due": [*(_due(each, registries, 0) for each in due), *(_due(each, registries, each.idle) for each in watched)],
        "hosts": [each.host for each in [*due, *watched]],
        "lines": _lines(due, known, named, watched, account.unclaimed, by_name=params["by_name"]),
        "trouble": messages.joined(*trouble),
        "changed": bool(settled.closed),
        "warnings": [*settled.told, *([messages.clocks_apart(clock.ahead)] if clock.is_apart else [])],
        "reap": {"over": [_row(each) for each in due], "unclaimed": len(account.unclaimed)},
    }


def reaped(params: Params, check_mode: bool) -> Result:
    """The end of a sweep. Raises Failure if something could not be read, noted or ended."""
    trouble = messages.joined(*params["trouble"])
    if trouble:
        raise Failure(trouble, "unavailable")
    return {"changed": False}


def _is_void(entry: Entry) -> bool:
    return entry.is_empty or entry.is_refused


def _of_entry(
    place: Place, host: str, entry: Entry, account: Account, clock: Clock, limits: t.Mapping[str, str]
) -> _Host:
    found = [machine for machine, _owner in account.machines_with(entry.resource_ids)]
    if not entry.resource_ids:
        found = [machine for machine, owner in account.of_offer(entry.offer_id) if owner.hosts == (host,)]
    # Who declares the host says how long it may be idle; of others the registry knows what was said at the purchase. Of
    # several machines only the first would be asked, so those of a cluster never are.
    idle = _seconds(limits.get(host, entry.idles)) if len(entry.instances) == 1 else 0.0
    return _Host(host, place, entry, tuple(found), reaping.life(entry, created_of(found), clock), idle)


def _seconds(text: str) -> float:
    """A duration, 0 of none; what cannot be read ends nothing, and is an error of the declaration."""
    try:
        return lease.read_duration(text) or 0.0
    except ValueError:
        return 0.0


def _of_name(raw: t.Mapping[str, t.Any], account: Account, clock: Clock) -> _Host:
    """A host without a registry: its machine is the one that its name proves."""
    host = raw["host"]
    own = [m for m, owner in account.machines or () if owner.hosts == (host,) and not _states.is_ending(m["status"])]
    life = reaping.life_by_name(str(raw["lease"] or ""), created_of(own), clock) if own else Life(State.ENDLESS)
    idle = _seconds(str(raw["idle_after"])) if len(own) == 1 else 0.0
    return _Host(host, NOWHERE, read_entry(None), tuple(own), life, idle)


def _in(state: State, hosts: t.Iterable[_Host]) -> list[_Host]:
    return [each for each in hosts if each.life.state is state]


def _noted(registries: Registries, places: t.Iterable[Place], clock: Clock) -> t.Iterator[str]:
    """Note that the leases of these places are being enforced; what cannot be noted is told."""
    for place in dict.fromkeys(filter(None, places)):
        try:
            registries.at(place).note_sweep(clock.here)
        except RegistryError as error:
            yield str(error)


def _due(each: _Host, registries: Registries, idle: float) -> Result:
    """A host as the play takes it: where no file beside the inventory says how its machine is reached, this does.

    ``idle``: seconds that it may be idle; 0 for one whose time is over in any case.
    """
    entry = each.entry
    reached: Result = {}
    if each.place.hands_facts and entry.instances:
        known_hosts = registries.at(each.place).known_hosts(each.host, entry.offer_id)
        facts = registration.facts(
            entry.offer_id, entry.resource_ids, entry.instances, entry.price_per_hour, entry.ssh_trust, known_hosts
        )
        reached = {name: facts[name] for name in (*registration.ADDRESS, *registration.SSH_ARGUMENTS)}
    return {**_row(each), "groups": list(entry.groups), "reached": reached, "idle": idle, "place": each.place.text}


def _row(each: _Host) -> Result:
    return {
        "host": each.host,
        "until": None if each.life.end is None else lease.said(each.life.end),
        "price_per_hour": each.price_per_hour,
        "resource_id": [ownership.id_of(machine) for machine in each.machines] or list(each.entry.resource_ids),
    }


def _lines(
    due: t.Sequence[_Host],
    known: t.Sequence[_Host],
    named: t.Sequence[_Host],
    watched: t.Sequence[_Host],
    unclaimed: t.Sequence[Machine],
    *,
    by_name: bool,
) -> list[str]:
    """What a sweep has found, shortest first where there is nothing to do."""
    lines = [*table([_row(each) for each in due], _OVER), ""] if due else ["No lease is over."]
    live = sorted(_in(State.LIVES, [*known, *named]), key=lambda each: each.life.end or 0.0)
    if live:
        lines.append(
            f"{len(live)} with time left; the next until {lease.said(live[0].life.end or 0.0)} ({live[0].host})."
        )
    endless = [each.host for each in _in(State.ENDLESS, [*known, *named]) if each.machines]
    if endless:
        lines.append(f"{len(endless)} without a lease: {messages.some(endless)}.")
    if watched:
        lines.append(f"{len(watched)} asked whether they are idle: {messages.some([each.host for each in watched])}.")
    over = [] if by_name else [each.host for each in _in(State.OVER, named)]
    if over:
        lines.append(f"Over, by their names alone: {messages.some(over)}. -e reap_by_name=true ends them.")
    if unclaimed:
        cost = sum(machine["price_per_hour"] or 0.0 for machine in unclaimed)
        lines.append(f"{len(unclaimed)} that nobody claims cost {usd(round(cost, 6))}; the playbook audit shows them.")
    return lines


REAPED = Operation(reaped, {**_spec.API, **_decide_spec.REAPED}, {"changed": False})
REAP = on_api(SupplyApi, reap, _decide_spec.REAP, BLANK)
