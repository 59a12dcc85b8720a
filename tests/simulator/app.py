# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documented endpoints (section 1) as a FastAPI application."""

from __future__ import annotations

import asyncio
from secrets import compare_digest
from typing import Annotated, Any, NoReturn
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field, field_validator

from .answers import Answers
from .fleet import Fleet
from .market import GPUS, AlreadyBought, Conflict, Gone, Market, NotFound, Offer, Resource
from .search import InvalidSearch, parse

BEARER = HTTPBearer(auto_error=False)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]
CLOUD_INIT_BYTES = 65536


class Order(BaseModel):
    """Body of POST /procure_offer (section 2.4)."""

    offer_id: UUID
    ssh_public_key: str = Field(min_length=1)
    cloud_init: str | None = None
    cluster_name: str | None = None
    resource_name: str | None = None

    @field_validator("cloud_init")
    @classmethod
    def _is_user_data(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("#cloud-config", "#!/")):
            raise ValueError("cloud_init must start with #cloud-config or #!/")
        if value is not None and len(value.encode()) > CLOUD_INIT_BYTES:
            raise ValueError("cloud_init must not be larger than 64KB")
        return value


def refuse(error: Exception, status: int) -> NoReturn:
    """FastAPI's error body, ``{"detail": "..."}`` (section 8)."""
    raise HTTPException(status, str(error)) from error


def create_app(market: Market, fleet: Fleet) -> FastAPI:
    """The API over one market and its machines."""
    settings, answers = market.settings, Answers(market)

    def authenticate(credentials: Credentials) -> None:
        given = credentials.credentials if credentials else ""
        if not compare_digest(given.encode(), settings.token.encode()):
            raise HTTPException(
                settings.auth_failure_status,
                "Invalid token" if given else "Not authenticated",
                {"WWW-Authenticate": "Bearer"},
            )

    def find_offer(offer_id: UUID) -> Offer:
        try:
            return market.offer(str(offer_id))
        except NotFound as error:
            refuse(error, 404)

    def find_resource(resource_id: UUID) -> Resource:
        try:
            return market.visible(str(resource_id))
        except NotFound as error:
            refuse(error, 404)

    app = FastAPI(
        title="Supply Service",
        version="0.1.0",
        dependencies=[Depends(authenticate)],
        description="A service for querying GPU offers and provisioning them.",
    )

    @app.post("/get_offers", tags=["Offers"])
    async def get_offers(request: Request) -> Any:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/yaml":
            raise HTTPException(415, "Content-Type must be application/yaml")
        offers = market.available()
        try:
            search = parse(await request.body(), list(market.offers.values()), settings.gpu_count_required)
        except InvalidSearch as error:
            raise HTTPException(422, error.detail) from error
        found = [each for each in offers if search.matches(each, settings.lists_clusters)]
        return answers.offers(found, search.model_dump(exclude_none=True, by_alias=True))

    @app.get("/offers/{offer_id}", tags=["Offers"])
    async def get_offer_details(offer_id: UUID) -> Any:
        return answers.details(find_offer(offer_id))

    @app.get("/offers/{offer_id}/status", tags=["Offers"])
    async def get_offer_status(offer_id: UUID) -> Any:
        return answers.status(find_offer(offer_id))

    @app.post("/procure_offer", tags=["Offers"])
    async def procure_offer(order: Order) -> Any:
        offer = find_offer(order.offer_id)
        if settings.purchase_at == "end":
            await asyncio.sleep(settings.procure_seconds)
        try:
            purchase = market.procure(offer.offer_id, order.model_dump(mode="json", exclude_unset=True))
        except AlreadyBought as error:
            if settings.second_purchase_status != 200:
                refuse(error, settings.second_purchase_status)
            return answers.procured(offer, offer.purchase)
        except Conflict as error:
            refuse(error, 409)
        except Gone as error:
            refuse(error, 410)
        if purchase:
            await fleet.launch(purchase)
        if settings.purchase_at == "start":
            await asyncio.sleep(settings.procure_seconds)
        return answers.procured(offer, purchase)

    @app.get("/resources", tags=["Resources"])
    async def list_resources(offer_id: UUID | None = None, page: Annotated[int, Query(ge=1)] = 1) -> Any:
        wanted = str(offer_id) if offer_id else None
        return answers.resources(
            market.listed(wanted), page, f"/resources?{f'offer_id={wanted}&' if wanted else ''}page="
        )

    @app.get("/resources/{resource_id}", tags=["Resources"])
    async def get_resource(resource_id: UUID, force_refresh: bool = False) -> Any:
        resource = find_resource(resource_id)
        if not settings.deleted_readable and resource.status_at(market.clock()) == "deleted":
            raise HTTPException(404, "Resource not found")
        return answers.resource(resource, fresh=force_refresh)

    @app.delete("/resources/{resource_id}", tags=["Resources"])
    async def delete_resource(resource_id: UUID, force: bool = False) -> Any:  # pylint: disable=unused-argument
        resource = find_resource(resource_id)
        try:
            market.delete(resource.resource_id)
        except Conflict as error:
            refuse(error, 409)
        await fleet.remove(resource)
        return answers.deleted(resource)

    @app.get("/available_gpus", tags=["Offers"])
    async def available_gpus() -> Any:
        return GPUS

    @app.get("/available_vendors", tags=["Offers"])
    async def available_vendors() -> Any:
        return answers.discovery("vendors", sorted({each.vendor for each in list(market.offers.values())}))

    @app.get("/available_regions", tags=["Offers"])
    async def available_regions() -> Any:
        return answers.discovery("regions", ["US", "EU", "APAC", "Other"])

    @app.get("/available_contracts", tags=["Offers"])
    async def available_contracts() -> Any:
        return answers.discovery("contracts", ["ondemand", "spot"])

    @app.get("/available_storage", tags=["Offers"])
    async def available_storage() -> Any:
        return answers.discovery(
            "storage",
            [
                {
                    "vendor": offer.vendor,
                    "region": offer.region,
                    **{name: each[name] for name in ("vendor_region", "type", "storage_class", "price_per_gb_month")},
                }
                for offer in list(market.offers.values())
                for each in offer.storage
            ],
        )

    return app
