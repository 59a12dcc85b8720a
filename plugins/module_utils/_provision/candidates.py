# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which offers a host may buy, why there is none for it, and how what it owns differs from what it declares.

A `Case` has everything known about one host before `planning` allocates offers to hosts. If a machine failed its test,
its vendor is avoided in its region for a while: a run knows this from its own attempts, later runs from the evidence in
the registry (``provision_avoid``). Prices are in USD per hour, times in seconds since the epoch.
"""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import dataclass, field, replace
from functools import cached_property

from .._text import QUOTA, first_timestamp, formatted, joined, number_of, one_line, read_price, seconds_of, text_of, usd
from . import search
from .acceptance import UNSOUND
from .declaration import Declaration
from .entry import MADE, REFUSED, Entry, read_entry
from .lease import Clock, clock_of, clocks_differ, end_of, noted_time_limit
from .messages import NOTHING_BOUGHT, does_not_fit
from .moving import why_moved_away
from .order import GROUP_OF_RUNS
from .ownership import Machine
from .place import Place
from .search import (
    CHEAPEST,
    UNLIMITED,
    Choice,
    Offer,
    bill_between,
    count_within,
    highest_known_price,
    highest_prices,
    offers_at_prices,
    passes_max_price,
)
from .spending import Bill
from .standing import HostState, Standing, stopped
from .storage import Storage, label_of, merged_storage, storage_changes

_MOST_SEARCHES = 50  # repetitions of one search, for all hosts that share it
_UNSENT_FACTOR = 3  # how many times ``max_attempts`` may be planned if purchases are refused before they are sent


# Regions of vendors to avoid, since a machine there failed its test


@dataclass(frozen=True)
class Avoided:
    """A vendor in a ``region``, avoided ``until`` a time, in seconds since the epoch. ``reason``: for the user."""

    region: tuple[str, str]
    reason: str
    until: float

    @property
    def words(self) -> str:
        """A sentence without a full stop: ``nebius EU is avoided until ... UTC, after a failed test: GPU 3: ...``."""
        name = " ".join(filter(None, self.region)) or "a vendor without a name"
        return f"{name} is avoided until {formatted(self.until)}, after a failed test: {self.reason}"


def avoided_regions(evidence: t.Iterable[Offer], seconds: float, clock: Clock) -> tuple[Avoided, ...]:
    """The regions in the registry's ``evidence``, each avoided for so many seconds after its last failed test."""
    found: dict[tuple[str, str], Avoided] = {}
    for bundle in (item for item in evidence if isinstance(item, t.Mapping)):
        tested, now = seconds_of(bundle.get("tested_at")), clock.now(clock_of(bundle.get("clock")))
        # A time in the future counts as now; a test without a readable time does not count.
        if tested is not None and (until := min(tested, now) + seconds) > now:
            item = Avoided(region_of(bundle), one_line(text_of(bundle.get("reason"))), until)
            found[item.region] = max(item, found.get(item.region, item), key=lambda one: one.until)
    return tuple(found[region] for region in sorted(found))


def region_of(row: Offer) -> tuple[str, str]:
    """The vendor and region of an offer, an attempt or a piece of evidence; empty texts for missing ones."""
    return text_of(row.get("vendor")), text_of(row.get("region"))


# Choosing offers


def pooled(
    offers: t.Sequence[Offer],
    is_short: t.Callable[[t.Sequence[Offer]], bool],
    search_again: t.Callable[[], t.Sequence[Offer]],
) -> list[Offer]:
    """Repeat a search until it has brought enough ``offers``; return all of them, cheapest first.

    An API that makes offers for each search lists a product once, although it may have many such machines. If a
    repetition brings no new offer, it is the last one; of several prices of an offer the highest counts.
    """
    answers, pool = list(offers), {offer["offer_id"]: offer for offer in offers}
    for _search in range(_MOST_SEARCHES):
        count = len(pool)
        if not is_short(list(pool.values())):
            break
        answers += search_again()
        pool = {**{offer["offer_id"]: offer for offer in answers}, **pool}
        if len(pool) == count:
            break
    return offers_at_prices(highest_prices(answers), list(pool.values())) if len(answers) > len(offers) else answers


