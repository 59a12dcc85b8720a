# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tasks of a run need of the decisions in `running`, as plain mappings that a person can read at -v."""

from __future__ import annotations

import contextlib
import math
import re
import typing as t
from dataclasses import dataclass, field

from .._machine.job_state import NONE, RUNS, SUCCEEDED
from .._moments import seconds_of
from .._text import number_of
from .._wording import wrapped
from . import lease, prices, registration, running, spending
from . import running_report as report
from .entry import Entry
from .messages import NOTHING_BOUGHT, ids_of, joined
from .place import Place
from .running import First, Next, Outcome, Request, Trace, Way
from .running_report import GROUP

Row = t.Mapping[str, t.Any]
SWEEP = "reap__sweep"  # what a sweep has handed to a host
_EARLIER = 60.0  # seconds by which clocks may differ between a record and the purchase that follows it


def result(blank: Row, found: Row) -> dict[str, t.Any]:
    """The result of a step; it says whether there are lines to show, so that no playbook decides that."""
    return {**blank, **found, "has_lines": bool(found.get("lines"))}


def begun(first: First, request: Request, job: Row) -> dict[str, t.Any]:
    """What the plays of a command work on; no host if the run is over, or if another job under its name is not."""
    if first is First.REFUSED:
        return {"trouble": report.refused(job["record"], request.name)}
    if first is First.DONE:
        again = "Nothing was bought. -e run_again=true runs it once more."
        return last_result(job["record"], job["folder"], again)
    role = {"provision_spec": dict(request.spec), "provision_max_bill": request.max_bill}
    return {"hosts": [request.host], "job": job, "role": {**role, "provision_lease": running.shortest(request)}}


def last_result(record: Row, folder: str, *further: str) -> dict[str, t.Any]:
    """The last word, and in ``trouble`` that a job did not succeed, or has lost results."""
    is_good = record.get("state") == SUCCEEDED and record.get("complete") is True
    failed = "" if is_good else joined(report.ended(record), report.incomplete(record))
    return {"lines": [*report.last_word(record, folder), *further], "trouble": failed}


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


@dataclass(frozen=True)
class RunView:
    """A run as a step sees it. ``digest``: of the job that is asked for; ``record``: what is noted under its name.

    ``entry``: of its host; ``ledger``: of its registry; ``now``: by the clock of that.
    """

    request: Request
    digest: str = ""
    record: Row = field(default_factory=dict)
    entry: Entry = field(default_factory=Entry)
    ledger: spending.Ledger = field(default_factory=lambda: spending.Ledger((), 0.0))
    now: float = 0.0

    @property
    def trace(self) -> Trace:
        """What the registry says of the machine with which the run was begun, by the ends that its ledger has.

        No other purchase ends for this run, or counts as its end.
        """
        is_begun = self.record.get("phase") in (running.STARTED, running.HOME)
        offer_id = self.record.get("offer_id") if is_begun else None
        if not offer_id or self.entry.offer_id == offer_id:
            return Trace.SAME
        if self.entry.names_purchase:
            return Trace.ANOTHER
        has_ended = any(bill.offer_id == offer_id and not bill.runs for bill in self.ledger.bills)
        return Trace.ENDED if has_ended else Trace.FORGOTTEN


def still_first(run: RunView) -> First:
    """What the command does by the record as it is now. Raises ValueError if another command has changed it meanwhile.

    Between two looks at it, that command may have begun another job, or have come to the end of this one.
    """
    found = running.first(run.record, run.digest, again=run.request.again)
    if found is First.REFUSED:
        raise ValueError(report.refused(run.record, run.request.name))
    if found is First.DONE:
        over = f"The run {run.request.name} has come to its end meanwhile."
        raise ValueError(f"{over} The same command says what became of it. {NOTHING_BOUGHT}")
    return found


def broken(refused: Row, run: RunView, reason: str) -> str:
    """What to know of a run whose command failed, for this ``reason``.

    ``refused``: of the step that found what to do with the machine; its trouble says itself what to do next.
    """
    record = {**run.record, "host": run.request.host}
    billed = run.entry.names_purchase or run.trace is Trace.FORGOTTEN
    return str(refused.get("trouble") or report.broken(record, reason, run.entry.ends_at, may_be_billed=billed))


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


