# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the market: all kinds of GPU with their prices, or the offers of one search."""

from __future__ import annotations

import typing as t

from .._ansible import steps
from .._ansible.operation import Params, Result, on_api, refusing
from .._api.client import Json
from .._api.market import Market
from .._provision import browsing
from .._provision.messages import NOTHING_SENT
from .reading import find

BLANK: Result = {"changed": False, "lines": [], "kinds": [], "offers": []}


def offers(api: Market, params: Params, check_mode: bool) -> Result:
    """Return all kinds of GPU with their prices, or the offers of one search, as rows and lines. Raises Failure."""
    with refusing(ValueError, NOTHING_SENT):
        choice = browsing.read_search(params["answers"], params["spec"])
    warnings: list[str] = []
    if browsing.lists_offers(choice):
        answer = _search(api, browsing.searches(choice), warnings)
        shown = browsing.offer_report(choice, answer)
    else:
        families = browsing.families_of(api.gpus)
        answer = _search(api, browsing.searches_of_all(choice, families), warnings)
        shown = browsing.market_report(choice, answer)
    return {**BLANK, **shown, "warnings": list(dict.fromkeys(warnings))}


def _search(api: Market, searches: t.Iterable[Params], warnings: list[str]) -> list[Json]:
    """The offers of all searches. Raises Failure and ApiError."""
    found: list[Json] = []
    for spec in searches:
        offers, _total, further = find(api, spec)
        found += offers
        warnings += further
    return found


OFFERS = on_api(Market, offers, steps.OFFERS, BLANK)
