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
from dataclasses import dataclass, field, replace

from .. import _states
from .._text import (
    END,
    UNKNOWN,
    abridged,
    amount,
    calendar,
    formatted,
    grouped,
    ranges,
    read_price,
    seconds_of,
    usd,
)
from . import ownership
from .declaration import Declaration
from .entry import Entry, all_storage
from .messages import NOTHING_SENT
from .ownership import Machine
from .prices import UNLIMITED, Sum, add_up, total_of
from .spending import HOUR, MILLION, Bill, cents, dollars, millionths_of_usd
from .storage import label_of, priced

NOT_ASKED_FOR = "They were not asked for."
_FEW = 8  # parts that a refusal shows one by one; more are shown by state and price
_MOST_UNOWNED = 20  # machines without a host that a refusal names; the audit shows all of an account's


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
    UNOWNED = "no host owns it"
    MISSING = "missing"

    @property
    def counts(self) -> bool:
        """Whether it is in the sum of a ceiling; see guarantee 7 for what is missing."""
        return self is not State.MISSING


@dataclass(frozen=True)
class CeilingPart:
    """A host, or a machine that no host owns, in a ceiling.

    ``cost``: USD per hour (of a month: USD), None if unknown. ``since``: seconds since the epoch, None if unknown or
    still to come; of what is missing, when that was first seen. ``offer_id``: of what a registry notes; a name alone
    may be that of another project's host, too.
    """

    name: str
    cost: float | None
    state: State = State.LIVE
    since: float | None = None
    offer_id: str = ""

    @classmethod
    def of_entry(cls, host: str, entry: Entry) -> CeilingPart:
        """What a registry says of a host that owns or buys something."""
        if entry.is_missing:
            return cls(host, entry.price_per_hour, State.MISSING, seconds_of(entry.missing_since), entry.offer_id)
        state = State.BUYING if entry.is_open else State.LIVE
        return cls(host, entry.price_per_hour, state, seconds_of(entry.journaled_at), entry.offer_id)

    @classmethod
    def of_machine(cls, machine: t.Mapping[str, t.Any], state: State = State.UNOWNED) -> CeilingPart:
        """A machine as the API lists it."""
        name, number = machine.get("name"), str(machine.get("resource_id") or "a machine without an id")
        named = f"{name} ({number})" if name else number
        return cls(named, machine.get("price_per_hour"), state, seconds_of(machine.get("created_at")))


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
    alike = grouped(((part.state, part.cost, part if few else None), part) for part in ordered)
    return "; ".join(map(_alike_shown, alike.values()))


def _alike_shown(alike: t.Sequence[CeilingPart]) -> str:
    """Parts of one state and one cost."""
    first, names = alike[0], ranges(part.name for part in alike)
    shown = abridged(names, _MOST_UNOWNED if first.state is State.UNOWNED else len(names))
    each = "unknown" if first.cost is None else f"USD {amount(first.cost)}"
    times = f"{len(alike)} x " if len(alike) > 1 else ""
    moments = {part.since for part in alike if part.since is not None}
    since = f"{', the oldest' if len(moments) > 1 else ''} since {formatted(min(moments))}" if moments else ""
    return f"{shown} {times}{each} ({first.state.value}{since})"


@dataclass(frozen=True)
class Allowance:
    """What a ceiling says to those that buy: why nothing may be bought, or what they may pay beyond their prices.

    That is in USD per hour, for all of the ``buyers`` together.
    """

    refusal: str = ""
    max_further_price_per_hour: float = UNLIMITED
    buyers: int = 1


def objections_in_a_slice(host: Declaration, template: str) -> list[str]:
    """Objections to ceilings of several hosts, in a job that sees only some of them. ``template``: of sliced jobs."""
    if not template or host.registry.keeps_sums:
        return []
    limits = {
        "provision_max_total_price_per_hour": host.max_total_price_per_hour,
        "provision_max_account_price_per_hour": host.max_account_price_per_hour,
        "provision_budget": host.budget,
    }
    return [
        f"This job is one of the slices of '{template}', and sees only its own hosts: a ceiling for all of them"
        f" ({name}) would hold for each slice by itself. Let jobs share a registry, or set"
        " Job Slicing of the template to 1."
        for name, limit in limits.items()
        if limit != UNLIMITED
    ]


