# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task of Ansible's: what its play says, where it runs, and how it waits for a machine.

Only what Ansible offers to plugins is used, but for `play_of`, and its process is left as it is: what needs other
environment variables or another folder is done in a process of our own.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError, AnsibleLookupError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.taggable import Taggable
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import (
    AS_MODULE,
    Operation,
    Result,
    folded_warning,
    secrets_of,
    without_secrets,
)
from ansible_collections.compute_index.supply.plugins.module_utils._api import http
from ansible_collections.compute_index.supply.plugins.module_utils._api.recorder import LOG
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import NOTHING_SENT
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import order_group_of, why_ambiguous
from ansible_collections.compute_index.supply.plugins.module_utils._text import COLUMNS, plural, printable, wrapped
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import knowing, plain, raw

Variables = t.Mapping[str, t.Any]

display = Display()

# OpenSSL sets itself up at the first context of a process, which takes longer than all that we do. Ansible reads
# plugins before it forks, so its workers find that done.
ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

# What its play says, and with it the variables that it would have if it ran for another host. Ansible shows a play to
# no plugin. `play_of` alone looks for it; what it cannot find is refused.

# Under others a task that runs once would run for each host, or for some.
STRATEGIES = ("linear", "ansible.builtin.linear", "debug", "ansible.builtin.debug")

_IMPORTS = ("import_playbook", "ansible.builtin.import_playbook")

_PLAYBOOKS = Path(__file__).parents[2] / "playbooks"

# What Ansible adds to the variables of a task's own host, and to those of no other: how it is reached, and all again.
_OF_ONE_HOST = {"vars", *itertools.chain(*C.MAGIC_VARIABLE_MAPPING.values())}


def play_of(task: t.Any) -> t.Any:
    """The task's play, None if it cannot be told. This follows private attributes, and nothing else of ours does."""
    block = getattr(task, "_parent", None)
    while block is not None:
        play = getattr(block, "_play", None)
        if play is not None:
            return play
        block = getattr(block, "_parent", None)
    return None


def keyword_of(task: t.Any, name: str) -> t.Any:
    """What the task's play says for a keyword, empty if nothing."""
    return getattr(play_of(task), name, None) or ""


def turned_by(facts: Variables, task: t.Any, variables: Variables, templar: t.Any) -> str:
    """The condition of the task, be it that of its role, which these facts would turn; empty if none.

    It holds now, or the task would not run. One that cannot be evaluated with them says nothing.
    """
    with knowing(templar, {**variables, **facts}):
        return next((str(condition) for condition in task.when if _is_false(condition, templar)), "")


def _is_false(condition: t.Any, templar: t.Any) -> bool:
    with contextlib.suppress(Exception):  # ansible-core before 2.19 lets those of filters through
        if hasattr(templar, "evaluate_conditional"):
            return not templar.evaluate_conditional(condition)
        return not templar.template(f"{{% if {condition} %}}1{{% endif %}}")
    return False


def play_variables(task: t.Any) -> dict[str, t.Any]:
    """The variables of the task's play, with those that were given to an ``import_playbook``."""
    play = play_of(task)
    return play.get_vars() if play else {}


def forbidden(task: t.Any) -> str:
    """Why nothing may be bought in the task's play, empty if it may. What cannot be read is refused."""
    play = play_of(task)
    strategy = "unknown" if play is None else str(play.strategy or C.DEFAULT_STRATEGY)
    if strategy in STRATEGIES:
        return ""
    return (
        f"The play's strategy is {strategy}, under which nothing can be decided for all hosts together. Use linear,"
        f" Ansible's default. {NOTHING_SENT}"
    )


