# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random inventories in which some hosts, files and groups are broken: sweeps, audits and sums cover all others.

Each world knows the owner and price of each machine and volume, and what is broken.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._operations.audit import audit
from ansible_collections.compute_index.supply.plugins.module_utils._operations.extend import extend
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reap import reap
from ansible_collections.compute_index.supply.plugins.module_utils._operations.spend import spend
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import utc_rounded_up
from hypothesis import given, settings
from hypothesis import strategies as st

from project_inventory import CONFLICT, VAULTED, Inventory
from provision_samples import made_entry
from storage_samples import FORMS, PRICE, Form, Volume, linked, listed

Json = dict[str, Any]
HOUR = 3600.0
# Faults of a host: its broken variable, or the text of its broken file ("entry": its registry entry)
BROKEN: dict[str, Any] = {
    "lease": {"provision_lease": "{{ hours }}h"},
    "idle": {"provision_idle_after": "8 hours"},
    "bill": {"provision_max_bill": "{{ [] | first | int + nothing }}"},
    "project": {"provision_project": "{{ team }}"},
    "folder": {"provision_registry_dir": ["a"]},
    "url": {"provision_registry_url": "postgresql://a:hunter2@{{ db }}/x"},
    "file": CONFLICT,
    "vault": VAULTED,
    "entry": CONFLICT,
}
UNREADABLE = ("file", "vault")  # Ansible cannot read these hosts' variables


@dataclass(frozen=True)
class Host:
    """A host. ``broken``: its fault; ``over``: whether its lease is over; ``form``: of its storage.

    ``is_ordered``: it was ordered by number, and is in no inventory. ``has_only_storage``: its machine has ended.
    """

    name: str
    group: str
    broken: str = ""
    over: bool = False
    is_ordered: bool = False
    form: Form | None = None
    has_only_storage: bool = False


@dataclass
class World:
    """A folder with groups of hosts. Each group has its own registry."""

    hosts: list[Host]
    folder: Path
    machines: list[Json] = field(default_factory=list)
    volumes: list[Volume] = field(default_factory=list)

    def build(self) -> Inventory:
        inventory = Inventory(self.folder)
        groups: Json = {}
        for number, host in enumerate(self.hosts):
            own = dict(BROKEN[host.broken]) if isinstance(BROKEN.get(host.broken), dict) else {}
            members = groups.setdefault(host.group, {}).setdefault("hosts", {})
            if not host.is_ordered:
                members[host.name] = own
            if host.broken in ("file", "vault"):
                inventory.variables("host_vars", host.name, BROKEN[host.broken])
            volume = Volume(number, host.name, host.form, "data", f"o-r-{number}") if host.form else None
            self.volumes += [volume] if volume else []
            self._buy(host, f"r-{number}", volume)
        for group in groups:
            registry = {"provision_registry_dir": str(self.folder / "registries" / group)}
            inventory.variables("group_vars", group, registry)
        inventory.write(groups)
        self.volumes.append(Volume(99, "a colleague", Form("list"), self.hosts[0].name, "o-theirs"))
        return inventory

    def _buy(self, host: Host, key: str, volume: Volume | None) -> None:
        """Make its machine, and write its entry into the registry of its group."""
        file = self.file(host)
        file.parent.mkdir(parents=True)
        entry = {
            **made_entry(key),
            "provision_leased": "8h",
            "provision_ends_at": utc_rounded_up(time.time() + (-3 * HOUR if host.over else HOUR)),
            "provision_groups": [host.group],
            **({"provision_storage": [volume.entry_item]} if volume else {}),
        }
        if volume and host.has_only_storage:
            entry = {"provision_storage": [{**volume.entry_item, "kept_since": utc_rounded_up(time.time() - HOUR)}]}
        file.write_text(BROKEN["entry"] if host.broken == "entry" else yaml.safe_dump(entry))
        if host.has_only_storage:
            return
        machine = {
            **{"resource_id": key, "name": host.name, "offer_id": f"o-{key}", "status": "running", "vendor": "v"},
            **{"created_at": utc_rounded_up(time.time() - HOUR), "price_per_hour": 2.0},
        }
        self.machines.append(linked(machine, [volume] if volume else []))

    def file(self, host: Host) -> Path:
        return self.folder / "registries" / host.group / host.name / "compute_index_supply.yml"

    def id_of(self, host: Host) -> str:
        return f"r-{self.hosts.index(host)}"

    def expected_text(self, host: Host) -> str:
        """The text that each report of a broken host must contain: its variable or its file."""
        own = BROKEN[host.broken]
        if isinstance(own, dict):
            return next(iter(own))
        return str(self.file(host) if host.broken == "entry" else self.folder / "host_vars" / host.name / "own.yml")


