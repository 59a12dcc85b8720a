# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of one offer. This module util is private to the collection."""

from __future__ import annotations

import typing as t

Machine = t.Mapping[str, t.Any]


def of_offer(machines: t.Iterable[Machine], offer_id: str, ids: t.Collection[str]) -> list[Machine]:
    """Those that say so themselves, and those that were named by id."""
    return [each for each in machines if each["offer_id"] == offer_id or each["resource_id"] in ids]
