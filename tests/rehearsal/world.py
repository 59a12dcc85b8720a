# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vendors of the second Supply API, their offers and resources. Times are UTC, prices USD per hour."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from uuid import UUID, uuid4

from rehearsal.forms import StorageDetails, StorageWanted, Wanted

LIFETIME = timedelta(minutes=30)
# Within this time, a read does not ask the vendor again, unless forced.
COOL_DOWN = timedelta(seconds=30)
HOURS_OF_A_MONTH = 730
# USD per GB and month.
STORAGE_PRICES = {"economy": 0.04, "standard": 0.08, "performance": 0.16, "premium": 0.3}


@dataclass
class Stock:
    """A vendor's stock: machines of one kind in one region."""

    vendor: str
    vendor_region: str
    region: str
    gpu_type: str
    price: float
    contract: str = "ondemand"
    kind: str = "vm"
    boot_disk: int | None = 100
    vcpus: int | None = 16
    memory: float | None = 180.0
    cilium: bool = False
    procure_seconds: int = 180
    classes: tuple[str, ...] = ("standard", "performance")
    # How many machines are left. A vendor that has none still offers them: it only finds out when asked for one.
    left: int = 8

    @property
    def family(self) -> str:
        """The family of its GPU, in capitals."""
        return self.gpu_type.split("-")[1].upper()


STOCKS = (
    Stock("nebius", "eu-north1", "EU", "nvidia-h100-sxm5-80gb", 1.45, contract="spot", cilium=True),
    Stock("hyperstack", "CANADA-1", "US", "nvidia-h100-pcie-80gb", 1.9, boot_disk=None, vcpus=None, left=0),
    Stock("nebius", "eu-north1", "EU", "nvidia-h100-sxm5-80gb", 2.95, cilium=True),
    Stock("scaleway", "fr-par-2", "EU", "nvidia-h100-pcie-80gb", 3.1, memory=240.5),
    Stock("scaleway", "fr-par-2", "EU", "nvidia-l40s-pcie-48gb", 1.4),
    Stock("hyperstack", "NORWAY-1", "EU", "nvidia-a100-sxm4-80gb", 1.6, boot_disk=None, vcpus=None),
    Stock("vast", "geo-us", "Other", "nvidia-rtx4090-pcie-24gb", 0.35, kind="container", boot_disk=32, classes=()),
)


@dataclass
class Resource:
    """A machine or a volume at its vendor, and its last state that the API saw."""

    offer: Offer
    kind: str
    name: str
    price: float
    created_at: datetime
    resource_id: UUID = field(default_factory=uuid4)
    delete_asked_at: datetime | None = None
    status: str = "provisioning"
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    synced_at: datetime | None = None
    machine: Resource | None = None
    address: str = ""
    port: int = 22

    @property
    def is_machine(self) -> bool:
        """Whether it is a machine."""
        return self.machine is None


@dataclass
class Purchase:
    """An offer that a client has ordered."""

    began_at: datetime
    name: str | None
    user_data: str | None
    resources: list[Resource] = field(default_factory=list)
    procured_at: datetime | None = None
    failure: str | None = None

    @property
    def machines(self) -> list[Resource]:
        """Its machines, without its volumes."""
        return [resource for resource in self.resources if resource.is_machine]


@dataclass
class Offer:
    """A price for a machine, for half an hour."""

    stock: Stock
    gpu_count: int
    storage: list[StorageDetails]
    created_at: datetime
    offer_id: UUID = field(default_factory=uuid4)
    purchase: Purchase | None = None

    @property
    def expires_at(self) -> datetime:
        """The time from which it cannot be ordered."""
        return self.created_at + LIFETIME

    @property
    def storage_price(self) -> float:
        """The price of its volumes, in USD per hour."""
        return sum(volume.hourly_cost for volume in self.storage)

    @property
    def price(self) -> float:
        """The price of the whole offer, in USD per hour."""
        return self.stock.price * self.gpu_count + self.storage_price

    def status(self, now: datetime) -> str:
        """Its state, in the words of the offers."""
        if self.purchase:
            return "failed" if self.purchase.failure else "procured"
        return "expired" if now >= self.expires_at else "available"

    @property
    def progress(self) -> str:
        """How far its purchase is, in the words of ``procurement_status``."""
        if not self.purchase:
            return "pending"
        if self.purchase.failure:
            return "failed"
        states = {machine.status for machine in self.purchase.machines}
        return "ready" if states and "provisioning" not in states else "provisioning"


class UnknownGpu(Exception):
    """A search names a GPU that no vendor has ever had."""