def hosts_of_playbook(pattern: str, variables: Variables) -> str:
    """The hosts of a play of the collection's playbooks; without a ``pattern`` this computer, or those of ``--limit``.

    Raises AnsibleLookupError if the playbook itself was started with tags that leave all of it out, or at a later task:
    it would be green and do nothing, or test nothing. One that a user's playbook imports may be left out, unless that
    has nothing else, as those that are made for AWX. Likewise for a group whose name is a host's, and for a limit of no
    hosts.
    """
    if _leaves_tasks_out(variables):
        raise AnsibleLookupError(
            "The collection's playbooks have no tags, and begin at their first task, so in this run nothing would be"
            " done, or not all. Leave out --start-at-task, --tags and --skip-tags (in AWX: Job Tags and Skip Tags),"
            " ANSIBLE_RUN_TAGS and ANSIBLE_SKIP_TAGS, and the section [tags] of ansible.cfg."
        )
    groups, limit = variables.get("groups") or {}, str(variables.get("ansible_limit") or "")
    if reason := why_ambiguous(pattern, groups):
        raise AnsibleLookupError(f"{reason} {NOTHING_SENT}")
    if limit and not groups.get("all") and "localhost" not in limit:  # of other inventories Ansible says it
        raise AnsibleLookupError(
            f"--limit {printable(limit, 60)} leaves nobody of an inventory without hosts, so nothing would be done."
            f" Leave it out (in AWX: relaunch for all hosts). {NOTHING_SENT}"
        )
    return pattern or ("localhost,all" if "ansible_limit" in variables else "localhost")


def _leaves_tasks_out(variables: Variables) -> bool:
    """Whether the command line chooses tasks of a playbook that is the collection's, by tags or a first task."""
    run, skip = (list(variables.get(f"ansible_{tags}_tags") or ()) for tags in ("run", "skip"))
    started, later = context.CLIARGS.get("args") or (), context.CLIARGS.get("start_at_task")
    if later and any(map(_is_of_collection, started)):
        return True
    return any(map(_has_no_tags, started)) and not Taggable().evaluate_tags(run, skip, variables)


def group_of_playbook(group: str, variables: Variables) -> str:
    """The newest group of an order, or the whole ``group``. Raises AnsibleLookupError likewise."""
    groups = variables.get("groups") or {}
    found = order_group_of(groups, group)
    if reason := why_ambiguous(found, groups):
        raise AnsibleLookupError(f"{reason} {NOTHING_SENT}")
    return found


def _is_of_collection(playbook: str) -> bool:
    """Whether a playbook of the command line, by its file or the collection's name, is one of the collection's."""
    is_file = os.path.realpath(os.path.dirname(playbook)) == os.path.realpath(_PLAYBOOKS)
    return is_file or playbook.startswith("compute_index.supply.")


def _has_no_tags(playbook: str) -> bool:
    """Whether tags choose nothing in a playbook of the command line: it is one of ours, or only imports such."""
    if _is_of_collection(playbook):
        return True
    with contextlib.suppress(AnsibleError):  # as of an encrypted one
        plays = DataLoader().load_from_file(playbook)
        imported = [next(filter(None, map(play.get, _IMPORTS)), "") for play in plays if not play.get("tags")]
        return len(imported) == len(plays) and all(map(_is_of_collection, imported))
    return False


class ForAll:
    """The variables that a task would have for each host of its play, as they stand.

    The variables of a host (``hostvars``) have neither the role's defaults, which are below them, nor the play's, which
    are above the inventory's and below facts. Where a host has a variable that the play has, too, what counts depends
    on where the host's comes from, and Ansible does not say that: such a host must say by itself what it wants.
    """

    def __init__(
        self, task: t.Any, task_vars: Variables, defaults: Variables, fixed: Variables, extra: Variables
    ) -> None:
        """``task_vars``: of the host for which the task runs. The role has ``defaults`` and ``fixed`` variables."""
        self._task_vars = task_vars
        variables = raw(str(task_vars["inventory_hostname"]), task_vars)
        by_play = {**play_variables(task), **fixed, **task.get_vars()}
        # What is the same for all hosts, such as the names of those that take part.
        common = {
            name: value for name, value in task_vars.items() if name not in variables and name not in _OF_ONE_HOST
        }
        self._common = {**defaults, **by_play, **common}
        # What Ansible itself adds is called ansible_. Extra variables count before all others.
        further = {name for name in common if name not in defaults and not name.startswith("ansible_")}
        self._by_play = {*by_play, *further}.difference(extra)

    def of(self, host: str) -> dict[str, t.Any]:
        """The variables of a host. Raises AnsibleActionFail where they cannot be told, and AnsibleError for files."""
        if C.PLAYBOOK_VARS_ROOT != "top" or C.DEFAULT_HASH_BEHAVIOUR != "replace":
            raise AnsibleActionFail(f"{host}: the settings of Ansible put its variables together in another way.")
        variables = raw(host, self._task_vars)
        for name in self._by_play.intersection(variables):
            if variables[name] != self._common[name]:
                raise AnsibleActionFail(f"{host}: both the play and the host say {name}.")
        found = {**self._common, **variables}
        return {**found, "vars": dict(found)}


