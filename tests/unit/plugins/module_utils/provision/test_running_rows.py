# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tasks of a run need: why nothing may be bought, what it has cost, which runs there are."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._moments import utc
from ansible_collections.compute_index.supply.plugins.module_utils._provision import lease, running, running_report
from ansible_collections.compute_index.supply.plugins.module_utils._provision import running_rows as rows
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder, SharedProject
from ansible_collections.compute_index.supply.plugins.module_utils._provision.running import Next, Request, Way
from ansible_collections.compute_index.supply.plugins.module_utils._provision.running_report import GROUP
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill, Ledger
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage

BOUGHT = read_entry({"provision_procured_offer_id": "o", "provision_resource_ids": ["m"], "provision_groups": ["gpu"]})
OFFER = rows.Quoted(host={"price_per_hour": 2.0}, is_free=True)


@pytest.mark.parametrize(
    ("way", "entry", "unswept", "registry", "refusal"),
    [
        (Way.BUY, read_entry({}), "", True, ""),
        (Way.BUY, read_entry({}), "No sweep is known.", True, "run_unswept=true"),
        (Way.BUY, read_entry({}), "", False, "needs a registry"),
        (Way.BUY, BOUGHT, "", True, "no run has bought (m)"),
        (Way.LOOK, BOUGHT, "", True, "no run has bought (m)"),
        (Way.LOOK, read_entry({}), "No sweep is known.", True, ""),  # it was bought already
        (Way.LOST, read_entry({}), "No sweep is known.", True, ""),
    ],
)
def test_why_nothing_may_be_bought(way: Way, entry: Any, unswept: str, registry: bool, refusal: str) -> None:
    try:
        lease = rows.lease_for(way, Request(name="train", max_bill=20), OFFER, entry, unswept, has_registry=registry)
    except ValueError as error:
        assert refusal and refusal in str(error)
    else:
        assert not refusal and lease >= running.LEAST + running.TAIL
    if way is Way.BUY and unswept:  # which a person may accept
        accepted = Request(name="train", max_bill=20, unswept=True)
        assert rows.lease_for(way, accepted, OFFER, entry, unswept, has_registry=True) == 36_000.0


@pytest.mark.parametrize(
    ("leased", "seconds"), [("3h", 10_800.0), ("", 7200.0), ("2026-12-01T06:00:00Z", 7200.0), ("long", 7200.0)]
)
def test_a_command_that_looks_at_its_machine_declares_the_lease_that_it_has(leased: str, seconds: float) -> None:
    """Else a person who repeats a command reads that the machine is another one than was asked for."""
    entry = read_entry({"provision_procured_offer_id": "o", "provision_leased": leased, "provision_groups": [GROUP]})
    request = Request(name="train", max_bill=20, seconds=3600.0)
    for way in (Way.LOOK, Way.END, Way.LOST):
        assert rows.lease_for(way, request, OFFER, entry, "", has_registry=True) == seconds


@pytest.mark.parametrize(
    ("phase", "noted", "has", "ended", "expected"),
    [
        ("ordered", None, "", (), running.Trace.SAME),
        ("started", "o1", "o1", (), running.Trace.SAME),
        ("started", "o1", "", ("o1",), running.Trace.ENDED),
        ("started", "o1", "", ("o2",), running.Trace.FORGOTTEN),
        ("home", "o1", "", (), running.Trace.FORGOTTEN),
        ("home", "o1", "o2", ("o1",), running.Trace.ANOTHER),
        ("started", "o1", "o2", (), running.Trace.ANOTHER),
        ("gone", "o1", "o2", (), running.Trace.SAME),  # the run is over, whatever has come since
        ("gone", "o1", "", (), running.Trace.SAME),
    ],
)
def test_nothing_has_ended_that_is_not_proven(
    phase: str, noted: str | None, has: str, ended: tuple[str, ...], expected: running.Trace
) -> None:
    record = {"phase": phase, "offer_id": noted, "name": "train", "host": "run-train"}
    entry = read_entry({"provision_procured_offer_id": has, "provision_purchase": "made"} if has else None)
    ledger = Ledger(tuple(Bill("default", "run-train", offer_id, begin=0.0, end=1.0) for offer_id in ended), 2.0)
    run = rows.RunView(Request(name="train"), record=record, entry=entry, ledger=ledger)
    assert run.trace is expected
    doubtful = expected in (running.Trace.ANOTHER, running.Trace.FORGOTTEN)
    with pytest.raises(ValueError, match=str(noted)) if doubtful else contextlib.nullcontext():
        rows.check_trace(run)


