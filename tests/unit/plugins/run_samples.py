# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples for the tests of runs: the variables of a request, the record of a finished run, and a machine of no run."""

from __future__ import annotations

from typing import Any

from ansible_collections.compute_index.supply.plugins.module_utils._provision import run_request
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.run_request import Request

VARIABLES = {"run_name": "train", "run_command": "true", "run_gpu": "8 x H100", "run_max_bill": "200"}
BOUGHT = read_entry({"provision_procured_offer_id": "o", "provision_resource_ids": ["m"], "provision_groups": ["gpu"]})
RECORD: dict[str, Any] = {
    **{
        "name": "train",
        "host": "run-train",
        "command": "python train.py",
        "state": "failed",
        "exit_code": 3,
        "reason": "exit code 3",
    },
    **{
        "began_at": "2026-12-01T06:00:00Z",
        "ended_at": "2026-12-01T08:05:00Z",
        "cost_usd": 33.4,
        "files": 12,
        "complete": True,
    },
    **{"last_lines": ["loss 0.1", "Traceback"], "missing": ["*.csv"], "kept_until": 1_796_000_000.0},
}


def read_variables(**variables: Any) -> tuple[Request, list[str]]:
    """The request from the usual variables and these (None leaves one out), and its mistakes."""
    mistakes: list[str] = []
    given = {name: value for name, value in {**VARIABLES, **variables}.items() if value is not None}
    run_request.read_name(given, mistakes)
    return run_request.read_request(given, mistakes), mistakes
