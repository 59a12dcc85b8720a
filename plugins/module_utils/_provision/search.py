# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Searches: check their keys, set their contract, match them with offers, and compare and add prices.

The API pages "yaml spec", "get offers" and "storage" define the keys. A host has one or more searches in order of
preference, and may wait for offers. Prices are in USD per hour for whole offers, bills in USD, times in seconds since
the epoch, durations in seconds.
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
_LIMITS = ("max_", "min_")  # prefixes of keys that limit something
_OF_PRODUCT = ("vendor", "vendor_region", "region", "gpu_type", "gpu_count", "contract_type", "node_count")
_COMPARED = (*_OF_PRODUCT, "gpu_family")
_PLACE = ("vendor", "region")  # the keys of a search that restrict the place
_OF_GPU = ("gpu_type", "gpu_family")
# Contracts that a user may ask for. `any` is ours: the API then gets no contract_type.
ON_DEMAND, SPOT, ANY = "ondemand", "spot", "any"
# The keys of each section that the API documents; tests/tools/spec_page.py explains them in docs/spec.md.
DOCUMENTED: t.Mapping[str, tuple[str, ...]] = {
    "": ("region", "vendor", "max_procure_time_seconds", "compute", "storage", "network"),
    "compute": ("gpu_type", "gpu_count", "type", "contract_type", "max_price_per_gpu_hour", "min_boot_disk_gb"),
    "storage": ("type", "class", "size", "persistent"),
    "network": ("supports_cilium",),
}
LISTED, CHEAPEST = "listed", "cheapest"  # how a list of searches is used
AVOIDED_FOR = 7 * 86_400.0  # seconds for which the vendor and region of a bad machine are avoided by default
CEILING = "max_price_per_hour"  # a search's own ceiling, which the role reads and the API never gets


# The keys of a search


