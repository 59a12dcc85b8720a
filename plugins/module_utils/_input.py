# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of what users give, made before any request is sent. Each raises ValueError with a reason for a person."""

from __future__ import annotations

import re


def check_uuid(value: str) -> str:
    """An id in the API's spelling: lower case, with dashes."""
    text = value.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
        shown = value if len(value) <= 60 else value[:57] + "..."
        raise ValueError(f"must be a UUID such as 123e4567-e89b-12d3-a456-426614174000, not '{shown}'")
    return text


def check_token(value: str | None) -> str:
    """The API token without white space around it, as files and copied text often have it."""
    token = (value or "").strip()
    if not token:
        raise ValueError("is missing: set the environment variable COMPUTE_INDEX_API_TOKEN, or this option")
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ValueError("holds a space or a character that no HTTP header may carry")
    return token


def check_seconds(value: float) -> float:
    """A duration in seconds, possibly none at all."""
    if not 0 <= value < float("inf"):
        raise ValueError(f"must be a number of seconds, at least 0, not {value:g}")
    return value


def check_timeout(value: float) -> float:
    """A duration in seconds in which an answer can arrive; at most a day, since sockets take no endless ones."""
    if not 1 <= value <= 86_400:
        raise ValueError(f"must be a number of seconds, at least 1 and at most 86400, not {value:g}")
    return value


def check_price(value: float | None) -> float | None:
    """A price or the limit of one (USD per hour), None if it is not given."""
    if value is not None and not 0 <= value < float("inf"):
        raise ValueError(f"must be USD per hour for the whole offer, at least 0, not {value}")
    return value


def check_limit(limit: int | None) -> int | None:
    """The number of offers that are wanted, None for all."""
    if limit is not None and limit < 1:
        raise ValueError(f"must be at least 1, not {limit}")
    return limit
