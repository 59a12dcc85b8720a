# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's file: one purchase at a time, holds and locks, notes and ends, and errors about broken files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    MADE,
    REFUSED,
    SENT,
    read_entry,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import (
    STORAGE,
    STORAGE_IDS,
    Storage,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _files, _stores
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import (
    Claimed,
    Entries,
    RegistryError,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._stores import entries

from limits import HANGS
from samples import OFFER_ID, OTHER_ID, RESOURCE_ID

Entry = dict[str, Any]
SINCE = "2026-01-31T12:00:00Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "host_vars" / "gpu-1" / "compute_index_supply.yml"


def journal(offer_id: str = OFFER_ID, **fields: Any) -> Entry:
    return {
        "provision_procured_offer_id": offer_id,
        "provision_price_per_hour": 2.0,
        "provision_journaled_at": SINCE,
        "provision_purchase": SENT,
        **fields,
    }


def content_of(path: Path) -> Entry | None:
    """The content of the file, without the fields that the store adds on reading; None if there is no file."""
    return yaml.safe_load(path.read_text()) if path.exists() else None


def bought(path: Path, offer_id: str = OFFER_ID) -> None:
    """A run claims an offer, and ends."""
    with contextlib.closing(HostFile(str(path))) as file:
        file.claim(journal(offer_id))


# The fields of an entry


@pytest.mark.parametrize(
    ("entry", "purchase"),
    [
        ({}, None),
        ({"provision_price_per_hour": 2}, None),
        (journal(), SENT),
        (journal(provision_procured_offer_id=None), None),
        (journal(provision_purchase=MADE), MADE),
        (journal(provision_purchase=REFUSED, provision_refused_status=409), REFUSED),
        (journal(provision_purchase=None), SENT),
        (journal(provision_purchase="?"), SENT),
        ({"provision_procured_offer_id": OFFER_ID}, SENT),
        (journal(provision_purchase=None, provision_resource_ids=[RESOURCE_ID]), MADE),
        (journal(provision_purchase=REFUSED, provision_resource_ids=[RESOURCE_ID]), MADE),
        ({"provision_resource_ids": [RESOURCE_ID]}, MADE),
        ({"provision_resource_ids": RESOURCE_ID}, MADE),
        ({"provision_resource_ids": []}, None),
    ],
)
def test_read_entry_derives_result_of_purchase(entry: Entry, purchase: str | None) -> None:
    known = read_entry(entry)
    assert (known.is_open, known.is_made) == (purchase == SENT, purchase == MADE)
    assert read_entry(entry).may_have_bought is (purchase in (SENT, MADE))
    assert read_entry(entry).is_unanswered is (purchase == SENT)


def test_unsettled_refusal_is_answered_and_may_have_bought() -> None:
    entry = journal(provision_refused_status=409)
    assert read_entry(entry).may_have_bought and not read_entry(entry).is_unanswered


# Reading


def test_missing_file_reads_as_no_entry(path: Path) -> None:
    assert HostFile(str(path)).read() is None
    assert not path.parent.exists()


BROKEN = {
    "empty": (b"", "is empty"),
    "null": (b"---\n", "is empty"),
    "a list": (b"- a\n", "holds no mapping"),
    "a text": (b"hello\n", "holds no mapping"),
    "a merge conflict": (b"---\na: 1\n<<<<<<< HEAD\nb: 2\n=======\nb: 3\n>>>>>>> x\n", "is not valid YAML (line "),
    "a tab": (b"a:\n\t- b\n", "is not valid YAML (line 2)"),
    "a tag": (b"a: !vault |\n  x\n", "is not valid YAML (line 1)"),
    "an invalid date": (b"a: 2026-13-45\n", "is not valid YAML"),
    "nested without end": (b"[" * 20_000, "is not valid YAML"),
    "no text": (b"\xff\xfe\x00", "it is not UTF-8"),
    "a vault": (b"$ANSIBLE_VAULT;1.1;AES256\n6162\n", "holds no mapping of host variables"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_file_is_named_and_not_replaced(path: Path, content: bytes, reason: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    file = HostFile(str(path))
    changes: list[Callable[[], object]] = [file.read, lambda: file.claim(journal()), lambda: file.note({"a": 1})]
    for change in changes:
        with pytest.raises(RegistryError) as caught:
            change()
        assert str(path) in str(caught.value) and reason in str(caught.value)
    assert path.read_bytes() == content


def test_folder_in_place_of_file_is_named(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(RegistryError, match=r"compute_index_supply\.yml cannot be read: Is a directory"):
        HostFile(str(path)).read()


def test_read_returns_a_copy(path: Path) -> None:
    file = HostFile(str(path))
    file.claim(journal())
    entry = file.read()
    assert entry is not None
    entry["provision_purchase"] = MADE
    file.claim(journal(provision_price_per_hour=3.0))
    assert content_of(path) == journal(provision_price_per_hour=3.0)


def test_missing_pyyaml_fails_reads_and_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "HAS_YAML", False)
    file = HostFile(str(path))
    for change in (file.read, lambda: file.claim(journal()), lambda: file.note({}), file.end):
        with pytest.raises(RegistryError, match="no PyYAML"):
            change()


# Claims


def test_claim_is_private_to_its_owner_under_any_umask(path: Path) -> None:
    old = os.umask(0)
    try:
        HostFile(str(path)).claim(journal())
    finally:
        os.umask(old)
    assert content_of(path) == journal()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in path.parents[:2]] == [0o700, 0o700]


def test_existing_folders_keep_their_mode(path: Path) -> None:
    path.parents[1].mkdir(mode=0o755)
    HostFile(str(path)).claim(journal())
    assert stat.S_IMODE(path.parents[1].stat().st_mode) == 0o755


FORBIDDING = {
    "another offer, sent": journal(OTHER_ID),
    "another offer, made": journal(OTHER_ID, provision_purchase=MADE),
    "another offer, of an earlier version": {"provision_procured_offer_id": OTHER_ID},
    "another offer with machines": {"provision_procured_offer_id": OTHER_ID, "provision_resource_ids": [RESOURCE_ID]},
    "another offer, refused, with machines": journal(
        OTHER_ID, provision_purchase=REFUSED, provision_resource_ids=[RESOURCE_ID]
    ),
    "machines without an offer": {"provision_resource_ids": [RESOURCE_ID]},
}
CLAIMABLE = {
    "empty": {},
    "variables of the user": {"ansible_port": 22},
    "another offer, refused": journal(OTHER_ID, provision_purchase=REFUSED, provision_refused_status=410),
    "this offer, refused": journal(provision_purchase=REFUSED, provision_refused_status=409),
    "this offer, sent": journal(),
    "this offer, in capitals": journal(OFFER_ID.upper()),
    "this offer, made": journal(provision_purchase=MADE, provision_resource_ids=[RESOURCE_ID]),
}


@pytest.mark.parametrize("entry", FORBIDDING.values(), ids=FORBIDDING.keys())
def test_possible_purchase_forbids_claim_of_another_offer(path: Path, entry: Entry) -> None:
    _files.write_durably(str(path), _files.entry_text(entry))
    file = HostFile(str(path))
    file.read()
    with pytest.raises(Claimed) as caught:
        file.claim(journal())
    assert caught.value.entry == read_entry(entry)
    assert str(path) in str(caught.value)
    assert content_of(path) == entry


@pytest.mark.parametrize("entry", CLAIMABLE.values(), ids=CLAIMABLE.keys())
def test_claim_replaces_entry_without_open_purchase_of_another_offer(path: Path, entry: Entry) -> None:
    _files.write_durably(str(path), _files.entry_text(entry))
    file = HostFile(str(path))
    file.read()
    file.claim(journal())
    assert content_of(path) == journal()


def test_message_names_offer_machines_and_start(path: Path) -> None:
    bought(path)
    with pytest.raises(Claimed) as caught:
        bought(path, OTHER_ID)
    assert str(caught.value) == f"{path} says that this host is buying offer {OFFER_ID}, since {SINCE}."
    HostFile(str(path)).note({"provision_resource_ids": [RESOURCE_ID], "provision_journaled_at": None})
    with pytest.raises(Claimed) as caught:
        HostFile(str(path)).claim(journal(OTHER_ID))
    assert str(caught.value) == f"{path} says that this host owns offer {OFFER_ID} ({RESOURCE_ID})."


def test_change_by_another_run_since_the_read_forbids_claim(path: Path) -> None:
    first, second = HostFile(str(path)), HostFile(str(path))
    assert (first.read(), second.read()) == (None, None)
    first.claim(journal())
    with pytest.raises(Claimed):
        second.claim(journal())
    second.read()
    first.close()
    first.note({"provision_purchase": MADE, "provision_resource_ids": [RESOURCE_ID]})
    with pytest.raises(Claimed):
        second.claim(journal())
    second.note({"provision_ends_at": SINCE})
    with pytest.raises(Claimed):
        second.claim(journal())
    second.read()
    second.claim(journal())


@pytest.mark.parametrize(
    "before",
    [None, {"own": "variable"}, journal(OTHER_ID, provision_purchase=REFUSED), journal()],
    ids=["no file", "no purchase", "refused", "sent before"],
)
def test_claim_that_the_ledger_cannot_note_leaves_the_entry(path: Path, before: Entry | None) -> None:
    """The ledger may be on a full disk, or belong to root. Nothing is sent then, so nothing may count as sent."""
    if before is not None:
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(before))
    ledger = path.parents[1] / _files.LEDGER
    ledger.mkdir(parents=True)
    with contextlib.closing(HostFile(str(path))) as file:
        file.read()
        with pytest.raises(RegistryError, match=r"The ledger .* cannot be written"):
            file.claim(journal())
        assert content_of(path) == before
        ledger.rmdir()
        assert read_entry(file.claim(journal())).is_open and read_entry(content_of(path)).is_open


def test_removed_entry_may_be_claimed(path: Path) -> None:
    first, second = HostFile(str(path)), HostFile(str(path))
    first.claim(journal())
    first.close()
    second.read()
    second.end()
    first.claim(journal(OTHER_ID))
    assert content_of(path) == journal(OTHER_ID)


def test_template_marks_and_values_without_yaml_form_are_refused(path: Path) -> None:
    for value, reason in (("{{ x }}", "holds template marks"), (object(), "holds a value that YAML cannot represent")):
        with pytest.raises(RegistryError, match=reason), contextlib.closing(HostFile(str(path))) as file:
            file.claim(journal(note=value))
        assert not path.exists()


def race(path: Path, offer_id: str, barrier: Any, winners: Any) -> None:
    file = HostFile(str(path))
    file.read()
    barrier.wait(HANGS)
    try:
        file.claim(journal(offer_id))
    except Claimed:
        return
    finally:
        file.close()
    winners.append(offer_id)


def offers(count: int) -> list[str]:
    return [f"00000000-0000-4000-8000-{number:012d}" for number in range(count)]


@pytest.mark.parametrize("same", [False, True], ids=["different offers", "the same offer"])
@pytest.mark.parametrize("attempt", range(10))
def test_one_of_many_threads_gets_the_claim(path: Path, same: bool, attempt: int) -> None:
    wanted = [OFFER_ID] * 8 if same else offers(8)
    winners: list[str] = []
    barrier = threading.Barrier(len(wanted))
    threads = [threading.Thread(target=race, args=(path, offer_id, barrier, winners)) for offer_id in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1 and content_of(path) == journal(winners[0])
    assert os.listdir(path.parent) == [path.name]


def test_one_of_many_processes_gets_the_claim(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        winners, barrier = manager.list(), manager.Barrier(4)
        processes = [context.Process(target=race, args=(path, offer_id, barrier, winners)) for offer_id in offers(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
        assert len(winners) == 1 and content_of(path) == journal(winners[0])


# Holds


def hold_forever(path: str, held: Any) -> None:
    HostFile(path, "alice at bastion").claim(journal())
    held.set()
    time.sleep(60)


def test_killed_process_loses_its_hold(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=hold_forever, args=(str(path), held))
    process.start()
    assert held.wait(HANGS)
    file = HostFile(str(path))
    assert read_entry(file.read() or {}).held_by == "alice at bastion"
    assert entries(str(path.parents[1])).hosts["gpu-1"].held_by == "alice at bastion"
    for forbidden in (file.hold, file.end):
        with pytest.raises(Claimed, match=f"is buying offer {OFFER_ID}, since {SINCE}, in a run of alice at bastion"):
            forbidden()
    process.kill()
    process.join()
    assert file.read() == journal()
    file.hold()
    assert os.listdir(path.parent) != [path.name]
    file.close()
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"provision_ends_at": SINCE}, True),
        ({"provision_purchase": REFUSED}, False),
        ({"provision_procured_offer_id": OTHER_ID}, False),
        ({"provision_journaled_at": "2026-01-31T12:30:00Z"}, False),
    ],
)
def test_still_holds_compares_entry_with_last_claim(path: Path, changes: Entry, holds: bool) -> None:
    with contextlib.closing(HostFile(str(path))) as file:
        file.claim(journal())
        _files.write_durably(str(path), _files.entry_text(journal(**changes)))
        assert file.still_holds() is holds


def test_change_by_another_run_since_the_read_forbids_hold(path: Path) -> None:
    bought(path)
    file = HostFile(str(path))
    file.read()
    HostFile(str(path)).note({"provision_purchase": MADE, "provision_resource_ids": [RESOURCE_ID]})
    with pytest.raises(Claimed, match="which has just ended"):
        file.hold()
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_file_system_without_locks_refuses_writes(path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Existing entries can still be read. The refusal comes at once, without a wait for the lock."""
    bought(path)
    before = content_of(path)

    def flock(*_given: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(_files.time, "sleep", lambda _seconds: pytest.fail("it must not wait"))
    file, new = HostFile(str(path)), HostFile(str(path.parents[1] / "new" / path.name))
    assert file.read() == before and new.read() is None
    for write in (
        file.hold,
        lambda: file.claim(journal()),
        lambda: new.claim(journal()),
        lambda: file.note({}),
        file.end,
    ):
        with pytest.raises(RegistryError, match=r"has no locks.*provision_registry_url"):
            write()
    assert content_of(path) == before


def test_hold_is_visible_through_read_only_mount(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example in a container with a read-only inventory, while a run outside the container is buying."""

    def read_only_open(file: str, mode: str = "r", **how: Any) -> Any:
        if mode != "r":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return open(file, mode, **how)

    with contextlib.closing(HostFile(str(path), "alice at bastion")) as file:
        file.claim(journal())
        monkeypatch.setattr(_files, "open", read_only_open, raising=False)
        assert read_entry(HostFile(str(path)).read()).held_by == "alice at bastion"


def test_claim_waits_for_the_short_lock_of_a_reader(path: Path) -> None:
    path.parent.mkdir(parents=True)
    buying = path.with_name(".compute_index_supply.buying")
    with buying.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.1, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        bought(path)
    assert content_of(path) == journal()


# Notes


@pytest.mark.parametrize(
    ("text", "noted"),
    [
        ("{{ x }}", "?{ x }}"),
        ("{{{% {# }", "???% ?# }"),
        ("#jinja2: x", "?jinja2: x"),
        ("half \ud800 pair", "half ? pair"),
        ("{ { # 10 %", "{ { # 10 %"),
    ],
)
def test_note_replaces_template_marks_and_half_surrogate_pairs(path: Path, text: str, noted: str) -> None:
    assert HostFile(str(path)).note({"a": [{text: text}], "b": text}) == {"a": [{noted: noted}], "b": noted}
    assert content_of(path) == DataLoader().load_from_file(str(path)) == {"a": [{noted: noted}], "b": noted}


def test_end_ignores_mark_of_another_sweep(path: Path) -> None:
    first, second = HostFile(str(path)), HostFile(str(path))
    first.claim(journal())
    first.note({"provision_purchase": MADE, "provision_resource_ids": [RESOURCE_ID]})
    second.read()
    second.compare_and_set({"provision_reaped_at": "2026-11-27T03:00:00Z"})
    first.end()
    assert not path.exists()


def test_note_after_end_by_another_sweep_does_not_block_end(path: Path) -> None:
    first, second = HostFile(str(path)), HostFile(str(path))
    first.claim(journal())
    first.note({"provision_purchase": MADE, "provision_resource_ids": [RESOURCE_ID]})
    second.read()
    first.end()
    second.note({"provision_journaled_at": SINCE})
    second.end()
    assert not path.exists()


def test_run_may_change_the_entry_that_its_own_note_created(path: Path) -> None:
    file = HostFile(str(path))
    assert file.note({"provision_resource_ids": [RESOURCE_ID]}) == content_of(path)
    assert file.compare_and_set({"provision_ends_at": SINCE})["provision_ends_at"] == SINCE


@pytest.mark.parametrize("entry", FORBIDDING.values(), ids=FORBIDDING.keys())
def test_note_about_another_offer_is_refused(path: Path, entry: Entry) -> None:
    _files.write_durably(str(path), _files.entry_text(entry))
    with pytest.raises(Claimed):
        HostFile(str(path)).note({"provision_procured_offer_id": OFFER_ID, "provision_resource_ids": ["x"]})
    assert content_of(path) == entry


def test_concurrent_notes_are_all_kept(path: Path) -> None:
    threads = [
        threading.Thread(target=lambda number=number: HostFile(str(path)).note({f"provision_{number}": number}))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content_of(path) == {f"provision_{number}": number for number in range(12)}


# The end


def test_end_removes_file_and_empty_folder(path: Path) -> None:
    file = HostFile(str(path))
    file.claim(journal())
    file.end()
    assert (path.parent.exists(), path.parents[1].exists(), file.read()) == (False, True, None)
    file.end()
    assert not path.parent.exists()


def test_end_without_file_removes_empty_folder(path: Path) -> None:
    file = HostFile(str(path))
    path.parent.mkdir(parents=True)
    file.end()
    assert not path.parent.exists()


def test_end_keeps_other_files_in_the_folder(path: Path) -> None:
    file = HostFile(str(path))
    file.claim(journal())
    path.with_name("main.yml").touch()
    file.end()
    assert os.listdir(path.parent) == ["main.yml"]


def test_concurrent_notes_and_ends_raise_no_errors(path: Path) -> None:
    failures: list[BaseException] = []

    def turn() -> None:
        try:
            for _time in range(20):
                file = HostFile(str(path))
                file.note({"provision_x": 1})
                file.read()
                with contextlib.suppress(Claimed):  # another thread has written since
                    file.end()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=turn) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    file = HostFile(str(path))
    assert file.read() in (None, {"provision_x": 1})
    file.end()
    assert not path.parent.exists()


# Locks


def test_wait_for_lock_ends_after_timeout(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "LOCK_TIMEOUT", 0.05)
    with _files.locked(str(path)), pytest.raises(RegistryError) as caught:
        HostFile(str(path)).claim(journal())
    assert str(path) in str(caught.value) and "another process has held the lock" in str(caught.value)
    bought(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder_fails_with_reason(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RegistryError, match="Permission denied"):
        HostFile(str(tmp_path / "a" / "b.yml")).claim(journal())


# All hosts


def test_entries_lists_valid_and_broken_entries_separately(tmp_path: Path) -> None:
    for number, (content, _reason) in enumerate(BROKEN.values()):
        file = tmp_path / f"broken-{number}" / "compute_index_supply.yml"
        file.parent.mkdir()
        file.write_bytes(content)
    for host in ("gpu-1", "gpu ü{2"):
        bought(tmp_path / host / "compute_index_supply.yml")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "main.yml").write_text("a: 1\n")
    (tmp_path / "all.yml").write_text("a: 1\n")
    found = entries(str(tmp_path))
    broken = found.broken
    assert found.hosts == {"gpu-1": read_entry(journal()), "gpu ü{2": read_entry(journal())}
    assert list(broken) == sorted(f"broken-{number}" for number in range(len(BROKEN)))
    for number, (_content, reason) in enumerate(BROKEN.values()):
        host = f"broken-{number}"
        assert str(tmp_path / host) in broken[host] and reason in broken[host]


def test_missing_folder_has_no_entries(tmp_path: Path) -> None:
    assert entries(str(tmp_path / "no")) == Entries()


def test_file_in_place_of_registry_folder_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match=r"The registry folder .* cannot be read: Not a directory"):
        entries(str(tmp_path / "file"))


class Killed(BaseException):
    """The run was killed."""


STEPS = [(_files, "write_durably"), (_files, "write_or_remove"), (_files, "append_to_ledger")]


def killed_at(patch: pytest.MonkeyPatch, step: int, *, after: bool) -> None:
    """Kill the run before or after the n-th step that changes the disk."""
    remaining_steps = [step]

    def kill_at_step(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*given: Any, **how: Any) -> Any:
            remaining_steps[0] -= 1
            if remaining_steps[0] == 0 and not after:
                raise Killed
            answer = function(*given, **how)
            if remaining_steps[0] == 0:
                raise Killed
            return answer

        return wrapper

    for module, name in STEPS:
        patch.setattr(module, name, kill_at_step(getattr(module, name)))


def test_change_by_another_run_forbids_changes_after_an_end_of_storage(path: Path) -> None:
    volume = Storage(OTHER_ID, "data", OFFER_ID, 0.05, kept_since=SINCE).variables
    first, second = HostFile(str(path)), HostFile(str(path))
    first.note({**journal(), "provision_purchase": MADE, STORAGE: [volume], STORAGE_IDS: [OTHER_ID]})
    second.read()
    second.compare_and_set({"provision_ends_at": SINCE})
    assert first.end_stray(OTHER_ID, [OTHER_ID]) is not None
    with pytest.raises(Claimed):
        first.compare_and_set({"provision_ends_at": "2026-01-31T13:00:00Z"})


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("ends", ["machine", "storage"])
@pytest.mark.parametrize("step", range(1, 5))
def test_kill_during_end_loses_no_storage(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: int, ends: str, after: bool
) -> None:
    bought(path)
    store = HostFile(str(path))
    store.read()
    volume = Storage(OTHER_ID, "data", OFFER_ID, 0.05).variables
    made = {
        "provision_procured_offer_id": OFFER_ID,
        "provision_purchase": MADE,
        "provision_resource_ids": [RESOURCE_ID],
    }
    store.note({**made, STORAGE: [volume], STORAGE_IDS: [OTHER_ID]})
    if ends == "storage":
        store.end()
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        killed_at(patch, step, after=after)
        store.end() if ends == "machine" else store.end_stray(OTHER_ID, [OTHER_ID])

    folder = str(path.parent.parent)
    running = {item for bill in _stores.ledger(folder).bills if bill.runs for item in bill.resource_ids}
    entry = read_entry(content_of(path))
    is_told_gone = ends == "storage" and (step > 1 or after)  # an end writes its line in the ledger first
    assert OTHER_ID in running or RESOURCE_ID in running or is_told_gone, "the storage is not billed to anyone"
    assert OTHER_ID in entry.all_ids or ends == "storage"

    again = HostFile(str(path))
    again.read()
    again.end()
    if ends == "storage":
        again.end_stray(OTHER_ID, [OTHER_ID])
    entry = read_entry(content_of(path))
    assert entry.is_empty and [item.resource_id for item in entry.storage] == ([OTHER_ID] if ends == "machine" else [])
    running = {item for bill in _stores.ledger(folder).bills if bill.runs for item in bill.resource_ids}
    assert running == ({OTHER_ID} if ends == "machine" else set())
