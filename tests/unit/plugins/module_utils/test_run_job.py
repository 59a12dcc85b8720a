# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs of runs: real processes that start once, whatever is killed, and whose ends are never taken for success."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import resource
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine import (
    code_files,
    job,
    job_state,
    job_watcher,
)
from ansible_collections.compute_index.supply.plugins.module_utils._machine.job_state import Notes

from kills import ends_before, kills
from limits import until

SECRET = "kept-between-us-4711"
OVER = job_state.OVER
Report = dict[str, Any]


class Runs:
    """A machine's folder of runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "train"
        self.work = self.run / "work"

    def start(self, command: str, digest: str = "1", check_mode: bool = False, **options: Any) -> Report:
        """What the module run_job does."""
        params = {
            "name": "train",
            "command": command,
            "digest": digest,
            "setup": "",
            "time": 0,
            "results": [],
            "again": False,
        }
        env = options.pop("env", {})
        return job.start_once({**params, **options}, env, check_mode)

    def info(self, lines: int = 20) -> Report:
        """What the module run_info returns."""
        return job.report("train", lines)

    def wait(self, *states: str) -> Report:
        """The report once the run has one of these states, or is over."""
        return until(lambda: report if (report := self.info())["state"] in (states or OVER) else {})

    def ended(self, command: str, **options: Any) -> Report:
        """Start a command; the report when it is over."""
        self.start(command, **options)
        return self.wait()

    def noted(self, name: str) -> dict[str, Any]:
        """A file of the run's state, once there is one."""
        return until(lambda: job_watcher.read(str(self.run / "state" / name))) or {}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """A machine without systemd, on which nobody waits for long."""
    source = inspect.getsource(job_watcher)
    quick = source.replace("GRACE = 30.0", "GRACE = 1.0").replace("_PAUSE = 0.2", "_PAUSE = 0.02")
    assert quick.count("1.0") > source.count("1.0")
    monkeypatch.setattr(job.inspect, "getsource", lambda _module: quick)
    monkeypatch.setattr(job, "_SYSTEMD", str(tmp_path / "no-systemd"))
    monkeypatch.setenv(job.PLACE, str(tmp_path / "runs"))
    yield Runs(tmp_path / "runs")
    for file in (tmp_path / "runs").glob("*/state/p*"):
        noted = job_watcher.read(str(file)) or {}
        if job_watcher.is_running(noted):
            for pid in [*job_watcher.descendants(noted["pid"]), noted["pid"]]:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


# Ends


@pytest.mark.parametrize(
    ("command", "state", "code", "number", "words"),
    [
        ("true", "succeeded", 0, None, "The job succeeded (exit code 0)."),
        ("exit 3", "failed", 3, None, "The job failed (exit code 3)."),
        ("kill -9 $$", "failed", None, 9, "The job failed (SIGKILL, perhaps because memory ran out)."),
        ("kill -TERM $$; sleep 600", "failed", None, 15, "The job failed (SIGTERM)."),
        ("/no/such/program", "failed", 127, None, "The job failed (exit code 127)."),
        ("exit 256", "succeeded", 0, None, "The job succeeded (exit code 0)."),
        ("(", "failed", 2, None, "The job failed (exit code"),
    ],
)
def test_how_a_command_ends(runs: Runs, command: str, state: str, code: int, number: int, words: str) -> None:
    report = runs.ended(command)
    assert (report["state"], report["signal"]) == (state, number)
    assert report["exit_code"] == code or command == "("
    assert words in report["msg"]
    assert report["began_at"] <= report["ended_at"]


def test_output_code_and_folder_are_those_of_the_run(runs: Runs) -> None:
    report = runs.ended("pwd; echo error >&2; [ -t 0 ] || cat; echo $HOME; touch made", env={"A": "b"})
    assert report["log"] == [os.path.realpath(runs.work), "error", os.environ["HOME"]]
    assert (runs.work / "made").exists()
    assert stat.S_IMODE(os.stat(runs.run).st_mode) == 0o700


