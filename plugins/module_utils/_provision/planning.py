# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide for each host of a play whether it keeps its machine, waits, buys one or stops, and up to which price."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from .._text import QUOTA, abridged, amount, formatted, gpus_of, grouped, ids_in_words, joined, plural, usd, usd_short
from . import ceilings, storage
from .candidates import (
    Case,
    SearchResult,
    Unavailable,
    allocate,
    cheapest_of,
    why_none,
    why_not_first_choice,
    why_too_dear,
)
from .ceilings import AccountPrices, CeilingPart, Count, State
from .declaration import Declaration
from .entry import Entry, project_of
from .lease import end_of
from .messages import NOTHING_BOUGHT, NOTHING_SENT, nothing_billed, offers_tried, shared_name, still_open
from .ownership import Account, Machine
from .search import ON_DEMAND, UNLIMITED, Offer, bill_between, highest_prices, product_fields
from .spending import Bill, Ledger
from .standing import HostState

NO_OFFER = "capacity"  # an error class
KEEP, WAIT, BUY, STOP, LATER = "keep", "wait", "buy", "stop", "later"


@dataclass(frozen=True)
class Plan:
    """The plan for a host. Prices are in USD per hour, for the whole offer.

    ``facts``: variables of a running machine that Ansible does not load from a file. ``max_account_price_per_hour``:
    the ceiling of the account; with a shared registry, without what that registry does not count. ``missed``: why the
    host gets no better choice. ``error_class``: set if it stops for lack of offers (capacity), for a ceiling of several
    hosts (price) or for a quota. ``ends_storage``: whether the offer's storage ends with the machine. ``end``: the end
    of the lease in seconds since the epoch; ``bill``: the largest bill until then in USD. ``cheapest``: the lowest
    price of all offers found for it, including those that it may not buy.
    """

    host: str
    action: str
    offer_id: str = ""
    offer: Offer = field(default_factory=dict)
    price_per_hour: float | None = None
    max_price_per_hour: float = UNLIMITED
    resource_ids: tuple[str, ...] = ()
    label: str = ""
    refusal: str = ""
    facts: t.Mapping[str, t.Any] = field(default_factory=dict)
    max_account_price_per_hour: float = UNLIMITED
    missed: str = ""
    error_class: str = ""
    ends_storage: bool = False
    end: float | None = None
    bill: float | None = None
    cheapest: float | None = None

    @property
    def stays_per_hour(self) -> float | None:
        """The price of the storage that outlives its machine, USD per hour; None if unknown."""
        return 0.0 if self.ends_storage else storage.stays_per_hour(self.offer)

    @property
    def is_owned(self) -> bool:
        """Whether the host has its machine, or waits for one that is bought."""
        return self.action in (KEEP, WAIT)


def host_plans(
    cases: t.Sequence[Case],
    searches: t.Callable[[Declaration], SearchResult],
    pages: t.Mapping[str, SearchResult],
    kept: t.Mapping[str, str] | None = None,
    *,
    taken: t.Collection[str] = (),
    others: t.Sequence[CeilingPart] = (),
    unread: t.Sequence[str] = (),
    failed: t.Sequence[str] = (),
    now: float = 0.0,
    account: t.Callable[[t.Collection[str]], AccountPrices] = lambda _buying: AccountPrices(),
    ledgers: t.Mapping[str, Ledger] | None = None,
) -> list[Plan]:
    """A plan for each case.

    ``searches``: finds the offers for a declaration. ``pages``: the results of reading single offers by their ids, at
    least of those that hosts want by id. ``kept``: by host, the offer that it prefers to all others. ``taken``: the ids
    of offers that are bought or wanted elsewhere; a search may add to them. ``others``: what other hosts cost;
    ``unread``: those whose costs are unknown. ``failed``: the hosts that have left the play. ``now``: seconds since
    the epoch. ``account``: returns what else is billed on the account besides the offers to buy (`prices_of_others`).
    ``ledgers``: the ledgers of projects in which a host has a budget.
    """
    rivals = _rival_refusals(cases, taken)
    results = [_searched(case, searches, pages, rivals.get(case.host.host, "")) for case in cases]
    results = _at_highest_prices(cases, results, pages)
    offers = _allocated(cases, results, taken, pages, kept or {})
    shortages = _shortages(cases, results, offers)
    drafts = [_draft(case, item, offers.get(case.host.host), now, shortages) for case, item in zip(cases, results)]
    prices = account({draft.offer_id for draft in drafts if draft.action == BUY})
    count = Count(tuple(map(prices.at_account_price, (*_parts(cases, drafts), *others))))
    drafts = _within_ceilings(cases, drafts, count, unread, prices, ledgers or {}, now)
    drafts = [_left_for_later(case, draft, now) for case, draft in zip(cases, drafts)]
    stopped, later = [*failed, *_hosts_that(STOP, drafts)], _hosts_that(LATER, drafts)
    return [_with_open_purchase(case, _all_or_none(case, draft, stopped, later)) for case, draft in zip(cases, drafts)]


