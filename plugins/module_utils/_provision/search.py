# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A search: its keys and slips of them, its contract, what the API has made of it, and whether an offer matches it.

The keys are those of the API pages "yaml spec", "get offers" and "storage". A host has one search or several, in order
of preference, and may wait for offers. Last, prices: which of several counts, and what they are together. Prices are in
USD per hour for whole offers, bills in USD, moments seconds since the epoch, durations seconds.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import re
import typing as t
from dataclasses import dataclass, field, replace

from .._text import (
    LONGEST_NAME,
    applicable,
    duration,
    gpus_of,
    letters_of,
    mapping_of,
    mappings_in,
    nearest,
    nodes_of,
    number_of,
    plural,
    printable,
    read_variable,
    text_of,
)
from . import lease

UNLIMITED = math.inf
Spec = t.Mapping[t.Any, t.Any]
Offer = t.Mapping[str, t.Any]  # an offer as the tolerant reader returns it
_NOTHING: tuple[t.Any, ...] = (None, "", [], {})
_LIMITS = ("max_", "min_")  # what the names of limits begin with
_OF_PRODUCT = ("vendor", "vendor_region", "region", "gpu_type", "gpu_count", "contract_type", "node_count")
_COMPARED = (*_OF_PRODUCT, "gpu_family")
_PLACE = ("vendor", "region")  # the keys of a search that say where
_OF_GPU = ("gpu_type", "gpu_family")
# Contracts that a user may ask for. The last one is ours: the API then gets none.
ON_DEMAND, SPOT, ANY = "ondemand", "spot", "any"
# The keys of each section that the API documents; tests/tools/spec_page.py explains them in docs/spec.md.
DOCUMENTED: t.Mapping[str, tuple[str, ...]] = {
    "": ("region", "vendor", "max_procure_time_seconds", "compute", "storage", "network"),
    "compute": ("gpu_type", "gpu_count", "type", "contract_type", "max_price_per_gpu_hour", "min_boot_disk_gb"),
    "storage": ("type", "class", "size", "persistent"),
    "network": ("supports_cilium",),
}
LISTED, CHEAPEST = "listed", "cheapest"  # how a list of searches is used
AVOIDED_FOR = 7 * 86_400.0  # seconds for which the site of a bad machine is avoided, if a host says nothing else
CEILING = "max_price_per_hour"  # of one choice: what the role itself reads of each search, and the API never gets


# The keys of a search


def check_spec(spec: dict[str, t.Any]) -> dict[str, t.Any]:
    """The search, if it has a section that the API needs (page "yaml spec"); the API checks what is in it.

    Raises ValueError, also for a slip of a documented key: an API that ignores the key sells something else.
    """
    contract = contract_of(spec)
    faults = {
        "needs a section 'compute' (at least gpu_type and gpu_count) or 'storage'": (
            not spec.get("compute") and not spec.get("storage")
        ),
        **dict.fromkeys(misspelled_keys(spec), True),
        f"has compute.contract_type '{contract}': it must be {ON_DEMAND}, {SPOT} or {ANY}": (
            contract not in ("", ON_DEMAND, SPOT, ANY)
        ),
    }
    for fault in applicable(faults):
        raise ValueError(fault)
    return spec


def undocumented_keys(spec: Spec) -> list[str]:
    """A warning about keys that no page documents: whether the API refuses or ignores them is unknown."""
    unknown = ", ".join(_unknown_keys(spec))
    return [f"spec has {unknown}, which no page of the API documents: it may be ignored."] if unknown else []


def misspelled_in(variable: str, spec: Spec) -> list[str]:
    """A sentence for each misspelled key of a search that this variable gives."""
    return [f"{variable} {slip}" for slip in misspelled_keys(spec, (CEILING,))]


def misspelled_keys(spec: Spec, further: t.Sequence[str] = ()) -> list[str]:
    """A sentence for each key that is a slip of a documented one, or an undocumented limit: neither would count.

    ``further``: what the search may have at the top beside what the API documents.
    """
    return [
        f"has '{path}', which the API does not document: " + (f"did you mean '{meant}'?" if meant else "leave it out.")
        for path, meant in _unknown_keys(spec, further).items()
        if meant or path.rpartition(".")[2].startswith(_LIMITS)
    ]


