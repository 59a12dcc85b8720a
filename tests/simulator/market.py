# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers, purchases and the life of a machine: plain Python that knows neither HTTP nor SSH."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from .settings import Settings

Clock = Callable[[], datetime]
Outcome = Literal["ready", "taken", "expired", "rejected", "fails", "never_ready"]
Phase = Literal["started", "in_progress", "ready", "failed"]

#: Canonical names by family (section 2.8); each is ``nvidia-<family>-...``.
GPUS = {
    "H100": ["nvidia-h100-sxm5-80gb", "nvidia-h100-pcie-80gb"],
    "A100": ["nvidia-a100-sxm4-80gb", "nvidia-a100-pcie-80gb", "nvidia-a100-pcie-40gb"],
    "L40S": ["nvidia-l40s-pcie-48gb"],
    "L4": ["nvidia-l4-pcie-24gb"],
    "RTX4090": ["nvidia-rtx4090-pcie-24gb"],
}


class NotFound(Exception):
    """No such offer or resource exists."""


class Conflict(Exception):
    """The offer is gone, or the resource is already deleted."""


class AlreadyBought(Conflict):
    """The same account has already bought the offer."""


class Gone(Exception):
    """The offer expired."""


class Address(NamedTuple):
    """The address at which a machine answers SSH."""

    ip: str
    port: int


def utc_now() -> datetime:
    """The clock outside tests."""
    return datetime.now(timezone.utc)


def volume(size_gb: int, price_per_gb_month: float, **fields: Any) -> dict[str, Any]:
    """An entry of ``storage_details`` (section 5) whose costs agree: USD a month, and an hour of a 730-hour month."""
    monthly = round(size_gb * price_per_gb_month, 4)
    details = {
        "name": "data",
        "size_gb": size_gb,
        "type": "block_disk",
        "storage_class": "standard",
        "vendor_class": "network-ssd",
        "vendor_region": "eu-north1",
        "price_per_gb_month": price_per_gb_month,
        "monthly_cost": monthly,
        "hourly_cost": round(monthly / 730, 4),
        "persistent": False,
    }
    return {**details, **fields}


