# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers of three APIs: ours by the simulator, the others' by their documentation."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

from simulator import Settings, Simulator

TOKEN = "benchmark"
SUPPLY, HCLOUD, VULTR = "/supply", "/hcloud/v1", "/vultr/v2"


class Answers:
    """A call is the answer to a path and its query. Each API has so many machines; an offer of ours boots for ever."""

    def __init__(self, machines: int) -> None:
        self.fixed: dict[str, bytes] = {}
        with Simulator(Settings(token=TOKEN), offers=[]) as simulator:
            resources = simulator.populate(machines)
            self.resource_id, self.offer_id = resources[0].resource_id, resources[0].purchase.offer.offer_id
            for path in ("/resources", f"/resources/{self.resource_id}"):
                self.fixed[SUPPLY + path] = read(simulator, path)
            resources[0].purchase.provision_seconds = 1e9
            path = f"/offers/{self.offer_id}/status"
            self.fixed[SUPPLY + path] = read(simulator, path)
        servers = [hcloud_server(number) for number in range(machines)]
        self.hcloud = servers
        self.fixed[f"{HCLOUD}/locations"] = dump({"locations": [LOCATION], "meta": page_of(1, 50, 1)})
        self.fixed[f"{HCLOUD}/servers/1"] = dump({"server": servers[0]})
        self.fixed[f"{VULTR}/instances"] = vultr_list("instances", [VULTR_INSTANCE])

    def __call__(self, path: str, query: dict[str, str], _sent: bytes) -> bytes | None:
        if path != f"{HCLOUD}/servers":
            return self.fixed.get(path)
        page, size = int(query.get("page", 1)), int(query.get("per_page", 25))
        return dump(
            {"servers": self.hcloud[(page - 1) * size : page * size], "meta": page_of(page, size, len(self.hcloud))}
        )


def read(simulator: Simulator, path: str) -> bytes:
    with urlopen(Request(simulator.url + path, headers={"Authorization": f"Bearer {TOKEN}"})) as answer:
        return bytes(answer.read())


def dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def page_of(page: int, size: int, total: int) -> dict[str, Any]:
    last = max(1, -(-total // size))
    return {
        "pagination": {
            "page": page,
            "per_page": size,
            "previous_page": page - 1 or None,
            "next_page": page + 1 if page < last else None,
            "last_page": last,
            "total_entries": total,
        }
    }


def vultr_list(name: str, entries: list[dict[str, Any]]) -> bytes:
    return dump({name: entries, "meta": {"total": len(entries), "links": {"next": "", "prev": ""}}})


class Vultr:
    """An account of Vultr's: machines can be bought, and run at once."""

    def __init__(self) -> None:
        self.instances: list[dict[str, Any]] = []

    def __call__(self, path: str, _query: dict[str, str], sent: bytes) -> bytes | None:
        wanted = json.loads(sent or b"{}")
        if path == f"{VULTR}/instances" and wanted:
            return dump({"instance": self.create(wanted)})
        if path == f"{VULTR}/instances":
            return vultr_list("instances", self.instances)
        if path == f"{VULTR}/os":
            return vultr_list("os", [{"id": VULTR_INSTANCE["os_id"], "name": VULTR_INSTANCE["os"], "family": "debian"}])
        if path == f"{VULTR}/ssh-keys":
            return vultr_list("ssh_keys", [{"id": "3b8066a7", "name": TOKEN, "ssh_key": "ssh-ed25519 AAAA"}])
        if path.endswith("/vpcs"):
            return vultr_list("vpcs", [])
        if path.endswith("/user-data"):
            return dump({"user_data": {"data": ""}})
        return next((dump({"instance": each}) for each in self.instances if path.endswith(each["id"])), None)

    def create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """A machine of the wanted name."""
        own = {"id": str(uuid4()), "label": wanted["label"], "hostname": wanted["hostname"]}
        self.instances.append({**VULTR_INSTANCE, **own})
        return self.instances[-1]

    def delete(self, path: str) -> None:
        """End the machine that has the path."""
        self.instances = [each for each in self.instances if not path.endswith(each["id"])]


LOCATION = {
    "id": 1,
    "name": "fsn1",
    "description": "Falkenstein DC Park 1",
    "country": "DE",
    "city": "Falkenstein",
    "latitude": 50.47612,
    "longitude": 12.370071,
    "network_zone": "eu-central",
}


def hcloud_server(number: int) -> dict[str, Any]:
    return {
        "id": number + 1,
        "name": f"machine-{number + 1}",
        "status": "running",
        "created": "2026-01-31T12:00:00+00:00",
        "public_net": {
            "ipv4": {
                "id": number + 1,
                "ip": f"192.0.2.{number % 254 + 1}",
                "blocked": False,
                "dns_ptr": "a.example.com",
            },
            "ipv6": {"id": number + 1, "ip": "2001:db8::/64", "blocked": False, "dns_ptr": []},
            "floating_ips": [],
            "firewalls": [],
        },
        "private_net": [],
        "server_type": {
            "id": 22 + number % 4,
            "name": ("cpx11", "cpx21", "cpx31", "cpx41")[number % 4],
            "description": "CPX",
            "cores": 2,
            "memory": 2,
            "disk": 40,
            "deprecated": False,
            "prices": [],
            "storage_type": "local",
            "cpu_type": "shared",
            "architecture": "x86",
        },
        "datacenter": {"id": 4, "name": "fsn1-dc14", "description": "Falkenstein", "location": LOCATION},
        "location": LOCATION,
        "image": {
            "id": 1,
            "type": "system",
            "status": "available",
            "name": "debian-13",
            "description": "Debian 13",
            "os_flavor": "debian",
            "os_version": "13",
            "labels": {},
        },
        "iso": None,
        "rescue_enabled": False,
        "locked": False,
        "backup_window": None,
        "outgoing_traffic": 0,
        "ingoing_traffic": 0,
        "included_traffic": 21990232555520,
        "protection": {"delete": False, "rebuild": False},
        "labels": {"project": ("training", "serving")[number % 2]},
        "volumes": [],
        "primary_disk_size": 40,
        "placement_group": None,
        "load_balancers": [],
    }


VULTR_INSTANCE = {
    "id": "cb676a46-66fd-4dfb-b839-443f2e6c0b60",
    "os": "Debian 13",
    "ram": 1024,
    "disk": 25,
    "main_ip": "192.0.2.1",
    "vcpu_count": 1,
    "region": "ewr",
    "plan": "vc2-1c-1gb",
    "date_created": "2026-01-31T12:00:00+00:00",
    "status": "active",
    "power_status": "running",
    "server_status": "ok",
    "allowed_bandwidth": 1000,
    "netmask_v4": "255.255.254.0",
    "gateway_v4": "192.0.2.254",
    "hostname": "machine-1",
    "label": "machine-1",
    "tags": [],
    "os_id": 2136,
    "app_id": 0,
    "image_id": "",
    "firewall_group_id": "",
    "features": [],
    "user_scheme": "root",
    "internal_ip": "",
    "v6_network": "",
    "v6_main_ip": "",
    "v6_network_size": 0,
    "kvm": "",
}
