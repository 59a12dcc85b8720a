# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed plans: a quote is bought exactly as it stands, once, or refused with a sentence about the first difference.

An offer can be sold only once, so its id prevents a second purchase. The registry notes the plan's number with each
purchase. The seal is keyed with the API's token, so only someone who can buy anyway can make one.

Pure: knows no Ansible, no HTTP, no files, no clock. Prices are in USD per hour, bills in USD, times in seconds since
the epoch.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import typing as t
from dataclasses import dataclass, field, replace

from .._text import abridged, first_timestamp, formatted, ids_in_words, joined, read_price, timestamps, usd
from . import lease, planning, search, sending
from .candidates import Case, SearchResult
from .declaration import Declaration
from .messages import NOTHING_SENT, still_open
from .place import Place
from .planning import BUY, Plan
from .quote import new_hosts
from .search import UNLIMITED, Offer, total_of
from .spending import Ledger
from .standing import HostState, stopped
from .storage import DETAILS, persistent_storage

Row = dict[str, t.Any]
Plain = t.Mapping[str, t.Any]
Pages = t.Mapping[str, SearchResult]  # the results of reading single offers, by offer id

QUOTE_AGAIN = "Make a new quote."
OFFER_LIVES = 1800.0  # seconds for which an offer is assumed to hold if the API does not say
_DIGEST = "digest"
_CLOCKS = 3600.0  # seconds by which the clocks of API and registry may differ


# The terms of a declaration besides its offer and order, by variable: whatever decides what is bought, kept and billed
_TERMS: dict[str, t.Callable[[Declaration], t.Any]] = {
    "provision_project": lambda host: host.project,
    # A shared registry has its project; files have no path here, since it differs in each checkout.
    "the registry": lambda host: host.registry.text if host.registry.keeps_sums else "files" if host.registry else "",
    "provision_offer_id": lambda host: host.offer_id,
    "provision_max_price_per_hour": lambda host: host.declared_max_price_per_hour,
    "provision_max_total_price_per_hour": lambda host: host.max_total_price_per_hour,
    "provision_max_account_price_per_hour": lambda host: host.max_account_price_per_hour,
    "provision_budget": lambda host: host.budget,
    "provision_max_bill": lambda host: host.max_bill,
    "provision_lease": lambda host: host.lease.text,
    "provision_idle_after": lambda host: host.idle_after,
    "provision_all_or_nothing": lambda host: host.all_or_nothing,
    "provision_verify": lambda host: host.verify,
    "provision_on_failure": lambda host: host.on_failure,
    "provision_protect": lambda host: host.protect,
    "provision_storage_on_end": lambda host: "end" if host.ends_storage else "",
}
_DURATIONS = frozenset({"provision_lease", "provision_idle_after"})  # ``8h`` and ``480m`` are the same term
_PLAIN_HOST = Declaration("", "")


def terms_of(host: Declaration) -> Row:
    """The terms that the host declares, without defaults."""
    values = {name: (read(host), read(_PLAIN_HOST)) for name, read in _TERMS.items()}
    return {
        name: "unlimited" if value == UNLIMITED else value for name, (value, usual) in values.items() if value != usual
    }


# Sealing


def plans_at_page_prices(
    find_plans: t.Callable[[Pages, t.Mapping[str, str]], list[Plan]],
    cases: t.Iterable[Case],
    pages: Pages,
    read: t.Callable[[t.Collection[str]], Pages],
) -> tuple[list[Plan], list[str]]:
    """The plans to seal, at the price that their purchases compare: the higher of the search's and the offer page's.

    Also returns a warning for each offer that its page shows not to be for sale as found; its host gets another one,
    whose page is read next. There are at most as many rounds as the highest ``provision_max_attempts``. ``find_plans``:
    `planning.host_plans`, by ``pages`` and the offers that hosts had before. ``read``: reads the pages of offers by
    their ids.
    """
    seen, plans = pages, find_plans(pages, {})
    for _try in range(max((case.host.max_attempts for case in cases), default=0)):
        further = _further_pages(plans, seen, read)
        if not further:
            break
        seen = {**seen, **further}
        plans = find_plans(seen, {draft.host: draft.offer_id for draft in plans})
    gone = {offer_id: page for offer_id, page in seen.items() if page.is_gone and offer_id not in pages}
    warnings = [f"Offer {offer_id} is not in the plan: {page.reason}" for offer_id, page in gone.items()]
    return [planning.unless_refused(draft, _unsealable(draft, pages, seen)) for draft in plans], warnings


