# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that hang: together they take one time limit, and unkillable ones are not waited for."""

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
ENDLESS = 60.0  # seconds; what hangs would take ten minutes
HANGS = ("sh", "-c", "trap '' TERM INT HUP; echo some; sleep 600 & wait; sleep 600")
Program = Callable[[str, str], None]


@pytest.fixture
def unkillable() -> Iterator[list[int]]:
    """The groups that a kill without effect was asked to end; they end after the test."""
    asked: list[int] = []
    yield asked
    for group in asked:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)


_INIT, _LAZILY = 26, 1 | 2  # FUSE's first request; MNT_FORCE and MNT_DETACH


def answer_init(device: int) -> None:
    """Read the requests of a file system, and answer none but the first, until it is unmounted."""
    with contextlib.suppress(OSError):
        while request := os.read(device, 1 << 17):
            _length, kind, unique = struct.unpack_from("<IIQ", request)
            if kind == _INIT:
                body = struct.pack("<IIIIHHIIHH8I", 7, 31, 0, 0, 0, 0, 4096, 0, 0, 0, *[0] * 8)
                os.write(device, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)


@pytest.fixture
def dead_folder(tmp_path: Path) -> Iterator[Path]:
    """A file system that never answers: who asks for a file there sleeps in the kernel (D), as with a sick GPU."""
    folder, libc = tmp_path / "dead", ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip("there is no FUSE here")
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    if libc.mount(b"supply", os.fsencode(folder), b"fuse", 0, options.encode()):
        os.close(device)
        pytest.skip("only root can mount")
    thread = threading.Thread(target=answer_init, args=[device], daemon=True)
    thread.start()
    yield folder
    libc.umount2(os.fsencode(folder), _LAZILY)
    thread.join(10)
    os.close(device)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """``program(name, script)`` puts a stand-in first on PATH, which hides this computer's programs."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def write(name: str, script: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    for name in ("nvidia-smi", "journalctl", "dmesg", "systemctl", "dcgmi", "nvbandwidth"):
        write(name, "exit 127")
    return write


def test_those_that_hang_cost_one_limit() -> None:
    """Also on a busy machine, where it takes a while to start them."""
    began = time.monotonic()
    answers = run_commands({str(number): Command(HANGS, LIMIT) for number in range(16)})
    assert LIMIT <= time.monotonic() - began < 12 * LIMIT
    assert all(answer.hangs and answer.output == "some\n" for answer in answers.values()) and len(answers) == 16


def test_what_hangs_is_ended_with_all_it_has_begun(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pid; wait"
    run_commands({"a": Command(("sh", "-c", script), LIMIT)})
    for _look in range(100):
        state = Path(f"/proc/{int((tmp_path / 'pid').read_text())}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.02)
    pytest.fail("it still runs")


def test_what_cannot_be_ended_is_left_alone(unkillable: list[int]) -> None:
    began = time.monotonic()
    answers = run_commands({"a": Command(HANGS, LIMIT)}, kill=lambda group, _signal: unkillable.append(group))
    assert time.monotonic() - began < ENDLESS
    assert answers["a"].hangs and len(unkillable) == 1
    assert Path(f"/proc/{unkillable[0]}").exists(), "it runs on"


def test_how_programs_end() -> None:
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
    assert (answers["reads"].code, answers["reads"].output) == (0, ""), "it has no input"
    assert answers["leaves a child"].output == "done\n" and answers["leaves a child"].seconds < ENDLESS


def test_of_too_much_output_the_end_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest errors of a long kernel log are read; without its beginning it counts as incomplete."""
    monkeypatch.setattr(acceptance, "MOST_OUTPUT", 100)
    said = "; ".join(["echo Linux version 6", "seq 1000", "echo 'NVRM: Xid (PCI:0000:1b:00): 79, pid=1'"])
    answers = run_commands({"journalctl": Command(("sh", "-c", said), 10)})
    assert Readings(answers).xids() == ([("0000:1b:00", 79)], False)


def test_one_with_a_delay_looks_at_the_others() -> None:
    sleeps = ("sleep", "0.3")
    assert run_commands({"a": Command(sleeps, 9), "b": Command(("date",), 9, delay=0.1)})["b"].code == 0
    assert run_commands({"a": Command(("true",), 9), "b": Command(("date",), 9, delay=1)}).keys() == {"a"}


def test_a_level_asks_what_is_there(program: Program) -> None:
    program("nvidia-smi", f"cat <<'END'\n{Machine(count=2).smi()}\nEND")
    program("journalctl", "echo Linux version 6")
    program("dcgmi", f"echo \"$@\" >&2; cat <<'END'\n{Machine(count=2).dcgmi()}\nEND")
    program("gpu_burn", f"cat <<'END'\n{Machine(count=2).gpu_burn()}\nEND")
    result = acceptance.accept(Wanted("load", Machine(offered=2).offer), 600, 20)
    made = {finding["check"]: finding["verdict"] for finding in result["findings"]}
    assert (made["xid"], made["under_load"]) == ("ok", "ok")
    assert made["disk_write"] in ("ok", "degraded"), "a busy disk is slow, and writes"
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
def test_no_load_starts_that_we_would_have_to_cut_off(level: str, timeout: float, started: set[str]) -> None:
    """A program that we end would seem to hang, and a sound machine would be bad."""
    asked: set[str] = set()

    def answers(commands: Mapping[str, Command]) -> dict[str, CommandResult]:
        asked.update(commands)
        return {name: item for name, item in Machine().answers(level).items() if name in commands}

    result = acceptance.accept(Wanted(level, Machine().offer), timeout, 50, run=answers)
    assert asked & {"dcgmi", "load", "all_reduce"} == started
    assert result["verdict"] in ("ok", "unknown")


