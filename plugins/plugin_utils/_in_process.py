# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Performs an operation in the process of Ansible itself, where that is the same as on the machine.

A module is built, shipped, and run by an interpreter that is started for it, which costs ten times what the request
does. Where the "machine" is this computer and its Python this Python, an action plugin can do the work at once. In all
other cases the module runs, complete as it is. Only what Ansible offers to action plugins is used, and its process is
left as it is: what needs other environment variables or another folder is done in a process of our own.
"""

from __future__ import annotations

import datetime
import json
import os
import ssl
import sys
import typing as t
from collections.abc import Callable, Mapping

from ansible import constants as C
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import (
    AS_MODULE,
    Operation,
    Result,
    folded,
    secrets_of,
    without_secrets,
)
from ansible_collections.compute_index.supply.plugins.module_utils._api import http
from ansible_collections.compute_index.supply.plugins.module_utils._api.recorder import LOG

ENVIRONMENT = "COMPUTE_INDEX_IN_PROCESS"  # 0 makes all tasks take the module's way
VARIABLE = "compute_index_in_process"  # the same for a host, a group, a play or a task

# What a play's environment may set without a process of its own: what is looked up at each request.
_HARMLESS = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy", LOG.lower()})

display = Display()

# OpenSSL sets itself up at the first context of a process, which takes longer than all that we do. Ansible reads
# plugins before it forks, so its workers find that done.
ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


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
            result["warnings"] = list(map(folded, result["warnings"]))
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


def plain(value: t.Any) -> t.Any:
    """What JSON has no word for, as Ansible sends it to modules; a vaulted text becomes what it is."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


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
