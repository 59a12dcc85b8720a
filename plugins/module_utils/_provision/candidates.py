# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host wants, what its searches have found, which of that it may buy, and why there is nothing for it.

A case is one host, with all that is known of it before offers are given to hosts (`planning`); it also says how what
the host has differs from what it declares. Where a machine did not pass its test, nothing is bought for a while: a run
knows that by its own attempts, other runs by the evidence in the registry (``provision_avoid``). Prices are in USD per
hour, moments seconds since the epoch.
"""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import dataclass, field, replace

from .._text import QUOTA, first_timestamp, formatted, joined, number_of, one_line, read_price, seconds_of, text_of, usd
from . import search
from .acceptance import UNSOUND
from .declaration import Declaration
from .entry import MADE, REFUSED, Entry, read_entry
from .lease import Clock, clock_of, clocks_differ, moment_of, noted_lease
from .messages import NOTHING_BOUGHT, does_not_fit
from .place import Place
from .search import (
    CHEAPEST,
    UNLIMITED,
    Choice,
    Offer,
    at_prices,
    bill_between,
    count_within,
    highest_known_price,
    highest_prices,
    passes_max_price,
)
from .standing import HostState, Standing, stopped
from .storage import Storage, changes_of, label_of, together

Again = t.Callable[[], t.Sequence[Offer]]  # sends a search again
_MOST_SEARCHES = 50  # that are sent again, for all hosts that look for the same
_LOOKS = 3  # times as many offers may be found to be gone as may be tried


# Not where a machine did not pass its test


@dataclass(frozen=True)
class Avoided:
    """A vendor's region: see `site_of`. ``until``: seconds since the epoch. ``reason``: for people."""

    site: tuple[str, str]
    reason: str
    until: float

    @property
    def words(self) -> str:
        """A sentence without its full stop: ``nebius EU is avoided until ... UTC, after a failed test: GPU 3: ...``."""
        name = " ".join(filter(None, self.site)) or "a vendor without a name"
        return f"{name} is avoided until {formatted(self.until)}, after a failed test: {self.reason}"


def avoided_sites(evidence: t.Iterable[Offer], seconds: float, clock: Clock) -> tuple[Avoided, ...]:
    """The sites that the registry's ``evidence`` is about, for so many seconds after the last test at each."""
    found: dict[tuple[str, str], Avoided] = {}
    for bundle in (item for item in evidence if isinstance(item, t.Mapping)):
        tested, now = seconds_of(bundle.get("tested_at")), clock.now(clock_of(bundle.get("clock")))
        # A test with a time in the future counts as made now; one whose time cannot be read does not count.
        if tested is not None and (until := min(tested, now) + seconds) > now:
            item = Avoided(site_of(bundle), one_line(text_of(bundle.get("reason"))), until)
            found[item.site] = max(item, found.get(item.site, item), key=lambda one: one.until)
    return tuple(found[site] for site in sorted(found))


def site_of(row: Offer) -> tuple[str, str]:
    """The vendor and the region of an offer, an attempt or a piece of evidence; empty for one that has none."""
    return text_of(row.get("vendor")), text_of(row.get("region"))


# Offers, and the hosts that get them


def pooled(offers: t.Sequence[Offer], is_short: t.Callable[[t.Sequence[Offer]], bool], again: Again) -> list[Offer]:
    """The offers, cheapest first, with those that the same search brings when it is sent again, until they suffice.

    An API that makes its offers for each search lists a product once, though it may have many machines of it. One whose
    offers stay is asked once more, and brings nothing new but perhaps other prices, of which the highest counts.
    """
    looks, pool = list(offers), {offer["offer_id"]: offer for offer in offers}
    for _search in range(_MOST_SEARCHES):
        count = len(pool)
        if not is_short(list(pool.values())):
            break
        looks += again()
        pool = {**{offer["offer_id"]: offer for offer in looks}, **pool}
        if len(pool) == count:
            break
    return at_prices(highest_prices(looks), list(pool.values())) if len(looks) > len(offers) else looks