def test_a_machine_that_is_kept_ends_when_it_was_said() -> None:
    noted = {"provision_leased": "3h", "provision_ends_at": "2026-12-01T06:00:00Z", **rows.ends_earlier(3600.0)}
    assert lease.end_of(noted["provision_leased"], noted["provision_ends_at"], 1000.0) == 3600.0


def test_what_a_run_has_cost() -> None:
    bills = (
        Bill("default", "run-train", "o1", price_per_hour=2.0, begin=0.0, end=3600.0),
        Bill("default", "run-train", "o2", price_per_hour=2.0, begin=10_000.0, end=13_600.0),
        Bill("default", "run-train", "o3", price_per_hour=4.0, begin=13_600.0),
        Bill("default", "gpu-1", "o4", price_per_hour=9.0, begin=10_000.0),
    )
    ledger = Ledger(bills, 17_200.0)
    record = {"ordered_at": "1970-01-01T02:46:40Z"}
    assert rows.cost(ledger, "run-train", record) == 6.0
    assert rows.cost(ledger, "run-train", {}) == 8.0
    assert rows.cost(ledger, "run-eval", {}) is None
    # Whatever this computer's clock says, which is not the one of the purchases
    off = {"ordered_at": "1970-01-01T02:56:40Z", "earlier_offers": ["o1"]}
    assert rows.cost(ledger, "run-train", off) == 6.0 and rows.cost(ledger, "run-train", {"earlier_offers": []}) == 8.0
    assert rows.earlier_offers(ledger, "run-train", read_entry({})) == ["o1", "o2", "o3"]
    assert rows.earlier_offers(ledger, "run-train", read_entry({"provision_procured_offer_id": "o3"})) == ["o1", "o2"]
    unknown = Ledger((*bills, Bill("default", "run-train", "o5", begin=11_000.0)), 17_200.0)
    assert rows.cost(unknown, "run-train", record) is None


NOW = 1_796_000_000.0


@pytest.mark.parametrize(
    ("job", "following"),
    [
        ({"state": "running", "digest": "b", "command": "false"}, Next.OTHER),
        ({"failed": True, "msg": "no Python"}, Next.UNREAD),
        ({"state": "none"}, Next.START),
        ({"state": "failed", "digest": "a"}, Next.FETCH),
    ],
)
def test_what_is_done_with_the_machine(job: dict[str, Any], following: Next) -> None:
    found = rows.next_of(rows.RunView(Request(name="train", files="code"), "a"), job)
    starts = following is Next.START
    assert (found["starts"], found["copies"]) == (starts, starts)
    assert bool(found["trouble"]) is (following in (Next.OTHER, Next.UNREAD))


def test_the_name_alone_starts_nothing() -> None:
    """It follows a job, but says neither its code nor its setup and environment."""
    named = rows.RunView(Request(name="train", by_name=True), "a")
    found = rows.next_of(named, {"state": "none"})
    assert not (found["starts"] or found["copies"]) and found["trouble"].startswith("Repeat the whole command")
    running = {"state": "running", "digest": "a"}
    assert not rows.next_of(named, running)["trouble"]


