# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From where the hosts stand to a plan for each: keep, wait for, buy, or stop, and at what price at most."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass, field, replace

from .._text import QUOTA, grouped, number_of
from .._wording import amount, plural, ranges, usd
from . import ceilings, choosing, lease, ordered, planning_report, search, storage
from .ceilings import AccountPrices, Allowance, CeilingPart, Count, State
from .choosing import Avoided, OfferRequest, Offers, place_of
from .declaration import Declaration
from .entry import MADE, REFUSED, Entry, read_entry
from .lease import Clock
from .messages import (
    NOTHING_BOUGHT,
    NOTHING_SENT,
    does_not_fit,
    ids_of,
    joined,
    nothing_billed,
    offers_tried,
    shared_name,
    some,
    still_open,
)
from .ownership import Account
from .place import Place
from .prices import (
    UNLIMITED,
    at_prices,
    bill_of,
    count_within,
    highest_known_price,
    highest_prices,
    max_price_of_one,
    within,
)
from .search import Offer
from .spending import Bill, Ledger
from .standing import HostState, Standing, stopped
from .storage import Storage, changes_of, label_of

KEEP, WAIT, BUY, STOP, LATER = "keep", "wait", "buy", "stop", "later"

_LOOKS = 3  # times as many offers may be found to be gone as may be tried

_OFFER_KEPT = (
    "gpu_count",
    "gpu_type",
    "gpu_family",
    "contract_type",
    "vendor",
    "vendor_region",
    "region",
    "node_count",
)


@dataclass(frozen=True)
class SearchResult:
    """What the searches of a host, or the look at one offer, have brought: ``offers`` may be bought, best first.

    ``said``: why that failed, be it only now (``is_passing``). ``is_gone``: the offer is. ``seen``: what there is for
    each choice of the host. ``numbers``: of the choices (from 1) that find the offers, by their ids.
    """

    offers: t.Sequence[Offer] = ()
    said: str = ""
    is_gone: bool = False
    is_passing: bool = False
    seen: t.Sequence[Offers] = ()
    numbers: t.Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, host: Declaration, offers: t.Sequence[Offers]) -> SearchResult:
        """What was found for the choices of a host."""
        chosen, numbers = choosing.choose(host.choices, offers, host.order)
        return cls(chosen, seen=offers, numbers=numbers)

    @classmethod
    def unread(cls, case: Case, text: str, *, is_gone: bool) -> SearchResult:
        """The offer that a host wants by its id, if its page cannot be read.

        What may be bought already is settled by the purchase, whatever its page says.
        """
        if not case.is_open:
            return cls(said=text, is_gone=is_gone)
        entry = case.entry
        return cls([{**entry.offer, "offer_id": case.wanted, "price_per_hour": entry.price_per_hour}])

    @property
    def looks(self) -> t.Iterator[Offer]:
        """All offers that were looked at for it."""
        yield from self.offers
        for item in self.seen:
            yield from (*item.offers, *item.wider)

    @property
    def market(self) -> tuple[float | None, ...]:
        """The prices (USD per hour) of all that the searches have found."""
        return tuple(number_of(offer["price_per_hour"]) for item in self.seen for offer in item.offers)

    def at(self, host: Declaration, prices: t.Mapping[str, float | None]) -> SearchResult:
        """The same for the host with these prices of the offers (USD per hour), by their ids."""
        if all(offer["price_per_hour"] in (None, prices[offer["offer_id"]]) for offer in self.looks):
            return self
        seen = [Offers(at_prices(prices, item.offers), at_prices(prices, item.wider)) for item in self.seen]
        return SearchResult.of(host, seen) if seen else replace(self, offers=at_prices(prices, self.offers))


