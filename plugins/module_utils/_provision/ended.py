# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a host's machines: what is left after it, what the registry keeps, what it has cost, and what people read.

What ends is decided in `ending`, when a sweep lets it end in `reaping`.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .. import _states
from .._text import amount, duration, folded_lines, ids_in_words, joined, plural, seconds_of, timestamps, usd_short, utc
from . import declaration, storage
from .ending import Action, End, EndRequest
from .entry import IDS, JOURNALED, MADE, PURCHASE, REFUSED, Entry, project_of
from .lease import API_CLOCK, NOTED_BY, Clock
from .ledger import DECOMMISSIONED, GONE, REAPED
from .messages import described
from .ownership import Machine, price_of
from .place import Place, place_of, twin_of
from .search import add_up
from .spending import Bill, dollars, up_to_cents
from .storage import Storage, read_storage

Row = t.Mapping[str, t.Any]

# What ends of a host by its plan, or has ended before: its machines, no more than its entry, or storage
MACHINES, STORAGE, STOP = Action.END.value, Action.STORAGE.value, Action.STOP.value
NOTED = (MACHINES, Action.FORGET.value, STORAGE)
SAY = "say"  # the file of tasks of the role for what follows once that was noted


def end_request(raw: Row, entry: Entry, place: Place, forget: frozenset[str] = frozenset()) -> EndRequest:
    """A host whose machines shall end, by its declaration (``raw``) and its entry; without a ``place`` by its name.

    ``forget``: ids that a person says are gone.
    """
    # The inventory plugin gives a machine to a host by its name, which is no claim of one that has a registry.
    listed = "" if place and (raw["declares"] or not entry.is_empty) else raw["listed_id"]
    name = entry.name or str(raw["name"])
    return EndRequest(
        host=raw["host"],
        protection=declaration.why_protected(raw["host"], raw.get("protect"), entry),
        name=name,
        entry=entry,
        by_name=not place,
        twin=twin_of(project_of(raw.get("project")), raw["host"], name),
        resource_id=str(raw["resource_id"] or listed or "").strip().lower(),
        ends_storage=bool(place) and raw.get("storage") == "end",
        is_swept=bool(raw.get("reaped")),
        forget=forget,
    )


def is_checked(raw: Row, check_mode: bool) -> bool:
    """Whether a host is only looked at: in check mode, be it that of its own tasks while others' are not."""
    return check_mode or bool(raw.get("check_mode"))


def wait_of(raw: Row) -> tuple[float, str]:
    """For how many seconds the end of each machine of a host is waited for; and why that cannot be read."""
    try:
        return duration(str(raw.get("wait_timeout", "5m"))), ""
    except ValueError as error:
        return 0.0, f"decommission_wait_timeout {error}."


def being_bought(one: EndRequest) -> str:
    """That another run is buying for the host at this moment; empty if none is."""
    who = one.entry.held_by
    return f"A run of {who} is buying for {one.host} at this moment. Wait until it has ended." if who else ""


def fault_of(raw: Row) -> str:
    """What is wrong with a host's arguments, in a sentence; empty for nothing."""
    return next((f"{fault}." for fault in raw.get("invalid", ())), wait_of(raw)[1])


def why_nothing_ends(raw: Row, one: EndRequest, *, unread: str, stale: str, foreign: str) -> str:
    """Why nothing ends for a host, whatever the API says of its machines: the first of these reasons; else empty.

    By its registry: ``unread``: why its entry cannot be read. ``stale``: that a file names another purchase than the
    shared registry. ``foreign``: that the entry is of another project's host.
    """
    reasons = (str(raw.get("trouble") or ""), fault_of(raw), unread, being_bought(one), stale, foreign)
    return next(filter(None, reasons), "")


