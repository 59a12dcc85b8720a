# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides the next step of a run from its record, the plan of its host, and the answer of its machine.

A run can resume here after its controller died. `run_request` has the user's request, `run_record` what is noted.
"""

from __future__ import annotations

import enum
import math
import typing as t
from dataclasses import asdict

from .. import _text
from .._machine.job_state import NONE, OVER, RUNNING
from .._text import amount, formatted, ids_in_words, joined, mapping_of, one_line, seconds_of, summary_of, usd
from . import lease, search
from .declaration import why_protected
from .entry import Entry
from .messages import NOTHING_BOUGHT, nothing_billed
from .order import GROUP_OF_RUNS
from .run_record import (
    GONE,
    HOME,
    ORDERED,
    STARTED,
    Run,
    as_sentence,
    incomplete_result,
    last_result,
    limits_of,
    result_once_home,
    why_not_home,
)
from .run_request import RESULTS_SECONDS, SHORTEST_JOB, Request, in_minutes, lease_of, lease_text, quote_lines
from .storage import storage_in_words

Row = t.Mapping[str, t.Any]


class Course(enum.Enum):
    """The course that a command takes once the plan of its host is known. The values are shown to users."""

    BUY = "It buys a machine."
    RESUME = "It already has a machine: nothing is bought."
    LOST = "Its machine is gone: no other is bought for a job that may have begun."
    END = "Its results are home: nothing is bought."


def course(phase: str, *, is_free: bool) -> Course:
    """Choose the course of a command. If the job may have begun, no second machine is bought for it.

    ``phase``: from the record. ``is_free``: nothing is or may be billed for the host.
    """
    if phase == HOME:
        return Course.END
    if is_free and phase == STARTED:
        return Course.LOST
    return Course.BUY if is_free else Course.RESUME


def begin(run: Run) -> dict[str, t.Any]:
    """Return host, job and role variables for the plays; no host if the run is over or its name is in use."""
    request = run.request
    if trouble := why_name_in_use(run):
        return {"trouble": f"{trouble} {NOTHING_BOUGHT}"}
    if run.is_done:
        whole = "Its whole command with " if request.by_name else ""
        again = f"Nothing was bought. {whole}-e run_again=true runs it once more."
        return last_result(run.record, request.folder, again, *_uncompared(request))
    role = {"provision_spec": dict(request.spec), "provision_max_bill": request.max_bill}
    return {
        "hosts": [request.host],
        "job": asdict(request),
        # The market is searched with the shortest lease that the run may get.
        "role": {**role, "provision_lease": lease_text(request.least_lease)},
    }


def _uncompared(request: Request) -> list[str]:
    """A line about what does not identify a job. Secret values could be guessed from a digest."""
    line = "Values of run_env are not compared: this job may have had others than yours."
    return [line] if request.environment else []


def _unchanged(run: Run) -> list[str]:
    """Lines about what the command gives, and the begun job does not take."""
    asked, limits = mapping_of(run.record.get("asked")), limits_of(run.request)
    names = " and ".join(name for name, value in limits.items() if asked.get(name, value) != value)
    kept = [f"The job keeps the limits with which it began: other values of {names} change nothing."] if names else []
    return kept + _uncompared(run.request)


def why_name_in_use(run: Run) -> str:
    """Return why this job may not begin: another job under its name is not over; empty if none is."""
    name, record = run.request.name, run.record
    if not run.is_begun or record.get("digest") == run.request.digest:
        return ""
    return (
        f"The run {name} is not over, and it is another job: {record.get('command')}. Its command, setup, files or"
        " names of environment variables differ from yours. Choose another run_name for yours. To follow the other job"
        f" and bring its results home, give -e run_name={name} alone. To give it up: {run.command_to_end}, and then"
        f" -e run_name={name} alone."
    )


def why_stopped(run: Run) -> str:
    """Return why a command stops, for example because another command has changed the run; empty if it goes on."""
    over = f"Another command has finished the run {run.request.name}. Repeat yours to see the outcome."
    return why_name_in_use(run) or (over if run.is_done else why_in_doubt(run))


def why_in_doubt(run: Run) -> str:
    """Return why a begun run stops: the registry lost its machine, or has another one; empty if it goes on."""
    begun = f"The run {run.request.name} began with offer {run.record.get('offer_id')}"
    if not run.missing_offer or run.is_over:
        return ""
    if run.entry.may_have_bought:
        return (
            f"{begun}, but {run.request.host} now has the machine of another run (offer {run.entry.offer_id}). That"
            " machine stays. Choose another run_name."
        )
    return (
        f"{begun}, but the registry has neither its machine nor its end: IT MAY BE BILLED. Does the run belong to"
        " another inventory or registry? compute_index.supply.audit shows what runs. If nothing runs, move run.json"
        " away."
    )


def failure_message(stopped: Row, run: Run, reason: str) -> str:
    """Say what is billed after a command failed for this ``reason``, and how to go on.

    ``stopped``: the result of the step `run_next`; if it has a trouble, that says both.
    """
    if stopped.get("trouble"):
        return str(stopped["trouble"])
    if not (run.entry.may_have_bought or why_in_doubt(run)):
        stays = storage_in_words(run.request.host, run.entry.kept_storage)  # of a machine that failed before the job
        return joined(summary_of(reason), stays or nothing_billed(run.request.host))
    is_known = run.entry.ends_at and not run.entry.is_open
    billed = run.billed if is_known else f"{run.request.host} may have a machine that is billed."
    return joined(summary_of(reason), billed, f"Repeat the command to go on. To end the machine: {run.command_to_end}")


def lease_for(course: Course, run: Run, price: float | None, refusal: str, *, has_registry: bool) -> float:
    """The lease in seconds: of the machine to buy, or as it was bought. Raises ValueError if nothing may be bought.

    ``price``: of the offer, in USD per hour; ``refusal``: why the plan has none, or empty.
    """
    request, entry = run.request, run.entry
    if entry.may_have_bought and GROUP_OF_RUNS not in entry.groups:
        raise ValueError(
            f"{request.host} has a machine that was not bought by a run ({ids_in_words(entry.resource_ids)})."
            f" Choose another run_name. {NOTHING_BOUGHT}"
        )
    ordered = mapping_of(run.record.get("asked")).get("run_spec") if run.phase == ORDERED else None
    if course is Course.RESUME and ordered not in (None, dict(request.spec)):
        raise ValueError(
            f"{request.host} has a machine that was bought for another run_gpu or run_spec. {run.billed} To end it:"
            f" {run.command_to_end}. {NOTHING_BOUGHT}"
        )
    if refusal and course in (Course.BUY, Course.RESUME):  # else nothing is bought, whatever the plan says
        raise ValueError(refusal)
    if course is not Course.BUY:
        return lease_seconds(request, entry)
    if not has_registry:
        raise ValueError(
            "A run needs a registry to remember its machine, but provision_registry_dir is empty. Leave that variable"
            f" out, or set provision_registry_url. {NOTHING_BOUGHT}"
        )
    if run.unswept and not request.unswept:
        raise ValueError(f"{run.unswept} To run it without sweeps this once, add -e run_unswept=true. {NOTHING_BOUGHT}")
    return lease_of(request, price)


def lease_seconds(request: Request, entry: Entry) -> float:
    """The lease in seconds with which a machine was bought; the requested one if the registry has none."""
    leased = lease.noted_time_limit(entry.leased)
    return request.least_lease if leased is None else leased.seconds or request.least_lease


def why_unenforced(host: str, protect: t.Any, unswept: str) -> str:
    """Return why no sweep would end the machine if the command is killed; empty if one would.

    ``protect``: the host's variable; ``unswept``: why no sweep is known, or empty.
    """
    if not why_protected(host, protect, Entry()):
        return unswept
    return f"No sweep would end {host}, since its group has provision_protect: choose another provision_group."


def play_after_quote(run: Run, found: Row, *, has_registry: bool, check_mode: bool) -> dict[str, t.Any]:
    """Return what the play does after step ``quote``, whose result is ``found``. Raises ValueError if it must not buy.

    If the job may have begun, ``offer_id`` restricts the role to the run's own offer: otherwise, if that machine ends
    at this moment, the role would buy another one, and the job would run twice. ``verify`` is ``none`` then, since a
    test would disturb the job.
    """
    if trouble := why_stopped(run):
        raise ValueError(f"{trouble} {NOTHING_BOUGHT}")
    host = run.request.host
    chosen = course(run.phase, is_free=found["plans"].get(host, {}).get("is_new") is True)
    offer = found["ansible_stats"]["data"]["quote"]["hosts"].get(host, {})
    price, refusal = _text.read_price(offer.get("price_per_hour")), str(found["refusals"].get(host) or "")
    seconds = lease_for(chosen, run, price, refusal, has_registry=has_registry)
    lines = [chosen.value, *(_unchanged(run) if run.is_begun else ())]
    if chosen is Course.BUY:
        registry = str(found["common"]["registry"])
        bill = search.cost_in_usd(price, seconds) or run.request.max_bill
        lines = quote_lines(offer, seconds - RESULTS_SECONDS, bill, registry[:1].upper() + registry[1:])
    may_run, provisions = run.phase == STARTED, chosen in (Course.BUY, Course.RESUME) and not check_mode
    if provisions and run.request.follow:  # Ansible lets no plugin say this when it is stopped
        goes_on = f"After Ctrl-C it goes on at {_text.usd_short(price)}; the same command follows it."
        lines += [goes_on, f"To end it: {run.command_to_end}"]
    return {
        "provisions": provisions,
        "lost": chosen is Course.LOST,
        "goes_on": not check_mode,
        "lease": lease_text(seconds),
        "offer_id": _text.text_of(run.record.get("offer_id")) if may_run else "",
        "verify": "none" if may_run else "",
        "lines": lines,
    }


# Steps on the machine

# For a machine that does not answer: only its registry knows whether a sweep or another computer has ended it.
OR_ENDED = "If something else may have ended its machine, stop (Ctrl-C), and repeat the command."


def next_on_machine(run: Run, job: Row) -> dict[str, t.Any]:
    """Decide whether the job starts, by the machine's answer ``job``. ``trouble``: why the play stops.

    If the job starts, ``seconds`` is its time limit, and ``until`` the new end of the lease, if that changes.
    """
    if trouble := why_stopped(run):  # another command has changed the run, and a machine may have been bought for it
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
    """Return why the job cannot be followed: no answer, another job, or a lost disk; empty if it can."""
    machine, to_end = f"The machine of the run {run.request.name}", f"end the machine: {run.command_to_end}"
    if job.get("lost_sight") or job.get("state") not in (NONE, RUNNING, *OVER):
        why = as_sentence(str(job.get("msg") or "it did not answer"))
        return f"{machine} did not report on its job: {why} {run.billed} Repeat the command to ask again."
    if job["state"] == NONE:
        lost = f"{machine} has lost its job, which had begun: it is not started again."
        return f"{lost} {run.billed} To {to_end}" if run.record.get("began_at") else ""
    if job.get("digest") == run.request.digest:
        return ""
    # Another computer may have started it.
    command = one_line(str(job.get("command") or "")) or "its command is not known"
    return (
        f"{machine} has another job: {command} ({job['state']}). The results of that job are not home. {run.billed}"
        f" Repeat its command, or {to_end}."
    )


_SHORTEST_START = 60  # seconds that a job gets at least
# Seconds by which a lease may exceed the bill: it is rounded, and the purchase is noted before the lease.
_SLACK = 120.0


def _start(run: Run) -> dict[str, t.Any]:
    """Start the job now, with a time limit that ends an hour before the lease.

    The lease is shortened to what the bill pays for: another command may have bought the machine, or it costs more
    than the offer said.
    """
    request, noted, paid = run.request, run.entry.lease_end, _paid_until(run.request, run.entry)
    until = paid if paid and (noted is None or noted - paid >= _SLACK) else None
    end = min(filter(None, (noted, paid)), default=run.now + request.least_lease)
    seconds = math.floor(min(end - RESULTS_SECONDS - run.now, request.seconds or math.inf))
    if seconds < _SHORTEST_START:
        return {
            "trouble": f"The machine of the run {request.name} has no time left for the job and the hour for its"
            f" results: see its lease, and run_max_bill (USD {amount(request.max_bill)} at"
            f" {usd(run.entry.price_per_hour)}). {run.billed} To end the machine: {run.command_to_end}."
        }
    lines = [f"The job may take {in_minutes(seconds)}, since the lease of its machine ends at {formatted(end)}."]
    is_less = until is not None or seconds < (request.seconds or 2 * SHORTEST_JOB) - SHORTEST_JOB
    return {
        **{"starts": True, "copies": bool(request.files), "seconds": seconds, "until": until},
        "lines": lines if is_less else [],
    }


def _paid_until(request: Request, entry: Entry) -> float | None:
    """The moment until which the bill pays for the machine; None if its price or its purchase time is unknown."""
    bought, price = seconds_of(entry.journaled_at), entry.price_per_hour
    return bought + search.seconds_for_bill(request.max_bill, price) if price and bought is not None else None


def over_result(run: Run, job: Row, results: Row, *, has_gone: bool) -> dict[str, t.Any]:
    """Decide whether the machine ends (``ends``), or return the outcome. ``results``: of their transfer."""
    if run.phase == GONE:  # another command has ended it meanwhile
        return last_result(run.record, run.request.folder)
    if run.phase == HOME:
        return result_once_home(run)
    return {"ends": True} if has_gone else _result_not_home(run, job, why_not_home(results))


def _result_not_home(run: Run, job: Row, why: str) -> dict[str, t.Any]:
    """The outcome for a run whose results are not all home."""
    if trouble := trouble_of_job(run, job):
        return {"trouble": trouble}
    if job["state"] in OVER:
        return incomplete_result(run, why)
    if job["state"] == RUNNING:
        runs = f"{run.request.name} runs. Repeat the command to follow it and bring its results home."
        return {"lines": [runs, run.billed, f"To end it now: {run.command_to_end}"]}
    # For example after a network failure at the start
    not_begun = f"The machine of the run {run.request.name} has not begun its job."
    return {"trouble": f"{not_begun} {run.billed} Repeat the command to start it."}


PATIENCE = 1800.0  # seconds for which a machine may be silent; its job needs no connection


def new_lines(shown: t.Sequence[str], lines: t.Sequence[str]) -> t.Sequence[str]:
    """The newest lines of a log that were not ``shown`` before; the last shown line may have been incomplete."""
    for before in (shown, shown[:-1]):
        for start in range(len(before)):
            if lines[: len(before) - start] == before[start:]:
                return lines[len(before) - start :]
    return lines
