# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a host's machines: what is left, what the registry keeps, what it cost, and what people read about it.

`ending` decides what ends, and `reaping` when a sweep ends it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .. import _states
from .._text import amount, duration, folded_lines, ids_in_words, joined, plural, seconds_of, timestamps, usd_short, utc
from . import declaration, storage
from .ending import Action, End, EndRequest
from .entry import IDS, JOURNALED, MADE, OFFER, PURCHASE, REFUSED, Entry, project_of
from .lease import API_CLOCK, NOTED_BY, REAPED_AT, Clock
from .ledger import DECOMMISSIONED, GONE, REAPED
from .messages import described
from .ownership import Machine, price_of
from .place import Place, place_of, twin_of
from .search import add_up, highest_known_price
from .spending import Bill, dollars, up_to_cents
from .storage import Storage, read_storage

Row = t.Mapping[str, t.Any]

# Values of a plan's ``next``. The registry notes the end of the host's machines, of its entry alone, or of storage.
MACHINES, STORAGE, STOP = Action.END.value, Action.STORAGE.value, Action.STOP.value
NOTED = (MACHINES, Action.FORGET.value, STORAGE)
SAY = "say"  # the role's task file that follows, once the end is noted


def end_request(raw: Row, entry: Entry, place: Place, forget: frozenset[str] = frozenset()) -> EndRequest:
    """The request to end a host's machines, from its declaration (``raw``) and its entry; without a ``place``, by name.

    ``forget``: ids that a person says are gone.
    """
    # The inventory plugin matches machines with hosts by name, which proves nothing for a host with a registry.
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
    """Whether the play, or only this host's tasks, run in check mode."""
    return check_mode or bool(raw.get("check_mode"))


def _wait_timeout(raw: Row) -> tuple[float, str]:
    """The seconds to wait for the end of each machine of a host, and what is wrong with that duration."""
    try:
        return duration(str(raw.get("wait_timeout", "5m"))), ""
    except ValueError as error:
        return 0.0, f"decommission_wait_timeout {error}."


def why_nothing_ends(raw: Row, request: EndRequest, *, unread: str, stale: str, foreign: str) -> str:
    """The first reason why nothing ends for a host, whatever the API says about its machines; empty without one.

    ``unread``: why its registry entry cannot be read. ``stale``: why a file does not count, which names another
    purchase than the shared registry. ``foreign``: why the entry belongs to another project's host.
    """
    buyer = request.entry.held_by
    buying = f"A run of {buyer} is buying for {request.host} at this moment. Wait until it has ended." if buyer else ""
    faults = (*(f"{fault}." for fault in raw.get("invalid", ())), _wait_timeout(raw)[1])
    reasons = (str(raw.get("trouble") or ""), *faults, unread, buying, stale, foreign)
    return next(filter(None, reasons), "")


def with_age(request: EndRequest, clock: Clock) -> EndRequest:
    """The request with the age of the host's purchase."""
    noted_at = seconds_of(request.entry.journaled_at)
    age = None if noted_at is None else clock.now(request.entry.clock) - noted_at
    # Without a registry, only the current run can know an open purchase.
    return replace(request, age=0.0 if request.by_name and request.entry.is_open else age)


def lines_of_end(host: str, entry: Entry, end: End, *, would: bool) -> list[str]:
    """Lines about the end of a host, except for its cost. ``would``: nothing ends in this run."""
    more = "; ".join(filter(None, (*_forgets(end), *_of_storage(end, would=would), end.by_sweep)))
    if end.action is Action.END:
        prices = {machine["resource_id"]: machine["price_per_hour"] for machine in end.machines if would}
        ends = [f"{host}: would end {item}, {usd_short(price)}" for item, price in prices.items()]
        return [*ends, *([f"{host}: {more}"] if more else [])]
    if end.action is Action.FORGET:
        nothing = f"{host}: nothing of {', '.join(entry.resource_ids or end.gone) or entry.offer_id} runs any more"
        return [f"{nothing}; {more}" if more else nothing]
    if end.action is Action.NOTHING and end.by_sweep:
        return [end.by_sweep]
    return [f"{host} owns no machine; {more or 'there is nothing to end'}"]


