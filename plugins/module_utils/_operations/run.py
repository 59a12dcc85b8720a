# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a run, one job on its own machine. Roles buy and end the machine; modules work on it.

Each step reads the results of earlier ones, asks the rules in `running`, and notes each action before it begins.
"""

from __future__ import annotations

import functools
import os
import time
import typing as t
from dataclasses import replace

from .._ansible import steps
from .._ansible.operation import Operation, Params, Result, refusing
from .._machine import code_files
from .._provision import lease, messages, run_record, run_request, running
from .._provision.entry import Entry, read_entry
from .._provision.place import Place, shortest_path
from .._provision.run_record import Run
from .._provision.run_request import Request
from .._registry._records import RecordFolder, records_in
from .._registry._stores import inventory_around, job_folders, registry_dir
from .._text import joined, mapping_of, number_of, text_of, utc
from ._registries import LastSweeps, Registries, RegistrySnapshot, warnings_nearby

_Value = t.TypeVar("_Value")
BLANK: Result = {"changed": False, "lines": [], "trouble": ""}
_NOTHING: Result = {**BLANK, "hosts": [], "job": {}, "role": {}}


def read_run(params: Params, check_mode: bool) -> Result:
    """Return the job and its host (``hosts``; none if the run is over), or all mistakes in ``trouble``."""
    wrong: list[str] = []
    base = _read(lambda: results_dir(params), os.path.join(params["here"], "runs"), wrong)
    name = run_request.read_name(params["given"], wrong)
    folder = RecordFolder(os.path.join(base, name))
    record = _read(folder.read, dict[str, t.Any](), wrong) if name else {}
    given = run_record.with_variables_of_run(params["given"], record)
    request = run_request.read_request(given, wrong)
    # The job runs the files of this moment, even if they change before its machine is ready.
    archive = "" if check_mode or run_record.has_job(record) else params["archive"]
    code = ""  # the digest of the job's files, if any
    if request.files:
        files = os.path.join(params["here"], os.path.expanduser(request.files))
        request = run_request.with_files(request, os.path.realpath(files), os.path.realpath(folder.path), wrong)
        code = _read(lambda: code_files.pack(request.files, request.exclude, archive), code, wrong, "run_files: ")
    wrong += run_request.objections(params["extra"], limited=params["limited"])
    if wrong:
        return {**_NOTHING, "trouble": joined(*wrong, messages.NOTHING_SENT)}
    shown = shortest_path(folder.path, params["here"])
    digest = run_record.digest_of(request, code)
    request = replace(request, digest=digest, archive=archive, dest=folder.path, folder=shown)
    return {**_NOTHING, **running.begin(Run(request, record))}


def results_dir(params: Params) -> str:
    """The absolute path of the folder of all runs, by default ``runs`` next to the inventory.

    Raises ValueError if results cannot be kept there.
    """
    sources, here = params["sources"], params["here"]
    parent = os.path.dirname(registry_dir(None, None, sources, here))
    if folder := inventory_around(parent, sources, here):
        parent = os.path.dirname(folder)
    wanted = os.path.expanduser(text_of(params["given"].get("run_results_dir")))
    found = os.path.normpath(os.path.join(here, wanted or os.path.join(parent, "runs")))
    around, folders = inventory_around(found, sources, here), job_folders(sources, here)
    by_job = params.get("by_job", False)  # the step `runs` keeps nothing
    if fault := run_request.why_not_kept(found, around, by_job=by_job, folders=folders):
        raise ValueError(fault)
    return found


def _read(read: t.Callable[[], _Value], default: _Value, wrong: list[str], label: str = "") -> _Value:
    """Call ``read``. If it raises ValueError, add its message to ``wrong``, and return the default."""
    try:
        return read()
    except ValueError as error:
        wrong.append(f"{label}{error}")
        return default


class _Run:
    """A run in a step: its state for the rules, and where it is noted. Raises RegistryError if that is unreadable."""

    def __init__(self, registries: Registries, params: Params, check_mode: bool) -> None:
        self.registries, self.params, self.check_mode = registries, params, check_mode
        self.got: dict[str, t.Any] = params["got"]
        request = Request(**params["run"]["job"])
        self.folder = RecordFolder(request.dest)
        record = self.folder.read()
        self.place = registries.places(params)[request.host]
        entry, now = registries.at(self.place).entry(request.host)
        unswept = LastSweeps(registries).trouble(self.place, refused=False)
        unswept = running.why_unenforced(request.host, params["hosts"][0]["protect"], unswept)
        self.view = Run(request, record, entry, registries.ledger([self.place]), now, unswept)

    def note(self, record: dict[str, t.Any]) -> None:
        """Write the record. Raises RegistryError."""
        self.folder.write(record)
        self.view = replace(self.view, record=record)

    def shorten_lease(self, until: float | None) -> None:
        """Let a sweep end the machine at this moment, unless it is None. Raises RegistryError."""
        if until is not None and (registry := self.registries.at(self.place).host(self.view.request.host)):
            registry.read()
            changed = registry.compare_and_set(lease.noted_end(until, is_shorter=True))
            self.view = replace(self.view, entry=read_entry(changed))


# If a registry cannot be read or written, or a rule in `running` refuses
_refusing = functools.partial(refusing, ValueError, error_class="unavailable")


def _step(function: t.Callable[[_Run], Result], **blank: t.Any) -> Operation:
    """Make the operation of a step. It raises Failure if the registry cannot be read or written."""

    def opened(params: Params, check_mode: bool) -> Result:
        with Registries.of(params, read_only=check_mode) as registries, _refusing():
            return {**BLANK, **blank, **function(_Run(registries, params, check_mode))}

    return steps.operation(opened, steps.RUN_STEP, {**BLANK, **blank})


def _quoted(run: _Run) -> Result:
    """Decide by the host's plan whether it is provisioned. If it is, set the results of a finished run aside."""
    try:
        follows = running.play_after_quote(
            run.view, run.got["run__quote"], has_registry=bool(run.place), check_mode=run.check_mode
        )
    except ValueError as error:
        return {"trouble": str(error)}
    if follows["provisions"]:
        if run.view.phase == run_record.GONE:
            run.folder.set_aside()
        run.note(run_record.ordered(run.view, utc(time.time())))
    return follows


