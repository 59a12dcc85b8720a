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
    checked_answer,
    ids_and_odd_ids,
    path_to,
    require_list,
    require_object,
    text_or_none,
    with_checked_ids,
    with_requested_id,
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
    """All endpoints: those of offers, and those of purchases and resources."""

    def search_offers(self, spec: t.Mapping[str, t.Any]) -> tuple[list[Json], int, t.Any]:
        """POST /get_offers: the offers that match the spec, cheapest first, their count, and the applied filters.

        Unknown prices come last, and after them offers without an id, which cannot be bought. No page documents the
        form of the filters, so they are passed on; None if the answer has none.
        """
        data = self._read("POST", "/get_offers", body=search_body(spec), content_type="application/yaml")
        offers = [read_offer(item) for item in require_list(data, ("offers",), "POST /get_offers")]
        offers.sort(key=_rank)
        count, filters = map(mapping_of(data).get, ("total_count", "filters_applied"))
        count = count if isinstance(count, int) and not isinstance(count, bool) else len(offers)
        return offers, count, without_user_data(filters)

    def offer(self, offer_id: str) -> Json:
        """GET /offers/{offer_id}: the details and the current price of an offer."""
        return with_requested_id(read_offer(self._read("GET", path_to("offers", offer_id))), "offer_id", offer_id)

    def catalog(self, kind: str) -> t.Any:
        """GET /available_{kind}: the API's answer as it is, since only the form of ``gpus`` is documented."""
        return without_user_data(self._read("GET", path_to(f"available_{kind}")))

    @functools.cached_property
    def gpus(self) -> t.Any:
        """The catalogue of GPUs, read once."""
        return self.catalog("gpus")

    def procure(self, order: t.Mapping[str, t.Any], *, timeout: float) -> Json:
        """POST /procure_offer, sent once. ``timeout``: in seconds; the API may take minutes to answer."""
        self._http.hide(*_revealing_words(order.get("cloud_init") or ""))
        # Not repeated even after 429 or 503: only the offer's status tells whether it may be sent again.
        how = {"content_type": "application/json", "timeout": timeout, "repeat_if_busy": False}
        answer = self._change("POST", "/procure_offer", body=json.dumps(order).encode(), **how)
        return self._without_secrets(read_procurement(checked_answer(answer, "offer_id", order["offer_id"])))


def search_body(spec: t.Mapping[str, t.Any]) -> bytes:
    """The body of POST /get_offers. Raises ApiError without PyYAML."""
    try:
        import yaml  # here, since no other request needs it, and each task starts a module anew
    except ImportError:
        message = "The search is sent as YAML, and this Python has no PyYAML."
        raise ApiError(message, "invalid", sent=False) from None
    # Converted to built-in types: the safe YAML dumper takes no subclasses such as Ansible's texts.
    return yaml.safe_dump(json.loads(json.dumps(spec)), allow_unicode=True, sort_keys=False).encode()


def _rank(offer: Json) -> tuple[bool, bool, float]:
    """The sort key of an offer in a search."""
    price = offer["price_per_hour"]
    return offer["offer_id"] is None, price is None, price or 0.0


def _revealing_words(user_data: str) -> list[str]:
    """The texts to hide if a server echoes user data: its lines, and words long enough to be secrets."""
    lines = [line.strip() for line in user_data.splitlines() if not line.startswith(("#cloud-config", "#!"))]
    words = re.findall(r"[A-Za-z0-9_+/.-]{12,}", "\n".join(lines))
    texts = {line for line in [*lines, *(" ".join(line.split()) for line in lines)] if len(line) >= 8}.union(words)
    return sorted(texts, key=len, reverse=True)


def price_per_hour(offer: t.Mapping[str, t.Any]) -> float | None:
    """USD per hour for the whole offer; None if unknown.

    The higher of ``total_price_per_hour`` and the price of all GPUs; without a total, the sum for GPUs and storage. A
    price below zero counts as missing. The result is unknown if a price is in another currency or unreadable, or if the
    total or sum is zero. If the number of GPUs is unknown, a total counts at least as much as one GPU.
    """
    given = [offer.get("total_price_per_hour"), offer.get("gpu_price_per_hour")]
    if foreign_currency(offer) or any(map(_is_unreadable, given)):
        return None
    total, per_gpu = map(read_price, given)
    if per_gpu is None or total == 0:
        return total or None
    count = _gpus_of(offer)
    if total is not None:
        return read_price(max(total, per_gpu * max(count, 1)))
    costs = _costs_of_storage(offer)
    if count < 1 or any(map(_is_unreadable, costs)):
        return None
    return read_price(per_gpu * count + sum(filter(None, map(read_price, costs)))) or None


def _costs_of_storage(offer: t.Mapping[str, t.Any]) -> list[t.Any]:
    """The prices of an offer's storage: of all together, or else of each."""
    together = offer.get("storage_price_per_hour")
    if together is not None:
        return [together]
    return [item.get("hourly_cost") for item in mappings_in(offer.get("storage_details"))]


def _is_unreadable(price: t.Any) -> bool:
    """Whether a price is given but cannot be read. A price below zero counts as not given."""
    is_given = price not in (None, "") and not isinstance(price, bool) and (number_of(price) or 0) >= 0
    return is_given and read_price(price) is None


def _gpus_of(offer: t.Mapping[str, t.Any]) -> float:
    """The number of GPUs of the whole offer; 0 if unknown.

    No page says whether a cluster's count is per machine or for all, so the higher number is used.
    """
    count, nodes, per_node = (number_of(offer.get(name)) or 0 for name in ("gpu_count", "node_count", "gpus_per_node"))
    return max(count, nodes * per_node if nodes > 1 else 0)


def read_offer(data: t.Any) -> Json:
    """An offer of a search or of its own page, with ``price_per_hour`` (USD, whole offer; None if unknown)."""
    offer = with_checked_ids(without_user_data(require_object(data, "offer")), "offer_id")
    return {**dict.fromkeys(_OFFER_FIELDS), **offer, "price_per_hour": price_per_hour(offer)}


def read_procurement(data: t.Any) -> Json:
    """The answer to a purchase. Raises ApiError (protocol) if it has no status.

    ``odd_ids``: values in the place of ids that are not ids, as texts for people; they may be billed.
    """
    data = require_object(data, "procurement")
    status = _states.word(data.get("status"))
    if status is None:
        raise ApiError("The API's answer to the purchase names no status.", "protocol", status_code=200)
    resource_ids, odd_ids = ids_and_odd_ids(data)
    return {
        "status": status,
        "procured_at": text_or_none(data.get("procured_at")),
        "resource_ids": resource_ids,
        "odd_ids": odd_ids,
        "error": text_or_none(data.get("error")),
    }
