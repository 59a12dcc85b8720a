# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Worlds in which machines vanish, return and end, tokens are mixed up, and lists lag; with both stores.

The world's own books say which machine really runs, and when a look could see it. So nothing is bought for a host whose
machine may live, nothing that the API shows is left out of a sum, and what never ended keeps its entry.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_operations_missing import HOST, Registered

import postgresql
from provision_samples import machine_id, offer, offer_id, raw
from samples import BASE, resource, status

Json = dict[str, Any]
PRICE, HALF_AN_HOUR = 2.0, 1800.0
NEW = 90  # the number of the offer that a new host wants


@dataclass
class Machine:
    """A machine, as it is and as the API shows it."""

    number: int
    ended: bool = False
    hidden: bool = False
    flaky: bool = False  # its page cannot be read
    listed: bool = False  # the list has it, though its page has not: it lags

    @property
    def key(self) -> str:
        return machine_id(self.number)

    @property
    def shown(self) -> Json:
        known = {
            "offer_id": offer_id(self.number),
            "pricing_total_hourly": PRICE,
            "name": f"gpu-{self.number}",
            "offer_history": [],
        }
        return read_resource({**resource(self.key), **known, "status": "deleted" if self.ended else "running"})


@dataclass
class Api:
    """The account. ``wrong``: the token is another account's, which has none of these."""

    machines: list[Machine]
    wrong: bool = False
    lists_ended: bool = True
    account: str = "account"
    ahead: float = 0.0

    def resources(self, _offer_id: str | None = None, **_how: Any) -> list[Json]:
        if self.wrong:
            return []
        return [
            each.shown
            for each in self.machines
            if (not each.hidden or each.listed) and (self.lists_ended or not each.ended)
        ]

    def resource(self, resource_id: str, **_how: Any) -> Json:
        (found,) = (each for each in self.machines if each.key == resource_id)
        if found.flaky:
            raise ApiError("The API answered 503.", "unavailable", status_code=503, passing=True)
        if self.wrong or found.hidden:
            raise ApiError("The API answered 404.", "not_found", status_code=404)
        return found.shown

    def offer_status(self, wanted: str, **_how: Any) -> Json:
        found = [each for each in self.machines if offer_id(each.number) == wanted]
        if self.wrong and found:
            raise ApiError("The API answered 404.", "not_found", status_code=404)
        ids = [each.key for each in found]
        return read_status({**status("ready" if found else "available", resource_ids=ids), "offer_id": wanted}, wanted)

    def offer(self, wanted: str) -> Json:
        return {**offer(NEW, PRICE), "offer_id": wanted, "status": "available", "vendor_region": None}


@dataclass
class Books:
    """What really happened to a machine: the moments of looks that noted it, by the world's own time."""

    unseen: list[float] = field(default_factory=list)  # since it was shown last

    @property
    def may_be_missing(self) -> bool:
        return len(self.unseen) > 1 and self.unseen[-1] - self.unseen[0] >= HALF_AN_HOUR


