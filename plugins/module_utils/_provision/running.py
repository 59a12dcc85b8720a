# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One job on a machine of its own: what a person asks for, and what follows from the states of job and machine.

A run is remembered three times: the machine knows its job, the registry its purchase, and the folder of its results has
a record (`run.json`), which outlives both. `running_report` has the sentences.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
import os
import re
import typing as t
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from .._machine.job_state import NONE, OVER, RUNNING, RUNS, SUCCEEDED
from .._moments import seconds_of
from .._text import FALSE, LONGEST_LINE, TRUE, items_of, number_of, printable, text_of
from .._wording import amount, usd
from . import lease
from . import running_report as report
from .declaration import read_limit
from .entry import Entry
from .messages import NOTHING_BOUGHT
from .names import LOOSE, PLAYBOOKS, lost_words
from .order import OF_ORDERS
from .prices import UNLIMITED
from .probing import OWN
from .running_report import GROUP

Row = t.Mapping[str, t.Any]

VARIABLES = tuple(sorted(name for name in PLAYBOOKS if name.startswith("run_")))
FETCHING = ("run_fetch_timeout", "run_results_dir")  # those that sweeps and the list of runs take
TAIL = 3600.0  # seconds of a lease that are left for the results
LEAST = 600.0  # seconds that a job gets at least; less is a slip
_SLACK = 120.0  # seconds by which a lease may be longer: it is rounded, and its beginning is noted before its end

# How far a run is, in its record. It is noted before what it says begins.
ORDERED, STARTED, HOME, GONE = "ordered", "started", "home", "gone"

LOST = "lost"  # of a job whose machine has gone with it; the machine says all other states

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_GPU = re.compile(r"(?:([1-9][0-9]{0,2})(?: *[xX*\u00d7] *| +))?([A-Za-z0-9][A-Za-z0-9 ._-]{0,79})")
# Of what a run sets in any case, or takes from the inventory
_LEFT_TO_PEOPLE = {"provision_max_attempts", "provision_max_price_per_hour", "provision_verify"}
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPECIAL, _ESCAPED = re.compile(r"([\\*?\[])"), r"\\\1"  # in patterns as those of gitignore
_TEXTS = ("run_command", "run_setup", "run_files", "run_results_dir")
_OF_A_JOB = ("run_command", "run_setup", "run_files", "run_env", "run_gpu", "run_spec")


@dataclass(frozen=True)
class Request:
    """What a person asks for. ``seconds``: how long the job may take; None if ``max_bill`` (USD) decides that.

    ``environment``: names alone, since values may be secrets. ``keep``: seconds that the machine stays after a failure.
    ``by_name``: only the name was given, so setup, code and environment are not known.
    """

    name: str = ""
    command: str = ""
    setup: str = ""
    spec: Row = field(default_factory=dict)
    files: str = ""
    exclude: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    seconds: float | None = None
    max_bill: float = 0.0
    keep: float = 0.0
    follow: bool = True
    log_delay: float = 30.0
    fetch_timeout: float = 1800.0
    unswept: bool = False
    again: bool = False
    by_name: bool = False

    @property
    def host(self) -> str:
        """The host of its machine, in registry, reports and inventories."""
        return report.host_of(self.name)


def name_of(given: Row, wrong: list[str]) -> str:
    """The name of the run, which is a part of paths; empty if it is none, which is added to ``wrong``."""
    name = text_of(given.get("run_name"))
    if _NAME.fullmatch(name):
        return name
    instead = f", not '{name[:60]}'" if name else ""
    wrong.append(f"run_name must be a word of letters, digits, - and _ (40 at most){instead}: -e run_name=train.")
    return ""


def completed(given: Row, record: Row) -> Row:
    """The given variables. If they only name a run that was begun, its own are added, so that the name follows it."""
    begun = record.get("asked") if record.get("phase") in (STARTED, HOME) else None
    is_named_alone = not any(given.get(name) for name in _OF_A_JOB)
    return {**begun, **given} if begun and is_named_alone else given