# Of a play


def of_play(
    max_total_price_per_hour: float, count: Count, buyers: int, unread: t.Sequence[str], projects: t.Sequence[str] = ()
) -> Allowance:
    """The ceiling of all hosts of a play; ``unread``: hosts whose costs nobody can tell.

    ``projects``: those of a shared registry, which counts all of their hosts.
    """
    if max_total_price_per_hour != UNLIMITED and unread:
        return Allowance(
            "provision_max_total_price_per_hour is for all hosts of the play, but with serial those of other"
            f" batches ({abridged(unread)}) cannot be counted without a registry. Leave serial out, or keep a"
            f" registry. {NOTHING_SENT}"
        )
    whose = f"All machines of project {', '.join(projects)}" if projects else "The hosts of this play"
    if above := count.above(whose, "provision_max_total_price_per_hour", max_total_price_per_hour):
        return Allowance(f"{above} Nothing was bought for the {buyers} host(s) that need a machine.")
    return Allowance("", max(0.0, max_total_price_per_hour - count.sum.total), buyers)


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
        CeilingPart(name, read_price(fact), offer_id=known.get(name, Entry()).offer_id)
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
    ``listed_costs``: USD per hour of the listed machines of registered purchases, without their storage, by offers.
    """

    registered: tuple[CeilingPart, ...] = ()
    foreign: tuple[CeilingPart, ...] = ()
    unreadable: str = ""
    listed_costs: t.Mapping[str, float] = field(default_factory=dict)

    def dearer(self, part: CeilingPart) -> CeilingPart:
        """A purchase, at the listed price of its machines if that has risen above the noted price.

        Their storage is not added: the noted price includes it, and a machine's listed price may do so, too.
        """
        listed = self.listed_costs.get(part.offer_id, 0.0)
        return part if part.cost is None or part.cost >= listed else replace(part, cost=listed)


def account_prices(
    machines: t.Iterable[Machine], entries: t.Iterable[tuple[str, Entry]], buying: t.Container[str]
) -> AccountPrices:
    """What is billed on the account or is being bought, beside the purchases of the play.

    ``machines``: all that the API lists. ``entries``: all that the registries of the play know, with their hosts.
    ``buying``: the offers that the play goes on to buy.
    """
    purchases = [(host, entry) for host, entry in entries if entry.may_have_bought]
    noted = {mark: CeilingPart.of_entry(host, entry) for host, entry in purchases for mark in _ids_of_entry(entry)}
    owned, foreign = _owned_and_foreign(priced(machines, all_storage(purchases)), noted)
    # That storage is listed does not say that its machine is: a list lags.
    machines = list(filter(_states.is_machine, owned))
    listed = set().union(*map(_ids_of_machine, machines))
    stored = set(map(ownership.id_of, owned))
    open_purchases = [(host, entry) for host, entry in purchases if entry.offer_id not in buying]
    costs = _listed_costs(machines, noted)
    # What is listed is not missing, and has the price that it has now.
    parts = [replace(_noted_of(item, noted), cost=item["price_per_hour"], state=State.LIVE) for item in owned]
    parts += _storage_beside(purchases, listed, stored)
    parts = _not_below_noted(parts, {entry.offer_id: entry for _host, entry in purchases if entry.offer_id in costs})
    parts += _unlisted(open_purchases, listed, stored)
    return AccountPrices(tuple(parts), tuple(map(CeilingPart.of_machine, foreign)), listed_costs=costs)


def _not_below_noted(parts: t.Sequence[CeilingPart], entries: t.Mapping[str, Entry]) -> list[CeilingPart]:
    """The parts, of which those of a purchase together are not below the price that its entry, by offer, has noted.

    A search may have named the price of storage that no list shows.
    """
    costs, result = grouped((part.offer_id, part.cost) for part in parts), list[CeilingPart]()
    shown = {offer_id: total_of(costs[offer_id]) for offer_id in entries}
    for part in parts:  # what is hidden counts with the first part of its purchase
        total = shown.pop(part.offer_id, None)
        hidden = 0.0 if total is None else (entries[part.offer_id].price_per_hour or 0.0) - total
        result.append(replace(part, cost=add_up((part.cost, hidden)).total) if hidden > 0 else part)
    return result


def _unlisted(purchases: t.Iterable[tuple[str, Entry]], listed: set[str], stored: set[str]) -> list[CeilingPart]:
    """Purchases that the list leaves out."""
    return [
        CeilingPart.of_entry(host, entry)
        for host, entry in purchases
        if not (stored if entry.storage_of else listed) & _ids_of_entry(entry)
    ]


def _storage_beside(purchases: t.Iterable[tuple[str, Entry]], listed: set[str], stored: set[str]) -> list[CeilingPart]:
    """Storage that the list leaves out, of machines that it has: their listed prices do not include it."""
    return [
        CeilingPart(label_of(host, item.resource_id), item.price_per_hour, offer_id=entry.offer_id)
        for host, entry in purchases
        for item in entry.storage
        if not item.kept_since and item.resource_id not in stored and listed & _ids_of_entry(entry)
    ]


def _owned_and_foreign(
    machines: t.Iterable[Machine], noted: t.Mapping[str, CeilingPart]
) -> tuple[list[Machine], list[Machine]]:
    """The billed machines that have a mark which registries have ``noted``, and the others."""
    billed = [machine for machine in machines if not _states.is_gone(machine["status"])]
    owned = [machine for machine in billed if noted.keys() & _ids_of_machine(machine)]
    return owned, [machine for machine in billed if not noted.keys() & _ids_of_machine(machine)]


def _listed_costs(machines: t.Iterable[Machine], noted: t.Mapping[str, CeilingPart]) -> dict[str, float]:
    """USD per hour of the machines of each offer together, as far as the list says that."""
    prices = grouped((_noted_of(machine, noted).offer_id, machine["price_per_hour"]) for machine in machines)
    return {offer_id: add_up(costs).total for offer_id, costs in prices.items() if offer_id}


def _noted_of(machine: Machine, noted: t.Mapping[str, CeilingPart]) -> CeilingPart:
    """What a registry has noted of the purchase of a machine."""
    return next(noted[mark] for mark in (ownership.id_of(machine), ownership.offer_of(machine)) if mark in noted)


def _ids_of_entry(entry: Entry) -> set[str]:
    """What tells the resources of an entry: their ids, and that of its offer."""
    return {*entry.all_ids, entry.offer_id} - {""}


def _ids_of_machine(machine: Machine) -> set[str]:
    return {ownership.id_of(machine), ownership.offer_of(machine)}


def of_account(
    max_account_price_per_hour: float, account: AccountPrices, planned: t.Sequence[CeilingPart]
) -> Allowance:
    """The ceiling of the account, with what the hosts of the play would buy."""
    if max_account_price_per_hour != UNLIMITED and account.unreadable:
        return Allowance(
            "The machines of the account cannot be listed, so whether provision_max_account_price_per_hour holds"
            f" is not known: {account.unreadable} {NOTHING_SENT} Try again later."
        )
    count = Count((*planned, *account.registered, *account.foreign))
    whose, name = "All machines of the account", "provision_max_account_price_per_hour"
    if above := count.above(whose, name, max_account_price_per_hour):
        return Allowance(
            f"{above} Nothing was bought. compute_index.supply.audit shows what runs, and who owns it: end what you do"
            " not need, or raise the ceiling."
        )
    return Allowance("", max(0.0, max_account_price_per_hour - count.sum.total), len(planned))


def ceiling_for_registered(max_account_price_per_hour: float, account: AccountPrices) -> float:
    """The account's ceiling for what a shared registry counts: without the rest of the account."""
    return round(max(0.0, max_account_price_per_hour - Count(account.foreign).sum.total), 6)


