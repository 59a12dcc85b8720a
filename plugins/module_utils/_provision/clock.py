# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What time is it? The clock that noted a moment also measures what has passed since, so a constant skew cancels out.

Moments are seconds since the epoch, durations seconds. Pure: the caller reads the clocks.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

# The clocks, as the registry names the one that noted an entry's moments
NOTED_BY = "provision_clock"
HERE = "here"  # this computer's; also that of an entry that names none
API = "api"  # the `Date` of the API's own answers
DATABASE = "database"  # a shared registry's

APART = 300.0  # seconds by which the clocks may differ before nothing with an end is bought
LATEST = 3600.0  # seconds after its noted end at which a lease is over, whatever else is said of it


@dataclass(frozen=True)
class Clock:
    """One moment by each clock; None where that one cannot be read."""

    here: float
    api: float | None = None
    database: float | None = None

    @classmethod
    def of(cls, here: float, ahead: float | None = None, database: float | None = None) -> Clock:
        """The clocks at one moment. ``ahead``: seconds by which the API's is ahead of this computer's."""
        return cls(here, None if ahead is None else here + ahead, database)

    @property
    def times(self) -> dict[str, float]:
        """What each clock says that can be read."""
        told = {HERE: self.here, API: self.api, DATABASE: self.database}
        return {name: moment for name, moment in told.items() if moment is not None}

    @property
    def noting(self) -> str:
        """The clock that notes what begins now: the database's, else the API's, else this computer's."""
        return next(name for name in (DATABASE, API, HERE) if name in self.times)

    @property
    def span(self) -> tuple[float, float]:
        """The earliest and the latest that it may be; where there is a database, its clock alone decides."""
        known = list(self.times.values()) if self.database is None else [self.database]
        return min(known), max(known)

    def now(self, noted_by: str = "") -> float:
        """What time it is for a moment that this clock has noted; without one, for what begins now.

        If that clock cannot be read, the earliest of the others counts: what is over by it is over by all.
        """
        return self.times.get(noted_by or self.noting, min(self.times.values()))

    def since(self, end: float, noted_by: str) -> float:
        """The seconds for which a lease with this noted end has been over; negative before its end.

        If the clock that noted the end cannot be read, the lease is over by all the others, or an hour later by one.
        """
        if noted_by in self.times:
            return self.times[noted_by] - end
        return max(min(self.times.values()) - end, max(self.times.values()) - end - LATEST)

    @property
    def is_apart(self) -> bool:
        """Whether two of the clocks differ so much that one of them must be wrong."""
        return max(self.times.values()) - min(self.times.values()) > APART


def noted(clock: str) -> str | None:
    """What an entry says of the clock that notes it; nothing of this computer's, as entries never did."""
    return None if clock == HERE else clock


def clock_of(name: t.Any) -> str:
    """The clock that an entry names; this computer's, if it names none that is known."""
    return name if name in (API, DATABASE) else HERE
