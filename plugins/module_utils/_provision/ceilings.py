# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ceilings that see more than one host: of the play, the account, a month. An unknown price passes none of them.

A ceiling decides by what it counts: hosts and machines, what each costs, since when, and in which state. Its refusal is
made from that, so both have the same numbers.
"""

from __future__ import annotations

import enum
import math
import typing as t
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property

from .. import _states
from .._text import END, UNKNOWN, abridged, amount, calendar, formatted, grouped, ranges, read_price, seconds_of, usd
from . import ownership
from .declaration import Declaration
from .entry import Entry, all_storage
from .messages import NOTHING_BOUGHT, NOTHING_SENT
from .ownership import Machine
from .search import UNLIMITED, Sum, add_up, highest_known_price, total_of
from .spending import HOUR, MILLION, Bill, cents, millionths_of_usd
from .storage import priced

NOT_ASKED_FOR = "They were not asked for."
_FEW = 8  # parts of which a refusal says each by itself since when it runs; of more, the oldest of a state and price
_MOST = 40  # names of one state and price in a refusal; the audit has all


# What is counted


class State(enum.Enum):
    """Why a part counts, or does not, in words for a person; a refusal names them in this order."""

    # Of a month
    SPENT = "spent"
    RUNS_ON = "runs on"
    ORDERED = "would be bought"
    BUYING = "being bought"
    LIVE = "live"
    UNREAD = "its entry cannot be read"
    UNOWNED = "in no registry that was read"
    MISSING = "missing"

    @property
    def counts(self) -> bool:
        """Whether it is in the sum of a ceiling; see guarantee 7 for what is missing."""
        return self is not State.MISSING


@dataclass(frozen=True)
class CeilingPart:
    """A host, or a machine that no host owns, in a ceiling.

    ``cost``: USD per hour (of a month: USD), None if unknown. ``offer_id``: of what a registry notes; a name alone may
    be that of another project's host, too. ``since``: seconds since the epoch, None if unknown or still to come; of
    what is missing, when that was first seen.
    """

    name: str
    cost: float | None
    state: State = State.LIVE
    offer_id: str = ""
    since: float | None = None

    @classmethod
    def of_entry(cls, host: str, entry: Entry) -> CeilingPart:
        """What a registry says of a host that owns or buys something."""
        if entry.is_missing:
            return cls(host, entry.price_per_hour, State.MISSING, entry.offer_id, seconds_of(entry.missing_since))
        state = State.BUYING if entry.is_open else State.LIVE
        return cls(host, entry.price_per_hour, state, entry.offer_id, seconds_of(entry.journaled_at))

    @classmethod
    def of_found(cls, host: str, entry: Entry, cost: float | None) -> CeilingPart:
        """The same of a host whose machine was found, and so is not missing, at what that costs."""
        return cls(host, cost, State.LIVE, entry.offer_id, seconds_of(entry.journaled_at))

    @classmethod
    def of_machine(cls, machine: t.Mapping[str, t.Any]) -> CeilingPart:
        """A machine as the API lists it."""
        name, number = machine.get("name"), str(machine.get("resource_id") or "a machine without an id")
        named = f"{name} ({number})" if name else number
        since = seconds_of(machine.get("created_at"))
        return cls(named, machine.get("price_per_hour"), State.UNOWNED, since=since)


@dataclass(frozen=True)
class Count:
    """All parts of a ceiling, with those that do not count."""

    parts: tuple[CeilingPart, ...] = ()

    @property
    def sum(self) -> Sum:
        """What counts, together."""
        return self.sum_of(*State)

    def sum_of(self, *states: State) -> Sum:
        """What counts in these states, together."""
        return add_up(part.cost for part in self.parts if part.state in states and part.state.counts)

    def above(self, whose: str, name: str, ceiling: float) -> str:
        """That what counts, ``whose`` machines, is above the ceiling of this name (USD per hour); empty if it is not.

        Two or three sentences, with all parts.
        """
        if not self.sum.exceeds(ceiling):
            return ""
        return f"{whose} would cost {self.in_words}; {name} is {usd(ceiling)}. {self.names}"

    @property
    def in_words(self) -> str:
        """The sum of prices in a sentence."""
        found, before = self.sum, self.sum_of(*(state for state in State if state is not State.ORDERED))
        unknown = f" and {found.unknown} unknown price(s)" if found.unknown else ""
        already = f", of which {usd(before.total)} are live or being bought already" if before.total else ""
        return f"{usd(found.total)}{unknown} together{already}"

    @property
    def names(self) -> str:
        """Every part, in one or two sentences: names, costs, states, and since when."""
        counted = [part for part in self.parts if part.state.counts]
        left_out = [part for part in self.parts if not part.state.counts]
        said = (("Counted", counted), ("Not counted", left_out))
        return " ".join(f"{word}: {_parts_shown(parts)}." for word, parts in said if parts)


def _parts_shown(parts: t.Sequence[CeilingPart]) -> str:
    few = len(parts) <= _FEW
    ordered = (part for state in State for part in parts if part.state is state)
    alike = grouped(((part.state, part.cost, few and formatted(part.since or 0.0)), part) for part in ordered)
    return "; ".join(map(_alike_shown, alike.values()))


def _alike_shown(alike: t.Sequence[CeilingPart]) -> str:
    """Parts of one state and one cost, and since when the oldest of them runs."""
    first, names = alike[0], abridged(ranges(part.name for part in alike), _MOST)
    each = "unknown" if first.cost is None else f"USD {amount(first.cost)}"
    times = f" {len(alike)} x" if len(alike) > 1 else ""
    moments = sorted({formatted(part.since) for part in alike if part.since is not None})
    since = f"{', the oldest' if len(moments) > 1 else ''} since {moments[0]}" if moments else ""
    return f"{names}{times} {each} ({first.state.value}{since})"


def objection_in_a_slice(host: Declaration, template: str) -> str:
    """The objection to ceilings of several hosts, in a job that sees only some of them; empty if there is none.

    ``template``: the name of a sliced job's template; empty for any other job.
    """
    limits = (host.max_total_price_per_hour, host.max_account_price_per_hour, host.budget)
    if not template or host.registry.keeps_sums or min(limits) == UNLIMITED:
        return ""
    return (
        f"This job is one of the slices of '{template}', and sees only its own hosts: a ceiling for all of them would"
        " hold for each slice by itself. Let jobs share a registry, or set Job Slicing of the template to 1."
    )


# Of a play


def of_play(
    max_total_price_per_hour: float, count: Count, unread: t.Sequence[str], projects: t.Sequence[str] = ()
) -> str:
    """Why nothing is bought below the ceiling of all hosts of a play; empty if it may be.

    ``unread``: hosts whose costs are unknown. ``projects``: those of a shared registry, which counts all of their
    hosts.
    """
    if max_total_price_per_hour != UNLIMITED and unread:
        return (
            "provision_max_total_price_per_hour is for all hosts of the play, but with serial those of other"
            f" batches ({abridged(unread)}) cannot be counted without a registry. Leave serial out, or keep a"
            f" registry. {NOTHING_SENT}"
        )
    whose = f"All machines of project {', '.join(projects)}" if projects else "The hosts of this play"
    above = count.above(whose, "provision_max_total_price_per_hour", max_total_price_per_hour)
    return above and f"{above} {NOTHING_BOUGHT}"


def costs_of_others(
    facts: t.Mapping[str, t.Any], known: t.Mapping[str, Entry], *, has_registry: bool
) -> tuple[list[CeilingPart], list[str]]:
    """What further hosts of the play cost, and those of which that is unknown.

    ``facts``: what their variables say, None for a host that no task of ours has seen yet. ``known``: entries of the
    registries, by hosts.
    """
    # A machine that is missing counts as its entry says.
    unseen = [name for name, fact in facts.items() if fact is None or known.get(name, Entry()).is_missing]
    parts = [
        CeilingPart.of_found(name, known.get(name, Entry()), read_price(fact))
        for name, fact in facts.items()
        if name not in unseen
    ]
    parts += parts_of_entries((name, known.get(name, Entry())) for name in unseen)
    return parts, [] if has_registry else [name for name in unseen if name not in known]


def parts_of_entries(entries: t.Iterable[tuple[str, Entry]]) -> list[CeilingPart]:
    """What hosts with these entries cost."""
    return [CeilingPart.of_entry(host, entry) for host, entry in entries if entry.may_have_bought]


# Of an account


def has_account_ceiling(hosts: t.Iterable[Declaration]) -> bool:
    """Whether any of these has a ceiling of the account, for which all projects count."""
    return any(host.max_account_price_per_hour != UNLIMITED for host in hosts)


@dataclass(frozen=True)
class AccountPrices:
    """What is billed on the account already, or is being bought.

    ``foreign``: of this what no registry of the play knows. ``unreadable``: why the account cannot be listed.
    """

    registered: tuple[CeilingPart, ...] = ()
    foreign: tuple[CeilingPart, ...] = ()
    unreadable: str = ""

    def with_planned(self, planned: t.Sequence[CeilingPart]) -> Count:
        """All of it, with what hosts would buy."""
        return Count((*planned, *self.registered, *self.foreign))

    @cached_property
    def _costs(self) -> dict[str, float | None]:
        return {part.offer_id: part.cost for part in self.registered if part.offer_id and part.state.counts}

    def dearer(self, part: CeilingPart) -> CeilingPart:
        """A purchase, at the price that it has on the account if that has risen above the noted price."""
        return replace(part, cost=highest_known_price(part.cost, self._costs.get(part.offer_id)))


def account_prices(
    machines: t.Iterable[Machine], entries: t.Iterable[tuple[str, Entry]], buying: t.Container[str]
) -> AccountPrices:
    """What is billed on the account or is being bought, beside the purchases of the play.

    ``machines``: all that the API lists. ``entries``: all that the registries of the play know, with their hosts.
    ``buying``: the offers that the play goes on to buy.
    """
    purchases = [(host, entry) for host, entry in entries if entry.may_have_bought]
    numbers = {mark: number for number, (_host, entry) in enumerate(purchases) for mark in _marks_of(entry)}
    billed = (item for item in priced(machines, all_storage(purchases)) if not _states.is_gone(item["status"]))
    listed = grouped((_number_of(item, numbers), item) for item in billed)
    registered = tuple(
        _counted(CeilingPart.of_entry(host, entry), entry, listed.get(number, []))
        for number, (host, entry) in enumerate(purchases)
        if number in listed or entry.offer_id not in buying
    )
    return AccountPrices(registered, tuple(map(CeilingPart.of_machine, listed.get(-1, []))))


def _marks_of(entry: Entry) -> set[str]:
    """What tells the resources of an entry. Kept storage has an entry of its own."""
    storage = (item.resource_id for item in entry.storage if not item.kept_since)
    return {*entry.resource_ids, *storage, entry.offer_id} - {""}


def _number_of(machine: Machine, numbers: t.Mapping[str, int]) -> int:
    """Which of the noted purchases a listed resource belongs to; -1 if to none."""
    marks = (ownership.id_of(machine), ownership.offer_of(machine))
    return next((numbers[mark] for mark in marks if mark in numbers), -1)


def _counted(noted: CeilingPart, entry: Entry, listed: t.Sequence[Machine]) -> CeilingPart:
    """A noted purchase at what is ``listed`` of it, if that is dearer. Prices, also of storage, may be left out there.

    What is listed is not missing.
    """
    if not listed:
        return noted
    costs, ids = [item["price_per_hour"] for item in listed], set(map(ownership.id_of, listed))
    if any(map(_states.is_machine, listed)):
        hidden = (item for item in entry.storage if not item.kept_since and item.resource_id not in ids)
        costs += [item.price_per_hour for item in hidden]
    elif entry.is_missing:  # only its storage is there
        return CeilingPart.of_found(noted.name, entry, total_of(costs))
    return CeilingPart.of_found(noted.name, entry, highest_known_price(noted.cost, total_of(costs)))


def of_account(max_account_price_per_hour: float, account: AccountPrices, planned: t.Sequence[CeilingPart]) -> str:
    """Why nothing is bought below the ceiling of the account, with what hosts would buy; empty if it may be."""
    if max_account_price_per_hour != UNLIMITED and account.unreadable:
        return (
            "The machines of the account cannot be listed, so whether provision_max_account_price_per_hour holds"
            f" is not known: {account.unreadable} {NOTHING_SENT} Try again later."
        )
    above = account.with_planned(planned).above(
        "All machines of the account", "provision_max_account_price_per_hour", max_account_price_per_hour
    )
    return above and (
        f"{above} {NOTHING_BOUGHT} compute_index.supply.audit shows what runs, and who owns it: end what you do"
        " not need, or raise the ceiling."
    )


def ceiling_for_registered(max_account_price_per_hour: float, account: AccountPrices) -> float:
    """The account's ceiling for what a shared registry counts: without the rest of the account."""
    return round(max(0.0, max_account_price_per_hour - Count(account.foreign).sum.total), 6)