def _unknown_keys(spec: Spec, further: t.Sequence[str] = ()) -> dict[str, str]:
    """The keys that no page documents, each with the key of its section that it may be a slip of, or an empty text."""
    known = {**DOCUMENTED, "": (*DOCUMENTED[""], *further)}
    unknown = [(section, name) for section, name, _value in _items_of(spec) if name not in known[section]]
    near = [(section, name, nearest(name, sorted(known[section]))) for section, name in unknown]
    return {path_of(section, name): path_of(section, meant) if meant else "" for section, name, meant in near}


def _items_of(spec: Spec) -> t.Iterator[tuple[str, str, t.Any]]:
    """The keys of a search: the section that each stands in, its name, and its value."""
    storage = spec.get("storage")
    for section, part in (
        ("", spec),
        ("compute", compute_of(spec)),
        *(("storage", volume) for volume in mappings_in(storage if isinstance(storage, list) else [storage])),
        ("network", mapping_of(spec.get("network"))),
    ):
        for name, value in part.items():
            yield section, str(name), value


def path_of(section: str, name: str) -> str:
    """A key as messages name it."""
    return f"{section}.{name}" if section else name


# Its contract


def contract_of(spec: Spec) -> str:
    """The contract that a search is for: on-demand, unless it names another, or ``any``.

    A vendor may take a spot machine away at any time, so a user must ask for one. Empty for storage alone.
    """
    compute = compute_of(spec)
    return (str(compute.get("contract_type") or "").strip().lower() or ON_DEMAND) if compute else ""


def as_sent(spec: Spec) -> dict[str, t.Any]:
    """The search as the API takes it, which offers every contract if the search names none."""
    contract = contract_of(spec)
    if not contract:
        return dict(spec)
    rest = {name: value for name, value in spec["compute"].items() if name != "contract_type"}
    return {**spec, "compute": rest if contract == ANY else {**rest, "contract_type": contract}}


# What the API made of it


def unapplied(spec: Spec, filters: t.Any) -> list[str]:
    """A warning about keys of a search that the API's ``filters_applied`` lacks; none if that names nothing.

    No page shows its form, so a key counts as applied if its text contains it. All volumes count as one key.
    """
    named = letters_of(json.dumps(filters)) if isinstance(filters, (dict, list)) else ""
    asked = [(section, name) for section, name, value in _items_of(spec) if value not in _NOTHING]
    lost = [
        path_of(section, name)
        for section, name in asked
        if section != "storage" and name not in ("compute", "network") and letters_of(name) not in named
    ]
    if not named or not lost:
        return []
    return [f"The API lists the filters that it applied, without {', '.join(lost)}: it may have ignored that."]


def without_limits(spec: Spec, offers: t.Sized) -> list[Spec]:
    """The search without its region and for every contract, to tell why it found no offers; none if it found some."""
    rest = {key: item for key, item in spec.items() if key != "region"}
    wider = {**rest, "compute": {**compute_of(spec), "contract_type": ANY}}
    return [] if offers or not compute_of(spec) or as_sent(wider) == as_sent(spec) else [wider]


def only_otherwise(spec: Spec, offers: t.Iterable[Offer]) -> str:
    """What alone there is of these offers, found by a search `without_limits`; empty if none differs in one limit."""
    asked = {"region": spec.get("region"), "contract_type": compute_of(as_sent(spec)).get("contract_type")}
    odd = [(offer, [key for key, value in asked.items() if differ(value, offer.get(key))]) for offer in offers]
    regions, contracts = (", ".join(sorted({str(offer[key]) for offer, keys in odd if keys == [key]})) for key in asked)
    return f"only elsewhere ({regions})" if regions else f"only {contracts}" if contracts else ""


