# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for a registry in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _connection
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import Database

from claimants import holder


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "FIRST_PAUSE", 0.01)


@pytest.fixture
def run(registry_url: str) -> Callable[..., Database]:
    """``run(name)`` opens the database as a run of this name."""

    def begin(name: str = "one", kind: type[Database] = Database, **settings: Any) -> Database:
        return kind(registry_url, holder(name), **settings)

    return begin