# Of a month


@dataclass(frozen=True)
class Month:
    """What a month costs a project: what is spent so far, what runs and what is planned, in this order.

    Both until their leases or the month are over. ``shares``: of a host, in millionths of a USD, rounded up.
    ``unknown``: hosts of which it is not known what they cost. ``since``: when the first purchase of a host began.
    ``hours``: that are left of the month.
    """

    name: str
    shares: tuple[tuple[State, str, int], ...]
    unknown: tuple[str, ...] = ()
    since: t.Mapping[str, float] = field(default_factory=dict)
    hours: float = 1.0

    @property
    def total(self) -> int:
        """All of it, in millionths of a USD."""
        return sum(millionths for _state, _host, millionths in self.shares)

    def exceeds(self, budget: float) -> bool:
        """Whether it is above a budget in USD, although each share was rounded up."""
        return self.total - len(self.shares) > round(budget * MILLION)

    def left_per_hour(self, budget: float) -> float:
        """USD per hour that it leaves of a budget in USD, until the month is over."""
        return (budget - self.total / MILLION) / self.hours

    @property
    def count(self) -> Count:
        """The same by hosts in USD, rounded up to cents for the eye, as a report of spending shows them."""
        costs = Counter[tuple[State, str]]()
        for state, host, millionths in self.shares:
            costs[state, host] += millionths
        begins = {(State.SPENT, host): moment for host, moment in self.since.items()}
        return Count(
            tuple(
                CeilingPart(part[1], cents(total), part[0], since=begins.get(part))
                for part, total in costs.items()
                if total
            )
        )