def lease_for(way: Way, request: Request, found: Quoted, entry: Entry, unswept: str, *, has_registry: bool) -> float:
    """The seconds of the lease: of the purchase, or what the machine has. Raises ValueError: why nothing may be bought.

    ``unswept``: why no sweep is known to end the machine; empty if one is.
    """
    if entry.names_purchase and GROUP not in entry.groups:
        raise ValueError(
            f"The registry knows a machine of {request.host} that no run has bought ({ids_of(entry.resource_ids)})."
            f" Choose another run_name. {NOTHING_BOUGHT}"
        )
    if way is Way.REFUSED:
        raise ValueError(found.refusal)
    if way is not Way.BUY:
        return lasting(request, entry)
    if not has_registry:
        raise ValueError(
            "A run needs a registry, which remembers its machine, and provision_registry_dir is empty. Leave that out,"
            " or set provision_registry_url."
        )
    if unswept and not request.unswept:
        raise ValueError(f"{unswept} To run it without sweeps this once, add -e run_unswept=true. {NOTHING_BOUGHT}")
    return running.lease_of(request, found.price_per_hour)


def ways(way: Way, first: First, *, check_mode: bool) -> dict[str, bool]:
    """What the play does now: it provisions the host, or ends its machine; in check mode neither.

    ``first``: what the record says. Results of an earlier run are set aside before anything is noted.
    """
    return {
        "provisions": way in (Way.BUY, Way.LOOK) and not check_mode,
        "ends": way in (Way.END, Way.LOST) and not check_mode,
        "lost": way is Way.LOST,
        "goes_on": not check_mode,
        "sets_aside": way in (Way.BUY, Way.LOOK) and first is First.ANEW and not check_mode,
    }


def quote_lines(way: Way, request: Request, found: Quoted, seconds: float) -> list[str]:
    """What a person reads before anything is bought. ``seconds``: of the lease."""
    if way is not Way.BUY:
        return wrapped(report.WAYS[way.value], indent="  ")
    price = found.price_per_hour
    bill = prices.bill_of(price, seconds) or request.max_bill
    return report.quote(found.host, seconds - running.TAIL, bill, found.registry)


def next_of(run: RunView, job: Row) -> dict[str, t.Any]:
    """What is done with the machine, which has answered ``job``; why nothing can be, in ``trouble``.

    ``until``: when its lease ends from now on; None if that stays as it is.
    """
    following = running.on_machine(job, run.digest, by_name=run.request.by_name)
    trouble = _changed(run) or _next_trouble(following, run, job)
    nothing = {"starts": False, "copies": False, "trouble": trouble, "until": None}
    try:
        return {**nothing, **(_start(run) if following is Next.START and not trouble else {})}
    except ValueError as error:
        return {**nothing, "trouble": str(error)}


def _start(run: RunView) -> dict[str, t.Any]:
    """How many seconds a job may take that starts now, and a line if that is less than was asked for.

    Raises ValueError if the machine leaves no time for it.
    """
    request, entry = run.request, run.entry
    until = running.earlier_end(request, entry, run.now)
    end = seconds_of(entry.ends_at) if until is None else until
    seconds = running.time_left(end, run.now, lasting(request, entry))
    is_short = until is not None or seconds < (request.seconds or 2 * running.LEAST) - running.LEAST
    lines = report.may_take(seconds, end) if end is not None and is_short else []
    return {"starts": True, "copies": bool(request.files), "seconds": seconds, "until": until, "lines": lines}


def check_job(job: Row, digest: str, name: str) -> None:
    """Raise ValueError if the machine has another job than the one that was followed, as of another computer."""
    if job.get("digest") not in (None, "", digest):
        raise ValueError(report.other_job(name, job))


def _changed(run: RunView) -> str:
    """Why the machine is left alone: another command has changed the run since it was provisioned. Else empty."""
    try:
        still_first(run)
        check_trace(run)
    except ValueError as error:  # a machine may have been bought for it
        return joined(str(error).removesuffix(NOTHING_BOUGHT).strip(), report.billed_until(run.entry.ends_at))
    return ""


def _next_trouble(following: Next, run: RunView, job: Row) -> str:
    """Why nothing can be done with the machine; empty if something can."""
    name, billed_until = run.request.name, report.billed_until(run.entry.ends_at)
    if following is Next.HALF_KNOWN:
        return (
            f"Repeat the whole command: the job of {name} has not begun, and its name alone does not say which code,"
            f" setup and environment it needs. {billed_until}"
        )
    if following is Next.OTHER:
        return report.other_job(name, job)
    if following is Next.START and run.record.get("phase") == running.STARTED and run.record.get("began_at"):
        # As after a start with an empty disk
        return (
            f"The machine of the run {name} knows nothing of its job any more, which had begun: it is not started"
            f" again. {billed_until} To end the machine: {report.end_of(run.record)}"
        )
    return report.unread(name, job, run.entry.ends_at) if following is Next.UNREAD else ""


