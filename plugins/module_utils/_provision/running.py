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
from dataclasses import asdict

from .. import _text
from .._machine.job_state import NONE, OVER, RUNNING
from .._text import amount, formatted, ids_in_words, joined, one_line, seconds_of, summary_of, usd
from . import lease, search
from .declaration import why_protected
from .entry import Entry
from .messages import NOTHING_BOUGHT
from .order import GROUP_OF_RUNS
from .run_record import (
    GONE,
    HOME,
    STARTED,
    Run,
    because,
    last_result,
    result_once_home,
    still_billed,
    why_not_home,
)
from .run_request import LEAST, TAIL, Request, in_minutes, lease_of, lease_text, quote

Row = t.Mapping[str, t.Any]


class Way(enum.Enum):
    """What a command does once the plan of its host is known; the values are what a person reads of it."""

    BUY = "It buys a machine."
    LOOK = "It has its machine already: nothing is bought."
    LOST = "Its machine has gone: nothing is bought again for a job that may have begun."
    END = "Its results are home: nothing is bought."


def way(phase: str, *, is_free: bool) -> Way:
    """What a command does. ``phase``: of the record; ``is_free``: nothing is or may be billed for the host.

    If the job may have begun, no second machine is bought for it.
    """
    if phase == HOME:
        return Way.END
    if is_free and phase == STARTED:
        return Way.LOST
    return Way.BUY if is_free else Way.LOOK


def begun(run: Run) -> dict[str, t.Any]:
    """What the plays of a command work on; no host if the run is over, or another job with its name is not."""
    request = run.request
    if trouble := another_job(run):
        return {"trouble": f"{trouble} {NOTHING_BOUGHT}"}
    if run.is_done:
        again = "Nothing was bought. -e run_again=true runs it once more."
        return last_result(run.record, request.folder, again)
    role = {"provision_spec": dict(request.spec), "provision_max_bill": request.max_bill}
    return {
        "hosts": [request.host],
        "job": asdict(request),
        # The market is searched with the shortest lease that the run may get.
        "role": {**role, "provision_lease": lease_text(request.least_lease)},
    }


def another_job(run: Run) -> str:
    """Why this job may not begin: another one with its name has begun and is not over; empty if none has."""
    name, record = run.request.name, run.record
    if not run.is_begun or record.get("digest") == run.request.digest:
        return ""
    return (
        f"The run {name} is not over, and it is another job: {record.get('command')}. Its command, setup, files or"
        " names of environment variables differ from yours. Choose another run_name for yours."
        f" -e run_name={name} alone follows {name}, and brings its results home. To give it up:"
        f" {run.command_to_end}, and then -e run_name={name} alone."
    )


def why_not(run: Run) -> str:
    """Why a command stops, as if another command has changed the run meanwhile; empty if it goes on."""
    over = f"The run {run.request.name} has come to its end meanwhile. The same command says what became of it."
    return another_job(run) or (over if run.is_done else in_doubt(run))


def in_doubt(run: Run) -> str:
    """Why a run that has begun stops: the registry has forgotten its machine, or has another; empty if it goes on."""
    begun = f"The run {run.request.name} was begun with offer {run.record.get('offer_id')}"
    if not run.missing_offer or run.is_over:
        return ""
    if run.entry.may_have_bought:
        return (
            f"{begun}, but {run.request.host} now has the machine of another run (offer {run.entry.offer_id}). That"
            " machine stays. Choose another run_name."
        )
    return (
        f"{begun}, of which the registry knows neither a machine nor an end: IT MAY BE BILLED. Are this inventory and"
        " registry those of the run? compute_index.supply.audit shows what runs. If nothing runs, move run.json away."
    )


def broken(stopped: Row, run: Run, reason: str) -> str:
    """What to know if a command failed, for this ``reason``, which was shown already.

    ``stopped``: the result of the step `run_next`, whose trouble says what to do.
    """
    if stopped.get("trouble"):
        return str(stopped["trouble"])
    if not (run.entry.may_have_bought or in_doubt(run)):
        return joined(summary_of(reason), f"Nothing is billed for {run.request.host}.")
    billed = run.billed if run.entry.ends_at else f"{run.request.host} may have a machine that is billed."
    return joined(summary_of(reason), billed, f"The same command goes on. To end the machine: {run.command_to_end}")