def test_what_it_leaves_running_is_ended_and_said(runs: Runs) -> None:
    """A double fork, and a session of its own: as of programs that want to stay."""
    stay = "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0: time.sleep(600)"
    report = runs.ended(f"{shlex.quote(sys.executable)} -c {shlex.quote(stay)}; (trap '' TERM; sleep 599) & sleep 0.2")
    assert (report["state"], report["reason"], report["exit_code"]) == ("succeeded", "left", 0)
    assert "python" in report["msg"] and "sleep" in report["msg"]
    watcher = runs.noted("pid")
    until(lambda: not job_watcher.is_running(watcher))
    assert subprocess.run(["pgrep", "-f", "^sleep 599$"], stdout=subprocess.DEVNULL, check=False).returncode == 1


@pytest.mark.parametrize(
    "command", ["sleep 600", "trap '' TERM; while :; do sleep 0.1; done", "trap 'exit 0' TERM; sleep 600 & wait"]
)
def test_its_time_is_over(runs: Runs, command: str) -> None:
    report = runs.ended(command, time=0.3)
    assert (report["state"], report["reason"]) == ("interrupted", "time")
    assert report["msg"] == "The job was interrupted (its time was up)."
    until(lambda: not job_watcher.is_running(runs.noted("phase.json")))


def test_the_time_counts_for_the_setup_too(runs: Runs) -> None:
    report = runs.ended("touch ran", setup="sleep 600", time=0.3)
    assert (report["state"], report["reason"]) == ("interrupted", "time")
    assert not (runs.work / "ran").exists()


# Setup


def test_a_setup_that_succeeded_is_remembered_until_it_or_the_code_changes(runs: Runs, tmp_path: Path) -> None:
    count = tmp_path / "count"
    setup = f"echo setup >> {count}"
    runs.ended("true", setup=setup)
    runs.ended("true", setup=setup, digest="2")
    assert count.read_text().count("setup") == 1
    runs.ended("true", setup=f"{setup} ", digest="3")
    assert count.read_text().count("setup") == 2
    with job.held(str(runs.run)):
        (runs.run / "new").mkdir()
        code_files.place_code(str(runs.run / "new"), "another", str(runs.run))
    runs.ended("true", setup=f"{setup} ", digest="4")
    assert count.read_text().count("setup") == 3


def test_a_setup_that_fails_is_not_remembered_and_nothing_runs(runs: Runs) -> None:
    report = runs.ended("touch ran", setup="echo no >&2; exit 4")
    assert (report["state"], report["reason"], report["exit_code"]) == ("failed", "setup", 4)
    assert report["msg"] == "The job failed (exit code 4, its setup failed)."
    assert report["log"] == ["no"]
    assert not (runs.work / "ran").exists()
    assert runs.ended("touch ran", setup="echo no >&2; exit 4", again=True)["reason"] == "setup"


def test_a_setup_runs_first_and_may_leave_a_service_behind(runs: Runs) -> None:
    runs.start("touch ran; sleep 0.1", setup="while [ ! -e go ]; do sleep 0.02; done; sleep 600 & echo $! > service")
    assert runs.wait("setting_up")["msg"] == "The job is being set up."
    (runs.work / "go").touch()
    report = runs.wait()
    assert (report["state"], report["reason"]) == ("succeeded", "")
    service = int((runs.work / "service").read_text())
    os.kill(service, signal.SIGKILL)


# Once


def test_the_same_job_starts_once(runs: Runs) -> None:
    command = "echo ran >> ran; while [ ! -e go ]; do sleep 0.02; done"
    assert runs.start(command, check_mode=True) == {
        **{"changed": True, "how": "", "state": "none", "notices": []},
        "msg": "The job has not begun (there is no such run on the machine).",
    }
    first = runs.start(command)
    assert (first["changed"], first["how"], first["state"]) == (True, "fork", "running")
    for again in (False, True):
        assert runs.start(command, again=again)["changed"] is False
    with pytest.raises(ValueError, match="still runs under this name"):
        runs.start("other", digest="2")
    runs.noted("phase.json")
    (runs.work / "go").touch()
    runs.wait()
    assert runs.start(command)["changed"] is False
    assert (runs.work / "ran").read_text() == "ran\n"
    assert runs.start(command, again=True)["changed"] is True
    runs.wait()
    assert (runs.work / "ran").read_text() == "ran\nran\n"


