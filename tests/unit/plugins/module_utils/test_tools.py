# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the programs of the acceptance test, also those that hang or cannot be killed."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine import acceptance
from ansible_collections.compute_index.supply.plugins.module_utils._machine.acceptance import Command, run_commands
from ansible_collections.compute_index.supply.plugins.module_utils._machine.readings import (
    NOT_RUN,
    CommandResult,
    Readings,
)
from ansible_collections.compute_index.supply.plugins.module_utils._machine.wanted import Wanted
from ansible_collections.compute_index.supply.plugins.modules import gpu_acceptance

from gpu_records import Machine
from tools.acceptance_cost import measured, programs

LIMIT = 0.5
ENDLESS = 60.0  # seconds; a program that hangs takes ten minutes
HANGS = ("sh", "-c", "trap '' TERM INT HUP; echo some; sleep 600 & wait; sleep 600")
Program = Callable[[str, str], None]


@pytest.fixture
def spared_groups() -> Iterator[list[int]]:
    """Process groups that a kill without effect adds here; they are killed after the test."""
    groups: list[int] = []
    yield groups
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)


_INIT, _LAZILY = 26, 1 | 2  # FUSE's first request; MNT_FORCE and MNT_DETACH


def serve_unresponsive_fuse(device: int) -> None:
    """Read the requests of a FUSE file system until it is unmounted, and answer only the first one."""
    with contextlib.suppress(OSError):
        while request := os.read(device, 1 << 17):
            _length, kind, unique = struct.unpack_from("<IIQ", request)
            if kind == _INIT:
                body = struct.pack("<IIIIHHIIHH8I", 7, 31, 0, 0, 0, 0, 4096, 0, 0, 0, *[0] * 8)
                os.write(device, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)


@pytest.fixture
def dead_file_system(tmp_path: Path) -> Iterator[Path]:
    """A file system that never answers. Reading a file there sleeps in the kernel (D), as with a sick GPU."""
    folder, libc = tmp_path / "dead", ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip("needs FUSE")
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    if libc.mount(b"supply", os.fsencode(folder), b"fuse", 0, options.encode()):
        os.close(device)
        pytest.skip("only root can mount")
    thread = threading.Thread(target=serve_unresponsive_fuse, args=[device], daemon=True)
    thread.start()
    yield folder
    libc.umount2(os.fsencode(folder), _LAZILY)
    thread.join(10)
    os.close(device)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """``program(name, script)`` puts a script first on PATH. Programs of this computer are hidden."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def write(name: str, script: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    for name in ("nvidia-smi", "journalctl", "dmesg", "systemctl", "dcgmi", "nvbandwidth"):
        write(name, "exit 127")
    return write


def test_hanging_programs_together_take_one_time_limit() -> None:
    """The upper bound leaves time to start them on a busy computer."""
    began = time.monotonic()
    answers = run_commands({str(number): Command(HANGS, LIMIT) for number in range(16)})
    assert LIMIT <= time.monotonic() - began < 12 * LIMIT
    assert all(answer.hangs and answer.output == "some\n" for answer in answers.values()) and len(answers) == 16


def test_hanging_program_is_killed_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pid; wait"
    run_commands({"a": Command(("sh", "-c", script), LIMIT)})
    for _look in range(100):
        state = Path(f"/proc/{int((tmp_path / 'pid').read_text())}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.02)
    pytest.fail("the child still runs")


def test_unkillable_program_is_not_awaited(spared_groups: list[int]) -> None:
    began = time.monotonic()
    answers = run_commands({"a": Command(HANGS, LIMIT)}, kill=lambda group, _signal: spared_groups.append(group))
    assert time.monotonic() - began < ENDLESS
    assert answers["a"].hangs and len(spared_groups) == 1
    assert Path(f"/proc/{spared_groups[0]}").exists(), "it still runs"


def test_run_commands_returns_code_and_output() -> None:
    answers = run_commands(
        {
            "ends": Command(("sh", "-c", "echo out; echo err >&2; exit 3"), 10),
            "absent": Command(("no-such-program",), 10),
            "reads": Command(("cat",), 10),
            "leaves a child": Command(("sh", "-c", "sleep 90 & echo done"), 10),
        }
    )
    assert (answers["ends"].code, answers["ends"].output, answers["ends"].errors) == (3, "out\n", "err\n")
    assert answers["absent"].code in NOT_RUN and not answers["absent"].hangs
    assert (answers["reads"].code, answers["reads"].output) == (0, ""), "programs get no input"
    assert answers["leaves a child"].output == "done\n" and answers["leaves a child"].seconds < ENDLESS


def test_only_the_end_of_long_output_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a kernel log has the newest errors. Without its beginning, the log counts as incomplete."""
    monkeypatch.setattr(acceptance, "MOST_OUTPUT", 100)
    script = "; ".join(["echo Linux version 6", "seq 1000", "echo 'NVRM: Xid (PCI:0000:1b:00): 79, pid=1'"])
    answers = run_commands({"journalctl": Command(("sh", "-c", script), 10)})
    assert Readings(answers).xids() == ([("0000:1b:00", 79)], False)


