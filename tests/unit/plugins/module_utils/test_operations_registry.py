# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves of registry files into a shared registry: no id and no cost is lost."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._operations.registry import registry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import spending_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import STORAGE, Storage
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _stores
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import LEDGER, HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import Database
from ansible_collections.compute_index.supply.plugins.module_utils._registry._shared import entries_of
from ansible_collections.compute_index.supply.plugins.module_utils._text import utc

import postgresql
from samples import BASE, OFFER_ID, OTHER_ID, RESOURCE_ID, SECOND_RESOURCE_ID

HOUR = 3600.0


def move(url: str, *folders: Path, host: str = "gpu-1", check_mode: bool = False) -> list[str]:
    """Move the host's file of each of these clones, and return the lines."""
    found = [move_hosts(url, row(folder, host), check_mode=check_mode) for folder in folders]
    assert not any(each["trouble"] for each in found)
    return [line for each in found for line in each["lines"]]


def row(folder: Path, host: str, project: str = "default", **fields: Any) -> dict[str, Any]:
    return {"host": host, "project": project, "registry_dir": str(folder), "inventory_dir": None, **fields}


def move_hosts(
    url: str, *rows: dict[str, Any], check_mode: bool = False, troubles: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Move the files of these hosts, and return the playbook's result."""
    known = {"registry_url": url, "api_url": BASE, "sources": [], "here": "/"}
    return registry({**known, "hosts": list(rows), "troubles": list(troubles)}, check_mode)


def entry(purchase: str = "made", *ids: str, offer_id: str = OFFER_ID, hours: float = 10) -> dict[str, Any]:
    """The entry of a purchase that began ``hours`` ago, at 2 USD per hour."""
    known = {
        "provision_procured_offer_id": offer_id,
        "provision_purchase": purchase,
        "provision_price_per_hour": 2.0,
        "provision_journaled_at": utc(time.time() - hours * HOUR),
    }
    return {**known, "provision_resource_ids": list(ids)} if ids else known


def write(folder: Path, variables: dict[str, Any], host: str = "gpu-1") -> Path:
    file = folder / host / "compute_index_supply.yml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(variables))
    return file


def machines(url: str) -> list[tuple[str, str]]:
    """The ids of machines in the database, each with its host."""
    return postgresql.execute(
        url, "SELECT resource, host FROM compute_index_supply.machine JOIN compute_index_supply.purchase USING (claim)"
    )


def ledger(url: str) -> Any:
    return Database(url, {"host": "bastion", "user": "alice", "run": "test"}).ledger("default")


@pytest.mark.parametrize("bobs_entry", [("sent",), ("made",)], ids=["without an answer", "without an id"])
@pytest.mark.parametrize("alice_is_first", [False, True])
def test_move_keeps_ids_of_one_clone_in_any_order(
    tmp_path: Path, registry_url: str, bobs_entry: tuple[str, ...], alice_is_first: bool
) -> None:
    bob, alice = tmp_path / "bob", tmp_path / "alice"
    files = [write(bob, entry(*bobs_entry)), write(alice, entry("made", RESOURCE_ID))]
    move(registry_url, *((alice, bob) if alice_is_first else (bob, alice)))
    assert machines(registry_url) == [(RESOURCE_ID, "gpu-1")]
    assert not any(file.exists() for file in files)
    (bill,) = ledger(registry_url).bills
    assert bill.resource_ids == (RESOURCE_ID,) and bill.runs


def test_move_keeps_ids_of_two_clones(tmp_path: Path, registry_url: str) -> None:
    write(tmp_path / "bob", entry("made", RESOURCE_ID))
    write(tmp_path / "alice", entry("made", SECOND_RESOURCE_ID))
    move(registry_url, tmp_path / "bob", tmp_path / "alice")
    assert sorted(machines(registry_url)) == sorted([(RESOURCE_ID, "gpu-1"), (SECOND_RESOURCE_ID, "gpu-1")])


def test_file_with_id_of_another_host_is_not_moved(tmp_path: Path, registry_url: str) -> None:
    """Another host already has the id, so a person must decide."""
    write(tmp_path / "a", entry("made", RESOURCE_ID, offer_id=OTHER_ID), host="gpu-2")
    move(registry_url, tmp_path / "a", host="gpu-2")
    write(tmp_path / "bob", entry("made"))
    file = write(tmp_path / "alice", entry("made", RESOURCE_ID))
    move(registry_url, tmp_path / "bob")
    trouble = move_hosts(registry_url, row(tmp_path / "alice", "gpu-1"))["trouble"]
    assert file.exists() and str(file) in trouble and RESOURCE_ID in trouble
    assert machines(registry_url) == [(RESOURCE_ID, "gpu-2")]


def test_move_keeps_latest_end_of_lease(tmp_path: Path, registry_url: str) -> None:
    """Bob has moved the host, and Alice has extended its lease in her clone."""
    until = ["2099-01-01T06:00:00Z", "2099-01-02T06:00:00Z"]
    for clone, end in zip(("bob", "alice", "carol"), (until[0], until[1], until[0]), strict=True):
        write(tmp_path / clone, {**entry("made", RESOURCE_ID), "provision_ends_at": end})
        move(registry_url, tmp_path / clone)
    database = Database(registry_url, {"host": "bastion", "user": "alice", "run": "test"})
    claim = database.open_claim("default", "gpu-1")
    assert claim is not None and claim.note["provision_ends_at"] == until[1]
    assert machines(registry_url) == [(RESOURCE_ID, "gpu-1")]


def test_file_extended_during_move_is_not_removed(
    tmp_path: Path, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = ["2099-01-01T06:00:00Z", "2099-01-02T06:00:00Z"]
    file = write(tmp_path, {**entry("made", RESOURCE_ID), "provision_ends_at": until[0]})
    note_begin = Database.note_begin

    def extend_meanwhile(database: Database, *given: Any) -> None:
        note_begin(database, *given)
        of_file = HostFile(str(file))
        of_file.read()
        of_file.compare_and_set({"provision_ends_at": until[1]})

    monkeypatch.setattr(Database, "note_begin", extend_meanwhile)
    trouble = move_hosts(registry_url, row(tmp_path, "gpu-1"))["trouble"]
    assert str(file) in trouble and trouble.endswith("has changed it: run this again.") and file.exists()
    monkeypatch.undo()
    move(registry_url, tmp_path)
    known = Database(registry_url, {"host": "bastion", "user": "alice", "run": "test"}).open_claim("default", "gpu-1")
    assert known is not None and known.note["provision_ends_at"] == until[1] and not file.exists()


@pytest.mark.parametrize(
    "old_entry", [entry("made", RESOURCE_ID), entry("sent")], ids=["with its id", "without an answer"]
)
def test_file_of_ended_purchase_is_not_moved_and_gets_advice(
    tmp_path: Path, registry_url: str, old_entry: dict[str, Any]
) -> None:
    """Git or an old clone may bring a file back. The move cannot know whether its machine has ended."""
    database = Database(registry_url, {"host": "bastion", "user": "alice", "run": "test"})
    write(tmp_path / "alice", entry("made", RESOURCE_ID))
    move(registry_url, tmp_path / "alice")
    known = database.open_claim("default", "gpu-1")
    assert known is not None
    database.end(known, known.resource_ids)
    file = write(tmp_path / "bob", old_entry)
    for check_mode in (True, False):
        result = move_hosts(registry_url, row(tmp_path / "bob", "gpu-1"), check_mode=check_mode)
        assert file.exists() and f"{file} was not moved" in result["trouble"] and not result["changed"]
        assert "Remove the file if its machine has ended" in result["trouble"]
    assert not database.open_claim("default", "gpu-1")


@pytest.mark.parametrize("old_entry", [entry("made", RESOURCE_ID), entry("sent")], ids=["bought", "without an answer"])
def test_end_that_is_noted_during_the_move_keeps_the_file(
    tmp_path: Path, registry_url: str, monkeypatch: pytest.MonkeyPatch, old_entry: dict[str, Any]
) -> None:
    """Another clone has moved the host, and ends it after this one has looked for an end."""
    database = Database(registry_url, {"host": "bastion", "user": "alice", "run": "test"})
    write(tmp_path / "alice", entry("made", RESOURCE_ID))
    move(registry_url, tmp_path / "alice")
    file, known = write(tmp_path / "bob", old_entry), database.open_claim("default", "gpu-1")
    assert known is not None
    look, open_claim = Database.bills_of_offer, Database.open_claim

    def end_meanwhile(reader: Database, *given: str) -> Any:
        bills = look(reader, *given)
        database.end(known, known.resource_ids)
        return bills

    # This clone has read the host just before the other one's move.
    found = iter([None])
    monkeypatch.setattr(Database, "open_claim", lambda *given: next(found, open_claim(*given)))
    monkeypatch.setattr(Database, "bills_of_offer", end_meanwhile)
    trouble = move_hosts(registry_url, row(tmp_path / "bob", "gpu-1"))["trouble"]
    assert file.exists() and f"{file} was not moved" in trouble
    assert not open_claim(database, "default", "gpu-1")


def test_move_of_a_host_does_not_read_the_bills_of_others(
    tmp_path: Path, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the time of a move would grow with the square of its hosts."""
    for host, offer_id, resource_id in (("gpu-1", OFFER_ID, RESOURCE_ID), ("gpu-2", OTHER_ID, SECOND_RESOURCE_ID)):
        write(tmp_path, entry("made", resource_id, offer_id=offer_id), host=host)
    monkeypatch.setattr(Database, "ledger", pytest.fail)
    assert not move_hosts(registry_url, *(row(tmp_path, host) for host in ("gpu-1", "gpu-2")))["trouble"]
    assert known(registry_url, "default") == {"gpu-1": OFFER_ID, "gpu-2": OTHER_ID}


def test_host_without_shared_registry_keeps_its_file(tmp_path: Path, registry_url: str) -> None:
    """For example a host with its own empty provision_registry_url, in the folder of hosts that share the registry."""
    write(tmp_path, entry("made", RESOURCE_ID))
    file = write(tmp_path, entry("made", SECOND_RESOURCE_ID, offer_id=OTHER_ID), host="gpu-2")
    result = move_hosts(registry_url, row(tmp_path, "gpu-1"), row(tmp_path, "gpu-2", shared=False))
    assert file.exists() and not result["trouble"] and "gpu-2" not in "".join(result["lines"])
    assert machines(registry_url) == [(RESOURCE_ID, "gpu-1")]


def test_check_mode_moves_nothing(tmp_path: Path, registry_url: str) -> None:
    write(tmp_path / "bob", entry("made"))
    file = write(tmp_path / "alice", entry("made", RESOURCE_ID))
    move(registry_url, tmp_path / "bob")
    move(registry_url, tmp_path / "alice", check_mode=True)
    assert file.exists() and machines(registry_url) == []


def test_move_includes_purchases_that_lost_their_entry(tmp_path: Path, registry_url: str) -> None:
    for host, offer_id, hours in (("gpu-1", OFFER_ID, 10), ("gpu-2", OTHER_ID, 11)):
        file = HostFile(str(tmp_path / host / "compute_index_supply.yml"))
        file.claim(entry("sent", offer_id=offer_id, hours=hours))
        file.note({"provision_purchase": "made", "provision_resource_ids": [f"{host[-1]}{RESOURCE_ID[1:]}"]})
        file.close()
    (tmp_path / "gpu-1" / "compute_index_supply.yml").unlink()
    before = _stores.ledger(str(tmp_path))
    lines = move(registry_url, tmp_path, host="gpu-2")
    assert "lost" in lines[-1]
    after = ledger(registry_url)
    usd = [spending_of(each.bills, each.now).total.millionths / 1e6 for each in (before, after)]
    assert usd[1] == pytest.approx(usd[0], abs=0.1) and usd[0] > 41
    assert sorted((bill.host, bill.runs, bill.registered) for bill in after.bills) == [
        ("gpu-1", True, False),
        ("gpu-2", True, True),
    ]
    assert "lost" not in "".join(move(registry_url, tmp_path, host="gpu-2"))


@pytest.mark.parametrize("has_row", [False, True], ids=["no row", "moved by another clone"])
def test_moved_purchase_without_answer_is_billed_from_its_first_request(
    tmp_path: Path, registry_url: str, has_row: bool
) -> None:
    """Its row counts as sent just now, so that no run buys twice; its costs began earlier."""
    write(tmp_path / "bob", entry("sent", hours=10))
    write(tmp_path / "alice", entry("sent", hours=1))
    move(registry_url, *([tmp_path / "alice"] if has_row else []), tmp_path / "bob")
    (bill,) = ledger(registry_url).bills
    assert bill.runs and bill.cost(0.0, time.time()) == pytest.approx(20_000_000, abs=10_000)
    (row,) = Database(registry_url, {"host": "bastion", "user": "alice", "run": "test"}).counted()
    assert row.sent_at is not None and abs(row.sent_at.timestamp() - time.time()) < 600


def test_move_includes_costs_of_entry_without_offer(tmp_path: Path, registry_url: str) -> None:
    known = {name: value for name, value in entry("made", RESOURCE_ID).items() if "offer" not in name}
    file = HostFile(str(write(tmp_path, known)))
    file.read()
    file.end("decommissioned")
    move(registry_url, tmp_path)
    (bill,) = ledger(registry_url).bills
    assert bill.resource_ids == (RESOURCE_ID,) and bill.cost(0.0, time.time()) >= 20_000_000
    assert "noted" not in "".join(move(registry_url, tmp_path))


def test_ledgers_merged_by_git_keep_all_costs(tmp_path: Path) -> None:
    """One clone's purchase was refused, the other's was made; ``merge=union`` appends lines of one to the other."""
    bought = {"provision_purchase": "made", "provision_resource_ids": [RESOURCE_ID]}
    for clone, hours, changes in (("bob", 8, {"provision_purchase": "refused"}), ("alice", 9, bought)):
        file = HostFile(str(tmp_path / clone / "gpu-1" / "compute_index_supply.yml"))
        file.claim(entry("sent", hours=hours))
        file.note(changes)
        file.end("decommissioned")
    lines = [(tmp_path / clone / LEDGER).read_text().splitlines() for clone in ("alice", "bob")]
    assert [json.loads(line)["event"] for line in lines[0] + lines[1]] == ["sent", "made", "ended", "sent", "nothing"]
    costs = []
    for number, merged in enumerate((lines[0], lines[0] + lines[1], lines[1] + lines[0])):
        folder = tmp_path / f"merged-{number}"
        folder.mkdir()
        (folder / LEDGER).write_text("".join(f"{line}\n" for line in merged))
        found = _stores.ledger(str(folder))
        costs.append(spending_of(found.bills, found.now).total.millionths)
    assert costs[0] > 17e6 and costs == pytest.approx([costs[0]] * 3, abs=10_000)


def known(url: str, project: str) -> dict[str, str]:
    """The offer of each host in a project."""
    rows = Database(url, {"host": "bastion", "user": "alice", "run": "test"}).counted(project)
    return {row.host: row.offer for row in rows}


def test_hosts_ordered_by_number_are_moved_with_their_group(tmp_path: Path, registry_url: str) -> None:
    """They are in no inventory, so the folder of their group names them."""
    files = [write(tmp_path, entry("made", RESOURCE_ID), host="gpu-1")]
    files.append(write(tmp_path, entry("made", SECOND_RESOURCE_ID, offer_id=OTHER_ID), host="gpu-2"))
    group = row(tmp_path, "the hosts that the group gpu may get", "team-a", group="gpu", shared=True)
    checked = move_hosts(registry_url, group, check_mode=True)
    assert all(file.exists() for file in files) and "gpu-2" in " ".join(checked["lines"])
    found = move_hosts(registry_url, group)
    assert found["changed"] and not found["trouble"] and not any(file.exists() for file in files)
    assert known(registry_url, "team-a") == {"gpu-1": OFFER_ID, "gpu-2": OTHER_ID}
    assert not move_hosts(registry_url, group)["changed"]


def test_file_of_another_project_is_reported_and_not_moved(tmp_path: Path, registry_url: str) -> None:
    own = write(tmp_path, {**entry("made", RESOURCE_ID), "provision_project": "team-a"}, host="gpu-1")
    other = entry("made", SECOND_RESOURCE_ID, offer_id=OTHER_ID)
    files = write(tmp_path, {**other, "provision_project": "team-b"}, host="gpu-2")
    found = move_hosts(registry_url, row(tmp_path, "x", "team-a", group="gpu"))
    assert files.exists() and not own.exists() and known(registry_url, "team-b") == {}
    assert str(files) in found["trouble"] and "-e provision_project=team-b" in found["trouble"]


def test_unreadable_file_does_not_prevent_move_of_others(tmp_path: Path, registry_url: str) -> None:
    broken = write(tmp_path, {}, host="gpu-1")
    broken.write_text("<<<<<<< HEAD\na: 1\n=======\n")
    good = write(tmp_path, entry("made", RESOURCE_ID), host="gpu-2")
    found = move_hosts(registry_url, *(row(tmp_path, host) for host in ("gpu-1", "gpu-2")), troubles=("gpu-3: x.",))
    assert not good.exists() and broken.exists() and known(registry_url, "default") == {"gpu-2": OFFER_ID}
    assert str(broken) in found["trouble"] and "gpu-3: x." in found["trouble"]


def test_storage_is_moved_with_and_without_its_machine(tmp_path: Path, registry_url: str) -> None:
    kept_id, own_id = SECOND_RESOURCE_ID, f"{SECOND_RESOURCE_ID[:-1]}0"
    since = utc(time.time() - 5 * HOUR)
    old = Storage(kept_id, "old", OTHER_ID, 0.5, kept_since=since).variables
    new = Storage(own_id, "new", OFFER_ID, 0.25).variables
    write(
        tmp_path / "a", {**entry("made", RESOURCE_ID), STORAGE: [old, {**old, "resource_id": f"{kept_id[:-1]}2"}, new]}
    )
    write(tmp_path / "a", {STORAGE: [{**old, "resource_id": f"{kept_id[:-1]}1"}]}, host="gpu-2")
    other_project = {**old, "resource_id": f"{kept_id[:-1]}3", "project": "red"}
    write(tmp_path / "a", {STORAGE: [other_project]}, host="gpu-3")
    for host in ("gpu-1", "gpu-2", "gpu-3"):
        move(registry_url, tmp_path / "a", host=host)
    assert not list((tmp_path / "a").glob("*/compute_index_supply.yml"))
    bills = {bill.resource_ids: bill for bill in ledger(registry_url).bills}
    assert bills.keys() == {(RESOURCE_ID,), (kept_id,), (f"{kept_id[:-1]}1",), (f"{kept_id[:-1]}2",)}
    assert bills[(kept_id,)].runs and bills[(kept_id,)].price_per_hour == 0.5
    assert abs((bills[(kept_id,)].begin or 0) - (time.time() - 5 * HOUR)) < 60
    entries = entries_of(Database(registry_url, {"host": "h", "user": "u", "run": "r"}).counted(), "default", BASE, "r")
    assert [item.resource_id for item in entries.hosts["gpu-1"].storage] == [own_id]
    assert [project for project, _name in entries.other_projects] == ["red"]
    assert sorted(item.storage_of for item in entries.strays.values()) == ["gpu-1", "gpu-1", "gpu-2"]
