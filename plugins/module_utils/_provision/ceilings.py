# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ceilings for several hosts: of a play, an account or a month. An unknown price exceeds each of them.

A ceiling counts hosts and machines, each with its cost, state and start. It decides by these parts, and its refusal
lists them, so that both have the same numbers.
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
from .storage import with_noted_prices

NOT_ASKED_FOR = "They were not asked for."
_FEW = 8  # of at most so many parts, a refusal names each start; of more, the oldest of each state and price
_MOST = 40  # names of one state and price in a refusal; the audit has all


# The parts of a ceiling


class State(enum.Enum):
    """The state of a part, in words for the user; a refusal lists parts in this order."""

    # For the budget of a month
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
        """Whether parts in this state count in a ceiling; for missing machines see guarantee 7."""
        return self is not State.MISSING


@dataclass(frozen=True)
class CeilingPart:
    """A host, or a machine that no host owns, in a ceiling.

    ``cost``: USD per hour (in a month: USD), None if unknown. ``offer_id``: set if a registry notes the purchase; names
    alone are ambiguous, since hosts of several projects may share one. ``since``: the start in seconds since the epoch,
    None if unknown or still to come; for a missing machine, when it was first found missing.
    """

    name: str
    cost: float | None
    state: State = State.LIVE
    offer_id: str = ""
    since: float | None = None

    @classmethod
    def of_entry(cls, host: str, entry: Entry) -> CeilingPart:
        """The part of a host that owns or buys something, by its registry entry."""
        if entry.is_missing:
            return cls(host, entry.price_per_hour, State.MISSING, entry.offer_id, seconds_of(entry.missing_since))
        state = State.BUYING if entry.is_open else State.LIVE
        return cls(host, entry.price_per_hour, state, entry.offer_id, seconds_of(entry.journaled_at))

    @classmethod
    def of_found(cls, host: str, entry: Entry, cost: float | None) -> CeilingPart:
        """The part of a host whose machine was found, and so is not missing, at this cost."""
        return cls(host, cost, State.LIVE, entry.offer_id, seconds_of(entry.journaled_at))

    @classmethod
    def of_machine(cls, machine: t.Mapping[str, t.Any]) -> CeilingPart:
        """The part of a machine that no host owns, as the API lists it."""
        name, number = machine.get("name"), str(machine.get("resource_id") or "a machine without an id")
        named = f"{name} ({number})" if name else number
        since = seconds_of(machine.get("created_at"))
        return cls(named, machine.get("price_per_hour"), State.UNOWNED, since=since)


@dataclass(frozen=True)
class Count:
    """All parts of a ceiling, including those that do not count."""

    parts: tuple[CeilingPart, ...] = ()

    @property
    def sum(self) -> Sum:
        """The sum of all parts that count."""
        return self.sum_of(*State)

    def sum_of(self, *states: State) -> Sum:
        """The sum of the parts that count in these states."""
        return add_up(part.cost for part in self.parts if part.state in states and part.state.counts)

    def refusal_above(self, whose: str, name: str, ceiling: float) -> str:
        """A refusal of two or three sentences if the sum exceeds the ceiling (USD per hour) of this name, else empty.

        ``whose``: the subject of the refusal, such as ``The hosts of this play``.
        """
        if not self.sum.exceeds(ceiling):
            return ""
        return f"{whose} would cost {self.sum_in_words}; {name} is {usd(ceiling)}. {self.parts_in_words}"

    @property
    def sum_in_words(self) -> str:
        """The sum of prices, as part of a sentence."""
        found, before = self.sum, self.sum_of(*(state for state in State if state is not State.ORDERED))
        unknown = f" and {found.unknown} unknown price(s)" if found.unknown else ""
        already = f", of which {usd(before.total)} are live or being bought already" if before.total else ""
        return f"{usd(found.total)}{unknown} together{already}"

    @property
    def parts_in_words(self) -> str:
        """One or two sentences that list all parts with names, costs, states and starts."""
        counted = [part for part in self.parts if part.state.counts]
        left_out = [part for part in self.parts if not part.state.counts]
        said = (("Counted", counted), ("Not counted", left_out))
        return " ".join(f"{word}: {_parts_in_words(parts)}." for word, parts in said if parts)


