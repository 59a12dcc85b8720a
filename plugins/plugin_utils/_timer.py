# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the command line that a timer repeats, and the state of that timer on this computer."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import time
import typing as t

from ansible import context
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import is_awx_job
from ansible_collections.compute_index.supply.plugins.module_utils._provision import timer as rules
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import readable_text
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import USUAL

_SECONDS = 10  # time limit for programs of systemd or cron, which answer at once or never
_PROGRAM = "ansible-playbook"


def gathered(sources: t.Iterable[str], here: str, project: str = "") -> dict[str, t.Any]:
    """Parameters of the step `timer`: the timer of this inventory, what is observed of it, and facts about this run.

    ``project``: from an extra variable.
    """
    inventory = [source for source in sources if source != USUAL or os.path.exists(source)]
    command = rules.command_of(_program(), inventory, context.CLIARGS.get("extra_vars") or (), _options())
    home = os.path.expanduser("~")
    return {
        "timer": {"sources": inventory, "here": here, "home": home, "command": command, "project": project},
        "observed": _observed(rules.Timer(tuple(inventory), here, home, project=project)),
        "missing": [source for source in inventory if "," not in source and not os.path.exists(source)],
        "variables": rules.variables_for_sweeps(name for name, value in os.environ.items() if value),
        "asks": bool(context.CLIARGS.get("ask_vault_pass")),
        "by_job": is_awx_job(),
    }


def _program() -> str:
    """The path of the running ansible-playbook, else of the one next to this Python or on PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), _PROGRAM)
    paths = (path for path in (os.path.abspath(sys.argv[0]), beside) if os.path.basename(path) == _PROGRAM)
    return next(filter(os.path.exists, paths), None) or shutil.which(_PROGRAM) or _PROGRAM


def _options() -> list[str]:
    """The options of this run that a sweep needs to decrypt files and to log in."""
    given = context.CLIARGS
    named = [("--vault-id", text) for text in given.get("vault_ids") or ()]
    named += [("--vault-password-file", text) for text in given.get("vault_password_files") or ()]
    named += [("--private-key", given["private_key_file"])] if given.get("private_key_file") else []
    return [word for pair in named for word in pair]


def _observed(timer: rules.Timer) -> dict[str, t.Any]:
    script, last, user = timer.file("sweep"), timer.file("last"), _user()
    state = _output("systemctl", "--user", "show", f"{timer.name}.timer", "--property=ActiveState")
    return {
        "user": user,
        "runtime": _runtime(),
        "has_systemd": bool(state),  # without systemd the output is empty; a missing unit is "inactive"
        "lingers": "yes" in _output("loginctl", "show-user", user, "--property=Linger"),
        "has_crontab": bool(shutil.which("crontab")),
        "unit": readable_text(timer.unit),
        "is_active": state.strip() == "ActiveState=active",
        "line": _line_of(timer.name),
        "code": readable_text(last).strip(),
        "swept_at": _changed_at(last),
        "made_at": _changed_at(script),
        "now": time.time(),
    }


def _user() -> str:
    """The user's name, or the user id without an account, as in some containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _runtime() -> str:
    """The runtime folder of the user's systemd; after `su` the environment may have another user's."""
    return f"/run/user/{os.getuid()}"


def _changed_at(path: str) -> float:
    return os.path.getmtime(path) if os.path.exists(path) else 0.0


def _line_of(name: str) -> str:
    """The crontab line with this name, as the module ``cron`` writes it; empty if there is none."""
    lines = iter(_output("crontab", "-l").splitlines())
    return next((next(lines, "") for line in lines if line == f"#Ansible: {name}"), "")


def _output(*command: str) -> str:
    """The output of a command; empty if it does not exist or does not answer."""
    environment = {**os.environ, "LC_ALL": "C", "XDG_RUNTIME_DIR": _runtime()}
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS, env=environment
        ).stdout
    return ""
