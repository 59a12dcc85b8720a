# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage that was bought with a machine: it has an id of its own, survives the machine, and is billed until it ends.

While the machine runs, the price of the offer includes it (API page "storage"). From the machine's end on it is *kept*:
the registry has it as a purchase of its own, whose offer is its own id, until the API says that it is gone.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .._text import number_of
from .._wording import amount, usd
from .clock import HERE, NOTED_BY, clock_of

Variables = t.Mapping[str, t.Any]

# How storage ends, on a line of its own
_HOW = "  -e decommission_hosts={host} -e decommission_storage=end"
ADVICE = ("To end storage, with its data: compute_index.supply.decommission", _HOW.format(host="<host>"))

# A host's storage in its registry entry: what `Storage.variables` says of each, and their ids for playbooks
STORAGE = "provision_storage"
STORAGE_IDS = "provision_storage_ids"
# In the entry of kept storage: the host whose machine has ended
STORAGE_OF = "provision_storage_of"


@dataclass(frozen=True)
class Storage:
    """Storage of a host. ``price_per_hour``: USD, None if unknown. ``offer_id``: what it was bought with.

    ``kept_since``: when the machine ended with which it was bought, by the clock ``noted_by``; empty until then.
    ``project`` and ``groups`` are those of the host then.
    """

    resource_id: str
    name: str = ""
    offer_id: str = ""
    price_per_hour: float | None = None
    vendor: str = ""
    region: str = ""
    kept_since: str = ""
    noted_by: str = HERE
    project: str = ""
    groups: tuple[str, ...] = ()

    @property
    def variables(self) -> dict[str, t.Any]:
        """What the registry has of it, without what is not known."""
        known = {name: value for name, value in vars(self).items() if value not in ("", None, (), HERE)}
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
            STORAGE: [self.variables],
        }


def label_of(host: str, resource_id: str) -> str:
    """What people call kept storage."""
    return f"{host} (storage {resource_id[:8]})"


def read_storage(value: t.Any) -> tuple[Storage, ...]:
    """The storage in a registry entry, each once, however a person may have written it."""
    items = value if isinstance(value, (list, tuple)) else [value]
    read = (_read(item) for item in items if isinstance(item, t.Mapping))
    return tuple({item.resource_id: item for item in read if item.resource_id}.values())


def _read(item: Variables) -> Storage:
    texts = {name: _text(item.get(name)) for name in ("name", "vendor", "region", "project")}
    price = number_of(item.get("price_per_hour"))
    return Storage(
        resource_id=_text(item.get("resource_id")).lower(),
        offer_id=_text(item.get("offer_id")).lower(),
        price_per_hour=None if price is None or price < 0 else price,
        kept_since=_text(item.get("kept_since")),
        noted_by=clock_of(item.get("noted_by")),
        groups=_texts(item.get("groups")),
        **texts,
    )


def _text(value: t.Any) -> str:
    return "" if value is None else str(value).strip()


def _texts(value: t.Any) -> tuple[str, ...]:
    return tuple(map(_text, value)) if isinstance(value, (list, tuple)) else ()


def storage_of(resource: Variables, offer_id: str) -> Storage:
    """A resource of the API as storage that a purchase has bought; see `read_resource`."""
    return Storage(
        str(resource["resource_id"]).lower(),
        _text(resource.get("name")),
        offer_id,
        resource.get("price_per_hour"),
        _text(resource.get("vendor")),
        _text(resource.get("vendor_region")),
    )


def variables_of(items: t.Iterable[Storage]) -> dict[str, t.Any]:
    """The variables of a registry entry for this storage; None removes what the entry has."""
    known = list(items)
    return {
        STORAGE: [item.variables for item in known] or None,
        STORAGE_IDS: [item.resource_id for item in known] or None,
    }


def together(before: t.Iterable[Storage], now: t.Iterable[Storage]) -> tuple[Storage, ...]:
    """What is kept already, and what came with the purchase that runs now.

    Storage that is kept stays so, also if it was attached to another machine since: nothing says that it is not billed.
    """
    kept = {item.resource_id: item for item in before if item.kept_since}
    return tuple({**{item.resource_id: item for item in now}, **kept}.values())


def kept(entry: Variables, moment: str) -> tuple[Storage, ...]:
    """The storage of a registry entry once its machine has ended, at a moment (ISO 8601, UTC) by the entry's clock."""
    clock, project = clock_of(entry.get(NOTED_BY)), _text(entry.get("provision_project"))
    groups = _texts(entry.get("provision_groups"))
    return tuple(
        item if item.kept_since else replace(item, kept_since=moment, noted_by=clock, project=project, groups=groups)
        for item in read_storage(entry.get(STORAGE))
    )


def lines(host: str, items: t.Collection[Storage]) -> list[str]:
    """What people read of storage that stays after a machine: which, its price, and how it ends."""
    if not items:
        return []
    shown = (f"  {item.name or 'storage'} {item.resource_id}, {usd(item.price_per_hour)}" for item in items)
    return [f"{host} keeps its storage, which is billed until it ends:", *shown, ADVICE[0], _HOW.format(host=host)]


def has_cost(host: str, dollars: float) -> str:
    """A line at the end of a host's storage; ``dollars``: since its machine has ended."""
    return f"The storage of {host} has ended. Without its machine it has cost at most USD {amount(dollars)}."


def brief(items: t.Collection[Storage], *, ends: bool = False) -> str:
    """The same as a part of a line; empty if there is none. ``ends``: it ends with its data."""
    if not items:
        return ""
    prices = [item.price_per_hour for item in items]
    price = usd(None if None in prices else sum(filter(None, prices)))
    return f"; its storage ({len(items)}, {price}) {'ends, too' if ends else 'stays and is billed'}"


def without(items: t.Iterable[Storage], resource_id: str) -> tuple[Storage, ...]:
    """The storage without one that is gone."""
    return tuple(item for item in items if item.resource_id != resource_id)
