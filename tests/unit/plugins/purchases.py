# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Helpers for the tests of procure_offer."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import BLANK
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import order_digests
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile

from clock import START
from request_queue import RequestQueue
from samples import KEY, OFFER_ID, RESOURCE_ID, STATUS_PATH, TOKEN, status

# The order of the host trainer, and its registry entry once the purchase is sent, and once it is made
ORDER = {"offer_id": OFFER_ID, "ssh_public_key": KEY, "resource_name": "trainer"}
SENT = {
    "provision_resource_name": "trainer",
    "provision_procured_offer_id": OFFER_ID,
    "provision_price_per_hour": 2.0,
    "provision_journaled_at": START,
    "provision_purchase": "sent",
    "provision_ordered": order_digests(ORDER, TOKEN, {}),
}
MADE = {**SENT, "provision_purchase": "made", "provision_resource_ids": [RESOURCE_ID]}
BOUGHT = status("provisioning", resource_ids=[RESOURCE_ID])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The registry file of the host trainer."""
    return tmp_path / "host_vars" / "trainer" / "compute_index_supply.yml"


@pytest.fixture
def buy(buy: Callable[..., dict[str, Any]], path: Path) -> Callable[..., dict[str, Any]]:
    """``buy(check_mode=False, **params)``: by default for the name trainer, with the registry file ``path``."""
    return functools.partial(buy, resource_name="trainer", registry_file=str(path), settle_timeout=6)


def assert_failed(
    result: dict[str, Any], error_class: str, outcome: str, code: int | None = None, ids: Any = ()
) -> str:
    """Check the fields that each failure has, and return its message."""
    assert BLANK.keys() | {"msg", "error_class", "status_code", "failed"} <= result.keys()
    assert result["failed"] is True
    assert (result["error_class"], result["outcome"]) == (error_class, outcome)
    assert result["status_code"] == code
    assert result["resource_ids"] == list(ids)
    assert result["changed"] is (outcome in ("unknown", "created"))
    assert "diff" not in result
    return str(result["msg"])


def outcome_of(result: dict[str, Any]) -> tuple[Any, ...]:
    """Outcome, error class (None without a failure), and resource ids of a result."""
    return result["outcome"], result.get("error_class"), result["resource_ids"]


def expect_failed_offer(queue: RequestQueue, *resources: Any) -> None:
    """Expect the status of the failed offer, and the list of its resources."""
    queue.expect("GET", STATUS_PATH, status("failed")).expect_resources(*resources)


def before_request(
    monkeypatch: pytest.MonkeyPatch, action: Callable[[], object], method: str = "procure", *, call: int = 1
) -> None:
    """Run an action right before one call of a client's method: the first, or the one with this number."""
    original, calls = getattr(Market, method), itertools.count(1)

    def run(*args: Any, **options: Any) -> Any:
        if next(calls) == call:
            action()
        return original(*args, **options)

    monkeypatch.setattr(Market, method, run)


def stored_entry(path: Path) -> Any:
    """The variables in a registry file; None without a file."""
    return yaml.safe_load(path.read_text()) if path.exists() else None


def write_entry(path: Path, entry: dict[str, Any]) -> None:
    """Write a registry file."""
    HostFile(str(path)).note(entry)


def expect_bought_offer(
    queue: RequestQueue, *resources: Any, answer: Any = None, code: int = 200, times: int = 1
) -> RequestQueue:
    """Expect the status of an offer that is bought (or another ``answer``), and the list of its resources."""
    for _time in range(times):
        queue.expect("GET", STATUS_PATH, answer or BOUGHT, code)
        queue.expect_resources(*resources)
    return queue
