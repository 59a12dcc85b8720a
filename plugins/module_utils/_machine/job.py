# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the job of a run on its machine, once, and reports its state. Knows no Ansible.

The folder of a run has ``work`` (the code, the job's working directory), ``log.txt``, ``job.json`` (the job that has
begun), ``end`` (its exit code), ``setup`` (the digest of the setup that succeeded), and ``pid``, which is locked while
a process of the job runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import pwd
import re
import shutil
import subprocess
import time
import typing as t

from .._text import printable, utc
from . import code_files
from .job_state import NONE, RUNNING, state_and_reason, state_sentence

FOLDER_VARIABLE = "COMPUTE_INDEX_RUN_DIR"  # the environment variable that replaces the folder of all runs
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_MOST_LOG = 256 * 1024  # bytes that are read from the end of a log
_MOST_LINES = 1000
_LONGEST_LINE = 1000  # characters
_RESERVE = 96 * 2**20  # bytes reserved during the job, for the modules that read the results if it fills the disk
_FOREVER = 10**8  # seconds
_SYSTEMD = "/run/systemd/system"  # exists if systemd runs the machine
# Without a unit of its own, systemd may end the job with the connection (KillUserProcesses).
_SCOPE = ("systemd-run", "--scope", "--quiet", "--collect", "--property=TasksMax=infinity")
_SESSION = re.compile(r"/user-([0-9]+)\.slice/session-[^/]*\.scope")  # in the control group of a login
_CGROUP = "/proc/self/cgroup"
_LOGIND = (
    *("busctl", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"),
    *("KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers"),
)
_NOTED = ("command", "setup", "digest", "time", "results")  # options in job.json; sweeps read the results
_NO_JOB: t.Mapping[str, t.Any] = {"command": "", "results": [], "digest": ""}
_OF_CONNECTION = ("SSH_", "SUDO_", "XDG_", "ANSIBLE_", "LC_")  # prefixes of variables that no job needs
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")

# Runs a job in its folder. The job begins with the first line, and is over once the last line has succeeded.
# $1: the shell; $2: the setup; $3: the command; $4: seconds; $5: the digest of the setup, empty if that is done
_WRAPPER = """
echo "$$" > pid
mv job.new job.json || exit
ulimit -l unlimited 2> /dev/null  # GPUs lock memory
cd work
timeout -k 30 "$4" "$1" -c '
  if [ -n "$5" ]; then "$1" -c "$2" || exit; echo "\\"$5\\"" > ../setup; fi
  exec "$1" -c "$3"
' job "$@"
code=$?
cd ..
rm -f reserve
echo "$code" > end.new && mv end.new end
"""


def folder_of(name: str) -> str:
    """The folder of a run of this user. Raises ValueError for an invalid name."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            "The name of a run has letters, digits, '.', '_' and '-', begins with a letter or digit, "
            "and has at most 63 characters."
        )
    usual = "/var/lib/compute_index/run" if os.geteuid() == 0 else os.path.expanduser("~/.compute_index/run")
    return os.path.join(os.environ.get(FOLDER_VARIABLE) or usual, name)


@contextlib.contextmanager
def locked_folder(folder: str) -> t.Iterator[None]:
    """Create the folder if needed, and lock it against changes by other modules."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# State


def state_of(folder: str) -> dict[str, t.Any]:
    """The state of a run with its reason, a sentence with both, its exit code, and its times."""
    runs = _is_running(folder)  # first, since a job that ends after this has noted its end
    (code, ended), (job, began) = _read_json(folder, "end"), _read_json(folder, "job.json")
    is_set_up = job is None or not job["setup"] or _read_json(folder, "setup")[0] == job["setup_digest"]
    state, reason = state_and_reason(job, code, (ended or 0.0) - (began or 0.0), runs=runs, is_set_up=is_set_up)
    times = {"began_at": began and utc(began), "ended_at": ended and utc(ended)}
    return {"state": state, "reason": reason, "msg": state_sentence(state, reason), "exit_code": code, **times}


def _read_json(folder: str, name: str) -> tuple[t.Any, float | None]:
    """The content and modification time of a file in the folder; None for both if it cannot be read."""
    with contextlib.suppress(OSError, ValueError), open(os.path.join(folder, name), encoding="utf-8") as file:
        return json.load(file), os.fstat(file.fileno()).st_mtime
    return None, None


def _is_running(folder: str) -> bool:
    """Whether a process of the job exists: each has inherited the lock of the first one."""
    try:
        with open(os.path.join(folder, "pid"), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _job(folder: str) -> t.Mapping[str, t.Any]:
    """The noted options of the job that has begun, or is about to."""
    return _read_json(folder, "job.json")[0] or _read_json(folder, "job.new")[0] or _NO_JOB


def report(name: str, lines: int) -> dict[str, t.Any]:
    """The result of `run_info`. Raises ValueError for an invalid name."""
    folder = folder_of(name)
    return {
        **state_of(folder),
        "name": name,
        **{item: _job(folder)[item] for item in _NO_JOB},
        "log": tail(os.path.join(folder, "log.txt"), max(0, min(lines, _MOST_LINES))),
    }


def tail(path: str, lines: int) -> list[str]:
    """The newest lines of a log. A line that overwrites itself, such as a progress bar, is in its last version."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_LOG))
            rows = file.read(_MOST_LOG).split(b"\n")
    except OSError:
        return []
    rows = rows if rows[-1] else rows[:-1]
    texts = (_ESCAPES.sub("", row.decode(errors="replace")) for row in rows[max(0, len(rows) - lines) :])
    last = (text.rstrip("\r").rpartition("\r")[2].replace("\t", "    ") for text in texts)
    return [printable(text, _LONGEST_LINE) for text in last]


# Code and start


def receive_code(name: str, step: t.Mapping[str, t.Any]) -> bool:
    """Return whether the machine has this code; if not, unpack the archive, if the step has one.

    Raises ValueError while other code runs.
    """
    if "digest" not in step:
        raise ValueError("run_files is an action: it begins on the controller, as a task.")
    folder, digest = folder_of(name), str(step["digest"])
    if code_files.digest_at(folder) == digest:
        return True
    with locked_folder(folder) if "archive" in step else contextlib.nullcontext():
        if state_of(folder)["state"] == RUNNING:
            raise ValueError(f"A command of the run {name} still runs on the machine, with other code.")
        if "archive" in step:
            code_files.unpack(str(step["archive"]), digest, folder)
    return False


def start_once(params: t.Mapping[str, t.Any], env: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Start a job unless it has begun before, or, with ``again``, unless it runs.

    Raises ValueError if another job runs, or this one does not begin.
    """
    folder = folder_of(params["name"])
    with contextlib.nullcontext() if check_mode else locked_folder(folder):
        state, is_same = state_of(folder)["state"], _job(folder)["digest"] == params["digest"]
        if state == RUNNING and not is_same:
            raise ValueError("Another command, or the same with other code, still runs under this name.")
        changed = state == NONE or (state != RUNNING and (params["again"] or not is_same))
        if changed and not check_mode:
            _start(folder, params, env)
        after = state_of(folder)
    return {"changed": changed, "state": after["state"], "msg": after["msg"]}


def _start(folder: str, params: t.Mapping[str, t.Any], env: t.Mapping[str, t.Any]) -> None:
    """Start a job in its locked folder. After a kill, the job has begun only if its wrapper's first lines have run."""
    launchers = _launchers()
    for name in ("pid", "job.json", "end", "log.txt"):  # in this order, a kill leaves the earlier job or none
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
    os.makedirs(os.path.join(folder, code_files.WORK), exist_ok=True)
    setup = hashlib.sha256(json.dumps([params["setup"], code_files.digest_at(folder)]).encode()).hexdigest()
    due = setup if params["setup"] and _read_json(folder, "setup")[0] != setup else ""
    with open(os.path.join(folder, "job.new"), "w", encoding="utf-8") as file:
        json.dump({**{name: params[name] for name in _NOTED}, "setup_digest": setup}, file)
    status = os.statvfs(folder)
    # The wrapper frees this space at the end of the job.
    with contextlib.suppress(OSError), open(os.path.join(folder, "reserve"), "wb") as file:
        os.posix_fallocate(file.fileno(), 0, min(_RESERVE, status.f_bavail * status.f_frsize // 10))
    words = ["/bin/sh", "-c", _WRAPPER, "run", shutil.which("bash") or "/bin/sh", params["setup"], params["command"]]
    words += [str(math.ceil(params["time"]) or _FOREVER), due]
    if not any(_launch(folder, [*launcher, *words], env) for launcher in launchers):
        raise ValueError("The command could not be started on the machine.")


def _launchers() -> tuple[tuple[str, ...], ...]:
    """The commands that may start a job, the best first. Raises ValueError if the job would end with the connection."""
    if os.geteuid() == 0 and os.path.isdir(_SYSTEMD) and shutil.which(_SCOPE[0]):
        return (_SCOPE, ())
    with contextlib.suppress(OSError, KeyError), open(_CGROUP, encoding="utf-8") as file:
        if session := _SESSION.search(file.read()):
            user = pwd.getpwuid(int(session[1])).pw_name
            # `run_command` would fail the module if busctl is not installed.
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                _LOGIND, capture_output=True, text=True, check=False
            )
            kills, only, excluded, *_rest = [*done.stdout.splitlines(), "", "", ""]
            is_killed = f'"{user}"' in only if '"' in only else kills == "b true"
            if is_killed and f'"{user}"' not in excluded:
                raise ValueError(
                    f"The job would end with the connection: logind of this machine ends all processes of {user} at"
                    " logout (KillUserProcesses=yes). Set ansible_become=true, so that root starts the job."
                )
    return ((),)


def _launch(folder: str, words: t.Sequence[str], env: t.Mapping[str, t.Any]) -> bool:
    """Launch the wrapper in its own session, so that it outlives the connection. Returns whether it has begun.

    ``env``: variables in addition to those of the user's session, without the connection's.
    """
    session = {name: text for name, text in os.environ.items() if not name.startswith(_OF_CONNECTION)}
    unbuffered = {"PYTHONUNBUFFERED": "1"}  # otherwise Python would buffer the newest lines of the log
    with open(os.path.join(folder, "pid"), "wb") as pid, open(os.path.join(folder, "log.txt"), "wb") as log:
        fcntl.flock(pid, fcntl.LOCK_EX)
        # `run_command` would wait for its end, and keep its outputs open.
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            words,
            cwd=folder,
            env={**session, **unbuffered, **{str(name): str(value) for name, value in env.items()}},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[pid.fileno()],
            start_new_session=True,
        )
    new = os.path.join(folder, "job.new")
    while os.path.exists(new) and process.poll() is None:
        time.sleep(0.02)
    return not os.path.exists(new)
