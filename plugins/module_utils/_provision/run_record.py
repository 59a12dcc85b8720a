# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a run: its phase, the outcome of its job, its results, and the messages about them.

Each part of a run is remembered in one place: its job on the machine, its purchase in the registry, and all else in the
record (`run.json`, in the folder of its results), which outlives both.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import typing as t
from dataclasses import dataclass, field

from .. import _text
from .._machine.job_state import NONE, OVER, RUNNING, SUCCEEDED
from .._text import amount, applicable, formatted, items_of, joined, one_line, plural, seconds_of, usd
from . import lease, spending
from .entry import Entry
from .order import GROUP_OF_RUNS
from .place import Place
from .run_request import RESULTS_SECONDS, Request, host_of, in_minutes, read_fetch_timeout, read_name, run_of
from .storage import storage_in_words

Row = t.Mapping[str, t.Any]

# The phases of a run, each noted before it begins
ORDERED, STARTED, HOME, GONE = "ordered", "started", "home", "gone"
LOST = "lost"  # the state of a job that ended with its machine; all other states come from the machine
_JOB_VARIABLES = ("run_command", "run_setup", "run_files", "run_env", "run_gpu", "run_spec")
_FROM_JOB = ("exit_code", "reason", "began_at", "ended_at")
_FROM_RESULTS = ("files", "missing", "incomplete")
_LOG_LINES = 5  # that the record keeps


_TEXT, _NUMBER, _LIST = ("text", (str,)), ("a number", (int, float)), ("a list", (list,))
_FORMS: dict[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys(("name", "host", "command", "digest", "phase", "state", "offer_id", "reason", "stays"), _TEXT),
    **dict.fromkeys(("ordered_at", "began_at", "ended_at"), _TEXT),
    **dict.fromkeys(("exit_code", "files", "cost_usd", "kept_until"), _NUMBER),
    **dict.fromkeys(("earlier_offers", "missing", "incomplete", "last_lines"), _LIST),
    "asked": ("a mapping", (dict,)),
    "complete": ("true or false", (bool,)),
}


def check_record(record: t.Any) -> dict[str, t.Any]:
    """The record. Raises ValueError if a person has written something else into it than this collection does."""
    if not isinstance(record, dict):
        raise ValueError("it is not a mapping")
    for name, (form, types) in _FORMS.items():
        if not isinstance(record.get(name), (*types, type(None))):
            raise ValueError(f"{name} must be {form}, not {_text.printable(str(record[name]), 60)}")
    if (phase := record.get("phase", GONE)) not in (ORDERED, STARTED, HOME, GONE):
        raise ValueError(f"phase must be {ORDERED}, {STARTED}, {HOME} or {GONE}, not {_text.printable(str(phase), 60)}")
    if not all(isinstance(item, dict) for item in record.get("incomplete") or ()):
        raise ValueError("incomplete must be a list of mappings")
    return record


def with_variables_of_run(given: Row, record: Row) -> Row:
    """The given variables. If they only name a run that has begun or is over, its recorded ones are added.

    Until it is over, ``run_results`` is added in any case, so that a repeated command without it fetches the same
    results. With ``run_again``, a run that is over gives nothing to the next one.
    """
    asked, phase = record.get("asked") or {}, record.get("phase")
    is_going_on, is_over = phase in (STARTED, HOME), phase == GONE and not given.get("run_again")
    if not any(given.get(name) for name in _JOB_VARIABLES):
        return {**asked, **given} if is_going_on or is_over else given
    return {"run_results": asked.get("run_results"), **given} if is_going_on and asked else given


def has_job(record: Row) -> bool:
    """Whether its job was seen to have begun on a machine that may still exist."""
    return record.get("phase") in (STARTED, HOME) and bool(record.get("began_at"))


