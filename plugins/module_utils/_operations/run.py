# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a run: one job on a machine of its own. The roles buy and end the machine, modules run on it.

Each step reads what the ones before it have found, decides by `running`, and writes the run's record before what
follows from it begins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
import typing as t

from .. import _spec
from .._ansible import steps
from .._ansible.operation import Failure, Operation, Params, Result
from .._machine import code_files
from .._moments import seconds_of, utc
from .._provision import running, running_report, running_rows
from .._provision.entry import Entry, read_entry
from .._provision.place import Place
from .._provision.rows import shortest
from .._provision.running import First, Next, Request, Way
from .._registry._files import write_durably
from .._registry._place import registry_dir
from .._registry._protocol import RegistryError
from .._registry._stores import Store
from ._leases import Sweeps
from ._registries import Registries

BLANK: Result = {"changed": False, "lines": [], "has_lines": False, "trouble": ""}
RECORD = "run.json"


def asked(params: Params, check_mode: bool) -> Result:
    """What is to run, for which host (``hosts``; none if the run is over), and all that is wrong with it at once."""
    wrong: list[str] = []
    base = _results_dir(params)
    name = running.name_of(params["given"], wrong)
    dest = os.path.join(base, name)
    record = _record(dest, wrong) if name else {}
    given = running.completed(params["given"], record)
    request = running.read_request(given, wrong)
    request = _with_paths(request, base, params["here"])
    code = _code(request, wrong)
    wrong += filter(None, [running.overruled(params["extra"]), _unwritable(dest)])
    wrong += [running_report.LIMITED] * params["limited"]
    if wrong:
        return {**BLANK, **_NOTHING, "trouble": running_report.mistakes(wrong)}
    digest = running.digest_of(request, code, given, record)
    first = running.first(record, digest, again=request.again)
    job = {**dataclasses.asdict(request), "digest": digest, "dest": dest, "first": first.value, "host": request.host}
    job["folder"] = shortest(dest, params["here"])
    if first in (First.DONE, First.REFUSED):
        return running_rows.result({**BLANK, **_NOTHING}, running_rows.over_already(first, record, job["folder"]))
    return {
        **BLANK,
        "hosts": [request.host],
        "job": {**job, "record": record},
        "role": running_rows.role_variables(request),
    }


_NOTHING: Result = {"hosts": [], "job": {}, "role": {}}


def _results_dir(params: Params) -> str:
    """The folder of all runs, as an absolute path; by default beside the inventory."""
    beside = os.path.dirname(registry_dir(None, None, params["sources"], params["here"]))
    given = os.path.expanduser(str(params["given"].get("run_results_dir") or ""))
    return os.path.normpath(os.path.join(params["here"], given) if given else os.path.join(beside, "runs"))


def _with_paths(request: Request, base: str, here: str) -> Request:
    """The folder of the code as an absolute path, without what is no code: results would make another job of it."""
    if not request.files:
        return request
    files = os.path.normpath(os.path.join(here, os.path.expanduser(request.files)))
    exclude = (*request.exclude, *running.not_code(os.path.relpath(base, files)))
    return dataclasses.replace(request, files=files, exclude=exclude)


def _code(request: Request, wrong: list[str]) -> str:
    """The digest of the files that the job works with; empty without any."""
    try:
        return str(code_files.scan(request.files, request.exclude).digest) if request.files else ""
    except ValueError as error:
        wrong.append(running_report.unreadable_files(str(error)))
        return ""


def _unwritable(dest: str) -> str:
    """Why the results could not be kept there; empty if they can."""
    folder = dest
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    is_writable = os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
    return "" if is_writable else running_report.unwritable(dest, f"{folder} is no folder that you may write to")


def _record(dest: str, wrong: list[str]) -> dict[str, t.Any]:
    """What is known of the run; empty if that is nothing."""
    path = os.path.join(dest, RECORD)
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        wrong.append(running_report.unreadable_record(path, type(error).__name__))
        return {}


def _write(dest: str, record: t.Mapping[str, t.Any]) -> None:
    """Note how far the run is, durably. Raises Failure."""
    try:
        os.makedirs(dest, exist_ok=True)
        write_durably(os.path.join(dest, RECORD), json.dumps(record, indent=2, default=str) + "\n")
    except OSError as error:
        raise Failure(running_report.unwritable(dest, error.strerror or type(error).__name__), "unavailable") from None


def _set_aside(dest: str) -> None:
    """Give an earlier run, which is over, a folder of its own: ``train.1``."""
    number = 1
    while os.path.lexists(f"{dest}.{number}"):
        number += 1
    with contextlib.suppress(FileNotFoundError):
        os.rename(dest, f"{dest}.{number}")


class _Run:
    """A run in a step: its job as it was asked for, and what the registry has of its host."""

    def __init__(self, registries: Registries, params: Params) -> None:
        self.job: t.Mapping[str, t.Any] = params["run"]["job"]
        self.got: t.Mapping[str, t.Any] = params["got"]
        self.request = Request(**{name: self.job[name] for name in Request.__dataclass_fields__})
        self.record = _record(self.job["dest"], []) or dict(self.job["record"])
        self.place: Place = registries.places(params)[self.job["host"]]
        self.store: Store | None = registries.at(self.place) if self.place else None
        self.registry = self.store.host(self.job["host"]) if self.store else None
        self.entry: Entry = read_entry(self.registry.read() if self.registry else None)
        self._registries = registries

    @property
    def now(self) -> float:
        """By the clock that notes the ends of leases."""
        return self.store.now() if self.store else time.time()

    @property
    def ends_at(self) -> float | None:
        """When the lease ends; None if that is not known."""
        return seconds_of(self.entry.ends_at)

    def write(self, record: t.Mapping[str, t.Any]) -> None:
        """Note how far the run is. Raises Failure."""
        _write(self.job["dest"], record)

    def cost(self) -> float | None:
        """What the machines of the run have cost at most (USD), by the ledger; None if that is not known."""
        ledger = self._registries.ledger([self.place])
        return running_rows.cost(ledger, self.job["host"], seconds_of(self.record.get("ordered_at") or ""))