def lease_for(way: Way, run: Run, price: float | None, refusal: str, unswept: str, *, has_registry: bool) -> float:
    """The seconds of the lease, to buy or as the machine has it. Raises ValueError: why nothing may be bought.

    ``price``: of the offer, in USD per hour; ``refusal``: why the plan has none, or empty. ``unswept``: why no sweep
    would end the machine, or empty.
    """
    request, entry = run.request, run.entry
    if entry.may_have_bought and GROUP_OF_RUNS not in entry.groups:
        raise ValueError(
            f"The registry knows a machine of {request.host} that is noted for no run"
            f" ({ids_in_words(entry.resource_ids)}). Choose another run_name. {NOTHING_BOUGHT}"
        )
    if refusal and way in (Way.BUY, Way.LOOK):  # else nothing is bought, whatever the plan says
        raise ValueError(refusal)
    if way is not Way.BUY:
        return lease_seconds(request, entry)
    if not has_registry:
        raise ValueError(
            "A run needs a registry, which remembers its machine, and provision_registry_dir is empty. Leave that out,"
            " or set provision_registry_url."
        )
    if unswept and not request.unswept:
        raise ValueError(f"{unswept} To run it without sweeps this once, add -e run_unswept=true. {NOTHING_BOUGHT}")
    return lease_of(request, price)


def lease_seconds(request: Request, entry: Entry) -> float:
    """The seconds of the lease with which a machine was bought; the requested ones if the registry has none."""
    with contextlib.suppress(ValueError):
        if seconds := lease.read_lease(entry.leased).seconds:
            return seconds
    return request.least_lease


def unenforced(host: str, protect: t.Any, unswept: str) -> str:
    """Why no sweep would end the machine if its command is killed; empty if one would.

    ``protect``: the host's variable; ``unswept``: why no sweep is known.
    """
    if not why_protected(host, protect, Entry()):
        return unswept
    return f"No sweep would end {host}, since its group has provision_protect: choose another provision_group."


def play_after_quote(run: Run, found: Row, unswept: str, *, has_registry: bool, check_mode: bool) -> dict[str, t.Any]:
    """What the play does now. ``found``: the result of step ``quote``. Raises ValueError: why nothing may be bought.

    If the job may have begun, the role may take only the offer that the run has already (``offer_id``): it would buy
    another machine if that one ended meanwhile, and the job would run twice. Nor does it test the machine then
    (``verify``), which would disturb the job.
    """
    if trouble := why_not(run):
        raise ValueError(f"{trouble} {NOTHING_BOUGHT}")
    host = run.request.host
    does = way(run.phase, is_free=found["plans"].get(host, {}).get("is_new") is True)
    offer = found["ansible_stats"]["data"]["quote"]["hosts"].get(host, {})
    price, refusal = _text.read_price(offer.get("price_per_hour")), str(found["refusals"].get(host) or "")
    seconds = lease_for(does, run, price, refusal, unswept, has_registry=has_registry)
    lines = [does.value]
    if does is Way.BUY:
        registry = str(found["common"]["registry"])
        bill = search.cost_in_usd(price, seconds) or run.request.max_bill
        lines = quote(offer, seconds - TAIL, bill, registry[:1].upper() + registry[1:])
    may_run = run.phase == STARTED
    return {
        "provisions": does in (Way.BUY, Way.LOOK) and not check_mode,
        "lost": does is Way.LOST,
        "goes_on": not check_mode,
        "lease": lease_text(seconds),
        "offer_id": _text.text_of(run.record.get("offer_id")) if may_run else "",
        "verify": "none" if may_run else "",
        "lines": lines,
    }


# What is done with the machine


def next_of(run: Run, job: Row) -> dict[str, t.Any]:
    """What is done with the machine, which has answered ``job``; ``trouble``: why nothing is.

    If the job starts, it may take so many ``seconds``. ``until``: the new end of the lease, if that changes.
    """
    if trouble := why_not(run):  # another command has changed the run, and a machine may have been bought for it
        return {"trouble": f"{trouble} {run.billed}"}
    if trouble := trouble_of_job(run, job):
        return {"trouble": trouble}
    if job["state"] != NONE:
        return {}
    if run.request.by_name:
        return {
            "trouble": f"Repeat the whole command: the job of {run.request.name} has not begun, and its name alone does"
            f" not say which code, setup and environment it needs. {run.billed}"
        }
    return _start(run)