class Api:
    """An API with the machines and volumes of the world."""

    ahead = 0.0

    def __init__(self, world: World) -> None:
        self._machines, self._volumes = world.machines, world.volumes

    def resources(self) -> list[Json]:
        return [dict(each) for each in (*self._machines, *listed(self._volumes))]

    def resource(self, resource_id: str, **_how: Any) -> Json:
        pages = (*self._machines, *(volume.page for volume in self._volumes))
        return next(dict(each) for each in pages if each["resource_id"] == resource_id)


def params(spec: Json, found: Json) -> Json:
    defaults = {name: option.get("default") for name, option in spec.items()}
    return {**defaults, "api_url": "https://api.example.com", **found}


@st.composite
def hosts(draw: st.DrawFn) -> list[Host]:
    """Draw hosts of two groups. Hosts without an inventory have only an entry, so nothing of them is broken."""
    found = []
    for number in range(draw(st.integers(1, 6))):
        is_ordered, group = draw(st.booleans()), draw(st.sampled_from(["gpu", "train"]))
        broken = "" if is_ordered else draw(st.sampled_from(["", "", *BROKEN]))
        form, over = draw(st.none() | FORMS), draw(st.booleans())
        has_only_storage = form is not None and not broken and draw(st.booleans())
        found.append(
            Host(f"h-{number}", group, broken, over and not has_only_storage, is_ordered, form, has_only_storage)
        )
    return found


@settings(max_examples=60)
@given(hosts())
def test_broken_hosts_are_reported_and_all_others_are_handled(generated_hosts: list[Host]) -> None:
    with tempfile.TemporaryDirectory() as folder, patch("os.getcwd", lambda: folder):
        world = World(generated_hosts, Path(folder).resolve())
        inventory = world.build()
        found = inventory.gathered("audit")
        readable = [host for host in generated_hosts if host.broken != "entry"]
        broken = [host for host in generated_hosts if host.broken]

        def assert_reports(trouble: str, hosts: list[Host]) -> None:
            assert bool(trouble) is bool(hosts), (trouble, hosts)
            assert all(host.name in trouble and world.expected_text(host) in trouble for host in hosts)
            assert "hunter2" not in trouble and "bug of the collection" not in trouble

        # An audit names the owner of each machine whose entry can be read,
        audited = audit(Api(world), params(steps.AUDIT, found), False)  # type: ignore[arg-type]
        assert_reports(audited["trouble"], broken)
        claimed = {row["resource_id"]: row["hosts"] for row in audited["audit"]["claimed"]}
        assert claimed == {world.id_of(host): [host.name] for host in readable if not host.has_only_storage}

        # and of all storage, even unlisted; the colleague's is an orphan.
        *volumes, colleagues = world.volumes
        stored = {row["resource_id"]: row["hosts"] for row in audited["audit"]["storage"]}
        known_owners = {host.name for host in readable} & {volume.owner for volume in volumes}
        assert {each: hosts for each, hosts in stored.items() if hosts} == {
            volume.id: [volume.owner] for volume in volumes if volume.owner in known_owners
        }
        assert stored.get(colleagues.id, []) == []
        listed_ids = {volume.id for volume in world.volumes if volume.form.is_listed}
        total = 2.0 * len(world.machines) + PRICE * len({*stored, *listed_ids})
        assert audited["audit"]["price_per_hour"]["total"] == pytest.approx(total)

        # Spending counts all of them.
        spent = spend(params(steps.SPEND, inventory.gathered("spend")), False)
        assert_reports(spent["trouble"], broken)
        assert set(spent["spend"]["hosts"]) == {host.name for host in readable}
        with_machine = [host for host in readable if not host.has_only_storage]
        only_storage = len(readable) - len(with_machine)
        assert spent["spend"]["usd"] >= 1.99 * len(with_machine) + 0.99 * PRICE * only_storage

        # A sweep ends exactly the leases that are over. If Ansible cannot run tasks for a host, it reports the bill.
        swept = reap(Api(world), params(steps.REAP, inventory.gathered("reap")), False)  # type: ignore[arg-type]
        assert_reports(swept["trouble"], broken)
        over = [host for host in readable if host.over]
        assert sorted(swept["hosts"]) == sorted(host.name for host in over if host.broken not in UNREADABLE)
        for host in over:
            bill = f"The lease of {host.name} is over, and {world.id_of(host)} runs on at USD 2.00 per hour"
            assert (bill in swept["trouble"]) is (host.broken in UNREADABLE)

        # Each readable host is extended.
        names = [host.name for host in generated_hosts if not host.has_only_storage]
        if not names:
            return  # a host with only storage has no lease to extend
        options = {**inventory.gathered("extend", hosts=names), "by": "4h"}
        extended = extend(params(steps.EXTEND, options), False)
        placeless = ("file", "vault", "project", "folder", "url", "bill", "entry")
        leased = {h.name for h in generated_hosts if h.broken not in placeless and not h.has_only_storage}
        assert {row["host"] for row in extended["extended"]} == leased
        assert_reports(extended["trouble"], broken)
