# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests and answers of the API, as its documentation has them: a field without a value is null."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, field_validator

Region = Literal["US", "EU", "APAC", "Other"]
Contract = Literal["ondemand", "spot"]


class ComputeWanted(BaseModel):
    """The part ``compute`` of a search. Prices in USD per GPU and hour."""

    gpu_type: str
    gpu_count: Literal[1, 2, 4, 8] = 1
    type: Literal["vm", "container"] = "vm"
    max_price_per_gpu_hour: float | None = None
    contract_type: Contract | None = None
    min_boot_disk_gb: int | None = None


class StorageWanted(BaseModel):
    """A volume of a search."""

    type: Literal["block_disk", "filesystem"]
    storage_class: Literal["standard", "performance", "economy", "premium"] = Field("standard", alias="class")
    size: str = Field(pattern=r"^\d+(GB|TB)$")
    persistent: bool = False

    @property
    def gigabytes(self) -> int:
        """Its size in GB."""
        return int(self.size[:-2]) * (1000 if self.size.endswith("TB") else 1)


class NetworkWanted(BaseModel):
    """The part ``network`` of a search."""

    supports_cilium: bool = False


class Wanted(BaseModel):
    """A search. Keys that it does not have are ignored."""

    region: Region | None = None
    vendor: str | None = None
    max_procure_time_seconds: int | None = Field(None, gt=0)
    compute: ComputeWanted
    storage: list[StorageWanted] = []
    network: NetworkWanted = NetworkWanted()


class StorageDetails(BaseModel):
    """A volume of an offer. Prices in USD."""

    name: str
    size_gb: float
    type: str
    storage_class: str
    vendor_class: str
    vendor_region: str
    price_per_gb_month: float
    monthly_cost: float
    hourly_cost: float
    persistent: bool = False


class OfferItem(BaseModel):
    """An offer in the answer to a search. Prices in USD per hour."""

    offer_id: UUID
    gpu_type: str
    gpu_family: str
    gpu_count: int
    vendor: str
    region: str
    gpu_price_per_hour: float
    boot_disk_in_gb: int | None
    created_at: datetime
    vendor_region: str | None
    contract_type: str | None
    type: str = "vm"
    vcpu_count: int | None
    memory_in_gb: float | None
    storage_details: list[StorageDetails]
    storage_price_per_hour: float
    total_price_per_hour: float
    expires_at: datetime
    deployment_type: str | None = "single_node"
    node_count: int | None = None
    gpus_per_node: int | None = None
    infiniband_bandwidth_gbps: float | None = None
    cluster_storage_gb: float | None = None


class Offers(BaseModel):
    """The answer to a search."""

    offers: list[OfferItem]
    total_count: int
    filters_applied: dict[str, Any]


class OfferDetails(BaseModel):
    """An offer by its id. Prices in USD per hour."""

    offer_id: UUID
    gpu_type: str
    gpu_family: str
    gpu_count: int
    vendor: str
    region: str
    status: str
    created_at: datetime
    contract_type: str | None
    gpu_price_per_hour: float | None
    boot_disk_in_gb: int | None
    vcpu_count: int | None
    memory_in_gb: float | None
    total_price_per_hour: float | None
    expires_at: datetime | None
    procured_at: datetime | None


class Instance(BaseModel):
    """A machine in the status of its offer."""

    resource_id: UUID
    external_ip: str | None
    ssh_command: str | None
    status: str


class OfferStatus(BaseModel):
    """How far an offer is."""

    offer_id: UUID
    status: str
    created_at: datetime
    procurement_status: str
    instances: list[Instance]
    resource_ids: list[UUID]
    progress: str | None
    failure_reason: str | None
    procured_at: datetime | None


class Order(BaseModel):
    """A purchase."""

    offer_id: UUID
    ssh_public_key: str = Field(min_length=1)
    cloud_init: str | None = Field(None, max_length=64 * 1024)
    cluster_name: str | None = None
    resource_name: str | None = None

    @field_validator("cloud_init")
    @classmethod
    def has_a_header(cls, text: str | None) -> str | None:
        """Refuse user data that cloud-init would not recognize."""
        if text is not None and not text.startswith(("#cloud-config", "#!/")):
            raise ValueError("cloud_init must start with '#cloud-config' or '#!/'")
        return text


class Ordered(BaseModel):
    """The answer to a purchase."""

    offer_id: UUID
    status: str
    procured_at: datetime | None = None
    resource_ids: list[UUID] | None = None
    error: str | None = None


class Access(BaseModel):
    """How a machine is reached."""

    external_ip: str | None
    internal_ip: str | None
    ssh_command: str | None
    ssh_port: int | None


class Link(BaseModel):
    """A resource that belongs to another."""

    resource_id: UUID
    resource_type: str
    status: str
    link_type: str
    linked_since: datetime
    name: str | None
    linked_until: datetime | None


class HistoryItem(BaseModel):
    """An offer that has to do with a resource."""

    offer_id: UUID
    offer_type: str
    role: str
    created_at: datetime


class ResourceSummary(BaseModel):
    """A machine or a volume. Prices in USD per hour."""

    resource_id: UUID
    resource_type: str
    vendor: str
    vendor_region: str
    status: str
    created_at: datetime
    name: str | None
    status_message: str | None
    access: Access | None
    spec: dict[str, Any]
    linked_resources: list[Link]
    offer_history: list[HistoryItem]
    pricing_total_hourly: float | None
    valid_from: datetime | None
    valid_to: datetime | None
    last_synced_at: datetime | None


class Resources(BaseModel):
    """The list of resources."""

    resources: list[ResourceSummary]
    total_count: int


class Deleted(BaseModel):
    """The answer to a deletion."""

    resource_id: UUID
    status: str
    message: str
