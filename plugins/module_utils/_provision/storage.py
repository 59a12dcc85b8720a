# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage that was bought with a machine: it has its own id, outlives the machine, and is billed until it ends.

While the machine runs, the offer's price includes it (API page "storage"). After the machine's end it is *kept*: the
registry has it as a separate purchase, with its own id as the offer, until the API says that it is gone.
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

# The command that ends storage; its options are on a line of their own
_OPTIONS = "  {hosts} -e decommission_storage=end"
ADVICE = (
    "To end storage, with its data: compute_index.supply.decommission",
    _OPTIONS.format(hosts="-e decommission_hosts=<host>"),
)

_BY_ID = ("To end it, with its data: compute_index.supply.end_by_id", "  -e end_resource_id=<id> -e end_reason=<why>")

# A host's storage in its registry entry: a list of `Storage.variables`, and the ids for playbooks
STORAGE = "provision_storage"
STORAGE_IDS = "provision_storage_ids"
# In the entry of a machine that a sweep has begun to end: its storage ends as well, whichever run sees its end
STORAGE_ENDS = "provision_storage_ends"
# In the entry of kept storage: the host whose machine has ended
STORAGE_OF = "provision_storage_of"
# The heading above an offer's storage: usually, and if the host has `provision_storage_on_end: end`
HEADS = (
    "Storage outlives its machine, and is billed until you end it:",
    "Storage ends with its machine, and so does its data:",
)
# In an offer: the storage that its price includes
DETAILS = "storage_details"
_LONGEST = 40  # characters of the API's text in a line
_PERSISTENT = ("name", "type", "size_gb", "hourly_cost")  # USD per hour


@dataclass(frozen=True)
class Storage:
    """Storage of a host. ``price_per_hour``: USD, None if unknown. ``offer_id``: of its purchase.

    ``kept_since``: when its machine ended, by the clock ``noted_by``; empty before that. ``project`` and ``groups``:
    those of the host at that time. ``is_to_end``: a sweep or a release has begun to end it with its machine.
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
        """The storage as plain data for the registry, without unknown values."""
        known = {name: value for name, value in vars(self).items() if value not in ("", None, (), LOCAL_CLOCK)}
        return {**known, **({"groups": list(self.groups)} if self.groups else {})}

    def entry(self, host: str) -> dict[str, t.Any]:
        """The registry entry of kept storage, as a separate purchase made when its machine ended."""
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
    """The name of kept storage in messages. It has the full id, since ids of one purchase may begin alike."""
    return f"{host} (storage {resource_id})"


def read_storage(value: t.Any) -> tuple[Storage, ...]:
    """Read the storage of a registry entry, which a person may have written. Duplicates are removed."""
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


def persistent_storage(offer: Variables) -> list[dict[str, t.Any]]:
    """The storage in an offer that outlives its machine, as far as the API describes it."""
    return [
        {**{name: item[name] for name in _PERSISTENT if item.get(name) is not None}, "persistent": True}
        for item in mappings_in(offer.get(DETAILS))
        if text_of(item.get("persistent")).lower() == "true"
    ]


def _hourly_costs(items: t.Iterable[Variables]) -> list[float | None]:
    """The prices of an offer's storage in USD per hour; None if unknown."""
    return [read_price(item.get("hourly_cost")) for item in items]


def noted_offer(offer: Variables) -> dict[str, t.Any]:
    """The facts of an offer that the registry keeps, to detect later whether the host declares something else."""
    volumes = persistent_storage(offer)
    return {**product_fields(offer), **({DETAILS: volumes} if volumes else {})}


def with_noted_storage(offer: Variables, noted: Variables) -> Variables:
    """The offer with its storage as ``noted`` elsewhere, in a search or on its own page, if it does not mention any."""
    volumes = [] if persistent_storage(offer) else persistent_storage(noted)
    return {**offer, DETAILS: volumes} if volumes else offer


def stays_per_hour(offer: Variables) -> float | None:
    """The price of the storage that outlives an offer's machine, in USD per hour; None if unknown."""
    return total_of(_hourly_costs(persistent_storage(offer)))


def with_noted_prices(resources: t.Iterable[Variables], noted: t.Iterable[Storage]) -> list[Variables]:
    """The resources; storage without a price gets the price that a registry has noted."""
    prices = {item.resource_id: item.price_per_hour for item in noted}
    return [
        resource
        if resource["price_per_hour"] is not None or _states.is_machine(resource)
        else {**resource, "price_per_hour": prices.get(str(resource["resource_id"]).lower())}
        for resource in resources
    ]


def storage_of(resource: Variables, offer_id: str, offer: Variables) -> Storage:
    """A resource of the API (see `read_resource`) as storage of a purchase.

    If it has no price of its own, it gets the highest price of the ``offer``'s storage, None if one is unknown.
    """
    price, costs = resource.get("price_per_hour"), _hourly_costs(persistent_storage(offer))
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


def storage_variables(items: t.Iterable[Storage]) -> dict[str, t.Any]:
    """The variables of a registry entry for this storage; None removes a variable."""
    known = list(items)
    return {
        STORAGE: [item.variables for item in known] or None,
        STORAGE_IDS: [item.resource_id for item in known] or None,
    }


