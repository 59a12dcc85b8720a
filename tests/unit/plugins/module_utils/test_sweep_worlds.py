# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweeps of worlds that keep books: exactly what is over ends, and each trouble stays with its host and is named.

A host's file may be broken, its lease unreadable, its machine frozen; its clock or the API's records may have moved.
Its last command may fail. Between the look and the end its lease may be extended, its user come, or another run end it.
The API may refuse to delete. The books know when each lease is over, who uses a machine, and which storage stays after
it: it keeps no lease from its end, and ends only if its host says so.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.action.decide import newest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._operations import end as end_operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations.end import end
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reap import reap, reaped
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import utc_rounded_up
from ansible_collections.compute_index.supply.plugins.module_utils._provision.reaping import last_command_succeeded
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _stores
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_operations_reap import HOUR, IDLE, Api, described, machine, params, write

from ends import note_end
from storage_samples import FORMS, Form, Volume, linked, listed

Json = dict[str, Any]

GRACE = 0.5 * HOUR
ACTIVE, KEPT = {"state": "active", "evidence": "GPU 7 at 97 %"}, {"state": "active", "evidence": "supply-keep"}
FROZEN: list[Json] = [
    {"unreachable": True, "msg": "Connection timed out during banner exchange"},
    {"failed": False, "msg": "failed to execute in the expected time frame (30) and was terminated"},
]
FAILS: list[Json] = [{"rc": 3}, *FROZEN]
INSTANCE = {"ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}


@dataclass(frozen=True)
class World:
    """A host, as it is and as it becomes during a sweep. Hours are counted from now."""

    hours: float | None = 1.0  # until its lease is over; None: it has none
    clock: str = "here"  # that has noted this
    created: str = ""  # what the API says of its creation
    file: str = ""  # what is wrong with its file
    odd_end: str = ""
    idles: str = ""  # how long it may be idle
    first: Json | None = None  # what its machine says when it is asked, and after the last command
    again: Json | None = None
    age: float = 0.0  # seconds since it has said it
    before: Json | None = None  # what became of the last command, if there is one
    meanwhile: str = ""  # what another run or a user does between the look and the end
    refused: bool = False  # the API does not delete it
    form: Form | None = None  # of its storage, if it has any
    noted_as: str = ""  # that, in its entry: "", "storage", or by earlier versions a machine's "id"
    ends_storage: bool = False  # the host wants it to end with the machine

    @property
    def is_stored(self) -> bool:
        """Whether anything tells a sweep of its storage."""
        return self.form is not None and (self.form.is_provable or bool(self.noted_as))

    @property
    def is_readable(self) -> bool:
        return not (self.file or self.odd_end)

    def passed(self, ahead: float) -> float | None:
        """Seconds for which its lease has been over, by the clock that noted it."""
        if self.hours is None or not self.is_readable:
            return None
        return -self.hours * HOUR + (ahead if self.clock == "api" else 0.0)

    def is_over(self, ahead: float) -> bool:
        passed = self.passed(ahead)
        # A resync moves all creations to this moment, and that moves an end by an hour at most.
        return passed is not None and passed >= (HOUR if self.created == "now" else 0.0)

    @property
    def is_asked(self) -> bool:
        return self.idles == "1h" and self.is_readable

    @property
    def answers(self) -> Json | None:
        return self.again if self.before is not None else self.first

    @property
    def is_idle(self) -> bool:
        """Whether it has said so each time, and lately."""
        return self.is_asked and self.first == IDLE == self.answers and 0 <= self.age <= 60

    @property
    def last_command_succeeded(self) -> bool:
        return last_command_succeeded(self.before)


# Far from the moment itself, since the books and the sweep look at the clock one after the other.
HOURS = st.sampled_from([-30.0, -2.2, -1.1, -0.9, -0.6, -0.4, -0.1, 0.1, 0.9, 1.1, 2.2, 30.0])
ANSWERS = st.sampled_from([IDLE, IDLE, IDLE, {**IDLE, "idle_seconds": 1800}, ACTIVE, {"state": "unknown"}, *FROZEN])
MOMENTS = ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z", "soon"]
LIVING: Json = {
    "hours": st.none() | HOURS,
    "clock": st.sampled_from(["here", "api"]),
    "idles": st.sampled_from(["", "1h"]),
    "first": ANSWERS,
    "again": ANSWERS | st.just(KEPT),
    "before": st.none() | st.just({"rc": 0}) | st.sampled_from(FAILS),
    "form": st.none() | FORMS,
    "noted_as": st.sampled_from(["", "id", "storage"]),
    "ends_storage": st.booleans(),
}
# What may go wrong with a host beside that
TROUBLE: Json = {
    "created": st.just("now") | st.sampled_from(MOMENTS),
    "file": st.sampled_from(["<<<<<<< HEAD\n", "- a list\n", "$ANSIBLE_VAULT;1.1;AES256\n6162\n", "\udcff"]),
    "odd_end": st.sampled_from(["soon", "2026-11-27", "10000-01-01T00:00:00Z"]),
    "idles": st.just("eight hours"),
    "age": st.sampled_from([50.0, 70.0, -30.0]),
    "meanwhile": st.sampled_from(["extended", "ended", "marked"]),
    "refused": st.just(True),
}
ONE_TROUBLE = [st.builds(World, **{**LIVING, name: values}) for name, values in TROUBLE.items()]
WORLDS = st.builds(World, **LIVING) | st.one_of(ONE_TROUBLE) | st.builds(World, **{**LIVING, **TROUBLE})


class Account(Api):
    """The same with storage, of which the list does not have all."""

    volumes: Sequence[Volume] = ()

    def resources(self) -> list[Json]:
        return [*super().resources(), *listed(self.volumes)]

    def resource(self, resource_id: str, **how: Any) -> Json:
        found = [volume.page for volume in self.volumes if volume.id == resource_id]
        return found[0] if found else super().resource(resource_id, **how)


class Sweep:
    """One sweep of these hosts in a folder, step by step as the playbook goes; who has ended, and what it said."""

    def __init__(self, folder: Path, worlds: dict[str, World], ahead: float) -> None:
        self.folder, self.worlds = folder, worlds
        self.volumes = {
            host: Volume(number, host, world.form, "data", f"o-r-{host}", "")
            for number, (host, world) in enumerate(worlds.items())
            if world.form
        }
        own = {host: [self.volumes[host]] if host in self.volumes else [] for host in worlds}
        self.api = Account(*(linked(machine(f"r-{host}", host), own[host]) for host in worlds), ahead=ahead)
        colleagues = Volume(99, "a colleague", Form("list"), next(iter(worlds)), "o-theirs")
        self.api.volumes = [*self.volumes.values(), colleagues]
        for host, (world, each) in zip(worlds, zip(worlds.values(), self.api.machines, strict=True), strict=True):
            each["created_at"] = utc_rounded_up(time.time()) if world.created == "now" else world.created
            self.write(host, world)
        self.ended: list[str] = []
        self.ended_storage: list[str] = []
        self.said = ""
        self.answer = self.step(reap, steps.REAP, described("localhost", folder), grace="30m", forks=5)
        self.rows = {each["host"]: each["sweep"] for each in self.answer["due"]}
        for host, world in worlds.items():
            self.meanwhile(host, world)
        self.failed: dict[str, str | None] = dict.fromkeys(self.rows)
        going = [host for host in self.rows if self.goes_on(host)]
        for plan in self.plans(going):
            self.failed[plan["host"]] = self.end(plan)
        self.report()

    def step(self, operation: Any, spec: Json, *hosts: Json, **given: Any) -> Json:
        found: Json = operation(self.api, params(spec, *hosts, **given), False)
        return found

    def write(self, host: str, world: World) -> None:
        more: Json = {"provision_clock": "api"} if world.clock == "api" else {}
        more |= {"provision_idles": world.idles, "provision_instances": [INSTANCE]}
        more |= {"provision_ends_at": world.odd_end} if world.odd_end else {}
        if world.form and world.noted_as == "id":
            more["provision_resource_ids"] = [f"r-{host}", self.volumes[host].id]
        elif world.form and world.noted_as == "storage":
            more["provision_storage"] = [self.volumes[host].entry_item]
        file = write(self.folder, host, f"r-{host}", world.hours, **more)
        if world.file:
            file.write_bytes(world.file.encode(errors="surrogateescape"))

    def meanwhile(self, host: str, world: World) -> None:
        if not world.meanwhile or world.file:
            return
        file = HostFile(str(self.folder / host / "compute_index_supply.yml"))
        file.read()
        if world.meanwhile == "extended":
            file.compare_and_set({"provision_ends_at": utc_rounded_up(time.time() + 100 * HOUR)})
        elif world.meanwhile == "marked":
            file.compare_and_set({"provision_reaped_at": utc_rounded_up(time.time() - 1)})
        else:
            file.end("reaped")
            self.api.machines[:] = [each for each in self.api.machines if each["name"] != host]

    def goes_on(self, host: str) -> bool:
        """Whether the play goes on with the host after it has asked its machine."""
        return (self.worlds[host].first or {}).get("idle_seconds", 0) >= self.rows[host]["idle"]

    def told(self, host: str) -> Json:
        world, idle = self.worlds[host], self.rows[host]["idle"]
        if not idle:
            return {"activity": {"skipped": True}, "before": world.before}
        if not self.goes_on(host):
            return {"activity": world.first, "before": None}
        again = {"skipped": True} if world.before is None else {**(world.again or {}), "asked_at": self.asked_at(world)}
        first = {**(world.first or {}), "asked_at": self.asked_at(world)}
        return {"activity": newest(first, again), "before": world.before}

    def asked_at(self, world: World) -> float:
        return time.time() - world.age

    def plans(self, hosts: list[str]) -> list[Json]:
        usual = {"resource_id": "", "listed_id": "", "wait_timeout": "5m"}
        declared = [
            {
                **{**described(host, self.folder), **usual, "id": host, "reaped": self.rows[host], **self.told(host)},
                "storage": "end" if self.worlds[host].ends_storage else "",
            }
            for host in hosts
        ]
        return list(self.step(end, steps.END, *declared, ids=hosts)["ends"].values())

    def end(self, plan: Json) -> str:
        """End what ends of a host; what went wrong."""
        if plan["next"] == "stop":
            return f"{plan['host']}: {plan['refusal']}"
        if plan["next"] == "":
            return ""
        refused = self.worlds[plan["host"]].refused
        answers = [
            {"resource_id": each, "billing_stopped": not refused, "msg": "Answered 403."} for each in plan["ids"]
        ]
        if not refused:
            self.ended.append(plan["host"])
            self.ended_storage += plan["storage_ends"]
            answers += [{"resource_id": each, "billing_stopped": True, "msg": ""} for each in plan["storage_ends"]]
        try:
            note_end(self.api, plan, *answers)
        except Failure as failure:
            return f"{plan['host']}: {failure}"
        return ""

    def report(self) -> None:
        rows = [
            {"host": host, **sweep, "failed": self.failed[host], **self.told(host)} for host, sweep in self.rows.items()
        ]
        given = {name: self.answer[name] for name in ("kept", "at")}
        try:
            reaped(params(steps.REAPED, *rows, trouble=[self.answer["trouble"]], **given), False)
        except Failure as failure:
            self.said = str(failure)

    def registered(self, host: str) -> Json | None:
        """The host's entry, None if it has none."""
        file = self.folder / host / "compute_index_supply.yml"
        return yaml.safe_load(file.read_text()) if file.exists() else None

    @property
    def is_marked(self) -> bool:
        return (self.folder / ".compute_index_supply.swept").exists()


@pytest.fixture(scope="module", autouse=True)
def statuses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(end_operation, "offer_statuses", lambda _api, offers: {each: {} for each in offers})
        yield


def ends(world: World, ahead: float) -> bool:
    """By the books: whether its time is over when it counts, and its last command is no reason to wait."""
    if world.meanwhile == "ended" or not world.is_readable:
        return False
    over, passed = world.is_over(ahead), world.passed(ahead) or 0.0
    if over and world.meanwhile != "extended":
        return world.last_command_succeeded or passed - (HOUR if world.created == "now" else 0.0) >= GRACE
    idle = not over and world.is_idle
    return idle and (world.last_command_succeeded or IDLE["idle_seconds"] >= HOUR + GRACE)  # type: ignore[no-any-return]


def complaints(world: World, ahead: float) -> tuple[bool, bool]:
    """By the books: whether the host is to be named, and whether it is since its lease was not kept."""
    gone = world.meanwhile == "ended"
    over = world.is_over(ahead)
    left = not gone and world.meanwhile != "extended" and over and (world.refused or not ends(world, ahead))
    not_kept = bool(world.file or world.odd_end or left)
    goes_on = not over and world.is_asked
    unasked = goes_on and "state" not in (world.first or {})
    if goes_on and world.before is not None and (world.first or {}).get("idle_seconds", 0) >= HOUR:
        unasked = "state" not in (world.again or {})
    is_idle = goes_on and world.is_idle and not gone
    idle_left = is_idle and (world.refused or not ends(world, ahead))
    odd = not world.file and world.idles == "eight hours"
    return not_kept or unasked or idle_left or odd, not_kept


@given(st.lists(WORLDS, min_size=1, max_size=6), st.sampled_from([0.0, 0.0, 0.0, 200.0, 2 * HOUR, -2 * HOUR]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_exactly_what_is_over_ends_and_each_trouble_is_named(found: list[World], ahead: float) -> None:
    worlds = {f"gpu-{number}x": world for number, world in enumerate(found)}
    with tempfile.TemporaryDirectory() as name:
        sweep = Sweep(Path(name), worlds, ahead)
        apart = abs(ahead) > 300
        expected = [host for host, world in worlds.items() if ends(world, ahead) and not world.refused]
        assert sorted(sweep.ended) == expected, sweep.said
        told = {host: complaints(world, ahead) for host, world in worlds.items()}
        named = [host for host in worlds if host in sweep.said]
        assert named == [host for host, (is_named, _lease) in told.items() if is_named], sweep.said
        assert bool(sweep.said) is (bool(named) or apart)
        assert sweep.is_marked is not (apart or any(lease for _named, lease in told.values()))
        # What ended is forgotten, and what runs is remembered; storage is until it has ended, too.
        gone = {host for host, world in worlds.items() if world.meanwhile == "ended" and not world.file}
        stores = {host for host in expected if worlds[host].is_stored}
        ends_too = {host for host in stores if worlds[host].ends_storage}
        assert {*sweep.ended_storage} == {sweep.volumes[host].id for host in ends_too}
        kept = stores - ends_too | {host for host in gone & sweep.volumes.keys() if worlds[host].noted_as == "storage"}
        left = {host for host in worlds if (Path(name) / host / "compute_index_supply.yml").exists()}
        assert left == worlds.keys() - set(expected) - gone | kept
        runs = {item for bill in _stores.ledger(name).bills if bill.runs for item in bill.resource_ids}
        for host in kept:
            assert (sweep.registered(host) or {}).keys() == {"provision_storage", "provision_storage_ids"}
            assert sweep.volumes[host].id in runs and f"r-{host}" not in runs