def digest_of(request: Request, code: str, given: Row, record: Row) -> str:
    """What tells one job from another. ``code``: the digest of its files; empty without any.

    ``given``: the variables. To those that only name a run, `completed` has added its digest, as its files were then.
    """
    if record and given.get("run_digest"):
        return str(given["run_digest"])
    parts = [code, request.command, request.setup, sorted(request.environment)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def with_paths(request: Request, files: str, base: str, wrong: list[str]) -> Request:
    """The request with the absolute path of its code, and without results in it: they would make another job of it.

    ``files``: the folder of the code, if the request names one; ``base``: that of the results of all runs. If both are
    one folder, that is added to ``wrong``.
    """
    if not request.files:
        return request
    inside, own = (os.path.relpath(path, os.path.normpath(files)) for path in (base, os.path.join(base, request.name)))
    if os.curdir in (inside, own):
        wrong.append(report.MIXED)
    is_outside = inside == ".." or inside.startswith("../")
    exclude = () if is_outside else (f"/{_SPECIAL.sub(_ESCAPED, inside)}/",)
    return replace(request, files=os.path.normpath(files), exclude=(*request.exclude, *exclude))


def objections(extra: t.Iterable[str], *, limited: bool, folder: str) -> list[str]:
    """What else is wrong. ``extra``: the names of extra variables; ``folder``: why it cannot keep results, or empty."""
    names = set(extra)
    overruled = ", ".join(sorted((OWN - _LEFT_TO_PEOPLE) & names))
    unread = ", ".join(sorted(OF_ORDERS & names))
    reasons = {
        f"A run sets {overruled} itself: leave that out of -e.": bool(overruled),
        f"A run does not read {unread}: say what to buy by run_gpu or run_spec, and what it may cost by run_max_bill or"
        " provision_max_price_per_hour.": bool(unread),
        # Ansible takes any word before an equals sign for a name.
        lost_words(names): LOOSE in names or not all(map(str.isidentifier, names)),
        folder: bool(folder),
        "A run adds a host of its own, which --limit would exclude: leave out the limit.": limited,
    }
    return [reason for reason, holds in reasons.items() if holds]


def read_request(given: Row, wrong: list[str]) -> Request:
    """The variables as typed values; what is wrong with them is added to ``wrong``, each with what to write instead.

    `name_of` says what is wrong with the name.
    """
    command = text_of(given.get("run_command"))
    if not command:
        wrong.append("run_command must say what to run: -e 'run_command=\"python train.py\"'.")
    if odd := [name for name in _TEXTS if isinstance(given.get(name), _NO_TEXT)]:
        wrong.append(f"{' and '.join(odd)} must be a text, not a list, a mapping or true.")
    return Request(
        name=text_of(given.get("run_name")),
        command=command,
        setup=text_of(given.get("run_setup")),
        spec=_spec(given, wrong),
        files=text_of(given.get("run_files")),
        exclude=_texts("run_exclude", given, wrong),
        environment=_environment(given, wrong),
        results=_results(given, wrong),
        seconds=_time(given, wrong),
        max_bill=_bill(given, wrong),
        keep=_seconds("run_keep", given, 0.0, wrong),
        follow=_switch("run_follow", given, True, wrong),
        log_delay=max(1.0, _seconds("run_log_delay", given, 30.0, wrong)),
        fetch_timeout=read_fetch_timeout(given, wrong),
        unswept=_switch("run_unswept", given, False, wrong),
        again=_switch("run_again", given, False, wrong),
        by_name=bool(given.get("run_digest")),
    )


def _spec(given: Row, wrong: list[str]) -> Row:
    """The search for the machine."""
    gpu, spec = given.get("run_gpu"), given.get("run_spec")
    if bool(gpu) == bool(spec) or not isinstance(spec or {}, t.Mapping):
        wrong.append("run_gpu or run_spec (a search, as a mapping) is needed, one of them: -e 'run_gpu=\"8 x H100\"'.")
    if spec or not gpu:
        return spec if isinstance(spec, t.Mapping) else {}
    parts = _GPU.fullmatch(str(gpu).strip())
    if not parts:
        instead = printable(str(gpu), 60)
        wrong.append(f"run_gpu must be a number and a GPU, as in \"8 x H100\", or a GPU alone, not '{instead}'.")
        return {}
    return {"compute": {"gpu_type": parts[2].strip(), "gpu_count": int(parts[1] or 1)}}


_NO_TEXT = (bool, list, tuple, t.Mapping)  # what YAML makes of a slip, and a shell would run


def _texts(name: str, given: Row, wrong: list[str]) -> tuple[str, ...]:
    """A list of texts, or a text with commas."""
    value = given.get(name)
    parts = value.split(",") if isinstance(value, str) else items_of(value or [])
    if any(isinstance(part, _NO_TEXT) for part in parts):
        wrong.append(f'{name} must be a list of texts, or a text with commas: -e {name}="out,*.csv".')
    return tuple(text for part in parts if (text := str(part).strip()))


def _results(given: Row, wrong: list[str]) -> tuple[str, ...]:
    paths = _texts("run_results", given, wrong)
    if outside := [path for path in paths if path.startswith(("/", "~")) or ".." in path.split("/")]:
        wrong.append(
            "run_results must be paths in the folder that the job runs in, without .. in them, not"
            f" {', '.join(outside)}: let the job write there."
        )
    return paths


def _environment(given: Row, wrong: list[str]) -> tuple[str, ...]:
    """The names of the job's variables. In place of its value, which may be secret, each has whether that is usable."""
    variables = given.get("run_env") or {}
    is_mapping = isinstance(variables, t.Mapping)
    names = tuple(variables) if is_mapping else ()
    odd = ", ".join(repr(name) for name in names if not (variables[name] and _ENVIRONMENT.fullmatch(name)))
    if odd or not is_mapping:
        unlike = f", unlike {odd}" if odd else ""
        example = '-e \'{"run_env": {"SEED": "1"}}\''
        wrong.append(f"run_env must map names of letters, digits and _ to texts{unlike}: {example}.")
    return names


def _time(given: Row, wrong: list[str]) -> float | None:
    seconds = _seconds("run_time", given, math.inf, wrong)
    if seconds < LEAST:
        wrong.append("run_time must be at least 10m: -e run_time=8h.")
    return None if seconds == math.inf else seconds


def _seconds(name: str, given: Row, default: float, wrong: list[str]) -> float:
    try:
        seconds = lease.read_duration(given.get(name))
    except ValueError as error:
        wrong.append(f"{name} {error}.")
        return default
    return default if seconds is None else seconds


def read_fetch_timeout(given: Row, wrong: list[str]) -> float:
    """The seconds that a sweep may take for the results of a run; the default for what is not a duration."""
    return max(1.0, _seconds("run_fetch_timeout", given, 1800.0, wrong))


def _bill(given: Row, wrong: list[str]) -> float:
    """What the whole run may cost (USD)."""
    odd: list[str] = []
    bill = read_limit("run_max_bill", given.get("run_max_bill"), odd)
    if odd or bill == UNLIMITED:
        text = printable(text_of(given.get("run_max_bill")), 60)
        most = f"a number of USD, not '{text}'" if text else "a number of USD"
        wrong.append(f"run_max_bill must be the most that the whole run may cost, {most}: -e run_max_bill=200.")
    return bill


def _switch(name: str, given: Row, default: bool, wrong: list[str]) -> bool:
    value = str(given.get(name, "")).strip().lower()
    if value not in ("", *TRUE, *FALSE):
        wrong.append(f"{name} must be true or false, not '{printable(value, 60)}'.")
    return value in TRUE if value else default


# What follows


class First(enum.Enum):
    """What a command does by the record of its run alone."""

    NEW = "new"  # nothing is known of it
    GO_ON = "go on"  # it was begun
    ANEW = "anew"  # an earlier one is over
    DONE = "done"
    REFUSED = "refused"


def first(record: Row, digest: str, *, again: bool) -> First:
    """``record``: under the run's name, empty if there is none. ``digest``: of the job that is asked for now."""
    phase, is_same = record.get("phase"), record.get("digest") == digest
    if phase in (None, ORDERED):  # nothing has run yet, so another job may take its place
        return First.GO_ON if phase else First.NEW
    if phase == GONE:
        return First.DONE if is_same and not again else First.ANEW
    return First.GO_ON if is_same else First.REFUSED


class Way(enum.Enum):
    """What a command does once the plan of its host is known."""

    BUY = "buy"
    LOOK = "look"  # at the machine that it has
    LOST = "lost"  # the machine has gone, with the job on it
    END = "end"
    REFUSED = "refused"


def way(phase: str, *, is_free: bool, is_refused: bool) -> Way:
    """``phase``: of the record. ``is_free``: nothing is or may be billed for the host. ``is_refused``: by its plan.

    The job runs once: if it may have begun, no second machine is bought for it.
    """
    if is_free and phase == STARTED:
        return Way.LOST
    if phase == HOME:  # whatever the plan says, since nothing is bought
        return Way.END
    if is_refused:
        return Way.REFUSED
    return Way.BUY if is_free else Way.LOOK


def only_offer(record: Row) -> str:
    """The one offer that may be bought for a run whose job may have begun, which it has already; empty before that.

    If its machine ends while a command looks for it, the role would buy another one, and the job would run twice.
    """
    return text_of(record.get("offer_id")) if record.get("phase") == STARTED else ""


class Next(enum.Enum):
    """What a command does with the machine."""

    START = "start"
    HALF_KNOWN = "half known"  # the job has not begun, and its name alone does not say all of it
    FOLLOW = "follow"
    FETCH = "fetch"
    OTHER = "other"  # another job is on it, whose results are not home
    UNREAD = "unread"


def on_machine(job: Row, digest: str, *, by_name: bool = False) -> Next:
    """``job``: what the machine says of the run; no known state if it did not answer. ``by_name``: see `Request`."""
    state = job.get("state")
    if state == NONE:
        return Next.HALF_KNOWN if by_name else Next.START
    if state not in (*RUNS, *OVER):
        return Next.UNREAD
    if job.get("digest") != digest:
        return Next.OTHER
    return Next.FOLLOW if state in RUNS else Next.FETCH


@dataclass(frozen=True)
class Outcome:
    """Where a run is after a look at its job and its results. ``state``: of the job; empty if it was not read."""

    state: str
    is_over: bool = False
    is_home: bool = False  # all results that were asked for, checked
    ends: bool = False  # the machine, now
    kept_until: float | None = None


def outcome(job: Row, results: Row, *, keep: float, now: float, ends_at: float | None) -> Outcome:
    """What follows from what the machine says, and from the transfer. Moments are seconds since the epoch.

    ``keep``: seconds that the machine stays after a failure; its lease, which ends at ``ends_at``, may be shorter.
    """
    state = text_of(job.get("state"))
    if state not in OVER:
        return Outcome(state)
    is_home = results.get("complete") is True and not (state == SUCCEEDED and lacks_results(results))
    stays = keep if is_home and state != SUCCEEDED else 0.0
    until = min(now + stays, math.inf if ends_at is None else ends_at) if stays else None
    return Outcome(state, True, is_home, is_home and not stays, until)


def lacks_results(results: Row) -> bool:
    """Whether the job has not written what was asked for: a file without a wildcard in its name, or anything at all.

    After success that is rather a slip in ``run_results``, and the results go with the machine.
    """
    missing = [str(path) for path in items_of(results.get("missing") or [])]
    return any(not set("*?[") & set(path) for path in missing) or bool(missing and not results.get("files"))


def is_here(record: Row) -> bool:
    """Whether the results of the run are home, or whatever was left of it has gone."""
    return record.get("phase") in (HOME, GONE)


def is_kept(record: Row, now: float, keep: float) -> bool:
    """Whether the machine of a run whose results are home stays for now, so that a person can look at it."""
    until = number_of(record.get("kept_until"))
    return bool(keep) and until is not None and now < until


# Its lease


def lease_of(request: Request, price: float | None) -> float:
    """The seconds of the lease, in whole minutes: the job's time, and an hour for the results.

    ``price``: USD per hour. Without a time it is what the bill pays for. Raises ValueError if that is too little.
    """
    seconds = request.seconds
    if seconds is None:
        if not price:
            unpriced = "The price of the machine is unknown, so run_time must say how long the job may take."
            raise ValueError(f"{unpriced} {NOTHING_BOUGHT}")
        seconds = request.max_bill / price * 3600 * (1 + 1e-12) - TAIL
    if seconds < LEAST:
        least = math.ceil((LEAST + TAIL) / 3600 * (price or 0) * 100) / 100
        raise ValueError(
            f"run_max_bill (USD {amount(request.max_bill)}) is too small: ten minutes, and the hour for the results,"
            f" cost USD {amount(least)} at {usd(price)}. {NOTHING_BOUGHT}"
        )
    return min(math.floor((seconds + TAIL) / 60) * 60.0, lease.LONGEST)


def shortest(request: Request) -> str:
    """The lease with which the market is searched: the shortest that the run may get."""
    return lease_text((LEAST if request.seconds is None else request.seconds) + TAIL)


def lease_text(seconds: float) -> str:
    """A lease as the role's variable takes it."""
    minutes = math.floor(seconds / 60)
    return f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"


def time_left(ends_at: float | None, now: float, lasting: float) -> int:
    """How many seconds a job may take that starts now: until its lease ends, less the hour for the results.

    ``lasting``: the seconds of the lease that was asked for, which count if no end is known.
    """
    end = now + lasting if ends_at is None else ends_at
    return max(60, math.floor(end - TAIL - now))


def earlier_end(request: Request, entry: Entry, now: float) -> float | None:
    """When the lease of its machine must end for the time and the bill that are asked for now; None if it ends by then.

    Another command may have bought the machine, for longer or for more. Raises ValueError if no time is left for a job.
    """
    bought, ends, price = seconds_of(entry.journaled_at), seconds_of(entry.ends_at), entry.price_per_hour
    paid = bought + request.max_bill / price * 3600 if price and bought is not None else math.inf
    end = min(paid, now + (math.inf if request.seconds is None else request.seconds + TAIL))
    if end == math.inf or (ends is not None and ends - end < _SLACK):
        return None
    if end - now < LEAST + TAIL:
        raise ValueError(
            f"The run {request.name} has a machine at {usd(price)} already, and run_max_bill (USD"
            f" {amount(request.max_bill)}) does not pay for ten minutes more and the hour for the results."
            f" {report.billed_until(entry.ends_at)} Repeat the command with a larger one, or end the machine:"
            f" {report.end_of({'host': request.host})}."
        )
    return end


class Trace(enum.Enum):
    """What the registry says of the machine that a record names."""

    SAME = "same"  # it has that purchase, or none was noted in the record
    ENDED = "ended"  # it has noted the end of that purchase
    ANOTHER = "another"  # its host has another purchase
    FORGOTTEN = "forgotten"  # it knows nothing of it, so it may be billed


def run_of(host: str) -> str:
    """The name of the run that a host belongs to."""
    return host.removeprefix(report.HOST)


def is_late(entry: Entry, end: float | None, passed: float, since: float | None) -> bool:
    """Whether a sweep brings the results of a host home: its lease is not over, but may be when the next sweep comes.

    ``passed``: the seconds since its ``end``. ``since``: those since the last sweep; None if that is not known. The
    next one may come as long after this one, and a quarter later.
    """
    window = max(TAIL, lease.SWEEPS if since is None else 1.25 * since)
    return GROUP in entry.groups and end is not None and -window <= passed < 0


# Its record

_SINCE = ("ordered_at", "earlier_offers")


def ordered(request: Request, digest: str, before: Row, now: str, earlier: t.Sequence[str] = ()) -> dict[str, t.Any]:
    """The record of a run whose machine may be bought from now on. ``now``: a moment as text.

    ``before``: the record until now. That of a job that may have begun stays; that of a run that is over does not. Of
    another job that was ordered under the name stays since when, which has bought its machine. ``earlier``: the offers
    of other purchases of its host.
    """
    if before.get("phase") in (STARTED, HOME):
        return dict(before)
    return {
        "name": request.name,
        "host": request.host,
        "command": request.command,
        "digest": digest,
        # With which its name alone follows it
        "asked": {
            "run_command": request.command,
            "run_spec": dict(request.spec),
            "run_max_bill": request.max_bill,
            "run_results": list(request.results),
            "run_keep": f"{math.ceil(request.keep)}s" if request.keep else "",
            "run_digest": digest,
        },
        "phase": ORDERED,
        "state": NONE,
        "ordered_at": now,
        "earlier_offers": list(earlier),
        **({name: before.get(name) for name in _SINCE} if before.get("phase") == ORDERED else {}),
        **dict.fromkeys(("exit_code", "began_at", "ended_at", "offer_id", "price_per_hour", "cost_usd", "complete")),
    }


_NOTHING: Row = MappingProxyType({})


def started(record: Row, entry: Entry, job: Row = _NOTHING) -> dict[str, t.Any]:
    """The record once its job may have begun, as it was if that is noted already.

    ``entry``: of its host; ``job``: what the machine says, which knows when it has begun for certain.
    """
    began = {"began_at": record.get("began_at") or job.get("began_at")}
    if record.get("phase") in (STARTED, HOME):
        return {**record, **began}
    return {
        **record,
        **began,
        "phase": STARTED,
        "state": RUNNING,
        "offer_id": entry.offer_id,
        "price_per_hour": entry.price_per_hour,
    }


_OF_JOB = ("exit_code", "signal", "reason", "began_at", "ended_at")
_LINES = 5  # of the log that the record keeps
_OF_RESULTS = ("complete", "files", "bytes", "missing", "incomplete")


def over(record: Row, found: Outcome, job: Row = _NOTHING, results: Row = _NOTHING) -> dict[str, t.Any]:
    """The record of a job that is over, with its results as far as they are home."""
    return {
        **record,
        **{name: job.get(name) for name in _OF_JOB if name in job},
        **{name: results.get(name) for name in _OF_RESULTS if name in results},
        "state": found.state,
        "complete": found.is_home,
        "kept_until": found.kept_until,
        "last_lines": [printable(str(line), LONGEST_LINE) for line in items_of(job.get("log") or [])[-_LINES:]],
        "phase": HOME if found.is_home else record.get("phase"),
    }


def lost(record: Row) -> dict[str, t.Any]:
    """The record of a run whose machine has gone before its results were home. If the job was over, it is not lost."""
    state = {} if record.get("state") in OVER else {"state": LOST, "reason": report.TAKEN_AWAY}
    return {**record, **state, "complete": record.get("complete") is True}


def gone(record: Row, usd: float | None, stays: str = "") -> dict[str, t.Any]:
    """The record of a run whose machine has ended. ``usd``: what it has cost at most; ``stays``: storage, in words."""
    return {**record, "phase": GONE, "cost_usd": usd, "stays": stays}