@dataclass(frozen=True)
class Case:
    """One host, with all that is known of it.

    ``attempts``: what was tried for it before in this run of the role. ``kept``: storage of its earlier machines.
    ``avoided_before``: where machines did not pass their tests, as the registry knows it.
    ``note`` and ``way_out``: see `Narrowing`.
    """

    host: Declaration
    entry: Entry
    standing: Standing
    attempts: t.Sequence[t.Mapping[str, t.Any]] = ()
    kept: tuple[Storage, ...] = ()
    note: str = ""
    way_out: str = ""
    avoided_before: tuple[Avoided, ...] = ()

    @property
    def attempts_left(self) -> int:
        """How many offers may still be tried."""
        sent = [attempt for attempt in self.attempts if attempt.get("outcome") != "not_sent"]
        # What was not sent costs nothing, but a search may bring ever new offers that cannot be had.
        return min(self.host.max_attempts - len(sent), _LOOKS * self.host.max_attempts - len(self.attempts))

    @property
    def without_quota(self) -> frozenset[str]:
        """The vendors whose quota is used up, by what was tried; an empty text if one has no name."""
        return frozenset(str(one.get("vendor") or "") for one in self.attempts if one.get("error_class") == QUOTA)

    @property
    def bad_places(self) -> list[Avoided]:
        """Where machines did not pass their tests, by this run and by the registry."""
        return choosing.avoided_places(choosing.avoided_by_attempts(self.attempts), self.avoided_before)

    def avoided(self, offers: t.Iterable[Offer]) -> list[Avoided]:
        """Those of them where there are offers, and it buys none: it does not name them itself."""
        if not (bad := self.bad_places):
            return []
        places = set(map(place_of, offers))
        return [
            item for item in bad if item.place in places and not choosing.searches_only(self.host.choices, item.place)
        ]

    def elsewhere(self, offers: t.Sequence[Offer]) -> t.Sequence[Offer]:
        """The offers, but for those of vendors whose quota is used up, and of places that it avoids.

        A product that was not delivered comes last: each search may make new offers of it, the cheapest first, until
        no attempt is left for another vendor.
        """
        vendors, places = self.without_quota, {item.place for item in self.avoided(offers)}
        left = [offer for offer in offers if offer.get("vendor") not in vendors and place_of(offer) not in places]
        last = {str(one["product"]) for one in self.attempts if one.get("product")}
        if not last:
            return left
        return sorted(left, key=lambda offer: search.product(offer, offer["price_per_hour"]) in last)

    @property
    def verifies(self) -> str:
        """The level at which its machine is still to be tested, empty if it is not."""
        return "" if self.entry.verified else self.host.verify

    @property
    def wanted(self) -> str:
        """The very offer that it wants: by its journal, else by its id."""
        return self.standing.offer_id if self.is_open else self.host.offer_id

    @property
    def is_open(self) -> bool:
        """Whether its journal names an offer of which nobody knows yet whether it was bought."""
        return self.standing.kind is HostState.OPEN

    @property
    def noted(self) -> Offer:
        """The offer that it wants at the price that was noted or quoted before this call (USD per hour)."""
        noted = self.entry.price_per_hour if self.is_open else None
        quoted = self.host.quoted_price_per_hour if self.wanted == self.host.offer_id else None
        return {"offer_id": self.wanted, "price_per_hour": highest_known_price(noted, quoted)}

    @property
    def offers(self) -> set[str]:
        """The offers that are or shall be its own."""
        had = self.entry.offer_id if self.may_be_billed else ""
        return {had, self.wanted if self.buys else ""} - {""}

    @property
    def wants_by_id(self) -> bool:
        """Whether it would buy that very offer."""
        return self.buys and bool(self.wanted)

    @property
    def may_be_billed(self) -> bool:
        """Whether its entry names something that is or may be billed."""
        return self.entry.names_purchase and not self.standing.void

    @property
    def buys(self) -> bool:
        """Whether it would buy, if it is let."""
        return self.standing.kind in (HostState.FREE, HostState.OPEN) and not self.host.objections

    def searches(self, spec: t.Mapping[str, t.Any]) -> bool:
        """Whether it would buy what this search finds."""
        return self.buys and not self.wanted and any(choice.spec == spec for choice in self.host.choices)

    @property
    def is_void(self) -> bool:
        """Whether its entry has come to nothing, and is removed."""
        return self.standing.void and not self.entry.is_empty

    @property
    def leaves(self) -> dict[str, t.Any]:
        """What its entry says before it is removed: what became of a purchase that was open, and its storage."""
        stands = self.standing
        end = {"provision_purchase": MADE if stands.may_be_made else REFUSED} if self.entry.is_open else {}
        return {**end, **({} if stands.storage is None else changes_of(stands.storage, self.entry.storage))}

    @property
    def left_entries(self) -> list[tuple[str, Entry]]:
        """The same as entries of its own, each with a name for people, as far as no registry has it so already."""
        host, left = self.host.host, (item for item in self.standing.storage or () if not item.kept_since)
        return [(label_of(host, item.resource_id), read_entry(item.entry(host))) for item in left]

    @property
    def waits_in_vain(self) -> bool:
        """Whether an earlier or another run has bought it a machine that was never reached, and this job has no key."""
        is_new = self.entry.names_purchase and not self.entry.was_ready
        return bool(self.host.locked_out) and is_new and self.standing.kind in (HostState.UNDER_WAY, HostState.READY)

    @property
    def adopts_offer(self) -> str:
        """The offer of the one machine that it would adopt, which says more than a list; empty if there is none."""
        found = self.standing
        is_one = found.adopted and found.kind is not HostState.FAILED and len(found.machines) == 1
        return found.offer_id if is_one else ""

    @property
    def at_storage(self) -> Case:
        """The same; if it searches, where it keeps storage. What this run has tried and left may have no data yet."""
        if not self.buys or self.wanted:
            return self
        tried = {str(attempt.get("offer_id")).lower() for attempt in self.attempts}
        kept = [item for item in self.kept if item.offer_id not in tried]
        narrow = choosing.narrowed_to_storage(self.host.host, self.host.choices, kept)
        return replace(self, host=replace(self.host, choices=narrow.choices), note=narrow.note, way_out=narrow.way_out)

    def fitting(self, offer: Offer) -> Case:
        """The same, unless what it would adopt, by its offer, is not what it declares."""
        host, machines = self.host, self.standing.machines
        odd = choosing.mismatch_of_all(host.choices, offer)
        if not odd:
            return self
        return replace(self, standing=stopped(does_not_fit(host.host, host.name, machines, odd)))

    @property
    def has_budget(self) -> bool:
        """Whether it would buy under a ceiling of a month."""
        return self.buys and self.host.budget != UNLIMITED


def evidence_places(cases: t.Iterable[Case]) -> dict[Place, None]:
    """The registries of hosts that would buy by a search or by an id, and avoid something."""
    return dict.fromkeys(case.host.registry for case in cases if case.buys and case.host.avoid)


