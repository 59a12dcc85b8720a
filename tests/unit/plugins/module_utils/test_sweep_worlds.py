# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweeps in random worlds: exactly the leases that are over end, and each failure is reported and affects one host.

A host's file may be broken, its lease unreadable, its machine frozen, its clock wrong; the API may change creation
times, or refuse a deletion. Its last command may fail. Between the sweep's look and the end its lease may be extended,
its user may return, or another run may end it. Each world knows when its lease is over, whether its machine is used,
and which storage stays: storage prevents no end, and ends only if its host asks for that.
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
from test_operations_reap import HOUR, IDLE, Api, declared, machine, params, write

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
    """A host, and how it changes during a sweep."""

    hours: float | None = 1.0  # from now until its lease is over; None: it has no lease
    clock: str = "here"  # the clock that noted the end of the lease
    created: str = ""  # its creation time at the API; "now": reset by a resync
    file: str = ""  # the text of a broken registry file
    unreadable_end: str = ""  # an end of the lease that cannot be read
    idles: str = ""  # its idle limit
    first: Json | None = None  # its machine's activity when the sweep asks
    again: Json | None = None  # its activity after the last command
    age: float = 0.0  # seconds since these answers
    before: Json | None = None  # the result of the last command, if there is one
    meanwhile: str = ""  # what another run does between the look and the end
    refused: bool = False  # the API refuses to delete it
    form: Form | None = None  # of its storage, if it has any
    noted_as: str = ""  # how the entry has the storage: "", "storage", or "id" (a machine's, by earlier versions)
    ends_storage: bool = False  # its storage is to end with the machine

    @property
    def has_known_storage(self) -> bool:
        """Whether anything shows a sweep that it has storage."""
        return self.form is not None and (self.form.is_provable or bool(self.noted_as))

    @property
    def is_readable(self) -> bool:
        return not (self.file or self.unreadable_end)

    def seconds_over(self, ahead: float) -> float | None:
        """Seconds since the end of its lease, by the clock that noted it; None without a readable lease."""
        if self.hours is None or not self.is_readable:
            return None
        return -self.hours * HOUR + (ahead if self.clock == "api" else 0.0)

    def is_over(self, ahead: float) -> bool:
        seconds_over = self.seconds_over(ahead)
        # A resync resets creation times, which delays an end by an hour at most.
        return seconds_over is not None and seconds_over >= (HOUR if self.created == "now" else 0.0)

    @property
    def is_asked(self) -> bool:
        return self.idles == "1h" and self.is_readable

    @property
    def answers(self) -> Json | None:
        return self.again if self.before is not None else self.first

    @property
    def is_idle(self) -> bool:
        """Whether each answer says so, and is recent."""
        return self.is_asked and self.first == IDLE == self.answers and 0 <= self.age <= 60

    @property
    def last_command_succeeded(self) -> bool:
        return last_command_succeeded(self.before)


# None is close to 0, since the test and the sweep do not read the clock at the same moment.
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
# Failures in addition to these
TROUBLE: Json = {
    "created": st.just("now") | st.sampled_from(MOMENTS),
    "file": st.sampled_from(["<<<<<<< HEAD\n", "- a list\n", "$ANSIBLE_VAULT;1.1;AES256\n6162\n", "\udcff"]),
    "unreadable_end": st.sampled_from(["soon", "2026-11-27", "10000-01-01T00:00:00Z"]),
    "idles": st.just("eight hours"),
    "age": st.sampled_from([50.0, 70.0, -30.0]),
    "meanwhile": st.sampled_from(["extended", "ended", "marked"]),
    "refused": st.just(True),
}
ONE_TROUBLE = [st.builds(World, **{**LIVING, name: values}) for name, values in TROUBLE.items()]
WORLDS = st.builds(World, **LIVING) | st.one_of(ONE_TROUBLE) | st.builds(World, **{**LIVING, **TROUBLE})


class Account(Api):
    """An API that also has storage; its list omits some."""

    volumes: Sequence[Volume] = ()

    def resources(self) -> list[Json]:
        return [*super().resources(), *listed(self.volumes)]

    def resource(self, resource_id: str, **how: Any) -> Json:
        found = [volume.page for volume in self.volumes if volume.id == resource_id]
        return found[0] if found else super().resource(resource_id, **how)