def aged(one: EndRequest, clock: Clock) -> EndRequest:
    """The same with the seconds since its purchase was noted."""
    noted_at = seconds_of(one.entry.journaled_at)
    age = None if noted_at is None else clock.now(one.entry.clock) - noted_at
    # Without a registry only this very run knows of a purchase whose outcome is open.
    return replace(one, age=0.0 if one.by_name and one.entry.is_open else age)


def lines_of_end(host: str, entry: Entry, end: End, *, would: bool) -> list[str]:
    """Lines about the end of a host, beside what it has cost. ``would``: nothing ends in this run."""
    more = "; ".join(filter(None, (*_forgets(end), *_of_storage(end, would=would), end.by_sweep)))
    if end.action is Action.END:
        prices = {machine["resource_id"]: machine["price_per_hour"] for machine in end.machines if would}
        ends = [f"{host}: would end {item}, {usd_short(price)}" for item, price in prices.items()]
        return [*ends, *([f"{host}: {more}"] if more else [])]
    if end.action is Action.FORGET:
        nothing = f"{host}: nothing runs any more of {', '.join(entry.resource_ids or end.gone) or entry.offer_id}"
        return ["; ".join(filter(None, (nothing, more)))]
    is_said = end.by_sweep and end.action is Action.NOTHING
    return [end.by_sweep if is_said else f"{host} owns no machine; {more or 'there is nothing to end'}"]


def _forgets(end: End) -> list[str]:
    ids = [*end.forgotten, *end.storage_lost]
    return [f"forgets {', '.join(ids)}, which the API does not know"] if ids else []


def _of_storage(end: End, *, would: bool) -> t.Iterator[str]:
    """Which storage stays and which ends. Once a machine has ended, `lines_of_storage` has more of what stays."""
    ends = [item for item in end.storage if item.resource_id in {*end.storage_ends} - {*end.storage_lost}]
    if would or not end.ends:
        yield storage.storage_summary((*end.storage_stays, *end.unregistered_storage), "stays and is billed")
    yield storage.storage_summary(ends, "would end" if would else "ends")
    yield from (f"{item} does not end, since {reason}" for item, reason in end.storage_spared.items())


def price_and_begin(entry: Entry, end: End) -> dict[str, t.Any]:
    """At which price the host's machines were billed (USD per hour, the highest that is known), and since when.

    Nothing of what was not bought.
    """
    if entry.is_refused or not end.ends:
        return {"price_per_hour": None, "began": ""}
    made = min(timestamps(machine.get("created_at") for machine in end.machines), default=None)
    highest = max(entry.price_per_hour or 0.0, _by_api(end))
    began = entry.journaled_at or ("" if made is None else utc(made))
    return {"price_per_hour": highest or None, "began": began}


def _saves(machines: t.Iterable[Machine]) -> float:
    """USD per hour of those that are not ending yet."""
    return add_up(item["price_per_hour"] for item in machines if not _states.is_ending(item["status"])).total


def _by_api(end: End) -> float:
    """The price of the machines by the API (USD per hour), with the storage that came with them; 0 if unknown.

    Also of those that had ended before: their price may have risen as well.
    """
    price = price_of(end.machines)
    came_along = sum(item.price_per_hour or 0.0 for item in end.storage if not item.kept_since)
    return 0.0 if price is None else round(price + end.price_when_gone + came_along, 6)


def cost_of(bills: t.Iterable[Bill | None]) -> dict[str, t.Any]:
    """What has just ended has cost at most, by the ledger: USD, and for people; nothing if no registry knew it."""
    told = [bill for bill in bills if bill is not None]
    if not all(bill.is_known(bill.until(0.0)) for bill in told):
        return {"cost": "unknown"}
    usd = dollars(sum(bill.cost(0.0, bill.until(0.0)) for bill in told))
    return {"usd": usd, "cost": f"USD {amount(up_to_cents(usd))}"} if told else {}


def lines_of_storage(host: str, end: End) -> list[str]:
    """Lines about the storage that stays after the end of a host's machines."""
    return storage.storage_lines(host, end.storage_stays) + storage.storage_lines(
        host, end.unregistered_storage, is_remembered=False
    )