@dataclass(eq=False)
class Offer:
    """An offer, and how it will behave. Prices are USD per GPU and hour; ``None`` is unknown (section 5).

    ``outcome``: what happens if it is bought. ``taken`` answers 409 and leaves the market; ``expired`` 410 although its
    ``expires_at`` lies ahead; ``rejected`` 200 with ``status: failed``; ``fails`` is bought and fails when it should
    become ready; ``never_ready`` stays in progress.
    """

    gpu_type: str = "nvidia-h100-sxm5-80gb"
    gpu_count: int = 1
    """All GPUs of the offer: for a cluster ``node_count`` times those of a node (inferred, section 5)."""
    gpu_price_per_hour: float | None = 2.5
    vendor: str = "nebius"
    region: str = "EU"
    vendor_region: str = "eu-north1"
    contract_type: str | None = "ondemand"
    type: str = "vm"
    boot_disk_in_gb: int | None = 200
    vcpu_count: int | None = 16
    memory_in_gb: int | None = 200
    node_count: int | None = None
    """Machines of a cluster offer; None for a single machine."""
    storage: list[dict[str, Any]] = field(default_factory=list)
    supports_cilium: bool = True
    typical_procure_seconds: int = 120
    """Compared with a search's ``max_procure_time_seconds``."""

    outcome: Outcome = "ready"
    error: str = "the vendor has no capacity left"
    """``error`` of a rejected purchase, ``failure_reason`` of a failed one."""
    failed_bills: bool = True
    """Whether a purchase that fails leaves resources (status ``failed``) that cost money until they are deleted."""
    running_instances: int | None = None
    """How many machines ever come up; with outcome ``ready`` the offer then is ready with some addresses missing."""
    details_price: float | None = None
    """USD per GPU and hour since the search, shown by GET /offers/{id}; None: the price of the search."""

    offer_id: str = field(init=False, default_factory=lambda: str(uuid4()))
    created_at: datetime = field(init=False, default_factory=utc_now)
    expires_at: datetime = field(init=False, default_factory=utc_now)
    status: str = field(init=False, default="available")
    purchase: Purchase | None = field(init=False, default=None)
    reissued: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.gpu_type = GPUS.get(self.gpu_type, [self.gpu_type])[0]

    @property
    def gpu_family(self) -> str:
        """``H100`` of ``nvidia-h100-sxm5-80gb``."""
        return self.gpu_type.split("-")[1].upper()

    @property
    def storage_price(self) -> float:
        """USD per hour of all volumes."""
        return round(sum(float(each["hourly_cost"]) for each in self.storage), 4)

    @property
    def persistent(self) -> list[dict[str, Any]]:
        """The volumes that outlive the machine, each a resource of its own (section 4.3)."""
        return [each for each in self.storage if each["persistent"]]

    @property
    def fresh_price(self) -> float | None:
        """The present price, in USD per GPU and hour."""
        return self.gpu_price_per_hour if self.details_price is None else self.details_price

    def total_price(self, gpu_price: float | None) -> float | None:
        """USD per hour of the whole offer: price x count + storage (section 5)."""
        return None if gpu_price is None else round(gpu_price * self.gpu_count + self.storage_price, 4)

    @property
    def machine_price(self) -> float | None:
        """The present price of one of its machines, in USD per hour, without storage that outlives it."""
        total = self.total_price(self.fresh_price)
        kept = sum(float(each["hourly_cost"]) for each in self.persistent)
        return None if total is None else round((total - kept) / (self.node_count or 1), 4)

    def status_at(self, now: datetime) -> str:
        """The offer's status (section 3.1)."""
        return "expired" if self.status == "available" and now >= self.expires_at else self.status


@dataclass(eq=False)
class Resource:
    """A machine that was bought, or persistent storage."""

    purchase: Purchase
    name: str
    ready_at: datetime | None = None
    """When it comes up; None: never."""
    volume: dict[str, Any] | None = None
    """For storage, its entry in the offer's ``storage``; None for a machine."""
    resource_id: str = field(default_factory=lambda: str(uuid4()))
    address: Address | None = None
    """Set once the machine is up."""
    deleting_at: datetime | None = None
    deleted_at: datetime | None = None
    broken: bool = False
    """It failed after it was ready. Its offer stays ready, since the documentation says nothing else."""
    synced_at: datetime | None = None
    synced: dict[str, Any] = field(default_factory=dict)
    """The state that the API saw at ``synced_at``, and shows until it looks again (section 2.6)."""

    def status_at(self, now: datetime) -> str:
        """The status. Only ``deleting`` and ``deleted`` are documented (section 3.4)."""
        if self.deleted_at is not None:
            return "deleted" if now >= self.deleted_at else "deleting"
        if self.broken or self.purchase.phase_at(now) == "failed":
            failed = "active" if self.volume else "failed"
            return failed if self.purchase.offer.failed_bills else "deleted"
        if self.volume:
            return "active"
        return "running" if self.address else "provisioning"

    @property
    def price(self) -> float | None:
        """The price at which it is billed, in USD per hour."""
        return float(self.volume["hourly_cost"]) if self.volume else self.purchase.offer.machine_price

    def billed_until(self, now: datetime) -> datetime:
        """When it was no longer billed, or now."""
        if self.deleted_at is None and self.status_at(now) == "deleted":
            return self.purchase.time + timedelta(seconds=self.purchase.provision_seconds)
        return min(now, self.deleted_at or now)