def lasting(request: Request, entry: Entry) -> float:
    """The seconds of the lease that a machine was bought for; those that are asked for if the registry has none."""
    with contextlib.suppress(ValueError):
        if seconds := lease.read_lease(entry.leased).seconds:
            return seconds
    return (request.seconds or running.LEAST) + running.TAIL


def ends_earlier(until: float) -> dict[str, t.Any]:
    """The changes to an entry so that a sweep ends its machine at this moment, however long its lease was."""
    return {lease.ENDS_AT: lease.utc(until), lease.LEASED: lease.utc(until)}


def why_not_home(results: Row) -> str:
    """Why the results could not be fetched; empty if the transfer has come to its end.

    No playbook's task may fail for it, so Ansible takes away that it has. A limit of time leaves nothing but a message.
    """
    return str(results.get("msg" if "complete" not in results else "fault") or "")


def kept_result(record: Row, folder: str, entry: Entry) -> dict[str, t.Any]:
    """The result of a step while the machine of a failed job is kept."""
    return {"lines": report.kept(record, folder, entry.price_per_hour), "trouble": report.ended(record)}


def over_result(record: Row, found: Outcome, folder: str, job: Row, entry: Entry, why: str) -> dict[str, t.Any]:
    """The result of the step: whether the machine ends, and else what a person must know. ``why``: of the transfer."""
    if found.ends:
        return {"ends": True}
    if found.kept_until is not None:
        return kept_result(record, folder, entry)
    if found.is_over:
        lines = report.still_billed(record, folder, entry.ends_at, why)
        return {"lines": lines, "trouble": joined(*map(str.strip, lines))}
    if found.state in RUNS and not job.get("lost_sight"):
        return {"lines": report.goes_on(record, entry.ends_at)}
    name = str(record.get("name"))
    if found.state == NONE:  # as after a cut of the network at the start
        not_begun = f"The machine of the run {name} has not begun its job."
        return {"trouble": f"{not_begun} {report.billed_until(entry.ends_at)} The same command starts it."}
    return {"trouble": report.unread(name, job, entry.ends_at)}


def earlier_offers(ledger: spending.Ledger, host: str, entry: Entry) -> list[str]:
    """The offers of all purchases of a host but for the one that its entry names."""
    return sorted({bill.offer_id for bill in ledger.bills if bill.host == host} - {entry.offer_id})


def cost(ledger: spending.Ledger, host: str, record: Row) -> float | None:
    """What the purchases of a run's host have cost at most (USD); None if that of one is unknown, or there is none.

    What was bought before the run was ordered was for another one. A record that was noted by a sweep does not name it.
    """
    earlier, since = record.get("earlier_offers"), (seconds_of(record.get("ordered_at") or "") or 0.0) - _EARLIER
    bills = [
        bill
        for bill in ledger.bills
        if bill.host == host
        and (bill.begin is None or bill.begin >= since if earlier is None else bill.offer_id not in earlier)
    ]
    if not bills or not all(bill.is_known(ledger.now) for bill in bills):
        return None
    return spending.cents(sum(bill.cost(0.0, ledger.now) for bill in bills))


def late_folder(name: str, record: Row, got: Row) -> str:
    """The folder of what a sweep fetches. If the ``record`` there is of another run, one of this purchase alone.

    Computers that share a registry have results of their own, so an old run of the name may be another one's.
    """
    digest, offer_id = (got.get("run__late_job") or {}).get("digest"), str((got.get(SWEEP) or {}).get("offer_id") or "")
    differs = [record.get("digest") != digest if digest else False, record.get("offer_id") not in (None, offer_id)]
    return f"{name}.{re.sub('[^0-9A-Za-z-]', '_', offer_id)}" if record and offer_id and any(differs) else name


