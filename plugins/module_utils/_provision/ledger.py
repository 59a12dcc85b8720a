# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bills of purchases from the lines of a ledger, by the same rules for all registries.

An offer is sold once, so a purchase is a host and an offer. The order of lines does not matter, since git merges those
of two clones in any order. ``journaled_at`` identifies the claim of a line. A line that says that nothing was bought
undoes its claim and those that this claim renewed, never another clone's purchase. Pure: knows no files and no clock.
"""

from __future__ import annotations

import math
import typing as t

from .._text import grouped, number_of, read_price, seconds_of, text_of, texts_of
from .entry import Entry, project_of, unique_ids
from .search import highest_known_price
from .spending import Bill

# The reasons for the end of a purchase
DECOMMISSIONED = "decommissioned"
REAPED = "reaped"
RELEASED = "released"  # given back: it never got ready
FAILED = "failed"  # made, but failed, and nothing remained
GONE = "gone"  # found to have ended
MOVED = "moved"  # to another registry, where it continues

# The events of a ledger. Each line has all facts that were known of the purchase then.
SENT = "sent"  # about to be sent, or to be sent again
NOTHING = "nothing"  # nothing was bought
MADE = "made"  # bought, with its machines
ADOPTED = "adopted"
ENDED = "ended"  # the end is certain
# The current state of an entry in the registry, as an additional line
HELD = "held"
FREED = "freed"


class LineFacts(t.NamedTuple):
    """The facts of a purchase in a line, like those of an `Entry`."""

    offer_id: str = ""
    resource_ids: tuple[str, ...] = ()
    price_per_hour: float | None = None
    groups: tuple[str, ...] = ()
    project: str = ""
    journaled_at: str = ""


class Line(t.NamedTuple):
    """An event. Moments are in seconds since the epoch. ``begin``: when its claim was made.

    ``renews``: the ``journaled_at`` of an open claim that this one sends again. ``ahead``: if the API's clock noted the
    moments, the seconds by which it was ahead of the controller's.
    """

    event: str
    host: str
    entry: LineFacts | Entry
    at: float | None = None
    begin: float | None = None
    why: str = ""
    renews: str = ""
    ahead: float = 0.0

    @property
    def purchase(self) -> Purchase:
        """Host and offer; for a handwritten entry without an offer, host and machine."""
        return self.host, self.entry.offer_id or next(iter(self.entry.resource_ids), "")

    @property
    def claim(self) -> str:
        """The claim of the line, identified by its time."""
        return self.entry.journaled_at


Purchase = tuple[str, str]
_NOTHING = Line("", "", Entry())


def read_line(line: t.Mapping[str, t.Any]) -> Line:
    """Read a line of a file, which a person may have edited."""
    facts, why, renews = facts_of(line), str(line.get("why") or ""), str(line.get("renews") or "")
    at, begin, ahead = seconds_of(line.get("at")), seconds_of(facts.journaled_at), number_of(line.get("ahead"))
    return Line(str(line["event"]), str(line["host"]), facts, at, begin, why, renews, ahead or 0.0)


def facts_of(line: t.Mapping[str, t.Any]) -> LineFacts:
    """The facts of a line in a file, read by the rules of `read_entry`, but faster."""
    return LineFacts(
        text_of(line.get("offer_id")).lower(),
        unique_ids(line.get("resource_ids")),
        read_price(line.get("price_per_hour")),
        texts_of(line.get("groups")),
        text_of(line.get("project")),
        text_of(line.get("journaled_at")),
    )


def line_of_entry(host: str, entry: Entry) -> Line | None:
    """A host's entry as a line; None if it names no purchase."""
    event = HELD if entry.may_have_bought else FREED if entry.is_refused else ""
    return Line(event, host, entry, begin=seconds_of(entry.journaled_at)) if event else None


