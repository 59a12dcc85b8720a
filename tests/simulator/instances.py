# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines behind the resources: an interface, and SSH servers on this computer that implement it.

Whatever a command does there it does to this computer, as the user who runs the simulator: only the home folder is
the machine's own.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import asyncssh

from .market import Address
from .settings import Settings

#: Names the machine in the environment of its processes, so that those that left their process group are found too.
MARK = "SIMULATED_MACHINE"
#: A command that leaves this file in the home folder has restarted the machine, as far as those who are connected see.
#: A file with a word waits for a command that has it.
RESTART = "restart"
#: Of this computer's commands a machine has the system's own, and the Python that runs the simulator. On a developer's
#: PATH Ansible may discover a Python that does not run everywhere, such as a shim of pyenv.
MACHINE_PATH = f"{os.path.dirname(sys.executable)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: The folder of modules that the tests have compiled, for machines; empty if the tests keep none.
COMPILED = [name for name in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.basename(name) == "compiled"]


#: The texts of scripts, by their names.
Programs = Mapping[str, str]
NO_PROGRAMS: Programs = MappingProxyType({})


class InstanceBackend(Protocol):
    """What runs machines. One thread's event loop calls it; ``stop`` may interrupt no ``start`` of the same id."""

    async def start(
        self, resource_id: str, ssh_public_key: str, cloud_init: str | None, programs: Programs = NO_PROGRAMS
    ) -> Address:
        """Boot a machine whose image has these programs; it is called ready when this returns."""

    async def stop(self, resource_id: str) -> None:
        """End a machine and remove its disk; an id that never started is fine."""

    async def close(self) -> None:
        """End everything."""

    def folder(self, resource_id: str) -> Path:
        """Where ``user-data`` (the cloud_init given) and ``home`` (of root) are."""


class SshBackend:
    """One asyncssh server, on 127.0.0.1 and a free port, for each machine."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.machines: dict[str, Machine] = {}

    @cached_property
    def root(self) -> Path:
        """The folder of all folders, made when it is first needed."""
        return Path(tempfile.mkdtemp(prefix="supply-simulator-"))

    def folder(self, resource_id: str) -> Path:
        """Exists from the start of a machine to its end."""
        return self.root / resource_id

    async def start(
        self, resource_id: str, ssh_public_key: str, cloud_init: str | None, programs: Programs = NO_PROGRAMS
    ) -> Address:
        """Take a port now, and listen on it after the ``ssh_delay_seconds``."""
        machine = self.machines[resource_id] = Machine(resource_id, self.folder(resource_id), ssh_public_key)
        install(programs, machine.home / "bin")
        if cloud_init is not None:
            (machine.folder / "user-data").write_bytes(cloud_init.encode())
            if self.settings.runs_user_data:
                (machine.home / ".supply-booted").touch()
        if not self.settings.ssh_delay_seconds:
            await machine.listen()
        else:
            machine.delayed = asyncio.create_task(machine.listen(self.settings.ssh_delay_seconds))
        return machine.address

    async def stop(self, resource_id: str) -> None:
        """Cut the power."""
        machine = self.machines.pop(resource_id, None)
        if machine:
            await machine.stop()

    async def close(self) -> None:
        """Stop all machines and leave nothing behind."""
        await asyncio.gather(*(self.stop(each) for each in list(self.machines)))
        shutil.rmtree(self.root, ignore_errors=True)


class Machine:
    """An SSH server that lets root in with one key, and the processes that were started through it."""

    def __init__(self, resource_id: str, folder: Path, ssh_public_key: str) -> None:
        self.resource_id, self.folder, self.home = resource_id, folder, folder / "home"
        (self.home / "bin").mkdir(parents=True)
        try:
            self.key: asyncssh.SSHKey | None = asyncssh.import_public_key(ssh_public_key)
        except asyncssh.KeyImportError:
            self.key = None  # as on a real machine, which runs but accepts no login
        self.socket = loopback_socket(0)
        self.address = Address(*self.socket.getsockname())
        self.server: asyncssh.SSHAcceptor | None = None
        self.delayed: asyncio.Task[None] | None = None
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.children: set[asyncio.subprocess.Process] = set()

    async def listen(self, delay: float = 0) -> None:
        """Accept connections; before that they are refused."""
        await asyncio.sleep(delay)
        self.server = await asyncssh.listen(
            sock=self.socket,
            server_factory=lambda: Login(self),
            process_factory=self.run,
            sftp_factory=lambda channel: Files(channel, self.home),
            encoding=None,
            line_editor=False,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            agent_forwarding=False,
        )

    async def stop(self) -> None:
        """End processes and connections, and remove the folder."""
        if self.delayed:
            self.delayed.cancel()
        if self.server:
            self.server.close()
        self.socket.close()
        for child in self.children:
            kill(-child.pid, signal.SIGKILL)
        for connection in list(self.connections):
            connection.abort()
        # A process that forks while /proc is read may be missed, hence until nothing is found.
        while pids := marked_processes(f"{MARK}={self.resource_id}"):
            for pid in pids:
                kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run a command, or a shell, with pipes or, where the client asks for one, with a terminal."""
        terminal = process.term_type is not None
        ours, theirs, arguments = plumbing(process.command, terminal)
        environment = {
            **process.env,
            "HOME": str(self.home),
            "PATH": f"{self.home}/bin:{MACHINE_PATH}",
            "USER": "root",
            "LOGNAME": "root",
            "SHELL": "/bin/sh",
            # All machines of this computer would share root's usual folder.
            "COMPUTE_INDEX_RUN_DIR": f"{self.home}/runs",
            MARK: self.resource_id,
            **({"PYTHONPATH": COMPILED[0]} if COMPILED else {}),
        }
        if process.term_type:
            environment["TERM"] = process.term_type
        try:
            child = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=theirs[0],
                stdout=theirs[1],
                stderr=theirs[2],
                cwd=self.home,
                env=environment,
                start_new_session=True,
            )
        finally:
            for each in set(theirs):
                os.close(each)
        self.children.add(child)
        feeding = asyncio.create_task(feed(process, ours[0], child.pid))
        await process.redirect(stdout=ours[1], stderr=None if terminal else ours[2], send_eof=False)
        status = await child.wait()
        self.children.discard(child)
        feeding.cancel()
        lost = self.home / RESTART
        if lost.exists() and lost.read_text(encoding="utf-8") in (process.command or ""):
            lost.unlink()
            for connection in list(self.connections):
                connection.abort()
            return
        output = asyncio.gather(process.stdout.drain(), process.stderr.drain(), return_exceptions=True)
        # As sshd does: pipes are read to their end, a terminal ends with its shell even if a daemon still holds it.
        await asyncio.wait([output], timeout=1 if terminal else None)
        if status < 0:
            process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
        else:
            process.exit(status)
        await process.wait_closed()