def digest_of(request: Request, code: str) -> str:
    """The digest that identifies a job. ``code``: the digest of its files, empty without any."""
    parts = [code, request.command, request.setup, sorted(request.environment)]
    return request.digest or hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Run:
    """The state of a run in a step: the request, the record, and the registry's entry and ledger of its host.

    ``now``: seconds since the epoch by the registry's clock. ``unswept``: why no sweep would end its machine, or empty.
    """

    request: Request
    record: Row = field(default_factory=dict)
    entry: Entry = field(default_factory=Entry)
    ledger: spending.Ledger = field(default_factory=lambda: spending.Ledger((), 0.0))
    now: float = 0.0
    unswept: str = ""

    @property
    def phase(self) -> str:
        """The phase in the record; empty if nothing is noted."""
        return str(self.record.get("phase") or "")

    @property
    def is_begun(self) -> bool:
        """Whether its job may have begun, and its machine may still exist."""
        return self.phase in (STARTED, HOME)

    @property
    def is_done(self) -> bool:
        """Whether this job is over, and should not run again."""
        return self.phase == GONE and self.record.get("digest") == self.request.digest and not self.request.again

    @property
    def missing_offer(self) -> str:
        """The offer that the run began with, if its host no longer has it; else empty."""
        offer_id = str(self.record.get("offer_id") or "") if self.is_begun else ""
        return "" if offer_id == self.entry.offer_id else offer_id

    @property
    def is_over(self) -> bool:
        """Whether another command has ended the run, or the registry says that its machine has ended."""
        if not self.missing_offer or self.entry.may_have_bought:
            return self.phase == GONE
        return self.ledger.has_ended(self.request.host, self.missing_offer)

    @property
    def billed(self) -> str:
        """A sentence that says how long its machine is billed."""
        end = self.entry.lease_end
        lease_ends = f"its lease ends{'' if end is None else f' at {formatted(end)}'}"
        return f"It is billed until {'you end it, since no sweep would' if self.unswept else lease_ends}."

    @property
    def command_to_end(self) -> str:
        """The command that ends its machine, even if its results are lost."""
        return f"compute_index.supply.decommission {_text.end_option([self.request.host])}"


def ordered(run: Run, now: str) -> dict[str, t.Any]:
    """The record before the machine is provisioned; unchanged if the run has begun.

    ``now``: the time as text. If another job was ordered under the name, the machine bought for it is used, so
    ``ordered_at`` stays. ``earlier_offers``: the host's purchases for earlier runs. ``asked``: the variables that a
    command with the name alone needs.
    """
    request, before = run.request, run.record
    if run.is_begun:
        return dict(before)
    offers = {bill.offer_id for bill in run.ledger.bills if bill.host == request.host} - {run.entry.offer_id}
    first = before if run.phase == ORDERED else {"ordered_at": now, "earlier_offers": sorted(offers)}
    asked = {
        **{"run_command": request.command, "run_spec": dict(request.spec), **limits_of(request)},
        **{"run_results": list(request.results), "run_digest": request.digest},
        "run_keep": f"{math.ceil(request.keep)}s" if request.keep else "",
    }
    return {
        **{"name": request.name, "host": request.host, "command": request.command, "digest": request.digest},
        **{"phase": ORDERED, "state": NONE, "asked": asked},
        **{name: first.get(name) for name in ("ordered_at", "earlier_offers")},
        **dict.fromkeys(("exit_code", "began_at", "ended_at", "offer_id", "cost_usd", "complete")),
    }


def limits_of(request: Request) -> dict[str, t.Any]:
    """The variables that limit a job, which a begun job keeps."""
    return {
        "run_max_bill": request.max_bill,
        "run_time": f"{math.ceil(request.seconds)}s" if request.seconds else "",
    }


def started(run: Run, now: str, job: Row) -> dict[str, t.Any]:
    """The record once its job may have begun. ``now``: the time as text; ``job``: the machine's answer."""
    record = _with_beginning(ordered(run, now), job)
    return record if run.is_begun else {**record, "phase": STARTED, "state": RUNNING, "offer_id": run.entry.offer_id}


def log_of(job: Row) -> list[str]:
    """The lines of a job's log, without control characters."""
    return [_text.printable(str(line), _text.LONGEST_LINE) for line in items_of(job.get("log") or [])]


def _with_beginning(record: Row, job: Row) -> dict[str, t.Any]:
    """The record with the time when the job began: a job that has begun is never started again."""
    return {**record, "began_at": record.get("began_at") or job.get("began_at")}


def _are_home(state: str, results: Row) -> bool:
    """Whether all results are home and checked.

    If a job succeeded but wrote no results, or not a file that is named without wildcards, ``run_results`` is probably
    mistyped, so the machine must stay.
    """
    missing = [str(path) for path in items_of(results.get("missing") or [])]
    lacks = any(not set("*?[") & set(path) for path in missing) or bool(missing and not results.get("files"))
    return results.get("complete") is True and (state != SUCCEEDED or not lacks)


