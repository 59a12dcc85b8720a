# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The costs of purchases by host, group, day and month (UTC), and the report about them.

Costs are upper bounds: from before the purchase was sent until its end was confirmed, at the highest noted price. A
purchase without a noted end counts as running. Sums are whole millionths of a USD, so that they agree however they are
grouped. Pure: knows no clock.
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
from .place import Place, line_of_empty
from .search import Sum, add_up

MILLION = 1_000_000  # millionths in a USD
HOUR, DAY = 3600.0, 86_400.0  # seconds
MOST_PUBLISHED = 1000  # purchases that a result lists; its sums have all
# The columns of a spreadsheet of purchases
_COLUMNS = (
    *("project", "host", "groups", "begin", "end", "why", "price_per_hour", "usd", "offer_id", "resource_ids"),
    "registered",
)
DAYS = 31  # the last days are in a table; the result has all
UNGROUPED = "ungrouped"  # the group of purchases without a noted group, as in Ansible


class Bill(t.NamedTuple):
    """A purchase in the ledger. Prices are in USD per hour for the whole offer, None if unknown.

    Times are seconds since the epoch. ``begin``: right before it was sent, None if that was not noted; ``end``: when
    its end was confirmed, None if it may still run; ``ends_at``: when its lease ends. ``registered``: False if it has
    neither a noted end nor a registry entry. ``stays_per_hour``: the part of its price for storage that outlives the
    machine. ``missing_since``: when it was first not found; ``is_missing``: whether a second look did not find it
    either.
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
        """The host, with its project if that is not the default."""
        return self.host if project_of(self.project) == DEFAULT_PROJECT else f"{self.project}/{self.host}"

    @property
    def runs(self) -> bool:
        """Whether it may be billed now."""
        return self.end is None

    @property
    def is_kept_storage(self) -> bool:
        """Whether it is storage that outlived its machine. No lease ends it, and its own id replaces an offer id."""
        return self.offer_id in self.resource_ids

    def is_known(self, now: float) -> bool:
        """Whether its cost is known. If it begins after its end, or in the future, a clock is or was wrong."""
        return self.price_per_hour is not None and self.begin is not None and self.begin <= self.until(now)

    def until(self, now: float) -> float:
        """Its end, or now if it runs. A noted end counts even if it is in the future by the reader's clock."""
        return now if self.end is None else self.end

    def cost(self, since: float, now: float) -> int:
        """The cost between these times in millionths of a USD, rounded up each day; 0 if unknown."""
        return 0 if self.begin is None else sum(part for _day, part in _days(self, since, now))

    def seconds(self, since: float, now: float) -> float:
        """The seconds for which it may have been billed between these times."""
        return 0.0 if self.begin is None else max(0.0, self.until(now) - max(self.begin, since))


@dataclass(frozen=True)
class Ledger:
    """The purchases of a registry; ``now`` is by the clock that noted them.

    ``unreadable``: why they cannot be read; otherwise empty.
    """

    bills: tuple[Bill, ...]
    now: float
    warnings: tuple[str, ...] = ()
    unreadable: str = ""

    def has_ended(self, host: str, offer_id: str) -> bool:
        """Whether the end of the host's purchase of this offer was noted."""
        return any((bill.host, bill.offer_id) == (host, offer_id) and not bill.runs for bill in self.bills)

    def over(self, ids: t.AbstractSet[str]) -> list[Bill]:
        """The ended purchases that had resources with these ids."""
        return [bill for bill in self.bills if not (bill.runs or ids.isdisjoint(bill.resource_ids))]


def combined_ledger(ledgers: t.Sequence[Ledger], since: float) -> Ledger:
    """One ledger of several registries. ``since``: its ``now`` if there is no registry (seconds since the epoch).

    If a purchase was moved between registries, both have a bill of it; the one that ended last covers all of it.
    """
    bills: dict[tuple[t.Any, ...], Bill] = {}
    for bill in (bill for ledger in ledgers for bill in ledger.bills):
        purchase = (bill.project, bill.host, bill.offer_id or bill.resource_ids)
        bills[purchase] = max(bills.get(purchase, bill), bill, key=lambda item: item.until(math.inf))
    now = max((ledger.now for ledger in ledgers), default=since)
    return Ledger(tuple(bills.values()), now, tuple(text for ledger in ledgers for text in ledger.warnings))