def _forgets(end: End) -> list[str]:
    ids = [*end.forgotten, *end.storage_lost]
    return [f"forgets {', '.join(ids)}, which the API does not know"] if ids else []


def _of_storage(end: End, *, would: bool) -> t.Iterator[str]:
    """Parts of a line about storage. If machines have ended, `lines_of_storage` describes the storage that stays."""
    ends = [item for item in end.storage if item.resource_id in {*end.storage_ends} - {*end.storage_lost}]
    if would or not end.ends:
        yield storage.storage_summary((*end.storage_stays, *end.unregistered_storage), "stays and is billed")
    yield storage.storage_summary(ends, "would end" if would else "ends")
    yield from (f"{item} does not end, since {reason}" for item, reason in end.storage_spared.items())


def price_and_begin(entry: Entry, end: End) -> dict[str, t.Any]:
    """The highest known price of the host's machines (USD per hour), and since when they were billed.

    None and an empty text if nothing was bought.
    """
    if entry.is_refused or not end.ends:
        return {"price_per_hour": None, "began": ""}
    made = min(timestamps(machine.get("created_at") for machine in end.machines), default=None)
    highest = highest_known_price(entry.price_per_hour, _price_by_api(end))
    began = entry.journaled_at or ("" if made is None else utc(made))
    return {"price_per_hour": highest or None, "began": began}


def _saves(machines: t.Iterable[Machine]) -> float:
    """The USD per hour that the end of these machines saves: some may be ending already."""
    return add_up(item["price_per_hour"] for item in machines if not _states.is_ending(item["status"])).total


def _price_by_api(end: End) -> float:
    """USD per hour of the machines and their storage by the API; 0 if unknown.

    Machines that had ended before count as well, since their price may have risen.
    """
    price = price_of(end.machines)
    came_along = sum(item.price_per_hour or 0.0 for item in end.storage if not item.kept_since)
    return 0.0 if price is None else round(price + end.price_when_gone + came_along, 6)


def cost_of(bills: t.Iterable[Bill | None]) -> dict[str, t.Any]:
    """What these ended purchases cost at most: ``usd``, and ``cost`` in words; empty if no registry knew them."""
    known = [bill for bill in bills if bill is not None]
    if not all(bill.is_known(bill.until(0.0)) for bill in known):
        return {"cost": "unknown"}
    usd = dollars(sum(bill.cost(0.0, bill.until(0.0)) for bill in known))
    return {"usd": usd, "cost": f"USD {amount(up_to_cents(usd))}"} if known else {}


def lines_of_storage(host: str, end: End) -> list[str]:
    """Lines about the storage that stays after the end of a host's machines."""
    unregistered = storage.storage_lines(host, end.unregistered_storage, is_remembered=False)
    return storage.storage_lines(host, end.storage_stays) + unregistered


@dataclass(frozen=True)
class NotEnded:
    """The ids of resources that may not have ended, with sentences about them, and the class of the first error.

    ``over``: the ids of those that have ended.
    """

    ids: tuple[str, ...]
    sentences: tuple[str, ...]
    error_class: str = "unavailable"
    over: tuple[str, ...] = ()


def not_ended(plan: Row, ids: t.Iterable[str], answers: t.Mapping[str, Row]) -> NotEnded:
    """Which of these ids of a host may not have ended. ``answers``: the results of `delete_resource` by id."""
    by_id = {item: answers.get(item, {}) for item in ids}
    over = tuple(item for item, answer in by_id.items() if _is_over(plan, item, answer))
    left = tuple(item for item in by_id if item not in over)
    sentences = tuple(str(by_id[item].get("msg") or "The answer to a deletion is unknown.") for item in left)
    classes = (answer["error_class"] for answer in by_id.values() if answer.get("error_class"))
    return NotEnded(left, sentences, next(classes, "unavailable"), over)


def machines_not_ended(plan: Row, answers: t.Mapping[str, Row]) -> NotEnded:
    """Which machines of a host may not have ended. They include machines that the API does not show (``in_doubt``)."""
    left = not_ended(plan, plan["ids"], answers)
    reason = [plan["refusal"]] if plan["in_doubt"] else []
    return replace(left, ids=(*left.ids, *plan["in_doubt"]), sentences=(*left.sentences, *reason))