def with_outcome(record: Row, job: Row, results: Row) -> dict[str, t.Any]:
    """The record with its results and the outcome of its job, if that is over."""
    state = job.get("state")
    if state in (RUNNING, *OVER) and job.get("digest") != record.get("digest"):
        return dict(record)  # another computer started this job
    if state not in OVER:
        return _with_beginning(record, job)
    are_home = _are_home(state, results)
    return {
        **record,
        **{name: job[name] for name in _FROM_JOB if name in job},
        **{name: results[name] for name in _FROM_RESULTS if name in results},
        "last_lines": log_of(job)[-_LOG_LINES:],
        **{"state": state, "complete": are_home, "phase": HOME if are_home else record.get("phase")},
    }


MACHINE_GONE = "its machine has gone"


def after_job(run: Run, job: Row, results: Row, *, has_gone: bool) -> dict[str, t.Any]:
    """Return the record once a command has followed its job, which is lost if its machine ended before the job did.

    ``kept_until``: when the machine ends after a failure (seconds since the epoch), or None. A sweep that brings
    results home leaves this decision to the next command, which knows ``run_keep``.
    """
    record = dict(run.record) if is_fetched(run.record) else with_outcome(run.record, job, results)
    if is_fetched(record):
        stays = run.request.keep and run.entry.may_have_bought and record["state"] != SUCCEEDED
        until = min(run.now + run.request.keep, run.entry.lease_end or math.inf)  # no longer than its lease
        return {**record, "kept_until": until if stays else None}
    if has_gone:
        lost = {} if record.get("state") in OVER else {"state": LOST, "reason": MACHINE_GONE}
        return {**record, **lost, "complete": False}
    return record


def after_end(run: Run) -> dict[str, t.Any]:
    """The record once the machine has ended. ``cost_usd``: at most; ``stays``: the remaining storage, in words."""
    host = run.request.host
    stays = storage_in_words(host, run.entry.kept_storage)
    return {**run.record, "phase": GONE, "cost_usd": cost_of_run(run.ledger, host, run.record), "stays": stays}


def is_settled(record: Row) -> bool:
    """Whether a command has already decided how long the machine is kept, or ended it."""
    return "kept_until" in record or record.get("phase") == GONE


def is_fetched(record: Row) -> bool:
    """Whether the results of the run are home, or gone with its machine."""
    return record.get("phase") in (HOME, GONE)


def cost_of_run(ledger: spending.Ledger, host: str, record: Row) -> float | None:
    """The largest cost of a run's purchases in USD; None without purchases, or if the cost of one is unknown."""
    earlier = record.get("earlier_offers") or ()
    bills = [bill for bill in ledger.bills if bill.host == host and bill.offer_id not in earlier]
    if not bills or not all(bill.is_known(ledger.now) for bill in bills):
        return None
    return spending.cents(sum(bill.cost(0.0, ledger.now) for bill in bills))


# Results that a sweep fetches


def is_fetch_due(entry: Entry, end: float | None, passed: float, since: float | None) -> bool:
    """Whether a sweep fetches the results of a host, since its lease may be over at the next sweep.

    ``passed``: seconds since the ``end`` of the lease. ``since``: seconds since the last sweep, None if unknown; the
    next one may take a quarter longer.
    """
    window = max(RESULTS_SECONDS, lease.SWEEPS if since is None else 1.25 * since)
    return GROUP_OF_RUNS in entry.groups and end is not None and -window <= passed < 0


def sweep_folder(name: str, record: Row, offer_id: str) -> str:
    """The folder for the results that a sweep fetches: the run's own, unless its record has another purchase.

    Computers that share a registry have their own folders, so this one may have another run of the same name.
    """
    is_same = not (record and offer_id) or record.get("offer_id") == offer_id
    return name if is_same else f"{name}.{re.sub('[^0-9A-Za-z-]', '_', offer_id)}"


def sweep_fetch(name: str, record: Row, job: Row, left: float, given: Row, *, skips: bool) -> dict[str, t.Any]:
    """What a sweep fetches for a run, and its time limit: at most the ``left`` seconds of the lease.

    If the machine has not said what its job is, nothing is fetched: the sweep would wait for it, and other leases would
    not be enforced. ``skips``: nothing is fetched, as in check mode. Hosts of the group whose names fit no run are
    skipped as well.
    """
    has_job = job.get("state") in (RUNNING, *OVER)
    return {
        "name": name,
        "paths": list(job.get("results") or ()),
        "seconds": math.ceil(max(1.0, min(read_fetch_timeout(given, []), left))),
        "fetches": has_job and not (is_fetched(record) or skips) and bool(read_name({"run_name": name}, [])),
    }


