# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much more time a machine may get. Moments are seconds since the epoch, bills USD."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, field, replace

from .._text import (
    abridged,
    amount,
    applicable,
    formatted,
    joined,
    narrow_table,
    printable,
    seconds_of,
    text_of,
    wrapped,
)
from . import ceilings, lease, search
from .declaration import read_bill, read_budget
from .entry import Entry, lease_facts
from .lease import CLOCKS_APART, LEASE_OVER_AFTER, Clock, TimeLimit
from .order import GROUP_OF_RUNS
from .place import another_project
from .reaping import Life, life
from .search import UNLIMITED
from .spending import Ledger
from .storage import STORAGE_ENDS

NO_REGISTRY_TO_EXTEND = (
    "Only a registry keeps the end of a lease, and this host has none (provision_registry_dir is empty)."
)


@dataclass(frozen=True)
class TimeRequest:
    """A request for ``more`` time for a host's machine: a duration, or until a moment. The others are limits.

    ``longest``: of its whole lease; ``max_bill``: USD for its whole life; ``budget``: USD per month for its project.
    ``objection``: returns why an entry is not the host's; empty if it is.
    """

    more: TimeLimit
    longest: TimeLimit = field(default_factory=TimeLimit)
    max_bill: float = UNLIMITED
    budget: float = UNLIMITED
    objection: t.Callable[[Entry], str] = lambda _entry: ""

    def end(self, before: float | None, now: float) -> float:
        """The requested end; if the lease is over already, it is extended from now on."""
        return self.more.end(max(before or 0.0, now)) or now


@dataclass(frozen=True)
class Extension:
    """An extension: the end ``before`` (None without one) and the new one.

    ``more``, ``at_most``: the additional and the whole bill (USD); None if unknown. ``is_of_run``: the machine has a
    job, whose own end only the machine knows.
    """

    before: float | None
    end: float
    more: float | None
    at_most: float | None
    is_of_run: bool = False


def read_time_request(by: t.Any, until: t.Any) -> TimeRequest:
    """Read for how long, or until when, a lease is extended. Raises ValueError with a sentence for people."""
    texts = {"extend_by": text_of(by), "extend_until": text_of(until)}
    given = {name: text for name, text in texts.items() if text}
    if len(given) != 1:
        raise ValueError("Give either extend_by (such as 4h) or extend_until (a time with its zone)")
    ((name, text),) = given.items()
    try:
        more = lease.read_time_limit(text)
    except ValueError:
        more = TimeLimit()
    # "Until 8h" is refused: counted from the current end, it would be longer than a person expects.
    if more.seconds if name == "extend_by" else more.moment:
        return TimeRequest(more)
    moment = "a time with its zone such as 2026-12-01T06:00Z"
    form = "a duration such as 8h, 90m or 3d" if name == "extend_by" else moment
    raise ValueError(f"{name} must be {form}, not '{printable(text, 60)}'")


def with_limits(request: TimeRequest, raw: t.Mapping[str, t.Any], file: str = "") -> TimeRequest:
    """The request with the limits that a host declares. Raises ValueError if one cannot be read.

    ``raw``: the declaration; its ``trouble`` has a sentence for each variable that cannot be read. ``file``: of the
    host's entry; empty in a shared registry.
    """
    trouble = raw.get("trouble") or {}
    if unread := [trouble[name] for name in _LIMITS if name in trouble]:
        raise ValueError(" ".join(unread))
    bill = read_bill(raw["max_bill"])
    return replace(
        request,
        longest=lease.read_time_limit(raw["lease_max"]),
        max_bill=UNLIMITED if bill is None else bill,
        budget=read_budget(raw["budget"]),
        objection=lambda entry: another_project(raw["host"], file, entry, raw["project"]),
    )


_LIMITS = ("provision_lease_max", "provision_max_bill", "provision_budget")


def why_above_budget(
    request: TimeRequest,
    raw: t.Mapping[str, t.Any],
    named: t.Container[str],
    moved: t.Mapping[str, Extension],
    ledger_of: t.Callable[[str], Ledger],
    now: float,
    end: float,
) -> str:
    """Why the month's budget forbids a lease until ``end`` for a host (its declaration ``raw``); empty if it does not.

    ``moved``: the extensions of this run so far, by host. A lease that is over counts until the end of the month,
    unless its host is also ``named`` in this run. ``ledger_of``: returns the ledger of a project.
    """
    if request.budget == UNLIMITED:
        return ""
    project = raw["project"]
    ledger = ledger_of(project)
    if ledger.unreadable:
        return f"What was spent cannot be read, so provision_budget cannot be checked: {ledger.unreadable}"
    running = [bill for bill in ledger.bills if bill.runs and bill.host in named]
    over = {bill.host: end for bill in running if (bill.ends_at or math.inf) <= max(now, ledger.now)}
    ends = {**over, **{host: extension.end for host, extension in moved.items()}, raw["host"]: end}
    costs = _month_costs(project, ledger, ends, now)
    if not (costs.unknown or costs.exceeds(request.budget)):
        return ""
    known = f"USD {amount(costs.count.sum.total)}", "<USD>"
    total, more = ("an unknown sum", "unlimited") if costs.unknown else known
    return joined(
        f"With an end at {formatted(end)}, project {project} would cost {total} in {costs.name}, and provision_budget"
        f" is USD {amount(request.budget)}. -e provision_budget={more} allows more.",
        costs.count.parts_in_words,
    )


