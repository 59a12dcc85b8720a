# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the leases of registries were enforced."""

from __future__ import annotations

import functools
import typing as t

from .._provision import lifetimes
from .._provision.place import Place
from .._registry._protocol import RegistryError
from ._registries import Registries, is_job


class LastSweeps:
    """When the leases of each registry were enforced last, read once."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries
        self._of = functools.cache(self._read)

    def trouble(self, place: Place, *, refused: bool) -> str:
        """What to say of a lease in this place, empty if it was enforced lately, or if that cannot be read."""
        known = self._of(place)
        return "" if known is None else lifetimes.unswept(*known, refused=refused, by_job=is_job())

    def since(self, place: Place) -> float | None:
        """How many seconds ago the leases in this place were enforced; None if that is not known."""
        swept, now = self._of(place) or (None, 0.0)
        return None if swept is None else now - swept

    def warnings(self, places: t.Iterable[Place]) -> list[str]:
        """What to say of leases in several places, each sentence once."""
        return list(dict.fromkeys(filter(None, (self.trouble(place, refused=False) for place in places))))

    def _read(self, place: Place) -> tuple[float | None, float] | None:
        """When the last sweep was, and what time it is by the clock that noted it; None if that cannot be read."""
        try:
            store = self._registries.at(place)
            return (store.swept(), store.now()) if place else None
        except RegistryError:  # which its hosts fail for
            return None
