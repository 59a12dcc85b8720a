# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests at the same moment."""

from __future__ import annotations

import typing as t
from concurrent.futures import ThreadPoolExecutor

MOST_THREADS = 8  # the client's session keeps up to ten connections

_Item = t.TypeVar("_Item")
_Answer = t.TypeVar("_Answer")


def side_by_side(ask: t.Callable[[_Item], _Answer], items: t.Collection[_Item]) -> list[_Answer]:
    """What ``ask`` answers for each of these, in their order. Raises what one of them raises."""
    with ThreadPoolExecutor(max(1, min(MOST_THREADS, len(items)))) as pool:
        return list(pool.map(ask, items))
