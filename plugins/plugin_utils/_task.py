# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ansible task: its play, the process that it runs in, and how it waits for a machine.

Uses only what Ansible offers to plugins, except for `play_of`, and does not change Ansible's process: work that needs
other environment variables or another folder runs in a child process.
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
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import (
    order_group_of,
    pattern_of_group,
    why_ambiguous,
)
from ansible_collections.compute_index.supply.plugins.module_utils._text import COLUMNS, plural, printable, wrapped
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import (
    json_default,
    raw_variables,
    using_variables,
)

Variables = t.Mapping[str, t.Any]

display = Display()

# The first SSL context of a process initializes OpenSSL, which takes longer than our own work. Ansible loads plugins
# before it forks its workers, so they inherit the result.
ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

# The task's play, and the variables that the task would have for another host. Ansible does not give plugins access to
# the play. Only `play_of` gets it; if it cannot, the task is refused.

# With other strategies, a task with run_once would run for each host, or for some of them.
STRATEGIES = ("linear", "ansible.builtin.linear", "debug", "ansible.builtin.debug")

_IMPORTS = ("import_playbook", "ansible.builtin.import_playbook")

_PLAYBOOKS = Path(__file__).parents[2] / "playbooks"

# Variables that Ansible adds only for the task's own host: its connection, and ``vars`` with all variables
_OF_ONE_HOST = {"vars", *itertools.chain(*C.MAGIC_VARIABLE_MAPPING.values())}


def play_of(task: t.Any) -> t.Any:
    """The task's play, or None if it is not found. Only this function uses private attributes of Ansible's objects."""
    block = getattr(task, "_parent", None)
    while block is not None:
        play = getattr(block, "_play", None)
        if play is not None:
            return play
        block = getattr(block, "_parent", None)
    return None


def play_keyword(task: t.Any, name: str) -> t.Any:
    """The value of a keyword of the task's play; an empty text if it has none."""
    return getattr(play_of(task), name, None) or ""


def condition_made_false(facts: Variables, task: t.Any, variables: Variables, templar: t.Any) -> str:
    """The first condition of the task or its role that these facts would make false, or an empty text.

    All conditions are true now, since the task runs. One that cannot be evaluated with the facts is ignored.
    """
    with using_variables(templar, {**variables, **facts}):
        return next((str(condition) for condition in task.when if _is_false(condition, templar)), "")


def _is_false(condition: t.Any, templar: t.Any) -> bool:
    with contextlib.suppress(Exception):  # before ansible-core 2.19, filters may raise any exception
        if hasattr(templar, "evaluate_conditional"):
            return not templar.evaluate_conditional(condition)
        return not templar.template(f"{{% if {condition} %}}1{{% endif %}}")
    return False


def play_variables(task: t.Any) -> dict[str, t.Any]:
    """The variables of the task's play, including those of an ``import_playbook``."""
    play = play_of(task)
    return play.get_vars() if play else {}


def why_forbidden(task: t.Any) -> str:
    """Why nothing may be bought in the task's play; empty if purchases are allowed. An unknown strategy is refused."""
    play = play_of(task)
    strategy = "unknown" if play is None else str(play.strategy or C.DEFAULT_STRATEGY)
    if strategy in STRATEGIES:
        return ""
    return (
        f"The play's strategy is {strategy}, but purchases are decided for all hosts together. Use linear, Ansible's"
        f" default. {NOTHING_SENT}"
    )


