# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ceilings that see more than one host: of the play, the account, a month. An unknown price passes none of them."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, replace

from .. import _states
from .._moments import END, UNKNOWN, calendar
from .._text import grouped, number_of
from .._wording import amount, ranges, usd
from . import ownership
from .counted import CeilingPart, Count, State
from .declaration import Declaration
from .entry import Entry, all_storage
from .messages import NOTHING_SENT, some
from .ownership import Machine
from .spending import HOUR, MILLION, Bill, cents, cost, dollars
from .storage import label_of, priced
from .sums import UNLIMITED

NOT_ASKED_FOR = "They were not asked for."


@dataclass(frozen=True)
class Allowance:
    """What a ceiling says to those that buy: why nothing may be bought, or what they may pay beyond their prices.

    That is in USD per hour, for all of the ``buyers`` together.
    """

    refusal: str = ""
    max_further_price_per_hour: float = UNLIMITED
    buyers: int = 1


def of_play(
    max_total_price_per_hour: float, count: Count, buyers: int, unread: t.Sequence[str], projects: t.Sequence[str] = ()
) -> Allowance:
    """The ceiling of all hosts of a play; ``unread``: hosts whose costs nobody can tell.

    ``projects``: those of a shared registry, which counts all of their hosts.
    """
    together = count.sum
    if max_total_price_per_hour != UNLIMITED and unread:
        return Allowance(
            "provision_max_total_price_per_hour is for all hosts of the play, but with serial those of other"
            f" batches ({some(unread)}) cannot be counted without a registry. Leave serial out, or keep a"
            f" registry. {NOTHING_SENT}"
        )
    if together.exceeds(max_total_price_per_hour):
        whose = f"All machines of project {', '.join(projects)}" if projects else "The hosts of this play"
        return Allowance(
            f"{whose} would cost {count.told}; provision_max_total_price_per_hour is {usd(max_total_price_per_hour)}."
            f" {count.names} Nothing was bought for the {buyers} host(s) that need a machine."
        )
    return Allowance("", max(0.0, max_total_price_per_hour - together.total), buyers)


@dataclass(frozen=True)
class AccountPrices:
    """What is billed on the account already, or is being bought.

    ``foreign``: of this what no registry of the play knows. ``unreadable``: why the account cannot be listed.
    """

    registered: tuple[CeilingPart, ...] = ()
    foreign: tuple[CeilingPart, ...] = ()
    unreadable: str = ""


def account_prices(
    machines: t.Iterable[Machine], entries: t.Iterable[tuple[str, Entry]], buying: t.Container[str]
) -> AccountPrices:
    """What is billed on the account or is being bought, beside the purchases of the play.

    ``machines``: all that the API lists. ``entries``: all that the registries of the play know, with their hosts.
    ``buying``: the offers that the play goes on to buy.
    """
    purchases = [(host, entry) for host, entry in entries if entry.names_purchase]
    noted = {mark: CeilingPart.of_entry(host, entry) for host, entry in purchases for mark in _marks(entry)}
    owned, foreign = _owned_and_foreign(priced(machines, all_storage(purchases)), noted)
    # That storage is listed does not say that its machine is: a list lags.
    listed = set().union(*map(_marks_of, filter(_states.is_machine, owned)))
    stored = set(map(ownership.id_of, owned))
    open_purchases = [(host, entry) for host, entry in purchases if entry.offer_id not in buying]
    parts = [_listed(machine, noted) for machine in owned]
    parts += _unlisted(open_purchases, listed, stored)
    parts += _storage_beside(purchases, listed, stored)
    return AccountPrices(tuple(parts), tuple(map(CeilingPart.of_machine, foreign)))


def _unlisted(purchases: t.Iterable[tuple[str, Entry]], listed: set[str], stored: set[str]) -> list[CeilingPart]:
    """Purchases that the list leaves out."""
    return [
        CeilingPart.of_entry(host, entry)
        for host, entry in purchases
        if not (stored if entry.storage_of else listed) & _marks(entry)
    ]


def _storage_beside(purchases: t.Iterable[tuple[str, Entry]], listed: set[str], stored: set[str]) -> list[CeilingPart]:
    """Storage that the list leaves out, of machines that it has: their listed prices do not include it."""
    return [
        CeilingPart(label_of(host, item.resource_id), item.price_per_hour)
        for host, entry in purchases
        for item in entry.storage
        if not item.kept_since and item.resource_id not in stored and listed & _marks(entry)
    ]


def _owned_and_foreign(
    machines: t.Iterable[Machine], noted: t.Mapping[str, CeilingPart]
) -> tuple[list[Machine], list[Machine]]:
    """The billed machines that have a mark which registries have ``noted``, and the others."""
    billed = [machine for machine in machines if not _states.is_gone(machine["status"])]
    owned = [machine for machine in billed if noted.keys() & _marks_of(machine)]
    return owned, [machine for machine in billed if not noted.keys() & _marks_of(machine)]


def _listed(machine: Machine, noted: t.Mapping[str, CeilingPart]) -> CeilingPart:
    """A host's machine at the price that it has now; what is listed is not missing."""
    mark = next(item for item in (ownership.id_of(machine), ownership.offer_of(machine)) if item in noted)
    return replace(noted[mark], cost=machine["price_per_hour"], state=State.LIVE)


def _marks(entry: Entry) -> set[str]:
    """What tells the resources of an entry: their ids, and that of its offer."""
    return {*entry.all_ids, entry.offer_id} - {""}


def _marks_of(machine: Machine) -> set[str]:
    return {ownership.id_of(machine), ownership.offer_of(machine)}


