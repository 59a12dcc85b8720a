# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start programs as `subprocess` does, and the commands of ansible-core faster.

Two thirds of the time of a short play are the same for all plays: importing ansible-core, and reading the YAML in which
its plugins describe their settings. So this file, run as a program, is a process that has imported the libraries.

- For each set of settings it forks once. That fork imports ansible-core, which reads its settings at import, loads
  plugins, and imports what the collection's plugins import, which Ansible would compile again in each process.
- That fork forks again for each command. The new fork reads the settings again and runs the command's script, which
  loads the collection's plugins.
- Another fork imports what modules of other collections import, and runs the modules that Ansible sends to Python.
- A program is executed as usual if it is none of these, or if its environment differs in a variable on which the first
  imports may depend, such as PYTHONPATH or a locale.

Each program has its own session and a guard. The guard is also a fork. It reports how the program ended, keeps the
process id reserved while someone may ask for it, and kills the program if the process that started it is gone.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
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
from dataclasses import dataclass
from pathlib import Path

import kept

# These modules, with their own imports, are all that commands import besides ansible-core. Missing ones are skipped.
IMPORTS = (
    *("argparse", "cmd", "concurrent.futures.thread", "configparser", "cryptography.hazmat.backends.openssl"),
    *("cryptography.hazmat.primitives.hmac", "cryptography.hazmat.primitives.kdf.pbkdf2"),
    *("cryptography.hazmat.primitives.padding", "cryptography.hazmat.primitives.serialization", "curses", "difflib"),
    *("encodings.unicode_escape", "getpass", "jinja2.nativetypes", "jinja2.sandbox", "multiprocessing.managers"),
    *("multiprocessing.popen_fork", "multiprocessing.queues", "multiprocessing.synchronize", "packaging.specifiers"),
    *("pkgutil", "platform", "pprint", "psycopg", "pty", "requests", "resource", "shlex", "syslog", "tarfile"),
    *("tomllib", "typing_extensions", "uuid", "xml.dom.minidom", "xml.etree.ElementTree", "yaml", "zipfile"),
)
# The modules of ansible-core that most commands import, besides plugins.
CORE_IMPORTS = (
    *("ansible.cli.playbook", "ansible.executor.process.worker", "ansible.modules", "ansible.playbook.included_file"),
    *("ansible.playbook.handler_task_include", "ansible.playbook.role_include", "ansible.plugins.action.normal"),
    *("ansible.utils.shlex", "ansible.utils.version"),
)
# The modules of ansible-core that modules import if they talk to a server.
MODULE_IMPORTS = ("ansible.module_utils.basic", "ansible.module_utils.urls")
# Each play loads all of them, or the first ones.
PLUGINS = ("become", "callback", "connection", "filter", "inventory", "shell", "strategy", "test", "vars")
COLLECTION = "ansible_collections.compute_index.supply"
# The first imports depend on none of HARMLESS, and those of ansible-core on none of OTHERS: our own variables, those of
# AWX, ansible-runner, an SSH agent and a shell, the search path, and PYTHONUNBUFFERED, which `become` applies.
OTHERS = ("AWX_", "CLUSTER_", "COMPUTE_INDEX_", "CONTROLLER_", "ORIGINAL_STDOUT_CALLBACK", "PYTEST_", "RUNNER_", "SSH_")
OTHERS += ("JOB_ID", "OLDPWD", "PATH", "PWD", "PYTHONUNBUFFERED", "SHLVL", "SUPPLY_", "_")
HARMLESS = ("ANSIBLE_", "HOME", *OTHERS)
# Variables that matter only as settings, which each command reads again.
CALLBACKS = "ANSIBLE_CALLBACK_PLUGINS"
RENEWED = ("ANSIBLE_CACHE_PLUGIN_CONNECTION", "ANSIBLE_HOME", "ANSIBLE_SHOW_CUSTOM_STATS", CALLBACKS, "HOME")
RENEWED += ("ANSIBLE_FORKS", "ANSIBLE_HOST_KEY_CHECKING", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED")
RENEWED += ("ANSIBLE_INVENTORY_UNPARSED_FAILED", "ANSIBLE_RETRY_FILES_ENABLED", "ANSIBLE_SSH_ARGS")
RENEWED += ("ANSIBLE_SSH_CONTROL_PATH_DIR", "ANSIBLE_SSH_EXECUTABLE", "ANSIBLE_SSH_RETRIES")
# The first folder in the PYTHONPATH of a command whose clock is ahead.
CLOCK = Path(__file__).resolve().with_name("clock")
# The number of forks with ansible-core that are kept.
KEPT = 4
# Seconds after which Ansible's main process looks again for a worker's result. Its default, 0.001, costs a tenth of the
# processor time of a play, and 0.005 still a fiftieth.
POLL = 0.02


class Program:
    """A started program without input; it has the interface of `subprocess.Popen`."""

    def __init__(self, words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.words = list(words)
        self.returncode: int | None = None
        self.output = tempfile.NamedTemporaryFile()  # noqa: SIM115, it stays open as long as the program is of interest
        self.connection, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as request:
            request.write(json.dumps({"words": self.words, "cwd": str(cwd), "env": dict(env)}).encode())
            request.flush()
            socket.send_fds(launcher(), [b"\n"], [theirs.fileno(), self.output.fileno(), request.fileno()])
        self.pid = self.receive()

    def receive(self) -> int:
        """A number from the guard."""
        found = self.connection.recv(4, socket.MSG_WAITALL)
        assert len(found) == 4, f"{self.words}: its guard has ended"
        return int.from_bytes(found, "big", signed=True)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code, or the negative number of a signal."""
        if self.returncode is None:
            self.connection.settimeout(timeout)
            try:
                self.returncode = self.receive()
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.words, timeout or 0) from None
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, or the negative number of a signal; None while the program runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def read(self) -> str:
        """The output so far."""
        return Path(self.output.name).read_text()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_error: object) -> None:
        """Kill the program, with its process group, if it still runs."""
        self.connection.close()


# The stand-in for a command on PATH, for programs that start the command by name. It lets the test's launcher start
# the command, and ends with the same exit code.
STAND_IN = """\
#!{python} -IS
import json, os, socket, sys, tempfile

ours, theirs = socket.socketpair()
with theirs, tempfile.TemporaryFile() as request, socket.socket(socket.AF_UNIX) as door:
    env = {{**{lost!r}, **os.environ}}
    request.write(json.dumps({{"words": [{command!r}, *sys.argv[1:]], "cwd": os.getcwd(), "env": env}}).encode())
    request.flush()
    door.connect({address!r})
    socket.send_fds(door, [b"\\n"], [theirs.fileno(), 0, 1, 2, request.fileno()])
ours.recv(4, socket.MSG_WAITALL)
code = int.from_bytes(ours.recv(4, socket.MSG_WAITALL), "big", signed=True)
sys.exit(code if code >= 0 else 128 - code)
"""


def stand_ins(folder: Path, commands: Sequence[Path]) -> None:
    """Put stand-ins for these commands into a folder for PATH, and serve them until this process ends."""
    door = socket.socket(socket.AF_UNIX)
    address = str(folder / "door")
    # Programs started by ssh-agent lack TMPDIR, since it runs with the rights of another group. With another TMPDIR
    # than the launcher's, a program would be executed as usual.
    lost = {name: os.environ[name] for name in ("TMPDIR",) if name in os.environ}
    door.bind(address)
    door.listen()
    for command in commands:
        file = folder / command.name
        file.write_text(STAND_IN.format(python=sys.executable, command=str(command), address=address, lost=lost))
        file.chmod(0o755)

    def answer() -> None:
        while True:
            connection, _address = door.accept()
            with connection:
                message, files, _flags, _from = socket.recv_fds(connection, 1, 5)
                socket.send_fds(launcher(), [message], files)
                close(*files)

    threading.Thread(target=answer, daemon=True).start()


# The exit code of a command's script.
ENDED: list[int] = []
RUNNING: list[socket.socket] = []
# The state (`kept.state_of`) of the imported ansible-core and collection; empty if the collection was not found.
STATE: list[str] = []
LOCK = threading.Lock()


def launcher() -> socket.socket:
    """The connection to this process's launcher, which ends when the connection is closed."""
    with LOCK:
        if not RUNNING:
            ours, theirs = socket.socketpair()
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, __file__, str(theirs.fileno())],
                    cwd="/",  # not a project
                    env=os.environ,  # without changes that libraries have made outside of it
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            RUNNING.append(ours)
            atexit.register(process.wait)  # called last, so that its processor time counts for this process
            atexit.register(ours.close)
    return RUNNING[0]


@dataclass
class Request:
    """A program to start: its words, its folder and its environment."""

    words: list[str]
    cwd: str
    env: dict[str, str]

    @property
    def is_module(self) -> bool:
        """Whether the program is Python with a module on its input."""
        return self.words == [sys.executable]

    @property
    def path(self) -> str | None:
        """The PYTHONPATH without the folder that moves the clock, since a fork moves its clock itself (`become`)."""
        return self.env["PYTHONPATH"].removeprefix(f"{CLOCK}{os.pathsep}") if "PYTHONPATH" in self.env else None

    @property
    def for_fork(self) -> bool:
        """Whether a fork can run it: a module or a command of ansible-core, in an environment like the launcher's."""
        command = Path(self.words[0])
        of_core = command.parent == Path(sys.executable).parent and command.name.startswith("ansible")
        different = {name for name, _value in self.env.items() ^ os.environ.items() if not name.startswith(HARMLESS)}
        if self.path == os.environ.get("PYTHONPATH"):
            different.discard("PYTHONPATH")
        return not different and (of_core or self.is_module)

    @property
    def settings(self) -> str:
        """All settings on which the imports of ansible-core may depend, as text; empty for a module."""
        if self.is_module:
            return ""
        files = [Path(self.cwd, "ansible.cfg"), Path(self.env.get("HOME", "/"), ".ansible.cfg")]
        if "ANSIBLE_CONFIG" in self.env:
            files.append(Path(self.cwd, self.env["ANSIBLE_CONFIG"]))
        texts = [file.read_text() if file.is_file() else None for file in files]
        env = sorted(each for each in self.env.items() if not each[0].startswith((*OTHERS, *RENEWED, "PYTHONPATH")))
        return json.dumps([env, texts])


def serve(control: socket.socket, imported: bool | None = None) -> None:
    """Fork for each program. Returns only in forks that run a command's script.

    ``imported``: whether this process could import ansible-core; None if it has not tried.
    """
    forks: dict[str, socket.socket] = {}
    while True:
        message, files, _flags, _address = socket.recv_fds(control, 1, 5)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            break
        request = Request(**json.loads(os.pread(files[-1], os.fstat(files[-1]).st_size, 0)))
        if imported is None and request.for_fork:
            # The fork that was used last moves to the end, so the first one is the one to close.
            settings = request.settings
            fork = forks.pop(settings, None)
            if not fork:
                fork, theirs = socket.socketpair()
                if not os.fork():
                    close(control, fork, *forks.values(), *files)
                    return serve(theirs, import_core(request))
                theirs.close()
            forks[settings] = fork
            if len(forks) > KEPT:
                forks.pop(next(iter(forks))).close()
            socket.send_fds(fork, [message], files)
        elif not os.fork():
            close(control, *forks.values(), files[-1])
            return guard(socket.socket(fileno=files[0]), files[1:-1], request, bool(imported))
        close(*files)
    close(*forks.values())
    with suppress(ChildProcessError):
        while os.wait():
            pass
    os._exit(0)


def close(*files: socket.socket | int) -> None:
    """Close them all."""
    for file in files:
        file.close() if isinstance(file, socket.socket) else os.close(file)


def import_core(request: Request) -> bool:
    """Import ansible-core in the command's folder and environment, and return whether that worked.

    If it did not, the command itself reports why.
    """
    os.environ.clear()
    # Callback plugins may read the variables of their own command at import.
    os.environ.update({name: value for name, value in request.env.items() if name != CALLBACKS})
    os.chdir(request.cwd)
    sys.path[0] = str(Path(request.words[0]).parent)
    try:
        for name in MODULE_IMPORTS if request.is_module else CORE_IMPORTS:
            importlib.import_module(name)
        if not request.is_module:
            load_plugins()
            forget_temporary()
    except BaseException:
        return False
    finally:
        os.chdir("/")
    gc.collect()
    gc.freeze()
    return True


def forget_temporary() -> None:
    """Remove ansible-core's temporary folder, which its import makes for one process."""
    from ansible import constants
    from ansible.utils.path import cleanup_tmp_file

    atexit.unregister(cleanup_tmp_file)
    cleanup_tmp_file(constants.DEFAULT_LOCAL_TMP)


def load_plugins() -> None:
    """Load the plugins of ansible-core, its table of moved plugins, and the imports of the collection's plugins.

    Each command sets the search path of collections again.
    """
    from ansible.plugins import loader
    from ansible.utils.collection_loader import _collection_finder

    loader.init_plugin_loader()
    _collection_finder.compile = kept.compile_once  # type: ignore[attr-defined]
    importlib.import_module("ansible_collections.ansible.builtin")
    for kind in PLUGINS:
        for _plugin in getattr(loader, f"{kind}_loader").all(class_only=True):
            pass
    with suppress(ImportError):  # where it cannot be found
        root = Path(importlib.import_module(COLLECTION).__path__[0])
        for file in root.glob("plugins/*_utils/**/*.py"):
            importlib.import_module(".".join((COLLECTION, *file.relative_to(root).with_suffix("").parts)))
        STATE.append(kept.state_of(root))
        kept.keep_templates(STATE[0])
    _collection_finder._AnsibleCollectionFinder._remove()


def read_settings() -> None:
    """Let ansible-core read its settings again, as its import does, with a temporary folder for this process."""
    from ansible import constants
    from ansible.config.manager import find_ini_config_file
    from ansible.plugins import loader

    constants.config._config_file = find_ini_config_file()
    if constants.config._config_file:
        constants.config._parse_config_file()
    names = list(constants.config.get_configuration_definitions())
    paths = {id(getattr(constants, name)): name for name in names}
    for name in names:
        constants.set_constant(name, constants.config.get_config_value(name, variables=vars(constants)))
    constants.DEFAULT_INTERNAL_POLL_INTERVAL = POLL
    for each in vars(loader).values():
        if isinstance(each, loader.PluginLoader):
            if id(each.config) in paths:
                each.config = getattr(constants, paths[id(each.config)])
            each._clear_caches()
    if STATE:
        kept.bring_modules(STATE[0], constants.DEFAULT_LOCAL_TMP)
        # Registered last, so called first: before the folder is removed.
        atexit.register(kept.keep_modules, STATE[0], constants.DEFAULT_LOCAL_TMP, COLLECTION)


def guard(connection: socket.socket, files: list[int], request: Request, imported: bool) -> None:
    """Start a program and watch it. Returns only in the program itself, if it is a command's script."""
    pid = os.fork()
    if not pid:
        return become(connection, files, request, imported)
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
    """Send a number to the process that has started the program."""
    connection.sendall(number.to_bytes(4, "big", signed=True))


def become(connection: socket.socket, files: list[int], request: Request, imported: bool) -> None:
    """Become the program. Returns if a fork can run it: a command of ansible-core, or a module.

    ``files``: one file for output and errors, or three for input, output and errors.
    """
    os.setsid()
    # A shell's background job ignores SIGINT, and programs that it starts inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with connection:
        tell(connection, os.getpid())
    os.chdir(request.cwd)
    for number, file in enumerate(files) if len(files) == 3 else ((1, files[0]), (2, files[0])):
        os.dup2(file, number)
    close(*files)
    if not imported:
        for name in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these
            signal.signal(name, signal.SIG_DFL)
        os.execvpe(request.words[0], request.words, request.env)
    os.environ.clear()
    os.environ.update(request.env)
    if "PYTHONUNBUFFERED" in request.env and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    if request.path != request.env.get("PYTHONPATH"):
        runpy.run_path(str(CLOCK / "sitecustomize.py"))
    os.open(".", os.O_RDONLY)  # so that `Project.processes` finds each fork, even if it changes its folder
    if request.is_module:
        # `runpy` reads a script twice.
        script = os.memfd_create("module")
        Path(f"/proc/self/fd/{script}").write_bytes(sys.stdin.buffer.read())
        sys.argv = [f"/proc/self/fd/{script}"]
        return
    read_settings()
    # A garbage collection visits all objects, so each worker would copy the pages that it shares with its parent: a
    # sixth of the processor time of a play. The plays of tests end before their garbage matters.
    gc.disable()
    sys.argv = request.words


def end() -> None:
    """End a process whose script has ended, without Python's own clean-up.

    The clean-up writes to every object, and so copies the pages of all imported modules: some 40 ms of a processor for
    each play.
    """
    if ENDED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ENDED[0])


if __name__ == "__main__":
    atexit.register(end)  # registered first, so called last
    for name in IMPORTS:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, int):
            ENDED.append(error.code)
        raise
