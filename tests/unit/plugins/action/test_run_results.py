# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results on their way home: real files, parts that are killed before each line, and lists that cannot be trusted."""

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
from ansible_collections.compute_index.supply.plugins.plugin_utils import _results_home, _task

from kills import kills
from limits import HANGS

Result = dict[str, Any]
ODD = ["two words", "a\nb", "-x", "*", os.fsdecode(b"caf\xe9"), "é", "$(false)", "a\\b", "x" * 250]
MB = 10**6
BAD = ["/etc/x", "../x", "a/../../x", "", ".", "a//b", "a/", "a%00b", "./a"]  # names that none has


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
    """The action with its module in the same process."""

    into = ""
    asked: list[dict[str, Any]]

    def _make_tmp_path(self, remote_user: str | None = None) -> str:
        return self.into

    def _execute_module(self, module_args: Any = None, task_vars: Any = None, **_more: Any) -> Result:
        arguments = json.loads(json.dumps(module_args))
        self.asked.append(arguments["step"])
        try:
            return results.step(arguments["name"], arguments["paths"], arguments["step"])
        except (ValueError, OSError) as error:
            return {"failed": True, "msg": str(error)}


class Site:
    """A machine with a run that is over, and a folder for its results."""

    is_cut = False

    def __init__(self, folder: Path) -> None:
        self.run, self.dest = folder / "runs" / "train", folder / "home" / "train"
        self.work = self.run / "work"
        self.files, self.into, self.local = self.dest / "files", folder / "tmp", folder / "local"
        for place in (self.work, self.into, self.local):
            place.mkdir(parents=True)
        (self.run / "log.txt").write_text("the log\n")
        (self.run / "job.json").write_text('{"digest": "1", "setup": "", "time": 0, "setup_digest": ""}')
        self.over()
        self.connection, self.asked = Connection(), list[dict[str, Any]]()

    def over(self, over: bool = True) -> None:
        (self.run / "end").unlink(missing_ok=True)
        self.alive = open(self.run / "pid", "wb")  # noqa: SIM115
        fcntl.flock(self.alive, fcntl.LOCK_EX)
        if over:
            self.alive.close()
            (self.run / "end").write_text("0\n")

    def write(self, path: str, content: bytes | int = b"content") -> Path:
        """Write a result; a number stands for so many random bytes."""
        file = self.work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(random.Random(0).randbytes(content) if isinstance(content, int) else content)
        return file

    def fetch(self, *paths: str, name: str = "train", part_size: int = 64 * MB) -> Result:
        """Run the action and return its result."""
        arguments = {"name": name, "paths": list(paths), "dest": str(self.dest), "part_size": part_size}
        task = SimpleNamespace(args=arguments, check_mode=False, async_val=0, delegate_to=None, action="run_results")
        action = Action(task, self.connection, SimpleNamespace(), None, None, None)
        action.into, action.asked = str(self.into), self.asked
        result: Result = action.run(None, {"inventory_hostname": "gpu-1"})
        assert not self.partial or not result["complete"]
        return result

    @property
    def partial(self) -> list[Path]:
        """The files that have not arrived completely."""
        return list(self.dest.glob(".partial*"))

    def is_home(self, path: str = "out") -> bool:
        """Whether a folder here is equal to the one on the machine."""
        command = ["diff", "-r", "--no-dereference", str(self.work / path), str(self.files / path)]
        return subprocess.run(command, check=False).returncode == 0


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv(job.FOLDER_VARIABLE, str(tmp_path / "runs"))
    monkeypatch.setattr(_task.display, "display", lambda *_words: None)
    monkeypatch.setattr(run_results, "PAUSE", 0)
    monkeypatch.setattr(run_results, "PATIENCE", 0.2)
    site = Site(tmp_path)
    monkeypatch.setattr(C, "DEFAULT_LOCAL_TMP", str(site.local))
    return site


# Arrival


