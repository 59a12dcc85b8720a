# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the machines that the market sold, at the promised time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from . import nvidia_smi
from .instances import InstanceBackend
from .market import Clock, Market, Purchase, Resource

TICK = 0.02
#: As their nvidia-smi says them: name, memory of one in MiB, limit of its power in W.
MODELS = {
    "nvidia-h100-sxm5-80gb": ("NVIDIA H100 80GB HBM3", 81559, 700),
    "nvidia-h100-pcie-80gb": ("NVIDIA H100 PCIe", 81559, 350),
    "nvidia-a100-sxm4-80gb": ("NVIDIA A100-SXM4-80GB", 81920, 400),
    "nvidia-a100-pcie-80gb": ("NVIDIA A100 80GB PCIe", 81920, 300),
    "nvidia-a100-pcie-40gb": ("NVIDIA A100-PCIE-40GB", 40960, 250),
    "nvidia-l40s-pcie-48gb": ("NVIDIA L40S", 46068, 350),
    "nvidia-l4-pcie-24gb": ("NVIDIA L4", 23034, 72),
    "nvidia-rtx4090-pcie-24gb": ("NVIDIA GeForce RTX 4090", 24564, 450),
}
SMI = Path(nvidia_smi.__file__).read_text(encoding="utf-8")


def programs(resource: Resource) -> dict[str, str]:
    """The further programs of a vendor's image, by name: an nvidia-smi that shows the bought GPUs."""
    offer = resource.purchase.offer
    if offer.gpu_type not in MODELS:
        return {}
    model, mebibytes, watts = MODELS[offer.gpu_type]
    count = offer.gpu_count // (offer.node_count or 1)
    gpus = nvidia_smi.Gpus(model, count, mebibytes, watts, resource.resource_id)
    return {"nvidia-smi": f"#!/usr/bin/env python3\n{SMI}\n\nmain({gpus!r})\n"}


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
            resource.resource_id, request["ssh_public_key"], request.get("cloud_init"), programs(resource)
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
