# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a run against a registry of files: what is refused, written and ended, and in which order."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations import run
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile

Json = dict[str, Any]
OFFER = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


class World:
    """A folder with an inventory, and one command after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inventory = folder, "hosts.yml"
        (folder / "hosts.yml").write_text("gpu:\n")
        (folder / "code").mkdir()
        (folder / "code" / "train.py").write_text("print()\n")
        self.given: Json = {
            **{"run_name": "train", "run_command": "true", "run_gpu": "H100", "run_max_bill": 20, "run_time": "2h"},
            **{"run_files": "code", "run_unswept": True},
        }
        self.asked: Json = {}
        self.protect: Any = None

    def _perform(self, operation: Operation, check_mode: bool = False, **given: Any) -> Json:
        spec = {name: option.get("default") for name, option in operation.argument_spec.items()}
        beside = {"here": str(self.folder), "sources": [str(self.folder / self.inventory)], "home": ""}
        return operation.perform({**spec, **beside, "api_url": "http://localhost", **given}, check_mode)

    def ask(self, **given: Any) -> Json:
        """The first step, with the usual variables and these; None leaves one out."""
        variables = {name: value for name, value in {**self.given, **given}.items() if value is not None}
        self.asked = self._perform(run.RUN, given=variables)
        return self.asked

    def step(self, operation: Operation, check_mode: bool = False, reason: str = "", **got: Json) -> Json:
        if got.get("run__followed", {}).get("state"):  # as a machine answers that has the job
            got["run__followed"] = {"digest": self.asked["job"]["digest"], **got["run__followed"]}
        host: Json = {"host": "run-train", "project": "default", "registry_dir": None, "inventory_dir": None}
        host.update(shared=True, protect=self.protect)
        given = {"run": self.asked, "reason": reason, "given": {}}
        return self._perform(
            operation,
            check_mode,
            hosts=[host],
            got=got,
            **{name: value for name, value in given.items() if name in operation.argument_spec},
        )

    def late(self, check_mode: bool = False, **sweep: Any) -> Json:
        """The answer of the step that decides what a sweep fetches."""
        return self.step(run.RUN_LATE, check_mode, run__late_job={"results": ["out"]}, reap__sweep=sweep)

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
        """Note a purchase, as the role does."""
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


def started(world: World) -> Json:
    """A run whose job was started."""
    world.ask()
    quoted = world.quoted(free=True)
    assert quoted["provisions"] and not quoted["offer_id"]
    world.buy()
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert found["starts"] and found["copies"]
    return found


TIMES = {"began_at": "2026-12-01T06:00:00Z", "ended_at": "2026-12-01T07:00:00Z"}
OVER = {"state": "failed", "exit_code": 3, "reason": "exit code 3", **TIMES}
DONE = {"state": "succeeded", "exit_code": 0, "reason": "exit code 0", **TIMES}


def test_what_a_run_costs_leaves_out_earlier_ones_whatever_the_clock_says(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.buy(OTHER)
    world.end()
    monkeypatch.setattr(run.time, "time", lambda: datetime.now(timezone.utc).timestamp() + 600)
    started(world)
    assert world.record["earlier_offers"] == [OTHER]
    monkeypatch.undo()
    world.end()
    assert "It cost at most USD 0.0" in world.step(run.RUN_DONE)["lines"][1]


def test_a_life(world: World) -> None:
    found = started(world)
    assert 7200 - 60 <= found["seconds"] <= 7200
    assert (world.record["phase"], world.record["offer_id"]) == ("started", OFFER)
    # From now on no other offer is bought for it, whatever becomes of its machine meanwhile.
    looks = world.quoted(free=False)
    assert looks["provisions"] and looks["offer_id"] == OFFER
    quoted = {"lost": False}
    done = {**DONE, "log": ["a", "b"]}
    over = world.step(run.RUN_OVER, run__quoted=quoted, run__followed=done, run__results={"complete": True, "files": 2})
    assert over["ends"] and (world.record["phase"], world.record["last_lines"]) == ("home", ["a", "b"])
    world.end()
    last = world.step(run.RUN_DONE)
    assert not last["trouble"] and last["lines"][0] == "train succeeded after 1 h (exit code 0)."
    assert world.record["phase"] == "gone" and world.record["cost_usd"] is not None
    # The same command repeats the outcome, another one begins anew, and check mode writes nothing.
    assert world.ask()["hosts"] == [] and world.asked["lines"][-1].endswith("runs it once more.")
    assert world.ask(run_command="false")["hosts"] == ["run-train"]
    world.quoted(free=True, check_mode=True)
    assert world.record["phase"] == "gone"
    world.quoted(free=True)
    assert world.record["phase"] == "ordered" and (world.folder / "runs" / "train.1" / "run.json").exists()


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("phase", ["", "ordered", "started", "home", "gone"])
def test_check_mode_stops_after_the_quote_and_writes_nothing(world: World, phase: str, free: bool) -> None:
    if phase:
        started(world)
        file = world.folder / "runs" / "train" / "run.json"
        file.write_text(json.dumps({**world.record, "phase": phase}))
    before = {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()}
    if world.ask()["hosts"]:
        found = world.quoted(free=free, check_mode=True)
        assert not (found["provisions"] or found["goes_on"])
    world.late(check_mode=True)
    world.step(run.RUNS, check_mode=True)
    assert before == {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()}


def test_nothing_is_bought_without_sweeps_or_a_place_for_the_results(world: World) -> None:
    world.ask(run_unswept=None)
    found = world.quoted(free=True)
    assert "run_unswept=true" in found["trouble"] and not found["provisions"]
    assert not (world.folder / "runs").exists()
    (world.folder / "file").touch()
    refused = world.ask(run_command=None)
    assert refused["hosts"] == [] and refused["trouble"].endswith(" Nothing was sent.")
    world.ask(run_results_dir="file")
    refused = world.quoted(free=True)
    assert refused["failed"] and "results cannot be kept" in refused["msg"] and not refused.get("provisions")
    (world.folder / "runs" / "train").mkdir(parents=True)
    (world.folder / "runs" / "train" / "run.json").write_text("{")
    assert "the record of this run, cannot be read" in world.ask()["trouble"]


@pytest.mark.parametrize("protect", [True, "yes", "maybe", False, None])
def test_nothing_is_bought_whose_lease_its_group_would_overrule(world: World, protect: Any) -> None:
    """The variables of a run end with its command; a sweep reads those of the inventory, and would end nothing."""
    world.protect = protect
    world.ask()
    assert world.quoted(free=True)["provisions"], "it was allowed without sweeps"
    world.ask(run_unswept=None)
    refused = world.quoted(free=True)["trouble"]
    assert ("since its group has provision_protect" in refused) is (protect not in (False, None))
    assert "Nothing was bought." in refused
    world.buy()
    assert world.quoted(free=False)["provisions"], "what runs is followed all the same"


def test_the_list_of_runs_fails_if_it_does_not_have_all(world: World) -> None:
    started(world)
    assert [item["name"] for item in world.step(run.RUNS)["runs"]] == ["train"]
    broken = world.folder / "runs" / "test"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    found = world.step(run.RUNS)
    assert [item["name"] for item in found["runs"]] == ["train"] and f"{broken}/run.json" in found["trouble"]


def test_other_code_is_another_job(world: World) -> None:
    started(world)
    (world.folder / "code" / "train.py").write_text("print(1)\n")
    refused = world.ask()
    assert "The run train is not over" in refused["trouble"] and refused["hosts"] == []
    named = {name: None for name in world.given if name != "run_name"}
    assert world.ask(**named)["hosts"] == ["run-train"]
    assert world.asked["job"]["command"] == "true" and world.asked["job"]["digest"] == world.record["digest"]
    # The command that noted the start may have been killed before it: the name alone would start it without its code.
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert not (found["starts"] or found["copies"]) and "Repeat the whole command" in found["trouble"]


@pytest.mark.parametrize("linked", ["run_files", "run_results_dir"])
def test_results_in_the_code_make_no_other_job_of_it_by_whatever_link_that_is_named(world: World, linked: str) -> None:
    (world.folder / "link").symlink_to(world.folder)
    world.given.update(run_files=".", run_results_dir="runs")
    world.given[linked] = os.path.join("link", world.given[linked])
    started(world)
    assert (world.folder / "runs" / "train" / "run.json").exists() and world.ask()["trouble"] == ""


def test_no_results_are_where_ansible_would_run_them(world: World) -> None:
    """It reads each file of an inventory folder, whatever its name, and runs those that may be run."""
    world.inventory = "inventory"
    (world.folder / "inventory" / "group_vars").mkdir(parents=True)
    (world.folder / "link").symlink_to(world.folder / "inventory")
    assert world.ask()["trouble"] == "" and world.asked["job"]["dest"] == str(world.folder / "runs" / "train")
    for inside in ("inventory", "inventory/runs", "link/runs"):
        refused = world.ask(run_results_dir=inside)["trouble"]
        assert refused.startswith(f"run_results_dir must not be in the inventory folder {world.folder / 'inventory'}:")
        listed = world._perform(run.RUNS, given={"run_results_dir": inside}, hosts=[])
        assert listed["msg"].startswith("run_results_dir must not be")
    assert world.ask(run_results_dir="inventory-runs")["trouble"] == ""


def test_a_job_of_awx_keeps_results_only_in_a_folder_that_stays(world: World) -> None:
    """At its end it loses those that are home, with their machine, and the record without which the job runs again."""
    world.inventory, hosts = "inventory/hosts", [{"host": "run-train"}]
    world.folder.joinpath("inventory").mkdir()
    world.folder.joinpath("inventory", "hosts").touch()
    for named, lost in ({"": "inventory/runs", "here": "here", "/stays": ""}).items():
        given = {**world.given, "run_results_dir": named}
        asked = world._perform(run.RUN, given=given, by_job=True)
        late = world._perform(run.RUN_LATE, given=given, hosts=hosts, got={}, by_job=True)
        for trouble in (asked["trouble"], late.get("msg", "")):
            assert trouble.startswith(f"This is a job of AWX, which loses {world.folder / lost} at its end") is bool(
                lost
            )
        assert late.get("fetches", False) is not bool(lost)
    assert world._perform(run.RUNS, given=world.given, hosts=[], got={}, by_job=True)["runs"] == []


def test_what_a_machine_that_was_taken_away_leaves(world: World) -> None:
    started(world)
    world.ask()
    world.end()  # as a purchase that the API says has ended
    found = world.quoted(free=True)
    assert (found["lost"], found["provisions"]) == (True, False)
    assert world.step(run.RUN_OVER, run__quoted=found)["ends"] and world.record["state"] == "lost"
    last = world.step(run.RUN_DONE)
    assert "train lost (its machine has gone)" in last["trouble"] and "went with the machine" in last["lines"][2]
    # A computer that shares the registry, or has another folder of results, may have ended it once they were there.
    assert "unless a sweep or another computer" in last["trouble"]


def test_a_command_learns_that_another_one_has_brought_the_run_to_its_end(world: World) -> None:
    started(world)
    done = DONE
    over = world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=done, run__results={"complete": True})
    assert over["ends"]
    world.end()
    world.step(run.RUN_DONE)


def test_a_job_that_was_over_is_not_lost_with_its_machine_but_its_results_are(world: World) -> None:
    started(world)
    done = DONE
    results = {"complete": True, "missing": ["ouput"], "files": 0}
    over = world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=done, run__results=results)
    assert not over["ends"] and "ouput" in over["trouble"]
    world.end()  # by its lease
    world.ask()
    found = world.quoted(free=True)
    assert found["lost"] and world.step(run.RUN_OVER, run__quoted=found)["ends"]
    last = world.step(run.RUN_DONE)
    assert last["lines"][0] == "train succeeded after 1 h (exit code 0)." and "went with the machine" in last["trouble"]
    assert last["trouble"] == world.ask()["trouble"]  # as red as before


def test_a_machine_that_the_registry_has_forgotten_may_be_billed(world: World) -> None:
    started(world)
    world.ask()
    for path in (world.folder / "host_vars").rglob("*"):
        if path.is_file():
            path.unlink()
    found = world.quoted(free=True)
    assert "IT MAY BE BILLED" in found["trouble"] and OFFER in found["trouble"]
    assert not (found["goes_on"] or found["provisions"]) and world.record["phase"] == "started"
    broken = world.step(run.RUN_BROKEN, reason="It broke.")["trouble"]
    assert "run-train may have a machine that is billed." in broken and "Nothing is billed" not in broken


def test_the_machine_of_another_run_never_ends(world: World) -> None:
    started(world)
    world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=OVER, run__results={"complete": True})
    assert world.record["phase"] == "home"
    world.end()
    world.buy(OTHER)
    world.ask()
    found = world.quoted(free=False)
    assert OTHER in found["trouble"] and not found["goes_on"]
    # Nor does a machine that no run has bought.
    world.end()
    world.buy(OTHER, provision_groups=["gpu"])
    (world.folder / "runs" / "train" / "run.json").unlink()
    world.ask()
    assert "that was not bought by a run" in world.quoted(free=False)["trouble"]


def test_a_job_that_ended_meanwhile_is_not_bought_again(world: World) -> None:
    """Two commands of one name: the first comes to its end between two steps of the second."""
    started(world)
    world.ask()
    ended = {**world.record, "phase": "gone", "state": "succeeded"}
    world.end()
    (world.folder / "runs" / "train" / "run.json").write_text(json.dumps(ended))
    found = world.quoted(free=True)
    assert not found["provisions"] and "has finished the run" in found["trouble"]
    assert world.record == ended


def test_another_job_never_gets_the_outcome_of_the_one_that_ran(world: World) -> None:
    """Two commands of one name, with other code, before either job has begun."""
    first = dict(world.ask())
    assert world.quoted(free=True)["provisions"]
    (world.folder / "code" / "train.py").write_text("print(1)\n")
    second = dict(world.ask())
    assert world.quoted(free=True)["provisions"] and world.record["digest"] == second["job"]["digest"]
    world.buy()
    world.asked = first
    assert world.step(run.RUN_NEXT, run__info={"state": "none"})["starts"]
    assert (world.record["phase"], world.record["digest"]) == ("started", first["job"]["digest"])
    world.asked = second
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert not found["starts"] and "it is another job" in found["trouble"]
    assert "It is billed until its lease ends" in found["trouble"] and "Nothing was bought" not in found["trouble"]
    assert world.record["digest"] == first["job"]["digest"]


@pytest.mark.parametrize("state", ["running", "failed"])
def test_a_job_of_another_computer_is_not_bought_again_either(world: World, state: str) -> None:
    """A shared registry knows its machine, and this computer has no record of it."""
    digest = world.ask()["job"]["digest"]
    world.buy()
    assert world.quoted(free=False)["provisions"]
    found = world.step(run.RUN_NEXT, run__info={"state": state, "digest": digest})
    assert not found["starts"] and (world.record["phase"], world.record["offer_id"]) == ("started", OFFER)
    world.end()
    world.ask()
    assert world.quoted(free=True)["lost"]


def test_a_job_that_has_begun_is_not_started_again_on_an_empty_disk(world: World) -> None:
    digest = started(world)["starts"] and world.record["digest"]
    # No answer has shown yet that it began: the command may have been killed before it started the job.
    assert world.step(run.RUN_NEXT, run__info={"state": "none"})["starts"]
    job = {"state": "running", "digest": digest, "began_at": OVER["began_at"]}
    assert not world.step(run.RUN_NEXT, run__info=job)["starts"] and world.record["began_at"] == OVER["began_at"]
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert not found["starts"] and "it is not started again" in found["trouble"]
    assert world.record["began_at"] == OVER["began_at"] and world.record["phase"] == "started"


@pytest.mark.parametrize("follows", [True, False])
def test_a_job_that_was_seen_to_run_is_not_started_again(world: World, follows: bool) -> None:
    """Its folder was removed, perhaps by the job, while a command followed it, or after one had only looked."""
    started(world)
    job = {"state": "running", "digest": world.record["digest"], "began_at": OVER["began_at"]}
    followed = {"state": "none", "began_at": OVER["began_at"]} if follows else job
    over = world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=followed)
    assert ("it is not started again" in over["trouble"]) is follows and not over["ends"]
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert not found["starts"] and "it is not started again" in found["trouble"]


def test_a_machine_that_was_bought_since_is_not_for_a_job_that_has_begun(world: World) -> None:
    started(world)
    world.end()
    world.buy(OTHER)
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert not found["starts"] and OTHER in found["trouble"] and world.record["offer_id"] == OFFER


@pytest.mark.parametrize("keep", [None, "1h"])
def test_what_was_followed_for_long_ends_no_machine_of_another_run(world: World, keep: str | None) -> None:
    world.given["run_keep"] = keep
    started(world)
    world.end()
    world.buy(OTHER)
    before = world.entry
    over = world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=OVER, run__results={"complete": True})
    assert over["failed"] and OTHER in over["msg"] and not over.get("ends") and world.entry == before


def test_a_smaller_bill_holds_for_a_machine_that_was_bought_with_a_larger_one(world: World) -> None:
    """The first command was killed after the purchase; the second is allowed less."""
    world.ask(run_time="60h", run_max_bill=200)
    assert world.quoted(free=True)["provisions"]
    world.buy(hours=61)
    world.ask(run_time=None, run_max_bill=4)
    assert world.quoted(free=False)["provisions"]
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert found["starts"] and 3500 < found["seconds"] <= 3600 and "The job may take" in found["lines"][0]
    end = datetime.fromisoformat(world.entry["provision_ends_at"].replace("Z", "+00:00"))
    assert abs(end - datetime.now(timezone.utc) - timedelta(hours=2)) < timedelta(minutes=1)
    # A job that already runs keeps its time.
    running = {"state": "running", "digest": world.record["digest"]}
    assert not world.step(run.RUN_NEXT, run__info=running)["trouble"]


def test_a_bill_that_pays_for_no_job_on_its_machine_starts_none(world: World) -> None:
    world.ask(run_time="60h", run_max_bill=200)
    world.quoted(free=True)
    world.buy(hours=61)
    before = world.entry
    world.ask(run_time=None, run_max_bill=1)
    found = world.step(run.RUN_NEXT, run__info={"state": "none"})
    assert not found["starts"] and "run_max_bill (USD 1.00" in found["trouble"]
    assert (
        "It is billed until its lease ends" in found["trouble"] and "decommission_hosts=run-train" in found["trouble"]
    )
    assert world.entry == before and world.record["phase"] == "ordered"
    # The last line of the play says the same, since the same command would not go on.
    assert world.step(run.RUN_BROKEN, reason=found["trouble"], run__next=found)["trouble"] == found["trouble"]


@pytest.mark.parametrize("phase", ["home", "gone"])
def test_what_another_command_has_brought_home_meanwhile_stays_so(world: World, phase: str) -> None:
    """Two commands of one computer follow the same job; the machine may have gone before this one has asked it."""
    started(world)
    home = {
        **world.record,
        "phase": phase,
        "state": "failed",
        "reason": "exit code 3",
        "complete": True,
        "cost_usd": 0.5,
        "kept_until": None,
    }
    (world.folder / "runs" / "train" / "run.json").write_text(json.dumps(home))
    unfetched = {"failed": True, "msg": "unreachable"}
    quoted = {"lost": False}
    over = world.step(run.RUN_OVER, run__quoted=quoted, run__followed=OVER, run__results=unfetched)
    assert world.record == home and over["ends"] is (phase == "home")
    assert phase == "home" or (over["lines"][1].startswith("Nothing is billed") and "exit code 3" in over["trouble"])


@pytest.mark.parametrize(
    ("followed", "state"),
    [({"state": "running", "lost_sight": True}, "lost"), ({"state": "none"}, "lost"), (OVER, "failed")],
)
def test_a_machine_that_a_sweep_has_ended_meanwhile_is_not_said_to_be_billed(
    world: World, followed: Json, state: str
) -> None:
    """As while results were on their way: a job that was over by then has its own end."""
    started(world)
    world.end()
    unfetched = {"failed": True, "msg": "unreachable"}
    over = world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=followed, run__results=unfetched)
    assert over["ends"] and not over["lines"] and world.record["state"] == state
    last = world.step(run.RUN_DONE)
    assert "Nothing is billed any more" in " ".join(last["lines"]) and "went with the machine" in last["trouble"]
    assert ("its machine has gone" if state == "lost" else "exit code 3") in last["trouble"]
    assert world.record["phase"] == "gone"


@pytest.mark.parametrize("keep", [None, "1h"])
def test_a_machine_that_a_sweep_has_ended_after_its_results_came_home_is_no_loss(
    world: World, keep: str | None
) -> None:
    world.given["run_keep"] = keep
    started(world)
    world.end()
    results = {"complete": True, "files": 1}
    assert world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=OVER, run__results=results)["ends"]
    assert (world.record["phase"], world.record["state"]) == ("home", "failed")


def test_the_end_of_another_job_is_none_of_this_one(world: World) -> None:
    """A command on another computer has started its own job on the machine, at the same moment."""
    started(world)
    job = {
        **OVER,
        "state": "succeeded",
        "exit_code": 0,
        "reason": "exit code 0",
        "digest": "of another",
        "command": "false",
    }
    over = world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=job, run__results={"complete": True})
    assert "has another job: false" in over["trouble"] and not over["ends"]
    assert world.record["state"] == "running" and not world.record["began_at"]
    same = {**job, "digest": world.record["digest"]}
    assert world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=same, run__results={"complete": True})[
        "ends"
    ]


def test_what_an_earlier_run_has_left_is_set_aside_whoever_has_the_machine(world: World) -> None:
    started(world)
    gone = {**world.record, "phase": "gone", "state": "failed"}
    (world.folder / "runs" / "train" / "run.json").write_text(json.dumps(gone))
    world.ask(run_again=True)
    assert world.quoted(free=False)["provisions"] and world.record["phase"] == "ordered"
    assert json.loads((world.folder / "runs" / "train.1" / "run.json").read_text()) == gone


def test_a_lease_is_cut_before_the_record_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.given["run_keep"] = "1h"
    started(world)

    def killed(*_args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.RecordFolder, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=OVER, run__results={"complete": True})
    end = datetime.fromisoformat(world.entry["provision_ends_at"].replace("Z", "+00:00"))
    assert end - datetime.now(timezone.utc) < timedelta(minutes=61)


def test_a_machine_is_kept_after_a_failure_and_a_sweep_ends_it(world: World) -> None:
    world.given["run_keep"] = "1h"
    started(world)
    over = world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=OVER, run__results={"complete": True})
    assert not over["ends"] and "run_keep" in over["lines"][1] and "exit code 3" in over["trouble"]
    end = datetime.fromisoformat(world.entry["provision_ends_at"].replace("Z", "+00:00"))
    assert abs(end - datetime.now(timezone.utc) - timedelta(hours=1)) < timedelta(minutes=1)
    world.ask()
    found = world.quoted(free=False)
    assert not found["provisions"] and not world.step(run.RUN_OVER, run__quoted=found)["ends"]
    world.ask(run_keep=None)
    assert world.step(run.RUN_OVER, run__quoted=world.quoted(free=False))["ends"]


@pytest.mark.parametrize("minutes", [90, -1])
def test_a_machine_that_is_kept_stays_if_its_lease_was_extended(world: World, minutes: float) -> None:
    """The command, repeated after ``run_keep``, ended it although a person had paid for more."""
    world.given["run_keep"] = "1h"
    started(world)
    world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=OVER, run__results={"complete": True})
    now = datetime.now(timezone.utc)
    past = {**world.record, "kept_until": (now - timedelta(minutes=2)).timestamp()}
    (world.folder / "runs" / "train" / "run.json").write_text(json.dumps(past))
    registry, end = world.registry, f"{now + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"
    registry.read()
    registry.compare_and_set({"provision_ends_at": end})
    world.ask()
    over = world.step(run.RUN_OVER, run__quoted=world.quoted(free=False))
    assert over["ends"] == (minutes < 0)
    assert over["ends"] or f"stays until {end[:16].replace('T', ' ')} UTC (run_keep)" in over["lines"][1]


@pytest.mark.parametrize(
    ("keep", "job", "follows", "stays"),
    [
        ("1h", OVER, False, True),
        ("1h", OVER, True, True),
        (None, OVER, False, False),
        ("1h", DONE, False, False),
    ],
)
def test_a_machine_is_kept_although_a_sweep_brought_the_results_home(
    world: World, keep: str | None, job: Json, follows: bool, stays: bool
) -> None:
    """The sweep does not end it, and neither does the next command, even one that followed the job meanwhile."""
    world.given["run_keep"] = keep
    started(world)
    job = {**job, "digest": world.record["digest"]}
    swept = {"run__late_job": job, "run__late_results": {"complete": True, "files": 1}}
    world.step(run.RUN_SWEPT, run__late=world.late(), **swept)
    assert world.record["phase"] == "home"
    followed = {"run__followed": job, "run__results": {"failed": True, "msg": "unreachable"}} if follows else {}
    for _command in range(2):
        world.ask()
        over = world.step(run.RUN_OVER, run__quoted=world.quoted(free=False), **followed)
        assert over["ends"] is not stays and world.record["complete"] is True
        assert not stays or "(run_keep)" in over["lines"][1]
    world.ask(run_keep=None)
    assert world.step(run.RUN_OVER, run__quoted=world.quoted(free=False))["ends"]


def test_the_name_alone_keeps_the_machine_for_as_long_as_was_asked(world: World) -> None:
    world.given["run_keep"] = "90m"
    started(world)
    named = {name: None for name in world.given if name != "run_name"}
    assert world.ask(**named)["job"]["keep"] == 5400.0
    assert world.ask(**{**named, "run_keep": "1h"})["job"]["keep"] == 3600.0


def test_storage_that_a_run_leaves_is_no_machine_and_is_billed(world: World) -> None:
    started(world)
    registry = world.registry
    registry.read()
    registry.note({"provision_storage": [{"resource_id": "s1", "price_per_hour": 0.5}]})
    world.end()
    last = world.step(run.RUN_DONE)
    text = " ".join(last["lines"])
    assert "keeps its storage, which is billed until you end it" in text and "s1" in text
    assert "Nothing is billed" not in text


def test_a_sweep_brings_results_home_once(world: World) -> None:
    started(world)
    folder = world.folder / "runs" / "train"
    found = world.late()
    assert found["fetches"] and not world.late(check_mode=True)["fetches"]
    job = {**OVER, "digest": world.record["digest"]}
    got = {"run__late": found, "run__late_job": job, "run__late_results": {"complete": True, "files": 1}}
    noted = world.step(run.RUN_SWEPT, **got)
    assert noted["lines"] == ["The results of train are home: runs/train"] and world.record["phase"] == "home"
    assert not world.late()["fetches"]
    (folder / "run.json").write_text("{")
    assert world.late()["failed"] and "cannot be read" in world.late()["msg"]


def test_a_sweep_keeps_the_results_of_two_computers_apart(world: World) -> None:
    """The registry is shared; here is an old run of the same name, whose results are home."""
    started(world)
    gone = {**world.record, "phase": "gone", "complete": True}
    (world.folder / "runs" / "train" / "run.json").write_text(json.dumps(gone))
    assert not world.late(offer_id=OFFER)["fetches"]
    found = world.late(offer_id=OTHER)
    assert found["fetches"] and found["dest"] == str(world.folder / "runs" / f"train.{OTHER}")
    results = {"complete": True, "files": 1}
    sweep = {"offer_id": OTHER}
    got = {"run__late": found, "run__late_job": OVER, "run__late_results": results, "reap__sweep": sweep}
    noted = world.step(run.RUN_SWEPT, **got)
    assert f"runs/train.{OTHER}" in noted["lines"][0] and world.record == gone
    assert not world.late(offer_id=OTHER)["fetches"]


@pytest.mark.parametrize(
    ("followed", "results", "phase", "said"),
    [
        ({"state": "running"}, {}, "started", "train runs. Repeat the command to follow it"),
        ({"state": "running", "lost_sight": True, "msg": "silent"}, {}, "started", "silent"),
        ({"state": "none"}, {}, "started", "has not begun its job"),
        ({}, {}, "started", "did not report on its job"),
        # As they are after `failed_when: false`
        (OVER, {"failed": False, "msg": "Timed out."}, "started", "NOT complete. Timed out."),
        (
            OVER,
            {"failed": False, "complete": False, "fault": "It is full.", "msg": "x"},
            "started",
            "te. It is full. See",
        ),
        (OVER, {"complete": False, "incomplete": [{"path": "out/a"}]}, "started", "Not home: out/a."),
        (
            OVER,
            {"incomplete": [{"path": "a\x1b", "reason": "it changed"}]},
            "started",
            "Not home: a\ufffd (it changed).",
        ),
        (OVER, {"incomplete": [{"path": f"{n}"} for n in range(9)]}, "started", "Not home: 0, 1, 2, 3, 4 and 4 more."),
        (
            {**OVER, "state": "succeeded"},
            {"complete": True, "missing": ["ouput"]},
            "started",
            "Not written by the job: ouput. To fetch other files, change run_results",
        ),
    ],
)
def test_a_machine_stays_until_its_results_are_home(
    world: World, followed: Json, results: Json, phase: str, said: str
) -> None:
    started(world)
    over = world.step(run.RUN_OVER, run__quoted={"lost": False}, run__followed=followed, run__results=results)
    assert not over["ends"] and world.record["phase"] == phase
    text = " ".join([*over["lines"], over["trouble"]])
    assert said in text and "billed until its lease ends" in text
    broken = world.step(run.RUN_BROKEN, reason="It broke.")
    assert "It broke. It is billed until its lease ends" in broken["trouble"]