def with_evidence(
    cases: t.Iterable[Case], evidence: t.Mapping[Place, t.Iterable[t.Mapping[str, t.Any]]], clock: Clock
) -> list[Case]:
    """The same cases, each with the places that its registry's evidence is about."""
    cases = list(cases)
    # Once for all hosts that declare the same: there may be thousands of both.
    declared = {(case.host.registry, case.host.avoid) for case in cases}
    places = {
        (registry, seconds): tuple(
            choosing.avoided_places((), choosing.avoided_by_evidence(evidence.get(registry, ()), seconds, clock))
        )
        for registry, seconds in declared
    }
    return [replace(case, avoided_before=places[case.host.registry, case.host.avoid]) for case in cases]


def voided(cases: t.Iterable[Case]) -> set[str]:
    """The hosts whose entries have come to nothing."""
    return {case.host.host for case in cases if case.is_void}


@dataclass(frozen=True)
class Plan:
    """What happens to a host. Prices are in USD per hour, for the whole offer.

    ``facts``: the variables of a machine that runs, where Ansible reads them nowhere. ``max_account_price_per_hour``:
    what all of the account may cost, of which a shared registry counts only its own; None for no limit. ``missed``:
    why it gets no better choice than this, and where alone it looks. ``lacks``: it stops since there is no offer for
    it; ``above``: it stops at a ceiling of several hosts; ``beyond_quota``: it stops after a quota was used up.
    ``market``: the prices of all that its searches have found. ``ends_storage``: what the offer brings along of it ends
    with the machine. ``hides_storage``: nothing has said whether it brings any.
    """

    host: str
    action: str
    offer_id: str = ""
    offer: Offer = field(default_factory=dict)
    alternatives: t.Sequence[Offer] = ()
    price_per_hour: float | None = None
    max_price_per_hour: float | None = None
    resource_ids: tuple[str, ...] = ()
    label: str = ""
    refusal: str = ""
    facts: t.Mapping[str, t.Any] = field(default_factory=dict)
    max_account_price_per_hour: float | None = None
    missed: str = ""
    lacks: bool = False
    above: bool = False
    beyond_quota: bool = False
    market: tuple[float | None, ...] = ()
    ends_storage: bool = False
    hides_storage: bool = False

    @property
    def stays_per_hour(self) -> float | None:
        """What goes on after its machine, USD per hour; None if that is unknown."""
        return 0.0 if self.ends_storage else storage.stays_per_hour(self.offer)

    @property
    def is_owned(self) -> bool:
        """Whether the host has what it needs, or that is under way."""
        return self.action in (KEEP, WAIT)

    @property
    def error_class(self) -> str:
        """Why the host stops, if that is a matter of offers or of ceilings; empty otherwise."""
        if self.action != STOP:
            return ""
        classes = {"capacity": self.lacks, "price": self.above, QUOTA: self.beyond_quota}
        return next((name for name, is_so in classes.items() if is_so), "")

    def after_waiting(self, text: str) -> Plan:
        """The same; if the host has waited in vain, its refusal says what was seen."""
        is_vain = self.lacks and bool(self.refusal)
        return replace(self, refusal=joined(self.refusal, text)) if is_vain else self


def plan(
    cases: t.Sequence[Case],
    searches: t.Callable[[Declaration], SearchResult],
    wanted: t.Mapping[str, SearchResult],
    *,
    taken: t.Collection[str] = (),
    others: t.Sequence[CeilingPart] = (),
    unread: t.Sequence[str] = (),
    failed: t.Sequence[str] = (),
    now: float = 0.0,
    account: AccountPrices | None = None,
    spent: t.Mapping[str, Ledger] | None = None,
) -> list[Plan]:
    """A plan for each case.

    ``searches`` and ``wanted``: what was found for a declaration, and by the id of an offer. ``taken``: offers that are
    spoken for. ``others``: what further hosts cost. ``unread``: those of them whose costs nobody can tell.
    ``failed``: those that have left the play. ``now``: seconds since the epoch. ``account``: what is billed on the
    account beside what the cases buy. ``spent``: the ledgers of the projects of hosts that have a budget.
    """
    cases = [case.at_storage for case in cases]
    shared = _shared(cases, taken)
    first = _compared([_first(case, searches, wanted, shared.get(case.host.host, "")) for case in cases])
    wishes = [
        OfferRequest(case.host.host, case.elsewhere(item.offers), case.host.max_price_per_hour)
        for case, item in _searching(first)
    ]
    offers = choosing.allocate(wishes, _unavailable(first, taken))
    lack = _shortages(first, taken, offers)
    drafts = [_draft(case, item, reason, offers.get(case.host.host), now, lack) for case, item, reason in first]
    count = Count((*_parts(cases, drafts), *others))
    drafts = _within_ceilings(cases, drafts, count, unread, account or AccountPrices(), spent or {}, now)
    drafts = [_later(case, draft, now) for case, draft in zip(cases, drafts)]
    stopped, later = [*failed, *_hosts_that(STOP, drafts)], _hosts_that(LATER, drafts)
    return [_honest(case, _all_or_none(case, draft, stopped, later)) for case, draft in zip(cases, drafts)]


def _hosts_that(action: str, drafts: t.Iterable[Plan]) -> list[str]:
    return [draft.host for draft in drafts if draft.action == action]


