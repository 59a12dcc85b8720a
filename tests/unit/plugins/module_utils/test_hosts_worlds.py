# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random inventories, in which some hosts, files and groups are broken: all others are swept, audited and counted.

Each world keeps its own book of which machine and which storage is whose, of what it costs, and of what was broken.
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
# What may be wrong with a host, each with the words that must be told of it; where its entry cannot be read, "entry".
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
UNREADABLE = ("file", "vault")  # for Ansible


@dataclass(frozen=True)
class Host:
    """A host, how it is ``broken``, and whether its lease is ``over``; one that was ``added`` is in no inventory.

    ``form``: of its storage; ``kept``: its machine has ended, and the registry has the storage alone.
    """

    name: str
    group: str
    broken: str = ""
    over: bool = False
    added: bool = False
    form: Form | None = None
    kept: bool = False


@dataclass
class World:
    """A folder with hosts of groups, each group with a registry of its own."""

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
            if not host.added:
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
        """Its machine, and the entry of it, which its registry's folder has whatever else is broken."""
        file = self.file(host)
        file.parent.mkdir(parents=True)
        entry = {
            **made_entry(key),
            "provision_leased": "8h",
            "provision_ends_at": utc_rounded_up(time.time() + (-3 * HOUR if host.over else HOUR)),
            "provision_groups": [host.group],
            **({"provision_storage": [volume.entry_item]} if volume else {}),
        }
        if volume and host.kept:
            entry = {"provision_storage": [{**volume.entry_item, "kept_since": utc_rounded_up(time.time() - HOUR)}]}
        file.write_text(BROKEN["entry"] if host.broken == "entry" else yaml.safe_dump(entry))
        if host.kept:
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

    def words(self, host: Host) -> str:
        """What must be said of a broken host."""
        own = BROKEN[host.broken]
        if isinstance(own, dict):
            return next(iter(own))
        return str(self.file(host) if host.broken == "entry" else self.folder / "host_vars" / host.name / "own.yml")


class Api:
    """The account."""

    ahead = 0.0

    def __init__(self, world: World) -> None:
        self._machines, self._volumes = world.machines, world.volumes

    def resources(self) -> list[Json]:
        return [dict(each) for each in (*self._machines, *listed(self._volumes))]

    def resource(self, resource_id: str, **_how: Any) -> Json:
        shown = (*self._machines, *(volume.page for volume in self._volumes))
        return next(dict(each) for each in shown if each["resource_id"] == resource_id)


def params(spec: Json, found: Json) -> Json:
    defaults = {name: option.get("default") for name, option in spec.items()}
    return {**defaults, "api_url": "https://api.example.com", **found}


@st.composite
def hosts(draw: st.DrawFn) -> list[Host]:
    """Some hosts of two groups; what was added is only known by the registry, so that nothing of it is broken."""
    found = []
    for number in range(draw(st.integers(1, 6))):
        added, group = draw(st.booleans()), draw(st.sampled_from(["gpu", "train"]))
        broken = "" if added else draw(st.sampled_from(["", "", *BROKEN]))
        form, over = draw(st.none() | FORMS), draw(st.booleans())
        kept = form is not None and not broken and draw(st.booleans())
        found.append(Host(f"h-{number}", group, broken, over and not kept, added, form, kept))
    return found


@settings(max_examples=60)
@given(hosts())
def test_broken_hosts_are_named_and_all_others_are_complete(own: list[Host]) -> None:
    with tempfile.TemporaryDirectory() as folder, patch("os.getcwd", lambda: folder):
        world = World(own, Path(folder).resolve())
        inventory = world.build()
        found = inventory.gathered("audit")
        readable = [host for host in own if host.broken != "entry"]
        broken = [host for host in own if host.broken]

        def assert_named(trouble: str, hosts: list[Host]) -> None:
            assert bool(trouble) is bool(hosts), (trouble, hosts)
            assert all(host.name in trouble and world.words(host) in trouble for host in hosts)
            assert "hunter2" not in trouble and "bug of the collection" not in trouble

        # An audit knows the owner of each machine of which an entry can be read.
        audited = audit(Api(world), params(steps.AUDIT, found), False)  # type: ignore[arg-type]
        assert_named(audited["trouble"], broken)
        claimed = {row["resource_id"]: row["hosts"] for row in audited["audit"]["claimed"]}
        assert claimed == {world.id_of(host): [host.name] for host in readable if not host.kept}

        # And of all storage, also of what is listed nowhere; the colleague's is an orphan.
        *volumes, theirs = world.volumes
        stored = {row["resource_id"]: row["hosts"] for row in audited["audit"]["storage"]}
        shown = {host.name for host in readable} & {volume.owner for volume in volumes}
        assert {each: hosts for each, hosts in stored.items() if hosts} == {
            volume.id: [volume.owner] for volume in volumes if volume.owner in shown
        }
        assert stored.get(theirs.id, []) == []
        listed_too = {volume.id for volume in world.volumes if volume.form.is_listed}
        total = 2.0 * len(world.machines) + PRICE * len({*stored, *listed_too})
        assert audited["audit"]["price_per_hour"]["total"] == pytest.approx(total)

        # Spending counts them all.
        spent = spend(params(steps.SPEND, inventory.gathered("spend")), False)
        assert_named(spent["trouble"], broken)
        assert set(spent["spend"]["hosts"]) == {host.name for host in readable}
        alone = [host for host in readable if host.kept]
        assert spent["spend"]["usd"] >= 1.99 * (len(readable) - len(alone)) + 0.99 * PRICE * len(alone)

        # A sweep ends exactly what is over, but for hosts that Ansible runs nothing for: these it names with the bill.
        swept = reap(Api(world), params(steps.REAP, inventory.gathered("reap")), False)  # type: ignore[arg-type]
        assert_named(swept["trouble"], broken)
        over = [host for host in readable if host.over]
        assert sorted(swept["hosts"]) == sorted(host.name for host in over if host.broken not in UNREADABLE)
        for host in over:
            left = f"The lease of {host.name} is over, and {world.id_of(host)} runs on at USD 2.00 per hour"
            assert (left in swept["trouble"]) is (host.broken in UNREADABLE)

        # And each host that can be read gets more time.
        names = [host.name for host in own if not host.kept]
        if not names:
            return  # what has storage alone has no time to extend
        asked = {**inventory.gathered("extend", hosts=names), "by": "4h"}
        extended = extend(params(steps.EXTEND, asked), False)
        placeless = ("file", "vault", "project", "folder", "url", "bill", "entry")
        leased = {h.name for h in own if h.broken not in placeless and not h.kept}
        assert {row["host"] for row in extended["extended"]} == leased
        assert_named(extended["trouble"], broken)
