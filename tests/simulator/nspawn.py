# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that are Debian with systemd, cloud-init and sshd, booted by systemd-nspawn: for root, on Debian.

A machine is one process tree. Its mounts and its network live in namespaces without a name, which end with their last
process, and the kernel ends that when the simulator's thread ends, however that happens. Only folders may be left
behind; the next backend, and ``python -m simulator.nspawn --clean``, remove those whose owner is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .instances import MARK, NO_PROGRAMS, Programs, install, kill, marked_processes
from .market import Address

#: The folder of root file systems, and of machines while they run.
MACHINES = Path(__file__).resolve().parents[2] / ".build" / "machines"
#: Each machine has two of these addresses: the computer's end of its cable, and its own. The network is reserved
#: for measurements (RFC 2544), and not routed.
NETWORK = "198.18.0"
STOP_SECONDS = 3

#: As in a cloud's image: the place of the user data, and root may log in. One kind of host key is enough.
CLOUD_CONFIG = """\
datasource_list: [NoCloud, None]
disable_root: false
network: {config: disabled}
ssh_genkeytypes: [ed25519]
ssh_quiet_keygen: true
ssh: {emit_keys_to_console: false}
no_ssh_fingerprints: true
"""
#: The image lacks everything that differs on each machine of a cloud.
CUSTOMIZE = f"""
cd "$1"
rm -f etc/ssh/ssh_host_* etc/hostname etc/resolv.conf
: > etc/machine-id
echo '127.0.0.1 localhost' > etc/hosts
echo '{CLOUD_CONFIG}' > etc/cloud/cloud.cfg.d/90_image.cfg
"""
BUILD = [
    "mmdebstrap",
    "--quiet",
    "--mode=root",
    "--variant=apt",
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--include=openssh-server,cloud-init,python3,python3-apt,sudo,systemd-sysv,iproute2,netbase,dbus,udev,kmod,tzdata",
    f"--customize-hook={CUSTOMIZE}",
    "trixie",
]

#: A machine's own mounts, processes and network. The parent's end, even by SIGKILL, is theirs: nspawn alone would leave
#: its machine running.
ISOLATE = ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
#: sh -c LAUNCH, then: a machine's folder, a descriptor of the computer's network, cgroups joined by colons, a command.
LAUNCH = f"""
set -eu
cd "$0"
computer=/proc/self/fd/$1 groups=$2
shift 2
IFS=:
for group in $groups; do
    echo 0 > "$group/cgroup.procs"
done
# Where nspawn leaves traces of its own.
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
# Relative names, since colons and commas would have to be escaped.
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay root
# A name is free as soon as its machine is gone, and is given to one only.
number=1
until nsenter --net="$computer" ip link add "supply$number" type veth peer name host0 netns 1; do
    number=$((number + 1))
    [ $number -le 127 ]
done
nsenter --net="$computer" ip address add "{NETWORK}.$((2 * number))/31" dev "supply$number"
nsenter --net="$computer" ip link set "supply$number" up
ip address add "{NETWORK}.$((2 * number + 1))/31" dev host0
ip link set lo up
ip link set host0 up
echo $number
exec "$@" < /dev/null > console 2>&1
"""
NSPAWN = [
    "systemd-nspawn",
    "--quiet",
    "--directory=root",
    "--register=no",
    "--keep-unit",
    "--network-namespace-path=/proc/self/ns/net",
    "--link-journal=no",
    "--resolv-conf=off",
    "--timezone=off",
    "--console=read-only",
    "--boot",
]


class NspawnBackend:
    """Machines in namespaces of this computer; making the first one takes up to a minute, for the root file system."""

    def __init__(self, machines: Path = MACHINES, options: Sequence[str] = ()) -> None:
        """``options``: further ones for systemd-nspawn."""
        self.options = options
        with locked(machines):
            clean(machines)
            self.image = image(machines)
            self.root = Path(tempfile.mkdtemp(prefix="run-", dir=machines))
            # Held until this process ends: as long as it is, the folder has an owner.
            self.lock = (self.root / "lock").open("w")
            fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.machines: dict[str, Machine] = {}

    def folder(self, resource_id: str) -> Path:
        """Exists from the start of a machine to its end, with its ``console`` too."""
        return self.root / resource_id

    async def start(
        self, resource_id: str, ssh_public_key: str, cloud_init: str | None, programs: Programs = NO_PROGRAMS
    ) -> Address:
        """Switch a machine on. As on a cloud some seconds pass from here to its first answer over SSH."""
        machine = self.machines[resource_id] = Machine(self.folder(resource_id), self.image)
        machine.seed(ssh_public_key, cloud_init)
        install(programs, machine.folder / "upper" / "usr" / "local" / "bin")
        return await machine.boot([*self.options, "--machine", resource_id])

    async def stop(self, resource_id: str) -> None:
        """Shut a machine down and remove its disk."""
        machine = self.machines.pop(resource_id, None)
        if machine:
            await machine.stop()

    async def close(self) -> None:
        """Stop all machines and leave nothing behind but the root file system."""
        await asyncio.gather(*(self.stop(each) for each in list(self.machines)))
        shutil.rmtree(self.root, ignore_errors=True)
        self.lock.close()


