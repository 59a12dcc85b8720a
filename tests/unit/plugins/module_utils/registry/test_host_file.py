# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's file: one purchase at a time, facts that are never lost, and errors that name a broken file."""

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


def kept(path: Path) -> Entry | None:
    """The content of the file, without what the store adds when it is read."""
    return yaml.safe_load(path.read_text()) if path.exists() else None


def bought(path: Path, offer_id: str = OFFER_ID) -> None:
    """A run claims an offer, and ends."""
    with contextlib.closing(HostFile(str(path))) as file:
        file.claim(journal(offer_id))


# The words of an entry


@pytest.mark.parametrize(
    ("entry", "purchase"),
    [
        ({}, None),
        ({"provision_price_per_hour": 2}, None),
        (journal(), SENT),
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
def test_the_result_of_a_purchase(entry: Entry, purchase: str | None) -> None:
    known = read_entry(entry)
    assert (known.is_open, known.is_made) == (purchase == SENT, purchase == MADE)
    assert read_entry(entry).may_have_bought is (purchase in (SENT, MADE))
    assert read_entry(entry).is_unanswered is (purchase == SENT)


def test_a_refusal_that_is_not_settled_was_answered_and_may_have_bought() -> None:
    entry = journal(provision_refused_status=409)
    assert read_entry(entry).may_have_bought and not read_entry(entry).is_unanswered


def test_entries_by_hand_are_read_too() -> None:
    assert read_entry({"provision_procured_offer_id": f" {OFFER_ID.upper()} "}).offer_id == OFFER_ID
    assert read_entry({"provision_procured_offer_id": None}).offer_id == ""
    assert list(read_entry({"provision_resource_ids": RESOURCE_ID}).resource_ids) == [RESOURCE_ID]
    assert list(read_entry({"provision_resource_ids": None}).resource_ids) == []


# Reading


def test_a_host_without_a_file_has_no_entry(path: Path) -> None:
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
    "a date that is none": (b"a: 2026-13-45\n", "is not valid YAML"),
    "nested without end": (b"[" * 20_000, "is not valid YAML"),
    "no text": (b"\xff\xfe\x00", "it is not UTF-8"),
    "a vault": (b"$ANSIBLE_VAULT;1.1;AES256\n6162\n", "holds no mapping of host variables"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named_and_never_replaced(path: Path, content: bytes, reason: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    file = HostFile(str(path))
    changes: list[Callable[[], object]] = [file.read, lambda: file.claim(journal()), lambda: file.note({"a": 1})]
    for change in changes:
        with pytest.raises(RegistryError) as caught:
            change()
        assert str(path) in str(caught.value) and reason in str(caught.value)
    assert path.read_bytes() == content


def test_a_folder_in_the_place_of_the_file_is_named(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(RegistryError, match=r"compute_index_supply\.yml cannot be read: Is a directory"):
        HostFile(str(path)).read()


def test_reading_returns_a_copy(path: Path) -> None:
    file = HostFile(str(path))
    file.claim(journal())
    entry = file.read()
    assert entry is not None
    entry["provision_purchase"] = MADE
    file.claim(journal(provision_price_per_hour=3.0))
    assert kept(path) == journal(provision_price_per_hour=3.0)


def test_without_pyyaml_nothing_is_read_or_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "HAS_YAML", False)
    file = HostFile(str(path))
    for change in (file.read, lambda: file.claim(journal()), lambda: file.note({}), file.end):
        with pytest.raises(RegistryError, match="no PyYAML"):
            change()


# Claims


def test_a_claim_is_kept_for_its_owner_only_whatever_the_umask(path: Path) -> None:
    old = os.umask(0)
    try:
        HostFile(str(path)).claim(journal())
    finally:
        os.umask(old)
    assert kept(path) == journal()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in path.parents[:2]] == [0o700, 0o700]


def test_folders_that_exist_keep_their_mode(path: Path) -> None:
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
FREE = {
    "empty": {},
    "variables of the user's": {"ansible_port": 22},
    "another offer, refused": journal(OTHER_ID, provision_purchase=REFUSED, provision_refused_status=410),
    "this offer, refused": journal(provision_purchase=REFUSED, provision_refused_status=409),
    "this offer, sent": journal(),
    "this offer, in capitals": journal(OFFER_ID.upper()),
    "this offer, made": journal(provision_purchase=MADE, provision_resource_ids=[RESOURCE_ID]),
}


@pytest.mark.parametrize("entry", FORBIDDING.values(), ids=FORBIDDING.keys())
def test_an_open_purchase_of_another_offer_forbids_the_claim(path: Path, entry: Entry) -> None:
    _files.write_durably(str(path), _files.entry_text(entry))
    file = HostFile(str(path))
    file.read()
    with pytest.raises(Claimed) as caught:
        file.claim(journal())
    assert caught.value.entry == read_entry(entry)
    assert str(path) in str(caught.value)
    assert kept(path) == entry


@pytest.mark.parametrize("entry", FREE.values(), ids=FREE.keys())
def test_an_entry_without_a_purchase_is_replaced_by_a_claim(path: Path, entry: Entry) -> None:
    _files.write_durably(str(path), _files.entry_text(entry))
    file = HostFile(str(path))
    file.read()
    file.claim(journal())
    assert kept(path) == journal()


def test_the_message_says_who_owns_what_since_when(path: Path) -> None:
    bought(path)
    with pytest.raises(Claimed) as caught:
        bought(path, OTHER_ID)
    assert str(caught.value) == f"{path} says that this host is buying offer {OFFER_ID}, since {SINCE}."
    HostFile(str(path)).note({"provision_resource_ids": [RESOURCE_ID], "provision_journaled_at": None})
    with pytest.raises(Claimed) as caught:
        HostFile(str(path)).claim(journal(OTHER_ID))
    assert str(caught.value) == f"{path} says that this host owns offer {OFFER_ID} ({RESOURCE_ID})."


def test_an_entry_that_another_run_has_made_or_changed_since_forbids_the_claim(path: Path) -> None:
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


def test_a_run_may_claim_again_what_it_has_noted_itself(path: Path) -> None:
    file = HostFile(str(path))
    file.read()
    file.claim(journal())
    file.note({"provision_purchase": REFUSED, "provision_refused_status": 429})
    file.claim(journal())
    file.claim(journal())
    assert kept(path) == journal()


def test_a_removed_entry_may_be_claimed(path: Path) -> None:
    first, second = HostFile(str(path)), HostFile(str(path))
    first.claim(journal())
    first.close()
    second.read()
    second.end()
    first.claim(journal(OTHER_ID))
    assert kept(path) == journal(OTHER_ID)


def test_template_marks_and_odd_values_are_refused(path: Path) -> None:
    for value, reason in (("{{ x }}", "holds template marks"), (object(), "holds a value that YAML cannot represent")):
        with pytest.raises(RegistryError, match=reason), contextlib.closing(HostFile(str(path))) as file:
            file.claim(journal(note=value))
        assert not path.exists()


def race(path: Path, offer_id: str, barrier: Any, won: Any) -> None:
    file = HostFile(str(path))
    file.read()
    barrier.wait(HANGS)
    try:
        file.claim(journal(offer_id))
    except Claimed:
        return
    finally:
        file.close()
    won.append(offer_id)


def offers(count: int) -> list[str]:
    return [f"00000000-0000-4000-8000-{number:012d}" for number in range(count)]


@pytest.mark.parametrize("same", [False, True], ids=["different offers", "the same offer"])
@pytest.mark.parametrize("attempt", range(10))
def test_one_of_many_threads_gets_the_claim(path: Path, same: bool, attempt: int) -> None:
    wanted = [OFFER_ID] * 8 if same else offers(8)
    won: list[str] = []
    barrier = threading.Barrier(len(wanted))
    threads = [threading.Thread(target=race, args=(path, offer_id, barrier, won)) for offer_id in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and kept(path) == journal(won[0])
    assert os.listdir(path.parent) == [path.name]


def test_one_of_many_processes_gets_the_claim(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        won, barrier = manager.list(), manager.Barrier(4)
        processes = [context.Process(target=race, args=(path, offer_id, barrier, won)) for offer_id in offers(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
        assert len(won) == 1 and kept(path) == journal(won[0])


# Holds


def hold_forever(path: str, held: Any) -> None:
    HostFile(path, "alice at bastion").claim(journal())
    held.set()
    time.sleep(60)


def test_a_hold_ends_with_its_process_however_that_ends(path: Path) -> None:
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


def test_a_change_by_another_run_between_read_and_hold_must_be_read_first(path: Path) -> None:
    bought(path)
    file = HostFile(str(path))
    file.read()
    HostFile(str(path)).note({"provision_purchase": MADE, "provision_resource_ids": [RESOURCE_ID]})
    with pytest.raises(Claimed, match="which has just ended"):
        file.hold()
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_refused_at_once(path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Each write is refused before anything is sent; existing entries can still be read."""
    bought(path)
    before = kept(path)

    def flock(*_given: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(_files.time, "sleep", lambda _seconds: pytest.fail("it waits"))
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
    assert kept(path) == before


def test_a_hold_is_seen_through_a_read_only_mount(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container with a read-only inventory, while a run outside is buying."""

    def read_only_open(file: str, mode: str = "r", **how: Any) -> Any:
        if mode != "r":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return open(file, mode, **how)

    with contextlib.closing(HostFile(str(path), "alice at bastion")) as file:
        file.claim(journal())
        monkeypatch.setattr(_files, "open", read_only_open, raising=False)
        assert read_entry(HostFile(str(path)).read()).held_by == "alice at bastion"


def test_a_run_that_only_reads_keeps_no_other_from_buying(path: Path) -> None:
    path.parent.mkdir(parents=True)
    buying = path.with_name(".compute_index_supply.buying")
    with buying.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.1, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        bought(path)
    assert kept(path) == journal()


# Notes


def test_notes_are_merged_and_none_removes_a_key(path: Path) -> None:
    file = HostFile(str(path))
    file.claim(journal())
    whole = file.note({"provision_purchase": MADE, "provision_resource_ids": [RESOURCE_ID], "provision_x": None})
    expected = journal(provision_purchase=MADE, provision_resource_ids=[RESOURCE_ID])
    assert whole == expected == kept(path)
    assert "provision_journaled_at" not in file.note({"provision_journaled_at": None})


def test_a_machine_that_another_sweep_has_marked_meanwhile_ends(path: Path) -> None:
    first, second = HostFile(str(path)), HostFile(str(path))
    first.claim(journal())
    first.note({"provision_purchase": MADE, "provision_resource_ids": [RESOURCE_ID]})
    second.read()
    second.compare_and_set({"provision_reaped_at": "2026-11-27T03:00:00Z"})
    first.end()
    assert not path.exists()


def test_an_entry_that_another_sweep_had_removed_before_a_note_ends(path: Path) -> None:
    first, second = HostFile(str(path)), HostFile(str(path))
    first.claim(journal())
    first.note({"provision_purchase": MADE, "provision_resource_ids": [RESOURCE_ID]})
    second.read()
    first.end()
    second.note({"provision_journaled_at": SINCE})
    second.end()
    assert not path.exists()


def test_facts_are_kept_even_if_the_entry_was_lost(path: Path) -> None:
    assert HostFile(str(path)).note({"provision_resource_ids": [RESOURCE_ID]}) == {
        "provision_resource_ids": [RESOURCE_ID]
    }
    assert kept(path) == {"provision_resource_ids": [RESOURCE_ID]}


@pytest.mark.parametrize("entry", FORBIDDING.values(), ids=FORBIDDING.keys())
def test_a_note_about_another_offer_does_not_mix_with_what_the_host_owns(path: Path, entry: Entry) -> None:
    _files.write_durably(str(path), _files.entry_text(entry))
    with pytest.raises(Claimed):
        HostFile(str(path)).note({"provision_procured_offer_id": OFFER_ID, "provision_resource_ids": ["x"]})
    assert kept(path) == entry


def test_no_note_of_many_threads_is_lost(path: Path) -> None:
    threads = [
        threading.Thread(target=lambda number=number: HostFile(str(path)).note({f"provision_{number}": number}))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept(path) == {f"provision_{number}": number for number in range(12)}


# The end


def test_the_end_removes_the_file_and_an_empty_folder(path: Path) -> None:
    file = HostFile(str(path))
    file.claim(journal())
    file.end()
    assert (path.parent.exists(), path.parents[1].exists(), file.read()) == (False, True, None)
    file.end()
    assert not path.parent.exists()


def test_the_end_removes_a_folder_that_a_waiting_run_has_made_again(path: Path) -> None:
    file = HostFile(str(path))
    path.parent.mkdir(parents=True)
    file.end()
    assert not path.parent.exists()


def test_the_end_leaves_the_users_own_files(path: Path) -> None:
    file = HostFile(str(path))
    file.claim(journal())
    path.with_name("main.yml").touch()
    file.end()
    assert os.listdir(path.parent) == ["main.yml"]


def test_concurrent_ends_and_claims_do_not_disturb_each_other(path: Path) -> None:
    failures: list[BaseException] = []

    def turn() -> None:
        try:
            for _time in range(20):
                file = HostFile(str(path))
                file.note({"provision_x": 1})
                file.read()
                with contextlib.suppress(Claimed):  # another one has written it since
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


def test_the_wait_for_a_lock_that_is_never_released_ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "LOCK_TIMEOUT", 0.05)
    with _files.locked(str(path)), pytest.raises(RegistryError) as caught:
        HostFile(str(path)).claim(journal())
    assert str(path) in str(caught.value) and "another process has held the lock" in str(caught.value)
    bought(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_the_error_names_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RegistryError, match="Permission denied"):
        HostFile(str(tmp_path / "a" / "b.yml")).claim(journal())


# All hosts


def test_all_entries_are_listed_and_broken_ones_apart(tmp_path: Path) -> None:
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


def test_a_missing_folder_has_no_entries(tmp_path: Path) -> None:
    assert entries(str(tmp_path / "no")) == Entries()


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match=r"The registry folder .* cannot be read: Not a directory"):
        entries(str(tmp_path / "file"))


class Killed(BaseException):
    """The run was killed."""


STEPS = [(_files, "write_durably"), (_files, "write_or_remove"), (_files, "append_to_ledger")]


def killed_at(patch: pytest.MonkeyPatch, step: int, *, after: bool) -> None:
    """Kill the run before or after the n-th step that changes the disk."""
    left = [step]

    def dies(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*given: Any, **how: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and not after:
                raise Killed
            answer = function(*given, **how)
            if left[0] == 0:
                raise Killed
            return answer

        return wrapper

    for module, name in STEPS:
        patch.setattr(module, name, dies(getattr(module, name)))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("ends", ["machine", "storage"])
@pytest.mark.parametrize("step", range(1, 5))
def test_a_run_that_is_killed_at_an_end_loses_no_storage(
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
    entry = read_entry(kept(path))
    is_told_gone = ends == "storage" and (step > 1 or after)  # the ledger is the first to say so
    assert OTHER_ID in running or RESOURCE_ID in running or is_told_gone, "nothing counts the storage"
    assert OTHER_ID in entry.all_ids or ends == "storage"

    again = HostFile(str(path))
    again.read()
    again.end()
    if ends == "storage":
        again.end_stray(OTHER_ID, [OTHER_ID])
    entry = read_entry(kept(path))
    assert entry.is_empty and [item.resource_id for item in entry.storage] == ([OTHER_ID] if ends == "machine" else [])
    running = {item for bill in _stores.ledger(folder).bills if bill.runs for item in bill.resource_ids}
    assert running == ({OTHER_ID} if ends == "machine" else set())
