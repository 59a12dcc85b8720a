# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The warning that a running machine is not what its host declares now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import (
    drift_warning,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import noted_offer

from planning_samples import FAIR, M, X, Y
from provision_samples import declared, entry


@pytest.mark.parametrize(
    ("fields", "bought_offer", "price", "parts"),
    [
        ({}, FAIR, 2.0, ()),
        ({"max_price_per_hour": 1}, FAIR, 2.0, ("USD 2.00", "USD 1.00", "left as it is")),
        ({"max_price_per_hour": 1}, FAIR, None, ()),
        ({"max_price_per_hour": ""}, {}, 9.0, ()),
        (
            {"spec": {"region": "US", "compute": {"gpu_type": "L4"}}},
            FAIR,
            2.0,
            ("region EU instead of US", "instead of L4"),
        ),
        ({"spec": {"region": "US", "compute": {"gpu_type": "L4"}}}, {}, 2.0, ()),
        # With an offer id the search is not used.
        ({"spec": {"region": "US", "compute": {"gpu_type": "L4"}}, "offer_id": Y}, FAIR, 2.0, ()),
        ({"offer_id": X}, FAIR, 2.0, (f"offer {Y} (provision_offer_id is {X})",)),
        (
            {"spec": {"region": "US", "compute": {"gpu_type": "H100"}}, "max_price_per_hour": 1},
            FAIR,
            2.0,
            ("region", "USD 1.00"),
        ),
    ],
)
def test_drift_warning_names_each_difference(
    fields: dict[str, Any], bought_offer: dict[str, Any], price: float | None, parts: tuple[str, ...]
) -> None:
    known = entry(Y, [M], "made", provision_price_per_hour=price, provision_offer=noted_offer(bought_offer))
    warning = drift_warning(declared(**fields), known)
    assert bool(warning) == bool(parts)
    for part in parts:
        assert part in warning


def test_drift_warning_names_other_resource_name() -> None:
    known = entry(Y, [M], "made", provision_resource_name="trainer")
    assert "name trainer (provision_resource_name is gpu-1)" in drift_warning(declared(), known)
    assert drift_warning(declared(name="trainer"), known) == ""


@pytest.mark.parametrize(
    ("declared_lease", "noted", "warning_part"),
    [
        ("8h", "8h", ""),
        ("", "", ""),
        ("9h", "8h", "lease 8h (provision_lease differs; compute_index.supply.extend changes it)"),
        ("8h", "", "no lease (provision_lease differs; compute_index.supply.extend changes it)"),
        ("", "8h", "lease 8h (provision_lease differs"),
        ("8h", "eight hours", "lease eight hours (provision_lease differs"),
        ("8h", "480m", ""),
        ("0.5d", "12h", ""),
        ("2030-12-01T06:00Z", "2030-12-01T07:00:00+01:00", ""),
        ("2030-12-01T06:00Z", "2030-12-01T06:00:00+01:00", "provision_lease differs"),
    ],
)
def test_drift_warning_names_other_lease(declared_lease: str, noted: str, warning_part: str) -> None:
    known = entry(X, [M], "made", provision_resource_name="gpu-1", provision_leased=noted)
    warning = drift_warning(declared(lease=declared_lease), known)
    assert warning_part in warning if warning_part else warning == ""
    assert drift_warning(declared("", lease=declared_lease), known) == "", "without a registry no lease is compared"
    run = declared(lease=declared_lease, max_price_per_hour=1, groups=["supply_run"])
    assert drift_warning(run, replace(known, price_per_hour=2.0)) == "", "a run decides on its own limits"
