# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the market has: offers of a search or by their ids, all kinds of GPU, and the catalogues. Needs no inventory."""

from __future__ import annotations

import contextlib
import typing as t

from .. import _spec
from .._ansible import steps
from .._ansible.operation import Failure, Params, Result, check_limit, check_uuid, given, on_api, refusing
from .._api.client import ApiError, Json
from .._api.market import Market
from .._provision import browsing, search
from .._provision.messages import NOTHING_SENT

BLANK: Result = {"changed": False, "lines": [], "kinds": [], "offers": []}


def catalog_info(api: Market, params: Params, check_mode: bool) -> Result:
    """One of the API's catalogues, as the API answers it."""
    return {"changed": False, "catalog": api.catalog(params["kind"])}


def offer_info(api: Market, params: Params, check_mode: bool) -> Result:
    """Offers that match ``spec``, cheapest first and unknown prices last; or the one with ``offer_id``.

    They are on-demand offers unless ``spec`` asks for others.
    """
    limit = given("limit", params["limit"], check_limit)
    if params["offer_id"] is not None:
        offer = api.offer(given("offer_id", params["offer_id"], check_uuid))
        return {"changed": False, "offers": [offer], "total_count": 1}
    offers, total_count, warnings = find(api, params["spec"])
    return {"changed": False, "offers": offers[:limit], "total_count": total_count, "warnings": warnings}


def find(api: Market, wanted: t.Mapping[str, t.Any] | None) -> tuple[list[Json], int, list[str]]:
    """The offers of a search, how many there are by the API, and warnings. Raises Failure and ApiError."""
    spec = given("spec", wanted, search.check_spec)
    sent = search.as_sent(spec)
    try:
        offers, total_count, filters = api.search_offers(sent)
    except ApiError as error:
        if error.error_class != "invalid":
            raise
        raise Failure.of(error, " ".join(_unlisted(api, spec))) from None
    unlisted = [] if offers else _unlisted(api, spec)
    return offers, total_count, [*search.undocumented_keys(spec), *search.unapplied(sent, filters), *unlisted]


def _unlisted(api: Market, spec: Params) -> list[str]:
    """Which GPUs of a search the API does not list, and what may be meant; none if its catalogue cannot be read."""
    with contextlib.suppress(ApiError):
        return search.unlisted_gpus(spec, api.gpus)
    return []


def offers(api: Market, params: Params, check_mode: bool) -> Result:
    """All kinds of GPU with their prices, or the offers of one search, as rows and as lines. Raises Failure."""
    with refusing(ValueError, NOTHING_SENT):
        choice = browsing.wanted(params["answers"], params["spec"])
    warnings: list[str] = []
    if browsing.is_listed(choice):
        answer = _search(api, browsing.searches(choice), warnings)
        shown = browsing.listing(choice, answer)
    else:
        families = browsing.families_of(api.gpus)
        answer = _search(api, browsing.searches_of_all(choice, families), warnings)
        shown = browsing.market(choice, answer)
    return {**BLANK, **shown, "warnings": list(dict.fromkeys(warnings))}


def _search(api: Market, searches: t.Iterable[Params], warnings: list[str]) -> list[Json]:
    """The offers of all searches. Raises Failure and ApiError."""
    found: list[Json] = []
    for spec in searches:
        offers, _total, further = find(api, spec)
        found += offers
        warnings += further
    return found


_EITHER = [("spec", "offer_id")]
_RULES = {"mutually_exclusive": _EITHER, "required_one_of": _EITHER}
OFFER_INFO = on_api(Market, offer_info, _spec.OFFER_INFO, rules=_RULES)
CATALOG_INFO = on_api(Market, catalog_info, _spec.CATALOG_INFO)
OFFERS = on_api(Market, offers, steps.OFFERS, BLANK)