def costs_of_others(
    facts: t.Mapping[str, t.Any], known: t.Mapping[str, Entry], *, has_registry: bool
) -> tuple[list[CeilingPart], list[str]]:
    """What further hosts of the play cost, and those of which that is unknown.

    ``facts``: what their variables say, None for a host that no task of ours has seen yet. ``known``: entries of the
    registries, by hosts.
    """
    unseen = [name for name, fact in facts.items() if _is_unseen(fact, known.get(name))]
    parts = [CeilingPart(name, number_of(fact)) for name, fact in facts.items() if name not in unseen]
    parts += of_entries((name, known[name]) for name in unseen if name in known)
    return parts, [] if has_registry else [name for name in unseen if name not in known]


def _is_unseen(fact: t.Any, entry: Entry | None) -> bool:
    """Whether a host's variables say nothing, or its machine is missing by its entry."""
    return fact is None or (entry is not None and entry.is_missing)


def of_entries(entries: t.Iterable[tuple[str, Entry]]) -> list[CeilingPart]:
    """What hosts with these entries cost."""
    return [CeilingPart.of_entry(host, entry) for host, entry in entries if entry.names_purchase]


def in_a_slice(host: Declaration, template: str) -> list[str]:
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


def is_of_account(hosts: t.Iterable[Declaration]) -> bool:
    """Whether any of these has a ceiling of the account, for which all projects count."""
    return any(host.max_account_price_per_hour != UNLIMITED for host in hosts)


def of_account(
    max_account_price_per_hour: float, account: AccountPrices, planned: t.Sequence[CeilingPart]
) -> Allowance:
    """The ceiling of the account, with what the hosts of the play would buy."""
    if max_account_price_per_hour == UNLIMITED:
        return Allowance()
    if account.unreadable:
        return Allowance(
            "The machines of the account cannot be listed, so whether provision_max_account_price_per_hour holds"
            f" is not known: {account.unreadable} {NOTHING_SENT} Try again later."
        )
    count = Count((*planned, *account.registered, *account.foreign))
    if count.sum.exceeds(max_account_price_per_hour):
        return Allowance(
            f"All machines of the account would cost {count.told}; provision_max_account_price_per_hour is"
            f" {usd(max_account_price_per_hour)}. {count.names} Nothing was bought. compute_index.supply.audit shows"
            " what runs, and who owns it: end what you do not need, or raise the ceiling."
        )
    return Allowance("", max(0.0, max_account_price_per_hour - count.sum.total), len(planned))


def among_registered(max_account_price_per_hour: float, account: AccountPrices) -> float | None:
    """The account's ceiling for what a shared registry counts: without the rest of the account; None for no ceiling."""
    if max_account_price_per_hour == UNLIMITED:
        return None
    return round(max(0.0, max_account_price_per_hour - Count(account.foreign).sum.total), 6)


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

    @property
    def count(self) -> Count:
        """The same by hosts in USD, rounded up to cents for the eye, as a report of spending shows them."""
        shares = grouped(((state, host), (millionths, since)) for state, host, millionths, since in self.shares)
        return Count(tuple(_share(*key, parts) for key, parts in shares.items() if any(cost for cost, _since in parts)))


def _share(state: State, host: str, parts: t.Sequence[tuple[int, float | None]]) -> CeilingPart:
    """What a host costs in a month, of one state."""
    begun = [since for _millionths, since in parts if since is not None]
    return CeilingPart(host, cents(sum(millionths for millionths, _since in parts)), state, min(begun, default=None))


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


def month(bills: t.Iterable[Bill], planned: t.Sequence[Bill], now: float) -> Month:
    """What the month costs with what is ``planned``, which begins now. A bill of a planned offer is that purchase."""
    name, begin, after = month_of(now)
    bills = [bill for bill in bills if bill.until(math.inf) > begin]
    again = {(item.host, item.offer_id) for item in planned}
    going_on = (bill for bill in bills if bill.runs and (bill.host, bill.offer_id) not in again)
    return Month(
        name=name,
        shares=(
            *((State.SPENT, bill.host, bill.cost(begin, now), bill.begin) for bill in bills),
            *_still_to_come(State.RUNS_ON, going_on, now, after),
            *_still_to_come(State.ORDERED, planned, now, after),
        ),
        unknown=_of_unknown_cost((*bills, *planned), now),
        lasts=max((_until(item.ends_at, now, after) for item in planned), default=now) - now,
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
        end = _until(bill.ends_at, now, after)
        yield state, bill.host, cost(bill.price_per_hour, now, end), None
        yield state, bill.host, cost(bill.stays_per_hour, end, after), None


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
    further = round(budget * MILLION) - costs.total
    if further < -len(costs.shares):  # each was rounded up
        count, states = costs.count, (State.SPENT, State.RUNS_ON, State.ORDERED)
        spent, runs, planned = (amount(count.sum_of(state).total) for state in states)
        return Allowance(
            f"The month {costs.name} of project {project} would cost USD {amount(count.sum.total)}: {spent} spent so"
            f" far, {runs} for what runs and {planned} for what would be bought, until their leases or the month are"
            f" over. provision_budget is USD {amount(budget)}. {count.names} Nothing was bought. End what you do not"
            " need, give a shorter provision_lease, or raise the budget; compute_index.supply.spend shows what was"
            " spent."
        )
    per_hour = UNLIMITED if costs.lasts <= 0 else max(0.0, dollars(further)) / (costs.lasts / HOUR)
    return Allowance("", per_hour, buyers)


def _until(end: float | None, now: float, after: float) -> float:
    """How long something is billed in this month; what is over and runs nevertheless may go on to do so."""
    return after if end is None or end <= now else min(end, after)
