# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""catalog_info returns the API's answer as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import CATALOG_INFO

from request_queue import RequestQueue

Result = dict[str, Any]
FAMILIES = {"H100": ["nvidia-h100-sxm5-80gb", "nvidia-h100-pcie-80gb"]}


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("kind", CATALOG_INFO.argument_spec["kind"]["choices"])
def test_each_catalog_is_read(queue: RequestQueue, perform: Callable[..., Result], kind: str, check_mode: bool) -> None:
    queue.expect("GET", f"/available_{kind}", FAMILIES)
    assert perform(CATALOG_INFO, check_mode, kind=kind) == {"changed": False, "catalog": FAMILIES}


@pytest.mark.parametrize("answer", [[], {}, None, 7, ["EU"], [{"name": "EU", "countries": [{"code": "FI"}]}]], ids=str)
def test_answer_of_any_shape_is_returned(queue: RequestQueue, perform: Callable[..., Result], answer: Any) -> None:
    queue.expect("GET", "/available_regions", answer)
    assert perform(CATALOG_INFO, kind="regions")["catalog"] == answer


@pytest.mark.parametrize(
    ("reply", "code", "error_class"),
    [({}, 401, "auth"), ({"detail": "no"}, 404, "not_found"), (b"<html>", 200, "protocol")],
)
def test_unreadable_catalog_fails(
    queue: RequestQueue, perform: Callable[..., Result], reply: Any, code: int, error_class: str
) -> None:
    queue.expect("GET", "/available_gpus", reply, code)
    result = perform(CATALOG_INFO, kind="gpus")
    assert (result["failed"], result["error_class"], "catalog" in result) == (True, error_class, False)