def choose(
    choices: t.Sequence[Choice], seen: t.Sequence[t.Sequence[Offer]], order: str
) -> tuple[list[Offer], dict[str, int]]:
    """The offers that may be bought, best first, and by their ids the numbers (from 1) of the choices that find them.

    ``seen``: the offers of each choice. The best are those of the choice that is listed first, or with the cheapest
    GPU, by the ``order``. An offer that several searches find belongs to the first of them that lets it be bought.
    """
    offers: list[Offer] = []
    numbers: dict[str, int] = {}
    for number, (choice, found) in enumerate(zip(choices, seen), start=1):
        for offer in found:
            offer_id = offer["offer_id"]
            if offer_id not in numbers and passes_max_price(offer, choice.max_price_per_hour):
                offers.append(offer)
                numbers[offer_id] = number
    if order == CHEAPEST:
        offers.sort(key=_per_gpu)
    return offers, numbers


def cheapest_of(offers: t.Iterable[Offer]) -> float | None:
    """The lowest price of these offers that is known, USD per hour."""
    prices = (read_price(offer["price_per_hour"]) for offer in offers)
    return min((price for price in prices if price is not None), default=None)


def _per_gpu(offer: Offer) -> tuple[bool, float]:
    """The price of one GPU; what is unknown comes last."""
    price = read_price(offer["price_per_hour"])
    return price is None, (price or 0.0) / (number_of(offer.get("gpu_count")) or 1.0)


@dataclass(frozen=True)
class OfferRequest:
    """A host that needs an offer of these, cheapest first, for at most ``max_price_per_hour``."""

    host: str
    offers: t.Sequence[Offer]
    max_price_per_hour: float = UNLIMITED


def allocate(wishes: t.Sequence[OfferRequest], taken: t.Collection[str] = ()) -> dict[str, Offer]:
    """For each host that can have one its offer: the cheapest that is within its limit and nobody else's.

    Hosts come in their order, so that a play of the same hosts is allocated the same. ``taken``: ids of offers that
    are spoken for.
    """
    gone = set(taken)
    result: dict[str, Offer] = {}
    for wish in wishes:
        left = (offer for offer in wish.offers if offer["offer_id"] not in gone)
        if offer := next((offer for offer in left if passes_max_price(offer, wish.max_price_per_hour)), None):
            gone.add(offer["offer_id"])
            result[wish.host] = offer
    return result


# A host, and what is known of it


@dataclass(frozen=True)
class SearchResult:
    """What the searches of a host, or the look at one offer, have brought: ``offers`` may be bought, best first.

    ``said``: why that failed, be it only now (``is_passing``), or why nothing is bought whatever there is. ``is_gone``:
    the offer is. ``seen``: the offers of each choice of the host. ``numbers``: of the choices (from 1) that find the
    offers, by their ids. ``wider``: for each choice what the market has beyond its region and contract, if it has
    nothing within.
    """

    offers: t.Sequence[Offer] = ()
    said: str = ""
    is_gone: bool = False
    is_passing: bool = False
    seen: t.Sequence[t.Sequence[Offer]] = ()
    numbers: t.Mapping[str, int] = field(default_factory=dict)
    wider: t.Sequence[t.Sequence[Offer]] = ()

    @classmethod
    def of(
        cls, host: Declaration, offers: t.Sequence[t.Sequence[Offer]], wider: t.Sequence[t.Sequence[Offer]] = ()
    ) -> SearchResult:
        """What was found for the choices of a host."""
        seen = [
            [offer for offer in found if not search.differ(choice.vendor_region, offer.get("vendor_region"))]
            for choice, found in zip(host.choices, offers)
        ]
        chosen, numbers = choose(host.choices, seen, host.order)
        return cls(chosen, seen=seen, numbers=numbers, wider=wider)

    def unless_open(self, case: Case) -> SearchResult:
        """The result; if the page of an open purchase's offer cannot be read, the offer as it was noted.

        What may be bought already is settled by the purchase, whatever its page says.
        """
        if not (self.said and case.is_open):
            return self
        entry = case.entry
        return SearchResult([{**entry.offer, "offer_id": case.wanted, "price_per_hour": entry.price_per_hour}])

    @property
    def looks(self) -> t.Iterator[Offer]:
        """All offers that were looked at for it."""
        yield from self.offers
        for offers in self.seen:
            yield from offers

    def at(self, host: Declaration, prices: t.Mapping[str, float | None]) -> SearchResult:
        """The result with these prices of the offers (USD per hour), by their ids."""
        if all(offer["price_per_hour"] in (None, prices[offer["offer_id"]]) for offer in self.looks):
            return self
        seen = [at_prices(prices, offers) for offers in self.seen]
        return SearchResult.of(host, seen, self.wider) if seen else replace(self, offers=at_prices(prices, self.offers))


