# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts programs as `subprocess` does, and the commands of ansible-core in less time.

A quarter of a short play's time is the import of what is no part of ansible-core. So this file, run as a program, is a
process that has imported it and forks for each command. The fork runs the command's own script, which imports all of
ansible-core and of the collection anew, under the environment and in the folder that it was given. Where that
environment differs in what those imports could depend on (PYTHONPATH, a locale ...), and for other programs, the fork
executes the program instead.

Each program has a session of its own and a guard. That is a fork, too, which tells how the program ended, keeps its
process id until nobody asks any more, and kills it if whoever has started it is gone.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# With what they import themselves, this is what the commands import beside ansible-core. They need not be there.
IMPORTS = (
    *("argparse", "cmd", "concurrent.futures.thread", "configparser", "cryptography.hazmat.backends.openssl"),
    *("cryptography.hazmat.primitives.hmac", "cryptography.hazmat.primitives.kdf.pbkdf2"),
    *("cryptography.hazmat.primitives.padding", "cryptography.hazmat.primitives.serialization", "curses", "difflib"),
    *("encodings.unicode_escape", "getpass", "jinja2.nativetypes", "jinja2.sandbox", "multiprocessing.managers"),
    *("multiprocessing.popen_fork", "multiprocessing.queues", "multiprocessing.synchronize", "packaging.specifiers"),
    *("pkgutil", "platform", "pprint", "psycopg", "pty", "requests", "resource", "shlex", "syslog", "tarfile"),
    *("tomllib", "typing_extensions", "uuid", "xml.dom.minidom", "xml.etree.ElementTree", "yaml", "zipfile"),
)
# Variables that none of these imports looks at.
HARMLESS = ("ANSIBLE_", "CLUSTER_", "COMPUTE_INDEX_", "HOME", "PATH", "PYTEST_", "SUPPLY_")


class Program:
    """A program that was started; it has nothing to read. In the words of `subprocess.Popen`."""

    def __init__(self, words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.words = list(words)
        self.returncode: int | None = None
        self.output = tempfile.NamedTemporaryFile()  # noqa: SIM115, it is open as long as the program is asked about
        self.connection, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(launcher(), [b"\n"], [theirs.fileno(), self.output.fileno()])
        request = {"words": self.words, "cwd": str(cwd), "env": dict(env)}
        self.connection.sendall(json.dumps(request).encode() + b"\n")
        self.pid = self.receive()

    def receive(self) -> int:
        """A number from the guard."""
        found = self.connection.recv(4, socket.MSG_WAITALL)
        assert len(found) == 4, f"{self.words}: its guard has ended"
        return int.from_bytes(found, "big", signed=True)

    def wait(self, timeout: float | None = None) -> int:
        """How it ended: its exit code, or the negative number of a signal."""
        if self.returncode is None:
            self.connection.settimeout(timeout)
            try:
                self.returncode = self.receive()
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.words, timeout or 0) from None
        return self.returncode

    def poll(self) -> int | None:
        """The same, or nothing while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def read(self) -> str:
        """What it has printed so far."""
        return Path(self.output.name).read_text()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_error: object) -> None:
        """Give it up: if it still runs it is killed, with its process group."""
        self.connection.close()


RUNNING: list[socket.socket] = []
LOCK = threading.Lock()


def launcher() -> socket.socket:
    """The connection to this process's own launcher, which ends when the connection does."""
    with LOCK:
        if not RUNNING:
            ours, theirs = socket.socketpair()
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, __file__, str(theirs.fileno())],
                    cwd="/",  # nobody's project
                    env=os.environ,  # without what libraries have put past it
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            RUNNING.append(ours)
            atexit.register(process.wait)  # called last: then its processor time is among this process's
            atexit.register(ours.close)
    return RUNNING[0]


def serve(control: socket.socket) -> None:
    """Fork for each program. Returns in forks that are to run a command's script, and nowhere else."""
    while True:
        message, files, _flags, _address = socket.recv_fds(control, 1, 2)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            os._exit(0)
        if not os.fork():
            control.close()
            return guard(socket.socket(fileno=files[0]), files[1])
        for file in files:
            os.close(file)


def guard(connection: socket.socket, output: int) -> None:
    """Start a program and watch it; returns in the program, if it is a command's script."""
    with connection.makefile("rb") as stream:
        request = json.loads(stream.readline())
    pid = os.fork()
    if not pid:
        return become(connection, output, **request)
    ended = threading.Event()

    def kill() -> None:
        connection.recv(1)
        with suppress(ProcessLookupError):
            if not ended.is_set():
                os.killpg(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert end is not None
    ended.set()
    with suppress(OSError):
        tell(connection, end.si_status if end.si_code == os.CLD_EXITED else -end.si_status)
    killer.join()
    os.waitpid(pid, 0)
    os._exit(0)


def tell(connection: socket.socket, number: int) -> None:
    """Tell whoever has started the program a number."""
    connection.sendall(number.to_bytes(4, "big", signed=True))


def become(connection: socket.socket, output: int, words: list[str], cwd: str, env: dict[str, str]) -> None:
    """Become the program; returns if it is a command of ansible-core that a fork can run."""
    os.setsid()
    # A job in the background of a shell ignores it, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with connection:
        tell(connection, os.getpid())
    os.chdir(cwd)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    different = {name for name, _value in env.items() ^ os.environ.items() if not name.startswith(HARMLESS)}
    command = Path(words[0])
    if different or command.parent != Path(sys.executable).parent or not command.name.startswith("ansible"):
        for name in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
            signal.signal(name, signal.SIG_DFL)
        os.execvpe(words[0], words, env)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = words
    sys.path[0] = str(command.parent)


if __name__ == "__main__":
    for name in IMPORTS:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_path(sys.argv[0], run_name="__main__")
