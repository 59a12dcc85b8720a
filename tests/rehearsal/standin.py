# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoints of the second Supply API, and a server for them. ``choices.py`` has its answers to open questions."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from typing import Annotated
from uuid import UUID

import uvicorn
import yaml
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import ValidationError

from rehearsal import forms
from rehearsal.world import COOL_DOWN, STORAGE_PRICES, Offer, Resource, UnknownGpu, World

TOKEN = "rehearsal-token"
Credentials = Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]


def has_token(credentials: Credentials) -> None:
    """Refuse requests with another token; those without one are refused by FastAPI."""
    if credentials.credentials != TOKEN:
        raise HTTPException(401, "Invalid API token", {"WWW-Authenticate": "Bearer"})


def application(world: World) -> FastAPI:
    """The API of this world. Its functions never wait, so each request is done before the next begins."""
    app = FastAPI(title="Supply Service", version="0.1.0", dependencies=[Depends(has_token)])
    add_clock(app, world)
    add_offers(app, world)
    add_resources(app, world)
    add_discovery(app, world)
    return app


def add_clock(app: FastAPI, world: World) -> None:
    """Let the vendors do their work before each request, and date the answers by the world's time."""

    @app.middleware("http")
    async def with_date(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        world.let_time_pass()
        response = await call_next(request)
        response.headers["Date"] = format_datetime(world.now(), usegmt=True)
        return response


def add_offers(app: FastAPI, world: World) -> None:
    """The endpoints with the tag ``Offers``."""

    def offer_of(offer_id: UUID) -> Offer:
        if offer_id not in world.offers:
            raise HTTPException(404, "Offer not found")
        return world.offers[offer_id]

    @app.post("/get_offers", tags=["Offers"])
    async def get_offers(request: Request) -> forms.Offers:
        wanted = parsed(await request.body())
        try:
            offers = world.search(wanted)
        except UnknownGpu as error:
            raise HTTPException(400, f"Unknown GPU type: {error}") from error
        filters = wanted.model_dump(mode="json", by_alias=True)
        return forms.Offers(offers=list(map(listed, offers)), total_count=len(offers), filters_applied=filters)

    @app.get("/offers/{offer_id}", tags=["Offers"])
    async def get_offer_details(offer_id: UUID) -> forms.OfferDetails:
        offer = offer_of(offer_id)
        procured_at = offer.purchase.procured_at if offer.purchase else None
        fields = listed(offer).model_dump()
        return forms.OfferDetails(**fields, status=offer.status(world.now()), procured_at=procured_at)

    @app.get("/offers/{offer_id}/status", tags=["Offers"])
    async def get_offer_status(offer_id: UUID) -> forms.OfferStatus:
        offer = offer_of(offer_id)
        for resource in offer.purchase.resources if offer.purchase else []:
            world.look(resource)
        return how_far(offer, world)

    @app.post("/procure_offer", tags=["Offers"])
    async def procure_offer(order: forms.Order) -> forms.Ordered:
        offer = offer_of(order.offer_id)
        if offer.purchase:
            raise HTTPException(409, "Offer has already been procured")
        if world.now() >= offer.expires_at:
            raise HTTPException(410, "Offer has expired")
        world.order(offer, order.resource_name, order.cloud_init)
        return forms.Ordered(offer_id=offer.offer_id, status="provisioning_in_progress")


def add_resources(app: FastAPI, world: World) -> None:
    """The endpoints with the tag ``Resources``."""

    def resource_of(resource_id: UUID) -> Resource:
        if resource_id not in world.resources:
            raise HTTPException(404, "Resource not found")
        return world.resources[resource_id]

    @app.get("/resources", tags=["Resources"])
    async def list_resources(offer_id: UUID | None = None) -> forms.Resources:
        matching = [
            resource for resource in reversed(world.resources.values()) if offer_id in (None, resource.offer.offer_id)
        ]
        summaries = [summary(resource, world) for resource in matching]
        return forms.Resources(resources=summaries, total_count=len(summaries))

    @app.get("/resources/{resource_id}", tags=["Resources"])
    async def get_resource(resource_id: UUID, force_refresh: bool = False) -> forms.ResourceSummary:
        resource = resource_of(resource_id)
        if force_refresh or not resource.synced_at or world.now() - resource.synced_at > COOL_DOWN:
            world.look(resource)
        return summary(resource, world)

    @app.delete("/resources/{resource_id}", tags=["Resources"])
    async def delete_resource(resource_id: UUID, force: bool = False) -> forms.Deleted:
        resource = resource_of(resource_id)
        world.look(resource)
        if resource.status == "deleted":
            raise HTTPException(409, "Resource is already deleted")
        if not force and (reason := hindrance(resource)):
            raise HTTPException(409, f"{reason}; use force=true to delete it anyway")
        world.delete(resource)
        return forms.Deleted(resource_id=resource_id, status="deleting", message="Resource deletion initiated")


def add_discovery(app: FastAPI, world: World) -> None:
    """The endpoints of the catalogues for searches."""

    @app.get("/available_gpus")
    async def available_gpus() -> dict[str, list[str]]:
        names: dict[str, set[str]] = {}
        for stock in world.stocks:
            names.setdefault(stock.family, set()).add(stock.gpu_type)
        return {family: sorted(members) for family, members in sorted(names.items())}

    @app.get("/available_vendors")
    async def available_vendors() -> dict[str, list[str]]:
        return {"vendors": sorted({stock.vendor for stock in world.stocks})}

    @app.get("/available_regions")
    async def available_regions() -> dict[str, list[str]]:
        return {"regions": ["US", "EU", "APAC", "Other"]}

    @app.get("/available_contracts")
    async def available_contracts() -> dict[str, list[str]]:
        return {"contract_types": ["ondemand", "spot"]}

    @app.get("/available_storage")
    async def available_storage() -> dict[str, dict[str, list[dict[str, str | float]]]]:
        vendors: dict[str, dict[str, list[dict[str, str | float]]]] = {}
        for stock in world.stocks:
            vendors.setdefault(stock.vendor, {})[stock.vendor_region] = [
                {"storage_class": name, "price_per_gb_month": STORAGE_PRICES[name]} for name in stock.classes
            ]
        return vendors


def parsed(body: bytes) -> forms.Wanted:
    """The search in a request's body.

    :raises HTTPException: It is no YAML (400), no mapping (400), or no search (422).
    """
    try:
        content = yaml.safe_load(body)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"Invalid YAML: {error}") from error
    if not isinstance(content, dict):
        raise HTTPException(400, "Invalid YAML: expected a mapping")
    try:
        return forms.Wanted.model_validate(content)
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_context=False)) from error


