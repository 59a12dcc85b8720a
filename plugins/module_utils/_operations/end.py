# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends for all hosts of a play at once, and, once it was told to end, what the registry keeps of it.

This module util is private to the collection.
"""

from __future__ import annotations

import time
import typing as t

from .. import _decide_spec, _states
from .._api import ApiError, Json, SupplyApi
from .._moments import seconds_of
from .._on_api import on_api
from .._operation import Failure, Params, Result
from .._provision import ending, lease, messages, reaping
from .._provision.ending import Action, Asked, End, Seen
from .._provision.entry import MADE, REFUSED, Entry, read_entry
from .._provision.lease import Clock
from .._provision.machines import created_of, price_of
from .._provision.ownership import Claim
from .._provision.place import NOWHERE, Place, place_of
from .._provision.reaping import Idleness, Life, State
from .._provision.spending import HOUR, Bill, cents, dollars
from .._provision.standing import Account
from .._registry._protocol import (
    DECOMMISSIONED,
    GONE,
    REAPED,
    Registry,
    RegistryError,
    Variables,
)
from .._text import number_of
from ._memory import Memory, leave_out_of_ssh, named_claim
from ._registries import Registries, with_registries
from .offer_status import offer_statuses

BLANK: Result = {"changed": False, "ends": []}
BLANK_ENDED: Result = {"changed": False, "left": [], "usd": None, "cost": ""}

_NEXT = {Action.END: "end.yml", Action.FORGET: "note.yml", Action.NOTHING: "", Action.STOP: "stop.yml"}


@with_registries
def end(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """What ends for each of ``hosts``. What is wrong with one is told in its plan; it fails by itself, later."""
    hosts = params["hosts"]
    consumed = [*params["consumed"], *params["ids"]]
    if params["forbidden"]:
        stops = [_shown(host, Entry(), NOWHERE, _stopped(params["forbidden"]), check_mode) for host in hosts]
        return {**BLANK, "ends": stops, "consumed": consumed}
    places = registries.places(params)
    memory = Memory(registries, places.values())
    asked = [_asked(host, places[host["host"]], memory) for host in hosts]
    seen = _seen(api, asked, _others(params, places, memory))
    clock = Clock(time.time(), api.ahead)
    forget = {each.strip().lower() for each in params["forget"]}
    ends = []
    for raw, one in zip(hosts, asked):
        place = places[one.host]
        held = messages.held(one.host, one.entry.held_by) if one.entry.held_by else ""
        left = registries.left_behind(raw, params, one.entry.offer_id)
        foreign = memory.foreign(place, one.host, str(raw["project"]))
        trouble = memory.trouble(place, one.host) or held or left or foreign
        found = _stopped(messages.nothing_ended(one.host, trouble)) if trouble else ending.end(one, seen, forget)
        label = ""
        if raw.get("reaped") and raw["reaped"].get("place", place.text) != place.text:
            found = _stopped(messages.remembered_elsewhere(one.host, raw["reaped"]["place"], place.text))
        elif raw.get("reaped") and found.action in (Action.END, Action.FORGET):
            found, label = _reaped(raw, one, found, clock, registries.at(place).host(one.host), check_mode)
        ends.append({**_shown(raw, one.entry, place, found, check_mode), **({"label": label} if label else {})})
    return {**BLANK, "ends": ends, "consumed": consumed, "warnings": memory.warnings(without=places)}


def _reaped(
    raw: t.Mapping[str, t.Any], one: Asked, found: End, clock: Clock, registry: Registry | None, check_mode: bool
) -> tuple[End, str]:
    """What ends of a host since its time is over, and a line about it: what it is now, not what the sweep has read.

    The entry is marked before anything is told to end. From then on it gets no more time, so of a sweep and an
    extension at the same moment one gets its way.
    """
    asked, entry, host = raw["reaped"], one.entry, one.host
    grace = 60.0 * (number_of(asked.get("grace")) or 0.0) if asked.get("unsaved") else 0.0
    if registry is not None:
        entry = read_entry(registry.read())
        if (entry.offer_id, entry.resource_ids) != (one.entry.offer_id, one.entry.resource_ids):
            return _stopped(messages.nothing_ended(host, messages.changed_meanwhile(registry.where))), ""
    lived, idleness = _life(asked, one, entry, created_of(found.machines), clock), _idleness(raw)
    is_over, ends_late = lived.state is State.OVER, lived.end is not None and lived.end + grace > clock.earliest
    is_idle = idleness.is_over() and lived.state is not State.UNKNOWN
    if not (is_over or is_idle):
        return End(Action.NOTHING), messages.lives(host, lease.said(lived.end) if lived.end else "you end it")
    if grace and not idleness.is_over(grace) and (ends_late or not is_over):
        return _stopped(messages.waits_for_hook(host, number_of(asked.get("grace")) or 0.0)), ""
    if registry is not None and not check_mode:
        try:
            registry.alter({lease.REAPED_AT: lease.utc(clock.here)})
        except RegistryError as error:
            return _stopped(messages.nothing_ended(host, f"{error} The next sweep looks again.")), ""
    why = messages.lease_over_since(lease.said(lived.end or 0.0)) if is_over else messages.was_idle(idleness.evidence)
    return found, f"{_label(host, entry, found, check_mode)}; {why}"


def _idleness(raw: t.Mapping[str, t.Any]) -> Idleness:
    """What the machine said of its use."""
    told = raw.get("activity") or {}
    return Idleness(
        number_of(raw["reaped"].get("idle")) or 0.0,
        str(told.get("state") or "unknown"),
        number_of(told.get("idle_seconds")) or 0.0,
        str(told.get("evidence") or ""),
    )


def _life(asked: t.Mapping[str, t.Any], one: Asked, entry: Entry, created: float | None, clock: Clock) -> Life:
    if one.by_name:
        return reaping.life_by_name(str(asked.get("lease") or ""), created, clock)
    return reaping.life(entry, created, clock)


def _stopped(reason: str) -> End:
    return End(Action.STOP, reason=reason)


def _asked(raw: t.Mapping[str, t.Any], place: Place, memory: Memory) -> Asked:
    # Without a registry there may still be what an earlier role of this run, or an earlier job, has given to the host.
    entry = memory.entry(place, raw["host"]) if place else read_entry(raw["known"])
    # The inventory plugin gives a machine to a host by its name, which is no claim of one that has a registry.
    noted_at = seconds_of(entry.journaled_at)
    age = None if noted_at is None else time.time() - noted_at
    listed = "" if place and (raw["declares"] or not entry.is_empty) else raw["listed_id"]
    return Asked(
        host=raw["host"],
        name=entry.name or str(raw["name"]),
        entry=entry,
        by_name=not place,
        resource_id=str(raw["resource_id"] or listed or "").strip().lower(),
        # Without a registry only this very run knows of a purchase whose outcome is open.
        age=age if place or not entry.is_open else 0.0,
    )


def _others(params: Params, places: t.Mapping[str, Place], memory: Memory) -> list[Claim]:
    """What hosts claim that are not asked about: of the same registries, and of the inventory where names count."""
    named = [named_claim(each) for each in params["inventory"] if each["host"] not in places]
    return memory.claims(without=places) + named


def _seen(api: SupplyApi, asked: t.Sequence[Asked], others: t.Sequence[Claim]) -> Seen:
    """What the API says of the hosts, in as few requests as it takes."""
    claims = [one.claim for one in asked] + list(others)
    try:
        machines = api.resources()
    except ApiError as error:
        return Seen(Account.of(claims, None, f"The machines of the account cannot be listed: {error}"))
    listed = {machine["resource_id"] for machine in machines}
    statuses = _statuses(api, asked, listed)
    told = {each for one in asked for each in statuses.get(one.entry.offer_id, {}).get("resource_ids") or ()}
    ids = {each for one in asked for each in one.claim.resource_ids} | told
    unknown: dict[str, str] = {}
    unread: dict[str, str] = {}
    for resource_id in sorted(ids - listed):
        try:
            machines.append(api.resource(resource_id, force_refresh=True))
        except ApiError as error:
            (unknown if error.error_class == "not_found" else unread)[resource_id] = str(error)
    return Seen(Account.of(claims, machines), statuses, unknown, unread)


def _statuses(api: SupplyApi, asked: t.Sequence[Asked], listed: t.Collection[str]) -> dict[str, Json]:
    """What became of registered offers, where the registry and the list do not say all that there is to know."""
    entries = [one.entry for one in asked if not one.entry.is_refused]
    open_ = [entry for entry in entries if not entry.was_ready or not set(entry.resource_ids) <= set(listed)]
    return offer_statuses(api, {entry.offer_id for entry in open_})


def _shown(raw: t.Mapping[str, t.Any], entry: Entry, place: Place, found: End, check_mode: bool) -> Result:
    """A plan as a plain mapping: what the role's tasks need, and a person can read at -v."""
    host = raw["host"]
    return {
        "host": host,
        "declaration": str(raw["id"]),
        "action": found.action.value,
        "next": _NEXT[found.action],
        "ids": list(found.ids),
        "prices": {machine["resource_id"]: machine["price_per_hour"] for machine in found.machines},
        **_costs(entry, found),
        "gone": list(found.gone),
        "forgotten": list(found.forgotten),
        "label": _label(host, entry, found, check_mode),
        "refusal": found.reason,
        "offer_id": entry.offer_id,
        "resource_ids": list(entry.resource_ids),
        "pending": found.pending,
        "reaped": bool(raw.get("reaped")),
        "registry": "" if entry.is_empty else place.text,
        "registry_file": "" if entry.is_empty else place.entry_file(host),
    }