@dataclass(frozen=True)
class NotEnded:
    """The ids of what has not ended for certain, sentences about it, and the class of the first error.

    ``over``: the ids of what has.
    """

    ids: tuple[str, ...]
    said: tuple[str, ...]
    error_class: str = "unavailable"
    over: tuple[str, ...] = ()


def not_ended(plan: Row, ids: t.Iterable[str], answers: t.Mapping[str, Row]) -> NotEnded:
    """Which of a host's ids have not ended. ``answers``: those of `delete_resource`, by the ids of all that ends."""
    own = {item: answers.get(item, {}) for item in ids}
    over = tuple(item for item, answer in own.items() if _is_over(plan, item, answer))
    unknown = "What the API has answered to a deletion is not known."
    said = [str(answer.get("msg") or unknown) for item, answer in own.items() if item not in over]
    classes = [answer["error_class"] for answer in own.values() if answer.get("error_class")]
    left = tuple(item for item in own if item not in over)
    return NotEnded(left, tuple(said), next(iter(classes), "unavailable"), over)


def machines_not_ended(plan: Row, answers: t.Mapping[str, Row]) -> NotEnded:
    """Which of a host's machines have not ended, also those that were not told to: the API does not show them."""
    left = not_ended(plan, plan["ids"], answers)
    reason = [plan["refusal"]] if plan["in_doubt"] else []
    return replace(left, ids=(*left.ids, *plan["in_doubt"]), said=(*left.said, *reason))


def _is_over(plan: Row, resource_id: str, answer: Row) -> bool:
    """Whether the API says that something has ended, or does not know storage of which a person says so."""
    is_lost = answer.get("error_class") == "not_found" and resource_id in plan.get("storage_lost", ())
    return is_lost or answer.get("billing_stopped") is True


def late_of(plan: Row, listed: t.Iterable[Machine]) -> NotEnded:
    """The machines of an offer under way that came while the others ended."""
    late = [
        machine
        for machine in listed
        if machine["offer_id"] == plan["offer_id"]
        and _states.is_machine(machine)
        and machine["resource_id"] not in (None, "", *plan["ids"])
        and not _states.is_gone(machine["status"])
    ]
    said = (f"Meanwhile there came {described(late)}.",) if late else ()
    return NotEnded(tuple(machine["resource_id"] for machine in late), said)


def if_unlisted(plan: Row, error: Exception) -> NotEnded:
    """The same if the list cannot be read: all may go on."""
    return NotEnded(
        tuple(plan["ids"]), (f"The offer was still under way, and whether more of it came is not known: {error}",)
    )


def notes(entry: Entry, plan: Row, left: t.Sequence[str]) -> dict[str, t.Any]:
    """The changes to the entry of a host, which ends after them if nothing is ``left``.

    A machine that is forgotten, or gone, may have been billed.

    A shared registry keeps what was, and ends only what it knows to be bought. If it does not know when that was, the
    API has told when the machine was made. What it has as storage stays, also after the end.
    """
    items = read_storage(plan["storage"])
    if left:  # a machine goes on, and may get more time: what it uses is no longer to end
        items = tuple(item if item.kept_since else replace(item, is_to_end=None) for item in items)
    kept = storage.storage_changes(items, entry.storage)
    if left:
        return {IDS: list(left), PURCHASE: MADE, **kept}
    if not entry.is_open:
        is_new = plan["began"] and not entry.journaled_at
        return {**({JOURNALED: plan["began"], NOTED_BY: API_CLOCK} if is_new else {}), **kept}
    if not (plan["ids"] or plan["gone"] or plan["forgotten"] or kept):
        return {PURCHASE: REFUSED}
    return {PURCHASE: MADE, **({IDS: list(plan["ids"])} if plan["ids"] else {}), **kept}


