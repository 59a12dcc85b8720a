# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of exchanges for the probe. It has no secrets, and its errors do not fail a task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api import recorder
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import (
    OFFER_STATUS,
    RESOURCE_INFO,
)

import samples
from request_queue import LOST, RequestQueue

Perform = Callable[..., dict[str, Any]]


def test_each_exchange_is_recorded_without_secrets(
    queue: RequestQueue, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "log"
    monkeypatch.setenv(recorder.LOG, str(file))
    queue.expect("GET", samples.STATUS_PATH, LOST)
    perform(OFFER_STATUS, offer_id=samples.OFFER_ID)
    echoed = {"status": "running", "name": samples.TOKEN, "cloud_init": "#!/bin/sh secret"}
    queue.expect(
        "GET", f"/resources/{samples.RESOURCE_ID}", samples.resource(**echoed), query={"force_refresh": "true"}
    )
    perform(RESOURCE_INFO, resource_id=samples.RESOURCE_ID, force_refresh=True)
    lost, read = recorder.recorded_exchanges(str(file))
    assert (lost["path"], lost["status"], lost["is_json"], lost["ahead"]) == (samples.STATUS_PATH, None, False, None)
    assert (read["status"], read["query"], read["data"]["status"]) == (200, {"force_refresh": "true"}, "running")
    assert read["data"]["name"] == "********" and "cloud_init" not in read["data"]
    assert read["at"] >= lost["at"] + lost["seconds"] >= lost["at"] > 1e9
    assert samples.TOKEN not in file.read_text() and file.stat().st_mode & 0o777 == 0o600


def test_nothing_is_recorded_without_the_variable(
    queue: RequestQueue, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(recorder.LOG, str(tmp_path / "log"))
    queue.expect("GET", "/resources", [], times=2)
    perform(RESOURCE_INFO)
    monkeypatch.delenv(recorder.LOG)
    # All tasks of a process use the same client.
    perform(RESOURCE_INFO)
    assert len(recorder.recorded_exchanges(str(tmp_path / "log"))) == 1


def test_unwritable_file_does_not_fail_the_task(
    queue: RequestQueue, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(recorder.LOG, str(tmp_path / "no" / "folder"))
    queue.expect("GET", "/resources", [samples.resource()])
    result = perform(RESOURCE_INFO)
    assert not result.get("failed") and len(result["resources"]) == 1


def test_truncated_lines_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text('{"path": "/a"}\n{"path": "/b"')
    assert recorder.recorded_exchanges(str(file)) == [{"path": "/a"}]
    assert recorder.recorded_exchanges(str(tmp_path / "none")) == []
