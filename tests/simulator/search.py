# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The YAML of POST /get_offers (section 4): what is valid, and which offers match it."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator

from .market import GPUS, Offer

#: C8: the documentation's own sample search uses another name than its list of GPUs.
ALIASES = {"nvidia-l40s-48gb": "nvidia-l40s-pcie-48gb"}
UNITS = {"GB": 1, "TB": 1000}


class InvalidSearch(Exception):
    """A search that cannot be understood; ``detail`` is a text, or FastAPI's list of errors (section 8)."""

    def __init__(self, detail: str | list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.detail = detail


class Compute(BaseModel):
    """Section 4.2; ``gpu_count`` is of one machine.

    ``node_count`` is this simulator's own: how a cluster is asked for is unknown (section 10.4).
    """

    gpu_type: str
    gpu_count: Literal[1, 2, 4, 8] = 1
    node_count: int | None = None
    type: Literal["vm", "container"] = "vm"
    max_price_per_gpu_hour: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    contract_type: Literal["ondemand", "spot"] | None = None
    min_boot_disk_gb: int | None = Field(default=None, gt=0)

    @field_validator("gpu_type")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        names = [ALIASES.get(each.strip(), each.strip()) for each in value.split("|")]
        unknown = [each for each in names if each not in (info.context or {})["known"]]
        if unknown:
            raise ValueError(f"unknown gpu_type: {', '.join(unknown)}")
        return "|".join(names)

    def matches(self, offer: Offer, lists_clusters: bool) -> bool:
        """Whether an offer is what was asked for (section 4.5)."""
        nodes = offer.node_count if self.node_count is None and lists_clusters else self.node_count
        price, cap, disk = offer.gpu_price_per_hour, self.max_price_per_gpu_hour, offer.boot_disk_in_gb
        return (
            not {offer.gpu_family, offer.gpu_type}.isdisjoint(self.gpu_type.split("|"))
            and offer.gpu_count == self.gpu_count * (nodes or 1)
            and offer.node_count == nodes
            and offer.type == self.type
            and self.contract_type in (None, offer.contract_type)
            and (cap is None or (price is not None and price <= cap))
            and (self.min_boot_disk_gb is None or (disk is not None and disk >= self.min_boot_disk_gb))
        )


class Storage(BaseModel):
    """Section 4.3; ``size`` is a number of GB or TB."""

    type: Literal["block_disk", "filesystem"]
    storage_class: Literal["standard", "performance", "economy", "premium"] = Field(default="standard", alias="class")
    size: str = Field(pattern=r"^[1-9][0-9]*\s?(GB|TB)$")
    persistent: bool = False

    def matches(self, details: dict[str, Any]) -> bool:
        """Whether a volume of an offer is big enough and of that kind."""
        number, unit = re.findall(r"[0-9]+|[A-Z]+", self.size)
        wanted = (self.type, self.storage_class, self.persistent)
        return (
            wanted == (details["type"], details["storage_class"], details["persistent"])
            and details["size_gb"] >= int(number) * UNITS[unit]
        )


class Network(BaseModel):
    """Section 4.4."""

    supports_cilium: bool = False


class Search(BaseModel):
    """Section 4.1. Whether unknown keys are refused is unknown (section 10.10): they are ignored."""

    region: Literal["US", "EU", "APAC", "Other"] | None = None
    vendor: str | None = None
    max_procure_time_seconds: int | None = Field(default=None, gt=0)
    compute: Compute | None = None
    storage: list[Storage] = []
    network: Network = Network()

    @model_validator(mode="after")
    def _asks_for_something(self) -> Search:
        if self.compute is None and not self.storage:
            raise ValueError("compute is required unless the request is storage-only")
        return self

    def matches(self, offer: Offer, lists_clusters: bool) -> bool:
        """Whether the offer passes every condition; a storage-only search finds nothing here.

        What outlives a machine is sold only to those who ask for it.
        """
        return (
            self.compute is not None
            and self.compute.matches(offer, lists_clusters)
            and self.region in (None, offer.region)
            and self.vendor in (None, offer.vendor)
            and (offer.supports_cilium or not self.network.supports_cilium)
            and offer.typical_procure_seconds <= (self.max_procure_time_seconds or offer.typical_procure_seconds)
            and all(any(each.matches(details) for details in offer.storage) for each in self.storage)
            and all(any(each.matches(details) for each in self.storage) for details in offer.persistent)
        )


def parse(body: bytes, offers: list[Offer], gpu_count_required: bool) -> Search:
    """Read a search; GPUs are known from ``GPUS`` and from the offers."""
    try:
        data = yaml.safe_load(body)
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidSearch(f"Invalid YAML: {error}") from error
    if not isinstance(data, dict):
        raise InvalidSearch("The request body must be a YAML mapping")
    known = {*GPUS, *(name for names in GPUS.values() for name in names)}
    known.update(name for offer in offers for name in (offer.gpu_family, offer.gpu_type))
    try:
        search = Search.model_validate(data, context={"known": known})
    except ValidationError as error:
        found = json.loads(error.json(include_url=False, include_input=False))
        raise InvalidSearch([{**each, "loc": ["body", *each["loc"]]} for each in found]) from error
    if gpu_count_required and search.compute and "gpu_count" not in search.compute.model_fields_set:
        loc = ["body", "compute", "gpu_count"]
        raise InvalidSearch([{"type": "missing", "loc": loc, "msg": "Field required"}])
    return search
