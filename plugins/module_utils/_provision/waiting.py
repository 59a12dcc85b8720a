# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The waits of a purchase: for the machines of an offer, then for the first boot of each machine.

For offers: the phase, why a ready one cannot be used yet, whether waiting helps, and a description. For machines: how
long to wait for the first boot, and how the wait ends; these times are seconds since the wait began.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

from .. import _states
from .._machine import connection
from .._text import duration_text, one_line
from .messages import NO_REASON
from .ownership import bought_with, ids_in, ids_not_gone, is_one_alive, machines_among, refreshed

Json = dict[str, t.Any]

_HOPELESS = (_states.FAILED, _states.EXPIRED, _states.ENDED)
_BEING_DELETED = "its machines are being deleted"


@dataclass(frozen=True)
class OfferView:
    """The state of an offer: its machines and phase, and why it cannot be used although it is ready (empty if it can).

    ``left``: the ids that may be billed if its machines have failed. ``others``: the ids of listed machines that its
    instances name, but that name another offer.
    """

    machines: list[Json]
    phase: str
    hindrance: str = ""
    left: tuple[str, ...] | None = None
    others: tuple[str, ...] = ()


def view_of_status(status: Json) -> OfferView:
    """The state of an offer by its status alone."""
    return OfferView(connection.machines(status["instances"], []), status["phase"])


def ids_if_forgotten(
    offer_id: str, error_class: str, noted: t.Collection[str], listed: t.Callable[[], t.Iterable[Json]]
) -> t.Collection[str]:
    """The ids of an offer's machines whose pages are read if the API no longer knows the offer.

    ``noted``: the ids in the registry. ``listed``: all resources; they are only needed without noted ids.
    """
    if error_class != "not_found":
        return ()
    return noted or ids_not_gone(machines_among(bought_with(listed(), offer_id, ())))


def all_run(pages: t.Collection[Json | None]) -> bool:
    """Whether these are the pages of machines, at least one, and all of them run. A missing page (None) shows none."""
    return bool(pages) and all(page and _states.is_machine(page) and _states.is_live(page["status"]) for page in pages)


def is_reachable(view: OfferView) -> bool:
    """Whether the status has the addresses of all machines, so that their resources need not be read."""
    commands = [machine.get("ssh_command") for machine in view.machines]
    return bool(commands) and all(connection.parse_ssh_command(command).host for command in commands)


def ids_to_read_when_ready(status: Json, resources: t.Collection[Json]) -> set[str]:
    """The ids of a ready offer's listed resources whose own pages must be read, since a list may lag.

    Either no machine is alive by the list, which would end the purchase, or one is, but an instance says that it ends.
    """
    machines = list(filter(_states.is_machine, resources))
    live = {machine["resource_id"] for machine in machines if _states.is_live(machine["status"])}
    if not live:
        return {machine["resource_id"] for machine in machines} - {None}
    is_denied = any(map(_states.is_ending, _instance_states(status)))
    return live - {None} if is_denied else set()


def with_own_pages(status: Json, resources: t.Iterable[Json], read: t.Mapping[str, Json | None]) -> list[Json]:
    """The resources by their own pages; without one, by the instances if all of those are ending, else by the list."""
    words = _instance_states(status)
    is_over = bool(words) and all(map(_states.is_ending, words))
    word = next((word for word in words if not _states.is_gone(word)), "deleted")
    denied = {item for item, resource in read.items() if resource is None} if is_over else set()
    # Instances are machines, so their state says nothing about storage.
    corrected = [
        {**item, "status": word} if item["resource_id"] in denied and _states.is_machine(item) else item
        for item in resources
    ]
    return refreshed(corrected, read)


def _instance_states(status: Json) -> list[str | None]:
    return [_states.word(item.get("status")) for item in status["instances"]]


def view_with_resources(status: Json, resources: list[Json]) -> OfferView:
    """The state of a ready offer by its status and its own resources. Storage may outlive its machine."""
    machines = list(filter(_states.is_machine, resources))
    if machines and not is_one_alive(machines):
        return _view_without_live_machine(status, resources)
    # A machine that only instances name, although the status lists ids, is the offer's only if it says so itself. If it
    # names another offer, that contradicts the purchase.
    ids = status["resource_ids"]
    own = [item for item in machines if not ids or item["resource_id"] in ids or item["offer_id"] == status["offer_id"]]
    others = {item["resource_id"]: item["offer_id"] for item in machines if item not in own}
    shown = connection.machines(status["instances"], resources)
    reached = [machine for machine in shown if machine["resource_id"] not in others]
    named = tuple(item for item in others if others[item])
    return OfferView(reached, _states.READY, _hindrance(reached, ids_in(status)), others=named)