def after_sweep(record: Row, fetch: Row, job: Row, results: Row) -> Row:
    """The record once a sweep has fetched (`sweep_fetch`) the results of a job that is over; else unchanged.

    It is also unchanged if a command has finished the run meanwhile.
    """
    if is_fetched(record) or not fetch["fetches"] or job.get("state") not in OVER:
        return record
    new = {
        # The offer keeps a command from ending the machine of another purchase.
        **{"name": fetch["name"], "host": host_of(str(fetch["name"])), "offer_id": fetch["offer_id"], "phase": STARTED},
        **{"command": job.get("command"), "digest": job.get("digest"), "cost_usd": None},
    }
    return with_outcome(record or new, job, results)


def swept_line(name: str, record: Row, job: Row, results: Row, folder: str) -> str:
    """Say which results a sweep has brought home, or why they are incomplete."""
    if record.get("complete"):
        return f"The results of {name} are home: {folder}"
    why = why_not_home(results) or ("" if job.get("state") in OVER else str(job.get("msg") or ""))
    return f"The results of {name} are NOT complete: {as_sentence(why) or 'see run.json.'} Fetched so far: {folder}"


# Messages


def job_outcome(record: Row) -> str:
    """Say how the job ended, and how long it took."""
    why = one_line(str(record.get("reason") or ""))
    begin, end = seconds_of(record.get("began_at") or ""), seconds_of(record.get("ended_at") or "")
    lasted = "" if begin is None or end is None else f" after {in_minutes(max(0.0, end - begin))}"
    return f"{record.get('name')} {record.get('state')}{lasted}{f' ({why})' if why else ''}."


_LOST_RESULTS = (
    "Its results went with the machine, unless a sweep or another computer has brought them to its own inventory."
)


def last_result(record: Row, folder: str, *further: str) -> dict[str, t.Any]:
    """The outcome of a run whose machine has ended; in ``trouble`` if its job did not succeed, or results were lost.

    ``folder``: of its results, as messages show it.
    """
    usd_spent, outcome = record.get("cost_usd"), job_outcome(record)
    cost = "Its cost is unknown." if usd_spent is None else f"It cost at most USD {amount(usd_spent)}."
    lost, missing = "" if record.get("complete") else _LOST_RESULTS, ", ".join(map(str, record.get("missing") or []))
    log = [] if record.get("state") == SUCCEEDED else list(map(str, record.get("last_lines") or []))
    lines = {
        outcome: True,
        f"{record.get('stays') or 'Nothing is billed any more.'} {cost}": True,
        f"{lost} Results that arrived before are in {folder}.": lost,
        f"Results: {folder} ({plural(record.get('files') or 0, 'file')})": not lost,
        f"Not found on the machine: {missing}": missing,
        "The last lines of its log:": log,
    }
    is_success = record.get("state") == SUCCEEDED and not lost
    return {"lines": [*applicable(lines), *log, *further], "trouble": "" if is_success else joined(outcome, lost)}


def incomplete_result(run: Run, why: str) -> dict[str, t.Any]:
    """The outcome if a job is over, but not all results are home: its machine stays. ``why``: the transfer's fault."""
    not_home = _text.abridged(map(_path_and_reason, run.record.get("incomplete") or []))
    missing = _text.abridged(run.record.get("missing") or [])
    lines = [
        job_outcome(run.record),
        joined("Its results are NOT complete.", as_sentence(why), f"See {run.request.folder}."),
        *applicable({f"Not home: {not_home}.": not_home}),
        *applicable({f"Not written by the job: {missing}. To fetch other files, change run_results.": missing}),
        f"Its machine stays. {run.billed} Repeat the command to try again.",
        f"To end it without them: {run.command_to_end}",
    ]
    return {"lines": lines, "trouble": joined(*lines)}


def _path_and_reason(item: Row) -> str:
    path, reason = (one_line(str(item.get(name) or "")) for name in ("path", "reason"))
    return f"{path} ({reason})" if path and reason else path or reason


