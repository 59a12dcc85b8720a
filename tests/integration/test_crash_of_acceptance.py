# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A crash between any two lines from the verdict on a bad machine to its end, with the operations that the role runs.

The lines are found by tracing, as for a purchase (`test_crash.py`). After the next run the host has one machine, and
the registry has the evidence against the bad one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import operation
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations import delete_resource
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import Registries
from ansible_collections.compute_index.supply.plugins.module_utils._operations.delete_resource import DELETE_RESOURCE
from ansible_collections.compute_index.supply.plugins.module_utils._operations.judge import (
    JUDGE,
    REACHED,
    RELEASE,
    TESTED,
)
from ansible_collections.compute_index.supply.plugins.module_utils._operations.plan import PLAN
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import PROCURE_OFFER
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import OFFER_STATUS
from ansible_collections.compute_index.supply.plugins.module_utils._provision.acceptance import with_digest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder, SharedProject

from simulator import Nowhere, Settings, Simulator
from test_crash import KEY, Rows, files_in, kill_at, places_of_states

Json = dict[str, Any]
SPEC = {"region": "EU", "compute": {"gpu_type": "H100", "gpu_count": 1, "contract_type": "ondemand"}}
CEILING = 4.0  # USD per hour
BAD = {"verdict": "bad", "reasons": ["GPU 3: xid: Xid 79 (fell off the bus) (bad)"], "findings": [], "evidence": []}
OK = {"verdict": "ok", "reasons": [], "findings": [], "evidence": []}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fsync, since these tests do not cut the power, and hardly a pause while a machine ends."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    monkeypatch.setattr(delete_resource, "PAUSE", 0.001)


@dataclass
class Role:
    """The steps of the role for one host, as its tasks run them. Machines of the offer ``bad`` fail their test."""

    simulator: Simulator
    place: Folder | SharedProject
    url: str | None
    raw: Callable[..., Json]
    bad: str = ""
    row: Json = field(default_factory=dict)
    verdict: Json = field(default_factory=dict)
    further: Json = field(default_factory=dict)

    def do(self, operation: Operation, **params: Any) -> Json:
        """Perform an operation with the defaults of its options."""
        defaults = {name: option.get("default") for name, option in operation.argument_spec.items()}
        common = {"api_url": self.simulator.url, "api_token": self.simulator.settings.token, "registry_url": self.url}
        given = {name: value for name, value in {**common, **params}.items() if name in defaults}
        return operation.perform({**defaults, **given, "api_retries": 0, "here": "/"}, False)

    def plan(self, attempts: list[Json]) -> Json:
        is_file = isinstance(self.place, Folder)
        where = {
            "registry_dir": self.place.path if is_file else None,
            "project": getattr(self.place, "project", "default"),
        }
        how = {"spec": SPEC, "max_price_per_hour": CEILING, "on_failure": "release", "verify": "specs", "id": "1"}
        hosts = [self.raw(**how, **where)]
        answer = self.do(PLAN, hosts=hosts, ids=["1"], attempts={"gpu-1": attempts} if attempts else {})
        (self.row,) = answer["plans"]
        return self.row

    def acquire(self, attempts: list[Json]) -> str:
        """Buy and register a machine if the plan says so. Return what the role does next."""
        row, bought = self.plan(attempts), None
        if row["action"] == "buy":
            (item,) = row["purchases"]
            bought = self.do(
                PROCURE_OFFER,
                **item["options"],
                note=item["note"],
                ssh_public_key=KEY,
                cloud_init="#cloud-config\npackages: [git]\n",
            )
        elif row["action"] != "wait":
            return str(row["action"])
        offers = self.do(OFFER_STATUS, offer_ids=[row["offer_id"]])["offers"]
        self.further = {"plans": [row], "purchases": {"gpu-1": bought} if bought else {}, "offers": offers}
        (self.verdict,) = self.do(JUDGE, **self.further, before={}, inventory={})["verdicts"]
        return str(self.verdict["next"])

    def accept(self) -> str:
        """Test the machine, and keep or release it. Return what the role does next."""
        verdict = BAD if self.row["offer_id"] == self.bad else OK
        tested = self.do(TESTED, plans=[self.row], tests=[{**verdict, "item": "gpu-1"}])
        if "unsound" not in tested:
            assert not tested.get("failed"), tested
            self.do(REACHED, plans=[self.row])
            return "kept"
        if not self.row["may_release"]:
            return "stop"
        ended = [self.do(DELETE_RESOURCE, resource_id=item) for item in self.verdict["release"]]
        released = self.do(
            RELEASE, **self.further, before=self.verdict, inventory={}, deleted=ended, unsound=tested["unsound"]
        )
        self.verdict = released
        return str(released["next"])

    def run(self) -> str:
        """Do all rounds of a run. Return how it ends."""
        attempts: list[Json] = []
        for _round in range(4):
            following = self.acquire(attempts)
            if following in ("stop", "later") or self.row["action"] == "stop":
                return "stop"
            following = self.accept()
            if following != "round":
                return following
            attempts = self.verdict["attempts"]
        return "too many rounds"

    def evidence(self) -> list[Json]:
        """The evidence against machines; assert that each record is complete."""
        with Registries(self.url, self.simulator.url, read_only=True) as registries:
            kept, unread = registries.at(self.place).evidence(0.0)
        assert unread == [] and all(with_digest(record) == record for record in kept)
        return kept