class Sweep:
    """One sweep of these hosts in a folder, in the steps of the playbook.

    ended, ended_storage: hosts and ids of storage that ended. failure: the message of the failed sweep, or empty.
    """

    def __init__(self, folder: Path, worlds: dict[str, World], ahead: float) -> None:
        self.folder, self.worlds = folder, worlds
        self.volumes = {
            host: Volume(number, host, world.form, "data", f"o-r-{host}", "")
            for number, (host, world) in enumerate(worlds.items())
            if world.form
        }
        volumes_of = {host: [self.volumes[host]] if host in self.volumes else [] for host in worlds}
        self.api = Account(*(linked(machine(f"r-{host}", host), volumes_of[host]) for host in worlds), ahead=ahead)
        colleagues_volume = Volume(99, "a colleague", Form("list"), next(iter(worlds)), "o-theirs")
        self.api.volumes = [*self.volumes.values(), colleagues_volume]
        for host, (world, each) in zip(worlds, zip(worlds.values(), self.api.machines, strict=True), strict=True):
            each["created_at"] = utc_rounded_up(time.time()) if world.created == "now" else world.created
            self.write(host, world)
        self.ended: list[str] = []
        self.ended_storage: list[str] = []
        self.failure = ""
        self.answer = self.step(reap, steps.REAP, declared("localhost", folder), grace="30m", forks=5)
        self.rows = {each["host"]: each["sweep"] for each in self.answer["due"]}
        for host, world in worlds.items():
            self.change_meanwhile(host, world)
        self.failed: dict[str, str | None] = dict.fromkeys(self.rows)
        for plan in self.plans([host for host in self.rows if self.may_be_idle(host)]):
            self.failed[plan["host"]] = self.end(plan)
        self.report()

    def step(self, operation: Any, spec: Json, *hosts: Json, **given: Any) -> Json:
        found: Json = operation(self.api, params(spec, *hosts, **given), False)
        return found

    def write(self, host: str, world: World) -> None:
        variables: Json = {"provision_clock": "api"} if world.clock == "api" else {}
        variables |= {"provision_idles": world.idles, "provision_instances": [INSTANCE]}
        variables |= {"provision_ends_at": world.unreadable_end} if world.unreadable_end else {}
        if world.form and world.noted_as == "id":
            variables["provision_resource_ids"] = [f"r-{host}", self.volumes[host].id]
        elif world.form and world.noted_as == "storage":
            variables["provision_storage"] = [self.volumes[host].entry_item]
        file = write(self.folder, host, f"r-{host}", world.hours, **variables)
        if world.file:
            file.write_bytes(world.file.encode(errors="surrogateescape"))

    def change_meanwhile(self, host: str, world: World) -> None:
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

    def may_be_idle(self, host: str) -> bool:
        """Whether the play continues with the host once its machine has answered."""
        return (self.worlds[host].first or {}).get("idle_seconds", 0) >= self.rows[host]["idle"]

    def answers_of(self, host: str) -> Json:
        world, idle = self.worlds[host], self.rows[host]["idle"]
        if not idle:
            return {"activity": {"skipped": True}, "before": world.before}
        if not self.may_be_idle(host):
            return {"activity": world.first, "before": None}
        again = {"skipped": True} if world.before is None else {**(world.again or {}), "asked_at": self.asked_at(world)}
        first = {**(world.first or {}), "asked_at": self.asked_at(world)}
        return {"activity": newest(first, again), "before": world.before}

    def asked_at(self, world: World) -> float:
        return time.time() - world.age

    def plans(self, hosts: list[str]) -> list[Json]:
        usual = {"resource_id": "", "listed_id": "", "wait_timeout": "5m"}
        swept_hosts = []
        for host in hosts:
            storage = "end" if self.worlds[host].ends_storage else ""
            fields = {**usual, "id": host, "reaped": self.rows[host], **self.answers_of(host), "storage": storage}
            swept_hosts.append(declared(host, self.folder, **fields))
        return list(self.step(end, steps.END, *swept_hosts, ids=hosts)["ends"].values())

    def end(self, plan: Json) -> str:
        """End the host's machine by the plan, and return the error, or an empty text."""
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
            {"host": host, **sweep, "failed": self.failed[host], **self.answers_of(host)}
            for host, sweep in self.rows.items()
        ]
        given = {name: self.answer[name] for name in ("kept", "at")}
        try:
            reaped(params(steps.REAPED, *rows, trouble=[self.answer["trouble"]], **given), False)
        except Failure as failure:
            self.failure = str(failure)

    def registered(self, host: str) -> Json | None:
        """The host's entry, or None."""
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
    """Whether the host must end: its lease or idle time is over, and no failed last command delays the end."""
    if world.meanwhile == "ended" or not world.is_readable:
        return False
    over, seconds_over = world.is_over(ahead), world.seconds_over(ahead) or 0.0
    if over and world.meanwhile != "extended":
        return world.last_command_succeeded or seconds_over - (HOUR if world.created == "now" else 0.0) >= GRACE
    idle = not over and world.is_idle
    return idle and (world.last_command_succeeded or IDLE["idle_seconds"] >= HOUR + GRACE)  # type: ignore[no-any-return]