def test_all_comes_home_once(site: Site) -> None:
    for number, name in enumerate(ODD):
        site.write(f"out/{name}/{name}", name.encode(errors="surrogateescape") * number)
    site.write("out/program").chmod(0o4755)
    site.write("metrics.json")
    site.write("other")
    (site.work / "out" / "latest").symlink_to("program")
    os.mkfifo(site.work / "out" / "pipe")
    result = site.fetch("out", "*.json", "nix", "no/*")
    assert result == {
        **{"changed": True, "complete": True, "missing": ["nix", "no/*"], "incomplete": []},
        **{"files": len(ODD) + 3, "bytes": result["bytes"]},
        "fault": "",
        "msg": f"{len(ODD) + 3} files and the log are in {site.dest}; nothing is missing.",
    }
    os.unlink(site.work / "out" / "pipe")
    assert site.is_home()
    assert (site.dest / "log.txt").read_text() == "the log\n"
    assert sorted(os.listdir(site.dest)) == ["files", "log.txt"]
    assert sorted(os.listdir(site.files)) == ["metrics.json", "out"]
    program = os.stat(site.files / "out" / "program")
    assert (stat.S_IMODE(program.st_mode), program.st_mtime_ns) == (
        0o755,
        (site.work / "out/program").stat().st_mtime_ns,
    )
    site.connection.fetched.clear()
    assert site.fetch("out", "*.json", "nix", "no/*") == {**result, "changed": False}
    assert not site.connection.fetched


@pytest.mark.parametrize("pattern", ["/etc", "../x", "a/../../b", "", "**", "a/**/b"])
def test_no_path_leads_out_of_the_run(site: Site, pattern: str) -> None:
    result = site.fetch(pattern)
    assert result["failed"] and "must be a path or pattern below the run's folder" in result["msg"]
    assert not site.dest.exists()


def test_two_commands_bring_the_same_results_home_one_after_the_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would write the same files at the same time; a slow command would truncate what the other one wrote."""
    site.write("out/large", 200_000)
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
        found = [one.result() for one in [pool.submit(site.fetch, "out", part_size=20_000) for _number in range(2)]]
    assert [one["complete"] for one in found] == [True, True] and site.is_home()
    assert max(most) == 1 and sorted(one["changed"] for one in found) == [False, True]


def test_two_computers_bring_the_same_results_home_at_the_same_moment(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a sweep elsewhere does in the last hour of a run that is followed here; each has its own folder of the task.

    Each asks for something whenever the other one has an answer, and has not fetched it yet.
    """
    site.write("out/large", 100_000)
    turns, others = threading.Barrier(2), Site.__new__(Site)
    others.__dict__.update(vars(site), dest=tmp_path / "elsewhere", files=tmp_path / "elsewhere" / "files")
    others.into = tmp_path / "tmp of the other"
    others.into.mkdir()
    ask = Action._execute_module

    def in_turns(action: Action, *given: Any, **more: Any) -> Result:
        answer = ask(action, *given, **more)
        turns.wait(HANGS)
        return answer

    def fault(computer: Site) -> str:
        try:
            return str(computer.fetch("out", part_size=20_000)["fault"])
        finally:
            turns.abort()  # both ask as often as the other one

    monkeypatch.setattr(Action, "_execute_module", in_turns)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fault, (site, others))) == ["", ""]
    assert site.is_home() and others.is_home()


def test_thousands_of_small_files_come_in_a_few_parts(site: Site) -> None:
    """With the log these are one more than a part may have."""
    for number in range(_results_home.MOST_FILES):
        site.write(f"out/{number % 100}/{number}", b"%d" % number)
    result = site.fetch("out")
    assert (result["complete"], result["files"]) == (True, 5000)
    assert len(site.connection.fetched) == 2
    assert (site.files / "out/99/4999").read_bytes() == b"4999"
    assert not site.fetch("out")["changed"]


def test_a_large_file_comes_by_ranges(site: Site) -> None:
    file = site.write("out/model.bin", 3 * MB)
    os.truncate(file, 200 * MB)
    site.write("out/small")
    assert site.fetch("out")["complete"]
    assert len(site.connection.fetched) == 4
    assert max(site.connection.fetched) < 5 * MB
    assert site.is_home()


def test_parts_are_no_larger_than_asked(site: Site) -> None:
    for number, size in enumerate((700, 5000, 300, 0, 1000, 1001, 10)):
        site.write(f"out/{number}", size)
    assert site.fetch("out", part_size=1000)["complete"]
    sizes = [sum(length for _number, _offset, length in step["wanted"]) for step in site.asked if "wanted" in step]
    assert max(sizes) == 1000 and sum(sizes) == 8011 + len("the log\n")
    assert site.is_home()


