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

import functools
import math
import typing as t
from collections import Counter
from sys import intern

from .._text import grouped, number_of, read_price, seconds_of, seconds_of_utc, text_of, texts_of
from .entry import Entry, project_of, unique_ids
from .spending import Bill

# The events of a ledger. Each line says all that is known of the purchase then.
SENT = "sent"  # about to be sent, or to be sent again
NOTHING = "nothing"  # nothing came of it
MADE = "made"  # bought, with its machines
ADOPTED = "adopted"  # taken over
ENDED = "ended"  # over for certain
# What the registry itself says of the purchase now, beside the lines
HELD = "held"
FREED = "freed"


class LineFacts(t.NamedTuple):
    """What a line says of its purchase, as `Entry` has it."""

    offer_id: str = ""
    resource_ids: tuple[str, ...] = ()
    price_per_hour: float | None = None
    groups: tuple[str, ...] = ()
    project: str = ""
    journaled_at: str = ""


class Line(t.NamedTuple):
    """An event. Moments are in seconds since the epoch; ``begin`` is that of the claim that it belongs to.

    ``renews``: the ``journaled_at`` of a claim that was open, and is sent again by this one.
    ``ahead``: seconds by which the API's clock, if that noted the moments, was ahead of the controller's.
    ``text``: the hash of what the file has; a merge may repeat a line, while each run writes a line once.
    """

    event: str
    host: str
    entry: LineFacts | Entry
    at: float | None = None
    begin: float | None = None
    why: str = ""
    renews: str = ""
    ahead: float = 0.0
    text: int = 0

    @property
    def purchase(self) -> Purchase:
        """Host and offer. Entries that persons have written may name a machine and no offer."""
        return self.host, self.entry.offer_id or next(iter(self.entry.resource_ids), "")

    @property
    def claim(self) -> str:
        """The claim that it belongs to."""
        return self.entry.journaled_at


Purchase = tuple[str, str]
_NOTHING = Line("", "", Entry())


def read_line(line: t.Mapping[str, t.Any], text: int = 0) -> Line:
    """A line of a file, however a person may have written it."""
    facts, why, renews = facts_of(line), str(line.get("why") or ""), str(line.get("renews") or "")
    at, begin = seconds_of(line.get("at")), seconds_of(facts.journaled_at)
    ahead = number_of(line.get("ahead")) or 0.0
    # Thousands of lines have the same words.
    return Line(
        intern(str(line["event"])), intern(str(line["host"])), facts, at, begin, intern(why), renews, ahead, text
    )


def facts_of(line: t.Mapping[str, t.Any]) -> LineFacts:
    """What a line of a file says of its purchase: by the rules of `read_entry`, only faster."""
    return LineFacts(
        text_of(line.get("offer_id")).lower(),
        unique_ids(line.get("resource_ids")),
        read_price(line.get("price_per_hour")),
        _once(texts_of(line.get("groups"))),
        intern(text_of(line.get("project"))),
        text_of(line.get("journaled_at")),
    )


@functools.lru_cache(maxsize=1024)
def _once(groups: tuple[str, ...]) -> tuple[str, ...]:
    """The same groups, once in memory."""
    return groups


def line_of_entry(host: str, entry: Entry) -> Line | None:
    """What the entry of a host says; None if it says nothing of a purchase."""
    event = HELD if entry.may_have_bought else FREED if entry.is_refused else ""
    return Line(event, host, entry, begin=seconds_of(entry.journaled_at)) if event else None


