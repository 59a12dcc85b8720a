# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of the file store: appended lines, unreadable lines, merges by git, and bills with or without lines."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    MADE,
    REFUSED,
    SENT,
    read_entry,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import facts_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import MILLION, Bill
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import (
    STORAGE,
    STORAGE_IDS,
    Storage,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _files, _stores
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import (
    HostFile,
    append_to_ledger,
    ledger_file,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import RegistryError
from ansible_collections.compute_index.supply.plugins.module_utils._text import seconds_of, utc
from hypothesis import given
from hypothesis import strategies as st

from samples import OFFER_ID, OTHER_ID, RESOURCE_ID

SINCE = "2026-01-31T12:00:00Z"
BEGIN = seconds_of(SINCE)
WRITERS, LINES = 4, 25
PAGE = Path(__file__).parents[5] / "docs" / "registry.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "host_vars"


def entry_of(folder: Path, host: str = "gpu-1") -> Path:
    return folder / host / "compute_index_supply.yml"


def journal(offer_id: str = OFFER_ID, **fields: Any) -> dict[str, Any]:
    return {
        "provision_procured_offer_id": offer_id,
        "provision_price_per_hour": 2.0,
        "provision_journaled_at": SINCE,
        "provision_purchase": SENT,
        **fields,
    }


def made(offer_id: str = OFFER_ID, **fields: Any) -> dict[str, Any]:
    return journal(offer_id, provision_purchase=MADE, provision_resource_ids=[RESOURCE_ID], **fields)


def write(folder: Path, entry: dict[str, Any], host: str = "gpu-1") -> None:
    file = entry_of(folder, host)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(entry))


def buy(folder: Path, host: str = "gpu-1", offer_id: str = OFFER_ID) -> HostFile:
    file = HostFile(str(entry_of(folder, host)))
    file.read()
    file.claim(journal(offer_id))
    file.note({"provision_purchase": MADE, "provision_resource_ids": [RESOURCE_ID]})
    return file


def bills(folder: Path) -> list[Bill]:
    return list(_stores.ledger(str(folder)).bills)


def read(path: str) -> tuple[list[dict[str, Any]], int]:
    """The lines of a file, and the number of unreadable lines."""
    _lines, unread = _files.read_ledger(path)
    texts = Path(path).read_text().splitlines() if Path(path).exists() else []
    return [json.loads(text) for text in texts], unread


def events(folder: Path) -> list[str]:
    return [line["event"] for line in read(str(folder / ".compute_index_supply.ledger"))[0]]


# The file


def test_append_to_ledger_adds_lines_to_private_file(folder: Path) -> None:
    path = folder / ".compute_index_supply.ledger"
    for number in range(3):
        append_to_ledger(str(path), {"event": "sent", "host": f"ü\u2028{number}"})
    lines, unread = read(str(path))
    assert [line["host"] for line in lines] == ["ü\u20280", "ü\u20281", "ü\u20282"] and unread == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read(str(folder / "none")) == ([], 0)


def test_line_is_synced_to_disk_and_so_is_the_folder_of_a_new_ledger(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent before its line is on disk."""
    folder.mkdir()
    path, synced, sizes = folder / ".compute_index_supply.ledger", list[Any](), list[int]()

    def note_sync(handle: int) -> None:
        found = os.fstat(handle)
        synced.append("folder" if stat.S_ISDIR(found.st_mode) else found.st_size)

    monkeypatch.setattr(os, "fsync", note_sync)
    for _line in range(2):
        append_to_ledger(str(path), {"event": "sent", "host": "gpu-1"})
        sizes.append(path.stat().st_size)
    assert synced == [sizes[0], "folder", sizes[1]]


def _add_lines(path: str, number: int) -> None:
    for count in range(LINES):
        append_to_ledger(path, {"event": "sent", "host": f"gpu-{number}", "name": "x" * 5000, "offer_id": str(count)})


def test_lines_of_concurrent_processes_are_complete(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add_lines, args=(path, number)) for number in range(WRITERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lines, unread = read(path)
    assert unread == 0
    assert len({(line["host"], line["offer_id"]) for line in lines}) == WRITERS * LINES == len(lines)


@pytest.mark.parametrize("cut", [1, 10, -2, -1])
def test_torn_line_affects_no_other(folder: Path, cut: int) -> None:
    path = folder / ".compute_index_supply.ledger"
    buy(folder).close()
    with path.open("a") as file:
        file.write((json.dumps({"event": "sent", "host": "gpu-2", "offer_id": OTHER_ID}) + "\n")[:cut])
    whole = cut == -1
    assert [bill.host for bill in bills(folder)] == ["gpu-1", "gpu-2"][: 1 + whole]
    buy(folder, "gpu-3", OTHER_ID).close()
    assert [bill.host for bill in bills(folder) if bill.registered] == ["gpu-1", "gpu-3"]
    found = _stores.ledger(str(folder))
    assert (len(found.warnings) == 1) is not whole


@pytest.mark.parametrize("line", ["[]", "{}", '{"event": "sent"}', '{"host": "gpu-1"}', "\0", '{"a": ' * 2000, "é"])
def test_unreadable_lines_are_counted_in_a_warning(folder: Path, line: str) -> None:
    buy(folder).close()
    with (folder / ".compute_index_supply.ledger").open("a") as file:
        file.write(line + "\n\n")
    found = _stores.ledger(str(folder))
    assert [bill.host for bill in found.bills] == ["gpu-1"]
    assert "1 line(s) that cannot be read" in found.warnings[0]


def test_replaced_ledger_gets_new_lines(folder: Path) -> None:
    buy(folder).close()
    path = folder / ".compute_index_supply.ledger"
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    os.replace(copy, path)
    buy(folder, "gpu-2", OTHER_ID).close()
    assert events(folder) == ["sent", "made"] * 2


@pytest.mark.parametrize(
    ("entry", "ledger"),
    [
        ("/r/host_vars/gpu-1/compute_index_supply.yml", "/r/host_vars/.compute_index_supply.ledger"),
        ("/r/own.yml", "/r/.compute_index_supply.ledger"),
    ],
)
def test_ledger_file_is_in_folder_of_the_registry(entry: str, ledger: str) -> None:
    assert ledger_file(entry) == ledger


# Events


def test_purchase_writes_sent_made_and_ended_once(folder: Path) -> None:
    file = buy(folder)
    file.end("decommissioned")
    assert events(folder) == ["sent", "made", "ended"]
    (bill,) = bills(folder)
    assert (bill.begin, bill.why, bill.price_per_hour, bill.resource_ids) == (
        BEGIN,
        "decommissioned",
        2.0,
        (RESOURCE_ID,),
    )
    file.end()
    assert events(folder) == ["sent", "made", "ended"]


def test_only_changes_of_the_bill_are_written(folder: Path) -> None:
    file = buy(folder)
    file.note({"ansible_host": "192.0.2.1", "provision_instances": [{"a": 1}]})
    file.note({"provision_price_per_hour": 2.5})
    assert events(folder) == ["sent", "made", "made"]
    assert bills(folder)[0].price_per_hour == 2.5


def test_purchase_that_is_still_open_has_no_made_line(folder: Path) -> None:
    """With one, a refusal could no longer undo the claim."""
    file = HostFile(str(entry_of(folder)))
    file.claim(journal())
    file.note({"provision_price_per_hour": 2.5})
    assert events(folder) == ["sent"]
    file.note({"provision_purchase": REFUSED})
    assert bills(folder) == []


def test_refusal_is_written_once(folder: Path) -> None:
    file = HostFile(str(entry_of(folder)))
    file.claim(journal())
    for _time in range(2):
        file.note({"provision_purchase": REFUSED})
    file.end()
    assert events(folder) == ["sent", "nothing"] and bills(folder) == []


def test_machines_are_noted_even_if_ledger_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = HostFile(str(entry_of(folder)))
    file.claim(journal())

    def full(*_given: object) -> None:
        raise RegistryError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(_files, "append_to_ledger", full)
        file.note({"provision_purchase": MADE, "provision_resource_ids": [RESOURCE_ID]})
    assert bills(folder)[0].resource_ids == (RESOURCE_ID,)
    with monkeypatch.context() as broken:
        broken.setattr(_files, "append_to_ledger", full)
        with pytest.raises(RegistryError, match="No space left on device"):
            file.end()
    assert bills(folder)[0].runs
    file.end()
    assert not bills(folder)[0].runs and bills(folder)[0].resource_ids == (RESOURCE_ID,)


# Entries without lines


def test_entry_without_lines_runs_since_its_journal(folder: Path) -> None:
    write(folder, made(provision_groups=["gpu"], provision_ends_at="2026-02-01T00:00:00Z"))
    (bill,) = bills(folder)
    assert (bill.begin, bill.price_per_hour, bill.groups, bill.runs) == (BEGIN, 2.0, ("gpu",), True)
    assert bill.ends_at == seconds_of("2026-02-01T00:00:00Z")
    file = HostFile(str(entry_of(folder)))
    file.read()
    file.end()
    (bill,) = bills(folder)
    assert (bill.begin, bill.price_per_hour, bill.runs) == (BEGIN, 2.0, False)


def test_handwritten_entry_has_unknown_start(folder: Path) -> None:
    write(folder, {"provision_resource_ids": RESOURCE_ID})
    (bill,) = bills(folder)
    assert (bill.offer_id, bill.resource_ids, bill.begin, bill.price_per_hour) == ("", (RESOURCE_ID,), None, None)


def test_lines_of_lost_entry_run_until_an_end_line(folder: Path) -> None:
    buy(folder).close()
    entry_of(folder).unlink()
    (bill,) = bills(folder)
    assert bill.runs and not bill.registered
    line = {"event": "ended", "at": "2026-02-01T00:00:00Z", "host": "gpu-1", "offer_id": OFFER_ID}
    append_to_ledger(str(folder / ".compute_index_supply.ledger"), line)
    (bill,) = bills(folder)
    assert (bill.end, bill.registered) == (seconds_of("2026-02-01T00:00:00Z"), True)


def test_next_purchase_does_not_hide_lines_of_lost_entry(folder: Path) -> None:
    buy(folder).close()
    entry_of(folder).unlink()
    buy(folder, offer_id=OTHER_ID).close()
    assert [(bill.offer_id, bill.registered) for bill in bills(folder)] == [(OFFER_ID, False), (OTHER_ID, True)]


def test_entry_that_remains_after_end_line_runs(folder: Path) -> None:
    """As after a crash between the line of the end and the removal of the entry."""
    file = buy(folder)
    before = entry_of(folder).read_text()
    file.end("decommissioned")
    entry_of(folder).parent.mkdir()
    entry_of(folder).write_text(before)
    assert bills(folder)[0].runs
    again = HostFile(str(entry_of(folder)))
    again.read()
    first = read(str(folder / ".compute_index_supply.ledger"))[0][-1]["at"]
    again.end("gone")
    (bill,) = bills(folder)
    assert (bill.end, bill.why) == (seconds_of(first), "decommissioned")


def test_adoption_after_an_end_line_continues_the_bill(folder: Path) -> None:
    """Even if the entry is lost later: the adoption has a line of its own."""
    buy(folder).close()
    entry_of(folder).unlink()
    end = {"event": "ended", "at": utc(BEGIN + 3600), "journaled_at": SINCE, "host": "gpu-1", "offer_id": OFFER_ID}
    append_to_ledger(str(folder / ".compute_index_supply.ledger"), end)
    HostFile(str(entry_of(folder))).note({**made(), "provision_adopted": True})
    entry_of(folder).unlink()
    (bill,) = bills(folder)
    assert bill.runs and events(folder) == ["sent", "made", "ended", "adopted"]


def test_lines_of_unreadable_entry_run(folder: Path) -> None:
    buy(folder).close()
    entry_of(folder).write_text("[]")
    found = _stores.ledger(str(folder))
    assert found.bills[0].registered and found.bills[0].runs
    assert "compute_index_supply.yml" in found.warnings[0]


def test_purchase_found_after_refusal_is_billed_from_its_claim(folder: Path) -> None:
    file = HostFile(str(entry_of(folder)))
    file.claim(journal())
    file.note({"provision_purchase": REFUSED})
    file.note({**made(), "provision_journaled_at": "2026-02-01T00:00:00Z"})
    (bill,) = bills(folder)
    assert (bill.begin, bill.runs) == (BEGIN, True)


def test_purchase_claimed_after_refusal_is_billed_from_new_claim(folder: Path) -> None:
    file = HostFile(str(entry_of(folder)))
    file.claim(journal())
    file.note({"provision_purchase": REFUSED})
    file.claim(journal(provision_journaled_at="2026-02-01T00:00:00Z"))
    (bill,) = bills(folder)
    assert bill.begin == seconds_of("2026-02-01T00:00:00Z")


def test_kept_storage_has_one_line_and_runs_without_its_entry(folder: Path) -> None:
    storage_id = "00000000-0000-4000-8000-000000000009"
    volume = Storage(storage_id, "data", OFFER_ID, 0.05).variables
    file = buy(folder)
    file.note({STORAGE: [volume], STORAGE_IDS: [storage_id]})
    file.end()
    buy(folder, offer_id=OTHER_ID).end()
    lines, _unread = read(str(folder / ".compute_index_supply.ledger"))
    assert [line["event"] for line in lines if line["resource_ids"] == [storage_id]] == ["made"]
    entry_of(folder).unlink()
    (bill,) = (bill for bill in bills(folder) if bill.runs)
    assert bill.resource_ids == (storage_id,) and not bill.registered


# Two clones


def git(folder: Path, *words: str) -> None:
    about = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *about, *words], check=True, capture_output=True)


@pytest.mark.parametrize("first", ["refused", "bought"])
def test_git_merges_ledgers_of_two_clones(tmp_path: Path, first: str) -> None:
    """By the settings in docs/registry.md. One clone's purchase was refused; the other's was made and has ended."""
    ledger = ".compute_index_supply.ledger"
    home, clone = tmp_path / "one", tmp_path / "other"
    home.mkdir()
    git(home, "init", "-q", "-b", "main")
    (home / ".gitattributes").write_text(f"{ledger} merge=union\n")
    append_to_ledger(str(home / ledger), {"event": "sent", "host": "older", "offer_id": "o-1", "at": SINCE})
    git(home, "add", "-A")
    git(home, "commit", "-qm", "begin")
    git(tmp_path, "clone", "-q", str(home), str(clone))
    about = {"host": "gpu-1", "offer_id": OFFER_ID, "price_per_hour": 2.0}
    sent, over = {**about, "event": "sent"}, {**about, "resource_ids": [RESOURCE_ID]}
    later = utc(BEGIN + 60)
    lines_of_purchase = {
        "refused": [{**sent, "at": SINCE, "journaled_at": SINCE}, {**about, "event": "nothing", "journaled_at": SINCE}],
        "bought": [
            {**sent, "at": later, "journaled_at": later, "run": "b"},
            {**over, "event": "made", "at": later, "journaled_at": later, "run": "b"},
            {**over, "event": "ended", "at": utc(BEGIN + 60 + 9 * 3600), "journaled_at": later, "why": "gone"},
        ],
    }
    for folder, lines in ((home, lines_of_purchase.pop(first)), (clone, next(iter(lines_of_purchase.values())))):
        for line in lines:
            append_to_ledger(str(folder / ledger), line)
        git(folder, "commit", "-qam", "more")
    git(clone, "pull", "-q", "--no-rebase", "--no-edit", "origin", "main")
    git(home, "pull", "-q", "--no-rebase", "--no-edit", str(clone), "main")
    for folder in (home, clone):
        found = {bill.host: bill for bill in bills(folder)}
        assert found["gpu-1"].cost(0, BEGIN + 1e6) == 18 * MILLION and found["older"].runs
    # Merged by hand, without git: lines that are in both files count once.
    (home / ledger).write_text((home / ledger).read_text() + (clone / ledger).read_text())
    assert {bill.host: bill for bill in bills(home)} == found


def test_git_does_not_merge_entries_of_different_hosts(tmp_path: Path) -> None:
    """By the settings in docs/registry.md. Otherwise git takes a new entry for a renamed old one."""
    attributes = re.findall(r"^\$ echo '(.*)' >> \.gitattributes$", PAGE.read_text(), re.MULTILINE)
    home, clone = tmp_path / "one", tmp_path / "other"
    home.mkdir()
    (home / ".gitattributes").write_text("\n".join(attributes))

    def buy(folder: Path, host: str, offer: str) -> None:
        alike = {"vendor": "nebius", "region": "EU", "gpu_type": "nvidia-h100-sxm5-80gb", "contract_type": "ondemand"}
        file = HostFile(str(folder / "host_vars" / host / "compute_index_supply.yml"))
        file.claim(journal(provision_procured_offer_id=offer, provision_offer=alike, provision_groups=["gpu"]))
        file.note({"provision_purchase": "made", "provision_resource_ids": [offer.replace("0", "1")]})

    git(home, "init", "-q", "-b", "main")
    buy(home, "gpu-3", "00000000-0000-4000-8000-000000000003")
    git(home, "add", "-A")
    git(home, "commit", "-qm", "begin")
    git(tmp_path, "clone", "-q", str(home), str(clone))
    protected = HostFile(str(home / "host_vars" / "gpu-3" / "compute_index_supply.yml"))
    assert protected.read()
    protected.compare_and_set({"provision_protected_since": SINCE})
    git(home, "commit", "-qam", "protect gpu-3")
    (clone / "host_vars" / "gpu-3" / "compute_index_supply.yml").unlink()
    buy(clone, "gpu-4", "00000000-0000-4000-8000-000000000004")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "end gpu-3, buy gpu-4")
    with pytest.raises(subprocess.CalledProcessError) as conflict:
        git(clone, "pull", "-q", "--no-rebase", "--no-edit", "origin", "main")
    assert b"CONFLICT" in conflict.value.stdout
    bought = HostFile(str(clone / "host_vars" / "gpu-4" / "compute_index_supply.yml")).read()
    assert bought is not None and "provision_protected_since" not in bought


# Reading


def test_repeated_line_counts_once(folder: Path) -> None:
    buy(folder).end("decommissioned")
    bills_before, path = bills(folder), folder / ".compute_index_supply.ledger"
    path.write_text(path.read_text() * 2)
    assert bills(folder) == bills_before and len(_files.read_ledger(str(path))[0]) == 3


@pytest.mark.parametrize(
    ("host", "expected"), [("", ["gpu-1", "\u00fc"]), ("gpu-1", ["gpu-1"]), ("\u00fc", ["\u00fc"])]
)
def test_read_ledger_can_select_lines_of_one_host(folder: Path, host: str, expected: list[str]) -> None:
    path = str(folder / ".compute_index_supply.ledger")
    for name in ("gpu-1", "\u00fc"):
        append_to_ledger(path, {"event": "sent", "host": name, "offer_id": name})
    assert [line.host for line in _files.read_ledger(path, host)[0]] == expected


def test_file_in_place_of_folder_has_no_ledger(folder: Path) -> None:
    folder.write_text("a file, not a folder")
    assert _files.read_ledger(str(folder / ".compute_index_supply.ledger")) == ([], 0)


# The fields of a line, by the variables of an entry
NAMES = {
    "provision_procured_offer_id": "offer_id",
    "provision_resource_ids": "resource_ids",
    "provision_price_per_hour": "price_per_hour",
    "provision_groups": "groups",
    "provision_resource_name": "name",
    "provision_project": "project",
    "provision_journaled_at": "journaled_at",
}


ODD_VALUES: dict[str, list[Any]] = {
    "offer_id": ["o-0", "O-1", " o-1", None],
    "resource_ids": [[], [RESOURCE_ID], [RESOURCE_ID.upper()], ["r2", "r3"], "r2", None],
    "price_per_hour": [3, "1.5", -1, None, True, 9.0],
    "groups": [[], ["gpu", "a"], "gpu", None],
    "project": ["red", None],
    "journaled_at": [SINCE, utc(BEGIN + 7200), "", None, "2026-99-01T00:00:00Z"],
}


@given(line=st.fixed_dictionaries({name: st.sampled_from([*ODD_VALUES.get(name, []), "x"]) for name in NAMES.values()}))
def test_fields_of_line_are_read_like_those_of_an_entry(line: dict[str, Any]) -> None:
    entry = read_entry({name: line[own] for name, own in NAMES.items()})
    found = facts_of(line)
    assert all(getattr(found, name) == getattr(entry, name) for name in found._fields)
    assert tuple(NAMES.values()) == _files._LINE_FIELDS