# Where it runs. A module is built, shipped, and run by an interpreter that is started for it, which costs ten times
# what the request does. Where the "machine" is this computer and its Python this Python, an action plugin does the work
# at once, in the process of Ansible itself. In all other cases the module runs, complete as it is.

ENVIRONMENT = "COMPUTE_INDEX_IN_PROCESS"  # 0 makes all tasks take the module's way
VARIABLE = "compute_index_in_process"  # the same for a host, a group, a play or a task

# What a play's environment may set without a process of its own: what is looked up at each request.
_HARMLESS = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy", LOG.lower()})


class InProcessAction(ActionBase):
    """The action plugin of a module; ``operation`` is the module's."""

    operation: t.ClassVar[Operation]

    _supports_async = True
    _environment: Mapping[str, str] = {}

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """The module's result, by whichever way."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        environment: dict[str, str] = {}
        self._compute_environment_string(environment)
        hindrance = self._hindrance(task_vars, environment)
        name, host = self._task.action, task_vars.get("inventory_hostname")
        if hindrance:
            display.vvv(f"{name} runs as a module: {hindrance}.", host=host)
            return t.cast(
                "dict[str, t.Any]", self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)
            )
        display.vvv(f"{name} runs in the process of Ansible.", host=host)
        self._environment = {name: str(value) for name, value in environment.items()}
        return self.perform(host)

    def _hindrance(self, task_vars: dict[str, t.Any], environment: Mapping[str, str]) -> str | None:
        """Why the work cannot be done here, None if it can."""
        transport = self._connection.transport
        reasons = {
            f"{VARIABLE} or {ENVIRONMENT} says so": not self._is_switched_on(task_vars),
            "the task is asynchronous": self._task.async_val,
            f"the connection is {transport}": transport != "local",
            "the task has become": self._connection.become is not None,
            "the task has an environment": any(name.lower() not in _HARMLESS for name in environment),
            "this Python has no requests": http.REQUESTS_IMPORT_ERROR is not None,
            "on macOS a forked process cannot look up proxies": sys.platform == "darwin",
        }
        reason = next((reason for reason, holds in reasons.items() if holds), None)
        # Asked last: the interpreter of a host elsewhere need not be one that can be evaluated here.
        return reason or (None if self._is_our_python(task_vars) else "the host has another Python")

    def _is_switched_on(self, task_vars: dict[str, t.Any]) -> bool:
        """Whether the user lets the work be done here: by the variable, else by the environment, else by default."""
        wanted = self._templar.template(task_vars.get(VARIABLE))
        if wanted is None:
            wanted = os.environ.get(ENVIRONMENT) or True
        return bool(boolean(wanted, strict=False))

    def _is_our_python(self, task_vars: dict[str, t.Any]) -> bool:
        """By path, not by what it links to: a venv's Python and the system's are one file with different packages."""
        if self._task.delegate_to:
            task_vars = task_vars.get("ansible_delegated_vars", {}).get(self._task.delegate_to, {})
        path = task_vars.get("ansible_python_interpreter") or C.config.get_config_value("INTERPRETER_PYTHON")
        path = str(self._templar.template(path))
        return path.startswith("auto") or os.path.abspath(os.path.expanduser(path)) == os.path.abspath(sys.executable)

    def perform(self, host: str | None) -> dict[str, t.Any]:
        """The result of the operation; ``host`` is the one that it is for."""
        folder = os.path.abspath(self._loader.get_basedir())  # where Ansible lets a local module work
        if not self._environment and (folder == os.getcwd() or not self._has_relative_path()):
            return self._performed()
        found = _apart(self._environment, folder, lambda: self._performed(**{AS_MODULE: True}))
        return self.operation.cut_off() if found is None else found

    def _has_relative_path(self) -> bool:
        options = self.operation.argument_spec.items()
        given = (self._task.args.get(name) for name, option in options if option.get("type") == "path")
        return any(not os.path.isabs(os.path.expanduser(os.path.expandvars(str(path)))) for path in given if path)

    def _performed(self, **beside: t.Any) -> dict[str, t.Any]:
        """The same in this process; ``beside`` are parameters beside the options."""
        spec = self.operation.argument_spec
        # Plain values, as a module gets them.
        arguments = json.loads(json.dumps(self._task.args, default=plain))
        checked = ArgumentSpecValidator(spec, **self.operation.rules).validate(arguments)
        params = checked.validated_parameters
        if checked.error_messages:
            msg = self.worded(checked.error_messages[0])
            if isinstance(checked.errors[0], UnsupportedError):
                msg = f"Unsupported parameters for ({self._task.resolved_action or self._task.action}) module: {msg}"
            result = self.operation.refused(msg)
        else:
            result = self.operation.perform({**params, **beside}, self._task.check_mode)
        if not result.get("warnings"):
            result.pop("warnings", None)
        # The newer versions have a setting for it; the older ones always show the options.
        if getattr(C, "INJECT_INVOCATION", True):
            result["invocation"] = {"module_args": self.repeated(params)}
        result = without_secrets(result, self.hidden(secrets_of(spec, params), params))
        if "warnings" in result:
            result["warnings"] = list(map(folded_warning, result["warnings"]))
        return result

    def worded(self, msg: str) -> str:
        """What is wrong with an option, in the words of the person who gave it."""
        return msg

    def hidden(self, secrets: set[str], params: Mapping[str, t.Any]) -> set[str]:
        """What the result must not show."""
        return secrets

    def repeated(self, params: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
        """The options that the result repeats."""
        return params


def _apart(environment: Mapping[str, str], folder: str, work: Callable[[], Result]) -> Result | None:
    """The result of work in a process of our own, with these variables and in this folder; None if it ends without."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.environ.update(environment)
            os.chdir(folder)
            with open(write, "w", encoding="utf-8") as pipe:
                pipe.write(json.dumps(work()))
            status = 0
        finally:
            os._exit(status)  # what follows is for the process of Ansible
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        found = pipe.read()
    _child, status = os.waitpid(child, 0)
    return None if status else t.cast("Result", json.loads(found))


