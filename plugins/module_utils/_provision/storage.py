# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage that was bought with a machine: it has an id of its own, outlives the machine, and is billed until it ends.

While the machine runs, the price of the offer includes it (API page "storage"). From the machine's end on it is *kept*:
the registry has it as a purchase of its own, whose offer is its own id, until the API says that it is gone.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass, replace

from .. import _states
from .._text import (
    end_option,
    grouped,
    items_of,
    joined,
    mappings_in,
    number_of,
    plural,
    printable,
    ranges,
    read_price,
    text_of,
    texts_of,
    usd,
    usd_short,
)
from .lease import LOCAL_CLOCK, NOTED_BY, clock_of
from .search import product_fields, total_of

Variables = t.Mapping[str, t.Any]

# How storage ends, on a line of its own
_HOW = "  {option} -e decommission_storage=end"
ADVICE = (
    "To end storage, with its data: compute_index.supply.decommission",
    _HOW.format(option="-e decommission_hosts=<host>"),
)

_BY_ID = ("To end it, with its data: compute_index.supply.end_by_id", "  -e end_resource_id=<id> -e end_reason=<why>")

# A host's storage in its registry entry: what `Storage.variables` says of each, and their ids for playbooks
STORAGE = "provision_storage"
STORAGE_IDS = "provision_storage_ids"
# In the entry of kept storage: the host whose machine has ended
STORAGE_OF = "provision_storage_of"
# What is said of an offer's storage: as a rule, and if the host has `provision_storage_on_end: end`
HEADS = (
    "Storage outlives its machine, and is billed until you end it:",
    "Storage ends with its machine, and so does its data:",
)
# What an offer says of the storage that its price includes
DETAILS = "storage_details"
_LONGEST = 40  # characters of a word of the API in a line
_PERSISTENT = ("name", "type", "size_gb", "hourly_cost")  # USD per hour


@dataclass(frozen=True)
class Storage:
    """Storage of a host. ``price_per_hour``: USD, None if unknown. ``offer_id``: what it was bought with.

    ``kept_since``: when the machine ended with which it was bought, by the clock ``noted_by``; empty until then.
    ``project`` and ``groups`` are those of the host then. ``is_to_end``: with it, by what a sweep or a release began.
    """

    resource_id: str
    name: str = ""
    offer_id: str = ""
    price_per_hour: float | None = None
    vendor: str = ""
    region: str = ""
    kept_since: str = ""
    noted_by: str = LOCAL_CLOCK
    project: str = ""
    groups: tuple[str, ...] = ()
    is_to_end: bool | None = None

    @property
    def variables(self) -> dict[str, t.Any]:
        """What the registry has of it, without what is not known."""
        known = {name: value for name, value in vars(self).items() if value not in ("", None, (), LOCAL_CLOCK)}
        return {**known, **({"groups": list(self.groups)} if self.groups else {})}

    def entry(self, host: str) -> dict[str, t.Any]:
        """The registry entry of kept storage, as if it had been bought by itself when its machine ended."""
        return {
            STORAGE_OF: host,
            NOTED_BY: self.noted_by,
            "provision_project": self.project,
            "provision_groups": list(self.groups),
            "provision_procured_offer_id": self.resource_id,
            "provision_resource_ids": [self.resource_id],
            "provision_resource_name": self.name or self.resource_id,
            "provision_purchase": "made",
            "provision_price_per_hour": self.price_per_hour,
            "provision_journaled_at": self.kept_since,
            **({"provision_ends_at": self.kept_since} if self.is_to_end else {}),
            STORAGE: [self.variables],
        }


def label_of(host: str, resource_id: str) -> str:
    """What people call kept storage. The ids of one purchase may begin alike, so it has the whole of each."""
    return f"{host} (storage {resource_id})"


def read_storage(value: t.Any) -> tuple[Storage, ...]:
    """The storage in a registry entry, each once, however a person may have written it."""
    read = (_read(item) for item in items_of(value) if isinstance(item, t.Mapping))
    return tuple({item.resource_id: item for item in read if item.resource_id}.values())