def choose(
    choices: t.Sequence[Choice], offers_by_choice: t.Sequence[t.Sequence[Offer]], order: str
) -> tuple[list[Offer], dict[str, int]]:
    """The offers within the ceilings of their choices, best first, and the number (from 1) of each offer's choice.

    The ``order`` decides whether offers of the first choice come first, or those with the cheapest GPU. If several
    choices find an offer, it belongs to the first one whose ceiling allows it.
    """
    offers: list[Offer] = []
    numbers: dict[str, int] = {}
    for number, (choice, found) in enumerate(zip(choices, offers_by_choice), start=1):
        for offer in found:
            offer_id = offer["offer_id"]
            if offer_id not in numbers and passes_max_price(offer["price_per_hour"], choice.max_price_per_hour):
                offers.append(offer)
                numbers[offer_id] = number
    if order == CHEAPEST:
        offers.sort(key=_per_gpu)
    return offers, numbers


def cheapest_of(offers: t.Iterable[Offer]) -> float | None:
    """The lowest known price of these offers (USD per hour); None without one."""
    prices = (read_price(offer["price_per_hour"]) for offer in offers)
    return min((price for price in prices if price is not None), default=None)


def _per_gpu(offer: Offer) -> tuple[bool, float]:
    """A sort key: the price of one GPU; unknown prices come last."""
    price = read_price(offer["price_per_hour"])
    return price is None, (price or 0.0) / (number_of(offer.get("gpu_count")) or 1.0)


# A host and its search results


@dataclass(frozen=True)
class SearchResult:
    """The result of a host's searches, or of reading one offer: the ``offers`` that may be bought, best first.

    ``reason``: why it failed, or why the host buys nothing in any case. ``is_transient``: the failure is transient.
    ``is_gone``: the offer that was read is gone. ``offers_by_choice``: all offers of each choice of the host.
    ``choice_numbers``: the number (from 1) of each offer's choice, by offer id. ``wider``: for each choice without
    offers, those that its search finds without region and contract.
    """

    offers: t.Sequence[Offer] = ()
    reason: str = ""
    is_gone: bool = False
    is_transient: bool = False
    offers_by_choice: t.Sequence[t.Sequence[Offer]] = ()
    choice_numbers: t.Mapping[str, int] = field(default_factory=dict)
    wider: t.Sequence[t.Sequence[Offer]] = ()

    @classmethod
    def of(
        cls, host: Declaration, offers: t.Sequence[t.Sequence[Offer]], wider: t.Sequence[t.Sequence[Offer]] = ()
    ) -> SearchResult:
        """The result of a host's searches by the ``offers`` of each of its choices."""
        matching = [
            [offer for offer in found if not search.differ(choice.vendor_region, offer.get("vendor_region"))]
            for choice, found in zip(host.choices, offers)
        ]
        chosen, numbers = choose(host.choices, matching, host.order)
        return cls(chosen, offers_by_choice=matching, choice_numbers=numbers, wider=wider)

    def unless_open(self, case: Case) -> SearchResult:
        """The result of reading the offer of a case; the noted offer if the page of an open purchase cannot be read.

        An open purchase is settled by its status, so its page does not matter.
        """
        if not (self.reason and case.is_open):
            return self
        entry = case.entry
        return SearchResult([{**entry.offer, "offer_id": case.wanted_offer_id, "price_per_hour": entry.price_per_hour}])

    @property
    def all_offers(self) -> t.Iterator[Offer]:
        """All offers that it has, also those that may not be bought; an offer may occur twice."""
        yield from self.offers
        for offers in self.offers_by_choice:
            yield from offers

    def at(self, host: Declaration, prices: t.Mapping[str, float | None]) -> SearchResult:
        """The result with these prices (USD per hour), by offer id."""
        if all(offer["price_per_hour"] in (None, prices[offer["offer_id"]]) for offer in self.all_offers):
            return self
        seen = [offers_at_prices(prices, offers) for offers in self.offers_by_choice]
        return (
            SearchResult.of(host, seen, self.wider)
            if seen
            else replace(self, offers=offers_at_prices(prices, self.offers))
        )


