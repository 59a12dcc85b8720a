# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transfer of a run's results: real files, interruptions before each line, and untrusted lists of files.

"Home" is the folder of the results on the controller.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import os
import random
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.compute_index.supply.plugins.action import run_results
from ansible_collections.compute_index.supply.plugins.module_utils._machine import job, results
from ansible_collections.compute_index.supply.plugins.module_utils._registry._records import RecordFolder
from ansible_collections.compute_index.supply.plugins.plugin_utils import _results_home, _task

from kills import kills
from limits import HANGS

Result = dict[str, Any]
ODD_NAMES = ["two words", "a\nb", "-x", "*", os.fsdecode(b"caf\xe9"), "é", "$(false)", "a\\b", "x" * 250]
MB = 10**6
# Names that no file in the results may have
BAD_NAMES = ["/etc/x", "../x", "a/../../x", "", ".", "a//b", "a/", "a%00b", "./a"]


class Connection:
    """A connection to this computer; ``fails`` is called before each transfer."""

    transport = "local"
    _shell = SimpleNamespace(tmpdir="given")

    def __init__(self) -> None:
        self.fetched: list[int] = []
        self.fails: Callable[[], None] = lambda: None

    def fetch_file(self, source: str, target: str) -> None:
        self.fails()
        self.fetched.append(os.path.getsize(source))
        shutil.copyfile(source, target)


class Action(run_results.ActionModule):  # type: ignore[misc]
    """The action, which runs its module in this process."""

    into = ""
    steps: list[dict[str, Any]]

    def _make_tmp_path(self, remote_user: str | None = None) -> str:
        return self.into

    def _execute_module(self, module_args: Any = None, task_vars: Any = None, **_more: Any) -> Result:
        arguments = json.loads(json.dumps(module_args))
        self.steps.append(arguments["step"])
        try:
            return results.step(arguments["name"], arguments["paths"], arguments["step"])
        except (ValueError, OSError) as error:
            return {"failed": True, "msg": str(error)}


class Transfer:
    """A machine with a finished run, a folder at home for its results, and a connection between them."""

    is_cut = False

    def __init__(self, folder: Path) -> None:
        self.run, self.dest = folder / "runs" / "train", folder / "home" / "train"
        self.work = self.run / "work"
        self.files, self.into, self.local = self.dest / "files", folder / "tmp", folder / "local"
        for place in (self.work, self.into, self.local):
            place.mkdir(parents=True)
        (self.run / "log.txt").write_text("the log\n")
        (self.run / "job.json").write_text('{"digest": "1", "setup": "", "time": 0, "setup_digest": ""}')
        self.set_over(True)
        self.connection, self.steps = Connection(), list[dict[str, Any]]()

    def set_over(self, is_over: bool) -> None:
        """Let the run be finished, or still running: then its process holds a lock."""
        (self.run / "end").unlink(missing_ok=True)
        self.pid_file = open(self.run / "pid", "wb")  # noqa: SIM115
        fcntl.flock(self.pid_file, fcntl.LOCK_EX)
        if is_over:
            self.pid_file.close()
            (self.run / "end").write_text("0\n")

    def write(self, path: str, content: bytes | int = b"content") -> Path:
        """Write a result on the machine; a number as content means so many random bytes."""
        file = self.work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(random.Random(0).randbytes(content) if isinstance(content, int) else content)
        return file

    def fetch(self, *paths: str, name: str = "train", part_size: int = 64 * MB) -> Result:
        """Run the action and return its result."""
        arguments = {"name": name, "paths": list(paths), "dest": str(self.dest), "part_size": part_size}
        task = SimpleNamespace(args=arguments, check_mode=False, async_val=0, delegate_to=None, action="run_results")
        action = Action(task, self.connection, SimpleNamespace(), None, None, None)
        action.into, action.steps = str(self.into), self.steps
        result: Result = action.run(None, {"inventory_hostname": "gpu-1"})
        assert not self.partial or not result["complete"]
        return result

    @property
    def partial(self) -> list[Path]:
        """The files that have not arrived completely."""
        return list(self.dest.glob(".partial*"))

    def is_home(self, path: str = "out") -> bool:
        """Whether a folder at home equals the one on the machine."""
        command = ["diff", "-r", "--no-dereference", str(self.work / path), str(self.files / path)]
        return subprocess.run(command, check=False).returncode == 0


