# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extensions of leases, with registries on disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._operations import extend as extend_operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations.extend import extend
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from test_operations_reap import declared, params, write

Json = dict[str, Any]


def run_extend(*hosts: Json, check_mode: bool = False, **given: Any) -> Json:
    return extend(params(steps.EXTEND, *hosts, **given), check_mode)


def test_extend_reports_each_host(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", "r1", 1.0)
    write(tmp_path, "gpu-2", "r2", None)
    before = file.read_text()
    hosts = [declared("gpu-1", tmp_path), declared("gpu-2", tmp_path), declared("gpu-3", "")]
    checked = run_extend(*hosts, by="4h", check_mode=True)
    assert (file.read_text(), checked["changed"]) == (before, True)
    answer = run_extend(*hosts, by="4h")
    assert (answer["changed"], [row["host"] for row in answer["extended"]]) == (True, ["gpu-1"])
    assert answer["extended"][0]["more"] == 8.0
    assert "gpu-2: Its machine has no lease" in answer["trouble"]
    assert "gpu-3: Only a registry keeps" in answer["trouble"]
    assert "compute_index.supply.reap does" in answer["warnings"][0]


@pytest.mark.parametrize(
    ("given", "expected_message"),
    [
        ({}, "extend_by (such as 4h) or extend_until"),
        ({"by": "4h", "until": "2027-01-01T00:00Z"}, "Give either extend_by"),
        ({"by": "4 hours"}, "extend_by must be a duration such as 8h, 90m or 3d, not '4 hours'"),
        ({"by": "0h"}, "extend_by must be a duration such as 8h, 90m or 3d, not '0h'"),
        ({"by": "2027-01-01T00:00Z"}, "extend_by must be a duration such as 8h, 90m or 3d, not '2027-01-01T00:00Z'"),
        ({"until": "soon"}, "extend_until must be a time with its zone such as 2026-12-01T06:00Z, not 'soon'"),
        # Counted from the current end it would extend the lease by more than intended.
        ({"until": "8h"}, "extend_until must be a time with its zone such as 2026-12-01T06:00Z, not '8h'"),
        ({"until": "2027-01-01"}, "such as 2026-12-01T06:00Z, not '2027-01-01'"),
    ],
)
def test_extend_refuses_invalid_times(given: Json, expected_message: str) -> None:
    with pytest.raises(Failure) as caught:
        run_extend(declared("gpu-1", "/"), **given)
    assert expected_message in str(caught.value) and "Nothing was extended." in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("lease_max", "soon"), ("max_bill", "3,5"), ("budget", "3,5")])
def test_extend_refuses_host_with_unreadable_limit(tmp_path: Path, field: str, value: str) -> None:
    write(tmp_path, "gpu-1", "r1", 1.0)
    answer = run_extend(declared("gpu-1", tmp_path, **{field: value}), by="1h")
    assert answer["extended"] == [] and "gpu-1: " in answer["trouble"]


@pytest.mark.parametrize("check_mode", [True, False])
def test_extend_counts_whole_project_against_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    """Besides the host it counts extensions of this run, and hosts in other folders: here two more machines."""
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    for folder, host in (("a", "gpu-1"), ("a", "gpu-2"), ("b", "gpu-3")):
        write(tmp_path / folder, host, f"r-{host}", 1.0)
    hosts = [declared(host, tmp_path / "a", budget="14") for host in ("gpu-1", "gpu-2")]
    answer = run_extend(*hosts, by="1h", check_mode=check_mode, elsewhere=[declared("gpu-3", tmp_path / "b")])
    assert [row["host"] for row in answer["extended"]] == ["gpu-1"], answer["trouble"]
    assert answer["trouble"].startswith("gpu-2: With an end at ") and "would cost USD 16.00" in answer["trouble"]
    refused = run_extend(hosts[0], by="1m", check_mode=check_mode, untold=["gpu-9: its registry is not read."])
    assert refused["extended"] == [] and "cannot be checked: gpu-9: its registry is not read." in refused["trouble"]


def test_extend_rereads_entry_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "gpu-1", "r1", 1.0)
    compare_and_set, times = HostFile.compare_and_set, []

    def race(self: HostFile, changes: Json) -> Json:
        times.append(1)
        if len(times) == 1:
            file.write_text(file.read_text() + "provision_verified: true\n")
        return compare_and_set(self, changes)

    monkeypatch.setattr(HostFile, "compare_and_set", race)
    assert run_extend(declared("gpu-1", tmp_path), by="1h")["changed"]
    entry = yaml.safe_load(file.read_text())
    assert (len(times), entry["provision_verified"]) == (2, True)
    assert extend_operation.BLANK["extended"] == []