@dataclass(frozen=True)
class Case:
    """One host with everything known about it.

    ``attempts``: its earlier purchases in this run of the role. ``kept_storage``: storage of its earlier machines.
    ``avoided_before``: the regions that it avoids by the registry's evidence. ``narrowed``: a message if it searches
    only where its storage is, with the way to search elsewhere; otherwise empty.
    """

    host: Declaration
    entry: Entry
    standing: Standing
    attempts: t.Sequence[t.Mapping[str, t.Any]] = ()
    kept_storage: tuple[Storage, ...] = ()
    avoided_before: tuple[Avoided, ...] = ()
    narrowed: str = ""

    @property
    def attempts_left(self) -> int:
        """The number of offers that may still be tried."""
        sent = [attempt for attempt in self.attempts if attempt.get("outcome") != "not_sent"]
        # Unsent purchases cost nothing, but searches may bring ever new offers that cannot be bought.
        return min(self.host.max_attempts - len(sent), _UNSENT_FACTOR * self.host.max_attempts - len(self.attempts))

    @property
    def without_quota(self) -> frozenset[str]:
        """The vendors whose quota is used up, by the attempts; an empty text for a vendor without a name."""
        return frozenset(str(one.get("vendor") or "") for one in self.attempts if one.get("error_class") == QUOTA)

    def avoided(self, offers: t.Iterable[Offer]) -> list[Avoided]:
        """The avoided regions that have any of these offers."""
        regions = set(map(region_of, offers)) if self.avoided_before else ()
        return [item for item in self.avoided_before if item.region in regions]

    @cached_property
    def _avoided_regions(self) -> set[tuple[str, str]]:
        """The regions where a machine of their vendor failed its test, in this run or before."""
        unsound = {region_of(one) for one in self.attempts if one.get("error_class") == UNSOUND}
        return unsound.union(item.region for item in self.avoided_before)

    def why_left_out(self, offer: Offer, unavailable: Unavailable) -> str:
        """Why the host, which searches, does not get this offer; empty if it may get it."""
        offer_id, price = offer["offer_id"], offer["price_per_hour"]
        if offer_id in unavailable.taken:
            return "another host has it, wants it by its id, or gets it"
        reasons = {
            "a host of this round has tried it": offer_id in unavailable.tried,
            "its page says that it is gone": offer_id in unavailable.gone,
            "its vendor's quota is used up": offer.get("vendor") in self.without_quota,
            "a machine of its vendor and region failed its test": region_of(offer) in self._avoided_regions,
            "its price is above the ceiling": not passes_max_price(price, self.host.max_price_per_hour),
        }
        return next((reason for reason, applies in reasons.items() if applies), "")

    def in_order(self, offers: t.Sequence[Offer], kept: str | None = None) -> list[Offer]:
        """The offers, best first. Before all others comes the one that it has ``kept``, by its id.

        A product that was not delivered comes last: if searches make new offers of it, and it is the cheapest, it would
        otherwise use up all attempts.
        """
        last = {str(one["product"]) for one in self.attempts if one.get("product")}
        if last:
            offers = sorted(offers, key=lambda offer: search.product_key(offer, offer["price_per_hour"]) in last)
        return sorted(offers, key=lambda offer: offer["offer_id"] != kept)

    @property
    def verifies(self) -> str:
        """The level at which its machine must still be tested; empty if it need not be."""
        return "" if self.entry.verified else self.host.verify

    @property
    def wanted_offer_id(self) -> str:
        """The id of the offer of its open purchase, or else of the one that it declares; empty if it searches."""
        return self.standing.offer_id if self.is_open else self.host.offer_id

    @property
    def is_open(self) -> bool:
        """Whether the outcome of a purchase in its journal is open."""
        return self.standing.kind is HostState.OPEN

    @property
    def offer_at_noted_price(self) -> Offer:
        """The wanted offer at the price (USD per hour) that was noted or quoted before this call."""
        noted = self.entry.price_per_hour if self.is_open else None
        quoted = self.host.quoted_price_per_hour if self.wanted_offer_id == self.host.offer_id else None
        return {"offer_id": self.wanted_offer_id, "price_per_hour": highest_known_price(noted, quoted)}

    @property
    def own_offer_ids(self) -> set[str]:
        """The ids of the offers that it has bought or wants by id."""
        had = self.entry.offer_id if self.may_be_billed else ""
        return {had, self.wanted_offer_id if self.buys else ""} - {""}

    @property
    def wants_by_id(self) -> bool:
        """Whether it would buy an offer by its id."""
        return self.buys and bool(self.wanted_offer_id)

    def lease_end_and_bill(self, now: float) -> tuple[float | None, float | None]:
        """The end of the lease of its machine, None if it has none, and the largest bill until then in USD.

        The registry has both. Without a registry, and for a machine that is adopted now, the declared lease counts.
        """
        if not (self.adopts_into_registry or self.host.by_name):
            return self.entry.lease_end, self.entry.at_most
        created = first_timestamp(machine.get("created_at") for machine in self.standing.machines)
        end = end_of(self.host.lease, now if self.adopts_into_registry else created)
        return end, bill_between(self.standing.price_per_hour, created, end)

    @property
    def adopts_into_registry(self) -> bool:
        """Whether it adopts a machine into its registry, with a lease that begins now."""
        return self.standing.adopted and not self.host.by_name

    @property
    def may_be_billed(self) -> bool:
        """Whether its entry names anything that may be billed."""
        return self.entry.may_have_bought and not self.standing.void

    @property
    def buys(self) -> bool:
        """Whether it needs a purchase and nothing in its declaration forbids one."""
        return self.standing.kind in (HostState.FREE, HostState.OPEN) and not self.host.objections

    def searches(self, spec: t.Mapping[str, t.Any]) -> bool:
        """Whether it would buy an offer of this search."""
        return self.buys and not self.wanted_offer_id and any(choice.spec == spec for choice in self.host.choices)

    @property
    def is_void(self) -> bool:
        """Whether its entry is to be removed, since nothing was bought or all of it has ended."""
        return self.standing.void and not self.entry.is_empty

    @property
    def changes_before_removal(self) -> dict[str, t.Any]:
        """The changes of its entry right before it is removed: the outcome of an open purchase, and its storage."""
        stands = self.standing
        end = {"provision_purchase": MADE if stands.may_be_made else REFUSED} if self.entry.is_open else {}
        return {**end, **({} if stands.storage is None else storage_changes(stands.storage, self.entry.storage))}

    @property
    def entries_of_left_storage(self) -> list[tuple[str, Entry]]:
        """Entries for the storage that outlives its machine, by label, without what the registry has already."""
        host, left = self.host.host, (item for item in self.standing.storage or () if not item.kept_since)
        return [(label_of(host, item.resource_id), read_entry(item.entry(host))) for item in left]

    @property
    def storage_left(self) -> tuple[Storage, ...]:
        """The storage of its earlier machines, including one whose end this run has found."""
        return merged_storage(self.kept_storage, self.standing.storage or ())

    @property
    def at_storage(self) -> Case:
        """The case; if it searches, restricted to the site of its storage: its vendor's own region.

        Storage of this run's failed attempts, and of machines that were never ready, has no data yet and does not
        count.
        """
        left = self.storage_left if self.entry.was_ready else self.kept_storage
        tried = {str(attempt.get("offer_id")).lower() for attempt in self.attempts}
        sites = {(item.vendor, item.region) for item in left if item.offer_id not in tried}
        vendor, region = next(iter(sites), ("", ""))
        if len(sites) != 1 or not self.buys or self.wanted_offer_id:
            return self
        choices = tuple(search.at_site(choice, vendor, region) for choice in self.host.choices)
        if choices == self.host.choices:
            return self
        narrowed = (
            f"{self.host.host} searches only at {joined(vendor, region)}, where its storage is. To search elsewhere,"
            " set vendor in provision_spec; any stands for all vendors."
        )
        return replace(self, host=replace(self.host, choices=choices), narrowed=narrowed)

    @property
    def waits_in_vain(self) -> bool:
        """Whether it has a machine of an earlier or another run that was never reached, and this job lacks the key."""
        is_new = self.entry.may_have_bought and not self.entry.was_ready
        return bool(self.host.locked_out) and is_new and self.standing.kind in (HostState.UNDER_WAY, HostState.READY)

    @property
    def adopted_offer_id(self) -> str:
        """The offer id of the one machine that it would adopt, whose page says more than a list; empty without one."""
        found = self.standing
        is_one = found.adopted and found.kind is not HostState.FAILED and len(found.machines) == 1
        return found.offer_id if is_one else ""

    def unless_unfit(self, offer: Offer) -> Case:
        """The case; stopped if, by this ``offer``, the machine that it would adopt does not match its declaration."""
        host, machines = self.host, self.standing.machines
        odd = search.mismatch_with_all(host.choices, offer)
        if not odd:
            return self
        return replace(self, standing=stopped(does_not_fit(host.host, host.name, machines, odd)))

    @property
    def has_budget(self) -> bool:
        """Whether it would buy and has a budget."""
        return self.buys and self.host.budget != UNLIMITED


