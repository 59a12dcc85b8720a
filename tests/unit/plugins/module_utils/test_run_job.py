# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs of runs, with real processes: a job starts once, and a killed job never counts as successful."""

from __future__ import annotations

import contextlib
import json
import multiprocessing.pool
import os
import resource
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine import code_files, job, job_state

from kills import kills
from limits import HANGS, until

SECRET = "kept-between-us-4711"
OVER = job_state.OVER
Report = dict[str, Any]


class Runs:
    """The folder of all runs on a machine, and the run `train` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "train"
        self.work = self.run / "work"

    def start(self, command: str, digest: str = "1", check_mode: bool = False, **options: Any) -> Report:
        """Start a job as the module `run_job` does."""
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
        """The result of `run_info`."""
        return job.report("train", lines)

    def wait(self, *states: str) -> Report:
        """The report as soon as the run has one of these states; without states, as soon as it is over."""
        return until(lambda: report if (report := self.info())["state"] in (states or OVER) else {})

    def complete(self, command: str, **options: Any) -> Report:
        """Start a command, wait for its end, and return the report."""
        self.start(command, **options)
        return self.wait()

    def pids(self) -> list[int]:
        """The processes of the job, in the order of their ids."""
        found = []
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                handles = [os.readlink(handle) for handle in Path("/proc", name, "fd").iterdir()]
                found += [int(name)] if str(self.run / "pid") in handles else []
        return sorted(found)

    def kill_all(self) -> None:
        """Kill all processes of the job, as a restart of the machine does."""
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """The runs of a machine, with a short grace period for jobs whose time is up."""
    monkeypatch.setattr(job, "_WRAPPER", job._WRAPPER.replace("-k 30", "-k 1"))
    monkeypatch.setenv(job.FOLDER_VARIABLE, str(tmp_path / "runs"))
    runs = Runs(tmp_path / "runs")
    yield runs
    runs.kill_all()


# Ends


@pytest.mark.parametrize(
    ("command", "state", "code", "words"),
    [
        ("true", "succeeded", 0, "The job succeeded (exit code 0)."),
        ("exit 3", "failed", 3, "The job failed (exit code 3)."),
        ("kill -9 $$", "failed", 137, "The job failed (exit code 137, perhaps because memory ran out)."),
        ("kill -TERM $$; sleep 600", "failed", 143, "The job failed (exit code 143)."),
        ("/no/such/program", "failed", 127, "The job failed (exit code 127)."),
        ("exit 124", "failed", 124, "The job failed (exit code 124)."),
        ("exit 256", "succeeded", 0, "The job succeeded (exit code 0)."),
        ("(", "failed", 2, "The job failed (exit code"),
    ],
)
def test_exit_code_decides_the_state(runs: Runs, command: str, state: str, code: int, words: str) -> None:
    report = runs.complete(command, time=600)
    assert report["state"] == state
    assert report["exit_code"] == code or command == "("
    assert words in report["msg"]
    assert report["began_at"] <= report["ended_at"]
    assert int((runs.run / "pid").read_text()) > 1


def test_job_runs_in_work_folder_with_home_and_log(runs: Runs) -> None:
    report = runs.complete("pwd; echo error >&2; [ -t 0 ] || cat; echo $HOME; touch made", env={"A": "b"})
    assert report["log"] == [os.path.realpath(runs.work), "error", os.environ["HOME"]]
    assert (runs.work / "made").exists()
    assert stat.S_IMODE(os.stat(runs.run).st_mode) == 0o700


@pytest.mark.parametrize(
    "command", ["sleep 600", "trap '' TERM; while :; do sleep 0.1; done", "trap 'exit 0' TERM; sleep 600 & wait"]
)
def test_job_is_interrupted_when_its_time_is_up(runs: Runs, command: str) -> None:
    report = runs.complete(command, time=0.3)
    assert report["state"] == "interrupted"
    assert report["msg"] == "The job was interrupted (its time was up)."
    until(lambda: not runs.pids())


def test_time_limit_includes_the_setup(runs: Runs) -> None:
    report = runs.complete("touch ran", setup="sleep 600", time=0.3)
    assert (report["state"], report["reason"]) == ("interrupted", "its time was up")
    assert not (runs.work / "ran").exists()


def test_background_process_blocks_neither_the_end_nor_the_next_job(runs: Runs) -> None:
    assert runs.complete("sleep 600 & exit 3")["exit_code"] == 3
    background = runs.pids()
    assert background and runs.complete("true", digest="2")["state"] == "succeeded"
    for pid in background:
        os.kill(pid, signal.SIGKILL)


# Setup


def test_setup_runs_again_only_if_setup_or_code_changes(runs: Runs, tmp_path: Path) -> None:
    count = tmp_path / "count"
    setup = f"echo setup >> {count}"
    runs.complete("true", setup=setup)
    runs.complete("true", setup=setup, digest="2")
    assert count.read_text().count("setup") == 1
    runs.complete("true", setup=f"{setup} ", digest="3")
    assert count.read_text().count("setup") == 2
    (runs.run / "code.sha256").write_text("another")
    runs.complete("true", setup=f"{setup} ", digest="4")
    assert count.read_text().count("setup") == 3


def test_failed_setup_fails_the_job_and_runs_again(runs: Runs) -> None:
    report = runs.complete("touch ran", setup="echo no >&2; exit 4")
    assert (report["state"], report["exit_code"]) == ("failed", 4)
    assert report["msg"] == "The job failed (exit code 4, of its setup)."
    assert report["log"] == ["no"]
    assert not (runs.work / "ran").exists()
    assert runs.complete("touch ran", setup="echo no >&2; exit 4", again=True)["exit_code"] == 4


def test_setup_runs_before_the_command_and_may_start_a_service(runs: Runs) -> None:
    runs.start("touch ran; sleep 0.1", setup="while [ ! -e go ]; do sleep 0.02; done; sleep 600 & echo $! > service")
    assert runs.info()["state"] == "running"
    (runs.work / "go").touch()
    report = runs.wait()
    assert (report["state"], report["reason"]) == ("succeeded", "exit code 0")
    service = int((runs.work / "service").read_text())
    os.kill(service, signal.SIGKILL)


# Once


def test_same_job_starts_once_unless_again_is_set(runs: Runs) -> None:
    command = "echo ran >> ran; while [ ! -e go ]; do sleep 0.02; done"
    assert runs.start(command, check_mode=True) == {
        **{"changed": True, "state": "none", "msg": "The job has not begun."},
    }
    first = runs.start(command)
    assert (first["changed"], first["state"]) == (True, "running")
    for again in (False, True):
        assert runs.start(command, again=again)["changed"] is False
    with pytest.raises(ValueError, match="still runs under this name"):
        runs.start("other", digest="2")
    (runs.work / "go").touch()
    runs.wait()
    assert runs.start(command)["changed"] is False
    assert (runs.work / "ran").read_text() == "ran\n"
    assert runs.start(command, again=True)["changed"] is True
    runs.wait()
    assert (runs.work / "ran").read_text() == "ran\nran\n"


def test_command_waits_for_another_one_that_starts_the_job(runs: Runs) -> None:
    with multiprocessing.pool.ThreadPool(1) as threads:
        with job.locked_folder(str(runs.run)):
            started = threads.apply_async(runs.start, ("echo ran",))
            time.sleep(0.5)
            assert not started.ready() and runs.info()["state"] == "none"
        assert started.get(HANGS)["changed"] is True
    assert runs.wait()["log"] == ["ran"]


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A replacement of systemd-run that runs its command with the variable IN_UNIT. A test may overwrite it."""
    program = tmp_path / "bin" / "systemd-run"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nIN_UNIT=1 exec "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(job, "_SYSTEMD", str(tmp_path))
    return program


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes units of the system")
@pytest.mark.parametrize("works", [True, False])
def test_root_job_runs_in_a_systemd_scope_if_possible(runs: Runs, systemd: Path, works: bool) -> None:
    """Otherwise systemd may end the job with the connection."""
    if not works:
        systemd.write_text("#!/bin/sh\necho Failed to connect to bus; exit 1\n")
    report = runs.complete("echo ran$IN_UNIT >> ran; cat ran; test $TOKEN", env={"TOKEN": SECRET})
    assert (report["state"], report["log"]) == ("succeeded", ["ran1" if works else "ran"])
    assert int((runs.run / "pid").read_text()) > 1