def month_of(now: float) -> tuple[str, float, float]:
    """The calendar month (UTC) of a moment: its name, and the moments at which it begins and ends.

    A moment outside the calendar has no month: what is asked of ``unknown`` covers all time.
    """
    moment = calendar(now)
    if moment is None:
        return UNKNOWN, 0.0, END
    begin = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    return begin.strftime("%Y-%m"), begin.timestamp(), after.timestamp()


def costs_of_month(bills: t.Iterable[Bill], planned: t.Sequence[Bill], now: float, latest: float = 0.0) -> Month:
    """What the month costs with what is ``planned``, which begins now. A bill of a planned offer is that purchase.

    ``latest``: until when what runs was billed already, by the clock that noted it, which may be ahead.
    """
    name, begin, after = month_of(now)
    latest = max(now, latest)
    until = min(latest, after)
    bills = [bill for bill in bills if bill.until(math.inf) > begin]
    again = {(item.host, item.offer_id) for item in planned}
    begins = grouped((bill.host, bill.begin) for bill in bills if bill.begin is not None)
    going_on = (bill for bill in bills if bill.runs and (bill.host, bill.offer_id) not in again)
    return Month(
        name=name,
        shares=(
            *((State.SPENT, bill.host, bill.cost(begin, until)) for bill in bills),
            *_still_to_come(State.RUNS_ON, going_on, until, after),
            *_still_to_come(State.ORDERED, planned, now, after),
        ),
        unknown=_of_unknown_cost((*bills, *planned), latest),
        since={host: min(moments) for host, moments in begins.items()},
        hours=(after - now) / HOUR,
    )


