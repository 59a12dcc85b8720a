# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the acceptance test on a machine: the programs of each level, and the result from their answers.

A program that queries a faulty GPU may hang in the kernel (state D), where no signal reaches it. So each program gets
its own session, no input, and files for its output: it keeps no connection open, and no process waits for its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import typing as t
from dataclasses import dataclass

from . import verdicts
from .readings import LOGS, Answers, CommandResult, Readings, is_divided
from .wanted import TIMEOUTS, Wanted, least_version, thresholds_of

MOST_OUTPUT = 16 * 2**20  # bytes of a program that are read
_PAUSE = 0.02  # seconds between two polls
_FURTHER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/cuda/bin"
# A shell executes the program, since executing it may hang, for example on an unreachable network file system.
_SHELL = ("/bin/sh", "-c", 'exec "$@"', "sh")


@dataclass(frozen=True)
class Command:
    """A program with its arguments; ``limit`` and ``delay`` (before it starts) are seconds."""

    arguments: tuple[str, ...]
    limit: float
    delay: float = 0.0


Kill = t.Callable[[int, int], None]
Run = t.Callable[[t.Mapping[str, Command]], "dict[str, CommandResult]"]


def run_commands(commands: t.Mapping[str, Command], kill: Kill = os.killpg) -> dict[str, CommandResult]:
    """Run programs in parallel, so that eight hanging ones take no longer than one. Returns answers by name.

    A program with a delay observes the others, and does not start if they have ended before.
    """
    began = time.monotonic()
    waiting, running, answers = dict(commands), dict[str, _Process](), dict[str, CommandResult]()
    while True:
        now = time.monotonic()
        for name in [name for name, command in waiting.items() if now - began >= command.delay]:
            running[name] = _Process(waiting.pop(name), kill)
        for name, answer in [(name, process.answer()) for name, process in running.items()]:
            if answer is not None:
                answers[name] = answer
                del running[name]
        if not running:
            return answers
        time.sleep(_PAUSE)


class _Process:
    def __init__(self, command: Command, kill: Kill) -> None:
        self._command, self._kill = command, kill
        self._began = time.monotonic()
        self._output, self._errors = (tempfile.TemporaryFile() for _name in range(2))  # noqa: SIM115 - it outlives this
        path = f"{os.environ.get('PATH', '')}:{_FURTHER_PATH}"
        # `run_command` would wait for its end.
        self._process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            [*_SHELL, *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
            cwd="/",
            env={**os.environ, "PATH": path, "LC_ALL": "C"},
            start_new_session=True,
        )

    def answer(self) -> CommandResult | None:
        """The answer of the program once it has ended or its time is up; None before."""
        code, seconds = self._process.poll(), time.monotonic() - self._began
        if code is None and seconds < self._command.limit:
            return None
        if code is None:
            with contextlib.suppress(OSError):
                self._kill(self._process.pid, signal.SIGKILL)
        return CommandResult(self._command.arguments, code, _text(self._output), _text(self._errors), seconds)


def _text(file: t.IO[bytes]) -> str:
    """The output of a program so far. Only the end of a long output is read: without a beginning it is incomplete.

    The file has no name, so it disappears with the last process that has it open.
    """
    with file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_OUTPUT))
        return file.read(MOST_OUTPUT).decode(errors="replace")


# Programs

MOST_EVIDENCE = 256 * 1024  # bytes of JSON
_SHORTEST = 60.0  # seconds that dcgmi and all_reduce_perf get at least
_LOAD_DELAY = 30.0  # seconds until the GPUs are read under load; PyTorch takes long to start