def hosts_of_playbook(pattern: str, variables: Variables) -> str:
    """The host pattern of a play of our playbooks. Without a ``pattern``: this computer, or the hosts of ``--limit``.

    Raises AnsibleLookupError

    - if tags or ``--start-at-task`` skip tasks of our playbook, since the run would succeed and do nothing, or test
      nothing. A user's playbook that imports ours may skip it, unless it contains nothing else, such as those for AWX
    - if the group has the name of a host
    - if the inventory has no hosts and ``--limit`` excludes localhost
    """
    if _leaves_tasks_out(variables):
        raise AnsibleLookupError(
            "The collection's playbooks have no tags and must begin at their first task, so this run would do nothing,"
            " or only a part. Leave out --start-at-task, --tags and --skip-tags (in AWX: Job Tags and Skip Tags),"
            " ANSIBLE_RUN_TAGS and ANSIBLE_SKIP_TAGS, and the section [tags] of ansible.cfg."
        )
    groups, limit = variables.get("groups") or {}, str(variables.get("ansible_limit") or "")
    if reason := why_ambiguous(pattern, groups):
        raise AnsibleLookupError(f"{reason} {NOTHING_SENT}")
    if limit and not groups.get("all") and "localhost" not in limit:  # for an inventory with hosts, Ansible checks it
        raise AnsibleLookupError(
            f"The inventory has no hosts, so with --limit {printable(limit, 60)} nothing would be done. Leave the limit"
            f" out (in AWX: relaunch for all hosts). {NOTHING_SENT}"
        )
    if pattern:
        return pattern_of_group(pattern, groups, limit)
    return "localhost,all" if "ansible_limit" in variables else "localhost"


def _leaves_tasks_out(variables: Variables) -> bool:
    """Whether the command line skips tasks of one of our playbooks, by tags or by ``--start-at-task``."""
    run, skip = (list(variables.get(f"ansible_{tags}_tags") or ()) for tags in ("run", "skip"))
    started, later = context.CLIARGS.get("args") or (), context.CLIARGS.get("start_at_task")
    if later and any(map(_is_of_collection, started)):
        return True
    return any(map(_has_no_tags, started)) and not Taggable().evaluate_tags(run, skip, variables)


def group_of_playbook(group: str, variables: Variables) -> str:
    """The newest group for an order, or the whole ``group``. Raises AnsibleLookupError if it has the name of a host."""
    groups = variables.get("groups") or {}
    found = order_group_of(groups, group)
    if reason := why_ambiguous(found, groups):
        raise AnsibleLookupError(f"{reason} {NOTHING_SENT}")
    return found


def _is_of_collection(playbook: str) -> bool:
    """Whether a playbook of the command line is one of ours, given as a file or by the collection's name."""
    is_file = os.path.realpath(os.path.dirname(playbook)) == os.path.realpath(_PLAYBOOKS)
    return is_file or playbook.startswith("compute_index.supply.")


def _has_no_tags(playbook: str) -> bool:
    """Whether a playbook of the command line has no tags: it is one of ours, or only imports our playbooks."""
    if _is_of_collection(playbook):
        return True
    with contextlib.suppress(AnsibleError):  # such as for an encrypted playbook
        plays = DataLoader().load_from_file(playbook)
        imported = [next(filter(None, map(play.get, _IMPORTS)), "") for play in plays if not play.get("tags")]
        return len(imported) == len(plays) and all(map(_is_of_collection, imported))
    return False


class PlayVariables:
    """The unevaluated variables that a task would have for each host of its play.

    ``hostvars`` lacks the role's defaults, which have a lower precedence, and the play's variables, whose precedence is
    above the inventory's and below facts. If host and play set the same variable, its precedence depends on the source
    of the host's value, which Ansible does not reveal. Such a host must declare for itself.
    """

    def __init__(
        self, task: t.Any, task_vars: Variables, defaults: Variables, fixed: Variables, extra: Variables
    ) -> None:
        """``task_vars``: variables of the task's own host; ``defaults`` and ``fixed``: variables of the role."""
        self._task_vars = task_vars
        variables = raw_variables(str(task_vars["inventory_hostname"]), task_vars)
        by_play = {**play_variables(task), **fixed, **task.get_vars()}
        # Variables that are equal for all hosts, such as the names of the play's hosts
        common = {
            name: value for name, value in task_vars.items() if name not in variables and name not in _OF_ONE_HOST
        }
        self._common = {**defaults, **by_play, **common}
        # Ansible's own variables begin with ansible_. Extra variables have the highest precedence.
        further = {name for name in common if name not in defaults and not name.startswith("ansible_")}
        self._by_play = {*by_play, *further}.difference(extra)

    def of(self, host: str) -> dict[str, t.Any]:
        """A host's variables. Raises AnsibleActionFail if they are ambiguous, AnsibleError for an unreadable file."""
        if C.PLAYBOOK_VARS_ROOT != "top" or C.DEFAULT_HASH_BEHAVIOUR != "replace":
            raise AnsibleActionFail(f"{host}: Ansible's settings change the precedence of its variables.")
        variables = raw_variables(host, self._task_vars)
        for name in self._by_play.intersection(variables):
            if variables[name] != self._common[name]:
                raise AnsibleActionFail(f"{host}: both the play and the host set {name}.")
        found = {**self._common, **variables}
        return {**found, "vars": dict(found)}