def test_a_named_link_is_followed(site: Site, tmp_path: Path) -> None:
    (tmp_path / "large disk" / "deep").mkdir(parents=True)
    (tmp_path / "large disk" / "deep" / "model").write_text("large")
    (site.work / "out").symlink_to(tmp_path / "large disk")
    (site.work / "self").symlink_to(".")
    result = site.fetch("out", "self/*.nix")
    assert result["complete"]
    assert (site.files / "out" / "deep" / "model").read_text() == "large"


@pytest.mark.parametrize("paths", [["out", "out/*"], ["out/latest", "out"], ["out", "out/*/new/"]])
def test_what_one_pattern_follows_and_another_keeps_as_a_link_comes_home_more_than_once(
    site: Site, paths: list[str]
) -> None:
    """As when the first transfer was cut: its machine would have been billed until its lease ends."""
    site.write("out/run-3/new/model")
    (site.work / "out" / "latest").symlink_to("run-3")
    for is_first in (True, False):
        result = site.fetch(*paths)
        assert result["complete"] and result["changed"] is is_first, result["incomplete"]
        assert (site.files / "out" / "latest" / "new" / "model").read_text() == "content"


@pytest.mark.parametrize("paths", [["."], ["*"], ["out"], ["out/*"]])
def test_links_that_form_circles_end_the_search(site: Site, tmp_path: Path, paths: list[str]) -> None:
    """Two links double the number of paths at each level; the machine was billed until its lease ended."""
    site.write("out/a/model")
    for link, target in (("b", "."), ("c", str(site.work)), ("a/up", ".."), ("a/here", "../a")):
        (site.work / "out" / link).symlink_to(target)
    os.makedirs(tmp_path / "large disk")
    (tmp_path / "large disk" / "model").write_text("large")
    (site.work / "out" / "disk").symlink_to(tmp_path / "large disk")
    result = site.fetch(*paths)
    assert result["complete"], result["incomplete"]
    assert (site.files / "out/a/model").read_text() == "content"
    assert (site.files / "out/disk/model").read_text() == "large", "a link is followed as before"


@pytest.mark.parametrize("target", ["a", "deep/x", "./a", "../out/a", "nix", ".."])
def test_a_link_stays_if_it_leads_to_what_is_fetched(site: Site, target: str) -> None:
    site.write("top/out/a")
    (site.work / "top/out/link").symlink_to(target)
    assert site.fetch("top")["complete"] and os.path.islink(site.files / "top/out/link")


@pytest.mark.parametrize("target", ["/no/such/disk", "../../nix", "/dev/null"])
def test_a_link_that_leads_out_to_no_file_keeps_no_machine(site: Site, target: str) -> None:
    site.write("top/out/a")
    (site.work / "top/out/link").symlink_to(target)
    assert site.fetch("top")["complete"] and os.listdir(site.files / "top/out") == ["a"]


def test_the_links_of_what_a_link_leads_to_stay_links(site: Site, tmp_path: Path) -> None:
    """A cache of models has such links. Each followed link doubled the paths, and a list of /sys never ended."""
    names = [f"{number}" for number in range(20)]
    for name in names:
        (tmp_path / "disk" / name).mkdir(parents=True)
        (tmp_path / "disk" / name / "model").write_text(name)
        for other in names:
            (tmp_path / "disk" / name / f"to {other}").symlink_to(f"../{other}")
    site.write("out/a")
    (site.work / "out" / "cache").symlink_to(tmp_path / "disk")
    result = site.fetch("out")
    assert (result["complete"], result["files"]) == (True, 1 + 20 + 400), result["incomplete"]
    assert (site.files / "out/cache/7/to 9/model").read_text() == "9"


def test_a_link_to_the_whole_system_is_said_and_not_searched_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MOST", 1000)
    site.write("out/a")
    (site.work / "out" / "root").symlink_to("/")
    assert "out leads to more than 1000 files" in site.fetch("out")["fault"]


