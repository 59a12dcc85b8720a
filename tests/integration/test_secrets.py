# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets reach only the API. test_canaries.py tries each secret input."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeProject
from plays import (
    break_reads,
    impatient,
    sell,
)
from simulator import Fault, Settings, Simulator

pytestmark = pytest.mark.first


def test_secrets_reach_only_the_api(make_project: MakeProject) -> None:
    secret = "do-not-tell-anybody-77"
    project = make_project(procure_seconds=1, token="a-token-for-this-test-only")
    echo = json.dumps(
        {"detail": [{"loc": ["body"], "msg": f"no {secret}, a-token-for-this-test-only", "input": secret}]}
    )
    project.simulator.faults.append(Fault(path="/procure_offer", nth=1, status=422, body=echo.encode()))
    project.declare(["gpu-1"], provision_files=[{"path": "/etc/x", "content": "{{ lookup('env', 'SUPPLY_SECRET') }}"}])
    project.environment["SUPPLY_SECRET"] = secret
    command_lines: list[str] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.05):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    command_lines.append(file.read_bytes().decode(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        runs = [project.provision("-vvvv", "--diff", provision_reach=False) for _run in range(2)]
    finally:
        is_over.set()
        watcher.join()
    assert [run.returncode for run in runs] == [2, 0], runs[0].output + runs[1].output
    assert secret in (project.simulator.user_data(project.simulator.purchases[0].resource_ids[0]) or "")
    everywhere = "".join([*(run.output for run in runs), *command_lines, json.dumps(project.registry("gpu-1"))])
    assert secret not in everywhere
    assert "a-token-for-this-test-only" not in everywhere


def test_token_is_not_sent_to_another_origin(make_project: MakeProject) -> None:
    project = make_project([], provision_seconds=0)
    with Simulator(Settings(), offers=[]) as other:
        away: dict[str, Any] = {"status": 307, "headers": {"Location": f"{other.url}/resources"}}
        hosts = break_reads(project, {"redirect": away})
        sell(project, ["purchase", "names"])
        project.declare([*hosts, "purchase"])
        project.simulator.faults.append(Fault(path="/procure_offer", sent='"purchase"', count=None, **away))
        run = impatient(project)
        for host in (*hosts, "purchase"):
            assert run.failure(host), host
        project.declare(["names"])
        project.simulator.faults[:] = [Fault(path="/resources", count=None, **away)]
        assert impatient(project).failure("names")
        assert other.requests == []
