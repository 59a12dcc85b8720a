# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does next, by its record, its host's plan and its machine, also after its controller died.

`run_request` is what a person asks for, `run_record` what is noted of it.
"""

from __future__ import annotations

import contextlib
import enum
import math
import typing as t
from dataclasses import dataclass, field

from .._machine.job_state import NONE, OVER, RUNS, SUCCEEDED
from .._text import (
    LONGEST_LINE,
    amount,
    formatted,
    ids_in_words,
    in_short,
    items_of,
    joined,
    number_of,
    one_line,
    printable,
    seconds_of,
    text_of,
    usd,
)
from . import lease, prices
from .declaration import why_protected
from .entry import Entry
from .messages import NOTHING_BOUGHT
from .order import GROUP_OF_RUNS
from .run_record import (
    GONE,
    HOME,
    ORDERED,
    STARTED,
    RunView,
    Trace,
    because,
    billed_until,
    command_to_end,
    incomplete,
    job_outcome,
    kept_result,
    last_word,
    still_billed,
)
from .run_request import LEAST, TAIL, Request, in_minutes, lease_of, lease_text, quote, shortest_lease

Row = t.Mapping[str, t.Any]


class First(enum.Enum):
    """What a command does by the record of its run alone."""

    GO_ON = "go on"  # with a new one, or one that was begun
    ANEW = "anew"  # an earlier one is over
    DONE = "done"
    REFUSED = "refused"


def first(record: Row, digest: str, *, again: bool) -> First:
    """``record``: under the run's name, empty if there is none. ``digest``: of the job that is asked for now."""
    phase, is_same = record.get("phase"), record.get("digest") == digest
    if phase in (None, ORDERED):  # nothing has run yet, so another job may take its place
        return First.GO_ON
    if phase == GONE:
        return First.DONE if is_same and not again else First.ANEW
    return First.GO_ON if is_same else First.REFUSED


class Way(enum.Enum):
    """What a command does once the plan of its host is known; the values are what a person reads of it."""

    BUY = "It buys a machine."
    LOOK = "It has its machine already: nothing is bought."
    LOST = "Its machine has gone: nothing is bought again for a job that may have begun."
    END = "Its results are home: its machine ends."


def way(phase: str, *, is_free: bool) -> Way:
    """``phase``: of the record. ``is_free``: nothing is or may be billed for the host.

    The job runs once: if it may have begun, no second machine is bought for it.
    """
    if phase == HOME:
        return Way.END
    if is_free and phase == STARTED:
        return Way.LOST
    return Way.BUY if is_free else Way.LOOK


def begun(first: First, request: Request, job: Row) -> dict[str, t.Any]:
    """What the plays of a command work on; no host if the run is over, or if another job under its name is not."""
    if first is First.REFUSED:
        return {"trouble": refused(job["record"], request.name)}
    if first is First.DONE:
        again = "Nothing was bought. -e run_again=true runs it once more."
        return last_result(job["record"], job["folder"], again)
    role = {"provision_spec": dict(request.spec), "provision_max_bill": request.max_bill}
    return {"hosts": [request.host], "job": job, "role": {**role, "provision_lease": shortest_lease(request)}}


def refused(record: Row, name: str) -> str:
    """Another job under the name of one that has not come to its end."""
    return (
        f"The run {name} is not over, and it is another job: {record.get('command')}. Its command, setup, files or"
        " names of environment variables differ from yours. Choose another run_name for yours."
        f" -e run_name={name} alone follows {name}, and brings its results home. To give it up:"
        f" {command_to_end(record.get('host'))}, and then -e run_name={name} alone. {NOTHING_BOUGHT}"
    )


def last_result(record: Row, folder: str, *further: str) -> dict[str, t.Any]:
    """The last word, and in ``trouble`` that a job did not succeed, or has lost results."""
    is_good = record.get("state") == SUCCEEDED and record.get("complete") is True
    failed = "" if is_good else joined(job_outcome(record), incomplete(record))
    return {"lines": [*last_word(record, folder), *further], "trouble": failed}