class Login(asyncssh.SSHServer):
    """Root, with the one key."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Remember the connection, for the machine's end."""
        self.connection = conn
        self.machine.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self.connection:
            self.machine.connections.discard(self.connection)

    def public_key_auth_supported(self) -> bool:
        """Only keys may log in."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Section 7: the user is root on every vendor's machines."""
        return username == "root" and key == self.machine.key


class Files(asyncssh.SFTPServer):
    """Sftp whose relative paths start in the home folder."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], home: Path) -> None:
        super().__init__(channel)
        self.home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        """Absolute paths stay as they are, since commands see the same ones."""
        return os.path.join(self.home, path)


def install(programs: Programs, folder: Path) -> None:
    """Write scripts into a folder of the machine's PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in programs.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)


async def feed(process: asyncssh.SSHServerProcess[bytes], stdin: int, group: int) -> None:
    """Pass the client's input, its end, and signals to a child.

    asyncssh would do it, but its pipes lose the end of an input that is larger than the pipe.
    """
    os.set_blocking(stdin, False)
    try:
        while True:
            try:
                data = await process.stdin.read(65536)
            except asyncssh.SignalReceived as received:
                kill(-group, signal.Signals[f"SIG{received.signal}"])
            except (asyncssh.BreakReceived, asyncssh.TerminalSizeChanged):
                continue
            else:
                if not data:
                    return
                await write(stdin, data)
    except (OSError, asyncssh.Error):
        return  # the child reads no more, or the client is gone
    finally:
        os.close(stdin)


async def write(descriptor: int, data: bytes) -> None:
    """Write to a pipe or terminal that may be full."""
    loop = asyncio.get_running_loop()
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            room = asyncio.Event()
            loop.add_writer(descriptor, room.set)
            try:
                await room.wait()
            finally:
                loop.remove_writer(descriptor)


def plumbing(command: str | None, terminal: bool) -> tuple[list[int], list[int], list[str]]:
    """Our ends of stdin, stdout and stderr, the child's ends, and the child's arguments."""
    # Ansible asks for ~root, which a shell would look up in this computer's list of users.
    shell = ["/bin/sh"] if command is None else ["/bin/sh", "-c", re.sub(r"~root\b", "~", command)]
    if not terminal:
        pipes = [os.pipe() for each in range(3)]
        (stdin, our_in), (our_out, stdout), (our_err, stderr) = pipes
        return [our_in, our_out, our_err], [stdin, stdout, stderr], shell
    ours, theirs = os.openpty()
    # The first terminal that the leader of a session opens becomes its controlling terminal.
    opener = ["/bin/sh", "-c", 'tty=$0; exec "$@" <>"$tty" >&0 2>&0', os.ttyname(theirs)]
    return [os.dup(ours), ours], [theirs, theirs, theirs], [*opener, *shell]


def loopback_socket(port: int) -> socket.socket:
    """A bound socket that does not listen yet.

    asyncio turns off the delay of small packets, which costs 40 ms a request, only where the protocol is named.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def marked_processes(mark: str) -> list[int]:
    """The processes with ``mark`` in their environment; none without /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if os.fsencode(mark) in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
        except OSError:
            continue  # just ended, or another user's
    return found


def kill(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, or to a group by its negative number; it may be gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