@dataclass(frozen=True)
class Case:
    """One host, with all that is known of it.

    ``attempts``: what was tried for it before in this run of the role. ``kept``: storage of its earlier machines.
    ``avoided_before``: where machines did not pass their tests, as the registry knows it. ``narrowed``: that it looks
    only where its storage is, and how it looks elsewhere; empty if it does not.
    """

    host: Declaration
    entry: Entry
    standing: Standing
    attempts: t.Sequence[t.Mapping[str, t.Any]] = ()
    kept: tuple[Storage, ...] = ()
    avoided_before: tuple[Avoided, ...] = ()
    narrowed: str = ""

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

    def avoided(self, offers: t.Iterable[Offer]) -> list[Avoided]:
        """Where machines did not pass their tests by the registry, and there are offers, of which it buys none."""
        sites = set(map(site_of, offers)) if self.avoided_before else ()
        return [item for item in self.avoided_before if item.site in sites]

    def elsewhere(self, offers: t.Sequence[Offer]) -> t.Sequence[Offer]:
        """The offers, but for those of vendors whose quota is used up, and where a machine did not pass its test.

        A product that was not delivered comes last: each search may make new offers of it, the cheapest first, until
        no attempt is left for another vendor.
        """
        unsound = {site_of(one) for one in self.attempts if one.get("error_class") == UNSOUND}
        vendors, sites = self.without_quota, unsound.union(item.site for item in self.avoided_before)
        left = [offer for offer in offers if offer.get("vendor") not in vendors and site_of(offer) not in sites]
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
        """Whether its journal names an offer, and the outcome of that purchase is open."""
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

    def life(self, now: float) -> tuple[float | None, float | None]:
        """When the lease of what it owns ends, None if never, and USD at most until then.

        The registry has noted both. Without one, and of a machine that is taken over, the declared lease counts.
        """
        if not (self.begins_anew or self.host.by_name):
            return moment_of(self.entry.ends_at), self.entry.at_most
        created = first_timestamp(machine.get("created_at") for machine in self.standing.machines)
        end = self.host.lease.end(now if self.begins_anew else created)
        return end, bill_between(self.standing.price_per_hour, created, end)

    @property
    def begins_anew(self) -> bool:
        """Whether its registry notes from now on a machine that it takes over, with a lease that begins now."""
        return self.standing.adopted and not self.host.by_name

    @property
    def may_be_billed(self) -> bool:
        """Whether its entry names something that is or may be billed."""
        return self.entry.may_have_bought and not self.standing.void

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
        """The storage that its machine leaves, as entries of their own, unless a registry has it so already."""
        host, left = self.host.host, (item for item in self.standing.storage or () if not item.kept_since)
        return [(label_of(host, item.resource_id), read_entry(item.entry(host))) for item in left]

    @property
    def storage_left(self) -> tuple[Storage, ...]:
        """The storage of its earlier machines, also of one whose end was seen only now."""
        return together(self.kept, self.standing.storage or ())

    @property
    def at_storage(self) -> Case:
        """The case; if it searches, where it keeps storage. What was only tried may have left no data."""
        left = self.storage_left if self.entry.was_ready else self.kept
        tried = {str(attempt.get("offer_id")).lower() for attempt in self.attempts}
        sites = {(item.vendor, item.region) for item in left if item.offer_id not in tried}
        vendor, region = next(iter(sites), ("", ""))
        if len(sites) != 1 or not self.buys or self.wanted:
            return self
        choices = tuple(search.at_site(choice, vendor, region) for choice in self.host.choices)
        if choices == self.host.choices:
            return self
        narrowed = (
            f"{self.host.host} looks only at {joined(vendor, region)}, where its storage is. To look elsewhere, set"
            " vendor in provision_spec, also to any."
        )
        return replace(self, host=replace(self.host, choices=choices), narrowed=narrowed)

    @property
    def waits_in_vain(self) -> bool:
        """Whether an earlier or another run has bought it a machine that was never reached, and this job has no key."""
        is_new = self.entry.may_have_bought and not self.entry.was_ready
        return bool(self.host.locked_out) and is_new and self.standing.kind in (HostState.UNDER_WAY, HostState.READY)

    @property
    def adopts_offer(self) -> str:
        """The offer of the one machine that it would adopt, which says more than a list; empty if there is none."""
        found = self.standing
        is_one = found.adopted and found.kind is not HostState.FAILED and len(found.machines) == 1
        return found.offer_id if is_one else ""

    def fitting(self, offer: Offer) -> Case:
        """The case; it stops if the machine that it would adopt is, by this ``offer``, not what it declares."""
        host, machines = self.host, self.standing.machines
        odd = search.mismatch_of_all(host.choices, offer)
        if not odd:
            return self
        return replace(self, standing=stopped(does_not_fit(host.host, host.name, machines, odd)))

    @property
    def has_budget(self) -> bool:
        """Whether it would buy under a ceiling of a month."""
        return self.buys and self.host.budget != UNLIMITED


