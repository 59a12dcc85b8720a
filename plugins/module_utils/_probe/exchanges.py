# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to ask of the API, and what it answered, as it came. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .. import _states
from .._api.client import HOSTS, RESOURCE_ENVELOPES, Json, find_list, normalized_id, read_resource
from .._text import mappings_in


@dataclass(frozen=True)
class Exchange:
    """A request, and what came of it. ``name`` tells what it was for.

    ``status`` is None where no answer arrived. ``seconds`` is how long it took, ``ahead`` how many seconds the clock of
    its ``Date`` was ahead (None without one), ``retry_after`` how many the API asked to wait, ``at`` when it began by
    this clock (seconds since the epoch).
    """

    name: str
    method: str
    path: str
    query: t.Mapping[str, str] = field(default_factory=dict)
    spec: t.Mapping[str, t.Any] | None = None
    status: int | None = 200
    data: t.Any = None
    is_json: bool = True
    retry_after: float | None = None
    ahead: float | None = None
    seconds: float = 0.0
    at: float = 0.0

    @property
    def is_success(self) -> bool:
        """Whether it brought what was asked for."""
        return self.status is not None and 200 <= self.status < 300 and self.is_json

    @property
    def end(self) -> float:
        """When its answer was there, or was given up."""
        return self.at + self.seconds

    @property
    def fields(self) -> Json:
        """The object that it brought, an empty one if it brought none."""
        return self.data if self.is_success and isinstance(self.data, dict) else {}

    @property
    def items(self) -> list[Json]:
        """The objects of the list that it brought: offers or machines, bare or in an envelope."""
        return mappings_in(find_list(self.data, ("offers", *RESOURCE_ENVELOPES))) if self.is_success else []


@dataclass(frozen=True)
class Exchanges:
    """All exchanges; the names that a registry has asked for, by the id of the machine; a machine that ended; and how
    many seconds it was waited for until a machine that was bought let in, None if it never did or none was bought.

    ``hosts``: the status by which each host of the API's pages has answered, None if nothing came.
    """

    exchanges: tuple[Exchange, ...]
    wished: t.Mapping[str, str] = field(default_factory=dict)
    ended: str = ""
    lets_in: float | None = None
    hosts: t.Mapping[str, int | None] = field(default_factory=dict)

    def all(self, *names: str) -> list[Exchange]:
        """The exchanges of these names that were answered."""
        return [exchange for exchange in self.exchanges if exchange.name in names and exchange.status is not None]

    def successes(self, *names: str) -> list[Exchange]:
        """Those of these names that brought what was asked for."""
        return [exchange for exchange in self.all(*names) if exchange.is_success]

    def objects(self, *names: str) -> list[Json]:
        """The objects that the exchanges of these names brought."""
        return [exchange.fields for exchange in self.all(*names) if exchange.fields]

    def items(self, *names: str) -> list[Json]:
        """The objects of the lists that the exchanges of these names brought."""
        return [item for exchange in self.all(*names) for item in exchange.items]

    @property
    def offers(self) -> list[Json]:
        """The offers of the two searches that ask for the same."""
        return self.items("search", "without_count")

    @property
    def statuses(self) -> list[Json]:
        """The status answers of offers, bought and not."""
        return self.objects("offer_status", "machine_status", "life_status")

    @property
    def instances(self) -> list[Json]:
        """The instances that the status answers name."""
        return [item for status in self.statuses for item in mappings_in(status.get("instances"))]

    @property
    def machines(self) -> list[Json]:
        """The machines that were read by themselves."""
        return self.objects("resource", "fresh_resource", "life_resource")


#: What the tasks of a purchase ask, in the paths and methods of the API; the first that fits.
_LIFE = (
    ("POST", r"/procure_offer", "purchase"),
    ("DELETE", r"/resources/[^/]+", "deletion"),
    ("POST", r"/get_offers", "life_search"),
    ("GET", r"/offers/[^/]+/status", "life_status"),
    ("GET", r"/offers/[^/]+", "life_offer"),
    ("GET", r"/resources/[^/]+", "life_resource"),
    ("GET", r"/resources", "life_list"),
)


def named_by_path(method: str, path: str) -> str:
    """What an exchange of a purchase was for."""
    return next((name for verb, form, name in _LIFE if verb == method and re.fullmatch(form, path)), "life_other")


# What to ask

CATALOGS = ("vendors", "regions", "contracts", "storage")
Read = tuple[str, tuple[str, ...], dict[str, str]]  # a GET: what it is for, the parts of its path, its query


def hosts_beside(base_url: str) -> tuple[str, ...]:
    """The hosts to ask without a token: those of the API's pages, if one of them is used."""
    return HOSTS if urlsplit(base_url).hostname in HOSTS else ()


def reads_of_offer(offers: t.Iterable[Json]) -> list[Read]:
    """What to read of the first offer that has an id; none of them was bought."""
    offer_id = next(filter(None, (normalized_id(offer.get("offer_id")) for offer in offers)), "")
    reads: list[Read] = [
        ("offer", ("offers", offer_id), {}),
        ("offer_status", ("offers", offer_id, "status"), {}),
        ("resources_of_offer", ("resources",), {"offer_id": offer_id}),
    ]
    return reads if offer_id else []


def reads_of_machines(listed: t.Iterable[Json]) -> list[Read]:
    """What to read of a machine that runs, twice, and of one that is on its way, with the status of their offers."""
    live = list(filter(_is_live_machine, map(read_resource, listed)))
    running = [item for item in live if item["access"].get("external_ip")][:1]
    looks = [*running, *[item for item in live if not item["access"].get("external_ip")][:1]]
    return [
        *(("fresh_resource", ("resources", item["resource_id"]), {"force_refresh": "true"}) for item in running),
        *(("resource", ("resources", item["resource_id"]), {}) for item in looks),
        *(("machine_status", ("offers", item["offer_id"], "status"), {}) for item in looks if item["offer_id"]),
    ]


def _is_live_machine(resource: Json) -> bool:
    return bool(resource["resource_id"]) and _states.is_machine(resource) and _states.is_live(resource["status"])