def _parts_in_words(parts: t.Sequence[CeilingPart]) -> str:
    few = len(parts) <= _FEW
    ordered = (part for state in State for part in parts if part.state is state)
    alike = grouped(((part.state, part.cost, few and formatted(part.since or 0.0)), part) for part in ordered)
    return "; ".join(map(_group_in_words, alike.values()))


def _group_in_words(alike: t.Sequence[CeilingPart]) -> str:
    """Parts with the same state and cost, in words, with the start of the oldest."""
    first, names = alike[0], abridged(ranges(part.name for part in alike), _MOST)
    each = "unknown" if first.cost is None else f"USD {amount(first.cost)}"
    times = f" {len(alike)} x" if len(alike) > 1 else ""
    moments = sorted({formatted(part.since) for part in alike if part.since is not None})
    since = f"{', the oldest' if len(moments) > 1 else ''} since {moments[0]}" if moments else ""
    return f"{names}{times} {each} ({first.state.value}{since})"


def objection_to_a_part(host: Declaration, template: str, *, in_batches: bool) -> str:
    """Why limits for several hosts do not work if a plan sees only some of them; empty if they do.

    ``template``: the name of the template of the job that this one is a slice of; empty for any other job.
    ``in_batches``: whether the play's keyword ``serial`` leaves hosts to other batches.
    """
    limits = (host.max_total_price_per_hour, host.max_account_price_per_hour, host.budget)
    if template and not host.registry.keeps_sums and min(limits) != UNLIMITED:
        return (
            f"This job is a slice of '{template}' and sees only some hosts, so a ceiling for all hosts would apply to"
            " each slice separately. Let jobs share a registry, or set Job Slicing of the template to 1."
        )
    if host.all_or_nothing and (template or in_batches):
        part, way = ("slice", f"set Job Slicing of '{template}' to 1") if template else ("batch", "leave serial out")
        return (
            f"Each {part} of hosts is planned separately, so one could buy although the hosts of another get nothing."
            f" To use provision_all_or_nothing, {way}."
        )
    return ""


# The ceiling of a play


def play_refusal(
    max_total_price_per_hour: float, count: Count, unread: t.Sequence[str], projects: t.Sequence[str] = ()
) -> str:
    """The refusal by the ceiling of a play (USD per hour); empty if it allows the purchases.

    ``unread``: hosts whose costs are unknown. ``projects``: the projects of a shared registry, all of whose machines
    count.
    """
    if max_total_price_per_hour != UNLIMITED and unread:
        return (
            "provision_max_total_price_per_hour is for all hosts of the play, but with serial and without a registry,"
            f" hosts of other batches ({abridged(unread)}) cannot be counted. Leave serial out, or keep a registry."
            f" {NOTHING_SENT}"
        )
    whose = f"All machines of project {', '.join(projects)}" if projects else "The hosts of this play"
    above = count.refusal_above(whose, "provision_max_total_price_per_hour", max_total_price_per_hour)
    return above and f"{above} {NOTHING_BOUGHT}"


def parts_of_other_hosts(
    facts: t.Mapping[str, t.Any], known: t.Mapping[str, Entry], *, has_registry: bool
) -> tuple[list[CeilingPart], list[str]]:
    """The parts of further hosts of the play, and the hosts whose costs are unknown.

    ``facts``: prices by host, by the hosts' variables; None for a host without such a variable yet. ``known``: registry
    entries by host.
    """
    # A missing machine counts as its entry says.
    unseen = [name for name, fact in facts.items() if fact is None or known.get(name, Entry()).is_missing]
    parts = [
        CeilingPart.of_found(name, known.get(name, Entry()), read_price(fact))
        for name, fact in facts.items()
        if name not in unseen
    ]
    parts += parts_of_entries((name, known.get(name, Entry())) for name in unseen)
    return parts, [] if has_registry else [name for name in unseen if name not in known]


def parts_of_entries(entries: t.Iterable[tuple[str, Entry]]) -> list[CeilingPart]:
    """The parts of hosts with these entries, if they may have bought something."""
    return [CeilingPart.of_entry(host, entry) for host, entry in entries if entry.may_have_bought]


# The ceiling of an account


def has_account_ceiling(hosts: t.Iterable[Declaration]) -> bool:
    """Whether any of these hosts has a ceiling for the account, in which all projects count."""
    return any(host.max_account_price_per_hour != UNLIMITED for host in hosts)


