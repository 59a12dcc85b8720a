# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a user's request for a run: one job on its own machine, with a time limit and a largest bill."""

from __future__ import annotations

import math
import os
import re
import typing as t
from dataclasses import dataclass, field, replace

from .._text import amount, applicable, gpus_of, items_of, plural, printable, read_variable, text_of, usd, usd_short
from . import lease
from .declaration import read_limit, read_switch
from .messages import NOTHING_BOUGHT
from .order import DECIDED_BY_PLAYS, LOOSE, LOST_WORDS, ORDER_VARIABLES
from .place import is_within
from .search import UNLIMITED, cost_in_usd, seconds_for_bill

Row = t.Mapping[str, t.Any]
Value = t.TypeVar("Value")

RESULTS_SECONDS = 3600.0  # of a lease, reserved for the results
SHORTEST_JOB = 600.0  # seconds; a shorter time is a mistake
HOST_PREFIX = "run-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_GPU = re.compile(r"(?:([1-9][0-9]{0,2})(?: *[xX*\u00d7] *| +))?([A-Za-z0-9][A-Za-z0-9 ._-]{0,79})")
# Variables in DECIDED_BY_PLAYS that a run leaves to its user
_ALLOWED = {"provision_max_attempts", "provision_max_price_per_hour", "provision_verify"}
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPECIAL, _ESCAPED = re.compile(r"([\\*?\[])"), r"\\\1"  # characters of .gitignore patterns
_TEXTS = ("run_command", "run_setup", "run_files", "run_results_dir")
_NO_TEXT = (bool, list, tuple, t.Mapping)  # types that YAML makes of a mistyped text


@dataclass(frozen=True)
class Request:
    """A user's request. ``seconds``: how long the job may take; None if ``max_bill`` (USD) decides that.

    ``environment``: only names, since values may be secrets. ``keep``: seconds that the machine stays after a failure.
    ``by_name``: only the name was given. ``digest``: identifies the job. ``archive``: its packed code. ``dest``: the
    absolute path of its results; ``folder``: the path that messages show.
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
    unswept: bool = False
    again: bool = False
    by_name: bool = False
    digest: str = ""
    archive: str = ""
    dest: str = ""
    folder: str = ""

    @property
    def host(self) -> str:
        """The host of its machine, in registry, reports and inventories."""
        return host_of(self.name)

    @property
    def least_lease(self) -> float:
        """The shortest possible lease, in seconds."""
        return (SHORTEST_JOB if self.seconds is None else self.seconds) + RESULTS_SECONDS


def host_of(name: str) -> str:
    """The host of a run's machine, in registry, reports and inventories."""
    return f"{HOST_PREFIX}{name}"


def run_of(host: str) -> str:
    """The name of the run that a host belongs to."""
    return host.removeprefix(HOST_PREFIX)


def read_name(given: Row, wrong: list[str]) -> str:
    """The name of the run, which becomes a part of paths. If it is invalid, it is empty, and ``wrong`` says why."""
    name = text_of(given.get("run_name"))
    if _NAME.fullmatch(name):
        return name
    wrong.append("run_name must be a word of letters, digits, - and _ (40 at most): -e run_name=train.")
    return ""


def why_not_kept(folder: str, around: str, *, by_job: bool, folders: t.Iterable[str]) -> str:
    """Return why results cannot be kept in a folder; empty if they can.

    ``around``: the inventory folder that contains it, or empty. A job of AWX (``by_job``) loses its ``folders``;
    without results and records the run would be bought again.
    """
    if around:
        return (
            f"run_results_dir must not be in the inventory folder {around}: Ansible would take a job's results for"
            " inventory files, and run them. Name another folder, such as -e run_results_dir=../runs."
        )
    lost = f"This is a job of AWX, which loses {folder} at its end, and the results of runs with it."
    return f"{lost} Set run_results_dir to a folder that stays." if by_job and is_within(folder, folders) else ""


def with_files(request: Request, files: str, dest: str, wrong: list[str]) -> Request:
    """Return the request with the real path of its code. ``wrong`` says if that is within its results (``dest``).

    Results of runs are excluded from the code, whatever ``run_exclude`` re-includes: they would change its digest.
    """
    if is_within(files, [dest]):
        wrong.append("run_files must not be in the folder of the run's results: -e run_results_dir=runs.")
    base = os.path.dirname(dest)
    inside = os.path.relpath(dest if base == files else base, files)
    results = (f"/{_SPECIAL.sub(_ESCAPED, inside)}/",) if is_within(dest, [files]) else ()
    return replace(request, files=files, exclude=(*request.exclude, *results))


