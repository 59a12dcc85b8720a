# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random worlds in which machines vanish, return and end, tokens are mixed up, and lists lag; with both stores.

The world knows which machine really runs, and which looks could see it. So it can check: a host whose machine may run
buys no other; sums include each machine that the API shows; a machine that has not ended keeps its entry. Machines
have storage in each form, which outlives them, and a colleague has some: it is billed and kept, and is never a machine.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import (
    ApiError,
    read_resource,
    read_status,
)
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations.audit import audit
from ansible_collections.compute_index.supply.plugins.module_utils._operations.plan import plan
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reap import reap
from ansible_collections.compute_index.supply.plugins.module_utils._provision import missing
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_operations_missing import HOST, HostRegistry

import postgresql
from provision_samples import machine_id, offer, offer_id, raw
from samples import BASE, resource, status
from storage_samples import FORMS, Form, Volume, ids_of, linked, listed
from storage_samples import PRICE as STORAGE_PRICE

Json = dict[str, Any]
COLLEAGUE = "a colleague"
PRICE, HALF_AN_HOUR = 2.0, 1800.0
NEW = 90  # the number of the offer that a new host wants


@dataclass
class Machine:
    """A machine and how the API shows it."""

    number: int
    ended: bool = False
    hidden: bool = False
    flaky: bool = False  # its page cannot be read
    listed: bool = False  # the list lags: it has the machine although its page is hidden
    volume: Volume | None = None  # storage that was bought with it
    stored: bool = False  # whether its entry notes this storage

    @property
    def key(self) -> str:
        return machine_id(self.number)

    @property
    def page(self) -> Json:
        known = {
            "offer_id": offer_id(self.number),
            "pricing_total_hourly": PRICE,
            "name": f"gpu-{self.number}",
            "offer_history": [],
        }
        page = read_resource({**resource(self.key), **known, "status": "deleted" if self.ended else "running"})
        return linked(page, [self.volume] if self.volume else [])

    @property
    def price(self) -> float:
        """USD per hour of its offer."""
        return PRICE + (STORAGE_PRICE if self.volume else 0.0)


@dataclass
class Api:
    """The API. ``wrong``: the token is of another account, without these machines. ``volumes``: all, of any owner."""

    machines: list[Machine]
    volumes: list[Volume]
    wrong: bool = False
    lists_ended: bool = True
    account: str = "account"
    ahead: float = 0.0

    def resources(self, _offer_id: str | None = None, **_how: Any) -> list[Json]:
        if self.wrong:
            return []
        visible = [each for each in self.machines if not each.hidden or each.listed]
        pages = [each.page for each in visible if self.lists_ended or not each.ended]
        return pages + listed(volume for volume in self.volumes if self.lists_ended or volume.is_billed)

    def resource(self, resource_id: str, **_how: Any) -> Json:
        volumes = [volume for volume in self.volumes if volume.id == resource_id]
        if volumes and not self.wrong:
            return volumes[0].page
        found = next((each for each in self.machines if each.key == resource_id), Machine(0, hidden=True))
        if found.flaky:
            raise ApiError("The API answered 503.", "unavailable", status_code=503, transient=True)
        if self.wrong or found.hidden:
            raise ApiError("The API answered 404.", "not_found", status_code=404)
        return found.page

    def offer_status(self, wanted: str, **_how: Any) -> Json:
        found = [each for each in self.machines if offer_id(each.number) == wanted]
        if self.wrong and found:
            raise ApiError("The API answered 404.", "not_found", status_code=404)
        ids = [each.key for each in found]
        ids += [each.volume.id for each in found if each.volume and each.volume.form.appears_in == "ids"]
        return read_status({**status("ready" if found else "available", resource_ids=ids), "offer_id": wanted}, wanted)

    def offer(self, wanted: str) -> Json:
        return {**offer(NEW, PRICE), "offer_id": wanted, "status": "available", "vendor_region": None}


@dataclass
class Looks:
    """The looks at a machine. ``unseen``: the times of looks that could not see it, since the last that could."""

    unseen: list[float] = field(default_factory=list)

    @property
    def may_be_missing(self) -> bool:
        return len(self.unseen) > 1 and self.unseen[-1] - self.unseen[0] >= HALF_AN_HOUR