def why_ended(plan: Row) -> str:
    """Why the purchase of a host has ended, for the ledger: a sweep or a person has ended it, or it was gone before."""
    return _ended_by(plan) if plan["ids"] else GONE


def why_storage_ended(plan: Row) -> str:
    """The same of its storage; with a machine that was given back it ends for the reason of that (`storage_to_end`)."""
    return plan.get("why") or _ended_by(plan)


def _ended_by(plan: Row) -> str:
    return REAPED if plan["reaped"] else DECOMMISSIONED


def storage_to_end(
    plan: Row, items: t.Iterable[Storage], ends: t.Sequence[str], why: str, ahead: float | None
) -> dict[str, t.Any]:
    """What the role provision needs to end storage of a host, and to note that.

    ``why``: for the ledger. ``ahead``: seconds by which the API's clock is ahead of this one, None if unknown.
    """
    stays = [item.resource_id for item in items if item.resource_id not in ends]
    known = {"host": plan["host"], "registry": plan["registry"], "next": STORAGE, "why": why, "ahead": ahead}
    machines = {"ids": [], "in_doubt": [], "pending": False}
    return {**known, **machines, "storage_ends": list(ends), "stays": [], "storage_stays": stays}


def is_as_planned(entry: Entry, plan: Row) -> bool:
    """Whether an entry is still about the purchase and the machines whose end was planned."""
    return (entry.offer_id, list(entry.resource_ids)) == (plan["offer_id"], plan["resource_ids"])


def remembered_elsewhere(place: str, declared_place: str) -> str:
    """The variables of a host lead to another registry than the one in which its machine was found."""
    return (
        f"Its time is over by the registry {place}, but its own variables lead to {declared_place or 'none'}: set"
        " provision_registry_dir and provision_project for all hosts of the registry, also for those that are added."
    )


def unfinished(plan: Row, texts: t.Iterable[str], left: t.Sequence[str], *, noted: bool = True) -> str:
    """Machines have not ended, or the registry could not be brought up to date: that was not ``noted``."""
    host, entry = plan["host"], place_of(plan["registry"]).entry_place(plan["host"]) if noted else ""
    state = f"Not known to have ended for {host}: {ids_in_words(left)}." if left else f"All that {host} had has ended."
    return joined(*texts, state, f"Its entry stays in {entry}." if entry else "", "Run again.")


def changed_meanwhile(registry: str) -> str:
    """Another run has written the entry of the host while its machines ended."""
    return f"{registry}: the entry has changed meanwhile, and stays: another run may be buying for it."


# What the tasks of an end and people read


def row(raw: Row, entry: Entry, place: Place, found: End, ahead: float | None, check_mode: bool) -> dict[str, t.Any]:
    """What ends of a host as a plain mapping: what the tasks need, and a person can read at -v. ``raw``: declared.

    ``ahead``: seconds by which the API's clock is ahead of this computer's. ``check_mode``: of this host's tasks.
    """
    host = raw["host"]
    return {
        "host": host,
        "declaration": str(raw["id"]),
        # Declared with all others, not by the host itself.
        "together": bool(raw.get("together")),
        "next": found.action.value,
        "ids": list(found.ids),
        "wait": wait_of(raw)[0],
        "force": bool(raw.get("force")),
        "check_mode": check_mode,
        **price_and_begin(entry, found),
        "saves": _saves(found.machines),
        "ahead": ahead,
        "gone": list(found.gone),
        "forgotten": list(found.forgotten),
        "in_doubt": list(found.in_doubt),
        "lines": lines_of_end(host, entry, found, would=check_mode),
        "refusal": found.reason,
        "offer_id": entry.offer_id,
        "resource_ids": list(entry.resource_ids),
        "storage": [_told(item, found, raw).variables for item in found.storage],
        "stays": [] if check_mode else lines_of_storage(host, found),
        "storage_ends": list(found.storage_ends),
        "storage_lost": list(found.storage_lost),
        "storage_stays": [item.resource_id for item in (*found.storage_stays, *found.unregistered_storage)],
        "pending": found.pending,
        "reaped": bool(raw.get("reaped")),
        "registry": "" if entry.is_empty and not found.storage else place.text,
        "registry_file": "" if entry.is_empty else place.entry_file(host),
    }