# Of a month


@dataclass(frozen=True)
class Month:
    """What a month costs a project: what is spent so far, what runs and what is planned, in this order.

    Both until their leases or the month are over. ``shares``: of a host, in millionths of a USD, rounded up; since when
    (seconds since the epoch). ``unknown``: hosts of which nobody knows what they cost; ``lasts``: the seconds for which
    the longest of what is planned would count.
    """

    name: str
    shares: tuple[tuple[State, str, int, float | None], ...]
    unknown: tuple[str, ...] = ()
    lasts: float = 0.0

    @property
    def total(self) -> int:
        """All of it, in millionths of a USD."""
        return sum(millionths for _state, _host, millionths, _since in self.shares)

    def left(self, budget: float) -> int:
        """What it leaves of a budget in USD, in millionths of a USD; below zero if it is above that."""
        return round(budget * MILLION) - self.total

    def exceeds(self, budget: float) -> bool:
        """Whether it is above a budget in USD, although each share was rounded up."""
        return self.left(budget) < -len(self.shares)

    @property
    def count(self) -> Count:
        """The same by hosts in USD, rounded up to cents for the eye, as a report of spending shows them."""
        parts = []
        for (state, host), shares in grouped((share[:2], share[2:]) for share in self.shares).items():
            total = sum(millionths for millionths, _since in shares)
            begun = [since for _millionths, since in shares if since is not None]
            parts += [CeilingPart(host, cents(total), state, min(begun, default=None))] if total else []
        return Count(tuple(parts))


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
    going_on = (bill for bill in bills if bill.runs and (bill.host, bill.offer_id) not in again)
    return Month(
        name=name,
        shares=(
            *((State.SPENT, bill.host, bill.cost(begin, until), bill.begin) for bill in bills),
            *_still_to_come(State.RUNS_ON, going_on, until, after),
            *_still_to_come(State.ORDERED, planned, now, after),
        ),
        unknown=_of_unknown_cost((*bills, *planned), latest),
        lasts=max((_billed_until(item.ends_at, now, after) for item in planned), default=now) - now,
    )


