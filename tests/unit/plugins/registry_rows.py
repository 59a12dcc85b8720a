# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of a shared registry, read and changed past the collection."""

from __future__ import annotations

import postgresql
from samples import RESOURCE_ID, SECOND_RESOURCE_ID

RESOURCE_IDS = [RESOURCE_ID, SECOND_RESOURCE_ID]


def states(url: str) -> list[str]:
    rows = postgresql.execute(url, "SELECT state FROM compute_index_supply.purchase ORDER BY claimed_at, epoch")
    return [state for (state,) in rows]


def expire_holds(url: str) -> None:
    """Set the end of all holds to the past."""
    postgresql.execute(url, "UPDATE compute_index_supply.purchase SET held_until = now() - interval '1 second'")