@dataclass(frozen=True)
class Quoted:
    """What a quote says of the host. ``host``: its row in the artifact; ``registry``: where it is remembered."""

    host: Row = field(default_factory=dict)
    refusal: str = ""
    is_free: bool = False
    registry: str = ""

    @classmethod
    def of(cls, host: str, quote: Row) -> Quoted:
        """Read from the result of the step ``quote``, which leaves out hosts whose machines run as registered."""
        rows = ((quote.get("ansible_stats") or {}).get("data") or {}).get("quote", {}).get("hosts") or {}
        draft = (quote.get("plans") or {}).get(host) or {}
        registry = str((quote.get("common") or {}).get("registry") or "")
        refusal = str((quote.get("refusals") or {}).get(host) or quote.get("msg") or "")
        return cls(rows.get(host) or {}, refusal, draft.get("is_new") is True, registry[:1].upper() + registry[1:])

    @property
    def price_per_hour(self) -> float | None:
        """USD per hour of the offer; None if unknown."""
        return number_of(self.host.get("price_per_hour"))


def still_first(run: RunView) -> First:
    """What the command does by the record as it is now. Raises ValueError if another command has changed it meanwhile.

    Between two looks at it, that command may have begun another job, or have come to the end of this one.
    """
    found = first(run.record, run.digest, again=run.request.again)
    if found is First.REFUSED:
        raise ValueError(refused(run.record, run.request.name))
    if found is First.DONE:
        over = f"The run {run.request.name} has come to its end meanwhile."
        raise ValueError(f"{over} The same command says what became of it. {NOTHING_BOUGHT}")
    return found


def check_trace(run: RunView) -> None:
    """Raise ValueError if a run that was begun goes no further: its machine is forgotten, or another one is there."""
    begun = f"The run {run.record.get('name')} was begun with offer {run.record.get('offer_id')}"
    if run.trace is Trace.ANOTHER:
        raise ValueError(
            f"{begun}, but {run.record.get('host')} now has the machine of another run (offer {run.entry.offer_id})."
            f" That machine stays. Choose another run_name. {NOTHING_BOUGHT}"
        )
    if run.trace is Trace.FORGOTTEN:
        raise ValueError(
            f"{begun}, of which the registry knows neither a machine nor an end: IT MAY BE BILLED. Are this inventory"
            " and registry those of the run? compute_index.supply.audit shows what runs. If nothing runs, move run.json"
            f" away. {NOTHING_BOUGHT}"
        )


def broken(stopped: Row, run: RunView, reason: str) -> str:
    """What to know of a run whose command failed, for this ``reason``, which was shown already.

    ``stopped``: of the step that found what to do with the machine; its trouble says itself what to do next.
    """
    host, until = run.request.host, run.entry.ends_at
    if stopped.get("trouble"):
        return str(stopped["trouble"])
    if not (run.entry.may_have_bought or run.trace is Trace.FORGOTTEN):
        return joined(in_short(reason), f"Nothing is billed for {host}.")
    billed = billed_until(until) if until else f"{host} may have a machine that is billed."
    # The role gives back no machine that was ready before, though it may fail its test for ever.
    is_tried = run.record.get("phase") == ORDERED and run.entry.was_ready
    again = "The same command tries it again. For another one, end this machine first:" if is_tried else ""
    return joined(
        in_short(reason), billed, again or "The same command goes on. To end the machine:", command_to_end(host)
    )