def objections(extra: t.Iterable[str], *, limited: bool) -> list[str]:
    """Return the objections to the extra variables (``extra``: their names) and to a limit."""
    names = set(extra)
    overruled = ", ".join(sorted((DECIDED_BY_PLAYS - _ALLOWED) & names))
    unread = ", ".join(sorted(ORDER_VARIABLES & names))
    return applicable(
        {
            f"A run sets {overruled} itself: leave that out of -e.": bool(overruled),
            f"A run does not read {unread}: choose the machine by run_gpu or run_spec, and limit its cost by"
            " run_max_bill or provision_max_price_per_hour.": bool(unread),
            # Ansible takes any word before an equals sign for a name.
            LOST_WORDS: LOOSE in names or not all(map(str.isidentifier, names)),
            "A run adds a host of its own, which --limit would exclude: leave out the limit.": limited,
        }
    )


def read_request(given: Row, wrong: list[str]) -> Request:
    """The variables as typed values; ``wrong`` gets a sentence for each mistake. `read_name` checks the name."""
    command, invalid = text_of(given.get("run_command")), [n for n in _TEXTS if isinstance(given.get(n), _NO_TEXT)]
    seconds = _read("run_time", given, lease.read_duration, math.inf, wrong)
    wrong += applicable(
        {
            "run_command must be the command to run: -e 'run_command=\"python train.py\"'.": not command,
            f"{' and '.join(invalid)} must be text, not a list, a mapping or true.": invalid,
            f"run_time must be at least 10m{_instead(given.get('run_time'))}: -e run_time=8h.": seconds < SHORTEST_JOB,
        }
    )
    read_fetch_timeout(given, wrong)  # only sweeps use it
    return Request(
        name=text_of(given.get("run_name")),
        command=command,
        setup=text_of(given.get("run_setup")),
        spec=_spec(given, wrong),
        files=text_of(given.get("run_files")),
        exclude=_texts("run_exclude", given, wrong),
        environment=_environment(given, wrong),
        results=_results(given, wrong),
        seconds=None if seconds == math.inf else seconds,
        max_bill=_bill(given, wrong),
        keep=_read("run_keep", given, lease.read_duration, 0.0, wrong),
        follow=_read("run_follow", given, read_switch, True, wrong),
        # At most an hour: until the end of the job is seen, its machine is billed.
        log_delay=min(3600.0, max(1.0, _read("run_log_delay", given, lease.read_duration, 30.0, wrong))),
        unswept=_read("run_unswept", given, read_switch, False, wrong),
        again=_read("run_again", given, read_switch, False, wrong),
        by_name=bool(given.get("run_digest")),
        digest=text_of(given.get("run_digest")),
    )


def _spec(given: Row, wrong: list[str]) -> Row:
    gpu, spec = given.get("run_gpu"), given.get("run_spec")
    if bool(gpu) == bool(spec) or not isinstance(spec or {}, t.Mapping):
        wrong.append("run_gpu or run_spec (a search, as a mapping) must be set, not both: -e 'run_gpu=\"8 x H100\"'.")
        return {}
    parts = _GPU.fullmatch(str(gpu).strip())
    if not (spec or parts):
        wrong.append('run_gpu must be a number and a GPU, as in "8 x H100", or a GPU alone.')
    return spec or (parts and {"compute": {"gpu_type": parts[2].strip(), "gpu_count": int(parts[1] or 1)}}) or {}


def _texts(name: str, given: Row, wrong: list[str]) -> tuple[str, ...]:
    """Read a list of texts, or a text with commas."""
    value = given.get(name)
    parts = value.split(",") if isinstance(value, str) else items_of(value or [])
    if any(isinstance(part, _NO_TEXT) for part in parts):
        wrong.append(f'{name} must be a list of texts, or text with commas: -e {name}="out,*.csv".')
    return tuple(text for part in parts if (text := str(part).strip()))


def _results(given: Row, wrong: list[str]) -> tuple[str, ...]:
    paths = _texts("run_results", given, wrong)
    if invalid := [path for path in paths if path.startswith(("/", "~")) or {"..", "**"} & set(path.split("/"))]:
        wrong.append(
            f"run_results must be paths below the job's folder, without .. and **, not {', '.join(invalid)}. A folder"
            " stands for all its files."
        )
    return paths