def _further_pages(plans: t.Iterable[Plan], seen: Pages, read: t.Callable[[t.Collection[str]], Pages]) -> Pages:
    """The pages of the offers to buy that were not read before."""
    offers = {offer["offer_id"]: offer for offer in planning.offers_to_buy(plans).values()}
    unread = {offer_id: offer for offer_id, offer in offers.items() if offer_id not in seen}
    return {offer_id: _sellable(unread[offer_id], page) for offer_id, page in read(unread).items()}


def _sellable(offer: Offer, page: SearchResult) -> SearchResult:
    """The page of an offer that a search found; marked as gone if a purchase would refuse it at any price."""
    offer_id, terms = offer["offer_id"], sending.Terms(offer=offer)
    unpriced = (sending.unknown_price(offer_id) for item in page.offers if item["price_per_hour"] is None)
    reason = _first((*unpriced, *(terms.page_refusal(offer_id, item) for item in page.offers)))
    return SearchResult(reason=reason, is_gone=True) if reason else page


def _unsealable(draft: Plan, pages: Pages, seen: Pages) -> str:
    """Why the price of an offer to buy is not certain; empty if it is, or if the host buys nothing.

    ``pages``: of offers that hosts want by id. Only an open purchase, at its noted price, needs none that can be read.
    """
    if draft.action != BUY or draft.offer_id in pages:
        return ""
    if draft.offer_id not in seen:
        return (
            f"Each offer tried for {draft.host} (provision_max_attempts) is gone, or its own page shows a price above a"
            f" ceiling. So no price is certain, and no plan was sealed. {QUOTE_AGAIN}"
        )
    reason = seen[draft.offer_id].reason
    return reason and (
        f"The page of offer {draft.offer_id} cannot be read, so its price is not certain and no plan was sealed:"
        f" {reason} {QUOTE_AGAIN}"
    )


def draft(quote: Row, declared: t.Iterable[Declaration], account: str, number: str, now: float) -> Row:
    """The sealed plan of a quote before its orders and seal are added.

    ``quote``: the artifact. ``account``: see `SupplyApi.account`. ``now``: by the API's clock.
    """
    terms = {host.host: terms_of(host) for host in declared}
    new = new_hosts(quote["hosts"])
    expires = timestamps(item.get("expires_at") for item in new.values())
    return {
        "number": number,
        "summary": quote["summary"],
        "account": account,
        "quoted_at": lease.utc_rounded_up(now),
        "expires_at": lease.utc_rounded_up(min(expires, default=now + OFFER_LIVES)),
        "price_per_hour": quote["price_per_hour"],
        "at_most": total_of(item["at_most"] for item in new.values()),
        "hosts": {host: {**item, "terms": terms.get(host, {})} for host, item in quote["hosts"].items()},
    }


def file_to_write(path: object, check_mode: bool) -> str:
    """The file for the sealed plan; empty if none is named, and in check mode."""
    return "" if check_mode else str(path or "")


