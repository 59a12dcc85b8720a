# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which purchases the lines of a ledger tell of, and since when each is billed: one fold for all registries.

An offer is sold once, so a purchase is a host and an offer. The order of the lines does not matter: git merges those of
two clones in any order. ``journaled_at`` says which claim a line belongs to. That nothing came of a claim undoes this
claim alone, with those that it renewed, and never that another clone has bought. So the sum may be above the bill, and
is never below it. Pure: knows no files and no clock.
"""

from __future__ import annotations

import math
import typing as t
from collections import Counter
from sys import intern

from .._moments import seconds_of
from .._text import grouped, number_of, text_of, texts_of
from .entry import Entry, ids_of
from .spending import Bill
from .sums import price_in

# The events of a ledger. Each line says all that is known of the purchase then.
SENT = "sent"  # about to be sent, or to be sent again
NOTHING = "nothing"  # nothing came of it
MADE = "made"  # bought, with its machines
ADOPTED = "adopted"  # taken over
ENDED = "ended"  # over for certain
# What the registry itself says of the purchase now, beside the lines
HELD = "held"
FREED = "freed"

# The names of a line, which are those of `Entry`, by those of an entry's variables
NAMES = {
    "provision_procured_offer_id": "offer_id",
    "provision_resource_ids": "resource_ids",
    "provision_price_per_hour": "price_per_hour",
    "provision_groups": "groups",
    "provision_resource_name": "name",
    "provision_project": "project",
    "provision_journaled_at": "journaled_at",
}


class Line(t.NamedTuple):
    """An event. Moments are in seconds since the epoch; ``begin`` is that of the claim that it belongs to.

    ``renews``: the ``journaled_at`` of a claim that was open, and is sent again by this one.
    ``ahead``: seconds by which the API's clock, if that noted the moments, was ahead of the controller's.
    """

    event: str
    host: str
    entry: Entry
    at: float | None = None
    begin: float | None = None
    why: str = ""
    renews: str = ""
    ahead: float = 0.0

    @property
    def purchase(self) -> Purchase:
        """Host and offer. Entries that persons have written may name a machine and no offer."""
        return self.host, self.entry.offer_id or next(iter(self.entry.resource_ids), "")

    @property
    def claim(self) -> str:
        """The claim that it belongs to."""
        return self.entry.journaled_at


Purchase = tuple[str, str]
Row = t.Mapping[str, t.Any]  # a line of a file, however a person may have written it
_NOTHING = Line("", "", Entry())
_ALIKE = ("host", *(name for name in NAMES.values() if name != "resource_ids"))


def _purchase_of(row: Row) -> Purchase:
    """`Line.purchase` of a line that is not read yet."""
    return str(row["host"]), text_of(row.get("offer_id")).lower() or next(iter(ids_of(row.get("resource_ids"))), "")


def read_line(row: Row) -> Line:
    """A line of a file: what it says of its purchase, by the rules of `read_entry`, only faster."""
    entry = Entry(
        offer_id=text_of(row.get("offer_id")).lower(),
        resource_ids=ids_of(row.get("resource_ids")),
        price_per_hour=price_in(row.get("price_per_hour")),
        groups=texts_of(row.get("groups")),
        name=text_of(row.get("name")),
        project=intern(text_of(row.get("project"))),
        journaled_at=text_of(row.get("journaled_at")),
    )
    return Line(
        str(row["event"]),
        intern(str(row["host"])),
        entry,
        at=seconds_of(row.get("at")),
        begin=seconds_of(entry.journaled_at),
        why=intern(str(row.get("why") or "")),
        renews=str(row.get("renews") or ""),
        ahead=number_of(row.get("ahead")) or 0.0,
    )


def line_of(host: str, entry: Entry) -> Line | None:
    """What the entry of a host says; None if it says nothing of a purchase."""
    event = HELD if entry.may_have_bought else FREED if entry.is_refused else ""
    return Line(event, host, entry, begin=seconds_of(entry.journaled_at)) if event else None


class Book:
    """The purchases of a ledger, in the order in which its lines name them.

    A purchase that has ended, as nearly all have, is no more than its bill: None if it was over ``since`` a moment
    (seconds since the epoch), and so is left out. ``held``: what the registry says now.
    """

    def __init__(self, held: t.Iterable[Line] = (), since: float = 0.0) -> None:
        self._held = grouped((line.purchase, line) for line in held)
        self._since = since
        self._purchases: dict[Purchase, list[Row] | Bill | None] = {}
        self._again: set[Purchase] = set()  # of which the file says more after their end

    def read(self, rows: t.Callable[[], t.Iterable[Row]]) -> None:
        """Read the lines of a file, and once more those of purchases that were a bill too early."""
        for row in rows():
            self._add(_purchase_of(row), row)
        self._purchases.update({purchase: [] for purchase in self._again})
        for row in rows() if self._again else ():
            if (purchase := _purchase_of(row)) in self._again:
                self._add(purchase, row)

    def _add(self, purchase: Purchase, row: Row) -> None:
        so_far = self._purchases.setdefault(purchase, [])
        if not isinstance(so_far, list):
            self._again.add(purchase)
        elif row not in so_far:  # a merge may repeat a line, while each run writes a line once
            so_far.append(row)
            if row["event"] == ENDED and purchase not in self._held and purchase not in self._again:
                self._shorten(purchase, so_far)

    def _shorten(self, purchase: Purchase, rows: t.Sequence[Row]) -> None:
        """Keep no more than the bill of a purchase that has ended by these lines."""
        bill = _ordinary(purchase, rows[-1]) if _is_ordinary(rows) else None
        bill = bill or bill_of(list(map(read_line, rows)))
        if bill is not None and bill.end is not None:
            self._purchases[purchase] = bill if _is_since(bill, self._since) else None

    def bill(self, purchase: Purchase) -> Bill | None:
        """What one purchase has cost; None if it is not known, or nothing came of it."""
        so_far = self._purchases.get(purchase, [])
        return bill_of(list(map(read_line, so_far))) if isinstance(so_far, list) else so_far

    def _lines(self) -> t.Iterator[tuple[Purchase, list[Line]]]:
        """The purchases that are no bill yet, with all that is known of them."""
        for purchase in {**self._purchases, **self._held}:
            so_far = self._purchases.get(purchase, [])
            if isinstance(so_far, list):
                yield purchase, [*map(read_line, so_far), *self._held.get(purchase, ())]

    def bills(self, broken: t.Container[str] = ()) -> list[Bill]:
        """What was or may be billed. ``broken``: hosts whose entries cannot be read."""
        rest = {purchase: bill_of(lines, broken) for purchase, lines in self._lines()}
        found = {**self._purchases, **rest}.values()
        return [bill for bill in found if isinstance(bill, Bill) and _is_since(bill, self._since)]

    @property
    def ahead(self) -> float:
        """Seconds by which the clock that noted what runs may be ahead of the reader's; 0 if it may be behind."""
        open_ = (lines for _purchase, lines in self._lines() if not _of(lines, ENDED))
        return max((0.0, *(line.ahead for lines in open_ for line in lines)))


