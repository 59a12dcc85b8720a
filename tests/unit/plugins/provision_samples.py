# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small hosts, registry entries, machines and offers, for tests of decisions about money."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.compute_index.supply.plugins.module_utils._provision import ownership, standing
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ceilings import CeilingPart
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import (
    Declaration,
    read_declaration,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry, read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import utc_rounded_up
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import place_of

REGISTRY = "/inventory/host_vars"
SPEC = {"region": "EU", "compute": {"gpu_type": "H100", "gpu_count": 1, "contract_type": "ondemand"}}


def offer_id(number: int) -> str:
    return f"0ffe0000-0000-4000-8000-{number:012d}"


def machine_id(number: int) -> str:
    return f"e5000000-0000-4000-8000-{number:012d}"


def billed(*prices: float | None) -> tuple[CeilingPart, ...]:
    """The parts of further hosts in a ceiling, in USD per hour."""
    return tuple(CeilingPart(f"other-{number}", price) for number, price in enumerate(prices))


def raw(**fields: Any) -> dict[str, Any]:
    """The values that `read_declaration` reads, of a host that sets only the required variables."""
    return {
        "host": "gpu-1",
        "name": "gpu-1",
        "project": "default",
        "spec": SPEC,
        "spec_order": "listed",
        "offer_id": "",
        "max_price_per_hour": 4,
        "refused": "",
        "max_total_price_per_hour": "",
        "max_account_price_per_hour": "",
        "budget": "",
        "max_attempts": 3,
        "all_or_nothing": False,
        "adopt": False,
        "cluster_name": "",
        "has_ssh_public_key": True,
        "ssh_key_fault": "",
        "ssh_fingerprint": "SHA256:own",
        "ssh_public_key_file": "~/.ssh/id_ed25519.pub",
        "reach": True,
        "verify": "none",
        "verify_expect": {},
        "avoid": "7d",
        "host_key_trust": "first_use",
        "on_failure": "keep",
        "protect": False,
        "storage_on_end": "keep",
        "poll_delay": 15,
        "poll_retries": 120,
        "boot_timeout": "30m",
        "registry_dir": None,
        "registry_fingerprint": "",
        "inventory_dir": "/inventory",
        "listed_id": "",
        "connection": "ssh",
        "identity_file": "",
        "groups": ["gpu"],
        "cloud_init_template": "cloud-config.yaml.j2",
        "lease": "",
        "idle_after": "",
        "wait": "",
        "wait_delay": "10m",
        "declared_at": 0.0,
        "idle_gpu_percent": 5,
        "lease_max": "",
        "lease_unswept": "warn",
        "max_bill": "",
        "has_cloud_init": False,
        "texts": [],
        "invalid": [],
        "slips": [],
        "known": {},
        **fields,
    }


def declared(registry_dir: str = REGISTRY, key_fault: str = "", **fields: Any) -> Declaration:
    """The declaration of a host."""
    return read_declaration(raw(**fields), place_of(registry_dir), key_fault)


def host(name: str = "gpu-1", *, by_name: bool = False, **fields: Any) -> Declaration:
    """The declaration of a host without objections. ``by_name``: it has no registry."""
    found = declared("" if by_name else REGISTRY, **{"host": name, "name": name, **fields})
    assert not found.objections
    return found


def entry(offer: str = "", ids: Iterable[str] = (), purchase: str = "", **fields: Any) -> Entry:
    """A registry entry."""
    variables = {
        "provision_procured_offer_id": offer,
        "provision_resource_ids": list(ids),
        "provision_purchase": purchase,
        "provision_price_per_hour": 2.0 if offer else None,
        **fields,
    }
    return read_entry(variables)


def made_entry(key: str) -> dict[str, Any]:
    """The variables of a purchase that was made an hour ago, at 2 USD per hour, and bought the machine ``key``."""
    return {
        "provision_procured_offer_id": f"o-{key}",
        "provision_purchase": "made",
        "provision_resource_ids": [key],
        "provision_price_per_hour": 2.0,
        "provision_journaled_at": utc_rounded_up(time.time() - 3600.0),
    }


def planned(**fields: Any) -> dict[str, Any]:
    """The plan of a host that buys the first offer, with the fields that the outcome of the purchase depends on."""
    return {
        "host": "gpu-1",
        "action": "buy",
        "offer_id": offer_id(1),
        "offer": {},
        "registry": REGISTRY,
        "resource_ids": [],
        "price_per_hour": 2.0,
        "attempts": [],
        "wanted": False,
        "unused": True,
        "may_release": True,
        "spared": "",
        "ends_storage": False,
        "attempts_left": 3,
        "advice": "",
        "name": "gpu-1",
        "trust": "first_use",
        "known_hosts_file": "",
        "identity_file": "",
        "poll": {"retries": 3},
        "lease": "",
        "ahead": None,
        **fields,
    }


def machine(number: int, name: str | None = None, offer: str | None = None, **fields: Any) -> dict[str, Any]:
    """A machine as the tolerant reader of the API returns it."""
    return {
        "resource_id": machine_id(number),
        "name": name,
        "offer_id": offer,
        "status": "running",
        "price_per_hour": 2.0,
        "created_at": "2026-01-31T12:00:00Z",
        "vendor": "nebius",
        "spec": {},
        **fields,
    }


def offer(number: int, price: float | None = 2.0, **fields: Any) -> dict[str, Any]:
    """An offer as the tolerant reader of the API returns it."""
    return {
        "offer_id": offer_id(number),
        "price_per_hour": price,
        "gpu_type": "nvidia-h100-sxm5-80gb",
        "gpu_family": "H100",
        "gpu_count": 1,
        "vendor": "nebius",
        "region": "EU",
        "contract_type": "ondemand",
        **fields,
    }


def account(
    hosts: Mapping[Declaration, Entry] | Iterable[tuple[Declaration, Entry]],
    machines: Iterable[dict[str, Any]] | None,
    others: Iterable[ownership.OwnershipClaim] = (),
    unreadable: str = "",
) -> Account:
    """The account with the claims of these hosts and of ``others``."""
    pairs = hosts.items() if isinstance(hosts, Mapping) else hosts
    claims = [standing.claim_of_host(declaration, known) for declaration, known in pairs]
    return Account.of([*claims, *others], machines, unreadable)