def _environment(given: Row, wrong: list[str]) -> tuple[str, ...]:
    """The names of the job's variables. ``given`` has true or false instead of their values, which may be secrets."""
    variables = given.get("run_env") or {}
    names = tuple(variables) if isinstance(variables, t.Mapping) else ("",)
    if not all(_ENVIRONMENT.fullmatch(name) and variables[name] for name in names):
        wrong.append('run_env must map names of letters, digits and _ to texts: -e \'{"run_env": {"SEED": "1"}}\'.')
    return names


def _read(name: str, given: Row, reader: t.Callable[[t.Any], Value | None], default: Value, wrong: list[str]) -> Value:
    """Read a variable with its reader; return the default if it is empty or wrong."""
    value = read_variable(name, given.get(name), reader, None, wrong)
    return default if value is None else value


def read_fetch_timeout(given: Row, wrong: list[str]) -> float:
    """How many seconds a sweep may spend on the results of a run; the default if the variable is no duration."""
    return max(1.0, _read("run_fetch_timeout", given, lease.read_duration, 1800.0, wrong))


def _bill(given: Row, wrong: list[str]) -> float:
    invalid: list[str] = []
    bill = read_limit("run_max_bill", given.get("run_max_bill"), invalid)
    if invalid or not 0 < bill < UNLIMITED:
        must = "run_max_bill must be the most USD that the whole run may cost, as a number"
        wrong.append(f"{must}{_instead(given.get('run_max_bill'))}: -e run_max_bill=200.")
    return bill


def _instead(value: object) -> str:
    """The end of a sentence about a wrong value; empty if there is none."""
    return f", not '{printable(str(value), 60)}'" if text_of(value) else ""


# Its lease


def lease_of(request: Request, price: float | None) -> float:
    """The lease in seconds, rounded down to minutes: the job's time limit and an hour for the results.

    ``price``: USD per hour. Without a time limit, the bill decides. Raises ValueError if it pays for too little.
    """
    seconds = request.seconds
    if seconds is None:
        if not price:
            unpriced = "The price of the machine is unknown, so run_time must say how long the job may take."
            raise ValueError(f"{unpriced} {NOTHING_BOUGHT}")
        seconds = seconds_for_bill(request.max_bill, price) - RESULTS_SECONDS
    if seconds < SHORTEST_JOB:
        least = math.ceil((cost_in_usd(price, SHORTEST_JOB + RESULTS_SECONDS) or 0) * 100) / 100
        raise ValueError(
            f"run_max_bill (USD {amount(request.max_bill)}) is too small: ten minutes for the job and an hour for the"
            f" results cost USD {amount(least)} at {usd(price)}. {NOTHING_BOUGHT}"
        )
    return min(math.floor((seconds + RESULTS_SECONDS) / 60) * 60.0, lease.LONGEST)


def lease_text(seconds: float) -> str:
    """A lease in the form of the role's variable, such as ``90m``."""
    minutes = math.floor(seconds / 60)
    return f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"


def quote_lines(host: Row, seconds: float, bill: float, registry: str) -> list[str]:
    """Describe the purchase: largest cost, machine and time limit. ``host``: its part of a quote's artifact.

    ``seconds``: time limit of the job; ``bill``: USD for the whole lease.
    """
    kind = f"{gpus_of(host.get('gpu_count'), host.get('gpu_type'))}, {host.get('contract_type') or 'on demand'}"
    where = ", ".join(filter(None, (str(host.get(name) or "") for name in ("vendor", "region"))))
    return [
        f"at most USD {amount(bill)} for its machine, {usd_short(host.get('price_per_hour'))}",
        f"{kind}{f' ({where})' if where else ''}",
        f"the job may take {in_minutes(seconds)}, plus an hour to bring the results home",
        "if a machine fails before the job, it ends; its cost comes on top",
        *([registry] if registry else []),
    ]


def in_minutes(seconds: float) -> str:
    """A duration in hours and minutes, or in seconds if it is shorter than a minute."""
    hours, minutes = divmod(int(seconds) // 60, 60)
    parts = [f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min")) if number]
    return " ".join(parts) or plural(int(seconds), "second")