def _hindrance(machines: list[Json], ids: list[str]) -> str:
    if not machines:
        return "the API lists none of its machines" if ids else "the API names no instance yet"
    without = sum(machine["ansible_host"] is None for machine in machines)
    return f"{without} of {len(machines)} instances have no address yet" if without else ""


def _view_without_live_machine(status: Json, resources: list[Json]) -> OfferView:
    """The state of a ready offer whose machines are all ending, gone or failed."""
    states = [resource["status"] for resource in filter(_states.is_machine, resources)]
    if not all(map(_states.is_ending, states)):
        # A failed machine may still be billed.
        left = [resource["resource_id"] for resource in resources if not _states.is_gone(resource["status"])]
        return OfferView(view_of_status(status).machines, _states.FAILED, left=tuple(filter(None, left)))
    # A machine that is not listed, or is being deleted, may not be gone.
    if not {resource["resource_id"] for resource in resources}.issuperset(ids_in(status)):
        return OfferView([], _states.READY, f"{_BEING_DELETED}, or the API does not list them any more")
    if not all(map(_states.is_gone, states)):
        return OfferView([], _states.READY, _BEING_DELETED)
    return OfferView(view_of_status(status).machines, _states.ENDED)


def result_of(status: Json, view: OfferView, *, check_mode: bool) -> Json:
    """The result of one check. In check mode nothing is bought, so an unbought offer ends the wait."""
    machines, ready = view.machines, view.phase == _states.READY and not view.hindrance
    if view.left is not None:
        reason = status["failure_reason"] or "its machines have failed"
        status = {**status, "resource_ids": list(view.left), "failure_reason": reason}
    over = view.phase in _HOPELESS or (check_mode and view.phase == _states.UNBOUGHT)
    return {
        **status,
        "phase": view.phase,
        "instances": machines,
        "connections": [
            {key: m[key] for key in ("resource_id", *connection.ADDRESS)}
            for m in machines
            if m["ansible_host"] is not None
        ],
        "resource_ids": list(dict.fromkeys([*status["resource_ids"], *view.others]))
        or [m["resource_id"] for m in machines if m["resource_id"]],
        "ready": ready,
        "terminal": ready or over,
        "transient_error": view.phase == _states.READY and not ready,
        "msg": f"Offer {status['offer_id']}{_description(status, view)}.",
    }


def _description(status: Json, view: OfferView) -> str:
    """The state in one line for the terminal, which follows the offer's id."""
    state = status["procurement_status"] or status["status"]
    progress = f", {status['progress']}" if status["progress"] else ""
    ids = ", ".join(status["resource_ids"])
    billed = f". These resources may still be billed: {ids}" if ids else ""
    ready = f" is ready: {len(view.machines)} instance(s)"
    descriptions = {
        _states.READY: f": {view.hindrance}" if view.hindrance else ready,
        _states.FAILED: f" failed: {status['failure_reason'] or NO_REASON}{billed}",
        _states.EXPIRED: " has expired without being bought",
        _states.ENDED: " was bought, but all its machines have been deleted since",
        _states.UNBOUGHT: f" is not bought (yet): the API says '{state}'",
    }
    return descriptions.get(view.phase, f" is under way: {state}{progress}")


# Many offers


def refused_token(results: t.Collection[Json]) -> Json | None:
    """A result that shows that the API refuses the token, whatever the offer; None if there is none."""
    refused = [result for result in results if result.get("error_class") == "auth"]
    every = len(refused) == len(results) or any(item["status_code"] == 401 for item in refused)
    return refused[0] if refused and every else None


def combined_look(results: t.Collection[Json]) -> Json:
    """The results of many offers in one."""
    pauses = [result["retry_after"] for result in results if result["retry_after"] is not None]
    return {
        **{
            name: [m for result in results for m in result[name]]
            for name in ("instances", "connections", "resource_ids")
        },
        "ready": all(result["ready"] for result in results),
        "terminal": all(result["terminal"] for result in results),
        "transient_error": any(result["transient_error"] for result in results),
        "retry_after": max(pauses, default=None),
        "msg": summary_of_offers(results),
    }


def summary_of_offers(results: t.Collection[Json]) -> str:
    """Many offers in one line."""
    ready = sum(bool(result["ready"]) for result in results)
    return f"{ready} of {len(results)} offers are ready."


# The first boot of a machine. Each look connects, unless the machine is `connected`, and asks cloud-init; then
# `after_failure` or `after_report` decides the next step

