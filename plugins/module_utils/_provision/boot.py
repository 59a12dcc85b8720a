# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine that boots is waited for, how long, and how that ends. All times are seconds since the wait began.

A wait is a row of looks. Each of them connects, if the machine is not `connected` yet, and asks cloud-init; after it
either `after_failure` or `after_report` says what follows.
"""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
from dataclasses import dataclass, replace

from .._text import lasting, one_line

ANSWER_SECONDS = 20  # that one look may take on the machine: systemd, which cloud-init asks, may hang
CONNECT = "true"
# cloud-init's `status --format json` says most, but old versions only know --long. With errors it exits with 1 or 2, so
# then both outputs are there, unless it hangs. "absent" and "marked" are our words; `timeout` is of coreutils and of
# busybox.
_TIMED_OUT = 124  # the exit code of `timeout`
# User data leave this file at their end, in the home folder if they do not run as root. Where there is no cloud-init,
# such as in a container, nothing else tells that they have run.
MARK = "supply-booted"
NO_MARK = f"{MARK}: none"  # what user data say that leave none
MARKED = "marked"
ASK = (
    "command -v cloud-init >/dev/null || { "
    f"for mark in /var/lib/{MARK} ~/.{MARK}; do [ ! -e $mark ] || echo 'detail: {MARKED}'; done; "
    "echo 'status: absent'; exit 0; }; "
    f'limit=$(command -v timeout); limit="${{limit:+$limit {ANSWER_SECONDS}}}"; '
    "$limit cloud-init status --format json || "
    f"{{ [ $? != {_TIMED_OUT} ] || exit {_TIMED_OUT}; $limit cloud-init status --long; }}"
)

PAUSE = 1.0  # seconds between two attempts to connect
# A user's key may be installed late, and what cloud-init says may be unreadable while it is upgraded: minutes, at most.
PATIENCE = 240.0
# The name of a new machine may be known late, but not the one of a typo.
RESOLVING = 60.0
# Since OpenSSH 9.8 a server shuts out for a while whoever fails to log in more often than every five seconds
# (sshd_config, PerSourcePenalties).
DENIED_PAUSE = 5.0
RESTARTS = 3  # how often a machine may be lost while cloud-init runs
# How often cloud-init is asked: many are done at once, the others take long.
SOON, SOON_PAUSE, LATE_PAUSE = 60.0, 2.0, 10.0

ABSENT, UNCLEAR, RUNNING = "absent", "unclear", "running"
_ENDS = {
    "done": "cloud-init has finished.",
    "disabled": "cloud-init is disabled.",
    ABSENT: "There is no cloud-init on the machine.",
}
ADVICE = (
    "Set ansible_ssh_private_key_file to the private half of the key that was bought with; if that has a passphrase,"
    " ssh-add it."
)

_HOST_KEY = re.compile(r"Host key verification failed|IDENTIFICATION HAS CHANGED|Host Key checking is enabled")
# The last one stands for sshpass. ssh also writes "Permission denied" of files that it cannot read.
_DENIED = re.compile(r"Permission denied \(|Too many authentication failures|Invalid/incorrect (?:username/)?password")
# Of ssh's own program and settings, which no machine's answer changes.
_HERE = re.compile(
    r"ControlPath too long|Bad owner or permissions on|[Bb]ad configuration option|No user exists for uid"
    r"|Permissions \d+ for .* are too open|paramiko is not installed"
)
# What ssh, its libraries and Python say of a name that they find no address for.
_NO_ADDRESS = re.compile(
    r"Could not resolve hostname|Name or service not known|nodename nor servname|No address associated with hostname"
    r"|[Tt]emporary failure in name resolution"
)
_NOISE = re.compile(r"@|debug\d: |mux_client_|OpenSSH_|Warning: Permanently added")
_WHERE = re.compile(r"Failed to connect to the host via \w+: ?|ssh: connect to host \S+ port \d+: |ssh: (?=Could not)")


@dataclass(frozen=True)
class BootTimeouts:
    """How long what may take, in seconds."""

    connect: float  # until SSH answers, at first and after each restart
    boot: float  # until cloud-init has finished, once SSH has answered
    seeded: bool = False  # the host key was handed over at the purchase: another one may answer until it is installed
    marked: bool = False  # the user data leave a mark at their end


@dataclass(frozen=True)
class CloudInitStatus:
    """What cloud-init says of itself."""

    status: str  # in its words; ABSENT, or UNCLEAR where nobody can read the answer
    errors: tuple[str, ...] = ()
    detail: str = ""
    stage: str = ""  # that it is in, such as modules-final
    degraded: bool = False  # there were errors that did not stop it


@dataclass(frozen=True)
class Wait:
    """How far a machine is."""

    limits: BootTimeouts
    since: float = 0.0  # when SSH began to be waited for, the last time
    reachable: bool = False
    connected: float | None = None  # when SSH answered first
    lost: int = 0  # how often it was reachable and then not any more
    denied: float | None = None  # since when the user's key is refused
    unresolved: float | None = None  # since when there is no address of its name
    unclear: float | None = None  # since when cloud-init's answer cannot be read


@dataclass(frozen=True)
class BootStep:
    """What follows a look."""

    msg: str  # the state of things, or how the wait has ended
    pause: float | None = None  # seconds until the next look; None ends the wait
    failed: bool = False
    warning: str = ""
    urgent: bool = False  # a person can do something about it now
    host_key_refused: bool = False
    permission_denied: bool = False


# What was said


def cloud_init_status(code: int, stdout: str, stderr: str) -> CloudInitStatus:
    """What cloud-init has answered to ASK."""
    if code == _TIMED_OUT:
        return CloudInitStatus(RUNNING, detail=f"it did not answer within {ANSWER_SECONDS} seconds")
    answer = _from_json(stdout) or _from_text(stdout)
    if not answer:
        return _unreadable(code, stdout.strip() or stderr.strip())
    word, extended, detail = (one_line(str(answer.get(name) or "")) for name in ("status", "extended_status", "detail"))
    # If it goes on after an error, so does its own --wait.
    goes_on = word == "error" and extended.endswith(RUNNING)
    return CloudInitStatus(
        status=RUNNING if goes_on else word,
        errors=_errors_of(answer),
        detail=detail,
        stage=_stage_of(answer, detail),
        degraded=extended.startswith("degraded") or code == 2,
    )


def _unreadable(code: int, output: str) -> CloudInitStatus:
    """An answer that nobody can read, with its last line, or else its exit code."""
    return CloudInitStatus(UNCLEAR, detail=one_line(output.rpartition("\n")[2]) or f"exit code {code}")


def _errors_of(answer: dict[str, t.Any]) -> tuple[str, ...]:
    """The first errors, each once: each stage tells some again."""
    errors = _texts(answer.get("errors")) or _texts(answer.get("recoverable_errors"))
    return tuple(dict.fromkeys(map(one_line, errors[:20])))


def _stage_of(answer: dict[str, t.Any], detail: str) -> str:
    """The stage that cloud-init is in, such as modules-final; older versions say it in the detail."""
    stage = answer.get("stage") or (re.findall(r"^Running in stage: (\S+)", detail) or [""])[0]
    return one_line(str(stage), 40)


def _from_json(text: str) -> dict[str, t.Any] | None:
    """The answer, before which the user's shell may have written anything."""
    for begin in re.finditer("(?<!:)(?<!: ){", text):  # none that is a value
        with contextlib.suppress(ValueError, RecursionError):
            found, _end = json.JSONDecoder().raw_decode(text, begin.start())
            if isinstance(found.get("status"), str):
                return t.cast("dict[str, t.Any]", found)
    return None