def as_sentence(why: str) -> str:
    """A reason as a sentence; empty for none."""
    return _text.sentence(one_line(why)) if why else ""


def result_once_home(run: Run) -> dict[str, t.Any]:
    """Decide whether a machine whose results are home ends now (``ends``), or with its lease (``run_keep``)."""
    until = run.entry.lease_end or 0.0
    if not (run.record.get("kept_until") and run.request.keep and run.now < until):
        return {"ends": True}
    outcome = job_outcome(run.record)
    lines = [
        outcome,
        f"Its machine stays (run_keep), at {usd(run.entry.price_per_hour)}. {run.billed}",
        f"Results: {run.request.folder}",
        f"To end it earlier: {run.command_to_end}",
    ]
    return {"lines": lines, "trouble": outcome}


def why_not_home(results: Row) -> str:
    """Return why the transfer of the results stopped; empty if it did not. A task that timed out has only ``msg``."""
    return str(results.get("msg" if "complete" not in results else "fault") or "")


_COLUMNS = {
    **{"run": "name", "state": "state", "since": "since", "machine": "machine_state", "USD": "usd"},
    "last line": "last_line",
}
_ANSWERED = ("state", "began_at", "ended_at", "exit_code")


def table_of_runs(runs: t.Sequence[Row], now: float) -> list[str]:
    """A table of all runs (`all_runs`). ``now``: seconds since the epoch."""
    rows = []
    for run in runs:
        moment = seconds_of(run.get("ended_at") or run.get("began_at") or run.get("ordered_at") or "")
        since = "-" if moment is None else _text.age(now - moment)
        # Another inventory's registry may have a machine whose end is not noted.
        machine_state = "billed" if run["machine"] else "gone" if run["has_ended"] else "unknown"
        rows.append({**run, "since": since, "machine_state": machine_state})
    return _text.narrow_table(rows, _COLUMNS, ("last line", "run")) if rows else ["There are no runs."]


def is_of_run(entry: Entry) -> bool:
    """Whether an entry is a run's machine, or a purchase that may become one, but not its kept storage."""
    return entry.may_have_bought and GROUP_OF_RUNS in entry.groups and not entry.storage_of


def all_runs(
    records: t.Iterable[Row],
    machines: t.Sequence[tuple[Place, str, Entry]],
    jobs: Row,
    places: t.Collection[Place],
    ledger_of: t.Callable[[Place], spending.Ledger],
) -> list[dict[str, t.Any]]:
    """All runs that have a record or a machine; those with machines come first.

    ``jobs``: the machines' answers by host. ``places``: the registries, whose ledgers have the cost of a run until its
    record has it: if a person ended the machine, no command of the run has noted that yet.
    """
    billed = {host: (place, entry) for place, host, entry in machines}
    runs: dict[str, Row] = {host: {"name": run_of(host), "host": host, "state": "unknown"} for host in billed}
    # The newest run of a name has the folder of that name.
    runs.update({str(record.get("host")): record for record in records if record.get("folder") == record.get("name")})
    rows = [_row(record, jobs.get(host) or {}) for host, record in runs.items()]
    for row in rows:
        host = str(row["host"])
        place, entry = billed.get(host, (None, Entry()))
        row.update(machine=list(entry.resource_ids), has_ended=runs[host].get("phase") == GONE)
        if place or row["usd"] is None:
            ledgers = list(map(ledger_of, [place] if place else places))
            costs = (cost_of_run(ledger, host, runs[host]) for ledger in ledgers)
            row["usd"] = next((cost for cost in costs if cost is not None), None)
            offer_id = str(runs[host].get("offer_id"))
            row["has_ended"] |= any(ledger.has_ended(host, offer_id) for ledger in ledgers)
    return sorted(rows, key=lambda row: (not row["machine"], str(row["name"])))


def _row(record: Row, job: Row) -> dict[str, t.Any]:
    """A run without its machine. The machine's answer, if any, takes precedence over the record."""
    row = {name: record.get(name) for name in ("name", "host", "ordered_at", "complete", *_ANSWERED)}
    answered = {name: job[name] for name in _ANSWERED if job.get(name) is not None}
    lines = job.get("log") or record.get("last_lines") or [""]
    return {**row, **answered, "last_line": str(lines[-1]), "machine": [], "usd": record.get("cost_usd")}