def _told(item: Storage, found: End, raw: Row) -> Storage:
    """The storage as the registry keeps it: the next sweep ends what this one does not, by whatever it is stopped."""
    is_to_end = bool(raw.get("reaped")) and item.resource_id in found.storage_ends
    return replace(item, is_to_end=is_to_end or item.is_to_end)


def outcomes(plans: t.Sequence[Row], noted: t.Mapping[str, Row]) -> dict[str, dict[str, t.Any]]:
    """What became of each host, by its name, with the file of tasks that follows (``next``), and why it stops there.

    ``noted``: what the registry says of the end, or the failure. ``over``: all has ended that was to end, so that the
    host loses its variables. Until then it keeps them: they may be in a role's ``when``.
    """
    found = {plan["host"]: _outcome(plan, noted[plan["host"]]) for plan in plans}
    following = SAY if end_lines(plans, found) or any(one["stop"] for one in found.values()) else ""
    return {host: {**one, "next": following} for host, one in found.items()}


def _outcome(plan: Row, noted: Row) -> dict[str, t.Any]:
    """The same of one host, with ``lines`` for people."""
    stop = str(noted["msg"] if noted.get("failed") else plan["refusal"])
    is_over = bool(plan["next"]) and not (stop or plan["check_mode"])
    has_lines = plan["next"] != STOP and not noted.get("failed")
    lines = folded_lines([*plan["lines"], *noted["storage"]]) if has_lines else []
    return {**noted, "stop": stop, "over": is_over, "lines": lines}


def stands_for_all(found: t.Mapping[str, Row], *, alone: bool) -> bool:
    """Whether one can do for all hosts what follows: none stops. ``alone``: the play has no others."""
    return alone and not any(one["stop"] for one in found.values())


def end_lines(plans: t.Iterable[Row], found: t.Mapping[str, Row]) -> list[str]:
    """Lines for people about all hosts, in check mode with what the ends of several would save."""
    checked = [plan for plan in plans if plan["check_mode"] and plan["next"] == MACHINES]
    total = [f"in total: would save {_saved(checked)}"] if len(checked) > 1 else []
    return [*(line for one in found.values() for line in one["lines"]), *total]


def cost_labels(plans: t.Iterable[Row], found: t.Mapping[str, Row]) -> list[dict[str, t.Any]]:
    """A line about each host of which all has ended, with the ids of its ``storage`` that stays.

    And one about all if they are several, which the last one shows.
    """
    ends = [plan for plan in plans if found[plan["host"]]["over"]]
    labels = [(plan, _cost(plan, found[plan["host"]])) for plan in ends]
    labels += [(ends[-1], _total(ends, found))] if len(ends) > 1 else []
    return [{"host": plan["host"], "label": label, "storage": plan["storage_stays"]} for plan, label in labels]


def _cost(plan: Row, outcome: Row) -> str:
    """What ended and what it cost at most, which fits into a line of a terminal if the host's name is short."""
    ids = [*plan["ids"], *plan["storage_ends"]]
    what = plural(len(ids), "resource") if len(ids) > 1 else "".join(ids)
    return ", ".join(filter(None, (what, outcome["cost"]))) or "has ended"


def _total(plans: t.Iterable[Row], found: t.Mapping[str, Row]) -> str:
    costs = add_up(found[plan["host"]]["usd"] for plan in plans)
    unknown = f", and {costs.unknown} of unknown cost" if costs.unknown else ""
    return f"in total at most USD {amount(up_to_cents(costs.total))}{unknown}; saves {_saved(plans)}"


def _saved(plans: t.Iterable[Row]) -> str:
    return usd_short(add_up(plan["saves"] for plan in plans).total)
