# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people read of a run: what was asked wrongly, what it would cost, and how it has ended. `running` decides.

The first line of the last word is what became of the job; then the money.
"""

from __future__ import annotations

import typing as t

from .._machine.job_state import how_ended
from .._moments import seconds_of
from .._text import one_line
from .._wording import LINE, age, amount, end_option, folded_lines, narrow_table, plural, usd, usd_short, wrapped
from . import lease
from .messages import NOTHING_BOUGHT, in_short, joined, sentence

Row = t.Mapping[str, t.Any]

HOST = "run-"  # what the names of runs' hosts begin with
GROUP = "supply_run"  # of these hosts; the registry notes it with the purchase

# What people read instead of the variables of the role that a run sets
SPELLED = {
    "provision_max_bill": "run_max_bill",
    "provision_spec": "run_gpu",
    "provision_lease": "run_time",
}

MIXED = "run_results_dir must not be the folder of the code (run_files): -e run_results_dir=runs."
TAKEN_AWAY = "its machine has gone"


# What a command does that buys nothing, by `running.Way`
WAYS = {
    "look": "It has its machine already: nothing is bought.",
    "lost": "Its machine has gone: nothing is bought again for a job that may have begun.",
    "end": "Its results are home: its machine ends.",
}


def host_of(name: str) -> str:
    """The host of a run's machine, in registry, reports and inventories."""
    return f"{HOST}{name}"


def unwritable(path: str, why: str) -> str:
    """The results could not be kept."""
    return f"run_results_dir: the results would go to {path}, which cannot be written ({why}). Choose another folder."


def unreadable_record(path: str, why: str) -> str:
    """What is known of the run cannot be read, so that it might run twice."""
    return f"{path} says what became of this run, and cannot be read ({why}). Move it away, or choose another run_name."


def refused(record: Row, name: str) -> str:
    """Another job under the name of one that has not come to its end."""
    return (
        f"The run {name} is not over, and it is another job: {record.get('command')}. Its command, setup, files or"
        " names of environment variables differ from yours. Choose another run_name for yours."
        f" -e run_name={name} alone follows {name}, and brings its results home. To give it up: {end_of(record)}, and"
        f" then -e run_name={name} alone. {NOTHING_BOUGHT}"
    )


def end_of(record: Row) -> str:
    """The command that ends the machine of a run, whatever becomes of its results."""
    return f"compute_index.supply.decommission {end_option([str(record.get('host'))])}"


def may_take(seconds: float, end: float) -> list[str]:
    """A job that gets less time than was asked for, or a lease that was cut. ``end``: of the lease, from now on."""
    text = f"The job may take {_long(seconds)}, since the lease of its machine ends at {lease.said(end)}."
    return wrapped(text, indent="  ")


def quote(host: Row, seconds: float, bill: float, registry: str) -> list[str]:
    """What would be bought, for how long, and what it costs at most. ``host``: of the artifact of a quote.

    ``seconds``: of the job; ``bill``: USD for the whole lease.
    """
    kind = f"{host.get('gpu_count') or ''} x {host.get('gpu_type')}, {host.get('contract_type') or 'on demand'}"
    where = ", ".join(filter(None, (str(host.get(name) or "") for name in ("vendor", "region"))))
    lines = (
        f"at most USD {amount(bill)} for its machine, {usd_short(host.get('price_per_hour'))}",
        f"{kind}{f' ({where})' if where else ''}",
        f"the job may take {_long(seconds)}, and bringing the results home an hour",
        "if a machine fails before the job, it ends; its cost comes on top",
        registry,
    )
    return folded_lines(filter(str.strip, lines))