def lease_for(way: Way, request: Request, found: Quoted, entry: Entry, unswept: str, *, has_registry: bool) -> float:
    """The seconds of the lease: of the purchase, or what the machine has. Raises ValueError: why nothing may be bought.

    ``unswept``: why no sweep is known to end the machine; empty if one is.
    """
    if entry.may_have_bought and GROUP_OF_RUNS not in entry.groups:
        raise ValueError(
            f"The registry knows a machine of {request.host} that is noted for no run"
            f" ({ids_in_words(entry.resource_ids)}). Choose another run_name. {NOTHING_BOUGHT}"
        )
    if found.refusal and way in (Way.BUY, Way.LOOK):  # else nothing is bought, whatever the plan says
        raise ValueError(found.refusal)
    if way is not Way.BUY:
        return lease_seconds(request, entry)
    if not has_registry:
        raise ValueError(
            "A run needs a registry, which remembers its machine, and provision_registry_dir is empty. Leave that out,"
            " or set provision_registry_url."
        )
    if unswept and not request.unswept:
        raise ValueError(f"{unswept} To run it without sweeps this once, add -e run_unswept=true. {NOTHING_BOUGHT}")
    return lease_of(request, found.price_per_hour)


def lease_seconds(request: Request, entry: Entry) -> float:
    """The seconds of the lease that a machine was bought for; those that are asked for if the registry has none."""
    with contextlib.suppress(ValueError):
        if seconds := lease.read_lease(entry.leased).seconds:
            return seconds
    return (request.seconds or LEAST) + TAIL


def unenforced(host: str, protect: t.Any, unswept: str) -> str:
    """Why no sweep would end the machine of a run, were its command killed for good; empty if one would.

    ``protect``: what the host's variables say beside the run's own; ``unswept``: why no sweep is known.
    """
    if not why_protected(host, protect, Entry()):
        return unswept
    return f"No sweep would end {host}, since its group has provision_protect: choose another provision_group."


def play_after_quote(
    run: RunView, found: Quoted, unswept: str, *, protect: t.Any, has_registry: bool, check_mode: bool
) -> dict[str, t.Any]:
    """What the play does now: it provisions the host, or ends its machine; in check mode neither.

    Results of an earlier run are set aside before anything is noted. ``offer_id``: the one offer that may be bought for
    a run whose job may have begun, which it has already: if its machine ended while a command looks for it, the role
    would buy another one, and the job would run twice. ``verify``: nor is its machine tested then, which a person may
    have left out; a test disturbs the job, and what it says would be too late. Raises ValueError: why nothing may be
    bought.
    """
    phase = str(run.record.get("phase") or "")
    does = way(phase, is_free=found.is_free)
    is_first, has_machine = still_first(run), does in (Way.BUY, Way.LOOK) and not check_mode
    check_trace(run)
    unswept = unenforced(run.request.host, protect, unswept)
    seconds = lease_for(does, run.request, found, run.entry, unswept, has_registry=has_registry)
    lines = [does.value]
    if does is Way.BUY:
        bill = prices.cost_in_usd(found.price_per_hour, seconds) or run.request.max_bill
        lines = quote(found.host, seconds - TAIL, bill, found.registry)
    return {
        "provisions": has_machine,
        "ends": does in (Way.END, Way.LOST) and not check_mode,
        "lost": does is Way.LOST,
        "goes_on": not check_mode,
        "sets_aside": has_machine and is_first is First.ANEW,
        "lease": lease_text(seconds),
        "offer_id": text_of(run.record.get("offer_id")) if phase == STARTED else "",
        "verify": "none" if phase == STARTED else "",
        "lines": lines,
    }


# What is done with the machine


def next_of(run: RunView, job: Row) -> dict[str, t.Any]:
    """What is done with the machine, which has answered ``job``; why nothing can be, in ``trouble``.

    ``until``: when its lease ends from now on, if that does not stay as it is.
    """
    try:
        still_first(run)
        check_trace(run)
    except ValueError as error:  # another command has changed the run, and a machine may have been bought for it
        return {"trouble": joined(str(error).removesuffix(NOTHING_BOUGHT), billed_until(run.entry.ends_at))}
    try:
        return _done_by(run, job)
    except ValueError as error:
        return {"trouble": str(error)}