def fork_watcher(words: list[str]) -> bool:
    """What `job._launch` does, without a new Python, which takes long to start."""
    if os.fork() == 0:
        os.setsid()
        with contextlib.suppress(BaseException):
            sys.settrace(None)
            job_watcher.watch(*words[-2:])
        os._exit(0)
    return True


def test_a_start_that_is_killed_anywhere_and_repeated_starts_it_once(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round has a job of its own, so that each is the first start, or one in place of another."""
    monkeypatch.setattr(job, "_launch", fork_watcher)
    monkeypatch.setattr(job_watcher, "_PAUSE", 0.01)
    counts = [tmp_path / "count"]

    def start() -> None:
        runs.start(f"echo $A >> {counts[-1]}", digest=str(counts[-1]), env={"A": "a"})

    for number in kills([job], start):
        start()
        assert runs.wait()["state"] == "succeeded", number
        assert counts[-1].read_text() == "a\n"
        assert not (runs.run / "state" / "env").exists()
        counts.append(tmp_path / f"count-{number}")


def test_a_job_that_ends_while_it_is_looked_at_is_not_lost(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.start("while [ ! -e go ]; do sleep 0.02; done")
    runs.noted("phase.json")
    lives = job_watcher.is_running

    def end_first(identity: Any) -> bool:
        (runs.work / "go").touch()
        until(lambda: not lives(runs.noted("pid")))
        return lives(identity)

    monkeypatch.setattr(job_watcher, "is_running", end_first)
    assert runs.info()["state"] == "succeeded"


def test_of_many_watchers_one_runs_the_command(runs: Runs) -> None:
    """As if systemd-run had failed and started it all the same."""
    runs.start("echo ran >> ran; sleep 0.2")
    assert [
        job._launch([sys.executable, "-I", str(runs.run / "watch.py"), str(runs.run), "fork"]) for _number in range(3)
    ]
    runs.wait()
    assert (runs.work / "ran").read_text() == "ran\n"


def test_a_watcher_that_never_begins_is_a_failure_and_leaves_no_secret(runs: Runs, monkeypatch: Any) -> None:
    monkeypatch.setattr(job.inspect, "getsource", lambda _module: "raise SystemExit(1)")
    monkeypatch.setattr(job, "_STARTS_IN", 0.2)
    with pytest.raises(ValueError, match="could not be started"):
        runs.start("true", env={"TOKEN": SECRET})
    assert runs.info()["reason"] == "not_started" or runs.info()["state"] != "succeeded"
    assert not holders(runs.folder)


# What is killed


def test_a_command_that_is_killed_has_failed(runs: Runs) -> None:
    runs.start("sleep 600")
    os.kill(runs.noted("phase.json")["pid"], signal.SIGKILL)
    report = runs.wait()
    assert (report["state"], report["signal"], report["exit_code"]) == ("failed", signal.SIGKILL, None)


def test_a_watcher_that_is_killed_leaves_a_run_that_never_succeeds(runs: Runs) -> None:
    runs.start("while [ ! -e go ]; do sleep 0.02; done; touch ran")
    runs.noted("phase.json")
    watcher = runs.noted("pid")
    os.kill(watcher["pid"], signal.SIGKILL)
    until(lambda: not job_watcher.is_running(watcher))
    report = runs.info()
    assert (report["state"], report["reason"]) == ("running", "unwatched")
    with pytest.raises(ValueError, match="still runs"):
        runs.start("other", digest="2")
    (runs.work / "go").touch()
    report = runs.wait()
    assert (runs.work / "ran").exists()
    assert (report["state"], report["reason"], report["exit_code"]) == ("interrupted", "gone", None)
    assert runs.start("while [ ! -e go ]; do sleep 0.02; done; touch ran")["changed"] is False


def test_a_watcher_that_is_killed_before_any_line_runs_the_command_at_most_once(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no run succeeds without its exit code on record: what was killed is over, or was never begun."""
    lines = iter(range(1, 10_000))
    killed: list[bool] = []

    def launch(words: list[str]) -> bool:
        killed.append(ends_before(next(lines), [job_watcher], lambda: job_watcher.watch(*words[-2:])))
        return True

    monkeypatch.setattr(job, "_launch", launch)
    monkeypatch.setattr(job, "_STARTS_IN", 0.0)
    monkeypatch.setattr(job_state, "SOON", 0.0)
    monkeypatch.setattr(job_watcher, "_PAUSE", 0.01)
    while not killed or killed[-1]:
        place = runs.folder / f"ran-{len(killed)}"
        begins = contextlib.suppress(ValueError)  # of a watcher that had not begun
        with begins:
            runs.start(f"echo ran >> {place}", digest=str(place))
        report = until(lambda: now if (now := runs.info())["state"] not in job_state.RUNS else {})
        ran = place.read_text() if place.exists() else ""
        assert ran in ("", "ran\n")
        assert (report["state"] == "succeeded") <= (report["exit_code"] == 0 and ran == "ran\n")
        if report["state"] in OVER:
            assert runs.start(f"echo ran >> {place}", digest=str(place))["changed"] is False
    assert len(killed) > 50 and report["state"] == "succeeded"


def test_another_process_with_its_number_is_not_the_job(runs: Runs) -> None:
    me = job_watcher.process(os.getpid())
    assert job_watcher.is_running(me)
    assert not job_watcher.is_running({**me, "start": str(int(me["start"]) - 1)})
    assert not job_watcher.is_running({**me, "boot": "another"})
    child = os.fork()
    if not child:
        os._exit(0)
    identity = job_watcher.process(child)
    until(lambda: (job_watcher._stat(child) or ("", [""]))[1][0] == "Z")
    assert not job_watcher.is_running(identity)
    os.waitpid(child, 0)


def test_a_restart_of_the_machine_interrupts_it(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.start("sleep 600")
    runs.noted("phase.json")
    monkeypatch.setattr(job_watcher, "boot", lambda: "another")
    report = runs.info()
    monkeypatch.undo()
    assert (report["state"], report["reason"]) == ("interrupted", "rebooted")
    os.kill(job_watcher.read(str(runs.run / "state" / "phase.json"))["pid"], signal.SIGKILL)  # type: ignore[index]


# The disk


@pytest.fixture
def small(runs: Runs) -> Iterator[Runs]:
    """The same on a disk of 8 MB."""
    runs.folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "runs", str(runs.folder)], check=False).returncode:
        pytest.skip("this computer lets no test mount")
    yield runs
    subprocess.run(["umount", "-l", str(runs.folder)], check=True)


