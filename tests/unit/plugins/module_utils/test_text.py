# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an API's sentences mean."""

from __future__ import annotations

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._text import is_quota
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
def test_a_quota_is_recognised_by_its_words(words: str) -> None:
    assert is_quota(words)


@pytest.mark.parametrize(
    "words",
    [
        *("", None, "no capacity left", "Offer expired", "the quotation has expired", "sold out", "unlimited"),
        *("Rate limit exceeded", "quota of requests per minute exceeded", "account rate-limit exceeded"),
        *("cloud_init exceeds the size limit", "price above the limit", "limit must be at least 1"),
    ],
)
def test_other_reasons_are_no_quota(words: str | None) -> None:
    assert not is_quota(words)


@given(st.text())
def test_any_words_can_be_read(words: str) -> None:
    assert is_quota(words) in (False, True)