def _hosts_that(action: str, drafts: t.Iterable[Plan]) -> list[str]:
    return [draft.host for draft in drafts if draft.action == action]


def _rival_refusals(cases: t.Sequence[Case], taken: t.Collection[str]) -> dict[str, str]:
    """For each host that buys: a refusal if another host has or wants its offer or machine name, else an empty text."""
    offers = grouped((offer_id, case.host.host) for case in cases for offer_id in case.own_offer_ids)
    names = grouped((case.host.name, case.host.host) for case in cases if case.buys or case.standing.owns)
    return {
        case.host.host: _rival_refusal(case, offers.get(case.wanted_offer_id, ()), names[case.host.name], taken)
        for case in cases
        if case.buys and not case.is_open
    }


def _rival_refusal(case: Case, hosts: t.Iterable[str], namesakes: t.Iterable[str], taken: t.Collection[str]) -> str:
    """A refusal if another host has or wants this host's offer or machine name; otherwise empty.

    ``hosts``: all that have or want the offer; ``namesakes``: all that have or want the name.
    """
    host, offer_id = case.host, case.wanted_offer_id
    rivals, others = ([name for name in names if name != host.host] for names in (hosts, namesakes))
    is_taken = offer_id in taken and offer_id != case.entry.offer_id
    if rivals or is_taken:
        who = f"{', '.join(rivals)} also has or wants" if rivals else "a host of the registry has, had or wants"
        return joined(
            f"{host.host} names offer {offer_id} (provision_offer_id), which {who}. A machine belongs to one host."
            f" {NOTHING_SENT}",
            host.advice,
        )
    return shared_name(host.name, others) if others else ""


def _parts(cases: t.Sequence[Case], drafts: t.Sequence[Plan]) -> t.Iterable[CeilingPart]:
    """What each host costs, also a stopped one if its entry or name shows something that may be billed.

    Storage that outlives a machine counts from the run on that learns of the machine's end.
    """
    found: dict[str, CeilingPart] = {}
    for case, draft in zip(cases, drafts):
        noted = CeilingPart.of_entry(case.host.host, case.entry)
        if draft.action == BUY:
            found[draft.offer_id] = _ordered(draft)
        elif case.standing.owns:
            price = case.standing.price_per_hour
            found[case.standing.offer_id] = CeilingPart.of_found(case.host.host, case.entry, price)
        elif case.may_be_billed:
            found.setdefault(case.entry.offer_id or case.host.host, noted)
        else:
            found.update(
                {str(machine["resource_id"]): CeilingPart.of_machine(machine) for machine in case.standing.machines}
            )
    return [
        *found.values(),
        *ceilings.parts_of_entries(item for case in cases for item in case.entries_of_left_storage),
    ]


def _ordered(draft: Plan) -> CeilingPart:
    return CeilingPart(draft.host, draft.price_per_hour, State.ORDERED)


def _with_open_purchase(case: Case, draft: Plan) -> Plan:
    """The plan; the refusal of a host with an open purchase also says what may be billed."""
    if draft.action != STOP or not case.is_open:
        return draft
    stands = case.standing
    text = still_open(case.host.host, stands.offer_id, stands.price_per_hour, stands.resource_ids)
    return replace(draft, refusal=joined(draft.refusal, text))