def unless_clocks_differ(case: Case, clock: Clock) -> Case:
    """The case; if clocks are apart, a host must not buy with a lease, largest bill or budget.

    By a wrong clock, the machine could last longer or cost more than declared.
    """
    host = case.host
    is_timed = bool(host.lease) or host.max_bill is not None or host.budget != UNLIMITED
    if not (clock.is_apart and case.buys and is_timed):
        return case
    refusal = (
        f"{clocks_differ(clock)} Until then {host.host} buys nothing with a lease, a largest bill or a budget: its"
        " machine could live longer or cost more. Without provision_lease, provision_max_bill and provision_budget it"
        " buys."
    )
    return replace(case, host=replace(host, objections=(*host.objections, refusal)))


def unless_moved_away(case: Case, over: t.Iterable[Bill], unclaimed: t.Iterable[Machine]) -> Case:
    """The case; a host whose machine was moved into another registry buys no second one, unless it takes it over."""
    reason = why_moved_away(case.host.host, case.host.project, case.entry, over, unclaimed)
    if not reason or case.standing.adopted:
        return case
    return replace(case, standing=stopped(f"{reason} {NOTHING_BOUGHT}"))


def evidence_places(cases: t.Iterable[Case]) -> dict[Place, None]:
    """The registries whose evidence matters: those of hosts that would buy and avoid regions."""
    return dict.fromkeys(case.host.registry for case in cases if case.buys and case.host.avoid)