def trouble_of_job(run: Run, job: Row) -> str:
    """Why the machine's answer is of no use: it has none, has another job, or has lost its disk; else empty."""
    machine, to_end = f"The machine of the run {run.request.name}", f"end the machine: {run.command_to_end}"
    if job.get("lost_sight") or job.get("state") not in (NONE, RUNNING, *OVER):
        why = because(str(job.get("msg") or "it did not answer"))
        return f"{machine} did not report on its job: {why} {run.billed} The same command looks again."
    if job["state"] == NONE:
        lost = f"{machine} knows nothing of its job any more, which had begun: it is not started again."
        return f"{lost} {run.billed} To {to_end}" if run.record.get("began_at") else ""
    if job.get("digest") == run.request.digest:
        return ""
    command = one_line(str(job.get("command") or "")) or "its command is not known"  # as of another computer
    return (
        f"{machine} has another job: {command} ({job['state']}). The results of that job are not home. {run.billed}"
        f" Repeat its command, or {to_end}."
    )


_LEFT = 60  # seconds that a job gets at least
_SLACK = 120.0  # seconds by which a lease may be longer: it is rounded, and its beginning is noted before its end


def _start(run: Run) -> dict[str, t.Any]:
    """How a job starts now: it may take until the hour before the lease ends.

    The lease is cut if the bill does not pay for it: another command may have bought the machine, or it costs more
    than the offer said.
    """
    request, noted, paid = run.request, seconds_of(run.entry.ends_at), _paid_until(run.request, run.entry)
    until = paid if paid and (noted is None or noted - paid >= _SLACK) else None
    end = min(filter(None, (noted, paid)), default=run.now + request.least_lease)
    seconds = math.floor(min(end - TAIL - run.now, request.seconds or math.inf))
    if seconds < _LEFT:
        return {
            "trouble": f"The machine of the run {request.name} has no time left for the job and the hour for its"
            f" results, by lease or run_max_bill (USD {amount(request.max_bill)} at {usd(run.entry.price_per_hour)})."
            f" {run.billed} To end the machine: {run.command_to_end}."
        }
    lines = [f"The job may take {in_minutes(seconds)}, since the lease of its machine ends at {formatted(end)}."]
    is_less = until is not None or seconds < (request.seconds or 2 * LEAST) - LEAST
    return {
        **{"starts": True, "copies": bool(request.files), "seconds": seconds, "until": until},
        "lines": lines if is_less else [],
    }


def _paid_until(request: Request, entry: Entry) -> float | None:
    """The moment until which the bill pays for the machine; None if its price or its beginning is not known."""
    bought, price = seconds_of(entry.journaled_at), entry.price_per_hour
    return bought + search.seconds_for_bill(request.max_bill, price) if price and bought is not None else None


def ends_earlier(until: float) -> dict[str, t.Any]:
    """The changes to an entry so that a sweep ends its machine at this moment, however long its lease was."""
    return {lease.ENDS_AT: lease.utc_rounded_up(until), lease.LEASED: lease.utc_rounded_up(until)}


def over_result(run: Run, job: Row, results: Row, *, has_gone: bool) -> dict[str, t.Any]:
    """Whether the machine ends, or what to know of the run. ``results``: what their transfer returned."""
    if run.phase == GONE:  # another command has brought it to its end meanwhile
        return last_result(run.record, run.request.folder)
    if run.phase == HOME:
        return result_once_home(run)
    return {"ends": True} if has_gone else _not_home(run, job, why_not_home(results))


def _not_home(run: Run, job: Row, why: str) -> dict[str, t.Any]:
    """What to know of a run whose results are not all home."""
    if trouble := trouble_of_job(run, job):
        return {"trouble": trouble}
    if job["state"] in OVER:
        return still_billed(run, why)
    if job["state"] == RUNNING:
        runs = f"{run.request.name} runs. The same command follows it, and brings its results home."
        return {"lines": [runs, run.billed, f"To end it now: {run.command_to_end}"]}
    # As after a cut of the network at the start
    not_begun = f"The machine of the run {run.request.name} has not begun its job."
    return {"trouble": f"{not_begun} {run.billed} The same command starts it."}


PATIENCE = 1800.0  # seconds for which a machine may be silent; its job needs nobody


def new_lines(shown: t.Sequence[str], lines: t.Sequence[str]) -> t.Sequence[str]:
    """Of the newest lines of a log, those that the last look has not shown; its last line may have had no end yet."""
    for before in (shown, shown[:-1]):
        for start in range(len(before)):
            if lines[: len(before) - start] == before[start:]:
                return lines[len(before) - start :]
    return lines
