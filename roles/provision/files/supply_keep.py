# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes when this machine was last in use, and lets its users postpone its end for being idle.

    supply-keep 6h     keep the machine for six hours, even if it is idle (90m, 6h, 3d; at most 30d)
    supply-keep off    withdraw your note
    supply-keep        show all notes

A timer runs "supply-keep --sample PERCENT". Anything unknown counts as use. Times are by the clock since the boot,
which cannot be set. This program ends no machine, and sends nothing.
"""

import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.environ.get("SUPPLY_IDLE_ROOT", "/")  # tests set another folder
STATE = ROOT + "run/supply-idle/state.json"  # gone after a boot: then the boot itself is the last use
KEEPS = ROOT + "var/lib/supply-keep"

GAP = 300  # seconds; after a longer time without a sample, it is unknown whether the machine was used
SMI_SECONDS = 60  # without persistence mode nvidia-smi starts the driver each time
PROCESS = 0.01  # share of one CPU; a process on a GPU that uses more is at work
LOAD = 0.5  # average of five minutes; one busy thread is 1
NETWORK = 1e6  # bytes per second: a download, which is no load
SSH_SECONDS = 300  # shorter connections are Ansible's, which reads this state
MOST = 30 * 86400  # seconds that supply-keep takes
# The process of a logged-in connection; "[priv]" is one of root that only forwards ports.
SSH = re.compile(r"sshd(-session)?: (?!\[)\S+( \[priv\])?$")
TERMINALS = ("dev/pts/[0-9]*", "dev/tty[1-9S]*", "dev/hvc*")
TICKS = os.sysconf("SC_CLK_TCK")


def read(path: str) -> str:
    with open(ROOT + path, errors="replace") as file:
        return file.read()


def uptime() -> float:
    return float(read("proc/uptime").split()[0])


def boot() -> str:
    return read("proc/sys/kernel/random/boot_id").strip()


def process(pid: str) -> tuple:
    """The start of a process (seconds since the boot), and the CPU seconds that it has used."""
    fields = read(f"proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) / TICKS, (int(fields[11]) + int(fields[12])) / TICKS


def write(path: str, value: dict) -> None:
    """Replace a file in one step; all users may read it."""
    new = os.path.join(os.path.dirname(path), f".{os.getpid()}.{os.path.basename(path)}")
    with open(new, "x") as file:
        json.dump(value, file)
    os.chmod(new, 0o644)
    os.replace(new, path)


def state() -> dict:
    """The last sample of this boot; {} without a valid one."""
    try:
        with open(STATE) as file:
            found = json.load(file)
        numbers = [found["at"], found["active"]]
        return found if found["boot"] == boot() and all(isinstance(each, float) for each in numbers) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


class Sample:
    """One sample. Each check returns the use that it found ("" for none), and its observation."""

    def __init__(self, percent: int) -> None:
        self.percent, self.now, self.clock, self.last = percent, uptime(), time.time(), state()
        self.passed = self.now - self.last["at"] if self.last else 0
        self.new = {"boot": boot(), "at": self.now, "load": LOAD, "cpu": {}}

    def watched(self) -> tuple:
        if not self.last:
            return "the machine or this sampler was started", ""
        if not 0 <= self.passed <= GAP:
            return f"no sample for {self.passed:.0f} seconds", ""
        if os.path.exists(ROOT + "run/cloud-init/enabled") and not os.path.exists(ROOT + "run/cloud-init/result.json"):
            return "cloud-init has not finished", ""
        return "", ""

    def smi(self, query: str) -> list:
        """The lines of nvidia-smi. If it hangs in the driver, it cannot be killed, so this does not wait for it."""
        hung = self.last.get("hung")
        if hung and os.path.exists(f"{ROOT}proc/{hung}") and read(f"proc/{hung}/comm").strip() == "nvidia-smi":
            self.new["hung"] = hung
            raise ValueError("nvidia-smi still hangs")
        with tempfile.TemporaryFile() as output:
            command = ["nvidia-smi", f"--query-{query}", "--format=csv,noheader,nounits"]
            pipes = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.DEVNULL}
            try:
                smi = subprocess.Popen(command, start_new_session=True, **pipes)
            except OSError as error:
                raise ValueError(f"nvidia-smi cannot be run ({error.strerror})") from None
            try:
                code = smi.wait(SMI_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(smi.pid, signal.SIGKILL)
                self.new["hung"] = smi.pid
                raise ValueError(f"nvidia-smi does not answer within {SMI_SECONDS} seconds") from None
            output.seek(0)
            lines = output.read().decode(errors="replace").splitlines()
        if code:
            raise ValueError(f"nvidia-smi fails ({code})")
        return [line.strip() for line in lines if line.strip()]

    def gpus(self) -> tuple:
        used = self.smi("gpu=utilization.gpu")
        for number, each in enumerate(used):
            if not re.fullmatch("[0-9]{1,3}", each):
                raise ValueError(f"nvidia-smi reports '{each[:40]}' for GPU {number}")
        devices = [path[len(ROOT) :] for path in glob.glob(ROOT + "sys/bus/pci/devices/*")]
        on_bus = sum(read(f"{d}/vendor").strip() == "0x10de" and read(f"{d}/class")[:4] == "0x03" for d in devices)
        self.new["gpus"] = most = max(len(used), on_bus, self.last.get("gpus", 1))
        if len(used) < most:
            raise ValueError(f"nvidia-smi shows {len(used)} of {most} GPUs")
        busy = [f"GPU {number} at {each} %" for number, each in enumerate(used) if int(each) > self.percent]
        if busy:
            return busy[0], ", ".join(busy)
        # Includes processes in containers: the driver gives their ids on this machine.
        pids = self.smi("compute-apps=pid")
        for pid in pids:
            start, seconds = process(str(int(pid)))
            name = f"{pid} {start}"
            self.new["cpu"][name] = seconds
            # A process that the last sample does not have has begun since.
            if seconds - self.last.get("cpu", {}).get(name, -self.passed) > PROCESS * self.passed:
                busy.append(f"process {pid}, which holds memory of a GPU, is at work")
        seen = f"{len(used)} GPU{'s' * (len(used) != 1)} at {max(map(int, used))} %"
        return "".join(busy[:1]), seen + (f" with {len(pids)} processes" if pids else "")

    def connections(self) -> tuple:
        found, now = 0, uptime()
        for pid in filter(str.isdigit, os.listdir(ROOT + "proc")):
            try:
                if SSH.match(read(f"proc/{pid}/cmdline").strip("\0 ")):
                    found += not -1 <= now - process(pid)[0] < SSH_SECONDS
            except OSError:
                pass  # it has ended
        return "an SSH connection" if found else "", "" if found else "no SSH connection"

    def terminals(self) -> tuple:
        # All times of a new terminal are its creation; the kernel rounds them to eight seconds.
        since = self.clock - self.passed - 10
        for path in (path for each in TERMINALS for path in glob.glob(ROOT + each)):
            try:
                times = os.stat(path)
            except OSError:
                continue
            if times.st_atime > max(since, times.st_ctime + 8):
                return f"somebody types at {path[len(ROOT) :]}", ""
        return "", ""

    def load(self) -> tuple:
        load = float(read("proc/loadavg").split()[1])
        return "" if load <= LOAD else f"load {load:.2f}", f"load {load:.2f}"

    def network(self) -> tuple:
        lines = [line.split(":") for line in read("proc/net/dev").splitlines()[2:]]
        counts = [numbers.split() for name, numbers in lines if name.strip() != "lo"]
        self.new["bytes"] = sum(int(each[0]) + int(each[8]) for each in counts)
        rate = (self.new["bytes"] - self.last["bytes"]) / max(self.passed, 1) if "bytes" in self.last else 0
        said = f"network {rate / 1e6:.2f} MB/s"
        return "" if 0 <= rate <= NETWORK else said, said

    def take(self) -> None:
        reasons, seen = [], []
        for check in (self.watched, self.gpus, self.connections, self.terminals, self.load, self.network):
            try:
                reason, saw = check()
            except Exception as error:
                reason = saw = f"{check.__name__} unknown: {str(error) or type(error).__name__}"
            reasons += [reason] if reason else []
            seen += [saw] if saw else []
        self.new.update(active=self.now if reasons else self.last["active"], seen=", ".join(seen))
        self.new["why"] = reasons[0] if reasons else self.last.get("why", "")
        write(STATE, self.new)


def keep(text: str) -> None:
    path = os.path.join(KEEPS, str(os.getuid()))
    if text == "off":
        if os.path.exists(path):
            os.remove(path)
        return
    found = re.fullmatch("([0-9]{1,5})([mhd])", text)
    seconds = int(found.group(1)) * {"m": 60, "h": 3600, "d": 86400}[found.group(2)] if found else 0
    if not 0 < seconds <= MOST:
        sys.exit("supply-keep: how long? For example 90m, 6h or 3d; at most 30d. Or off.")
    write(path, {"until": time.time() + seconds, "boot": boot(), "uptime": uptime() + seconds})


def utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def show() -> None:
    last, now = state(), time.time()
    passed = uptime() - last["at"] if last else -1
    if not 0 <= passed <= GAP:
        print("It is unknown whether this machine is in use, so it does not count as idle.")
    elif last["active"] == last["at"]:
        print(f"This machine is in use: {last['why']}.")
    else:
        print(f"This machine has been idle since {utc(now - uptime() + last['active'])}: {last['seen']}.")
    for path in filter(os.path.isfile, glob.glob(KEEPS + "/[0-9]*")):
        user = os.path.basename(path)
        try:
            with open(path) as file:
                until = float(json.load(file)["until"])
            if until > now:
                print(f"It is kept until {utc(until)} (user {user}); a lease ends nevertheless.")
        except (OSError, ValueError, LookupError, TypeError, OverflowError):
            print(f"The note of the user {user} is invalid, so the machine does not count as idle.")


def main(arguments: list) -> None:
    if arguments[:1] == ["--sample"]:
        percent = int(arguments[1])
        if not 0 <= percent < 100:
            sys.exit("supply-keep: no GPU is above that")
        Sample(percent).take()
    elif len(arguments) == 1:
        keep(arguments[0])
        show()
    elif not arguments:
        show()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"supply-keep: {error}")
