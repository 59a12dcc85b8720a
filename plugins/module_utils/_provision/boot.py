# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a machine that boots is waited for, and how the wait ends. All times are seconds since the wait began.

A wait is a row of looks. Each connects, if the machine is not `connected` yet, and asks cloud-init; then either
`after_failure` or `after_report` says what follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .._text import lasting, one_line

ANSWER_SECONDS = 20  # that one look may take on the machine: systemd, which cloud-init asks, may hang
CONNECT = "true"
_TIMED_OUT = 124  # the exit code of `timeout`, of coreutils and of busybox
# User data leave this file at their end, in the home folder if they do not run as root. Where there is no cloud-init,
# such as in a container, nothing else tells that they have run.
MARK = "supply-booted"
NO_MARK = f"{MARK}: none"  # in user data that leave none
MARKED = "marked"
# All versions of cloud-init know --long. "absent" and "marked" are our words.
ASK = (
    "command -v cloud-init >/dev/null || { "
    f"for mark in /var/lib/{MARK} ~/.{MARK}; do [ ! -e $mark ] || echo 'detail: {MARKED}'; done; "
    "echo 'status: absent'; exit 0; }; "
    f"limit=$(command -v timeout); ${{limit:+$limit {ANSWER_SECONDS}}} cloud-init status --long"
)

PAUSE = 1.0  # seconds between two attempts to connect
# A user's key may be installed late, and what cloud-init says may be unreadable while it is upgraded: minutes, at most.
PATIENCE = 240.0
RESTARTS = 3  # how often a machine may be lost while cloud-init runs
RESOLVING = 60.0  # the name of a new machine may be known late, but not the one of a typo
# Since OpenSSH 9.8 a server shuts out for a while whoever fails to log in more often than every five seconds
# (sshd_config, PerSourcePenalties).
DENIED_PAUSE = 5.0
# How often cloud-init is asked: many are done at once, the others take long.
SOON, SOON_PAUSE, LATE_PAUSE = 60.0, 2.0, 10.0

ABSENT, UNCLEAR, RUNNING = "absent", "unclear", "running"
_ENDS = {
    "done": "cloud-init has finished.",
    "disabled": "cloud-init is disabled.",
    ABSENT: "There is no cloud-init on the machine.",
}
_NO_MARK_YET = (
    "There is no cloud-init on the machine, and it did not run its user data, which leave a mark at their end. If your"
    f" template leaves none, put a comment into it: {NO_MARK}."
)

# Errors of SSH, with what they mean.
# Of ssh's own program and settings, which no machine's answer changes.
_HERE = re.compile(
    r"ControlPath too long|Bad owner or permissions on|[Bb]ad configuration option|No user exists for uid"
    r"|Permissions \d+ for .* are too open|paramiko is not installed"
)
_HOST_KEY = re.compile(r"Host key verification failed|IDENTIFICATION HAS CHANGED|Host Key checking is enabled")
# The last one stands for sshpass. ssh also writes "Permission denied" of files that it cannot read.
_DENIED = re.compile(r"Permission denied \(|Too many authentication failures|Invalid/incorrect (?:username/)?password")
# What ssh, its libraries and Python say of a name that they find no address for.
_NO_ADDRESS = re.compile(
    r"Could not resolve hostname|Name or service not known|nodename nor servname|No address associated with hostname"
    r"|[Tt]emporary failure in name resolution"
)
_MEANINGS: dict[re.Pattern[str], str] = {
    _HERE: "SSH cannot work on this computer: {}.",
    _HOST_KEY: "SSH refuses the host key that the machine answers with: {}.",
    _DENIED: "SSH refuses the user's key: {}. Set ansible_ssh_private_key_file to the private half of the key that was"
    " bought with; if that has a passphrase, ssh-add it.",
    _NO_ADDRESS: "This computer finds no address of the machine: {}. Check ansible_host, and DNS.",
    re.compile(""): "SSH does not answer: {}.",
}
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

    status: str  # in its words; ABSENT, or UNCLEAR if the answer cannot be read
    errors: tuple[str, ...] = ()
    detail: str = ""
    degraded: bool = False  # there were errors that did not stop it


@dataclass(frozen=True)
class Wait:
    """How far a machine is."""

    limits: BootTimeouts
    since: float = 0.0  # when SSH began to be waited for, the last time
    reachable: bool = False
    lost: int = 0  # how often it was reachable and then not any more
    connected: float | None = None  # when SSH answered first
    unresolved: float | None = None  # since when its name has no address
    doubtful: float | None = None  # since when the user's key is refused, or cloud-init's answer cannot be read


@dataclass(frozen=True)
class BootStep:
    """What follows a look."""

    msg: str  # the state of things, or how the wait has ended
    pause: float | None = None  # seconds until the next look; None ends the wait
    failed: bool = False
    warning: str = ""
    urgent: bool = False  # a person can do something about it now
    host_key_refused: bool = False