def _done_by(run: RunView, job: Row) -> dict[str, t.Any]:
    """What is done by what the machine says of the run: its job starts. Raises ValueError if nothing can be done."""
    if job.get("state") not in (NONE, *RUNS, *OVER):
        raise ValueError(unread(run, job))
    check_job(run, job)
    if job["state"] != NONE:
        return {}
    if run.record.get("began_at"):
        raise ValueError(forgotten(run))
    if run.request.by_name:
        raise ValueError(
            f"Repeat the whole command: the job of {run.request.name} has not begun, and its name alone does not say"
            f" which code, setup and environment it needs. {billed_until(run.entry.ends_at)}"
        )
    return _start(run)


def forgotten(run: RunView) -> str:
    """The machine has lost what it had noted of a job that has begun, as after a start with an empty disk."""
    return (
        f"The machine of the run {run.request.name} knows nothing of its job any more, which had begun: it is not"
        f" started again. {billed_until(run.entry.ends_at)} To end the machine: {command_to_end(run.request.host)}"
    )


def unread(run: RunView, job: Row) -> str:
    """The machine did not report on its ``job``."""
    why = because(str(job.get("msg") or "it did not answer"))
    answer = f"The machine of the run {run.request.name} did not report on its job: {why}"
    return f"{answer} {billed_until(run.entry.ends_at)} The same command looks again."


def check_job(run: RunView, job: Row) -> None:
    """Raise ValueError if the machine has another job under this name, as of another computer."""
    if job.get("state") in (*RUNS, *OVER) and job.get("digest") != run.digest:
        command = one_line(str(job.get("command") or "")) or "its command is not known"
        raise ValueError(
            f"The machine of the run {run.request.name} has another job: {command} ({job['state']}). The results of"
            f" that job are not home. Repeat its command, or end the machine: {command_to_end(run.request.host)}."
        )


def _start(run: RunView) -> dict[str, t.Any]:
    """How many seconds a job may take that starts now, and a line if that is less than was asked for.

    Until the lease ends, less the hour for the results. Raises ValueError if the machine leaves no time for it.
    """
    request, entry = run.request, run.entry
    until = earlier_end(request, entry, run.now)
    end = seconds_of(entry.ends_at) if until is None else until
    seconds = max(60, math.floor((run.now + lease_seconds(request, entry) if end is None else end) - TAIL - run.now))
    lines = []
    if end is not None and (until is not None or seconds < (request.seconds or 2 * LEAST) - LEAST):
        lines = [f"The job may take {in_minutes(seconds)}, since the lease of its machine ends at {formatted(end)}."]
    return {"starts": True, "copies": bool(request.files), "seconds": seconds, "until": until, "lines": lines}


_SLACK = 120.0  # seconds by which a lease may be longer: it is rounded, and its beginning is noted before its end


def earlier_end(request: Request, entry: Entry, now: float) -> float | None:
    """When the lease of its machine must end for the time and the bill that are asked for now; None if it ends by then.

    Another command may have bought the machine, for longer or for more. Raises ValueError if no time is left for a job.
    """
    bought, ends, price = seconds_of(entry.journaled_at), seconds_of(entry.ends_at), entry.price_per_hour
    paid = bought + prices.seconds_for_bill(request.max_bill, price) if price and bought is not None else math.inf
    end = min(paid, now + (math.inf if request.seconds is None else request.seconds + TAIL))
    if end == math.inf or (ends is not None and ends - end < _SLACK):
        return None
    if end - now < LEAST + TAIL:
        raise ValueError(
            f"The run {request.name} has a machine at {usd(price)} already, and run_max_bill (USD"
            f" {amount(request.max_bill)}) does not pay for ten minutes more and the hour for the results."
            f" {billed_until(entry.ends_at)} Repeat the command with a larger one, or end the machine:"
            f" {command_to_end(request.host)}."
        )
    return end