_First = tuple[Case, SearchResult, str]  # with why nothing can be bought, if that is known already


def _shared(cases: t.Sequence[Case], taken: t.Collection[str]) -> dict[str, str]:
    """Why hosts may not buy what other hosts have or want, too: the very offer, or a machine of that name."""
    offers = grouped((offer_id, case.host.host) for case in cases for offer_id in case.offers)
    names = grouped((case.host.name, case.host.host) for case in cases if case.buys or case.standing.owns)
    return {
        case.host.host: _rivalled(case, offers.get(case.wanted, ()), taken) or _named_twice(case, names[case.host.name])
        for case in cases
        if case.buys and not case.is_open
    }


def _rivalled(case: Case, hosts: t.Iterable[str], taken: t.Collection[str]) -> str:
    """Why the host may not buy the very offer that it wants, and that ``hosts`` have or want."""
    rivals = [host for host in hosts if host != case.host.host]
    is_taken = case.wanted in taken and case.wanted != case.entry.offer_id
    if not case.wanted or not (rivals or is_taken):
        return ""
    return joined(
        f"provision_offer_id {case.wanted} of {case.host.host} is what"
        f" {', '.join(rivals or ['another host of the registry'])} also has or wants. A machine belongs to one host."
        f" {NOTHING_SENT}",
        case.host.advice,
    )


def _named_twice(case: Case, hosts: t.Iterable[str]) -> str:
    """Why the host may not buy a machine of its name, which those of ``hosts`` have."""
    namesakes = [host for host in hosts if host != case.host.host]
    return shared_name(case.host.name, namesakes) if namesakes else ""


def _parts(cases: t.Sequence[Case], drafts: t.Sequence[Plan]) -> t.Iterable[CeilingPart]:
    """What each host costs: one that stops may be billed for what its entry or name tells of.

    The storage that a machine leaves counts, too, in the very run that learns of the machine's end.
    """
    found: dict[str, CeilingPart] = {}
    for case, draft in zip(cases, drafts):
        noted = CeilingPart.of_entry(case.host.host, case.entry)
        if draft.action == BUY:
            found[draft.offer_id] = _ordered(draft)
        elif case.standing.owns:
            found[case.standing.offer_id] = replace(noted, cost=case.standing.price_per_hour, state=State.LIVE)
        elif case.may_be_billed:
            found.setdefault(case.entry.offer_id or case.host.host, noted)
        elif draft.action == STOP:
            found.update(
                {str(machine["resource_id"]): CeilingPart.of_machine(machine) for machine in case.standing.machines}
            )
    return [*found.values(), *ceilings.of_entries(item for case in cases for item in case.left_entries)]


def _ordered(draft: Plan) -> CeilingPart:
    return CeilingPart(draft.host, draft.price_per_hour, State.ORDERED)


def _honest(case: Case, draft: Plan) -> Plan:
    """No refusal may hide that an earlier purchase may be billed."""
    if draft.action != STOP or not case.is_open:
        return draft
    found = case.standing
    text = still_open(case.host.host, found.offer_id, found.price_per_hour, found.resource_ids)
    return replace(draft, refusal=joined(draft.refusal, text))


def _first(
    case: Case, searches: t.Callable[[Declaration], SearchResult], wanted: t.Mapping[str, SearchResult], shared: str
) -> _First:
    reason = _refusal(case, shared)
    if reason or not case.buys:
        return case, SearchResult(), reason
    offers = wanted[case.wanted] if case.wanted else searches(case.host)
    if offers.said:
        reason = joined(offers.said, NOTHING_BOUGHT, case.host.advice if offers.is_gone else "", case.way_out)
    return case, offers, reason


def _refusal(case: Case, shared: str) -> str:
    """Why the host buys nothing, as far as that needs no offer; empty if it may buy, or has what it needs."""
    if case.waits_in_vain:
        found = case.standing
        text = (
            f"Another run buys or has bought the machine of {case.host.host}: offer {found.offer_id} at"
            f" {usd(found.price_per_hour)}, resource ids: {ids_of(found.resource_ids)}. It is billed, and this job has"
            " bought nothing."
        )
        return joined(text, case.host.locked_out)
    if case.standing.owns:
        return ""
    if case.host.objections and (case.entry.is_empty or case.standing.kind is not HostState.STOP):
        return f"{' '.join(case.host.objections)} {NOTHING_SENT}"
    return case.standing.reason if case.standing.kind is HostState.STOP else shared


def _compared(first: t.Sequence[_First]) -> list[_First]:
    """What was found, where each offer has the price that counts: one look may leave out what another has shown.

    So an id buys nothing that a search refuses, and all ceilings count the same. What a purchase of unknown outcome was
    noted at, and an approval was given for, counts as well. Hosts that share what was found go on to share it.
    """
    noted = [case.noted for case, _found, _reason in first]
    distinct = {id(item): (case.host, item) for case, item, _reason in first}
    looks = (offer for _host, item in distinct.values() for offer in item.looks)
    prices = highest_prices([*looks, *noted])
    compared = {key: item.at(host, prices) for key, (host, item) in distinct.items()}
    return [(case, compared[id(item)], reason) for case, item, reason in first]


def _searching(first: t.Iterable[_First]) -> list[tuple[Case, SearchResult]]:
    """The hosts that buy any offer of their search."""
    return [(case, item) for case, item, reason in first if case.buys and not reason and not case.wanted]


