# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A read-only client of an account in memory, whose list of machines may lag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError, read_status

from provision_samples import SPEC, offer
from samples import status

Json = dict[str, Any]


class AccountApi:
    """The client's read methods, on an account in memory.

    ``listed``: the machines in the list. ``now``: machines whose own page differs from the list. ``gone``: ids that
    answer 404. ``bought``: statuses by offer id; all other offers are free. ``asked``: the requests so far.
    """

    account = "account"
    ahead = 0.0

    def __init__(
        self,
        *listed: Json,
        now: Iterable[Json] = (),
        gone: Iterable[str] = (),
        bought: dict[str, Json] | None = None,
        offers: int = 3,
    ) -> None:
        self.listed, self.gone, self.statuses = list(listed), set(gone), bought or {}
        self.now = {each["resource_id"]: each for each in [*listed, *now]}
        self.offers = [offer(100 + number, region="EU", contract_type="ondemand") for number in range(offers)]
        self.asked: list[str] = []

    @property
    def lists(self) -> int:
        """The number of times the whole account was listed."""
        return self.asked.count("list")

    def resources(self, offer_id: str | None = None, *, retries: int | None = None) -> list[Json]:
        self.asked.append("list" if offer_id is None else f"list {offer_id}")
        return [each for each in self.listed if offer_id in (None, each["offer_id"])]

    def resource(self, resource_id: str, *, force_refresh: bool = False, retries: int | None = None) -> Json:
        self.asked.append(f"{'fresh ' if force_refresh else ''}{resource_id}")
        if resource_id in self.gone or resource_id not in self.now:
            raise ApiError(f"GET /resources/{resource_id} answered 404.", "not_found", status_code=404)
        return {"kind": "machine", **self.now[resource_id]}

    def offer_status(self, offer_id: str, **_how: Any) -> Json:
        self.asked.append(f"status {offer_id}")
        return read_status({**status(), **self.statuses.get(offer_id, {}), "offer_id": offer_id}, offer_id)

    def offer(self, offer_id: str) -> Json:
        self.asked.append(f"offer {offer_id}")
        known = {each["offer_id"]: each for each in self.offers}
        if offer_id not in known:
            raise ApiError(f"GET /offers/{offer_id} answered 404.", "not_found", status_code=404)
        return {**known[offer_id], "status": "available", "vendor_region": None}

    def search_offers(self, spec: Json) -> tuple[list[Json], int, Any]:
        assert spec == SPEC
        self.asked.append("search")
        return self.offers, len(self.offers), None
