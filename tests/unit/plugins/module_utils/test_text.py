# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures as people read them."""

from __future__ import annotations

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _text


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (0.0, "0.00"),
        (2, "2.00"),
        (2.5, "2.50"),
        (19.92, "19.92"),
        (2.345, "2.345"),
        (0.1 + 0.2, "0.30"),
        (0.000001, "0.000001"),
        (1234.5, "1234.50"),
        (2.0000001, "2.00"),
        (1e-7, "0.00"),
    ],
)
def test_an_amount_has_cents_and_more_digits_only_where_there_are_any(price: float, text: str) -> None:
    assert _text.amount(price) == text
    assert _text.usd(price) == f"USD {text} per hour"


def test_an_unknown_price_is_said_to_be_unknown() -> None:
    assert _text.usd(None) == "an unknown price"