# In which process a task runs. To run a module, Ansible builds it, ships it and starts an interpreter, which takes ten
# times as long as the request. If the task runs on this computer and with the same Python, the action plugin does the
# work in Ansible's own process; otherwise the unchanged module runs.

ENVIRONMENT = "COMPUTE_INDEX_IN_PROCESS"  # 0: run all tasks as modules
VARIABLE = "compute_index_in_process"  # false: run tasks of a host, a group or a play, or a single task, as modules

# Environment variables that each request reads, so that they need no child process
_HARMLESS = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy", LOG.lower()})


class InProcessAction(ActionBase):
    """The action plugin of a module. ``operation``: the module's operation."""

    operation: t.ClassVar[Operation]

    _supports_async = True
    _environment: Mapping[str, str] = {}

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the operation in this process or as a module, and return its result."""
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
        """Why the operation cannot run in this process, or None if it can."""
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
        # Checked last, since another host's interpreter may have a template that cannot be evaluated here.
        return reason or (None if self._is_our_python(task_vars) else "the host has another Python")

    def _is_switched_on(self, task_vars: dict[str, t.Any]) -> bool:
        """Whether operations may run in this process, by the variable, else the environment, else the default."""
        wanted = self._templar.template(task_vars.get(VARIABLE))
        if wanted is None:
            wanted = os.environ.get(ENVIRONMENT) or True
        return bool(boolean(wanted, strict=False))

    def _is_our_python(self, task_vars: dict[str, t.Any]) -> bool:
        """Whether the task's Python is this one, by its path.

        Links are not followed: a venv's Python is a link to the system's Python, which has other packages.
        """
        if self._task.delegate_to:
            task_vars = task_vars.get("ansible_delegated_vars", {}).get(self._task.delegate_to, {})
        path = task_vars.get("ansible_python_interpreter") or C.config.get_config_value("INTERPRETER_PYTHON")
        path = str(self._templar.template(path))
        return path.startswith("auto") or os.path.abspath(os.path.expanduser(path)) == os.path.abspath(sys.executable)

    def perform(self, host: str | None) -> dict[str, t.Any]:
        """Run the operation for ``host``, in a child process if it needs another environment or folder."""
        folder = os.path.abspath(self._loader.get_basedir())  # the working directory of local modules
        if not self._environment and (folder == os.getcwd() or not self._has_relative_path()):
            return self._performed()
        found = _in_child_process(self._environment, folder, lambda: self._performed(**{AS_MODULE: True}))
        return self.operation.cut_off() if found is None else found

    def _has_relative_path(self) -> bool:
        options = self.operation.argument_spec.items()
        given = (self._task.args.get(name) for name, option in options if option.get("type") == "path")
        return any(not os.path.isabs(os.path.expanduser(os.path.expandvars(str(path)))) for path in given if path)

    def _performed(self, **parameters: t.Any) -> dict[str, t.Any]:
        """Run the operation in this process, with ``parameters`` in addition to the options."""
        spec = self.operation.argument_spec
        # Plain values, as for a module
        arguments = json.loads(json.dumps(self._task.args, default=json_default))
        checked = ArgumentSpecValidator(spec, **self.operation.rules).validate(arguments)
        params = checked.validated_parameters
        if checked.error_messages:
            msg = self.option_error(checked.error_messages[0])
            if isinstance(checked.errors[0], UnsupportedError):
                msg = f"Unsupported parameters for ({self._task.resolved_action or self._task.action}) module: {msg}"
            result = self.operation.refused(msg)
        else:
            result = self.operation.perform({**params, **parameters}, self._task.check_mode)
        if not result.get("warnings"):
            result.pop("warnings", None)
        # Newer versions of ansible-core have this setting; older ones always show the options.
        if getattr(C, "INJECT_INVOCATION", True):
            result["invocation"] = {"module_args": self.shown_options(params)}
        result = without_secrets(result, self.secrets_to_hide(secrets_of(spec, params), params))
        if "warnings" in result:
            result["warnings"] = list(map(folded_warning, result["warnings"]))
        return result

    def option_error(self, msg: str) -> str:
        """An error about an option, with the names that users know."""
        return msg

    def secrets_to_hide(self, secrets: set[str], params: Mapping[str, t.Any]) -> set[str]:
        """The secrets that are removed from the result."""
        return secrets

    def shown_options(self, params: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
        """The options that the result repeats."""
        return params


def _in_child_process(environment: Mapping[str, str], folder: str, work: Callable[[], Result]) -> Result | None:
    """Do work in a child process, with these variables and in this folder. None if that ends without a result."""
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
            os._exit(status)  # the rest is for Ansible's process
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        found = pipe.read()
    _child, status = os.waitpid(child, 0)
    return None if status else t.cast("Result", json.loads(found))


# Waiting for a machine: we show progress, which Ansible's own lines do not, and keep to the time limit. If the machine
# freezes or vanishes, no process stays behind.

ATTEMPT = 15  # seconds for one attempt to connect
# Ends a connection to a frozen machine after about 15 seconds; it would stay open otherwise.
_ALIVE = "-o ServerAliveInterval=5 -o ServerAliveCountMax=3"
MINUTE = 60.0  # seconds after which an unchanged state is shown again
QUIET = 10.0  # seconds at the beginning of a wait without output
# Ansible's callback for terminals. Others, such as AWX's and JSON, have their own output.
_TERMINAL = ("default", "ansible.builtin.default")


def in_terminal() -> bool:
    """Whether the output goes to a terminal, by Ansible's callback."""
    return C.DEFAULT_STDOUT_CALLBACK in _TERMINAL


