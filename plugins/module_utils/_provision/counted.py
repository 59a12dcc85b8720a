# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a ceiling counts: hosts and machines, what each costs, since when, and in which state.

A ceiling decides by this value, and its refusal is made from it, so both have the same numbers.
"""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass

from .._moments import formatted, seconds_of
from .._text import grouped
from .._wording import amount, ranges, usd
from .entry import Entry
from .sums import Sum, add_up

_FEW = 8  # parts that a refusal shows one by one; more are shown by state and price
_MOST_UNOWNED = 20  # machines without a host that a refusal names; the audit shows all of an account's


class State(enum.Enum):
    """Why a part counts, or does not, in words for a person; a refusal names them in this order."""

    # Of a month
    SPENT = "spent"
    RUNS_ON = "runs on"
    ORDERED = "would be bought"
    BUYING = "being bought"
    LIVE = "live"
    UNREAD = "its entry cannot be read"
    UNOWNED = "no host owns it"
    MISSING = "missing"

    @property
    def counts(self) -> bool:
        """Whether it is in the sum of a ceiling; see guarantee 7 for what is missing."""
        return self is not State.MISSING


@dataclass(frozen=True)
class CeilingPart:
    """A host, or a machine that no host owns, in a ceiling.

    ``cost``: USD per hour (of a month: USD), None if unknown. ``since``: seconds since the epoch, None if unknown or
    still to come; of what is missing, when that was first seen.
    """

    name: str
    cost: float | None
    state: State = State.LIVE
    since: float | None = None

    @classmethod
    def of_entry(cls, host: str, entry: Entry) -> CeilingPart:
        """What a registry says of a host that owns or buys something."""
        if entry.is_missing:
            return cls(host, entry.price_per_hour, State.MISSING, seconds_of(entry.missing_since))
        state = State.BUYING if entry.is_open else State.LIVE
        return cls(host, entry.price_per_hour, state, seconds_of(entry.journaled_at))

    @classmethod
    def of_machine(cls, machine: t.Mapping[str, t.Any], state: State = State.UNOWNED) -> CeilingPart:
        """A machine as the API lists it."""
        name, number = machine.get("name"), str(machine.get("resource_id") or "a machine without an id")
        named = f"{name} ({number})" if name else number
        return cls(named, machine.get("price_per_hour"), state, seconds_of(machine.get("created_at")))


@dataclass(frozen=True)
class Count:
    """All parts of a ceiling, with those that do not count."""

    parts: tuple[CeilingPart, ...] = ()

    @property
    def sum(self) -> Sum:
        """What counts, together."""
        return self.sum_of(*State)

    def sum_of(self, *states: State) -> Sum:
        """What counts in these states, together."""
        return add_up(part.cost for part in self.parts if part.state in states and part.state.counts)

    @property
    def told(self) -> str:
        """The sum of prices in a sentence."""
        found, before = self.sum, self.sum_of(*(state for state in State if state is not State.ORDERED))
        unknown = f" and {found.unknown} unknown price(s)" if found.unknown else ""
        already = f", of which {usd(before.total)} are live or being bought already" if before.total else ""
        return f"{usd(found.total)}{unknown} together{already}"

    @property
    def names(self) -> str:
        """Every part, in one or two sentences: names, costs, states, and since when."""
        counted = [part for part in self.parts if part.state.counts]
        left_out = [part for part in self.parts if not part.state.counts]
        said = (("Counted", counted), ("Not counted", left_out))
        return " ".join(f"{word}: {_listed(parts)}." for word, parts in said if parts)


def _listed(parts: t.Sequence[CeilingPart]) -> str:
    few = len(parts) <= _FEW
    ordered = (part for state in State for part in parts if part.state is state)
    alike = grouped(((part.state, part.cost, part if few else None), part) for part in ordered)
    return "; ".join(map(_told, alike.values()))


def _told(alike: t.Sequence[CeilingPart]) -> str:
    """Parts of one state and one cost."""
    first, names = alike[0], ranges(part.name for part in alike)
    most = _MOST_UNOWNED if first.state is State.UNOWNED else len(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    each = "unknown" if first.cost is None else f"USD {amount(first.cost)}"
    times = f"{len(alike)} x " if len(alike) > 1 else ""
    return f"{', '.join(names[:most])}{rest} {times}{each} ({first.state.value}{_since(alike)})"


def _since(alike: t.Sequence[CeilingPart]) -> str:
    moments = {part.since for part in alike if part.since is not None}
    if not moments:
        return ""
    oldest = formatted(min(moments))
    return f", the oldest since {oldest}" if len(moments) > 1 else f" since {oldest}"


def above_registered(offer_id: str, whose: str, count: Count, ceiling: float, where: str) -> str:
    """All that the shared registry (``where``) knows of a project or an account would cost more, with this offer."""
    return (
        f"With offer {offer_id} all machines of {whose} would cost {count.told}, where at most {usd(ceiling)} are"
        f" allowed. {count.names} {where} counts what is live and what is being bought."
    )