@pytest.fixture
def transfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Transfer:
    monkeypatch.setenv(job.FOLDER_VARIABLE, str(tmp_path / "runs"))
    monkeypatch.setattr(_task.display, "display", lambda *_words: None)
    monkeypatch.setattr(run_results, "PAUSE", 0)
    monkeypatch.setattr(run_results, "PATIENCE", 0.2)
    transfer = Transfer(tmp_path)
    monkeypatch.setattr(C, "DEFAULT_LOCAL_TMP", str(transfer.local))
    return transfer


# Arrival


def test_results_of_every_kind_arrive_once(transfer: Transfer) -> None:
    for number, name in enumerate(ODD_NAMES):
        transfer.write(f"out/{name}/{name}", name.encode(errors="surrogateescape") * number)
    transfer.write("out/program").chmod(0o4755)
    transfer.write("metrics.json")
    transfer.write("other")
    (transfer.work / "out" / "latest").symlink_to("program")
    os.mkfifo(transfer.work / "out" / "pipe")
    result = transfer.fetch("out", "*.json", "nix", "no/*")
    assert result == {
        **{"changed": True, "complete": True, "missing": ["nix", "no/*"], "incomplete": []},
        **{"files": len(ODD_NAMES) + 3, "bytes": result["bytes"]},
        "fault": "",
        "msg": f"{len(ODD_NAMES) + 3} files and the log are in {transfer.dest}; nothing is missing.",
    }
    os.unlink(transfer.work / "out" / "pipe")
    assert transfer.is_home()
    assert (transfer.dest / "log.txt").read_text() == "the log\n"
    assert sorted(os.listdir(transfer.dest)) == ["files", "log.txt"]
    assert sorted(os.listdir(transfer.files)) == ["metrics.json", "out"]
    program = os.stat(transfer.files / "out" / "program")
    assert (stat.S_IMODE(program.st_mode), program.st_mtime_ns) == (
        0o755,
        (transfer.work / "out/program").stat().st_mtime_ns,
    )
    transfer.connection.fetched.clear()
    assert transfer.fetch("out", "*.json", "nix", "no/*") == {**result, "changed": False}
    assert not transfer.connection.fetched


@pytest.mark.parametrize("pattern", ["/etc", "../x", "a/../../b", "", "**", "a/**/b"])
def test_paths_outside_the_run_are_refused(transfer: Transfer, pattern: str) -> None:
    result = transfer.fetch(pattern)
    assert result["failed"] and "must be a path or pattern below the run's folder" in result["msg"]
    assert not transfer.dest.exists()


def test_concurrent_commands_fetch_the_same_results_in_turn(
    transfer: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If both wrote at the same time, the slower command would truncate files that the other had written."""
    transfer.write("out/large", 200_000)
    inside, most, receive = list[int](), list[int](), _results_home.Home.receive

    def received(*given: Any) -> None:
        inside.append(0)
        most.append(len(inside))
        time.sleep(0.01)
        receive(*given)
        inside.pop()

    monkeypatch.setattr(_results_home.Home, "receive", received)
    monkeypatch.setattr(run_results.ActionModule, "_wait", lambda *_given: time.sleep(0.001))
    with ThreadPoolExecutor(2) as pool:
        found = [one.result() for one in [pool.submit(transfer.fetch, "out", part_size=20_000) for _number in range(2)]]
    assert [one["complete"] for one in found] == [True, True] and transfer.is_home()
    assert max(most) == 1 and sorted(one["changed"] for one in found) == [False, True]


def test_two_controllers_fetch_the_same_results_at_once(
    transfer: Transfer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example a sweep on another computer, in the last hour of a run that is followed on this one.

    Each has its own temporary folder on the machine. Here each requests its next part after the other has got its
    answer, and before the other has fetched it.
    """
    transfer.write("out/large", 100_000)
    turns, elsewhere = threading.Barrier(2), Transfer.__new__(Transfer)
    elsewhere.__dict__.update(vars(transfer), dest=tmp_path / "elsewhere", files=tmp_path / "elsewhere" / "files")
    elsewhere.into = tmp_path / "tmp of the other"
    elsewhere.into.mkdir()
    ask = Action._execute_module

    def in_turns(action: Action, *given: Any, **more: Any) -> Result:
        answer = ask(action, *given, **more)
        turns.wait(HANGS)
        return answer

    def fault(computer: Transfer) -> str:
        try:
            return str(computer.fetch("out", part_size=20_000)["fault"])
        finally:
            turns.abort()  # after its last request; both make the same number of requests

    monkeypatch.setattr(Action, "_execute_module", in_turns)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fault, (transfer, elsewhere))) == ["", ""]
    assert transfer.is_home() and elsewhere.is_home()