class World:
    """Some hosts, each with a machine; ``registered``: the store."""

    def __init__(self, registered: Registered, count: int, lists_ended: bool) -> None:
        self.registered, self.now = registered, 0.0
        self.are_missing = set[str]()
        self.purchases = self.refusals = self.missing = 0
        self.machines = [Machine(number) for number in range(count)]
        self.api = Api(self.machines, lists_ended=lists_ended)
        self.books = {each.number: Books() for each in self.machines}
        for each in self.machines:
            registered.buy(f"gpu-{each.number}", each.shown)

    # What happens

    def step(self, step: str, number: int) -> None:
        each = self.machines[number % len(self.machines)]
        if step == "wrong":
            self.api.wrong = not self.api.wrong
        elif step == "end":
            each.ended = True
        elif step in ("hidden", "flaky", "listed"):
            setattr(each, step, not getattr(each, step))
        elif step == "vanish":
            each.hidden = True
            for one in ("settle", "wait 1900", "reap"):
                self.step(one, number)
        elif step.startswith("wait"):
            seconds = float(step.split()[1])
            self.now += seconds
            self.registered.age(seconds)
        else:
            self.look(step, each)
            self.check(step)

    def params(self, spec: Json, **given_: Any) -> Json:
        defaults = {name: option.get("default") for name, option in spec.items()}
        common = {"here": "/", "api_url": BASE, "registry_url": self.registered.url, "inventory": {}, "quote": False}
        return {**defaults, **common, "home": "", "account_name": "", **given_}

    def look(self, step: str, each: Machine) -> None:
        folder = None if self.registered.url else str(self.registered.folder)
        hosts = [{**HOST, "registry_dir": folder}]
        api, before = cast(Market, self.api), self.registered.all()
        if step == "reap":
            reap(api, self.params(steps.REAP, hosts=hosts), False)
        elif step == "settle":
            audit(api, self.params(steps.AUDIT, hosts=hosts, settle=True), False)
        elif step == "audit":
            audit(api, self.params(steps.AUDIT, hosts=hosts), False)
            assert self.registered.all() == before
            return
        plans = self.plans(each, folder) if step == "buy" else {}
        self.note()
        if plans:
            self.check_plans(each, plans)

    def note(self) -> None:
        """Note in the books what this look could see."""
        for each in self.machines:
            if each.hidden or self.api.wrong:
                self.books[each.number].unseen.append(self.now)
            else:
                self.books[each.number].unseen.clear()

    def plans(self, each: Machine, folder: str | None) -> dict[str, Json]:
        """A play for a new host at a ceiling that all machines together fill, and for one that owns a machine."""
        how = {"spec": {}, "registry_dir": folder, "max_price_per_hour": 9}
        how["max_account_price_per_hour"] = PRICE * len(self.machines)
        declared = [
            raw(host=host, name=host, id=host, offer_id=offer_id(number), **how)
            for number, host in enumerate(("gpu-new", f"gpu-{each.number}"), start=NEW)
        ]
        params = self.params(steps.PLAN, hosts=declared, ids=[one["id"] for one in declared])
        return {row["host"]: row for row in plan(cast(Market, self.api), params, False)["plans"]}

    def check_plans(self, each: Machine, plans: dict[str, Json]) -> None:
        own = plans.get(f"gpu-{each.number}", {"action": "keep"})
        assert each.ended or own["action"] != "buy", "its machine may live"
        counting = [one for one in self.machines if not (one.ended or self.books[one.number].may_be_missing)]
        if plans["gpu-new"]["action"] == "buy":
            self.purchases += 1
            assert len(counting) < len(self.machines), "what may live fills the ceiling"
        self.refusals += plans["gpu-new"]["action"] == "stop"

    # What must hold

    def check(self, step: str) -> None:
        entries, before = self.registered.entries(), self.are_missing
        self.are_missing = {host for host, entry in entries.items() if entry.is_missing}
        assert not self.api.wrong or self.are_missing <= before, "another account says nothing of ours"
        for each in self.machines:
            entry = entries.get(f"gpu-{each.number}")
            assert each.ended or (entry is not None and entry.resource_ids == (each.key,)), "it has never ended"
            if entry is None:
                continue
            self.missing += entry.is_missing
            assert not entry.is_missing or self.books[each.number].may_be_missing or step == "audit", step
            is_shown = not (self.api.wrong or each.hidden)
            if is_shown and not each.ended and step != "audit":
                assert not entry.is_missing, "it is seen, so it counts"
            assert entry.price_per_hour == PRICE
        runs = self.registered.bills()
        assert all(runs[f"gpu-{each.number}"] for each in self.machines if not each.ended)


EVENTS = ["hidden", "hidden", "vanish", "vanish", "end", "wrong", "flaky", "listed"]
WAITS = ["wait 600", "wait 1750", "wait 1900"]
LOOKS = ["reap", "reap", "settle", "audit", "buy", "buy"]
STEPS = st.tuples(st.sampled_from([*EVENTS, *WAITS, *LOOKS]), st.integers(0, 4))


@pytest.mark.parametrize("store", ["files", "postgresql"])
def test_worlds(store: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("registry_url") if store == "postgresql" else None

    happened = Counter[str]()

    @settings(max_examples=60 if url is None else 25, suppress_health_check=list(HealthCheck))
    @given(st.integers(1, 5), st.booleans(), st.lists(STEPS, min_size=4, max_size=14))
    def run(count: int, lists_ended: bool, steps_: list[tuple[str, int]]) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as after:
            if url:
                after.callback(postgresql.forget, url)
            world = World(Registered(Path(folder), url, BASE), count, lists_ended)
            for step, number in [*steps_, ("buy", 0), ("vanish", 1), ("buy", 0)]:
                world.step(step, number)
            happened.update(purchases=world.purchases, refusals=world.refusals, missing=world.missing)

    run()
    assert min(happened[each] for each in ("purchases", "refusals", "missing")) > 3, happened


def test_the_world_tells_a_rule_that_believes_one_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The books are no part of what they check."""
    monkeypatch.setattr(missing, "APART", 0.0)
    world = World(Registered(tmp_path, None, BASE), 3, lists_ended=True)
    with pytest.raises(AssertionError):
        for step in ("hidden", "reap", "wait 5", "reap"):
            world.step(step, 0)