def unlisted_gpus(spec: Spec, catalog: t.Any) -> list[str]:
    """A sentence for each GPU of a search that is not in the API's catalogue (GET /available_gpus), with the nearest.

    The API tells capitals from small letters. No sentence if the catalogue has another form than the documented one.
    """
    families = {family: members for family, members in mapping_of(catalog).items() if isinstance(members, list)}
    listed = [name for name in (*families, *itertools.chain(*families.values())) if isinstance(name, str)]
    asked = map(str.strip, str(compute_of(spec).get("gpu_type") or "").split("|"))
    return [_unlisted(gpu, listed) for gpu in asked if gpu and listed and gpu not in listed]


def _unlisted(gpu: str, listed: t.Sequence[str]) -> str:
    """With the name that has the same letters, or else up to two that are spelled nearly like it."""
    plain, names = letters_of(gpu), {letters_of(name): printable(name, LONGEST_NAME) for name in listed}
    near = [plain] if plain in names else difflib.get_close_matches(plain, names, n=2, cutoff=0.7)
    meant = f" Did you mean {' or '.join(names[item] for item in near)}?" if near else ""
    return f"The API lists no GPU '{printable(gpu, LONGEST_NAME)}'.{meant}"


# What an offer sells


def mismatch(spec: t.Mapping[str, t.Any], offer: Offer) -> str:
    """In what an offer or a machine is not what the search asks for (API page "yaml spec"), empty if it is.

    What one of them does not say is passed over: without a contract, that of a machine which runs already does not
    matter.
    """
    compute = compute_of(spec)
    contract = compute.get("contract_type")
    asked = {
        "region": spec.get("region"),
        "vendor": spec.get("vendor"),
        "contract_type": None if contract == ANY else contract,
        "gpu_count": compute.get("gpu_count"),
    }
    different = (key for key, value in asked.items() if differ(value, offer.get(key)))
    differences = [f"{key} {offer[key]} instead of {asked[key]}" for key in different]
    return ", ".join(filter(None, [_other_gpu(compute, offer), *differences]))