def _costs(entry: Entry, found: End) -> Result:
    """At which price the host's machines were billed (USD per hour), and since when; nothing of what was not bought."""
    if entry.is_refused or found.action not in (Action.END, Action.FORGET):
        return {"price_per_hour": None, "began": ""}
    known = [price for price in (entry.price_per_hour, price_of(found.machines)) if price is not None and price > 0]
    made = min(filter(None, (str(each.get("created_at") or "") for each in found.machines)), default="")
    return {"price_per_hour": max(known, default=None), "began": entry.journaled_at or made}


def _label(host: str, entry: Entry, found: End, check_mode: bool) -> str:
    forgotten = messages.forgets(found.forgotten)
    if found.action is Action.STOP:
        return messages.nothing_below(host)
    if found.action is Action.NOTHING:
        return messages.owns_nothing(host)
    if found.action is Action.FORGET:
        return messages.runs_no_more(host, ", ".join(entry.resource_ids or found.gone) or entry.offer_id, forgotten)
    billed = [machine for machine in found.machines if not _states.is_ending(machine["status"])]
    return messages.ends(host, found.ids, billed, forgotten, would=check_mode)


@with_registries
def ended(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Bring the registry of one host up to date, once its machines were told to end: it keeps what may be billed.

    Raises Failure with ``left``, the ids of what has not ended for certain.
    """
    plan, answers = params["ends"][0], params["deleted"]
    if check_mode:
        return {**BLANK_ENDED, "changed": bool(plan["registry"])}
    stopped = {each.get("resource_id") for each in answers if each.get("billing_stopped") is True}
    left = [each for each in plan["ids"] if each not in stopped]
    said = [str(each.get("msg") or "") for each in answers if each.get("resource_id") not in stopped]
    if plan["pending"] and not left:
        left, more = _late(api, plan)
        said += more
    facts = {**BLANK_ENDED, "left": left}
    try:
        why = REAPED if plan.get("reaped") else DECOMMISSIONED
        facts["changed"], bill = _noted(plan, left, registries, why if plan["ids"] else GONE)
    except RegistryError as error:
        raise Failure(messages.not_noted(plan["host"], str(error), said, left), "invalid", **facts) from None
    if left:
        classes = [each["error_class"] for each in answers if each.get("error_class")]
        msg = messages.not_over(plan["host"], said, left, place_of(plan["registry"]).entry_place(plan["host"]))
        raise Failure(msg, next(iter(classes), "unavailable"), **facts)
    facts.update(_has_cost(plan, bill))
    warnings = leave_out_of_ssh(plan["host"], place_of(plan["registry"]))
    return {**facts, "warnings": warnings} if warnings else facts


def _has_cost(plan: t.Mapping[str, t.Any], bill: Bill | None) -> Result:
    """What the host's machines have cost at most, now that their end is certain, and a line about it.

    ``bill``: the purchase by the ledger; without one the plan tells.
    """
    if not plan["began"]:
        return {}
    now = time.time()
    if bill is None:
        bill = Bill(
            "", plan["host"], "", price_per_hour=plan["price_per_hour"], begin=seconds_of(plan["began"]), end=now
        )
    if not bill.is_known:
        return {"cost": messages.unknown_cost(plan["host"])}
    now = max(now, bill.end or now)
    millionths, hours = bill.cost(0.0, now), bill.seconds(0.0, now) / HOUR
    said = messages.has_cost(plan["host"], cents(millionths), hours, t.cast(float, bill.price_per_hour))
    return {"usd": dollars(millionths), "cost": said}


def _late(api: SupplyApi, plan: t.Mapping[str, t.Any]) -> tuple[list[str], list[str]]:
    """Machines of an offer under way that came while the others ended, with what there is to say of them."""
    try:
        listed = api.resources()
    except ApiError as error:
        return list(plan["ids"]), [f"The offer was still under way, and whether more of it came is not known: {error}"]
    late = [m for m in listed if m["offer_id"] == plan["offer_id"] and not _states.is_gone(m["status"])]
    late = [machine for machine in late if machine["resource_id"] and machine["resource_id"] not in plan["ids"]]
    said = [f"Meanwhile there came {messages.described(late)}."] if late else []
    return [machine["resource_id"] for machine in late], said


def _noted(
    plan: t.Mapping[str, t.Any], left: t.Sequence[str], registries: Registries, why: str
) -> tuple[bool, Bill | None]:
    """Whether the registry was changed, and what the purchase has cost by its ledger.

    Raises RegistryError, also if the entry is about something else by now.
    """
    registry = registries.at(place_of(plan["registry"])).host(plan["host"])
    before = registry.read() if registry else None
    if registry is None or before is None:
        return False, None
    entry = read_entry(before)
    if (entry.offer_id, list(entry.resource_ids)) != (plan["offer_id"], plan["resource_ids"]):
        raise RegistryError(messages.changed_meanwhile(registry.where))
    if left:
        return registry.note({"provision_resource_ids": list(left), "provision_purchase": MADE}) != before, None
    if entry.is_open:
        # A shared registry keeps what was, and ends only what it knows to be bought. What was there, or is forgotten,
        # may have been billed.
        bought: Variables = {"provision_purchase": MADE}
        if plan["ids"]:
            bought["provision_resource_ids"] = list(plan["ids"])
        may_be_bought = plan["ids"] or plan["gone"] or plan["forgotten"]
        registry.note(bought if may_be_bought else {"provision_purchase": REFUSED})
    if not entry.journaled_at and plan["began"]:
        registry.note({"provision_journaled_at": plan["began"]})  # which only the API knew
    return True, registry.end(why, plan["price_per_hour"])


END = on_api(SupplyApi, end, _decide_spec.END, BLANK)
ENDED = on_api(SupplyApi, ended, _decide_spec.ENDED, BLANK_ENDED)
