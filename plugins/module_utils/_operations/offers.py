# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the market has now: the kinds of GPU, or the offers of one search. Needs no inventory."""

from __future__ import annotations

from .._ansible import steps
from .._ansible.operation import Failure, Params, Result, on_api, refusing
from .._api.client import Json
from .._api.market import Market
from .._provision import browsing
from .offer_info import find

BLANK: Result = {"changed": False, "lines": [], "kinds": [], "offers": []}


def offers(api: Market, params: Params, check_mode: bool) -> Result:
    """All kinds of GPU with their prices, or the offers of one search, as rows and as lines. Raises Failure."""
    with refusing(ValueError):
        choice = browsing.wanted(params["answers"], params["spec"])
    warnings: list[str] = []
    if browsing.is_listed(choice):
        answer = [offer for search in browsing.searches(choice) for offer in _search(api, search, warnings)]
        shown = browsing.listing(choice, answer)
    else:
        families = browsing.families_of(api.gpus)
        searches = browsing.searches_of_all(choice, families)
        answer = [offer for search in searches for offer in _search_apart(api, search, warnings)]
        shown = browsing.market(choice, families, answer)
    return {**BLANK, **shown, "warnings": list(dict.fromkeys(warnings))}


def _search(api: Market, search: Params, warnings: list[str]) -> list[Json]:
    """The offers of one search. Raises Failure if the API refuses it."""
    found, _total, further = find(api, search)
    warnings += further
    return found


def _search_apart(api: Market, search: Params, warnings: list[str]) -> list[Json]:
    """The same for all GPUs; an API that takes one name at a time is asked for each. What it refuses is a warning."""
    try:
        return _search(api, search, warnings)
    except Failure as refusal:
        parts = browsing.searches_by_gpu(search)
        warnings += [] if parts else [str(refusal)]
    return [offer for part in parts for offer in _search_apart(api, part, warnings)]


OFFERS = on_api(Market, offers, steps.OFFERS, BLANK)
