# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to ask of the API, and what it answered, as it came; and what was found in that.

Pure.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .. import _states
from .._api.client import (
    HOSTS,
    RESOURCE_ENVELOPES,
    ApiError,
    Json,
    list_or_none,
    normalized_id,
    read_detail,
    read_resource,
    read_status,
)
from .._api.http import PASSING, Answer
from .._text import mappings_in

CONFIRMED, CONTRADICTED, NOT_SEEN = "confirmed", "contradicted", "not seen"


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
    def is_error(self) -> bool:
        """Whether the API answered that it will not do it."""
        return self.status is not None and 400 <= self.status < 500

    @property
    def is_passing(self) -> bool:
        """Whether the same request may be answered a moment later."""
        return self.status is None or self.status in PASSING

    @property
    def is_of_the_api(self) -> bool:
        """Whether the API answered it, with what was asked for or that it has no such path."""
        return self.is_success or (self.is_error and self.status not in (401, 403, 429))

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
        return mappings_in(list_or_none(self.data, ("offers", *RESOURCE_ENVELOPES))) if self.is_success else []

    @property
    def detail(self) -> str:
        """The API's explanation of an error."""
        return read_detail(Answer(self.status or 0, self.is_json, self.data))


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

    def last(self, name: str) -> Exchange | None:
        """The last exchange of this name that was answered."""
        return next(reversed(self.all(name)), None)

    def all(self, name: str) -> list[Exchange]:
        """All exchanges of this name that were answered."""
        return [exchange for exchange in self.exchanges if exchange.name == name and exchange.status is not None]

    def success(self, name: str) -> Exchange | None:
        """The last exchange of this name that was answered, if it brought what was asked for."""
        exchange = self.last(name)
        return exchange if exchange is not None and exchange.is_success else None

    def objects(self, *names: str) -> list[Json]:
        """The objects that all exchanges of these names brought."""
        answers = (item for name in names for item in self.all(name) if item.is_success)
        return [item.data for item in answers if isinstance(item.data, dict)]

    def items(self, *names: str) -> list[Json]:
        """The objects of the lists that the last exchanges of these names brought."""
        return [item for answer in filter(None, map(self.success, names)) for item in answer.items]

    @property
    def offers(self) -> list[Json]:
        """The offers of the two searches that ask for the same."""
        return self.items("search", "without_count")

    @property
    def resources(self) -> list[Json]:
        """The machines of the account, as far as they were listed."""
        return self.items("resources")

    @property
    def statuses(self) -> list[Json]:
        """The status answers of offers, bought and not."""
        return self.objects("offer_status", "bought_status", "under_way_status", "life_status")

    @property
    def under_way(self) -> list[Json]:
        """The status answers of offers whose machines are on their way."""
        return [*self.objects("under_way_status"), *_in_phase(self.objects("life_status"), _states.GOING_ON)]

    @property
    def bought(self) -> list[Json]:
        """The status answers of offers whose machines are ready."""
        return [*self.objects("bought_status"), *_in_phase(self.objects("life_status"), _states.READY)]

    @property
    def machines(self) -> list[Json]:
        """The machines that were read by themselves."""
        return self.objects("resource", "fresh_resource", "under_way", "life_resource")


@dataclass(frozen=True)
class AssumptionFinding:
    """How an assumption stands."""

    id: str
    verdict: str
    evidence: str


RuleResult = tuple[str, str]  # a verdict, and the evidence
Rule = t.Callable[[Exchanges], RuleResult]  # raises NotSeen


_STATEMENT = re.compile(r"(.+)\. Source: (.+)\. If not: (.+)\.")


@dataclass(frozen=True)
class Assumption:
    """A line of ``docs/api.md``: its id there, rule, and needs. The rule's docstring is the rest of the line.

    ``to_do``: what a user should do if it is wrong; empty if the collection manages by itself.
    """

    id: str
    rule: Rule
    needs: str = "the API's answer"
    to_do: str = ""

    @property
    def statement(self) -> tuple[str, str, str]:
        """What is assumed, on which pages of the API's documentation, and what the collection does if it is wrong.

        The parts of the rule's docstring; without docstrings (``python -OO``) the id alone.
        """
        parts = _STATEMENT.fullmatch(" ".join((self.rule.__doc__ or "").split()))
        return (parts[1], parts[2], parts[3]) if parts else (self.id, "", "")


class NotSeen(Exception):
    """Nothing was seen of what a rule judges."""


Value = t.TypeVar("Value")


def needed(value: Value | None) -> Value:
    """What a rule judges, or a condition of that. Raises NotSeen if it is nothing, empty or false."""
    if not value:
        raise NotSeen
    return value


def stands(as_believed: bool, evidence: str) -> RuleResult:
    """The verdict of a rule that has seen something."""
    return (CONFIRMED if as_believed else CONTRADICTED), evidence


def phase_of(status: Json) -> str:
    """The phase that a status answer tells, in the words of `_states`; empty if it tells none."""
    try:
        return str(read_status(status, "")["phase"])
    except ApiError:
        return ""


def _in_phase(items: t.Iterable[Json], phase: str) -> list[Json]:
    return [item for item in items if phase_of(item) == phase]


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


def reads_of_offer(offer_id: str) -> list[Read]:
    """What to read of an offer that was not bought; nothing without one."""
    reads: list[Read] = [
        ("offer", ("offers", offer_id), {}),
        ("offer_status", ("offers", offer_id, "status"), {}),
        ("resources_of_offer", ("resources",), {"offer_id": offer_id}),
    ]
    return reads if offer_id else []


def reads_of_machines(listed: t.Iterable[Json]) -> list[Read]:
    """What to read of a machine that runs, twice, and of one that is on its way, with the status of their offers."""
    resources = filter(_states.is_machine, map(read_resource, listed))
    machines = [item for item in resources if item["resource_id"] and _states.is_live(item["status"])]
    running = [machine for machine in machines if machine["access"].get("external_ip")][:1]
    under_way = [machine for machine in machines if not machine["access"].get("external_ip")][:1]
    looks = [("resource", machine, "bought_status") for machine in running]
    looks += [("under_way", machine, "under_way_status") for machine in under_way]
    return [
        *(("fresh_resource", ("resources", machine["resource_id"]), {"force_refresh": "true"}) for machine in running),
        *((name, ("resources", machine["resource_id"]), {}) for name, machine, _status in looks),
        *(
            (name, ("offers", machine["offer_id"], "status"), {})
            for _name, machine, name in looks
            if machine["offer_id"]
        ),
    ]


def first_offer_id(offers: t.Iterable[Json]) -> str:
    """The id of the first offer that has one, empty if none has."""
    return next(filter(None, (normalized_id(offer.get("offer_id")) for offer in offers)), "")