@pytest.mark.parametrize("target", ["{work}/top/out/a", "../../../../../disk/a", "../../else"])
def test_any_other_link_is_followed(site: Site, tmp_path: Path, target: str) -> None:
    for file in (site.work / "top/out/a", site.work / "else", tmp_path / "disk/a"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("content")
    (site.work / "top/out/link").symlink_to(target.format(work=site.work))
    assert site.fetch("top")["complete"]
    assert not os.path.islink(site.files / "top/out/link")
    assert (site.files / "top/out/link").read_text() == "content"


def test_a_named_link_to_nothing_is_not_lost(site: Site) -> None:
    (site.work / "out").symlink_to("/no/such/disk")
    result = site.fetch("out")
    assert not result["complete"] and result["incomplete"][0]["path"] == "out"


# Incomplete results


def test_of_a_run_that_goes_on_nothing_is_complete_and_the_log_grows(site: Site) -> None:
    site.over(False)
    site.write("out/a")
    result = site.fetch("out")
    assert (result["complete"], result["files"]) == (False, 1)
    assert result["incomplete"] == [{"path": "", "reason": "the run is not over"}]
    assert "but they are incomplete: the run is not over." in result["msg"]
    with open(site.run / "log.txt", "a") as log:
        log.write("more\n")
    site.over()
    assert site.fetch("out")["complete"]
    assert (site.dest / "log.txt").read_text() == "the log\nmore\n"


def test_the_log_of_another_start_takes_the_place_of_the_first(site: Site) -> None:
    site.fetch()
    (site.run / "log.txt").write_text("other log that is longer\n")
    assert site.fetch()["complete"]
    assert (site.dest / "log.txt").read_text() == "other log that is longer\n"


@pytest.mark.parametrize("change", ["grow", "shrink", "touch", "remove", "folder"])
def test_a_file_that_changes_while_it_is_fetched_is_not_complete(site: Site, change: str) -> None:
    site.write("out/a", 2500)
    file = site.write("out/b", 2500)
    site.write("out/c", 2500)
    transfers = iter(range(100))

    def act() -> None:
        if next(transfers) == 3:  # in the midst of b
            if change in ("remove", "folder"):
                file.unlink()
            if change == "folder":
                file.mkdir()
            if change == "touch":
                os.utime(file, (1, 1))
            if change in ("grow", "shrink"):
                os.truncate(file, {"grow": 4000, "shrink": 10}[change])

    site.connection.fails = act
    result = site.fetch("out", part_size=1000)
    assert (result["complete"], result["files"]) == (False, 2)
    assert [item["path"] for item in result["incomplete"]] == ["out/b"]
    assert not (site.files / "out/b").exists()
    site.connection.fails = lambda: None
    if change == "folder":
        file.rmdir()
        site.write("out/b")
    elif change == "remove":
        assert site.fetch("out")["complete"]
        return
    assert site.fetch("out", part_size=1000)["complete"]
    assert site.is_home()


def test_what_cannot_be_read_is_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write("out/a")
    site.write("out/secret")
    site.write("out/locked/b")
    listdir, opened = os.listdir, os.open

    def refuse(path: Any, *more: Any, **options: Any) -> Any:
        if str(path).endswith(("out/secret", "out/locked")):
            raise PermissionError(13, "Permission denied")
        return opened(path, *more, **options) if more else listdir(path)

    monkeypatch.setattr(results.os, "listdir", refuse)
    monkeypatch.setattr(results.os, "open", refuse)
    result = site.fetch("out")
    assert not result["complete"] and (site.files / "out/a").exists()
    assert sorted((item["path"], item["reason"]) for item in result["incomplete"]) == [
        *(("out/locked", "Permission denied"), ("out/secret", "Permission denied")),
    ]


def test_a_run_that_is_not_there_is_a_failure(site: Site) -> None:
    result = site.fetch("out", name="other")
    assert result["failed"] and "The machine has no run of this name" in result["msg"]
    assert not site.dest.exists()


# Failures


def cut_at(site: Site, *numbers: int) -> None:
    """Cut the connection for good at these transfers, counted from one."""
    transfers = iter(range(1, 1000))

    def act() -> None:
        site.is_cut = site.is_cut or next(transfers) in numbers
        if site.is_cut:
            raise AnsibleConnectionFailure("Connection reset by peer")

    site.connection.fails, site.is_cut = act, False
    site.asked.clear()


def test_a_connection_that_fails_is_tried_again_and_later_goes_on_in_the_midst_of_a_file(site: Site) -> None:
    site.write("out/a", 10_000)
    site.write("out/b", 10_000)
    cut_at(site, 6)
    result = site.fetch("out", part_size=3000)
    assert result["failed"] and not result["complete"] and not (site.files / "out/b").exists()
    assert "Connection reset by peer. What has arrived is kept; run the task again to go on." in result["msg"]
    cut_at(site)
    assert site.fetch("out", part_size=3000)["complete"]
    (first, offset, _length) = next(step["wanted"][0] for step in site.asked if "wanted" in step)
    assert first["path"] == "files/out/b" and offset == 15_000 - 10_000 - len("the log\n")
    assert site.is_home()


def test_a_file_that_is_cut_again_and_again_comes_once(site: Site) -> None:
    """A file may take longer than a sweep may: each sweep resumes where the last one was cut, and one completes it."""
    site.write("out/large", 50_000)
    for _number in range(20):
        cut_at(site, 3)
        if site.fetch("out", part_size=4000)["complete"]:
            break
        assert len(site.partial) == 1 and not site.files.exists()
        assert stat.S_IMODE(site.partial[0].stat().st_mode) == 0o600, "the file may be a secret of its owner's"
    assert site.is_home() and sum(site.connection.fetched) < 60_000 and not site.partial


@pytest.mark.parametrize("change", ["same size", "removed", "renamed"])
def test_what_has_come_of_a_file_is_no_part_of_another(site: Site, change: str) -> None:
    file = site.write("out/a", 10_000)
    cut_at(site, 3)
    site.fetch("out", part_size=3000)
    assert site.partial
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    if change == "renamed":  # and another one has its size and time
        os.utime(site.write("out/0", b"0" * 10_000), ns=times)
    if change == "removed":
        site.write("out/b")
        file.unlink()
    if change == "same size":
        file.write_bytes(b"1" * 10_000)
        os.utime(file, ns=(0, times[1] + 1))
    cut_at(site)
    assert site.fetch("out", part_size=3000)["complete"] and site.is_home()


def test_what_could_not_be_read_for_a_moment_is_not_filled_with_zeros(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file itself is unchanged, so the next transfer resumes with the part that it has."""
    site.write("out/a", 10_000)
    site.write("out/b")
    copy, copies = results._copy, iter(range(100))

    def fail(folder: str, entry: Result, offset: int, length: int, stream: gzip.GzipFile) -> str:
        if next(copies) != 2:
            return copy(folder, entry, offset, length, stream)
        stream.write(bytes(length))
        return "Input/output error"

    monkeypatch.setattr(results, "_copy", fail)
    cut_at(site, 3)
    result = site.fetch("out", part_size=3000)
    assert result["incomplete"] == [{"path": "out/a", "reason": "Input/output error"}]
    cut_at(site)
    assert site.fetch("out", part_size=3000)["complete"] and site.is_home()


@pytest.mark.parametrize("cut_again_at", [0, 1, 2, 4])
@pytest.mark.parametrize("is_of_1970", [False, True])
def test_after_a_power_cut_of_the_controller_files_are_fetched_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_again_at: int, is_of_1970: bool
) -> None:
    """Sizes and times may be on the disk without the content: of the file that is growing, and of complete ones."""
    boot = tmp_path / "boot_id"
    boot.write_text("1")
    monkeypatch.setattr(_results_home, "BOOT_ID", str(boot))
    small, _large = site.write("out/a", 1000), site.write("out/b", 10_000)
    if is_of_1970:
        os.utime(small, ns=(0, 0))
    cut_at(site, 4)
    assert not site.fetch("out", part_size=3000)["complete"]
    (growing,) = site.partial
    for file in (site.files / "out/a", growing):
        file.write_bytes(bytes(file.stat().st_size))
    os.utime(site.files / "out/a", ns=(0, small.stat().st_mtime_ns))
    (note := site.files / "note").write_text("a person's own")
    noted_at = note.stat().st_mtime_ns
    boot.write_text("2")
    if cut_again_at:
        cut_at(site, cut_again_at)
        assert not site.fetch("out", part_size=3000)["complete"]
    cut_at(site)
    assert site.fetch("out", part_size=3000)["complete"] and site.is_home()
    assert note.stat().st_mtime_ns == noted_at
    boot.write_text("3")  # a transfer that had come to its end is on the disk
    assert not site.fetch("out", part_size=3000)["changed"]


def test_nobody_waits_for_a_machine_once_the_play_was_killed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write("out/a")
    parents = iter([1, 1])
    monkeypatch.setattr(run_results.os, "getppid", lambda: next(parents, 2))
    monkeypatch.setattr(run_results, "PATIENCE", 3600)

    def act() -> None:
        raise AnsibleConnectionFailure("Connection timed out")

    site.connection.fails = act
    assert "ansible-playbook has ended" in site.fetch("out")["fault"]


def test_a_damaged_part_is_fetched_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write("out/a", 5000)
    fetch, transfers = site.connection.fetch_file, iter(range(100))

    def damage(source: str, target: str) -> None:
        fetch(source, target)
        if next(transfers) in (0, 1):
            os.truncate(target, os.path.getsize(target) - 1)

    monkeypatch.setattr(site.connection, "fetch_file", damage)
    assert site.fetch("out")["complete"]
    assert site.is_home() and len(site.connection.fetched) == 3


def test_a_kill_before_any_line_leaves_only_complete_files_and_the_next_run_goes_on(site: Site) -> None:
    contents = {
        f"out/{name}": site.write(f"out/{name}", size).read_bytes() for name, size in [("a", 2500), ("b/c", 900)]
    }
    (site.work / "out/link").symlink_to("a")
    modules = [run_results, _results_home, results]
    for number in kills(modules, lambda: site.fetch("out", part_size=1000)):
        for path, content in contents.items():
            file = site.files / path
            assert not file.exists() or file.read_bytes() == content, number
        # Each third time from the beginning, else from where the last one was killed.
        if number % 3 == 0:
            assert site.fetch("out", part_size=1000)["complete"], number
            assert site.is_home() and (site.dest / "log.txt").read_text() == "the log\n"
            shutil.rmtree(site.dest)
    assert site.is_home()
    assert any(site.local.iterdir()), "what a killed worker leaves is where Ansible's main process removes it"


@pytest.fixture
def small(site: Site) -> Iterator[Callable[[Path, str], None]]:
    """``small(folder, size)`` puts a disk of this size into a folder."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "small", str(folder)], check=False).returncode:
            pytest.skip("this computer lets no test mount")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_machine_without_room_for_a_part_is_said(site: Site, small: Callable[[Path, str], None]) -> None:
    site.write("out/a", MB)
    small(site.into, "100k")
    result = site.fetch("out")
    assert result["failed"] and "No space left on device" in result["msg"]


def test_no_room_at_home_is_said_before_anything_is_fetched(site: Site, small: Callable[[Path, str], None]) -> None:
    site.write("out/a", MB)
    small(site.dest, "500k")
    result = site.fetch("out")
    assert result["failed"] and "The results need 1 MB more" in result["msg"]
    assert len(site.asked) == 1


def test_a_disk_at_home_that_fills_up_keeps_what_has_arrived(
    site: Site, small: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write("out/a", 300_000)
    site.write("out/b", 900_000)
    small(site.dest, "800k")
    monkeypatch.setattr(run_results, "_check_room", lambda *_all: None)
    result = site.fetch("out", part_size=400_000)
    assert result["failed"] and "No space left on device" in result["msg"]
    assert (site.files / "out/a").stat().st_size == 300_000
    subprocess.run(["mount", "-o", "remount,size=4m", str(site.dest)], check=True)
    assert site.fetch("out", part_size=400_000)["complete"]
    assert site.is_home()


# Untrusted input


def home(site: Site, *entries: dict[str, Any]) -> _results_home.Home:
    usual = {"size": 3, "mode": 0o644, "mtime_ns": 0}
    listing = {"entries": [{**usual, **entry} for entry in entries], "missing": [], "incomplete": [], "over": True}
    site.dest.mkdir(parents=True, exist_ok=True)
    return _results_home.Home(str(site.dest), listing)


def receive(site: Site, here: _results_home.Home, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "part", "wb") as file:
        file.write(b"newnew")
    here.receive(str(tmp_path / "part"), here.next_part(100), {})


@pytest.mark.parametrize(
    "path", ["/etc/x", "../x", "a", "files", "files/", "run.json", *(f"files/{name}" for name in BAD)]
)
@pytest.mark.parametrize("more", [{}, {"target": "a", "size": 0}])
def test_no_name_of_a_machine_leads_out(site: Site, tmp_path: Path, path: str, more: dict[str, Any]) -> None:
    here = home(site, {"path": path, **more})
    receive(site, here, tmp_path)
    assert not here.complete
    assert [item["reason"] for item in here.incomplete] == ["its name leads out of the results"]
    assert not (site.dest.parent / "x").exists() and set(os.listdir(site.dest)) == {
        ".unsynced",
        *(file.name for file in site.partial),
    }


@pytest.mark.parametrize("target", ["/no/disk", "../x", "../..", "a/../..", "deep/../a"])
def test_no_link_leads_out(site: Site, tmp_path: Path, target: str) -> None:
    here = home(site, {"path": "files/a", "target": target, "size": 0})
    receive(site, here, tmp_path)
    assert [item["reason"] for item in here.incomplete] == ["it is a link that leads out of the results"]


def test_no_file_is_written_through_a_link(site: Site, tmp_path: Path) -> None:
    """Neither through a link of the list, nor through one that existed before."""
    (site.files / "a").mkdir(parents=True)
    (site.files / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "victim").write_text("old")
    link = {"path": "files/b", "target": "a", "size": 0}
    receive(site, home(site, {"path": "files/a/up/victim"}, link, {"path": "files/b/victim"}), tmp_path)
    assert (tmp_path / "victim").read_text() == "old"
    assert (site.files / "a/up/victim").read_text() == "new" and not (site.files / "a/up").is_symlink()
    assert (site.files / "b/victim").read_text() == "new" and not (site.files / "b").is_symlink()


def test_no_file_is_written_through_a_link_that_has_no_place(site: Site, tmp_path: Path) -> None:
    """In the folder where files grow, a link leads elsewhere than in its own."""
    (site.files / "a" / "b" / "c").mkdir(parents=True)
    victim = site.dest.parent.parent / "victim"
    victim.write_text("old")
    link = {"path": "files/a/b/c", "target": "../../victim", "size": 0}
    here = home(site, link, {"path": "files/x"})
    receive(site, here, tmp_path)
    assert victim.read_text() == "old" and (site.files / "x").read_text() == "new"
    assert [item["path"] for item in here.incomplete] == ["a/b/c"]


@pytest.mark.parametrize("place", ["/p\n!touch x\n", "/p' y"])
def test_a_job_that_forges_answers_names_no_file_to_sftp(
    site: Site, monkeypatch: pytest.MonkeyPatch, place: Any
) -> None:
    """sftp reads its commands line by line, and has rules of its own for quotes: it would run one on this computer."""
    site.write("out/a")
    step, fetch, sources = results.step, site.connection.fetch_file, set[str]()
    monkeypatch.setattr(results, "step", lambda *given: {**step(*given), "path": place})
    monkeypatch.setattr(site.connection, "fetch_file", lambda *given: (sources.add(given[0]), fetch(*given)))
    assert site.fetch("out")["complete"] and sources == {str(site.into / results.PART)}


def test_what_was_removed_at_home_is_fetched_again(site: Site) -> None:
    site.write("out/a")
    site.write("out/b")
    site.fetch("out")
    (site.files / "out/a").unlink()
    (site.files / "out/b").write_bytes(b"")
    assert site.fetch("out")["changed"] and site.is_home()


def test_a_file_takes_the_place_of_a_folder_or_is_incomplete(site: Site) -> None:
    site.write("out/a/b")
    site.fetch("out")
    shutil.rmtree(site.work / "out/a")
    site.write("out/a")
    result = site.fetch("out")
    assert [item["path"] for item in result["incomplete"]] == ["out/a"]
    assert (site.files / "out/a/b").exists()


def test_a_part_for_another_user_is_a_copy_of_that_user(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With become: the connected user cannot read root's folder."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(site.into, 12345, 12345)
    site.write("out/a", 5000)
    places: list[tuple[str, int]] = []
    site.connection.fails = lambda: places.extend((file.name, file.stat().st_uid) for file in site.into.iterdir())
    assert site.fetch("out")["complete"] and site.is_home()
    assert places == [("part.gz", 12345)]


def test_a_folder_that_was_removed_while_one_waited_for_it_is_made_and_locked_again(tmp_path: Path) -> None:
    """A command that ends without a result removes the folder. Two commands that come then must not both write."""
    dest, waited = str(tmp_path / "run"), list[str]()
    with contextlib.ExitStack() as first:
        first.enter_context(_results_home.alone(dest, lambda: pytest.fail("nobody else is there")))

        def wait() -> None:
            waited.append("once")
            first.close()

        with _results_home.alone(dest, wait):
            assert waited and os.path.isdir(dest)
            with pytest.raises(InterruptedError), _results_home.alone(dest, interrupt):
                pytest.fail("it is taken")
    assert not os.path.exists(dest)


def interrupt() -> None:
    raise InterruptedError