@pytest.mark.parametrize(
    ("asked", "left", "seconds", "said"),
    [
        ({"seconds": 7200.0}, 10_800.0, 7200, ""),
        ({"seconds": 7200.0}, 10_300.0, 6700, ""),  # its first boot took a while
        ({"seconds": 7200.0}, 10_100.0, 6500, "The job may take 1 h 48 min, since the lease of its machine ends at"),
        ({}, 4300.0, 700, ""),
        ({}, 4100.0, 500, "The job may take 8 min 20 s"),
        ({}, 100.0, 60, "The job may take 1 min"),
    ],
)
def test_a_person_reads_that_a_job_gets_less_time(asked: dict[str, Any], left: float, seconds: int, said: str) -> None:
    entry = read_entry({"provision_procured_offer_id": "o", "provision_ends_at": utc(NOW + left)})
    request = Request(name="train", max_bill=20, **asked)
    found = rows.next_of(rows.RunView(request, "a", entry=entry, now=NOW), {"state": "none"})
    assert found["starts"] and found["seconds"] == seconds
    assert said in " ".join(map(str.strip, found["lines"])) and bool(said) is bool(found["lines"])
    assert all(len(line) <= 69 for line in found["lines"])


RUNNING = read_entry(
    {"provision_procured_offer_id": "o1", "provision_resource_ids": ["m1"], "provision_groups": ["supply_run"]}
)


def test_all_runs() -> None:
    records = [
        {
            "folder": "train",
            "name": "train",
            "host": "run-train",
            "state": "succeeded",
            "cost_usd": 2.5,
            "phase": "gone",
        },
        {"folder": "train.1", "name": "train", "host": "run-train", "state": "failed", "phase": "gone"},
        {"folder": "eval", "name": "eval", "host": "run-eval", "state": "running", "phase": "started"},
    ]
    place = Folder("/host_vars")
    machines = rows.of_runs([(place, "run-eval", RUNNING), (place, "run-new", RUNNING), (place, "gpu-1", BOUGHT)])
    assert [host for _place, host, _entry in machines] == ["run-eval", "run-new"]
    left = Storage(resource_id="s1", kept_since="2026-12-01T06:00:00Z", groups=(GROUP,))
    others = [read_entry(left.entry("run-eval")), read_entry({"provision_groups": [GROUP]})]
    assert rows.of_runs((place, "run-eval", entry) for entry in others) == []
    ledger = Ledger((Bill("default", "run-eval", "o1", price_per_hour=2.0, begin=0.0),), 3600.0)
    jobs = {"run-eval": {"state": "failed", "log": ["a", "b"]}, "run-new": {"unreachable": True}}
    found = rows.all_runs(records, machines, jobs, [ledger])
    shown = [(run["name"], run["state"], run["machine"], run["usd"], run["last_line"]) for run in found]
    assert shown == [
        ("eval", "failed", ["m1"], 2.0, "b"),
        ("new", "unknown", ["m1"], None, ""),
        ("train", "succeeded", [], 2.5, ""),
    ]
    lines = running_report.table(found, 0.0)
    assert len(lines) == 4 and "billed" in lines[1] and "gone" in lines[3]
    assert running_report.table([], 0.0) == ["There are no runs."]