class Machine:
    """A disk, which is what differs from the image, and the processes that use it."""

    def __init__(self, folder: Path, lower: Path) -> None:
        self.folder = folder
        for name in ("upper", "work", "root"):
            (folder / name).mkdir(parents=True)
        (folder / "lower").symlink_to(lower)
        self.process: asyncio.subprocess.Process | None = None
        self.init = 0
        self.cable = Path("/nowhere")

    def seed(self, ssh_public_key: str, cloud_init: str | None) -> None:
        """Put on the disk what cloud-init asks for at the first boot."""
        seed = self.folder / "upper" / "var" / "lib" / "cloud" / "seed" / "nocloud"
        seed.mkdir(parents=True)
        name = self.folder.name
        meta_data = {"instance-id": name, "local-hostname": name, "public-keys": [ssh_public_key.strip()]}
        (seed / "meta-data").write_text(json.dumps(meta_data))
        (seed / "user-data").write_bytes((cloud_init or "").encode())
        if cloud_init is not None:
            (self.folder / "user-data").write_bytes(cloud_init.encode())

    async def boot(self, options: list[str]) -> Address:
        """Start the processes; returns when the cable is plugged in."""
        computer = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            with (self.folder / "launch").open("wb") as log:
                self.process = await asyncio.create_subprocess_exec(
                    *launch(self.folder, computer, [*NSPAWN, *options]),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    pass_fds=[computer],
                    env=environment(self.folder),
                )
        finally:
            os.close(computer)
        assert self.process.stdout
        number = int(await self.process.stdout.readline() or 0)
        if not number:
            raise RuntimeError(f"a machine did not start: {(self.folder / 'launch').read_text()}")
        self.cable = Path(f"/sys/class/net/supply{number}/ifindex")
        pid = self.process.pid
        self.init = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        # The mounted disk as the machine sees it, by way of its first process.
        disk = Path("/proc", str(self.init), "root", *self.folder.parts[1:], "root")
        (self.folder / "home").symlink_to(disk / "root")
        return Address(f"{NETWORK}.{2 * number + 1}", 22)

    async def stop(self) -> None:
        """Shut down, or cut the power if that takes too long; returns when nothing is left."""
        cable = read(self.cable)
        if self.process and self.init:
            with suppress(asyncio.TimeoutError):
                kill(self.init, signal.SIGTERM)
                await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        while end(self.folder):
            await asyncio.sleep(0.01)
        # The kernel unplugs it a moment after the last process.
        while cable and read(self.cable) == cable:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(remove, self.folder)


def launch(folder: Path, computer: int, command: list[str]) -> list[str]:
    """The command that runs ``command`` as a machine's first process, and prints the machine's number before."""
    made = []
    for group in cgroups():
        # Two machines in one group would end each other's processes.
        made.append(group / f"supply-{folder.parent.name}-{folder.name}")
        made[-1].mkdir()
    groups = ":".join(map(str, made))
    (folder / "cgroups").write_text(groups)
    return [*ISOLATE, "unshare", "--net", "sh", "-c", LAUNCH, str(folder), str(computer), groups, *command]


def environment(folder: Path) -> dict[str, str]:
    """The environment of a machine's first process, by which it is found."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", MARK: str(folder)}


def cgroups() -> list[Path]:
    """The folders of this process in the cgroup hierarchies that systemd uses: the unified one, or its own old one."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _number, controllers, place = line.split(":", 2)
        own[controllers] = place
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, kind = (part.split(" ") for part in line.split(" - ", 1))
        name = {"cgroup2": "", "cgroup": "name=systemd"}.get(kind[0])
        if name in own and (not name or name in kind[2].split(",")):
            path = Path(fields[4], os.path.relpath(own[name], fields[3]))
            found.append(path if ".." not in path.parts and path.exists() else Path(fields[4]))
    return found


