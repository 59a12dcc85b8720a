# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bodies of the API's answers; the settings decide which fields they have."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from .market import Market, Offer, Purchase, Resource

Json = dict[str, Any]
#: Words for not bought, started, in progress (section 3.2); ``ready`` and ``failed`` are common to both.
WORDS = {
    "A": ("available", "provisioning_started", "provisioning_in_progress"),
    "B": ("pending", "provisioning", "provisioning"),
}


class Answers:
    """Each method is one documented body."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.settings = market.settings

    def time(self, moment: datetime | None) -> str | None:
        """A date-time in the form that the settings choose (section 7)."""
        if moment is None:
            return None
        text = moment.replace(tzinfo=None).isoformat()
        return text + {"Z": "Z", "offset": "+00:00", "naive": ""}[self.settings.timestamps]

    def _offer(self, offer: Offer, price: float | None) -> Json:
        fields = (
            "offer_id",
            "gpu_type",
            "gpu_family",
            "gpu_count",
            "vendor",
            "region",
            "contract_type",
            "boot_disk_in_gb",
            "vcpu_count",
            "memory_in_gb",
        )
        body = {name: getattr(offer, name) for name in fields}
        body.update(
            gpu_price_per_hour=price, created_at=self.time(offer.created_at), expires_at=self.time(offer.expires_at)
        )
        if self.settings.total_price:
            body["total_price_per_hour"] = offer.total_price(price)
        return body

    def offers(self, found: list[Offer], filters: Json) -> Json:
        """POST /get_offers (section 2.1)."""
        return {"offers": [self._listed(each) for each in found], "total_count": len(found), "filters_applied": filters}

    def _listed(self, offer: Offer) -> Json:
        nodes = offer.node_count
        return {
            **self._offer(offer, offer.gpu_price_per_hour),
            "vendor_region": offer.vendor_region,
            "type": offer.type,
            "storage_details": offer.storage,
            "storage_price_per_hour": offer.storage_price,
            "deployment_type": "cluster" if nodes else "single",
            "node_count": nodes,
            "gpus_per_node": offer.gpu_count // nodes if nodes else None,
            "infiniband_bandwidth_gbps": 3200 if nodes else None,
            "cluster_storage_gb": 1000 if nodes else None,
        }

    def details(self, offer: Offer) -> Json:
        """GET /offers/{offer_id} (section 2.2)."""
        bought = offer.purchase.time if offer.purchase else None
        return {
            **self._offer(offer, offer.fresh_price),
            "status": self.offer_status(offer),
            "procured_at": self.time(bought),
        }

    def offer_status(self, offer: Offer) -> str:
        """Section 3.1. The status while provisioning is unknown; here it is ``procured``."""
        now = self.market.clock()
        return "failed" if offer.purchase and offer.purchase.phase_at(now) == "failed" else offer.status_at(now)

    def procured(self, offer: Offer, purchase: Purchase | None) -> Json:
        """POST /procure_offer (section 2.4)."""
        if purchase is None:
            return {
                "offer_id": offer.offer_id,
                "status": "failed",
                "procured_at": None,
                "resource_ids": None,
                "error": offer.error,
            }
        procured = self.settings.procure_answer == "procured"
        return {
            "offer_id": offer.offer_id,
            "status": self.settings.procure_answer,
            "procured_at": self.time(purchase.time) if procured else None,
            "resource_ids": self._shown_ids(purchase) if self.settings.procure_returns_ids else None,
            "error": None,
        }

    def _shown_ids(self, purchase: Purchase) -> list[str]:
        """The ids of a purchase's machines and, if the settings show it, storage."""
        return [each.resource_id for each in self._shown(purchase)]

    def _shown(self, purchase: Purchase) -> list[Resource]:
        volumes = purchase.volumes if self.settings.storage_shown == "ids" else []
        return [*purchase.resources, *(each for each in volumes if each.resource_id not in self.market.hidden)]

    def status(self, offer: Offer) -> Json:
        """GET /offers/{offer_id}/status (section 2.3)."""
        purchase, now = offer.purchase, self.market.clock()
        resources = purchase.resources if purchase else []
        failed = self.offer_status(offer) == "failed"
        running = sum(each.status_at(now) == "running" for each in resources)
        body: Json = {
            "offer_id": offer.offer_id,
            "status": self.offer_status(offer),
            "created_at": self.time(offer.created_at),
            "procurement_status": "failed" if failed else self._procurement_word(purchase),
            "instances": [self._instance(each) for each in resources],
            self.settings.progress_field: f"{running}/{len(resources)} instances running" if resources else None,
            "failure_reason": offer.error if failed else None,
            "procured_at": self.time(purchase.time) if purchase else None,
        }
        named = self._shown(purchase) if purchase else []
        exist = [each for each in named if each.deleted_at or each.status_at(now) != "deleted"]
        if self.settings.status_resources == "resource_objects":
            body["resources"] = [self.resource(each) for each in exist]
        elif self.settings.status_resources:
            body[self.settings.status_resources] = [each.resource_id for each in exist]
        return body

    def _procurement_word(self, purchase: Purchase | None) -> str:
        not_bought, started, in_progress = WORDS[self.settings.vocabulary]
        if purchase is None:
            return not_bought
        phase = purchase.phase_at(self.market.clock())
        return {"started": started, "in_progress": self.settings.odd_word or in_progress}.get(phase, phase)

    def _instance(self, resource: Resource) -> Json:
        """Section 6: only these three fields are documented."""
        status, command = resource.status_at(self.market.clock()), None
        address = resource.address if status == "running" else None
        if address and self.settings.address_in != "access":
            command = self.settings.ssh_command.format(ip=address.ip, port=address.port)
        return {"external_ip": address.ip if address else None, "ssh_command": command, "status": status}

    def resource(self, resource: Resource, fresh: bool = True) -> Json:
        """GET /resources/{resource_id} (section 2.6). Unless ``fresh``, the last known state if it is recent enough."""
        now = self.market.clock()
        age = None if resource.synced_at is None else (now - resource.synced_at).total_seconds()
        if fresh or age is None or age >= self.settings.sync_seconds:
            resource.synced_at, resource.synced = now, self._resource(resource, now)
        return resource.synced

    def _resource(self, resource: Resource, now: datetime) -> Json:
        offer, status, access = resource.purchase.offer, resource.status_at(now), None
        if resource.address and status == "running":
            ip, port = resource.address
            access = {
                "external_ip": ip,
                "internal_ip": None,
                "ssh_command": self.settings.ssh_command.format(ip=ip, port=port),
                "ssh_port": port,
            }
            if self.settings.address_in == "access":
                access["ssh_command"] = f"ssh root@{ip}"
            elif self.settings.address_in == "ssh_command":
                access["ssh_port"] = None
        created = self.time(resource.purchase.time)
        spec = resource.volume or self._spec(offer)
        return {
            "resource_id": resource.resource_id,
            "resource_type": self._type(resource),
            "vendor": offer.vendor,
            "vendor_region": offer.vendor_region,
            "status": status,
            "created_at": created,
            "name": resource.name,
            "status_message": offer.error if status == "failed" else None,
            "access": access,
            "spec": spec if self.settings.spec_known else {},
            "linked_resources": self._links(resource),
            "offer_history": self._history(offer, created) if self.market.names_offer(resource) else None,
            "pricing_total_hourly": resource.price if self.settings.storage_price or not resource.volume else None,
            "valid_from": created,
            "valid_to": self.time(resource.deleted_at),
            "last_synced_at": self.time(now),
        }

    def _type(self, resource: Resource) -> str:
        return self.settings.storage_word if resource.volume else resource.purchase.offer.type

    def _links(self, resource: Resource) -> list[Json]:
        """Section 2.6.2: a machine's storage, and the machines of storage."""
        purchase, now = resource.purchase, self.market.clock()
        others = purchase.resources if resource.volume else purchase.volumes
        return [
            {
                "resource_id": each.resource_id,
                "resource_type": self._type(each),
                "status": each.status_at(now),
                "link_type": "storage",
                "linked_since": self.time(purchase.time),
                "name": each.name,
                "linked_until": self.time(each.deleted_at or resource.deleted_at),
            }
            for each in others
            if self.settings.storage_shown != "list" and each.resource_id not in self.market.hidden
        ]

    def _history(self, offer: Offer, created: str | None) -> list[Json] | None:
        if self.settings.offer_history == "missing":
            return None
        role = "primary" if self.settings.offer_history == "primary" else "origin"
        return [{"offer_id": offer.offer_id, "offer_type": offer.type, "role": role, "created_at": created}]

    @staticmethod
    def _spec(offer: Offer) -> Json:
        return {
            "gpu_type": offer.gpu_type,
            "gpu_family": offer.gpu_family,
            "gpu_count": offer.gpu_count // (offer.node_count or 1),
            "region": offer.region,
            "contract_type": offer.contract_type,
        }

    def resources(self, found: Iterable[Resource], page: int, link: str) -> Json | list[Json]:
        """GET /resources (section 2.5); ``link`` and the number of a page are the link to that page."""
        now, size, envelope = self.market.clock(), self.settings.page_size, self.settings.list_envelope
        shown = [each for each in found if self.settings.deleted_listed or each.status_at(now) != "deleted"]
        if size is None:
            listed = [self.resource(each) for each in shown]
            return {envelope: listed} if envelope else listed
        body: Json = {
            envelope or "resources": [self.resource(each) for each in shown[(page - 1) * size : page * size]],
            "total_count": len(shown),
        }
        if self.settings.page_links:
            body["next"] = f"{link}{page + 1}" if page * size < len(shown) else None
        return body

    def deleted(self, resource: Resource) -> Json:
        """DELETE /resources/{resource_id} (section 2.7)."""
        return {
            "resource_id": resource.resource_id,
            "status": resource.status_at(self.market.clock()),
            "message": "Resource deletion initiated",
        }

    def discovery(self, kind: str, values: Iterable[Any]) -> Any:
        """Discovery endpoints other than /available_gpus, whose shapes are unknown (section 2.8)."""
        return {kind: list(values)} if self.settings.discovery_envelope else list(values)