def _long(seconds: float) -> str:
    """A duration for people, down to the minute; below ten minutes to the second."""
    hours, minutes = divmod(int(seconds) // 60, 60)
    if not hours and not minutes:
        return plural(int(seconds), "second")
    rest = int(seconds) % 60 if seconds < 600 else 0
    return " ".join(f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if number)


def other_job(name: str, job: Row) -> str:
    """The machine has another job under this name."""
    return (
        f"The machine of the run {name} has another job: {_shown(job.get('command')) or 'its command is not known'}"
        f" ({job.get('state')}). The results of that job are not home. Repeat its command, or end the machine:"
        f" {end_of({'host': host_of(name)})}."
    )


def unread(name: str, job: Row, until: str) -> str:
    """The machine did not report on its ``job``."""
    why = _because(str(job.get("msg") or "")) or "it did not answer."
    return (
        f"The machine of the run {name} did not report on its job: {why} {billed_until(until)} The same command looks"
        " again."
    )


def billed_until(until: str) -> str:
    """How long the machine of a run is billed."""
    moment = seconds_of(until)
    return f"It is billed until its lease ends{'' if moment is None else f' at {lease.said(moment)}'}."


def lasted(record: Row) -> str:
    """How long the job took, as the end of a sentence; empty if that is not known."""
    begin, end = seconds_of(record.get("began_at") or ""), seconds_of(record.get("ended_at") or "")
    return "" if begin is None or end is None else f" after {_long(max(0.0, end - begin))}"


# What the machine says beside how a job has ended
_REASONS = {
    "time": "its time was up",
    "gone": "its processes are gone",
    "rebooted": "its machine was restarted",
    "setup": "its setup failed",
    "start": "it could not be started",
    "disk": "the disk is full, so its results may be incomplete",
    "left": "what it had left running was ended",
}


def ended(record: Row) -> str:
    """What became of the job."""
    how, reason = how_ended(record.get("exit_code"), record.get("signal")), record.get("reason") or ""
    facts = ", ".join(filter(None, (how, _REASONS.get(str(reason), _shown(reason)))))
    return f"{record.get('name')} {record.get('state')}{lasted(record)}{f' ({facts})' if facts else ''}."


def last_word(record: Row, folder: str) -> list[str]:
    """The end of a run whose machine has ended. ``folder``: of its results, as people write it."""
    usd_spent = record.get("cost_usd")
    cost = "What it has cost is not known." if usd_spent is None else f"It cost at most USD {amount(usd_spent)}."
    money = f"{record.get('stays') or 'Nothing is billed any more.'} {cost}"
    return folded_lines(filter(str.strip, (ended(record), money, *_results(record, folder), *_log(record))))


def incomplete(record: Row) -> str:
    """That results have gone with the machine of a run that is over; empty if they are home."""
    return "" if record.get("complete") else "Its results went with the machine."


def _results(record: Row, folder: str) -> t.Iterator[str]:
    if not record.get("complete"):
        yield f"{incomplete(record)} What came home before is in {folder}."
        return
    yield f"Results: {folder} ({plural(record.get('files') or 0, 'file')})"
    if missing := record.get("missing"):
        yield f"Not found on the machine: {', '.join(map(str, missing))}"


def _log(record: Row) -> t.Iterator[str]:
    """The last lines of a job that did not succeed."""
    lines = record.get("last_lines") or [] if record.get("state") != "succeeded" else []
    yield from ("The last lines of its log:", *map(str, lines)) if lines else ()


def still_billed(record: Row, folder: str, until: str, why: str = "") -> list[str]:
    """A job that is over, whose results are not all home: its machine stays until its lease ends."""
    left = list(map(_not_home, record.get("incomplete") or []))
    missing = record.get("missing") or []
    lines = (
        ended(record),
        joined("Its results are NOT complete.", _because(why), f"See {folder}."),
        f"Not home: {', '.join(left[:5])}{f', and {len(left) - 5} more' if len(left) > 5 else ''}." if left else "",
        f"Not written by the job: {', '.join(missing[:5])}. Another run_results fetches what it wrote."
        if missing
        else "",
        f"Its machine stays. {billed_until(until)} The same command tries again.",
        f"To end it without them: {end_of(record)}",
    )
    return folded_lines(filter(str.strip, lines))


def _shown(text: object) -> str:
    """What a machine says, on one line, without what would change a terminal."""
    return one_line(str(text or ""))


def _because(why: str) -> str:
    """The sentence of a machine that says why; empty for none."""
    return sentence(_shown(why)) if why else ""


def _not_home(item: Row) -> str:
    """What is not home, and why."""
    path, reason = (_shown(item.get(name)) for name in ("path", "reason"))
    return f"{path} ({reason})" if path and reason else path or reason


def swept_in_part(name: str, folder: str, why: str) -> list[str]:
    """What a sweep could not bring home before a lease ends."""
    text = f"The results of {name} are NOT complete: {_because(why) or 'see run.json.'} What is home: {folder}"
    return wrapped(text, indent="  ")


def kept(record: Row, folder: str, price: float | None) -> list[str]:
    """A job that has failed, whose machine stays for a while (run_keep)."""
    lines = (
        ended(record),
        f"Its machine stays until {lease.said(record.get('kept_until') or 0.0)} (run_keep), at {usd(price)}.",
        f"Results: {folder}",
        f"To end it earlier: {end_of(record)}",
    )
    return folded_lines(filter(str.strip, lines))


def goes_on(record: Row, until: str) -> list[str]:
    """A job that was left to run, or that the follower has lost sight of."""
    lines = (
        f"{record.get('name')} runs. The same command follows it, and brings its results home.",
        billed_until(until),
        f"To end it now: {end_of(record)}",
    )
    return folded_lines(filter(str.strip, lines))


def broken(record: Row, why: str, until: str, *, may_be_billed: bool) -> str:
    """A command that failed before its run was over; ``why`` was shown already. Registry and record keep the run."""
    if not may_be_billed:
        return joined(in_short(why), f"Nothing is billed for {record.get('host')}.")
    billed = billed_until(until) if until else f"{record.get('host')} may have a machine that is billed."
    return joined(in_short(why), billed, f"The same command goes on. To end the machine: {end_of(record)}")


_COLUMNS = {
    **{"run": "name", "state": "state", "since": "since", "machine": "runs", "USD": "usd"},
    "last line": "last_line",
}


def since(record: Row, now: float) -> str:
    """How long a run has been in its state, in short."""
    moment = seconds_of(record.get("ended_at") or record.get("began_at") or record.get("ordered_at") or "")
    return "-" if moment is None else age(now - moment)


def table(runs: t.Sequence[Row], now: float) -> list[str]:
    """All runs (`running_rows.all_runs`), in lines of the terminal. ``now``: seconds since the epoch."""
    rows = [{**run, "since": since(run, now), "runs": "billed" if run["machine"] else "gone"} for run in runs]
    return narrow_table(rows, _COLUMNS, LINE, ("last line", "run")) if rows else ["There are no runs."]