def test_delayed_program_runs_only_while_others_run() -> None:
    sleeps = ("sleep", "0.3")
    assert run_commands({"a": Command(sleeps, 9), "b": Command(("date",), 9, delay=0.1)})["b"].code == 0
    assert run_commands({"a": Command(("true",), 9), "b": Command(("date",), 9, delay=1)}).keys() == {"a"}


def test_load_level_uses_installed_programs(program: Program) -> None:
    program("nvidia-smi", f"cat <<'END'\n{Machine(count=2).smi()}\nEND")
    program("journalctl", "echo Linux version 6")
    program("dcgmi", f"echo \"$@\" >&2; cat <<'END'\n{Machine(count=2).dcgmi()}\nEND")
    program("gpu_burn", f"cat <<'END'\n{Machine(count=2).gpu_burn()}\nEND")
    result = acceptance.accept(Wanted("load", Machine(offered=2).offer), 600, 20)
    verdicts = {finding["check"]: finding["verdict"] for finding in result["findings"]}
    assert (verdicts["xid"], verdicts["under_load"]) == ("ok", "ok")
    assert verdicts["disk_write"] in ("ok", "degraded"), "a busy disk may be slow"
    assert result["tools"]["dcgm"] == "4.2.3"
    (diagnosis,) = [row for row in result["evidence"] if row["command"].startswith("dcgmi")]
    assert diagnosis["command"] == "dcgmi diag -r 1 --json"
    assert not list(Path("/var/tmp").glob("supply-??????"))


@pytest.mark.parametrize(
    ("level", "timeout", "started"),
    [
        ("load", 600, {"dcgmi", "load"}),
        ("load", 150, {"dcgmi"}),
        ("load", 100, set()),
        ("burnin", 3600, {"dcgmi", "load", "all_reduce"}),
        ("burnin", 900, {"dcgmi", "all_reduce"}),
    ],
)
def test_long_program_does_not_start_without_enough_time(level: str, timeout: float, started: set[str]) -> None:
    """A program that is cut off would seem to hang, so that a sound machine would be bad."""
    started_programs: set[str] = set()

    def answers(commands: Mapping[str, Command]) -> dict[str, CommandResult]:
        started_programs.update(commands)
        return {name: item for name, item in Machine().answers(level).items() if name in commands}

    result = acceptance.accept(Wanted(level, Machine().offer), timeout, 50, run=answers)
    assert started_programs & {"dcgmi", "load", "all_reduce"} == started
    assert result["verdict"] in ("ok", "unknown")


def test_kernel_log_is_read_after_a_hanging_load(program: Program) -> None:
    """The log shows the fault of the GPU, and reading it does not access the GPU."""
    program("nvidia-smi", f"cat <<'END'\n{Machine(count=1).smi()}\nEND")
    program("gpu_burn", "trap '' TERM; sleep 600")
    rounds: list[set[str]] = []

    def answers(commands: Mapping[str, Command]) -> dict[str, CommandResult]:
        rounds.append(set(commands))
        hangs = {"load": LIMIT}
        return run_commands({name: replace(item, limit=hangs.get(name, item.limit)) for name, item in commands.items()})

    result = acceptance.accept(Wanted("load", Machine(offered=1).offer), 600, 50, run=answers)
    assert rounds[-1] == {"journalctl", "dmesg"}
    assert "answers: load does not answer (bad)" in result["reasons"]


def test_health_is_cheap_and_hanging_gpus_take_one_limit() -> None:
    """`tests/tools/acceptance_cost.py` measures both."""
    used, _seconds, result = measured(programs(Machine()), level="health", expected=Machine().offer)
    assert used < 5 and result["verdict"] in ("ok", "degraded", "unknown")
    hangs = {"nvidia-smi": "trap '' TERM; sleep 600"}
    _used, seconds, result = measured(hangs, level="burnin", expected=Machine().offer, tool_timeout=2.0)
    assert result["verdict"] == "bad" and seconds < 7 * 2.0, "one limit for each of eight GPUs would be sixteen seconds"