def unless_noted_as_ended(left: NotEnded, answers: t.Mapping[str, Row], noted: t.Iterable[Bill]) -> NotEnded:
    """What is left of a host's machines: nothing if the API knows none of them, and another run has noted their end.

    Of two runs that end a machine at the same time, one may only get a 404. ``noted``: bills of ended purchases.
    """
    over = {item for bill in noted for item in bill.resource_ids}
    unknown = {item for item in left.ids if answers.get(item, {}).get("error_class") == "not_found"}
    return NotEnded((), ()) if over & unknown == {*left.ids} else left


def _is_over(plan: Row, resource_id: str, answer: Row) -> bool:
    """Whether the API says that a resource has ended, or does not know storage that a person forgets."""
    is_lost = answer.get("error_class") == "not_found" and resource_id in plan.get("storage_lost", ())
    return is_lost or answer.get("billing_stopped") is True


def late_machines(plan: Row, listed: t.Iterable[Machine]) -> NotEnded:
    """The machines of an offer under way that appeared while the others ended."""
    late = [
        machine
        for machine in listed
        if machine["offer_id"] == plan["offer_id"]
        and _states.is_machine(machine)
        and machine["resource_id"] not in (None, "", *plan["ids"])
        and not _states.is_gone(machine["status"])
    ]
    sentences = (f"Meanwhile the offer brought {described(late)}.",) if late else ()
    return NotEnded(tuple(machine["resource_id"] for machine in late), sentences)


def late_unknown(plan: Row, error: Exception) -> NotEnded:
    """The result if the list with late machines cannot be read: the entry keeps all ids, even if all have ended."""
    sentence = f"The offer was still under way, so it may have brought more machines: {error}"
    return NotEnded(tuple(plan["ids"] or plan["resource_ids"] or plan["gone"]), (sentence,))


def begin_changes(request: EndRequest, moment: str) -> dict[str, t.Any]:
    """The changes to a host's entry before the first deletion is sent. ``moment``: the time as text.

    If the run that sends it is killed, or stops waiting, another may note the end of the machine. So a sweep notes that
    its storage ends as well.
    """
    return {REAPED_AT: moment, storage.STORAGE_ENDS: (request.is_swept and request.ends_storage) or None}


def storage_ends(plan: Row, entry: Entry) -> dict[str, t.Any]:
    """The changes to a host's entry before its machines are given back: a run that notes their end marks their storage.

    Empty if the entry is about another purchase than the plan.
    """
    return {OFFER: entry.offer_id, storage.STORAGE_ENDS: True} if entry.offer_id == plan["offer_id"] else {}


def with_own_marks(changes: dict[str, t.Any]) -> dict[str, t.Any]:
    """The changes about storage of which each has its own mark whether it ends; empty without storage."""
    return changes and {**changes, storage.STORAGE_ENDS: None}


def entry_changes(entry: Entry, plan: Row, left: t.Sequence[str]) -> dict[str, t.Any]:
    """The changes to a host's entry before it ends; if ids are ``left``, the entry keeps them and does not end.

    A shared registry keeps ended entries, and ends only those of confirmed purchases. So an open purchase becomes
    confirmed or refused here; a machine that is gone or forgotten counts as bought, since it may have been billed. If
    the registry does not know when the purchase began, the API's time counts. The entry's storage stays after the end.

    A new id in doubt is not noted, since a noted id counts as proved: the API may have named a stranger's machine. The
    entry's offer stays, so that the next run asks about it again.
    """
    items = read_storage(plan["storage"])
    if left:  # a machine goes on, and may get more time: its storage must not end
        items = tuple(item if item.kept_since else replace(item, is_to_end=None) for item in items)
    kept = storage.storage_changes(items, entry.storage)
    if left:  # what a sweep has noted about its storage stays, until the machine has ended or gets more time
        held = [item for item in left if item in plan["resource_ids"] or item not in plan["in_doubt"]]
        return {IDS: held or None, PURCHASE: MADE, **kept}
    kept = with_own_marks(kept)
    if not entry.is_open:
        is_new = plan["began"] and not entry.journaled_at
        return {**({JOURNALED: plan["began"], NOTED_BY: API_CLOCK} if is_new else {}), **kept}
    if not (plan["ids"] or plan["gone"] or plan["forgotten"] or kept):
        return {PURCHASE: REFUSED}
    return {PURCHASE: MADE, **({IDS: list(plan["ids"])} if plan["ids"] else {}), **kept}