def sealed_with_orders(plan: Plain, orders: t.Mapping[str, Plain], token: str) -> Row:
    """Add the ``orders`` by host, as digests (`sending.order_digests`), and seal the plan.

    Raises ValueError if a host has neither a machine nor an offer with a price and an order.
    """
    lacking = [
        host
        for host, item in plan["hosts"].items()
        if not item["owned"] and not (read_price(item.get("price_per_hour")) is not None and orders.get(host))
    ]
    if lacking:
        raise ValueError(f"There is no offer with a price for {abridged(lacking)}, so no plan was written.")
    hosts = {host: {**item, "order": dict(orders.get(host, {}))} for host, item in plan["hosts"].items()}
    whole = {**plan, "hosts": hosts}
    return {**whole, _DIGEST: _digest(whole, token)}


def _digest(plan: Plain, token: str) -> str:
    """HMAC-SHA256 of the whole plan except its digest."""
    text = json.dumps({name: value for name, value in plan.items() if name != _DIGEST}, sort_keys=True)
    return hmac.new(token.encode(), text.encode(), hashlib.sha256).hexdigest()


# Buying


@dataclass(frozen=True)
class SealedPlan:
    """A sealed plan to buy. ``fault``: why nothing of it may be bought; otherwise empty.

    ``since``: a time before its first possible purchase, by any clock. ``expires_at``: nothing new is bought after this
    time, by the API's clock.
    """

    number: str = ""
    account: str = ""
    since: float = 0.0
    expires_at: float = 0.0
    hosts: t.Mapping[str, Plain] = field(default_factory=dict)
    fault: str = ""

    @classmethod
    def of(cls, plan: Plain, token: str) -> SealedPlan:
        """Read the plan that was given to a run, and check its seal."""
        if not hmac.compare_digest(str(plan.get(_DIGEST)).encode(), _digest(plan, token).encode()):
            return cls(fault="it was changed since it was sealed, or another api_token sealed it")
        quoted, expires = (first_timestamp([plan.get(name)]) or 0.0 for name in ("quoted_at", "expires_at"))
        return cls(str(plan["number"]), str(plan["account"]), quoted - _CLOCKS, expires, plan["hosts"])

    def compared(self, hosts: t.Sequence[Declaration], account: str, *, further: bool = False) -> SealedPlan:
        """The plan, with a fault if its account or hosts differ, or if the hosts now declare other terms or searches.

        ``further``: this is a further round, in which some hosts of the plan may not take part.
        """
        if self.fault:
            return self
        other = "" if account == self.account else "it was quoted for another account or api_url"
        planned = [host for host in hosts if host.host in self.hosts]
        terms = (*map(self._other_terms, planned), *map(self._other_search, planned))
        return replace(self, fault=_first((other, self._other_hosts(hosts, further), *terms)))

    def bound(self, host: Declaration) -> Declaration:
        """The declaration of a `compared` host, limited to its offer in the plan at the sealed price."""
        if self.fault:
            return host
        item = self.hosts[host.host]
        price = read_price(item.get("price_per_hour"))
        return replace(
            host,
            adopt=host.adopt and bool(item["owned"]),  # a quoted offer is bought, not replaced by an adopted machine
            offer_id=str(item["offer_id"]),
            declared_max_price_per_hour=price,
            quoted_price_per_hour=price,
            quoted_offer={**item, DETAILS: persistent_storage({DETAILS: item.get("storage")})},
            sealed_order=dict(item["order"]),
            plan_number=self.number,
            advice=QUOTE_AGAIN,
        )

    def places(self, cases: t.Iterable[Case]) -> set[Place]:
        """The registries of hosts that would buy; their ledgers show whether the plan is used up."""
        return {case.host.registry for case in cases if self._buys_anew(case)}

    def checked(self, cases: t.Sequence[Case], ledger: Ledger, now: float) -> list[Case]:
        """The cases; all stop if one differs from the plan. ``ledger``: of `places`. ``now``: by the API's clock."""
        new = [case for case in cases if self._buys_anew(case)]
        over = (*(self._used_up(case, ledger) for case in new), self._expired(now) if new else "")
        reason = self.fault or _first((*map(self._other_machine, cases), *over))
        return [_stopped(case, self._refused(reason)) for case in cases] if reason else list(cases)

    # Differences, each as part of a sentence; empty without a difference

    def _refused(self, reason: str) -> str:
        name = f"Plan {self.number}" if self.number else "The plan"
        return f"{name} is refused: {reason}. {QUOTE_AGAIN}"

    def _other_hosts(self, hosts: t.Iterable[Declaration], further: bool) -> str:
        now = {host.host for host in hosts}
        left, added = sorted(() if further else self.hosts.keys() - now), sorted(now - self.hosts.keys())
        parts = [f"{verb} {abridged(names)}" for verb, names in (("leaves out", left), ("is also for", added)) if names]
        return f"this run {' and '.join(parts)}" if parts else ""

    def _other_terms(self, host: Declaration) -> str:
        """The first term of the host that has changed since the quote."""
        then, now = self.hosts[host.host]["terms"], terms_of(host)
        return _first(
            f"{name} of {host.host} was {then.get(name, 'the default')} when it was quoted, and is"
            f" {now.get(name, 'the default')} now (does this run lack a variable of the quote?)"
            for name in _TERMS
            if not _is_same_term(name, then.get(name), now.get(name))
        )

    def _other_search(self, host: Declaration) -> str:
        """How the plan's offer differs from what the host searches for now, for example by another order.

        The number of GPUs is not compared, since it is unknown how the API counts those of a cluster.
        """
        item = self.hosts[host.host]
        is_named = item["owned"] or host.offer_id
        odd = "" if is_named else search.mismatch_with_all(host.choices, {**item, "gpu_count": None})
        return f"it has {odd} for {host.host}" if odd else ""

    def _other_machine(self, case: Case) -> str:
        """How the host's machine or open purchase differs from the plan, or that its machine is gone."""
        item, host = self.hosts[case.host.host], case.host.host
        stands = case.standing
        is_other = stands.offer_id != item["offer_id"]
        if is_other and (stands.owns or case.is_open):
            return f"{host} has offer {stands.offer_id}, and the plan says {item['offer_id']}"
        is_lost = bool(item["owned"]) and stands.kind in (HostState.FREE, HostState.OPEN)
        return f"{host} had offer {item['offer_id']} when it was quoted, and has no machine now" if is_lost else ""

    def _used_up(self, case: Case, ledger: Ledger) -> str:
        """Whether a machine that the plan bought has ended, by the ledger or by what this run has found."""
        if ledger.unreadable:
            return f"it may be used up: {ledger.unreadable}"
        offers = {str(item["offer_id"]) for item in self.hosts.values()}
        over = [bill.host for bill in ledger.bills if bill.offer_id in offers and not bill.runs]
        over += [case.host.host] if case.entry.is_made and case.entry.offer_id in offers else []
        return f"it is used up, since the machine of {over[0]} has ended" if over else ""

    def _expired(self, now: float) -> str:
        return "" if now <= self.expires_at else f"its first offer held until {formatted(self.expires_at)}"

    def _buys_anew(self, case: Case) -> bool:
        """Whether the host would make a new purchase under the plan, for which nothing was sent yet."""
        return not self.fault and case.buys and not case.is_open


def _is_same_term(name: str, then: t.Any, now: t.Any) -> bool:
    if name in _DURATIONS:
        then, now = (lease.noted_time_limit(text) or text for text in (then, now))
    return bool(then == now)


def _first(reasons: t.Iterable[str]) -> str:
    return next(filter(None, reasons), "")


def _stopped(case: Case, refusal: str) -> Case:
    """The case, stopped by the refusal; what this run has found out about its entry is still noted."""
    stands = case.standing
    has = stands.reason
    if stands.owns:
        has = f"{case.host.host} keeps {ids_in_words(stands.resource_ids)}, {usd(stands.price_per_hour)}."
    elif case.is_open:
        has = still_open(case.host.host, stands.offer_id, stands.price_per_hour, stands.resource_ids)
    return replace(case, standing=stopped(joined(refusal, NOTHING_SENT, has), stands))