def with_evidence(
    cases: t.Iterable[Case], evidence: t.Mapping[Place, t.Iterable[t.Mapping[str, t.Any]]], clock: Clock
) -> list[Case]:
    """The cases with the regions that they avoid by the evidence of their registries."""
    cases = list(cases)
    # Once for all hosts with the same declaration: there may be thousands of hosts and of pieces of evidence.
    declared = {(case.host.registry, case.host.avoid) for case in cases}
    avoided = {
        (place, seconds): avoided_regions(evidence.get(place, ()), seconds, clock) for place, seconds in declared
    }
    return [replace(case, avoided_before=avoided[case.host.registry, case.host.avoid]) for case in cases]


def hosts_with_void_entries(cases: t.Iterable[Case]) -> set[str]:
    """The hosts whose entries are to be removed (`Case.is_void`)."""
    return {case.host.host for case in cases if case.is_void}


def is_short(
    cases: t.Sequence[Case], spec: t.Mapping[str, t.Any], taken: t.Collection[str], offers: t.Sequence[Offer]
) -> bool:
    """Whether more hosts use this search than it has offers for, so that it is worth repeating.

    False if there is no offer within the ceilings at all, or if all hosts must buy or none: an offer that a repetition
    lists under another id may be for the same machine. ``taken``: ids of offers that are bought or wanted elsewhere.
    """
    buyers = [case.host for case in cases if case.searches(spec)]
    most = max((host.max_price_per_hour for host in buyers), default=0.0)
    left = count_within(offers, most, {*taken, *tried_offers(cases)})
    is_any = count_within(offers, most, ()) > 0
    return is_any and left < len(buyers) and not any(host.all_or_nothing for host in buyers)