def why_ended(plan: Row) -> str:
    """Why a host's purchase ended, for the ledger: a sweep or a person ended it, or it was gone before."""
    return _ended_by(plan) if plan["ids"] else GONE


def why_storage_ended(plan: Row) -> str:
    """Why a host's storage ended, for the ledger; after a release, the reason that `storage_to_end` gives."""
    return plan.get("why") or _ended_by(plan)


def _ended_by(plan: Row) -> str:
    return REAPED if plan["reaped"] else DECOMMISSIONED


def storage_to_end(
    plan: Row, items: t.Iterable[Storage], ends: t.Sequence[str], why: str, ahead: float | None
) -> dict[str, t.Any]:
    """The plan by which the role provision ends storage of a host, and notes that.

    ``why``: for the ledger. ``ahead``: seconds by which the API's clock is ahead of this computer's; None if unknown.
    """
    stays = [item.resource_id for item in items if item.resource_id not in ends]
    known = {"host": plan["host"], "registry": plan["registry"], "next": STORAGE, "why": why, "ahead": ahead}
    machines = {"ids": [], "in_doubt": [], "pending": False}
    return {**known, **machines, "storage_ends": list(ends), "stays": [], "storage_stays": stays}


def is_as_planned(entry: Entry, plan: Row) -> bool:
    """Whether an entry still names the purchase and the machines of the plan."""
    return (entry.offer_id, list(entry.resource_ids)) == (plan["offer_id"], plan["resource_ids"])


def remembered_elsewhere(place: str, declared_place: str) -> str:
    """Why a host does not end whose variables name another registry (``declared_place``) than its machine's."""
    return (
        f"The registry {place} says that its lease is over, but its own variables name"
        f" {declared_place or 'no registry'}: set provision_registry_dir and provision_project for all hosts of the"
        " registry, including those that are added."
    )


def unfinished(plan: Row, texts: t.Iterable[str], left: t.Sequence[str], *, noted: bool = True) -> str:
    """The failure if resources may not have ended (``left``), or the end could not be ``noted`` in the registry."""
    host, entry = plan["host"], place_of(plan["registry"]).entry_place(plan["host"]) if noted else ""
    state = f"Not known to have ended for {host}: {ids_in_words(left)}." if left else f"Everything of {host} has ended."
    return joined(*texts, state, f"Its entry stays in {entry}." if entry else "", "Run again.")


def changed_meanwhile(registry: str) -> str:
    """Why an entry stays that another run wrote while the host's machines ended."""
    return f"{registry}: the entry was changed meanwhile, so it stays: another run may be buying for its host."


# Plans and results for the role's tasks and for people


def end_plan(raw: Row, entry: Entry, place: Place, end: End, ahead: float | None, check_mode: bool) -> dict[str, t.Any]:
    """The end of a host as a plain mapping for the tasks, which a person can read with -v. ``raw``: its declaration.

    ``ahead``: seconds by which the API's clock is ahead of this computer's. ``check_mode``: of this host's tasks.
    """
    host = raw["host"]
    return {
        "host": host,
        "declaration": str(raw["id"]),
        # True if one task declared for all hosts, not each for itself.
        "together": bool(raw.get("together")),
        "next": end.action.value,
        "ids": list(end.ids),
        "wait": _wait_timeout(raw)[0],
        "force": bool(raw.get("force")),
        "check_mode": check_mode,
        **price_and_begin(entry, end),
        "saves": _saves(end.machines),
        "ahead": ahead,
        "gone": list(end.gone),
        "forgotten": list(end.forgotten),
        "in_doubt": list(end.in_doubt),
        "lines": lines_of_end(host, entry, end, would=check_mode),
        "refusal": end.reason,
        "offer_id": entry.offer_id,
        "resource_ids": list(entry.resource_ids),
        "storage": [_with_mark(item, end, raw).variables for item in end.storage],
        "stays": [] if check_mode else lines_of_storage(host, end),
        "storage_ends": list(end.storage_ends),
        "storage_lost": list(end.storage_lost),
        "storage_stays": [item.resource_id for item in (*end.storage_stays, *end.unregistered_storage)],
        "pending": end.pending,
        "reaped": bool(raw.get("reaped")),
        "registry": "" if entry.is_empty and not end.storage else place.text,
        "registry_file": "" if entry.is_empty else place.entry_file(host),
    }


