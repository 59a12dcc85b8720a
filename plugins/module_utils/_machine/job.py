# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of a run on a machine: starts its job once, and reports its state. Knows no Ansible.

``work`` (the code, the job's working directory), ``log.txt``, ``state`` (small files, see `job_watcher`), ``parts``
(results on their way), and ``setup.json`` (which setup has succeeded).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import inspect
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t

from .._text import printable, utc
from . import code_files, job_watcher
from .job_state import RUNS, Notes, must_start, state_by_notes

PLACE = "COMPUTE_INDEX_RUN_DIR"  # in the environment: replaces the folder of all runs
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_SYSTEMD = "/run/systemd/system"  # there if systemd runs the machine
_PAUSE = 0.05  # seconds between two looks
_STARTS_IN = 20.0  # seconds that a watcher has to begin
_MOST_LOG = 256 * 1024  # bytes of a log that are read from its end
_MOST_LINES = 1000
_LONGEST_LINE = 1000  # characters
_LINGER = (
    "systemd may end the run when the connection ends, since this user does not linger. "
    "Allow it with: sudo loginctl enable-linger"
)
_BEGINS_IN_VAIN = ("SSH_", "SUDO_", "XDG_", "ANSIBLE_", "LC_")  # variables of the connection, not of the job
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")


# What is noted of a job: times in seconds (0 for no limit), a digest of code, command, setup and the names of the
# variables, and the paths to fetch, for a sweep that knows nothing else of the run.
_OF_A_JOB = ("command", "setup", "digest", "time", "results")

Job = t.Mapping[str, t.Any]


def folder_of(name: str) -> str:
    """The folder of a run of this user. Raises ValueError if that, which also names a unit, cannot be its name."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            "The name of a run has letters, digits, '.', '_' and '-', begins with a letter or digit, "
            "and has at most 63 characters."
        )
    usual = "/var/lib/compute_index/run" if os.geteuid() == 0 else os.path.expanduser("~/.compute_index/run")
    return os.path.join(os.environ.get(PLACE) or usual, name)


@contextlib.contextmanager
def held(folder: str) -> t.Iterator[None]:
    """The folder, made if needed, and locked: no other module changes it meanwhile."""
    os.makedirs(os.path.join(folder, "parts"), mode=0o700, exist_ok=True)
    os.chmod(folder, 0o700)
    with open(os.path.join(folder, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# Its state


def state_of(folder: str) -> dict[str, t.Any]:
    return state_by_notes(_notes(folder))


def _notes(folder: str) -> Notes:
    state = os.path.join(folder, "state")
    job, watcher, phase = (job_watcher.read(os.path.join(state, name)) for name in ("job.json", "pid", "phase.json"))
    watcher_lives, command_lives = job_watcher.is_running(watcher), job_watcher.is_running(phase)
    return Notes(
        job,
        watcher,
        phase,
        # Read last: what ends at this moment has noted it, or counts as running.
        job_watcher.read(os.path.join(state, "end.json")),
        is_begun=not os.path.exists(os.path.join(state, "env")) or watcher is not None,
        watcher_lives=watcher_lives,
        command_lives=command_lives,
        boot=job_watcher.boot(),
        disk_full=job is not None and job_watcher.free(folder) < job_watcher.FULL,
        age=time.time() - os.stat(state).st_mtime if job is not None else 0.0,
    )


def report(name: str, lines: int) -> dict[str, t.Any]:
    """What run_info returns: the state of a run, and the newest lines of its log. Raises ValueError for a bad name."""
    folder = folder_of(name)
    notes = _notes(folder)
    log, line_bytes, size = tail(os.path.join(folder, "log.txt"), max(0, min(lines, _MOST_LINES)))
    job, watcher, end = notes.job or {}, notes.watcher or {}, notes.end or {}
    return {
        **state_by_notes(notes),
        "name": name,
        "command": job.get("command", ""),
        "results": job.get("results", []),
        "digest": job.get("digest", ""),
        "began_at": utc(watcher["began_at"]) if watcher else None,
        "ended_at": utc(end["ended_at"]) if end else None,
        "log": log,
        "log_line_bytes": line_bytes,
        "log_bytes": size,
        "disk_free_bytes": job_watcher.free(folder) if os.path.isdir(folder) else None,
    }


def tail(path: str, lines: int) -> tuple[list[str], list[int], int]:
    """The newest lines of a log, the bytes of each, and of all. An overwritten line is shown as it is last."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _MOST_LOG))
            text = file.read(_MOST_LOG)
    except OSError:
        return [], [], 0
    rows = text.split(b"\n")
    rows = rows[1:] if size > _MOST_LOG and len(rows) > 1 else rows
    rows = rows if rows[-1] else rows[:-1]
    rows = rows[max(0, len(rows) - lines) :]
    return [_shown(row.decode(errors="replace")) for row in rows], [len(row) + 1 for row in rows], size


def _shown(row: str) -> str:
    last = _ESCAPES.sub("", row).rstrip("\r").rpartition("\r")[2]
    return printable(last.replace("\t", "    "), _LONGEST_LINE)


# How its code comes, and how it starts


def take_code(name: str, step: t.Mapping[str, t.Any], check_mode: bool) -> bool:
    """Whether the machine has this code; it takes an archive of it. Raises ValueError while other code runs."""
    if "digest" not in step:
        raise ValueError("run_files is an action: it begins on the controller, as a task.")
    folder, digest = folder_of(name), str(step["digest"])
    if code_files.digest_at(folder) == digest:
        return True
    if "archive" not in step or check_mode:
        _check_is_still(folder)
        return False
    with held(folder):
        _check_is_still(folder)
        code_files.unpack(str(step["archive"]), str(step["sha256"]), digest, folder)
    return True


def _check_is_still(folder: str) -> None:
    if state_of(folder)["state"] in RUNS:
        raise ValueError(f"A command of the run {os.path.basename(folder)} still runs on the machine, with other code.")


def start_once(params: t.Mapping[str, t.Any], env: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """What run_job returns. Raises ValueError if another job runs, or nothing begins."""
    folder, variables = folder_of(params["name"]), environment_of_job(env)
    job = {name: params[name] for name in _OF_A_JOB}
    with contextlib.nullcontext() if check_mode else held(folder):
        notes = _notes(folder)
        state, digest = state_by_notes(notes)["state"], (notes.job or {}).get("digest", "")
        changed = must_start(state, digest, job["digest"], params["again"])
        how = start(folder, job, variables, is_begun=notes.is_begun) if changed and not check_mode else ""
    notices = [_LINGER] if how == "fork" and needs_linger() else []
    after = state_of(folder)
    return {"changed": changed, "how": how, "state": after["state"], "msg": after["msg"], "notices": notices}


def start(folder: str, job: Job, variables: t.Mapping[str, str], *, is_begun: bool) -> str:
    """Start the job in its locked folder, and return how: ``systemd`` or ``fork``. ``is_begun``: whether the last has.

    After a kill between any two lines the job has begun, or it has not and the next call starts it: the file with its
    variables can be taken only once, by the watcher or by us. Raises ValueError if nothing begins.
    """
    if not is_begun and not _withdrawn(folder):
        return _begun(folder) or "fork"  # what an earlier call has launched has begun just now
    _make_state(folder, job, variables)
    for how, words in _ways(os.path.basename(folder)):
        if _launch([*words, sys.executable, "-I", os.path.join(folder, "watch.py"), folder, how]) and _begun(folder):
            return how
    if _withdrawn(folder):
        raise ValueError("The command could not be started on the machine: its watcher did not begin.")
    return _begun(folder) or "fork"


def environment_of_job(env: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The variables of a job: those of the user's session, without the connection's, and the given ones.

    Raises ValueError, without a value, for what cannot be one.
    """
    session = {name: text for name, text in os.environ.items() if not name.startswith(_BEGINS_IN_VAIN)}
    user = pwd.getpwuid(os.geteuid())
    of_user = {"HOME": session.get("HOME") or user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    # Python would keep the newest lines of a log to itself.
    return {**session, **of_user, "PYTHONUNBUFFERED": "1", **dict(_checked(*pair) for pair in env.items())}


def _checked(name: str, value: t.Any) -> tuple[str, str]:
    if not name or "=" in name or "\0" in name or not isinstance(value, (str, int, float)) or "\0" in str(value):
        raise ValueError(f"env: {printable(name, 60)!r} and its value must be a name and a text or number.")
    return name, str(value)


def needs_linger() -> bool:
    """Whether systemd may end what this user runs when the connection ends."""
    user = os.geteuid()
    lingers = user == 0 or os.path.exists(os.path.join("/var/lib/systemd/linger", pwd.getpwuid(user).pw_name))
    return os.path.isdir(_SYSTEMD) and not lingers


def _make_state(folder: str, job: Job, variables: t.Mapping[str, str]) -> None:
    """Note what is to run, in place of what ran before."""
    state, new, old = (os.path.join(folder, name) for name in ("state", "state.new", "state.old"))
    for place in (new, old):
        shutil.rmtree(place, ignore_errors=True)
    if not os.path.lexists(os.path.join(folder, code_files.WORK)):
        code_files.place_code(tempfile.mkdtemp(prefix=code_files.NEW, dir=folder), "none", folder)
    setup = hashlib.sha256(json.dumps([job["setup"], code_files.digest_at(folder)]).encode()).hexdigest()
    is_set_up = (job_watcher.read(os.path.join(folder, "setup.json")) or {}).get("digest") == setup
    os.mkdir(new, 0o700)
    asked = {**job, "setup_digest": setup, "is_set_up": is_set_up}
    job_watcher.note(os.path.join(new, "job.json"), asked)
    job_watcher.note(os.path.join(new, "env"), dict(variables))
    with open(os.path.join(folder, "watch.py"), "w", encoding="utf-8") as file:
        file.write(inspect.getsource(job_watcher))
    with contextlib.suppress(FileNotFoundError):
        os.rename(state, old)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, "log.txt"))
    os.rename(new, state)
    shutil.rmtree(old, ignore_errors=True)


def _withdrawn(folder: str) -> bool:
    """Whether the job was withdrawn in time: it cannot begin any more, since no watcher has taken its variables."""
    try:
        os.unlink(os.path.join(folder, "state", "env"))
    except FileNotFoundError:
        return False
    return True


def _begun(folder: str) -> str:
    """How the watcher runs, once it has begun; empty if none begins within some time."""
    limit = time.monotonic() + _STARTS_IN
    while (watcher := job_watcher.read(os.path.join(folder, "state", "pid"))) is None and time.monotonic() < limit:
        time.sleep(_PAUSE)
    return str(watcher["how"]) if watcher else ""


def _ways(name: str) -> t.Iterator[tuple[str, list[str]]]:
    """The ways to start a watcher that outlives the connection, the best first."""
    is_root = os.geteuid() == 0
    if os.path.isdir(_SYSTEMD) and not needs_linger():
        properties = ["KillMode=control-group", "OOMPolicy=continue"]
        properties += ["LimitMEMLOCK=infinity", "TasksMax=infinity"] if is_root else []
        user = [] if is_root else ["--user"]
        options = [*user, "--quiet", "--collect", f"--unit=compute-index-run-{name}-{int(time.time())}"]
        yield "systemd", ["systemd-run", *options, *(f"--property={text}" for text in properties)]
    yield "fork", []


def _launch(words: t.Sequence[str]) -> bool:
    """Start a program in a session of its own. False if it is systemd-run, and that failed."""
    runtime = {"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}"}
    try:
        # `run_command` would wait for its end, and keep its outputs open.
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            words,
            cwd="/",
            env={**runtime, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return words[0] == sys.executable or process.wait(_STARTS_IN) == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