@pytest.mark.parametrize(
    ("kills", "only", "excluded", "group", "is_refused"),
    [
        ("true", "0", '1 "root"', "user-1000.slice/session-3.scope", True),
        ("false", "0", '1 "root"', "user-1000.slice/session-3.scope", False),
        ("true", "0", '1 "root"', "user-0.slice/session-3.scope", False),
        ("true", "0", '2 "root" "alice"', "user-1000.slice/session-3.scope", False),
        ("false", '1 "alice"', '1 "root"', "user-1000.slice/session-3.scope", True),
        ("true", '1 "bob"', '1 "root"', "user-1000.slice/session-3.scope", False),
        ("true", "0", '1 "root"', "user-1000.slice/user@1000.service/app.slice", False),  # not a login
        ("true", "0", '1 "root"', "user-4711.slice/session-3.scope", False),  # an unknown user
        ("", "", "", "user-1000.slice/session-3.scope", False),  # no busctl
    ],
)
def test_job_that_logind_would_end_at_logout_is_refused(
    runs: Runs,
    systemd: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kills: str,
    only: str,
    excluded: str,
    group: str,
    is_refused: bool,
) -> None:
    """Such a job was interrupted a minute after the play, and its machine was billed for nothing."""
    runs.complete("true", digest="0")
    (tmp_path / "cgroup").write_text(f"0::/user.slice/{group}\n")
    program = tmp_path / "busctl"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' 'b {kills}' 'as {only}' 'as {excluded}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(job, "_CGROUP", str(tmp_path / "cgroup"))
    monkeypatch.setattr(job, "_SYSTEMD", str(tmp_path / "none"))
    monkeypatch.setattr(job, "_LOGIND", (str(program) if kills else "/no/busctl",))
    users = {0: SimpleNamespace(pw_name="root"), 1000: SimpleNamespace(pw_name="alice")}
    monkeypatch.setattr(job.pwd, "getpwuid", users.__getitem__)
    if is_refused:
        for user, folder in ((0, "none"), (1000, "bin")):  # only root with a running systemd makes a unit
            monkeypatch.setattr(job.os, "geteuid", lambda user=user: user)
            monkeypatch.setattr(job, "_SYSTEMD", str(tmp_path / folder))
            with pytest.raises(ValueError, match="ends all processes of alice at logout"):
                runs.start("true")
        assert runs.info()["digest"] == "0", "the earlier job's record stays"
    else:
        assert runs.complete("true")["state"] == "succeeded"