@pytest.mark.parametrize("memory", ["files", "shared"])
def test_crash_after_a_bad_verdict_leaves_evidence_and_one_machine(
    memory: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "unit" / "plugins"))
    from provision_samples import raw

    url: str | None = request.getfixturevalue("registry") if memory == "shared" else None

    @contextlib.contextmanager
    def fresh() -> Any:
        """A host whose bad machine has just been registered; another vendor has one more offer."""
        number = len(trials)
        folder = tmp_path / str(number)
        place = SharedProject(f"p{number}") if url else Folder(str(folder))
        with Simulator(
            Settings(provision_seconds=0, delete_seconds=0, reissue=False), offers=[], backend=Nowhere()
        ) as simulator:
            offers = [
                simulator.add_offer(gpu_price_per_hour=2.0 + n, vendor=v, region="EU") for n, v in enumerate("ab")
            ]
            operation._client.cache_clear()
            role = Role(simulator, place, url, raw, offers[0].offer_id)
            trials.append(role)
            assert role.acquire([]) in ("prepare", "reach"), role.row
            yield role

    def read_state(role: Role, before: int) -> object:
        """The state that a run leaves; ``before``: the number of requests before the run. GETs change no state."""
        requests = role.simulator.requests[before:]
        sent = [(each.method, each.path, each.status) for each in requests if each.method != "GET"]
        return sent, rows.read() if rows else files_in(role.place.text)

    def check(role: Role) -> None:
        """Assert that no DELETE was sent before the evidence was kept, and that nothing else was bought."""
        assert len(role.simulator.billed) <= 1 and len(role.simulator.purchases) == 1
        if any(each.method == "DELETE" for each in role.simulator.requests):
            (kept,) = role.evidence()
            assert (kept["offer_id"], kept["verdict"]) == (role.bad, "bad")

    trials: list[Role] = []
    rows = Rows(url, monkeypatch) if url else None
    with fresh() as role:
        assert role.accept() == "round"  # fills the caches
    with fresh() as role:
        before = len(role.simulator.requests)
        places = places_of_states(role.accept, partial(read_state, role, before), partial(check, role))
    outcomes = []
    assert len(places) > 3
    for place in places:
        with fresh() as role:
            if not kill_at(role.accept, place):
                continue
            check(role)
            outcomes.append((len(role.evidence()), len(role.simulator.billed)))
            operation._client.cache_clear()
            following = role.run()
            simulator = role.simulator
            kept = [record for record in role.evidence() if record["offer_id"] == role.bad]
            assert len(simulator.billed) == 1 and len(kept) == 1, place
            assert sum(purchase.offer.gpu_price_per_hour for purchase in simulator.purchases[-1:]) <= CEILING
            # Another run never releases a machine that is registered as ready. If it has ended, the run buys another.
            is_kept = simulator.billed == simulator.purchases[0].resource_ids
            assert following == ("stop" if is_kept else "kept"), place
            assert [each.offer.vendor for each in simulator.purchases] == (["a"] if is_kept else ["a", "b"]), place
    assert len(outcomes) > 0.9 * len(places)
    if rows:
        rows.connection.close()
    # Number of records and of billed machines: killed before the evidence, after it, and after the end
    assert {(0, 1), (1, 1), (1, 0)} == set(outcomes)


@pytest.mark.parametrize("buys", [True, False], ids=["replaced", "not replaced"])
@pytest.mark.parametrize("memory", ["files", "shared"])
def test_machine_ended_by_another_run_during_its_test_leaves_no_evidence(
    memory: str, buys: bool, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test fails, so the run releases the machine, but leaves the one that another run has bought meanwhile."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "unit" / "plugins"))
    from provision_samples import raw

    url: str | None = request.getfixturevalue("registry") if memory == "shared" else None
    place = SharedProject("default") if url else Folder(str(tmp_path))
    with Simulator(
        Settings(provision_seconds=0, delete_seconds=0, reissue=False), offers=[], backend=Nowhere()
    ) as simulator:
        for number, vendor in enumerate("ab"):
            simulator.add_offer(gpu_price_per_hour=2.0 + number, vendor=vendor, region="EU")
        operation._client.cache_clear()
        tests, other = (Role(simulator, place, url, raw) for _run in range(2))
        assert tests.acquire([]) in ("prepare", "reach"), tests.row
        (first,) = simulator.billed
        tests.bad = tests.row["offer_id"]
        other.do(DELETE_RESOURCE, resource_id=first)
        if buys:
            assert other.acquire([]) in ("prepare", "reach"), other.row
        else:
            with Registries(url, simulator.url, read_only=False) as registries:
                registry = registries.at(place).host("gpu-1")
                assert registry is not None and registry.read() is not None
                registry.end("decommissioned")
        billed = simulator.billed
        tested = tests.do(TESTED, plans=[tests.row], tests=[{**BAD, "item": "gpu-1"}])
        assert tested["msg"] == "The registry says that the machine of gpu-1 ended during its test."
        deleted = [tests.do(DELETE_RESOURCE, resource_id=item) for item in tests.verdict["release"]]
        released = tests.do(RELEASE, **tests.further, before=tests.verdict, inventory={}, deleted=deleted)
        assert not released.get("failed") and (buys or released["next"] == "stop"), released
        assert simulator.billed == billed and len(billed) == buys and not tests.evidence()
        with Registries(url, simulator.url, read_only=True) as registries:
            entries, ledger = registries.at(place).entries().hosts, registries.at(place).ledger()
        assert [list(entry.resource_ids) for entry in entries.values()] == ([billed] if buys else [])
        assert [list(bill.resource_ids) for bill in ledger.bills if bill.runs] == ([billed] if buys else [])