def test_thousands_of_small_files_take_two_parts(transfer: Transfer) -> None:
    """With the log they are one file more than a part may have."""
    for number in range(_results_home.MOST_FILES):
        transfer.write(f"out/{number % 100}/{number}", b"%d" % number)
    result = transfer.fetch("out")
    assert (result["complete"], result["files"]) == (True, 5000)
    assert len(transfer.connection.fetched) == 2
    assert (transfer.files / "out/99/4999").read_bytes() == b"4999"
    assert not transfer.fetch("out")["changed"]


def test_large_file_is_fetched_in_ranges(transfer: Transfer) -> None:
    file = transfer.write("out/model.bin", 3 * MB)
    os.truncate(file, 200 * MB)
    transfer.write("out/small")
    assert transfer.fetch("out")["complete"]
    assert len(transfer.connection.fetched) == 4
    assert max(transfer.connection.fetched) < 5 * MB
    assert transfer.is_home()


def test_parts_stay_within_part_size(transfer: Transfer) -> None:
    for number, size in enumerate((700, 5000, 300, 0, 1000, 1001, 10)):
        transfer.write(f"out/{number}", size)
    assert transfer.fetch("out", part_size=1000)["complete"]
    sizes = [sum(length for _number, _offset, length in step["wanted"]) for step in transfer.steps if "wanted" in step]
    assert max(sizes) == 1000 and sum(sizes) == 8011 + len("the log\n")
    assert transfer.is_home()


def test_named_link_is_followed(transfer: Transfer, tmp_path: Path) -> None:
    (tmp_path / "large disk" / "deep").mkdir(parents=True)
    (tmp_path / "large disk" / "deep" / "model").write_text("large")
    (transfer.work / "out").symlink_to(tmp_path / "large disk")
    (transfer.work / "self").symlink_to(".")
    result = transfer.fetch("out", "self/*.nix")
    assert result["complete"]
    assert (transfer.files / "out" / "deep" / "model").read_text() == "large"


@pytest.mark.parametrize("paths", [["out", "out/*"], ["out/latest", "out"], ["out", "out/*/new/"]])
def test_link_matched_by_two_patterns_is_followed(transfer: Transfer, paths: list[str]) -> None:
    """Also by a second transfer. If its results were incomplete, the machine would be billed until its lease ends."""
    transfer.write("out/run-3/new/model")
    (transfer.work / "out" / "latest").symlink_to("run-3")
    for is_first in (True, False):
        result = transfer.fetch(*paths)
        assert result["complete"] and result["changed"] is is_first, result["incomplete"]
        assert (transfer.files / "out" / "latest" / "new" / "model").read_text() == "content"


@pytest.mark.parametrize("paths", [["."], ["*"], ["out"], ["out/*"]])
def test_circular_links_do_not_loop(transfer: Transfer, tmp_path: Path, paths: list[str]) -> None:
    """Two such links double the number of paths at each level; the machine was billed until its lease ended."""
    transfer.write("out/a/model")
    for link, target in (("b", "."), ("c", str(transfer.work)), ("a/up", ".."), ("a/here", "../a")):
        (transfer.work / "out" / link).symlink_to(target)
    os.makedirs(tmp_path / "large disk")
    (tmp_path / "large disk" / "model").write_text("large")
    (transfer.work / "out" / "disk").symlink_to(tmp_path / "large disk")
    result = transfer.fetch(*paths)
    assert result["complete"], result["incomplete"]
    assert (transfer.files / "out/a/model").read_text() == "content"
    assert (transfer.files / "out/disk/model").read_text() == "large", "a link out of the folder is followed"


@pytest.mark.parametrize("target", ["a", "deep/x", "./a", "../out/a", "nix", ".."])
def test_link_within_fetched_folder_stays_link(transfer: Transfer, target: str) -> None:
    transfer.write("top/out/a")
    (transfer.work / "top/out/link").symlink_to(target)
    assert transfer.fetch("top")["complete"] and os.path.islink(transfer.files / "top/out/link")