# For each level that puts load on the GPUs: the level of DCGM's diagnosis, and the seconds of the load
_LOADED = {"load": ("1", 60), "burnin": ("3", 600)}
SMI = ("nvidia-smi", "-q", "-x")
_ALL_REDUCE = ("all_reduce_perf", "-b", "1G", "-e", "4G", "-f", "2", "-g")
# The file is removed before it is written, so it never stays behind.
_WRITE = (
    'file=$(mktemp /var/tmp/supply-XXXXXX) && exec 3>"$file" && rm -f "$file" && '
    f"dd if=/dev/zero bs=1048576 count={verdicts.MIB_WRITTEN} conv=fsync >&3"
)
_QUERIES: dict[str, tuple[str, ...]] = {
    "nvlink": ("nvidia-smi", "nvlink", "--status"),
    "journalctl": ("journalctl", "--dmesg", "--boot", "--no-pager", "--output=cat"),
    "dmesg": ("dmesg",),
    "fabric_manager": ("systemctl", "is-active", "nvidia-fabricmanager"),
}
# Multiplies the same random matrices repeatedly and compares the products. The copies load the PCIe links.
_PYTORCH = """
import sys, time
try:
    import torch
except ImportError:
    sys.exit(127)
if not torch.version.cuda:  # built without GPUs
    sys.exit(127)
end = time.time() + float(sys.argv[1])
gpus = range(torch.cuda.device_count())
factors = [torch.randn(8192, 8192, device=gpu, dtype=torch.float16) for gpu in gpus]
first, right = [factor @ factor for factor in factors], [True for _gpu in gpus]
while time.time() < end:
    products = [factor @ factor for factor in factors]
    right = [ok and torch.equal(*pair) for ok, *pair in zip(right, first, products)]
    copies = [product.cpu() for product in products]
for gpu in gpus:
    print(f"GPU {gpu}: {'OK' if right[gpu] else 'FAULTY'}")
"""
# Runs the first load that is installed with its libraries. gpu_burn finds its files only from its own folder.
_LOAD = """
burn() {
    program=$(command -v gpu_burn || command -v gpu-burn) || return 127
    cd "$(dirname "$(readlink -f "$program")")" && "$program" "$1"
}
burn "$1"
code=$?
[ $code -eq 127 ] || exit $code
python3 -c "$2" "$1"
code=$?
[ $code -eq 127 ] || exit $code
exec nvbandwidth
"""


def load_of(seconds: float) -> tuple[str, ...]:
    """The command that puts load on all GPUs for this many seconds."""
    return ("sh", "-c", _LOAD, "load", f"{seconds:g}", _PYTORCH)


class Acceptance:
    """One test of a machine. ``timeout`` limits the whole test, ``tool_timeout`` each query, in seconds."""

    def __init__(self, wanted: Wanted, timeout: float, tool_timeout: float, run: Run = run_commands) -> None:
        self._wanted, self._tool_timeout, self._run = wanted, tool_timeout, run
        self._end = time.monotonic() + timeout
        self.answers: dict[str, CommandResult] = {}

    def run_programs(self, writes: bool) -> Answers:
        """Run all programs of the level. After a program that hangs, only the kernel log is read, as evidence."""
        level = self._wanted.level
        queries = {"nvidia-smi": SMI, **({} if level == "specs" else _QUERIES)}
        self._query({**queries, "disk": ("sh", "-c", _WRITE)} if writes and level != "specs" else queries)
        gpus = Readings(self.answers).gpus
        if level in _LOADED and gpus and not is_divided(gpus):
            self._run_load(level, len(gpus))
            # Again, since the load may have caused errors
            self._query({name: _QUERIES[name] for name in LOGS} if self._hangs else queries)
        return self.answers

    def _run_load(self, level: str, gpus: int) -> None:
        diagnosis, seconds = _LOADED[level]
        self._run_long("dcgmi", ("dcgmi", "diag", "-r", diagnosis, "--json"), _SHORTEST)
        self._run_long("load", load_of(seconds), 1.5 * seconds + _LOAD_DELAY)
        if level == "burnin" and gpus > 1:
            self._run_long("all_reduce", (*_ALL_REDUCE, str(gpus)), _SHORTEST)

    def _query(self, programs: t.Mapping[str, tuple[str, ...]]) -> None:
        limit = min(self._tool_timeout, self._seconds_left)
        if limit > 0:
            self.answers.update(self._run({name: Command(item, limit) for name, item in programs.items()}))

    def _run_long(self, name: str, arguments: tuple[str, ...], least: float) -> None:
        """Run a long program, with all time that is left but that of a last query; a load is observed meanwhile.

        It does not start with less than ``least`` seconds, since it would seem to hang when its time is up.
        """
        limit = self._seconds_left - self._tool_timeout
        if limit >= least and not self._hangs:
            loaded = {"loaded": Command(SMI, min(self._tool_timeout, limit), _LOAD_DELAY)} if name == "load" else {}
            self.answers.update(self._run({name: Command(arguments, limit), **loaded}))

    @property
    def _hangs(self) -> bool:
        return any(answer.hangs for answer in self.answers.values())

    @property
    def _seconds_left(self) -> float:
        return self._end - time.monotonic()