def test_how_a_machine_is_reached() -> None:
    """Files beside an inventory are not read without one."""
    connection = {"ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
    noted = {**connection, "ansible_ssh_extra_args": "-o HostKeyAlias=m1"}
    instances = {"provision_resource_ids": ["m1"], "provision_instances": [{**connection, "resource_id": "m1"}]}
    entry = read_entry({**instances, **noted})
    assert rows.machine(Folder("/host_vars"), "run-train", entry, "")["reached"] == noted
    shared = rows.machine(SharedProject("default"), "run-train", read_entry(instances), "/known_hosts")["reached"]
    assert shared["ansible_host"] == "192.0.2.1" and "/known_hosts" in shared["ansible_ssh_extra_args"]
    assert not rows.machine(Folder("/host_vars"), "run-train", read_entry({}), "")["reached"]
    assert not rows.machine(SharedProject("default"), "run-train", read_entry({}), "")["reached"]


@pytest.mark.parametrize(
    ("name", "phase", "skips", "fetches"),
    [
        ("train", None, False, True),
        ("train", "started", False, True),
        ("train", "started", True, False),
        ("train", "home", False, False),
        ("train", "gone", False, False),
        ("../x", None, False, False),
        ("train.1", None, False, False),  # the folder of an earlier run
    ],
)
def test_what_a_sweep_fetches(name: str, phase: str | None, skips: bool, fetches: bool) -> None:
    record = {"phase": phase} if phase else {}
    got = {"run__late_job": {"results": ["out"]}}
    found = rows.late(name, record, got, {"run_fetch_timeout": "5m"}, 0.0, skips=skips)
    assert found == {"name": name, "paths": ["out"], "seconds": 300, "fetches": fetches}


@pytest.mark.parametrize(
    ("timeout", "ends_at", "seconds"),
    [
        ("5m", 1000.0 + 3600, 300),
        ("5m", 1000.0 + 299.5, 300),
        ("5m", 1000.0 + 60, 60),
        ("10h", 1000.0 + 3000, 3000),
        ("5m", 1000.0, 1),
        ("5m", 900.0, 1),
        ("x", None, 1800),
        ("x", 1000.0 + 3600, 1800),
    ],
)
def test_no_sweep_fetches_for_longer_than_the_lease(timeout: str, ends_at: float | None, seconds: int) -> None:
    got = {"reap__sweep": {"ends_at": ends_at}}
    assert rows.late("train", {}, got, {"run_fetch_timeout": timeout}, 1000.0, skips=False)["seconds"] == seconds


@pytest.mark.parametrize(
    ("record", "digest", "offer_id", "folder"),
    [
        ({}, "a", "o1", "train"),
        ({"digest": "a", "offer_id": "o1"}, "a", "o1", "train"),
        ({"digest": "a", "offer_id": None}, "a", "o1", "train"),  # ordered
        ({"digest": "a"}, "a", "o1", "train"),
        ({"digest": "a", "offer_id": "o1"}, None, "o1", "train"),  # its machine has not answered
        ({"digest": "a", "offer_id": "o2"}, "a", "o1", "train.o1"),
        ({"digest": "b", "offer_id": "o1"}, "a", "o1", "train.o1"),
        ({"digest": "b"}, "a", "../o1", "train.___o1"),
        ({"digest": "a", "offer_id": "o2"}, None, "o1", "train.o1"),
    ],
)
def test_results_of_another_run_of_the_name_have_another_folder(
    record: dict[str, Any], digest: str | None, offer_id: str, folder: str
) -> None:
    got = {"run__late_job": {"digest": digest}, "reap__sweep": {"offer_id": offer_id}}
    assert rows.late_folder("train", record, got) == folder


@pytest.mark.parametrize(
    ("record", "job", "results", "phase"),
    [
        ({"phase": "started", "name": "train"}, {"state": "failed"}, {"complete": True}, "home"),
        ({}, {"state": "succeeded", "digest": "a"}, {"complete": True}, "home"),
        ({}, {"state": "succeeded"}, {"failed": False, "msg": "It took too long."}, "started"),
        ({}, {"state": "running"}, {"complete": False}, None),
        ({"phase": "ordered"}, {"state": "none"}, {}, None),
        ({}, {"unreachable": True}, {}, None),
        ({"phase": "gone", "complete": True}, {"state": "failed"}, {"complete": True}, None),  # a command was faster
        ({"phase": "home", "complete": True}, {"state": "failed"}, {"complete": False}, None),
    ],
)
def test_what_a_sweep_notes(record: dict[str, Any], job: dict[str, Any], results: dict[str, Any], phase: str) -> None:
    got = {"run__late": {"name": "train", "fetches": True}, "run__late_job": job, "run__late_results": results}
    noted = rows.swept(record, {**got, "reap__sweep": {"offer_id": "o1"}})
    assert [item["phase"] for item in noted] == ([phase] if phase else [])
    assert record or not noted or noted[0]["offer_id"] == "o1"
    (line, *_more) = rows.swept_lines([record, *noted][-1], got, "runs/train")
    assert ("are home: runs/train" in line) is (phase == "home" or bool(record.get("complete")))
    assert rows.swept(record, {**got, "run__late": {"name": "train", "fetches": False}}) == []
