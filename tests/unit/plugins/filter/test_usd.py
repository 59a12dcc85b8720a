# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter usd: prices in sentences."""

from __future__ import annotations

import pytest
from ansible_collections.compute_index.supply.plugins.filter.adapters import usd


@pytest.mark.parametrize(
    ("price", "words"),
    [
        (2, "USD 2.00 per hour"),
        (76.8, "USD 76.80 per hour"),
        ("0.125", "USD 0.125 per hour"),
        (0, "USD 0.00 per hour"),
        (None, "an unknown price"),
        ("None", "an unknown price"),
        ("", "an unknown price"),
    ],
)
def test_usd_puts_price_into_words(price: float | str | None, words: str) -> None:
    assert usd(price) == words