def _is_since(bill: Bill, since: float) -> bool:
    return bill.until(math.inf) > since


def _is_ordinary(rows: t.Sequence[Row]) -> bool:
    """Whether these are the lines of one claim, sent, made and ended, that say the same of it."""
    if [row["event"] for row in rows] != [SENT, MADE, ENDED] or rows[0].get("resource_ids") or rows[0].get("renews"):
        return False
    sent, made, ended = ([row.get(name) for name in _ALIKE] for row in rows)
    return sent == made == ended and rows[1].get("resource_ids") == rows[2].get("resource_ids")


def _ordinary(purchase: Purchase, last: Row) -> Bill | None:
    """`bill_of` in short, by the last line of an ordinary purchase; None if it does not say enough."""
    host, offer_id = purchase
    price, begin = price_in(last.get("price_per_hour")), seconds_of(last.get("journaled_at"))
    end = seconds_of(last.get("at"))
    if price is None or begin is None or end is None:
        return None
    project, why = (intern(text_of(last.get(name))) for name in ("project", "why"))
    ids, groups = ids_of(last.get("resource_ids")), texts_of(last.get("groups"))
    return Bill(project or "default", intern(host), offer_id, ids, groups, price, begin, end, why)


def fold(lines: t.Iterable[Line]) -> list[Bill]:
    """What was or may be billed."""
    purchases = grouped((line.purchase, line) for line in lines)
    return list(filter(None, map(bill_of, purchases.values())))


def _of(lines: t.Iterable[Line], *events: str) -> list[Line]:
    """Those of the lines that are about these events."""
    return [line for line in lines if line.event in events]


