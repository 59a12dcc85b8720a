# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked of the API and what it answered, as it came; and what was found in that.

Pure. This module util is private to the collection.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ._api import RESOURCE_ENVELOPES, Json, read_detail
from ._http import Answer


@dataclass(frozen=True)
class Exchange:
    """A request of the probe, and what came of it. ``name`` tells what it was for.

    ``status`` is None where no answer arrived. ``seconds`` is how long it took, ``ahead`` how many seconds the clock of
    its ``Date`` was ahead (None without one), ``retry_after`` how many the API asked to wait.
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

    @property
    def is_success(self) -> bool:
        """Whether it brought what was asked for."""
        return self.status is not None and 200 <= self.status < 300 and self.is_json

    @property
    def is_error(self) -> bool:
        """Whether the API answered that it will not do it."""
        return self.status is not None and 400 <= self.status < 500

    @property
    def detail(self) -> str:
        """The API's explanation of an error."""
        return read_detail(Answer(self.status or 0, self.is_json, self.data))


@dataclass(frozen=True)
class Seen:
    """All exchanges; the names that a registry has asked for, by the id of the machine; and a machine that ended."""

    exchanges: tuple[Exchange, ...]
    wished: t.Mapping[str, str] = field(default_factory=dict)
    ended: str = ""

    def last(self, name: str) -> Exchange | None:
        """The last exchange of this name that was answered."""
        return next((each for each in reversed(self.exchanges) if each.name == name and each.status is not None), None)

    def data(self, name: str) -> t.Any:
        """What it brought, None if nothing."""
        found = self.last(name)
        return found.data if found is not None and found.is_success else None

    def objects(self, *names: str) -> list[Json]:
        """The answers of these names that are objects."""
        return [each for each in map(self.data, names) if isinstance(each, dict)]

    def offers(self, *names: str) -> list[Json]:
        """The offers of searches."""
        return [offer for name in names or ("search", "without_count") for offer in items_in(self.data(name), "offers")]

    @property
    def resources(self) -> list[Json]:
        """The machines of the account, as far as they were listed."""
        return items_in(self.data("resources"), *RESOURCE_ENVELOPES)

    @property
    def statuses(self) -> list[Json]:
        """The status answers of offers, bought and not."""
        return self.objects("offer_status", "bought_status", "under_way_status")

    @property
    def machines(self) -> list[Json]:
        """The machines that were read by themselves."""
        return self.objects("resource", "fresh_resource", "under_way")


@dataclass(frozen=True)
class Finding:
    """How an assumption stands. ``switches``: the simulator's settings that behave like that, as far as was seen."""

    id: str
    verdict: str
    evidence: str
    switches: Json = field(default_factory=dict)


def items_in(data: t.Any, *envelopes: str) -> list[Json]:
    """The objects of a list, bare or in an envelope; none where there is no list."""
    found = data if isinstance(data, list) else []
    if isinstance(data, dict):
        found = next((data[name] for name in envelopes if isinstance(data.get(name), list)), [])
    return [each for each in found if isinstance(each, dict)]
