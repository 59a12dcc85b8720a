# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns what the market sold into running machines, at the time that the market promised."""

from __future__ import annotations

import asyncio

from .instances import InstanceBackend
from .market import Clock, Market, Purchase, Resource

TICK = 0.02


class Fleet:
    """One task for each machine that is still to boot."""

    def __init__(self, market: Market, backend: InstanceBackend) -> None:
        self.backend = backend
        self.clock: Clock = market.clock
        self.boots: dict[str, asyncio.Task[None]] = {}

    async def launch(self, purchase: Purchase) -> None:
        """Schedule the machines of a purchase; returns when they are up if they are promised at once."""
        boots = {each.resource_id: asyncio.create_task(self._boot(each)) for each in purchase.resources}
        self.boots.update(boots)
        if not purchase.provision_seconds:
            await asyncio.wait(boots.values())

    async def _boot(self, resource: Resource) -> None:
        if resource.ready_at is None:
            return
        # Looks again and again instead of sleeping once, since a test's clock may jump.
        while self.clock() < resource.ready_at:
            await asyncio.sleep(TICK)
        request = resource.purchase.request
        resource.address = await self.backend.start(
            resource.resource_id, request["ssh_public_key"], request.get("cloud_init")
        )

    async def remove(self, resource: Resource) -> None:
        """End a machine, booted or not."""
        await self._cancel(resource.resource_id)
        await self.backend.stop(resource.resource_id)

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(*(self._cancel(each) for each in list(self.boots)))
        await self.backend.close()

    async def _cancel(self, resource_id: str) -> None:
        boot = self.boots.pop(resource_id, None)
        if boot:
            boot.cancel()
            await asyncio.wait([boot])