def bills_of(lines: t.Iterable[Line], broken: t.Container[str] = (), since: float = 0.0) -> list[Bill]:
    """The bills of purchases that were or may be billed after ``since`` (seconds since the epoch), in order of lines.

    It includes all that were moved, since they may run on. ``broken``: hosts whose entries cannot be read.
    """
    purchases = grouped((line.purchase, line) for line in lines)
    bills = (bill_of(its_lines, broken) for its_lines in purchases.values())
    return [bill for bill in bills if bill and (bill.until(math.inf) > since or bill.why == MOVED)]


def clock_ahead(lines: t.Collection[Line]) -> float:
    """Seconds by which the clock that noted running purchases may be ahead of the reader's; never negative."""
    ended = {line.purchase for line in lines if line.event == ENDED}
    return max((0.0, *(line.ahead for line in lines if line.purchase not in ended)))


def _of(lines: t.Iterable[Line], *events: str) -> list[Line]:
    return [line for line in lines if line.event in events]


def bill_of(lines: t.Sequence[Line], broken: t.Container[str] = ()) -> Bill | None:
    """The bill of one purchase: the earliest begin, the highest price, and the newest of the other facts.

    None if nothing was bought.
    """
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
        price_per_hour=highest_known_price(*(entry.price_per_hour for entry in entries)),
        begin=min((line.begin for line in known if line.begin is not None), default=None),
        end=end.at,
        why=end.why,
        ends_at=current.lease_end,
        registered=any((end.event, held.event, host in broken)),
        stays_per_hour=current.stays_per_hour,
        missing_since=current.missing_since,
        is_missing=current.is_missing,
    )


def _age(line: Line) -> tuple[t.Any, ...]:
    """A key that sorts lines from the oldest to the current entry, whatever their order was."""
    return line.event == HELD, line.at or 0.0, line.event, line.claim, line.entry.resource_ids, line.entry.groups


def _proofs(lines: t.Sequence[Line]) -> list[Line]:
    """The lines that show that something was or may have been bought, including claims with no known result."""
    sends, bought = _of(lines, SENT), _of(lines, MADE, ADOPTED, HELD)
    # A purchase without a claim of its own was made by one of the claims that seemed to have bought nothing.
    if {line.claim for line in _of(bought, MADE)} - {line.claim for line in sends}:
        return [*sends, *bought]
    renewed = {line.claim: line.renews for line in sends if line.renews}
    undone = _with_renewed(_of(lines, NOTHING, FREED), renewed)
    left = [line for line in sends if line.claim not in undone]
    undone -= _with_renewed([*left, *bought], renewed)
    return [*(line for line in sends if line.claim not in undone), *bought]


def _with_renewed(lines: t.Iterable[Line], renewed: t.Mapping[str, str]) -> set[str]:
    """The claims of these lines, and all claims that they renewed, directly or indirectly."""
    claims = set[str]()
    for claim in (line.claim for line in lines):
        while claim not in claims:
            claims.add(claim)
            claim = renewed.get(claim, claim)
    return claims


def _end(proofs: t.Sequence[Line], ends: t.Sequence[Line]) -> Line | None:
    """The last end of the possible purchases; None if any of them may still run."""
    known = sorted((line for line in ends if line.at is not None), key=_age)
    closing = [next((end for end in known if _closes(end, line)), None) for line in proofs]
    last = [end for end in (closing if proofs else known[:1]) if end is not None]
    return max(last, key=_age, default=None) if len(last) >= len(proofs) else None


def _closes(end: Line, line: Line) -> bool:
    """Whether this is the end of the line's purchase: it has the same claim, by any clock, or is later."""
    if line.event == HELD:
        return False
    if line.event == ADOPTED:  # perhaps again, after an end that was wrong
        return (end.at or 0.0) >= (line.at or 0.0)
    begin = line.at if line.begin is None else line.begin
    return (end.claim == line.claim != "") or (end.at or 0.0) >= (begin or 0.0)
