# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts programs as `subprocess` does, and the commands of ansible-core in less time.

Two thirds of a short play's time are what is the same for all: the import of ansible-core, and its reading of the YAML
in which its plugins say what settings they have. So this file, run as a program, is a process that has imported what is
no part of ansible-core. For each set of settings that commands are started with it forks once, and that fork imports
ansible-core, which reads its settings then, loads its plugins, and what the collection's plugins import, which Ansible
compiles anew in each process; it forks again for each command, and that fork reads the settings anew and runs the
command's own script, which loads the collection's plugins. Another fork imports what modules of other collections
import, and runs those that Ansible sends to Python. Where the environment differs in what the first imports could
depend on (PYTHONPATH, a locale ...), and for other programs, the program is executed instead.

Each program has a session of its own and a guard. That is a fork, too, which tells how the program ended, keeps its
process id until nobody asks any more, and kills it if whoever has started it is gone.
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
# What most commands import of ansible-core, beside its plugins.
CORE_IMPORTS = (
    *("ansible.cli.playbook", "ansible.executor.process.worker", "ansible.modules", "ansible.playbook.included_file"),
    *("ansible.playbook.handler_task_include", "ansible.playbook.role_include", "ansible.plugins.action.normal"),
    *("ansible.utils.shlex", "ansible.utils.version"),
)
# What modules that talk to a server import of it.
MODULE_IMPORTS = ("ansible.module_utils.basic", "ansible.module_utils.urls")
# Each play loads all of them, or the first ones.
PLUGINS = ("become", "callback", "connection", "filter", "inventory", "shell", "strategy", "test", "vars")
COLLECTION = "ansible_collections.compute_index.supply"
# Variables that none of the first imports looks at, and those that ansible-core's do not look at, either: ours, those
# of AWX's address, of ansible-runner, of an SSH agent, and of a shell in between, where programs are, and one that a
# fork heeds by itself.
OTHERS = ("AWX_", "CLUSTER_", "COMPUTE_INDEX_", "CONTROLLER_", "ORIGINAL_STDOUT_CALLBACK", "PYTEST_", "RUNNER_", "SSH_")
OTHERS += ("OLDPWD", "PATH", "PWD", "PYTHONUNBUFFERED", "SHLVL", "SUPPLY_", "_")
HARMLESS = ("ANSIBLE_", "HOME", *OTHERS)
# Variables that only matter in settings, which each command reads anew.
CALLBACKS = "ANSIBLE_CALLBACK_PLUGINS"
RENEWED = ("ANSIBLE_CACHE_PLUGIN_CONNECTION", "ANSIBLE_HOME", "ANSIBLE_SHOW_CUSTOM_STATS", CALLBACKS, "HOME")
RENEWED += ("ANSIBLE_FORKS", "ANSIBLE_HOST_KEY_CHECKING", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED")
RENEWED += ("ANSIBLE_INVENTORY_UNPARSED_FAILED", "ANSIBLE_RETRY_FILES_ENABLED", "ANSIBLE_SSH_ARGS")
RENEWED += ("ANSIBLE_SSH_CONTROL_PATH_DIR", "ANSIBLE_SSH_EXECUTABLE", "ANSIBLE_SSH_RETRIES")
# What begins the PYTHONPATH of a command whose clock is ahead.
CLOCK = Path(__file__).resolve().with_name("clock")
# So many of the forks that have imported ansible-core are kept.
KEPT = 4
# Seconds between two looks of Ansible's main process for a worker's result. Its own thousandth costs a tenth of a
# play's processor time, a two hundredth still a fiftieth; and that of plays that wait is spent for nothing.
POLL = 0.02


class Program:
    """A program that was started; it has nothing to read. In the words of `subprocess.Popen`."""

    def __init__(self, words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.words = list(words)
        self.returncode: int | None = None
        self.output = tempfile.NamedTemporaryFile()  # noqa: SIM115, it is open as long as the program is asked about
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


# What stands on PATH for a command, for programs that start it by its name: it hands over to the launcher of whoever
# has put it there, and ends as the command does.
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
    """Put what stands for these commands into a folder for PATH; it serves until this process ends."""
    door = socket.socket(socket.AF_UNIX)
    address = str(folder / "door")
    # Whatever ssh-agent starts has no TMPDIR, since that has the rights of another group; and with another one than the
    # launcher's, it would be executed instead.
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
# Of the imported ansible-core and the collection; none where the collection cannot be found.
STATE: list[str] = []
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


@dataclass
class Request:
    """A program to start: its words, its folder and its environment."""

    words: list[str]
    cwd: str
    env: dict[str, str]

    @property
    def is_module(self) -> bool:
        """Whether it is Python with a module on its input."""
        return self.words == [sys.executable]

    @property
    def path(self) -> str | None:
        """Its PYTHONPATH, without what moves the clock: a fork moves it by itself."""
        return self.env["PYTHONPATH"].removeprefix(f"{CLOCK}{os.pathsep}") if "PYTHONPATH" in self.env else None

    @property
    def for_fork(self) -> bool:
        """Whether it is a module, or a command of ansible-core, in an environment in which a fork can run it."""
        command = Path(self.words[0])
        of_core = command.parent == Path(sys.executable).parent and command.name.startswith("ansible")
        different = {name for name, _value in self.env.items() ^ os.environ.items() if not name.startswith(HARMLESS)}
        if self.path == os.environ.get("PYTHONPATH"):
            different.discard("PYTHONPATH")
        return not different and (of_core or self.is_module)

    @property
    def settings(self) -> str:
        """All that ansible-core's imports may depend on; those of modules depend on none."""
        if self.is_module:
            return ""
        files = [Path(self.cwd, "ansible.cfg"), Path(self.env.get("HOME", "/"), ".ansible.cfg")]
        if "ANSIBLE_CONFIG" in self.env:
            files.append(Path(self.cwd, self.env["ANSIBLE_CONFIG"]))
        texts = [file.read_text() if file.is_file() else None for file in files]
        env = sorted(each for each in self.env.items() if not each[0].startswith((*OTHERS, *RENEWED, "PYTHONPATH")))
        return json.dumps([env, texts])


def serve(control: socket.socket, imported: bool | None = None) -> None:
    """Fork for each program. Returns in forks that are to run a command's script, and nowhere else.

    ``imported`` says whether ansible-core could be imported here; nothing if it was not tried.
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
            # The one that was used last becomes the last one.
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
    """Import ansible-core where the command is to run. Whether that was possible: if not, the program says why."""
    os.environ.clear()
    # Other callbacks may look at their own command's variables when they are imported.
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
    """Remove ansible-core's temporary folder, which the import has made for one process."""
    from ansible import constants
    from ansible.utils.path import cleanup_tmp_file

    atexit.unregister(cleanup_tmp_file)
    cleanup_tmp_file(constants.DEFAULT_LOCAL_TMP)


def load_plugins() -> None:
    """Load plugins of ansible-core, what says where its others are, and what the collection's import.

    Each command says anew where collections are.
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
    """Let ansible-core read its settings again, as its import does; a temporary folder of its own is among them."""
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
        # Before that folder is removed: what is registered last is called first.
        atexit.register(kept.keep_modules, STATE[0], constants.DEFAULT_LOCAL_TMP, COLLECTION)


def guard(connection: socket.socket, files: list[int], request: Request, imported: bool) -> None:
    """Start a program and watch it; returns in the program, if it is a command's script."""
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
    """Tell whoever has started the program a number."""
    connection.sendall(number.to_bytes(4, "big", signed=True))


def become(connection: socket.socket, files: list[int], request: Request, imported: bool) -> None:
    """Become the program; returns if it is a command of ansible-core, or a module, that a fork can run.

    ``files``: where it prints; or its input, and where its output and its errors go.
    """
    os.setsid()
    # A job in the background of a shell ignores it, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with connection:
        tell(connection, os.getpid())
    os.chdir(request.cwd)
    for number, file in enumerate(files) if len(files) == 3 else ((1, files[0]), (2, files[0])):
        os.dup2(file, number)
    close(*files)
    if not imported:
        for name in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
            signal.signal(name, signal.SIG_DFL)
        os.execvpe(request.words[0], request.words, request.env)
    os.environ.clear()
    os.environ.update(request.env)
    if "PYTHONUNBUFFERED" in request.env and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    if request.path != request.env.get("PYTHONPATH"):
        runpy.run_path(str(CLOCK / "sitecustomize.py"))
    os.open(".", os.O_RDONLY)  # tells of each fork whose it is, wherever that goes
    if request.is_module:
        # A script is read twice.
        script = os.memfd_create("module")
        Path(f"/proc/self/fd/{script}").write_bytes(sys.stdin.buffer.read())
        sys.argv = [f"/proc/self/fd/{script}"]
        return
    read_settings()
    # A collection looks at all objects, and so each worker would copy the pages that it shares with its parent: that
    # is a sixth of a play's processor time. A play of a test is over before its garbage matters.
    gc.disable()
    sys.argv = request.words


def end() -> None:
    """End a process whose script has ended, without what Python does then.

    It would write to every object to forget it, and so copy the pages of all that was imported: some 40 ms of a
    processor for each play.
    """
    if ENDED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ENDED[0])


if __name__ == "__main__":
    atexit.register(end)  # before all others, and so called after them
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