@dataclass(frozen=True)
class Costs:
    """The costs of some purchases, such as those of a host or a group.

    ``days``: millionths of a USD by day (UTC). ``unknown``: the number of purchases with unknown cost. ``prices``: USD
    per hour of the purchases that may be billed now.
    """

    purchases: int
    seconds: float
    days: Counter[str]
    unknown: int
    prices: t.Sequence[float | None]

    @classmethod
    def of(cls, rows: t.Sequence[Costs]) -> Costs:
        """The sum of these costs."""
        days = Counter[str]()
        for row in rows:
            days.update(row.days)
        sums = (sum(getattr(row, name) for row in rows) for name in ("purchases", "seconds", "unknown"))
        purchases, seconds, unknown = sums
        return cls(purchases, seconds, days, unknown, [price for row in rows for price in row.prices])

    @property
    def millionths(self) -> int:
        """The total cost in millionths of a USD."""
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
        """The price of everything that may be billed now."""
        return add_up([0.0, *self.prices])

    @property
    def published(self) -> dict[str, t.Any]:
        """The fields of the result, in USD, hours and USD per hour."""
        return {
            "purchases": self.purchases,
            "hours": round(self.seconds / HOUR, 6),
            "usd": dollars(self.millionths),
            "price_per_hour": self.runs.total,
            "unknown": self.unknown,
        }