class World:
    """Hosts with one machine each. ``forms``: of their storage, and whether the registry notes it.

    ``room``: USD per hour that the account's ceiling leaves in addition to everything that was bought.
    """

    def __init__(
        self,
        registry: HostRegistry,
        count: int,
        lists_ended: bool,
        forms: Sequence[tuple[Form | None, bool]] = (),
        room: float = 0.0,
    ) -> None:
        self.registry, self.now, self.room = registry, 0.0, room
        self.are_missing = set[str]()
        self.purchases = self.refusals = self.missing = self.kept = 0
        self.machines = [Machine(number) for number in range(count)]
        for each, (form, is_noted) in zip(self.machines, forms, strict=False):
            if form:
                # A database notes purchases with its own clock, so the storage has no creation time.
                bought_offer = offer_id(each.number)
                each.volume = Volume(each.number + 20, f"gpu-{each.number}", form, "data", bought_offer, created_at="")
                each.stored = is_noted
        foreign = [Volume(40, COLLEAGUE, form, "gpu-0", offer_id(40)) for form, _noted in forms[:1] if form]
        volumes = [each.volume for each in self.machines if each.volume] + foreign
        self.api = Api(self.machines, volumes, lists_ended=lists_ended)
        self.looks = {each.number: Looks() for each in self.machines}
        for each in self.machines:
            noted = [each.volume.entry_item] if each.volume and each.stored else []
            registry.buy(f"gpu-{each.number}", {**each.page, "price_per_hour": each.price}, storage=noted)

    # Events and looks

    def step(self, step: str, number: int) -> None:
        each = self.machines[number % len(self.machines)]
        if step == "wrong":
            self.api.wrong = not self.api.wrong
        elif step == "end":
            each.ended = True
        elif step == "storage ends" and each.volume:
            each.volume.status = "deleted"
        elif step in ("hidden", "flaky", "listed"):
            setattr(each, step, not getattr(each, step))
        elif step == "vanish":
            each.hidden = True
            for then in ("settle", "wait 1900", "reap"):
                self.step(then, number)
        elif step == "end and look":
            each.ended = True
            self.step("reap", number)
        elif step.startswith("wait"):
            seconds = float(step.split()[1])
            self.now += seconds
            self.registry.age(seconds)
        elif step in LOOKS:
            self.look(step, each)
            self.check(step)

    def params(self, spec: Json, **given_: Any) -> Json:
        defaults = {name: option.get("default") for name, option in spec.items()}
        common = {"here": "/", "api_url": BASE, "registry_url": self.registry.url, "inventory": {}, "quote": False}
        common["api_token"] = "token"
        return {**defaults, **common, "home": "", "account_name": "", **given_}

    def look(self, step: str, each: Machine) -> None:
        folder = None if self.registry.url else str(self.registry.folder)
        hosts = [{**HOST, "registry_dir": folder}]
        api, before = cast(Market, self.api), self.registry.contents()
        if step == "reap":
            reap(api, self.params(steps.REAP, hosts=hosts), False)
        elif step == "settle":
            audit(api, self.params(steps.AUDIT, hosts=hosts, settle=True), False)
        elif step == "audit":
            audit(api, self.params(steps.AUDIT, hosts=hosts), False)
            assert self.registry.contents() == before
            return
        plans = self.plans(each, folder) if step == "buy" else {}
        self.note()
        if plans:
            self.check_plans(each, plans)

    def note(self) -> None:
        """Record which machines this look could see."""
        for each in self.machines:
            if each.hidden or self.api.wrong:
                self.looks[each.number].unseen.append(self.now)
            else:
                self.looks[each.number].unseen.clear()

    def plans(self, each: Machine, folder: str | None) -> dict[str, Json]:
        """Plan a new host, below a ceiling that all machines together fill, and a host that owns a machine."""
        how = {"spec": {}, "registry_dir": folder, "max_price_per_hour": 9}
        # Machines, and storage that the list or a registry has, fill it except for the room.
        storage = self.counted_storage(self.registry.state()[1])
        self.ceiling = PRICE * len(self.machines) + STORAGE_PRICE * len(storage) + self.room
        how["max_account_price_per_hour"] = self.ceiling
        declared = [
            raw(host=host, name=host, id=host, offer_id=offer_id(number), **how)
            for number, host in enumerate(("gpu-new", f"gpu-{each.number}"), start=NEW)
        ]
        params = self.params(steps.PLAN, hosts=declared, ids=[one["id"] for one in declared])
        return {row["host"]: row for row in plan(cast(Market, self.api), params, False)["plans"]}

    def counted_storage(self, stored: dict[str, bool]) -> list[Volume]:
        """The storage that sums must include: listed, or noted by a registry and counted."""
        gone = {each.volume.id for each in self.machines if each.volume and self.looks[each.number].may_be_missing}
        visible = [volume for volume in self.api.volumes if volume.form.is_listed and not self.api.wrong]
        noted = [volume for volume in self.api.volumes if stored.get(volume.id) or volume.id in stored.keys() - gone]
        return [volume for volume in self.api.volumes if volume.is_billed and (volume in visible or volume in noted)]

    def check_plans(self, each: Machine, plans: dict[str, Json]) -> None:
        own = plans.get(f"gpu-{each.number}", {"action": "keep"})
        assert each.ended or own["action"] != "buy", "the host buys although its machine may run"
        counting = [one for one in self.machines if not (one.ended or self.looks[one.number].may_be_missing)]
        if plans["gpu-new"]["action"] == "buy":
            self.purchases += 1
            assert len(counting) < len(self.machines), (
                "a purchase passed although machines that may run fill the ceiling"
            )
            storage = self.counted_storage(self.registry.state()[1])
            spent = PRICE * (len(counting) + 1) + STORAGE_PRICE * len(storage)
            assert spent <= self.ceiling + 1e-6, "a purchase passed although storage fills the ceiling"
        self.refusals += plans["gpu-new"]["action"] == "stop"

    # Checks

    def check(self, step: str) -> None:
        noted, stored, bills = self.registry.state()
        entries = {host: entry for host, entry in noted.items() if not entry.is_empty}
        before = self.are_missing
        self.are_missing = {host for host, entry in entries.items() if entry.is_missing}
        assert not self.api.wrong or self.are_missing <= before, (
            "a look with the token of another account made a machine missing"
        )
        for each in self.machines:
            entry = entries.get(f"gpu-{each.number}")
            assert each.ended or (entry is not None and entry.resource_ids == (each.key,)), (
                "an entry was lost although its machine has not ended"
            )
            if entry is None:
                continue
            is_readable = not (self.api.wrong or each.hidden or each.flaky)
            assert not (each.ended and is_readable and step in ("reap", "settle")), "its end was not noted"
            self.missing += entry.is_missing
            assert not entry.is_missing or self.looks[each.number].may_be_missing or step == "audit", step
            is_shown = not (self.api.wrong or each.hidden)
            if is_shown and not each.ended and step != "audit":
                assert not entry.is_missing, "a machine that the look saw still counts as missing"
            assert entry.price_per_hour == each.price
        self.check_storage(entries, stored, {item for bill in bills if bill.runs for item in bill.resource_ids})

    def check_storage(self, entries: dict[str, Entry], stored: dict[str, bool], running: set[str]) -> None:
        machines = {item for entry in entries.values() for item in entry.resource_ids}
        assert not machines & ids_of(self.api.volumes), "storage was noted as a machine"
        assert not stored.keys() & ids_of(volume for volume in self.api.volumes if volume.owner == COLLEAGUE)
        assert {each.key for each in self.machines if not each.ended} <= running
        for each in self.machines:
            if not (each.volume and each.volume.is_billed and (each.stored or each.volume.form.is_provable)):
                continue  # an orphan, whose owner nothing proves
            is_known = each.volume.id in stored
            is_over = f"gpu-{each.number}" not in entries
            assert is_known or not (each.stored or is_over), "storage was forgotten"
            assert each.volume.id in running or (not is_over and each.key in running), (
                "the ledger has no running bill of billed storage"
            )
            self.kept += is_known and is_over


