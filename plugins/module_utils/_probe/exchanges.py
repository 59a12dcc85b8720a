# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe's requests, and the API's unprocessed answers. Pure."""

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
    """A request and its answer. ``name``: the purpose of the request.

    ``status`` is None if no answer arrived. ``at``: the start of the request by this computer's clock (seconds since
    the epoch); ``seconds``: its duration; ``ahead``: seconds by which the answer's ``Date`` was ahead of this clock
    (None without a ``Date``); ``retry_after``: seconds to wait, as the API asked.
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
        """Whether the answer is JSON with a 2xx status."""
        return self.status is not None and 200 <= self.status < 300 and self.is_json

    @property
    def end(self) -> float:
        """The time of the answer, or of the timeout."""
        return self.at + self.seconds

    @property
    def fields(self) -> Json:
        """The JSON object of a successful answer, else an empty one."""
        return self.data if self.is_success and isinstance(self.data, dict) else {}

    @property
    def items(self) -> list[Json]:
        """The objects in the list of a successful answer: offers or machines, with or without an envelope."""
        return mappings_in(find_list(self.data, ("offers", *RESOURCE_ENVELOPES))) if self.is_success else []


@dataclass(frozen=True)
class Exchanges:
    """All exchanges of a probe, and what else it has observed.

    ``requested_names``: the name that a registry asked for, by machine id. ``ended``: the id of a machine that has
    ended, or empty. ``lets_in``: seconds until the machine that was bought accepted a login; None if it did not, or if
    none was bought. ``hosts``: the answer's status for each host of the API's pages; None without an answer.
    """

    exchanges: tuple[Exchange, ...]
    requested_names: t.Mapping[str, str] = field(default_factory=dict)
    ended: str = ""
    lets_in: float | None = None
    hosts: t.Mapping[str, int | None] = field(default_factory=dict)

    def all(self, *names: str) -> list[Exchange]:
        """The answered exchanges with these names."""
        return [exchange for exchange in self.exchanges if exchange.name in names and exchange.status is not None]

    def successes(self, *names: str) -> list[Exchange]:
        """The successful exchanges with these names."""
        return [exchange for exchange in self.all(*names) if exchange.is_success]

    def objects(self, *names: str) -> list[Json]:
        """The objects in the answers of exchanges with these names."""
        return [exchange.fields for exchange in self.all(*names) if exchange.fields]

    def items(self, *names: str) -> list[Json]:
        """The objects in the lists of exchanges with these names."""
        return [item for exchange in self.all(*names) for item in exchange.items]

    @property
    def offers(self) -> list[Json]:
        """The offers of the two identical searches."""
        return self.items("search", "without_count")

    @property
    def statuses(self) -> list[Json]:
        """The statuses of offers, bought or not."""
        return self.objects("offer_status", "machine_status", "life_status")

    @property
    def instances(self) -> list[Json]:
        """The instances in the statuses of offers."""
        return [item for status in self.statuses for item in mappings_in(status.get("instances"))]

    @property
    def machines(self) -> list[Json]:
        """The machines that were read by id."""
        return self.objects("resource", "fresh_resource", "life_resource")


#: Methods, paths and names of the requests during a purchase. The first match counts.
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
    """The name of an exchange during a purchase."""
    return next((name for verb, form, name in _LIFE if verb == method and re.fullmatch(form, path)), "life_other")


# Requests

CATALOGS = ("vendors", "regions", "contracts", "storage")
Read = tuple[str, tuple[str, ...], dict[str, str]]  # a GET: its name, the parts of its path, its query


def hosts_to_compare(base_url: str) -> tuple[str, ...]:
    """The hosts to ask without a token: those on the API's pages, if the probe uses one of them."""
    return HOSTS if urlsplit(base_url).hostname in HOSTS else ()


def reads_of_offer(offers: t.Iterable[Json]) -> list[Read]:
    """Requests about the first offer with an id. None of the offers was bought."""
    offer_id = next(filter(None, (normalized_id(offer.get("offer_id")) for offer in offers)), "")
    reads: list[Read] = [
        ("offer", ("offers", offer_id), {}),
        ("offer_status", ("offers", offer_id, "status"), {}),
        ("resources_of_offer", ("resources",), {"offer_id": offer_id}),
    ]
    return reads if offer_id else []


def reads_of_machines(listed: t.Iterable[Json]) -> list[Read]:
    """Requests about a running machine (twice), about one that is being made, and about their offers' statuses."""
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