def ends_earlier(until: float) -> dict[str, t.Any]:
    """The changes to an entry so that a sweep ends its machine at this moment, however long its lease was."""
    return {lease.ENDS_AT: lease.utc_rounded_up(until), lease.LEASED: lease.utc_rounded_up(until)}


def over_result(run: RunView, folder: str, job: Row, why: str) -> dict[str, t.Any]:
    """The result of the step: whether the machine ends, and else what a person must know. ``why``: of the transfer."""
    record, entry, state = run.record, run.entry, job.get("state")
    if state in OVER and record["phase"] == HOME:
        is_kept = record["kept_until"] is not None
        return kept_result(record, folder, entry.price_per_hour) if is_kept else {"ends": True}
    if state in OVER:
        lines = still_billed(record, folder, entry.ends_at, why)
        return {"lines": lines, "trouble": joined(*lines)}
    if state in RUNS and not job.get("lost_sight"):
        runs = f"{record.get('name')} runs. The same command follows it, and brings its results home."
        end = f"To end it now: {command_to_end(record.get('host'))}"
        return {"lines": [runs, billed_until(entry.ends_at), end]}
    if state == NONE and record.get("began_at"):
        return {"trouble": forgotten(run)}
    if state == NONE:  # as after a cut of the network at the start
        not_begun = f"The machine of the run {run.request.name} has not begun its job."
        return {"trouble": f"{not_begun} {billed_until(entry.ends_at)} The same command starts it."}
    return {"trouble": unread(run, job)}


# How its log is followed


PATIENCE = 1800.0  # seconds for which a machine may be silent; its job needs nobody
LINES = 200  # that a look asks for


@dataclass(frozen=True)
class LogLook:
    """What the last look has shown. ``job``: the last answer; ``lines``: those of its log that are new.

    ``lost_at``: since when the machine does not answer; None if it does. ``is_last``: no other look follows.
    """

    job: Row = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    lost_at: float | None = None
    msg: str = ""
    is_last: bool = False


def next_look(look: LogLook, job: Row, passed: float) -> LogLook:
    """What follows from an answer, or a failure to get one."""
    if job.get("state") in (None, "") or job.get("failed"):
        since = passed if look.lost_at is None else look.lost_at
        why = one_line(str(job.get("msg") or "no answer"))
        msg = f"the machine does not answer (its job needs no connection): {why}"
        return LogLook(look.job, (), since, msg, passed - since >= PATIENCE)
    # A machine that knows nothing of its job any more does not say that it has begun, but has said so.
    known = {**job, "began_at": job.get("began_at") or look.job.get("began_at")}
    return LogLook(known, _lines(look.job, job), is_last=job["state"] not in RUNS)


def _lines(before: Row, job: Row) -> tuple[str, ...]:
    """The lines that are new since the answer before: those within the bytes by which the log has grown."""
    lines, room = [], int(job.get("log_bytes") or 0) - int(before.get("log_bytes") or 0) if before else math.inf
    for line in reversed(items_of(job.get("log") or [])):
        if room <= 0:  # a line that was shown before its end was written is shown again
            break
        room -= len(str(line).encode(errors="surrogateescape")) + 1
        lines.append(printable(str(line), LONGEST_LINE))  # without what would move a terminal's cursor
    return tuple(reversed(lines))


def followed(look: LogLook) -> dict[str, t.Any]:
    """What the task returns: the last answer, whether the job is over, and whether sight of it was lost."""
    is_lost = look.lost_at is not None
    job = {name: value for name, value in look.job.items() if name not in ("failed", "invocation")}
    msg = {"msg": look.msg} if is_lost else {}
    is_over = look.job.get("state") in OVER and not is_lost
    return {**job, **msg, "changed": False, "is_over": is_over, "lost_sight": is_lost}
