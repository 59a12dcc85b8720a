# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machines are an offer's.

``GET /resources?offer_id=`` proves nothing by itself: the filter may be ignored, and a machine may have been linked to
a second offer (a volume that was bought for it). A machine is an offer's if the offer's own answers name its id, or if
it says itself that this is the offer it was bought with (``offer_id``; None if that is not certain). A list that holds
machines of other offers only shows that the filter was not applied.
"""

from __future__ import annotations

import typing as t

from .. import _states
from .._moments import seconds_of

Machine = t.Mapping[str, t.Any]  # a resource as the tolerant reader returns it
Kind = t.TypeVar("Kind", bound=Machine)
_SLACK = 30.0  # seconds by which a machine may be older than its purchase


def of_offer(resources: t.Iterable[Kind], offer_id: str, ids: t.Collection[str]) -> list[Kind]:
    """Those of the resources that are this offer's; ``ids`` are those that the purchase or the status names."""
    return [resource for resource in resources if resource["resource_id"] in ids or resource["offer_id"] == offer_id]


def matching(resources: t.Iterable[Kind], name: str | None, kinds: t.Collection[str]) -> list[Kind]:
    """The resources of this name (None: of any) and of one of these kinds (none: of any)."""
    return [item for item in resources if name in (None, item["name"]) and (not kinds or item["kind"] in kinds)]


def in_states(resources: t.Iterable[Kind], states: t.Iterable[str]) -> list[Kind]:
    """The resources in one of these states, as a person writes them; all if none is given."""
    words = set(map(_states.word, states))
    return [resource for resource in resources if not words or resource["status"] in words]


def refreshed(listed: t.Iterable[Kind], read: t.Mapping[str, Kind | None]) -> list[Kind]:
    """The listed resources as they were ``read`` by their ids since, with those that only this has shown.

    One that has no page (None) stays as it was listed: that proves nothing.
    """
    by_id: dict[t.Any, Kind] = {item["resource_id"] or number: item for number, item in enumerate(listed)}
    by_id.update((resource_id, resource) for resource_id, resource in read.items() if resource is not None)
    return list(by_id.values())


def named_by_filter(resources: t.Collection[Machine], offer_id: str, procured_at: str | None, nodes: int) -> list[str]:
    """The ids that only the filter of a list names as an offer's, since their resources name no offer.

    None of them unless the filter was surely applied: no resource is another offer's, or older than the purchase by the
    API's own clock (``procured_at``), or of unknown age; and there are no more of them than the offer has machines.
    """
    mute = [
        str(resource["resource_id"])
        for resource in resources
        if resource["resource_id"] and resource["offer_id"] is None
    ]
    is_applied = _are_younger(resources, procured_at) and len(resources) <= nodes
    return mute if is_applied and all(item["offer_id"] in (None, offer_id) for item in resources) else []


def _are_younger(resources: t.Iterable[Machine], procured_at: str | None) -> bool:
    """Whether all were surely created after a purchase, by the API's own clock."""
    moment = seconds_of(procured_at)
    ages = [seconds_of(resource.get("created_at")) for resource in resources]
    return moment is not None and all(created is not None and created >= moment - _SLACK for created in ages)


def machines_among(resources: t.Iterable[Kind]) -> list[Kind]:
    """The resources without storage, which no rule for machines knows."""
    return list(filter(_states.is_machine, resources))


def without_storage(ids: t.Iterable[str], resources: t.Iterable[Machine]) -> list[str]:
    """The ids without those of storage among the resources."""
    storage = {item["resource_id"] for item in resources if not _states.is_machine(item)}
    return [item for item in ids if item not in storage]


def ids_in(status: t.Mapping[str, t.Any]) -> list[str]:
    """The ids of resources that the status of an offer names, by themselves or beside its instances."""
    return list(dict.fromkeys([*status["resource_ids"], *_of_instances(status, "resource_id")]))


def ids_for_match(status: t.Mapping[str, t.Any]) -> list[str]:
    """The same, and the instances' own ids, which may be those of resources, or the vendor's."""
    return [*ids_in(status), *_of_instances(status, "instance_id")]


def _of_instances(status: t.Mapping[str, t.Any], field: str) -> list[str]:
    return [item[field] for item in status["instances"] if isinstance(item.get(field), str) and item[field]]


def is_one_alive(machines: t.Iterable[Machine]) -> bool:
    """Whether one of them lives, by its own word."""
    return any(_states.is_live(machine["status"]) for machine in machines)


def may_be_billed(machines: t.Iterable[Machine]) -> list[str]:
    """The ids of those that have not been told to be gone."""
    return [
        machine["resource_id"]
        for machine in machines
        if machine["resource_id"] and not _states.is_gone(machine["status"])
    ]


def left_of(ids: t.Iterable[str], machines: t.Collection[Machine]) -> list[str]:
    """Those of the ids, and of those of the machines, that have not been told to be gone."""
    gone = {machine["resource_id"] for machine in machines if _states.is_gone(machine["status"])}
    return [item for item in dict.fromkeys([*ids, *may_be_billed(machines)]) if item not in gone]


def created_of(machines: t.Iterable[Machine]) -> float | None:
    """When the last of them was made, by the API (seconds since the epoch); None where that does not tell."""
    moments = [seconds_of(machine["created_at"]) for machine in machines if machine.get("created_at")]
    return max((moment for moment in moments if moment is not None), default=None)


def price_of(machines: t.Iterable[Machine]) -> float | None:
    """What they cost together, in USD per hour; None if the price of one is not known."""
    prices = [machine["price_per_hour"] for machine in machines]
    return None if None in prices else round(sum(prices), 6)


def namesakes(machines: t.Iterable[Kind], name: str, offer_id: str, ids: t.Collection[str]) -> tuple[list[Kind], bool]:
    """Machines that live, are called as those of this purchase, and were bought with another offer.

    And whether this purchase, whose machines are ``ids``, is later than they are: by the API's time, then by the ids.
    One that is not listed yet is the later one.
    """
    listed = [machine for machine in machines if machine["resource_id"] and _states.is_machine(machine)]
    own = of_offer(listed, offer_id, ids)
    others = _alive_beside(own, {name, *(item["name"] for item in own)} - {"", None}, listed)
    return others, bool(others) and (not own or _first(own) > _first(others))


def _alive_beside(own: t.Iterable[Kind], names: t.Container[str | None], listed: t.Iterable[Kind]) -> list[Kind]:
    """Those that live and have one of these names, without our ``own``."""
    mine = {item["resource_id"] for item in own}
    live = [item for item in listed if _states.is_live(item["status"])]
    return [item for item in live if item["resource_id"] not in mine and item["name"] in names]


def _first(machines: t.Iterable[Machine]) -> tuple[str, str]:
    """When the first of them was made, and its id."""
    return min((str(machine.get("created_at") or ""), str(machine["resource_id"])) for machine in machines)