def _searched(
    case: Case, searches: t.Callable[[Declaration], SearchResult], pages: t.Mapping[str, SearchResult], shared: str
) -> SearchResult:
    """The offers for the host, or why it buys nothing, before offers are allocated."""
    if (reason := _refusal(case, shared)) or not case.buys:
        return SearchResult(reason=reason)
    result = pages[case.wanted_offer_id].unless_open(case) if case.wanted_offer_id else searches(case.host)
    advice = case.host.advice if result.is_gone else ""
    return replace(result, reason=joined(result.reason, NOTHING_BOUGHT, advice)) if result.reason else result


def _refusal(case: Case, shared: str) -> str:
    """Why the host buys nothing, whatever offers there are; empty if it may buy, or has its machine."""
    if case.waits_in_vain:
        found = case.standing
        text = (
            f"Another run is buying or has bought the machine of {case.host.host}: offer {found.offer_id} at"
            f" {usd(found.price_per_hour)}, resource ids: {ids_in_words(found.resource_ids)}. It is billed, and this"
            " job has bought nothing."
        )
        return joined(text, case.host.locked_out)
    if case.standing.owns:
        return ""
    if case.host.objections and (case.entry.is_empty or case.standing.kind is not HostState.STOP):
        return f"{' '.join(case.host.objections)} {NOTHING_SENT}"
    return case.standing.reason if case.standing.kind is HostState.STOP else shared


def _at_highest_prices(
    cases: t.Sequence[Case], results: t.Sequence[SearchResult], pages: t.Mapping[str, SearchResult]
) -> list[SearchResult]:
    """The results with each offer's highest price among searches, pages, open purchases and sealed plans.

    So a host cannot buy by id what a search would refuse, and all ceilings use the same price. Hosts that share a
    result still share it.
    """
    distinct = {id(item): (case.host, item) for case, item in zip(cases, results)}
    looks = (offer for _host, item in distinct.values() for offer in item.all_offers)
    on_pages = (offer for page in pages.values() for offer in page.offers)
    prices = highest_prices([*looks, *on_pages, *(case.offer_at_noted_price for case in cases)])
    compared = {key: item.at(host, prices) for key, (host, item) in distinct.items()}
    return [compared[id(item)] for item in results]


def _allocated(
    cases: t.Sequence[Case],
    results: t.Sequence[SearchResult],
    taken: t.Collection[str],
    pages: t.Mapping[str, SearchResult],
    kept: t.Mapping[str, str],
) -> dict[str, Offer]:
    """The offers for hosts that search, by host, with the storage that only their own pages mention.

    Other hosts have no offers, or only the one that they name, which is not allocated. A host prefers the offer that it
    has ``kept``, if that still suits it and no host before it needs that offer.
    """
    requests = [(case, case.in_order(item.offers, kept.get(case.host.host))) for case, item in zip(cases, results)]
    allocated = allocate(requests, Unavailable.of(cases, taken, pages))
    shown = {offer["offer_id"]: offer for page in pages.values() for offer in page.offers}
    return {
        host: storage.with_noted_storage(offer, shown.get(offer["offer_id"], {})) for host, offer in allocated.items()
    }


def _shortages(
    cases: t.Sequence[Case], results: t.Sequence[SearchResult], allocated: t.Container[str]
) -> dict[str, str]:
    """A sentence by host if some, but not all, hosts with the same search and ceiling were ``allocated`` offers."""
    alike = grouped(((id(item), case.host.max_price_per_hour), case.host.host) for case, item in zip(cases, results))
    counts = [(hosts, sum(host in allocated for host in hosts)) for hosts in alike.values()]
    return {
        host: f"{plural(count, 'offer')} for {len(hosts)} hosts."
        for hosts, count in counts
        if 0 < count < len(hosts)
        for host in hosts
    }