def cloud_init_status(code: int, stdout: str, stderr: str) -> CloudInitStatus:
    """What cloud-init has answered to ASK: lines of ``key: value``, and errors in a list."""
    if code == _TIMED_OUT:
        return CloudInitStatus(RUNNING, detail=f"it did not answer within {ANSWER_SECONDS} seconds")
    answer = {key: one_line(text) for key, text in re.findall(r"^(\w+):\s*(.*)", stdout, re.MULTILINE)}
    word, extended = answer.get("status"), answer.get("extended_status", "")
    if not word:
        last = (stdout.strip() or stderr.strip()).rpartition("\n")[2]
        return CloudInitStatus(UNCLEAR, detail=one_line(last) or f"exit code {code}")
    # If it goes on after an error, so does its own --wait.
    goes_on = word == "error" and extended.endswith(RUNNING)
    errors, detail = re.findall(r"^\s*- (.*)", stdout, re.MULTILINE), answer.get("detail", "")
    return CloudInitStatus(
        status=RUNNING if goes_on else word,
        errors=tuple(dict.fromkeys(map(one_line, errors[:20]))),  # each stage tells some again
        detail="" if detail.startswith("DataSource") else detail,  # where its data came from
        degraded=extended.startswith("degraded") or code == 2,
    )


def connected(wait: Wait, now: float) -> Wait:
    """SSH answers."""
    return replace(wait, reachable=True, connected=_since(wait.connected, now), unresolved=None, doubtful=None)


def after_failure(wait: Wait, error: str, now: float) -> tuple[Wait, BootStep]:
    """SSH does not answer, or not any more."""
    kind = next(pattern for pattern in _MEANINGS if pattern.search(error))
    wait = replace(
        wait,
        reachable=False,
        since=now if wait.reachable else wait.since,
        lost=wait.lost + wait.reachable,
        unresolved=_since(wait.unresolved, now) if kind is _NO_ADDRESS else None,
        doubtful=_since(wait.doubtful, now) if kind is _DENIED else None,
    )
    msg = _MEANINGS[kind].format(_reason(error))
    if wait.lost > RESTARTS:
        msg = f"The machine does not stay reachable while cloud-init runs; it was lost {wait.lost} times. {msg}"
    ends = wait.lost > RESTARTS or kind is _HERE or (kind is _HOST_KEY and not wait.limits.seeded)
    pause = DENIED_PAUSE if kind is _DENIED else PAUSE
    step = BootStep(msg, failed=True) if ends else _unless_late(wait, msg, pause, now)
    return wait, replace(step, urgent=kind in (_DENIED, _NO_ADDRESS), host_key_refused=kind is _HOST_KEY)


def _reason(error: str) -> str:
    """What ssh says, without what everybody knows."""
    lines = [line for line in _WHERE.sub("", error).splitlines() if not _NOISE.match(line)]
    if _HOST_KEY.search(error):
        lines = lines[-2:]  # before them stands a warning of a dozen lines
    return one_line(" ".join(lines)).rstrip(".") or "the connection was closed"


def _since(before: float | None, now: float) -> float:
    """When something began that goes on now."""
    return now if before is None else before


def _unless_late(wait: Wait, msg: str, pause: float, now: float) -> BootStep:
    """Another look, or the end of the wait if one of its limits is over."""
    limits = (
        (None if wait.reachable else wait.since, wait.limits.connect),
        (wait.connected, wait.limits.boot),
        (wait.unresolved, RESOLVING),
        (wait.doubtful, PATIENCE),
    )
    over = next((limit for begin, limit in limits if begin is not None and now - begin >= limit), None)
    return BootStep(msg, pause) if over is None else BootStep(f"{msg} It had {lasting(over)}.", failed=True)


def after_report(wait: Wait, report: CloudInitStatus, now: float) -> tuple[Wait, BootStep]:
    """SSH answers, and cloud-init has said this."""
    wait = replace(wait, doubtful=_since(wait.doubtful, now) if report.status == UNCLEAR else None)
    errors = one_line("; ".join(report.errors) or report.detail).rstrip(".")
    if report.status == "error":
        return wait, BootStep(f"cloud-init has failed: {errors or 'it names no error'}.", failed=True)
    if report.status == "done" and report.degraded:
        msg = f"cloud-init has finished with errors: {errors}."
        return wait, BootStep(msg, warning=msg)
    lacks_mark = report.status == ABSENT and wait.limits.marked and report.detail != MARKED
    if report.status in _ENDS and not lacks_mark:
        return wait, BootStep(_ENDS[report.status])
    return wait, _going_on(wait, _NO_MARK_YET if lacks_mark else _state(report.status, errors), now)


def _state(status: str, errors: str) -> str:
    """Its words are "running", "not run" and "not started", by version; any other is no end either."""
    return f"The state of cloud-init is '{status}'{f' ({errors})' if errors else ''}."


def _going_on(wait: Wait, msg: str, now: float) -> BootStep:
    pause = SOON_PAUSE if now - _since(wait.connected, now) < SOON else LATE_PAUSE
    return _unless_late(wait, msg, pause, now)