def unless_clocks_differ(case: Case, clock: Clock) -> Case:
    """The case; a host that would buy what ends by the clock must not, if the clocks are apart."""
    host = case.host
    # What a wrong clock would make last longer, or cost more, than is declared
    is_timed = bool(host.lease) or host.max_bill is not None or host.budget != UNLIMITED
    if not (clock.is_apart and case.buys and is_timed):
        return case
    refusal = (
        f"{clocks_differ(clock)} Until then {host.host} buys nothing that has a lease, a largest bill or a budget:"
        " it could last longer and cost more than that. Without provision_lease, provision_max_bill and"
        " provision_budget it buys."
    )
    return replace(case, host=replace(host, objections=(*host.objections, refusal)))


def evidence_places(cases: t.Iterable[Case]) -> dict[Place, None]:
    """The registries of hosts that would buy by a search or by an id, and avoid something."""
    return dict.fromkeys(case.host.registry for case in cases if case.buys and case.host.avoid)


def with_evidence(
    cases: t.Iterable[Case], evidence: t.Mapping[Place, t.Iterable[t.Mapping[str, t.Any]]], clock: Clock
) -> list[Case]:
    """The cases with the sites that the evidence of their registries is about."""
    cases = list(cases)
    # Once for all hosts that declare the same: there may be thousands of both.
    declared = {(case.host.registry, case.host.avoid) for case in cases}
    sites = {
        (registry, seconds): avoided_sites(evidence.get(registry, ()), seconds, clock) for registry, seconds in declared
    }
    return [replace(case, avoided_before=sites[case.host.registry, case.host.avoid]) for case in cases]


def hosts_with_void_entries(cases: t.Iterable[Case]) -> set[str]:
    """The hosts whose entries have come to nothing."""
    return {case.host.host for case in cases if case.is_void}


def is_short(
    cases: t.Iterable[Case], spec: t.Mapping[str, t.Any], taken: t.Container[str], offers: t.Sequence[Offer]
) -> bool:
    """Whether more hosts look for this than there are offers for them, so that it is worth searching again.

    ``taken``: the ids of offers that are spoken for. Not if none or all of them are to buy: what is listed again under
    another id may be the same machine.
    """
    buyers = [case.host for case in cases if case.searches(spec)]
    most = max((host.max_price_per_hour for host in buyers), default=0.0)
    left = count_within(offers, most, taken)
    is_any = count_within(offers, most, ()) > 0
    return is_any and left < len(buyers) and not any(host.all_or_nothing for host in buyers)


# Why there is none


def why_none(case: Case, search_result: SearchResult) -> str:
    """Why there is no offer for the host."""
    vendors = " and ".join(sorted(filter(None, case.without_quota)))
    left_out = f"Offers of {vendors} were left out, since the quota there is used up." if vendors else ""
    words = [f"{item.words}." for item in case.avoided(search_result.offers)]
    advice = "To look there all the same, add -e provision_avoid=0." if words else ""
    return joined(_no_offer(case.host, search_result), left_out, *words, advice, case.narrowed)


def _no_offer(host: Declaration, search_result: SearchResult) -> str:
    reasons = "; ".join(_reasons(host, search_result))
    return (
        f"There is no offer for this host. {reasons}. Ask for less (region, vendor, contract_type, another gpu_type),"
        " or try again later. The playbook compute_index.supply.offers shows what there is, with the names of GPUs."
        f" {NOTHING_BOUGHT}"
    )


