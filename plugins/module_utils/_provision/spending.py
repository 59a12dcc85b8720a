# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What purchases have cost at most, by host, by group, by day and by month (UTC), and how a report says it.

Upper bounds: from the moment before the purchase was sent to the one after its end was confirmed, at the highest price
that was noted. What has no noted end counts as running. Sums are whole millionths of a USD, so that they agree
whichever way they are made. Pure: knows no clock.
"""

from __future__ import annotations

import csv
import functools
import io
import math
import re
import typing as t
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone

from .._text import (
    abridged,
    amount,
    duration,
    formatted,
    grouped,
    ids_in_words,
    narrow_table,
    number_of,
    printable,
    seconds_of,
    text_of,
    utc,
)
from .entry import DEFAULT_PROJECT, project_of
from .messages import missing_lines, missing_row
from .search import Sum, add_up

MILLION = 1_000_000  # millionths in a USD
HOUR, DAY = 3600.0, 86_400.0  # seconds
MOST_PUBLISHED = 1000  # purchases in a result, one by one; sums have all
# The columns of a spreadsheet: a purchase's host, what it was, and what it has cost
_COLUMNS = (
    *("project", "host", "groups", "begin", "end", "why", "price_per_hour", "usd", "offer_id", "resource_ids"),
    "registered",
)
DAYS = 31  # of these in a table, the last ones; the result has all
UNGROUPED = "ungrouped"  # Ansible's word, and the group of a purchase of which none was noted


class Bill(t.NamedTuple):
    """A purchase as the ledger has it. ``price``: USD per hour for the whole offer, None if unknown.

    Moments are seconds since the epoch. ``begin``: when it was about to be sent, None if nobody noted it; ``end``:
    when its end was confirmed, None if it may still run; ``ends_at``: when it is to end. ``registered``: False if
    neither an end was noted, nor has the registry an entry of it any more. ``stays_per_hour``: of its price, what goes
    on after its machine, None if unknown. ``missing_since``: when a first look did not find it; ``is_missing``: whether
    a second one did not either.
    """

    project: str
    host: str
    offer_id: str
    resource_ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    price_per_hour: float | None = None
    begin: float | None = None
    end: float | None = None
    why: str = ""
    ends_at: float | None = None
    registered: bool = True
    stays_per_hour: float | None = 0.0
    missing_since: str = ""
    is_missing: bool = False

    @property
    def label(self) -> str:
        """The host, with its project if that is not the usual one."""
        return self.host if project_of(self.project) == DEFAULT_PROJECT else f"{self.project}/{self.host}"

    @property
    def runs(self) -> bool:
        """Whether it may be billed now."""
        return self.end is None

    @property
    def is_kept_storage(self) -> bool:
        """Whether it is storage that a machine has left, which no lease ends: its own id stands for its offer's."""
        return self.offer_id in self.resource_ids

    def is_known(self, now: float) -> bool:
        """Whether it can be said what it costs. If it begins after its end, or after now, a clock is or was wrong."""
        return self.price_per_hour is not None and self.begin is not None and self.begin <= self.until(now)

    def until(self, now: float) -> float:
        """When it ended, or now if it runs. An end is never in the future, whatever the clock of the reader says."""
        return now if self.end is None else self.end

    def cost(self, since: float, now: float) -> int:
        """Millionths of a USD at most between these moments, each day rounded up; 0 where that is not known."""
        return 0 if self.begin is None else sum(part for _day, part in _days(self, since, now))

    def seconds(self, since: float, now: float) -> float:
        """How long it was billed at most between these moments."""
        return 0.0 if self.begin is None else max(0.0, self.until(now) - max(self.begin, since))


@dataclass(frozen=True)
class Ledger:
    """The purchases of a registry; ``now`` is the moment of the clock that theirs come from.

    ``unreadable``: why there are none to be seen.
    """

    bills: tuple[Bill, ...]
    now: float
    warnings: tuple[str, ...] = ()
    unreadable: str = ""

    def has_ended(self, host: str, offer_id: str) -> bool:
        """Whether the end of the host's purchase was noted."""
        return any((bill.host, bill.offer_id) == (host, offer_id) and not bill.runs for bill in self.bills)

    def over(self, ids: t.AbstractSet[str]) -> list[Bill]:
        """The purchases that have ended here, and had resources with these ids."""
        return [bill for bill in self.bills if not (bill.runs or ids.isdisjoint(bill.resource_ids))]


