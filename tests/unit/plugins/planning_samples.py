# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of a play, and the plans that they get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import (
    Case,
    SearchResult,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ceilings import (
    AccountPrices,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import Declaration
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    Plan,
    host_plans,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState, Standing

from provision_samples import entry, host, machine_id, offer, offer_id

M, X, Y = machine_id(1), offer_id(1), offer_id(2)
CHEAP, FAIR, DEAR = offer(1, 1.0), offer(2, 2.0), offer(3, 3.0)
ALL = [CHEAP, FAIR, DEAR]


def case(
    declaration: Declaration,
    kind: HostState = HostState.FREE,
    known: Entry | None = None,
    attempts: Sequence[Mapping[str, Any]] = (),
    **fields: Any,
) -> Case:
    return Case(declaration, known or entry(), Standing(kind, **fields), attempts)


def free(name: str = "gpu-1", **fields: Any) -> Case:
    return case(host(name, **fields))


def owner(name: str, price: float | None = 2.0, number: int = 7, **fields: Any) -> Case:
    known = entry(offer_id(number), [machine_id(number)], "made", provision_price_per_hour=price)
    return case(
        host(name, **fields),
        HostState.READY,
        known,
        offer_id=known.offer_id,
        resource_ids=known.resource_ids,
        price_per_hour=price,
    )


def open_purchase(name: str = "gpu-1", number: int = 1, **fields: Any) -> Case:
    known = entry(offer_id(number), purchase="sent")
    return case(
        host(name, **fields), HostState.OPEN, known, offer_id=known.offer_id, price_per_hour=known.price_per_hour
    )


def planned(
    *cases: Case, offers: Sequence[Mapping[str, Any]] = tuple(ALL), reason: str = "", **options: Any
) -> list[Plan]:
    """The plans for the cases if every search finds ``offers``, and each of these has a page of its own.

    ``reason``: why the search failed.
    """
    by_id = {each["offer_id"]: SearchResult([each]) for each in offers}

    def search(declaration: Declaration) -> SearchResult:
        return replace(SearchResult.of(declaration, [offers]), reason=reason)

    if isinstance(prices := options.get("account"), AccountPrices):
        options["account"] = lambda _buying: prices
    return host_plans(cases, search, options.pop("pages", by_id), **options)


def actions(plans: Sequence[Plan]) -> list[tuple[str, str]]:
    return [(each.action, each.offer_id) for each in plans]