@dataclass(frozen=True)
class AccountPrices:
    """What is billed or being bought on the account.

    ``registered``: parts that registries of the play know; ``foreign``: the rest. ``unreadable``: why the account
    cannot be listed; otherwise empty.
    """

    registered: tuple[CeilingPart, ...] = ()
    foreign: tuple[CeilingPart, ...] = ()
    unreadable: str = ""

    def with_planned(self, planned: t.Sequence[CeilingPart]) -> Count:
        """All parts, with the purchases that hosts plan."""
        return Count((*planned, *self.registered, *self.foreign))

    @cached_property
    def _costs(self) -> dict[str, float | None]:
        return {part.offer_id: part.cost for part in self.registered if part.offer_id and part.state.counts}

    def at_account_price(self, part: CeilingPart) -> CeilingPart:
        """The part at its price on the account, if that is higher than the noted price."""
        return replace(part, cost=highest_known_price(part.cost, self._costs.get(part.offer_id)))


def account_prices(
    machines: t.Iterable[Machine], entries: t.Iterable[tuple[str, Entry]], buying: t.Container[str]
) -> AccountPrices:
    """What is billed or being bought on the account, besides the offers that the play is ``buying``.

    ``machines``: all resources that the API lists. ``entries``: all entries of the play's registries, with their hosts.
    """
    purchases = [(host, entry) for host, entry in entries if entry.may_have_bought]
    numbers = {mark: number for number, (_host, entry) in enumerate(purchases) for mark in _ids_of(entry)}
    billed = ownership.not_gone(with_noted_prices(machines, all_storage(purchases)))
    listed = grouped((_purchase_number(item, numbers), item) for item in billed)
    registered = tuple(
        _at_listed_price(CeilingPart.of_entry(host, entry), entry, listed.get(number, []))
        for number, (host, entry) in enumerate(purchases)
        if number in listed or entry.offer_id not in buying
    )
    return AccountPrices(registered, tuple(map(CeilingPart.of_machine, listed.get(-1, []))))


def _ids_of(entry: Entry) -> set[str]:
    """The resource and offer ids of an entry, by which its resources are recognised. Kept storage has its own entry."""
    storage = (item.resource_id for item in entry.storage if not item.kept_since)
    return {*entry.resource_ids, *storage, entry.offer_id} - {""}


def _purchase_number(machine: Machine, numbers: t.Mapping[str, int]) -> int:
    """The number of the noted purchase that a listed resource belongs to; -1 if none."""
    marks = (ownership.id_of(machine), ownership.offer_of(machine))
    return next((numbers[mark] for mark in marks if mark in numbers), -1)


def _at_listed_price(noted: CeilingPart, entry: Entry, listed: t.Sequence[Machine]) -> CeilingPart:
    """A noted purchase at the price of its ``listed`` resources, if that is higher; these are not missing.

    The list may leave out prices, also of storage.
    """
    if not listed:
        return noted
    costs, ids = [item["price_per_hour"] for item in listed], set(map(ownership.id_of, listed))
    if any(map(_states.is_machine, listed)):
        hidden = (item for item in entry.storage if not item.kept_since and item.resource_id not in ids)
        costs += [item.price_per_hour for item in hidden]
    elif entry.is_missing:  # only its storage is listed
        return CeilingPart.of_found(noted.name, entry, total_of(costs))
    return CeilingPart.of_found(noted.name, entry, highest_known_price(noted.cost, total_of(costs)))


def account_refusal(max_account_price_per_hour: float, account: AccountPrices, planned: t.Sequence[CeilingPart]) -> str:
    """The refusal by the account's ceiling (USD per hour), counting ``planned`` purchases; empty if it allows them."""
    if max_account_price_per_hour != UNLIMITED and account.unreadable:
        return (
            "The machines of the account cannot be listed, so provision_max_account_price_per_hour cannot be checked:"
            f" {account.unreadable} {NOTHING_SENT} Try again later."
        )
    above = account.with_planned(planned).refusal_above(
        "All machines of the account", "provision_max_account_price_per_hour", max_account_price_per_hour
    )
    return above and (
        f"{above} {NOTHING_BOUGHT} compute_index.supply.audit shows what runs, and who owns it: end what you do"
        " not need, or raise the ceiling."
    )


