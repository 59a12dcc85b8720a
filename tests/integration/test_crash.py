# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A crash between any two lines of a purchase: the line is found by tracing, the API and its log are real."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _on_api
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import PROCURE_OFFER

from simulator import Fault, Settings, Simulator

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6rQ9Zb0yJxk1mS7JbJm9m0m7nq0oXo3k0a9b8c7d6e test"
OURS = "/module_utils/"


class Crash(BaseException):
    """The process ends here; nothing may catch it."""


class Tracer:
    """Counts the lines of ours that run, and crashes before the one with the given number."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.crash_at = crash_at
        self.lines = 0

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> Tracer | None:
        if OURS not in frame.f_code.co_filename or "ansible_collections" not in frame.f_globals.get("__name__", ""):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.crash_at:
                raise Crash
        return self


def run(simulator: Simulator, offer_id: str, crash_at: int | None = None) -> tuple[dict[str, Any] | None, int]:
    """Buy the offer. Returns the result, None after a crash, and how many lines ran."""
    params = {
        "api_url": simulator.url,
        "api_token": simulator.settings.token,
        "api_timeout": 10,
        "api_retries": 0,
        "validate_certs": True,
        "ca_path": None,
        "offer_id": offer_id,
        "ssh_public_key": KEY,
        "cloud_init": "#cloud-config\npackages: [git]\n",
        "resource_name": "gpu-1",
        "cluster_name": None,
        "max_price_per_hour": 3.0,
        "procure_timeout": 10,
        "settle_timeout": 1,
    }
    _on_api._client.cache_clear()  # a process that crashed leaves no session to the next one
    tracer = Tracer(crash_at)
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        return PROCURE_OFFER.perform(params, False), tracer.lines
    except Crash:
        return None, tracer.lines
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "answer-lost"])
def test_a_crash_before_any_line_of_the_purchase_does_no_harm(lost: bool) -> None:
    with Simulator(Settings(provision_seconds=0, reissue=False), offers=[]) as simulator:

        def fresh() -> str:
            simulator.faults.clear()
            if lost:
                simulator.faults.append(Fault(path="/procure_offer", cut="after"))
            return simulator.add_offer(gpu_price_per_hour=2.0).offer_id

        _result, lines = run(simulator, fresh())
        assert lines > 100, "the tracer sees the code"
        bought = 0
        for line in range(1, lines + 1):
            offer_id = fresh()
            crashed, _lines = run(simulator, offer_id, crash_at=line)
            assert crashed is None
            bought += any(purchase.offer_id == offer_id for purchase in simulator.purchases)
            simulator.faults.clear()
            result, _lines = run(simulator, offer_id)
            assert result is not None and result["outcome"] in ("created", "existing"), result
            purchases = [purchase for purchase in simulator.purchases if purchase.offer_id == offer_id]
            assert len(purchases) == 1, f"bought {len(purchases)} times after a crash before line {line}"
            assert result["resource_ids"] == purchases[0].resource_ids
        assert 0 < bought < lines, "some crashes came before the purchase, some after"