def test_a_full_disk_is_said_and_the_end_is_noted(small: Runs) -> None:
    report = small.ended("cat /dev/zero > big")
    assert (report["state"], report["reason"], report["exit_code"]) == ("failed", "disk", 1)
    assert report["msg"] == "The job failed (exit code 1, the disk is full, so its results may be incomplete)."
    assert report["disk_free_bytes"] > 300_000, "room is kept for what reads the results"


def test_a_success_on_a_full_disk_is_doubted(small: Runs) -> None:
    report = small.ended("cat /dev/zero > big 2> /dev/null; true")
    assert (report["state"], report["reason"], report["exit_code"]) == ("succeeded", "disk", 0)


# The log


def test_a_huge_log_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with open(path, "wb") as file:
        file.truncate(2**30)
        file.seek(2**30 - 12)
        file.write(b"\nlast\nlines\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    child = os.fork()
    if not child:  # with less memory than the log has
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, hard))
        os._exit(0 if job.tail(str(path), 2) == (["last", "lines"], [5, 6], 2**30) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert resource.getrlimit(resource.RLIMIT_AS) == (soft, hard)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"one", ["one"]),
        (b"one\ntwo\n\n", ["one", "two", ""]),
        (b"10 %\r50 %\r100 %\r\ndone", ["100 %", "done"]),
        (b"\x1b[31mred\x1b[0m\x1b]0;title\x07 \x07bell", ["red \ufffdbell"]),
        (b"caf\xe9\n", ["caf\ufffd"]),
        ("\u202eevil\u2066".encode(), ["\ufffdevil\ufffd"]),
        (b"x" * 300_000, ["x" * 1000 + "..."]),
    ],
)
def test_lines_of_a_log_harm_no_terminal(tmp_path: Path, text: bytes, lines: list[str]) -> None:
    (tmp_path / "log.txt").write_bytes(text)
    shown, line_bytes, size = job.tail(str(tmp_path / "log.txt"), 20)
    assert (shown, size) == (lines, len(text)) and len(line_bytes) == len(lines)
    assert sum(line_bytes) - min(job._MOST_LOG, size) == (0 if text.endswith(b"\n") or not text else 1)
    assert job.tail(str(tmp_path / "log.txt"), 0) == ([], [], len(text))
    assert job.tail(str(tmp_path / "log.txt"), 1)[0] == lines[-1:]