def _next(run: _Run) -> Result:
    """Decide whether the job starts, and note that first.

    A job that is only followed is also noted as begun, so that no other machine is bought for it.
    """
    job = run.got["run__info"]
    found = running.next_on_machine(run.view, job)
    run.shorten_lease(found.get("until"))  # before the job begins, whose time limit depends on it
    if not found.get("trouble"):
        run.note(run_record.started(run.view, utc(time.time()), job))
    return found


def _over(run: _Run) -> Result:
    """Decide whether the machine ends now: its results are home and checked, or it has already gone.

    The job may have taken days: if the host has the machine of another run by now, that one stays.
    """
    job, results = run.got.get("run__followed", {}), run.got.get("run__results", {})
    if trouble := running.why_in_doubt(run.view):
        raise ValueError(trouble)
    has_gone = run.got["run__quoted"]["lost"] or run.view.is_over  # ended by a sweep or a person
    if not run_record.is_settled(run.view.record):  # by another command
        record = run_record.after_job(run.view, job, results, has_gone=has_gone)
        run.shorten_lease(record.get("kept_until"))  # before the record, after which no command does it
        run.note(record)
    return running.over_result(run.view, job, results, has_gone=has_gone)


def _done(run: _Run) -> Result:
    """Note the end of the machine, and return the outcome and the cost. ``trouble`` if the job did not succeed."""
    run.note(run_record.after_end(run.view))
    return run_record.last_result(run.view.record, run.view.request.folder)