def test_after_a_load_that_hangs_the_kernel_log_is_read(program: Program) -> None:
    """The log shows the fault of the GPU, and reading it does not access the GPU."""
    program("nvidia-smi", f"cat <<'END'\n{Machine(count=1).smi()}\nEND")
    program("gpu_burn", "trap '' TERM; sleep 600")
    asked: list[set[str]] = []

    def answers(commands: Mapping[str, Command]) -> dict[str, CommandResult]:
        asked.append(set(commands))
        hangs = {"load": LIMIT}
        return run_commands({name: replace(item, limit=hangs.get(name, item.limit)) for name, item in commands.items()})

    result = acceptance.accept(Wanted("load", Machine(offered=1).offer), 600, 50, run=answers)
    assert asked[-1] == {"journalctl", "dmesg"}
    assert "answers: load does not answer (bad)" in result["reasons"]


def test_health_takes_little_of_the_machine_and_hanging_gpus_one_limit() -> None:
    """The program that measures it says how much."""
    used, _seconds, result = measured(programs(Machine()), level="health", expected=Machine().offer)
    assert used < 5 and result["verdict"] in ("ok", "degraded", "unknown")
    hangs = {"nvidia-smi": "trap '' TERM; sleep 600"}
    _used, seconds, result = measured(hangs, level="burnin", expected=Machine().offer, tool_timeout=2.0)
    assert result["verdict"] == "bad" and seconds < 7 * 2.0, "eight GPUs would take sixteen seconds"


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


def test_the_load_of_pytorch_compares_its_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Command(acceptance.load_of(1), 30)
    monkeypatch.setenv("PYTHONPATH", "")
    assert run_commands({"a": load})["a"].code in NOT_RUN, "it is not installed"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "torch.py").write_text(TORCH.replace('"12.8"', "None"))
    assert run_commands({"a": load})["a"].code in NOT_RUN, "it is built without GPUs"
    (tmp_path / "torch.py").write_text(TORCH)
    answer = run_commands({"a": load})["a"]
    assert (answer.code, answer.output) == (0, "GPU 0: OK\nGPU 1: FAULTY\n"), answer.errors


@pytest.mark.parametrize(
    ("burns", "learns", "said"),
    [
        ("echo burn $1; exit 3", "echo torch", (3, "burn 1\n")),
        ("exit 127", "echo torch", (0, "torch\n")),  # one of its libraries is missing
        ("exit 127", "exit 1", (1, "")),
        ("exit 127", "exit 127", (0, "copies\n")),
    ],
)
def test_the_load_is_the_first_that_can_run(program: Program, burns: str, learns: str, said: tuple[int, str]) -> None:
    for name, text in (("gpu-burn", burns), ("python3", learns), ("nvbandwidth", "echo copies")):
        program(name, text)
    answer = run_commands({"load": Command(acceptance.load_of(1), 30)})["load"]
    assert (answer.code, answer.output) == said


def test_nothing_is_asked_of_a_gpu_that_does_not_answer(program: Program, tmp_path: Path) -> None:
    program("nvidia-smi", "trap '' TERM; sleep 600")
    program("dcgmi", f"touch {tmp_path}/asked")
    began = time.monotonic()
    result = acceptance.accept(Wanted("burnin", Machine().offer), 60, LIMIT)
    assert time.monotonic() - began < ENDLESS
    assert result["verdict"] == "bad"
    assert {"answers: nvidia-smi does not answer (bad)", "answers: nvlink does not answer (bad)"} <= {
        *result["reasons"]
    }
    assert not (tmp_path / "asked").exists()


def test_the_module_ends_though_a_program_cannot_be(program: Program, tmp_path: Path) -> None:
    """As over pipelining: who holds the module's pipes waits until each process that has them open has ended."""
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
        assert Path(f"/proc/{pid}").exists(), "it runs on"
    finally:
        for pid in (tmp_path / "pids").read_text().split():
            os.killpg(int(pid), signal.SIGKILL)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("where", ["what it reads", "the program itself"])
def test_the_module_ends_though_its_program_sleeps_in_the_kernel(
    program: Program, dead_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """No signal reaches it, and none is faked here."""
    if where == "what it reads":
        program("nvidia-smi", f"echo $$ > {tmp_path}/pid; exec cat {dead_folder}/gpu")
    else:
        monkeypatch.setenv("PATH", f"{dead_folder}:{os.environ['PATH']}")
    options = tmp_path / "options"
    options.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {"level": "specs", "timeout": LIMIT}}))
    command = [sys.executable, "-m", gpu_acceptance.__name__, str(options)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    result = json.loads(done.stdout)
    assert result["verdict"] == "bad" and result["reasons"] == ["answers: nvidia-smi does not answer (bad)"], (
        done.stderr
    )
    if where == "what it reads":
        assert state_of(int((tmp_path / "pid").read_text())) == "D", "it was told to end, and has not"