# How it waits for a machine: it tells people how far that is, and ends when its limit says so. The machine may freeze
# or go; no process is left behind then. Ansible's own lines do not say what is waited for.

ATTEMPT = 15  # seconds that one attempt to connect may take
# A machine that freezes sends nothing, and a connection to it would stay open. This ends it after some 15 seconds.
_ALIVE = "-o ServerAliveInterval=5 -o ServerAliveCountMax=3"
MINUTE = 60.0  # seconds after which a state that has not changed is told again
QUIET = 10.0  # the first seconds of a wait, which need no word
# Ansible's callback for terminals. Others, such as AWX's and JSON, have an output of their own, which stays as it is.
_TERMINAL = ("default", "ansible.builtin.default")


def in_terminal() -> bool:
    """Whether a person reads along, by Ansible's callback for terminals."""
    return C.DEFAULT_STDOUT_CALLBACK in _TERMINAL


def show_lines(text: str) -> None:
    """Show a line in the terminal, or as many as it needs there."""
    for line in wrapped(f"  {text}", COLUMNS, "    "):
        display.display(line)


class Progress:
    """What was told of a host's wait, which begins now; at first only what is urgent is told."""

    def __init__(self, host: str = "") -> None:
        self.host = host
        self.start = time.monotonic()
        self.msg, self.told = "", 0.0

    @property
    def passed(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self.start

    def news(self, msg: str, *, repeat: bool = True) -> float | None:
        """Seconds since the begin if this is new, or nothing was told for a minute (``repeat``); else None."""
        passed = self.passed
        if msg == self.msg and not (repeat and passed - self.told >= MINUTE):
            return None
        self.msg, self.told = msg, passed
        return passed

    def tell(self, msg: str, urgent: bool = False) -> None:
        """A line if there is something new to say, or nothing was said for a minute: then its first words again."""
        if not in_terminal() or (self.passed < QUIET and not urgent):
            return
        again = msg == self.msg
        passed = self.news(msg)
        if passed is not None:
            message = f"unchanged: {re.split('[.:] ', msg)[0].removesuffix('.')}." if again else msg
            show_lines(f"{self.host}, after {passed:.0f} s: {message}")

    def tell_each_minute(self, msg: str) -> None:
        """A line about many machines once the first seconds have passed, and then one a minute, however much is new."""
        passed = self.passed
        if in_terminal() and passed >= (self.told + MINUTE if self.told else QUIET):
            self.told = passed
            show_lines(f"After {passed:.0f} s: {msg}")


class BriefAction(ActionBase):
    """The action of a module on a machine that may be frozen: it is not waited for, and leaves no process behind."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """What the module says. In a sweep a machine is unreachable if this computer would be taken for it."""
        super().run(tmp, task_vars)
        if self._connection.transport == "local" and "reap__sweep" in (task_vars or {}):
            # An exception would end the host's play, and a sweep whose hosts are all such.
            msg = "The connection of this host is local, so this computer would be taken for its machine."
            return {"unreachable": True, "msg": f"{msg} Set it for tasks, not for the host."}
        limit_attempts(self._connection)
        with leaving_nothing():
            return t.cast("dict[str, t.Any]", self._execute_module(task_vars=task_vars))


class MachineAction(ActionBase):
    """An action whose result is never "unreachable", which would take the host out of the play without a last word."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """What all of them begin with."""
        self.progress = Progress(str(self._task.delegate_to or (task_vars or {}).get("inventory_hostname")))
        self._main_process = os.getppid()
        return t.cast("dict[str, t.Any]", super().run(tmp, task_vars))

    def pause(self, seconds: float) -> None:
        """Wait for so long. Raises AnsibleActionFail in a worker of a play that was killed."""
        time.sleep(seconds)
        if os.getppid() != self._main_process:
            raise AnsibleActionFail("ansible-playbook has ended, so nobody waits for this task any more.")

    def cleanup(self, force: bool = False) -> None:
        """Remove the task's files. A machine that has gone keeps them: for those alone it would be unreachable."""
        with contextlib.suppress(AnsibleConnectionFailure):
            super().cleanup(force)


def limit_attempts(connection: t.Any, seconds: int = ATTEMPT) -> None:
    """Bound each attempt to connect, whatever the configuration says, and let a machine that freezes be noticed."""
    if connection.transport == "ssh":
        connection.set_option("timeout", seconds)
        connection.set_option("reconnection_retries", 0)
        arguments = connection.get_option("ssh_extra_args")
        # The first value counts for ssh, so the user's own stay in force.
        connection.set_option("ssh_extra_args", f"{arguments or ''} {_ALIVE}".strip())


def local_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder on this computer for what a task brings to a machine or home.

    It is in Ansible's own, which the main process removes: a worker may be killed before it has removed anything.
    """
    return tempfile.TemporaryDirectory(prefix="compute-index-run-", dir=C.DEFAULT_LOCAL_TMP)


@contextlib.contextmanager
def leaving_nothing() -> Iterator[None]:
    """Where what is done ends by an exception, such as the limit of a task, end what it has begun.

    Ansible's limit ends the worker alone, be it that of a play that was killed. Its ssh would wait for ever for a
    machine that is connected and does nothing.
    """
    try:
        yield
    except BaseException:
        _end_children()
        raise


@contextlib.contextmanager
def answering_within(seconds: float) -> Iterator[None]:
    """Give what is done on a machine so long, and then end it here. Raises AnsibleConnectionFailure for that.

    A machine that freezes may let in whoever connects, and keep the connection alive.
    """
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        _end_children()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except AnsibleError:
        if not is_late.is_set():
            raise
    finally:
        timer.cancel()
    if is_late.is_set():
        raise AnsibleConnectionFailure(f"it lets in, and no command has ended within {plural(seconds, 'second')}")


def _end_children() -> None:
    for pid in child_processes(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def child_processes(pid: int) -> list[int]:
    """The processes that this one has begun, and those that they have, the latter last."""
    parents, found = _parents(), [pid]
    for item in found:  # which grows meanwhile
        found += [child for child, parent in parents.items() if parent == item]
    return found[1:]


def _parents() -> dict[int, int]:
    """The parent of each process; none where that cannot be told."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            found[int(path.split("/")[2])] = int(file.read().rpartition(")")[2].split()[1])
    if not found:
        with contextlib.suppress(OSError):  # macOS and BSD have no such file system
            told = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False)
            pairs = (line.split() for line in told.stdout.splitlines())
            return {int(pid): int(parent) for pid, parent in pairs}
    return found


def unless_failed(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """The answer. Raises ValueError with its sentence if it is a failure."""
    if answer.get("failed") or answer.get("unreachable"):
        parts = (
            answer.get("msg") or "The machine does not answer.",
            answer.get("module_stderr") or answer.get("exception"),
        )
        # Since ansible-core 2.19 an exception may be an object of Ansible's, whose sentence the message has.
        raise ValueError(" ".join(part for part in parts if part and isinstance(part, str)))
    return answer