def _month_costs(project: str, ledger: Ledger, ends: t.Mapping[str, float], now: float) -> ceilings.Month:
    """The month's costs of the project if the leases of hosts end at these moments."""
    bills = [
        bill if bill.is_kept_storage else bill._replace(ends_at=ends.get(bill.host, bill.ends_at))
        for bill in ledger.bills
        if bill.project == project
    ]
    return ceilings.costs_of_month(bills, (), now, ledger.now)


def extension_of(
    entry: Entry, request: TimeRequest, clock: Clock, why_not: t.Callable[[float, float], str] = lambda now, end: ""
) -> Extension:
    """The extension of a host's lease, by the clock that noted its end.

    ``why_not``: takes the time and the new end, and returns why the month's budget forbids it (`why_above_budget`).
    Raises ValueError with the reason why the lease is not extended, as a sentence that follows the host's name.
    """
    now, before = clock.now(entry.clock), life(entry, None, clock)
    # If the clock that noted the end cannot be read, this one may be wrong: no more than an hour counts as over.
    latest = math.inf if entry.clock in clock.times or before.end is None else before.end + LEASE_OVER_AFTER
    end, begin = request.end(before.end, min(now, latest)), seconds_of(entry.journaled_at)
    if begin is not None and begin > now + CLOCKS_APART:  # by a clock that was wrong
        begin = None
    at_most = search.bill_between(entry.price_per_hour, begin, end)
    if reasons := [
        *filter(None, (request.objection(entry),)),
        *_why_fixed(entry, before, request, now),
        *_why_not_later(before.end, end, now),
        *_why_too_much(request, begin, end, at_most),
        *filter(None, (why_not(now, end),)),
    ]:
        raise ValueError(reasons[0])
    more = search.bill_between(entry.price_per_hour, before.end, end)
    return Extension(before.end, end, more, at_most, GROUP_OF_RUNS in entry.groups)


def _why_fixed(entry: Entry, before: Life, request: TimeRequest, now: float) -> list[str]:
    """Why the host's lease cannot be extended at all."""
    reaped = lease.end_begun(entry.reaped_at, now)
    return applicable(
        {
            "The registry knows no machine of it, so there is nothing to extend. compute_index.supply.provision buys"
            " one.": not entry.may_have_bought,
            f"Its lease cannot be read: {before.reason}.": before.reason,
            f"A run began to end its machine at {formatted(reaped or now)}, so it gets no more time. If it still runs"
            " in a quarter of an hour, you can extend it then.": reaped is not None,
            "Its machine has no lease, so nothing ends it. To set an end, replace extend_by: -e"
            f" extend_until={lease.utc_rounded_up(request.end(None, now))}": before.end is None
            and request.more.moment is None,
        }
    )


def _why_not_later(before: float | None, end: float, now: float) -> list[str]:
    """Why the new end cannot be set: it is in the past, or earlier than the old one."""
    return applicable(
        {
            f"The new end, {formatted(end)}, has passed: it is {formatted(now)} now. If that is right, set a later"
            " extend_until.": end <= now,
            f"Its lease already ends later than {formatted(end)}: at {formatted(before or end)}. To end its machine"
            " earlier, run compute_index.supply.decommission.": before is not None and end < before,
        }
    )


def _why_too_much(request: TimeRequest, begin: float | None, end: float, at_most: float | None) -> list[str]:
    """Why the lease would exceed its limits, or may: it is too long, or the machine too expensive."""
    longest = "unknown, since its purchase has no date" if begin is None else request.longest.text
    latest = -math.inf if begin is None else request.longest.end(begin) or math.inf
    costs = "an unknown sum" if at_most is None else f"up to USD {amount(round(at_most, 2))}"
    bill = math.inf if at_most is None else round(at_most, 6)
    return applicable(
        {
            f"With an end at {formatted(end)}, its lease would exceed provision_lease_max ({longest}), counted from its"
            " purchase. -e provision_lease_max=<duration> allows more.": request.longest and end > latest,
            f"With an end at {formatted(end)}, its machine would cost {costs} in all, and provision_max_bill is USD"
            f" {amount(request.max_bill)}. -e provision_max_bill=<USD> allows more.": bill > request.max_bill,
        }
    )


def variables_of_extension(extension: Extension) -> dict[str, t.Any]:
    """The changes to the registry entry. They remove the marks of an end that did not take place."""
    return {**lease_facts(extension.end, extension.at_most), lease.REAPED_AT: None, STORAGE_ENDS: None}


def extension_rows(extensions: t.Mapping[str, Extension]) -> list[dict[str, t.Any]]:
    """The extensions as rows of a table, which a workflow also gets."""
    return [
        {
            "host": host,
            "before": None if item.before is None else formatted(item.before),
            "until": formatted(item.end),
            "more": None if item.more is None else round(item.more, 2),
            "at_most": None if item.at_most is None else round(item.at_most, 2),
        }
        for host, item in extensions.items()
    ]


def extension_lines(extensions: t.Mapping[str, Extension]) -> list[str]:
    """The extensions as a table, with their total cost."""
    if not extensions:
        return ["No lease was extended."]
    runs = [host for host, extension in extensions.items() if extension.is_of_run]
    table, moments = extension_rows(extensions), ("before", "until")
    more = [item["more"] for item in table if item["more"] is not None]
    shown = [{**item, **{key: str(item[key] or "-").removesuffix(" UTC") for key in moments}} for item in table]
    jobs = f"A job that has begun ends as planned ({abridged(runs)}): only its results get more time." if runs else ""
    total = f"USD more in total: {amount(sum(more))}"
    return [*narrow_table(shown, _COLUMNS, ["host"]), "", total, *wrapped(jobs, indent="  ")]


_COLUMNS = {"host": "host", "until (UTC)": "before", "extended to": "until", "USD more": "more", "at most": "at_most"}