@pytest.mark.parametrize("in_unit", [True, False])
def test_start_that_is_killed_and_repeated_starts_the_job_once(
    runs: Runs, tmp_path: Path, request: pytest.FixtureRequest, in_unit: bool
) -> None:
    """Each round starts a new job, which replaces that of the round before."""
    if in_unit:
        request.getfixturevalue("systemd")
    counts = [tmp_path / "count"]

    def start() -> None:
        runs.start(f"echo $A >> {counts[-1]}", digest=str(counts[-1]), env={"A": "a"})

    for number in kills([job], start):
        start()
        assert runs.wait()["state"] == "succeeded", number
        assert counts[-1].read_text() == "a\n"
        counts.append(tmp_path / f"count-{number}")


def test_job_that_has_not_yet_begun_counts_as_running(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module was killed. Repeating the command must not fail because another job seems to run."""
    delay = "while [ ! -e go ]; do sleep 0.02; done\n"
    monkeypatch.setattr(job, "_WRAPPER", delay + job._WRAPPER)
    child = os.fork()
    if not child:
        runs.start("echo ran", digest="1")
        os._exit(0)
    until(runs.pids)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (runs.info()["state"], runs.info()["digest"]) == ("running", "1")
    assert runs.start("echo ran", digest="1")["changed"] is False
    with pytest.raises(ValueError, match="still runs"):
        runs.start("echo ran", digest="2")
    (runs.run / "go").touch()
    assert runs.wait()["log"] == ["ran"]


def test_job_that_ends_during_the_check_has_succeeded(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.start("while [ ! -e go ]; do sleep 0.02; done")
    is_running = job._is_running

    def end_after(folder: str) -> bool:
        (runs.work / "go").touch()
        until(lambda: not runs.pids())
        return is_running(folder)

    monkeypatch.setattr(job, "_is_running", end_after)
    assert runs.info()["state"] == "succeeded"


def test_command_that_cannot_start_is_an_error(runs: Runs, monkeypatch: Any) -> None:
    monkeypatch.setattr(job, "_WRAPPER", "exit 1")
    with pytest.raises(ValueError, match="could not be started"):
        runs.start("true", env={"TOKEN": SECRET})
    assert runs.info()["state"] == "none"
    assert not files_with_secret(runs.folder)


# Kills


def test_job_without_its_killed_wrapper_never_succeeds(runs: Runs) -> None:
    command = "while [ ! -e go ]; do sleep 0.02; done; touch ran"
    runs.start(command)
    until(lambda: len(runs.pids()) > 1)
    os.kill(runs.pids()[0], signal.SIGKILL)
    assert runs.info()["state"] == "running"
    with pytest.raises(ValueError, match="still runs"):
        runs.start("other", digest="2")
    (runs.work / "go").touch()
    report = runs.wait()
    assert (runs.work / "ran").exists()
    assert (report["state"], report["exit_code"]) == ("interrupted", None)
    assert runs.start(command)["changed"] is False


def test_job_whose_processes_are_all_killed_is_interrupted(runs: Runs) -> None:
    runs.start("sleep 600")
    runs.kill_all()
    report = runs.info()
    assert report["msg"] == "The job was interrupted (its processes are gone, and no exit code is known)."


# The disk


@pytest.fixture
def small_disk(runs: Runs) -> Iterator[Runs]:
    """Runs on a disk of 8 MB."""
    runs.folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "runs", str(runs.folder)], check=False).returncode:
        pytest.skip("tests may not mount on this computer")
    yield runs
    subprocess.run(["umount", "-l", str(runs.folder)], check=True)


def test_exit_code_is_noted_on_a_full_disk(small_disk: Runs) -> None:
    report = small_disk.complete("cat /dev/zero > big")
    assert (report["state"], report["exit_code"]) == ("failed", 1)
    assert os.statvfs(small_disk.run).f_bavail * 4096 > 300_000, (
        "space is reserved for the modules that read the results"
    )


# The log


def test_only_the_end_of_a_huge_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with open(path, "wb") as file:
        file.truncate(2**30)
        file.seek(2**30 - 12)
        file.write(b"\nlast\nlines\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    child = os.fork()
    if not child:  # with less memory than the size of the log
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, hard))
        os._exit(0 if job.tail(str(path), 2) == ["last", "lines"] else 1)
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
def test_log_lines_have_no_control_characters(tmp_path: Path, text: bytes, lines: list[str]) -> None:
    (tmp_path / "log.txt").write_bytes(text)
    assert job.tail(str(tmp_path / "log.txt"), 20) == lines
    assert job.tail(str(tmp_path / "log.txt"), 0) == []
    assert job.tail(str(tmp_path / "log.txt"), 1) == lines[-1:]


# Secrets


def files_with_secret(folder: Path) -> list[Path]:
    """The files that contain the secret."""
    return [file for file in folder.rglob("*") if file.is_file() and SECRET in file.read_text(errors="replace")]


def test_env_values_are_in_no_file_and_no_command_line(runs: Runs) -> None:
    started = runs.start("test $TOKEN = $OTHER && [ $NUMBER$YES = 1True ] && sleep 0.3", env=variables())
    assert not files_with_secret(runs.folder)
    table = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert SECRET not in table and SECRET not in json.dumps(started)
    report = runs.wait()
    assert report["state"] == "succeeded", report
    assert not files_with_secret(runs.folder) and SECRET not in json.dumps(report)


def variables() -> dict[str, Any]:
    return {"TOKEN": SECRET, "OTHER": SECRET, "NUMBER": 1, "YES": True}


@pytest.mark.parametrize("env", [{"A=B": SECRET}, {"A": f"{SECRET}\0"}])
def test_invalid_variable_is_refused_without_showing_its_value(runs: Runs, env: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        runs.start("true", env=env)
    assert SECRET not in str(caught.value)
    assert runs.info()["state"] == "none" and not files_with_secret(runs.folder)


def test_job_does_not_inherit_variables_of_the_connection(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSH_CONNECTION", "SUDO_USER", "XDG_SESSION_ID", "ANSIBLE_X", "KEPT"):
        monkeypatch.setenv(name, "x")
    runs.complete("env | cut -d= -f1 | sort")
    names = runs.info(1000)["log"]
    assert {"PATH", "KEPT", "PYTHONUNBUFFERED"} <= set(names)
    assert not [name for name in names if name.startswith(("SSH_", "SUDO_", "XDG_", "ANSIBLE_"))]


# Names


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", ".a", "a b", "a\n", "x" * 64, "ä"])
def test_invalid_run_names_are_refused(runs: Runs, name: str) -> None:
    for function in (
        lambda: job.report(name, 1),
        lambda: runs.start("true", name=name),
        lambda: job.receive_code(name, {"digest": ""}),
    ):
        with pytest.raises(ValueError, match="The name of a run"):
            function()
    assert job.folder_of("Train-1.b_c").endswith("/Train-1.b_c")


def test_report_creates_no_folder(runs: Runs) -> None:
    assert job.report("train", 5)["state"] == "none"
    assert not runs.folder.exists()
    report = runs.complete("echo out", results=["out", "*.json"])
    assert (report["name"], report["command"], report["results"]) == ("train", "echo out", ["out", "*.json"])


def test_code_of_a_running_job_is_not_replaced(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a").touch()
    archive = str(tmp_path / "code.tar.gz")
    digest = code_files.pack(str(tmp_path / "code"), [], archive)
    step = {"digest": digest, "archive": archive}
    assert job.receive_code("train", {"digest": digest}) is False and not runs.folder.exists()
    runs.start("while [ ! -e go ]; do sleep 0.02; done")
    for step_or_query in (step, {"digest": digest}):
        with pytest.raises(ValueError, match="still runs on the machine, with other code"):
            job.receive_code("train", step_or_query)
    (runs.work / "go").touch()
    runs.wait()
    assert job.receive_code("train", step) is False
    assert job.receive_code("train", {"digest": digest}) is True
    assert os.listdir(runs.work) == ["a"]


# The rules

JOB: dict[str, Any] = {"digest": "1", "time": 60}


@pytest.mark.parametrize(
    ("job", "code", "seconds", "facts", "state", "reason"),
    [
        (None, None, 0, {}, "none", ""),
        (None, 0, 9, {}, "none", ""),  # the exit code of an earlier job whose job.json has been removed
        (None, None, 0, {"runs": True}, "running", ""),
        (JOB, None, 0, {"runs": True}, "running", ""),
        (JOB, None, 0, {}, "interrupted", "its processes are gone, and no exit code is known"),
        (JOB, 0, 9, {}, "succeeded", "exit code 0"),
        (JOB, 0, 9, {"runs": True}, "succeeded", "exit code 0"),
        (JOB, 124, 59, {}, "failed", "exit code 124"),
        (JOB, 124, 60, {}, "interrupted", "its time was up"),
        (JOB, 137, 91, {}, "interrupted", "its time was up"),
        ({**JOB, "time": 0}, 124, 91, {}, "failed", "exit code 124"),
        (JOB, 1, 61, {}, "failed", "exit code 1"),
        (JOB, 137, 9, {}, "failed", "exit code 137, perhaps because memory ran out"),
        (JOB, 2, 9, {"is_set_up": False}, "failed", "exit code 2, of its setup"),
    ],
)
def test_state_and_reason(
    job: Report | None, code: int | None, seconds: float, facts: dict[str, bool], state: str, reason: str
) -> None:
    assert job_state.state_and_reason(job, code, seconds, **{"runs": False, "is_set_up": True, **facts}) == (
        state,
        reason,
    )
    assert job_state.state_sentence(state, reason).endswith(".") and (state == "succeeded") <= (code == 0)
