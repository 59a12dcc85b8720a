# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample answers of the Supply API: functions that take the fields that matter to a test."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

BASE = "https://supply-api.example.com"
TOKEN = "t0ken-Zq8_vLx.31/a+b=="
OFFER_ID = "5b1f3c1e-7a53-4b0e-9d0c-2f6f0d4a9c11"
OTHER_ID = "00000000-0000-4000-8000-000000000001"
ACCOUNT = hashlib.sha256(f"{BASE} {TOKEN}".encode()).hexdigest()[:16]  # as plans name the account
RESOURCE_ID = "0e4f6f35-8a52-4f4e-a7ab-3b1b2bd2a2c4"
SECOND_RESOURCE_ID = "7d0a5b8e-91d3-4c51-8f55-0a1b2c3d4e5f"

NOT_FOUND = {"detail": "Not found"}  # the API's own 404; any other 404 proves nothing about the resource
AWX_JOB = {"AWX_HOST": "https://awx.example.com", "JOB_ID": "7"}  # the environment of an AWX job
STATUS_PATH = f"/offers/{OFFER_ID}/status"
POST = "POST", "/procure_offer"
OFFER_PATH = f"/offers/{OFFER_ID}"


def public_key(kind: str = "ssh-ed25519", *fields: bytes, comment: str = " me@example.com") -> str:
    """A key in OpenSSH's one-line format (RFC 4253, 6.6), without any cryptography."""
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (kind.encode(), *(fields or (bytes(range(32)),))))
    return f"{kind} {base64.b64encode(blob).decode()}{comment}"


KEY = public_key()
PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def offer(**fields: Any) -> dict[str, Any]:
    """GET /offers/{offer_id}; 2 USD per hour."""
    return {
        "offer_id": OFFER_ID,
        "gpu_type": "nvidia-h100-sxm5-80gb",
        "gpu_family": "H100",
        "gpu_count": 1,
        "vendor": "nebius",
        "region": "EU",
        "vendor_region": "eu-north1",
        "status": "available",
        "created_at": "2026-01-31T12:00:00Z",
        "contract_type": "ondemand",
        "gpu_price_per_hour": 2.0,
        "total_price_per_hour": 2.0,
        **fields,
    }


def status(
    procurement_status: str | None = "available", offer_status: str | None = None, **fields: Any
) -> dict[str, Any]:
    """GET /offers/{offer_id}/status; by default of an offer that is free."""
    bought = procurement_status not in ("available", "pending", None)
    return {
        "offer_id": OFFER_ID,
        "status": offer_status or ("procured" if bought else "available"),
        "procurement_status": procurement_status,
        "instances": [],
        "failure_reason": None,
        "procured_at": "2026-01-31T12:01:00Z" if bought else None,
        **fields,
    }


def instance(ip: str | None = "203.0.113.7", **fields: Any) -> dict[str, Any]:
    """An entry of the status answer's ``instances``."""
    return {"external_ip": ip, "ssh_command": ip and f"ssh root@{ip}", "status": "running", **fields}


def resource(resource_id: Any = RESOURCE_ID, ip: str | None = "203.0.113.7", **fields: Any) -> dict[str, Any]:
    """GET /resources/{resource_id}."""
    return {
        "resource_id": resource_id,
        "resource_type": "vm",
        "name": "trainer",
        "vendor": "nebius",
        "status": "running",
        "access": {
            "external_ip": ip,
            "internal_ip": "10.0.0.5",
            "ssh_command": ip and f"ssh root@{ip}",
            "ssh_port": 22,
        },
        "pricing_total_hourly": 2.0,
        "offer_history": [{"offer_id": OFFER_ID, "role": "primary", "created_at": "2026-01-31T12:01:00Z"}],
        **fields,
    }


def procurement(status: str = "procured", **fields: Any) -> dict[str, Any]:
    """POST /procure_offer."""
    return {
        "offer_id": OFFER_ID,
        "status": status,
        "procured_at": "2026-01-31T12:01:00Z" if status == "procured" else None,
        "resource_ids": [RESOURCE_ID] if status == "procured" else None,
        "error": None,
        **fields,
    }