def _unavailable(first: t.Sequence[_First], taken: t.Collection[str]) -> set[str]:
    """The ids of offers that no search buys: ``taken``, tried before, or wanted by a host by its id."""
    wanted = {case.wanted for case, _item, _reason in first if case.wanted}
    tried = {attempt["offer_id"] for case, _item, _reason in first for attempt in case.attempts}
    return {*taken, *wanted, *tried}


def _shortages(first: t.Sequence[_First], taken: t.Collection[str], allocated: t.Container[str]) -> dict[str, str]:
    """By host: that there are fewer offers than hosts that share its search and its limits; not if there are enough."""
    unavailable = _unavailable(first, taken)
    alike = grouped(
        (
            (id(item), case.host.max_price_per_hour, case.without_quota, tuple(case.avoided(item.offers))),
            (case, item),
        )
        for case, item in _searching(first)
    )
    found = {}
    for pairs in alike.values():
        hosts, (case, item) = [case.host.host for case, _item in pairs], pairs[0]
        if all(host in allocated for host in hosts):
            continue
        count = count_within(case.elsewhere(item.offers), case.host.max_price_per_hour, unavailable)
        if 0 < count < len(hosts):
            found.update(dict.fromkeys(hosts, f"{plural(count, 'offer')} for {len(hosts)} hosts."))
    return found


def _draft(
    case: Case,
    search_result: SearchResult,
    reason: str,
    offer: Offer | None,
    now: float,
    shortages: t.Mapping[str, str],
) -> Plan:
    """The plan as far as only this host decides it. ``shortages``: see `_shortages`."""
    if not reason and case.standing.owns:
        stands = case.standing
        return Plan(
            case.host.host,
            WAIT,
            stands.offer_id,
            price_per_hour=stands.price_per_hour,
            resource_ids=stands.resource_ids,
        )
    if not reason and case.wanted:
        # What nobody could look at has an unknown price.
        offer = next(iter(search_result.offers), {"offer_id": case.wanted, "price_per_hour": None})
        # What was ordered or quoted counts: the purchase compares it with the offer's own page.
        noted = case.entry.offer if case.is_open else case.host.quoted_offer
        offer = {**storage.with_noted(offer, noted), **_product_of(noted)}
        reason = _too_dear(case.host, offer)
    if offer is not None and not reason:
        return _purchase(case, search_result, offer, now)
    return Plan(
        case.host.host,
        STOP,
        case.wanted,
        offer or {},
        refusal=_after(case, reason or joined(shortages.get(case.host.host, ""), _none(case, search_result))),
        lacks=(search_result.is_passing or not reason) and not case.without_quota,
        beyond_quota=bool(case.without_quota),
        market=search_result.market,
    )


def _too_dear(host: Declaration, offer: Offer) -> str:
    """Why the very offer that the host wants is above its ceiling; empty if it is not."""
    if within(offer, host.max_price_per_hour):
        return ""
    costs = f"Offer {offer['offer_id']} costs {usd(offer['price_per_hour'])}"
    return joined(f"{costs}, which is not within {_ceiling_of(host)}. {NOTHING_BOUGHT}", host.advice)


def _purchase(case: Case, search_result: SearchResult, offer: Offer, now: float) -> Plan:
    """The plan of a host that buys this offer."""
    host, offer_id = case.host, offer["offer_id"]
    number = search_result.numbers.get(offer_id, 0)
    # Of an offer that is wanted by its id no choice says what it may cost.
    max_price_per_hour = host.choices[number - 1].max_price_per_hour if number else UNLIMITED
    return Plan(
        host.host,
        BUY,
        offer_id,
        offer,
        []
        if case.wanted
        else [offer for offer in case.elsewhere(search_result.offers) if within(offer, host.max_price_per_hour)],
        offer["price_per_hour"],
        min(host.max_price_per_hour, max_price_per_hour),
        missed=joined(
            case.note,
            _missed(host, search_result, number),
            *_of_bad_places(case, search_result.offers, offer),
        ),
        label=planning_report.what_is_bought(
            host.host, offer, _lasts(host), bill_of(offer["price_per_hour"], host.lease.lasts(now))
        ),
        ends_storage=host.ends_storage,
        # Of an offer that is bought by its id only that offer's own page tells.
        hides_storage=bool(case.wanted)
        and not case.is_open
        and host.quoted_price_per_hour is None
        and offer.get(storage.DETAILS) is None,
    )


def _ceiling_of(host: Declaration) -> str:
    """The ceiling of the host in a sentence."""
    if host.plan_number:
        return f"the price in plan {host.plan_number} ({usd(host.max_price_per_hour)})"
    if host.is_bound_by_bill and host.max_bill is not None:
        bill, price = f"USD {amount(host.max_bill)}", usd(round(host.max_price_per_hour, 6))
        return f"provision_max_bill ({bill} with the lease {host.lease.text}, so {price})"
    shown = "unlimited" if host.max_price_per_hour == UNLIMITED else usd(host.max_price_per_hour)
    return f"provision_max_price_per_hour ({shown})"


def _bill_at(host: Declaration, price: float | None) -> float | None:
    """USD for the whole life of a machine at this price (USD per hour), where that is what limits the host."""
    ceiling = host.max_price_per_hour
    if not (host.is_bound_by_bill and host.max_bill and price and price > ceiling):
        return None
    return host.max_bill * price / ceiling