def failure_of(world: World, ahead: float) -> tuple[bool, bool]:
    """Whether the sweep must report the host, and whether that is because its lease was not enforced."""
    gone = world.meanwhile == "ended"
    over = world.is_over(ahead)
    left = not gone and world.meanwhile != "extended" and over and (world.refused or not ends(world, ahead))
    not_kept = bool(world.file or world.unreadable_end or left)
    may_be_idle = not over and world.is_asked
    unasked = may_be_idle and "state" not in (world.first or {})
    if may_be_idle and world.before is not None and (world.first or {}).get("idle_seconds", 0) >= HOUR:
        unasked = "state" not in (world.again or {})
    is_idle = may_be_idle and world.is_idle and not gone
    idle_left = is_idle and (world.refused or not ends(world, ahead))
    has_invalid_idle = not world.file and world.idles == "eight hours"
    return not_kept or unasked or idle_left or has_invalid_idle, not_kept


@given(st.lists(WORLDS, min_size=1, max_size=6), st.sampled_from([0.0, 0.0, 0.0, 200.0, 2 * HOUR, -2 * HOUR]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_sweep_ends_exactly_due_hosts_and_reports_each_failure(hosts: list[World], ahead: float) -> None:
    worlds = {f"gpu-{number}x": world for number, world in enumerate(hosts)}
    with tempfile.TemporaryDirectory() as name:
        sweep = Sweep(Path(name), worlds, ahead)
        clocks_differ = abs(ahead) > 300
        expected = [host for host, world in worlds.items() if ends(world, ahead) and not world.refused]
        assert sorted(sweep.ended) == expected, sweep.failure
        failures = {host: failure_of(world, ahead) for host, world in worlds.items()}
        reported = [host for host in worlds if host in sweep.failure]
        assert reported == [host for host, (is_reported, _lease) in failures.items() if is_reported], sweep.failure
        assert bool(sweep.failure) is (bool(reported) or clocks_differ)
        assert sweep.is_marked is not (clocks_differ or any(is_lease for _reported, is_lease in failures.values()))
        # The registry keeps exactly the machines and the storage that have not ended.
        gone = {host for host, world in worlds.items() if world.meanwhile == "ended" and not world.file}
        hosts_with_storage = {host for host in expected if worlds[host].has_known_storage}
        hosts_ending_storage = {host for host in hosts_with_storage if worlds[host].ends_storage}
        assert {*sweep.ended_storage} == {sweep.volumes[host].id for host in hosts_ending_storage}
        kept = hosts_with_storage - hosts_ending_storage | {
            host for host in gone & sweep.volumes.keys() if worlds[host].noted_as == "storage"
        }
        left = {host for host in worlds if (Path(name) / host / "compute_index_supply.yml").exists()}
        assert left == worlds.keys() - set(expected) - gone | kept
        runs = {item for bill in _stores.ledger(name).bills if bill.runs for item in bill.resource_ids}
        for host in kept:
            assert (sweep.registered(host) or {}).keys() == {"provision_storage", "provision_storage_ids"}
            assert sweep.volumes[host].id in runs and f"r-{host}" not in runs