def _read(item: Variables) -> Storage:
    texts = {name: text_of(item.get(name)) for name in ("name", "vendor", "region", "project")}
    return Storage(
        resource_id=text_of(item.get("resource_id")).lower(),
        offer_id=text_of(item.get("offer_id")).lower(),
        price_per_hour=read_price(item.get("price_per_hour")),
        kept_since=text_of(item.get("kept_since")),
        noted_by=clock_of(item.get("noted_by")),
        groups=texts_of(item.get("groups")),
        is_to_end=item.get("is_to_end") is True or None,
        **texts,
    )


def brought_by(offer: Variables) -> list[dict[str, t.Any]]:
    """The storage that an offer brings along and that outlives its machine, as far as the API describes it."""
    return [
        {**{name: item[name] for name in _PERSISTENT if item.get(name) is not None}, "persistent": True}
        for item in mappings_in(offer.get(DETAILS))
        if text_of(item.get("persistent")).lower() == "true"
    ]


def _hourly_costs(items: t.Iterable[Variables]) -> list[float | None]:
    """USD per hour of each that an offer brings along; None if its price is unknown."""
    return [read_price(item.get("hourly_cost")) for item in items]


def noted_offer(offer: Variables) -> dict[str, t.Any]:
    """What the registry remembers of an offer, to tell later whether what is declared differs."""
    brought = brought_by(offer)
    return {**product_fields(offer), **({DETAILS: brought} if brought else {})}


def with_noted(offer: Variables, noted: Variables) -> Variables:
    """The offer with the storage that a search has shown and that was ``noted``; its own page may leave that out."""
    brought = [] if brought_by(offer) else brought_by(noted)
    return {**offer, DETAILS: brought} if brought else offer


def stays_per_hour(offer: Variables) -> float | None:
    """What goes on after the machine of an offer, USD per hour; None if that is unknown."""
    return total_of(_hourly_costs(brought_by(offer)))


def priced(resources: t.Iterable[Variables], noted: t.Iterable[Storage]) -> list[Variables]:
    """The resources; storage without a price of its own has the one that a registry has noted."""
    prices = {item.resource_id: item.price_per_hour for item in noted}
    return [
        resource
        if resource["price_per_hour"] is not None or _states.is_machine(resource)
        else {**resource, "price_per_hour": prices.get(str(resource["resource_id"]).lower())}
        for resource in resources
    ]


def storage_of(resource: Variables, offer_id: str, offer: Variables) -> Storage:
    """A resource of the API as storage that a purchase has bought; see `read_resource`.

    If it has no price of its own, the highest counts that the ``offer`` names for any storage that it brings along.
    """
    price, costs = resource.get("price_per_hour"), _hourly_costs(brought_by(offer))
    if price is None:
        price = None if None in costs else max(filter(None, costs), default=None)
    return Storage(
        str(resource["resource_id"]).lower(),
        text_of(resource.get("name")),
        offer_id,
        price,
        text_of(resource.get("vendor")),
        text_of(resource.get("vendor_region")),
    )


def variables_of(items: t.Iterable[Storage]) -> dict[str, t.Any]:
    """The variables of a registry entry for this storage; None removes what the entry has."""
    known = list(items)
    return {
        STORAGE: [item.variables for item in known] or None,
        STORAGE_IDS: [item.resource_id for item in known] or None,
    }


def changes_of(items: t.Collection[Storage], before: t.Collection[Storage]) -> dict[str, t.Any]:
    """The same for an entry that names ``before``; nothing to change if it has and had none."""
    return variables_of(items) if items or before else {}


def storage_ids_variable(items: t.Collection[Storage]) -> dict[str, t.Any]:
    """The variable of a host that names all its storage; nothing if it has none."""
    return {STORAGE_IDS: [item.resource_id for item in items]} if items else {}


def together(before: t.Iterable[Storage], now: t.Iterable[Storage]) -> tuple[Storage, ...]:
    """What is kept already, and what came with the purchase that runs now.

    Storage that is kept stays so, also if it was attached to another machine since: nothing says that it is not billed.
    """
    kept = {item.resource_id: item for item in before if item.kept_since}
    return tuple({**{item.resource_id: item for item in now}, **kept}.values())


