# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan of all hosts says for one of them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import plan_of

OWN = {"host": "gpu-1", "declaration": "d1", "call": "c1", "next": "acquire.yml"}
PLANNED = {"plans": {"gpu-1": OWN}, "common": {"call": "c1", "consumed": ["d1", "d2"]}}
FAILED = {"failed": True, "plans": {"gpu-1": OWN}}
ALONE = {"next": "round.yml"}
NOTHING = {"next": ""}


@pytest.mark.parametrize(
    ("declared", "planned", "found"),
    [
        pytest.param({"host": "gpu-1", "id": "d1"}, PLANNED, OWN, id="its-own"),
        pytest.param({"host": "gpu-2", "id": "d2"}, PLANNED, NOTHING, id="nothing-is-to-be-done"),
        pytest.param({"host": "gpu-1", "id": "d3"}, PLANNED, ALONE, id="of-an-earlier-call"),
        pytest.param({"host": "gpu-1", "id": "d2"}, PLANNED, NOTHING, id="nothing-in-a-later-call"),
        pytest.param({"host": "gpu-3", "id": "d4"}, PLANNED, ALONE, id="left-out-by-the-first-host"),
        pytest.param({"host": "gpu-1", "id": "d1"}, {"skipped": True}, ALONE, id="skipped"),
        pytest.param({"host": "gpu-1", "id": "d1"}, FAILED, OWN, id="kept-by-a-failure"),
        pytest.param({"host": "gpu-1", "id": "d1"}, None, ALONE, id="not-planned"),
        pytest.param({"skipped": True}, PLANNED, ALONE, id="not-declared"),
        pytest.param(None, None, ALONE, id="neither"),
    ],
)
def test_a_host_takes_its_own_plan(declared: Any, planned: Any, found: dict[str, Any]) -> None:
    assert plan_of({"provision__declared": declared, "provision__planned": planned}) == found