def _draft(
    case: Case, search_result: SearchResult, offer: Offer | None, now: float, shortages: t.Mapping[str, str]
) -> Plan:
    """The plan of a host before ceilings of several hosts. ``shortages``: see `_shortages`."""
    stands, reason = case.standing, search_result.reason
    if not reason and stands.owns:
        ids, price = stands.resource_ids, stands.price_per_hour
        end, bill = case.lease_end_and_bill(now)
        return Plan(case.host.host, WAIT, stands.offer_id, price_per_hour=price, resource_ids=ids, end=end, bill=bill)
    if not reason and case.wanted_offer_id:
        # Without a page, the price is unknown.
        offer = next(iter(search_result.offers), {"offer_id": case.wanted_offer_id, "price_per_hour": None})
        # The purchase compares the offer's page with what was ordered or quoted.
        noted = case.entry.offer if case.is_open else case.host.quoted_offer
        offer = {**storage.with_noted_storage(offer, noted), **product_fields(noted)}
        reason = why_too_dear(case.host, offer)
    if offer is not None and not reason:
        return _purchase(case, search_result, offer, now)
    return _without_offer(case, search_result, offer or {}, reason, now, shortages.get(case.host.host, ""))


def _without_offer(
    case: Case, search_result: SearchResult, offer: Offer, reason: str, now: float, shortage: str
) -> Plan:
    """The plan of a host that stops, for this ``reason`` or, if that is empty, for lack of an offer."""
    error_class = QUOTA if case.without_quota else NO_OFFER if search_result.is_transient or not reason else ""
    patience, waited = case.host.patience, ""
    if error_class == NO_OFFER and not case.attempts and patience.has_waited(now):
        waited = f"It has waited since {formatted(patience.since)}."
    why = reason or joined(shortage, why_none(case, search_result))
    return Plan(
        case.host.host,
        STOP,
        case.wanted_offer_id,
        offer,
        refusal=joined(_with_attempts(case, why), waited),
        error_class=error_class,
        cheapest=cheapest_of(search_result.all_offers),
    )


def _purchase(case: Case, search_result: SearchResult, offer: Offer, now: float) -> Plan:
    host, offer_id = case.host, offer["offer_id"]
    number = search_result.choice_numbers.get(offer_id, 0)
    # An offer that is bought by its id belongs to no choice.
    max_price_per_hour = host.choices[number - 1].max_price_per_hour if number else UNLIMITED
    end, price = end_of(host.lease, now), offer["price_per_hour"]
    bill = bill_between(price, now, end)
    return Plan(
        host.host,
        BUY,
        offer_id,
        offer,
        price,
        min(host.max_price_per_hour, max_price_per_hour),
        missed=joined(
            why_not_first_choice(host, search_result, number),
            *(f"{item.words}." for item in case.avoided(search_result.offers) if not case.wanted_offer_id),
        ),
        label=offer_in_one_line(offer, bill),
        ends_storage=host.ends_storage,
        end=end,
        bill=bill,
    )


def offer_in_one_line(offer: Machine, bill: float | None) -> str:
    """An offer in one line, with the largest bill (USD) if it has a lease.

    With a bill, the GPU's family replaces its type, so that the text fits in a line of a terminal after the host.
    """
    contract, gpu = offer.get("contract_type"), offer.get("gpu_type")
    facts = [
        gpus_of(offer.get("gpu_count"), gpu if bill is None else offer.get("gpu_family") or gpu),
        usd_short(offer.get("price_per_hour")),
        "" if contract == ON_DEMAND else contract,
        "" if bill is None else f"USD {amount(round(bill, 2))} in all",
    ]
    return ", ".join(str(fact) for fact in facts if fact)


def _with_attempts(case: Case, reason: str) -> str:
    """The reason, preceded by the last attempt's message and followed by the offers that were tried."""
    if not case.attempts:
        return reason
    tried = [str(attempt["offer_id"]) for attempt in case.attempts]
    money = storage.storage_in_words(case.host.host, case.kept_storage) or nothing_billed(case.host.host)
    return joined(str(case.attempts[-1].get("msg") or ""), reason, "" if case.is_open else money, offers_tried(tried))