TORCH = """
float16 = None
class version:
    cuda = "12.8"
class cuda:
    device_count = staticmethod(lambda: 2)
class randn:
    def __init__(self, *size, device, dtype):
        self.device, self.products = device, 0
    def __matmul__(self, other):
        self.products += 1
        return product(self.device == 1 and self.products > 3)
class product:
    def __init__(self, is_wrong):
        self.is_wrong = is_wrong
    def cpu(self):
        return self
def equal(one, other):
    return one.is_wrong == other.is_wrong
"""


def test_pytorch_load_finds_wrong_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Command(acceptance.load_of(1), 30)
    monkeypatch.setenv("PYTHONPATH", "")
    assert run_commands({"a": load})["a"].code in NOT_RUN, "PyTorch is not installed"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "torch.py").write_text(TORCH.replace('"12.8"', "None"))
    assert run_commands({"a": load})["a"].code in NOT_RUN, "PyTorch is built without GPUs"
    (tmp_path / "torch.py").write_text(TORCH)
    answer = run_commands({"a": load})["a"]
    assert (answer.code, answer.output) == (0, "GPU 0: OK\nGPU 1: FAULTY\n"), answer.errors


@pytest.mark.parametrize(
    ("gpu_burn", "pytorch", "expected"),
    [
        ("echo burn $1; exit 3", "echo torch", (3, "burn 1\n")),
        ("exit 127", "echo torch", (0, "torch\n")),  # a library of gpu_burn is missing
        ("exit 127", "exit 1", (1, "")),
        ("exit 127", "exit 127", (0, "copies\n")),
    ],
)
def test_load_is_the_first_program_that_can_run(
    program: Program, gpu_burn: str, pytorch: str, expected: tuple[int, str]
) -> None:
    for name, text in (("gpu-burn", gpu_burn), ("python3", pytorch), ("nvbandwidth", "echo copies")):
        program(name, text)
    answer = run_commands({"load": Command(acceptance.load_of(1), 30)})["load"]
    assert (answer.code, answer.output) == expected


def test_no_load_starts_if_nvidia_smi_hangs(program: Program, tmp_path: Path) -> None:
    program("nvidia-smi", "trap '' TERM; sleep 600")
    program("dcgmi", f"touch {tmp_path}/dcgmi-ran")
    began = time.monotonic()
    result = acceptance.accept(Wanted("burnin", Machine().offer), 60, LIMIT)
    assert time.monotonic() - began < ENDLESS
    assert result["verdict"] == "bad"
    assert {"answers: nvidia-smi does not answer (bad)", "answers: nvlink does not answer (bad)"} <= {
        *result["reasons"]
    }
    assert not (tmp_path / "dcgmi-ran").exists()


def test_module_ends_despite_an_unkillable_program(program: Program, tmp_path: Path) -> None:
    """With pipelining, Ansible waits until no process has the module's pipes open."""
    program("nvidia-smi", f"trap '' TERM; echo $$ >> {tmp_path}/pids; sleep 600 & wait")
    script = (
        "import os, runpy, sys; os.killpg = lambda *_: None; sys.argv = ['gpu_acceptance', sys.argv[1]]; "
        f"runpy.run_module('{gpu_acceptance.__name__}', run_name='__main__')"
    )
    options = tmp_path / "options"
    options.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {"level": "specs", "timeout": LIMIT}}))
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, options], check=False, capture_output=True, text=True, timeout=30
        )
        assert json.loads(done.stdout)["reasons"] == ["answers: nvidia-smi does not answer (bad)"], done.stderr
        (pid,) = (tmp_path / "pids").read_text().split()
        assert Path(f"/proc/{pid}").exists(), "it still runs"
    finally:
        for pid in (tmp_path / "pids").read_text().split():
            os.killpg(int(pid), signal.SIGKILL)


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("where", ["file", "program"])
def test_module_ends_despite_a_program_that_sleeps_in_the_kernel(
    program: Program, dead_file_system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """No signal reaches such a process. ``where``: what is on the dead file system."""
    if where == "file":
        program("nvidia-smi", f"echo $$ > {tmp_path}/pid; exec cat {dead_file_system}/gpu")
    else:
        monkeypatch.setenv("PATH", f"{dead_file_system}:{os.environ['PATH']}")
    options = tmp_path / "options"
    options.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {"level": "specs", "timeout": LIMIT}}))
    command = [sys.executable, "-m", gpu_acceptance.__name__, str(options)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    result = json.loads(done.stdout)
    assert result["verdict"] == "bad" and result["reasons"] == ["answers: nvidia-smi does not answer (bad)"], (
        done.stderr
    )
    if where == "file":
        assert process_state(int((tmp_path / "pid").read_text())) == "D", "the kill had no effect"