def _lasts(host: Declaration) -> str:
    """How long its machine lives, in a word or two; empty if it has no end."""
    if host.lease.moment is not None:
        return f"until {lease.said(host.lease.moment)}"
    return f"in {host.lease.text}" if host.lease else ""


def _none(case: Case, search_result: SearchResult) -> str:
    """Why there is no offer for the host."""
    vendors = " and ".join(sorted(filter(None, case.without_quota)))
    left_out = f"Offers of {vendors} were left out, since the quota there is used up." if vendors else ""
    avoided = case.avoided(search_result.offers)
    advice = "To look there all the same, add -e provision_avoid=0." if any(item.until for item in avoided) else ""
    words = [f"{item.words}." for item in avoided]
    return joined(_no_offer(case, search_result), left_out, *words, advice, case.way_out)


def _of_bad_places(case: Case, offers: t.Iterable[Offer], chosen: Offer) -> t.Iterator[str]:
    """Where the host does not look, and that it buys this offer though it is of such a place."""
    if not case.wanted:
        yield from (f"{item.words}." for item in case.avoided(offers))
    for item in case.bad_places:
        if item.place == place_of(chosen):
            wanted = "it names that offer" if case.wanted else "its search names that vendor and region"
            yield f"{item.words}. {case.host.host} buys there all the same, since {wanted}."


def _no_offer(case: Case, search_result: SearchResult) -> str:
    host = case.host
    if len(host.choices) > 1:
        reasons = "; ".join(_reasons(host, search_result, len(host.choices)))
        return f"None of the searches of provision_spec has an offer for this host. {reasons}. {NOTHING_BOUGHT}"
    if not search_result.offers and search_result.seen and not search_result.seen[0].offers:
        return planning_report.no_match(
            choosing.why_nothing(host.choices[0], search_result.seen[0], host.max_price_per_hour)
        )
    offers = search_result.offers or (search_result.seen[0].offers if search_result.seen else ())
    if not offers:
        return planning_report.no_match("none")
    cheapest = offers[0]["price_per_hour"]
    ceiling, bill = _ceiling_of(host), _bill_at(host, cheapest)
    of_search = min((choice.max_price_per_hour for choice in host.choices), default=UNLIMITED)
    if of_search < host.max_price_per_hour:
        ceiling, bill = f"max_price_per_hour in provision_spec ({usd(of_search)})", None
    is_affordable = within(offers[0], min(of_search, host.max_price_per_hour))
    return planning_report.none_left(len(offers), ceiling, cheapest, len(case.attempts), bill, is_affordable)


def _reasons(host: Declaration, search_result: SearchResult, count: int) -> list[str]:
    """Why each of the first choices came to nothing."""
    pairs = zip(host.choices[:count], search_result.seen)
    return [
        f"{choosing.in_words(choice)}: {choosing.why_nothing(choice, item, host.max_price_per_hour)}"
        for choice, item in pairs
    ]


def _missed(host: Declaration, search_result: SearchResult, number: int) -> str:
    """Why a host gets a later choice than its first; where the cheapest counts, none is better than another."""
    if number < 2 or host.order == choosing.CHEAPEST:
        return ""
    reasons = "; ".join(_reasons(host, search_result, number - 1))
    return f"{host.host} gets choice {number} ({choosing.in_words(host.choices[number - 1])}): {reasons}."


def _after(case: Case, reason: str) -> str:
    """The reason, after what was tried before."""
    if not case.attempts:
        return reason
    tried = [str(attempt["offer_id"]) for attempt in case.attempts]
    last = str(case.attempts[-1].get("msg") or "")
    nothing = storage.stays(case.host.host, case.kept) or nothing_billed(case.host.host)
    return joined(last, reason, "" if case.is_open else nothing, offers_tried(tried))


def _within_ceilings(
    cases: t.Sequence[Case],
    drafts: t.Sequence[Plan],
    count: Count,
    unread: t.Sequence[str],
    account: AccountPrices,
    spent: t.Mapping[str, Ledger],
    now: float,
) -> list[Plan]:
    """The plans below the ceilings of all hosts: play, account and month, each the lowest that a buyer has declared."""
    buyers = [(case, draft) for case, draft in zip(cases, drafts) if draft.action == BUY]
    max_total = min((case.host.max_total_price_per_hour for case, _draft in buyers), default=UNLIMITED)
    max_account = min((case.host.max_account_price_per_hour for case, _draft in buyers), default=UNLIMITED)
    account = _with_stopped(account, cases, drafts)
    projects = list(dict.fromkeys(case.host.project for case in cases if case.host.registry.keeps_sums))
    of_all = (
        ceilings.of_play(max_total, count, len(buyers), unread, projects),
        ceilings.of_account(max_account, account, [_ordered(draft) for _case, draft in buyers]),
    )
    ends = {case.host.host for case in cases if case.host.ends_storage}
    budgets = _budgets(buyers, spent, now, ends)
    registered = ceilings.among_registered(max_account, account)
    return [
        _limited(
            case,
            draft,
            (*of_all, budgets.get(case.host.project, Allowance())),
            registered if case.host.registry.keeps_sums else _or_none(max_account),
        )
        for case, draft in zip(cases, drafts)
    ]