def _within_ceilings(
    cases: t.Sequence[Case],
    drafts: t.Sequence[Plan],
    count: Count,
    unread: t.Sequence[str],
    account: AccountPrices,
    ledgers: t.Mapping[str, Ledger],
    now: float,
) -> list[Plan]:
    """Apply the ceilings of play, account and month, each the lowest that a buying host declares."""
    buyers = [(case, draft) for case, draft in zip(cases, drafts) if draft.action == BUY]
    max_total = min((case.host.max_total_price_per_hour for case, _draft in buyers), default=UNLIMITED)
    max_account = min((case.host.max_account_price_per_hour for case, _draft in buyers), default=UNLIMITED)
    projects = list(dict.fromkeys(case.host.project for case in cases if case.host.registry.keeps_sums))
    ordered = [_ordered(draft) for _case, draft in buyers]
    of_play = ceilings.play_refusal(max_total, count, unread, projects)
    refusal = of_play or ceilings.account_refusal(max_account, account, ordered)
    by_project = grouped((case.host.project, (case, draft)) for case, draft in buyers)
    budgets = {project: _of_budget(project, pairs, ledgers, now) for project, pairs in by_project.items()}
    registered = ceilings.ceiling_for_registered(max_account, account)
    left = min(
        max_total - count.sum.total,
        max_account - account.with_planned(ordered).sum.total,
        *(left_per_hour for _refusal, left_per_hour in budgets.values()),
    )
    return [
        _limited(
            case,
            draft,
            refusal or budgets.get(case.host.project, ("", left))[0],
            registered if case.host.registry.keeps_sums else max_account,
            max(0.0, left) / max(1, len(buyers)),
        )
        for case, draft in zip(cases, drafts)
    ]


def unless_refused(draft: Plan, refusal: str) -> Plan:
    """The plan, stopped by the refusal unless that is empty."""
    return replace(draft, action=STOP, refusal=refusal) if refusal else draft


def _limited(case: Case, draft: Plan, refusal: str, max_account_price_per_hour: float, share: float) -> Plan:
    """The plan of a buying host, stopped by the ``refusal`` of a common ceiling, or with the price that those allow.

    ``share``: USD per hour that it may pay above its price, since the offer's page may be dearer; each buyer has an
    equal share.
    """
    if draft.action != BUY:
        return draft
    if refusal:
        return replace(draft, action=STOP, refusal=_with_attempts(case, refusal), error_class="price")
    most = min(draft.max_price_per_hour, (draft.price_per_hour or 0.0) + share)
    return replace(draft, max_price_per_hour=most, max_account_price_per_hour=max_account_price_per_hour)


def prices_of_others(
    account: Account, cases: t.Sequence[Case], billed: t.Iterable[tuple[str, Entry]], buying: t.Container[str]
) -> AccountPrices:
    """What is billed or being bought on the account, besides the offers that these hosts are ``buying``.

    ``billed``: the registry entries of other hosts.
    """
    if account.machines is None:
        return AccountPrices(unreadable=account.unreadable or ceilings.NOT_ASKED_FOR)
    entries = [*billed, *((case.host.host, case.entry) for case in cases if case.may_be_billed)]
    entries += [item for case in cases for item in case.entries_of_left_storage]
    return ceilings.account_prices(account.resources, entries, buying)


def counted_in_budgets(
    cases: t.Iterable[Case], hosts: t.Iterable[t.Mapping[str, t.Any]]
) -> dict[str, list[t.Mapping[str, t.Any]]]:
    """The ``hosts`` by project, for each project in which a host would buy under a budget.

    A budget counts all hosts of its project, whether they are planned now or not.
    """
    of_project = grouped((project_of(raw["project"]), raw) for raw in hosts)
    return {case.host.project: of_project.get(case.host.project, []) for case in cases if case.has_budget}


def _of_budget(
    project: str, buyers: t.Sequence[tuple[Case, Plan]], ledgers: t.Mapping[str, Ledger], now: float
) -> tuple[str, float]:
    """The refusal by a project's lowest budget, empty if it allows the purchases, and the USD per hour that remain."""
    budget = min(case.host.budget for case, _draft in buyers)
    if budget == UNLIMITED:
        return "", UNLIMITED
    ledger = ledgers[project]
    if ledger.unreadable:
        return (
            f"What was spent cannot be read, so provision_budget cannot be checked: {ledger.unreadable} {NOTHING_SENT}"
        ), 0.0
    planned = [
        Bill(
            project,
            case.host.host,
            draft.offer_id,
            price_per_hour=draft.price_per_hour,
            begin=now,
            ends_at=end_of(case.host.lease, now),
            stays_per_hour=draft.stays_per_hour,
        )
        for case, draft in buyers
    ]
    bills = [bill for bill in ledger.bills if bill.project == project]
    month = ceilings.costs_of_month(bills, planned, now, ledger.now)
    return ceilings.budget_refusal(budget, project, month), month.left_per_hour(budget)