def _broken(run: _Run) -> Result:
    """Say what is billed after a task of the run failed."""
    return {"trouble": running.failure_message(run.got.get("run__next", {}), run.view, run.params["reason"])}


@_refusing()
def late(params: Params, check_mode: bool) -> Result:
    """Decide whether a sweep fetches the results of a run, and into which folder."""
    sweep, job = (mapping_of(params["got"].get(name)) for name in ("reap__sweep", "run__late_job"))
    name, base = run_request.run_of(params["hosts"][0]["host"]), results_dir(params)
    offer_id = text_of(sweep.get("offer_id"))
    record = RecordFolder(os.path.join(base, name)).read()
    folder = RecordFolder(os.path.join(base, run_record.sweep_folder(name, record, offer_id)))
    left = lease.seconds_until(number_of(sweep.get("ends_at")), time.time())
    found = run_record.sweep_fetch(name, folder.read(), job, left, params["given"], skips=check_mode)
    return {**_LATE, **found, "dest": folder.path, "offer_id": offer_id}


@_refusing()
def swept(params: Params, check_mode: bool) -> Result:
    """Note the results that a sweep has brought home."""
    job, results = (mapping_of(params["got"].get(name)) for name in ("run__late_job", "run__late_results"))
    fetch, folder = params["got"]["run__late"], RecordFolder(params["got"]["run__late"]["dest"])
    before = folder.read()
    record = run_record.after_sweep(before, fetch, job, results)
    if record is not before:
        folder.write(record)
    shown = shortest_path(folder.path, params["here"])
    return {**BLANK, "lines": [run_record.swept_line(fetch["name"], record, job, results, shown)]}


def runs(params: Params, check_mode: bool) -> Result:
    """Return all runs from registries and the folder of results, and the connections of their machines."""
    with refusing(ValueError):
        records, unreadable = records_in(results_dir(params))
    with Registries.of(params, read_only=True) as registries:
        snapshot = RegistrySnapshot(registries, dict.fromkeys(registries.places(params).values()))
        machines = [item for item in snapshot.host_entries() if run_record.is_of_run(item[2])]
        ledger_of = functools.cache(lambda place: registries.at(place).ledger())
        known = run_record.all_runs(records, machines, params["got"], snapshot.places, ledger_of)
        reached = [_reached(registries, *machine) for machine in machines]
        nearby = warnings_nearby(registries, params)
    return {
        **_RUNS,
        "runs": known,
        "hosts": [item["host"] for item in reached],
        "machines": reached,
        "lines": run_record.table_of_runs(known, time.time()),
        "trouble": joined(*params["troubles"], *snapshot.warnings(), *unreadable),
        "warnings": nearby,
    }


def _reached(registries: Registries, place: Place, host: str, entry: Entry) -> Result:
    """A run's host for the play that asks its machine, with the connection variables."""
    return {"host": host, "groups": list(entry.groups), "reached": registries.reached(place, host, entry)}


_RUNS: Result = {**BLANK, "runs": [], "hosts": [], "machines": []}
RUNS = steps.operation(runs, steps.RUNS, _RUNS)
_LATE: Result = {**BLANK, "name": "", "paths": [], "dest": "", "seconds": 1, "fetches": False, "offer_id": ""}
RUN_LATE = steps.operation(late, steps.RUN_LATE, _LATE)
RUN_SWEPT = steps.operation(swept, steps.RUN_LATE, BLANK)
RUN = steps.operation(read_run, steps.RUN, _NOTHING)
RUN_QUOTED = _step(_quoted, provisions=False, lost=False, goes_on=False, lease="", offer_id="", verify="")
RUN_NEXT = _step(_next, starts=False, copies=False, seconds=0, until=None)
RUN_OVER = _step(_over, ends=False)
RUN_DONE = _step(_done)
RUN_BROKEN = _step(_broken)