def accept(
    wanted: Wanted,
    timeout: float,
    tool_timeout: float,
    controller_time: float | None = None,
    writes: bool = True,
    root: str = "/",
    run: Run = run_commands,
) -> dict[str, t.Any]:
    """Test the machine and return the result. ``controller_time``: seconds since 1970, to check the clock.

    ``writes``: whether the speed of the disk is measured by writing a file.
    """
    began, ahead = time.monotonic(), None if controller_time is None else round(time.time() - controller_time, 1)
    answers = Acceptance(wanted, timeout, tool_timeout, run).run_programs(writes)
    readings = Readings(answers, root, ahead)
    findings = verdicts.findings(readings, wanted)
    dcgm = re.search(r'"version"\s*:\s*"([^"]*)"', readings.output("dcgmi"))
    return {
        "verdict": verdicts.worst(finding.verdict for finding in findings),
        "findings": [vars(finding) for finding in findings],
        "reasons": verdicts.reasons(findings),
        "tools": {
            "driver": readings.smi.driver if readings.smi else None,
            "cuda": readings.smi.cuda if readings.smi else None,
            "dcgm": dcgm[1] if dcgm else None,
            "kernel": os.uname().release,
        },
        "seconds": round(time.monotonic() - began, 1),
        "evidence": evidence(answers),
    }


def measure_hardware(root: str, seconds: float = 60.0, run: Run = run_commands) -> dict[str, t.Any]:
    """The hardware of a machine, for `machine_info`. ``seconds``: the time limit of nvidia-smi."""
    return Readings(run({"nvidia-smi": Command(SMI, seconds)}), root).machine


def accept_by_options(options: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Run the test of the module's options. Raises ValueError for an invalid option."""
    level = options["level"]
    wanted = Wanted(
        level="health" if check_mode and level in _LOADED else level,
        offer=options["expected"],
        min_driver=least_version("min_driver", options["min_driver"]),
        min_cuda=least_version("min_cuda", options["min_cuda"]),
        thresholds=thresholds_of(options["thresholds"]),
    )
    timeout = options["timeout"] if options["timeout"] is not None else TIMEOUTS[level]
    return accept(wanted, timeout, options["tool_timeout"], options["controller_time"], writes=not check_mode)


# Evidence for the vendor. The clocks that a GPU supports are left out: they are most of nvidia-smi's output.
_CLOCKS = re.compile(r"<supported_clocks>.*?</supported_clocks>\s*", re.DOTALL)
_OF_INTEREST = re.compile(r"NVRM|nvidia|nvlink|Xid|AER|Linux version", re.IGNORECASE)


def evidence(answers: Answers, most: int = MOST_EVIDENCE) -> list[dict[str, t.Any]]:
    """The raw outputs, in at most ``most`` bytes of JSON; the longest are cut."""
    rows = [
        {
            "command": " ".join(answer.command)[:200],
            "exit_code": answer.code,
            "seconds": round(answer.seconds, 1),
            "output": _shortened(name, answer.output + answer.errors)[:most],
        }
        for name, answer in answers.items()
    ]
    while len(json.dumps(rows)) > most:
        longest = max(rows, key=lambda row: len(str(row["output"])))
        longest["output"] = str(longest["output"])[: len(str(longest["output"])) * 3 // 4]
    return rows


def _shortened(name: str, text: str) -> str:
    if name in LOGS:
        return "\n".join(line for line in text.splitlines() if _OF_INTEREST.search(line))
    return _CLOCKS.sub("", text)