def listed(offer: Offer) -> forms.OfferItem:
    """An offer as an item of a search."""
    stock = offer.stock
    return forms.OfferItem(
        offer_id=offer.offer_id,
        gpu_type=stock.gpu_type,
        gpu_family=stock.family,
        gpu_count=offer.gpu_count,
        vendor=stock.vendor,
        region=stock.region,
        gpu_price_per_hour=stock.price,
        boot_disk_in_gb=stock.boot_disk,
        created_at=offer.created_at,
        vendor_region=stock.vendor_region,
        contract_type=stock.contract,
        type=stock.kind,
        vcpu_count=stock.vcpus and stock.vcpus * offer.gpu_count,
        memory_in_gb=stock.memory and stock.memory * offer.gpu_count,
        storage_details=offer.storage,
        storage_price_per_hour=offer.storage_price,
        total_price_per_hour=offer.price,
        expires_at=offer.expires_at,
    )


def how_far(offer: Offer, world: World) -> forms.OfferStatus:
    """The status of an offer, with the last known state of its machines."""
    purchase = offer.purchase
    machines = purchase.machines if purchase else []
    running = sum(machine.status == "running" for machine in machines)
    return forms.OfferStatus(
        offer_id=offer.offer_id,
        status=offer.status(world.now()),
        created_at=offer.created_at,
        procurement_status=offer.progress,
        instances=[instance(machine) for machine in machines],
        resource_ids=[resource.resource_id for resource in purchase.resources] if purchase else [],
        progress=f"{running}/{len(machines)} instances running" if machines else None,
        failure_reason=purchase.failure if purchase else None,
        procured_at=purchase.procured_at if purchase else None,
    )


def instance(machine: Resource) -> forms.Instance:
    """A machine as the status of its offer shows it."""
    access = reached(machine)
    return forms.Instance(
        resource_id=machine.resource_id,
        external_ip=access.external_ip if access else None,
        ssh_command=access.ssh_command if access else None,
        status=machine.status,
    )


def reached(resource: Resource) -> forms.Access | None:
    """How a machine is reached once it runs."""
    if resource.status != "running" or not resource.address:
        return None
    return forms.Access(
        external_ip=resource.address,
        internal_ip="10.0.0.4",
        ssh_command=f"ssh root@{resource.address}" + (f" -p {resource.port}" if resource.port != 22 else ""),
        ssh_port=resource.port,
    )


def summary(resource: Resource, world: World) -> forms.ResourceSummary:
    """A resource in its last known state."""
    stock = resource.offer.stock
    history = forms.HistoryItem(
        offer_id=resource.offer.offer_id,
        offer_type=resource.kind,
        role="provisioned_by",
        created_at=resource.offer.created_at,
    )
    return forms.ResourceSummary(
        resource_id=resource.resource_id,
        resource_type=resource.kind,
        vendor=stock.vendor,
        vendor_region=stock.vendor_region,
        status=resource.status,
        created_at=resource.created_at,
        name=resource.name,
        status_message=None,
        access=reached(resource),
        spec={"gpu_type": stock.gpu_type, "gpu_count": resource.offer.gpu_count} if resource.is_machine else {},
        linked_resources=[link(other) for other in linked(resource)],
        offer_history=[history],
        pricing_total_hourly=resource.price,
        valid_from=resource.valid_from,
        valid_to=resource.valid_to,
        last_synced_at=resource.synced_at,
    )


def linked(resource: Resource) -> list[Resource]:
    """A machine's volumes, or a volume's machine."""
    if resource.machine:
        return [resource.machine]
    bought = resource.offer.purchase.resources if resource.offer.purchase else []
    return [other for other in bought if other.machine is resource]


def link(resource: Resource) -> forms.Link:
    """A resource as the resource to which it is attached shows it."""
    return forms.Link(
        resource_id=resource.resource_id,
        resource_type=resource.kind,
        status=resource.status,
        link_type="attached",
        linked_since=resource.created_at,
        name=resource.name,
        linked_until=resource.valid_to,
    )


def hindrance(resource: Resource) -> str:
    """Why a resource is deleted only by force; empty if it is not."""
    if resource.status == "provisioning":
        return "Resource is still being provisioned"
    if resource.machine and resource.machine.status != "deleted":
        return "Resource is attached to another one"
    return ""


@contextmanager
def serving(world: World) -> Iterator[str]:
    """Serve this world on a free port of the loopback address, and say its URL."""
    server = uvicorn.Server(
        uvicorn.Config(application(world), port=0, log_level="warning", date_header=False, lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
