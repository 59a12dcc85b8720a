# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine simulated in a folder, with the real sampler and a replaced nvidia-smi. Tests set its clocks."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine import activity

SCRIPT = Path(__file__).parents[3] / "roles" / "provision" / "files" / "supply_keep.py"
TICKS = os.sysconf("SC_CLK_TCK")
IDLE = "\n".join(["0"] * 8)
READER = 900  # the process of the module, which has its own SSH connection
SMI = """#!/bin/sh
case "$1 $2" in
  '--query-gpu=utilization.gpu --format=csv,noheader,nounits') printf '%s\\n' '{gpus}' ;;
  '--query-compute-apps=pid --format=csv,noheader,nounits') printf '%s\\n' '{apps}' ;;
  *) exit 9 ;;
esac
"""


class IdleMachine:
    """A simulated machine. ``run_sampler`` runs the sampler, ``activity`` the module activity_info."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.bin = folder / "root", folder / "bin"
        for name in ("run/supply-idle", "var/lib/supply-keep", "dev/pts", "proc", "sys/bus/pci/devices"):
            (self.root / name).mkdir(parents=True)
        self.bin.mkdir()
        self.clock, self.uptime = 1_795_750_000.0, 1000.0
        monkeypatch.setenv("SUPPLY_IDLE_ROOT", f"{self.root}/")
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        spec = importlib.util.spec_from_file_location("supply_keep", SCRIPT)
        assert spec and spec.loader
        self.script: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.script)
        clock = SimpleNamespace(time=lambda: self.clock)
        for name in ("gmtime", "strftime"):
            setattr(clock, name, getattr(self.script.time, name))
        monkeypatch.setattr(self.script, "time", clock)
        self.reboot()
        self.write("proc/loadavg", "0.01 0.02 0.03 1/234 5678\n")
        self.set_received_bytes(0)
        self.add_process(1, "/sbin/init")
        self.set_gpu_usage(IDLE)

    def write(self, name: str, text: str) -> None:
        """Write a file of the machine."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def reboot(self, boot: str = "boot-1") -> None:
        """Set the boot id, and empty the folder /run."""
        self.write("proc/sys/kernel/random/boot_id", f"{boot}\n")
        self.state_file.unlink(missing_ok=True)
        self.advance(0)

    @property
    def state_file(self) -> Path:
        return self.root / "run/supply-idle/state.json"

    @property
    def state(self) -> dict[str, Any]:
        """The sampler's note."""
        found: dict[str, Any] = json.loads(self.state_file.read_text())
        return found

    def advance(self, seconds: float) -> None:
        """Let time pass (in seconds) without a sample."""
        self.clock += seconds
        self.uptime += seconds
        self.write("proc/uptime", f"{self.uptime:.2f} 1.00\n")

    def add_process(self, pid: int, title: str, *, age: float = 0, used: float = 0, parent: int = 1) -> None:
        """Add a process that started ``age`` seconds ago and has ``used`` this many seconds of CPU time."""
        start = int((self.uptime - age) * TICKS)
        fields = ["S", parent, 1, 1, 0, -1, 0, 0, 0, 0, 0, int(used * TICKS), 0, 0, 0, 20, 0, 1, 0, start, 0]
        self.write(f"proc/{pid}/cmdline", title.replace(" -", "\0-"))
        self.write(f"proc/{pid}/stat", f"{pid} (a) b) {' '.join(map(str, fields))}\n")

    def use_cpu(self, pid: int, seconds: float) -> None:
        """Add CPU time (in seconds) to a process."""
        path = self.root / f"proc/{pid}/stat"
        head, _paren, tail = path.read_text().rpartition(")")
        fields = tail.split()
        fields[11] = str(int(fields[11]) + int(seconds * TICKS))
        path.write_text(f"{head}) {' '.join(fields)}\n")

    def set_received_bytes(self, count: int) -> None:
        """Set the number of bytes that the network has received since the boot."""
        row = "{}: {} 0 0 0 0 0 0 0 1000 0 0 0 0 0 0 0\n"
        self.write("proc/net/dev", "head\nhead\n" + row.format("    lo", 10**15) + row.format("  eth0", count))

    def set_gpu_usage(self, gpus: str, apps: str = "") -> None:
        """Replace nvidia-smi by a script that prints this usage, and these processes (``apps``)."""
        self.replace_nvidia_smi(SMI.format(gpus=gpus, apps=apps))

    def replace_nvidia_smi(self, script: str | None) -> None:
        """Replace nvidia-smi by this script. None: remove it."""
        path = self.bin / "nvidia-smi"
        path.unlink(missing_ok=True)
        if script is not None:
            path.write_text(script)
            path.chmod(0o755)

    def gpus_on_bus(self, count: int) -> None:
        """Set the number of GPUs on the PCI bus."""
        for number in range(count):
            self.write(f"sys/bus/pci/devices/{number}/vendor", "0x10de\n")
            self.write(f"sys/bus/pci/devices/{number}/class", "0x030200\n")
        self.write("sys/bus/pci/devices/nic/vendor", "0x15b3\n")
        self.write("sys/bus/pci/devices/nic/class", "0x020700\n")

    def run_sampler(self, times: int = 1, period: float = 60) -> None:
        """Run the sampler repeatedly, each time after a period in seconds."""
        for _time in range(times):
            self.advance(period)
            self.script.main(["--sample", "5"])

    def activity(self) -> activity.Activity:
        """The result of the module, which is connected by SSH meanwhile."""
        own = (READER - 2, READER - 1, READER)
        for pid, title in zip(own, ("sshd: root@pts/0", "/bin/sh", "python3"), strict=True):
            self.add_process(pid, title, parent=1 if pid == own[0] else pid - 1)
        found = activity.read_activity(str(self.root), READER, self.clock)
        for pid in own:
            shutil.rmtree(self.root / f"proc/{pid}")
        return activity.activity_of(found)

    def assert_activity(self, state: str, evidence: str = "", since: float | None = None) -> None:
        """Check the module's result. ``since``: seconds since the last use; None: not checked."""
        found = self.activity()
        assert (found.state, evidence in found.evidence) == (state, True), found
        if since is not None:
            assert found.since == pytest.approx(self.clock - since, abs=0.02), found
            assert found.idle_seconds == pytest.approx(since if state == "idle" else 0, abs=0.02), found