def ceiling_for_registered(max_account_price_per_hour: float, account: AccountPrices) -> float:
    """The part of the account's ceiling (USD per hour) that is left for what a shared registry counts."""
    return round(max(0.0, max_account_price_per_hour - Count(account.foreign).sum.total), 6)


# The budget of a month


@dataclass(frozen=True)
class Month:
    """A project's costs of a month: spent so far, and until the end of lease or month for what runs or is planned.

    ``shares``: state, host and millionths of a USD, each rounded up. ``unknown``: hosts with unknown costs. ``since``:
    when the first purchase of each host began. ``hours``: the rest of the month.
    """

    name: str
    shares: tuple[tuple[State, str, int], ...]
    unknown: tuple[str, ...] = ()
    since: t.Mapping[str, float] = field(default_factory=dict)
    hours: float = 1.0

    @property
    def total(self) -> int:
        """The sum of all shares, in millionths of a USD."""
        return sum(millionths for _state, _host, millionths in self.shares)

    def exceeds(self, budget: float) -> bool:
        """Whether the costs exceed a budget in USD, allowing for the rounding of each share."""
        return self.total - len(self.shares) > round(budget * MILLION)

    def left_per_hour(self, budget: float) -> float:
        """The USD per hour that a budget in USD leaves for the rest of the month."""
        return (budget - self.total / MILLION) / self.hours

    @property
    def count(self) -> Count:
        """The costs by host and state in USD, rounded up to cents as in the report of `spend`."""
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
    """The name, begin and end of the calendar month (UTC) at a time, in seconds since the epoch.

    A time outside the calendar is in the month ``unknown``, which covers all time.
    """
    moment = calendar(now)
    if moment is None:
        return UNKNOWN, 0.0, END
    begin = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    return begin.strftime("%Y-%m"), begin.timestamp(), after.timestamp()


def costs_of_month(bills: t.Iterable[Bill], planned: t.Sequence[Bill], now: float, latest: float = 0.0) -> Month:
    """The costs of the month with ``planned`` purchases, which begin now.

    Each replaces what is still to come of a bill of the same host and offer. ``latest``: the time until which running
    machines are billed already, by a registry's clock that may be ahead.
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
        unknown=_hosts_of_unknown_cost((*bills, *planned), latest),
        since={host: min(moments) for host, moments in begins.items()},
        hours=(after - now) / HOUR,
    )


def _hosts_of_unknown_cost(bills: t.Iterable[Bill], now: float) -> tuple[str, ...]:
    """The hosts with a bill of unknown cost, each once."""
    unknown = (b.host for b in bills if not b.is_known(now) or (b.runs and b.stays_per_hour is None))
    return tuple(dict.fromkeys(unknown))


def _still_to_come(
    state: State, bills: t.Iterable[Bill], now: float, after: float
) -> t.Iterator[tuple[State, str, int]]:
    """The shares of bills in this state from now to the end of the month; storage is billed after the lease's end.

    A machine that runs although its lease is over counts until the end of the month.
    """
    for bill in bills:
        end = after if bill.ends_at is None or bill.ends_at <= now else min(bill.ends_at, after)
        yield state, bill.host, millionths_of_usd(bill.price_per_hour, now, end)
        yield state, bill.host, millionths_of_usd(bill.stays_per_hour, end, after)


def budget_refusal(budget: float, project: str, costs: Month) -> str:
    """The refusal by a project's budget (USD per calendar month); empty if it allows the purchases."""
    if budget == UNLIMITED:
        return ""
    if costs.unknown:
        return (
            f"The price or start of {', '.join(ranges(costs.unknown))} is unknown, so provision_budget (USD"
            f" {amount(budget)}) of project {project} cannot be checked for {costs.name}. {NOTHING_BOUGHT}"
            " compute_index.supply.spend shows what is known."
        )
    if not costs.exceeds(budget):
        return ""
    count = costs.count
    spent, runs, planned = (amount(count.sum_of(state).total) for state in (State.SPENT, State.RUNS_ON, State.ORDERED))
    return (
        f"Project {project} would cost USD {amount(count.sum.total)} in {costs.name}: {spent} spent so far, {runs} for"
        f" what runs and {planned} for what would be bought, until their leases or the month end. provision_budget is"
        f" USD {amount(budget)}. {count.parts_in_words} {NOTHING_BOUGHT} End what you do not need, give a shorter"
        " provision_lease, or raise the budget; compute_index.supply.spend shows what was spent."
    )