def _left_for_later(case: Case, draft: Plan, now: float) -> Plan:
    """The plan; a host without an offer is left to a later run if it may wait that long."""
    if draft.error_class != NO_OFFER or not case.host.patience.has_later_run(now) or case.attempts:
        return draft
    return replace(draft, action=LATER, refusal="", error_class="", label=_label_later(case))


def _label_later(case: Case) -> str:
    return f"{case.host.host}: no offer yet; runs look until {formatted(case.host.patience.until or 0.0)}"


def _all_or_none(case: Case, draft: Plan, stopped: t.Sequence[str], later: t.Sequence[str]) -> Plan:
    if draft.action != BUY or not case.host.all_or_nothing or not (stopped or later):
        return draft
    if not stopped:
        return replace(draft, action=LATER, label=_label_later(case))
    why = f"provision_all_or_nothing: {case.host.host} buys nothing, since {abridged(stopped)} cannot have a machine."
    return replace(draft, action=STOP, refusal=_with_attempts(case, why))


def lacking(
    cases: t.Iterable[Case], plans: t.Iterable[Plan], now: float, trouble: str, *, may_wait: bool
) -> list[tuple[Case, Plan]]:
    """The hosts that lack an offer and have time for another search. ``trouble``: why the account cannot be read."""
    waiting = ((case, draft) for case, draft in zip(cases, plans) if may_wait and case.host.patience.has_time(now))
    return [
        (case, draft)
        for case, draft in waiting
        if draft.error_class == NO_OFFER or (trouble and not case.standing.owns)
    ]


def line_of_waiting(lacking: t.Sequence[tuple[Case, Plan]], now: float, trouble: str) -> str:
    """A line about hosts that wait, empty without any; ``now``: seconds since the epoch."""
    if not lacking:
        return ""
    patience = [case.host.patience for case, _draft in lacking]
    until = max(item.until or 0.0 for item in patience)
    hosts = abridged(case.host.host for case, _draft in lacking)
    cheapest = min((draft.cheapest for _case, draft in lacking if draft.cheapest is not None), default=None)
    market = "" if cheapest is None else f"The cheapest costs {usd(cheapest)}."
    looks = f"Next look {formatted(now + patience[0].delay)}, until {formatted(until)}."
    return joined(f"No offer yet for {hosts}, since {formatted(patience[0].since)}.", trouble, market, looks)


def fork_warning(plans: t.Iterable[Plan], forks: int) -> str:
    """A warning if there are fewer forks than purchases, each of which takes a fork until the API answers."""
    buyers = sum(draft.action == BUY for draft in plans)
    if not 0 < forks < buyers:
        return ""
    return (
        f"{buyers} hosts buy, {forks} at a time: a purchase may take minutes, and offers expire after half an hour. Let"
        f" them all buy at once: --forks {buyers}, or forks in ansible.cfg."
    )


def offers_to_buy(plans: t.Iterable[Plan]) -> dict[str, Offer]:
    """The offers that hosts would buy, by host."""
    return {draft.host: draft.offer for draft in plans if draft.action == BUY}


def paragraphs_of_storage(plans: t.Sequence[Plan]) -> list[list[str]]:
    """Paragraphs about the storage of the offers to buy: what outlives its machine, and what ends with it."""
    parts = (offers_to_buy(draft for draft in plans if draft.ends_storage is ends) for ends in (False, True))
    return list(filter(None, map(storage.offer_lines, storage.HEADS, parts)))


def warnings_of_kept_storage(cases: t.Iterable[Case], plans: t.Iterable[Plan]) -> list[str]:
    """A warning for each host that would buy although it has storage of an earlier machine."""
    would_buy = ((case, draft) for case, draft in zip(cases, plans) if case.buys)
    return [joined(storage.kept_warning(draft.host, case.storage_left), case.narrowed) for case, draft in would_buy]
