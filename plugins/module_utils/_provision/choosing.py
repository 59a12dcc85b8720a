# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which offers suit a host, which host gets which, and how long hosts wait for offers.

A host has one search or several, in order of preference. Where a machine did not pass its test, nothing is bought for a
while: a run knows that by its own attempts, later runs and other hosts by the evidence in the registry, for as long as
the host that buys declares (``provision_avoid``).

Prices are in USD per hour, moments seconds since the epoch, durations seconds.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from .._text import (
    duration,
    formatted,
    gpus_of,
    number_of,
    one_line,
    plural,
    read_price,
    read_variable,
    seconds_of,
    text_of,
)
from . import lease
from .lease import Clock, clock_of
from .prices import UNLIMITED, at_prices, highest_prices, passes_max_price
from .search import ANY, CEILING, Offer, Spec, as_sent, compute_of, contract_of, mismatch

Row = t.Mapping[str, t.Any]
Again = t.Callable[[], t.Sequence[Offer]]  # sends a search again
LISTED, CHEAPEST = "listed", "cheapest"
AVOIDED_FOR = 7 * 86_400.0  # seconds, unless a host declares another time
MAX_LOOKS = 100_000
_MOST_SEARCHES = 50  # that are sent again, for all hosts that look for the same
_NEVER = ("", "none")
_UNNAMED_VENDOR = "a vendor without a name"


# The searches of a host


@dataclass(frozen=True)
class Choice:
    """One of the searches of a host, and what its offer may cost."""

    spec: Spec
    max_price_per_hour: float = UNLIMITED


def read_choice(spec: Spec, max_price_per_hour: float) -> Choice:
    """A search of ``provision_spec``, with its own ceiling apart: the API never gets that."""
    return Choice({key: item for key, item in spec.items() if key != CEILING}, max_price_per_hour)


def in_words(choice: Choice) -> str:
    """A choice in a few words: what it searches for."""
    wanted = compute_of(choice.spec)
    words = [gpus_of(wanted.get("gpu_count") or 1, wanted.get("gpu_type") or "any GPU")]
    contract = contract_of(choice.spec)
    words += [str(item) for item in ("" if contract == ANY else contract, choice.spec.get("region")) if item]
    return ", ".join(words)


def mismatch_of_all(choices: t.Sequence[Choice], offer: Offer) -> str:
    """In what an offer or a machine is none of the choices, as the first of them says it; empty if it is one."""
    found = [mismatch(choice.spec, offer) for choice in choices]
    return "" if not all(found) else next(iter(found), "")


# Not where a machine did not pass its test


def read_avoid(value: object) -> float:
    """The seconds of ``provision_avoid``. Raises ValueError with a reason for a person."""
    text = text_of(value).lower()
    return 0.0 if text in _NEVER else duration(text)


@dataclass(frozen=True)
class Avoided:
    """A vendor's region: see `site_of`. ``until``: seconds since the epoch. ``reason``: for people."""

    site: tuple[str, str]
    reason: str
    until: float

    @property
    def words(self) -> str:
        """A sentence without its full stop: ``nebius EU is avoided until ... UTC, after a failed test: GPU 3: ...``."""
        name = " ".join(filter(None, self.site)) or _UNNAMED_VENDOR
        return f"{name} is avoided until {formatted(self.until)}, after a failed test: {self.reason}"


def avoided_sites(evidence: t.Iterable[Row], seconds: float, clock: Clock) -> tuple[Avoided, ...]:
    """The sites that the registry's ``evidence`` is about, for so many seconds after the last test at each."""
    found: dict[tuple[str, str], Avoided] = {}
    for bundle in (item for item in evidence if isinstance(item, t.Mapping)):
        tested, now = seconds_of(bundle.get("tested_at")), clock.now(clock_of(bundle.get("clock")))
        # A test with a time in the future counts as made now; one whose time cannot be read does not count.
        if tested is not None and (until := min(tested, now) + seconds) > now:
            item = Avoided(site_of(bundle), one_line(text_of(bundle.get("reason"))), until)
            found[item.site] = max(item, found.get(item.site, item), key=lambda one: one.until)
    return tuple(found[site] for site in sorted(found))


def site_of(row: Row) -> tuple[str, str]:
    """The vendor and the region of an offer, an attempt or a piece of evidence; empty for one that has none."""
    return text_of(row.get("vendor")), text_of(row.get("region"))


# Offers, and the hosts that get them


def fitting(spec: Spec, offers: t.Iterable[Offer]) -> tuple[list[Offer], str]:
    """The offers of an answer that can be bought and are what was searched for, or why the answer is of no use."""
    spec = as_sent(spec)
    named_offers = [offer for offer in offers if offer["offer_id"]]
    found = [offer for offer in named_offers if not mismatch(spec, offer)]
    if found or not named_offers:
        return found, ""
    odd = mismatch(spec, named_offers[0])
    return [], f"The API answers the search with {plural(len(named_offers), 'offer')} of another kind ({odd})."


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


# Waiting for offers


@dataclass(frozen=True)
class Patience:
    """Until when offers are waited for (None: not at all), and the time between two looks.

    ``delay`` 0: a run looks once, and a later one looks again; that needs an end which holds for all of them.
    """

    until: float | None = None
    delay: float = 600.0

    @property
    def is_of_many_runs(self) -> bool:
        """Whether other runs go on where this one ends."""
        return self.until is not None and self.delay == 0

    def has_time(self, now: float) -> bool:
        """Whether there is time for another look of this run."""
        return self.until is not None and self.delay > 0 and now + self.delay <= self.until

    def comes_back(self, now: float) -> bool:
        """Whether a later run will look again."""
        return self.until is not None and self.delay == 0 and now < self.until


def read_patience(wait: t.Any, delay: t.Any, begin: float, wrong: list[str]) -> Patience:
    """The patience of two variables, counted from ``begin``; what is wrong with them is added to ``wrong``."""
    wanted = read_variable("provision_wait", wait, lease.read_lease, None, wrong)
    pause = read_variable("provision_wait_delay", delay, _read_delay, None, wrong)
    if wanted is None or pause is None:
        return Patience()
    if wanted.seconds is not None and not pause:
        wrong.append(
            "provision_wait_delay 0 looks once a run, so provision_wait must be a time such as 2026-12-01T06:00Z."
        )
    return Patience(wanted.end(begin), pause)


def _read_delay(value: t.Any) -> float:
    """The seconds between two looks. Raises ValueError."""
    return 0.0 if text_of(value) == "0" else lease.read_duration(value) or 0.0


def may_wait(call: t.Mapping[str, t.Any]) -> bool:
    """Whether the plans of a call may wait for offers: before its first purchase, and in no quote."""
    return not (call["quote"] or call["attempts"] or call["failed"])


def most_looks(patience: Patience, now: float) -> int:
    """How often a run may look again at the most; another host of the play may wait where this one does not."""
    if patience.until is None or patience.delay <= 0:
        return MAX_LOOKS
    return min(MAX_LOOKS, max(0, math.ceil((patience.until - now) / patience.delay)) + 2)