def _from_text(text: str) -> dict[str, t.Any] | None:
    """Lines of ``key: value``, where a value may go on in further lines."""
    found = {key: value.strip() for key, value in re.findall(r"^(\w+):(.*(?:\n(?!\w+:).*)*)", text, re.MULTILINE)}
    found["errors"] = re.findall(r"^\s*- (.*)", found.get("errors", ""), re.MULTILINE)
    return found if found.get("status") else None


def _texts(errors: t.Any) -> list[str]:
    """A list of errors, or lists of them by level, as recoverable ones are."""
    if isinstance(errors, dict):
        return [f"{level}: {error}" for level, item in errors.items() for error in _texts(item)]
    return [str(error) for error in errors] if isinstance(errors, list) else []


def _reason(error: str) -> str:
    """What ssh says, without what everybody knows."""
    lines = [line for line in _WHERE.sub("", error).splitlines() if not _NOISE.match(line)]
    if _HOST_KEY.search(error):
        lines = lines[-2:]  # before them stands a warning of a dozen lines
    return one_line(" ".join(lines)).rstrip(".") or "the connection was closed"


# What follows


def connected(wait: Wait, now: float) -> Wait:
    """SSH answers."""
    return replace(wait, reachable=True, connected=_since(wait.connected, now), denied=None, unresolved=None)


def after_failure(wait: Wait, error: str, now: float) -> tuple[Wait, BootStep]:
    """SSH does not answer, or not any more."""
    denied, unresolved = bool(_DENIED.search(error)), bool(_NO_ADDRESS.search(error))
    if wait.reachable:
        wait = replace(wait, reachable=False, since=now, lost=wait.lost + 1)
    if denied:
        wait = replace(wait, denied=_since(wait.denied, now))
    wait = replace(wait, unresolved=_since(wait.unresolved, now) if unresolved else None)
    msg, hope, over = _judged(wait, error, now)
    return wait, BootStep(
        msg if over else f"{msg}{hope}",
        pause=None if over else DENIED_PAUSE if denied else PAUSE,
        failed=over,
        urgent=denied or unresolved,
        host_key_refused=bool(_HOST_KEY.search(error)),
        permission_denied=denied,
    )


