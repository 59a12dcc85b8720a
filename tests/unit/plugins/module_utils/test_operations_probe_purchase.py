# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The purchase of the probe: the machine that it chooses, its refusals, and its last message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._operations.probe import PROBE_ENDED, PROBE_PURCHASE
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import DECIDED_BY_PLAYS, PROBE_HOST
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE

import samples
from request_queue import RequestQueue

Perform = Callable[..., dict[str, Any]]
PLAYBOOK = Path(__file__).parents[4] / "playbooks" / "parts" / "bought_reads.yml"
HOST = {"host": PROBE_HOST, "project": "default", "registry_dir": "/registry", "inventory_dir": None}
ALLOWED = {"buy": True, "max_usd": "3", "hosts": [HOST], "log": "/log"}


def offer(kind: Any, price: float | None, **fields: Any) -> dict[str, Any]:
    fields_of_one_gpu = {"gpu_type": kind, "gpu_price_per_hour": price, "total_price_per_hour": price, "gpu_count": 1}
    return samples.offer(**{**fields_of_one_gpu, **fields})


def expect_search(queue: RequestQueue, families: list[str], *offers: Any, status: int = 200) -> None:
    compute = {"gpu_type": " | ".join(families), "gpu_count": 1, "contract_type": "ondemand"}
    queue.expect("POST", "/get_offers", {"offers": list(offers)}, status, body={"compute": compute})


def test_probe_chooses_cheapest_gpu_of_all_families(queue: RequestQueue, perform: Perform) -> None:
    queue.expect("GET", "/available_gpus", {each: [] for each in ("A", "B", "C", "D")}, times=2)
    expect_search(queue, ["A"], offer("nvidia-l4", 1.5), offer("{{ evil }}", 0.1), offer("unpriced", None))
    expect_search(queue, ["B"], status=422)
    expect_search(queue, ["C"], offer("pair", 0.2, gpu_count=2), offer("cluster", 0.2, node_count=2))
    expect_search(queue, ["D"], offer("nvidia-t4", 1.25, node_count=1))
    result = perform(PROBE_PURCHASE, **ALLOWED)
    spec = {"compute": {"gpu_type": "nvidia-t4", "gpu_count": 1, "contract_type": "ondemand"}}
    assert result["purchase"] == {"spec": spec, "max_usd": 3.0, "log": "/log"}
    assert result["hosts"] == [PROBE_HOST] and result["changed"] is False
    announced = " ".join(result["lines"])
    assert "USD 1.25 per hour" in announced and f"decommission_hosts={PROBE_HOST}" in announced
    assert max(map(len, result["lines"])) <= LINE


@pytest.mark.parametrize("gpus", [{"L4": []}, {}])
def test_probe_without_suitable_offer_buys_nothing(queue: RequestQueue, perform: Perform, gpus: dict[str, Any]) -> None:
    queue.expect("GET", "/available_gpus", gpus, times=2)
    if gpus:
        expect_search(queue, ["L4"], offer("unpriced", None))
    result = perform(PROBE_PURCHASE, **ALLOWED)
    assert result["failed"] and result["error_class"] == "capacity" and "Nothing was bought" in result["msg"]
    assert result["hosts"] == []


def test_probe_without_probe_buy_sends_nothing(queue: RequestQueue, perform: Perform) -> None:
    result = perform(PROBE_PURCHASE, **{**ALLOWED, "buy": False, "max_usd": ""})
    assert (result["hosts"], result["purchase"], result["lines"]) == ([], {}, []) and not queue.calls


@pytest.mark.parametrize(
    ("given", "expected_message"),
    [
        *(({"max_usd": each}, "in USD and above 0") for each in ("", "x", "-1", "0", "inf", "nan", "unlimited")),
        ({"limited": True}, "--limit"),
        ({"limited": True, "is_known": True}, "which --limit excludes"),
        ({"is_known": True}, "from the inventory"),
        ({"extra": ["provision_lease", "other", "provision_spec"]}, "sets provision_lease, provision_spec itself"),
        ({"hosts": [{**HOST, "registry_dir": ""}]}, "needs a registry"),
    ],
)
def test_probe_refuses_to_buy_and_sends_nothing(
    queue: RequestQueue, perform: Perform, given: dict[str, Any], expected_message: str
) -> None:
    result = perform(PROBE_PURCHASE, **{**ALLOWED, **given})
    assert result["failed"] and expected_message in result["msg"] and result["msg"].endswith("Nothing was sent.")
    assert result["error_class"] == "invalid" and not queue.calls


@pytest.mark.parametrize(
    ("facts", "expected_message"),
    [
        ({}, ""),
        ({"probe__trouble": "It failed."}, "The purchase failed: It failed. If it bought a machine, that has ended"),
        (
            {"probe__trouble": "It failed.", "probe__unended": "r-1 runs."},
            "MAY STILL BE BILLED: r-1 runs. End it: ansible-playbook",
        ),
    ],
)
def test_message_at_end_of_probe_purchase(perform: Perform, facts: dict[str, str], expected_message: str) -> None:
    result = perform(PROBE_ENDED, got=facts)
    assert bool(result.get("failed")) is bool(expected_message) and expected_message in result.get("msg", "")


def test_refused_extra_variables_are_those_that_the_play_sets() -> None:
    (play,) = [each for each in yaml.safe_load(PLAYBOOK.read_text()) if "vars" in each]
    facts = play["tasks"][0]["ansible.builtin.set_fact"]
    assert facts.keys() == DECIDED_BY_PLAYS
    assert facts["provision_max_attempts"] == 1 and facts["provision_lease"] == "1h"
