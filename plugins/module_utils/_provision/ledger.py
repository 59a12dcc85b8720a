# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which purchases the lines of a ledger tell of, and since when each is billed: one fold for all registries.

An offer is sold once, so a purchase is a host and an offer. The order of the lines does not matter: git merges those of
two clones in any order. ``journaled_at`` says which claim a line belongs to. That nothing came of a claim undoes this
claim alone, with those that it renewed, and never that another clone has bought. Pure: knows no files and no clock.
"""

from __future__ import annotations

import math
import typing as t

from .._text import grouped, number_of, read_price, seconds_of, text_of, texts_of
from .entry import Entry, project_of, unique_ids
from .spending import Bill

# Why a purchase has ended, in the ledger
DECOMMISSIONED = "decommissioned"
REAPED = "reaped"
RELEASED = "released"  # given back: it never got ready
FAILED = "failed"  # made, and failed without leaving anything
GONE = "gone"  # it was found to have ended
MOVED = "moved"  # into another registry, where it goes on

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
        """Host and offer. Entries that persons have written may name a machine and no offer."""
        return self.host, self.entry.offer_id or next(iter(self.entry.resource_ids), "")

    @property
    def claim(self) -> str:
        """The claim that it belongs to."""
        return self.entry.journaled_at


Purchase = tuple[str, str]
_NOTHING = Line("", "", Entry())


def read_line(line: t.Mapping[str, t.Any]) -> Line:
    """A line of a file, however a person may have written it."""
    facts, why, renews = facts_of(line), str(line.get("why") or ""), str(line.get("renews") or "")
    at, begin, ahead = seconds_of(line.get("at")), seconds_of(facts.journaled_at), number_of(line.get("ahead"))
    return Line(str(line["event"]), str(line["host"]), facts, at, begin, why, renews, ahead or 0.0)


def facts_of(line: t.Mapping[str, t.Any]) -> LineFacts:
    """What a line of a file says of its purchase: by the rules of `read_entry`, only faster."""
    return LineFacts(
        text_of(line.get("offer_id")).lower(),
        unique_ids(line.get("resource_ids")),
        read_price(line.get("price_per_hour")),
        texts_of(line.get("groups")),
        text_of(line.get("project")),
        text_of(line.get("journaled_at")),
    )


def line_of_entry(host: str, entry: Entry) -> Line | None:
    """What the entry of a host says; None if it says nothing of a purchase."""
    event = HELD if entry.may_have_bought else FREED if entry.is_refused else ""
    return Line(event, host, entry, begin=seconds_of(entry.journaled_at)) if event else None


def fold(lines: t.Iterable[Line], broken: t.Container[str] = (), since: float = 0.0) -> list[Bill]:
    """What was or may be billed after ``since`` (seconds since the epoch), in the order in which it appears.

    ``broken``: hosts whose entries cannot be read.
    """
    purchases = grouped((line.purchase, line) for line in lines)
    bills = (bill_of(its_lines, broken) for its_lines in purchases.values())
    return [bill for bill in bills if bill and bill.until(math.inf) > since]


def clock_ahead(lines: t.Collection[Line]) -> float:
    """Seconds by which the clock that noted what runs may be ahead of the reader's; 0 if it may be behind."""
    ended = {line.purchase for line in lines if line.event == ENDED}
    return max((0.0, *(line.ahead for line in lines if line.purchase not in ended)))


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
        stays_per_hour=current.stays_per_hour,
        missing_since=current.missing_since,
        is_missing=current.is_missing,
    )


def _noted(values: t.Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _age(line: Line) -> tuple[t.Any, ...]:
    """Sorts lines from the oldest to what the registry says now, whatever their order was."""
    return line.event == HELD, line.at or 0.0, line.event, line.claim, line.entry.resource_ids, line.entry.groups


def _proofs(lines: t.Sequence[Line]) -> list[Line]:
    """The lines by which something was or may have been bought: claims of which nothing is known to have come, too."""
    sends, bought = _of(lines, SENT), _of(lines, MADE, ADOPTED, HELD)
    # What was made without a claim of its own is one of the claims that seemed to have come to nothing.
    if {line.claim for line in _of(bought, MADE)} - {line.claim for line in sends}:
        return [*sends, *bought]
    renewed = {line.claim: line.renews for line in sends if line.renews}
    undone = _with_renewed(_of(lines, NOTHING, FREED), renewed)
    left = [line for line in sends if line.claim not in undone]
    undone -= _with_renewed([*left, *bought], renewed)
    return [*(line for line in sends if line.claim not in undone), *bought]


def _with_renewed(lines: t.Iterable[Line], renewed: t.Mapping[str, str]) -> set[str]:
    """The claims of these lines, with those that they renewed one after the other."""
    claims = set[str]()
    for claim in (line.claim for line in lines):
        while claim not in claims:
            claims.add(claim)
            claim = renewed.get(claim, claim)
    return claims


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
