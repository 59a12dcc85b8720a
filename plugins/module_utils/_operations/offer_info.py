# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search offers, or read one. This module util is private to the collection."""

from __future__ import annotations

import typing as t

from .. import _input, _spec, _wording
from .._market import Market
from .._on_api import on_api
from .._operation import Params, Result, given

# The API page "yaml spec": the sections, and what stands in compute.
_KEYS = ("region", "vendor", "max_procure_time_seconds", "compute", "storage", "network")
_COMPUTE_KEYS = ("gpu_type", "gpu_count", "type", "max_price_per_gpu_hour", "contract_type", "min_boot_disk_gb")


def offer_info(api: Market, params: Params, check_mode: bool) -> Result:
    """Offers that match ``spec``, cheapest first and unknown prices last; or the one with ``offer_id``."""
    limit = given("limit", params["limit"], _check_limit)
    if params["offer_id"] is not None:
        offer = api.offer(given("offer_id", params["offer_id"], _input.check_uuid))
        return {"changed": False, "offers": [offer], "total_count": 1}
    spec = given("spec", params["spec"], _check_spec)
    offers, total_count = api.search_offers(spec)
    return {"changed": False, "offers": offers[:limit], "total_count": total_count, "warnings": _undocumented(spec)}


def _check_limit(limit: int | None) -> int | None:
    if limit is not None and limit < 1:
        raise ValueError(f"must be at least 1, not {limit}")
    return limit


def _check_spec(spec: dict[str, t.Any]) -> dict[str, t.Any]:
    """The sections that make a request (API page "yaml spec"); their contents are the API's business.

    But not a key that is a slip of a documented one: an API that ignores it sells something else.
    """
    if not spec.get("compute") and not spec.get("storage"):
        raise ValueError("needs a section 'compute' (at least gpu_type and gpu_count) or 'storage'")
    for place, key, known in _keys(spec):
        near = _wording.nearest(key, known)
        if near is not None:
            raise ValueError(f"has '{place}{key}', which the API does not document: did you mean '{place}{near}'?")
    return spec


def _undocumented(spec: dict[str, t.Any]) -> list[str]:
    """A warning of keys that no page documents: whether the API refuses or ignores them is unknown."""
    unknown = ", ".join(f"{place}{key}" for place, key, known in _keys(spec) if key not in known)
    return [f"spec has {unknown}, which no page of the API documents: it may be ignored."] if unknown else []


def _keys(spec: dict[str, t.Any]) -> t.Iterator[tuple[str, str, tuple[str, ...]]]:
    """The keys of a search: where each stands, its name, and what is documented there."""
    compute = spec.get("compute")
    for place, section, known in (("", spec, _KEYS), ("compute.", compute, _COMPUTE_KEYS)):
        for key in section if isinstance(section, dict) else ():
            yield place, str(key), known


_EITHER = [("spec", "offer_id")]
_RULES = {"mutually_exclusive": _EITHER, "required_one_of": _EITHER}
OFFER_INFO = on_api(Market, offer_info, _spec.OFFER_INFO, rules=_RULES)