def combined_ledger(ledgers: t.Sequence[Ledger], since: float) -> Ledger:
    """What several registries know of the time since a moment (seconds since the epoch).

    Of a purchase that was moved from one into another both have a part, and the one that ended last has all of it.
    """
    bills: dict[tuple[t.Any, ...], Bill] = {}
    for bill in (bill for ledger in ledgers for bill in ledger.bills):
        purchase = (bill.project, bill.host, bill.offer_id or bill.resource_ids)
        bills[purchase] = max(bills.get(purchase, bill), bill, key=lambda item: item.until(math.inf))
    now = max((ledger.now for ledger in ledgers), default=since)
    return Ledger(tuple(bills.values()), now, tuple(text for ledger in ledgers for text in ledger.warnings))


@dataclass(frozen=True)
class Spent:
    """What purchases, as those of a host or a group, have cost. ``prices``: USD per hour of what may be billed now.

    ``days``: millionths of a USD by day (UTC). ``unknown``: how many of the purchases have an unknown cost.
    """

    purchases: int
    seconds: float
    days: Counter[str]
    unknown: int
    prices: t.Sequence[float | None]

    @classmethod
    def of(cls, rows: t.Sequence[Spent]) -> Spent:
        """What all of these have cost together."""
        days = Counter[str]()
        for row in rows:
            days.update(row.days)
        sums = (sum(getattr(row, name) for row in rows) for name in ("purchases", "seconds", "unknown"))
        purchases, seconds, unknown = sums
        return cls(purchases, seconds, days, unknown, [price for row in rows for price in row.prices])

    @property
    def millionths(self) -> int:
        """All of it, in millionths of a USD."""
        return sum(self.days.values())

    @property
    def months(self) -> dict[str, int]:
        """Millionths of a USD by month (UTC)."""
        months = Counter[str]()
        for day in sorted(self.days):
            months[day[:7]] += self.days[day]
        return dict(months)

    @property
    def runs(self) -> Sum:
        """What may be billed now."""
        return add_up([0.0, *self.prices])

    @property
    def published(self) -> dict[str, t.Any]:
        """What a workflow gets: USD, hours and USD per hour."""
        return {
            "purchases": self.purchases,
            "hours": round(self.seconds / HOUR, 6),
            "usd": dollars(self.millionths),
            "price_per_hour": self.runs.total,
            "unknown": self.unknown,
        }


@dataclass(frozen=True)
class Spending:
    """The costs between two moments; a purchase counts in each of its groups."""

    since: float
    now: float
    bills: tuple[Bill, ...]
    hosts: t.Mapping[str, Spent]
    groups: t.Mapping[str, Spent]
    total: Spent

    @property
    def published(self) -> dict[str, t.Any]:
        """What a workflow gets: USD, hours and USD per hour. Of many purchases those that run, or have ended last."""
        newest = sorted(self.bills, key=lambda bill: bill.until(math.inf))[-MOST_PUBLISHED:]
        return {
            **self.total.published,
            "price_per_hour_without_missing": self.runs_found.total,
            "missing": self.missing,
            "since": utc(self.since) if self.since else None,
            "until": utc(self.now),
            "hosts": {name: row.published for name, row in self.hosts.items()},
            "groups": {name: row.published for name, row in self.groups.items()},
            "days": {day: dollars(self.total.days[day]) for day in sorted(self.total.days)},
            "months": {month: dollars(millionths) for month, millionths in self.total.months.items()},
            "purchases": [self._purchase(bill) for bill in newest],
            "purchases_left_out": len(self.bills) - len(newest),
        }

    @property
    def runs_found(self) -> Sum:
        """What may be billed now and is not missing."""
        return add_up([0.0, *(bill.price_per_hour for bill in self.bills if bill.runs and not bill.is_missing)])

    @property
    def missing(self) -> list[dict[str, t.Any]]:
        """What looks did not find, as an audit shows it."""
        return [
            missing_row(
                bill.label, bill.missing_since, bill.price_per_hour, bill.resource_ids, counts=not bill.is_missing
            )
            for bill in self.bills
            if bill.runs and bill.missing_since
        ]

    def _purchase(self, bill: Bill) -> dict[str, t.Any]:
        return {
            "host": bill.host,
            "project": bill.project,
            "offer_id": bill.offer_id,
            "resource_ids": list(bill.resource_ids),
            "groups": list(bill.groups),
            "price_per_hour": bill.price_per_hour,
            "begin": None if bill.begin is None else utc(bill.begin),
            "end": None if bill.end is None else utc(math.ceil(bill.end)),
            "why": bill.why,
            "registered": bill.registered,
            "usd": dollars(bill.cost(self.since, self.now)) if bill.is_known(self.now) else None,
        }