def check_spec(spec: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the search if it has a section that the API needs (page "yaml spec"); the API checks the contents.

    Raises ValueError, also for a misspelled key: an API that ignores the key would sell something else.
    """
    faults = {
        "needs a section 'compute' (at least gpu_type and gpu_count) or 'storage'": (
            not spec.get("compute") and not spec.get("storage")
        ),
        **dict.fromkeys((*misspelled_keys(spec), *_other_contracts(spec)), True),
    }
    for fault in applicable(faults):
        raise ValueError(fault)
    return spec


def undocumented_keys(spec: Spec) -> list[str]:
    """A warning about keys that no API page documents: the API may refuse or ignore them."""
    unknown = ", ".join(_unknown_keys(spec))
    return [f"spec has {unknown}, which no page of the API documents: it may be ignored."] if unknown else []


def misspelled_in(variable: str, spec: Spec) -> list[str]:
    """A sentence for each misspelled key or contract of the search in this variable."""
    return [f"{variable} {slip}" for slip in (*misspelled_keys(spec, (CEILING,)), *_other_contracts(spec))]


def misspelled_keys(spec: Spec, further: t.Sequence[str] = ()) -> list[str]:
    """A sentence for each key that resembles a documented one, or is an undocumented limit: neither would take effect.

    ``further``: top-level keys that are allowed in addition to the documented ones.
    """
    return [
        f"has '{path}', which the API does not document: " + (f"did you mean '{meant}'?" if meant else "leave it out.")
        for path, meant in _unknown_keys(spec, further).items()
        if meant or path.rpartition(".")[2].startswith(_LIMITS)
    ]


def _unknown_keys(spec: Spec, further: t.Sequence[str] = ()) -> dict[str, str]:
    """The undocumented keys, each with the documented key that it resembles, or an empty text."""
    known = {**DOCUMENTED, "": (*DOCUMENTED[""], *further)}
    unknown = [(section, name) for section, name, _value in _items_of(spec) if name not in known[section]]
    near = [(section, name, nearest(name, sorted(known[section]))) for section, name in unknown]
    return {path_of(section, name): path_of(section, meant) if meant else "" for section, name, meant in near}


def _items_of(spec: Spec) -> t.Iterator[tuple[str, str, t.Any]]:
    """The section, name and value of each key of a search."""
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
    """A key with its section, for messages."""
    return f"{section}.{name}" if section else name


# The contract of a search


def _other_contracts(spec: Spec) -> list[str]:
    """A sentence about a contract that the API does not document, if the search names one."""
    contract = contract_of(spec)
    known = contract in ("", ON_DEMAND, SPOT, ANY)
    return [] if known else [f"has compute.contract_type '{contract}': it must be {ON_DEMAND}, {SPOT} or {ANY}."]


def contract_of(spec: Spec) -> str:
    """The contract that a search names, or else on-demand: users must ask for spot machines, which may be taken away.

    Empty for a search for storage alone.
    """
    compute = compute_of(spec)
    return (str(compute.get("contract_type") or "").strip().lower() or ON_DEMAND) if compute else ""


def with_contract(spec: Spec) -> dict[str, t.Any]:
    """The search as it is sent: with its contract, since without one the API returns offers of every contract."""
    contract = contract_of(spec)
    if not contract:
        return dict(spec)
    rest = {name: value for name, value in spec["compute"].items() if name != "contract_type"}
    return {**spec, "compute": rest if contract == ANY else {**rest, "contract_type": contract}}


# The API's answer to a search


def unapplied_keys(spec: Spec, filters: t.Any) -> list[str]:
    """A warning about keys of a search that the API's ``filters_applied`` lacks; none if that field is empty.

    Its form is undocumented, so a key counts as applied if the field's text contains it. Keys of storage are not
    compared.
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
    return [f"The API's list of applied filters lacks {', '.join(lost)}: it may have ignored that."]


def without_limits(spec: Spec, offers: t.Sized) -> list[Spec]:
    """The search without region and contract, to explain why it found no offers; empty if it found some."""
    rest = {key: item for key, item in spec.items() if key != "region"}
    wider = {**rest, "compute": {**compute_of(spec), "contract_type": ANY}}
    return [] if offers or not compute_of(spec) or with_contract(wider) == with_contract(spec) else [wider]


def alternatives_in_words(spec: Spec, offers: t.Iterable[Offer]) -> str:
    """The regions, or else the contracts, in which a search `without_limits` found offers.

    Empty if no offer differs in only one of the two.
    """
    asked = {"region": spec.get("region"), "contract_type": compute_of(with_contract(spec)).get("contract_type")}
    odd = [(offer, [key for key, value in asked.items() if differ(value, offer.get(key))]) for offer in offers]
    regions, contracts = (", ".join(sorted({str(offer[key]) for offer, keys in odd if keys == [key]})) for key in asked)
    return f"only elsewhere ({regions})" if regions else f"only {contracts}" if contracts else ""


def unlisted_gpus(spec: Spec, catalog: t.Any) -> list[str]:
    """A sentence for each GPU of a search that the API's catalogue (GET /available_gpus) lacks, with similar names.

    The API distinguishes upper and lower case. Empty if the catalogue does not have its documented form.
    """
    families = {family: members for family, members in mapping_of(catalog).items() if isinstance(members, list)}
    listed = [name for name in (*families, *itertools.chain(*families.values())) if isinstance(name, str)]
    asked = map(str.strip, str(compute_of(spec).get("gpu_type") or "").split("|"))
    return [_unlisted(gpu, listed) for gpu in asked if gpu and listed and gpu not in listed]


def _unlisted(gpu: str, listed: t.Sequence[str]) -> str:
    """A sentence with the listed name that differs only in case or punctuation, or else with up to two similar ones."""
    plain, names = letters_of(gpu), {letters_of(name): printable(name, LONGEST_NAME) for name in listed}
    near = [plain] if plain in names else difflib.get_close_matches(plain, names, n=2, cutoff=0.7)
    meant = f" Did you mean {' or '.join(names[item] for item in near)}?" if near else ""
    return f"The API lists no GPU '{printable(gpu, LONGEST_NAME)}'.{meant}"


# Whether an offer matches a search, or another look at it


def mismatch(spec: t.Mapping[str, t.Any], offer: Offer) -> str:
    """How an offer or a machine differs from a search (API page "yaml spec"); empty if it matches.

    Fields that either of them lacks are not compared: if the search has no contract, any contract matches.
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
    """The section ``compute`` of a search; empty without one."""
    return mapping_of(spec.get("compute"))


def _other_gpu(compute: Spec, offer: Offer) -> str:
    """How the offer's GPU differs from all GPUs of the search, which pipes separate; each may be a part of a name."""
    asked = list(filter(None, map(_words, str(compute.get("gpu_type") or "").split("|"))))
    names = list(filter(None, (_words(offer.get(key)) for key in _OF_GPU)))
    if not asked or not names or any(gpu <= name for gpu in asked for name in names):
        return ""
    return f"gpu_type {offer.get('gpu_type') or offer.get('gpu_family')} instead of {compute['gpu_type']}"


def _words(name: t.Any) -> set[str]:
    """The words of a GPU's name: h100 is one of nvidia-h100-sxm5-80gb (C8, C15)."""
    return set(re.findall("[a-z0-9]+", str(name or "").lower()))


def differ(asked: t.Any, has: t.Any) -> bool:
    """Whether both values are present and differ."""
    one, other = _plain(asked), _plain(has)
    return bool(one and other and one != other)


def other_than_planned(planned: Offer, page: Offer) -> str:
    """How an offer's own page differs from the offer as it was ``planned``; empty if it sells the same.

    Fields that either of them lacks are not compared, nor is the GPU count of a cluster: whether it is per machine is
    only inferred, and the page has no number of machines.
    """
    is_cluster = any((nodes_of(offer) or 1) > 1 for offer in (planned, page))
    names = [name for name in _COMPARED if not (is_cluster and name == "gpu_count")]
    # As received: if a server echoes a secret, a lower-case copy of it would not be recognised and hidden.
    return ", ".join(
        f"{name} {' instead of '.join(printable(str(offer[name]).strip(), LONGEST_NAME) for offer in (page, planned))}"
        for name in names
        if differ(planned.get(name), page.get(name)) and _is_other(name, planned[name], page[name])
    )


def _is_other(name: str, was: t.Any, now: t.Any) -> bool:
    """Whether a difference matters: on-demand instead of spot does not, nor does a longer name of the same GPU (C8).

    GPUs differ if each name has a word that the other lacks.
    """
    if name == "contract_type":
        return _plain(now) == SPOT
    return name not in _OF_GPU or not (_words(was) <= _words(now) or _words(now) <= _words(was))


def _plain(value: t.Any) -> str:
    """A text or number in the form in which it is compared; empty for a missing value or zero."""
    number = number_of(value)
    if number is not None:
        return f"{number:g}" if number else ""
    return value.strip().lower() if isinstance(value, str) else ""


def product_fields(offer: Offer) -> dict[str, t.Any]:
    """The fields that say what an offer sells, to be compared later."""
    return {name: offer[name] for name in _COMPARED if offer.get(name) is not None}


def product_key(offer: Offer, price_per_hour: float | None) -> str:
    """What an offer sells at this price (USD per hour), as a text: later searches may list it under other ids."""
    return " ".join(str(offer.get(name) or "-") for name in _OF_PRODUCT) + f" {price_per_hour}"


# The searches of a host


@dataclass(frozen=True)
class Choice:
    """One search of a host, with its ceiling.

    ``is_anywhere``: its vendor or region is ``any``. ``vendor_region``: the only vendor's region whose offers count,
    empty for all; the API itself searches only by groups of regions (page "yaml spec").
    """

    spec: Spec
    max_price_per_hour: float = UNLIMITED
    is_anywhere: bool = False
    vendor_region: str = ""


def read_choice(spec: Spec, max_price_per_hour: float) -> Choice:
    """Read one search of ``provision_spec``. Its own ceiling, and a place that is ``any``, are not sent to the API."""
    anywhere = [key for key in _PLACE if text_of(spec.get(key)).lower() == ANY]
    sent = {key: item for key, item in spec.items() if key not in (CEILING, *anywhere)}
    return Choice(sent, max_price_per_hour, is_anywhere=bool(anywhere))


def at_site(choice: Choice, vendor: str, vendor_region: str) -> Choice:
    """The choice, restricted to this site unless it names a vendor or a region itself, or the vendor is unknown."""
    if not vendor or choice.is_anywhere or any(text_of(choice.spec.get(key)) for key in _PLACE):
        return choice
    return replace(choice, spec={**choice.spec, "vendor": vendor}, vendor_region=vendor_region)


def choice_in_words(choice: Choice) -> str:
    """A choice in a few words, such as ``1 x H100, ondemand, EU``."""
    wanted = compute_of(choice.spec)
    words = [gpus_of(wanted.get("gpu_count") or 1, wanted.get("gpu_type") or "any GPU")]
    contract = contract_of(choice.spec)
    words += [str(item) for item in ("" if contract == ANY else contract, choice.spec.get("region")) if item]
    return ", ".join(words)


def mismatch_with_all(choices: t.Sequence[Choice], offer: Offer) -> str:
    """How an offer or a machine differs from the first choice; empty if it matches any of the choices."""
    found = [mismatch(choice.spec, offer) for choice in choices]
    return "" if not all(found) else next(iter(found), "")


def matching_offers(spec: Spec, offers: t.Iterable[Offer]) -> tuple[list[Offer], str]:
    """The offers of an answer that have an id and match the search, or the reason why the answer cannot be used."""
    spec = with_contract(spec)
    named_offers = [offer for offer in offers if offer["offer_id"]]
    found = [offer for offer in named_offers if not mismatch(spec, offer)]
    if found or not named_offers:
        return found, ""
    odd = mismatch(spec, named_offers[0])
    return [], f"The API answers the search with {plural(len(named_offers), 'offer')} of another kind ({odd})."


def read_avoid(value: object) -> float:
    """Read ``provision_avoid``, in seconds. Raises ValueError with a reason for the user."""
    text = text_of(value).lower()
    return 0.0 if text in ("", "none") else duration(text)


# Waiting for offers


@dataclass(frozen=True)
class Patience:
    """Until when hosts wait for offers (None: they do not wait), and the seconds between two searches.

    ``delay`` 0: each run searches once, and a later run searches again; ``until`` must then be a fixed time.
    ``since``: when this run began to wait.
    """

    until: float | None = None
    delay: float = 600.0
    since: float = field(default=0.0, compare=False, repr=False)

    @property
    def spans_runs(self) -> bool:
        """Whether later runs continue to wait."""
        return self.until is not None and self.delay == 0

    def has_time(self, now: float) -> bool:
        """Whether this run has time for another search."""
        return self.until is not None and self.delay > 0 and now + self.delay <= self.until

    def has_waited(self, now: float) -> bool:
        """Whether this run has searched before."""
        return self.until is not None and self.delay > 0 and now >= self.since + self.delay

    def has_later_run(self, now: float) -> bool:
        """Whether a later run will search again."""
        return self.until is not None and self.delay == 0 and now < self.until


def read_patience(wait: t.Any, delay: t.Any, begin: float, wrong: list[str]) -> Patience:
    """Read two variables, counting from ``begin``; adds their faults to ``wrong``."""
    wanted = read_variable("provision_wait", wait, lease.read_time_limit, None, wrong)
    pause = read_variable("provision_wait_delay", delay, _read_delay, None, wrong)
    if wanted is None or pause is None:
        return Patience()
    if wanted.seconds is not None and not pause:
        wrong.append(
            "With provision_wait_delay 0 each run searches only once, so provision_wait must be a time such as"
            " 2026-12-01T06:00Z."
        )
    return Patience(wanted.end(begin), pause, begin)


def _read_delay(value: t.Any) -> float:
    """Read the seconds between two searches. Raises ValueError."""
    return 0.0 if text_of(value) == "0" else lease.read_duration(value) or 0.0


def may_wait(call: t.Mapping[str, t.Any], check_mode: bool) -> bool:
    """Whether a call may wait for offers: only before its first purchase, not in check mode or for a quote."""
    return not (check_mode or call["quote"] or call["attempts"] or call["failed"])


# Prices and ceilings. An unknown price exceeds every ceiling

_HOUR = 3600.0


def highest_known_price(*prices: float | None) -> float | None:
    """The highest of an offer's prices (USD per hour), which is the one that counts; None if none is known.

    A search or the offer's page may each leave out the storage or the total that the other one includes.
    """
    return max((price for price in prices if price is not None), default=None)


def price_to_buy_at(newest: float | None, *earlier: float | None) -> float | None:
    """The highest of an offer's prices (USD per hour) by now; None if the newest answer has none."""
    return None if newest is None else highest_known_price(newest, *earlier)


def highest_prices(looks: t.Iterable[Offer]) -> dict[str, float | None]:
    """The highest known price (USD per hour) of each offer among these results, by its id."""
    prices: dict[str, float | None] = {}
    for offer in looks:
        offer_id = offer["offer_id"]
        prices[offer_id] = highest_known_price(prices.get(offer_id), offer["price_per_hour"])
    return prices


def price_order(offer: Offer) -> tuple[bool, float]:
    """A sort key: cheapest first, unknown prices last."""
    return offer["price_per_hour"] is None, offer["price_per_hour"] or 0.0


def offers_at_prices(prices: t.Mapping[str, float | None], offers: t.Sequence[Offer]) -> list[Offer]:
    """The offers at the highest of their own and these prices, cheapest first."""
    by_now = (price_to_buy_at(offer["price_per_hour"], prices.get(offer["offer_id"])) for offer in offers)
    return sorted(({**offer, "price_per_hour": price} for offer, price in zip(offers, by_now)), key=price_order)


@dataclass(frozen=True)
class Sum:
    """The sum of known prices, and the number of unknown ones."""

    total: float
    unknown: int = 0

    def exceeds(self, max_price_per_hour: float) -> bool:
        """Whether it is above a ceiling (USD per hour); unknown prices exceed every ceiling."""
        return max_price_per_hour != UNLIMITED and (self.unknown > 0 or self.total > max_price_per_hour)


def add_up(prices: t.Iterable[float | None]) -> Sum:
    """The sum of prices, rounded: an error of 1e-16 in a sum of floats must not exceed a ceiling."""
    known = list(prices)
    return Sum(round(sum(price for price in known if price is not None), 6), sum(price is None for price in known))


def total_of(prices: t.Iterable[float | None]) -> float | None:
    """The sum of prices; None if one of them is unknown."""
    found = add_up(prices)
    return None if found.unknown else found.total


def passes_max_price(price: float | None, max_price_per_hour: float) -> bool:
    """Whether an offer's price is within the limit (USD per hour); an unknown price is not, unless unlimited."""
    return max_price_per_hour == UNLIMITED or (price is not None and price <= max_price_per_hour)


def count_within(offers: t.Iterable[Offer], max_price_per_hour: float, taken: t.Container[str]) -> int:
    """The number of offers within the limit (USD per hour) whose ids are not ``taken``."""
    left = (offer["price_per_hour"] for offer in offers if offer["offer_id"] not in taken)
    return sum(passes_max_price(price, max_price_per_hour) for price in left)


def cost_in_usd(price: float | None, seconds: float) -> float | None:
    """The cost in USD at this price (USD per hour); None if the price is unknown or the time has no end."""
    return None if price is None or seconds == math.inf else price * seconds / _HOUR


def bill_between(price: float | None, begin: float | None, end: float | None) -> float | None:
    """The cost in USD at this price (USD per hour) between two times; None if price or one of the times is unknown."""
    return None if begin is None or end is None else cost_in_usd(price, max(0.0, end - begin))


def seconds_for_bill(bill: float, price: float) -> float:
    """The seconds that the bill (USD) pays for at a price per hour, with the tolerance of `max_price_for_bill`."""
    return bill / price * _HOUR * (1 + 1e-12)


def max_price_for_bill(bill: float | None, seconds: float) -> float:
    """The highest price per hour at which so many seconds cost no more than the bill (USD).

    The tolerance makes up for errors of floats: a bill of 57.6 for 8 hours allows a price of 7.2.
    """
    if bill is None or not 0 < seconds < math.inf:
        return UNLIMITED
    return bill / (seconds / _HOUR) * (1 + 1e-12)