# Allocating offers to hosts


def tried_offers(cases: t.Iterable[Case]) -> set[str]:
    """The ids of the offers that hosts of this plan have tried to buy, or have given back."""
    return {attempt["offer_id"] for case in cases for attempt in case.attempts}


@dataclass(frozen=True)
class Unavailable:
    """The ids of offers that no host of a plan gets by a search (`Case.why_left_out`).

    ``taken``: bought or wanted by others. ``tried``: by the hosts of the plan. ``gone``: by their own pages.
    """

    taken: t.Collection[str] = ()
    tried: t.Collection[str] = ()
    gone: t.Collection[str] = ()

    @classmethod
    def of(cls, cases: t.Sequence[Case], taken: t.Iterable[str], pages: t.Mapping[str, SearchResult]) -> Unavailable:
        """The unavailable offers of a plan. ``taken``: bought or wanted elsewhere; ``pages``: offers read by id."""
        return cls(
            taken={*taken, *(case.wanted_offer_id for case in cases)},
            tried=tried_offers(cases),
            gone={offer_id for offer_id, page in pages.items() if page.is_gone},
        )


def allocate(requests: t.Iterable[tuple[Case, t.Iterable[Offer]]], unavailable: Unavailable) -> dict[str, Offer]:
    """Allocate to each host, by its name, its first offer that is not left out, in the order of the hosts."""
    # One set that grows: a copy for each host would cost the square of the hosts.
    taken, allocated = set(unavailable.taken), dict[str, Offer]()
    unavailable = replace(unavailable, taken=taken)
    for case, offers in requests:
        if offer := next((offer for offer in offers if not case.why_left_out(offer, unavailable)), None):
            taken.add(offer["offer_id"])
            allocated[case.host.host] = offer
    return allocated


# Why there is no offer for a host


def why_none(case: Case, search_result: SearchResult) -> str:
    """The sentences that explain why there is no offer for the host, with advice."""
    vendors = " and ".join(sorted(filter(None, case.without_quota)))
    left_out = f"Offers of {vendors} were left out, since the quota there is used up." if vendors else ""
    words = [f"{item.words}." for item in case.avoided(search_result.offers)]
    advice = "To search there anyway, add -e provision_avoid=0." if words else ""
    return joined(_no_offer(case.host, search_result), left_out, *words, advice, case.narrowed)


def _no_offer(host: Declaration, search_result: SearchResult) -> str:
    reasons = "; ".join(_reasons(host, search_result))
    return (
        f"There is no offer for this host. {reasons}. Ask for less (region, vendor, contract_type, another gpu_type),"
        " or try again later. compute_index.supply.offers lists what is available, with the names of GPUs."
        f" {NOTHING_BOUGHT}"
    )


def _reasons(host: Declaration, search_result: SearchResult) -> list[str]:
    """For each choice of the host, why none of its offers can be bought."""
    found = itertools.zip_longest(search_result.offers_by_choice, search_result.wider, fillvalue=())
    return [
        f"{search.choice_in_words(choice)}: {_why_nothing(host, choice, offers, wider)}"
        for choice, (offers, wider) in zip(host.choices, found)
    ]