def sheet(purchases: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    """The published purchases as CSV: a line for each, below one of the names of the columns."""
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(_COLUMNS)
    rows.writerows([_cell(row[name]) for name in _COLUMNS] for row in purchases)
    return written.getvalue()


def _cell(value: t.Any) -> t.Any:
    """A value as a spreadsheet takes it: a text that begins like a formula is none."""
    text = " ".join(value) if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(("=", "+", "-", "@")) else text


def millionths_of_usd(price: float | None, begin: float, end: float) -> int:
    """Millionths of a USD of so many USD per hour between two moments, rounded up; 0 for an unknown price."""
    if price is None or end <= begin:
        return 0
    # A float may be off by some 1e-16 of it, which must not add a millionth.
    return math.ceil(round(price * (end - begin) * MILLION / HOUR, 3))


def dollars(millionths: int) -> float:
    """The same in USD."""
    return millionths / MILLION


def cents(millionths: int) -> float:
    """The same rounded up to cents, for the eye."""
    return -(-millionths // 10_000) / 100


def up_to_cents(usd: float) -> float:
    """The same of what `dollars` has made of whole millionths."""
    return cents(round(usd * MILLION))


def spent(bills: t.Iterable[Bill], now: float, since: float = 0.0) -> Spending:
    """The costs of purchases from one moment to another, both in seconds since the epoch."""
    known = [bill for bill in bills if bill.until(math.inf) > since]
    rows = [(bill, _spent(bill, now, since)) for bill in known]
    hosts = grouped((bill.label, row) for bill, row in rows)
    groups = grouped((name, row) for bill, row in rows for name in dict.fromkeys(bill.groups) or [UNGROUPED])
    return Spending(
        since,
        now,
        tuple(known),
        {name: Spent.of(hosts[name]) for name in sorted(hosts)},
        {name: Spent.of(groups[name]) for name in sorted(groups)},
        Spent.of([row for _bill, row in rows]),
    )


def _spent(bill: Bill, now: float, since: float) -> Spent:
    is_known = bill.is_known(now)
    days = Counter(dict(_days(bill, since, now)) if is_known else {})
    return Spent(1, bill.seconds(since, now), days, int(not is_known), [bill.price_per_hour] if bill.runs else [])


def _days(bill: Bill, since: float, now: float) -> t.Iterator[tuple[str, int]]:
    """What the purchase costs on each day (UTC)."""
    begin = max(t.cast(float, bill.begin), since)
    end = bill.until(now)
    while begin < end:
        day = begin // DAY
        midnight = min(end, (day + 1) * DAY)
        yield _date(day), millionths_of_usd(bill.price_per_hour, begin, midnight)
        begin = midnight


@functools.lru_cache(maxsize=4096)
def _date(day: float) -> str:
    return datetime.fromtimestamp(day * DAY, timezone.utc).strftime("%Y-%m-%d")


def since_of(value: object, now: float) -> float:
    """The moment that a person means by a date, a time, or a duration before now; 0 by nothing.

    Raises ValueError with a reason for a person.
    """
    text = text_of(value)
    if not text:
        return 0.0
    if re.fullmatch(r"[0-9.]+[smhd]", text):
        return max(0.0, now - duration(text))
    moment = None if number_of(text) is not None else seconds_of(text)
    if moment is None:
        raise ValueError(f"must be a date, an ISO 8601 time or a duration such as 30d, not '{printable(text, 60)}'")
    if not 0 <= moment <= now:
        raise ValueError(f"must lie in the past, not '{printable(text, 60)}'")
    return moment


# What a report tells people

_UPPER_BOUNDS = (
    "Upper bounds in USD, from before each purchase to its confirmed end.",
    "Each is rounded up, so the rows of a table may come to more than all.",
)
NEEDS_ALL_HOSTS = "compute_index.supply.spend covers whole registries: leave --limit out. Nothing was sent."
SPEND_NEEDS_REGISTRY = (
    "Only a registry knows what was spent, and there is none (provision_registry_dir is empty, and there is no"
    " provision_registry_url). Nothing was sent."
)


def warnings(spending: Spending, uncounted: t.Sequence[str], projects: t.Iterable[str]) -> t.Iterator[str]:
    """What is not, or not certainly, in the sums. ``uncounted``: hosts that no ledger knows.

    ``projects``: others of the shared registry, which own machines.
    """
    for bill in spending.bills:
        if not bill.registered:
            yield (
                f"The registry has no entry of {bill.label}'s offer {bill.offer_id or 'unknown'}"
                f" ({ids_in_words(bill.resource_ids)}) any more, and no end of it was noted: it counts up to now. Does"
                " it still run? If not, add its end to the ledger (docs/registry.md)."
            )
    if unknown := [name for name, row in spending.hosts.items() if row.unknown]:
        yield f"In no sum, since price or beginning is unknown: {abridged(unknown)}."
    if uncounted:
        yield f"Not counted, since they keep no registry: {abridged(uncounted)}."
    for project in projects:
        yield f"Not counted: the project {project} of the shared registry. -e provision_project={project} counts it."


def cost_lines(spending: Spending) -> list[str]:
    """The costs by hosts, groups, months and days, what is missing, and the sums."""
    since = f"Since {formatted(spending.since)}, until" if spending.since else "Until"
    report = [*_UPPER_BOUNDS, f"{since} now, {formatted(spending.now)}; what runs counts up to now.", ""]
    for title, rows in (("host", spending.hosts), ("group", spending.groups)):
        columns = {title: "name", "purchases": "purchases", "hours": "hours", "USD/h now": "runs", "USD": "usd"}
        shown = [{"name": name, **_shown_row(row)} for name, row in rows.items()]
        report += [*narrow_table(shown, columns, [title]), ""] if shown else []
    total = spending.total
    for title, sums in (("month", total.months), ("day", dict(sorted(total.days.items())[-DAYS:]))):
        shown = [{"name": name, "usd": cents(millionths)} for name, millionths in sums.items()]
        report += [*narrow_table(shown, {title: "name", "USD": "usd"}), ""] if shown else []
    if len(total.days) > DAYS:
        report += [f"The last {DAYS} of {len(total.days)} days; the result has all of them.", ""]
    report += missing_lines(spending.missing)
    without = f", {_per_hour(spending.runs_found)} without what is missing" if spending.missing else ""
    return [*report, f"USD in total: {amount(cents(total.millionths))}; now {_per_hour(total.runs)} per hour{without}"]


def _shown_row(row: Spent) -> dict[str, t.Any]:
    return {
        "purchases": row.purchases,
        "hours": round(row.seconds / HOUR, 2),
        "runs": _per_hour(row.runs) if row.runs.unknown else row.runs.total,
        "usd": f"{amount(cents(row.millionths))} + unknown" if row.unknown else cents(row.millionths),
    }


def _per_hour(runs: Sum) -> str:
    return f"{amount(runs.total)} + unknown" if runs.unknown else amount(runs.total)