class Book:
    """The purchases of a ledger while its lines are read, in the order in which they appear.

    A purchase that has ended, as nearly all have, is no more than its bill. If the file has more to say of it after
    that, it is one of those `again`, and the file is to be read once more for them. ``held``: what the registry says
    now. ``since``: what was over then is left out (seconds since the epoch).
    """

    def __init__(self, held: t.Iterable[Line] = (), since: float = 0.0) -> None:
        self._held = grouped((line.purchase, line) for line in held)
        self._since = since
        self._purchases: dict[Purchase, list[Line] | Bill | None] = {}
        self.again: set[Purchase] = set()

    def expects(self, purchase: Purchase) -> bool:
        """Whether nothing is known of the purchase yet, which is about to be read; it keeps its place among others."""
        return self._purchases.setdefault(purchase, []) == [] and purchase not in self.again

    def add(self, line: Line) -> None:
        """A line of the file."""
        known = self._purchases.setdefault(line.purchase, [])
        if not isinstance(known, list):
            self.again.add(line.purchase)
        elif all(line.text != item.text for item in known):
            known.append(line)
            if line.event == ENDED:
                self._shorten(line.purchase, known)

    def _shorten(self, purchase: Purchase, lines: t.Sequence[Line]) -> None:
        """Keep no more than the bill of a purchase that has ended by these lines."""
        bill = bill_of(lines) if purchase not in self._held and purchase not in self.again else None
        if bill is not None and bill.end is not None:
            self._purchases[purchase] = None if bill.end <= self._since else bill

    def closes(self, purchase: Purchase) -> bool:
        """Whether the book has nothing of the purchase yet, so that `close` may follow."""
        return self._purchases.get(purchase) == [] and purchase not in self._held

    def close(self, purchase: Purchase, machine: str, about: LineFacts, claim: str, end: float, why: str) -> None:
        """A purchase of one machine of which all lines say the same; ``end`` in seconds since the epoch."""
        self._purchases[purchase] = None if end <= self._since else _bill(purchase, machine, about, claim, end, why)

    def bill(self, purchase: Purchase) -> Bill | None:
        """What one purchase has cost; None if it is not known, or nothing came of it."""
        so_far = self._purchases.get(purchase, [])
        return bill_of(so_far) if isinstance(so_far, list) else so_far

    def begin_again(self) -> t.Collection[Purchase]:
        """Forget the purchases `again`, of which all lines will be read once more, and return them."""
        self._purchases.update({purchase: [] for purchase in self.again})
        return self.again

    def _lines(self) -> t.Iterator[tuple[Purchase, list[Line]]]:
        """The purchases that are no bill yet, with all that is known of them."""
        for purchase in {**self._purchases, **self._held}:
            so_far = self._purchases.get(purchase, [])
            if isinstance(so_far, list):
                yield purchase, [*so_far, *self._held.get(purchase, ())]

    def bills(self, broken: t.Container[str] = ()) -> list[Bill]:
        """What was or may be billed. ``broken``: hosts whose entries cannot be read."""
        rest = {purchase: bill_of(lines, broken) for purchase, lines in self._lines()}
        found = {**self._purchases, **rest}.values()
        return [bill for bill in found if isinstance(bill, Bill) and bill.until(math.inf) > self._since]

    @property
    def ahead(self) -> float:
        """Seconds by which the clock that noted what runs may be ahead of the reader's; 0 if it may be behind."""
        open_ = (lines for _purchase, lines in self._lines() if not _of(lines, ENDED))
        return max((0.0, *(line.ahead for lines in open_ for line in lines)))


def _bill(purchase: Purchase, machine: str, about: LineFacts, claim: str, end: float, why: str) -> Bill:
    host, offer_id = purchase
    project, begin = project_of(about.project), seconds_of_utc(claim)
    return Bill(project, host, offer_id, (machine,), about.groups, about.price_per_hour, begin, end, intern(why))


def fold(lines: t.Iterable[Line]) -> list[Bill]:
    """What was or may be billed."""
    purchases = grouped((line.purchase, line) for line in lines)
    return list(filter(None, map(bill_of, purchases.values())))


def _of(lines: t.Iterable[Line], *events: str) -> list[Line]:
    return [line for line in lines if line.event in events]


def bill_of(lines: t.Sequence[Line], broken: t.Container[str] = ()) -> Bill | None:
    """What the lines of one purchase come to: the earliest begin, the highest price, and the newest of the rest."""
    proofs, ends = _proofs(lines), _of(lines, ENDED)
    known = sorted([*proofs, *ends], key=_age)
    if not known:
        return None
    end, held = _end(proofs, ends) or _NOTHING, next(iter(_of(proofs, HELD)), _NOTHING)
    current = t.cast(Entry, held.entry)
    host, entries = known[0].host, [line.entry for line in known]
    newest = entries[::-1]
    return Bill(
        project=project_of(next(filter(None, (entry.project for entry in newest)), "")),
        host=host,
        offer_id=entries[0].offer_id,
        resource_ids=tuple(dict.fromkeys(resource_id for entry in entries for resource_id in entry.resource_ids)),
        groups=next(filter(None, (entry.groups for entry in newest)), ()),
        price_per_hour=max(_noted(entry.price_per_hour for entry in entries), default=None),
        begin=min(_noted(line.begin for line in known), default=None),
        end=end.at,
        why=end.why,
        ends_at=seconds_of(current.ends_at),
        registered=any((end.event, held.event, host in broken)),
        missing_since=current.missing_since,
        is_missing=current.is_missing,
        stays_per_hour=current.stays_per_hour,
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