_Step = t.Callable[[_Run, Params, bool], Result]


def _step(function: _Step, blank: Result) -> Operation:
    """The operation of a step, which gets the run. Raises Failure if the registry cannot be read or written."""

    def opened(params: Params, check_mode: bool) -> Result:
        with contextlib.closing(Registries.of(params, read_only=check_mode)) as registries:
            try:
                return running_rows.result(blank, function(_Run(registries, params), params, check_mode))
            except RegistryError as error:
                raise Failure(str(error), "unavailable") from None

    return Operation(opened, {**_spec.API, **steps.RUN_STEP}, blank)


def _quoted(run: _Run, params: Params, check_mode: bool) -> Result:
    """What follows from the plan of the host: whether it is provisioned, or its machine ends, or why neither."""
    found = running_rows.Quoted.of(run.job["host"], run.got.get("run__quote") or {})
    way = running.way(run.record.get("phase") or "", is_free=found.is_free, is_refused=bool(found.refusal))
    unswept = "" if run.request.unswept else Sweeps(run._registries).trouble(run.place, refused=False)
    try:
        lease = running_rows.lease_for(way, run.request, found, run.entry, unswept, has_registry=bool(run.place))
    except ValueError as error:
        return {"trouble": str(error)}
    if way in (Way.BUY, Way.LOOK) and not check_mode:
        if run.job["first"] == First.ANEW.value and way is Way.BUY:
            _set_aside(run.job["dest"])
        run.write(running.ordered(run.request, run.job["digest"], run.record, utc(time.time())))
    return {
        **running_rows.ways(way, check_mode=check_mode),
        "lease": running.lease_text(lease),
        "lines": running_rows.quote_lines(way, run.request, found, lease),
    }


def _next(run: _Run, params: Params, check_mode: bool) -> Result:
    """What is done with the machine: start the job, or look at it; noted before it begins."""
    info = run.got.get("run__info") or {}
    following = running.on_machine(info, run.job["digest"])
    if following is Next.START:
        run.write(running.started(run.record, run.entry))
    trouble = running_rows.next_trouble(following, run.request.name, info, run.entry.ends_at)
    lasting = running_rows.lasting(run.request, run.entry)
    return {
        "starts": following is Next.START,
        "copies": following is Next.START and bool(run.request.files),
        "seconds": running.time_left(run.ends_at, run.now, lasting),
        "trouble": trouble,
    }


def _over(run: _Run, params: Params, check_mode: bool) -> Result:
    """Whether the machine ends now: its job is over, and the results are home and checked; or it has gone."""
    quoted, info = run.got.get("run__quoted") or {}, run.got.get("run__followed") or {}
    results = run.got.get("run__results") or {}
    if quoted.get("ends"):
        return _ends(run, quoted)
    found = running.outcome(info, results, keep=run.request.keep, now=run.now, ends_at=run.ends_at)
    if found.is_over:
        run.record = running.over(run.record, found, info, results)
        run.write(run.record)
    if found.kept_until and run.registry:
        run.registry.alter(running_rows.ends_earlier(found.kept_until))
    why = str(results.get("msg") or "") if results.get("failed") or results.get("unreachable") else ""
    return running_rows.over_result(run.record, found, run.job["folder"], info, run.entry, why)


def _ends(run: _Run, quoted: t.Mapping[str, t.Any]) -> Result:
    """The machine of a run whose results are home ends, unless it is kept for a while; what has gone is noted."""
    if quoted.get("lost"):
        run.write(running.lost(run.record))
    elif running.is_kept(run.record, run.now, run.request.keep):
        lines = running_report.kept(run.record, run.job["folder"], run.entry.price_per_hour)
        return {"lines": lines, "trouble": running_report.ended(run.record)}
    return {"ends": True}


def _done(run: _Run, params: Params, check_mode: bool) -> Result:
    """The last word: what became of the job, and what it has cost. ``trouble`` if it did not succeed."""
    run.record = running.gone(run.record, run.cost())
    run.write(run.record)
    return running_rows.last_result(run.record, run.job["folder"])


def _broken(run: _Run, params: Params, check_mode: bool) -> Result:
    """What to know of a run whose command came to no end."""
    record, billed = {**run.record, "host": run.job["host"]}, run.entry.names_purchase
    return {"trouble": running_report.broken(record, params["reason"], run.entry.ends_at, may_be_billed=billed)}


RUN = Operation(asked, {**_spec.API, **steps.RUN}, {**BLANK, **_NOTHING})
RUN_QUOTED = _step(_quoted, {**BLANK, "provisions": False, "ends": False, "lost": False, "goes_on": False, "lease": ""})
RUN_NEXT = _step(_next, {**BLANK, "starts": False, "copies": False, "seconds": 0})
RUN_OVER = _step(_over, {**BLANK, "ends": False})
RUN_DONE = _step(_done, BLANK)
RUN_BROKEN = _step(_broken, BLANK)
