# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a run with a registry of files: refusals, records, leases and ends."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Operation
from ansible_collections.compute_index.supply.plugins.module_utils._machine import code_files
from ansible_collections.compute_index.supply.plugins.module_utils._operations import run
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import SWEPT, HostFile

Json = dict[str, Any]
OFFER = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


class World:
    """A folder with an inventory, in which commands run one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inventory = folder, "hosts.yml"
        (folder / "hosts.yml").write_text("gpu:\n")
        (folder / "code").mkdir()
        (folder / "code" / "train.py").write_text("print()\n")
        self.given: Json = {
            **{"run_name": "train", "run_command": "true", "run_gpu": "H100", "run_max_bill": 20, "run_time": "2h"},
            **{"run_files": "code", "run_unswept": True},
        }
        self.prepared: Json = {}
        self.protect: Any = None

    def _perform(self, operation: Operation, check_mode: bool = False, **given: Any) -> Json:
        spec = {name: option.get("default") for name, option in operation.argument_spec.items()}
        place = {"here": str(self.folder), "sources": [str(self.folder / self.inventory)], "home": ""}
        return operation.perform({**spec, **place, "api_url": "http://localhost", **given}, check_mode)

    def prepare(self, archive: str = "", check_mode: bool = False, **given: Any) -> Json:
        """The first step of a command, with the usual variables and these; None omits a variable."""
        variables = {name: value for name, value in {**self.given, **given}.items() if value is not None}
        self.prepared = self._perform(run.RUN, check_mode, given=variables, archive=archive)
        return self.prepared

    def step(self, operation: Operation, check_mode: bool = False, reason: str = "", **facts: Json) -> Json:
        """A later step of the command. ``facts``: what earlier tasks registered."""
        if facts.get("run__followed", {}).get("state"):  # a machine that has the job also names its digest
            facts["run__followed"] = {"digest": self.prepared["job"]["digest"], **facts["run__followed"]}
        host: Json = {"host": "run-train", "project": "default", "registry_dir": None, "inventory_dir": None}
        host.update(shared=True, protect=self.protect)
        given = {"run": self.prepared, "reason": reason, "given": {}}
        return self._perform(
            operation,
            check_mode,
            hosts=[host],
            got=facts,
            **{name: value for name, value in given.items() if name in operation.argument_spec},
        )

    def after_job(self, followed: Json, results: Json | None = None) -> Json:
        """The step after a command has followed the job, and perhaps fetched ``results``."""
        fetched = {} if results is None else {"run__results": results}
        return self.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=followed, **fetched)

    def decide_fetch(self, check_mode: bool = False, **sweep: Any) -> Json:
        """The step that decides which results a sweep fetches."""
        job = {"state": "failed", "results": ["out"]}
        return self.step(run.RUN_LATE, check_mode, run__late_job=job, reap__sweep=sweep)

    def quoted(self, *, free: bool, refusal: str = "", check_mode: bool = False) -> Json:
        offer = {"price_per_hour": 2.0, "gpu_count": 1, "gpu_type": "h100"}
        quote = {
            "ansible_stats": {"data": {"quote": {"hosts": {"run-train": offer}}}},
            "plans": {"run-train": {"is_new": free}},
            "refusals": {"run-train": refusal} if refusal else {},
            "common": {"registry": "registry: host_vars"},
        }
        return self.step(run.RUN_QUOTED, check_mode, run__quote=quote)

    @property
    def registry(self) -> HostFile:
        return HostFile(str(self.folder / "host_vars" / "run-train" / "compute_index_supply.yml"))

    def buy(self, offer_id: str = OFFER, hours: float = 3, **variables: Any) -> None:
        """Note a purchase in the registry, as the role does."""
        now = datetime.now(timezone.utc)
        registry = self.registry
        registry.read()
        registry.claim(
            {
                "provision_procured_offer_id": offer_id,
                "provision_purchase": "sent",
                "provision_price_per_hour": 2.0,
                "provision_journaled_at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
                "provision_ends_at": f"{now + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}",
                "provision_leased": f"{hours:g}h",
                "provision_groups": ["gpu", "supply_run"],
                **variables,
            }
        )
        registry.note(
            {"provision_procured_offer_id": offer_id, "provision_resource_ids": [f"m-{offer_id[:4]}"], **variables}
        )
        registry.close()

    def sweep(self) -> None:
        """Note a complete sweep."""
        (self.folder / "host_vars" / SWEPT).write_text(f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}\n")

    def end(self) -> None:
        registry = self.registry
        registry.read()
        registry.end()

    @property
    def entry(self) -> Json:
        return dict(self.registry.read() or {})

    @property
    def record(self) -> Json:
        return dict(json.loads((self.folder / "runs" / "train" / "run.json").read_text()))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def start_job(world: World) -> Json:
    """Order a run, buy its machine, and start its job."""
    world.prepare()
    quoted = world.quoted(free=True)
    assert quoted["provisions"] and not quoted["offer_id"]
    world.buy()
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert found["starts"] and found["copies"]
    return found


TIMES = {"began_at": "2026-12-01T06:00:00Z", "ended_at": "2026-12-01T07:00:00Z"}
FAILED_JOB = {"state": "failed", "exit_code": 3, "reason": "exit code 3", **TIMES}
SUCCEEDED_JOB = {"state": "succeeded", "exit_code": 0, "reason": "exit code 0", **TIMES}


def test_cost_of_run_excludes_earlier_purchases_if_clock_was_ahead(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.buy(OTHER)
    world.end()
    monkeypatch.setattr(run.time, "time", lambda: datetime.now(timezone.utc).timestamp() + 600)
    start_job(world)
    assert world.record["earlier_offers"] == [OTHER]
    monkeypatch.undo()
    world.end()
    assert "It cost at most USD 0.0" in world.step(run.RUN_DONE)["lines"][1]


def test_run_from_order_to_repeated_command(world: World) -> None:
    found = start_job(world)
    assert 7200 - 60 <= found["seconds"] <= 7200
    assert (world.record["phase"], world.record["offer_id"]) == ("started", OFFER)
    # From now on only this offer may be bought for it.
    quoted = world.quoted(free=False)
    assert quoted["provisions"] and quoted["offer_id"] == OFFER
    assert os.listdir(world.folder / "runs") == ["train"], "it goes on in its own folder"
    job = {**SUCCEEDED_JOB, "log": ["a", "b"]}
    over = world.after_job(job, {"complete": True, "files": 2})
    assert over["ends"] and (world.record["phase"], world.record["last_lines"]) == ("home", ["a", "b"])
    world.end()
    last = world.step(run.RUN_DONE)
    assert not last["trouble"] and last["lines"][0] == "train succeeded after 1 h (exit code 0)."
    assert world.record["phase"] == "gone" and world.record["cost_usd"] is not None
    # Repeating the command reports the result again, another command starts a new run, check mode writes nothing.
    assert world.prepare()["hosts"] == [] and world.prepared["lines"][-1].endswith("runs it once more.")
    assert world.prepare(run_command="false")["hosts"] == ["run-train"]
    world.quoted(free=True, check_mode=True)
    assert world.record["phase"] == "gone"
    world.quoted(free=True)
    assert world.record["phase"] == "ordered" and (world.folder / "runs" / "train.1" / "run.json").exists()


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("phase", ["", "ordered", "started", "home", "gone"])
def test_check_mode_stops_after_quote_and_writes_nothing(world: World, phase: str, free: bool) -> None:
    if phase:
        start_job(world)
        file = world.folder / "runs" / "train" / "run.json"
        file.write_text(json.dumps({**world.record, "phase": phase}))
    before = {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()}
    if world.prepare()["hosts"]:
        found = world.quoted(free=free, check_mode=True)
        assert not (found["provisions"] or found["goes_on"])
    world.decide_fetch(check_mode=True)
    world.step(run.RUNS, check_mode=True)
    assert before == {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()}


def test_run_needs_sweeps_command_and_results_dir(world: World) -> None:
    world.prepare(run_unswept=None)
    found = world.quoted(free=True)
    assert "run_unswept=true" in found["trouble"] and not found["provisions"]
    assert not (world.folder / "runs").exists()
    (world.folder / "file").touch()
    refused = world.prepare(run_command=None)
    assert refused["hosts"] == [] and refused["trouble"].endswith(" Nothing was sent.")
    limited = world._perform(run.RUN, given=world.given, limited=True)
    assert limited["hosts"] == [] and "--limit" in limited["trouble"]
    world.prepare(run_results_dir="file")
    refused = world.quoted(free=True)
    assert refused["failed"] and "results cannot be kept" in refused["msg"] and not refused.get("provisions")
    (world.folder / "runs" / "train").mkdir(parents=True)
    for record, reason in (("{", ""), ('{"phase": ["started"]}', "(phase must be text, not ['started'])")):
        (world.folder / "runs" / "train" / "run.json").write_text(record)
        assert f"the record of this run, cannot be read {reason}" in world.prepare()["trouble"]


@pytest.mark.parametrize("protect", [True, "yes", "maybe", False, None])
def test_run_refuses_group_with_provision_protect(world: World, protect: Any) -> None:
    """A sweep does not have the variables of a run: by those of the inventory it would spare the machine."""
    world.protect = protect
    world.prepare()
    assert world.quoted(free=True)["provisions"], "run_unswept=true accepts a machine that no sweep ends"
    world.prepare(run_unswept=None)
    refused = world.quoted(free=True)["trouble"]
    assert ("since its group has provision_protect" in refused) is (protect not in (False, None))
    assert "Nothing was bought." in refused
    world.buy()
    assert world.quoted(free=False)["provisions"], "a machine that was bought is still followed"


def test_list_of_runs_fails_if_a_record_is_unreadable(world: World) -> None:
    start_job(world)
    assert [item["name"] for item in world.step(run.RUNS)["runs"]] == ["train"]
    broken = world.folder / "runs" / "test"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    found = world.step(run.RUNS)
    assert [item["name"] for item in found["runs"]] == ["train"] and f"{broken}/run.json" in found["trouble"]


def test_list_of_runs_names_folder_nearby_that_has_machines(world: World) -> None:
    start_job(world)
    assert not world.step(run.RUNS)["warnings"]
    own, other = world.folder / "host_vars", world.folder / "inventory" / "host_vars"
    other.parent.mkdir()
    own.rename(other)
    (warning,) = world.step(run.RUNS)["warnings"]
    assert warning.startswith(f"{other} has machines of run-train, and is no registry of this run.")


def test_changed_code_is_another_job(world: World) -> None:
    start_job(world)
    (world.folder / "code" / "train.py").write_text("print(1)\n")
    refused = world.prepare()
    assert "The run train is not over" in refused["trouble"] and refused["hosts"] == []
    named = {name: None for name in world.given if name != "run_name"}
    assert world.prepare(**named)["hosts"] == ["run-train"]
    assert world.prepared["job"]["command"] == "true" and world.prepared["job"]["digest"] == world.record["digest"]
    # The command that noted the start may have been killed before it started the job: a command with the name alone
    # would start it without its code.
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert not (found["starts"] or found["copies"]) and "Repeat the whole command" in found["trouble"]


def test_job_gets_code_as_it_was_when_its_command_began(world: World) -> None:
    """Users go on editing while a machine is prepared. A result of other code would pass for one of this code."""
    archive, code = str(world.folder / "run.tar.gz"), world.folder / "code"
    job = world.prepare(archive=archive)["job"]
    digest = code_files.pack(str(code), [])
    (code / "train.py").write_text("print('edited')\n")
    assert job["archive"] == archive and code_files.packed_digest(archive) == digest != code_files.pack(str(code), [])


@pytest.mark.parametrize(
    ("check_mode", "began_at", "is_packed"), [(False, None, True), (True, None, False), (False, "2026-12-01", False)]
)
def test_code_is_packed_only_for_job_that_may_start(
    world: World, check_mode: bool, began_at: str | None, is_packed: bool
) -> None:
    start_job(world)
    (world.folder / "runs" / "train" / "run.json").write_text(json.dumps({**world.record, "began_at": began_at}))
    job = world.prepare(archive=str(world.folder / "run.tar.gz"), check_mode=check_mode)["job"]
    assert bool(job["archive"]) is is_packed is (world.folder / "run.tar.gz").exists()


def test_run_without_files_stays_the_same_job(world: World) -> None:
    job = world.prepare(run_files=None)["job"]
    (world.folder / "code" / "train.py").write_text("print(1)\n")
    assert world.prepare(run_files=None)["job"] == job and job["files"] == ""


@pytest.mark.parametrize("linked", ["run_files", "run_results_dir"])
def test_results_inside_code_do_not_change_job(world: World, linked: str) -> None:
    (world.folder / "link").symlink_to(world.folder)
    world.given.update(run_files=".", run_results_dir="runs")
    world.given[linked] = os.path.join("link", world.given[linked])
    start_job(world)
    assert (world.folder / "runs" / "train" / "run.json").exists() and world.prepare()["trouble"] == ""


def test_results_dir_must_not_be_in_inventory_folder(world: World) -> None:
    """Ansible reads each file of an inventory folder, and runs those that are executable."""
    world.inventory = "inventory"
    (world.folder / "inventory" / "group_vars").mkdir(parents=True)
    (world.folder / "link").symlink_to(world.folder / "inventory")
    assert world.prepare()["trouble"] == "" and world.prepared["job"]["dest"] == str(world.folder / "runs" / "train")
    for inside in ("inventory", "inventory/runs", "link/runs"):
        refused = world.prepare(run_results_dir=inside)["trouble"]
        assert refused.startswith(f"run_results_dir must not be in the inventory folder {world.folder / 'inventory'}:")
        listed = world._perform(run.RUNS, given={"run_results_dir": inside}, hosts=[])
        assert listed["msg"].startswith("run_results_dir must not be")
    assert world.prepare(run_results_dir="inventory-runs")["trouble"] == ""


def test_awx_job_needs_results_dir_that_outlives_it(world: World) -> None:
    """Otherwise it would lose results whose machine is gone, and the record that prevents a second run of the job."""
    world.inventory, hosts = "inventory/hosts", [{"host": "run-train"}]
    world.folder.joinpath("inventory").mkdir()
    world.folder.joinpath("inventory", "hosts").touch()
    for named, lost in ({"": "inventory/runs", "here": "here", "/stays": ""}).items():
        given = {**world.given, "run_results_dir": named}
        asked = world._perform(run.RUN, given=given, by_job=True)
        got = {"run__late_job": {"state": "failed"}}
        late = world._perform(run.RUN_LATE, given=given, hosts=hosts, got=got, by_job=True)
        for trouble in (asked["trouble"], late.get("msg", "")):
            refusal = f"This is a job of AWX, which loses {world.folder / lost} at its end"
            assert trouble.startswith(refusal) is bool(lost)
        assert late.get("fetches", False) is not bool(lost)
    assert world._perform(run.RUNS, given=world.given, hosts=[], got={}, by_job=True)["runs"] == []


def test_run_is_lost_with_its_machine(world: World) -> None:
    start_job(world)
    world.prepare()
    world.end()  # the API said that its machine has ended
    found = world.quoted(free=True)
    assert (found["lost"], found["provisions"]) == (True, False)
    assert world.step(run.RUN_OVER, run__quoted=found)["ends"] and world.record["state"] == "lost"
    last = world.step(run.RUN_DONE)
    assert "train lost (its machine has gone)" in last["trouble"] and "went with the machine" in last["lines"][2]
    # Another computer of a shared registry may have fetched the results before it ended the machine.
    assert "unless a sweep or another computer" in last["trouble"]


def test_finished_job_keeps_its_state_if_machine_goes_with_results(world: World) -> None:
    start_job(world)
    results = {"complete": True, "missing": ["ouput"], "files": 0}
    over = world.after_job(SUCCEEDED_JOB, results)
    assert not over["ends"] and "ouput" in over["trouble"]
    world.end()  # by its lease
    world.prepare()
    found = world.quoted(free=True)
    assert found["lost"] and world.step(run.RUN_OVER, run__quoted=found)["ends"]
    last = world.step(run.RUN_DONE)
    assert last["lines"][0] == "train succeeded after 1 h (exit code 0)." and "went with the machine" in last["trouble"]
    assert last["trouble"] == world.prepare()["trouble"]  # a repeated command fails in the same way


def test_run_without_registry_entry_reports_possible_bill(world: World) -> None:
    start_job(world)
    world.prepare()
    for path in (world.folder / "host_vars").rglob("*"):
        if path.is_file():
            path.unlink()
    found = world.quoted(free=True)
    assert "IT MAY BE BILLED" in found["trouble"] and OFFER in found["trouble"]
    assert not (found["goes_on"] or found["provisions"]) and world.record["phase"] == "started"
    broken = world.step(run.RUN_BROKEN, reason="It broke.")["trouble"]
    assert "run-train may have a machine that is billed." in broken and "Nothing is billed" not in broken


def test_run_stops_at_machine_of_another_purchase(world: World) -> None:
    start_job(world)
    world.after_job(FAILED_JOB, {"complete": True})
    assert world.record["phase"] == "home"
    world.end()
    world.buy(OTHER)
    world.prepare()
    found = world.quoted(free=False)
    assert OTHER in found["trouble"] and not found["goes_on"]
    # It also stops at a machine that no run has bought.
    world.end()
    world.buy(OTHER, provision_groups=["gpu"])
    (world.folder / "runs" / "train" / "run.json").unlink()
    world.prepare()
    assert "that was not bought by a run" in world.quoted(free=False)["trouble"]


def test_run_finished_by_another_command_is_not_bought_again(world: World) -> None:
    """Two commands have one name, and the first finishes between two steps of the second."""
    start_job(world)
    world.prepare()
    ended = {**world.record, "phase": "gone", "state": "succeeded"}
    world.end()
    (world.folder / "runs" / "train" / "run.json").write_text(json.dumps(ended))
    found = world.quoted(free=True)
    assert not found["provisions"] and "has finished the run" in found["trouble"]
    assert world.record == ended


def test_job_starts_on_no_machine_that_was_bought_for_another_search(world: World) -> None:
    """The command that bought it was killed. The next one asks for more GPUs: its job would run on too few."""
    world.prepare()
    world.quoted(free=True)
    world.buy()
    world.prepare(run_gpu="8 x H100")
    found = world.quoted(free=False)
    assert not found["provisions"] and "bought for another run_gpu or run_spec. It is billed" in found["trouble"]
    world.prepare(run_command="false")
    assert world.quoted(free=False)["provisions"]
    world.end()
    world.prepare(run_gpu="8 x H100")
    assert world.quoted(free=True)["provisions"]


def test_command_does_not_follow_another_job_of_its_name(world: World) -> None:
    """Two commands with one name and different code run before either job has started."""
    first = dict(world.prepare())
    assert world.quoted(free=True)["provisions"]
    (world.folder / "code" / "train.py").write_text("print(1)\n")
    second = dict(world.prepare())
    assert world.quoted(free=True)["provisions"] and world.record["digest"] == second["job"]["digest"]
    world.buy()
    world.prepared = first
    assert world.step(run.RUN_NEXT, run__info={"state": "none"})["starts"]
    assert (world.record["phase"], world.record["digest"]) == ("started", first["job"]["digest"])
    world.prepared = second
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert not found["starts"] and "it is another job" in found["trouble"]
    assert "It is billed until you end it" in found["trouble"] and "Nothing was bought" not in found["trouble"]
    assert world.record["digest"] == first["job"]["digest"]


@pytest.mark.parametrize("state", ["running", "failed"])
def test_job_started_by_another_computer_is_not_bought_again(world: World, state: str) -> None:
    """A shared registry has its machine, but this computer has no record of the run."""
    digest = world.prepare()["job"]["digest"]
    world.buy()
    assert world.quoted(free=False)["provisions"]
    found = world.step(run.RUN_NEXT, run__info={"state": state, "digest": digest})
    assert not found["starts"] and (world.record["phase"], world.record["offer_id"]) == ("started", OFFER)
    world.end()
    world.prepare()
    assert world.quoted(free=True)["lost"]


def test_job_that_began_is_not_restarted_on_empty_disk(world: World) -> None:
    digest = start_job(world)["starts"] and world.record["digest"]
    # No answer has shown yet that it began: a command may have been killed before it started the job.
    assert world.step(run.RUN_NEXT, run__info={"state": "none"})["starts"]
    job = {"state": "running", "digest": digest, "began_at": FAILED_JOB["began_at"]}
    assert not world.step(run.RUN_NEXT, run__info=job)["starts"] and world.record["began_at"] == FAILED_JOB["began_at"]
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert not found["starts"] and "it is not started again" in found["trouble"]
    assert world.record["began_at"] == FAILED_JOB["began_at"] and world.record["phase"] == "started"


@pytest.mark.parametrize("is_followed", [True, False])
def test_job_once_seen_running_is_not_restarted(world: World, is_followed: bool) -> None:
    """Its folder is removed, perhaps by the job, while a command follows it or after one has only looked."""
    start_job(world)
    job = {"state": "running", "digest": world.record["digest"], "began_at": FAILED_JOB["began_at"]}
    followed = {"state": "none", "began_at": FAILED_JOB["began_at"]} if is_followed else job
    over = world.after_job(followed)
    assert ("it is not started again" in over["trouble"]) is is_followed and not over["ends"]
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert not found["starts"] and "it is not started again" in found["trouble"]


def test_started_job_is_not_restarted_on_newer_machine(world: World) -> None:
    start_job(world)
    world.end()
    world.buy(OTHER)
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert not found["starts"] and OTHER in found["trouble"] and world.record["offer_id"] == OFFER


@pytest.mark.parametrize("keep", [None, "1h"])
def test_finished_job_does_not_end_newer_machine(world: World, keep: str | None) -> None:
    world.given["run_keep"] = keep
    start_job(world)
    world.end()
    world.buy(OTHER)
    before = world.entry
    over = world.after_job(FAILED_JOB, {"complete": True})
    assert over["failed"] and OTHER in over["msg"] and not over.get("ends") and world.entry == before


def test_smaller_run_max_bill_shortens_lease_of_existing_machine(world: World) -> None:
    """The first command was killed after the purchase; the second has a smaller cap."""
    world.prepare(run_time="60h", run_max_bill=200)
    assert world.quoted(free=True)["provisions"]
    world.buy(hours=61)
    world.prepare(run_time=None, run_max_bill=4)
    assert world.quoted(free=False)["provisions"]
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert found["starts"] and 3500 < found["seconds"] <= 3600 and "The job may take" in found["lines"][0]
    end = datetime.fromisoformat(world.entry["provision_ends_at"].replace("Z", "+00:00"))
    assert abs(end - datetime.now(timezone.utc) - timedelta(hours=2)) < timedelta(minutes=1)
    # A job that already runs keeps its time.
    running = {"state": "running", "digest": world.record["digest"]}
    assert not world.step(run.RUN_NEXT, run__info=running)["trouble"]


def test_run_max_bill_below_cost_of_existing_machine_starts_no_job(world: World) -> None:
    world.prepare(run_time="60h", run_max_bill=200)
    world.quoted(free=True)
    world.buy(hours=61)
    before = world.entry
    world.prepare(run_time=None, run_max_bill=1)
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert not found["starts"] and "run_max_bill (USD 1.00" in found["trouble"]
    assert "It is billed until you end it" in found["trouble"]
    assert "decommission_hosts=run-train" in found["trouble"]
    assert world.entry == before and world.record["phase"] == "ordered"
    # The last line of the play is the same, since a repeated command would stop here again.
    assert world.step(run.RUN_BROKEN, reason=found["trouble"], run__next=found)["trouble"] == found["trouble"]


@pytest.mark.parametrize("phase", ["home", "gone"])
def test_results_fetched_by_another_command_stay_recorded(world: World, phase: str) -> None:
    """Two commands on one computer follow the same job; the machine may be gone before this one reaches it."""
    start_job(world)
    outcome = {"state": "failed", "reason": "exit code 3", "complete": True, "cost_usd": 0.5, "kept_until": None}
    home = {**world.record, "phase": phase, **outcome}
    (world.folder / "runs" / "train" / "run.json").write_text(json.dumps(home))
    unfetched = {"failed": True, "msg": "unreachable"}
    over = world.after_job(FAILED_JOB, unfetched)
    assert world.record == home and over["ends"] is (phase == "home")
    assert phase == "home" or (over["lines"][1].startswith("Nothing is billed") and "exit code 3" in over["trouble"])


@pytest.mark.parametrize(
    ("followed", "state"),
    [({"state": "running", "lost_sight": True}, "lost"), ({"state": "none"}, "lost"), (FAILED_JOB, "failed")],
)
def test_run_reports_no_bill_if_sweep_ended_its_machine(world: World, followed: Json, state: str) -> None:
    """For example while results were fetched. A job that had finished by then keeps its state."""
    start_job(world)
    world.end()
    unfetched = {"failed": True, "msg": "unreachable"}
    over = world.after_job(followed, unfetched)
    assert over["ends"] and not over["lines"] and world.record["state"] == state
    last = world.step(run.RUN_DONE)
    assert "Nothing is billed any more" in " ".join(last["lines"]) and "went with the machine" in last["trouble"]
    assert ("its machine has gone" if state == "lost" else "exit code 3") in last["trouble"]
    assert world.record["phase"] == "gone"


@pytest.mark.parametrize("keep", [None, "1h"])
def test_run_is_not_lost_if_sweep_ends_machine_after_fetch(world: World, keep: str | None) -> None:
    world.given["run_keep"] = keep
    start_job(world)
    world.end()
    results = {"complete": True, "files": 1}
    assert world.after_job(FAILED_JOB, results)["ends"]
    assert (world.record["phase"], world.record["state"]) == ("home", "failed")


def test_end_of_another_job_does_not_end_run(world: World) -> None:
    """At the same moment, a command on another computer has started its own job on the machine."""
    start_job(world)
    job = {**SUCCEEDED_JOB, "digest": "of another", "command": "false"}
    over = world.after_job(job, {"complete": True})
    assert "has another job: false" in over["trouble"] and not over["ends"]
    assert world.record["state"] == "running" and not world.record["began_at"]
    same = {**job, "digest": world.record["digest"]}
    assert world.after_job(same, {"complete": True})["ends"]


def test_run_again_sets_earlier_record_aside(world: World) -> None:
    start_job(world)
    gone = {**world.record, "phase": "gone", "state": "failed"}
    (world.folder / "runs" / "train" / "run.json").write_text(json.dumps(gone))
    world.prepare(run_again=True)
    assert world.quoted(free=False)["provisions"] and world.record["phase"] == "ordered"
    assert json.loads((world.folder / "runs" / "train.1" / "run.json").read_text()) == gone


def test_lease_is_shortened_before_record_is_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.given["run_keep"] = "1h"
    start_job(world)

    def killed(*_args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.RecordFolder, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        world.after_job(FAILED_JOB, {"complete": True})
    end = datetime.fromisoformat(world.entry["provision_ends_at"].replace("Z", "+00:00"))
    assert end - datetime.now(timezone.utc) < timedelta(minutes=61)


def test_run_keep_shortens_lease_and_keeps_machine_of_failed_job(world: World) -> None:
    world.given["run_keep"] = "1h"
    start_job(world)
    over = world.after_job(FAILED_JOB, {"complete": True})
    assert not over["ends"] and "run_keep" in over["lines"][1] and "exit code 3" in over["trouble"]
    end = datetime.fromisoformat(world.entry["provision_ends_at"].replace("Z", "+00:00"))
    assert abs(end - datetime.now(timezone.utc) - timedelta(hours=1)) < timedelta(minutes=1)
    world.prepare()
    found = world.quoted(free=False)
    assert not found["provisions"] and not world.step(run.RUN_OVER, run__quoted=found)["ends"]
    world.prepare(run_keep=None)
    assert world.step(run.RUN_OVER, run__quoted=world.quoted(free=False))["ends"]


@pytest.mark.parametrize("minutes", [90, -1])
def test_kept_machine_stays_until_end_of_extended_lease(world: World, minutes: float) -> None:
    """A command that is repeated after ``run_keep`` must not end it: a person has extended the lease."""
    world.given["run_keep"] = "1h"
    start_job(world)
    world.after_job(FAILED_JOB, {"complete": True})
    now = datetime.now(timezone.utc)
    past = {**world.record, "kept_until": (now - timedelta(minutes=2)).timestamp()}
    (world.folder / "runs" / "train" / "run.json").write_text(json.dumps(past))
    registry, end = world.registry, f"{now + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"
    registry.read()
    registry.compare_and_set({"provision_ends_at": end})
    world.sweep()
    world.prepare()
    over = world.step(run.RUN_OVER, run__quoted=world.quoted(free=False))
    assert over["ends"] == (minutes < 0)
    assert over["ends"] or f"its lease ends at {end[:16].replace('T', ' ')} UTC." in over["lines"][1]


@pytest.mark.parametrize(
    ("keep", "job", "is_followed", "stays"),
    [
        ("1h", FAILED_JOB, False, True),
        ("1h", FAILED_JOB, True, True),
        (None, FAILED_JOB, False, False),
        ("1h", SUCCEEDED_JOB, False, False),
    ],
)
def test_run_keep_applies_after_sweep_fetched_results(
    world: World, keep: str | None, job: Json, is_followed: bool, stays: bool
) -> None:
    """Neither the sweep nor the next command ends it, even if that command has followed the job."""
    world.given["run_keep"] = keep
    start_job(world)
    job = {**job, "digest": world.record["digest"]}
    swept = {"run__late_job": job, "run__late_results": {"complete": True, "files": 1}}
    world.step(run.RUN_SWEPT, run__late=world.decide_fetch(), **swept)
    assert world.record["phase"] == "home"
    followed = {"run__followed": job, "run__results": {"failed": True, "msg": "unreachable"}} if is_followed else {}
    for _command in range(2):
        world.prepare()
        over = world.step(run.RUN_OVER, run__quoted=world.quoted(free=False), **followed)
        assert over["ends"] is not stays and world.record["complete"] is True
        assert not stays or "(run_keep)" in over["lines"][1]
    world.prepare(run_keep=None)
    assert world.step(run.RUN_OVER, run__quoted=world.quoted(free=False))["ends"]


def test_command_with_name_alone_uses_recorded_run_keep(world: World) -> None:
    world.given["run_keep"] = "90m"
    start_job(world)
    named = {name: None for name in world.given if name != "run_name"}
    assert world.prepare(**named)["job"]["keep"] == 5400.0
    assert world.prepare(**{**named, "run_keep": "1h"})["job"]["keep"] == 3600.0


def test_run_reports_storage_that_is_still_billed(world: World) -> None:
    start_job(world)
    registry = world.registry
    registry.read()
    registry.note({"provision_storage": [{"resource_id": "s1", "price_per_hour": 0.5}]})
    world.end()
    last = world.step(run.RUN_DONE)
    text = " ".join(last["lines"])
    assert "keeps its storage, which is billed until you end it" in text and "s1" in text
    assert "Nothing is billed" not in text


def test_sweep_fetches_results_once(world: World) -> None:
    start_job(world)
    folder = world.folder / "runs" / "train"
    found = world.decide_fetch()
    assert found["fetches"] and not world.decide_fetch(check_mode=True)["fetches"]
    job = {**FAILED_JOB, "digest": world.record["digest"]}
    got = {"run__late": found, "run__late_job": job, "run__late_results": {"complete": True, "files": 1}}
    noted = world.step(run.RUN_SWEPT, **got)
    assert noted["lines"] == ["The results of train are home: runs/train"] and world.record["phase"] == "home"
    assert not world.decide_fetch()["fetches"]
    (folder / "run.json").write_text("{")
    assert world.decide_fetch()["failed"] and "cannot be read" in world.decide_fetch()["msg"]


def test_sweep_keeps_results_of_two_computers_apart(world: World) -> None:
    """The registry is shared, and this computer has the results of an old run with the same name."""
    start_job(world)
    gone = {**world.record, "phase": "gone", "complete": True}
    (world.folder / "runs" / "train" / "run.json").write_text(json.dumps(gone))
    assert not world.decide_fetch(offer_id=OFFER)["fetches"]
    found = world.decide_fetch(offer_id=OTHER)
    assert found["fetches"] and found["dest"] == str(world.folder / "runs" / f"train.{OTHER}")
    results = {"complete": True, "files": 1}
    sweep = {"offer_id": OTHER}
    got = {"run__late": found, "run__late_job": FAILED_JOB, "run__late_results": results, "reap__sweep": sweep}
    noted = world.step(run.RUN_SWEPT, **got)
    assert f"runs/train.{OTHER}" in noted["lines"][0] and world.record == gone
    assert not world.decide_fetch(offer_id=OTHER)["fetches"]


@pytest.mark.parametrize(
    ("followed", "results", "expected_text"),
    [
        ({"state": "running"}, {}, "train runs. Repeat the command to follow it"),
        ({"state": "running", "lost_sight": True, "msg": "silent"}, {}, "silent"),
        ({"state": "none"}, {}, "has not begun its job"),
        ({}, {}, "did not report on its job"),
        # Results as they are after `failed_when: false`
        (FAILED_JOB, {"failed": False, "msg": "Timed out."}, "NOT complete. Timed out."),
        (
            FAILED_JOB,
            {"failed": False, "complete": False, "fault": "It is full.", "msg": "x"},
            "te. It is full. See",
        ),
        (FAILED_JOB, {"complete": False, "incomplete": [{"path": "out/a"}]}, "Not home: out/a."),
        (
            FAILED_JOB,
            {"incomplete": [{"path": "a\x1b", "reason": "it changed"}]},
            "Not home: a\ufffd (it changed).",
        ),
        (FAILED_JOB, {"incomplete": [{"path": f"{n}"} for n in range(9)]}, "Not home: 0, 1, 2, 3, 4 and 4 more."),
        (
            {**FAILED_JOB, "state": "succeeded"},
            {"complete": True, "missing": ["ouput"]},
            "Not written by the job: ouput. To fetch other files, change run_results",
        ),
    ],
)
def test_machine_stays_until_results_are_complete(
    world: World, followed: Json, results: Json, expected_text: str
) -> None:
    start_job(world)
    over = world.after_job(followed, results)
    assert not over["ends"] and world.record["phase"] == "started"
    text = " ".join([*over["lines"], over["trouble"]])
    assert expected_text in text and "It is billed until you end it, since no sweep would." in text
    world.sweep()
    broken = world.step(run.RUN_BROKEN, reason="It broke.")
    assert "It broke. It is billed until its lease ends at" in broken["trouble"]