def kept_after_end(entry: Variables, moment: str) -> tuple[Storage, ...]:
    """The storage of a registry entry once its machine has ended, at a moment (ISO 8601, UTC) by the entry's clock."""
    clock, project = clock_of(entry.get(NOTED_BY)), text_of(entry.get("provision_project"))
    groups = texts_of(entry.get("provision_groups"))
    return tuple(
        item if item.kept_since else replace(item, kept_since=moment, noted_by=clock, project=project, groups=groups)
        for item in read_storage(entry.get(STORAGE))
    )


def storage_lines(host: str, items: t.Collection[Storage], *, is_remembered: bool = True) -> list[str]:
    """What people read of storage that stays after a machine, of which the registry knows or has noted nothing."""
    head = f"{host} keeps its storage, which is billed until you end it:"
    how = (ADVICE[0], _HOW.format(option=end_option([host])))
    if not is_remembered:
        head, how = f"{host} leaves storage, billed until you end it, which no registry remembers:", _BY_ID
    return [head, *(f"  {_named(item, usd_short)}" for item in items), *how] if items else []


def storage_in_words(host: str, items: t.Collection[Storage]) -> str:
    """The same in sentences; empty if there is none."""
    if not items:
        return ""
    shown = "; ".join(map(_named, items))
    return f"{host} keeps its storage, which is billed until you end it: {shown}. {_end(host)}"


def still_kept(host: str, items: t.Collection[Storage]) -> str:
    """A warning for a host that would buy, though it has storage of an earlier machine; empty if it has none."""
    if not items:
        return ""
    shown = "; ".join(joined(f"{_named(item)}", f"({item.vendor} {item.region})") for item in items)
    return (
        f"{host} still has storage of an earlier machine, which is billed until you end it: {shown}. We do not know how"
        f" the API attaches it to another machine. {_end(host)}"
    )


def _named(item: Storage, price: t.Callable[[float | None], str] = usd) -> str:
    return f"{item.name or 'storage'} {item.resource_id}, {price(item.price_per_hour)}"


def _end(host: str) -> str:
    return f"{ADVICE[0]}{_HOW.format(option=end_option([host]))[1:]}."


def brought(head: str, offers: t.Mapping[str, Variables]) -> list[str]:
    """Lines for hosts that would buy these offers: which storage these bring along; nothing if none does."""
    described = {host: Counter(map(_described, brought_by(offer))) for host, offer in offers.items()}
    counts = ((host, text, count) for host, texts in described.items() for text, count in texts.items())
    shown = grouped((f"{count} x {text}" if count > 1 else text, host) for host, text, count in counts)
    rows = [f"  {', '.join(ranges(hosts))}: {text}" for text, hosts in shown.items()]
    return [head, *rows] if rows else []


def _described(item: Variables) -> str:
    """Storage of an offer: its name, size, type and price."""
    size = number_of(item.get("size_gb"))
    form = joined("" if size is None else f"{size:g} GB", text_of(item.get("type")))
    words = (text_of(item.get("name")), form, usd(read_price(item.get("hourly_cost"))))
    return ", ".join(printable(word, _LONGEST) for word in words if word)


def _volumes(prices: t.Collection[float | None]) -> str:
    return f"{plural(len(prices), 'volume')}, {usd(total_of(prices))}"


def goes_on_at(items: t.Iterable[Variables]) -> str:
    """The same as the end of a line: only what it costs; empty if there is none. ``items``: see `brought_by`."""
    costs = _hourly_costs(items)
    return f"; storage outlives them, {usd(total_of(costs))}" if costs else ""


def brief(items: t.Collection[Storage], ends: str) -> str:
    """The same as a part of a line; empty if there is none. ``ends``: what becomes of it."""
    return f"its storage ({_volumes([item.price_per_hour for item in items])}) {ends}" if items else ""


def without(items: t.Iterable[Storage], resource_id: str) -> tuple[Storage, ...]:
    """The storage without one that is gone."""
    return tuple(item for item in items if item.resource_id != resource_id)