def _with_mark(item: Storage, end: End, raw: Row) -> Storage:
    """The storage for the registry, marked if a sweep ends it: if this sweep is stopped, the next one ends it."""
    is_to_end = bool(raw.get("reaped")) and item.resource_id in end.storage_ends
    return replace(item, is_to_end=is_to_end or item.is_to_end)


def outcomes(plans: t.Sequence[Row], noted: t.Mapping[str, Row]) -> dict[str, dict[str, t.Any]]:
    """The outcome of each host by name: the task file that follows (``next``), and why the host stops (``stop``).

    ``noted``: the result of the registry's update, or the failure, by host. ``over``: everything that was to end has
    ended, so the host loses its variables. Until then it keeps them, since a role's ``when`` may use them.
    """
    by_host = {plan["host"]: _outcome(plan, noted[plan["host"]]) for plan in plans}
    following = SAY if end_lines(plans, by_host) or any(one["stop"] for one in by_host.values()) else ""
    return {host: {**one, "next": following} for host, one in by_host.items()}


def _outcome(plan: Row, noted: Row) -> dict[str, t.Any]:
    """The outcome of one host, with ``lines`` for people."""
    stop = str(noted["msg"] if noted.get("failed") else plan["refusal"])
    is_over = bool(plan["next"]) and not (stop or plan["check_mode"])
    has_lines = plan["next"] != STOP and not noted.get("failed")
    lines = folded_lines([*plan["lines"], *noted["storage"]]) if has_lines else []
    return {**noted, "stop": stop, "over": is_over, "lines": lines}


def one_acts_for_all(by_host: t.Mapping[str, Row], *, alone: bool) -> bool:
    """Whether one host's task can act for all: no host stops. ``alone``: the play has no other hosts."""
    return alone and not any(one["stop"] for one in by_host.values())


def end_lines(plans: t.Iterable[Row], by_host: t.Mapping[str, Row]) -> list[str]:
    """Lines for people about all hosts; in check mode, also what the ends of several would save."""
    checked = [plan for plan in plans if plan["check_mode"] and plan["next"] == MACHINES]
    total = [f"in total: would save {_saved(checked)}"] if len(checked) > 1 else []
    return [*(line for one in by_host.values() for line in one["lines"]), *total]


def cost_labels(plans: t.Iterable[Row], by_host: t.Mapping[str, Row]) -> list[dict[str, t.Any]]:
    """A line with the cost of each host that is over, and the ids of its ``storage`` that stays.

    If they are several, the last one also shows the total.
    """
    ends = [plan for plan in plans if by_host[plan["host"]]["over"]]
    labels = [(plan, _cost(plan, by_host[plan["host"]])) for plan in ends]
    labels += [(ends[-1], _total(ends, by_host))] if len(ends) > 1 else []
    return [{"host": plan["host"], "label": label, "storage": plan["storage_stays"]} for plan, label in labels]


def _cost(plan: Row, outcome: Row) -> str:
    """What ended, and its cost. It fits into a line of a terminal if the host's name is short."""
    ids = [*plan["ids"], *plan["storage_ends"]]
    what = plural(len(ids), "resource") if len(ids) > 1 else "".join(ids)
    return ", ".join(filter(None, (what, outcome["cost"]))) or "has ended"


def _total(plans: t.Iterable[Row], by_host: t.Mapping[str, Row]) -> str:
    costs = add_up(by_host[plan["host"]]["usd"] for plan in plans)
    unknown = f", and {costs.unknown} of unknown cost" if costs.unknown else ""
    return f"in total at most USD {amount(up_to_cents(costs.total))}{unknown}; saves {_saved(plans)}"


def _saved(plans: t.Iterable[Row]) -> str:
    return usd_short(add_up(plan["saves"] for plan in plans).total)