# Secrets


def holders(folder: Path) -> list[Path]:
    """The files that have the secret in them."""
    return [file for file in folder.rglob("*") if file.is_file() and SECRET in file.read_text(errors="replace")]


def test_variables_are_in_one_private_file_until_it_begins(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    launch, places = job._launch, list[tuple[str, int]]()

    def look(words: Any) -> bool:
        assert SECRET not in " ".join(words)
        places.extend((file.name, stat.S_IMODE(file.stat().st_mode)) for file in holders(runs.folder))
        return launch(words)

    monkeypatch.setattr(job, "_launch", look)
    done = runs.start("test $TOKEN = $OTHER && [ $NUMBER$YES = 1True ] && sleep 0.3", env=variables())
    assert places == [("env", 0o600)]
    assert not holders(runs.folder)
    table = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert SECRET not in table and SECRET not in json.dumps(done)
    report = runs.wait()
    assert report["state"] == "succeeded", report
    assert not holders(runs.folder) and SECRET not in json.dumps(report)


def variables() -> dict[str, Any]:
    return {"TOKEN": SECRET, "OTHER": SECRET, "NUMBER": 1, "YES": True}


@pytest.mark.parametrize("env", [{"": SECRET}, {"A=B": SECRET}, {"A": [SECRET]}, {"A": None}, {"A": f"{SECRET}\0"}])
def test_what_can_be_no_variable_is_refused_without_its_value(runs: Runs, env: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a name and a text or number") as caught:
        runs.start("true", env=env)
    assert SECRET not in str(caught.value)
    assert not runs.folder.exists()


def test_variables_of_the_connection_stay_there(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSH_CONNECTION", "SUDO_USER", "XDG_SESSION_ID", "ANSIBLE_X", "KEPT"):
        monkeypatch.setenv(name, "x")
    runs.ended("env | cut -d= -f1 | sort")
    names = runs.info(1000)["log"]
    assert {"HOME", "USER", "LOGNAME", "PATH", "KEPT", "PYTHONUNBUFFERED"} <= set(names)
    assert not [name for name in names if name.startswith(("SSH_", "SUDO_", "XDG_", "ANSIBLE_"))]


# Names, systemd


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", ".a", "a b", "a\n", "x" * 64, "ä"])
def test_a_name_is_that_of_a_folder_and_a_unit(runs: Runs, name: str) -> None:
    for act in (
        lambda: job.report(name, 1),
        lambda: runs.start("true", name=name),
        lambda: job.take_code(name, {"digest": ""}, False),
    ):
        with pytest.raises(ValueError, match="The name of a run"):
            act()
    assert job.folder_of("Train-1.b_c").endswith("/Train-1.b_c")


def test_who_reads_writes_nothing(runs: Runs) -> None:
    assert job.report("train", 5)["state"] == "none"
    assert not runs.folder.exists()
    report = runs.ended("echo out", results=["out", "*.json"])
    assert (report["name"], report["command"], report["results"]) == ("train", "echo out", ["out", "*.json"])


def test_code_of_a_run_that_runs_is_not_replaced(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a").touch()
    archive = str(tmp_path / "code.tar.gz")
    code = code_files.pack(str(tmp_path / "code"), [], archive)
    step = {"digest": code.digest, "archive": archive, "sha256": code_files.digest_of_file(archive)}
    assert job.take_code("train", {"digest": code.digest}, False) is False
    assert job.take_code("train", step, True) is False and not runs.folder.exists()
    runs.start("while [ ! -e go ]; do sleep 0.02; done")
    for asked in (step, {"digest": code.digest}):
        with pytest.raises(ValueError, match="still runs on the machine, with other code"):
            job.take_code("train", asked, False)
    (runs.work / "go").touch()
    runs.wait()
    assert job.take_code("train", step, False) is True
    assert job.take_code("train", {"digest": code.digest}, False) is True
    assert os.listdir(runs.work) == ["a"]


SYSTEMD_RUN = """#!/bin/sh
echo "$@" > {folder}/asked
[ ! -e {folder}/broken ] || exit 1
while [ "${{1#--}}" != "$1" ]; do shift; done
setsid "$@" < /dev/null > /dev/null 2>&1 &
"""


@pytest.mark.parametrize("broken", [False, True])
def test_systemd_runs_it_where_it_can(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "systemd-run"
    program.write_text(SYSTEMD_RUN.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(job, "_SYSTEMD", str(tmp_path))
    monkeypatch.setattr(job, "needs_linger", lambda: False)
    if broken:
        (tmp_path / "broken").touch()
    assert runs.start("true", env={"TOKEN": SECRET})["how"] == ("fork" if broken else "systemd")
    assert runs.wait()["state"] == "succeeded"
    asked = (tmp_path / "asked").read_text()
    assert "--collect --unit=compute-index-run-train-" in asked and SECRET not in asked


def test_a_user_who_does_not_linger_is_told(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "needs_linger", lambda: True)
    (notice,) = runs.start("true")["notices"]
    assert "loginctl enable-linger" in notice
    runs.wait()


# The rules

JOB: dict[str, Any] = {"digest": "1"}
WATCHER = {"pid": 1, "start": "1", "boot": "b", "how": "fork", "began_at": 0}
GONE = Notes(JOB, WATCHER, {"phase": "job"}, None, boot="b", age=1000)
OK = {"phase": "job", "exit_code": 0, "signal": None, "in_time": True, "left": []}


@pytest.mark.parametrize(
    ("notes", "state", "reason"),
    [
        (Notes(None), "none", ""),
        (Notes(JOB, is_begun=False), "none", "not_started"),
        (Notes(JOB, age=1), "running", ""),
        (Notes(JOB, age=1000), "interrupted", "gone"),
        (replace(GONE, watcher_lives=True), "running", ""),
        (replace(GONE, watcher_lives=True, phase={"phase": "setup"}), "setting_up", ""),
        (replace(GONE, watcher_lives=True, phase=None), "running", ""),
        (replace(GONE, command_lives=True), "running", "unwatched"),
        (GONE, "interrupted", "gone"),
        (replace(GONE, boot="c"), "interrupted", "rebooted"),
        (replace(GONE, disk_full=True), "interrupted", "disk"),
        (replace(GONE, end=OK), "succeeded", ""),
        (replace(GONE, end=OK, watcher_lives=True), "succeeded", ""),
        (replace(GONE, end={**OK, "left": ["a"]}), "succeeded", "left"),
        (replace(GONE, end={**OK, "disk_full": True}), "succeeded", "disk"),
        (replace(GONE, end={**OK, "in_time": False}), "interrupted", "time"),
        (replace(GONE, end={**OK, "phase": "setup"}), "failed", "setup"),
        (replace(GONE, end={**OK, "exit_code": None}), "interrupted", ""),
        (replace(GONE, end={**OK, "exit_code": None, "signal": 9}), "failed", ""),
        (replace(GONE, end={**OK, "exit_code": None, "signal": 200}), "failed", ""),
        (replace(GONE, end={**OK, "exit_code": 1, "disk_full": True}), "failed", "disk"),
        (replace(GONE, end={"error": "No such file or directory"}), "failed", "start"),
        (replace(GONE, end={}), "interrupted", ""),
    ],
)
def test_the_state_of_a_run(notes: Notes, state: str, reason: str) -> None:
    judged = job_state.state_by_notes(notes)
    assert (judged["state"], judged["reason"]) == (state, reason)
    assert judged["msg"].endswith(".")
    assert judged["state"] != "succeeded" or judged["exit_code"] == 0


@pytest.mark.parametrize("state", ["none", *job_state.RUNS, *OVER])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_when_a_job_starts(state: str, same: bool, again: bool) -> None:
    given = (state, "1", "1" if same else "2", again)
    if state in job_state.RUNS and not same:
        with pytest.raises(ValueError, match="still runs"):
            job_state.must_start(*given)
    else:
        runs = state in job_state.RUNS
        assert job_state.must_start(*given) is (not runs and (again or not same or state == "none"))