def _of_unknown_cost(bills: t.Iterable[Bill], now: float) -> tuple[str, ...]:
    """The hosts of these bills whose cost is unknown, each once."""
    unknown = (b.host for b in bills if not b.is_known(now) or (b.runs and b.stays_per_hour is None))
    return tuple(dict.fromkeys(unknown))


def _still_to_come(
    state: State, bills: t.Iterable[Bill], now: float, after: float
) -> t.Iterator[tuple[State, str, int]]:
    """The month's shares of bills in this state, from now on. A lease ends a machine; its storage goes on.

    What is over and runs nevertheless may go on to do so.
    """
    for bill in bills:
        end = after if bill.ends_at is None or bill.ends_at <= now else min(bill.ends_at, after)
        yield state, bill.host, millionths_of_usd(bill.price_per_hour, now, end)
        yield state, bill.host, millionths_of_usd(bill.stays_per_hour, end, after)


def of_month(budget: float, project: str, costs: Month) -> str:
    """Why nothing is bought below the budget of a project (USD a calendar month); empty if it may be."""
    if budget == UNLIMITED:
        return ""
    if costs.unknown:
        return (
            f"What the month {costs.name} of project {project} costs is not known, since price or beginning of"
            f" {', '.join(ranges(costs.unknown))} is not: so provision_budget (USD {amount(budget)}) cannot hold."
            f" {NOTHING_BOUGHT} compute_index.supply.spend shows what is known."
        )
    if not costs.exceeds(budget):
        return ""
    count = costs.count
    spent, runs, planned = (amount(count.sum_of(state).total) for state in (State.SPENT, State.RUNS_ON, State.ORDERED))
    return (
        f"The month {costs.name} of project {project} would cost USD {amount(count.sum.total)}: {spent} spent so"
        f" far, {runs} for what runs and {planned} for what would be bought, until their leases or the month are"
        f" over. provision_budget is USD {amount(budget)}. {count.names} {NOTHING_BOUGHT} End what you do not"
        " need, give a shorter provision_lease, or raise the budget; compute_index.supply.spend shows what was spent."
    )
