# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The market of the Supply API: offers, catalogues, and the purchase. Knows no Ansible."""

from __future__ import annotations

import functools
import json
import re
import typing as t

from .. import _states
from .._text import foreign_currency, mapping_of, mappings_in, number_of, read_price
from .client import (
    ApiError,
    Json,
    SupplyApi,
    about,
    as_asked,
    ids_and_oddities,
    list_in,
    object_of,
    path_to,
    text_or_none,
    with_checked_ids,
    without_user_data,
)

_OFFER_FIELDS = (
    "offer_id",
    "gpu_type",
    "gpu_family",
    "gpu_count",
    "vendor",
    "region",
    "vendor_region",
    "contract_type",
    "type",
    "status",
    "gpu_price_per_hour",
    "storage_price_per_hour",
    "total_price_per_hour",
    "vcpu_count",
    "memory_in_gb",
    "boot_disk_in_gb",
    "node_count",
    "created_at",
    "expires_at",
    "procured_at",
)


class Market(SupplyApi):
    """The endpoints of what can be bought, beside those of what was."""

    def search_offers(self, spec: t.Mapping[str, t.Any]) -> tuple[list[Json], int, t.Any]:
        """POST /get_offers: offers that match the YAML spec, cheapest first, their count, and the filters applied.

        Unknown prices come last, and after them the offers without an id, which nobody can buy. The form of the filters
        is on no page, so they are handed on as they came; None if the answer has none.
        """
        data = self._read("POST", "/get_offers", body=search_body(spec), content_type="application/yaml")
        offers = [read_offer(item) for item in list_in(data, ("offers",), "POST /get_offers")]
        offers.sort(key=_place)
        count, filters = map(mapping_of(data).get, ("total_count", "filters_applied"))
        count = count if isinstance(count, int) and not isinstance(count, bool) else len(offers)
        return offers, count, without_user_data(filters)

    def offer(self, offer_id: str) -> Json:
        """GET /offers/{offer_id}: details and a fresh price of one offer."""
        return as_asked(read_offer(self._read("GET", path_to("offers", offer_id))), "offer_id", offer_id)

    def catalog(self, kind: str) -> t.Any:
        """GET /available_{kind}: as the API answers, since only the shape of ``gpus`` is documented."""
        return without_user_data(self._read("GET", path_to(f"available_{kind}")))

    @functools.cached_property
    def gpus(self) -> t.Any:
        """The catalogue of GPUs, read once."""
        return self.catalog("gpus")

    def procure(self, order: t.Mapping[str, t.Any], *, timeout: float) -> Json:
        """POST /procure_offer, once. ``timeout`` in seconds: the API may answer only after minutes."""
        self._http.hide(*_telling_words(order.get("cloud_init") or ""))
        # Also after 429 or 503: only the offer's status tells whether it may be sent again (section 12).
        how = {"content_type": "application/json", "timeout": timeout, "repeat_if_busy": False}
        answer = self._change("POST", "/procure_offer", body=json.dumps(order).encode(), **how)
        return self._without_secrets(read_procurement(about(answer, "offer_id", order["offer_id"])))


def search_body(spec: t.Mapping[str, t.Any]) -> bytes:
    """The body of POST /get_offers. Raises ApiError where there is no PyYAML."""
    try:
        import yaml  # here, since no other request needs it and a module is started for each task
    except ImportError:
        message = "The search is sent as YAML, and this Python has no PyYAML."
        raise ApiError(message, "invalid", sent=False) from None
    # Built-in types only, since the safe YAML dumper takes no subclasses (Ansible's texts are some).
    return yaml.safe_dump(json.loads(json.dumps(spec)), allow_unicode=True, sort_keys=False).encode()


def _place(offer: Json) -> tuple[bool, bool, float]:
    """The order of offers in a search."""
    price = offer["price_per_hour"]
    return offer["offer_id"] is None, price is None, price or 0.0


def _telling_words(user_data: str) -> list[str]:
    """What would give user data away if a server echoed it: its lines, and words long enough to be secrets."""
    lines = [line.strip() for line in user_data.splitlines() if not line.startswith(("#cloud-config", "#!"))]
    words = re.findall(r"[A-Za-z0-9_+/.-]{12,}", "\n".join(lines))
    telling = {line for line in [*lines, *(" ".join(line.split()) for line in lines)] if len(line) >= 8}.union(words)
    return sorted(telling, key=len, reverse=True)


def price_per_hour(offer: t.Mapping[str, t.Any]) -> float | None:
    """USD per hour for the whole offer; None if unknown.

    The higher of ``total_price_per_hour`` and the price of all GPUs; to the latter the storage's is added where there
    is no total. A price below zero is no price, nor is one in another currency. No GPU is free: a total or a sum of
    zero beside a price per GPU is unknown, and where the count of the GPUs is, the total cannot be less than the price
    of one. Nor does a price count as nothing that is given and cannot be read.
    """
    given = [offer.get("total_price_per_hour"), offer.get("gpu_price_per_hour")]
    if foreign_currency(offer) or any(map(_is_unreadable, given)):
        return None
    total, per_gpu = map(read_price, given)
    if per_gpu is None or total == 0:
        return total if per_gpu is None else None
    count = _gpus_of(offer)
    if total is not None:
        return read_price(max(total, per_gpu * max(count, 1)))
    costs = _costs_of_storage(offer)
    if count < 1 or any(map(_is_unreadable, costs)):
        return None
    return read_price(per_gpu * count + sum(filter(None, map(read_price, costs)))) or None


def _costs_of_storage(offer: t.Mapping[str, t.Any]) -> list[t.Any]:
    """What an offer says of the prices of its storage: of all together, or else of each."""
    together, details = offer.get("storage_price_per_hour"), offer.get("storage_details")
    if together is not None or not isinstance(details, list):
        return [together]
    return [item.get("hourly_cost") for item in mappings_in(details)]


def _is_unreadable(price: t.Any) -> bool:
    """Whether a price is given, and is none. One below zero counts as not given."""
    is_given = price not in (None, "") and not isinstance(price, bool) and (number_of(price) or 0) >= 0
    return is_given and read_price(price) is None


def _gpus_of(offer: t.Mapping[str, t.Any]) -> float:
    """How many GPUs the whole offer has; 0 if unknown.

    No page says whether those of a cluster are counted for each machine or for all, so the higher count counts.
    """
    own, nodes, each = (number_of(offer.get(name)) or 0 for name in ("gpu_count", "node_count", "gpus_per_node"))
    return max(own, nodes * each if nodes > 1 else 0)


def read_offer(data: t.Any) -> Json:
    """An offer of the search or of its own page, with ``price_per_hour`` (USD, whole offer; None if unknown)."""
    offer = with_checked_ids(without_user_data(object_of(data, "offer")), "offer_id")
    return {**dict.fromkeys(_OFFER_FIELDS), **offer, "price_per_hour": price_per_hour(offer)}


def read_procurement(data: t.Any) -> Json:
    """The answer to a purchase. Raises ApiError (protocol) if it does not say what became of it.

    ``odd_ids`` are texts for people: what it named in the place of ids and nobody can use, though it may be billed.
    """
    data = object_of(data, "procurement")
    status = _states.word(data.get("status"))
    if status is None:
        raise ApiError("The API's answer to the purchase names no status.", "protocol", status_code=200)
    resource_ids, odd_ids = ids_and_oddities(data)
    return {
        "status": status,
        "procured_at": text_or_none(data.get("procured_at")),
        "resource_ids": resource_ids,
        "odd_ids": odd_ids,
        "error": text_or_none(data.get("error")),
    }