@pytest.mark.parametrize("target", ["/no/such/disk", "../../nix", "/dev/null"])
def test_outside_link_to_no_file_is_left_out(transfer: Transfer, target: str) -> None:
    transfer.write("top/out/a")
    (transfer.work / "top/out/link").symlink_to(target)
    assert transfer.fetch("top")["complete"] and os.listdir(transfer.files / "top/out") == ["a"]


def test_links_in_a_linked_folder_stay_links(transfer: Transfer, tmp_path: Path) -> None:
    """A cache of models has such links. If they were followed, each would double the paths; /sys would never end."""
    names = [f"{number}" for number in range(20)]
    for name in names:
        (tmp_path / "disk" / name).mkdir(parents=True)
        (tmp_path / "disk" / name / "model").write_text(name)
        for other in names:
            (tmp_path / "disk" / name / f"to {other}").symlink_to(f"../{other}")
    transfer.write("out/a")
    (transfer.work / "out" / "cache").symlink_to(tmp_path / "disk")
    result = transfer.fetch("out")
    assert (result["complete"], result["files"]) == (True, 1 + 20 + 400), result["incomplete"]
    assert (transfer.files / "out/cache/7/to 9/model").read_text() == "9"


def test_link_to_whole_file_system_fails_with_too_many_files(
    transfer: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MOST", 1000)
    transfer.write("out/a")
    (transfer.work / "out" / "root").symlink_to("/")
    assert "out matches more than 1000 files" in transfer.fetch("out")["fault"]


@pytest.mark.parametrize("target", ["{work}/top/out/a", "../../../../../disk/a", "../../else"])
def test_absolute_and_outside_links_to_files_are_followed(transfer: Transfer, tmp_path: Path, target: str) -> None:
    for file in (transfer.work / "top/out/a", transfer.work / "else", tmp_path / "disk/a"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("content")
    (transfer.work / "top/out/link").symlink_to(target.format(work=transfer.work))
    assert transfer.fetch("top")["complete"]
    assert not os.path.islink(transfer.files / "top/out/link")
    assert (transfer.files / "top/out/link").read_text() == "content"


def test_named_broken_link_is_incomplete(transfer: Transfer) -> None:
    (transfer.work / "out").symlink_to("/no/such/disk")
    result = transfer.fetch("out")
    assert not result["complete"] and result["incomplete"][0]["path"] == "out"


# Incomplete results


def test_results_of_running_job_are_incomplete_and_its_log_grows(transfer: Transfer) -> None:
    transfer.set_over(False)
    transfer.write("out/a")
    result = transfer.fetch("out")
    assert (result["complete"], result["files"]) == (False, 1)
    assert result["incomplete"] == [{"path": "", "reason": "the run is not over"}]
    assert "but they are incomplete: the run is not over." in result["msg"]
    with open(transfer.run / "log.txt", "a") as log:
        log.write("more\n")
    transfer.set_over(True)
    assert transfer.fetch("out")["complete"]
    assert (transfer.dest / "log.txt").read_text() == "the log\nmore\n"


def test_log_of_new_start_replaces_old_log(transfer: Transfer) -> None:
    transfer.fetch()
    (transfer.run / "log.txt").write_text("other log that is longer\n")
    assert transfer.fetch()["complete"]
    assert (transfer.dest / "log.txt").read_text() == "other log that is longer\n"


@pytest.mark.parametrize("change", ["grow", "shrink", "touch", "remove", "folder"])
def test_file_that_changes_during_fetch_is_incomplete(transfer: Transfer, change: str) -> None:
    transfer.write("out/a", 2500)
    file = transfer.write("out/b", 2500)
    transfer.write("out/c", 2500)
    transfers = iter(range(100))

    def act() -> None:
        if next(transfers) == 3:  # in the middle of b
            if change in ("remove", "folder"):
                file.unlink()
            if change == "folder":
                file.mkdir()
            if change == "touch":
                os.utime(file, (1, 1))
            if change in ("grow", "shrink"):
                os.truncate(file, {"grow": 4000, "shrink": 10}[change])

    transfer.connection.fails = act
    result = transfer.fetch("out", part_size=1000)
    assert (result["complete"], result["files"]) == (False, 2)
    assert [item["path"] for item in result["incomplete"]] == ["out/b"]
    assert not (transfer.files / "out/b").exists()
    transfer.connection.fails = lambda: None
    if change == "folder":
        file.rmdir()
        transfer.write("out/b")
    elif change == "remove":
        assert transfer.fetch("out")["complete"]
        return
    assert transfer.fetch("out", part_size=1000)["complete"]
    assert transfer.is_home()


def test_unreadable_files_are_listed_with_reason(transfer: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    transfer.write("out/a")
    transfer.write("out/secret")
    transfer.write("out/locked/b")
    listdir, opened = os.listdir, os.open

    def refuse(path: Any, *more: Any, **options: Any) -> Any:
        if str(path).endswith(("out/secret", "out/locked")):
            raise PermissionError(13, "Permission denied")
        return opened(path, *more, **options) if more else listdir(path)

    monkeypatch.setattr(results.os, "listdir", refuse)
    monkeypatch.setattr(results.os, "open", refuse)
    result = transfer.fetch("out")
    assert not result["complete"] and (transfer.files / "out/a").exists()
    assert sorted((item["path"], item["reason"]) for item in result["incomplete"]) == [
        *(("out/locked", "Permission denied"), ("out/secret", "Permission denied")),
    ]


def test_unknown_run_fails(transfer: Transfer) -> None:
    result = transfer.fetch("out", name="other")
    assert result["failed"] and "The machine has no run of this name" in result["msg"]
    assert not transfer.dest.exists()


# Failures


def cut_at(transfer: Transfer, *numbers: int) -> None:
    """Cut the connection at these transfers, counted from one. It stays cut."""
    transfers = iter(range(1, 1000))

    def act() -> None:
        transfer.is_cut = transfer.is_cut or next(transfers) in numbers
        if transfer.is_cut:
            raise AnsibleConnectionFailure("Connection reset by peer")

    transfer.connection.fails, transfer.is_cut = act, False
    transfer.steps.clear()


def test_fetch_resumes_within_a_file_after_lost_connection(transfer: Transfer) -> None:
    transfer.write("out/a", 10_000)
    transfer.write("out/b", 10_000)
    cut_at(transfer, 6)
    result = transfer.fetch("out", part_size=3000)
    assert result["failed"] and not result["complete"] and not (transfer.files / "out/b").exists()
    assert "Connection reset by peer. What has arrived is kept; run the task again to go on." in result["msg"]
    cut_at(transfer)
    assert transfer.fetch("out", part_size=3000)["complete"]
    (first, offset, _length) = next(step["wanted"][0] for step in transfer.steps if "wanted" in step)
    assert first["path"] == "files/out/b" and offset == 15_000 - 10_000 - len("the log\n")
    assert transfer.is_home()


def test_file_is_transferred_once_despite_many_interruptions(transfer: Transfer) -> None:
    """Each sweep resumes where the last one was cut, so a file may take longer than a sweep."""
    transfer.write("out/large", 50_000)
    for _number in range(20):
        cut_at(transfer, 3)
        if transfer.fetch("out", part_size=4000)["complete"]:
            break
        assert len(transfer.partial) == 1 and not transfer.files.exists()
        assert stat.S_IMODE(transfer.partial[0].stat().st_mode) == 0o600, "the file may contain secrets"
    assert transfer.is_home() and sum(transfer.connection.fetched) < 60_000 and not transfer.partial


@pytest.mark.parametrize("change", ["same size", "removed", "renamed"])
def test_partial_file_is_not_used_for_another_file(transfer: Transfer, change: str) -> None:
    file = transfer.write("out/a", 10_000)
    cut_at(transfer, 3)
    transfer.fetch("out", part_size=3000)
    assert transfer.partial
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    if change == "renamed":  # another file has its size and time now
        os.utime(transfer.write("out/0", b"0" * 10_000), ns=times)
    if change == "removed":
        transfer.write("out/b")
        file.unlink()
    if change == "same size":
        file.write_bytes(b"1" * 10_000)
        os.utime(file, ns=(0, times[1] + 1))
    cut_at(transfer)
    assert transfer.fetch("out", part_size=3000)["complete"] and transfer.is_home()


def test_part_with_read_error_is_fetched_again(transfer: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gap must not be filled with zeros: the file is unchanged, so the next transfer only resumes."""
    transfer.write("out/a", 10_000)
    transfer.write("out/b")
    copy, copies = results._copy, iter(range(100))

    def fail(folder: str, entry: Result, offset: int, length: int, stream: gzip.GzipFile) -> str:
        if next(copies) != 2:
            return copy(folder, entry, offset, length, stream)
        stream.write(bytes(length))
        return "Input/output error"

    monkeypatch.setattr(results, "_copy", fail)
    cut_at(transfer, 3)
    result = transfer.fetch("out", part_size=3000)
    assert result["incomplete"] == [{"path": "out/a", "reason": "Input/output error"}]
    cut_at(transfer)
    assert transfer.fetch("out", part_size=3000)["complete"] and transfer.is_home()


@pytest.mark.parametrize("cut_again_at", [0, 1, 2, 4])
@pytest.mark.parametrize("is_of_1970", [False, True])
def test_unsynced_files_are_fetched_again_after_power_cut(
    transfer: Transfer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_again_at: int, is_of_1970: bool
) -> None:
    """The controller's disk may have the sizes and times of files without their content, also of complete files."""
    boot = tmp_path / "boot_id"
    boot.write_text("1")
    monkeypatch.setattr(_results_home, "BOOT_ID", str(boot))
    complete_file, _larger_file = transfer.write("out/a", 1000), transfer.write("out/b", 10_000)
    if is_of_1970:
        os.utime(complete_file, ns=(0, 0))
    cut_at(transfer, 4)
    assert not transfer.fetch("out", part_size=3000)["complete"]
    (growing,) = transfer.partial
    for file in (transfer.files / "out/a", growing):
        file.write_bytes(bytes(file.stat().st_size))
    os.utime(transfer.files / "out/a", ns=(0, complete_file.stat().st_mtime_ns))
    (note := transfer.files / "note").write_text("a person's own")
    noted_at = note.stat().st_mtime_ns
    boot.write_text("2")
    if cut_again_at:
        cut_at(transfer, cut_again_at)
        assert not transfer.fetch("out", part_size=3000)["complete"]
    cut_at(transfer)
    assert transfer.fetch("out", part_size=3000)["complete"] and transfer.is_home()
    assert note.stat().st_mtime_ns == noted_at
    boot.write_text("3")  # a finished transfer has synced its files
    assert not transfer.fetch("out", part_size=3000)["changed"]


def test_killed_play_ends_the_wait_for_machine(transfer: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    transfer.write("out/a")
    parents = iter([1, 1])
    monkeypatch.setattr(run_results.os, "getppid", lambda: next(parents, 2))
    monkeypatch.setattr(run_results, "PATIENCE", 3600)

    def act() -> None:
        raise AnsibleConnectionFailure("Connection timed out")

    transfer.connection.fails = act
    assert "ansible-playbook has ended" in transfer.fetch("out")["fault"]


def test_machine_that_another_command_has_ended_is_not_waited_for(
    transfer: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other command has finished the run. This command, or a sweep, waited for half an hour."""
    monkeypatch.setattr(run_results, "PATIENCE", 3600)
    attempts = []

    def act() -> None:
        attempts.append(1)
        if len(attempts) == 2:
            RecordFolder(str(transfer.dest)).write({"phase": "gone"})
        if len(attempts) > 2:
            raise ValueError("It waits.")
        raise AnsibleConnectionFailure("Connection timed out")

    transfer.connection.fails = act
    assert "Connection timed out" in transfer.fetch()["fault"]


def test_damaged_part_is_fetched_again(transfer: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    transfer.write("out/a", 5000)
    fetch, transfers = transfer.connection.fetch_file, iter(range(100))

    def damage(source: str, target: str) -> None:
        fetch(source, target)
        if next(transfers) in (0, 1):
            os.truncate(target, os.path.getsize(target) - 1)

    monkeypatch.setattr(transfer.connection, "fetch_file", damage)
    assert transfer.fetch("out")["complete"]
    assert transfer.is_home() and len(transfer.connection.fetched) == 3


def test_kill_before_any_line_leaves_only_complete_files(transfer: Transfer) -> None:
    contents = {
        f"out/{name}": transfer.write(f"out/{name}", size).read_bytes() for name, size in [("a", 2500), ("b/c", 900)]
    }
    (transfer.work / "out/link").symlink_to("a")
    modules = [run_results, _results_home, results]
    for number in kills(modules, lambda: transfer.fetch("out", part_size=1000)):
        for path, content in contents.items():
            file = transfer.files / path
            assert not file.exists() or file.read_bytes() == content, number
        # Two of three times the next transfer resumes after the kill; the third one is completed and removed.
        if number % 3 == 0:
            assert transfer.fetch("out", part_size=1000)["complete"], number
            assert transfer.is_home() and (transfer.dest / "log.txt").read_text() == "the log\n"
            shutil.rmtree(transfer.dest)
    assert transfer.is_home()
    assert any(transfer.local.iterdir()), "a killed worker leaves files only where Ansible's main process removes them"


@pytest.fixture
def mount_small_disk(transfer: Transfer) -> Iterator[Callable[[Path, str], None]]:
    """``mount_small_disk(folder, size)`` mounts a disk of this size at a folder."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "small", str(folder)], check=False).returncode:
            pytest.skip("tests may not mount file systems on this computer")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_of_machine_fails_with_reason(
    transfer: Transfer, mount_small_disk: Callable[[Path, str], None]
) -> None:
    transfer.write("out/a", MB)
    mount_small_disk(transfer.into, "100k")
    result = transfer.fetch("out")
    assert result["failed"] and "No space left on device" in result["msg"]


def test_too_small_disk_at_home_fails_before_first_part(
    transfer: Transfer, mount_small_disk: Callable[[Path, str], None]
) -> None:
    transfer.write("out/a", MB)
    mount_small_disk(transfer.dest, "500k")
    result = transfer.fetch("out")
    assert result["failed"] and "The results need 1 MB more" in result["msg"]
    assert len(transfer.steps) == 1


def test_disk_at_home_that_fills_up_keeps_complete_files(
    transfer: Transfer, mount_small_disk: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer.write("out/a", 300_000)
    transfer.write("out/b", 900_000)
    mount_small_disk(transfer.dest, "800k")
    monkeypatch.setattr(run_results, "_check_room", lambda *_all: None)
    result = transfer.fetch("out", part_size=400_000)
    assert result["failed"] and "No space left on device" in result["msg"]
    assert (transfer.files / "out/a").stat().st_size == 300_000
    subprocess.run(["mount", "-o", "remount,size=4m", str(transfer.dest)], check=True)
    assert transfer.fetch("out", part_size=400_000)["complete"]
    assert transfer.is_home()


# Untrusted input


def home(transfer: Transfer, *entries: dict[str, Any]) -> _results_home.Home:
    usual = {"size": 3, "mode": 0o644, "mtime_ns": 0}
    listing = {"entries": [{**usual, **entry} for entry in entries], "missing": [], "incomplete": [], "over": True}
    transfer.dest.mkdir(parents=True, exist_ok=True)
    return _results_home.Home(str(transfer.dest), listing)


def receive(transfer: Transfer, here: _results_home.Home, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "part", "wb") as file:
        file.write(b"newnew")
    here.receive(str(tmp_path / "part"), here.next_part(100), {})


@pytest.mark.parametrize(
    "path", ["/etc/x", "../x", "a", "files", "files/", "run.json", *(f"files/{name}" for name in BAD_NAMES)]
)
@pytest.mark.parametrize("more", [{}, {"target": "a", "size": 0}])
def test_file_names_outside_the_results_are_refused(
    transfer: Transfer, tmp_path: Path, path: str, more: dict[str, Any]
) -> None:
    here = home(transfer, {"path": path, **more})
    receive(transfer, here, tmp_path)
    assert not here.complete
    assert [item["reason"] for item in here.incomplete] == ["its name leads out of the results"]
    assert not (transfer.dest.parent / "x").exists() and set(os.listdir(transfer.dest)) == {
        ".unsynced",
        *(file.name for file in transfer.partial),
    }


@pytest.mark.parametrize("target", ["/no/disk", "../x", "../..", "a/../..", "deep/../a"])
def test_links_that_lead_out_of_the_results_are_refused(transfer: Transfer, tmp_path: Path, target: str) -> None:
    here = home(transfer, {"path": "files/a", "target": target, "size": 0})
    receive(transfer, here, tmp_path)
    assert [item["reason"] for item in here.incomplete] == ["it is a link that leads out of the results"]


def test_files_are_not_written_through_links(transfer: Transfer, tmp_path: Path) -> None:
    """This includes links in the list, and links that exist at home."""
    (transfer.files / "a").mkdir(parents=True)
    (transfer.files / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "victim").write_text("old")
    link = {"path": "files/b", "target": "a", "size": 0}
    receive(transfer, home(transfer, {"path": "files/a/up/victim"}, link, {"path": "files/b/victim"}), tmp_path)
    assert (tmp_path / "victim").read_text() == "old"
    assert (transfer.files / "a/up/victim").read_text() == "new" and not (transfer.files / "a/up").is_symlink()
    assert (transfer.files / "b/victim").read_text() == "new" and not (transfer.files / "b").is_symlink()


def test_files_are_not_written_through_link_that_could_not_be_moved(transfer: Transfer, tmp_path: Path) -> None:
    """From the folder of partial files, a relative link leads elsewhere than from its own folder."""
    (transfer.files / "a" / "b" / "c").mkdir(parents=True)
    victim = transfer.dest.parent.parent / "victim"
    victim.write_text("old")
    link = {"path": "files/a/b/c", "target": "../../victim", "size": 0}
    here = home(transfer, link, {"path": "files/x"})
    receive(transfer, here, tmp_path)
    assert victim.read_text() == "old" and (transfer.files / "x").read_text() == "new"
    assert [item["path"] for item in here.incomplete] == ["a/b/c"]


@pytest.mark.parametrize("place", ["/p\n!touch x\n", "/p' y"])
def test_forged_answer_cannot_name_file_for_sftp(
    transfer: Transfer, monkeypatch: pytest.MonkeyPatch, place: Any
) -> None:
    """sftp reads commands line by line, with its own rules for quotes. It would run such a line on the controller."""
    transfer.write("out/a")
    step, fetch, sources = results.step, transfer.connection.fetch_file, set[str]()
    monkeypatch.setattr(results, "step", lambda *given: {**step(*given), "path": place})
    monkeypatch.setattr(transfer.connection, "fetch_file", lambda *given: (sources.add(given[0]), fetch(*given)))
    assert transfer.fetch("out")["complete"] and sources == {str(transfer.into / results.PART)}


def test_files_removed_or_emptied_at_home_are_fetched_again(transfer: Transfer) -> None:
    transfer.write("out/a")
    transfer.write("out/b")
    transfer.fetch("out")
    (transfer.files / "out/a").unlink()
    (transfer.files / "out/b").write_bytes(b"")
    assert transfer.fetch("out")["changed"] and transfer.is_home()


def test_file_that_cannot_replace_a_folder_is_incomplete(transfer: Transfer) -> None:
    transfer.write("out/a/b")
    transfer.fetch("out")
    shutil.rmtree(transfer.work / "out/a")
    transfer.write("out/a")
    result = transfer.fetch("out")
    assert [item["path"] for item in result["incomplete"]] == ["out/a"]
    assert (transfer.files / "out/a/b").exists()


def test_part_for_another_user_belongs_to_that_user(transfer: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With become the connected user cannot read root's folder."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(transfer.into, 12345, 12345)
    transfer.write("out/a", 5000)
    places: list[tuple[str, int]] = []
    transfer.connection.fails = lambda: places.extend(
        (file.name, file.stat().st_uid) for file in transfer.into.iterdir()
    )
    assert transfer.fetch("out")["complete"] and transfer.is_home()
    assert places == [("part.gz", 12345)]


def test_alone_recreates_and_locks_folder_removed_during_wait(tmp_path: Path) -> None:
    """A command that ends without a result removes the folder. Only one of two later commands may write."""
    dest, waited = str(tmp_path / "run"), list[str]()
    with contextlib.ExitStack() as first:
        first.enter_context(_results_home.alone(dest, lambda: pytest.fail("no other command has the lock")))

        def wait() -> None:
            waited.append("once")
            first.close()

        with _results_home.alone(dest, wait):
            assert waited and os.path.isdir(dest)
            with pytest.raises(InterruptedError), _results_home.alone(dest, interrupt):
                pytest.fail("the lock is taken")
    assert not os.path.exists(dest)


def interrupt() -> None:
    raise InterruptedError
