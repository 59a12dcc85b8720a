# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where no machine is bought for a while: in the regions of vendors whose machines did not pass their tests.

A run knows them by its own attempts. Later runs, and those for other hosts, know them by the evidence that the registry
keeps, for as long as the host that buys declares (``provision_avoid``).
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._moments import seconds_of
from .._text import one_line, text_of
from .._wording import duration
from . import lease
from .acceptance import UNSOUND
from .choosing import Choice
from .clock import Clock, clock_of

Row = t.Mapping[str, t.Any]
DAYS = 7 * 86_400.0  # seconds, unless a host declares another time
_UNNAMED = "a vendor without a name"
_NEVER = ("", "none")


def read_avoid(value: object, wrong: list[str]) -> float:
    """The seconds of ``provision_avoid``; what is wrong with it is added to ``wrong``."""
    text = text_of(value).lower()
    try:
        return 0.0 if text in _NEVER else duration(text)
    except ValueError as error:
        wrong.append(f"provision_avoid {error}.")
        return 0.0


def place_of(row: Row) -> tuple[str, str]:
    """The vendor and the region of an offer, an attempt or a piece of evidence; empty for one that has none."""
    return text_of(row.get("vendor")), text_of(row.get("region"))


@dataclass(frozen=True)
class Avoided:
    """A vendor's region. ``until``: seconds since the epoch; None for the rest of this run. ``reason``: for people."""

    vendor: str
    region: str
    reason: str = ""
    until: float | None = None

    @property
    def place(self) -> tuple[str, str]:
        """As `place_of` has it of an offer."""
        return self.vendor, self.region

    @property
    def words(self) -> str:
        """A sentence without its full stop: ``nebius EU is avoided until ... UTC, after a failed test: GPU 3: ...``."""
        name = " ".join(filter(None, self.place)) or _UNNAMED
        end = "for the rest of this run" if self.until is None else f"until {lease.said(self.until)}"
        return f"{name} is avoided {end}, after a failed test{': ' if self.reason else ''}{self.reason}"


def of_evidence(evidence: t.Iterable[Row], seconds: float, clock: Clock) -> tuple[Avoided, ...]:
    """The places that the registry's ``evidence`` is about, for so many seconds after each test."""
    return tuple(filter(None, (_of_bundle(bundle, seconds, clock) for bundle in evidence)))


def _of_bundle(bundle: Row | None, seconds: float, clock: Clock) -> Avoided | None:
    """None if its time is over, or cannot be read. A test with a time in the future counts as made now."""
    if not isinstance(bundle, t.Mapping):
        return None
    tested, now = seconds_of(bundle.get("tested_at")), clock.now(clock_of(bundle.get("clock")))
    if tested is None or min(tested, now) + seconds <= now:
        return None
    return Avoided(*place_of(bundle), one_line(text_of(bundle.get("reason"))), min(tested, now) + seconds)


def of_attempts(attempts: t.Iterable[Row]) -> tuple[Avoided, ...]:
    """The places where a machine that this run has bought did not pass its test."""
    return tuple(Avoided(*place_of(one)) for one in attempts if one.get("error_class") == UNSOUND)


def avoided(of_run: t.Iterable[Avoided], of_registry: t.Iterable[Avoided]) -> list[Avoided]:
    """Each place once, sorted by name: as the registry has it, with the latest end if it has several."""
    ranked = sorted([*of_run, *of_registry], key=lambda item: (item.place, item.until or 0.0))
    return list({item.place: item for item in ranked}.values())


def names(choices: t.Iterable[Choice], place: tuple[str, str]) -> bool:
    """Whether a search of the host names just this vendor and region: then it looks there all the same."""
    wanted = tuple(map(str.lower, place))
    declared = (choice.spec for choice in choices if not choice.at_storage)
    return all(place) and any(tuple(map(str.lower, place_of(spec))) == wanted for spec in declared)


def since(seconds: t.Iterable[float], now: float) -> float:
    """The moment after which evidence counts for at least one host. ``seconds``: the times that the hosts declare."""
    return now - max(seconds, default=0.0)