def _limited(
    case: Case, draft: Plan, allowances: t.Iterable[Allowance], max_account_price_per_hour: float | None
) -> Plan:
    """The plan with what the ceilings of all hosts let it pay, or why they let it buy nothing."""
    if draft.action != BUY:
        return draft
    max_price_per_hour = UNLIMITED if draft.max_price_per_hour is None else draft.max_price_per_hour
    for allowance in allowances:
        if allowance.refusal:
            return replace(draft, action=STOP, refusal=_after(case, allowance.refusal), above=True)
        max_price_per_hour = max_price_of_one(
            draft.price_per_hour, max_price_per_hour, allowance.max_further_price_per_hour, allowance.buyers
        )
    return replace(
        draft,
        max_price_per_hour=_or_none(max_price_per_hour),
        max_account_price_per_hour=max_account_price_per_hour,
    )


def _or_none(max_price_per_hour: float) -> float | None:
    return None if max_price_per_hour == UNLIMITED else max_price_per_hour


def account_prices(account: Account, cases: t.Sequence[Case], billed: t.Iterable[tuple[str, Entry]]) -> AccountPrices:
    """What is billed on the account, or is being bought by others than these hosts. ``billed``: as registries note."""
    if account.machines is None:
        return AccountPrices(unreadable=account.unreadable or ceilings.NOT_ASKED_FOR)
    entries = [*billed, *((case.host.host, case.entry) for case in cases if case.may_be_billed)]
    entries += [item for case in cases for item in case.left_entries]
    buying = {case.entry.offer_id for case in cases if case.buys}
    return ceilings.account_prices(account.resources, entries, buying)


def _with_stopped(account: AccountPrices, cases: t.Sequence[Case], drafts: t.Sequence[Plan]) -> AccountPrices:
    """With purchases under way that will not go on in this play, and may be billed all the same."""
    stopped = [
        CeilingPart.of_entry(case.host.host, case.entry)
        for case, draft in zip(cases, drafts)
        if case.buys and case.may_be_billed and draft.action != BUY
    ]
    return replace(account, registered=(*account.registered, *stopped))


def _budgets(
    buyers: t.Iterable[tuple[Case, Plan]], spent: t.Mapping[str, Ledger], now: float, ends_storage: t.Container[str]
) -> dict[str, Allowance]:
    """What the budget of each project says, the lowest that any of its buyers has declared.

    ``ends_storage``: the hosts that declare that.
    """
    return {
        project: _budget(project, pairs, spent[project], now, ends_storage)
        for project, pairs in grouped((case.host.project, (case, draft)) for case, draft in buyers).items()
        if any(case.has_budget for case, _draft in pairs)
    }


def _budget(
    project: str,
    buyers: t.Sequence[tuple[Case, Plan]],
    ledger: Ledger,
    now: float,
    ends_storage: t.Container[str],
) -> Allowance:
    """What the budget of a project says to its buyers."""
    if ledger.unreadable:
        return Allowance(
            "What was spent cannot be read, so whether provision_budget holds is not known:"
            f" {ledger.unreadable} {NOTHING_SENT}"
        )
    planned = [
        Bill(
            project,
            case.host.host,
            draft.offer_id,
            price_per_hour=draft.price_per_hour,
            begin=now,
            ends_at=case.host.lease.end(now),
            stays_per_hour=draft.stays_per_hour,
        )
        for case, draft in buyers
    ]
    bills = [
        bill._replace(stays_per_hour=0.0) if bill.host in ends_storage else bill
        for bill in ledger.bills
        if bill.project == project
    ]
    budget = min(case.host.budget for case, _draft in buyers)
    return ceilings.of_month(
        budget, project, ceilings.costs_of_month(bills, planned, max(now, ledger.now)), len(buyers)
    )


def _later(case: Case, draft: Plan, now: float) -> Plan:
    """A host for which there is no offer is looked for again by a later run, if that was asked for."""
    if not (draft.lacks and case.host.patience.comes_back(now)) or case.attempts:
        return draft
    return replace(draft, action=LATER, refusal="", label=_label_later(case), missed=case.way_out)


def _label_later(case: Case) -> str:
    return f"{case.host.host}: no offer yet; runs look until {lease.said(case.host.patience.until or 0.0)}"


def _all_or_none(case: Case, draft: Plan, stopped: t.Sequence[str], later: t.Sequence[str]) -> Plan:
    if draft.action != BUY or not case.host.all_or_nothing or not (stopped or later):
        return draft
    if not stopped:
        return replace(draft, action=LATER, label=_label_later(case))
    why = f"provision_all_or_nothing: nothing was bought, since {some(stopped)} cannot have a machine."
    return replace(draft, action=STOP, refusal=_after(case, why))


def is_short(cases: t.Iterable[Case], spec: t.Mapping[str, t.Any], offers: t.Sequence[Offer]) -> bool:
    """Whether more hosts look for this than there are offers for them, so that it is worth searching again.

    Not if none or all of them are to buy: what is listed again under another id may be the same machine.
    """
    buyers = [case.host for case in cases if case.searches(spec)]
    most = max((host.max_price_per_hour for host in buyers), default=0.0)
    count = count_within(offers, most, ())
    return 0 < count < len(buyers) and not any(host.all_or_nothing for host in buyers)