@dataclass(frozen=True)
class Spending:
    """The costs between two times in seconds since the epoch; a purchase counts in each of its groups."""

    since: float
    now: float
    bills: tuple[Bill, ...]
    hosts: t.Mapping[str, Costs]
    groups: t.Mapping[str, Costs]
    total: Costs

    @property
    def published(self) -> dict[str, t.Any]:
        """The result, in USD, hours and USD per hour. It lists at most 1000 purchases, those that ended last or run."""
        newest = sorted(self.bills, key=lambda bill: bill.until(math.inf))[-MOST_PUBLISHED:]
        return {
            **self.total.published,
            "price_per_hour_without_missing": self.price_without_missing.total,
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
    def price_without_missing(self) -> Sum:
        """The price of everything that may be billed now and is not missing."""
        return add_up([0.0, *(bill.price_per_hour for bill in self.bills if bill.runs and not bill.is_missing)])

    @property
    def missing(self) -> list[dict[str, t.Any]]:
        """The missing purchases, as an audit shows them."""
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
    """The published purchases as CSV, with a header."""
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(_COLUMNS)
    rows.writerows([_cell(row[name]) for name in _COLUMNS] for row in purchases)
    return written.getvalue()


def _cell(value: t.Any) -> t.Any:
    """A cell of a spreadsheet. A text that would be taken for a formula is quoted."""
    text = " ".join(value) if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(("=", "+", "-", "@")) else text


def millionths_of_usd(price: float | None, begin: float, end: float) -> int:
    """The cost in millionths of a USD at a price (USD per hour) between two times, rounded up; 0 if it is unknown."""
    if price is None or end <= begin:
        return 0
    # An error of 1e-16 in a float must not add a millionth.
    return math.ceil(round(price * (end - begin) * MILLION / HOUR, 3))


def dollars(millionths: int) -> float:
    """Millionths of a USD, in USD."""
    return millionths / MILLION


def cents(millionths: int) -> float:
    """Millionths of a USD, in USD, rounded up to cents for display."""
    return -(-millionths // 10_000) / 100


def up_to_cents(usd: float) -> float:
    """A sum from `dollars`, rounded up to cents for display."""
    return cents(round(usd * MILLION))


def spending_of(bills: t.Iterable[Bill], now: float, since: float = 0.0) -> Spending:
    """The costs of purchases from ``since`` to ``now``, both in seconds since the epoch."""
    known = [bill for bill in bills if bill.until(math.inf) > since]
    rows = [(bill, _costs(bill, now, since)) for bill in known]
    hosts = grouped((bill.label, row) for bill, row in rows)
    groups = grouped((name, row) for bill, row in rows for name in dict.fromkeys(bill.groups) or [UNGROUPED])
    return Spending(
        since,
        now,
        tuple(known),
        {name: Costs.of(hosts[name]) for name in sorted(hosts)},
        {name: Costs.of(groups[name]) for name in sorted(groups)},
        Costs.of([row for _bill, row in rows]),
    )


def _costs(bill: Bill, now: float, since: float) -> Costs:
    is_known = bill.is_known(now)
    days = Counter(dict(_days(bill, since, now)) if is_known else {})
    return Costs(1, bill.seconds(since, now), days, int(not is_known), [bill.price_per_hour] if bill.runs else [])


def _days(bill: Bill, since: float, now: float) -> t.Iterator[tuple[str, int]]:
    """The days (UTC) of the purchase, each with its cost in millionths of a USD."""
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


def read_since(value: object, now: float) -> float:
    """Read a date, a time, or a duration before now, in seconds since the epoch; 0 for an empty value.

    Raises ValueError with a reason for the user.
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


# The report

_UPPER_BOUNDS = (
    "Upper bounds in USD, from before each purchase to its confirmed end.",
    "Each is rounded up, so rows of a table may add up to more than all.",
)
NEEDS_ALL_HOSTS = "compute_index.supply.spend covers whole registries: leave --limit out. Nothing was sent."
SPEND_NEEDS_REGISTRY = (
    "Only a registry knows what was spent, and there is none (provision_registry_dir is empty, and there is no"
    " provision_registry_url). Nothing was sent."
)


def warnings(spending: Spending, uncounted: t.Sequence[str], projects: t.Iterable[str]) -> t.Iterator[str]:
    """Warnings about costs that are uncertain or not counted.

    ``uncounted``: hosts without a registry. ``projects``: other projects of the shared registry that own machines.
    """
    for bill in spending.bills:
        if not bill.registered:
            yield (
                f"The registry no longer has an entry for {bill.label}'s offer {bill.offer_id or 'unknown'}"
                f" ({ids_in_words(bill.resource_ids)}), and no end was noted, so it counts up to now. If it no longer"
                " runs, add its end to the ledger (docs/registry.md)."
            )
    if unknown := [name for name, row in spending.hosts.items() if row.unknown]:
        yield f"Not in the sums, since price or start is unknown: {abridged(unknown)}."
    if uncounted:
        yield f"Not counted, since they keep no registry: {abridged(uncounted)}."
    for project in projects:
        yield f"Not counted: the project {project} of the shared registry. -e provision_project={project} counts it."


def cost_lines(spending: Spending, places: t.Iterable[Place] = (), here: str = "") -> list[str]:
    """The report: costs by host, group, month and day, missing machines, and the total.

    ``places``: the registries that were read. ``here``: the folder in which Ansible was started.
    """
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
    without = f", {_per_hour(spending.price_without_missing)} without missing machines" if spending.missing else ""
    report += [f"USD in total: {amount(cents(total.millionths))}; now {_per_hour(total.runs)} per hour{without}"]
    return [*report, *([] if spending.hosts else line_of_empty(places, here))]


def _shown_row(row: Costs) -> dict[str, t.Any]:
    return {
        "purchases": row.purchases,
        "hours": round(row.seconds / HOUR, 2),
        "runs": _per_hour(row.runs) if row.runs.unknown else row.runs.total,
        "usd": f"{amount(cents(row.millionths))} + unknown" if row.unknown else cents(row.millionths),
    }


def _per_hour(runs: Sum) -> str:
    return f"{amount(runs.total)} + unknown" if runs.unknown else amount(runs.total)
