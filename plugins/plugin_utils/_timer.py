# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this run of ansible-playbook is, which a timer repeats, and what there is of that timer on this computer."""

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
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import is_job
from ansible_collections.compute_index.supply.plugins.module_utils._provision import timer as rules
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import text_in
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import USUAL

_SECONDS = 10  # for a question to systemd or cron, which answer at once or never
_PROGRAM = "ansible-playbook"


def gathered(sources: t.Iterable[str], here: str, project: str = "") -> dict[str, t.Any]:
    """What the step takes: the timer of this inventory (``timer``), and what there is of it (``observed``).

    ``project``: as an extra variable says.
    """
    inventory = [source for source in sources if source != USUAL or os.path.exists(source)]
    command = rules.command_of(_program(), inventory, context.CLIARGS.get("extra_vars") or (), _options())
    home = os.path.expanduser("~")
    return {
        "timer": {"sources": inventory, "here": here, "home": home, "command": command, "project": project},
        "observed": _observed(rules.Timer(tuple(inventory), here, home, project=project)),
        "missing": [source for source in inventory if "," not in source and not os.path.exists(source)],
        "variables": rules.handed_on(name for name, value in os.environ.items() if value),
        "asks": bool(context.CLIARGS.get("ask_vault_pass")),
        "by_job": is_job(),
    }


def _program() -> str:
    """The ansible-playbook that runs now; without one the one beside its Python, or on PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), _PROGRAM)
    paths = (path for path in (os.path.abspath(sys.argv[0]), beside) if os.path.basename(path) == _PROGRAM)
    return next(filter(os.path.exists, paths), None) or shutil.which(_PROGRAM) or _PROGRAM


def _options() -> list[str]:
    """The options of this run that decide what a sweep can read and whom it can log in to."""
    given = context.CLIARGS
    named = [("--vault-id", text) for text in given.get("vault_ids") or ()]
    named += [("--vault-password-file", text) for text in given.get("vault_password_files") or ()]
    named += [("--private-key", given["private_key_file"])] if given.get("private_key_file") else []
    return [word for pair in named for word in pair]


def _observed(timer: rules.Timer) -> dict[str, t.Any]:
    user = _user()
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    states = _output("systemctl", "--user", "is-active", f"{timer.name}.timer", f"{timer.name}.service", at=runtime)
    is_active, is_sweeping = [*states.split(), "", ""][:2]
    line = _line_of(timer.name)
    made = [timer.file(name) for name in ("environment", "sweep")]
    files = [path for path in (*timer.unit_files, timer.folder) if os.path.lexists(path)]
    changes = [os.path.getmtime(path) for path in (*made, *timer.unit_files[:2]) if os.path.exists(path)]
    return {
        "user": user,
        "has_systemd": os.path.isdir("/run/systemd/system") and bool(shutil.which("systemctl")),
        "has_crontab": bool(shutil.which("crontab")),
        "runs_systemd": os.path.exists(os.path.join(runtime, "systemd", "private")),
        "lingers": os.path.exists(f"/var/lib/systemd/linger/{user}"),
        "files": files,
        "is_active": is_active == "active",
        "is_sweeping": is_sweeping == "activating",
        "in_crontab": bool(line),
        "interval": rules.interval_of(line or text_in(timer.unit("timer"))),
        "last": text_in(timer.file("last")),
        "changed_at": max(changes, default=0.0),
        "now": time.time(),
        "offset": float(time.localtime().tm_gmtoff or 0),
        "runtime": runtime,
    }


def _user() -> str:
    """The user's name; the number of one without an account, as containers have them."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _line_of(name: str) -> str:
    """The line of cron under this name, as the module ``cron`` writes it; empty if there is none."""
    lines = iter(_output("crontab", "-l").splitlines())
    return next((next(lines, "") for line in lines if line == f"#Ansible: {name}"), "")


def _output(*command: str, at: str = "") -> str:
    """What a command prints; empty if it is not there or does not answer. ``at``: the folder of the user's systemd."""
    environment = {**os.environ, "LC_ALL": "C", **({"XDG_RUNTIME_DIR": at} if at else {})}
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS, env=environment
        ).stdout
    return ""
