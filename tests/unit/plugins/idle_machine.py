# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine in a folder, with the real sampler on it and a stand-in nvidia-smi. Its clocks can be moved."""

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
READER = 900  # the process of the module, which came by an SSH connection of its own
SMI = """#!/bin/sh
case "$1 $2" in
  '--query-gpu=utilization.gpu --format=csv,noheader,nounits') printf '%s\\n' '{gpus}' ;;
  '--query-compute-apps=pid --format=csv,noheader,nounits') printf '%s\\n' '{apps}' ;;
  *) exit 9 ;;
esac
"""


class IdleMachine:
    """A machine for tests: ``use`` and others prepare it, ``sample`` runs the sampler, ``activity`` asks the module."""

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
        self.network(0)
        self.process(1, "/sbin/init")
        self.smi(IDLE)

    def write(self, name: str, text: str) -> None:
        """A file of the machine."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def reboot(self, boot: str = "boot-1") -> None:
        """Another boot id, and nothing below /run."""
        self.write("proc/sys/kernel/random/boot_id", f"{boot}\n")
        self.state_file.unlink(missing_ok=True)
        self.wait(0)

    @property
    def state_file(self) -> Path:
        return self.root / "run/supply-idle/state.json"

    @property
    def state(self) -> dict[str, Any]:
        """The sampler's note."""
        found: dict[str, Any] = json.loads(self.state_file.read_text())
        return found

    def wait(self, seconds: float) -> None:
        """Time passes, unwatched."""
        self.clock += seconds
        self.uptime += seconds
        self.write("proc/uptime", f"{self.uptime:.2f} 1.00\n")

    def process(self, pid: int, title: str, *, age: float = 0, used: float = 0, parent: int = 1) -> None:
        """A process that was started ``age`` seconds ago and has ``used`` so many of a CPU."""
        start = int((self.uptime - age) * TICKS)
        fields = ["S", parent, 1, 1, 0, -1, 0, 0, 0, 0, 0, int(used * TICKS), 0, 0, 0, 20, 0, 1, 0, start, 0]
        self.write(f"proc/{pid}/cmdline", title.replace(" -", "\0-"))
        self.write(f"proc/{pid}/stat", f"{pid} (a) b) {' '.join(map(str, fields))}\n")

    def work(self, pid: int, seconds: float) -> None:
        """The process has used more of a CPU."""
        path = self.root / f"proc/{pid}/stat"
        head, _paren, tail = path.read_text().rpartition(")")
        fields = tail.split()
        fields[11] = str(int(fields[11]) + int(seconds * TICKS))
        path.write_text(f"{head}) {' '.join(fields)}\n")

    def network(self, count: int) -> None:
        """So many bytes since the boot."""
        row = "{}: {} 0 0 0 0 0 0 0 1000 0 0 0 0 0 0 0\n"
        self.write("proc/net/dev", "head\nhead\n" + row.format("    lo", 10**15) + row.format("  eth0", count))

    def smi(self, gpus: str, apps: str = "") -> None:
        """A stand-in that says this."""
        self.smi_script(SMI.format(gpus=gpus, apps=apps))

    def smi_script(self, script: str | None) -> None:
        path = self.bin / "nvidia-smi"
        path.unlink(missing_ok=True)
        if script is not None:
            path.write_text(script)
            path.chmod(0o755)

    def gpus_on_bus(self, count: int) -> None:
        for number in range(count):
            self.write(f"sys/bus/pci/devices/{number}/vendor", "0x10de\n")
            self.write(f"sys/bus/pci/devices/{number}/class", "0x030200\n")
        self.write("sys/bus/pci/devices/nic/vendor", "0x15b3\n")
        self.write("sys/bus/pci/devices/nic/class", "0x020700\n")

    def sample(self, times: int = 1, period: float = 60) -> None:
        """The timer runs, a period after the last time."""
        for _time in range(times):
            self.wait(period)
            self.script.main(["--sample", "5"])

    def activity(self) -> activity.Activity:
        """The result of the module, which connects by SSH for a moment."""
        own = (READER - 2, READER - 1, READER)
        for pid, title in zip(own, ("sshd: root@pts/0", "/bin/sh", "python3"), strict=True):
            self.process(pid, title, parent=1 if pid == own[0] else pid - 1)
        found = activity.read_activity(str(self.root), READER, self.clock)
        for pid in own:
            shutil.rmtree(self.root / f"proc/{pid}")
        return activity.activity_of(found)

    def check(self, state: str, evidence: str = "", since: float | None = None) -> None:
        """See this, and that it was in use ``since`` seconds ago (None: does not matter)."""
        found = self.activity()
        assert (found.state, evidence in found.evidence) == (state, True), found
        if since is not None:
            assert found.since == pytest.approx(self.clock - since, abs=0.02), found
            assert found.idle_seconds == pytest.approx(since if state == "idle" else 0, abs=0.02), found
