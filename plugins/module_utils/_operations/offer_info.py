# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search offers, or read one."""

from __future__ import annotations

import contextlib
import typing as t

from .. import _spec
from .._ansible.operation import Failure, Params, Result, check_limit, check_uuid, given, on_api
from .._api.client import ApiError, Json
from .._api.market import Market
from .._provision import search


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
    unlisted = _unlisted(api, spec) if search.may_mistype_gpu(spec, offers) else []
    return offers, total_count, [*search.undocumented_keys(spec), *search.unapplied(sent, filters), *unlisted]


def _unlisted(api: Market, spec: Params) -> list[str]:
    """Which GPUs of the search the API does not list, and what may be meant; none if its catalogue cannot be read."""
    with contextlib.suppress(ApiError):
        return search.unlisted_gpus(spec, api.gpus)
    return []


_EITHER = [("spec", "offer_id")]
_RULES = {"mutually_exclusive": _EITHER, "required_one_of": _EITHER}
OFFER_INFO = on_api(Market, offer_info, _spec.OFFER_INFO, rules=_RULES)