def _of_unknown_cost(bills: t.Iterable[Bill], now: float) -> tuple[str, ...]:
    """The hosts of these bills whose cost is unknown, each once."""
    unknown = (b.host for b in bills if not b.is_known(now) or (b.runs and b.stays_per_hour is None))
    return tuple(dict.fromkeys(unknown))


def _still_to_come(
    state: State, bills: t.Iterable[Bill], now: float, after: float
) -> t.Iterator[tuple[State, str, int, float | None]]:
    """The month's shares of bills in this state, from now on. A lease ends a machine; its storage goes on."""
    for bill in bills:
        end = _billed_until(bill.ends_at, now, after)
        yield state, bill.host, millionths_of_usd(bill.price_per_hour, now, end), None
        yield state, bill.host, millionths_of_usd(bill.stays_per_hour, end, after), None


def _billed_until(end: float | None, now: float, after: float) -> float:
    """How long something is billed in this month; what is over and runs nevertheless may go on to do so."""
    return after if end is None or end <= now else min(end, after)


def of_month(budget: float, project: str, costs: Month, buyers: int) -> Allowance:
    """The budget of a project (USD a calendar month)."""
    if budget == UNLIMITED:
        return Allowance()
    if costs.unknown:
        return Allowance(
            f"What the month {costs.name} of project {project} costs is not known, since price or beginning of"
            f" {', '.join(ranges(costs.unknown))} is not: so provision_budget (USD {amount(budget)}) cannot hold."
            " Nothing was bought. compute_index.supply.spend shows what is known."
        )
    if costs.exceeds(budget):
        count, states = costs.count, (State.SPENT, State.RUNS_ON, State.ORDERED)
        spent, runs, planned = (amount(count.sum_of(state).total) for state in states)
        return Allowance(
            f"The month {costs.name} of project {project} would cost USD {amount(count.sum.total)}: {spent} spent so"
            f" far, {runs} for what runs and {planned} for what would be bought, until their leases or the month are"
            f" over. provision_budget is USD {amount(budget)}. {count.names} Nothing was bought. End what you do not"
            " need, give a shorter provision_lease, or raise the budget; compute_index.supply.spend shows what was"
            " spent."
        )
    per_hour = UNLIMITED if costs.lasts <= 0 else max(0.0, dollars(costs.left(budget))) / (costs.lasts / HOUR)
    return Allowance("", per_hour, buyers)