def _reasons(host: Declaration, search_result: SearchResult) -> list[str]:
    """Why each of the choices came to nothing, by the offers that were seen of them."""
    looks = itertools.zip_longest(search_result.seen, search_result.wider, fillvalue=())
    return [
        f"{search.in_words(choice)}: {_why_nothing(host, choice, offers, wider)}"
        for choice, (offers, wider) in zip(host.choices, looks)
    ]


def _why_nothing(host: Declaration, choice: Choice, offers: t.Sequence[Offer], wider: t.Iterable[Offer]) -> str:
    """Why a choice came to nothing, in a few words."""
    if not offers:
        return search.only_otherwise(choice.spec, wider) or "none"
    is_own = choice.max_price_per_hour < host.max_price_per_hour
    ceiling = f"max_price_per_hour in provision_spec ({usd(choice.max_price_per_hour)})" if is_own else host.ceiling
    cheapest = cheapest_of(offers)
    if cheapest is not None and cheapest <= min(choice.max_price_per_hour, host.max_price_per_hour):
        return "none is left for this host"
    return f"none within {ceiling}, the cheapest costs {usd(cheapest)}"


def why_not_first_choice(host: Declaration, search_result: SearchResult, number: int) -> str:
    """Why a host gets a later choice than its first; where the cheapest counts, none is better than another."""
    if number < 2 or host.order == CHEAPEST:
        return ""
    reasons = "; ".join(_reasons(host, search_result)[: number - 1])
    return f"{host.host} gets choice {number} ({search.in_words(host.choices[number - 1])}): {reasons}."


def why_too_dear(host: Declaration, offer: Offer) -> str:
    """Why the very offer that the host wants is above its ceiling; empty if it is not."""
    if passes_max_price(offer, host.max_price_per_hour):
        return ""
    costs = f"Offer {offer['offer_id']} costs {usd(offer['price_per_hour'])}"
    return joined(f"{costs}, which is not within {host.ceiling}. {NOTHING_BOUGHT}", host.advice)


# What a host has or has ordered otherwise than it declares now


def differs_from_declared(case: Case) -> str:
    """In what a host owns or has ordered something else than it declares now; empty where it has not."""
    host, entry = case.host, case.entry
    if case.standing.owns:
        # No user data are rendered for the machine of an open purchase, so they are not compared.
        taken = (
            f"{host.host} takes the machine of offer {entry.offer_id} as it was first ordered, also if its key or user"
            " data have changed since."
        )
        return joined(drift_of(host, entry), taken if entry.is_open and entry.ordered else "")
    odd = mismatch_of_noted(host, entry) if case.is_open else ""
    declares = f"{host.host} declares something else than its open purchase was ordered as"
    return f"{declares}: {odd}. It is bought as ordered." if odd else ""


def drift_of(host: Declaration, entry: Entry) -> str:
    """In what a host owns something else than it declares now; empty where it does not.

    That is reported, and never repaired by a replacement.
    """
    price, limit = entry.price_per_hour, host.max_price_per_hour
    is_dearer = host.declared_max_price_per_hour is not None and price is not None and price > limit
    is_another = host.offer_id and entry.offer_id not in ("", host.offer_id)
    is_renamed = entry.name not in ("", host.name)
    differences = (
        mismatch_of_noted(host, entry),
        f"it costs {usd(price)}, and provision_max_price_per_hour is {usd(limit)}" if is_dearer else "",
        f"it was bought as {entry.name}, and provision_resource_name is {host.name}" if is_renamed else "",
        f"its offer is {entry.offer_id}, and provision_offer_id is {host.offer_id}" if is_another else "",
        _other_lease(host, entry),
    )
    message = "; ".join(filter(None, differences))
    return f"{host.host} owns something other than it declares: {message}. It stays as it is." if message else ""


def _other_lease(host: Declaration, entry: Entry) -> str:
    """A difference between the declared lease and the one that was fixed at the purchase; empty if there is none."""
    if host.by_name or entry.is_empty or noted_lease(entry.leased) == host.lease:
        return ""
    has = f"its lease is {entry.leased}" if entry.leased else "it has no lease"
    return f"{has}, and provision_lease says otherwise (compute_index.supply.extend changes it)"


def mismatch_of_noted(host: Declaration, entry: Entry) -> str:
    """In what the noted offer is none that the host searches for now; empty if it is one, or if the host names one."""
    return search.mismatch_of_all(host.choices, entry.offer) if entry.offer and not host.offer_id else ""