class World:
    """The vendors, one account, and time, which a test may move on."""

    def __init__(
        self,
        create_seconds: float = 0.5,
        boot_seconds: float = 1.5,
        end_seconds: float = 1.0,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        """A vendor takes these times, by this clock, to make a machine, to start it, and to end it.

        ``ssh``: an address and a port that answer for all machines. Otherwise none can be logged in to.
        """
        self.clock = clock
        self.ssh: tuple[str, int] | None = None
        self.create_time = timedelta(seconds=create_seconds)
        self.boot_time = timedelta(seconds=boot_seconds)
        self.end_time = timedelta(seconds=end_seconds)
        self.ahead = timedelta()
        self.stocks = [Stock(**vars(stock)) for stock in STOCKS]
        self.offers: dict[UUID, Offer] = {}
        self.resources: dict[UUID, Resource] = {}

    def now(self) -> datetime:
        """The API's time."""
        return self.clock() + self.ahead

    def search(self, wanted: Wanted) -> list[Offer]:
        """Make an offer of each stock that fits, cheapest first.

        :raises UnknownGpu: A GPU of the search does not exist.
        """
        names = gpu_names(wanted.compute.gpu_type, self.stocks)
        stocks = sorted((stock for stock in self.stocks if fits(stock, wanted, names)), key=lambda stock: stock.price)
        offers = [
            Offer(
                stock,
                wanted.compute.gpu_count,
                [volume(index, storage, stock) for index, storage in enumerate(wanted.storage)],
                self.now(),
            )
            for stock in stocks
        ]
        self.offers.update((offer.offer_id, offer) for offer in offers)
        return offers

    def order(self, offer: Offer, name: str | None, user_data: str | None) -> None:
        """Pass an order on to the vendor, which answers later."""
        offer.purchase = Purchase(self.now(), name, user_data)

    def let_time_pass(self) -> None:
        """Let the vendors answer the orders of some time ago."""
        for offer in list(self.offers.values()):
            purchase = offer.purchase
            waiting = purchase and not purchase.resources and not purchase.failure
            if purchase and waiting and self.now() >= purchase.began_at + self.create_time:
                self._answer(offer, purchase)

    def _answer(self, offer: Offer, purchase: Purchase) -> None:
        """Let the vendor make an ordered machine, or fail if it has none left."""
        if not offer.stock.left:
            purchase.failure = f"{offer.stock.vendor}: insufficient capacity in {offer.stock.vendor_region}"
            return
        offer.stock.left -= 1
        purchase.procured_at = made_at = purchase.began_at + self.create_time
        ending = sum(disk.hourly_cost for disk in offer.storage if not disk.persistent)
        machine = Resource(offer, offer.stock.kind, "", offer.stock.price * offer.gpu_count + ending, made_at)
        machine.name = purchase.name or f"{offer.stock.vendor}-{str(machine.resource_id)[:8]}"
        # A container shares its host's address, so it has a port of its own.
        port = 22022 if machine.kind == "container" else 22
        machine.address, machine.port = self.ssh or (f"203.0.113.{len(self.resources) % 250 + 1}", port)
        purchase.resources.append(machine)
        for disk in offer.storage:
            if disk.persistent:
                kept = Resource(offer, disk.type, f"{machine.name}-{disk.name}", disk.hourly_cost, made_at)
                kept.machine = machine
                purchase.resources.append(kept)
        self.resources.update((resource.resource_id, resource) for resource in purchase.resources)

    def look(self, resource: Resource) -> None:
        """Ask the vendor how a resource is."""
        now = self.now()
        resource.synced_at = now
        if resource.delete_asked_at:
            ended_at = resource.delete_asked_at + self.end_time
            resource.status = "deleted" if now >= ended_at else "deleting"
            resource.valid_to = ended_at if now >= ended_at else None
        elif now >= (runs_from := resource.created_at + self.boot_time):
            resource.status, resource.valid_from = "running", runs_from

    def delete(self, resource: Resource) -> None:
        """Tell the vendor to end a resource."""
        resource.delete_asked_at = resource.delete_asked_at or self.now()
        self.look(resource)

    def live(self) -> Iterator[Resource]:
        """Yield the resources that are billed or may be, by the vendors."""
        for resource in self.resources.values():
            self.look(resource)
            if resource.status != "deleted":
                yield resource


def gpu_names(wanted: str, stocks: list[Stock]) -> set[str]:
    """The canonical names that a search means: of a family, or of several joined by a pipe.

    :raises UnknownGpu: One of them does not exist.
    """
    names: set[str] = set()
    for word in re.split(r"\s*\|\s*", wanted.strip()):
        meant = {stock.gpu_type for stock in stocks if word.lower() in (stock.gpu_type, stock.family.lower())}
        if not meant:
            raise UnknownGpu(word)
        names |= meant
    return names


def fits(stock: Stock, wanted: Wanted, names: set[str]) -> bool:
    """Whether a stock fits a search."""
    compute = wanted.compute
    return (
        stock.gpu_type in names
        and stock.kind == compute.type
        and wanted.region in (None, stock.region)
        and wanted.vendor in (None, stock.vendor)
        and compute.contract_type in (None, stock.contract)
        and stock.procure_seconds <= (wanted.max_procure_time_seconds or stock.procure_seconds)
        and stock.price <= (compute.max_price_per_gpu_hour or stock.price)
        and (not compute.min_boot_disk_gb or (stock.boot_disk or 0) >= compute.min_boot_disk_gb)
        and (stock.cilium or not wanted.network.supports_cilium)
        and all(storage.storage_class in stock.classes for storage in wanted.storage)
    )


def volume(index: int, wanted: StorageWanted, stock: Stock) -> StorageDetails:
    """A volume of an offer, with its price."""
    price = STORAGE_PRICES[wanted.storage_class]
    return StorageDetails(
        name=f"{wanted.type.replace('_', '-')}-{index + 1}",
        size_gb=wanted.gigabytes,
        type=wanted.type,
        storage_class=wanted.storage_class,
        vendor_class=f"{stock.vendor}-ssd",
        vendor_region=stock.vendor_region,
        price_per_gb_month=price,
        monthly_cost=price * wanted.gigabytes,
        hourly_cost=price * wanted.gigabytes / HOURS_OF_A_MONTH,
        persistent=wanted.persistent,
    )