def lacking(cases: t.Iterable[Case], plans: t.Iterable[Plan], now: float, trouble: str) -> list[tuple[Case, Plan]]:
    """The hosts that have no offer yet, and time for another look. ``trouble``: why nothing can be looked at now."""
    return [
        (case, draft)
        for case, draft in zip(cases, plans)
        if (draft.lacks or (trouble and not case.standing.owns)) and case.host.patience.has_time(now)
    ]


def waits(lacking: t.Sequence[tuple[Case, Plan]], since: float, now: float, text: str) -> str:
    """A line for hosts that wait; moments in seconds since the epoch."""
    patience = [case.host.patience for case, _draft in lacking]
    until = max(item.until or 0.0 for item in patience)
    moments = [lease.said(moment) for moment in (since, now + patience[0].delay, until)]
    hosts = f"{len(lacking)} ({some(case.host.host for case, _draft in lacking)})"
    return f"Since {moments[0]} waiting for {hosts}: {text}. Next look {moments[1]}, until {moments[2]}."


def few_forks(plans: t.Iterable[Plan], forks: int) -> str:
    """That purchases would wait for each other; each holds a fork for as long as the API takes for it."""
    buyers = sum(draft.action == BUY for draft in plans)
    if not 0 < forks < buyers:
        return ""
    return (
        f"{buyers} hosts buy, {forks} at a time: a purchase may take minutes, and offers expire after half an hour. Let"
        f" them all buy at once: --forks {buyers}, or forks in ansible.cfg."
    )


def bought(plans: t.Iterable[Plan]) -> dict[str, Offer]:
    """What the hosts would buy."""
    return {draft.host: draft.offer for draft in plans if draft.action == BUY}


def storage_of(plans: t.Sequence[Plan]) -> list[list[str]]:
    """Paragraphs about the storage of what would be bought: what goes on after its machine, ends with it, is hidden."""
    parts = ([draft for draft in plans if draft.ends_storage is ends] for ends in (False, True))
    found = [storage.brought(head, bought(part)) for head, part in zip(storage.HEADS, parts)]
    unknown = [draft.host for draft in plans if draft.hides_storage]
    head = "The API does not say whether the offer has storage that outlives it:"
    found += [[head, f"  {', '.join(ranges(unknown))}"]] if unknown else []
    return list(filter(None, found))


def brings(plans: t.Sequence[Plan], *, would: bool) -> str:
    """The same of what ``would`` be bought as sentences; empty if there is none, or it is bought."""
    paragraphs = storage_of(plans) if would else []
    return joined(*(f"{head} {'; '.join(map(str.strip, rows))}" for head, *rows in paragraphs))


def still_kept(cases: t.Iterable[Case], plans: t.Iterable[Plan]) -> list[str]:
    """A warning for each host that would buy, though it has storage of an earlier machine."""
    return [storage.still_kept(draft.host, case.kept, draft.offer) for case, draft in zip(cases, plans) if case.buys]


def kept_of(offer: Offer) -> dict[str, t.Any]:
    """What the registry remembers of an offer, to tell later whether what is declared differs."""
    brought = storage.brought_by(offer)
    return {**_product_of(offer), **lease.noted_validity(offer), **({storage.DETAILS: brought} if brought else {})}


def _product_of(offer: Offer) -> dict[str, t.Any]:
    """What an offer sells, as far as it says so."""
    return {name: offer[name] for name in _OFFER_KEPT if offer.get(name) is not None}


def differs(case: Case) -> str:
    """In what a host owns or has ordered something else than it declares now; empty where it has not."""
    if case.standing.owns:
        return joined(drift(case.host, case.entry), ordered.taken_up(case.host, case.entry))
    return ordered.other_spec(case.host, case.entry) if case.is_open else ""


def drift(host: Declaration, entry: Entry) -> str:
    """In what a host owns something else than it declares now; empty where it does not.

    That is reported, and never repaired by a replacement.
    """
    found = [ordered.odd_offer(host, entry)]
    if (
        host.declared_max_price_per_hour is not None
        and entry.price_per_hour is not None
        and entry.price_per_hour > host.max_price_per_hour
    ):
        found.append(
            f"it costs {usd(entry.price_per_hour)}, and provision_max_price_per_hour is {usd(host.max_price_per_hour)}"
        )
    if entry.name not in ("", host.name):
        found.append(f"it was bought as {entry.name}, and provision_resource_name is {host.name}")
    if host.offer_id and entry.offer_id not in ("", host.offer_id):
        found.append(f"its offer is {entry.offer_id}, and provision_offer_id is {host.offer_id}")
    found.append(_other_lease(host, entry))
    message = "; ".join(filter(None, found))
    return f"{host.host} owns something other than it declares: {message}. It stays as it is." if message else ""


def _other_lease(host: Declaration, entry: Entry) -> str:
    """That another lease is declared than the one that was fixed at the purchase; `8h` and `480m` are one."""
    with contextlib.suppress(ValueError):
        noted = lease.read_lease(entry.leased)
        if (noted.seconds, noted.moment) == (host.lease.seconds, host.lease.moment):
            return ""
    if host.by_name or entry.is_empty:
        return ""
    way_out = " (compute_index.supply.extend changes that)" if host.lease else ""
    has = f"its lease is {entry.leased}" if entry.leased else "it has no lease"
    return f"{has}, and provision_lease is {host.lease.text or 'empty'}{way_out}"