def storage_changes(items: t.Collection[Storage], before: t.Collection[Storage]) -> dict[str, t.Any]:
    """The changes to an entry that had the storage ``before``; empty if there was and is none."""
    return storage_variables(items) if items or before else {}


def storage_ids_variable(items: t.Collection[Storage]) -> dict[str, t.Any]:
    """The host variable with the ids of all its storage; empty if it has none."""
    return {STORAGE_IDS: [item.resource_id for item in items]} if items else {}


def merged_storage(before: t.Iterable[Storage], now: t.Iterable[Storage]) -> tuple[Storage, ...]:
    """The kept storage ``before``, and the storage of the current purchase.

    Kept storage stays kept even if it has been attached to another machine, since it may still be billed separately.
    """
    kept = {item.resource_id: item for item in before if item.kept_since}
    return tuple({**{item.resource_id: item for item in now}, **kept}.values())


def kept_after_end(entry: Variables, moment: str) -> tuple[Storage, ...]:
    """The storage of an entry after its machine ended at ``moment`` (ISO 8601, UTC, by the entry's clock)."""
    clock, project = clock_of(entry.get(NOTED_BY)), text_of(entry.get("provision_project"))
    groups, is_to_end = texts_of(entry.get("provision_groups")), entry.get(STORAGE_ENDS) is True or None
    new: dict[str, t.Any] = {"kept_since": moment, "noted_by": clock, "project": project, "groups": groups}
    return tuple(
        item if item.kept_since else replace(item, is_to_end=item.is_to_end or is_to_end, **new)
        for item in read_storage(entry.get(STORAGE))
    )


def storage_lines(host: str, items: t.Collection[Storage], *, is_remembered: bool = True) -> list[str]:
    """Lines about storage that outlives a host's machine, and how to end it. ``is_remembered``: by a registry."""
    head = f"{host} keeps its storage, which is billed until you end it:"
    command = (ADVICE[0], _OPTIONS.format(hosts=end_option([host])))
    if not is_remembered:
        head, command = f"{host} leaves storage, billed until you end it, which no registry remembers:", _BY_ID
    return [head, *(f"  {_named(item, usd_short)}" for item in items), *command] if items else []


def storage_in_words(host: str, items: t.Collection[Storage]) -> str:
    """Sentences about storage that outlives a host's machine, and how to end it; empty if there is none."""
    if not items:
        return ""
    shown = "; ".join(map(_named, items))
    return f"{host} keeps its storage, which is billed until you end it: {shown}. {_advice(host)}"


def kept_warning(host: str, items: t.Collection[Storage]) -> str:
    """A warning for a host that would buy although it has storage of an earlier machine; empty if it has none."""
    if not items:
        return ""
    shown = "; ".join(joined(f"{_named(item)}", f"({item.vendor} {item.region})") for item in items)
    return (
        f"{host} still has storage of an earlier machine, which is billed until you end it: {shown}. We do not know how"
        f" the API attaches it to another machine. {_advice(host)}"
    )


def _named(item: Storage, price: t.Callable[[float | None], str] = usd) -> str:
    return f"{item.name or 'storage'} {item.resource_id}, {price(item.price_per_hour)}"


def _advice(host: str) -> str:
    return f"{ADVICE[0]}{_OPTIONS.format(hosts=end_option([host]))[1:]}."


def offer_lines(head: str, offers: t.Mapping[str, Variables]) -> list[str]:
    """Lines about the storage in the offers that hosts would buy, below the ``head``; empty if there is none."""
    described = {host: Counter(map(_described, persistent_storage(offer))) for host, offer in offers.items()}
    counts = ((host, text, count) for host, texts in described.items() for text, count in texts.items())
    shown = grouped((f"{count} x {text}" if count > 1 else text, host) for host, text, count in counts)
    rows = [f"  {', '.join(ranges(hosts))}: {text}" for text, hosts in shown.items()]
    return [head, *rows] if rows else []


def _described(item: Variables) -> str:
    """The name, size, type and price of an offer's storage."""
    size = number_of(item.get("size_gb"))
    form = joined("" if size is None else f"{size:g} GB", text_of(item.get("type")))
    words = (text_of(item.get("name")), form, usd(read_price(item.get("hourly_cost"))))
    return ", ".join(printable(word, _LONGEST) for word in words if word)


def storage_price_part(items: t.Iterable[Variables]) -> str:
    """The price of an offer's storage (see `persistent_storage`), for the end of a line; empty if there is none."""
    costs = _hourly_costs(items)
    return f"; storage outlives them, {usd(total_of(costs))}" if costs else ""


def storage_summary(items: t.Collection[Storage], verb: str) -> str:
    """The number and price of storage as a part of a line, with a ``verb`` after it; empty if there is none."""
    price = usd(total_of(item.price_per_hour for item in items))
    return f"its storage ({plural(len(items), 'volume')}, {price}) {verb}" if items else ""


def other_storage(items: t.Iterable[Storage], resource_id: str) -> tuple[Storage, ...]:
    """The storage except the one with this id."""
    return tuple(item for item in items if item.resource_id != resource_id)