def end(folder: Path) -> bool:
    """End the processes of a machine; whether there were any."""
    pids = marked_processes(f"{MARK}={folder}")
    for pid in pids:
        kill(pid, signal.SIGKILL)
    return bool(pids)


def remove(folder: Path) -> None:
    """Remove the folder of a machine without processes."""
    deadline = time.monotonic() + STOP_SECONDS
    for group in filter(None, read(folder / "cgroups").split(":")):
        # Killed processes are in there until the kernel is done with them.
        while os.path.exists(group) and time.monotonic() < deadline:
            for path, _folders, _files in os.walk(group, topdown=False):
                with suppress(OSError):
                    os.rmdir(path)
            time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=True)


def clean(machines: Path) -> list[Path]:
    """End and remove what owners left that are gone; the folder must be locked."""
    removed, owned = [], False
    for run in machines.glob("run-*"):
        if is_owned(run):
            owned = True
            continue
        for folder in filter(Path.is_dir, run.iterdir()):
            while end(folder):
                time.sleep(0.01)
            remove(folder)
        shutil.rmtree(run, ignore_errors=True)
        removed.append(run)
    for root in machines.glob("root-*"):
        # From an interrupted build, or an older list of packages
        if not owned and root.name != image_name():
            shutil.rmtree(root, ignore_errors=True)
    return removed


def is_owned(run: Path) -> bool:
    """Whether the process that made this folder still runs."""
    try:
        with (run / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


@contextmanager
def locked(machines: Path) -> Iterator[None]:
    """Hold the folder, so that one process at a time builds or cleans."""
    machines.mkdir(parents=True, exist_ok=True)
    with (machines / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def image_name() -> str:
    """The name of the root file system that BUILD describes."""
    return f"root-{hashlib.sha256(repr(BUILD).encode()).hexdigest()[:12]}"


def image(machines: Path) -> Path:
    """The root file system of all machines, made if it is not there; the folder must be locked."""
    root = machines / image_name()
    if not root.exists():
        unfinished = root.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        # Isolated, so that an interrupted build leaves nothing mounted there.
        done = subprocess.run([*ISOLATE, *BUILD, str(unfinished)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"mmdebstrap cannot make a root file system: {done.stderr[-2000:]}")
        unfinished.rename(root)
    return root


def obstacle(machines: Path = MACHINES) -> str:
    """Why such machines cannot run here, in a few words; empty if they can."""
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid():
        return "needs root"
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        return "needs Debian"
    for program, package in (("systemd-nspawn", "systemd-container"), ("mmdebstrap", "mmdebstrap"), ("ip", "iproute2")):
        if not shutil.which(program):
            return f"needs {program}: apt-get install {package}"
    command = ["ip", "-4", "route", "show", "root", f"{NETWORK}.0/24"]
    routes = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if any(" dev supply" not in line for line in routes.stdout.splitlines()):
        return f"{NETWORK}.0/24 is in use"
    # Everything but the machine itself.
    with locked(machines), tempfile.TemporaryDirectory(prefix="run-", dir=machines) as name:
        folder = Machine(Path(name, "machine"), Path(name)).folder
        computer = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            command = launch(folder, computer, ["true"])
            done = subprocess.run(
                command, env=environment(folder), pass_fds=[computer], capture_output=True, text=True, check=False
            )
        except OSError as error:
            return f"cgroups, mounts or networks are not permitted here: {error}"
        finally:
            os.close(computer)
            remove(folder)
    return "" if done.returncode == 0 else f"mounts or networks are not permitted here: {done.stderr.strip()}"


def read(path: Path) -> str:
    """The content of a file, or nothing."""
    try:
        return path.read_text()
    except OSError:
        return ""


def main() -> int:
    """Clean up."""
    parser = argparse.ArgumentParser(prog="python -m simulator.nspawn", description=__doc__)
    parser.add_argument("--clean", action="store_true", required=True, help="remove what dead owners have left")
    parser.add_argument("--folder", type=Path, default=MACHINES, help="where the machines are")
    options = parser.parse_args()
    with locked(options.folder):
        for each in clean(options.folder):
            print(f"removed {each}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