def compute_of(spec: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """What a search asks of the machine; empty where it does not."""
    return mapping_of(spec.get("compute"))


def _other_gpu(compute: Spec, offer: Offer) -> str:
    """That the offer has none of the GPUs that are asked for, which pipes divide: each may be a part of its name."""
    asked = list(filter(None, map(_words, str(compute.get("gpu_type") or "").split("|"))))
    names = list(filter(None, (_words(offer.get(key)) for key in _OF_GPU)))
    if not asked or not names or any(gpu <= name for gpu in asked for name in names):
        return ""
    return f"gpu_type {offer.get('gpu_type') or offer.get('gpu_family')} instead of {compute['gpu_type']}"


def _words(name: t.Any) -> set[str]:
    """The words of a GPU's name: H100 is the family of nvidia-h100-sxm5-80gb, or a part of its name (C8, C15)."""
    return set(re.findall("[a-z0-9]+", str(name or "").lower()))


def differ(asked: t.Any, has: t.Any) -> bool:
    """Whether one is not the other; what one of them does not say is passed over."""
    one, other = _plain(asked), _plain(has)
    return bool(one and other and one != other)


def other_than_planned(planned: Offer, page: Offer) -> str:
    """In what an offer's own page sells something else than the offer was ``planned`` as, empty if it does not.

    What one of them does not say is passed over. Whether the GPUs of a cluster are counted for each machine or for all
    is inferred only, and the page has no number of machines, so they are not compared.
    """
    is_cluster = any((nodes_of(offer) or 1) > 1 for offer in (planned, page))
    names = [name for name in _COMPARED if not (is_cluster and name == "gpu_count")]
    # As they came: in small letters, a secret that a server echoes would not be found any more.
    return ", ".join(
        f"{name} {' instead of '.join(printable(str(offer[name]).strip(), LONGEST_NAME) for offer in (page, planned))}"
        for name in names
        if differ(planned.get(name), page.get(name)) and _is_other(name, planned[name], page[name])
    )


def _is_other(name: str, was: t.Any, now: t.Any) -> bool:
    """Whether a difference makes an offer another one: on-demand instead of spot is no loss, and a GPU's name may be
    longer (C8): it is another one if each name has a word that the other one lacks.
    """
    if name == "contract_type":
        return _plain(now) == SPOT
    return name not in _OF_GPU or not (_words(was) <= _words(now) or _words(now) <= _words(was))


def _plain(value: t.Any) -> str:
    """A text or a number as it is compared; empty for what says nothing."""
    number = number_of(value)
    if number is not None:
        return f"{number:g}" if number else ""
    return value.strip().lower() if isinstance(value, str) else ""


def product_of(offer: Offer) -> dict[str, t.Any]:
    """What an offer sells, as far as it says so, to be compared later."""
    return {name: offer[name] for name in _COMPARED if offer.get(name) is not None}


def product(offer: Offer, price_per_hour: float | None) -> str:
    """What an offer sells, at which price (USD per hour): a later search may list it again under another id."""
    return " ".join(str(offer.get(name) or "-") for name in _OF_PRODUCT) + f" {price_per_hour}"


# The searches of a host


@dataclass(frozen=True)
class Choice:
    """One of the searches of a host, and what its offer may cost.

    ``is_anywhere``: its vendor or region is ``any``. ``vendor_region``: the vendor's own region whose offers alone
    count, empty for all: the API searches only for groups of them (page "yaml spec").
    """

    spec: Spec
    max_price_per_hour: float = UNLIMITED
    is_anywhere: bool = False
    vendor_region: str = ""


def read_choice(spec: Spec, max_price_per_hour: float) -> Choice:
    """A search of ``provision_spec``, with its own ceiling and a place that is ``any`` apart: the API gets neither."""
    anywhere = [key for key in _PLACE if text_of(spec.get(key)).lower() == ANY]
    sent = {key: item for key, item in spec.items() if key not in (CEILING, *anywhere)}
    return Choice(sent, max_price_per_hour, is_anywhere=bool(anywhere))


def at_site(choice: Choice, vendor: str, vendor_region: str) -> Choice:
    """The choice at this vendor and region, unless it names a vendor or a region itself, or the vendor is unknown."""
    if not vendor or choice.is_anywhere or any(text_of(choice.spec.get(key)) for key in _PLACE):
        return choice
    return replace(choice, spec={**choice.spec, "vendor": vendor}, vendor_region=vendor_region)


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


def fitting(spec: Spec, offers: t.Iterable[Offer]) -> tuple[list[Offer], str]:
    """The offers of an answer that can be bought and are what was searched for, or why the answer is of no use."""
    spec = as_sent(spec)
    named_offers = [offer for offer in offers if offer["offer_id"]]
    found = [offer for offer in named_offers if not mismatch(spec, offer)]
    if found or not named_offers:
        return found, ""
    odd = mismatch(spec, named_offers[0])
    return [], f"The API answers the search with {plural(len(named_offers), 'offer')} of another kind ({odd})."


def read_avoid(value: object) -> float:
    """The seconds of ``provision_avoid``. Raises ValueError with a reason for a person."""
    text = text_of(value).lower()
    return 0.0 if text in ("", "none") else duration(text)


# Waiting for offers


@dataclass(frozen=True)
class Patience:
    """Until when offers are waited for (None: not at all), and the time between two looks.

    ``delay`` 0: a run looks once, and a later one looks again; that needs an end which holds for all of them.
    ``since``: when this run began to wait.
    """

    until: float | None = None
    delay: float = 600.0
    since: float = field(default=0.0, compare=False, repr=False)

    @property
    def is_of_many_runs(self) -> bool:
        """Whether other runs go on where this one ends."""
        return self.until is not None and self.delay == 0

    def has_time(self, now: float) -> bool:
        """Whether there is time for another look of this run."""
        return self.until is not None and self.delay > 0 and now + self.delay <= self.until

    def has_waited(self, now: float) -> bool:
        """Whether this run has looked before."""
        return self.until is not None and self.delay > 0 and now >= self.since + self.delay

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
    return Patience(wanted.end(begin), pause, begin)


def _read_delay(value: t.Any) -> float:
    """The seconds between two looks. Raises ValueError."""
    return 0.0 if text_of(value) == "0" else lease.read_duration(value) or 0.0


def may_wait(call: t.Mapping[str, t.Any], check_mode: bool) -> bool:
    """Whether the plans of a call may wait for offers: before its first purchase, in no check, and in no quote."""
    return not (check_mode or call["quote"] or call["attempts"] or call["failed"])


# Prices and ceilings: which of several prices counts, what prices are together, what a ceiling or a bill leaves. No
# ceiling lets an unknown price pass

_HOUR = 3600.0


def highest_known_price(*prices: float | None) -> float | None:
    """USD per hour to go by, of an offer for which these prices were shown: the highest; None if none is known.

    Its own page may leave out the storage or the total, which a search has named, or the other way round.
    """
    return max((price for price in prices if price is not None), default=None)


def highest_prices(looks: t.Iterable[Offer]) -> dict[str, float | None]:
    """The prices that count (USD per hour) of all these looks at offers, by their ids."""
    prices: dict[str, float | None] = {}
    for offer in looks:
        offer_id = offer["offer_id"]
        prices[offer_id] = highest_known_price(prices.get(offer_id), offer["price_per_hour"])
    return prices


def by_price(offer: Offer) -> tuple[bool, float]:
    """The order of prices; what is unknown comes last."""
    return offer["price_per_hour"] is None, offer["price_per_hour"] or 0.0


def at_prices(prices: t.Mapping[str, float | None], offers: t.Sequence[Offer]) -> list[Offer]:
    """The offers at these prices, by their ids, cheapest first. A price that this look does not know stays unknown."""
    return sorted(
        (
            offer if offer["price_per_hour"] is None else {**offer, "price_per_hour": prices[offer["offer_id"]]}
            for offer in offers
        ),
        key=by_price,
    )


@dataclass(frozen=True)
class Sum:
    """What hosts cost together, and how many of the prices nobody knows."""

    total: float
    unknown: int = 0

    def exceeds(self, max_price_per_hour: float) -> bool:
        """Whether that is above a ceiling (USD per hour); an unknown price is above every one."""
        return max_price_per_hour != UNLIMITED and (self.unknown > 0 or self.total > max_price_per_hour)


def add_up(prices: t.Iterable[float | None]) -> Sum:
    """The sum of prices. Sums of floats are off by some 1e-16, which must not matter at a ceiling."""
    known = list(prices)
    return Sum(round(sum(price for price in known if price is not None), 6), sum(price is None for price in known))


def total_of(prices: t.Iterable[float | None]) -> float | None:
    """The sum of prices, None if one of them is unknown."""
    found = add_up(prices)
    return None if found.unknown else found.total


def passes_max_price(offer: Offer, max_price_per_hour: float) -> bool:
    """Whether the offer may be bought: an unknown price passes no limit."""
    price = offer["price_per_hour"]
    return max_price_per_hour == UNLIMITED or (price is not None and price <= max_price_per_hour)


def count_within(offers: t.Iterable[Offer], max_price_per_hour: float, taken: t.Container[str]) -> int:
    """How many of the offers are within the limit (USD per hour), and not ``taken`` (their ids)."""
    return sum(passes_max_price(offer, max_price_per_hour) and offer["offer_id"] not in taken for offer in offers)


def cost_in_usd(price: float | None, seconds: float) -> float | None:
    """What a machine at this price (USD per hour) costs in so many seconds, in USD; None if nobody can tell."""
    return None if price is None or seconds == math.inf else price * seconds / _HOUR


def bill_between(price: float | None, begin: float | None, end: float | None) -> float | None:
    """The same from one moment until another; None if one of them is not known."""
    return None if begin is None or end is None else cost_in_usd(price, max(0.0, end - begin))


def seconds_for_bill(bill: float, price: float) -> float:
    """For how many seconds the bill (USD) pays at a price per hour, as exactly as `max_price_for_bill`."""
    return bill / price * _HOUR * (1 + 1e-12)


def max_price_for_bill(bill: float | None, seconds: float) -> float:
    """The highest price per hour at which the whole bill (USD) of so many seconds is not exceeded.

    A float of a quotient may be off by some 1e-16, which must not matter: 57.6 / 8 passes 7.2.
    """
    if bill is None or not 0 < seconds < math.inf:
        return UNLIMITED
    return bill / (seconds / _HOUR) * (1 + 1e-12)