def bill_of(lines: t.Sequence[Line], broken: t.Container[str] = ()) -> Bill | None:
    """What the lines of one purchase come to: the earliest begin, the highest price, and the newest of the rest."""
    proofs, ends = _proofs(lines), _of(lines, ENDED)
    known = sorted([*proofs, *ends], key=_age)
    if not known:
        return None
    end, held = _end(proofs, ends) or _NOTHING, next(iter(_of(proofs, HELD)), _NOTHING)
    host, entries = known[0].host, [line.entry for line in known]
    newest = entries[::-1]
    return Bill(
        project=next(filter(None, (entry.project for entry in newest)), "default"),
        host=host,
        offer_id=entries[0].offer_id,
        resource_ids=tuple(dict.fromkeys(resource_id for entry in entries for resource_id in entry.resource_ids)),
        groups=next(filter(None, (entry.groups for entry in newest)), ()),
        price_per_hour=max(_noted(entry.price_per_hour for entry in entries), default=None),
        begin=min(_noted(line.begin for line in known), default=None),
        end=end.at,
        why=end.why,
        ends_at=seconds_of(held.entry.ends_at),
        registered=any((end.event, held.event, host in broken)),
        missing_since=held.entry.missing_since,
        is_missing=held.entry.is_missing,
        stays_per_hour=held.entry.stays_per_hour,
    )


def _noted(values: t.Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _age(line: Line) -> tuple[t.Any, ...]:
    """Sorts lines from the oldest to what the registry says now, whatever their order was."""
    return line.event == HELD, line.at or 0.0, line.event, line.claim, line.entry.resource_ids, line.entry.groups


def _proofs(lines: t.Sequence[Line]) -> list[Line]:
    """The lines by which something was or may have been bought: claims of which nothing is known to have come, too."""
    sends, bought = sorted(_of(lines, SENT), key=_price), _of(lines, MADE, ADOPTED, HELD)
    # What was made without a claim of its own is one of the claims that seemed to have come to nothing.
    if {line.claim for line in _of(bought, MADE)} - {line.claim for line in sends}:
        return [*sends, *bought]
    renewed = {line.claim: line.renews for line in sorted(sends, key=_age) if line.renews}
    # Two clones may have claimed within the same second: what only one of them renewed is not undone for both.
    times = Counter(line.claim for line in sends)
    undone, left = _undone(lines, {claim: its for claim, its in renewed.items() if times[claim] == 1}), []
    for line in sends:
        if undone[line.claim] <= 0:
            left.append(line)
        undone[line.claim] -= 1
    # What a claim renewed may be what has bought, whatever another clone says of that.
    claims = {claim for line in (*left, *bought) for claim in _chain(line.claim, renewed)[1:]}
    return [*left, *(line for line in sends if line.claim in claims), *bought]


def _price(line: Line) -> float:
    """What the claim may cost: of two that cannot be told apart the dearer counts."""
    return math.inf if line.entry.price_per_hour is None else line.entry.price_per_hour


def _undone(lines: t.Sequence[Line], renewed: t.Mapping[str, str]) -> Counter[str]:
    """How many claims of each moment came to nothing. Two clones may have claimed within the same second."""
    undone: Counter[str] = Counter()
    for event in (NOTHING, FREED):  # the registry repeats what a line has said
        for line in lines:
            if line.event == event and not (event == FREED and undone[line.claim]):
                undone.update(_chain(line.claim, renewed))
    return undone


def _chain(claim: str, renewed: t.Mapping[str, str]) -> list[str]:
    """The claim and those that it renewed, one after the other."""
    chain: list[str] = []
    while claim not in chain:
        chain.append(claim)
        claim = renewed.get(claim, claim)
    return chain


def _end(proofs: t.Sequence[Line], ends: t.Sequence[Line]) -> Line | None:
    """The end of the last of what may have been bought; None if anything may still run."""
    known = sorted((line for line in ends if line.at is not None), key=_age)
    closing = [next((end for end in known if _closes(end, line)), None) for line in proofs]
    last = [end for end in (closing if proofs else known[:1]) if end is not None]
    return max(last, key=_age, default=None) if len(last) >= len(proofs) else None


def _closes(end: Line, line: Line) -> bool:
    """Whether the end is one of what the line has bought: of its own claim, by whatever clock, or of a later moment."""
    if line.event == HELD:
        return False
    if line.event == ADOPTED:  # again, after an end that was none
        return (end.at or 0.0) >= (line.at or 0.0)
    begin = line.at if line.begin is None else line.begin
    return (end.claim == line.claim != "") or (end.at or 0.0) >= (begin or 0.0)