def _why_nothing(host: Declaration, choice: Choice, offers: t.Sequence[Offer], wider: t.Iterable[Offer]) -> str:
    """Why none of a choice's offers can be bought, in a few words."""
    if not offers:
        return search.alternatives_in_words(choice.spec, wider) or "none"
    is_own = choice.max_price_per_hour < host.max_price_per_hour
    ceiling = f"max_price_per_hour in provision_spec ({usd(choice.max_price_per_hour)})" if is_own else host.ceiling
    cheapest = cheapest_of(offers)
    most = min(choice.max_price_per_hour, host.max_price_per_hour)
    if cheapest is not None and passes_max_price(cheapest, most):
        return "none is left for this host"
    return f"none within {ceiling}, the cheapest costs {usd(cheapest)}"


def why_not_first_choice(host: Declaration, search_result: SearchResult, number: int) -> str:
    """Why a host gets a later choice than its first; empty if it does not, or if the cheapest GPU counts."""
    if number < 2 or host.order == CHEAPEST:
        return ""
    reasons = "; ".join(_reasons(host, search_result)[: number - 1])
    return f"{host.host} gets choice {number} ({search.choice_in_words(host.choices[number - 1])}): {reasons}."


def why_too_dear(host: Declaration, offer: Offer) -> str:
    """A refusal if the offer that the host wants by id is above its ceiling; otherwise empty."""
    if passes_max_price(offer["price_per_hour"], host.max_price_per_hour):
        return ""
    costs = f"Offer {offer['offer_id']} costs {usd(offer['price_per_hour'])}"
    return joined(f"{costs}, which is not within {host.ceiling}. {NOTHING_BOUGHT}", host.advice)


# How what a host owns, or has ordered, differs from its declaration


def declaration_warning(case: Case) -> str:
    """A warning if what a host owns or has ordered differs from its declaration; otherwise empty."""
    host, entry = case.host, case.entry
    if case.standing.owns:
        # The role renders no user data for the machine of an open purchase, so they are not compared.
        taken = (
            f"{host.host} takes the machine of offer {entry.offer_id} as first ordered, even if its key or user data"
            " have changed since."
        )
        return joined(drift_warning(host, entry), taken if entry.is_open and entry.ordered else "")
    odd = mismatch_of_noted(host, entry) if case.is_open else ""
    return f"{host.host}'s open purchase differs from its variables: {odd}. It stays as ordered." if odd else ""


def drift_warning(host: Declaration, entry: Entry) -> str:
    """A warning if a host's machine differs from its declaration; it is never replaced. Otherwise empty."""
    price, limit = entry.price_per_hour, host.max_price_per_hour
    is_limited = host.declared_max_price_per_hour is not None and GROUP_OF_RUNS not in host.groups  # by run_max_bill
    is_dearer = is_limited and price is not None and not passes_max_price(price, limit)
    is_another = host.offer_id and entry.offer_id not in ("", host.offer_id)
    is_renamed = entry.name not in ("", host.name)
    differences = (
        mismatch_of_noted(host, entry),
        f"price {usd(price)} (provision_max_price_per_hour is {usd(limit)})" if is_dearer else "",
        f"name {entry.name} (provision_resource_name is {host.name})" if is_renamed else "",
        f"offer {entry.offer_id} (provision_offer_id is {host.offer_id})" if is_another else "",
        _other_lease(host, entry),
    )
    message = "; ".join(filter(None, differences))
    return f"{host.host}'s machine differs from its variables: {message}. It is left as it is." if message else ""


def _other_lease(host: Declaration, entry: Entry) -> str:
    """A difference between the declared lease and the one that was fixed at the purchase; empty if there is none."""
    # A run fixes its machine's lease itself, at the price of its offer; its command declares the shortest one.
    is_fixed = GROUP_OF_RUNS in host.groups or noted_time_limit(entry.leased) == host.lease
    if host.by_name or entry.is_empty or is_fixed:
        return ""
    has = f"lease {entry.leased}" if entry.leased else "no lease"
    return f"{has} (provision_lease differs; compute_index.supply.extend changes it)"


def mismatch_of_noted(host: Declaration, entry: Entry) -> str:
    """How the noted offer differs from the host's searches; empty if it matches one, or if the host names an offer."""
    return search.mismatch_with_all(host.choices, entry.offer) if entry.offer and not host.offer_id else ""