ANSWER_SECONDS = 20  # for one look on the machine: systemd, which cloud-init asks, may hang
CONNECT = "true"
_TIMED_OUT = 124  # the exit code of `timeout`, of coreutils and of busybox
# User data create this file as their last step, in the home folder if they do not run as root. If cloud-init is absent,
# as in a container, or disabled, nothing else shows that they have run.
MARK = "supply-booted"
NO_MARK = f"{MARK}: none"  # a comment in user data that do not create the file
_MARKED = "marked: yes"
# All versions of cloud-init know --long. "absent" and "marked" are our words.
ASK = (
    f"for mark in /var/lib/{MARK} ~/.{MARK}; do [ ! -e $mark ] || echo '{_MARKED}'; done; "
    "command -v cloud-init >/dev/null || { echo 'status: absent'; exit 0; }; "
    f"limit=$(command -v timeout); ${{limit:+$limit {ANSWER_SECONDS}}} cloud-init status --long"
)

PAUSE = 1.0  # seconds between two attempts to connect
# A user's key may be installed late, and cloud-init's answer is unreadable while it is upgraded, for minutes at most.
PATIENCE = 240.0
RESTARTS = 3  # how often the connection may be lost while cloud-init runs
RESOLVING = 60.0  # the name of a new machine may resolve late; a typo never does
# Since OpenSSH 9.8, a server blocks clients that fail to log in more often than every five seconds
# (sshd_config, PerSourcePenalties).
DENIED_PAUSE = 5.0
# How often cloud-init is asked: it is often done soon, and otherwise takes long.
SOON, SOON_PAUSE, LATE_PAUSE = 60.0, 2.0, 10.0

ABSENT, UNCLEAR, RUNNING = "absent", "unclear", "running"
_ENDS = {
    "done": "cloud-init has finished.",
    "disabled": "cloud-init is disabled.",
    ABSENT: "There is no cloud-init on the machine.",
}
_MARK_MISSING = (
    " The machine has not run its user data: the last step creates the file"
    f" /var/lib/{MARK} (or ~/.{MARK}), which is missing. If your template does not create it, add the comment:"
    f" {NO_MARK}."
)

# Patterns of SSH's errors, and the messages for them.
# Errors of the local ssh program and settings.
_HERE = re.compile(
    r"ControlPath too long|Bad owner or permissions on|[Bb]ad configuration option|No user exists for uid"
    r"|Permissions \d+ for .* are too open|paramiko is not installed"
)
_HOST_KEY = re.compile(r"Host key verification failed|IDENTIFICATION HAS CHANGED|Host Key checking is enabled")
# The last one is sshpass's. The parenthesis is needed: ssh also writes "Permission denied" about unreadable files.
_DENIED = re.compile(r"Permission denied \(|Too many authentication failures|Invalid/incorrect (?:username/)?password")
# Errors of ssh, its libraries and Python if a name has no address.
_NO_ADDRESS = re.compile(
    r"Could not resolve hostname|Name or service not known|nodename nor servname|No address associated with hostname"
    r"|[Tt]emporary failure in name resolution"
)
_MEANINGS: dict[re.Pattern[str], str] = {
    _HERE: "SSH cannot work on this computer: {}.",
    _HOST_KEY: "SSH refuses the machine's host key: {}.",
    _DENIED: "SSH refuses the user's key: {}. Set ansible_ssh_private_key_file to the private half of the key given at"
    " the purchase; if it has a passphrase, ssh-add it.",
    _NO_ADDRESS: "This computer finds no address of the machine: {}. Check ansible_host, and DNS.",
    re.compile(""): "SSH does not answer: {}.",
}
_NOISE = re.compile(r"@|debug\d: |mux_client_|OpenSSH_|Warning: Permanently added")
_WHERE = re.compile(r"Failed to connect to the host via \w+: ?|ssh: connect to host \S+ port \d+: |ssh: (?=Could not)")


@dataclass(frozen=True)
class BootTimeouts:
    """The time limits of a wait in seconds, and what the user data does."""

    connect: float  # until SSH answers, at first and after each restart
    boot: float  # until cloud-init has finished, once SSH has answered
    seeded: bool = False  # the user data install a host key: until then, another one may answer
    marked: bool = False  # the user data create the file MARK


@dataclass(frozen=True)
class CloudInitStatus:
    """The answer of cloud-init."""

    status: str  # cloud-init's own word; ABSENT, or UNCLEAR if the answer cannot be read
    errors: tuple[str, ...] = ()
    detail: str = ""
    degraded: bool = False  # there were errors that did not stop it
    marked: bool = False  # the machine has the file MARK


