# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What purchases have cost at most: by host, by group, by day and by month (UTC).

Upper bounds: from the moment before the purchase was sent to the one after its end was confirmed, at the highest price
that was noted. What has no noted end counts as running. Sums are whole millionths of a USD, so that they agree
whichever way they are made. Pure: knows no clock. This module util is private to the collection.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bill:
    """A purchase as the ledger has it. ``price``: USD per hour for the whole offer, None if unknown.

    Moments are seconds since the epoch. ``begin``: when it was about to be sent, None if nobody noted it; ``end``:
    when its end was confirmed, None if it may still run; ``ends_at``: when it is to end. ``registered``: False if
    neither an end was noted, nor has the registry an entry of it any more.
    """

    project: str
    host: str
    offer_id: str
    resource_ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    price: float | None = None
    begin: float | None = None
    end: float | None = None
    why: str = ""
    ends_at: float | None = None
    registered: bool = True

    @property
    def label(self) -> str:
        """The host, with its project if that is not the usual one."""
        return self.host if self.project in ("", "default") else f"{self.project}/{self.host}"

    @property
    def runs(self) -> bool:
        """Whether it may be billed now."""
        return self.end is None

    @property
    def is_known(self) -> bool:
        """Whether it can be said what it costs."""
        return self.price is not None and self.begin is not None


@dataclass(frozen=True)
class Ledger:
    """The purchases of a project; ``now`` is the moment of the clock that theirs come from."""

    bills: tuple[Bill, ...]
    now: float
    warnings: tuple[str, ...] = ()
