# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads sentences and numbers of the API: quotas, prices, numbers of nodes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._text import (
    is_quota,
    nodes_of,
    number_of,
    read_price,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "words",
    [
        "Quota exceeded",
        "QUOTA_EXCEEDED",
        "quotaExceeded: GPUs-all-regions",
        "The vendor's quotas do not allow 8 GPUs",
        "Instance limit reached",
        "vCPU limit exceeded",
        "GPU_LIMIT",
        "You have reached the limit of 8 GPUs",
        "limit for your account",
        "limits on this project",
        "the maximum number of instances is running",
    ],
)
def test_is_quota_recognizes_quota_messages(words: str) -> None:
    assert is_quota(words)


@pytest.mark.parametrize(
    "words",
    [
        *("", None, "no capacity left", "Offer expired", "the quotation has expired", "sold out", "unlimited"),
        *("Rate limit exceeded", "quota of requests per minute exceeded", "account rate-limit exceeded"),
        *("cloud_init exceeds the size limit", "price above the limit", "limit must be at least 1"),
    ],
)
def test_is_quota_ignores_other_messages(words: str | None) -> None:
    assert not is_quota(words)


@given(st.text())
def test_is_quota_accepts_any_text(words: str) -> None:
    assert is_quota(words) in (False, True)


@pytest.mark.parametrize(
    ("value", "price"),
    [
        (2, 2.0),
        ("2.5", 2.5),
        (0, 0.0),
        (-1, None),
        ("free", None),
        (None, None),
        (True, None),
        (math.nan, None),
        (math.inf, None),
        (0.12345678, 0.123457),
        # too large for the sum of a year
        (1e15, None),
        ("1e308", None),
    ],
)
def test_read_price(value: Any, price: float | None) -> None:
    assert read_price(value) == price


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((2, 2.0), ("2.5", 2.5), (-1, -1.0), (0, 0.0), (1e300, 1e300)),
        *((value, None) for value in (math.nan, "nan", math.inf, "-inf", 10**400, True, "two", "", None, [2], {})),
    ],
    ids=lambda value: str(value)[:20],
)
def test_number_of_returns_only_finite_numbers(value: Any, number: float | None) -> None:
    assert number_of(value) == number


@pytest.mark.parametrize(
    ("value", "nodes"),
    [
        *((1, 1), (16, 16), ("2", 2), (2.0, 2), (10_000, 10_000)),
        # Each node gets a name, so the number is limited.
        *((0, None), (-2, None), (None, None), ("two", None), (True, None), (10_001, None), (1e308, None)),
    ],
)
def test_nodes_of_offer(value: Any, nodes: int | None) -> None:
    assert nodes_of({"node_count": value}) == nodes