@dataclass(eq=False)
class Purchase:
    """A purchase that took place."""

    offer: Offer
    request: dict[str, Any]
    time: datetime
    provision_seconds: float
    resources: list[Resource] = field(default_factory=list)
    """Its machines."""
    volumes: list[Resource] = field(default_factory=list)
    """Its persistent storage."""

    @property
    def offer_id(self) -> str:
        """The id that was bought."""
        return self.offer.offer_id

    @property
    def resource_ids(self) -> list[str]:
        """The ids of all its machines, deleted or not."""
        return [each.resource_id for each in self.resources]

    def phase_at(self, now: datetime) -> Phase:
        """How far the provisioning is (section 3.2, in words of neither vocabulary)."""
        elapsed = (now - self.time).total_seconds()
        over = elapsed >= self.provision_seconds
        if all(each.deleting_at and not each.address for each in self.resources):
            return "failed"
        if over and self.offer.outcome == "fails":
            return "failed"
        if (
            over
            and self.offer.outcome == "ready"
            and all(each.address or each.deleting_at or each.ready_at is None for each in self.resources)
        ):
            return "ready"
        return "started" if elapsed < self.provision_seconds / 3 else "in_progress"


class Market:
    """All offers, purchases and resources."""

    def __init__(self, settings: Settings, clock: Clock = utc_now) -> None:
        self.settings = settings
        self.clock = clock
        self.offers: dict[str, Offer] = {}
        self.purchases: list[Purchase] = []
        self.resources: dict[str, Resource] = {}
        self.hidden: frozenset[str] = frozenset()  # ids that the API does not show, although their machines run

    def list_offer(self, offer: Offer) -> Offer:
        """Put an offer on the market for ``offer_seconds``."""
        offer.created_at = self.clock()
        offer.expires_at = offer.created_at + timedelta(seconds=self.settings.offer_seconds)
        self.offers[offer.offer_id] = offer
        return offer

    def available(self) -> list[Offer]:
        """The offers that a search may find, cheapest first, unknown prices last."""
        now = self.clock()
        for offer in list(self.offers.values()):
            if self.settings.reissue and not offer.reissued and self._is_over(offer, now):
                offer.reissued = True
                self.list_offer(replace(offer))
        found = [each for each in list(self.offers.values()) if each.status_at(now) == "available"]
        return sorted(found, key=lambda each: each.total_price(each.gpu_price_per_hour) or float("inf"))

    @staticmethod
    def _is_over(offer: Offer, now: datetime) -> bool:
        if offer.purchase is None:
            return now >= offer.expires_at
        return offer.outcome == "ready" and all(each.status_at(now) == "deleted" for each in offer.purchase.resources)

    def offer(self, offer_id: str) -> Offer:
        """The offer of that id, listed or not."""
        if offer_id not in self.offers:
            raise NotFound("Offer not found")
        return self.offers[offer_id]

    def resource(self, resource_id: str) -> Resource:
        """The resource of that id, deleted or not."""
        if resource_id not in self.resources:
            raise NotFound("Resource not found")
        return self.resources[resource_id]

    def procure(self, offer_id: str, request: dict[str, Any]) -> Purchase | None:
        """Buy an offer (section 2.4); None when the vendor refuses, which leaves the offer ``failed``."""
        offer, now = self.offer(offer_id), self.clock()
        if offer.purchase is not None:
            raise AlreadyBought("Offer has already been procured")
        if offer.outcome == "taken":
            offer.status = "procured"
            raise Conflict("Offer is no longer available")
        if offer.outcome == "expired" or now >= offer.expires_at:
            offer.status = "expired"
            raise Gone("Offer has expired")
        if offer.outcome == "rejected":
            offer.status = "failed"
            return None
        purchase = Purchase(offer, request, now, self.settings.provision_seconds)
        purchase.resources = self._machines(purchase)
        purchase.volumes = self._volumes(purchase)
        offer.status, offer.purchase = "procured", purchase
        self.resources.update((each.resource_id, each) for each in (*purchase.resources, *purchase.volumes))
        self.purchases.append(purchase)
        return purchase

    @staticmethod
    def _volumes(purchase: Purchase) -> list[Resource]:
        """The volumes. Each has the first machine's name, and its own name if it has one."""
        base = purchase.resources[0].name.removesuffix("-1" if purchase.offer.node_count else "")
        names = ((f"{base}-{each['name']}".removesuffix("-"), each) for each in purchase.offer.persistent)
        return [Resource(purchase, name, volume=each) for name, each in names]

    def _machines(self, purchase: Purchase) -> list[Resource]:
        offer, count = purchase.offer, purchase.offer.node_count or 1
        wish = purchase.request.get("resource_name")
        if offer.node_count:
            wish = purchase.request.get("cluster_name") or wish
        base = wish if wish and self.settings.keeps_name else f"{offer.vendor}-{uuid4().hex[:8]}"
        up = count if offer.running_instances is None else offer.running_instances
        if offer.outcome == "fails" or (offer.outcome == "never_ready" and offer.running_instances is None):
            up = 0
        names = [f"{base}-{number}" for number in range(1, count + 1)] if offer.node_count else [base]
        step = timedelta(seconds=purchase.provision_seconds / count)
        return [
            Resource(purchase, name, purchase.time + step * number if number <= up else None)
            for number, name in enumerate(names, start=1)
        ]

    def delete(self, resource_id: str) -> Resource:
        """End a machine or storage (section 2.7)."""
        resource, now = self.resource(resource_id), self.clock()
        status = resource.status_at(now)
        if status == "deleted" or (status == "deleting" and self.settings.delete_again_status == 409):
            raise Conflict("Resource is already deleted")
        if status != "deleting":
            self._end(resource, now + timedelta(seconds=self.settings.delete_seconds))
        resource.synced_at = None
        return resource

    def _end(self, resource: Resource, at: datetime) -> None:
        """End a resource at a time, and do what the settings say with storage that has no machine left."""
        resource.deleting_at, resource.deleted_at = self.clock(), at
        machines, left = resource.purchase.resources, [v for v in resource.purchase.volumes if v.deleted_at is None]
        if resource.volume or not all(each.deleted_at for each in machines):
            return
        if self.settings.storage_after_machine == "ends":
            for each in left:
                each.deleting_at, each.deleted_at, each.synced_at = resource.deleting_at, at, None
        elif self.settings.storage_after_machine == "hidden":
            self.hidden |= {each.resource_id for each in left}

    def meter(self) -> dict[str, float]:
        """The cost of each resource until now, in USD, by its id."""
        now = self.clock()
        return {
            name: (each.price or 0.0) * (each.billed_until(now) - each.purchase.time).total_seconds() / 3600
            for name, each in list(self.resources.items())
        }

    def bill(self) -> dict[str, float]:
        """The cost of each purchase until now, in USD, by its offer: its machines and storage."""
        meter = self.meter()
        return {
            purchase.offer_id: sum(meter[each.resource_id] for each in (*purchase.resources, *purchase.volumes))
            for purchase in list(self.purchases)
        }

    def listed(self, offer_id: str | None) -> list[Resource]:
        """The resources in GET /resources, deleted or not, of an offer or of all."""
        return [
            each
            for name, each in list(self.resources.items())
            if name not in self.hidden
            and not (each.volume and self.settings.storage_shown == "links")
            and (offer_id is None or (offer_id == each.purchase.offer_id and self.names_offer(each)))
        ]

    def names_offer(self, resource: Resource) -> bool:
        """Whether a resource names the offer with which it was bought."""
        return not resource.volume or self.settings.storage_names_offer

    def visible(self, resource_id: str) -> Resource:
        """A resource that the API shows. Raises NotFound for a hidden one."""
        if resource_id in self.hidden:
            raise NotFound("Resource not found")
        return self.resource(resource_id)

    def vanish(self, resource_id: str) -> Resource:
        """End a machine at once, as if its vendor had taken it away."""
        resource = self.resource(resource_id)
        self._end(resource, self.clock())
        resource.synced_at = None
        return resource