@dataclass(frozen=True)
class Wait:
    """The progress of the wait for a machine."""

    limits: BootTimeouts
    since: float = 0.0  # when the current wait for SSH began
    reachable: bool = False
    lost: int = 0  # how often the connection was lost
    connected: float | None = None  # when SSH first answered
    unresolved: float | None = None  # since when its name has no address
    doubtful: float | None = None  # since when the user's key is refused, or cloud-init's answer is unreadable


@dataclass(frozen=True)
class BootStep:
    """The next step after a look."""

    msg: str  # the state, or how the wait ended
    pause: float | None = None  # seconds until the next look; None ends the wait
    failed: bool = False
    warning: str = ""
    urgent: bool = False  # a person can do something about it now
    host_key_refused: bool = False


def cloud_init_status(code: int, stdout: str, stderr: str) -> CloudInitStatus:
    """The answer to ASK, which has lines of ``key: value``, and a list of errors."""
    if code == _TIMED_OUT:
        return CloudInitStatus(RUNNING, detail=f"it did not answer within {ANSWER_SECONDS} seconds")
    answer = {key: one_line(text) for key, text in re.findall(r"^(\w+):\s*(.*)", stdout, re.MULTILINE)}
    word, extended = answer.get("status"), answer.get("extended_status", "")
    if not word:
        last = (stdout.replace(_MARKED, "").strip() or stderr.strip()).rpartition("\n")[2]
        return CloudInitStatus(UNCLEAR, detail=one_line(last) or f"exit code {code}")
    # While cloud-init goes on after an error, its own --wait also waits.
    goes_on = word == "error" and extended.endswith(RUNNING)
    errors, detail = re.findall(r"^\s*- (.*)", stdout, re.MULTILINE), answer.get("detail", "")
    return CloudInitStatus(
        status=RUNNING if goes_on else word,
        errors=tuple(dict.fromkeys(map(one_line, errors[:20]))),  # each stage repeats some
        detail="" if detail.startswith("DataSource") else detail,  # the source of its data
        degraded=extended.startswith("degraded") or code == 2,
        marked="marked" in answer,
    )


def connected(wait: Wait, now: float) -> Wait:
    """The wait once SSH answers."""
    return replace(wait, reachable=True, connected=_since(wait.connected, now), unresolved=None, doubtful=None)


def after_failure(wait: Wait, error: str, now: float) -> tuple[Wait, BootStep]:
    """The wait and the next step if SSH does not answer, or the connection is lost."""
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
        msg = f"The machine does not stay reachable while cloud-init runs: {wait.lost} connections were lost. {msg}"
    ends = wait.lost > RESTARTS or kind is _HERE or (kind is _HOST_KEY and not wait.limits.seeded)
    pause = DENIED_PAUSE if kind is _DENIED else PAUSE
    step = BootStep(msg, failed=True) if ends else _unless_late(wait, msg, pause, now)
    return wait, replace(step, urgent=kind in (_DENIED, _NO_ADDRESS), host_key_refused=kind is _HOST_KEY)


def _reason(error: str) -> str:
    """The error of ssh in one line, without noise."""
    lines = [line for line in _WHERE.sub("", error).splitlines() if not _NOISE.match(line)]
    if _HOST_KEY.search(error):
        lines = lines[-2:]  # a warning of a dozen lines precedes them
    return one_line(" ".join(lines)).rstrip(".") or "the connection was closed"


def _since(before: float | None, now: float) -> float:
    """When a state began that still lasts: ``before``, or now if it is new."""
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
    return (
        BootStep(msg, pause) if over is None else BootStep(f"{msg} The limit was {duration_text(over)}.", failed=True)
    )


def after_report(wait: Wait, report: CloudInitStatus, now: float) -> tuple[Wait, BootStep]:
    """The wait and the next step after an answer of cloud-init."""
    wait = replace(wait, doubtful=_since(wait.doubtful, now) if report.status == UNCLEAR else None)
    errors = one_line("; ".join(report.errors) or report.detail).rstrip(".")
    if report.status == "error":
        return wait, BootStep(f"cloud-init has failed: {errors or 'it names no error'}.", failed=True)
    if report.status == "done" and report.degraded:
        msg = f"cloud-init has finished with errors: {errors}."
        return wait, BootStep(msg, warning=msg)
    end = _ENDS.get(report.status)
    if end and (report.status == "done" or report.marked or not wait.limits.marked):
        return wait, BootStep(end)
    # Other states do not end the wait: "running", "not run", "not started", by version, or an unknown one.
    state = f"The state of cloud-init is '{report.status}'{f' ({errors})' if errors else ''}."
    pause = SOON_PAUSE if now - _since(wait.connected, now) < SOON else LATE_PAUSE
    return wait, _unless_late(wait, end + _MARK_MISSING if end else state, pause, now)
