# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The offers that a sandbox starts with: invented, in the indicative price range of section 7."""

from __future__ import annotations

import os
import shutil

from .market import Offer, volume


def default_offers() -> list[Offer]:
    """A fresh copy of every offer; prices are USD per GPU and hour."""
    us = {"vendor": "hyperstack", "region": "US", "vendor_region": "us-1"}
    france = {"vendor": "scaleway", "region": "EU", "vendor_region": "fr-par-2", "supports_cilium": False}
    apac = {"vendor": "hyperstack", "region": "APAC", "vendor_region": "ap-southeast-1"}
    spot = {"contract_type": "spot"}
    shared = {"type": "container", "boot_disk_in_gb": None, "vcpu_count": None, "memory_in_gb": None}
    rows: list[dict[str, object]] = [
        {"gpu_type": "H100", "gpu_price_per_hour": 2.95},
        {"gpu_type": "H100", "gpu_price_per_hour": 2.1, **spot},
        {"gpu_type": "H100", "gpu_count": 8, "gpu_price_per_hour": 2.8, "typical_procure_seconds": 1500},
        {"gpu_type": "H100", "gpu_count": 24, "gpu_price_per_hour": 3.2, "node_count": 3},
        {"gpu_type": "nvidia-h100-pcie-80gb", "gpu_price_per_hour": 2.4, **us},
        {"gpu_type": "H100", "gpu_count": 2, "gpu_price_per_hour": None, **us},
        {"gpu_type": "A100", "gpu_price_per_hour": 1.6, **us},
        {"gpu_type": "A100", "gpu_count": 4, "gpu_price_per_hour": 1.45, **apac},
        {"gpu_type": "nvidia-a100-pcie-40gb", "gpu_price_per_hour": 1.15, **france, **spot},
        {
            "gpu_type": "L40S",
            "gpu_price_per_hour": 1.4,
            **france,
            "storage": [volume(500, 0.08, vendor_region="fr-par-2")],
        },
        {"gpu_type": "L40S", "gpu_count": 2, "gpu_price_per_hour": 1.25, **apac},
        {"gpu_type": "L4", "gpu_price_per_hour": 0.75, **france},
        {"gpu_type": "L4", "gpu_price_per_hour": 0.45, "boot_disk_in_gb": 80, **us, **spot},
        {"gpu_type": "RTX4090", "gpu_price_per_hour": 0.42, **us, **shared},
        {"gpu_type": "H100", "gpu_price_per_hour": 2.95, "storage": [volume(500, 0.08, persistent=True)]},
    ]
    return [Offer(**row) for row in rows]  # type: ignore[arg-type]


def machines_on_this_computer(offers: list[Offer]) -> list[Offer]:
    """The offers with no more processors, memory and disk (GB) than their machines have, which are this computer."""
    sizes = {
        "vcpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_in_gb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**9,
        "boot_disk_in_gb": shutil.disk_usage("/").total // 10**9,
    }
    for offer in offers:
        for name, size in sizes.items():
            if getattr(offer, name) is not None:
                setattr(offer, name, min(getattr(offer, name), size))
    return offers