def show_lines(text: str) -> None:
    """Show a text in the terminal, folded to its width."""
    for line in wrapped(f"  {text}", COLUMNS, "    "):
        display.display(line)


class Progress:
    """The progress of a wait that begins now, and the time of the last message about it."""

    def __init__(self, host: str = "") -> None:
        self.host = host
        self.start = time.monotonic()
        self.msg, self.shown_at = "", 0.0

    @property
    def passed(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self.start

    def news(self, msg: str, *, repeat: bool = True) -> float | None:
        """Seconds since the wait began, if the message is new or, with ``repeat``, a minute old; else None."""
        passed = self.passed
        if msg == self.msg and not (repeat and passed - self.shown_at >= MINUTE):
            return None
        self.msg, self.shown_at = msg, passed
        return passed

    def show(self, msg: str, urgent: bool = False) -> None:
        """Show the message if it is new; if it has not changed for a minute, show its beginning again.

        During the first seconds (`QUIET`), only ``urgent`` messages are shown.
        """
        if not in_terminal() or (self.passed < QUIET and not urgent):
            return
        again = msg == self.msg
        passed = self.news(msg)
        if passed is not None:
            message = f"unchanged: {re.split('[.:] ', msg)[0].removesuffix('.')}." if again else msg
            show_lines(f"{self.host}, after {passed:.0f} s: {message}")

    def show_each_minute(self, msg: str) -> None:
        """Show a message about many machines after the first seconds, and then at most once a minute."""
        passed = self.passed
        if in_terminal() and passed >= (self.shown_at + MINUTE if self.shown_at else QUIET):
            self.shown_at = passed
            show_lines(f"After {passed:.0f} s: {msg}")


class BriefAction(ActionBase):
    """The action of a module on a machine that may be frozen: it does not wait for it, and leaves no process behind."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """The module's result. In a sweep, a host with a local connection counts as unreachable."""
        super().run(tmp, task_vars)
        if self._connection.transport == "local" and "reap__sweep" in (task_vars or {}):
            # An exception would end the play for the host, and a sweep if all of its hosts are like this.
            msg = "The connection of this host is local, so this computer would be asked instead of its machine."
            return {"unreachable": True, "msg": f"{msg} Set ansible_connection for tasks, not for the host."}
        limit_connection_attempts(self._connection)
        with ending_child_processes():
            return t.cast("dict[str, t.Any]", self._execute_module(task_vars=task_vars))


class MachineAction(ActionBase):
    """An action whose result is never "unreachable": that would remove the host from the play without a message."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Start the wait."""
        self.progress = Progress(str(self._task.delegate_to or (task_vars or {}).get("inventory_hostname")))
        self._main_process = os.getppid()
        return t.cast("dict[str, t.Any]", super().run(tmp, task_vars))

    def pause(self, seconds: float) -> None:
        """Sleep. Raises AnsibleActionFail if ansible-playbook has ended meanwhile."""
        time.sleep(seconds)
        if os.getppid() != self._main_process:
            raise AnsibleActionFail("ansible-playbook has ended, so this task ends.")

    def cleanup(self, force: bool = False) -> None:
        """Remove the task's files from the machine; if that has gone, this is no reason to call it unreachable."""
        with contextlib.suppress(AnsibleConnectionFailure):
            super().cleanup(force)


def limit_connection_attempts(connection: t.Any, seconds: int = ATTEMPT) -> None:
    """Limit each attempt to connect, regardless of the configuration, and end connections to frozen machines."""
    if connection.transport == "ssh":
        connection.set_option("timeout", seconds)
        connection.set_option("reconnection_retries", 0)
        arguments = connection.get_option("ssh_extra_args")
        # For ssh the first value counts, so the user's own arguments take precedence.
        connection.set_option("ssh_extra_args", f"{arguments or ''} {_ALIVE}".strip())


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder on this computer for files that a task transfers.

    It is within Ansible's own temporary folder, which the main process removes even if a worker was killed.
    """
    return tempfile.TemporaryDirectory(prefix="compute-index-run-", dir=C.DEFAULT_LOCAL_TMP)


@contextlib.contextmanager
def ending_child_processes() -> Iterator[None]:
    """If an exception ends the block, such as the timeout of a task, end all child processes.

    Ansible's timeout only ends the worker. Its ssh would wait forever for a machine that is connected but frozen.
    """
    try:
        yield
    except BaseException:
        _end_children()
        raise


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End the block's child processes after a time limit, and raise AnsibleConnectionFailure.

    A frozen machine may still accept connections and keep them alive.
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
        raise AnsibleConnectionFailure(f"it accepts logins, but no command ended within {plural(seconds, 'second')}")


def _end_children() -> None:
    for pid in child_processes(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def child_processes(pid: int) -> list[int]:
    """The descendants of a process, parents before their children."""
    parents, found = _parents(), [pid]
    for item in found:  # it grows meanwhile
        found += [child for child, parent in parents.items() if parent == item]
    return found[1:]


def _parents() -> dict[int, int]:
    """The parent of each process; empty if that is unknown."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            found[int(path.split("/")[2])] = int(file.read().rpartition(")")[2].split()[1])
    if not found:
        with contextlib.suppress(OSError):  # macOS and BSD have no /proc
            listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False)
            pairs = (line.split() for line in listed.stdout.splitlines())
            return {int(pid): int(parent) for pid, parent in pairs}
    return found


def checked_answer(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """The answer of a module, if it has succeeded. Raises ValueError with its message otherwise."""
    if answer.get("failed") or answer.get("unreachable"):
        parts = (
            answer.get("msg") or "The machine does not answer.",
            answer.get("module_stderr") or answer.get("exception"),
        )
        # Since ansible-core 2.19 an exception may be an object; ``msg`` already has its text.
        raise ValueError(" ".join(part for part in parts if part and isinstance(part, str)))
    return answer