def late(name: str, record: Row, got: Row, given: Row, now: float, *, skips: bool) -> dict[str, t.Any]:
    """What a sweep fetches of a run, and for how many seconds, at most until its lease ends: then its machine ends.

    ``skips``: nothing is fetched, since a command does it right now, or in check mode. A host of the group need not be
    a run's, whose name is a folder's.
    """
    job, ends_at = got.get("run__late_job") or {}, number_of((got.get(SWEEP) or {}).get("ends_at"))
    left = math.inf if ends_at is None else max(1.0, ends_at - now)
    seconds = min(running.read_fetch_timeout(given, []), left)
    return {
        "name": name,
        "paths": list(job.get("results") or ()),
        "seconds": math.ceil(seconds),
        "fetches": not (running.is_here(record) or skips) and bool(running.name_of({"run_name": name}, [])),
    }


def swept(record: Row, got: Row) -> list[dict[str, t.Any]]:
    """The new record once a sweep has fetched what it could; none if it has fetched nothing, or the job is not over.

    Nor if a command has come to its end meanwhile, which knows more.
    """
    job, results = got.get("run__late_job") or {}, got.get("run__late_results") or {}
    asked = got.get("run__late") or {}
    # What the job has not written is no reason to come again: a sweep ends no machine for its results.
    found = running.outcome(job, {**results, "missing": []}, keep=0, now=0.0, ends_at=None)
    if running.is_here(record) or not (asked.get("fetches") and found.is_over):
        return []
    known = {"name": asked.get("name"), "host": report.host_of(str(asked.get("name"))), "digest": job.get("digest")}
    known["offer_id"] = (got.get(SWEEP) or {}).get("offer_id")  # so that it is no other machine that ends for it
    return [running.over(record or {**known, "phase": running.STARTED}, found, job, results)]


def swept_lines(record: Row, got: Row, folder: str) -> list[str]:
    """What a sweep has brought home."""
    name = str((got.get("run__late") or {}).get("name"))
    if record.get("complete"):
        return [f"The results of {name} are home: {folder}"]
    why = why_not_home(got.get("run__late_results") or {}) or str((got.get("run__late_job") or {}).get("msg") or "")
    return report.swept_in_part(name, folder, why)


def machine(place: Place, host: str, entry: Entry, known_hosts: str) -> dict[str, t.Any]:
    """A run's host as a play takes it, with how its machine is reached."""
    reached = registration.connection_of(entry, known_hosts, is_shared=place.hands_facts)
    return {"host": host, "groups": list(entry.groups), "reached": reached}


Remembered = tuple[Place, str, Entry]


def of_runs(remembered: t.Iterable[Remembered]) -> list[Remembered]:
    """Those whose entries are of a run's machine, or of a purchase that may become one; kept storage is neither."""
    return [
        (place, host, entry)
        for place, host, entry in remembered
        if entry.names_purchase and GROUP in entry.groups and not entry.storage_of
    ]


def all_runs(
    records: t.Iterable[Row], machines: t.Iterable[Remembered], jobs: Row, ledgers: t.Iterable[spending.Ledger]
) -> list[dict[str, t.Any]]:
    """All runs: those with a record, and those whose machines only a registry knows; those with machines come first.

    ``jobs``: what machines have answered, by their hosts.
    """
    entries = {host: entry for _place, host, entry in machines}
    known: dict[str, Row] = {host: {"name": running.run_of(host), "host": host, "state": "unknown"} for host in entries}
    # Of the runs of one name the newest is in the folder of that name.
    known.update({str(record.get("host")): record for record in records if record.get("folder") == record.get("name")})
    books = list(ledgers)
    found = [_run(record, entries.get(host), jobs.get(host) or {}, books) for host, record in known.items()]
    return sorted(found, key=lambda item: (not item["machine"], str(item["name"])))


def _run(record: Row, entry: Entry | None, job: Row, ledgers: t.Sequence[spending.Ledger]) -> dict[str, t.Any]:
    """The row of a run. The record knows its cost once it is over, the ledger before that."""
    answered = {name: job[name] for name in ("state", "began_at", "ended_at", "exit_code") if job.get(name)}
    lines = job.get("log") or record.get("last_lines") or [""]
    costs = [cost(ledger, str(record.get("host")), record) for ledger in ledgers]
    spent = record.get("cost_usd") if entry is None else next((usd for usd in costs if usd is not None), None)
    return {
        **{name: record.get(name) for name in ("name", "host", "ordered_at", "state", "began_at", "ended_at")},
        **{"exit_code": record.get("exit_code"), "complete": record.get("complete"), **answered},
        "machine": list(entry.resource_ids) if entry else [],
        "usd": spent,
        "last_line": str(lines[-1]),
    }