EVENTS = ["hidden", "hidden", "vanish", "vanish", "end", "end and look", "wrong", "flaky", "listed", "storage ends"]
WAITS = ["wait 600", "wait 1750", "wait 1900"]
LOOKS = ["reap", "reap", "settle", "audit", "buy", "buy"]
STEPS = st.tuples(st.sampled_from([*EVENTS, *WAITS, *LOOKS]), st.integers(0, 4))


@pytest.mark.parametrize("store", ["files", "postgresql"])
def test_vanishing_machines_keep_entries_and_count_in_sums(store: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("registry_url") if store == "postgresql" else None

    happened = Counter[str]()

    @settings(max_examples=40 if url is None else 15, suppress_health_check=list(HealthCheck))
    @given(
        st.integers(1, 5),
        st.booleans(),
        st.lists(st.tuples(st.none() | FORMS, st.booleans()), min_size=5, max_size=5),
        st.sampled_from([0.0, -0.1]),
        st.lists(STEPS, min_size=4, max_size=14),
    )
    def run(
        count: int,
        lists_ended: bool,
        forms: list[tuple[Form | None, bool]],
        room: float,
        actions: list[tuple[str, int]],
    ) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as after:
            if url:
                after.callback(postgresql.forget, url)
            world = World(HostRegistry(Path(folder), url, BASE), count, lists_ended, forms, room)
            for step, number in [*actions, ("buy", 0), ("vanish", 1), ("buy", 0)]:
                world.step(step, number)
            happened.update(purchases=world.purchases, refusals=world.refusals, missing=world.missing, kept=world.kept)

    run()
    assert min(happened[each] for each in ("purchases", "refusals", "missing", "kept")) > 3, happened


def test_world_detects_a_rule_that_needs_only_one_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The checks do not depend on the rule that they check."""
    monkeypatch.setattr(missing, "APART", 0.0)
    world = World(HostRegistry(tmp_path, None, BASE), 3, lists_ended=True)
    with pytest.raises(AssertionError):
        for step in ("hidden", "reap", "wait 5", "reap"):
            world.step(step, 0)