def _since(before: float | None, now: float) -> float:
    """When something began that goes on now."""
    return now if before is None else before


def _judged(wait: Wait, error: str, now: float) -> tuple[str, str, bool]:
    """What an error of SSH means, why it may pass by itself, and whether the wait is over all the same."""
    reason, late = _reason(error), now - wait.since >= wait.limits.connect
    if wait.lost > RESTARTS:
        lost = f"it was lost {wait.lost} times"
        return f"The machine does not stay reachable while cloud-init runs; {lost}. {reason}.", "", True
    if _HERE.search(error):
        advice = " Set ANSIBLE_SSH_CONTROL_PATH_DIR to a folder with a shorter path." if "ControlPath" in reason else ""
        return f"SSH cannot work on this computer: {reason}.{advice}", "", True
    if _HOST_KEY.search(error):
        hope = " The first boot may not have installed the one that was handed over yet."
        refused = f"SSH refuses the host key that the machine answers with: {reason}."
        return refused, hope, late or not wait.limits.seeded
    if _DENIED.search(error):
        hope = f" It may be installed late: this goes on for {lasting(PATIENCE)} at most."
        over = late or now - t.cast(float, wait.denied) >= PATIENCE
        return f"SSH refuses the user's key: {reason}. {ADVICE}", hope, over
    if wait.unresolved is not None:
        hope = f" This goes on for {lasting(RESOLVING)} at most."
        unknown = f"This computer finds no address of the machine: {reason}. Check ansible_host, and DNS."
        return unknown, hope, late or now - wait.unresolved >= RESOLVING
    return _silence(wait, reason, late), "", late


def _silence(wait: Wait, reason: str, late: bool) -> str:
    before = "The machine was lost while cloud-init ran. " if wait.lost else ""
    how_long = f"within {lasting(wait.limits.connect)}" if late else "yet"
    return f"{before}SSH does not answer {how_long}: {reason}."


def after_report(wait: Wait, report: CloudInitStatus, now: float) -> tuple[Wait, BootStep]:
    """SSH answers, and cloud-init has said this."""
    wait = replace(wait, unclear=_since(wait.unclear, now) if report.status == UNCLEAR else None)
    errors = one_line("; ".join(report.errors) or report.detail).rstrip(".")
    if report.status == "done" and report.degraded:
        msg = f"cloud-init has finished with errors: {errors}."
        return wait, BootStep(msg, warning=msg)
    if report.status == ABSENT and wait.limits.marked and report.detail != MARKED:
        return wait, _without_mark(wait, now)
    if report.status in _ENDS:
        return wait, BootStep(_ENDS[report.status])
    if report.status == "error":
        return wait, BootStep(f"cloud-init has failed: {errors}.", failed=True)
    return wait, _while_it_runs(wait, report, now)


def _without_mark(wait: Wait, now: float) -> BootStep:
    """The next look at a machine without cloud-init, whose user data may still run; in the end it did not run them."""
    passed, limit = now - t.cast(float, wait.connected), wait.limits.boot
    absent = f"{_ENDS[ABSENT][:-1]}, and its user data have left no mark"
    if passed < limit:
        return BootStep(f"{absent} yet.", pause=_pause(passed, limit))
    advice = f"If your template leaves none, put a comment into it: {NO_MARK}."
    return BootStep(f"{absent} within {lasting(limit)}: it did not run its user data. {advice}", failed=True)


def _pause(passed: float, limit: float) -> float:
    """Seconds until the next look, so many after SSH has answered first."""
    return min(SOON_PAUSE if passed < SOON else LATE_PAUSE, max(limit - passed, 0.1))


def _while_it_runs(wait: Wait, report: CloudInitStatus, now: float) -> BootStep:
    """The next look at a cloud-init that has not ended, as far as one can tell."""
    passed = now - t.cast(float, wait.connected)
    over = passed >= wait.limits.boot
    if wait.unclear is not None:
        over = over or now - wait.unclear >= PATIENCE
        msg = f"cloud-init does not say how far it is: {report.detail.rstrip('.')}."
    else:
        msg = _still(report, wait.limits.boot if over else None)
    return BootStep(msg, pause=None if over else _pause(passed, wait.limits.boot), failed=over)


def _still(report: CloudInitStatus, limit: float | None) -> str:
    """cloud-init has not finished; ``limit`` are the seconds that are over, None if it may go on."""
    # Its words are "not run" and "not started", by version; what else it may say one day is no end, either.
    does = "is still running" if report.status == RUNNING else f"still says '{report.status}'"
    stage = f"in stage {report.stage}" if report.stage else ""
    # The rest of what it calls detail is where its data came from.
    detail = "" if stage or report.detail.startswith("DataSource") else report.detail
    said = [stage, detail, *report.errors]
    more = one_line("; ".join(filter(None, said)))
    return f"cloud-init {does}{f' after {lasting(limit)}' if limit is not None else ''}{f' ({more})' if more else ''}."
